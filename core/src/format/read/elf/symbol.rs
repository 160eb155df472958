//! The symbols of an ELF object.
//!
//! What has no place in memory (absolute symbols, names of source files, symbols of sections that are
//! not loaded) is defined and nowhere. A name that is hidden from other objects of a program is local
//! to its module.

use crate::format::error::ElfErrorKind;
use crate::format::model::{Binding, SectionFlags, SectionKind, SymbolKind};
use crate::format::read::elf::section::{contents, header, header_count};
use crate::format::read::section::{Section, Sections};
use crate::format::wire::{ELF_SYMBOL, name_at, offset_in, u8_at, u16_at, u32_at, u64_at};

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

/// Compilers name it to say that there will be a table of addresses, which every module may have.
pub(crate) const GOT: &[u8] = b"_GLOBAL_OFFSET_TABLE_";

/// A symbol, decoded.
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

/// A common symbol: zeroes that the linker is to find a place for.
pub(crate) struct Common {
    name: u32,
    pub(crate) size: u64,
    pub(crate) alignment: u64,
}

impl Common {
    /// The common symbol in an entry, if it is one.
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

/// What names the symbols.
pub(crate) fn strings<'d>(sections: &Sections<'d>) -> &'d [u8] {
    let strings = header(sections, sections.symtab).and_then(|table| header(sections, table.link));
    strings.and_then(|strings| contents(sections, &strings)).unwrap_or(&[])
}

/// The symbols of an object that has common ones; none otherwise.
pub(crate) fn common_table<'d>(sections: &Sections<'d>) -> &'d [[u8; ELF_SYMBOL]] {
    if sections.has_commons { table(sections) } else { &[] }
}

/// The section that the symbol with this number is; one that holds nothing when it is not common.
pub(crate) fn common_section<'d>(
    sections: &Sections<'d>,
    symbol: usize,
    index: u32,
) -> Option<Section<'d>> {
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

/// A symbol, in the terms of modules.
#[derive(Clone, Copy)]
pub(crate) struct ElfSymbol {
    /// Where its name begins in the strings.
    pub(crate) name: u32,
    pub(crate) kind: SymbolKind,
    pub(crate) binding: Binding,
    pub(crate) defined: bool,
    /// None for imports and for what has no place in memory.
    pub(crate) section: Option<u32>,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

impl ElfSymbol {
    /// The same name with no place in memory.
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

    /// Nothing local can be imported; the entry that begins every table is such a one.
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
            (STT_FUNC, _) | (STT_NOTYPE, SectionKind::Code) => SymbolKind::Function,
            (_, SectionKind::RoData) => SymbolKind::Constant,
            _ => SymbolKind::Data,
        };
        Ok(ElfSymbol { kind, section: Some(value.into()), ..self })
    }
}

/// The symbol with this number and where its entry stands in the file; `None` past the end, and for
/// what is no object.
pub(crate) fn get(
    sections: &Sections<'_>,
    index: u32,
) -> Option<(Result<ElfSymbol, ElfErrorKind>, u64)> {
    let bytes = table(sections).get(usize::try_from(index).ok()?)?;
    let symbol = ElfSymbol::decode(sections, &Raw::decode(bytes)?, index);
    Some((symbol, offset_in(sections.data, bytes)))
}

/// The number of symbols of an object; 0 for another layout.
pub(crate) fn count(sections: &Sections<'_>) -> usize {
    table(sections).len()
}
