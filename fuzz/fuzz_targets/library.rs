//! Any bytes are an error or an archive whose every module lies inside them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::Library;
use smf_tests::walk::walk_library;

fuzz_target!(|data: &[u8]| {
    if let Ok(library) = Library::parse(data) {
        walk_library(&library, data);
    }
});
