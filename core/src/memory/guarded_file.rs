//! Files that are read, and whose code runs, from the page cache.
//!
//! A mapped file must not change under its readers: a page that another process truncates away raises SIGBUS, and
//! bytes that it writes appear at once. A file is therefore mapped only if it cannot change (a sealed memory file, a
//! read-only file system, fs-verity), if the caller vouches for it ([`FilePolicy::Map`]), or while a *guard* of the
//! host is in force ([`FileGuards`]): before any byte of the file changes, the host calls
//! [`FileMapping::make_private`], which replaces every page by a private copy at the same address. Running code and
//! readers do not notice: the kernel replaces a range of pages as a whole, and the bytes are the same.
//!
//! Any other large file is copied once, into a sealed memory file, and that is mapped. A small file is copied to the
//! heap, which takes less time than a mapping.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::ops::Range;
use core::ptr::NonNull;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::mm::MapFlags;

use super::creator_file::CreatorFile;
use super::file::{CopyTo, FileBytes, LARGE, OpenFile};
use super::lock::{Lock, LockGuard};
use super::memory_file;
use super::page_count::PageCount;
use super::pages::{PublishedPages, Segment, WritablePages};
use super::placement::Placement;
use super::region::Region;
use super::sys::{self, Place};
use super::types::{FilePolicy, FileRange, FileStamp, MemoryError, Protection, Result};
use crate::alloc_util::TryArc;

/// The size in bytes from which on mapping a file takes less time than copying it.
const MIN_MAPPED: u64 = 128 << 10;

/// Guards files against changes, by means of the host's system.
///
/// # Safety
/// A guard is in force as [`guard`](Self::guard) states: the bytes of a mapped file are lent as a slice meanwhile.
pub unsafe trait FileGuards: Sync {
    /// Whether the host may be able to guard a file, which lies on a file system of the type `file_system` (`f_type` of
    /// statfs(2)).
    fn accepts(&self, file: BorrowedFd<'_>, file_system: u64) -> bool;

    /// Guards a file, which the host [accepts](Self::accepts). From the return of this function until [`release`](Self::release) with the returned token, no
    /// byte of the file changes before [`FileMapping::make_private`] has returned `Ok`. `None` if the host cannot
    /// guarantee that for this file.
    fn guard(&self, file: &TryArc<FileMapping>) -> Option<u64>;

    /// Ends a guard.
    ///
    /// # Safety
    /// [`guard`](Self::guard) of this value has returned the token, which is released once. Nothing refers to the mapped
    /// bytes any more.
    unsafe fn release(&self, token: u64);
}

/// Guards no file.
#[derive(Clone, Copy, Debug)]
pub struct NoFileGuards;

// SAFETY: there is no guard.
unsafe impl FileGuards for NoFileGuards {
    fn accepts(&self, _: BorrowedFd<'_>, _: u64) -> bool {
        false
    }

    fn guard(&self, _: &TryArc<FileMapping>) -> Option<u64> {
        None
    }

    unsafe fn release(&self, _: u64) {}
}

/// An open file, its mapping, and the ranges of images that its pages back.
pub struct FileMapping {
    file: CreatorFile,
    /// The whole file, readable.
    whole: Region,
    /// The size of the file, in bytes.
    len: usize,
    state: Lock<State>,
}

struct State {
    /// The pages are copies.
    is_private: bool,
    overlays: Vec<Overlay>,
    /// Address space for a copy of the whole file, while a guard is in force: at the limit of the process
    /// (`RLIMIT_AS`, `RLIMIT_DATA`), there is none for a copy when the guard ends.
    reserve: Option<Region>,
}

/// Pages of the file inside an image.
#[derive(Clone, Copy)]
struct Overlay {
    start: NonNull<u8>,
    size: PageCount,
    protection: Protection,
}

// SAFETY: the pointers of overlays denote pages of images, which other threads may map and unmap like this one; the
// list is accessed under its lock.
unsafe impl Send for FileMapping {}
// SAFETY: as above.
unsafe impl Sync for FileMapping {}

impl FileMapping {
    /// Maps a file. `None` if the system forbids executable mappings of it.
    fn new(file: OpenFile) -> Result<Option<TryArc<Self>>> {
        let size = file.stamp().size;
        let refused = |_| MemoryError::OutOfMemory { size };
        let (len, pages) = (usize::try_from(size).map_err(refused)?, PageCount::covering(size)?);
        let mapped = Region::map_file(
            &file.descriptor,
            MapFlags::PRIVATE,
            0,
            pages,
            Protection::ReadExecute,
        );
        let Ok(whole) = mapped else { return Ok(None) };
        // SAFETY: no reference into the new mapping exists, and the region lends none.
        unsafe { whole.protect(0..pages.bytes(), Protection::Read) }?;
        let state = State { is_private: false, overlays: Vec::new(), reserve: None };
        let (file, state) = (CreatorFile::new(file), Lock::new(state));
        let mapping = TryArc::new(Self { file, whole, len, state });
        Ok(Some(mapping.map_err(|_| MemoryError::OutOfMemory { size })?))
    }

