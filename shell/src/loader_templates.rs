//! Templates of the modules of a loader: a missing import becomes an instance.
//!
//! [`LoaderTemplates::attach`] makes an instantiator the fallback resolver of a [`Loader`]. It has the templates and notes of
//! all files that the loader maps or registers from then on, from the bytes that the loader has read. They are looked at when
//! the first name is missing.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smf_core::alloc_util::{AllocError, try_box, try_copy_bytes, try_push};
use smf_core::format::{File, SectionKind};
use smf_core::link::Resolve;
use smf_core::loader::ModuleBytes;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{InstantiateError, JitConfig, JitInstantiator};

use crate::jit::Announce;
use crate::loader::Loader;

/// The maximum number of recorded failures.
const MAX_FAILURES: usize = 16;

/// The instantiator of a loader.
pub struct LoaderTemplates {
    jit: JitInstantiator,
    files: &'static Mutex<Files>,
    /// Held while pending modules are loaded into the instantiator.
    loading: Mutex<()>,
    failures: Mutex<Vec<String>>,
}

/// The modules that the loader has parsed, by name.
#[derive(Default)]
struct Files {
    /// Modules with templates or a note that the instantiator has not loaded yet.
    pending: Vec<(Box<[u8]>, ModuleBytes)>,
    /// Modules that are loaded on demand.
    providers: Vec<(Box<[u8]>, ModuleBytes)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LoaderTemplates {
    /// Sets the module sink and the fallback resolver of `loader`. Both stay as long as the process: instances may run until
    /// its end. Their code is allocated in `memory`.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn attach(
        loader: &'static Loader,
        config: JitConfig,
        memory: CodeMemory,
    ) -> Result<&'static Self, AllocError> {
        let files: &'static Mutex<Files> = Box::leak(try_box(Mutex::default())?);
        let symbols = move |name: &[u8]| find_symbol(loader, files, name);
        let jit = JitInstantiator::new(config, memory)?;
        let jit = jit.with_observer(Announce)?.with_symbols(symbols)?;
        let (loading, failures) = (Mutex::default(), Mutex::default());
        let templates: &'static Self = Box::leak(try_box(Self { jit, files, loading, failures })?);
        let sink = move |name: &[u8], bytes: &ModuleBytes, is_provider: bool| {
            // Without memory the templates of the module are not found.
            let _ = templates.add(name, bytes, is_provider);
        };
        loader.modules().set_module_sink(Some(try_box(sink)?))?;
        loader.modules().set_fallback_resolver(Some(try_box(templates)?))?;
        Ok(templates)
    }

    fn add(&self, name: &[u8], bytes: &ModuleBytes, is_provider: bool) -> Result<(), AllocError> {
        let mut files = lock(self.files);
        if is_provider {
            try_push(&mut files.providers, (try_copy_bytes(name)?, bytes.clone()))?;
        }
        let smf = bytes.file().ok().and_then(File::module);
        let is_relevant = smf.is_some_and(|smf| {
            let has_templates = smf.sections().of_kind(SectionKind::TemplateCode).is_some();
            has_templates || !matches!(smf.note_contents(), Ok(None))
        });
        if is_relevant {
            try_push(&mut files.pending, (try_copy_bytes(name)?, bytes.clone()))?;
        }
        Ok(())
    }

    /// The instantiator, with the templates of all modules that have been parsed so far.
    pub fn instantiator(&self) -> &JitInstantiator {
        // Another thread waits until all are loaded.
        let _loading = lock(&self.loading);
        let pending = std::mem::take(&mut lock(self.files).pending);
        for (name, bytes) in pending {
            if let Err(error) = self.jit.load_read_metadata(&name, bytes.as_slice()) {
                self.record(format!("{}: {error}", name.escape_ascii()));
            }
        }
        &self.jit
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

/// The address of `name` in the loaded modules and the host, or else in a provider, which is loaded.
fn find_symbol(loader: &Loader, files: &Mutex<Files>, name: &[u8]) -> Option<u64> {
    if let Some(found) = loader.modules().resolve(name).ok()? {
        return Some(found.address);
    }
    let provider = lock(files).providers.iter().find(|(_, bytes)| exports(bytes, name)).cloned();
    let (module, bytes) = provider?;
    // A failure is that of the instance, which lacks the symbol.
    loader.modules().load(&module, bytes).ok()?;
    Some(loader.modules().resolve(name).ok()??.address)
}

fn exports(bytes: &ModuleBytes, name: &[u8]) -> bool {
    let smf = bytes.file().ok().and_then(File::module);
    smf.is_some_and(|smf| {
        let mut symbols = smf.symbols().iter().flatten();
        symbols.any(|symbol| symbol.name() == name && !symbol.is_import() && symbol.is_export())
    })
}

impl Resolve for &'static LoaderTemplates {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        match self.instantiator().try_jit_instantiate(name) {
            Ok(instance) => Some(instance.address()),
            Err(InstantiateError::UpdateFailed { instance, .. }) => Some(instance.address()),
            Err(InstantiateError::NotFound { .. }) => None,
            Err(error) => {
                self.record(error.to_string());
                None
            }
        }
    }
}

impl fmt::Debug for LoaderTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderTemplates").field("jit", &self.jit).finish_non_exhaustive()
    }
}
