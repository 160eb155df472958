//! `rustix::mm` on memory of the allocator.
//!
//! Each function has the contract of the one in rustix.
#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ops::Range;
use core::{ptr, slice};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use rustix::fd::OwnedFd;
use rustix::io::{Errno, Result};
pub(in super::super) use rustix::mm::{
    Advice, MapFlags, MprotectFlags, MremapFlags, MsyncFlags, ProtFlags,
};

use super::books::{Part, Run, around, books, cut};
use super::fs::Bytes;

const PAGE: usize = 4096;

fn range_of(start: *mut c_void, len: usize) -> Result<Range<usize>> {
    let (start, len) = (start.addr(), len.checked_next_multiple_of(PAGE).ok_or(Errno::NOMEM)?);
    if len == 0 || !start.is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    Ok(start..start + len)
}

/// The bytes at `range`, which lie in the mapping that `start` points into.
///
/// # Safety
///
/// `start` may be used for the whole of the range, to which no mutable reference is alive.
unsafe fn held(start: *mut c_void, range: &Range<usize>) -> Vec<u8> {
    let start = start.cast::<u8>().with_addr(range.start);
    // SAFETY: mapped, initialised and not written meanwhile, says the caller.
    unsafe { slice::from_raw_parts(start, range.len()) }.to_vec()
}

/// What is mapped: nothing but zeros, or a part of a file.
fn content(len: usize, file: Option<&Part>) -> Vec<u8> {
    file.map_or_else(|| vec![0; len], |part| part.file.read(part.offset, len))
}

/// Ends what was mapped at a run: nothing may have changed that could not be written, and what could be
/// goes into its file.
///
/// # Safety
///
/// As for [`held`].
unsafe fn end(start: *mut c_void, run: &Run) {
    let is_shared = run.file.as_ref().filter(|part| part.shared);
    if run.held.is_empty() && is_shared.is_none() {
        return;
    }
    // SAFETY: passed on to the caller.
    let now = unsafe { held(start, &run.range) };
    let range = &run.range;
    assert!(run.held.is_empty() || run.held == now, "{range:x?} was not writable and has changed");
    if let (true, Some(part)) = (run.held.is_empty(), is_shared) {
        part.file.write(part.offset, &now);
    }
}

/// A run that holds `bytes`.
fn run(range: Range<usize>, rights: ProtFlags, bytes: Vec<u8>, file: Option<Part>) -> Run {
    let both = ProtFlags::WRITE | ProtFlags::EXEC;
    assert!(!rights.contains(both), "{range:x?} writable and executable");
    let held = if rights.contains(ProtFlags::WRITE) { Vec::new() } else { bytes };
    Run { range, rights, held, file }
}

/// Fills a range with what is mapped there from now on.
///
/// # Safety
///
/// `start` may be used for the whole of the range, to which no reference is alive.
unsafe fn map_run(
    start: *mut c_void,
    range: Range<usize>,
    rights: ProtFlags,
    file: Option<Part>,
) -> Run {
    let bytes = content(range.len(), file.as_ref());
    let at = start.cast::<u8>().with_addr(range.start);
    // SAFETY: as many bytes, which are the caller's.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    run(range, rights, bytes, file)
}

/// Ends what is mapped from `start` on, run by run, and enters what `next` makes of each.
///
/// # Safety
///
/// As for [`held`], and the range lies in one mapping.
unsafe fn renew(start: *mut c_void, len: usize, mut next: impl FnMut(Run) -> Run) -> Result<()> {
    let range = range_of(start, len)?;
    let mut books = books();
    // Where nothing is, the kernel maps; but every caller means what is its own.
    let runs = around(&mut books, &range).ok_or(Errno::NOMEM)?;
    for old in cut(runs, &range) {
        // SAFETY: passed on to the caller.
        unsafe { end(start, &old) };
        runs.push(next(old));
    }
    Ok(())
}

fn part(file: &OwnedFd, offset: u64, flags: MapFlags) -> Result<Part> {
    let shared = flags.contains(MapFlags::SHARED);
    Ok(Part { file: Arc::new(Bytes::of(file)?), offset, shared })
}

/// `mmap` over a mapping, or where nothing is.
///
/// # Safety
///
/// With `MAP_FIXED`, as that of rustix.
unsafe fn map(
    at: *mut c_void,
    len: usize,
    rights: ProtFlags,
    flags: MapFlags,
    file: Option<Part>,
) -> Result<*mut c_void> {
    if flags.contains(MapFlags::FIXED_NOREPLACE) {
        // The allocator cannot be asked for a place.
        return Err(Errno::EXIST);
    }
    if flags.contains(MapFlags::FIXED) {
        // SAFETY: passed on to the caller.
        return unsafe { map_over(at, len, rights, file) }.map(|()| at);
    }
    let len = range_of(ptr::null_mut(), len)?.len();
    let layout = Layout::from_size_align(len, PAGE).map_err(|_| Errno::NOMEM)?;
    // SAFETY: the size is not 0.
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(Errno::NOMEM);
    }
    // SAFETY: as many bytes, just allocated.
    let run = unsafe { map_run(start.cast(), start.addr()..start.addr() + len, rights, file) };
    books().insert(start.addr(), Vec::from([run]));
    Ok(start.cast())
}

