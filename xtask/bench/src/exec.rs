//! Executable memory for many small functions, compared with an allocator of similar design and with one mapping for
//! each function.
#![allow(unsafe_code)]

use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use jit_allocator::{JitAllocator, JitAllocatorOptions};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use smf_core::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

use crate::measure::{Bench, Contender, Measure, Target, Unit};

const PUBLISH: &str = "allocate, write, publish 100 bytes of code";
const PUBLISH_MAPPED: &str = "allocate, write, publish 100 bytes of code, a mapping each";
const CHURN: &str = "free and allocate 100 bytes of code again";
const OVERHEAD: &str = "bytes beyond the 100 of a function";
const OVERHEAD_WIDE: &str = "bytes beyond the 100 of a function, 16-byte steps";
const MAPPINGS: &str = "mappings for 64 MiB of code";
const FIRST: &str = "first function in a fresh process";

/// The argument that makes this program the fresh process.
pub(crate) const FIRST_OPTION: &str = "--first-function";

/// A function of 100 bytes that returns immediately.
const CODE: [u8; 100] = {
    let mut code = [0x90; 100];
    code[0] = 0xc3;
    code
};
/// The number of live functions.
const LIVE: usize = 2000;
/// The number of live functions with a mapping each.
const LIVE_MAPPED: usize = 500;
const PAGE: usize = 4096;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[PUBLISH, PUBLISH_MAPPED, CHURN, OVERHEAD, OVERHEAD_WIDE, MAPPINGS, FIRST]) {
        return;
    }
    let memory = CodeMemory::default();
    let take = |bench: &mut Bench, name, peer, target, ours, theirs| {
        let measure = Measure { name, peer, batches: 200, target, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    };
    let target = Target { ratio: Some(0.4), limit: Some(40.0) };
    take(
        bench,
        PUBLISH,
        "jit-allocator",
        target,
        publish_code_memory(&memory),
        publish_jit_allocator(),
    );
    let target = Target::ratio(0.01);
    take(
        bench,
        PUBLISH_MAPPED,
        "mmap, mprotect",
        target,
        publish_code_memory(&memory),
        publish_mapped(),
    );
    let target = Target { ratio: Some(0.6), limit: Some(25.0) };
    take(bench, CHURN, "jit-allocator", target, churn_code_memory(&memory), churn_jit_allocator());
    measure_space(bench);
    let target = Target::limit(60e3);
    let measure = Measure { name: FIRST, batches: 60, target, ..Measure::default() };
    bench.take(&measure, Box::new(|times| (0..times).map(|_| in_fresh_process()).sum()), None);
}

fn publish_one(memory: &CodeMemory) -> ExecutableBlock {
    let mut block = memory.allocate(CODE.len()).unwrap();
    block.as_mut_slice().copy_from_slice(black_box(&CODE));
    block.publish().unwrap()
}

/// Publishes `times` functions, at most `live` at a time. Freeing is not timed.
fn in_rounds<'a, T: 'a>(
    live: usize,
    mut publish: impl FnMut() -> T + 'a,
    mut free: impl FnMut(T) + 'a,
) -> Contender<'a> {
    let mut held = Vec::with_capacity(live);
    Box::new(move |times| {
        let mut left = usize::try_from(times).unwrap();
        let mut timed = Duration::ZERO;
        while left != 0 {
            let now = left.min(live);
            left -= now;
            let start = Instant::now();
            for _ in 0..now {
                held.push(publish());
            }
            timed += start.elapsed();
            held.drain(..).for_each(&mut free);
        }
        timed
    })
}

fn publish_code_memory(memory: &CodeMemory) -> Contender<'_> {
    in_rounds(LIVE, || publish_one(memory), drop)
}

fn publish_jit_allocator() -> Contender<'static> {
    let allocator = std::cell::RefCell::new(JitAllocator::new(JitAllocatorOptions::default()));
    let allocator = std::rc::Rc::new(allocator);
    let freer = std::rc::Rc::clone(&allocator);
    let publish = move || {
        let (runs, writes) = allocator.borrow_mut().alloc(CODE.len()).unwrap();
        // SAFETY: the allocator just returned that many writable bytes.
        unsafe { black_box(&CODE).as_ptr().copy_to_nonoverlapping(writes, CODE.len()) };
        runs
    };
    in_rounds(LIVE, publish, move |runs| {
        // SAFETY: allocated by this allocator and released once.
        unsafe { freer.borrow_mut().release(runs) }.unwrap();
    })
}

