//! The cache against a naive model, with invalid files, with changing files, and from threads.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod allocations;
#[path = "../../../tests/src/alone.rs"]
mod alone;
#[cfg(feature = "compress")]
mod compressed;
mod guarantees;
mod inserted;
mod limits;
mod model;
mod modules;
mod refusals;
mod threads;

use std::fs::{self, OpenOptions};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use std::{env, process};

use smf_core::cache::{CacheError, CacheRef, Capacity, FileCache, Options, Policy, Storage};

/// The directory of one test, removed at its end.
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

/// A cache with the entries reserved when it is created.
fn reserved(capacity: Capacity, options: Options) -> FileCache {
    FileCache::new(capacity, Options { storage: Storage::Reserved, ..options }).unwrap()
}

fn get<'c>(cache: &'c FileCache, path: &Path) -> Result<CacheRef<'c>, CacheError> {
    cache.get(path.as_os_str().as_bytes())
}

fn names(cache: &FileCache) -> Vec<PathBuf> {
    let mut names = Vec::new();
    cache.for_each(|path, _| names.push(PathBuf::from(std::ffi::OsStr::from_bytes(path))));
    names
}

/// A random number generator with a fixed seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) % end as u64) as usize
    }
}

/// The number of threads, and of requests by each.
const THREADS: usize = 4;
const STEPS: usize = 5000;

/// Sixty files; each byte of a file is its number, and its length is the number plus 100.
fn sixty(directory: &Directory) -> Vec<PathBuf> {
    (0..60u8).map(|i| directory.file(&format!("{i}"), &vec![i; 100 + i as usize])).collect()
}

/// Requests these sixty files in random order, the first ones more often, evicts some of them now and then,
/// and checks what `ask` returns for a step and a path.
fn at_random<T: Deref<Target = [u8]>>(
    cache: &FileCache,
    paths: &[PathBuf],
    mut numbers: Numbers,
    ask: impl Fn(usize, &Path) -> T,
) {
    let is_whole = |bytes: &[u8], file: usize| {
        bytes.len() == 100 + file && bytes.iter().all(|byte| *byte == file as u8)
    };
    let mut held = None;
    for step in 0..STEPS {
        let file = numbers.below(60).min(numbers.below(60));
        let found = ask(step, &paths[file]);
        assert!(is_whole(&found, file));
        match step % 50 {
            0 => held = Some((file, found)),
            7 => drop(cache.evict(paths[file].as_os_str().as_bytes())),
            11 => drop(cache.statistics()),
            13 if step % 1000 == 13 => cache.clear(),
            _ => {}
        }
        if let Some((file, held)) = &held {
            assert!(is_whole(held, *file));
        }
    }
}
