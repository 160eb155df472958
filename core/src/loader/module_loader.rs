//! The loader: modules by name and by handle.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::ops::Range;

use super::bytes::{ModuleBytes, ReadModule};
use super::epoch::Domains;
use super::load_set::{LinkedMember, LoadSet, Provider};
use super::module_ref::ModuleRef;
use super::provider_index::ProviderIndex;
use super::state::{Entering, HostResolver, Scope, State};
use super::stub_table::StubTable;
use super::version::{Body, Datum, Need, Version};
use super::{Clash, LoadError, LoaderOptions, LoaderStatistics, Missing, ModuleHandle, Resolved};
use crate::alloc_util::{
    AllocError, AttachResult, Shared, SharedBytes, TryArc, try_box, try_with_capacity,
};
use crate::format::library::is_library;
use crate::format::{Binding, SymbolKind};
use crate::link::{Export, Module, Resolve, ShortName};
use crate::memory::PagePool;
use crate::memory::lock::{Lock, LockGuard};

/// What is asked when a module has been linked, before anybody can find it.
pub trait LoadObserver: Send + Sync {
    /// Something to be dropped before the module's memory is given back, such as an entry in the list
    /// of what a debugger knows.
    ///
    /// # Errors
    /// No memory; the module is not loaded then.
    fn attach(&self, name: &[u8], module: &Module<'_>) -> AttachResult;

    /// The same for a function of a module of bytecode when it has become machine code, which is while the
    /// program runs, on the thread that wants the code. Must not use the loader.
    fn attach_compiled(
        &self,
        module: &[u8],
        function: &[u8],
        code: Range<usize>,
    ) -> Option<Box<dyn Send + Sync>> {
        let _ = (module, function, code);
        None
    }

    /// The same for the piece of code by which machine code calls a function of bytecode, when somebody has
    /// asked for its address, which is where the piece begins. Must not use the loader.
    ///
    /// # Errors
    /// No memory; there is no address then.
    fn attach_entry(&self, module: &[u8], function: &[u8], code: Range<usize>) -> AttachResult {
        let _ = (module, function, code);
        Ok(None)
    }

    /// The same for each stub by which others call a function of a module that may be replaced.
    ///
    /// # Errors
    /// No memory; there is no stub then.
    fn attach_stub(&self, code: Range<usize>) -> AttachResult {
        let _ = code;
        Ok(None)
    }
}

/// Modules that have their memory, and in which none knows an address of another yet.
pub struct Placed<'l> {
    loader: &'l ModuleLoader,
    name: SharedBytes,
    read: ReadModule,
    group: LoadSet<'l>,
}

impl Placed<'_> {
    /// The second half of [`ModuleLoader::load_reporting`]: links the modules and makes them known.
    ///
    /// # Errors
    /// As [`ModuleLoader::load`].
    pub fn link(self, missing: &mut dyn FnMut(&Missing<'_>)) -> Result<ModuleHandle, LoadError> {
        let Self { loader, name, read, group } = self;
        let mut placed = Some(group);
        retry(loader, &name, |claim| {
            let group = match placed.take() {
                Some(group) => group,
                None => loader.place_group(&name, &read)?,
            };
            let (scope, members) = group.link(missing)?;
            loader.check_clashes(&scope, &members, None)?;
            loader.commit(&scope, members, claim)
        })
    }
}

/// How often something is tried when a module that it was linked with has been replaced, unloaded, or has
/// lost the function that was. Data that has moved meanwhile makes for one try more at the most: from then
/// on there is a [`Claim`] to it.
const ATTEMPTS: u32 = 16;

/// Does `act` for the module `name`, and again when only the replacing of another one was in the way.
pub(super) fn retry<T>(
    loader: &ModuleLoader,
    name: &[u8],
    mut act: impl FnMut(&mut Claim<'_>) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let mut claim = Claim { loader, number: None };
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        match act(&mut claim) {
            Err(error) if left > 0 && error.is_passing(name) => {}
            done => return done,
        }
    }
}

