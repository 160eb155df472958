//! The assemblers and registers of machines, as the machine-independent part uses them.

use core::fmt::Debug;

use super::code::Relocation;
use super::error::CodegenError;

/// The code that has moved towards the start of the function because a forward jump became short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Code at and behind this offset has moved.
    pub from: u32,
    /// Bytes by which it has moved.
    pub by: u32,
}

/// An assembler as the machine-independent part uses it. Errors are kept until [`code`](Self::code).
pub(crate) trait MachineAssembler: Debug + Default + Send {
    /// A place in the code.
    type Label: Copy + Debug + Send;

    /// Consecutive labels.
    type Labels: Copy + Debug;

    /// Forgets all code and labels, but not the memory.
    fn clear(&mut self);

    /// A new label.
    fn label(&mut self) -> Self::Label;

    /// `count` new labels.
    fn labels(&mut self, count: usize) -> Self::Labels;

    /// The label with this number.
    fn nth(labels: Self::Labels, number: usize) -> Option<Self::Label>;

    /// Puts a label at the end of the code. Says which code has moved by that.
    fn bind(&mut self, label: Self::Label) -> Option<Shift>;

    /// The length of the code so far. Code may still move when a label is bound.
    fn position(&self) -> u32;

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
    fn code(&mut self) -> Result<(&[u8], &[Relocation]), CodegenError>;
}

/// A register of one class.
pub(crate) trait Register<A>: Copy + Debug + PartialEq {
    /// Moves all of a register, and changes no flag.
    fn mov(asm: &mut A, to: Self, from: Self);

    /// Exchanges two registers, and changes no flag. May use a scratch register.
    fn exchange(asm: &mut A, one: Self, other: Self);
}
