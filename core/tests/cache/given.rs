//! Files that are read first and put in later, and bytes that come from no file.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use smf_core::cache::{CacheError, Capacity, FileCache, FixedStorage, Freshness, Options, Policy};
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, Numbers, cache, get, names};

#[test]
fn what_was_read_is_put_in_later() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let name = path.as_os_str().as_bytes();
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let (one, two) = (cache.read(name).unwrap(), cache.read(name).unwrap());
    assert_eq!((&*one, one.path()), (&b"alpha"[..], name));
    assert_eq!((cache.statistics().files, cache.statistics().misses), (0, 0));
    let first = cache.insert(one).unwrap();
    let second = cache.insert(two).unwrap();
    assert_eq!((&*second, second.as_ptr()), (&b"alpha"[..], first.as_ptr()), "the first one stays");
    assert_eq!(get(&cache, &path).unwrap().handle(), first.handle());
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.misses, statistics.hits), (1, 2, 1));
    assert_eq!(statistics.load_times.count(), 2);
    // Another state of the file takes the place of this one.
    fs::write(&path, b"beta").unwrap();
    let third = cache.insert(cache.read(name).unwrap()).unwrap();
    assert_eq!((&*third, &*first), (&b"beta"[..], &b"alpha"[..]));
    assert_eq!(&*get(&cache, &path).unwrap(), b"beta");
    assert_eq!(cache.statistics().replacements, 1);
    let missing = cache.read(b"/nowhere/at/all").map(|_| ()).unwrap_err();
    assert!(matches!(missing, CacheError::File(MemoryError::Open { .. })));
}

#[test]
fn given_bytes_are_found_like_files_and_compared_with_none() {
    let options = Options { freshness: Freshness::EachGet, ..Options::default() };
    let growing = FileCache::new(LARGE, options).unwrap();
    check_given(&growing);
    let fixed = FixedStorage::<6, 2>::new();
    check_given(&FileCache::with_storage(fixed, LARGE, options).unwrap());
}

fn check_given<S: smf_core::cache::Storage>(cache: &FileCache<S>) {
    let put = |name: &[u8], bytes: &[u8]| {
        let given = cache.insert(cache.prepare(name, bytes).unwrap()).unwrap();
        assert_eq!((&*given, given.stamp()), (bytes, None));
        given.handle()
    };
    let one = put(b"one", b"1");
    put(b"two", b"");
    put(b"", b"no name");
    let reader = cache.reader();
    for (name, bytes) in [(&b"one"[..], &b"1"[..]), (b"two", b""), (b"", b"no name")] {
        assert_eq!(&*cache.get(name).unwrap(), bytes);
        assert_eq!(&*reader.get(name).unwrap(), bytes);
        assert_eq!(cache.refresh(name), Ok(false));
    }
    assert_eq!(cache.refresh_all(), 0);
    let held = reader.get_by_handle(one).unwrap();
    put(b"one", b"another");
    assert_eq!((&*held, &*cache.get(b"one").unwrap()), (&b"1"[..], &b"another"[..]));
    assert_eq!(cache.get_by_handle(one).map(drop), Err(CacheError::Stale { handle: one }));
    drop(held);
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.bytes), (3, 14));
    assert_eq!((statistics.misses, statistics.replacements), (0, 1));
    assert_eq!((statistics.hits, statistics.load_times.count()), (8, 0));
    // Thrown out, it is a file that is not there.
    assert!(cache.evict(b"one"));
    assert!(matches!(cache.get(b"one"), Err(CacheError::File(MemoryError::Open { .. }))));
}

#[test]
fn what_is_too_large_is_refused_before_and_after() {
    let small = cache(3, 10, Policy::Lru);
    let large = cache(3, 100, Policy::Lru);
    let too_large = CacheError::TooLarge { size: 11, capacity: 10 };
    assert_eq!(small.prepare(b"name", &[1; 11]).map(|_| ()).unwrap_err(), too_large);
    let made_elsewhere = large.prepare(b"name", &[1; 11]).unwrap();
    assert_eq!(small.insert(made_elsewhere).map(|_| ()).unwrap_err(), too_large);
    let held = small.insert(small.prepare(b"ten", &[1; 10]).unwrap()).unwrap();
    let refused = small.insert(small.prepare(b"one", &[1]).unwrap()).map(|_| ()).unwrap_err();
    assert_eq!(refused, CacheError::AllInUse { files: 1, bytes: 10 });
    assert_eq!(&*held, [1; 10]);
}

/// Against a list that forgets its last.
#[test]
fn given_bytes_go_in_turn() {
    let capacity = Capacity { files: 20, bytes: 1 << 20 };
    let mut cache = FileCache::new(capacity, Options::default()).unwrap();
    let mut numbers = Numbers(11);
    let mut list: Vec<(u8, u8)> = Vec::new();
    for step in 0..3000u32 {
        let (name, value) = (numbers.below(50) as u8, step as u8);
        let known = list.iter().position(|known| known.0 == name);
        let value = match known {
            Some(at) if numbers.below(2) == 0 => list[at].1,
            _ => {
                let given = cache.prepare(&[name], &[value; 40]).unwrap();
                if numbers.below(2) == 0 {
                    assert_eq!(cache.insert_exclusive(given), Ok(&[value; 40][..]));
                } else {
                    drop(cache.insert(given).unwrap());
                }
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

#[test]
fn alone_with_a_cache_what_is_held_stays_all_the_same() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let name = path.as_os_str().as_bytes();
    for policy in [Policy::Lru, Policy::Sieve] {
        let mut cache = cache(1, 100, policy);
        let read = cache.read(name).unwrap();
        assert_eq!(cache.insert_exclusive(read), Ok(&b"alpha"[..]));
        let again = cache.read(name).unwrap();
        assert_eq!(cache.insert_exclusive(again), Ok(&b"alpha"[..]), "the first one stays");
        assert_eq!((cache.statistics().files, cache.statistics().misses), (1, 2));
        // A pin that is never given back, one of a handle, and one in a seat that is never left.
        for hold in 0..3 {
            let handle = cache.get(name).unwrap().handle();
            match hold {
                0 => cache.retain(handle).unwrap(),
                1 => std::mem::forget(cache.get(name).unwrap()),
                _ => {
                    let reader = cache.reader();
                    std::mem::forget(reader.get(name).unwrap());
                    std::mem::forget(reader);
                }
            }
            let other = cache.prepare(b"other", b"other").unwrap();
            let refused = cache.insert_exclusive(other);
            assert_eq!(refused, Err(CacheError::AllInUse { files: 1, bytes: 5 }));
            assert_eq!(cache.get_exclusive(name), Some(&b"alpha"[..]));
            if hold == 0 {
                cache.release(handle).unwrap();
                let other = cache.prepare(b"other", b"other").unwrap();
                assert_eq!(cache.insert_exclusive(other), Ok(&b"other"[..]));
                assert!(cache.get_by_handle(handle).is_err());
            }
        }
    }
}
