//! Writes the module embedded in the program, for the target machine.

use std::path::Path;
use std::{env, fs, io};

use smf_core::format::Arch;

#[path = "../src/tiny.rs"]
#[expect(unreachable_pub, reason = "public in its own package")]
mod tiny;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-changed=../src/tiny.rs");
    let arch = match variable("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => Arch::X86_64,
        "aarch64" => Arch::AARCH64,
        "riscv64" => Arch::RISCV64,
        other => return Err(io::Error::other(format!("no module for {other}"))),
    };
    let module = tiny::module(arch, 0).map_err(|error| io::Error::other(error.to_string()))?;
    fs::write(Path::new(&variable("OUT_DIR")?).join("module.smf"), module)
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")))
}
