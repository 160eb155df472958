//! Files by path, beside caches of values that are in memory already, and beside the system calls that
//! reading a file takes.
//!
//! Paths have 62 bytes. Both sides get the same ones in the same order, and touch the value that they
//! get.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;
use quick_cache::sync::Cache as QuickCache;
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use smf_core::cache::{Bucket, Capacity, FileCache, Handle, Options, Policy, Reader, Slot};

use crate::measure::{Bench, Contender, Measure, Target, Unit, repeat, write_old};

const HIT: &str = "cache hit by path, one thread, exact LRU";
const HIT_SIEVE: &str = "cache hit by path, one thread, SIEVE";
const HANDLE: &str = "cache hit by handle, one thread, SIEVE";
const HANDLE_LRU: &str = "cache hit by handle, one thread, exact LRU";
const TWO: &str = "cache hit by path, each of two threads, SIEVE";
const TWO_HANDLE: &str = "cache hit by handle, each of two threads, SIEVE";
const TWO_LRU: &str = "cache hit by path, each of two threads, exact LRU";
const INSERT: &str = "cache insert with eviction, bytes given, alone";
const INSERT_SHARED: &str = "cache insert with eviction, bytes given, shared";
const MISS: &str = "cache miss, 4 KiB in the page cache";
const MISS_MAPPED: &str = "cache miss, 4 KiB in the page cache, or map it";
const MEMORY: &str = "cache bytes a file, beside its bytes and path";
const RATIO: [&str; 3] = [
    "cache hits fewer than quick_cache, Zipf and scan, 200 files",
    "cache hits fewer than quick_cache, Zipf and scan, 1000 files",
    "cache hits fewer than quick_cache, Zipf and scan, 4000 files",
];

/// How many files there are in a cache that is full.
const FILES: usize = 1024;
/// The bytes of each, and of a peer's value.
const SIZE: usize = 64;
/// The bytes of a path.
const PATH: usize = 62;

pub(crate) fn measure(bench: &mut Bench) {
    let hits =
        [HIT, HIT_SIEVE, HANDLE, HANDLE_LRU, TWO, TWO_HANDLE, TWO_LRU, INSERT, INSERT_SHARED];
    if bench.wants(&hits) {
        let files = Files::new(2 * FILES, SIZE);
        measure_alone(bench, &files);
        measure_threads(bench, &files);
        measure_insert(bench, &files);
    }
    if bench.wants(&[MISS, MISS_MAPPED]) {
        measure_miss(bench);
    }
    let slot = size_of::<Slot>() + size_of::<Bucket>() / 4;
    bench.state(MEMORY, slot as f64, Unit::Count, 128.0);
    for (name, files) in RATIO.into_iter().zip([200, 1000, 4000]) {
        if bench.wants(&[name]) {
            bench.state(name, points_behind(files), Unit::Percent, 1.0);
        }
    }
}

/// Files that were last modified long ago, in a directory of their own.
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
        paths.iter().for_each(|path| write_old(Path::new(path), &vec![1; size]));
        Files { paths, _directory: directory }
    }
}

fn cache(files: usize, policy: Policy) -> FileCache {
    let capacity = Capacity { files: u32::try_from(files).unwrap(), bytes: 1 << 30 };
    FileCache::new(capacity, Options { policy, ..Options::default() }).unwrap()
}

/// With the first files in it.
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

/// Numbers that no cache foresees.
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

/// Which file is hit, again and again. Few enough numbers, and short ones, to leave a processor's cache
/// to what is measured.
struct Order(Vec<u16>);

impl Order {
    fn new(seed: u64) -> Self {
        let mut numbers = Numbers(88_172_645_463_325_252 ^ seed);
        Order((0..1 << 13).map(|_| u16::try_from(numbers.next() % FILES as u64).unwrap()).collect())
    }

