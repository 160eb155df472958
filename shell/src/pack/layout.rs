//! Where everything goes: input sections into runs, runs into sections of the module, and those
//! into an image whose distances are fixed.
//!
//! The order serves the loader: code first, in the order in which it runs, what hardly ever does last; then
//! constants, those that need a fix-up behind those that do not, so that few pages are written to; then
//! the table of addresses; then data in the same way, and zeroes. Protections change at a page.

use std::collections::HashMap;

use ::object::elf;
use smf_core::format::ext::prelink;
use smf_core::format::{Layout, SectionFlags, SectionKind};

use super::error::PackError;
use super::gc_sections::{Reach, decode};
use super::machine::Machine;
use super::object::{GlobalId, Section, SectionId};
use super::phases::Phases;
use super::relocs::Fixes;
use super::resolve::{Program, Referent};

/// Bytes of a slot of the table of addresses.
pub(super) const SLOT: u64 = 8;
/// What an explicit entry is moved to when it would be at 0, which reads as no entry at all.
const ENTRY_PAD: u64 = 16;
/// Every distance within an image must fit a signed 32-bit number.
const LIMIT: u64 = i32::MAX as u64;

/// A run of input sections with one use, in the order of the image.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Run {
    Text,
    RoData,
    Table,
    Data,
    Bss,
}

impl Run {
    const ALL: [Run; 5] = [Run::Text, Run::RoData, Run::Table, Run::Data, Run::Bss];

    pub(super) fn of(section: &Section<'_>) -> Run {
        if section.is_code() {
            Run::Text
        } else if section.is_zeroes() {
            Run::Bss
        } else if !section.has(elf::SHF_WRITE) || is_called(section.name, b".data.rel.ro") {
            Run::RoData
        } else {
            Run::Data
        }
    }

    /// Whether the program may write to it.
    pub(super) fn is_writable(self) -> bool {
        matches!(self, Run::Data | Run::Bss)
    }
}

/// How much a run takes.
#[derive(Clone, Copy)]
struct Extent {
    size: u64,
    alignment: u64,
    /// Something lies in it, if only a symbol.
    is_used: bool,
    /// The section of the module that it is part of, and where in it.
    home: usize,
    base: u64,
}

impl Extent {
    const EMPTY: Extent = Extent { size: 0, alignment: 1, is_used: false, home: 0, base: 0 };

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

/// A section of the module.
pub(super) struct Home {
    pub(super) name: &'static [u8],
    pub(super) kind: SectionKind,
    pub(super) flags: SectionFlags,
    pub(super) alignment: u64,
    /// Bytes in the file, and in memory.
    pub(super) len: u64,
    pub(super) size: u64,
    /// Where it begins in the image, when the layout can say so.
    pub(super) image: Option<u64>,
}

/// What a reference means in the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Located {
    /// Bytes from the begin of a section of the module; before it or behind it, too, when an object
    /// counts from there.
    At {
        home: usize,
        offset: i64,
    },
    Number(u64),
    Import(GlobalId),
}

/// Where everything is.
pub(super) struct Placement {
    pub(super) homes: Vec<Home>,
    /// The sections that are needed, in the order of the image.
    pub(super) order: Vec<SectionId>,
    extents: [Extent; 5],
    /// By object and section: bytes from the begin of the run, of what is needed.
    offsets: Vec<Vec<Option<u64>>>,
    /// Bytes from the begin of the zeroes.
    commons: HashMap<GlobalId, u64>,
    machine: Machine,
    pub(super) phases: Phases,
    /// Where the sections of an array begin and end; `None` when they are in more than one run.
    bounds: HashMap<u32, Option<(Run, u64, u64)>>,
    stubs: u64,
    handle: Option<u32>,
}

