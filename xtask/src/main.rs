//! The tasks of the project: `cargo xtask TASK`.
//!
//! Nothing here is shipped. Each task prints the commands that it runs in a form that a shell accepts.

mod api;
mod ci;
mod deb;
mod error;
mod footprint;
mod freestanding;
mod fuzz;
mod header;
mod install;
mod library;
mod reproducible;
mod samples;
mod sanitize;
mod sbom;
mod shell;
mod survey;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use error::Error;
use install::Directories;
use shell::cargo;

const USAGE: &str = "\
usage: cargo xtask TASK

  ci [push | full] [STEP...] the checks after a push, or all of them, or these steps; `ci list` names the steps
  tidy                       the rules of the repository that no compiler checks
  figures [DIRECTORY]        counts cycles, unsafe files, lines of code and long functions
  samples                    checks tests/samples against its list and with the `smf` command
  bench [FILTER] [--quick]   measures smf against its peers
  api [--update]             compares the listings of the public Rust API (api.txt) with the code, or writes them
  header                     checks smf.h against the exports of the library
  install [--prefix DIR] [--libdir DIR] [--destdir DIR] [--features LIST] [--libraries]
                             builds and installs the libraries for C, headers, files for pkg-config and CMake,
                             and, without --libraries, the command with man pages and completions; the default
                             prefix is target/install, the default libdir lib
  deb [--check] [--maintainer 'NAME <ADDRESS>']
                             builds packages for Debian in target/deb; --check runs lintian, and installs, uses and
                             removes them in a new system (debootstrap, as root); the default maintainer is
                             metadata.deb.maintainer of shell/cli/Cargo.toml
  sbom [DIRECTORY]           writes sbom.spdx.json and licences.txt: the crates in the shipped files
  footprint                  the sizes of the shipped files
  survey DIRECTORY           packs, verifies and loads every static archive below the directory
  fuzz [--seconds N] [TARGET...]
                             all fuzz targets, or these, as many at once as there are cores
  soak [--minutes N]         all operations at once, with constant memory at the end
  tsan, asan                 tests of the core under a sanitizer (nightly)
  miri                       tests of the core in Miri, with a shim for the kernel (nightly)
  freestanding               builds, measures and runs the loader without libc; builds it without a kernel
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, arguments)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match task.as_str() {
        "ci" => ci::run(arguments),
        "tidy" => tidy::run(),
        "figures" => tidy::print_figures(arguments.first().map_or(shell::root(), Path::new)),
        "samples" => samples::run(),
        "bench" => bench(arguments),
        "api" => api::run(arguments),
        "header" => check_header(),
        "install" => install::run(arguments),
        "deb" => deb::task(arguments),
        "sbom" => sbom::write(Path::new(arguments.first().map_or(".", String::as_str))),
        "footprint" => footprint::run(),
        "survey" => survey::run(arguments),
        "soak" => sanitize::soak(arguments),
        "tsan" => sanitize::sanitize("thread"),
        "asan" => sanitize::sanitize("address"),
        "miri" => sanitize::miri(),
        "fuzz" => fuzz::run(arguments),
        "freestanding" => freestanding::run().map(drop),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The benchmarks are a package of their own because of their dependencies.
fn bench(arguments: &[String]) -> Result<(), Error> {
    cargo("build --quiet --release --package smf-cli").run()?;
    install::install("gdb", &Directories::below(&shell::target().join("install")))?;
    cargo("run --quiet --release --package smf-bench --").args(arguments).run()
}

/// The tests of the library include the same check.
fn check_header() -> Result<(), Error> {
    header::check(shell::root()).map_err(|differences| {
        println!("{differences}");
        Error::Findings(differences.lines().count(), "header")
    })
}
