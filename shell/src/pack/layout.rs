//! Assigns addresses: input sections to segments, segments to sections of the module, and for the packed
//! layout those to an image with fixed distances (see [`prelink`]).
//!
//! Code comes first, in the order of its phases, cold code last. Constants follow, those with relocations
//! behind those without and if possible in a section of their own, so that the loader writes to few pages and maps the
//! others from the file; then the global offset table; then data,
//! those with relocations first, and zeroes. Protections change at page boundaries.

use std::collections::BTreeMap;

use ::object::elf;
use hashbrown::HashMap;

use smf_core::format::ext::{ifunc, prelink, tls};
use smf_core::format::{Layout, MAX_ALIGNMENT, Phase, SectionKind};
use smf_core::link::aarch64;

use super::eh_frame::EhFrameTable;
use super::error::{PackError, Result};
use super::gc_sections::Reachable;
use super::init_sections::{ArrayPart, Fragment, FragmentFrame, InitSection};
use super::merge::MergedSections;
use super::object::{GlobalId, Section, SectionId, SectionMap, SymbolId, SymbolLocation, text};
use super::output::{OutputSection, Segment};
use super::pack_reloc::{RegistrarCode, RelocPlan};
use super::phases::SectionPhases;
use super::registrars::Registrar;
use super::resolve::{ImageBound, Program, Resolution};
use super::tls_value::{TlsSymbol, TlsValue};

/// Bytes of a GOT slot.
pub(super) const SLOT: u64 = 8;
/// The offset of an explicit entry point that would be at 0, which means "no entry point".
const ENTRY_PAD: u64 = 16;
/// Distances within an image have to fit a signed 32-bit field.
const LIMIT: u64 = i32::MAX as u64;

/// The name and the kind of a module section, and the segments in it.
type SectionOf = (&'static [u8], SectionKind, &'static [Segment]);

/// The segments of code.
const CODE: &[Segment] = &[Segment::Text, Segment::Init, Segment::Fini];

/// The segments that a program addresses, in the order of all layouts. Zeroes are the last.
const PROGRAM: &[Segment] = &[
    Segment::Text,
    Segment::Init,
    Segment::Fini,
    Segment::RoData,
    Segment::RelRo,
    Segment::Data,
    Segment::Bss,
];

const PACKED_SECTIONS: [SectionOf; 11] = [
    (b".text", SectionKind::Code, CODE),
    (b".rodata", SectionKind::RoData, &[Segment::RoData]),
    (b".eh_frame", SectionKind::RoData, &[Segment::EhFrame]),
    (b".relro", SectionKind::RoData, &[Segment::RelRo]),
    (b".init_array", SectionKind::RoData, &[Segment::InitArray]),
    (b".fini_array", SectionKind::RoData, &[Segment::FiniArray]),
    (b".got", SectionKind::RoData, &[Segment::Got]),
    (tls::SECTION, SectionKind::RoData, &[Segment::Tls]),
    (ifunc::SECTION, SectionKind::Data, &[Segment::Igot]),
    (b".data", SectionKind::Data, &[Segment::Data]),
    (b".bss", SectionKind::Bss, &[Segment::Bss]),
];

/// Symbols cannot lie in sections other than code and data. Read-only sections have no symbols.
const NATIVE_SECTIONS: [SectionOf; 6] = [
    (b".text", SectionKind::Code, CODE),
    (
        b".data",
        SectionKind::Data,
        &[Segment::RoData, Segment::RelRo, Segment::Got, Segment::Data, Segment::Bss],
    ),
    (b".eh_frame", SectionKind::RoData, &[Segment::EhFrame]),
    (b".init_array", SectionKind::RoData, &[Segment::InitArray]),
    (b".fini_array", SectionKind::RoData, &[Segment::FiniArray]),
    (tls::SECTION, SectionKind::RoData, &[Segment::Tls]),
];

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

    /// Reserves `size` bytes. An alignment that is refused already takes a page at most, so that the further errors of the
    /// program are found in little memory.
    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64> {
        let is_valid = alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT;
        let alignment = if is_valid { alignment } else { prelink::PAGE };
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
    /// A value of thread-local storage that the loader provides, by its number, and an offset to add.
    Tls {
        import: usize,
        offset: i64,
    },
}

