//! The documented guarantees of the cache, one by one.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use smf_core::cache::{CacheError, CacheRef, FileCache, Handle, Options, Policy, Revalidation};
use smf_core::format::write::library;
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, cache, get, names};

#[test]
fn cached_file_is_read_once() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let first = get(&cache, &path).unwrap();
    let second = get(&cache, &path).unwrap();
    let third = cache.get_by_handle(first.handle()).unwrap();
    assert_eq!((&*first, first.as_ptr()), (&b"alpha"[..], second.as_ptr()));
    assert_eq!(third.as_ptr(), first.as_ptr());
    let statistics = cache.statistics();
    assert_eq!((statistics.hits, statistics.misses, statistics.failures), (2, 1, 0));
    assert_eq!((statistics.files, statistics.bytes, statistics.peak_bytes), (1, 5, 5));
    assert_eq!(statistics.hit_rate(), Some(2.0 / 3.0));
    assert_eq!((statistics.load_times.count(), statistics.bytes_over_time.len()), (1, 1));
}

#[test]
fn paths_of_one_file_share_one_copy() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let (link, hard) = (directory.0.join("link"), directory.0.join("hard"));
    symlink(&path, &link).unwrap();
    fs::hard_link(&path, &hard).unwrap();
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let first = get(&cache, &path).unwrap().as_ptr();
    for _ in 0..3 {
        for other in [&link, &hard, &directory.0.join("./a")] {
            let found = get(&cache, other).unwrap();
            assert_eq!(found.as_ptr(), first);
            assert_eq!(cache.get_by_handle(found.handle()).unwrap().as_ptr(), first);
        }
    }
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.links, statistics.misses), (1, 3, 1));
    // The links of an evicted file are stale.
    assert!(cache.evict(path.as_os_str().as_bytes()));
    assert_eq!(&*get(&cache, &link).unwrap(), b"alpha");
    assert_eq!(cache.statistics().misses, 2);
}

#[test]
fn file_in_use_is_never_evicted() {
    let directory = Directory::new();
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(2, 1 << 20, policy);
        let paths: Vec<_> = (0..4).map(|i| directory.file(&format!("{i}"), &[i; 100])).collect();
        let held = get(&cache, &paths[0]).unwrap();
        for path in &paths[1..] {
            assert_eq!(get(&cache, path).unwrap().len(), 100);
            assert_eq!(&*held, [0; 100]);
        }
        assert_eq!(cache.statistics().evictions, 2);
        let other = get(&cache, &paths[3]).unwrap();
        let refused = get(&cache, &paths[1]).map(|_| ()).unwrap_err();
        assert_eq!(refused, CacheError::AllInUse { files: 2, bytes: 200 });
        assert!(refused.to_string().contains("2 files (200 bytes)"));
        drop(other);
        assert!(get(&cache, &paths[1]).is_ok());
        assert_eq!((&*held, cache.statistics().files), (&[0; 100][..], 2));
    }
}

#[test]
fn stale_handle_is_an_error() {
    let directory = Directory::new();
    let (a, b) = (directory.file("a", b"alpha"), directory.file("b", b"beta"));
    let cache = cache(1, 100, Policy::Lru);
    let handle = get(&cache, &a).unwrap().handle();
    let other = get(&cache, &b).unwrap().handle();
    for stale in [handle, Handle::from_raw(0), Handle::from_raw(u64::MAX), Handle::from_raw(1)] {
        let error = cache.get_by_handle(stale).map(|_| ()).unwrap_err();
        assert_eq!(error, CacheError::Stale { handle: stale });
        assert_eq!(cache.retain(stale), Err(error));
        assert_eq!(cache.release(stale), Err(error));
    }
    assert_eq!(&*cache.get_by_handle(other).unwrap(), b"beta");
    cache.clear();
    assert!(cache.get_by_handle(other).is_err());
    let statistics = cache.statistics();
    assert_eq!((statistics.hits, statistics.misses, statistics.files), (1, 2, 0));
}

#[test]
fn retained_file_stays_until_released() {
    let directory = Directory::new();
    let (a, b) = (directory.file("a", b"alpha"), directory.file("b", b"beta"));
    let alias = directory.0.join("./a");
    let cache = cache(1, 100, Policy::Lru);
    let handle = get(&cache, &a).unwrap().handle();
    let alias = get(&cache, &alias).unwrap().handle();
    assert_ne!(handle, alias);
    for held in [handle, alias] {
        cache.retain(held).unwrap();
        cache.retain(held).unwrap();
        cache.release(held).unwrap();
        assert!(matches!(get(&cache, &b), Err(CacheError::AllInUse { .. })));
        cache.clear();
        assert_eq!(&*cache.get_by_handle(held).unwrap(), b"alpha", "detached and still held");
        assert_eq!(cache.statistics().detached_files, 1);
        cache.release(held).unwrap();
        if held == handle {
            assert!(cache.get_by_handle(held).is_err(), "detached and not held");
            break;
        }
    }
    assert_eq!(&*get(&cache, &b).unwrap(), b"beta");
    let handle = get(&cache, &b).unwrap().handle();
    assert_eq!(cache.release(handle), Err(CacheError::NotRetained { handle }));
    assert_eq!(cache.statistics().detached_files, 0);
}

