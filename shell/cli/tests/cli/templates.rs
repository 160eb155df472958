//! `smf jit` and `smf templates`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use smf_core::format::ext::hash_index;
use smf_core::format::template::{Container, Template};
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Header, Layout, RelocKind, SectionKind};
use smf_core::ir::text::parse;
use smf_core::link::host_arch;
use smf_core::templates::{PrecompiledReloc, Variant, encode_precompiled};

use super::{contains, is_misused, scratch, smf, text};

/// Writes a module with precompiled templates to `directory`.
pub(crate) fn templates(directory: &Path) -> String {
    // x86-64: lea rax, [rdi + rsi]; ret; and a tail call of that with the same arguments.
    let variant =
        |code, relocations| Variant { arch: host_arch(), arguments: &[], code, relocations };
    let add = encode_precompiled(&[variant(&[0x48, 0x8d, 0x04, 0x37, 0xc3][..], &[][..])]).unwrap();
    let call =
        [PrecompiledReloc { offset: 1, kind: RelocKind::Plt32, symbol: b"fn$add$i64", addend: -4 }];
    let tail = encode_precompiled(&[variant(&[0xe9, 0, 0, 0, 0], &call)]).unwrap();
    let template = |name, body| Template {
        name,
        kind: None,
        params: 0,
        constraints: Default::default(),
        body,
    };
    let half = "template half<T>(a: T, b: T) -> T\n div T a, a, b\n return T a\nend\n";
    let half = parse(half).unwrap().remove(0).body;
    let list =
        [template(&b"add"[..], &add[..]), template(b"tail", &tail), template(b"half", &half)];
    let list = NewTemplates { container: Container::Counted, templates: &list }.to_vec().unwrap();
    let note = "possible |template, type_args, mangled_name|\n    add, i64, fn$add$i64\n    \
                tail, i64, fn$tail$i64\n    gone, i64, fn$gone$i64\n    half, i64, half$i64\n";
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = [
        section(SectionKind::TemplateCode, &b".templates"[..], &list[..]),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let (layout, header) = (Layout::Native, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    let path = directory.join("templates.smf");
    fs::write(&path, module.to_vec().unwrap()).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn jit_instantiates_and_calls() {
    let file = &templates(&scratch("jit"));
    let before = fs::read(file).unwrap();
    contains(&is_misused(&["jit", "-", "fn$tail$i64", "40", "2"]), &["-: ", "name a file"]);
    let output = smf(&["jit", file, "fn$tail$i64", "40", "0x2"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("42\n".into(), String::new()));
    assert_eq!(fs::read(file).unwrap(), before);
    let output = smf(&["jit", file, "fn$tail$i64", "-40", "-2", "--update", "--verbose"]);
    assert_eq!(text(&output.stdout), "-42\n");
    assert!(text(&output.stderr).contains("[jit] compiled fn$add$i64 at 0x"));
    let shown = text(&smf(&["templates", file]).stdout);
    assert!(shown.contains("fn$add$i64: add of i64, jit_compiled\n"), "{shown}");
    assert!(shown.contains("fn$gone$i64: gone of i64, possible\n"), "{shown}");
    for (symbol, why) in [
        ("fn$gone$i64", "no loaded module has a template `gone`"),
        ("fn$none$i64", "no module lists an instance `fn$none$i64`"),
    ] {
        let output = smf(&["jit", file, symbol]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("error: ") && stderr.contains(why), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }
    assert_eq!(text(&smf(&["jit", file, "half$i64", "84", "2"]).stdout), "42\n");
    let stderr = text(&smf(&["jit", file, "half$i64", "84", "0"]).stderr);
    let expected = "error: {file}: division by zero in function `half$i64` at offset 0x";
    assert!(stderr.starts_with(&expected.replace("{file}", file)), "{stderr}");
    assert_eq!(smf(&["jit", file]).status.code(), Some(2));
    assert_eq!(smf(&["jit", "absent.smf", "x"]).status.code(), Some(1));
}

/// Modules and archives cache code; a trap names its instance.
#[test]
fn kept_code_is_reused_and_traps_name_the_instance() {
    let place = scratch("templates-kept");
    let source = place.join("q.smt");
    let programs = "template quotient<T>(a: T, b: T) -> T\ncall a = inner<T>(a, b)\nreturn T a\nend\n\
                template inner<T>(a: T, b: T) -> T\ndiv T a, a, b\nreturn T a\nend\n\
                possible quotient<i64>, quotient<u8>\n";
    fs::write(&source, programs).unwrap();
    let [module, archive] = ["q.smf", "q.lsm"].map(|name| place.join(name));
    let [source, module, archive] = [&source, &module, &archive].map(|path| path.to_str().unwrap());
    assert!(smf(&["asm", source, "-o", module]).status.success());
    let lib = smf(&["lib", "create", "-o", archive, "a=app.smf", &format!("m={module}")]);
    assert!(lib.status.success(), "{lib:?}");
    for more in [&[module][..], &[archive, "--module", "m"]] {
        let run = |symbol: &str, args: &[&str]| {
            let all = [&["jit"], &more[..1], &[symbol], args, &more[1..], &["--verbose"]].concat();
            let output = smf(&[&all[..], &["--update", "--keep-code"]].concat());
            (text(&output.stdout), text(&output.stderr))
        };
        let (first, stderr) = run("fn$quotient$i64", &["84", "2"]);
        assert!(first == "42\n" && !stderr.contains("cached code"), "{first} {stderr}");
        let (second, stderr) = run("fn$quotient$i64", &["84", "2"]);
        assert_eq!(second, "42\n");
        for symbol in ["fn$quotient$i64", "fn$inner$i64"] {
            assert!(stderr.contains(&format!("[jit] {symbol}: cached code")), "{stderr}");
        }
        let (_, stderr) = run("fn$quotient$i64", &["84", "0"]);
        let expected =
            "division by zero in function `fn$inner$i64` at offset 0x28 of the template's";
        assert!(stderr.contains(expected), "{stderr}");
    }
    let member = format!("{archive}:m");
    let output = smf(&["jit", &member, "fn$quotient$i64", "84", "2", "--keep-code", "--verbose"]);
    assert_eq!(text(&output.stdout), "42\n", "{}", text(&output.stderr));
    contains(&text(&output.stderr), &["[jit] fn$quotient$i64: cached code"]);
    assert!(smf(&["verify", module, archive]).status.success());
    let shown = text(&smf(&["inspect", module]).stdout);
    assert!(shown.contains(".smf.code"), "{shown}");
    // Conversion preserves cached code.
    let native = place.join("native.smf");
    let native = native.to_str().unwrap();
    assert!(smf(&["convert", module, "-o", native, "--layout", "native"]).status.success());
    let stderr =
        smf(&["jit", native, "fn$quotient$i64", "84", "2", "--keep-code", "--verbose"]).stderr;
    assert!(text(&stderr).contains("[jit] fn$quotient$i64: cached code"));
    let stderr = smf(&["jit", module, "fn$quotient$u8", "--module", "m"]).stderr;
    assert!(text(&stderr).starts_with("error: "));
}

#[test]
fn templates_are_listed() {
    let file = &templates(&scratch("templates-shown"));
    let shown = text(&smf(&["templates", file]).stdout);
    assert!(shown.starts_with("template add, "), "{shown}");
    let value: Value = serde_json::from_slice(&smf(&["templates", file, "--json"]).stdout).unwrap();
    assert_eq!(value["templates"][1]["name"], "tail");
    let expected = json!({
        "mangled_name": "fn$add$i64", "template": "add", "type_args": "i64", "status": "possible",
    });
    assert_eq!(value["instances"][0], expected);
    let shown = text(&smf(&["templates", "note-zero-size.smf"]).stdout);
    assert!(shown.contains("function identity, 1 type parameter, 0 bytes\n"), "{shown}");
    assert!(shown.contains("fn$Vec$i64: Vec of i64, possible\n"), "{shown}");
    // A module without templates succeeds.
    assert_eq!(smf(&["templates", "packed.smf"]).status.code(), Some(0));
}

/// Found: the dynlib was opened, and a damaged one killed the process.
#[test]
fn jit_refuses_a_dynlib_without_opening_it() {
    let why = &["dynlib.smf: a dynlib has no templates", "smf run"];
    let file = super::sample("dynlib.smf");
    let output = smf(&["jit", file.to_str().unwrap(), "fn$f$i64"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    super::contains(&stderr, why);
    // A dynlib is refused before its object is checked.
    let path = scratch("jit-dynlib").join("dynlib.smf");
    let mut damaged = fs::read(&file).unwrap();
    damaged[0x2f6b] ^= 0x10;
    fs::write(&path, damaged).unwrap();
    let output = smf(&["jit", path.to_str().unwrap(), "fn$f$i64"]);
    assert_eq!(output.status.code(), Some(1));
    super::contains(&text(&output.stderr), why);
}

/// A trap in a template with source locations names the place, as that of a function does.
#[test]
fn jit_names_the_source_location_of_a_trap() {
    let place = scratch("templates-lines");
    let [source, module] = ["lines.sbt", "lines.smf"].map(|name| place.join(name));
    let programs = "template f(a: i32, b: i32) -> i32\nlocation 7:3 in foo.spl\n\
                    add_checked i32 a, a, b\nreturn i32 a\nend\n\
                    template g<T>(a: T) -> T\nlocation 9\ntrap_eq T a, 1, 3\ntrap 40\nend\n\
                    possible g<i64>, g<u8> as named\n";
    fs::write(&source, programs).unwrap();
    let [source, module] = [&source, &module].map(|path| path.to_str().unwrap());
    super::ok(&["asm", source, "-o", module]);
    for (args, expected) in [
        (&["f", "2147483647", "1"][..], "integer overflow in function `f` at foo.spl:7:3"),
        (&["fn$g$i64", "1"], "the stack is exhausted in function `fn$g$i64` at line 9"),
        (&["named", "2"], "trap 40 in function `named` at line 9"),
    ] {
        let error = super::fails(&[&["jit", module][..], args].concat());
        assert_eq!(error, format!("error: {module}: {expected}\n"));
    }
}
