//! The instantiator: compiles instances on request.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;

use super::compiler::Compiler;
use super::derived::{DerivedInstance, Inferred};
use super::error::{InstantiateError, MetadataError, UpdateError};
use super::instance::{Import, Instance, Source};
use super::instance_table::InstanceTable;
use super::ir_bodies::IrBodies;
use super::jobs::{JobTable, NoteUpdate};
use super::module::Module;
use super::module_index::{ModuleIndex, ModuleRow};
use super::module_note::Storage;
use super::precompiled::PrecompiledBodies;
use crate::alloc_util::{
    AllocError, AttachResult, TryArc, try_box, try_collect, try_copy_bytes, try_copy_str, try_push,
    try_to_string,
};
#[cfg(doc)]
use crate::cache::CacheError;
use crate::cache::FileCache;
use crate::codegen::registry::CodeRegistry;
use crate::format::{File, SectionKind};
use crate::link::Resolve;
use crate::memory::code_alloc::CodeMemory;
use crate::memory::lock::{Lock, LockGuard};
use crate::printable::Printable;

#[cfg(feature = "source")]
mod declared;
#[cfg(not(feature = "source"))]
mod declared_none;
mod derive;
mod environment;
mod infer;
mod instantiation;

/// The options of a [`JitInstantiator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitConfig {
    /// Whether each new instance is recorded in its module's note, in memory and in the file.
    pub update_smf: bool,
    /// The maximum length of a chain of instances that require each other.
    pub max_depth: u32,
    /// The maximum number of instances, without those of templates that were replaced or unloaded; `usize::MAX` for no limit.
    pub max_instances: usize,
    /// The maximum number of instances of the templates of one module.
    pub max_module_instances: usize,
    /// The maximum nesting depth of a type argument. `Vec<i64>` has depth 2.
    pub max_nesting: usize,
    /// The maximum size of the code of an instance, in bytes.
    pub max_code: usize,
    /// Whether instances are compiled at all.
    pub enabled: bool,
    /// Whether the [`Observer`] gets log messages.
    pub verbose: bool,
    /// Whether code is loaded from, and stored in, the code caches of the modules' files.
    pub keep_code: bool,
}

impl JitConfig {
    /// Records instances, without log messages and code cache. At most 50 instances that require each other, 65,536
    /// instances of a module, 16 levels of a type, 16 MiB of code.
    pub const DEFAULT: Self = Self {
        update_smf: true,
        max_depth: 50,
        max_instances: usize::MAX,
        max_module_instances: 1 << 16,
        max_nesting: 16,
        max_code: 16 << 20,
        enabled: true,
        verbose: false,
        keep_code: false,
    };
}

