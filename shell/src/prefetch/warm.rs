//! Prefetching on the calling thread and others, until all files have been processed.

use std::path::Path;

use smf_core::alloc_util::{AllocError, try_collect};
use smf_core::cache::FileCache;

use super::file_job::Files;
use super::options::{Options, STACK};
use super::queue::Queue;
use super::report::Outcome;
use super::thread::run_on_many;
use super::watch::Watch;

/// Reads the files at `paths` into `cache` and returns when all have been processed. The calling thread is
/// one of the reading threads. Other threads may poll `watch` meanwhile.
///
/// ```
/// use smf_core::cache::{Capacity, FileCache};
/// use smf_loader::prefetch::{self, Options, Watch};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Default::default())?;
/// let paths = ["Cargo.toml", "absent"];
/// let outcome = prefetch::warm(&cache, &paths, Options::default(), &Watch::default()).unwrap();
/// assert_eq!(outcome.ready, 1);
/// assert_eq!(outcome.report(&paths).failures[0].path.to_str(), Some("absent"));
/// # Ok::<(), smf_core::cache::CacheError>(())
/// ```
///
/// # Errors
/// An allocation failed; no file was read.
pub fn warm<P: AsRef<Path>>(
    cache: &FileCache,
    paths: &[P],
    options: Options,
    watch: &Watch,
) -> Result<Outcome, AllocError> {
    let paths = try_collect(paths.iter().map(AsRef::as_ref))?;
    let threads = options.threads_for(paths.len());
    let queue = Queue::new(paths.len(), threads, options.read_ahead)?;
    watch.begin(paths.len());
    let job = Files { cache, paths: &paths };
    let started = run_on_many(threads - 1, STACK, &|| queue.work(&job, watch));
    Ok(Outcome { threads: started, ..queue.finish(&job, watch) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::options::ReadAhead;
    use crate::prefetch::queue::{FileRead, Job};
    use smf_core::cache::CacheError;
    use std::time::Duration;

    #[test]
    fn caller_reads_all_files_when_no_thread_can_be_spawned() {
        struct FixedJob;
        impl Job for FixedJob {
            fn readahead(&self, _: usize) {}
            fn read(&self, _: usize) -> Result<FileRead, CacheError> {
                Ok(FileRead { bytes: 2, time: Duration::ZERO })
            }
        }
        let (queue, watch) = (Queue::new(100, 8, ReadAhead::Never).unwrap(), Watch::default());
        // No address space can hold this stack.
        assert_eq!(run_on_many(7, 1 << 60, &|| queue.work(&FixedJob, &watch)), 1);
        let results = queue.finish(&FixedJob, &watch);
        assert_eq!((results.ready, results.bytes), (100, 200));
    }
}
