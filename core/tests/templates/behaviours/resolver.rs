//! The resolver.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator, JitSymbolResolver};

use crate::build::{Directory, SILENT, Spec, instantiator, loaded};
use crate::call_at;

fn resolver(modules: &[Spec]) -> (JitSymbolResolver, Arc<AtomicU32>) {
    let (jit, count) = loaded(SILENT, modules);
    (JitSymbolResolver::new(jit), count)
}

#[test]
fn new_resolver_is_empty() {
    let resolver = JitSymbolResolver::new(
        JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap(),
    );
    assert_eq!(resolver.instantiator().stats().loaded_smf_count, 0);
    assert!(resolver.instantiator().config().enabled);
}

#[test]
fn registered_symbol_is_resolved() {
    let (resolver, _) = resolver(&[]);
    assert_eq!(resolver.register(b"known_symbol", 0x1000).unwrap(), None);
    assert_eq!(resolver.resolve(b"known_symbol"), Some(0x1000));
}

#[test]
fn many_registered_symbols_are_resolved() {
    let (resolver, _) = resolver(&[]);
    for number in 0..100u64 {
        resolver.register(format!("s{number}").as_bytes(), 0x1000 + number).unwrap();
    }
    assert_eq!(resolver.resolve(b"s0"), Some(0x1000));
    assert_eq!(resolver.resolve(b"s99"), Some(0x1063));
}

#[test]
fn second_registration_overwrites() {
    let (resolver, _) = resolver(&[Spec::new().both("f", "ret 1")]);
    resolver.register(b"f", 0x1000).unwrap();
    assert_eq!(resolver.register(b"f", 0x2000).unwrap(), Some(0x1000));
    assert_eq!(resolver.resolve(b"f"), Some(0x2000));
    // Also an instance.
    assert!(resolver.resolve(b"f$i64").is_some_and(|made| made != 0x3000));
    assert_eq!(resolver.register(b"f$i64", 0x3000).unwrap(), None);
    assert_eq!(resolver.resolve(b"f$i64"), Some(0x3000));
}

#[test]
fn unknown_symbol_is_not_resolved() {
    assert_eq!(resolver(&[Spec::new()]).0.resolve(b"unknown_symbol"), None);
}

#[test]
fn missing_symbol_is_instantiated() {
    let (resolver, count) = resolver(&[Spec::new().both("f", "ret 5")]);
    assert_eq!(call_at(resolver.resolve(b"f$i64").unwrap(), &[]), 5);
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn repeated_lookup_compiles_once() {
    let (resolver, count) = resolver(&[Spec::new().both("f", "ret 5")]);
    let addresses = [(); 3].map(|()| resolver.resolve(b"f$i64"));
    assert!(addresses[0].is_some() && addresses.iter().all(|other| *other == addresses[0]));
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn failed_instance_is_not_resolved() {
    let (resolver, count) = resolver(&[Spec::new().both("f", "fail why")]);
    assert_eq!([(); 3].map(|()| resolver.resolve(b"f$i64")), [None; 3]);
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn resolver_loads_modules() {
    let directory = Directory::new("resolver");
    let (jit, _) = instantiator(SILENT);
    let resolver = JitSymbolResolver::new(jit);
    resolver
        .instantiator()
        .load_smf_metadata(&directory.file("a.smf", &Spec::new().both("f", "ret 5").file()))
        .unwrap();
    assert_eq!(call_at(resolver.resolve(b"f$i64").unwrap(), &[]), 5);
}

#[test]
fn malformed_module_is_refused() {
    let directory = Directory::new("resolver-error");
    let (resolver, _) = resolver(&[]);
    assert!(resolver.instantiator().load_smf_metadata(b"/nonexistent/a.smf").is_err());
    let error = resolver
        .instantiator()
        .load_smf_metadata(&directory.file("a.smf", b"not a module"))
        .unwrap_err();
    assert!(error.to_string().starts_with("not an SMF file"), "{error}");
    assert_eq!(resolver.instantiator().stats().loaded_smf_count, 0);
}
