//! The cache: shards, the inventory, and how entries are inserted and removed.
//!
//! Lock order: the inventory, then one shard. A hit locks one shard only.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hasher};

use hashbrown::DefaultHashBuilder;

use super::entry::{Entry, Key};
use super::error::CacheError;
use super::handle::Handle;
use super::inventory::Inventory;
use super::options::{Capacity, Options, Storage};
use super::slot::Place;
use super::state::{LockedState, ShardId};
use super::statistics::Statistics;
use crate::alloc_util::{AllocError, TryArc, try_with_capacity};
use crate::memory::CopyTo;
use crate::memory::lock::{Lock, LockGuard};

/// The number of links that a growing cache may always have, because an archive has many modules.
const MIN_LINKS: u32 = 4096;

/// The number of files from which on a cache has several shards and SIEVE remembers evicted files.
const SHARDED_FROM: u32 = 64;

/// The least number of files for each shard.
const FILES_PER_SHARD: u32 = 32;

const MAX_SHARDS: u32 = 16;

/// A cache of files by path. Used by reference, from any thread.
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
pub struct FileCache {
    /// Shard 0.
    first: Shard,
    /// The other shards; together a power of two.
    others: Vec<Shard>,
    inventory: Lock<Inventory>,
    hasher: DefaultHashBuilder,
    pub(super) capacity: Capacity,
    pub(super) options: Options,
}

/// In cache lines that no other shard shares.
#[repr(align(128))]
struct Shard(Lock<LockedState>);

/// The number of shards as a power of two.
fn shard_bits(capacity: Capacity, storage: Storage) -> u32 {
    if storage == Storage::Reserved || capacity.files < SHARDED_FROM {
        return 0;
    }
    (capacity.files / FILES_PER_SHARD).min(MAX_SHARDS).ilog2()
}

