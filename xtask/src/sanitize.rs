//! Runs that watch: for long, under the sanitizers of the compiler, and in an interpreter that knows
//! every byte.

use std::time::Instant;

use crate::error::Error;
use crate::shell::{Command, cargo, target};

const HOST: &str = "x86_64-unknown-linux-gnu";

/// `soak [--minutes N]`, ten when nothing is said.
pub(crate) fn soak(arguments: &[String]) -> Result<(), Error> {
    let minutes: u64 = match arguments {
        [option, minutes] if option == "--minutes" => {
            minutes.parse().map_err(|_| Error::NoSuchStep(format!("--minutes {minutes}")))?
        }
        _ => 10,
    };
    let seconds = minutes.saturating_mul(60).to_string();
    cargo("test --release --package smf-tests --test soak -- --nocapture")
        .env("SMF_SOAK_SECONDS", &seconds)
        .run()
}

/// The tests of the core's cache, loader and linker from outside under the thread or the address
/// sanitizer; those take so many addresses that a test in which addresses run out cannot be had.
///
/// System calls go through libc, whose functions the sanitizers replace. They would not see the core's own,
/// and take memory that one thread has unmapped and another was then given for something they share.
pub(crate) fn sanitize(name: &str) -> Result<(), Error> {
    // The thread sanitizer has to see what the standard library does as well.
    let built = if name == "thread" { "-Zbuild-std" } else { "" };
    let line = "test --package smf-core --test cache --test loader --test link --no-fail-fast";
    cargo(&format!("+nightly {line} {built} --target {HOST} --target-dir"))
        .args([target().join(name)])
        .args(["--", "--skip", "an_address_space_that_is_full"])
        .env("RUSTFLAGS", &format!("-Zsanitizer={name} --cfg rustix_use_libc"))
        // Nested calls into modules are told apart by where they are on the stack, from which the address
        // sanitizer takes variables away when it looks for use after return.
        .env("ASAN_OPTIONS", "detect_stack_use_after_return=0")
        // Tests that hold memory to the page grant the sanitizer its own.
        .env("SMF_TEST_SANITIZER", name)
        .run()
}

/// What the interpreter goes through, with a shim in the place of the kernel: every test of the library, and
/// those from outside that need not run machine code. Tests that it cannot run say why.
const INTERPRETED: &str =
    "--features compress --lib --test index --test object --test samples --test take";

/// Those of them that CI has the time for: cells and lists, mappings and blocks of code.
const QUICK: [&str; 8] = [
    "cache::index",
    "cache::list",
    "cache::pin",
    "memory::access",
    "memory::mapping",
    "memory::pages",
    "memory::pool",
    "memory::exec::tests",
];

/// The tests of the core in the interpreter.
///
/// Run in parts, 28 minutes of processor time for the library, and 4 for the tests from outside.
pub(crate) fn miri() -> Result<(), Error> {
    let start = Instant::now();
    interpreted(INTERPRETED).run()?;
    println!("{} minutes", start.elapsed().as_secs().div_ceil(60));
    Ok(())
}

/// The part of it for CI.
pub(crate) fn miri_quickly() -> Result<(), Error> {
    interpreted("--lib").args(["--"]).args(QUICK).run()
}

/// Code is entered by its address alone, so that addresses of mapped memory may become pointers.
fn interpreted(what: &str) -> Command {
    cargo(&format!("+nightly miri test --package smf-core {what} --target-dir"))
        .args([target().join("miri")])
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-permissive-provenance")
}
