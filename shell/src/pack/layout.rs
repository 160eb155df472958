//! Assigns addresses: input sections to segments, segments to sections of the module, and for the packed
//! layout those to an image with fixed distances (see [`prelink`]).
//!
//! Code comes first, in the order of its phases, cold code last. Constants follow, those with relocations
//! behind those without, so that the loader writes to few pages; then the global offset table; then data,
//! those with relocations first, and zeroes. Protections change at page boundaries.

use std::collections::HashMap;

use smf_core::format::ext::prelink;
use smf_core::format::{Layout, SectionFlags, SectionKind};

use super::error::PackError;
use super::gc_sections::Reachable;
use super::machine::Machine;
use super::object::{GlobalId, Section, SectionId, decode};
use super::output::{OutputSection, Segment};
use super::pack_reloc::RelocPlan;
use super::phases::SectionPhases;
use super::resolve::{Program, Resolution};

/// Bytes of a GOT slot.
pub(super) const SLOT: u64 = 8;
/// The offset of an explicit entry point that would be at 0, which means "no entry point".
const ENTRY_PAD: u64 = 16;
/// Distances within an image have to fit a signed 32-bit field.
const LIMIT: u64 = i32::MAX as u64;

/// The extent of a segment.
#[derive(Clone, Copy)]
struct SegmentExtent {
    size: u64,
    alignment: u64,
    /// A section or a symbol lies in it.
    is_used: bool,
    /// The index of the module section that contains it, and the offset in that section.
    output: usize,
    base: u64,
}

impl SegmentExtent {
    const EMPTY: SegmentExtent =
        SegmentExtent { size: 0, alignment: 1, is_used: false, output: 0, base: 0 };

    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64, PackError> {
        let start = self.size.checked_next_multiple_of(alignment);
        let end = start.and_then(|start| start.checked_add(size)).filter(|end| *end <= LIMIT);
        let (Some(start), Some(end)) = (start, end) else { return Err(PackError::TooLarge) };
        self.size = end;
        self.alignment = self.alignment.max(alignment);
        self.is_used = true;
        Ok(start)
    }
}

/// The resolved target of a reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Address {
    /// Bytes from the start of a module section. References may lie before its start or behind its end.
    Section {
        output: usize,
        offset: i64,
    },
    Absolute(u64),
    Import(GlobalId),
}

/// The addresses of everything in the module.
pub(super) struct ModuleLayout {
    pub(super) outputs: Vec<OutputSection>,
    /// The reachable input sections, in image order.
    pub(super) order: Vec<SectionId>,
    extents: [SegmentExtent; 5],
    /// By object and input section: bytes from the start of the segment; `None` when unreachable.
    offsets: Vec<Vec<Option<u64>>>,
    /// Bytes from the start of the Bss segment.
    commons: HashMap<GlobalId, u64>,
    machine: Machine,
    pub(super) phases: SectionPhases,
    /// Segment, start and end of each section array; `None` when it spans more than one segment.
    bounds: HashMap<u32, Option<(Segment, u64, u64)>>,
    stubs: u64,
    handle: Option<u32>,
}

/// Assigns addresses to everything that is reachable.
///
/// # Errors
/// [`PackError::TooLarge`].
pub(super) fn place(
    program: &Program<'_>,
    reachable: &Reachable,
    plan: &RelocPlan,
    phases: SectionPhases,
    layout: Layout,
    entry: Option<Resolution>,
) -> Result<ModuleLayout, PackError> {
    let offsets = program.objects.iter().map(|object| vec![None; object.sections.len()]).collect();
    let mut addresses = ModuleLayout {
        outputs: Vec::new(),
        order: ordered(program, reachable, &phases),
        extents: [SegmentExtent::EMPTY; 5],
        offsets,
        commons: HashMap::new(),
        machine: program.machine(),
        phases,
        bounds: HashMap::new(),
        stubs: 0,
        handle: plan.dso_handle(),
    };
    let first = addresses.order.first().copied();
    if first.is_some_and(|id| entry == Some(Resolution::Section { id, value: 0 })) {
        addresses.extent(Segment::Text).reserve(ENTRY_PAD, 1)?;
    }
    addresses.place_sections(program, plan)?;
    for id in reachable.commons() {
        let Some(global) = program.global(id) else { continue };
        let (size, alignment) = (global.common_size, global.common_alignment);
        let start = addresses.extent(Segment::Bss).reserve(size, alignment)?;
        addresses.commons.insert(id, start);
    }
    addresses.place_slots(plan)?;
    let code = addresses.extent(Segment::Text);
    code.alignment = code.alignment.max(program.machine().code_alignment());
    for extent in &mut addresses.extents {
        // A symbol at the end of an empty segment needs a byte to lie at.
        extent.size = extent.size.max(u64::from(extent.is_used));
    }
    match layout {
        Layout::Native => addresses.make_native_sections()?,
        _ => addresses.make_packed_sections()?,
    }
    Ok(addresses)
}

