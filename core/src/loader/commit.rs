//! The last step of loading and replacing modules: the check that nothing relevant has changed, and the insertion.

use alloc::vec::Vec;

use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::inner::Inner;
use super::load_set::{Exporter, LinkedMember};
use super::options::DuplicateExports;
use super::state::{PendingInsert, Scope, State};
use super::version::{Body, Dependency, ImportedDatum, Version};
use crate::alloc_util::{TryArc, try_with_capacity};
use crate::format::{Binding, Symbol};
use crate::link::Name;
use crate::memory::lock::Lock;

/// The maximum number of attempts when modules that a module was linked with are replaced or unloaded meanwhile. Moved
/// data causes at most one more attempt, because a [`DataReservation`] fixes it.
const MAX_ATTEMPTS: u32 = 16;

/// Runs `attempt` for the module `name`, again while only changes of other modules make it fail.
pub(super) fn retry<T>(
    loader: &Inner,
    name: &[u8],
    mut attempt: impl FnMut(&mut DataReservation<'_>) -> Result<T>,
) -> Result<T> {
    let mut reservation = DataReservation { loader, number: None };
    let mut left = MAX_ATTEMPTS;
    loop {
        left -= 1;
        match attempt(&mut reservation) {
            Err(error) if left > 0 && error.is_transient(name) => {}
            done => return done,
        }
    }
}

/// Fixes data of other modules that had moved before it could be imported. While the reservation lasts, a replacement of
/// those modules leaves the data in place, as if it had been imported, so the next attempt finds it. No thread waits, not
/// even for a resolver of the host that replaces such a module itself.
pub(super) struct DataReservation<'l> {
    loader: &'l Inner,
    number: Option<u64>,
}

impl DataReservation<'_> {
    /// Reserves all data that `members` import, at its current addresses.
    fn renew(&mut self, state: &mut State, members: &[LinkedMember]) {
        if let Some(number) = self.number.take() {
            state.release_data(number);
        }
        let Some(first) = members.first() else { return };
        let dependencies = members.iter().flat_map(|member| &member.dependencies);
        let data = dependencies.filter_map(|dependency| match dependency.exporter {
            Exporter::Loaded(handle) => {
                Some((handle, dependency.data.iter().map(|datum| &datum.name)))
            }
            Exporter::Member(_) => None,
        });
        self.number = state.reserve_data(data, &first.name);
    }
}

impl Drop for DataReservation<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.loader.state().release_data(number);
        }
    }
}

impl Inner {
    /// Refuses members that export what another module exports, if the options say so.
    pub(super) fn check_duplicates(
        &self,
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
    ) -> Result<()> {
        if self.context.options.duplicate_exports == DuplicateExports::FirstWins {
            return Ok(());
        }
        for (number, member) in members.iter().enumerate() {
            let earlier = members.get(..number).unwrap_or_default();
            let symbols = member.module.linked().symbols();
            let is_strong =
                |symbol: &Symbol<'_>| symbol.is_export() && symbol.binding != Binding::Weak;
            let strong = symbols.iter().map_while(Result::ok).filter(is_strong);
            let strong = strong.map(|symbol| symbol.name());
            for name in strong.chain(member.module.bytecode_functions().map(|(name, _)| name)) {
                let Some(other) = duplicate(scope, earlier, replaced, name) else { continue };
                let module = Name::from(&member.name);
                let error = |symbol| LoadError::DuplicateExport { symbol, module, other };
                return Err(LoadError::named(name, error));
            }
        }
        Ok(())
    }

    /// Adds new modules. Returns the handle of the first.
    pub(super) fn commit(
        &self,
        scope: &Scope,
        members: Vec<LinkedMember>,
        reservation: &mut DataReservation<'_>,
    ) -> Result<ModuleHandle> {
        let mut state = self.state();
        self.check_commit(&mut state, scope, &members, None, reservation)?;
        let mut commit = Commit::prepare(&mut state, &members)?;
        commit.allocate_slots(&mut state, None)?;
        let first = commit.handles.first().copied().ok_or(LoadError::OutOfMemory)?;
        commit.finish(&mut state, members);
        Ok(first)
    }

    /// Checks that the assumptions under which the members were linked still hold: the names of new ones are free, their
    /// dependencies have not changed, and there is no new duplicate export. The first member replaces `replaced`. Data
    /// that has moved is reserved in `reservation`. A provider that another thread has loaded meanwhile is
    /// [`LoadError::Changed`]: the next attempt finds it.
    pub(super) fn check_commit(
        &self,
        state: &mut State,
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
        reservation: &mut DataReservation<'_>,
    ) -> Result<()> {
        let checked = self.check_assumptions(state, scope, members, replaced);
        checked.inspect_err(|_| reservation.renew(state, members))
    }

