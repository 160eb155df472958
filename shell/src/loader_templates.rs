//! Templates of the modules of a loader: a missing import becomes an instance.
//!
//! [`LoaderTemplates::attach`] makes an instantiator the fallback resolver of a [`Loader`]. It has the templates and notes of
//! all files that the loader maps or registers from then on, from the bytes that the loader has read. They are looked at when
//! the first name is missing.
//!
//! The loader and its instantiator refer to each other: neither is freed before [`LoaderTemplates::detach`].

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_copy_bytes, try_push};
use smf_core::format::{File, SectionKind};
use smf_core::loader::ModuleBytes;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{Instance, InstantiateError, JitConfig, JitInstantiator};

use crate::jit::Announce;
use crate::loader::Loader;

/// The maximum number of recorded failures.
const MAX_FAILURES: usize = 16;

/// The instantiator of a loader.
pub struct LoaderTemplates {
    jit: JitInstantiator,
    source: TryArc<Source>,
    /// Held while pending modules are loaded into the instantiator.
    loading: Mutex<()>,
    failures: Mutex<Vec<String>>,
}

/// Where templates and the functions that instances call come from.
struct Source {
    /// `None` after it was detached.
    loader: Mutex<Option<TryArc<Loader>>>,
    /// Modules with templates or a note that the instantiator has not loaded yet.
    pending: Mutex<Vec<(Box<[u8]>, ModuleBytes)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (of_source, pending) = (Mutex::new(Some(loader.clone())), Mutex::default());
        let source = TryArc::new(Source { loader: of_source, pending })?;
        let of_instances = source.clone();
        let jit = JitInstantiator::new(config, memory)?.with_observer(Announce)?;
        let jit = jit.with_symbols(move |name: &[u8]| of_instances.find_symbol(name))?;
        let (loading, failures) = (Mutex::default(), Mutex::default());
        let templates = TryArc::new(Self { jit, source, loading, failures })?;
        // What is set already refers to the loader.
        set(loader, &templates).or_else(|error| templates.detach().and(Err(error)))?;
        Ok(templates)
    }

    /// Reverses [`attach`](Self::attach): no more instances are made. Those that exist stay.
    ///
    /// # Errors
    /// [`AllocError`]; some of it may be done.
    pub fn detach(&self) -> Result<(), AllocError> {
        let Some(loader) = lock(&self.source.loader).take() else { return Ok(()) };
        loader.modules().set_module_sink(None)?;
        loader.modules().set_fallback_resolver(None)
    }

    fn add(&self, name: &[u8], bytes: &ModuleBytes) -> Result<(), AllocError> {
        let smf = bytes.file().ok().and_then(File::module);
        let is_relevant = smf.is_some_and(|smf| {
            let has_templates = smf.sections().of_kind(SectionKind::TemplateCode).is_some();
            has_templates || !matches!(smf.note_contents(), Ok(None))
        });
        if is_relevant {
            let module = (try_copy_bytes(name)?, bytes.clone());
            try_push(&mut lock(&self.source.pending), module)?;
        }
        Ok(())
    }

    /// The instantiator, with the templates of all modules that have been parsed so far.
    pub fn instantiator(&self) -> &JitInstantiator {
        // Another thread waits until all are loaded.
        let _loading = lock(&self.loading);
        let pending = std::mem::take(&mut *lock(&self.source.pending));
        for (name, bytes) in pending {
            if let Err(error) = self.jit.load_read_metadata(&name, bytes.as_slice()) {
                self.record(format!("{}: {error}", name.escape_ascii()));
            }
        }
        &self.jit
    }

    /// The instance called `name`, which is made if there is none; `None` if there is no template for it, or if it
    /// [failed](Self::take_failures).
    pub fn instance(&self, name: &[u8]) -> Option<Instance> {
        match self.instantiator().try_jit_instantiate(name) {
            Ok(instance) => Some(instance),
            Err(InstantiateError::UpdateFailed { instance, .. }) => Some(instance),
            Err(InstantiateError::NotFound { .. }) => None,
            Err(error) => {
                self.record(error.to_string());
                None
            }
        }
    }

    /// The instance whose code contains an address.
    pub fn instance_at(&self, address: u64) -> Option<Instance> {
        self.jit.instance_at(address)
    }

    /// Whether a module called `name` has templates, or a note, that the instantiator has not loaded yet.
    #[cfg(feature = "exec")]
    pub(crate) fn is_pending(&self, name: &[u8]) -> bool {
        lock(&self.source.pending).iter().any(|(pending, _)| **pending == *name)
    }

    /// Why instances could not be made, and templates could not be read; the list is empty afterwards.
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.failures))
    }

    fn record(&self, failure: String) {
        let mut failures = lock(&self.failures);
        if failures.len() < MAX_FAILURES && !failures.contains(&failure) {
            // Without memory it is lost.
            let _ = try_push(&mut failures, failure);
        }
    }
}

impl Source {
    fn find_symbol(&self, name: &[u8]) -> Option<u64> {
        let loader = lock(&self.loader).clone()?;
        // A failure is that of the instance, which lacks the symbol.
        loader.modules().resolve_import(name).ok()?
    }
}

/// Sets the module sink and the fallback resolver of a loader.
fn set(loader: &Loader, templates: &TryArc<LoaderTemplates>) -> Result<(), AllocError> {
    let of_sink = templates.clone();
    let sink = move |name: &[u8], bytes: &ModuleBytes| {
        // Without memory the templates of the module are not found.
        let _ = of_sink.add(name, bytes);
    };
    let of_resolver = templates.clone();
    let resolver = move |name: &[u8]| Some(of_resolver.instance(name)?.address());
    loader.modules().set_module_sink(Some(try_box(sink)?))?;
    loader.modules().set_fallback_resolver(Some(try_box(resolver)?))
}

impl fmt::Debug for LoaderTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderTemplates").field("jit", &self.jit).finish_non_exhaustive()
    }
}
