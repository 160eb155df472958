//! Shows the contents of a file, as text or as JSON.
//!
//! Both are streamed from the views of the format, so that a file of any size is shown in constant memory, but for lists of
//! constructors and exported symbols. Only compressed templates and notes are decompressed as a whole. Errors do not name
//! the file, because the caller has its name.

use std::io::{self, Write};

use smf_core::format::ext::prelink::Prelink;
use smf_core::format::ext::tls::{SECTION, TlsImport};
use smf_core::format::note::Note;
use smf_core::format::template::Templates;
use smf_core::format::{
    Contents, File, FormatError, RelocTable, Section, SectionKind, Smf, Symbol,
};

mod json;
mod properties;
mod text;

/// The contents of a file, as [`write_json`] writes them, for any serializer.
///
/// Serializing fails where the file does not pass [`check`].
///
/// ```
/// use smf_core::format::File;
/// use smf_loader::inspect::Report;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bytes = std::fs::read("../tests/samples/packed.smf")?;
/// let file = File::parse(&bytes)?;
/// let value = serde_json::to_value(Report::new("packed.smf", &file))?;
/// assert_eq!(value["symbols"][0]["name"], "answer");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Report<'f, 'd> {
    name: &'f str,
    file: &'f File<'d>,
}

impl<'f, 'd> Report<'f, 'd> {
    /// The contents of `file`. `name` is its name in the output.
    pub fn new(name: &'f str, file: &'f File<'d>) -> Self {
        Self { name, file }
    }
}

/// The sections of a table, without null sections. ELF tables start with one, and common symbols are the only
/// other sections of kind 0.
fn shown_sections<'d>(smf: &Smf<'d>) -> impl Iterator<Item = Section<'d>> + use<'d> {
    let is_object = smf.layout().is_object();
    let is_any =
        move |s: &Section<'_>| !(is_object && s.kind == SectionKind::Unknown(0) && s.size == 0);
    smf.sections().iter().filter(is_any)
}

/// A function that runs when a module is loaded or unloaded.
struct InitFunction<'d> {
    /// The offset of its entry in the array, in bytes.
    offset: u64,
    /// The section of the function.
    section: u32,
    /// The offset in that section.
    value: u64,
    /// The name of an exported function there; empty if there is none.
    name: &'d [u8],
}

/// The prelink data of a module. That of an invalid note, which `smf verify` reports, is not shown.
fn prelink<'d>(smf: &Smf<'d>) -> Option<Prelink<'d>> {
    Prelink::of(smf).ok().flatten()
}

/// The functions in the array called `array`, `.init_array` or `.fini_array`, by its relocations and by the places in the
/// image.
fn init_functions<'d>(smf: &Smf<'d>, array: &[u8]) -> Vec<InitFunction<'d>> {
    let mut entries: Vec<_> = relocated_entries(smf, array).collect();
    entries.sort_by_key(|(offset, _)| *offset);
    let known = entries.len();
    let is_array =
        |section: &Section<'_>| section.name == array && section.kind == SectionKind::RoData;
    for section in smf.sections().iter().filter(is_array) {
        let Some((prelink, contents)) = prelink(smf).zip(smf.contents(&section).ok()) else {
            continue;
        };
        for offset in prelink.relative_places_in(&section) {
            let start = usize::try_from(offset).ok().and_then(|start| contents.get(start..));
            let word = start.and_then(|bytes| bytes.first_chunk());
            let place = word.map(|word| u64::from_le_bytes(*word));
            let place = place.and_then(|at| prelink.section_at(smf.sections(), at));
            let stated = entries.get(..known).unwrap_or_default();
            let is_new = stated.binary_search_by_key(&offset, |(at, _)| *at).is_err();
            entries.extend(place.filter(|_| is_new).map(|place| (offset, place)));
        }
    }
    entries.sort_by_key(|(offset, _)| *offset);
    let names = exported_places(smf);
    let function = |(offset, place): (u64, Place)| {
        let first = names.partition_point(|(other, _)| *other < place);
        let named = names.get(first).filter(|(other, _)| *other == place);
        let name = named.map_or(&[][..], |(_, name)| name);
        InitFunction { offset, section: place.0, value: place.1, name }
    };
    entries.into_iter().map(function).collect()
}

/// A section, and an offset in it.
type Place = (u32, u64);

