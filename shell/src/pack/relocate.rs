//! Relocates the contents of the module's sections, and collects the relocations for the loader.
//!
//! Distances within a module section are final. Distances between sections are written for the prelinked
//! image and kept as relocations in a table of their own, which a loader that maps the image may skip. The
//! native layout has no prelink note, so that its loaders apply every relocation.

use std::collections::HashMap;

use smf_core::format::{Layout, Reloc, RelocKind, SectionKind};
use smf_core::link::aarch64;

use super::error::{PackError, PackWarning, RelocType};
use super::layout::{Address, ModuleLayout, SLOT};
use super::machine::Machine;
use super::object::{SectionId, text};
use super::output::OutputSection;
use super::pack_reloc::{PackReloc, RelocForm, RelocPlan, RelocTarget, Rewrite, Stub};
use super::resolve::Program;

/// The contents and relocations of a module section.
pub(super) struct SectionData {
    pub(super) bytes: Vec<u8>,
    /// Relocations that the prelinked image satisfies already, by offset.
    pub(super) prelinked: Vec<Reloc>,
    /// Relocations for the loader to apply, by offset.
    pub(super) pending: Vec<Reloc>,
}

impl SectionData {
    fn new(output: &OutputSection, machine: Machine) -> Result<Self, PackError> {
        let len = usize::try_from(output.len).map_err(|_| PackError::TooLarge)?;
        let fill = if output.kind == SectionKind::Code { machine.trap() } else { 0 };
        Ok(SectionData { bytes: vec![fill; len], prelinked: Vec::new(), pending: Vec::new() })
    }
}

/// The input of relocation.
#[derive(Clone, Copy)]
pub(super) struct RelocateInput<'e, 'd> {
    pub(super) program: &'e Program<'d>,
    pub(super) plan: &'e RelocPlan,
    pub(super) addresses: &'e ModuleLayout,
    pub(super) layout: Layout,
    /// The number of the first imported symbol; the section symbols come first.
    pub(super) first_import: u32,
    /// Exported data, which relocations refer to by symbol because a new version may place it elsewhere.
    pub(super) exported_data: &'e ExportedData,
}

/// The symbol numbers of exported data, by module section and offset.
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

/// Copies and relocates the contents of all module sections.
///
/// # Errors
/// A relocation that a module cannot express, or whose value does not fit.
pub(super) fn relocate(
    input: RelocateInput<'_, '_>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Relocated, PackError> {
    let outputs = input.addresses.outputs.iter();
    let contents = outputs.map(|output| SectionData::new(output, input.program.machine()));
    let contents = contents.collect::<Result<_, _>>()?;
    let mut relocator =
        Relocator { input, contents, low_addresses: 0, needs_prelink: false, by_symbol: true };
    relocator.copy_sections()?;
    relocator.apply_relocs(warnings)?;
    relocator.make_stubs()?;
    relocator.make_slots()?;
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
        match address? {
            Address::Section { output, offset } => {
                Some(OutputOffset { output, offset: u64::try_from(offset).ok()? })
            }
            Address::Absolute(_) | Address::Import(_) => None,
        }
    }

    fn plus(self, offset: u64) -> Option<OutputOffset> {
        Some(OutputOffset { offset: self.offset.checked_add(offset)?, ..self })
    }
}

pub(super) struct Relocator<'e, 'd> {
    pub(super) input: RelocateInput<'e, 'd>,
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

