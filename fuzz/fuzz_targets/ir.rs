//! Any bytes are refused as an IR function, or have the same result in machine code and in the interpreter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::ir::check_any;

fuzz_target!(|data: &[u8]| {
    check_any(data);
});
