//! Many files into a cache: one thread against the standard library, two threads against one.
//!
//! The files are small, in the page cache, and were last modified long ago: the rows measure system calls, memory and
//! contention between threads. Each side holds all bytes to the end; freeing them is not timed.
//!
//! Before each turn the allocator returns its free memory to the kernel, so that both sides start like a new process.
//! One row is also measured without that step: memory that was used before saves the page faults.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use smf_core::cache::{Capacity, FileCache};
use smf_loader::prefetch::{self, Options, Watch};
use tempfile::TempDir;

use crate::measure::{Bench, Contender, Measure, Target, repeat_prepared, settle};

const TOGETHER: &str = "prefetch of 2,000 files of 16 KiB on two threads";
const ALONE: &str = "prefetch of 2,000 files of 16 KiB on one thread";

const ALONE_USED: &str = "prefetch of 2,000 files of 16 KiB on one thread, used memory";

const FILES: usize = 2000;
const SIZE: usize = 16 << 10;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[TOGETHER, ALONE, ALONE_USED]) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let files: Vec<_> = (0..FILES).map(|number| file(&directory, number)).collect();
    settle();
    let take = |bench: &mut Bench, name, peer, target, ours, theirs| {
        let measure = Measure { name, peer, batches: 60, target, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    };
    let (ours, theirs) = (on(&files, 2, Memory::Fresh), on(&files, 1, Memory::Fresh));
    take(bench, TOGETHER, "one thread", Target::ratio(0.59), ours, theirs);
    let (ours, theirs) = (on(&files, 1, Memory::Fresh), read_each(&files, Memory::Fresh));
    // The cache also stamps each file twice and inserts it.
    take(bench, ALONE, "fs::read of each", Target::ratio(1.2), ours, theirs);
    let (ours, theirs) = (on(&files, 1, Memory::Used), read_each(&files, Memory::Used));
    take(bench, ALONE_USED, "fs::read of each", Target::NONE, ours, theirs);
}

/// The state of the allocator before a turn.
#[derive(Clone, Copy)]
enum Memory {
    /// Memory from the kernel.
    Fresh,
    /// Memory that the allocator already has.
    Used,
}

impl Memory {
    fn prepare(self) {
        /// The limit of free memory at the end of the heap: malloc.h.
        const M_TRIM_THRESHOLD: i32 = -1;
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        match self {
            // SAFETY: frees nothing that is in use: malloc_trim(3).
            Memory::Fresh => _ = unsafe { malloc_trim(0) },
            Memory::Used => {
                // SAFETY: sets when free memory returns to the kernel, nothing else: mallopt(3).
                unsafe { mallopt(M_TRIM_THRESHOLD, i32::MAX) };
                // Slightly more memory than a turn takes.
                drop((0..FILES + FILES / 4).map(|_| vec![1u8; SIZE]).collect::<Vec<_>>());
            }
        }
    }
}

fn file(directory: &TempDir, number: usize) -> PathBuf {
    let path = directory.path().join(format!("{number}.smf"));
    fs::write(&path, vec![number as u8; SIZE]).unwrap();
    path
}

fn on(files: &[PathBuf], threads: usize, memory: Memory) -> Contender<'_> {
    let prepare = move || {
        memory.prepare();
        let capacity = Capacity { files: 1 << 16, bytes: 1 << 30 };
        FileCache::new(capacity, Default::default()).unwrap()
    };
    let options = Options { threads, ..Options::default() };
    repeat_prepared(prepare, move |cache: &FileCache| {
        let outcome = prefetch::warm(cache, files, options, &Watch::default());
        assert_eq!(outcome.unwrap().ready, FILES);
    })
}

fn read_each(files: &[PathBuf], memory: Memory) -> Contender<'_> {
    let prepare = move || {
        memory.prepare();
        RefCell::new(Vec::with_capacity(FILES))
    };
    repeat_prepared(prepare, move |kept: &RefCell<Vec<_>>| {
        kept.borrow_mut().extend(files.iter().map(|path| fs::read(path).unwrap()));
    })
}
