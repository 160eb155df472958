//! The options of a prefetch.

/// The maximum number of threads.
pub const MAX_THREADS: usize = 256;

/// Stack size of a thread in bytes. A path takes 4 KiB of it, printing a panic about 100 KiB, and the static thread-local
/// storage of a program with a reserve for modules up to 192 KiB.
pub(super) const STACK: usize = 512 << 10;

/// How to prefetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The number of reading threads, including the caller if it waits. 0, the default, means one for each
    /// available core. It is limited to the number of files and to [`MAX_THREADS`].
    pub threads: usize,
    /// When files are announced to the kernel before they are read.
    pub read_ahead: ReadAhead,
}

/// When the kernel is asked to read files ahead. That costs three more system calls a file, which gain
/// nothing for files in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadAhead {
    /// For the next files, after two reads in a row that were slow enough to come from the disk.
    #[default]
    WhenSlow,
    /// For no file.
    Never,
    /// For every file but the first.
    Always,
}

impl Options {
    /// The number of threads for `files` files, at least 1.
    pub(super) fn threads_for(self, files: usize) -> usize {
        let count = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        count.min(MAX_THREADS).min(files).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_count_is_at_least_one_and_at_most_the_files() {
        let threads = |threads, files| Options { threads, ..Options::default() }.threads_for(files);
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(threads(0, 1 << 20), cores.min(MAX_THREADS));
        assert_eq!([threads(0, 0), threads(7, 0), threads(7, 1)], [1; 3]);
        assert_eq!((threads(7, 5), threads(7, 9)), (5, 7));
        assert_eq!(threads(usize::MAX, usize::MAX), MAX_THREADS);
    }
}
