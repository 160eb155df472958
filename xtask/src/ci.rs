//! Every check there is, in the order in which they fail soonest.
//!
//! `.ci/run` gets what these steps need and calls this. A step that lacks something says so and is
//! counted as skipped, never as passed; where `CI` is set, it has failed.

use std::fs;
use std::time::Instant;

use crate::error::Error;
use crate::shell::{Command, cargo, command, root, target};
use crate::{freestanding, fuzz, hold_header, samples, sanitize, tidy};

/// How a step came out.
enum Outcome {
    /// So many checks passed.
    Passed(u64),
    /// What the machine lacks.
    Skipped(String),
}

type Step = (&'static str, fn() -> Result<Outcome, Error>);

const STEPS: [Step; 16] = [
    ("tidy", || tidy::run().map(|()| Outcome::Passed(1))),
    ("header", || hold_header().map(|()| Outcome::Passed(1))),
    ("format", format),
    ("clippy", clippy),
    ("test", test),
    ("alone", alone),
    ("models", models),
    ("miri", miri),
    ("docs", docs),
    ("samples", || samples::run().map(|()| Outcome::Passed(1))),
    ("readme", readme),
    ("freestanding", || freestanding::run().map(Outcome::Passed)),
    ("architectures", architectures),
    ("aarch64", aarch64),
    ("riscv64", riscv64),
    ("fuzz", fuzz_targets),
];

/// How long each fuzz target runs, in seconds.
const FUZZ_SECONDS: u32 = 30;

/// What the module that the README runs returns.
const README_OUTPUT: &str = "42\n";

pub(crate) fn run(wanted: &[String]) -> Result<(), Error> {
    if wanted == ["list"] {
        STEPS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let unknown = wanted.iter().find(|name| STEPS.iter().all(|(step, _)| step != name));
    if let Some(name) = unknown {
        return Err(Error::NoSuchStep(name.clone()));
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut summary = Vec::new();
    for (name, step) in STEPS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        let seconds = start.elapsed().as_secs();
        summary.push(match outcome {
            Ok(Outcome::Passed(count)) => {
                passed += count;
                format!("{name}: ok, {seconds} s")
            }
            Ok(Outcome::Skipped(missing)) => {
                skipped += 1;
                format!("{name}: SKIPPED, {missing}")
            }
            Err(error) => {
                failed += 1;
                format!("{name}: FAILED, {error}")
            }
        });
    }
    println!("\n== summary");
    summary.iter().for_each(|line| println!("{line}"));
    if skipped != 0 {
        println!("{skipped} steps skipped");
    }
    if std::env::var_os("CI").is_some() {
        failed += skipped;
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Error::Broken(failed, "steps")) }
}

fn format() -> Result<Outcome, Error> {
    cargo("fmt --all --check").run()?;
    cargo("fmt --manifest-path fuzz/Cargo.toml --check").run()?;
    Ok(Outcome::Passed(2))
}

fn clippy() -> Result<Outcome, Error> {
    let alone = "--package smf-loader --no-default-features";
    // What the libraries for C are built of, in either convention.
    let c = format!("{alone} --features c-api,gdb");
    let tagged = format!("{alone} --features tagged,jit");
    // Alone, the core has no decoders.
    for features in ["--workspace", alone, &c, &tagged, "--package smf-core"] {
        cargo(&format!("clippy {features} --all-targets --quiet -- -D warnings")).run()?;
    }
    Ok(Outcome::Passed(5))
}

/// The core without its decoders, which the tests of everything together have: what is compressed is
/// then an error that says so.
fn alone() -> Result<Outcome, Error> {
    count_tests(cargo("test --package smf-core --test cache --test link"))
}

/// Lock-free steps in every order in which threads can take them. A build of its own, because all of it
/// is compiled with the checker's atomics.
fn models() -> Result<Outcome, Error> {
    let directory = target().join("models");
    let tests = cargo("test --package smf-core --lib --release --target-dir").args([directory]);
    let tests = tests.args(["--", "model::"]).env("RUSTFLAGS", "--cfg loom");
    // The models take seconds; optimising what is shipped takes minutes.
    count_tests(tests.env("CARGO_PROFILE_RELEASE_LTO", "off"))
}

/// Unsafe code of the cache and of memory, in an interpreter that knows every byte.
fn miri() -> Result<Outcome, Error> {
    if !cargo("+nightly miri --version").succeeds() {
        return Ok(Outcome::Skipped("no nightly toolchain, or no miri".to_owned()));
    }
    sanitize::miri_quickly().map(|()| Outcome::Passed(1))
}

/// What the README tells to run, and as many checks as it has tests.
fn test() -> Result<Outcome, Error> {
    count_tests(cargo("test --no-fail-fast").env("CI", "1"))
}

/// Runs tests and counts those that passed.
fn count_tests(tests: Command) -> Result<Outcome, Error> {
    let mut passed = 0;
    tests.for_each_line(|line| {
        println!("{line}");
        passed += passed_tests(line).unwrap_or(0);
    })?;
    Ok(Outcome::Passed(passed))
}

/// The number in a line such as `test result: ok. 12 passed; 0 failed; ...`.
fn passed_tests(line: &str) -> Option<u64> {
    let result = line.strip_prefix("test result: ")?;
    let (_, counts) = result.split_once(". ")?;
    counts.split_once(" passed;")?.0.parse().ok()
}

fn docs() -> Result<Outcome, Error> {
    cargo("doc --workspace --no-deps --quiet").env("RUSTDOCFLAGS", "-D warnings").run()?;
    Ok(Outcome::Passed(1))
}

/// The command with which the README runs a module, word for word.
fn readme() -> Result<Outcome, Error> {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).map_err(|error| Error::File(path.clone(), error))?;
    let line = text.lines().map(|line| line.trim().trim_start_matches("$ "));
    let mut runs =
        line.filter(|line| line.starts_with("cargo run ") && line.contains(" smf -- run "));
    let line = runs.next().ok_or(Error::Missing("command that runs a module", path.clone()))?;
    println!("$ {line}");
    let found = command(line).output()?;
    print!("{found}");
    if found == README_OUTPUT {
        return Ok(Outcome::Passed(1));
    }
    Err(Error::Output { command: line.to_owned(), expected: README_OUTPUT, found })
}

