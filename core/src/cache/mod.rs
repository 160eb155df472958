//! Files by path, read once: the bytes of those that were used last, in bounded memory.
//!
//! [`FileCache::get`] gives the bytes of a file as a [`Pinned`] view. While the view is held the bytes
//! stay where and what they are, whatever happens to the cache or to the file. What is held is never
//! thrown out; what is not goes in the order that the [`Policy`] says, when files or bytes exceed the
//! [`Capacity`].
//!
//! A thread that hits often has a [`Reader`], with which no hit stores what another thread reads; who has
//! the cache for himself needs no pin at all ([`FileCache::get_exclusive`]). Who reads many files in a row
//! has a [`Filler`], with which small files share memory. Bytes that come from no file are put in with
//! [`FileCache::prepare`] and [`FileCache::insert`].
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
//! * No lock is held during a system call on a file, or while something is decompressed. Finding a file costs
//!   no system call, with [`Policy::Sieve`] no lock either.
//!
//! Exact LRU needs the lock at each hit, to move the file to the front of its list; the lists are
//! links inside the slots. SIEVE (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024) only marks the
//! file. From 64 files on it remembers some of what it threw out, by 16 bits each, and marks at once what
//! comes back. A file that is pinned when it would be thrown out counts as used at that moment.
//!
//! # What it costs
//!
//! 1,024 files under paths of 62 bytes, on an AMD EPYC (Zen 5), the least of many batches in turns, by a loop
//! of its own that does what `cargo xtask bench cache` does:
//!
//! | | ns |
//! |---|---|
//! | hit by path, alone, SIEVE; exact LRU | 7.9; 10.4 |
//! | the same with the `lru` crate, which knows one list and one kind of storage | 10.4 |
//! | hit by path, with a [reader](Reader), SIEVE | 10.2 |
//! | hit by handle, with a reader, SIEVE | 3.1 |
//! | put in and throw out, alone; shared; the `lru` crate | 28; 41; 41 |
//!
//! Where a hit by path goes: 1.8 ns to read the path and hash it, 1.6 to find its slot in the index, 1.5
//! to read the slot, 2.4 to compare the path and 0.3 to read a byte of the file, all of which lie in the
//! second-level cache. A program that does only that takes 7.5 ns, and 9.4 when it moves the file to the
//! front of the list besides, for the lines of two further slots. Each of these loads waits for the one
//! before it, so what counts is how many hits the processor has begun before the first of them ends: an
//! instruction that waits with them costs 0.07 ns, one that does not next to nothing. The mark, the count
//! and the bounds of every array are the rest, and 2.5 ns the seat of a reader.
//!
//! Could it be less? The path, at an address that the number of the slot tells, is loaded beside the slot
//! and not behind it. In the program that does only the loads that is 6.9 ns instead of 7.5, and 6.1 instead
//! of 6.8 when it checks no bound, for 64 bytes more of each slot, used or not: still above 8 with the seat,
//! hence not done. Caches whose hits store in lines that others read take 30 to 45 ns with two threads; a
//! tenth of that is less than the loads take by themselves. Who wants it keeps the [`Handle`].
//!
//! To put in and throw out alone is 640 instructions, more than five in each cycle, so that only fewer would
//! be faster: 172 of them the allocator needs to take back the file that goes, 55 enter a file in the index
//! and as many remove the other, 19 ask whether the path is there already, 35 hash it, and 35 are for the
//! list. Of a shared cache each of the four locked operations (the lock, the slot closed, opened, and given
//! back) takes 4.6 ns by itself.

mod entry;
mod error;
mod exclusive;
mod files;
mod filler;
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
pub use filler::Filler;
pub use index::Bucket;
pub use load::ReadyFile;
pub use options::{Capacity, Freshness, Options, Policy, Prefetched};
pub use pinned::{Pinned, View};
pub use reader::Reader;
pub use statistics::{Histogram, Sample, Statistics};
pub use storage::{FixedStorage, GrowingStorage, SliceStorage, Slot, Storage};
