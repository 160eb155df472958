//! What a linker has to do to functions whose distances another one has settled.
//!
//! The packer of this project writes distances once and for all. Of those to another section it keeps the
//! relocation; of those within the code nothing is left but the instruction. So the code is read: a distance
//! that leads out of its function becomes a relocation again, against the symbol that it leads to. Calls by
//! way of a stub, and what is read through a slot, are against the import itself.

use alloc::vec::Vec;

use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_collect, try_push};
use crate::extract::concrete::{Concretes, Spot};
use crate::extract::x86_64::{Distance, To, instructions};
use crate::format::Arch;
use crate::format::FormatError;
use crate::format::Symbol;
use crate::format::bytes::{slice, u8_at, u32_at};
use crate::format::{Reloc, RelocKind};
use crate::format::{Section, SectionKind};

mod words;

/// What was found in the code of all functions.
#[derive(Default)]
pub(super) struct Recovered {
    /// New relocations, or others for the places of old ones.
    relocs: Vec<(u32, Reloc)>,
    /// Where functions begin that cannot be taken, and the offset of the instruction that is why.
    pub(super) refused: Vec<(Spot, u64)>,
}

/// Why a function cannot be followed, with the offset of the instruction.
enum Stop {
    /// It is not known.
    Unknown(u64),
    /// It leads out of the function, to nothing that has a name.
    Nowhere(u64),
    /// There is no memory to follow it with.
    AllocError,
}

impl From<AllocError> for Stop {
    fn from(_: AllocError) -> Self {
        Self::AllocError
    }
}

impl Recovered {
    /// Reads every function of `all`. Where the file says that distances are settled, what is not known
    /// may be one of them; elsewhere the relocations are believed to tell of it.
    ///
    /// # Errors
    /// What is wrong with the file, and no memory.
    pub(super) fn of(all: &Concretes<'_>, is_settled: bool) -> Result<Self, FormatError> {
        let mut found = Self::default();
        for (begin, symbol) in &all.functions {
            let symbol = all.smf.symbols().get(*symbol)?;
            let section = all.smf.section(begin.0)?;
            let Some((bytes, ..)) = all.bytes_of(&symbol, &section) else { continue };
            let function = Function { all, section: &section, begin: begin.1, bytes };
            match function.read(&mut found.relocs) {
                Err(Stop::Unknown(offset)) if is_settled => {
                    try_push(&mut found.refused, (*begin, offset))?;
                }
                Err(Stop::Nowhere(offset)) => try_push(&mut found.refused, (*begin, offset))?,
                Err(Stop::AllocError) => return Err(FormatError::OutOfMemory),
                Ok(()) | Err(Stop::Unknown(_)) => {}
            }
        }
        Ok(found)
    }

    /// The relocations of the file with what was found put in.
    pub(super) fn merge_into(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), AllocError> {
        let old = relocs.len();
        for new in &self.relocs {
            let at =
                relocs.get(..old).map(|relocs| relocs.binary_search_by_key(&place(new), place));
            match at.and_then(|at| relocs.get_mut(at.ok()?)) {
                Some(there) => *there = *new,
                None => try_push(relocs, *new)?,
            }
        }
        sort_by_place(relocs)?;
        // Functions with two names were read twice.
        relocs.dedup_by_key(|reloc| place(reloc));
        Ok(())
    }
}

/// Where a relocation of a section applies.
fn place((section, reloc): &(u32, Reloc)) -> Spot {
    (*section, reloc.offset)
}

/// Those of one place stay in the order in which they were. Tables stand in order nearly always, and are
/// then only walked over.
pub(super) fn sort_by_place(relocs: &mut [(u32, Reloc)]) -> Result<(), AllocError> {
    if !relocs.is_sorted_by_key(place) {
        let mut numbered = try_collect(relocs.iter().copied().enumerate())?;
        sort_by_key(&mut numbered, |(number, reloc)| (place(reloc), *number));
        relocs.iter_mut().zip(numbered).for_each(|(reloc, (_, next))| *reloc = next);
    }
    Ok(())
}

struct Function<'c, 'd> {
    all: &'c Concretes<'d>,
    section: &'c Section<'d>,
    /// Bytes from the begin of the section.
    begin: u64,
    bytes: &'d [u8],
}

impl Function<'_, '_> {
    /// Adds what its code says.
    fn read(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), Stop> {
        let before = relocs.len();
        let read = match self.all.smf.header().arch {
            Arch::AARCH64 => self.read_words(relocs),
            _ => self.read_instructions(relocs),
        };
        if read.is_err() {
            relocs.truncate(before);
        }
        read
    }