/// The reachable sections in image order.
fn ordered(program: &Program<'_>, reachable: &Reachable, phases: &SectionPhases) -> Vec<SectionId> {
    let live = program.sections().filter(|(id, _)| reachable.is_live(*id));
    let mut keyed: Vec<_> = live
        .map(|(id, section)| {
            // The sections of an array (`__start_NAME`) are contiguous.
            let rank = rank(id, section, program.machine(), phases);
            (Segment::of(section), rank, section.array, id)
        })
        .collect();
    keyed.sort_by_key(|(run, rank, array, _)| (*run, *rank, *array));
    keyed.into_iter().map(|(.., id)| id).collect()
}

/// The sort key of a section within its segment.
fn rank(id: SectionId, section: &Section<'_>, machine: Machine, phases: &SectionPhases) -> u8 {
    let is_array = section.array.is_some();
    match Segment::of(section) {
        Segment::Text => phases.rank(id, section),
        // Arrays are contiguous, whether or not each part needs relocations.
        Segment::RoData => u8::from(is_array || has_addresses(section, machine)),
        Segment::Data => u8::from(!is_array && !has_addresses(section, machine)),
        Segment::Got | Segment::Bss => 0,
    }
}

/// Total bytes of `sections` when the first one starts at a page boundary.
fn measure(program: &Program<'_>, sections: &[SectionId]) -> Result<u64, PackError> {
    let mut extent = SegmentExtent::EMPTY;
    for section in sections.iter().filter_map(|id| program.section(*id)) {
        extent.reserve(section.size, section.alignment)?;
    }
    Ok(extent.size)
}

/// Whether the loader has to write to the section.
fn has_addresses(section: &Section<'_>, machine: Machine) -> bool {
    section.relocs.iter().copied().flatten().any(|rela| machine.is_address(decode(rela, 0).0))
}

impl ModuleLayout {
    fn extent(&mut self, run: Segment) -> &mut SegmentExtent {
        let [text, rodata, table, data, bss] = &mut self.extents;
        match run {
            Segment::Text => text,
            Segment::RoData => rodata,
            Segment::Got => table,
            Segment::Data => data,
            Segment::Bss => bss,
        }
    }

    fn place_sections(&mut self, program: &Program<'_>, plan: &RelocPlan) -> Result<(), PackError> {
        let order = self.order.clone();
        let section = |id: &SectionId| program.section(*id);
        let is_text =
            |id: &SectionId| section(id).is_some_and(|found| Segment::of(found) == Segment::Text);
        let text = order.get(..order.partition_point(is_text)).unwrap_or(&[]);
        let is_warm =
            |id: &SectionId| section(id).is_some_and(|found| !self.phases.is_cold(*id, found));
        let (warm, cold) =
            text.split_at_checked(text.partition_point(is_warm)).unwrap_or((text, &[]));
        self.place_all(program, warm)?;
        self.place_stubs(plan)?;
        if self.is_better_on_own_page(measure(program, cold)?) {
            self.extent(Segment::Text).reserve(0, prelink::PAGE)?;
        }
        self.place_all(program, cold)?;
        self.place_all(program, order.get(text.len()..).unwrap_or(&[]))
    }

