//! What a cache is told when it is made, and what it answers to a list.

#[cfg(doc)]
use super::FileCache;

/// How much a cache holds at most. Files in use count, also those that have been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Files; at least 1. Further paths and modules of archives do not count; there are at most as
    /// many of them as files, or 4,096.
    pub files: u32,
    /// Bytes of files, and of what came out of their compressed sections (whole pages where no
    /// allocator is asked); at least 1.
    pub bytes: u64,
}

/// Who is thrown out first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Exactly the one that has not been used for the longest time. Each hit takes the lock.
    #[default]
    Lru,
    /// The oldest that has not been used since it was last looked at; to be read again soon after it was
    /// thrown out is to be used. Hits take no lock.
    Sieve,
}

/// When a file in the cache is compared with the file on disk: size, time of modification in
/// nanoseconds, device and inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// When [`FileCache::refresh`] asks for it.
    #[default]
    OnRequest,
    /// Whenever it is asked for by path: one system call each time.
    EachGet,
}

/// What a cache may be told beside its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Who is thrown out first.
    pub policy: Policy,
    /// When files are compared with those on disk.
    pub freshness: Freshness,
}

/// How [`FileCache::prefetch`] went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefetched {
    /// Files that are in the cache now.
    pub ready: u32,
    /// Files that are not.
    pub failed: u32,
}
