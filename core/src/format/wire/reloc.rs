//! Relocation entries.

use crate::format::model::{Reloc, RelocKind};
use crate::format::wire::{RELOC, i64_at, put, reloc_kind, u8_at, u32_at, u64_at};

impl Reloc {
    #[inline]
    pub(crate) fn decode(entry: RelocEntry<'_>, kinds: &[RelocKind]) -> Self {
        Reloc {
            offset: entry.offset(),
            symbol: entry.symbol(),
            kind: reloc_kind(kinds, entry.number()),
            addend: entry.addend(),
        }
    }

    /// Encodes the relocation with `number` for the kind. Padding is zero.
    pub(crate) fn encode(&self, number: u8) -> [u8; RELOC] {
        let mut bytes = [0; RELOC];
        put(&mut bytes, 0, &self.offset.to_le_bytes());
        put(&mut bytes, 8, &self.symbol.to_le_bytes());
        put(&mut bytes, 12, &[number]);
        put(&mut bytes, 16, &self.addend.to_le_bytes());
        bytes
    }
}

/// An undecoded relocation, for callers that need few fields of many entries.
#[derive(Clone, Copy, Debug)]
pub struct RelocEntry<'d>(pub(crate) &'d [u8; RELOC]);

impl RelocEntry<'_> {
    /// As [`Reloc::offset`].
    pub fn offset(&self) -> u64 {
        u64_at(self.0, 0).unwrap_or(0)
    }

    /// As [`Reloc::symbol`].
    pub fn symbol(&self) -> u32 {
        u32_at(self.0, 8).unwrap_or(0)
    }

    /// The number of the kind in the layout of the file.
    pub fn number(&self) -> u8 {
        u8_at(self.0, 12).unwrap_or(0)
    }

    /// As [`Reloc::addend`].
    pub fn addend(&self) -> i64 {
        i64_at(self.0, 16).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::Layout;

    #[test]
    fn encoding_round_trips() {
        let reloc =
            Reloc { offset: 0x0102_0304_0506_0708, symbol: 9, kind: RelocKind::Plt32, addend: -4 };
        for layout in [Layout::Native, Layout::Packed] {
            let number = layout.reloc_number(reloc.kind).unwrap();
            let bytes = reloc.encode(number);
            let entry = RelocEntry(&bytes);
            assert_eq!(Reloc::decode(entry, layout.reloc_kinds()), reloc);
            assert_eq!((entry.offset(), entry.symbol()), (reloc.offset, reloc.symbol));
            assert_eq!((entry.number(), entry.addend()), (number, reloc.addend));
        }
    }
}
