//! What is behind the lock of a loader: which modules there are, in which order, and who needs whom.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::sync::atomic::Ordering::Relaxed;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::epoch::Domains;
use super::retired::{Cause, Retired, RetiredVersions};
use super::version::{Datum, Version};
use super::{LoadError, ModuleHandle};
use crate::alloc_util::{
    AllocError, Shared, SharedBytes, TryArc, UninitArc, try_copy_bytes, try_with_capacity,
};
use crate::format::{Binding, SymbolKind};
use crate::link::{Export, Resolve, ShortName};

/// Modules in the order in which they were loaded.
type Order = Vec<TryArc<Version>>;

/// Every module that is loaded: a moment's picture, cheap to take.
#[derive(Clone, Default)]
pub(super) struct Scope(Option<TryArc<Order>>);

impl Scope {
    /// The modules, in the order in which they were loaded.
    pub(super) fn versions(&self) -> &[TryArc<Version>] {
        self.0.as_ref().map_or(&[], |order| order)
    }

    /// A picture of its own, with room for so many modules more.
    #[inline(never)]
    fn copy(&self, more: usize) -> Result<Order, AllocError> {
        let mut order = try_with_capacity(self.versions().len().saturating_add(more))?;
        order.extend_from_slice(self.versions());
        Ok(order)
    }

    /// Makes this a picture that nobody else has, which can be changed.
    fn separate(&mut self) -> Result<(), AllocError> {
        if self.0.as_mut().is_some_and(|order| order.get_mut().is_none()) {
            self.0 = Some(TryArc::new(self.copy(0)?)?);
        }
        Ok(())
    }

    /// Takes a module out of a picture that is [separate](Self::separate).
    fn remove(&mut self, handle: ModuleHandle) {
        if let Some(order) = self.0.as_mut().and_then(TryArc::get_mut) {
            order.retain(|version| version.handle != handle);
        }
    }

    /// The first module that exports `name` for certain, else the first that does weakly.
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

/// A place for a module.
#[derive(Default)]
struct Slot {
    generation: u32,
    version: Option<TryArc<Version>>,
    /// How many modules import from it, retired ones included.
    needed: u32,
    /// How many of those refer to its data.
    data_needed: u32,
}

/// Data that a module which is being loaded will refer to.
struct Claimed {
    /// Of the claim.
    number: u64,
    handle: ModuleHandle,
    datum: Datum,
    by: ShortName,
}

struct HostSymbol {
    name: Box<[u8]>,
    address: u64,
}

/// A resolver of the host.
pub(super) type HostResolver = Shared<dyn Resolve + Send + Sync>;

/// Versions on the way to be known.
pub(super) struct Entering {
    rooms: Vec<UninitArc<Version>>,
    order: Order,
    scope: UninitArc<Order>,
    replaced: Option<TryArc<Version>>,
}

#[derive(Default)]
pub(super) struct State {
    slots: Vec<Slot>,
    free: Vec<u32>,
    scope: Scope,
    hasher: DefaultHashBuilder,
    /// From a module's name to its slot.
    names: HashTable<u32>,
    host: HashTable<HostSymbol>,
    pub(super) process: Option<HostResolver>,
    pub(super) fallback: Option<HostResolver>,
    pub(super) retired: RetiredVersions,
    /// What is to stay where it is although nobody refers to it yet.
    claimed: Vec<Claimed>,
    /// How many claims there have been.
    claims: u64,
}

impl State {
    /// Without modules. The names have room for a few: what makes more is not small, and most processes
    /// never need it.
    pub(super) fn new() -> Result<Self, AllocError> {
        let mut state = Self::default();
        state.names.try_reserve(1, |_| 0).map_err(|_| AllocError)?;
        Ok(state)
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope.clone()
    }

    fn slot(&self, handle: ModuleHandle) -> Result<&Slot, LoadError> {
        let slot = usize::try_from(handle.slot).ok().and_then(|slot| self.slots.get(slot));
        let live =
            slot.filter(|slot| slot.generation == handle.generation && slot.version.is_some());
        live.ok_or(LoadError::Stale { handle })
    }

