//! The state behind the lock of a loader: the loaded modules, their order, and their dependencies.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::{HashMap, HashSet};

use super::bytes::LinkedModule;
use super::epoch::Domains;
use super::error::{LoadError, Result};
use super::forward::ForwardFunctions;
use super::handle::ModuleHandle;
use super::resolvers::Resolvers;
use super::retired::{Holder, RetireCause, RetiredVersions};
use super::version::{Dependency, ImportedDatum, Version};
use crate::alloc_util::{
    AllocError, TryArc, try_copy_bytes, try_push, try_reserve, try_with_capacity,
};
use crate::format::{Binding, SymbolKind};
use crate::link::{AddedLibraries, Export, Libraries, Name};

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

    /// The module that has an address, and what it exports there under `name`, of an unknown kind if nothing. Only
    /// addresses in the current version, and those of stubs, are found.
    pub(super) fn find_address(
        &self,
        name: &[u8],
        address: u64,
    ) -> Option<(&TryArc<Version>, Export)> {
        self.versions().iter().find_map(|version| {
            let export = version.body.find(name).filter(|export| export.address == address);
            let has_stub = || version.stubs.as_ref().is_some_and(|of| of.table.has_stub(address));
            let (kind, binding) = (SymbolKind::None, Binding::Global);
            let unnamed = Export { address, kind, binding, size: 0 };
            let unnamed = || (version.contains(address) || has_stub()).then_some(unnamed);
            Some((version, export.or_else(unnamed)?))
        })
    }

    /// Whether this version is among the modules.
    pub(super) fn contains(&self, version: &TryArc<Version>) -> bool {
        self.versions().iter().any(|other| other.ptr_eq(version))
    }

    /// Whether both are the same snapshot.
    pub(super) fn is(&self, other: &Scope) -> bool {
        core::ptr::eq(self.versions(), other.versions())
    }
}

/// A slot for a module.
#[derive(Default)]
struct Slot {
    generation: u32,
    version: Option<TryArc<Version>>,
}

/// Data that a module being loaded is going to import.
struct ReservedDatum {
    /// The number of the reservation.
    number: u64,
    handle: ModuleHandle,
    datum: ImportedDatum,
    /// The name of the importing module.
    by: Name,
}

/// The code that may call a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callers {
    /// That of the modules that import from it.
    Importers,
    /// Also a thread that holds any version of the module, by a stable address.
    Holders,
    /// Any code: another module may have the address of a [stub](super::forward) that leads to the module.
    Any,
}

/// The allocations that insert versions into a [`State`], made in advance.
pub(super) struct PendingInsert {
    /// Of each version.
    pub(super) handles: Vec<ModuleHandle>,
    next: TryArc<LoadOrder>,
}

#[derive(Default)]
pub(super) struct State {
    slots: Vec<Slot>,
    free: Vec<u32>,
    scope: Scope,
    /// Loaded modules by name.
    names: HashMap<Name, ModuleHandle>,
    /// Addresses of host symbols.
    pub(super) host: HashMap<Box<[u8]>, u64>,
    pub(super) resolvers: Resolvers,
    pub(super) retired: RetiredVersions,
    reserved: Vec<ReservedDatum>,
    /// The number of the next reservation.
    next_reservation: u64,
    /// Libraries that the host has added. Dropped after all modules, which contain addresses in them.
    pub(super) libraries: Option<AddedLibraries>,
}

impl State {
    /// Adds an open library behind the others. Threads may be searching the previous list.
    pub(super) fn add_library(&mut self, library: TryArc<Libraries>) -> Result<(), AllocError> {
        let known = self.libraries.as_ref().map_or(&[][..], |known| known);
        let mut next = try_with_capacity(known.len().saturating_add(1))?;
        next.extend_from_slice(known);
        next.push(library);
        self.libraries = Some(TryArc::new(next)?);
        Ok(())
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope.clone()
    }

    /// A copy of the load order, not shared yet, with capacity for `more` additional modules.
    fn next_order(&self, more: usize) -> Result<TryArc<LoadOrder>, AllocError> {
        let current = self.scope.versions();
        let mut order = try_with_capacity(current.len().saturating_add(more))?;
        order.extend_from_slice(current);
        TryArc::new(order)
    }

