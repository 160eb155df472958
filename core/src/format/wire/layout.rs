//! The wire layouts as tables: offsets, strides and numberings.
//!
//! Source: the SMF specification v1.1 and what its writers emit. The native layout is a C struct with padding, the
//! packed one has no padding; the two number sections, symbols and relocations differently. Padding may hold garbage
//! and is ignored.

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
/// Bytes of a section's name; shorter names are padded with NUL.
pub const SECTION_NAME: usize = 16;
/// The section marker of an import.
pub(crate) const IMPORT_SECTION: u16 = 0xffff;
/// The byte at 43 that says there is a section index at 41.
pub(crate) const SECTION_MARKER: u8 = 0x53;
/// The maximum alignment of a section, in bytes.
pub const MAX_ALIGNMENT: u64 = 4096;

/// Whether this build reads every kind of module. Without the feature `all-files` it refuses ELF objects, undeclared
/// stubs, the compact layout and prelinked placement.
pub(crate) const ALL_FILES: bool = cfg!(feature = "all-files");

/// The layout of a module in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A 96-byte header with C padding, usually at offset 0.
    Native,
    /// A 128-byte header without padding, usually at the end.
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
    #[inline]
    pub const fn is_object(self) -> bool {
        ALL_FILES && matches!(self, Layout::ElfX86_64 | Layout::ElfAarch64)
    }

    /// Whether this is the compact layout. Constant `false` without `all-files`.
    #[inline]
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

    pub(crate) const fn header_fields(self) -> &'static HeaderFields {
        match self {
            Layout::Native => &NATIVE,
            _ => &PACKED,
        }
    }

    const fn numbering(self) -> &'static Numbering {
        match self {
            Layout::Native => &NATIVE_NUMBERS,
            // The numbers of ELF are wider, and for its reader to understand.
            _ => &PACKED_NUMBERS,
        }
    }

    /// The section kind with number `value` in this layout.
    #[inline]
    pub fn section_kind(self, value: u8) -> SectionKind {
        let kinds = match self {
            Layout::Native => &NATIVE_SECTIONS,
            _ => &PACKED_SECTIONS,
        };
        kinds.get(usize::from(value)).copied().unwrap_or(SectionKind::Unknown(value))
    }

    /// The symbol kind with number `value` in this layout; `None` for an undefined number.
    #[inline]
    pub fn symbol_kind(self, value: u8) -> Option<SymbolKind> {
        self.numbering().symbols.get(usize::from(value)).copied()
    }

    /// The relocation kind with number `value` in this layout.
    #[inline]
    pub fn reloc_kind(self, value: u8) -> RelocKind {
        reloc_kind(self.reloc_kinds(), value)
    }

    /// The relocation kinds by number, for [`reloc_kind`].
    #[inline]
    pub(crate) const fn reloc_kinds(self) -> &'static [RelocKind] {
        self.numbering().relocs
    }

    /// The number of a section kind in this layout; `None` if the layout does not define it.
    pub fn section_number(self, kind: SectionKind) -> Option<u8> {
        if let SectionKind::Unknown(value) = kind {
            // A number that means something here would change its meaning.
            return (self.section_kind(value) == kind).then_some(value);
        }
        number(self.numbering().sections, Some(kind))
    }

    /// The number of a symbol kind in this layout; `None` if the layout does not define it.
    pub fn symbol_number(self, kind: SymbolKind) -> Option<u8> {
        match (self, kind) {
            (Layout::Packed, SymbolKind::Section) => {
                number(self.numbering().symbols, SymbolKind::Type)
            }
            _ => number(self.numbering().symbols, kind),
        }
    }

    /// The number of a relocation kind in this layout; `None` if the layout does not define it.
    pub fn reloc_number(self, kind: RelocKind) -> Option<u8> {
        number(self.numbering().relocs, kind)
    }
}

/// The symbol types of the packed layout that have an address, one bit for each. Type 2 is excluded: it is a section
/// only in combination with other fields.
pub(crate) const PACKED_ADDRESSED: u32 = {
    let (mut bits, mut bit, mut kinds) = (0, 1u32, PACKED_NUMBERS.symbols);
    while let Some((kind, rest)) = kinds.split_first() {
        bits |= if kind.has_address() { bit } else { 0 };
        (bit, kinds) = (bit << 1, rest);
    }
    bits
};

/// The relocation kind with number `value` in the table `kinds`.
#[inline]
pub(crate) fn reloc_kind(kinds: &[RelocKind], value: u8) -> RelocKind {
    kinds.get(usize::from(value)).copied().unwrap_or(RelocKind::Unknown(value))
}

fn number<T: PartialEq>(table: &[T], wanted: T) -> Option<u8> {
    table.iter().position(|entry| *entry == wanted).and_then(|at| u8::try_from(at).ok())
}

/// Offsets of header fields, in bytes from the magic.
pub(crate) struct HeaderFields {
    pub(crate) section_count: usize,
    pub(crate) section_table: usize,
    pub(crate) symbol_table: usize,
    pub(crate) symbol_count: usize,
    pub(crate) exported_count: usize,
    pub(crate) entry_point: usize,
    pub(crate) stub_size: usize,
    pub(crate) data_offset: usize,
    pub(crate) module_hash: usize,
    pub(crate) source_hash: usize,
    pub(crate) app_type: usize,
    pub(crate) window_width: usize,
    pub(crate) window_height: usize,
    pub(crate) prefetch_hint: usize,
    pub(crate) prefetch_files: usize,
}

