//! `rustix::mm` on memory of the allocator.
//!
//! Each function has the contract of the one in rustix.
#![allow(unsafe_code)]

use core::{ffi::c_void, ops::Range, ptr, slice};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::{sync::Arc, vec, vec::Vec};

use rustix::fd::OwnedFd;
use rustix::io::{Errno, Result};
pub(crate) use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags};

use super::fs::Bytes;
use super::mappings::{Part, Run, around, cut, mappings};

const PAGE: usize = 4096;

fn range_of(start: *mut c_void, len: usize) -> Result<Range<usize>> {
    let (start, len) = (start.addr(), len.checked_next_multiple_of(PAGE).ok_or(Errno::NOMEM)?);
    if len == 0 || !start.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    Ok(start..start + len)
}

/// Copies the bytes at `range` of the mapping that `start` points into.
///
/// # Safety
///
/// `start` may be used for the whole of the range, to which no mutable reference is alive.
unsafe fn copy_of(start: *mut c_void, range: &Range<usize>) -> Vec<u8> {
    let start = start.cast::<u8>().with_addr(range.start);
    // SAFETY: mapped, initialised and not written concurrently, by the contract of this function.
    unsafe { slice::from_raw_parts(start, range.len()) }.to_vec()
}

/// The initial bytes of a mapping: zeros, or a part of a file.
fn content(len: usize, file: Option<&Part>) -> Vec<u8> {
    file.map_or_else(|| vec![0; len], |part| part.file.read(part.offset, len))
}

/// Ends a run: panics if its bytes changed while they were not writable, and writes shared pages to their file.
///
/// # Safety
///
/// As for [`copy_of`].
unsafe fn end(start: *mut c_void, run: &Run) {
    let is_shared = run.file.as_ref().filter(|part| part.shared);
    if run.saved.is_empty() && is_shared.is_none() {
        return;
    }
    // SAFETY: the contract of this function.
    let now = unsafe { copy_of(start, &run.range) };
    let range = &run.range;
    assert!(
        run.saved.is_empty() || run.saved == now,
        "{range:x?} was not writable and has changed"
    );
    if let (true, Some(part)) = (run.saved.is_empty(), is_shared) {
        part.file.write(part.offset, &now);
    }
}

/// A run with these bytes.
fn run(range: Range<usize>, protection: ProtFlags, bytes: Vec<u8>, file: Option<Part>) -> Run {
    let both = ProtFlags::WRITE | ProtFlags::EXEC;
    assert!(!protection.contains(both), "{range:x?} writable and executable");
    let saved = if protection.contains(ProtFlags::WRITE) { Vec::new() } else { bytes };
    Run { range, protection, saved, file }
}

/// Maps a run: fills its range with the initial bytes.
///
/// # Safety
///
/// `start` may be used for the whole of the range, to which no reference is alive.
unsafe fn map_run(
    start: *mut c_void,
    range: Range<usize>,
    protection: ProtFlags,
    file: Option<Part>,
) -> Run {
    let bytes = content(range.len(), file.as_ref());
    let at = start.cast::<u8>().with_addr(range.start);
    // SAFETY: the range is as long, and belongs to the caller by the contract of this function.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    run(range, protection, bytes, file)
}

/// Replaces each run from `start` on by the result of `next`.
///
/// # Safety
///
/// As for [`copy_of`], and the range lies in one mapping.
unsafe fn renew(start: *mut c_void, len: usize, mut next: impl FnMut(Run) -> Run) -> Result<()> {
    let range = range_of(start, len)?;
    let mut mapped = mappings();
    // The kernel would accept unmapped pages, but no caller passes any.
    let runs = around(&mut mapped, &range).ok_or(Errno::NOMEM)?;
    for old in cut(runs, &range) {
        // SAFETY: the contract of this function.
        unsafe { end(start, &old) };
        runs.push(next(old));
    }
    Ok(())
}

fn part(file: &OwnedFd, offset: u64, flags: MapFlags) -> Result<Part> {
    let shared = flags.contains(MapFlags::SHARED);
    Ok(Part { file: Arc::new(Bytes::of(file)?), offset, shared })
}

/// `mmap`.
///
/// # Safety
///
/// With `MAP_FIXED`, as that of rustix.
unsafe fn map(
    at: *mut c_void,
    len: usize,
    protection: ProtFlags,
    flags: MapFlags,
    file: Option<Part>,
) -> Result<*mut c_void> {
    if flags.contains(MapFlags::FIXED_NOREPLACE) {
        // The allocator does not support requests for addresses.
        return Err(Errno::EXIST);
    }
    if flags.contains(MapFlags::FIXED) {
        // SAFETY: the contract of this function.
        return unsafe { map_over(at, len, protection, file) }.map(|()| at);
    }
    let len = range_of(ptr::null_mut(), len)?.len();
    let layout = Layout::from_size_align(len, PAGE).map_err(|_| Errno::NOMEM)?;
    // SAFETY: the size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(Errno::NOMEM);
    }
    // SAFETY: as many bytes, just allocated.
    let run = unsafe { map_run(start.cast(), start.addr()..start.addr() + len, protection, file) };
    mappings().insert(start.addr(), Vec::from([run]));
    Ok(start.cast())
}

