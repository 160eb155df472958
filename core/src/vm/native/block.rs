//! The block of memory through which compiled code finds everything outside of it.
//!
//! Its layout is that of [`abi::Shared`](crate::bytecode::translate::abi::Shared): a header, then a word for each
//! function, the address of its code. The words and the signals change while other threads run; all else is written
//! before another thread has the address of the block.
#![allow(unsafe_code)]

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::mem::offset_of;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::AtomicUsize;

use crate::bytecode::host::Signals;
use crate::bytecode::translate::abi::Shared;

/// What stands before the words of functions.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signals: Signals,
    /// The address of the table of host functions.
    pub(super) host_functions: usize,
    /// The address of [`take_host_error`](super::enter::take_host_error).
    pub(super) take_host_error: usize,
    /// The address of the engine.
    pub(super) engine: usize,
}

const _: () = {
    assert!(offset_of!(Header, signals) as i32 == Shared::INTERRUPT);
    assert!(Signals::OFFSETS[0] as i32 == Shared::INTERRUPT);
    assert!(Signals::OFFSETS[1] as i32 == Shared::HOST_ERROR);
    assert!(offset_of!(Header, host_functions) as i32 == Shared::HOST_FUNCTIONS);
    assert!(offset_of!(Header, take_host_error) as i32 == Shared::TAKE_HOST_ERROR);
    assert!(offset_of!(Header, engine) as i32 == Shared::ENGINE);
    assert!(size_of::<Header>() as i32 == Shared::FUNCTIONS);
};

/// The block. It stays where it is.
#[derive(Debug)]
pub(super) struct Block {
    header: NonNull<Header>,
    functions: usize,
    layout: Layout,
}

// SAFETY: the memory belongs to the block alone, and what changes in it through a shared reference is
// atomic or in a once-cell.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block for so many functions; `None` when there is no memory.
    pub(super) fn new(functions: usize) -> Option<Self> {
        let words = Layout::array::<AtomicUsize>(functions).ok()?;
        let (layout, offset) = Layout::new::<Header>().extend(words).ok()?;
        debug_assert_eq!(offset, size_of::<Header>(), "both are made of words");
        // SAFETY: the layout has the size of a header at least.
        let header = NonNull::new(unsafe { alloc_zeroed(layout) })?.cast();
        let empty =
            Header { signals: Signals::new(), host_functions: 0, take_host_error: 0, engine: 0 };
        // SAFETY: allocated with this layout, which begins with a header.
        unsafe { header.write(empty) };
        Some(Self { header, functions, layout })
    }

    /// What compiled code has in its register.
    pub(super) fn address(&self) -> usize {
        self.header.as_ptr().expose_provenance()
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: allocated and written, and only ever changed through `header_mut`.
        unsafe { self.header.as_ref() }
    }

    pub(super) fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and borrowed from the block exclusively.
        unsafe { self.header.as_mut() }
    }

    /// The address of each function's code.
    pub(super) fn functions(&self) -> &[AtomicUsize] {
        // SAFETY: the words lie behind the header in the same allocation.
        let first = unsafe { self.header.add(1) };
        // SAFETY: so many, zeroed, which is an atomic word, and never borrowed otherwise.
        unsafe { slice::from_raw_parts(first.cast().as_ptr(), self.functions) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: written by `new`, and no borrow of it is left.
        unsafe { self.header.drop_in_place() };
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.header.as_ptr().cast(), self.layout) };
    }
}
