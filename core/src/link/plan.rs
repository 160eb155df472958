//! Where everything of a module goes in its image, before there is any memory for it.
//!
//! An image is one run of pages: code and veneers, then constants and the GOT, then data and zeroes;
//! what differs in protection never shares a page. A file may bring a placement of its own
//! (`.smf.image`), under which its writer has already settled what code says about distances; it is
//! then kept, and veneers and GOT follow behind.

use alloc::vec::Vec;

use super::error::{LinkError, ShortName};
use super::machine::{Machine, Need, VENEER, for_machine};
use crate::format::image::{self, ImagePlan};
use crate::format::{RelocKind, RelocTable, Section, SectionKind, Smf, SymbolPlace};
use crate::memory::Protection;

/// Bytes of a GOT slot.
pub(super) const SLOT: u64 = 8;

/// A symbol's place in the GOT and among the veneers; counts from 1, 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    pub(super) got: u32,
    pub(super) veneer: u32,
}

/// A run of pages of one protection, in bytes from the begin of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) protection: Protection,
}

/// The plan of one image.
pub(super) struct Plan<'d> {
    /// The placement that the file brings, when it can be kept.
    image: Option<ImagePlan<'d>>,
    /// Where each section begins, from the begin of the image; `None` when it is not loaded.
    pub(super) sections: Vec<Option<u64>>,
    /// Bytes that each section takes in memory.
    pub(super) sizes: Vec<u64>,
    pub(super) targets: Vec<SymbolPlace>,
    /// One for each symbol, or none at all when no relocation needs a slot.
    pub(super) slots: Vec<Slots>,
    pub(super) veneers: u64,
    pub(super) got: u64,
    pub(super) got_count: u32,
    /// Sorted, disjoint, from 0 to the end.
    pub(super) regions: Vec<Region>,
    pub(super) size: u64,
    /// A relocation wants addresses below 2^32.
    pub(super) low: bool,
}

/// A vector of `len` copies, or an error when there is no memory for it.
pub(super) fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>, LinkError> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| LinkError::OutOfMemory)?;
    vector.resize(len, value);
    Ok(vector)
}

/// What the relocations of a module ask for.
#[derive(Default)]
struct Demand {
    got: u32,
    veneers: u32,
    low: bool,
}

impl<'d> Plan<'d> {
    /// Plans the image of `smf`, checking every symbol and relocation on the way.
    pub(super) fn new(smf: &Smf<'d>, page: u64) -> Result<Self, LinkError> {
        let count = smf.sections().len();
        // Larger pages would put two protections on one.
        let image = ImagePlan::of(smf)?.filter(|_| page <= image::PAGE);
        let mut plan = Plan {
            image,
            sections: filled(count, None)?,
            sizes: filled(count, 0)?,
            targets: Vec::new(),
            slots: Vec::new(),
            veneers: 0,
            got: 0,
            got_count: 0,
            regions: Vec::new(),
            size: 0,
            low: false,
        };
        for (size, section) in plan.sizes.iter_mut().zip(smf.sections().iter()) {
            *size = section.memory_size();
        }
        plan.find_targets(smf)?;
        let demand = for_machine!(smf.header().arch, plan.check_relocs(smf))?;
        plan.low = demand.low;
        plan.place(smf, &demand, page)?;
        Ok(plan)
    }

    /// Finds out where each symbol lies, and checks that it lies inside its section. The section of a
    /// symbol is nearly always that of the one before.
    fn find_targets(&mut self, smf: &Smf<'_>) -> Result<(), LinkError> {
        let symbols = smf.symbols();
        let count = u32::try_from(symbols.len()).map_err(|_| LinkError::TooLarge)?;
        self.targets.try_reserve_exact(symbols.len()).map_err(|_| LinkError::OutOfMemory)?;
        let mut last = None;
        for index in 0..count {
            let place = symbols.place(index)?;
            self.targets.push(place);
            let SymbolPlace::Section { section, value, size } = place else { continue };
            let room = match last {
                Some((number, room)) if number == section => room,
                _ => {
                    let lost = smf.section(section)?.has_lost_size();
                    let room = self.sizes.get(to_usize(section)).copied();
                    let room = room.filter(|_| !lost);
                    last = Some((section, room));
                    room
                }
            };
            let end = value.checked_add(size);
            match (room, end) {
                (Some(room), Some(end)) if end <= room => {}
                (None, Some(end)) => self.grow(section, end),
                _ => return symbols.get(index)?.check_place(room.unwrap_or(0)).map_err(Into::into),
            }
        }
        Ok(())
    }

