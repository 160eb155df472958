//! Errors of files and memory.

use thiserror::Error;

use super::errno::Errno;
use super::file_kind::FileKind;
use super::pages::Protection;

/// The result of an operation on a file or on pages.
pub(crate) type Result<T, E = MemoryError> = core::result::Result<T, E>;

/// A failed operation on a file or on pages.
///
/// Sizes, lengths, offsets and limits are bytes; addresses are those of the first byte. The path of a file is
/// not part of the value: the caller has it and can prefix it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant describes its fields")]
pub enum MemoryError {
    /// The path contains a NUL byte. `at` is its index.
    #[error("the path has a NUL byte at position {at}")]
    PathNul { at: usize },
    /// The path is longer than the kernel allows.
    #[error("the path is {len} bytes long, more than the {limit} the kernel takes")]
    PathTooLong { len: usize, limit: usize },
    /// `open` failed.
    #[error("cannot open the file: {errno}")]
    Open { errno: Errno },
    /// `fstat` failed.
    #[error("cannot read the type and the size of the file: {errno}")]
    Inspect { errno: Errno },
    /// The file is not a regular file.
    #[error("not a regular file but {kind}")]
    NotRegular { kind: FileKind },
    /// The file is larger than the caller allows.
    #[error("the file has {size} bytes, more than the limit of {limit}")]
    FileTooLarge { size: u64, limit: u64 },
    /// The allocator has no memory for the file.
    #[error("out of memory for the {size} bytes of the file")]
    OutOfMemory { size: u64 },
    /// Reading failed at offset `at`.
    #[error("cannot read the file at offset 0x{at:x}: {errno}")]
    Read { at: u64, errno: Errno },
    /// The file changed during every attempt, so each copy may mix two versions.
    #[error("the file changed during each of {attempts} attempts to read it")]
    Changing { attempts: u32 },
    /// The range is not inside the file.
    #[error(
        "0x{length:x} bytes at 0x{offset:x} do not lie inside the 0x{size:x} bytes of the file"
    )]
    RangeOutside { offset: u64, length: u64, size: u64 },
    /// `madvise`, `mlock` or `msync` failed.
    #[error("the kernel refuses 0x{size:x} bytes at 0x{address:x}: {errno}")]
    Manage { address: usize, size: usize, errno: Errno },
    /// The mapping was created without read access.
    #[error("the bytes at 0x{address:x} are mapped without read access")]
    NotReadable { address: usize },
    /// A mapped file is now shorter than its mapping.
    #[error("the file has been truncated since it was mapped: it ends before offset 0x{at:x}")]
    Truncated { at: u64 },
    /// Executable pages of a file that others can write to were requested.
    #[error("shared pages cannot be executable: another process could write to them")]
    SharedCode,
    /// More bytes than an address space can hold.
    #[error("0x{bytes:x} bytes are more than an address space can hold")]
    TooManyBytes { bytes: u64 },
    /// A size that is not a multiple of the page size.
    #[error("0x{bytes:x} bytes are not a multiple of the page size of {page_size} bytes")]
    NotWholePages { bytes: u64, page_size: usize },
    /// `mmap` failed.
    #[error("cannot map 0x{size:x} bytes of memory: {errno}")]
    Map { size: usize, errno: Errno },
    /// No free range of that size between two addresses (`high` is exclusive).
    #[error("no 0x{size:x} free bytes of address space between 0x{low:x} and 0x{high:x}")]
    NoFreeRange { size: usize, low: usize, high: usize },
    /// There is not enough memory to back the pages.
    #[error("cannot back 0x{size:x} bytes at 0x{address:x} with memory: {errno}")]
    Prefault { address: usize, size: usize, errno: Errno },
    /// A segment ends after the last page.
    #[error(
        "segment {index} (0x{size:x} bytes at 0x{offset:x}) exceeds the 0x{len:x} bytes of its pages"
    )]
    SegmentOutside { index: usize, offset: usize, size: usize, len: usize },
    /// A segment starts before the end of the previous one.
    #[error(
        "segment {index} starts at 0x{offset:x}, before the previous one ends at 0x{previous_end:x}"
    )]
    SegmentOrder { index: usize, offset: usize, previous_end: usize },
    /// `mprotect` failed.
    #[error("cannot make 0x{size:x} bytes at 0x{address:x} {protection}: {errno}")]
    Protect { address: usize, size: usize, protection: Protection, errno: Errno },
    /// The kernel could not make new code visible to instruction fetch.
    #[error("cannot synchronize instruction fetch with 0x{size:x} bytes at 0x{address:x}: {errno}")]
    Synchronize { address: usize, size: usize, errno: Errno },
}
