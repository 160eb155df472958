//! The address of a symbol relative to its section.

/// The location of a symbol while its module is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SymbolAddress {
    /// No location in memory.
    None,
    /// The import with this number, in the order of the symbol table.
    Import(u32),
    /// Bytes from the start of the section with this index. Preserved data is numbered behind the sections of the image.
    Section(u32, u64),
}

impl SymbolAddress {
    pub(super) fn is_import(self) -> bool {
        matches!(self, Self::Import(_))
    }

    /// Whether the symbol is preserved data, where the image has this many sections.
    pub(super) fn is_preserved(self, sections: usize) -> bool {
        matches!(self, Self::Section(section, _) if u64::from(section) >= sections as u64)
    }

    /// The absolute address, given those of all sections and imports.
    #[inline]
    pub(super) fn resolve(self, sections: &[u64], imports: &[u64]) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Import(number) => imports.get(usize::try_from(number).ok()?).copied(),
            Self::Section(section, offset) => {
                let start = sections.get(usize::try_from(section).ok()?)?;
                Some(start.wrapping_add(offset))
            }
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
            for value in [0, 1, 1 << 40] {
                assert_eq!(address(SymbolAddress::Section(section, value)), Some(start + value));
            }
        }
        for (number, there) in (0u32..).zip(imports) {
            assert_eq!(address(SymbolAddress::Import(number)), Some(there));
        }
        for absent in [SymbolAddress::Import(2), SymbolAddress::Section(3, 0), SymbolAddress::None]
        {
            assert_eq!(address(absent), None);
        }
        let preserved = [
            SymbolAddress::None,
            SymbolAddress::Import(7),
            SymbolAddress::Section(2, 5),
            SymbolAddress::Section(3, 0),
        ];
        assert_eq!(preserved.map(|target| target.is_preserved(3)), [false, false, false, true]);
    }
}
