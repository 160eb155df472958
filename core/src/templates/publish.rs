//! Relocation and publication of compiled code.

use super::compiler::{CodeReloc, Compiled, Target};
use super::error::InstantiateErrorKind;
use crate::alloc_util::try_with_capacity;
use crate::format::{Arch, RelocKind};
use crate::link::fixup::{Fixup, FixupError, FixupPlan, FixupTarget};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

/// The maximum size of the code of an instance, in bytes.
const MAX_CODE: usize = 1 << 28;

/// Copies code into executable memory and relocates it. `address` resolves a target.
pub(super) fn publish(
    memory: &CodeMemory,
    arch: Arch,
    compiled: &Compiled,
    address: impl Fn(Target) -> Option<u64>,
) -> Result<ExecutableBlock, InstantiateErrorKind> {
    let size = compiled.code.len();
    if size == 0 || size > MAX_CODE {
        return Err(InstantiateErrorKind::CodeSize { size });
    }
    let mut fixups = try_with_capacity(compiled.relocations.len())?;
    for (index, reloc) in compiled.relocations.iter().enumerate() {
        let place = InstantiateErrorKind::RelocPlace { index, offset: reloc.offset };
        let target = match reloc.target {
            Target::OWN => FixupTarget::Code(0),
            target => FixupTarget::Address(address(target).ok_or(place)?),
        };
        let (offset, kind, addend) = (reloc.offset, reloc.kind, reloc.addend);
        fixups.push(Fixup { offset, kind, target, addend });
    }
    let at = |(index, error)| {
        let reloc: Option<&CodeReloc> = compiled.relocations.get(index);
        let (kind, offset) = reloc.map_or((RelocKind::None, 0), |of| (of.kind, of.offset));
        match error {
            FixupError::Kind => InstantiateErrorKind::RelocKind { index, kind },
            FixupError::Place => InstantiateErrorKind::RelocPlace { index, offset },
            FixupError::Overflow { place, target } => {
                InstantiateErrorKind::Overflow { kind, place, target }
            }
            FixupError::OutOfMemory(error) => error.into(),
        }
    };
    let plan = FixupPlan::new(arch, size, fixups.iter()).map_err(at)?;
    // Instructions may require that constants behind the code are aligned to 16 bytes.
    let mut block = memory.allocate_with(Request::new(plan.size).aligned_to(16))?;
    let base = block.address() as u64;
    let bytes = block.as_mut_slice();
    let (code, _) =
        bytes.split_at_mut_checked(size).ok_or(InstantiateErrorKind::CodeSize { size })?;
    code.copy_from_slice(&compiled.code);
    plan.fill(arch, base, bytes).map_err(|error| at((0, error)))?;
    for (index, fixup) in fixups.iter().enumerate() {
        plan.apply(arch, base, fixup, bytes).map_err(|error| at((index, error)))?;
    }
    Ok(block.publish()?)
}
