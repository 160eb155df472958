//! Where everything of a module goes in its image, before there is any memory for it.
//!
//! An image is one run of pages: code and veneers, then constants and the GOT, then data and zeroes;
//! what differs in protection never shares a page. A file may bring a placement of its own
//! (`.smf.image`), under which its writer has already settled what code says about distances; it is
//! then kept, and veneers and GOT follow behind.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::error::{LinkError, Refusal, ShortName};
use super::machine::{Machine, Need, VENEER, for_machine};
use super::symbol_address::SymbolAddress;
use crate::alloc_util::{self, try_filled};
use crate::format::ext::prelink::{self, Prelink};
use crate::format::{Reloc, RelocKind, RelocTable, Section, SectionKind, Smf, SymbolPlace};
use crate::memory::Protection;

/// Bytes of a GOT slot.
pub(super) const SLOT: u64 = 8;

/// A symbol's place in the GOT and among the veneers; counts from 1, 0 for none.
// Aligned as a target is, so that lists of either are made by one function.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(8))]
pub(super) struct Slots {
    pub(super) got: u32,
    pub(super) veneer: u32,
}

/// In the place of where a section begins: no image ends so late.
const NOT_LOADED: u64 = u64::MAX;

/// A run of pages of one protection, in bytes from the begin of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) protection: Protection,
}

/// The plan of one image.
pub(super) struct ImageLayout<'d> {
    /// The placement that the file brings: see [`ImageLayout::image`].
    own_image: Option<Prelink<'d>>,
    /// Where each section begins, from the begin of the image; [`NOT_LOADED`] when it is not loaded.
    sections: Vec<u64>,
    /// Bytes that each section takes in memory.
    pub(super) sizes: Vec<u64>,
    /// Where each symbol is.
    pub(super) targets: Vec<SymbolAddress>,
    /// How many of the symbols are imports.
    pub(super) imports: u32,
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
    /// Where data is that is not in the image; targets have it behind the sections.
    pub(super) kept: Vec<u64>,
}

/// What the relocations of a module ask for.
#[derive(Default)]
struct Demand {
    got: u32,
    veneers: u32,
    low: bool,
}

impl<'d> ImageLayout<'d> {
    /// Plans the image of `smf`, checking on the way every symbol, and every relocation but addresses of
    /// 64 bits.
    #[cfg_attr(not(feature = "full"), inline(never))]
    pub(super) fn new(smf: &Smf<'d>, page: u64) -> Result<Box<Self>, Refusal> {
        // Larger pages would put two protections on one.
        let image = Prelink::of(smf)?.filter(|_| page <= prelink::PAGE);
        let mut plan = Self::empty(image, smf.sections().len())?;
        for (size, section) in plan.sizes.iter_mut().zip(smf.sections().iter()) {
            *size = section.memory_size();
        }
        plan.find_targets(smf)?;
        let demand = for_machine!(smf.header().arch, plan.check_relocs(smf))?;
        plan.low = demand.low;
        plan.place(smf, &demand, page)?;
        Ok(plan)
    }

    /// A plan with room for so many sections. It is handed on twice, and a box is shorter.
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn empty(own_image: Option<Prelink<'d>>, count: usize) -> Result<Box<Self>, Refusal> {
        Ok(alloc_util::try_box(ImageLayout {
            own_image,
            sections: try_filled(count, &NOT_LOADED)?,
            sizes: try_filled(count, &0)?,
            targets: Vec::new(),
            imports: 0,
            slots: Vec::new(),
            veneers: 0,
            got: 0,
            got_count: 0,
            regions: Vec::new(),
            size: 0,
            low: false,
            kept: Vec::new(),
        })?)
    }

