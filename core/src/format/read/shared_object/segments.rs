//! Checks of the program headers of a shared object.
//!
//! The system's loader maps each segment over existing mappings at its address, so segments must ascend and share no
//! page. The loader then uses the other program headers without bounds checks.

use crate::format::error::{
    FormatError, Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::limits::MAX_MEMORY;
use crate::format::read::shared_object::image::{
    Image, PF_R, PF_W, PF_X, Range, Segment, View, refuse,
};
use crate::format::wire::{EM_AARCH64, EM_X86_64};

const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_PHDR: u32 = 6;
const PT_TLS: u32 = 7;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PT_GNU_PROPERTY: u32 = 0x6474_e553;

/// The maximum alignment of a segment, in bytes.
const MAX_ALIGNMENT: u64 = 1 << 30;
/// The maximum size of thread-local data, in bytes. The loader must allocate it in each thread or abort the process.
const MAX_TLS: u64 = 16 << 20;
/// The maximum alignment of thread-local data, in bytes.
const MAX_TLS_ALIGNMENT: u64 = 1 << 16;

/// Values from program headers that other checks use.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) dynamic: Segment,
    /// The size of thread-local data in each thread, in bytes.
    pub(crate) tls: Option<u64>,
    /// The addresses at which the loader reads the program headers.
    pub(crate) program_headers: [Range; 2],
}

/// Checks every program header, for pages of `page` bytes, a power of two.
///
/// # Errors
/// The first invalid program header.
pub(crate) fn check(image: &Image<'_>, page: u64) -> Result<Found> {
    check_loads(image, page)?;
    let mut dynamic = None;
    let mut tls = None;
    for segment in image.segments() {
        check_other(image, &segment, page)?;
        let once = match segment.kind {
            PT_DYNAMIC => dynamic.replace(segment).is_none(),
            PT_TLS if segment.memory_size != 0 => tls.replace(segment.memory_size).is_none(),
            _ => true,
        };
        ensure(once, refuse(Part::Segment(segment.index), Kind::SecondSegment, segment.at))?;
    }
    check_stack(image)?;
    let missing = no_segment(image, "PT_DYNAMIC");
    let dynamic = dynamic.ok_or(missing)?;
    Ok(Found { dynamic, tls, program_headers: program_headers(image, page)? })
}

fn no_segment(image: &Image<'_>, kind: &'static str) -> FormatError {
    refuse(Part::Object, Kind::NoSegment { kind }, image.table.at)
}

/// The first address of the page that `address` lies in.
fn down(address: u64, page: u64) -> u64 {
    address & !page.saturating_sub(1)
}

/// The lowest page address that is not below `address`.
fn up(address: u64, page: u64) -> Option<u64> {
    Some(down(address.checked_add(page.saturating_sub(1))?, page))
}

fn check_loads(image: &Image<'_>, page: u64) -> Result<()> {
    let mut first = None;
    let mut end = 0;
    for load in image.loads() {
        let fault = |kind| refuse(Part::Segment(load.index), kind, load.at);
        check_load(image, &load, page).map_err(fault)?;
        let bytes = Range { start: load.offset, size: load.file_size };
        let before = image.loads().take_while(|other| other.index < load.index);
        let mut before = before.map(|other| Range { start: other.offset, size: other.file_size });
        ensure(!before.any(|other| other.overlaps(bytes)), fault(Kind::SegmentsOverlap))?;
        let start = down(load.address, page);
        ensure(first.is_none() || start >= end, fault(Kind::Order))?;
        let first = *first.get_or_insert(start);
        let too_large = |size| fault(Kind::MemorySize { size, limit: MAX_MEMORY });
        end = up(load.end(), page).ok_or(too_large(u64::MAX))?;
        let size = end.saturating_sub(first);
        ensure(size <= MAX_MEMORY, too_large(size))?;
    }
    ensure(first.is_some(), no_segment(image, "PT_LOAD"))
}

/// Checks a loaded segment by itself.
fn check_load(image: &Image<'_>, load: &Segment, page: u64) -> Result<(), Kind> {
    let Segment { offset, address, file_size, memory_size, alignment, .. } = *load;
    let file = image.file;
    ensure(!load.has(PF_W | PF_X), Kind::WriteAndExecute)?;
    ensure(file_size <= memory_size, Kind::FileSize)?;
    ensure(memory_size == file_size || load.has(PF_W), Kind::ZeroesNotWritable)?;
    let end = address.checked_add(memory_size);
    let is_addressable = end.is_some_and(|end| end <= file.encoding.max_address());
    ensure(is_addressable, Kind::MemorySize { size: memory_size, limit: MAX_MEMORY })?;
    ensure(is_alignment(alignment, MAX_ALIGNMENT), Kind::Alignment { value: alignment })?;
    let is_congruent = (address ^ offset) & page.max(alignment).saturating_sub(1) == 0;
    ensure(is_congruent, Kind::Offset { offset, address })?;
    ensure(file.part(offset, file_size).is_some(), Kind::OutsideFile)
}

/// Whether `value` is a power of two up to `limit`, or 0, which stands for 1.
fn is_alignment(value: u64, limit: u64) -> bool {
    value == 0 || value.is_power_of_two() && value <= limit
}

/// Checks a program header that describes a part of a loaded segment.
fn check_other(image: &Image<'_>, segment: &Segment, page: u64) -> Result<()> {
    let checked = match segment.kind {
        PT_DYNAMIC | PT_GNU_EH_FRAME => loaded(image, segment).map(drop),
        PT_PHDR => phdr(image, segment),
        PT_INTERP => interpreter(image, segment),
        PT_NOTE | PT_GNU_PROPERTY => note(image, segment),
        PT_TLS => thread_local(image, segment),
        PT_GNU_RELRO => relro(image, segment, page),
        PT_GNU_STACK if segment.has(PF_X) => Err(Kind::ExecutableStack),
        _ => Ok(()),
    };
    checked.map_err(|kind| refuse(Part::Segment(segment.index), kind, segment.at))
}

