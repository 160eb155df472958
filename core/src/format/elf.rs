//! A relocatable ELF object in a code section, read as one more layout of a module.
//!
//! Its section headers, symbols and relocations become the same [`Section`]s, [`Symbol`](super::Symbol)s
//! and [`Reloc`](super::Reloc)s that a module's own tables give, so that nobody who places, links or looks
//! up has to ask which it was. Sections and symbols keep the numbers that the object gives them. A common
//! symbol is a section of zeroes of its own, whose number is that of the symbol counted on from the
//! last section.
//!
//! [`open`] checks every section header once; symbols and relocations are checked when they are asked
//! for. What a module cannot have is refused by its name: thread-local data, functions to be run at load
//! time, relocations without addends.
//!
//! Sources: System V ABI, chapter 4 "Object Files"; its supplements for x86-64 (4.4 "Relocation") and
//! aarch64 (AAELF64, 5.7).

use super::bytes::{array, slice, u16_at, u32_at, u64_at};
use super::error::FormatError;
use super::file::Smf;
use super::header::Arch;
use super::layout::{ALL_FILES, ELF_HEADER, ELF_SECTION, Layout};
use super::section::{Section, SectionFlags, SectionKind, Sections};
use super::symbol::{Symbols, name_at};

mod fault;
pub(super) mod reloc;
pub(super) mod symbol;
mod walk;

pub use fault::{ElfFault, ElfPart};
use walk::Walk;

/// The first bytes of every ELF file.
pub(super) const MAGIC: [u8; 4] = *b"\x7fELF";

/// 64 bits, little-endian, version 1.
const IDENT: [u8; 3] = [2, 1, 1];
const ET_REL: u16 = 1;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

// Where the fields of the header stand.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_SHOFF: usize = 40;
const E_SHENTSIZE: usize = 58;
const E_SHNUM: usize = 60;
const E_SHSTRNDX: usize = 62;

const SHT_NULL: u32 = 0;
const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHT_RELA: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHT_REL: u32 = 9;
const SHT_INIT_ARRAY: u32 = 14;
const SHT_FINI_ARRAY: u32 = 15;
const SHT_PREINIT_ARRAY: u32 = 16;
const SHT_CREL: u32 = 0x4000_0014;

const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHF_TLS: u64 = 0x400;
const SHF_COMPRESSED: u64 = 0x800;

/// A section header, decoded.
#[derive(Clone, Copy)]
struct Header {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    alignment: u64,
}

impl Header {
    fn decode(bytes: &[u8; ELF_SECTION]) -> Option<Self> {
        let kind = u32_at(bytes, 4)?;
        Some(Header {
            name: u32_at(bytes, 0)?,
            kind,
            flags: u64_at(bytes, 8)?,
            offset: u64_at(bytes, 24)?,
            size: u64_at(bytes, 32)?,
            link: u32_at(bytes, 40)?,
            info: u32_at(bytes, 44)?,
            // That of an entry without a section says nothing.
            alignment: if kind == SHT_NULL { 1 } else { u64_at(bytes, 48)?.max(1) },
        })
    }

    fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    fn is_loaded(&self) -> bool {
        self.has(SHF_ALLOC)
    }

    fn is_relocs(&self) -> bool {
        matches!(self.kind, SHT_RELA | SHT_REL | SHT_CREL)
    }

    /// Whether it holds what is to be run before or after everything else.
    fn lists_functions(&self, name: &[u8]) -> bool {
        const LISTS: [&[u8]; 4] = [b".ctors", b".dtors", b".init", b".fini"];
        matches!(self.kind, SHT_INIT_ARRAY | SHT_FINI_ARRAY | SHT_PREINIT_ARRAY)
            || LISTS.iter().any(|list| is_called(name, list))
    }

    fn has_bytes(&self) -> bool {
        !matches!(self.kind, SHT_NULL | SHT_NOBITS)
    }