/// The addresses of everything in the module.
pub(super) struct ModuleLayout<'p, 'd> {
    pub(super) program: &'p Program<'d>,
    pub(super) plan: &'p RelocPlan,
    pub(super) layout: Layout,
    pub(super) outputs: Vec<OutputSection>,
    /// How many of the first module sections have a symbol.
    pub(super) symbol_outputs: usize,
    pub(super) eh_frame: &'p EhFrameTable,
    /// The reachable input sections, in image order.
    pub(super) order: Vec<SectionId>,
    /// Strings and constants that several sections have.
    pub(super) merged: MergedSections,
    extents: BTreeMap<Segment, SegmentExtent>,
    /// Of each reachable section: bytes from the start of the segment.
    offsets: SectionMap<u64>,
    /// Of each reachable section.
    placed: SectionMap<Address>,
    /// Bytes from the start of the Bss segment.
    commons: HashMap<GlobalId, u64>,
    pub(super) phases: SectionPhases,
    /// Segment, start and end of each section array. Those of a referenced array lie in one segment.
    bounds: HashMap<usize, (Segment, u64, u64)>,
    /// Bytes from the start of the code to the stubs of imports.
    stubs: u64,
    /// The same to the stubs whose address is taken.
    landing_stubs: u64,
    /// Bytes of the thread-local storage that the file contains; zeroes follow.
    tls_len: u64,
    /// The number of each indirect function, by section and offset of its resolver.
    pub(super) ifuncs: &'p HashMap<(SectionId, u64), usize>,
    /// Bytes from the start of the code to the stubs of indirect functions.
    ifunc_stubs: u64,
    /// Bytes from the start of the slots of indirect functions to those that the packer adds. Slots of input modules come
    /// first.
    ifunc_slots: u64,
    /// Bytes from the start of the code to each thunk.
    thunks: Vec<u64>,
    /// Bytes from the start of the text.
    registrars: HashMap<Registrar, u64>,
}

/// Assigns addresses to everything that is reachable.
///
/// # Errors
/// [`PackError::TooLarge`].
pub(super) fn place<'p, 'd>(
    reachable: &'p Reachable<'p, 'd>,
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
        symbol_outputs: 0,
        eh_frame: &reachable.eh_frame,
        order: ordered(reachable, &phases),
        merged: MergedSections::none(),
        extents: BTreeMap::new(),
        offsets: SectionMap::new(),
        placed: SectionMap::new(),
        commons: HashMap::new(),
        phases,
        bounds: HashMap::new(),
        stubs: 0,
        landing_stubs: 0,
        tls_len: 0,
        ifuncs: &reachable.ifuncs,
        ifunc_stubs: 0,
        ifunc_slots: 0,
        thunks: Vec::new(),
        registrars: HashMap::new(),
    };
    let first = addresses.order.first().copied();
    if first.is_some_and(|id| entry == Some(Resolution::Section { id, value: 0 })) {
        addresses.extent(Segment::Text).reserve(ENTRY_PAD, 1)?;
    }
    addresses.merged = MergedSections::new(program, &addresses.order);
    addresses.place_sections()?;
    addresses.reserve_tables(reachable)?;
    let code = addresses.extent(Segment::Text);
    code.alignment = code.alignment.max(program.machine().isa().code_alignment);
    for extent in addresses.extents.values_mut() {
        // A symbol at the end of an empty segment needs a byte to lie at.
        extent.size = extent.size.max(u64::from(extent.is_used));
    }
    addresses.make_sections()?;
    for number in 0..addresses.order.len() {
        let Some(&id) = addresses.order.get(number) else { continue };
        let segment = program.section(id).map(Segment::of);
        let at = segment.and_then(|run| addresses.at(run, *addresses.offsets.get(id)?));
        at.and_then(|at| addresses.placed.insert(id, at));
    }
    Ok(addresses)
}

