//! Indirect functions (IFUNC): functions whose address a resolver in the module returns when the module is loaded.
//!
//! The writable section [`SECTION`] holds one 64-bit slot for each of them. Relocations write the address of the
//! resolver into the slot; once all modules that are loaded together are relocated, and before their constructors run,
//! the loader calls each resolver and writes its result into the slot. Code reaches the function through the slot
//! alone. Resolvers take the arguments that the system's loader passes on their machine: none on x86-64, and the hardware
//! capabilities on aarch64. The module imports [`NAME`], which nothing defines, so that other readers refuse it.

use crate::format::error::{ExtensionError, Result, ensure};
use crate::format::model::{Arch, IFUNC_SLOTS, SectionKind};
use crate::format::read::{Section, Smf};

/// The import of a module with indirect functions. Its address is that of the section.
pub const NAME: &[u8] = b"__smf_requires_ifunc";

/// The section of the slots. It is never compressed.
pub const SECTION: &[u8] = IFUNC_SLOTS;

/// Bytes of a slot.
pub const SLOT: u64 = 8;

/// The section of the slots: data, of which every byte comes from the file, of a machine with indirect functions.
pub(crate) fn section<'d>(smf: &Smf<'d>) -> Option<Section<'d>> {
    let section = smf.sections().named(SECTION)?;
    let size = section.virtual_size;
    let is_valid = section.kind == SectionKind::Data
        && section.data.len() as u64 == size
        && size.is_multiple_of(SLOT)
        && section.alignment >= SLOT
        && [Arch::X86_64, Arch::AARCH64].contains(&smf.header().arch);
    Some(section).filter(|_| is_valid)
}

/// Checks that a module with indirect functions has slots for them.
///
/// # Errors
/// [`ExtensionError::IndirectFunctions`].
pub(crate) fn check(smf: &Smf<'_>) -> Result<()> {
    let is_valid = !smf.symbols().has_import(&[NAME]) || section(smf).is_some();
    let at = smf.sections().named(SECTION).map_or(smf.header_offset, |slots| slots.entry_offset);
    Ok(ensure(is_valid, ExtensionError::IndirectFunctions { at })?)
}
