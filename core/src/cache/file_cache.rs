//! The cache: shards, the inventory, and how entries are inserted and removed.
//!
//! Lock order: the inventory, then one shard. A hit locks one shard only.

use alloc::vec::Vec;
use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicBool, Ordering};

use hashbrown::DefaultHashBuilder;

use super::entry::{Entry, Key, Link};
use super::error::CacheError;
use super::handle::Handle;
use super::inventory::Inventory;
use super::options::{Capacity, Options, Storage};
use super::slot::Place;
use super::state::LockedState;
use super::statistics::{SizeHistogram, Statistics};
use crate::alloc_util::{AllocError, TryArc, try_with_capacity};
use crate::memory::lock::{Lock, LockGuard};
use crate::memory::{CopyTo, FileBytes};

/// The number of links that a growing cache may always have, because an archive has many modules.
const MIN_LINKS: u32 = 4096;

/// The number of files from which on a cache has several shards and SIEVE remembers evicted files.
const SHARDED_FROM: u32 = 64;

/// The least number of files for each shard.
const FILES_PER_SHARD: u32 = 32;

const MAX_SHARDS: u32 = 32;

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
    pub(super) inventory: Lock<Inventory>,
    hasher: DefaultHashBuilder,
    pub(super) capacity: Capacity,
    pub(super) options: Options,
    /// Changes under the lock of the inventory only.
    is_enabled: AtomicBool,
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
            let keeps_ghosts = capacity.files >= SHARDED_FROM;
            LockedState::new(number, bits, options.policy, keeps_ghosts, reserved_entries)
                .map(|state| Shard(Lock::new(state)))
        };
        let mut others = try_with_capacity((1 << bits) - 1)?;
        for number in 1..1 << bits {
            others.push(shard(number)?);
        }
        let inventory = Inventory::new(capacity, max_entries, hasher.clone(), reserved_files)?;
        let (first, inventory) = (shard(0)?, Lock::new(inventory));
        let is_enabled = AtomicBool::new(true);
        Ok(Self { first, others, inventory, hasher, capacity, options, is_enabled })
    }

    /// Whether files stay in the cache, as they do at first.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Enables or disables the cache; returns the previous setting.
    ///
    /// Disabling removes all files, as [`clear`](Self::clear) does. While the cache is disabled, each request by path
    /// reads its file, whose bytes no other request finds; they count towards the capacity as long as they are in use.
    /// References, handles that are retained and statistics work as before.
    pub fn set_enabled(&self, enabled: bool) -> bool {
        let was_enabled = {
            let _inventory = self.inventory.lock();
            self.is_enabled.swap(enabled, Ordering::Relaxed)
        };
        if !enabled {
            self.clear();
        }
        was_enabled
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

    pub(super) fn shard_count(&self) -> u32 {
        // At most `MAX_SHARDS`.
        self.others.len() as u32 + 1
    }

    /// Locks the shard of this number, of which the lowest bits count: [`shard_of`] a hash, or the slot of a
    /// handle.
    #[inline]
    pub(super) fn lock_shard(&self, number: u32) -> LockGuard<'_, LockedState> {
        // Number 0 is out of range after the subtraction.
        let other = (number as usize & self.others.len()).wrapping_sub(1);
        self.others.get(other).unwrap_or(&self.first).0.lock()
    }

    /// Locks each shard in turn.
    pub(super) fn lock_shards(&self) -> impl Iterator<Item = LockGuard<'_, LockedState>> {
        (0..self.shard_count()).map(|number| self.lock_shard(number))
    }

    /// Inserts a file, or with `link` a link, in the place of the entry with this key or with its hash, and
    /// evicts others for it. The identity of the file must not be in the cache.
    pub(super) fn insert_entry(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        bytes: FileBytes,
        link: Option<Link>,
    ) -> Result<TryArc<Entry>, CacheError> {
        let size = link.is_none().then_some(bytes.len() as u64);
        let shard = shard_of(hash);
        if !self.is_enabled() {
            // No file stays for a later request, so memory is freed as soon as it is no longer in use.
            self.sweep(inventory);
        }
        let mut state = self.lock_shard(shard);
        if let Some(at) = state.find_hash(hash) {
            let is_replaced = state.find(hash, key).is_some();
            detach(&mut state, inventory, at, is_replaced);
        }
        if !inventory.fits(size) && !inventory.has_detached() {
            state.evict(|evicted| inventory.evict(evicted));
        }
        if !inventory.fits(size) {
            drop(state);
            self.make_space(inventory, shard, |inventory| inventory.fits(size))?;
            state = self.lock_shard(shard);
        }
        inventory.reserve_one()?;
        state.reserve_one()?;
        let entry = state.insert(hash, bytes, link).ok_or(AllocError)?;
        inventory.add(&entry);
        if !self.is_enabled()
            && let Some(at) = state.find_handle(entry.handle)
        {
            detach(&mut state, inventory, at, false);
        }
        Ok(entry)
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
            let has_evicted = shards
                .any(|number| self.lock_shard(number).evict(|evicted| inventory.evict(evicted)));
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
            while state.sweep_one(|entry| inventory.detached.subtract(entry)) {
                swept = true;
            }
        }
        swept
    }

    /// Detaches the entry of a key; whether there was one. `is_replaced` counts a file.
    pub(super) fn detach_key(
        &self,
        inventory: &mut Inventory,
        hash: u64,
        key: &Key<'_>,
        is_replaced: bool,
    ) -> bool {
        let mut state = self.lock_shard(shard_of(hash));
        let at = state.find(hash, key);
        at.is_some_and(|at| detach(&mut state, inventory, at, is_replaced))
    }

    /// Detaches the file of a handle, which has changed, unless it can no longer be found.
    pub(super) fn detach_replaced(&self, inventory: &mut Inventory, handle: Handle) -> bool {
        let mut state = self.lock_shard(handle.slot);
        let at = state.find_handle(handle);
        at.is_some_and(|at| detach(&mut state, inventory, at, true))
    }

    /// What the cache has done so far. Locks all of it for a moment, and visits every entry.
    pub fn statistics(&self) -> Statistics {
        let inventory = self.inventory.lock();
        let (mut hits, mut file_sizes) = (0, SizeHistogram::EMPTY);
        for state in self.lock_shards() {
            hits += state.hits;
            let files = state.used_slots().filter(|slot| slot.entry.is_file());
            files.for_each(|slot| file_sizes.add(slot.entry.bytes.len() as u64));
        }
        inventory.statistics(self.is_enabled(), hits, file_sizes)
    }
}

/// Detaches the entry of slot `at` unless it can no longer be found; whether it could be. `is_replaced` counts a
/// file.
pub(super) fn detach(
    state: &mut LockedState,
    inventory: &mut Inventory,
    at: u32,
    is_replaced: bool,
) -> bool {
    let Some(slot) = state.slots.get(at as usize).filter(|slot| slot.place == Place::Used) else {
        return false;
    };
    match is_replaced {
        true => inventory.replace(&slot.entry),
        false => inventory.remove(&slot.entry),
    }
    if state.detach(at)
        && let Some(slot) = state.slots.get(at as usize)
    {
        inventory.detached.add(&slot.entry);
    }
    true
}

/// The shard of keys with this hash; its lowest bits count. The table of a shard uses the lowest and the highest
/// bits of the hash.
pub(super) fn shard_of(hash: u64) -> u32 {
    (hash >> 48) as u32
}

impl fmt::Debug for FileCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCache").field("options", &self.options).finish_non_exhaustive()
    }
}
