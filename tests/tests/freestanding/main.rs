//! The program without libc: it contains no libc code, and needs only a kernel.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod confine;
mod program;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use smf_core::format::write::{Module, NewSection, Payload};
use smf_core::format::{Arch, SectionKind, Smf};
use smf_tests::compile::scratch;
use smf_tests::skip::{has, lacks};
use smf_tests::{sample, tiny};

use program::Machine;

/// The output of the program, and its exit status.
fn outcome(output: &Output) -> (String, Option<i32>) {
    assert_eq!(output.status.signal(), None, "{output:?}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn ok(text: &str) -> (String, Option<i32>) {
    (text.to_owned(), Some(0))
}

#[test]
fn embedded_and_given_modules_load_on_every_machine() {
    let scratch = scratch();
    for machine in Machine::all() {
        let path = scratch.path().join("module.smf");
        for more in [0, 100_000] {
            fs::write(&path, tiny::module(machine.arch, more).unwrap()).unwrap();
            let call =
                |arguments: &[&str]| outcome(&run(machine.command().arg(&path).args(arguments)));
            assert_eq!(call(&["answer"]), ok("42\n"));
            assert_eq!(call(&["same$i64", "-5"]), ok("-5\n"));
            assert_eq!(call(&["same$u64", "-5"]).1, Some(1));
            assert_eq!(call(&["add", "-7", "-9223372036854775801"]), ok("-9223372036854775808\n"));
            assert_eq!(call(&["none"]).1, Some(1));
            assert_eq!(call(&["add", "x"]).1, Some(2));
            assert_eq!(call(&["add", "1", "2", "3", "4", "5"]).1, Some(2));
            assert_eq!(call(&[]).1, Some(2));
        }
        assert_eq!(outcome(&run(&mut machine.command())), ok("42\n"));
        fs::write(&path, of_templates(&tiny::module(machine.arch, 0).unwrap())).unwrap();
        let call = |arguments: &[&str]| outcome(&run(machine.command().arg(&path).args(arguments)));
        assert_eq!(call(&["same$i64", "9"]), ok("9\n"));
        assert_eq!(call(&["answer"]).1, Some(1));
    }
}

/// The module without its code, data and symbols.
fn of_templates(module: &[u8]) -> Vec<u8> {
    let smf = Smf::parse(module).unwrap();
    let sections = smf
        .sections()
        .iter()
        .filter(|section| matches!(section.kind, SectionKind::TemplateCode | SectionKind::Note));
    let sections: Vec<_> = sections
        .map(|section| NewSection {
            kind: section.kind,
            name: section.name,
            flags: section.flags,
            alignment: 8,
            virtual_size: None,
            payload: Payload::Bytes(section.data),
        })
        .collect();
    let (layout, header) = (smf.layout(), smf.header());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    module.to_vec().unwrap()
}

#[test]
fn malformed_module_is_reported_on_standard_error() {
    let Some(machine) = Machine::this() else { return };
    let mut broken = 0;
    for sample in smf_tests::samples().iter().filter(|sample| sample.is_bad()) {
        let output = run(machine.command().arg(sample.path()).arg("answer"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match outcome(&output) {
            (printed, Some(1)) => assert!(printed.is_empty() && said.starts_with("error: ")),
            other => panic!("{}: {other:?}, {said}", sample.name),
        }
        broken += 1;
    }
    assert!(broken > 20, "{broken} broken samples");
    let output = run(machine.command().args(["/nowhere", "answer"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "error: cannot open the file: no such file or directory\n");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(run(machine.command().stdout(full)).status.code(), Some(3));
}

#[test]
fn program_contains_no_foreign_code() {
    if !has("readelf") {
        return;
    }
    for machine in Machine::all() {
        let mut readelf = Command::new("readelf");
        let output = run(readelf.args(["-lsW"]).arg(&machine.binary).env("LC_ALL", "C"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("_start"), "{said}");
        for line in said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            let is_undefined = line.get(6) == Some(&"UND") && line.len() > 7;
            assert!(!is_undefined, "an undefined symbol: {line:?}");
            let is_linked = matches!(line.first(), Some(&"INTERP" | &"DYNAMIC"));
            assert!(!is_linked, "a segment for a dynamic linker: {line:?}");
            let is_open = line.first() == Some(&"LOAD") && line.contains(&"RWE");
            assert!(!is_open, "a segment that is writable and executable: {line:?}");
            let name = line.get(7).copied().unwrap_or_default();
            let is_foreign = ["__libc", "malloc", "getauxval", "__errno_location", "_Unwind"]
                .into_iter()
                .any(|foreign| name.starts_with(foreign));
            // The program defines that one itself; it ends the program.
            let is_foreign = is_foreign && name != "_Unwind_Resume";
            assert!(!is_foreign, "a symbol of libc: {name}");
        }
    }
}

#[test]
fn program_runs_in_empty_root_without_privileges() {
    let Some(machine) = Machine::this() else { return };
    let root = scratch();
    // By another process: a process that another thread starts meanwhile would inherit a descriptor open for writing
    // here, and a file that is open for writing cannot be executed (ETXTBSY).
    let copied = Command::new("cp").arg(&machine.binary).arg(root.path().join("program")).status();
    assert!(copied.unwrap().success());
    fs::write(root.path().join("module.smf"), sample("packed.smf").bytes).unwrap();
    confine::open_to_all(root.path());
    let mut command = Command::new("/program");
    if cfg!(target_arch = "x86_64") {
        command.args(["/module.smf", "bump", "5"]);
    }
    confine::in_root(&mut command, root.path());
    match command.output() {
        Ok(output) => {
            let expected = if cfg!(target_arch = "x86_64") { "105\n" } else { "42\n" };
            assert_eq!(outcome(&output), ok(expected));
        }
        Err(error) => lacks(&format!("a root directory of one's own ({error})")),
    }
}

/// A run of the program: its arguments, its output, and its exit status.
struct Run {
    arguments: Vec<String>,
    printed: &'static str,
    status: i32,
}

impl Run {
    fn outcome(&self) -> (String, Option<i32>) {
        (self.printed.to_owned(), Some(self.status))
    }
}

/// Runs that together make every system call of the program.
fn runs(scratch: &Path) -> Vec<Run> {
    let large = scratch.join("large");
    fs::write(&large, tiny::module(Arch::X86_64, 100_000).unwrap()).unwrap();
    let run = |path: PathBuf, function: &str, printed, status| Run {
        arguments: vec![path.to_str().unwrap().to_owned(), function.to_owned()],
        printed,
        status,
    };
    let given = |name: &str| sample(name).path();
    vec![
        Run { arguments: vec![], printed: "42\n", status: 0 },
        run(given("packed.smf"), "answer", "42\n", 0),
        run(given("elf-object.smf"), "answer", "42\n", 0),
        run(large.clone(), "answer", "42\n", 0),
        run(large, "other$i64", "", 1),
        run(given("app.smf"), "direct", "", 1),
        run(given("bad/reloc-place.smf"), "answer", "", 1),
        run("/nowhere".into(), "answer", "", 1),
    ]
}

/// A line of the guide's list of system calls.
fn listed(row: &str) -> Vec<&'static str> {
    let guide = include_str!("../../../shell/src/guide/porting.md");
    let mut rows = guide.lines().filter_map(|line| line.strip_prefix(row));
    rows.next().expect("the guide lists them").split_whitespace().collect()
}

/// The outcome of a run under a filter that allows these system calls.
#[cfg(target_arch = "x86_64")]
fn confined(machine: &Machine, run: &Run, names: &[&str], otherwise: confine::Otherwise) -> Output {
    let mut command = machine.command();
    confine::allow(command.args(&run.arguments), names, otherwise);
    crate::run(&mut command)
}

#[cfg(target_arch = "x86_64")]
#[test]
fn program_makes_only_the_system_calls_of_the_guide() {
    let Some(machine) = Machine::this() else { return };
    let scratch = scratch();
    let (needs, tries) = (listed("needs"), listed("tries"));
    let all = [&needs[..], &tries].concat();
    // Optional calls may fail; but a file that can be opened must be readable.
    let few = [&needs[..], &["read"]].concat();
    for run in runs(scratch.path()) {
        for (names, otherwise) in
            [(&all, confine::Otherwise::Kill), (&few, confine::Otherwise::Refuse)]
        {
            let found = outcome(&confined(machine, &run, names, otherwise));
            assert_eq!(found, run.outcome(), "{:?}, {otherwise:?}", run.arguments);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn refused_system_call_is_an_error() {
    let Some(machine) = Machine::this() else { return };
    let scratch = scratch();
    let runs = runs(scratch.path());
    let (needs, tries) = (listed("needs"), listed("tries"));
    let all = [&needs[..], &tries].concat();
    for missing in &all {
        let rest: Vec<&str> = all.iter().filter(|name| *name != missing).copied().collect();
        let mut is_noticed = false;
        for run in &runs {
            let output = confined(machine, run, &rest, confine::Otherwise::Refuse);
            let found = outcome(&output);
            if found == run.outcome() {
                continue;
            }
            is_noticed = true;
            assert!(matches!(found.1, Some(1 | 3 | 4)), "without {missing}: {found:?}");
            let said = String::from_utf8_lossy(&output.stderr);
            let is_said = said.starts_with("error: ") && said.ends_with('\n');
            // Without these only the status can report the error.
            assert!(is_said || ["write", "exit_group"].contains(missing), "{missing}: {said}");
        }
        assert!(is_noticed || tries.contains(missing), "the absence of {missing} is not noticed");
    }
}
