//! Relocations applied to an image that is still writable.
//!
//! S is the symbol's address, A the addend, P the address of the place, G the address of a GOT slot
//! that holds S. Sums are taken in 128 bits, so that nothing wraps before it is compared with the
//! range of its place. A call out of reach goes through a veneer: an indirect jump in the image's own
//! code. What words of data get is the same for every instruction set; what instructions get, and
//! what a veneer is, says [`Machine`].

use super::error::{LinkError, Refusal, ShortName};
use super::layout::{
    ImageLayout, SLOT, Slots, for_each_table, number_of_words, to_usize, too_large,
};
use super::machine::aarch64::Misfit;
use super::machine::{Jump, Machine, VENEER, for_machine};
use super::preserved_data;
use super::resolve::Resolve;
use super::symbol_address::SymbolAddress;
use crate::alloc_util::try_filled;
use crate::format::bytes::u32_at;
use crate::format::ext::prelink;
use crate::format::{Binding, Reloc, RelocEntry, RelocKind, RelocTable, Smf};
use crate::memory::WritablePages;

/// Applies every relocation of `smf` to its image.
#[cfg_attr(not(feature = "full"), inline(never))]
pub(super) fn relocate<'d>(
    smf: &Smf<'d>,
    plan: &ImageLayout<'d>,
    pages: &mut WritablePages,
    imports: &dyn Resolve,
) -> Result<(), Refusal> {
    let base = pages.address() as u64;
    relocate_at(smf, plan, base, pages.as_mut_slice(), imports)
}

/// As [`relocate`], for an image in `memory` that will be used at the address `base`.
pub(super) fn relocate_at<'d>(
    smf: &Smf<'d>,
    plan: &ImageLayout<'d>,
    base: u64,
    memory: &mut [u8],
    imports: &dyn Resolve,
) -> Result<(), Refusal> {
    let imports = resolve_imports(smf, plan, base, imports)?;
    let symbols = symbol_addresses(plan, base, &imports)?;
    let mut relocator = Relocator { smf, plan, base, symbols, memory };
    for_machine!(smf.header().arch, relocator.apply_all())
}

/// The address of every symbol, or [`NO_ADDRESS`]. That takes less than to work them out for each
/// relocation, of which there are more.
#[cfg_attr(not(feature = "full"), inline(never))]
fn symbol_addresses(
    plan: &ImageLayout<'_>,
    base: u64,
    imports: &[u64],
) -> Result<alloc::vec::Vec<u64>, Refusal> {
    let mut sections = try_filled(plan.sections().len() + plan.kept.len(), &0u64)?;
    for (address, section) in sections.iter_mut().zip(plan.sections()) {
        *address = section.map_or(0, |at| base + at);
    }
    for (address, kept) in sections.iter_mut().skip(plan.sections().len()).zip(&plan.kept) {
        *address = *kept;
    }
    let mut addresses = try_filled(plan.targets.len(), &NO_ADDRESS)?;
    for (address, target) in addresses.iter_mut().zip(&plan.targets) {
        *address = target.address(&sections, imports).unwrap_or(NO_ADDRESS);
    }
    Ok(addresses)
}

/// Of a symbol that is [nowhere](SymbolAddress::NOWHERE), and of no other unless a resolver says so.
const NO_ADDRESS: u64 = u64::MAX;

