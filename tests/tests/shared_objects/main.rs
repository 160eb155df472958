//! Damaged shared objects in dynlibs: an object that the check accepts does not crash the system's loader.
//!
//! Each damaged copy of a library is opened, its symbols are looked up, and it is closed, in a child process, by the
//! code path of dynlibs.
//!
//! Bits of libraries other than the sample are sampled. Where the variable `SMF_TEST_ALL_BITS` is set, all of them are
//! flipped, and more copies are mutated.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]
#![cfg(all(target_pointer_width = "64", target_env = "gnu"))]

mod cases;
mod child;
mod libraries;
mod tables;

use std::path::Path;
use std::{env, fs};

use cases::{Library, Plan, trusted};
use child::{End, Outcome, run};
use smf_core::format::shared_object::{MIN_PAGE_SIZE, Target, check};

/// Whether all cases are tested, which takes minutes.
fn is_thorough() -> bool {
    env::var_os("SMF_TEST_ALL_BITS").is_some()
}

/// Runs a plan and prints its results.
fn opened(library: &Library, plan: Plan) -> Outcome {
    let outcome = run(library, plan);
    let [opened, refused, by_system] = outcome.counts;
    let ends = outcome.killed.len() as u32;
    let count = plan.count(library);
    println!(
        "{}, {plan:?}: {count} copies, {opened} opened, {refused} refused, {by_system} refused by the \
         system's loader, {ends} ended by code",
        library.name
    );
    assert_eq!(opened + refused + by_system + ends, count, "{}", library.name);
    outcome
}

fn check_flips(library: &Library, step: u32) {
    let plan = Plan::Flips { step };
    let outcome = opened(library, plan);
    assert!(
        outcome.counts.iter().all(|count| *count > 0),
        "{}: {:?}",
        library.name,
        outcome.counts
    );
    let mut unexpected = 0;
    for (case, end) in &outcome.killed {
        let (at, bit) = plan.flip(library, *case);
        // Code may call the loader again, with invalid arguments.
        if trusted(library, at).is_some() {
            continue;
        }
        let table = library.tables.iter().find(|table| table.bytes.contains(&at)).unwrap();
        let offset = at - table.bytes.start;
        println!("  {:?} + 0x{offset:x}, bit {bit}: {end:?}", table.kind);
        unexpected += 1;
    }
    assert_eq!(unexpected, 0, "{}", library.name);
}

#[test]
fn flipped_bit_of_the_sample_is_refused_or_harmless() {
    check_flips(&libraries::sample(), 1);
}

#[test]
fn flipped_bit_of_other_libraries_is_refused_or_harmless() {
    let step = if is_thorough() { 1 } else { 11 };
    libraries::made().iter().for_each(|library| check_flips(library, step));
}

#[test]
fn truncated_and_mutated_libraries_end_no_process_inside_the_loader() {
    for library in [libraries::sample()].into_iter().chain(libraries::made()) {
        let count = if is_thorough() { 20_000 } else { 1500 };
        for plan in [Plan::Truncations { count: 400 }, Plan::Mutations { count, seed: 1 }] {
            let outcome = opened(&library, plan);
            let inside = outcome.killed.iter().find(|(_, end)| *end != End::Outside);
            assert_eq!(inside, None, "{}, {plan:?}", library.name);
        }
    }
}

#[test]
fn libraries_of_other_linkers_are_accepted() {
    let made = libraries::made();
    for library in &made {
        assert_eq!(
            check(&library.object.bytes, MIN_PAGE_SIZE).ok(),
            Target::host(),
            "{}",
            library.name
        );
    }
    let mut accepted = 0;
    for directory in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"] {
        accepted += accepted_in(Path::new(directory));
    }
    println!("{accepted} libraries of the system are accepted");
    assert!(accepted > 0 || made.is_empty(), "libraries were built, but none was accepted");
}

/// The number of shared objects in a directory; all of them must be accepted.
fn accepted_in(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let files = entries.map(|entry| entry.unwrap().path());
    let libraries = files.filter(|path| path.to_string_lossy().contains(".so"));
    let mut accepted = 0;
    for path in libraries {
        let Ok(bytes) = fs::read(&path) else { continue };
        if !bytes.starts_with(b"\x7fELF") {
            continue;
        }
        if let Err(error) = check(&bytes, MIN_PAGE_SIZE) {
            panic!("{}: {error}", path.display());
        }
        accepted += 1;
    }
    accepted
}
