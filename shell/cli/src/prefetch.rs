//! `smf prefetch`: reads files into the kernel's page cache, on several threads.
//!
//! The process discards its own copies; the kernel's page cache remains. The file cache is therefore small.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::builder::{OsStringValueParser, TypedValueParser};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use smf_core::cache::{self, CacheError, Capacity, FileCache};
use smf_core::memory::{FileBytes, FileKind, FileRange, MemoryError, stamp_of};
use smf_core::plural;
use smf_loader::files;
use smf_loader::prefetch::{self, MAX_THREADS, Options, Report, Watch};

use crate::integer::up_to;
use crate::output::{self, Failure};
use crate::progress;

/// The capacity of the file cache; each thread holds one more file while it reads.
const CAPACITY: Capacity = Capacity { files: 64, bytes: 64 << 20 };

/// The chunk size for files larger than the cache, in bytes.
const PIECE: u64 = 8 << 20;

/// Reads files so that the next program finds them in memory
///
/// The files are read on several threads and discarded: they remain in the kernel's page cache while memory
/// is available. Any file will do, and archives are read as a whole. Directories are refused. Prints one
/// line: files, bytes, time, rate and the number of failures; each failure is an `error: ...` line on
/// standard error. Holds at most 64 MiB of files at a time, and one file of at most 64 MiB for each thread;
/// larger files are read in chunks.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE", value_parser = OsStringValueParser::new().try_map(file))]
    files: Vec<PathBuf>,
    /// The number of reading threads, at most 256; 0 is one for each core
    #[arg(long, value_name = "N", default_value = "0", value_parser = up_to::<usize>(MAX_THREADS as i64))]
    threads: usize,
    /// Print one JSON object with the statistics of the cache and the failures
    #[arg(long)]
    json: bool,
}

fn file(path: OsString) -> Result<PathBuf, &'static str> {
    if files::is_standard_stream(Path::new(&path)) {
        return Err("standard input cannot be prefetched; for a file of that name write `./-`");
    }
    Ok(path.into())
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let cache = FileCache::new(CAPACITY, cache::Options::default())?;
    let begin = Instant::now();
    let mut report = with_progress(&cache, args)?;
    read_large(&mut report);
    let took = begin.elapsed();
    for failure in &report.failures {
        output::report("error", &format!("{}: {}", failure.path.display(), why(failure)));
    }
    output::to_stdout(|out| match args.json {
        true => writeln!(out, "{}", summary(&report, took, &cache)),
        false => writeln!(out, "{}", line(&report, took)),
    })?;
    if report.failures.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

fn with_progress(cache: &FileCache, args: &Args) -> Result<Report, Failure> {
    let options = Options { threads: args.threads, ..Options::default() };
    let watch = Watch::default();
    let show = |bar: &ProgressBar| bar.set_position(watch.progress().done as u64);
    let read = |_: &ProgressBar| prefetch::warm(cache, &args.files, options, &watch);
    let outcome = progress::watched("reading", args.files.len(), show, read);
    Ok(outcome?.report(&args.files))
}

/// Reads the files that are larger than the cache, in chunks.
fn read_large(report: &mut Report) {
    let (ready, bytes) = (&mut report.ready, &mut report.bytes);
    report.failures.retain_mut(|failure| {
        if !matches!(failure.error, CacheError::TooLarge { .. }) {
            return true;
        }
        match read_in_pieces(failure.path.as_os_str().as_bytes()) {
            Ok(size) => {
                *ready += 1;
                *bytes += size;
                false
            }
            Err(error) => {
                failure.error = error.into();
                true
            }
        }
    });
}

fn read_in_pieces(path: &[u8]) -> Result<u64, MemoryError> {
    let size = stamp_of(path)?.size;
    let mut offset = 0;
    while offset < size {
        let length = PIECE.min(size - offset);
        FileBytes::read_range(path, FileRange { offset, length: Some(length) }, PIECE)?;
        offset += length;
    }
    Ok(size)
}

fn why(failure: &prefetch::Failure) -> String {
    let directory = MemoryError::NotRegular { kind: FileKind::Directory };
    let hint = if failure.error == directory.into() { "; name the files in it" } else { "" };
    format!("{}{hint}", failure.error)
}

fn line(report: &Report, took: Duration) -> String {
    format!(
        "{} file{}, {} bytes, {:.3} ms, {:.1} MB/s, {} failed",
        report.ready,
        plural::s(report.ready),
        report.bytes,
        took.as_secs_f64() * 1e3,
        bytes_per_second(report, took) / 1e6,
        report.failures.len()
    )
}

fn bytes_per_second(report: &Report, took: Duration) -> f64 {
    // A clock without progress would make it infinite, which JSON cannot express.
    report.bytes as f64 / took.as_secs_f64().max(1e-9)
}

/// The output of `--json`. Times are in nanoseconds.
fn summary(report: &Report, took: Duration, cache: &FileCache) -> Value {
    let statistics = cache.statistics();
    let times = &statistics.load_times;
    let samples = statistics.bytes_over_time.iter();
    let failure = |failure: &prefetch::Failure| json!({"file": failure.path.to_string_lossy(), "error": why(failure)});
    json!({
        "files": report.ready,
        "bytes": report.bytes,
        "failed": report.failures.len(),
        "threads": report.threads,
        "time": u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        "bytes_per_second": bytes_per_second(report, took),
        "cache": {
            "files": statistics.files,
            "bytes": statistics.bytes,
            "peak_bytes": statistics.peak_bytes,
            "hits": statistics.hits,
            "misses": statistics.misses,
            "hit_rate": statistics.hit_rate(),
            "evictions": statistics.evictions,
            "load_time": {
                "mean": times.mean(),
                "p50": times.percentile(0.5),
                "p90": times.percentile(0.9),
                "p99": times.percentile(0.99),
            },
            "bytes_over_time": samples.map(|s| json!({"at": s.at, "bytes": s.bytes})).collect::<Vec<_>>(),
        },
        "failures": report.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}
