//! The layout of a module's image, computed before memory is allocated for it.
//!
//! An image is one range of pages: code and veneers, then constants and the GOT, then data and zero-initialised
//! data. Parts with different protection never share a page. A file may bring a prelinked layout
//! (`.smf.image`), under which its writer has already applied relocations inside the code; the image then
//! follows that layout, with veneers and GOT behind it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::error::{LinkError, Result};
use super::machine::{self, Requirement, SLOT, VENEER};
use super::symbol_address::SymbolAddress;
use crate::alloc_util::{try_box, try_filled, try_with_capacity};
use crate::format::ext::prelink::{self, Prelink};
use crate::format::ext::tls::TlsImport;
use crate::format::{Reloc, RelocKind, RelocTable, Section, SectionKind, Smf, SymbolPlace};
use crate::memory::{PageCount, Protection, Segment};

/// The maximum number of bytes between sections that only alignments above a page explain.
const MAX_PADDING: u64 = 64 << 20;

/// The GOT slot and the veneer of a symbol, counted from 1; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SymbolSlots {
    pub(super) got: u32,
    pub(super) veneer: u32,
}

/// The layout of one image. Offsets count bytes from its start.
#[derive(Default)]
pub(super) struct ImageLayout<'d> {
    /// See [`ImageLayout::prelink`].
    prelink: Option<Prelink<'d>>,
    /// The offset of each section; `None` if it is not loaded.
    pub(super) sections: Vec<Option<u64>>,
    /// The size of each section in memory, in bytes.
    sizes: Vec<u64>,
    /// The location of each symbol.
    pub(super) symbols: Vec<SymbolAddress>,
    /// The number of symbols that are imports.
    pub(super) imports: u32,
    /// One for each symbol; empty if no relocation needs a slot.
    pub(super) slots: Vec<SymbolSlots>,
    /// The offset of the veneers.
    pub(super) veneers: u64,
    /// The offset of the GOT.
    pub(super) got: u64,
    pub(super) got_count: u32,
    veneer_count: u32,
    /// Ascending and adjacent, from 0 to the end.
    pub(super) segments: Vec<Segment>,
    /// The size of the image, in bytes.
    pub(super) size: u64,
    /// A relocation needs addresses below 2 GiB.
    pub(super) needs_low_2gib: bool,
    /// A relocation holds the distance to an import in 32 bits or fewer, without a veneer.
    pub(super) has_near_imports: bool,
    /// The largest alignment of a loaded section, in bytes.
    pub(super) alignment: u64,
    /// The addresses of preserved data, which symbols refer to as sections behind those of the image.
    pub(super) preserved: Vec<u64>,
}

impl<'d> ImageLayout<'d> {
    /// Lays out the image of `smf` on pages of `page` bytes. Checks every symbol, and every relocation except 64-bit
    /// absolute addresses, and those that the writer has resolved, whose pages of the file are not read.
    pub(super) fn new(smf: &Smf<'d>, page: u64) -> Result<Box<Self>> {
        // On larger pages two protections would share one.
        let prelink = Prelink::of(smf)?.filter(|_| page <= prelink::PAGE);
        let count = smf.sections().len();
        let (sections, mut sizes) = (try_filled(count, &None)?, try_filled(count, &0)?);
        // Ends of symbols below it need no further check. It is 0 for a section that is not loaded.
        let mut limits = try_filled(count, &0u64)?;
        let (mut alignment, mut code_bytes) = (1, 0u64);
        let each = sizes.iter_mut().zip(&mut limits).zip(smf.sections().iter());
        for ((size, limit), section) in each {
            *size = section.memory_size();
            if section.kind.is_loaded() {
                *limit = size.saturating_add(1);
                alignment = section.alignment.max(alignment);
            }
            if section.kind == SectionKind::Code {
                code_bytes = code_bytes.saturating_add(*size);
            }
        }
        let mut layout = try_box(Self { prelink, sections, sizes, alignment, ..Self::default() })?;
        layout.locate_symbols(smf, &mut limits)?;
        layout.check_relocs(smf, code_bytes > machine::branch_reach(smf.header().arch))?;
        layout.place_sections(smf, page)?;
        Ok(layout)
    }

