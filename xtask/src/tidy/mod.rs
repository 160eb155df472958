//! The rules of the house that no compiler checks.
//!
//! * Every Rust file opens with `//!` and has at most 1,000 lines.
//! * Unsafe code that is shipped is where the list says, and nowhere else. A file is allowed as a
//!   whole, at its head.
//! * Every package has the lints of the workspace, or its own.
//! * No file names a place that only one machine has.

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::shell::{command, root};

const MAX_LINES: usize = 1000;

/// The files of what is shipped that may hold unsafe code: system calls, the memory behind them, and
/// calls into machine code. Tests and benchmarks, which call machine code too, need not be listed.
const UNSAFE: &[&str] = &[
    "core/src/alloc_util.rs",
    "core/src/cache/exclusive.rs",
    "core/src/cache/hash/sse2.rs",
    "core/src/cache/index/sse2.rs",
    "core/src/cache/ledger.rs",
    "core/src/cache/ledger/room.rs",
    "core/src/cache/pin.rs",
    "core/src/cache/pinned.rs",
    "core/src/cache/seat.rs",
    "core/src/cache/sections.rs",
    "core/src/link/call.rs",
    "core/src/loader/bytes.rs",
    "core/src/loader/migrate.rs",
    "core/src/loader/reclaim.rs",
    "core/src/memory/code_alloc/alloc_request.rs",
    "core/src/memory/code_alloc/arena.rs",
    "core/src/memory/code_alloc/block.rs",
    "core/src/memory/code_alloc/by_address.rs",
    "core/src/memory/code_alloc/fork_detector.rs",
    "core/src/memory/code_alloc/shared.rs",
    "core/src/memory/ffi_mapping.rs",
    "core/src/memory/file/block.rs",
    "core/src/memory/file/owned.rs",
    "core/src/memory/file/path.rs",
    "core/src/memory/icache/aarch64.rs",
    "core/src/memory/mapping.rs",
    "core/src/memory/pages.rs",
    "core/src/memory/region.rs",
    "core/src/memory/sys.rs",
    "core/src/memory/sys/shim/fs.rs",
    "core/src/memory/sys/shim/mm.rs",
    "core/src/memory/testing.rs",
    "core/src/trap.rs",
    "core/src/trap/generic.rs",
    "core/src/trap/x86_64.rs",
    "core/src/vm/native/block.rs",
    "core/src/vm/native/enter.rs",
    "core/src/vm/stack.rs",
    "shell/capi/src/lib.rs",
    "shell/src/bin/smf/allocator.rs",
    "shell/src/bin/smf/jit.rs",
    "shell/src/bin/smf/run.rs",
    "shell/src/call.rs",
    "shell/src/code_map.rs",
    "shell/src/ffi/blocks.rs",
    "shell/src/ffi/builtin.rs",
    "shell/src/ffi/cache.rs",
    "shell/src/ffi/cache_statistics.rs",
    "shell/src/ffi/call.rs",
    "shell/src/ffi/compile_context.rs",
    "shell/src/ffi/compiler.rs",
    "shell/src/ffi/cptr.rs",
    "shell/src/ffi/error/last.rs",
    "shell/src/ffi/exec.rs",
    "shell/src/ffi/handle_table.rs",
    "shell/src/ffi/jit.rs",
    "shell/src/ffi/jit_handles.rs",
    "shell/src/ffi/loader.rs",
    "shell/src/ffi/loader_handles.rs",
    "shell/src/ffi/loader_symbols.rs",
    "shell/src/ffi/missing.rs",
    "shell/src/ffi/mmap.rs",
    "shell/src/ffi/names.rs",
    "shell/src/ffi/prefetch.rs",
    "shell/src/ffi/strings.rs",
    "shell/src/ffi/strings_tagged.rs",
    "shell/src/ffi/tagged.rs",
    "shell/src/ffi/take.rs",
    "shell/src/ffi/values.rs",
    "shell/src/ffi/versioned_struct.rs",
    "shell/src/fork.rs",
    "shell/src/fork/handlers.rs",
    "shell/src/host_symbols.rs",
    "shell/src/loader.rs",
    "shell/src/prefetch/thread.rs",
    "shell/src/shared_object.rs",
    "shell/src/stack.rs",
    "shell/src/tools/gdb.rs",
    "shell/src/tools/jitdump.rs",
];

/// The attribute that allows it, in two parts, so that this file does not carry it.
const ALLOW_UNSAFE: [&str; 2] = ["allow(", "unsafe_code)"];

/// Where home directories and the like begin, in two parts for the same reason.
const MACHINE_PATHS: [[&str; 2]; 4] =
    [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]];

pub(crate) fn run() -> Result<(), Error> {
    let list = command("git ls-files --cached --others --exclude-standard").output()?;
    let mut findings = Vec::new();
    for name in list.lines() {
        // Deleted but not yet committed, or not text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        findings.extend(check(name, &text).into_iter().map(|finding| format!("{name}: {finding}")));
    }
    let gone = UNSAFE.iter().filter(|name| !list.lines().any(|listed| listed == **name));
    findings.extend(gone.map(|name| format!("{name}: on the list of unsafe files, and not there")));
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} files looked at", list.lines().count());
    if findings.is_empty() { Ok(()) } else { Err(Error::Findings(findings.len(), "tidy")) }
}

/// What is wrong with a file.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for parts in MACHINE_PATHS {
        let path = parts.concat();
        let lines = text.lines().zip(1..).filter(|(line, _)| line.contains(&path));
        findings
            .extend(lines.map(|(_, number)| format!("line {number} names a place below {path}")));
    }
    if name.ends_with("Cargo.toml") && text.contains("[package]") && !text.contains("[lints") {
        findings.push("a package without lints".to_owned());
    }
    if Path::new(name).extension().is_some_and(|extension| extension == "rs") {
        findings.extend(check_rust(name, text).map(str::to_owned));
    }
    findings
}

fn check_rust(name: &str, text: &str) -> impl Iterator<Item = &'static str> {
    let allows = text.contains(&ALLOW_UNSAFE.concat());
    let allows_at_head = text.lines().any(|line| line == format!("#![{}]", ALLOW_UNSAFE.concat()));
    let listed = UNSAFE.contains(&name);
    let shipped = !name.contains("tests/") && !name.starts_with("xtask/bench/");
    [
        (!text.starts_with("//!"), "does not open with `//!`"),
        (text.lines().count() > MAX_LINES, "is longer than 1,000 lines"),
        (
            allows && shipped && !listed,
            "allows unsafe code and is not on the list of those that may",
        ),
        (allows && !allows_at_head, "allows unsafe code for a part of the file"),
        (listed && !allows, "is on the list of unsafe files and has no unsafe code"),
    ]
    .into_iter()
    .filter_map(|(broken, finding)| broken.then_some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_looks_for() {
        assert!(check("a.rs", "//! Good.\nfn f() {}\n").is_empty());
        assert_eq!(check("a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(check("a.rs", &("//! Long.\n".to_owned() + &"\n".repeat(1000))).len(), 1);
        let allow = ALLOW_UNSAFE.concat();
        assert_eq!(check("a.rs", &format!("//! Head.\n#![{allow}]\n")).len(), 1);
        assert_eq!(check("a.rs", &format!("//! Item.\n#[{allow}]\nfn f() {{}}\n")).len(), 2);
        let path = MACHINE_PATHS[0].concat();
        assert_eq!(
            check("a.md", &format!("one\nsee {path}me\n")),
            [format!("line 2 names a place below {path}")]
        );
        assert_eq!(check("x/Cargo.toml", "[package]\n").len(), 1);
    }
}