/// The entries that a relocation states: their offsets in the array, and the places of the functions.
fn relocated_entries<'d>(smf: &Smf<'d>, array: &[u8]) -> impl Iterator<Item = (u64, Place)> {
    let smf = *smf;
    let tables = smf.reloc_tables().filter_map(Result::ok);
    let is_array = move |table: &RelocTable<'_>| {
        table.target.name == array && table.target.kind == SectionKind::RoData
    };
    tables.filter(is_array).flat_map(|table| table.iter()).filter_map(move |reloc| {
        let symbol = smf.symbols().get(reloc.symbol).ok()?;
        let place = (symbol.section?, symbol.value.checked_add_signed(reloc.addend)?);
        Some((reloc.offset, place))
    })
}

/// The places of exported symbols and their names, sorted; those of one place in the order of the table.
fn exported_places<'d>(smf: &Smf<'d>) -> Vec<(Place, &'d [u8])> {
    let exported = smf.symbols().iter().filter_map(Result::ok).filter(Symbol::is_export);
    let mut places: Vec<_> = exported
        .filter_map(|symbol| Some(((symbol.section?, symbol.value), symbol.name())))
        .collect();
    places.sort_by_key(|(place, _)| *place);
    places
}

/// Checks everything that showing the file reads, so that showing cannot fail half way. For an archive that is the
/// index; hashes and modules are not checked.
///
/// # Errors
/// The first fault.
pub fn check(file: &File<'_>) -> Result<(), FormatError> {
    match file {
        File::Module(smf) => {
            smf.verify()?;
            let parts = Parts::of(smf)?;
            parts.templates()?.map_or(Ok(()), |templates| templates.check())?;
            parts.note()?.map_or(Ok(()), |note| note.check())
        }
        File::Library(library) => library.modules().try_for_each(|module| module.map(drop)),
    }
}

/// Writes the file's contents as one JSON object. `name` is its name in the output.
///
/// # Errors
/// Errors of `out`, and of a file that does not pass [`check`].
pub fn write_json(file: &File<'_>, name: &str, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut out, &Report::new(name, file))?;
    out.write_all(b"\n")
}

/// Writes the file's contents as text. `name` is its name in the output.
///
/// # Errors
/// As [`write_json`].
pub fn write_text(file: &File<'_>, name: &str, out: impl Write) -> io::Result<()> {
    write_selected(file, name, &Selection::default(), out)
}

/// The parts of a module that [`write_selected`] shows. If no part is selected, all are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'n> {
    /// The sections.
    pub sections: bool,
    /// The symbols.
    pub symbols: bool,
    /// The relocations.
    pub relocs: bool,
    /// The templates and the note.
    pub templates: bool,
    /// Only rows whose name contains these bytes; of the note, rows with a cell that contains them.
    pub filter: &'n [u8],
}

impl Selection<'_> {
    fn is_all(&self) -> bool {
        !(self.sections || self.symbols || self.relocs || self.templates)
    }

    /// Whether a row with this name is shown.
    fn has(&self, name: &[u8]) -> bool {
        self.filter.is_empty() || name.windows(self.filter.len()).any(|part| part == self.filter)
    }
}

/// As [`write_text`], only the selected parts of a module.
///
/// # Errors
/// As [`write_json`].
pub fn write_selected(
    file: &File<'_>,
    name: &str,
    parts: &Selection<'_>,
    mut out: impl Write,
) -> io::Result<()> {
    match file {
        File::Module(smf) => text::write_module(name, smf, parts, &mut out),
        File::Library(library) => text::write_library(name, library, &mut out),
    }
}

/// Writes a note as one JSON object, like the value of `note` in [`write_json`].
///
/// # Errors
/// As [`write_json`].
pub fn write_note_json(note: &Note<'_>, mut out: impl Write) -> io::Result<()> {
    json::write_note(note, &mut out)?;
    out.write_all(b"\n")
}

/// The thread-local storage of a module.
struct ThreadStorage {
    size: u64,
    /// Bytes of initial contents that are not zero by definition.
    initial: u64,
    alignment: u64,
    /// Whether code addresses it relative to the thread pointer.
    is_static: bool,
}

impl ThreadStorage {
    /// `None` if the module has none. Malformed symbols are ignored.
    fn of(smf: &Smf<'_>) -> Option<Self> {
        let symbols = smf.symbols().iter().filter_map(Result::ok);
        let imports = symbols.filter(|symbol| symbol.is_import());
        let own = imports.filter_map(|symbol| TlsImport::parse(symbol.name()));
        let mut own = own.filter(|import| import.symbol.is_none()).peekable();
        own.peek()?;
        let is_static = own.any(|import| import.value.is_static());
        let mut sections = smf.sections().iter();
        let is_storage = |s: &Section<'_>| s.kind == SectionKind::RoData && s.name == SECTION;
        let section = sections.find(is_storage)?;
        let size = section.memory_size();
        let initial = if section.is_compressed() { size } else { section.size };
        Some(Self { size, initial, alignment: section.alignment, is_static })
    }
}