    /// Calls `hit` so many times with the number of a file, and says how long that took.
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

/// Calls `hit` with the numbers of files.
fn in_order<'a>(mut hit: impl FnMut(usize) -> u8 + 'a) -> Contender<'a> {
    let order = Order::new(0);
    Box::new(move |times| order.time(times, &mut hit))
}

fn measure_alone(bench: &mut Bench, files: &Files) {
    let paths = &files.paths;
    for (name, policy, nanoseconds) in [(HIT, Policy::Lru, 22.0), (HIT_SIEVE, Policy::Sieve, 22.0)]
    {
        let mut ours = filled(files, policy);
        let mut peer = LruCache::new(size(FILES));
        paths.iter().take(FILES).for_each(|path| drop(peer.put(path.clone(), vec![1u8; SIZE])));
        let target = Target { ratio: Some(1.0), nanoseconds: Some(nanoseconds) };
        let measure = Measure { name, peer: "lru", target, ..Measure::default() };
        let hit = in_order(|file| ours.get_exclusive(paths[file].as_bytes()).unwrap()[0]);
        let theirs = in_order(move |file| peer.get(&paths[file]).unwrap()[0]);
        bench.take(&measure, hit, Some(theirs));
    }
    for (name, policy, target) in
        [(HANDLE, Policy::Sieve, Target::nanoseconds(6.0)), (HANDLE_LRU, Policy::Lru, Target::NONE)]
    {
        let cache = filled(files, policy);
        let (reader, handles) = (cache.reader(), handles(&cache, files));
        let measure = Measure { name, target, ..Measure::default() };
        let hit = in_order(move |file| reader.get_by_handle(handles[file]).unwrap()[0]);
        bench.take(&measure, hit, None);
    }
}

fn measure_threads(bench: &mut Bench, files: &Files) {
    let paths = &files.paths;
    let (sieve, lru) = (filled(files, Policy::Sieve), filled(files, Policy::Lru));
    let handles = handles(&sieve, files);
    let quick = QuickCache::new(4 * FILES);
    let locked = Mutex::new(LruCache::new(size(FILES)));
    for path in paths.iter().take(FILES) {
        quick.insert(path.clone(), Arc::new(vec![1; SIZE]));
        locked.lock().unwrap().put(path.clone(), Arc::new(vec![1; SIZE]));
    }
    let quick = || in_two_threads(|| (), |(), file| quick.get(&paths[file]).unwrap()[0]);
    let locked = in_two_threads(
        || (),
        |(), file| {
            let value: Arc<Vec<u8>> = locked.lock().unwrap().get(&paths[file]).unwrap().clone();
            value[0]
        },
    );
    let by_path = |reader: &Reader<'_>, file: usize| reader.get(paths[file].as_bytes()).unwrap()[0];
    let take = |bench: &mut Bench, name, peer, target, ours, theirs| {
        let measure = Measure { name, peer, target, batches: 200, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    };
    let target = Target { ratio: Some(0.1), nanoseconds: Some(8.0) };
    let reader = || sieve.reader();
    take(bench, TWO, "quick_cache", target, in_two_threads(reader, by_path), quick());
    let by_handle = in_two_threads(reader, |reader: &Reader<'_>, file| {
        reader.get_by_handle(handles[file]).unwrap()[0]
    });
    take(bench, TWO_HANDLE, "quick_cache by path", target, by_handle, quick());
    let ours = in_two_threads(|| lru.reader(), by_path);
    take(bench, TWO_LRU, "Mutex, lru", Target::ratio(1.0), ours, locked);
}

