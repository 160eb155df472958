//! `smf run` and `smf jit` with templates in source text.

use std::fs;
use std::path::Path;

use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::{Module, NewSection, NewSymbol, NewTemplates, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};
use smf_core::source::{Mode, SourceFile, compile};
use smf_core::templates::encode_source;

use super::{scratch, smf, text};

const SOURCE: &str = "\
extern fn bonus() -> i64

fn max<T>(a: T, b: T) -> T:
    if a > b:
        return a
    b

fn extra<T>(a: T) -> i64: (a as i64) + bonus()
";

fn section<'a>(
    kind: SectionKind,
    name: &'a [u8],
    flags: u32,
    payload: Payload<'a>,
) -> NewSection<'a> {
    let flags = SectionFlags(flags);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

fn write(
    directory: &Path,
    name: &str,
    sections: &[NewSection<'_>],
    symbols: &[NewSymbol<'_>],
) -> String {
    let (header, layout) = (Header::default(), Layout::Packed);
    let module = Module { layout, header, stub: &[], sections, symbols };
    let path = directory.join(name);
    fs::write(&path, module.to_vec().unwrap()).unwrap();
    path.into_os_string().into_string().unwrap()
}

/// A module with the templates of [`SOURCE`], and the function `bonus`, which returns 2.
pub(super) fn library(directory: &Path) -> String {
    let file = SourceFile { name: "max.spl", module: "max", text: SOURCE };
    let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    let bodies: Vec<_> = unit.templates.iter().map(|one| encode_source(one).unwrap()).collect();
    let templates = unit.templates.iter().zip(&bodies);
    let templates: Vec<_> = templates
        .map(|(template, body)| Template {
            name: template.name.as_bytes(),
            kind: Some(TemplateKind::Function),
            params: 1,
            constraints: Default::default(),
            body,
        })
        .collect();
    let container = Container::Gtpl { constrained: false };
    let templates = NewTemplates { container, templates: &templates }.to_vec().unwrap();
    let note = "type_inferences |id, inferred_type, expr, context, from_file, from_loc|\n    \
                0, \"f64\", \"max(x, y)\", \"argument 0\", \"user.spl\", \"user.spl:3:9\"\n";
    let sections = [
        section(SectionKind::Code, b".text", 5, Payload::Bytes(&[0xb8, 2, 0, 0, 0, 0xc3])),
        section(SectionKind::TemplateCode, b".templates", 1, Payload::Bytes(&templates)),
        section(SectionKind::Note, b"note.sdn", 1, Payload::Bytes(note.as_bytes())),
    ];
    let bonus =
        NewSymbol { name: b"bonus", place: Place::Section(0), size: 6, ..NewSymbol::default() };
    write(directory, "max.smf", &sections, &[bonus])
}

/// A module whose `main` jumps to its import.
pub(super) fn user(directory: &Path, import: &str) -> String {
    let relocs = [Reloc { offset: 1, symbol: 0, kind: RelocKind::Plt32, addend: -4 }];
    let code = Payload::Bytes(&[0xe9, 0, 0, 0, 0]);
    let sections = [
        section(SectionKind::Code, b".text", 5, code),
        section(SectionKind::Reloc, b".rela.text", 1, Payload::Relocs(&relocs)),
    ];
    let import =
        NewSymbol { name: import.as_bytes(), place: Place::Import, ..NewSymbol::default() };
    let main =
        NewSymbol { name: b"main", place: Place::Section(0), size: 5, ..NewSymbol::default() };
    write(directory, "user.smf", &sections, &[import, main])
}

#[test]
#[cfg(target_arch = "x86_64")]
fn run_resolves_missing_imports_in_templates_of_other_files() {
    let place = scratch("source-templates");
    let library = library(&place);
    let file = user(&place, "fn$max$f64");
    let run = |file: &str, more: &[&str]| {
        let output = smf(&[&["run"], more, &[file, "main"]].concat());
        (text(&output.stdout), text(&output.stderr))
    };
    let before = fs::read(&library).unwrap();
    let with = ["--with", &library, "--returns", "f64"];
    let output = smf(&[&["run"], &with[..], &[&file, "main", "1.5", "2.5"]].concat());
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("2.5\n".into(), String::new()));
    assert_eq!(fs::read(&library).unwrap(), before);
    // The instance calls an export of the file, which is loaded for it.
    let file = user(&place, "extra$i64");
    let output = smf(&["run", "--with", &library, &file, "main", "40"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("42\n".into(), String::new()));
    // Templates in an archive, behind one without templates.
    let archive = place.join("all.lsm").into_os_string().into_string().unwrap();
    let member = format!("m={library}");
    assert!(smf(&["lib", "create", "-o", &archive, &member]).status.success());
    let output = smf(&["run", "--with", "app.smf", "--with", &archive, &file, "main", "40"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("42\n".into(), String::new()));
    let (stdout, stderr) = run(&file, &[]);
    assert!(stdout.is_empty() && stderr.contains("unresolved import `extra$i64`"), "{stderr}");
    assert!(stderr.contains("may be provided by"), "{stderr}");
    // What cannot be compiled says why.
    let file = user(&place, "max$text");
    let (_, stderr) = run(&file, &["--with", &library]);
    assert!(stderr.contains("cannot instantiate `max$text`: `if a > b:`"), "{stderr}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn jit_takes_templates_with_types_and_with_inferred_ones() {
    let place = scratch("source-templates-jit");
    let file = &library(&place);
    let run = |args: &[&str]| {
        let output = smf(&[&["jit", file], args].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(run(&["max<i64>", "3", "4"]), "4\n");
    assert_eq!(run(&["max$f64", "3.5", "4"]), "4.0\n");
    // The note lists a use of `max` for f64.
    assert_eq!(run(&["max", "3.5", "4"]), "4.0\n");
    assert_eq!(run(&["extra<u8>", "40"]), "42\n");
    let error = run(&["extra", "40"]);
    assert!(error.ends_with(": No type hints available for inference of extra\n"), "{error}");
    assert!(run(&["max<i64", "1"]).contains("no module lists an instance `max<i64`"));
    assert!(run(&["max<>", "1"]).contains("there are no type arguments"));
    let shown = |args: &[&str]| text(&smf(&[&["templates", file], args].concat()).stdout);
    let known = "type parameter T\nused at user.spl:3:9: f64\ninferred: max<f64>\n";
    assert_eq!(shown(&["max"]), known);
    let hints: serde_json::Value = serde_json::from_str(&shown(&["max", "--json"])).unwrap();
    assert_eq!(hints["inferred"], serde_json::json!(["f64"]));
    assert_eq!(hints["type_vars"][0]["name"], "T");
    assert_eq!(hints["usage_sites"][0]["loc"], "user.spl:3:9");
    assert_eq!(smf(&["templates", file, "min"]).status.code(), Some(1));
    let source = text(&smf(&["disasm", file, "max"]).stdout);
    assert!(
        source.contains("# max\n") && source.contains("fn max<T>(a: T, b: T) -> T:"),
        "{source}"
    );
}
