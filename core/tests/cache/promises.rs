//! What the head of the room promises, one by one.

use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use smf_core::cache::{CacheError, FileCache, Freshness, Handle, Options, Policy};
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, cache, get, names};

#[test]
fn what_is_there_is_read_once() {
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
fn another_path_of_a_file_is_no_other_entry() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let (link, hard) = (directory.0.join("link"), directory.0.join("hard"));
    symlink(&path, &link).unwrap();
    fs::hard_link(&path, &hard).unwrap();
    let mut cache = FileCache::new(LARGE, Options::default()).unwrap();
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
    let bytes = cache.get_exclusive(link.as_os_str().as_bytes()).unwrap();
    assert_eq!(bytes.as_ptr(), first);
    // When the file goes, its other paths lead nowhere.
    assert!(cache.evict(path.as_os_str().as_bytes()));
    assert!(cache.get_exclusive(link.as_os_str().as_bytes()).is_none());
    assert_eq!(&*get(&cache, &link).unwrap(), b"alpha");
    assert_eq!(cache.statistics().misses, 2);
}

#[test]
fn what_is_held_is_never_thrown_out() {
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
fn a_handle_of_what_is_gone_is_an_error() {
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
fn what_is_retained_stays_until_it_is_released() {
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
fn a_changed_file_is_new_for_new_users_and_old_for_old_ones() {
    let directory = Directory::new();
    let options = Options { freshness: Freshness::EachGet, ..Options::default() };
    let each = FileCache::new(LARGE, options).unwrap();
    let request = FileCache::new(LARGE, Options::default()).unwrap();
    let path = directory.file("a", b"old");
    let name = path.as_os_str().as_bytes();
    let old = (each.get(name).unwrap(), request.get(name).unwrap());
    assert_eq!(each.get(name).unwrap().as_ptr(), old.0.as_ptr());
    assert_eq!(request.refresh(name), Ok(false));
    // In place, same size: the time tells. Then by renaming, same size and time: the inode tells.
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
        assert_ne!(&*request.get(name).unwrap(), text, "nobody has asked for it");
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
