//! Functions and memory of the process, as executed functions use them.
#![allow(unsafe_code)]

use smf_core::exec::ExternalFunctions;

use crate::values::{ArgumentMemory, little_endian};

/// The functions of the host.
pub(crate) type Resolver = dyn ExternalFunctions + Send + Sync;

/// The text whose address and length are at the address of a result.
///
/// # Safety
/// As of [`text`], for what the memory has there.
pub(crate) unsafe fn text_result(memory: &mut ArgumentMemory, at: u64) -> String {
    const WORD: usize = size_of::<u64>();
    let [address, length] = [0, WORD].map(|offset| {
        memory.bytes_at(at + offset as u64, WORD).map_or(0, |bytes| little_endian(bytes))
    });
    // SAFETY: the caller's contract.
    unsafe { text(address, length) }
}

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
