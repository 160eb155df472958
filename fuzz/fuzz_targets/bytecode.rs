//! Any bytes are an error, or a program that returns, traps or can be interrupted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::bytecode::check_any;

fuzz_target!(|data: &[u8]| {
    check_any(data);
});
