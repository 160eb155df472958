//! Blocks of code do not overlap, hold the written bytes, and are all freed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::coded;

fuzz_target!(|data: &[u8]| coded(data));
