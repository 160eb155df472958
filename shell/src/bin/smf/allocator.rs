//! The command's global allocator: the system's, but an allocation failure is reported as an error.
//!
//! The library returns an error when an allocation fails. Dependencies of the command (clap, serde, the
//! standard library) would abort instead. This allocator prints one `error: ...` line and ends the process
//! with status 1. On that path it neither allocates nor takes a lock.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Cursor, Write};

use rustix::io::write;

unsafe extern "C" {
    /// Ends the process at once, without exit handlers.
    fn _exit(status: i32) -> !;
}

/// The system's allocator; ends the process when an allocation fails.
pub(crate) struct OrExit;

// SAFETY: every call is forwarded to the system's allocator, and its result is returned unless it is null.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of `alloc`.
        or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of `alloc_zeroed`.
        or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of `realloc`.
        or_exit(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller fulfils the contract of `dealloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

fn or_exit(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() { report(size) } else { memory }
}

fn report(size: usize) -> ! {
    let mut line = Cursor::new([0; 80]);
    // A failure to write to standard error cannot be reported.
    let _ = writeln!(line, "error: out of memory: cannot allocate {size} bytes");
    let len = usize::try_from(line.position()).unwrap_or(0);
    let _ = write(io::stderr(), line.get_ref().get(..len).unwrap_or(&[]));
    // SAFETY: `_exit` has no preconditions.
    unsafe { _exit(1) }
}
