//! Verifies the finished module, as `smf verify` does.
//!
//! Earlier steps refuse malformed input with a better message; this check covers what they miss.

use ::object::elf::ELFMAG;
use smf_core::format::{SectionKind, Smf, functions};

use super::error::PackError;
use super::options::Options;
use super::relocate::{OutputOffset, RelocateInput, SectionData};

/// Refuses a module that readers would refuse or misread.
pub(super) fn check(module: &[u8], options: &Options<'_>) -> Result<(), PackError> {
    let smf = Smf::parse(module).map_err(PackError::Unsound)?;
    if smf.layout() != options.layout || smf.base() != options.stub.len() as u64 {
        return Err(PackError::ReadDifferently);
    }
    smf.verify().map_err(PackError::Unsound)?;
    smf.verify_compressed().map_err(PackError::Unsound)
}

/// Refuses code that starts with the magic number of ELF or bytecode.
pub(super) fn check_code(
    input: RelocateInput<'_, '_>,
    contents: &[SectionData],
) -> Result<(), PackError> {
    let RelocateInput { program, addresses, .. } = input;
    for (output, data) in contents.iter().enumerate() {
        let is_code =
            addresses.outputs.get(output).is_some_and(|output| output.kind == SectionKind::Code);
        let format = match &*data.bytes {
            bytes if bytes.starts_with(&ELFMAG) => "an ELF object",
            bytes if functions::is_bytecode(bytes) => "bytecode",
            _ => continue,
        };
        if !is_code {
            continue;
        }
        let is_first = |at: OutputOffset| at.output == output && at.offset == 0;
        let first = addresses.order.iter().copied().find(|id| {
            let has_bytes = program.section(*id).is_some_and(|section| section.size != 0);
            has_bytes && OutputOffset::of(addresses.section(program, *id)).is_some_and(is_first)
        });
        let (object, section) = first.map(|id| program.titles(id)).unwrap_or_default();
        return Err(PackError::CodeMagic { object, section, offset: 0, format });
    }
    Ok(())
}
