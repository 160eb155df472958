//! The address of a symbol relative to its section, packed into eight bytes.

/// The location of a symbol while its module is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SymbolAddress(u64);

/// Bits of the offset; the section index is above them. Sections are limited to 1 TiB each and to 2^24 - 1 in number;
/// common symbols of an ELF object are sections too.
const OFFSET_BITS: u32 = 40;
/// The section index that marks an import.
const IMPORT: u32 = 0xff_ffff;

impl SymbolAddress {
    /// A symbol without a location in memory.
    pub(super) const NONE: SymbolAddress = SymbolAddress(u64::MAX);
    /// The maximum number of sections.
    pub(super) const MAX_SECTIONS: u32 = IMPORT;
    /// The maximum offset of a symbol in its section, in bytes.
    pub(super) const MAX_OFFSET: u64 = (1 << OFFSET_BITS) - 1;

    /// `offset` bytes from the start of a section; `None` if `offset` exceeds [`SymbolAddress::MAX_OFFSET`] or
    /// `section` is not below [`SymbolAddress::MAX_SECTIONS`].
    pub(super) fn in_section(section: u32, offset: u64) -> Option<Self> {
        let fits = section < Self::MAX_SECTIONS && offset <= Self::MAX_OFFSET;
        fits.then_some(Self::in_checked_section(section, offset))
    }

    /// As [`SymbolAddress::in_section`], for values within its limits.
    pub(super) fn in_checked_section(section: u32, offset: u64) -> Self {
        SymbolAddress(u64::from(section) << OFFSET_BITS | offset)
    }

    /// The import with this number, in the order of the symbol table.
    pub(super) fn import(number: u32) -> Self {
        SymbolAddress(u64::from(IMPORT) << OFFSET_BITS | u64::from(number))
    }

    pub(super) fn is_import(self) -> bool {
        self.0 >> OFFSET_BITS == u64::from(IMPORT) && self != Self::NONE
    }

    /// Whether the symbol is preserved data, which is numbered behind the `sections` sections of the image.
    pub(super) fn is_preserved(self, sections: usize) -> bool {
        !self.is_import() && self != Self::NONE && self.split().0 >= sections
    }

    /// The section index and the offset; of an import [`IMPORT`] and its number.
    fn split(self) -> (usize, u64) {
        let section = usize::try_from(self.0 >> OFFSET_BITS).unwrap_or(usize::MAX);
        (section, self.0 & Self::MAX_OFFSET)
    }

    /// The absolute address, given those of all sections and imports; `None` for [`SymbolAddress::NONE`].
    #[inline]
    pub(super) fn resolve(self, sections: &[u64], imports: &[u64]) -> Option<u64> {
        let (section, offset) = self.split();
        match sections.get(section) {
            Some(start) => Some(start.wrapping_add(offset)),
            None => imports.get(usize::try_from(offset).ok()?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_resolved_from_its_section_or_import() {
        let (sections, imports) = ([0x1000, 0x2000, 0], [u64::MAX, 7]);
        let address = |target: SymbolAddress| target.resolve(&sections, &imports);
        for (section, start) in (0u32..).zip(sections) {
            for value in [0, 1, SymbolAddress::MAX_OFFSET] {
                let target = SymbolAddress::in_section(section, value).unwrap();
                assert!(!target.is_import() && target != SymbolAddress::NONE);
                assert_eq!(address(target), Some(start + value));
            }
        }
        for (number, there) in (0u32..).zip(imports) {
            assert!(SymbolAddress::import(number).is_import());
            assert_eq!(address(SymbolAddress::import(number)), Some(there));
        }
        for absent in [SymbolAddress::import(2), SymbolAddress::NONE] {
            assert_eq!(address(absent), None);
        }
        assert!(!SymbolAddress::NONE.is_import() && SymbolAddress::import(u32::MAX).is_import());
        let preserved = [
            SymbolAddress::NONE,
            SymbolAddress::import(7),
            SymbolAddress::in_checked_section(2, 5),
            SymbolAddress::in_checked_section(3, 0),
        ]
        .map(|target| target.is_preserved(3));
        assert_eq!(preserved, [false, false, false, true]);
    }

    #[test]
    fn section_or_offset_out_of_range_is_refused() {
        assert_eq!(SymbolAddress::in_section(0, SymbolAddress::MAX_OFFSET + 1), None);
        assert_eq!(SymbolAddress::in_section(0xff_ffff, 0), None);
        assert!(SymbolAddress::in_section(0xff_fffe, SymbolAddress::MAX_OFFSET).is_some());
    }
}
