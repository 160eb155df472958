//! JSON output: stable keys, streamed.
//!
//! A row of a table is a struct whose fields are its keys; a table is a [`Stream`] of rows. Invalid UTF-8 in
//! names is replaced.

use std::fmt::Display;
use std::io;

use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use smf_core::format::functions::Function;
use smf_core::format::layout_phase::{PhaseSpan, phases};
use smf_core::format::note::Note;
use smf_core::format::sdn::{Document, Row, Table};
use smf_core::format::template::{Template, TemplateKind};
use smf_core::format::{
    Binding, FormatError, Library, Reloc, RelocKind, Section, SectionFlags, SectionKind, Smf,
    Symbol, SymbolFlags, SymbolKind, library,
};

use super::{Parts, shown_sections};

/// The number of tables of a note that are merged by name. Further repeated names become repeated keys, so that
/// the time stays linear.
const MERGED_TABLES: usize = 64;

pub(super) fn write_module(file: &str, smf: &Smf<'_>, out: impl io::Write) -> io::Result<()> {
    let parts = Parts::of(smf).map_err(io::Error::other)?;
    Ok(serde_json::to_writer(out, &ModuleObject { file, smf: *smf, parts })?)
}

pub(super) fn write_library(
    file: &str,
    library: &Library<'_>,
    out: impl io::Write,
) -> io::Result<()> {
    let modules = Stream(|| library.modules().map(|found| found.map(module)));
    let size = library.file().len();
    Ok(serde_json::to_writer(out, &LibraryObject { file, size, layout: "library", modules })?)
}

pub(super) fn write_note(note: &Note<'_>, out: impl io::Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &NoteObject(note.document()))?)
}

struct ModuleObject<'a, 'd> {
    file: &'a str,
    smf: Smf<'d>,
    parts: Parts<'d>,
}

impl Serialize for ModuleObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let smf = self.smf;
        let header = smf.header();
        let (major, minor) = header.version;
        let code = Code::of;
        let functions = smf.functions().map_err(S::Error::custom)?;
        let functions = || functions.into_iter().flat_map(|functions| functions.iter());

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", self.file)?;
        map.serialize_entry("size", &smf.file().len())?;
        map.serialize_entry("layout", smf.layout().name())?;
        map.serialize_entry("version", &Text(format_args!("{major}.{minor}")))?;
        map.serialize_entry("platform", &code(header.platform.name(), header.platform.0))?;
        map.serialize_entry("arch", &code(header.arch.name(), header.arch.0))?;
        map.serialize_entry("flags", &Stream(|| header.flags.names().map(Ok)))?;
        let compression = header.compression;
        map.serialize_entry("compression", &code(compression.name(), compression.0))?;
        map.serialize_entry("entry_point", &header.entry_point)?;
        map.serialize_entry("stub_size", &header.stub_size)?;
        map.serialize_entry("data_offset", &header.data_offset)?;
        map.serialize_entry("sections", &Stream(|| smf.sections().iter().map(section)))?;
        map.serialize_entry("symbols", &Stream(|| symbols(smf, functions())))?;
        map.serialize_entry("relocations", &Stream(|| relocs(smf)))?;
        let templates = self.parts.templates().map_err(S::Error::custom)?;
        let templates = || templates.into_iter().flat_map(|templates| templates.iter());
        map.serialize_entry("templates", &Stream(|| templates().map(|t| t.map(template))))?;
        let note = self.parts.note().map_err(S::Error::custom)?;
        map.serialize_entry("note", &note.map(|note| NoteObject(note.document())))?;
        let spans = phases(&smf).map_err(S::Error::custom)?;
        map.serialize_entry("phases", &spans.map(phase))?;
        // Keys that most files do not need are omitted.
        if functions().next().is_some() {
            map.serialize_entry("functions", &Stream(|| functions().map(|f| f.map(function))))?;
        }
        if smf.base() != u64::from(header.data_offset) {
            map.serialize_entry("base", &smf.base())?;
        }
        if let Some(object) = smf.object().map_err(S::Error::custom)? {
            map.serialize_entry("object", &ElfObject(object))?;
        }
        map.end()
    }
}

