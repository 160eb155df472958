//! Bytes that come from no file.

use std::os::unix::ffi::OsStrExt;

use smf_core::cache::{CacheError, Capacity, FileCache, Options, Policy, Revalidation};
use smf_core::memory::MemoryError;

use crate::{LARGE, Numbers, cache, names, reserved};

#[test]
fn inserted_bytes_are_found_and_never_compared_with_file() {
    let options = Options { revalidation: Revalidation::OnGet, ..Options::default() };
    let growing = FileCache::new(LARGE, options).unwrap();
    check_inserted(&growing);
    check_inserted(&reserved(Capacity { files: 6, ..LARGE }, options));
}

fn check_inserted(cache: &FileCache) {
    let put = |name: &[u8], bytes: &[u8]| {
        let inserted = cache.insert(name, bytes).unwrap();
        assert_eq!((&*inserted, inserted.stamp()), (bytes, None));
        inserted.handle()
    };
    let one = put(b"one", b"1");
    put(b"two", b"");
    put(b"", b"no name");
    for (name, bytes) in [(&b"one"[..], &b"1"[..]), (b"two", b""), (b"", b"no name")] {
        assert_eq!(&*cache.get(name).unwrap(), bytes);
        assert_eq!(&*cache.get(name).unwrap(), bytes);
        assert_eq!(cache.refresh(name), Ok(false));
    }
    assert_eq!(cache.refresh_all(), 0);
    let held = cache.get_by_handle(one).unwrap();
    put(b"one", b"another");
    assert_eq!((&*held, &*cache.get(b"one").unwrap()), (&b"1"[..], &b"another"[..]));
    assert_eq!(cache.get_by_handle(one).map(drop), Err(CacheError::Stale { handle: one }));
    drop(held);
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.bytes), (3, 14));
    assert_eq!((statistics.misses, statistics.replacements), (0, 1));
    assert_eq!((statistics.hits, statistics.load_times.count()), (8, 0));
    // After the eviction the file does not exist.
    assert!(cache.evict(b"one"));
    assert!(matches!(cache.get(b"one"), Err(CacheError::File(MemoryError::Open { .. }))));
}

#[test]
fn insert_of_too_many_bytes_is_refused() {
    let cache = cache(3, 10, Policy::Lru);
    let too_large = CacheError::TooLarge { size: 11, capacity: 10 };
    assert_eq!(cache.insert(b"name", &[1; 11]).map(|_| ()).unwrap_err(), too_large);
    let held = cache.insert(b"ten", &[1; 10]).unwrap();
    let refused = cache.insert(b"one", &[1]).map(|_| ()).unwrap_err();
    assert_eq!(refused, CacheError::AllInUse { files: 1, bytes: 10 });
    assert_eq!(&*held, [1; 10]);
}

/// Against a list that drops its last element.
#[test]
fn inserted_bytes_are_evicted_in_lru_order() {
    let capacity = Capacity { files: 20, bytes: 1 << 20 };
    let cache = FileCache::new(capacity, Options::default()).unwrap();
    let mut numbers = Numbers(11);
    let mut list: Vec<(u8, u8)> = Vec::new();
    for step in 0..3000u32 {
        let (name, value) = (numbers.below(50) as u8, step as u8);
        let known = list.iter().position(|known| known.0 == name);
        let value = match known {
            Some(at) if numbers.below(2) == 0 => list[at].1,
            _ => {
                drop(cache.insert(&[name], &[value; 40]).unwrap());
                value
            }
        };
        known.map(|at| list.remove(at));
        list.insert(0, (name, value));
        list.truncate(20);
        assert_eq!(*cache.get(&[name]).unwrap(), [value; 40]);
        let found = names(&cache);
        let found = found.iter().map(|name| name.as_os_str().as_bytes()[0]);
        assert!(found.eq(list.iter().map(|known| known.0)), "step {step}");
    }
    assert!(cache.statistics().evictions > 500);
}

/// The limits hold for all shards together, and a large file evicts files of all of them.
#[test]
fn sharded_cache_of_inserted_bytes_keeps_within_both_limits() {
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(200, 10_000, policy);
        let mut numbers = Numbers(5);
        for step in 0..20_000u32 {
            let name = (numbers.below(400) as u32).to_le_bytes();
            let size = if step % 500 == 499 { 9000 } else { numbers.below(100) };
            let inserted = cache.insert(&name, &vec![step as u8; size]).unwrap();
            assert_eq!(&*inserted, vec![step as u8; size]);
            let found = cache.get_by_handle(inserted.handle()).unwrap();
            assert_eq!(found.as_ptr(), inserted.as_ptr());
            let statistics = cache.statistics();
            assert!(statistics.files <= 200 && statistics.bytes <= 10_000, "step {step}");
            assert_eq!(statistics.files as usize, names(&cache).len());
        }
        let statistics = cache.statistics();
        assert!(statistics.evictions > 5000 && statistics.peak_bytes <= 10_000);
        cache.clear();
        let statistics = cache.statistics();
        assert_eq!((statistics.files, statistics.bytes, statistics.detached_files), (0, 0, 0));
    }
}

/// Held files of one shard do not keep the others from being evicted.
#[test]
fn sharded_cache_is_full_only_when_all_files_are_in_use() {
    let cache = cache(128, 1 << 20, Policy::Lru);
    let mut held: Vec<_> =
        (0..128u32).map(|name| cache.insert(&name.to_le_bytes(), b"held").unwrap()).collect();
    let refused = cache.insert(b"one more", b"").map(drop);
    assert_eq!(refused, Err(CacheError::AllInUse { files: 128, bytes: 512 }));
    for released in 0..128 {
        drop(held.swap_remove(released % held.len()));
        let name = (1000 + released as u32).to_le_bytes();
        held.push(cache.insert(&name, b"held").unwrap());
    }
    assert!(held.iter().all(|file| **file == *b"held"));
}
