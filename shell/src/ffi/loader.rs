//! `smf_loader_*`: loads, replaces and unloads modules. `loader_symbols` has the exports for loaded modules.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ptr;

use smf_core::alloc_util::{try_box, try_concat, try_copy_bytes, try_push};
use smf_core::link::{Name, Resolve};
use smf_core::loader::{DuplicateExports, LoaderOptions, ModuleBytes, Reloaded, StateMigration};
use smf_core::memory::{FilePolicy, Unchanged};

use super::args::{self, to_i64};
use super::blocks;
use super::constants::*;
use super::cptr::{Callback, slice, text};
use super::error::{ApiError, ArgumentError, attempt_with, or, succeeded};
use super::fallback::Rank;
use super::loader_bytecode::{self, SmfHostFunction};
use super::loader_handles::{self, OpenLoader, enter};
use super::missing::{self, with_nul};
use super::registered_symbols::RegisteredSymbols;
use super::versioned_struct::{self, versioned};
use crate::host_symbols::HostSymbols;
use crate::loader::Loader;

/// Options of a loader.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfLoaderOptions {
    /// `sizeof(SmfLoaderOptions)`.
    pub size: i64,
    /// How many bytes of memory of unloaded modules are retained for later modules.
    pub kept_bytes: i64,
    /// When two modules export the same name: 0 the first wins, 1 the second is refused.
    pub clash: i32,
    /// A sum of 1, every module is reloadable, 2, unresolved names are looked up in the process, and 4, modules with
    /// constructors, destructors, exit handlers or indirect functions are refused; and of 8, files are copied, or 16, files are
    /// mapped and the caller vouches that they do not change.
    pub flags: i32,
    /// The most bytes of memory of replaced versions that threads may still be executing; 0 for 64 MiB.
    pub max_replaced_bytes: i64,
    /// The functions of the host that bytecode calls by number; may be null without any.
    pub host_functions: *const SmfHostFunction,
    /// How many functions of the host there are.
    pub host_function_count: i64,
    /// After how many calls and loop iterations a bytecode function is compiled, or one of `SMF_COMPILE_*`.
    pub compile_threshold: i64,
}

versioned!(SmfLoaderOptions, 24, 56);

/// What a reload copied into the new version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfReloaded {
    /// In: `sizeof(SmfReloaded)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Data symbols that were copied.
    pub symbols: i64,
    /// Bytes of the copied symbols.
    pub bytes: i64,
    /// Data symbols that stay in place because other modules refer to them.
    pub kept: i64,
    /// Data symbols of both versions that were to be kept and start anew.
    pub reset: i64,
}

versioned!(SmfReloaded, 32, 40);

/// The statistics of a loader.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfLoaderStatistics {
    /// In: `sizeof(SmfLoaderStatistics)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Loaded modules.
    pub modules: i64,
    /// Replaced or unloaded versions that are still in memory.
    pub retired: i64,
    /// Bytes of memory retained for later modules.
    pub kept_bytes: i64,
    /// Holds that have not been released.
    pub held: i64,
    /// Retired versions that wait for [`smf_loader_collect`].
    pub uncounted: i64,
    /// Bytes of memory of replaced versions.
    pub replaced_bytes: i64,
}

versioned!(SmfLoaderStatistics, 40, 56);

const DEFAULT_OPTIONS: SmfLoaderOptions = SmfLoaderOptions {
    size: 0,
    kept_bytes: 4 << 20,
    clash: SMF_CLASH_FIRST_WINS,
    flags: 0,
    max_replaced_bytes: 0,
    host_functions: ptr::null(),
    host_function_count: 0,
    compile_threshold: 0,
};

/// Opens a loader. Returns its handle; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says; its host functions as for
/// `loader_bytecode::host_functions`, and with `SMF_LOADER_MAP_FILES` files as for [`Unchanged::promised`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_open(options: *const SmfLoaderOptions) -> u64 {
    // SAFETY: the caller's promise.
    let options = unsafe { versioned_struct::read_or(options, DEFAULT_OPTIONS) };
    // SAFETY: as above.
    or(0, options.and_then(|options| unsafe { open(&options) }))
}

