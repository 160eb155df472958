//! Files of the cache: requested, inserted, prefetched, evicted.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, format, fs, process};

use super::fail_each;
use crate::cache::{CacheError, Capacity, FileCache, Options, Policy, Revalidation, Storage};
use crate::memory::testing::alone;

const CONTENT: &[u8] = include_bytes!("../../../../tests/samples/packed.smf");
const ARCHIVE: &[u8] = include_bytes!("../../../../tests/samples/library.lsm");

const CAPACITY: Capacity = Capacity { files: 8, bytes: 1 << 20 };

/// A file that is in the cache all the time, another file, and an archive.
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
        let [kept, other] = ["kept", "other"].map(|name| file(name, CONTENT));
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

/// Runs every scenario with this cache; returns the number of failed calls.
fn scenarios(name: &str, cache: &FileCache, files: &Files) -> u32 {
    let Files { kept, other, archive, .. } = files;
    let held = cache.get(bytes(kept)).unwrap();
    let check = || {
        assert_eq!(&*held, CONTENT);
        let statistics = cache.statistics();
        assert_eq!((statistics.files, statistics.bytes), (1, CONTENT.len() as u64));
        assert_eq!(statistics.detached_files, 0);
    };
    // A failed operation may leave a file in the cache.
    let without = |path: &Path| {
        cache.evict(bytes(path));
        check();
    };
    let named = |scenario: &str| format!("cache {scenario} ({name})");
    let gone = |()| assert!(cache.evict(bytes(other)));

    let get = || cache.get(bytes(other)).map(|file| assert_eq!(&*file, CONTENT));
    let mut points = fail_each(&named("get"), get, check, gone);
    let module = || cache.get_module(bytes(archive), b"app/main").map(drop);
    points += fail_each(&named("get module"), module, || without(archive), |()| without(archive));
    let insert = || cache.insert(bytes(other), CONTENT).map(drop);
    points += fail_each(&named("insert"), insert, check, gone);
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
fn failing_call_leaves_cache_as_it_was() {
    if !alone("faults::cache::failing_call_leaves_cache_as_it_was") {
        return;
    }
    let files = Files::new();
    let mut points = 0;
    for policy in [Policy::Lru, Policy::Sieve] {
        for revalidation in [Revalidation::Manual, Revalidation::OnGet] {
            for storage in [Storage::Growing, Storage::Reserved] {
                let options = Options { policy, revalidation, storage };
                let cache = FileCache::new(CAPACITY, options).unwrap();
                points += scenarios(&format!("{options:?}"), &cache, &files);
            }
        }
    }
    std::println!("{points} points in the cache");
    assert!(points > crate::testing::scale(500, 200), "the faults did not reach the calls");
}
