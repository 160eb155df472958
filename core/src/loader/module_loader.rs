//! The loader: modules by name and by handle.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::bytes::{ModuleBytes, ParsedModule};
use super::commit::retry;
use super::context::Context;
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::inner::Inner;
use super::load_set::LoadSet;
use super::module_ref::{ModuleRef, Resolved};
use super::observer::{LoadObserver, SharedObserver};
use super::options::{LoaderOptions, LoaderStatistics, UnresolvedImport};
use super::version::{Body, Version};
use crate::alloc_util::{AllocError, SharedBytes, TryArc};
use crate::format::SymbolKind;
use crate::link::{Export, Name, Resolve};
use crate::memory::PagePool;
use crate::memory::lock::Lock;

/// A set of loaded modules. All methods may be called from any thread. See the [module documentation](super).
pub struct ModuleLoader {
    inner: Inner,
}

/// A module and its providers, mapped and not linked yet.
pub struct MappedModule<'l> {
    loader: &'l Inner,
    name: SharedBytes,
    parsed: ParsedModule,
    set: LoadSet<'l>,
}

impl MappedModule<'_> {
    /// The second half of [`ModuleLoader::load_reporting`]: links the modules and publishes them.
    ///
    /// # Errors
    /// As [`ModuleLoader::load`].
    pub fn link(self, unresolved: &mut dyn FnMut(&UnresolvedImport<'_>)) -> Result<ModuleHandle> {
        let Self { loader, name, parsed, set } = self;
        let mut mapped = Some(set);
        retry(loader, &name, |reservation| {
            let set = match mapped.take() {
                Some(set) => set,
                None => map_set(loader, &name, &parsed)?,
            };
            let (scope, members) = set.link(unresolved)?;
            loader.check_duplicates(&scope, &members, None)?;
            loader.commit(&scope, members, reservation)
        })
    }
}

impl fmt::Debug for MappedModule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedModule").finish_non_exhaustive()
    }
}

