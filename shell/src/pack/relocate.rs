//! The bytes of the module's sections, and the relocations that are left for the loader.
//!
//! A distance within a section of the module is written and done with. One between sections is
//! written as the image has it and kept as a relocation as well, in a table of its own that a loader
//! which honours the image may skip; the native layout has no such note, and its loaders apply all.

use std::collections::HashMap;

use smf_core::format::{Layout, Reloc, RelocKind, SectionKind};
use smf_core::link::aarch64;

use super::check::check_code;
use super::error::{PackError, PackWarning, RelocType};
use super::layout::{Home, Located, Placement, SLOT};
use super::machine::{Machine, Stub};
use super::object::{SectionId, text};
use super::relocs::{Fix, Fixes, Form, Rewrite, To};
use super::resolve::Program;

/// What a section of the module holds.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// Relocations that have nothing left to do in the image, in the order of their places.
    pub(super) settled: Vec<Reloc>,
    /// Those that have, in the order of their places.
    pub(super) open: Vec<Reloc>,
}

impl Body {
    fn new(home: &Home, machine: Machine) -> Result<Self, PackError> {
        let len = usize::try_from(home.len).map_err(|_| PackError::TooLarge)?;
        let fill = if home.kind == SectionKind::Code { machine.trap() } else { 0 };
        Ok(Body { bytes: vec![fill; len], settled: Vec::new(), open: Vec::new() })
    }
}

/// What there is to write.
#[derive(Clone, Copy)]
pub(super) struct Work<'e, 'd> {
    pub(super) program: &'e Program<'d>,
    pub(super) fixes: &'e Fixes,
    pub(super) placement: &'e Placement,
    pub(super) layout: Layout,
    /// The number of the first import among the symbols; those of the sections come first of all.
    pub(super) first_import: u32,
    /// The symbols that references to such places are made by: what is there may be elsewhere one day.
    pub(super) exported_data: &'e ExportedData,
}

/// The numbers of the symbols of exported data, by section and offset.
pub(super) type ExportedData = HashMap<(usize, u64), u32>;

/// What the module consists of.
pub(super) struct Applied {
    /// One for each section of the placement, in their order.
    pub(super) bodies: Vec<Body>,
    /// Any of them holds an address of 32 bits.
    pub(super) has_low_addresses: bool,
    /// Any of them holds a distance to another section that no relocation tells of.
    pub(super) needs_image: bool,
}

