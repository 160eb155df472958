//! `smf diff`: every difference of two modules is shown, and the exit status states it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{contains, ok, sample, scratch, smf, text};

/// The lines for two modules that differ.
#[track_caller]
fn differs(args: &[&str]) -> String {
    let output = smf(&[&["diff"], args].concat());
    let lines = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()), "{lines}");
    lines
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

/// Compiles a source of C or assembly; the object.
fn compiled(directory: &Path, name: &str, source: &str) -> String {
    let (file, object) = (path(directory, name), path(directory, &format!("{name}.o")));
    fs::write(&file, source).unwrap();
    let done = Command::new("cc").args(["-O1", "-c", &file, "-o", &object]).status();
    assert!(done.unwrap().success());
    object
}

/// Packs objects; the module.
fn packed(directory: &Path, name: &str, args: &[&str]) -> String {
    let module = path(directory, name);
    assert!(smf(&[&["pack", "-o", &module], args].concat()).status.success());
    module
}

/// A copy of a sample with the first `old` replaced.
fn edited(directory: &Path, name: &str, old: &[u8], new: &[u8]) -> String {
    let mut bytes = fs::read(sample(name)).unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new);
    let file = directory.join(name);
    fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn compressed_contents_are_compared_after_decompression() {
    let place = scratch("diff-compressed");
    let source = "int table[4000] = {1, 2, 3}; int other[1000] = {7}; int get(int i) { return table[i] + other[i]; }";
    let one = compiled(&place, "a.c", source);
    let two = compiled(&place, "b.c", &source.replace("{7}", "{8}"));
    let small = |name, object| packed(&place, name, &["--compress", "zstd", object]);
    let (old, new) = (small("a.smf", &one), small("b.smf", &two));
    assert_eq!(ok(&["diff", &old, &old]), "");
    contains(&differs(&[&old, &new]), &["~ other  (data of 4000 bytes, other contents)\n"]);
    let plain = differs(&[&old, &packed(&place, "c.smf", &[&one])]);
    assert!(plain.starts_with("~ the file: ") && plain.lines().count() == 1, "{plain}");
}

#[test]
fn functions_of_bytecode_are_compared() {
    let place = scratch("diff-bytecode");
    let module = |name: &str, number: u32| {
        let (source, module) = (path(&place, "a.sbc"), path(&place, name));
        let code = format!("function main, 0, 0\nCONST_I64 0, {number}\nRET 0\n");
        fs::write(&source, code).unwrap();
        ok(&["asm", &source, "-o", &module]);
        module
    };
    let lines = differs(&[&module("a.smf", 84), &module("b.smf", 85)]);
    contains(&lines, &["~ main  (function of ", " bytes, other contents)\n"]);
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

#[test]
fn templates_are_compared() {
    let place = scratch("diff-templates");
    let module = |name: &str, operator: &str| {
        let (source, module) = (path(&place, "a.spl"), path(&place, name));
        let code = format!("fn big<T>(a: T, b: T) -> T:\n    if a {operator} b: a else: b\n");
        fs::write(&source, code).unwrap();
        ok(&["compile", &source, "-o", &module]);
        module
    };
    let lines = differs(&[&module("a.smf", ">"), &module("b.smf", "<")]);
    contains(&lines, &["~ big  (template of ", " bytes, other contents)\n"]);
}

#[test]
fn local_symbols_of_one_name_are_compared_each() {
    let place = scratch("diff-locals");
    let object = |name: &str, factor: u32, caller: &str| {
        let local =
            format!("__attribute__((noinline)) static int h(int x) {{ return x * {factor}; }}");
        compiled(&place, name, &format!("{local} int {caller}(int x) {{ return h(x) + 1; }}"))
    };
    let [one, two, other] =
        [object("a.c", 1003, "fa"), object("c.c", 1009, "fa"), object("b.c", 1005, "fb")];
    let old = packed(&place, "a.smf", &["-g", &one, &other]);
    let new = packed(&place, "b.smf", &["-g", &two, &other]);
    let lines = differs(&["--all", &old, &new]);
    assert!(lines.lines().all(|line| line.starts_with("~ h  (function of ")), "{lines}");
    // A difference in no symbol that is shown.
    let lines = differs(&[&old, &new]);
    assert!(lines.starts_with("~ .text  (code section of "), "{lines}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn functions_without_a_size_are_compared() {
    let place = scratch("diff-sizeless");
    let module = |name: &str, number: u32| {
        let code = format!(
            ".globl f\nf: mov ${number}, %eax\n ret\n.section .note.GNU-stack,\"\",@progbits\n"
        );
        packed(&place, name, &[&compiled(&place, &format!("{name}.s"), &code)])
    };
    let (old, new) = (module("a.smf", 1), module("b.smf", 2));
    assert_eq!(differs(&[&old, &new]), "~ f  (function of 6 bytes, other contents)\n");
    contains(&ok(&["nm", "-S", &old]), &["0000000000000006 T f\n"]);
}

#[test]
fn functions_of_an_elf_object_are_compared() {
    let place: PathBuf = scratch("diff-object");
    let new = edited(&place, "elf-object.smf", b"\x2a\0\0\0", b"\x2b\0\0\0");
    let lines = differs(&["elf-object.smf", &new]);
    contains(&lines, &["other contents)\n"]);
    assert!(!lines.contains("the file"), "{lines}");
}

#[test]
fn bytes_of_no_symbol_and_no_section_are_a_difference() {
    let place = scratch("diff-outside");
    let mut bytes = fs::read(sample("packed.smf")).unwrap();
    // The number of the version of the header, which is the last part of a packed module.
    let at = bytes.len() - 128 + 5;
    bytes[at] += 1;
    let new = path(&place, "a.smf");
    fs::write(&new, bytes).unwrap();
    let lines = "~ the file: other bytes outside of its symbols and sections\n";
    assert_eq!(differs(&["packed.smf", &new]), lines);
}
