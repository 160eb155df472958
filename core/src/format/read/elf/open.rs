//! Opening an ELF object, with checks of all section headers.
//!
//! Loaded sections and their relocations together have at most as many bytes as the object, and take at most as much
//! memory as a module may, so that a small object cannot cause unbounded work.

use crate::format::error::{
    ElfError, ElfErrorKind, ElfPart, FormatError, Result, SectionError, ensure,
};
use crate::format::model::{Arch, SectionKind};
use crate::format::read::elf::section::{
    E_SHSTRNDX, Header, SHF_COMPRESSED, SHF_EXECINSTR, SHF_TLS, SHF_WRITE, SHT_NULL, SHT_RELA,
    SHT_STRTAB, SHT_SYMTAB, contents, header, names, reloc_target_header,
};
use crate::format::read::elf::symbol::{self, Common};
use crate::format::read::section::{Section, Sections};
use crate::format::read::symbol::Symbols;
use crate::format::wire::{
    ALL_FILES, ELF_HEADER, ELF_MAGIC, ELF_SECTION, ELF_SYMBOL, EM_AARCH64, EM_X86_64, Layout,
    MAX_ALIGNMENT, RELOC, array, name_at, slice, u16_at, u32_at, u64_at,
};

/// 64 bits, little-endian, version 1.
const IDENT: [u8; 3] = [2, 1, 1];
const ET_REL: u16 = 1;

// Offsets of the header fields.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_SHOFF: usize = 40;
const E_SHENTSIZE: usize = 58;
const E_SHNUM: usize = 60;

/// Opens the object in `code`, a code section of `file`, whose sections may take `max_memory` bytes of memory.
///
/// # Errors
/// An object that cannot be linked, or another section of the module that must be loaded with it.
pub(crate) fn open<'d>(
    file: &Sections<'d>,
    arch: Arch,
    code: &Section<'d>,
    max_memory: u64,
) -> Result<Symbols<'d>> {
    if !ALL_FILES {
        let (part, kind, at) = (ElfPart::Object, ElfErrorKind::NotBuilt, code.offset);
        return Err(ElfError::Part { part, kind, at }.into());
    }
    check_beside(file, code)?;
    let mut sections = section_table(file, arch, code)?;
    let found = Walk::new(&sections, code, max_memory).check_all()?;
    sections.symtab = found.symtab.unwrap_or(0);
    sections.has_commons = found.has_commons;
    let strings = symbol::strings(&sections);
    Ok(Symbols::new(&[], strings, sections, (found.code, found.data)))
}

/// Refuses other loaded sections: the module does not state their distance from the object's code.
fn check_beside(file: &Sections<'_>, code: &Section<'_>) -> Result<()> {
    let beside = file.iter().find(|section| {
        let used = match section.kind {
            SectionKind::Reloc => section.size != 0,
            kind => kind.is_loaded() && section.memory_size() != 0,
        };
        used && section.index != code.index
    });
    match beside {
        Some(Section { index: section, entry_offset: at, .. }) => {
            Err(ElfError::Beside { section, at }.into())
        }
        None => Ok(()),
    }
}

