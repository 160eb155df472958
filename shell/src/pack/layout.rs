//! Assigns addresses: input sections to segments, segments to sections of the module, and for the packed
//! layout those to an image with fixed distances (see [`prelink`]).
//!
//! Code comes first, in the order of its phases, cold code last. Constants follow, those with relocations
//! behind those without, so that the loader writes to few pages; then the global offset table; then data,
//! those with relocations first, and zeroes. Protections change at page boundaries.

use std::collections::{BTreeMap, HashMap};

use smf_core::format::ext::prelink;
use smf_core::format::{Layout, Phase, SectionKind};

use super::error::{PackError, Result};
use super::gc_sections::Reachable;
use super::object::{GlobalId, Section, SectionId};
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

    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64> {
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
pub(super) struct ModuleLayout<'p, 'd> {
    pub(super) program: &'p Program<'d>,
    pub(super) plan: &'p RelocPlan,
    pub(super) layout: Layout,
    pub(super) outputs: Vec<OutputSection>,
    /// The reachable input sections, in image order.
    pub(super) order: Vec<SectionId>,
    extents: BTreeMap<Segment, SegmentExtent>,
    /// Of each reachable section: bytes from the start of the segment.
    offsets: HashMap<SectionId, u64>,
    /// Bytes from the start of the Bss segment.
    commons: HashMap<GlobalId, u64>,
    pub(super) phases: SectionPhases,
    /// Segment, start and end of each section array; `None` when it spans more than one segment.
    bounds: HashMap<usize, Option<(Segment, u64, u64)>>,
    stubs: u64,
}

/// Assigns addresses to everything that is reachable.
///
/// # Errors
/// [`PackError::TooLarge`].
pub(super) fn place<'p, 'd>(
    reachable: &Reachable<'p, 'd>,
    plan: &'p RelocPlan,
    phases: SectionPhases,
    layout: Layout,
    entry: Option<Resolution>,
) -> Result<ModuleLayout<'p, 'd>> {
    let program = reachable.program;
    let mut addresses = ModuleLayout {
        program,
        plan,
        layout,
        outputs: Vec::new(),
        order: ordered(reachable, &phases),
        extents: BTreeMap::new(),
        offsets: HashMap::new(),
        commons: HashMap::new(),
        phases,
        bounds: HashMap::new(),
        stubs: 0,
    };
    let first = addresses.order.first().copied();
    if first.is_some_and(|id| entry == Some(Resolution::Section { id, value: 0 })) {
        addresses.extent(Segment::Text).reserve(ENTRY_PAD, 1)?;
    }
    addresses.place_sections()?;
    for id in reachable.commons() {
        let Some(global) = program.global(id) else { continue };
        let (size, alignment) = (global.common_size, global.common_alignment);
        let start = addresses.extent(Segment::Bss).reserve(size, alignment)?;
        addresses.commons.insert(id, start);
    }
    if !plan.slots.is_empty() || plan.uses_got {
        let slots = plan.slots.len().max(1) as u64;
        addresses.extent(Segment::Got).reserve(slots.saturating_mul(SLOT), SLOT)?;
    }
    let code = addresses.extent(Segment::Text);
    code.alignment = code.alignment.max(program.machine().isa().code_alignment);
    for extent in addresses.extents.values_mut() {
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
fn ordered(reachable: &Reachable<'_, '_>, phases: &SectionPhases) -> Vec<SectionId> {
    let live = reachable.sections();
    // The sections of an array (`__start_NAME`) are contiguous.
    let keyed = live.map(|(id, found)| {
        (Segment::of(found), rank(reachable.program, id, found, phases), found.array, id)
    });
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by_key(|(run, rank, array, _)| (*run, *rank, *array));
    keyed.into_iter().map(|(.., id)| id).collect()
}

/// The sort key of a section within its segment.
fn rank(program: &Program<'_>, id: SectionId, section: &Section<'_>, phases: &SectionPhases) -> u8 {
    // Arrays are contiguous, whether or not the loader has to write to each part.
    let is_written = || {
        let addresses = program.machine().isa().addresses;
        section.array.is_some()
            || section.relocs(id.object).any(|reloc| addresses.contains(&reloc.kind))
    };
    match Segment::of(section) {
        Segment::Text => phases.rank(id, section),
        Segment::RoData => u8::from(is_written()),
        Segment::Data => u8::from(!is_written()),
        Segment::Got | Segment::Bss => 0,
    }
}

impl ModuleLayout<'_, '_> {
    fn extent(&mut self, run: Segment) -> &mut SegmentExtent {
        self.extents.entry(run).or_insert(SegmentExtent::EMPTY)
    }

    /// Places all sections: warm code, the stubs, cold code and the rest.
    fn place_sections(&mut self) -> Result<()> {
        let order = self.order.clone();
        let section = |id: &SectionId| self.program.section(*id);
        let is_text = |id: &_| section(id).is_some_and(|s| Segment::of(s) == Segment::Text);
        let is_warm = |id: &_| section(id).is_some_and(|s| self.phases.of(*id, s) != Phase::Cold);
        let (text, others) = order.split_at(order.partition_point(is_text));
        let (warm, cold) = text.split_at(text.partition_point(is_warm));
        self.place_all(warm)?;
        let stubs = (self.plan.stubs.len() as u64).saturating_mul(self.stub_bytes());
        if stubs != 0 {
            self.stubs = self.extent(Segment::Text).reserve(stubs, 16)?;
        }
        if self.is_better_on_own_page(self.measure(cold)?) {
            self.extent(Segment::Text).reserve(0, prelink::PAGE)?;
        }
        self.place_all(cold)?;
        self.place_all(others)
    }

    /// Total bytes of `sections` when the first one starts at a page boundary.
    fn measure(&self, sections: &[SectionId]) -> Result<u64> {
        let mut extent = SegmentExtent::EMPTY;
        for section in sections.iter().filter_map(|id| self.program.section(*id)) {
            extent.reserve(section.size, section.alignment)?;
        }
        Ok(extent.size)
    }

    /// Whether starting `cold` bytes of cold code at a page boundary keeps it off the pages of warm code
    /// without an additional page.
    fn is_better_on_own_page(&mut self, cold: u64) -> bool {
        let warm = self.extent(Segment::Text).size;
        let pages = |bytes: u64| bytes.div_ceil(prelink::PAGE);
        let as_many = pages(warm) + pages(cold) == pages(warm.saturating_add(cold));
        as_many && cold != 0 && !warm.is_multiple_of(prelink::PAGE)
    }

    fn place_all(&mut self, order: &[SectionId]) -> Result<()> {
        for id in order {
            let Some(section) = self.program.section(*id) else { continue };
            let run = Segment::of(section);
            let start = self.extent(run).reserve(section.size, section.alignment)?;
            self.offsets.insert(*id, start);
            if let Some(array) = section.array {
                self.extend_bounds(array, run, start, start + section.size);
            }
        }
        Ok(())
    }

    /// Extends the bounds of an array by a section.
    fn extend_bounds(&mut self, array: usize, run: Segment, start: u64, end: u64) {
        let bounds = self.bounds.entry(array).or_insert(Some((run, start, end)));
        *bounds = match *bounds {
            Some((known, from, to)) if known == run => Some((run, from.min(start), to.max(end))),
            _ => None,
        };
    }

    fn stub_bytes(&self) -> u64 {
        self.program.machine().isa().stub.bytes.len() as u64
    }

    /// Makes one module section of each segment, and an image of all of them.
    fn make_packed_sections(&mut self) -> Result<()> {
        let (mut end, mut last) = (0u64, SectionKind::Code);
        for run in Segment::ALL {
            let SegmentExtent { size, alignment, is_used, .. } = *self.extent(run);
            if !is_used {
                continue;
            }
            let (name, kind): (&[u8], _) = match run {
                Segment::Text => (b".text", SectionKind::Code),
                Segment::RoData => (b".rodata", SectionKind::RoData),
                Segment::Got => (b".got", SectionKind::RoData),
                Segment::Data => (b".data", SectionKind::Data),
                Segment::Bss => (b".bss", SectionKind::Bss),
            };
            let shares = kind == last || kind == SectionKind::Bss && last == SectionKind::Data;
            let start = end.next_multiple_of(if shares { alignment } else { prelink::PAGE });
            end = start.saturating_add(size);
            if end > LIMIT {
                return Err(PackError::TooLarge);
            }
            last = kind;
            let (len, image) = (if run == Segment::Bss { 0 } else { size }, Some(start));
            self.extent(run).output = self.outputs.len();
            self.outputs.push(OutputSection { name, kind, alignment, len, size, image });
        }
        Ok(())
    }

    /// Makes a code section and one data section of all other segments: symbols cannot lie in other sections.
    fn make_native_sections(&mut self) -> Result<()> {
        let SegmentExtent { size, alignment, is_used, .. } = *self.extent(Segment::Text);
        if is_used {
            let (name, kind, len, image) = (b".text", SectionKind::Code, size, None);
            self.outputs.push(OutputSection { name, kind, alignment, len, size, image });
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
        let SegmentExtent { size, alignment, is_used, .. } = all;
        if is_used {
            let (name, kind, image) = (b".data", SectionKind::Data, None);
            self.outputs.push(OutputSection { name, kind, alignment, len, size, image });
        }
        Ok(())
    }

    /// Bytes of read-only data.
    pub(super) fn read_only_bytes(&self) -> u64 {
        let read_only = [Segment::RoData, Segment::Got].map(|run| self.extents.get(&run));
        read_only.iter().flatten().map(|extent| extent.size).sum()
    }

    fn at(&self, run: Segment, offset: u64) -> Option<Address> {
        let extent = self.extents.get(&run)?;
        // A symbol's value may exceed its section, but must not overflow.
        let offset = i64::try_from(offset).ok()?.checked_add(i64::try_from(extent.base).ok()?)?;
        Some(Address::Section { output: extent.output, offset })
    }

    /// The address of an input section; `None` when it is unreachable.
    pub(super) fn section(&self, id: SectionId) -> Option<Address> {
        self.at(Segment::of(self.program.section(id)?), *self.offsets.get(&id)?)
    }

    /// The address of a GOT slot.
    pub(super) fn slot(&self, number: usize) -> Option<Address> {
        self.at(Segment::Got, (number as u64).checked_mul(SLOT)?)
    }

    /// The address of a stub.
    pub(super) fn stub(&self, number: usize) -> Option<Address> {
        let offset = (number as u64).checked_mul(self.stub_bytes())?;
        self.at(Segment::Text, offset.checked_add(self.stubs)?)
    }

    /// The address of a resolved symbol; `None` when its section is unreachable.
    pub(super) fn locate(&self, resolution: Resolution) -> Option<Address> {
        match resolution {
            Resolution::Section { id, value } => match self.section(id)? {
                Address::Section { output, offset } => {
                    let offset = offset.checked_add(i64::try_from(value).ok()?)?;
                    Some(Address::Section { output, offset })
                }
                other => Some(other),
            },
            Resolution::Common(id) => self.at(Segment::Bss, *self.commons.get(&id)?),
            Resolution::Absolute(value) => Some(Address::Absolute(value)),
            Resolution::Import(id) => Some(Address::Import(id)),
            Resolution::Got => self.slot(0),
            Resolution::DsoHandle => self.slot(*self.plan.slot_numbers.get(&(resolution, 0))?),
            Resolution::ArrayBound { array, end } => {
                let (run, from, to) = (*self.bounds.get(&array)?)?;
                self.at(run, if end { to } else { from })
            }
        }
    }
}
