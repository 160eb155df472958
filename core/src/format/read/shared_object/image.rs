//! The mapping from addresses of a loaded shared object to bytes of the file.

use crate::format::read::shared_object::header::FileHeader;
use crate::format::read::shared_object::view::View;

pub(crate) const PT_LOAD: u32 = 1;

pub(crate) const PF_X: u32 = 1;
pub(crate) const PF_W: u32 = 2;
pub(crate) const PF_R: u32 = 4;

/// A program header.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) index: u32,
    /// The offset of the program header in the file.
    pub(crate) at: u64,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
    pub(crate) memory_size: u64,
    pub(crate) alignment: u64,
}

impl Segment {
    fn decode(index: u32, entry: View<'_>) -> Option<Self> {
        let is_64 = entry.encoding.is_64;
        // The fields are offset, address, size in the file, size in memory and alignment.
        let words = if is_64 { [8, 16, 32, 40, 48] } else { [4, 8, 16, 20, 28] };
        let [offset, address, file_size, memory_size, alignment] = words.map(|at| entry.word(at));
        Some(Self {
            index,
            at: entry.at,
            kind: entry.u32(0)?,
            flags: entry.u32(if is_64 { 4 } else { 24 })?,
            offset: offset?,
            address: address?,
            file_size: file_size?,
            memory_size: memory_size?,
            alignment: alignment?,
        })
    }

    pub(crate) fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// The end address of the segment's memory; saturates.
    pub(crate) fn end(&self) -> u64 {
        self.address.saturating_add(self.memory_size)
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Default)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Range {
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let ends = [self, other].map(|range| range.start.saturating_add(range.size));
        self.size != 0 && other.size != 0 && self.start < ends[1] && other.start < ends[0]
    }

    /// Whether `tail` ends where this range ends and lies inside it.
    pub(crate) fn ends_with(self, tail: Self) -> bool {
        let ends = [self, tail].map(|range| range.start.checked_add(range.size));
        self.contains(tail) && ends[0] == ends[1]
    }

    /// Whether `inner` lies inside this range.
    pub(crate) fn contains(self, inner: Self) -> bool {
        let Some(skipped) = inner.start.checked_sub(self.start) else { return false };
        self.size.checked_sub(skipped).is_some_and(|rest| inner.size <= rest)
    }
}

/// The segments of a shared object. Addresses count from its load address.
#[derive(Clone, Copy)]
pub(crate) struct Image<'d> {
    pub(crate) header: FileHeader<'d>,
}

impl<'d> Image<'d> {
    /// All program headers.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> + use<'d> {
        let entries = self.header.table.entries(self.header.stride());
        (0..).zip(entries).filter_map(|(index, entry)| Segment::decode(index, entry))
    }

    /// The loaded segments.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Segment> + use<'d> {
        self.segments().filter(|segment| segment.kind == PT_LOAD)
    }

    /// The loaded segment with these flags whose memory contains all of `range`.
    pub(crate) fn load_with(&self, range: Range, flags: u32) -> Option<Segment> {
        self.loads().find(|load| {
            let memory = Range { start: load.address, size: load.memory_size };
            load.has(flags) && memory.contains(range)
        })
    }

    /// The segment with these flags that loads the byte at `address` from the file.
    fn load_of(&self, address: u64, flags: u32) -> Option<Segment> {
        self.loads().find(|load| {
            let bytes = Range { start: load.address, size: load.file_size };
            load.has(flags) && bytes.contains(Range { start: address, size: 1 })
        })
    }

    /// The bytes of the file from `address` to the end of those that its segment loads, if the segment is readable.
    pub(crate) fn bytes_from(&self, address: u64) -> Option<View<'d>> {
        let load = self.load_of(address, PF_R)?;
        let skipped = address.checked_sub(load.address)?;
        self.header.file.part(load.offset, load.file_size)?.from(skipped)
    }

    /// `size` bytes of the file at `address` in a readable segment.
    pub(crate) fn bytes(&self, address: u64, size: u64) -> Option<View<'d>> {
        self.bytes_from(address)?.part(0, size)
    }

    pub(crate) fn is_writable(&self, range: Range) -> bool {
        self.load_with(range, PF_W).is_some()
    }

    /// Whether `address` lies in bytes that an executable segment loads from the file.
    pub(crate) fn is_executable(&self, address: u64) -> bool {
        self.load_of(address, PF_X).is_some()
    }
}
