//! Whether a symbol can be made, and of what.

use smf_core::templates::{JitConfig, PossibleEntry};

use crate::build::{SILENT, Spec, loaded};

fn vec() -> [Spec; 1] {
    [Spec::new().template("Vec", "ret 1").possible("Vec", "i64", "fn$Vec$i64")]
}

#[test]
fn nothing_can_be_made_when_switched_off() {
    let (jit, _) = loaded(JitConfig { enabled: false, ..SILENT }, &vec());
    assert!(!jit.can_jit_instantiate(b"fn$Vec$i64"));
}

#[test]
fn an_unknown_symbol_cannot_be_made() {
    let (jit, _) = loaded(SILENT, &vec());
    for symbol in [&b"unknown_symbol"[..], b"", b"fn$Vec$i6", b"fn$Vec$i64 ", b"Vec", b"\xff"] {
        assert!(!jit.can_jit_instantiate(symbol));
    }
}

#[test]
fn a_symbol_of_the_metadata_can_be_made() {
    assert!(loaded(SILENT, &vec()).0.can_jit_instantiate(b"fn$Vec$i64"));
}

#[test]
fn nothing_is_found_for_an_unknown_symbol() {
    assert_eq!(loaded(SILENT, &vec()).0.find_possible(b"unknown_symbol").unwrap(), None);
}

#[test]
fn what_the_metadata_says_is_found() {
    let found = loaded(SILENT, &vec()).0.find_possible(b"fn$Vec$i64").unwrap();
    let expected = PossibleEntry {
        path: b"m0"[..].into(),
        template: "Vec".into(),
        type_args: "i64".into(),
        mangled_name: "fn$Vec$i64".into(),
    };
    assert_eq!(found, Some(expected));
}
