//! `smf verify`, `inspect` and `run` on every valid and invalid sample.

use std::fs;

use super::{GOOD, contains, fails, inspected, ok, sample, smf, text};

/// The invalid samples, and words that the error must contain.
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
    ("symbol-outside", &["symbol 0", "0x200000000", "exceed its section", "offset 0x1d0"]),
    ("table-outside", &["section table", "inside the file", "offset 0x399"]),
    ("table-wraps", &["section table", "inside the file", "offset 0x399"]),
    ("truncated", &["no magic"]),
];

#[test]
fn good_samples_verify_and_inspect() {
    for file in GOOD {
        assert_eq!(ok(&["verify", file]), format!("{file}: ok\n"));
        contains(&ok(&["inspect", file]), &[file, "bytes"]);
        assert_eq!(inspected(file)["file"], file);
    }
}

#[test]
fn bad_samples_are_refused_with_their_fault() {
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

/// The names and lengths of the samples in a directory below theirs.
fn files(below: &str) -> Vec<(String, u64)> {
    let entries = fs::read_dir(sample(below)).unwrap().map(Result::unwrap);
    let is_sample = |name: &str| name.ends_with(".smf") || name.ends_with(".lsm");
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (format!("{below}{name}"), entry.metadata().unwrap().len())
    });
    files.filter(|(name, _)| is_sample(name)).collect()
}

/// The samples were built byte by byte and are never written again.
#[test]
fn samples_are_listed_with_their_lengths() {
    let list = fs::read_to_string(sample("EXPECTED.md")).unwrap();
    let rows = list.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        Some((cells.next()?.to_owned(), cells.next()?.parse::<u64>().ok()?))
    });
    let mut listed: Vec<_> = rows.collect();
    let mut found = [files(""), files("bad/")].concat();
    listed.sort();
    found.sort();
    assert_eq!(found, listed);
}

/// A malformed sample may succeed or end with one line; it never ends by a signal.
#[test]
fn samples_are_inspected_and_verified_or_refused_in_one_line() {
    for (name, _) in [files(""), files("bad/")].concat() {
        for command in [&["inspect"][..], &["inspect", "--json"], &["verify"]] {
            let output = smf(&[command, &[&name]].concat());
            let errors = text(&output.stderr);
            let is_refused = errors.starts_with("error: ") && errors.lines().count() == 1;
            let is_fine = match output.status.code() {
                Some(0) => true,
                Some(1) => name.starts_with("bad/") && is_refused,
                _ => false,
            };
            assert!(is_fine, "{name}: {command:?}: {}: {errors}", output.status);
        }
    }
}

#[test]
fn table_of_bad_samples_is_complete() {
    let mut names: Vec<_> = fs::read_dir(sample("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !matches!(&**name, "missing-import" | "wrong-arch" | "wrong-platform"))
        .collect();
    names.sort();
    assert_eq!(names, BAD.map(|(name, _)| name));
}

#[test]
fn module_for_another_machine_inspects_but_does_not_run() {
    for (file, key, found, words) in [
        ("bad/wrong-arch.smf", "arch", "riscv64", ["riscv64", std::env::consts::ARCH]),
        ("bad/wrong-platform.smf", "platform", "windows", ["windows", "linux"]),
    ] {
        assert_eq!(inspected(file)[key], found);
        ok(&["verify", file]);
        contains(&fails(&["run", file]), &words);
    }
}
