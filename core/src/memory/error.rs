//! Every way memory or a file can be refused, as one `Copy` value.
//!
//! The path of a file is not part of the value: whoever gave the path has it and puts it in front.

use core::fmt;

use super::{Errno, Protection};

/// What stands where a regular file was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file with bytes of its own: the only kind that is read.
    Regular,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A terminal, `/dev/zero` and the like.
    CharacterDevice,
    /// A disk or a part of one.
    BlockDevice,
    /// A socket, or anything that a later kernel invents.
    Other,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::Regular => "a regular file",
            FileKind::Directory => "a directory",
            FileKind::Fifo => "a named pipe",
            FileKind::CharacterDevice => "a character device",
            FileKind::BlockDevice => "a block device",
            FileKind::Other => "a special file",
        })
    }
}

/// Why a file could not be read, or memory not be had or published. Sizes and positions are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum MemoryError {
    /// A path with a NUL byte inside, which no file can have. `at` counts from 0.
    PathNul { at: usize },
    /// A path longer than the kernel takes.
    PathTooLong { len: usize, limit: usize },
    /// The file could not be opened for reading.
    Open { errno: Errno },
    /// The file was opened, but the kernel would not tell its kind and size.
    Inspect { errno: Errno },
    /// Something other than a regular file.
    NotRegular { kind: FileKind },
    /// A file larger than the caller allows.
    FileTooLarge { size: u64, limit: u64 },
    /// The allocator has no room for the file.
    NoRoomForFile { size: u64 },
    /// Reading stopped in the middle of the file.
    Read { at: u64, errno: Errno },
    /// The file changed each time it was copied, and the copies may be mixtures.
    Changing { attempts: u32 },
    /// A range that does not lie inside the file.
    RangeOutside { offset: u64, length: u64, size: u64 },
    /// The kernel would not take advice about pages, keep them in memory or write them back.
    Manage { address: usize, size: usize, errno: Errno },
    /// Bytes that are not there to be read, because their mapping was made so.
    NotReadable { address: usize },
    /// A mapped file that has become shorter than its mapping.
    CutOff { at: u64 },
    /// Pages of a file that others can write to, wanted executable.
    SharedCode,
    /// More bytes than an address space can hold.
    TooManyBytes { bytes: u64 },
    /// A number of bytes that is no whole number of pages.
    NotWholePages { bytes: u64, page_size: usize },
    /// The kernel gave no memory.
    Map { size: usize, errno: Errno },
    /// No free place for that many bytes between two addresses (`high` is the first one outside).
    NoPlace { size: usize, low: usize, high: usize },
    /// There is not enough memory behind the addresses.
    Prefault { address: usize, size: usize, errno: Errno },
    /// A segment that reaches beyond the last page.
    SegmentOutside { index: usize, offset: usize, size: usize, len: usize },
    /// A segment that begins before the one in front of it ends.
    SegmentOrder { index: usize, offset: usize, previous_end: usize },
    /// The kernel would not change what may be done with pages.
    Protect { address: usize, size: usize, protection: Protection, errno: Errno },
    /// The kernel would not make new code visible to instruction fetch.
    Synchronize { address: usize, size: usize, errno: Errno },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use MemoryError as E;
        match *self {
            E::PathNul { at } => write!(f, "the path has a NUL byte at position {at}"),
            E::PathTooLong { len, limit } => {
                write!(f, "the path is {len} bytes long, more than the {limit} the kernel takes")
            }
            E::Open { errno } => write!(f, "cannot open the file: {errno}"),
            E::Inspect { errno } => write!(f, "cannot tell the size of the file: {errno}"),
            E::NotRegular { kind } => write!(f, "not a regular file but {kind}"),
            E::FileTooLarge { size, limit } => {
                write!(f, "the file has {size} bytes, more than the limit of {limit}")
            }
            E::NoRoomForFile { size } => {
                write!(f, "out of memory for the {size} bytes of the file")
            }
            E::Read { at, errno } => write!(f, "cannot read the file at offset 0x{at:x}: {errno}"),
            E::Changing { attempts } => {
                write!(f, "the file changed during each of {attempts} attempts to read it")
            }
            E::RangeOutside { offset, length, size } => write!(
                f,
                "0x{length:x} bytes at 0x{offset:x} do not lie inside the 0x{size:x} bytes of the file"
            ),
            E::Manage { address, size, errno } => {
                write!(f, "the kernel refuses 0x{size:x} bytes at 0x{address:x}: {errno}")
            }
            E::NotReadable { address } => {
                write!(f, "the bytes at 0x{address:x} were mapped without the right to read them")
            }
            E::CutOff { at } => write!(
                f,
                "the file has been cut off since it was mapped: there is nothing at offset 0x{at:x} any more"
            ),
            E::SharedCode => f.write_str(
                "pages that are shared with others cannot be executable: others could write to them",
            ),
            E::TooManyBytes { bytes } => {
                write!(f, "0x{bytes:x} bytes are more than an address space can hold")
            }
            E::NotWholePages { bytes, page_size } => {
                write!(f, "0x{bytes:x} bytes are no whole number of pages of {page_size} bytes")
            }
            E::Map { size, errno } => write!(f, "cannot map 0x{size:x} bytes of memory: {errno}"),
            E::NoPlace { size, low, high } => write!(
                f,
                "no free place for 0x{size:x} bytes of memory was found between 0x{low:x} and 0x{high:x}"
            ),
            E::Prefault { address, size, errno } => {
                write!(f, "cannot back 0x{size:x} bytes at 0x{address:x} with memory: {errno}")
            }
            E::SegmentOutside { index, offset, size, len } => write!(
                f,
                "segment {index} (0x{size:x} bytes at 0x{offset:x}) reaches beyond the 0x{len:x} bytes of its pages"
            ),
            E::SegmentOrder { index, offset, previous_end } => write!(
                f,
                "segment {index} begins at 0x{offset:x}, before the segment in front of it ends at 0x{previous_end:x}"
            ),
            E::Protect { address, size, protection, errno } => {
                write!(f, "cannot make 0x{size:x} bytes at 0x{address:x} {protection}: {errno}")
            }
            E::Synchronize { address, size, errno } => write!(
                f,
                "cannot make the code of 0x{size:x} bytes at 0x{address:x} visible to instruction fetch: {errno}"
            ),
        }
    }
}

impl core::error::Error for MemoryError {}
