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
    /// Bytes that this thread has allocated and not freed, and their maximum.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// The number of further requests to grant; `None` for all.
    static GRANTED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Allocated bytes of the process.
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, counting the requests of each thread.
#[derive(Debug)]
pub struct Watched;

/// Counts a request and returns whether it is granted. After one refusal all further requests are granted.
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
    // No size exceeds `isize::MAX`.
    let change = more.cast_signed() - less.cast_signed();
    LIVE.fetch_add(change, Relaxed);
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call is forwarded to the system's allocator unchanged, or returns null; counting allocates
// nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !ask(layout.size()) {
            return std::ptr::null_mut();
        }
        keep(layout.size(), 0);
        // SAFETY: the caller fulfils the contract of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !ask(layout.size()) {
            return std::ptr::null_mut();
        }
        keep(layout.size(), 0);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !ask(size) {
            return std::ptr::null_mut();
        }
        keep(size, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        keep(0, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// The result of `work`, the number of its requests for memory, and the size of the largest in bytes.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    REQUESTS.set(0);
    LARGEST.set(0);
    let result = work();
    (result, REQUESTS.get(), LARGEST.get())
}

/// The result of `work`, and the maximum number of bytes that this thread held in addition to those allocated before.
pub fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, usize::try_from(PEAK.get() - before).unwrap_or(0))
}

/// The bytes that all threads of the process have allocated: meaningful only while no other test runs.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

/// Runs `work` with `granted` requests granted and the next one refused. Returns its result, and whether a request
/// was refused.
pub fn refusing<T>(granted: usize, work: impl FnOnce() -> T) -> (T, bool) {
    GRANTED.set(Some(granted));
    let result = work();
    (result, GRANTED.take().is_none())
}
