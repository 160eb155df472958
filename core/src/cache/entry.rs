//! What a slot holds: a file, or the way to a part of one.

use core::hash::Hasher;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

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
    #[inline(always)]
    pub(super) fn hash(&self, mut hasher: impl Hasher) -> u32 {
        hasher.write(self.path);
        if let Some(module) = self.module {
            hasher.write(module);
        }
        // The upper half is as good as the lower.
        (hasher.finish() >> 32) as u32
    }

    /// Whether an entry is kept under this key.
    #[inline(always)]
    pub(super) fn is_of(&self, entry: &Entry) -> bool {
        match entry.file() {
            Some(file) => self.module.is_none() && file.key() == self.path,
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
}

impl CachedFile {
    #[inline(always)]
    pub(super) fn key(&self) -> &[u8] {
        self.bytes.tail()
    }

    /// What it counts for in the capacity, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What the file was when it was read; `None` for bytes that came from no file.
    pub(super) fn stamp(&self) -> Option<FileStamp> {
        Some(self.bytes.stamp()).filter(|stamp| *stamp != NO_FILE)
    }
}

/// The stamp of bytes that came from no file: no file has this size.
pub(super) const NO_FILE: FileStamp =
    FileStamp { size: u64::MAX, modified: 0, device: 0, inode: 0 };

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

/// A range of bytes that is looked for once. Those who look at the same time find the same.
#[derive(Default)]
pub(super) struct Part(AtomicU64);

/// Nobody has looked yet. As a range: nothing, at 0, which is where no part of a module is.
const UNKNOWN: u64 = 0;
/// Somebody has looked, and there is none.
const NONE: u64 = u64::MAX;

impl Part {
    /// The range, from `find` if nobody has asked before. What `find` says of a module that is not
    /// sound, or of a part beyond 4 GiB, is not kept.
    pub(super) fn get<E>(
        &self,
        find: impl FnOnce() -> Result<Option<Range<usize>>, E>,
    ) -> Result<Option<Range<usize>>, E> {
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
                let start = (word >> 32) as usize;
                Ok(Some(start..start + (word as u32) as usize))
            }
        }
    }

    fn word(range: Option<&Range<usize>>) -> Option<u64> {
        let Some(range) = range else { return Some(NONE) };
        let (start, len) = (u32::try_from(range.start).ok()?, u32::try_from(range.len()).ok()?);
        Some(u64::from(start) << 32 | u64::from(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_looked_for_once() {
        for found in [None, Some(5..9), Some(7..7), Some(0..u32::MAX as usize)] {
            let part = Part::default();
            assert_eq!(part.get(|| Err(3)), Err(3), "an error is not kept");
            assert_eq!(part.get(|| Ok::<_, ()>(found.clone())), Ok(found.clone()));
            assert_eq!(part.get(|| Err(())), Ok(found));
        }
        let part = Part::default();
        let far = Some(1 << 33..(1 << 33) + 1);
        assert_eq!(part.get(|| Ok::<_, ()>(far.clone())), Ok(far));
        assert_eq!(part.get(|| Err(())), Err(()), "too far to be kept");
    }

    #[test]
    fn a_handle_is_a_number_and_back() {
        let handle = Handle { slot: 7, generation: 0x8000_0001 };
        assert_eq!(handle.to_raw(), 0x8000_0001_0000_0007);
        assert_eq!(Handle::from_raw(handle.to_raw()), handle);
    }
}
