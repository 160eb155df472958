//! Verifies the finished module, as `smf verify` does.
//!
//! Earlier steps refuse malformed input with a better message; this check covers what they miss.

use ::object::elf::ELFMAG;
use smf_core::format::{SectionKind, Smf, functions};

use super::error::{PackError, Result};
use super::layout::ModuleLayout;
use super::options::Options;
use super::relocate::{OutputOffset, SectionData};

/// Refuses a module that readers would refuse or misread.
pub(super) fn check(module: &[u8], options: &Options<'_>) -> Result<()> {
    let smf = Smf::parse(module).map_err(PackError::Unsound)?;
    if smf.layout() != options.layout || smf.base() != options.stub.len() as u64 {
        return Err(PackError::ReadDifferently);
    }
    smf.verify().map_err(PackError::Unsound)?;
    smf.verify_compressed().map_err(PackError::Unsound)
}

/// Refuses code that starts with the magic number of ELF or bytecode.
pub(super) fn check_code(
    addresses: &ModuleLayout<'_, '_>,
    contents: &[SectionData<'_>],
) -> Result<()> {
    let program = addresses.program;
    for (number, (output, data)) in addresses.outputs.iter().zip(contents).enumerate() {
        let format = match &*data.bytes {
            _ if output.kind != SectionKind::Code => continue,
            bytes if bytes.starts_with(&ELFMAG) => "an ELF object",
            bytes if functions::is_bytecode(bytes) => "bytecode",
            _ => continue,
        };
        let is_first = |at: OutputOffset| at.output == number && at.offset == 0;
        let first = addresses.order.iter().copied().find(|id| {
            let has_bytes = program.section(*id).is_some_and(|section| section.size != 0);
            has_bytes && OutputOffset::of(addresses.section(*id)).is_some_and(is_first)
        });
        let place = first.map(|id| program.place(id)).unwrap_or_default();
        return Err(PackError::CodeMagic { place, offset: 0, format });
    }
    Ok(())
}