/// Places everything that is needed.
///
/// # Errors
/// [`PackError::TooLarge`].
pub(super) fn place(
    program: &Program<'_>,
    reach: &Reach,
    fixes: &Fixes,
    phases: Phases,
    layout: Layout,
    entry: Option<Referent>,
) -> Result<Placement, PackError> {
    let offsets = program.objects.iter().map(|object| vec![None; object.sections.len()]).collect();
    let mut placement = Placement {
        homes: Vec::new(),
        order: ordered(program, reach, &phases),
        extents: [Extent::EMPTY; 5],
        offsets,
        commons: HashMap::new(),
        machine: program.machine(),
        phases,
        bounds: HashMap::new(),
        stubs: 0,
        handle: fixes.handle(),
    };
    let first = placement.order.first().copied();
    if first.is_some_and(|id| entry == Some(Referent::Section { id, value: 0 })) {
        placement.extent(Run::Text).reserve(ENTRY_PAD, 1)?;
    }
    placement.place_sections(program, fixes)?;
    for id in reach.commons() {
        let Some(global) = program.global(id) else { continue };
        let (size, alignment) = (global.common_size, global.common_alignment);
        let start = placement.extent(Run::Bss).reserve(size, alignment)?;
        placement.commons.insert(id, start);
    }
    placement.place_slots(fixes)?;
    let code = placement.extent(Run::Text);
    code.alignment = code.alignment.max(program.machine().code_alignment());
    for extent in &mut placement.extents {
        // Where a symbol lies there is a byte for it to lie at.
        extent.size = extent.size.max(u64::from(extent.is_used));
    }
    match layout {
        Layout::Native => placement.make_native_homes()?,
        _ => placement.make_packed_homes()?,
    }
    Ok(placement)
}

/// The needed sections in the order of the image.
fn ordered(program: &Program<'_>, reach: &Reach, phases: &Phases) -> Vec<SectionId> {
    let live = program.sections().filter(|(id, _)| reach.is_live(*id));
    let mut keyed: Vec<_> = live
        .map(|(id, section)| {
            // Those that `__start_NAME` may speak of stand together.
            let rank = rank(id, section, program.machine(), phases);
            (Run::of(section), rank, section.array, id)
        })
        .collect();
    keyed.sort_by_key(|(run, rank, array, _)| (*run, *rank, *array));
    keyed.into_iter().map(|(.., id)| id).collect()
}

/// The place of a section within its run.
fn rank(id: SectionId, section: &Section<'_>, machine: Machine, phases: &Phases) -> u8 {
    let is_array = section.array.is_some();
    match Run::of(section) {
        Run::Text => phases.rank(id, section),
        // Arrays stay in one piece, whether each part of them needs a fix-up or not.
        Run::RoData => u8::from(is_array || has_addresses(section, machine)),
        Run::Data => u8::from(!is_array && !has_addresses(section, machine)),
        Run::Table | Run::Bss => 0,
    }
}

/// Bytes of sections that stand one behind the other, the first of them at a page.
fn measure(program: &Program<'_>, sections: &[SectionId]) -> Result<u64, PackError> {
    let mut extent = Extent::EMPTY;
    for section in sections.iter().filter_map(|id| program.section(*id)) {
        extent.reserve(section.size, section.alignment)?;
    }
    Ok(extent.size)
}

/// Whether a section has this name, with or without something after another dot: `.data.rel.root` is
/// no `.data.rel.ro` but holds a variable called `root`.
pub(super) fn is_called(name: &[u8], wanted: &[u8]) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

/// Whether the loader will have to write to the section.
fn has_addresses(section: &Section<'_>, machine: Machine) -> bool {
    section.relocs.iter().copied().flatten().any(|rela| machine.is_address(decode(rela, 0).0))
}

impl Placement {
    fn extent(&mut self, run: Run) -> &mut Extent {
        let [text, rodata, table, data, bss] = &mut self.extents;
        match run {
            Run::Text => text,
            Run::RoData => rodata,
            Run::Table => table,
            Run::Data => data,
            Run::Bss => bss,
        }
    }

