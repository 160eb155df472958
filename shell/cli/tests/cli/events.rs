//! The log of events that `SMF_LOG` asks for.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};

use super::skip::skip;
use super::{sample, scratch, text};

fn run(arguments: &[&str], form: &str) -> String {
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.env("SMF_LOG", "info").env("SMF_LOG_FORMAT", form);
    text(&smf.args(arguments).output().unwrap().stderr)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn loads_and_refusals_are_lines() {
    let (app, lib) = (sample("app.smf"), sample("lib.smf"));
    let [app, lib] = [&app, &lib].map(|path| path.to_str().unwrap());
    let said = run(&["run", app, "direct", "14", "--with", lib], "text");
    let lines: Vec<&str> = said.lines().collect();
    let starts = |start: String| lines.iter().any(|line| line.starts_with(&start));
    for module in [app, lib] {
        assert!(starts(format!("smf: link module={module} code_bytes=")), "{said}");
        assert!(starts(format!("smf: load module={module}")), "{said}");
    }

    let said = run(&["run", app, "direct", "14"], "json");
    let events = said.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events.map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = events.iter().find(|event| event["event"] == "refuse").unwrap();
    assert_eq!(refused["module"], app);
    assert!(refused["error"].as_str().unwrap().contains("scale"), "{said}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn names_are_escaped_once() {
    let directory = scratch("events-names");
    for (name, shown) in [("ü中.smf", "ü中.smf"), ("a \\.smf", "a \\\\.smf")] {
        let path = directory.join(name);
        fs::copy(sample("packed.smf"), &path).unwrap();
        let path = path.to_str().unwrap();
        let said = run(&["run", path, "answer"], "json");
        let events: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(events.iter().all(|event| event["module"] == path), "{said}");
        let said = run(&["run", path, "answer"], "text");
        let quote = if name.contains(' ') { "\"" } else { "" };
        let module = format!("module={quote}{}/{shown}{quote} ", directory.display());
        assert!(said.lines().all(|line| line.contains(&module)), "{module}: {said}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn instances_are_lines() {
    let records = sample("records.smf");
    let said = run(&["jit", records.to_str().unwrap(), "max$i64", "3", "4"], "text");
    assert!(said.lines().any(|line| line.starts_with("smf: instance symbol=")), "{said}");
}

#[test]
fn nothing_is_logged_by_default() {
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.env_remove("SMF_LOG").args(["run", sample("bcod.smf").to_str().unwrap(), "answer"]);
    assert_eq!(text(&smf.output().unwrap().stderr), "");
}

#[test]
fn unknown_level_or_form_is_reported_once() {
    let module = sample("bcod.smf");
    for (level, form, expected) in [
        ("debug", "", "smf: SMF_LOG is `debug`, which is unknown; known: info\n"),
        ("", "xml", ""),
        ("info", "xml", "smf: SMF_LOG_FORMAT is `xml`, which is unknown; known: text, json\nsmf: "),
        ("info", "", "smf: l"),
    ] {
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        smf.env("SMF_LOG", level).env("SMF_LOG_FORMAT", form);
        smf.args(["run", module.to_str().unwrap(), "answer"]);
        let said = text(&smf.output().unwrap().stderr);
        assert!(said.starts_with(expected), "{level}, {form}: {said}");
        assert!(said.matches("unknown").count() <= 1, "{said}");
        assert_eq!(level == "info", said.contains("smf: load "), "{said}");
    }
}

/// Found: any value but 0 enabled them.
#[cfg(target_arch = "x86_64")]
#[test]
fn unknown_value_does_not_enable_a_tool() {
    for tool in ["SMF_PERF_MAP", "SMF_GDB"] {
        for (value, said) in [("no", true), ("0", false), ("", false)] {
            let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
            smf.env(tool, value).env_remove("SMF_LOG").current_dir(sample("."));
            let smf = smf.args(["run", "packed.smf", "answer"]).stdout(Stdio::null());
            let child = smf.stderr(Stdio::piped()).spawn().unwrap();
            let map = format!("/tmp/perf-{}.map", child.id());
            let report = format!("smf: {tool} is `{value}`, which is unknown; known: 0, 1\n");
            let expected = if said { report } else { String::new() };
            assert_eq!(text(&child.wait_with_output().unwrap().stderr), expected);
            assert!(fs::remove_file(map).is_err(), "{tool}={value}");
        }
    }
}

#[test]
fn file_that_cannot_be_read_is_a_line() {
    let place = scratch("events-unreadable");
    let text = run(&["run", "no/such/file.smf"], "text");
    assert!(
        text.starts_with("smf: refuse module=no/such/file.smf error=\"no/such/file.smf: "),
        "{text}"
    );
    let said = run(&["run", place.to_str().unwrap()], "json");
    let event: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((&event["event"], event["module"].as_str()), (&"refuse".into(), place.to_str()));
    assert!(event["error"].as_str().is_some_and(|error| !error.is_empty()), "{said}");
}

/// A module so large that its file is mapped. Its `main` jumps to `getchar`.
fn waiting_module() -> Vec<u8> {
    let mut code = vec![0xcc; 300 << 10];
    code[..5].copy_from_slice(&[0xe9, 0, 0, 0, 0]);
    let relocs = [Reloc { offset: 1, symbol: 0, kind: RelocKind::Plt32, addend: -4 }];
    let code = NewSection::code(&code);
    let relocs = NewSection {
        kind: SectionKind::Reloc,
        name: b".rela.text",
        flags: SectionFlags(1),
        payload: Payload::Relocs(&relocs),
        ..NewSection::code(&[])
    };
    let symbols = [
        NewSymbol { name: b"getchar", place: Place::Import, ..NewSymbol::default() },
        NewSymbol { name: b"main", place: Place::Section(0), size: 5, ..NewSymbol::default() },
    ];
    let (header, layout) = (Header::default(), Layout::Packed);
    let module = Module { layout, header, stub: &[], sections: &[code, relocs], symbols: &symbols };
    module.to_vec().unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn break_of_a_lease_is_a_line() {
    let path = scratch("events-lease").join("waits.smf");
    fs::write(&path, waiting_module()).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    // A file that was just written is not mapped.
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    drop(file);
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.env("SMF_LOG", "info").args(["run", "--host-symbols", path.to_str().unwrap(), "main"]);
    let smf = smf.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut smf = smf.spawn().unwrap();
    let mut said = BufReader::new(smf.stderr.take().unwrap()).lines();
    let mut line = || said.next().unwrap().unwrap();
    while !line().starts_with("smf: load ") {}
    let maps = fs::read_to_string(format!("/proc/{}/maps", smf.id())).unwrap();
    let is_mapped = maps.contains("waits.smf");
    if is_mapped {
        // Waits until the pages are private.
        drop(OpenOptions::new().append(true).open(&path).unwrap());
        let line = line();
        assert!(line.starts_with("smf: lease_break descriptor="), "{line}");
    } else {
        skip("there is no file system with leases");
    }
    drop(smf.stdin.take());
    let mut result = String::new();
    smf.stdout.take().unwrap().read_to_string(&mut result).unwrap();
    assert!(smf.wait().unwrap().success());
    assert_eq!(result, format!("{}\n", u32::MAX));
}
