//! `rt_mmap_*`, `smf_mmap_*` and related exports: mapped files and memory, by address.
//!
//! No read through these functions raises a signal, whatever another process does to the file. A PRIVATE mapping is
//! a copy, which is safe to access at its address as well. A SHARED mapping consists of the file's own pages: these
//! functions read it by a system call, and a direct access raises SIGBUS if the file was truncated.
//!
//! PRIVATE copies because the kernel's private mapping shares the file's pages until they are written: it loses them
//! when the file is truncated and shows later writes of others. SHARED is the mode for large files without a copy.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use smf_core::memory::{Advice, FfiMapping, FileBytes, FileRange, PageCount, Protection, stamp_of};

use super::args::{self, to_i64};
use super::constants::{
    SMF_MAP_ANONYMOUS as ANONYMOUS, SMF_MAP_FIXED as FIXED, SMF_MAP_PRIVATE as PRIVATE,
    SMF_MAP_SHARED as SHARED,
};
use super::error::{ApiError, ArgumentError, attempt, attempt_with, succeeded};
use super::exec::protection;
use super::mappings::{self, MappedAt};
use super::values::{self, Mapping, Path, Value};

/// Whether files may be mapped with EXEC.
static EXEC_ALLOWED: AtomicBool = AtomicBool::new(false);

/// A validated request.
struct Request {
    protection: Protection,
    is_shared: bool,
    is_anonymous: bool,
    offset: u64,
    /// In bytes; 0 for the rest of the file.
    length: u64,
}

/// Maps a part of a file, or with ANONYMOUS zero-filled memory. Returns its address and size; zeros on failure.
///
/// # Safety
/// `path` is null or NUL-terminated; in the tagged convention it is a word of the
/// runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_mmap_file(
    path: Path,
    prot: i32,
    flags: i32,
    offset: i64,
    length: i64,
) -> Mapping {
    let Range { start, end } = attempt(0..0, || {
        let request = request(prot, flags, offset, length)?;
        // SAFETY: the caller's promise.
        let pages = map(unsafe { values::path(path) }?, &request)?;
        if pages.is_empty() { Err(ApiError::NothingToMap) } else { Ok(mappings::insert(pages)?) }
    });
    // User-space addresses are below 2^63.
    values::mapping(start.cast_signed() as i64, (end - start).cast_signed() as i64)
}

fn request(prot: i32, flags: i32, offset: i64, length: i64) -> Result<Request, ApiError> {
    let refused = |what| Err(ArgumentError::MappingFlags { what }.into());
    let protection = protection(prot)?;
    if flags & !(SHARED | PRIVATE | FIXED | ANONYMOUS) != 0 {
        return Err(ArgumentError::unknown("set of flags", flags).into());
    }
    if flags & FIXED != 0 {
        return refused("FIXED would replace existing memory");
    }
    let is_shared = match (flags & SHARED != 0, flags & PRIVATE != 0) {
        (true, true) => return refused("SHARED and PRIVATE exclude each other"),
        (false, false) => return refused("SHARED or PRIVATE is required"),
        (is_shared, _) => is_shared,
    };
    let offset = args::length("the offset", offset)?;
    if offset % PageCount::one().bytes() as u64 != 0 {
        return Err(ArgumentError::NotPageAligned { what: "the offset", value: offset }.into());
    }
    let length = args::length("the length", length)?;
    let is_anonymous = flags & ANONYMOUS != 0;
    let request = Request { protection, is_shared, is_anonymous, offset, length };
    match (protection == Protection::ReadExecute, is_shared, is_anonymous) {
        (true, true, _) => refused("EXEC with SHARED would let other processes write the code"),
        (true, _, true) => refused("EXEC with ANONYMOUS; use rt_alloc_exec_memory"),
        (true, ..) if !EXEC_ALLOWED.load(Ordering::Relaxed) => Err(ApiError::ExecNotAllowed),
        (_, _, true) if offset != 0 => refused("ANONYMOUS takes no offset"),
        (_, _, true) if length == 0 => Err(ArgumentError::Zero { what: "the length" }.into()),
        _ => Ok(request),
    }
}

