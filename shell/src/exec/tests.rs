//! Source, IR and files in a manager; errors and traps.
#![allow(unsafe_code)]

use std::path::PathBuf;

use smf_core::alloc_util::TryArc;
use smf_core::exec::{Level, Unit, Value};
use smf_core::link::Resolve;

use super::*;

mod replaced;

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

#[test]
fn call_without_the_address_of_a_result_in_memory_is_refused_as_such() {
    let source = "enum Color:\n    Red\n    Blue\nfn pair(a) -> (i64, i64): (a, 2)\nfn color(c) -> Color: Color.Blue\n";
    for backend in backends() {
        let manager = manager(backend);
        manager.compile_source("a.spl", source).unwrap();
        let expected =
            "function `pair` returns its value in memory: the first argument is an address for it";
        assert_eq!(run(&manager, "pair", &[1]), Err(expected.to_owned()));
        assert_eq!(text(&manager, "pair", &["1", "2", "3"]), Err(expected.to_owned()));
        // An enum without payloads is an integer.
        assert_eq!(run(&manager, "color", &[1]), Ok(1));
        assert!(run(&manager, "color", &[]).unwrap_err().contains("takes 1 argument"));
        let mut pair = [0_i64; 2];
        let address = (&raw mut pair).expose_provenance() as i64;
        assert_eq!(run(&manager, "pair", &[address, 40]), Ok(0));
        // SAFETY: read after the function has written it.
        assert_eq!(unsafe { (&raw const pair).read_volatile() }, [40, 2]);
    }
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
fn traps_are_errors_with_a_cause_a_line_and_a_function() {
    let source = "\
fn divide(x, y): x / y
fn at(i):
    val a = [1, 2, 3]
    a[i]
fn positive(x):
    assert x > 0, \"x must be positive\"
    x
fn power(x, n): x ** n
";
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("t.spl", source).unwrap();
            let error = |name, arguments: &[i64]| run(&manager, name, arguments).unwrap_err();
            assert_eq!(error("divide", &[1, 0]), "division by zero, at 1 in function `divide`");
            assert_eq!(run(&manager, "divide", &[i64::MIN, -1]), Ok(i64::MIN));
            assert_eq!(
                error("at", &[3]),
                "index 3 out of range for length 3, at 4 in function `at`"
            );
            assert_eq!(run(&manager, "at", &[-1]), Ok(3));
            assert_eq!(
                error("positive", &[0]),
                "assertion failed, at 6 in function `positive`: x must be positive"
            );
            let negative = "negative exponent, at 8 in function `power`";
            assert_eq!(error("power", &[2, -1]), negative);
            assert_eq!(run(&manager, "power", &[2, 10]), Ok(1024));
        }
    }
}

/// Signed and unsigned indices of arrays and views, also of functions that become part of their callers.
#[test]
fn traps_of_indices_state_index_and_length() {
    let source = "\
fn array(i: i64) -> i64: [10, 20, 30][i]
fn unsigned(i: u64) -> i64: [10, 20, 30][i]
fn narrow(i: i64) -> i64: [10, 20, 30][i as u8]
fn signed(i: i64) -> i64: [10, 20, 30][i as i8]
fn of_view(a: [i64], i: i64) -> i64: a[i]
fn of_view_unsigned(a: [i64], i: u64) -> i64: a[i]
fn view(i: i64) -> i64: of_view([10, 20, 30], i)
fn view_unsigned(i: u64) -> i64: of_view_unsigned([10, 20, 30], i)
fn store(i: i64) -> i64:
    var a = [10, 20, 30]
    a[i] = 5
    a[0]
fn sum(n: i64) -> i64:
    val a = [10, 20, 30]
    var all = 0
    var i = 0
    while i < n:
        all = all + a[i] * 7 + i
        i = i + 1
    all
fn nine() -> i64: array(9)
fn minus() -> i64: view(-4)
";
    let message = |name: &str, index: i128| {
        let line = source.lines().position(|line| line.starts_with(&format!("fn {name}(")));
        let line = line.unwrap() + 1;
        format!("index {index} out of range for length 3, at {line} in function `{name}`")
    };
    for (backend, level) in backends().flat_map(|b| (0..4).map(move |l| (b, l))) {
        let manager = manager(backend);
        manager.set_level(Level::from_number(level).unwrap());
        manager.compile_source("t.spl", source).unwrap();
        let error = |name, arguments: &[i64]| {
            let error = run(&manager, name, arguments).unwrap_err();
            error.split(", at").next().unwrap().to_owned()
        };
        let expect = |index: i128| format!("index {index} out of range for length 3");
        for index in [3, 4, 9, 1 << 40, i64::MAX, -4, -5, i64::MIN] {
            for name in ["array", "view", "store"] {
                assert_eq!(error(name, &[index]), expect(index.into()), "{backend:?} {level}");
            }
            for name in ["unsigned", "view_unsigned"] {
                let index = index.cast_unsigned();
                let found = error(name, &[index.cast_signed()]);
                assert_eq!(found, expect(index.into()), "{backend:?} {level}");
            }
        }
        assert_eq!(error("narrow", &[-1]), expect(255));
        assert_eq!(error("signed", &[-4]), expect(-4));
        assert_eq!(error("sum", &[4]), expect(3));
        assert_eq!(error("nine", &[]), expect(9));
        assert_eq!(error("minus", &[]), expect(-4));
        assert_eq!(run(&manager, "array", &[-3]), Ok(10));
        assert_eq!(run(&manager, "array", &[3]), Err(message("array", 3)));
    }
}

