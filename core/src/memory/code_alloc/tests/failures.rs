//! Tests with failing system calls: the error is reported, and nothing is leaked.

use super::super::super::fault_injection::{Call, inject};
use super::*;
use rustix::io::Errno;
use rustix::mm::Advice;

/// Panics unless all mappings since `before` are unmapped.
fn assert_unmapped(before: usize) {
    assert_eq!((maps().len(), code_mappings()), (before, 0));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn failed_call_is_an_error_and_leaves_no_mapping() {
    if !alone("memory::code_alloc::tests::failures::failed_call_is_an_error_and_leaves_no_mapping")
    {
        return;
    }
    drop(CodeMemory::default().allocate(1));
    let before = maps().len();
    for call in [
        Call::Map,
        Call::MapFile(Protection::ReadWrite),
        Call::MapFile(Protection::ReadExecute),
        Call::MemoryFile,
        Call::Resize,
        Call::Advise(Advice::LinuxDontFork),
        Call::Advise(Advice::LinuxPopulateWrite),
    ] {
        for passes in 0..3 {
            let memory = CodeMemory::default();
            let fault = inject(call, passes, Errno::NFILE);
            let result = memory.allocate(100).map(drop);
            drop(fault);
            if passes == 0 {
                assert!(matches!(result, Err(ExecError::Memory(_))), "{call:?}: {result:?}");
            }
            let statistics = memory.statistics();
            assert_eq!((statistics.live_bytes, statistics.live_blocks), (0, 0));
            assert_eq!(call_a_function(&memory), 77, "it works again afterwards");
            drop(memory);
            assert_unmapped(before);
        }
    }
}

#[test]
fn missing_seals_do_not_prevent_allocation() {
    let _fault = inject(Call::Seal, 0, Errno::INVAL);
    assert_eq!(call_a_function(&CodeMemory::default()), 77);
}

fn call_a_function(memory: &CodeMemory) -> i32 {
    call(publish(memory, &returning(77)).address())
}

#[test]
#[cfg_attr(miri, ignore = "limits the process")]
fn smaller_arena_is_mapped_if_address_space_is_scarce() {
    if !alone(
        "memory::code_alloc::tests::failures::smaller_arena_is_mapped_if_address_space_is_scarce",
    ) {
        return;
    }
    use rustix::process::{Resource, Rlimit, setrlimit};
    let used: usize = maps().iter().map(|line| line.addresses.len()).sum();
    let limit = Some((used + (100 << 20)) as u64);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    let memory = CodeMemory::default();
    assert_eq!(call_a_function(&memory), 77);
    assert_eq!(memory.statistics().reserved_bytes, 32 << 20);
    let error = memory.allocate(200 << 20).map(drop).unwrap_err();
    assert!(matches!(error, ExecError::Memory(MemoryError::Map { .. })), "{error}");
}

#[test]
fn failed_protect_leaves_pages_unchanged() {
    let memory = CodeMemory::default();
    let data = memory.allocate_pages(10, PageUse::Data).unwrap();
    let code = memory.allocate_pages(10, PageUse::Code).unwrap();
    for (address, wanted, rights) in
        [(data, Protection::ReadExecute, "rw-"), (code, Protection::ReadWrite, "r-x")]
    {
        let fault = inject(Call::Protect, 0, Errno::ACCESS);
        let error = memory.protect_pages(address, 10, wanted).unwrap_err();
        drop(fault);
        assert!(matches!(error, ExecError::Memory(MemoryError::Protect { .. })), "{error}");
        assert_eq!(access(address), rights);
    }
    memory.protect_pages(data, 10, Protection::ReadExecute).unwrap();
    let fault = inject(Call::Protect, 0, Errno::NOMEM);
    assert!(memory.free_pages(data, 10).is_err(), "not freed");
    drop(fault);
    memory.free_pages(data, 10).unwrap();
    memory.free_pages(code, 10).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn freed_memory_is_not_reused_until_cores_are_serialized() {
    let memory = CodeMemory::default();
    let fault = inject(Call::SynchronizeCores, 0, Errno::NOMEM);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..10_000 {
        let block = memory.allocate(100).unwrap();
        assert!(seen.insert(block.address()), "{:x} came back", block.address());
    }
    drop(fault);
    let blocks: Vec<_> = (0..20_000).map(|_| memory.allocate(100).unwrap()).collect();
    assert!(blocks.iter().any(|block| seen.contains(&block.address())));
}
