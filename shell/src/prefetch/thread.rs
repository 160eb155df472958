//! Threads whose creation can fail for lack of memory.
//!
//! `std::thread` allocates a handle, a name and a result slot infallibly. These threads need a box for their
//! closure, which may fail, and a stack, which pthreads maps.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem;
use std::ptr;

use smf_core::alloc_util::try_box;

use crate::raw_thread::Thread;

/// The closure of a thread.
type Work = Box<dyn FnOnce() + Send>;

/// Runs `work` on a thread with `stack` bytes of stack; `None` without the memory for it.
pub(super) fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> Option<Thread> {
    let work: Work = try_box(work).ok()?;
    let work = Box::into_raw(try_box(work).ok()?);
    Thread::create(stack, thread_main, work.cast()).or_else(|| {
        // SAFETY: the pointer comes from `Box::into_raw`, and no thread was created that owns it.
        drop(unsafe { Box::from_raw(work) });
        None
    })
}

/// Runs `work` on up to `others` threads and on this one; returns how many there were. All have ended when
/// this returns.
pub(super) fn run_on_many(others: usize, stack: usize, work: &(dyn Fn() + Sync)) -> usize {
    /// Joins its threads when dropped, also during a panic.
    struct Joined(Vec<Thread>);
    impl Drop for Joined {
        fn drop(&mut self) {
            self.0.drain(..).for_each(Thread::join);
        }
    }
    // SAFETY: only the lifetime changes. `Joined` joins every thread that has the reference before this
    // function returns or unwinds.
    let work = unsafe { mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
    let mut threads = Joined(Vec::new());
    // Without memory for the handles there are no threads.
    let most = if threads.0.try_reserve_exact(others).is_ok() { others } else { 0 };
    threads.0.extend((0..most).map_while(|_| spawn(stack, work)));
    work();
    1 + threads.0.len()
}

/// A panic ends the process: no frame above this one catches it.
extern "C" fn thread_main(work: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `spawn` released to this thread.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // The name is for debuggers; failure to set it does not matter.
    let _ = rustix::thread::set_name(c"smf-prefetch");
    work();
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn spawned_threads_run_their_closures_and_are_joined() {
        let count = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let count = count.clone();
                spawn(256 << 10, move || _ = count.fetch_add(1, Relaxed)).unwrap()
            })
            .collect();
        threads.into_iter().for_each(Thread::join);
        assert_eq!((count.load(Relaxed), Arc::strong_count(&count)), (8, 1));
    }

    #[test]
    fn run_on_many_joins_all_threads_before_it_returns() {
        for others in [0, 1, 7] {
            let count = AtomicU32::new(0);
            let ran = run_on_many(others, 256 << 10, &|| _ = count.fetch_add(1, Relaxed));
            assert_eq!((ran, count.load(Relaxed) as usize), (others + 1, others + 1));
        }
    }

    #[test]
    fn failed_spawn_drops_its_closure() {
        let count = Arc::new(AtomicU32::new(0));
        let held = count.clone();
        // No address space can hold this stack.
        assert!(spawn(1 << 60, move || drop(held)).is_none());
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
