//! `smf_loader_*`: many modules that find each other's symbols, come and go and are replaced.
//! `loader_symbols` has what is done with a module that is loaded.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use smf_core::alloc_util::{try_box, try_concat, try_copy_bytes as copy_of, try_push};
use smf_core::link::{Resolve, ShortName};
use smf_core::loader::{
    DuplicateExports, LoaderOptions, ModuleBytes, Reloaded, StateMigration, UnresolvedImport,
};
use smf_core::memory::FileBytes;

use super::args;
use super::cptr::{slice, text};
use super::error::{ApiError, or};
use super::loader_handles::{self, Use};
use super::missing::{self, Collector, with_nul};
use super::versioned_struct::{self, sized};
use crate::files::Input;
use crate::host_symbols::HostSymbols;

/// What a loader is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfLoaderOptions {
    /// `sizeof(SmfLoaderOptions)`, so that a later library knows what there is.
    pub size: i64,
    /// How many bytes of memory of unloaded modules are kept for the next ones.
    pub kept_bytes: i64,
    /// When two modules export the same name: 0 the first is meant, 1 the second is refused.
    pub clash: i32,
    /// A sum of 1, modules may be replaced although their file does not say so, and 2, names that nobody
    /// knows are looked for in the process.
    pub flags: i32,
    /// How many bytes of memory replaced versions may take as long as threads may be inside; 0 for 64 MiB.
    pub max_replaced_bytes: i64,
}

sized!(SmfLoaderOptions, 24, 32);

/// What was copied into a new version.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfReloaded {
    /// `sizeof(SmfReloaded)`; how much of it was filled in.
    pub size: i64,
    /// Symbols of data that were copied.
    pub symbols: i64,
    /// Their bytes.
    pub bytes: i64,
    /// How many data stay where other modules refer to them.
    pub kept: i64,
}

sized!(SmfReloaded, 32);

/// How much there is in a loader.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfLoaderStatistics {
    /// `sizeof(SmfLoaderStatistics)`; how much of it was filled in.
    pub size: i64,
    /// Modules that are loaded.
    pub modules: i64,
    /// Versions that were replaced or unloaded and are still in memory.
    pub retired: i64,
    /// Bytes of memory that are kept for the next modules.
    pub kept_bytes: i64,
    /// How often a module was held and has not been released.
    pub held: i64,
    /// Versions among `retired` that wait for [`smf_loader_collect`].
    pub uncounted: i64,
    /// Bytes of memory of replaced versions.
    pub replaced_bytes: i64,
}

sized!(SmfLoaderStatistics, 40, 56);

const RELOAD_ALL: i32 = 1;
const PROCESS_SYMBOLS: i32 = 2;

const DEFAULT: SmfLoaderOptions =
    SmfLoaderOptions { size: 0, kept_bytes: 4 << 20, clash: 0, flags: 0, max_replaced_bytes: 0 };

/// Opens a loader. Returns its number; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_open(options: *const SmfLoaderOptions) -> u64 {
    // SAFETY: passed on to the caller.
    let options = unsafe { versioned_struct::read_or(options, DEFAULT) };
    or(0, options.and_then(open))
}

fn open(options: SmfLoaderOptions) -> Result<u64, ApiError> {
    let unknown = |what, value| ApiError::Unknown { what, value: i64::from(value) };
    let duplicate_exports = match options.clash {
        0 => DuplicateExports::FirstWins,
        1 => DuplicateExports::Refuse,
        other => return Err(unknown("rule for names that clash", other)),
    };
    if options.flags & !(RELOAD_ALL | PROCESS_SYMBOLS) != 0 {
        return Err(unknown("sum of flags of a loader", options.flags));
    }
    let kept = args::length("the number of bytes kept", options.kept_bytes)?;
    let kept_bytes = usize::try_from(kept).unwrap_or(usize::MAX);
    let replaced = args::length("the limit of replaced code", options.max_replaced_bytes)?;
    let replaced = usize::try_from(replaced).unwrap_or(usize::MAX);
    let reload_unmarked = options.flags & RELOAD_ALL != 0;
    let core = |code_memory| {
        let rest = LoaderOptions::new(code_memory);
        let max_replaced_bytes = if replaced == 0 { rest.max_replaced_bytes } else { replaced };
        LoaderOptions { duplicate_exports, reload_unmarked, kept_bytes, max_replaced_bytes, ..rest }
    };
    loader_handles::open(core, |modules| {
        if options.flags & PROCESS_SYMBOLS == 0 {
            return Ok(());
        }
        modules.set_host_resolver(Some(try_box(HostSymbols::of_process()?)?))
    })
}

