//! Memory with an owner: a copy of a file, anonymous memory, or the pages of a file.
//!
//! [`Mapping::copy`] and [`Mapping::anonymous`] are safe: the memory belongs to this process. The pages of a file do
//! not: if another process truncates the file, an access raises SIGBUS, and if it writes to the file, the bytes change
//! under a reference. So [`Mapping::map`] is unsafe.
#![allow(unsafe_code)]

use core::fmt;
use core::slice;

use super::file::{CopyTo, FileBytes, OpenFile};
use super::page_count::PageCount;
use super::pages::WritablePages;
use super::region::Region;
use super::sys;
use super::types::{Advice, FileAccess, FileRange, FileStamp, MemoryError, Placement};

/// Memory and its owner. Dropping it unmaps or frees the memory.
///
/// ```
/// use smf_core::memory::Mapping;
///
/// let mut memory = Mapping::anonymous(5000)?;
/// assert!(memory.iter().all(|&byte| byte == 0));
/// memory.as_mut_slice().expect("anonymous memory is writable").fill(1);
/// # Ok::<(), smf_core::memory::MemoryError>(())
/// ```
pub struct Mapping {
    memory: Memory,
}

enum Memory {
    Copy(FileBytes),
    Anonymous { pages: WritablePages, len: usize },
    File(FilePages),
}

/// A range of a file in the file's own pages.
struct FilePages {
    region: Region,
    /// Bytes before the range in its first page.
    lead: usize,
    len: usize,
    access: FileAccess,
    stamp: FileStamp,
}

impl Mapping {
    /// The size in bytes up to which copying a file is cheaper than mapping and reading it.
    pub const COPY_THRESHOLD: u64 = 2 << 20;

    /// Copies a range of the file at `path`, of at most `limit` bytes, as [`FileBytes::read_range`].
    ///
    /// # Errors
    /// As [`FileBytes::read_range`].
    pub fn copy(path: &[u8], range: FileRange, limit: u64) -> Result<Self, MemoryError> {
        let copy = FileBytes::read_range(path, range, limit)?;
        Ok(Self { memory: Memory::Copy(copy) })
    }

    /// Maps `len` zero bytes, readable and writable.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`].
    pub fn anonymous(len: u64) -> Result<Self, MemoryError> {
        let pages = WritablePages::allocate(PageCount::covering(len)?, Placement::Anywhere)?;
        let len = usize::try_from(len).map_err(|_| MemoryError::TooManyBytes { bytes: len })?;
        Ok(Self { memory: Memory::Anonymous { pages, len } })
    }

    /// Maps a range of the file at `path` without a copy.
    ///
    /// # Errors
    /// Those of [`FileBytes::read_range`] about opening and the range; [`MemoryError::Map`].
    ///
    /// # Safety
    /// While the value lives,
    ///
    /// * no process, including this one, truncates the file (an access would raise SIGBUS),
    /// * no process writes to it, through a descriptor or another mapping (a reference would observe it),
    /// * the storage device does not fail (an access would raise SIGBUS).
    ///
    /// Renaming another file over it, or deleting it, is allowed. The kernel enforces none of this. Intended are
    /// files on a local disk that only an administrator can write.
    pub unsafe fn map(
        path: &[u8],
        range: FileRange,
        access: FileAccess,
    ) -> Result<Self, MemoryError> {
        let file = match access {
            FileAccess::WriteShared => OpenFile::open_writable(path),
            _ => OpenFile::open(path),
        }?;
        FilePages::map(&file, range, access).map(|pages| Self { memory: Memory::File(pages) })
    }

    /// [Copies](Self::copy) a range of at most `threshold` bytes (see [`COPY_THRESHOLD`](Self::COPY_THRESHOLD)) and
    /// [maps](Self::map) a larger one for reading.
    ///
    /// # Errors
    /// As [`copy`](Self::copy) and [`map`](Self::map).
    ///
    /// # Safety
    /// As [`map`](Self::map), if the range is larger.
    pub unsafe fn map_above(
        threshold: u64,
        path: &[u8],
        range: FileRange,
    ) -> Result<Self, MemoryError> {
        let file = OpenFile::open(path)?;
        if range.length_in(file.stamp().size)? > threshold {
            let pages = FilePages::map(&file, range, FileAccess::Read)?;
            return Ok(Self { memory: Memory::File(pages) });
        }
        let copy = file.copy(range, threshold, &[], CopyTo::Allocator)?;
        Ok(Self { memory: Memory::Copy(copy) })
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.memory {
            Memory::Copy(bytes) => bytes,
            Memory::Anonymous { pages, len } => pages.as_slice().get(..*len).unwrap_or(&[]),
            Memory::File(pages) => pages.as_slice(),
        }
    }

