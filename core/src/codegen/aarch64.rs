//! Assembling for aarch64 (A64, Armv8.0 with the hints of later versions).
//!
//! [`Assembler`] has a method for each form of instruction that a code generator needs. Instructions with the same
//! operands are the rows of a family ([`AddSub`], [`Logical`], ...), each with the heading of the manual that
//! describes it.
//!
//! ```
//! use smf_core::codegen::aarch64::{AddSub, Assembler, Cond, Gpr, Imm12, Width::W64};
//!
//! // fn(n) -> 1 + 2 + ... + n
//! let mut asm = Assembler::new();
//! let [head, done] = [asm.label(), asm.label()];
//! asm.mov_imm(W64, Gpr::X1, 0);
//! asm.bind(head);
//! asm.cbz(W64, Gpr::X0, done);
//! asm.add_sub(AddSub::ADD, W64, Gpr::X1, Gpr::X1, Gpr::X0);
//! asm.add_sub_imm(AddSub::SUB, W64, Gpr::X0, Gpr::X0, Imm12::ONE);
//! asm.b(head);
//! asm.bind(done);
//! asm.mov(W64, Gpr::X0, Gpr::X1);
//! asm.ret();
//! assert_eq!(asm.finish()?.bytes.len(), 28);
//! # Ok::<(), smf_core::codegen::x64::AssembleError>(())
//! ```
//!
//! Guarantees:
//!
//! * Operands that an instruction cannot encode are an error of the whole code, never another instruction. Nothing has to
//!   be checked between instructions: the first error is stored and returned in the place of the code.
//! * Each method takes constant time; [`Assembler::finish`] and [`Assembler::code`] take one step for each forward branch.
//! * Only instructions that change the flags by their name ([`AddSub::ADDS`], ...) and comparisons write the flags.
//!
//! Source: Arm Architecture Reference Manual for A-profile (DDI 0487), C4.1 "A64 instruction set encoding"; the
//! headings that the rows name are in C6.2 (general registers) and C7.2 (floating point).

mod assembler;
mod branch;
mod field;
mod float;
mod immediate;
mod integer;
mod lower;
mod memory;
mod operand;
mod table;
#[cfg(test)]
mod tests;

pub use super::code::Code;
pub use super::label::{Label, Labels};
pub use assembler::Assembler;
pub use immediate::{BitMask, FloatImm, Imm12};
pub use lower::Aarch64;
pub use memory::{Mem, PairMode};
pub use operand::{Cond, Extension, Float, Fpr, Gpr, ShiftKind, Width};
pub use table::{
    Access, AddSub, Bitfield, Hint, Logical, MovWide, Pair, Round, Scalar, ScalarUnary, Select,
    ThreeSource, ToFloat, TwoSource,
};
