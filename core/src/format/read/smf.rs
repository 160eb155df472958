//! A module in its file.
//!
//! [`Smf::parse`] finds the header, checks that every section lies in the file, and nothing more, so
//! that opening is fast; [`Smf::verify`] checks all the rest that can be checked without running.
//! Neither allocates. Facts: the SMF specification v1.1, sections 1 to 3, and its writers.
//! `find_header` documents the search for the header.

use crate::format::error::{CompressionError, NoteError, RelocError, Result, SectionError, ensure};
use crate::format::model::{Header, SectionKind};
use crate::format::read::functions::Functions;
use crate::format::read::note::Note;
use crate::format::read::reloc::RelocTable;
use crate::format::read::sdn::{NOTE_CAP, find_end};
use crate::format::read::section::{Section, Sections};
use crate::format::read::symbol::Symbols;
use crate::format::read::template::Templates;
use crate::format::read::{elf, functions};
use crate::format::wire::{Layout, NATIVE_HEADER, RELOC, slice};

/// A module in its file. A view: it borrows the bytes and owns nothing.
///
/// ```
/// use smf_core::format::{Layout, SectionKind, Smf};
///
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
/// let file = std::fs::read(path)?;
/// let module = Smf::parse(&file)?;
/// module.verify()?;
/// assert_eq!(module.layout(), Layout::Packed);
/// let code = module.sections().of_kind(SectionKind::Code).ok_or("no code")?;
/// assert!(!code.data.is_empty());
/// let symbols = module.symbols().iter().collect::<Result<Vec<_>, _>>()?;
/// assert!(symbols.iter().any(|symbol| symbol.name() == b"add"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Smf<'d> {
    /// The undecoded header.
    pub(crate) header: &'d [u8; NATIVE_HEADER],
    pub(crate) header_offset: u64,
    /// Contains the section table, which contains the file.
    pub(crate) symbols: Symbols<'d>,
}

impl<'d> Smf<'d> {
    /// The layout.
    pub fn layout(&self) -> Layout {
        self.symbols.sections.layout
    }

    /// The header.
    pub fn header(&self) -> Header {
        Header::decode(self.header, self.symbols.sections.header_layout)
    }

    /// Where the header stands, from the first byte of the file.
    pub fn header_offset(&self) -> u64 {
        self.header_offset
    }

    /// The base of all offsets in the file: the length of the stub, declared or found.
    pub fn base(&self) -> u64 {
        self.symbols.sections.base
    }

    /// Whether something was put before the module, declared or not.
    pub fn has_stub(&self) -> bool {
        self.base() != 0
    }

