//! An allocator that counts requests and can be made to fail: `#[global_allocator] static A: Watched = Watched;`.
//!
//! Counters and failures belong to one thread, so that concurrent tests do not affect each other.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::Ordering::Relaxed;

thread_local! {
    static REQUESTS: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread has allocated and not freed, and the most there were.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// How many more requests are granted; `None` for all.
    static GRANTED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Allocated bytes of the process.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counting what each thread asks for.
#[derive(Debug)]
pub struct Watched;

/// Notes a request; whether it is granted. The one that is not is the last that is refused.
fn ask(size: usize) -> bool {
    REQUESTS.set(REQUESTS.get() + 1);
    LARGEST.set(LARGEST.get().max(size));
    match GRANTED.get() {
        None => true,
        Some(0) => {
            GRANTED.set(None);
            false
        }
        Some(more) => {
            GRANTED.set(Some(more - 1));
            true
        }
    }
}

/// Records that `more` bytes were allocated and `less` freed.
fn keep(more: usize, less: usize) {
    // No size is more than `isize::MAX`.
    let change = more.cast_signed() - less.cast_signed();
    LIVE.fetch_add(change, Relaxed);
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator unchanged, or returns null; counting allocates
// nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !ask(layout.size()) {
            return std::ptr::null_mut();
        }
        keep(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !ask(layout.size()) {
            return std::ptr::null_mut();
        }
        keep(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !ask(size) {
            return std::ptr::null_mut();
        }
        keep(size, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        keep(0, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

/// What `work` returns, how often it asked for memory, and the most that it asked for at once.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    REQUESTS.set(0);
    LARGEST.set(0);
    let result = work();
    (result, REQUESTS.get(), LARGEST.get())
}

/// What `work` returns, and the most bytes that this thread held at once in addition to those that it held before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// The allocated bytes of the process, by any thread: of use where no
/// other test runs beside.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

/// What `work` returns when so many requests are granted and the next one is not, and whether there was
/// a next one.
pub fn refusing<T>(granted: usize, work: impl FnOnce() -> T) -> (T, bool) {
    GRANTED.set(Some(granted));
    let result = work();
    (result, GRANTED.take().is_none())
}
