//! Hits of one thread that write nothing that other threads read.

use core::cell::Cell;
use core::fmt;

use super::entry::{CachedFile, Handle, Key};
use super::files::{FileCache, Wanted, is_fresh, is_of, mark};
use super::hash::ShortPath;
use super::ledger::handle_of;
use super::pin::Cancel;
use super::pinned::{Held, View};
use super::seat::{Fence, SeatPin, Sitter};
use super::storage::{Slot, Slots};
use super::{CacheError, Freshness, GrowingStorage, Policy, Storage};
use crate::memory::can_barrier_all_threads;

/// A thread's own way into a cache, for threads that hit often: [`FileCache::reader`].
///
/// It can be handed to another thread, but not shared, and the same holds for what it gives, which cannot
/// even be handed on. Who needs that calls [`FileCache::get`].
///
/// ```
/// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
/// let reader = cache.reader();
/// let file = reader.get(b"Cargo.toml")?;
/// let again = reader.get_by_handle(file.handle())?;
/// assert_eq!(file.as_ptr(), again.as_ptr());
/// # Ok::<(), CacheError>(())
/// ```
///
/// ```compile_fail,E0277
/// fn share(_: &impl Sync) {}
/// fn try_it(reader: &smf_core::cache::Reader<'_>) { share(reader) }
/// ```
pub struct Reader<'c, S: Storage = GrowingStorage> {
    cache: &'c FileCache<S>,
    sitter: Sitter<'c>,
    /// The number of the seat.
    number: Option<u32>,
}

impl<S: Storage> FileCache<S> {
    /// A way into the cache for one thread. As many as 32 readers at a time are faster than
    /// [`get`](Self::get), each as long as it holds at most 8 files, of which a module of an archive
    /// and a further path count twice; beyond that they do the same as `get`.
    ///
    /// A hit then stores nothing that another thread reads, except with [`Policy::Sieve`] the mark of a
    /// file that had none, and with [`Policy::Lru`] the place of the file in the list, under the lock.
    ///
    /// For this, as long as there are readers, each file that is thrown out costs a `membarrier(2)`:
    /// 0.2 us, and an interrupt for each core that runs a thread of the process. The first reader of a
    /// process with threads may take milliseconds to make.
    pub fn reader(&self) -> Reader<'_, S> {
        let fence = if can_barrier_all_threads() { Fence::Theirs } else { Fence::Own };
        let number = self.lock().take_seat(fence);
        Reader { cache: self, sitter: Sitter::new(self.storage.seats(), number, fence), number }
    }
}

