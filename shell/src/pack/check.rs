//! The last step: what `smf verify` checks, on the module that is about to be returned.
//!
//! Whatever makes a module unsound should have been refused before, where the object, the section and the
//! place could be named. This is the net under that.

use ::object::elf::ELFMAG;
use smf_core::format::{SectionKind, Smf, functions};

use super::Options;
use super::error::PackError;
use super::relocate::{Body, Spot, Work};

/// Refuses a module that readers would refuse, or read as another one.
pub(super) fn check(module: &[u8], options: &Options<'_>) -> Result<(), PackError> {
    let smf = Smf::parse(module).map_err(PackError::Unsound)?;
    if smf.layout() != options.layout || smf.base() != options.stub.len() as u64 {
        return Err(PackError::ReadDifferently);
    }
    smf.verify().map_err(PackError::Unsound)?;
    smf.verify_compressed().map_err(PackError::Unsound)
}

/// Refuses code that readers would take for an ELF object or for bytecode, by what it begins with.
pub(super) fn check_code(work: Work<'_, '_>, bodies: &[Body]) -> Result<(), PackError> {
    let Work { program, placement, .. } = work;
    for (home, body) in bodies.iter().enumerate() {
        let is_code = placement.homes.get(home).is_some_and(|home| home.kind == SectionKind::Code);
        let format = match &*body.bytes {
            bytes if bytes.starts_with(&ELFMAG) => "an ELF object",
            bytes if functions::is_bytecode(bytes) => "bytecode",
            _ => continue,
        };
        if !is_code {
            continue;
        }
        let is_first = |spot: Spot| spot.home == home && spot.offset == 0;
        let first = placement.order.iter().copied().find(|id| {
            let has_bytes = program.section(*id).is_some_and(|section| section.size != 0);
            has_bytes && Spot::of(placement.section(program, *id)).is_some_and(is_first)
        });
        let (object, section) = first.map(|id| program.titles(id)).unwrap_or_default();
        return Err(PackError::CodeMagic { object, section, offset: 0, format });
    }
    Ok(())
}
