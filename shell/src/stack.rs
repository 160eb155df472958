//! The bounds of the calling thread's stack, as the system's library knows them.
//!
//! Calls into bytecode compare the stack pointer with them. They are asked for once in a thread: of the
//! main thread, whose stack grows, they are those that RLIMIT_STACK sets then. Only glibc is asked: other
//! libraries give of the main thread what it uses by now.
//!
//! Source: pthread_getattr_np(3), pthread_attr_getstack(3), getrlimit(2).
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Range;

/// The bounds of a thread's stack.
#[derive(Clone, Copy, Debug)]
enum Bounds {
    NotAsked,
    Unknown,
    Known { start: usize, end: usize },
}

std::thread_local! {
    // Nothing to drop: there until the thread is gone, for destructors of other variables too.
    static BOUNDS: Cell<Bounds> = const { Cell::new(Bounds::NotAsked) };
}

/// The stack of the calling thread: its addresses, without pages that guard it. `None` when they are not
/// known.
pub fn bounds() -> Option<Range<usize>> {
    match BOUNDS.get() {
        Bounds::Known { start, end } => Some(start..end),
        Bounds::Unknown => None,
        Bounds::NotAsked => ask_once(),
    }
}

#[cold]
#[inline(never)]
fn ask_once() -> Option<Range<usize>> {
    let found = system::ask();
    BOUNDS.set(match &found {
        Some(found) => Bounds::Known { start: found.start, end: found.end },
        None => Bounds::Unknown,
    });
    found
}

/// Has engines of bytecode ask for [`bounds`].
pub fn keep_bounds() {
    smf_core::vm::set_stack_bounds(bounds);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod system {
    use std::ffi::{c_int, c_void};
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    /// `pthread_attr_t`, of which 64 bytes are the most that glibc has.
    #[repr(C, align(16))]
    struct Attributes([u64; 16]);

    unsafe extern "C" {
        fn pthread_self() -> usize;
        fn pthread_getattr_np(thread: usize, attributes: *mut Attributes) -> c_int;
        fn pthread_attr_getstack(
            attributes: *const Attributes,
            address: *mut *mut c_void,
            bytes: *mut usize,
        ) -> c_int;
        fn pthread_attr_destroy(attributes: *mut Attributes) -> c_int;
    }

    /// Asks for the stack of the calling thread.
    pub(super) fn ask() -> Option<Range<usize>> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: takes nothing, and cannot fail.
        let thread = unsafe { pthread_self() };
        // SAFETY: a thread that runs, and memory for its attributes, which are there when this gives 0.
        if unsafe { pthread_getattr_np(thread, attributes.as_mut_ptr()) } != 0 {
            return None;
        }
        let (mut start, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: attributes that are there, and places for two words.
        let failed =
            unsafe { pthread_attr_getstack(attributes.as_ptr(), &raw mut start, &raw mut bytes) };
        // SAFETY: initialised attributes, which are not used after this.
        unsafe { pthread_attr_destroy(attributes.as_mut_ptr()) };
        let end = start.addr().checked_add(bytes)?;
        (failed == 0 && !start.is_null()).then_some(start.addr()..end)
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod system {
    /// Always unknown.
    pub(super) fn ask() -> Option<std::ops::Range<usize>> {
        None
    }
}

#[cfg(test)]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn bounds_of_a_thread_hold_its_variables_and_its_size() {
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