/// The address of every import, in the order of the table; 0 for a weak one that nobody provides.
#[cfg_attr(not(feature = "full"), inline(never))]
fn resolve_imports(
    smf: &Smf<'_>,
    plan: &ImageLayout<'_>,
    base: u64,
    imports: &dyn Resolve,
) -> Result<alloc::vec::Vec<u64>, Refusal> {
    let mut values = try_filled(to_usize(plan.imports), &0u64)?;
    let mut missing = 0u32;
    let mut first = None;
    let numbers = (0u32..).zip(&plan.targets).filter(|(_, target)| target.is_import());
    for ((index, _), value) in numbers.take(values.len()).zip(values.iter_mut()) {
        let symbol = smf.symbols().get(index)?;
        if symbol.name() == prelink::NAME {
            if !plan.keeps_image() {
                return Err(LinkError::Image.into());
            }
            *value = base;
            continue;
        }
        let is_called = plan.slots.get(to_usize(index)).is_some_and(|s| s.veneer != 0);
        match imports.resolve_import(&symbol, is_called)? {
            Some(address) => *value = address,
            None if symbol.binding == Binding::Weak => {}
            None => {
                missing += 1;
                first = first.or_else(|| Some(ShortName::new(symbol.name())));
            }
        }
    }
    match first {
        Some(first) => Err(LinkError::MissingImports { count: missing, first }.into()),
        None => Ok(values),
    }
}

struct Relocator<'a, 'd> {
    smf: &'a Smf<'d>,
    plan: &'a ImageLayout<'d>,
    base: u64,
    /// The address of each symbol.
    symbols: alloc::vec::Vec<u64>,
    memory: &'a mut [u8],
}

impl Relocator<'_, '_> {
    #[cfg_attr(not(feature = "full"), inline(never))]
    fn apply_all<M: Machine>(&mut self) -> Result<(), Refusal> {
        self.fill_slots::<M>()?;
        for_each_table(self.smf, &mut |table| {
            if !self.plan.is_settled(table) {
                self.apply_table::<M>(table)
            } else if !self.plan.kept.is_empty() {
                self.apply_kept::<M>(table)
            } else {
                Ok(())
            }
        })
    }

    /// Applies those of a settled table that lead to data which is not where its writer had it.
    fn apply_kept<M: Machine>(&mut self, table: &RelocTable<'_>) -> Result<(), Refusal> {
        let Some(start) = self.plan.section(table.target.index) else { return Ok(()) };
        let plan = self.plan;
        let mut kept = table.iter().filter(|reloc| preserved_data::is_kept(plan, reloc.symbol));
        kept.try_for_each(|reloc| self.apply::<M>(start, &reloc))
    }

    /// Writes every GOT slot and every veneer.
    fn fill_slots<M: Machine>(&mut self) -> Result<(), Refusal> {
        let slots = self.plan.slots.iter().zip(&self.symbols);
        for (&Slots { got, veneer }, &target) in slots {
            let slot = self.plan.got + u64::from(got.saturating_sub(1)) * SLOT;
            if got != 0 {
                put(self.memory, slot, target.to_le_bytes())?;
            }
            if veneer != 0 {
                let at = self.plan.veneers + u64::from(veneer - 1) * VENEER;
                let jump = Jump { place: self.base + at, slot: self.base + slot, target };
                put(self.memory, at, M::veneer(jump).ok_or_else(too_large)?)?;
            }
        }
        Ok(())
    }

    fn apply_table<M: Machine>(&mut self, table: &RelocTable<'_>) -> Result<(), Refusal> {
        let Some(start) = self.plan.section(table.target.index) else { return Ok(()) };
        let mut entries = table.entries();
        while let Some(entry) = self.apply_words(start, table, &mut entries)? {
            self.apply::<M>(start, &table.decode(entry))?;
        }
        Ok(())
    }

