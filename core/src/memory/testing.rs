//! What the tests of this room share: the kernel's list of mappings, and processes to be alone in.
#![allow(unsafe_code)]

use core::ops::Range;
use std::env;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;

/// One line of `/proc/self/maps`.
pub(crate) struct Line {
    pub(crate) addresses: Range<usize>,
    /// `rwx` with a dash for what is not allowed.
    pub(crate) access: String,
}

/// Every mapping of this process.
pub(crate) fn maps() -> Vec<Line> {
    list().lines().map(line).collect()
}

#[cfg(not(miri))]
fn list() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap()
}

#[cfg(miri)]
use super::sys::shim::list;

fn line(text: &str) -> Line {
    let (addresses, rest) = text.split_once(' ').unwrap();
    let (start, end) = addresses.split_once('-').unwrap();
    let address = |text| usize::from_str_radix(text, 16).unwrap();
    Line { addresses: address(start)..address(end), access: rest[..3].to_string() }
}

/// Whether the test runs by itself in a process. If not, runs the test of this name, as
/// `cargo test` lists it, in a process of its own and fails if it fails there.
///
/// For tests that count what belongs to the whole process. The interpreter can start none, and runs one
/// test at a time.
pub(crate) fn alone(test: &str) -> bool {
    const MARK: &str = "SMF_TEST_ALONE";
    if cfg!(miri) || env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    std::print!("{said}");
    false
}

unsafe extern "C" {
    safe fn fork() -> i32;
    safe fn _exit(status: i32) -> !;
    safe fn alarm(seconds: u32) -> u32;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
}

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
}

/// Runs `act` in a forked child, which ends with the status that it returns; a panic is status 101. One that
/// takes a minute is ended by signal 14.
pub(crate) fn in_child(act: impl FnOnce() -> i32) -> End {
    let child = fork();
    assert!(child >= 0);
    if child == 0 {
        alarm(60);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        _exit(result.unwrap_or(101));
    }
    let mut status = 0;
    // SAFETY: the status is this function's own.
    assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
    match status & 0x7f {
        0 => End::Status(status >> 8 & 0xff),
        signal => End::Signal(signal),
    }
}
