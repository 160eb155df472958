//! JSON output: stable keys, streamed.
//!
//! A row of a table is an [`Object`]; a table is a [`Stream`] of rows. Invalid UTF-8 in names is replaced.

use std::collections::{HashMap, HashSet};
use std::io;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;
use smf_core::format::ext::needed::NeededLibraries;
use smf_core::format::ext::prelink::Prelink;
use smf_core::format::functions::Function;
use smf_core::format::layout_phase::{PhaseSpan, phases};
use smf_core::format::note::Note;
use smf_core::format::sdn::{Document, Table};
use smf_core::format::template::{Template, TemplateKind};
use smf_core::format::{File, FormatError, Library, Reloc, Section, Smf, Symbol, library};

use super::properties::{NamedProperty, properties};
use super::{InitFunction, Parts, Report, ThreadStorage, init_functions, prelink, shown_sections};

impl Serialize for Report<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", self.name)?;
        match self.file {
            File::Module(smf) => write_module(smf, &mut map)?,
            File::Library(library) => write_library(library, &mut map)?,
        }
        map.end()
    }
}

fn write_module<M: SerializeMap>(smf: &Smf<'_>, map: &mut M) -> Result<(), M::Error> {
    let header = smf.header();
    let (major, minor) = header.version;
    let compression = header.compression;
    let parts = Parts::of(smf).map_err(M::Error::custom)?;
    let functions = smf.functions().map_err(M::Error::custom)?;
    let functions = || functions.into_iter().flat_map(|functions| functions.iter());

    map.serialize_entry("size", &smf.file().len())?;
    map.serialize_entry("layout", smf.layout().name())?;
    map.serialize_entry("version", &format_args!("{major}.{minor}"))?;
    map.serialize_entry("platform", &code(header.platform.name(), header.platform.0))?;
    map.serialize_entry("arch", &code(header.arch.name(), header.arch.0))?;
    map.serialize_entry("flags", &names(header.flags.names()))?;
    map.serialize_entry("compression", &code(compression.name(), compression.0))?;
    map.serialize_entry("entry_point", &header.entry_point)?;
    map.serialize_entry("stub_size", &header.stub_size)?;
    map.serialize_entry("data_offset", &header.data_offset)?;
    map.serialize_entry("sections", &Stream(|| smf.sections().iter().map(section)))?;
    map.serialize_entry("symbols", &Stream(|| symbols(smf)))?;
    map.serialize_entry("relocations", &Stream(|| relocs(smf)))?;
    let templates = parts.templates().map_err(M::Error::custom)?;
    let templates = || templates.into_iter().flat_map(|templates| templates.iter());
    map.serialize_entry("templates", &Stream(|| templates().map(|t| t.map(template))))?;
    let note = parts.note().map_err(M::Error::custom)?;
    map.serialize_entry("note", &note.map(|note| NoteObject(note.document())))?;
    let spans = phases(smf).map_err(M::Error::custom)?;
    map.serialize_entry("phases", &spans.map(phase))?;
    // Keys that most files do not need are omitted.
    if functions().next().is_some() {
        map.serialize_entry("functions", &Stream(|| functions().map(|f| f.map(function))))?;
    }
    write_extensions(smf, map)
}

/// What few files have, each as a key of its own.
fn write_extensions<M: SerializeMap>(smf: &Smf<'_>, map: &mut M) -> Result<(), M::Error> {
    for (key, array) in [("constructors", &b".init_array"[..]), ("destructors", b".fini_array")] {
        let functions = || init_functions(smf, array).into_iter();
        if functions().len() != 0 {
            map.serialize_entry(key, &Stream(|| functions().map(|f| Ok(init_function(f)))))?;
        }
    }
    if smf.base() != u64::from(smf.header().data_offset) {
        map.serialize_entry("base", &smf.base())?;
    }
    if let Some(storage) = ThreadStorage::of(smf) {
        map.serialize_entry("thread_local", &thread_storage(&storage))?;
    }
    if let Some(prelink) = prelink(smf) {
        map.serialize_entry("image", &Image(smf, prelink))?;
    }
    if let Some(needed) = NeededLibraries::of(smf).map_err(M::Error::custom)? {
        let names = Stream(|| needed.iter().map(|library| Ok(name(library))));
        map.serialize_entry("needed_libraries", &names)?;
    }
    if let Some(properties) = properties(smf).map_err(M::Error::custom)? {
        map.serialize_entry("properties", &Stream(|| properties.clone().map(property)))?;
    }
    if let Some(object) = smf.object().map_err(M::Error::custom)? {
        map.serialize_entry("object", &ElfObject(object))?;
    }
    Ok(())
}

