//! Every command under an address space limit succeeds, or fails with an error and the status of failures.

use std::fs;
use std::process::{Command, Output};

#[cfg(target_arch = "x86_64")]
use super::pack::object;
use super::templates::templates;
use super::{sample, scratch, text};

/// Runs the command in the samples directory with at most `kib` KiB of address space.
fn limited(kib: u64, args: &[&str]) -> Output {
    let script = format!("ulimit -v {kib} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_smf")]).args(args);
    command.current_dir(sample(".")).output().unwrap()
}

/// The address space that the process needs to start, in KiB: with it, `--version` succeeds. The position of
/// the stack changes it by a few KiB from run to run.
fn bare() -> u64 {
    let starts = |kib: u64| (0..6).all(|_| limited(kib, &["--version"]).status.code() == Some(0));
    let (mut low, mut high) = (1 << 10, 1 << 20);
    assert!(starts(high), "1 GiB is not enough");
    while high - low > 16 {
        let middle = low.midpoint(high);
        if starts(middle) { high = middle } else { low = middle }
    }
    high + 16
}

/// Found: most of these commands ended with SIGABRT when an allocation failed.
#[test]
fn commands_report_allocation_failure() {
    let directory = scratch("memory");
    let out = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (module, archive, code) = (out("out.smf"), out("out.lsm"), out("out.bc"));
    fs::write(out("in.s"), "function f, 1, 1\n    LOAD 1, 0\n    RET 1\n").unwrap();
    let source = out("in.s");
    let bare = bare();
    let templates = templates(&directory);
    #[cfg(target_arch = "x86_64")]
    let (object, _) = object(
        "memory-pack",
        "long table[4000] = {1, 2, 3}; long get(long n) { return table[n]; }",
    );
    let commands: &[&[&str]] = &[
        &["diff", "packed.smf", "native.smf"],
        &[
            "verify",
            "packed.smf",
            "native.smf",
            "library.lsm",
            "compressed-zstd.smf",
            "compressed-lz4.smf",
        ],
        &["inspect", "packed.smf"],
        &["inspect", "--json", "library.lsm"],
        &["run", "packed.smf", "add", "1", "2"],
        &["run", "compressed-zstd.smf", "at", "1"],
        &["run", "bcod.smf", "answer"],
        &["convert", "app.smf", "--layout", "native", "-o", &module],
        &["lib", "create", "-o", &archive, "a=packed.smf", "b=native.smf"],
        &["note", "note-zero-size.smf"],
        &["templates", "app.smf"],
        &["jit", &templates, "fn$tail$i64", "40", "0x2"],
        #[cfg(target_arch = "x86_64")]
        &["pack", &object, "-o", &module, "--compress", "zstd"],
        &["prefetch", "packed.smf", "native.smf", "library.lsm"],
        &["asm", &source, "-o", &code],
        &["disasm", "bcod.smf"],
        &["completions", "bash"],
        &["man"],
    ];
    let mut refused = 0;
    for args in commands {
        let (mut failed, mut done) = (0, 0);
        // The status of success; that of `diff` states a difference.
        let success = i32::from(args[0] == "diff");
        for step in 0..160u64 {
            // Fine steps first, then coarser ones, up to 19 MiB, then enough for the stack of an instance.
            let more = match step {
                ..96 => step * 16,
                96..156 => 1536 + (step - 96) * 296,
                _ => 1 << 20,
            };
            let output = limited(bare + more, args);
            let (status, output_text) = (output.status, text(&output.stderr));
            let says = output_text.lines().any(|line| line.starts_with("error: "));
            match status.code() {
                Some(code) if code == success && !says => done += 1,
                Some(code) if code == success + 1 && says => failed += 1,
                _ => panic!("{args:?} with {more} KiB more: {status}: {output_text}"),
            }
        }
        println!("{args:?}: {failed} failed, {done} succeeded");
        assert!(done > 0, "{args:?} never succeeds");
        refused += failed;
    }
    assert!(refused > 100, "memory was refused only {refused} times");
}

#[test]
fn missing_memory_for_the_stack_of_a_program_is_named() {
    let source = scratch("memory-stack").join("a.spl");
    fs::write(&source, "print 1\n").unwrap();
    let output = limited(200 << 10, &["run", source.to_str().unwrap()]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("there is no memory for its stack of 256 MiB"), "{error}");
}
