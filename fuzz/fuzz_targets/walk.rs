//! Any bytes are an error or a module whose every part lies inside them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::Smf;
use smf_tests::walk::walk;

fuzz_target!(|data: &[u8]| {
    if let Ok(smf) = Smf::parse(data) {
        walk(&smf);
    }
});