    /// Whether starting `cold` bytes of cold code at a page boundary keeps it off the pages of warm code
    /// without an additional page.
    fn is_better_on_own_page(&mut self, cold: u64) -> bool {
        let warm = self.extent(Segment::Text).size;
        let pages = |bytes: u64| bytes.div_ceil(prelink::PAGE);
        let as_many = pages(warm) + pages(cold) == pages(warm.saturating_add(cold));
        as_many && cold != 0 && !warm.is_multiple_of(prelink::PAGE)
    }

    fn place_all(&mut self, program: &Program<'_>, order: &[SectionId]) -> Result<(), PackError> {
        for id in order.iter().copied() {
            let Some(section) = program.section(id) else { continue };
            let run = Segment::of(section);
            let start = self.extent(run).reserve(section.size, section.alignment)?;
            if let Some(offset) = self.offset_of(id) {
                *offset = Some(start);
            }
            if let Some(array) = section.array {
                self.extend_bounds(array, run, start, start + section.size);
            }
        }
        Ok(())
    }

    fn offset_of(&mut self, id: SectionId) -> Option<&mut Option<u64>> {
        let sections = self.offsets.get_mut(usize::try_from(id.object).ok()?)?;
        sections.get_mut(usize::try_from(id.section).ok()?)
    }

    /// Extends the bounds of an array by a section.
    fn extend_bounds(&mut self, array: u32, run: Segment, start: u64, end: u64) {
        let bounds = self.bounds.entry(array).or_insert(Some((run, start, end)));
        *bounds = match *bounds {
            Some((known, from, to)) if known == run => Some((run, from.min(start), to.max(end))),
            _ => None,
        };
    }

    /// Places the stubs behind the warm code.
    fn place_stubs(&mut self, plan: &RelocPlan) -> Result<(), PackError> {
        let stubs = u64::try_from(plan.stubs.len()).unwrap_or(u64::MAX);
        if stubs != 0 {
            let size = stubs.saturating_mul(self.stub_bytes());
            self.stubs = self.extent(Segment::Text).reserve(size, 16)?;
        }
        Ok(())
    }

    fn place_slots(&mut self, plan: &RelocPlan) -> Result<(), PackError> {
        let slots = u64::try_from(plan.slots.len()).unwrap_or(u64::MAX);
        if slots != 0 || plan.uses_got {
            self.extent(Segment::Got).reserve(slots.max(1).saturating_mul(SLOT), SLOT)?;
        }
        Ok(())
    }

    fn stub_bytes(&self) -> u64 {
        u64::try_from(self.machine.stub().bytes.len()).unwrap_or(u64::MAX)
    }

    /// Makes one module section of each segment, and an image of all of them.
    fn make_packed_sections(&mut self) -> Result<(), PackError> {
        let (mut end, mut last) = (0u64, SectionKind::Code);
        for run in Segment::ALL {
            let extent = *self.extent(run);
            if !extent.is_used {
                continue;
            }
            let (name, kind, flags): (&[u8], _, _) = match run {
                Segment::Text => (b".text", SectionKind::Code, CODE),
                Segment::RoData => (b".rodata", SectionKind::RoData, READ),
                Segment::Got => (b".got", SectionKind::RoData, READ),
                Segment::Data => (b".data", SectionKind::Data, WRITE),
                Segment::Bss => (b".bss", SectionKind::Bss, WRITE),
            };
            let shares = kind == last || kind == SectionKind::Bss && last == SectionKind::Data;
            let alignment = if shares { extent.alignment } else { prelink::PAGE };
            let start = end.next_multiple_of(alignment);
            end = start.saturating_add(extent.size);
            if end > LIMIT {
                return Err(PackError::TooLarge);
            }
            last = kind;
            let len = if run == Segment::Bss { 0 } else { extent.size };
            *self.extent(run) = SegmentExtent { output: self.outputs.len(), ..extent };
            let (alignment, size) = (extent.alignment, extent.size);
            let flags = SectionFlags(flags);
            self.outputs.push(OutputSection {
                name,
                kind,
                flags,
                alignment,
                len,
                size,
                image: Some(start),
            });
        }
        Ok(())
    }

