//! Many files, few descriptors, little memory.

use std::env;
use std::fs::{self, File};
use std::process::Command;

use smf_core::cache::{CacheError, Capacity, FileCache, FixedStorage, Options};
use smf_core::memory::MemoryError;

use crate::{Directory, LARGE, get};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Runs the test of this name in a process of its own, after `prepare` has changed the limits there
/// by way of the shell. Whether this is that process.
pub(crate) fn alone(test: &str, limit: &str) -> bool {
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
    if !alone(
        "limits::ten_thousand_files_need_no_descriptors_and_leave_no_mappings",
        "ulimit -n 64",
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
    if !alone("limits::an_address_space_that_is_full_is_an_error", "ulimit -v 400000") {
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
    assert_eq!(error, CacheError::File(MemoryError::OutOfMemory { size: 1 << 30 }));
    let error = get(&fixed, &large).map(|_| ()).unwrap_err();
    assert!(matches!(error, CacheError::File(MemoryError::Map { .. })), "{error}");
    assert_eq!((open_descriptors(), mappings()), before);
    assert_eq!(&*get(&growing, &small).unwrap(), b"small");
    assert_eq!(&*get(&fixed, &small).unwrap(), b"small");
    assert_eq!((fixed.statistics().failures, fixed.statistics().files), (1, 1));
}
