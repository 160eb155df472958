//! The allocator of the command: that of the system, whose refusal is an error like any other.
//!
//! The library returns an error where memory is refused. What the command is made of besides (clap, serde,
//! the standard library) would end the process by SIGABRT. So a refusal prints one `error: ...` line and ends
//! the process with status 1, wherever it happens. It allocates nothing and takes no lock on the way.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;

use rustix::io::write;

unsafe extern "C" {
    /// Ends the process at once: destructors and buffers of other threads are left alone.
    fn _exit(status: i32) -> !;
}

/// The digits of any `usize`.
const DIGITS: usize = 20;

/// The system's allocator, which ends the process with an error instead of returning null.
pub(crate) struct OrExit;

// SAFETY: every call goes to the system's allocator unchanged, and its result is returned unless it is null.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        or_exit(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

#[inline]
fn or_exit(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() { report(size) } else { memory }
}

#[cold]
fn report(size: usize) -> ! {
    let mut digits = [0; DIGITS];
    let parts: [&[u8]; 3] =
        [b"error: there is no memory for ", decimal(size, &mut digits), b" more bytes\n"];
    for part in parts {
        // What cannot be told there cannot be told at all.
        let _ = write(io::stderr(), part);
    }
    // SAFETY: has no requirements.
    unsafe { _exit(1) }
}

/// A number in decimal, at the end of `digits`.
fn decimal(mut number: usize, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut first = DIGITS;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // A remainder below 10.
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        (number, first) = (number / 10, place);
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or(&[])
}
