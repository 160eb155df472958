//! The functions of a module, each with its code and its relocations.

use alloc::vec::Vec;

use crate::alloc_util::hash::fnv1a_64;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, try_collect, try_push, try_reserve, try_with_capacity};
use crate::extract::ExtractError;
use crate::extract::settled::{Recovered, sort_by_place};
use crate::format::Arch;
use crate::format::FormatError;
use crate::format::Smf;
use crate::format::bytes::slice;
use crate::format::ext::prelink::Prelink;
use crate::format::{Binding, Symbol, SymbolKind};
use crate::format::{Reloc, RelocKind};
use crate::format::{Section, SectionKind};

/// Refuses modules whose functions cannot be told apart from what surrounds them. The placement under which
/// distances in the code are settled, and have to be read.
fn check_parts<'d>(smf: &Smf<'d>) -> Result<Option<Prelink<'d>>, ExtractError<'static>> {
    if smf.functions()?.is_some() {
        return Err(ExtractError::Bytecode);
    }
    match Prelink::of(smf)? {
        Some(_) if !is_read(smf.header().arch) => Err(ExtractError::Settled),
        found => Ok(found),
    }
}

/// Whether distances in instructions of a machine can be read.
fn is_read(arch: Arch) -> bool {
    matches!(arch, Arch::X86_64 | Arch::AARCH64)
}

/// A place in a section: its number, and bytes from its begin.
pub(super) type Spot = (u32, u64);

/// The functions of a module, each of which can be taken out of it.
#[derive(Clone, Debug)]
pub struct Concretes<'d> {
    pub(super) smf: Smf<'d>,
    /// Where each function begins, and its symbol; in rising order.
    pub(super) functions: Vec<(Spot, u32)>,
    /// The hash of every symbol's name, and its number; in rising order.
    names: Vec<(u64, u32)>,
    /// Where symbols begin, in rising order.
    begins: Vec<Spot>,
    /// In the order of their places.
    relocs: Vec<(u32, Reloc)>,
    /// Where each section begins in the image that the file was linked for, and its number, in rising order;
    /// nothing when it was linked for none.
    pub(super) image: Vec<(u64, u32)>,
    /// Sections and the symbols that mark where they begin, in rising order.
    pub(super) marks: Vec<(u32, u32)>,
    /// Where functions begin that cannot be followed, and the instruction that is why; in rising order.
    refused: Vec<(Spot, u64)>,
}

/// One function, with what the linker has to do to it.
#[derive(Clone, Copy, Debug)]
pub struct FunctionBody<'c, 'd> {
    /// Its symbol. Where that has no size, [`FunctionBody::bytes`] tells it.
    pub symbol: Symbol<'d>,
    /// Its code. A function whose symbol has no size reaches to the next symbol of its section, or to
    /// the section's end.
    pub bytes: &'d [u8],
    /// The alignment of its section, in bytes; where the function begins in it says how much of that
    /// the function itself has.
    pub alignment: u64,
    relocs: &'c [(u32, Reloc)],
    smf: &'c Smf<'d>,
}

/// One thing for the linker to do to a function that was taken.
#[derive(Clone, Copy, Debug)]
pub struct ExtractedReloc<'d> {
    /// Its place, in bytes from the begin of the function.
    pub offset: u64,
    /// How it is computed.
    pub kind: RelocKind,
    /// What is added to the symbol's address.
    pub addend: i64,
    /// What it refers to: its name and kind, whether the module defines it, and where.
    pub symbol: Symbol<'d>,
}

impl<'d> FunctionBody<'_, 'd> {
    /// What the linker has to do to the code, in the order of the places.
    pub fn relocations(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<ExtractedReloc<'d>, FormatError>> + '_ {
        self.relocs.iter().map(|(_, reloc)| {
            let Reloc { offset, symbol, kind, addend } = *reloc;
            let offset = offset.saturating_sub(self.symbol.value);
            Ok(ExtractedReloc { offset, kind, addend, symbol: self.smf.symbols().get(symbol)? })
        })
    }
}