/// Maps a module and its providers, unless a loaded module has the name.
fn map_set<'l>(
    loader: &'l Inner,
    name: &SharedBytes,
    parsed: &ParsedModule,
) -> Result<LoadSet<'l>> {
    let scope = {
        let state = loader.state();
        if state.by_name(name).is_some() {
            return Err(LoadError::NameTaken { module: Name::from(name) });
        }
        state.scope()
    };
    let mut set = LoadSet::new(loader, scope, None);
    set.map(name.clone(), parsed.clone())?;
    Ok(set)
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

    fn from_parts(
        options: LoaderOptions,
        observer: Option<SharedObserver>,
    ) -> Result<Self, AllocError> {
        let pool = TryArc::new(PagePool::new(options.kept_bytes))?;
        Ok(Self { inner: Inner::new(Context { options, observer, pool }) })
    }

    /// Loads a module under `name`, and every [provider](Self::register_provider) that it needs.
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
        let name = SharedBytes::copy_of(name)?;
        let parsed = ParsedModule::parse(&name, bytes)?;
        let set = map_set(&self.inner, &name, &parsed)?;
        Ok(MappedModule { loader: &self.inner, name, parsed, set })
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
        let name = SharedBytes::copy_of(name)?;
        let mut state = self.inner.state();
        if state.by_name(&name).is_some() {
            return Err(LoadError::NameTaken { module: Name::from(&name) });
        }
        let mut pending = state.prepare(1)?;
        let handle = state.allocate_slot()?;
        let version = Version {
            name,
            handle,
            registration: Lock::default(),
            body: Body::Foreign(symbols),
            dependencies: Vec::new(),
            stubs: None,
            data_owners: Lock::default(),
            pins: Default::default(),
        };
        state.insert(&mut pending, version);
        state.publish(pending);
        Ok(handle)
    }

    /// Registers a module, or every module of an archive as `name(module)`, to be loaded when a module imports from
    /// it. Of two providers that export one name, the first is used.
    ///
    /// # Errors
    /// [`LoadError::Format`]; [`LoadError::OutOfMemory`].
    pub fn register_provider(&self, name: &[u8], bytes: ModuleBytes) -> Result<()> {
        self.inner.providers().add(name, bytes)
    }

    /// Defines a host symbol; returns its previous address. Loaded modules are not changed.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn define(&self, name: &[u8], address: u64) -> Result<Option<u64>, AllocError> {
        self.inner.state().define(name, address)
    }

    /// Sets the resolver of names that neither a module nor [`define`](Self::define) defines, usually dlsym(3).
    ///
    /// # Errors
    /// [`AllocError`]; the previous resolver stays.
    pub fn set_host_resolver(
        &self,
        resolver: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        let resolver = resolver.map(TryArc::new).transpose()?;
        let old = core::mem::replace(&mut self.inner.state().host_resolver, resolver);
        // Without the lock.
        drop(old);
        Ok(())
    }

    /// Sets the resolver that is used last. It may load modules with this loader.
    ///
    /// # Errors
    /// [`AllocError`]; the previous resolver stays.
    pub fn set_fallback_resolver(
        &self,
        resolver: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        let resolver = resolver.map(TryArc::new).transpose()?;
        let old = core::mem::replace(&mut self.inner.state().fallback_resolver, resolver);
        drop(old);
        Ok(())
    }

    /// Resolves a name in the modules in load order, then in the host.
    ///
    /// # Errors
    /// [`LoadError::Stub`] if there is no memory for the stub of a function; [`LoadError::Bytecode`] for a bytecode function
    /// without an address.
    pub fn resolve(&self, name: &[u8]) -> Result<Option<Resolved<'_>>> {
        loop {
            let Some((module, export)) = self.find_held(name) else {
                return Ok(self.inner.resolve_outside(name).map(|address| {
                    let kind = SymbolKind::None;
                    Resolved { address, kind, module: None }
                }));
            };
            match self.inner.stable_address(module.version(), name, &export) {
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

    /// The module that defines a name, held.
    fn find_held(&self, name: &[u8]) -> Option<(ModuleRef<'_>, Export)> {
        let scope = self.inner.state().scope();
        let (version, export) = scope.find_except(name, None)?;
        if let Some(module) = self.hold(version) {
            return Some((module, export));
        }
        // It was unloaded or replaced meanwhile. Holding the lock prevents that now.
        let state = self.inner.state();
        let scope = state.scope();
        let (version, export) = scope.find_except(name, None)?;
        Some((ModuleRef::new(&self.inner.domains, version.clone()), export))
    }

    /// Holds `version` if it is still current.
    fn hold(&self, version: &TryArc<Version>) -> Option<ModuleRef<'_>> {
        let state = self.inner.state();
        let now = state.version(version.handle).ok()?;
        now.ptr_eq(version).then(|| ModuleRef::new(&self.inner.domains, now.clone()))
    }

    /// Holds the current version of a module.
    ///
    /// # Errors
    /// [`LoadError::Stale`].
    pub fn get(&self, handle: ModuleHandle) -> Result<ModuleRef<'_>> {
        let state = self.inner.state();
        let version = state.version(handle)?.clone();
        Ok(ModuleRef::new(&self.inner.domains, version))
    }

    /// The module called `name`.
    pub fn find(&self, name: &[u8]) -> Option<ModuleHandle> {
        self.inner.state().by_name(name)
    }

    /// Whether a module can be [replaced](Self::reload).
    pub fn is_reloadable(&self, handle: ModuleHandle) -> bool {
        self.inner.state().version(handle).is_ok_and(|version| version.stubs.is_some())
    }

    /// Calls `visit` with the name and the handle of each module, in load order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], ModuleHandle)) {
        let scope = self.inner.state().scope();
        scope.versions().iter().for_each(|version| visit(&version.name, version.handle));
    }

    /// Unloads a module. Its memory is freed when no thread can be inside its code any more.
    ///
    /// # Errors
    /// [`LoadError::Stale`]; [`LoadError::InUse`] if it is held; [`LoadError::Needed`] if another module imports
    /// from it.
    pub fn unload(&self, handle: ModuleHandle) -> Result<()> {
        self.unload_all(&[handle])
    }

    /// Unloads several modules, which may import from each other in cycles: all of them or none.
    ///
    /// # Errors
    /// As [`unload`](Self::unload).
    pub fn unload_all(&self, handles: &[ModuleHandle]) -> Result<()> {
        // An unloaded module counts as an importer until it is freed.
        self.inner.collect();
        self.inner.state().remove(handles, &self.inner.domains)?;
        self.inner.collect();
        Ok(())
    }

    /// The current counters.
    pub fn statistics(&self) -> LoaderStatistics {
        let state = self.inner.state();
        LoaderStatistics {
            modules: state.scope().versions().len(),
            retired: state.retired.len(),
            uncounted: state.retired.uncounted(),
            replaced_bytes: state.retired.replaced_bytes(),
            kept_bytes: self.inner.context.pool.cached_bytes(),
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl fmt::Debug for ModuleLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ModuleLoader").field(&self.statistics()).finish()
    }
}
