//! Modules.
//!
//! [`Smf::parse`] finds the header and checks only that every section lies in the file, so that opening is fast.
//! [`Smf::verify`] checks everything else that can be checked without running the module. Neither allocates. Sources:
//! the SMF specification v1.1, sections 1 to 3, and its writers. `find_header` documents the search for the header.

use crate::alloc_util::sort::sort_by;
use crate::format::error::{CompressionError, NoteError, RelocError, Result, SectionError, ensure};
use crate::format::model::{Binding, Header, SectionKind, SymbolKind};
use crate::format::read::constants::Constants;
use crate::format::read::functions::Functions;
use crate::format::read::note::Note;
use crate::format::read::reloc::RelocTable;
use crate::format::read::sdn::{NOTE_CAP, find_end};
use crate::format::read::section::{Section, Sections};
use crate::format::read::symbol::{Symbol, Symbols};
use crate::format::read::template::Templates;
use crate::format::read::{elf, functions};
use crate::format::wire::{Layout, NATIVE_HEADER, RELOC, slice};

/// A module, as a view of its file: it borrows the bytes and owns nothing.
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
    /// The maximum memory of the sections, in bytes.
    pub(crate) max_memory: u64,
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

    /// The offset of the header in the file, in bytes.
    pub fn header_offset(&self) -> u64 {
        self.header_offset
    }

    /// The base of all offsets in the file, in bytes: the length of the stub, declared or found.
    pub fn base(&self) -> u64 {
        self.symbols.sections.base
    }

    /// Whether a stub precedes the module, declared or not.
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

    /// The relocatable ELF object in a code section, as a module of the layout [`Layout::ElfX86_64`] or
    /// [`Layout::ElfAarch64`]; `None` if the code is not an ELF object.
    ///
    /// The result has the header of the file, and the sections, symbols and relocations of the object; offsets count
    /// from the start of the file. Only these are linked. The file's own symbol table is not used: it may repeat names
    /// of the object, with values that are undefined before the object is linked. Notes, templates and everything else
    /// that is not linked are read from the module itself.
    ///
    /// # Errors
    /// An invalid section of the object; a feature that modules do not support; another section of the module that must
    /// be loaded or applied with the object.
    pub fn object(&self) -> Result<Option<Smf<'d>>> {
        if self.layout().is_object() {
            return Ok(None);
        }
        let code = self.sections().iter().find(Section::holds_object);
        code.map(|code| self.object_in(&code)).transpose()
    }

    /// The object in a section for which [`Section::holds_object`] holds.
    pub(crate) fn object_in(&self, code: &Section<'d>) -> Result<Smf<'d>> {
        let symbols = elf::open::open(&self.sections(), self.header().arch, code, self.max_memory)?;
        Ok(Smf { symbols, ..*self })
    }

    /// The input of the linker: the [object](Smf::object) in the code section, or the module itself without one.
    ///
    /// # Errors
    /// As [`Smf::object`].
    pub fn linked(&self) -> Result<Smf<'d>> {
        Ok(self.object()?.unwrap_or(*self))
    }

    /// The section with this index.
    ///
    /// # Errors
    /// [`SectionError::NoSuchSection`].
    pub fn section(&self, index: u32) -> Result<Section<'d>> {
        let count = u32::try_from(self.sections().len()).unwrap_or(u32::MAX);
        Ok(self.sections().get(index).ok_or(SectionError::NoSuchSection { index, count })?)
    }

    /// Whether a symbol is that of a section, to which relocations refer. The packed layout has no kind for it: such a symbol is
    /// local, has the name of the section and no size.
    pub fn is_section_symbol(&self, symbol: &Symbol<'_>) -> bool {
        let section = symbol.section.and_then(|section| self.sections().get(section));
        let has_its_name = section.is_some_and(|section| section.name == symbol.name());
        let is_local = symbol.binding == Binding::Local;
        symbol.kind == SymbolKind::Section || is_local && symbol.size == 0 && has_its_name
    }

    /// Sorts symbols of this module by section and value, and gives functions of machine code without a size one, as those of
    /// assembly and of the native layout 0.1 are: each extends to the next function of its section, or to the end of that.
    pub fn fill_sizes(&self, symbols: &mut [Symbol<'_>]) {
        sort_by(symbols, |one, other| {
            let key = |symbol: &Symbol<'_>| (symbol.section, symbol.value);
            (key(one), one.name()) < (key(other), other.name())
        });
        // The place of the last function, and where a function there ends.
        let (mut here, mut end) = ((None, u64::MAX), 0);
        for symbol in symbols.iter_mut().rev() {
            let section = symbol.section.and_then(|section| self.sections().get(section));
            let section = section.filter(|section| section.kind == SectionKind::Code);
            let is_function = symbol.kind == SymbolKind::Function;
            let Some(section) = section.filter(|_| is_function && !self.is_section_symbol(symbol))
            else {
                continue;
            };
            if here.0 != symbol.section {
                (here, end) = ((symbol.section, symbol.value), section.size);
            } else if symbol.value < here.1 {
                // Several symbols may have one value.
                (here.1, end) = (symbol.value, here.1);
            }
            if symbol.size == 0 {
                symbol.size = end.saturating_sub(symbol.value);
            }
        }
    }

    /// The first code section.
    pub fn code(&self) -> Option<Section<'d>> {
        self.section(self.symbols.code?).ok()
    }

    /// The relocation sections with their target sections. An item is an error for an invalid one.
    pub fn reloc_tables(&self) -> impl Iterator<Item = Result<RelocTable<'d>>> + use<'d> {
        let smf = *self;
        let tables = self.sections().iter().filter(|section| section.kind == SectionKind::Reloc);
        tables.map(move |section| smf.reloc_table(&section))
    }

    /// A relocation section with its target section.
    pub(crate) fn reloc_table(&self, section: &Section<'d>) -> Result<RelocTable<'d>> {
        let Section { index, size, offset: at, .. } = *section;
        let is_whole = section.data.len().is_multiple_of(RELOC);
        ensure(is_whole, RelocError::TableSize { section: index, size, at })?;
        let missing = RelocError::NoTarget { section: index, at: section.entry_offset };
        let target = self.reloc_target(section).ok_or(missing)?;
        Ok(RelocTable { section: *section, target, layout: self.layout() })
    }

    /// The target section. `.rela.NAME` applies to the section `NAME`, or `.NAME` as in ELF. `.rela.text` without such
    /// a section, and every name without the prefix, applies to the code.
    fn reloc_target(&self, section: &Section<'d>) -> Option<Section<'d>> {
        if self.layout().is_object() {
            return elf::symbol::reloc_target(&self.sections(), section.index);
        }
        let Some(name) = section.name.strip_prefix(b".rela.") else { return self.code() };
        let dotted = section.name.strip_prefix(b".rela")?;
        let other_named =
            |name: &[u8]| self.sections().find(name, |kind| kind != SectionKind::Reloc);
        let named = other_named(name).or_else(|| other_named(dotted));
        named.or_else(|| if name == b"text" { self.code() } else { None })
    }

    /// The section note.sdn; `None` without one, and for an ELF object.
    pub(crate) fn note_section(&self) -> Option<Section<'d>> {
        self.sections().named(b"note.sdn").filter(|_| !self.layout().is_object())
    }

    /// The bytes of note.sdn and their offset in the file; `None` without a note. If the table states size 0, the note
    /// extends to its terminator.
    ///
    /// # Errors
    /// [`NoteError::Unterminated`]; [`CompressionError::StillCompressed`] for a compressed note, which
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

    /// The parsed note.sdn; `None` without one.
    ///
    /// # Errors
    /// A note without a terminator, a compressed note, or one that is not UTF-8.
    pub fn note(&self) -> Result<Option<Note<'d>>> {
        self.note_bytes()?.map(|(bytes, at)| Note::parse(bytes, at)).transpose()
    }

    /// The templates, in either container; `None` without a template section.
    ///
    /// # Errors
    /// A container that is neither GTPL nor counted, or that does not hold its stated count;
    /// [`CompressionError::StillCompressed`] for a compressed one, which [`Smf::contents`] decompresses.
    pub fn templates(&self) -> Result<Option<Templates<'d>>> {
        let Some(section) = self.sections().of_kind(SectionKind::TemplateCode) else {
            return Ok(None);
        };
        refuse_compressed(&section)?;
        Templates::parse(section.data, section.offset).map(Some)
    }

    /// The bytecode functions; `None` if the code is machine code.
    ///
    /// # Errors
    /// An invalid function table.
    pub fn functions(&self) -> Result<Option<Functions<'d>>> {
        let is_bytecode =
            |code: &Section<'_>| functions::is_bytecode(code.data) && !self.layout().is_object();
        let Some(code) = self.code().filter(is_bytecode) else { return Ok(None) };
        Functions::parse(code.data, self.bytecode_strings(), code.offset).map(Some)
    }

    /// The bytecode functions as exported symbols, which the symbol table does not list: the number of the function is the
    /// index, and the entry offset is 0. Machine code has none.
    ///
    /// # Errors
    /// An invalid function table; each element as [`Functions::get`].
    pub fn function_symbols(&self) -> Result<impl Iterator<Item = Result<Symbol<'d>>> + use<'d>> {
        let functions = self.functions()?.into_iter().flat_map(|functions| functions.iter());
        let code = self.symbols.code.unwrap_or_default();
        Ok(functions.map(move |found| found.map(|function| Symbol::of_function(&function, code))))
    }

    /// The constant pool of a bytecode module: its data section.
    pub fn constants(&self) -> Constants<'d> {
        let data = self.sections().of_kind(SectionKind::Data).map_or(&[][..], |s| s.data);
        Constants::parse(data, self.bytecode_strings())
    }

    /// The string table of a bytecode module.
    fn bytecode_strings(&self) -> &'d [u8] {
        self.sections().of_kind(SectionKind::StrTab).map_or(&[][..], |s| s.data)
    }

    /// The ELF shared object of a dynlib; `None` for any other layout.
    pub fn shared_object(&self) -> Option<&'d [u8]> {
        if self.layout() != Layout::Dynlib {
            return None;
        }
        slice(self.file(), 0, self.header_offset)
    }
}

/// Refuses a section that must be decompressed first.
fn refuse_compressed(section: &Section<'_>) -> Result<(), CompressionError> {
    let Section { index, offset: at, .. } = *section;
    ensure(!section.is_compressed(), CompressionError::StillCompressed { index, at })
}
