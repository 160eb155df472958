//! Signals that end the command leave no partial output and no temporary file.
//!
//! A thread waits for the signals, which all threads block: `sigwait` returns in ordinary code, so that the thread may take
//! the lock of the writers, which no signal handler may do. The process then ends by the signal, as it would without this.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use smf_loader::files;

/// The signals by which terminals, shells and services end a command.
const SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// The stack of the waiting thread, in bytes, with the static thread-local storage of the command and its reserve for
/// modules, which lie in it.
const STACK: usize = 512 << 10;

/// Whether the process ignores the signal, as under `nohup` and in the background of a shell without job control.
fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a valid signal, no new action, and memory for the present one.
    let failed = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0;
    // SAFETY: initialised by the call, which did not fail.
    !failed && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// The set of [`SIGNALS`] without those that the process ignores.
fn signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: memory for a set, which this initialises.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in SIGNALS.into_iter().filter(|&signal| !is_ignored(signal)) {
        // SAFETY: an initialised set, and a valid signal.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

/// Makes the signals remove temporary files before they end the process. To be called before other threads start. Without
/// another thread the signals end the process at once, as before.
pub(crate) fn clean_up_at_signals() {
    let set = signals();
    // SAFETY: an initialised set, and no memory for the previous one.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } != 0 {
        return;
    }
    if !start_waiting() {
        unblock();
    }
}

/// Starts the thread that waits; returns whether it did. Not by `std`, whose threads end the process if there is no memory
/// for their thread-local variables.
fn start_waiting() -> bool {
    let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: memory for attributes, which this initialises.
    if unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: initialised attributes. A size that the system refuses leaves the default.
    unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK) };
    let attributes = attributes.as_mut_ptr();
    // SAFETY: memory for a thread, initialised attributes, and a function that takes any argument.
    let failed = unsafe {
        libc::pthread_create(thread.as_mut_ptr(), attributes, wait_for_signal, ptr::null_mut())
    };
    // SAFETY: initialised attributes, which are not used after this.
    unsafe { libc::pthread_attr_destroy(attributes) };
    failed == 0
}

fn unblock() {
    let set = signals();
    // SAFETY: an initialised set, and no memory for the previous one.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

/// Makes a write beyond the limit of file sizes (RLIMIT_FSIZE) fail, where SIGXFSZ would end the command.
pub(crate) fn report_file_limit() {
    // SAFETY: the signal is ignored, so that no handler runs.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

extern "C" fn wait_for_signal(_: *mut c_void) -> *mut c_void {
    let (set, mut signal) = (signals(), 0);
    // SAFETY: an initialised set of signals that all threads block, and memory for one.
    if unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {
        unblock();
        return ptr::null_mut();
    }
    let _no_writes = files::abandon_writes();
    unblock();
    // SAFETY: the signal has its default action, because the command handles none of these; it ends the process.
    unsafe { libc::raise(signal) };
    ptr::null_mut()
}
