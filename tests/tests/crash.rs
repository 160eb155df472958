//! A process that is killed while it writes a file leaves the old file or the new one, and no other files than those
//! that the next run removes.
//!
//! Every command that writes files is killed at the entry and at the exit of its system calls. A run has several
//! hundred of these stops; one in 17 is tested unless the mode is exhaustive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use smf_core::format::ext::hash_index;
use smf_core::format::template::{Container, Template};
use smf_core::format::write::library;
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Arch, Header, Layout, SectionKind};
use smf_core::ir::text::parse;
use smf_core::link::host_arch;
use smf_core::templates::{Variant, encode_precompiled};
use smf_tests::compile::{Compiler, scratch, smf_binary};
use smf_tests::scale::scale;
use smf_tests::trace::killed_at;
use smf_tests::{directory, sample};

/// The placeholder of the output path in a command line that changes the file in place.
const OUT: &str = "OUT";

/// A command line that writes to `out`.
struct Case {
    arguments: Vec<String>,
    /// The old contents of `out`; `None` if it does not exist.
    old: Option<&'static [u8]>,
}

impl Case {
    fn is_in_place(&self) -> bool {
        self.arguments.iter().any(|argument| argument == OUT)
    }
}

/// The directory in which a killed command has run.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: scratch() }
    }

    fn out(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn command(&self, case: &Case) -> Command {
        let mut command = Command::new(smf_binary());
        let out = self.out();
        let argument = |argument: &'_ String| match argument.as_str() {
            OUT => out.clone().into_os_string(),
            _ => argument.into(),
        };
        command.args(case.arguments.iter().map(argument)).current_dir(directory());
        if !case.is_in_place() {
            command.arg("-o").arg(&out);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, case: &Case) {
        let status = self.command(case).status().unwrap();
        assert!(status.success(), "{:?}", case.arguments);
    }

    /// Runs the command again after it was killed. A change in place that is complete is not repeated.
    fn run_again(&self, case: &Case, is_new: bool) {
        if !(is_new && case.is_in_place()) {
            self.run(case);
        }
    }

    /// Restores the old file.
    fn begin(&self, case: &Case) {
        match case.old {
            Some(old) => fs::write(self.out(), old).unwrap(),
            None => drop(fs::remove_file(self.out())),
        }
    }
}

/// Kills the command at every stop; returns the number of kills.
fn kill_everywhere(case: &Case) -> usize {
    let place = Place::new();
    place.begin(case);
    place.run(case);
    let new = fs::read(place.out()).unwrap();
    let stride = scale(1, 17);
    let (mut kills, mut left, mut replaced) = (0, 0, 0);
    for stop in (0..).step_by(stride) {
        place.begin(case);
        if !killed_at(place.command(case), stop) {
            break;
        }
        kills += 1;
        let found = fs::read(place.out()).ok();
        let is_new = found.as_deref() == Some(&new[..]);
        assert!(is_new || found.as_deref() == case.old, "{:?} at stop {stop}", case.arguments);
        replaced += usize::from(is_new);
        left += usize::from(place.names().iter().any(|name| name.ends_with(".tmp")));
        place.run_again(case, is_new);
        let names = place.names();
        assert!(names.iter().eq(["out"]), "{:?} at stop {stop}: {names:?}", case.arguments);
        assert_eq!(fs::read(place.out()).unwrap(), new);
    }
    let name = case.arguments[0].as_str();
    println!(
        "{name}: killed at {kills} places, {replaced} with the new file, {left} with a temporary one"
    );
    // Otherwise the kills were too early or too late to test anything.
    assert!(kills > 10 / stride && replaced < kills && (replaced > 0 && left > 0 || stride > 1));
    kills
}

fn case(arguments: &[&str], old: Option<&'static [u8]>) -> Case {
    Case { arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), old }
}

#[test]
fn killed_writer_leaves_the_old_file_or_the_new_one() {
    let scratch = scratch();
    let dynlib = sample("dynlib.smf").path();
    let cases = [
        case(&["convert", "app.smf", "--layout", "native"], Some(b"old")),
        case(&["convert", "native.smf", "--layout", "packed"], None),
        case(&["strip-stub", "stub-declared.smf"], Some(b"old")),
        case(&["extract", dynlib.to_str().unwrap()], Some(b"")),
        case(&["lib", "create", "a=app.smf", "l=lib.smf"], Some(b"old")),
    ];
    let mut kills: usize = cases.iter().map(kill_everywhere).sum();
    if host_arch() == Arch::X86_64 {
        let jit = |more: &[&str], old| {
            kill_everywhere(&case(
                &[&["jit", OUT, "same$i64", "42", "--update"], more].concat(),
                old,
            ))
        };
        kills += jit(&[], Some(template(&ready())));
        // Note and code, in one replacement; also inside an archive.
        let ir = template(&ir_body());
        kills += jit(&["--keep-code"], Some(ir));
        kills += jit(&["--keep-code", "--module", "m"], Some(archive(ir)));
    }
    if let Some(object) = object(scratch.path()) {
        kills += kill_everywhere(&case(&["pack", object.to_str().unwrap()], Some(b"old")));
    }
    println!("killed at {kills} places in all");
}

/// An archive with this module and others around it.
fn archive(module: &[u8]) -> &'static [u8] {
    let others =
        [sample("app.smf"), sample("lib.smf")].map(|other| fs::read(other.path()).unwrap());
    let modules = [("a", &others[0][..]), ("m", module), ("z", &others[1])];
    let mut archive = vec![0; library::length(&modules).unwrap()];
    library::write(&modules, &mut archive).unwrap();
    archive.leak()
}

/// An IR function that returns its argument.
fn ir_body() -> Vec<u8> {
    let text = "template same<T>(a: T) -> T\nreturn T a\nend\n";
    parse(text).unwrap().remove(0).body
}

/// The same, precompiled.
fn ready() -> Vec<u8> {
    // mov rax, rdi; ret
    let variant = Variant {
        arch: Arch::X86_64,
        arguments: &[],
        code: &[0x48, 0x89, 0xf8, 0xc3],
        relocations: &[],
    };
    encode_precompiled(&[variant]).unwrap()
}

/// A module whose note lists a possible instance of its template.
fn template(body: &[u8]) -> &'static [u8] {
    let (kind, params, constraints) = (None, 0, Default::default());
    let templates = &[Template { name: b"same", kind, params, constraints, body }];
    let list = NewTemplates { container: Container::Counted, templates }.to_vec().unwrap();
    let note = b"possible |template, type_args, mangled_name|\n    same, i64, same$i64\n";
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = &[
        section(SectionKind::TemplateCode, &b".templates"[..], &list[..]),
        section(SectionKind::Note, b"note.sdn", note),
    ];
    let (layout, header) = (Layout::Native, Header::default());
    Module { layout, header, stub: &[], sections, symbols: &[] }.to_vec().unwrap().leak()
}

fn object(directory: &Path) -> Option<PathBuf> {
    let source = directory.join("answer.c");
    fs::write(&source, "int answer(void) { return 42; }\n").unwrap();
    let object = directory.join("answer.o");
    Compiler::Gcc.compile(&source, 2, &[], &object).then_some(object)
}