/// # Safety
/// As [`smf_loader_open`].
unsafe fn open(options: &SmfLoaderOptions) -> Result<u64, ApiError> {
    let duplicate_exports = match options.clash {
        SMF_CLASH_FIRST_WINS => DuplicateExports::FirstWins,
        SMF_CLASH_REFUSE => DuplicateExports::Refuse,
        other => return Err(ArgumentError::unknown("rule for clashing names", other).into()),
    };
    let file_policy = match options.flags
        & !(SMF_LOADER_RELOAD_ALL | SMF_LOADER_PROCESS_SYMBOLS | SMF_LOADER_REFUSE_CONSTRUCTORS)
    {
        0 => FilePolicy::Auto,
        SMF_LOADER_COPY_FILES => FilePolicy::Copy,
        // SAFETY: the caller's promise: the flag is for files that no process changes.
        SMF_LOADER_MAP_FILES => FilePolicy::Map(unsafe { Unchanged::promised() }),
        _ => return Err(ArgumentError::unknown("sum of loader flags", options.flags).into()),
    };
    let kept = args::length("the number of retained bytes", options.kept_bytes)?;
    let replaced = args::length("the limit of replaced code", options.max_replaced_bytes)?;
    let SmfLoaderOptions { host_functions, host_function_count: count, .. } = *options;
    // SAFETY: the caller's promise.
    let host_functions = unsafe { loader_bytecode::host_functions(host_functions, count) }?;
    let tiers = loader_bytecode::tiers(options.compile_threshold)?;
    let memory = blocks::with(|blocks| blocks.share())?;
    let mut core = LoaderOptions::new(memory.memory.clone());
    core.duplicate_exports = duplicate_exports;
    core.file_policy = file_policy;
    (core.host_functions, core.tiers) = (host_functions, tiers);
    core.reload_unmarked = options.flags & SMF_LOADER_RELOAD_ALL != 0;
    core.refuse_constructors = options.flags & SMF_LOADER_REFUSE_CONSTRUCTORS != 0;
    core.kept_bytes = usize::try_from(kept).unwrap_or(usize::MAX);
    if replaced != 0 {
        core.max_replaced_bytes = usize::try_from(replaced).unwrap_or(usize::MAX);
    }
    let loader = Loader::new(core)?;
    let has_process = options.flags & SMF_LOADER_PROCESS_SYMBOLS != 0;
    let process = has_process.then(HostSymbols::of_process).transpose()?;
    loader.modules().set_host_resolver(Some(try_box(RegisteredSymbols { process })?))?;
    loader_handles::open(loader, memory)
}

/// Closes a loader and unloads its modules. Fails while a module is held or the loader is in use.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_close(loader: u64) -> bool {
    succeeded(loader_handles::close(loader))
}

/// Sets the cache through which a loader reads files; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_set_cache(loader: u64, cache: u64) -> bool {
    succeeded(enter(loader).and_then(|loader| loader.cache.set(cache)))
}

/// Loads the module at `path`, with the providers of its imports. Returns its handle; 0 on failure.
///
/// # Safety
/// `path` is null or NUL-terminated. The caller trusts a dynlib, as for
/// `SharedObject::open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load(loader: u64, path: *const c_char) -> u64 {
    let read = |loader: &OpenLoader| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        Ok((try_copy_bytes(path)?, read_file(loader, path)?))
    };
    // SAFETY: as above.
    unsafe { load(loader, read) }
}

/// Loads the module called `module` in the archive at `path`, under the name `path(module)`.
///
/// # Safety
/// Both are null or NUL-terminated. Dynlibs as for [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load_archived(
    loader: u64,
    path: *const c_char,
    module: *const c_char,
) -> u64 {
    let read = |loader: &OpenLoader| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        // SAFETY: as above.
        let module = unsafe { text("the name of the module", module) }?;
        // Names in archives are UTF-8.
        let found = match str::from_utf8(module) {
            Ok(module) => read_file(loader, path)?.module(module)?,
            Err(_) => None,
        };
        match found {
            Some(found) => Ok((try_concat(&[path, b"(", module, b")"])?, found)),
            None => {
                let (archive, module) = (Name::new(path)?, Name::new(module)?);
                Err(ApiError::NotInArchive { archive, module })
            }
        }
    };
    // SAFETY: as above.
    unsafe { load(loader, read) }
}

