//! The cache behaves like a list with the most recently used file in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::cached;

fuzz_target!(|data: &[u8]| cached(data));
