//! Any bytes are refused as a typed body, or have the same result in machine code and in the interpreter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::typed::check_any;

fuzz_target!(|data: &[u8]| {
    check_any(data);
});
