//! Test support: the list of mappings, and children.
#![allow(unsafe_code)]

use core::ops::Range;
use std::string::{String, ToString};
use std::vec::Vec;

pub(crate) use crate::testing::alone;

/// One line of `/proc/self/maps`.
pub(crate) struct Line {
    pub(crate) addresses: Range<usize>,
    /// `rwx`, with a dash for each missing permission.
    pub(crate) access: String,
}

/// All mappings of this process.
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

/// Runs `act` in a forked child, whose exit status is its result; a panic is status 101. After a minute, signal 14
/// ends the child.
pub(crate) fn in_child(act: impl FnOnce() -> i32) -> End {
    let child = fork();
    assert!(child >= 0);
    if child == 0 {
        alarm(60);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        _exit(result.unwrap_or(101));
    }
    let mut status = 0;
    // SAFETY: the status is a local variable.
    assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
    match status & 0x7f {
        0 => End::Status(status >> 8 & 0xff),
        signal => End::Signal(signal),
    }
}