    /// Finds out where each symbol lies, and checks that it lies inside its section. Never a part of its
    /// caller, which would leave its loop no registers.
    #[inline(never)]
    fn find_targets(&mut self, smf: &Smf<'_>) -> Result<(), Refusal> {
        let symbols = smf.symbols();
        u32::try_from(symbols.len()).map_err(|_| too_large())?;
        let mut targets = try_filled(symbols.len(), &SymbolAddress::NOWHERE)?;
        let sections = self.sizes.len().min(to_usize(SymbolAddress::SECTIONS));
        let mut rooms = try_filled(sections, &0u64)?;
        let sizes = smf.sections().iter().zip(&self.sizes);
        for (room, (section, size)) in rooms.iter_mut().zip(sizes) {
            // Of what is not loaded, no symbol is found quickly.
            *room = if section.kind.is_loaded() { SymbolAddress::LAST.min(*size) } else { 0 };
        }
        symbols.try_for_each_place(&mut targets, |index, place, target| {
            *target = match place {
                SymbolPlace::Nowhere => SymbolAddress::NOWHERE,
                SymbolPlace::Import { .. } => self.next_import(),
                SymbolPlace::Section { section, value, size } => {
                    match (rooms.get(to_usize(section)), value.checked_add(size)) {
                        (Some(room), Some(end)) if end <= *room => {
                            SymbolAddress::within(section, value)
                        }
                        _ => self.find_slowly(smf, index, &mut rooms)?,
                    }
                }
            };
            Ok::<(), Refusal>(())
        })?;
        self.targets = targets;
        Ok(())
    }

    fn next_import(&mut self) -> SymbolAddress {
        let import = SymbolAddress::import(self.imports);
        self.imports += 1;
        import
    }

    /// The target of a symbol that does not lie inside the room of a loaded section: the section is not
    /// loaded, or has lost its size and grows, or the symbol is an error.
    #[cold]
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn find_slowly(
        &mut self,
        smf: &Smf<'_>,
        index: u32,
        rooms: &mut [u64],
    ) -> Result<SymbolAddress, Refusal> {
        let symbol = smf.symbols().get(index)?;
        let section = smf.section(symbol.section.unwrap_or(u32::MAX))?;
        let number = to_usize(section.index);
        if !section.has_lost_size() {
            symbol.check_place(self.sizes.get(number).copied().unwrap_or(0))?;
        }
        if !section.kind.is_loaded() {
            // What is not in memory is at the address 0 of no section.
            return SymbolAddress::in_section(section.index, 0).ok_or_else(too_large);
        }
        symbol.check_place(u64::MAX)?;
        let target =
            SymbolAddress::in_section(section.index, symbol.value).ok_or_else(too_large)?;
        let end = symbol.value.saturating_add(symbol.size);
        if let Some((room, size)) = rooms.get_mut(number).zip(self.sizes.get_mut(number)) {
            // A section whose size was lost is as long as the symbols in it ask for.
            *size = end.max(*size);
            *room = SymbolAddress::LAST.min(*size);
        }
        Ok(target)
    }

    /// Checks the relocations that will be applied, but for those that [`next_special`] passes over, and
    /// gives out GOT slots and veneers.
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn check_relocs<M: Machine>(&mut self, smf: &Smf<'_>) -> Result<Demand, Refusal> {
        let mut demand = Demand::default();
        let is_long = self.code_bytes(smf) > M::BRANCH_REACH;
        for_each_table(smf, &mut |table| {
            if self.is_settled(table) {
                return Ok(());
            }
            if !table.is_empty() && !table.target.kind.is_loaded() {
                smf.verify_relocs(table)?;
                return Err(LinkError::NotLoaded { section: table.section.index }.into());
            }
            self.give_slots::<M>(smf, table, is_long, &mut demand)
        })?;
        Ok(demand)
    }

