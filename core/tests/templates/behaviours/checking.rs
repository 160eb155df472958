//! Queries whether a symbol can be instantiated, and from which template.

use smf_core::templates::{JitConfig, PossibleEntry};

use crate::build::{SILENT, Spec, loaded};

fn vec() -> [Spec; 1] {
    [Spec::new().template("Vec", "ret 1").possible("Vec", "i64", "fn$Vec$i64")]
}

#[test]
fn disabled_instantiator_can_instantiate_nothing() {
    let (jit, _) = loaded(JitConfig { enabled: false, ..SILENT }, &vec());
    assert!(!jit.can_jit_instantiate(b"fn$Vec$i64"));
}

#[test]
fn unlisted_symbol_cannot_be_instantiated() {
    let (jit, _) = loaded(SILENT, &vec());
    for symbol in [&b"unknown_symbol"[..], b"", b"fn$Vec$i6", b"fn$Vec$i64 ", b"Vec", b"\xff"] {
        assert!(!jit.can_jit_instantiate(symbol));
    }
}

#[test]
fn listed_symbol_can_be_instantiated() {
    assert!(loaded(SILENT, &vec()).0.can_jit_instantiate(b"fn$Vec$i64"));
}

#[test]
fn unlisted_symbol_has_no_entry() {
    assert_eq!(loaded(SILENT, &vec()).0.find_possible(b"unknown_symbol").unwrap(), None);
}

#[test]
fn listed_symbol_has_its_entry() {
    let found = loaded(SILENT, &vec()).0.find_possible(b"fn$Vec$i64").unwrap();
    let expected = PossibleEntry {
        path: b"m0"[..].into(),
        template: "Vec".into(),
        type_args: "i64".into(),
        mangled_name: "fn$Vec$i64".into(),
    };
    assert_eq!(found, Some(expected));
}
