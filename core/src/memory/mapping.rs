//! Pages with an owner: a copy of a file, memory of no file, or a file's own pages.
//!
//! [`Mapping::copy`] and [`Mapping::anonymous`] are safe: what they give belongs to this process
//! alone. A file's own pages do not. Whoever truncates the file makes touching them a SIGBUS, and
//! whoever writes to it changes them under a reference; nothing that this process can do prevents
//! either. So [`Mapping::map`] is unsafe and names what it asks of its caller.
//!
//! Where the file's own pages begin to be worth it, measured on files in the page cache (open, stat,
//! get the bytes, look at every line, give back; median of 1,000): see [`Mapping::BORDER`].
#![allow(unsafe_code)]

use core::{fmt, ptr::NonNull, slice};

use super::file::{CopyTo, FileBytes, OpenFile};
use super::page_count::PageCount;
use super::pages::WritablePages;
use super::region::Region;
use super::sys;
use super::types::{Advice, Errno, FileAccess, FileRange, FileStamp, MemoryError, Placement};

/// Pages and their owner. Dropping it unmaps them.
pub struct Mapping {
    backing: Backing,
}

enum Backing {
    Copy(FileBytes),
    Anonymous { pages: WritablePages, len: usize },
    File(FilePages),
}

/// A part of a file in the file's own pages.
struct FilePages {
    region: Region,
    /// Bytes in front of the part in its first page.
    lead: usize,
    len: usize,
    access: FileAccess,
    stamp: FileStamp,
}

impl Mapping {
    /// The size in bytes up to which a copy is cheaper than a file's own pages.
    ///
    /// | bytes  | copy    | own pages |
    /// |--------|---------|-----------|
    /// | 4 KiB  | 3.1 us  | 9.3 us    |
    /// | 64 KiB | 4.4 us  | 10.8 us   |
    /// | 1 MiB  | 31 us   | 47 us     |
    /// | 4 MiB  | 135 us  | 62 us     |
    /// | 16 MiB | 878 us  | 191 us    |
    /// | 64 MiB | 36.8 ms | 1.9 ms    |
    pub const BORDER: u64 = 2 << 20;

    /// A private copy of a part of the file at `path`, of at most `limit` bytes: what
    /// [`FileBytes::read_range`] gives.
    ///
    /// # Errors
    ///
    /// As [`FileBytes::read_range`].
    pub fn copy(path: &[u8], range: FileRange, limit: u64) -> Result<Self, MemoryError> {
        let copy = FileBytes::read_range(path, range, limit)?;
        Ok(Self { backing: Backing::Copy(copy) })
    }

    /// `len` zero bytes of no file, readable and writable.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`].
    pub fn anonymous(len: u64) -> Result<Self, MemoryError> {
        let pages = WritablePages::allocate(PageCount::covering(len)?, Placement::Anywhere)?;
        let len = usize::try_from(len).map_err(|_| MemoryError::TooManyBytes { bytes: len })?;
        Ok(Self { backing: Backing::Anonymous { pages, len } })
    }

    /// A part of the file at `path` in the file's own pages, without a copy.
    ///
    /// # Errors
    ///
    /// Those of [`FileBytes::read_range`] about opening and the range; [`MemoryError::Map`].
    ///
    /// # Safety
    ///
    /// As long as the value lives, no process, this one included,
    ///
    /// * makes the file shorter (touching the lost pages raises SIGBUS),
    /// * writes to it, through a descriptor or another mapping (a reference would see it change).
    ///
    /// Nor may the medium fail, which raises SIGBUS as well. To replace the file by renaming another
    /// over it, or to delete it, is no harm. The kernel watches over none of this; a file that only
    /// an administrator can write, on a local disk, is what it is meant for.
    pub unsafe fn map(
        path: &[u8],
        range: FileRange,
        access: FileAccess,
    ) -> Result<Self, MemoryError> {
        let file = match access {
            FileAccess::WriteShared => OpenFile::open_writable(path),
            _ => OpenFile::open(path),
        }?;
        FilePages::map(&file, range, access).map(|pages| Self { backing: Backing::File(pages) })
    }

    /// [`copy`](Self::copy) when the part has at most `border` bytes (see [`BORDER`](Self::BORDER)),
    /// else [`map`](Self::map) for reading.
    ///
    /// # Errors
    ///
    /// As those two.
    ///
    /// # Safety
    ///
    /// As [`map`](Self::map), should the file be larger.
    pub unsafe fn map_above(
        border: u64,
        path: &[u8],
        range: FileRange,
    ) -> Result<Self, MemoryError> {
        let file = OpenFile::open(path)?;
        if range.length_in(file.stamp().size)? > border {
            let pages = FilePages::map(&file, range, FileAccess::Read)?;
            return Ok(Self { backing: Backing::File(pages) });
        }
        let copy = file.copy(range, border, &[], CopyTo::Allocator)?;
        Ok(Self { backing: Backing::Copy(copy) })
    }

