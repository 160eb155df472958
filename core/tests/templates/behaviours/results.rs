//! The kinds of results.

use smf_core::templates::{JitConfig, JitResult};

use crate::build::{Directory, SILENT, Spec, instantiator, loaded};
use crate::call_at;

#[test]
fn success_is_success() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "ret 7")]);
    let result = jit.try_jit_instantiate(b"f$i64");
    assert!(result.is_success() && !result.is_error());
    let JitResult::Success(instance) = result else { panic!() };
    assert_eq!(instance.symbol(), b"f$i64");
    assert_eq!(instance.code(), [0xb8, 7, 0, 0, 0, 0xc3]);
    assert_eq!(call_at(instance.address(), &[]), 7);
}

#[test]
fn a_result_without_an_instance_has_no_address() {
    let (jit, _) = loaded(SILENT, &[]);
    assert!(jit.try_jit_instantiate(b"f$i64").instance().is_none());
}

#[test]
fn a_compilation_error_is_an_error() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "fail type mismatch")]);
    let result = jit.try_jit_instantiate(b"f$i64");
    assert!(!result.is_success() && result.is_error());
    assert_eq!(result.to_string(), "cannot make `f$i64`: type mismatch");
}

#[test]
fn a_circular_dependency_is_an_error() {
    let modules = [Spec::new().both("f", "instance g i64").both("g", "instance f i64")];
    let result = loaded(SILENT, &modules).0.try_jit_instantiate(b"f$i64");
    assert!(result.is_error() && !result.is_success());
    let expected = "instances need each other in a circle: `f$i64` -> `g$i64` -> `f$i64`";
    assert_eq!(result.to_string(), expected);
}

#[test]
fn a_failed_update_is_an_error_and_has_the_code() {
    let (directory, (jit, _)) = (Directory::new("result"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 3").file());
    jit.load_smf_metadata(&path).unwrap();
    drop(directory);
    let result = jit.try_jit_instantiate(b"f$i64");
    assert!(result.is_error() && !result.is_success());
    let JitResult::UpdateFailed { instance, error } = result else { panic!() };
    assert_eq!(call_at(instance.address(), &[]), 3);
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[test]
fn not_found_is_neither_success_nor_error() {
    let result = loaded(SILENT, &[Spec::new()]).0.try_jit_instantiate(b"missing_symbol");
    assert!(!result.is_success() && !result.is_error());
    assert_eq!(result.to_string(), "no module says how to make `missing_symbol`");
}