    fn slot_mut(&mut self, handle: ModuleHandle) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::try_from(handle.slot).ok()?)?;
        (slot.generation == handle.generation).then_some(slot)
    }

    pub(super) fn version(&self, handle: ModuleHandle) -> Result<&TryArc<Version>, LoadError> {
        self.slot(handle)?.version.as_ref().ok_or(LoadError::Stale { handle })
    }

    pub(super) fn by_name(&self, name: &[u8]) -> Option<ModuleHandle> {
        let version = |slot: u32| self.slots.get(usize::try_from(slot).ok()?)?.version.as_ref();
        let is_it = |slot: &u32| version(*slot).is_some_and(|version| **version.name == *name);
        let slot = self.names.find(self.hasher.hash_one(name), is_it)?;
        version(*slot).map(|version| version.handle)
    }

    pub(super) fn host_symbol(&self, name: &[u8]) -> Option<u64> {
        let found = self.host.find(self.hasher.hash_one(name), |symbol| *symbol.name == *name);
        found.map(|symbol| symbol.address)
    }

    /// Sets a symbol of the host; returns the address it had.
    pub(super) fn define(&mut self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        let hasher = &self.hasher;
        let rehash = |symbol: &HostSymbol| hasher.hash_one(&*symbol.name);
        let is_it = |symbol: &HostSymbol| *symbol.name == *name;
        self.host.try_reserve(1, rehash).map_err(|_| AllocError)?;
        match self.host.entry(hasher.hash_one(name), is_it, rehash) {
            Entry::Occupied(mut old) => {
                Ok(Some(core::mem::replace(&mut old.get_mut().address, address)))
            }
            Entry::Vacant(place) => {
                place.insert(HostSymbol { name: try_copy_bytes(name)?, address });
                Ok(None)
            }
        }
    }

    /// A slot for a module to come. Given back by [`give_back`](Self::give_back) or filled by
    /// [`enter`](Self::enter).
    pub(super) fn take_slot(&mut self) -> Result<ModuleHandle, LoadError> {
        if let Some(slot) = self.free.pop() {
            let found = usize::try_from(slot).ok().and_then(|slot| self.slots.get(slot));
            return Ok(ModuleHandle { slot, generation: found.map_or(0, |slot| slot.generation) });
        }
        let slot = u32::try_from(self.slots.len()).map_err(|_| LoadError::OutOfMemory)?;
        self.slots.try_reserve(1).map_err(|_| LoadError::OutOfMemory)?;
        // Every slot may be given back.
        let all = self.slots.len().saturating_add(1);
        self.free.try_reserve(all - self.free.len()).map_err(|_| LoadError::OutOfMemory)?;
        // So that no handle is 0.
        self.slots.push(Slot { generation: 1, ..Slot::default() });
        Ok(ModuleHandle { slot, generation: 1 })
    }

    pub(super) fn give_back(&mut self, handle: ModuleHandle) {
        self.free.push(handle.slot);
    }

    /// Everything that it takes to make so many versions known, so that nothing can fail afterwards as
    /// long as the lock is held.
    pub(super) fn prepare(&mut self, count: usize) -> Result<Entering, AllocError> {
        let Self { slots, hasher, names, scope, .. } = self;
        let rehash = |slot: &u32| name_hash(slots, hasher, *slot);
        names.try_reserve(count, rehash).map_err(|_| AllocError)?;
        let mut rooms = try_with_capacity(count)?;
        for _ in 0..count {
            rooms.push(UninitArc::new()?);
        }
        Ok(Entering { rooms, order: scope.copy(count)?, scope: UninitArc::new()?, replaced: None })
    }

    /// Makes a version known: in a slot that was taken, or in place of the one that is there.
    pub(super) fn enter(&mut self, entering: &mut Entering, version: Version) {
        let Some(room) = entering.rooms.pop() else { return };
        let version = room.fill(version);
        self.count_needs(&version, 1);
        let handle = version.handle;
        let old = self.slot_mut(handle).and_then(|slot| slot.version.replace(version.clone()));
        let order = &mut entering.order;
        let place = old.as_ref().and_then(|_| order.iter_mut().find(|v| v.handle == handle));
        match place {
            Some(place) => *place = version,
            None => {
                order.push(version.clone());
                self.enter_name(&version);
            }
        }
        if entering.replaced.is_none() {
            entering.replaced = old;
        }
    }

    /// Lets everybody find the versions that were entered. Returns the one in whose place the first is.
    pub(super) fn show(&mut self, entered: Entering) -> Option<TryArc<Version>> {
        let Entering { order, scope, replaced, .. } = entered;
        self.scope = Scope(Some(scope.fill(order)));
        replaced
    }

    fn enter_name(&mut self, version: &Version) {
        let Self { slots, hasher, names, .. } = self;
        let rehash = |slot: &u32| name_hash(slots, hasher, *slot);
        names.insert_unique(hasher.hash_one(&*version.name), version.handle.slot, rehash);
    }

    fn count_needs(&mut self, version: &Version, by: i32) {
        for need in &version.needs {
            let Some(slot) = self.slot_mut(need.handle) else { continue };
            slot.needed = slot.needed.wrapping_add_signed(by);
            if !need.data.is_empty() {
                slot.data_needed = slot.data_needed.wrapping_add_signed(by);
            }
        }
    }

    /// The data of a module that others refer to or [claim](Self::claim), and who does. The module itself is
    /// none of them.
    pub(super) fn data_in_use(
        &self,
        handle: ModuleHandle,
    ) -> impl Iterator<Item = (&Datum, ShortName)> {
        let is_used = self.slot(handle).is_ok_and(|slot| slot.data_needed != 0);
        let users = is_used.then(|| self.users_of(handle)).into_iter().flatten();
        let used =
            users.flat_map(|(user, data)| data.iter().map(|datum| (datum, user.short_name())));
        let claimed = self.claimed.iter().filter(move |claimed| claimed.handle == handle);
        used.chain(claimed.map(|claimed| (&claimed.datum, claimed.by)))
    }

    /// Claims data of modules, by name, where it is now. The number of the claim; `None` when there is no
    /// memory for one.
    pub(super) fn claim<'n>(
        &mut self,
        needs: impl Iterator<Item = (ModuleHandle, impl Iterator<Item = &'n SharedBytes>)>,
        by: ShortName,
    ) -> Option<u64> {
        let number = self.claims;
        self.claims += 1;
        for (handle, names) in needs {
            // One that is gone is for the next try to miss.
            let Ok(version) = self.version(handle).cloned() else { continue };
            for name in names {
                let found = version.body.find(name);
                let Some(export) = found.filter(|e| e.kind != SymbolKind::Function) else {
                    continue;
                };
                if self.claimed.try_reserve(1).is_err() {
                    self.release(number);
                    return None;
                }
                let datum = Datum { name: name.clone(), address: export.address };
                self.claimed.push(Claimed { number, handle, datum, by });
            }
        }
        Some(number)
    }

    /// Ends a claim.
    pub(super) fn release(&mut self, number: u64) {
        self.claimed.retain(|claimed| claimed.number != number);
    }

    /// Who imports from a module, retired ones included, and what data.
    fn users_of(&self, handle: ModuleHandle) -> impl Iterator<Item = (&Version, &[Datum])> {
        let retired = self.retired.versions();
        self.scope.versions().iter().chain(retired).filter_map(move |version| {
            let need = version.needs.iter().find(|need| need.handle == handle)?;
            Some((&**version, &*need.data))
        })
    }

    /// Takes modules away that nobody holds and that only each other import from. They are retired.
    pub(super) fn remove(
        &mut self,
        handles: &[ModuleHandle],
        domains: &Domains,
    ) -> Result<(), LoadError> {
        for handle in handles {
            let version = self.version(*handle)?;
            let pins = version.pins.load(Relaxed);
            if pins != 0 {
                return Err(LoadError::Pinned { module: version.short_name(), pins });
            }
            if self.slot(*handle)?.needed != 0 {
                let mut users = self.users_of(*handle);
                let outside = users.find(|(user, _)| !Self::is_one_of(user, handles));
                if let Some((user, _)) = outside {
                    let (module, by) = (version.short_name(), user.short_name());
                    return Err(LoadError::Needed { module, by });
                }
            }
        }
        self.retired.try_reserve(handles.len())?;
        self.scope.separate()?;
        for handle in handles {
            self.remove_one(*handle, domains);
        }
        Ok(())
    }

    /// Whether a version, present or retired, is of one of these modules and is not held.
    fn is_one_of(user: &Version, handles: &[ModuleHandle]) -> bool {
        handles.contains(&user.handle) && user.pins.load(Relaxed) == 0
    }

    fn remove_one(&mut self, handle: ModuleHandle, domains: &Domains) {
        let hash = self.version(handle).map(|version| self.hasher.hash_one(&*version.name));
        if let Ok(Ok(entry)) = hash.map(|h| self.names.find_entry(h, |slot| *slot == handle.slot)) {
            entry.remove();
        }
        self.scope.remove(handle);
        let Some(slot) = self.slot_mut(handle) else { return };
        let version = slot.version.take();
        (slot.needed, slot.data_needed) = (0, 0);
        // A slot whose numbers are used up is left empty.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(handle.slot);
        }
        if let Some(version) = version {
            self.retired.unload(handle);
            self.retired.push(version, Vec::new(), Cause::Unloaded, domains);
        }
    }

    /// Takes out the retired versions that no thread can reach. What a newer version uses of the memory of
    /// one stays until that is freed as well.
    pub(super) fn take_unreachable(&mut self, domains: &Domains) -> Vec<Retired> {
        let unreachable = self.retired.take_unreachable(domains);
        for retired in &unreachable {
            self.count_needs(retired.version(), -1);
        }
        unreachable
    }
}

/// The hash of the name of the module in a slot.
fn name_hash(slots: &[Slot], hasher: &DefaultHashBuilder, slot: u32) -> u64 {
    let slot = usize::try_from(slot).ok().and_then(|slot| slots.get(slot));
    let version = slot.and_then(|slot| slot.version.as_ref());
    version.map_or(0, |version| hasher.hash_one(&*version.name))
}
