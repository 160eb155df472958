//! The oracle of `format`: walks everything reachable from a file and asserts the guarantees for any bytes.
//!
//! * Every view lies inside the file, at the offset that it reports.
//! * A module that [`Smf::verify`] accepts has no malformed entry, and no symbol or relocation outside its section. The rules are
//!   implemented here a second time, slowly and plainly.
//!
//! A broken guarantee panics. Tests and fuzz targets both use the oracle.

use smf_core::format::ext::cached_code::{self, CachedCode};
use smf_core::format::ext::debug_addresses::{DebugFields, FIELD, OFFSET_FIELD};
use smf_core::format::ext::gnu_property::{self, Properties};
use smf_core::format::ext::needed::{NAME, NeededLibraries};
use smf_core::format::ext::prelink::{self, Prelink};
use smf_core::format::note::{
    CircularError, CircularWarning, Dependency, Entries, Entry, Instantiation, Note, Possible,
    TypeInference,
};
use smf_core::format::template::Templates;
use smf_core::format::{
    Contents, FormatError, Library, RelocKind, RelocTable, Section, SectionKind, Smf, Symbol,
    SymbolIndex, SymbolKind,
};

/// The number of parts of a file that the walk has visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Entries of the section table.
    pub sections: usize,
    /// Valid entries of the symbol table.
    pub symbols: usize,
    /// Relocations in valid tables.
    pub relocs: usize,
    /// Templates up to the first malformed one.
    pub templates: usize,
    /// Rows of the note, in tables with a known name, up to the first malformed one.
    pub note_rows: usize,
    /// Valid bytecode functions.
    pub functions: usize,
    /// Names of needed libraries.
    pub libraries: usize,
    /// Properties of the code.
    pub properties: usize,
    /// Fields of debugging information that hold addresses.
    pub debug_fields: usize,
    /// Places of relative relocations.
    pub relative: usize,
    /// Sections, symbols and relocations of the ELF object in the code, counted as above.
    pub object: [usize; 3],
}

/// Walks everything in `smf`.
///
/// # Panics
/// If `format` breaks a guarantee.
pub fn walk(smf: &Smf<'_>) -> Census {
    let sound = smf.verify().is_ok();
    let walk = Walk { smf: *smf, file: smf.file(), sound };
    cached_code::payload_of(smf).map(walk_kept);
    let needed = sound_item(NeededLibraries::of(smf), sound).flatten();
    let properties = sound_item(Properties::of(smf), sound).flatten();
    let debug = sound_item(DebugFields::addresses(smf), sound).flatten();
    let offsets = sound_item(DebugFields::offsets(smf), sound).flatten();
    let prelink = sound_item(Prelink::of(smf), sound).flatten();
    let object = sound_item(smf.object(), sound).flatten();
    Census {
        object: object.map_or([0; 3], |object| walk_object(&object, smf, sound)),
        sections: walk.sections(),
        symbols: walk.symbols(),
        relocs: walk.relocs(),
        templates: walk.templates(),
        note_rows: walk.note_rows(),
        functions: walk.functions(),
        libraries: needed.map_or(0, |needed| walk_needed(smf, needed)),
        properties: properties.map_or(0, |properties| walk_properties(smf, properties)),
        debug_fields: debug.map_or(0, |debug| walk_debug(smf, debug, FIELD))
            + offsets.map_or(0, |offsets| walk_debug(smf, offsets, OFFSET_FIELD)),
        relative: prelink.map_or(0, |prelink| walk_relative(smf, &prelink, sound)),
    }
}

/// Walks the lists of fields of debugging information, which have `size` bytes.
fn walk_debug(smf: &Smf<'_>, fields: DebugFields<'_>, size: u64) -> usize {
    let mut count = 0;
    for list in fields.lists() {
        let same = |section: &Section<'_>| smf.section(section.index).unwrap().name == section.name;
        assert!(same(&list.debug) && list.debug.kind == SectionKind::Debug);
        let refers_to_storage = list.target.name == b".tdata";
        let is_loaded = list.target.kind.is_loaded();
        assert!(same(&list.target) && (is_loaded == (size == FIELD) || refers_to_storage));
        let mut end = 0;
        for offset in list.offsets().map(u64::from) {
            assert!(offset >= end, "fields overlap");
            end = offset + size;
            assert!(end <= list.debug.memory_size());
            count += 1;
        }
    }
    count
}

