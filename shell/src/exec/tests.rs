//! Source, IR and files in a manager.
#![allow(unsafe_code)]

use std::path::PathBuf;

use smf_core::alloc_util::TryArc;
use smf_core::exec::{Level, Unit, Value};
use smf_core::link::Resolve;

use super::*;

mod calls;
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
mod instances;
mod modules;
mod replaced;
mod traps;

/// The back ends of this build.
pub(super) fn backends() -> impl Iterator<Item = BackendChoice> {
    BackendChoice::ALL.into_iter().filter(|choice| choice.available().is_ok())
}

pub(super) fn manager(backend: BackendChoice) -> ExecManager {
    ExecManager::new(ExecOptions { backend, ..ExecOptions::default() }).unwrap()
}

fn run(manager: &ExecManager, name: &str, arguments: &[i64]) -> Result<i64, String> {
    // SAFETY: the functions of these tests access their own memory only.
    let result = unsafe { manager.call_integers(name.as_bytes(), arguments) };
    result.map_err(|error| error.to_string())
}

fn text(manager: &ExecManager, name: &str, arguments: &[&str]) -> Result<String, String> {
    let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
    // SAFETY: as above.
    let result = unsafe { manager.call_text(name.as_bytes(), &arguments) };
    result.map_err(|error| error.to_string())
}

fn names(manager: &ExecManager) -> Vec<String> {
    let names = manager.function_names().unwrap();
    names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

const FACTORIAL: &str = "\
fn factorial(n):
    var result = 1
    for i in 1..=n:
        result *= i
    result
";

#[test]
fn source_runs_at_every_level_of_every_back_end() {
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("a.spl", "fn add(x, y): x + y\n").unwrap();
            manager.compile_source("b.spl", FACTORIAL).unwrap();
            manager.compile_source("c.spl", "fn both(n): add(factorial(n), n)\n").unwrap();
            assert_eq!(run(&manager, "add", &[10, 32]), Ok(42));
            assert_eq!(run(&manager, "factorial", &[5]), Ok(120));
            assert_eq!(run(&manager, "both", &[5]), Ok(125));
            assert_eq!(names(&manager), ["add", "factorial", "both"]);
            // A replacement is reached by earlier callers.
            manager.compile_source("d.spl", "fn add(x, y): x - y\n").unwrap();
            assert_eq!(run(&manager, "both", &[5]), Ok(115));
        }
    }
}

#[test]
fn callers_of_the_same_compilation_call_the_version_that_they_were_compiled_with() {
    let pair = |step| format!("fn step(n): n + {step}\nfn twice(n): step(step(n))\n");
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("a.spl", &pair(1)).unwrap();
            manager.compile_source("b.spl", "fn from_outside(n): step(n)\n").unwrap();
            manager.compile_source("c.spl", "fn step(n): n + 10\n").unwrap();
            assert_eq!(run(&manager, "step", &[0]), Ok(10));
            assert_eq!(run(&manager, "from_outside", &[0]), Ok(10));
            assert_eq!(run(&manager, "twice", &[0]), Ok(2));
            // Its own code and that of the old `step` are one unit, which is in use.
            let units = manager.statistics().units;
            manager.compile_source("d.spl", &pair(100)).unwrap();
            assert_eq!(run(&manager, "twice", &[0]), Ok(200));
            assert_eq!(run(&manager, "from_outside", &[0]), Ok(100));
            manager.compile_source("e.spl", "fn other(): 0\n").unwrap();
            assert_eq!(manager.statistics().units, units);
        }
    }
}

#[test]
fn back_end_that_is_not_built_in_is_an_error_that_names_the_feature() {
    let error = |name: &[u8]| BackendChoice::from_name(name).unwrap_err().to_string();
    let unknown = "no back end is called `gcc`: there are auto, native, cranelift and llvm";
    assert_eq!(error(b"gcc"), unknown);
    let optional = [
        (BackendChoice::Cranelift, cfg!(feature = "cranelift")),
        (BackendChoice::Llvm, cfg!(feature = "llvm")),
    ];
    for (backend, is_built_in) in optional {
        let name = backend.name();
        let options = ExecOptions { backend, ..ExecOptions::default() };
        let opened = ExecManager::new(options).map(|manager| manager.backend_name());
        if is_built_in {
            assert_eq!(BackendChoice::from_name(name.as_bytes()).unwrap(), backend);
            assert_eq!(opened.unwrap(), name);
            continue;
        }
        let missing = format!(
            "the back end `{name}` is not part of this build: it needs the feature `{name}`"
        );
        assert_eq!(error(name.as_bytes()), missing);
        assert_eq!(opened.unwrap_err().to_string(), missing);
    }
    assert_eq!(manager(BackendChoice::Auto).backend_name(), "native");
}

