//! What compiling gives: bytes, and what has to be done to them where they are placed.
//!
//! The bytes run at any address once their relocations are applied. Relocations have the kinds of the
//! files that this library loads, so that the linker applies both alike.

use alloc::vec::Vec;

use crate::format::RelocKind;

/// A place in code that depends on an address outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// The place, in bytes from the start of the code.
    pub offset: u32,
    /// How it is computed: on x86-64 [`RelocKind::Pc32`], [`RelocKind::Plt32`] or [`RelocKind::Abs64`]; on aarch64
    /// [`RelocKind::Arm64Branch26`], [`RelocKind::Arm64GotLoadPage21`] or
    /// [`RelocKind::Arm64GotLoadPageOff12`].
    pub kind: RelocKind,
    /// What it depends on, in the numbering of the caller of the assembler.
    pub target: u32,
    /// What is added to the address of the target. The distance from the place to the end of the
    /// instruction is taken off already.
    pub addend: i64,
}

/// The code of an assembler, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    /// The instructions.
    pub bytes: &'a [u8],
    /// The references to addresses outside, by ascending offset.
    pub relocations: &'a [Relocation],
}

/// From where in a program some code was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLoc {
    /// The first byte of the code, counted from the start of all of it.
    pub offset: u32,
    /// The number of the function.
    pub function: u32,
    /// The line of the source text, from 1; of a body without text, the offset of the instruction in it, in bytes.
    pub line: u32,
}

/// Machine code that is not placed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeBuffer {
    /// The instructions, less than 256 MiB.
    pub bytes: Vec<u8>,
    /// What depends on addresses outside, by ascending offset.
    pub relocations: Vec<Relocation>,
    /// Where the code comes from, by ascending offset; empty if it was not recorded.
    pub source_map: Vec<SourceLoc>,
}

impl CodeBuffer {
    /// Where the instruction at `offset` comes from: the last origin at or before it.
    pub fn source_loc(&self, offset: u32) -> Option<SourceLoc> {
        let after = self.source_map.partition_point(|origin| origin.offset <= offset);
        self.source_map.get(after.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_holds_up_to_the_next_one() {
        let origin = |offset| SourceLoc { offset, function: 1, line: offset * 2 };
        let source_map = [4, 9].map(origin).to_vec();
        let code = CodeBuffer { source_map, ..CodeBuffer::default() };
        assert_eq!(code.source_loc(3), None);
        assert_eq!(code.source_loc(4), Some(origin(4)));
        assert_eq!(code.source_loc(8), Some(origin(4)));
        assert_eq!(code.source_loc(100), Some(origin(9)));
    }
}