impl FileCache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`CacheError::NoCapacity`]; [`CacheError::OutOfMemory`].
    pub fn new(capacity: Capacity, options: Options) -> Result<Self, CacheError> {
        if capacity.files == 0 || capacity.bytes == 0 {
            return Err(CacheError::NoCapacity);
        }
        let entries = |links| capacity.files.saturating_add(links);
        let (max_entries, reserved_files, reserved_entries) = match options.storage {
            Storage::Growing => (entries(capacity.files.max(MIN_LINKS)), 0, 0),
            Storage::Reserved => {
                let max = entries(capacity.files);
                (max, capacity.files as usize, max as usize)
            }
        };
        let hasher = DefaultHashBuilder::default();
        let bits = shard_bits(capacity, options.storage);
        let shard = |number| -> Result<Shard, AllocError> {
            let (id, keeps_ghosts) = (ShardId { number, bits }, capacity.files >= SHARDED_FROM);
            LockedState::new(id, options.policy, keeps_ghosts, reserved_entries)
                .map(|state| Shard(Lock::new(state)))
        };
        let mut others = try_with_capacity((1 << bits) - 1)?;
        for number in 1..1 << bits {
            others.push(shard(number)?);
        }
        let inventory = Inventory::new(capacity, max_entries, hasher.clone(), reserved_files)?;
        let (first, inventory) = (shard(0)?, Lock::new(inventory));
        Ok(Self { first, others, inventory, hasher, capacity, options })
    }

    pub(super) fn hash(&self, key: &Key<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.path);
        if let Some(module) = key.module {
            // No path contains a NUL.
            hasher.write_u8(0);
            hasher.write(module);
        }
        hasher.finish()
    }

    /// Where the bytes of files go.
    pub(super) fn copy_to(&self) -> CopyTo {
        match self.options.storage {
            Storage::Growing => CopyTo::Allocator,
            Storage::Reserved => CopyTo::Pages,
        }
    }

    pub(super) fn lock_inventory(&self) -> LockGuard<'_, Inventory> {
        self.inventory.lock()
    }

    pub(super) fn shard_count(&self) -> u32 {
        // At most `MAX_SHARDS`.
        self.others.len() as u32 + 1
    }

    /// Locks the shard of this number, of which the lowest bits count.
    #[inline]
    pub(super) fn lock_shard(&self, number: u32) -> LockGuard<'_, LockedState> {
        let number = number as usize & self.others.len();
        let other = number.checked_sub(1).and_then(|number| self.others.get(number));
        other.unwrap_or(&self.first).0.lock()
    }

    /// Locks each shard in turn.
    pub(super) fn lock_shards(&self) -> impl Iterator<Item = LockGuard<'_, LockedState>> {
        (0..self.shard_count()).map(|number| self.lock_shard(number))
    }

    /// Locks the shard of keys with this hash.
    #[inline]
    pub(super) fn lock_shard_of_hash(&self, hash: u64) -> LockGuard<'_, LockedState> {
        self.lock_shard(shard_of(hash))
    }

    /// Locks the shard of a handle.
    #[inline]
    pub(super) fn lock_shard_of(&self, handle: Handle) -> LockGuard<'_, LockedState> {
        self.lock_shard(handle.slot)
    }

    /// Inserts an entry, whose key and identity must not be in the cache, and evicts others for it.
    pub(super) fn insert_entry(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        entry: Entry,
    ) -> Result<(Handle, TryArc<Entry>), CacheError> {
        let size = entry.file().map(|file| file.size());
        let fits = |inventory: &Inventory| match size {
            Some(size) => inventory.fits_file(size),
            None => inventory.fits_link(),
        };
        let shard = shard_of(hash);
        let mut state = self.lock_shard(shard);
        if !fits(inventory) && !inventory.has_detached() {
            state.evict(|evicted, handle| inventory.evict(evicted, handle));
        }
        if !fits(inventory) {
            drop(state);
            self.make_space(inventory, shard, |inventory| fits(inventory))?;
            state = self.lock_shard(shard);
        }
        inventory.reserve_one()?;
        state.reserve_one()?;
        let (handle, entry) = state.insert(hash, entry).ok_or(AllocError)?;
        inventory.add(&entry, handle);
        Ok((handle, entry))
    }

    /// Evicts entries, of this shard and the others in turn, until `fits`.
    pub(super) fn make_space(
        &self,
        inventory: &mut Inventory,
        mut shard: u32,
        mut fits: impl FnMut(&mut Inventory) -> bool,
    ) -> Result<(), CacheError> {
        while !fits(inventory) {
            if self.sweep(inventory) {
                continue;
            }
            let mut shards = (0..self.shard_count()).map(|step| shard.wrapping_add(step));
            let has_evicted = shards.any(|number| {
                self.lock_shard(number).evict(|evicted, handle| inventory.evict(evicted, handle))
            });
            if !has_evicted {
                return Err(inventory.all_in_use());
            }
            shard = shard.wrapping_add(1);
        }
        Ok(())
    }

    /// Drops some of the detached entries that are no longer in use; whether there were any.
    pub(super) fn sweep(&self, inventory: &mut Inventory) -> bool {
        if !inventory.has_detached() {
            return false;
        }
        let mut swept = false;
        for mut state in self.lock_shards() {
            while state.sweep_one(|entry| inventory.remove_detached(entry)) {
                swept = true;
            }
        }
        swept
    }

    /// Detaches the entry of a key; whether it was a file, or `None` if there is no such entry.
    pub(super) fn detach_key(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
    ) -> Option<bool> {
        let mut state = self.lock_shard_of_hash(hash);
        let at = state.find(hash, key)?;
        detach(&mut state, inventory, at)
    }

    /// Detaches the entry of a handle; whether it could still be found.
    pub(super) fn detach_handle(&self, inventory: &mut Inventory, handle: Handle) -> bool {
        let mut state = self.lock_shard_of(handle);
        let at = state.find_handle(handle);
        at.is_some_and(|at| detach(&mut state, inventory, at).is_some())
    }

    /// What the cache has done so far. Locks all of it for a moment.
    pub fn statistics(&self) -> Statistics {
        let inventory = self.lock_inventory();
        inventory.statistics(self.lock_shards().map(|state| state.hits()).sum())
    }
}

/// Detaches the entry of slot `at`; whether it was a file, or `None` if it could not be found any more.
fn detach(state: &mut LockedState, inventory: &mut Inventory, at: u32) -> Option<bool> {
    let handle = state.handle_of(at)?;
    let slot = state.slot(at).filter(|slot| slot.place == Place::Used)?;
    let is_file = slot.entry.file().is_some();
    inventory.remove(&slot.entry, handle);
    if state.detach(at) {
        inventory.add_detached(&state.slot(at)?.entry);
    }
    Some(is_file)
}

/// The shard of keys with this hash; its lowest bits count. The table of a shard uses the lowest and the highest
/// bits of the hash.
fn shard_of(hash: u64) -> u32 {
    (hash >> 48) as u32
}

impl fmt::Debug for FileCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCache").field("options", &self.options).finish_non_exhaustive()
    }
}