fn architectures() -> Result<Outcome, Error> {
    let targets = ["aarch64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"];
    if let Some(target) = targets.iter().find(|target| !has_target(target)) {
        return Ok(Outcome::Skipped(format!("the target {target} is not installed")));
    }
    for target in targets {
        cargo("check --package smf-core --target").args([target]).run()?;
    }
    Ok(Outcome::Passed(2))
}

fn aarch64() -> Result<Outcome, Error> {
    let filters = ["format", "link", "cache", "memory::icache", "tier", "loader::bytecode"];
    emulated("aarch64-unknown-linux-gnu", "aarch64", &filters)
}

fn riscv64() -> Result<Outcome, Error> {
    let filters = ["format", "cache", "memory::icache", "tier", "loader::bytecode"];
    emulated("riscv64gc-unknown-linux-gnu", "riscv64", &filters)
}

/// Tests of the core for another machine, in an emulator. What runs code in memory that is mapped at two
/// addresses takes a real machine: emulators look for changes at the address alone where code runs.
fn emulated(target: &str, name: &str, filters: &[&str]) -> Result<Outcome, Error> {
    if !has_target(target) {
        return Ok(Outcome::Skipped(format!("the target {target} is not installed")));
    }
    let is_there = |program: &String| command(&format!("{program} --version")).succeeds();
    let linker = format!("{name}-linux-gnu-gcc");
    let emulators = [format!("qemu-{name}-static"), format!("qemu-{name}")];
    let Some(emulator) = emulators.iter().find(|&emulator| is_there(emulator)) else {
        return Ok(Outcome::Skipped(format!("no {}", emulators[0])));
    };
    if !is_there(&linker) {
        return Ok(Outcome::Skipped(format!("no {linker}")));
    }
    let variable = target.to_uppercase().replace('-', "_");
    let runner = format!("{emulator} -L /usr/{name}-linux-gnu");
    let tests = cargo("test --package smf-core --lib --target")
        .args([target, "--"])
        .args(filters)
        // They count mappings in a process of their own, which would not be the emulator's.
        .args(["--skip", "faults::"]);
    let tests = tests.env(&format!("CARGO_TARGET_{variable}_LINKER"), &linker);
    count_tests(tests.env(&format!("CARGO_TARGET_{variable}_RUNNER"), &runner))
}

/// Whether the standard library for `target` is there.
pub(crate) fn has_target(target: &str) -> bool {
    let directory = command("rustc --print target-libdir --target").args([target]).output();
    directory.is_ok_and(|directory| fs::exists(directory.trim()).unwrap_or(false))
}

fn fuzz_targets() -> Result<Outcome, Error> {
    if !cargo("+nightly fuzz --version").succeeds() {
        return Ok(Outcome::Skipped("no nightly toolchain, or no cargo-fuzz".to_owned()));
    }
    fuzz::each(FUZZ_SECONDS, &[]).map(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_tests_that_passed() {
        let line = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(passed_tests(line), Some(12));
        assert_eq!(passed_tests("test result: FAILED. 7 passed; 1 failed; 0 ignored"), Some(7));
        assert_eq!(passed_tests("test a::passed ... ok"), None);
    }
}
