//! Options of a cache.

/// The limits of a cache. Files in use count, also those that have been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Files; at least 1. Further paths of files and modules of archives do not count; their number is
    /// limited to that of files, or to 4,096 if that is more and the cache [grows](Storage::Growing).
    pub files: u32,
    /// Bytes of files and of their decompressed sections; at least 1.
    pub bytes: u64,
}

/// Which file is evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The least recently used file. Exact in a cache with one shard, else exact within each shard (see
    /// the [module](super)).
    #[default]
    Lru,
    /// The oldest file that has not been used since it was last considered (Zhang et al., "SIEVE is Simpler
    /// than LRU", NSDI 2024). In a cache of 64 files or more, a file that is read again soon after its
    /// eviction counts as used.
    Sieve,
}

/// When a cached file is compared with the file on disk: size, time of modification, device and inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revalidation {
    /// By [`FileCache::refresh`](super::FileCache::refresh) and
    /// [`FileCache::refresh_all`](super::FileCache::refresh_all) only.
    #[default]
    Manual,
    /// At each request by path, which costs one system call.
    OnGet,
}

/// Where a cache gets its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// From the global allocator, as the cache grows.
    #[default]
    Growing,
    /// From the global allocator when the cache is created, for as many entries as its capacity allows. After
    /// that the cache asks the allocator for nothing: the bytes of each file lie in mapped pages. Only
    /// decompression still allocates. Such a cache has one shard.
    Reserved,
}

/// Options of a cache besides its capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which file is evicted first.
    pub policy: Policy,
    /// When files are compared with those on disk.
    pub revalidation: Revalidation,
    /// Where the cache gets its memory.
    pub storage: Storage,
}

/// The result of [`FileCache::prefetch`](super::FileCache::prefetch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefetched {
    /// The number of files that were read or already in the cache.
    pub ready: u32,
    /// The number of files that could not be read.
    pub failed: u32,
}
