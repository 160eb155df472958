//! The state behind the lock of a loader: the loaded modules, their order, and their dependencies.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::Ordering::Relaxed;

use hashbrown::HashMap;

use super::epoch::Domains;
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::retired::{RetireCause, Retired, RetiredVersions};
use super::version::{ImportedDatum, Version};
use crate::alloc_util::{
    AllocError, SharedBytes, TryArc, UninitArc, try_copy_bytes, try_reserve, try_with_capacity,
};
use crate::format::{Binding, SymbolKind};
use crate::link::{Export, Resolve};

/// Modules in load order.
type LoadOrder = Vec<TryArc<Version>>;

/// The lookup scope: an immutable snapshot of all loaded modules.
#[derive(Clone, Default)]
pub(super) struct Scope(Option<TryArc<LoadOrder>>);

impl Scope {
    /// The modules, in load order.
    pub(super) fn versions(&self) -> &[TryArc<Version>] {
        self.0.as_ref().map_or(&[], |order| order)
    }

    /// A copy with capacity for `more` additional modules.
    fn copy(&self, more: usize) -> Result<LoadOrder, AllocError> {
        let mut order = try_with_capacity(self.versions().len().saturating_add(more))?;
        order.extend_from_slice(self.versions());
        Ok(order)
    }

    /// Copies a shared snapshot, so that it can be changed.
    fn make_unique(&mut self) -> Result<(), AllocError> {
        if self.0.as_mut().is_some_and(|order| order.get_mut().is_none()) {
            self.0 = Some(TryArc::new(self.copy(0)?)?);
        }
        Ok(())
    }

    /// Removes a module from a snapshot that is [unique](Self::make_unique).
    fn remove(&mut self, handle: ModuleHandle) {
        if let Some(order) = self.0.as_mut().and_then(TryArc::get_mut) {
            order.retain(|version| version.handle != handle);
        }
    }

    /// The first module with a strong export of `name`, else the first with a weak one.
    pub(super) fn find_except(
        &self,
        name: &[u8],
        except: Option<ModuleHandle>,
    ) -> Option<(&TryArc<Version>, Export)> {
        let mut weak = None;
        for version in self.versions().iter().filter(|version| Some(version.handle) != except) {
            match version.body.find(name) {
                Some(export) if export.binding == Binding::Weak => {
                    weak = weak.or(Some((version, export)));
                }
                Some(export) => return Some((version, export)),
                None => {}
            }
        }
        weak
    }

    pub(super) fn is(&self, other: &Scope) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => one.ptr_eq(other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

/// A slot for a module.
#[derive(Default)]
struct Slot {
    generation: u32,
    version: Option<TryArc<Version>>,
    /// The number of versions that import from it, retired ones included.
    importers: u32,
    /// The number of those that import data.
    data_importers: u32,
}

/// Data that a module being loaded is going to import.
struct ReservedDatum {
    /// The number of the reservation.
    number: u64,
    handle: ModuleHandle,
    datum: ImportedDatum,
    /// The name of the importing module.
    by: SharedBytes,
}

/// A resolver of the host.
pub(super) type HostResolver = TryArc<Box<dyn Resolve + Send + Sync>>;

/// The allocations that insert versions into a [`State`], made in advance.
pub(super) struct PendingInsert {
    versions: Vec<UninitArc<Version>>,
    order: LoadOrder,
    scope: UninitArc<LoadOrder>,
    replaced: Option<TryArc<Version>>,
}

#[derive(Default)]
pub(super) struct State {
    slots: Vec<Slot>,
    free: Vec<u32>,
    scope: Scope,
    /// Loaded modules by name.
    names: HashMap<SharedBytes, ModuleHandle>,
    /// Addresses of host symbols.
    pub(super) host: HashMap<Box<[u8]>, u64>,
    pub(super) host_resolver: Option<HostResolver>,
    pub(super) fallback_resolver: Option<HostResolver>,
    pub(super) retired: RetiredVersions,
    reserved: Vec<ReservedDatum>,
    /// The number of the next reservation.
    next_reservation: u64,
}

impl State {
    pub(super) fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn slot(&self, handle: ModuleHandle) -> Result<&Slot> {
        let slot = usize::try_from(handle.slot).ok().and_then(|slot| self.slots.get(slot));
        let live =
            slot.filter(|slot| slot.generation == handle.generation && slot.version.is_some());
        live.ok_or(LoadError::Stale { handle })
    }

    fn slot_mut(&mut self, handle: ModuleHandle) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::try_from(handle.slot).ok()?)?;
        (slot.generation == handle.generation).then_some(slot)
    }