    /// Determines the location of each symbol and checks that it lies inside its section.
    // Not inlined: the loop needs the registers of its caller (row "load 1,000 functions").
    #[inline(never)]
    fn locate_symbols(&mut self, smf: &Smf<'_>, limits: &mut [u64]) -> Result<()> {
        let symbols = smf.symbols();
        u32::try_from(symbols.len()).map_err(|_| LinkError::TooLarge)?;
        let mut addresses = try_filled(symbols.len(), &SymbolAddress::None)?;
        symbols.try_for_each_place(&mut addresses, |index, place, address| {
            *address = match place {
                SymbolPlace::Nowhere => SymbolAddress::None,
                SymbolPlace::Import { .. } => self.next_import(),
                SymbolPlace::Section { section, value, size } => {
                    match (limits.get(to_usize(section)), value.checked_add(size)) {
                        (Some(limit), Some(end)) if end < *limit => {
                            SymbolAddress::Section(section, value)
                        }
                        _ => self.locate_outside_limit(smf, index, limits)?,
                    }
                }
            };
            Ok::<(), LinkError>(())
        })?;
        self.symbols = addresses;
        Ok(())
    }

    fn next_import(&mut self) -> SymbolAddress {
        let import = SymbolAddress::Import(self.imports);
        self.imports += 1;
        import
    }

    /// The location of a symbol beyond the limit of its section: the section is not loaded, or its size was lost
    /// and grows with its symbols, or the symbol is malformed.
    #[cold]
    fn locate_outside_limit(
        &mut self,
        smf: &Smf<'_>,
        index: u32,
        limits: &mut [u64],
    ) -> Result<SymbolAddress> {
        let symbol = smf.symbols().get(index)?;
        let section = smf.section(symbol.section.unwrap_or(u32::MAX))?;
        let number = to_usize(section.index);
        if !section.has_lost_size() {
            symbol.check_place(self.sizes.get(number).copied().unwrap_or(0))?;
        }
        if !section.kind.is_loaded() {
            return Ok(SymbolAddress::None);
        }
        symbol.check_place(u64::MAX)?;
        let end = symbol.value.saturating_add(symbol.size);
        if let Some((limit, size)) = limits.get_mut(number).zip(self.sizes.get_mut(number)) {
            *size = end.max(*size);
            *limit = size.saturating_add(1);
        }
        Ok(SymbolAddress::Section(section.index, symbol.value))
    }

    /// Checks the relocations to apply, except those that [`next_other`] skips, and assigns GOT slots and veneers.
    /// `is_long`: a branch may have to cross more code than it reaches.
    fn check_relocs(&mut self, smf: &Smf<'_>, is_long: bool) -> Result<()> {
        for table in smf.reloc_tables() {
            let table = &table?;
            if self.is_resolved_table(table) {
                continue;
            }
            if !table.is_empty() && !table.target.kind.is_loaded() {
                smf.verify_relocs(table)?;
                return Err(LinkError::NotLoaded { section: table.section.index });
            }
            self.assign_slots(smf, table, is_long)?;
        }
        Ok(())
    }

    /// Assigns the slots of one table. `is_long`: branches inside the module may need veneers too.
    fn assign_slots(&mut self, smf: &Smf<'_>, table: &RelocTable<'_>, is_long: bool) -> Result<()> {
        let mut is_verified = false;
        let limit = table.target.memory_size();
        let mut from = 0;
        while let Some((index, reloc)) = next_other(table, from) {
            from = index + 1;
            self.has_near_imports |= self.is_near_import(&reloc);
            if needs_no_slot(&self.symbols, limit, &reloc, is_long) {
                continue;
            }
            if !is_verified {
                smf.verify_relocs(table)?;
                is_verified = true;
            }
            let index = u32::try_from(index).map_err(|_| LinkError::TooLarge)?;
            self.assign_slot(smf, table, (index, &reloc), is_long)?;
        }
        Ok(())
    }

    /// Whether a relocation is the distance to an import, which has to lie within 2 GiB.
    fn is_near_import(&self, reloc: &Reloc) -> bool {
        let is_distance = matches!(reloc.kind, RelocKind::Pc32 | RelocKind::Arm64Page21);
        let symbol = self.symbols.get(to_usize(reloc.symbol)).copied();
        is_distance && symbol.is_some_and(SymbolAddress::is_import)
    }

