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
/// Goes on to the next begin or end of a system call.
const TO_SYSTEM_CALL: i64 = 24;
const SET_OPTIONS: i64 = 0x4200;
/// The process goes when its tracer does.
const EXIT_KILL: usize = 0x10_0000;
const SIGKILL: i32 = 9;
const SIGTRAP: i32 = 5;

/// Runs a command that is killed at its `stop`th stop, counted from 0: each system call is one when it
/// begins, before anything is done, and one when it has been done. Whether it came so far.
///
/// # Panics
/// When a process cannot be traced here.
#[expect(clippy::zombie_processes, reason = "it is waited for by its number, as its tracer must")]
pub fn killed_at(mut command: Command, stop: usize) -> bool {
    // SAFETY: one system call, which a forked child may make.
    unsafe { command.pre_exec(ask_to_be_traced) };
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let process = i32::try_from(child.id()).unwrap();
    // It stops where its program begins.
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
    // SAFETY: a process that this one traces, and no address.
    let result = unsafe { ptrace(request, process, 0, data) };
    assert_eq!(result, 0, "ptrace: {}", io::Error::last_os_error());
}

/// The signal with which the process has stopped; `None` when it has ended.
fn wait(process: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status is this function's own.
    assert_eq!(unsafe { waitpid(process, &raw mut status, 0) }, process);
    (status & 0xff == 0x7f).then_some(status >> 8 & 0xff)
}
