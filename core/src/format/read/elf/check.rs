//! Checks of all section headers of an ELF object.
//!
//! Loaded sections and their relocations together have at most as many bytes as the object, and take at most as much
//! memory as a module may, so that a small object cannot cause unbounded work.

use crate::format::error::{ElfError, ElfErrorKind, ElfPart, Result, SectionError, ensure};
use crate::format::model::SectionKind;
use crate::format::read::elf::section::{
    Header, SHF_COMPRESSED, SHF_EXECINSTR, SHF_TLS, SHF_WRITE, SHT_NULL, SHT_RELA, SHT_STRTAB,
    SHT_SYMTAB, contents, header, names, reloc_target_header,
};
use crate::format::read::elf::symbol::Common;
use crate::format::read::limits::Limits;
use crate::format::read::section::{Section, Sections};
use crate::format::wire::{ELF_SECTION, ELF_SYMBOL, MAX_ALIGNMENT, RELOC, name_at, u32_at};

/// The sections found by a walk over the section headers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    pub(crate) symtab: Option<u32>,
    pub(crate) has_commons: bool,
    pub(crate) code: Option<u32>,
    pub(crate) data: Option<u32>,
}

/// A walk over the section headers.
pub(crate) struct Walk<'s, 'd> {
    sections: &'s Sections<'d>,
    names: &'d [u8],
    /// The number of bytes that further loaded sections and their relocations may have.
    contents_left: u64,
    /// The memory of the sections so far, in bytes.
    memory: u64,
    found: Found,
}

impl<'s, 'd> Walk<'s, 'd> {
    pub(crate) fn new(sections: &'s Sections<'d>, code: &Section<'_>) -> Self {
        let names = names(sections).unwrap_or(&[]);
        let (contents_left, found) = (code.data.len() as u64, Found::default());
        Walk { sections, names, contents_left, memory: 0, found }
    }

    pub(crate) fn check_all(mut self) -> Result<Found> {
        let headers = || (0u32..).zip(self.sections.table.as_chunks().0);
        let symtab = headers().find(|(_, bytes)| u32_at(*bytes, 4) == Some(SHT_SYMTAB));
        self.found.symtab = symtab.map(|(index, _)| index);
        for (index, bytes) in headers() {
            let Some(header) = Header::decode(bytes) else { continue };
            let at = self.sections.table_offset + u64::from(index) * ELF_SECTION as u64;
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
        let limit = Limits::default().virtual_size;
        self.memory = self.memory.saturating_add(size);
        let total = self.memory;
        if total > limit {
            Err(SectionError::VirtualSize { total, limit, at }.into())
        } else {
            Ok(())
        }
    }
}
