//! Any bytes are an error or a module that verifies or says why not. As fast as can be: what is asserted
//! of each part is a target of its own, `walk`.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use smf_core::format::Smf;

fuzz_target!(|data: &[u8]| {
    if let Ok(smf) = Smf::parse(data) {
        let _ = black_box(smf.verify());
    }
});
