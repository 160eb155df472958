//! A mutated sample is an error or a module.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::mutated;

fuzz_target!(|data: &[u8]| mutated(data));
