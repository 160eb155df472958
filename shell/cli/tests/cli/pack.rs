//! `smf pack`, and its modules in the other commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{contains, fails, inspected, ok, scratch, smf, text};

/// Compiles a C source; the path of the object, and a path for a module.
pub(crate) fn object(test: &str, source: &str) -> (String, String) {
    compiled(test, source, &["-O2"])
}

pub(crate) fn compiled(test: &str, source: &str, flags: &[&str]) -> (String, String) {
    let directory = scratch(test);
    let (c, o) = (directory.join("in.c"), directory.join("in.o"));
    fs::write(&c, source).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.args(flags).args(["-c", "-o"]).arg(&o).arg(&c).status().unwrap();
    assert!(built.success());
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    (path(&o), path(&directory.join("out.smf")))
}

const ADD: &str = "long add(long a, long b) { return a + b; }
                   static long n = 7; long next(void) { return n++; }";

#[test]
fn object_is_packed_in_either_layout() {
    let (object, out) = object("pack", ADD);
    for layout in ["packed", "native"] {
        ok(&["pack", &object, "-o", &out, "--layout", layout]);
        assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
        assert_eq!(inspected(&out)["layout"], layout);
        assert_eq!(ok(&["run", &out, "add", "40", "2"]), "42\n");
        assert_eq!(ok(&["run", &out, "next"]), "7\n");
    }
    ok(&["pack", &object, "-o", &out, "--entry", "next"]);
    assert_eq!(ok(&["run", &out]), "7\n");
}