    fn place_sections(&mut self, program: &Program<'_>, fixes: &Fixes) -> Result<(), PackError> {
        let order = self.order.clone();
        let section = |id: &SectionId| program.section(*id);
        let is_text = |id: &SectionId| section(id).is_some_and(|found| Run::of(found) == Run::Text);
        let text = order.get(..order.partition_point(is_text)).unwrap_or(&[]);
        let is_warm =
            |id: &SectionId| section(id).is_some_and(|found| !self.phases.is_cold(*id, found));
        let (warm, cold) =
            text.split_at_checked(text.partition_point(is_warm)).unwrap_or((text, &[]));
        self.place_all(program, warm)?;
        self.place_stubs(fixes)?;
        if self.is_better_apart(measure(program, cold)?) {
            self.extent(Run::Text).reserve(0, prelink::PAGE)?;
        }
        self.place_all(program, cold)?;
        self.place_all(program, order.get(text.len()..).unwrap_or(&[]))
    }

    /// Whether `cold` bytes of code touch a page less when they begin with one, and no more are taken in
    /// all.
    fn is_better_apart(&mut self, cold: u64) -> bool {
        let warm = self.extent(Run::Text).size;
        let pages = |bytes: u64| bytes.div_ceil(prelink::PAGE);
        let as_many = pages(warm) + pages(cold) == pages(warm.saturating_add(cold));
        as_many && cold != 0 && !warm.is_multiple_of(prelink::PAGE)
    }

    fn place_all(&mut self, program: &Program<'_>, order: &[SectionId]) -> Result<(), PackError> {
        for id in order.iter().copied() {
            let Some(section) = program.section(id) else { continue };
            let run = Run::of(section);
            let start = self.extent(run).reserve(section.size, section.alignment)?;
            if let Some(offset) = self.offset_of(id) {
                *offset = Some(start);
            }
            if let Some(array) = section.array {
                self.stretch(array, run, start, start + section.size);
            }
        }
        Ok(())
    }

    fn offset_of(&mut self, id: SectionId) -> Option<&mut Option<u64>> {
        let sections = self.offsets.get_mut(usize::try_from(id.object).ok()?)?;
        sections.get_mut(usize::try_from(id.section).ok()?)
    }

    /// Adds a section to those of its name.
    fn stretch(&mut self, array: u32, run: Run, start: u64, end: u64) {
        let bounds = self.bounds.entry(array).or_insert(Some((run, start, end)));
        *bounds = match *bounds {
            Some((known, from, to)) if known == run => Some((run, from.min(start), to.max(end))),
            _ => None,
        };
    }

    /// Places the stubs, behind the code that is used.
    fn place_stubs(&mut self, fixes: &Fixes) -> Result<(), PackError> {
        let stubs = u64::try_from(fixes.stubs.len()).unwrap_or(u64::MAX);
        if stubs != 0 {
            let size = stubs.saturating_mul(self.stub_bytes());
            self.stubs = self.extent(Run::Text).reserve(size, 16)?;
        }
        Ok(())
    }

    fn place_slots(&mut self, fixes: &Fixes) -> Result<(), PackError> {
        let slots = u64::try_from(fixes.slots.len()).unwrap_or(u64::MAX);
        if slots != 0 || fixes.names_table {
            self.extent(Run::Table).reserve(slots.max(1).saturating_mul(SLOT), SLOT)?;
        }
        Ok(())
    }

    fn stub_bytes(&self) -> u64 {
        u64::try_from(self.machine.stub().bytes.len()).unwrap_or(u64::MAX)
    }

    /// One section for each run, and an image of all of them.
    fn make_packed_homes(&mut self) -> Result<(), PackError> {
        let (mut end, mut last) = (0u64, SectionKind::Code);
        for run in Run::ALL {
            let extent = *self.extent(run);
            if !extent.is_used {
                continue;
            }
            let (name, kind, flags): (&[u8], _, _) = match run {
                Run::Text => (b".text", SectionKind::Code, CODE),
                Run::RoData => (b".rodata", SectionKind::RoData, READ),
                Run::Table => (b".got", SectionKind::RoData, READ),
                Run::Data => (b".data", SectionKind::Data, WRITE),
                Run::Bss => (b".bss", SectionKind::Bss, WRITE),
            };
            let shares = kind == last || kind == SectionKind::Bss && last == SectionKind::Data;
            let alignment = if shares { extent.alignment } else { prelink::PAGE };
            let start = end.next_multiple_of(alignment);
            end = start.saturating_add(extent.size);
            if end > LIMIT {
                return Err(PackError::TooLarge);
            }
            last = kind;
            let len = if run == Run::Bss { 0 } else { extent.size };
            *self.extent(run) = Extent { home: self.homes.len(), ..extent };
            let (alignment, size) = (extent.alignment, extent.size);
            let flags = SectionFlags(flags);
            self.homes.push(Home { name, kind, flags, alignment, len, size, image: Some(start) });
        }
        Ok(())
    }

