//! Blocks and pages of code: allocate, publish, protect, free, trim.

use std::cell::Cell;
use std::vec::Vec;

use super::fail_each;
use crate::memory::Protection;
use crate::memory::code_alloc::{CodeMemory, CodeMemoryOptions, ExecError, PageUse};
use crate::memory::testing::alone;
use crate::testing::scale;

/// Panics if a block is live.
fn assert_empty(memory: &CodeMemory) {
    let statistics = memory.statistics();
    assert_eq!((statistics.live_bytes, statistics.live_blocks), (0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn failed_call_leaves_code_memory_unchanged() {
    if !alone("faults::exec::failed_call_leaves_code_memory_unchanged") {
        return;
    }
    // Small arenas, so that a large block needs its own.
    let options = CodeMemoryOptions { arena_bytes: 1 << 20, ..Default::default() };
    let first = || {
        let memory = CodeMemory::new(options).unwrap();
        let block = memory.allocate(100).inspect_err(|_| assert_empty(&memory))?;
        block.publish().map(|block| (memory, block))
    };
    let mut points = fail_each("code, the first block", first, || {}, drop);

    // Each run uses a new allocator: it does not retry a backing that the system refuses, and a block whose page cannot
    // be made writable when it is freed is leaked until its allocator is dropped.
    let large = || {
        let memory = CodeMemory::new(options).unwrap();
        memory.allocate(2 << 20)?.publish()?.free();
        assert_empty(&memory);
        memory.trim()
    };
    points += fail_each("code, a large block", large, || {}, |()| {});
    let many = || {
        let memory = CodeMemory::new(options).unwrap();
        let blocks = (0..300).map(|_| memory.allocate(4000)?.publish());
        let blocks: Vec<_> = blocks.collect::<Result<_, _>>()?;
        drop(blocks);
        assert_empty(&memory);
        memory.trim()
    };
    points += fail_each("code, many blocks", many, || {}, |()| {});

    let memory = CodeMemory::new(options).unwrap();
    // Pages that could not be freed because of a failed call are freed afterwards.
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
        assert_empty(&memory);
    };
    points += fail_each("code, pages by address", pages, freed, |()| freed());
    std::println!("{points} points in code memory");
    assert!(points > scale(300, 100), "the faults did not reach the calls");
}
