//! Errors of the allocator of executable memory.

use thiserror::Error;

use super::super::types::{Errno, MemoryError};
use crate::alloc_util::AllocError;

/// The result of a request.
pub(super) type Result<T, E = ExecError> = core::result::Result<T, E>;

/// A refused request for executable memory. Sizes are bytes.
///
/// A refused request leaves every block, every byte and every counter unchanged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant describes its fields")]
pub enum ExecError {
    /// A block of size zero.
    #[error("a block of code needs at least one byte")]
    Empty,
    /// A block larger than an arena can be.
    #[error("0x{size:x} bytes are more than one block can have (0x{limit:x})")]
    TooLarge { size: u64, limit: usize },
    /// An alignment that is not a power of two, or exceeds the page size.
    #[error("alignment {alignment} is not a power of two from 1 to {limit}")]
    Alignment { alignment: usize, limit: usize },
    /// The ceiling in bytes would be exceeded.
    #[error("{size} bytes more would exceed the ceiling of {limit} bytes of code")]
    CeilingBytes { size: usize, limit: u64 },
    /// The ceiling in blocks would be exceeded.
    #[error("one block more would exceed the ceiling of {limit} blocks of code")]
    CeilingBlocks { limit: u64 },
    /// The allocator has no memory for the metadata of a block or an arena.
    #[error("out of memory for the metadata of executable memory")]
    OutOfMemory,
    /// The system forbids executable memory: mapping a file failed with `file`, changing private memory failed with
    /// `change`. For an allocator that has mapped files before, `change` is also an error of mapping one.
    #[error(
        "the system forbids executable memory to this process: not from a file, by vm.memfd_noexec, a no-exec mount, a \
         security module or seccomp ({file}), nor by changing its own, by PR_SET_MDWE, a security module or seccomp \
         ({change})"
    )]
    Policy { file: Errno, change: Errno },
    /// The kernel has no memory, or no addresses that satisfy the placement.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The process is a forked child; the memory belongs to its parent.
    #[error("executable memory from before a fork belongs to the parent process")]
    Forked,
    /// No live block contains the address.
    #[error("no live block of code is at 0x{address:x}")]
    Unknown { address: usize },
    /// The address is inside a block, not its start.
    #[error("0x{address:x} is inside the block of code that begins at 0x{start:x}")]
    Inside { address: usize, start: usize },
    /// The size differs from the requested size of the block.
    #[error("the block of code at 0x{address:x} was allocated with {expected} bytes, not {size}")]
    OtherSize { address: usize, size: u64, expected: usize },
    /// The bytes exceed their block.
    #[error("{len} bytes at offset {offset} exceed a block of code of {capacity} bytes")]
    Outside { offset: u64, len: usize, capacity: usize },
    /// Writable and executable memory was requested.
    #[error("no memory is both writable and executable")]
    WriteAndExecute,
    /// The code is not published, was freed, or is not executable at present.
    #[error("0x{address:x} is not executable: not published, freed, or protected")]
    NotExecutable { address: usize },
}

impl From<AllocError> for ExecError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}