/// Two threads at once, each with something of its own; the time is that of the slower one.
fn in_two_threads<'a, R: 'a>(
    prepare: impl Fn() -> R + Sync + 'a,
    hit: impl Fn(&R, usize) -> u8 + Sync + 'a,
) -> Contender<'a> {
    let orders = [Order::new(1), Order::new(2)];
    Box::new(move |times| {
        let (ready, prepare, hit) = (AtomicUsize::new(0), &prepare, &hit);
        let work = |order: &Order| {
            let own = prepare();
            ready.fetch_add(1, Ordering::SeqCst);
            // To sleep here would let one of them begin when the other is done.
            while ready.load(Ordering::SeqCst) < 2 {
                std::hint::spin_loop();
            }
            order.time(times, |file| hit(&own, file))
        };
        thread::scope(|scope| {
            let started = orders.each_ref().map(|order| scope.spawn(|| work(order)));
            started.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    })
}

/// Twice as many paths as there is room for go round, so each throws out another, whose memory is given
/// back. Before the clock starts paths and bytes are copied on both sides.
fn measure_insert(bench: &mut Bench, files: &Files) {
    let rounds = || files.paths.iter().cycle().skip(FILES);
    let mut alone = filled(files, Policy::Lru);
    let shared = filled(files, Policy::Lru);
    let given = || {
        let (mut round, shared) = (rounds(), &shared);
        move || shared.prepare(round.next().unwrap().as_bytes(), &[1; SIZE]).unwrap()
    };
    let peer = || {
        let mut peer = LruCache::new(size(FILES));
        files.paths.iter().take(FILES).for_each(|path| drop(peer.put(path.clone(), vec![1; SIZE])));
        let mut round = rounds();
        let ready = move || (round.next().unwrap().clone(), vec![1u8; SIZE]);
        prepared(ready, move |(path, bytes)| drop(peer.push(path, bytes)))
    };
    let target = Target::nanoseconds(30.0);
    let measure = Measure { name: INSERT, peer: "lru", target, ..Measure::default() };
    let ours = prepared(given(), |file| alone.insert_exclusive(file).unwrap().len());
    bench.take(&measure, ours, Some(peer()));
    let measure = Measure { name: INSERT_SHARED, peer: "lru", ..Measure::default() };
    let ours = prepared(given(), |file| shared.insert(file).unwrap().len());
    bench.take(&measure, ours, Some(peer()));
}

/// Prepares many things, and is timed while it uses them up.
fn prepared<'a, P: 'a, T>(
    mut prepare: impl FnMut() -> P + 'a,
    mut work: impl FnMut(P) -> T + 'a,
) -> Contender<'a> {
    const MOST: u64 = FILES as u64 / 2;
    Box::new(move |times| {
        let mut timed = Duration::ZERO;
        let mut left = times;
        while left != 0 {
            let things: Vec<P> = (0..left.min(MOST)).map(|_| prepare()).collect();
            left -= things.len() as u64;
            let start = Instant::now();
            for thing in things {
                black_box(work(thing));
            }
            timed += start.elapsed();
        }
        timed
    })
}

fn measure_miss(bench: &mut Bench) {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("four");
    write_old(&path, &[3; 4096]);
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
        // What was read is one state of the file only if this says the same.
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
    // SAFETY: the kernel chooses a place where nothing is.
    let start = unsafe { mmap(std::ptr::null_mut(), len, access, flags, &file, 0) }.unwrap();
    drop(file);
    // SAFETY: the first byte of the mapping, of a file that nobody truncates.
    let first = unsafe { start.cast::<u8>().read_volatile() };
    // SAFETY: mapped above, and not used any more.
    unsafe { munmap(start, len) }.unwrap();
    first
}

/// How many points of a hundred SIEVE hits less often than `quick_cache`, when requests follow Zipf's law
/// (0.9, 20,000 files) and every tenth two thousand of them scan 20,000 others.
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
    let mut ours = cache(capacity, Policy::Sieve);
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
        if ours.get_exclusive(&name).is_none() {
            ours.insert(ours.prepare(&name, b"value").unwrap()).unwrap();
        }
        match peer.get(&key) {
            Some(()) => peer_hits += 1,
            None => peer.insert(key, ()),
        }
    }
    let share = |hits: u64| 100.0 * hits as f64 / STEPS as f64;
    share(peer_hits) - share(ours.statistics().hits)
}
