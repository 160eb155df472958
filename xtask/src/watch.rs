//! Runs that watch: for long, under the sanitizers of the compiler, and in an interpreter that knows
//! every byte.

use crate::error::Error;
use crate::shell::{cargo, target};

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
    let line = "test --package smf-core --test cache --test loader --test link -Zbuild-std";
    cargo(&format!("+nightly {line} --target {HOST} --target-dir"))
        .args([target().join(name)])
        .args(["--", "--skip", "an_address_space_that_is_full"])
        .env("RUSTFLAGS", &format!("-Zsanitizer={name} --cfg rustix_use_libc"))
        // Tests that hold memory to the page grant the sanitizer its own.
        .env("SMF_TEST_SANITIZER", name)
        .run()
}

/// The rooms that need no kernel, in the interpreter.
pub(crate) fn miri() -> Result<(), Error> {
    let directory = target().join("miri");
    let line = "+nightly miri test --package smf-core --no-default-features --features alloc --lib";
    cargo(&format!("{line} --target-dir"))
        .args([directory])
        .args(["--", "--skip", "every", "--skip", "all_"])
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .run()
}