/// Loads a module from a copy of its bytes. Returns its handle; 0 on failure.
///
/// # Safety
/// `name` is null or NUL-terminated; `bytes` is null or points to `length` bytes. Dynlibs as for
/// [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load_bytes(
    loader: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> u64 {
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let bytes = unsafe { slice("the byte array of the module", bytes, length) };
    let read = |_: &OpenLoader| Ok((try_copy_bytes(name?)?, copy(bytes?)?));
    // SAFETY: as above.
    unsafe { load(loader, read) }
}

/// Loads a module, whose name and bytes `read` returns.
///
/// # Safety
/// Dynlibs as for [`smf_loader_load`].
unsafe fn load(
    loader: u64,
    read: impl FnOnce(&OpenLoader) -> Result<(Box<[u8]>, ModuleBytes), ApiError>,
) -> u64 {
    missing::clear();
    attempt_with(0, enter(loader), |loader| {
        let (name, bytes) = read(&loader)?;
        // SAFETY: the caller's promise.
        let dynlib = unsafe { loader.load_dynlib(&name, &bytes) }?;
        let handle = match dynlib {
            Some(handle) => handle,
            None => {
                let mapped = loader.modules().map(&name, bytes)?;
                missing::reporting(|missing| mapped.link(missing))?
            }
        };
        loader.module_to_raw(handle).inspect_err(|_| {
            // Without a handle C could never unload it.
            let _ = loader.modules().unload(handle);
        })
    })
}

/// Reads the file at a path.
pub(super) fn read_file(loader: &OpenLoader, path: &[u8]) -> Result<ModuleBytes, ApiError> {
    if let Some(bytes) = loader.read_cached(path)? {
        return Ok(bytes);
    }
    let with_path = |error| Name::in_error(path, |path| ApiError::File { path, error });
    Ok(ModuleBytes::of_file(loader.open_file(path).map_err(with_path)?)?)
}

fn copy(bytes: &[u8]) -> Result<ModuleBytes, ApiError> {
    let copy = try_copy_bytes(bytes).map_err(|_| ApiError::NoMemory { bytes: bytes.len() })?;
    Ok(ModuleBytes::new(copy)?)
}

/// Registers the module or the archive at `path` as a provider, to be loaded when a module imports from it.
///
/// # Safety
/// `path` is null or NUL-terminated. Dynlibs as for [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_provide(loader: u64, path: *const c_char) -> bool {
    let read = |loader: &OpenLoader| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        Ok((path, read_file(loader, path)?))
    };
    // SAFETY: as above.
    unsafe { provide(loader, read) }
}

/// Registers a module or an archive in a copy of bytes as a provider.
///
/// # Safety
/// As for [`smf_loader_load_bytes`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_provide_bytes(
    loader: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> bool {
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let bytes = unsafe { slice("the byte array of the module", bytes, length) };
    // SAFETY: as above.
    unsafe { provide(loader, |_| Ok((name?, copy(bytes?)?))) }
}

/// # Safety
/// Dynlibs as for [`smf_loader_load`].
unsafe fn provide<'n>(
    loader: u64,
    read: impl FnOnce(&OpenLoader) -> Result<(&'n [u8], ModuleBytes), ApiError>,
) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        let (name, bytes) = read(&loader)?;
        // Dynlibs have no table of exports to index, so they are loaded at once.
        // SAFETY: the caller's promise.
        let dynlib = unsafe { loader.load_dynlib(name, &bytes) }?;
        if dynlib.is_none() {
            loader.modules().register_provider(name, bytes)?;
        }
        Ok(())
    }))
}

/// The meaning of a `SMF_DATA_` constant of the header.
fn migration(data: i32) -> Result<StateMigration, ApiError> {
    match data {
        SMF_DATA_RESET => Ok(StateMigration::Reset),
        SMF_DATA_KEEP => Ok(StateMigration::Copy),
        SMF_DATA_KEEP_CONSTRUCTED => Ok(StateMigration::CopyConstructed),
        other => Err(ArgumentError::unknown("kind of data to keep", other).into()),
    }
}

/// Replaces a module by the version at `path`.
///
/// # Safety
/// `path` is null or NUL-terminated; `reloaded` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_reload(
    loader: u64,
    module: u64,
    path: *const c_char,
    data: i32,
    reloaded: *mut SmfReloaded,
) -> bool {
    // SAFETY: the caller's promise.
    let read = |loader: &OpenLoader| read_file(loader, unsafe { text("the path", path) }?);
    // SAFETY: as above.
    unsafe { reload(loader, module, data, reloaded, read) }
}

