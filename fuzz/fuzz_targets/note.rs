//! Any text is an error or a note whose every cell lies inside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::note::Note;
use smf_tests::walk::walk_note;

fuzz_target!(|data: &[u8]| {
    if let Ok(note) = Note::parse(data, 0) {
        walk_note(&note, data);
    }
});
