//! The last step of loading and replacing modules: the check that nothing relevant has changed, and the insertion.

use alloc::vec::Vec;

use super::bytecode::Bytecode;
use super::bytes::LinkedModule;
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::init::in_order;
use super::inner::ModuleLoader;
use super::module_ref::ModuleRef;
use super::options::DuplicateExports;
use super::state::{Scope, State};
use super::version::{ImportedDatum, Version};
use crate::alloc_util::{AllocError, TryArc, try_collect, try_with_capacity};
use crate::format::{Binding, Symbol};
use crate::link::Name;

/// The maximum number of attempts when modules that a module was linked with are replaced or unloaded meanwhile. Moved
/// data causes at most one more attempt, because a [`DataReservation`] fixes it.
const MAX_ATTEMPTS: u32 = 16;

/// Runs `attempt` for the module `name`, again while only changes of other modules make it fail.
pub(super) fn retry<T>(
    loader: &ModuleLoader,
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
    loader: &'l ModuleLoader,
    number: Option<u64>,
}

impl DataReservation<'_> {
    /// Reserves all data that `members` import, at its current addresses.
    fn renew(&mut self, state: &mut State, members: &[TryArc<Version>]) {
        if let Some(number) = self.number.take() {
            state.release_data(number);
        }
        let Some(first) = members.first() else { return };
        let dependencies = members.iter().flat_map(|member| &member.dependencies);
        let data = dependencies.flat_map(|of| of.data.iter().map(|datum| (of.handle, datum)));
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

impl ModuleLoader {
    /// Refuses members that export what another module exports, if the options say so. Those in `known` have been compared
    /// before.
    pub(super) fn check_duplicates(
        &self,
        scope: &Scope,
        known: &Scope,
        members: &[TryArc<Version>],
        replaced: Option<ModuleHandle>,
    ) -> Result<()> {
        if self.context.options.duplicate_exports == DuplicateExports::FirstWins {
            return Ok(());
        }
        let is_new = |version: &&TryArc<Version>| {
            Some(version.handle) != replaced && !known.contains(version)
        };
        let others = try_collect(scope.versions().iter().filter(is_new))?;
        for (number, member) in members.iter().enumerate() {
            let earlier = members.get(..number).unwrap_or_default();
            let Some(module) = member.body.linked() else { continue };
            let is_strong =
                |symbol: &Symbol<'_>| symbol.is_export() && symbol.binding != Binding::Weak;
            let symbols = module.linked().symbols().iter().map_while(Result::ok).filter(is_strong);
            let functions = module.bytecode().into_iter().flat_map(Bytecode::functions);
            let names = symbols.map(|symbol| symbol.name()).chain(functions.map(|(name, _)| name));
            for name in names {
                let mut others = others.iter().copied().chain(earlier);
                let exports = |version: &&TryArc<Version>| {
                    version.body.find(name).is_some_and(|e| e.is_strong())
                };
                let Some(other) = others.find(exports) else { continue };
                let (module, other) = (member.name.clone(), other.name.clone());
                let error = |symbol| LoadError::DuplicateExport { symbol, module, other };
                return Err(Name::in_error(name, error));
            }
        }
        Ok(())
    }

    /// Adds new modules. Returns the handle of the first, and holds those with the numbers in `hold`, in that order, for
    /// the calling thread to run their constructors.
    pub(super) fn commit(
        &self,
        scope: &Scope,
        members: Vec<TryArc<Version>>,
        hold: &[usize],
        reservation: &mut DataReservation<'_>,
    ) -> Result<(ModuleHandle, Vec<ModuleRef<'_>>)> {
        let mut held = try_with_capacity(hold.len())?;
        let bindings = self.forward.bindings(&members, None)?;
        let mut state = self.state();
        self.check_commit(&mut state, scope, &members, None, reservation)?;
        let binding = self.forward.start_binding(bindings, &members)?;
        let (count, pending) = (members.len(), state.prepare(members.len(), None)?);
        let announced = in_order(&members, hold).filter_map(|version| version.body.linked());
        announced.for_each(LinkedModule::announce_constructors);
        binding.bind(&pending.handles);
        let (first, _) = state.insert(pending, members).ok_or(AllocError)?;
        // New modules come last in the load order.
        let scope = state.scope();
        let versions = scope.versions();
        let new = versions.get(versions.len().saturating_sub(count)..).unwrap_or_default();
        let new = hold.iter().filter_map(|member| new.get(*member));
        held.extend(new.map(|version| ModuleRef::new(self, version.clone())));
        Ok((first, held))
    }

    /// Checks that the assumptions under which the members were linked still hold: the names of new ones are free, their
    /// dependencies have not changed, and there is no new duplicate export. The first member replaces `replaced`. Data
    /// that has moved is reserved in `reservation`. A provider that another thread has loaded meanwhile is
    /// [`LoadError::Changed`]: the next attempt finds it.
    pub(super) fn check_commit(
        &self,
        state: &mut State,
        scope: &Scope,
        members: &[TryArc<Version>],
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
        members: &[TryArc<Version>],
        replaced: Option<ModuleHandle>,
    ) -> Result<()> {
        let mut new = members.iter().enumerate().skip(usize::from(replaced.is_some()));
        if let Some((number, member)) = new.find(|(_, m)| state.by_name(&m.name).is_some()) {
            let module = member.name.clone();
            let was_free = scope.versions().iter().all(|version| version.name != member.name);
            return Err(match number {
                1.. if was_free => LoadError::Changed { module },
                _ => LoadError::NameTaken { module },
            });
        }
        let current = state.scope();
        if current.is(scope) {
            return Ok(());
        }
        for dependency in members.iter().flat_map(|member| &member.dependencies) {
            if dependency.handle.as_member().is_some() {
                continue;
            }
            let mut versions = scope.versions().iter();
            // The fallback resolver may have loaded it, so that it is not in the scope.
            let then = versions.find(|version| version.handle == dependency.handle);
            let now = state.version(dependency.handle);
            // A function of a new version has the same stub; a datum moves unless it is already imported.
            let is_unchanged = now.as_ref().is_ok_and(|now| {
                let in_place = |datum: &ImportedDatum| {
                    now.body.find(&datum.name).map(|export| export.address) == Some(datum.address)
                };
                then.is_some_and(|then| now.ptr_eq(then)) || dependency.data.iter().all(in_place)
            });
            if !is_unchanged {
                let module = then.map_or(now, Ok)?.name.clone();
                return Err(LoadError::Changed { module });
            }
        }
        // A foreign module may use the loader, whose lock is held. The next attempt compares it without the lock.
        let refuses = self.context.options.duplicate_exports == DuplicateExports::Refuse;
        let is_foreign = |version: &&TryArc<Version>| {
            version.body.linked().is_none() && !scope.contains(version)
        };
        if let Some(foreign) = current.versions().iter().find(is_foreign).filter(|_| refuses) {
            return Err(LoadError::Changed { module: foreign.name.clone() });
        }
        self.check_duplicates(&current, scope, members, replaced)
    }
}
