//! What a module needs from the process that loads it, beside the addresses of its imports.
//!
//! Thread-local storage, exit handlers, unwinding and other libraries belong to the process's C library and loader.
//! The core has no libc, so the host implements [`HostServices`]; the shell does so for Linux processes with libc.
//! Without it, modules that need such a service are refused by name. Services take addresses and tokens on trust, so a
//! host hands them out as a [`Host`], through which the linker alone calls them.

use alloc::vec::Vec;
use core::ops::Range;

use thiserror::Error;

use super::name::Name;
use crate::alloc_util::AllocError;

/// A service of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostService {
    /// Thread-local storage.
    ThreadLocalStorage,
    /// Constructors, destructors and exit handlers.
    Constructors,
    /// Registration of unwinding tables.
    Unwinding,
    /// Shared libraries of the system.
    Libraries,
}

impl core::fmt::Display for HostService {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ThreadLocalStorage => "thread-local storage",
            Self::Constructors => "constructors",
            Self::Unwinding => "unwinding tables",
            Self::Libraries => "shared libraries",
        })
    }
}

/// Why a service failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostServiceError {
    /// The host does not offer the service.
    #[error("the module needs {0}, which this host does not offer")]
    Unavailable(HostService),
    /// The process refused.
    #[error("{service}: {reason}")]
    Refused {
        /// The service.
        service: HostService,
        /// Why, and the remedy if there is one.
        reason: &'static str,
    },
    /// The allocator has no memory left.
    #[error("the allocator has no memory left")]
    OutOfMemory,
}

impl From<AllocError> for HostServiceError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

/// The thread-local storage of a module: what each thread gets a copy of.
#[derive(Clone, Copy, Debug)]
pub struct TlsTemplate<'t> {
    /// The initial contents, relocated. Zeroes follow up to `size`.
    pub initial: &'t [u8],
    /// The size in bytes.
    pub size: usize,
    /// A power of two.
    pub alignment: usize,
    /// Code of the module addresses the storage relative to the thread pointer (initial or local exec), so that it
    /// must have the same offset in all threads, those that exist included.
    pub is_static: bool,
}

/// Thread-local storage that the process has granted, or a symbol in such storage. Copies denote the same storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsBlock {
    /// The module number that `__tls_get_addr` takes.
    pub module: u64,
    /// The offset of the symbol in the storage of that module, in bytes; 0 of a whole block.
    pub block_offset: u64,
    /// The offset of the block or of the symbol from the thread pointer, in bytes; only of static storage.
    pub offset: Option<i64>,
    /// What the host needs to release it.
    pub token: usize,
}

/// The functions of a module that run when it is loaded and unloaded, as addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitFunctions<'m> {
    /// In the order in which they run.
    pub constructors: &'m [u64],
    /// In reverse order.
    pub destructors: &'m [u64],
    /// The address by which exit handlers of the module are registered; 0 if there is none.
    pub dso_handle: u64,
}

/// Prepared constructors and destructors. Copies denote the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitToken(pub u64);

/// An open shared library of the system. Copies denote the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryToken(pub u64);

/// Why a shared library is not open.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LibraryError {
    /// The service failed.
    #[error(transparent)]
    Service(#[from] HostServiceError),
    /// The system's loader refused, for this reason.
    #[error("{0}")]
    Refused(Name),
    /// The process has not opened the library, and the options of the loader refuse to run its initialisers.
    #[error("its initialisers would run, which the options of the loader refuse")]
    Initialisers,
}

impl From<AllocError> for LibraryError {
    fn from(error: AllocError) -> Self {
        Self::Service(error.into())
    }
}

/// Services of the process.
///
/// Every method has a default that refuses, so that a host implements what it can. The linker, which calls the methods,
/// passes the addresses of modules that it has linked, and each token as the contract of its method states. A type whose
/// methods dereference or call what they get stays private to its crate, which offers a [`Host`] of it.
pub trait HostServices: Sync {
    /// Allocates thread-local storage for every thread of the process, now and later.
    ///
    /// # Errors
    /// [`HostServiceError`].
    fn allocate_tls(&self, template: &TlsTemplate<'_>) -> Result<TlsBlock, HostServiceError> {
        let _ = template;
        Err(HostServiceError::Unavailable(HostService::ThreadLocalStorage))
    }

    /// Finds the thread-local symbol `name` in the shared objects of the process and in `libraries`; `None` if none
    /// defines it. The object stays loaded until the result is released. `is_static`: as [`TlsTemplate::is_static`].
    ///
    /// # Errors
    /// [`HostServiceError`].
    fn find_tls(
        &self,
        name: &[u8],
        is_static: bool,
        libraries: &[LibraryToken],
    ) -> Result<Option<TlsBlock>, HostServiceError> {
        let _ = (name, is_static, libraries);
        Err(HostServiceError::Unavailable(HostService::ThreadLocalStorage))
    }

    /// The address of the function that the code of TLS descriptors calls. Its argument, in the register that the ABI
    /// of the machine defines, is the address of three words: the address of the function, the module number and the
    /// offset in the storage. It returns the offset from the thread pointer and preserves all other registers that the
    /// ABI of descriptors preserves.
    ///
    /// # Errors
    /// [`HostServiceError`].
    fn tls_descriptor_function(&self) -> Result<u64, HostServiceError> {
        Err(HostServiceError::Unavailable(HostService::ThreadLocalStorage))
    }

