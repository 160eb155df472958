//! Application of relocations to an image that is still writable.
//!
//! See [`machine`] for how a value is computed.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::layout::{ImageLayout, to_usize};
use super::machine::aarch64::PatchError;
use super::machine::{self, Operands, put};
use super::name::Name;
use super::preserved_data;
use super::resolve::Resolve;
use super::symbol_address::SymbolAddress;
use crate::alloc_util::try_filled;
use crate::format::bytes::u32_at;
use crate::format::ext::prelink;
use crate::format::{Arch, Binding, Reloc, RelocEntry, RelocKind, RelocTable, Smf};

/// Applies every relocation of `smf` to its image in `memory`, which will be used at the address `base`.
pub(super) fn relocate<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'d>,
    base: u64,
    memory: &mut [u8],
    imports: &dyn Resolve,
) -> Result<()> {
    let imports = resolve_imports(smf, layout, base, imports)?;
    let symbols = symbol_addresses(layout, base, &imports)?;
    Relocator { smf, layout, base, arch: smf.header().arch, symbols, memory }.apply_all()
}

/// The address of every symbol, or [`NO_ADDRESS`]. There are more relocations than symbols.
fn symbol_addresses(layout: &ImageLayout<'_>, base: u64, imports: &[u64]) -> Result<Vec<u64>> {
    let count = layout.sections.len();
    let mut sections = try_filled(count + layout.preserved.len(), &0u64)?;
    for (address, section) in sections.iter_mut().zip(&layout.sections) {
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
) -> Result<Vec<u64>> {
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
    arch: Arch,
    /// The address of each symbol.
    symbols: Vec<u64>,
    memory: &'a mut [u8],
}

impl Relocator<'_, '_> {
    fn apply_all(&mut self) -> Result<()> {
        self.fill_slots()?;
        for table in self.smf.reloc_tables() {
            let table = &table?;
            if !self.layout.is_prelinked_table(table) {
                self.apply_table(table)?;
            } else if !self.layout.preserved.is_empty() {
                self.apply_preserved(table)?;
            }
        }
        Ok(())
    }

    /// Applies the relocations of a prelinked table that refer to preserved data, which is outside the image.
    fn apply_preserved(&mut self, table: &RelocTable<'_>) -> Result<()> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let layout = self.layout;
        let is_preserved = |reloc: &Reloc| preserved_data::is_preserved(layout, reloc.symbol);
        table.iter().filter(is_preserved).try_for_each(|reloc| self.apply(start, &reloc))
    }

    /// Writes every GOT slot and every veneer.
    fn fill_slots(&mut self) -> Result<()> {
        for (slots, &target) in self.layout.slots.iter().zip(&self.symbols) {
            let (slot, veneer) = self.layout.slot_offsets(*slots);
            if let Some(slot) = slot {
                put(self.memory, slot, target.to_le_bytes()).ok_or(LinkError::TooLarge)?;
            }
            if let Some(veneer) = veneer {
                let slot = self.base + slot.unwrap_or(0);
                let code = machine::veneer(self.arch, self.base + veneer, slot, target);
                let put = code.and_then(|code| put(self.memory, veneer, code));
                put.ok_or(LinkError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn apply_table(&mut self, table: &RelocTable<'_>) -> Result<()> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let mut entries = table.entries();
        while let Some(entry) = self.apply_abs64(start, table, &mut entries)? {
            self.apply(start, &table.decode(entry))?;
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
    ) -> Result<Option<RelocEntry<'t>>> {
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

    fn apply(&mut self, start: u64, reloc: &Reloc) -> Result<()> {
        let symbol = to_usize(reloc.symbol);
        // The layout has bounded both.
        let at = start.wrapping_add(reloc.offset);
        let place = self.base.wrapping_add(at);
        let slots = self.layout.slots.get(symbol).copied().unwrap_or_default();
        let (slot, veneer) = self.layout.slot_offsets(slots);
        let operands = Operands {
            place,
            symbol: self.symbols.get(symbol).copied().unwrap_or(NO_ADDRESS),
            addend: reloc.addend,
            slot: self.base + slot.unwrap_or(0),
            veneer: veneer.map(|veneer| self.base + veneer),
        };
        // The layout has refused kinds of other instruction sets.
        match machine::apply(self.arch, reloc.kind, &operands, self.memory, at) {
            Ok(applied) => applied.ok_or(LinkError::TooLarge),
            Err(error) => Err(self.patch_error(reloc, at, &operands, error)),
        }
    }

    fn patch_error(
        &self,
        reloc: &Reloc,
        at: u64,
        operands: &Operands,
        error: PatchError,
    ) -> LinkError {
        let (kind, place) = (reloc.kind, operands.place);
        let target = operands.target(kind).wrapping_add_signed(reloc.addend);
        let word = usize::try_from(at).ok().and_then(|at| u32_at(self.memory, at)).unwrap_or(0);
        self.named(reloc, |symbol| match error {
            PatchError::Range => LinkError::Overflow { kind, symbol, place, target },
            PatchError::Instruction => LinkError::Instruction { kind, symbol, place, word },
            PatchError::Alignment(unit) => {
                LinkError::Unaligned { kind, symbol, place, target, unit }
            }
        })
    }

    /// The error that `make` builds from the name of the symbol of a relocation.
    fn named(&self, reloc: &Reloc, make: impl FnOnce(Name) -> LinkError) -> LinkError {
        let symbol = self.smf.symbols().get(reloc.symbol);
        LinkError::named(symbol.map_or(&[][..], |symbol| symbol.name()), make)
    }
}

/// `size` bytes of the image from the offset `start` on.
fn part(memory: &mut [u8], start: u64, size: u64) -> Result<&mut [u8]> {
    let [start, size] = [start, size].map(usize::try_from);
    let (Ok(start), Ok(size)) = (start, size) else { return Err(LinkError::TooLarge) };
    let part = memory.get_mut(start..).and_then(|rest| rest.get_mut(..size));
    part.ok_or(LinkError::TooLarge)
}

#[inline]
fn word_at(section: &mut [u8], offset: u64) -> Option<&mut [u8; 8]> {
    section.get_mut(usize::try_from(offset).ok()?..)?.first_chunk_mut()
}

#[cfg(test)]
mod tests;
