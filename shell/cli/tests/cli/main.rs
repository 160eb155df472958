//! Tests of the `smf` command on the samples: output, errors and exit status.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use smf_core::format::Smf;

mod bytecode;
mod cfi;
mod compile;
mod convert;
mod diff;
mod events;
mod generic;
#[cfg(target_arch = "x86_64")]
mod host;
#[cfg(target_arch = "x86_64")]
mod init;
mod inspect;
mod interrupt;
mod library;
mod map;
mod memory;
#[cfg(target_arch = "x86_64")]
mod merge;
#[cfg(target_arch = "x86_64")]
mod merge_templates;
#[cfg(target_arch = "x86_64")]
mod needed;
mod nm;
mod note;
#[cfg(target_arch = "x86_64")]
mod pack;
mod prefetch;
mod readme;
mod run;
mod samples;
#[path = "../../../../tests/src/skip.rs"]
mod skip;
mod source;
mod source_templates;
mod templates;
mod trace;
mod verify;

/// The valid samples.
const GOOD: [&str; 24] = [
    "app-native.smf",
    "app.smf",
    "bcod.smf",
    "compact.smf",
    "compressed-lz4.smf",
    "compressed-zstd.smf",
    "driver.smf",
    "dynlib.smf",
    "elf-object.smf",
    "lib.smf",
    "library.lsm",
    "native-stub219.smf",
    "native.smf",
    "needed.smf",
    "note-zero-size.smf",
    "packed-leading.smf",
    "packed.smf",
    "properties.smf",
    "records.smf",
    "relative.smf",
    "services.smf",
    "stub-cat.smf",
    "stub-declared.smf",
    "without-relocs.smf",
];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/samples").join(name)
}

