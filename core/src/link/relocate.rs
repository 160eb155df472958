//! Application of relocations to an image that is still writable.
//!
//! S is the symbol's address, A the addend, P the address of the relocated field, G the address of a GOT slot that holds
//! S. Sums are computed in 128 bits, so nothing wraps before the range check. A call out of reach goes through a veneer,
//! an indirect jump in the image's own code. Data fields are the same for every instruction set; instructions and
//! veneers are the business of [`Machine`].

use alloc::vec::Vec;

use super::error::LinkError;
use super::layout::{ImageLayout, SLOT, SymbolSlots, for_each_table, to_usize};
use super::machine::{Jump, Machine, PatchError, VENEER, for_machine};
use super::name::Name;
use super::preserved_data;
use super::resolve::Resolve;
use super::symbol_address::SymbolAddress;
use crate::alloc_util::try_filled;
use crate::format::bytes::u32_at;
use crate::format::ext::prelink;
use crate::format::{Binding, Reloc, RelocEntry, RelocKind, RelocTable, Smf};

/// Applies every relocation of `smf` to its image in `memory`, which will be used at the address `base`.
pub(super) fn relocate<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'d>,
    base: u64,
    memory: &mut [u8],
    imports: &dyn Resolve,
) -> Result<(), LinkError> {
    let imports = resolve_imports(smf, layout, base, imports)?;
    let symbols = symbol_addresses(layout, base, &imports)?;
    let mut relocator = Relocator { smf, layout, base, symbols, memory };
    for_machine!(smf.header().arch, relocator.apply_all())
}

/// The address of every symbol, or [`NO_ADDRESS`]. There are more relocations than symbols.
fn symbol_addresses(
    layout: &ImageLayout<'_>,
    base: u64,
    imports: &[u64],
) -> Result<Vec<u64>, LinkError> {
    let count = layout.sections().len();
    let mut sections = try_filled(count + layout.preserved.len(), &0u64)?;
    for (address, section) in sections.iter_mut().zip(layout.sections()) {
        *address = section.map_or(0, |at| base + at);
    }
    for (address, preserved) in sections.iter_mut().skip(count).zip(&layout.preserved) {
        *address = *preserved;
    }
    let mut addresses = try_filled(layout.symbols.len(), &NO_ADDRESS)?;
    for (address, symbol) in addresses.iter_mut().zip(&layout.symbols) {
        *address = symbol.resolve(&sections, imports).unwrap_or(NO_ADDRESS);
    }
    Ok(addresses)
}

/// The address of a symbol without one ([`SymbolAddress::NONE`]). A resolver may return the same value.
const NO_ADDRESS: u64 = u64::MAX;

/// The address of every import, in the order of the symbol table; 0 for an unresolved weak one.
fn resolve_imports(
    smf: &Smf<'_>,
    layout: &ImageLayout<'_>,
    base: u64,
    imports: &dyn Resolve,
) -> Result<Vec<u64>, LinkError> {
    let mut values = try_filled(to_usize(layout.imports), &0u64)?;
    let (mut count, mut first) = (0u32, None);
    let numbers = (0u32..).zip(&layout.symbols).filter(|(_, symbol)| symbol.is_import());
    for ((index, _), value) in numbers.take(values.len()).zip(values.iter_mut()) {
        let symbol = smf.symbols().get(index)?;
        if symbol.name() == prelink::NAME {
            if !layout.is_prelinked() {
                return Err(LinkError::Prelink);
            }
            *value = base;
            continue;
        }
        let is_called = layout.slots.get(to_usize(index)).is_some_and(|s| s.veneer != 0);
        match imports.resolve_import(&symbol, is_called)? {
            Some(address) => *value = address,
            None if symbol.binding == Binding::Weak => {}
            None => {
                count += 1;
                first = first.or(Some(symbol));
            }
        }
    }
    let Some(first) = first else { return Ok(values) };
    Err(LinkError::named(first.name(), |first| LinkError::MissingImports { count, first }))
}

struct Relocator<'a, 'd> {
    smf: &'a Smf<'d>,
    layout: &'a ImageLayout<'d>,
    base: u64,
    /// The address of each symbol.
    symbols: Vec<u64>,
    memory: &'a mut [u8],
}

impl Relocator<'_, '_> {
    fn apply_all<M: Machine>(&mut self) -> Result<(), LinkError> {
        self.fill_slots::<M>()?;
        for_each_table(self.smf, |table| {
            if !self.layout.is_prelinked_table(table) {
                self.apply_table::<M>(table)
            } else if !self.layout.preserved.is_empty() {
                self.apply_preserved::<M>(table)
            } else {
                Ok(())
            }
        })
    }

    /// Applies the relocations of a prelinked table that refer to preserved data, which is outside the image.
    fn apply_preserved<M: Machine>(&mut self, table: &RelocTable<'_>) -> Result<(), LinkError> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let layout = self.layout;
        let is_preserved = |reloc: &Reloc| preserved_data::is_preserved(layout, reloc.symbol);
        table.iter().filter(is_preserved).try_for_each(|reloc| self.apply::<M>(start, &reloc))
    }