    /// What the section holds. Data that changes only while it is linked does not change any more.
    fn section_kind(&self, sections: &Sections<'_>) -> SectionKind {
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

    fn name<'d>(&self, sections: &Sections<'d>) -> &'d [u8] {
        names(sections).and_then(|names| name_at(names, self.name)).unwrap_or(&[])
    }

    /// What the flags alone say. Zeroes that are none are data: only a section whose size was lost is an
    /// empty Bss.
    fn plain_kind(&self) -> SectionKind {
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

    fn section_flags(&self) -> SectionFlags {
        const BITS: [(u64, u32); 3] = [
            (SHF_ALLOC, SectionFlags::READ),
            (SHF_WRITE, SectionFlags::WRITE),
            (SHF_EXECINSTR, SectionFlags::EXECUTE),
        ];
        let set = BITS.iter().filter(|(flag, _)| self.is_loaded() && self.has(*flag));
        SectionFlags(set.fold(0, |all, (_, bit)| all | bit))
    }
}

/// Whether a section is called so, with or without something after another dot.
fn is_called(name: &[u8], stem: &[u8]) -> bool {
    let rest = name.strip_prefix(stem);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

fn header(sections: &Sections<'_>, index: usize) -> Option<Header> {
    sections.table.as_chunks().0.get(index).and_then(Header::decode)
}

/// How many section headers there are; the sections of common symbols follow them.
fn header_count(sections: &Sections<'_>) -> usize {
    sections.table.len() / ELF_SECTION
}

fn contents<'d>(sections: &Sections<'d>, header: &Header) -> Option<&'d [u8]> {
    let size = if header.has_bytes() { header.size } else { 0 };
    slice(sections.data, sections.base.checked_add(header.offset)?, size)
}

/// The names of sections.
fn names<'d>(sections: &Sections<'d>) -> Option<&'d [u8]> {
    let base = usize::try_from(sections.base).ok()?;
    let index = u16_at(sections.data, base.checked_add(E_SHSTRNDX)?)?;
    let header = header(sections, usize::from(index)).filter(|header| header.kind == SHT_STRTAB)?;
    contents(sections, &header)
}

/// How many sections an object has, with those of its common symbols.
pub(super) fn section_count(sections: &Sections<'_>) -> usize {
    header_count(sections) + symbol::common_table(sections).len()
}

/// A section of an object that has been opened; `None` past the end.
pub(super) fn section<'d>(sections: &Sections<'d>, index: usize) -> Option<Section<'d>> {
    let Some(header) = header(sections, index) else {
        return symbol::common_section(sections, index.checked_sub(header_count(sections))?, index);
    };
    let kind = header.section_kind(sections);
    let data = contents(sections, &header).unwrap_or(&[]);
    let size = if kind == SectionKind::Bss { header.size } else { data.len() as u64 };
    Some(Section {
        index: u32::try_from(index).ok()?,
        kind,
        flags: header.section_flags(),
        offset: sections.base.wrapping_add(header.offset),
        size,
        virtual_size: size,
        alignment: header.alignment,
        name: header.name(sections),
        data,
        entry_offset: sections.table_offset.saturating_add((index * ELF_SECTION) as u64),
    })
}

/// The name of a section, which the symbol of that section has as well.
pub(super) fn section_name<'d>(sections: &Sections<'d>, index: u32) -> Option<&'d [u8]> {
    section(sections, to_usize(index)?).map(|section| section.name)
}

/// The header of the section that relocations apply to, when it is loaded.
fn reloc_target_header(sections: &Sections<'_>, relocs: &Header) -> Option<Header> {
    let target = header(sections, usize::try_from(relocs.info).ok()?)?;
    target.is_loaded().then_some(target)
}

/// The section that the relocations in section `index` apply to.
pub(super) fn reloc_target<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    let relocs = header(sections, usize::try_from(index).ok()?)?;
    section(sections, usize::try_from(relocs.info).ok()?)
}

