//! The `smf` command, driven from outside over the samples: what it prints, where, and with which
//! exit status.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

#[path = "cli/bytecode.rs"]
mod bytecode;
#[path = "cli/generic.rs"]
mod generic;

/// The samples that are sound.
const GOOD: [&str; 17] = [
    "app-native.smf",
    "app.smf",
    "bcod.smf",
    "compact.smf",
    "compressed-lz4.smf",
    "compressed-zstd.smf",
    "driver.smf",
    "dynlib.smf",
    "lib.smf",
    "library.lsm",
    "native-stub219.smf",
    "native.smf",
    "note-zero-size.smf",
    "packed-leading.smf",
    "packed.smf",
    "stub-cat.smf",
    "stub-declared.smf",
];

/// The samples that are not, and words that their real fault cannot be told without.
const BAD: [(&str, &[&str]); 18] = [
    ("align-3", &["section 0", "alignment 3", "power of two", "offset 0xd0"]),
    ("bad-section-index", &["symbol 0", "section 60", "offset 0x1d0"]),
    ("empty", &["empty"]),
    ("huge-bss", &["memory", "limit", "offset 0x110"]),
    ("many-sections", &["section table", "4294967295", "offset 0x399"]),
    ("many-symbols", &["symbol table", "2147483647", "offset 0x3a1"]),
    ("name-outside", &["symbol 0", "name", "0xffffff", "offset 0x1d0"]),
    ("not-smf", &["no magic"]),
    ("reloc-place", &["relocation 0", "0x5c", "outside", "offset 0x70"]),
    ("reloc-symbol", &["relocation 0", "symbol 5000", "offset 0x70"]),
    ("reloc-type", &["relocation 0", "type 99", "offset 0x70"]),
    ("section-outside", &["section 0", "inside the file", "offset 0xd0"]),
    ("short", &["no magic"]),
    ("size-over-virtual", &["section 0", "virtual_size", "offset 0xd0"]),
    ("symbol-outside", &["symbol 0", "0x200000000", "leave its section", "offset 0x1d0"]),
    ("table-outside", &["section table", "inside the file", "offset 0x399"]),
    ("table-wraps", &["section table", "inside the file", "offset 0x399"]),
    ("truncated", &["no magic"]),
];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples").join(name)
}

