//! The checks of the project, in the order in which they fail soonest.
//!
//! `cargo xtask ci` runs the push set, which takes less than 30 minutes on two cores from a fresh clone;
//! `.ci/run` installs what the steps need and calls it. `cargo xtask ci full` runs the same steps in their exhaustive
//! modes and adds the sanitizers, Miri and the slow emulators.
//!
//! A step that lacks a tool reports it and counts as skipped, never as passed; where the variable `CI` is set, a
//! skipped step counts as failed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::error::{At, Error};
use crate::shell::{Command, cargo, command, target};
use crate::{api, deb, footprint, freestanding, fuzz, header, reproducible, sanitize, tidy};

/// The reports of skipped tests (`tests/src/skip.rs`), for the summary.
static SKIPPED_TESTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The result of a step.
enum Outcome {
    /// The number of checks that passed.
    Passed(u64),
    /// The tool that the machine lacks.
    Skipped(String),
}

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// After each push.
    Push,
    /// Before a release: exhaustive modes, sanitizers, Miri, long fuzzing.
    Full,
}

struct Step {
    name: &'static str,
    /// The smallest set that contains it.
    set: Set,
    run: fn(Set) -> Result<Outcome, Error>,
}

const fn push(name: &'static str, run: fn(Set) -> Result<Outcome, Error>) -> Step {
    Step { name, set: Set::Push, run }
}

const fn full(name: &'static str, run: fn(Set) -> Result<Outcome, Error>) -> Step {
    Step { name, set: Set::Full, run }
}

const STEPS: [Step; 24] = [
    push("tidy", |_| tidy::run().map(|()| Outcome::Passed(1))),
    push("api", |_| api::run(&[]).map(|()| Outcome::Passed(1))),
    push("header", |_| header::run().map(|()| Outcome::Passed(1))),
    push("format", |_| format()),
    push("clippy", |_| clippy()),
    push("test", test),
    push("features", |_| features()),
    push("models", |_| models()),
    push("docs", |_| docs()),
    push("newcomer", newcomer),
    push("freestanding", |_| freestanding::run().map(Outcome::Passed)),
    push("architectures", |_| architectures()),
    push("fuzz", fuzz_targets),
    full("footprint", |_| footprint::run().map(|()| Outcome::Passed(2))),
    full("llvm", |_| llvm()),
    full("browser", |_| browser()),
    full("musl", |_| musl()),
    full("packages", |_| packages()),
    full("reproducible", |_| reproducible::run().map(|()| Outcome::Passed(1))),
    full("aarch64", |_| aarch64()),
    full("riscv64", |_| riscv64()),
    full("miri", |_| miri()),
    full("asan", |_| sanitizer("address")),
    full("tsan", |_| sanitizer("thread")),
];

/// The seconds that each fuzz target runs in the push set.
const FUZZ_SECONDS: u32 = 5;

/// The same in the full set.
const LONG_FUZZ_SECONDS: u32 = 300;

/// The exit status of `newcomer` on a machine from which it cannot build a root.
const LACKS_TOOL: i32 = 77;

/// `ci [push | full | list | STEP...]`. A step that is named runs in its exhaustive mode after `full`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let (set, wanted) = match arguments {
        [first, rest @ ..] if first == "full" => (Set::Full, rest),
        [first, rest @ ..] if first == "push" => (Set::Push, rest),
        rest => (Set::Push, rest),
    };
    if wanted == ["list"] {
        STEPS.iter().for_each(|step| println!("{:14} {:?}", step.name, step.set));
        return Ok(());
    }
    let unknown = wanted.iter().find(|name| STEPS.iter().all(|step| step.name != **name));
    if let Some(name) = unknown {
        return Err(Error::no_such("step", name, STEPS.iter().map(|step| step.name)));
    }
    let is_wanted = |step: &&Step| match wanted {
        [] => set == Set::Full || step.set == Set::Push,
        names => names.iter().any(|name| name == step.name),
    };
    run_steps(STEPS.iter().filter(is_wanted), set)
}

