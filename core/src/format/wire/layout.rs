//! The wire layouts as tables: offsets, strides and numberings.
//!
//! Sources: the SMF specification v1.1 and the output of its writers. The native layout is a C struct with padding; the
//! packed layout has no padding. The two number sections, symbols and relocations differently. Padding may hold any
//! bytes and is ignored.

use crate::format::model::{RelocKind, SectionKind, SymbolKind};

/// `SMF\0`, the first four bytes of every header.
pub const MAGIC: [u8; 4] = *b"SMF\0";
/// Bytes of a native header.
pub(crate) const NATIVE_HEADER: usize = 96;
/// Bytes of a packed or compact header.
pub(crate) const PACKED_HEADER: usize = 128;
/// Bytes of a native section entry.
pub(crate) const NATIVE_SECTION: usize = 56;
/// Bytes of a packed section entry.
pub(crate) const PACKED_SECTION: usize = 64;
/// Bytes of a compact section entry.
pub(crate) const COMPACT_SECTION: usize = 32;
/// Bytes of a symbol in the native and in the packed layout.
pub(crate) const SYMBOL: usize = 56;
/// Bytes of a relocation.
pub(crate) const RELOC: usize = 24;
/// Bytes of the header of an ELF object.
pub(crate) const ELF_HEADER: usize = 64;
/// Bytes of a section header of an ELF object.
pub(crate) const ELF_SECTION: usize = 64;
/// Bytes of a symbol of an ELF object.
pub(crate) const ELF_SYMBOL: usize = 24;
/// The first bytes of every ELF file.
pub(crate) const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// ELF machine numbers whose relocations are known here.
pub(crate) const EM_X86_64: u16 = 62;
pub(crate) const EM_AARCH64: u16 = 183;
/// Bytes of a section's name; shorter names are padded with NUL.
pub const SECTION_NAME: usize = 16;
/// The section marker of an import.
pub(crate) const IMPORT_SECTION: u16 = 0xffff;
/// The value of byte 43 that marks a section index at byte 41.
pub(crate) const SECTION_MARKER: u8 = 0x53;
/// The maximum alignment of a section, in bytes: a large page. Other readers refuse alignments above 4,096.
pub const MAX_ALIGNMENT: u64 = 2 << 20;

/// Whether this build reads every kind of module. Without the feature `all-files` it refuses ELF objects, undeclared
/// stubs, the compact layout and prelinked placement.
pub(crate) const ALL_FILES: bool = cfg!(feature = "all-files");

/// The layout of a module in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A 96-byte header with C padding, usually at offset 0.
    Native,
    /// A 128-byte header without padding, usually at the end.
    #[default]
    Packed,
    /// A 128-byte header and 32-byte named sections; no symbols.
    Compact,
    /// An ELF shared object with a packed trailer.
    Dynlib,
    /// A relocatable ELF object for x86-64 in a code section, as returned by [`Smf::object`]. No file has this
    /// layout.
    ///
    /// [`Smf::object`]: crate::format::Smf::object
    ElfX86_64,
    /// The same for aarch64.
    ElfAarch64,
}