    /// The lowest and the highest address of the imports that have to lie within 2 GiB of the image, as far as
    /// `imports` resolves them; `None` if there are none.
    pub(super) fn near_imports(
        &self,
        smf: &Smf<'_>,
        imports: &dyn Fn(&[u8]) -> Option<u64>,
    ) -> Result<Option<(u64, u64)>> {
        let mut bounds: Option<(u64, u64)> = None;
        if !self.has_near_imports {
            return Ok(bounds);
        }
        let mut asked = try_filled(self.symbols.len(), &false)?;
        for table in smf.reloc_tables() {
            let table = &table?;
            if self.is_resolved_table(table) {
                continue;
            }
            let mut from = 0;
            while let Some((index, reloc)) = next_other(table, from) {
                from = index + 1;
                if !self.is_near_import(&reloc) {
                    continue;
                }
                let Some(asked) = asked.get_mut(to_usize(reloc.symbol)) else { continue };
                if core::mem::replace(asked, true) {
                    continue;
                }
                let symbol = smf.symbols().get(reloc.symbol)?;
                let address = imports(symbol.name()).filter(|address| *address != 0);
                let Some(address) = address else { continue };
                let (low, high) = bounds.unwrap_or((address, address));
                bounds = Some((low.min(address), high.max(address)));
            }
        }
        Ok(bounds)
    }

    /// Assigns the slots of a verified relocation.
    fn assign_slot(
        &mut self,
        smf: &Smf<'_>,
        table: &RelocTable<'_>,
        (index, reloc): (u32, &Reloc),
        is_long: bool,
    ) -> Result<()> {
        let symbol = to_usize(reloc.symbol);
        let address = self.symbols.get(symbol).copied().unwrap_or(SymbolAddress::None);
        let section = table.section.index;
        if address == SymbolAddress::None && reloc.kind != RelocKind::None {
            let symbol = smf.symbols().get(reloc.symbol)?;
            let error = |symbol| LinkError::NoAddress { section, index, symbol };
            return Err(LinkError::named(symbol.name(), error));
        }
        let (arch, kind) = (smf.header().arch, reloc.kind);
        let is_far = is_long || address.is_import();
        let requirement = machine::requirement(arch, kind);
        let requirement = requirement.ok_or(LinkError::RelocKind { section, index, kind })?;
        match requirement {
            Requirement::Nothing => return Ok(()),
            Requirement::Veneer if !is_far => return Ok(()),
            Requirement::Low2GiB => {
                let name = smf.symbols().get(reloc.symbol)?.name();
                // An offset from the thread pointer is no address.
                let is_offset = address.is_import() && TlsImport::parse(name).is_some();
                self.needs_low_2gib |= !is_offset;
                return Ok(());
            }
            Requirement::GotSlot | Requirement::Veneer => {}
        }
        if self.slots.is_empty() {
            self.slots = try_filled(self.symbols.len(), &SymbolSlots::default())?;
        }
        let slots = self.slots.get_mut(symbol).ok_or(LinkError::TooLarge)?;
        let is_veneer = requirement == Requirement::Veneer;
        if is_veneer && slots.veneer == 0 {
            self.veneer_count += 1;
            slots.veneer = self.veneer_count;
        }
        if (!is_veneer || machine::jumps_through_got(arch)) && slots.got == 0 {
            self.got_count += 1;
            slots.got = self.got_count;
        }
        Ok(())
    }

    /// The offset of one section; `None` if it is not loaded.
    pub(super) fn section(&self, index: u32) -> Option<u64> {
        self.sections.get(to_usize(index)).copied().flatten()
    }

    /// Whether neither a section, nor a veneer or a GOT slot, starts at one of these offsets.
    pub(super) fn is_free(&self, range: &Range<u64>) -> bool {
        let sections = self.sections.iter().zip(&self.sizes);
        let mut starts = sections.filter_map(|(start, size)| start.filter(|_| *size != 0));
        !starts.any(|start| range.contains(&start))
            && (self.veneer_count == 0 || !range.contains(&self.veneers))
            && (self.got_count == 0 || !range.contains(&self.got))
    }

    /// The offsets of the GOT slot and of the veneer of a symbol, if it has them.
    pub(super) fn slot_offsets(&self, slots: SymbolSlots) -> (Option<u64>, Option<u64>) {
        let place = |start: u64, number: u32, size: u64| {
            Some(start + u64::from(number.checked_sub(1)?) * size)
        };
        (place(self.got, slots.got, SLOT), place(self.veneers, slots.veneer, VENEER))
    }