    /// Makes a section whose size was lost as long as a symbol in it asks for.
    fn grow(&mut self, section: u32, end: u64) {
        if let Some(size) = self.sizes.get_mut(to_usize(section)) {
            *size = end.max(*size);
        }
    }

    /// Checks every relocation that will be applied and gives out GOT slots and veneers.
    fn check_relocs<M: Machine>(&mut self, smf: &Smf<'_>) -> Result<Demand, LinkError> {
        let mut demand = Demand::default();
        let is_long = self.code_bytes(smf) > M::BRANCH_REACH;
        for table in smf.reloc_tables() {
            let table = table?;
            if self.is_settled(&table) {
                continue;
            }
            smf.verify_relocs(&table)?;
            if !table.is_empty() && !table.target.kind.is_loaded() {
                return Err(LinkError::NotLoaded { section: table.section.index });
            }
            self.give_slots::<M>(smf, &table, is_long, &mut demand)?;
        }
        Ok(demand)
    }

    /// Bytes of code, which branches may have to cross.
    fn code_bytes(&self, smf: &Smf<'_>) -> u64 {
        let sections = smf.sections().iter().zip(&self.sizes);
        let code = sections.filter(|(section, _)| section.kind == SectionKind::Code);
        code.fold(0, |all, (_, size)| all.saturating_add(*size))
    }