/// The section table of the object in `code`. The data of the table is the file up to the object's end.
fn section_table<'d>(file: &Sections<'d>, arch: Arch, code: &Section<'d>) -> Result<Sections<'d>> {
    let (data, base) = (code.data, code.offset);
    let fault = |kind, field: usize| -> FormatError {
        let (part, at) = (ElfPart::Object, base.saturating_add(field as u64));
        ElfError::Part { part, kind, at }.into()
    };
    let header: &[u8; ELF_HEADER] = array(data, 0).ok_or(fault(ElfErrorKind::CutOff, 0))?;
    let half = |at| u16_at(header, at).unwrap_or(0);
    let is_read = array(header, ELF_MAGIC.len()) == Some(&IDENT);
    ensure(is_read, fault(ElfErrorKind::Ident, ELF_MAGIC.len()))?;
    let (value, machine) = (half(E_TYPE), half(E_MACHINE));
    ensure(value == ET_REL, fault(ElfErrorKind::Type { value }, E_TYPE))?;
    let layout = match (machine, arch) {
        (EM_X86_64, Arch::X86_64) => Layout::ElfX86_64,
        (EM_AARCH64, Arch::AARCH64) => Layout::ElfAarch64,
        _ => return Err(fault(ElfErrorKind::Machine { value: machine }, E_MACHINE)),
    };
    let offset = u64_at(header, E_SHOFF).unwrap_or(0);
    let size = u64::from(half(E_SHNUM)) * ELF_SECTION as u64;
    let table = slice(data, offset, size).filter(|table| !table.is_empty());
    let table = table.filter(|_| usize::from(half(E_SHENTSIZE)) == ELF_SECTION);
    let table = table.ok_or(fault(ElfErrorKind::SectionTable, E_SHOFF))?;
    let end = usize::try_from(base).ok().and_then(|base| base.checked_add(data.len()));
    let sections = Sections {
        data: end.and_then(|end| file.data.get(..end)).unwrap_or(&[]),
        table,
        layout,
        header_layout: file.layout,
        symtab: 0,
        has_commons: false,
        base,
    };
    ensure(names(&sections).is_some(), fault(ElfErrorKind::NoNames, E_SHSTRNDX))?;
    Ok(sections)
}

/// The sections found by a walk over the section headers.
#[derive(Clone, Copy, Default)]
struct Found {
    symtab: Option<u32>,
    has_commons: bool,
    code: Option<u32>,
    data: Option<u32>,
}

/// A walk over the section headers.
struct Walk<'s, 'd> {
    sections: &'s Sections<'d>,
    names: &'d [u8],
    /// The number of bytes that further loaded sections and their relocations may have.
    contents_left: u64,
    /// The memory of the sections so far, in bytes.
    memory: u64,
    /// The maximum of `memory`.
    max_memory: u64,
    found: Found,
}

impl<'s, 'd> Walk<'s, 'd> {
    fn new(sections: &'s Sections<'d>, code: &Section<'_>, max_memory: u64) -> Self {
        let names = names(sections).unwrap_or(&[]);
        let (contents_left, found) = (code.data.len() as u64, Found::default());
        Walk { sections, names, contents_left, memory: 0, max_memory, found }
    }

    fn check_all(mut self) -> Result<Found> {
        let headers = || (0u32..).zip(self.sections.table.as_chunks().0);
        let symtab = headers().find(|(_, bytes)| u32_at(*bytes, 4) == Some(SHT_SYMTAB));
        self.found.symtab = symtab.map(|(index, _)| index);
        for (index, bytes) in headers() {
            let Some(header) = Header::decode(bytes) else { continue };
            let at = self.sections.table_offset() + u64::from(index) * ELF_SECTION as u64;
            let part = ElfPart::Section(index);
            self.check(index, &header).map_err(|kind| ElfError::Part { part, kind, at })?;
            if header.is_loaded() {
                self.take_memory(header.size, at)?;
            }
        }
        if let Some(header) = self.found.symtab.and_then(|index| header(self.sections, index)) {
            self.check_commons(&header)?;
        }
        Ok(self.found)
    }

    fn check(&mut self, index: u32, header: &Header) -> Result<(), ElfErrorKind> {
        if header.kind == SHT_NULL {
            return Ok(());
        }
        contents(self.sections, header).ok_or(ElfErrorKind::Outside)?;
        let name = name_at(self.names, header.name).ok_or(ElfErrorKind::Outside)?;
        let value = header.alignment;
        let is_alignment = value.is_power_of_two() && value <= MAX_ALIGNMENT;
        ensure(is_alignment, ElfErrorKind::Alignment { value })?;
        if header.kind == SHT_SYMTAB {
            self.check_symtab(index, header)?;
        } else if header.is_relocs() && header.size != 0 {
            self.check_relocs(header)?;
        } else if header.is_loaded() {
            self.check_loaded(header, name)?;
            let first = match header.section_kind(self.sections) {
                SectionKind::Code => &mut self.found.code,
                SectionKind::Data => &mut self.found.data,
                _ => return Ok(()),
            };
            *first = first.or(Some(index));
        }
        Ok(())
    }