    fn copy_sections(&mut self) -> Result<(), PackError> {
        let RelocateInput { program, addresses, .. } = self.input;
        for id in &addresses.order {
            let Some(section) = program.section(*id) else { continue };
            if !section.bytes.is_empty() {
                let at = OutputOffset::of(addresses.section(program, *id));
                at.and_then(|at| self.put(at, section.bytes)).ok_or(PackError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn apply_relocs(&mut self, warnings: &mut Vec<PackWarning>) -> Result<(), PackError> {
        let plan = self.input.plan;
        let mut warned: Option<SectionId> = None;
        for reloc in &plan.relocs {
            let before = self.low_addresses;
            self.relocate(reloc).map_err(|error| self.refused(reloc, error))?;
            if self.low_addresses != before && warned != Some(reloc.section) {
                warned = Some(reloc.section);
                let (object, section) = self.input.program.titles(reloc.section);
                warnings.push(PackWarning::LowAddress { object, section });
            }
        }
        Ok(())
    }

    fn relocate(&mut self, reloc: &PackReloc) -> Result<(), RelocError> {
        let RelocateInput { program, addresses, .. } = self.input;
        let to = match reloc.to {
            RelocTarget::Symbol(resolution) => addresses.locate(program, resolution),
            RelocTarget::GotSlot(number) => addresses.slot(number),
            RelocTarget::Stub(number) => addresses.stub(number),
        };
        let to = to.ok_or(NO_TARGET)?;
        let section = OutputOffset::of(addresses.section(program, reloc.section));
        let at = section.and_then(|section| section.plus(reloc.offset)).ok_or(NO_TARGET)?;
        if let Some(rewrite) = reloc.rewrite {
            self.rewrite(at, rewrite).ok_or(NO_TARGET)?;
        }
        let symbol = program.symbol(reloc.symbol);
        self.by_symbol = symbol.is_some_and(|symbol| symbol.global.is_some());
        self.write_value(at, reloc.form, to, reloc.addend)
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
                let word = aarch64::load_to_add(self.word(at)?)?;
                self.put(at, &word.to_le_bytes())
            }
            Rewrite::AddToLoad => {
                let word = aarch64::add_to_load(self.word(at)?)?;
                self.put(at, &word.to_le_bytes())
            }
        }
    }

    fn make_stubs(&mut self) -> Result<(), PackError> {
        let RelocateInput { program, plan, addresses, .. } = self.input;
        let Stub { bytes, operands } = *program.machine().stub();
        for (number, slot) in (0u32..).zip(&plan.stubs) {
            let stub = OutputOffset::of(addresses.stub(number)).ok_or(PackError::TooLarge)?;
            self.put(stub, bytes).ok_or(PackError::TooLarge)?;
            let to = addresses.slot(*slot).ok_or(PackError::TooLarge)?;
            for &(offset, form, addend) in operands {
                let operand = stub.plus(offset).ok_or(PackError::TooLarge)?;
                self.write_value(operand, form, to, addend).map_err(|_| PackError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn make_slots(&mut self) -> Result<(), PackError> {
        self.by_symbol = true;
        let RelocateInput { program, plan, addresses, .. } = self.input;
        for (number, (resolution, addend)) in (0u32..).zip(&plan.slots) {
            let slot = OutputOffset::of(addresses.slot(number)).ok_or(PackError::TooLarge)?;
            let to = addresses.locate(program, *resolution).ok_or(PackError::TooLarge)?;
            let form = RelocForm::Absolute { bytes: SLOT, signed: false };
            self.write_value(slot, form, to, *addend).map_err(|_| PackError::TooLarge)?;
        }
        Ok(())
    }

    /// Writes a value, or emits a relocation for the loader.
    fn write_value(
        &mut self,
        at: OutputOffset,
        form: RelocForm,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        match form {
            RelocForm::Absolute { bytes, signed } => match to {
                Address::Absolute(value) => {
                    let value = i128::from(value) + i128::from(addend);
                    self.number(at, value, bytes, Some(signed))
                }
                _ => self.address(at, bytes, signed, to, addend),
            },
            RelocForm::PcRelative { bytes } => self.distance(at, bytes, to, addend),
            RelocForm::Instruction(operand) => self.operand(at, operand, to, addend),
            RelocForm::GotRelative { bytes } => match (to, self.input.addresses.table()) {
                (
                    Address::Section { output, offset },
                    Some(Address::Section { output: table, offset: begin }),
                ) if output == table => {
                    let value = i128::from(offset) + i128::from(addend) - i128::from(begin);
                    self.number(at, value, bytes, None)
                }
                _ => Err(RelocError::Unsupported(
                    "is relative to the GOT but in another section; compile with the small code model",
                )),
            },
        }
    }

    /// Writes a number if it fits; `signed` is `None` for distances.
    fn number(
        &mut self,
        at: OutputOffset,
        value: i128,
        bytes: u64,
        signed: Option<bool>,
    ) -> Result<(), RelocError> {
        let bits = bytes * 8;
        let (negative, positive) = (-(1i128 << (bits - 1)), 1i128 << bits);
        let fits = match (bytes, signed) {
            (4, Some(false)) => (0..positive).contains(&value),
            (4, Some(true)) | (_, None) => (negative..-negative).contains(&value),
            // As in assemblers: the value has to fit as signed or as unsigned number.
            _ => (negative..positive).contains(&value),
        };
        let len = usize::try_from(bytes).map_err(|_| RelocError::Range)?;
        let all = value.to_le_bytes();
        let low = all.get(..len).filter(|_| fits).ok_or(RelocError::Range)?;
        self.put(at, low).ok_or(RelocError::Range)
    }

    /// Whether a reference is to the module and not behind the end of its section.
    fn is_inside(&self, to: Address, addend: i64) -> bool {
        let Address::Section { output, offset } = to else { return false };
        let size = self.input.addresses.outputs.get(output).map_or(0, |output| output.size);
        let end = offset.checked_add(addend).map(|at| u64::try_from(at).unwrap_or(0));
        end.is_some_and(|at| at <= size)
    }

    fn address(
        &mut self,
        at: OutputOffset,
        bytes: u64,
        signed: bool,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        let kind = match (bytes, signed, self.input.layout) {
            (8, ..) => RelocKind::Abs64,
            (4, false, Layout::Packed) => RelocKind::Abs32,
            // Modules with 32-bit addresses are placed below 2 GiB, where sign extension changes nothing.
            (4, true, Layout::Packed) if self.is_inside(to, addend) => RelocKind::Abs32,
            (4, false, _) => {
                return Err(RelocError::Unsupported(
                    "needs a 32-bit address, which the native layout cannot express; compile with -fPIC",
                ));
            }
            (4, true, _) => {
                return Err(RelocError::Unsupported(
                    "sign-extends a 32-bit address that is unknown, which a module cannot express; compile with -fPIC",
                ));
            }
            _ => {
                return Err(RelocError::Unsupported(
                    "needs an address in fewer than 32 bits, which a module cannot express",
                ));
            }
        };
        self.low_addresses += u64::from(kind == RelocKind::Abs32);
        self.emit_reloc(at, kind, to, addend)
    }

    fn distance(
        &mut self,
        at: OutputOffset,
        bytes: u64,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        let (output, offset) = match to {
            Address::Section { output, offset } => (output, offset),
            Address::Import(_) if bytes == 4 => {
                return self.emit_reloc(at, RelocKind::Pc32, to, addend);
            }
            Address::Import(_) => {
                return Err(RelocError::Unsupported(
                    "is a distance to another module in a field that is not of 32 bits, which a module cannot express",
                ));
            }
            Address::Absolute(_) => {
                return Err(RelocError::Unsupported(
                    "is a distance to an absolute address, which a relocatable module cannot express",
                ));
            }
        };
        let value = i128::from(offset) + i128::from(addend) - i128::from(at.offset);
        let may_move = self.exported_data(output, offset).is_some();
        if output == at.output && !(may_move && bytes == 4) {
            return self.number(at, value, bytes, None);
        }
        if bytes != 4 {
            return Err(RelocError::Unsupported(
                "is a distance to another section in a field that is not of 32 bits, which a module cannot express",
            ));
        }
        let begin = |output: usize| {
            self.input.addresses.outputs.get(output).and_then(|output| output.image)
        };
        let Some((from, target)) = begin(at.output).zip(begin(output)) else {
            return self.emit_reloc(at, RelocKind::Pc32, to, addend);
        };
        self.number(at, value + i128::from(target) - i128::from(from), bytes, None)?;
        let reloc = self.reloc(at, RelocKind::Pc32, to, addend)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.prelinked.push(reloc);
        Ok(())
    }

    /// Emits a relocation for the loader.
    pub(super) fn emit_reloc(
        &mut self,
        at: OutputOffset,
        kind: RelocKind,
        to: Address,
        addend: i64,
    ) -> Result<(), RelocError> {
        let reloc = self.reloc(at, kind, to, addend)?;
        self.contents.get_mut(at.output).ok_or(NO_TARGET)?.pending.push(reloc);
        Ok(())
    }

    /// A relocation against a section symbol, an exported datum or an import.
    fn reloc(
        &self,
        at: OutputOffset,
        kind: RelocKind,
        to: Address,
        addend: i64,
    ) -> Result<Reloc, RelocError> {
        let (symbol, addend) = match to {
            Address::Section { output, offset } => match self.exported_data(output, offset) {
                Some(symbol) => (Some(symbol), Some(addend)),
                None => (u32::try_from(output).ok(), addend.checked_add(offset)),
            },
            Address::Import(global) => {
                let number = self.input.plan.import_number(global);
                let number = number.and_then(|number| u32::try_from(number).ok());
                (number.and_then(|n| n.checked_add(self.input.first_import)), Some(addend))
            }
            Address::Absolute(_) => (None, None),
        };
        let (Some(symbol), Some(addend)) = (symbol, addend) else { return Err(RelocError::Range) };
        Ok(Reloc { offset: at.offset, symbol, kind, addend })
    }

    fn exported_data(&self, output: usize, offset: i64) -> Option<u32> {
        let place = (output, u64::try_from(offset).ok()?);
        self.input.exported_data.get(&place).copied().filter(|_| self.by_symbol)
    }

    fn refused(&self, reloc: &PackReloc, error: RelocError) -> PackError {
        let (object, section) = self.input.program.titles(reloc.section);
        let symbol = self.input.program.symbol(reloc.symbol);
        let symbol = symbol.map_or_else(String::new, |symbol| text(symbol.name));
        let kind = RelocType { machine: self.input.program.machine(), number: reloc.kind };
        match error {
            RelocError::Unsupported(why) => {
                PackError::RelocKind { object, section, kind, symbol, why }
            }
            RelocError::Range => {
                let offset = reloc.offset;
                PackError::RelocRange { object, section, kind, symbol, offset }
            }
        }
    }
}
