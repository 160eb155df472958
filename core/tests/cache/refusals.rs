//! Errors of the cache.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use smf_core::cache::{CacheError, Capacity, FileCache, Options, Policy, Storage};
use smf_core::memory::{FileKind, MemoryError};

use crate::{Directory, LARGE, cache, get};

#[test]
fn invalid_path_is_an_error_and_leaves_cache_as_it_was() {
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
    // The superuser may read it nevertheless.
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
fn capacity_that_is_too_small_is_an_error() {
    let directory = Directory::new();
    for (files, bytes) in [(0, 100), (100, 0), (0, 0)] {
        let refused = FileCache::new(Capacity { files, bytes }, Options::default());
        assert_eq!(refused.map(|_| ()).unwrap_err(), CacheError::NoCapacity);
    }
    let options = Options { storage: Storage::Reserved, ..Options::default() };
    let refused = FileCache::new(Capacity { files: u32::MAX, bytes: 1 }, options).map(drop);
    assert!(matches!(refused, Err(CacheError::OutOfMemory(_))), "{refused:?}");
    let cache = cache(10, 99, Policy::Lru);
    let small = get(&cache, &directory.file("small", &[1; 99])).unwrap().handle();
    let error = get(&cache, &directory.file("large", &[1; 100])).map(|_| ()).unwrap_err();
    assert_eq!(error, CacheError::TooLarge { size: 100, capacity: 99 });
    assert!(cache.get_by_handle(small).is_ok(), "nothing was evicted for it");
}

#[test]
fn prefetch_of_list_with_invalid_paths_reads_the_others() {
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
