//! Functions and memory of the process, as executed functions use them.
#![allow(unsafe_code)]

use smf_core::exec::ExternalFunctions;

/// The functions of the host.
pub(crate) type Resolver = dyn ExternalFunctions + Send + Sync;

/// The text at an address.
///
/// # Safety
/// There are `length` bytes at `address`, unless `length` is 0.
pub(super) unsafe fn text(address: u64, length: u64) -> String {
    let (Ok(address), Ok(length @ 1..)) = (usize::try_from(address), usize::try_from(length))
    else {
        return String::new();
    };
    // SAFETY: the caller's contract.
    let bytes = unsafe {
        std::slice::from_raw_parts(std::ptr::with_exposed_provenance::<u8>(address), length)
    };
    String::from_utf8_lossy(bytes).into_owned()
}