    /// Sets address space for a copy aside.
    fn reserve(&self) -> Result<()> {
        let reserve = Region::map(Place::Anywhere, self.whole.size(), Protection::ReadWrite)?;
        if let Some(mut state) = self.lock() {
            state.reserve = Some(reserve);
        }
        Ok(())
    }

    /// The open file.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.descriptor.as_fd()
    }

    /// Replaces every page of the file in this process by a private copy with the same bytes and protection. Further
    /// calls have no effect.
    ///
    /// In a child of a `clone(2)` without handlers, the pages stay as they are if another thread of the parent was loading
    /// a module from them at that moment.
    ///
    /// # Errors
    /// [`MemoryError`] if there is no memory for the copies. Some pages are still those of the file; the call may be
    /// repeated.
    pub fn make_private(&self) -> Result<()> {
        let Some(mut state) = self.lock() else { return Ok(()) };
        if state.is_private {
            return Ok(());
        }
        let (start, size) = (self.whole.start(), self.whole.size());
        let whole = Overlay { start, size, protection: Protection::Read };
        // One copy after the other fits there: each takes the place of pages of its size, none larger than the file.
        state.reserve = None;
        for overlay in state.overlays.iter().chain([&whole]) {
            overlay.make_private()?;
        }
        state.is_private = true;
        Ok(())
    }

    fn lock(&self) -> Option<LockGuard<'_, State>> {
        self.file.process().lock(&self.state)
    }

    fn forget(&self, start: usize, size: PageCount) {
        let range = start..start.saturating_add(size.bytes());
        if let Some(mut state) = self.lock() {
            let is_inside = |overlay: &Overlay| range.contains(&overlay.start.addr().get());
            while let Some(position) = state.overlays.iter().position(is_inside) {
                state.overlays.swap_remove(position);
            }
        }
    }
}

impl Overlay {
    fn make_private(&self) -> Result<()> {
        let copy = self.copy()?;
        let size = self.size.bytes();
        // SAFETY: both ranges are whole pages of this size. The pages that are replaced belong to the mapping or to
        // an image that lists them here; the new ones have the same bytes and protection, so that every reference
        // and every thread that runs them sees no difference.
        let moved = unsafe { sys::move_mapping(copy.start(), size, self.start) };
        moved.map_err(|errno| MemoryError::Map { size, errno })?;
        // The pages have left the addresses of this region.
        mem::forget(copy);
        Ok(())
    }

    fn copy(&self) -> Result<Region> {
        let mut copy = WritablePages::allocate(self.size, Placement::Anywhere)?;
        copy.prefault(self.size.bytes())?;
        let into = copy.as_mut_slice();
        // SAFETY: the pages are mapped and readable as long as the overlay is listed, and no thread writes to them:
        // no overlay is writable, and the guard excludes changes of the file. `into` is other memory of this size.
        // The file ends inside the last page.
        unsafe { self.start.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        let (offset, size) = (PageCount::ZERO, self.size);
        let published = copy.publish(&[Segment { offset, size, protection: self.protection }])?;
        Ok(published.into_region())
    }
}

impl fmt::Debug for FileMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileMapping").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A mapped file whose bytes do not change.
pub struct GuardedFile {
    mapping: TryArc<FileMapping>,
    /// The guard and its token; `None` if the file cannot change.
    guard: Option<(&'static dyn FileGuards, u64)>,
}

/// Pages of a file and their place in an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilePart {
    /// The offset in the image.
    pub(crate) offset: PageCount,
    pub(crate) size: PageCount,
    /// The offset in the file, in bytes, a multiple of the page size.
    pub(crate) file_offset: u64,
    /// Not writable.
    pub(crate) protection: Protection,
}

impl FilePart {
    /// The offsets in the image.
    fn range(&self) -> Range<usize> {
        let start = self.offset.bytes();
        start..start.saturating_add(self.size.bytes())
    }
}

impl GuardedFile {
    /// Maps a file; `None` if the host does not guard it, or the system does not allow it.
    fn map(file: OpenFile, way: Way, guards: &'static dyn FileGuards) -> Result<Option<Self>> {
        let Some(mapping) = FileMapping::new(file)? else { return Ok(None) };
        if way == Way::Stable {
            return Ok(Some(Self { mapping, guard: None }));
        }
        if mapping.reserve().is_err() {
            return Ok(None);
        }
        let Some(token) = guards.guard(&mapping) else { return Ok(None) };
        let guarded = Self { mapping, guard: Some((guards, token)) };
        // The file may have changed before the guard was in force.
        Ok(guarded.mapping.file.is_unchanged()?.then_some(guarded))
    }