/// # Safety
///
/// As for `mmap` with `MAP_FIXED`.
unsafe fn map_over(
    start: *mut c_void,
    len: usize,
    rights: ProtFlags,
    file: Option<Part>,
) -> Result<()> {
    let next = |old: Run| {
        let skipped = (old.range.start - start.addr()) as u64;
        let file = file.clone().map(|part| Part { offset: part.offset + skipped, ..part });
        // SAFETY: inside one mapping, and not referred to, says the caller.
        unsafe { map_run(start, old.range, rights, file) }
    };
    // SAFETY: passed on to the caller.
    unsafe { renew(start, len, next) }
}

pub(in super::super) unsafe fn mmap_anonymous(
    at: *mut c_void,
    len: usize,
    rights: ProtFlags,
    flags: MapFlags,
) -> Result<*mut c_void> {
    // SAFETY: passed on to the caller.
    unsafe { map(at, len, rights, flags, None) }
}

pub(in super::super) unsafe fn mmap(
    at: *mut c_void,
    len: usize,
    rights: ProtFlags,
    flags: MapFlags,
    file: &OwnedFd,
    offset: u64,
) -> Result<*mut c_void> {
    if !offset.is_multiple_of(PAGE as u64) {
        return Err(Errno::INVAL);
    }
    // SAFETY: passed on to the caller.
    unsafe { map(at, len, rights, flags, Some(part(file, offset, flags)?)) }
}

/// With an old size of 0, which is all that is asked for.
pub(in super::super) unsafe fn mremap_fixed(
    pattern: *mut c_void,
    _old_len: usize,
    len: usize,
    _flags: MremapFlags,
    start: *mut c_void,
) -> Result<*mut c_void> {
    let (rights, file) = {
        let mut books = books();
        let page = range_of(pattern, PAGE)?;
        let runs = around(&mut books, &page).ok_or(Errno::FAULT)?;
        let run = runs.iter().find(|run| run.range.contains(&page.start)).ok_or(Errno::FAULT)?;
        (run.rights, run.file.clone())
    };
    // SAFETY: passed on to the caller.
    unsafe { map_over(start, len, rights, file) }.map(|()| start)
}

pub(in super::super) unsafe fn munmap(start: *mut c_void, len: usize) -> Result<()> {
    let range = range_of(start, len)?;
    let runs = books().remove(&range.start).ok_or(Errno::INVAL)?;
    assert!(runs.iter().all(|run| run.range.end <= range.end), "{range:x?} is a part of a mapping");
    for run in &runs {
        // SAFETY: the whole mapping is the caller's.
        unsafe { end(start, run) };
    }
    let layout = Layout::from_size_align(range.len(), PAGE).map_err(|_| Errno::INVAL)?;
    // SAFETY: allocated with this layout by `map`, and in the books until now.
    unsafe { dealloc(start.cast(), layout) };
    Ok(())
}

pub(in super::super) unsafe fn mprotect(
    start: *mut c_void,
    len: usize,
    rights: MprotectFlags,
) -> Result<()> {
    let rights = ProtFlags::from_bits_retain(rights.bits());
    let next = |old: Run| {
        // SAFETY: nobody may use what the new protection forbids, says the caller; nor write meanwhile.
        let bytes = unsafe { held(start, &old.range) };
        run(old.range, rights, bytes, old.file)
    };
    // SAFETY: passed on to the caller.
    unsafe { renew(start, len, next) }
}

/// Brings bytes of a file that cannot be written here up to what was stored through a mapping of it where
/// they can.
///
/// Nobody may be writing them, and both mappings have to have exposed their addresses.
#[cfg(test)]
pub(in super::super::super) fn show(address: usize, len: usize) {
    let mut books = books();
    let runs = || books.values().flatten();
    let Some(run) = runs().find(|run| run.range.contains(&address)) else { return };
    let Some(part) = run.file.clone().filter(|_| !run.held.is_empty()) else { return };
    let offset = part.offset + (address - run.range.start) as u64;
    let writable = runs().filter(|run| run.rights.contains(ProtFlags::WRITE));
    let Some(from) = writable.flat_map(|run| run.shows(&part.file, offset)).next() else { return };
    let from = ptr::with_exposed_provenance::<u8>(from);
    let to = ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: two mappings of as many bytes, which nobody writes.
    unsafe { to.copy_from_nonoverlapping(from, len) };
    let runs = books.values_mut().flatten();
    for run in runs.filter(|run| run.range.contains(&address)) {
        // SAFETY: as above.
        run.held = unsafe { held(to.cast(), &run.range) };
    }
}

/// What is asked for without an effect on any byte.
fn look_up(start: *mut c_void, len: usize) -> Result<()> {
    let range = range_of(start, len)?;
    around(&mut books(), &range).map(drop).ok_or(Errno::NOMEM)
}

pub(in super::super) unsafe fn madvise(
    start: *mut c_void,
    len: usize,
    advice: Advice,
) -> Result<()> {
    if advice != Advice::LinuxDontNeed {
        return look_up(start, len);
    }
    // SAFETY: the bytes are the caller's to lose.
    let next = |old: Run| unsafe { map_run(start, old.range, old.rights, old.file) };
    // SAFETY: as above.
    unsafe { renew(start, len, next) }
}

pub(in super::super) unsafe fn mlock(start: *mut c_void, len: usize) -> Result<()> {
    look_up(start, len)
}

pub(in super::super) unsafe fn munlock(start: *mut c_void, len: usize) -> Result<()> {
    look_up(start, len)
}

pub(in super::super) unsafe fn msync(
    start: *mut c_void,
    len: usize,
    _flags: MsyncFlags,
) -> Result<()> {
    // SAFETY: nobody writes meanwhile who wants the file to hold it.
    unsafe { renew(start, len, |old| old) }
}
