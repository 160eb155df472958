//! Reports of tests that cannot run on this machine. Tests of other packages include this file by its path.
//!
//! The test harness discards what a passing test prints. A report goes to standard output directly, so that the run shows
//! it, and `cargo xtask ci` repeats it in its summary.
#![allow(unreachable_pub, dead_code, reason = "public in its own package only")]

use std::io::{Write, stdout};
use std::process::Command;
use std::string::String;
use std::{env, format, thread};

/// The start of a report.
const MARK: &str = "SKIPPED: ";

/// Reports that the running test, or a part of it, is skipped for this reason, in CI too: for what is not installed by
/// a package.
pub fn skip(reason: &str) {
    let thread = thread::current();
    write(&format!("{MARK}{}: {reason}", thread.name().unwrap_or("a thread of a test")));
}

/// Reports that the running test, or a part of it, is skipped because the machine lacks a tool or a capability.
///
/// # Panics
/// Where the variable `CI` is set.
pub fn lacks(what: &str) {
    assert!(env::var_os("CI").is_none(), "this machine lacks {what}, which CI requires");
    skip(&format!("this machine lacks {what}"));
}

/// Whether a program is installed. If not, reports that the running test lacks it.
///
/// # Panics
/// If it is not, where the variable `CI` is set.
pub fn has(program: &str) -> bool {
    let is_installed = Command::new(program).arg("--version").output().is_ok();
    if !is_installed {
        lacks(program);
    }
    is_installed
}

/// Repeats the reports in the output of a process in which a test has run.
pub fn repeat(output: &[u8]) {
    let output = String::from_utf8_lossy(output);
    let reports = output.lines().filter_map(|line| Some(&line[line.find(MARK)?..]));
    reports.for_each(write);
}

fn write(report: &str) {
    // A closed output is no failure of the test.
    _ = stdout().lock().write_all(format!("{report}\n").as_bytes());
}
