//! Replacement of a module by a new version.
//!
//! The new version is mapped and linked next to the old one, its constructors run, and it takes over the data of the old
//! one if requested. Then one store to the root of the stub table redirects all callers. The destructors of the old version
//! run when no thread can be inside it. A failure before that store leaves the old version unchanged; what can fail
//! is tried before the constructors run, except where other threads change modules meanwhile.

use alloc::vec::Vec;
use core::cell::Cell;

use super::bytes::{LinkedModule, ModuleBytes, ParsedModule};
use super::commit::{DataReservation, retry};
use super::error::{LoadError, Result};
use super::forward::Binding;
use super::handle::ModuleHandle;
use super::init::{construct, in_order, init_order, undo};
use super::inner::{Announced, ModuleLoader};
use super::load_set::LoadSet;
use super::migrate::{Migrated, Transfer, transfer_data};
use super::module_ref::ModuleRef;
use super::observer::LoadEvent;
use super::options::UnresolvedImport;
use super::retired::RetireCause;
use super::state::{Callers, Scope, State};
use super::stub_table::{Redirection, StubTable};
use super::version::{ImportedDatum, Version, VersionStubs, check_address};
use crate::alloc_util::sort::sort_by;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_push};
use crate::format::SymbolKind;
use crate::format::note::{FunctionSignature, Note};
use crate::link::{DataSymbol, Name, has_init_functions};
use crate::memory::lock::Lock;

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
    ///
    /// A module with constructors or destructors is [reset](Self::Reset) instead, unless others import data: its objects may
    /// own memory and resources, which a copy would share with the destructors of the old version. [`Migrated::reset`] counts
    /// what was not copied. Modules that contain the standard library of Rust have constructors.
    #[default]
    Copy,
    /// As [`Copy`](Self::Copy), for every module. Data is copied after the constructors of the new version have run and
    /// before the destructors of the old one. Data that stays in place is constructed a second time: the constructors of the
    /// new version write to it there.
    CopyConstructed,
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
    /// [`LoadError::FunctionRemoved`] if the new version lacks a function with a stub, [`LoadError::SignatureChanged`] if the
    /// notes of both versions state different types for it, or a struct or enum of these with other fields or variants;
    /// [`LoadError::DataInUse`] if imported data cannot [stay in place](StateMigration::Copy);
    /// [`LoadError::ConstructedDataInUse`] if it would have to be [asked for](StateMigration::CopyConstructed);
    /// [`LoadError::ReplacedCodeLimit`] beyond
    /// [`max_replaced_bytes`](super::LoaderOptions::max_replaced_bytes); and every error of [`load`](Self::load).
    pub fn reload(
        &self,
        handle: ModuleHandle,
        bytes: ModuleBytes,
        migration: StateMigration,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
    ) -> Result<Reloaded> {
        // An unloaded module counts as an importer until it is freed.
        self.collect();
        let reloaded = self.get(handle).and_then(|old| {
            // `old` is dropped before the second collection, which may free it.
            let name = &old.version().name;
            let parsed = self.parse(name, bytes)?;
            let reloaded = retry(self, name, |reservation| {
                self.reload_once(&old, &parsed, migration, unresolved, reservation)
            });
            let reloaded = self.notify_refusal(name, reloaded)?;
            let symbols = reloaded.migrated.symbols;
            let bytes = self.state().version(handle).map_or(0, |version| version.memory_bytes());
            self.notify(&LoadEvent::Reloaded { module: name, bytes, symbols });
            Ok(reloaded)
        });
        self.collect();
        reloaded
    }
}

