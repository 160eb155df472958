//! Memory of a module in two states, writable and published.
//!
//! [`WritablePages`] are readable and writable and never executable. [`WritablePages::publish`] consumes them and
//! returns [`PublishedPages`], in which each segment has its final protection and which lend no references. There
//! is no way back for a caller, so code does not change once it can run, and no page is writable and executable at
//! any moment: one `mprotect` call removes write access and adds execute access.

use core::iter;
use core::ops::Range;

use super::icache;
use super::page_count::PageCount;
use super::placement::{self, Placement};
use super::region::Region;
use super::types::{MemoryError, Protection, Result};

/// Adjacent pages with the same protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The offset of the first page.
    pub offset: PageCount,
    /// The size; zero is allowed and has no effect.
    pub size: PageCount,
    /// The protection of the pages.
    pub protection: Protection,
}

/// Private anonymous memory that is writable and never executable. It is zero unless it is
/// [reused](Self::is_reused).
///
/// Dropping it unmaps the memory.
#[derive(Debug)]
pub struct WritablePages {
    /// Readable, writable and not exposed.
    region: Region,
    /// The pages come from a pool and hold the bytes of their previous use.
    reused: bool,
}

impl WritablePages {
    /// Maps zero-filled pages at addresses that satisfy `placement`.
    ///
    /// A `size` of zero makes no system call and satisfies every placement.
    ///
    /// # Errors
    /// [`MemoryError::Map`] if the kernel has no memory, [`MemoryError::NoFreeRange`] if no suitable addresses are
    /// free.
    pub fn allocate(size: PageCount, placement: Placement) -> Result<Self> {
        let placement = if size == PageCount::ZERO { Placement::Anywhere } else { placement };
        placement::map(size, placement, Protection::ReadWrite)
            .map(|region| Self { region, reused: false })
    }

    /// As [`allocate`](Self::allocate), at a multiple of `alignment`, a power of two.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_aligned(
        size: PageCount,
        alignment: PageCount,
        placement: Placement,
    ) -> Result<Self> {
        if alignment <= PageCount::one() || size == PageCount::ZERO {
            return Self::allocate(size, placement);
        }
        let all = size.checked_add(alignment);
        let bytes = size.bytes() as u64;
        let all = all.ok_or(MemoryError::TooManyBytes { bytes })?;
        let region = placement::map(all, placement, Protection::ReadWrite)?;
        Ok(Self { region: region.trim(alignment.bytes(), size), reused: false })
    }

    /// Backs the first `len` bytes, all if there are fewer, with memory in one system call instead of one page
    /// fault for each page. It pays for bytes that are about to be written, from four pages on; fewer make no
    /// call. No byte changes.
    ///
    /// # Errors
    /// [`MemoryError::Prefault`] if there is not enough memory. Without this call, the page faults would fail and
    /// end the process.
    pub fn prefault(&mut self, len: usize) -> Result<()> {
        self.prefault_range(0..len)
    }

    /// As [`prefault`](Self::prefault), for the bytes at the offsets `range`.
    ///
    /// # Errors
    /// As [`prefault`](Self::prefault).
    pub fn prefault_range(&mut self, range: Range<usize>) -> Result<()> {
        let max_faults = PageCount::one().bytes().saturating_mul(3);
        if range.len() <= max_faults { Ok(()) } else { self.region.populate(range) }
    }

    /// Whether the pages come from a [`PagePool`](super::PagePool): they are backed by memory and hold the bytes of
    /// their previous use. Other pages hold zeros.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// The address of the first byte, a multiple of the page size; publishing does not change it. Meaningless
    /// without pages.
    pub fn address(&self) -> usize {
        self.region.addresses().start
    }

    /// The size.
    pub fn size(&self) -> PageCount {
        self.region.size()
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.region.as_slice()
    }

    /// The bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.region.as_mut_slice()
    }

    /// Sets the final protection of each segment.
    ///
    /// Segments are ordered by offset. Pages outside of all segments become inaccessible. Adjacent segments of equal
    /// protection share one system call; writable ones need none. When this returns, every thread can execute the
    /// executable segments.
    ///
    /// # Errors
    /// The pages are unmapped. [`MemoryError::SegmentOrder`] and [`MemoryError::SegmentOutside`];
    /// [`MemoryError::Protect`] and [`MemoryError::Synchronize`] if the kernel fails.
    pub fn publish(self, segments: &[Segment]) -> Result<PublishedPages> {
        self.publish_around(segments, iter::empty())
    }

    /// As [`publish`](Self::publish), but the pages of `holes`, which are in ascending order, each inside a segment, stay
    /// writable: other pages are about to replace them.
    pub(super) fn publish_around(
        mut self,
        segments: &[Segment],
        holes: impl Iterator<Item = Range<usize>>,
    ) -> Result<PublishedPages> {
        self.check(segments)?;
        for segment in segments.iter().filter(|s| s.protection == Protection::ReadExecute) {
            let start = segment.offset.bytes();
            let code = self.as_slice().get(start..).unwrap_or(&[]);
            icache::synchronize(code.get(..segment.size.bytes()).unwrap_or(code))?;
        }
        let size = self.size().bytes();
        let mut run = ProtectionRun { start: 0, end: 0, protection: Protection::ReadWrite };
        let mut holes = holes.peekable();
        for segment in segments {
            let start = segment.offset.bytes();
            let end = start + segment.size.bytes();
            run.extend(&mut self.region, start, Protection::None)?;
            while let Some(hole) = holes.next_if(|hole| hole.end <= end) {
                run.extend(&mut self.region, hole.start, segment.protection)?;
                run.extend(&mut self.region, hole.end, Protection::ReadWrite)?;
            }
            run.extend(&mut self.region, end, segment.protection)?;
        }
        run.extend(&mut self.region, size, Protection::None)?;
        run.apply(&mut self.region)?;
        self.region.expose();
        Ok(PublishedPages { region: self.region })
    }

    /// Checks that the segments are inside the pages, ordered and disjoint.
    fn check(&self, segments: &[Segment]) -> Result<()> {
        let len = self.size();
        let mut previous_end = PageCount::ZERO;
        for (index, &Segment { offset, size, .. }) in segments.iter().enumerate() {
            let end = offset.checked_add(size).filter(|&end| end <= len);
            let (offset, size) = (offset.bytes(), size.bytes());
            let outside = MemoryError::SegmentOutside { index, offset, size, len: len.bytes() };
            if offset < previous_end.bytes() {
                let previous_end = previous_end.bytes();
                return Err(MemoryError::SegmentOrder { index, offset, previous_end });
            }
            previous_end = end.ok_or(outside)?;
        }
        Ok(())
    }
}