    /// The prelinked layout of the file, if the image follows it.
    pub(super) fn prelink(&self) -> Option<&Prelink<'d>> {
        self.prelink.as_ref().filter(|_| cfg!(feature = "all-files"))
    }

    /// Whether the image follows a prelinked layout.
    pub(super) fn is_prelinked(&self) -> bool {
        self.prelink().is_some()
    }

    /// Whether the writer of the file has applied the relocations of a table under the layout that is followed, possibly
    /// except for the address of the image.
    pub(super) fn is_resolved_table(&self, table: &RelocTable<'_>) -> bool {
        self.prelink().is_some_and(|prelink| prelink.is_resolved(table.section.index))
    }

    fn place_sections(&mut self, smf: &Smf<'_>, page: u64) -> Result<()> {
        let max_segments = if self.is_prelinked() { smf.sections().len() + 2 } else { 3 };
        self.segments = try_with_capacity(max_segments)?;
        match self.prelink().copied() {
            Some(prelink) => self.place_prelinked(smf, &prelink, page),
            None => self.place_by_kind(smf, page),
        }?;
        // A small file must not explain much memory by alignments alone.
        let sizes = self.sizes.iter().fold(0u64, |all, size| all.saturating_add(*size));
        let slots = u64::from(self.got_count) * SLOT + u64::from(self.veneer_count) * VENEER;
        let pages = (smf.sections().len() as u64).saturating_add(4).saturating_mul(2 * page);
        let explained = sizes.saturating_add(slots).saturating_add(pages);
        let is_explained = self.size <= explained.saturating_add(MAX_PADDING);
        if is_explained { Ok(()) } else { Err(LinkError::TooLarge) }
    }

    /// Places sections by kind, veneers behind the code and the GOT behind the constants.
    fn place_by_kind(&mut self, smf: &Smf<'_>, page: u64) -> Result<()> {
        self.place_kind(smf, SectionKind::Code)?;
        self.place_veneers(page)?;
        self.place_kind(smf, SectionKind::RoData)?;
        self.place_got(page)?;
        self.place_kind(smf, SectionKind::Data)?;
        self.place_kind(smf, SectionKind::Bss)?;
        self.end_segment(Protection::ReadWrite, page)
    }

    /// Places sections at their prelinked offsets, which have been checked.
    fn place_prelinked(&mut self, smf: &Smf<'_>, prelink: &Prelink<'_>, page: u64) -> Result<()> {
        for section in smf.sections().iter() {
            let Some(start) = prelink.section_offset(section.index) else { continue };
            if let Some(place) = self.sections.get_mut(to_usize(section.index)) {
                *place = Some(start);
            }
            let end = start.checked_add(section.memory_size()).ok_or(LinkError::TooLarge)?;
            self.size = self.size.max(end);
            self.end_segment(protection(section.kind), page)?;
        }
        self.place_veneers(page)?;
        self.place_got(page)
    }

    fn place_veneers(&mut self, page: u64) -> Result<()> {
        self.veneers = self.reserve(u64::from(self.veneer_count) * VENEER, VENEER)?;
        self.end_segment(Protection::ReadExecute, page)
    }

    fn place_got(&mut self, page: u64) -> Result<()> {
        self.got = self.reserve(u64::from(self.got_count) * SLOT, SLOT)?;
        self.end_segment(Protection::Read, page)
    }

    fn place_kind(&mut self, smf: &Smf<'_>, kind: SectionKind) -> Result<()> {
        for section in smf.sections().iter().filter(|section| section.kind == kind) {
            let Section { index, alignment, .. } = section;
            let size = self.sizes.get(to_usize(index)).copied().unwrap_or(0);
            let start = self.reserve(size, alignment)?;
            if let Some(place) = self.sections.get_mut(to_usize(index)) {
                *place = Some(start);
            }
        }
        Ok(())
    }

    /// Reserves `size` bytes at the next multiple of `alignment` and returns their offset.
    fn reserve(&mut self, size: u64, alignment: u64) -> Result<u64> {
        let start = self.size.checked_next_multiple_of(alignment).ok_or(LinkError::TooLarge)?;
        if size != 0 {
            self.size = start.checked_add(size).ok_or(LinkError::TooLarge)?;
        }
        Ok(start)
    }

    /// Ends a segment at the next page boundary.
    fn end_segment(&mut self, protection: Protection, page: u64) -> Result<()> {
        let end_of = |last: &Segment| (last.offset.bytes() + last.size.bytes()) as u64;
        let start = self.segments.last().map_or(0, end_of);
        let end = self.size.checked_next_multiple_of(page).ok_or(LinkError::TooLarge)?;
        self.size = end;
        let size = PageCount::exact(end.saturating_sub(start))?;
        match self.segments.last_mut() {
            Some(last) if last.protection == protection => {
                last.size = last.size.checked_add(size).ok_or(LinkError::TooLarge)?;
            }
            _ if size > PageCount::ZERO => {
                let offset = PageCount::exact(start)?;
                self.segments.push(Segment { offset, size, protection });
            }
            _ => {}
        }
        Ok(())
    }
}

