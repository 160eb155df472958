//! A whole module: which layout it has, where its parts lie, and whether they are sound.
//!
//! [`Smf::parse`] finds the header, checks that every section lies in the file, and nothing more, so
//! that opening is fast; [`Smf::verify`] checks all the rest that can be checked without running.
//! Neither allocates. Facts: the SMF specification v1.1, sections 1 to 3, and its writers.
//! How the header is found is told in `detect`.

use super::bytes::{padded_name, slice};
use super::detect;
use super::elf::{self, reloc::ElfReloc};
use super::error::{FormatError, Table};
use super::ext::cached_code;
use super::ext::hash_index::SymbolIndex;
use super::ext::prelink::Prelink;
use super::functions::{self, Functions};
use super::header::{Compression, Flags, Header};
use super::layout::{Layout, NATIVE_HEADER, PACKED_HEADER, SECTION_NAME, SYMBOL};
use super::note;
use super::reloc::{RelocKind, RelocTable};
use super::section::{Section, SectionFlags, SectionKind, Sections, entry_at};
use super::shared_object;
use super::symbol::{SymbolKind, Symbols};
use super::template::{TemplateMeta, Templates};

/// What a file may ask for before it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory that all sections together may take.
    pub virtual_size: u64,
    /// Entries of the section table. Sections are looked for by name, so that their number counts
    /// twice; real files have a few dozen.
    pub sections: u32,
    /// Bytes of memory, beyond the first MiB, that each compressed byte in the file may claim: for a section by
    /// itself, and for all compressed sections of the file together.
    pub compression_ratio: u64,
}

impl Default for Limits {
    /// 4 GiB of memory, 4,096 sections, 200 bytes of memory for each compressed byte.
    fn default() -> Self {
        Limits { virtual_size: 4 << 30, sections: 4096, compression_ratio: 200 }
    }
}

impl Limits {
    /// What a compressed section may decompress to however short it is in the file, in bytes.
    pub const FREE_VIRTUAL_SIZE: u64 = 1 << 20;

    /// The most bytes that `compressed` bytes of a file may decompress to.
    pub fn max_decompressed(&self, compressed: u64) -> u64 {
        let explained = compressed.saturating_mul(self.compression_ratio);
        explained.saturating_add(Self::FREE_VIRTUAL_SIZE)
    }
}

/// A header in a file, and the layout that it is read in.
#[derive(Clone, Copy)]
pub(super) struct Head<'d> {
    /// The whole file.
    pub(super) data: &'d [u8],
    pub(super) layout: Layout,
    pub(super) bytes: &'d [u8; NATIVE_HEADER],
    /// Where it stands.
    pub(super) at: u64,
}

/// A module in its file. A view: it borrows the bytes and owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Smf<'d> {
    /// The header's bytes: most of its fields are never asked for.
    header: &'d [u8; NATIVE_HEADER],
    header_offset: u64,
    /// With the section table inside, in which the symbols lie, and the file inside that: a view is
    /// handed on by value, and the fewer bytes it has, the faster a file opens.
    symbols: Symbols<'d>,
}

impl<'d> Smf<'d> {
    /// Reads the module in `data`, the whole file, with the default [`Limits`].
    ///
    /// # Errors
    /// Why the file is no module of any layout, with an absolute offset.
    pub fn parse(data: &'d [u8]) -> Result<Self, FormatError> {
        Self::parse_within(data, Limits::default())
    }

