//! A new version in the place of an old one.
//!
//! The new version is placed and linked beside the old one, takes over its data if that is wanted, and
//! only then becomes what others reach, by one store to the root of the table of entry points. Until
//! that store, whatever fails leaves the old version as it was.

use alloc::vec::Vec;
use core::cell::Cell;

use super::Missing;
use super::bytes::{ModuleBytes, ReadModule};
use super::load_set::{LinkedMember, LoadSet, ReplaceError, refuse};
use super::migrate::{self, Migrated};
use super::module_loader::{Claim, Members, ModuleLoader, read, retry};
use super::module_ref::ModuleRef;
use super::retired::Cause;
use super::state::{Scope, State};
use super::stub_table::{Redirection, StubTable};
use super::version::{Body, Datum, EntryPoints, Version};
use super::{LoadError, ModuleHandle};
use crate::alloc_util::sort::sort_by;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_push};
use crate::format::SymbolKind;
use crate::link::{ShortName, StateMigration as OldDatum};

/// What becomes of the data of the old version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateMigration {
    /// Data of one name and one size in both versions is copied into the new one: each symbol in a
    /// writable section whose name is unique in its version and in whose bytes the linker has written
    /// no address. Addresses that the program itself has stored are copied as they are: those of the
    /// old version must not be among them.
    ///
    /// Data that another module refers to by its address, or is about to, is not copied. It stays where it is, and the
    /// new version uses it there, in memory of the old one that is kept as long. That is possible where
    /// both versions export it with one size, the linker writes no address into it, and the relocations
    /// of the new version that lead to it name it.
    #[default]
    Copy,
    /// The new version begins with its own. Refused when another module refers to data.
    Reset,
}

/// How a module was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Symbols of data that were copied.
    pub moved: Migrated,
    /// How many data stay where others refer to them.
    pub kept: u32,
}

