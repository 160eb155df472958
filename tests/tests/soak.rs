//! All operations at once: eight threads load, reload, unload, evict, prefetch and compile, and at the end the process
//! has no more memory, mappings and files than after the warm-up.
//!
//! The test takes two seconds, or the number of seconds in the variable `SMF_SOAK_SECONDS`.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use smf_core::cache::{Capacity, FileCache, Options, Policy};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::call;
use smf_tests::sample;

const THREADS: u64 = 8;

/// Resources that must not grow.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    resident: u64,
    maps: usize,
    files: usize,
}

fn footprint() -> Footprint {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    Footprint {
        resident: line.split_whitespace().nth(1).unwrap().parse().unwrap(),
        maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        files: fs::read_dir("/proc/self/fd").unwrap().count(),
    }
}

/// State shared by all threads.
struct Shared {
    loader: ModuleLoader,
    cache: FileCache,
    code: CodeMemory,
    counter: ModuleHandle,
    steps: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options).unwrap();
        loader
            .register_provider(b"lib", ModuleBytes::new(sample("lib.smf").bytes).unwrap())
            .unwrap();
        let counter =
            loader.load(b"counter", ModuleBytes::new(sample("packed.smf").bytes).unwrap()).unwrap();
        let capacity = Capacity { files: 6, bytes: 10_000 };
        let options = Options { policy: Policy::Sieve, ..Options::default() };
        let cache = FileCache::new(capacity, options).unwrap();
        Self { loader, cache, code: CodeMemory::default(), counter, steps: AtomicU64::new(0) }
    }

    /// One step of one thread, which frees everything that it creates.
    fn step(&self, thread: u64, step: u64) {
        let name = format!("app {thread}");
        match step % 5 {
            0 => {
                let bytes = ModuleBytes::new(sample("app.smf").bytes).unwrap();
                let app = self.loader.load(name.as_bytes(), bytes).unwrap();
                let held = self.loader.get(app).unwrap();
                let direct = held.function(b"direct").unwrap();
                // SAFETY: it takes one integer, and the module is held.
                assert_eq!(unsafe { call(direct, &[14]) }.unwrap(), 42);
                drop(held);
                self.loader.unload(app).unwrap();
            }
            1 if thread == 0 => {
                let bytes = ModuleBytes::new(sample("packed.smf").bytes).unwrap();
                self.loader.reload(self.counter, bytes, StateMigration::Copy, &mut |_| {}).unwrap();
            }
            2 => {
                let names = ["packed", "native", "app", "lib", "compact", "driver", "bcod"];
                let paths = names.map(|name| sample(&format!("{name}.smf")).path());
                let paths = paths.each_ref().map(|path| path.to_str().unwrap().as_bytes());
                let at = (thread + step) as usize % paths.len();
                self.cache.evict(paths[at]);
                // Other threads may hold all files.
                self.cache.prefetch(&paths[at..], 1, |_, _| {});
            }
            3 => {
                let blocks: Vec<_> = (1..20).map(|n| self.code.allocate(n * 50).unwrap()).collect();
                blocks.into_iter().for_each(|block| block.publish().unwrap().free());
            }
            _ => {
                let counter = self.loader.get(self.counter).unwrap();
                let answer = counter.function(b"answer").unwrap();
                // SAFETY: it takes no arguments, and the module is held.
                assert_eq!(unsafe { call(answer, &[]) }.unwrap(), 42);
            }
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn memory_is_constant_under_load() {
    let seconds = env::var("SMF_SOAK_SECONDS").map_or(2, |seconds| seconds.parse().unwrap());
    let (shared, start) = (Shared::new(), Instant::now());
    let end = start + Duration::from_secs(seconds);
    let warm = thread::scope(|scope| {
        for thread in 0..THREADS {
            let shared = &shared;
            scope.spawn(move || {
                (0..)
                    .take_while(|_| Instant::now() < end)
                    .for_each(|step| shared.step(thread, step));
            });
        }
        thread::sleep(Duration::from_secs(seconds) / 3);
        footprint()
    });
    // SAFETY: all threads have ended.
    unsafe { shared.loader.collect_quiescent() };
    let last = footprint();
    println!("{} steps: warm {warm:?}, in the end {last:?}", shared.steps.into_inner());
    // The allocator of the system caches some memory for each thread.
    assert!(last.resident <= warm.resident + warm.resident / 4 + 4096, "resident memory grows");
    assert!(
        last.maps <= warm.maps + 24 && last.files <= warm.files,
        "mappings or descriptors are leaked"
    );
}
