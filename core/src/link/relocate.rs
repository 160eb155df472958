//! Relocations applied to an image that is still writable.
//!
//! S is the symbol's address, A the addend, P the address of the place, G the address of a GOT slot
//! that holds S. Sums are taken in 128 bits, so that nothing wraps before it is compared with the
//! range of its place. A call out of reach goes through a veneer: an indirect jump in the image's own
//! code, whose address stands behind it.

use super::error::{LinkError, ShortName};
use super::plan::{Plan, SLOT, Slots, VENEER, filled, to_usize};
use super::resolve::Resolve;
use crate::format::{Reloc, RelocKind, RelocTable, Smf, SymbolPlace};
use crate::memory::WritablePages;

/// `jmp *2(%rip)`, two bytes that are never reached, and then the address.
const JUMP: [u8; 8] = [0xff, 0x25, 0x02, 0x00, 0x00, 0x00, 0xcc, 0xcc];

/// Applies every relocation of `smf` to its image.
pub(super) fn relocate<'d>(
    smf: &Smf<'d>,
    plan: &Plan<'d>,
    pages: &mut WritablePages,
    imports: &dyn Resolve,
) -> Result<(), LinkError> {
    let base = pages.address() as u64;
    let values = resolve_all(smf, plan, base, imports)?;
    let mut relocator = Relocator { smf, plan, base, values, memory: pages.as_mut_slice() };
    relocator.fill_slots()?;
    for table in smf.reloc_tables() {
        let table = table?;
        if !plan.is_settled(&table) {
            relocator.apply_table(&table)?;
        }
    }
    Ok(())
}

/// The address of every symbol; 0 for a weak import that nobody provides and for what has none.
fn resolve_all(
    smf: &Smf<'_>,
    plan: &Plan<'_>,
    base: u64,
    imports: &dyn Resolve,
) -> Result<alloc::vec::Vec<u64>, LinkError> {
    let mut values = filled(plan.targets.len(), 0u64)?;
    let mut missing = 0u32;
    let mut first = None;
    for (index, (value, target)) in (0u32..).zip(values.iter_mut().zip(&plan.targets)) {
        match *target {
            SymbolPlace::Nowhere => {}
            SymbolPlace::Section { section, value: offset, .. } => {
                let section = plan.sections.get(to_usize(section)).copied().flatten();
                *value = section.map_or(0, |at| base + at + offset);
            }
            SymbolPlace::Import { weak } => {
                let symbol = smf.symbols().get(index)?;
                match imports.resolve_import(&symbol)? {
                    Some(address) => *value = address,
                    None if weak => {}
                    None => {
                        missing += 1;
                        first = first.or_else(|| Some(ShortName::new(symbol.name())));
                    }
                }
            }
        }
    }
    match first {
        Some(first) => Err(LinkError::MissingImports { count: missing, first }),
        None => Ok(values),
    }
}

struct Relocator<'a, 'd> {
    smf: &'a Smf<'d>,
    plan: &'a Plan<'d>,
    base: u64,
    values: alloc::vec::Vec<u64>,
    memory: &'a mut [u8],
}

impl Relocator<'_, '_> {
    /// Writes every GOT slot and every veneer.
    fn fill_slots(&mut self) -> Result<(), LinkError> {
        let slots = self.plan.slots.iter().zip(&self.values);
        for (&Slots { got, veneer }, &value) in slots {
            if got != 0 {
                let at = self.plan.got + u64::from(got - 1) * SLOT;
                put(self.memory, at, value.to_le_bytes())?;
            }
            if veneer != 0 {
                let at = self.plan.veneers + u64::from(veneer - 1) * VENEER;
                put(self.memory, at, JUMP)?;
                put(self.memory, at + JUMP.len() as u64, value.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn apply_table(&mut self, table: &RelocTable<'_>) -> Result<(), LinkError> {
        let target = self.plan.sections.get(to_usize(table.target.index)).copied().flatten();
        let Some(start) = target else { return Ok(()) };
        for reloc in table.iter() {
            self.apply(start, &reloc)?;
        }
        Ok(())
    }

    #[inline]
    fn apply(&mut self, start: u64, reloc: &Reloc) -> Result<(), LinkError> {
        // Both were bounded when the image was planned.
        let at = start.wrapping_add(reloc.offset);
        let place = self.base.wrapping_add(at);
        let symbol = self.values.get(to_usize(reloc.symbol)).copied().unwrap_or(0);
        let absolute = |value: u64| i128::from(value) + i128::from(reloc.addend);
        match reloc.kind {
            RelocKind::None => Ok(()),
            RelocKind::Abs64 => {
                let value = symbol.wrapping_add_signed(reloc.addend);
                put(self.memory, at, value.to_le_bytes())
            }
            RelocKind::Abs32 => match u32::try_from(absolute(symbol)) {
                Ok(value) => put(self.memory, at, value.to_le_bytes()),
                Err(_) => Err(self.overflow(reloc, place, symbol)),
            },
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
            RelocKind::GotPcRel => {
                let slot = u64::from(self.slots(reloc).got.saturating_sub(1)) * SLOT;
                self.put_distance(at, place, self.base + self.plan.got + slot, reloc)
            }
            // The plan has refused all others, with their number.
            kind => Err(LinkError::RelocKind { section: 0, index: 0, kind }),
        }
    }

    fn slots(&self, reloc: &Reloc) -> Slots {
        self.plan.slots.get(to_usize(reloc.symbol)).copied().unwrap_or_default()
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
    ) -> Result<(), LinkError> {
        let distance = i128::from(target) + i128::from(reloc.addend) - i128::from(place);
        match i32::try_from(distance) {
            Ok(distance) => put(self.memory, at, distance.to_le_bytes()),
            Err(_) => Err(self.overflow(reloc, place, target)),
        }
    }

    #[cold]
    fn overflow(&self, reloc: &Reloc, place: u64, symbol: u64) -> LinkError {
        let name = self.smf.symbols().get(reloc.symbol).map_or(&[][..], |symbol| symbol.name());
        let target = symbol.wrapping_add_signed(reloc.addend);
        LinkError::Overflow { kind: reloc.kind, symbol: ShortName::new(name), place, target }
    }
}

#[inline]
fn put<const N: usize>(memory: &mut [u8], at: u64, bytes: [u8; N]) -> Result<(), LinkError> {
    let at = usize::try_from(at).map_err(|_| LinkError::TooLarge)?;
    let place = memory.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>());
    *place.ok_or(LinkError::TooLarge)? = bytes;
    Ok(())
}
