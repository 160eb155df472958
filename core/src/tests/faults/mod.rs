//! Every system call failing in turn, scenario by scenario.
//!
//! A scenario is something that a user does: load a module, get a file from the cache, allocate code. Its
//! calls are counted, and then each of them fails, once and for good, with every error number that its
//! manual lists. Whatever fails: the error is a typed one, or the operation does without; the state is as
//! it was; no descriptor and no mapping is lost; and the same operation succeeds when it is tried again.

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

use crate::memory::fault_injection::{inject_at, recorded};
use crate::memory::testing::maps;
use crate::testing::scale;

/// What failing calls must not change.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    files: usize,
    maps: usize,
}

fn footprint() -> Footprint {
    Footprint { files: fs::read_dir("/proc/self/fd").unwrap().count(), maps: maps().len() }
}

/// Fails each call of `act` in turn. `check` must hold whenever nothing is going on, `undo` undoes what
/// `act` did. Returns how many calls failed, and says so.
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
    // What is made once and for good is made before it is counted.
    succeed();
    succeed();
    let before = footprint();
    let ((), calls) = recorded(succeed);
    // A long scenario repeats its calls; a sampled run fails about 64 of them.
    let stride = scale(1, 1 + calls.len() / 64);
    let (mut points, mut errors) = (0, 0);
    for (passes, call) in (0..).zip(&calls).step_by(stride) {
        for (errno, once) in call.errors().flat_map(|errno| [(errno, true), (errno, false)]) {
            let fault = inject_at(passes, errno, once);
            let result = act();
            let happened = fault.has_happened();
            drop(fault);
            points += u32::from(happened);
            match result {
                // Where less memory or time is all that is lost, a failure is none.
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