    /// The bytes of the file.
    pub fn as_slice(&self) -> &[u8] {
        let FileMapping { whole, len, .. } = &*self.mapping;
        // SAFETY: `len` bytes of the mapping lie in the file, whose size and bytes do not change while the guard is in
        // force; before it ends, the pages are replaced by copies at the same addresses. No page is written.
        unsafe { core::slice::from_raw_parts(whole.start().as_ptr(), *len) }
    }

    /// The stamp of the file.
    pub fn stamp(&self) -> FileStamp {
        self.mapping.file.stamp()
    }

    /// Publishes an image, as [`WritablePages::publish`], of which `parts`, in ascending order and never written to, are
    /// pages of this file.
    ///
    /// # Errors
    /// As [`WritablePages::publish`]; [`MemoryError::SegmentOutside`] for a part that is not inside the pages.
    pub(crate) fn publish(
        file: &TryArc<Self>,
        mut pages: WritablePages,
        segments: &[Segment],
        parts: &[FilePart],
    ) -> Result<FileBackedPages> {
        let len = file.as_slice().len();
        let refused = MemoryError::OutOfMemory { size: len as u64 };
        for (index, part) in parts.iter().enumerate() {
            let (offset, size) = (part.offset.bytes(), part.size.bytes());
            let end = part.offset.checked_add(part.size).filter(|end| *end <= pages.size());
            end.ok_or(MemoryError::SegmentOutside { index, offset, size, len })?;
        }
        let mut state = file.mapping.lock().ok_or(refused)?;
        if state.is_private || !file.mapping.file.process().is_current() {
            // The file has changed meanwhile, or its descriptor is that of a parent. These bytes have not changed.
            parts.iter().for_each(|part| file.copy_part(part, pages.as_mut_slice()));
            let pages = pages.publish(segments)?;
            return Ok(FileBackedPages { pages, file: file.clone() });
        }
        state.overlays.try_reserve(parts.len()).map_err(|_| refused)?;
        let holes = parts.iter().map(FilePart::range);
        let pages = pages.publish_around(segments, holes)?;
        let mapped = parts.iter().try_for_each(|part| {
            let overlay = file.map_over(&pages, part)?;
            state.overlays.push(overlay);
            Ok(())
        });
        drop(state);
        let backed = FileBackedPages { pages, file: file.clone() };
        mapped.map(|()| backed)
    }

    fn copy_part(&self, part: &FilePart, into: &mut [u8]) {
        let from = usize::try_from(part.file_offset).ok().and_then(|at| self.as_slice().get(at..));
        // Behind the end of the file, the last page is zero.
        let from = from.map(|from| from.get(..part.size.bytes()).unwrap_or(from));
        let into = into.get_mut(part.offset.bytes()..);
        if let Some((from, into)) = from.zip(into)
            && let Some(into) = into.get_mut(..from.len())
        {
            into.copy_from_slice(from);
        }
    }

    /// Maps a part over published pages, inside which it lies, and which no code uses yet.
    fn map_over(&self, pages: &PublishedPages, part: &FilePart) -> Result<Overlay> {
        let FilePart { offset, size, file_offset, protection } = *part;
        let start = pages.as_ptr().wrapping_add(offset.bytes());
        let size_bytes = size.bytes();
        let error = |errno| MemoryError::Map { size: size_bytes, errno };
        let start = NonNull::new(start).ok_or_else(|| error(rustix::io::Errno::FAULT.into()))?;
        let file = &self.mapping.file.descriptor;
        // SAFETY: whole pages of the mapping `pages`, which the caller has just published: no reference to them exists,
        // and their addresses are not known to any other code.
        let mapped = unsafe {
            sys::map_file(file, MapFlags::PRIVATE, file_offset, Some(start), size_bytes, protection)
        };
        mapped.map_err(error)?;
        Ok(Overlay { start, size, protection })
    }
}

impl AsRef<[u8]> for GuardedFile {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for GuardedFile {
    fn drop(&mut self) {
        if let Some((guards, token)) = self.guard {
            // SAFETY: the token is that of the guard, and the mapping is lent no longer than this value.
            unsafe { guards.release(token) };
        }
    }
}

impl fmt::Debug for GuardedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedFile").field("stamp", &self.stamp()).finish_non_exhaustive()
    }
}