#[test]
fn errors_of_source_are_a_list_and_change_nothing() {
    let manager = manager(BackendChoice::Auto);
    manager.compile_source("a.spl", "fn one(): 1\n").unwrap();
    let error = manager.compile_source("b.spl", "fn one(): x\nfn two(): y\n").unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("b.spl:1:11: error[E"), "{shown}");
    assert!(shown.ends_with("name `x` not found (and 1 more)"), "{shown}");
    let ExecError::Source(diagnostics) = error else { panic!("{shown}") };
    assert_eq!(diagnostics.len(), 2);
    assert_eq!(run(&manager, "one", &[]), Ok(1));
}

#[test]
fn ir_is_text_or_binary() {
    let manager = manager(BackendChoice::Auto);
    let add = "function add(a: i64, b: i64) -> i64\nadd i64 a, a, b\nreturn i64 a\nend\n";
    manager.compile_ir(add.as_bytes()).unwrap();
    assert_eq!(run(&manager, "add", &[40, 2]), Ok(42));
    let other = add.replace("add(", "sum(").replace("add i64", "sub i64");
    manager.compile_ir(&Unit::from_text(&other).unwrap().to_binary().unwrap()).unwrap();
    assert_eq!(run(&manager, "sum", &[44, 2]), Ok(42));
    assert!(manager.compile_ir(b"function f(").is_err());
    assert!(manager.compile_ir(b"SMUN\x01").is_err());
    assert!(manager.compile_ir(b"\xff").is_err());
}

#[test]
fn tail_call_of_ir_takes_no_stack() {
    let down = "function down(n: i64) -> i64\nbr_eq i64 n, 0, end1\nsub i64 n, n, 1\n\
        return_call down(n)\nend1:\nreturn i64 n\nend\n";
    // The calling convention of C, of which the code of Cranelift is, has none.
    for backend in backends().filter(|backend| *backend != BackendChoice::Cranelift) {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_ir(down.as_bytes()).unwrap();
            assert_eq!(run(&manager, "down", &[10_000_000]), Ok(0), "{backend:?} {level}");
        }
    }
}

struct Constant;

impl FrontEnd for Constant {
    fn compile(&self, name: &str, text: &str) -> Result<Unit, ExecError> {
        let number: i64 =
            text.trim().parse().map_err(|_| ExecError::FrontEnd(format!("{name}: no number")))?;
        let ir = format!(
            "function main() -> i64\nlocal a: i64\nconst i64 a, {number}\nreturn i64 a\nend\n"
        );
        Ok(Unit::from_text(&ir)?)
    }
}

#[test]
fn front_end_is_replaced_and_returns() {
    let manager = manager(BackendChoice::Auto);
    let constant: Box<dyn FrontEnd> = Box::new(Constant);
    manager.set_front_end(Some(TryArc::new(constant).unwrap()));
    manager.compile_source("n", "42\n").unwrap();
    assert_eq!(run(&manager, "main", &[]), Ok(42));
    let error = manager.compile_source("n", "fn main(): 1").unwrap_err();
    assert_eq!(error.to_string(), "n: no number");
    manager.set_front_end(None);
    manager.compile_source("n", "fn main(): 7").unwrap();
    assert_eq!(run(&manager, "main", &[]), Ok(7));
}

/// A file beside the program of the tests, which the next run overwrites.
fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::current_exe().unwrap().with_extension("tmp").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn files_are_source_ir_or_modules() {
    let manager = manager(BackendChoice::Auto);
    let source = scratch("f.spl", b"fn two(): 2\n");
    manager.compile_file(&source).unwrap();
    let ir = "function three() -> i64\nlocal a: i64\nconst i64 a, 3\nreturn i64 a\nend\n";
    manager.compile_file(&scratch("f.sir", ir.as_bytes())).unwrap();
    manager.compile_file(&scratch("g", ir.replace("three", "four").as_bytes())).unwrap();
    assert_eq!(names(&manager), ["two", "three", "four"]);
    assert_eq!((run(&manager, "two", &[]), run(&manager, "four", &[])), (Ok(2), Ok(3)));
    let missing = manager.compile_file(&source.with_file_name("missing.spl")).unwrap_err();
    assert!(missing.to_string().contains("missing.spl: "), "{missing}");
    let binary = manager.compile_file(&scratch("b.spl", b"\xff")).unwrap_err();
    assert!(binary.to_string().ends_with("b.spl: the file is not UTF-8"), "{binary}");
    let bad = manager.compile_file(&scratch("bad.smf", b"nothing")).unwrap_err();
    assert!(matches!(bad, ExecError::Load(_)), "{bad}");
}

/// A module whose function `name` jumps to its import.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
fn importer(name: &str, import: &str) -> Vec<u8> {
    importer_with(name, &[import], smf_core::format::Binding::Global)
}

