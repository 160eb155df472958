//! Compiled code becomes code that runs.

use alloc::vec::Vec;

use super::compiler::{Compiled, Target};
use super::error::InstantiateError;
use crate::format::Arch;
use crate::link::fixup::{Fixup, FixupError, FixupPlan};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

/// The most bytes of code of one instance.
const MAX_CODE: usize = 1 << 28;

/// Places code, writes the addresses into it, and lets it run. `address` tells where a target is.
pub(super) fn publish(
    memory: &CodeMemory,
    arch: Arch,
    compiled: &Compiled,
    address: impl Fn(Target) -> Option<u64>,
) -> Result<ExecutableBlock, InstantiateError> {
    let size = compiled.code.len();
    if size == 0 || size > MAX_CODE {
        return Err(InstantiateError::CodeSize { size });
    }
    let mut fixes = Vec::new();
    fixes
        .try_reserve_exact(compiled.relocations.len())
        .map_err(|_| InstantiateError::OutOfMemory)?;
    for (index, reloc) in compiled.relocations.iter().enumerate() {
        let place = InstantiateError::RelocPlace { index, offset: reloc.offset };
        let address = match reloc.target {
            Target::OWN => None,
            target => Some(address(target).ok_or(place)?),
        };
        let (offset, kind, addend) = (reloc.offset, reloc.kind, reloc.addend);
        fixes.push(Fixup { offset, kind, address, addend });
    }
    let error = |(index, fault)| fault_of(compiled, index, fault);
    let plan = FixupPlan::new(arch, size, fixes.iter()).map_err(error)?;
    // Compilers may have put constants behind the code, which instructions want at multiples of 16.
    let mut block = memory.allocate_with(Request::new(plan.size).aligned_to(16))?;
    let base = block.address() as u64;
    let bytes = block.as_mut_slice();
    let (code, _) = bytes.split_at_mut_checked(size).ok_or(InstantiateError::CodeSize { size })?;
    code.copy_from_slice(&compiled.code);
    plan.fill(arch, base, bytes).map_err(|fault| error((0, fault)))?;
    for (index, fix) in fixes.iter().enumerate() {
        plan.apply(arch, base, fix, bytes).map_err(|fault| error((index, fault)))?;
    }
    Ok(block.publish()?)
}

fn fault_of(compiled: &Compiled, index: usize, fault: FixupError) -> InstantiateError {
    let Some(reloc) = compiled.relocations.get(index) else {
        return InstantiateError::CodeSize { size: compiled.code.len() };
    };
    let kind = reloc.kind;
    match fault {
        FixupError::Kind => InstantiateError::RelocKind { index, kind },
        FixupError::Place => InstantiateError::RelocPlace { index, offset: reloc.offset },
        FixupError::Overflow { place, target } => {
            InstantiateError::Overflow { kind, place, target }
        }
        FixupError::AllocError => InstantiateError::OutOfMemory,
    }
}
