//! Many files into a cache: one thread against the standard library, two threads against one.
//!
//! The files are small, in the page cache, and were last modified long ago, so that what is measured
//! is system calls, memory and what threads wait for in each other. Everybody keeps all the bytes to
//! the end, and nobody is timed while giving them back.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use smf_core::cache::{Capacity, FileCache};
use smf_loader::prefetch::{self, Options};
use tempfile::TempDir;

use crate::measure::{Bench, Contender, Measure, Target, repeat_prepared, write_old};

const TOGETHER: &str = "prefetch of 2,000 files of 16 KiB on two threads";
const ALONE: &str = "prefetch of 2,000 files of 16 KiB on one thread";

const FILES: usize = 2000;
const SIZE: usize = 16 << 10;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[TOGETHER, ALONE]) {
        return;
    }
    let directory = TempDir::new().unwrap();
    let files: Vec<_> = (0..FILES).map(|number| file(&directory, number)).collect();
    let take = |bench: &mut Bench, name, peer, most, ours, theirs| {
        let target = Target::ratio(most);
        let measure = Measure { name, peer, batches: 60, target, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    };
    take(bench, TOGETHER, "one thread", 0.59, on(&files, 2), on(&files, 1));
    take(bench, ALONE, "fs::read of each", 1.0, on(&files, 1), read_each(&files));
}

fn file(directory: &TempDir, number: usize) -> PathBuf {
    let path = directory.path().join(format!("{number}.smf"));
    write_old(&path, &vec![number as u8; SIZE]);
    path
}

fn on(files: &[PathBuf], threads: usize) -> Contender<'_> {
    let prepare = || {
        let capacity = Capacity { files: 1 << 16, bytes: 1 << 30 };
        FileCache::new(capacity, Default::default()).unwrap()
    };
    let options = Options { threads, ..Options::default() };
    repeat_prepared(prepare, move |cache: &FileCache| {
        let report = prefetch::warm(cache, files, options);
        assert_eq!(report.ready, FILES);
    })
}

fn read_each(files: &[PathBuf]) -> Contender<'_> {
    let prepare = || RefCell::new(Vec::with_capacity(FILES));
    repeat_prepared(prepare, move |kept: &RefCell<Vec<_>>| {
        kept.borrow_mut().extend(files.iter().map(|path| fs::read(path).unwrap()));
    })
}