impl Default for JitConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Counters of a [`JitInstantiator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitStats {
    /// Instances, without those of templates that were replaced or unloaded.
    pub cached_count: usize,
    /// Loaded modules.
    pub loaded_smf_count: usize,
    /// Recorded permanent failures.
    pub failed_count: usize,
    /// Instances whose code was loaded from a file's code cache.
    pub cache_hit_count: usize,
    /// Instances that were compiled although a file has code for them: that code was compiled from another
    /// body, by another compiler, for another processor, or for other callees.
    pub cache_stale_count: usize,
    /// Inferences of type arguments.
    pub inference_count: usize,
    /// Inferences that were cached.
    pub inference_hit_count: usize,
}

/// An instance that a module lists as possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PossibleEntry {
    /// The path of the module, or its name.
    pub path: Box<[u8]>,
    /// The template.
    pub template: String,
    /// The type arguments as the note spells them.
    pub type_args: String,
    /// The symbol.
    pub mangled_name: String,
}

/// Receives the events of a [`JitInstantiator`], and registers its code.
pub trait Observer: CodeRegistry {
    /// An instance has been compiled and registered, and no caller knows its address yet. The returned registration
    /// is dropped before the code is freed.
    ///
    /// # Errors
    /// No memory. The instance is then discarded.
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        let _ = (symbol, code);
        Ok(None)
    }

    /// The file at `path`, a module or an archive, was replaced to record instances. A cache that has the previous
    /// version can [evict](crate::cache::FileCache::evict) it. Called without locks held.
    fn replaced(&self, path: &[u8]) {
        let _ = path;
    }

    /// An instance has been compiled that no note lists, so that none records it; only if [`JitConfig::update_smf`]. Called
    /// without locks held.
    fn unrecorded(&self, symbol: &[u8]) {
        let _ = symbol;
    }

    /// A log message; only if [`JitConfig::verbose`].
    fn say(&self, message: &str) {
        let _ = message;
    }
}

/// Compiles instances of templates on request. All methods may be called concurrently; the
/// [module documentation](super) lists the guarantees.
pub struct JitInstantiator {
    config: JitConfig,
    compilers: Vec<Box<dyn Compiler>>,
    symbols: Option<Box<dyn Resolve + Send + Sync>>,
    observer: Option<Box<dyn Observer>>,
    owner: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    state: Lock<State>,
    instances: InstanceTable,
    cache_hits: AtomicUsize,
    cache_stale: AtomicUsize,
    inferences: AtomicUsize,
    inference_hits: AtomicUsize,
    /// Dropped after the instances.
    memory: CodeMemory,
}

#[derive(Default)]
struct State {
    modules: ModuleIndex,
    jobs: JobTable,
    /// The instances that were made without a row that lists them.
    derived: Vec<DerivedInstance>,
    /// Inferred type arguments by the name of the template.
    inferred: HashMap<Box<[u8]>, Inferred>,
}

impl JitInstantiator {
    /// An instantiator without modules. Its code is allocated in `memory`. Its compilers are
    /// [`PrecompiledBodies`], with the feature `all-files` [`IrBodies`], and with the feature `source` those of source
    /// text.
    ///
    /// # Errors
    /// No memory.
    pub fn new(config: JitConfig, memory: CodeMemory) -> Result<Self, AllocError> {
        let jit = Self {
            config,
            compilers: Vec::new(),
            symbols: None,
            observer: None,
            owner: None,
            state: Lock::new(State::default()),
            instances: InstanceTable::new(),
            cache_hits: AtomicUsize::new(0),
            cache_stale: AtomicUsize::new(0),
            inferences: AtomicUsize::new(0),
            inference_hits: AtomicUsize::new(0),
            memory,
        };
        let mut jit = jit.with_compiler(PrecompiledBodies)?;
        if cfg!(feature = "all-files") {
            jit = jit.with_compiler(IrBodies::new())?;
        }
        #[cfg(feature = "source")]
        {
            jit = jit.with_compiler(super::SourceBodies::new())?;
            jit = jit.with_compiler(super::RecordBodies::new())?;
        }
        Ok(jit)
    }

    /// Adds a compiler for bodies that the previous compilers do not recognize.
    ///
    /// # Errors
    /// No memory.
    pub fn with_compiler(mut self, compiler: impl Compiler + 'static) -> Result<Self, AllocError> {
        try_push(&mut self.compilers, try_box(compiler)?)?;
        Ok(self)
    }

    /// Sets the resolver of symbols that are not instances, which gets also the path of the template's module
    /// ([`Resolve::resolve_for`]). An instance that calls one is found, and called by other instances,
    /// as long as the resolver returns the same address; then it is compiled again.
    ///
    /// # Errors
    /// No memory.
    pub fn with_symbols(
        self,
        symbols: impl Resolve + Send + Sync + 'static,
    ) -> Result<Self, AllocError> {
        Ok(Self { symbols: Some(try_box(symbols)?), ..self })
    }

    /// Sets the observer.
    ///
    /// # Errors
    /// No memory.
    pub fn with_observer(self, observer: impl Observer + 'static) -> Result<Self, AllocError> {
        Ok(Self { observer: Some(try_box(observer)?), ..self })
    }

    /// Sets the function that returns the owner for which a thread uses the instantiator, such as a loader; 0 for none. The
    /// modules of [`load_read_metadata`](Self::load_read_metadata) belong to it: requests of another owner do not use their
    /// templates, nor the instances that were made of these. Requests without an owner use all.
    ///
    /// # Errors
    /// No memory.
    pub fn with_owner(
        self,
        owner: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, AllocError> {
        Ok(Self { owner: Some(try_box(owner)?), ..self })
    }

    #[inline(never)]
    fn owner(&self) -> u64 {
        self.owner.as_ref().map_or(0, |owner| owner())
    }

    /// The options.
    pub fn config(&self) -> &JitConfig {
        &self.config
    }

    fn state(&self) -> LockGuard<'_, State> {
        self.state.lock()
    }

    /// The observer of phases.
    fn registry(&self) -> Option<&dyn CodeRegistry> {
        self.observer.as_ref().map(|observer| &**observer as _)
    }

    /// Sends a log message to the observer. Without memory the message is dropped.
    fn log(&self, message: fmt::Arguments<'_>) {
        if let Some(observer) = self.observer.as_ref().filter(|_| self.config.verbose)
            && let Ok(message) = try_to_string(message)
        {
            observer.say(&message);
        }
    }

    /// Loads the note and the templates of the module at `path`. Replaces a module with the same path; its
    /// instances remain. Recorded failures are forgotten.
    ///
    /// # Errors
    /// [`MetadataError`]. The instantiator is then unchanged.
    pub fn load_smf_metadata(&self, path: &[u8]) -> Result<(), MetadataError> {
        self.insert(Module::read(path, self.config.keep_code)?)
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), for the module `module` of the archive at `path`. Its
    /// path is `path(module)`. An update of its note replaces the archive; the other modules do not change.
    ///
    /// # Errors
    /// [`MetadataError`], also [`MetadataError::NoModule`].
    pub fn load_archived_metadata(&self, path: &[u8], module: &str) -> Result<(), MetadataError> {
        self.insert(Module::read_archived(path, module, self.config.keep_code)?)
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), with the bytes of the file from `cache`; from the file itself
    /// if it [does not fit](CacheError::is_full) into the cache.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn load_cached_metadata(
        &self,
        cache: &FileCache,
        path: &[u8],
    ) -> Result<(), MetadataError> {
        match cache.get(path) {
            Ok(file) => {
                self.insert(Module::parse(path, Storage::File, self.config.keep_code, &file)?)
            }
            Err(error) if error.is_full() => self.load_smf_metadata(path),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`load_archived_metadata`](Self::load_archived_metadata), with the bytes of the file from `cache`, as
    /// [`load_cached_metadata`](Self::load_cached_metadata).
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn load_cached_archived_metadata(
        &self,
        cache: &FileCache,
        path: &[u8],
        module: &str,
    ) -> Result<(), MetadataError> {
        match cache.get(path) {
            Ok(file) => {
                self.insert(Module::parse_archived(path, module, self.config.keep_code, &file)?)
            }
            Err(error) if error.is_full() => self.load_archived_metadata(path, module),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), for a module in memory with `name` as its path. Its
    /// note is updated in memory only.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn load_smf_bytes(&self, name: &[u8], bytes: &[u8]) -> Result<(), MetadataError> {
        self.insert(Module::parse(name, Storage::Memory, self.config.keep_code, bytes)?)
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), for the module `name`, an archive's module `path(module)`
    /// included, whose bytes the caller has read already. Its note is updated in memory only, unless a module of this
    /// name was loaded from a file. Does nothing for a loaded module with the same templates and note; one without both is
    /// [forgotten](Self::forget_read_metadata). If a module of this name had other templates, their instances are not found
    /// any more: they remain for their callers, and new ones are made of the new templates.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn load_read_metadata(&self, name: &[u8], bytes: &[u8]) -> Result<(), MetadataError> {
        let smf = File::parse(bytes)?.module().ok_or(MetadataError::Archive)?;
        let templates = smf.sections().of_kind(SectionKind::TemplateCode);
        let templates = templates.map(|section| smf.contents(&section)).transpose()?;
        let note = smf.note_contents()?;
        if templates.is_none() && note.is_none() {
            // The previous version may have had some.
            self.forget_read_metadata(name);
            return Ok(());
        }
        let owner = self.owner();
        let (old, unloaded) = {
            let modules = &mut self.state().modules;
            (modules.by_path(name, owner), modules.recall(&|module| module.is_at(owner, name)))
        };
        let has_templates =
            |module: &&TryArc<Module>| module.section() == templates.as_deref().unwrap_or(&[]);
        let same = old.as_ref().or(unloaded.as_ref()).filter(has_templates);
        let note = note.as_ref().map_or(&[][..], |(note, _)| note);
        if same.is_some() && old.as_ref().is_some_and(|old| old.note.is_text(note)) {
            return Ok(());
        }
        let storage =
            old.as_ref().map_or(Ok(Storage::Loader), |old| old.note.storage().try_clone());
        let mut new = Module::parse(name, storage?, self.config.keep_code, bytes)?;
        let owner = old.as_ref().map_or(owner, |old| old.source.owner);
        new.source = match same {
            Some(same) => same.source.clone(),
            None => TryArc::new(Source { owner, ..Source::default() })?,
        };
        let source = new.source.clone();
        self.insert(new)?;
        match (same, &old) {
            (None, Some(old)) => old.source.is_outdated.store(true, Ordering::Relaxed),
            (Some(_), None) => {
                source.is_outdated.store(false, Ordering::Relaxed);
                self.state().jobs.recount();
            }
            _ => {}
        }
        Ok(())
    }

    /// Reverses [`load_read_metadata`](Self::load_read_metadata) for a module that is not loaded any more: its templates and
    /// its instances are not found, until the same templates are loaded under this name. The instances remain for their
    /// callers. Does nothing for a module that was loaded otherwise.
    pub fn forget_read_metadata(&self, name: &[u8]) {
        let owner = self.owner();
        self.forget(&|module| module.is_at(owner, name));
    }

    /// As [`forget_read_metadata`](Self::forget_read_metadata), for all modules of an [owner](Self::with_owner).
    pub fn withdraw_owner(&self, owner: u64) {
        while self.forget(&|module| module.source.owner == owner) {}
    }

    /// As [`withdraw_owner`](Self::withdraw_owner), for an owner that does not load modules again.
    pub fn forget_owner(&self, owner: u64) {
        self.withdraw_owner(owner);
        let is_it = |module: &Module| module.source.owner == owner;
        while self.state().modules.recall(&is_it).is_some() {}
    }

    /// Removes a module that a loader has read; false if there is none.
    fn forget(&self, is_it: &dyn Fn(&Module) -> bool) -> bool {
        let mut state = self.state();
        let Some(gone) = state.modules.unload(is_it) else { return false };
        state.jobs.failed.clear();
        state.inferred.retain(|_, known| !known.depends_on.iter().any(|of| of.ptr_eq(&gone)));
        state.derived.retain(|known| self.exists(&known.symbol, 0));
        state.modules.remember(gone);
        true
    }

    fn insert(&self, module: Module) -> Result<(), MetadataError> {
        self.check_declarations(&module)?;
        let module = {
            let mut state = self.state();
            state.jobs.failed.clear();
            state.modules.insert(module)?
        };
        let (path, rows) = (Printable(&module.note.path), module.rows.len());
        self.log(format_args!("{path}: {rows} possible instances"));
        Ok(())
    }

    /// Whether compilation is enabled, and a loaded module lists `symbol` as possible, or, with the feature `source`, has
    /// the template whose instance for some types it names. False for an instance that exists, or that a note records.
    pub fn can_jit_instantiate(&self, symbol: &[u8]) -> bool {
        let owner = self.owner();
        let is_possible = || self.state().modules.is_possible(symbol, owner);
        let can_derive = || cfg!(feature = "source") && self.can_derive(symbol);
        // The row of one that exists stays if notes are not updated.
        let exists = || self.exists(symbol, owner);
        self.config.enabled && (is_possible() || can_derive()) && !exists()
    }

    /// The entry of `symbol` in the first module that lists it as possible.
    ///
    /// # Errors
    /// No memory.
    pub fn find_possible(&self, symbol: &[u8]) -> Result<Option<PossibleEntry>, AllocError> {
        let found = self.state().modules.find_possible(symbol, self.owner());
        let Some(ModuleRow { module, row }) = found else { return Ok(None) };
        Ok(Some(PossibleEntry {
            path: try_copy_bytes(&module.note.path)?,
            template: try_copy_str(module.text(row.template))?,
            type_args: try_copy_str(module.text(row.arguments))?,
            mangled_name: try_copy_str(module.text(row.symbol))?,
        }))
    }

    /// The note of the module with this path, as it is in memory.
    ///
    /// # Errors
    /// No memory.
    pub fn note(&self, path: &[u8]) -> Result<Option<Vec<u8>>, AllocError> {
        let module = self.state().modules.by_path(path, self.owner());
        module.map(|module| module.note.text()).transpose()
    }

    /// The counters.
    pub fn stats(&self) -> JitStats {
        let state = self.state();
        JitStats {
            cached_count: self.instances.count_current(),
            loaded_smf_count: state.modules.all().len(),
            failed_count: state.jobs.failed.len(),
            cache_hit_count: self.cache_hits.load(Ordering::Relaxed),
            cache_stale_count: self.cache_stale.load(Ordering::Relaxed),
            inference_count: self.inferences.load(Ordering::Relaxed),
            inference_hit_count: self.inference_hits.load(Ordering::Relaxed),
        }
    }

    /// The address of an existing instance, as [`instance`](Self::instance).
    pub fn address(&self, symbol: &[u8]) -> Option<u64> {
        self.find(symbol).map(|instance| instance.address())
    }

    /// An existing instance. It is found as long as a loader has not [read](Self::load_read_metadata) other templates of its
    /// module, nor [unloaded](Self::forget_read_metadata) it; one that calls [symbols](Self::with_symbols), while they have the
    /// addresses that it was linked with. Lock-free, except for their resolver.
    pub fn instance(&self, symbol: &[u8]) -> Option<Instance> {
        self.find(symbol)
    }

    /// The instance of `symbol` whose templates are still those of their modules, and those that requests of the owner use, and
    /// whose symbols still have the addresses that it was linked with: no module that it calls was unloaded, nor belongs to
    /// another loader than that which the resolver asks now. Called without the lock, because the resolver may load modules.
    fn find(&self, symbol: &[u8]) -> Option<Instance> {
        let owner = self.owner();
        let resolver = self.symbols.as_ref();
        let is_linked = |Import { module, symbol, address }: &Import| {
            let found = resolver.and_then(|resolver| resolver.resolve_for(module, symbol));
            found == Some(*address)
        };
        let accepts =
            |of: &Instance| of.is_of(owner) && of.0.dependencies.imports.iter().all(is_linked);
        self.instances.find(symbol, &accepts)
    }

    /// Whether there is an instance of `symbol` of templates that are still those of their modules, and that requests of
    /// `owner` use.
    fn exists(&self, symbol: &[u8], owner: u64) -> bool {
        self.instances.find(symbol, &|instance| instance.is_of(owner)).is_some()
    }

    /// The existing instance whose code contains `address`, such as that of a [`Trap`](crate::trap::Trap), by
    /// a linear search.
    pub fn instance_at(&self, address: u64) -> Option<Instance> {
        self.instances.find_by_address(address)
    }

    /// The instance of `symbol`. Compiles it, and the instances that it requires, if it does not exist; waits
    /// if another thread compiles it. With the feature `source`, a symbol that no module lists is read as a template and
    /// type arguments, such as `fn$max$f64`, `max$f64`, or `first$str` in the spelling of the Simple compiler.
    ///
    /// # Errors
    /// [`InstantiateError`]. After [`InstantiateError::UpdateFailed`] the instance exists.
    pub fn try_jit_instantiate(&self, symbol: &[u8]) -> Result<Instance, InstantiateError> {
        if !self.config.enabled {
            return Err(InstantiateError::not_found(symbol));
        }
        if let Some(instance) = self.find(symbol) {
            return Ok(instance);
        }
        match self.instantiate(symbol, None) {
            Err(error @ InstantiateError::NotFound { .. }) => match self.derive(symbol)? {
                Some(instance) => Ok(instance),
                None => Err(self.count_error(symbol)?.unwrap_or(error)),
            },
            done => done,
        }
    }

    /// Writes all outstanding updates to the notes of the modules, such as all of them if
    /// [`JitConfig::update_smf`] is off.
    ///
    /// # Errors
    /// The first error. The remaining modules are updated regardless.
    pub fn update(&self) -> Result<(), UpdateError> {
        let modules = try_collect(self.state().modules.all().iter().cloned())?;
        let mut result = Ok(());
        for module in &modules {
            result = result.and(self.write_note(module));
        }
        result
    }

    /// Writes the outstanding updates to the note of a module.
    fn write_note(&self, module: &Module) -> Result<(), UpdateError> {
        module.note.write_pending(&|path| {
            if let Some(observer) = &self.observer {
                observer.replaced(path);
            }
        })
    }

    fn compiler(&self, body: &[u8]) -> Option<&dyn Compiler> {
        self.compilers.iter().find(|compiler| compiler.recognizes(body)).map(|found| &**found)
    }

    /// Applies the updates of finished jobs, or queues them if [`JitConfig::update_smf`] is off.
    fn apply(&self, updates: &[NoteUpdate]) -> Result<(), UpdateError> {
        let rows = || updates.iter().filter_map(|of| Some((&of.module, of.made.as_ref()?)));
        let mut result = Ok(());
        for (module, made) in rows() {
            result = result.and(module.note.add_pending(made));
        }
        if !self.config.update_smf {
            return Ok(result?);
        }
        let mut state = self.state();
        for (module, made) in rows() {
            state.modules.remove(module, &made.0.symbol);
        }
        drop(state);
        let mut result = result.map_err(UpdateError::from);
        for NoteUpdate { module, .. } in updates {
            // A module that occurs again has nothing pending.
            let written = self.write_note(module);
            if let Err(error) = written {
                self.log(format_args!("{}: {error}", Printable(&module.note.path)));
            }
            result = result.and(written);
        }
        result
    }
}

impl fmt::Debug for JitInstantiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JitInstantiator")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
