//! Relocates the contents of the module's sections, and collects the relocations for the loader.
//!
//! Distances within a module section are final. Distances between sections are written for the prelinked
//! image and kept as relocations in a table of their own, which a loader that maps the image may skip. The
//! native layout has no prelink note, so that its loaders apply every relocation.

use std::collections::HashMap;

use smf_core::format::{Layout, Reloc, RelocKind, SectionKind};
use smf_core::link::aarch64;

use super::error::{PackError, PackWarning, RelocType, Result};
use super::layout::{Address, ModuleLayout, SLOT};
use super::object::SectionId;
use super::pack_reloc::{PackReloc, RelocForm, RelocTarget, Rewrite, Stub};

/// The contents and relocations of a module section.
pub(super) struct SectionData {
    pub(super) bytes: Vec<u8>,
    /// Relocations that the prelinked image satisfies already, by offset.
    pub(super) prelinked: Vec<Reloc>,
    /// Relocations for the loader to apply, by offset.
    pub(super) pending: Vec<Reloc>,
}

/// The symbol numbers of exported data, by module section and offset. Relocations refer to such data by symbol
/// because a new version may place it elsewhere.
pub(super) type ExportedData = HashMap<(usize, u64), u32>;

/// Relocated sections.
pub(super) struct Relocated {
    /// One for each module section, in order.
    pub(super) contents: Vec<SectionData>,
    /// A field holds a 32-bit address.
    pub(super) has_low_addresses: bool,
    /// A field holds a distance to another section without a relocation, so that only the image is valid.
    pub(super) needs_prelink: bool,
}

/// Copies and relocates the contents of all module sections. `first_import` is the number of the first imported
/// symbol; the section symbols come first.
///
/// # Errors
/// A relocation that a module cannot express, or whose value does not fit.
pub(super) fn relocate(
    addresses: &ModuleLayout<'_, '_>,
    first_import: u32,
    exported_data: &ExportedData,
    warnings: &mut Vec<PackWarning>,
) -> Result<Relocated> {
    let trap = addresses.program.machine().isa().trap;
    let contents = addresses.outputs.iter().map(|output| {
        let len = usize::try_from(output.len).map_err(|_| PackError::TooLarge)?;
        let fill = if output.kind == SectionKind::Code { trap } else { 0 };
        Ok(SectionData { bytes: vec![fill; len], prelinked: Vec::new(), pending: Vec::new() })
    });
    let contents = contents.collect::<Result<_>>()?;
    let mut relocator = Relocator {
        addresses,
        first_import,
        exported_data,
        contents,
        low_addresses: 0,
        needs_prelink: false,
        by_symbol: true,
    };
    relocator.copy_sections().ok_or(PackError::TooLarge)?;
    relocator.apply_relocs(warnings)?;
    // Stubs and slots are placed and within reach of each other if the module is not too large.
    relocator.make_stubs().map_err(|_| PackError::TooLarge)?;
    relocator.make_slots().map_err(|_| PackError::TooLarge)?;
    for data in &mut relocator.contents {
        data.prelinked.sort_by_key(|reloc| reloc.offset);
        data.pending.sort_by_key(|reloc| reloc.offset);
    }
    let Relocator { contents, low_addresses, needs_prelink, .. } = relocator;
    Ok(Relocated { contents, has_low_addresses: low_addresses != 0, needs_prelink })
}

/// Why a value cannot be written.
pub(super) enum RelocError {
    Range,
    Unsupported(&'static str),
}

pub(super) type RelocResult<T = ()> = Result<T, RelocError>;

pub(super) const NO_TARGET: RelocError = RelocError::Unsupported("has no target in the module");

/// An offset in a module section.
#[derive(Clone, Copy)]
pub(super) struct OutputOffset {
    pub(super) output: usize,
    pub(super) offset: u64,
}

impl OutputOffset {
    /// `None` for an address outside the module sections.
    pub(super) fn of(address: Option<Address>) -> Option<OutputOffset> {
        let Address::Section { output, offset } = address? else { return None };
        Some(OutputOffset { output, offset: u64::try_from(offset).ok()? })
    }

    fn plus(self, offset: u64) -> Option<OutputOffset> {
        Some(OutputOffset { offset: self.offset.checked_add(offset)?, ..self })
    }
}

/// The address S + A that a field refers to. Loaders get the two separately.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) addend: i64,
}

