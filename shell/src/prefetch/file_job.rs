//! The job of a prefetch: reads files into a cache.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use smf_core::cache::{CacheError, FileCache};
use smf_core::memory::read_ahead;

use super::queue::{FileRead, Job};

/// A list of files and the cache to read them into.
pub(super) struct Files<'f, P> {
    pub(super) cache: &'f FileCache,
    pub(super) paths: &'f [P],
}

impl<P: AsRef<Path>> Files<'_, P> {
    fn path(&self, index: usize) -> &[u8] {
        self.paths.get(index).map_or(&[], |path| path.as_ref().as_os_str().as_bytes())
    }
}

impl<P: AsRef<Path> + Sync> Job for Files<'_, P> {
    fn readahead(&self, index: usize) {
        // A file that cannot be opened is reported when it is read.
        let _ = read_ahead(self.path(index));
    }

    fn read(&self, index: usize) -> Result<FileRead, CacheError> {
        let start = Instant::now();
        let bytes = self.cache.get(self.path(index))?.len() as u64;
        Ok(FileRead { bytes, time: start.elapsed() })
    }
}