#[test]
fn assertions_of_inlined_functions_keep_their_messages() {
    let source = "\
fn check(x):
    assert x > 5, \"above 5\"
    x
fn outer(x): check(x) * 2
";
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("t.spl", source).unwrap();
            assert_eq!(
                run(&manager, "outer", &[1]).unwrap_err(),
                "assertion failed, at 2 in function `check`: above 5"
            );
            assert_eq!(run(&manager, "outer", &[6]), Ok(12));
        }
    }
}

#[test]
fn functions_of_other_files_that_may_trap_are_not_inlined() {
    let directory = std::env::temp_dir().join(format!("smf-exec-inline-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    write("lib.spl", "# no code\nfn check(x: i64) -> i64:\n    assert x > 5, \"above 5\"\n    x\n");
    let main =
        "use lib.{check}\nfn outer(b: i64) -> i64:\n    assert b != 77, \"not 77\"\n    check(b)\n";
    let main = write("main.spl", main);
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_file(&main).unwrap();
            let error = |argument| run(&manager, "outer", &[argument]).unwrap_err();
            assert_eq!(error(77), "assertion failed, at 3 in function `outer`: not 77");
            if backend == BackendChoice::Native {
                assert_eq!(error(1), "assertion failed, at 3 in function `check`: above 5");
            }
        }
    }
}

#[test]
fn integers_are_no_addresses_of_texts() {
    let source = "\
fn hello() -> text: \"a\"
fn length(t: text) -> i64: t.len()
";
    let manager = manager(BackendChoice::Native);
    manager.compile_source("t.spl", source).unwrap();
    for (name, arguments) in [("hello", &[5][..]), ("length", &[1, 1])] {
        let error = run(&manager, name, arguments).unwrap_err();
        assert!(error.contains("is called with texts only"), "{name}: {error}");
    }
}

#[test]
fn wrong_number_of_arguments_names_the_parameter_that_is_more_than_one() {
    let source = "\
fn hello() -> text: \"a\"
fn length(n: i64, t: text) -> i64: t.len() + n
fn first(n: i64, xs: [i64]) -> i64: xs[n]
fn pair(a: i64) -> (i64, i64): (a, a)
";
    let manager = manager(BackendChoice::Auto);
    manager.compile_source("t.spl", source).unwrap();
    let only = "a text, so that the function is called with texts only (`call_text`, `rt_exec_manager_execute_string`)";
    let array = "parameter `xs` of function `first` is an array, whose address and length are two arguments: the function takes 3, and 1 is given";
    let memory =
        "function `pair` returns its value in memory: the first argument is an address for it";
    for (name, arguments, expected) in [
        ("hello", &[][..], format!("function `hello` returns {only}")),
        ("length", &[1], format!("parameter `t` of function `length` is {only}")),
        ("first", &[1], array.to_owned()),
        ("pair", &[1], memory.to_owned()),
    ] {
        let values: Vec<Value> = arguments.iter().map(|&n: &i64| n.into()).collect();
        // SAFETY: the calls are refused.
        let error = unsafe { manager.call_by_name(name.as_bytes(), &values) }.unwrap_err();
        assert_eq!(error.to_string(), expected);
        let function = manager.find(name.as_bytes()).unwrap();
        // SAFETY: as above.
        let error = unsafe { manager.call(&function, &values) }.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(run(&manager, name, arguments), Err(expected));
    }
    assert_eq!(
        text(&manager, "length", &["1"]).unwrap_err(),
        "function `length` takes 2 arguments, and 1 is given"
    );
    assert_eq!(text(&manager, "first", &["1"]).unwrap_err(), array);
    let numbers = [40_i64, 42];
    let arguments = [1, (&raw const numbers).expose_provenance() as i64, 2];
    assert_eq!(run(&manager, "first", &arguments), Ok(42));
}