impl ModuleLoader {
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
            return Err(LoadError::NotReloadable { module: old.name.clone() });
        };
        let transfer = transfer(migration, old, parsed);
        let in_use = self.data_in_use(old)?;
        if let Some(UsedDatum { datum, by }) = in_use.0.first() {
            let (module, symbol, by) = (old.name.clone(), datum.name.clone(), by.clone());
            match transfer {
                Transfer::Copy => {}
                Transfer::Reset => return Err(LoadError::DataInUse { module, symbol, by }),
                Transfer::Constructed => {
                    return Err(LoadError::ConstructedDataInUse { module, symbol, by });
                }
            }
        }
        let announced = Announced::new(self, &old.name, parsed.bytes());
        let scope = self.state().scope();
        let mut set = LoadSet::new(self, scope, Some(handle));
        in_use.map(&mut set, old, parsed, table)?;
        let (scope, members) = set.link(unresolved)?;
        self.check_duplicates(&scope, &Scope::default(), &members, Some(handle))?;
        let order = init_order(&members)?;
        if !order.is_empty() {
            // The lock is released before the constructors run.
            self.check_replace(&mut self.state(), old, &scope, &members, &in_use, reservation)?;
            // Nothing holds the new versions yet.
            let _inside = self.domains.pin();
            construct(self, in_order(&members, &order));
        }
        let loaded = self.names_of(members.iter().skip(1))?;
        let migrated =
            self.switch(old, &scope, members, transfer, (&in_use, &order), reservation)?;
        announced.keep();
        self.notify_loaded(&loaded);
        let kept = u32::try_from(in_use.0.len()).unwrap_or(u32::MAX);
        Ok(Reloaded { migrated, kept })
    }

    /// Migrates data and replaces the old version. If that fails, the destructors of the new modules run.
    fn switch(
        &self,
        old: &TryArc<Version>,
        scope: &Scope,
        mut members: Vec<TryArc<Version>>,
        transfer: Transfer,
        (in_use, order): (&DataInUse, &[usize]),
        reservation: &mut DataReservation<'_>,
    ) -> Result<Migrated> {
        let stubs = old.stubs.as_ref().map(|stubs| &*stubs.table);
        // Before the stubs are locked.
        let bindings = self.forward.bindings(&members, stubs);
        let prepared = bindings.and_then(|bindings| {
            Ok((bindings, prepare_switch(old, &mut members, transfer, in_use)?))
        });
        let (bindings, (migrated, redirection)) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                undo(&members, order);
                return Err(error);
            }
        };
        let switch = (redirection, bindings, in_use, order);
        self.replace(old, scope, members, switch, reservation)?;
        Ok(migrated)
    }

    /// The data of a version that other modules import.
    fn data_in_use(&self, old: &TryArc<Version>) -> Result<DataInUse> {
        let state = self.state();
        // The data may have moved to a newer version.
        check_current(&state, old)?;
        self.check_replaced_bytes(&state, old)?;
        Ok(DataInUse::of(&state, old.handle)?)
    }

    /// Checks what [`replace`](Self::replace) checks, before constructors run.
    fn check_replace(
        &self,
        state: &mut State,
        old: &TryArc<Version>,
        scope: &Scope,
        members: &[TryArc<Version>],
        in_use: &DataInUse,
        reservation: &mut DataReservation<'_>,
    ) -> Result<()> {
        let handle = old.handle;
        check_current(state, old)?;
        self.check_commit(state, scope, members, Some(handle), reservation)?;
        let mut users = state.data_in_use(handle);
        if let Some((_, by)) = users.find(|(datum, _)| !in_use.contains(datum)) {
            // Another thread has imported more data; the next attempt includes it.
            return Err(LoadError::Changed { module: by.clone() });
        }
        drop(users);
        self.check_replaced_bytes(state, old)
    }

    /// Commits the new version, if nothing relevant has changed. Otherwise the destructors of members run that are
    /// constructed.
    fn replace(
        &self,
        old: &TryArc<Version>,
        scope: &Scope,
        members: Vec<TryArc<Version>>,
        (redirection, bindings, in_use, order): (
            Redirection<'_>,
            Vec<Binding>,
            &DataInUse,
            &[usize],
        ),
        reservation: &mut DataReservation<'_>,
    ) -> Result<()> {
        let handle = old.handle;
        let mut state = self.state();
        let checked = self.check_replace(&mut state, old, scope, &members, in_use, reservation);
        let pending = checked.and_then(|()| {
            state.retired.try_reserve(1)?;
            let callers = match (self.forward.is_bound(handle), redirection.has_stubs()) {
                (true, _) => Callers::Any,
                (false, true) => Callers::Holders,
                (false, false) => Callers::Importers,
            };
            let holders = state.holders_of(handle, callers)?;
            let binding = self.forward.start_binding(bindings, &members)?;
            Ok((state.prepare(members.len(), Some(handle))?, holders, binding))
        });
        let (pending, holders, binding) = match pending {
            Ok(pending) => pending,
            Err(error) => {
                // Destructors may use the loader.
                drop((state, redirection));
                undo(&members, order);
                return Err(error);
            }
        };
        let cause = RetireCause::Replaced { uncounted: redirection.has_stubs() };
        let tables = redirection.commit();
        binding.bind(&pending.handles);
        if let Some((_, Some(replaced))) = state.insert(pending, members) {
            state.retired.push(replaced, tables, cause, holders, &self.domains);
        }
        Ok(())
    }

    /// Checks the limit of replaced versions in memory. A single one is always allowed.
    fn check_replaced_bytes(&self, state: &State, old: &Version) -> Result<()> {
        let limit = self.context.options.max_replaced_bytes;
        let bytes = state.retired.replaced_bytes();
        if bytes != 0 && bytes.saturating_add(old.memory_bytes()) > limit {
            return Err(LoadError::ReplacedCodeLimit { module: old.name.clone(), bytes, limit });
        }
        Ok(())
    }
}

/// Migrates data and prepares the redirection of the stubs.
fn prepare_switch<'t>(
    old: &'t TryArc<Version>,
    members: &mut [TryArc<Version>],
    transfer: Transfer,
    in_use: &DataInUse,
) -> Result<(Migrated, Redirection<'t>)> {
    let new = members.first_mut().and_then(TryArc::get_mut).ok_or(AllocError)?;
    let VersionStubs { table, .. } = old.stubs.as_ref().ok_or(AllocError)?;
    let module = new.body.linked().ok_or(AllocError)?;
    let from = old.body.linked().ok_or(AllocError)?;
    let migrated = transfer_data(&old.name, from, module, transfer)?;
    let redirection = redirect(table, &old.name, from, module)?;
    let version = redirection.version();
    new.stubs = Some(VersionStubs { table: table.clone(), version });
    new.data_owners = Lock::new(in_use.owners(old)?);
    Ok((migrated, redirection))
}

