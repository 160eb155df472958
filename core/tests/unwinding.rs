//! Unwinding never passes a frame that catches traps: an exception, a panic and `pthread_exit` end the process.
//!
//! Before the frame had a personality routine, a panic and a forced unwinding passed it and left the
//! thread's chain of calls, or the table of threads, pointing at a stack frame that no longer existed. The children of
//! this test then ended with status 0 and "the frame was left", or without the message.
#![cfg(all(target_arch = "x86_64", not(miri)))]
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::env;
use std::ffi::c_void;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, exit};
use std::ptr::{null, null_mut};
use std::thread;

use smf_core::trap::{CallArg, call_catching, call_values, trap_hook};

const HOW: &str = "SMF_TEST_UNWINDING";
/// The result of `_Unwind_RaiseException` that stands for no handler (`_URC_FATAL_PHASE1_ERROR`).
const NOT_RAISED: u32 = 3;
const SIGABRT: i32 = 6;

/// An exception of another language, laid out as in the Itanium C++ ABI.
#[repr(C, align(16))]
struct Exception {
    class: u64,
    cleanup: Option<extern "C" fn(u32, *mut Exception)>,
    private: [u64; 6],
}

unsafe extern "C-unwind" {
    fn _Unwind_RaiseException(exception: *mut Exception) -> u32;
    fn pthread_exit(result: *mut c_void) -> !;
}

unsafe extern "C" {
    fn pthread_create(
        thread: *mut usize,
        attributes: *const c_void,
        start: extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> i32;
    fn pthread_join(thread: usize, result: *mut *mut c_void) -> i32;
}

extern "C-unwind" fn panics(_: i64) -> i64 {
    panic!("a panic of the host");
}

extern "C-unwind" fn throws(_: i64) -> i64 {
    let exception = Exception { class: 0x534d_4654_4553_5400, cleanup: None, private: [0; 6] };
    let exception = Box::leak(Box::new(exception));
    // SAFETY: an exception that is never freed.
    let code = unsafe { _Unwind_RaiseException(exception) };
    assert_eq!(code, NOT_RAISED);
    eprintln!("the exception was not raised");
    std::process::abort();
}

extern "C-unwind" fn exits(_: i64) -> i64 {
    // SAFETY: the thread was created by `pthread_create`, and its stack has no destructors.
    unsafe { pthread_exit(null_mut()) }
}

extern "C" fn traps(_: i64) -> i64 {
    trap_hook(7, 0, 0, 0, 0).cast_signed()
}

/// Calls the function through both kinds of frames, or through the one named `frame`.
fn call(frame: &str, function: extern "C-unwind" fn(i64) -> i64) {
    let address = function as *const () as u64;
    let returned = if frame == "integers" {
        // SAFETY: a function of one integer.
        unsafe { call_catching(address, &[1]) }.map(drop)
    } else {
        // SAFETY: as above.
        unsafe { call_values(address, &[CallArg::Integer(1)]) }.map(drop)
    };
    eprintln!("the call returned {returned:?}");
    exit(4);
}

/// Reached when the frame was left, to which pointers may remain.
fn left() -> ! {
    eprintln!("the frame was left");
    // SAFETY: a function of one integer that holds nothing.
    let after = unsafe { call_catching(traps as *const () as u64, &[1]) };
    eprintln!("the next trap of the thread: {after:?}");
    exit(0);
}

extern "C-unwind" fn exit_in_thread(frame: *mut c_void) -> *mut c_void {
    call(if frame.is_null() { "integers" } else { "words" }, exits);
    null_mut()
}

fn child(how: &str) -> ! {
    let (what, frame) = how.split_once(' ').unwrap();
    match what {
        "panic" => {
            let caught = catch_unwind(AssertUnwindSafe(|| call(frame, panics)));
            assert!(caught.is_err());
        }
        "exception" => call(frame, throws),
        _ => {
            let mut thread = 0;
            let argument =
                if frame == "integers" { null_mut() } else { exit_in_thread as *mut c_void };
            // SAFETY: the function does not touch its argument.
            let failed =
                unsafe { pthread_create(&raw mut thread, null(), exit_in_thread, argument) };
            assert_eq!(failed, 0);
            // SAFETY: the thread was just created, and is joined once.
            assert_eq!(unsafe { pthread_join(thread, null_mut()) }, 0);
        }
    }
    left();
}

#[test]
fn unwinding_through_a_call_that_catches_traps_aborts_the_process() {
    if let Ok(how) = env::var(HOW) {
        child(&how);
    }
    let name = thread::current().name().unwrap().to_owned();
    for (what, message) in [
        ("panic", "failed to initiate panic, error 3"),
        ("exception", "the exception was not raised"),
        ("exit", ""),
    ] {
        for frame in ["integers", "words"] {
            let mut command = Command::new(env::current_exe().unwrap());
            command.args(["--exact", &name, "--nocapture"]).env("RUST_BACKTRACE", "0");
            let output = command.env(HOW, format!("{what} {frame}")).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            let status = output.status;
            assert_eq!(status.signal(), Some(SIGABRT), "{what} {frame}: {status}: {told}");
            assert!(told.contains(message), "{what} {frame}: {told}");
        }
    }
}
