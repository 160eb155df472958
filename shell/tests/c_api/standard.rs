//! Programs with the standard libraries of C++ and Rust: packed, and loaded by a program in C and by this program in
//! Rust; alone and as two modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use smf_core::loader::LoaderOptions;
use smf_core::trap::call;
use smf_loader::host_symbols::HostSymbols;
use smf_loader::loader::Loader;
use smf_loader::pack::{Input, Options, pack};

use crate::{C, Linking, SCRATCH, compile, has, lacks, run_with, succeed};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");

/// Compiles one of the programs with `command` and packs it; `exports` are names that are hidden in archives.
fn packed(mut command: Command, source: &str, output: &str, exports: &[&str]) -> PathBuf {
    let directory = Path::new(SCRATCH).join("standard");
    fs::create_dir_all(&directory).unwrap();
    let compiled = directory.join(output);
    succeed(command.arg("-o").arg(&compiled).arg(Path::new(PROGRAMS).join(source)));
    let input = Input { name: output, data: &fs::read(&compiled).unwrap() };
    let options = Options { exports, ..Options::default() };
    let module = pack(&[input], &options).unwrap_or_else(|error| panic!("{source}: {error}"));
    let path = compiled.with_extension("smf");
    fs::write(&path, module.bytes).unwrap();
    path
}

/// Calls a function of the first of `modules` in a program in C, linked with each library, and in this one. All print
/// `said` and return `result`.
fn check(modules: &[&Path], function: &str, argument: i64, said: [&str; 2], result: i64) {
    let argument_text = argument.to_string();
    let arguments = [Path::new(function), Path::new(&argument_text)];
    let [at_load, at_end] = said;
    for output in run_with("standard", C, &[&arguments[..], modules].concat()) {
        assert_eq!(output, format!("{at_load}{result}\n{at_end}ok\n"), "{function}");
    }
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let mut symbols = HostSymbols::of_process().unwrap();
    // SAFETY: the library of C++ is that of the compiler.
    unsafe { symbols.add_library("stdc++") }.unwrap();
    loader.modules().set_host_resolver(Some(Box::new(symbols))).unwrap();
    let handles = modules.iter().rev().map(|path| loader.load_module(path, None).unwrap());
    let module = loader.modules().get(handles.last().unwrap()).unwrap();
    let address = module.function(function.as_bytes()).unwrap();
    // SAFETY: the function takes an integer and returns one, and the module is held.
    assert_eq!(unsafe { call(address, &[argument]) }.unwrap(), result, "{function}");
}

#[test]
fn cpp_with_streams_exceptions_and_threads_runs_in_c_and_rust() {
    if !has("g++") {
        return;
    }
    for level in ["-O0", "-O2"] {
        let module = |source: &str| {
            let mut gcc = Command::new("g++");
            gcc.args(["-std=c++17", "-Wall", "-Werror", "-fPIC", "-c", level]);
            packed(gcc, source, &format!("{source}{level}.o"), &[])
        };
        let (one, two) = (module("one.cc"), module("two.cc"));
        check(&[&one], "alone", 5, ["negative: -1\n", ""], 300_621);
        check(&[&two, &one], "across", 5, ["made\n", "ended\n"], 5);
        check(&[&two, &one], "across", -5, ["made\n", "ended\n"], -12);
    }
}

#[test]
fn functions_that_every_program_has_of_its_own_run_in_c_and_rust() {
    let mut gcc = Command::new("cc");
    gcc.args(["-Wall", "-Werror", "-fPIC", "-O1", "-c"]);
    let module = packed(gcc, "nonshared.c", "nonshared.o", &[]);
    check(&[&module], "calls", 0, ["", "left\n"], 0);
}

/// LLVM's library of the newest version that is installed.
fn llvm_unwinder() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(Result::ok);
    let libraries = versions.map(|version| version.path().join("lib/libunwind.so.1"));
    let is_llvm = |path: &PathBuf| path.to_string_lossy().contains("/llvm-") && path.exists();
    let found = libraries.filter(is_llvm).max();
    if found.is_none() {
        lacks("libunwind of LLVM");
    }
    found
}

/// libunwind precedes libgcc, so that the library of C++ throws and catches by it.
#[test]
fn exceptions_are_caught_with_the_unwinder_of_llvm() {
    let (Some(unwinder), true) = (llvm_unwinder(), has("g++")) else { return };
    let module = |source: &str| {
        let mut gcc = Command::new("g++");
        gcc.args(["-std=c++17", "-O2", "-c"]);
        packed(gcc, source, &format!("{source}-llvm.o"), &[])
    };
    let (one, two) = (module("one.cc"), module("two.cc"));
    let mut program = Command::new(compile("standard", C, Linking::Shared));
    program.env("LD_PRELOAD", unwinder).args(["across", "-5"]).args([&two, &one]);
    assert_eq!(succeed(&mut program), "made\n-12\nended\nok\n");
}

#[test]
fn rust_with_maps_threads_and_panics_runs_in_c_and_rust() {
    let module = |source: &str, exports: &[&str]| {
        let mut rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()));
        rustc.args(["--edition=2024", "--crate-type=staticlib", "-Copt-level=1"]);
        packed(rustc, source, &format!("{source}.a"), exports)
    };
    let one = module("one.rs", &["count", "caught"]);
    let two = module("two.rs", &["distinct"]);
    check(&[&one], "count", 10, ["", ""], 90_045);
    check(&[&one], "caught", -3, ["", ""], -1);
    check(&[&two, &one], "distinct", 3, ["", ""], 104);
}