/// Closes a loader and unloads all of its modules. Fails while a module is held, and while the loader is
/// in use.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_close(loader: u64) -> bool {
    or(false, loader_handles::close(loader).map(|()| true))
}

/// Loads the module at `path`, and what it needs of what was provided. Returns its number; 0 on failure.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL. The caller trusts a dynlib that is opened, as
/// `SharedObject::open` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load(loader: u64, path: *const c_char) -> u64 {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let find = |_: &Use| {
        let path = path?.to_bytes();
        Ok((copy_of(path)?, read(path)?))
    };
    // SAFETY: as above.
    unsafe { load(loader, find) }
}

/// Loads the module called `module` in the archive at `path`, under the name `path(module)`.
///
/// # Safety
/// Both are null or point to bytes that end with a NUL. A dynlib as in [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load_archived(
    loader: u64,
    path: *const c_char,
    module: *const c_char,
) -> u64 {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    // SAFETY: as above.
    let module = unsafe { text("the name of the module", module) };
    let find = |_: &Use| {
        let (path, module) = (path?.to_bytes(), module?.to_bytes());
        let archive = ShortName::new(path);
        let none = ApiError::NotInArchive { archive, module: ShortName::new(module) };
        // Names in archives are UTF-8.
        let found = match str::from_utf8(module) {
            Ok(module) => read(path)?.module(module)?,
            Err(_) => None,
        };
        let name = try_concat(&[path, b"(", module, b")"])?;
        Ok((name, found.ok_or(none)?))
    };
    // SAFETY: as above.
    unsafe { load(loader, find) }
}

/// Loads a module from a copy of its bytes. Returns its number; 0 on failure.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `bytes` is null or points to as many. A dynlib as in
/// [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_load_bytes(
    loader: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> u64 {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let bytes = unsafe { slice("the bytes of the module", bytes, length) };
    let find = |_: &Use| Ok((copy_of(name?.to_bytes())?, copy(bytes?)?));
    // SAFETY: as above.
    unsafe { load(loader, find) }
}

/// Loads the bytes that `find` returns with their name.
///
/// # Safety
/// As [`Loader::place`](crate::loader::Loader::place).
unsafe fn load(
    loader: u64,
    find: impl FnOnce(&Use) -> Result<(Box<[u8]>, ModuleBytes), ApiError>,
) -> u64 {
    missing::forget();
    let loaded = loader_handles::enter(loader).and_then(|loader| {
        let (name, bytes) = find(&loader)?;
        // SAFETY: passed on to the caller.
        let dynlib = unsafe { loader.load_dynlib(&name, &bytes) }?;
        let handle = match dynlib {
            Some(handle) => handle,
            None => {
                let mut lacks = Collector::default();
                let mut add = |import: &UnresolvedImport<'_>| lacks.add(import);
                let loaded = loader.modules().load_reporting(&name, bytes, &mut add);
                lacks.finish(loaded)?
            }
        };
        let number = loader.number_of(handle);
        if number.is_err() {
            // Nobody could ever say so.
            let _ = loader.modules().unload(handle);
        }
        number
    });
    or(0, loaded)
}

/// The file at a path, as a copy.
fn read(path: &[u8]) -> Result<ModuleBytes, ApiError> {
    let bytes = FileBytes::read(path, FileBytes::DEFAULT_LIMIT);
    let named = |error| ApiError::File { path: ShortName::new(path), error };
    Ok(ModuleBytes::new(Input::File(bytes.map_err(named)?))?)
}

