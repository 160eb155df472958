//! Pages whose address is given to somebody who is not bound by Rust's rules: a program in C.
//!
//! No reference to a byte of them is ever made, and [`FfiMapping::read`] raises no signal, whatever
//! becomes of the file: it copies bytes out of memory that nobody can take away, or asks the kernel.
//!
//! | kind | the bytes are in | `read` | touching the address directly |
//! |---|---|---|---|
//! | [`copy`](FfiMapping::copy) | pages of this process alone, filled once | copies | safe |
//! | [`zeroed`](FfiMapping::zeroed) | as above | copies | safe |
//! | [`share`](FfiMapping::share) | the file's own pages | `pread(2)` | SIGBUS where the file has been cut off |
//! | [`share_zeroed`](FfiMapping::share_zeroed) | a memory file whose size is sealed | `pread(2)` | safe |
//!
//! # Why `pread` on the file, which is kept open
//!
//! The page cache is one: what is stored through a shared mapping is what `pread` gives, and the other
//! way round (mmap(2); POSIX wants `msync` between them, Linux does not). `process_vm_readv(2)` of
//! oneself, the other call that reports a lost page instead of raising the signal, pins each page
//! first, is missing from some kernels and forbidden in some containers, and must be kept from memory
//! that another thread unmaps; `pread` touches no address but that of its result. Measured, the file in
//! the page cache (minimum of 40 batches, ns):
//!
//! | bytes | memcpy from the mapping, unsafe | `pread` | `process_vm_readv` |
//! |---|---|---|---|
//! | 16 | 2 | 326 | 880 |
//! | 4 KiB | 47 | 374 | 933 |
//! | 64 KiB | 804 | 1,402 | 2,135 |
//! | 1 MiB | 17,579 | 19,354 | 22,381 |
//! | 16 MiB | 500,815 | 594,648 | 601,853 |
//!
//! What it costs is a descriptor for each shared mapping.
#![allow(unsafe_code)]

use core::ops::Range;
use core::ptr::NonNull;

use rustix::fd::OwnedFd;
use rustix::mm::Advice as Raw;

use super::file::OpenFile;
use super::page_count::PageCount;
use super::pages::{PublishedPages, Segment, WritablePages};
use super::region::Region;
use super::sys::{self, MemoryFile};
use super::types::{Advice, Errno, FileRange, MemoryError, Placement, Protection};

/// Pages and their owner, known to others by their address. Dropping it unmaps them.
#[derive(Debug)]
pub struct FfiMapping {
    backing: Backing,
    /// Bytes of the part; the last page may have more.
    len: usize,
    protection: Protection,
}

#[derive(Debug)]
enum Backing {
    /// A copy of a file.
    Copy(PublishedPages),
    /// Memory of no file.
    Zeroed(PublishedPages),
    /// The pages of `file` from `offset`.
    Shared { region: Region, file: OwnedFd, offset: u64 },
}

impl FfiMapping {
    /// A private copy of a part of the file at `path`, of at most `limit` bytes, as
    /// [`FileBytes::read_range`](super::FileBytes::read_range) makes it. Nothing that happens to the
    /// file afterwards changes it.
    ///
    /// # Errors
    /// As `FileBytes::read_range`; [`MemoryError::Protect`], [`MemoryError::Synchronize`].
    pub fn copy(
        path: &[u8],
        range: FileRange,
        limit: u64,
        protection: Protection,
    ) -> Result<Self, MemoryError> {
        let file = OpenFile::open(path)?;
        let (pages, len) = file.copy_to_pages(range, limit)?;
        Ok(Self { backing: Backing::Copy(protect(pages, protection)?), len, protection })
    }

    /// `len` zero bytes of this process alone.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`], [`MemoryError::Protect`].
    pub fn zeroed(len: u64, protection: Protection) -> Result<Self, MemoryError> {
        let pages = WritablePages::allocate(PageCount::covering(len)?, Placement::Anywhere)?;
        let len = usize::try_from(len).map_err(|_| MemoryError::TooManyBytes { bytes: len })?;
        Ok(Self { backing: Backing::Zeroed(protect(pages, protection)?), len, protection })
    }

