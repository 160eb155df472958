//! The kernel, as far as the interpreter that checks memory accesses (Miri) can be given one.
//!
//! In its builds alone, `sys` calls these modules where it calls rustix otherwise; they have the names and
//! the arguments of rustix. Reading, writing and the clocks are known to the interpreter itself.
//!
//! * **Mappings** are memory of the allocator: what is used after `munmap`, or outside what was mapped, or
//!   raced for, or never unmapped, is reported. A file that is mapped is read once. What is stored through
//!   one mapping of it is seen through another when a test asks for it with [`show`].
//! * **Protections** are recorded. Memory that changed while it could not be written is found when its
//!   protection changes again, and when it goes; no page can be writable and executable.
//! * **Files** are the standard library's. Seals, owners and modes are taken note of by nobody.
//! * `/proc/self/maps` is the list of what is recorded here.

mod books;
pub(super) mod fs;
pub(super) mod mm;

#[cfg(test)]
pub(in super::super) use books::list;
#[cfg(test)]
pub(in super::super) use mm::show;

/// `rustix::thread`.
pub(super) mod thread {
    use rustix::io::{self, Errno};
    pub(in super::super) use rustix::thread::{MembarrierCommand, gettid, nanosleep, sched_yield};

    /// There is none, as in old kernels.
    pub(in super::super) fn membarrier(_command: MembarrierCommand) -> io::Result<()> {
        Err(Errno::NOSYS)
    }

    /// A number that differs between threads.
    pub(in super::super) fn sched_getcpu() -> usize {
        gettid().as_raw_nonzero().get().unsigned_abs() as usize
    }
}
