//! Scans the relocations of all reachable sections before addresses are assigned.
//!
//! Every relocation of a reachable section becomes a [`PackReloc`]. Calls of imported functions go through
//! one stub for each function, and addresses of imported symbols are loaded from the global offset table
//! (GOT), so that the loader's writes lie together and no code page is written. GOT loads of symbols that
//! this module defines become direct references. `x86_64` and `aarch64` define the relocation types.

use std::collections::HashSet;

use ::object::LittleEndian as LE;
use ::object::elf;

use super::aarch64;
use super::error::{PackError, PackWarning};
use super::gc_sections::Reachable;
use super::machine::Machine;
use super::object::decode;
use super::pack_reloc::{PackReloc, RelocPlan, Rewrite};
use super::resolve::Program;
use super::scanner::{InputReloc, RelocScanner};

/// Scans the relocations of all reachable sections.
pub(super) fn scan(
    program: &Program<'_>,
    reachable: &Reachable,
    warnings: &mut Vec<PackWarning>,
) -> Result<RelocPlan, PackError> {
    let mut plan = RelocPlan::default();
    let machine = program.machine();
    let unrelaxable = match machine {
        Machine::X86_64 => HashSet::new(),
        Machine::Aarch64 => aarch64::unrelaxable(program, reachable),
    };
    for (id, section) in program.sections().filter(|(id, _)| reachable.is_live(*id)) {
        let first = plan.relocs.len();
        let mut scan = RelocScanner {
            program,
            plan: &mut plan,
            warnings,
            unrelaxable: &unrelaxable,
            id,
            section,
        };
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            let (offset, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
            let reloc = InputReloc { kind, symbol, offset, addend };
            match machine {
                _ if kind == elf::R_X86_64_NONE.0 => {}
                Machine::X86_64 => scan.x86_64(reloc)?,
                Machine::Aarch64 => scan.aarch64(reloc)?,
            }
        }
        if let Some(offset) = overlap(plan.relocs.get(first..).unwrap_or(&[])) {
            let (object, section) = program.titles(id);
            return Err(PackError::RelocOverlap { object, section, offset });
        }
    }
    Ok(plan)
}

/// The offset of the first relocation that changes a byte which another one changes as well.
fn overlap(plan: &[PackReloc]) -> Option<u64> {
    let first = |ranges: &[PatchRange]| {
        let mut pairs = ranges.iter().zip(ranges.get(1..)?);
        pairs.find(|(one, next)| one.end > next.start).map(|(_, next)| next.offset)
    };
    let mut ranges: Vec<_> = plan.iter().map(PatchRange::of).collect();
    first(&ranges)?;
    // Compilers emit relocations out of order; sort only then.
    ranges.sort_unstable();
    first(&ranges)
}

/// The bytes of a section that a relocation changes: the field and, for a rewrite, the opcode.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct PatchRange {
    start: u64,
    end: u64,
    /// The offset of the ELF relocation.
    offset: u64,
}

impl PatchRange {
    fn of(reloc: &PackReloc) -> PatchRange {
        let (before, behind) = match reloc.rewrite {
            // Opcode and ModRM.
            Some(Rewrite::MovToLea | Rewrite::LeaToMov | Rewrite::Call) => (2, 0),
            // The operand moved to the position of the ModRM byte, and a `nop` follows it.
            Some(Rewrite::Jump) => (1, 1),
            Some(Rewrite::LoadToAdd | Rewrite::AddToLoad) | None => (0, 0),
        };
        let end = reloc.offset.saturating_add(reloc.form.bytes()).saturating_add(behind);
        let offset = reloc.offset.saturating_add(behind);
        PatchRange { start: reloc.offset.saturating_sub(before), end, offset }
    }
}