    /// The bytes, if they are writable: those of [`anonymous`](Self::anonymous) memory and of a file mapped for writing.
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        match &mut self.memory {
            Memory::Anonymous { pages, len } => pages.as_mut_slice().get_mut(..*len),
            Memory::File(pages) if pages.access != FileAccess::Read => Some(pages.as_mut_slice()),
            _ => None,
        }
    }

    /// The stamp of the file when it was read or mapped; `None` for anonymous memory.
    pub fn stamp(&self) -> Option<FileStamp> {
        match &self.memory {
            Memory::Copy(bytes) => Some(bytes.stamp()),
            Memory::Anonymous { .. } => None,
            Memory::File(pages) => Some(pages.stamp),
        }
    }

    /// Whether the bytes are the pages of a file, which depend on the contract of [`map`](Self::map).
    pub fn is_shared_with_file(&self) -> bool {
        matches!(self.memory, Memory::File(_))
    }

    /// Advises the kernel about the access pattern. A copy is memory of the allocator and is not affected.
    ///
    /// # Errors
    /// [`MemoryError::Manage`].
    pub fn advise(&self, advice: Advice) -> Result<(), MemoryError> {
        self.manage(|region| region.advise(&(0..region.size().bytes()), advice))
    }

    /// Locks the pages in memory (`mlock(2)`, counted against `RLIMIT_MEMLOCK`) or unlocks them. A copy is memory of
    /// the allocator and is not affected.
    ///
    /// # Errors
    /// [`MemoryError::Manage`].
    pub fn lock(&self, locked: bool) -> Result<(), MemoryError> {
        self.manage(|region| region.lock(&(0..region.size().bytes()), locked))
    }

    /// Writes changes made through [`FileAccess::WriteShared`] to the file; with `wait`, it returns after they are on
    /// the storage device. Other memory has none.
    ///
    /// # Errors
    /// [`MemoryError::Manage`].
    pub fn sync(&self, wait: bool) -> Result<(), MemoryError> {
        match &self.memory {
            Memory::File(FilePages { region, access: FileAccess::WriteShared, .. }) => {
                region.sync(&(0..region.size().bytes()), wait)
            }
            _ => Ok(()),
        }
    }

    fn manage(
        &self,
        call: impl FnOnce(&Region) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        match &self.memory {
            Memory::Copy(_) => Ok(()),
            Memory::Anonymous { pages, .. } => call(pages.region()),
            Memory::File(pages) => call(&pages.region),
        }
    }
}

impl core::ops::Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.is_shared_with_file();
        f.debug_struct("Mapping").field("len", &self.len()).field("shared", &shared).finish()
    }
}