    /// Bytes of code, which branches may have to cross.
    #[cfg_attr(not(feature = "full"), inline(never))]
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
    ) -> Result<(), Refusal> {
        let mut is_verified = false;
        let room = table.target.memory_size();
        let mut behind = 0;
        while let Some((index, reloc)) = next_special(table, behind) {
            behind = index + 1;
            if is_plain(&self.targets, room, &reloc, is_long) {
                continue;
            }
            if !is_verified {
                smf.verify_relocs(table)?;
                is_verified = true;
            }
            let index = u32::try_from(index).map_err(|_| too_large())?;
            self.give_slot::<M>(smf, table, (index, &reloc), is_long, demand)?;
        }
        Ok(())
    }

    /// Gives out what a relocation needs, which is sound in itself.
    fn give_slot<M: Machine>(
        &mut self,
        smf: &Smf<'_>,
        table: &RelocTable<'_>,
        (index, reloc): (u32, &Reloc),
        is_long: bool,
        demand: &mut Demand,
    ) -> Result<(), Refusal> {
        let symbol = to_usize(reloc.symbol);
        let target = self.targets.get(symbol).copied().unwrap_or(SymbolAddress::NOWHERE);
        let section = table.section.index;
        if target == SymbolAddress::NOWHERE && reloc.kind != RelocKind::None {
            let symbol = ShortName::new(smf.symbols().get(reloc.symbol)?.name());
            return Err(LinkError::NoAddress { section, index, symbol }.into());
        }
        let is_far = is_long || target.is_import();
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
        Ok(())
    }

    /// Where each section begins, from the begin of the image; `None` for what is not loaded.
    pub(super) fn sections(&self) -> impl ExactSizeIterator<Item = Option<u64>> {
        self.sections.iter().map(|at| loaded(*at))
    }

    /// Where one of them begins.
    pub(super) fn section(&self, index: u32) -> Option<u64> {
        self.sections.get(to_usize(index)).and_then(|at| loaded(*at))
    }

    /// The placement that the file brings, when it can be kept; where it is never looked for, what would
    /// keep it is compiled away.
    fn image(&self) -> Option<&Prelink<'d>> {
        self.own_image.as_ref().filter(|_| cfg!(feature = "all-files"))
    }

    /// Whether the placement is that of the file's writer.
    pub(super) fn keeps_image(&self) -> bool {
        self.image().is_some()
    }

    /// Whether the file's writer has applied a table under the placement that is kept.
    pub(super) fn is_settled(&self, table: &RelocTable<'_>) -> bool {
        self.image().is_some_and(|image| image.is_settled(table.section.index))
    }

    fn slot(&mut self, symbol: usize) -> Result<&mut Slots, Refusal> {
        if self.slots.is_empty() {
            self.slots = try_filled(self.targets.len(), &Slots::default())?;
        }
        self.slots.get_mut(symbol).ok_or_else(too_large)
    }

    fn place(&mut self, smf: &Smf<'_>, demand: &Demand, page: u64) -> Result<(), Refusal> {
        let most = if self.keeps_image() { smf.sections().len() + 2 } else { 3 };
        self.regions = alloc_util::try_with_capacity(most)?;
        self.got_count = demand.got;
        match self.image().copied() {
            Some(image) => self.keep(smf, &image, demand, page),
            None => self.arrange(smf, demand, page),
        }
    }

    /// Places every section by kind, veneers behind the code and the GOT behind the constants.
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn arrange(&mut self, smf: &Smf<'_>, demand: &Demand, page: u64) -> Result<(), Refusal> {
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
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn keep(
        &mut self,
        smf: &Smf<'_>,
        image: &Prelink<'_>,
        demand: &Demand,
        page: u64,
    ) -> Result<(), Refusal> {
        for section in smf.sections().iter() {
            let Some(start) = image.section_offset(section.index) else { continue };
            if let Some(place) = self.sections.get_mut(to_usize(section.index)) {
                *place = start;
            }
            let end = start.checked_add(section.memory_size()).ok_or_else(too_large)?;
            self.size = self.size.max(end);
            self.end_region(protection(section.kind), page)?;
        }
        self.veneers = self.reserve(u64::from(demand.veneers) * VENEER, VENEER)?;
        self.end_region(Protection::ReadExecute, page)?;
        self.got = self.reserve(u64::from(demand.got) * SLOT, SLOT)?;
        self.end_region(Protection::Read, page)
    }

    fn place_kinds(&mut self, smf: &Smf<'_>, kinds: &[SectionKind]) -> Result<(), Refusal> {
        for section in smf.sections().iter().filter(|section| kinds.contains(&section.kind)) {
            let Section { index, alignment, .. } = section;
            let size = self.sizes.get(to_usize(index)).copied().unwrap_or(0);
            let start = self.reserve(size, alignment)?;
            if let Some(place) = self.sections.get_mut(to_usize(index)) {
                *place = start;
            }
        }
        Ok(())
    }

    /// Takes `size` bytes at the next multiple of `alignment` and returns where they begin.
    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64, Refusal> {
        let start = self.size.checked_next_multiple_of(alignment).ok_or_else(too_large)?;
        if size != 0 {
            self.size = start.checked_add(size).ok_or_else(too_large)?;
        }
        Ok(start)
    }

    /// Rounds up to whole pages what came since the last region.
    fn end_region(&mut self, protection: Protection, page: u64) -> Result<(), Refusal> {
        let start = self.regions.last().map_or(0, |region| region.end);
        let end = self.size.checked_next_multiple_of(page).ok_or_else(too_large)?;
        self.size = end;
        match self.regions.last_mut() {
            Some(last) if last.protection == protection => last.end = end,
            _ if end > start => self.regions.push(Region { start, end, protection }),
            _ => {}
        }
        Ok(())
    }
}

