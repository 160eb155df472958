//! Where a symbol is, in eight bytes: a module has thousands of them, and each relocation asks for one.

/// What a symbol stands for while its module is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SymbolAddress(u64);

/// Bits of a target below the number of its section: a tebibyte in each of sixteen million sections, which
/// the common symbols of an ELF object are as well.
const VALUE_BITS: u32 = 40;
/// In the place of the number of a section: the symbol of another module.
const IMPORT: u32 = 0xff_ffff;

impl SymbolAddress {
    /// Nowhere: it names something that has no place in memory.
    pub(super) const NOWHERE: SymbolAddress = SymbolAddress(u64::MAX);
    /// How many sections symbols can be in.
    pub(super) const SECTIONS: u32 = IMPORT;
    /// How far from the begin of its section a symbol can be.
    pub(super) const LAST: u64 = (1 << VALUE_BITS) - 1;

    /// `value` bytes from the begin of a section; `None` for more than [`SymbolAddress::LAST`], or
    /// a section past [`SymbolAddress::SECTIONS`].
    pub(super) fn in_section(section: u32, value: u64) -> Option<Self> {
        let fits = section < Self::SECTIONS && value <= Self::LAST;
        fits.then_some(Self::within(section, value))
    }

    /// As [`SymbolAddress::in_section`], for fewer than [`SymbolAddress::SECTIONS`] and [`SymbolAddress::LAST`] bytes at most.
    #[cfg_attr(feature = "full", inline(always))]
    pub(super) fn within(section: u32, value: u64) -> Self {
        SymbolAddress(u64::from(section) << VALUE_BITS | value)
    }

    /// The import with this number, in the order of the symbol table.
    pub(super) fn import(number: u32) -> Self {
        SymbolAddress(u64::from(IMPORT) << VALUE_BITS | u64::from(number))
    }

    #[cfg_attr(feature = "full", inline(always))]
    pub(super) fn is_import(self) -> bool {
        self.0 >> VALUE_BITS == u64::from(IMPORT) && self != Self::NOWHERE
    }

    /// Whether it is in none of so many sections, but in what was numbered behind them.
    pub(super) fn is_behind(self, sections: usize) -> bool {
        !self.is_import() && self != Self::NOWHERE && self.split().0 >= sections
    }

    /// The number of its section, or of an import, and bytes from the begin of the section.
    #[cfg_attr(feature = "full", inline(always))]
    fn split(self) -> (usize, u64) {
        let section = usize::try_from(self.0 >> VALUE_BITS).unwrap_or(usize::MAX);
        (section, self.0 & Self::LAST)
    }

    /// Its address, where `sections` has those of the sections and `imports` those of the imports; `None`
    /// when it has none.
    #[inline(always)]
    pub(super) fn address(self, sections: &[u64], imports: &[u64]) -> Option<u64> {
        let (section, value) = self.split();
        match sections.get(section) {
            Some(begin) => Some(begin.wrapping_add(value)),
            None => imports.get(usize::try_from(value).ok()?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_address_of_what_it_was_made_from() {
        let (sections, imports) = ([0x1000, 0x2000, 0], [u64::MAX, 7]);
        let address = |target: SymbolAddress| target.address(&sections, &imports);
        for (section, begin) in (0u32..).zip(sections) {
            for value in [0, 1, SymbolAddress::LAST] {
                let target = SymbolAddress::in_section(section, value).unwrap();
                assert!(!target.is_import() && target != SymbolAddress::NOWHERE);
                assert_eq!(address(target), Some(begin + value));
            }
        }
        for (number, there) in (0u32..).zip(imports) {
            assert!(SymbolAddress::import(number).is_import());
            assert_eq!(address(SymbolAddress::import(number)), Some(there));
        }
        for nobody in [SymbolAddress::import(2), SymbolAddress::NOWHERE] {
            assert_eq!(address(nobody), None);
        }
        assert!(!SymbolAddress::NOWHERE.is_import() && SymbolAddress::import(u32::MAX).is_import());
        let behind = [
            SymbolAddress::NOWHERE,
            SymbolAddress::import(7),
            SymbolAddress::within(2, 5),
            SymbolAddress::within(3, 0),
        ]
        .map(|target| target.is_behind(3));
        assert_eq!(behind, [false, false, false, true]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(SymbolAddress::in_section(0, SymbolAddress::LAST + 1), None);
        assert_eq!(SymbolAddress::in_section(0xff_ffff, 0), None);
        assert!(SymbolAddress::in_section(0xff_fffe, SymbolAddress::LAST).is_some());
    }
}
