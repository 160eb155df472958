//! Templates of the modules of a loader: a missing import becomes an instance.
//!
//! [`LoaderTemplates::attach`] makes an instantiator the fallback resolver of a [`Loader`]. It has the templates and notes of
//! all files that the loader has loaded or registered, or does so later, from the bytes that the loader has read, until the
//! modules are unloaded. They are looked at when the first name is missing.
//!
//! The loader and its instantiator refer to each other: neither is freed before [`LoaderTemplates::detach`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, ptr};

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_push};
use smf_core::format::{File, SectionKind};
use smf_core::link::{Name, Resolve};
use smf_core::loader::{LoadError, ModuleBytes, ModuleLoader};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    Instance, InstantiateError, InstantiateErrorKind, JitConfig, JitInstantiator, MetadataError,
};
use thiserror::Error;

use crate::jit::Announce;
use crate::link_failures;
use crate::loader::Loader;

/// Why there is no instance.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum InstanceError {
    /// The instance cannot be made.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// The instance cannot be made because a symbol has no address.
    #[error("{error}; {cause}")]
    Symbol {
        /// Which symbol.
        error: InstantiateError,
        /// Why: the provider that defines the symbol cannot be loaded, for instance.
        cause: Box<LoadError>,
    },
    /// There is no template for the instance, and those of a module cannot be read.
    #[error("no template is known for `{instance}`, and those of {module} cannot be read: {error}")]
    Unreadable {
        /// The instance.
        instance: Name,
        /// The module.
        module: Name,
        /// Why its templates cannot be read.
        error: Box<MetadataError>,
    },
}

/// The instantiator of a loader.
pub struct LoaderTemplates {
    jit: JitInstantiator,
    symbols: TryArc<Symbols>,
    /// Modules with templates or a note that the instantiator has not loaded yet.
    pending: Mutex<Vec<(Name, ModuleBytes)>>,
    /// Held while pending modules are loaded into the instantiator.
    loading: Mutex<()>,
    unreadable: UnreadableModules,
}

/// Modules of a loader whose templates or notes cannot be read.
#[derive(Default)]
pub(crate) struct UnreadableModules(Mutex<Vec<Unreadable>>);

struct Unreadable {
    /// The [owner](JitInstantiator::with_owner) of the module.
    owner: u64,
    module: Name,
    error: MetadataError,
}

impl UnreadableModules {
    /// Records whether those of a module can be read. A module is loaded although they cannot: nothing may need them.
    pub(crate) fn set(&self, owner: u64, module: &[u8], read: Result<(), MetadataError>) {
        let mut modules = lock(&self.0);
        // Of an older version.
        modules.retain(|other| other.owner != owner || *other.module != *module);
        if let Err(error) = read {
            // Without memory it is lost.
            let _ = Name::new(module)
                .and_then(|module| try_push(&mut modules, Unreadable { owner, module, error }));
        }
    }

    /// Forgets the modules of an owner.
    #[cfg(feature = "c-api")]
    pub(crate) fn forget_owner(&self, owner: u64) {
        lock(&self.0).retain(|module| module.owner != owner);
    }

    /// The error of a name that has no template, which may be in a module of `owner` that cannot be read, or in one of any
    /// owner for owner 0.
    pub(crate) fn error_for(&self, owner: u64, instance: &[u8]) -> Option<InstanceError> {
        let modules = lock(&self.0);
        let found = modules.iter().find(|module| owner == 0 || module.owner == owner)?;
        let instance = Name::new(instance).ok()?;
        let (module, error) = (found.module.clone(), Box::new(found.error.clone()));
        Some(InstanceError::Unreadable { instance, module, error })
    }
}

/// The number of symbols without an address whose errors are remembered.
const MAX_ERRORS: usize = 32;

/// The functions that instances call.
struct Symbols {
    /// `None` after it was detached.
    loader: Mutex<Option<TryArc<Loader>>>,
    /// Why symbols have no address, which the instantiator is not told: the last [`MAX_ERRORS`].
    errors: Mutex<Vec<(Name, LoadError)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolve for Symbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.find(name, |modules| modules.resolve_import(name))
    }

    fn resolve_for(&self, module: &[u8], name: &[u8]) -> Option<u64> {
        self.find(name, |modules| match modules.resolve_import_from(module, name) {
            Ok(None) => modules.resolve_import(name),
            own => own,
        })
    }
}

impl Symbols {
    fn find(
        &self,
        name: &[u8],
        find: impl FnOnce(&ModuleLoader) -> Result<Option<u64>, LoadError>,
    ) -> Option<u64> {
        let loader = lock(&self.loader).clone()?;
        let found = find(loader.modules());
        let mut errors = lock(&self.errors);
        if found.is_err() || !errors.is_empty() {
            errors.retain(|(other, _)| other.as_bytes() != name);
            if let (Err(error), Ok(name)) = (&found, Name::new(name)) {
                if errors.len() == MAX_ERRORS {
                    errors.remove(0);
                }
                // Without memory it is lost.
                let _ = try_push(&mut errors, (name, error.clone()));
            }
        }
        found.ok()?
    }
}