/// Adjacent pages that get their protection from one system call, as byte offsets.
struct ProtectionRun {
    start: usize,
    end: usize,
    protection: Protection,
}

impl ProtectionRun {
    /// Extends the run to `end` with `protection`; a run of another protection is applied first.
    fn extend(&mut self, region: &mut Region, end: usize, protection: Protection) -> Result<()> {
        if end != self.end && protection != self.protection {
            self.apply(region)?;
            *self = Self { start: self.end, end: self.end, protection };
        }
        self.end = end;
        Ok(())
    }

    fn apply(&self, region: &mut Region) -> Result<()> {
        // All pages start readable and writable.
        if self.protection == Protection::ReadWrite {
            return Ok(());
        }
        match self.protection {
            Protection::ReadExecute => region.make_executable(self.start..self.end),
            protection => region.set_protection(self.start..self.end, protection),
        }
    }
}

/// Memory with final protections. Dropping it unmaps the memory.
///
/// Its bytes are reached by address only: running code may change the writable ones at any time, which a Rust
/// reference would not allow.
#[derive(Debug)]
pub struct PublishedPages {
    region: Region,
}

impl PublishedPages {
    /// Makes the pages writable and not executable again. Their bytes do not change.
    ///
    /// As when they are dropped, no code in them may be running, and their addresses become invalid.
    ///
    /// # Errors
    /// [`MemoryError::Protect`]; the pages are unmapped.
    pub(super) fn reclaim(self) -> Result<WritablePages> {
        let Self { mut region } = self;
        region.set_protection(0..region.size().bytes(), Protection::ReadWrite)?;
        Ok(WritablePages { region, reused: true })
    }

    /// A pointer to the first byte, valid while the value lives for the accesses that the segments allow.
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.start().as_ptr()
    }

    /// The mapping.
    pub(super) fn into_region(self) -> Region {
        self.region
    }

    /// The address of the first byte, a multiple of the page size. Meaningless without pages.
    pub fn address(&self) -> usize {
        self.region.addresses().start
    }

    /// The size.
    pub fn size(&self) -> PageCount {
        self.region.size()
    }

    /// Whether `address` is that of one of the bytes.
    pub fn contains(&self, address: usize) -> bool {
        self.region.addresses().contains(&address)
    }
}

#[cfg(test)]
#[path = "tests/pages.rs"]
mod tests;
