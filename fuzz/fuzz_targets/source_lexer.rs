//! The tokens of any text are its bytes, each once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::source::check_tokens;

fuzz_target!(|text: &str| {
    check_tokens(text);
});
