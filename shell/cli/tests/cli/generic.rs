//! Templates in IR: their text form.

use std::fs;
use std::process::Command;

use super::{contains, fails, is_misused, ok, scratch};

const LISTS: &str = include_str!("../../../../tests/templates/lists.sbt");

#[test]
fn disassembled_templates_assemble_to_the_same_module() {
    let directory = scratch("templates");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (source, module, again) = (path("a.sbt"), path("a.smf"), path("b.smf"));
    fs::write(&source, LISTS.to_owned() + "possible get<ptr> as \"get it\"\n").unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &module]), "");
    assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
    let listed = ok(&["disasm", &module]);
    contains(&listed, &["template squares<T0>(v0: ptr, v1: i64) -> T0\n", "possible sum<i64>\n"]);
    contains(&listed, &["possible get<ptr> as \"get it\"\n"]);
    fs::write(&source, &listed).unwrap();
    assert_eq!(ok(&["asm", &source, "-o", &again]), "");
    assert_eq!(fs::read(&module).unwrap(), fs::read(&again).unwrap());
    assert!(
        ok(&["disasm", &module, "get"]).starts_with("template get<T0>(v0: ptr, v1: i64) -> T0")
    );
    contains(&fails(&["disasm", &module, "put"]), &["no function or template `put`; it has `"]);
    for (text, cause) in [
        ("template f()\nadd i64 a, a, 1\nend", "line 2: no such local: `add i64 a, a, 1`"),
        ("possible f<i64>", "line 1: no template `f`"),
        ("template f()\nend", "line 1"),
    ] {
        fs::write(&source, text).unwrap();
        contains(&fails(&["asm", &source, "-o", &again]), &[cause]);
    }
}

#[test]
fn machine_code_is_shown_beside_templates() {
    let directory = scratch("templates-and-code");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let [source, template, code, object, module] =
        ["a.sbt", "a.smf", "a.c", "a.o", "b.smf"].map(path);
    let text = "template same<T>(a: T) -> T\n    return T a\nend\npossible same<i64>\n";
    fs::write(&source, text).unwrap();
    ok(&["asm", &source, "-o", &template]);
    let shown = ok(&["inspect", &template]);
    assert!(shown.contains("templates (1)\n") && !shown.contains("cannot be listed"), "{shown}");
    fs::write(&code, "int plain(int a) { return a + 1; }\n").unwrap();
    let compiled = Command::new("cc").args(["-O1", "-c", &code, "-o", &object]).status();
    assert!(compiled.unwrap().success());
    ok(&["pack", &object, &template, "-o", &module]);
    let listed = ok(&["disasm", &module]);
    let (one, all) = (ok(&["disasm", &module, "plain"]), ok(&["disasm", &template]));
    assert!(one.starts_with("function plain, ") && !one.contains("template"), "{one}");
    assert_eq!(listed, format!("{one}\n{all}"));
    assert!(ok(&["disasm", &module, "same"]).starts_with("template same<T0>"));
    let error = fails(&["disasm", &module, "none"]);
    contains(&error, &["no function or template `none`; it has `plain`, `same`\n"]);
}

#[test]
fn control_characters_of_a_module_do_not_reach_the_terminal() {
    let directory = scratch("control-characters");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let [source, module, again] = ["a.sbt", "a.smf", "b.smf"].map(path);
    let text = "template \"a\\x1b\\xc2\\x9bb\"<T>(a: T) -> T\n    return T a\nend\n";
    fs::write(&source, text).unwrap();
    ok(&["asm", &source, "-o", &module]);
    let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && !"\n\t".contains(c));
    let listed = ok(&["disasm", &module]);
    assert!(is_plain(&listed), "{listed:?}");
    fs::write(&source, listed).unwrap();
    ok(&["asm", &source, "-o", &again]);
    assert_eq!(fs::read(&module).unwrap(), fs::read(&again).unwrap());
    // The text of a template, and a cell of a note.
    fs::write(&source, "fn big<T>(a: T) -> T:\n    if a > a: a else: a\n").unwrap();
    let spl = path("a.spl");
    fs::rename(&source, &spl).unwrap();
    ok(&["compile", &spl, "-o", &module]);
    let mut bytes = fs::read(&module).unwrap();
    for (old, new) in [(&b"if a > a"[..], &b"\x1bf a > a"[..]), (b"\"big$i64\"", b"\"\x1big$i64\"")]
    {
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        bytes[at..at + old.len()].copy_from_slice(new);
    }
    fs::write(&module, bytes).unwrap();
    for args in [&["disasm"][..], &["note"], &["inspect"], &["disasm", "big"]] {
        let shown = ok(&[&args[..1], &[&module], &args[1..]].concat());
        assert!(is_plain(&shown) && shown.contains("\\u{1b}"), "{shown:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn jit_calls_instances_with_typed_arguments() {
    let directory = scratch("ir");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (source, module) = (path("lists.sbt"), path("lists.smf"));
    fs::write(&source, LISTS).unwrap();
    ok(&["asm", &source, "-o", &module]);
    let error = is_misused(&["asm", &source, "-o", &module, "--reloadable"]);
    contains(&error, &["--reloadable applies to bytecode"]);
    for (ty, list, sum, sorted) in [
        ("i64", "-5,3,-7", "-9", "-7,-5,3"),
        ("i32", "2147483647,1,0", "-2147483648", "0,1,2147483647"),
        ("f64", "0.5,-0.25,1e300", "1e300", "-0.25,0.5,1e300"),
        ("u8", "200,100,1", "45", "1,100,200"),
    ] {
        let list = format!("{ty}:{list}");
        assert_eq!(ok(&["jit", &module, &format!("fn$sum${ty}"), &list, "3"]), format!("{sum}\n"));
        let output_text = ok(&["jit", &module, &format!("fn$sort${ty}"), &list, "0", "2"]);
        assert_eq!(output_text, format!("{ty}:{sorted}\n"));
        let buffer = format!("i64:0,10,{}", ["0"; 10].join(","));
        let output_text = ok(&["jit", &module, &format!("fn$squares${ty}"), &buffer, "10"]);
        let last = if ty == "f64" { "81.0\n" } else { "81\n" };
        assert!(output_text.starts_with(last), "{output_text}");
    }
    for (args, cause) in [
        (&["fn$get$u8", "i64:0,0"][..], "takes 2 arguments, and 1 is given"),
        (&["fn$get$u8", "i64:0,0", "x"], "argument 2: `x` is not a valid i64"),
        (&["fn$push$u8", "i64:0,0", "256"], "argument 2: `256` is not a valid u8"),
        (&["fn$get$u8", "i7:0", "0"], "argument 1: `i7` is not a type"),
    ] {
        contains(&is_misused(&[&["jit", &module][..], args].concat()), &[cause]);
    }
    contains(&fails(&["jit", &module, "fn$get$u8", "i64:0,0", "0"]), &["trap 101"]);
    contains(&fails(&["jit", &module, "get<Foo>"]), &["no scalar, the argument for T0: `Foo`"]);
    for symbol in ["get<i64, i64>", "get$i64_i64", "fn$get$i64_i64"] {
        let error = fails(&["jit", &module, symbol]);
        contains(&error, &["`get` has 1 type parameter, and 2 types are given"]);
    }
}