/// The template section and the note of a module, decompressed if necessary.
pub struct Parts<'d> {
    templates: Option<(Contents<'d>, u64)>,
    note: Option<(Contents<'d>, u64)>,
}

impl<'d> Parts<'d> {
    /// Reads the sections.
    ///
    /// # Errors
    /// A section that is out of bounds or cannot be decompressed.
    pub fn of(smf: &Smf<'d>) -> Result<Self, FormatError> {
        let templates = smf.sections().of_kind(SectionKind::TemplateCode);
        let templates = templates
            .map(|section| smf.contents(&section).map(|contents| (contents, section.offset)));
        Ok(Parts { templates: templates.transpose()?, note: smf.note_contents()? })
    }

    /// The templates; `None` without a template section.
    ///
    /// # Errors
    /// A malformed header of the section.
    pub fn templates(&self) -> Result<Option<Templates<'_>>, FormatError> {
        self.templates.as_ref().map(|(bytes, at)| Templates::parse(bytes, *at)).transpose()
    }

    /// The note; `None` without one.
    ///
    /// # Errors
    /// A note that is not UTF-8.
    pub fn note(&self) -> Result<Option<Note<'_>>, FormatError> {
        self.note.as_ref().map(|(bytes, at)| Note::parse(bytes, *at)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::ext::hash_index;
    use smf_core::format::write::{Module, NewSection, NewSymbol};
    use smf_core::format::{Header, Layout, SectionKind, SymbolFlags};

    const PACKED: &[u8] = include_bytes!("../../tests/samples/packed.smf");
    const NOTE: &[u8] = include_bytes!("../../tests/samples/note-zero-size.smf");
    const BYTECODE: &[u8] = include_bytes!("../../tests/samples/bcod.smf");
    const LIBRARY: &[u8] = include_bytes!("../../tests/samples/library.lsm");
    const STUB: &[u8] = include_bytes!("../../tests/samples/stub-cat.smf");
    const PROPERTIES: &[u8] = include_bytes!("../../tests/samples/properties.smf");
    const RELATIVE: &[u8] = include_bytes!("../../tests/samples/relative.smf");
    const OBJECT: &[u8] = include_bytes!("../../tests/samples/elf-object.smf");
    const DYNLIB: &[u8] = include_bytes!("../../tests/samples/dynlib.smf");

    fn json(data: &[u8]) -> serde_json::Value {
        let mut out = Vec::new();
        write_json(&File::parse(data).unwrap(), "a \"file\"", &mut out).unwrap();
        assert_eq!(out.pop(), Some(b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    fn text(data: &[u8]) -> String {
        let mut out = Vec::new();
        write_text(&File::parse(data).unwrap(), "file", &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_the_header_and_every_table() {
        let shown = json(PACKED);
        assert_eq!(shown["file"], "a \"file\"");
        assert_eq!((&shown["size"], &shown["layout"]), (&1029.into(), &"packed".into()));
        assert_eq!(shown["version"], "1.1");
        assert_eq!(shown["sections"][0]["flags"], "r-x");
        assert_eq!(shown["symbols"][0]["name"], "answer");
        assert!(shown["note"].is_null());
        assert!(shown.get("base").is_none() && shown.get("functions").is_none());
    }

    #[test]
    fn json_has_an_undeclared_base() {
        let shown = json(STUB);
        assert_eq!((&shown["data_offset"], &shown["base"]), (&0.into(), &22.into()));
        assert_eq!(shown["sections"][0]["offset"], 22);
    }

    #[test]
    fn json_unquotes_the_note_and_keeps_its_columns() {
        let shown = json(NOTE);
        let possible = &shown["note"]["possible"];
        assert_eq!(possible[0]["mangled_name"], "fn$Vec$i64");
        assert_eq!(possible[1]["required_by"], "quote \"here\", comma");
        assert_eq!(possible[1]["id"], "1");
        assert_eq!(shown["templates"][1]["name"], "Pair");
        assert_eq!(shown["templates"][1]["params"], 2);
    }

    #[test]
    fn bytecode_functions_are_listed_as_symbols() {
        let shown = json(BYTECODE);
        assert_eq!(shown["functions"][1]["name"], "sum");
        assert_eq!(shown["functions"][1]["params"], 1);
        let symbol = &shown["symbols"][1];
        assert_eq!((&symbol["name"], &symbol["kind"]), (&"sum".into(), &"function".into()));
        assert_eq!(symbol["value"], shown["functions"][1]["code_offset"]);
    }

    #[test]
    fn properties_are_shown_by_name() {
        let shown = &json(PROPERTIES)["properties"];
        assert_eq!(shown.as_array().unwrap().len(), 2);
        assert_eq!(
            (&shown[0]["type"], &shown[0]["value"]),
            (&"X86_FEATURE_1_AND".into(), &3.into())
        );
        assert_eq!(
            shown[0]["flags"],
            serde_json::json!(["X86_FEATURE_1_IBT", "X86_FEATURE_1_SHSTK"])
        );
        assert!(json(PACKED).get("properties").is_none());
        let line = "  property     X86_ISA_1_NEEDED 0x1 X86_ISA_1_BASELINE\n";
        assert!(text(PROPERTIES).contains(line), "{}", text(PROPERTIES));
    }

    #[test]
    fn elf_object_is_shown_beside_the_module() {
        let shown = json(OBJECT);
        assert_eq!(shown["symbols"].as_array().unwrap().len(), 1);
        assert_eq!(shown["sections"].as_array().unwrap().len(), 1);
        let object = &shown["object"];
        assert_eq!(object["layout"], "elf");
        let symbols = object["symbols"].as_array().unwrap();
        let bump = symbols.iter().find(|symbol| symbol["name"] == "bump").unwrap();
        assert_eq!((&bump["section"], &bump["size"]), (&1.into(), &18.into()));
        let common = symbols.iter().find(|symbol| symbol["name"] == "zeroes").unwrap();
        let mut sections = object["sections"].as_array().unwrap().iter();
        let zeroes = sections.find(|section| section["index"] == common["section"]).unwrap();
        assert_eq!((&zeroes["kind"], &zeroes["virtual_size"]), (&"bss".into(), &24.into()));
        assert_eq!(object["relocations"].as_array().unwrap().len(), 7);
        assert!(json(PACKED).get("object").is_none());
    }

    #[test]
    fn relative_relocations_are_shown() {
        let shown = json(RELATIVE);
        let offsets =
            serde_json::json!([0, 4096, 4160, 4288, 8192, null, null, null, null, null, null]);
        let image = serde_json::json!({
            "offsets": offsets, "prelinked": [5], "relative": [6, 7, 8], "places": 11
        });
        assert_eq!(shown["image"], image);
        assert!(json(PACKED).get("image").is_none());
        let shown = text(RELATIVE);
        for title in [
            "prelinked relocations for section 0 .text (4)",
            "relative relocations for section 2 .relro (9)",
            "\nrelocations for section 2 .relro (1)",
        ] {
            assert!(shown.contains(title), "{shown}");
        }
    }

    #[test]
    fn archive_is_shown_by_its_index() {
        let shown = json(LIBRARY);
        assert_eq!((&shown["layout"], &shown["size"]), (&"library".into(), &1524.into()));
        assert_eq!(shown["modules"].as_array().unwrap().len(), 3);
        assert_eq!(shown["modules"][0]["name"], "std/math/scale");
        let hash = shown["modules"][0]["hash"].as_str().unwrap();
        assert!(hash.len() == 18 && hash.starts_with("0x"), "{hash}");
        assert!(text(LIBRARY).contains("std/math/scale"));
    }

    #[test]
    fn text_has_the_names_of_json() {
        for (data, words) in [
            (PACKED, &["packed 1.1", "linux", "r-x", "answer", "abs64", "executable"][..]),
            (NOTE, &["identity", "struct", "fn$Vec$i64", "possible"]),
            (BYTECODE, &["bytecode", "sum"]),
            (STUB, &["22 bytes, not declared"]),
            (DYNLIB, &["dynlib"]),
            (OBJECT, &["packed 1.1", "ELF object", "zeroes", "plt32", ".rodata.str1.1"]),
        ] {
            let shown = text(data);
            for word in words {
                assert!(shown.contains(word), "{word} is not in\n{shown}");
            }
        }
    }

    #[test]
    fn text_shows_the_hash_index() {
        let symbols = [NewSymbol { name: b"answer", ..NewSymbol::default() }];
        let payload = hash_index::encode(&symbols).unwrap();
        let sections = [
            NewSection { kind: SectionKind::Code, name: b".text", ..hash_index::section(&[0xc3]) },
            hash_index::section(&payload),
        ];
        let (layout, header) = (Layout::Native, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let file = module.to_vec().unwrap();
        assert!(text(&file).contains("  name index   1 names in 1 buckets\n"), "{}", text(&file));
        assert!(!text(PACKED).contains("name index"));
        assert_eq!(json(&file)["sections"][1]["kind"], "note");
        let keys = |data| json(data).as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&file), keys(PACKED));
    }

    #[test]
    fn phases_are_shown_with_actual_and_minimal_pages() {
        let code = [0xc3; 3 * 4096];
        let function = |value, flags| NewSymbol {
            name: b"f",
            flags: SymbolFlags(flags),
            value,
            size: 100,
            ..NewSymbol::default()
        };
        let symbols = [function(0, 0), function(5000, 0), function(10000, 0), function(200, 3)];
        let section = hash_index::section(&code);
        let sections = [NewSection { kind: SectionKind::Code, name: b".text", ..section }];
        let (layout, header) = (Layout::Packed, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let file = module.to_vec().unwrap();
        let row = |phase, functions: u32, bytes: u32, pages: u32, packed: u32| serde_json::json!({"phase": phase, "functions": functions, "bytes": bytes, "pages": pages, "pages_packed": packed});
        let rows = [
            row("startup", 3, 300, 3, 1),
            row("first_frame", 0, 0, 0, 0),
            row("steady", 0, 0, 0, 0),
            row("cold", 1, 100, 1, 1),
        ];
        assert_eq!(json(&file)["phases"], serde_json::Value::from(rows.to_vec()));
        let shown = "layout phases, in pages of 4 KiB (2)
  functions       bytes   pages  together  phase
          3         300       3         1  startup
          1         100       1         1  cold
";
        assert!(text(&file).contains(shown), "{}", text(&file));
        assert!(!text(DYNLIB).contains("layout phases"));
    }

    #[test]
    fn tables_of_one_name_are_merged_into_one_array() {
        let note = b"x |a|\n 1\ny |b|\n 2\nx |a, c|\n 3, 4\n";
        let note = smf_core::format::note::Note::parse(note, 0).unwrap();
        let mut out = Vec::new();
        json::write_note(&note, &mut out).unwrap();
        let expected = r#"{"x":[{"a":"1"},{"a":"3","c":"4"}],"y":[{"b":"2"}]}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn no_key_of_the_json_of_a_note_is_repeated() {
        let many: Vec<_> = (0..70).map(|number| format!("t{number:02} |x|\n {number}\n")).collect();
        let note = "extra |x, y, x|\n 1, 2, 3\n".to_owned() + &many.concat() + &many.concat();
        let note = smf_core::format::note::Note::parse(note.as_bytes(), 0).unwrap();
        let mut out = Vec::new();
        json::write_note(&note, &mut out).unwrap();
        let rows = |number| format!(r#","t{number:02}":[{{"x":"{number}"}},{{"x":"{number}"}}]"#);
        let rows: Vec<_> = (0..70).map(rows).collect();
        let expected = format!(r#"{{"extra":[{{"x":"1","y":"2"}}]{}}}"#, rows.concat());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn invalid_name_is_escaped() {
        let mut data = PACKED.to_vec();
        let at = data.windows(6).position(|window| window == b"answer").unwrap();
        data[at..at + 2].copy_from_slice(b"\x1b\xff");
        assert_eq!(json(&data)["symbols"][0]["name"], "\u{1b}\u{fffd}swer");
        assert!(text(&data).contains("\\u{1b}\\xffswer"));
    }

    /// A file that passes the check is shown completely.
    #[test]
    fn file_that_passes_the_check_is_shown_without_error() {
        const COMPACT: &[u8] = include_bytes!("../../tests/samples/compact.smf");
        const APP: &[u8] = include_bytes!("../../tests/samples/app-native.smf");
        let mut passed = 0;
        for sample in [PACKED, NOTE, BYTECODE, LIBRARY, STUB, COMPACT, APP] {
            let mut data = sample.to_vec();
            for bit in 0..sample.len() * 8 {
                data[bit / 8] ^= 1 << (bit % 8);
                let parsed = File::parse(&data);
                if let Some(file) = parsed.ok().filter(|file| check(file).is_ok()) {
                    passed += 1;
                    write_json(&file, "file", io::sink()).unwrap();
                    write_text(&file, "file", io::sink()).unwrap();
                }
                data[bit / 8] ^= 1 << (bit % 8);
            }
        }
        assert!(passed > 1000, "{passed}");
    }
}
