//! The tasks of the project: `cargo xtask TASK`.
//!
//! Nothing here is shipped. Each task prints the commands that it runs in a form that a shell accepts.

mod api;
mod bench_page;
mod ci;
mod deb;
mod error;
mod footprint;
mod freestanding;
mod fuzz;
mod header;
mod install;
mod library;
mod load_order;
mod reproducible;
mod sanitize;
mod sbom;
mod shell;
#[cfg(test)]
#[path = "../../tests/src/skip.rs"]
mod skip;
mod survey;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use error::{At, Error};
use install::Directories;
use shell::cargo;

const USAGE: &str = "\
usage: cargo xtask TASK

  ci [push | full] [STEP...] the checks after a push, or all of them, or these steps; `ci list` names the steps
  tidy                       the rules of the repository that no compiler checks
  figures [DIRECTORY]        counts cycles, unsafe files, lines of code and long functions
  samples                    checks tests/samples against its list and with the `smf` command
  bench [FILTER] [--quick] [--html [FILE]]
                             measures smf against its peers; --html plots the figures on a page, by default
                             target/bench.html
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
  load-order                 lists the functions of a first load in shell/capi/load_order.ld (needs valgrind)
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
        // The tests of the command include them.
        "samples" => cargo("test --package smf-cli --test cli -- samples::").run(),
        "bench" => bench(arguments),
        "api" => api::run(arguments),
        "header" => header::run(),
        "install" => install::run(arguments),
        "deb" => deb::task(arguments),
        "sbom" => sbom::write(Path::new(arguments.first().map_or(".", String::as_str))),
        "footprint" => footprint::run(),
        "load-order" => load_order::run(),
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
    let installed = shell::target().join("install");
    install::install("gdb", &Directories::below(&installed))?;
    let (arguments, page) = with_page(arguments);
    let run = cargo("run --quiet --release --package smf-bench --").args(arguments);
    // The rows about first loads measure this library.
    let run = run.env("SMF_BENCH_LIBRARIES", &installed.join("lib").display().to_string());
    let Some(page) = page else { return run.run() };
    let figures = shell::target().join("bench.json");
    run.args(["--json".as_ref(), figures.as_os_str()]).run()?;
    let text = std::fs::read(&figures).at(&figures)?;
    let figures: serde_json::Value = serde_json::from_slice(&text).at(&figures)?;
    std::fs::write(&page, bench_page::page(&figures)).at(&page)?;
    println!("{}", page.display());
    Ok(())
}

/// The arguments without `--html [FILE]`, and the file of the page. What follows `--html` is a file if it ends in `.html`.
fn with_page(arguments: &[String]) -> (Vec<String>, Option<PathBuf>) {
    let mut rest = arguments.to_vec();
    let Some(at) = rest.iter().position(|argument| argument == "--html") else {
        return (rest, None);
    };
    rest.remove(at);
    let named = rest.get(at).is_some_and(|argument| argument.ends_with(".html"));
    let page =
        if named { PathBuf::from(rest.remove(at)) } else { shell::target().join("bench.html") };
    (rest, Some(page))
}
