//! Threads of the C library, which receive no signals of the host.
//!
//! `std::thread` allocates in both threads, and the allocator of glibc maps an arena for a thread that allocates or
//! frees memory. A thread of this module does neither before its function does.
//!
//! Source: pthread_create(3), pthread_attr_setstacksize(3), pthread_sigmask(3), pthread_join(3), pthread_detach(3).
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::{self, MaybeUninit};
use std::ptr;

/// The function of a thread.
pub(crate) type Main = extern "C" fn(*mut c_void) -> *mut c_void;

/// Bytes that are added to a stack in a program with much static thread-local storage, which the C library places in it.
const STORAGE: usize = 1 << 20;

/// A thread. Dropping it detaches it.
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: any thread may signal, join or detach a thread. The identifier is a pointer in some C libraries.
unsafe impl Send for Thread {}
// SAFETY: as above.
unsafe impl Sync for Thread {}

impl Thread {
    /// Creates a thread with at least `stack` bytes of stack and all signals blocked, which calls `main` with `argument`;
    /// `None` if there is no memory for it, or the system refuses to block signals.
    pub(crate) fn create(stack: usize, main: Main, argument: *mut c_void) -> Option<Self> {
        let (mut attributes, mut thread) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let attributes = attributes.as_mut_ptr();
        // SAFETY: writable memory.
        if unsafe { libc::pthread_attr_init(attributes) } != 0 {
            return None;
        }
        // SAFETY: writable memory; the call cannot fail.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // A new thread inherits the mask.
        // SAFETY: the first set is initialised, and the second is writable memory.
        let masked =
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        let mut status = if masked == 0 { libc::EINVAL } else { masked };
        for stack in [stack, stack.saturating_add(STORAGE)] {
            if status != libc::EINVAL {
                break;
            }
            // SAFETY: initialised above.
            status = unsafe { libc::pthread_attr_setstacksize(attributes, stack) };
            if status == 0 {
                let thread = thread.as_mut_ptr();
                // SAFETY: initialised above; `thread` is writable. `main` takes any argument: it is safe, and its callers
                // pass one that it may have.
                status = unsafe { libc::pthread_create(thread, attributes, main, argument) };
            }
        }
        if masked == 0 {
            // SAFETY: initialised by the first call, which has succeeded.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
        }
        // SAFETY: initialised above; the thread has a copy.
        let _always_0 = unsafe { libc::pthread_attr_destroy(attributes) };
        // SAFETY: `pthread_create` has succeeded and initialised it.
        (status == 0).then(|| Self(unsafe { thread.assume_init() }))
    }

    /// Waits until it has ended.
    pub(crate) fn join(self) {
        // SAFETY: the thread was neither joined nor detached, since both consume the value.
        let _joined = unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
        mem::forget(self);
    }

    /// Whether this is the calling thread.
    #[cfg(feature = "host")]
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: the call has no requirement.
        self.0 == unsafe { libc::pthread_self() }
    }

    /// Sends a signal to it; whether the system permits it.
    #[cfg(feature = "host")]
    pub(crate) fn signal(&self, signal: libc::c_int) -> bool {
        // SAFETY: the thread has not been joined.
        unsafe { libc::pthread_kill(self.0, signal) == 0 }
    }

    /// Its number, without waiting until it runs: clocks of threads are numbered by theirs (`CPUCLOCK_PERTHREAD_MASK` of the
    /// kernel's `posix-timers.h`). `None` if it has ended, which musl tells by the number 0.
    #[cfg(feature = "host")]
    pub(crate) fn number(&self) -> Option<libc::pid_t> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: the thread has not been joined, and there is a place for the number of its clock.
        let error = unsafe { libc::pthread_getcpuclockid(self.0, &raw mut clock) };
        (error == 0).then_some(!(clock >> 3)).filter(|&number| number != 0)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        let _detached = unsafe { libc::pthread_detach(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a null pointer if all signals that can be blocked are.
    extern "C" fn find_unblocked(_: *mut c_void) -> *mut c_void {
        let mut mask = MaybeUninit::uninit();
        // SAFETY: writable memory; nothing is changed.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), mask.as_mut_ptr()) };
        let is_blocked = |signal: &i32| {
            // SAFETY: initialised above.
            unsafe { libc::sigismember(mask.as_ptr(), *signal) == 1 }
        };
        let realtime = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let mut signals = [libc::SIGINT, libc::SIGTERM, libc::SIGIO].into_iter().chain(realtime);
        ptr::without_provenance_mut(usize::from(!signals.all(|signal| is_blocked(&signal))))
    }

    #[test]
    fn created_thread_has_all_signals_blocked_and_its_creator_none_more() {
        let is_here = find_unblocked(ptr::null_mut());
        let thread = Thread::create(64 << 10, find_unblocked, ptr::null_mut()).unwrap();
        let mut result = ptr::without_provenance_mut(7);
        // SAFETY: created above, and there is a place for its result.
        assert_eq!(unsafe { libc::pthread_join(thread.0, &raw mut result) }, 0);
        mem::forget(thread);
        assert!(result.is_null());
        assert_eq!(find_unblocked(ptr::null_mut()), is_here);
        assert!(!is_here.is_null());
    }
}