    /// Applies what is an address of 64 bits, as nearly all are that are left to the loader, up to the
    /// first that is something else. The plan has not looked at them.
    fn apply_words<'t>(
        &mut self,
        start: u64,
        table: &RelocTable<'t>,
        entries: &mut impl Iterator<Item = RelocEntry<'t>>,
    ) -> Result<Option<RelocEntry<'t>>, Refusal> {
        let Some(number) = number_of_words(table) else { return Ok(entries.next()) };
        let Self { plan, symbols, memory, .. } = self;
        let section = part(memory, start, table.target.memory_size())?;
        let is_nowhere =
            |symbol| plan.targets.get(symbol).is_none_or(|t| *t == SymbolAddress::NOWHERE);
        for entry in entries {
            if entry.number() != number {
                return Ok(Some(entry));
            }
            let number = to_usize(entry.symbol());
            let (Some(&symbol), Some(word)) =
                (symbols.get(number), word_at(section, entry.offset()))
            else {
                return Err(self.refusal(table));
            };
            if symbol == NO_ADDRESS && is_nowhere(number) {
                return Err(self.refusal(table));
            }
            *word = symbol.wrapping_add_signed(entry.addend()).to_le_bytes();
        }
        Ok(None)
    }

    /// Why one of the addresses in a table cannot be applied.
    #[cold]
    fn refusal(&self, table: &RelocTable<'_>) -> Refusal {
        if let Err(error) = self.smf.verify_relocs(table) {
            return error.into();
        }
        let targets = &self.plan.targets;
        let is_nowhere =
            |reloc: &Reloc| targets.get(to_usize(reloc.symbol)) == Some(&SymbolAddress::NOWHERE);
        let found = (0u32..).zip(table.iter()).find(|(_, reloc)| is_nowhere(reloc));
        found.map_or_else(too_large, |(index, reloc)| {
            LinkError::NoAddress { section: table.section.index, index, symbol: self.name(&reloc) }
                .into()
        })
    }

    /// The address of the symbol of a relocation.
    #[cfg_attr(feature = "full", inline(always))]
    fn address(&self, reloc: &Reloc) -> u64 {
        self.symbols.get(to_usize(reloc.symbol)).copied().unwrap_or(NO_ADDRESS)
    }

    fn apply<M: Machine>(&mut self, start: u64, reloc: &Reloc) -> Result<(), Refusal> {
        // Both were bounded when the image was planned.
        let at = start.wrapping_add(reloc.offset);
        let place = self.base.wrapping_add(at);
        let symbol = self.address(reloc);
        let absolute = |value: u64| i128::from(value) + i128::from(reloc.addend);
        match reloc.kind {
            RelocKind::None => Ok(()),
            RelocKind::Abs64 => {
                let value = symbol.wrapping_add_signed(reloc.addend);
                put(self.memory, at, value.to_le_bytes())
            }
            RelocKind::Abs32 | RelocKind::Abs32S => {
                let (value, is_signed) = (absolute(symbol), reloc.kind == RelocKind::Abs32S);
                let signed = || i32::try_from(value).map(i32::cast_unsigned);
                match if is_signed { signed() } else { u32::try_from(value) } {
                    Ok(value) => put(self.memory, at, value.to_le_bytes()),
                    Err(_) => Err(self.overflow(reloc, place, symbol)),
                }
            }
            RelocKind::Pc64 => {
                let value = symbol.wrapping_add_signed(reloc.addend).wrapping_sub(place);
                put(self.memory, at, value.to_le_bytes())
            }
            RelocKind::Pc32 => self.put_distance(at, place, symbol, reloc),
            RelocKind::Plt32 if self.slots(reloc).veneer == 0 => {
                self.put_distance(at, place, symbol, reloc)
            }
            RelocKind::Plt32 => {
                let direct = i32::try_from(absolute(symbol) - i128::from(place));
                let target = match direct {
                    Ok(_) => symbol,
                    Err(_) => self.veneer(reloc),
                };
                self.put_distance(at, place, target, reloc)
            }
            RelocKind::GotPcRel => self.put_distance(at, place, self.got_slot(reloc), reloc),
            RelocKind::Arm64GotLoadPage21 | RelocKind::Arm64GotLoadPageOff12 => {
                self.patch::<M>(at, place, self.got_slot(reloc), reloc)
            }
            // The plan has refused what is not for this instruction set, with its number.
            _ => self.patch::<M>(at, place, symbol, reloc),
        }
    }

    /// Writes where target + A is into an instruction; for a branch that does not reach it, where the
    /// veneer is. A veneer leads to the symbol itself and to nothing beside it.
    fn patch<M: Machine>(
        &mut self,
        at: u64,
        place: u64,
        target: u64,
        reloc: &Reloc,
    ) -> Result<(), Refusal> {
        let word = usize::try_from(at).ok().and_then(|at| u32_at(self.memory, at));
        let word = word.ok_or_else(too_large)?;
        let sum = i128::from(target) + i128::from(reloc.addend);
        let mut patched = M::patch(reloc.kind, word, place, sum);
        let branches = reloc.kind == RelocKind::Arm64Branch26 && reloc.addend == 0;
        if patched == Err(Misfit::Range) && branches && self.slots(reloc).veneer != 0 {
            patched = M::patch(reloc.kind, word, place, i128::from(self.veneer(reloc)));
        }
        match patched {
            Ok(word) => put(self.memory, at, word.to_le_bytes()),
            Err(misfit) => Err(self.misfit(reloc, place, target, word, misfit)),
        }
    }

    fn slots(&self, reloc: &Reloc) -> Slots {
        self.plan.slots.get(to_usize(reloc.symbol)).copied().unwrap_or_default()
    }

    /// The address of the GOT slot of its symbol.
    fn got_slot(&self, reloc: &Reloc) -> u64 {
        let number = u64::from(self.slots(reloc).got.saturating_sub(1));
        self.base + self.plan.got + number * SLOT
    }

    fn veneer(&self, reloc: &Reloc) -> u64 {
        let number = u64::from(self.slots(reloc).veneer.saturating_sub(1));
        self.base + self.plan.veneers + number * VENEER
    }

    /// Writes target + A - P, which must fit 32 bits with a sign.
    #[inline]
    fn put_distance(
        &mut self,
        at: u64,
        place: u64,
        target: u64,
        reloc: &Reloc,
    ) -> Result<(), Refusal> {
        let distance = i128::from(target) + i128::from(reloc.addend) - i128::from(place);
        match i32::try_from(distance) {
            Ok(distance) => put(self.memory, at, distance.to_le_bytes()),
            Err(_) => Err(self.overflow(reloc, place, target)),
        }
    }

    #[cold]
    fn overflow(&self, reloc: &Reloc, place: u64, symbol: u64) -> Refusal {
        let target = symbol.wrapping_add_signed(reloc.addend);
        LinkError::Overflow { kind: reloc.kind, symbol: self.name(reloc), place, target }.into()
    }

    #[cold]
    fn misfit(&self, reloc: &Reloc, place: u64, target: u64, word: u32, misfit: Misfit) -> Refusal {
        let (kind, symbol) = (reloc.kind, self.name(reloc));
        match misfit {
            Misfit::Range => self.overflow(reloc, place, target),
            Misfit::Instruction => LinkError::Instruction { kind, symbol, place, word }.into(),
            Misfit::Alignment(unit) => {
                let target = target.wrapping_add_signed(reloc.addend);
                LinkError::Unaligned { kind, symbol, place, target, unit }.into()
            }
        }
    }

    fn name(&self, reloc: &Reloc) -> ShortName {
        let symbol = self.smf.symbols().get(reloc.symbol);
        ShortName::new(symbol.map_or(&[][..], |symbol| symbol.name()))
    }
}

/// `size` bytes of the image from `start`.
fn part(memory: &mut [u8], start: u64, size: u64) -> Result<&mut [u8], Refusal> {
    let [start, size] = [start, size].map(usize::try_from);
    let (Ok(start), Ok(size)) = (start, size) else { return Err(too_large()) };
    let part = memory.get_mut(start..).and_then(|rest| rest.get_mut(..size));
    part.ok_or_else(too_large)
}

#[inline(always)]
fn word_at(section: &mut [u8], offset: u64) -> Option<&mut [u8; 8]> {
    section.get_mut(usize::try_from(offset).ok()?..)?.first_chunk_mut()
}

#[inline]
fn put<const N: usize>(memory: &mut [u8], at: u64, bytes: [u8; N]) -> Result<(), Refusal> {
    let at = usize::try_from(at).map_err(|_| too_large())?;
    let place = memory.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
    *place.ok_or_else(too_large)? = bytes;
    Ok(())
}

#[cfg(test)]
mod tests;
