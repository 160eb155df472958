//! Line tables of a module: one compilation unit with the functions, and a sequence of lines for each.
//!
//! Addresses are offsets from the start of the code, and listed for debuggers (see [`debug_addresses`]).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use smf_core::AllocError;
use smf_core::format::ext::debug_addresses;
use smf_core::source::TranslationUnit;

use super::object::Code;
use crate::tools::Function;
use crate::tools::dwarf::{self, FunctionLines, Section};

/// The debug sections of the code; relative names of files are those of `directory`.
pub(super) fn sections(
    unit: &TranslationUnit,
    code: &Code,
    directory: &Path,
) -> Result<[Section; 3], AllocError> {
    let functions = unit.functions.iter().zip(&code.functions);
    let functions = functions.map(|(definition, compiled)| {
        let (address, size) = (compiled.start.into(), compiled.size.into());
        FunctionLines {
            function: Function { address, size, name: definition.symbol.as_bytes() },
            file: u64::from(definition.file) + 1,
            line: definition.line,
            rows: &compiled.lines,
        }
    });
    let files = unit.files.iter().map(String::as_bytes);
    dwarf::sections(directory.as_os_str().as_bytes(), files, &functions.collect::<Vec<_>>())
}

/// The section that lists the addresses.
pub(super) fn addresses(sections: &[Section]) -> Result<Option<Vec<u8>>, AllocError> {
    let lists = sections.iter().filter(|section| !section.addresses.is_empty());
    let lists = lists.map(|section| {
        (debug_addresses::stored_name(section.name), &b".text"[..], &*section.addresses)
    });
    debug_addresses::encode(&lists.collect::<Vec<_>>())
}

/// The section that lists the offsets in other debug sections.
pub(super) fn offsets(sections: &[Section]) -> Result<Option<Vec<u8>>, AllocError> {
    let lists = sections.iter().flat_map(|section| {
        let debug = debug_addresses::stored_name(section.name);
        section.offsets.iter().map(move |(target, at)| (debug, *target, &at[..]))
    });
    debug_addresses::encode_offsets(&lists.collect::<Vec<_>>())
}