impl<'d> Concretes<'d> {
    /// Finds the functions of `smf` and what belongs to each.
    ///
    /// # Errors
    /// A module that is not sound; one whose functions cannot be parted, as [`ExtractError::Settled`] and
    /// [`ExtractError::Bytecode`] say; no memory.
    pub fn of(smf: &Smf<'d>) -> Result<Self, ExtractError<'static>> {
        let plan = check_parts(smf)?;
        let smf = smf.linked()?;
        let mut all = Concretes {
            smf,
            functions: Vec::new(),
            names: try_with_capacity(smf.symbols().len())?,
            begins: Vec::new(),
            relocs: Vec::new(),
            image: Vec::new(),
            marks: Vec::new(),
            refused: Vec::new(),
        };
        if let Some(plan) = &plan {
            let place =
                |section: Section<'_>| Some((plan.section_offset(section.index)?, section.index));
            all.image = try_collect(smf.sections().iter().filter_map(place))?;
        }
        for symbol in smf.symbols().iter() {
            all.enter(&symbol?)?;
        }
        for table in smf.reloc_tables() {
            let table = table?;
            smf.verify_relocs(&table)?;
            try_reserve(&mut all.relocs, table.iter().len())?;
            all.relocs.extend(table.iter().map(|reloc| (table.target.index, reloc)));
        }
        sort(&mut all.functions);
        sort(&mut all.names);
        sort(&mut all.begins);
        sort_by_place(&mut all.relocs)?;
        sort(&mut all.marks);
        if is_read(smf.header().arch) {
            let recovered = Recovered::of(&all, plan.is_some())?;
            recovered.merge_into(&mut all.relocs)?;
            all.refused = recovered.refused;
        }
        Ok(all)
    }

    fn enter(&mut self, symbol: &Symbol<'d>) -> Result<(), AllocError> {
        try_push(&mut self.names, (fnv1a_64(symbol.name()), symbol.index))?;
        let Some(section) = symbol.section.filter(|_| symbol.kind.has_address()) else {
            return Ok(());
        };
        let begin = (section, symbol.value);
        if symbol.kind != SymbolKind::Section {
            try_push(&mut self.begins, begin)?;
        }
        // The packer of this project marks the begin of each section.
        let name = self.smf.section(section).ok().map(|section| section.name);
        if symbol.size == 0 && name == Some(symbol.name()) {
            try_push(&mut self.marks, (section, symbol.index))?;
        } else if symbol.kind == SymbolKind::Function {
            try_push(&mut self.functions, (begin, symbol.index))?;
        }
        Ok(())
    }

    /// How many functions there are.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Every function, local ones too, by section and address. Two names of one function are two.
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = Result<FunctionBody<'_, 'd>, ExtractError<'d>>> {
        self.functions.iter().map(|(_, index)| {
            let symbol = self.smf.symbols().get(*index)?;
            self.take(symbol, symbol.name())
        })
    }

