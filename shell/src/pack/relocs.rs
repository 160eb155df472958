//! Scans the relocations of all reachable sections before addresses are assigned.
//!
//! Every relocation of a reachable section becomes a [`PackReloc`]. Calls of imported functions go through
//! one stub for each function, and addresses of imported symbols are loaded from the global offset table
//! (GOT), so that the loader's writes lie together and no code page is written. GOT loads of symbols that
//! this module defines become direct references. `x86_64` and `aarch64` define the relocation types.

use std::collections::HashSet;

use ::object::elf;

use super::aarch64;
use super::error::{PackError, PackWarning, Result};
use super::gc_sections::Reachable;
use super::machine::Machine;
use super::pack_reloc::{PackReloc, RelocPlan, Rewrite};
use super::scanner::RelocScanner;

/// Scans the relocations of all reachable sections.
pub(super) fn scan(
    reachable: &Reachable<'_, '_>,
    warnings: &mut Vec<PackWarning>,
) -> Result<RelocPlan> {
    let program = reachable.program;
    let mut plan = RelocPlan::default();
    let machine = program.machine();
    let unrelaxable = match machine {
        Machine::X86_64 => HashSet::new(),
        Machine::Aarch64 => aarch64::unrelaxable(reachable),
    };
    for (id, section) in reachable.sections() {
        let first = plan.relocs.len();
        let (plan_of, unrelaxable) = (&mut plan, &unrelaxable);
        let mut scan = RelocScanner { program, plan: plan_of, warnings, unrelaxable, id, section };
        for reloc in section.relocs(id.object) {
            match machine {
                _ if reloc.kind == elf::R_X86_64_NONE => {}
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
    let first = |ranges: &[(u64, u64, u64)]| {
        let mut pairs = ranges.array_windows();
        pairs.find(|[one, next]| one.1 > next.0).map(|[_, next]| next.2)
    };
    let mut ranges: Vec<_> = plan.iter().map(patch_range).collect();
    first(&ranges)?;
    // Compilers emit relocations out of order; sort only then.
    ranges.sort_unstable();
    first(&ranges)
}

/// Start and end of the bytes of a section that a relocation changes: the field and, for a rewrite, the opcode. The
/// offset of the ELF relocation comes last.
fn patch_range(reloc: &PackReloc) -> (u64, u64, u64) {
    let (before, behind) = match reloc.rewrite {
        // Opcode and ModRM.
        Some(Rewrite::MovToLea | Rewrite::LeaToMov | Rewrite::Call) => (2, 0),
        // The operand moved to the position of the ModRM byte, and a `nop` follows it.
        Some(Rewrite::Jump) => (1, 1),
        Some(Rewrite::LoadToAdd | Rewrite::AddToLoad) | None => (0, 0),
    };
    let offset = reloc.input.offset;
    let end = offset.saturating_add(reloc.form.bytes()).saturating_add(behind);
    (offset.saturating_sub(before), end, offset.saturating_add(behind))
}