#[test]
fn objects_import_from_modules_and_from_libc() {
    let (object, out) = object(
        "pack-imports",
        "#include <stdio.h>
         long scale(long); long f(long x) { printf(\"%ld \", x); return scale(x); }",
    );
    ok(&["pack", &object, "-o", &out]);
    let run = ["run", &out, "f", "5", "--with", "lib.smf", "--host-symbols"];
    assert_eq!(ok(&run), "5 15\n");
    contains(&fails(&["run", &out, "f"]), &["`printf`", "`scale`"]);
}

#[test]
fn watched_program_keeps_data_in_its_new_version() {
    use std::io::{BufRead, BufReader};
    let version = |factor: u32| {
        format!("long n = 5; long *at = &n; long next(void) {{ return {factor} * (*at)++; }}")
    };
    let (old, out) = object("watch", &version(1));
    let pack = |object: &str, flags: &[&str]| {
        ok(&[&["pack", object, "-o", &out, "--entry", "next"], flags].concat())
    };
    pack(&old, &[]);
    contains(&fails(&["run", "--watch", &out]), &["not marked as reloadable", "--reloadable"]);
    pack(&old, &["--reloadable"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.args(["run", "--watch", &out]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut results = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reports = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = || results.next().unwrap().unwrap();
    assert_eq!(line(), "5");
    let (new, other) = object("watch-new", &version(10));
    assert_ne!(other, out);
    pack(&new, &["--reloadable"]);
    assert_eq!(line(), "60", "the new code, and the old data");
    fs::write(&out, "half written").unwrap();
    let (newest, _) = object("watch-newest", &version(100));
    let mut reported = || reports.next().unwrap().unwrap();
    let report = reported();
    let expected = format!("reloaded: {out}: 1 symbol copied, 8 bytes; 1 reset, which hold");
    assert!(report.starts_with(&expected), "{report}");
    let error = reported();
    assert!(error.starts_with(&format!("error: {out}: ")), "{error}");
    pack(&newest, &["--reloadable"]);
    assert_eq!(line(), "700");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn data_of_a_watched_program_with_constructors_is_kept_on_request() {
    use std::io::{BufRead, BufReader};
    let version = |factor: u32| {
        format!(
            "long n; __attribute__((constructor)) static void start(void) {{ n = 5; }}
             long next(void) {{ return {factor} * n++; }}"
        )
    };
    let (old, out) = object("watch-constructed", &version(1));
    let (new, _) = object("watch-constructed-new", &version(10));
    let pack = |object: &str| ok(&["pack", object, "-o", &out, "--entry", "next", "--reloadable"]);
    for (option, expected) in [(None, "50"), (Some("--keep-constructed"), "60")] {
        pack(&old);
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        command.args(["run", "--watch", &out]).args(option).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut results = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || results.next().unwrap().unwrap();
        assert_eq!(line(), "5");
        pack(&new);
        assert_eq!(line(), expected);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(smf(&["run", "--keep-constructed", &out]).status.code(), Some(2));
}

#[test]
fn output_that_is_an_input_is_refused() {
    let (object, out) = object("same-file", "long f(void) { return 1; }");
    let directory = Path::new(&object).parent().unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (same, source, link) = (path("././in.o"), path("a.spl"), path("link.o"));
    fs::write(&source, "fn f() -> i64: 1\n").unwrap();
    let before = fs::read(&object).unwrap();
    let refusal = "the output is one of the inputs";
    contains(&fails(&["pack", &object, "-o", &object]), &[&object, refusal]);
    contains(&fails(&["pack", &object, "-o", &same]), &[refusal]);
    let _ = fs::remove_file(&link);
    fs::hard_link(&object, &link).unwrap();
    contains(&fails(&["pack", &object, "-o", &link]), &[refusal]);
    contains(&fails(&["compile", &source, "-o", &source]), &[refusal]);
    assert_eq!((fs::read(&object).unwrap(), before.is_empty()), (before, false));
    // An older output is replaced.
    ok(&["pack", &object, "-o", &out]);
    ok(&["pack", &object, "-o", &out]);
    let member = format!("m={out}");
    for command in [
        &["map", &out, "-o", &out][..],
        &["trace", "-o", &out, &out, "f"],
        &["trace", "-o", &out, &source, "--with", &out],
        &["trace", "-o", &source, &source, "f"],
        &["lib", "create", "-o", &out, &member],
    ] {
        contains(&fails(command), &[refusal]);
    }
    contains(&fails(&["run", &object]), &["an ELF file", "`smf pack`"]);
    contains(
        &fails(&["run", "--main", &out, "--", "f"]),
        &["no entry point and no function `main`; `smf pack --entry main` takes one"],
    );
}

#[test]
fn output_that_is_the_archive_or_an_implied_file_of_an_input_is_refused() {
    let (object, module) = object("implied-input", "long f(void) { return 1; }");
    let directory = Path::new(&object).parent().unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let written = |name: &str, contents: &[u8]| {
        fs::write(path(name), contents).unwrap();
        path(name)
    };
    let source = written("a.spl", b"use b.{f}\nfn main() -> i64: f(41)\n");
    let used = written("b.spl", b"pub fn f(x: i64) -> i64: x + 1\n");
    let found = written("libfoo.a", &fs::read(&object).unwrap());
    let script = written("libbar.a", b"INPUT ( libfoo.a )\n");
    ok(&["pack", &object, "-o", &module]);
    let archive = path("z.lsm");
    ok(&["lib", "create", "-o", &archive, &format!("g={module}")]);
    let member = format!("{archive}:g");
    let files = [&used, &found, &script, &archive];
    let read = || files.map(|file| fs::read(file).unwrap());
    let before = read();
    for command in [
        &["compile", &source, "-o", &used][..],
        &["trace", &source, "-o", &used],
        &["pack", &object, "-L", &path(""), "-l", "foo", "-o", &found],
        &["pack", &object, "-L", &path(""), "-l", "bar", "-o", &found],
        &["pack", &object, "-L", &path(""), "-l", "bar", "-o", &script],
        &["map", &member, "-o", &archive],
        &["trace", &member, "f", "-o", &archive],
        &["extract", &member, "-o", &archive],
        &["strip-stub", &member, "-o", &archive],
        &["convert", &member, "--layout", "packed", "-o", &archive],
        &["lib", "create", "-o", &archive, &format!("h={member}")],
    ] {
        contains(&fails(command), &["the output is one of the inputs"]);
        assert_eq!(read(), before, "{command:?}");
    }
    // A file is replaced by what is made of it.
    ok(&["strip-stub", &module, "-o", &module]);
    ok(&["convert", &module, "--layout", "packed", "-o", &module]);
}

#[test]
fn phase_list_orders_the_code() {
    use std::fmt::Write;
    let mut source = String::from("long v[64];\n");
    for function in 0..40 {
        let body: String = (0..40).map(|n| format!("v[{}] += {n} * x; ", n % 64)).collect();
        writeln!(source, "long f{function}(long x) {{ {body} return x + {function}; }}").unwrap();
    }
    let (object, out) = compiled("phases", &source, &["-O0", "-ffunction-sections"]);
    let list = Path::new(&out).with_file_name("phases.list");
    let phases = |args: &[&str]| {
        ok(&[&["pack", &object, "-o", &out], args].concat());
        let shown: Value = serde_json::from_str(&ok(&["inspect", "--json", &out])).unwrap();
        let row = |row: &Value| {
            let number = |key: &str| row[key].as_u64().unwrap();
            [number("functions"), number("pages"), number("pages_packed")]
        };
        shown["phases"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(phases(&[])[0], [0, 0, 0]);
    let scattered = "# what starts\nf0 startup\nf13 startup\nf26 startup\nf39 startup\nf5 cold\n";
    fs::write(&list, scattered).unwrap();
    let list = list.to_str().unwrap();
    let [startup, _, _, cold] = phases(&["--phases", list]).try_into().unwrap();
    assert_eq!((startup[0], cold[0]), (4, 1));
    assert!(startup[1] == startup[2] && startup[1] < 4, "{startup:?}");
    assert_eq!(ok(&["run", &out, "f39", "3"]), "42\n");
    contains(&ok(&["inspect", &out]), &["layout phases, in pages of 4 KiB (3)", " startup\n"]);

    fs::write(list, "f0 soon\n").unwrap();
    let error = fails(&["pack", &object, "-o", &out, "--phases", list]);
    contains(&error, &["line 1: unknown phase `soon`"]);
    let hinted = ["pack", &object, "-o", &out, "--prefetch", "2"];
    ok(&hinted);
    let with = ["run", &out, "f1", "41", "--with", "lib.smf", "--with", "library.lsm"];
    assert_eq!(ok(&with), "42\n");
    let file = fs::read(&out).unwrap();
    let smf = smf_core::format::Smf::parse(&file).unwrap();
    assert_eq!(smf.header().files_to_prefetch(), 2);
}

#[test]
fn script_line_as_stub_makes_the_module_executable() {
    let (object, out) = object("pack-stub", "long main(void) { return 42; }");
    let stub = Path::new(&out).with_file_name("stub");
    fs::write(&stub, format!("#!{} run\n", env!("CARGO_BIN_EXE_smf"))).unwrap();
    let pack = ["pack", &object, "-o", &out, "--stub", stub.to_str().unwrap()];
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o644)).unwrap();
    ok(&pack);
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o111, 0);
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    ok(&pack);
    assert_eq!(text(&Command::new(&out).output().unwrap().stdout), "42\n");
}

#[test]
fn refused_input_writes_no_file() {
    let (object, out) = object("pack-refused", ADD);
    contains(&fails(&["pack", "EXPECTED.md", "-o", &out]), &["EXPECTED.md", "not a relocatable"]);
    contains(&fails(&["pack", &object, "-o", &out, "--entry", "nope"]), &["nope"]);
    // All reasons are listed.
    let mut twice = Command::new(env!("CARGO_BIN_EXE_smf"));
    let twice = twice.args(["pack", &object, &object, "-o", &out]).output().unwrap();
    let errors = text(&twice.stderr);
    assert_eq!((twice.status.code(), errors.lines().count()), (Some(1), 2), "{errors}");
    for (line, name) in errors.lines().zip(["add", "next"]) {
        assert!(line.starts_with(&format!("error: duplicate definition of `{name}`")), "{line}");
    }
    let stub = fails(&["pack", &object, "-o", &out, "--layout", "native", "--stub", "app.smf"]);
    contains(&stub, &["stub"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn every_command_reads_compressed_modules() {
    let source = "long table[1000] = {[10] = 42, [999] = 7}; const long constants[1000] = {5};
                  long at(long i) { return table[i] + constants[i]; }";
    let (object, out) = object("pack-compress", source);
    let other = |name: &str| Path::new(&out).with_file_name(name).to_str().unwrap().to_owned();
    let (converted, library, taken) = (other("converted.smf"), other("all.lsm"), other("one.smf"));
    let (plain, broken) = (other("plain.smf"), other("broken.smf"));
    ok(&["pack", &object, "-o", &plain]);
    for algorithm in ["zstd", "lz4"] {
        ok(&["pack", &object, "-o", &out, "--compress", algorithm]);
        assert!(fs::metadata(&out).unwrap().len() + 15_000 < fs::metadata(&plain).unwrap().len());
        ok(&["convert", &out, "-o", &converted, "--layout", "packed"]);
        ok(&["lib", "create", "-o", &library, &format!("one={out}")]);
        ok(&["lib", "extract", &library, "one", "-o", &taken]);
        assert_eq!(ok(&["verify", &library]), format!("{library}: ok\n"));
        for file in [&out, &converted, &taken] {
            assert_eq!(ok(&["verify", file]), format!("{file}: ok\n"));
            assert_eq!(ok(&["run", file, "at", "10"]), "42\n");
            assert_eq!(ok(&["run", file, "at", "0"]), "5\n");
            let shown = inspected(file);
            assert_eq!(shown["compression"], algorithm);
            let sections = shown["sections"].as_array().unwrap();
            let data = sections.iter().find(|section| section["kind"] == "data").unwrap();
            assert_eq!((&data["compressed"], &data["virtual_size"]), (&json!(true), &json!(8000)));
            assert!(data["size"].as_u64().unwrap() < 200);
            let code = sections.iter().find(|section| section["kind"] == "code").unwrap();
            assert_eq!(code["compressed"], json!(false));
            contains(&ok(&["inspect", file]), &["(compressed)"]);
        }
        // A corrupt section fails both to verify and to run.
        let mut bytes = fs::read(&out).unwrap();
        let shown = inspected(&out);
        let sections = shown["sections"].as_array().unwrap();
        let number = sections.iter().position(|section| section["kind"] == "data").unwrap();
        let data = &sections[number];
        let (start, size) = (data["offset"].as_u64().unwrap(), data["size"].as_u64().unwrap());
        bytes[usize::try_from(start + size).unwrap() - 1] ^= 1;
        fs::write(&broken, bytes).unwrap();
        for args in [&["verify", &broken][..], &["run", &broken, "at", "1"]] {
            contains(
                &fails(args),
                &[&broken, &format!("section {number}"), "checksum", "offset 0x"],
            );
        }
    }
}

#[test]
fn module_with_warnings_is_written() {
    let (object, out) = object("pack-warning", "const long table[3] = {1, 2, 3};");
    let output = smf(&["pack", &object, "-o", &out, "--layout", "native"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
    let warnings = text(&output.stderr);
    assert!(!warnings.is_empty() && warnings.lines().all(|l| l.starts_with("warning: ")));
    ok(&["verify", &out]);
}

/// One remedy applies to all warnings of a kind, and a person reads the first of many errors.
#[test]
fn messages_of_one_kind_are_counted() {
    use std::fmt::Write;
    let mut source = String::new();
    for number in 0..25 {
        writeln!(source, "int f{number}(void) {{ return {number}; }}").unwrap();
    }
    let (object, out) = object("pack-counted", &source);
    let copy = Path::new(&out).with_file_name("copy.o");
    fs::copy(&object, &copy).unwrap();
    let output = smf(&["pack", &object, copy.to_str().unwrap(), "-o", &out]);
    let errors = text(&output.stderr);
    assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 20), "{errors}");
    assert!(errors.lines().all(|line| line.starts_with("error: ")), "{errors}");
    assert!(errors.ends_with(" (and 5 more of this kind)\n"), "{errors}");

    let list = Path::new(&out).with_file_name("phases.list");
    for (count, expected) in [
        (1, ""),
        (3, " (and 2 more of this kind: absent1; absent2)"),
        (9, " (and 8 more of this kind: absent1; absent2; absent3; ...)"),
    ] {
        let phases: String = (0..count).map(|number| format!("absent{number} cold\n")).collect();
        fs::write(&list, phases).unwrap();
        let output = smf(&["pack", &object, "-o", &out, "--phases", list.to_str().unwrap()]);
        let expected = format!(
            "warning: `absent0` has a phase, but the module has no function of that name{expected}\n"
        );
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), expected));
    }
}

/// Without `--emit-relocs` a module has no relocations that its image makes superfluous.
#[test]
fn superfluous_relocations_are_emitted_on_request() {
    let source =
        "static long one(long x) { return x + 1; } static long two(long x) { return x + 2; }
        long (*table[])(long) = {one, two}; long names(long i) { return table[i & 1](i); }";
    let (object, out) = object("emit-relocs", source);
    let native = out.replace("out.smf", "native.smf");
    let mut sizes = Vec::new();
    for flags in [&[][..], &["-q"], &["--emit-relocs"], &["--reloadable"]] {
        ok(&[&["pack", &object, "-o", &out], flags].concat());
        assert_eq!(ok(&["run", &out, "names", "3"]), "5\n");
        assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
        let shown = inspected(&out);
        let relocs = shown["relocations"].as_array().unwrap();
        assert_eq!(relocs.len() >= 2, !flags.is_empty(), "{flags:?}");
        assert_eq!(shown["image"]["places"], 2, "{flags:?}");
        let listed = ok(&["inspect", "--relocs", &out]);
        let line = " .data, without relocations (2)\n";
        assert_eq!(listed.contains(line), flags.is_empty(), "{flags:?} {listed}");
        sizes.push(fs::metadata(&out).unwrap().len());
        if flags.is_empty() {
            let error = fails(&["convert", &out, "-o", &native, "--layout", "native"]);
            contains(&error, &["`--layout native`"]);
            contains(&fails(&["pack", &out, "-o", &native]), &["`--emit-relocs`"]);
        } else if flags[0] != "--reloadable" {
            for again in [&["pack"][..], &["convert", "--layout", "native"]] {
                let output = smf(&[again, &[&out, "-o", &native]].concat());
                assert!(output.status.success(), "{}", text(&output.stderr));
                assert_eq!(ok(&["run", &native, "names", "3"]), "5\n");
            }
        }
    }
    assert!(sizes[0] < sizes[1] && sizes[1] == sizes[2], "{sizes:?}");
}
