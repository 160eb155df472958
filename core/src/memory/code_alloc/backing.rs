//! The ways in which the system provides memory that can be written and executed, but not at one address.
//!
//! Which of them a system allows is found by trying, because no single setting tells: `vm.memfd_noexec`, mount options,
//! security modules and seccomp filters each may forbid one. Sources: `memfd_create(2)`, Linux
//! Documentation/userspace-api/mfd_noexec.rst, `prctl(2)` `PR_SET_MDWE`.

use rustix::io::Errno as Raw;
use rustix::{fd::OwnedFd, fs::MemfdFlags};

use super::super::sys;
use super::super::types::{Errno, MemoryError};
use super::error::ExecError;

/// How executable memory is written without being writable and executable at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// A memory file, mapped twice.
    MemoryFile,
    /// An unnamed file in `/dev/shm`, mapped twice, because the system has no memory files or forbids executable
    /// mappings of them.
    TemporaryFile,
    /// Private memory whose pages change between writable and executable, because the system forbids executable
    /// mappings of files that this process can write. Each block has pages of its own.
    ChangingPages,
}

/// A backing to try, with the flags of its memory file.
pub(super) type Candidate = (Backing, MemfdFlags);

/// All candidates, best first. `PR_SET_MDWE` allows all but the last; `vm.memfd_noexec` allows the first; without
/// `memfd_create`, the last two remain.
pub(super) const CANDIDATES: [Candidate; 5] = [
    // Linux 6.3: the file can never be passed to `execve`, but can be mapped executable.
    (Backing::MemoryFile, MemfdFlags::NOEXEC_SEAL),
    (Backing::MemoryFile, MemfdFlags::EXEC),
    (Backing::MemoryFile, MemfdFlags::empty()),
    (Backing::TemporaryFile, MemfdFlags::empty()),
    (Backing::ChangingPages, MemfdFlags::empty()),
];

/// Why an arena could not be mapped.
pub(super) enum ArenaError {
    /// The system forbids this backing.
    Forbidden(Errno),
    Failed(ExecError),
}

impl<E: Into<ExecError>> From<E> for ArenaError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Creates the file that is mapped twice.
pub(super) fn create_file((backing, flags): Candidate) -> Result<OwnedFd, ArenaError> {
    let file = match backing {
        Backing::MemoryFile => sys::memory_file(c"smf-code", flags),
        Backing::TemporaryFile => sys::temporary_file(c"/dev/shm"),
        Backing::ChangingPages => Err(Raw::NOSYS.into()),
    };
    file.map_err(|errno| match backing {
        // The directory is missing, read-only or full, or its file system does not support the call.
        Backing::TemporaryFile => ArenaError::Forbidden(errno),
        _ if errno.is_policy() || errno == Raw::INVAL => ArenaError::Forbidden(errno),
        _ => MemoryError::Open { errno }.into(),
    })
}
