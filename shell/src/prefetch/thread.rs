//! Threads that can be refused memory.
//!
//! `std::thread` asks the allocator for a handle, a name and a place for the result in ways that end the process
//! when there is no memory. These take a box for what they run, which may be refused, and the stack, which the
//! system's library maps.
//!
//! Source: pthread_create(3), pthread_attr_setstacksize(3), pthread_join(3), pthread_detach(3).
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use smf_core::alloc_util::try_box;

/// `pthread_t`, a number or a pointer.
type Number = usize;

/// `pthread_attr_t`, of which 64 bytes are the most that a library has.
#[repr(C, align(16))]
struct Attributes([u64; 16]);

unsafe extern "C" {
    fn pthread_attr_init(attributes: *mut Attributes) -> c_int;
    fn pthread_attr_setstacksize(attributes: *mut Attributes, bytes: usize) -> c_int;
    fn pthread_attr_destroy(attributes: *mut Attributes) -> c_int;
    fn pthread_create(
        thread: *mut Number,
        attributes: *const Attributes,
        start: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_join(thread: Number, result: *mut *mut c_void) -> c_int;
    fn pthread_detach(thread: Number) -> c_int;
}

/// What a thread runs.
type Work = Box<dyn FnOnce() + Send>;

/// A thread. Dropping it lets it go on alone.
#[derive(Debug)]
pub(super) struct Thread(Number);

impl Thread {
    /// Runs `work` on a thread with so many bytes of stack; `None` when the system, or the allocator, has none.
    pub(super) fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> Option<Self> {
        let work: Work = try_box(work).ok()?;
        let work = Box::into_raw(try_box(work).ok()?);
        let thread = create(stack, work.cast());
        if thread.is_none() {
            // SAFETY: from `Box::into_raw`, and no thread has it.
            drop(unsafe { Box::from_raw(work) });
        }
        thread.map(Self)
    }

    /// Waits until it has ended.
    pub(super) fn join(self) {
        // SAFETY: a thread that was neither joined nor detached: both take the value.
        let _joined = unsafe { pthread_join(self.0, ptr::null_mut()) };
        mem::forget(self);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        let _detached = unsafe { pthread_detach(self.0) };
    }
}

/// Runs `work` on `others` threads more, or as many as there can be, and on this one; how many that were. All
/// have ended when this comes back.
pub(super) fn run_on_many(others: usize, stack: usize, work: &(dyn Fn() + Sync)) -> usize {
    /// Waits for its threads, also when this one panics.
    struct Joined(Vec<Thread>);
    impl Drop for Joined {
        fn drop(&mut self) {
            self.0.drain(..).for_each(Thread::join);
        }
    }
    // SAFETY: only the lifetime is another. No thread that has it is left when `Joined` is dropped, which is
    // before this function comes back in whatever way.
    let work = unsafe { mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work) };
    let mut threads = Joined(Vec::new());
    // Where there is no room to remember them there are none.
    let most = if threads.0.try_reserve_exact(others).is_ok() { others } else { 0 };
    threads.0.extend((0..most).map_while(|_| Thread::spawn(stack, work)));
    work();
    1 + threads.0.len()
}

/// A thread that begins at [`begin`] with this.
fn create(stack: usize, argument: *mut c_void) -> Option<Number> {
    let mut attributes = MaybeUninit::<Attributes>::uninit();
    let place = attributes.as_mut_ptr();
    // SAFETY: room for attributes.
    if unsafe { pthread_attr_init(place) } != 0 {
        return None;
    }
    let mut thread = 0;
    // SAFETY: attributes that were made above.
    let mut refused = unsafe { pthread_attr_setstacksize(place, stack) };
    if refused == 0 {
        // SAFETY: as above, and room for the number; the argument is what `begin` wants, and its own.
        refused = unsafe { pthread_create(&raw mut thread, place, begin, argument) };
    }
    // SAFETY: as above; a thread has its own copy.
    let _always_0 = unsafe { pthread_attr_destroy(place) };
    (refused == 0).then_some(thread)
}

extern "C" fn begin(work: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `spawn` has made, for this thread alone.
    let work = unsafe { Box::from_raw(work.cast::<Work>()) };
    // What a debugger calls it; it goes by another name if not.
    let _ = rustix::thread::set_name(c"smf-prefetch");
    // The message of a panic was told.
    let _ = catch_unwind(AssertUnwindSafe(*work));
    ptr::null_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn threads_run_what_they_are_given_and_are_waited_for() {
        let count = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let count = count.clone();
                Thread::spawn(256 << 10, move || _ = count.fetch_add(1, Relaxed)).unwrap()
            })
            .collect();
        threads.into_iter().for_each(Thread::join);
        assert_eq!((count.load(Relaxed), Arc::strong_count(&count)), (8, 1));
    }

    #[test]
    fn what_a_thread_borrows_is_not_used_afterwards() {
        for others in [0, 1, 7] {
            let count = AtomicU32::new(0);
            let ran = run_on_many(others, 256 << 10, &|| _ = count.fetch_add(1, Relaxed));
            assert_eq!((ran, count.load(Relaxed) as usize), (others + 1, others + 1));
        }
    }

    #[test]
    fn a_thread_that_cannot_be_had_takes_nothing() {
        let count = Arc::new(AtomicU32::new(0));
        let held = count.clone();
        // No address space has room for such a stack.
        assert!(Thread::spawn(1 << 60, move || drop(held)).is_none());
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_panic_ends_its_thread_alone() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        Thread::spawn(256 << 10, || panic!("as asked")).unwrap().join();
        std::panic::set_hook(hook);
    }
}