pub(super) struct Relocator<'e, 'd> {
    pub(super) addresses: &'e ModuleLayout<'e, 'd>,
    first_import: u32,
    exported_data: &'e ExportedData,
    contents: Vec<SectionData>,
    /// Fields that hold a 32-bit address.
    low_addresses: u64,
    pub(super) needs_prelink: bool,
    /// Whether the current relocation refers to a global symbol rather than a section.
    by_symbol: bool,
}

impl Relocator<'_, '_> {
    /// Overwrites the bytes at `at`; `None` when they exceed the section's contents.
    pub(super) fn put(&mut self, at: OutputOffset, bytes: &[u8]) -> Option<()> {
        let start = usize::try_from(at.offset).ok()?;
        let end = start.checked_add(bytes.len())?;
        self.contents.get_mut(at.output)?.bytes.get_mut(start..end)?.copy_from_slice(bytes);
        Some(())
    }

    /// The instruction at `at`.
    pub(super) fn word(&self, at: OutputOffset) -> Option<u32> {
        let start = usize::try_from(at.offset).ok()?;
        let bytes = self.contents.get(at.output)?.bytes.get(start..)?.first_chunk();
        bytes.map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn copy_sections(&mut self) -> Option<()> {
        let addresses = self.addresses;
        for id in &addresses.order {
            let bytes = addresses.program.section(*id).map_or(&[][..], |section| section.bytes);
            if !bytes.is_empty() {
                self.put(OutputOffset::of(addresses.section(*id))?, bytes)?;
            }
        }
        Some(())
    }

    fn apply_relocs(&mut self, warnings: &mut Vec<PackWarning>) -> Result<()> {
        let mut warned: Option<SectionId> = None;
        for reloc in &self.addresses.plan.relocs {
            let before = self.low_addresses;
            self.relocate(reloc).map_err(|error| self.refused(reloc, error))?;
            if self.low_addresses != before && warned != Some(reloc.section) {
                warned = Some(reloc.section);
                let (object, section) = self.addresses.program.titles(reloc.section);
                warnings.push(PackWarning::LowAddress { object, section });
            }
        }
        Ok(())
    }

    fn relocate(&mut self, reloc: &PackReloc) -> RelocResult {
        let addresses = self.addresses;
        let address = match reloc.to {
            RelocTarget::Symbol(resolution) => addresses.locate(resolution),
            RelocTarget::GotSlot(number) => addresses.slot(number),
            RelocTarget::Stub(number) => addresses.stub(number),
        };
        let address = address.ok_or(NO_TARGET)?;
        let section = OutputOffset::of(addresses.section(reloc.section));
        let at = section.and_then(|section| section.plus(reloc.input.offset)).ok_or(NO_TARGET)?;
        if let Some(rewrite) = reloc.rewrite {
            self.rewrite(at, rewrite).ok_or(NO_TARGET)?;
        }
        let symbol = addresses.program.symbol(reloc.input.symbol);
        self.by_symbol = symbol.is_some_and(|symbol| symbol.global.is_some());
        self.write_value(at, reloc.form, Target { address, addend: reloc.addend })
    }

    /// Changes the instruction whose operand is at `at`.
    fn rewrite(&mut self, at: OutputOffset, rewrite: Rewrite) -> Option<()> {
        let before = |count| Some(OutputOffset { offset: at.offset.checked_sub(count)?, ..at });
        match rewrite {
            Rewrite::MovToLea => self.put(before(2)?, &[0x8d]),
            Rewrite::LeaToMov => self.put(before(2)?, &[0x8b]),
            Rewrite::Call => self.put(before(2)?, &[0x67, 0xe8]),
            Rewrite::Jump => {
                self.put(before(1)?, &[0xe9])?;
                self.put(at.plus(4)?, &[0x90])
            }
            Rewrite::LoadToAdd => {
                self.put(at, &aarch64::load_to_add(self.word(at)?)?.to_le_bytes())
            }
            Rewrite::AddToLoad => {
                self.put(at, &aarch64::add_to_load(self.word(at)?)?.to_le_bytes())
            }
        }
    }

    fn make_stubs(&mut self) -> RelocResult {
        let addresses = self.addresses;
        let Stub { bytes, operands } = addresses.program.machine().isa().stub;
        for (number, slot) in addresses.plan.stubs.iter().enumerate() {
            let stub = OutputOffset::of(addresses.stub(number)).ok_or(NO_TARGET)?;
            self.put(stub, bytes).ok_or(NO_TARGET)?;
            let address = addresses.slot(*slot).ok_or(NO_TARGET)?;
            for &(offset, form, addend) in operands {
                let operand = stub.plus(offset).ok_or(NO_TARGET)?;
                self.write_value(operand, form, Target { address, addend })?;
            }
        }
        Ok(())
    }

    fn make_slots(&mut self) -> RelocResult {
        self.by_symbol = true;
        let addresses = self.addresses;
        let form = RelocForm::Absolute { bytes: SLOT, signed: false };
        for (number, &(resolution, addend)) in addresses.plan.slots.iter().enumerate() {
            let slot = OutputOffset::of(addresses.slot(number)).ok_or(NO_TARGET)?;
            let address = addresses.locate(resolution).ok_or(NO_TARGET)?;
            self.write_value(slot, form, Target { address, addend })?;
        }
        Ok(())
    }

    /// Writes a value, or emits a relocation for the loader.
    fn write_value(&mut self, at: OutputOffset, form: RelocForm, to: Target) -> RelocResult {
        let addend = i128::from(to.addend);
        match (form, to.address) {
            (RelocForm::Absolute { bytes, signed }, Address::Absolute(value)) => {
                self.number(at, i128::from(value) + addend, bytes, Some(signed))
            }
            (RelocForm::Absolute { bytes, signed }, _) => self.address(at, bytes, signed, to),
            (RelocForm::PcRelative { bytes }, _) => self.distance(at, bytes, to),
            (RelocForm::Instruction(operand), _) => self.operand(at, operand, to),
            (RelocForm::GotRelative { bytes }, address) => {
                match (address, self.addresses.slot(0)) {
                    (
                        Address::Section { output, offset },
                        Some(Address::Section { output: table, offset: begin }),
                    ) if output == table => {
                        let value = i128::from(offset) + addend - i128::from(begin);
                        self.number(at, value, bytes, None)
                    }
                    _ => Err(RelocError::Unsupported(
                        "is relative to the GOT but in another section; compile with the small code model",
                    )),
                }
            }
        }
    }

    /// Writes a number if it fits; `signed` is `None` for distances.
    fn number(
        &mut self,
        at: OutputOffset,
        value: i128,
        bytes: u64,
        signed: Option<bool>,
    ) -> RelocResult {
        let bits = bytes * 8;
        let (negative, positive) = (-(1i128 << (bits - 1)), 1i128 << bits);
        let fits = match (bytes, signed) {
            (4, Some(false)) => (0..positive).contains(&value),
            (4, Some(true)) | (_, None) => (negative..-negative).contains(&value),
            // As in assemblers: the value has to fit as signed or as unsigned number.
            _ => (negative..positive).contains(&value),
        };
        let all = value.to_le_bytes();
        let low = all.get(..bytes as usize).filter(|_| fits).ok_or(RelocError::Range)?;
        self.put(at, low).ok_or(RelocError::Range)
    }

    /// Whether a reference is to the module and not behind the end of its section.
    fn is_inside(&self, to: Target) -> bool {
        let Address::Section { output, offset } = to.address else { return false };
        let size = self.addresses.outputs.get(output).map_or(0, |output| output.size);
        let end = offset.checked_add(to.addend).map(|at| u64::try_from(at).unwrap_or(0));
        end.is_some_and(|at| at <= size)
    }

    fn address(&mut self, at: OutputOffset, bytes: u64, signed: bool, to: Target) -> RelocResult {
        let is_packed = self.addresses.layout == Layout::Packed;
        let why = match (bytes, signed) {
            (8, _) => return self.emit_reloc(at, RelocKind::Abs64, to),
            // Modules with 32-bit addresses are placed below 2 GiB, where sign extension changes nothing.
            (4, _) if is_packed && (!signed || self.is_inside(to)) => {
                self.low_addresses += 1;
                return self.emit_reloc(at, RelocKind::Abs32, to);
            }
            (4, false) => {
                "needs a 32-bit address, which the native layout cannot express; compile with -fPIC"
            }
            (4, true) => {
                "sign-extends a 32-bit address that is unknown, which a module cannot express; compile with -fPIC"
            }
            _ => "needs an address in fewer than 32 bits, which a module cannot express",
        };
        Err(RelocError::Unsupported(why))
    }

    fn distance(&mut self, at: OutputOffset, bytes: u64, to: Target) -> RelocResult {
        let unsupported = |why| Err(RelocError::Unsupported(why));
        let (output, offset) = match to.address {
            Address::Section { output, offset } => (output, offset),
            Address::Import(_) if bytes == 4 => return self.emit_reloc(at, RelocKind::Pc32, to),
            Address::Import(_) => {
                return unsupported(
                    "is a distance to another module in a field that is not of 32 bits, which a module cannot express",
                );
            }
            Address::Absolute(_) => return Err(ABSOLUTE_DISTANCE),
        };
        let value = i128::from(offset) + i128::from(to.addend) - i128::from(at.offset);
        let may_move = self.exported_data(output, offset).is_some();
        if output == at.output && !(may_move && bytes == 4) {
            return self.number(at, value, bytes, None);
        }
        if bytes != 4 {
            return unsupported(
                "is a distance to another section in a field that is not of 32 bits, which a module cannot express",
            );
        }
        let Some((from, target)) = self.image_offsets(at.output, output) else {
            return self.emit_reloc(at, RelocKind::Pc32, to);
        };
        self.number(at, value + i128::from(target) - i128::from(from), bytes, None)?;
        let reloc = self.reloc(at, RelocKind::Pc32, to)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.prelinked.push(reloc);
        Ok(())
    }

    /// The offsets of two module sections in the image, if the layout has one.
    pub(super) fn image_offsets(&self, one: usize, other: usize) -> Option<(u64, u64)> {
        let begin = |output: usize| self.addresses.outputs.get(output)?.image;
        begin(one).zip(begin(other))
    }

    /// Emits a relocation for the loader.
    pub(super) fn emit_reloc(
        &mut self,
        at: OutputOffset,
        kind: RelocKind,
        to: Target,
    ) -> RelocResult {
        let reloc = self.reloc(at, kind, to)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.pending.push(reloc);
        Ok(())
    }

    /// A relocation against a section symbol, an exported datum or an import.
    fn reloc(&self, at: OutputOffset, kind: RelocKind, to: Target) -> RelocResult<Reloc> {
        let (symbol, addend) = match to.address {
            Address::Section { output, offset } => match self.exported_data(output, offset) {
                Some(symbol) => (Some(symbol), Some(to.addend)),
                None => (u32::try_from(output).ok(), to.addend.checked_add(offset)),
            },
            Address::Import(global) => {
                let number = self.addresses.plan.import_numbers.get(&global);
                let number = number.and_then(|number| u32::try_from(*number).ok());
                (number.and_then(|n| n.checked_add(self.first_import)), Some(to.addend))
            }
            Address::Absolute(_) => (None, None),
        };
        let (Some(symbol), Some(addend)) = (symbol, addend) else { return Err(RelocError::Range) };
        Ok(Reloc { offset: at.offset, symbol, kind, addend })
    }

    fn exported_data(&self, output: usize, offset: i64) -> Option<u32> {
        let place = (output, u64::try_from(offset).ok()?);
        self.exported_data.get(&place).copied().filter(|_| self.by_symbol)
    }

    fn refused(&self, reloc: &PackReloc, error: RelocError) -> PackError {
        let program = self.addresses.program;
        let (object, section) = program.titles(reloc.section);
        let symbol = program.symbol_title(reloc.input.symbol);
        let kind = RelocType { machine: program.machine(), number: reloc.input.kind.0 };
        let offset = reloc.input.offset;
        match error {
            RelocError::Unsupported(why) => {
                PackError::RelocKind { object, section, kind, symbol, why }
            }
            RelocError::Range => PackError::RelocRange { object, section, kind, symbol, offset },
        }
    }
}

/// Relocatable modules have no fixed distance to an absolute address.
pub(super) const ABSOLUTE_DISTANCE: RelocError = RelocError::Unsupported(
    "is a distance to an absolute address, which a relocatable module cannot express",
);
