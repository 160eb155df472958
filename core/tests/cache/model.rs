//! The order of eviction, against naive models.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use smf_core::cache::{Capacity, FileCache, Options, Policy};

use crate::{Directory, Numbers, cache, get, names, reserved};

/// The number and the size of a file.
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

/// Compares a cache with the model while up to `max_held` files are in use.
fn compare(cache: &FileCache, capacity: Capacity, max_held: usize, seed: u64) {
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
    let mut held = Vec::new();
    for step in 0..4000 {
        let file = numbers.below(40).min(numbers.below(40));
        let holds: Vec<usize> = held.iter().map(|(file, _)| *file).collect();
        match numbers.below(20) {
            0 if !held.is_empty() => drop(held.swap_remove(numbers.below(held.len()))),
            // A file in use is not evicted here, because it would be detached.
            1 if !holds.contains(&file) => {
                let was = model.list.iter().position(|known| known.0 == file);
                was.map(|at| model.list.remove(at));
                assert_eq!(cache.evict(paths[file].as_os_str().as_bytes()), was.is_some());
            }
            _ => {
                let expected = model.get(file, sizes[file] as u64, &holds);
                let found = get(cache, &paths[file]);
                assert_eq!(found.is_ok(), expected, "step {step}: {:?}", found.err());
                if let Ok(found) = found {
                    assert!(found.len() == sizes[file] && found.iter().all(|b| *b == file as u8));
                    if held.len() < max_held && numbers.below(4) == 0 {
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
fn lru_evicts_as_naive_model() {
    for (files, bytes, seed) in [(8, 1 << 20, 1), (30, 1500, 2), (5, 600, 3), (60, 200, 4)] {
        let capacity = Capacity { files, bytes };
        for max_held in [3, 12] {
            let cache = FileCache::new(capacity, Options::default()).unwrap();
            compare(&cache, capacity, max_held, seed);
        }
    }
}

#[test]
fn lru_with_reserved_storage_evicts_as_naive_model() {
    for (files, bytes, seed) in [(8, 1200, 5), (100, 1500, 6)] {
        let capacity = Capacity { files, bytes };
        compare(&reserved(capacity, Options::default()), capacity, 3, seed);
    }
}

#[test]
fn sieve_evicts_as_naive_model() {
    let directory = Directory::new();
    let paths: Vec<_> = (0..30).map(|i| directory.file(&format!("{i}"), &[i; 10])).collect();
    compare_sieve(&cache(8, 1 << 20, Policy::Sieve), &paths);
}

/// Whether SIEVE still remembers an evicted file depends on the hashes.
#[test]
fn sieve_marks_file_that_is_inserted_soon_after_eviction() {
    const FILES: u32 = 128;
    let stays = |comes_back: bool| {
        let options = Options { policy: Policy::Sieve, ..Options::default() };
        let cache = reserved(Capacity { files: FILES, bytes: 1 << 20 }, options);
        let put = |number: u32| drop(cache.insert(&number.to_le_bytes(), b"bytes").unwrap());
        // The last one evicts the first.
        (0..=FILES).for_each(put);
        let file = if comes_back { 0 } else { 1000 };
        put(file);
        // As many as there are others, and one more for the mark that the hand clears.
        (2000..2000 + FILES).for_each(put);
        let mut found = false;
        cache.for_each(|path, _| found |= path == file.to_le_bytes());
        found
    };
    let times = |comes_back| (0..64).filter(|_| stays(comes_back)).count();
    assert!(times(true) >= 56, "a file is forgotten with a probability of 1/64");
    assert!(times(false) <= 2, "a file is mistaken for another with a probability of 1/65536");
}

/// The naive model of SIEVE: a list, the newest first, with marks and a hand.
fn compare_sieve(cache: &FileCache, paths: &[PathBuf]) {
    let mut list: Vec<(usize, bool)> = Vec::new();
    // The file that the hand points to; `None` for the oldest.
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
        get(cache, &paths[file]).unwrap();
        assert!(names(cache).iter().eq(list.iter().map(|known| &paths[known.0])));
    }
}
