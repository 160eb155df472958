//! `rt_mmap_*` and their like: files and memory in pages that C holds by their addresses.
//!
//! No read through these functions raises a signal, whatever another process does to the file. A
//! PRIVATE mapping is a copy, which may be touched at its address as well. A SHARED one is the file's
//! own pages: its bytes are read with a system call, and whoever touches them at their address runs the
//! risk of SIGBUS should the file be cut off. [`smf_core::memory::FfiMapping`] has the figures.
//!
//! Why a copy: the kernel's private mapping shares the file's pages until they are written, so that it
//! loses them when the file is cut off, and shows what others write to it. What that costs, and what
//! SHARED does (open, map, touch or read, unmap; minimum of 200 or 2,000; us):
//!
//! | bytes | the kernel's private mapping, touched | PRIVATE, touched | SHARED, read whole |
//! |---|---|---|---|
//! | 4 KiB | 7.8 | 12 | 6.0 |
//! | 64 KiB | 10 | 37 | 7.0 |
//! | 1 MiB | 61 | 395 | 35 |
//! | 16 MiB | 64 | 6,831 | 1,190 |
//!
//! 256 bytes are read from a PRIVATE mapping into a byte array in 100 ns, from a SHARED one in 450.
//! Nearly all of a large copy's time goes into the kernel's zeroing of its pages. Whoever wants a large
//! file without a copy asks for SHARED.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use smf_core::memory::{Advice, FfiMapping, FileBytes, FileRange, PageCount, Protection, stamp_of};

use super::args;
use super::error::{ApiError, or};
use super::exec::protection;
use super::mappings::{self, Found};
use super::values::{self, Mapping, Path, Value};

/// The bits of the flags in `smf.h`.
const SHARED: i32 = 1;
const PRIVATE: i32 = 2;
const FIXED: i32 = 0x10;
const ANONYMOUS: i32 = 0x20;

/// Whether a file may be mapped to run.
static EXEC_ALLOWED: AtomicBool = AtomicBool::new(false);

/// What a mapping is asked to be.
struct Request {
    protection: Protection,
    is_shared: bool,
    /// Without a file.
    is_anonymous: bool,
    offset: u64,
    /// 0 for the rest of the file.
    length: u64,
}

/// Maps a part of a file, or with ANONYMOUS and without a path zeros. Returns where; {0, 0} on failure.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL; in the tagged convention it is a word of the
/// runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_mmap_file(
    path: Path,
    prot: i32,
    flags: i32,
    offset: i64,
    length: i64,
) -> Mapping {
    let mapped = request(prot, flags, offset, length).and_then(|request| {
        // SAFETY: passed on to the caller.
        let path = unsafe { values::path(path) }?;
        let pages = map(path, &request)?;
        if pages.is_empty() { Err(ApiError::NothingToMap) } else { Ok(mappings::keep(pages)?) }
    });
    let Range { start, end } = or(0..0, mapped);
    // Addresses of programs are below the half of the address space.
    values::mapping(start.cast_signed() as i64, (end - start).cast_signed() as i64)
}

fn request(prot: i32, flags: i32, offset: i64, length: i64) -> Result<Request, ApiError> {
    let refused = |what| Err(ApiError::Flags { what });
    let protection = protection(prot)?;
    if flags & !(SHARED | PRIVATE | FIXED | ANONYMOUS) != 0 {
        return Err(ApiError::Unknown { what: "set of flags", value: i64::from(flags) });
    }
    if flags & FIXED != 0 {
        return refused("FIXED, which would replace memory of others");
    }
    let is_shared = match (flags & SHARED != 0, flags & PRIVATE != 0) {
        (true, true) => return refused("SHARED together with PRIVATE"),
        (false, false) => return refused("neither SHARED nor PRIVATE"),
        (is_shared, _) => is_shared,
    };
    let offset = args::length("the offset", offset)?;
    if offset % PageCount::one().bytes() as u64 != 0 {
        return Err(ApiError::Misaligned { what: "the offset", value: offset });
    }
    let length = args::length("the length", length)?;
    let is_anonymous = flags & ANONYMOUS != 0;
    let request = Request { protection, is_shared, is_anonymous, offset, length };
    match (protection == Protection::ReadExecute, is_shared, is_anonymous) {
        (true, true, _) => refused("EXEC together with SHARED: others could write to the code"),
        (true, _, true) => refused("EXEC together with ANONYMOUS: see rt_alloc_exec_memory"),
        (true, ..) if !EXEC_ALLOWED.load(Ordering::Relaxed) => Err(ApiError::ExecNotAllowed),
        (_, _, true) if offset != 0 => refused("an offset together with ANONYMOUS"),
        (_, _, true) if length == 0 => Err(ApiError::Zero { what: "the length" }),
        _ => Ok(request),
    }
}