fn run_steps<'s>(steps: impl Iterator<Item = &'s Step>, set: Set) -> Result<(), Error> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut summary = Vec::new();
    let begin = Instant::now();
    for Step { name, run, .. } in steps {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = run(set);
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
                format!("{name}: FAILED after {seconds} s, {error}")
            }
        });
    }
    println!("\n== summary");
    summary.iter().for_each(|line| println!("{line}"));
    for report in &*SKIPPED_TESTS.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{report}");
    }
    if skipped != 0 {
        println!("{skipped} steps skipped");
    }
    if std::env::var_os("CI").is_some() {
        failed += skipped;
    }
    println!("{passed} passed, {failed} failed, {} s", begin.elapsed().as_secs());
    if failed == 0 { Ok(()) } else { Err(Error::Findings(failed, "steps")) }
}

fn format() -> Result<Outcome, Error> {
    cargo("fmt --all --check").run()?;
    cargo("fmt --manifest-path fuzz/Cargo.toml --check").run()?;
    Ok(Outcome::Passed(2))
}

fn clippy() -> Result<Outcome, Error> {
    let shell = "--package smf-loader --no-default-features";
    // The features of the libraries for C, in either convention; with the second also those that need no execution manager.
    let c = format!("{shell} --features c-api,gdb");
    let tagged = format!("{shell} --features tagged,source,pack");
    // All but `llvm`, which has a step of its own: not every machine has LLVM.
    let all = "--package smf-loader --features \
        tagged,gdb,libffi,exec,cranelift,inspect,serde,tracing,pack";
    // The core alone has no decoders. No step runs tests with the features of the last three.
    for (features, targets) in [
        ("--workspace", "--all-targets"),
        (all, "--all-targets"),
        ("--package smf-core", "--all-targets"),
        (shell, "--lib --examples"),
        (&c, "--lib"),
        (&tagged, "--lib"),
    ] {
        cargo(&format!("clippy {features} {targets} --quiet -- -D warnings")).run()?;
    }
    Ok(Outcome::Passed(6))
}

/// The tests of the workspace, with the command that the README names.
fn test(set: Set) -> Result<Outcome, Error> {
    let tests = cargo("test --no-fail-fast").env("CI", "1");
    passed(if set == Set::Full { tests.env("SMF_EXHAUSTIVE", "1") } else { tests })
}

/// The core without decoders: compressed sections are errors there. The tests of the workspace have the decoders. Then the
/// core without `all-files`, the execution manager with all back ends, on its own tests and on random programs, and the
/// examples of `serde` and `tracing`.
fn features() -> Result<Outcome, Error> {
    let all = "--package smf-loader --package smf-clif \
        --features smf-loader/cranelift,smf-loader/serde,smf-loader/tracing";
    all_passed(&[
        "test --package smf-core --test cache --test link -- modules:: compressed_sections",
        "test --package smf-core --test rare_modules --no-default-features",
        // One build of the library for all three.
        &format!("test {all} --lib --test agree -- exec:: events:: agree"),
        &format!("test {all} --doc -- events inspect::"),
    ])
}

/// The LLVM back end: its lints, the tests of the execution manager, random programs, and the command.
fn llvm() -> Result<Outcome, Error> {
    if !command("llvm-config-19 --version").succeeds() {
        return Ok(Outcome::Skipped("llvm-19-dev is not installed".to_owned()));
    }
    let lints = "clippy --package smf-loader --features llvm,cranelift,c-api --all-targets --quiet";
    cargo(lints).args(["--", "-D", "warnings"]).run()?;
    all_passed(&[
        "test --package smf-loader --lib --features llvm -- exec::",
        "test --package smf-clif --test agree --features llvm",
        "test --package smf-cli --test cli --features llvm -- source::",
    ])
}

/// Runs `cargo` with each of the lines, in builds of the core that are made faster than its tests run.
fn all_passed(tests: &[&str]) -> Result<Outcome, Error> {
    let unoptimised = "--config profile.dev.package.smf-core.opt-level=0";
    let counts = tests.iter().map(|test| count_tests(cargo(&format!("{unoptimised} {test}"))));
    counts.sum::<Result<u64, Error>>().map(Outcome::Passed)
}

/// Runs tests.
fn passed(tests: Command) -> Result<Outcome, Error> {
    count_tests(tests).map(Outcome::Passed)
}

/// Lock-free steps in every order in which threads can take them. The build is separate, because all of it is compiled
/// with the atomics of the model checker.
fn models() -> Result<Outcome, Error> {
    let directory = target().join("models");
    let tests = cargo("test --package smf-core --lib --release --target-dir").args([directory]);
    passed(made_fast(tests.args(["--", "model::"]).env("RUSTFLAGS", "--cfg loom")))
}