    /// Writes every GOT slot and every veneer.
    fn fill_slots<M: Machine>(&mut self) -> Result<(), LinkError> {
        let slots = self.layout.slots.iter().zip(&self.symbols);
        for (&SymbolSlots { got, veneer }, &target) in slots {
            let slot = self.layout.got + u64::from(got.saturating_sub(1)) * SLOT;
            if got != 0 {
                put(self.memory, slot, target.to_le_bytes())?;
            }
            if veneer != 0 {
                let at = self.layout.veneers + u64::from(veneer - 1) * VENEER;
                let jump = Jump { place: self.base + at, slot: self.base + slot, target };
                put(self.memory, at, M::veneer(jump).ok_or(LinkError::TooLarge)?)?;
            }
        }
        Ok(())
    }

    fn apply_table<M: Machine>(&mut self, table: &RelocTable<'_>) -> Result<(), LinkError> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let mut entries = table.entries();
        while let Some(entry) = self.apply_abs64(start, table, &mut entries)? {
            self.apply::<M>(start, &table.decode(entry))?;
        }
        Ok(())
    }

    /// Checks and applies 64-bit absolute addresses up to the first other relocation, which it returns. The layout
    /// has not checked them.
    fn apply_abs64<'t>(
        &mut self,
        start: u64,
        table: &RelocTable<'t>,
        entries: &mut impl Iterator<Item = RelocEntry<'t>>,
    ) -> Result<Option<RelocEntry<'t>>, LinkError> {
        let Some(abs64) = table.number(RelocKind::Abs64) else { return Ok(entries.next()) };
        let Self { layout, symbols, memory, .. } = self;
        let section = part(memory, start, table.target.memory_size())?;
        let is_none = |symbol| layout.symbols.get(symbol).is_none_or(|s| *s == SymbolAddress::NONE);
        for entry in entries {
            if entry.number() != abs64 {
                return Ok(Some(entry));
            }
            let index = to_usize(entry.symbol());
            let (Some(&symbol), Some(word)) =
                (symbols.get(index), word_at(section, entry.offset()))
            else {
                return Err(self.malformed(table));
            };
            if symbol == NO_ADDRESS && is_none(index) {
                return Err(self.malformed(table));
            }
            *word = symbol.wrapping_add_signed(entry.addend()).to_le_bytes();
        }
        Ok(None)
    }

    /// The error of the first malformed relocation of a table.
    fn malformed(&self, table: &RelocTable<'_>) -> LinkError {
        if let Err(error) = self.smf.verify_relocs(table) {
            return error.into();
        }
        let symbols = &self.layout.symbols;
        let has_none =
            |reloc: &Reloc| symbols.get(to_usize(reloc.symbol)) == Some(&SymbolAddress::NONE);
        let section = table.section.index;
        match (0u32..).zip(table.iter()).find(|(_, reloc)| has_none(reloc)) {
            Some((index, reloc)) => {
                self.named(&reloc, |symbol| LinkError::NoAddress { section, index, symbol })
            }
            None => LinkError::TooLarge,
        }
    }

    /// The address of the symbol of a relocation.
    fn address(&self, reloc: &Reloc) -> u64 {
        self.symbols.get(to_usize(reloc.symbol)).copied().unwrap_or(NO_ADDRESS)
    }

    fn apply<M: Machine>(&mut self, start: u64, reloc: &Reloc) -> Result<(), LinkError> {
        // The layout has bounded both.
        let at = start.wrapping_add(reloc.offset);
        let place = self.base.wrapping_add(at);
        let symbol = self.address(reloc);
        let sum = || i128::from(symbol) + i128::from(reloc.addend);
        match reloc.kind {
            RelocKind::None => Ok(()),
            RelocKind::Abs64 => {
                put(self.memory, at, symbol.wrapping_add_signed(reloc.addend).to_le_bytes())
            }
            RelocKind::Abs32 => match u32::try_from(sum()) {
                Ok(value) => put(self.memory, at, value.to_le_bytes()),
                Err(_) => Err(self.overflow(reloc, place, symbol)),
            },
            RelocKind::Abs32S => match i32::try_from(sum()) {
                Ok(value) => put(self.memory, at, value.to_le_bytes()),
                Err(_) => Err(self.overflow(reloc, place, symbol)),
            },
            RelocKind::Pc64 => {
                let value = symbol.wrapping_add_signed(reloc.addend).wrapping_sub(place);
                put(self.memory, at, value.to_le_bytes())
            }
            RelocKind::Plt32 if self.slots(reloc).veneer != 0 => {
                let direct = i32::try_from(sum() - i128::from(place));
                let target = if direct.is_ok() { symbol } else { self.veneer(reloc) };
                self.put_pc32(at, place, target, reloc)
            }
            RelocKind::Pc32 | RelocKind::Plt32 => self.put_pc32(at, place, symbol, reloc),
            RelocKind::GotPcRel => self.put_pc32(at, place, self.got_slot(reloc), reloc),
            RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12 => {
                self.patch::<M>(at, place, self.got_slot(reloc), reloc)
            }
            // The layout has refused kinds of other instruction sets.
            _ => self.patch::<M>(at, place, symbol, reloc),
        }
    }

    /// Writes target + A into an instruction; a branch that does not reach it gets the address of the veneer, which
    /// leads to the symbol without an addend.
    fn patch<M: Machine>(
        &mut self,
        at: u64,
        place: u64,
        target: u64,
        reloc: &Reloc,
    ) -> Result<(), LinkError> {
        let word = usize::try_from(at).ok().and_then(|at| u32_at(self.memory, at));
        let word = word.ok_or(LinkError::TooLarge)?;
        let sum = i128::from(target) + i128::from(reloc.addend);
        let mut patched = M::patch(reloc.kind, word, place, sum);
        let is_branch = reloc.kind == RelocKind::Arm64Branch26 && reloc.addend == 0;
        if patched == Err(PatchError::Range) && is_branch && self.slots(reloc).veneer != 0 {
            patched = M::patch(reloc.kind, word, place, i128::from(self.veneer(reloc)));
        }
        match patched {
            Ok(word) => put(self.memory, at, word.to_le_bytes()),
            Err(error) => Err(self.patch_error(reloc, place, target, word, error)),
        }
    }

    fn slots(&self, reloc: &Reloc) -> SymbolSlots {
        self.layout.slots.get(to_usize(reloc.symbol)).copied().unwrap_or_default()
    }

    /// The address of the GOT slot of the symbol.
    fn got_slot(&self, reloc: &Reloc) -> u64 {
        let number = u64::from(self.slots(reloc).got.saturating_sub(1));
        self.base + self.layout.got + number * SLOT
    }

    /// The address of the veneer of the symbol.
    fn veneer(&self, reloc: &Reloc) -> u64 {
        let number = u64::from(self.slots(reloc).veneer.saturating_sub(1));
        self.base + self.layout.veneers + number * VENEER
    }

    /// Writes target + A - P, which must fit signed 32 bits.
    fn put_pc32(
        &mut self,
        at: u64,
        place: u64,
        target: u64,
        reloc: &Reloc,
    ) -> Result<(), LinkError> {
        let distance = i128::from(target) + i128::from(reloc.addend) - i128::from(place);
        match i32::try_from(distance) {
            Ok(distance) => put(self.memory, at, distance.to_le_bytes()),
            Err(_) => Err(self.overflow(reloc, place, target)),
        }
    }

    fn overflow(&self, reloc: &Reloc, place: u64, symbol: u64) -> LinkError {
        let (kind, target) = (reloc.kind, symbol.wrapping_add_signed(reloc.addend));
        self.named(reloc, |symbol| LinkError::Overflow { kind, symbol, place, target })
    }

    fn patch_error(
        &self,
        reloc: &Reloc,
        place: u64,
        target: u64,
        word: u32,
        error: PatchError,
    ) -> LinkError {
        let kind = reloc.kind;
        match error {
            PatchError::Range => self.overflow(reloc, place, target),
            PatchError::Instruction => {
                self.named(reloc, |symbol| LinkError::Instruction { kind, symbol, place, word })
            }
            PatchError::Alignment(unit) => {
                let target = target.wrapping_add_signed(reloc.addend);
                let error = |symbol| LinkError::Unaligned { kind, symbol, place, target, unit };
                self.named(reloc, error)
            }
        }
    }

    /// The error that `make` builds from the name of the symbol of a relocation.
    fn named(&self, reloc: &Reloc, make: impl FnOnce(Name) -> LinkError) -> LinkError {
        let symbol = self.smf.symbols().get(reloc.symbol);
        LinkError::named(symbol.map_or(&[][..], |symbol| symbol.name()), make)
    }
}

/// `size` bytes of the image from the offset `start` on.
fn part(memory: &mut [u8], start: u64, size: u64) -> Result<&mut [u8], LinkError> {
    let [start, size] = [start, size].map(usize::try_from);
    let (Ok(start), Ok(size)) = (start, size) else { return Err(LinkError::TooLarge) };
    let part = memory.get_mut(start..).and_then(|rest| rest.get_mut(..size));
    part.ok_or(LinkError::TooLarge)
}

#[inline]
fn word_at(section: &mut [u8], offset: u64) -> Option<&mut [u8; 8]> {
    section.get_mut(usize::try_from(offset).ok()?..)?.first_chunk_mut()
}

#[inline]
fn put<const N: usize>(memory: &mut [u8], at: u64, bytes: [u8; N]) -> Result<(), LinkError> {
    let at = usize::try_from(at).map_err(|_| LinkError::TooLarge)?;
    let field = memory.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
    *field.ok_or(LinkError::TooLarge)? = bytes;
    Ok(())
}

#[cfg(test)]
mod tests;
