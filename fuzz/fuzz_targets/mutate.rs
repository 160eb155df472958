//! A sample with some of its bytes changed is an error or a module, and nothing in between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::mutated;

fuzz_target!(|data: &[u8]| mutated(data));
