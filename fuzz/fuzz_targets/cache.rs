//! What the cache does is what a list does, the file that was used last in front.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::cached;

fuzz_target!(|data: &[u8]| cached(data));