#[test]
fn results_are_text_numbers_or_nothing() {
    let source = "\
fn name(i) -> text:
    if i == 0: \"zero\" else: \"more\"
fn half(x) -> f64: x as f64 / 2.0
fn pick(first: bool, a: text, b: text) -> text:
    if first: a else: b
fn is_odd(x) -> bool: x % 2 != 0
fn nothing():
    pass
";
    for backend in backends() {
        let manager = manager(backend);
        manager.compile_source("r.spl", source).unwrap();
        assert_eq!(text(&manager, "name", &["0"]), Ok("zero".to_owned()));
        assert_eq!(text(&manager, "name", &["7"]), Ok("more".to_owned()));
        assert_eq!(text(&manager, "half", &["7"]), Ok("3.5".to_owned()));
        assert_eq!(text(&manager, "is_odd", &["7"]), Ok("true".to_owned()));
        assert_eq!(text(&manager, "nothing", &[]), Ok(String::new()));
        assert_eq!(text(&manager, "pick", &["false", "no", "yes"]), Ok("yes".to_owned()));
        let wrong = text(&manager, "pick", &["0", "no", "yes"]).unwrap_err();
        assert_eq!(wrong, "argument 1 of function `pick` is no value of type bool");
        assert_eq!((run(&manager, "is_odd", &[7]), run(&manager, "nothing", &[])), (Ok(1), Ok(0)));
        let float = run(&manager, "half", &[7]).unwrap_err();
        assert_eq!(float, "function `half` returns a value of type f64, which is not an integer");
        let count = text(&manager, "name", &[]).unwrap_err();
        assert_eq!(count, "function `name` takes 1 argument, and 0 are given");
        assert_eq!(run(&manager, "absent", &[]).unwrap_err(), "no function `absent`");
    }
}