/// The reachable sections in image order.
fn ordered(reachable: &Reachable<'_, '_>, phases: &SectionPhases) -> Vec<SectionId> {
    let live = reachable.sections();
    // The sections of an array (`__start_NAME`) are contiguous.
    let keyed = live.map(|(id, found)| {
        // As GNU ld orders those with a number: among constructors of one priority, the names decide.
        let is_numbered = InitSection::array_part(found).is_some_and(ArrayPart::is_numbered);
        let name = if is_numbered { found.name } else { &[] };
        (Segment::of(found), rank(reachable.program, id, found, phases), found.array, name, id)
    });
    let mut keyed: Vec<_> = keyed.collect();
    keyed.sort_by_key(|(run, rank, array, name, _)| (*run, *rank, *array, *name));
    keyed.into_iter().map(|(.., id)| id).collect()
}

/// The sort key of a section within its segment.
fn rank(
    program: &Program<'_>,
    id: SectionId,
    section: &Section<'_>,
    phases: &SectionPhases,
) -> u32 {
    // Arrays are contiguous, whether or not the loader has to write to each part.
    let is_written = || {
        let addresses = program.machine().isa().addresses;
        section.array.is_some()
            || section.relocs(id.object).any(|reloc| addresses.contains(&reloc.kind))
    };
    match Segment::of(section) {
        Segment::Text => u32::from(phases.rank(id, section)),
        Segment::RoData | Segment::RelRo => u32::from(is_written()),
        Segment::Data => u32::from(!is_written()),
        Segment::InitArray | Segment::FiniArray => {
            InitSection::array_part(section).map_or(0, |part| part.priority)
        }
        // Zeroes come last.
        Segment::Tls => u32::from(section.is_zeroes()),
        Segment::Init | Segment::Fini => 0,
        Segment::EhFrame | Segment::Got | Segment::Igot | Segment::Bss => 0,
    }
}

impl ModuleLayout<'_, '_> {
    fn extent(&mut self, run: Segment) -> &mut SegmentExtent {
        self.extents.entry(run).or_insert(SegmentExtent::EMPTY)
    }

    /// Reserves the memory of common symbols, unwinding tables and slots.
    fn reserve_tables(&mut self, reachable: &Reachable<'_, '_>) -> Result<()> {
        for &id in &reachable.commons {
            let Some(global) = self.program.global(id) else { continue };
            let (size, alignment) = (global.common_size, global.common_alignment);
            let start = self.extent(Segment::Bss).reserve(size, alignment)?;
            self.commons.insert(id, start);
        }
        if reachable.eh_frame.size != 0 {
            self.extent(Segment::EhFrame).reserve(reachable.eh_frame.size, SLOT)?;
        }
        if !self.plan.slots.is_empty() || self.plan.uses_got {
            let slots = self.plan.slots.len().max(1) as u64;
            let alignment = if self.plan.is_got_paged { aarch64::PAGE } else { SLOT };
            self.extent(Segment::Got).reserve(slots.saturating_mul(SLOT), alignment)?;
        }
        self.reserve_ifunc_slots()
    }

    /// Reserves the slots of indirect functions.
    fn reserve_ifunc_slots(&mut self) -> Result<()> {
        let is_slots = |id: &SectionId| {
            let section = self.program.section(*id);
            section.is_some_and(|section| Segment::of(section) == Segment::Igot)
        };
        let of_modules = self.order.iter().copied().find(is_slots);
        let own = self.ifuncs.keys().min().copied();
        let place = own.or_else(|| Some((of_modules?, 0)));
        let Some((first, value)) = place else { return Ok(()) };
        if self.layout == Layout::Native {
            let name = self.ifunc_name(first, value);
            return Err(PackError::Ifunc { name, object: self.program.title(first.object) });
        }
        let slots = self.ifuncs.len() as u64;
        if slots != 0 {
            self.ifunc_slots =
                self.extent(Segment::Igot).reserve(slots.saturating_mul(SLOT), SLOT)?;
        }
        Ok(())
    }