/// What a reload does with the data: a module with constructors is reset unless the caller insists.
fn transfer(migration: StateMigration, old: &Version, new: &ParsedModule) -> Transfer {
    let is_constructed = || {
        old.linked().is_some_and(has_init_functions)
            || new.linked().is_ok_and(|smf| has_init_functions(&smf))
    };
    match migration {
        StateMigration::Reset => Transfer::Reset,
        StateMigration::Copy if is_constructed() => Transfer::Constructed,
        StateMigration::Copy | StateMigration::CopyConstructed => Transfer::Copy,
    }
}

/// Prepares the redirection of the stubs in `table`, those of the module `name`, from `old` to `new`.
fn redirect<'t>(
    table: &'t StubTable,
    name: &Name,
    old: &LinkedModule,
    new: &LinkedModule,
) -> Result<Redirection<'t>> {
    let notes = [old, new].map(|module| module.smf().note_contents().ok().flatten());
    let [of_old, of_new] =
        notes.each_ref().map(|note| note.as_ref().map_or(&[][..], |note| &note.0));
    let (of_old, of_new) = (Signatures::new(old, of_old)?, Signatures::new(new, of_new)?);
    let (refusal, is_changed) = (Cell::new(None), Cell::new(false));
    let function = |symbol: &[u8]| {
        let export = new.find(symbol)?;
        let rows = of_old.find(symbol).zip(of_new.find(symbol));
        if rows.is_some_and(|(old, new)| !has_same_types(old, new)) {
            is_changed.set(true);
            return None;
        }
        if export.address == 0 {
            refusal.set(new.refusal(symbol));
            return None;
        }
        (export.kind == SymbolKind::Function).then_some(export.address)
    };
    let redirection = table.prepare(name, function);
    check_address(name, refusal.get())?;
    match redirection {
        Err(LoadError::FunctionRemoved { module, symbol }) if is_changed.get() => {
            Err(LoadError::SignatureChanged { module, symbol })
        }
        redirection => redirection,
    }
}

/// The types of the functions of a module, as its note states them.
struct Signatures<'m> {
    module: &'m LinkedModule,
    /// Sorted by name.
    rows: Vec<FunctionSignature<'m>>,
}

impl<'m> Signatures<'m> {
    /// Those in a note; none of a malformed one.
    fn new(module: &'m LinkedModule, note: &'m [u8]) -> Result<Self, AllocError> {
        let note = Note::parse(note, 0);
        let rows = note.iter().flat_map(|note| note.entries::<FunctionSignature<'_>>());
        let mut rows = try_collect(rows.filter_map(core::result::Result::ok))?;
        sort_by(&mut rows, |one, two| one.function().raw() < two.function().raw());
        Ok(Self { module, rows })
    }

    /// The row of an exported function. Functions of one name differ in their code.
    fn find(&self, symbol: &[u8]) -> Option<&FunctionSignature<'m>> {
        let offset = || {
            let code = self.module.linked().code()?;
            self.module.find(symbol)?.address.checked_sub(self.module.section_address(code.index)?)
        };
        let name = |row: &FunctionSignature<'m>| row.function().raw().as_bytes();
        let first = self.rows.partition_point(|row| name(row) < symbol);
        let mut named = self.rows.get(first..)?.iter().take_while(|row| name(row) == symbol);
        let is_it =
            |row: &&FunctionSignature<'m>| row.code_offset().is_none_or(|at| Some(at) == offset());
        named.find(is_it)
    }
}

/// Whether two versions of a function have the same types, with the same fields, as far as their notes state that.
fn has_same_types(old: &FunctionSignature<'_>, new: &FunctionSignature<'_>) -> bool {
    let (before, after) = (old.type_hash(), new.type_hash());
    old.parameters().raw() == new.parameters().raw()
        && old.result().raw() == new.result().raw()
        && (before.is_empty() || after.is_empty() || before.raw() == after.raw())
}

/// The data of a module that other modules refer to, sorted by name.
struct DataInUse(Vec<UsedDatum>);

struct UsedDatum {
    datum: ImportedDatum,
    /// The name of the importing module.
    by: Name,
}

impl UsedDatum {
    /// The error that the datum cannot stay in place.
    fn error(&self, module: &Version) -> LoadError {
        let (symbol, by) = (self.datum.name.clone(), self.by.clone());
        LoadError::DataInUse { module: module.name.clone(), symbol, by }
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
        let refused = |datum: usize| {
            self.0.get(datum).map_or_else(|| AllocError.into(), |used| used.error(old))
        };
        set.map_version(old.name.clone(), parsed, table.clone(), &data, refused)
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
        _ => Err(LoadError::Changed { module: then.name.clone() }),
    }
}
