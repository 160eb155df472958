//! The symbols of an ELF object, and its sections by number. Sections of common symbols follow the section headers.
//!
//! Symbols without an address (absolute symbols, names of source files, symbols of sections that are not loaded) are
//! defined and have no section. A symbol that is hidden from other objects is local to its module.

use crate::format::error::ElfErrorKind;
use crate::format::model::{Binding, SectionFlags, SectionKind, SymbolKind};
use crate::format::read::elf::section::{contents, header, header_count};
use crate::format::read::section::{Section, Sections};
use crate::format::wire::{
    ELF_SECTION, ELF_SYMBOL, name_at, offset_in, u8_at, u16_at, u32_at, u64_at,
};

const SHN_UNDEF: u16 = 0;
const SHN_LORESERVE: u16 = 0xff00;
/// Common symbols of the medium and large models of x86-64.
const SHN_X86_64_LCOMMON: u16 = 0xff02;
const SHN_ABS: u16 = 0xfff1;
const SHN_COMMON: u16 = 0xfff2;

const STB_LOCAL: u8 = 0;
const STB_GLOBAL: u8 = 1;
const STB_WEAK: u8 = 2;
const STB_GNU_UNIQUE: u8 = 10;

const STT_NOTYPE: u8 = 0;
const STT_OBJECT: u8 = 1;
const STT_FUNC: u8 = 2;
const STT_SECTION: u8 = 3;
const STT_FILE: u8 = 4;
const STT_COMMON: u8 = 5;
const STT_TLS: u8 = 6;
const STT_GNU_IFUNC: u8 = 10;

const STV_INTERNAL: u8 = 1;
const STV_HIDDEN: u8 = 2;

/// Compilers refer to this symbol to request a GOT, which every module may have.
pub(crate) const GOT: &[u8] = b"_GLOBAL_OFFSET_TABLE_";

/// A decoded symbol entry.
struct Raw {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

impl Raw {
    fn decode(bytes: &[u8; ELF_SYMBOL]) -> Option<Self> {
        Some(Raw {
            name: u32_at(bytes, 0)?,
            info: u8_at(bytes, 4)?,
            other: u8_at(bytes, 5)?,
            section: u16_at(bytes, 6)?,
            value: u64_at(bytes, 8)?,
            size: u64_at(bytes, 16)?,
        })
    }

    fn kind(&self) -> u8 {
        self.info & 0xf
    }

    fn binding(&self) -> Result<Binding, ElfErrorKind> {
        let defined = self.section != SHN_UNDEF;
        match self.info >> 4 {
            STB_LOCAL => Ok(Binding::Local),
            _ if defined && matches!(self.other & 3, STV_INTERNAL | STV_HIDDEN) => {
                Ok(Binding::Local)
            }
            STB_GLOBAL | STB_GNU_UNIQUE => Ok(Binding::Global),
            STB_WEAK => Ok(Binding::Weak),
            value => Err(ElfErrorKind::SymbolBinding { value }),
        }
    }

    fn is_common(&self) -> bool {
        matches!(self.section, SHN_COMMON | SHN_X86_64_LCOMMON)
    }
}

/// A common symbol: zero-initialised data that the linker allocates.
pub(crate) struct Common {
    name: u32,
    pub(crate) size: u64,
    pub(crate) alignment: u64,
}

impl Common {
    /// The common symbol in an entry; `None` for any other symbol.
    pub(crate) fn of(bytes: &[u8; ELF_SYMBOL]) -> Option<Self> {
        let Raw { name, value, size, .. } = Raw::decode(bytes).filter(Raw::is_common)?;
        Some(Common { name, size, alignment: value.max(1) })
    }
}

/// The entries of the symbol table.
fn table<'d>(sections: &Sections<'d>) -> &'d [[u8; ELF_SYMBOL]] {
    let symtab = header(sections, sections.symtab).filter(|_| sections.symtab != 0);
    symtab.and_then(|header| contents(sections, &header)).unwrap_or(&[]).as_chunks().0
}

/// The string table of the symbols.
pub(crate) fn strings<'d>(sections: &Sections<'d>) -> &'d [u8] {
    let strings = header(sections, sections.symtab).and_then(|table| header(sections, table.link));
    strings.and_then(|strings| contents(sections, &strings)).unwrap_or(&[])
}

/// The symbols of an object with common symbols; empty for any other object.
fn common_table<'d>(sections: &Sections<'d>) -> &'d [[u8; ELF_SYMBOL]] {
    if sections.has_commons { table(sections) } else { &[] }
}

/// The section of the common symbol with number `symbol`; an empty section if the symbol is not common.
fn common_section<'d>(sections: &Sections<'d>, symbol: usize, index: u32) -> Option<Section<'d>> {
    let bytes = common_table(sections).get(symbol)?;
    let none = Common { name: 0, size: 0, alignment: 1 };
    let common = Common::of(bytes);
    let kind = match &common {
        Some(common) if common.size != 0 => SectionKind::Bss,
        Some(_) => SectionKind::Data,
        None => SectionKind::Unknown(0),
    };
    let Common { name, size, alignment } = common.unwrap_or(none);
    let at = offset_in(sections.data, bytes);
    Some(Section {
        index,
        kind,
        flags: SectionFlags(SectionFlags::READ | SectionFlags::WRITE),
        offset: at,
        size,
        virtual_size: size,
        alignment,
        name: name_at(strings(sections), name).unwrap_or(&[]),
        data: &[],
        entry_offset: at,
    })
}

