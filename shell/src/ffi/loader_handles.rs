//! The loaders that C has opened, the numbers of their modules, and the versions that C holds.
#![allow(unsafe_code)]

use std::mem::transmute;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::loader::{LoaderOptions, ModuleHandle, ModuleLoader, ModuleRef};
use smf_core::memory::code_alloc::CodeMemory;

use super::blocks::{self, Lent};
use super::error::ApiError;
use super::handle_table::{self, HandleTable, Part, SEATS, Table};
use crate::loader::Loader;

/// Tells the numbers of loaders from those of caches.
const MARK: u32 = 1 << 29;

static TABLE: Table<OpenLoader> = Table::new();
static LOADERS: HandleTable<OpenLoader> =
    HandleTable::new(&TABLE, MARK, |loader| ApiError::NoLoader { loader });

/// A loader as C has it.
pub(super) struct OpenLoader {
    /// Dropped before the modules that they are of.
    holds: Mutex<Holds>,
    loader: Loader,
    _memory: Lent,
}

/// The versions that are held, each in a slot that was taken so many times.
#[derive(Default)]
struct Holds {
    slots: Vec<Hold>,
    free: Vec<u32>,
    live: u64,
}

#[derive(Default)]
struct Hold {
    generation: u32,
    held: Option<Held>,
}

/// One version. The lifetime is that of the loader, whatever it says.
pub(super) type Held = TryArc<ModuleRef<'static>>;

impl Deref for OpenLoader {
    type Target = Loader;

    fn deref(&self) -> &Loader {
        &self.loader
    }
}

impl OpenLoader {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        // Nothing panics while it holds the lock.
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often something was held and has not been released.
    pub(super) fn held(&self) -> u64 {
        self.holds().live
    }
}

impl Holds {
    /// Puts a version into a slot; the slot's number and generation.
    fn add(&mut self, held: Held) -> Option<(u32, u32)> {
        if self.free.is_empty() {
            let slot = u32::try_from(self.slots.len()).ok()?;
            self.slots.try_reserve(1).ok()?;
            // So that releasing never needs memory.
            self.free.try_reserve(self.slots.len() + 1).ok()?;
            self.slots.push(Hold::default());
            self.free.push(slot);
        }
        let slot = self.free.pop()?;
        let hold = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        hold.held = Some(held);
        self.live += 1;
        Some((slot, hold.generation))
    }

    fn get(&mut self, slot: u32, generation: u32) -> Option<&mut Hold> {
        let hold = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        (hold.generation == generation && hold.held.is_some()).then_some(hold)
    }

    fn remove(&mut self, slot: u32, generation: u32) -> Option<Held> {
        let hold = self.get(slot, generation)?;
        let held = hold.held.take();
        // A slot whose numbers are used up is left empty.
        if let Some(next) = hold.generation.checked_add(1) {
            hold.generation = next;
            self.free.push(slot);
        }
        self.live -= 1;
        held
    }
}

/// Opens a loader. Its stubs come out of the memory that C allocates code from.
///
/// # Errors
/// [`ApiError::TooManyLoaders`]; no memory.
pub(super) fn open(
    options: impl FnOnce(CodeMemory) -> LoaderOptions,
    prepare: impl FnOnce(&ModuleLoader) -> Result<(), AllocError>,
) -> Result<u64, ApiError> {
    let memory = blocks::with(|blocks| blocks.lend())?;
    let loader = Loader::new(options(memory.memory.clone()))?;
    prepare(loader.modules())?;
    let open = OpenLoader { holds: Mutex::default(), loader, _memory: memory };
    LOADERS.open(open)?.ok_or(ApiError::TooManyLoaders { limit: SEATS })
}

