//! Many files with few descriptors and little memory.

use std::fs::{self, File};

use smf_core::cache::{CacheError, Capacity, FileCache, Options};
use smf_core::memory::MemoryError;

use crate::alone::alone_after;
use crate::{Directory, LARGE, get, reserved};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn cache_of_ten_thousand_files_keeps_no_descriptors_and_leaves_no_mappings() {
    if !alone_after(
        "ulimit -n 64",
        "limits::cache_of_ten_thousand_files_keeps_no_descriptors_and_leaves_no_mappings",
    ) {
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
    // Each file has pages of its own.
    let before = (open_descriptors(), mappings());
    let cache = reserved(Capacity { files: 16, ..LARGE }, Options::default());
    for (i, path) in (0..1000u32).zip(&paths) {
        assert_eq!(*get(&cache, path).unwrap(), i.to_le_bytes());
        assert!(get(&cache, &directory.0.join("missing")).is_err());
    }
    assert_eq!(cache.statistics().evictions, 984);
    drop(cache);
    assert_eq!((open_descriptors(), mappings()), before);
}

#[test]
fn full_address_space_is_an_error() {
    if !alone_after("ulimit -v 400000", "limits::full_address_space_is_an_error") {
        return;
    }
    let directory = Directory::new();
    let large = directory.0.join("large");
    File::create(&large).unwrap().set_len(1 << 30).unwrap();
    let small = directory.file("small", b"small");
    let growing =
        FileCache::new(Capacity { files: 9, bytes: 8 << 30 }, Options::default()).unwrap();
    let reserved = reserved(Capacity { files: 4, bytes: 8 << 30 }, Options::default());
    let before = (open_descriptors(), mappings());
    let error = get(&growing, &large).map(|_| ()).unwrap_err();
    assert_eq!(error, CacheError::File(MemoryError::OutOfMemory { size: 1 << 30 }));
    let error = get(&reserved, &large).map(|_| ()).unwrap_err();
    assert!(matches!(error, CacheError::File(MemoryError::Map { .. })), "{error}");
    assert_eq!((open_descriptors(), mappings()), before);
    assert_eq!(&*get(&growing, &small).unwrap(), b"small");
    assert_eq!(&*get(&reserved, &small).unwrap(), b"small");
    assert_eq!((reserved.statistics().failures, reserved.statistics().files), (1, 1));
}