const NATIVE: HeaderFields = HeaderFields {
    section_count: 16,
    section_table: 24,
    symbol_table: 32,
    symbol_count: 40,
    exported_count: 44,
    entry_point: 48,
    stub_size: 56,
    data_offset: 60,
    module_hash: 64,
    source_hash: 72,
    app_type: 80,
    window_width: 82,
    window_height: 84,
    prefetch_hint: 86,
    prefetch_files: 87,
};

const PACKED: HeaderFields = HeaderFields {
    section_count: 16,
    section_table: 20,
    symbol_table: 28,
    symbol_count: 36,
    exported_count: 40,
    entry_point: 44,
    stub_size: 52,
    data_offset: 56,
    module_hash: 60,
    source_hash: 68,
    app_type: 76,
    window_width: 77,
    window_height: 79,
    prefetch_hint: 81,
    prefetch_files: 82,
};

/// The numberings of a layout; the index is the number.
struct Numbering {
    sections: &'static [Option<SectionKind>],
    symbols: &'static [SymbolKind],
    relocs: &'static [RelocKind],
}

const NATIVE_NUMBERS: Numbering = {
    use SectionKind as S;
    Numbering {
        sections: &[
            None,
            Some(S::Code),
            Some(S::Data),
            Some(S::RoData),
            Some(S::Bss),
            Some(S::Reloc),
            Some(S::SymTab),
            Some(S::StrTab),
            Some(S::Debug),
            Some(S::TypeInfo),
            Some(S::Version),
            Some(S::SrcMap),
            Some(S::TemplateCode),
            Some(S::TemplateMeta),
            Some(S::DrvManifest),
            Some(S::LaunchMeta),
            Some(S::AspectPackDirectory),
        ],
        symbols: &[
            SymbolKind::None,
            SymbolKind::Function,
            SymbolKind::Data,
            SymbolKind::Type,
            SymbolKind::Trait,
            SymbolKind::Actor,
            SymbolKind::Constant,
        ],
        relocs: &[
            RelocKind::None,
            RelocKind::Abs64,
            RelocKind::Pc32,
            RelocKind::Plt32,
            RelocKind::GotPcRel,
            RelocKind::Arm64Branch26,
            RelocKind::Arm64Page21,
            RelocKind::Arm64PageOff12,
            RelocKind::Arm64GotLoadPage21,
            RelocKind::Arm64GotLoadPageOff12,
        ],
    }
};

const PACKED_NUMBERS: Numbering = {
    use SectionKind as S;
    Numbering {
        sections: &[
            None,
            Some(S::Code),
            Some(S::Data),
            Some(S::RoData),
            Some(S::Bss),
            Some(S::Reloc),
            Some(S::StrTab),
            Some(S::Note),
            Some(S::Debug),
            Some(S::SymTab),
            None,
            None,
            Some(S::TemplateCode),
            Some(S::TemplateMeta),
            Some(S::DrvManifest),
            Some(S::LaunchMeta),
            Some(S::AspectPackDirectory),
        ],
        symbols: &[
            SymbolKind::Function,
            SymbolKind::Data,
            SymbolKind::Type,
            SymbolKind::Trait,
            SymbolKind::Actor,
            SymbolKind::Constant,
        ],
        relocs: &[
            RelocKind::None,
            RelocKind::Abs64,
            RelocKind::Pc32,
            RelocKind::Plt32,
            RelocKind::GotPcRel,
            RelocKind::Abs32,
        ],
    }
};

/// The section kind of every type byte.
static NATIVE_SECTIONS: [SectionKind; 256] = section_kinds(NATIVE_NUMBERS.sections);
static PACKED_SECTIONS: [SectionKind; 256] = section_kinds(PACKED_NUMBERS.sections);

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time, where it cannot panic")]
const fn section_kinds(named: &[Option<SectionKind>]) -> [SectionKind; 256] {
    let mut kinds = [SectionKind::Unknown(0); 256];
    let mut value = 0u8;
    loop {
        kinds[value as usize] = match value as usize {
            at if at < named.len() => match named[at] {
                Some(kind) => kind,
                None => SectionKind::Unknown(value),
            },
            _ => SectionKind::Unknown(value),
        };
        if value == u8::MAX {
            return kinds;
        }
        value += 1;
    }
}

// The fields fill the wire structs.
const _: () = {
    assert!(NATIVE.prefetch_files + 1 + 8 == NATIVE_HEADER);
    assert!(PACKED.prefetch_files + 1 + 45 == PACKED_HEADER);
    assert!(NATIVE.section_table.is_multiple_of(8) && NATIVE.source_hash + 8 == NATIVE.app_type);
    assert!(PACKED.section_table + 8 == PACKED.symbol_table);
    assert!(PACKED.source_hash + 8 == PACKED.app_type);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back() {
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
    fn the_two_numberings_differ_where_the_facts_say_so() {
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
        assert_eq!(Layout::Native.section_number(SectionKind::Note), None);
        assert_eq!(Layout::Packed.reloc_number(RelocKind::Arm64Page21), None);
    }
}
