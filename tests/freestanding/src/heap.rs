//! The allocator: small blocks from chunks of pages, large ones in pages of their own.
//!
//! Free memory is a list of holes in the order of their addresses. An allocation takes the start of the first hole that
//! is large enough; a freed block is merged with adjacent holes. That suits a program with some dozens of blocks: it is
//! small and wastes little, and is slow with thousands. The first chunk is the unused end of the last page of the
//! program's variables; all others come from [`WritablePages`], so that the allocator makes no system calls, and a
//! refused request is a failed allocation.
//!
//! The program has one thread and no signal handlers, so that calls of the allocator never overlap.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::mem;
use core::ptr;

use smf_core::memory::{PageCount, Placement, WritablePages};

/// The least size of a chunk, in bytes: one page where pages are not larger.
const CHUNK: usize = 4096;
/// Sizes and addresses of blocks are multiples of this, so that each hole can store its own record.
const UNIT: usize = size_of::<Hole>();
/// A block of at least this size has pages of its own.
const LARGE: usize = CHUNK / 2;

/// The record of a hole, stored in the hole.
#[derive(Clone, Copy)]
#[repr(C)]
struct Hole {
    size: usize,
    next: *mut Hole,
}

unsafe extern "C" {
    /// The unused end of the last page of variables, up to its end: `link.ld`.
    static mut heap_start: Hole;
    static heap_end: Hole;
}

/// Memory for `alloc`.
pub(crate) struct Heap {
    first: Cell<*mut Hole>,
    /// Whether the first chunk has been added.
    has_grown: Cell<bool>,
}

// SAFETY: there is one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { first: Cell::new(ptr::null_mut()), has_grown: Cell::new(false) };

// SAFETY: until it is freed, a block is cut out of the holes or has pages of its own, so that no two
// overlap; its size is rounded up, and its address is aligned as requested.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return large(layout).unwrap_or(ptr::null_mut());
        }
        let size = rounded(layout);
        loop {
            match self.take(size) {
                Some(block) => return block,
                // The first chunk may be too small.
                None if self.grow().is_none() => return ptr::null_mut(),
                None => {}
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            let pages = block.wrapping_sub(offset(layout)).cast::<WritablePages>();
            // SAFETY: `large` has stored them there, and they are not read again.
            drop(unsafe { pages.read() });
        } else {
            self.give(block.cast(), rounded(layout));
        }
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE || layout.align() > UNIT
}

fn rounded(layout: Layout) -> usize {
    layout.size().next_multiple_of(UNIT)
}

/// The offset of a large block in its pages.
fn offset(layout: Layout) -> usize {
    size_of::<WritablePages>().next_multiple_of(UNIT).max(layout.align())
}

/// A block in pages of its own. Their `WritablePages` is stored at their start.
fn large(layout: Layout) -> Option<*mut u8> {
    let size = offset(layout).checked_add(layout.size())?;
    let mut pages = pages(size)?;
    let start = pages.as_mut_slice().as_mut_ptr();
    // SAFETY: the start of the pages, which is aligned and large enough.
    unsafe { start.cast::<WritablePages>().write(pages) };
    Some(start.wrapping_add(offset(layout)))
}

fn pages(size: usize) -> Option<WritablePages> {
    let size = PageCount::covering(size as u64).ok()?;
    WritablePages::allocate(size, Placement::Anywhere).ok()
}

impl Heap {
    /// The start of the first hole of at least `size` bytes.
    fn take(&self, size: usize) -> Option<*mut u8> {
        let mut link: *const Cell<*mut Hole> = &raw const self.first;
        loop {
            let found = get(link);
            let hole = read(found)?;
            if hole.size >= size {
                let mut rest = hole.next;
                if hole.size != size {
                    rest = found.wrapping_byte_add(size);
                    write(rest, Hole { size: hole.size - size, next: hole.next });
                }
                set(link, rest);
                return Some(found.cast());
            }
            link = next_of(found);
        }
    }

    /// Adds a hole of `size` bytes at `start`, merged with adjacent holes.
    fn give(&self, start: *mut Hole, size: usize) {
        let mut link: *const Cell<*mut Hole> = &raw const self.first;
        let mut before = ptr::null_mut();
        while get(link) < start && !get(link).is_null() {
            before = get(link);
            link = next_of(before);
        }
        write(start, joined(start, Hole { size, next: get(link) }));
        set(link, start);
        if let Some(hole) = read(before) {
            write(before, joined(before, hole));
        }
    }

    /// Adds a chunk.
    fn grow(&self) -> Option<()> {
        if !self.has_grown.replace(true) {
            let (start, end) = (&raw mut heap_start, &raw const heap_end);
            self.give(start, end.addr() - start.addr());
            return Some(());
        }
        let mut pages = pages(CHUNK)?;
        let size = pages.size().bytes();
        let start = pages.as_mut_slice().as_mut_ptr();
        // The pages live as long as the program.
        mem::forget(pages);
        self.give(start.cast(), size);
        Some(())
    }
}

/// A hole, merged with the next one if they are adjacent.
fn joined(start: *mut Hole, hole: Hole) -> Hole {
    match read(hole.next) {
        Some(next) if start.wrapping_byte_add(hole.size) == hole.next => {
            Hole { size: hole.size + next.size, next: next.next }
        }
        _ => hole,
    }
}

fn read(hole: *mut Hole) -> Option<Hole> {
    // SAFETY: addresses of holes point to their records, and free memory belongs to the heap.
    (!hole.is_null()).then(|| unsafe { hole.read() })
}

fn write(hole: *mut Hole, record: Hole) {
    // SAFETY: as in `read`; a hole is aligned for its record and at least as large.
    unsafe { hole.write(record) };
}

/// The link to the hole after `hole`.
fn next_of(hole: *mut Hole) -> *const Cell<*mut Hole> {
    hole.wrapping_byte_add(mem::offset_of!(Hole, next)).cast()
}

fn get(link: *const Cell<*mut Hole>) -> *mut Hole {
    // SAFETY: a link is the head of the list or lies in a hole.
    unsafe { link.cast::<*mut Hole>().read() }
}

fn set(link: *const Cell<*mut Hole>, hole: *mut Hole) {
    // SAFETY: as in `get`; both may be changed through a shared reference.
    unsafe { link.cast_mut().cast::<*mut Hole>().write(hole) };
}