    /// A part of the file at `path` in the file's own pages. `range` begins with a page. What is
    /// written to the pages goes to the file.
    ///
    /// # Errors
    /// Those of `FileBytes::read_range` about opening and the range; [`MemoryError::Map`];
    /// [`MemoryError::SharedCode`].
    pub fn share(
        path: &[u8],
        range: FileRange,
        protection: Protection,
    ) -> Result<Self, MemoryError> {
        let file = match protection {
            Protection::ReadExecute => return Err(MemoryError::SharedCode),
            Protection::ReadWrite => OpenFile::open_writable(path),
            _ => OpenFile::open(path),
        }?;
        let length = range.length_in(file.stamp().size)?;
        Self::shared(file.into_descriptor(), range.offset, length, protection)
    }

    /// `len` zero bytes that child processes share.
    ///
    /// # Errors
    /// [`MemoryError::TooManyBytes`], [`MemoryError::Map`], [`MemoryError::SharedCode`].
    pub fn share_zeroed(len: u64, protection: Protection) -> Result<Self, MemoryError> {
        if protection == Protection::ReadExecute {
            return Err(MemoryError::SharedCode);
        }
        // Larger than the process could map: said before there is a file.
        let size = PageCount::covering(len)?.bytes();
        let no_memory = |errno| MemoryError::Map { size, errno };
        let file = memory_file(size).map_err(no_memory)?;
        Self::shared(file, 0, len, protection)
    }

    fn shared(
        file: OwnedFd,
        offset: u64,
        length: u64,
        protection: Protection,
    ) -> Result<Self, MemoryError> {
        let size = if length == 0 { PageCount::ZERO } else { PageCount::covering(length)? };
        let region = Region::map_shared(&file, offset, size, protection)?;
        let len = usize::try_from(length);
        let len = len.map_err(|_| MemoryError::TooManyBytes { bytes: length })?;
        Ok(Self { backing: Backing::Shared { region, file, offset }, len, protection })
    }

    /// The address of the first byte, a multiple of the page size. Means nothing when there is none.
    #[inline]
    pub fn address(&self) -> usize {
        self.start().addr().get()
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What may be done with the bytes at their address.
    #[inline]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Fills `into` with the bytes from `offset`. What somebody writes to them meanwhile, at their
    /// address or to the file, may or may not be seen.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`]; [`MemoryError::NotReadable`]; [`MemoryError::Truncated`] when the
    /// file ends before the range, and [`MemoryError::Read`] when its file system fails.
    pub fn read(&self, mut offset: usize, mut into: &mut [u8]) -> Result<(), MemoryError> {
        self.check(&(offset..offset.saturating_add(into.len())))?;
        while !into.is_empty() {
            let count = self.read_some(offset, into)?;
            into = into.get_mut(count..).unwrap_or_default();
            offset += count;
        }
        Ok(())
    }

    /// As [`read`](Self::read), but may fill a part of `into` only; returns how much, at least one
    /// byte unless `into` has none.
    ///
    /// # Errors
    /// As [`read`](Self::read), [`MemoryError::Truncated`] when the file ends before the first byte.
    pub fn read_some(&self, offset: usize, into: &mut [u8]) -> Result<usize, MemoryError> {
        self.check(&(offset..offset.saturating_add(into.len())))?;
        if self.protection == Protection::None {
            return Err(MemoryError::NotReadable { address: self.address() });
        }
        match &self.backing {
            Backing::Copy(pages) | Backing::Zeroed(pages) => copy_out(pages, offset, into),
            Backing::Shared { file, offset: begin, .. } => {
                let at = begin.saturating_add(offset as u64);
                let count = sys::read_at(file, at, into);
                let count = count.map_err(|errno| MemoryError::Read { at, errno })?;
                if count == 0 && !into.is_empty() {
                    return Err(MemoryError::Truncated { at });
                }
                return Ok(count);
            }
        }
        Ok(into.len())
    }

    fn check(&self, range: &Range<usize>) -> Result<(), MemoryError> {
        if range.start <= range.end && range.end <= self.len {
            return Ok(());
        }
        let (offset, length) = (range.start as u64, range.len() as u64);
        Err(MemoryError::RangeOutside { offset, length, size: self.len as u64 })
    }

    /// Writes what was changed in a range of the pages of a file to the file; with `wait`, returns when
    /// the medium has it. Nothing to do for memory of this process. The range begins with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn sync(&self, range: Range<usize>, wait: bool) -> Result<(), MemoryError> {
        match self.backing {
            Backing::Shared { .. } => {
                // SAFETY: `manage` hands out pages of this mapping, which is alive.
                self.manage(range, |start, len| unsafe { sys::sync(start, len, wait) })
            }
            _ => self.check(&range),
        }
    }