/// The tables of an ELF object in the code section, under the keys of a module.
struct ElfObject<'d>(Smf<'d>);

impl Serialize for ElfObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0;
        let symbols = || object.symbols().iter().map(|found| found.map(|s| symbol(&s)));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layout", object.layout().name())?;
        map.serialize_entry("sections", &Stream(|| shown_sections(&object).map(section)))?;
        map.serialize_entry("symbols", &Stream(symbols))?;
        map.serialize_entry("relocations", &Stream(|| relocs(object)))?;
        map.end()
    }
}

#[derive(Serialize)]
#[serde(bound = "Stream<F>: Serialize")]
struct LibraryObject<'a, F> {
    file: &'a str,
    size: usize,
    layout: &'static str,
    modules: Stream<F>,
}

#[derive(Serialize)]
struct ModuleRow<'d> {
    name: &'d str,
    offset: u64,
    size: u64,
    hash: Text<String>,
}

fn module(module: library::Module<'_>) -> ModuleRow<'_> {
    let library::Module { name, offset, size, hash, .. } = module;
    ModuleRow { name, offset, size, hash: Text(format!("0x{hash:016x}")) }
}

#[derive(Serialize)]
struct SectionRow<'d> {
    index: u32,
    name: Name<'d>,
    kind: Text<SectionKind>,
    flags: Text<SectionFlags>,
    offset: u64,
    size: u64,
    virtual_size: u64,
    alignment: u64,
    compressed: bool,
}

fn section(section: Section<'_>) -> Result<SectionRow<'_>, FormatError> {
    let Section { index, offset, size, virtual_size, alignment, .. } = section;
    Ok(SectionRow {
        index,
        name: Name(section.name),
        kind: Text(section.kind),
        flags: Text(section.flags),
        offset,
        size,
        virtual_size,
        alignment,
        compressed: section.is_compressed(),
    })
}

#[derive(Serialize)]
struct SymbolRow<'d> {
    name: Name<'d>,
    kind: Text<SymbolKind>,
    binding: Text<Binding>,
    defined: bool,
    section: Option<u32>,
    value: u64,
    size: u64,
    flags: FlagNames,
    template_params: u8,
}

/// The symbols of the table, then the bytecode functions, which no symbol table lists.
fn symbols<'d>(
    smf: Smf<'d>,
    functions: impl Iterator<Item = Result<Function<'d>, FormatError>>,
) -> impl Iterator<Item = Result<SymbolRow<'d>, FormatError>> {
    let section = smf.code().map(|code| code.index);
    let functions = functions.map(move |found| found.map(|f| function_symbol(&f, section)));
    smf.symbols().iter().map(|found| found.map(|s| symbol(&s))).chain(functions)
}

fn symbol<'d>(symbol: &Symbol<'d>) -> SymbolRow<'d> {
    let Symbol { defined, section, value, size, template_params, .. } = *symbol;
    SymbolRow {
        name: Name(symbol.name()),
        kind: Text(symbol.kind),
        binding: Text(symbol.binding),
        defined,
        section,
        value,
        size,
        flags: FlagNames(symbol.flags),
        template_params,
    }
}

fn function_symbol<'d>(function: &Function<'d>, section: Option<u32>) -> SymbolRow<'d> {
    SymbolRow {
        name: Name(function.name()),
        kind: Text(SymbolKind::Function),
        binding: Text(Binding::Global),
        defined: true,
        section,
        value: function.code_offset.into(),
        size: function.length.into(),
        flags: FlagNames(SymbolFlags(0)),
        template_params: 0,
    }
}

#[derive(Serialize)]
struct PhaseRow {
    phase: &'static str,
    functions: u64,
    bytes: u64,
    pages: u64,
    pages_packed: u64,
}

fn phase(span: PhaseSpan) -> PhaseRow {
    let PhaseSpan { phase, functions, bytes, pages, pages_packed } = span;
    PhaseRow { phase: phase.name(), functions, bytes, pages, pages_packed }
}

#[derive(Serialize)]
struct FunctionRow<'d> {
    name: Name<'d>,
    code_offset: u32,
    length: u32,
    params: u16,
    locals: u16,
}