/// Replaces a module by the version in a copy of bytes.
///
/// # Safety
/// `bytes` is null or points to `length` bytes; `reloaded` as for [`smf_loader_reload`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_reload_bytes(
    loader: u64,
    module: u64,
    bytes: *const u8,
    length: i64,
    data: i32,
    reloaded: *mut SmfReloaded,
) -> bool {
    // SAFETY: the caller's promise.
    let read =
        |_: &OpenLoader| copy(unsafe { slice("the byte array of the module", bytes, length) }?);
    // SAFETY: as above.
    unsafe { reload(loader, module, data, reloaded, read) }
}

/// # Safety
/// `into` as for `reloaded` of [`smf_loader_reload`].
unsafe fn reload(
    loader: u64,
    module: u64,
    data: i32,
    into: *mut SmfReloaded,
    read: impl FnOnce(&OpenLoader) -> Result<ModuleBytes, ApiError>,
) -> bool {
    missing::clear();
    succeeded(enter(loader).and_then(|loader| {
        let handle = loader.module_from_raw(module)?;
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::check_optional(into) }?;
        let migration = migration(data)?;
        let bytes = read(&loader)?;
        let Reloaded { migrated, kept, .. } = missing::reporting(|missing| {
            loader.modules().reload(handle, bytes, migration, missing)
        })?;
        let (symbols, bytes) = (i64::from(migrated.symbols), to_i64(migrated.bytes));
        let (kept, reset) = (i64::from(kept), i64::from(migrated.reset));
        let filled = SmfReloaded { size: 0, symbols, bytes, kept, reset };
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(into, filled) }
    }))
}

/// Frees the replaced versions of all modules of a loader that no thread can reach, including those that only the
/// host can declare unreachable: with this call it states that no thread is executing code that it entered without
/// this library.
///
/// # Safety
/// During this call no thread executes code of a module of this loader, unless it entered that code through a function
/// of this library or holds the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_collect(loader: u64) -> bool {
    succeeded(enter(loader).map(|loader| {
        // SAFETY: the caller's promise; functions of this library that call code pin the call epochs or hold the
        // module.
        unsafe { loader.modules().collect_quiescent() };
    }))
}

/// Unloads a module.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_unload(loader: u64, module: u64) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        let handle = loader.module_from_raw(module)?;
        Ok(loader.modules().unload(handle)?)
    }))
}

/// Unloads several modules, all or none.
///
/// # Safety
/// `modules` is null or points to `count` handles.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_unload_all(
    loader: u64,
    modules: *const u64,
    count: i64,
) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        // SAFETY: the caller's promise.
        let modules = unsafe { slice("the list of modules", modules, count) }?;
        let mut handles = Vec::new();
        for module in modules {
            try_push(&mut handles, loader.module_from_raw(*module)?)?;
        }
        Ok(loader.modules().unload_all(&handles)?)
    }))
}

/// Defines a name of the host.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_define(loader: u64, name: *const c_char, address: i64) -> bool {
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name", name) };
    succeeded(enter(loader).and_then(|loader| {
        let address = args::address("the address", address)?;
        loader.modules().define(name?, address as u64)?;
        Ok(())
    }))
}

/// Opens a shared library of the system and resolves names in it.
///
/// # Safety
/// `name` is null or NUL-terminated. The caller trusts the library, whose initialisers run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_add_library(loader: u64, name: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name", name) };
    succeeded(enter(loader).and_then(|loader| match name? {
        // The system's loader takes it for the process.
        b"" => Err(ArgumentError::Empty { what: "the name" }.into()),
        // SAFETY: the caller's promise.
        name => Ok(unsafe { loader.modules().add_library(name) }?),
    }))
}

/// A resolver callback: receives a NUL-terminated name, its length and the user pointer. Returns an address, or 0.
pub type SmfResolver = Option<unsafe extern "C" fn(*const c_char, i64, *mut c_void) -> i64>;

impl Resolve for Callback<unsafe extern "C" fn(*const c_char, i64, *mut c_void) -> i64> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let text = with_nul(name).ok()?;
        let length = to_i64(name.len());
        // SAFETY: by the contract of `smf_loader_set_resolver`.
        let address = unsafe { (self.function)(text.as_ptr().cast(), length, self.user) };
        u64::try_from(address).ok().filter(|&address| address != 0)
    }
}

