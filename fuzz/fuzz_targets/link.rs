//! A sample, changed, is linked with imports at whatever address, or is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::linked;

fuzz_target!(|data: &[u8]| linked(data));