    /// As [`Smf::parse`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn parse_within(data: &'d [u8], limits: Limits) -> Result<Self, FormatError> {
        detect::find(data, limits)
    }

    /// Reads the module with this header and its offsets counting from `base`.
    pub(super) fn open(head: Head<'d>, base: u64, limits: Limits) -> Result<Self, FormatError> {
        Self::open_as(head, base, limits)
    }

    /// As [`Smf::open`], compiled where it is called, for one layout where that is known.
    #[cfg_attr(feature = "full", inline(always))]
    pub(super) fn open_as(head: Head<'d>, base: u64, limits: Limits) -> Result<Self, FormatError> {
        let Head { data, layout, bytes, at } = head;
        let header = Header::decode(bytes, layout);
        if base > data.len() as u64 {
            let at = at + layout.header_fields().data_offset as u64;
            return Err(FormatError::StubOutside { size: base, at });
        }
        let sections = section_table(data, layout, &header, at, base)?;
        if header.section_count > limits.sections {
            return Err(too_many_sections(layout, header.section_count, at, limits));
        }
        let (len, limit) = (data.len() as u64, limits.virtual_size);
        let (compression, flags) = (header.compression, header.flags);
        let bounds = |layout| Bounds { len, base, limit, layout, compression, flags };
        let found = match layout {
            Layout::Native => check_sections(&sections, bounds(Layout::Native))?,
            Layout::Compact => check_sections(&sections, bounds(Layout::Compact))?,
            _ => check_sections(&sections, bounds(Layout::Packed))?,
        };
        // Without decoders nothing is decompressed.
        if cfg!(feature = "compress") && compression != Compression::NONE {
            check_ratio(&sections, limits)?;
        }
        let (table, table_offset) = symbol_table(data, layout, &header, at, base)?;
        let strings = match found.strtab.and_then(|index| contents(sections, index)) {
            Some(strings) => strings,
            None => implied_strings(data, table, table_offset, at),
        };
        let defaults = (found.code, found.data);
        let symbols = Symbols::new(table, table_offset, strings, sections, defaults);
        Ok(Smf { header: bytes, header_offset: at, symbols })
    }

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

    /// What the offsets in the file count from: the length of the stub, declared or found.
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
    pub fn object(&self) -> Result<Option<Smf<'d>>, FormatError> {
        if self.layout().is_object() {
            return Ok(None);
        }
        let code = self.sections().iter().find(Section::holds_object);
        code.map(|code| self.object_in(&code)).transpose()
    }

    /// The object that a section [holds](Section::holds_object).
    pub(crate) fn object_in(&self, code: &Section<'d>) -> Result<Smf<'d>, FormatError> {
        elf::open(self, code)
    }

    /// What a linker works on: the [object](Smf::object) in the code section if there is one, else the
    /// module itself.
    ///
    /// # Errors
    /// As [`Smf::object`].
    pub fn linked(&self) -> Result<Smf<'d>, FormatError> {
        Ok(self.object()?.unwrap_or(*self))
    }

    /// The same file with other sections and symbols.
    pub(super) fn with_symbols(&self, symbols: Symbols<'d>) -> Self {
        Smf { symbols, ..*self }
    }

    /// The section with this number.
    ///
    /// # Errors
    /// [`FormatError::NoSuchSection`].
    pub fn section(&self, index: u32) -> Result<Section<'d>, FormatError> {
        let count = u32::try_from(self.sections().len()).unwrap_or(u32::MAX);
        let section = usize::try_from(index).ok().and_then(|index| self.sections().get(index));
        section.ok_or(FormatError::NoSuchSection { index, count })
    }

    /// The first code section.
    pub fn code(&self) -> Option<Section<'d>> {
        self.section(self.symbols.code?).ok()
    }

    /// The relocation sections with what they apply to; an error stands in the place of a broken one.
    pub fn reloc_tables(
        &self,
    ) -> impl Iterator<Item = Result<RelocTable<'d>, FormatError>> + use<'d> {
        let smf = *self;
        let tables = self.sections().iter().filter(|section| section.kind == SectionKind::Reloc);
        tables.map(move |section| smf.reloc_table(&section))
    }

    /// A relocation section with what it applies to.
    #[cfg_attr(not(feature = "full"), inline(never))]
    pub(crate) fn reloc_table(&self, section: &Section<'d>) -> Result<RelocTable<'d>, FormatError> {
        let Section { index, size, offset: at, .. } = *section;
        if !section.data.len().is_multiple_of(super::layout::RELOC) {
            return Err(FormatError::RelocTableSize { section: index, size, at });
        }
        let missing = FormatError::RelocNoTarget { section: index, at: section.entry_offset };
        let target = self.reloc_target(section).ok_or(missing)?;
        Ok(RelocTable { section: *section, target, layout: self.layout() })
    }

    /// `.rela.NAME` applies to the section `NAME`, or `.NAME` as ELF has it; every other name, and a
    /// `.rela.text` beside a code section that is called otherwise, to the code.
    fn reloc_target(&self, section: &Section<'d>) -> Option<Section<'d>> {
        if self.layout().is_object() {
            return elf::reloc_target(&self.sections(), section.index);
        }
        let Some(name) = section.name.strip_prefix(b".rela.") else { return self.code() };
        let dotted = section.name.strip_prefix(b".rela")?;
        let other_named = |name: &[u8]| {
            self.sections().iter().find(|s| s.kind != SectionKind::Reloc && s.name == name)
        };
        let named = other_named(name).or_else(|| other_named(dotted));
        named.or_else(|| if name == b"text" { self.code() } else { None })
    }

    /// The section note.sdn; an ELF object has none, whatever it calls its sections.
    pub(super) fn note_section(&self) -> Option<Section<'d>> {
        self.sections().named(b"note.sdn").filter(|_| !self.layout().is_object())
    }

    /// The bytes of note.sdn and where they begin in the file; `None` when there is no such section.
    /// A size of 0 in the table means: up to the terminator.
    ///
    /// # Errors
    /// [`FormatError::NoteUnterminated`]; [`FormatError::StillCompressed`] for a note that
    /// [`Smf::note_contents`] decompresses.
    #[inline(never)]
    pub fn note_bytes(&self) -> Result<Option<(&'d [u8], u64)>, FormatError> {
        let Some(section) = self.note_section() else { return Ok(None) };
        refuse_compressed(&section)?;
        let at = section.offset;
        if section.size != 0 {
            return Ok(Some((section.data, at)));
        }
        let rest = usize::try_from(at).ok().and_then(|at| self.file().get(at..)).unwrap_or(&[]);
        let missing = FormatError::NoteUnterminated { at };
        let len = super::sdn::find_end(rest, super::sdn::NOTE_CAP).ok_or(missing)?;
        Ok(rest.get(..len).map(|note| (note, at)))
    }

    /// note.sdn, read; `None` when there is no such section.
    ///
    /// # Errors
    /// A note without an end, one that is compressed, or one that is not UTF-8.
    pub fn note(&self) -> Result<Option<note::Note<'d>>, FormatError> {
        self.note_bytes()?.map(|(bytes, at)| note::Note::parse(bytes, at)).transpose()
    }

    /// The templates, in whichever container; `None` when there is no such section.
    ///
    /// # Errors
    /// A container that is neither GTPL nor counted, or that does not hold what it counts;
    /// [`FormatError::StillCompressed`] for one that [`Smf::contents`] decompresses.
    pub fn templates(&self) -> Result<Option<Templates<'d>>, FormatError> {
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
    pub fn functions(&self) -> Result<Option<Functions<'d>>, FormatError> {
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

    /// Checks everything that can be checked without running: every symbol, relocation, template,
    /// bytecode function and note row, the placement, the symbol index, every record of kept code, the ELF object
    /// in the code, and the tables of the shared object of a dynlib.
    /// Time is linear in the file. Nothing is decompressed: what compressed sections hold is for
    /// [`Smf::verify_compressed`] to check.
    ///
    /// # Errors
    /// The first thing that is wrong, with an absolute offset.
    pub fn verify(&self) -> Result<(), FormatError> {
        self.verify_tables()?;
        if self.layout().is_object() {
            return Ok(());
        }
        self.verify_entry_point()?;
        for section in self.sections().iter().filter(|s| !s.is_compressed()) {
            match section.kind {
                SectionKind::TemplateCode => {
                    Templates::parse(section.data, section.offset)?.check()?
                }
                SectionKind::TemplateMeta => {
                    TemplateMeta::parse(section.data, section.offset)?;
                }
                _ => {}
            }
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
        cached_code::check(self)?;
        if let Some(plan) = Prelink::of(self)? {
            plan.verify_settled(self)?;
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
    fn verify_tables(&self) -> Result<(), FormatError> {
        self.verify_symbols()?;
        for table in self.reloc_tables() {
            self.verify_relocs(&table?)?;
        }
        Ok(())
    }

    fn verify_symbols(&self) -> Result<(), FormatError> {
        // Symbols come in runs of one section, so the last one looked up is nearly always right.
        let mut last: Option<(u32, u64)> = None;
        for symbol in self.symbols.iter() {
            let symbol = symbol?;
            let Some(index) = symbol.section.filter(|_| symbol.kind.has_address()) else {
                continue;
            };
            let size = match last {
                Some((section, size)) if section == index => size,
                _ => {
                    let section = self.section(index)?;
                    let lost = section.has_lost_size();
                    let size = if lost { u64::MAX } else { section.memory_size() };
                    last = Some((index, size));
                    size
                }
            };
            if symbol.kind != SymbolKind::Section {
                symbol.check_place(size)?;
            }
        }
        Ok(())
    }

    /// Checks that every relocation of a table has a type, a symbol and a place.
    ///
    /// # Errors
    /// The first one that has not.
    pub fn verify_relocs(&self, table: &RelocTable<'d>) -> Result<(), FormatError> {
        let section = table.section.index;
        let count = self.symbols.len() as u64;
        let Some((at_index, reloc)) = table.first_broken(count) else { return Ok(()) };
        let index = u32::try_from(at_index).unwrap_or(u32::MAX);
        let at = table.section.offset + at_index as u64 * super::layout::RELOC as u64;
        Err(match reloc.kind {
            RelocKind::Unknown(_) if self.layout().is_object() => {
                let entry = table.section.data.as_chunks().0.get(at_index);
                let number = entry.map_or(0, elf::reloc::number);
                let kind = ElfReloc::new(self.layout(), number);
                FormatError::ElfReloc { section, index, kind, at }
            }
            RelocKind::Unknown(value) => FormatError::RelocType { section, index, value, at },
            _ if u64::from(reloc.symbol) >= count => {
                FormatError::RelocSymbol { section, index, symbol: reloc.symbol, at }
            }
            _ => FormatError::RelocPlace { section, index, offset: reloc.offset, at },
        })
    }

    fn verify_entry_point(&self) -> Result<(), FormatError> {
        let offset = self.header().entry_point;
        let at = self.header_offset + self.layout().header_fields().entry_point as u64;
        match self.code() {
            _ if offset == 0 => Ok(()),
            Some(code) if offset < code.memory_size() => Ok(()),
            _ => Err(FormatError::EntryPoint { offset, at }),
        }
    }
}

/// The section table, which must lie in the file and not under a leading header.
#[inline]
pub(super) fn section_table<'d>(
    data: &'d [u8],
    layout: Layout,
    header: &Header,
    at: u64,
    base: u64,
) -> Result<Sections<'d>, FormatError> {
    let count = u64::from(header.section_count);
    let (offset, field) = match layout {
        Layout::Compact => (PACKED_HEADER as u64, layout.header_fields().section_count),
        _ => (header.section_table, layout.header_fields().section_table),
    };
    let outside =
        FormatError::TableOutside { table: Table::Sections, offset, count, at: at + field as u64 };
    let none = Sections {
        data,
        table: &[],
        table_offset: 0,
        layout,
        header_layout: layout,
        has_commons: false,
        symtab: 0,
        base,
    };
    if count == 0 {
        return Ok(none);
    }
    let table_offset = base.checked_add(offset).ok_or(outside)?;
    if at == 0 && table_offset < layout.header_len() as u64 {
        return Err(outside);
    }
    let len = count.checked_mul(layout.section_stride() as u64).ok_or(outside)?;
    let table = slice(data, table_offset, len).ok_or(outside)?;
    Ok(Sections { table, table_offset, ..none })
}

