//! What a slot holds: a file, or the way to a part of one.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::hash::is_same;
use super::sections::Sections;
use crate::memory::{FileBytes, FileStamp, OwnedBytes};

/// One entry of a cache, told apart from those that were in the same slot before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Handle {
    /// As one number; never 0.
    pub const fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// From such a number. Any number will do: one that is no handle is found out when it is used.
    pub const fn from_raw(raw: u64) -> Self {
        Self { slot: raw as u32, generation: (raw >> 32) as u32 }
    }
}

/// What a file is looked for by: a path, or a path and a module in it.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    pub(super) path: &'k [u8],
    pub(super) module: Option<&'k [u8]>,
}

impl Key<'_> {
    /// Whether an entry is kept under this key.
    #[inline(always)]
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        match entry.file() {
            Some(file) => self.module.is_none() && is_same(file.key(), self.path),
            None => self.is_of_link(entry),
        }
    }

    #[inline(never)]
    fn is_of_link(&self, entry: &Entry) -> bool {
        let Entry::Link(link) = entry else { return false };
        link.key.as_slice() == self.path
            && link.module().is_some() == self.module.is_some()
            && link.key.tail() == self.module.unwrap_or(&[])
    }
}

pub(super) enum Entry {
    Vacant,
    File(CachedFile),
    Link(Link),
}

impl Entry {
    pub(super) fn parts(&self) -> Option<&Parts> {
        match self {
            Entry::File(file) => Some(&file.parts),
            Entry::Link(link) => Some(&link.parts),
            Entry::Vacant => None,
        }
    }

    #[inline(always)]
    pub(super) fn file(&self) -> Option<&CachedFile> {
        match self {
            Entry::File(file) => Some(file),
            _ => None,
        }
    }
}

/// A file's bytes with its path behind them.
pub(super) struct CachedFile {
    pub(super) bytes: FileBytes,
    pub(super) parts: Parts,
    /// What came out of its compressed sections.
    pub(super) sections: Sections,
}

impl CachedFile {
    #[inline(always)]
    pub(super) fn key(&self) -> &[u8] {
        self.bytes.tail()
    }

    /// What it counts for in the capacity, in bytes. Changes under the lock alone.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64 + self.sections.size()
    }

    /// What the file was when it was read; `None` for bytes that came from no file.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        Some(self.bytes.stamp()).filter(|stamp| !is_no_file(stamp))
    }
}

/// The stamp of bytes that came from no file: no file has this size.
pub(super) const NO_FILE: FileStamp =
    FileStamp { size: u64::MAX, modified: 0, device: 0, inode: 0 };

/// Whether that is what a stamp is.
#[inline(always)]
pub(super) fn is_no_file(stamp: &FileStamp) -> bool {
    stamp.size == NO_FILE.size
}

/// Another path of a file in the cache, or a module in an archive in the cache.
pub(super) struct Link {
    /// The path, and behind it the module.
    pub(super) key: OwnedBytes,
    pub(super) target: Handle,
    /// Where the module is, or [`WHOLE`].
    pub(super) range: Range<usize>,
    pub(super) parts: Parts,
}

/// The range of what is no module but the whole file: no module ends before it begins.
pub(super) const WHOLE: Range<usize> = Range { start: usize::MAX, end: 0 };

impl Link {
    /// Where the module is, if it is one.
    pub(super) fn module(&self) -> Option<Range<usize>> {
        Some(self.range.clone()).filter(|range| *range != WHOLE)
    }
}

/// Where the parts of a module are, once somebody has asked.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) note: Part,
    pub(super) templates: Part,
}

/// Where a part is, in the bytes of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) range: Range<usize>,
    /// Whether what is there is compressed.
    pub(super) packed: bool,
}

/// A place that is looked for once. Those who look at the same time find the same.
#[derive(Default)]
pub(super) struct Part(AtomicU64);

/// Nobody has looked yet. As a place: nothing, at 0, which is where no part of a module is.
const UNKNOWN: u64 = 0;
/// Somebody has looked, and there is none. As a place: more than a module of 4 GiB has.
const NONE: u64 = u64::MAX;
/// Set in front of the 31 bits of where the place begins and the 32 of its length.
const PACKED: u64 = 1 << 63;

impl Part {
    /// The place, from `find` if nobody has asked before. What `find` says of a module that is not
    /// sound, or of a part beyond 2 GiB, is not kept.
    pub(super) fn get<E>(
        &self,
        find: impl FnOnce() -> Result<Option<Place>, E>,
    ) -> Result<Option<Place>, E> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => {
                let found = find()?;
                if let Some(word) = Self::word(found.as_ref()) {
                    self.0.store(word, Ordering::Relaxed);
                }
                Ok(found)
            }
            NONE => Ok(None),
            word => {
                let start = ((word & !PACKED) >> 32) as usize;
                let range = start..start + (word as u32) as usize;
                Ok(Some(Place { range, packed: word & PACKED != 0 }))
            }
        }
    }

    fn word(place: Option<&Place>) -> Option<u64> {
        let Some(Place { range, packed }) = place else { return Some(NONE) };
        let (start, len) = (u32::try_from(range.start).ok()?, u32::try_from(range.len()).ok()?);
        let place = u64::from(start) << 32 | u64::from(len);
        let word = if *packed { place | PACKED } else { place };
        (place & PACKED == 0 && word != NONE).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_looked_for_once() {
        let place = |range, packed| Some(Place { range, packed });
        let last = i32::MAX as usize;
        for found in [
            None,
            place(5..9, false),
            place(5..9, true),
            place(7..7, false),
            place(1..u32::MAX as usize, true),
            place(last..last + 3, false),
            place(last..last + 3, true),
        ] {
            let part = Part::default();
            assert_eq!(part.get(|| Err(3)), Err(3), "an error is not kept");
            assert_eq!(part.get(|| Ok::<_, ()>(found.clone())), Ok(found.clone()));
            assert_eq!(part.get(|| Err(())), Ok(found));
        }
        let far = last + u32::MAX as usize;
        for too_far in [place(last + 1..last + 2, false), place(last..far, true)] {
            let part = Part::default();
            assert_eq!(part.get(|| Ok::<_, ()>(too_far.clone())), Ok(too_far));
            assert_eq!(part.get(|| Err(())), Err(()), "too far to be kept");
        }
    }

    #[test]
    fn a_handle_is_a_number_and_back() {
        let handle = Handle { slot: 7, generation: 0x8000_0001 };
        assert_eq!(handle.to_raw(), 0x8000_0001_0000_0007);
        assert_eq!(Handle::from_raw(handle.to_raw()), handle);
    }
}