    fn check_loaded(&mut self, header: &Header, name: &[u8]) -> Result<(), ElfErrorKind> {
        let (is_empty, is_code) = (header.size == 0, header.has(SHF_EXECINSTR));
        ensure(is_empty || !header.has(SHF_TLS), ElfErrorKind::ThreadLocal)?;
        ensure(is_empty || !header.lists_functions(name), ElfErrorKind::Constructors)?;
        ensure(!is_code || !header.has(SHF_WRITE), ElfErrorKind::WriteAndExecute)?;
        ensure(is_empty || !is_code || header.has_bytes(), ElfErrorKind::ZeroCode)?;
        ensure(!header.has(SHF_COMPRESSED), ElfErrorKind::Compressed)?;
        self.take_contents(header)
    }

    /// Relocations of sections that are not loaded, such as debugging information, are ignored.
    fn check_relocs(&mut self, relocs: &Header) -> Result<(), ElfErrorKind> {
        if relocs.is_loaded() || header(self.sections, relocs.info).is_none() {
            return Err(ElfErrorKind::Relocs);
        } else if reloc_target_header(self.sections, relocs).is_none() {
            return Ok(());
        } else if relocs.kind != SHT_RELA {
            return Err(ElfErrorKind::NoAddends);
        } else if !relocs.size.is_multiple_of(RELOC as u64)
            || Some(relocs.link) != self.found.symtab
        {
            return Err(ElfErrorKind::Relocs);
        }
        self.take_contents(relocs)
    }

    fn check_symtab(&self, index: u32, symtab: &Header) -> Result<(), ElfErrorKind> {
        let names = header(self.sections, symtab.link);
        let is_sound = !symtab.is_loaded()
            && self.found.symtab == Some(index)
            && symtab.size.is_multiple_of(ELF_SYMBOL as u64)
            && names.is_some_and(|names| names.kind == SHT_STRTAB)
            && u32::try_from(symtab.size).is_ok();
        ensure(is_sound, ElfErrorKind::SymbolTable)
    }

    /// Every common symbol takes memory, as a section does.
    fn check_commons(&mut self, symtab: &Header) -> Result<()> {
        let table = contents(self.sections, symtab).unwrap_or(&[]).as_chunks().0;
        let start = self.sections.base.saturating_add(symtab.offset);
        for (index, bytes) in (0u32..).zip(table) {
            let Some(common) = Common::of(bytes) else { continue };
            let at = start + u64::from(index) * ELF_SYMBOL as u64;
            let value = common.alignment;
            if !value.is_power_of_two() || value > MAX_ALIGNMENT {
                let fault = ElfErrorKind::Alignment { value };
                return Err(ElfError::Part { part: ElfPart::Symbol(index), kind: fault, at }.into());
            }
            self.found.has_commons = true;
            self.take_memory(common.size, at)?;
        }
        Ok(())
    }

    fn take_contents(&mut self, header: &Header) -> Result<(), ElfErrorKind> {
        let size = if header.has_bytes() { header.size } else { 0 };
        self.contents_left = self.contents_left.checked_sub(size).ok_or(ElfErrorKind::Overlap)?;
        Ok(())
    }

    fn take_memory(&mut self, size: u64, at: u64) -> Result<()> {
        self.memory = self.memory.saturating_add(size);
        let (total, limit) = (self.memory, self.max_memory);
        if total > limit {
            Err(SectionError::VirtualSize { total, limit, at }.into())
        } else {
            Ok(())
        }
    }
}
