//! The chores of the project: `cargo xtask CHORE`.
//!
//! Nothing here is shipped and nothing depends on a crate, so that a chore starts at once. Each chore
//! prints the commands it runs, as they could be typed.

mod ci;
mod error;
mod footprint;
mod freestanding;
mod fuzz;
mod header;
mod samples;
mod sanitize;
mod shell;
mod tidy;

use std::process::ExitCode;

use error::Error;
use shell::cargo;

const USAGE: &str = "\
usage: cargo xtask CHORE

  ci [STEP...]               every check there is, or only these; `ci list` names them
  tidy                       the rules of the house that no compiler checks
  samples                    holds tests/samples against its list and against the `smf` binary
  bench [FILTER] [--quick]   measures smf against its peers
  header                     holds smf.h against the exports of the library
  footprint [--order]        the sizes of what is shipped; or lays out what loading a module runs
  fuzz [--seconds N] [TARGET...]
                             every fuzz target, or these, as many at once as there are cores
  soak [--minutes N]         everything at once, with memory flat in the end
  tsan, asan                 tests of the core under a sanitizer (nightly)
  miri                       tests of the core in the interpreter, with a shim for a kernel (nightly)
  freestanding               the loader without libc, and without a kernel: built, measured, run
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((chore, arguments)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match chore.as_str() {
        "ci" => ci::run(arguments),
        "tidy" => tidy::run(),
        "samples" => samples::run(),
        "bench" => bench(arguments),
        "header" => hold_header(),
        "footprint" => footprint::run(arguments),
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

/// The benchmarks are a package of their own, because of the peers that it brings along.
fn bench(arguments: &[String]) -> Result<(), Error> {
    cargo("build --quiet --release --package smf-loader --bin smf").run()?;
    cargo("run --quiet --release --package smf-bench --").args(arguments).run()
}

/// `smf.h` is part of the tests of the library too, which include the check as it stands.
fn hold_header() -> Result<(), Error> {
    header::check(shell::root()).map_err(|differences| {
        println!("{differences}");
        Error::Broken(differences.lines().count(), "header")
    })
}
