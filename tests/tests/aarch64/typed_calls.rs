//! `smf_call` in a C program.

use std::path::Path;
use std::process::Command;

use smf_tests::compile::{scratch, succeed};

use crate::tools::{Loader, compiler};

const SHELL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shell");

#[test]
fn typed_calls_pass_and_return_every_type() {
    let Some(loader) = Loader::get() else { return };
    let place = scratch();
    let program = place.path().join("typed_calls");
    let sources = Path::new(SHELL).join("tests/c");
    let mut gcc = Command::new(compiler().unwrap());
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread", "-DSMF_NO_JIT"]);
    gcc.args(["-Wno-unused-function", "-I"]).arg(Path::new(SHELL).join("include"));
    gcc.arg("-o").arg(&program).arg(sources.join("typed_calls.c"));
    gcc.arg(loader.library("typed-calls").join("libsmf_loader.a")).args(["-lm", "-ldl"]);
    let output = gcc.output().unwrap();
    succeed(&gcc, &output);
    let mut run = loader.command(&program);
    let output = run.output().unwrap();
    succeed(&run, &output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
}
