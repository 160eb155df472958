//! The cache from outside: against a naive model, with bad files, with changing files, from threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use std::{env, process, thread};

use smf_core::cache::{
    CacheError, Capacity, FileCache, FixedStorage, Freshness, Handle, Options, Pinned, Policy,
    SliceStorage, Slot, Storage,
};
use smf_core::format::library;
use smf_core::memory::{FileKind, MemoryError};

/// A directory of its own for one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("smf-cache-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A file that was last modified long ago.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        let time = SystemTime::now() - Duration::from_secs(3600);
        OpenOptions::new().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LARGE: Capacity = Capacity { files: 1000, bytes: 1 << 30 };

fn cache(files: u32, bytes: u64, policy: Policy) -> FileCache {
    let options = Options { policy, ..Options::default() };
    FileCache::new(Capacity { files, bytes }, options).unwrap()
}

fn get<'c, S: Storage>(cache: &'c FileCache<S>, path: &Path) -> Result<Pinned<'c>, CacheError> {
    cache.get(path.as_os_str().as_bytes())
}

fn names<S: Storage>(cache: &FileCache<S>) -> Vec<PathBuf> {
    let mut names = Vec::new();
    cache.for_each(|path, _| names.push(PathBuf::from(std::ffi::OsStr::from_bytes(path))));
    names
}

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

/// What the model knows of a file: its number, its size, whether it is held.
type Known = (usize, u64);

/// The naive model of exact LRU: a list, the most recently used first.
struct Model {
    files: usize,
    bytes: u64,
    list: Vec<Known>,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl Model {
    fn get(&mut self, file: usize, size: u64, held: &[usize]) -> bool {
        if let Some(at) = self.list.iter().position(|known| known.0 == file) {
            let known = self.list.remove(at);
            self.list.insert(0, known);
            self.hits += 1;
            return true;
        }
        self.misses += 1;
        if size > self.bytes {
            return false;
        }
        let total = |list: &[Known]| list.iter().map(|known| known.1).sum::<u64>();
        while self.list.len() >= self.files || total(&self.list) + size > self.bytes {
            let mut left = self.list.len();
            while left > 0 && held.contains(&self.list.last().unwrap().0) {
                let known = self.list.pop().unwrap();
                self.list.insert(0, known);
                left -= 1;
            }
            if left == 0 {
                return false;
            }
            self.list.pop();
            self.evictions += 1;
        }
        self.list.insert(0, (file, size));
        true
    }
}

/// A generator whose numbers are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) % end as u64) as usize
    }
}

