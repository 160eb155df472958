//! Compilers and the `smf` binary, called as a user calls them.
//!
//! On a machine without a compiler the tests that need it report that they are skipped; where the variable `CI` is set,
//! they fail.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::skip::lacks;

/// A temporary directory, removed when dropped.
///
/// # Panics
/// If it cannot be created.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A compiler that emits relocatable objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// `gcc`, for C.
    Gcc,
    /// `rustc`, for Rust without std.
    Rustc,
}

impl Compiler {
    /// The compiler for the language of `source`.
    ///
    /// # Panics
    /// For a source in no language with a compiler.
    pub fn of(source: &Path) -> Self {
        match source.extension().and_then(OsStr::to_str) {
            Some("c") => Compiler::Gcc,
            Some("rs") => Compiler::Rustc,
            _ => panic!("no compiler for {}", source.display()),
        }
    }

    fn command(self) -> Command {
        match self {
            Compiler::Gcc => Command::new("gcc"),
            Compiler::Rustc => Command::new("rustc"),
        }
    }

    /// Compiles `source` to an object at `level` (0 to 3) with `extra` arguments and writes it to
    /// `object`. `false` if the machine does not have the compiler.
    ///
    /// # Panics
    /// If the compiler fails, or is missing where the variable `CI` is set.
    pub fn compile(self, source: &Path, level: u8, extra: &[&str], object: &Path) -> bool {
        let mut command = self.command();
        match self {
            Compiler::Gcc => command.arg(format!("-O{level}")).args(["-Wall", "-Werror", "-c"]),
            Compiler::Rustc => command
                .arg(format!("-Copt-level={level}"))
                .args(["--edition=2024", "--emit=obj", "--crate-type=lib"])
                .args(["-Cpanic=abort", "-Coverflow-checks=off", "-Cdebug-assertions=off"])
                .arg("-Ccodegen-units=1"),
        };
        command.args(extra).arg(source).arg("-o").arg(object);
        match command.output() {
            Ok(output) => succeed(&command, &output),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                lacks(&command.get_program().to_string_lossy());
                return false;
            }
            Err(error) => panic!("{command:?}: {error}"),
        }
        true
    }
}

/// Runs the `smf` binary with `arguments`.
///
/// # Panics
/// If it cannot be built or started.
pub fn smf<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = Command::new(smf_binary());
    command.args(arguments);
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The `smf` binary of the profile that the tests were built in.
///
/// # Panics
/// If it cannot be built.
pub fn smf_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build(None))
}

/// Builds the `smf` binary in the profile that the tests were built in, for this machine or for another target with a
/// linker for it, and returns its path. Cargo does not build the binaries of other packages for tests by itself.
///
/// # Panics
/// If it cannot be built.
pub fn build(target: Option<(&str, &str)>) -> PathBuf {
    build_package(target, &["--package", "smf-cli"]).join("smf")
}

/// Builds what the arguments of cargo select, as [`build`] does, and returns the directory of the results.
///
/// # Panics
/// If it cannot be built.
pub fn build_package(target: Option<(&str, &str)>, selection: &[&str]) -> PathBuf {
    // .../target/debug/deps/test-0123456789abcdef
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    // A directory of its own: this build has other features than the running one, and libraries that are linked
    // into C programs have no hash in their names to distinguish the two.
    let directory = &profile.parent().unwrap().join("for-tests");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet"]).args(selection);
    // The tests start the command often, for little work each time.
    cargo.args(["--config", "profile.dev.package.smf-core.opt-level=0"]);
    cargo.arg("--target-dir").arg(directory);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let mut built = directory.to_owned();
    if let Some((target, linker)) = target {
        let variable = target.to_uppercase().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), linker).args(["--target", target]);
        built.push(target);
    }
    let output = cargo.output().unwrap_or_else(|error| panic!("{cargo:?}: {error}"));
    succeed(&cargo, &output);
    built.join(profile.file_name().unwrap())
}

/// Panics if a command has failed.
///
/// # Panics
/// With the output of the command.
pub fn succeed(command: &Command, output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
}
