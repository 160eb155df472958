//! Replacement of a module by a new version.
//!
//! The new version is mapped and linked next to the old one and takes over its data if requested. Then one store to the
//! root of the stub table redirects all callers. A failure before that store leaves the old version unchanged.

use alloc::vec::Vec;
use core::cell::Cell;

use super::bytes::{ModuleBytes, ParsedModule, ReplaceError};
use super::commit::{Commit, DataReservation, retry};
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::inner::Inner;
use super::load_set::{LinkedMember, LoadSet};
use super::migrate::{self, Migrated};
use super::module_loader::ModuleLoader;
use super::module_ref::ModuleRef;
use super::options::UnresolvedImport;
use super::retired::RetireCause;
use super::state::{Scope, State};
use super::stub_table::{Redirection, StubTable};
use super::version::{Body, ImportedDatum, Version, VersionStubs, check_address};
use crate::alloc_util::sort::sort_by;
use crate::alloc_util::{AllocError, SharedBytes, TryArc, try_collect, try_push};
use crate::format::SymbolKind;
use crate::link::{DataSymbol, Name};

/// What happens to the data of the old version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateMigration {
    /// Data with the same name and size in both versions is copied: each symbol in a writable section whose name is
    /// unique in its version and whose bytes the linker has not written into. Addresses that the program has stored are
    /// copied unchanged; addresses in the old version must not be among them.
    ///
    /// Data that another module imports, or is about to import, is not copied. It stays in the memory of the old version,
    /// which is kept as long, and the new version uses it there. This requires that both versions export it with
    /// one size, that the linker writes no address into it, and that relocations of the new version reach it by name.
    #[default]
    Copy,
    /// The new version starts with its initial data. Refused if another module imports data.
    Reset,
}

/// The result of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The copied data.
    pub migrated: Migrated,
    /// The number of data symbols that stay in place because other modules refer to them.
    pub kept: u32,
}

impl ModuleLoader {
    /// Replaces a module by a new version. Modules that import its functions and callers of [resolved](Self::resolve)
    /// addresses call the new version from then on; the handle stays valid. Threads inside the old version finish there;
    /// [`collect`](Self::collect) says when its memory is freed.
    ///
    /// No thread may write to data while it is copied. Data that stays in place has no such restriction.
    ///
    /// # Errors
    /// [`LoadError`]; the old version is unchanged. [`LoadError::NotReloadable`] if the file does not allow it;
    /// [`LoadError::FunctionRemoved`] if the new version lacks a function with a stub; [`LoadError::DataInUse`] if imported
    /// data cannot [stay in place](StateMigration::Copy); [`LoadError::ReplacedCodeLimit`] beyond
    /// [`max_replaced_bytes`](super::LoaderOptions::max_replaced_bytes); and every error of [`load`](Self::load).
    pub fn reload(
        &self,
        handle: ModuleHandle,
        bytes: ModuleBytes,
        migration: StateMigration,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
    ) -> Result<Reloaded> {
        let loader = self.inner();
        // An unloaded module counts as an importer until it is freed.
        loader.collect();
        let reloaded = self.get(handle).and_then(|old| {
            // `old` is dropped before the second collection, which may free it.
            let name = &old.version().name;
            let parsed = ParsedModule::parse(name, bytes)?;
            retry(loader, name, |reservation| {
                loader.reload_once(&old, &parsed, migration, unresolved, reservation)
            })
        });
        loader.collect();
        reloaded
    }
}

impl Inner {
    fn reload_once(
        &self,
        old: &ModuleRef<'_>,
        parsed: &ParsedModule,
        migration: StateMigration,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
        reservation: &mut DataReservation<'_>,
    ) -> Result<Reloaded> {
        let (old, handle) = (old.version(), old.handle());
        let Some(VersionStubs { table, .. }) = &old.stubs else {
            return Err(LoadError::NotReloadable { module: old.error_name() });
        };
        let in_use = self.data_in_use(old, migration)?;
        let mut set = LoadSet::new(self, self.state().scope(), Some(handle));
        in_use.map(&mut set, old, parsed, table)?;
        let (scope, mut members) = set.link(unresolved)?;
        self.check_duplicates(&scope, &members, Some(handle))?;
        let Some(new) = members.first_mut() else { return Err(LoadError::OutOfMemory) };
        let migrated = match (&old.body, migration) {
            (Body::Linked(from), StateMigration::Copy) => {
                migrate::copy_data(&old.name, from, &new.module)?
            }
            _ => Migrated::default(),
        };
        let redirection = redirect(table, &old.name, new)?;
        let version = redirection.version();
        new.stubs = Some(VersionStubs { table: table.clone(), version });
        new.data_owners = in_use.owners(old)?;
        self.replace(old, &scope, members, (redirection, &in_use), reservation)?;
        let kept = u32::try_from(in_use.0.len()).unwrap_or(u32::MAX);
        Ok(Reloaded { migrated, kept })
    }

    /// The data of a version that other modules import, unless it is to be reset.
    fn data_in_use(&self, old: &TryArc<Version>, migration: StateMigration) -> Result<DataInUse> {
        let state = self.state();
        // The data may have moved to a newer version.
        check_current(&state, old)?;
        self.check_replaced_bytes(&state, old)?;
        let in_use = DataInUse::of(&state, old.handle)?;
        match (in_use.0.first(), migration) {
            (Some(first), StateMigration::Reset) => Err(first.error(old)),
            _ => Ok(in_use),
        }
    }