/// Sets the fallback resolver, which is called for a name that is not defined otherwise; null for none.
///
/// # Safety
/// `resolver` is null, or may be called with any name, from any thread, while the loader is open, and does not
/// unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_set_resolver(
    loader: u64,
    resolver: SmfResolver,
    user: *mut c_void,
) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        let callback = resolver.map(|function| try_box(Callback { function, user }));
        let fallback = callback.transpose()?.map(|callback| callback as Box<_>);
        Ok(loader.fallback.set(loader.modules(), Rank::Resolver, fallback)?)
    }))
}

/// Fills in the statistics.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_statistics(
    loader: u64,
    statistics: *mut SmfLoaderStatistics,
) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        let now = loader.modules().statistics();
        let filled = SmfLoaderStatistics {
            size: 0,
            modules: to_i64(now.modules),
            retired: to_i64(now.retired),
            kept_bytes: to_i64(now.kept_bytes),
            held: to_i64(loader.held()),
            uncounted: to_i64(now.uncounted),
            replaced_bytes: to_i64(now.replaced_bytes),
        };
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(statistics, filled) }
    }))
}

#[cfg(test)]
#[cfg(all(feature = "source", feature = "pack", target_arch = "x86_64"))]
mod tests {
    use std::ffi::CStr;

    use smf_core::format::Arch;
    use smf_core::source::{Mode, SourceFile, compile};

    use super::*;
    use crate::compile::CompileOptions;
    use crate::ffi::error::smf_last_error;
    use crate::ffi::jit::{smf_jit_close, smf_jit_open, smf_loader_set_jit};
    use crate::ffi::loader_symbols::smf_loader_resolve;

    fn load(loader: u64, name: &CStr, text: &str) -> u64 {
        let file = SourceFile { name: "m.spl", module: "m", text };
        let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
        let options = CompileOptions { arch: Arch::X86_64, level: 2, debug_directory: None };
        let bytes = crate::compile::compile(&unit, &options).unwrap();
        // SAFETY: the name is NUL-terminated, and the bytes are those of the vector.
        unsafe { smf_loader_load_bytes(loader, name.as_ptr(), bytes.as_ptr(), to_i64(bytes.len())) }
    }

    fn last_error() -> String {
        // SAFETY: the text is NUL-terminated.
        let error = unsafe { CStr::from_ptr(smf_last_error().text) };
        error.to_str().unwrap().to_owned()
    }

    #[test]
    fn name_of_an_instance_that_cannot_be_made_has_the_reason() {
        // SAFETY: null stands for the default options.
        let loader = unsafe { smf_loader_open(ptr::null()) };
        // SAFETY: as above.
        let jit = unsafe { smf_jit_open(ptr::null()) };
        assert!(smf_loader_set_jit(loader, jit));
        let text = "fn zero() -> i64: 0\nfn one<T: Int>(x: T) -> T: x\n";
        assert_ne!(load(loader, c"a", text), 0, "{}", last_error());
        let resolve = |name: &CStr| {
            // SAFETY: the name is NUL-terminated, and no symbol is asked for.
            let address = unsafe { smf_loader_resolve(loader, name.as_ptr(), ptr::null_mut()) };
            (address, last_error())
        };
        let (address, error) = resolve(c"one$text");
        assert_eq!(address, 0);
        assert!(error.starts_with("`one$text` is not defined; cannot instantiate"), "{error}");
        assert!(error.contains("`text` does not have the operations of `Int`"), "{error}");
        assert_eq!(resolve(c"two"), (0, "`two` is not defined".to_owned()));
        assert_ne!(resolve(c"one$i64").0, 0);
        assert!(smf_loader_set_jit(loader, 0) && smf_loader_close(loader) && smf_jit_close(jit));
    }

    #[test]
    fn import_with_other_types_is_refused() {
        // SAFETY: null stands for the default options.
        let loader = unsafe { smf_loader_open(ptr::null()) };
        let load = |name, text: &str| load(loader, name, text);
        assert_ne!(load(c"a", "fn sum(xs: [i64]) -> i64: xs[0] + xs[1]\n"), 0);
        let user = |ty: &str| {
            format!("extern fn sum(xs: [{ty}]) -> i64\nfn f() -> i64: sum([4{ty}, 5{ty}])\n")
        };
        assert_eq!(load(c"b", &user("i8")), 0);
        assert_ne!(load(c"b", &user("i64")), 0);
        assert!(smf_loader_close(loader));
    }
}