/// Closes a loader, and unloads every module.
///
/// # Errors
/// [`ApiError::NoLoader`], [`ApiError::LoaderHeld`], [`ApiError::LoaderBusy`].
pub(super) fn close(loader: u64) -> Result<(), ApiError> {
    LOADERS.close(loader, |loader, uses| match (loader.held(), uses) {
        (0, 0) => None,
        (0, _) => Some(ApiError::LoaderBusy { uses }),
        (holds, _) => Some(ApiError::LoaderHeld { holds }),
    })?;
    // The stubs were the last of the code, perhaps.
    blocks::give_back();
    Ok(())
}

/// In a child process: puts aside the loaders that a thread was using at the fork.
pub(super) fn begin_child() {
    LOADERS.begin_child();
}

/// A loader that is not closed as long as this lives.
pub(super) type Use = handle_table::Lease<OpenLoader>;

/// Begins to use a loader, for as long as modules and the host may take.
///
/// # Errors
/// [`ApiError::NoLoader`].
#[inline]
pub(super) fn enter(loader: u64) -> Result<Use, ApiError> {
    LOADERS.enter(loader).map(|entered| entered.lease())
}

/// Whether a number could be that of a loader. Those of caches could not.
pub(super) fn is_number(number: u64) -> bool {
    number as u32 & MARK != 0
}

impl Use {
    /// The number of a module as C has it.
    ///
    /// # Errors
    /// [`ApiError::TooManyModules`].
    pub(super) fn number_of(&self, handle: ModuleHandle) -> Result<u64, ApiError> {
        let raw = handle.to_raw();
        // Slots count from 1, because the first number would be like that of a prefetch.
        let slot = (raw as u32).checked_add(1);
        let number = slot.and_then(|s| self.number().of_part(Part::Module, s, (raw >> 32) as u32));
        number.ok_or(ApiError::TooManyModules)
    }

    /// The module that C means by a number. Whether there is one is for the loader to find out.
    ///
    /// # Errors
    /// [`ApiError::ForeignModule`] when the number cannot come from this loader.
    #[inline]
    pub(super) fn handle_of(&self, module: u64) -> Result<ModuleHandle, ApiError> {
        let part = self.number().part(Part::Module, module);
        let place = part.and_then(|(slot, generation)| Some((slot.checked_sub(1)?, generation)));
        let (slot, generation) = place.ok_or(ApiError::ForeignModule { module })?;
        Ok(ModuleHandle::from_raw(u64::from(generation) << 32 | u64::from(slot)))
    }

    /// The version that C means: that of a hold, or the present one of a module.
    ///
    /// # Errors
    /// [`ApiError::ForeignModule`], [`ApiError::NoHold`], and that the module is gone.
    pub(super) fn version(&self, number: u64) -> Result<Version<'_>, ApiError> {
        if self.number().part(Part::Hold, number).is_none() {
            return Ok(Version::Present(self.modules().get(self.handle_of(number)?)?));
        }
        self.held_version(number).map(Version::Held)
    }

    /// The version of a hold.
    ///
    /// # Errors
    /// [`ApiError::NoHold`].
    pub(super) fn held_version(&self, hold: u64) -> Result<Held, ApiError> {
        let part = self.number().part(Part::Hold, hold);
        let mut holds = self.holds();
        let found = part.and_then(|(slot, generation)| holds.get(slot, generation)?.held.clone());
        found.ok_or(ApiError::NoHold { hold })
    }

    /// Holds a version until it is [released](Self::release).
    ///
    /// # Errors
    /// As [`version`](Self::version), and [`ApiError::TooManyModules`].
    pub(super) fn hold(&self, number: u64) -> Result<u64, ApiError> {
        let held = match self.version(number)? {
            Version::Held(held) => held,
            Version::Present(loaded) => {
                // SAFETY: only the lifetime is another. It is that of a reference to the loader, which
                // is behind a `TryArc` that it never leaves, and where the holds are dropped first;
                // `Version` hands them out for no longer than the use of the loader.
                TryArc::new(unsafe { transmute::<ModuleRef<'_>, ModuleRef<'static>>(loaded) })?
            }
        };
        let mut holds = self.holds();
        let (slot, generation) = holds.add(held).ok_or(ApiError::TooManyModules)?;
        match self.number().of_part(Part::Hold, slot, generation) {
            Some(hold) => Ok(hold),
            None => {
                let removed = holds.remove(slot, generation);
                drop(holds);
                drop(removed);
                Err(ApiError::TooManyModules)
            }
        }
    }

    /// Lets go of what was held, and gives back what nobody is inside of any more.
    ///
    /// # Errors
    /// [`ApiError::NoHold`].
    pub(super) fn release(&self, hold: u64) -> Result<(), ApiError> {
        let part = self.number().part(Part::Hold, hold);
        let held = part.and_then(|(slot, generation)| self.holds().remove(slot, generation));
        drop(held.ok_or(ApiError::NoHold { hold })?);
        self.modules().collect();
        Ok(())
    }
}

