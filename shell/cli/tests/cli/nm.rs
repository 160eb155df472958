//! `smf nm`, `size`, `top`, `diff` and the selections of `inspect`, compared with binutils.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{contains, ends_with_error, fails, is_misused, ok, scratch, smf, text};

const SOURCE: &str = r#"
    extern int wanted(int);
    extern int weak_import(int) __attribute__((weak));
    int counter = 7;
    int zeroed[100];
    const int table[4] = { 1, 2, 3, 4 };
    int plain(int a) { return wanted(a) + counter + zeroed[a]; }
    __attribute__((weak)) int weak(int a) { return weak_import ? weak_import(a) : table[a & 3]; }
    __attribute__((noinline)) static int hidden(int a) { return a * VALUE; }
    int large(int a) { for (int i = 0; i < a; i++) zeroed[i % 100] += hidden(plain(i)); return a; }
"#;

fn built(test: &str, value: &str) -> (PathBuf, String) {
    let directory = scratch(test);
    let (source, object) = (directory.join("a.c"), directory.join("a.o"));
    fs::write(&source, SOURCE).unwrap();
    let define = format!("-DVALUE={value}");
    let mut compiler = Command::new("cc");
    let done = compiler.args(["-O1", "-c", &define, "-o"]).args([&object, &source]).status();
    assert!(done.unwrap().success());
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    // With symbols of sections, to which relocations refer.
    let packed = smf(&["pack", "--emit-relocs", object.to_str().unwrap(), "-o", &module]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    (object, module)
}

/// Kinds and names in the output of `nm`.
fn names(listing: &str) -> BTreeSet<(char, String)> {
    let lines = listing.lines().filter(|line| !line.is_empty());
    let parts = lines.map(|line| {
        let mut parts = line.split_whitespace().rev();
        let name = parts.next().unwrap().to_owned();
        (parts.next().unwrap().chars().next().unwrap(), name)
    });
    parts.collect()
}

#[test]
fn nm_lists_globals_as_binutils_does() {
    let (object, module) = built("nm-globals", "3");
    let binutils = Command::new("nm").arg("-g").arg(object).output().unwrap();
    let mut expected = names(&text(&binutils.stdout));
    // A symbol of position-independent code, which a module does not need.
    expected.retain(|(_, name)| name != "_GLOBAL_OFFSET_TABLE_");
    let found = names(&ok(&["nm", &module]));
    for symbol in &expected {
        assert!(found.contains(symbol), "{symbol:?} in {found:?}");
    }
    // No symbols of sections, as in binutils without `-a`.
    assert!(found.iter().all(|(_, name)| !name.starts_with('.')), "{found:?}");
    contains(&ok(&["inspect", "--symbols", &module]), &[" .text\n"]);
    let imports = names(&ok(&["nm", "-u", &module]));
    assert!(imports.iter().all(|(kind, _)| matches!(kind, 'U' | 'w')), "{imports:?}");
    assert!(imports.contains(&('U', "wanted".to_owned())));
    let exports = ok(&["nm", "--exports", "-S", &module]);
    let sizes: Vec<&str> = exports.lines().map(|line| line.get(..16).unwrap()).collect();
    assert!(sizes.is_sorted() && sizes.contains(&"0000000000000190"), "{exports}");
}

#[test]
fn size_and_top_show_the_bytes_of_parts_and_symbols() {
    let (_, module) = built("size-top", "3");
    let line = ok(&["size", &module, &module]);
    assert_eq!(line.lines().count(), 3);
    let numbers: Vec<u64> =
        line.lines().nth(1).unwrap().split_whitespace().flat_map(str::parse).collect();
    let [text, data, bss, _, file] = numbers[..] else { panic!("{line}") };
    assert_eq!(file, fs::metadata(&module).unwrap().len());
    assert!(text > 60 && data >= 4 && bss >= 400, "{line}");
    contains(&ok(&["size", "-A", &module]), &[".text", ".bss"]);
    let top = ok(&["top", "-n", "1", &module]);
    contains(&top, &["400", "zeroed", "share"]);
    assert!(!top.contains("plain"));
}

#[test]
fn diff_names_what_changed() {
    let (_, old) = built("diff-old", "3");
    let (_, same) = built("diff-same", "3");
    let (_, new) = built("diff-new", "1000001");
    assert_eq!(ok(&["diff", &old, &same]), "");
    let all = smf(&["diff", "--all", &old, &new]);
    assert_eq!(all.status.code(), Some(1));
    contains(&text(&all.stdout), &["~ large  (function of", "other contents", "~ text: "]);
    let output = smf(&["diff", &old, "packed.smf"]);
    contains(&text(&output.stdout), &["- plain", "+ answer", "~ the file: "]);
    // The status 1 states a difference.
    contains(&ends_with_error(&["diff", &old, "absent.smf"], 2), &["absent.smf"]);
}

#[test]
fn functions_of_bytecode_are_listed() {
    let lines = ok(&["nm", "bcod.smf"]);
    let names: Vec<&str> = lines.lines().map(|line| line.get(17..).unwrap()).collect();
    assert_eq!(names, ["T answer", "T sum"], "{lines}");
    assert_eq!(ok(&["nm", "--exports", "bcod.smf"]), lines);
    assert_eq!(ok(&["nm", "--undefined", "bcod.smf"]), "");
    contains(&ok(&["top", "bcod.smf"]), &["%  T answer\n", "%  T sum\n"]);
    let by_size = ok(&["nm", "--size-sort", "bcod.smf"]);
    assert!(by_size.lines().is_sorted() && by_size.contains("T sum"), "{by_size}");
}

#[test]
fn inspect_shows_selected_parts_and_matching_rows() {
    let symbols = ok(&["inspect", "--symbols", "packed.smf"]);
    contains(&symbols, &["symbols (", "answer", "bump"]);
    assert!(!symbols.contains("sections (") && !symbols.contains("relocations"));
    let filtered = ok(&["inspect", "--symbols", "--filter", "answ", "packed.smf"]);
    contains(&filtered, &["symbols (1)", "answer"]);
    assert!(!filtered.contains("bump"));
    contains(&ok(&["inspect", "--relocs", "packed.smf"]), &["relocations for section"]);
    contains(&ok(&["inspect", "--sections", "packed.smf"]), &["sections ("]);
    for option in [&["--symbols"][..], &["--filter", "scale"]] {
        let error = is_misused(&[&["inspect", "library.lsm"], option].concat());
        contains(&error, &["name one of its modules"]);
    }
    let output = smf(&["inspect", "--json", "--symbols", "packed.smf"]);
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn functions_without_a_size_extend_to_the_next_one() {
    let directory = scratch("sizeless");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let assembly = ".text\n.globl f\nf: mov $42, %eax\n ret\n.globl g\ng: movq $0, 0\n ret\n\
        .section .note.GNU-stack,\"\",@progbits\n";
    fs::write(path("a.s"), assembly).unwrap();
    fs::write(path("c.c"), "long sized(long a) { return a + 1; }\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-c", "-O1", "a.s", "c.c"]).current_dir(&directory);
    assert!(compiler.status().unwrap().success());
    let module = path("a.smf");
    ok(&["pack", &path("a.o"), &path("c.o"), "-o", &module]);
    let listed = ok(&["disasm", &module]);
    contains(&listed, &["function f, 6 bytes\n", "function g, 13 bytes\n", "function sized, "]);
    contains(&ok(&["disasm", &module, "f"]), &["mov eax, 0x2a\n"]);
    contains(&ok(&["top", &module]), &["  T f\n"]);
    let crashed = text(&smf(&["run", &module, "g"]).stderr);
    contains(&crashed, &["SIGSEGV", "#0 ", " in g + 0x0 ("]);
    contains(&ok(&["disasm", "native-stub219.smf"]), &["function main, 6 bytes\n"]);
    // The functions of an ELF object.
    contains(&ok(&["disasm", "elf-object.smf", "answer"]), &["function answer, 15 bytes\n"]);
    contains(&ok(&["top", "elf-object.smf"]), &["15 ", "T answer\n", ".rodata.str1.1\n"]);
}

#[test]
fn object_in_the_code_section_is_listed_as_what_is_linked() {
    let listed = ok(&["nm", "elf-object.smf"]);
    contains(&listed, &[" T answer\n", " T add\n", " T bump\n"]);
    assert!(!listed.contains(".c\n") && !listed.contains(" t ."), "{listed}");
    let by_section = ok(&["size", "-A", "elf-object.smf"]);
    contains(&by_section, &[".symtab (symtab)\n", ".rodata.str1.1 (rodata)\n"]);
    let sums = ok(&["size", "elf-object.smf"]);
    let numbers = sums.lines().nth(1).unwrap().split_whitespace().flat_map(str::parse::<u64>);
    let [text, _, _, rest, file] = numbers.collect::<Vec<_>>()[..] else { panic!("{sums}") };
    assert!(text < rest && text + rest < file, "{sums}");
}

#[test]
fn filter_applies_to_the_rows_of_the_note() {
    let shown = |text: &str| ok(&["inspect", "--templates", "--filter", text, "driver.smf"]);
    let rows = shown("Map");
    contains(&rows, &["\nnote\n", "template=\"Map\""]);
    let mut note = rows.lines().skip_while(|line| *line != "note").filter(|l| l.contains("=\""));
    assert!(note.all(|line| line.contains("Map")), "{rows}");
    assert!(shown("no such name").ends_with("\nnote\n"));
    // Cells are compared without the quotes and escapes of the text.
    let quoted = ok(&["inspect", "--filter", "quote \"here\"", "note-zero-size.smf"]);
    contains(&quoted, &["\n  possible\n    id="]);
    assert!(!ok(&["inspect", "packed.smf", "--filter", "zzz"]).contains("phases"));
}

#[test]
fn dynlib_is_refused_where_its_sections_or_symbols_are_shown() {
    let map = scratch("dynlib-map").join("map.html");
    let map = ["map", "dynlib.smf", "-o", map.to_str().unwrap()];
    let others = ["nm", "size", "top", "disasm"].map(|command| [command, "dynlib.smf"]);
    for command in others.iter().map(|command| &command[..]).chain([&map[..]]) {
        contains(&fails(command), &["dynlib.smf: a dynlib has no", "`smf extract`"]);
    }
}

#[test]
fn files_behind_one_that_cannot_be_read_are_shown() {
    for (command, shown) in [("nm", "\npacked.smf:\n"), ("size", "packed.smf\n")] {
        let output = smf(&[command, "absent.smf", "app.smf", "bad/empty.smf", "packed.smf"]);
        let errors = text(&output.stderr);
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 2), "{errors}");
        contains(&errors, &["error: absent.smf: ", "error: bad/empty.smf: "]);
        contains(&text(&output.stdout), &["app.smf", shown]);
    }
    let sizes = text(&smf(&["size", "absent.smf", "app.smf"]).stdout);
    assert!(sizes.starts_with("      text "), "{sizes}");
}

#[test]
fn share_of_a_symbol_is_that_of_its_bytes_under_all_its_names() {
    let directory = scratch("top-aliases");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let source = "int f(int a) { return a * 3 + 1; }\nint g(int) __attribute__((alias(\"f\")));\n";
    fs::write(path("a.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-c", "-O1", "a.c"]).current_dir(&directory);
    assert!(compiler.status().unwrap().success());
    ok(&["pack", &path("a.o"), "-o", &path("a.smf")]);
    contains(&ok(&["top", &path("a.smf")]), &[" 100.0%  T f\n", " 100.0%  T g\n"]);
}
