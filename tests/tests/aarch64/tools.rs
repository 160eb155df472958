//! Compilers for aarch64, and an `smf` binary that runs their code on any machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use smf_core::format::{Arch, Layout, Smf};
use smf_loader::pack::{Input, Options, PackError, Packed, pack};
use smf_tests::compile::{build, build_package, scratch, succeed};
use smf_tests::skip::{has, lacks};

pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The prefix of the names of the tools for aarch64, which exist under these names on aarch64 as well.
pub(crate) const TOOLS: &str = "aarch64-linux-gnu-";
/// The directory of the libraries for aarch64 on other machines.
pub(crate) const LIBRARIES: &str = "/usr/aarch64-linux-gnu";
pub(crate) const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];
pub(crate) const LAYOUTS: [Layout; 2] = [Layout::Packed, Layout::Native];

/// The compiler; `None`, with a message, if it is missing.
pub(crate) fn compiler() -> Option<String> {
    let gcc = format!("{TOOLS}gcc");
    has(&gcc).then_some(gcc)
}

/// An `smf` binary that runs code for aarch64.
pub(crate) struct Loader {
    binary: PathBuf,
    emulator: Option<&'static str>,
}

impl Loader {
    /// `None` if the machine lacks a required tool.
    pub(crate) fn get() -> Option<&'static Self> {
        static LOADER: OnceLock<Option<Loader>> = OnceLock::new();
        LOADER.get_or_init(Self::new).as_ref()
    }

    fn new() -> Option<Self> {
        if cfg!(target_arch = "aarch64") {
            return Some(Loader { binary: build(None), emulator: None });
        }
        let is_installed = |name: &&str| Command::new(name).arg("--version").output().is_ok();
        let emulator = EMULATORS.into_iter().find(is_installed);
        if emulator.is_none() {
            lacks(EMULATORS[0]);
            return None;
        }
        let directory =
            Command::new("rustc").args(["--print=target-libdir", "--target", TARGET]).output();
        let directory =
            directory.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if !directory.is_ok_and(|directory| Path::new(directory.trim()).exists()) {
            lacks(&format!("the standard library for {TARGET}"));
            return None;
        }
        Some(Loader { binary: build(Some((TARGET, &compiler()?))), emulator })
    }

    /// The command that runs a program for aarch64.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(emulator) = self.emulator else { return Command::new(program) };
        let mut command = Command::new(emulator);
        command.args(["-L", LIBRARIES]).arg(program);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&self.binary);
        command.args(arguments).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Runs `smf` with these arguments: whether it succeeds, and both its outputs.
    pub(crate) fn says(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = self.output(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// The directory of the static library for C with these features.
    pub(crate) fn library(&self, features: &str) -> PathBuf {
        let gcc = compiler().unwrap();
        let target = self.emulator.map(|_| (TARGET, &*gcc));
        let selection = ["--package", "smf-capi-static", "--no-default-features", "--features"];
        build_package(target, &[&selection[..], &[features]].concat())
    }

    /// The host in Rust, built with the same features as a library.
    pub(crate) fn rust_host(&self, features: &str) -> PathBuf {
        let gcc = compiler().unwrap();
        let target = self.emulator.map(|_| (TARGET, &*gcc));
        let selection = ["--package", "smf-capi-static", "--example", "host"];
        let selection =
            [&selection[..], &["--no-default-features", "--features", features]].concat();
        build_package(target, &selection).join("examples/host")
    }

    /// Calls a function of a module and returns its result.
    pub(crate) fn call(
        &self,
        module: &Path,
        function: &str,
        arguments: &[i64],
        more: &[&str],
    ) -> i64 {
        let arguments: Vec<String> = arguments.iter().map(i64::to_string).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let module = module.to_str().unwrap();
        let output = self.output(&[&["run", module, function], &arguments[..], more].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{module} {function} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

/// The bytes of the object compiled from a source file.
pub(crate) fn compiled(source: &Path, flags: &[&str]) -> Option<Vec<u8>> {
    let directory = scratch();
    let object = directory.path().join("out.o");
    let mut command = if source.extension().is_some_and(|extension| extension == "rs") {
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "--emit=obj", "--crate-type=lib", "-Cpanic=abort"]);
        rustc.args(["-Ccodegen-units=1", "--target", TARGET]);
        rustc
    } else {
        let mut gcc = Command::new(compiler()?);
        gcc.args(["-Wall", "-Werror", "-c"]);
        gcc
    };
    command.args(flags).arg(source).arg("-o").arg(&object);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    succeed(&command, &output);
    Some(fs::read(object).unwrap())
}

pub(crate) fn program(name: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let programs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs"));
    compiled(&programs.join(name), flags)
}

/// The object assembled from a text.
pub(crate) fn assembled(text: &str) -> Option<Vec<u8>> {
    let directory = scratch();
    let source = directory.path().join("in.s");
    fs::write(&source, text).unwrap();
    compiled(&source, &[])
}

/// Packs objects, with all relocations, so that the module can be linked again.
pub(crate) fn try_pack(objects: &[&[u8]], layout: Layout) -> Result<Packed, PackError> {
    pack_with(objects, &Options { layout, emit_relocs: true, ..Options::default() })
}

pub(crate) fn pack_with(objects: &[&[u8]], options: &Options<'_>) -> Result<Packed, PackError> {
    let inputs: Vec<_> = objects.iter().map(|data| Input { name: "a.o", data }).collect();
    pack(&inputs, options)
}

/// A module in a file, removed with its directory.
pub(crate) struct File {
    directory: tempfile::TempDir,
}

impl File {
    pub(crate) fn new(module: &[u8]) -> Self {
        let smf = Smf::parse(module).unwrap();
        smf.verify().unwrap();
        assert_eq!(smf.header().arch, Arch::AARCH64);
        let file = File { directory: scratch() };
        fs::write(file.path(), module).unwrap();
        file
    }

    pub(crate) fn packed(objects: &[&[u8]], layout: Layout) -> Self {
        let options = Options { layout, ..Options::default() };
        let packed = pack_with(objects, &options).unwrap_or_else(|error| panic!("{error}"));
        Self::new(&packed.bytes)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("module.smf")
    }
}
