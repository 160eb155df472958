//! An emulation of the kernel for Miri.
//!
//! In Miri builds, `sys` calls these modules instead of rustix; their names and arguments are those of rustix. Miri
//! itself supports reads, writes and clocks.
//!
//! * **Mappings** are memory of the allocator: Miri reports use after `munmap`, accesses out of bounds, data races and
//!   leaks. A mapped file is read once. A store through one mapping becomes visible through another by [`show`].
//! * **Protections** are recorded. A change of memory that was not writable is detected when its protection changes
//!   again and when it is unmapped. No page can be writable and executable.
//! * **Files** are those of the standard library. Seals, owners and modes are ignored.
//! * `/proc/self/maps` lists the recorded mappings.

mod descriptor;
pub(super) mod fs;
mod mappings;
pub(super) mod mm;

#[cfg(test)]
pub(crate) use mappings::list;
#[cfg(test)]
pub(crate) use mm::show;

/// `rustix::thread`.
pub(super) mod thread {
    use rustix::io::{self, Errno};
    pub(crate) use rustix::thread::{MembarrierCommand, gettid, nanosleep, sched_yield};

    /// The commands of [`membarrier`]: none, as in old kernels.
    pub(crate) struct MembarrierQuery;

    impl MembarrierQuery {
        pub(crate) fn contains_command(&self, _command: MembarrierCommand) -> bool {
            false
        }
    }

    pub(crate) fn membarrier_query() -> MembarrierQuery {
        MembarrierQuery
    }

    pub(crate) fn membarrier(_command: MembarrierCommand) -> io::Result<()> {
        Err(Errno::NOSYS)
    }
}
