//! Reads modules into a cache on several threads, and loads one from there: `cargo run -p smf-loader --example prefetch`.

use std::error::Error;
use std::path::PathBuf;

use smf_core::alloc_util::TryArc;
use smf_core::cache::{Capacity, FileCache, Options};
use smf_loader::loader::Loader;
use smf_loader::prefetch::{self, Watch};

/// How many files became warm, and how many of two loads read one.
fn warm_and_load() -> Result<(usize, u64), Box<dyn Error>> {
    let samples = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
    let paths = ["packed.smf", "lib.smf", "absent.smf"].map(|name| samples.join(name));
    let capacity = Capacity { files: 100, bytes: 1 << 20 };
    let cache = TryArc::new(FileCache::new(capacity, Options::default())?)?;
    let report = prefetch::warm(&cache, &paths, prefetch::Options::default(), &Watch::default())?;

    let loader = Loader::builder().cache(cache.clone()).build()?;
    let misses = cache.statistics().misses;
    for path in paths.iter().take(2) {
        loader.load_module(path, None)?;
    }
    Ok((report.ready, cache.statistics().misses - misses))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (ready, read) = warm_and_load()?;
    println!("{ready} of 3 files are warm, {read} of 2 loads read a file");
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
#[test]
fn loads_read_no_file_that_is_warm() -> Result<(), Box<dyn Error>> {
    assert_eq!(warm_and_load()?, (2, 0));
    Ok(())
}
