//! Any text is refused, or becomes IR that the verifier accepts and the interpreter runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::source::check_program;

fuzz_target!(|text: &str| {
    check_program(text);
});
