//! Labels, and what the storage has of them.

/// A place in the code of one assembler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(pub(super) u32);

/// Labels that were made together.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Labels {
    /// The label with this number among them, if there are so many.
    #[inline]
    pub fn get(self, number: usize) -> Option<Label> {
        let number = u32::try_from(number).ok().filter(|number| *number < self.count)?;
        Some(Label(self.first + number))
    }
}

/// The state of a label: an entry of the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelState {
    /// Where the last distance of 32 bits is, or [`NIL`]; the offset of the label once it is
    /// bound.
    pub(super) near: u32,
    /// Where the last distance of 8 bits is, or [`NIL`]; [`BOUND`] once it is bound.
    pub(super) short: u32,
}

impl LabelState {
    /// The filler of unused entries.
    pub const UNUSED: Self = Self { near: NIL, short: NIL };
}

/// The end of a chain, more than any offset. It fits the 28 bits that a distance has for it.
pub(super) const NIL: u32 = (1 << 28) - 1;

/// In place of the end of a chain of short jumps: the label is bound.
pub(super) const BOUND: u32 = u32::MAX;

/// The maximum number of bytes of code.
pub(super) const MAX_CODE: usize = NIL as usize - 64;
