//! `smf note`, and the notes and templates that `smf inspect` shows.

use std::fs;

use serde_json::Value;

use super::{contains, fails, inspected, ok, sample};

#[test]
fn note_is_printed_as_text_and_as_json() {
    let file = fs::read(sample("note-zero-size.smf")).unwrap();
    let note = ok(&["note", "note-zero-size.smf"]);
    assert!(file.windows(note.len()).any(|window| window == note.as_bytes()));
    contains(&note, &["possible |", "# END_NOTE"]);
    let shown: Value = serde_json::from_str(&ok(&["note", "--json", "driver.smf"])).unwrap();
    assert_eq!(shown, inspected("driver.smf")["note"]);
    assert_eq!(shown["possible"][0]["template"], "Map");
    contains(&fails(&["note", "packed.smf"]), &["no note.sdn"]);
    contains(&fails(&["note", "--json", "packed.smf"]), &["no note.sdn"]);
}

#[test]
fn compressed_notes_and_templates_are_decompressed() {
    for file in ["compressed-zstd.smf", "compressed-lz4.smf"] {
        contains(
            &ok(&["note", file]),
            &["possible |id, template,", "\"fn$List$Int5\"", "# END_NOTE"],
        );
        let shown: Value = serde_json::from_str(&ok(&["note", "--json", file])).unwrap();
        assert_eq!(shown, inspected(file)["note"]);
        assert_eq!(shown["possible"][5]["mangled_name"], "fn$List$Int5");
        assert_eq!(inspected(file)["templates"][3]["name"], "identity_of_everything");
        contains(&ok(&["inspect", file]), &["identity_of_everything", "fn$List$Int5"]);
    }
}