    /// The function called `name`: the global one, else the weak one, else the local one.
    ///
    /// # Errors
    /// [`ExtractError::Missing`], [`ExtractError::Import`] and [`ExtractError::NotAFunction`] for what is none;
    /// [`ExtractError::Ambiguous`] when there are two with nothing to choose by; [`ExtractError::Edge`] and
    /// [`ExtractError::NoBytes`] when it cannot be taken.
    pub fn concrete<'n>(&self, name: &'n [u8]) -> Result<FunctionBody<'_, 'd>, ExtractError<'n>> {
        let (mut best, mut count, mut imported) = (None, 0u32, false);
        for symbol in self.named(name) {
            if symbol.is_import() {
                imported = true;
                continue;
            }
            match best.as_ref().map(rank) {
                Some(other) if other > rank(&symbol) => {}
                Some(other) if other == rank(&symbol) => count += 1,
                _ => (best, count) = (Some(symbol), 1),
            }
        }
        match best {
            Some(_) if count > 1 => Err(ExtractError::Ambiguous { name }),
            Some(symbol) if symbol.kind == SymbolKind::Function => self.take(symbol, name),
            Some(_) => Err(ExtractError::NotAFunction { name }),
            None if imported => Err(ExtractError::Import { name }),
            None => Err(ExtractError::Missing { name }),
        }
    }

    /// The symbols of a name.
    fn named<'n>(&self, name: &'n [u8]) -> impl Iterator<Item = Symbol<'d>> + use<'_, 'd, 'n> {
        let hash = fnv1a_64(name);
        let first = self.names.partition_point(|(other, _)| *other < hash);
        let same = self.names.iter().skip(first).take_while(move |(other, _)| *other == hash);
        let symbols = same.filter_map(|(_, index)| self.smf.symbols().get(*index).ok());
        symbols.filter(move |symbol| symbol.name() == name)
    }

    fn take<'n>(
        &self,
        symbol: Symbol<'d>,
        name: &'n [u8],
    ) -> Result<FunctionBody<'_, 'd>, ExtractError<'n>> {
        let no_bytes = ExtractError::NoBytes { name };
        let index = symbol.section.ok_or(no_bytes)?;
        let section = self.smf.section(index)?;
        symbol.check_place(section.memory_size())?;
        if section.kind != SectionKind::Code || section.is_compressed() {
            return Err(ExtractError::NotAFunction { name });
        }
        let (bytes, begin, end) = self.bytes_of(&symbol, &section).ok_or(no_bytes)?;
        let refused = self.refused.binary_search_by_key(&(index, begin), |(begin, _)| *begin);
        if let Some((_, offset)) = refused.ok().and_then(|at| self.refused.get(at)) {
            return Err(ExtractError::Instruction { name, offset: *offset });
        }
        let relocs = self
            .relocs_in(index, begin, end)
            .map_err(|offset| ExtractError::Edge { name, offset })?;
        Ok(FunctionBody { symbol, bytes, alignment: section.alignment, relocs, smf: &self.smf })
    }

    /// The bytes of a function in its section, where they begin and where they end.
    pub(super) fn bytes_of(
        &self,
        symbol: &Symbol<'d>,
        section: &Section<'d>,
    ) -> Option<(&'d [u8], u64, u64)> {
        let begin = symbol.value;
        let end = match symbol.size {
            0 => self.next_begin((section.index, begin)).unwrap_or(section.data.len() as u64),
            size => begin.saturating_add(size),
        };
        let bytes = slice(section.data, begin, end.saturating_sub(begin));
        Some((bytes.filter(|bytes| !bytes.is_empty())?, begin, end))
    }

    /// The relocation of a place.
    pub(super) fn reloc_at(&self, place: Spot) -> Option<&Reloc> {
        let place_of = |(section, reloc): &(u32, Reloc)| (*section, reloc.offset);
        let found = self.relocs.binary_search_by_key(&place, place_of).ok()?;
        self.relocs.get(found).map(|(_, reloc)| reloc)
    }

    /// Where the next symbol of the section begins.
    fn next_begin(&self, begin: Spot) -> Option<u64> {
        let next = self.begins.partition_point(|other| *other <= begin);
        self.begins.get(next).filter(|(section, _)| *section == begin.0).map(|(_, at)| *at)
    }

    /// The relocations from `begin` to `end` of a section; the place of one that is only partly there.
    fn relocs_in(&self, section: u32, begin: u64, end: u64) -> Result<&[(u32, Reloc)], u64> {
        let first_from =
            |at: u64| self.relocs.partition_point(|(s, reloc)| (*s, reloc.offset) < (section, at));
        let (first, last) = (first_from(begin), first_from(end));
        let reaches = |index: Option<usize>, edge: u64| {
            let (other, reloc) = index.and_then(|index| self.relocs.get(index))?;
            let over = *other == section && reloc.offset.saturating_add(reloc.kind.width()) > edge;
            over.then_some(reloc.offset)
        };
        match reaches(first.checked_sub(1), begin).or_else(|| reaches(last.checked_sub(1), end)) {
            Some(offset) => Err(offset),
            None => Ok(self.relocs.get(first..last).unwrap_or(&[])),
        }
    }
}

/// Which of two symbols of one name is meant.
fn rank(symbol: &Symbol<'_>) -> u8 {
    match symbol.binding {
        Binding::Local => 0,
        Binding::Weak => 1,
        Binding::Global => 2,
    }
}
