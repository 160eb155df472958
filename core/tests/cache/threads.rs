//! Many threads at once, and files that change meanwhile.

use std::fs::{self, OpenOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use smf_core::cache::{CacheError, Capacity, FileCache, Freshness, Options, Policy};
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, Numbers, STEPS, THREADS, at_random, get, names, sixty};

#[test]
fn threads_see_whole_files_and_every_request_is_counted() {
    let directory = Directory::new();
    let paths = sixty(&directory);
    for (policy, freshness) in [
        (Policy::Lru, Freshness::OnRequest),
        (Policy::Sieve, Freshness::OnRequest),
        (Policy::Sieve, Freshness::EachGet),
    ] {
        let capacity = Capacity { files: 20, bytes: 2500 };
        let cache = FileCache::new(capacity, Options { policy, freshness }).unwrap();
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (cache, paths) = (&cache, &paths);
                scope.spawn(move || {
                    at_random(cache, paths, Numbers(seed as u64), |_, path| {
                        get(cache, path).unwrap()
                    });
                });
            }
        });
        let statistics = cache.statistics();
        assert_eq!(statistics.hits + statistics.misses, (THREADS * STEPS) as u64);
        assert_eq!(statistics.failures, 0);
        assert!(statistics.files <= 20 && statistics.bytes <= 2500);
        assert!(statistics.hits > 1000 && statistics.evictions > 1000);
        assert_eq!(statistics.load_times.count(), statistics.misses);
        let bytes: usize =
            names(&cache).iter().map(|n| fs::metadata(n).unwrap().len() as usize).sum();
        assert_eq!(statistics.bytes, bytes as u64);
        cache.clear();
        get(&cache, &paths[0]).unwrap();
        assert_eq!(cache.statistics().detached_files, 0);
    }
}

#[test]
fn a_file_in_motion_is_old_or_new_or_an_error() {
    let directory = Directory::new();
    const LEN: usize = 30_000;
    let path = directory.file("moving", &[1; LEN]);
    let options = Options { freshness: Freshness::EachGet, ..Options::default() };
    let cache = FileCache::new(LARGE, options).unwrap();
    let changes = AtomicU32::new(0);
    let (mut whole, mut values, mut wrong) = (0, [false; 9], Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in (1..=8u8).cycle().take(120) {
                match value % 4 {
                    0 => fs::write(&path, [value; LEN]).unwrap(),
                    1 => {
                        let other = directory.0.join("other");
                        fs::write(&other, [value; LEN]).unwrap();
                        fs::rename(&other, &path).unwrap();
                    }
                    2 => OpenOptions::new().write(true).open(&path).unwrap().set_len(5000).unwrap(),
                    _ => {
                        fs::remove_file(&path).unwrap();
                        fs::write(&path, [value; LEN]).unwrap();
                    }
                }
                thread::sleep(Duration::from_micros(300));
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
        while changes.load(Ordering::Relaxed) < 120 {
            match get(&cache, &path) {
                // Truncated before it is written anew, a file is empty or short for a while.
                Ok(bytes) if bytes.iter().all(|byte| *byte == bytes[0]) => {
                    whole += usize::from(bytes.len() == LEN);
                    bytes.first().inspect(|value| values[**value as usize] = true);
                }
                Ok(_) => wrong.push(None),
                Err(CacheError::File(MemoryError::Changing { .. } | MemoryError::Open { .. })) => {}
                Err(error) => wrong.push(Some(error)),
            }
        }
    });
    assert!(wrong.is_empty(), "mixtures, and errors: {wrong:?}");
    assert!(whole > 0 && values.iter().filter(|seen| **seen).count() > 1, "{whole} {values:?}");
}
