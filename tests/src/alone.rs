//! Tests that run in processes of their own. Tests of other packages include this file by its path.
#![allow(unreachable_pub, dead_code, reason = "public in its own package only")]

use std::io::{Write, stdout};
use std::process::Command;
use std::string::String;
use std::{env, eprint, format, println};

/// Set in the process of its own in which a test runs.
const MARK: &str = "SMF_TEST_ALONE";

/// Whether the test `name`, with its modules, is the only one of its process. If not, it runs in a new process, and must
/// pass there. For tests that count or limit what the process has as a whole.
pub fn alone(name: &str) -> bool {
    alone_after(":", name)
}

/// The same, where a shell runs `command` before, in the new process.
pub fn alone_after(command: &str, name: &str) -> bool {
    // Miri cannot start processes and runs one test at a time.
    if cfg!(miri) || env::var_os(MARK).is_some() {
        return true;
    }
    let run = format!("{command}; exec \"$0\" --exact {name} --test-threads=1 --nocapture");
    // Freed memory that the address sanitizer retains would look like a leak.
    let options = env::var("ASAN_OPTIONS").unwrap_or_default();
    let options = format!("{options}:quarantine_size_mb=1:thread_local_quarantine_size_kb=64");
    let mut test = Command::new("sh");
    test.args(["-c", &run]).arg(env::current_exe().unwrap());
    let output = test.env(MARK, "1").env("ASAN_OPTIONS", options).output().unwrap();
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    // Past the capture of the harness, as in `skip.rs`.
    let is_report = |line: &&str| line.contains("SKIPPED: ");
    for report in said.lines().filter(is_report) {
        _ = stdout().lock().write_all(format!("{report}\n").as_bytes());
    }
    said.lines().filter(|line| !is_report(line)).for_each(|line| println!("{line}"));
    eprint!("{errors}");
    assert!(output.status.success() && said.contains("1 passed"), "{name}: {}", output.status);
    false
}
