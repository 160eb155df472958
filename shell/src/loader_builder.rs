//! What a [`Loader`] is built with: options, symbols of the host, a cache.
#![allow(unsafe_code)]

#[cfg(feature = "host")]
use smf_core::alloc_util::try_box;
use smf_core::alloc_util::{AllocError, TryArc};
use smf_core::cache::FileCache;
use smf_core::loader::LoaderOptions;
use thiserror::Error;

#[cfg(feature = "host")]
use crate::host_symbols::{HostLibraryError, HostSymbols, ProcessSymbolsError};
use crate::loader::Loader;

/// Builds a [`Loader`]. Without further calls its options are those of [`LoaderOptions::default`].
///
/// ```
/// # #![allow(unsafe_code)]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))?;
/// use smf_core::loader::LoaderOptions;
/// use smf_loader::loader::Loader;
///
/// extern "C" fn scale(x: i64) -> i64 {
///     3 * x
/// }
///
/// let loader = Loader::builder()
///     .define("scale", scale as *const () as u64)
///     .options(LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() })
///     .build()?;
/// let app = loader.load_module("tests/samples/app.smf".as_ref(), None)?;
/// let held = loader.modules().get(app)?;
/// // SAFETY: `direct` takes an integer and returns one.
/// let direct = unsafe { held.get::<extern "C" fn(i64) -> i64>("direct") }?;
/// # #[cfg(target_arch = "x86_64")]
/// assert_eq!(direct(14), 42);
/// # Ok(())
/// # }
/// ```
#[must_use]
#[derive(Default)]
pub struct LoaderBuilder {
    options: LoaderOptions,
    cache: Option<TryArc<FileCache>>,
    symbols: Vec<(String, u64)>,
    #[cfg(feature = "host")]
    has_process: bool,
    #[cfg(feature = "host")]
    libraries: HostSymbols,
}

/// Why a loader could not be built.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The symbols of the process are not available.
    #[cfg(feature = "host")]
    #[error(transparent)]
    ProcessSymbols(#[from] ProcessSymbolsError),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

impl Loader {
    /// A builder with the default options.
    pub fn builder() -> LoaderBuilder {
        LoaderBuilder::default()
    }
}

impl LoaderBuilder {
    /// The options of the core's loader.
    pub fn options(self, options: LoaderOptions) -> Self {
        Self { options, ..self }
    }

    /// Files are read through `cache`.
    pub fn cache(self, cache: TryArc<FileCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Defines a symbol for the imports of modules, as [`ModuleLoader::define`](smf_core::loader::ModuleLoader::define).
    pub fn define(mut self, name: &str, address: u64) -> Self {
        self.symbols.push((name.to_owned(), address));
        self
    }

    /// Imports that no module defines are resolved in the process, libc included.
    #[cfg(feature = "host")]
    pub fn process_symbols(self) -> Self {
        Self { has_process: true, ..self }
    }

    /// Opens a shared library, in which imports are resolved that neither a module nor the process defines. The name is
    /// that of [`HostSymbols::add_library`].
    ///
    /// # Errors
    /// [`HostLibraryError`].
    ///
    /// # Safety
    /// The caller trusts the library: its initialisers run.
    #[cfg(feature = "host")]
    pub unsafe fn host_library(mut self, name: &str) -> Result<Self, HostLibraryError> {
        // SAFETY: the caller's contract.
        unsafe { self.libraries.add_library(name) }?;
        Ok(self)
    }

    /// Builds the loader.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn build(self) -> Result<Loader, BuildError> {
        let loader = Loader::new(self.options)?;
        let loader = match self.cache {
            Some(cache) => loader.with_cache(cache),
            None => loader,
        };
        for (name, address) in &self.symbols {
            loader.modules().define(name.as_bytes(), *address)?;
        }
        #[cfg(feature = "host")]
        {
            let mut symbols =
                if self.has_process { HostSymbols::of_process()? } else { HostSymbols::default() };
            symbols.append(self.libraries)?;
            if !symbols.is_empty() {
                loader.modules().set_host_resolver(Some(try_box(symbols)?))?;
            }
        }
        Ok(loader)
    }
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use std::path::Path;

    use smf_core::link::Resolve;

    use super::*;
    use crate::loader::LoadFileError;

    fn load_app(loader: &Loader) -> Result<(), LoadFileError> {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        loader.load_module(&samples.join("app.smf"), None).map(drop)
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn symbols_are_resolved_in_the_stated_order() {
        let error = load_app(&Loader::builder().build().unwrap()).unwrap_err();
        assert!(error.to_string().contains("`scale`"), "{error}");
        load_app(&Loader::builder().define("scale", 1).build().unwrap()).unwrap();
        // A library that defines a function of libc.
        let directory = std::env::temp_dir().join(format!("smf-labs-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let [source, library] = ["labs.c", "liblabs.so"].map(|name| directory.join(name));
        std::fs::write(&source, "long labs(long number) { return number; }\n").unwrap();
        let mut compiler = std::process::Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-fno-builtin", "-o"]).args([&library, &source]);
        assert!(compiler.status().unwrap().success());
        let address = |builder: LoaderBuilder| {
            // SAFETY: the library has no initialisers.
            let builder = unsafe { builder.host_library(library.to_str().unwrap()) }.unwrap();
            builder.build().unwrap().modules().resolve(b"labs").unwrap().unwrap().address
        };
        let of_process = HostSymbols::of_process().unwrap().resolve(b"labs");
        let in_process = address(Loader::builder().process_symbols());
        assert_eq!(Some(in_process), of_process);
        assert_ne!(address(Loader::builder()), in_process);
        assert_eq!(address(Loader::builder().process_symbols().define("labs", 1)), 1);
        std::fs::remove_dir_all(directory).unwrap();
        // SAFETY: nothing is opened, because there is no such library.
        let absent = unsafe { Loader::builder().host_library("no-such-library") };
        assert!(absent.err().unwrap().to_string().contains("no-such-library"));
    }
}
