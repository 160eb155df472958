//! The open loaders of C, the handles of their modules, and the versions that C holds.
#![allow(unsafe_code)]

use std::mem::transmute;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "jit")]
use smf_core::alloc_util::AllocError;
use smf_core::alloc_util::{TryArc, try_push};
use smf_core::cache::CacheError;
use smf_core::link::Name;
use smf_core::loader::{ModuleBytes, ModuleHandle, ModuleRef};

use super::blocks::{self, SharedAllocator};
use super::cache_handles::CacheHandle;
use super::error::ApiError;
use super::fallback::Fallback;
use super::handle_table::{self, HandleTable, ITEM_SLOT_BITS, Item, Object};
use super::slot_table::SlotTable;
use crate::fork::ProcessLock;
use crate::loader::{Loader, read_cached};

pub(super) static LOADERS: HandleTable<OpenLoader> = HandleTable::new();

/// A loader with the versions that C holds.
pub(super) struct OpenLoader {
    /// Dropped before the modules that they belong to.
    holds: Mutex<Holds>,
    loader: Loader,
    pub(super) fallback: Fallback,
    /// The instantiators that were set, by their handles. Dropped after the modules, which call their code.
    #[cfg(feature = "jit")]
    jits: Mutex<Vec<(u64, Box<dyn SetJit>)>>,
    pub(super) cache: CacheHandle,
    _memory: SharedAllocator,
}

/// An instantiator that a loader was set for.
#[cfg(feature = "jit")]
pub(super) trait SetJit: Send + Sync {
    /// Withdraws the modules of the loader, until it is set again.
    fn withdraw_modules(&self);
}

impl Object for OpenLoader {
    const TAG: u32 = 1 << 29;
    const NAME: &'static str = "loader";
}

/// With as many slots as handles have, whose slots count from 1.
type Holds = SlotTable<HeldVersion, { (1 << ITEM_SLOT_BITS) - 1 }>;

/// A held version. The lifetime is really that of the loader.
pub(super) type HeldVersion = TryArc<ModuleRef<'static>>;

impl Deref for OpenLoader {
    type Target = Loader;

    fn deref(&self) -> &Loader {
        &self.loader
    }
}

impl OpenLoader {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        // No code panics while it holds the lock.
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unloads the modules of a loader that is closed. Whether their memory is freed.
    fn unload_all(&self) -> bool {
        let modules = self.modules();
        // SAFETY: the caller of `smf_loader_close` promises that no thread calls a module by its address, and calls
        // through this library are counted.
        unsafe { modules.collect_quiescent() };
        let mut handles = Vec::new();
        modules.for_each(|_, handle| {
            // Without memory the module stays loaded.
            let _ = try_push(&mut handles, handle);
        });
        if modules.unload_all(&handles).is_err() {
            // Threads have to run destructors of a module. The others are unloaded, those that import first.
            for handle in handles.into_iter().rev() {
                let _ = modules.unload(handle);
            }
        }
        let left = modules.statistics();
        left.modules == 0 && left.retired == 0
    }

    /// The number of holds.
    pub(super) fn held(&self) -> u64 {
        self.holds().len()
    }

    #[cfg(feature = "jit")]
    fn jits(&self) -> MutexGuard<'_, Vec<(u64, Box<dyn SetJit>)>> {
        self.jits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an instantiator until the loader is closed. `new` makes its entry, unless it has one.
    ///
    /// # Errors
    /// [`AllocError`].
    #[cfg(feature = "jit")]
    pub(super) fn keep_jit(
        &self,
        jit: u64,
        new: impl FnOnce() -> Result<Box<dyn SetJit>, AllocError>,
    ) -> Result<(), AllocError> {
        let mut jits = self.jits();
        match jits.iter().any(|(known, _)| *known == jit) {
            true => Ok(()),
            false => try_push(&mut jits, (jit, new()?)),
        }
    }

    /// Withdraws the modules of the loader from all instantiators but `jit`.
    #[cfg(feature = "jit")]
    pub(super) fn withdraw_except(&self, jit: u64) {
        let jits = self.jits();
        jits.iter().filter(|(known, _)| *known != jit).for_each(|(_, of)| of.withdraw_modules());
    }

    /// Reads a file through the cache; `None` without a cache and for a file that does not fit there.
    ///
    /// # Errors
    /// As for [`CacheHandle::enter`], and those of the cache.
    pub(super) fn read_cached(&self, path: &[u8]) -> Result<Option<ModuleBytes>, ApiError> {
        let Some(cache) = self.cache.enter()? else { return Ok(None) };
        read_cached(&cache, path).map_err(|error| match error {
            CacheError::File(error) => Name::in_error(path, |path| ApiError::File { path, error }),
            error => error.into(),
        })
    }
}

