//! Verification of a whole module.

use crate::format::error::{ElfError, HeaderError, RelocError, Result, SymbolError, ensure};
use crate::format::ext::cached_code;
use crate::format::ext::debug_addresses::DebugFields;
use crate::format::ext::gnu_property::Properties;
use crate::format::ext::hash_index::SymbolIndex;
use crate::format::ext::ifunc;
use crate::format::ext::needed::NeededLibraries;
use crate::format::ext::prelink::Prelink;
use crate::format::model::{Reloc, RelocKind, SectionKind, SymbolKind};
use crate::format::read::note::Note;
use crate::format::read::shared_object;
use crate::format::read::template::{TemplateMeta, Templates};
use crate::format::read::{RelocTable, Section, Smf, Symbol};
use crate::format::wire::RELOC;
use crate::format::wire::elf_reloc::{self, ElfReloc};

impl<'d> Smf<'d> {
    /// Checks everything that can be checked without running the module: every symbol, relocation, template, bytecode
    /// function and note row, the prelink data, the symbol index, the slots of indirect functions, every record of cached
    /// code, the names of needed libraries, the properties of the code, the addresses in debugging information, the ELF
    /// object in the code, and the tables of the shared object of a dynlib. Time is linear in the file, except that the section of each
    /// relocation table is looked up by name. Nothing is decompressed;
    /// [`Smf::verify_compressed`] checks the contents of compressed sections.
    ///
    /// # Errors
    /// The first error, with an absolute offset.
    pub fn verify(&self) -> Result<()> {
        self.verify_tables()?;
        if self.layout().is_object() {
            return Ok(());
        }
        self.verify_entry_point()?;
        let sections = self.sections().iter().filter(|section| !section.is_compressed());
        for section in sections.filter(|section| section.kind != SectionKind::Note) {
            check_contents(&section, section.data)?;
        }
        if !self.note_section().is_some_and(|section| section.is_compressed())
            && let Some(note) = self.note()?
        {
            note.check()?;
        }
        if let Some(functions) = self.functions()? {
            functions.check()?;
        }
        if let Some(index) = SymbolIndex::of(self.symbols)? {
            index.verify()?;
        }
        ifunc::check(self)?;
        cached_code::check(self)?;
        NeededLibraries::of(self)?;
        Properties::of(self)?;
        DebugFields::addresses(self)?;
        DebugFields::offsets(self)?;
        if let Some(plan) = Prelink::of(self)? {
            plan.verify_prelinked(self)?;
        }
        if let Some(object) = self.shared_object() {
            shared_object::check(object, shared_object::MIN_PAGE_SIZE)?;
        }
        match self.object()? {
            Some(object) => object.verify_tables(),
            None => Ok(()),
        }
    }

    /// Checks every symbol and relocation.
    fn verify_tables(&self) -> Result<()> {
        self.verify_symbols()?;
        for table in self.reloc_tables() {
            self.verify_relocs(&table?)?;
        }
        Ok(())
    }

    fn verify_symbols(&self) -> Result<()> {
        for symbol in self.symbols.iter() {
            let symbol = symbol?;
            let Some(index) = symbol.section.filter(|_| symbol.kind.has_address()) else {
                continue;
            };
            let section = self.section(index)?;
            let size = if section.has_lost_size() { u64::MAX } else { section.memory_size() };
            if symbol.kind != SymbolKind::Section {
                symbol.check_place(size)?;
            }
            let is_data =
                matches!(section.kind, SectionKind::Data | SectionKind::RoData | SectionKind::Bss);
            let Symbol { index, entry_offset: at, .. } = symbol;
            let in_data = SymbolError::FunctionInData { index, section: section.index, at };
            ensure(symbol.kind != SymbolKind::Function || !is_data, in_data)?;
        }
        Ok(())
    }

    /// Checks that every relocation of a table has a valid kind, a symbol, and an offset inside the target section.
    ///
    /// # Errors
    /// The first invalid relocation.
    pub fn verify_relocs(&self, table: &RelocTable<'d>) -> Result<()> {
        let section = table.section.index;
        let count = self.symbols.len() as u64;
        let Some((at_index, reloc)) = table.first_broken(count) else { return Ok(()) };
        let index = u32::try_from(at_index).unwrap_or(u32::MAX);
        let at = table.section.offset + at_index as u64 * RELOC as u64;
        let Reloc { kind, symbol, offset, .. } = reloc;
        Err(match kind {
            RelocKind::Unknown(_) if self.layout().is_object() => {
                let entry = table.section.data.as_chunks().0.get(at_index);
                let number = entry.map_or(0, elf_reloc::number);
                let kind = ElfReloc { layout: self.layout(), number };
                ElfError::Reloc { section, index, kind, at }.into()
            }
            RelocKind::Unknown(value) => RelocError::Kind { section, index, value, at }.into(),
            _ if u64::from(symbol) >= count => {
                RelocError::Symbol { section, index, symbol, at }.into()
            }
            _ => RelocError::Place { section, index, offset, at }.into(),
        })
    }

    /// Checks that the entry point of the header lies in the code.
    pub(crate) fn verify_entry_point(&self) -> Result<()> {
        let offset = self.header().entry_point;
        let at = self.header_offset + self.layout().header_fields().entry_point as u64;
        let is_inside = self.code().is_some_and(|code| offset < code.memory_size());
        Ok(ensure(offset == 0 || is_inside, HeaderError::EntryPoint { offset, at })?)
    }
}

/// Checks the contents of a template section or a note.
pub(crate) fn check_contents(section: &Section<'_>, contents: &[u8]) -> Result<()> {
    let at = section.offset;
    match section.kind {
        SectionKind::TemplateCode => Templates::parse(contents, at)?.check(),
        SectionKind::TemplateMeta => TemplateMeta::parse(contents, at).map(drop),
        SectionKind::Note if section.name == b"note.sdn" => Note::parse(contents, at)?.check(),
        _ => Ok(()),
    }
}
