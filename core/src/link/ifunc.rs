//! Calls the resolvers of indirect functions. See [`ifunc`] for their form in the file.
#![allow(unsafe_code)]

use super::error::{LinkError, Result};
use super::layout::ImageLayout;
use super::module::Module;
use crate::format::ext::ifunc;
use crate::format::{Arch, Section, SectionKind, Smf};
use crate::trap::call;

/// The address of the slots of a module that imports [`ifunc::NAME`].
///
/// # Errors
/// [`LinkError::IndirectFunctions`] for another machine, or without a section of slots.
#[cold]
pub(super) fn slots(smf: &Smf<'_>, layout: &ImageLayout<'_>, base: u64) -> Result<u64> {
    let section = section(smf).filter(|_| smf.header().arch == Arch::X86_64);
    let start = section.and_then(|section| layout.section(section.index));
    start.map(|start| base.wrapping_add(start)).ok_or(LinkError::IndirectFunctions)
}

/// The section of the slots: data, of which every byte comes from the file.
pub(super) fn section<'d>(smf: &Smf<'d>) -> Option<Section<'d>> {
    let section = smf.sections().named(ifunc::SECTION)?;
    let size = section.virtual_size;
    let is_valid = section.kind == SectionKind::Data
        && section.data.len() as u64 == size
        && size.is_multiple_of(ifunc::SLOT)
        && section.alignment >= ifunc::SLOT;
    Some(section).filter(|_| is_valid)
}

impl Module<'_> {
    /// Calls the resolver of every indirect function of the module. All modules that it imports from are linked.
    ///
    /// # Errors
    /// [`LinkError::IndirectFunction`]: a slot does not hold an address in the code of the module, or its resolver
    /// returns no address.
    pub(crate) fn resolve_indirect_functions(&self) -> Result<()> {
        let linked = self.linked();
        let Some(section) = section(linked) else { return Ok(()) };
        let is_needed = |symbol: crate::format::Symbol<'_>| symbol.name() == ifunc::NAME;
        if !linked.symbols().iter().map_while(Result::ok).any(is_needed) {
            return Ok(());
        }
        let Some(start) = self.exports.section(section.index) else { return Ok(()) };
        for (index, at) in (0u64..).zip((0..section.virtual_size).step_by(ifunc::SLOT as usize)) {
            let error = LinkError::IndirectFunction { index };
            let slot = start.checked_add(at).filter(|slot| self.contains(*slot));
            let Some(slot) = slot.and_then(|slot| usize::try_from(slot).ok()) else {
                return Err(error);
            };
            let slot = core::ptr::with_exposed_provenance_mut::<u64>(slot);
            // SAFETY: the slot is an aligned word of a writable section of this module, whose pages are exposed and
            // live; no other code uses the module yet.
            let resolver = unsafe { slot.read() };
            let is_code =
                usize::try_from(resolver).is_ok_and(|at| self.code().any(|c| c.contains(&at)));
            if !is_code {
                return Err(error);
            }
            // SAFETY: the address lies in the executable pages of this module, which is linked, and so is what it
            // imports from. That a function without arguments is there is part of the trusted machine code.
            let address = unsafe { call(resolver, &[]) }.map(i64::cast_unsigned).unwrap_or(0);
            if address == 0 {
                return Err(error);
            }
            // SAFETY: as for the read.
            unsafe { slot.write(address) };
        }
        Ok(())
    }
}
