//! Calls the resolvers of indirect functions. See [`ifunc`] for their form in the file.
#![allow(unsafe_code)]

use super::error::{LinkError, Result};
use super::layout::ImageLayout;
use super::module::Module;
use crate::format::ext::ifunc;
use crate::format::{Arch, Smf};
use crate::trap::call;

/// The bit of a resolver's first argument on aarch64 that says that there is a second one (`_IFUNC_ARG_HWCAP`).
const HAS_SECOND_ARGUMENT: u64 = 1 << 62;

/// The second argument of a resolver on aarch64: the structure `__ifunc_arg_t` of `<sys/ifunc.h>`.
#[repr(C)]
struct ResolverArgument {
    size: u64,
    hwcap: [u64; 2],
}

/// The address of the slots of a module that imports [`ifunc::NAME`].
///
/// # Errors
/// [`LinkError::IndirectFunctions`] for another machine, or without a section of slots.
#[cold]
pub(super) fn slots(smf: &Smf<'_>, layout: &ImageLayout<'_>, base: u64) -> Result<u64> {
    let start = ifunc::section(smf).and_then(|section| layout.section(section.index));
    start.map(|start| base.wrapping_add(start)).ok_or(LinkError::IndirectFunctions)
}

impl Module<'_> {
    /// Calls the resolver of every indirect function of the module. All modules that it imports from are linked.
    ///
    /// # Errors
    /// [`LinkError::IndirectFunction`]: a slot does not hold an address in the code of the module, or its resolver
    /// returns no address.
    pub(crate) fn resolve_indirect_functions(&self) -> Result<()> {
        let linked = self.linked();
        let Some(section) = ifunc::section(linked) else { return Ok(()) };
        if !linked.symbols().has_import(&[ifunc::NAME]) {
            return Ok(());
        }
        let Some(start) = self.exports.section(section.index) else { return Ok(()) };
        let hwcap = self.resources.services.hardware_capabilities();
        let second = ResolverArgument { size: size_of::<ResolverArgument>() as u64, hwcap };
        let second_address = (&raw const second).expose_provenance() as i64;
        let both = [(hwcap[0] | HAS_SECOND_ARGUMENT).cast_signed(), second_address];
        let is_aarch64 = linked.header().arch == Arch::AARCH64;
        let arguments = if is_aarch64 { &both[..] } else { &[] };
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
            // imports from. That a resolver is there, which takes these arguments, is part of the trusted machine code.
            let address = unsafe { call(resolver, arguments) }.map_or(0, i64::cast_unsigned);
            if address == 0 {
                return Err(error);
            }
            // SAFETY: as for the read.
            unsafe { slot.write(address) };
        }
        Ok(())
    }
}
