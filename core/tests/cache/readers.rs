//! Readers: the same as without, and safe beside whoever throws things out.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use smf_core::cache::{
    CacheError, Capacity, FileCache, Freshness, Handle, Options, Pinned, Policy, Reader, ReadyFile,
};
use smf_core::format::write::library;

use crate::{Directory, LARGE, Numbers, STEPS, THREADS, at_random, cache, get, sixty};

const POLICIES: [Policy; 2] = [Policy::Lru, Policy::Sieve];

#[test]
fn readers_move_between_threads_and_pins_are_shared() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    moves::<Reader<'_>>();
    is_shared::<(FileCache, Pinned<'_>, ReadyFile)>();
}

#[test]
fn a_reader_gives_what_the_cache_gives() {
    let directory = Directory::new();
    let path = directory.file("a", b"alpha");
    let link = directory.0.join("link");
    symlink(&path, &link).unwrap();
    for policy in POLICIES {
        for freshness in [Freshness::OnRequest, Freshness::EachGet] {
            let cache = FileCache::new(LARGE, Options { policy, freshness }).unwrap();
            let reader = cache.reader();
            let read = reader.get(path.as_os_str().as_bytes()).unwrap();
            let again = reader.get(path.as_os_str().as_bytes()).unwrap();
            let by_handle = reader.get_by_handle(read.handle()).unwrap();
            let linked = [0; 2].map(|_| reader.get(link.as_os_str().as_bytes()).unwrap());
            let by_link = reader.get_by_handle(linked[1].handle()).unwrap();
            let pinned = get(&cache, &path).unwrap();
            for view in [&read, &again, &by_handle, &linked[0], &linked[1], &by_link] {
                assert_eq!((&**view, view.as_ptr()), (&b"alpha"[..], pinned.as_ptr()));
                assert_eq!(view.stamp(), pinned.stamp());
                assert!(view.smf().is_err());
            }
            assert_eq!((read.handle(), by_link.handle()), (pinned.handle(), linked[0].handle()));
            let statistics = cache.statistics();
            assert_eq!((statistics.hits, statistics.misses), (6, 1));
            for stale in [0, 1, u64::MAX].map(Handle::from_raw) {
                let error = reader.get_by_handle(stale).map(drop);
                assert_eq!(error, Err(CacheError::Stale { handle: stale }));
            }
            let missing = reader.get(b"/nowhere/at/all").map(drop);
            assert_eq!(missing, cache.get(b"/nowhere/at/all").map(drop));
            drop(reader.get(path.as_os_str().as_bytes()));
            let statistics = cache.statistics();
            assert_eq!((statistics.hits, statistics.failures), (7, 2));
        }
    }
}

#[test]
fn a_reader_finds_modules_and_their_parts() {
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
    for policy in POLICIES {
        let cache = cache(1, 1 << 20, policy);
        let reader = cache.reader();
        for (module, bytes) in &modules {
            for _ in 0..3 {
                let view = reader.get_module(name, module.as_bytes()).unwrap();
                let pinned = cache.get_module(name, module.as_bytes()).unwrap();
                assert_eq!((&*view, view.as_ptr()), (*bytes, pinned.as_ptr()));
                assert_eq!(view.read_note_sdn(), pinned.read_note_sdn());
                assert_eq!(view.read_template_bytes(), pinned.read_template_bytes());
                assert_eq!(&*reader.get_by_handle(view.handle()).unwrap(), *bytes);
            }
        }
        let missing = reader.get_module(name, b"none").map(drop);
        assert_eq!(missing, Err(CacheError::NoSuchModule));
        let held = reader.get_module(name, b"native").unwrap();
        let refused = reader.get(directory.file("other", b"other").as_os_str().as_bytes());
        assert!(matches!(refused, Err(CacheError::AllInUse { .. })), "a module keeps its archive");
        assert_eq!(&*held, modules[1].1);
    }
}

#[test]
fn what_a_reader_holds_stays_where_and_what_it_is() {
    let directory = Directory::new();
    let paths: Vec<_> = (0..30u8).map(|i| directory.file(&format!("{i}"), &[i; 50])).collect();
    for policy in POLICIES {
        let cache = cache(20, 1 << 20, policy);
        let reader = cache.reader();
        // More than there are places.
        let held: Vec<_> = paths[..19]
            .iter()
            .map(|path| {
                get(&cache, path).unwrap();
                reader.get(path.as_os_str().as_bytes()).unwrap()
            })
            .collect();
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
            assert_eq!(found, Ok(()), "one place is left");
        });
        check();
        assert_eq!(cache.statistics().detached_files, 19);
        let handle = held[3].handle();
        assert!(reader.get_by_handle(handle).is_err(), "nobody finds it any more");
        drop(held);
        paths[..20].iter().for_each(|path| drop(get(&cache, path).unwrap()));
        let statistics = cache.statistics();
        assert_eq!((statistics.files, statistics.detached_files), (20, 0));
    }
}