    /// The bytes, read-only.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.backing {
            Backing::Copy(bytes) => bytes,
            Backing::Anonymous { pages, len } => pages.as_slice().get(..*len).unwrap_or(&[]),
            Backing::File(pages) => pages.as_slice(),
        }
    }

    /// The bytes, to be written: those of [`anonymous`](Self::anonymous) and of a file mapped for
    /// writing; `None` for the read-only rest.
    pub fn as_mut_slice(&mut self) -> Option<&mut [u8]> {
        match &mut self.backing {
            Backing::Anonymous { pages, len } => pages.as_mut_slice().get_mut(..*len),
            Backing::File(pages) if pages.access != FileAccess::Read => Some(pages.as_mut_slice()),
            _ => None,
        }
    }

    /// What the file was when it was read or mapped; `None` without a file.
    pub fn stamp(&self) -> Option<FileStamp> {
        match &self.backing {
            Backing::Copy(bytes) => Some(bytes.stamp()),
            Backing::Anonymous { .. } => None,
            Backing::File(pages) => Some(pages.stamp),
        }
    }

    /// Whether the bytes are a file's own, and only as sure as the promise made for them.
    pub fn is_shared_with_file(&self) -> bool {
        matches!(self.backing, Backing::File(_))
    }

    /// Tells the kernel how the pages will be used. A copy in the allocator's memory has none.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Manage`].
    pub fn advise(&self, advice: Advice) -> Result<(), MemoryError> {
        // SAFETY: whole pages of one live mapping; no such advice discards anything.
        self.manage(|start, len| unsafe { sys::advise(start, len, advice.into()) })
    }

    /// Keeps the bytes in memory (`mlock(2)`, Linux counts it against `RLIMIT_MEMLOCK`), or lets them
    /// go again.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Manage`].
    pub fn lock(&self, locked: bool) -> Result<(), MemoryError> {
        // SAFETY: whole pages of one live mapping.
        self.manage(|start, len| unsafe { sys::lock(start, len, locked) })
    }

    /// Writes what was changed through [`FileAccess::WriteShared`] to the file; with `wait`, returns when
    /// the medium has it. Nothing to do for any other.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Manage`].
    pub fn sync(&self, wait: bool) -> Result<(), MemoryError> {
        match &self.backing {
            Backing::File(pages) if pages.access == FileAccess::WriteShared => {
                // SAFETY: whole pages of one live mapping.
                self.manage(|start, len| unsafe { sys::sync(start, len, wait) })
            }
            _ => Ok(()),
        }
    }

    /// Makes a call on the pages that the bytes lie in.
    fn manage(
        &self,
        call: impl FnOnce(NonNull<u8>, usize) -> Result<(), Errno>,
    ) -> Result<(), MemoryError> {
        let bytes = match &self.backing {
            Backing::Copy(bytes) => bytes,
            Backing::Anonymous { pages, .. } => pages.as_slice(),
            Backing::File(pages) => pages.whole(),
        };
        // Those of the allocator are not ours to advise; the kernel would round them to whole pages.
        if bytes.is_empty() || matches!(self.backing, Backing::Copy(_)) {
            return Ok(());
        }
        let (address, size) = (bytes.as_ptr() as usize, bytes.len());
        call(NonNull::from(bytes).cast(), size).map_err(|errno| MemoryError::Manage {
            address,
            size,
            errno,
        })
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

    /// Every page.
    fn whole(&self) -> &[u8] {
        // SAFETY: the region is readable and as long as its size; that its pages are there and do
        // not change is what the caller of `Mapping::map` promised.
        unsafe { slice::from_raw_parts(self.region.start().as_ptr(), self.region.size().bytes()) }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        self.whole().get(self.lead..).and_then(|part| part.get(..self.len)).unwrap_or(&[])
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let size = self.region.size().bytes();
        // SAFETY: as in `whole`; the access is one for writing, and `&mut self` makes the slice the
        // only way to the bytes in this process.
        let whole = unsafe { slice::from_raw_parts_mut(self.region.start().as_ptr(), size) };
        whole.get_mut(self.lead..).and_then(|part| part.get_mut(..self.len)).unwrap_or(&mut [])
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
        // SAFETY: nobody but the test knows the file.
        unsafe { Mapping::map(path.as_os_str().as_bytes(), range, access) }.unwrap()
    }

    #[test]
    fn any_part_reads_as_the_file_does() {
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
                "without a mapping at all"
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
    fn the_border_decides_between_copy_and_pages() {
        let (path, bytes) = file("border", 9000);
        for (border, shared) in [(0, true), (8999, true), (9000, false), (u64::MAX, false)] {
            let path = path.as_os_str().as_bytes();
            // SAFETY: as in `map`.
            let mapping = unsafe { Mapping::map_above(border, path, FileRange::WHOLE) }.unwrap();
            assert_eq!(mapping.is_shared_with_file(), shared);
            assert!(*mapping == *bytes);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_written_goes_where_the_access_says() {
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
    fn memory_of_no_file_is_zero_and_writable() {
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
    fn no_part_of_a_file_is_executable_and_nothing_stays_mapped() {
        if !alone(
            "memory::mapping::tests::no_part_of_a_file_is_executable_and_nothing_stays_mapped",
        ) {
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