/// Separate pages for each function, as in many just-in-time compilers.
fn publish_mapped() -> Contender<'static> {
    let publish = || {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: without MAP_FIXED, no existing mapping is replaced.
        let page = unsafe { mmap_anonymous(std::ptr::null_mut(), PAGE, access, flags) }.unwrap();
        // SAFETY: the page is writable and longer than the code.
        unsafe { black_box(&CODE).as_ptr().copy_to_nonoverlapping(page.cast(), CODE.len()) };
        let access = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: the page belongs to this function and has no references.
        unsafe { mprotect(page, PAGE, access) }.unwrap();
        page
    };
    in_rounds(LIVE_MAPPED, publish, |page| {
        // SAFETY: mapped above and unmapped once.
        unsafe { munmap(page, PAGE) }.unwrap();
    })
}

/// A pseudorandom number below `LIVE`.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    usize::try_from(*state >> 33).unwrap() % LIVE
}

fn churn_code_memory(memory: &CodeMemory) -> Contender<'_> {
    let allocate = || memory.allocate(CODE.len()).ok();
    let (mut held, mut state): (Vec<_>, _) = ((0..LIVE).map(|_| allocate()).collect(), 1);
    crate::measure::repeat(move || {
        let index = next(&mut state);
        held[index] = None;
        held[index] = allocate();
    })
}

fn churn_jit_allocator() -> Contender<'static> {
    let mut allocator = JitAllocator::new(JitAllocatorOptions::default());
    let allocate = |allocator: &mut JitAllocator| allocator.alloc(CODE.len()).unwrap().0;
    let mut held: Vec<_> = (0..LIVE).map(|_| allocate(&mut allocator)).collect();
    let mut state = 1;
    crate::measure::repeat(move || {
        let index = next(&mut state);
        // SAFETY: allocated by this allocator and released once.
        unsafe { allocator.release(held[index]) }.unwrap();
        held[index] = allocate(&mut allocator);
    })
}

/// The overhead of 64 MiB of functions.
fn measure_space(bench: &mut Bench) {
    if !bench.wants(&[OVERHEAD, OVERHEAD_WIDE, MAPPINGS]) {
        return;
    }
    let wide = |memory: &CodeMemory| {
        let block = memory.allocate_with(Request::new(CODE.len()).aligned_to(16)).unwrap();
        block.publish().unwrap()
    };
    let (beyond, taken) = space(publish_one);
    bench.state(OVERHEAD, beyond, Unit::Percent, 10.0);
    // 100 bytes take 112: 12 % from rounding alone.
    bench.state(OVERHEAD_WIDE, space(wide).0, Unit::Percent, 16.0);
    bench.state(MAPPINGS, taken as f64, Unit::Count, 4.0);
}

/// The overhead of 64 MiB of functions in percent of their code, and the number of mappings.
fn space(publish: impl Fn(&CodeMemory) -> ExecutableBlock) -> (f64, usize) {
    let mappings = || fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let count = (64 << 20) / CODE.len();
    let mut held = Vec::with_capacity(count);
    let memory = CodeMemory::default();
    let before = mappings();
    held.extend((0..count).map(|_| publish(&memory)));
    let taken = mappings() - before;
    let statistics = memory.statistics();
    // The handles belong to this program and are not counted.
    let all = statistics.live_bytes + statistics.wasted_bytes + statistics.record_bytes;
    let beyond = all as f64 / (count * CODE.len()) as f64 * 100.0 - 100.0;
    (beyond, taken)
}

/// The time that a new process reports for its first function.
fn in_fresh_process() -> Duration {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg(FIRST_OPTION).output().unwrap();
    let nanoseconds = String::from_utf8(output.stdout).unwrap();
    Duration::from_nanos(nanoseconds.trim().parse().unwrap())
}

/// The fresh process: measures the time until the first function returns.
pub(crate) fn first_function() {
    let start = Instant::now();
    let memory = CodeMemory::default();
    let block = publish_one(&memory);
    // SAFETY: the block holds the code of a function without arguments, which returns at once.
    let function = unsafe { std::mem::transmute::<*const u8, extern "C" fn()>(block.as_ptr()) };
    function();
    println!("{}", start.elapsed().as_nanos());
}