#[test]
fn a_changed_file_is_old_in_the_hands_of_a_reader() {
    let directory = Directory::new();
    let path = directory.file("a", b"old");
    let name = path.as_os_str().as_bytes();
    for policy in POLICIES {
        directory.file("a", b"old");
        let options = Options { policy, freshness: Freshness::EachGet };
        let cache = FileCache::new(LARGE, options).unwrap();
        let reader = cache.reader();
        let old = reader.get(name).unwrap();
        fs::write(&path, b"new").unwrap();
        assert_eq!((&*reader.get(name).unwrap(), &*old), (&b"new"[..], &b"old"[..]));
        let statistics = cache.statistics();
        assert_eq!((statistics.hits, statistics.misses, statistics.detached_files), (0, 2, 1));
    }
}

#[test]
fn readers_without_a_seat_and_seats_without_a_reader() {
    for policy in POLICIES {
        let cache = cache(2, 1 << 20, policy);
        let put = |name: &[u8]| cache.insert(cache.prepare(name, name).unwrap()).map(drop);
        put(b"a").unwrap();
        put(b"b").unwrap();
        // More than there are seats.
        let readers: Vec<_> = (0..40).map(|_| cache.reader()).collect();
        let held: Vec<_> = readers.iter().map(|reader| reader.get(b"a").unwrap()).collect();
        put(b"c").unwrap();
        assert!(cache.get(b"b").is_err() && held.iter().all(|view| **view == *b"a"));
        assert_eq!(cache.statistics().hits, 40);
        drop(held);
        drop(readers);
        // The hits of those who have left are not forgotten.
        assert_eq!(cache.statistics().hits, 40);
        for round in 0..100u64 {
            let reader = cache.reader();
            assert_eq!(*reader.get(b"c").unwrap(), *b"c");
            assert_eq!(cache.statistics().hits, 41 + round);
        }
        // A view that was forgotten lasts as long as its reader.
        let reader = cache.reader();
        std::mem::forget(reader.get(b"a").unwrap());
        std::mem::forget(reader.get(b"c").unwrap());
        assert!(matches!(put(b"d"), Err(CacheError::AllInUse { files: 2, bytes: 2 })));
        drop(reader);
        put(b"d").unwrap();
        put(b"e").unwrap();
        assert_eq!(cache.statistics().detached_files, 0);
    }
}

#[test]
fn readers_in_threads_see_whole_files_and_count_every_hit() {
    let directory = Directory::new();
    let paths = sixty(&directory);
    for policy in POLICIES {
        let cache = cache(20, 2500, policy);
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (cache, paths) = (&cache, &paths);
                scope.spawn(move || {
                    let reader = cache.reader();
                    at_random(cache, paths, Numbers(seed as u64), |step, path| {
                        let name = path.as_os_str().as_bytes();
                        let found = reader.get(name).unwrap();
                        if step % 50 == 17 {
                            let _ = cache.refresh(name);
                        }
                        found
                    });
                });
            }
        });
        let statistics = cache.statistics();
        assert_eq!(statistics.hits + statistics.misses, (THREADS * STEPS) as u64);
        assert!(statistics.files <= 20 && statistics.bytes <= 2500);
        assert!(statistics.hits > 1000 && statistics.evictions > 1000);
        cache.clear();
        get(&cache, &paths[0]).unwrap();
        assert_eq!(cache.statistics().detached_files, 0);
    }
}

/// One thread throws out as fast as it can what the others have just got by handle.
#[test]
fn nothing_is_thrown_out_under_a_readers_eyes() {
    for policy in POLICIES {
        let cache = FileCache::new(
            Capacity { files: 2, bytes: 1 << 20 },
            Options { policy, ..Options::default() },
        )
        .unwrap();
        let (newest, seen) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let reader = cache.reader();
                    while seen.load(Ordering::Relaxed) < 50_000 {
                        let handle = Handle::from_raw(newest.load(Ordering::Acquire));
                        let Ok(view) = reader.get_by_handle(handle) else { continue };
                        let first = view[0];
                        assert!((0..3).all(|_| view.iter().all(|byte| *byte == first)));
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for step in (0..u32::MAX).take_while(|_| seen.load(Ordering::Relaxed) < 50_000) {
                let bytes = [step as u8; 200];
                let given = cache.prepare(&step.to_le_bytes(), &bytes).unwrap();
                // Both may be held.
                if let Ok(view) = cache.insert(given) {
                    newest.store(view.handle().to_raw(), Ordering::Release);
                }
            }
        });
        assert_eq!(cache.statistics().hits, seen.into_inner());
    }
}
