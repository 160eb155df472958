//! Every system call failing in turn, scenario by scenario.
//!
//! A scenario is an operation of a user: load a module, get a file from the cache, allocate code. Its system calls are
//! counted; then each of them fails, once and permanently, with every error number of the manual pages. After each
//! failure, the operation returns a typed error or succeeds without the call, the state is unchanged, no descriptor and
//! no mapping is leaked, and the operation succeeds when it is repeated.

mod cache;
mod exec;
#[cfg(target_arch = "x86_64")]
mod instantiate;
#[cfg(target_arch = "x86_64")]
mod loader;
mod memory;
#[cfg(target_arch = "x86_64")]
mod tier;

use std::fmt::Display;
use std::fs;
use std::string::ToString;

use crate::memory::fault_injection::{self, inject_at, recorded};
use crate::memory::testing::maps;
use crate::testing::scale;

/// Resources of the process that a failed operation must not change.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    files: usize,
    maps: usize,
}

fn footprint() -> Footprint {
    Footprint { files: fs::read_dir("/proc/self/fd").unwrap().count(), maps: maps().len() }
}

/// Makes each system call of `act` fail in turn. `check` verifies the state after each run, and `undo` reverts a
/// successful one. Prints and returns the number of failed calls.
fn fail_each<T, E: Display>(
    scenario: &str,
    act: impl Fn() -> Result<T, E>,
    check: impl Fn(),
    undo: impl Fn(T),
) -> u32 {
    let succeed = || match act() {
        Ok(value) => undo(value),
        Err(error) => panic!("{scenario} does not succeed: {error}"),
    };
    // Resources that are created once are created before the calls are counted.
    succeed();
    succeed();
    let before = footprint();
    let ((), calls) = recorded(succeed);
    // A long scenario repeats its calls; a sampled run fails about 64 of them.
    let stride = scale(1, 1 + calls.len() / 64);
    let (mut points, mut errors) = (0, 0);
    for (passes, call) in (0..).zip(&calls).step_by(stride) {
        for (errno, once) in
            fault_injection::errors().flat_map(|errno| [(errno, true), (errno, false)])
        {
            let fault = inject_at(passes, errno, once);
            let result = act();
            let happened = fault.has_happened();
            drop(fault);
            points += u32::from(happened);
            match result {
                // Calls that only save memory or time may fail.
                Ok(value) => undo(value),
                Err(error) => {
                    assert!(happened && !error.to_string().is_empty(), "{scenario}: {error}");
                    errors += 1;
                    check();
                    succeed();
                }
            }
            check();
            assert_eq!(footprint(), before, "{scenario}: {call:?}, number {passes}, {errno:?}");
        }
    }
    std::println!("{scenario}: {} calls, {points} points, {errors} errors", calls.len());
    points
}