    pub(super) fn version(&self, handle: ModuleHandle) -> Result<&TryArc<Version>> {
        self.slot(handle)?.version.as_ref().ok_or(LoadError::Stale { handle })
    }

    pub(super) fn by_name(&self, name: &[u8]) -> Option<ModuleHandle> {
        self.names.get(name).copied()
    }

    /// Defines a host symbol; returns its previous address.
    pub(super) fn define(&mut self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        if let Some(old) = self.host.get_mut(name) {
            return Ok(Some(core::mem::replace(old, address)));
        }
        self.host.try_reserve(1).map_err(|_| AllocError)?;
        Ok(self.host.insert(try_copy_bytes(name)?, address))
    }

    /// Allocates a slot, which [`free_slot`](Self::free_slot) frees or [`insert`](Self::insert) fills.
    pub(super) fn allocate_slot(&mut self) -> Result<ModuleHandle> {
        if let Some(slot) = self.free.pop() {
            let found = usize::try_from(slot).ok().and_then(|slot| self.slots.get(slot));
            return Ok(ModuleHandle { slot, generation: found.map_or(0, |slot| slot.generation) });
        }
        let slot = u32::try_from(self.slots.len()).map_err(|_| LoadError::OutOfMemory)?;
        try_reserve(&mut self.slots, 1)?;
        // Freeing a slot must not allocate.
        try_reserve(&mut self.free, self.slots.len() + 1)?;
        // Generation 0 would allow a handle with the number 0.
        self.slots.push(Slot { generation: 1, ..Slot::default() });
        Ok(ModuleHandle { slot, generation: 1 })
    }

    pub(super) fn free_slot(&mut self, handle: ModuleHandle) {
        self.free.push(handle.slot);
    }

    /// Makes all allocations for inserting `count` versions, so that the insertion cannot fail while the lock is held.
    pub(super) fn prepare(&mut self, count: usize) -> Result<PendingInsert, AllocError> {
        self.names.try_reserve(count).map_err(|_| AllocError)?;
        let mut versions = try_with_capacity(count)?;
        for _ in 0..count {
            versions.push(UninitArc::new()?);
        }
        Ok(PendingInsert {
            versions,
            order: self.scope.copy(count)?,
            scope: UninitArc::new()?,
            replaced: None,
        })
    }

    /// Adds a version in its slot, in place of a previous version of the module.
    pub(super) fn insert(&mut self, pending: &mut PendingInsert, version: Version) {
        let Some(allocation) = pending.versions.pop() else { return };
        let version = allocation.fill(version);
        self.count_importer(&version, 1);
        let handle = version.handle;
        let old = self.slot_mut(handle).and_then(|slot| slot.version.replace(version.clone()));
        let order = &mut pending.order;
        let place = old.as_ref().and_then(|_| order.iter_mut().find(|v| v.handle == handle));
        match place {
            Some(place) => *place = version,
            None => {
                self.names.insert(version.name.clone(), handle);
                order.push(version);
            }
        }
        if pending.replaced.is_none() {
            pending.replaced = old;
        }
    }

    /// Makes the inserted versions visible. Returns the version that the first one replaced.
    pub(super) fn publish(&mut self, pending: PendingInsert) -> Option<TryArc<Version>> {
        let PendingInsert { order, scope, replaced, .. } = pending;
        self.scope = Scope(Some(scope.fill(order)));
        replaced
    }

    fn count_importer(&mut self, version: &Version, by: i32) {
        for dependency in &version.dependencies {
            let Some(slot) = self.slot_mut(dependency.handle) else { continue };
            slot.importers = slot.importers.wrapping_add_signed(by);
            if !dependency.data.is_empty() {
                slot.data_importers = slot.data_importers.wrapping_add_signed(by);
            }
        }
    }

