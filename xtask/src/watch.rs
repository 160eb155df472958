//! Runs that watch: for long, under the sanitizers of the compiler, and in an interpreter that knows
//! every byte.

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

/// The concurrent tests of the core, its cache and its loader, under the thread or the address sanitizer.
pub(crate) fn sanitize(name: &str) -> Result<(), Error> {
    sanitized(name, "test --package smf-core --test cache --test loader --test link").run()
}

fn sanitized(name: &str, line: &str) -> Command {
    let directory = target().join(name);
    let command = cargo(&format!("+nightly {line} -Zbuild-std --target {HOST} --target-dir"));
    command.args([directory]).env("RUSTFLAGS", &format!("-Zsanitizer={name}"))
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
