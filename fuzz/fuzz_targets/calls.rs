//! Calls of the C API in any order have the results of a naive model.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::calls::called;

fuzz_target!(|data: &[u8]| called(data));
