//! Opening an ELF object.

use crate::format::error::{ElfError, ElfErrorKind, ElfPart, FormatError, Result, ensure};
use crate::format::model::{Arch, SectionKind};
use crate::format::read::elf::check::Walk;
use crate::format::read::elf::section::{E_SHSTRNDX, names};
use crate::format::read::elf::symbol;
use crate::format::read::section::{Section, Sections};
use crate::format::read::symbol::Symbols;
use crate::format::wire::{
    ALL_FILES, ELF_HEADER, ELF_MAGIC, ELF_SECTION, Layout, array, slice, u16_at, u64_at,
};

/// 64 bits, little-endian, version 1.
const IDENT: [u8; 3] = [2, 1, 1];
const ET_REL: u16 = 1;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

// Offsets of the header fields.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_SHOFF: usize = 40;
const E_SHENTSIZE: usize = 58;
const E_SHNUM: usize = 60;

/// Opens the object in `code`, a code section of `smf`.
///
/// # Errors
/// An object that cannot be linked, or another section of the module that must be loaded with it.
pub(crate) fn open<'d>(file: &Sections<'d>, arch: Arch, code: &Section<'d>) -> Result<Symbols<'d>> {
    if !ALL_FILES {
        let (part, kind, at) = (ElfPart::Object, ElfErrorKind::NotBuilt, code.offset);
        return Err(ElfError::Part { part, kind, at }.into());
    }
    check_beside(file, code)?;
    let mut sections = section_table(file, arch, code)?;
    let found = Walk::new(&sections, code).check_all()?;
    sections.symtab = found.symtab.unwrap_or(0);
    sections.has_commons = found.has_commons;
    let strings = symbol::strings(&sections);
    Ok(Symbols::new(&[], 0, strings, sections, (found.code, found.data)))
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
        table_offset: base.saturating_add(offset),
        layout,
        header_layout: file.layout,
        symtab: 0,
        has_commons: false,
        base,
    };
    ensure(names(&sections).is_some(), fault(ElfErrorKind::NoNames, E_SHSTRNDX))?;
    Ok(sections)
}
