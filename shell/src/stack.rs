//! The bounds of the calling thread's stack.
//!
//! Calls into bytecode and compilations of source compare the stack pointer with them. Each thread queries them once. The stack of the main thread
//! grows up to RLIMIT_STACK at that time. Only glibc is queried: other C libraries return the part of the main thread's
//! stack that is in use.
//!
//! Source: pthread_getattr_np(3), pthread_attr_getstack(3), getrlimit(2).
#![allow(unsafe_code)]

use std::cell::Cell;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::mem::MaybeUninit;
use std::ops::Range;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::ptr;

std::thread_local! {
    // `None` before the first query. Has no destructor, so that destructors of other thread-local variables may use it.
    static BOUNDS: Cell<Option<Option<(usize, usize)>>> = const { Cell::new(None) };
}

/// The addresses of the calling thread's stack, without guard pages; `None` if they are unknown.
// A plain cell, as this runs where little stack is left.
pub fn bounds() -> Option<Range<usize>> {
    if let Some(known) = BOUNDS.get() {
        return known.map(|(start, end)| start..end);
    }
    let found = query();
    BOUNDS.set(Some(found.as_ref().map(|found| (found.start, found.end))));
    found
}

/// Makes bytecode engines and the front end use [`bounds`].
pub fn install_bounds() {
    smf_core::vm::set_stack_bounds(bounds);
}

/// Queries the stack of the calling thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn query() -> Option<Range<usize>> {
    let mut attributes = MaybeUninit::uninit();
    // SAFETY: no arguments, and cannot fail.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: a running thread, and memory for its attributes, which are initialised if the result is 0.
    if unsafe { libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (attributes, mut start, mut bytes) = (attributes.as_mut_ptr(), ptr::null_mut(), 0);
    // SAFETY: initialised attributes, and pointers to two words.
    let failed = unsafe { libc::pthread_attr_getstack(attributes, &raw mut start, &raw mut bytes) };
    // SAFETY: initialised attributes, which are not used after this.
    unsafe { libc::pthread_attr_destroy(attributes) };
    let end = start.addr().checked_add(bytes)?;
    (failed == 0 && !start.is_null()).then_some(start.addr()..end)
}

/// Unknown.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn query() -> Option<Range<usize>> {
    None
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn bounds_contain_the_variables_of_the_thread() {
        let main = bounds().unwrap();
        for bytes in [64 << 10, 256 << 10, 2 << 20] {
            let other = thread::Builder::new().stack_size(bytes).spawn(move || {
                let here = (&raw const bytes).addr();
                let found = bounds().unwrap();
                assert!(found.contains(&here), "{here:x} of {found:x?}");
                assert_eq!(bounds(), Some(found.clone()));
                // Guard pages and thread-local variables may be counted or not, and glibc reuses the stack of an
                // ended thread if it is at most four times as large (nptl/allocatestack.c).
                assert!((bytes / 2..=4 * bytes + (64 << 10)).contains(&found.len()), "{found:x?}");
                found
            });
            let other = other.unwrap().join().unwrap();
            assert!(other.end <= main.start || main.end <= other.start);
        }
    }
}