    /// Keeps a range in memory (`mlock(2)`, counted against `RLIMIT_MEMLOCK`), or lets it go again. The
    /// range begins with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`]. Nothing is kept in memory then.
    pub fn lock(&self, range: Range<usize>, locked: bool) -> Result<(), MemoryError> {
        self.manage(range, |start, len| {
            // SAFETY: `manage` hands out pages of this mapping, which is alive.
            let result = unsafe { sys::lock(start, len, locked) };
            if locked && result.is_err() {
                // Some pages may have been locked before one could not.
                // SAFETY: as above.
                let _ = unsafe { sys::lock(start, len, false) };
            }
            result
        })
    }

    /// Tells the kernel how a range will be used. The range begins with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn advise(&self, range: Range<usize>, advice: Advice) -> Result<(), MemoryError> {
        // SAFETY: `manage` hands out pages of this mapping, which is alive; none of these discards a
        // byte.
        self.manage(range, |start, len| unsafe { sys::advise(start, len, advice.into()) })
    }

    /// Tells the kernel that a range is not needed for now. Only memory of no file and of this process
    /// alone is given back, and reads as zeros afterwards; every other byte stays what it is. The range
    /// begins with a page.
    ///
    /// # Errors
    /// [`MemoryError::RangeOutside`], [`MemoryError::Manage`].
    pub fn give_back(&self, range: Range<usize>) -> Result<(), MemoryError> {
        let copied = matches!(self.backing, Backing::Copy(_));
        let advice = if copied { Raw::LinuxCold } else { Raw::LinuxDontNeed };
        self.manage(range, |start, len| {
            // SAFETY: `manage` hands out pages of this mapping, which is alive; the bytes of zeroed
            // memory are the caller's to lose, and those of a file are in the file.
            let result = unsafe { sys::advise(start, len, advice) };
            // Before Linux 5.4 there is no such advice, and copies need not heed any.
            if copied { Ok(()) } else { result }
        })
    }

    /// Makes a call on a range of the pages.
    fn manage(
        &self,
        range: Range<usize>,
        call: impl FnOnce(NonNull<u8>, usize) -> Result<(), Errno>,
    ) -> Result<(), MemoryError> {
        self.check(&range)?;
        let (address, size) = (self.address().saturating_add(range.start), range.len());
        // SAFETY: the range was found to lie inside the mapping.
        let start = unsafe { self.start().add(range.start) };
        call(start, size).map_err(|errno| MemoryError::Manage { address, size, errno })
    }

    #[inline]
    fn start(&self) -> NonNull<u8> {
        match &self.backing {
            Backing::Copy(pages) | Backing::Zeroed(pages) => pages.start(),
            Backing::Shared { region, .. } => region.start(),
        }
    }
}

/// All pages with one protection.
fn protect(pages: WritablePages, protection: Protection) -> Result<PublishedPages, MemoryError> {
    let size = pages.size();
    pages.publish(&[Segment { offset: PageCount::ZERO, size, protection }])
}