    /// The hardware capabilities of the processor, AT_HWCAP and AT_HWCAP2 of the auxiliary vector, for the resolvers of
    /// indirect functions. Zeroes, the default, select code that needs no optional feature.
    fn hardware_capabilities(&self) -> [u64; 2] {
        [0; 2]
    }

    /// Releases the result of [`allocate_tls`](Self::allocate_tls) or [`find_tls`](Self::find_tls); once, when no code
    /// uses it any more.
    fn release_tls(&self, block: TlsBlock) {
        let _ = block;
    }

    /// Registers the unwinding tables of a loaded module: its section `.eh_frame`, `size` bytes at `address`. The
    /// linker has checked the lengths of its records; a zero word ends them. The section stays mapped, readable and
    /// unchanged until it is deregistered. Returns a token for the deregistration.
    ///
    /// # Errors
    /// [`HostServiceError`].
    fn register_unwinding(&self, address: usize, size: usize) -> Result<usize, HostServiceError> {
        let _ = (address, size);
        Err(HostServiceError::Unavailable(HostService::Unwinding))
    }

    /// Reverses [`register_unwinding`](Self::register_unwinding).
    fn deregister_unwinding(&self, address: usize, size: usize, token: usize) {
        let _ = (address, size, token);
    }

    /// Prepares the constructors and destructors of a module, without running any.
    ///
    /// # Errors
    /// [`HostServiceError`]; the module is not loaded.
    fn prepare_init(&self, functions: &InitFunctions<'_>) -> Result<InitToken, HostServiceError> {
        let _ = functions;
        Err(HostServiceError::Unavailable(HostService::Constructors))
    }

    /// Runs the constructors in order, once. If the process exits before
    /// [`run_destructors`](Self::run_destructors), the destructors run then, in reverse order of this call among all
    /// modules. Runs machine code of the module; no lock of the caller is held.
    fn run_constructors(&self, token: InitToken) {
        let _ = token;
    }

    /// Calls the handlers that code registered with `__cxa_atexit` under the module's `__dso_handle`, and then the
    /// destructors in reverse order. Does nothing the second time, and before
    /// [`run_constructors`](Self::run_constructors). Runs machine code of the module; no lock of the caller is held.
    fn run_destructors(&self, token: InitToken) {
        let _ = token;
    }

    /// Ends the use of the addresses that [`prepare_init`](Self::prepare_init) took, without running any; once.
    fn release_init(&self, token: InitToken) {
        let _ = token;
    }

    /// The definition of an import that belongs to these services: one that replaces that of the C library, such as
    /// `__cxa_thread_atexit_impl`, which has to count the destructors of a module, and `__tls_get_addr`, which code of
    /// thread-local storage calls; `None` for all other names.
    fn replacement(&self, name: &[u8]) -> Option<u64> {
        let _ = name;
        None
    }

    /// Whether threads still have to run destructors that code registered with `__cxa_thread_atexit` under a handle in
    /// `image`, the addresses of a module. Not all compilers pass `__dso_handle` itself.
    fn has_thread_destructors(&self, image: Range<u64>) -> bool {
        let _ = image;
        false
    }

    /// Opens shared libraries of the system for one more user of each, and returns their tokens in the same order. Their
    /// symbols do not become visible to others, but they may use each other's without naming each other, as the libraries of one
    /// shared object may. Initialisers may run; no lock of the caller is held.
    ///
    /// # Errors
    /// The number of the library that is refused, from 0, and the reason. None of them is open then.
    fn open_libraries(&self, names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
        let _ = names;
        Err((0, HostServiceError::Unavailable(HostService::Libraries).into()))
    }

    /// As [`open_libraries`](Self::open_libraries) for a library that the process has open, whose initialisers have run;
    /// `None` for another one. Nothing runs.
    ///
    /// # Errors
    /// [`LibraryError`].
    fn find_library(&self, name: &[u8]) -> Result<Option<LibraryToken>, LibraryError> {
        let _ = name;
        Ok(None)
    }

    /// The address of `name` in an open library, or in the libraries that it needs itself; `None` if none defines it.
    fn library_symbol(&self, library: LibraryToken, name: &[u8]) -> Option<u64> {
        let _ = (library, name);
        None
    }

    /// Closes a library for one of its users; once for each token of
    /// [`open_libraries`](Self::open_libraries) and [`find_library`](Self::find_library), when no code uses addresses in it any
    /// more. Terminators of the library may run.
    fn close_library(&self, library: LibraryToken) {
        let _ = library;
    }
}

/// The services of a host, which the linker alone can call.
///
/// ```
/// use smf_core::format::Smf;
/// use smf_core::link::{Host, HostServices, Image, Module, NoImports};
///
/// struct Processor;
///
/// impl HostServices for Processor {
///     fn hardware_capabilities(&self) -> [u64; 2] {
///         [1, 0]
///     }
/// }
///
/// /// Modules that need another service are refused.
/// pub const PROCESSOR: Host = Host::new(&Processor);
///
/// fn link<'f>(file: &Smf<'f>) -> Option<Module<'f>> {
///     Image::map(file).ok()?.link_with(&NoImports, PROCESSOR).ok()
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Host(&'static dyn HostServices);

impl Host {
    /// No services: modules that need one are refused.
    pub const NONE: Self = Self(&NoServices);

    /// The services that `services` implements.
    pub const fn new(services: &'static dyn HostServices) -> Self {
        Self(services)
    }

    pub(crate) const fn services(self) -> &'static dyn HostServices {
        self.0
    }
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

struct NoServices;

impl HostServices for NoServices {}
