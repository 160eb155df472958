//! The rules of the repository that no compiler checks.
//!
//! * Every Rust file opens with `//!` and has at most 1,000 lines.
//! * Shipped unsafe code lies in the listed files alone. A file allows it as a whole, at its head.
//! * Every package has the lints of the workspace, or its own.
//! * No file names a path that exists on one machine only.
//! * No file uses a replaced identifier, or a phrase that is not plain English ([`words`]).
//! * Files of a package import each other in a tree, and modules of the core import lower layers only ([`imports`]).

mod figures;
mod imports;
mod source;
mod words;

use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::shell::{command, root};

pub(crate) use figures::print as print_figures;

const MAX_LINES: usize = 1000;

/// The shipped files that may hold unsafe code: system calls, the memory behind them, and calls into machine code.
/// Tests and benchmarks, which call machine code too, are not listed.
const UNSAFE: &[&str] = &[
    "core/examples/jit_template.rs",
    "core/examples/load_module.rs",
    "core/src/alloc_util/smart_ptr.rs",
    "core/src/codegen/registry.rs",
    "core/src/exec/manager.rs",
    "core/src/link/ifunc.rs",
    "core/src/link/module.rs",
    "core/src/loader/bytes.rs",
    "core/src/loader/export_ref.rs",
    "core/src/loader/host_library.rs",
    "core/src/loader/reclaim.rs",
    "core/src/memory/code_alloc/arena.rs",
    "core/src/memory/code_alloc/block.rs",
    "core/src/memory/code_alloc/fork_detector.rs",
    "core/src/memory/creator_file.rs",
    "core/src/memory/guarded_file.rs",
    "core/src/memory/icache/aarch64.rs",
    "core/src/memory/region.rs",
    "core/src/memory/stack.rs",
    "core/src/memory/sys/pages.rs",
    "core/src/memory/sys/shim/descriptor.rs",
    "core/src/memory/sys/shim/mm.rs",
    "core/src/memory/types/file.rs",
    "core/src/trap/call.rs",
    "core/src/trap/aarch64.rs",
    "core/src/trap/landing.rs",
    "core/src/trap/x86_64.rs",
    "core/src/vm/native/block.rs",
    "core/src/vm/native/enter.rs",
    "core/src/vm/native/hook.rs",
    "shell/capi/src/lib.rs",
    "shell/examples/pack_and_run.rs",
    "shell/examples/plugin_host.rs",
    "shell/examples/reload.rs",
    "shell/cli/src/allocator.rs",
    "shell/cli/src/interrupt.rs",
    "shell/cli/src/jit.rs",
    "shell/cli/src/crash.rs",
    "shell/cli/src/run.rs",
    "shell/cli/src/run_source.rs",
    "shell/cli/src/source/execute.rs",
    "shell/cli/src/source/host.rs",
    "shell/cli/src/source/interpret.rs",
    "shell/cli/src/source/stack.rs",
    "shell/cli/src/standard_output.rs",
    "shell/cli/src/tls_reserve.rs",
    "shell/cli/src/trace.rs",
    "shell/cli/src/values.rs",
    "shell/src/call.rs",
    "shell/src/call_record.rs",
    "shell/src/environment.rs",
    "shell/src/exec/cases.rs",
    "shell/src/exec/host_functions.rs",
    "shell/src/exec/llvm.rs",
    "shell/src/exec/llvm/object.rs",
    "shell/src/exec/llvm/translate.rs",
    "shell/src/exec/manager.rs",
    "shell/src/exec/modules.rs",
    "shell/src/exec/tests.rs",
    "shell/src/ffi/blocks.rs",
    "shell/src/ffi/builtin.rs",
    "shell/src/ffi/cache.rs",
    "shell/src/ffi/cache_statistics.rs",
    "shell/src/ffi/call.rs",
    "shell/src/ffi/call/x86_64.rs",
    "shell/src/ffi/checked_copy.rs",
    "shell/src/ffi/compile_context.rs",
    "shell/src/ffi/compiler.rs",
    "shell/src/ffi/cptr.rs",
    "shell/src/ffi/error/last.rs",
    "shell/src/ffi/exec.rs",
    "shell/src/ffi/exec_calls.rs",
    "shell/src/ffi/exec_diagnostics.rs",
    "shell/src/ffi/exec_handles.rs",
    "shell/src/ffi/exec_jit.rs",
    "shell/src/ffi/exec_manager.rs",
    "shell/src/ffi/handle_table.rs",
    "shell/src/ffi/jit.rs",
    "shell/src/ffi/jit_handles.rs",
    "shell/src/ffi/lists.rs",
    "shell/src/ffi/loader.rs",
    "shell/src/ffi/loader_bytecode.rs",
    "shell/src/ffi/loader_handles.rs",
    "shell/src/ffi/loader_symbols.rs",
    "shell/src/ffi/missing.rs",
    "shell/src/ffi/mmap.rs",
    "shell/src/ffi/module_info.rs",
    "shell/src/ffi/names.rs",
    "shell/src/ffi/prefetch.rs",
    "shell/src/ffi/raw.rs",
    "shell/src/ffi/registered_symbols.rs",
    "shell/src/ffi/statistics_json.rs",
    "shell/src/ffi/strings.rs",
    "shell/src/ffi/tagged.rs",
    "shell/src/ffi/jit_take.rs",
    "shell/src/ffi/take.rs",
    "shell/src/ffi/typed_call.rs",
    "shell/src/ffi/values.rs",
    "shell/src/ffi/versioned_struct.rs",
    "shell/src/file_lease.rs",
    "shell/src/fork.rs",
    "shell/src/fork/handlers.rs",
    "shell/src/host_services.rs",
    "shell/src/host_symbols.rs",
    "shell/src/init_functions.rs",
    "shell/src/loader.rs",
    "shell/src/loader_builder.rs",
    "shell/src/needed_library.rs",
    "shell/src/prefetch/thread.rs",
    "shell/src/raw_thread.rs",
    "shell/src/shared_object.rs",
    "shell/src/stack.rs",
    "shell/src/thread_exit.rs",
    "shell/src/thread_storage.rs",
    "shell/src/tls_descriptor.rs",
    "shell/src/tools/gdb.rs",
    "shell/src/tools/jitdump.rs",
    "shell/src/unwinding.rs",
];