fn write_library<M: SerializeMap>(library: &Library<'_>, map: &mut M) -> Result<(), M::Error> {
    map.serialize_entry("size", &library.file().len())?;
    map.serialize_entry("layout", "library")?;
    map.serialize_entry("modules", &Stream(|| library.modules().map(|found| found.map(module))))
}

pub(super) fn write_note(note: &Note<'_>, out: impl io::Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &NoteObject(note.document()))?)
}

#[derive(Serialize)]
struct ThreadStorageRow {
    size: u64,
    initialised: u64,
    alignment: u64,
    #[serde(rename = "static")]
    is_static: bool,
}

fn thread_storage(storage: &ThreadStorage) -> ThreadStorageRow {
    let &ThreadStorage { size, initial: initialised, alignment, is_static } = storage;
    ThreadStorageRow { size, initialised, alignment, is_static }
}

/// The prelink data of a module: the offset of each section from the start of the image, if it is loaded, the numbers
/// of relocation sections that it resolves, and how many words depend on the address of the image alone.
struct Image<'s, 'd>(&'s Smf<'d>, Prelink<'d>);

impl Serialize for Image<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(smf, prelink) = self;
        let sections = || smf.sections().iter().map(|section| section.index);
        let offsets = || sections().map(|index| Ok(prelink.section_offset(index)));
        let relative = || sections().filter(|index| prelink.is_relative(*index)).map(Ok);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offsets", &Stream(offsets))?;
        map.serialize_entry("prelinked", &Stream(|| prelink.prelinked().map(Ok)))?;
        map.serialize_entry("relative", &Stream(relative))?;
        map.serialize_entry("places", &prelink.relative_relocs().places().count())?;
        map.end()
    }
}

/// The tables of an ELF object in the code section, under the keys of a module.
struct ElfObject<'d>(Smf<'d>);

impl Serialize for ElfObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(object) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layout", object.layout().name())?;
        map.serialize_entry("sections", &Stream(|| shown_sections(object).map(section)))?;
        map.serialize_entry("symbols", &Stream(|| symbols(object)))?;
        map.serialize_entry("relocations", &Stream(|| relocs(object)))?;
        map.end()
    }
}

/// An object with its keys in this order.
struct Object<'d>(Vec<(&'d str, Value)>);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

