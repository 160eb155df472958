//! The unwind tables of an object: the records of `.eh_frame`, whose instructions are registered as those of other
//! generated code.
//!
//! The common record of LLVM for x86-64 states what that of the code generator does: the return address lies 8 bytes
//! below the canonical frame address, and offsets of registers are multiples of -8.
//!
//! Source: Linux Standard Base 5.0, 10.6 "Exception Frames".

use smf_core::alloc_util::{AllocError, try_push};
use smf_core::codegen::registry::FunctionTables;
use smf_core::codegen::unwind_machine;
use smf_core::format::Arch;
use smf_core::link::Name;

/// The record of a function.
pub(super) struct Record<'o> {
    /// The offset in the section of the field with the address of the function.
    pub(super) start_field: usize,
    /// Call frame instructions.
    pub(super) instructions: &'o [u8],
}

/// The fields before the instructions: the common record, the address, the size, and the size of no augmentation data.
const HEADER: usize = 4 + 4 + 4 + 1;

fn word(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.first_chunk()?)).ok()
}

/// The records of functions in a section.
pub(super) fn records(section: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = section.get(at..)?;
            let len = word(rest).filter(|&len| len != 0)?;
            let record = rest.get(4..)?.get(..len)?;
            let start = at;
            at += 4 + len;
            // A common record refers to none.
            if word(record)? != 0 {
                let instructions = record.get(HEADER..).unwrap_or_default();
                return Some(Record { start_field: start + 8, instructions });
            }
        }
    })
}

/// The tables of functions, which are sorted by offset.
pub(super) fn tables(
    functions: &[(usize, usize)],
    frames: &mut [(usize, Vec<u8>)],
    name: &dyn Fn(usize) -> Result<Name, AllocError>,
) -> Result<Vec<FunctionTables>, AllocError> {
    let mut tables = Vec::new();
    let Some(machine) = unwind_machine(Arch::X86_64) else { return Ok(tables) };
    for (index, &(start, size)) in functions.iter().enumerate() {
        let found = frames.iter_mut().find(|(of, _)| *of == start);
        let instructions = found.map(|(_, all)| std::mem::take(all)).unwrap_or_default();
        let size = u32::try_from(size).map_err(|_| AllocError)?;
        let table = FunctionTables::of_frames(machine, instructions, size).at(start);
        try_push(&mut tables, table.named(name(index)?.as_bytes())?)?;
    }
    tables.sort_by_key(|table| table.frames().map_or(0, |(start, ..)| start));
    Ok(tables)
}
