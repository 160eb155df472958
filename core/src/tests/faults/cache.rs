//! Files of the cache: got, read by hand, given, prefetched, thrown out.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, format, fs, process};

use super::fail_each;
use crate::cache::{
    CacheError, Capacity, FileCache, FixedStorage, Freshness, Options, Policy, Storage,
};
use crate::memory::testing::alone;

const KEPT: &[u8] = include_bytes!("../../../../tests/samples/packed.smf");
const ARCHIVE: &[u8] = include_bytes!("../../../../tests/samples/library.lsm");

const ROOM: Capacity = Capacity { files: 8, bytes: 1 << 20 };

/// Three files: one that the cache has all the time, another, and an archive.
struct Files {
    directory: PathBuf,
    kept: PathBuf,
    other: PathBuf,
    archive: PathBuf,
}

impl Files {
    fn new() -> Self {
        let directory = env::temp_dir().join(format!("smf-faults-cache-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let [kept, other] = ["kept", "other"].map(|name| file(name, KEPT));
        let archive = file("archive", ARCHIVE);
        Self { directory, kept, other, archive }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Every scenario with a cache of this kind; how many points there are.
fn scenarios<S: Storage>(name: &str, cache: &FileCache<S>, files: &Files) -> u32 {
    let Files { kept, other, archive, .. } = files;
    let held = cache.get(bytes(kept)).unwrap();
    let check = || {
        assert_eq!(&*held, KEPT);
        let statistics = cache.statistics();
        assert_eq!((statistics.files, statistics.bytes), (1, KEPT.len() as u64));
        assert_eq!(statistics.detached_files, 0);
    };
    // What a failure has left in the cache is a file like others.
    let without = |path: &Path| {
        cache.evict(bytes(path));
        check();
    };
    let named = |scenario: &str| format!("cache {scenario} ({name})");
    let gone = |()| assert!(cache.evict(bytes(other)));

    let get = || cache.get(bytes(other)).map(|file| assert_eq!(&*file, KEPT));
    let mut points = fail_each(&named("get"), get, check, gone);
    let module = || cache.get_module(bytes(archive), b"app/main").map(drop);
    points += fail_each(&named("get module"), module, || without(archive), |()| without(archive));
    let read = || cache.read(bytes(other)).and_then(|ready| cache.insert(ready)).map(drop);
    points += fail_each(&named("read, insert"), read, check, gone);
    let given =
        || cache.prepare(bytes(other), KEPT).and_then(|ready| cache.insert(ready)).map(drop);
    points += fail_each(&named("prepare, insert"), given, check, gone);
    let prefetch = || {
        let mut error = None;
        let paths = [bytes(other), bytes(archive)];
        cache.prefetch(&paths, 2, |_, result| error = error.or(result.err()));
        error.map_or(Ok(()), Err)
    };
    let neither = || {
        cache.evict(bytes(archive));
        without(other);
    };
    points += fail_each(&named("prefetch"), prefetch, neither, |()| neither());
    let evict = || {
        cache.get(bytes(other)).map(drop)?;
        assert!(cache.evict(bytes(other)));
        Ok::<(), CacheError>(())
    };
    points + fail_each(&named("evict"), evict, check, |()| {})
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn whatever_call_fails_the_cache_is_as_it_was() {
    if !alone("faults::cache::whatever_call_fails_the_cache_is_as_it_was") {
        return;
    }
    let files = Files::new();
    let mut points = 0;
    for policy in [Policy::Lru, Policy::Sieve] {
        for freshness in [Freshness::OnRequest, Freshness::EachGet] {
            let options = Options { policy, freshness };
            let growing = FileCache::new(ROOM, options).unwrap();
            points += scenarios(&format!("growing, {policy:?}, {freshness:?}"), &growing, &files);
            let storage = FixedStorage::<16, 4>::new();
            let fixed = FileCache::with_storage(storage, ROOM, options).unwrap();
            points += scenarios(&format!("fixed, {policy:?}, {freshness:?}"), &fixed, &files);
        }
    }
    std::println!("{points} points in the cache");
    assert!(points > crate::testing::scale(1000, 200), "the faults did not reach the calls");
}
