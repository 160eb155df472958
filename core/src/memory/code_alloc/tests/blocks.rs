//! Tests of blocks of bytes, on one thread.

use super::super::trap_fill;
use super::*;
use std::collections::BTreeMap;
use std::string::ToString;
use std::vec;

#[test]
fn published_code_runs_at_the_address_of_the_block() {
    let memory = CodeMemory::default();
    for number in (0..).take(rounds(2000)) {
        let code = returning(number);
        let mut block = memory.allocate(code.len()).unwrap();
        let address = block.address();
        block.as_mut_slice().copy_from_slice(&code);
        let block = block.publish().unwrap();
        assert_eq!((block.address(), block.len()), (address, code.len()));
        assert_eq!(call(address), i32::from(number));
    }
}

#[test]
fn new_and_freed_blocks_hold_traps() {
    let memory = CodeMemory::default();
    let _live = memory.allocate(1).unwrap();
    let sizes = [1, 8, 15, 16, 17, 100, 1024, 1025, 5000, 40_000, 300_000];
    for size in sizes.into_iter().take(if cfg!(miri) { 6 } else { sizes.len() }) {
        let mut block = memory.allocate(size).unwrap();
        assert!(trap_fill::is_filled(block.as_slice()), "{size} bytes, new");
        block.as_mut_slice().fill(0x5a);
        let block = block.publish().unwrap();
        let address = block.address();
        assert_eq!(bytes_at(address, size), vec![0x5a; size]);
        block.free();
        assert!(trap_fill::is_filled(&bytes_at(address, size)), "{size} bytes, freed");
    }
}

/// A block in the model.
enum ModelBlock {
    Writable(WritableBlock, u8),
    Executable(ExecutableBlock, u8),
}

impl ModelBlock {
    fn range(&self) -> (usize, usize) {
        match self {
            ModelBlock::Writable(block, _) => (block.address(), block.len()),
            ModelBlock::Executable(block, _) => (block.address(), block.len()),
        }
    }

    fn check(&self) {
        let (address, len) = self.range();
        let (ModelBlock::Writable(_, fill) | ModelBlock::Executable(_, fill)) = *self;
        assert!(bytes_at(address, len).iter().all(|&byte| byte == fill), "{len} at {address:x}");
        if let ModelBlock::Writable(block, fill) = self {
            assert!(block.as_slice().iter().all(|byte| byte == fill));
        }
    }
}

