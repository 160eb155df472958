//! The reader reads every module that the writer writes from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::Smf;
use smf_tests::spec::{Spec, is_ambiguous};

fuzz_target!(|data: &[u8]| {
    let spec = Spec::draw(data);
    let file = spec.write();
    if !is_ambiguous(spec.layout(), &file) {
        spec.assert_read(&Smf::parse(&file).expect("the writer made it"));
    }
});