#[cold]
fn too_many_sections(layout: Layout, count: u32, at: u64, limits: Limits) -> FormatError {
    let at = at + layout.header_fields().section_count as u64;
    FormatError::TooManySections { count, limit: limits.sections, at }
}

/// The symbol table and where it begins. Offset 0 means that there is none, whatever the count says:
/// bytecode files count their functions there.
#[inline]
fn symbol_table<'d>(
    data: &'d [u8],
    layout: Layout,
    header: &Header,
    at: u64,
    base: u64,
) -> Result<(&'d [u8], u64), FormatError> {
    let count = u64::from(header.symbol_count);
    if header.symbol_table == 0 || matches!(layout, Layout::Compact | Layout::Dynlib) {
        return Ok((&[], 0));
    }
    let offset = header.symbol_table;
    let outside = FormatError::TableOutside {
        table: Table::Symbols,
        offset,
        count,
        at: at + layout.header_fields().symbol_table as u64,
    };
    let table_offset = base.checked_add(offset).ok_or(outside)?;
    let table = slice(data, table_offset, count * SYMBOL as u64).ok_or(outside)?;
    Ok((table, table_offset))
}

/// The strings of a file without a StrTab section: from the end of the symbol table to the trailer,
/// or to the end of the file.
fn implied_strings<'d>(data: &'d [u8], table: &[u8], table_offset: u64, header: u64) -> &'d [u8] {
    if table.is_empty() {
        return &[];
    }
    let start = table_offset + table.len() as u64;
    let end = if header >= start { header } else { data.len() as u64 };
    end.checked_sub(start).and_then(|len| slice(data, start, len)).unwrap_or(&[])
}