/// An empty directory for one test.
fn scratch(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{test}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs the command in the samples directory.
fn smf(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.args(args).current_dir(sample(".")).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The output of a command that succeeds without output on standard error.
#[track_caller]
fn ok(args: &[&str]) -> String {
    let output = smf(args);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    text(&output.stdout)
}

/// The single line on standard error of a command that fails without other output.
#[track_caller]
fn fails(args: &[&str]) -> String {
    ends_with_error(args, 1)
}

/// The same, for wrong usage.
#[track_caller]
fn is_misused(args: &[&str]) -> String {
    ends_with_error(args, 2)
}

#[track_caller]
fn ends_with_error(args: &[&str], status: i32) -> String {
    let output = smf(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), &*out), (Some(status), ""), "{args:?}: {err}");
    assert!(err.starts_with("error: ") && err.ends_with('\n'), "{args:?}: {err:?}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    err
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn inspected(file: &str) -> Value {
    serde_json::from_str(&ok(&["inspect", "--json", file])).unwrap()
}

#[test]
fn wrong_usage_exits_with_status_2() {
    for args in [
        &[][..],
        &["frobnicate"],
        &["run"],
        &["run", "packed.smf", "add", "one"],
        &["run", "packed.smf", "add", "u8:256"],
        &["run", "packed.smf", "add", "--returns", "i9"],
        &["run", "packed.smf", "add", "18446744073709551616"],
        &["run", "packed.smf", "add", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        &["run", "packed.smf", "--frobnicate"],
        &["inspect"],
        &["verify"],
        &["convert", "packed.smf", "--layout", "native"],
        &["convert", "packed.smf", "-o", "x", "--layout", "compact"],
        &["prefetch"],
        &["prefetch", "-"],
        &["prefetch", "packed.smf", "--threads", "many"],
        &["prefetch", "packed.smf", "--threads", "-1"],
        &["lib", "create", "-o", "x", "noequals"],
        &["lib", "create", "-o", "x", "=file"],
        &["completions", "nosuchshell"],
    ] {
        let output = smf(args);
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
    contains(&text(&smf(&["run"]).stderr), &["Usage: smf run "]);
}

#[test]
fn arguments_and_options_that_do_not_fit_the_function_are_wrong_usage() {
    let directory = scratch("wrong-usage");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (source, bytecode) = (path("a.spl"), path("nine.smf"));
    let text = "fn half(x: f64) -> f64:\n    print x\n    x / 2\nfn same<T>(x: T) -> T: x\n";
    fs::write(&source, text).unwrap();
    fs::write(path("nine.sbc"), "function nine, 9, 9\nLOAD 0, 8\nRET 0\n").unwrap();
    ok(&["asm", &path("nine.sbc"), "-o", &bytecode]);
    let nine = &["1", "2", "3", "4", "5", "6", "7", "8", "9"][..];
    assert_eq!(ok(&[&["run", &bytecode, "nine"], nine].concat()), "9\n");
    for (args, why) in [
        (&["run", &*bytecode, "nine", "1"][..], "takes 9 arguments, and 1 is given"),
        (&["run", &bytecode, "nine", "x"], "the argument `x`: not a 64-bit integer"),
        (&["run", &source, "half"], "function `half` takes 1 argument, and 0 are given"),
        (&["run", &source, "half", "x"], "argument 1 `x`: `x` is not a valid f64"),
        (&["run", &source, "half", "1", "--returns", "i64"], "a result of type f64"),
        (&["run", &source, "same<i64, i64>", "1"], "1 type parameter, and 2 types are given"),
        (
            &["run", "bcod.smf", "answer", "--returns", "i64"],
            "--returns does not apply to bytecode",
        ),
        (&["run", "/dev/null", "--watch"], "--watch applies to files"),
        (&["trace", "bcod.smf", "--watch", "-o", "x"], "--watch does not apply to traces"),
    ] {
        contains(&is_misused(args), &[why]);
    }
    // The module is machine code.
    if cfg!(target_arch = "x86_64") {
        let error = is_misused(&[&["run", "packed.smf", "add"], nine].concat());
        contains(&error, &["called with up to 8 arguments"]);
        contains(&is_misused(&["run", "packed.smf", "add", "one"]), &["`one` is not a number"]);
    }
}

#[test]
fn numbers_of_options_are_decimal_or_hexadecimal() {
    let directory = scratch("numbers");
    let (source, out) = (directory.join("a.spl"), directory.join("out.smf"));
    fs::write(&source, "print 1\n").unwrap();
    let (source, out) = (source.to_str().unwrap(), out.to_str().unwrap());
    for (command, good, bad) in [
        (&["top", "packed.smf", "-n"][..], "0x1", "0x"),
        (&["run", source, "--opt"], "0x1", "0x4"),
        (&["eval", "print 1", "--opt"], "0x1", "-1"),
        (&["compile", source, "-o", out, "--opt"], "0X3", "4"),
        (&["prefetch", source, "--threads"], "0x2", "0x101"),
        (&["pack", "properties.smf", "-o", out, "--prefetch"], "0x5", "256"),
    ] {
        let run = |number| smf(&[command, &[number]].concat());
        let output = run(good);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", text(&output.stderr));
        let output = run(bad);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
    }
    let module = fs::read(out).unwrap();
    assert_eq!(Smf::parse(&module).unwrap().header().files_to_prefetch(), 5);
    contains(&text(&smf(&["run", source, "--opt", "4"]).stderr), &["not an integer from 0 to 3"]);
}

#[test]
fn commands_that_read_a_module_accept_one_of_an_archive() {
    let names = ok(&["lib", "list", "library.lsm"]);
    for command in ["inspect", "nm", "size", "top", "verify", "disasm"] {
        let output = smf(&[command, "library.lsm:std/math/scale"]);
        assert!(output.status.success(), "{command}: {names}{}", text(&output.stderr));
        contains(
            &fails(&[command, "library.lsm:absent"]),
            &["library.lsm:absent: no module called absent"],
        );
    }
    contains(&ok(&["nm", "library.lsm:std/math/scale"]), &["T scale"]);
    contains(&fails(&["nm", "library.lsm"]), &["name one of its modules"]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    contains(&ok(&["--version"]), &["smf ", env!("CARGO_PKG_VERSION")]);
    let commands = ["run", "inspect", "verify", "pack", "convert", "strip-stub", "lib", "note"];
    for command in commands.into_iter().chain(["prefetch"]) {
        contains(&ok(&["--help"]), &[command]);
        contains(&ok(&[command, "--help"]), &["Usage:"]);
    }
    contains(&ok(&["run", "--help"]), &["--host-symbols", "--exit", "--time", "--with"]);
    for shell in ["bash", "zsh", "fish"] {
        contains(&ok(&["completions", shell]), &["host-library"]);
    }
    contains(&ok(&["man"]), &[".TH", "smf"]);
    contains(&ok(&["man", "run"]), &[".TH", "host"]);
    contains(&is_misused(&["man", "nope"]), &["nope"]);
}

#[test]
fn messages_have_color_on_request() {
    let run = |arguments: &[&str]| text(&smf(arguments).stderr);
    let plain = run(&["inspect", "absent.smf"]);
    assert!(plain.starts_with("error: "), "{plain}");
    let colored = run(&["inspect", "absent.smf", "--color", "always"]);
    assert_eq!(colored, plain.replacen("error:", "\x1b[1;31merror\x1b[0m:", 1));
    let diagnostic = run(&["eval", "1 + x", "--color=always"]);
    assert!(
        diagnostic.starts_with("\x1b[1;31merror[E1301]\x1b[0m: name `x` not found"),
        "{diagnostic}"
    );
    assert!(run(&["eval", "1 + x", "--color=never"]).starts_with("error[E1301]: "));
}

#[test]
fn man_pages_and_completions_are_written() {
    let directory = scratch("man");
    let at = directory.to_str().unwrap();
    ok(&["man", "--directory", at]);
    for page in ["smf.1", "smf-run.1", "smf-lib-create.1"] {
        contains(&fs::read_to_string(directory.join(page)).unwrap(), &[".TH"]);
    }
    let page = fs::read_to_string(directory.join("smf-lib-create.1")).unwrap();
    assert_eq!(ok(&["man", "lib", "create"]), page);
    for command in [&["run"][..], &["pack"], &["lib", "create"], &["man"], &[]] {
        let help = ok(&[command, &["--help"]].concat());
        let usage = help.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap();
        let page = ok(&[&["man"], command].concat());
        contains(
            &page.replace("\\-", "-"),
            &[&format!(".SH SYNOPSIS\n{usage}\n.SH DESCRIPTION\n")],
        );
    }
    contains(&is_misused(&["man", "lib", "other"]), &["no command `lib other`"]);
    let absent = directory.join("absent");
    contains(&fails(&["man", "--directory", absent.to_str().unwrap()]), &["absent"]);

    let home = scratch("completions");
    let install = |shell| {
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        smf.env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME").env("HOME", &home);
        smf.args(["completions", shell, "--install"]).output().unwrap()
    };
    let for_shell = |shell| {
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        smf.env("SHELL", shell).arg("completions").output().unwrap()
    };
    contains(&text(&for_shell("/usr/bin/zsh").stdout), &["#compdef smf"]);
    contains(&text(&for_shell("/bin/other").stderr), &["SHELL names no known shell"]);
    let paths = [
        ("bash", ".local/share/bash-completion/completions/smf"),
        ("zsh", ".local/share/zsh/site-functions/_smf"),
        ("fish", ".config/fish/completions/smf.fish"),
    ];
    for (shell, path) in paths {
        let path = home.join(path);
        assert_eq!(text(&install(shell).stdout), format!("{}\n", path.display()));
        contains(&fs::read_to_string(path).unwrap(), &["host-library"]);
    }
    contains(&text(&install("elvish").stderr), &["bash, zsh and fish, not elvish"]);
}

/// Runs the command with `input` on its standard input.
fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_smf"))
        .args(args)
        .current_dir(sample("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn dash_argument_means_standard_input_or_output() {
    let packed = fs::read(sample("packed.smf")).unwrap();
    assert_eq!(text(&fed(&["verify", "-"], &packed).stdout), "-: ok\n");
    let shown: Value =
        serde_json::from_slice(&fed(&["inspect", "--json", "-"], &packed).stdout).unwrap();
    assert_eq!((&shown["file"], &shown["size"]), (&json!("-"), &json!(1029)));
    let empty = fed(&["inspect", "-"], b"");
    assert_eq!(text(&empty.stderr), "error: -: the file is empty, at offset 0x0\n");
    let twice = fed(&["verify", "-", "-"], &packed);
    let error = "error: -: standard input was read already: name it once\n";
    assert_eq!((text(&twice.stdout), text(&twice.stderr)), ("-: ok\n".into(), error.into()));
    let app = fs::read(sample("app.smf")).unwrap();
    let native = fed(&["convert", "-", "-o", "-", "--layout", "native"], &app).stdout;
    assert_eq!(text(&fed(&["verify", "-"], &native).stdout), "-: ok\n");
    if cfg!(target_arch = "x86_64") {
        assert_eq!(text(&fed(&["run", "-", "add", "1", "2"], &packed).stdout), "3\n");
        let output = fed(&["run", "-", "direct", "2", "--with", "lib.smf"], &app);
        assert_eq!(text(&output.stdout), "6\n");
    }
}

#[test]
fn pipes_and_files_without_a_stated_size_are_read_to_their_end() {
    let packed = fs::read(sample("packed.smf")).unwrap();
    assert_eq!(text(&fed(&["verify", "/dev/stdin"], &packed).stdout), "/dev/stdin: ok\n");
    contains(&text(&fed(&["jit", "/dev/stdin", "f"], &packed).stderr), &["name a file"]);
    let source = b"#!/usr/bin/env -S smf run\nprint 42\n";
    assert_eq!(text(&fed(&["run", "/dev/stdin"], source).stdout), "42\n");
    assert_eq!(text(&fed(&["check", "/dev/stdin"], source).stdout), "/dev/stdin: ok\n");
    // The size is 0, the text is not empty.
    let found = smf(&["check", "/proc/sys/kernel/ostype"]);
    contains(&text(&found.stderr), &["name `Linux` not found"]);
    contains(&fails(&["run", "/proc/sys/kernel/ostype"]), &["not an SMF file"]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(text(&fed(&["run", "/dev/stdin", "add", "1", "2"], &packed).stdout), "3\n");
        let library = fs::read(sample("lib.smf")).unwrap();
        let output = fed(&["run", "app.smf", "direct", "2", "--with", "/dev/stdin"], &library);
        assert_eq!(text(&output.stdout), "6\n");
        // The writer of a named pipe waits until it is opened, and fails once it is closed.
        let pipe = scratch("named-pipe").join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let name = pipe.to_str().unwrap().to_owned();
        let writer = std::thread::spawn(move || fs::write(pipe, packed).unwrap());
        assert_eq!(ok(&["run", &name, "add", "1", "2"]), "3\n");
        writer.join().unwrap();
    }
}

#[test]
fn source_is_run_from_standard_input() {
    let source = b"#!/usr/bin/env -S smf run\nfn twice(x): 2 * x\nprint twice(21)\n";
    let output = fed(&["run", "-"], source);
    assert_eq!((text(&output.stdout), output.status.code()), ("42\n".into(), Some(0)));
    assert_eq!(text(&fed(&["run", "-", "twice", "4"], source).stdout), "8\n");
    let output = fed(&["run", "-"], b"#!/usr/bin/env -S smf run\nprint nosuch\n");
    contains(&text(&output.stderr), &["<stdin>:2:7", "nosuch"]);
    contains(&text(&fed(&["run", "-"], b"print 1\n").stderr), &["not an SMF file"]);
}

#[test]
fn closed_pipe_succeeds_and_full_disk_fails() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = |args: &[&str], out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        let command = command.args(args).current_dir(sample(".")).stdout(out);
        command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    for args in [
        &["inspect", "packed.smf"][..],
        &["inspect", "--json", "packed.smf"],
        &["man"],
        &["--help"],
        &["run", "-h"],
        &["--version"],
    ] {
        let output = run(args, writer.try_clone().unwrap().into());
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(args, full.into());
        assert_eq!(output.status.code(), Some(1));
        contains(&text(&output.stderr), &["error: cannot write to standard output"]);
    }
}

#[test]
fn output_to_a_closed_descriptor_is_an_error() {
    let directory = scratch("closed-output");
    let source = directory.join("a.spl");
    fs::write(&source, "print 1\n").unwrap();
    let run = |args: &str, close: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec \"$0\" {args} {close}")]);
        let shell = shell.arg(env!("CARGO_BIN_EXE_smf")).env("SOURCE", &source);
        shell.current_dir(sample(".")).output().unwrap()
    };
    for args in [
        "nm packed.smf",
        "--version",
        "run \"$SOURCE\"",
        "eval 1",
        "convert app.smf -o - --layout native",
    ] {
        for close in [">&-", "<&- >&-"] {
            let output = run(args, close);
            assert_eq!(output.status.code(), Some(1), "{args} {close}");
            let error = "error: cannot write to standard output: the file is not open for this\n";
            assert_eq!(text(&output.stderr), error, "{args} {close}");
        }
    }
    // Nothing is written.
    let output = run("nm packed.smf --undefined", ">&-");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert_eq!(run("nm packed.smf", "1<>/dev/null").status.code(), Some(0));
}

#[test]
fn lost_output_of_a_program_is_an_error() {
    let directory = scratch("lost-output");
    let source = directory.join("a.spl");
    fs::write(&source, "fn show<T>(x: T): print x\nprint 1\n").unwrap();
    let (source, module) = (source.to_str().unwrap(), directory.join("a.smf"));
    let module = module.to_str().unwrap();
    ok(&["compile", source, "-o", module]);
    for args in [
        &["run", source][..],
        &["run", module],
        &["eval", "print 1"],
        &["jit", module, "show<i64>", "1"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        let output = command.args(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        contains(
            &text(&output.stderr),
            &["error: cannot write to standard output: no space left on the device"],
        );
    }
}

#[test]
fn closed_pipe_does_not_hide_a_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let directory = scratch("closed-pipe");
    let written = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = written("wrong.spl", "fn main(): nosuch\n");
    let status = written("status.spl", "fn main() -> i64:\n    print 1\n    7\n");
    for (args, expected) in [
        (&["check", &wrong][..], 1),
        (&["check", "--json", &wrong], 1),
        (&["verify", "packed.smf", &wrong], 1),
        (&["diff", "packed.smf", "app.smf"], 1),
        (&["prefetch", "nosuch", "packed.smf"], 1),
        (&["run", &status], 7),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        command.args(args).current_dir(sample(".")).stderr(Stdio::null());
        let status = command.stdout(writer.try_clone().unwrap()).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{args:?}");
    }
}

#[test]
fn unwritable_output_is_named_in_the_error() {
    let args = ["convert", "app.smf", "-o", "absent/out", "--layout", "native"];
    contains(&fails(&args), &["absent/out: cannot write the file: no such file or directory"]);
    let error = fails(&["man", "--directory", "absent/pages"]);
    contains(&error, &["absent/pages/smf", ": cannot write the file: no such file or directory"]);
    contains(&fails(&["extract", "packed.smf", "-o", "bad"]), &["bad: cannot write"]);
}

#[test]
fn control_characters_in_a_name_are_escaped() {
    contains(&fails(&["verify", "ab\nsent\u{1b}[2J"]), &["ab\\nsent\\u{1b}[2J: "]);
}