impl ModuleLoader {
    /// Replaces a module by a new version of it. Others that import functions from it call the new
    /// version from then on, and so does who has [resolved](Self::resolve) one; the handle stays.
    /// A thread that is inside the old version finishes there. [`collect`](Self::collect) says when its memory
    /// is freed.
    ///
    /// No thread should be writing to data that is moved; to what stays where it is, any thread may.
    ///
    /// # Errors
    /// [`LoadError::NotReloadable`] when its file does not allow it;
    /// [`LoadError::FunctionGone`] when the new version lacks a function that others may call;
    /// [`LoadError::DataInUse`] when another module refers to data that cannot [stay](StateMigration::Copy);
    /// [`LoadError::ReplacedCodeLimit`] when as much replaced code is in memory as
    /// [`max_replaced_bytes`](super::LoaderOptions::max_replaced_bytes) allows;
    /// everything that
    /// [`load`](Self::load) may say. The old version is then as it was.
    pub fn reload(
        &self,
        handle: ModuleHandle,
        bytes: ModuleBytes,
        old_data: StateMigration,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<Reloaded, LoadError> {
        // What was unloaded before refers to no data any more.
        self.collect();
        let reloaded = self.get(handle).and_then(|old| {
            // Held up to here: what is collected then may be the old version.
            let name = &old.version().name;
            let read = read(name, bytes)?;
            retry(self, name, |claim| self.reload_once(&old, &read, old_data, missing, claim))
        });
        self.collect();
        reloaded
    }

    fn reload_once(
        &self,
        old: &ModuleRef<'_>,
        read: &ReadModule,
        old_data: StateMigration,
        missing: &mut dyn FnMut(&Missing<'_>),
        claim: &mut Claim<'_>,
    ) -> Result<Reloaded, LoadError> {
        let (name, handle) = (&old.version().name, old.handle());
        let Some(EntryPoints { entries, .. }) = &old.version().entries else {
            return Err(LoadError::NotReloadable { module: old.version().short_name() });
        };
        let in_use = self.data_in_use(old.version(), old_data)?;
        let mut group = LoadSet::new(self, self.state().scope(), Some(handle));
        in_use.place(&mut group, old.version(), read, entries)?;
        let (scope, mut members) = group.link(missing)?;
        self.check_clashes(&scope, &members, Some(handle))?;
        let Some(new) = members.first_mut() else { return Err(LoadError::OutOfMemory) };
        let moved = match (&old.version().body, old_data) {
            (Body::Linked(from), StateMigration::Copy) => migrate::move_data(from, &new.module)?,
            _ => Migrated::default(),
        };
        let no_address = Cell::new(None);
        let function = |symbol: &[u8]| {
            let export = new.module.find(symbol)?;
            if export.address == 0 {
                no_address.set(new.module.refusal(symbol));
                return None;
            }
            (export.kind == SymbolKind::Function).then_some(export.address)
        };
        let step = entries.prepare(function);
        refuse(name, no_address.get())?;
        let step = step.map_err(|refusal| refusal.of(name))?;
        let version = step.version();
        new.entries = Some(EntryPoints { entries: entries.clone(), version });
        new.keeps = in_use.owners(old.version())?;
        self.replace(old.version(), &scope, members, (step, &in_use), claim)?;
        let kept = u32::try_from(in_use.0.len()).unwrap_or(u32::MAX);
        Ok(Reloaded { moved, kept })
    }

    /// The data of a version that others refer to, unless that is to be left behind.
    fn data_in_use(
        &self,
        old: &TryArc<Version>,
        old_data: StateMigration,
    ) -> Result<InUse, LoadError> {
        let state = self.state();
        // What others refer to by now may lie in a version after this one.
        check_unchanged(state.version(old.handle), old)?;
        self.check_replaced_bytes(&state, old)?;
        let in_use = InUse::of(&state, old.handle)?;
        match (in_use.0.first(), old_data) {
            (Some(first), StateMigration::Reset) => Err(first.error(old)),
            _ => Ok(in_use),
        }
    }

    /// Takes the step to a new version, if nothing has come in between.
    fn replace(
        &self,
        old: &TryArc<Version>,
        scope: &Scope,
        members: Vec<LinkedMember>,
        (step, in_use): (Redirection<'_>, &InUse),
        claim: &mut Claim<'_>,
    ) -> Result<(), LoadError> {
        let handle = old.handle;
        let mut state = self.state();
        check_unchanged(state.version(handle), old)?;
        let checked = self.check_commit(&state, scope, &members, Some(handle));
        checked.inspect_err(|_| claim.renew(&mut state, &members))?;
        if let Some(module) = state.data_in_use(handle).find_map(|(d, by)| in_use.lacks(d, by)) {
            // Somebody else was faster; the next attempt knows of him.
            return Err(LoadError::Changed { module });
        }
        self.check_replaced_bytes(&state, old)?;
        state.retired.try_reserve(1)?;
        let mut entering = Members::prepare(&mut state, &members)?;
        entering.take_slots(&mut state, Some(handle))?;
        let cause = Cause::Replaced { uncounted: step.has_stubs() };
        let tables = step.commit();
        if let Some(replaced) = entering.enter(&mut state, members) {
            state.retired.push(replaced, tables, cause, self.domains());
        }
        Ok(())
    }

    /// Whether one more replaced version may stay in memory. A single one always may.
    fn check_replaced_bytes(&self, state: &State, old: &Version) -> Result<(), LoadError> {
        let (bytes, limit) = (state.retired.replaced_bytes(), self.options().max_replaced_bytes);
        if bytes != 0 && bytes.saturating_add(old.memory_bytes()) > limit {
            return Err(LoadError::ReplacedCodeLimit { module: old.short_name(), bytes, limit });
        }
        Ok(())
    }
}

/// Data of a module to which others refer, sorted by name.
struct InUse(Vec<UsedDatum>);

struct UsedDatum {
    datum: Datum,
    by: ShortName,
}

impl UsedDatum {
    /// That it cannot stay where it is.
    #[cold]
    #[inline(never)]
    fn error(&self, module: &Version) -> LoadError {
        let symbol = ShortName::new(&self.datum.name);
        LoadError::DataInUse { module: module.short_name(), symbol, by: self.by }
    }
}

impl InUse {
    fn of(state: &State, handle: ModuleHandle) -> Result<Self, AllocError> {
        let data = state.data_in_use(handle).map(|(d, by)| UsedDatum { datum: d.clone(), by });
        let mut data = try_collect(data)?;
        sort_by(&mut data, |one, two| *one.datum.name < *two.datum.name);
        data.dedup_by(|one, two| one.datum == two.datum);
        Ok(Self(data))
    }

    /// Places a new version that leaves the data where it is.
    fn place(
        &self,
        group: &mut LoadSet<'_>,
        old: &Version,
        read: &ReadModule,
        entries: &TryArc<StubTable>,
    ) -> Result<(), LoadError> {
        let from = old.linked().ok_or(LoadError::Stale { handle: old.handle })?;
        let kept = self.0.iter().map(|UsedDatum { datum: Datum { name, address }, .. }| OldDatum {
            name,
            address: *address,
            from,
        });
        let kept = try_collect(kept)?;
        let placed = group.place_version(old.name.clone(), read.clone(), entries.clone(), &kept);
        placed.map_err(|error| match error {
            ReplaceError::Datum(number) => match self.0.get(number) {
                Some(used) => used.error(old),
                None => LoadError::OutOfMemory,
            },
            ReplaceError::Load(error) => error,
        })
    }

    /// The versions in whose memory the data is.
    fn owners(&self, old: &TryArc<Version>) -> Result<Vec<TryArc<Version>>, LoadError> {
        let mut owners: Vec<TryArc<Version>> = Vec::new();
        for used in &self.0 {
            let owner =
                Version::owner_of(old, used.datum.address).ok_or_else(|| used.error(old))?;
            if owners.iter().all(|other| !other.ptr_eq(&owner)) {
                try_push(&mut owners, owner)?;
            }
        }
        Ok(owners)
    }

    /// Who uses a datum that is none of these.
    fn lacks(&self, datum: &Datum, by: ShortName) -> Option<ShortName> {
        let found = self.0.binary_search_by(|used| used.datum.name.cmp(&datum.name));
        let known = found.ok().and_then(|at| self.0.get(at));
        known.is_none_or(|used| used.datum != *datum).then_some(by)
    }
}

fn check_unchanged(
    now: Result<&TryArc<Version>, LoadError>,
    then: &TryArc<Version>,
) -> Result<(), LoadError> {
    match now {
        Ok(now) if now.ptr_eq(then) => Ok(()),
        _ => Err(LoadError::Changed { module: then.short_name() }),
    }
}