/// The bytes of a section.
fn contents(sections: Sections<'_>, index: u32) -> Option<&[u8]> {
    sections.get(usize::try_from(index).ok()?).map(|section| section.data)
}

/// The first sections of the kinds that others refer to.
#[derive(Default)]
struct Found {
    code: Option<u32>,
    data: Option<u32>,
    strtab: Option<u32>,
}

/// What section entries are compared with.
#[derive(Clone, Copy)]
struct Bounds {
    /// Bytes of the file.
    len: u64,
    /// What its offsets count from.
    base: u64,
    /// The most that all sections may take in memory.
    limit: u64,
    layout: Layout,
    compression: Compression,
    flags: Flags,
}

/// Checks every section entry. Compiled once for each layout. Opening a file is all in this loop: what it
/// handed on by reference would lie in memory from then on, and take half of the time.
#[cfg_attr(feature = "full", inline(always))]
fn check_sections(sections: &Sections<'_>, bounds: Bounds) -> Result<Found, FormatError> {
    let Bounds { len, base, limit, layout, .. } = bounds;
    let mut total = 0u64;
    let mut found = Found::default();
    for (index, _, entry) in sections.entries(layout) {
        // A look at what is written as nearly all are is a matter of speed alone.
        let plain = if cfg!(feature = "full") { entry.plain_size(len, base) } else { None };
        total = match plain {
            Some(size) if size <= limit.saturating_sub(total) => total + size,
            _ => check_odd(sections.table, sections.table_offset, index, bounds, total)?,
        };
        match entry.referred_kind() {
            Some(SectionKind::Code) => found.code = found.code.or(Some(index)),
            Some(SectionKind::Data) => found.data = found.data.or(Some(index)),
            Some(SectionKind::StrTab) => found.strtab = found.strtab.or(Some(index)),
            _ => {}
        }
    }
    Ok(found)
}