impl FilePages {
    fn map(file: &OpenFile, range: FileRange, access: FileAccess) -> Result<Self, MemoryError> {
        let stamp = file.stamp();
        let length = range.length_in(stamp.size)?;
        let too_many = MemoryError::TooManyBytes { bytes: length };
        let page = sys::page_size() as u64;
        let lead = range.offset % page;
        let spanned = length.checked_add(lead).ok_or(too_many)?;
        let size = if length == 0 { PageCount::ZERO } else { PageCount::covering(spanned)? };
        let region = Region::map_file(file.descriptor(), range.offset - lead, size, access)?;
        let (lead, len) = (usize::try_from(lead), usize::try_from(length));
        let (lead, len) = (lead.map_err(|_| too_many)?, len.map_err(|_| too_many)?);
        Ok(Self { region, lead, len, access, stamp })
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        let size = self.region.size().bytes();
        // SAFETY: the region is readable and has `size` bytes; the caller of `Mapping::map` guarantees that its
        // pages exist and do not change.
        let whole = unsafe { slice::from_raw_parts(self.region.start().as_ptr(), size) };
        whole.get(self.lead..).and_then(|range| range.get(..self.len)).unwrap_or(&[])
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let size = self.region.size().bytes();
        // SAFETY: as in `as_slice`; the access is writable, and `&mut self` makes the slice the only access in this
        // process.
        let whole = unsafe { slice::from_raw_parts_mut(self.region.start().as_ptr(), size) };
        whole.get_mut(self.lead..).and_then(|range| range.get_mut(..self.len)).unwrap_or(&mut [])
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault_injection::{self, Call};
    use super::super::testing::{alone, maps};
    use super::*;
    use rustix::io::Errno;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::{env, format, fs, process, vec::Vec};

    fn file(name: &str, len: usize) -> (PathBuf, Vec<u8>) {
        let path = env::temp_dir().join(format!("smf-map-{name}-{}", process::id()));
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn map(path: &Path, offset: u64, length: Option<u64>, access: FileAccess) -> Mapping {
        let range = FileRange { offset, length };
        // SAFETY: only this test uses the file.
        unsafe { Mapping::map(path.as_os_str().as_bytes(), range, access) }.unwrap()
    }

    #[test]
    fn mapped_range_holds_the_bytes_of_the_file() {
        let (path, bytes) = file("part", 20_000);
        for (offset, length) in [(0, None), (1, None), (4096, Some(1)), (4095, Some(8193))] {
            let mapped = map(&path, offset, length, FileAccess::Read);
            let rest = &bytes[offset as usize..];
            let expected = length.map_or(rest, |length| &rest[..length as usize]);
            assert!(*mapped == *expected && mapped.is_shared_with_file());
            for advice in [Advice::Normal, Advice::Random, Advice::Sequential, Advice::WillNeed] {
                mapped.advise(advice).unwrap();
            }
            let part = FileRange { offset, length };
            let copy = Mapping::copy(path.as_os_str().as_bytes(), part, 1 << 20).unwrap();
            assert!(*copy == *expected && copy.stamp() == mapped.stamp());
        }
        for at in [0, 5000, 20_000] {
            assert!(
                map(&path, at, Some(0), FileAccess::Read).is_empty(),
                "an empty range makes no mapping"
            );
        }
        let outside = FileRange { offset: 1, length: Some(20_000) };
        // SAFETY: as in `map`.
        let error = unsafe { Mapping::map(path.as_os_str().as_bytes(), outside, FileAccess::Read) };
        let expected = MemoryError::RangeOutside { offset: 1, length: 20_000, size: 20_000 };
        assert_eq!(error.unwrap_err(), expected);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn map_above_copies_up_to_the_threshold_and_maps_above() {
        let (path, bytes) = file("threshold", 9000);
        for (threshold, shared) in [(0, true), (8999, true), (9000, false), (u64::MAX, false)] {
            let path = path.as_os_str().as_bytes();
            // SAFETY: as in `map`.
            let mapping = unsafe { Mapping::map_above(threshold, path, FileRange::WHOLE) }.unwrap();
            assert_eq!(mapping.is_shared_with_file(), shared);
            assert!(*mapping == *bytes);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn private_writes_stay_and_shared_writes_reach_the_file() {
        let (path, bytes) = file("write", 5000);
        let mut private = map(&path, 10, None, FileAccess::WritePrivate);
        private.as_mut_slice().unwrap().fill(0xaa);
        assert!(private.iter().all(|&byte| byte == 0xaa));
        assert!(fs::read(&path).unwrap() == bytes);
        private.sync(true).unwrap();
        drop(private);
        let mut shared = map(&path, 4990, Some(4), FileAccess::WriteShared);
        shared.as_mut_slice().unwrap().copy_from_slice(b"DATA");
        shared.sync(true).unwrap();
        shared.sync(false).unwrap();
        assert!(fs::read(&path).unwrap()[4990..4994] == *b"DATA");
        assert!(map(&path, 0, None, FileAccess::Read).as_mut_slice().is_none());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn anonymous_mapping_is_zero_and_writable() {
        let mut memory = Mapping::anonymous(5000).unwrap();
        assert!(memory.len() == 5000 && memory.iter().all(|&byte| byte == 0));
        memory.as_mut_slice().unwrap().fill(1);
        memory.lock(true).unwrap();
        memory.lock(false).unwrap();
        assert_eq!((memory.stamp(), memory.iter().map(|&b| u32::from(b)).sum()), (None, 5000u32));
        assert!(Mapping::anonymous(0).unwrap().is_empty());
        assert!(matches!(Mapping::anonymous(u64::MAX), Err(MemoryError::TooManyBytes { .. })));
    }

    #[test]
    fn file_mapping_is_never_executable_and_unmapped_on_drop() {
        if !alone("memory::mapping::tests::file_mapping_is_never_executable_and_unmapped_on_drop") {
            return;
        }
        let (path, _) = file("leak", 40_000);
        let before = maps().len();
        for access in [FileAccess::Read, FileAccess::WritePrivate, FileAccess::WriteShared] {
            let mapped = map(&path, 4097, None, access);
            let address = mapped.as_ptr() as usize;
            let line = maps().into_iter().find(|line| line.addresses.contains(&address)).unwrap();
            assert!(!line.access.contains('x'));
        }
        let name = path.as_os_str().as_bytes();
        let fault = fault_injection::inject(Call::Map, 0, Errno::NOMEM);
        // SAFETY: as in `map`.
        let refused = unsafe { Mapping::map(name, FileRange::WHOLE, FileAccess::Read) };
        drop(fault);
        let errno = Errno::NOMEM.into();
        assert_eq!(refused.unwrap_err(), MemoryError::Map { size: 40_960, errno });
        assert_eq!(maps().len(), before);
        fs::remove_file(path).unwrap();
    }
}