impl Layout {
    /// The layout's name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Layout::Native => "native",
            Layout::Packed => "packed",
            Layout::Compact => "compact",
            Layout::Dynlib => "dynlib",
            Layout::ElfX86_64 | Layout::ElfAarch64 => "elf",
        }
    }

    /// Whether this is the layout of an ELF object. Constant `false` without `all-files`.
    pub const fn is_object(self) -> bool {
        ALL_FILES && matches!(self, Layout::ElfX86_64 | Layout::ElfAarch64)
    }

    /// Whether this is the compact layout. Constant `false` without `all-files`.
    pub(crate) const fn is_compact(self) -> bool {
        ALL_FILES && matches!(self, Layout::Compact)
    }

    /// Bytes from one section entry to the next.
    pub(crate) const fn section_stride(self) -> usize {
        match self {
            Layout::Native => NATIVE_SECTION,
            Layout::Packed | Layout::Dynlib => PACKED_SECTION,
            Layout::ElfX86_64 | Layout::ElfAarch64 => ELF_SECTION,
            Layout::Compact => COMPACT_SECTION,
        }
    }

    /// Bytes of the header.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Layout::Native => NATIVE_HEADER,
            Layout::Packed | Layout::Compact | Layout::Dynlib => PACKED_HEADER,
            Layout::ElfX86_64 | Layout::ElfAarch64 => ELF_HEADER,
        }
    }

    /// The section kind with number `value` in this layout.
    #[inline]
    pub fn section_kind(self, value: u8) -> SectionKind {
        match SECTIONS.get(usize::from(value)) {
            Some((native, _)) if self == Layout::Native => *native,
            // ELF section types are wider than a byte; the ELF reader decodes them.
            Some((_, packed)) => *packed,
            None => SectionKind::Unknown(value),
        }
    }

    /// The symbol kinds by number.
    const fn symbol_kinds(self) -> &'static [SymbolKind] {
        match (self, &SymbolKind::ALL) {
            (Layout::Native, [kinds @ .., SymbolKind::Section]) => kinds,
            (_, [SymbolKind::None, kinds @ .., SymbolKind::Section]) => kinds,
            _ => &[],
        }
    }

    /// The symbol kind with number `value` in this layout; `None` for an undefined number.
    pub fn symbol_kind(self, value: u8) -> Option<SymbolKind> {
        self.symbol_kinds().get(usize::from(value)).copied()
    }

    /// The relocation kind with number `value` in this layout.
    pub fn reloc_kind(self, value: u8) -> RelocKind {
        reloc_kind(self.reloc_kinds(), value)
    }

    /// The relocation kinds by number, for [`reloc_kind`].
    pub(crate) const fn reloc_kinds(self) -> &'static [RelocKind] {
        match self {
            Layout::Native => NATIVE_RELOCS,
            _ => &PACKED_RELOCS,
        }
    }

    /// The number of a section kind in this layout; `None` if the layout does not define it.
    pub fn section_number(self, kind: SectionKind) -> Option<u8> {
        (0..=u8::MAX).find(|value| self.section_kind(*value) == kind)
    }

    /// The number of a symbol kind in this layout; `None` if the layout does not define it.
    pub fn symbol_number(self, kind: SymbolKind) -> Option<u8> {
        match (self, kind) {
            (Layout::Packed, SymbolKind::Section) => self.symbol_number(SymbolKind::Type),
            _ => number(self.symbol_kinds(), kind),
        }
    }

    /// The number of a relocation kind in this layout; `None` if the layout does not define it.
    pub fn reloc_number(self, kind: RelocKind) -> Option<u8> {
        number(self.reloc_kinds(), kind)
    }
}

/// The symbol types of the packed layout that have an address, one bit for each. Type 2 is excluded: it is a section
/// only in combination with other fields.
pub(crate) const PACKED_ADDRESSED: u32 = {
    let (mut bits, mut bit, mut kinds) = (0, 1u32, Layout::Packed.symbol_kinds());
    while let Some((kind, rest)) = kinds.split_first() {
        bits |= if kind.has_address() { bit } else { 0 };
        (bit, kinds) = (bit << 1, rest);
    }
    bits
};

/// The relocation kind with number `value` in the table `kinds`.
pub(crate) fn reloc_kind(kinds: &[RelocKind], value: u8) -> RelocKind {
    kinds.get(usize::from(value)).copied().unwrap_or(RelocKind::Unknown(value))
}

fn number<T: PartialEq>(table: &[T], wanted: T) -> Option<u8> {
    table.iter().position(|entry| *entry == wanted).and_then(|at| u8::try_from(at).ok())
}