/// As [`importer`], with several imports, of which the first is called, and with their binding.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
fn importer_with(name: &str, imports: &[&str], binding: smf_core::format::Binding) -> Vec<u8> {
    use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};
    let reloc = |symbol: u32| Reloc {
        offset: u64::from(1 + 5 * symbol),
        symbol,
        kind: RelocKind::Plt32,
        addend: -4,
    };
    let relocs: Vec<Reloc> = (0..imports.len() as u32).map(reloc).collect();
    let code = [0xe9, 0, 0, 0, 0].repeat(imports.len());
    let section = |kind, name, flags, payload| {
        let flags = SectionFlags(flags);
        NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
    };
    let sections = [
        section(SectionKind::Code, &b".text"[..], 5, Payload::Bytes(&code)),
        section(SectionKind::Reloc, b".rela.text", 1, Payload::Relocs(&relocs)),
    ];
    let new = |name, place, size| NewSymbol { name, place, size, ..NewSymbol::default() };
    let imports = imports.iter().map(|import| new(import.as_bytes(), Place::Import, 0));
    let mut symbols: Vec<_> = imports.map(|import| NewSymbol { binding, ..import }).collect();
    symbols.push(new(name.as_bytes(), Place::Section(0), 5));
    let (layout, header) = (Layout::Packed, Header::default());
    let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
    module.to_vec().unwrap()
}

/// The module of source.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
fn module(text: &str) -> Vec<u8> {
    use smf_core::source::{Mode, SourceFile};
    let file = SourceFile { name: "m.spl", module: "m", text };
    let unit = smf_core::source::compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    let arch = smf_core::format::Arch::X86_64;
    let options = crate::compile::CompileOptions { arch, level: 2, debug_directory: None };
    crate::compile::compile(&unit, &options).unwrap()
}

#[test]
fn source_file_is_compiled_with_the_modules_that_it_uses() {
    let manager = manager(BackendChoice::Auto);
    scratch("lib_of_main.spl", b"use lib_below.{twice}\nfn double(x: i64) -> i64: twice(x)\n");
    scratch("lib_below.spl", b"fn twice(x: i64) -> i64: 2 * x\n");
    let main = scratch("main.spl", b"use lib_of_main.{double}\nfn start(x): double(x) + 2\n");
    manager.compile_file(&main).unwrap();
    assert_eq!(run(&manager, "start", &[20]), Ok(42));
    let lone = scratch("lone.spl", b"use absent_module.{f}\nfn g(x): f(x)\n");
    let error = manager.compile_file(&lone).unwrap_err();
    assert!(error.to_string().contains("absent_module"), "{error}");
    scratch("not_text.spl", b"\xff");
    let error = manager.compile_file(&scratch("u.spl", b"use not_text\nfn h(): 1\n")).unwrap_err();
    assert!(matches!(error, ExecError::Program(_)), "{error}");
}

#[test]
fn malformed_ir_is_named_by_file_and_line() {
    let manager = manager(BackendChoice::Auto);
    let text = b"function f() -> i64\n    addd i64 1\nend\n";
    let error = manager.compile_file(&scratch("bad.sir", text)).unwrap_err().to_string();
    assert!(error.ends_with("bad.sir: line 2: no such statement: `addd i64 1`"), "{error}");
    let error = manager.compile_any("given", text).unwrap_err().to_string();
    assert!(error.starts_with("given: line 2: "), "{error}");
    let error = manager.compile_file(&scratch("bytes.sir", b"\xff")).unwrap_err().to_string();
    assert!(error.ends_with("bytes.sir: the file is not UTF-8"), "{error}");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn source_that_nests_too_deeply_for_a_thread_is_an_error() {
    // Each function without a result type is looked at inside of the one before, at the end of 100 conditions.
    let conditions = |function: usize| -> String {
        (0..100).map(|value| format!("if x == {value}: {function} else: ")).collect()
    };
    let chain = |count: usize| -> String {
        let line = |f: usize| match f + 1 == count {
            true => format!("fn f{f}(x): {}x\n", conditions(f)),
            false => format!("fn f{f}(x): {}f{}(x)\n", conditions(f), f + 1),
        };
        (0..count).map(line).collect()
    };
    let compiled = |text: String, stack: usize| {
        let compile = move || {
            let manager = manager(BackendChoice::Auto);
            manager.compile_source("deep.spl", &text).map_err(|error| error.to_string())?;
            Ok(run(&manager, "f0", &[7]))
        };
        let thread = std::thread::Builder::new().stack_size(stack).spawn(compile).unwrap();
        thread.join().unwrap()
    };
    let error: Result<_, String> = compiled(chain(15), 512 << 10);
    let error = error.unwrap_err();
    assert!(error.contains("too deeply for the stack of this thread"), "{error}");
    assert_eq!(compiled(chain(15), 64 << 20), Ok(Ok(0)));
    let nested = format!("fn f0(x): {}x{}\n", "abs(".repeat(120), ")".repeat(120));
    let error = compiled(nested, 160 << 10).unwrap_err();
    assert!(error.contains("too deeply for the stack of this thread"), "{error}");
    assert_eq!(compiled("fn f0(x): x\n".to_owned(), 160 << 10), Ok(Ok(7)));
}