/// The bytes of a segment, whose file offset must match its address.
fn loaded<'d>(image: &Image<'d>, segment: &Segment) -> Result<View<'d>, Kind> {
    let Segment { offset, address, file_size, memory_size, .. } = *segment;
    ensure(file_size == memory_size, Kind::FileSize)?;
    let bytes = image.bytes(address, memory_size).ok_or(Kind::NotLoaded)?;
    ensure(bytes.at == offset, Kind::Offset { offset, address })?;
    Ok(bytes)
}

fn phdr(image: &Image<'_>, segment: &Segment) -> Result<(), Kind> {
    let table = image.table;
    let bytes = image.bytes(segment.address, table.len()).ok_or(Kind::NotLoaded)?;
    ensure(bytes.at == table.at, Kind::ProgramHeadersInMemory)
}

fn interpreter(image: &Image<'_>, segment: &Segment) -> Result<(), Kind> {
    let name = loaded(image, segment)?;
    ensure(name.bytes.last() == Some(&0), Kind::Unterminated)
}

/// Checks that every note ends inside its segment: the loader steps over notes by their stated sizes.
fn note(image: &Image<'_>, segment: &Segment) -> Result<(), Kind> {
    const HEADER: u64 = 12;
    let alignment = match segment.alignment {
        0..=4 => 4,
        8 => 8,
        value => return Err(Kind::Alignment { value }),
    };
    let notes = loaded(image, segment)?;
    let mut at = 0u64;
    while let Some(header) = notes.part(at, HEADER) {
        let [name, contents] = [0, 4].map(|at| u64::from(header.u32(at).unwrap_or(u32::MAX)));
        let start = up(HEADER + name, alignment).ok_or(Kind::Note)?;
        let end = start.checked_add(contents).ok_or(Kind::Note)?;
        notes.part(at, end).ok_or(Kind::Note)?;
        let next = up(end, alignment).and_then(|size| at.checked_add(size));
        at = next.ok_or(Kind::Note)?;
    }
    Ok(())
}

fn thread_local(image: &Image<'_>, segment: &Segment) -> Result<(), Kind> {
    let Segment { address, file_size, memory_size, alignment: value, .. } = *segment;
    if memory_size == 0 && file_size == 0 {
        return Ok(());
    }
    ensure(file_size <= memory_size, Kind::FileSize)?;
    ensure(memory_size <= MAX_TLS, Kind::MemorySize { size: memory_size, limit: MAX_TLS })?;
    // The loader divides by the alignment.
    let is_divisor = value != 0 && is_alignment(value, MAX_TLS_ALIGNMENT);
    ensure(is_divisor, Kind::Alignment { value })?;
    ensure(file_size == 0 || image.bytes(address, file_size).is_some(), Kind::NotLoaded)
}

/// Checks that the memory that becomes read-only after relocation is part of one writable segment. Linkers extend it to
/// the end of the segment's last page.
fn relro(image: &Image<'_>, segment: &Segment, page: u64) -> Result<(), Kind> {
    let Segment { address, offset, memory_size: size, .. } = *segment;
    if size == 0 {
        return Ok(());
    }
    let load = image.loads().filter(|load| load.has(PF_W)).find(|load| {
        let end = up(load.end(), page).unwrap_or(u64::MAX);
        let memory = Range { start: load.address, size: end.saturating_sub(load.address) };
        memory.contains(Range { start: address, size })
    });
    let load = load.ok_or(Kind::NotWritable)?;
    let is_congruent = offset.wrapping_sub(load.offset) == address.wrapping_sub(load.address);
    ensure(is_congruent, Kind::Offset { offset, address })
}

/// Requires `PT_GNU_STACK`, without which the stacks of the process would have to be executable.
fn check_stack(image: &Image<'_>) -> Result<()> {
    let is_known = matches!(image.machine, EM_X86_64 | EM_AARCH64);
    let has_stack = image.segments().any(|segment| segment.kind == PT_GNU_STACK);
    ensure(has_stack || !is_known, no_segment(image, "PT_GNU_STACK"))
}

/// The addresses at which the loader reads the program headers after it has mapped the segments: the address in
/// `PT_PHDR`, and the first segment whose pages contain the table. Without such a segment, the loader uses a copy.
fn program_headers(image: &Image<'_>, page: u64) -> Result<[Range; 2]> {
    let table = image.table;
    let (start, size) = (table.at, table.len());
    let stated = image.segments().find(|segment| segment.kind == PT_PHDR);
    let stated = stated.map(|segment| Range { start: segment.address, size });
    let covering = image.loads().find(|load| {
        let pages = up(load.address.saturating_add(load.file_size), page).unwrap_or(u64::MAX);
        let size = pages.saturating_sub(down(load.address, page));
        let bytes = Range { start: down(load.offset, page), size };
        bytes.contains(Range { start, size: table.len() })
    });
    let Some(load) = covering else { return Ok([stated.unwrap_or_default(), Range::default()]) };
    let bytes = Range { start: load.offset, size: load.file_size };
    if !load.has(PF_R) || !bytes.contains(Range { start, size }) {
        return Err(refuse(Part::Segment(load.index), Kind::ProgramHeadersInMemory, load.at));
    }
    let address = load.address.wrapping_add(start.wrapping_sub(load.offset));
    Ok([stated.unwrap_or_default(), Range { start: address, size }])
}
