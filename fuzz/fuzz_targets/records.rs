//! Any template section is refused, or its records and source texts become code, or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::records::check_templates;

fuzz_target!(|payload: &[u8]| {
    check_templates(payload);
});