/// A command whose release builds are made in seconds. Those that are optimised for shipping take minutes.
fn made_fast(command: Command) -> Command {
    let command = command.env("CARGO_PROFILE_RELEASE_LTO", "off");
    let command = command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
}

/// The tests of the core in an interpreter that finds undefined behaviour.
fn miri() -> Result<Outcome, Error> {
    if !cargo("+nightly miri --version").succeeds() {
        return Ok(Outcome::Skipped("no nightly toolchain, or no miri".to_owned()));
    }
    sanitize::miri().map(|()| Outcome::Passed(1))
}

fn sanitizer(name: &str) -> Result<Outcome, Error> {
    if !cargo("+nightly --version").succeeds() {
        return Ok(Outcome::Skipped("no nightly toolchain".to_owned()));
    }
    sanitize::sanitize(name).map(|()| Outcome::Passed(1))
}

/// Runs tests and counts those that passed.
fn count_tests(tests: Command) -> Result<u64, Error> {
    let mut passed = 0;
    tests.for_each_line(|line| {
        println!("{line}");
        passed += passed_tests(line).unwrap_or(0);
        // Behind the name of the test where one runs at a time.
        if let Some(start) = line.find("SKIPPED: ") {
            let mut skipped = SKIPPED_TESTS.lock().unwrap_or_else(PoisonError::into_inner);
            skipped.push(line[start..].to_owned());
        }
    })?;
    if passed == 0 {
        return Err(Error::Findings(1, "a filter that matches no test"));
    }
    Ok(passed)
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

/// README and guide, word for word, in a root with a compiler and nothing else. The push set leaves out what needs other
/// release builds than that of the command, which it optimises less.
fn newcomer(set: Set) -> Result<Outcome, Error> {
    cargo("build --quiet --package smf-newcomer").run()?;
    let program = target().join("debug/newcomer");
    let mut newcomer = command(&program.display().to_string());
    if set == Set::Push {
        newcomer = made_fast(newcomer.args(["--quick"]));
    }
    let mut passed = 0;
    let outcome = newcomer.for_each_line(|line| {
        println!("{line}");
        passed += u64::from(line.ends_with(": ok"));
    });
    match outcome {
        Ok(()) => Ok(Outcome::Passed(passed)),
        Err(Error::Status(_, status)) if status.code() == Some(LACKS_TOOL) => {
            Ok(Outcome::Skipped("no Debian packages, or no mount namespaces".to_owned()))
        }
        Err(error) => Err(error),
    }
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

/// The pages of `smf map` and of the benchmark in a browser.
fn browser() -> Result<Outcome, Error> {
    if !command("chromium --version").succeeds() {
        return Ok(Outcome::Skipped("chromium is not installed".to_owned()));
    }
    all_passed(&[
        "test --package smf-cli --test cli -- --ignored map::browser_",
        "test --package xtask -- --ignored bench_page::",
    ])
}

/// Static programs of musl: one in C with the static library, and the examples of the crate.
fn musl() -> Result<Outcome, Error> {
    let target = "x86_64-unknown-linux-musl";
    if !has_target(target) {
        return Ok(Outcome::Skipped(format!("the target {target} is not installed")));
    }
    if !command("musl-gcc --version").succeeds() {
        return Ok(Outcome::Skipped("musl-gcc is not installed".to_owned()));
    }
    all_passed(&[
        "test --test c_api -- --ignored static_program_of_musl",
        "test --package smf-loader --examples --features pack,jit --target x86_64-unknown-linux-musl",
    ])
}

/// Removes the packages of the workspace that an earlier verification unpacked: cargo takes one of the same version for
/// the same.
fn remove_unpacked() -> Result<(), Error> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).unwrap_or_default();
    let Ok(registries) = fs::read_dir(home.join("registry/src")) else { return Ok(()) };
    for path in registries.flatten().map(|registry| registry.path()) {
        // A registry without a host: a directory, as that of the workspace's own packages.
        if !begins_with(&path, b"-") {
            continue;
        }
        let Ok(packages) = fs::read_dir(&path) else { continue };
        for package in packages.flatten().map(|package| package.path()) {
            if begins_with(&package, b"smf-") {
                fs::remove_dir_all(&package).at(&package)?;
            }
        }
    }
    Ok(())
}