    /// The name of the indirect function at an offset of a section, or that of a section with slots of an input module.
    fn ifunc_name(&self, id: SectionId, value: u64) -> String {
        let place = SymbolLocation::Section { section: id.section, value };
        let object = self.program.object(id.object);
        let mut symbols = object.into_iter().flat_map(|object| object.symbols.iter());
        let symbol = symbols.find(|s| s.kind == elf::STT_GNU_IFUNC && s.place == place);
        let section = || self.program.section(id).map(|section| section.name);
        symbol.map(|symbol| symbol.name).or_else(section).map_or_else(String::new, text)
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
        self.stubs = self.reserve_stubs(self.plan.stubs.len(), self.stub_bytes())?;
        let bytes = self.landing_stub_bytes();
        self.landing_stubs = self.reserve_stubs(self.plan.landing_stubs.len(), bytes)?;
        self.ifunc_stubs = self.reserve_stubs(self.ifuncs.len(), bytes)?;
        for thunk in &self.plan.thunks {
            let start = self.extent(Segment::Text).reserve(thunk.bytes.len() as u64, 1)?;
            self.thunks.push(start);
        }
        for registrar in &self.plan.registrars {
            let size = self.registrar_code(*registrar).map_or(0, |code| code.bytes.len() as u64);
            let start = self.extent(Segment::Text).reserve(size, 16)?;
            self.registrars.insert(*registrar, start);
        }
        if self.is_better_on_own_page(self.measure(cold)?) {
            self.extent(Segment::Text).reserve(0, prelink::PAGE)?;
        }
        self.place_all(cold)?;
        let used = Fragment::ALL.into_iter().filter(|fragment| {
            let segment = fragment.segments().0;
            others.iter().any(|id| section(id).is_some_and(|s| Segment::of(s) == segment))
        });
        let used: Vec<_> = used.collect();
        for fragment in &used {
            let (code, array) = fragment.segments();
            let start = self.fragment_frame(*fragment).map_or(0, |frame| frame.start.len() as u64);
            self.extent(code).reserve(start, 16)?;
            self.extent(array).reserve(SLOT, SLOT)?;
        }
        self.place_all(others)?;
        for fragment in used {
            let end = self.fragment_frame(fragment).map_or(0, |frame| frame.end.len() as u64);
            self.extent(fragment.segments().0).reserve(end, 1)?;
        }
        Ok(())
    }

    /// Reserves `count` stubs of this size behind the code. Returns the offset of the first.
    fn reserve_stubs(&mut self, count: usize, bytes: u64) -> Result<u64> {
        match (count as u64).saturating_mul(bytes) {
            0 => Ok(0),
            stubs => self.extent(Segment::Text).reserve(stubs, 16),
        }
    }

