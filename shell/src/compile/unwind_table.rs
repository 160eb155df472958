//! The unwinding tables of a module.
//!
//! They refer to functions by their distance, as those of linkers do, so that no relocation is needed: readers that
//! apply all relocations to the code would damage it. The distances hold in the placement that the note [`prelink`]
//! states; a loader that cannot follow it does not use the tables.

use smf_core::codegen::unwind::UnwindTable;
use smf_core::codegen::unwind_machine;
use smf_core::format::Arch;
use smf_core::format::ext::prelink;
use smf_core::source::TranslationUnit;

use super::error::{CompileError, Result};
use super::object::Code;

/// The name of the section.
pub(super) const NAME: &[u8] = b".eh_frame";

/// The offset of the tables in the image, whose first section is the code.
fn offset(code: &Code) -> u64 {
    (code.bytes.len() as u64).next_multiple_of(prelink::PAGE)
}

/// The contents of the section; `None` without functions.
pub(super) fn encode(unit: &TranslationUnit, code: &Code, arch: Arch) -> Result<Option<Vec<u8>>> {
    let machine = unwind_machine(arch).ok_or(CompileError::Arch(arch))?;
    if code.functions.is_empty() {
        return Ok(None);
    }
    let (mut table, start) = (UnwindTable::for_file(machine)?, offset(code));
    for (definition, function) in unit.functions.iter().zip(&code.functions) {
        let distance = i64::from(function.start).checked_sub_unsigned(start);
        let out_of_reach = || CompileError::OutOfReach { function: definition.symbol.clone() };
        let distance = distance.ok_or_else(out_of_reach)?;
        let added = table.add_at(&function.frames, distance, function.code_size)?;
        added.ok_or_else(out_of_reach)?;
    }
    Ok(Some(table.finish()?))
}

/// The payload of the note in a module of `sections` sections: the code, the tables, and those that are not loaded.
pub(super) fn image(code: &Code, sections: usize) -> Option<Vec<u8>> {
    let loaded = [Some(0), Some(offset(code))];
    let offsets: Vec<_> =
        loaded.into_iter().chain(std::iter::repeat(None)).take(sections).collect();
    prelink::encode(&offsets, &[])
}