/// Random allocations, writes, publications and frees, compared with a map: no block overlaps another or holds other
/// bytes than its own.
fn compare_with_the_model(options: CodeMemoryOptions, seed: u64, steps: usize) {
    let mut random = numbers(seed);
    let memory = CodeMemory::new(options).unwrap();
    let mut blocks: BTreeMap<usize, ModelBlock> = BTreeMap::new();
    let mut addresses = Vec::new();
    let (mut live, mut peak) = (0, 0);
    for step in 0..steps {
        let at = random(addresses.len());
        match (random(10), addresses.get(at).copied()) {
            (0..5, _) | (_, None) => {
                let size = match random(12) {
                    0 => 1 + random(100_000),
                    1..4 => 1 + random(3000),
                    _ => 1 + random(300),
                };
                let alignment = 1 << random(13);
                let request = Request::new(size).aligned_to(alignment);
                let mut block = memory.allocate_with(request).unwrap();
                let address = block.address();
                assert_eq!(address % alignment, 0);
                assert!(trap_fill::is_filled(block.as_slice()), "step {step}: {size} old bytes");
                let before = blocks.range(..address + size).next_back().map(|(_, b)| b.range());
                assert!(before.is_none_or(|(start, len)| start + len <= address), "step {step}");
                let fill = random(200) as u8;
                block.as_mut_slice().fill(fill);
                live += size;
                peak = peak.max(live);
                addresses.push(address);
                blocks.insert(address, ModelBlock::Writable(block, fill));
            }
            (5..7, Some(address)) => {
                let known = match blocks.remove(&address).unwrap() {
                    ModelBlock::Writable(block, fill) => {
                        ModelBlock::Executable(block.publish().unwrap(), fill)
                    }
                    known => known,
                };
                blocks.insert(address, known);
            }
            (_, Some(address)) => {
                addresses.swap_remove(at);
                let known = blocks.remove(&address).unwrap();
                known.check();
                live -= known.range().1;
                drop(known);
            }
        }
        if step % 2048 == 0 {
            blocks.values().for_each(ModelBlock::check);
        }
    }
    blocks.values().for_each(ModelBlock::check);
    let statistics = memory.statistics();
    assert_eq!((statistics.live_bytes, statistics.live_blocks), (live as u64, blocks.len() as u64));
    assert_eq!(statistics.peak_bytes, peak as u64);
    drop(blocks);
    memory.trim().unwrap();
    let statistics = memory.statistics();
    assert_eq!((statistics.live_bytes, statistics.arenas, statistics.held_bytes), (0, 0, 0));
    assert_eq!(statistics.allocations, statistics.frees);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn allocator_agrees_with_a_naive_model() {
    compare_with_the_model(CodeMemoryOptions::default(), 1, 30_000);
    let small = CodeMemoryOptions { arena_bytes: 1 << 20, ..Default::default() };
    compare_with_the_model(small, 2, 30_000);
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn freed_neighbours_become_one_again() {
    let options = CodeMemoryOptions { arena_bytes: 1 << 20, ..Default::default() };
    let memory = CodeMemory::new(options).unwrap();
    for round in 0..3 {
        let mut small = vec![memory.allocate(1000).unwrap()];
        while memory.statistics().arenas == 1 {
            small.push(memory.allocate(1000).unwrap());
        }
        assert!(small.len() > 400, "round {round}: {} blocks", small.len());
        drop(small);
        // Only coalesced free spans can hold these.
        let large: Vec<_> = (0..30).map(|_| memory.allocate(30_000).unwrap()).collect();
        assert!(memory.statistics().arenas <= 2, "round {round}");
        drop(large);
        memory.trim().unwrap();
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn free_spans_are_reused_before_memory_grows() {
    let memory = CodeMemory::default();
    let mut blocks: Vec<_> = (0..40_000).map(|_| memory.allocate(100).unwrap()).collect();
    let held = memory.statistics().held_bytes;
    let mut random = numbers(3);
    for size in [100, 80, 100, 120, 100] {
        for _ in 0..50_000 {
            let at = random(blocks.len());
            drop(blocks.swap_remove(at));
            blocks.push(memory.allocate(size).unwrap());
        }
    }
    let now = memory.statistics().held_bytes;
    // Shards of cores on which the thread ran hold some spare memory.
    assert!(now <= held * 3 / 2 + (3 << 20), "{held} bytes became {now}");
}

#[test]
#[cfg_attr(miri, ignore = "chooses the core it runs on")]
fn thread_that_changes_cores_reuses_its_freed_memory() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).unwrap();
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    let memory = CodeMemory::default();
    let mut random = numbers(4);
    let mut blocks: Vec<_> = (0..40_000).map(|_| memory.allocate(100).unwrap()).collect();
    let held = memory.statistics().held_bytes;
    for (_, &core) in (0..24).zip(cores.iter().cycle()) {
        let mut here = CpuSet::new();
        here.set(core);
        sched_setaffinity(None, &here).unwrap();
        for _ in 0..15_000 {
            let at = random(blocks.len());
            drop(blocks.swap_remove(at));
            blocks.push(memory.allocate(100).unwrap());
        }
    }
    let now = memory.statistics().held_bytes;
    let spare = cores.len().min(16) << 20;
    assert!(now <= held + 2 * spare as u64, "{held} bytes became {now} on {} cores", cores.len());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn large_block_is_freed_whole() {
    let memory = CodeMemory::default();
    let large: Vec<_> = (0..200).map(|_| memory.allocate(40_000).unwrap()).collect();
    drop(large);
    // These have as many units as the large blocks have in their larger units.
    let small: Vec<_> = (0..200).map(|_| memory.allocate(160).unwrap()).collect();
    let held = memory.statistics().held_bytes;
    assert!(held < 4 << 20, "{held} bytes for {} small blocks", small.len());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn overhead_of_a_small_block_is_below_a_tenth() {
    let memory = CodeMemory::default();
    let request = Request::new(100).aligned_to(8);
    let blocks: Vec<_> = (0..100_000).map(|_| memory.allocate_with(request).unwrap()).collect();
    let Statistics { live_bytes, wasted_bytes, record_bytes, .. } = memory.statistics();
    let each = (live_bytes + wasted_bytes + record_bytes) as f64 / blocks.len() as f64;
    assert!(each < 110.0, "{each} bytes");
}

#[test]
fn invalid_requests_change_nothing() {
    let memory = CodeMemory::default();
    let _live = memory.allocate(64).unwrap();
    let before = memory.statistics();
    let page = sys::page_size();
    for (request, error) in [
        (Request::new(0), ExecError::Empty),
        (Request::new(usize::MAX), ExecError::TooLarge { size: u64::MAX, limit: 1 << 30 }),
        (Request::new((1 << 30) + 1), ExecError::TooLarge { size: (1 << 30) + 1, limit: 1 << 30 }),
        (Request::new(8).aligned_to(0), ExecError::Alignment { alignment: 0, limit: page }),
        (Request::new(8).aligned_to(24), ExecError::Alignment { alignment: 24, limit: page }),
        (
            Request::new(8).aligned_to(2 * page),
            ExecError::Alignment { alignment: 2 * page, limit: page },
        ),
    ] {
        assert_eq!(memory.allocate_with(request).map(|_| ()), Err(error));
    }
    let after = memory.statistics();
    assert_eq!(after.refusals, 6);
    assert_eq!(
        Statistics { refusals: 0, record_bytes: 0, ..after },
        Statistics { record_bytes: 0, ..before }
    );
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn ceilings_are_exact() {
    let options = CodeMemoryOptions { ceiling_bytes: 100_000, ..Default::default() };
    let memory = CodeMemory::new(options).unwrap();
    for _ in 0..3 {
        let mut blocks: Vec<_> = (0..1000).map(|_| memory.allocate(100).unwrap()).collect();
        let full = ExecError::CeilingBytes { size: 1, limit: 100_000 };
        assert_eq!(memory.allocate(1).map(|_| ()), Err(full));
        assert_eq!(
            full.to_string(),
            "1 bytes more would exceed the ceiling of 100000 bytes of code"
        );
        blocks.pop();
        let rest = [memory.allocate(60).unwrap(), memory.allocate(40).unwrap()];
        assert!(memory.allocate(1).is_err());
        drop((blocks, rest));
    }
    let whole = memory.allocate(100_000).unwrap();
    assert!(memory.allocate(1).is_err());
    drop(whole);

    let options = CodeMemoryOptions { ceiling_blocks: 10, ..Default::default() };
    let memory = CodeMemory::new(options).unwrap();
    let mut blocks: Vec<_> = (0..10).map(|_| memory.allocate(100).unwrap()).collect();
    let full = ExecError::CeilingBlocks { limit: 10 };
    assert_eq!(memory.allocate(1).map(|_| ()), Err(full));
    assert_eq!(memory.allocate_pages(1, PageUse::Data), Err(full));
    blocks.pop();
    let address = memory.allocate_pages(1, PageUse::Data).unwrap();
    assert!(memory.allocate(1).is_err());
    memory.free_pages(address, 1).unwrap();
    assert!(memory.allocate(1).is_ok());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn blocks_of_an_arena_are_within_reach() {
    let memory = CodeMemory::default();
    let distance = |from: usize, to: usize| (from as i64 - to as i64).unsigned_abs();
    let blocks: Vec<_> = (0..3000).map(|_| memory.allocate(20_000).unwrap()).collect();
    let first = blocks[0].address();
    assert!(blocks.iter().all(|block| distance(block.address(), first) < 128 << 20));
}

#[test]
#[cfg_attr(miri, ignore = "forks")]
fn two_views_are_surrounded_by_inaccessible_memory() {
    if !alone("memory::code_alloc::tests::blocks::two_views_are_surrounded_by_inaccessible_memory")
    {
        return;
    }
    let memory = CodeMemory::default();
    let block = memory.allocate(100).unwrap();
    assert_eq!(memory.backing(), Some(Backing::MemoryFile));
    let page = sys::page_size();
    let written = block.as_slice().as_ptr().addr();
    assert_ne!(written, block.address());
    assert_eq!((access(block.address()).as_str(), access(written).as_str()), ("r-x", "rw-"));
    let views: Vec<Line> = maps()
        .into_iter()
        .filter(|l| l.addresses.contains(&block.address()) || l.addresses.contains(&written))
        .collect();
    assert_eq!(views.len(), 2);
    for line in &views {
        let below = access(line.addresses.start - 1);
        assert!(["---", "r-x"].contains(&below.as_str()), "{below} below {}", line.access);
        // The tail of the view is beyond the end of the file.
        let tail = line.addresses.end - (64 << 10);
        for address in [tail, tail + page, line.addresses.end - 1] {
            let touch = || i32::from(bytes_at(address, 1)[0]);
            // A child process does not inherit the writable view.
            let signal = if line.access == "r-x" { 7 } else { 11 };
            assert_eq!(in_child(touch), End::Signal(signal), "{address:x}");
        }
        bytes_at(line.addresses.start, 1);
    }
    assert_no_writable_code();
}

#[test]
#[cfg_attr(miri, ignore = "needs memory file seals")]
fn kernel_refuses_to_make_sealed_code_writable() {
    let memory = CodeMemory::default();
    let block = publish(&memory, &returning(1));
    let page = block.address() & !(sys::page_size() - 1);
    let page = core::ptr::NonNull::new(core::ptr::with_exposed_provenance_mut(page)).unwrap();
    // SAFETY: the page of a block, to which nothing refers.
    let result = unsafe { sys::protect(page, sys::page_size(), Protection::ReadWrite) };
    assert_eq!(result, Err(rustix::io::Errno::ACCESS.into()));
    assert_eq!(call(block.address()), 1);
}

#[test]
#[cfg_attr(miri, ignore = "counts what the kernel has mapped")]
fn four_mappings_hold_64_mebibytes_until_trim() {
    if !alone("memory::code_alloc::tests::blocks::four_mappings_hold_64_mebibytes_until_trim") {
        return;
    }
    let mut blocks: Vec<WritableBlock> = Vec::with_capacity(20_000);
    let memory = CodeMemory::default();
    let before = maps().len();
    while blocks.len() < (64 << 20) / 4000 {
        blocks.push(memory.allocate(4000).unwrap());
    }
    let more = maps().len() - before;
    assert!(more <= 4, "{more} mappings more");
    blocks.clear();
    memory.trim().unwrap();
    assert_eq!((code_mappings(), maps().len()), (0, before));
    let block = memory.allocate(5).unwrap();
    drop(memory);
    assert_eq!(block.as_slice().len(), 5, "a block outlives its handle");
    assert_eq!(code_mappings(), 2);
    drop(block);
    assert_eq!((code_mappings(), maps().len()), (0, before));
}

#[test]
#[cfg_attr(miri, ignore = "forks")]
fn child_process_runs_code_and_cannot_change_it() {
    let memory = CodeMemory::default();
    let mut block = Some(publish(&memory, &returning(321)));
    let mut writable = memory.allocate(100).unwrap();
    let pages = memory.allocate_pages(10, PageUse::Code).unwrap();
    let view = writable.as_mut_slice().as_mut_ptr().addr();
    let address = block.as_ref().unwrap().address();
    let child = in_child(|| {
        let forked = |result: Result<(), ExecError>| assert_eq!(result, Err(ExecError::Forked));
        assert_eq!(call(address), 321);
        forked(memory.allocate(1).map(|_| ()));
        forked(memory.allocate_pages(1, PageUse::Code).map(|_| ()));
        forked(memory.write_pages(pages, 0, &[1]).map(|_| ()));
        forked(memory.free_pages(pages, 10));
        forked(memory.trim());
        // Blocks of the parent are not freed.
        drop(block.take());
        assert_eq!((call(address), access(view).as_str()), (321, "none"));
        let own = CodeMemory::default();
        assert_eq!(call(publish(&own, &returning(5)).address()), 5);
        0
    });
    assert_eq!(child, End::Status(0));
    let write = || {
        write_at(view, 1);
        0
    };
    assert_eq!(in_child(write), End::Signal(11));
    assert_eq!(call(block.unwrap().address()), 321);
    memory.free_pages(pages, 10).unwrap();
}

/// Without an arena, no fork detector exists yet.
#[test]
#[cfg_attr(miri, ignore = "forks")]
fn child_forked_while_the_first_arena_is_mapped_is_refused() {
    let memory = CodeMemory::default();
    let locked = memory.allocator().arenas.list().unwrap();
    let child = in_child(|| {
        assert_eq!(memory.allocate(1).map(|_| ()), Err(ExecError::Forked));
        assert_eq!(memory.entry_point(4096), Err(ExecError::Forked));
        assert_eq!(memory.trim(), Err(ExecError::Forked));
        assert_eq!(memory.statistics(), Statistics::default());
        0
    });
    assert_eq!(child, End::Status(0));
    drop(locked);
    assert_eq!(call(publish(&memory, &returning(5)).address()), 5);
}

#[test]
fn audit_log_records_every_action() {
    let options = CodeMemoryOptions { audit_events: 16, ..Default::default() };
    let memory = CodeMemory::new(options).unwrap();
    let block = publish(&memory, &[0; 77]);
    let address = block.address();
    block.free();
    assert!(memory.allocate(0).is_err());
    let pages = memory.allocate_pages(10, PageUse::Code).unwrap();
    memory.write_pages(pages, 0, &[0xc3]).unwrap();
    let unknown = ExecError::Unknown { address: 8 };
    assert_eq!(memory.free_pages(8, 10), Err(unknown));
    memory.free_pages(pages, 10).unwrap();
    let drained = memory.drain_events().unwrap();
    let actions: Vec<_> = drained.events.iter().map(|e| (e.action, e.size, e.address)).collect();
    for expected in [
        (Action::Allocate, 77, address),
        (Action::Publish, 77, address),
        (Action::Free, 77, address),
        (Action::Refuse(ExecError::Empty), 0, 0),
        (Action::Allocate, 10, pages),
        (Action::Publish, 10, pages),
        (Action::Refuse(unknown), 0, 8),
        (Action::Free, 10, pages),
    ] {
        assert!(actions.contains(&expected), "{expected:x?} in {actions:x?}");
    }
    assert_eq!((actions.len(), drained.lost), (8, 0));
    assert!(memory.drain_events().unwrap().events.is_empty());
    assert!(CodeMemory::default().drain_events().unwrap().events.is_empty());
}
