//! The services of a Linux process with libc for loaded modules: thread-local storage, exit handlers, unwinding tables,
//! shared libraries, hardware capabilities.
#![allow(unsafe_code)]

use std::ops::Range;

use smf_core::alloc_util::try_collect;
use smf_core::link::{
    Host, HostServiceError, HostServices, InitFunctions, InitToken, LibraryError, LibraryToken,
    TlsBlock, TlsTemplate,
};

use crate::{
    init_functions, needed_library, thread_exit, thread_storage, tls_descriptor, unwinding,
};

/// The services of this process, for [`LoaderOptions::host_services`](smf_core::loader::LoaderOptions::host_services) and
/// [`Image::link_with`](smf_core::link::Image::link_with). The machine code of modules is trusted: their constructors run.
///
/// The linker alone can call them, because they trust its addresses and tokens.
///
/// ```compile_fail,E0599
/// use smf_core::link::LibraryToken;
///
/// smf_loader::host_services::PROCESS_SERVICES.close_library(LibraryToken(16));
/// ```
pub const PROCESS_SERVICES: Host = Host::new(&ProcessServices);

struct ProcessServices;

impl HostServices for ProcessServices {
    fn allocate_tls(&self, template: &TlsTemplate<'_>) -> Result<TlsBlock, HostServiceError> {
        thread_storage::allocate(template)
    }

    fn find_tls(
        &self,
        name: &[u8],
        is_static: bool,
        libraries: &[LibraryToken],
    ) -> Result<Option<TlsBlock>, HostServiceError> {
        let names = try_collect(libraries.iter().map(|library| needed_library::name(*library)))?;
        thread_storage::find(name, is_static, &names)
    }

    fn tls_descriptor_function(&self) -> Result<u64, HostServiceError> {
        tls_descriptor::function()
    }

    fn hardware_capabilities(&self) -> [u64; 2] {
        // SAFETY: the function reads the auxiliary vector, and returns 0 for what that does not contain.
        [libc::AT_HWCAP, libc::AT_HWCAP2].map(|kind| unsafe { libc::getauxval(kind) })
    }

    fn release_tls(&self, block: TlsBlock) {
        thread_storage::release(block);
    }

    fn register_unwinding(&self, address: usize, size: usize) -> Result<usize, HostServiceError> {
        unwinding::register(address, size)
    }

    fn deregister_unwinding(&self, address: usize, size: usize, token: usize) {
        unwinding::deregister(address, size, token);
    }

    fn prepare_init(&self, functions: &InitFunctions<'_>) -> Result<InitToken, HostServiceError> {
        init_functions::prepare(functions)
    }

    fn run_constructors(&self, token: InitToken) {
        init_functions::run_constructors(token);
    }

    fn run_destructors(&self, token: InitToken) {
        init_functions::run_destructors(token);
    }

    fn release_init(&self, token: InitToken) {
        init_functions::release(token);
    }

    fn replacement(&self, name: &[u8]) -> Option<u64> {
        // Code of thread-local storage that is compiled with -fPIC calls it, whatever the loader resolves imports with.
        let storage = || (name == b"__tls_get_addr").then(tls_descriptor::get_addr);
        thread_exit::replacement(name).or_else(storage)
    }

    fn has_thread_destructors(&self, image: Range<u64>) -> bool {
        thread_exit::is_pending(&image)
    }

    fn open_libraries(&self, names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
        needed_library::open(names)
    }

    fn find_library(&self, name: &[u8]) -> Result<Option<LibraryToken>, LibraryError> {
        needed_library::find(name)
    }

    fn library_symbol(&self, library: LibraryToken, name: &[u8]) -> Option<u64> {
        needed_library::symbol(library, name)
    }

    fn close_library(&self, library: LibraryToken) {
        needed_library::close(library);
    }
}
