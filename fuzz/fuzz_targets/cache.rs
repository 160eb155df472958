//! Operations on a cache, compared with a list in the order of use.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::play::cached;

fuzz_target!(|data: &[u8]| cached(data));