    /// Makes a code section and one data section of all other segments: symbols cannot lie in other sections.
    fn make_native_sections(&mut self) -> Result<(), PackError> {
        let text = *self.extent(Segment::Text);
        let flags = SectionFlags(CODE);
        if text.is_used {
            self.outputs.push(OutputSection {
                name: b".text",
                kind: SectionKind::Code,
                flags,
                alignment: text.alignment,
                len: text.size,
                size: text.size,
                image: None,
            });
        }
        let (output, mut all, mut len) = (self.outputs.len(), SegmentExtent::EMPTY, 0);
        for run in [Segment::RoData, Segment::Got, Segment::Data, Segment::Bss] {
            let extent = *self.extent(run);
            if extent.is_used {
                let base = all.reserve(extent.size, extent.alignment)?;
                *self.extent(run) = SegmentExtent { output, base, ..extent };
            }
            if run != Segment::Bss {
                len = all.size;
            }
        }
        if all.is_used {
            let (alignment, size) = (all.alignment, all.size);
            let flags = SectionFlags(WRITE);
            let kind = SectionKind::Data;
            self.outputs.push(OutputSection {
                name: b".data",
                kind,
                flags,
                alignment,
                len,
                size,
                image: None,
            });
        }
        Ok(())
    }

    /// Bytes of read-only data.
    pub(super) fn read_only_bytes(&self) -> u64 {
        let [_, rodata, table, ..] = &self.extents;
        rodata.size + table.size
    }

    fn at(&self, run: Segment, offset: u64) -> Option<Address> {
        let [text, rodata, table, data, bss] = &self.extents;
        let extent = match run {
            Segment::Text => text,
            Segment::RoData => rodata,
            Segment::Got => table,
            Segment::Data => data,
            Segment::Bss => bss,
        };
        // A symbol's value may exceed its section, but must not overflow.
        let offset = i64::try_from(offset).ok()?.checked_add(i64::try_from(extent.base).ok()?)?;
        Some(Address::Section { output: extent.output, offset })
    }

    /// The address of an input section; `None` when it is unreachable.
    pub(super) fn section(&self, program: &Program<'_>, id: SectionId) -> Option<Address> {
        let section = program.section(id)?;
        let offsets = self.offsets.get(usize::try_from(id.object).ok()?)?;
        self.at(Segment::of(section), (*offsets.get(usize::try_from(id.section).ok()?)?)?)
    }

    /// The address of a GOT slot.
    pub(super) fn slot(&self, number: u32) -> Option<Address> {
        self.at(Segment::Got, u64::from(number) * SLOT)
    }

    /// The address of a stub.
    pub(super) fn stub(&self, number: u32) -> Option<Address> {
        let offset = u64::from(number).checked_mul(self.stub_bytes())?;
        self.at(Segment::Text, offset.checked_add(self.stubs)?)
    }

    /// The address of the GOT.
    pub(super) fn table(&self) -> Option<Address> {
        self.at(Segment::Got, 0)
    }

    /// The address of a resolved symbol; `None` when its section is unreachable.
    pub(super) fn locate(&self, program: &Program<'_>, resolution: Resolution) -> Option<Address> {
        match resolution {
            Resolution::Section { id, value } => match self.section(program, id)? {
                Address::Section { output, offset } => {
                    let offset = offset.checked_add(i64::try_from(value).ok()?)?;
                    Some(Address::Section { output, offset })
                }
                other => Some(other),
            },
            Resolution::Common(id) => self.at(Segment::Bss, *self.commons.get(&id)?),
            Resolution::Absolute(value) => Some(Address::Absolute(value)),
            Resolution::Import(id) => Some(Address::Import(id)),
            Resolution::Got => self.table(),
            Resolution::DsoHandle => self.slot(self.handle?),
            Resolution::ArrayBound { array, end } => {
                let (run, from, to) = (*self.bounds.get(&array)?)?;
                self.at(run, if end { to } else { from })
            }
        }
    }
}

const READ: u32 = SectionFlags::READ;
const CODE: u32 = SectionFlags::READ | SectionFlags::EXECUTE;
const WRITE: u32 = SectionFlags::READ | SectionFlags::WRITE;