fn copy(bytes: &[u8]) -> Result<ModuleBytes, ApiError> {
    let copy = copy_of(bytes).map_err(|_| ApiError::NoRoom { bytes: bytes.len() })?;
    Ok(ModuleBytes::new(copy)?)
}

/// Adds the module or the archive at `path` to those that are loaded when somebody imports from them.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL. A dynlib as in [`smf_loader_load`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_provide(loader: u64, path: *const c_char) -> bool {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let find = || {
        let path = path?.to_bytes();
        Ok((path, read(path)?))
    };
    // SAFETY: as above.
    unsafe { provide(loader, find) }
}

/// The same with a copy of bytes.
///
/// # Safety
/// As [`smf_loader_load_bytes`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_provide_bytes(
    loader: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let bytes = unsafe { slice("the bytes of the module", bytes, length) };
    // SAFETY: as above.
    unsafe { provide(loader, || Ok((name?.to_bytes(), copy(bytes?)?))) }
}

/// # Safety
/// As [`Loader::place`](crate::loader::Loader::place).
unsafe fn provide<'n>(
    loader: u64,
    find: impl FnOnce() -> Result<(&'n [u8], ModuleBytes), ApiError>,
) -> bool {
    let provided = loader_handles::enter(loader).and_then(|loader| {
        let (name, bytes) = find()?;
        // A dynlib does not say what it exports.
        // SAFETY: passed on to the caller.
        let dynlib = unsafe { loader.load_dynlib(name, &bytes) }?;
        if dynlib.is_none() {
            loader.modules().register_provider(name, bytes)?;
        }
        Ok(true)
    });
    or(false, provided)
}

/// Replaces a module by the version that is now at `path`.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL; `reloaded` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_reload(
    loader: u64,
    module: u64,
    path: *const c_char,
    keep_data: bool,
    reloaded: *mut SmfReloaded,
) -> bool {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let find = || read(path?.to_bytes());
    // SAFETY: as above.
    unsafe { reload(loader, module, keep_data, reloaded, find) }
}

/// The same with a copy of bytes.
///
/// # Safety
/// `bytes` is null or points to as many; `reloaded` as in [`smf_loader_reload`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_reload_bytes(
    loader: u64,
    module: u64,
    bytes: *const u8,
    length: i64,
    keep_data: bool,
    reloaded: *mut SmfReloaded,
) -> bool {
    // SAFETY: passed on to the caller.
    let bytes = unsafe { slice("the bytes of the module", bytes, length) };
    let find = || copy(bytes?);
    // SAFETY: as above.
    unsafe { reload(loader, module, keep_data, reloaded, find) }
}

/// # Safety
/// `into` as in [`smf_loader_reload`].
unsafe fn reload(
    loader: u64,
    module: u64,
    keep_data: bool,
    into: *mut SmfReloaded,
    find: impl FnOnce() -> Result<ModuleBytes, ApiError>,
) -> bool {
    missing::forget();
    let done = loader_handles::enter(loader).and_then(|loader| {
        let handle = loader.handle_of(module)?;
        // SAFETY: passed on to the caller.
        unsafe { versioned_struct::check_wanted(into) }?;
        let old_data = if keep_data { StateMigration::Copy } else { StateMigration::Reset };
        let mut lacks = Collector::default();
        let mut add = |import: &UnresolvedImport<'_>| lacks.add(import);
        let reloaded = loader.modules().reload(handle, find()?, old_data, &mut add);
        let Reloaded { migrated, kept, .. } = lacks.finish(reloaded)?;
        let bytes = i64::try_from(migrated.bytes).unwrap_or(i64::MAX);
        let (symbols, kept) = (i64::from(migrated.symbols), i64::from(kept));
        let filled = SmfReloaded { size: 0, symbols, bytes, kept };
        // SAFETY: as above.
        unsafe { versioned_struct::write_wanted(into, filled) }?;
        Ok(true)
    });
    or(false, done)
}

