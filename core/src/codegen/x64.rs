//! Assembling for x86-64.
//!
//! [`Assembler`] has a method for each instruction that a compiler of one pass needs. It puts the
//! bytes down at once, with displacements, immediates and jumps no longer than they must be, and
//! nothing is ever read back but the distances of jumps.
//!
//! ```
//! use smf_core::codegen::x64::{Assembler, Cond, Gpr::*, W64};
//!
//! // fn(n) -> 1 + 2 + ... + n
//! let mut asm = Assembler::new();
//! let [head, done] = [asm.label(), asm.label()];
//! asm.zero(Rax);
//! asm.bind(head);
//! asm.test(W64, Rdi, Rdi);
//! asm.jcc_short(Cond::E, done);
//! asm.add(W64, Rax, Rdi);
//! asm.sub(W64, Rdi, 1);
//! asm.jmp(head);
//! asm.bind(done);
//! asm.ret();
//! assert_eq!(asm.finish()?.bytes.len(), 17);
//! # Ok::<(), smf_core::codegen::x64::AssembleError>(())
//! ```
//!
//! Promises:
//!
//! * What compiles is an instruction of the processor: operands and widths are types. Nothing has
//!   to be looked at between instructions; the first error is kept and comes instead of the code.
//! * A method takes a bounded time, asking for the code one that is bounded for each reference to a label.
//! * Every instruction is SSE2 or older, but for those whose description names another extension.
//!
//! Operands are written in the order of the Intel manuals: destination first. Which widths,
//! registers and addresses an instruction takes, its signature says. An immediate counts modulo the
//! width, and for 64 bits is sign-extended from 32. No instruction touches flags unless the manual
//! says so; so `mov` of 0 is no `xor`.

mod assembler;
mod branch;
mod encode;
mod float;
mod integer;
mod lower;
mod operand;
mod reference;
mod row;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use super::assemble_error::AssembleError;
pub use super::code::Code;
pub use super::label::{Label, Labels};
pub use assembler::Assembler;
pub use encode::{Address, GprOperand, Operand, XmmOperand};
pub use lower::X64;
pub use operand::{
    Cl, Cond, Float, Full, Gpr, GprOrStack, Index, Mem, Narrow, Rip, Scale, W8, W16, W32, W64,
    Wide, Width, Xmm, XmmOrMem,
};
pub use row::{Alu, Bitwise, Scalar, Shift, Unary};
pub use source::{Count, Source};