#[test]
fn changed_file_is_new_for_requests_and_old_for_references() {
    let directory = Directory::new();
    let options = Options { revalidation: Revalidation::OnGet, ..Options::default() };
    let each = FileCache::new(LARGE, options).unwrap();
    let request = FileCache::new(LARGE, Options::default()).unwrap();
    let path = directory.file("a", b"old");
    let name = path.as_os_str().as_bytes();
    let old = (each.get(name).unwrap(), request.get(name).unwrap());
    assert_eq!(each.get(name).unwrap().as_ptr(), old.0.as_ptr());
    assert_eq!(request.refresh(name), Ok(false));
    // Overwritten with the same size, only the time differs; renamed with the same size and time, only the inode.
    for (round, text) in [&b"new"[..], b"two"].into_iter().enumerate() {
        if round == 0 {
            fs::write(&path, text).unwrap();
        } else {
            let other = directory.file("b", text);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            OpenOptions::new().write(true).open(&other).unwrap().set_modified(time).unwrap();
            fs::rename(&other, &path).unwrap();
        }
        assert_eq!(&*each.get(name).unwrap(), text);
        assert_ne!(&*request.get(name).unwrap(), text, "not revalidated yet");
        assert_eq!((request.refresh(name), request.refresh(name)), (Ok(true), Ok(false)));
        assert_eq!(&*request.get(name).unwrap(), text);
        assert_eq!((&*old.0, &*old.1), (&b"old"[..], &b"old"[..]));
    }
    let handle = old.0.handle();
    let stale = each.get_by_handle(handle).map(|_| ()).unwrap_err();
    assert_eq!(stale, CacheError::Stale { handle });
    let statistics = each.statistics();
    assert_eq!((statistics.replacements, statistics.detached_files), (2, 1));
    fs::remove_file(&path).unwrap();
    assert!(matches!(each.get(name), Err(CacheError::File(MemoryError::Open { .. }))));
    assert_eq!(&*request.get(name).unwrap(), b"two");
    assert_eq!(request.refresh_all(), 1);
    assert!(request.get(name).is_err() && names(&each).is_empty() && names(&request).is_empty());
    assert_eq!(request.refresh(name), Ok(false));
    assert_eq!((&*old.0, &*old.1), (&b"old"[..], &b"old"[..]));
    drop(old);
}

#[test]
fn cache_and_references_are_send_and_sync() {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<(FileCache, CacheRef<'_>)>();
}

#[test]
fn references_outlive_eviction_on_request() {
    let directory = Directory::new();
    let paths: Vec<_> = (0..30u8).map(|i| directory.file(&format!("{i}"), &[i; 50])).collect();
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(20, 1 << 20, policy);
        let held: Vec<_> = paths[..19].iter().map(|path| get(&cache, path).unwrap()).collect();
        let check = || {
            held.iter().zip(0..).for_each(|(view, i): (_, u8)| assert_eq!(**view, [i; 50]));
        };
        paths[19..].iter().for_each(|path| drop(get(&cache, path).unwrap()));
        check();
        assert_eq!(cache.statistics().evictions, 10);
        cache.clear();
        assert!(!cache.evict(paths[0].as_os_str().as_bytes()));
        paths[20..].iter().for_each(|path| {
            let found = get(&cache, path).map(drop);
            assert_eq!(found, Ok(()), "the capacity of one file is left");
        });
        check();
        assert_eq!(cache.statistics().detached_files, 19);
        let handle = held[3].handle();
        assert!(cache.get_by_handle(handle).is_err(), "a detached file cannot be found");
        drop(held);
        paths[..20].iter().for_each(|path| drop(get(&cache, path).unwrap()));
        let statistics = cache.statistics();
        assert_eq!((statistics.files, statistics.detached_files), (20, 0));
    }
}

#[test]
fn file_with_leaked_reference_stays_in_use() {
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(2, 1 << 20, policy);
        let put = |name: &[u8]| cache.insert(name, name).map(drop);
        put(b"a").unwrap();
        put(b"b").unwrap();
        std::mem::forget(cache.get(b"a").unwrap());
        put(b"c").unwrap();
        std::mem::forget(cache.get(b"c").unwrap());
        assert_eq!(put(b"d"), Err(CacheError::AllInUse { files: 2, bytes: 2 }));
        assert_eq!(
            (&*cache.get(b"a").unwrap(), &*cache.get(b"c").unwrap()),
            (&b"a"[..], &b"c"[..])
        );
    }
}

#[test]
fn module_in_use_keeps_its_archive() {
    let directory = Directory::new();
    let samples = ["packed", "native"].map(|name| {
        let path = format!("{}/../tests/samples/{name}.smf", env!("CARGO_MANIFEST_DIR"));
        (name, fs::read(path).unwrap())
    });
    let modules = samples.each_ref().map(|(name, bytes)| (*name, &bytes[..]));
    let mut bytes = vec![0; library::length(&modules).unwrap()];
    library::write(&modules, &mut bytes).unwrap();
    let path = directory.file("both.lsm", &bytes);
    let name = path.as_os_str().as_bytes();
    for policy in [Policy::Lru, Policy::Sieve] {
        let cache = cache(1, 1 << 20, policy);
        for (module, bytes) in &modules {
            for _ in 0..3 {
                let view = cache.get_module(name, module.as_bytes()).unwrap();
                let again = cache.get_module(name, module.as_bytes()).unwrap();
                assert_eq!((&*view, view.as_ptr()), (*bytes, again.as_ptr()));
                assert_eq!(view.read_note_sdn(), again.read_note_sdn());
                assert_eq!(view.read_template_bytes(), again.read_template_bytes());
                assert_eq!(&*cache.get_by_handle(view.handle()).unwrap(), *bytes);
            }
        }
        let missing = cache.get_module(name, b"none").map(drop);
        assert_eq!(missing, Err(CacheError::NoSuchModule));
        let held = cache.get_module(name, b"native").unwrap();
        let refused = cache.get(directory.file("other", b"other").as_os_str().as_bytes());
        assert!(matches!(refused, Err(CacheError::AllInUse { .. })), "a module holds its archive");
        assert_eq!(&*held, modules[1].1);
    }
}