/// The section kinds by number, each in the native and in the packed layout; higher numbers are unknown.
static SECTIONS: [(SectionKind, SectionKind); 17] = {
    use SectionKind as S;
    [
        (S::Unknown(0), S::Unknown(0)),
        (S::Code, S::Code),
        (S::Data, S::Data),
        (S::RoData, S::RoData),
        (S::Bss, S::Bss),
        (S::Reloc, S::Reloc),
        (S::SymTab, S::StrTab),
        (S::StrTab, S::Note),
        (S::Debug, S::Debug),
        (S::TypeInfo, S::SymTab),
        (S::Version, S::Unknown(10)),
        (S::SrcMap, S::Unknown(11)),
        (S::TemplateCode, S::TemplateCode),
        (S::TemplateMeta, S::TemplateMeta),
        (S::DrvManifest, S::DrvManifest),
        (S::LaunchMeta, S::LaunchMeta),
        (S::AspectPackDirectory, S::AspectPackDirectory),
    ]
};

/// The relocation kinds of the native layout by number, up to those of aarch64.
const NATIVE_RELOCS: &[RelocKind] = RelocKind::ALL.split_at(10).0;

/// The relocation kinds of the packed layout by number. Those from 6 on are extensions of this project, which other
/// readers refuse: 6 to 9 as in the native layout, and one behind all numbers of that.
const PACKED_RELOCS: [RelocKind; 11] = [
    RelocKind::None,
    RelocKind::Abs64,
    RelocKind::Pc32,
    RelocKind::Plt32,
    RelocKind::GotPcRel,
    RelocKind::Abs32,
    RelocKind::Arm64Page21,
    RelocKind::Arm64PageOff12,
    RelocKind::Arm64GotLoadPage21,
    RelocKind::Arm64GotLoadPageOff12,
    RelocKind::Abs32S,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_numbers_round_trip() {
        for layout in [Layout::Native, Layout::Packed] {
            for value in 0..=255u8 {
                assert_eq!(layout.section_number(layout.section_kind(value)), Some(value));
                if let Some(kind) = layout.symbol_kind(value) {
                    assert_eq!(layout.symbol_number(kind), Some(value));
                }
                if let kind @ (RelocKind::None | RelocKind::Abs64) = layout.reloc_kind(value) {
                    assert_eq!(layout.reloc_number(kind), Some(value));
                }
            }
        }
    }

    #[test]
    fn numberings_of_both_layouts_match_the_specification() {
        assert_eq!(Layout::Native.section_kind(7), SectionKind::StrTab);
        assert_eq!(Layout::Packed.section_kind(7), SectionKind::Note);
        assert_eq!(Layout::Native.section_kind(6), SectionKind::SymTab);
        assert_eq!(Layout::Packed.section_kind(6), SectionKind::StrTab);
        assert_eq!(Layout::Packed.section_kind(9), SectionKind::SymTab);
        assert_eq!(Layout::Packed.section_kind(10), SectionKind::Unknown(10));
        assert_eq!(Layout::Native.symbol_kind(1), Some(SymbolKind::Function));
        assert_eq!(Layout::Packed.symbol_kind(0), Some(SymbolKind::Function));
        assert_eq!(Layout::Native.reloc_kind(5), RelocKind::Arm64Branch26);
        assert_eq!(Layout::Packed.reloc_kind(5), RelocKind::Abs32);
        assert_eq!(Layout::Packed.reloc_kind(9), RelocKind::Arm64GotLoadPageOff12);
        assert_eq!(Layout::Packed.reloc_number(RelocKind::Abs32S), Some(10));
        assert_eq!(Layout::Native.reloc_kind(10), RelocKind::Unknown(10));
        assert_eq!(Layout::Native.section_number(SectionKind::Note), None);
        assert_eq!(Layout::Packed.reloc_number(RelocKind::Arm64Page21), Some(6));
        assert_eq!(Layout::Packed.reloc_number(RelocKind::Arm64Branch26), None);
    }
}
