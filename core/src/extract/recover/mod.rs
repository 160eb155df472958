//! Recovery of relocations that a linker resolved.
//!
//! The packer of this project resolves distances. It drops relocations within the code, and without `--emit-relocs` those
//! between sections. The code is therefore decoded: a reference that leaves its function becomes a relocation against the
//! symbol at its target. A call through a stub, and a read through a GOT slot, become relocations against the import. On
//! x86-64 a distance to other data, which may count from any symbol, needs its relocation.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_push, try_reserve};
use crate::extract::code_index::{CodeIndex, SectionOffset, place, sort_by_place};
use crate::extract::decode::x86_64::{self, PcRelative, RefKind};
use crate::format::bytes::{slice, u8_at, u32_at};
use crate::format::{Arch, FormatError, Reloc, RelocKind, Result, Section, SectionKind, Symbol};

mod aarch64;

/// Why a function cannot be decoded, with the offset of the instruction.
enum DecodeError {
    /// An unknown instruction.
    Unknown(u64),
    /// A reference out of the function to an unnamed place.
    Unnamed(u64),
    /// No memory.
    OutOfMemory,
}

impl From<AllocError> for DecodeError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

/// Decodes every function of `code`, and adds what it finds to the relocations of the file, which it replaces at equal
/// places. In a prelinked module an unknown instruction may hold a resolved distance, so its function is refused;
/// elsewhere the relocations are taken to be complete.
///
/// Returns the starts of functions that cannot be extracted, and the offset of the instruction that prevents it.
///
/// # Errors
/// An invalid symbol, and no memory.
pub(super) fn recover(
    code: &mut CodeIndex<'_>,
    is_prelinked: bool,
) -> Result<Vec<(SectionOffset, u64)>> {
    let (mut relocs, mut refused) = (Vec::new(), Vec::new());
    for (start, symbol) in &code.functions {
        let symbol = code.smf.symbols().get(*symbol)?;
        let section = code.smf.section(start.0)?;
        let Some((bytes, ..)) = code.function_bytes(&symbol, &section) else { continue };
        let function = Function { code, section: &section, start: start.1, bytes };
        match function.decode(&mut relocs) {
            Ok(()) => {}
            Err(DecodeError::Unknown(_)) if !is_prelinked => {}
            Err(DecodeError::Unknown(offset) | DecodeError::Unnamed(offset)) => {
                try_push(&mut refused, (*start, offset))?;
            }
            Err(DecodeError::OutOfMemory) => return Err(FormatError::OutOfMemory),
        }
    }
    try_reserve(&mut relocs, code.relocs.len())?;
    relocs.append(&mut code.relocs);
    // Sorting is stable: of those at one place, the first recovered one is the first.
    sort_by_place(&mut relocs)?;
    relocs.dedup_by_key(|reloc| place(reloc));
    code.relocs = relocs;
    Ok(refused)
}

/// A function that is decoded.
struct Function<'c, 'd> {
    code: &'c CodeIndex<'d>,
    section: &'c Section<'d>,
    /// Bytes from the start of the section.
    start: u64,
    bytes: &'d [u8],
}

impl Function<'_, '_> {
    /// Adds the relocations that the code implies.
    fn decode(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), DecodeError> {
        let before = relocs.len();
        let decoded = match self.code.smf.header().arch {
            Arch::AARCH64 => self.decode_aarch64(relocs),
            _ => self.decode_x86_64(relocs),
        };
        if decoded.is_err() {
            relocs.truncate(before);
        }
        decoded
    }

    fn decode_x86_64(&self, relocs: &mut Vec<(u32, Reloc)>) -> Result<(), DecodeError> {
        x86_64::references(self.bytes).try_for_each(|found| {
            let (at, reference) = found.map_err(|at| DecodeError::Unknown(self.offset(at)))?;
            let Some(reference) = reference else { return Ok(()) };
            let reloc =
                self.reloc(&reference).map_err(|()| DecodeError::Unnamed(self.offset(at)))?;
            let mut found = reloc.into_iter();
            Ok(found.try_for_each(|reloc| try_push(relocs, (self.section.index, reloc)))?)
        })
    }

    /// The section offset of a place in the function.
    fn offset(&self, at: usize) -> u64 {
        self.start.saturating_add(at as u64)
    }