/// # Safety
///
/// As for `mmap` with `MAP_FIXED`.
unsafe fn map_over(
    start: *mut c_void,
    len: usize,
    protection: ProtFlags,
    file: Option<Part>,
) -> Result<()> {
    let next = |old: Run| {
        let skipped = (old.range.start - start.addr()) as u64;
        let file = file.clone().map(|part| Part { offset: part.offset + skipped, ..part });
        // SAFETY: inside one mapping, without references, by the contract of this function.
        unsafe { map_run(start, old.range, protection, file) }
    };
    // SAFETY: the contract of this function.
    unsafe { renew(start, len, next) }
}

pub(crate) unsafe fn mmap_anonymous(
    at: *mut c_void,
    len: usize,
    protection: ProtFlags,
    flags: MapFlags,
) -> Result<*mut c_void> {
    // SAFETY: the contract of this function.
    unsafe { map(at, len, protection, flags, None) }
}

pub(crate) unsafe fn mmap(
    at: *mut c_void,
    len: usize,
    protection: ProtFlags,
    flags: MapFlags,
    file: &OwnedFd,
    offset: u64,
) -> Result<*mut c_void> {
    if !offset.is_multiple_of(PAGE as u64) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the contract of this function.
    unsafe { map(at, len, protection, flags, Some(part(file, offset, flags)?)) }
}

/// `mremap` with an old size of 0, the only use.
pub(crate) unsafe fn mremap_fixed(
    pattern: *mut c_void,
    _old_len: usize,
    len: usize,
    _flags: MremapFlags,
    start: *mut c_void,
) -> Result<*mut c_void> {
    let (protection, file) = {
        let mut mapped = mappings();
        let page = range_of(pattern, PAGE)?;
        let runs = around(&mut mapped, &page).ok_or(Errno::FAULT)?;
        let run = runs.iter().find(|run| run.range.contains(&page.start)).ok_or(Errno::FAULT)?;
        (run.protection, run.file.clone())
    };
    // SAFETY: the contract of this function.
    unsafe { map_over(start, len, protection, file) }.map(|()| start)
}

pub(crate) unsafe fn munmap(start: *mut c_void, len: usize) -> Result<()> {
    let range = range_of(start, len)?;
    let runs = mappings().remove(&range.start).ok_or(Errno::INVAL)?;
    assert!(runs.iter().all(|run| run.range.end <= range.end), "{range:x?} is a part of a mapping");
    for run in &runs {
        // SAFETY: the caller owns the whole mapping.
        unsafe { end(start, run) };
    }
    let layout = Layout::from_size_align(range.len(), PAGE).map_err(|_| Errno::INVAL)?;
    // SAFETY: allocated with this layout by `map`, and recorded until now.
    unsafe { dealloc(start.cast(), layout) };
    Ok(())
}

pub(crate) unsafe fn mprotect(
    start: *mut c_void,
    len: usize,
    protection: MprotectFlags,
) -> Result<()> {
    let protection = ProtFlags::from_bits_retain(protection.bits());
    let next = |old: Run| {
        // SAFETY: no concurrent write, by the contract of `mprotect`.
        let bytes = unsafe { copy_of(start, &old.range) };
        run(old.range, protection, bytes, old.file)
    };
    // SAFETY: the contract of this function.
    unsafe { renew(start, len, next) }
}

/// Copies bytes that were stored through a writable mapping of a file to a read-only mapping of it.
///
/// They are not written concurrently, and both mappings exposed their provenance.
#[cfg(test)]
pub(crate) fn show(address: usize, len: usize) {
    let mut mapped = mappings();
    let runs = || mapped.values().flatten();
    let Some(run) = runs().find(|run| run.range.contains(&address)) else { return };
    let Some(part) = run.file.clone().filter(|_| !run.saved.is_empty()) else { return };
    let offset = part.offset + (address - run.range.start) as u64;
    let writable = runs().filter(|run| run.protection.contains(ProtFlags::WRITE));
    let Some(from) = writable.flat_map(|run| run.shows(&part.file, offset)).next() else { return };
    let from = ptr::with_exposed_provenance::<u8>(from);
    let to = ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: two mappings of as many bytes, which are not written concurrently.
    unsafe { to.copy_from_nonoverlapping(from, len) };
    let runs = mapped.values_mut().flatten();
    for run in runs.filter(|run| run.range.contains(&address)) {
        // SAFETY: as above.
        run.saved = unsafe { copy_of(to.cast(), &run.range) };
    }
}

/// A call that changes no byte: checks the range.
fn look_up(start: *mut c_void, len: usize) -> Result<()> {
    let range = range_of(start, len)?;
    around(&mut mappings(), &range).map(drop).ok_or(Errno::NOMEM)
}

pub(crate) unsafe fn madvise(start: *mut c_void, len: usize, advice: Advice) -> Result<()> {
    if advice != Advice::LinuxDontNeed {
        return look_up(start, len);
    }
    // SAFETY: the caller discards the bytes.
    let next = |old: Run| unsafe { map_run(start, old.range, old.protection, old.file) };
    // SAFETY: as above.
    unsafe { renew(start, len, next) }
}

pub(crate) unsafe fn mlock(start: *mut c_void, len: usize) -> Result<()> {
    look_up(start, len)
}

pub(crate) unsafe fn munlock(start: *mut c_void, len: usize) -> Result<()> {
    look_up(start, len)
}

pub(crate) unsafe fn msync(start: *mut c_void, len: usize, _flags: MsyncFlags) -> Result<()> {
    // SAFETY: the pages are not written concurrently.
    unsafe { renew(start, len, |old| old) }
}
