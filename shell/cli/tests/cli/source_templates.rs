//! `smf run` and `smf jit` with templates in source text.

use std::fs;
use std::path::Path;

use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::{Module, NewSection, NewSymbol, NewTemplates, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};
use smf_core::source::{Mode, SourceFile, compile};
use smf_core::templates::encode_source;

use super::{contains, is_misused, scratch, smf, text};

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
    assert!(stderr.contains("may be provided by") && stderr.contains("-l NAME"), "{stderr}");
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
    assert_eq!(run(&["max<float>", "3", "4"]), "4.0\n");
    assert_eq!(run(&["max$f64", "3.5", "4"]), "4.0\n");
    // The note lists a use of `max` for f64.
    assert_eq!(run(&["max", "3.5", "4"]), "4.0\n");
    assert_eq!(run(&["extra<u8>", "40"]), "42\n");
    let error = run(&["extra", "40"]);
    let why = ": No type hints available for inference of extra; state them, as in `extra<i64>`\n";
    assert!(error.ends_with(why), "{error}");
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
        source.contains("template max, source\n    | ")
            && source.contains("fn max<T>(a: T, b: T) -> T:"),
        "{source}"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn jit_calls_functions_of_modules_that_print() {
    let place = scratch("source-templates-print");
    let (source, module) = (place.join("print.spl"), place.join("print.smf"));
    let program = "fn helper(x: i64) -> i64: x * 2\nfn g<T>(n: T) -> i64: helper(3)\n\
                   fn sum<T: Num>(xs: [T], z: T) -> T:\n    var s = z\n    for x in xs: s += x\n    s\n\
                   fn main(): print \"hi\"\n";
    fs::write(&source, program).unwrap();
    let (source, module) = (source.to_str().unwrap(), module.to_str().unwrap());
    assert!(smf(&["compile", source, "-o", module]).status.success());
    let run = |args: &[&str]| {
        let output = smf(&[&["jit", module], args].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(run(&["g<i64>", "1"]), "6\n");
    assert_eq!(run(&["sum<i64>", "i64:1,2,3", "4"]), "10\n");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn bounds_of_compiled_templates_are_asked_for() {
    let place = scratch("source-templates-bounds");
    let (source, module) = (place.join("bounds.spl"), place.join("bounds.smf"));
    let program = "fn keep<T: Num>(a: T) -> T: a\nfn less<T>(a: T, b: T) -> bool where T: Ord: a < b\n\
                   fn deep<T>(x: T) -> T: keep(x)\nfn main() -> i64: 3\n";
    fs::write(&source, program).unwrap();
    let (source, module) = (source.to_str().unwrap(), module.to_str().unwrap());
    assert!(smf(&["compile", source, "-o", module]).status.success());
    let listed = text(&smf(&["templates", module]).stdout);
    for (symbol, is_listed) in
        [("keep$i64", true), ("less$f64", true), ("deep$i32", true), ("$bool", false)]
    {
        assert_eq!(listed.contains(symbol), is_listed, "{symbol}: {listed}");
    }
    let run = |args: &[&str]| {
        let output = smf(&[&["jit", module], args].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(run(&["keep<i64>", "3"]), "3\n");
    assert_eq!(run(&["less<f64>", "1", "2"]), "true\n");
    assert_eq!(run(&["deep<u8>", "3"]), "3\n");
    for (instance, arguments, bound) in [
        ("keep<bool>", &["true"][..], "`Num`, which `keep`"),
        ("less<bool>", &["true", "true"], "`Ord`, which `less`"),
        ("deep<bool>", &["true"], "`Num`, which `keep`"),
    ] {
        let error = run(&[&[instance], arguments].concat());
        let expected = format!("`bool` does not have the operations of {bound} asks for");
        assert!(error.contains(&expected), "{error}");
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    out.extend(text.bytes());
}

fn put_texts(out: &mut Vec<u8>, texts: &[&str]) {
    out.extend(u32::try_from(texts.len()).unwrap().to_le_bytes());
    texts.iter().for_each(|text| put_text(out, text));
}

/// A record up to its members, with its kind.
fn head(kind: u8, name: &str, type_params: &[&str], members: &[&str]) -> Vec<u8> {
    let mut out = vec![kind];
    if kind == 3 {
        out.extend(b"ENV2");
    }
    put_text(&mut out, name);
    out.push(u8::try_from(type_params.len()).unwrap());
    type_params.iter().for_each(|text| put_text(&mut out, text));
    put_texts(&mut out, members);
    out
}

/// The record of a function, a specialisation with one binding if `original` is not empty.
fn function(
    name: &str,
    type_params: &[&str],
    params: &[&str],
    body: &[&str],
    original: &str,
) -> Vec<u8> {
    let mut out = head(0, name, type_params, params);
    out.push(1);
    put_text(&mut out, "i64");
    put_texts(&mut out, body);
    out.push(u8::from(original.is_empty()));
    out.push(u8::from(!original.is_empty()));
    if !original.is_empty() {
        put_text(&mut out, original);
    }
    let bindings = if original.is_empty() { &[][..] } else { &["T", "i64"] };
    out.extend(u32::try_from(bindings.len() / 2).unwrap().to_le_bytes());
    bindings.iter().for_each(|text| put_text(&mut out, text));
    out
}

/// Enums of records of version 2 have payloads and discriminants; a specialisation stands beside its template; classes are
/// refused by name.
#[test]
#[cfg(target_arch = "x86_64")]
fn records_of_version_two_declare_enums() {
    let mut shape = head(3, "Shape", &[], &["Dot", "Line", "Box"]);
    shape.extend([0, 0, 0, 0, 0, 0]);
    let numbers = |numbers: &[i64]| {
        let count = u32::try_from(numbers.len()).unwrap().to_le_bytes();
        [&count[..], &numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()].concat()
    };
    shape.extend(numbers(&[0, 1, 2]));
    shape.extend([3, 0, 0, 0, 0, 1, 2]);
    put_texts(&mut shape, &["i64", "i64", "i64"]);
    put_texts(&mut shape, &["", "w", "h"]);
    shape.extend(numbers(&[0, 0, 0]));
    shape.extend([3, 0, 0, 0, 0, 0, 0]);
    shape.extend([0; 10]);
    let mut color = head(3, "Color", &[], &["Red", "Blue"]);
    color.extend([0, 0, 0, 0, 0, 0]);
    color.extend(numbers(&[0, 0]));
    color.extend([2, 0, 0, 0, 0, 0]);
    color.extend([0; 8]);
    color.extend(numbers(&[0, -7]));
    color.extend([2, 0, 0, 0, 0, 1]);
    color.extend([0; 10]);
    let mut class = head(2, "Cell", &["T"], &["value: T"]);
    class.extend([0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    let area = ["match s:", "    case Dot: 0", "    case Line(l): l", "    case Box(w, h): w * h"];
    let records = [
        function("area", &[], &["s: Shape"], &area, ""),
        function(
            "total",
            &["T"],
            &["x: T"],
            &["area(Shape.Box(w: 6, h: 7)) + area(Shape.Line(1))"],
            "",
        ),
        function("blue", &["T"], &["x: T"], &["Color.Blue as i64"], ""),
        function("cell", &["T"], &["x: T"], &["val c = Cell(value: x)", "1"], ""),
        function("twice", &["T"], &["x: T"], &["(x as i64) * 2"], ""),
        function("twice$i64", &[], &["x: T"], &["x * 2"], "twice"),
        class,
        shape,
        color,
    ];
    let count = u32::try_from(records.len()).unwrap().to_le_bytes();
    let templates = [b"GTPL\x02\0", &count[..], &records.concat()].concat();
    let sections = [
        section(SectionKind::Code, b".text", 5, Payload::Bytes(&[0xc3])),
        section(SectionKind::TemplateCode, b".templates", 1, Payload::Bytes(&templates)),
    ];
    let file = &write(&scratch("records-2"), "records.smf", &sections, &[]);
    let run = |args: &[&str]| {
        let output = smf(&[&["jit", file], args].concat());
        text(&output.stdout) + &text(&output.stderr)
    };
    assert_eq!(run(&["total<i64>", "1"]), "43\n");
    assert_eq!(run(&["blue<i64>", "1"]), "-7\n");
    assert_eq!(run(&["twice<u8>", "4"]), "8\n");
    assert_eq!(run(&["twice$i64", "5"]), "10\n");
    let error = run(&["cell<i64>", "1"]);
    assert!(error.contains("`class` is not supported"), "{error}");
}

/// An exhausted stack is an error and a crash is reported, both with the name of the instance. Numbers are not taken for
/// addresses.
#[test]
#[cfg(target_arch = "x86_64")]
fn jit_reports_crashes_of_instances() {
    let place = scratch("jit-crash");
    let [source, module] = ["r.spl", "r.smf"].map(|name| place.join(name));
    let program = "struct Pair<T>:\n    v: T\n    n: i64\nfn endless<T>(x: T) -> i64: 1 + endless(x)\n\
                   fn first<T>(b: Pair<T>) -> T: b.v\nfn both<T>(n: i64, b: (T, i32)) -> i64: n + (b.1 as i64)\n";
    fs::write(&source, program).unwrap();
    let module = module.to_str().unwrap();
    let compiled = smf(&["compile", source.to_str().unwrap(), "-o", module]);
    assert!(compiled.status.success());
    let output = smf(&["jit", module, "endless<i64>", "1"]);
    let error = text(&output.stderr);
    let expected =
        "error: the stack is exhausted in function `endless$i64`: calls nest too deeply\n";
    assert_eq!((output.status.code(), &*error), (Some(1), expected));
    let lists = place.join("lists.smf");
    let lists = lists.to_str().unwrap();
    assert!(smf(&["asm", "../templates/lists.sbt", "-o", lists]).status.success());
    let output = smf(&["jit", lists, "sum<i64>", "i64:5,6", "0x10000000000"]);
    let error = text(&output.stderr);
    assert!(error.contains("#0") && error.contains(" in fn$sum$i64 + 0x"), "{error}");
    for (given, bytes) in [("1", "0"), ("i64:5", "8"), ("i64:5,6,7", "24"), ("str:a", "0")] {
        let expected = format!(
            "argument 1: `Pair<i64>` has 2 words in memory, 16 bytes, and {bytes} bytes are given"
        );
        contains(&is_misused(&["jit", module, "first<i64>", given]), &[&expected]);
    }
    contains(
        &is_misused(&["jit", module, "both<u8>", "1", "u8:5"]),
        &["argument 2: `(u8, i32)` has 1 word in memory, 8 bytes, and 1 byte is given"],
    );
    for (call, expected) in [(["first<i64>", "i64:5,6"], "5\n"), (["first<i64>", "buf:16"], "0\n")]
    {
        let output = smf(&[&["jit", module], &call[..]].concat());
        assert_eq!(text(&output.stdout), expected);
    }
    let output = smf(&["jit", module, "both<u8>", "40", "i32:5,2"]);
    assert_eq!(text(&output.stdout), "42\n");
}

/// Arguments are read as those of `smf run`, and other files provide functions and templates.
#[test]
#[cfg(target_arch = "x86_64")]
fn jit_takes_arrays_and_providers() {
    let place = scratch("jit-arguments");
    let module = |name: &str, program: &str| {
        let [source, module] =
            ["spl", "smf"].map(|extension| place.join(format!("{name}.{extension}")));
        fs::write(&source, program).unwrap();
        let module = module.to_str().unwrap().to_owned();
        let compiled = smf(&["compile", source.to_str().unwrap(), "-o", &module]);
        assert!(compiled.status.success(), "{}", text(&compiled.stderr));
        module
    };
    let library = module("lib", "fn twice(x: i64) -> i64: x * 2\nfn half<T>(x: T) -> T: x / 2\n");
    let user = module(
        "user",
        "extern fn twice(x: i64) -> i64\n\
         fn sum<T>(xs: [T], start: T) -> T:\n    var s = start\n    for x in xs: s += x\n    s\n\
         fn size<T>(x: T, t: text) -> i64: t.len()\n\
         fn f<T>(x: T) -> i64: twice(20) + 2\nfn two<T>(x: T) -> [T; 2]: [x, x]\n",
    );
    for (args, expected) in [
        (&["sum<i64>", "1,2,3", "4"][..], "10\n"),
        (&["sum<f64>", "1,2.5", "0"], "3.5\n"),
        (&["sum$u8", "u8:200", "100"], "44\n"),
        (&["size<i64>", "1", "abc"], "3\n"),
        (&["two<i64>", "i64:0,0", "7"], "i64:7,7\n"),
        (&["f<i64>", "1", "--with", &library], "42\n"),
        (&["half<i64>", "42", "--with", &library], "21\n"),
    ] {
        let output = smf(&[&["jit", &*user], args].concat());
        assert_eq!(text(&output.stdout), expected, "{args:?} {}", text(&output.stderr));
    }
    for (args, why) in [
        (&["sum<i64>", "1,2,3", "3", "4"][..], "takes 2 arguments, and 3 are given"),
        (&["sum<i64>", "1,x", "0"], "argument 1: `x` is not a valid i64"),
        (&["sum<i64>", "u8:1", "0"], "`u8:1` is not an array of i64"),
    ] {
        contains(&is_misused(&[&["jit", &*user], args].concat()), &[why]);
    }
    let output = smf(&["jit", &user, "f<i64>", "1"]);
    contains(&text(&output.stderr), &["twice"]);
}

/// A trap of an instance states what happened, the function and the line.
#[test]
#[cfg(target_arch = "x86_64")]
fn traps_of_instances_are_described() {
    let place = scratch("instance-traps");
    let [source, module] = ["t.spl", "t.smf"].map(|name| place.join(name));
    // `small` and `over` have IR; `part` is compiled from its text, and `check`, which is not exported, with it.
    let program = "# A comment.\n\npub fn small<T>(x: T, n: i64) -> i64:\n    assert n > 3, \"n is small\"\n    n\n\n\
                   pub fn over<T>(x: T, n: i64) -> i64:\n    10 / n\n\nstruct P:\n    x: i64\n\n\
                   fn check(x: i64) -> i64:\n    assert x > 5, \"x is small\"\n    10 / (x - 6)\n\n\
                   pub fn part<T>(x: T, n: i64) -> i64:\n    val p = P(n)\n    check(p.x) + 1 / (n - 7)\n\
                   pub fn ratio(x: i64) -> i64: 100 / x\npub fn calls<T>(x: T, n: i64) -> i64: ratio(n)\n";
    fs::write(&source, program).unwrap();
    let [source, module] = [&source, &module].map(|path| path.to_str().unwrap());
    let compiled = smf(&["compile", source, "-o", module]);
    assert!(compiled.status.success());
    for (template, n, expected) in [
        ("small", "1", "assertion failed: n is small in function `small$i64` at {}:4"),
        ("over", "0", "division by zero in function `over$i64` at {}:8"),
        ("part", "5", "assertion failed: x is small in function `check` at {}:14"),
        ("part", "6", "division by zero in function `check` at {}:15"),
        ("part", "7", "division by zero in function `part$i64` at {}:19"),
        ("calls", "0", "division by zero in function `ratio` at {}:20"),
    ] {
        let expected = expected.replace("{}", source);
        let output = smf(&["jit", module, &format!("{template}<i64>"), "1", n]);
        assert_eq!(text(&output.stderr), format!("error: {module}: {expected}\n"));
        let file = user(&place, &format!("{template}$i64"));
        let output = smf(&["run", &file, "main", "1", n, "--with", module]);
        assert_eq!(text(&output.stderr), format!("error: {file}: {expected}\n"));
    }
}

/// Found: `--update` succeeded and recorded nothing.
#[test]
#[cfg(target_arch = "x86_64")]
fn update_warns_of_instances_that_it_does_not_record() {
    let directory = scratch("jit-unrecorded");
    let [source, module] = ["top.spl", "top.smf"].map(|name| directory.join(name));
    let text_of = "fn max<T>(a: T, b: T) -> T: if a > b: a else: b\n\
                   fn top<T>(a: T, b: T, c: T) -> T: max(max(a, b), c)\n\
                   fn best(limit: i64) -> i64: top(limit, 5, 3)\n";
    fs::write(&source, text_of).unwrap();
    let [source, module] = [&source, &module].map(|path| path.to_str().unwrap());
    assert!(smf(&["compile", source, "-o", module]).status.success());
    let run = |args: &[&str]| {
        let output = smf(&[&["jit", module], args].concat());
        (text(&output.stdout), text(&output.stderr))
    };
    let before = fs::read(module).unwrap();
    assert_eq!(run(&["top<u8>", "1", "2", "3"]), ("3\n".to_owned(), String::new()));
    let (printed, warnings) = run(&["top<u8>", "1", "2", "3", "--update"]);
    assert_eq!((&*printed, warnings.lines().count()), ("3\n", 2), "{warnings}");
    for name in ["max$u8", "top$u8"] {
        assert!(warnings.contains(&format!("warning: `{name}` is not recorded")), "{warnings}");
    }
    assert_eq!(fs::read(module).unwrap(), before);
    assert_eq!(run(&["max$f64", "1", "2", "--update"]), ("2.0\n".to_owned(), String::new()));
    assert_ne!(fs::read(module).unwrap(), before);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn crash_of_a_function_that_source_calls_is_reported() {
    let place = scratch("source-crash");
    let sections = [section(SectionKind::Code, b".text", 5, Payload::Bytes(&[0x0f, 0x0b]))];
    let boom =
        NewSymbol { name: b"boom", place: Place::Section(0), size: 2, ..NewSymbol::default() };
    let module = write(&place, "boom.smf", &sections, &[boom]);
    let source = place.join("a.spl");
    fs::write(&source, "extern fn boom() -> i64\nprint boom()\n").unwrap();
    let output = smf(&["run", source.to_str().unwrap(), "--with", &module]);
    contains(&text(&output.stderr), &["error: the module crashed: SIGILL", " in boom + 0x0 ("]);
}
