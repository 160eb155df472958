//! Programs without a dynamic loader: linked by musl-gcc with the library for `x86_64-unknown-linux-musl`. The library is a
//! build of its own, so that CI runs these tests in its full set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use smf_core::bytecode::text::{assemble, write_module};
use smf_core::format::Flags;
use smf_loader::pack::{Input, Options, pack};

use crate::{INCLUDE, SCRATCH, SOURCES, has, succeed};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// A module of bytecode that may be replaced.
fn version(value: i64) -> Vec<u8> {
    let text = format!("function answer, 0, 0\n    CONST_I64_PUSH {value}\n    RET 0\n");
    write_module(&assemble(&text).unwrap(), Flags(Flags::RELOADABLE)).unwrap()
}

/// C sources of modules that the host refuses, with options of the compiler.
const REFUSED: [(&str, &str, &str); 4] = [
    ("storage", "-mtls-dialect=gnu2", STORAGE),
    ("general", "-mtls-dialect=gnu", STORAGE),
    ("prints", "-O1", "int printf(const char *, ...); int f(void) { return printf(\"x\"); }\n"),
    (
        "atexit",
        "-O1",
        "int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);\n\
         int f(void) { return __cxa_thread_atexit_impl(0, 0, 0); }\n",
    ),
];

const STORAGE: &str = "_Thread_local long n; long next(void) { return ++n; }\n";

/// Writes a module of a C source.
fn write_packed(directory: &Path, (name, option, source): (&str, &str, &str)) {
    let path = |extension| directory.join(name).with_extension(extension);
    fs::write(path("c"), source).unwrap();
    let mut gcc = Command::new("gcc");
    succeed(gcc.args(["-fPIC", option, "-c", "-o"]).args([path("o"), path("c")]));
    let input = Input { name, data: &fs::read(path("o")).unwrap() };
    fs::write(path("smf"), pack(&[input], &Options::default()).unwrap().bytes).unwrap();
}

/// The directory of the libraries of the toolchain for the target, with the unwinder. That of gcc needs glibc.
fn unwinder() -> PathBuf {
    let mut rustc = Command::new("rustc");
    let printed = succeed(rustc.args(["--print", "target-libdir", "--target", TARGET]));
    Path::new(printed.trim()).join("self-contained")
}

#[test]
#[ignore = "builds the library for another target: `cargo xtask ci full musl`"]
fn static_program_of_musl_loads_and_refuses_by_name() {
    if !has("musl-gcc") {
        return;
    }
    let directory = Path::new(SCRATCH).join("static_host");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("one.smf"), version(1)).unwrap();
    fs::write(directory.join("two.smf"), version(2)).unwrap();
    REFUSED.iter().for_each(|module| write_packed(&directory, *module));
    let target = Path::new(SCRATCH).join("libraries");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "smf-capi-static", "--target", TARGET]);
    build.args(["--no-default-features", "--features", "gdb,exec"]);
    build.args(["--config", "profile.dev.package.smf-core.opt-level=0"]);
    succeed(build.arg("--target-dir").arg(&target));
    let program = directory.join("static_host");
    let mut gcc = Command::new("musl-gcc");
    gcc.args(["-std=c11", "-static", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-O1"]);
    gcc.args(["-pthread", "-I", INCLUDE, "-o"]).arg(&program);
    gcc.arg(Path::new(SOURCES).join("static_host.c"));
    gcc.arg(target.join(TARGET).join("debug/libsmf_loader.a"));
    succeed(gcc.arg("-L").arg(unwinder()).arg("-lunwind"));
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples");
    let said = succeed(Command::new(&program).arg(samples).arg(&directory));
    assert!(said.ends_with("ok\n"), "{said}");
}