    fn slot_mut(&mut self, handle: ModuleHandle) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::try_from(handle.slot).ok()?)?;
        (slot.generation == handle.generation).then_some(slot)
    }

    pub(super) fn version(&self, handle: ModuleHandle) -> Result<&TryArc<Version>> {
        let slot = usize::try_from(handle.slot).ok().and_then(|slot| self.slots.get(slot));
        let slot = slot.filter(|slot| slot.generation == handle.generation);
        slot.and_then(|slot| slot.version.as_ref()).ok_or(LoadError::Stale { handle })
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

    /// Makes all allocations for inserting `count` versions, of which the first replaces `replaced`. The insertion must
    /// follow.
    pub(super) fn prepare(
        &mut self,
        count: usize,
        replaced: Option<ModuleHandle>,
    ) -> Result<PendingInsert> {
        let new = count.saturating_sub(usize::from(replaced.is_some()));
        self.names.try_reserve(new).map_err(|_| AllocError)?;
        let mut handles = try_with_capacity(count)?;
        let next = self.next_order(new)?;
        self.reserve_slots(new)?;
        handles.extend(replaced);
        let slots = self.free.drain(self.free.len().saturating_sub(new)..).rev();
        handles.extend(slots.map(|slot| {
            let known = usize::try_from(slot).ok().and_then(|slot| self.slots.get(slot));
            ModuleHandle { slot, generation: known.map_or(0, |slot| slot.generation) }
        }));
        Ok(PendingInsert { handles, next })
    }

    /// Adds slots until `count` are free.
    fn reserve_slots(&mut self, count: usize) -> Result<()> {
        let old_len = self.slots.len();
        let new = count.saturating_sub(self.free.len());
        u32::try_from(old_len.saturating_add(new)).map_err(|_| AllocError)?;
        try_reserve(&mut self.slots, new)?;
        // Freeing a slot must not allocate.
        try_reserve(&mut self.free, old_len + new)?;
        // Generation 0 would allow a handle with the number 0.
        self.slots.resize_with(old_len + new, || Slot { generation: 1, version: None });
        // The length fits.
        self.free.extend((old_len as u32..self.slots.len() as u32).rev());
        Ok(())
    }

    /// Adds the versions of a load set, and makes them visible. Returns the handle of the first, and the version that it
    /// replaced.
    pub(super) fn insert(
        &mut self,
        pending: PendingInsert,
        members: Vec<TryArc<Version>>,
    ) -> Option<(ModuleHandle, Option<TryArc<Version>>)> {
        let PendingInsert { handles, mut next } = pending;
        let (mut first, order) = (None, next.get_mut()?);
        for (mut version, &handle) in members.into_iter().zip(&handles) {
            // Nothing shares the version yet.
            version.get_mut()?.set_handles(handle, &handles);
            let old = self.slot_mut(handle)?.version.replace(version.clone());
            let mut places = order.iter_mut();
            match old.as_ref().and_then(|_| places.find(|other| other.handle == handle)) {
                Some(place) => *place = version,
                None => {
                    self.names.insert(version.name.clone(), handle);
                    order.push(version);
                }
            }
            first = first.or(Some((handle, old)));
        }
        self.scope = Scope(Some(next));
        first
    }

    /// The data of a module that other modules import or [reserve](Self::reserve_data), with their names.
    pub(super) fn data_in_use(
        &self,
        handle: ModuleHandle,
    ) -> impl Iterator<Item = (&ImportedDatum, &Name)> {
        let used = self.all_versions().flat_map(move |user| {
            let dependencies = user.dependencies.iter();
            let data = dependencies.filter(move |of| of.handle == handle).flat_map(|of| &of.data);
            data.map(|datum| (datum, &user.name))
        });
        let reserved = self.reserved.iter().filter(move |reserved| reserved.handle == handle);
        used.chain(reserved.map(|reserved| (&reserved.datum, &reserved.by)))
    }

    /// Reserves data symbols of modules at their current addresses, on behalf of the module `by`. Returns the number of
    /// the reservation; `None` if there is no memory for it.
    pub(super) fn reserve_data<'n>(
        &mut self,
        data: impl Iterator<Item = (ModuleHandle, &'n ImportedDatum)>,
        by: &Name,
    ) -> Option<u64> {
        let number = self.next_reservation;
        self.next_reservation += 1;
        for (handle, ImportedDatum { name, .. }) in data {
            // The next attempt reports a module that was unloaded.
            let export = self.version(handle).ok().and_then(|version| version.body.find(name));
            let Some(export) = export.filter(|export| export.kind != SymbolKind::Function) else {
                continue;
            };
            if self.reserved.try_reserve(1).is_err() {
                self.release_data(number);
                return None;
            }
            let datum = ImportedDatum { name: name.clone(), address: export.address };
            self.reserved.push(ReservedDatum { number, handle, datum, by: by.clone() });
        }
        Some(number)
    }

    /// Ends a reservation.
    pub(super) fn release_data(&mut self, number: u64) {
        self.reserved.retain(|reserved| reserved.number != number);
    }

    /// All versions, retired ones included.
    fn all_versions(&self) -> impl Iterator<Item = &TryArc<Version>> {
        self.scope.versions().iter().chain(self.retired.versions())
    }

    /// Whether a module has a version, current or retired.
    pub(super) fn has_version(&self, handle: ModuleHandle) -> bool {
        self.all_versions().any(|version| version.handle == handle)
    }

    /// The holds of versions whose code, or whose holder, may be inside the current version of a module. That version itself
    /// is not among them.
    pub(super) fn holders_of(
        &self,
        handle: ModuleHandle,
        callers: Callers,
    ) -> Result<Vec<Holder>, AllocError> {
        let current = self.version(handle).ok();
        let is_other = |version: &&TryArc<Version>| current.is_none_or(|own| !own.ptr_eq(version));
        let held = || self.all_versions().filter(is_other).filter(|version| version.is_held());
        if held().next().is_none() {
            return Ok(Vec::new());
        }
        let mut known = self.all_importers_of(handle)?;
        if callers == Callers::Holders {
            known.try_reserve(1).map_err(|_| AllocError)?;
            known.insert(handle);
        }
        let mut holders = Vec::new();
        let calls =
            |version: &&TryArc<Version>| callers == Callers::Any || known.contains(&version.handle);
        for version in held().filter(calls) {
            try_push(&mut holders, Holder::new(version))?;
        }
        Ok(holders)
    }

    /// The modules that import from a module, directly or through other modules.
    fn all_importers_of(&self, handle: ModuleHandle) -> Result<HashSet<ModuleHandle>, AllocError> {
        let mut importers = HashSet::new();
        let mut is_complete = false;
        // Exporters are usually loaded first, so that the second pass finds nothing more.
        while !is_complete {
            is_complete = true;
            for version in self.all_versions() {
                let imports = |from: ModuleHandle| from == handle || importers.contains(&from);
                let mut dependencies = version.dependencies.iter();
                if dependencies.any(|dependency| imports(dependency.handle)) {
                    importers.try_reserve(1).map_err(|_| AllocError)?;
                    is_complete &= !importers.insert(version.handle);
                }
            }
        }
        Ok(importers)
    }

    /// The versions that import from a module, retired ones included.
    fn importers_of(
        &self,
        handle: ModuleHandle,
        forward: &ForwardFunctions,
    ) -> impl Iterator<Item = &Version> {
        self.all_versions().map(|version| &**version).filter(move |version| {
            let of_module = |dependency: &Dependency| dependency.handle == handle;
            version.dependencies.iter().any(of_module)
                || forward.leads_to(&version.forward_stubs, handle)
        })
    }

    /// Retires modules that are not held and that only each other import from. Returns their names.
    pub(super) fn remove(
        &mut self,
        handles: &[ModuleHandle],
        forward: &ForwardFunctions,
        domains: &Domains,
    ) -> Result<Vec<Name>> {
        for handle in handles {
            let version = self.version(*handle)?;
            let module = &version.name;
            let pins = version.holds.pins();
            if pins != 0 {
                let pins = u32::try_from(pins).unwrap_or(u32::MAX);
                return Err(LoadError::InUse { module: module.clone(), pins });
            }
            if version.body.linked().is_some_and(LinkedModule::has_thread_destructors) {
                return Err(LoadError::ThreadDestructors { module: module.clone() });
            }
            // Versions of these modules that are not held, current or retired, do not count.
            let is_outside = |user: &&Version| !handles.contains(&user.handle) || user.is_held();
            let users = || self.importers_of(*handle, forward).filter(is_outside);
            let is_replaced = |user: &&Version| {
                let now = self.version(user.handle);
                !user.is_held() && now.is_ok_and(|now| !core::ptr::eq(&**now, *user))
            };
            let current = users().find(|user| !is_replaced(user));
            if let Some(user) = current.or_else(|| users().next()) {
                let (module, by) = (module.clone(), user.name.clone());
                return Err(match current {
                    Some(_) => LoadError::Needed { module, by },
                    None => LoadError::NeededByReplaced { module, by },
                });
            }
        }
        self.retired.try_reserve(handles.len())?;
        let mut holders = try_with_capacity(handles.len())?;
        let mut names = try_with_capacity(handles.len())?;
        for handle in handles {
            // Of the versions that import from it, none is held; of its own, an older one may be.
            let callers = match forward.is_bound(*handle) {
                true => Callers::Any,
                false => Callers::Holders,
            };
            holders.push(self.holders_of(*handle, callers)?);
        }
        let mut next = self.next_order(0)?;
        if let Some(order) = next.get_mut() {
            order.retain(|version| !handles.contains(&version.handle));
        }
        self.scope = Scope(Some(next));
        for (handle, holders) in handles.iter().zip(holders) {
            // None for a module that is listed twice.
            names.extend(self.remove_one(*handle, holders, domains));
        }
        Ok(names)
    }

    fn remove_one(
        &mut self,
        handle: ModuleHandle,
        holders: Vec<Holder>,
        domains: &Domains,
    ) -> Option<Name> {
        let slot = self.slot_mut(handle)?;
        let version = slot.version.take()?;
        // A slot without generations left stays empty.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(handle.slot);
        }
        let name = version.name.clone();
        self.names.remove(&name);
        self.retired.unload(handle);
        self.retired.push(version, Vec::new(), RetireCause::Unloaded, holders, domains);
        Some(name)
    }
}