/// The pages of an image, some of which are those of a file. Dropping it unmaps them.
#[derive(Debug)]
pub(crate) struct FileBackedPages {
    pages: PublishedPages,
    file: TryArc<GuardedFile>,
}

impl FileBackedPages {
    pub(crate) fn pages(&self) -> &PublishedPages {
        &self.pages
    }
}

impl Drop for FileBackedPages {
    fn drop(&mut self) {
        // Before other mappings may get the addresses.
        self.file.mapping.forget(self.pages.address(), self.pages.size());
    }
}

/// The bytes of a file that was opened for loading.
#[derive(Debug)]
pub enum FileContents {
    /// Mapped.
    Mapped(GuardedFile),
    /// Copied to the heap.
    Copied(FileBytes),
}

impl FileContents {
    /// Opens the file at `path`, of at most `limit` bytes, as `policy` says.
    ///
    /// # Errors
    /// As [`FileBytes::read`].
    pub fn open(
        path: &[u8],
        limit: u64,
        policy: FilePolicy,
        guards: &'static dyn FileGuards,
    ) -> Result<Self> {
        let file = OpenFile::open(path)?;
        let size = file.stamp().size;
        if size > limit {
            return Err(MemoryError::FileTooLarge { size, limit });
        }
        if size >= MIN_MAPPED {
            let way = Way::of(&file, policy, guards);
            if way != Way::Copy {
                return match GuardedFile::map(file, way, guards)? {
                    Some(mapped) => Ok(Self::Mapped(mapped)),
                    None => Self::open(path, limit, FilePolicy::Copy, guards),
                };
            }
            if let Some(copy) = sealed_copy(&file)?
                && let Some(mapped) = GuardedFile::map(copy, Way::Stable, guards)?
            {
                return Ok(Self::Mapped(mapped));
            }
        }
        file.copy(FileRange::WHOLE, limit, &[], CopyTo::Allocator).map(Self::Copied)
    }
}

/// How a large file gets into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It does not change.
    Stable,
    /// The host guards it.
    Guarded,
    /// It is copied.
    Copy,
}

/// `f_type` of file systems without writers: squashfs and erofs.
const READ_ONLY: [u64; 2] = [0x7371_7368, 0xe0f5_e1e2];

/// `f_type` of tmpfs, to which memory files belong.
const TMPFS: u64 = 0x0102_1994;

impl Way {
    fn of(file: &OpenFile, policy: FilePolicy, guards: &dyn FileGuards) -> Self {
        match policy {
            FilePolicy::Copy => return Self::Copy,
            FilePolicy::Map(_) => return Self::Stable,
            FilePolicy::Auto => {}
        }
        let descriptor = &file.descriptor;
        let Ok(kind) = sys::file_system(descriptor) else { return Self::Copy };
        // The kernel does not count the writers of a memory file.
        let is_linked = || sys::status(descriptor).is_ok_and(|status| status.is_linked);
        if READ_ONLY.contains(&kind) || kind == TMPFS && sys::is_sealed(descriptor) {
            Self::Stable
        } else if guards.accepts(descriptor.as_fd(), kind) && (kind != TMPFS || is_linked()) {
            Self::Guarded
        } else if kind != TMPFS && sys::has_verity(descriptor) {
            Self::Stable
        } else {
            Self::Copy
        }
    }
}

/// A copy of a file, with its stamp, in a sealed memory file. `None` if the system has none of this size, or if the file is
/// being changed.
fn sealed_copy(file: &OpenFile) -> Result<Option<OpenFile>> {
    let size = file.stamp().size;
    if !file.is_settled() {
        return Ok(None);
    }
    let Ok(copy) = memory_file::create(c"smf-module", size) else { return Ok(None) };
    if size >= LARGE {
        sys::wait_for_writes(&file.descriptor);
    }
    let mut at = 0;
    while at < size {
        let rest = usize::try_from(size - at).unwrap_or(usize::MAX);
        match sys::send(&file.descriptor, at, rest, &copy) {
            Ok(sent @ 1..) => at += sent as u64,
            Err(errno) if errno == rustix::io::Errno::IO => {
                return Err(MemoryError::Read { at, errno });
            }
            // It has been truncated, or the file system does not support the call.
            _ => return Ok(None),
        }
    }
    let is_whole = file.is_unchanged()? && sys::seal(&copy, false).is_ok();
    Ok(is_whole.then(|| file.copied_to(copy)))
}

#[cfg(test)]
#[path = "tests/guarded_file.rs"]
mod tests;
