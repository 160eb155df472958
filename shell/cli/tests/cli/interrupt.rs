//! Ctrl-C at random moments leaves the old or the new output, and no temporary file; progress on a terminal.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{contains, ok, sample, scratch, text};

/// How often each command is interrupted.
const ROUNDS: u32 = 16;

fn smf(directory: &Path, arguments: &[&str]) -> Command {
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.args(arguments).current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    smf
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    // A process that has ended is a zombie until it is waited for.
    kill_process(pid, signal).unwrap();
}

/// Interrupts the command, which writes the file `out`, at moments until after its usual end. The file is the new one then.
fn interrupt(directory: &Path, arguments: &[&str], seed: u32) {
    let out = directory.join("out");
    let _ = fs::remove_file(&out);
    // The first run reads files that the kernel does not have in memory yet.
    let runs = (0..4).map(|_| {
        let begin = Instant::now();
        assert!(smf(directory, arguments).status().unwrap().success(), "{arguments:?}");
        begin.elapsed()
    });
    let whole = runs.min().unwrap();
    let new = fs::read(&out).unwrap();
    assert!(new.len() > 10);
    let mut random = seed;
    let mut interrupted = 0;
    // On a loaded machine the signals of all rounds may come too late.
    for round in 0..50 * ROUNDS {
        if round >= ROUNDS && interrupted != 0 {
            break;
        }
        fs::write(&out, "old").unwrap();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Each sixteenth of the time once, and a little more: the last moments are those of writing.
        let part = f64::from(round % ROUNDS) + f64::from(random >> 16) / 65536.0;
        let mut child = smf(directory, arguments).spawn().unwrap();
        thread::sleep(whole.mul_f64(part / f64::from(ROUNDS) * 1.1));
        let which = [Signal::INT, Signal::TERM, Signal::HUP][round as usize % 3];
        signal(&child, which);
        let status = child.wait().unwrap();
        let found = fs::read(&out).unwrap();
        match status.signal() {
            Some(number) => {
                assert_eq!(number, which.as_raw());
                interrupted += 1;
            }
            None => assert!(status.success() && found == new, "{arguments:?}: {status}"),
        }
        assert!(found == b"old" || found == new, "{arguments:?}: {} bytes", found.len());
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
        assert!(left.is_empty(), "{arguments:?}: {left:?}");
    }
    assert_ne!(interrupted, 0, "{arguments:?}: no signal came in time");
    // The next command may read it.
    fs::write(&out, new).unwrap();
}

#[test]
fn output_beyond_the_file_size_limit_is_an_error() {
    let directory = scratch("file-size-limit");
    let out = directory.join("out.file");
    for command in [
        &["map", "packed.smf"][..],
        &["extract", "services.smf"],
        #[cfg(target_arch = "x86_64")]
        &["trace", "packed.smf", "answer"],
    ] {
        fs::write(&out, "old").unwrap();
        let mut limited = Command::new("sh");
        // At most 1024 bytes: the unit depends on the shell.
        limited.args(["-c", "ulimit -f 1 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_smf")]);
        limited.args(command).arg("-o").arg(&out).current_dir(sample("."));
        let output = limited.output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
        contains(&error, &["out.file: cannot write the file: the file would be too large\n"]);
        assert_eq!(fs::read(&out).unwrap(), b"old");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "{command:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn interrupted_command_leaves_old_or_new_output_alone() {
    let directory = scratch("interrupt");
    // Writing takes a good part of the time.
    fs::write(
        directory.join("big.c"),
        "char big[24 << 20] = {1}; long f(void) { return big[0]; }\n",
    )
    .unwrap();
    let mut gcc = Command::new("gcc");
    assert!(gcc.args(["-c", "big.c"]).current_dir(&directory).status().unwrap().success());
    fs::write(directory.join("a.spl"), "fn add(a: i64, b: i64) -> i64: a + b\n").unwrap();
    fs::copy(sample("packed.smf"), directory.join("packed.smf")).unwrap();
    interrupt(&directory, &["pack", "-q", "big.o", "-o", "out"], 1);
    fs::copy(directory.join("out"), directory.join("big.smf")).unwrap();
    interrupt(&directory, &["pack", "big.smf", "-o", "out", "--layout", "native"], 2);
    interrupt(&directory, &["lib", "create", "-o", "out", "big=big.smf", "small=packed.smf"], 3);
    interrupt(&directory, &["compile", "a.spl", "-o", "out"], 4);
    interrupt(&directory, &["map", "packed.smf", "-o", "out"], 5);
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn ignored_signals_do_not_disturb_the_output() {
    let directory = scratch("ignored-signals");
    let data = "char big[24 << 20] = {1}; long f(void) { return big[0]; }\n";
    fs::write(directory.join("big.c"), data).unwrap();
    let mut gcc = Command::new("gcc");
    assert!(gcc.args(["-c", "big.c"]).current_dir(&directory).status().unwrap().success());
    let script = "trap '' INT HUP TERM; echo; exec \"$0\" pack big.o -o out";
    let mut whole = Duration::ZERO;
    for round in 0..=ROUNDS {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_smf")]).current_dir(&directory);
        let mut child = shell.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        // Before the shell ignores them they would end it.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let begin = Instant::now();
        if round != 0 {
            // After the first, undisturbed round: the later half of the time, in which the file is written.
            thread::sleep(whole.mul_f64(0.5 + 0.5 * f64::from(round) / f64::from(ROUNDS)));
            for which in [Signal::INT, Signal::HUP, Signal::TERM] {
                signal(&child, which);
            }
        }
        let status = child.wait().unwrap();
        whole = begin.elapsed();
        assert!(status.success(), "round {round}: {status}");
        assert!(fs::metadata(directory.join("out")).unwrap().len() > 24 << 20);
        fs::remove_file(directory.join("out")).unwrap();
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// A terminal: both ends.
fn terminal() -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    (File::from(controller), OpenOptions::new().read(true).write(true).open(name).unwrap())
}

/// What `smf verify -` prints on a terminal if its input takes `time`.
fn shown(options: &[&str], time: Duration) -> String {
    let (mut controller, end) = terminal();
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    smf.args(["verify", "-"]).args(options).env("TERM", "xterm");
    smf.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(end);
    let mut child = smf.spawn().unwrap();
    drop(smf);
    let mut input = child.stdin.take().unwrap();
    thread::sleep(time);
    input.write_all(&fs::read(sample("packed.smf")).unwrap()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    let mut text = Vec::new();
    // The terminal ends with an error when its other end is closed.
    let _ = controller.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn progress_is_shown_on_a_terminal_after_a_second() {
    let long = Duration::from_millis(1600);
    let text = shown(&[], long);
    assert!(text.contains("verifying") && text.contains("0/1"), "{text:?}");
    assert_eq!(shown(&["--quiet"], long), "");
    assert_eq!(shown(&[], Duration::from_millis(200)), "");
    // Not on a terminal: `ok` expects no other output.
    assert!(ok(&["verify", sample("packed.smf").to_str().unwrap()]).ends_with("packed.smf: ok\n"));
}
