//! Every allocation refused in turn: the operation returns a typed error or continues without the memory.
//!
//! The first, second, ... allocation of a scenario is refused, each in a process of its own. After an error the same
//! operation succeeds. Nothing leaks: repeated, the scenario takes no more memory than without a refusal. Allocations
//! of `alloc` that cannot fail end the process: no scenario makes one.
#![allow(unsafe_code)]

mod ahead;
mod bytecode;
mod c;
mod exec;
mod ir;
mod machine;
mod made;
mod taken;
mod tools;

use std::fmt::Display;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, exit};

use smf_tests::allocator::{Watched, live, refusing};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Exit statuses of a process: `DONE`, no allocation was left to refuse; `ERROR`, the operation failed and then
/// succeeded; `WITHOUT`, it succeeded without the memory.
const DONE: i32 = 20;
const ERROR: i32 = 21;
const WITHOUT: i32 = 22;

fn judge<T, E: Display>(granted: usize, act: impl Fn() -> Result<T, E>, undo: impl Fn(T)) -> i32 {
    let (result, was_refused) = refusing(granted, &act);
    let end = match result {
        Ok(value) => {
            undo(value);
            if was_refused { WITHOUT } else { DONE }
        }
        Err(error) => {
            assert!(was_refused && !error.to_string().is_empty(), "{error}");
            ERROR
        }
    };
    undo(act().unwrap_or_else(|error| panic!("the repeated operation failed: {error}")));
    end
}

/// Its name, and a function that runs it with this number of allocations granted.
type Scenario = (&'static str, fn(usize) -> i32);

/// All scenarios.
const SCENARIOS: [&[Scenario]; 9] = [
    machine::SCENARIOS,
    bytecode::SCENARIOS,
    ir::SCENARIOS,
    made::SCENARIOS,
    taken::SCENARIOS,
    ahead::SCENARIOS,
    tools::SCENARIOS,
    c::SCENARIOS,
    exec::SCENARIOS,
];

/// A directory in memory where possible: replacing a file on a disk waits for the disk,
/// which takes ten times as long as the rest of the test.
fn directory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

/// The growth of the allocated bytes of the process during `work`.
fn growth(work: impl FnOnce()) -> isize {
    let before = live();
    work();
    live() - before
}

/// Runs a scenario with a refused allocation, and exits with its status. Repeated, the scenario takes no more
/// memory than a run without a refusal. Caches are filled only once.
fn refuse(run: fn(usize) -> i32, granted: usize) -> ! {
    let end = run(granted);
    // State that is created once per process exists from here on.
    run(usize::MAX);
    let usual = growth(|| _ = run(usize::MAX));
    let is_whole = (0..4).any(|_| growth(|| _ = run(granted)) <= usual);
    assert!(is_whole, "leaked bytes");
    exit(end)
}

unsafe extern "C" {
    safe fn fork() -> i32;
    /// `status` is null or points to an integer.
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

/// Runs a scenario with one refusal in a forked process and returns its exit status, `None` if the process was killed.
/// The child is a copy of this process, in which no scenario has run. It has only the forking thread, and uses nothing
/// that other threads have locked.
fn apart(name: &str, run: fn(usize) -> i32, granted: usize) -> Option<i32> {
    let child = fork();
    if child == 0 {
        // A panic is printed at once and does not unwind into the harness, whose other threads do not exist here.
        std::panic::set_hook(Box::new(|panic| _ = writeln!(std::io::stderr(), "{panic}")));
        let failed = std::panic::catch_unwind(|| refuse(run, granted)).is_err();
        exit(i32::from(failed));
    }
    assert!(child > 0, "fork failed");
    let mut status = 0;
    // SAFETY: the status is a local variable.
    assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
    let status = ExitStatus::from_raw(status);
    // Refused memory that `alloc` requires raises SIGABRT; a crash would raise another signal.
    let is_clean =
        matches!(status.code(), Some(DONE | ERROR | WITHOUT)) || status.signal() == Some(6);
    assert!(is_clean, "{name}, {granted} granted: {status}");
    status.code()
}

#[test]
fn refused_allocation_is_an_error() {
    let (mut points, mut is_whole) = (0, true);
    for (name, run) in SCENARIOS.iter().flat_map(|some| some.iter()) {
        let (mut errors, mut without, mut ends) = (0, 0, Vec::new());
        for granted in 0.. {
            match apart(name, *run, granted) {
                Some(DONE) => break,
                Some(ERROR) => errors += 1,
                Some(_) => without += 1,
                None => ends.push(granted),
            }
            points += 1;
        }
        let all = errors + without + ends.len();
        println!(
            "{name}: {all} requests, {errors} errors, {without} done without, the process ended at {ends:?}"
        );
        is_whole &= all > 0 && ends.is_empty();
    }
    println!("{points} refusals");
    assert!(is_whole);
}