/// Frees the replaced versions of all modules of a loader that no thread can reach, also those that wait for
/// the host's statement, which this call is: no thread is inside code that it entered without the library.
///
/// # Safety
/// From the start of this call to its end no thread is inside code of a module of this loader that it entered
/// other than by a function of this library, or while it holds the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_collect(loader: u64) -> bool {
    let collected = loader_handles::enter(loader).map(|loader| {
        // SAFETY: passed on to the caller: functions of this library that call code pin the epochs of calls,
        // or hold the module.
        unsafe { loader.modules().collect_quiescent() };
        true
    });
    or(false, collected)
}

/// Takes a module away.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_unload(loader: u64, module: u64) -> bool {
    let unloaded = loader_handles::enter(loader).and_then(|loader| {
        let handle = loader.handle_of(module)?;
        Ok(loader.modules().unload(handle)?)
    });
    or(false, unloaded.map(|()| true))
}

/// Takes modules away together: all or none of them.
///
/// # Safety
/// `modules` is null or points to `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_unload_all(
    loader: u64,
    modules: *const u64,
    count: i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let modules = unsafe { slice("the list of modules", modules, count) };
    let unloaded = loader_handles::enter(loader).and_then(|loader| {
        let mut handles = Vec::new();
        for module in modules? {
            try_push(&mut handles, loader.handle_of(*module)?)?;
        }
        Ok(loader.modules().unload_all(&handles)?)
    });
    or(false, unloaded.map(|()| true))
}

/// Gives a name of the host an address.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_define(loader: u64, name: *const c_char, address: i64) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    let defined = loader_handles::enter(loader).and_then(|loader| {
        let address = args::address("the address", address)?;
        loader.modules().define(name?.to_bytes(), address as u64)?;
        Ok(true)
    });
    or(false, defined)
}

/// Who is asked at last for a name: its bytes, with a NUL behind them, their number, and what was given
/// with it. Returns an address, or 0.
pub type SmfResolver = Option<unsafe extern "C" fn(*const c_char, i64, *mut c_void) -> i64>;

/// A pointer of C that is only handed back.
#[derive(Clone, Copy)]
pub(super) struct UserData(pub(super) *mut c_void);

// SAFETY: it is never followed here; that the function it is given to may be called from any thread is
// what the header asks for.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

struct Callback {
    function: unsafe extern "C" fn(*const c_char, i64, *mut c_void) -> i64,
    user: UserData,
}

impl Resolve for Callback {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let text = with_nul(name).ok()?;
        let length = i64::try_from(name.len()).ok()?;
        // SAFETY: whoever has set the resolver promises that it may be called with any name, from any
        // thread, and does not unwind.
        let address = unsafe { (self.function)(text.as_ptr().cast(), length, self.user.0) };
        u64::try_from(address).ok().filter(|&address| address != 0)
    }
}

/// Sets who is asked for a name when everybody else has been; null for nobody.
///
/// # Safety
/// `resolver` is null, or may be called with any name, from any thread, as long as the loader is open, and
/// does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_set_resolver(
    loader: u64,
    resolver: SmfResolver,
    user: *mut c_void,
) -> bool {
    let set = loader_handles::enter(loader).and_then(|loader| {
        let callback =
            resolver.map(|function| try_box(Callback { function, user: UserData(user) }));
        let fallback = callback.transpose()?.map(|callback| callback as Box<_>);
        Ok(loader.modules().set_fallback_resolver(fallback).map(|()| true)?)
    });
    or(false, set)
}

/// Fills in a structure whose `size` the caller has set: as much as both sides know.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_statistics(
    loader: u64,
    statistics: *mut SmfLoaderStatistics,
) -> bool {
    let filled = loader_handles::enter(loader).and_then(|loader| {
        let now = loader.modules().statistics();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let filled = SmfLoaderStatistics {
            size: 0,
            modules: count(now.modules),
            retired: count(now.retired),
            kept_bytes: count(now.kept_bytes),
            held: i64::try_from(loader.held()).unwrap_or(i64::MAX),
            uncounted: count(now.uncounted),
            replaced_bytes: count(now.replaced_bytes),
        };
        // SAFETY: passed on to the caller.
        unsafe { versioned_struct::write(statistics, filled) }
    });
    or(false, filled.map(|()| true))
}
