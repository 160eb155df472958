//! Every system call of the crate, one function each.
//!
//! A function makes its call, repeats it when a signal interrupts it (`EINTR`), and returns the kernel's
//! result; decisions are made by its callers. In tests, each function first asks `fault_injection`, so that a
//! test can make any call fail.
//!
//! Sources: the manual page of section 2 that each function names, and the documentation of rustix.

/// A point at which a test can make a function fail with an error number: see `fault_injection`.
macro_rules! fault_point {
    ($($call:tt)+) => {
        #[cfg(test)]
        crate::memory::fault_injection::check(crate::memory::fault_injection::Call::$($call)+)?;
    };
}

mod files;
mod pages;
#[cfg(miri)]
pub(super) mod shim;
mod threads;

pub(super) use files::*;
pub(super) use pages::*;
pub(crate) use threads::*;