/// Opens a loader, whose stubs come from `memory`.
///
/// # Errors
/// [`ApiError::TooManyOpen`]; no memory.
pub(super) fn open(loader: Loader, memory: SharedAllocator) -> Result<u64, ApiError> {
    if !CLOSED.read().is_empty() {
        free_closed(None);
    }
    LOADERS.open(OpenLoader {
        holds: Mutex::new(Holds::new()),
        loader,
        fallback: Fallback::new()?,
        #[cfg(feature = "jit")]
        jits: Mutex::default(),
        cache: CacheHandle::default(),
        _memory: memory,
    })
}

/// Closed loaders whose memory threads still need: a call by `rt_call_function_0` to `_8` is inside of a module, or threads
/// have to run destructors of their variables when they end.
pub(super) static CLOSED: ProcessLock<Vec<TryArc<OpenLoader>>> = ProcessLock::new(Vec::new());

/// Closes a loader and unloads its modules.
///
/// # Errors
/// [`ApiError::NotOpen`], [`ApiError::Held`], [`ApiError::Busy`].
pub(super) fn close(loader: u64) -> Result<(), ApiError> {
    let closed = LOADERS.take(loader, |loader, uses| match (loader.held(), uses) {
        (0, 0) => None,
        (0, _) => Some(ApiError::Busy { what: "the loader", uses }),
        (holds, _) => Some(ApiError::Held { what: "modules of the loader", holds }),
    })?;
    free_closed(closed);
    // The stubs may have been the last live code.
    blocks::trim_if_unused();
    Ok(())
}

/// Unloads the modules of loaders that are closed, and frees those loaders that no thread needs.
fn free_closed(closed: Option<TryArc<OpenLoader>>) {
    let unload = |loader: TryArc<OpenLoader>| {
        // Not locked meanwhile, because destructors of modules run.
        if loader.unload_all() {
            return;
        }
        if try_push(&mut CLOSED.lock(), loader.clone()).is_err() {
            // Its modules are in use: without memory to note it, it stays for good.
            std::mem::forget(loader);
        }
    };
    let earlier = CLOSED.lock().len();
    for _ in 0..earlier {
        let take = |all: &mut Vec<_>| (!all.is_empty()).then(|| all.remove(0));
        let first = take(&mut CLOSED.lock());
        first.into_iter().for_each(unload);
    }
    closed.into_iter().for_each(unload);
}

/// A use of a loader, which cannot be closed meanwhile: modules and the host may run for long.
pub(super) type LoaderLease = handle_table::Guard<OpenLoader>;

/// Starts a use of a loader.
///
/// # Errors
/// [`ApiError::NotOpen`], [`ApiError::InUseAtFork`].
pub(super) fn enter(loader: u64) -> Result<LoaderLease, ApiError> {
    LOADERS.enter(loader).map(|guard| guard.lease())
}

/// Whether a handle can be that of a loader rather than of a cache.
pub(super) fn is_loader(handle: u64) -> bool {
    handle as u32 & OpenLoader::TAG != 0
}

impl LoaderLease {
    /// The handle of a module in C.
    ///
    /// # Errors
    /// [`ApiError::TooManyModules`].
    pub(super) fn module_to_raw(&self, module: ModuleHandle) -> Result<u64, ApiError> {
        let module = self.handle.item_to_raw(Item::Module, module.to_raw());
        module.ok_or_else(|| ApiError::TooManyModules)
    }

    /// The handle of a module in the loader, which checks whether the module exists.
    ///
    /// # Errors
    /// [`ApiError::Handle`] for a handle that this loader never issued.
    pub(super) fn module_from_raw(&self, module: u64) -> Result<ModuleHandle, ApiError> {
        let found = self.handle.item_from_raw(Item::Module, module).map(ModuleHandle::from_raw);
        found.ok_or_else(|| ApiError::Handle { what: "a module of this loader", handle: module })
    }

