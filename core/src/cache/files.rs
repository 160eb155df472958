//! The cache: files by path.

use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, Range};
use core::sync::atomic::Ordering::Relaxed;

use hashbrown::DefaultHashBuilder;
use spin::{Mutex, MutexGuard};

use super::entry::{Entry, Handle, Key, Link};
use super::hash::KeyHasher;
use super::ledger::{Ledger, handle_of};
use super::list::Place;
use super::options::{Capacity, Freshness, Options, Policy, Prefetched};
use super::pin::{Cancel, Pin};
use super::pinned::Held;
use super::storage::Slots;
use super::{CacheError, GrowingStorage, Pinned, Slot, Storage};
use crate::memory::{read_ahead, stamp_of, yield_now};

/// Files by path. Used by reference, from any thread.
///
/// ```
/// use smf_core::cache::{CacheError, Capacity, FileCache, Options};
///
/// let cache = FileCache::new(Capacity { files: 100, bytes: 1 << 20 }, Options::default())?;
/// let file = cache.get(b"Cargo.toml")?;
/// let again = cache.get_by_handle(file.handle())?;
/// assert_eq!(file.as_ptr(), again.as_ptr());
/// # Ok::<(), CacheError>(())
/// ```
pub struct FileCache<S: Storage = GrowingStorage> {
    pub(super) storage: S,
    pub(super) hasher: KeyHasher,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) capacity: Capacity,
    pub(super) options: Options,
}

/// How many instructions of waiting there are between two looks at the lock at most: 1 us.
const MOST_PAUSES: u32 = 64;

/// What is looked for.
pub(super) enum Wanted<'k> {
    /// What is kept under a key of this hash.
    Key(u32, Key<'k>),
    /// The entry of a handle.
    Handle(Handle),
}

impl FileCache {
    /// An empty cache whose room grows with what is in it.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`].
    pub fn new(capacity: Capacity, options: Options) -> Result<Self, CacheError> {
        Self::with_storage(GrowingStorage::new(capacity.files), capacity, options)
    }
}

impl<S: Storage> FileCache<S> {
    /// An empty cache with its entries in `storage`. Of a fixed one each further path and each module
    /// takes a slot as well.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`].
    pub fn with_storage(
        mut storage: S,
        capacity: Capacity,
        options: Options,
    ) -> Result<Self, CacheError> {
        if capacity.files == 0 || capacity.bytes == 0 || !storage.begin() {
            return Err(CacheError::NoCapacity);
        }
        let hasher = DefaultHashBuilder::default();
        let ledger = Mutex::new(Ledger::new(capacity, options.policy, hasher.clone()));
        let hasher = KeyHasher::new(hasher);
        Ok(Self { storage, hasher, ledger, capacity, options })
    }

