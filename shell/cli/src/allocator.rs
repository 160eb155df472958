//! The command's global allocator: the system's, but an allocation failure is reported as an error.
//!
//! The library returns an error when an allocation fails. Dependencies of the command (clap, serde, the
//! standard library) would abort instead. This allocator prints one `error: ...` line and ends the process
//! with status 1, or that of [`FAILURE`]. On that path it neither allocates nor takes a lock. Large memory gets large pages.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Cursor, Write};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::write;
use rustix::mm::{Advice, madvise};

/// The exit status when an allocation fails.
pub(crate) static FAILURE: AtomicI32 = AtomicI32::new(1);

/// The system's allocator, with large pages for large memory; ends the process when an allocation fails.
pub(crate) struct OrExit;

// SAFETY: every call is forwarded to the system's allocator, and its result is returned unless it is null.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of `alloc`.
        with_large_pages(or_exit(unsafe { System.alloc(layout) }, layout.size()), layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller fulfils the contract of `alloc_zeroed`.
        let memory = unsafe { System.alloc_zeroed(layout) };
        with_large_pages(or_exit(memory, layout.size()), layout.size())
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

/// The size in bytes from which memory is worth large pages: most of it is in whole ones.
const LARGE: usize = 4 << 20;

/// Asks for large pages: the contents of big files are written from end to end, and a fault for each small page costs
/// more than the copy.
fn with_large_pages(memory: *mut u8, size: usize) -> *mut u8 {
    const PAGE: usize = 1 << 16;
    let (skip, len) = (memory.align_offset(PAGE), size.saturating_sub(PAGE) & !(PAGE - 1));
    if size >= LARGE && skip < PAGE {
        // Kernels without large pages refuse it.
        // SAFETY: the range is within the new memory, at multiples of every page size, and the advice changes no byte.
        let _ = unsafe { madvise(memory.wrapping_add(skip).cast(), len, Advice::LinuxHugepage) };
    }
    memory
}

/// Gives the heap `size` bytes with large pages, for all memory of this process from now on, that of its threads included.
///
/// A command that reads many files fills a block of memory for each, none of which has a large page of its own. The
/// GNU C library would map each of them for itself, and give each thread a heap of small pages.
#[cfg(target_env = "gnu")]
pub(crate) fn use_large_heap(size: usize) {
    /// More than is free at the end of a heap that has its usual padding, in bytes.
    const GROWTH: usize = 1 << 20;
    let set = |option, value| {
        // SAFETY: mallopt(3), which takes any value.
        unsafe { libc::mallopt(option, value) };
    };
    set(libc::M_ARENA_MAX, 1);
    // The largest value that the library takes.
    set(libc::M_MMAP_THRESHOLD, 32 << 20);
    set(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    set(libc::M_TOP_PAD, libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX));
    // SAFETY: sbrk(2) without change; the same below.
    let start = unsafe { libc::sbrk(0) }.cast::<u8>();
    // SAFETY: malloc(3).
    let block = std::hint::black_box(unsafe { libc::malloc(GROWTH) });
    // SAFETY: free(3) of this block or null. The heap has grown and does not shrink.
    unsafe { libc::free(block) };
    // The usual padding again.
    set(libc::M_TOP_PAD, 128 << 10);
    // SAFETY: as above.
    let end = unsafe { libc::sbrk(0) }.addr();
    with_large_pages(start, end.saturating_sub(start.addr()));
}

/// The other libraries have no such options.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn use_large_heap(_: usize) {}

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
    unsafe { libc::_exit(FAILURE.load(Ordering::Relaxed)) }
}
