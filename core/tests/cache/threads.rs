//! Requests from several threads, and files that change meanwhile.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use smf_core::cache::{
    CacheError, Capacity, FileCache, Handle, Options, Policy, Revalidation, Storage,
};
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, Numbers, STEPS, THREADS, at_random, get, names, sixty};

#[test]
fn threads_get_whole_files_and_every_request_is_counted() {
    let directory = Directory::new();
    let paths = sixty(&directory);
    for (policy, revalidation, storage) in [
        (Policy::Lru, Revalidation::Manual, Storage::Growing),
        (Policy::Sieve, Revalidation::Manual, Storage::Reserved),
        (Policy::Sieve, Revalidation::OnGet, Storage::Growing),
    ] {
        let capacity = Capacity { files: 20, bytes: 2500 };
        let options = Options { policy, revalidation, storage };
        let cache = FileCache::new(capacity, options).unwrap();
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (cache, paths) = (&cache, &paths);
                scope.spawn(move || {
                    at_random(cache, paths, Numbers(seed as u64), |step, path| {
                        let found = get(cache, path).unwrap();
                        if step % 50 == 17 {
                            let _ = cache.refresh(path.as_os_str().as_bytes());
                        }
                        found
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
fn file_that_changes_is_old_or_new_or_an_error() {
    let directory = Directory::new();
    const LEN: usize = 30_000;
    let path = directory.file("moving", &[1; LEN]);
    let options = Options { revalidation: Revalidation::OnGet, ..Options::default() };
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
                // `fs::write` truncates the file first, so that it is empty or short for a while.
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

/// Threads in different shards, with limits that make each insertion evict.
#[test]
fn threads_of_sharded_cache_keep_within_limits() {
    for policy in [Policy::Lru, Policy::Sieve] {
        let capacity = Capacity { files: 100, bytes: 2000 };
        let cache = FileCache::new(capacity, Options { policy, ..Options::default() }).unwrap();
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let cache = &cache;
                scope.spawn(move || {
                    let mut numbers = Numbers(seed as u64);
                    for step in 0..STEPS {
                        let name = [numbers.below(200) as u8];
                        match cache.get(&name) {
                            Ok(found) => assert!(found.iter().all(|byte| *byte == name[0])),
                            Err(_) => {
                                let bytes = vec![name[0]; numbers.below(60)];
                                assert_eq!(*cache.insert(&name, &bytes).unwrap(), bytes);
                            }
                        }
                        if step % 100 == 99 {
                            cache.evict(&name);
                            let statistics = cache.statistics();
                            assert!(statistics.files <= 100 && statistics.bytes <= 2000);
                        }
                    }
                });
            }
        });
        let statistics = cache.statistics();
        assert!(statistics.hits > 1000 && statistics.evictions > 1000);
        assert!(statistics.peak_bytes <= 2000);
        cache.clear();
        assert_eq!((cache.statistics().files, cache.statistics().detached_files), (0, 0));
    }
}

/// One thread evicts as fast as it can the files that the others request by handle.
#[test]
fn file_requested_by_handle_while_evicted_is_whole_or_stale() {
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = FileCache::new(
            Capacity { files: 2, bytes: 1 << 20 },
            Options { policy, ..Options::default() },
        )
        .unwrap();
        let (newest, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while seen.load(Ordering::Relaxed) < 50_000 {
                        let handle = Handle::from_raw(newest.load(Ordering::Acquire));
                        let Ok(view) = cache.get_by_handle(handle) else { continue };
                        let first = view[0];
                        assert!((0..3).all(|_| view.iter().all(|byte| *byte == first)));
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for step in (0..u32::MAX).take_while(|_| seen.load(Ordering::Relaxed) < 50_000) {
                let bytes = [step as u8; 200];
                // Both files may be in use.
                if let Ok(view) = cache.insert(&step.to_le_bytes(), &bytes) {
                    newest.store(view.handle().to_raw(), Ordering::Release);
                }
            }
        });
        assert_eq!(cache.statistics().hits, seen.into_inner());
    }
}
