//! The results of a prefetch.

use std::path::{Path, PathBuf};

use smf_core::cache::CacheError;

/// The result of a prefetch, with paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files that were read or were already cached.
    pub ready: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Threads that took part.
    pub threads: usize,
    /// Files that could not be read, in list order.
    pub failures: Vec<Failure>,
}

/// The result of a prefetch, with indices.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files that were read or were already cached.
    pub ready: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Threads that took part.
    pub threads: usize,
    /// Indices of the paths that could not be read, from 0, in order, and the errors.
    pub failures: Vec<(usize, CacheError)>,
}

/// A file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The index of the path in the list, from 0.
    pub index: usize,
    /// The path.
    pub path: PathBuf,
    /// The error.
    pub error: CacheError,
}

impl Outcome {
    /// The report with paths. `paths` is the list that was prefetched.
    pub fn report(&self, paths: &[impl AsRef<Path>]) -> Report {
        let failure = |&(index, error): &(usize, CacheError)| {
            let path = paths.get(index).map(AsRef::as_ref).unwrap_or(Path::new(""));
            Failure { index, path: path.to_owned(), error }
        };
        let failures = self.failures.iter().map(failure).collect();
        Report { ready: self.ready, bytes: self.bytes, threads: self.threads, failures }
    }
}
