//! Where memory that can be mapped twice comes from, best first.
//!
//! What a system allows is found out by trying, because no single setting tells it:
//! `vm.memfd_noexec`, mount options, security modules and seccomp filters each have a say. Sources:
//! memfd_create(2), Linux Documentation/userspace-api/mfd_noexec.rst, prctl(2) `PR_SET_MDWE`.

use rustix::fd::OwnedFd;
use rustix::io::Errno as Raw;

use super::super::sys::{self, MemoryFile};
use super::super::{Errno, MemoryError};
use super::arena::NoArena;

/// How an arena gets its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Memory(MemoryFile),
    /// A file without a name in `/dev/shm`, which is memory as well where it is mounted.
    Temporary,
    /// Private memory without a file, mapped once.
    Private,
}

/// Best first. `PR_SET_MDWE` leaves all but the last one possible; `vm.memfd_noexec` the first; a
/// kernel or filter without `memfd_create` those behind it.
pub(super) const ORDER: [Source; 5] = [
    Source::Memory(MemoryFile::NeverRunAsProgram),
    Source::Memory(MemoryFile::Executable),
    Source::Memory(MemoryFile::Plain),
    Source::Temporary,
    Source::Private,
];

/// How executable memory is written without ever being writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backing {
    /// A memory file, mapped twice.
    MemoryFile,
    /// A file without a name in `/dev/shm`, mapped twice, because the system has no memory files or
    /// does not let them be executable.
    TemporaryFile,
    /// Private memory whose pages change from writable to executable, because the system lets no
    /// file be executable that this process can write. Each block has pages of its own.
    ChangingPages,
}

impl Source {
    pub(super) fn backing(self) -> Backing {
        match self {
            Self::Memory(_) => Backing::MemoryFile,
            Self::Temporary => Backing::TemporaryFile,
            Self::Private => Backing::ChangingPages,
        }
    }

    pub(super) fn open(self) -> Result<OwnedFd, NoArena> {
        let file = match self {
            Self::Memory(kind) => sys::memory_file(c"smf-code", kind),
            Self::Temporary => sys::temporary_file(c"/dev/shm"),
            Self::Private => Err(Raw::NOSYS.into()),
        };
        file.map_err(|errno| match self {
            // No such directory, a file system that cannot do it, one that is read-only or full.
            Self::Temporary => NoArena::Refused(errno),
            _ if is_policy(errno) || errno == Raw::INVAL => NoArena::Refused(errno),
            _ => MemoryError::Open { errno }.into(),
        })
    }
}

/// Whether the kernel refuses with `errno` what a rule forbids, rather than what it has no room for.
pub(super) fn is_policy(errno: Errno) -> bool {
    [Raw::PERM, Raw::ACCESS, Raw::NOSYS].into_iter().any(|policy| errno == policy)
}