/// Walks the places of relative relocations, which are those of the relocations that they replace, unless the file is valid in
/// its image only and has no such relocations.
fn walk_relative(smf: &Smf<'_>, image: &Prelink<'_>, sound: bool) -> usize {
    let start = |section: &Section<'_>| image.section_offset(section.index);
    let tables = smf.reloc_tables().filter_map(|table| sound_item(table, sound));
    let replaced = tables.filter(|table| image.is_relative(table.section.index));
    let is_relative = |section: Section<'_>| image.is_relative(section.index);
    let mut symbols = smf.symbols().iter().filter_map(Result::ok);
    let is_replaced = smf.sections().iter().any(is_relative)
        || !symbols.any(|symbol| symbol.is_import() && symbol.name() == prelink::NAME);
    let mut replaced = replaced.flat_map(|table| {
        let start = start(&table.target).unwrap_or(0);
        table.iter().map(move |reloc| start.wrapping_add(reloc.offset))
    });
    let (mut count, mut end) = (0, 0);
    for place in image.relative_relocs().places() {
        assert!(place >= end && place % 8 == 0, "{place:#x} is misaligned or out of order");
        let has_reloc = !is_replaced || replaced.next() == Some(place);
        assert!(!sound || has_reloc, "{place:#x} has no relocation");
        end = place + 8;
        let holds = |section: Section<'_>| {
            let is_data = matches!(section.kind, SectionKind::Data | SectionKind::RoData);
            let is_compressed = section.is_compressed();
            let len = if is_compressed { section.virtual_size } else { section.data.len() as u64 };
            is_data && start(&section).is_some_and(|at| place >= at && end <= at + len)
        };
        assert!(smf.sections().iter().any(holds), "{place:#x} is not in the contents of data");
        count += 1;
    }
    assert!(!sound || replaced.next().is_none(), "a relocation has no place");
    count
}

/// Walks the names of needed libraries.
fn walk_needed(smf: &Smf<'_>, needed: NeededLibraries<'_>) -> usize {
    let file = smf.file();
    for (number, name) in needed.iter().enumerate() {
        assert_inside(file, name);
        assert!((1..256).contains(&name.len()) && !name.contains(&0) && !name.contains(&b'/'));
        assert!(needed.iter().take(number).all(|earlier| earlier != name));
    }
    let (count, bytes) =
        needed.iter().fold((0, 0), |(n, bytes), name| (n + 1, bytes + 1 + name.len()));
    // The section may be called a note or, in the native layout, debugging information.
    let is_whole = |s: &Section<'_>| s.name == NAME && s.data.len() == 12 + bytes;
    assert!(count <= 1024 && smf.sections().iter().any(|section| is_whole(&section)));
    count
}

/// Walks the properties of the code.
fn walk_properties(smf: &Smf<'_>, properties: Properties<'_>) -> usize {
    // Only a note holds them, although a section of any kind may have the name.
    let is_note = |s: &Section<'_>| s.name == gnu_property::NAME && s.kind == SectionKind::Note;
    let section = smf.sections().iter().find(is_note).unwrap();
    let mut end = 0;
    for property in properties {
        let property = property.unwrap();
        assert_inside(smf.file(), property.value);
        assert!(property.offset >= end && property.offset.is_multiple_of(8), "properties overlap");
        let word = |at: u64| {
            let at = usize::try_from(property.offset + at).unwrap();
            u32::from_le_bytes(section.data[at..at + 4].try_into().unwrap())
        };
        assert_eq!((word(0), word(4), word(8)), (property.kind, 4, property.number().unwrap()));
        end = property.offset + 12;
    }
    assert!(end <= section.size);
    properties.count()
}

/// Walks the object in the code of `smf`.
fn walk_object(object: &Smf<'_>, smf: &Smf<'_>, sound: bool) -> [usize; 3] {
    assert!(object.layout().is_object() && object.object().unwrap().is_none());
    assert!(smf.file().starts_with(object.file()));
    assert_eq!(object.header().arch, smf.header().arch);
    let walk = Walk { smf: *object, file: object.file(), sound };
    assert!(walk.templates() == 0 && walk.note_rows() == 0 && walk.functions() == 0);
    [walk.sections(), walk.symbols(), walk.relocs()]
}

/// Walks every module of `library` and returns their number.
///
/// # Panics
/// As [`walk`].
pub fn walk_library(library: &Library<'_>, file: &[u8]) -> usize {
    let sound = library.verify().is_ok();
    let mut count = 0;
    for module in library.modules() {
        let Some(module) = sound_item(module, sound) else { continue };
        assert_inside(file, module.data);
        assert_inside(file, module.object.unwrap_or(&[]));
        count += 1;
        if let Ok(smf) = Smf::parse(module.data) {
            walk(&smf);
        }
    }
    count
}

