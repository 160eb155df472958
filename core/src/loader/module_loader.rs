//! The loader: modules by name and by handle.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::bytes::{ModuleBytes, ParsedModule};
use super::commit::retry;
use super::error::{LoadError, Result};
use super::fallback::Used;
use super::handle::ModuleHandle;
use super::init::{construct, init_order};
use super::inner::{Announced, ModuleLoader, ModuleSink};
use super::load_set::LoadSet;
use super::module_ref::{ModuleRef, Resolved};
use super::observer::{LoadEvent, LoadObserver};
use super::options::{LoaderOptions, LoaderStatistics, UnresolvedImport};
use super::provider_index::{NewProviders, Provider};
use super::resolvers::Resolvers;
use super::state::Scope;
use super::version::{Body, Version};
use crate::alloc_util::{AllocError, TryArc, try_collect};
use crate::format::{Smf, SymbolKind};
use crate::link::{Export, LinkError, Name, NoImports, Resolve};

/// A module and its providers, mapped and not linked yet.
pub struct MappedModule<'l> {
    loader: &'l ModuleLoader,
    name: Name,
    parsed: ParsedModule,
    set: LoadSet<'l>,
    /// `None` for a provider, which the sink has received before.
    announced: Option<Announced<'l>>,
}

impl MappedModule<'_> {
    /// The file of the module.
    pub fn smf(&self) -> &Smf<'_> {
        self.parsed.smf()
    }

    /// The second half of [`ModuleLoader::load_reporting`]: links the modules, publishes them and runs their
    /// constructors.
    ///
    /// # Errors
    /// As [`ModuleLoader::load`].
    pub fn link(self, unresolved: &mut dyn FnMut(&UnresolvedImport<'_>)) -> Result<ModuleHandle> {
        let Self { loader, name, parsed, set, announced } = self;
        let mut mapped = Some(set);
        let linked = retry(loader, &name, |reservation| {
            // Other modules may have been loaded or unloaded since.
            let set = match mapped.take().filter(LoadSet::is_current) {
                Some(set) => set,
                None => map_set(loader, &name, &parsed)?,
            };
            let (scope, members) = set.link(unresolved)?;
            loader.check_duplicates(&scope, &Scope::default(), &members, None)?;
            let order = init_order(&members)?;
            let named = loader.names_of(members.iter())?;
            let (first, new) = loader.commit(&scope, members, &order, reservation)?;
            construct(loader, new.iter().map(|module| &**module.version()));
            loader.notify_loaded(&named);
            Ok(first)
        });
        let linked = loader.notify_refusal(&name, linked)?;
        if let Some(announced) = announced {
            announced.keep();
        }
        Ok(linked)
    }
}

impl fmt::Debug for MappedModule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedModule").finish_non_exhaustive()
    }
}

/// Maps a module and its providers, unless a loaded module has the name.
fn map_set<'l>(
    loader: &'l ModuleLoader,
    name: &Name,
    parsed: &ParsedModule,
) -> Result<LoadSet<'l>> {
    let mut set = LoadSet::new(loader, scope_without(loader, name)?, None);
    set.map(name.clone(), parsed)?;
    Ok(set)
}

/// The loaded modules, of which none has the name.
fn scope_without(loader: &ModuleLoader, name: &Name) -> Result<Scope> {
    let state = loader.state();
    match state.by_name(name) {
        Some(_) => Err(LoadError::NameTaken { module: name.clone() }),
        None => Ok(state.scope()),
    }
}