impl LoaderTemplates {
    /// Sets the module sink and the fallback resolver of `loader`. Code of instances is allocated in `memory` and freed with
    /// the last owner of the result, which the loader is one of.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn attach(
        loader: &TryArc<Loader>,
        config: JitConfig,
        memory: CodeMemory,
    ) -> Result<TryArc<Self>, AllocError> {
        let (of_symbols, errors) = (Mutex::new(Some(loader.clone())), Mutex::default());
        let symbols = TryArc::new(Symbols { loader: of_symbols, errors })?;
        let jit = JitInstantiator::new(config, memory)?.with_observer(Announce)?;
        let jit = jit.with_symbols(symbols.clone())?;
        let templates = TryArc::new(Self {
            jit,
            symbols,
            pending: Mutex::default(),
            loading: Mutex::default(),
            unreadable: UnreadableModules::default(),
        })?;
        // What is set already refers to the loader.
        set(loader, &templates).or_else(|error| templates.detach().and(Err(error)))?;
        Ok(templates)
    }

    /// Reverses [`attach`](Self::attach), unless others were attached to the loader since: no more instances are made. The code of
    /// those that exist stays as long as a module is loaded that was linked with it.
    ///
    /// # Errors
    /// [`AllocError`]; some of it may be done.
    pub fn detach(&self) -> Result<(), AllocError> {
        let Some(loader) = lock(&self.symbols.loader).take() else { return Ok(()) };
        let mut attached = lock(&loader.attached);
        if *attached != Some(self.address()) {
            return Ok(());
        }
        *attached = None;
        loader.modules().set_module_sink(None)?;
        loader.modules().set_fallback_resolver(None)
    }

    /// The address of this, by which a loader knows what is attached.
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Withdraws a module that is not loaded any more.
    fn forget(&self, name: &[u8]) {
        let _loading = lock(&self.loading);
        lock(&self.pending).retain(|(pending, _)| **pending != *name);
        self.unreadable.set(0, name, Ok(()));
        self.jit.forget_read_metadata(name);
    }

    fn add(&self, name: &[u8], bytes: &ModuleBytes) -> Result<(), AllocError> {
        let smf = bytes.file().ok().and_then(File::module);
        let is_relevant = smf.is_some_and(|smf| {
            let has_templates = smf.sections().of_kind(SectionKind::TemplateCode).is_some();
            has_templates || !matches!(smf.note_contents(), Ok(None))
        });
        if is_relevant {
            let mut pending = lock(&self.pending);
            match pending.iter_mut().find(|(other, _)| **other == *name) {
                // A version whose reload was refused is not looked at.
                Some((_, version)) => *version = bytes.clone(),
                None => try_push(&mut pending, (Name::new(name)?, bytes.clone()))?,
            }
        } else {
            // The previous version may have had templates.
            self.forget(name);
        }
        Ok(())
    }

    /// The instantiator, with the templates of all modules that have been parsed so far.
    pub fn instantiator(&self) -> &JitInstantiator {
        // Another thread waits until all are loaded.
        let _loading = lock(&self.loading);
        let pending = std::mem::take(&mut *lock(&self.pending));
        for (name, bytes) in pending {
            self.unreadable.set(0, &name, self.jit.load_read_metadata(&name, bytes.as_slice()));
        }
        &self.jit
    }

    /// The instance called `name`, which is made if there is none; `None` if there is no template for it, and after
    /// [`detach`](Self::detach).
    ///
    /// # Errors
    /// [`InstanceError`].
    pub fn instance(&self, name: &[u8]) -> Result<Option<Instance>, InstanceError> {
        if lock(&self.symbols.loader).is_none() {
            return Ok(None);
        }
        match self.instantiator().try_jit_instantiate(name) {
            Ok(instance) | Err(InstantiateError::UpdateFailed { instance, .. }) => {
                Ok(Some(instance))
            }
            Err(InstantiateError::NotFound { symbol }) => {
                self.unreadable.error_for(0, &symbol).map_or(Ok(None), Err)
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Adds why a symbol is missing.
    fn explain(&self, error: InstantiateError) -> InstanceError {
        let InstantiateError::Failed(failure) = &error else { return error.into() };
        let InstantiateErrorKind::Missing { symbol } = &failure.kind else { return error.into() };
        let cause = lock(&self.symbols.errors).iter().find(|(of, _)| of == symbol).cloned();
        match cause {
            Some((_, cause)) => InstanceError::Symbol { error, cause: Box::new(cause) },
            None => error.into(),
        }
    }

    /// The instance whose code contains an address.
    pub fn instance_at(&self, address: u64) -> Option<Instance> {
        self.jit.instance_at(address)
    }

    /// Whether a module called `name` has templates, or a note, that the instantiator has not loaded yet.
    #[cfg(feature = "exec")]
    pub(crate) fn is_pending(&self, name: &[u8]) -> bool {
        lock(&self.pending).iter().any(|(pending, _)| **pending == *name)
    }

    /// The address of an instance for an import of a module.
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        match self.instance(name) {
            Ok(instance) => Some(instance?.address()),
            Err(error) => {
                link_failures::record(&error);
                None
            }
        }
    }
}

/// Sets the module sink and the fallback resolver of a loader.
fn set(loader: &Loader, templates: &TryArc<LoaderTemplates>) -> Result<(), AllocError> {
    let of_sink = templates.clone();
    let sink = move |name: &[u8], bytes: Option<&ModuleBytes>| match bytes {
        // Without memory the templates of the module are not found.
        Some(bytes) => drop(of_sink.add(name, bytes)),
        None => of_sink.forget(name),
    };
    let of_resolver = templates.clone();
    let mut attached = lock(&loader.attached);
    *attached = Some(templates.address());
    let resolver = move |name: &[u8]| of_resolver.resolve(name);
    loader.modules().set_module_sink(Some(try_box(sink)?))?;
    loader.modules().set_fallback_resolver(Some(try_box(resolver)?))
}

impl fmt::Debug for LoaderTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderTemplates").field("jit", &self.jit).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(all(feature = "source", feature = "pack", target_arch = "x86_64"))]
mod tests {
    use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
    use smf_core::format::{Arch, Header, Layout};
    use smf_core::link::host_arch;
    use smf_core::loader::{LoaderOptions, StateMigration};
    use smf_core::source::{Mode, SourceFile, compile};

    use super::*;
    use crate::compile::CompileOptions;

    fn loader() -> TryArc<Loader> {
        let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
        TryArc::new(Loader::new(options).unwrap()).unwrap()
    }

    fn attach(loader: &TryArc<Loader>) -> TryArc<LoaderTemplates> {
        LoaderTemplates::attach(loader, JitConfig::default(), CodeMemory::default()).unwrap()
    }

    /// A module with a function of a struct with this field, and a template with this result.
    fn version(field: &str, result: &str) -> ModuleBytes {
        let text = format!(
            "struct P:\n    {field}\nfn f(p: P) -> i64: 1\nfn id<T>(x: T) -> i64: {result}\n"
        );
        let file = SourceFile { name: "m.spl", module: "m", text: &text };
        let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
        let options = CompileOptions { arch: Arch::X86_64, level: 2, debug_directory: None };
        ModuleBytes::new(crate::compile::compile(&unit, &options).unwrap()).unwrap()
    }

    #[test]
    fn templates_of_modules_that_were_loaded_before_are_found() {
        let loader = loader();
        loader.modules().load(b"m", version("x: i64", "1")).unwrap();
        for _ in 0..2 {
            let templates = attach(&loader);
            assert!(templates.instance(b"id$i64").unwrap().is_some());
            templates.detach().unwrap();
        }
    }

    #[test]
    fn errors_of_the_last_symbols_are_remembered() {
        let loader = loader();
        let names: Vec<_> = (0..2 * MAX_ERRORS).map(|number| format!("f{number}")).collect();
        let symbol = |name, place| NewSymbol { name, place, ..NewSymbol::default() };
        let exports = names.iter().map(|name| symbol(name.as_bytes(), Place::Section(0)));
        let symbols: Vec<_> = exports.chain([symbol(b"absent", Place::Import)]).collect();
        let header = Header { arch: host_arch(), ..Header::default() };
        let (layout, sections) = (Layout::Packed, &[NewSection::code(&[0; 16])][..]);
        let module = Module { layout, header, stub: &[], sections, symbols: &symbols };
        let module = ModuleBytes::new(module.to_vec().unwrap()).unwrap();
        loader.modules().register_provider(b"p", module).unwrap();
        let templates = attach(&loader);
        for name in &names {
            assert_eq!(templates.symbols.resolve(name.as_bytes()), None);
        }
        assert_eq!(lock(&templates.symbols.errors).len(), MAX_ERRORS);
        templates.detach().unwrap();
    }

    #[test]
    fn refused_reload_leaves_functions_and_instances_as_they_are() {
        let loader = loader();
        let (templates, modules) = (attach(&loader), loader.modules());
        let m = modules.load(b"m", version("x: i64", "1")).unwrap();
        modules.stable_export(m, b"f").unwrap().unwrap();
        let instance = || {
            let instance = templates.instance(b"id$i64").unwrap().unwrap();
            (instance.address(), instance.code().to_vec())
        };
        let first = instance();
        let reload = |bytes| modules.reload(m, bytes, StateMigration::Copy, &mut |_| {});
        // The parameter has a type of the same name with another field.
        let error = reload(version("y: f64", "2")).unwrap_err();
        assert!(matches!(error, LoadError::SignatureChanged { .. }), "{error}");
        assert_eq!(instance(), first);
        reload(version("x: i64", "3")).unwrap();
        assert_ne!(instance(), first);
        templates.detach().unwrap();
    }
}
