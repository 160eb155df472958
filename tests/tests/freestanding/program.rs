//! The program, built for every machine that is supported here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use smf_core::format::Arch;
use smf_core::link::host_arch;
use smf_tests::compile::succeed;
use smf_tests::scale::scale;
use smf_tests::skip::{has, lacks};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/freestanding");

/// The program built for a machine, and the emulator that runs it.
pub(crate) struct Machine {
    pub(crate) arch: Arch,
    pub(crate) binary: PathBuf,
    emulator: Option<&'static str>,
}

impl Machine {
    /// This machine; in the exhaustive mode also those with an emulator.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Machine>> = OnceLock::new();
        ALL.get_or_init(|| {
            let machines = [
                (Arch::X86_64, "x86_64-unknown-linux-gnu", "qemu-x86_64-static"),
                (Arch::AARCH64, "aarch64-unknown-linux-gnu", "qemu-aarch64-static"),
                (Arch::RISCV64, "riscv64gc-unknown-linux-gnu", "qemu-riscv64-static"),
            ];
            let is_covered = |arch| scale(true, arch == host_arch());
            machines
                .into_iter()
                .filter(|machine| is_covered(machine.0))
                .filter_map(Self::new)
                .collect()
        })
    }

    /// This machine.
    pub(crate) fn this() -> Option<&'static Self> {
        Self::all().iter().find(|machine| machine.emulator.is_none())
    }

    fn new((arch, target, emulator): (Arch, &str, &'static str)) -> Option<Self> {
        let is_this = arch == host_arch();
        let emulator = (!is_this).then_some(emulator);
        if emulator.is_some_and(|emulator| !has(emulator)) || !has_library(target) {
            return None;
        }
        Some(Self { arch, binary: build(target), emulator })
    }

    /// A command that runs the program.
    pub(crate) fn command(&self) -> Command {
        match self.emulator {
            None => Command::new(&self.binary),
            Some(emulator) => {
                let mut command = Command::new(emulator);
                command.arg(&self.binary);
                command
            }
        }
    }
}

/// Whether the standard library for a target is installed.
fn has_library(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let output = rustc.args(["--print=target-libdir", "--target", target]).output();
    let directory = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let found = directory.is_ok_and(|directory| Path::new(directory.trim()).exists());
    if !found {
        lacks(&format!("the standard library for {target}"));
    }
    found
}

/// Builds the program with the configuration of its directory.
fn build(target: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freestanding");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--target", target, "--target-dir"]);
    cargo.arg(&directory).current_dir(SOURCE);
    // The directory configures the linker.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = cargo.output().unwrap_or_else(|error| panic!("{cargo:?}: {error}"));
    succeed(&cargo, &output);
    directory.join(target).join("release/freestanding")
}