    fn check_assumptions(
        &self,
        state: &State,
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
    ) -> Result<()> {
        let mut new = members.iter().enumerate().skip(usize::from(replaced.is_some()));
        if let Some((number, member)) = new.find(|(_, m)| state.by_name(&m.name).is_some()) {
            let module = Name::from(&member.name);
            let was_free = scope.versions().iter().all(|version| version.name != member.name);
            return Err(match number {
                1.. if was_free => LoadError::Changed { module },
                _ => LoadError::NameTaken { module },
            });
        }
        if state.scope().is(scope) {
            return Ok(());
        }
        for dependency in members.iter().flat_map(|member| &member.dependencies) {
            let Exporter::Loaded(handle) = dependency.exporter else { continue };
            let mut versions = scope.versions().iter();
            let Some(then) = versions.find(|version| version.handle == handle) else { continue };
            // A function of a new version has the same stub; a datum moves unless it is already imported.
            let is_unchanged = state.version(handle).is_ok_and(|now| {
                let in_place = |datum: &ImportedDatum| {
                    now.body.find(&datum.name).map(|export| export.address) == Some(datum.address)
                };
                now.ptr_eq(then) || dependency.data.iter().all(in_place)
            });
            if !is_unchanged {
                return Err(LoadError::Changed { module: then.error_name() });
            }
        }
        self.check_duplicates(&state.scope(), members, replaced)
    }
}

/// The name of a loaded module or an earlier member with a strong export called `name`.
fn duplicate(
    scope: &Scope,
    earlier: &[LinkedMember],
    replaced: Option<ModuleHandle>,
    name: &[u8],
) -> Option<Name> {
    let loaded = scope.find_except(name, replaced).filter(|(_, export)| export.is_strong());
    if let Some((version, _)) = loaded {
        return Some(version.error_name());
    }
    let exports = |member: &&LinkedMember| member.module.find(name).is_some_and(|e| e.is_strong());
    earlier.iter().find(exports).map(|member| Name::from(&member.name))
}

/// The insertion of linked modules, with all allocations made in advance.
pub(super) struct Commit {
    pending: PendingInsert,
    /// Of each member.
    handles: Vec<ModuleHandle>,
    dependencies: Vec<Vec<Dependency>>,
}

impl Commit {
    /// Makes all allocations except [slots](Self::allocate_slots).
    pub(super) fn prepare(state: &mut State, members: &[LinkedMember]) -> Result<Self> {
        let mut dependencies = try_with_capacity(members.len())?;
        for member in members {
            dependencies.push(try_with_capacity(member.dependencies.len())?);
        }
        let handles = try_with_capacity(members.len())?;
        Ok(Self { pending: state.prepare(members.len())?, handles, dependencies })
    }

    /// Allocates a slot for each member, or none; the first member has the slot of `replaced`.
    pub(super) fn allocate_slots(
        &mut self,
        state: &mut State,
        replaced: Option<ModuleHandle>,
    ) -> Result<()> {
        self.handles.extend(replaced);
        while self.handles.len() < self.dependencies.len() {
            match state.allocate_slot() {
                Ok(handle) => self.handles.push(handle),
                Err(error) => {
                    let allocated = self.handles.drain(..).skip(usize::from(replaced.is_some()));
                    allocated.for_each(|handle| state.free_slot(handle));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Inserts and publishes the modules. Returns the version that the first replaced.
    pub(super) fn finish(
        self,
        state: &mut State,
        members: Vec<LinkedMember>,
    ) -> Option<TryArc<Version>> {
        let Self { mut pending, handles, dependencies } = self;
        for ((member, &handle), mut dependencies) in
            members.into_iter().zip(&handles).zip(dependencies)
        {
            let resolved = member.dependencies.into_iter();
            dependencies.extend(resolved.filter_map(|dependency| dependency.resolve(&handles)));
            let version = Version {
                name: member.name,
                handle,
                registration: Lock::new(member.registration),
                body: Body::Linked(member.module),
                dependencies,
                stubs: member.stubs,
                data_owners: Lock::new(member.data_owners),
                pins: Default::default(),
            };
            state.insert(&mut pending, version);
        }
        state.publish(pending)
    }
}