impl<S: Storage> Reader<'_, S> {
    /// As [`FileCache::get`].
    ///
    /// # Errors
    /// As [`FileCache::get`].
    #[inline(always)]
    pub fn get(&self, path: &[u8]) -> Result<View<'_>, CacheError> {
        if let Some(short) = ShortPath::of(path)
            && let Some(hit) = self.hit_by_path(short)
        {
            return Ok(hit);
        }
        // The view is made here: if one could come from there, in memory, every hit would be written there.
        self.get_key(Key { path, module: None }).map(|held| View::new(held, self.cache))
    }

    /// As [`FileCache::get_module`].
    ///
    /// # Errors
    /// As [`FileCache::get_module`].
    pub fn get_module(&self, path: &[u8], module: &[u8]) -> Result<View<'_>, CacheError> {
        self.get_key(Key { path, module: Some(module) }).map(|held| View::new(held, self.cache))
    }

    /// As [`FileCache::get_by_handle`].
    ///
    /// # Errors
    /// [`CacheError::Stale`].
    #[inline(always)]
    pub fn get_by_handle(&self, handle: Handle) -> Result<View<'_>, CacheError> {
        let cache = self.cache;
        let slots = Slots::of(&cache.storage);
        let hit = self.hit(&slots, handle.slot, |slot, _| is_of(slot, handle));
        match hit {
            Some((slot, view)) => {
                self.touch(handle.slot, slot);
                Ok(view)
            }
            None => self.get_rarely(handle),
        }
    }

    /// What is no simple hit, or none.
    #[cold]
    #[inline(never)]
    fn get_rarely(&self, handle: Handle) -> Result<View<'_>, CacheError> {
        let found = self.find(&Wanted::Handle(handle), true);
        found.map(|found| View::new(found, self.cache)).ok_or(CacheError::Stale { handle })
    }

    /// The cache that is read.
    pub fn cache(&self) -> &FileCache<S> {
        self.cache
    }

    /// Most of all hits: a file by its first path, which a place is left for. `None` says nothing.
    #[inline(always)]
    fn hit<'r>(
        &'r self,
        slots: &Slots<'r, S>,
        at: u32,
        is_it: impl Fn(&Slot, &CachedFile) -> bool,
    ) -> Option<(&'r Slot, View<'r>)> {
        let slot = slots.get(at)?;
        let pin = self.sitter.sit(at, slot, true).ok().flatten()?;
        // Asked once it is pinned: before that, the slot could still get another entry.
        let Some(file) = pin.file().filter(|file| is_it(slot, file)) else {
            pin.cancel();
            return None;
        };
        let (range, handle) = (0..file.bytes.len(), handle_of(slot, at));
        let held = Held { file: pin, link: None, range, handle, file_handle: handle };
        Some((slot, View::new(held, self.cache)))
    }

    /// As `hit`, by path, and marked as used.
    #[inline(always)]
    fn hit_by_path(&self, path: ShortPath) -> Option<View<'_>> {
        let cache = self.cache;
        if cache.options.freshness != Freshness::OnRequest {
            return None;
        }
        let slots = Slots::of(&cache.storage);
        let at = cache.storage.keys().first(cache.hasher.hash_short(path))?;
        let (slot, view) = self.hit(&slots, at, |_, file| path.is(file.key()))?;
        self.touch(at, slot);
        Some(view)
    }

    #[inline(always)]
    fn touch(&self, at: u32, slot: &Slot) {
        match self.cache.options.policy {
            Policy::Sieve => mark(slot),
            Policy::Lru => self.touch_under_lock(at, slot),
        }
    }

    /// Not part of a hit that takes no lock, so that such a one is small enough to become part of its
    /// caller, where most of the view never comes to be.
    #[inline(never)]
    fn touch_under_lock(&self, at: u32, slot: &Slot) {
        let slots = Slots::of(&self.cache.storage);
        self.cache.lock().touch(&slots, at, slot);
    }

    /// What is no simple hit, or none.
    #[cold]
    #[inline(never)]
    fn get_key(&self, key: Key<'_>) -> Result<Held<SeatPin<'_>>, CacheError> {
        let (cache, hash) = (self.cache, self.cache.hash(&key));
        let asks = cache.options.freshness == Freshness::EachGet;
        if let Some(found) = self.find(&Wanted::Key(hash, key), !asks) {
            if !asks {
                return Ok(found);
            }
            if is_fresh(&found, key.path) {
                cache.touch(&found);
                return Ok(found);
            }
            found.cancel();
        }
        cache.load(hash, key).map(|loaded| loaded.held.into())
    }

    /// What is wanted, as a hit, and with `touches` as used.
    fn find(&self, wanted: &Wanted<'_>, touches: bool) -> Option<Held<SeatPin<'_>>> {
        let was_closed = Cell::new(false);
        let mut found = self.cache.search(wanted, |at, slot, is_hit| {
            let pin = self.sitter.pin(at, slot, is_hit);
            was_closed.set(was_closed.get() | pin.is_none());
            pin
        });
        if found.is_none() && was_closed.get() {
            found = self.find_under_lock(wanted);
        }
        if touches {
            found.iter().for_each(|found| self.cache.touch(found));
        }
        found
    }

    /// An entry is closed for a moment even when it is not changed in the end. Not under the lock.
    fn find_under_lock(&self, wanted: &Wanted<'_>) -> Option<Held<SeatPin<'_>>> {
        let mut ledger = self.cache.lock();
        self.cache.search(wanted, |at, slot, is_hit| {
            ledger.relieve(slot);
            self.sitter.pin(at, slot, is_hit)
        })
    }
}

impl<S: Storage> Drop for Reader<'_, S> {
    fn drop(&mut self) {
        self.sitter.clear();
        if let Some(number) = self.number {
            self.cache.lock().leave_seat(number);
        }
    }
}

impl<S: Storage> fmt::Debug for Reader<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("seat", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Capacity, Options};
    use super::*;
    use crate::memory::fault_injection::{Call, inject};
    use rustix::io::Errno;

    #[test]
    fn without_a_barrier_readers_have_their_own_or_nothing_is_thrown_out() {
        for policy in [Policy::Lru, Policy::Sieve] {
            let options = Options { policy, ..Options::default() };
            let cache = FileCache::new(Capacity { files: 1, bytes: 9 }, options).unwrap();
            let put = |name: &[u8]| cache.insert(cache.prepare(name, name).unwrap()).map(drop);
            put(b"a").unwrap();
            let refusing = inject(Call::RegisterBarrier, 0, Errno::NOSYS);
            let reader = cache.reader();
            assert_eq!(reader.sitter.fence(), Fence::Own);
            drop(refusing);
            let refusing = inject(Call::Barrier, 0, Errno::PERM);
            let held = reader.get(b"a").unwrap();
            assert_eq!(put(b"b"), Err(CacheError::AllInUse { files: 1, bytes: 1 }));
            drop(held);
            assert_eq!(put(b"b"), Ok(()), "for such a reader the kernel is not asked");
            drop(refusing);
            let other = cache.reader();
            if other.sitter.fence() == Fence::Own {
                // A kernel without the call.
                continue;
            }
            let refusing = inject(Call::Barrier, 0, Errno::PERM);
            assert_eq!(put(b"c"), Err(CacheError::AllInUse { files: 1, bytes: 1 }));
            assert_eq!(*other.get(b"b").unwrap(), *b"b");
            drop(refusing);
            assert_eq!(put(b"c"), Ok(()));
            drop(other);
            let _refusing = inject(Call::Barrier, 0, Errno::PERM);
            assert_eq!(put(b"d"), Ok(()), "nobody is left who relies on it");
            assert_eq!(*reader.get(b"d").unwrap(), *b"d");
        }
    }
}
