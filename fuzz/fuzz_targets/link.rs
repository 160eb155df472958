//! A mutated sample is linked with imports at any address, or is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::linked;

fuzz_target!(|data: &[u8]| linked(data));