/// One version of a module, which stays as long as this.
pub(super) enum Version<'u> {
    /// The one that was present a moment ago.
    Present(ModuleRef<'u>),
    /// One that C holds.
    Held(Held),
}

impl<'u> Deref for Version<'u> {
    type Target = ModuleRef<'u>;

    fn deref(&self) -> &ModuleRef<'u> {
        match self {
            Version::Present(loaded) => loaded,
            Version::Held(held) => held,
        }
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use smf_core::loader::ModuleBytes;

    fn new() -> u64 {
        open(LoaderOptions::new, |_| Ok(())).unwrap()
    }

    fn load(loader: &Use) -> u64 {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
        let bytes = ModuleBytes::new(std::fs::read(file).unwrap()).unwrap();
        loader.number_of(loader.modules().load(b"packed", bytes).unwrap()).unwrap()
    }

    #[test]
    fn a_hold_is_good_until_it_is_released_and_keeps_the_loader_open() {
        let number = new();
        let loader = enter(number).unwrap();
        let module = load(&loader);
        let holds: Vec<u64> = (0..100).map(|_| loader.hold(module).unwrap()).collect();
        assert_eq!(loader.held(), 100);
        for (index, hold) in holds.iter().enumerate() {
            assert_eq!(loader.version(*hold).unwrap().name(), b"packed");
            assert!(holds[..index].iter().all(|other| other != hold));
            loader.release(*hold).unwrap();
            assert_eq!(loader.release(*hold), Err(ApiError::NoHold { hold: *hold }));
            // The slot again, and another number.
            let again = loader.hold(module).unwrap();
            assert!(again != *hold && loader.version(*hold).is_err());
            loader.release(again).unwrap();
        }
        let hold = loader.hold(module).unwrap();
        assert_eq!(close(number), Err(ApiError::LoaderHeld { holds: 1 }));
        loader.release(hold).unwrap();
        assert_eq!(close(number), Err(ApiError::LoaderBusy { uses: 1 }));
        drop(loader);
        assert_eq!(close(number), Ok(()));
        assert_eq!(close(number), Err(ApiError::NoLoader { loader: number }));
    }

    #[test]
    fn numbers_of_modules_are_told_from_those_of_every_other_loader() {
        let (one, two) = (new(), new());
        let (in_one, in_two) = (enter(one).unwrap(), enter(two).unwrap());
        for raw in [0, 1, 1 << 32 | 5, u64::from(u32::MAX) << 32 | 0xff_fffe] {
            let handle = ModuleHandle::from_raw(raw);
            let module = in_one.number_of(handle).unwrap();
            assert_eq!(in_one.handle_of(module), Ok(handle));
            assert_eq!(in_two.handle_of(module), Err(ApiError::ForeignModule { module }));
            assert!(enter(module).is_err() && in_one.release(module).is_err());
        }
        let outside = [0xff_ffff, u64::from(u32::MAX)].map(ModuleHandle::from_raw);
        assert!(outside.iter().all(|handle| in_one.number_of(*handle).is_err()));
        drop((in_one, in_two));
        close(one).unwrap();
        close(two).unwrap();
    }
}
