//! Scans the relocations of all reachable sections before addresses are assigned.
//!
//! Every relocation of a reachable section that is not plain becomes a [`PackReloc`]. Calls of imported functions go through
//! one stub for each function, and addresses of imported symbols are loaded from the global offset table
//! (GOT), so that the loader's writes lie together and no code page is written. GOT loads of symbols that
//! this module defines become direct references. `x86_64` and `aarch64` define the relocation types.

use hashbrown::HashSet;
use std::cell::OnceCell;

use ::object::elf;

use super::aarch64;
use super::error::{PackError, PackWarning, Refusals};
use super::gc_sections::Reachable;
use super::machine::Machine;
use super::object::{InputReloc, Section, SectionId, SymbolId};
use super::pack_reloc::{
    ABS64, PackReloc, RelocForm, RelocPlan, RelocTarget, Rewrite, SectionRelocs,
};
use super::resolve::{Program, Resolution};
use super::scanner::RelocScanner;

/// Scans the relocations of all reachable sections.
pub(super) fn scan(
    reachable: &Reachable<'_, '_>,
    warnings: &mut Vec<PackWarning>,
    refusals: &mut Refusals,
) -> RelocPlan {
    let program = reachable.program;
    let mut plan = RelocPlan::default();
    let machine = program.machine();
    let unrelaxable = match machine {
        Machine::X86_64 => HashSet::new(),
        Machine::Aarch64 => {
            let survey = aarch64::survey(reachable);
            plan.is_got_paged = !survey.near_slots.is_empty();
            plan.slots = survey.near_slots;
            survey.unrelaxable
        }
    };
    let mut scan =
        SectionScan { program, plan: &mut plan, warnings, refusals, unrelaxable: &unrelaxable };
    for (id, section) in reachable.sections() {
        let found = scan.section(id, section, section.relocs(id.object));
        scan.plan.sections.push(found);
    }
    for (id, relocs) in &reachable.eh_frame.relocs {
        let Some(section) = program.section(*id) else { continue };
        let found = scan.section(*id, section, relocs.iter().copied());
        scan.plan.frames.push(found);
    }
    plan
}

struct SectionScan<'s, 'd> {
    program: &'s Program<'d>,
    plan: &'s mut RelocPlan,
    warnings: &'s mut Vec<PackWarning>,
    refusals: &'s mut Refusals,
    unrelaxable: &'s HashSet<SymbolId>,
}

impl<'s, 'd> SectionScan<'s, 'd> {
    /// Scans the relocations of a section, or of the records of unwinding tables in it.
    fn section(
        &mut self,
        id: SectionId,
        section: &'s Section<'d>,
        relocs: impl Iterator<Item = InputReloc> + Clone,
    ) -> SectionRelocs {
        let first = self.plan.relocs.len();
        let (program, machine) = (self.program, self.program.machine());
        let mut scan = RelocScanner {
            program,
            plan: &mut *self.plan,
            warnings: &mut *self.warnings,
            unrelaxable: self.unrelaxable,
            movable: OnceCell::new(),
            id,
            section,
            index: 0,
        };
        let mut patched = PatchedRanges::default();
        let mut count = 0;
        for (index, reloc) in relocs.clone().enumerate() {
            count = index + 1;
            if reloc.kind == elf::R_X86_64_NONE {
                continue;
            }
            let Ok(resolution) = program.resolution(reloc.symbol) else { continue };
            if let Some(form) = plain_form(program, section, reloc, resolution) {
                patched.add((reloc.offset, reloc.offset + form.bytes()));
                continue;
            }
            scan.index = index;
            let before = scan.plan.relocs.len();
            let scanned = match (scan.tls(reloc), machine) {
                (Ok(false), Machine::X86_64) => scan.x86_64(reloc),
                (Ok(false), Machine::Aarch64) => scan.aarch64(reloc),
                (is_thread_local, _) => is_thread_local.map(drop),
            };
            if self.refusals.check(scanned).is_none() {
                scan.plan.relocs.truncate(before);
                scan.plan.relocs.push(refused(index, reloc));
            }
            for reloc in scan.plan.relocs.iter().skip(before) {
                patched.add_reloc(reloc);
            }
        }
        let found = SectionRelocs { id, planned: first..self.plan.relocs.len(), count };
        let overlap = || first_overlap(self.plan.of_section(program, &found, relocs));
        if let Some(offset) = patched.is_disordered.then(overlap).flatten() {
            self.refusals.add(PackError::RelocOverlap { place: program.place(id), offset });
        }
        found
    }
}

/// The form of the field of a plain relocation, which needs nothing but the address of its symbol in the module.
fn plain_form(
    program: &Program<'_>,
    section: &Section<'_>,
    reloc: InputReloc,
    resolution: Resolution,
) -> Option<RelocForm> {
    let is_plain = match resolution {
        Resolution::Section { id, .. } => !program.is_thread_local(id),
        Resolution::Common(_) => true,
        _ => false,
    };
    let form = program.machine().isa().plain_form(reloc.kind).filter(|_| is_plain)?;
    let end = reloc.offset.checked_add(form.bytes())?;
    (end <= section.size).then_some(form)
}

/// A relocation to which nothing is to be done.
fn refused(index: usize, input: InputReloc) -> PackReloc {
    let to = RelocTarget::Refused;
    PackReloc { index, input, form: ABS64, to, addend: 0, rewrite: None }
}

/// Whether the ranges of bytes that relocations change follow each other.
#[derive(Default)]
struct PatchedRanges {
    end: u64,
    is_disordered: bool,
}

impl PatchedRanges {
    fn add(&mut self, (start, end): (u64, u64)) {
        self.is_disordered |= start < self.end;
        self.end = end;
    }

    fn add_reloc(&mut self, reloc: &PackReloc) {
        if !matches!(reloc.to, RelocTarget::Refused) {
            let (start, end, _) = patch_range(reloc);
            self.add((start, end));
        }
    }
}

/// The offset of the first relocation that changes a byte which another one changes as well. Compilers emit relocations
/// out of order, so that disorder is not an overlap.
fn first_overlap(relocs: impl Iterator<Item = PackReloc>) -> Option<u64> {
    let relocs = relocs.filter(|reloc| !matches!(reloc.to, RelocTarget::Refused));
    let mut ranges: Vec<_> = relocs.map(|reloc| patch_range(&reloc)).collect();
    ranges.sort_unstable();
    let mut pairs = ranges.array_windows();
    pairs.find(|[one, next]| one.1 > next.0).map(|[_, next]| next.2)
}

/// Start and end of the bytes of a section that a relocation changes: the field and, for a rewrite, the opcode. The
/// offset of the ELF relocation comes last.
fn patch_range(reloc: &PackReloc) -> (u64, u64, u64) {
    let (before, behind) = match reloc.rewrite {
        // Opcode and ModRM.
        Some(Rewrite::MovToLea | Rewrite::LeaToMov | Rewrite::Call) => (2, 0),
        // The operand moved to the position of the ModRM byte, and a `nop` follows it.
        Some(Rewrite::Jump) => (1, 1),
        Some(Rewrite::Thunk { nops, .. }) => (1, u64::from(nops)),
        Some(Rewrite::LoadToAdd | Rewrite::AddToLoad) | None => (0, 0),
    };
    let offset = reloc.input.offset;
    let end = offset.saturating_add(reloc.form.bytes()).saturating_add(behind);
    (offset.saturating_sub(before), end, offset.saturating_add(behind))
}