/// To data of other modules that was not where it had been when it was to be imported. As long as the claim
/// lasts, whoever replaces those modules leaves it where it is, as if it had been imported; so the next
/// try finds it there, however often they are replaced, and nobody has to wait, not even for a resolver
/// of the host that replaces them itself.
pub(super) struct Claim<'l> {
    loader: &'l ModuleLoader,
    /// What the loader knows it by, once there is one.
    number: Option<u64>,
}

impl Claim<'_> {
    /// Claims all the data that `members` were linked with, where it is now.
    pub(super) fn renew(&mut self, state: &mut State, members: &[LinkedMember]) {
        if let Some(number) = self.number.take() {
            state.release(number);
        }
        let needs = members.iter().flat_map(|member| &member.needs);
        let needs = needs.filter_map(|need| match need.provider {
            Provider::ModuleRef(handle) => {
                Some((handle, need.data.iter().map(|datum| &datum.name)))
            }
            Provider::Member(_) => None,
        });
        let by = members.first().map_or(&[][..], |member| &member.name);
        self.number = state.claim(needs, ShortName::new(by));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.loader.state().release(number);
        }
    }
}

impl fmt::Debug for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed").finish_non_exhaustive()
    }
}

/// Many modules, used by reference from any thread. [The room](super) says what it promises.
pub struct ModuleLoader {
    options: LoaderOptions,
    /// Who is told of every module that is linked.
    attach: Option<Shared<dyn LoadObserver>>,
    pool: Shared<PagePool>,
    candidates: Lock<ProviderIndex>,
    state: Lock<State>,
    domains: Domains,
}

impl ModuleLoader {
    /// A loader without modules. Ends the process when there is no memory, which [`try_new`](Self::try_new)
    /// does not.
    pub fn new(options: LoaderOptions) -> Self {
        let made = Self::try_new(options);
        made.unwrap_or_else(|AllocError| handle_alloc_error(Layout::new::<Self>()))
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// No memory.
    pub fn try_new(mut options: LoaderOptions) -> Result<Self, AllocError> {
        let attach = options.attach.take().map(Shared::Arc);
        let pool = Shared::of(try_box(PagePool::new(options.kept_bytes))?)?;
        let (candidates, state) = (Lock::new(ProviderIndex::default()), Lock::new(State::new()?));
        let domains = Domains::new(options.call_epochs);
        Ok(Self { options, attach, pool, candidates, state, domains })
    }

    /// With somebody who is told of every module that is linked, in place of whom the
    /// [options](LoaderOptions::attach) name.
    ///
    /// # Errors
    /// No memory.
    pub fn try_attaching(self, attach: Box<dyn LoadObserver>) -> Result<Self, AllocError> {
        Ok(Self { attach: Some(Shared::of(attach)?), ..self })
    }

    /// Loads a module under `name`, together with every [provided](Self::provide) module that it
    /// needs and that is not there yet.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is loaded then.
    pub fn load(&self, name: &[u8], bytes: ModuleBytes) -> Result<ModuleHandle, LoadError> {
        self.load_reporting(name, bytes, &mut |_| {})
    }

    /// As [`load`](Self::load). `missing` hears of every import that nobody provides, not only of the
    /// first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_reporting(
        &self,
        name: &[u8],
        bytes: ModuleBytes,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<ModuleHandle, LoadError> {
        self.map(name, bytes)?.link(missing)
    }

    /// The first half of [`load`](Self::load): gives memory to the module and to every other that it
    /// needs. Nobody finds them before they are [linked](Placed::link).
    ///
    /// # Errors
    /// As [`load`](Self::load), but for imports that nobody provides.
    pub fn map(&self, name: &[u8], bytes: ModuleBytes) -> Result<Placed<'_>, LoadError> {
        let (name, read) = (SharedBytes::copy_of(name)?, read(name, bytes)?);
        let group = self.place_group(&name, &read)?;
        Ok(Placed { loader: self, name, read, group })
    }