fn compare<S: Storage>(cache: &FileCache<S>, capacity: Capacity, seed: u64) {
    let directory = Directory::new();
    let mut numbers = Numbers(seed);
    let sizes: Vec<usize> = (0..40).map(|_| 1 + numbers.below(300)).collect();
    let paths: Vec<PathBuf> =
        (0..40).map(|i| directory.file(&format!("file-{i}"), &vec![i as u8; sizes[i]])).collect();
    let mut model = Model {
        files: capacity.files as usize,
        bytes: capacity.bytes,
        list: Vec::new(),
        hits: 0,
        misses: 0,
        evictions: 0,
    };
    let mut held: Vec<(usize, Pinned<'_>)> = Vec::new();
    for step in 0..4000 {
        let file = numbers.below(40).min(numbers.below(40));
        let holds: Vec<usize> = held.iter().map(|held| held.0).collect();
        match numbers.below(20) {
            0 if !held.is_empty() => drop(held.swap_remove(numbers.below(held.len()))),
            // What is held is not evicted here, since it would be kept apart.
            1 if !holds.contains(&file) => {
                let was = model.list.iter().position(|known| known.0 == file);
                was.map(|at| model.list.remove(at));
                assert_eq!(cache.evict(paths[file].as_os_str().as_bytes()), was.is_some());
            }
            _ => {
                let expected = model.get(file, sizes[file] as u64, &holds);
                let found = get(cache, &paths[file]);
                assert_eq!(found.is_ok(), expected, "step {step}: {found:?}");
                if let Ok(found) = found {
                    assert!(found.len() == sizes[file] && found.iter().all(|b| *b == file as u8));
                    if held.len() < 3 && numbers.below(4) == 0 {
                        held.push((file, found));
                    }
                }
            }
        }
        held.iter().for_each(|(file, bytes)| assert!(bytes.iter().all(|b| *b == *file as u8)));
        let expected: Vec<&PathBuf> = model.list.iter().map(|known| &paths[known.0]).collect();
        assert!(names(cache).iter().eq(expected), "step {step}");
        let statistics = cache.statistics();
        assert_eq!(
            (statistics.files as usize, statistics.bytes, statistics.evictions),
            (model.list.len(), model.list.iter().map(|known| known.1).sum(), model.evictions)
        );
        assert_eq!((statistics.hits, statistics.misses), (model.hits, model.misses));
    }
    assert!(model.hits > 100 && model.evictions > 100, "{} {}", model.hits, model.evictions);
}

#[test]
fn lru_is_what_the_naive_model_says() {
    for (files, bytes, seed) in [(8, 1 << 20, 1), (30, 1500, 2), (5, 600, 3), (100, 200, 4)] {
        let capacity = Capacity { files, bytes };
        compare(&FileCache::new(capacity, Options::default()).unwrap(), capacity, seed);
    }
}

#[test]
fn fixed_storage_is_what_the_naive_model_says() {
    let capacity = Capacity { files: 8, bytes: 1200 };
    let fixed = FixedStorage::<8, 2>::new();
    compare(&FileCache::with_storage(fixed, capacity, Options::default()).unwrap(), capacity, 5);
    let mut slots = [const { Slot::new() }; 12];
    let mut buckets = [const { smf_core::cache::Bucket::new() }; 3];
    let slices = SliceStorage::new(&mut slots, &mut buckets);
    compare(&FileCache::with_storage(slices, capacity, Options::default()).unwrap(), capacity, 6);
}

/// The naive model of SIEVE: newest first, with marks and a hand.
#[test]
fn sieve_is_what_the_naive_model_says() {
    let directory = Directory::new();
    let paths: Vec<_> = (0..30).map(|i| directory.file(&format!("{i}"), &[i; 10])).collect();
    let cache = cache(8, 1 << 20, Policy::Sieve);
    let mut list: Vec<(usize, bool)> = Vec::new();
    // The file at which the hand is; none means the oldest.
    let mut hand: Option<usize> = None;
    let mut numbers = Numbers(7);
    for _ in 0..5000 {
        let file = numbers.below(30).min(numbers.below(30));
        match list.iter_mut().find(|known| known.0 == file) {
            Some(known) => known.1 = true,
            None => {
                if list.len() == 8 {
                    let mut at = hand
                        .and_then(|hand| list.iter().position(|known| known.0 == hand))
                        .unwrap_or(list.len() - 1);
                    while std::mem::take(&mut list[at].1) {
                        at = if at == 0 { list.len() - 1 } else { at - 1 };
                    }
                    hand = at.checked_sub(1).map(|newer| list[newer].0);
                    list.remove(at);
                }
                list.insert(0, (file, false));
            }
        }
        get(&cache, &paths[file]).unwrap();
        assert!(names(&cache).iter().eq(list.iter().map(|known| &paths[known.0])));
    }
}

#[test]
fn bad_paths_say_why_and_leave_nothing_behind() {
    let directory = Directory::new();
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let fifo = directory.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (one, two) = (directory.0.join("one"), directory.0.join("two"));
    symlink(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    let mut failures = 0;
    let mut error = |path: &Path| {
        failures += 1;
        get(&cache, path).map(|_| ()).unwrap_err()
    };
    let not_regular = |kind| CacheError::File(MemoryError::NotRegular { kind });
    assert_eq!(error(&directory.0), not_regular(FileKind::Directory));
    assert_eq!(error(&fifo), not_regular(FileKind::Fifo));
    assert_eq!(error(Path::new("/dev/zero")), not_regular(FileKind::CharacterDevice));
    for (path, errno) in [(directory.0.join("missing"), 2), (one, 40), (PathBuf::new(), 2)] {
        let CacheError::File(MemoryError::Open { errno: found }) = error(&path) else { panic!() };
        assert_eq!(found.raw(), errno);
    }
    let nul = std::ffi::OsStr::from_bytes(b"a\0b");
    assert_eq!(error(Path::new(nul)), CacheError::File(MemoryError::PathNul { at: 1 }));
    let long = MemoryError::PathTooLong { len: 5000, limit: 4095 };
    assert_eq!(error(Path::new(&"x".repeat(5000))), CacheError::File(long));
    let secret = directory.file("secret", b"secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // The superuser may read it all the same.
    let readable = File::open(&secret).is_ok();
    assert_eq!(get(&cache, &secret).is_ok(), readable);
    let empty = get(&cache, &directory.file("empty", b"")).unwrap();
    assert!(empty.is_empty() && empty.smf().is_err() && empty.read_note_sdn().is_err());
    let statistics = cache.statistics();
    assert_eq!(statistics.failures, failures + u64::from(!readable));
    assert_eq!(statistics.misses, failures + 2);
    assert_eq!(statistics.files, 1 + u32::from(readable));
}

#[test]
fn capacities_that_are_too_small_say_so() {
    let directory = Directory::new();
    for (files, bytes) in [(0, 100), (100, 0), (0, 0)] {
        let refused = FileCache::new(Capacity { files, bytes }, Options::default());
        assert_eq!(refused.map(|_| ()).unwrap_err(), CacheError::NoCapacity);
    }
    let none = FixedStorage::<0, 0>::new();
    assert!(FileCache::with_storage(none, LARGE, Options::default()).is_err());
    let cache = cache(10, 99, Policy::Lru);
    let small = get(&cache, &directory.file("small", &[1; 99])).unwrap().handle();
    let error = get(&cache, &directory.file("large", &[1; 100])).map(|_| ()).unwrap_err();
    assert_eq!(error, CacheError::TooLarge { size: 100, capacity: 99 });
    assert!(cache.get_by_handle(small).is_ok(), "nothing was thrown out for it");
}

#[test]
fn a_list_with_half_of_it_bad_gives_the_other_half() {
    let directory = Directory::new();
    let paths: Vec<PathBuf> = (0..50)
        .map(|i| match i % 2 {
            0 => directory.file(&format!("{i}"), &[i; 20]),
            _ => directory.0.join(format!("missing-{i}")),
        })
        .collect();
    let names: Vec<&[u8]> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    for ahead in [0, 4, 1000] {
        let cache = FileCache::new(LARGE, Options::default()).unwrap();
        let mut results = HashMap::new();
        let done = cache.prefetch(&names, ahead, |path, result| {
            results.insert(path.to_vec(), result);
        });
        assert_eq!((done.ready, done.failed, results.len()), (25, 25, 50));
        for (i, name) in names.iter().enumerate() {
            assert_eq!(results[*name].is_ok(), i % 2 == 0);
        }
        let statistics = cache.statistics();
        assert_eq!((statistics.misses, statistics.failures, statistics.files), (50, 25, 25));
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples").join(name)
}

#[test]
fn modules_of_an_archive_share_its_bytes() {
    let directory = Directory::new();
    let (packed, native) =
        (fs::read(sample("packed.smf")).unwrap(), fs::read(sample("native.smf")).unwrap());
    let modules = [("a/packed", &packed[..]), ("b/native", &native[..])];
    let mut bytes = vec![0; library::length(&modules).unwrap()];
    library::write(&modules, &mut bytes).unwrap();
    let path = directory.file("both.lsm", &bytes);
    let name = path.as_os_str().as_bytes();
    let cache = cache(1, 1 << 20, Policy::Lru);
    let first = cache.get_module(name, b"a/packed").unwrap();
    let second = cache.get_module(name, b"b/native").unwrap();
    let again = cache.get_module(name, b"a/packed").unwrap();
    assert!(*first == packed && *second == native && again.as_ptr() == first.as_ptr());
    assert!(first.smf().unwrap().verify().is_ok());
    let (start, handle) = (first.as_ptr(), second.handle());
    assert_eq!(cache.get_by_handle(handle).unwrap().as_ptr(), second.as_ptr());
    assert_eq!(cache.get(name).unwrap().as_ptr().wrapping_add(library_offset(&bytes, 0)), start);
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.links), (1, 2));
    assert_eq!((statistics.misses, statistics.hits), (1, 4));
    for missing in [&b"none"[..], b"", b"\xff", &[b'x'; 5000]] {
        let error = cache.get_module(name, missing).map(|_| ()).unwrap_err();
        assert_eq!(error, CacheError::NoSuchModule);
    }
    drop((first, second, again));
    // The archive goes, and its modules with it.
    get(&cache, &directory.file("other", b"other")).unwrap();
    assert!(cache.get_by_handle(handle).is_err());
    let error = cache.get_module(directory.0.join("other").as_os_str().as_bytes(), b"x");
    assert!(matches!(error, Err(CacheError::Format(_))));
    assert!(*cache.get_module(name, b"b/native").unwrap() == native);
}

fn library_offset(bytes: &[u8], index: u32) -> usize {
    let library = library::Library::parse(bytes).unwrap();
    library.module(index).unwrap().unwrap().offset as usize
}

#[test]
fn notes_and_templates_come_straight_from_the_file() {
    let cache = FileCache::new(LARGE, Options::default()).unwrap();
    let (mut notes, mut templates) = (0, 0);
    for entry in fs::read_dir(sample("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "smf") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let smf = smf_core::format::Smf::parse(&bytes).unwrap();
        let file = get(&cache, &path).unwrap();
        for _ in 0..2 {
            let note = file.read_note_sdn().unwrap();
            assert_eq!(note, smf.note_bytes().unwrap().map(|(note, _)| note));
            notes += usize::from(note.is_some());
            let section = smf.sections().of_kind(smf_core::format::SectionKind::TemplateCode);
            let found = file.read_template_bytes().unwrap();
            assert_eq!(found, section.map(|section| section.data));
            templates += usize::from(found.is_some());
            for part in [note, found].into_iter().flatten() {
                assert!(file.as_ptr_range().contains(&part.as_ptr()), "a copy");
            }
        }
    }
    assert!(notes >= 2 && templates >= 2, "{notes} {templates}");
}

#[test]
fn threads_see_whole_files_and_every_request_is_counted() {
    let directory = Directory::new();
    let paths: Vec<_> =
        (0..60u8).map(|i| directory.file(&format!("{i}"), &vec![i; 100 + i as usize])).collect();
    for (policy, freshness) in [
        (Policy::Lru, Freshness::OnRequest),
        (Policy::Sieve, Freshness::OnRequest),
        (Policy::Sieve, Freshness::EachGet),
    ] {
        let capacity = Capacity { files: 20, bytes: 2500 };
        let cache = FileCache::new(capacity, Options { policy, freshness }).unwrap();
        const THREADS: usize = 4;
        const STEPS: usize = 5000;
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cache, paths) = (&cache, &paths);
                scope.spawn(move || {
                    let mut numbers = Numbers(thread as u64);
                    let mut held = None;
                    for step in 0..STEPS {
                        let file = numbers.below(60).min(numbers.below(60));
                        let found = get(cache, &paths[file]).unwrap();
                        assert!(
                            found.len() == 100 + file && found.iter().all(|b| *b == file as u8)
                        );
                        match step % 50 {
                            0 => held = Some((file, found)),
                            7 => drop(cache.evict(paths[file].as_os_str().as_bytes())),
                            11 => drop(cache.statistics()),
                            13 if step % 1000 == 13 => cache.clear(),
                            _ => {}
                        }
                        if let Some((file, held)) = &held {
                            assert!(held.iter().all(|b| *b == *file as u8));
                        }
                    }
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

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Runs the test of this name in a process of its own, after `prepare` has changed the limits there
/// by way of the shell. Whether this is that process.
fn alone(test: &str, limit: &str) -> bool {
    const MARK: &str = "SMF_TEST_ALONE";
    if env::var_os(MARK).is_some() {
        return true;
    }
    let run = format!("{limit}; exec \"$0\" --exact {test} --test-threads=1");
    let output = Command::new("sh")
        .args(["-c", &run])
        .arg(env::current_exe().unwrap())
        .env(MARK, "1")
        .output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn ten_thousand_files_need_no_descriptors_and_leave_no_mappings() {
    if !alone("ten_thousand_files_need_no_descriptors_and_leave_no_mappings", "ulimit -n 64") {
        return;
    }
    let directory = Directory::new();
    let cache = FileCache::new(Capacity { files: 20_000, bytes: 1 << 30 }, Options::default());
    let cache = cache.unwrap();
    let paths: Vec<_> = (0..10_000u32)
        .map(|i| {
            let path = directory.0.join(format!("{i}"));
            fs::write(&path, i.to_le_bytes()).unwrap();
            path
        })
        .collect();
    let before = open_descriptors();
    for (i, path) in (0..10_000u32).zip(&paths) {
        assert_eq!(*get(&cache, path).unwrap(), i.to_le_bytes());
    }
    for (i, path) in (0..10_000u32).zip(&paths) {
        assert_eq!(*get(&cache, path).unwrap(), i.to_le_bytes());
    }
    assert_eq!(open_descriptors(), before);
    let statistics = cache.statistics();
    assert_eq!((statistics.files, statistics.hits, statistics.misses), (10_000, 10_000, 10_000));
    drop(cache);
    // With pages of their own for each file.
    let fixed = Box::new(FixedStorage::<16, 4>::new());
    let before = (open_descriptors(), mappings());
    let cache = FileCache::with_storage(*fixed, LARGE, Options::default()).unwrap();
    for (i, path) in (0..1000u32).zip(&paths) {
        assert_eq!(*get(&cache, path).unwrap(), i.to_le_bytes());
        assert!(get(&cache, &directory.0.join("missing")).is_err());
    }
    assert_eq!(cache.statistics().evictions, 984);
    drop(cache);
    assert_eq!((open_descriptors(), mappings()), before);
}

#[test]
fn an_address_space_that_is_full_is_an_error() {
    if !alone("an_address_space_that_is_full_is_an_error", "ulimit -v 400000") {
        return;
    }
    let directory = Directory::new();
    let large = directory.0.join("large");
    File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let small = directory.file("small", b"small");
    let growing =
        FileCache::new(Capacity { files: 9, bytes: 8 << 30 }, Options::default()).unwrap();
    let fixed = FixedStorage::<4, 1>::new();
    let capacity = Capacity { files: 4, bytes: 8 << 30 };
    let fixed = FileCache::with_storage(fixed, capacity, Options::default()).unwrap();
    let before = (open_descriptors(), mappings());
    let error = get(&growing, &large).map(|_| ()).unwrap_err();
    assert_eq!(error, CacheError::File(MemoryError::NoRoomForFile { size: 1 << 30 }));
    let error = get(&fixed, &large).map(|_| ()).unwrap_err();
    assert!(matches!(error, CacheError::File(MemoryError::Map { .. })), "{error}");
    assert_eq!((open_descriptors(), mappings()), before);
    assert_eq!(&*get(&growing, &small).unwrap(), b"small");
    assert_eq!(&*get(&fixed, &small).unwrap(), b"small");
    assert_eq!((fixed.statistics().failures, fixed.statistics().files), (1, 1));
}