fn map(path: Option<&[u8]>, request: &Request) -> Result<FfiMapping, ApiError> {
    let &Request { protection, is_shared, is_anonymous, offset, length } = request;
    if is_anonymous {
        return match path {
            Some([_, ..]) => Err(ApiError::Flags { what: "a path together with ANONYMOUS" }),
            _ if is_shared => Ok(FfiMapping::share_zeroed(length, protection)?),
            _ => Ok(FfiMapping::zeroed(length, protection)?),
        };
    }
    let path = path.ok_or(ApiError::Null { what: "the path" })?;
    let range = FileRange { offset, length: (length != 0).then_some(length) };
    Ok(if is_shared {
        FfiMapping::share(path, range, protection)?
    } else {
        FfiMapping::copy(path, range, FileBytes::DEFAULT_LIMIT, protection)?
    })
}

/// Unmaps a whole mapping: its address, and the size that came with it.
#[unsafe(no_mangle)]
pub extern "C" fn rt_munmap(address: i64, size: i64) -> bool {
    let whole = args::address("the address", address)
        .and_then(|address| mappings::remove(address, args::size(size)?));
    or(false, whole.map(|()| true))
}

/// A byte array of `length` bytes that begin `offset` bytes behind `address`, all in one mapping. Null
/// on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_mmap_read_bytes(address: i64, offset: i64, length: i64) -> Value {
    let value = find(address, offset).and_then(|found| {
        let range = found.range(args::length("the length", length)?)?;
        values::filled_bytes(range.len(), |into| Ok(found.pages.read(range.start, into)?))
    });
    or(values::NO_VALUE, value)
}

/// Text that begins `offset` bytes behind `address` and reaches to its NUL or to the end of the
/// mapping, but not beyond `max_length` bytes unless that is 0. What is not UTF-8 is replaced. Null on
/// failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_mmap_read_string(address: i64, offset: i64, max_length: i64) -> Value {
    let value = find(address, offset).and_then(|found| {
        let rest = found.pages.len() - found.offset;
        let most = match args::length("the greatest length", max_length)? {
            0 => rest,
            most => usize::try_from(most).unwrap_or(rest).min(rest),
        };
        let bytes = read_until_nul(&found, most)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => values::new_text(text),
            Err(_) => values::new_text(&replaced(&bytes)?),
        }
    });
    or(values::NO_VALUE, value)
}

/// The bytes before the first NUL among the next `most`; all of them when there is none.
fn read_until_nul(found: &Found, most: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut step = 256;
    while bytes.len() < most {
        let (begin, wanted) = (bytes.len(), step.min(most - bytes.len()));
        bytes.try_reserve(wanted).map_err(|_| ApiError::NoRoom { bytes: begin + wanted })?;
        bytes.resize(begin + wanted, 0);
        let into = bytes.get_mut(begin..).unwrap_or_default();
        let count = found.pages.read_some(found.offset + begin, into)?;
        bytes.truncate(begin + count);
        let new = bytes.get(begin..).unwrap_or_default();
        if let Some(nul) = new.iter().position(|&byte| byte == 0) {
            bytes.truncate(begin + nul);
            break;
        }
        step = (step * 4).min(1 << 20);
    }
    Ok(bytes)
}

/// Text in which U+FFFD stands for what was not UTF-8.
fn replaced(bytes: &[u8]) -> Result<String, ApiError> {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let substitute = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        for part in [chunk.valid(), substitute] {
            let no_room = ApiError::NoRoom { bytes: text.len() + part.len() };
            text.try_reserve(part.len()).map_err(|_| no_room)?;
            text.push_str(part);
        }
    }
    Ok(text)
}

fn find(address: i64, offset: i64) -> Result<Found, ApiError> {
    let offset = args::length("the offset", offset);
    mappings::find(args::address("the address", address)?, offset?)
}