    /// The data of a module that other modules import or [reserve](Self::reserve_data), with their names.
    pub(super) fn data_in_use(
        &self,
        handle: ModuleHandle,
    ) -> impl Iterator<Item = (&ImportedDatum, &SharedBytes)> {
        let is_used = self.slot(handle).is_ok_and(|slot| slot.data_importers != 0);
        let importers = is_used.then(|| self.importers_of(handle)).into_iter().flatten();
        let used =
            importers.flat_map(|(user, data)| data.iter().map(move |datum| (datum, &user.name)));
        let reserved = self.reserved.iter().filter(move |reserved| reserved.handle == handle);
        used.chain(reserved.map(|reserved| (&reserved.datum, &reserved.by)))
    }

    /// Reserves data symbols of modules at their current addresses, on behalf of the module `by`. Returns the number of
    /// the reservation; `None` if there is no memory for it.
    pub(super) fn reserve_data<'n>(
        &mut self,
        data: impl Iterator<Item = (ModuleHandle, impl Iterator<Item = &'n SharedBytes>)>,
        by: &SharedBytes,
    ) -> Option<u64> {
        let number = self.next_reservation;
        self.next_reservation += 1;
        for (handle, names) in data {
            // The next attempt reports a module that was unloaded.
            let Ok(version) = self.version(handle).cloned() else { continue };
            for name in names {
                let found = version.body.find(name);
                let Some(export) = found.filter(|e| e.kind != SymbolKind::Function) else {
                    continue;
                };
                if self.reserved.try_reserve(1).is_err() {
                    self.release_data(number);
                    return None;
                }
                let datum = ImportedDatum { name: name.clone(), address: export.address };
                self.reserved.push(ReservedDatum { number, handle, datum, by: by.clone() });
            }
        }
        Some(number)
    }

    /// Ends a reservation.
    pub(super) fn release_data(&mut self, number: u64) {
        self.reserved.retain(|reserved| reserved.number != number);
    }

    /// The versions that import from a module, retired ones included, and the data that they import.
    fn importers_of(
        &self,
        handle: ModuleHandle,
    ) -> impl Iterator<Item = (&Version, &[ImportedDatum])> {
        let retired = self.retired.versions();
        self.scope.versions().iter().chain(retired).filter_map(move |version| {
            let mut dependencies = version.dependencies.iter();
            let dependency = dependencies.find(|dependency| dependency.handle == handle)?;
            Some((&**version, &*dependency.data))
        })
    }

    /// Retires modules that are not held and that only each other import from.
    pub(super) fn remove(&mut self, handles: &[ModuleHandle], domains: &Domains) -> Result<()> {
        for handle in handles {
            let version = self.version(*handle)?;
            let pins = version.pins.load(Relaxed);
            if pins != 0 {
                return Err(LoadError::InUse { module: version.error_name(), pins });
            }
            if self.slot(*handle)?.importers != 0 {
                let mut importers = self.importers_of(*handle);
                let outside = importers.find(|(user, _)| !Self::is_one_of(user, handles));
                if let Some((user, _)) = outside {
                    let (module, by) = (version.error_name(), user.error_name());
                    return Err(LoadError::Needed { module, by });
                }
            }
        }
        self.retired.try_reserve(handles.len())?;
        self.scope.make_unique()?;
        for handle in handles {
            self.remove_one(*handle, domains);
        }
        Ok(())
    }

    /// Whether a version, current or retired, belongs to one of these modules and is not held.
    fn is_one_of(user: &Version, handles: &[ModuleHandle]) -> bool {
        handles.contains(&user.handle) && user.pins.load(Relaxed) == 0
    }

    fn remove_one(&mut self, handle: ModuleHandle, domains: &Domains) {
        self.scope.remove(handle);
        let Some(slot) = self.slot_mut(handle) else { return };
        let version = slot.version.take();
        (slot.importers, slot.data_importers) = (0, 0);
        // A slot without generations left stays empty.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(handle.slot);
        }
        if let Some(version) = version {
            self.names.remove(&version.name);
            self.retired.unload(handle);
            self.retired.push(version, Vec::new(), RetireCause::Unloaded, domains);
        }
    }

    /// Removes the retired versions that no thread can reach. A newer version that uses data in the memory of one keeps
    /// it alive.
    pub(super) fn take_unreachable(&mut self, domains: &Domains) -> Vec<Retired> {
        let unreachable = self.retired.take_unreachable(domains);
        for retired in &unreachable {
            self.count_importer(retired.version(), -1);
        }
        unreachable
    }
}
