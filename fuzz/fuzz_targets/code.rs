//! Blocks of code are apart from each other, hold what was written, and are all given back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::coded;

fuzz_target!(|data: &[u8]| coded(data));
