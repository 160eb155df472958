//! Any bytes are an error, or a module that verifies or has a reason not to. This target is fast; the target `walk`
//! checks each part.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use smf_core::format::Smf;

fuzz_target!(|data: &[u8]| {
    if let Ok(smf) = Smf::parse(data) {
        let _ = black_box(smf.verify());
    }
});
