//! The file header and the program headers of a shared object, and the bytes and addresses that its segments load.

use crate::format::error::{
    FormatError, Result, SharedObjectError, SharedObjectErrorKind as Kind,
    SharedObjectPart as Part, ensure,
};
use crate::format::wire::{ELF_MAGIC, EM_AARCH64, EM_X86_64, array, slice, u8_at};

const ET_DYN: u16 = 3;

const E_CLASS: usize = 4;
const E_DATA: usize = 5;
const E_IDENT_VERSION: usize = 6;
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_VERSION: usize = 20;

/// The maximum number of program headers. The system's loader copies all of them to the stack.
const MAX_PROGRAM_HEADERS: u16 = 64;

/// Machines whose tables differ from the generic ones.
pub(crate) const EM_MIPS: u16 = 8;
pub(crate) const EM_S390: u16 = 22;
pub(crate) const EM_ALPHA: u16 = 0x9026;

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

/// A shared object as its file header and its program headers describe it. Addresses count from its load address.
#[derive(Clone, Copy)]
pub(crate) struct Image<'d> {
    pub(crate) file: View<'d>,
    pub(crate) machine: u16,
    /// The program header table.
    pub(crate) table: View<'d>,
}

impl<'d> Image<'d> {
    /// Reads the header of `object`.
    ///
    /// # Errors
    /// A header that is not one of a shared object; a program header table outside the file.
    pub(crate) fn read(object: &'d [u8]) -> Result<Self> {
        let fault = |kind, at: usize| refuse(Part::Object, kind, at as u64);
        let header = array::<16>(object, 0).filter(|header| header.starts_with(&ELF_MAGIC));
        let header = header.ok_or(fault(Kind::CutOff, 0))?;
        let ident = |at| u8_at(header, at).unwrap_or(0);
        let encoding = Encoding { is_64: ident(E_CLASS) == 2, is_big: ident(E_DATA) == 2 };
        for (at, values) in [(E_CLASS, 1..=2), (E_DATA, 1..=2), (E_IDENT_VERSION, 1..=1)] {
            ensure(values.contains(&ident(at)), fault(Kind::Ident, at))?;
        }
        let file = View::new(object, encoding);
        let size = if encoding.is_64 { 64 } else { 52 };
        let header = file.part(0, size).ok_or(fault(Kind::CutOff, 0))?;
        ensure(header.u32(E_VERSION) == Some(1), fault(Kind::Ident, E_VERSION))?;
        let value = header.u16(E_TYPE).unwrap_or(0);
        ensure(value == ET_DYN, fault(Kind::Type { value }, E_TYPE))?;
        let table = program_headers(file, header)?;
        Ok(Self { file, machine: header.u16(E_MACHINE).unwrap_or(0), table })
    }

    /// Whether the relocation types of the machine are known here.
    pub(crate) fn has_known_relocations(&self) -> bool {
        let is_known = matches!(self.machine, EM_X86_64 | EM_AARCH64);
        is_known && self.file.encoding.is_64
    }

    /// All program headers.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> + use<'d> {
        let entries = self.table.entries(self.file.encoding.program_header_size());
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
        self.file.part(load.offset, load.file_size)?.from(skipped)
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

/// The program header table.
fn program_headers<'d>(file: View<'d>, header: View<'d>) -> Result<View<'d>> {
    // The fields are e_phoff, e_phentsize and e_phnum.
    let [offset_at, size_at, count_at] =
        if file.encoding.is_64 { [32, 54, 56] } else { [28, 42, 44] };
    let fault = |at: usize| refuse(Part::Object, Kind::ProgramHeaders, at as u64);
    let stride = file.encoding.program_header_size();
    ensure(header.u16(size_at).map(u64::from) == Some(stride), fault(size_at))?;
    let count = header.u16(count_at).unwrap_or(0);
    ensure(count <= MAX_PROGRAM_HEADERS, fault(count_at))?;
    let offset = header.word(offset_at).unwrap_or(0);
    file.part(offset, u64::from(count) * stride).ok_or(fault(offset_at))
}

/// An error about a part of a shared object, at offset `at` of the file.
pub(crate) fn refuse(part: Part, kind: Kind, at: u64) -> FormatError {
    SharedObjectError { part, kind, at }.into()
}

/// The encoding of fields in an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Addresses and sizes have 64 bits; otherwise 32.
    pub(crate) is_64: bool,
    /// Fields are big-endian.
    pub(crate) is_big: bool,
}

impl Encoding {
    /// The size of an address in bytes.
    pub(crate) fn word_size(self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    /// The size of a program header in bytes.
    fn program_header_size(self) -> u64 {
        if self.is_64 { 56 } else { 32 }
    }

    /// The greatest address.
    pub(crate) fn max_address(self) -> u64 {
        if self.is_64 { u64::MAX } else { u32::MAX.into() }
    }
}

/// A part of an ELF file and its offset in that file.
#[derive(Clone, Copy)]
pub(crate) struct View<'d> {
    pub(crate) bytes: &'d [u8],
    /// The offset in the file.
    pub(crate) at: u64,
    pub(crate) encoding: Encoding,
}

impl<'d> View<'d> {
    /// A view of the whole file.
    pub(crate) fn new(bytes: &'d [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding }
    }

    /// The length of the part in bytes.
    pub(crate) fn len(self) -> u64 {
        self.bytes.len() as u64
    }

    /// `len` bytes from `at`, an offset in this part.
    pub(crate) fn part(self, at: u64, len: u64) -> Option<Self> {
        let bytes = slice(self.bytes, at, len)?;
        Some(Self { bytes, at: self.at.saturating_add(at), ..self })
    }

    /// All bytes from `at` to the end.
    pub(crate) fn from(self, at: u64) -> Option<Self> {
        self.part(at, self.len().checked_sub(at)?)
    }

    /// Consecutive entries of `size` bytes. An incomplete entry at the end is ignored.
    pub(crate) fn entries(self, size: u64) -> impl Iterator<Item = Self> {
        let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
        let entries = self.bytes.chunks_exact(size).zip((self.at..).step_by(size));
        entries.map(move |(bytes, at)| Self { bytes, at, ..self })
    }

    pub(crate) fn u8(self, at: usize) -> Option<u8> {
        u8_at(self.bytes, at)
    }

    /// The bytes of a field in little-endian order.
    fn field<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let mut field = *array(self.bytes, at)?;
        if self.encoding.is_big {
            field.reverse();
        }
        Some(field)
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.field(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.field(at).map(u32::from_le_bytes)
    }

    /// An address or a size, 64 or 32 bits according to the class.
    pub(crate) fn word(self, at: usize) -> Option<u64> {
        if self.encoding.is_64 {
            self.field(at).map(u64::from_le_bytes)
        } else {
            self.u32(at).map(u64::from)
        }
    }

    /// The word with this index.
    pub(crate) fn nth_word(self, index: usize) -> Option<u64> {
        self.word(index.checked_mul(if self.encoding.is_64 { 8 } else { 4 })?)
    }

    /// The 32-bit field with this index.
    pub(crate) fn nth_u32(self, index: u64) -> Option<u32> {
        self.u32(usize::try_from(index.checked_mul(4)?).ok()?)
    }
}
