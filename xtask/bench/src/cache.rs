//! The cache of files compared with caches of values in memory, and with the system calls for reading a file.
//!
//! Paths have 62 bytes. Both sides get the same paths in the same order, and read the value that they get. The
//! values of the peers are counted (`Arc`), because a reference of the cache outlives the lock as well.
#![allow(unsafe_code)]

use std::fs;
use std::hint::black_box;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;
use quick_cache::sync::Cache as QuickCache;
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use smf_core::cache::{Capacity, FileCache, Handle, Options, Policy};

use crate::measure::{Bench, Contender, Measure, Target, Unit, repeat, settle, write_settled};

const HIT: &str = "cache hit by path, one thread, LRU";
const HIT_SIEVE: &str = "cache hit by path, one thread, SIEVE";
const HANDLE: &str = "cache hit by handle, one thread, SIEVE";
const HANDLE_LRU: &str = "cache hit by handle, one thread, LRU";
const TWO: &str = "cache hit by path, each of two threads, SIEVE";
const TWO_HANDLE: &str = "cache hit by handle, each of two threads, SIEVE";
const TWO_LRU: &str = "cache hit by path, each of two threads, LRU";
const INSERT: &str = "cache insert with eviction, LRU";
const INSERT_SIEVE: &str = "cache insert with eviction, SIEVE";
const MISS: &str = "cache miss, 4 KiB in the page cache";
const MISS_MAPPED: &str = "cache miss, 4 KiB in the page cache, or map it";
const RATIO: [&str; 3] = [
    "cache hits fewer than quick_cache, Zipf and scan, 200 files",
    "cache hits fewer than quick_cache, Zipf and scan, 1000 files",
    "cache hits fewer than quick_cache, Zipf and scan, 4000 files",
];

/// The number of files in a full cache.
const FILES: usize = 1024;
/// The size in bytes of each file, and of a peer's value.
const SIZE: usize = 64;
/// The length of a path in bytes.
const PATH: usize = 62;

pub(crate) fn measure(bench: &mut Bench) {
    let hits = [HIT, HIT_SIEVE, HANDLE, HANDLE_LRU, TWO, TWO_HANDLE, TWO_LRU, INSERT, INSERT_SIEVE];
    if bench.wants(&hits) {
        let files = Files::new(2 * FILES, SIZE);
        measure_one_thread(bench, &files);
        measure_two_threads(bench, &files);
        measure_insert(bench, &files);
    }
    if bench.wants(&[MISS, MISS_MAPPED]) {
        measure_miss(bench);
    }
    for (name, files) in RATIO.into_iter().zip([200, 1000, 4000]) {
        if bench.wants(&[name]) {
            bench.state(name, points_behind(files), Unit::Percent, 1.0);
        }
    }
}

/// Files in a temporary directory.
struct Files {
    paths: Vec<String>,
    _directory: tempfile::TempDir,
}

impl Files {
    fn new(count: usize, size: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let start = format!("{}/", directory.path().display());
        let fill = PATH.checked_sub(start.len() + 5).expect("a shorter directory for files");
        let path = |number| format!("{start}{}{number:05}", "m".repeat(fill));
        let paths: Vec<String> = (0..count).map(path).collect();
        paths.iter().for_each(|path| fs::write(path, vec![1; size]).unwrap());
        settle();
        Files { paths, _directory: directory }
    }
}

fn cache(files: usize, policy: Policy) -> FileCache {
    let capacity = Capacity { files: u32::try_from(files).unwrap(), bytes: 1 << 30 };
    FileCache::new(capacity, Options { policy, ..Options::default() }).unwrap()
}

/// A cache that holds the first files.
fn filled(files: &Files, policy: Policy) -> FileCache {
    let cache = cache(FILES, policy);
    files.paths.iter().take(FILES).for_each(|path| drop(cache.get(path.as_bytes()).unwrap()));
    cache
}

fn handles(cache: &FileCache, files: &Files) -> Vec<Handle> {
    let handle = |path: &String| cache.get(path.as_bytes()).unwrap().handle();
    files.paths.iter().take(FILES).map(handle).collect()
}

fn size(files: usize) -> NonZero<usize> {
    NonZero::new(files).unwrap()
}

/// Pseudo-random numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The files to request, in order. Short numbers, which leave the processor's cache to the measured code.
struct Order(Vec<u16>);