/// The number of bytes in a regular file; -1 on failure.
///
/// # Safety
/// As [`rt_mmap_file`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_file_size_for_mmap(path: Path) -> i64 {
    // SAFETY: passed on to the caller.
    let size = unsafe { values::path(path) }.and_then(|path| {
        let stamp = stamp_of(path.ok_or(ApiError::Null { what: "the path" })?)?;
        // The kernel's own number is of this type.
        Ok(i64::try_from(stamp.size).unwrap_or(i64::MAX))
    });
    or(-1, size)
}

/// The number of bytes in a page.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_page_size() -> i64 {
    i64::try_from(PageCount::one().bytes()).unwrap_or(i64::MAX)
}

/// Writes the changes in a range of a SHARED mapping to its file, and waits for the medium unless
/// `is_async`. Nothing to do for a PRIVATE one.
#[unsafe(no_mangle)]
pub extern "C" fn rt_msync(address: i64, size: i64, is_async: bool) -> bool {
    manage(address, size, |pages, range| Ok(pages.sync(range, !is_async)?))
}

/// Keeps a range in memory.
#[unsafe(no_mangle)]
pub extern "C" fn rt_mlock(address: i64, size: i64) -> bool {
    manage(address, size, |pages, range| Ok(pages.lock(range, true)?))
}

/// Lets a range go that was kept in memory.
#[unsafe(no_mangle)]
pub extern "C" fn rt_munlock(address: i64, size: i64) -> bool {
    manage(address, size, |pages, range| Ok(pages.lock(range, false)?))
}

/// Tells the kernel how a range will be used: 0 normal, 1 random, 2 sequential, 3 soon, 4 not for now.
/// The last turns ANONYMOUS PRIVATE bytes into zeros and changes no others.
#[unsafe(no_mangle)]
pub extern "C" fn rt_madvise(address: i64, size: i64, advice: i32) -> bool {
    manage(address, size, |pages, range| {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Random,
            2 => Advice::Sequential,
            3 => Advice::WillNeed,
            4 => return Ok(pages.discard(range)?),
            _ => return Err(ApiError::Unknown { what: "advice", value: i64::from(advice) }),
        };
        Ok(pages.advise(range, advice)?)
    })
}

/// Does something with a range of one mapping that begins with a page.
fn manage(
    address: i64,
    size: i64,
    act: impl FnOnce(&FfiMapping, Range<usize>) -> Result<(), ApiError>,
) -> bool {
    let done = args::range(address, size).and_then(|range| {
        if range.start % PageCount::one().bytes() != 0 {
            return Err(ApiError::Misaligned { what: "the address", value: range.start as u64 });
        }
        let found = mappings::find(range.start, 0)?;
        act(&found.pages, found.range(range.len() as u64)?)
    });
    or(false, done.map(|()| true))
}

/// Allows, or no longer allows, EXEC for files: PRIVATE ones alone. Returns what it was before; false
/// when the process begins. Mappings that are there stay what they are.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_allow_exec(allow: bool) -> bool {
    EXEC_ALLOWED.swap(allow, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use smf_core::alloc_util::TryArc;

    use super::*;

    #[test]
    fn what_is_not_utf8_is_replaced_as_the_standard_library_does() {
        for bytes in
            [&b"plain"[..], b"", b"\xff", b"a\xc3", b"\xe2\x82b\xf0\x9f\x98\x80\x80", b"\xc3\xa4"]
        {
            assert_eq!(replaced(bytes).unwrap(), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn strings_end_at_their_nul_wherever_that_is() {
        let mut bytes = vec![b'x'; 70_000];
        for nul in [0, 1, 255, 256, 257, 1279, 1280, 69_999] {
            bytes[nul] = 0;
            let path = std::env::temp_dir().join(format!("smf-nul-{}", std::process::id()));
            std::fs::write(&path, &bytes).unwrap();
            let name = path.to_str().unwrap().as_bytes();
            let pages = FfiMapping::share(name, FileRange::WHOLE, Protection::Read).unwrap();
            let found = Found { pages: TryArc::new(pages).unwrap(), offset: 0 };
            for most in [0, 1, 256, 70_000] {
                let text = read_until_nul(&found, most).unwrap();
                assert_eq!(text.len(), nul.min(most));
            }
            bytes[nul] = b'x';
            std::fs::remove_file(path).unwrap();
        }
    }
}