/// Copies bytes of readable pages; the range was found to lie inside.
fn copy_out(pages: &PublishedPages, offset: usize, into: &mut [u8]) {
    // SAFETY: inside the pages.
    let from = unsafe { pages.start().add(offset) };
    // SAFETY: that many bytes are mapped and readable from there on, and no file is behind them that
    // could lose them. A slice that somebody else lends out mutably lies elsewhere.
    unsafe { from.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
}

/// A file of `size` zero bytes, which stays that long.
fn memory_file(size: usize) -> Result<OwnedFd, Errno> {
    const NAME: &core::ffi::CStr = c"smf-shared";
    let file = sys::memory_file(NAME, MemoryFile::NeverRunAsProgram)
        // Which a kernel before 6.3 does not know.
        .or_else(|_| sys::memory_file(NAME, MemoryFile::Plain))?;
    sys::resize(&file, size as u64)?;
    sys::seal(&file, true)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::fault_injection::{self, Call};
    use super::super::testing::{alone, maps};
    use super::*;
    use rustix::io::Errno;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::{env, format, fs, process, vec, vec::Vec};

    fn file(name: &str, len: usize) -> (PathBuf, Vec<u8>) {
        let path = env::temp_dir().join(format!("smf-exposed-{name}-{}", process::id()));
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn share(path: &Path, offset: u64, protection: Protection) -> FfiMapping {
        let range = FileRange { offset, length: None };
        FfiMapping::share(path.as_os_str().as_bytes(), range, protection).unwrap()
    }

    fn copy(path: &Path, offset: u64, protection: Protection) -> FfiMapping {
        let range = FileRange { offset, length: None };
        FfiMapping::copy(path.as_os_str().as_bytes(), range, 1 << 20, protection).unwrap()
    }

    fn read(pages: &FfiMapping, offset: usize, len: usize) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0xee; len];
        pages.read(offset, &mut bytes).map(|()| bytes)
    }

    #[test]
    fn every_part_reads_as_the_file_does_and_nothing_outside() {
        let (path, bytes) = file("part", 10_000);
        for offset in [0, 4096, 8192] {
            let rest = &bytes[offset as usize..];
            for pages in
                [share(&path, offset, Protection::Read), copy(&path, offset, Protection::ReadWrite)]
            {
                assert_eq!((pages.len(), pages.address() % 4096), (rest.len(), 0));
                for (at, len) in [(0, 0), (0, rest.len()), (1, 1700), (rest.len(), 0)] {
                    assert_eq!(read(&pages, at, len).unwrap(), rest[at..at + len]);
                }
                for (at, len) in [(0, rest.len() + 1), (rest.len() + 1, 0), (usize::MAX, 1)] {
                    let outside = MemoryError::RangeOutside {
                        offset: at as u64,
                        length: at.saturating_add(len).saturating_sub(at) as u64,
                        size: rest.len() as u64,
                    };
                    assert_eq!(read(&pages, at, len), Err(outside));
                    assert_eq!(pages.sync(at..at.saturating_add(len), true), Err(outside));
                }
            }
        }
        let hidden = [copy(&path, 0, Protection::None), share(&path, 0, Protection::None)];
        for pages in hidden {
            let address = pages.address();
            assert_eq!(read(&pages, 0, 1), Err(MemoryError::NotReadable { address }));
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_where_it_is_shared() {
        let (path, bytes) = file("cut", 10_000);
        let (shared, copied) =
            (share(&path, 4096, Protection::Read), copy(&path, 4096, Protection::Read));
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(5000).unwrap();
        assert_eq!(read(&shared, 0, 904).unwrap(), bytes[4096..5000]);
        for (at, len) in [(0, 905), (903, 5001), (904, 1), (5000, 1)] {
            let error = MemoryError::Truncated { at: 4096 + at.max(904) as u64 };
            assert_eq!(read(&shared, at, len), Err(error), "{at} {len}");
            assert_eq!(read(&copied, at, len).unwrap(), bytes[4096 + at..4096 + at + len]);
        }
        // Longer again: zeros.
        file.set_len(10_000).unwrap();
        assert_eq!(read(&shared, 904, 5000).unwrap(), [0; 5000]);
        // Another file of that name is not the one that was mapped.
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"new").unwrap();
        assert_eq!(read(&shared, 0, 904).unwrap(), bytes[4096..5000]);
        fs::remove_file(path).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads a file behind what was stored and not synchronised")]
    fn what_is_stored_is_read_and_synchronised() {
        let (path, _) = file("store", 5000);
        let shared = share(&path, 0, Protection::ReadWrite);
        let copied = copy(&path, 0, Protection::ReadWrite);
        let zeroed = FfiMapping::zeroed(5000, Protection::ReadWrite).unwrap();
        let for_children = FfiMapping::share_zeroed(5000, Protection::ReadWrite).unwrap();
        for pages in [&shared, &copied, &zeroed, &for_children] {
            // SAFETY: inside the pages.
            let place = unsafe { pages.start().add(4990) }.cast::<[u8; 4]>();
            // SAFETY: they are writable, and there is no reference to them.
            unsafe { place.write_unaligned(*b"DATA") };
            assert_eq!(read(pages, 4990, 4).unwrap(), *b"DATA");
            for wait in [true, false] {
                pages.sync(0..5000, wait).unwrap();
            }
            for advice in [Advice::Normal, Advice::Random, Advice::Sequential, Advice::WillNeed] {
                pages.advise(4096..5000, advice).unwrap();
            }
            pages.lock(0..5000, true).unwrap();
            pages.lock(0..5000, false).unwrap();
            pages.give_back(0..5000).unwrap();
        }
        assert!(fs::read(&path).unwrap()[4990..4994] == *b"DATA");
        for kept in [&shared, &copied, &for_children] {
            assert_eq!(read(kept, 4990, 4).unwrap(), *b"DATA");
        }
        assert_eq!(read(&zeroed, 4990, 4).unwrap(), [0; 4]);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn nothing_shared_is_executable_and_nothing_stays_mapped_or_open() {
        if !alone(
            "memory::ffi_mapping::tests::nothing_shared_is_executable_and_nothing_stays_mapped_or_open",
        ) {
            return;
        }
        let (path, _) = file("leak", 40_000);
        let name = path.as_os_str().as_bytes();
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = (maps().len(), open());
        for protection in [Protection::None, Protection::Read, Protection::ReadWrite] {
            drop((share(&path, 0, protection), copy(&path, 4096, protection)));
            drop(FfiMapping::zeroed(1, protection).unwrap());
            drop(FfiMapping::share_zeroed(1, protection).unwrap());
        }
        let code = copy(&path, 0, Protection::ReadExecute);
        let line = maps().into_iter().find(|line| line.addresses.contains(&code.address()));
        assert_eq!(line.unwrap().access, "r-x");
        drop(code);
        let refused = FfiMapping::share(name, FileRange::WHOLE, Protection::ReadExecute);
        assert_eq!(refused.unwrap_err(), MemoryError::SharedCode);
        let refused = FfiMapping::share_zeroed(1, Protection::ReadExecute);
        assert_eq!(refused.unwrap_err(), MemoryError::SharedCode);
        for call in [Call::Map, Call::MapFile(Protection::Read), Call::Protect, Call::MemoryFile] {
            let fault = fault_injection::inject(call, 0, Errno::NOMEM);
            let made = [
                FfiMapping::copy(name, FileRange::WHOLE, 1 << 20, Protection::Read),
                FfiMapping::share(name, FileRange::WHOLE, Protection::Read),
                FfiMapping::zeroed(1, Protection::Read),
                FfiMapping::share_zeroed(1, Protection::Read),
            ];
            drop(fault);
            assert!(made.iter().any(Result::is_err), "{call:?}");
        }
        let fault = fault_injection::inject(Call::Seal, 0, Errno::NOMEM);
        assert!(FfiMapping::share_zeroed(1, Protection::Read).is_err());
        drop(fault);
        assert_eq!((maps().len(), open()), before);
        fs::remove_file(path).unwrap();
    }
}