    fn place_group(&self, name: &SharedBytes, read: &ReadModule) -> Result<LoadSet<'_>, LoadError> {
        let scope = self.scope_for(name)?;
        let mut group = LoadSet::new(self, scope, None);
        group.place(name.clone(), read.clone())?;
        Ok(group)
    }

    /// The modules that are there, unless one has the name.
    fn scope_for(&self, name: &[u8]) -> Result<Scope, LoadError> {
        let state = self.state();
        match state.by_name(name) {
            None => Ok(state.scope()),
            Some(_) => Err(LoadError::NameTaken { module: ShortName::new(name) }),
        }
    }

    /// Adds something that is no SMF module but knows symbols, such as a library that the system's
    /// loader has opened. It is dropped when it has been unloaded.
    ///
    /// # Errors
    /// [`LoadError::NameTaken`].
    pub fn insert_foreign(
        &self,
        name: &[u8],
        symbols: Box<dyn Resolve + Send + Sync>,
    ) -> Result<ModuleHandle, LoadError> {
        let own_name = SharedBytes::copy_of(name)?;
        let mut state = self.state();
        if state.by_name(name).is_some() {
            return Err(LoadError::NameTaken { module: ShortName::new(name) });
        }
        let mut entering = state.prepare(1)?;
        let handle = state.take_slot()?;
        let version = Version {
            name: own_name,
            handle,
            registration: Lock::default(),
            body: Body::Foreign(symbols),
            needs: Vec::new(),
            entries: None,
            keeps: Default::default(),
            pins: Default::default(),
        };
        state.enter(&mut entering, version);
        state.show(entering);
        Ok(handle)
    }

    /// Adds a module, or every module of an archive as `name(module)`, to those that are loaded when
    /// one is loaded that imports from them. The first that is added wins.
    ///
    /// # Errors
    /// [`LoadError::Format`].
    pub fn register_provider(&self, name: &[u8], bytes: ModuleBytes) -> Result<(), LoadError> {
        self.candidates.lock().add(name, bytes)
    }

    /// Gives a name of the host an address; returns the one it had. Modules that are loaded keep what
    /// they were linked with.
    ///
    /// Ends the process when there is no memory, which [`try_define`](Self::try_define) does not.
    pub fn define(&self, name: &[u8], address: u64) -> Option<u64> {
        let defined = self.try_define(name, address);
        defined.unwrap_or_else(|_| handle_alloc_error(Layout::for_value(name)))
    }

    /// As [`define`](Self::define).
    ///
    /// # Errors
    /// No memory.
    pub fn try_define(&self, name: &[u8], address: u64) -> Result<Option<u64>, LoadError> {
        Ok(self.state().define(name, address)?)
    }

    /// Sets who is asked for names that neither a module nor [`define`](Self::define) knows: usually
    /// the process, by dlsym(3).
    pub fn set_host_resolver(&self, process: Option<Arc<dyn Resolve + Send + Sync>>) {
        self.ask_process(process.map(Shared::Arc));
    }

    /// As [`set_host_resolver`](Self::set_host_resolver), for who has no memory for an `Arc`.
    ///
    /// # Errors
    /// No memory; who was asked before is asked.
    pub fn try_set_process(
        &self,
        process: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        self.ask_process(process.map(Shared::of).transpose()?);
        Ok(())
    }

    fn ask_process(&self, process: Option<HostResolver>) {
        // The old one is dropped outside of the lock.
        let _old = core::mem::replace(&mut self.state().process, process);
    }

    /// Sets who is asked when everybody else has been. It may load modules with this loader.
    pub fn set_fallback_resolver(&self, fallback: Option<Arc<dyn Resolve + Send + Sync>>) {
        self.ask_at_last(fallback.map(Shared::Arc));
    }

    /// As [`set_fallback_resolver`](Self::set_fallback_resolver), for who has no memory for an `Arc`.
    ///
    /// # Errors
    /// No memory; who was asked before is asked.
    pub fn try_set_fallback(
        &self,
        fallback: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        self.ask_at_last(fallback.map(Shared::of).transpose()?);
        Ok(())
    }

    fn ask_at_last(&self, fallback: Option<HostResolver>) {
        let _old = core::mem::replace(&mut self.state().fallback, fallback);
    }

    /// What the host says, and at last the fallback.
    pub(super) fn resolve_outside(&self, name: &[u8]) -> Option<u64> {
        let state = self.state();
        if let Some(address) = state.host_symbol(name) {
            return Some(address);
        }
        let (process, fallback) = (state.process.clone(), state.fallback.clone());
        drop(state);
        let process = process.and_then(|process| process.resolve(name));
        process.or_else(|| fallback?.resolve(name))
    }

    /// What a name means: in the modules in the order in which they were loaded, in the host, or by
    /// the fallback.
    ///
    /// # Errors
    /// [`LoadError::Entries`] when there is no memory for the stub of a function.
    pub fn resolve(&self, name: &[u8]) -> Result<Option<Resolved<'_>>, LoadError> {
        loop {
            let Some((module, export)) = self.find_held(name) else {
                return Ok(self.resolve_outside(name).map(|address| {
                    let kind = SymbolKind::None;
                    Resolved { address, kind, module: None }
                }));
            };
            match module.version().address_for_others(self, name, &export) {
                Ok(address) => {
                    let kind = export.kind;
                    return Ok(Some(Resolved { address, kind, module: Some(module) }));
                }
                // The new version does not have it, so that the next look finds another, or none.
                Err(LoadError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The module that provides a name, held.
    fn find_held(&self, name: &[u8]) -> Option<(ModuleRef<'_>, Export)> {
        let scope = self.state().scope();
        let (version, export) = scope.find_except(name, None)?;
        if let Some(module) = self.pin(version) {
            return Some((module, export));
        }
        // Since the picture was taken it has been unloaded or replaced. While the lock is held, nobody
        // can do so once more.
        let state = self.state();
        let scope = state.scope();
        let (version, export) = scope.find_except(name, None)?;
        Some((ModuleRef::new(&self.domains, version.clone()), export))
    }

    /// The view of this very version, if it is still the present one.
    fn pin(&self, version: &TryArc<Version>) -> Option<ModuleRef<'_>> {
        let state = self.state();
        let now = state.version(version.handle).ok()?;
        now.ptr_eq(version).then(|| ModuleRef::new(&self.domains, now.clone()))
    }

    /// The module that a handle is of, held as long as the view is.
    ///
    /// # Errors
    /// [`LoadError::Stale`].
    pub fn get(&self, handle: ModuleHandle) -> Result<ModuleRef<'_>, LoadError> {
        let state = self.state();
        let version = state.version(handle)?.clone();
        Ok(ModuleRef::new(&self.domains, version))
    }

    /// The module called `name`.
    pub fn find(&self, name: &[u8]) -> Option<ModuleHandle> {
        self.state().by_name(name)
    }

    /// Whether a module may be [replaced](Self::reload).
    pub fn is_reloadable(&self, handle: ModuleHandle) -> bool {
        self.state().version(handle).is_ok_and(|version| version.entries.is_some())
    }

    /// Calls `visit` with each module, in the order in which they were loaded.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], ModuleHandle)) {
        let scope = self.state().scope();
        scope.versions().iter().for_each(|version| visit(&version.name, version.handle));
    }

    /// Takes a module away. Its memory is given back at once, or when the last thread has left code
    /// that it may have entered by it.
    ///
    /// # Errors
    /// [`LoadError::Stale`]; [`LoadError::Pinned`] when somebody holds it; [`LoadError::Needed`] when
    /// another module imports from it.
    pub fn unload(&self, handle: ModuleHandle) -> Result<(), LoadError> {
        self.unload_all(&[handle])
    }

    /// Takes modules away together, such as those that import from each other in a circle: all or
    /// none of them.
    ///
    /// # Errors
    /// As [`unload`](Self::unload).
    pub fn unload_all(&self, handles: &[ModuleHandle]) -> Result<(), LoadError> {
        // What was unloaded before, and is left by all by now, needs nothing any more.
        self.collect();
        self.state().remove(handles, &self.domains)?;
        self.collect();
        Ok(())
    }

    /// How much there is.
    pub fn statistics(&self) -> LoaderStatistics {
        let state = self.state();
        LoaderStatistics {
            modules: state.scope().versions().len(),
            retired: state.retired.len(),
            uncounted: state.retired.uncounted(),
            replaced_bytes: state.retired.replaced_bytes(),
            kept_bytes: self.pool.cached_bytes(),
        }
    }

    pub(super) fn state(&self) -> LockGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn candidates(&self) -> LockGuard<'_, ProviderIndex> {
        self.candidates.lock()
    }

    pub(super) fn pool(&self) -> &Shared<PagePool> {
        &self.pool
    }

    pub(super) fn attach(&self) -> Option<&Shared<dyn LoadObserver>> {
        self.attach.as_ref()
    }

    pub(super) fn options(&self) -> &LoaderOptions {
        &self.options
    }

    pub(super) fn domains(&self) -> &Domains {
        &self.domains
    }

    pub(super) fn new_entries(&self) -> Result<TryArc<StubTable>, AllocError> {
        TryArc::new(StubTable::new(self.options.code_memory.clone(), self.attach.clone())?)
    }

    /// Refuses members that export what another module exports, when that is the rule.
    pub(super) fn check_clashes(
        &self,
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
    ) -> Result<(), LoadError> {
        match self.options.clash {
            Clash::FirstWins => Ok(()),
            _ => Self::refuse_clashes(scope, members, replaced),
        }
    }

    #[inline(never)]
    fn refuse_clashes(
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
    ) -> Result<(), LoadError> {
        for (number, member) in members.iter().enumerate() {
            let exports = member.module.linked().symbols();
            let strong = exports
                .iter()
                .map_while(Result::ok)
                .filter(|s| s.is_export() && s.binding != Binding::Weak)
                .map(|symbol| symbol.name());
            for name in strong.chain(member.module.bytecode_functions().map(|(name, _)| name)) {
                let loaded = scope.find_except(name, replaced);
                let loaded = loaded.filter(|(_, export)| export.is_strong());
                let mut earlier = members.iter().take(number);
                let other = match loaded {
                    Some((version, _)) => Some(version.short_name()),
                    None => earlier
                        .find(|other| other.module.find(name).is_some_and(|e| e.is_strong()))
                        .map(|other| ShortName::new(&other.name)),
                };
                if let Some(other) = other {
                    let (symbol, module) = (ShortName::new(name), ShortName::new(&member.name));
                    return Err(LoadError::Clash { symbol, module, other });
                }
            }
        }
        Ok(())
    }

    /// Makes new modules known; the handle of the first.
    fn commit(
        &self,
        scope: &Scope,
        members: Vec<LinkedMember>,
        claim: &mut Claim<'_>,
    ) -> Result<ModuleHandle, LoadError> {
        let mut state = self.state();
        let checked = self.check_commit(&state, scope, &members, None);
        checked.inspect_err(|_| claim.renew(&mut state, &members))?;
        let mut entering = Members::prepare(&mut state, &members)?;
        entering.take_slots(&mut state, None)?;
        let first = entering.handles.first().copied().ok_or(LoadError::OutOfMemory)?;
        entering.enter(&mut state, members);
        Ok(first)
    }

    /// Whether what was true when the members were linked still is: the names of those that are new are
    /// free, everybody whom they refer to is there, and nobody came who would clash. The first takes
    /// the place of `replaced`. A module that somebody else has loaded meanwhile by demand as well is
    /// [`LoadError::Changed`]: another try finds it.
    pub(super) fn check_commit(
        &self,
        state: &State,
        scope: &Scope,
        members: &[LinkedMember],
        replaced: Option<ModuleHandle>,
    ) -> Result<(), LoadError> {
        let mut new = members.iter().enumerate().skip(usize::from(replaced.is_some()));
        if let Some((number, member)) = new.find(|(_, m)| state.by_name(&m.name).is_some()) {
            let module = ShortName::new(&member.name);
            let was_free = scope.versions().iter().all(|version| version.name != member.name);
            return Err(match number {
                1.. if was_free => LoadError::Changed { module },
                _ => LoadError::NameTaken { module },
            });
        }
        if state.scope().is(scope) {
            return Ok(());
        }
        for need in members.iter().flat_map(|member| &member.needs) {
            let Provider::ModuleRef(handle) = need.provider else { continue };
            let Some(then) = scope.versions().iter().find(|version| version.handle == handle)
            else {
                continue;
            };
            // A function of a new version is found through the same stub; data is not, unless others
            // refer to it already.
            let same = state.version(handle).is_ok_and(|now| {
                let there = |datum: &Datum| {
                    now.body.find(&datum.name).map(|export| export.address) == Some(datum.address)
                };
                now.ptr_eq(then) || need.data.iter().all(there)
            });
            if !same {
                return Err(LoadError::Changed { module: then.short_name() });
            }
        }
        match self.options.clash {
            Clash::FirstWins => Ok(()),
            Clash::Refuse => self.check_clashes(&state.scope(), members, replaced),
        }
    }
}