/// The number of sections, including those of common symbols.
pub(crate) fn section_count(sections: &Sections<'_>) -> usize {
    header_count(sections) + common_table(sections).len()
}

/// The section with number `index`; `None` past the end.
pub(crate) fn section<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    let at = usize::try_from(index).ok()?;
    let Some(header) = header(sections, index) else {
        return common_section(sections, at.checked_sub(header_count(sections))?, index);
    };
    let kind = header.section_kind(sections);
    let data = contents(sections, &header).unwrap_or(&[]);
    let size = if kind == SectionKind::Bss { header.size } else { data.len() as u64 };
    Some(Section {
        index,
        kind,
        flags: header.section_flags(),
        offset: sections.base.wrapping_add(header.offset),
        size,
        virtual_size: size,
        alignment: header.alignment,
        name: header.name(sections),
        data,
        entry_offset: sections.table_offset().saturating_add((at * ELF_SECTION) as u64),
    })
}

/// The section that the relocations in section `index` apply to.
pub(crate) fn reloc_target<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    section(sections, header(sections, index)?.info)
}

/// A symbol in the terms of the module format.
#[derive(Clone, Copy)]
pub(crate) struct ElfSymbol {
    /// The offset of the name in the string table.
    pub(crate) name: u32,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    pub(crate) defined: bool,
    /// `None` for imports and for symbols without an address.
    pub(crate) section: Option<u32>,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

impl ElfSymbol {
    /// The symbol with the same name and no address.
    pub(crate) fn nowhere(self) -> Self {
        let (kind, binding) = (SymbolKind::None, Binding::Local);
        ElfSymbol { kind, binding, defined: true, section: None, ..self }
    }

    fn decode(sections: &Sections<'_>, raw: &Raw, index: u32) -> Result<Self, ElfErrorKind> {
        let nowhere = ElfSymbol {
            name: raw.name,
            kind: SymbolKind::None,
            binding: raw.binding()?,
            defined: true,
            section: None,
            value: raw.value,
            size: raw.size,
        };
        match raw.kind() {
            STT_TLS => return Err(ElfErrorKind::ThreadLocal),
            STT_GNU_IFUNC => return Err(ElfErrorKind::IndirectFunction),
            STT_FILE => return Ok(nowhere),
            STT_NOTYPE | STT_OBJECT | STT_FUNC | STT_SECTION | STT_COMMON => {}
            value => return Err(ElfErrorKind::SymbolType { value }),
        }
        if raw.is_common() {
            return nowhere.common(sections, index);
        }
        match raw.section {
            SHN_UNDEF => Ok(nowhere.undefined(raw)),
            SHN_ABS => Ok(nowhere),
            value @ SHN_LORESERVE.. => Err(ElfErrorKind::SymbolSection { value }),
            _ => nowhere.defined(sections, raw),
        }
    }

    fn common(self, sections: &Sections<'_>, index: u32) -> Result<Self, ElfErrorKind> {
        let first = u32::try_from(header_count(sections)).ok();
        let section = first.and_then(|first| first.checked_add(index));
        let section = Some(section.ok_or(ElfErrorKind::SymbolTable)?);
        Ok(ElfSymbol { kind: SymbolKind::Data, section, value: 0, ..self })
    }

    /// A local symbol cannot be imported. The first entry of every table is an undefined local symbol.
    fn undefined(self, raw: &Raw) -> Self {
        if self.binding == Binding::Local {
            return self;
        }
        let kind = match raw.kind() {
            STT_FUNC => SymbolKind::Function,
            STT_OBJECT | STT_COMMON => SymbolKind::Data,
            _ => SymbolKind::None,
        };
        ElfSymbol { kind, defined: false, ..self }
    }

    fn defined(self, sections: &Sections<'_>, raw: &Raw) -> Result<Self, ElfErrorKind> {
        let value = raw.section;
        let home = header(sections, value.into()).ok_or(ElfErrorKind::SymbolSection { value })?;
        let kind = match (raw.kind(), home.section_kind(sections)) {
            _ if !home.is_loaded() => return Ok(self),
            (STT_SECTION, _) => SymbolKind::Section,
            (STT_FUNC | STT_NOTYPE, SectionKind::Code) => SymbolKind::Function,
            (_, SectionKind::RoData) => SymbolKind::Constant,
            _ => SymbolKind::Data,
        };
        Ok(ElfSymbol { kind, section: Some(value.into()), ..self })
    }
}

/// The symbol with this number and the file offset of its entry; `None` past the end, and for a layout other than ELF.
pub(crate) fn get(
    sections: &Sections<'_>,
    index: u32,
) -> Option<(Result<ElfSymbol, ElfErrorKind>, u64)> {
    let bytes = table(sections).get(usize::try_from(index).ok()?)?;
    let symbol = ElfSymbol::decode(sections, &Raw::decode(bytes)?, index);
    Some((symbol, offset_in(sections.data, bytes)))
}

/// The number of symbols of an object; 0 for any other layout.
pub(crate) fn count(sections: &Sections<'_>) -> usize {
    table(sections).len()
}