    /// The relocation for a reference; `None` if the existing relocations suffice.
    fn reloc(&self, reference: &PcRelative) -> Result<Option<Reloc>, ()> {
        let offset = self.start.checked_add(reference.at as u64).ok_or(())?;
        // The distance from the field to the end of the instruction, which the field counts from.
        let to_end = i64::try_from(reference.end - reference.at).map_err(|_| ())?;
        if let Some(existing) = self.code.reloc_at((self.section.index, offset)) {
            let is_pointer = reference.kind == RefKind::Pointer;
            let slot = if is_pointer { self.slot(existing, to_end) } else { None };
            let kind = RelocKind::GotPcRel;
            return Ok(slot.map(|symbol| Reloc { offset, symbol, kind, addend: -to_end }));
        }
        let value = match reference.width {
            1 => u8_at(self.bytes, reference.at).map(|byte| i64::from(byte.cast_signed())),
            _ => u32_at(self.bytes, reference.at).map(|word| i64::from(word.cast_signed())),
        };
        let (end, value) =
            (self.start.checked_add(reference.end as u64).ok_or(())?, value.ok_or(())?);
        let slot = Some(end).filter(|_| reference.kind == RefKind::Pointer);
        if let Some(symbol) = slot.and_then(|end| self.import_at(end, value)) {
            let kind = RelocKind::GotPcRel;
            return Ok(Some(Reloc { offset, symbol, kind, addend: -to_end }));
        }
        let target = end.checked_add_signed(value).ok_or(())?;
        let inside = target.checked_sub(self.start).is_some_and(|at| at < self.bytes.len() as u64);
        if inside {
            return Ok(None);
        }
        // No relocation has a field of one byte.
        if reference.width == 1 {
            return Err(());
        }
        let is_branch = reference.kind == RefKind::Branch;
        let kind = if is_branch { RelocKind::Plt32 } else { RelocKind::Pc32 };
        let (symbol, from) = self.symbol_near(target).ok_or(())?;
        let addend = i64::try_from(from).ok().and_then(|from| from.checked_sub(to_end)).ok_or(())?;
        Ok(Some(Reloc { offset, symbol, kind, addend }))
    }

    /// The symbol at or before an offset of the section, and the distance from its start.
    fn symbol_near(&self, target: u64) -> Option<(u32, u64)> {
        let index = self.section.index;
        let behind = self.code.functions.partition_point(|(start, _)| *start <= (index, target));
        let (start, symbol) = self.code.functions.get(behind.checked_sub(1)?)?;
        let found = self.code.smf.symbols().get(*symbol).ok()?;
        let from = target.checked_sub(start.1).filter(|_| start.0 == index);
        match from {
            Some(from) if from < found.size.max(1) => Some((*symbol, from)),
            _ => self.import_of_stub(target).map(|symbol| (symbol, 0)),
        }
    }

    /// The import that the stub at an offset of the section jumps to.
    fn import_of_stub(&self, at: u64) -> Option<u32> {
        match self.code.smf.header().arch {
            Arch::AARCH64 => self.import_of_aarch64_stub(at),
            _ => self.import_of_x86_64_stub(at),
        }
    }

    fn import_of_x86_64_stub(&self, at: u64) -> Option<u32> {
        // jmp [rip + x].
        if slice(self.section.data, at, 2)? != [0xff, 0x25] {
            return None;
        }
        let field = at.checked_add(2)?;
        match self.code.reloc_at((self.section.index, field)) {
            Some(reloc) => self.slot(reloc, 4),
            None => {
                let distance = u32_at(slice(self.section.data, field, 4)?, 0)?.cast_signed();
                self.import_at(field.checked_add(4)?, i64::from(distance))
            }
        }
    }

    /// The import whose address is in the GOT slot at a distance from an offset of the section, in the image.
    fn import_at(&self, from: u64, distance: i64) -> Option<u32> {
        let target = |start: u64| start.checked_add(from)?.checked_add_signed(distance);
        self.import_in(self.place_in_image(target)?)
    }

    /// The place at an offset from the start of the image, which follows from that of the section; `None` without an image.
    fn place_in_image(&self, offset: impl FnOnce(u64) -> Option<u64>) -> Option<SectionOffset> {
        let (own, image) = (self.section.index, &self.code.image);
        // Sections are in the order of the image.
        let (start, _) =
            image.get(image.binary_search_by_key(&own, |(_, section)| *section).ok()?)?;
        let target = offset(*start)?;
        let behind = image.partition_point(|(start, _)| *start <= target);
        let (start, section) = image.get(behind.checked_sub(1)?)?;
        Some((*section, target.checked_sub(*start)?))
    }

    /// The import whose address is in the GOT slot that a relocation refers to.
    fn slot(&self, reloc: &Reloc, to_end: i64) -> Option<u32> {
        let symbols = self.code.smf.symbols();
        let base = symbols.get(reloc.symbol).ok().filter(|_| reloc.kind == RelocKind::Pc32)?;
        let Symbol { section: Some(section), value, .. } = base else { return None };
        let at = value.checked_add_signed(reloc.addend.checked_add(to_end)?)?;
        self.import_in((section, at))
    }

    /// The import whose address is in a GOT slot. Slots lie in read-only data.
    fn import_in(&self, slot: SectionOffset) -> Option<u32> {
        let is_constant = self.code.smf.section(slot.0).ok()?.kind == SectionKind::RoData;
        let reloc = self.code.reloc_at(slot).filter(|_| is_constant)?;
        let is_address = reloc.kind == RelocKind::Abs64 && reloc.addend == 0;
        let import = self.code.smf.symbols().get(reloc.symbol).ok();
        import.filter(|symbol| is_address && symbol.is_import()).map(|_| reloc.symbol)
    }
}
