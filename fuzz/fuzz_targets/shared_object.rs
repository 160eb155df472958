//! Any bytes are refused with an offset, or accepted as a shared object for a named machine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::FormatError;
use smf_core::format::error::SharedObjectError;
use smf_core::format::shared_object::{MIN_PAGE_SIZE, check};

fuzz_target!(|data: &[u8]| {
    for page_size in [MIN_PAGE_SIZE, 1 << 16] {
        match check(data, page_size) {
            Ok(target) => assert!(data.len() >= 52 && !target.to_string().is_empty()),
            Err(FormatError::SharedObject(SharedObjectError { at, .. })) => {
                assert!(at <= data.len() as u64)
            }
            Err(other) => panic!("{other}"),
        }
    }
});