    /// Commits the new version, if nothing relevant has changed.
    fn replace(
        &self,
        old: &TryArc<Version>,
        scope: &Scope,
        members: Vec<LinkedMember>,
        (redirection, in_use): (Redirection<'_>, &DataInUse),
        reservation: &mut DataReservation<'_>,
    ) -> Result<()> {
        let handle = old.handle;
        let mut state = self.state();
        check_current(&state, old)?;
        self.check_commit(&mut state, scope, &members, Some(handle), reservation)?;
        let mut users = state.data_in_use(handle);
        if let Some((_, by)) = users.find(|(datum, _)| !in_use.contains(datum)) {
            // Another thread has imported more data; the next attempt includes it.
            return Err(LoadError::Changed { module: Name::from(by) });
        }
        drop(users);
        self.check_replaced_bytes(&state, old)?;
        state.retired.try_reserve(1)?;
        let mut commit = Commit::prepare(&mut state, &members)?;
        commit.allocate_slots(&mut state, Some(handle))?;
        let cause = RetireCause::Replaced { uncounted: redirection.has_stubs() };
        let tables = redirection.commit();
        if let Some(replaced) = commit.finish(&mut state, members) {
            state.retired.push(replaced, tables, cause, &self.domains);
        }
        Ok(())
    }

    /// Checks the limit of replaced versions in memory. A single one is always allowed.
    fn check_replaced_bytes(&self, state: &State, old: &Version) -> Result<()> {
        let limit = self.context.options.max_replaced_bytes;
        let bytes = state.retired.replaced_bytes();
        if bytes != 0 && bytes.saturating_add(old.memory_bytes()) > limit {
            return Err(LoadError::ReplacedCodeLimit { module: old.error_name(), bytes, limit });
        }
        Ok(())
    }
}

/// Prepares the redirection of the stubs in `table`, those of the module `name`, to `new`.
fn redirect<'t>(
    table: &'t StubTable,
    name: &SharedBytes,
    new: &LinkedMember,
) -> Result<Redirection<'t>> {
    let refusal = Cell::new(None);
    let function = |symbol: &[u8]| {
        let export = new.module.find(symbol)?;
        if export.address == 0 {
            refusal.set(new.module.refusal(symbol));
            return None;
        }
        (export.kind == SymbolKind::Function).then_some(export.address)
    };
    let redirection = table.prepare(name, function);
    check_address(name, refusal.get())?;
    redirection
}

/// The data of a module that other modules refer to, sorted by name.
struct DataInUse(Vec<UsedDatum>);

struct UsedDatum {
    datum: ImportedDatum,
    /// The name of the importing module.
    by: SharedBytes,
}

impl UsedDatum {
    /// The error that the datum cannot stay in place.
    fn error(&self, module: &Version) -> LoadError {
        let (symbol, by) = (Name::from(&self.datum.name), Name::from(&self.by));
        LoadError::DataInUse { module: module.error_name(), symbol, by }
    }
}

impl DataInUse {
    fn of(state: &State, handle: ModuleHandle) -> Result<Self, AllocError> {
        let data = state.data_in_use(handle);
        let data = data.map(|(datum, by)| UsedDatum { datum: datum.clone(), by: by.clone() });
        let mut data = try_collect(data)?;
        sort_by(&mut data, |one, two| *one.datum.name < *two.datum.name);
        data.dedup_by(|one, two| one.datum == two.datum);
        Ok(Self(data))
    }

    /// Maps a new version that leaves the data in place.
    fn map(
        &self,
        set: &mut LoadSet<'_>,
        old: &Version,
        parsed: &ParsedModule,
        table: &TryArc<StubTable>,
    ) -> Result<()> {
        let from = old.linked().ok_or(LoadError::Stale { handle: old.handle })?;
        let data = self.0.iter().map(|UsedDatum { datum, .. }| DataSymbol {
            name: &datum.name,
            address: datum.address,
            from,
        });
        let data = try_collect(data)?;
        let mapped = set.map_version(old.name.clone(), parsed.clone(), table.clone(), &data);
        mapped.map_err(|error| match error {
            ReplaceError::Datum(index) => match self.0.get(index) {
                Some(used) => used.error(old),
                None => LoadError::OutOfMemory,
            },
            ReplaceError::Load(error) => error,
        })
    }

    /// The versions whose memory contains the data.
    fn owners(&self, old: &TryArc<Version>) -> Result<Vec<TryArc<Version>>> {
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

    fn contains(&self, datum: &ImportedDatum) -> bool {
        let found = self.0.binary_search_by(|used| used.datum.name.cmp(&datum.name));
        found.ok().and_then(|at| self.0.get(at)).is_some_and(|used| used.datum == *datum)
    }
}

fn check_current(state: &State, then: &TryArc<Version>) -> Result<()> {
    match state.version(then.handle) {
        Ok(now) if now.ptr_eq(then) => Ok(()),
        _ => Err(LoadError::Changed { module: then.error_name() }),
    }
}