    /// The version that a hold refers to, or the current version of a module.
    ///
    /// # Errors
    /// [`ApiError::Handle`], and that the module was unloaded.
    pub(super) fn version(&self, handle: u64) -> Result<Version<'_>, ApiError> {
        if self.handle.item_from_raw(Item::Hold, handle).is_none() {
            return Ok(Version::Current(self.modules().get(self.module_from_raw(handle)?)?));
        }
        self.held_version(handle).map(Version::Held)
    }

    /// The version that a hold refers to.
    ///
    /// # Errors
    /// [`ApiError::Handle`].
    pub(super) fn held_version(&self, hold: u64) -> Result<HeldVersion, ApiError> {
        let item = self.handle.item_from_raw(Item::Hold, hold);
        let holds = self.holds();
        item.and_then(|key| holds.get(key)).cloned().ok_or(no_hold(hold))
    }

    /// Holds a version until it is [released](Self::release).
    ///
    /// # Errors
    /// As for [`version`](Self::version), and [`ApiError::TooManyModules`].
    pub(super) fn hold(&self, handle: u64) -> Result<u64, ApiError> {
        let held = match self.version(handle)? {
            Version::Held(held) => held,
            Version::Current(version) => {
                // SAFETY: changes the lifetime alone, which is that of a reference to the loader. The loader stays
                // in its `TryArc` and drops the holds before its modules; `Version` lends them for no longer than
                // the lease.
                TryArc::new(unsafe { transmute::<ModuleRef<'_>, ModuleRef<'static>>(version) })?
            }
        };
        let key = self.holds().insert(held);
        let hold = key.and_then(|key| self.handle.item_to_raw(Item::Hold, key));
        hold.ok_or_else(|| ApiError::TooManyModules)
    }

    /// Releases a hold, and frees replaced versions that are no longer reachable.
    ///
    /// # Errors
    /// [`ApiError::Handle`].
    pub(super) fn release(&self, hold: u64) -> Result<(), ApiError> {
        let item = self.handle.item_from_raw(Item::Hold, hold);
        let held = item.and_then(|key| self.holds().remove(key));
        drop(held.ok_or(no_hold(hold))?);
        self.modules().collect();
        Ok(())
    }
}

fn no_hold(handle: u64) -> ApiError {
    ApiError::Handle { what: "a hold, or was released", handle }
}

/// A version of a module, which is not freed while this exists.
pub(super) enum Version<'u> {
    /// The current version at the time of the lookup.
    Current(ModuleRef<'u>),
    /// A version that C holds.
    Held(HeldVersion),
}

impl<'u> Deref for Version<'u> {
    type Target = ModuleRef<'u>;

    fn deref(&self) -> &ModuleRef<'u> {
        match self {
            Version::Current(version) => version,
            Version::Held(held) => held,
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {

    use super::*;
    use smf_core::loader::LoaderOptions;

    fn new() -> u64 {
        let memory = blocks::with(|blocks| blocks.share()).unwrap();
        let loader = Loader::new(LoaderOptions::new(memory.memory.clone())).unwrap();
        open(loader, memory).unwrap()
    }

    fn load(loader: &LoaderLease) -> u64 {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
        let bytes = ModuleBytes::new(std::fs::read(file).unwrap()).unwrap();
        loader.module_to_raw(loader.modules().load(b"packed", bytes).unwrap()).unwrap()
    }

    #[test]
    fn hold_is_valid_until_release_and_prevents_close() {
        let handle = new();
        let loader = enter(handle).unwrap();
        let module = load(&loader);
        let holds: Vec<u64> = (0..100).map(|_| loader.hold(module).unwrap()).collect();
        assert_eq!(loader.held(), 100);
        for (index, hold) in holds.iter().enumerate() {
            assert_eq!(loader.version(*hold).unwrap().name(), b"packed");
            assert!(holds[..index].iter().all(|other| other != hold));
            loader.release(*hold).unwrap();
            assert_eq!(loader.release(*hold), Err(no_hold(*hold)));
            // The same slot, with another handle.
            let again = loader.hold(module).unwrap();
            assert!(again != *hold && loader.version(*hold).is_err());
            loader.release(again).unwrap();
        }
        let hold = loader.hold(module).unwrap();
        assert_eq!(close(handle), Err(ApiError::Held { what: "modules of the loader", holds: 1 }));
        loader.release(hold).unwrap();
        let busy = close(handle).unwrap_err();
        assert_eq!(busy, ApiError::Busy { what: "the loader", uses: 1 });
        assert_eq!(busy.to_string(), "the loader is in use by 1 call in progress");
        drop(loader);
        assert_eq!(close(handle), Ok(()));
        assert_eq!(close(handle), Err(ApiError::NotOpen { object: "loader", handle }));
    }

    #[test]
    fn module_handle_is_refused_by_other_loaders() {
        let (one, two) = (new(), new());
        let (in_one, in_two) = (enter(one).unwrap(), enter(two).unwrap());
        for raw in [0, 1, 1 << 32 | 5, u64::from(u32::MAX) << 32 | 0xff_fffe] {
            let handle = ModuleHandle::from_raw(raw);
            let module = in_one.module_to_raw(handle).unwrap();
            assert_eq!(in_one.module_from_raw(module), Ok(handle));
            assert_eq!(
                in_two.module_from_raw(module),
                Err(ApiError::Handle { what: "a module of this loader", handle: module })
            );
            assert!(enter(module).is_err() && in_one.release(module).is_err());
        }
        let outside = [0xff_ffff, u64::from(u32::MAX)].map(ModuleHandle::from_raw);
        assert!(outside.iter().all(|handle| in_one.module_to_raw(*handle).is_err()));
        drop((in_one, in_two));
        close(one).unwrap();
        close(two).unwrap();
    }
}
