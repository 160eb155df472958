//! A cache of files: a path becomes the bytes of a file, which is read once.
//!
//! [`FileCache::get`] returns the bytes of a file as a [`CacheRef`]. As long as the reference exists the bytes
//! neither move nor change, whatever happens to the cache or to the file, and the file is not evicted. Other
//! files are evicted in the order of the [`Policy`] when files or bytes exceed the [`Capacity`].
//! [`FileCache::insert`] caches bytes that come from no file.
//!
//! Guarantees:
//!
//! * The bytes are private copies: no other process can change them or make an access raise a signal, and
//!   they are never part old and part new (see [`FileBytes`](crate::memory::FileBytes)).
//! * Two paths of one file (device and inode) share one copy; so do the modules of an archive.
//! * A [`Handle`] of an evicted or replaced file is an error and never refers to another file.
//! * A compressed section is decompressed once and lives as long as its file. Its bytes count as bytes of the
//!   file; if they do not fit, the section is not decompressed.
//! * No lock is held during a system call on a file or during decompression. A hit makes no system call,
//!   unless [revalidation](Revalidation) is requested.
//! * A refused allocation is an error. With [`Storage::Reserved`] all allocations are made when the cache is
//!   created.
//!
//! # Shards
//!
//! Slots hold the entries; a hash table finds them by path, and links inside the slots form the lists of
//! the policy. A cache of 64 files or more is divided into up to 32 shards, each with a lock of its own, and
//! the policy orders files within their shard. A smaller cache, and one with [`Storage::Reserved`], has one
//! shard, in which [`Policy::Lru`] is exact. The limits hold for all shards together. A hit takes the lock of
//! one shard; an insertion also takes the lock of the inventory, which holds what the shards share.
//!
//! A [`CacheRef`] counts as an owner of its entry. An entry that has one or is [retained](FileCache::retain) is in use: it is
//! passed over by eviction, and when it is replaced or evicted on request, it stays in its slot as *detached* until it is no
//! longer in use and the cache needs its memory.

mod cache_ref;
mod decompress;
mod decompressed;
mod entry;
mod error;
mod file_cache;
mod handle;
mod inventory;
mod list;
mod load;
mod lookup;
mod maintenance;
mod options;
mod retained;
mod sections;
mod slot;
mod state;
mod statistics;

pub use cache_ref::{CacheRef, CachedBytes};
pub use error::CacheError;
pub use file_cache::FileCache;
pub use handle::Handle;
pub use options::{Capacity, Options, Policy, Prefetched, Revalidation, Storage};
pub use statistics::{Histogram, Sample, SizeHistogram, Statistics};