/// Reads the object in `code`, a code section of `smf`.
///
/// # Errors
/// Why it is none that can be linked; what else of the module would have to be loaded beside it.
pub(super) fn open<'d>(smf: &Smf<'d>, code: &Section<'d>) -> Result<Smf<'d>, FormatError> {
    if !ALL_FILES {
        let (part, fault, at) = (ElfPart::Object, ElfFault::NotBuilt, code.offset);
        return Err(FormatError::Elf { part, fault, at });
    }
    check_beside(smf, code)?;
    let mut sections = section_table(smf, code)?;
    let found = Walk::new(&sections, code).check_all()?;
    sections.symtab = found.symtab.unwrap_or(0);
    sections.has_commons = found.has_commons;
    let strings = symbol::strings(&sections);
    let symbols = Symbols::new(&[], 0, strings, sections, (found.code, found.data));
    Ok(smf.with_symbols(symbols))
}

/// Nothing is loaded beside an object: where it would have to be for the object's code to reach it,
/// nobody knows.
fn check_beside(smf: &Smf<'_>, code: &Section<'_>) -> Result<(), FormatError> {
    let beside = smf.sections().iter().find(|section| {
        let used = match section.kind {
            SectionKind::Reloc => section.size != 0,
            kind => kind.is_loaded() && section.memory_size() != 0,
        };
        used && section.index != code.index
    });
    match beside {
        Some(Section { index: section, entry_offset: at, .. }) => {
            Err(FormatError::ElfBeside { section, at })
        }
        None => Ok(()),
    }
}

/// The section table of the object in `code`, with the file up to the object's end as its data.
fn section_table<'d>(smf: &Smf<'d>, code: &Section<'d>) -> Result<Sections<'d>, FormatError> {
    let (data, base) = (code.data, code.offset);
    let fault = |fault, field: usize| FormatError::Elf {
        part: ElfPart::Object,
        fault,
        at: base.saturating_add(field as u64),
    };
    let header: &[u8; ELF_HEADER] = array(data, 0).ok_or(fault(ElfFault::CutOff, 0))?;
    let half = |at| u16_at(header, at).unwrap_or(0);
    if array(header, MAGIC.len()) != Some(&IDENT) {
        return Err(fault(ElfFault::Ident, MAGIC.len()));
    }
    let (value, machine) = (half(E_TYPE), half(E_MACHINE));
    if value != ET_REL {
        return Err(fault(ElfFault::Type { value }, E_TYPE));
    }
    let layout = match (machine, smf.header().arch) {
        (EM_X86_64, Arch::X86_64) => Layout::ElfX86_64,
        (EM_AARCH64, Arch::AARCH64) => Layout::ElfAarch64,
        _ => return Err(fault(ElfFault::Machine { value: machine }, E_MACHINE)),
    };
    let offset = u64_at(header, E_SHOFF).unwrap_or(0);
    let size = u64::from(half(E_SHNUM)) * ELF_SECTION as u64;
    let table = slice(data, offset, size).filter(|table| !table.is_empty());
    let table = table.filter(|_| usize::from(half(E_SHENTSIZE)) == ELF_SECTION);
    let table = table.ok_or(fault(ElfFault::SectionTable, E_SHOFF))?;
    let end = usize::try_from(base).ok().and_then(|base| base.checked_add(data.len()));
    let sections = Sections {
        data: end.and_then(|end| smf.file().get(..end)).unwrap_or(&[]),
        table,
        table_offset: base.saturating_add(offset),
        layout,
        header_layout: smf.layout(),
        symtab: 0,
        has_commons: false,
        base,
    };
    match names(&sections) {
        Some(_) => Ok(sections),
        None => Err(fault(ElfFault::NoNames, E_SHSTRNDX)),
    }
}

fn to_usize(index: u32) -> Option<usize> {
    usize::try_from(index).ok()
}