/// Linked modules on the way to be known.
pub(super) struct Members {
    entering: Entering,
    /// Of each member.
    handles: Vec<ModuleHandle>,
    needs: Vec<Vec<Need>>,
}

impl Members {
    /// Everything that may be refused on the way, but for [slots](Self::take_slots).
    pub(super) fn prepare(state: &mut State, members: &[LinkedMember]) -> Result<Self, LoadError> {
        let mut needs = try_with_capacity(members.len())?;
        for member in members {
            needs.push(try_with_capacity(member.needs.len())?);
        }
        let handles = try_with_capacity(members.len())?;
        Ok(Self { entering: state.prepare(members.len())?, handles, needs })
    }

    /// Takes a slot for each of them, or none; the first takes the place of `replaced`.
    pub(super) fn take_slots(
        &mut self,
        state: &mut State,
        replaced: Option<ModuleHandle>,
    ) -> Result<(), LoadError> {
        self.handles.extend(replaced);
        while self.handles.len() < self.needs.len() {
            match state.take_slot() {
                Ok(handle) => self.handles.push(handle),
                Err(error) => {
                    let taken = self.handles.drain(..).skip(usize::from(replaced.is_some()));
                    taken.for_each(|handle| state.give_back(handle));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Makes them known. Returns the version that the first replaced.
    pub(super) fn enter(
        self,
        state: &mut State,
        members: Vec<LinkedMember>,
    ) -> Option<TryArc<Version>> {
        let Self { mut entering, handles, needs } = self;
        for ((member, &handle), mut needs) in members.into_iter().zip(&handles).zip(needs) {
            needs.extend(member.needs.into_iter().filter_map(|need| need.resolved(&handles)));
            let version = Version {
                name: member.name,
                handle,
                registration: Lock::new(member.attached),
                body: Body::Linked(member.module),
                needs,
                entries: member.entries,
                keeps: Lock::new(member.keeps),
                pins: Default::default(),
            };
            state.enter(&mut entering, version);
        }
        state.show(entering)
    }
}

pub(super) fn read(name: &[u8], bytes: ModuleBytes) -> Result<ReadModule, LoadError> {
    let module = ShortName::new(name);
    if is_library(bytes.as_slice()) {
        return Err(LoadError::Archive { module });
    }
    ReadModule::parse(bytes).map_err(|error| LoadError::Format { module, error })
}

impl Default for ModuleLoader {
    fn default() -> Self {
        Self::new(LoaderOptions::default())
    }
}

impl fmt::Debug for ModuleLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleLoader").field(&self.statistics()).finish()
    }
}
