//! The handlers that run around a fork, and the order in which they take the locks of the process.
//!
//! They are registered when the library is loaded, before any other thread can be inside of it; in programs that skip
//! the initialisers, before the first lock is taken. The C library removes them when the library is closed.
//!
//! Handlers that a program registers later run before these take the locks, and after these have released them.
//! Therefore a program may call this library in its handlers only if it registers them later.
//!
//! Source: pthread_atfork(3p); fork(2); glibc, `nptl/register-atfork.c` (handlers belong to a shared object).
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::{GENERATION, HeldAtFork};

/// Every lock of the process, in the order in which one thread takes several of them: freeing a block of code also
/// unregisters its name from debuggers, and reading the environment enables tools. A thread inside of the system's loader may
/// call any function of this library.
const LISTS: &[&[&dyn HeldAtFork]] = &[
    #[cfg(feature = "host")]
    super::system_loader::LOCKS,
    #[cfg(feature = "c-api")]
    crate::ffi::LOCKS,
    #[cfg(feature = "exec")]
    crate::exec::LOCKS,
    #[cfg(target_arch = "x86_64")]
    crate::call_record::LOCKS,
    #[cfg(feature = "host")]
    crate::init_functions::LOCKS,
    #[cfg(feature = "host")]
    crate::thread_exit::LOCKS,
    #[cfg(feature = "host")]
    crate::unwinding::LOCKS,
    crate::jit::LOCKS,
    crate::tools::LOCKS,
    #[cfg(feature = "host")]
    crate::thread_storage::LOCKS,
    #[cfg(feature = "host")]
    crate::file_lease::LOCKS,
    crate::events::LOCKS,
];

/// Runs when the library is loaded, before any of its functions.
#[cfg(not(miri))]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = start;

#[cfg(not(miri))]
extern "C" fn start() {
    register_now();
    crate::file_limit::install();
}

static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers the handlers, once.
#[inline]
pub(super) fn register() {
    if !IS_REGISTERED.load(Ordering::Relaxed) {
        register_now();
    }
}

#[cold]
#[inline(never)]
fn register_now() {
    if cfg!(miri) || IS_REGISTERED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the handlers may run in any thread that forks.
    if unsafe { libc::pthread_atfork(Some(prepare), Some(release), Some(child)) } != 0 {
        // Out of memory: the next call tries again.
        IS_REGISTERED.store(false, Ordering::Relaxed);
    }
}

extern "C" fn prepare() {
    LISTS.iter().copied().flatten().for_each(|lock| lock.hold());
}

/// Runs in the parent.
extern "C" fn release() {
    for lock in LISTS.iter().rev().flat_map(|locks| locks.iter().rev()) {
        // SAFETY: this thread has held it since `prepare`.
        unsafe { lock.release() };
    }
}

/// Runs in the only thread of the child.
extern "C" fn child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    release();
    #[cfg(target_arch = "x86_64")]
    crate::call_record::begin_child();
    #[cfg(feature = "host")]
    crate::file_lease::begin_child();
    #[cfg(feature = "host")]
    super::system_loader::begin_child();
    #[cfg(feature = "c-api")]
    crate::ffi::begin_child();
}