/// The first relocation of `table` from index `from` on that is not a 64-bit absolute address, with its index. Most
/// relocations left to the loader are; they need no slot and are checked when they are applied.
fn next_other(table: &RelocTable<'_>, from: usize) -> Option<(usize, Reloc)> {
    let number = table.number(RelocKind::Abs64);
    let index = number.map_or(Some(from), |number| table.first_other(number, from))?;
    Some((index, table.get(index)?))
}

/// Whether a relocation in a section of `limit` bytes is well-formed and needs neither a slot nor a veneer.
fn needs_no_slot(symbols: &[SymbolAddress], limit: u64, reloc: &Reloc, is_long: bool) -> bool {
    let address = symbols.get(to_usize(reloc.symbol)).copied().unwrap_or(SymbolAddress::None);
    let is_direct = match reloc.kind {
        RelocKind::Abs64 | RelocKind::Pc32 => true,
        RelocKind::Plt32 => !address.is_import() && !is_long,
        _ => false,
    };
    let end = reloc.offset.checked_add(reloc.kind.width());
    is_direct && address != SymbolAddress::None && end.is_some_and(|end| end <= limit)
}

/// The protection of a section. It depends on the kind alone; flags never add a right.
fn protection(kind: SectionKind) -> Protection {
    match kind {
        SectionKind::Code => Protection::ReadExecute,
        SectionKind::Data | SectionKind::Bss => Protection::ReadWrite,
        _ => Protection::Read,
    }
}

/// An index in a file. `usize` has at least 32 bits here.
pub(super) fn to_usize(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::host_resources::HostResources;
    use super::super::host_services::Host;
    use super::super::libraries::Libraries;
    use super::super::relocate::relocate;
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

    /// The oracle: the places of all symbols and the first malformed symbol or relocation, by the format module.
    fn expected(smf: &Smf<'_>) -> Result<Vec<SymbolPlace>, FormatError> {
        let mut places = Vec::new();
        for index in 0..u32::try_from(smf.symbols().len()).unwrap() {
            let place = smf.symbols().place(index)?;
            if let SymbolPlace::Section { section, .. } = place {
                let section = smf.section(section)?;
                let lost = section.has_lost_size();
                let limit = if lost { u64::MAX } else { section.memory_size() };
                smf.symbols().get(index)?.check_place(limit)?;
            }
            places.push(place);
        }
        smf.reloc_tables().try_for_each(|table| smf.verify_relocs(&table?))?;
        Ok(places)
    }

    /// The error of a relocation that the layout does not check.
    fn when_applied(smf: &Smf<'_>, layout: &ImageLayout<'_>) -> LinkError {
        let mut memory = std::vec![0; usize::try_from(layout.size).unwrap()];
        let imports = |_: &[u8]| Some(0x1000);
        let mut resources = HostResources::new(Libraries::none(Host::NONE));
        relocate(smf, layout, 0x1_0000, &mut memory, &imports, &mut resources).unwrap_err()
    }

    fn compare(file: &[u8]) {
        let Ok(smf) = Smf::parse(file).and_then(|smf| smf.linked()) else { return };
        match (expected(&smf), ImageLayout::new(&smf, 4096)) {
            (Err(error), layout) => {
                let found = layout.map_or_else(|error| error, |layout| when_applied(&smf, &layout));
                assert_eq!(found, LinkError::Format(error));
            }
            (Ok(places), Ok(layout)) => {
                let starts: Vec<_> = (0..layout.sections.len() as u64).map(|n| n << 32).collect();
                let imports: Vec<_> = (0..u64::from(layout.imports)).map(|n| n << 16).collect();
                assert_eq!(places.len(), layout.symbols.len());
                let mut import = imports.iter();
                let is_loaded = |section: &u32| smf.section(*section).unwrap().kind.is_loaded();
                for (place, address) in places.into_iter().zip(&layout.symbols) {
                    let expected = match place {
                        SymbolPlace::Nowhere => None,
                        SymbolPlace::Import { .. } => import.next().copied(),
                        SymbolPlace::Section { section, value, .. } => Some(section)
                            .filter(is_loaded)
                            .map(|section| starts[to_usize(section)] + value),
                    };
                    assert_eq!(address.resolve(&starts, &imports), expected);
                    assert_eq!(*address == SymbolAddress::None, expected.is_none());
                }
            }
            // A well-formed file may be impossible to link here.
            (Ok(_), Err(error)) => {
                assert!(!matches!(error, LinkError::Format(_)), "{error}");
            }
        }
    }

    #[test]
    fn layout_of_a_damaged_file_agrees_with_the_format_module() {
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
