//! Section headers of an ELF object.

use crate::format::model::{SectionFlags, SectionKind};
use crate::format::read::section::Sections;
use crate::format::wire::{ELF_SECTION, name_at, slice, u16_at, u32_at, u64_at};

/// Offset of `e_shstrndx`.
pub(crate) const E_SHSTRNDX: usize = 62;

pub(crate) const SHT_NULL: u32 = 0;
pub(crate) const SHT_PROGBITS: u32 = 1;
pub(crate) const SHT_SYMTAB: u32 = 2;
pub(crate) const SHT_STRTAB: u32 = 3;
pub(crate) const SHT_RELA: u32 = 4;
pub(crate) const SHT_NOBITS: u32 = 8;
pub(crate) const SHT_REL: u32 = 9;
pub(crate) const SHT_INIT_ARRAY: u32 = 14;
pub(crate) const SHT_FINI_ARRAY: u32 = 15;
pub(crate) const SHT_PREINIT_ARRAY: u32 = 16;
pub(crate) const SHT_CREL: u32 = 0x4000_0014;

pub(crate) const SHF_WRITE: u64 = 1;
pub(crate) const SHF_ALLOC: u64 = 2;
pub(crate) const SHF_EXECINSTR: u64 = 4;
pub(crate) const SHF_TLS: u64 = 0x400;
pub(crate) const SHF_COMPRESSED: u64 = 0x800;

/// A section header, decoded.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) name: u32,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) info: u32,
    pub(crate) alignment: u64,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8; ELF_SECTION]) -> Option<Self> {
        let kind = u32_at(bytes, 4)?;
        Some(Header {
            name: u32_at(bytes, 0)?,
            kind,
            flags: u64_at(bytes, 8)?,
            offset: u64_at(bytes, 24)?,
            size: u64_at(bytes, 32)?,
            link: u32_at(bytes, 40)?,
            info: u32_at(bytes, 44)?,
            // The alignment of an unused entry is ignored.
            alignment: if kind == SHT_NULL { 1 } else { u64_at(bytes, 48)?.max(1) },
        })
    }

    pub(crate) fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.has(SHF_ALLOC)
    }

    pub(crate) fn is_relocs(&self) -> bool {
        matches!(self.kind, SHT_RELA | SHT_REL | SHT_CREL)
    }

    /// Whether the section holds functions that run at load or unload time.
    pub(crate) fn lists_functions(&self, name: &[u8]) -> bool {
        const LISTS: [&[u8]; 4] = [b".ctors", b".dtors", b".init", b".fini"];
        matches!(self.kind, SHT_INIT_ARRAY | SHT_FINI_ARRAY | SHT_PREINIT_ARRAY)
            || LISTS.iter().any(|list| is_called(name, list))
    }

    pub(crate) fn has_bytes(&self) -> bool {
        !matches!(self.kind, SHT_NULL | SHT_NOBITS)
    }

    /// The section kind. `.data.rel.ro` is read-only, because it changes only during linking.
    pub(crate) fn section_kind(&self, sections: &Sections<'_>) -> SectionKind {
        match self.plain_kind() {
            SectionKind::Data if is_called(self.name(sections), b".data.rel.ro") => {
                SectionKind::RoData
            }
            SectionKind::Unknown(_) if self.kind == SHT_RELA => {
                let target = reloc_target_header(sections, self);
                target.map_or(SectionKind::Unknown(0), |_| SectionKind::Reloc)
            }
            kind => kind,
        }
    }

    pub(crate) fn name<'d>(&self, sections: &Sections<'d>) -> &'d [u8] {
        names(sections).and_then(|names| name_at(names, self.name)).unwrap_or(&[])
    }

    /// The kind according to type and flags. An empty `SHT_NOBITS` section counts as data, because an empty Bss means a
    /// section with a lost size.
    pub(crate) fn plain_kind(&self) -> SectionKind {
        match self.kind {
            _ if self.has(SHF_EXECINSTR) && self.is_loaded() => SectionKind::Code,
            SHT_NOBITS if self.is_loaded() && self.size != 0 => SectionKind::Bss,
            _ if self.has(SHF_WRITE) && self.is_loaded() => SectionKind::Data,
            _ if self.is_loaded() => SectionKind::RoData,
            SHT_SYMTAB => SectionKind::SymTab,
            SHT_STRTAB => SectionKind::StrTab,
            SHT_PROGBITS => SectionKind::Debug,
            _ => SectionKind::Unknown(0),
        }
    }

    pub(crate) fn section_flags(&self) -> SectionFlags {
        const BITS: [(u64, u32); 3] = [
            (SHF_ALLOC, SectionFlags::READ),
            (SHF_WRITE, SectionFlags::WRITE),
            (SHF_EXECINSTR, SectionFlags::EXECUTE),
        ];
        let set = BITS.iter().filter(|(flag, _)| self.is_loaded() && self.has(*flag));
        SectionFlags(set.fold(0, |all, (_, bit)| all | bit))
    }
}

/// Whether `name` is `stem`, or `stem` followed by a dot and a suffix.
pub(crate) fn is_called(name: &[u8], stem: &[u8]) -> bool {
    let rest = name.strip_prefix(stem);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

pub(crate) fn header(sections: &Sections<'_>, index: u32) -> Option<Header> {
    sections.table.as_chunks().0.get(usize::try_from(index).ok()?).and_then(Header::decode)
}

/// The number of section headers. The sections of common symbols follow them.
pub(crate) fn header_count(sections: &Sections<'_>) -> usize {
    sections.table.len() / ELF_SECTION
}

pub(crate) fn contents<'d>(sections: &Sections<'d>, header: &Header) -> Option<&'d [u8]> {
    let size = if header.has_bytes() { header.size } else { 0 };
    slice(sections.data, sections.base.checked_add(header.offset)?, size)
}

/// The section name table.
pub(crate) fn names<'d>(sections: &Sections<'d>) -> Option<&'d [u8]> {
    let base = usize::try_from(sections.base).ok()?;
    let index = u16_at(sections.data, base.checked_add(E_SHSTRNDX)?)?;
    let header = header(sections, index.into()).filter(|header| header.kind == SHT_STRTAB)?;
    contents(sections, &header)
}

/// The header of the section that relocations apply to, if that section is loaded.
pub(crate) fn reloc_target_header(sections: &Sections<'_>, relocs: &Header) -> Option<Header> {
    header(sections, relocs.info).filter(Header::is_loaded)
}
