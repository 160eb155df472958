//! The job of a prefetch: reads files into a cache.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use smf_core::cache::{CacheError, FileCache, Filler, Storage};
use smf_core::memory::read_ahead;

use super::queue::{FileRead, Job};

/// A list of files and the cache to read them into.
pub(super) struct Files<'f, S: Storage, P> {
    pub(super) cache: &'f FileCache<S>,
    pub(super) paths: &'f [P],
}

impl<S: Storage, P: AsRef<Path>> Files<'_, S, P> {
    fn path(&self, index: usize) -> &[u8] {
        self.paths.get(index).map_or(&[], |path| path.as_ref().as_os_str().as_bytes())
    }
}

impl<'f, S: Storage, P: AsRef<Path> + Sync> Job for Files<'f, S, P> {
    type Worker = Filler<'f, S>;

    fn worker(&self) -> Filler<'f, S> {
        self.cache.filler()
    }

    fn readahead(&self, filler: &mut Filler<'f, S>, index: usize) {
        // A file that cannot be opened is reported when it is read.
        let _ = read_ahead(self.path(index));
        filler.pause();
    }

    fn read(&self, filler: &mut Filler<'f, S>, index: usize) -> Result<FileRead, CacheError> {
        let bytes = filler.get(self.path(index))?.len() as u64;
        let time = filler.read_time().and_then(|time| u64::try_from(time).ok()).unwrap_or(0);
        Ok(FileRead { bytes, time: Duration::from_nanos(time) })
    }
}
