//! Tests with many threads, with valid and invalid operations.

use super::super::trap_fill;
use super::*;
use crate::testing::SetAtEnd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const THREADS: u64 = 8;

/// Checks the mappings of the process until `done`.
fn watch(done: &AtomicBool) -> usize {
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        assert_no_writable_code();
        looks += 1;
    }
    looks
}

/// Allocates, writes, publishes, runs and frees blocks, and passes some to other threads.
fn blocks(
    memory: &CodeMemory,
    seed: u64,
    steps: usize,
    shelf: &[std::sync::Mutex<Option<ExecutableBlock>>],
) {
    let mut random = numbers(seed);
    let mut mine = Vec::new();
    for _ in 0..steps {
        match random(8) {
            0..3 => {
                let number = random(2000) as u16;
                let code = returning(number);
                let mut block = memory.allocate(code.len() + random(200)).unwrap();
                assert!(trap_fill::is_filled(block.as_slice()));
                block.as_mut_slice()[..code.len()].copy_from_slice(&code);
                mine.push((block.publish().unwrap(), number));
            }
            3..5 if !mine.is_empty() => {
                let (block, number) = mine.swap_remove(random(mine.len()));
                assert_eq!(call(block.address()), i32::from(number));
                let mut place = shelf[random(shelf.len())].lock().unwrap();
                // Drops the block of another thread.
                *place = Some(block);
            }
            5 => drop(shelf[random(shelf.len())].lock().unwrap().take()),
            6 => assert!(memory.allocate(random(2) << 40).is_err()),
            _ => drop(memory.allocate(1 + random(70_000)).unwrap()),
        }
    }
    for (block, number) in mine {
        assert_eq!(call(block.address()), i32::from(number));
    }
}

/// Operates on pages at addresses that other threads may have freed.
fn pages(memory: &CodeMemory, seed: u64, steps: usize, known: &[AtomicUsize]) {
    let mut random = numbers(seed);
    for _ in 0..steps {
        let address = known[random(known.len())].load(Ordering::Relaxed);
        let size = [1, 100, 4096, 5000, 70_000][random(5)];
        match random(9) {
            0..3 => {
                let usage = if random(2) == 0 { PageUse::Code } else { PageUse::Data };
                let address = memory.allocate_pages(size, usage).unwrap();
                known[random(known.len())].store(address, Ordering::Relaxed);
            }
            3 => _ = memory.free_pages(address, size),
            4 => _ = memory.write_pages(address, random(6000) as u64, &returning(1)),
            5 => _ = memory.protect_pages(address, size, Protection::ReadExecute),
            6 => _ = memory.protect_pages(address, size, Protection::ReadWrite),
            7 => {
                for wrong in [address + 1, address ^ 0x1000, random(usize::MAX), 0] {
                    let _ = memory.entry_point(wrong);
                    let _ = memory.write_pages(wrong, random(1 << 40) as u64, &[0; 100]);
                    let _ = memory.free_pages(wrong.wrapping_add(1), size);
                }
            }
            _ => _ = memory.entry_point(address),
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn concurrent_operations_of_eight_threads_are_consistent() {
    if !alone(
        "memory::code_alloc::tests::threads::concurrent_operations_of_eight_threads_are_consistent",
    ) {
        return;
    }
    let memory = CodeMemory::default();
    let shelf: Vec<_> = (0..64).map(|_| std::sync::Mutex::new(None)).collect();
    let known: Vec<_> = (0..64).map(|_| AtomicUsize::new(0)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&done));
        let workers: Vec<_> = (0..THREADS)
            .map(|seed| {
                let (memory, shelf, known) = (&memory, &shelf, &known);
                scope.spawn(move || {
                    blocks(memory, seed, 20_000, shelf);
                    pages(memory, seed + 100, 3000, known);
                    blocks(memory, seed + 200, 5000, shelf);
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
        results.into_iter().for_each(|result| result.unwrap());
    });
    drop(shelf);
    let live: Vec<_> = live_pages(&memory);
    for (address, size) in live {
        memory.free_pages(address, size).unwrap();
    }
    let statistics = memory.statistics();
    assert_eq!((statistics.live_bytes, statistics.live_blocks), (0, 0));
    assert_eq!(statistics.allocations, statistics.frees);
    memory.trim().unwrap();
    assert_eq!((code_mappings(), memory.statistics().arenas), (0, 0));
}

/// All blocks of pages.
fn live_pages(memory: &CodeMemory) -> Vec<(usize, u64)> {
    let pages = memory.pages().unwrap();
    pages.iter().map(|(&address, block)| (address, block.block.len() as u64)).collect()
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn ceiling_holds_for_concurrent_threads() {
    let options = CodeMemoryOptions { ceiling_blocks: 1000, ..Default::default() };
    let memory = CodeMemory::new(options).unwrap();
    let most = AtomicUsize::new(0);
    let live = AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in 0..THREADS {
            let (memory, live, most) = (&memory, &live, &most);
            scope.spawn(move || {
                let mut random = numbers(seed);
                let mut mine = Vec::new();
                for _ in 0..20_000 {
                    if random(3) > 0 {
                        if let Ok(block) = memory.allocate(16) {
                            most.fetch_max(
                                live.fetch_add(1, Ordering::SeqCst) + 1,
                                Ordering::SeqCst,
                            );
                            mine.push(block);
                        }
                    } else if !mine.is_empty() {
                        live.fetch_sub(1, Ordering::SeqCst);
                        drop(mine.swap_remove(random(mine.len())));
                    }
                }
                live.fetch_sub(mine.len(), Ordering::SeqCst);
            });
        }
    });
    assert!(most.into_inner() <= 1000);
    assert!(memory.statistics().refusals > 0);
    let all: Vec<_> = (0..1000).map(|_| memory.allocate(16).unwrap()).collect();
    assert!(memory.allocate(16).is_err());
    drop(all);
}

#[test]
fn block_freed_by_another_thread_is_reused() {
    let memory = CodeMemory::default();
    let (sender, receiver) = std::sync::mpsc::sync_channel::<ExecutableBlock>(64);
    thread::scope(|scope| {
        scope.spawn(|| receiver.into_iter().for_each(drop));
        for _ in 0..rounds(200_000) {
            sender.send(publish(&memory, &returning(3))).unwrap();
        }
        drop(sender);
    });
    let statistics = memory.statistics();
    assert_eq!(statistics.live_blocks, 0);
    assert!(statistics.held_bytes <= 2 << 20, "{statistics:?}");
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn arenas_are_listed_while_another_thread_unmaps_them() {
    let memory = CodeMemory::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                memory.for_each_arena(|arena| assert!(!arena.code.is_empty())).unwrap();
            }
        });
        for _ in 0..500 {
            drop(memory.allocate(16).unwrap());
            memory.trim().unwrap();
        }
    });
}
