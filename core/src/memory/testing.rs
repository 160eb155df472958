//! What the tests of this room share: the kernel's list of mappings, and a process to be alone in.

use core::ops::Range;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{env, fs};

/// One line of `/proc/self/maps`.
pub(super) struct Line {
    pub(super) addresses: Range<usize>,
    /// `rwx` with a dash for what is not allowed.
    pub(super) access: String,
}

/// Every mapping of this process.
pub(super) fn maps() -> Vec<Line> {
    fs::read_to_string("/proc/self/maps").unwrap().lines().map(line).collect()
}

fn line(text: &str) -> Line {
    let (addresses, rest) = text.split_once(' ').unwrap();
    let (start, end) = addresses.split_once('-').unwrap();
    let address = |text| usize::from_str_radix(text, 16).unwrap();
    Line { addresses: address(start)..address(end), access: rest[..3].to_string() }
}

/// Whether the test runs by itself in a process. If not, runs the test of this name, as
/// `cargo test` lists it, in a process of its own and fails if it fails there.
///
/// For tests that count what belongs to the whole process.
pub(super) fn alone(test: &str) -> bool {
    const MARK: &str = "SMF_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}