impl ModuleLoader {
    /// A loader without modules.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(options: LoaderOptions) -> Result<Self, AllocError> {
        Self::from_parts(options, None)
    }

    /// As [`new`](Self::new), with an observer of new code.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn with_observer(
        options: LoaderOptions,
        observer: Box<dyn LoadObserver>,
    ) -> Result<Self, AllocError> {
        Self::from_parts(options, Some(TryArc::new(observer)?))
    }

    /// Loads a module under `name`, and every [provider](Self::register_provider) that it needs, and runs their
    /// constructors. Lookups of other threads find the modules before the constructors have ended, but another module that
    /// imports from them is not constructed earlier.
    ///
    /// Constructors, and the resolvers of indirect functions, are machine code of the module, which is trusted: load trusted
    /// modules alone, or [refuse](super::LoaderOptions::refuse_constructors) those that have such code.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is loaded.
    pub fn load(&self, name: &[u8], bytes: ModuleBytes) -> Result<ModuleHandle> {
        self.load_reporting(name, bytes, &mut |_| {})
    }

    /// As [`load`](Self::load). Calls `unresolved` for every unresolved import; the error names the first.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_reporting(
        &self,
        name: &[u8],
        bytes: ModuleBytes,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
    ) -> Result<ModuleHandle> {
        self.map(name, bytes)?.link(unresolved)
    }

    /// The first half of [`load`](Self::load): maps the module and its providers. Lookups find them when they are
    /// [linked](MappedModule::link).
    ///
    /// # Errors
    /// As [`load`](Self::load), except unresolved imports.
    pub fn map(&self, name: &[u8], bytes: ModuleBytes) -> Result<MappedModule<'_>> {
        let name = Name::new(name)?;
        let parsed = self.parse(&name, bytes)?;
        let mapped = scope_without(self, &name).and_then(|_| {
            let announced = Announced::new(self, &name, parsed.bytes());
            match map_set(self, &name, &parsed) {
                Ok(set) => Ok((set, Some(announced))),
                Err(error) => {
                    if matches!(error, LoadError::Link { error: LinkError::NoCode, .. }) {
                        announced.keep();
                    }
                    Err(error)
                }
            }
        });
        let (set, announced) = self.notify_refusal(&name, mapped)?;
        Ok(MappedModule { loader: self, name, parsed, set, announced })
    }

    /// Adds symbols that are not those of an SMF module, such as a library that the system's loader has opened. They are
    /// dropped when they are unloaded.
    ///
    /// # Errors
    /// [`LoadError::NameTaken`]; [`LoadError::OutOfMemory`].
    pub fn insert_foreign(
        &self,
        name: &[u8],
        symbols: Box<dyn Resolve + Send + Sync>,
    ) -> Result<ModuleHandle> {
        let name = Name::new(name)?;
        let body = (Body::Foreign(symbols), None);
        let (handle, uses) = (ModuleHandle::member(0), (Vec::new(), Vec::new()));
        let resolvers = Resolvers::default();
        let version = Version::new(name.clone(), handle, body, uses, None, resolvers)?;
        let members = try_collect([version].into_iter())?;
        let mut state = self.state();
        if state.by_name(&name).is_some() {
            return Err(LoadError::NameTaken { module: name });
        }
        let pending = state.prepare(1, None)?;
        let (handle, _) = state.insert(pending, members).ok_or(AllocError)?;
        drop(state);
        self.notify(&LoadEvent::Loaded { module: &name, bytes: 0 });
        Ok(handle)
    }

    /// Registers a module, or every module of an archive as `name(module)`, to be loaded when a module imports from
    /// it. Of two providers that export one name, the first is used.
    ///
    /// # Errors
    /// [`LoadError::Format`], also for a malformed table of symbols or functions; [`LoadError::OutOfMemory`]. Nothing is
    /// registered.
    pub fn register_provider(&self, name: &[u8], bytes: ModuleBytes) -> Result<()> {
        let new = NewProviders::read(name, &bytes)?;
        let names = try_collect(new.providers().iter().map(|provider| provider.name.clone()))?;
        self.providers().add(new)?;
        names.iter().for_each(|name| self.announce(name));
        Ok(())
    }

    /// Defines a host symbol; returns its previous address. Loaded modules are not changed. The address is trusted as those of
    /// [`Resolve`] are.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn define(&self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        self.state().define(name, address)
    }

    /// Sets the resolver of names that neither a module nor [`define`](Self::define) defines, usually dlsym(3). The
    /// previous one is dropped when no module is loaded that was linked with it.
    ///
    /// # Errors
    /// [`AllocError`]; the previous resolver stays.
    pub fn set_host_resolver(
        &self,
        resolver: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        let resolver = resolver.map(TryArc::new).transpose()?;
        let old = core::mem::replace(&mut self.state().resolvers.host, resolver);
        // Without the lock.
        drop(old);
        Ok(())
    }

    /// Sets the [sink](ModuleSink) of modules, which receives those that are registered or loaded already; `None` for none. The
    /// previous one is not called any more, except for modules that other threads are loading.
    ///
    /// # Errors
    /// [`AllocError`]; the previous sink stays.
    pub fn set_module_sink(&self, sink: Option<Box<ModuleSink>>) -> Result<(), AllocError> {
        let sink = sink.map(TryArc::new).transpose()?;
        // Held, so that the sink receives later what other threads load, replace or unload meanwhile.
        let mut current = self.sink();
        if let Some(sink) = &sink {
            for Provider { name, parsed } in self.providers().all() {
                sink(name, Some(parsed.bytes()));
            }
            let scope = self.state().scope();
            for version in scope.versions() {
                if let Some(module) = version.body.linked() {
                    sink(&version.name, Some(module.bytes()));
                }
            }
        }
        let old = core::mem::replace(&mut *current, sink);
        // Without the lock.
        drop(current);
        drop(old);
        Ok(())
    }

    /// Sets the resolver that is used last. It may load modules with this loader. A module depends on the module of this
    /// loader that has an address which the resolver returns for an import, and on those of
    /// [`resolve_import`](Self::resolve_import). The previous one is dropped when no module is loaded that was linked with it.
    ///
    /// # Errors
    /// [`AllocError`]; the previous resolver stays.
    pub fn set_fallback_resolver(
        &self,
        resolver: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        let resolver = resolver.map(TryArc::new).transpose()?;
        let old = core::mem::replace(&mut self.state().resolvers.fallback, resolver);
        drop(old);
        Ok(())
    }

    /// Resolves a name in the modules in load order, then in the host.
    ///
    /// # Errors
    /// [`LoadError::Stub`] if there is no memory for the stub of a function; [`LoadError::Bytecode`] for a bytecode function
    /// without an address.
    pub fn resolve(&self, name: &[u8]) -> Result<Option<Resolved<'_>>> {
        let kind = SymbolKind::None;
        let in_host = |address| Resolved { address, kind, module: None };
        let found = self.resolve_in_modules(name)?;
        let resolvers = || self.state().resolvers.clone();
        Ok(found.or_else(|| self.resolve_outside(name, &NoImports, &resolvers()).map(in_host)))
    }

    /// As [`resolve`](Self::resolve), in the modules alone.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_in_modules(&self, name: &[u8]) -> Result<Option<Resolved<'_>>> {
        loop {
            let Some((module, export)) = self.find_held(name) else { return Ok(None) };
            match self.stable_address(module.version(), name, &export) {
                Ok(address) => {
                    let kind = export.kind;
                    return Ok(Some(Resolved { address, kind, module: Some(module) }));
                }
                // The current version does not export it: the next iteration finds another definition or none.
                Err(LoadError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The address of `name` for code that the [fallback resolver](Self::set_fallback_resolver) makes for an import: of an
    /// export of a loaded module, of a symbol of the host, of a stub for a function of a module that this thread is
    /// loading, or else of an export of a [provider](Self::register_provider), which is loaded; `None` if nothing defines
    /// it. The fallback resolver is not asked, except for imports of the provider.
    ///
    /// The module whose import the resolver was asked for depends on the module that defines `name`, as if it imported from
    /// it itself. A stub may be called when the module is loaded, and lives as long as the loader.
    ///
    /// # Errors
    /// Those of [`Self::resolve`], and those of loading the provider.
    pub fn resolve_import(&self, name: &[u8]) -> Result<Option<u64>> {
        self.resolve_import_in(None, name)
    }

    /// As [`resolve_import`](Self::resolve_import), in one module: the loaded one called `module`, that which this thread is
    /// loading, or else the provider, which is loaded. `None` if it does not export `name`.
    ///
    /// # Errors
    /// As [`resolve_import`](Self::resolve_import).
    pub fn resolve_import_from(&self, module: &[u8], name: &[u8]) -> Result<Option<u64>> {
        self.resolve_import_in(Some(module), name)
    }

    fn resolve_import_in(&self, module: Option<&[u8]>, name: &[u8]) -> Result<Option<u64>> {
        if let Some(address) = self.resolve_without_providers(module, name)? {
            return Ok(Some(address));
        }
        let found = {
            let providers = self.providers();
            match module {
                Some(module) => providers.find_in(module, name),
                None => providers.find(name).map(|(_, provider)| provider),
            }
        };
        let Some(Provider { name: provider, parsed }) = found else { return Ok(None) };
        let set = self.notify_refusal(&provider, map_set(self, &provider, &parsed));
        let announced = None;
        let mapped =
            set.map(|set| MappedModule { loader: self, name: provider, parsed, set, announced });
        let loaded = mapped.and_then(|mapped| mapped.link(&mut |_| {}));
        // Another thread may have loaded it meanwhile, so that its name is taken.
        match self.resolve_without_providers(module, name)? {
            None => loaded.map(|_| None),
            found => Ok(found),
        }
    }

    /// As [`resolve_import_in`](Self::resolve_import_in), but loads no provider.
    fn resolve_without_providers(&self, module: Option<&[u8]>, name: &[u8]) -> Result<Option<u64>> {
        let find_loaded = || -> Result<Option<u64>> {
            let Some((handle, address, kind)) = self.find_loaded(module, name)? else {
                return Ok(None);
            };
            self.fallback_calls.add(|_| Used::export(handle, name, (address, kind)))?;
            Ok(Some(address))
        };
        if let Some(address) = find_loaded()? {
            return Ok(Some(address));
        }
        let resolvers = || self.state().resolvers.clone();
        let in_host = || self.resolve_in_host(name, &resolvers());
        let in_host = || module.is_none().then(in_host).flatten();
        if let Some(address) = in_host() {
            return Ok(Some(address));
        }
        let Some(stub) = self.forward.stub(module, name, &self.context)? else { return Ok(None) };
        // A module of this name that another thread has loaded meanwhile has not bound the stub.
        if let Some(address) = find_loaded()? {
            return Ok(Some(address));
        }
        self.fallback_calls.add(|set| match ModuleHandle::member(stub.member) {
            member if set == Some(stub.set) => {
                Used::export(member, name, (stub.address, SymbolKind::Function))
            }
            _ => Ok(Used::Forward(stub.key)),
        })?;
        Ok(Some(stub.address))
    }

    /// The module that exports `name`, of all or the one called `module`, and the address and kind of the export.
    fn find_loaded(
        &self,
        module: Option<&[u8]>,
        name: &[u8],
    ) -> Result<Option<(ModuleHandle, u64, SymbolKind)>> {
        let Some(module) = module else {
            let found = self.resolve_in_modules(name)?;
            let of_module =
                |found: Resolved<'_>| Some((found.module?.handle(), found.address, found.kind));
            return Ok(found.and_then(of_module));
        };
        let Some(handle) = self.find(module) else { return Ok(None) };
        match self.stable_export(handle, name) {
            Ok(export) => Ok(export.map(|export| (handle, export.address, export.kind))),
            // It was unloaded meanwhile.
            Err(LoadError::Stale { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The export of a module at an address that stays valid across reloads: of a function of a reloadable module, that
    /// of a stub which calls the current version and which lives as long as the module. Data and modules that are not
    /// reloadable have the address of the current version. `None` if the current version does not export the name.
    ///
    /// # Errors
    /// [`LoadError::Stale`]; those of [`Self::resolve`].
    pub fn stable_export(&self, handle: ModuleHandle, name: &[u8]) -> Result<Option<Export>> {
        loop {
            let module = self.get(handle)?;
            let Some(export) = module.export(name) else { return Ok(None) };
            match self.stable_address(module.version(), name, &export) {
                Ok(address) => return Ok(Some(Export { address, ..export })),
                // It was replaced meanwhile.
                Err(LoadError::Changed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The module that defines a name, held. No lock is held while it is searched for: a foreign module may use the loader.
    fn find_held(&self, name: &[u8]) -> Option<(ModuleRef<'_>, Export)> {
        loop {
            let scope = self.state().scope();
            let (version, export) = scope.find_except(name, None)?;
            // Otherwise it was unloaded or replaced meanwhile.
            if let Some(module) = self.hold(version) {
                return Some((module, export));
            }
        }
    }

    /// Holds `version` if it is still current.
    fn hold(&self, version: &TryArc<Version>) -> Option<ModuleRef<'_>> {
        let state = self.state();
        let now = state.version(version.handle).ok()?;
        now.ptr_eq(version).then(|| ModuleRef::new(self, now.clone()))
    }

    /// Holds the current version of a module.
    ///
    /// # Errors
    /// [`LoadError::Stale`].
    pub fn get(&self, handle: ModuleHandle) -> Result<ModuleRef<'_>> {
        let state = self.state();
        let version = state.version(handle)?.clone();
        Ok(ModuleRef::new(self, version))
    }

    /// The module called `name`.
    pub fn find(&self, name: &[u8]) -> Option<ModuleHandle> {
        self.state().by_name(name)
    }

    /// Whether a module can be [replaced](Self::reload).
    pub fn is_reloadable(&self, handle: ModuleHandle) -> bool {
        self.state().version(handle).is_ok_and(|version| version.stubs.is_some())
    }

    /// Calls `visit` with the name and the handle of each module, in load order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], ModuleHandle)) {
        let scope = self.state().scope();
        scope.versions().iter().for_each(|version| visit(&version.name, version.handle));
    }

    /// Unloads a module. Its memory is freed when no thread can be inside its code any more; its exit handlers and
    /// destructors run before that, on a thread that unloads, reloads or [collects](Self::collect).
    ///
    /// # Errors
    /// [`LoadError::Stale`]; [`LoadError::InUse`] if it is held; [`LoadError::Needed`] if another module imports
    /// from it; [`LoadError::ThreadDestructors`] while threads have to run destructors that are code of it.
    pub fn unload(&self, handle: ModuleHandle) -> Result<()> {
        self.unload_all(&[handle])
    }

    /// Unloads several modules, which may import from each other in cycles: all of them or none.
    ///
    /// # Errors
    /// As [`unload`](Self::unload).
    pub fn unload_all(&self, handles: &[ModuleHandle]) -> Result<()> {
        // An unloaded module counts as an importer until it is freed.
        self.collect();
        let first = {
            let state = self.state();
            handles.iter().find_map(|&handle| Some(state.version(handle).ok()?.name.clone()))
        };
        let removed = self.remove(handles);
        let names = self.notify_refusal(first.as_deref().unwrap_or_default(), removed)?;
        for module in &names {
            self.notify(&LoadEvent::Unloaded { module });
        }
        self.collect();
        Ok(())
    }

    /// Removes modules, and passes to the sink what their names have now. Returns their names.
    fn remove(&self, handles: &[ModuleHandle]) -> Result<Vec<Name>> {
        // Held, so that the sink receives a module later that another thread loads under one of the names.
        let sink = self.sink();
        let names = self.state().remove(handles, &self.forward, &self.domains)?;
        self.forward.unload(handles);
        if let Some(sink) = &*sink {
            names.iter().for_each(|name| sink(name, self.bytes_of(name).as_ref()));
        }
        Ok(names)
    }

    /// The names and sizes of new modules, for [`notify_loaded`](Self::notify_loaded); none without an observer.
    pub(super) fn names_of<'v>(
        &self,
        versions: impl Iterator<Item = &'v TryArc<Version>>,
    ) -> Result<Vec<(Name, usize)>> {
        match self.context.observer {
            Some(_) => Ok(try_collect(
                versions.map(|version| (version.name.clone(), version.memory_bytes())),
            )?),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn notify_loaded(&self, modules: &[(Name, usize)]) {
        for (module, bytes) in modules {
            self.notify(&LoadEvent::Loaded { module, bytes: *bytes });
        }
    }

    /// The current counters.
    pub fn statistics(&self) -> LoaderStatistics {
        let state = self.state();
        LoaderStatistics {
            modules: state.scope().versions().len(),
            retired: state.retired.len(),
            uncounted: state.retired.uncounted(),
            replaced_bytes: state.retired.replaced_bytes(),
            kept_bytes: self.context.pool.cached_bytes(),
        }
    }
}

impl Drop for ModuleLoader {
    /// Runs exit handlers and destructors of all modules, in reverse order of their constructors, if there is memory for a
    /// list of the modules.
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl fmt::Debug for ModuleLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleLoader").field(&self.statistics()).finish()
    }
}
