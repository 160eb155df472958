//! Every request for memory refused in turn: what is promised there, and how much.
//!
//! The first, second, ... request of a scenario is refused, each in a process of its own. It ends with a
//! typed error, after which the same operation succeeds; or does without. Nothing is lost: repeated, it takes
//! no more memory than without a refusal. `alloc` itself has requests that cannot be refused, and ends the
//! process: there is none of those.

mod bytecode;
mod c;
mod machine;
mod made;
mod typed;

use std::env;
use std::fmt::Display;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio, exit};

use smf_tests::allocator::{Watched, live, refusing};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// Set to the number of a scenario and that of the request that is refused.
const REFUSED: &str = "SMF_TEST_REFUSES";

/// How a process ends: nothing was left to be refused; there was an error, and none afterwards; it did
/// without.
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
    undo(act().unwrap_or_else(|error| panic!("not again: {error}")));
    end
}

/// Its name, and what runs it with so many requests granted.
type Scenario = (&'static str, fn(usize) -> i32);

/// All of them.
const SCENARIOS: [&[Scenario]; 5] =
    [machine::SCENARIOS, bytecode::SCENARIOS, typed::SCENARIOS, made::SCENARIOS, c::SCENARIOS];

/// How many bytes of the allocator the thread has more of after `work` than before.
fn growth(work: impl FnOnce()) -> isize {
    let before = live();
    work();
    live() - before
}

/// Runs a scenario with a request refused, and ends the process as that tells. Repeated, it takes no more
/// memory than a run in which none is refused; what is kept for later is kept once.
fn refuse(run: fn(usize) -> i32, granted: usize) -> ! {
    let end = run(granted);
    // What is made once for the whole process is there by now.
    run(usize::MAX);
    let usual = growth(|| _ = run(usize::MAX));
    let is_whole = (0..4).any(|_| growth(|| _ = run(granted)) <= usual);
    assert!(is_whole, "bytes that are not given back");
    exit(end)
}

/// Runs a scenario with one refusal in a process of its own; how it ends, `None` when the process does not
/// come to its end.
fn apart(scenario: usize, granted: usize) -> Option<i32> {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture", "--test-threads=1"]);
    command.env(REFUSED, format!("{scenario} {granted}"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let code = output.status.code();
    let said = String::from_utf8_lossy(&output.stderr);
    // Refused memory that `alloc` cannot do without is SIGABRT; a crash would be another signal.
    let is_clean =
        matches!(code, Some(DONE | ERROR | WITHOUT)) || output.status.signal() == Some(6);
    assert!(is_clean, "scenario {scenario}, {granted} granted: {}: {said}", output.status);
    code
}

const TEST: &str = "memory_that_is_refused_is_an_error";

#[test]
fn memory_that_is_refused_is_an_error() {
    if let Ok(refused) = env::var(REFUSED) {
        let (scenario, granted) = refused.split_once(' ').unwrap();
        let mut scenarios = SCENARIOS.iter().flat_map(|some| some.iter());
        let (_, run) = scenarios.nth(scenario.parse().unwrap()).unwrap();
        refuse(*run, granted.parse().unwrap());
    }
    let (mut points, mut is_whole) = (0, true);
    for (number, (name, _)) in SCENARIOS.iter().flat_map(|some| some.iter()).enumerate() {
        let (mut errors, mut without, mut ends) = (0, 0, Vec::new());
        for granted in 0.. {
            match apart(number, granted) {
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
