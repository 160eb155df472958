//! Kills a program at one of its system calls: ptrace(2).
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

unsafe extern "C" {
    fn ptrace(request: i64, process: i32, address: usize, data: usize) -> i64;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    safe fn kill(process: i32, signal: i32) -> i32;
}

const TRACE_ME: i64 = 0;
/// Continues to the next entry or exit of a system call.
const TO_SYSTEM_CALL: i64 = 24;
const SET_OPTIONS: i64 = 0x4200;
/// The traced process is killed when its tracer ends.
const EXIT_KILL: usize = 0x10_0000;
const SIGKILL: i32 = 9;
const SIGTRAP: i32 = 5;

/// Runs a command and kills it at its stop number `stop`, counted from 0. Each system call is a stop at its entry,
/// before it has any effect, and another at its exit. Returns whether the command reached that stop.
///
/// # Panics
/// If processes cannot be traced here.
#[expect(clippy::zombie_processes, reason = "the tracer waits for it by its process id")]
pub fn killed_at(mut command: Command, stop: usize) -> bool {
    // SAFETY: one system call, which a forked child may make.
    unsafe { command.pre_exec(ask_to_be_traced) };
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let process = i32::try_from(child.id()).unwrap();
    // The first stop is at the start of its program.
    assert_eq!(wait(process), Some(SIGTRAP));
    trace(SET_OPTIONS, process, EXIT_KILL);
    for _ in 0..=stop {
        trace(TO_SYSTEM_CALL, process, 0);
        if wait(process).is_none() {
            return false;
        }
    }
    assert_eq!(kill(process, SIGKILL), 0);
    while wait(process).is_some() {}
    true
}

fn ask_to_be_traced() -> io::Result<()> {
    // SAFETY: it concerns this process, and no address.
    match unsafe { ptrace(TRACE_ME, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn trace(request: i64, process: i32, data: usize) {
    // SAFETY: the process is traced by this one, and no address is passed.
    let result = unsafe { ptrace(request, process, 0, data) };
    assert_eq!(result, 0, "ptrace: {}", io::Error::last_os_error());
}

/// The signal that stopped the process; `None` if it has ended.
fn wait(process: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status is a local variable.
    assert_eq!(unsafe { waitpid(process, &raw mut status, 0) }, process);
    (status & 0xff == 0x7f).then_some(status >> 8 & 0xff)
}
