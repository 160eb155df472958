//! Instantiation.

use std::sync::atomic::Ordering::Relaxed;

use smf_core::templates::{InstantiateError, JitConfig};

use crate::build::{SILENT, Spec, loaded};
use crate::call_at;

#[test]
fn disabled_instantiator_returns_not_found() {
    let modules = [Spec::new().both("f", "ret 1")];
    let (jit, count) = loaded(JitConfig { enabled: false, ..SILENT }, &modules);
    let result = jit.try_jit_instantiate(b"f$i64");
    let Err(InstantiateError::NotFound { symbol }) = result else { panic!("{result:?}") };
    assert_eq!((&*symbol, count.load(Relaxed)), (&b"f$i64"[..], 0));
}

#[test]
fn dependency_depth_is_limited() {
    let modules =
        [Spec::new().both("a", "instance b i64").both("b", "instance c i64").both("c", "ret 9")];
    let (jit, _) = loaded(JitConfig { max_depth: 2, ..SILENT }, &modules);
    let result = jit.try_jit_instantiate(b"a$i64");
    let Err(InstantiateError::Failed(failure)) = &result else { panic!("{result:?}") };
    assert_eq!(failure.kind.to_string(), "Maximum JIT depth (2) exceeded");
    let text =
        "cannot instantiate `a$i64`: required instance `c$i64`: Maximum JIT depth (2) exceeded";
    assert_eq!(result.unwrap_err().to_string(), text);
    // The limit is not a property of the instances: requests in two steps succeed.
    assert!(jit.try_jit_instantiate(b"b$i64").is_ok());
    let address = jit.try_jit_instantiate(b"a$i64").unwrap().address();
    assert_eq!(call_at(address, &[]), 9);
}

#[test]
fn repeated_request_returns_the_same_instance() {
    let (jit, count) = loaded(SILENT, &[Spec::new().both("f", "ret 1")]);
    let [first, second] = [(); 2].map(|()| jit.try_jit_instantiate(b"f$i64").unwrap().clone());
    assert_eq!((first.address(), first.code()), (second.address(), second.code()));
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn circular_dependency_lists_its_path() {
    let modules = [Spec::new()
        .both("start", "instance a i64")
        .both("a", "instance b i64")
        .both("b", "instance c i64")
        .both("c", "instance a i64")
        .both("down", "down")];
    let (jit, _) = loaded(SILENT, &modules);
    let result = jit.try_jit_instantiate(b"start$i64");
    let Err(InstantiateError::CircularDependency { cycle }) = result else { panic!("{result:?}") };
    let cycle: Vec<_> = cycle.iter().map(|symbol| std::str::from_utf8(symbol).unwrap()).collect();
    assert_eq!(cycle, ["a$i64", "b$i64", "c$i64", "a$i64"]);
    // Direct recursion is not a cycle.
    let down = jit.try_jit_instantiate(b"down$i64");
    assert_eq!(call_at(down.as_ref().unwrap().address(), &[1000]), 1000);
    assert_eq!(jit.stats().cached_count, 1);
}

#[test]
fn unknown_symbol_is_not_found() {
    let result = loaded(SILENT, &[Spec::new()]).0.try_jit_instantiate(b"unknown");
    let Err(InstantiateError::NotFound { symbol }) = result else { panic!("{result:?}") };
    assert_eq!(&*symbol, b"unknown");
}
