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
//! let mut asm = Assembler::growing();
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
//! * A method takes a bounded time, binding a label one that is bounded for each jump to it.
//! * Without an allocator it works the same, in the caller's slices ([`Fixed`]).
//! * Every instruction is SSE2 or older, but for those whose description names another extension.
//!
//! Operands are written in the order of the Intel manuals: destination first. Which widths,
//! registers and addresses an instruction takes, its signature says. An immediate counts modulo the
//! width, and for 64 bits is sign-extended from 32. No instruction touches flags unless the manual
//! says so; so `mov` of 0 is no `xor`.

mod branch;
mod encode;
mod error;
mod float;
mod integer;
mod label;
#[cfg(feature = "alloc")]
mod lower;
mod operand;
mod storage;
mod table;
#[cfg(test)]
mod tests;

pub use encode::{Address, GprOperand, Operand, XmmOperand};
pub use error::AssembleError;
pub use float::{FloatSource, MovSource};
pub use integer::{Count, Source};
pub use label::{Label, LabelState, Labels, OpenJump};
#[cfg(feature = "alloc")]
pub use lower::X64;
pub use operand::{
    Cl, Cond, Float, Full, Gpr, GprOrStack, Index, Mem, Narrow, Rip, Scale, W8, W16, W32, W64,
    Wide, Width, Xmm, XmmOrMem,
};
#[cfg(feature = "alloc")]
pub use storage::Growing;
pub use storage::{Fixed, Storage};
pub use table::{Alu, Bitwise, Scalar, Shift, Unary};

#[cfg(feature = "alloc")]
use super::code::CodeBuffer;
use super::code::Relocation;

/// Puts instructions down one behind the other.
#[derive(Debug)]
pub struct Assembler<S> {
    storage: S,
    /// Bytes of code, at most [`label::MOST`]. They go on being counted when the room is full.
    at: u32,
    /// See [`label`].
    last_jump: u32,
    open: u32,
    /// How many there are of each.
    labels: u32,
    relocations: usize,
    error: Option<AssembleError>,
}

/// The code of an assembler, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// The instructions.
    pub bytes: &'a [u8],
    /// What depends on addresses outside, in the order of the instructions.
    pub relocations: &'a [Relocation],
}

impl<S: Storage> Assembler<S> {
    /// An assembler without code.
    pub fn new(storage: S) -> Self {
        let last_jump = label::NOWHERE;
        Self { storage, at: 0, last_jump, open: 0, labels: 0, relocations: 0, error: None }
    }

    /// Where the next instruction will be, in bytes from the begin of the code, below 2^28. What
    /// was put down before stays where it is from now on.
    #[inline]
    pub fn offset(&mut self) -> u32 {
        self.last_jump = label::NOWHERE;
        self.at
    }

    /// Forgets code, labels and relocations, and the error, and keeps the room.
    pub fn clear(&mut self) {
        (self.at, self.labels, self.relocations) = (0, 0, 0);
        (self.last_jump, self.open, self.error) = (label::NOWHERE, 0, None);
    }

    /// The code.
    ///
    /// # Errors
    ///
    /// What went wrong first: no room, a label that jumps lead to and that is not bound, or is
    /// bound twice, or a jump that is longer than promised.
    pub fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        if self.open != 0 {
            let unbound = self.unbound();
            self.keep(unbound);
        }
        match self.error {
            Some(AssembleError::Full { room, .. }) => {
                Err(AssembleError::Full { room, needed: self.at as usize })
            }
            Some(error) => Err(error),
            None => {
                let (bytes, relocations) = self.storage.used(self.at as usize, self.relocations);
                Ok(Code { bytes, relocations })
            }
        }
    }
}

#[cfg(feature = "alloc")]
impl Default for Assembler<Growing> {
    fn default() -> Self {
        Self::growing()
    }
}

#[cfg(feature = "alloc")]
impl Assembler<Growing> {
    /// An assembler whose room grows.
    pub fn growing() -> Self {
        Self::new(Growing::default())
    }

    /// The code, taken out.
    ///
    /// # Errors
    ///
    /// As [`code`](Self::code).
    pub fn finish(mut self) -> Result<CodeBuffer, AssembleError> {
        self.code()?;
        let Growing { mut bytes, mut relocations, .. } = self.storage;
        bytes.truncate(self.at as usize);
        relocations.truncate(self.relocations);
        Ok(CodeBuffer { bytes, relocations, ..CodeBuffer::default() })
    }
}