    /// The same for x86-64.
    fn read_instructions(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), Stop> {
        instructions(self.bytes).try_for_each(|found| {
            let (at, distance) = found.map_err(|at| Stop::Unknown(self.offset(at)))?;
            let Some(distance) = distance else { return Ok(()) };
            let reloc = self.reloc(&distance).map_err(|()| Stop::Nowhere(self.offset(at)))?;
            match reloc {
                Some(reloc) => Ok(try_push(relocs, (self.section.index, reloc))?),
                None => Ok(()),
            }
        })
    }

    /// Bytes from the begin of the section to a place in the function.
    fn offset(&self, at: usize) -> u64 {
        self.begin.saturating_add(at as u64)
    }

    /// The relocation for a distance, unless what there is will do.
    fn reloc(&self, distance: &Distance) -> Result<Option<Reloc>, ()> {
        let offset = self.begin.checked_add(distance.at as u64).ok_or(())?;
        // How far the place that is meant is behind the place of the distance.
        let beyond = i64::try_from(distance.end - distance.at).map_err(|_| ())?;
        if let Some(told) = self.all.reloc_at((self.section.index, offset)) {
            let slot = if distance.to == To::Pointer { self.slot(told, beyond) } else { None };
            let kind = RelocKind::GotPcRel;
            return Ok(slot.map(|symbol| Reloc { offset, symbol, kind, addend: -beyond }));
        }
        let value = match distance.width {
            1 => u8_at(self.bytes, distance.at).map(|byte| i64::from(byte.cast_signed())),
            _ => u32_at(self.bytes, distance.at).map(|word| i64::from(word.cast_signed())),
        };
        let end = self.begin.checked_add(distance.end as u64).ok_or(())?;
        let target = end.checked_add_signed(value.ok_or(())?).ok_or(())?;
        let inside = target.checked_sub(self.begin).is_some_and(|at| at < self.bytes.len() as u64);
        if inside {
            return Ok(None);
        }
        // Nothing that can be anywhere is reached by a byte.
        if distance.width == 1 {
            return Err(());
        }
        let kind = if distance.to == To::Code { RelocKind::Plt32 } else { RelocKind::Pc32 };
        let (symbol, from) = self.referent(target).ok_or(())?;
        let addend = i64::try_from(from).ok().and_then(|from| from.checked_sub(beyond)).ok_or(())?;
        Ok(Some(Reloc { offset, symbol, kind, addend }))
    }

    /// What is at an offset of the section: a symbol, and how far behind its begin.
    fn referent(&self, target: u64) -> Option<(u32, u64)> {
        let index = self.section.index;
        let behind = self.all.functions.partition_point(|(begin, _)| *begin <= (index, target));
        let (begin, symbol) = self.all.functions.get(behind.checked_sub(1)?)?;
        let found = self.all.smf.symbols().get(*symbol).ok()?;
        let from = target.checked_sub(begin.1).filter(|_| begin.0 == index);
        match from {
            Some(from) if from < found.size.max(1) => Some((*symbol, from)),
            _ => self.behind_any_stub(target).map(|symbol| (symbol, 0)),
        }
    }

    /// The import that a stub at an offset of the section leads to.
    fn behind_any_stub(&self, at: u64) -> Option<u32> {
        match self.all.smf.header().arch {
            Arch::AARCH64 => self.behind_stub_of_words(at),
            _ => self.behind_stub(at),
        }
    }

    /// The same for x86-64.
    fn behind_stub(&self, at: u64) -> Option<u32> {
        if slice(self.section.data, at, 2)? != [0xff, 0x25] {
            return None;
        }
        let told = self.all.reloc_at((self.section.index, at.checked_add(2)?))?;
        self.slot(told, 4)
    }

    /// The import whose address is in the slot that a distance leads to.
    fn slot(&self, distance: &Reloc, beyond: i64) -> Option<u32> {
        let symbols = self.all.smf.symbols();
        let base =
            symbols.get(distance.symbol).ok().filter(|_| distance.kind == RelocKind::Pc32)?;
        let Symbol { section: Some(section), value, .. } = base else { return None };
        let at = value.checked_add_signed(distance.addend.checked_add(beyond)?)?;
        self.import_in((section, at))
    }

    /// The import whose address is in a slot.
    fn import_in(&self, slot: Spot) -> Option<u32> {
        // What can be written to is no slot.
        let is_constant = self.all.smf.section(slot.0).ok()?.kind == SectionKind::RoData;
        let told = self.all.reloc_at(slot).filter(|_| is_constant)?;
        let is_address = told.kind == RelocKind::Abs64 && told.addend == 0;
        let import = self.all.smf.symbols().get(told.symbol).ok();
        import.filter(|symbol| is_address && symbol.is_import()).map(|_| told.symbol)
    }
}