/// Walks the records of a payload of cached code and returns the number of valid ones.
///
/// # Panics
/// If `format` breaks a guarantee.
pub fn walk_kept(payload: &[u8]) -> usize {
    let mut sound = 0;
    for (at, record) in cached_code::records(payload) {
        assert_eq!(payload.get(at..at + record.len()), Some(record));
        let Some(code) = CachedCode::read(record) else { continue };
        sound += 1;
        let texts = [code.symbol, code.template, code.arguments, code.interface, code.code];
        assert!(texts.iter().map(|text| text.len()).sum::<usize>() < record.len());
        let relocs: Vec<_> = code.relocations().collect();
        assert!(relocs.len() <= record.len());
        // A record that can be read is written back unchanged.
        if let Some(relocs) = relocs.into_iter().collect::<Option<Vec<_>>>()
            && let frames = code.frames().collect::<Vec<_>>()
            && let Some(again) = code.encode(&relocs, &frames)
        {
            let again = CachedCode::read(&again).unwrap();
            assert_eq!((again.symbol, again.code), (code.symbol, code.code));
            assert!(again.relocations().eq(relocs.into_iter().map(Some)));
            assert!(again.frames().eq(frames));
        }
    }
    sound
}

/// Walks every table of `note`, which consists of `bytes`, and returns the number of rows in its known tables.
///
/// # Panics
/// As [`walk`].
pub fn walk_note(note: &Note<'_>, bytes: &[u8]) -> usize {
    let sound = note.check().is_ok();
    let document = note.document();
    let text = document.text();
    assert_inside(bytes, text.as_bytes());
    for table in document.tables() {
        let Some(table) = sound_item(table, sound) else { continue };
        assert_inside(bytes, table.name().as_bytes());
        for row in table.rows() {
            let Some(row) = sound_item(row, sound) else { continue };
            row.cells().for_each(|cell| assert_inside(bytes, cell.raw().as_bytes()));
            assert!(text.get(row.span()).is_some());
        }
    }
    entries(note.entries::<Instantiation>(), sound)
        + entries(note.entries::<Possible>(), sound)
        + entries(note.entries::<TypeInference>(), sound)
        + entries(note.entries::<Dependency>(), sound)
        + entries(note.entries::<CircularWarning>(), sound)
        + entries(note.entries::<CircularError>(), sound)
}

fn entries<'d, E: Entry<'d>>(entries: Entries<'d, E>, sound: bool) -> usize {
    entries.filter_map(|entry| sound_item(entry, sound)).count()
}

struct Walk<'d> {
    smf: Smf<'d>,
    file: &'d [u8],
    /// Whether the file verifies, so that no part of it may be malformed.
    sound: bool,
}

impl<'d> Walk<'d> {
    fn sections(&self) -> usize {
        let sections = self.smf.sections();
        assert_eq!(sections.iter().count(), sections.len(), "a section was skipped");
        for (index, section) in sections.iter().enumerate() {
            assert_eq!(u32::try_from(index).unwrap(), section.index);
            assert_at(self.file, section.data, section.offset);
            assert_inside(self.file, section.name);
            assert!(section.alignment.is_power_of_two() && section.alignment <= 2 << 20);
            let len = section.data.len() as u64;
            assert!(section.kind == SectionKind::Bss || len == section.size);
            assert!(len <= section.memory_size());
            assert!(section.entry_offset < self.file.len() as u64);
            let again = self.smf.section(section.index).unwrap();
            assert_eq!((again.offset, again.kind), (section.offset, section.kind));
        }
        assert!(self.smf.section(u32::try_from(sections.len()).unwrap()).is_err());
        assert_inside(self.file, self.smf.shared_object().unwrap_or(&[]));
        assert!(self.smf.base() <= self.file.len() as u64);
        sections.len()
    }

    fn symbols(&self) -> usize {
        let symbols = self.smf.symbols();
        let sound = symbols.iter().filter_map(|symbol| {
            let symbol = sound_item(symbol, self.sound)?;
            self.symbol(&symbol);
            Some(())
        });
        let count = sound.count();
        self.index();
        assert!(symbols.get(u32::try_from(symbols.len()).unwrap()).is_err());
        count
    }

    fn symbol(&self, symbol: &Symbol<'d>) {
        let name = symbol.name();
        assert_inside(self.file, name);
        assert!(!name.contains(&0));
        assert!(symbol.entry_offset < self.file.len() as u64);
        assert!(!(symbol.is_export() && symbol.is_import()));
        let Some(section) = symbol.section else { return };
        assert!(symbol.defined);
        let section = self.smf.section(section).unwrap();
        let may_leave = symbol.kind == SymbolKind::Section
            || !symbol.kind.has_address()
            || section.has_lost_size();
        let end = symbol.value.checked_add(symbol.size);
        assert!(!self.sound || may_leave || end.unwrap() <= section.memory_size());
    }

    /// The index of names finds only existing symbols, and in a valid file all of them.
    fn index(&self) {
        let Some(Some(index)) = sound_item(SymbolIndex::of(self.smf.symbols()), self.sound) else {
            return;
        };
        for symbol in self.smf.symbols().iter().filter_map(Result::ok) {
            let found = index.find(symbol.name()).map(|f| self.smf.symbols().get(f.index).unwrap());
            assert!(found.is_none_or(|f| f.is_export() && f.name() == symbol.name()));
            assert!(!self.sound || found.is_some() || !symbol.is_export());
        }
    }