    /// Code, and one data section for all the rest: symbols can lie in no others.
    fn make_native_homes(&mut self) -> Result<(), PackError> {
        let text = *self.extent(Run::Text);
        let flags = SectionFlags(CODE);
        if text.is_used {
            self.homes.push(Home {
                name: b".text",
                kind: SectionKind::Code,
                flags,
                alignment: text.alignment,
                len: text.size,
                size: text.size,
                image: None,
            });
        }
        let (home, mut all, mut len) = (self.homes.len(), Extent::EMPTY, 0);
        for run in [Run::RoData, Run::Table, Run::Data, Run::Bss] {
            let extent = *self.extent(run);
            if extent.is_used {
                let base = all.reserve(extent.size, extent.alignment)?;
                *self.extent(run) = Extent { home, base, ..extent };
            }
            if run != Run::Bss {
                len = all.size;
            }
        }
        if all.is_used {
            let (alignment, size) = (all.alignment, all.size);
            let flags = SectionFlags(WRITE);
            let kind = SectionKind::Data;
            self.homes.push(Home {
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

    fn at(&self, run: Run, offset: u64) -> Option<Located> {
        let [text, rodata, table, data, bss] = &self.extents;
        let extent = match run {
            Run::Text => text,
            Run::RoData => rodata,
            Run::Table => table,
            Run::Data => data,
            Run::Bss => bss,
        };
        // A symbol may count beyond its section, but not around the numbers.
        let offset = i64::try_from(offset).ok()?.checked_add(i64::try_from(extent.base).ok()?)?;
        Some(Located::At { home: extent.home, offset })
    }

    /// Where a section of an object is; `None` when nothing needs it.
    pub(super) fn section(&self, program: &Program<'_>, id: SectionId) -> Option<Located> {
        let section = program.section(id)?;
        let offsets = self.offsets.get(usize::try_from(id.object).ok()?)?;
        self.at(Run::of(section), (*offsets.get(usize::try_from(id.section).ok()?)?)?)
    }

    /// Where a slot of the table of addresses is.
    pub(super) fn slot(&self, number: u32) -> Option<Located> {
        self.at(Run::Table, u64::from(number) * SLOT)
    }

    /// Where a stub is.
    pub(super) fn stub(&self, number: u32) -> Option<Located> {
        let offset = u64::from(number).checked_mul(self.stub_bytes())?;
        self.at(Run::Text, offset.checked_add(self.stubs)?)
    }

    /// Where the table of addresses begins.
    pub(super) fn table(&self) -> Option<Located> {
        self.at(Run::Table, 0)
    }

    /// What a reference means; `None` for one that leads nowhere.
    pub(super) fn locate(&self, program: &Program<'_>, referent: Referent) -> Option<Located> {
        match referent {
            Referent::Section { id, value } => match self.section(program, id)? {
                Located::At { home, offset } => {
                    let offset = offset.checked_add(i64::try_from(value).ok()?)?;
                    Some(Located::At { home, offset })
                }
                other => Some(other),
            },
            Referent::Common(id) => self.at(Run::Bss, *self.commons.get(&id)?),
            Referent::Absolute(value) => Some(Located::Number(value)),
            Referent::Import(id) => Some(Located::Import(id)),
            Referent::Got => self.table(),
            Referent::Handle => self.slot(self.handle?),
            Referent::Bound { array, end } => {
                let (run, from, to) = (*self.bounds.get(&array)?)?;
                self.at(run, if end { to } else { from })
            }
        }
    }
}

const READ: u32 = SectionFlags::READ;
const CODE: u32 = SectionFlags::READ | SectionFlags::EXECUTE;
const WRITE: u32 = SectionFlags::READ | SectionFlags::WRITE;
