//! Calls through stubs.
#![allow(unsafe_code)]

use super::*;
use std::format;
use std::sync::Arc;

use crate::alloc_util::TryArc;
use crate::loader::observer::LoadObserver;

/// The name of the module.
fn module() -> Name {
    Name::new(b"module").unwrap()
}

/// A function that returns `value`: `mov eax, value; ret`.
fn function(memory: &CodeMemory, value: u32) -> ExecutableBlock {
    let mut block = memory.allocate(6).unwrap();
    let bytes = block.as_mut_slice();
    bytes[0] = 0xb8;
    bytes[1..5].copy_from_slice(&value.to_le_bytes());
    bytes[5] = 0xc3;
    block.publish().unwrap()
}

fn call(address: u64) -> i64 {
    // SAFETY: a stub of this test, for a function of this test.
    unsafe { crate::trap::call(address, &[]) }.unwrap() & 0xffff_ffff
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn commit_redirects_every_stub() {
    let memory = CodeMemory::default();
    let table = StubTable::new(memory.clone(), None).unwrap();
    let old: Vec<_> = (0..100).map(|value| function(&memory, value)).collect();
    let new: Vec<_> = (0..100).map(|value| function(&memory, 1000 + value)).collect();
    let name = |number: usize| format!("f{number}").into_bytes();
    let in_version = |version: u32, block: &ExecutableBlock| {
        let address = block.address() as u64;
        move |present| (present == version).then_some(address)
    };
    let stub = |number: usize| table.stub(&module(), &name(number), in_version(0, &old[number]));
    let stubs: Vec<u64> = (0..100).map(|number| stub(number).unwrap()).collect();
    for (number, address) in stubs.iter().enumerate() {
        assert_eq!(call(*address), number as i64);
        assert_eq!(stub(number), Ok(*address), "one stub a name");
    }
    let number_of = |name: &[u8]| std::str::from_utf8(&name[1..]).unwrap().parse::<usize>();
    let found = |name: &[u8]| Some(new[number_of(name).unwrap()].address() as u64);
    drop(table.prepare(&module(), found).unwrap());
    assert_eq!(call(stubs[7]), 7);
    let tables = table.prepare(&module(), found).unwrap().commit();
    assert_eq!(tables.len(), 4 + 1, "of 0, 16, 32 and 64 entries, and the last");
    for (number, address) in stubs.iter().enumerate() {
        assert_eq!(call(*address), 1000 + number as i64);
    }
    assert_eq!(table.stub(&module(), b"later", in_version(1, &old[3])).map(call), Ok(3));
    assert_eq!(
        table.stub(&module(), b"new", in_version(0, &old[3])),
        Err(LoadError::Changed { module: module() })
    );
    assert_eq!(table.stub(&module(), b"f3", in_version(0, &old[3])).map(call), Ok(1003));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn prepare_refuses_a_removed_function() {
    let memory = CodeMemory::default();
    let table = StubTable::new(memory.clone(), None).unwrap();
    let (old, new) = (function(&memory, 1), function(&memory, 2));
    let stub = table.stub(&module(), b"stays", |_| Some(old.address() as u64)).unwrap();
    table.stub(&module(), b"goes", |_| Some(old.address() as u64)).unwrap();
    let found = |name: &[u8]| (name == b"stays").then_some(new.address() as u64);
    let error = table.prepare(&module(), found).err();
    assert!(
        matches!(error, Some(LoadError::FunctionRemoved { symbol, .. }) if format!("{symbol}") == "goes")
    );
    assert_eq!(call(stub), 1);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn stub_of_the_next_version_leads_there_after_the_commit() {
    let memory = CodeMemory::default();
    let table = StubTable::new(memory.clone(), None).unwrap();
    let (old, new) = (function(&memory, 1), function(&memory, 2));
    let uncommitted = table.next_version_stub(&module(), b"a").unwrap();
    let found = |name: &[u8]| (name == b"b").then_some(new.address() as u64);
    table.prepare(&module(), found).unwrap().commit();
    let stub = table.stub(&module(), b"a", |_| Some(old.address() as u64)).unwrap();
    assert_eq!((stub, call(stub)), (uncommitted, 1));
    let committed = table.next_version_stub(&module(), b"b").unwrap();
    let found = |_: &[u8]| Some(new.address() as u64);
    table.prepare(&module(), found).unwrap().commit();
    assert_eq!((call(committed), call(stub)), (2, 2));
}

/// Counts the registered stubs.
#[derive(Default)]
struct Stubs(Arc<AtomicU64>);

struct OneStub(Arc<AtomicU64>);

impl Drop for OneStub {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl crate::codegen::registry::CodeRegistry for Stubs {}

impl LoadObserver for Stubs {
    fn on_load(&self, _: &[u8], _: &crate::link::Module<'_>) -> crate::alloc_util::AttachResult {
        Ok(None)
    }

    fn on_stub(&self, code: core::ops::Range<usize>) -> crate::alloc_util::AttachResult {
        assert_eq!((code.start % 16, code.len()), (0, stub::LEN));
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Box::new(OneStub(self.0.clone()))))
    }
}

#[test]
fn stub_is_registered_as_long_as_it_exists() {
    let (memory, count) = (CodeMemory::default(), Arc::new(AtomicU64::new(0)));
    let observer: Box<dyn LoadObserver> = Box::new(Stubs(count.clone()));
    let table = StubTable::new(memory.clone(), Some(TryArc::new(observer).unwrap())).unwrap();
    let target = function(&memory, 1);
    for name in [b"a", b"b", b"a"] {
        table.stub(&module(), name, |_| Some(target.address() as u64)).unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
    drop(table);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