    fn relocs(&self) -> usize {
        let mut count = 0;
        for table in self.smf.reloc_tables() {
            let Some(table) = sound_item(table, self.sound) else { continue };
            assert_inside(self.file, table.section.data);
            assert_eq!(table.iter().len(), table.len());
            assert_eq!(table.iter().count(), table.len());
            count += table.len();
            if self.sound {
                self.sound_relocs(&table);
            }
        }
        count
    }

    fn sound_relocs(&self, table: &RelocTable<'d>) {
        let Section { virtual_size, .. } = table.target;
        let room = virtual_size.max(table.target.memory_size());
        for reloc in table.iter() {
            assert!(!matches!(reloc.kind, RelocKind::Unknown(_)));
            assert!(self.smf.symbols().get(reloc.symbol).is_ok());
            assert!(reloc.offset.checked_add(reloc.kind.width()).unwrap() <= room);
        }
    }

    /// The contents of a section, and whether no part of them may be malformed. Compressed contents are checked by
    /// `verify_compressed` alone.
    fn contents(&self, section: &Section<'d>) -> Option<(Contents<'d>, bool)> {
        if !section.is_compressed() {
            return Some((Contents::Borrowed(section.data), self.sound));
        }
        let sound = self.sound && self.smf.verify_compressed().is_ok();
        Some((sound_item(self.smf.contents(section), sound)?, sound))
    }

    fn templates(&self) -> usize {
        let section = self.smf.sections().of_kind(SectionKind::TemplateCode);
        let Some((bytes, sound)) = section.and_then(|section| self.contents(&section)) else {
            return 0;
        };
        let at = section.map_or(0, |section| section.offset);
        let Some(templates) = sound_item(Templates::parse(&bytes, at), sound) else { return 0 };
        let mut count = 0;
        for template in templates.iter() {
            let Some(template) = sound_item(template, sound) else { continue };
            assert_inside(&bytes, template.name);
            assert_inside(&bytes, template.body);
            assert_eq!(template.constraints.iter().count(), template.constraints.iter().len());
            count += 1;
        }
        let in_place = self.smf.templates();
        assert_eq!(in_place.is_ok_and(|found| found.is_some()), !is_compressed(section));
        count
    }

    fn note_rows(&self) -> usize {
        let section = self.smf.sections().named(b"note.sdn");
        if is_compressed(section) {
            assert!(self.smf.note_bytes().is_err() && self.smf.note().is_err());
            let Some((bytes, sound)) = section.and_then(|section| self.contents(&section)) else {
                return 0;
            };
            let note = sound_item(Note::parse(&bytes, 0), sound);
            return note.map_or(0, |note| walk_note(&note, &bytes));
        }
        let Some(bytes) = sound_item(self.smf.note_bytes(), self.sound) else { return 0 };
        let Some(note) = sound_item(self.smf.note(), self.sound) else { return 0 };
        assert_eq!(bytes.is_some(), note.is_some());
        let (Some((bytes, at)), Some(note)) = (bytes, note) else { return 0 };
        assert_at(self.file, bytes, at);
        assert!(!self.sound || note.check().is_ok());
        walk_note(&note, bytes)
    }

    fn functions(&self) -> usize {
        let Some(Some(functions)) = sound_item(self.smf.functions(), self.sound) else { return 0 };
        let mut count = 0;
        for function in functions.iter() {
            let Some(function) = sound_item(function, self.sound) else { continue };
            assert_inside(self.file, function.code);
            assert_inside(self.file, function.name());
            assert!(function.params <= function.locals);
            count += 1;
        }
        count
    }
}

fn is_compressed(section: Option<Section<'_>>) -> bool {
    section.is_some_and(|section| section.is_compressed())
}

/// The item, unless it is malformed, which no item of a valid file may be.
fn sound_item<T>(item: Result<T, FormatError>, sound: bool) -> Option<T> {
    match item {
        Ok(item) => Some(item),
        Err(error) => {
            assert!(!sound, "the file verifies but has an error: {error}");
            None
        }
    }
}

/// Asserts that `part` is a part of `file`, or empty.
fn assert_inside(file: &[u8], part: &[u8]) {
    let (file, part) = (file.as_ptr_range(), part.as_ptr_range());
    assert!(part.is_empty() || (file.start <= part.start && part.end <= file.end));
}

/// Asserts that `part` is the part of `file` at `offset`.
fn assert_at(file: &[u8], part: &[u8], offset: u64) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let place = file.get(start..).and_then(|rest| rest.get(..part.len()));
    assert!(part.is_empty() || place.is_some_and(|place| std::ptr::eq(place, part)));
}