/// Makes the bodies of the placement's sections.
///
/// # Errors
/// A relocation that a module cannot express, or whose value does not fit.
pub(super) fn apply(
    work: Work<'_, '_>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Applied, PackError> {
    let homes = work.placement.homes.iter();
    let bodies = homes.map(|home| Body::new(home, work.program.machine()));
    let bodies = bodies.collect::<Result<_, _>>()?;
    let mut writer =
        Writer { work, bodies, low_addresses: 0, needs_image: false, names_symbol: true };
    writer.copy_sections()?;
    writer.apply_fixes(warnings)?;
    writer.make_stubs()?;
    writer.make_slots()?;
    for body in &mut writer.bodies {
        body.settled.sort_by_key(|reloc| reloc.offset);
        body.open.sort_by_key(|reloc| reloc.offset);
    }
    let Writer { bodies, low_addresses, needs_image, .. } = writer;
    check_code(work, &bodies)?;
    Ok(Applied { bodies, has_low_addresses: low_addresses != 0, needs_image })
}

/// Why a value cannot be written.
pub(super) enum Refusal {
    Range,
    Why(&'static str),
}

pub(super) const NOWHERE: Refusal = Refusal::Why("leads nowhere");

/// A place in a section of the module.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    pub(super) home: usize,
    pub(super) offset: u64,
}

impl Spot {
    /// `None` for what is not in a section, or before its begin.
    pub(super) fn of(located: Option<Located>) -> Option<Spot> {
        match located? {
            Located::At { home, offset } => {
                Some(Spot { home, offset: u64::try_from(offset).ok()? })
            }
            Located::Number(_) | Located::Import(_) => None,
        }
    }

    fn plus(self, offset: u64) -> Option<Spot> {
        Some(Spot { offset: self.offset.checked_add(offset)?, ..self })
    }
}

pub(super) struct Writer<'e, 'd> {
    pub(super) work: Work<'e, 'd>,
    bodies: Vec<Body>,
    /// How many places hold an address of 32 bits.
    low_addresses: u64,
    pub(super) needs_image: bool,
    /// Whether what is being applied names the symbol that it refers to, and not a section.
    names_symbol: bool,
}

impl Writer<'_, '_> {
    /// Writes over the bytes at `spot`; only what the placement has made room for is ever written.
    pub(super) fn put(&mut self, spot: Spot, bytes: &[u8]) -> Option<()> {
        let start = usize::try_from(spot.offset).ok()?;
        let end = start.checked_add(bytes.len())?;
        self.bodies.get_mut(spot.home)?.bytes.get_mut(start..end)?.copy_from_slice(bytes);
        Some(())
    }

    /// The instruction at `spot`.
    pub(super) fn word(&self, spot: Spot) -> Option<u32> {
        let start = usize::try_from(spot.offset).ok()?;
        let bytes = self.bodies.get(spot.home)?.bytes.get(start..)?.first_chunk();
        bytes.map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn copy_sections(&mut self) -> Result<(), PackError> {
        let Work { program, placement, .. } = self.work;
        for id in &placement.order {
            let Some(section) = program.section(*id) else { continue };
            if !section.bytes.is_empty() {
                let spot = Spot::of(placement.section(program, *id));
                spot.and_then(|spot| self.put(spot, section.bytes)).ok_or(PackError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn apply_fixes(&mut self, warnings: &mut Vec<PackWarning>) -> Result<(), PackError> {
        let fixes = self.work.fixes;
        let mut warned: Option<SectionId> = None;
        for fix in &fixes.list {
            let before = self.low_addresses;
            self.apply(fix).map_err(|refusal| self.refused(fix, refusal))?;
            if self.low_addresses != before && warned != Some(fix.section) {
                warned = Some(fix.section);
                let (object, section) = self.work.program.titles(fix.section);
                warnings.push(PackWarning::LowAddress { object, section });
            }
        }
        Ok(())
    }

    fn apply(&mut self, fix: &Fix) -> Result<(), Refusal> {
        let Work { program, placement, .. } = self.work;
        let to = match fix.to {
            To::Referent(referent) => placement.locate(program, referent),
            To::Slot(number) => placement.slot(number),
            To::Stub(number) => placement.stub(number),
        };
        let to = to.ok_or(NOWHERE)?;
        let section = Spot::of(placement.section(program, fix.section));
        let spot = section.and_then(|section| section.plus(fix.offset)).ok_or(NOWHERE)?;
        if let Some(rewrite) = fix.rewrite {
            self.rewrite(spot, rewrite).ok_or(NOWHERE)?;
        }
        let symbol = program.symbol(fix.symbol);
        self.names_symbol = symbol.is_some_and(|symbol| symbol.global.is_some());
        self.settle(spot, fix.form, to, fix.addend)
    }

    /// Changes the instruction whose operand stands at `spot`.
    fn rewrite(&mut self, spot: Spot, rewrite: Rewrite) -> Option<()> {
        let before = |count| Some(Spot { offset: spot.offset.checked_sub(count)?, ..spot });
        match rewrite {
            Rewrite::MovToLea => self.put(before(2)?, &[0x8d]),
            Rewrite::LeaToMov => self.put(before(2)?, &[0x8b]),
            Rewrite::Call => self.put(before(2)?, &[0x67, 0xe8]),
            Rewrite::Jump => {
                self.put(before(1)?, &[0xe9])?;
                self.put(spot.plus(4)?, &[0x90])
            }
            Rewrite::LoadToAdd => {
                let word = aarch64::load_to_add(self.word(spot)?)?;
                self.put(spot, &word.to_le_bytes())
            }
            Rewrite::AddToLoad => {
                let word = aarch64::add_to_load(self.word(spot)?)?;
                self.put(spot, &word.to_le_bytes())
            }
        }
    }

    fn make_stubs(&mut self) -> Result<(), PackError> {
        let Work { program, fixes, placement, .. } = self.work;
        let Stub { bytes, operands } = *program.machine().stub();
        for (number, slot) in (0u32..).zip(&fixes.stubs) {
            let stub = Spot::of(placement.stub(number)).ok_or(PackError::TooLarge)?;
            self.put(stub, bytes).ok_or(PackError::TooLarge)?;
            let to = placement.slot(*slot).ok_or(PackError::TooLarge)?;
            for &(offset, form, addend) in operands {
                let operand = stub.plus(offset).ok_or(PackError::TooLarge)?;
                self.settle(operand, form, to, addend).map_err(|_| PackError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn make_slots(&mut self) -> Result<(), PackError> {
        self.names_symbol = true;
        let Work { program, fixes, placement, .. } = self.work;
        for (number, (referent, beyond)) in (0u32..).zip(&fixes.slots) {
            let slot = Spot::of(placement.slot(number)).ok_or(PackError::TooLarge)?;
            let to = placement.locate(program, *referent).ok_or(PackError::TooLarge)?;
            let form = Form::Absolute { bytes: SLOT, signed: false };
            self.settle(slot, form, to, *beyond).map_err(|_| PackError::TooLarge)?;
        }
        Ok(())
    }

    /// Writes a value, or leaves a relocation to write it.
    fn settle(&mut self, spot: Spot, form: Form, to: Located, addend: i64) -> Result<(), Refusal> {
        match form {
            Form::Absolute { bytes, signed } => match to {
                Located::Number(value) => {
                    let value = i128::from(value) + i128::from(addend);
                    self.number(spot, value, bytes, Some(signed))
                }
                _ => self.address(spot, bytes, signed, to, addend),
            },
            Form::Distance { bytes } => self.distance(spot, bytes, to, addend),
            Form::Operand(operand) => self.operand(spot, operand, to, addend),
            Form::FromTable { bytes } => match (to, self.work.placement.table()) {
                (
                    Located::At { home, offset },
                    Some(Located::At { home: table, offset: begin }),
                ) if home == table => {
                    let value = i128::from(offset) + i128::from(addend) - i128::from(begin);
                    self.number(spot, value, bytes, None)
                }
                _ => Err(Refusal::Why(
                    "counts from the GOT to another section; compile with the small code model",
                )),
            },
        }
    }

    /// Writes a number; `signed` says how it is read where that is known.
    fn number(
        &mut self,
        spot: Spot,
        value: i128,
        bytes: u64,
        signed: Option<bool>,
    ) -> Result<(), Refusal> {
        let bits = bytes * 8;
        let (negative, positive) = (-(1i128 << (bits - 1)), 1i128 << bits);
        let fits = match (bytes, signed) {
            (4, Some(false)) => (0..positive).contains(&value),
            (4, Some(true)) | (_, None) => (negative..-negative).contains(&value),
            // As the assembler has it: either reading will do.
            _ => (negative..positive).contains(&value),
        };
        let len = usize::try_from(bytes).map_err(|_| Refusal::Range)?;
        let all = value.to_le_bytes();
        let low = all.get(..len).filter(|_| fits).ok_or(Refusal::Range)?;
        self.put(spot, low).ok_or(Refusal::Range)
    }

    /// Whether a reference is to the module itself, and not behind the section it is to.
    fn is_inside(&self, to: Located, addend: i64) -> bool {
        let Located::At { home, offset } = to else { return false };
        let size = self.work.placement.homes.get(home).map_or(0, |home| home.size);
        let end = offset.checked_add(addend).map(|at| u64::try_from(at).unwrap_or(0));
        end.is_some_and(|at| at <= size)
    }

    fn address(
        &mut self,
        spot: Spot,
        bytes: u64,
        signed: bool,
        to: Located,
        addend: i64,
    ) -> Result<(), Refusal> {
        let kind = match (bytes, signed, self.work.layout) {
            (8, ..) => RelocKind::Abs64,
            (4, false, Layout::Packed) => RelocKind::Abs32,
            // Below 2 GiB, where modules with 32-bit addresses are placed, it reads the same with its
            // sign.
            (4, true, Layout::Packed) if self.is_inside(to, addend) => RelocKind::Abs32,
            (4, false, _) => {
                return Err(Refusal::Why(
                    "needs an address in 32 bits, which the native layout cannot express; compile with -fPIC",
                ));
            }
            (4, true, _) => {
                return Err(Refusal::Why(
                    "sign-extends an address of 32 bits that may lie anywhere, which a module cannot express; compile with -fPIC",
                ));
            }
            _ => {
                return Err(Refusal::Why(
                    "needs an address in less than 32 bits, which a module cannot express",
                ));
            }
        };
        self.low_addresses += u64::from(kind == RelocKind::Abs32);
        self.leave(spot, kind, to, addend)
    }

    fn distance(
        &mut self,
        spot: Spot,
        bytes: u64,
        to: Located,
        addend: i64,
    ) -> Result<(), Refusal> {
        let (home, offset) = match to {
            Located::At { home, offset } => (home, offset),
            Located::Import(_) if bytes == 4 => {
                return self.leave(spot, RelocKind::Pc32, to, addend);
            }
            Located::Import(_) => {
                return Err(Refusal::Why(
                    "is a distance to another module in other than 32 bits, which a module cannot express",
                ));
            }
            Located::Number(_) => {
                return Err(Refusal::Why(
                    "is a distance to an absolute address, which a module that can lie anywhere cannot express",
                ));
            }
        };
        let value = i128::from(offset) + i128::from(addend) - i128::from(spot.offset);
        let may_move = self.exported_data(home, offset).is_some();
        if home == spot.home && !(may_move && bytes == 4) {
            return self.number(spot, value, bytes, None);
        }
        if bytes != 4 {
            return Err(Refusal::Why(
                "is a distance to another section in other than 32 bits, which a module cannot express",
            ));
        }
        let begin = |home: usize| self.work.placement.homes.get(home).and_then(|home| home.image);
        let Some((from, target)) = begin(spot.home).zip(begin(home)) else {
            return self.leave(spot, RelocKind::Pc32, to, addend);
        };
        self.number(spot, value + i128::from(target) - i128::from(from), bytes, None)?;
        let reloc = self.reloc(spot, RelocKind::Pc32, to, addend)?;
        self.bodies.get_mut(spot.home).ok_or(NOWHERE)?.settled.push(reloc);
        Ok(())
    }

    /// Leaves a relocation for the loader.
    pub(super) fn leave(
        &mut self,
        spot: Spot,
        kind: RelocKind,
        to: Located,
        addend: i64,
    ) -> Result<(), Refusal> {
        let reloc = self.reloc(spot, kind, to, addend)?;
        self.bodies.get_mut(spot.home).ok_or(NOWHERE)?.open.push(reloc);
        Ok(())
    }

    /// A relocation against the begin of a section, against data that others may refer to, or against an
    /// import.
    fn reloc(
        &self,
        spot: Spot,
        kind: RelocKind,
        to: Located,
        addend: i64,
    ) -> Result<Reloc, Refusal> {
        let (symbol, addend) = match to {
            Located::At { home, offset } => match self.exported_data(home, offset) {
                Some(symbol) => (Some(symbol), Some(addend)),
                None => (u32::try_from(home).ok(), addend.checked_add(offset)),
            },
            Located::Import(global) => {
                let number = self.work.fixes.import_number(global);
                let number = number.and_then(|number| u32::try_from(number).ok());
                (number.and_then(|n| n.checked_add(self.work.first_import)), Some(addend))
            }
            Located::Number(_) => (None, None),
        };
        let (Some(symbol), Some(addend)) = (symbol, addend) else { return Err(Refusal::Range) };
        Ok(Reloc { offset: spot.offset, symbol, kind, addend })
    }

    fn exported_data(&self, home: usize, offset: i64) -> Option<u32> {
        let place = (home, u64::try_from(offset).ok()?);
        self.work.exported_data.get(&place).copied().filter(|_| self.names_symbol)
    }

    fn refused(&self, fix: &Fix, refusal: Refusal) -> PackError {
        let (object, section) = self.work.program.titles(fix.section);
        let symbol = self.work.program.symbol(fix.symbol);
        let symbol = symbol.map_or_else(String::new, |symbol| text(symbol.name));
        let kind = RelocType { machine: self.work.program.machine(), number: fix.kind };
        match refusal {
            Refusal::Why(why) => PackError::RelocKind { object, section, kind, symbol, why },
            Refusal::Range => {
                let offset = fix.offset;
                PackError::RelocRange { object, section, kind, symbol, offset }
            }
        }
    }
}
