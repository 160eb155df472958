//! Any text is parsed, with diagnostics that lie in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::source::check_syntax;

fuzz_target!(|text: &str| {
    check_syntax(text);
});
