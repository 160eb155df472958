//! Long runs and instrumented runs: the soak test, the sanitizers of the compiler, and Miri.

use std::time::Instant;

use crate::error::Error;
use crate::shell::{cargo, target};

const HOST: &str = "x86_64-unknown-linux-gnu";

/// `soak [--minutes N]`; ten minutes by default.
pub(crate) fn soak(arguments: &[String]) -> Result<(), Error> {
    let minutes: u64 = match arguments {
        [] => 10,
        [option, minutes] if option == "--minutes" => {
            minutes.parse().map_err(|_| Error::Usage(format!("--minutes {minutes}")))?
        }
        [other, ..] => return Err(Error::Usage(other.clone())),
    };
    let seconds = minutes.saturating_mul(60).to_string();
    cargo("test --release --package smf-tests --test soak -- --nocapture")
        .env("SMF_SOAK_SECONDS", &seconds)
        .run()
}

/// An allocation that is too large returns null, as it does without a sanitizer, and does not end the process.
const ALLOCATION_FAILS: &str = "allocator_may_return_null=1";

/// Runs the integration tests of the core's cache, loader and linker under the `thread` or the `address` sanitizer.
///
/// System calls go through libc, whose functions the sanitizers intercept. They do not see the core's own system calls,
/// and would report memory that one thread unmaps and another thread maps again as shared.
pub(crate) fn sanitize(name: &str) -> Result<(), Error> {
    // The thread sanitizer needs an instrumented standard library.
    let built = if name == "thread" { "-Zbuild-std" } else { "" };
    let line = "test --package smf-core --test cache --test loader --test link --no-fail-fast";
    cargo(&format!("+nightly {line} {built} --target {HOST} --target-dir"))
        .args([target().join(name)])
        // The sanitizers reserve so many addresses that this test cannot use up the rest.
        .args(["--", "--skip", "full_address_space"])
        // This test leaks memory on purpose.
        .args(["--skip", "file_with_leaked_reference"])
        .env("RUSTFLAGS", &format!("-Zsanitizer={name} --cfg rustix_use_libc"))
        // The core distinguishes nested calls into modules by their stack addresses. The address sanitizer moves
        // variables off the stack when it detects use after return.
        .env("ASAN_OPTIONS", &format!("detect_stack_use_after_return=0:{ALLOCATION_FAILS}"))
        .env("TSAN_OPTIONS", ALLOCATION_FAILS)
        // Tests that measure memory to the page allow for the sanitizer's own.
        .env("SMF_TEST_SANITIZER", name)
        .run()
}

/// The tests that Miri interprets, with a shim instead of the kernel: unit tests, and the integration tests that
/// need not run machine code. Tests that it cannot interpret are marked with the reason.
const INTERPRETED: &str =
    "--features compress --lib --test index --test object --test samples --test extract";

/// Modules whose tests compile programs, which takes hours in an interpreter, and run their machine code.
const NOT_INTERPRETED: [&str; 5] = ["bytecode::", "codegen::", "exec::", "ir::", "source::"];

/// Interprets the tests of the core with Miri. Module code is entered by its address alone, so that addresses of mapped
/// memory may become pointers.
pub(crate) fn miri() -> Result<(), Error> {
    let start = Instant::now();
    cargo(&format!("+nightly miri test --package smf-core {INTERPRETED} --target-dir"))
        .args([target().join("miri")])
        .args(["--"])
        .args(NOT_INTERPRETED.into_iter().flat_map(|module| ["--skip", module]))
        .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-permissive-provenance")
        .run()?;
    println!("{} minutes", start.elapsed().as_secs().div_ceil(60));
    Ok(())
}