#[test]
fn integer_that_the_parameter_lacks_is_refused() {
    let manager = manager(BackendChoice::Auto);
    manager
        .compile_source("n.spl", "fn small(x: u8) -> i64: x as i64\nfn f(x: f64) -> i64: 1\n")
        .unwrap();
    assert_eq!(run(&manager, "small", &[255]), Ok(255));
    let error = run(&manager, "small", &[256]).unwrap_err();
    assert_eq!(error, "argument 1 of function `small`: 256 is no value of type u8");
    let error = run(&manager, "f", &[1]).unwrap_err();
    assert_eq!(error, "argument 1 of function `f`: 1 is no value of type f64");
    // SAFETY: the function accesses no memory.
    let typed = unsafe { manager.call_by_name(b"f", &[Value::from(0.5)]) };
    assert_eq!(typed.unwrap(), Some(1i64.into()));
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

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("smf-exec-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
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

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn modules_import_instances_of_templates_of_modules() {
    let memory = smf_core::memory::code_alloc::CodeMemory::default();
    let options = ExecOptions { memory: Some(memory.clone()), ..ExecOptions::default() };
    let manager = ExecManager::new(options).unwrap();
    let library = module(
        "fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn pairs<T>(a: T) -> (T, T): (a, a)\nfn bonus() -> i64: 2\n\
         fn extra<T>(a: T) -> i64: (a as i64) + bonus()\nfn quotient<T>(a: T, b: T) -> T: a / b\n",
    );
    let load = |name: &str, bytes: &[u8]| manager.compile_file(&scratch(name, bytes));
    let error = load("early.smf", &importer("early", "largest$i64")).unwrap_err().to_string();
    assert!(error.starts_with("unresolved import `largest$i64`"), "{error}");
    load("largest.smf", &library).unwrap();
    load("user.smf", &importer("of_user", "largest$i64")).unwrap();
    load("user2.smf", &importer("of_user2", "extra$i64")).unwrap();
    assert_eq!(run(&manager, "of_user", &[-3, 7]), Ok(7));
    assert_eq!(run(&manager, "of_user2", &[40]), Ok(42));
    let error = load("bad.smf", &importer("bad", "largest$text")).unwrap_err().to_string();
    assert!(error.contains("; cannot instantiate `largest$text`: "), "{error}");
    // Instances are called by name with the types that their bodies have.
    assert!(manager.has_function(b"largest$f64") && !manager.has_function(b"smallest$f64"));
    assert_eq!(text(&manager, "largest$f64", &["1.5", "2.5"]), Ok("2.5".into()));
    let error = run(&manager, "largest$text", &[1, 2]).unwrap_err();
    assert!(error.starts_with("cannot instantiate `largest$text`"), "{error}");
    manager
        .compile_source("s", "extern fn of_user(a: i64, b: i64) -> i64\nfn f(): of_user(8, 9)")
        .unwrap();
    assert_eq!(run(&manager, "f", &[]), Ok(9));
    // A module that is no more than its templates.
    load("twice.smf", &module("fn twice<T>(a: T) -> T: a + a\n")).unwrap();
    assert_eq!(run(&manager, "twice$u8", &[200]), Ok(144));
    let error = run(&manager, "quotient$i64", &[1, 0]).unwrap_err();
    assert_eq!(error, "division by zero, at 5 in function `quotient$i64`");
    let small = "\nfn small<T>(a: T) -> i64:\n    assert (a as i64) > 3, \"a is small\"\n    1\n";
    load("small.smf", &module(small)).unwrap();
    let error = run(&manager, "small$i64", &[1]).unwrap_err();
    assert_eq!(error, "assertion failed, at 3 in function `small$i64`: a is small");
    drop(manager);
    assert_eq!(memory.statistics().live_blocks, 0);
}

/// IR whose function `f` calls `callee` with two values of a type, and returns one.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
fn caller(callee: &str, ty: &str) -> String {
    format!(
        "function f(a: {ty}, b: {ty}) -> {ty}\ncall_host a = \"{callee}\"(a, b)\nreturn {ty} a\nend\n"
    )
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn unit_that_calls_an_instance_is_checked_and_told_why_there_is_none() {
    let manager = manager(BackendChoice::Auto);
    let library = module("fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn one(): 1\n");
    manager.compile_file(&scratch("checked.smf", &library)).unwrap();
    let compile = |callee: &str, ty: &str| {
        let compiled = manager.compile_ir(caller(callee, ty).as_bytes());
        compiled.map_err(|error| error.to_string())
    };
    compile("largest$i64", "i64").unwrap();
    assert_eq!(run(&manager, "f", &[8, 9]), Ok(9));
    let expected = "function `f` calls `largest$i64`, which has another signature";
    assert_eq!(compile("largest$i64", "f64").unwrap_err(), expected);
    let error = compile("largest$text", "i64").unwrap_err();
    let expected = "function `f` calls `largest$text`, which is undefined; cannot instantiate `largest$text`: ";
    assert!(error.starts_with(expected), "{error}");
    let expected = "function `f` calls `smallest$i64`, which is undefined";
    assert_eq!(compile("smallest$i64", "i64").unwrap_err(), expected);
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn failures_of_weak_imports_are_not_those_of_other_names() {
    let manager = manager(BackendChoice::Auto);
    let library = module("fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\nfn one(): 1\n");
    let load = |name: &str, bytes: &[u8]| manager.compile_file(&scratch(name, bytes));
    let weak = |name: &str| importer_with(name, &["largest$text"], smf_core::format::Binding::Weak);
    load("of_weak.smf", &library).unwrap();
    load("weak.smf", &weak("weak")).unwrap();
    assert_eq!(run(&manager, "absent", &[]), Err("no function `absent`".into()));
    load("weaker.smf", &weak("weaker")).unwrap();
    let error = load("absent.smf", &importer("of_absent", "absent")).unwrap_err().to_string();
    assert!(error.contains("`absent`") && !error.contains("largest"), "{error}");
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn load_that_fails_states_its_own_reasons_and_none_of_another_load() {
    use std::sync::{Arc, OnceLock, Weak};

    let own: Arc<OnceLock<Weak<ExecManager>>> = Arc::default();
    let (of_resolver, other) = (own.clone(), Arc::new(OnceLock::new()));
    let result = other.clone();
    // While a module is linked, another thread loads one.
    let resolver = move |name: &[u8]| {
        if name == b"meanwhile" {
            let manager = of_resolver.get()?.upgrade()?;
            let file = scratch("other.smf", &importer("other", "smallest$text"));
            let load = std::thread::spawn(move || manager.compile_file(&file));
            result.set(load.join().unwrap().unwrap_err().to_string()).unwrap();
        }
        None
    };
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let manager = ExecManager::new(ExecOptions { symbols, ..ExecOptions::default() }).unwrap();
    let manager = Arc::new(manager);
    own.set(Arc::downgrade(&manager)).unwrap();
    let library = module(
        "fn largest<T>(a: T, b: T) -> T: if a > b: a else: b\n\
         fn smallest<T>(a: T, b: T) -> T: if a < b: a else: b\nfn one(): 1\n",
    );
    manager.compile_file(&scratch("both.smf", &library)).unwrap();
    let binding = smf_core::format::Binding::Global;
    let module = importer_with("first", &["largest$text", "meanwhile"], binding);
    let first = manager.compile_file(&scratch("first.smf", &module)).unwrap_err().to_string();
    let other = other.get().unwrap();
    let cannot = |name: &str| format!("; cannot instantiate `{name}$text`: ");
    assert!(first.contains(&cannot("largest")) && !first.contains("smallest"), "{first}");
    assert!(other.contains(&cannot("smallest")) && !other.contains("largest"), "{other}");
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn resolver_of_the_host_may_call_functions_of_modules() {
    use std::sync::{Arc, Mutex, OnceLock, Weak};

    extern "C" fn host_add(a: i64, b: i64) -> i64 {
        a + b
    }
    let own: Arc<OnceLock<Weak<ExecManager>>> = Arc::default();
    let asked: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let (of_resolver, names) = (own.clone(), asked.clone());
    let resolver = move |name: &[u8]| {
        names.lock().unwrap().push(name.to_vec());
        if name != b"host_add" {
            return None;
        }
        let manager = of_resolver.get()?.upgrade()?;
        assert_eq!(run(&manager, "five", &[]), Ok(5));
        Some(host_add as *const () as u64)
    };
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let manager = ExecManager::new(ExecOptions { symbols, ..ExecOptions::default() }).unwrap();
    let manager = Arc::new(manager);
    own.set(Arc::downgrade(&manager)).unwrap();
    let library = module(
        "extern fn host_add(a: i64, b: i64) -> i64\npub fn five() -> i64: 5\n\
         pub fn direct<T>(x: T, n: i64) -> i64: host_add(n, 7)\n",
    );
    manager.compile_file(&scratch("asks_host.smf", &library)).unwrap();
    // It is not asked for functions by name.
    assert_eq!(run(&manager, "absent", &[]), Err("no function `absent`".into()));
    assert!(!asked.lock().unwrap().contains(&b"absent".to_vec()));
    assert_eq!(run(&manager, "direct$i64", &[1, 4]), Ok(11));
}

/// A loader, and the templates of its modules.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
fn loader_with_templates()
-> (TryArc<crate::loader::Loader>, TryArc<crate::loader_templates::LoaderTemplates>) {
    use smf_core::loader::LoaderOptions;
    use smf_core::templates::JitConfig;

    use crate::loader::Loader;
    use crate::loader_templates::LoaderTemplates;

    let loader = TryArc::new(Loader::new(LoaderOptions::default()).unwrap()).unwrap();
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let templates = LoaderTemplates::attach(&loader, config, Default::default()).unwrap();
    (loader, templates)
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn instance_states_why_there_is_none() {
    use smf_core::format::write::{Module, NewSection, Payload};
    use smf_core::format::{Header, Layout, SectionKind};
    use smf_core::loader::ModuleBytes;

    let (loader, templates) = loader_with_templates();
    let modules = loader.modules();
    let bytes = |bytes: Vec<u8>| ModuleBytes::new(bytes).unwrap();
    modules.register_provider(b"provider", bytes(importer("ext", "nowhere"))).unwrap();
    let text = "extern fn ext() -> i64\nfn one(): 1\npub fn plus<T>(a: T) -> i64: ext()\n";
    modules.load(b"library", bytes(module(text))).unwrap();
    let error = templates.instance(b"plus$i64").unwrap_err().to_string();
    let expected = "cannot instantiate `plus$i64`: undefined symbol `ext`; provider: ";
    assert!(error.starts_with(expected) && error.contains("nowhere"), "{error}");
    modules.define(b"nowhere", host_functions::address(b"rt_print").unwrap_or(0x1000)).unwrap();
    assert!(templates.instance(b"plus$i64").unwrap().is_some());
    assert!(templates.instance(b"absent").unwrap().is_none());
    // The templates of another module may be those that are wanted.
    let code = NewSection::code(&[0xc3]);
    let garbage = Payload::Bytes(b"garbage");
    let kind = SectionKind::TemplateCode;
    let body = NewSection { kind, name: b".template", payload: garbage, ..code };
    let (layout, header, sections) = (Layout::Packed, Header::default(), [code, body]);
    let broken = Module { layout, header, stub: &[], sections: &sections, symbols: &[] };
    modules.load(b"broken", bytes(broken.to_vec().unwrap())).unwrap();
    for _ in 0..2 {
        let error = templates.instance(b"absent").unwrap_err().to_string();
        let expected = "no template is known for `absent`, and those of broken cannot be read: ";
        assert!(error.starts_with(expected), "{error}");
    }
    templates.detach().unwrap();
}

/// The templates of a loader, and the function of their module that has the name of one of another module.
#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn instances_are_those_of_loaded_modules_and_call_functions_of_these() {
    use smf_core::loader::ModuleBytes;
    use smf_core::trap;

    let (loader, templates) = loader_with_templates();
    let modules = loader.modules();
    let bytes = |text: &str| ModuleBytes::new(module(text)).unwrap();
    modules.load(b"other", bytes("fn helper(a: i64) -> i64: 0 - a\n")).unwrap();
    let text = "fn helper(a: i64) -> i64: a * 7\nfn calls<T>(x: T, a: i64) -> i64: helper(a)\n";
    modules.register_provider(b"own", bytes(text)).unwrap();
    let instance = templates.instance(b"calls$i64").unwrap().unwrap();
    // SAFETY: the function has two parameters of type i64.
    assert_eq!(unsafe { trap::call(instance.address(), &[1, 6]) }, Ok(42));
    assert!(modules.find(b"own").is_some());

    let text =
        "extern fn nowhere() -> i64\nfn calls_it() -> i64: nowhere()\nfn late<T>(x: T) -> T: x\n";
    modules.load(b"failed", bytes(text)).unwrap_err();
    assert!(templates.instance(b"late$i64").unwrap().is_none());
    templates.detach().unwrap();
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn functions_of_a_module_have_the_types_that_it_states() {
    let text = "fn half(x: f64) -> f64: x / 2.0\nfn narrow(x: u8) -> u8: x + 1\nfn unit(x: bool): print x\n\
                fn length(t: text) -> i64: t.len()\nfn div(a: i64, b: i64) -> i64:\n    assert a != 9, \"not nine\"\n    a / b\n";
    let module = module(text);
    let manager = manager(BackendChoice::Auto);
    manager.compile_file(&scratch("types.smf", &module)).unwrap();
    let call = |name: &str, arguments: &[Value]| {
        // SAFETY: the functions access no memory.
        let result = unsafe { manager.call_by_name(name.as_bytes(), arguments) };
        result.map_err(|error| error.to_string())
    };
    assert_eq!(call("half", &[5.0.into()]), Ok(Some(2.5.into())));
    assert_eq!(call("narrow", &[255_i64.into()]), Ok(Some(0_u8.into())));
    assert_eq!(call("unit", &[true.into()]), Ok(None));
    assert!(run(&manager, "half", &[]).unwrap_err().contains("takes 1 argument"));
    // SAFETY: as above.
    let text = unsafe { manager.call_text(b"half", &[b"0.5"]) };
    assert_eq!(text.unwrap(), "0.25");
    for (name, arguments, expected) in [
        ("half", &[Value::from(3_i64)][..], "argument 1 of function `half`"),
        ("half", &[], "function `half` takes 1 argument, and 0 are given"),
        (
            "narrow",
            &[300_i64.into()],
            "argument 1 of function `narrow`: 300 is no value of type u8",
        ),
        ("unit", &[2_i64.into()], "argument 1 of function `unit`: 2 is no value of type bool"),
        ("length", &[0_i64.into(), 0_i64.into()], "function `length` of a module has a parameter"),
        ("div", &[1_i64.into(), 0_i64.into()], "division by zero, at 7 in function `div`"),
        (
            "div",
            &[9_i64.into(), 1_i64.into()],
            "assertion failed, at 6 in function `div`: not nine",
        ),
    ] {
        let error = call(name, arguments).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
    // The same traps in a function that source has called.
    let source = "extern fn div(a: i64, b: i64) -> i64\nfn ask(a: i64, b: i64) -> i64: div(a, b)\n";
    manager.compile_source("ask.spl", source).unwrap();
    for (arguments, expected) in [
        ([1_i64, 0], "division by zero, at 7 in function `div`"),
        ([9, 1], "assertion failed, at 6 in function `div`: not nine"),
    ] {
        assert_eq!(call("ask", &arguments.map(Value::from)).unwrap_err(), expected);
    }
    // Source that states other types than the module is refused.
    for (declared, called) in [
        ("div(a: i64) -> i64", "div(1)"),
        ("div(a: i64, b: i64) -> f64", "div(1, 2) as i64"),
        ("half(x: i64) -> f64", "half(1) as i64"),
        ("narrow(x: i64) -> u8", "narrow(1) as i64"),
    ] {
        let source = format!("extern fn {declared}\nfn wrong() -> i64: {called}\n");
        let error = manager.compile_source("wrong.spl", &source).unwrap_err().to_string();
        assert!(error.contains("which has another signature"), "{declared}: {error}");
        assert!(!manager.has_function(b"wrong"));
    }
    let source = "extern fn length(t: text) -> i64\nfn right() -> i64: length(\"four\")\n";
    manager.compile_source("right.spl", source).unwrap();
    assert_eq!(run(&manager, "right", &[]), Ok(4));
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

#[test]
fn functions_of_a_module_are_called_by_name_and_by_source() {
    let manager = manager(BackendChoice::Auto);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/bcod.smf");
    manager.compile_file(&path).unwrap();
    let all = names(&manager);
    assert_eq!(all, ["answer", "sum"]);
    assert_eq!(run(&manager, "sum", &[10]), Ok(55));
    assert!(manager.has_function(b"sum") && !manager.has_function(b"printf"));
    let source = "extern fn sum(n: i64) -> i64\nfn next(n: i64) -> i64: sum(n + 1)\n";
    manager.compile_source("s.spl", source).unwrap();
    assert_eq!(run(&manager, "next", &[9]), Ok(55));
    // SAFETY: the call is refused.
    let error = unsafe { manager.call_by_name(b"sum", &[1.5f64.into()]) }.unwrap_err();
    assert_eq!(error.to_string(), "argument 1 of function `sum` must be of type i64");
}

#[test]
fn function_that_is_compiled_hides_that_of_a_module_in_the_list_of_names() {
    let manager = manager(BackendChoice::Auto);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/bcod.smf");
    manager.compile_source("s.spl", "fn sum(n): n\nfn one(): 1\n").unwrap();
    manager.compile_file(&path).unwrap();
    assert_eq!(names(&manager), ["sum", "one", "answer"]);
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn instances_call_functions_of_the_host() {
    extern "C" fn host_add(a: i64, b: i64) -> i64 {
        a + b
    }
    let resolver = |name: &[u8]| (name == b"host_add").then_some(host_add as *const () as u64);
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let manager = ExecManager::new(ExecOptions { symbols, ..ExecOptions::default() }).unwrap();
    // `five` is copied into the code of the instances, because the module does not export it.
    let library = module(
        "extern fn host_add(a: i64, b: i64) -> i64\nfn five(n: i64) -> i64: host_add(n, 5)\n\
         pub fn by_copy<T>(x: T, n: i64) -> i64: five(n)\npub fn direct<T>(x: T, n: i64) -> i64: host_add(n, 7)\n",
    );
    manager.compile_file(&scratch("calls_host.smf", &library)).unwrap();
    manager.compile_file(&scratch("imports.smf", &importer("of_import", "by_copy$i32"))).unwrap();
    for (name, expected) in [("of_import", 9), ("by_copy$i64", 9), ("direct$i64", 11)] {
        assert_eq!(run(&manager, name, &[1, 4]), Ok(expected), "{name}");
    }
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
