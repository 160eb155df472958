//! Files by path, read once: the bytes of those that were used last, in bounded memory.
//!
//! [`FileCache::get`] gives the bytes of a file as a [`Pinned`] view. While the view is held the bytes
//! stay where and what they are, whatever happens to the cache or to the file. What is held is never
//! thrown out; what is not goes in the order that the [`Policy`] says, when files or bytes exceed the
//! [`Capacity`].
//!
//! A thread that hits often has a [`Reader`], with which no hit stores what another thread reads; who has
//! the cache for himself needs no pin at all ([`FileCache::get_exclusive`]). Bytes that come from no file
//! are put in with [`FileCache::prepare`] and [`FileCache::insert`].
//!
//! Promises:
//!
//! * The bytes are private copies: nothing that another process does to a file changes a byte or
//!   raises a signal, and no view is part old and part new (see [`FileBytes`](crate::memory::FileBytes)).
//! * Two paths of one file (device and inode) share one copy; so do the modules of an archive.
//! * A [`Handle`] of what has been thrown out or replaced is an error, never another file.
//! * With [`FixedStorage`] and [`SliceStorage`] no allocator is asked, before or afterwards.
//! * What a compressed section holds is decompressed once, and stays as long as its file; it counts like
//!   bytes of the file, and a file that does not fit in with it is not decompressed.
//! * No lock is held during a system call on a file, or while something is decompressed. Finding a file costs no system call, with
//!   [`Policy::Sieve`] no lock either.
//!
//! Exact LRU needs the lock at each hit, to move the file to the front of its list; the lists are
//! links inside the slots. SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024) only marks the
//! file. From 64 files on it remembers some of what it threw out, by 16 bits each, and marks at once what
//! comes back. A file that is pinned when it would be thrown out counts as used at that moment.

mod entry;
mod error;
mod exclusive;
mod files;
mod hash;
mod held;
mod index;
mod ledger;
mod list;
mod load;
mod options;
mod parts;
mod pin;
mod pinned;
mod reader;
mod seat;
mod sections;
mod statistics;
mod storage;
mod unpack;
mod upkeep;

pub use entry::Handle;
pub use error::CacheError;
pub use files::FileCache;
pub use index::Bucket;
pub use load::ReadyFile;
pub use options::{Capacity, Freshness, Options, Policy, Prefetched};
pub use pinned::{Pinned, View};
pub use reader::Reader;
pub use statistics::{Histogram, Sample, Statistics};
pub use storage::{FixedStorage, GrowingStorage, SliceStorage, Slot, Storage};
