//! The sizes of the shipped files, in release builds, and their memory use. Those with a limit fail the task above it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{At, Error};
use crate::install::{self, Directories};
use crate::shell::{cargo, command, root, target};

/// The number of measurements of resident memory. The kernel faults pages in by sixteens, which random addresses align
/// differently: a few runs differ by 50 KiB.
const RUNS: usize = 301;

pub(crate) fn run() -> Result<(), Error> {
    let installed = target().join("install");
    install::install("gdb", &Directories::below(&installed))?;
    let (release, libraries) = (target().join("release"), installed.join("lib"));
    cargo("build --quiet --release --package smf-cli").run()?;
    let library = stripped(&libraries)?;
    let without = Program::compile("", &libraries)?.resident()?;
    let more = Program::compile("-DLOAD", &libraries)?.resident()?.saturating_sub(without);

    let all = target().join("footprint");
    install::install("gdb,jit", &Directories::below(&all))?;
    let library_with_jit = stripped(&all.join("lib"))?;
    install::install("gdb,exec", &Directories::below(&all))?;
    let library_with_exec = stripped(&all.join("lib"))?;

    let format = core_text("--no-default-features")?;
    let core = core_text("")?;

    println!();
    let is_small = is_within("libsmf_loader.so, stripped", library, 700);
    print_size("the same with the feature jit", library_with_jit);
    print_size("the same with the feature exec", library_with_exec);
    print_size("libsmf_loader.a", size(&libraries.join("libsmf_loader.a"))?);
    print_size("smf", size(&release.join("smf"))?);
    print_size("smf-core, text, format alone", format);
    print_size("smf-core, text", core);
    print_size("resident, without the library", without);
    let is_light = is_within("resident, a module loaded: more", more, 400);
    match [is_small, is_light].iter().filter(|is_within| !**is_within).count() {
        0 => Ok(()),
        count => Err(Error::Findings(count, "limits of the footprint")),
    }
}

/// The size of the stripped shared library in a directory.
fn stripped(directory: &Path) -> Result<u64, Error> {
    let stripped = target().join("libsmf_loader.stripped.so");
    command("strip --strip-unneeded -o")
        .args([stripped.as_path(), &directory.join("libsmf_loader.so")])
        .run()?;
    size(&stripped)
}

/// A C program that loads one small module, or none.
struct Program(PathBuf);

impl Program {
    fn compile(define: &str, libraries: &Path) -> Result<Self, Error> {
        let path = target().join(format!("resident{define}"));
        command(&format!("gcc -O2 {define} -Ishell/include xtask/src/footprint/resident.c -o"))
            .args([path.as_path()])
            .args(if define.is_empty() { vec![] } else { vec!["-lsmf_loader", "-rdynamic"] })
            .args([format!("-L{}", libraries.display())])
            // Cargo's LD_LIBRARY_PATH names another build, and only an old-style run path has precedence.
            .args([format!("-Wl,--disable-new-dtags,-rpath,{}", libraries.display())])
            .run()?;
        Ok(Program(path))
    }

    /// The module that it loads.
    fn module(&self) -> PathBuf {
        root().join("tests/samples/packed.smf")
    }

    /// The resident memory in bytes: the median of the runs.
    fn resident(&self) -> Result<u64, Error> {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            let found = command(&self.0.display().to_string()).args([self.module()]).output()?;
            let kilobytes =
                found.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            runs.push(kilobytes.ok_or_else(|| Error::Missing("number", self.0.clone()))? << 10);
        }
        runs.sort_unstable();
        runs.get(RUNS / 2).copied().ok_or_else(|| Error::Missing("run", self.0.clone()))
    }
}

/// Code and read-only data of the core with these features.
fn core_text(features: &str) -> Result<u64, Error> {
    // Whole-program optimisation leaves no machine code in the library of one crate.
    let directory = target().join("footprint");
    cargo(&format!("build --quiet --release --package smf-core {features} --target-dir"))
        .args([directory.as_path()])
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .run()?;
    text_size(&directory.join("release").join("libsmf_core.rlib"))
}

fn print_size(what: &str, bytes: u64) {
    println!("{what:32} {bytes:>10} bytes");
}

/// Prints a size beside its limit. Returns whether it is within.
fn is_within(what: &str, bytes: u64, limit_kib: u64) -> bool {
    println!("{what:32} {bytes:>10} bytes, limit: {}", limit_kib << 10);
    bytes <= limit_kib << 10
}

fn size(path: &Path) -> Result<u64, Error> {
    let metadata = fs::metadata(path).at(path)?;
    Ok(metadata.len())
}

/// Code and read-only data of all objects in an archive.
fn text_size(archive: &Path) -> Result<u64, Error> {
    let table = command("size --totals").args([archive]).output()?;
    // The header, a line for each object, and the totals, whose first column is the text.
    let total = table.lines().last().and_then(|line| line.split_whitespace().next()?.parse().ok());
    total.ok_or_else(|| Error::Missing("line of totals", archive.to_owned()))
}
