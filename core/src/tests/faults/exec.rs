//! Blocks and pages of code: allocated, published, protected, freed, given back.

use std::cell::Cell;
use std::vec::Vec;

use super::fail_each;
use crate::memory::Protection;
use crate::memory::code_alloc::{CodeMemory, CodeMemoryOptions, ExecError, PageUse};
use crate::memory::testing::alone;
use crate::testing::scale;

/// Whether nothing is left of what was done.
fn is_empty(memory: &CodeMemory) {
    let statistics = memory.statistics();
    assert_eq!((statistics.live_bytes, statistics.live_blocks), (0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn whatever_call_fails_code_memory_is_as_it_was() {
    if !alone("faults::exec::whatever_call_fails_code_memory_is_as_it_was") {
        return;
    }
    // Small arenas, so that a large block wants one of its own.
    let options = CodeMemoryOptions { arena_bytes: 1 << 20, audit: true, ..Default::default() };
    let first = || {
        let memory = CodeMemory::new(options).unwrap();
        let block = memory.allocate(100).inspect_err(|_| is_empty(&memory))?;
        block.publish().map(|block| (memory, block))
    };
    let mut points = fail_each("code, the first block", first, || {}, drop);

    // Each time with a memory of its own: what a system refuses once, a memory does not ask for again, and
    // a block whose page cannot be made writable when it is freed is lost until its memory goes.
    let large = || {
        let memory = CodeMemory::new(options).unwrap();
        memory.allocate(2 << 20)?.publish()?.free();
        is_empty(&memory);
        memory.trim()
    };
    points += fail_each("code, a large block", large, || {}, |()| {});
    let many = || {
        let memory = CodeMemory::new(options).unwrap();
        let blocks = (0..300).map(|_| memory.allocate(4000)?.publish());
        let blocks: Vec<_> = blocks.collect::<Result<_, _>>()?;
        drop(blocks);
        is_empty(&memory);
        memory.trim()
    };
    points += fail_each("code, many blocks", many, || {}, |()| {});

    let memory = CodeMemory::new(options).unwrap();
    // What could not be freed, because a call failed, can be when none does.
    let left = Cell::new(None);
    let pages = || {
        let address = memory.allocate_pages(10_000, PageUse::Data)?;
        left.set(Some(address));
        memory.protect_pages(address, 10_000, Protection::ReadExecute)?;
        memory.protect_pages(address, 10_000, Protection::ReadWrite)?;
        memory.free_pages(address, 10_000)?;
        left.set(None);
        Ok::<(), ExecError>(())
    };
    let freed = || {
        left.take().into_iter().for_each(|address| memory.free_pages(address, 10_000).unwrap());
        memory.trim().unwrap();
        is_empty(&memory);
    };
    points += fail_each("code, pages by address", pages, freed, |()| freed());
    std::println!("{points} points in code memory");
    assert!(points > scale(300, 100), "the faults did not reach the calls");
}