fn function(function: Function<'_>) -> FunctionRow<'_> {
    let Function { code_offset, length, params, locals, .. } = function;
    FunctionRow { name: Name(function.name()), code_offset, length, params, locals }
}

#[derive(Serialize)]
struct RelocRow<'d> {
    section: u32,
    offset: u64,
    symbol: Name<'d>,
    kind: Text<RelocKind>,
    addend: i64,
}

/// The relocations of all tables, each with its target section.
fn relocs<'d>(smf: Smf<'d>) -> impl Iterator<Item = Result<RelocRow<'d>, FormatError>> {
    smf.reloc_tables().flat_map(move |table| {
        let (table, broken) = split(table);
        let rows = table.into_iter().flat_map(move |table| {
            table.iter().map(move |reloc| reloc_row(&smf, table.target.index, reloc))
        });
        rows.chain(broken)
    })
}

fn reloc_row<'d>(smf: &Smf<'d>, section: u32, reloc: Reloc) -> Result<RelocRow<'d>, FormatError> {
    let Reloc { offset, addend, kind, .. } = reloc;
    let symbol = Name(smf.symbols().get(reloc.symbol)?.name());
    Ok(RelocRow { section, offset, symbol, kind: Text(kind), addend })
}

#[derive(Serialize)]
struct TemplateRow<'d> {
    name: Name<'d>,
    kind: &'static str,
    params: u8,
}

fn template(template: Template<'_>) -> TemplateRow<'_> {
    let kind = template.kind.map_or("unknown", TemplateKind::name);
    TemplateRow { name: Name(template.name), kind, params: template.params }
}

/// A note: an array of rows for each table, an object of strings for each row.
struct NoteObject<'d>(Document<'d>);

impl Serialize for NoteObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = self.0;
        let mut merged = Vec::new();
        let mut map = serializer.serialize_map(None)?;
        for table in document.tables() {
            let table = table.map_err(S::Error::custom)?;
            let name = table.name();
            if merged.contains(&name) {
                continue;
            }
            if merged.len() < MERGED_TABLES {
                merged.push(name);
                map.serialize_entry(name, &Stream(|| rows_of(named(document, name))))?;
            } else {
                map.serialize_entry(name, &Stream(|| rows_of(std::iter::once(Ok(table)))))?;
            }
        }
        map.end()
    }
}

fn named<'d>(
    document: Document<'d>,
    name: &str,
) -> impl Iterator<Item = Result<Table<'d>, FormatError>> {
    let wanted =
        move |table: &Result<Table<'_>, _>| table.as_ref().map_or(true, |t| t.name() == name);
    document.tables().filter(wanted)
}

fn rows_of<'d>(
    tables: impl Iterator<Item = Result<Table<'d>, FormatError>>,
) -> impl Iterator<Item = Result<NoteRow<'d>, FormatError>> {
    tables.flat_map(|table| {
        let (table, broken) = split(table);
        let rows = table
            .into_iter()
            .flat_map(|table| table.rows().map(move |row| row.map(|row| NoteRow { table, row })));
        rows.chain(broken)
    })
}

struct NoteRow<'d> {
    table: Table<'d>,
    row: Row<'d>,
}

impl Serialize for NoteRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.table.columns().zip(self.row.cells().map(Text)))
    }
}

/// Splits a result, for iterators that continue with the value and end with the error.
fn split<T, U>(result: Result<T, FormatError>) -> (Option<T>, Option<Result<U, FormatError>>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(Err(error))),
    }
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

/// A value as a string, by its `Display`.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A name: bytes that are usually UTF-8.
struct Name<'d>(&'d [u8]);

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(name) => serializer.serialize_str(name),
            Err(_) => serializer.collect_str(&String::from_utf8_lossy(self.0)),
        }
    }
}

/// A code of the header: its name, or its number if it is unknown.
#[derive(Serialize)]
#[serde(untagged)]
enum Code {
    Name(&'static str),
    Number(u8),
}

impl Code {
    fn of(name: Option<&'static str>, number: u8) -> Self {
        name.map_or(Code::Number(number), Code::Name)
    }
}

/// The names of the flags of a symbol.
struct FlagNames(SymbolFlags);

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.names())
    }
}