fn module(module: library::Module<'_>) -> Object<'static> {
    Object(vec![
        ("name", module.name.into()),
        ("offset", module.offset.into()),
        ("size", module.size.into()),
        ("hash", format!("0x{:016x}", module.hash).into()),
    ])
}

fn init_function(function: InitFunction<'_>) -> Object<'static> {
    Object(vec![
        ("entry", function.offset.into()),
        ("section", function.section.into()),
        ("value", function.value.into()),
        ("name", name(function.name)),
    ])
}

fn property(property: NamedProperty) -> Result<Object<'static>, FormatError> {
    Ok(Object(vec![
        ("type", property.name.into()),
        ("value", property.value.into()),
        ("flags", names(property.flags.into_iter())),
    ]))
}

fn section(section: Section<'_>) -> Result<Object<'static>, FormatError> {
    Ok(Object(vec![
        ("index", section.index.into()),
        ("name", name(section.name)),
        ("kind", section.kind.to_string().into()),
        ("flags", section.flags.to_string().into()),
        ("offset", section.offset.into()),
        ("size", section.size.into()),
        ("virtual_size", section.virtual_size.into()),
        ("alignment", section.alignment.into()),
        ("compressed", section.is_compressed().into()),
    ]))
}

/// The symbols of the table, then the bytecode functions, whose table [`write_module`] has read.
fn symbols<'d>(
    smf: &Smf<'d>,
) -> impl Iterator<Item = Result<Object<'static>, FormatError>> + use<'d> {
    let functions = smf.function_symbols().into_iter().flatten();
    smf.symbols().iter().chain(functions).map(|found| found.map(|s| symbol(&s)))
}

fn symbol(symbol: &Symbol<'_>) -> Object<'static> {
    Object(vec![
        ("name", name(symbol.name())),
        ("kind", symbol.kind.to_string().into()),
        ("binding", symbol.binding.to_string().into()),
        ("defined", symbol.defined.into()),
        ("section", symbol.section.into()),
        ("value", symbol.value.into()),
        ("size", symbol.size.into()),
        ("flags", names(symbol.flags.names())),
        ("template_params", symbol.template_params.into()),
    ])
}

fn phase(span: PhaseSpan) -> Object<'static> {
    Object(vec![
        ("phase", span.phase.name().into()),
        ("functions", span.functions.into()),
        ("bytes", span.bytes.into()),
        ("pages", span.pages.into()),
        ("pages_packed", span.pages_packed.into()),
    ])
}

fn function(function: Function<'_>) -> Object<'static> {
    Object(vec![
        ("name", name(function.name())),
        ("code_offset", function.code_offset.into()),
        ("length", function.length.into()),
        ("params", function.params.into()),
        ("locals", function.locals.into()),
    ])
}

/// The relocations of all tables, each with its target section.
fn relocs(smf: &Smf<'_>) -> impl Iterator<Item = Result<Object<'static>, FormatError>> {
    rows_of(smf.reloc_tables(), move |table| {
        table.iter().map(move |entry| reloc(smf, table.target.index, entry))
    })
}

fn reloc(smf: &Smf<'_>, section: u32, reloc: Reloc) -> Result<Object<'static>, FormatError> {
    Ok(Object(vec![
        ("section", section.into()),
        ("offset", reloc.offset.into()),
        ("symbol", name(smf.symbols().get(reloc.symbol)?.name())),
        ("kind", reloc.kind.to_string().into()),
        ("addend", reloc.addend.into()),
    ]))
}

fn template(template: Template<'_>) -> Object<'static> {
    Object(vec![
        ("name", name(template.name)),
        ("kind", template.kind.map_or("unknown", TemplateKind::name).into()),
        ("params", template.params.into()),
    ])
}

/// A note: an array of rows for each table, an object of strings for each row.
struct NoteObject<'d>(Document<'d>);

impl Serialize for NoteObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = Vec::new();
        let mut tables: HashMap<&str, Vec<Table<'_>>> = HashMap::new();
        for table in self.0.tables() {
            let table = table.map_err(S::Error::custom)?;
            let same = tables.entry(table.name()).or_default();
            if same.is_empty() {
                names.push(table.name());
            }
            same.push(table);
        }
        let mut map = serializer.serialize_map(None)?;
        for name in names {
            let same = tables.remove(name).unwrap_or_default();
            map.serialize_entry(name, &Stream(|| note_rows(&same)))?;
        }
        map.end()
    }
}

/// The rows of tables of one name. Of columns of one name the first is shown, as
/// [`Table::column`] finds them.
fn note_rows<'d>(tables: &[Table<'d>]) -> impl Iterator<Item = Result<Object<'d>, FormatError>> {
    tables.iter().flat_map(|table| {
        let mut known = HashSet::new();
        let keys = table.columns().map(|column| known.insert(column).then_some(column));
        let keys: Vec<_> = keys.collect();
        table.rows().map(move |row| {
            let cells = row?.cells();
            let pairs = keys.iter().zip(cells);
            Ok(Object(
                pairs.filter_map(|(key, cell)| Some(((*key)?, cell.to_string().into()))).collect(),
            ))
        })
    })
}

/// The rows of all tables; the error of a table takes the place of its rows.
fn rows_of<T, R: Iterator<Item = Result<U, FormatError>>, U>(
    tables: impl Iterator<Item = Result<T, FormatError>>,
    rows: impl Fn(T) -> R,
) -> impl Iterator<Item = Result<U, FormatError>> {
    tables.flat_map(move |table| {
        let (rows, broken) = match table {
            Ok(table) => (Some(rows(table)), None),
            Err(error) => (None, Some(Err(error))),
        };
        rows.into_iter().flatten().chain(broken)
    })
}

/// An array, streamed element by element; an error ends the output.
struct Stream<F>(F);

impl<F, I, T> Serialize for Stream<F>
where
    F: Fn() -> I,
    I: Iterator<Item = Result<T, FormatError>>,
    T: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for element in (self.0)() {
            array.serialize_element(&element.map_err(S::Error::custom)?)?;
        }
        array.end()
    }
}

/// A name: bytes that are usually UTF-8.
fn name(name: &[u8]) -> Value {
    String::from_utf8_lossy(name).into()
}

/// A code of the header: its name, or its number if it is unknown.
fn code(name: Option<&'static str>, number: u8) -> Value {
    name.map_or(number.into(), Value::from)
}

fn names(flags: impl Iterator<Item = &'static str>) -> Value {
    flags.collect()
}