/// A directory of this test alone, empty.
fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs the command among the samples.
fn smf(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.args(args).current_dir(sample(".")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command prints that succeeds without a word on standard error.
#[track_caller]
fn ok(args: &[&str]) -> String {
    let output = smf(args);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    text(&output.stdout)
}

/// The one line on standard error of a command that fails and prints nothing else.
#[track_caller]
fn fails(args: &[&str]) -> String {
    let output = smf(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*out), (Some(1), ""), "{args:?}: {err}");
    assert!(err.starts_with("error: ") && err.ends_with('\n'), "{args:?}: {err:?}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    err
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn inspected(file: &str) -> Value {
    serde_json::from_str(&ok(&["inspect", "--json", file])).unwrap()
}

#[test]
fn every_good_sample_verifies_and_inspects() {
    for file in GOOD {
        assert_eq!(ok(&["verify", file]), format!("{file}: ok\n"));
        contains(&ok(&["inspect", file]), &[file, "bytes"]);
        assert_eq!(inspected(file)["file"], file);
    }
}

#[test]
fn every_bad_sample_says_what_is_wrong_with_it() {
    for (name, words) in BAD {
        let file = format!("bad/{name}.smf");
        for command in ["verify", "inspect", "run"] {
            let error = fails(&[command, &file]);
            contains(&error, words);
            contains(&error, &[&file]);
        }
        fails(&["inspect", "--json", &file]);
        fails(&["convert", &file, "-o", "/dev/null", "--layout", "native"]);
    }
}

#[test]
fn the_table_of_bad_samples_is_whole() {
    let mut names: Vec<_> = fs::read_dir(sample("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !matches!(&**name, "missing-import" | "wrong-arch" | "wrong-platform"))
        .collect();
    names.sort();
    assert_eq!(names, BAD.map(|(name, _)| name));
}

#[test]
fn modules_for_other_machines_are_shown_and_not_run() {
    for (file, key, found, words) in [
        ("bad/wrong-arch.smf", "arch", "riscv64", ["riscv64", std::env::consts::ARCH]),
        ("bad/wrong-platform.smf", "platform", "windows", ["windows", "linux"]),
    ] {
        assert_eq!(inspected(file)[key], found);
        ok(&["verify", file]);
        contains(&fails(&["run", file]), &words);
    }
}

#[test]
fn json_of_a_module_has_the_stable_keys_in_order() {
    let printed = ok(&["inspect", "--json", "packed.smf"]);
    let mut at = 0;
    for key in [
        "file",
        "size",
        "layout",
        "version",
        "platform",
        "arch",
        "flags",
        "compression",
        "entry_point",
        "stub_size",
        "data_offset",
        "sections",
        "symbols",
        "relocations",
        "templates",
        "note",
        "phases",
    ] {
        let quoted = format!("\"{key}\":");
        at += printed[at..].find(&quoted).unwrap_or_else(|| panic!("{key} after {at}"));
    }
    let shown: Value = serde_json::from_str(&printed).unwrap();
    let mut expected = json!({
        "file": "packed.smf", "size": 1029, "layout": "packed", "version": "1.1",
        "platform": "linux", "arch": "x86_64", "flags": ["executable"], "compression": "none",
        "entry_point": 0, "stub_size": 0, "data_offset": 0, "templates": [], "note": null,
    });
    let symbol = |name: &str, kind: &str, binding: &str, section: u32, value: u32, size: u32| {
        let exported = ["steady", "event_loop_anchor", "pinned"];
        let flags = if binding == "global" { &exported[..] } else { &[] };
        json!({"name": name, "kind": kind, "binding": binding, "defined": true, "section": section,
               "value": value, "size": size, "flags": flags, "template_params": 0})
    };
    let section = |index: u32, name: &str, kind: &str, flags: &str, place: [u32; 3]| {
        let [offset, size, alignment] = place;
        json!({"index": index, "name": name, "kind": kind, "flags": flags, "offset": offset,
               "size": size, "virtual_size": size, "alignment": alignment, "compressed": false})
    };
    let reloc = |offset: u32, symbol: &str, kind: &str, addend: i32| json!({"section": 0, "offset": offset, "symbol": symbol, "kind": kind, "addend": addend});
    expected["sections"] = json!([
        section(0, ".text", "code", "r-x", [0, 94, 16]),
        section(1, ".data", "data", "rw-", [96, 8, 16]),
        section(2, ".rodata", "rodata", "r--", [104, 8, 16]),
        section(3, ".rela", "reloc", "---", [112, 96, 8]),
    ]);
    expected["symbols"] = json!([
        symbol("answer", "function", "global", 0, 0, 6),
        symbol("add", "function", "global", 0, 16, 5),
        symbol("bump", "function", "global", 0, 32, 18),
        symbol("roget", "function", "global", 0, 64, 8),
        symbol("absload", "function", "global", 0, 80, 14),
        symbol("counter", "data", "local", 1, 0, 8),
        symbol("magic", "data", "local", 2, 0, 8),
    ]);
    expected["relocations"] = json!([
        reloc(35, "counter", "pc32", -4),
        reloc(45, "counter", "pc32", -4),
        reloc(67, "magic", "pc32", -4),
        reloc(82, "counter", "abs64", 0),
    ]);
    let phase = |phase: &str, [functions, bytes, pages]: [u32; 3]| json!({"phase": phase, "functions": functions, "bytes": bytes, "pages": pages, "pages_packed": pages});
    expected["phases"] = json!([
        phase("startup", [0, 0, 0]),
        phase("first_frame", [0, 0, 0]),
        phase("steady", [5, 51, 1]),
        phase("cold", [0, 0, 0]),
    ]);
    assert_eq!(shown, expected);
}

#[test]
fn json_shows_imports_templates_notes_and_bytecode() {
    let app = inspected("app.smf");
    let scale = app["symbols"].as_array().unwrap().iter().find(|s| s["name"] == "scale").unwrap();
    assert_eq!((&scale["defined"], &scale["section"]), (&json!(false), &Value::Null));
    let note = inspected("note-zero-size.smf");
    assert_eq!(
        note["templates"],
        json!([
            {"name": "identity", "kind": "function", "params": 1},
            {"name": "Pair", "kind": "struct", "params": 2},
            {"name": "max", "kind": "function", "params": 1},
        ])
    );
    assert_eq!(note["note"]["possible"][1]["required_by"], "quote \"here\", comma");
    let compact = inspected("compact.smf");
    let unknown = |name: &str| json!({"name": name, "kind": "unknown", "params": 0});
    assert_eq!(compact["templates"], json!([unknown("Vec"), unknown("List")]));
    let bytecode = inspected("bcod.smf");
    assert_eq!(bytecode["symbols"][1]["name"], "sum");
    assert_eq!(bytecode["functions"][1]["params"], 1);
    assert_eq!(inspected("dynlib.smf")["layout"], "dynlib");
}

#[test]
fn json_of_an_archive_lists_its_modules() {
    let shown = inspected("library.lsm");
    let module = |name: &str, offset: u32, size: u32, hash: &str| json!({"name": name, "offset": offset, "size": size, "hash": hash});
    let expected = json!({
        "file": "library.lsm", "size": 1524, "layout": "library", "modules": [
            module("std/math/scale", 512, 263, "0xbc3de6432d3b324a"),
            module("app/main", 775, 530, "0x345da8812c705898"),
            module("legacy/stub", 1305, 219, "0x39f02b75009b3986"),
        ],
    });
    assert_eq!(shown, expected);
    let listed: Value =
        serde_json::from_str(&ok(&["lib", "list", "--json", "library.lsm"])).unwrap();
    assert_eq!(listed, expected);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn functions_give_the_results_that_the_samples_promise() {
    for (args, result) in [
        (&["packed.smf", "answer"][..], "42"),
        (&["packed.smf", "add", "2", "3"], "5"),
        (&["packed.smf", "add", "-2", "-0x10"], "-18"),
        (&["packed.smf", "add", "0x7fffffffffffffff", "1"], "-9223372036854775808"),
        (&["packed.smf", "add", "0xffffffffffffffff", "0"], "-1"),
        (&["packed.smf", "add", "18446744073709551615", "2"], "1"),
        (&["packed.smf", "add", "--", "-1", "-0x1"], "-2"),
        (&["packed.smf", "bump", "5"], "105"),
        (&["packed.smf", "roget"], "7777"),
        (&["packed.smf", "absload"], "100"),
        (&["packed.smf"], "42"),
        (&["native.smf", "answer"], "42"),
        (&["native.smf", "bump", "-1"], "99"),
        (&["native-stub219.smf"], "0"),
        (&["native-stub219.smf", "main"], "0"),
        (&["lib.smf", "scale", "14"], "42"),
        // An executable module without `main` begins at its first function; nothing given is 0.
        (&["lib.smf"], "0"),
        (&["packed.smf", "add", "7"], "7"),
        (&["stub-declared.smf", "answer"], "42"),
        (&["stub-cat.smf", "answer"], "42"),
        (&["packed-leading.smf", "answer"], "42"),
        (&["driver.smf"], "42"),
        (&["note-zero-size.smf", "main"], "42"),
        (&["app.smf", "direct", "7", "--with", "lib.smf"], "21"),
        (&["app.smf", "through_got", "7", "--with", "lib.smf"], "21"),
        (&["app.smf", "direct", "-0x10", "--with", "library.lsm"], "-48"),
        (&["--with", "lib.smf", "app.smf", "through_got", "1"], "3"),
        (&["app-native.smf", "direct", "7", "--with", "lib.smf"], "21"),
        (&["app-native.smf", "through_got", "7", "--with=library.lsm"], "21"),
        (&["dynlib.smf", "plugin", "37"], "42"),
    ] {
        let args: Vec<_> = std::iter::once(&"run").chain(args).copied().collect();
        assert_eq!(ok(&args), format!("{result}\n"), "{args:?}");
    }
}

#[test]
fn what_cannot_run_says_why() {
    for (args, words) in [
        (&["bcod.smf", "sum"][..], &["bcod.smf", "takes 1 arguments, and 0 are given"][..]),
        (&["bcod.smf"], &["no entry point", "answer, sum"]),
        (&["bcod.smf", "nothing"], &["no function `nothing`", "answer, sum"]),
        (&["dynlib.smf"], &["dynlib.smf", "no entry point"]),
        (&["dynlib.smf", "nothing"], &["no function `nothing`"]),
        (&["library.lsm"], &["archive of 3 modules", "smf lib"]),
        (&["compact.smf"], &["no code"]),
        (&["absent.smf"], &["absent.smf", "no such file"]),
        (&["."], &["directory"]),
        (&["packed.smf", "--with", "absent.smf"], &["absent.smf", "no such file"]),
        (&["packed.smf", "--host-library", "no-such-lib"], &["no-such-lib"]),
    ] {
        let args: Vec<_> = std::iter::once(&"run").chain(args).copied().collect();
        contains(&fails(&args), words);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_name_that_cannot_be_called_is_told_from_those_that_can() {
    for (file, name, words) in [
        ("packed.smf", "nope", &["no function `nope`", "answer, add, bump"][..]),
        ("packed.smf", "counter", &["`counter` is no function", "data"]),
        ("packed.smf", "answ", &["no function `answ`"]),
        ("lib.smf", "direct", &["no function `direct`", "scale"]),
    ] {
        contains(&fails(&["run", file, name]), words);
    }
    contains(&fails(&["run", "app.smf", "scale", "--with", "lib.smf"]), &["`scale` is an import"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn missing_imports_are_named_with_who_wants_them() {
    for file in ["bad/missing-import.smf", "app.smf"] {
        contains(&fails(&["run", file, "direct", "1"]), &["`scale`", &format!("wanted by {file}")]);
    }
    let with = fails(&["run", "app.smf", "direct", "1", "--with", "native.smf"]);
    contains(&with, &["`scale` (wanted by app.smf)"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_result_can_be_the_exit_status() {
    for (sum, status) in [(["2", "3"], 5), (["0x100", "7"], 7), (["0", "-1"], 255)] {
        let output = smf(&["run", "--exit", "packed.smf", "add", sum[0], sum[1]]);
        assert_eq!(output.status.code(), Some(status));
        assert!(!output.stdout.is_empty());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn times_go_to_standard_error() {
    let output = smf(&["run", "packed.smf", "answer", "--time"]);
    assert_eq!(text(&output.stdout), "42\n");
    contains(&text(&output.stderr), &["load ", "link ", "call ", " us"]);
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["run"],
        &["run", "packed.smf", "add", "one"],
        &["run", "packed.smf", "add", "1.5"],
        &["run", "packed.smf", "add", "18446744073709551616"],
        &["run", "packed.smf", "add", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        &["run", "packed.smf", "--frobnicate"],
        &["inspect"],
        &["verify"],
        &["convert", "packed.smf", "--layout", "native"],
        &["convert", "packed.smf", "-o", "x", "--layout", "compact"],
        &["prefetch"],
        &["prefetch", "-"],
        &["prefetch", "packed.smf", "--threads", "many"],
        &["prefetch", "packed.smf", "--threads", "-1"],
        &["lib", "create", "-o", "x", "noequals"],
        &["lib", "create", "-o", "x", "=file"],
        &["completions", "nosuchshell"],
    ] {
        let output = smf(args);
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn help_and_version_are_results() {
    contains(&ok(&["--version"]), &["smf ", env!("CARGO_PKG_VERSION")]);
    let commands = ["run", "inspect", "verify", "pack", "convert", "strip-stub", "lib", "note"];
    for command in commands.into_iter().chain(["prefetch"]) {
        contains(&ok(&["--help"]), &[command]);
        contains(&ok(&[command, "--help"]), &["Usage:"]);
    }
    contains(&ok(&["run", "--help"]), &["--host-symbols", "--exit", "--time", "--with"]);
    for shell in ["bash", "zsh", "fish"] {
        contains(&ok(&["completions", shell]), &["host-library"]);
    }
    contains(&ok(&["man"]), &[".TH", "smf"]);
    contains(&ok(&["man", "run"]), &[".TH", "host"]);
    contains(&fails(&["man", "nope"]), &["nope"]);
}

/// Runs the command with `input` on its standard input.
fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_smf"))
        .args(args)
        .current_dir(sample("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_dash_is_standard_input_and_output() {
    let packed = fs::read(sample("packed.smf")).unwrap();
    assert_eq!(text(&fed(&["verify", "-"], &packed).stdout), "-: ok\n");
    let shown: Value =
        serde_json::from_slice(&fed(&["inspect", "--json", "-"], &packed).stdout).unwrap();
    assert_eq!((&shown["file"], &shown["size"]), (&json!("-"), &json!(1029)));
    let empty = fed(&["inspect", "-"], b"");
    assert_eq!(text(&empty.stderr), "error: -: the file is empty, at offset 0x0\n");
    let native = fed(&["convert", "-", "-o", "-", "--layout", "native"], &packed).stdout;
    assert_eq!(text(&fed(&["verify", "-"], &native).stdout), "-: ok\n");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(text(&fed(&["run", "-", "add", "1", "2"], &packed).stdout), "3\n");
        let app = fs::read(sample("app.smf")).unwrap();
        let output = fed(&["run", "-", "direct", "2", "--with", "lib.smf"], &app);
        assert_eq!(text(&output.stdout), "6\n");
    }
}

#[test]
fn verify_reports_every_file() {
    let output = smf(&["verify", "packed.smf", "bad/empty.smf", "absent", "library.lsm"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "packed.smf: ok\nlibrary.lsm: ok\n");
    let errors = text(&output.stderr);
    assert_eq!(errors.lines().count(), 2);
    assert_eq!(
        errors.lines().next(),
        Some("error: bad/empty.smf: the file is empty, at offset 0x0")
    );
    contains(&errors, &["error: absent: "]);
}

#[test]
fn verify_looks_into_archives() {
    let directory = scratch("archive");
    let original = fs::read(sample("library.lsm")).unwrap();
    let path = directory.join("damaged.lsm");
    let path_text = path.to_str().unwrap();
    let mut damaged = original.clone();
    damaged[600] ^= 1;
    fs::write(&path, &damaged).unwrap();
    contains(&fails(&["verify", path_text]), &["module 0", "hash", "offset 0x"]);
    // A module that was broken before it was put into an archive has its true hash.
    let bad = sample("bad/reloc-type.smf");
    let member = format!("broken={}", bad.display());
    ok(&["lib", "create", "-o", path_text, "good=packed.smf", &member]);
    contains(&fails(&["verify", path_text]), &["module `broken`", "type 99", "offset 0x70"]);
}

#[test]
fn prefetch_sums_up_and_reports_every_file_that_failed() {
    let output = smf(&["prefetch", "packed.smf", "bad", "library.lsm", "absent", "packed.smf"]);
    assert_eq!(output.status.code(), Some(1));
    let size = |name: &str| fs::metadata(sample(name)).unwrap().len();
    let bytes = 2 * size("packed.smf") + size("library.lsm");
    let summary = text(&output.stdout);
    assert!(summary.starts_with(&format!("3 files, {bytes} bytes, ")), "{summary}");
    assert!(summary.ends_with(" MB/s, 2 failed\n") && summary.contains(" ms, "), "{summary}");
    let errors = text(&output.stderr);
    let errors: Vec<_> = errors.lines().collect();
    assert_eq!(errors.len(), 2);
    contains(errors[0], &["error: bad: not a regular file but a directory; name the files in it"]);
    contains(errors[1], &["error: absent: ", "no such file"]);
    contains(&ok(&["prefetch", "packed.smf", "--threads", "0x2"]), &["1 file, 1029 bytes, "]);
    contains(&ok(&["prefetch", "--help"]), &["page cache", "64 MiB", "Directories are refused"]);
    let dash = smf(&["prefetch", "packed.smf", "-"]);
    contains(&text(&dash.stderr), &["standard input is no file", "`./-`"]);
}

#[test]
fn prefetch_shows_the_statistics_as_json() {
    let args = ["prefetch", "--json", "packed.smf", "absent", "packed.smf", "--threads", "1"];
    let output = smf(&args);
    assert_eq!(output.status.code(), Some(1));
    let order = [
        "\"files\":2",
        "\"bytes\":2058",
        "\"failed\":1",
        "\"threads\":1",
        "\"time\":",
        "\"bytes_per_second\":",
        "\"cache\":{\"files\":1,\"bytes\":1029,\"peak_bytes\":1029,\"hits\":1,\"misses\":2",
        "\"hit_rate\":0.333",
        "\"evictions\":0",
        "\"load_time\":{\"mean\":",
        "\"p50\":",
        "\"p90\":",
        "\"p99\":",
        "\"bytes_over_time\":[{\"at\":",
        "\"failures\":[{\"file\":\"absent\",\"error\":\"cannot open the file: no such file",
    ];
    let text = text(&output.stdout);
    let places =
        order.map(|key| text.find(key).unwrap_or_else(|| panic!("{key} is not in {text}")));
    assert!(places.is_sorted() && text.ends_with("}\n"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let time = |key: &str| shown["cache"]["load_time"][key].as_f64().unwrap();
    assert!(time("mean") > 0.0 && time("p50") <= time("p99"));
    let empty: Value = serde_json::from_slice(&smf(&["prefetch", "--json", "x"]).stdout).unwrap();
    assert_eq!((&empty["cache"]["hit_rate"], &empty["failed"]), (&json!(0.0), &json!(1)));
    assert_eq!(empty["cache"]["load_time"]["mean"], Value::Null);
}

#[test]
fn prefetch_takes_more_files_and_larger_ones_than_it_holds() {
    let directory = scratch("prefetch");
    let files: Vec<String> = (0..200)
        .map(|number| {
            let path = directory.join(format!("{number}"));
            fs::write(&path, [1; 100]).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let large = directory.join("large");
    // Larger than the whole cache; nothing of it is on the disk.
    let size = (64 << 20) + 1;
    fs::File::create(&large).unwrap().set_len(size).unwrap();
    let mut args = vec!["prefetch", "--json", large.to_str().unwrap()];
    args.extend(files.iter().map(String::as_str));
    let shown: Value = serde_json::from_str(&ok(&args)).unwrap();
    assert_eq!((&shown["files"], &shown["bytes"]), (&json!(201), &json!(size + 20_000)));
    let cache = &shown["cache"];
    assert_eq!((&cache["files"], &cache["evictions"]), (&json!(64), &json!(136)));
}

#[test]
fn converted_modules_hold_the_same() {
    let directory = scratch("convert");
    for file in GOOD.iter().filter(|file| !matches!(**file, "library.lsm" | "dynlib.smf")) {
        for layout in ["packed", "native"] {
            let out = directory.join(format!("{layout}-{file}"));
            let out = out.to_str().unwrap();
            let output = smf(&["convert", file, "-o", out, "--layout", layout]);
            assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
            assert!(text(&output.stderr).lines().all(|line| line.starts_with("dropped: ")));
            ok(&["verify", out]);
            assert_eq!(inspected(out)["layout"], layout);
            assert_eq!(inspected(out)["note"], inspected(file)["note"]);
            assert_eq!(inspected(out)["templates"], inspected(file)["templates"]);
        }
    }
    if cfg!(target_arch = "x86_64") {
        let native = directory.join("native-packed.smf");
        assert_eq!(ok(&["run", native.to_str().unwrap(), "bump", "1"]), "101\n");
        let packed = directory.join("packed-app-native.smf");
        let run = ["run", packed.to_str().unwrap(), "direct", "2", "--with", "lib.smf"];
        assert_eq!(ok(&run), "6\n");
    }
    contains(&fails(&["convert", "dynlib.smf", "-o", "x", "--layout", "native"]), &["dynlib"]);
    contains(&fails(&["convert", "library.lsm", "-o", "x", "--layout", "native"]), &["archive"]);
}

#[test]
fn what_a_layout_cannot_say_is_reported() {
    let output = smf(&["convert", "stub-declared.smf", "-o", "/dev/null", "--layout", "native"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stderr), "dropped: stub of 22 bytes\n");
}

#[test]
fn stubs_come_off_and_modules_out() {
    let directory = scratch("stub");
    let out = directory.join("out");
    let out_text = out.to_str().unwrap();
    for command in ["strip-stub", "extract"] {
        for file in ["stub-declared.smf", "stub-cat.smf"] {
            ok(&[command, file, "-o", out_text]);
            let shown = inspected(out_text);
            assert_eq!((&shown["size"], &shown["data_offset"]), (&json!(264), &json!(0)));
            assert!(shown.get("base").is_none());
            if cfg!(target_arch = "x86_64") {
                assert_eq!(ok(&["run", out_text, "answer"]), "42\n");
            }
        }
        ok(&[command, "packed.smf", "-o", out_text]);
        assert_eq!(fs::read(&out).unwrap(), fs::read(sample("packed.smf")).unwrap());
    }
    ok(&["extract", "dynlib.smf", "-o", out_text]);
    let object = fs::read(&out).unwrap();
    assert!(object.starts_with(b"\x7fELF") && object.len() == 13184 - 128);
    contains(&fails(&["strip-stub", "dynlib.smf", "-o", out_text]), &["smf extract"]);
    assert_eq!(fs::read(&out).unwrap(), object);
}

#[test]
fn a_program_in_front_stays_executable() {
    use std::os::unix::fs::PermissionsExt;
    let directory = scratch("executable");
    let (hybrid, out) = (directory.join("hybrid"), directory.join("out"));
    fs::copy(sample("stub-declared.smf"), &hybrid).unwrap();
    let execute = || fs::metadata(&out).unwrap().permissions().mode() & 0o111 != 0;
    let convert = || {
        let (hybrid, out) = (hybrid.to_str().unwrap(), out.to_str().unwrap());
        ok(&["convert", hybrid, "-o", out, "--layout", "packed"]);
    };
    fs::set_permissions(&hybrid, fs::Permissions::from_mode(0o755)).unwrap();
    convert();
    assert!(execute());
    fs::set_permissions(&hybrid, fs::Permissions::from_mode(0o644)).unwrap();
    convert();
    assert!(!execute());
}

#[test]
fn archives_are_made_listed_and_taken_apart() {
    let directory = scratch("lib");
    let (archive, out) = (directory.join("a.lsm"), directory.join("out.smf"));
    let (archive, out) = (archive.to_str().unwrap(), out.to_str().unwrap());
    ok(&["lib", "create", "-o", archive, "math/scale=lib.smf", "app=app.smf", "p=packed.smf"]);
    contains(&ok(&["lib", "list", archive]), &["math/scale", "app"]);
    assert_eq!(ok(&["verify", archive]), format!("{archive}: ok\n"));
    ok(&["lib", "extract", archive, "app", "-o", out]);
    assert_eq!(fs::read(out).unwrap(), fs::read(sample("app.smf")).unwrap());
    if cfg!(target_arch = "x86_64") {
        assert_eq!(ok(&["run", "app.smf", "direct", "2", "--with", archive]), "6\n");
    }
    contains(&fails(&["lib", "extract", archive, "nope", "-o", out]), &["no module `nope`"]);
    contains(&fails(&["lib", "list", "packed.smf"]), &["LSMF"]);
    contains(&fails(&["lib", "create", "-o", out, "a=lib.smf", "a=app.smf"]), &["same name"]);
    contains(&fails(&["lib", "create", "-o", out, "a=bad/empty.smf"]), &["bad/empty.smf"]);
    let long = format!("{}=lib.smf", "x".repeat(64));
    contains(&fails(&["lib", "create", "-o", out, &long]), &["63"]);
}

#[test]
fn notes_are_shown_as_they_stand_and_as_json() {
    let file = fs::read(sample("note-zero-size.smf")).unwrap();
    let note = ok(&["note", "note-zero-size.smf"]);
    assert!(file.windows(note.len()).any(|window| window == note.as_bytes()));
    contains(&note, &["possible |", "# END_NOTE"]);
    let shown: Value = serde_json::from_str(&ok(&["note", "--json", "driver.smf"])).unwrap();
    assert_eq!(shown, inspected("driver.smf")["note"]);
    assert_eq!(shown["possible"][0]["template"], "Map");
    contains(&fails(&["note", "packed.smf"]), &["no note.sdn"]);
    contains(&fails(&["note", "--json", "packed.smf"]), &["no note.sdn"]);
}

#[test]
fn compressed_notes_and_templates_are_shown_as_if_they_were_not() {
    for file in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        contains(
            &ok(&["note", file]),
            &["possible |id, template,", "\"fn$List$Int5\"", "# END_NOTE"],
        );
        let shown: Value = serde_json::from_str(&ok(&["note", "--json", file])).unwrap();
        assert_eq!(shown, inspected(file)["note"]);
        assert_eq!(shown["possible"][5]["mangled_name"], "fn$List$Int5");
        assert_eq!(inspected(file)["templates"][3]["name"], "identity_of_everything");
        contains(&ok(&["inspect", file]), &["identity_of_everything", "fn$List$Int5"]);
    }
}

#[test]
fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = |args: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        let command = command.args(args).current_dir(sample(".")).stdout(out);
        command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    for args in [&["inspect", "packed.smf"][..], &["inspect", "--json", "packed.smf"], &["man"]] {
        let output = run(args, writer.try_clone().unwrap().into());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(args, full.into());
        assert_eq!(output.status.code(), Some(1));
        contains(&text(&output.stderr), &["error: cannot write to standard output"]);
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let args = ["convert", "packed.smf", "-o", "absent/out", "--layout", "native"];
    contains(&fails(&args), &["absent/out", "cannot write"]);
    contains(&fails(&["extract", "packed.smf", "-o", "bad"]), &["bad: cannot write"]);
}

#[test]
fn a_name_with_a_line_feed_stays_on_its_line() {
    contains(&fails(&["verify", "ab\nsent\u{1b}[2J"]), &["ab\\nsent\\u{1b}[2J: "]);
}

#[cfg(target_arch = "x86_64")]
mod packing {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// An object of this C source, and the path that a module may have beside it.
    fn object(test: &str, source: &str) -> (String, String) {
        compiled(test, source, &["-O2"])
    }

    fn compiled(test: &str, source: &str, flags: &[&str]) -> (String, String) {
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
    fn an_object_becomes_a_module_in_either_layout() {
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
    fn a_watched_program_goes_on_in_its_new_version() {
        use std::io::{BufRead, BufReader};
        let version =
            |factor: u32| format!("long n = 5; long next(void) {{ return {factor} * n++; }}");
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
        assert_eq!(reported(), format!("reloaded: {out}: 1 data moved, 8 bytes"));
        let error = reported();
        assert!(error.starts_with(&format!("error: {out}: ")), "{error}");
        pack(&newest, &["--reloadable"]);
        assert_eq!(line(), "700");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn phases_out_of_a_file_order_the_code() {
        use std::fmt::Write;
        let mut source = String::from("long v[64];\n");
        for function in 0..40 {
            let body: String = (0..40).map(|n| format!("v[{}] += {n} * x; ", n % 64)).collect();
            writeln!(source, "long f{function}(long x) {{ {body} return x + {function}; }}")
                .unwrap();
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
        let scattered =
            "# what starts\nf0 startup\nf13 startup\nf26 startup\nf39 startup\nf5 cold\n";
        fs::write(&list, scattered).unwrap();
        let list = list.to_str().unwrap();
        let [startup, _, _, cold] = phases(&["--phases", list]).try_into().unwrap();
        assert_eq!((startup[0], cold[0]), (4, 1));
        assert!(startup[1] == startup[2] && startup[1] < 4, "{startup:?}");
        assert_eq!(ok(&["run", &out, "f39", "3"]), "42\n");
        contains(&ok(&["inspect", &out]), &["layout phases, in pages of 4 KiB (3)", " startup\n"]);

        fs::write(list, "f0 soon\n").unwrap();
        let error = fails(&["pack", &object, "-o", &out, "--phases", list]);
        contains(&error, &["line 1: no phase is called `soon`"]);
        let hinted = ["pack", &object, "-o", &out, "--prefetch", "2"];
        ok(&hinted);
        let with = ["run", &out, "f1", "41", "--with", "lib.smf", "--with", "library.lsm"];
        assert_eq!(ok(&with), "42\n");
        let file = fs::read(&out).unwrap();
        let smf = smf_core::format::Smf::parse(&file).unwrap();
        assert_eq!(smf.header().files_to_prefetch(), 2);
    }

    #[test]
    fn a_script_line_as_stub_makes_the_module_a_command() {
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
    fn what_cannot_be_packed_is_refused_and_writes_nothing() {
        let (object, out) = object("pack-refused", ADD);
        contains(&fails(&["pack", "lib.smf", "-o", &out]), &["lib.smf", "not a relocatable"]);
        contains(&fails(&["pack", &object, "-o", &out, "--entry", "nope"]), &["nope"]);
        let twice = fails(&["pack", &object, &object, "-o", &out]);
        contains(&twice, &["add"]);
        let stub = fails(&["pack", &object, "-o", &out, "--layout", "native", "--stub", "app.smf"]);
        contains(&stub, &["stub"]);
        assert!(!Path::new(&out).exists());
    }

    #[test]
    fn compressed_modules_are_like_others_to_every_command() {
        let source = "long table[1000] = {[10] = 42, [999] = 7}; const long constants[1000] = {5};
                      long at(long i) { return table[i] + constants[i]; }";
        let (object, out) = object("pack-compress", source);
        let other = |name: &str| Path::new(&out).with_file_name(name).to_str().unwrap().to_owned();
        let (converted, library, taken) =
            (other("converted.smf"), other("all.lsm"), other("one.smf"));
        let (plain, broken) = (other("plain.smf"), other("broken.smf"));
        ok(&["pack", &object, "-o", &plain]);
        for algorithm in ["zstd", "lz4"] {
            ok(&["pack", &object, "-o", &out, "--compress", algorithm]);
            assert!(
                fs::metadata(&out).unwrap().len() + 15_000 < fs::metadata(&plain).unwrap().len()
            );
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
                assert_eq!(
                    (&data["compressed"], &data["virtual_size"]),
                    (&json!(true), &json!(8000))
                );
                assert!(data["size"].as_u64().unwrap() < 200);
                let code = sections.iter().find(|section| section["kind"] == "code").unwrap();
                assert_eq!(code["compressed"], json!(false));
                contains(&ok(&["inspect", file]), &["(compressed)"]);
            }
            // What does not decompress verifies as little as it runs.
            let mut bytes = fs::read(&out).unwrap();
            let data = &inspected(&out)["sections"][2];
            let (start, size) = (data["offset"].as_u64().unwrap(), data["size"].as_u64().unwrap());
            bytes[usize::try_from(start + size).unwrap() - 1] ^= 1;
            fs::write(&broken, bytes).unwrap();
            for args in [&["verify", &broken][..], &["run", &broken, "at", "1"]] {
                contains(&fails(args), &[&broken, "section 2", "checksum", "offset 0x"]);
            }
        }
    }

    #[test]
    fn warnings_do_not_keep_a_module_from_being_written() {
        let (object, out) = object("pack-warning", "const long table[3] = {1, 2, 3};");
        let output = smf(&["pack", &object, "-o", &out, "--layout", "native"]);
        assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b""[..]));
        let warnings = text(&output.stderr);
        assert!(!warnings.is_empty() && warnings.lines().all(|l| l.starts_with("warning: ")));
        ok(&["verify", &out]);
    }
}

#[cfg(target_arch = "x86_64")]
mod host {
    use super::*;
    use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};

    /// A module whose function `f` calls the import `callee` with what it was given.
    fn calls(callee: &str) -> Vec<u8> {
        const CODE: [u8; 14] = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
        let relocs = [Reloc { offset: 5, symbol: 1, kind: RelocKind::Plt32, addend: -4 }];
        let section = |kind, name, payload| NewSection {
            kind,
            name,
            flags: SectionFlags(SectionFlags::READ | SectionFlags::EXECUTE),
            alignment: 16,
            virtual_size: None,
            payload,
        };
        let symbol = |name, place| NewSymbol { name, place, ..NewSymbol::default() };
        let module = Module {
            layout: Layout::Packed,
            header: Header::default(),
            stub: &[],
            sections: &[
                section(SectionKind::Code, b".text", Payload::Bytes(&CODE)),
                section(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
            ],
            symbols: &[symbol(b"f", Place::Section(0)), symbol(callee.as_bytes(), Place::Import)],
        };
        module.to_vec().unwrap()
    }

    fn file(test: &str, callee: &str) -> String {
        let path = scratch(test).join("calls.smf");
        fs::write(&path, calls(callee)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn libc_provides_what_no_module_does() {
        let file = file("libc", "labs");
        assert_eq!(ok(&["run", &file, "f", "-5", "--host-symbols"]), "5\n");
        contains(&fails(&["run", &file, "f", "-5"]), &["`labs`"]);
        contains(&fails(&["run", &file, "--host-symbols"]), &["no entry point", "exports f"]);
    }

    #[test]
    fn named_libraries_provide_their_own() {
        let file = file("libm", "fegetround");
        assert_eq!(ok(&["run", &file, "f", "--host-library", "m"]), "0\n");
    }

    #[test]
    fn what_c_code_printed_comes_before_the_result() {
        let file = file("stdio", "putchar");
        assert_eq!(ok(&["run", &file, "f", "65", "--host-symbols"]), "A65\n");
    }
}
