//! Prefetching files into a cache, in the foreground and in the background.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ptr;

use smf_core::cache::{Capacity, FileCache, Options};
use smf_loader::ffi::{
    smf_cache_close, smf_cache_evict, smf_cache_prefetch, smf_cache_prefetch_start,
    smf_prefetch_free, smf_prefetch_result, smf_prefetch_wait,
};
use smf_loader::prefetch::{self, Watch};
use smf_tests::sample;

use super::c::{open_cache, path, unless};
use super::{Scenario, judge};

const FILES: [&str; 3] = ["packed.smf", "app.smf", "lib.smf"];

/// Prefetches the files on this number of threads, and evicts them again.
fn read_at_once(granted: usize, threads: i32) -> i32 {
    let (cache, paths) = (open_cache(), FILES.map(path));
    // A null path is an error of its own.
    let pointers = [paths[0].as_ptr(), ptr::null(), paths[1].as_ptr(), paths[2].as_ptr()];
    let read = || {
        let mut results = [-1; 4];
        let (list, results_at) = (pointers.as_ptr(), results.as_mut_ptr());
        // SAFETY: four paths, and an array of as many results.
        let ready = unsafe { smf_cache_prefetch(cache, list, 4, threads, results_at) };
        unless(-1, ready).inspect(|ready| {
            let good = results.iter().filter(|result| **result == 0).count();
            assert!(*ready == good as i64 && results[1] == 1, "{results:?}");
        })
    };
    let end = judge(granted, read, |_| {
        for path in &paths {
            // SAFETY: a path.
            unsafe { smf_cache_evict(cache, path.as_ptr()) };
        }
    });
    assert_eq!(read().unwrap(), 3);
    assert!(smf_cache_close(cache));
    end
}

/// Starts prefetching the files, waits, and reads the results.
fn read_behind(cache: u64, pointers: &[*const c_char; 3]) -> Result<(), super::c::Failed> {
    // SAFETY: three paths.
    let number = unsafe { smf_cache_prefetch_start(cache, pointers.as_ptr(), 3, 2) };
    let number = unless(0, number)?;
    let waited = smf_prefetch_wait(number, -1);
    let results = [0, 1, 2].map(|index| smf_prefetch_result(number, index));
    assert!(smf_prefetch_free(number) && waited == 1);
    unless(false, results == [0; 3]).map(drop)
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("read files ahead", |granted| {
        let cache = FileCache::new(Capacity { files: 8, bytes: 1 << 20 }, Options::default());
        let (cache, paths) = (cache.unwrap(), FILES.map(|name| sample(name).path()));
        let options = prefetch::Options { threads: 2, ..Default::default() };
        let read = || prefetch::warm(&cache, &paths, options, &Watch::default());
        judge(granted, read, |outcome| assert_eq!(outcome.ready + outcome.failures.len(), 3))
    }),
    ("C: read files ahead", |granted| read_at_once(granted, 1)),
    ("C: read files ahead on threads", |granted| read_at_once(granted, 3)),
    ("C: read files ahead behind one's back", |granted| {
        let (cache, paths) = (open_cache(), FILES.map(path));
        let pointers = [0, 1, 2].map(|index| paths[index].as_ptr());
        let end = judge(
            granted,
            || read_behind(cache, &pointers),
            |()| {
                for path in &paths {
                    // SAFETY: a path.
                    unsafe { smf_cache_evict(cache, path.as_ptr()) };
                }
            },
        );
        assert!(smf_cache_close(cache));
        end
    }),
];