/// The attribute that allows unsafe code, in two parts, so that this file does not contain it.
const ALLOW_UNSAFE: [&str; 2] = ["allow(", "unsafe_code)"];

/// The beginnings of home directories and the like, in two parts for the same reason.
const MACHINE_PATHS: [[&str; 2]; 4] =
    [["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/wo", "rk/"]];

pub(crate) fn run() -> Result<(), Error> {
    let list = files_of(root())?;
    let mut findings = Vec::new();
    let mut wording = Vec::new();
    for name in &list {
        // A file that is deleted and not yet committed, or not text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        findings.extend(check(name, &text).into_iter().map(|finding| format!("{name}: {finding}")));
        wording.extend(words::check(name, &text).into_iter().map(|word| format!("{name}: {word}")));
    }
    let gone = UNSAFE.iter().filter(|name| !list.iter().any(|listed| listed == **name));
    findings.extend(gone.map(|name| format!("{name}: listed as unsafe, and does not exist")));
    let structure = check_structure()?;
    for finding in findings.iter().chain(&wording).chain(&structure) {
        println!("{finding}");
    }
    println!(
        "{} files, {} findings, {} of words, {} of structure",
        list.len(),
        findings.len(),
        wording.len(),
        structure.len()
    );
    let count = findings.len() + wording.len() + structure.len();
    if count == 0 { Ok(()) } else { Err(Error::Findings(count, "tidy")) }
}

/// The files of the repository at `root` that are not ignored.
fn files_of(root: &Path) -> Result<Vec<String>, Error> {
    let list = command("git -C").args([root]);
    let list = list.args("ls-files --cached --others --exclude-standard".split(' ')).output()?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// The Rust files of the repository at `root`, with their texts.
fn rust_files(root: &Path) -> Result<Vec<figures::File>, Error> {
    let names = files_of(root)?.into_iter().filter(|name| name.ends_with(".rs"));
    let read = |name: String| {
        let text = fs::read_to_string(root.join(&name)).ok()?;
        Some((name, text))
    };
    Ok(names.filter_map(read).collect())
}

/// Cycles, upward imports and long functions.
fn check_structure() -> Result<Vec<String>, Error> {
    let files = rust_files(root())?;
    let mut findings = figures::long_functions_of(&files);
    for package in ["core/src", "shell/src"] {
        let imports = imports::imports(&figures::below(&files, package));
        for cycle in imports::cycles(&imports) {
            findings.push(format!("{package}: a cycle of imports: {}", cycle.join("; ")));
        }
        if package == "core/src" {
            let upward = imports::upward(&imports).into_iter();
            findings.extend(upward.map(|import| format!("{package}: upward import: {import}")));
        }
    }
    Ok(findings)
}

/// The findings in one file.
fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for parts in MACHINE_PATHS {
        let path = parts.concat();
        let lines = text.lines().zip(1..).filter(|(line, _)| line.contains(&path));
        findings
            .extend(lines.map(|(_, number)| format!("line {number} names a path below {path}")));
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
    let is_test = name.contains("tests/") || name.contains("examples/");
    let shipped = !is_test && !name.starts_with("xtask/bench/");
    [
        (!text.starts_with("//!"), "does not open with `//!`"),
        (text.lines().count() > MAX_LINES, "is longer than 1,000 lines"),
        (allows && shipped && !listed, "allows unsafe code and is not listed"),
        (allows && !allows_at_head, "allows unsafe code for a part of the file"),
        (listed && !allows, "is listed as unsafe and has no unsafe code"),
    ]
    .into_iter()
    .filter_map(|(broken, finding)| broken.then_some(finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_rule_is_found() {
        assert!(check("a.rs", "//! Good.\nfn f() {}\n").is_empty());
        assert_eq!(check("a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(check("a.rs", &("//! Long.\n".to_owned() + &"\n".repeat(1000))).len(), 1);
        let allow = ALLOW_UNSAFE.concat();
        assert_eq!(check("a.rs", &format!("//! Head.\n#![{allow}]\n")).len(), 1);
        assert_eq!(check("a.rs", &format!("//! Item.\n#[{allow}]\nfn f() {{}}\n")).len(), 2);
        let path = MACHINE_PATHS[0].concat();
        assert_eq!(
            check("a.md", &format!("one\nsee {path}me\n")),
            [format!("line 2 names a path below {path}")]
        );
        assert_eq!(check("x/Cargo.toml", "[package]\n").len(), 1);
    }
}