    /// The bytes of the file at `path`, from the cache or else from the disk.
    ///
    /// # Errors
    /// [`CacheError::File`] as [`FileBytes::read`](crate::memory::FileBytes::read);
    /// [`CacheError::TooLarge`]; [`CacheError::AllInUse`].
    #[inline]
    pub fn get(&self, path: &[u8]) -> Result<Pinned<'_>, CacheError> {
        self.get_key(Key { path, module: None })
    }

    /// The module called `module` in the archive at `path`. It shares the bytes of the archive, which
    /// stays as long as the module is held.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`CacheError::Format`] when the file is no archive;
    /// [`CacheError::NoSuchModule`].
    pub fn get_module(&self, path: &[u8], module: &[u8]) -> Result<Pinned<'_>, CacheError> {
        self.get_key(Key { path, module: Some(module) })
    }

    #[inline]
    fn get_key(&self, key: Key<'_>) -> Result<Pinned<'_>, CacheError> {
        let hash = self.hash(&key);
        match self.find_fresh(hash, &key) {
            Some(found) => Ok(self.pinned(found)),
            None => self.load(hash, key),
        }
    }

    /// What is kept under a key of this hash, as a hit, unless it has to be read again.
    #[inline]
    pub(super) fn find_fresh(&self, hash: u32, key: &Key<'_>) -> Option<Held<Pin<'_, Entry>>> {
        let found = self.find(&Wanted::Key(hash, *key))?;
        if self.options.freshness == Freshness::OnRequest || is_fresh(&found, key.path) {
            self.touch(&found);
            return Some(found);
        }
        found.cancel();
        None
    }

    #[inline(always)]
    pub(super) fn pinned<'c>(&'c self, held: Held<Pin<'c, Entry>>) -> Pinned<'c> {
        Pinned { held, cache: self }
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &Key<'_>) -> u32 {
        self.hasher.hash(key)
    }

    /// The lock is held for some 10 ns at a time, or while a kernel's barrier takes a microsecond.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        match self.ledger.try_lock() {
            Some(guard) => guard,
            None => self.wait_for_lock(),
        }
    }

    /// Waits longer each time: every look takes the line of the lock from the one who has it, who will
    /// often want it again while the list is still in his core's cache. Who does not get it soon waits for
    /// a thread that was interrupted while it had it, and had better let that run.
    #[cold]
    #[inline(never)]
    fn wait_for_lock(&self) -> MutexGuard<'_, Ledger> {
        let mut pauses = 1;
        loop {
            if pauses > MOST_PAUSES {
                yield_now();
            }
            (0..pauses.min(MOST_PAUSES)).for_each(|_| core::hint::spin_loop());
            pauses = (pauses * 2).min(MOST_PAUSES * 2);
            if let Some(guard) = self.ledger.try_lock() {
                return guard;
            }
        }
    }

    /// What is wanted, as a hit.
    #[inline]
    pub(super) fn find(&self, wanted: &Wanted<'_>) -> Option<Held<Pin<'_, Entry>>> {
        let was_closed = Cell::new(false);
        let found = self.search(wanted, |_, slot, is_hit| {
            let pin = slot.cell.pin(is_hit);
            was_closed.set(was_closed.get() | pin.is_none());
            pin
        });
        if found.is_none() && was_closed.get() { self.find_under_lock(wanted) } else { found }
    }

    /// An entry is closed for a moment even when it is not changed in the end. Not under the lock.
    #[cold]
    fn find_under_lock(&self, wanted: &Wanted<'_>) -> Option<Held<Pin<'_, Entry>>> {
        let mut ledger = self.lock();
        self.search(wanted, |_, slot, is_hit| ledger.pin(slot, is_hit))
    }

    /// What is wanted, as a hit. `pin` is given a slot, its number, and whether to count.
    #[inline(always)]
    pub(super) fn search<'p, P: Deref<Target = Entry> + Cancel>(
        &'p self,
        wanted: &Wanted<'_>,
        mut pin: impl FnMut(u32, &'p Slot, bool) -> Option<P>,
    ) -> Option<Held<P>> {
        match wanted {
            Wanted::Key(hash, key) => self
                .storage
                .keys()
                .find(*hash, |at| self.look(at, &mut pin, |_, entry| key.is_of(entry))),
            Wanted::Handle(handle) => {
                self.look(handle.slot, &mut pin, |slot, _| is_of(slot, *handle))
            }
        }
    }

    /// What is in a slot, as a hit, if it is the right one. That is asked only once it is pinned: before
    /// that, the slot could still get another entry, and another generation.
    #[inline(always)]
    fn look<'p, P: Deref<Target = Entry> + Cancel>(
        &'p self,
        at: u32,
        pin: &mut impl FnMut(u32, &'p Slot, bool) -> Option<P>,
        is_it: impl Fn(&Slot, &Entry) -> bool,
    ) -> Option<Held<P>> {
        let slot = self.storage.slot(at)?;
        let found = pin(at, slot, true)?;
        if !is_it(slot, &found) {
            found.cancel();
            return None;
        }
        self.follow(at, slot, found, pin)
    }

    /// The file of an entry that was pinned as a hit, if it is still there.
    #[inline(always)]
    fn follow<'p, P: Deref<Target = Entry> + Cancel>(
        &'p self,
        at: u32,
        slot: &Slot,
        found: P,
        pin: &mut impl FnMut(u32, &'p Slot, bool) -> Option<P>,
    ) -> Option<Held<P>> {
        let handle = handle_of(slot, at);
        match &*found {
            Entry::File(file) => {
                let range = 0..file.bytes.len();
                Some(Held { file: found, link: None, range, handle, file_handle: handle })
            }
            // A link that is held keeps the old file.
            Entry::Link(link) => match self.target(link, slot.held.load(Relaxed) != 0, pin) {
                Some((file, range)) => {
                    let file_handle = link.target;
                    Some(Held { file, link: Some(found), range, handle, file_handle })
                }
                None => {
                    found.cancel();
                    None
                }
            },
            Entry::Vacant => {
                found.cancel();
                None
            }
        }
    }

    /// The file of a link, if it is the one that is meant and can be found, and the part of it.
    #[inline(never)]
    fn target<'p, P: Deref<Target = Entry>>(
        &'p self,
        link: &Link,
        or_held: bool,
        pin: &mut impl FnMut(u32, &'p Slot, bool) -> Option<P>,
    ) -> Option<(P, Range<usize>)> {
        let at = link.target.slot;
        let slot = self.storage.slot(at)?;
        let file = pin(at, slot, false)?;
        // With a pin the generation stays.
        let is_meant = handle_of(slot, at) == link.target;
        let range = link.module().unwrap_or(0..file.file()?.bytes.len());
        (is_meant && (or_held || Place::Used.is_of(slot))).then_some((file, range))
    }

    #[inline]
    pub(super) fn touch<P>(&self, found: &Held<P>) {
        match self.options.policy {
            Policy::Lru => self.renew(&mut self.lock(), found),
            Policy::Sieve => self.mark(found),
        }
    }

    /// Makes what was found the most recently used.
    pub(super) fn renew<P>(&self, ledger: &mut Ledger, found: &Held<P>) {
        let slots = Slots::of(&self.storage);
        self.slots_of(found).for_each(|(at, slot)| ledger.touch(&slots, at, slot));
    }

    /// Marks what was found as used.
    pub(super) fn mark<P>(&self, found: &Held<P>) {
        self.slots_of(found).for_each(|(_, slot)| mark(slot));
    }

    /// The slot of the file that was found, and that of the link that led there.
    fn slots_of<P>(&self, found: &Held<P>) -> impl Iterator<Item = (u32, &Slot)> {
        let link = found.link.as_ref().map(|_| found.handle.slot);
        let slots = [Some(found.file_handle.slot), link].into_iter().flatten();
        slots.filter_map(|at| Some((at, self.storage.slot(at)?)))
    }

    /// The bytes that a handle is of.
    ///
    /// # Errors
    /// [`CacheError::Stale`] when they have been thrown out or replaced, and for what never was a
    /// handle.
    #[inline]
    pub fn get_by_handle(&self, handle: Handle) -> Result<Pinned<'_>, CacheError> {
        let found = self.find(&Wanted::Handle(handle)).ok_or(CacheError::Stale { handle })?;
        self.touch(&found);
        Ok(self.pinned(found))
    }

    /// Reads files before they are needed, one after another. `report` hears of each, in order; one
    /// that fails does not concern the others. The kernel is told of each file `ahead` files before
    /// its turn, which pays for files that are not in its own cache; 0 tells it nothing.
    pub fn prefetch<P: AsRef<[u8]>>(
        &self,
        paths: &[P],
        ahead: usize,
        mut report: impl FnMut(&P, Result<(), CacheError>),
    ) -> Prefetched {
        let mut announced = paths.iter().take(if ahead == 0 { 0 } else { usize::MAX });
        let announce = |path: &P| {
            // Why it cannot be opened is found out when it is its turn.
            let _ = read_ahead(path.as_ref());
        };
        announced.by_ref().take(ahead).for_each(announce);
        let (mut done, mut filler) = (Prefetched::default(), self.filler());
        for path in paths {
            announced.by_ref().take(1).for_each(announce);
            // Whatever else was done since the last file.
            filler.pause();
            let result = filler.get(path.as_ref()).map(drop);
            let count = if result.is_ok() { &mut done.ready } else { &mut done.failed };
            *count += 1;
            report(path, result);
        }
        done
    }
}

impl<S: Storage> fmt::Debug for FileCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCache").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Whether a slot, which is pinned, has the entry of a handle, and that may be used.
#[inline(always)]
pub(super) fn is_of(slot: &Slot, handle: Handle) -> bool {
    let is_alive = Place::Used.is_of(slot) || slot.held.load(Relaxed) != 0;
    handle_of(slot, handle.slot) == handle && is_alive
}

/// Marks a slot as used.
#[inline(always)]
pub(super) fn mark(slot: &Slot) {
    // To store what is there already would take the line from the others who read it.
    if !slot.visited.load(Relaxed) {
        slot.visited.store(true, Relaxed);
    }
}

/// Whether the file at `path` is still what was found; bytes that came from no file always are.
pub(super) fn is_fresh<P: Deref<Target = Entry>>(found: &Held<P>, path: &[u8]) -> bool {
    found.stamp().is_none_or(|known| stamp_of(path).is_ok_and(|stamp| stamp == known))
}