/// Checks the entry of a section that is not plain, with `total` bytes of memory in those before it; returns
/// what there are with it.
#[cold]
#[inline(never)]
fn check_odd(
    table: &[u8],
    table_offset: u64,
    index: u32,
    bounds: Bounds,
    total: u64,
) -> Result<u64, FormatError> {
    let Bounds { len, base, limit, layout, compression, flags } = bounds;
    let Some((at, entry)) = entry_at(table, table_offset, index, layout) else { return Ok(total) };
    if !entry.fits(len, base) {
        return Err(entry.complaint(len, base, index, at));
    }
    let total = total.saturating_add(entry.memory_size());
    if total > limit {
        return Err(FormatError::VirtualSize { total, limit, at });
    }
    if entry.flags & SectionFlags::COMPRESSED != 0 {
        check_compression((compression, flags), (entry.kind(), entry.name()), index, at)?;
    }
    Ok(total)
}

/// What is marked compressed must be so in a known way, and not be read where it stands. Code that
/// is not to be run may be anything.
#[cold]
fn check_compression(
    (compression, flags): (Compression, Flags),
    (kind, name): (SectionKind, &[u8; SECTION_NAME]),
    index: u32,
    at: u64,
) -> Result<(), FormatError> {
    if !matches!(compression, Compression::ZSTD | Compression::LZ4) {
        return Err(FormatError::SectionCompression { index, compression, at });
    }
    let is_let_be = match kind {
        SectionKind::Code => !flags.has(Flags::EXECUTABLE),
        SectionKind::Bss => true,
        _ => kind.is_compressible(padded_name(name)),
    };
    if is_let_be { Ok(()) } else { Err(FormatError::CompressedKind { index, kind, at }) }
}

/// Checks what compressed sections claim to decompress to against what they are in the file: each by itself, and
/// all of them together, with bytes that several of them share counted once.
#[cold]
#[inline(never)]
fn check_ratio(sections: &Sections<'_>, limits: Limits) -> Result<(), FormatError> {
    let len = sections.data.len() as u64;
    let (mut stored, mut claimed) = (0u64, 0u64);
    for section in sections.iter().filter(Section::is_compressed) {
        stored = stored.saturating_add(section.size).min(len);
        claimed = claimed.saturating_add(section.virtual_size);
        for (size, virtual_size) in [(section.size, section.virtual_size), (stored, claimed)] {
            let limit = limits.max_decompressed(size);
            if virtual_size > limit {
                let (index, at) = (section.index, section.entry_offset);
                return Err(FormatError::CompressionRatio { index, size, virtual_size, limit, at });
            }
        }
    }
    Ok(())
}

/// Refuses to read what must be decompressed before.
fn refuse_compressed(section: &Section<'_>) -> Result<(), FormatError> {
    let Section { index, offset: at, .. } = *section;
    if section.is_compressed() { Err(FormatError::StillCompressed { index, at }) } else { Ok(()) }
}
