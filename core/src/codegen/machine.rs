//! The assemblers and registers of machines, as the machine-independent part uses them.

use core::fmt::Debug;

use super::assemble_error::AssembleError;
use super::code::Code;
use super::label::{Label, Labels};

/// A place at which code was removed because a jump became short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The offset of the first instruction behind it, before code was removed.
    pub(crate) end: u32,
    /// Bytes that were removed before `end`.
    pub(crate) removed: u32,
}

/// Corrects ascending offsets by the bytes that were removed before them.
pub(crate) fn without_cuts<'o>(cuts: &[Cut], offsets: impl Iterator<Item = &'o mut u32>) {
    let (mut cuts, mut removed) = (cuts.iter().peekable(), 0);
    for offset in offsets {
        while let Some(cut) = cuts.next_if(|cut| cut.end <= *offset) {
            removed = cut.removed;
        }
        *offset -= removed;
    }
}

/// An assembler as the machine-independent part uses it. Errors are kept until [`code`](Self::code).
pub(crate) trait MachineAssembler: Debug + Default + Send {
    /// Forgets all code and labels, but not the memory.
    fn clear(&mut self);

    /// A new label.
    fn label(&mut self) -> Label;

    /// `count` new labels.
    fn labels(&mut self, count: usize) -> Labels;

    /// Puts a label at the end of the code.
    fn bind(&mut self, label: Label);

    /// The length of the code so far.
    fn position(&self) -> u32;

    /// Gives all jumps their final form: labels that are bound are not used any more. Returns the places at which code was
    /// removed.
    fn settle(&mut self) -> &[Cut] {
        &[]
    }

    /// Pads with zeros to a multiple of `alignment`, a power of two. No code behind it moves.
    fn align_data(&mut self, alignment: u32);

    /// Puts down bytes as they are.
    fn data(&mut self, bytes: &[u8]);

    /// Whether a branch does not reach its label. Then the code is cleared, and branches of the next code reach further.
    fn extend_reach(&mut self) -> bool {
        false
    }

    /// The bytes and their relocations, by ascending offset.
    ///
    /// # Errors
    /// The first error since [`clear`](Self::clear).
    fn code(&mut self) -> Result<Code<'_>, AssembleError>;
}

/// A register of one class.
pub(crate) trait Register<A>: Copy + Debug + PartialEq {
    /// Moves all of a register, and changes no flag.
    fn mov(asm: &mut A, to: Self, from: Self);

    /// Exchanges two registers, and changes no flag. May use a scratch register.
    fn exchange(asm: &mut A, one: Self, other: Self);
}
