//! Every way executable memory can be refused, as one `Copy` value.

use core::fmt;

use super::super::{Errno, MemoryError};
use crate::alloc_util::AllocError;

/// Why memory for code was not given, changed or taken back. Sizes are bytes.
///
/// Whatever is refused leaves every block, every byte and every count as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum ExecError {
    /// A block without bytes.
    Empty,
    /// A block larger than any arena.
    TooLarge { size: u64, limit: usize },
    /// An alignment that is no power of two, or larger than a page.
    Alignment { alignment: usize, limit: usize },
    /// The ceiling in bytes is reached.
    CeilingBytes { size: usize, limit: u64 },
    /// The ceiling in blocks is reached.
    CeilingBlocks { limit: u64 },
    /// The allocator has no room for the records of a block or an arena.
    OutOfMemory,
    /// The system does not let this process have executable memory: neither from a file, which
    /// stopped with `file`, nor by changing memory of its own, which stopped with `change`.
    Policy { file: Errno, change: Errno },
    /// The kernel had no memory, or not in the place that was wanted.
    Memory(MemoryError),
    /// The process was forked, and the memory belongs to its parent.
    Forked,
    /// An address of no block, or of one that was freed.
    Unknown { address: usize },
    /// An address inside a block where its beginning is wanted.
    Inside { address: usize, start: usize },
    /// Not the size that the block was asked for with.
    OtherSize { address: usize, size: u64, expected: usize },
    /// Bytes that reach beyond the end of their block.
    Outside { offset: u64, len: usize, capacity: usize },
    /// Writing and executing at one address.
    WriteAndExecute,
    /// Code that was not published, that was freed, or that may not run at present.
    NotExecutable { address: usize },
}

impl ExecError {
    /// The kind of it, which fits the record of an event.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Empty | Self::TooLarge { .. } => Reason::Size,
            Self::Alignment { .. } => Reason::Alignment,
            Self::CeilingBytes { .. } | Self::CeilingBlocks { .. } => Reason::Ceiling,
            Self::OutOfMemory | Self::Memory(_) => Reason::AllocError,
            Self::Policy { .. } => Reason::Policy,
            Self::Forked => Reason::Forked,
            Self::Unknown { .. } => Reason::Unknown,
            Self::Inside { .. } => Reason::Inside,
            Self::OtherSize { .. } => Reason::OtherSize,
            Self::Outside { .. } => Reason::Outside,
            Self::WriteAndExecute => Reason::WriteAndExecute,
            Self::NotExecutable { .. } => Reason::NotExecutable,
        }
    }
}

/// The kind of an [`ExecError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// No bytes, or more than any arena has.
    Size,
    /// An alignment that cannot be had.
    Alignment,
    /// A ceiling is reached.
    Ceiling,
    /// No memory, or not where it was wanted.
    AllocError,
    /// The system forbids executable memory.
    Policy,
    /// The memory belongs to the parent process.
    Forked,
    /// No live block is there.
    Unknown,
    /// Inside a block, not at its beginning.
    Inside,
    /// Not the size of the block.
    OtherSize,
    /// Beyond the end of the block.
    Outside,
    /// Writable and executable at once.
    WriteAndExecute,
    /// Not published, freed, or not executable at present.
    NotExecutable,
}

impl From<AllocError> for ExecError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl From<MemoryError> for ExecError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ExecError as E;
        match *self {
            E::Empty => f.write_str("a block of code needs at least one byte"),
            E::TooLarge { size, limit } => {
                write!(f, "0x{size:x} bytes are more than one block can have (0x{limit:x})")
            }
            E::Alignment { alignment, limit } => {
                write!(f, "alignment {alignment} is not a power of two from 1 to {limit}")
            }
            E::CeilingBytes { size, limit } => {
                write!(f, "{size} bytes more would exceed the ceiling of {limit} bytes of code")
            }
            E::CeilingBlocks { limit } => {
                write!(f, "one block more would exceed the ceiling of {limit} blocks of code")
            }
            E::OutOfMemory => f.write_str("out of memory for the records of executable memory"),
            E::Policy { file, change } => write!(
                f,
                "the system forbids executable memory to this process: not from a file, by \
                 vm.memfd_noexec, a no-exec mount, a security module or seccomp ({file}), nor by \
                 changing its own, by PR_SET_MDWE, a security module or seccomp ({change})"
            ),
            E::Memory(error) => error.fmt(f),
            E::Forked => {
                f.write_str("executable memory from before a fork belongs to the parent process")
            }
            E::Unknown { address } => write!(f, "no live block of code is at 0x{address:x}"),
            E::Inside { address, start } => {
                write!(f, "0x{address:x} is inside the block of code that begins at 0x{start:x}")
            }
            E::OtherSize { address, size, expected } => write!(
                f,
                "the block of code at 0x{address:x} was asked for with {expected} bytes, not {size}"
            ),
            E::Outside { offset, len, capacity } => write!(
                f,
                "{len} bytes at offset {offset} reach beyond a block of code that holds {capacity}"
            ),
            E::WriteAndExecute => f.write_str("no memory is both writable and executable"),
            E::NotExecutable { address } => {
                write!(
                    f,
                    "0x{address:x} is in no code that may run: not published, freed, or not executable now"
                )
            }
        }
    }
}

impl core::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Memory(error) => Some(error),
            _ => None,
        }
    }
}