/// Hands one relocation section after another to `visit`. By reference, because they are large, and compiled
/// once, because finding out what they apply to is long.
#[cfg_attr(not(feature = "full"), inline(never))]
pub(super) fn for_each_table<'d>(
    smf: &Smf<'d>,
    visit: &mut dyn FnMut(&RelocTable<'d>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    for section in smf.sections().iter().filter(|section| section.kind == SectionKind::Reloc) {
        // Not handed on by `?`, which would make room for two more.
        match smf.reloc_table(&section) {
            Ok(ref table) => visit(table)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The first of the relocations of `table`, from the one with number `from` on, that is no address of
/// 64 bits, and its number. Nearly all that are left to the loader are; they ask for nothing, and are
/// checked when they are applied.
fn next_special(table: &RelocTable<'_>, from: usize) -> Option<(usize, Reloc)> {
    let number = number_of_words(table);
    let index = number.map_or(Some(from), |number| table.first_other(number, from))?;
    Some((index, table.get(index)?))
}

/// What the addresses of 64 bits in `table` are called there, which are applied in runs and checked then;
/// where size matters most, they are relocations as all others.
pub(super) fn number_of_words(table: &RelocTable<'_>) -> Option<u8> {
    if cfg!(feature = "full") { table.number(RelocKind::Abs64) } else { None }
}

/// Where a section begins, if it is loaded.
fn loaded(at: u64) -> Option<u64> {
    if at == NOT_LOADED { None } else { Some(at) }
}

/// Whether a relocation is sound and asks for nothing beside its place, in a section of `room` bytes.
fn is_plain(targets: &[SymbolAddress], room: u64, reloc: &Reloc, is_long: bool) -> bool {
    let target = targets.get(to_usize(reloc.symbol)).copied().unwrap_or(SymbolAddress::NOWHERE);
    let asks_nothing = match reloc.kind {
        RelocKind::Abs64 | RelocKind::Pc32 => true,
        RelocKind::Plt32 => !target.is_import() && !is_long,
        _ => false,
    };
    let end = reloc.offset.checked_add(reloc.kind.width());
    asks_nothing && target != SymbolAddress::NOWHERE && end.is_some_and(|end| end <= room)
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

/// That the module does not fit the address space.
#[cold]
#[inline(never)]
pub(super) fn too_large() -> Refusal {
    LinkError::TooLarge.into()
}

/// An index of a file, which is never wider than the machine that holds the file.
pub(super) fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::relocate::relocate_at;
    use super::*;
    use crate::format::FormatError;
    use crate::testing::some;

    const SAMPLES: [&[u8]; 5] = [
        include_bytes!("../../../tests/samples/packed.smf"),
        include_bytes!("../../../tests/samples/native.smf"),
        include_bytes!("../../../tests/samples/app.smf"),
        include_bytes!("../../../tests/samples/lib.smf"),
        include_bytes!("../../../tests/samples/elf-object.smf"),
    ];

    /// What a plan has to find out, by the slow ways of the format: where the symbols are, and what is
    /// wrong with the relocations.
    fn slowly(smf: &Smf<'_>) -> Result<Vec<SymbolPlace>, FormatError> {
        let mut places = Vec::new();
        for index in 0..u32::try_from(smf.symbols().len()).unwrap() {
            let place = smf.symbols().place(index)?;
            if let SymbolPlace::Section { section, .. } = place {
                let section = smf.section(section)?;
                let lost = section.has_lost_size();
                let room = if lost { u64::MAX } else { section.memory_size() };
                smf.symbols().get(index)?.check_place(room)?;
            }
            places.push(place);
        }
        smf.reloc_tables().try_for_each(|table| smf.verify_relocs(&table?))?;
        Ok(places)
    }

    /// What is wrong with the relocations that the plan has not looked at.
    fn when_applied(smf: &Smf<'_>, plan: &ImageLayout<'_>) -> LinkError {
        let mut memory = std::vec![0; usize::try_from(plan.size).unwrap()];
        let imports = |_: &[u8]| Some(0x1000);
        relocate_at(smf, plan, 0x1_0000, &mut memory, &imports).unwrap_err().into()
    }

    fn compare(file: &[u8]) {
        let Ok(smf) = Smf::parse(file).and_then(|smf| smf.linked()) else { return };
        match (slowly(&smf), ImageLayout::new(&smf, 4096)) {
            (Err(error), plan) => {
                let found = plan.map_or_else(LinkError::from, |plan| when_applied(&smf, &plan));
                assert_eq!(found, LinkError::Format(error));
            }
            (Ok(places), Ok(plan)) => {
                let begins: Vec<_> = (0..plan.sections().len() as u64).map(|n| n << 32).collect();
                let imports: Vec<_> = (0..u64::from(plan.imports)).map(|n| n << 16).collect();
                assert_eq!(places.len(), plan.targets.len());
                let mut import = imports.iter();
                for (place, target) in places.into_iter().zip(&plan.targets) {
                    let expected = match place {
                        SymbolPlace::Nowhere => None,
                        SymbolPlace::Import { .. } => import.next().copied(),
                        SymbolPlace::Section { section, value, .. } => {
                            let loaded = smf.section(section).unwrap().kind.is_loaded();
                            Some(begins[to_usize(section)] + if loaded { value } else { 0 })
                        }
                    };
                    assert_eq!(target.address(&begins, &imports), expected);
                    assert_eq!(*target == SymbolAddress::NOWHERE, place == SymbolPlace::Nowhere);
                }
            }
            // What is sound may still be impossible to link here.
            (Ok(_), Err(error)) => {
                let error = LinkError::from(error);
                assert!(!matches!(error, LinkError::Format(_)), "{error}");
            }
        }
    }

    #[test]
    fn a_plan_finds_what_the_slow_ways_find_in_every_damaged_file() {
        for sample in SAMPLES {
            compare(sample);
            for at in some(0..sample.len(), 2) {
                for value in [0, 1, 2, 5, 0x53, 0x7f, 0xff] {
                    let mut file = sample.to_vec();
                    file[at] = value;
                    compare(&file);
                }
            }
        }
    }
}