    /// Gives out what the relocations of one table need. `is_long` says that branches within the module
    /// may need veneers as well.
    fn give_slots<M: Machine>(
        &mut self,
        smf: &Smf<'_>,
        table: &RelocTable<'_>,
        is_long: bool,
        demand: &mut Demand,
    ) -> Result<(), LinkError> {
        for (index, reloc) in (0u32..).zip(table.iter()) {
            let symbol = to_usize(reloc.symbol);
            let target = self.targets.get(symbol).copied().unwrap_or(SymbolPlace::Nowhere);
            let section = table.section.index;
            if target == SymbolPlace::Nowhere && reloc.kind != RelocKind::None {
                let symbol = ShortName::new(smf.symbols().get(reloc.symbol)?.name());
                return Err(LinkError::NoAddress { section, index, symbol });
            }
            let is_far = is_long || matches!(target, SymbolPlace::Import { .. });
            let kind = reloc.kind;
            match M::need(kind).ok_or(LinkError::RelocKind { section, index, kind })? {
                Need::Nothing => {}
                Need::Veneer if !is_far => {}
                Need::Low => demand.low = true,
                Need::Slot => give(&mut self.slot(symbol)?.got, &mut demand.got),
                Need::Veneer => {
                    let slots = self.slot(symbol)?;
                    give(&mut slots.veneer, &mut demand.veneers);
                    if M::JUMPS_THROUGH_GOT {
                        give(&mut slots.got, &mut demand.got);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the placement is that of the file's writer.
    pub(super) fn keeps_image(&self) -> bool {
        self.image.is_some()
    }

    /// Whether the file's writer has applied a table under the placement that is kept.
    pub(super) fn is_settled(&self, table: &RelocTable<'_>) -> bool {
        self.image.is_some_and(|image| image.is_settled(table.section.index))
    }

    fn slot(&mut self, symbol: usize) -> Result<&mut Slots, LinkError> {
        if self.slots.is_empty() {
            self.slots = filled(self.targets.len(), Slots::default())?;
        }
        self.slots.get_mut(symbol).ok_or(LinkError::TooLarge)
    }

    fn place(&mut self, smf: &Smf<'_>, demand: &Demand, page: u64) -> Result<(), LinkError> {
        let most = if self.image.is_some() { smf.sections().len() + 2 } else { 3 };
        self.regions.try_reserve_exact(most).map_err(|_| LinkError::OutOfMemory)?;
        self.got_count = demand.got;
        match self.image {
            Some(image) => self.keep(smf, &image, demand, page),
            None => self.arrange(smf, demand, page),
        }
    }

    /// Places every section by kind, veneers behind the code and the GOT behind the constants.
    fn arrange(&mut self, smf: &Smf<'_>, demand: &Demand, page: u64) -> Result<(), LinkError> {
        self.place_kinds(smf, &[SectionKind::Code])?;
        self.veneers = self.reserve(u64::from(demand.veneers) * VENEER, VENEER)?;
        self.end_region(Protection::ReadExecute, page)?;
        self.place_kinds(smf, &[SectionKind::RoData])?;
        self.got = self.reserve(u64::from(demand.got) * SLOT, SLOT)?;
        self.end_region(Protection::Read, page)?;
        self.place_kinds(smf, &[SectionKind::Data])?;
        self.place_kinds(smf, &[SectionKind::Bss])?;
        self.end_region(Protection::ReadWrite, page)
    }

    /// Places every section where the file's own plan, which has been checked, says.
    fn keep(
        &mut self,
        smf: &Smf<'_>,
        image: &ImagePlan<'_>,
        demand: &Demand,
        page: u64,
    ) -> Result<(), LinkError> {
        for section in smf.sections().iter() {
            let Some(start) = image.section_offset(section.index) else { continue };
            if let Some(place) = self.sections.get_mut(to_usize(section.index)) {
                *place = Some(start);
            }
            let end = start.checked_add(section.memory_size()).ok_or(LinkError::TooLarge)?;
            self.size = self.size.max(end);
            self.end_region(protection(section.kind), page)?;
        }
        self.veneers = self.reserve(u64::from(demand.veneers) * VENEER, VENEER)?;
        self.end_region(Protection::ReadExecute, page)?;
        self.got = self.reserve(u64::from(demand.got) * SLOT, SLOT)?;
        self.end_region(Protection::Read, page)
    }

    fn place_kinds(&mut self, smf: &Smf<'_>, kinds: &[SectionKind]) -> Result<(), LinkError> {
        for section in smf.sections().iter().filter(|section| kinds.contains(&section.kind)) {
            let Section { index, alignment, .. } = section;
            let size = self.sizes.get(to_usize(index)).copied().unwrap_or(0);
            let start = self.reserve(size, alignment)?;
            if let Some(place) = self.sections.get_mut(to_usize(index)) {
                *place = Some(start);
            }
        }
        Ok(())
    }

    /// Takes `size` bytes at the next multiple of `alignment` and returns where they begin.
    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64, LinkError> {
        let start = self.size.checked_next_multiple_of(alignment).ok_or(LinkError::TooLarge)?;
        if size != 0 {
            self.size = start.checked_add(size).ok_or(LinkError::TooLarge)?;
        }
        Ok(start)
    }

    /// Rounds up to whole pages what came since the last region.
    fn end_region(&mut self, protection: Protection, page: u64) -> Result<(), LinkError> {
        let start = self.regions.last().map_or(0, |region| region.end);
        let end = self.size.checked_next_multiple_of(page).ok_or(LinkError::TooLarge)?;
        self.size = end;
        match self.regions.last_mut() {
            Some(last) if last.protection == protection => last.end = end,
            _ if end > start => self.regions.push(Region { start, end, protection }),
            _ => {}
        }
        Ok(())
    }
}

/// What a program may do with a section, by its kind alone: flags never add a right.
fn protection(kind: SectionKind) -> Protection {
    match kind {
        SectionKind::Code => Protection::ReadExecute,
        SectionKind::Data | SectionKind::Bss => Protection::ReadWrite,
        _ => Protection::Read,
    }
}

fn give(slot: &mut u32, given: &mut u32) {
    if *slot == 0 {
        *given += 1;
        *slot = *given;
    }
}

/// An index of a file, which is never wider than the machine that holds the file.
pub(super) fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}
