//! Any bytes are an error, or a program that returns, traps or can be interrupted. A program on objects that is drawn
//! from the bytes runs as in an interpreter that is slow and simple.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::bytecode::{check_any, check_objects};

fuzz_target!(|data: &[u8]| {
    check_any(data);
    check_objects(data);
});