impl Order {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers(88_172_645_463_325_252 ^ seed);
        Order((0..1 << 13).map(|_| u16::try_from(numbers.next() % FILES as u64).unwrap()).collect())
    }

    /// Calls `hit` `times` times with the number of a file and returns the time.
    fn time(&self, times: u64, mut hit: impl FnMut(usize) -> u8) -> Duration {
        let mut left = usize::try_from(times).unwrap();
        let start = Instant::now();
        while left != 0 {
            let round = &self.0[..left.min(self.0.len())];
            for &file in round {
                black_box(hit(usize::from(file)));
            }
            left -= round.len();
        }
        start.elapsed()
    }
}

/// Calls `hit` with the number of each file.
fn in_order<'a>(mut hit: impl FnMut(usize) -> u8 + 'a) -> Contender<'a> {
    let order = Order::new(0);
    Box::new(move |times| order.time(times, &mut hit))
}

/// The peer: an exact LRU behind a lock.
type LockedLru = Mutex<LruCache<String, Arc<Vec<u8>>>>;

fn filled_lru(files: &Files) -> LockedLru {
    let mut peer = LruCache::new(size(FILES));
    let paths = files.paths.iter().take(FILES);
    paths.for_each(|path| drop(peer.put(path.clone(), Arc::new(vec![1u8; SIZE]))));
    Mutex::new(peer)
}

fn get_locked(peer: &LockedLru, path: &str) -> u8 {
    let value: Arc<Vec<u8>> = peer.lock().unwrap().get(path).unwrap().clone();
    value[0]
}

fn filled_quick(files: &Files) -> QuickCache<String, Arc<Vec<u8>>> {
    let peer = QuickCache::new(4 * FILES);
    let paths = files.paths.iter().take(FILES);
    paths.for_each(|path| peer.insert(path.clone(), Arc::new(vec![1; SIZE])));
    peer
}

fn measure_one_thread(bench: &mut Bench, files: &Files) {
    let paths = &files.paths;
    for (path_row, handle_row, policy) in
        [(HIT, HANDLE_LRU, Policy::Lru), (HIT_SIEVE, HANDLE, Policy::Sieve)]
    {
        let (cache, peer) = (filled(files, policy), filled_lru(files));
        let handles = handles(&cache, files);
        let target = Target::ratio(1.0);
        let measure = Measure { name: path_row, peer: "Mutex, lru", target, ..Measure::default() };
        let hit = in_order(|file| cache.get(paths[file].as_bytes()).unwrap()[0]);
        let theirs = in_order(|file| get_locked(&peer, &paths[file]));
        bench.take(&measure, hit, Some(theirs));
        let peer_name = "Mutex, lru by path";
        let measure = Measure { name: handle_row, peer: peer_name, target, ..Measure::default() };
        let hit = in_order(|file| cache.get_by_handle(handles[file]).unwrap()[0]);
        let theirs = in_order(|file| get_locked(&peer, &paths[file]));
        bench.take(&measure, hit, Some(theirs));
    }
}

