//! Errors of files and memory, and the kernel's error numbers.
//!
//! Source: `errno(3)` and the manual page of each call.

use core::fmt;

use rustix::io::Errno as Raw;
use thiserror::Error;

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

/// The error number with which a system call failed.
///
/// A number without a text here is shown as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(Raw);

impl Errno {
    /// The number as `errno.h` of this architecture defines it, 1 to 4095.
    pub const fn raw(self) -> i32 {
        self.0.raw_os_error()
    }

    /// Whether it reports a policy rather than a lack of memory.
    pub(crate) fn is_policy(self) -> bool {
        matches!(self.0, Raw::PERM | Raw::ACCESS | Raw::NOSYS)
    }

    fn description(self) -> Option<&'static str> {
        Some(match self.0 {
            Raw::NOENT => "no such file or directory",
            Raw::ACCESS => "permission denied",
            Raw::PERM => "operation not permitted",
            Raw::ISDIR => "it is a directory",
            Raw::NOTDIR => "a part of the path is not a directory",
            Raw::LOOP => "too many symbolic links on the path",
            Raw::NAMETOOLONG => "the path, or a name in it, is too long",
            Raw::MFILE => "this process has too many open files",
            Raw::NFILE => "the system has too many open files",
            Raw::NOMEM => "out of memory, of address space or of mappings",
            Raw::NXIO => "no such device or address",
            Raw::NODEV => "no such device",
            Raw::IO => "input/output error",
            Raw::INVAL => "invalid argument",
            Raw::AGAIN => "it is locked by another process, or a limit is reached",
            Raw::BUSY => "it is busy",
            Raw::EXIST => "it exists already",
            Raw::OVERFLOW => "a value is too large for the kernel",
            Raw::STALE => "stale file handle",
            Raw::INTR => "interrupted by a signal",
            Raw::NOSYS => "this kernel has no such system call",
            Raw::NOSPC => "no space left on the device",
            Raw::DQUOT => "the disk quota is exceeded",
            Raw::FBIG => "the file would be too large",
            Raw::ROFS => "the file system is read-only",
            Raw::TXTBSY => "the file is being executed",
            Raw::XDEV => "it is on another file system",
            Raw::BADF => "the file is not open for this",
            Raw::PIPE => "the reader has closed the pipe",
            _ => return None,
        })
    }
}

impl From<Raw> for Errno {
    fn from(raw: Raw) -> Self {
        Self(raw)
    }
}

impl PartialEq<Raw> for Errno {
    fn eq(&self, other: &Raw) -> bool {
        self.0 == *other
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.raw())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description() {
            Some(description) => f.write_str(description),
            None => write!(f, "error number {}", self.raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn errno_is_shown_as_text_or_else_as_a_number() {
        assert_eq!(Errno(Raw::NOENT).to_string(), "no such file or directory");
        assert_eq!(Errno(Raw::from_raw_os_error(4000)).to_string(), "error number 4000");
        assert_eq!((Errno(Raw::NOENT).raw(), Errno(Raw::from_raw_os_error(4000)).raw()), (2, 4000));
    }
}
