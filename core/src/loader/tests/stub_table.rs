//! Stubs are called, so this is where entry points meet machine code.
#![allow(unsafe_code)]

use super::*;
use std::format;
use std::sync::Arc;

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
    // SAFETY: a stub of this test, which leads to a function of this test.
    unsafe { crate::link::call(address, &[]) }.unwrap() & 0xffff_ffff
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn stubs_follow_the_table_in_one_step() {
    let memory = CodeMemory::default();
    let entries = StubTable::new(memory.clone(), None).unwrap();
    let old: Vec<_> = (0..100).map(|value| function(&memory, value)).collect();
    let new: Vec<_> = (0..100).map(|value| function(&memory, 1000 + value)).collect();
    let name = |number: usize| format!("f{number}").into_bytes();
    let in_version = |version: u32, block: &ExecutableBlock| {
        let address = block.address() as u64;
        move |present| (present == version).then_some(address)
    };
    let stub = |number: usize| entries.stub(&name(number), in_version(0, &old[number]));
    let stubs: Vec<u64> = (0..100).map(|number| stub(number).unwrap()).collect();
    for (number, address) in stubs.iter().enumerate() {
        assert_eq!(call(*address), number as i64);
        assert_eq!(stub(number), Ok(*address), "one stub a name");
    }
    let number_of = |name: &[u8]| std::str::from_utf8(&name[1..]).unwrap().parse::<usize>();
    let found = |name: &[u8]| Some(new[number_of(name).unwrap()].address() as u64);
    let given_up = entries.prepare(found).unwrap();
    drop(given_up);
    assert_eq!(call(stubs[7]), 7);
    let tables = entries.prepare(found).unwrap().commit();
    assert_eq!(tables.len(), 4 + 1, "of 0, 16, 32 and 64 entries, and the last");
    for (number, address) in stubs.iter().enumerate() {
        assert_eq!(call(*address), 1000 + number as i64);
    }
    assert_eq!(entries.stub(b"later", in_version(1, &old[3])).map(call), Ok(3));
    assert_eq!(entries.stub(b"new", in_version(0, &old[3])), Err(Refusal::Changed));
    assert_eq!(entries.stub(b"f3", in_version(0, &old[3])).map(call), Ok(1003));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn a_function_that_is_gone_changes_nothing() {
    let memory = CodeMemory::default();
    let entries = StubTable::new(memory.clone(), None).unwrap();
    let (old, new) = (function(&memory, 1), function(&memory, 2));
    let stub = entries.stub(b"stays", |_| Some(old.address() as u64)).unwrap();
    entries.stub(b"goes", |_| Some(old.address() as u64)).unwrap();
    let found = |name: &[u8]| (name == b"stays").then_some(new.address() as u64);
    let refusal = entries.prepare(found).err();
    assert!(matches!(refusal, Some(Refusal::Gone { symbol }) if format!("{symbol}") == "goes"));
    assert_eq!(call(stub), 1);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn a_stub_of_a_version_to_come_leads_there_and_is_forgotten_otherwise() {
    let memory = CodeMemory::default();
    let entries = StubTable::new(memory.clone(), None).unwrap();
    let (old, new) = (function(&memory, 1), function(&memory, 2));
    let never_came = entries.coming_stub(b"a").unwrap();
    let found = |name: &[u8]| (name == b"b").then_some(new.address() as u64);
    entries.prepare(found).unwrap().commit();
    let stub = entries.stub(b"a", |_| Some(old.address() as u64)).unwrap();
    assert_eq!((stub, call(stub)), (never_came, 1));
    let came = entries.coming_stub(b"b").unwrap();
    let found = |_: &[u8]| Some(new.address() as u64);
    entries.prepare(found).unwrap().commit();
    assert_eq!((call(came), call(stub)), (2, 2));
}

/// Counts the stubs that are there.
#[derive(Default)]
struct Stubs(Arc<AtomicU64>);

struct OneStub(Arc<AtomicU64>);

impl Drop for OneStub {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LoadObserver for Stubs {
    fn attach(&self, _: &[u8], _: &crate::link::Module<'_>) -> crate::alloc_util::AttachResult {
        Ok(None)
    }

    fn attach_stub(&self, code: core::ops::Range<usize>) -> crate::alloc_util::AttachResult {
        assert_eq!((code.start % 16, code.len()), (0, stub::LEN));
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Box::new(OneStub(self.0.clone()))))
    }
}

#[test]
fn the_host_is_told_of_each_stub_as_long_as_it_is_there() {
    let (memory, count) = (CodeMemory::default(), Arc::new(AtomicU64::new(0)));
    let entries =
        StubTable::new(memory.clone(), Some(Shared::Arc(Arc::new(Stubs(count.clone()))))).unwrap();
    let target = function(&memory, 1);
    for name in [b"a", b"b", b"a"] {
        entries.stub(name, |_| Some(target.address() as u64)).unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 2);
    drop(entries);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