fn map(path: Option<&[u8]>, request: &Request) -> Result<FfiMapping, ApiError> {
    let &Request { protection, is_shared, is_anonymous, offset, length } = request;
    if is_anonymous {
        return match path {
            Some([_, ..]) => {
                Err(ArgumentError::MappingFlags { what: "ANONYMOUS takes no path" }.into())
            }
            _ if is_shared => Ok(FfiMapping::share_zeroed(length, protection)?),
            _ => Ok(FfiMapping::zeroed(length, protection)?),
        };
    }
    let path = path.ok_or(ArgumentError::Null { what: "the path" })?;
    let range = FileRange { offset, length: (length != 0).then_some(length) };
    Ok(if is_shared {
        FfiMapping::share(path, range, protection)?
    } else {
        FfiMapping::copy(path, range, FileBytes::DEFAULT_LIMIT, protection)?
    })
}

/// Unmaps a whole mapping, given its address and size.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_unmap(address: i64, size: i64) -> bool {
    let unmap = || mappings::remove(args::address("the address", address)?, args::size(size)?);
    succeeded(unmap())
}

/// Copies `length` bytes at `address + offset`, all in one mapping, into a byte array. Null on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_mmap_read_bytes(address: i64, offset: i64, length: i64) -> Value {
    attempt_with(values::NO_VALUE, find(address, offset), |found| {
        let range = found.range(args::length("the length", length)?)?;
        values::filled_bytes(range.len(), |into| found.read(range.start, into))
    })
}

/// Copies text at `address + offset`, up to a NUL, the end of the mapping or, unless it is 0, `max_length` bytes.
/// U+FFFD replaces invalid UTF-8. Null on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_mmap_read_string(address: i64, offset: i64, max_length: i64) -> Value {
    attempt_with(values::NO_VALUE, find(address, offset), |found| {
        let rest = found.pages.len() - found.offset;
        let limit = match args::length("the maximum length", max_length)? {
            0 => rest,
            limit => usize::try_from(limit).unwrap_or(rest).min(rest),
        };
        let bytes = read_until_nul(&found, limit)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => values::new_text(text),
            Err(_) => values::new_text(&lossy_utf8(&bytes)?),
        }
    })
}

/// The bytes before the first NUL, at most `limit`.
fn read_until_nul(found: &MappedAt, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut step = 256;
    while bytes.len() < limit {
        let (start, wanted) = (bytes.len(), step.min(limit - bytes.len()));
        bytes.try_reserve(wanted).map_err(|_| ApiError::NoMemory { bytes: start + wanted })?;
        bytes.resize(start + wanted, 0);
        let into = bytes.get_mut(start..).unwrap_or_default();
        let count = found.read_some(found.offset + start, into)?;
        bytes.truncate(start + count);
        let new = bytes.get(start..).unwrap_or_default();
        if let Some(nul) = new.iter().position(|&byte| byte == 0) {
            bytes.truncate(start + nul);
            break;
        }
        step = (step * 4).min(1 << 20);
    }
    Ok(bytes)
}

/// As `String::from_utf8_lossy`, with fallible allocation.
fn lossy_utf8(bytes: &[u8]) -> Result<String, ApiError> {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        let substitute = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        for part in [chunk.valid(), substitute] {
            let no_memory = ApiError::NoMemory { bytes: text.len() + part.len() };
            text.try_reserve(part.len()).map_err(|_| no_memory)?;
            text.push_str(part);
        }
    }
    Ok(text)
}

fn find(address: i64, offset: i64) -> Result<MappedAt, ApiError> {
    let address = args::address("the address", address)?;
    mappings::find(address, args::length("the offset", offset)?)
}