fn measure_two_threads(bench: &mut Bench, files: &Files) {
    let paths = &files.paths;
    let (sieve, lru) = (filled(files, Policy::Sieve), filled(files, Policy::Lru));
    let handles = handles(&sieve, files);
    let (quick, locked) = (filled_quick(files), filled_lru(files));
    let quick = || in_two_threads(|file| quick.get(&paths[file]).unwrap()[0]);
    let take = |bench: &mut Bench, name, peer, ours, theirs| {
        let target = Target::ratio(1.0);
        let measure = Measure { name, peer, target, batches: 200, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    };
    let by_path = in_two_threads(|file| sieve.get(paths[file].as_bytes()).unwrap()[0]);
    take(bench, TWO, "quick_cache", by_path, quick());
    let by_handle = in_two_threads(|file| sieve.get_by_handle(handles[file]).unwrap()[0]);
    take(bench, TWO_HANDLE, "quick_cache by path", by_handle, quick());
    let by_path = in_two_threads(|file| lru.get(paths[file].as_bytes()).unwrap()[0]);
    let locked = in_two_threads(|file| get_locked(&locked, &paths[file]));
    take(bench, TWO_LRU, "Mutex, lru", by_path, locked);
}

/// Two threads at once; the time is that of the slower one.
fn in_two_threads<'a>(hit: impl Fn(usize) -> u8 + Sync + 'a) -> Contender<'a> {
    let orders = [Order::new(1), Order::new(2)];
    Box::new(move |times| {
        let (ready, hit) = (AtomicUsize::new(0), &hit);
        let work = |order: &Order| {
            ready.fetch_add(1, Ordering::SeqCst);
            // A sleeping thread could start after the other one has ended.
            while ready.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
            order.time(times, hit)
        };
        thread::scope(|scope| {
            let started = orders.each_ref().map(|order| scope.spawn(|| work(order)));
            started.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    })
}

/// Inserts twice as many paths as the cache has files, in turn, so that each insertion evicts another file. Both
/// sides copy the path and the bytes and free the evicted ones.
fn measure_insert(bench: &mut Bench, files: &Files) {
    let rounds = || files.paths.iter().cycle().skip(FILES);
    for (name, policy) in [(INSERT, Policy::Lru), (INSERT_SIEVE, Policy::Sieve)] {
        let (cache, peer) = (filled(files, policy), filled_lru(files));
        let (mut ours, mut theirs) = (rounds(), rounds());
        let insert = repeat(move || {
            let path = ours.next().unwrap();
            cache.insert(path.as_bytes(), &[1; SIZE]).unwrap()[0]
        });
        let push = repeat(move || {
            let (path, bytes) = (theirs.next().unwrap().clone(), Arc::new(vec![1; SIZE]));
            peer.lock().unwrap().push(path, bytes).is_some()
        });
        let target = Target::ratio(1.0);
        let measure = Measure { name, peer: "Mutex, lru", target, ..Measure::default() };
        bench.take(&measure, insert, Some(push));
    }
}

fn measure_miss(bench: &mut Bench) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("four");
    write_settled(&path, &[3; 4096]);
    let cache = cache(FILES, Policy::Lru);
    let name = path.as_os_str().as_bytes();
    let miss = || {
        repeat(|| {
            let first = cache.get(name).unwrap()[0];
            assert!(cache.evict(name));
            first
        })
    };
    let open = || rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let read = repeat(|| {
        let file = open();
        let mut buffer = [0; 4096];
        black_box(rustix::fs::fstat(&file).unwrap());
        rustix::io::pread(&file, &mut buffer, 0).unwrap();
        // The bytes are one version of the file only if the stamp is the same.
        black_box(rustix::fs::fstat(&file).unwrap());
        black_box(buffer)[0]
    });
    let target = Target::ratio(1.15);
    let peer = "open fstat pread fstat close";
    bench.take(&Measure { name: MISS, peer, target, ..Measure::default() }, miss(), Some(read));
    let peer = "open fstat mmap touch close";
    let target = Target::ratio(1.0);
    let measure = Measure { name: MISS_MAPPED, peer, target, ..Measure::default() };
    bench.take(&measure, miss(), Some(repeat(|| map_and_touch(open()))));
}

fn map_and_touch(file: rustix::fd::OwnedFd) -> u8 {
    let len = usize::try_from(rustix::fs::fstat(&file).unwrap().st_size).unwrap();
    let (access, flags) = (ProtFlags::READ, MapFlags::PRIVATE);
    // SAFETY: the kernel chooses the address of a new mapping.
    let start = unsafe { mmap(std::ptr::null_mut(), len, access, flags, &file, 0) }.unwrap();
    drop(file);
    // SAFETY: the first byte of the mapping, of a file that no other process truncates.
    let first = unsafe { start.cast::<u8>().read_volatile() };
    // SAFETY: the mapping made above, which is no longer used.
    unsafe { munmap(start, len) }.unwrap();
    first
}

/// By how many percentage points the hit rate of SIEVE is below that of `quick_cache`, if requests follow Zipf's law
/// (exponent 0.9, 20,000 files) and every tenth two thousand of them scan 20,000 other files.
fn points_behind(capacity: usize) -> f64 {
    const KEYS: usize = 20_000;
    const STEPS: usize = 400_000;
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    let ours = cache(capacity, Policy::Sieve);
    let peer = QuickCache::new(capacity);
    let mut numbers = Numbers(88_172_645_463_325_252);
    let (mut peer_hits, mut scanned) = (0, KEYS);
    for step in 0..STEPS {
        let key = if step / 2000 % 10 == 9 {
            scanned = if scanned + 1 == 2 * KEYS { KEYS } else { scanned + 1 };
            scanned
        } else {
            let wanted = numbers.unit() * sum;
            sums.partition_point(|sum| *sum < wanted).min(KEYS - 1)
        };
        let name = key.to_le_bytes();
        if ours.get(&name).is_err() {
            ours.insert(&name, b"value").unwrap();
        }
        match peer.get(&key) {
            Some(()) => peer_hits += 1,
            None => peer.insert(key, ()),
        }
    }
    let share = |hits: u64| 100.0 * hits as f64 / STEPS as f64;
    share(peer_hits) - share(ours.statistics().hits)
}