/// Whether the name of a file begins with `start`.
fn begins_with(path: &Path, start: &[u8]) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(start))
}

/// The packages of the workspace as an index would receive them, and those of Debian.
fn packages() -> Result<Outcome, Error> {
    remove_unpacked()?;
    cargo("package --workspace --allow-dirty --quiet").run()?;
    for tool in ["lintian", "debootstrap"] {
        if !command(&format!("{tool} --version")).succeeds() {
            return Ok(Outcome::Skipped(format!("{tool} is not installed")));
        }
    }
    deb::task(&["--check".to_owned()]).map(|()| Outcome::Passed(2))
}

fn aarch64() -> Result<Outcome, Error> {
    let filters = [
        "format",
        "link",
        "cache",
        "memory::icache",
        "vm",
        "loader::bytecode",
        "codegen",
        "ir::tests",
        "trap",
    ];
    let target = "aarch64-unknown-linux-gnu";
    let mut passed = 0;
    for (tests, filters) in [("smf-core --lib", &filters[..]), ("smf-tests --test stack", &[])] {
        match emulated(target, "aarch64", tests, filters)? {
            Outcome::Passed(count) => passed += count,
            skipped => return Ok(skipped),
        }
    }
    Ok(Outcome::Passed(passed))
}

fn riscv64() -> Result<Outcome, Error> {
    let filters = ["format", "cache", "memory::icache", "vm", "loader::bytecode"];
    emulated("riscv64gc-unknown-linux-gnu", "riscv64", "smf-core --lib", &filters)
}

/// Tests of a package for another machine, in an emulator. Tests that run code in doubly mapped memory need a real
/// machine: an emulator watches for modified code at the address of execution alone.
fn emulated(target: &str, name: &str, tests: &str, filters: &[&str]) -> Result<Outcome, Error> {
    if !has_target(target) {
        return Ok(Outcome::Skipped(format!("the target {target} is not installed")));
    }
    let is_installed = |program: &String| command(&format!("{program} --version")).succeeds();
    let linker = format!("{name}-linux-gnu-gcc");
    let emulators = [format!("qemu-{name}-static"), format!("qemu-{name}")];
    let Some(emulator) = emulators.iter().find(|&emulator| is_installed(emulator)) else {
        return Ok(Outcome::Skipped(format!("no {}", emulators[0])));
    };
    if !is_installed(&linker) {
        return Ok(Outcome::Skipped(format!("no {linker}")));
    }
    let variable = target.to_uppercase().replace('-', "_");
    let runner = format!("{emulator} -L /usr/{name}-linux-gnu");
    let tests = cargo(&format!("test --package {tests} --target"))
        .args([target, "--"])
        .args(filters)
        // They count the mappings of their process, to which the emulator adds its own.
        .args(["--skip", "faults::"]);
    let tests = tests.env(&format!("CARGO_TARGET_{variable}_LINKER"), &linker);
    passed(tests.env(&format!("CARGO_TARGET_{variable}_RUNNER"), &runner))
}

/// Whether the standard library for `target` is installed.
pub(crate) fn has_target(target: &str) -> bool {
    let directory = command("rustc --print target-libdir --target").args([target]).output();
    directory.is_ok_and(|directory| fs::exists(directory.trim()).unwrap_or(false))
}

/// One build for all targets in the push set; the full set has the address sanitizer where there is unsafe code.
fn fuzz_targets(set: Set) -> Result<Outcome, Error> {
    if !cargo("+nightly fuzz --version").succeeds() {
        return Ok(Outcome::Skipped("no nightly toolchain, or no cargo-fuzz".to_owned()));
    }
    let (seconds, sanitize) = match set {
        Set::Push => (FUZZ_SECONDS, false),
        Set::Full => (LONG_FUZZ_SECONDS, true),
    };
    fuzz::each(seconds, sanitize, &[]).map(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_result_line_yields_the_passed_count() {
        let line = "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(passed_tests(line), Some(12));
        assert_eq!(passed_tests("test result: FAILED. 7 passed; 1 failed; 0 ignored"), Some(7));
        assert_eq!(passed_tests("test a::passed ... ok"), None);
    }

    #[test]
    fn step_names_are_unique_and_differ_from_set_names() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(!["push", "full", "list"].contains(&step.name));
            assert!(STEPS.iter().skip(index + 1).all(|other| other.name != step.name));
        }
    }
}
