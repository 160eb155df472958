//! The results of a request.

use smf_core::templates::{InstantiateError, JitConfig};

use crate::build::{Directory, SILENT, Spec, instantiator, loaded};
use crate::call_at;

#[test]
fn compiled_instance_is_returned() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "ret 7")]);
    let result = jit.try_jit_instantiate(b"f$i64");
    let instance = result.unwrap();
    assert_eq!(instance.symbol(), b"f$i64");
    assert_eq!(instance.code(), [0xb8, 7, 0, 0, 0, 0xc3]);
    assert_eq!(call_at(instance.address(), &[]), 7);
}

#[test]
fn not_found_error_has_no_instance() {
    let (jit, _) = loaded(SILENT, &[]);
    assert!(jit.try_jit_instantiate(b"f$i64").unwrap_err().instance().is_none());
}

#[test]
fn compilation_error_is_returned_with_its_message() {
    let (jit, _) = loaded(SILENT, &[Spec::new().both("f", "fail type mismatch")]);
    let result = jit.try_jit_instantiate(b"f$i64");
    assert_eq!(result.unwrap_err().to_string(), "cannot instantiate `f$i64`: type mismatch");
}

#[test]
fn circular_dependency_is_returned_with_its_path() {
    let modules = [Spec::new().both("f", "instance g i64").both("g", "instance f i64")];
    let result = loaded(SILENT, &modules).0.try_jit_instantiate(b"f$i64");
    let expected = "circular dependency between instances: `f$i64` -> `g$i64` -> `f$i64`";
    assert_eq!(result.unwrap_err().to_string(), expected);
}

#[test]
fn failed_update_error_contains_the_instance() {
    let (directory, (jit, _)) = (Directory::new("result"), instantiator(JitConfig::default()));
    let path = directory.file("a.smf", &Spec::new().both("f", "ret 3").file());
    jit.load_smf_metadata(&path).unwrap();
    drop(directory);
    let result = jit.try_jit_instantiate(b"f$i64");
    let Err(InstantiateError::UpdateFailed { instance, error }) = result else { panic!() };
    assert_eq!(call_at(instance.address(), &[]), 3);
    assert!(error.to_string().contains("no such file"), "{error}");
}

#[test]
fn unlisted_symbol_is_not_found() {
    let result = loaded(SILENT, &[Spec::new()]).0.try_jit_instantiate(b"missing_symbol");
    assert_eq!(result.unwrap_err().to_string(), "no module lists an instance `missing_symbol`");
}