    /// The instructions that are added to fragments; `None` if the input has them.
    pub(super) fn fragment_frame(&self, fragment: Fragment) -> Option<&'static FragmentFrame> {
        let is_complete = fragment.definition(self.program).is_some();
        Some(&self.program.machine().isa().fragments).filter(|_| !is_complete)
    }

    /// The start of a segment, and its size in bytes; `None` if it is empty.
    pub(super) fn segment(&self, run: Segment) -> Option<(Address, u64)> {
        let extent = self.extents.get(&run).filter(|extent| extent.is_used)?;
        Some((self.at(run, 0)?, extent.size))
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
            let size = self.merged.size(*id, section);
            let start = self.extent(run).reserve(size, section.alignment)?;
            self.offsets.insert(*id, start);
            if run == Segment::Tls && !section.is_zeroes() {
                self.tls_len = start + section.size;
            }
            if let Some(array) = section.array {
                let end = start + section.size;
                let known = self.bounds.entry(array).and_modify(|(.., known)| *known = end);
                known.or_insert((run, start, end));
            }
        }
        Ok(())
    }

    pub(super) fn registrar_code(&self, registrar: Registrar) -> Option<&'static RegistrarCode> {
        let position = Registrar::ALL.iter().position(|other| *other == registrar)?;
        self.program.machine().isa().registrars.get(position)
    }

    fn stub_bytes(&self) -> u64 {
        self.program.machine().isa().stub.bytes.len() as u64
    }

    fn landing_stub_bytes(&self) -> u64 {
        self.program.machine().isa().landing_stub.bytes.len() as u64
    }

    /// Makes the module sections, and for the packed layout an image of all of them.
    fn make_sections(&mut self) -> Result<()> {
        let is_native = self.layout == Layout::Native;
        let groups = if is_native { &NATIVE_SECTIONS[..] } else { &PACKED_SECTIONS };
        let (mut end, mut last) = (0u64, SectionKind::Code);
        for &(name, kind, segments) in groups {
            let (mut all, mut len) = (SegmentExtent::EMPTY, 0);
            for &run in segments {
                let output = self.outputs.len();
                let extent = self.extent(run);
                if extent.is_used {
                    let base = all.reserve(extent.size, extent.alignment)?;
                    (extent.output, extent.base) = (output, base);
                }
                len = match run {
                    Segment::Bss => len,
                    Segment::Tls => self.tls_len,
                    _ => all.size,
                };
            }
            let SegmentExtent { size, alignment, is_used, .. } = all;
            if !is_used {
                continue;
            }
            let shares = kind == last || kind == SectionKind::Bss && last == SectionKind::Data;
            let page = if shares { 1 } else { prelink::PAGE };
            let start = end.next_multiple_of(alignment.max(page));
            (end, last) = (start.saturating_add(size), kind);
            if end > LIMIT && !is_native {
                return Err(PackError::TooLarge);
            }
            let image = (!is_native).then_some(start);
            self.outputs.push(OutputSection { name, kind, alignment, len, size, image });
        }
        let has_symbol = |output: &&OutputSection| !is_native || output.kind != SectionKind::RoData;
        self.symbol_outputs = self.outputs.iter().take_while(has_symbol).count();
        Ok(())
    }

    /// The module section of a segment; `None` if it is empty.
    pub(super) fn output_of(&self, run: Segment) -> Option<usize> {
        self.extents.get(&run).filter(|extent| extent.is_used).map(|extent| extent.output)
    }

    /// Bytes of read-only data.
    pub(super) fn read_only_bytes(&self) -> u64 {
        let read_only =
            [Segment::RoData, Segment::RelRo, Segment::Got].map(|run| self.extents.get(&run));
        read_only.iter().flatten().map(|extent| extent.size).sum()
    }

    fn at(&self, run: Segment, offset: u64) -> Option<Address> {
        let extent = self.extents.get(&run)?;
        // A symbol's value may exceed its section, but must not overflow.
        let offset = i64::try_from(offset).ok()?.checked_add(i64::try_from(extent.base).ok()?)?;
        Some(Address::Section { output: extent.output, offset })
    }

    /// The address of an entry of a table of entries of `size` bytes, which starts at an offset of a segment.
    fn nth(&self, run: Segment, start: u64, number: usize, size: u64) -> Option<Address> {
        self.at(run, (number as u64).checked_mul(size)?.checked_add(start)?)
    }

    /// The address of an input section; `None` when it is unreachable.
    pub(super) fn section(&self, id: SectionId) -> Option<Address> {
        self.placed.get(id).copied()
    }

    /// The address of a GOT slot.
    pub(super) fn slot(&self, number: usize) -> Option<Address> {
        self.nth(Segment::Got, 0, number, SLOT)
    }

    /// The address of a stub.
    pub(super) fn stub(&self, number: usize) -> Option<Address> {
        self.nth(Segment::Text, self.stubs, number, self.stub_bytes())
    }

    /// The address of a stub whose address is taken.
    pub(super) fn landing_stub(&self, number: usize) -> Option<Address> {
        self.nth(Segment::Text, self.landing_stubs, number, self.landing_stub_bytes())
    }

    /// The stub and the slot of an indirect function.
    pub(super) fn ifunc(&self, number: usize) -> Option<(Address, Address)> {
        let bytes = self.landing_stub_bytes();
        let stub = self.nth(Segment::Text, self.ifunc_stubs, number, bytes);
        stub.zip(self.nth(Segment::Igot, self.ifunc_slots, number, SLOT))
    }

    /// The address of a thunk.
    pub(super) fn thunk(&self, number: usize) -> Option<Address> {
        self.at(Segment::Text, *self.thunks.get(number)?)
    }

    /// The address of a resolved symbol; `None` when its section is unreachable.
    pub(super) fn locate(&self, resolution: Resolution) -> Option<Address> {
        match resolution {
            Resolution::Section { id, value } => self.in_section(id, i64::try_from(value).ok()?),
            Resolution::Ifunc { id, value } => {
                self.ifunc(*self.ifuncs.get(&(id, value))?).map(|(stub, _)| stub)
            }
            Resolution::Common(id) => self.at(Segment::Bss, *self.commons.get(&id)?),
            Resolution::Absolute(value) => Some(Address::Absolute(value)),
            Resolution::Import(id) => Some(Address::Import(id)),
            Resolution::Got => self.slot(0),
            Resolution::DsoHandle => self.slot(self.plan.slots.get_index_of(&(resolution, 0))?),
            Resolution::Registrar(registrar) => {
                self.at(Segment::Text, *self.registrars.get(&registrar)?)
            }
            Resolution::ArrayBound { array, end } => {
                let (run, from, to) = *self.bounds.get(&array)?;
                self.at(run, if end { to } else { from })
            }
            Resolution::Bound(bound) => self.bound(bound),
            Resolution::Tls(value) => self.tls(value),
        }
    }

    /// The address at an offset of a section.
    fn in_section(&self, id: SectionId, value: i64) -> Option<Address> {
        let (id, value) = self.merged.find(id, value);
        match self.section(id)? {
            Address::Section { output, offset } => {
                Some(Address::Section { output, offset: offset.checked_add(value)? })
            }
            other => Some(other),
        }
    }

    /// The address and the addend of a reference through a symbol. The symbol of a section whose pieces are merged stands for
    /// the piece at the addend.
    pub(super) fn referent(
        &self,
        symbol: SymbolId,
        resolution: Resolution,
        addend: i64,
    ) -> Option<(Address, i64)> {
        let is_section = || {
            let symbol = self.program.symbol(symbol);
            symbol.is_some_and(|symbol| symbol.kind == elf::STT_SECTION)
        };
        match resolution {
            Resolution::Section { id, value } if self.merged.contains(id) && is_section() => {
                let offset = i64::try_from(value).ok()?.checked_add(addend)?;
                Some((self.in_section(id, offset)?, 0))
            }
            _ => Some((self.locate(resolution)?, addend)),
        }
    }

    /// The end of the last segment before a bound.
    fn bound(&self, bound: ImageBound) -> Option<Address> {
        let segments: &[Segment] = match bound {
            ImageBound::Code => CODE,
            ImageBound::Data => PROGRAM.split_last().map_or(PROGRAM, |(_, others)| others),
            ImageBound::Zeroes => PROGRAM,
        };
        let last = segments.iter().rev().find_map(|run| Some((*run, self.segment(*run)?.1)));
        // Without segments, the start of the image, which has no contents.
        let Some((run, size)) = last else { return Some(Address::Absolute(0)) };
        self.at(run, size)
    }

    /// A value of thread-local storage.
    fn tls(&self, value: TlsValue) -> Option<Address> {
        let offset = match value.symbol() {
            Some((TlsSymbol::Section { id, value }, more)) => {
                let offset = self.offsets.get(id)?.checked_add(value)?;
                i64::try_from(offset).ok()?.checked_add(more)?
            }
            Some((TlsSymbol::Base | TlsSymbol::Import(_), more)) => more,
            None => 0,
        };
        let Some(import) = value.import() else {
            return Some(Address::Absolute(offset.cast_unsigned()));
        };
        let import = self.plan.tls_imports.get_index_of(&import)?;
        Some(Address::Tls { import, offset })
    }
}