/// The size of a regular file in bytes; -1 on failure.
///
/// # Safety
/// As for [`rt_mmap_file`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_file_size_for_mmap(path: Path) -> i64 {
    attempt(-1, || {
        // SAFETY: the caller's promise.
        let path =
            unsafe { values::path(path) }?.ok_or(ArgumentError::Null { what: "the path" })?;
        Ok(to_i64(stamp_of(path)?.size))
    })
}

/// The page size in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_page_size() -> i64 {
    to_i64(PageCount::one().bytes())
}

/// Writes a range of a SHARED mapping back to its file, and waits for the medium unless `is_async`. Without effect on
/// a PRIVATE mapping.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_sync(address: i64, size: i64, is_async: bool) -> bool {
    manage(address, size, |pages, range| Ok(pages.sync(range, !is_async)?))
}

/// Locks a range in memory.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_lock(address: i64, size: i64) -> bool {
    manage(address, size, |pages, range| Ok(pages.lock(range, true)?))
}

/// Unlocks a range.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_unlock(address: i64, size: i64) -> bool {
    manage(address, size, |pages, range| Ok(pages.lock(range, false)?))
}

/// Advises the kernel on the use of a range: 0 normal, 1 random, 2 sequential, 3 needed soon, 4 not needed. Advice 4
/// zeroes ANONYMOUS PRIVATE memory and leaves other contents unchanged.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_advise(address: i64, size: i64, advice: i32) -> bool {
    manage(address, size, |pages, range| {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Random,
            2 => Advice::Sequential,
            3 => Advice::WillNeed,
            4 => return Ok(pages.discard(range)?),
            _ => return Err(ArgumentError::unknown("advice", advice).into()),
        };
        Ok(pages.advise(range, advice)?)
    })
}

/// Calls `act` with a page-aligned range of one mapping.
fn manage(
    address: i64,
    size: i64,
    act: impl FnOnce(&FfiMapping, Range<usize>) -> Result<(), ApiError>,
) -> bool {
    attempt(false, || {
        let range = args::range(address, size)?;
        if range.start % PageCount::one().bytes() != 0 {
            let value = range.start as u64;
            return Err(ArgumentError::NotPageAligned { what: "the address", value }.into());
        }
        let found = mappings::find(range.start, 0)?;
        act(&found.pages, found.range(range.len() as u64)?).map(|()| true)
    })
}

/// Allows or forbids EXEC for PRIVATE file mappings from now on. Returns the previous setting, which is false at
/// start. Existing mappings do not change.
#[unsafe(no_mangle)]
pub extern "C" fn smf_mmap_allow_exec(allow: bool) -> bool {
    EXEC_ALLOWED.swap(allow, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use smf_core::alloc_util::TryArc;

    use super::*;

    #[test]
    fn invalid_utf8_is_replaced_as_by_from_utf8_lossy() {
        for bytes in
            [&b"plain"[..], b"", b"\xff", b"a\xc3", b"\xe2\x82b\xf0\x9f\x98\x80\x80", b"\xc3\xa4"]
        {
            assert_eq!(lossy_utf8(bytes).unwrap(), String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn string_ends_at_nul_in_any_read_step() {
        let mut bytes = vec![b'x'; 70_000];
        for nul in [0, 1, 255, 256, 257, 1279, 1280, 69_999] {
            bytes[nul] = 0;
            let path = std::env::temp_dir().join(format!("smf-nul-{}", std::process::id()));
            std::fs::write(&path, &bytes).unwrap();
            let name = path.to_str().unwrap().as_bytes();
            let pages = FfiMapping::share(name, FileRange::WHOLE, Protection::Read).unwrap();
            let found = MappedAt { pages: TryArc::new(pages).unwrap(), offset: 0 };
            for limit in [0, 1, 256, 70_000] {
                let text = read_until_nul(&found, limit).unwrap();
                assert_eq!(text.len(), nul.min(limit));
            }
            bytes[nul] = b'x';
            std::fs::remove_file(path).unwrap();
        }
    }
}
