//! The functions, relocations and sections of a module, sorted by place.

use alloc::vec::Vec;

use crate::alloc_util::sort::{sort, sort_by_key};
use crate::alloc_util::{AllocError, try_collect, try_push, try_reserve};
use crate::format::bytes::slice;
use crate::format::ext::prelink::Prelink;
use crate::format::{Reloc, Result, Section, Smf, Symbol, SymbolKind};

/// A place in a section: the section's number, and bytes from its start.
pub(crate) type SectionOffset = (u32, u64);

/// The code of a module, indexed by place.
#[derive(Clone, Debug)]
pub(crate) struct CodeIndex<'d> {
    pub(crate) smf: Smf<'d>,
    /// The start of each function and the number of its symbol, sorted.
    pub(crate) functions: Vec<(SectionOffset, u32)>,
    /// The start of each symbol, sorted.
    starts: Vec<SectionOffset>,
    /// Relocations with their target sections, sorted by place.
    pub(crate) relocs: Vec<(u32, Reloc)>,
    /// The image offset of each section and its number, sorted; empty when the module is not prelinked.
    pub(crate) image: Vec<(u64, u32)>,
    /// Sections and the symbols that mark their start, sorted.
    pub(crate) section_symbols: Vec<(u32, u32)>,
}

impl<'d> CodeIndex<'d> {
    /// Indexes `smf`, which was prelinked with `prelink`.
    ///
    /// # Errors
    /// An invalid symbol or relocation, and no memory.
    pub(crate) fn new(smf: Smf<'d>, prelink: Option<&Prelink<'d>>) -> Result<Self> {
        let mut index = CodeIndex {
            smf,
            functions: Vec::new(),
            starts: Vec::new(),
            relocs: Vec::new(),
            image: Vec::new(),
            section_symbols: Vec::new(),
        };
        if let Some(prelink) = prelink {
            let place = |section: Section<'_>| {
                Some((prelink.section_offset(section.index)?, section.index))
            };
            index.image = try_collect(smf.sections().iter().filter_map(place))?;
        }
        for symbol in smf.symbols().iter() {
            index.insert(&symbol?)?;
        }
        for table in smf.reloc_tables() {
            let table = table?;
            smf.verify_relocs(&table)?;
            try_reserve(&mut index.relocs, table.iter().len())?;
            index.relocs.extend(table.iter().map(|reloc| (table.target.index, reloc)));
        }
        sort(&mut index.functions);
        sort(&mut index.starts);
        sort_by_place(&mut index.relocs)?;
        sort(&mut index.section_symbols);
        Ok(index)
    }

    fn insert(&mut self, symbol: &Symbol<'d>) -> Result<(), AllocError> {
        let Some(section) = symbol.section.filter(|_| symbol.kind.has_address()) else {
            return Ok(());
        };
        let start = (section, symbol.value);
        if symbol.kind != SymbolKind::Section {
            try_push(&mut self.starts, start)?;
        }
        // The packer of this project marks the start of each section.
        let name = self.smf.section(section).ok().map(|section| section.name);
        if symbol.size == 0 && name == Some(symbol.name()) {
            try_push(&mut self.section_symbols, (section, symbol.index))?;
        } else if symbol.kind == SymbolKind::Function {
            try_push(&mut self.functions, (start, symbol.index))?;
        }
        Ok(())
    }

    /// The bytes of a function in its section, with their start and end. A function without a size extends to the
    /// next symbol of its section, or to the end of the section.
    pub(crate) fn function_bytes(
        &self,
        symbol: &Symbol<'d>,
        section: &Section<'d>,
    ) -> Option<(&'d [u8], u64, u64)> {
        let start = symbol.value;
        let end = match symbol.size {
            0 => self.next_start((section.index, start)).unwrap_or(section.data.len() as u64),
            size => start.saturating_add(size),
        };
        let bytes = slice(section.data, start, end.saturating_sub(start));
        Some((bytes.filter(|bytes| !bytes.is_empty())?, start, end))
    }

    /// The start of the next symbol of the section.
    fn next_start(&self, start: SectionOffset) -> Option<u64> {
        let next = self.starts.partition_point(|other| *other <= start);
        self.starts.get(next).filter(|(section, _)| *section == start.0).map(|(_, at)| *at)
    }

    /// The relocation at a place.
    pub(crate) fn reloc_at(&self, at: SectionOffset) -> Option<&Reloc> {
        let found = self.relocs.binary_search_by_key(&at, place).ok()?;
        self.relocs.get(found).map(|(_, reloc)| reloc)
    }

    /// The relocations in `start..end` of a section.
    ///
    /// # Errors
    /// The offset of a relocation that crosses `start` or `end`.
    pub(crate) fn relocs_in(
        &self,
        section: u32,
        start: u64,
        end: u64,
    ) -> Result<&[(u32, Reloc)], u64> {
        let first_from =
            |at: u64| self.relocs.partition_point(|reloc| place(reloc) < (section, at));
        let (first, last) = (first_from(start), first_from(end));
        let crosses = |index: Option<usize>, edge: u64| {
            let (other, reloc) = index.and_then(|index| self.relocs.get(index))?;
            let over = *other == section && reloc.offset.saturating_add(reloc.kind.width()) > edge;
            over.then_some(reloc.offset)
        };
        match crosses(first.checked_sub(1), start).or_else(|| crosses(last.checked_sub(1), end)) {
            Some(offset) => Err(offset),
            None => Ok(self.relocs.get(first..last).unwrap_or(&[])),
        }
    }
}

/// The place of a relocation in a section.
pub(crate) fn place((section, reloc): &(u32, Reloc)) -> SectionOffset {
    (*section, reloc.offset)
}

/// Sorts relocations by place; the sort is stable. Most tables are sorted already.
///
/// # Errors
/// No memory.
pub(crate) fn sort_by_place(relocs: &mut [(u32, Reloc)]) -> Result<(), AllocError> {
    if !relocs.is_sorted_by_key(place) {
        let mut numbered = try_collect(relocs.iter().copied().enumerate())?;
        sort_by_key(&mut numbered, |(number, reloc)| (place(reloc), *number));
        relocs.iter_mut().zip(numbered).for_each(|(reloc, (_, next))| *reloc = next);
    }
    Ok(())
}
