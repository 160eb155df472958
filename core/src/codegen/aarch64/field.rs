//! The fields of instructions that hold the distance to a label.

use crate::codegen::label::Label;

/// The field of an instruction that holds a distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Words, in the low 26 bits.
    Branch26,
    /// Words, in 19 bits from bit 5 on.
    Word19,
    /// Words, in 14 bits from bit 5 on.
    Branch14,
    /// Bytes, the two lowest from bit 29 on, the others from bit 5 on.
    Adr21,
    /// The low 16 bits of the bytes from the instruction before, from bit 5 on.
    Low16,
    /// The next 16 bits of the bytes from the instruction two before, from bit 5 on.
    High16,
}

/// A reference to a label.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixup {
    pub(super) offset: u32,
    pub(super) label: Label,
    pub(super) field: Field,
}

impl Field {
    /// The distances that it can hold are below this number of bytes, in both directions.
    pub(super) fn limit(self) -> i64 {
        match self {
            Self::Branch26 => 1 << 27,
            Self::Word19 | Self::Adr21 => 1 << 20,
            Self::Branch14 => 1 << 15,
            Self::Low16 | Self::High16 => 1 << 31,
        }
    }

    /// The bits of a distance; `None` if it is too large.
    pub(super) fn encode(self, distance: i64) -> Option<u32> {
        if !(-self.limit()..self.limit()).contains(&distance) {
            return None;
        }
        let [a, b, c, d, ..] = distance.to_le_bytes();
        let bits = u32::from_le_bytes([a, b, c, d]);
        Some(match self {
            Self::Branch26 => bits >> 2 & 0x03ff_ffff,
            Self::Word19 => (bits >> 2 & 0x7_ffff) << 5,
            Self::Branch14 => (bits >> 2 & 0x3fff) << 5,
            Self::Low16 => (bits.wrapping_add(4) & 0xffff) << 5,
            Self::High16 => (bits.wrapping_add(8) >> 16) << 5,
            Self::Adr21 => (bits & 3) << 29 | (bits >> 2 & 0x7_ffff) << 5,
        })
    }
}
