//! Destructors of thread-local variables whose code lies in modules.
//!
//! The C library runs them when a thread ends, and keeps a shared object loaded until then. It does not know modules, so
//! that the destructors are counted here: a module with pending ones is not unloaded.
//!
//! Source: glibc, `stdlib/cxa_thread_atexit_impl.c`; Itanium C++ ABI, 3.3.6.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use smf_core::alloc_util::try_box;

use crate::fork::{HeldAtFork, ProcessLock};

/// A destructor of one object.
type Destructor = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn __cxa_thread_atexit_impl(
        destructor: Destructor,
        object: *mut c_void,
        dso_handle: *const c_void,
    ) -> c_int;
}

/// The numbers of pending destructors, by the handle of their module: its `__dso_handle`, or another address in it. The C
/// library accepts any, and rustc passes that of a pointer to `__dso_handle`.
static PENDING: ProcessLock<HashMap<usize, usize, BuildHasherDefault<DefaultHasher>>> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&PENDING];

/// Keeps this library loaded while destructors are pending.
static OWN_HANDLE: u8 = 0;

/// A registered destructor.
struct Pending {
    destructor: Destructor,
    object: *mut c_void,
    dso_handle: usize,
}

/// The function that modules use in place of that of the C library or of the C++ library.
pub(crate) fn replacement(name: &[u8]) -> Option<u64> {
    let is_known = matches!(name, b"__cxa_thread_atexit_impl" | b"__cxa_thread_atexit");
    is_known.then_some(thread_atexit as *const () as usize as u64)
}

/// Whether a thread has to run a destructor of the module with these addresses.
pub(crate) fn is_pending(image: &Range<u64>) -> bool {
    PENDING.read().keys().any(|handle| image.contains(&(*handle as u64)))
}

/// As `__cxa_thread_atexit_impl`. Returns a number other than 0 if there is no memory.
unsafe extern "C" fn thread_atexit(
    destructor: Destructor,
    object: *mut c_void,
    dso_handle: *const c_void,
) -> c_int {
    let dso_handle = dso_handle.addr();
    let Ok(pending) = try_box(Pending { destructor, object, dso_handle }) else { return -1 };
    if !count(dso_handle) {
        return -1;
    }
    let pending = Box::into_raw(pending);
    // SAFETY: `run` takes such a pointer, once; the handle is an address in this library.
    let status =
        unsafe { __cxa_thread_atexit_impl(run, pending.cast(), (&raw const OWN_HANDLE).cast()) };
    if status != 0 {
        uncount(dso_handle);
        // SAFETY: made above, and not registered.
        drop(unsafe { Box::from_raw(pending) });
    }
    status
}

/// Runs a destructor when its thread ends.
unsafe extern "C" fn run(pending: *mut c_void) {
    // SAFETY: `thread_atexit` made it, and the C library passes it once.
    let pending = unsafe { Box::from_raw(pending.cast::<Pending>()) };
    // SAFETY: the module registered the function for the object, and is loaded while the destructor is counted.
    unsafe { (pending.destructor)(pending.object) };
    uncount(pending.dso_handle);
}

fn count(dso_handle: usize) -> bool {
    let counts = &mut *PENDING.lock();
    if counts.try_reserve(1).is_err() {
        return false;
    }
    *counts.entry(dso_handle).or_insert(0) += 1;
    true
}

fn uncount(dso_handle: usize) {
    let counts = &mut *PENDING.lock();
    if let Some(count) = counts.get_mut(&dso_handle) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&dso_handle);
        }
    }
}