    /// The whole file.
    pub fn file(&self) -> &'d [u8] {
        self.symbols.sections.data
    }

    /// The sections.
    pub fn sections(&self) -> Sections<'d> {
        self.symbols.sections
    }

    /// The symbols.
    pub fn symbols(&self) -> Symbols<'d> {
        self.symbols
    }

    /// The relocatable ELF object that a code section holds, as a module of the layout
    /// [`Layout::ElfX86_64`] or [`Layout::ElfAarch64`]; `None` when the code is no such object.
    ///
    /// It has the header of the file, and the sections, symbols and relocations of the object, whose
    /// offsets are offsets in the file. They are all that is linked: the file's own symbol table may
    /// repeat names of the object, with places that mean nothing before the object is linked, and is not
    /// asked. For notes, templates and everything else that is not linked, ask the module itself.
    ///
    /// # Errors
    /// What is wrong with a section of the object, or what a module cannot have; a section of the
    /// module that would have to be loaded or applied beside the object.
    pub fn object(&self) -> Result<Option<Smf<'d>>> {
        if self.layout().is_object() {
            return Ok(None);
        }
        let code = self.sections().iter().find(Section::holds_object);
        code.map(|code| self.object_in(&code)).transpose()
    }

    /// The object that a section [holds](Section::holds_object).
    pub(crate) fn object_in(&self, code: &Section<'d>) -> Result<Smf<'d>> {
        let symbols = elf::open::open(&self.sections(), self.header().arch, code)?;
        Ok(Smf { symbols, ..*self })
    }

    /// The input of the linker: the [object](Smf::object) in the code section if there is one, else the module
    /// itself.
    ///
    /// # Errors
    /// As [`Smf::object`].
    pub fn linked(&self) -> Result<Smf<'d>> {
        Ok(self.object()?.unwrap_or(*self))
    }

    /// The section with this number.
    ///
    /// # Errors
    /// [`SectionError::NoSuchSection`].
    pub fn section(&self, index: u32) -> Result<Section<'d>> {
        let count = u32::try_from(self.sections().len()).unwrap_or(u32::MAX);
        Ok(self.sections().get(index).ok_or(SectionError::NoSuchSection { index, count })?)
    }

    /// The first code section.
    pub fn code(&self) -> Option<Section<'d>> {
        self.section(self.symbols.code?).ok()
    }

    /// The relocation sections with what they apply to; an error stands in the place of a broken one.
    pub fn reloc_tables(&self) -> impl Iterator<Item = Result<RelocTable<'d>>> + use<'d> {
        let smf = *self;
        let tables = self.sections().iter().filter(|section| section.kind == SectionKind::Reloc);
        tables.map(move |section| smf.reloc_table(&section))
    }

    /// A relocation section with what it applies to.
    pub(crate) fn reloc_table(&self, section: &Section<'d>) -> Result<RelocTable<'d>> {
        let Section { index, size, offset: at, .. } = *section;
        let is_whole = section.data.len().is_multiple_of(RELOC);
        ensure(is_whole, RelocError::TableSize { section: index, size, at })?;
        let missing = RelocError::NoTarget { section: index, at: section.entry_offset };
        let target = self.reloc_target(section).ok_or(missing)?;
        Ok(RelocTable { section: *section, target, layout: self.layout() })
    }

    /// `.rela.NAME` applies to the section `NAME`, or `.NAME` as ELF has it; every other name, and a
    /// `.rela.text` beside a code section that is called otherwise, to the code.
    fn reloc_target(&self, section: &Section<'d>) -> Option<Section<'d>> {
        if self.layout().is_object() {
            return elf::lookup::reloc_target(&self.sections(), section.index);
        }
        let Some(name) = section.name.strip_prefix(b".rela.") else { return self.code() };
        let dotted = section.name.strip_prefix(b".rela")?;
        let other_named = |name: &[u8]| {
            self.sections().iter().find(|s| s.kind != SectionKind::Reloc && s.name == name)
        };
        let named = other_named(name).or_else(|| other_named(dotted));
        named.or_else(|| if name == b"text" { self.code() } else { None })
    }

    /// The section note.sdn. An ELF object never has one.
    pub(crate) fn note_section(&self) -> Option<Section<'d>> {
        self.sections().named(b"note.sdn").filter(|_| !self.layout().is_object())
    }

    /// The bytes of note.sdn and where they begin in the file; `None` when there is no such section.
    /// A size of 0 in the table means: up to the terminator.
    ///
    /// # Errors
    /// [`NoteError::Unterminated`]; [`CompressionError::StillCompressed`] for a note that
    /// [`Smf::note_contents`] decompresses.
    pub fn note_bytes(&self) -> Result<Option<(&'d [u8], u64)>> {
        let Some(section) = self.note_section() else { return Ok(None) };
        refuse_compressed(&section)?;
        let at = section.offset;
        if section.size != 0 {
            return Ok(Some((section.data, at)));
        }
        let rest = usize::try_from(at).ok().and_then(|at| self.file().get(at..)).unwrap_or(&[]);
        let len = find_end(rest, NOTE_CAP).ok_or(NoteError::Unterminated { at })?;
        Ok(rest.get(..len).map(|note| (note, at)))
    }

    /// note.sdn, read; `None` when there is no such section.
    ///
    /// # Errors
    /// A note without an end, one that is compressed, or one that is not UTF-8.
    pub fn note(&self) -> Result<Option<Note<'d>>> {
        self.note_bytes()?.map(|(bytes, at)| Note::parse(bytes, at)).transpose()
    }

    /// The templates, in whichever container; `None` when there is no such section.
    ///
    /// # Errors
    /// A container that is neither GTPL nor counted, or that does not hold what it counts;
    /// [`CompressionError::StillCompressed`] for one that [`Smf::contents`] decompresses.
    pub fn templates(&self) -> Result<Option<Templates<'d>>> {
        let Some(section) = self.sections().of_kind(SectionKind::TemplateCode) else {
            return Ok(None);
        };
        refuse_compressed(&section)?;
        Templates::parse(section.data, section.offset).map(Some)
    }

    /// The bytecode functions; `None` when the code is machine code.
    ///
    /// # Errors
    /// A broken function table.
    pub fn functions(&self) -> Result<Option<Functions<'d>>> {
        let is_bytecode =
            |code: &Section<'_>| functions::is_bytecode(code.data) && !self.layout().is_object();
        let Some(code) = self.code().filter(is_bytecode) else { return Ok(None) };
        let strings = self.sections().of_kind(SectionKind::StrTab).map_or(&[][..], |s| s.data);
        Functions::parse(code.data, strings, code.offset).map(Some)
    }

    /// The ELF shared object of a dynlib; `None` in every other layout.
    pub fn shared_object(&self) -> Option<&'d [u8]> {
        if self.layout() != Layout::Dynlib {
            return None;
        }
        slice(self.file(), 0, self.header_offset)
    }
}

/// Refuses to read what must be decompressed before.
fn refuse_compressed(section: &Section<'_>) -> Result<(), CompressionError> {
    let Section { index, offset: at, .. } = *section;
    ensure(!section.is_compressed(), CompressionError::StillCompressed { index, at })
}
