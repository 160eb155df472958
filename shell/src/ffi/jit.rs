//! `smf_jit_*`: instantiates templates for unresolved symbols.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use smf_core::alloc_util::{TryArc, try_box};
use smf_core::link::{Name, Resolve};
use smf_core::loader::{ModuleBytes, ModuleSink};
use smf_core::templates::{
    Instance, InstantiateError, InstantiateErrorKind, JitConfig, JitInstantiator,
    JitSymbolResolver, MetadataError,
};

use super::args::to_i64;
use super::cache_handles::CacheHandle;
use super::constants::*;
use super::cptr::{slice, text};
use super::error::{ApiError, ArgumentError, Code, or, record, succeeded};
use super::fallback::Rank;
use super::jit_handles::{
    self, CallbackCompiler, InstanceSymbols, JITS, JitObserver, LoaderJit, LoaderModules, OpenJit,
    SharedJit, SmfCompiler, asking_loader, with,
};
use super::registered_symbols::RegisteredSymbols;
use super::versioned_struct::{self, versioned};
use super::{args, blocks, loader_handles};
use crate::fork::Users;
use crate::loader_templates::UnreadableModules;

/// Options of an instantiator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitOptions {
    /// `sizeof(SmfJitOptions)`.
    pub size: i64,
    /// The most nested instantiations.
    pub max_depth: i32,
    /// A sum of `SMF_JIT_*`: 1, notes of modules are not updated; 2, no instances are created; 4, messages on standard
    /// error; 8, code is cached in the files of modules.
    pub flags: i32,
    /// The most instances; 0 for no limit.
    pub max_instances: i64,
}

versioned!(SmfJitOptions, 16, 24);

/// An instance of a template.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitInstance {
    /// In: `sizeof(SmfJitInstance)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The entry point; 0 without an instance.
    pub address: i64,
    /// The length of the code, which starts there, in bytes.
    pub length: i64,
}

versioned!(SmfJitInstance, 24);

/// The statistics of an instantiator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitStatistics {
    /// In: `sizeof(SmfJitStatistics)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Existing instances.
    pub cached: i64,
    /// Modules whose note was loaded.
    pub modules: i64,
    /// Symbols cached as not instantiable.
    pub failed: i64,
    /// Instances whose code came from a file.
    pub kept: i64,
    /// Instances that were compiled because the cached code in the file did not fit.
    pub stale: i64,
}

versioned!(SmfJitStatistics, 32, 48);

const DEFAULT_OPTIONS: SmfJitOptions =
    SmfJitOptions { size: 0, max_depth: 50, flags: 0, max_instances: 0 };

/// Opens an instantiator. Returns its handle; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_open(options: *const SmfJitOptions) -> u64 {
    // SAFETY: the caller's promise.
    let options = unsafe { versioned_struct::read_or(options, DEFAULT_OPTIONS) };
    or(0, options.and_then(open))
}

fn open(options: SmfJitOptions) -> Result<u64, ApiError> {
    let SmfJitOptions { max_depth, flags, max_instances, .. } = options;
    if flags & !(SMF_JIT_SILENT | SMF_JIT_DISABLED | SMF_JIT_VERBOSE | SMF_JIT_KEEP_CODE) != 0 {
        return Err(ArgumentError::unknown("sum of instantiator flags", flags).into());
    }
    let config = JitConfig {
        update_smf: flags & SMF_JIT_SILENT == 0,
        max_depth: u32::try_from(max_depth)
            .map_err(|_| ArgumentError::unknown("depth", max_depth))?,
        max_instances: match args::length("the limit of instances", max_instances)? {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        },
        enabled: flags & SMF_JIT_DISABLED == 0,
        verbose: flags & SMF_JIT_VERBOSE != 0,
        keep_code: flags & SMF_JIT_KEEP_CODE != 0,
        ..JitConfig::default()
    };
    let memory = blocks::with(|blocks| blocks.share())?;
    let compiler = TryArc::new(CallbackCompiler::default())?;
    let cache = TryArc::new(CacheHandle::default())?;
    crate::stack::install_bounds();
    let jit = JitInstantiator::new(config, memory.memory.clone())?
        .with_compiler(compiler.clone())?
        .with_symbols(InstanceSymbols)?
        .with_owner(asking_loader)?
        .with_observer(JitObserver { cache: cache.clone() })?;
    let (resolver, users) = (JitSymbolResolver::new(jit), Users::default());
    let unreadable = UnreadableModules::default();
    let shared = TryArc::new(SharedJit { resolver, users, unreadable })?;
    JITS.open(OpenJit { shared, compiler, cache, _memory: memory })
}

/// Sets the cache through which an instantiator reads the files of modules; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn smf_jit_set_cache(jit: u64, cache: u64) -> bool {
    succeeded(with(jit, |jit| jit.cache.set(cache)))
}

/// Closes an instantiator. Its code is freed, unless a loader that it was set for is open.
#[unsafe(no_mangle)]
pub extern "C" fn smf_jit_close(jit: u64) -> bool {
    let closed = JITS.close(jit, |_, uses| {
        (uses != 0).then_some(ApiError::Busy { what: "the instantiator", uses })
    });
    if closed.is_ok() {
        blocks::trim_if_unused();
    }
    succeeded(closed)
}

/// Loads the note and the templates of the module at `path`.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load(jit: u64, path: *const c_char) -> bool {
    succeeded(with(jit, |jit| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        let loaded = match jit.cache.enter()? {
            Some(cache) => jit.jit().load_cached_metadata(&cache, path),
            None => jit.jit().load_smf_metadata(path),
        };
        loaded.map_err(refusal_of(path))
    }))
}

/// Loads the note and the templates of a module in the archive at `path`, whose note is updated there.
///
/// # Safety
/// Both are null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load_archived(
    jit: u64,
    path: *const c_char,
    module: *const c_char,
) -> bool {
    succeeded(with(jit, |jit| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        // SAFETY: as above.
        let module = unsafe { text("the name of the module", module) }?;
        let name = str::from_utf8(module).map_err(|_| MetadataError::NoModule);
        let cache = jit.cache.enter()?;
        let loaded = name.and_then(|name| match &cache {
            Some(cache) => jit.jit().load_cached_archived_metadata(cache, path, name),
            None => jit.jit().load_archived_metadata(path, name),
        });
        loaded.map_err(refusal_of(path))
    }))
}

/// Loads the note and the templates of a module in a copy of bytes, whose note is updated in memory only.
///
/// # Safety
/// `name` is null or NUL-terminated; `bytes` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load_bytes(
    jit: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> bool {
    succeeded(with(jit, |jit| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name", name) }?;
        // SAFETY: as above.
        let bytes = unsafe { slice("the byte array of the module", bytes, length) }?;
        jit.jit().load_smf_bytes(name, bytes).map_err(refusal_of(name))
    }))
}

/// Adds the name of the module to an error.
fn refusal_of(module: &[u8]) -> impl FnOnce(MetadataError) -> ApiError + '_ {
    move |error| Name::in_error(module, |module| ApiError::Metadata { module, error })
}

/// Whether a loaded module has a template for a symbol that is not an instance yet.
///
/// # Safety
/// `symbol` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_can_instantiate(jit: u64, symbol: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let symbol = unsafe { text("the symbol", symbol) };
    or(false, with(jit, |jit| Ok(jit.jit().can_jit_instantiate(symbol?))))
}

/// Instantiates a symbol, or finds the existing instance. Returns a result of `SMF_JIT_*`; -1 for invalid
/// arguments.
///
/// # Safety
/// `symbol` is null or NUL-terminated; `instance` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_instantiate(
    jit: u64,
    symbol: *const c_char,
    instance: *mut SmfJitInstance,
) -> i32 {
    let outcome = with(jit, |jit| {
        // SAFETY: the caller's promise.
        let symbol = unsafe { text("the symbol", symbol) }?;
        // SAFETY: as above.
        unsafe { versioned_struct::check_optional(instance) }?;
        let result = jit.jit().try_jit_instantiate(symbol);
        let found = match &result {
            Ok(instance) => Some(instance),
            Err(error) => error.instance(),
        };
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(instance, SmfJitInstance::new(found)) }?;
        let Err(error) = result else { return Ok(SMF_JIT_SUCCESS) };
        let outcome = outcome_of(&error);
        if let InstantiateError::NotFound { .. } = error
            && let Some(error) = jit.shared.unreadable_error(symbol)
        {
            record(ApiError::other(Code::NotFound, &error));
        }
        Ok(outcome)
    });
    or(-1, outcome)
}

impl SmfJitInstance {
    pub(super) fn new(found: Option<&Instance>) -> Self {
        Self {
            size: 0,
            address: found.map_or(0, |found| found.address().cast_signed()),
            length: found.map_or(0, |found| to_i64(found.code().len())),
        }
    }
}

/// The result for an error, which is recorded.
pub(super) fn outcome_of(error: &InstantiateError) -> i32 {
    let (outcome, error) = error_of(error);
    record(error);
    outcome
}

/// The result for an error, and the error of the exports.
fn error_of(error: &InstantiateError) -> (i32, ApiError) {
    let (outcome, code) = match error {
        InstantiateError::NotFound { .. } => (SMF_JIT_NOT_FOUND, Code::NotFound),
        InstantiateError::Failed(failure)
            if matches!(
                failure.kind,
                InstantiateErrorKind::Instances { .. }
                    | InstantiateErrorKind::ModuleInstances { .. }
                    | InstantiateErrorKind::CodeLimit { .. }
                    | InstantiateErrorKind::Nesting { .. }
            ) =>
        {
            (SMF_JIT_FAILED, Code::Ceiling)
        }
        InstantiateError::CircularDependency { .. } => (SMF_JIT_CIRCULAR, Code::Instantiate),
        InstantiateError::OutOfMemory(_) => (SMF_JIT_FAILED, Code::NoMemory),
        InstantiateError::Failed(failure)
            if matches!(failure.kind, InstantiateErrorKind::OutOfMemory(_)) =>
        {
            (SMF_JIT_FAILED, Code::NoMemory)
        }
        InstantiateError::Failed(_) => (SMF_JIT_FAILED, Code::Instantiate),
        InstantiateError::UpdateFailed { .. } => (SMF_JIT_UPDATE_FAILED, Code::Update),
    };
    (outcome, ApiError::other(code, error))
}

/// The address of a symbol: the registered one, else that of its instance, which is created if necessary; 0 on failure.
///
/// # Safety
/// `symbol` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_resolve(jit: u64, symbol: *const c_char) -> i64 {
    let resolved = with(jit, |jit| {
        // SAFETY: the caller's promise.
        let symbol = unsafe { text("the symbol", symbol) }?;
        let found = jit.shared.resolver.try_resolve(symbol).or_else(|error| {
            let registered = RegisteredSymbols::default().resolve(symbol);
            registered.ok_or_else(|| match error {
                InstantiateError::NotFound { .. } => match jit.shared.unreadable_error(symbol) {
                    Some(error) => ApiError::other(Code::NotFound, &error),
                    None => Name::in_error(symbol, |symbol| ApiError::Unresolved { symbol }),
                },
                error => error_of(&error).1,
            })
        });
        found.map(u64::cast_signed)
    });
    or(0, resolved)
}

/// Registers the address of a symbol.
///
/// # Safety
/// `symbol` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_register(jit: u64, symbol: *const c_char, address: i64) -> bool {
    // SAFETY: the caller's promise.
    let symbol = unsafe { text("the symbol", symbol) };
    succeeded(with(jit, |jit| {
        let address = args::address("the address", address)?;
        jit.shared.resolver.register(symbol?, address as u64)?;
        Ok(())
    }))
}

/// Records all instances that are not recorded yet in the notes of their modules.
#[unsafe(no_mangle)]
pub extern "C" fn smf_jit_update(jit: u64) -> bool {
    let failed = |error| ApiError::other(Code::Update, &error);
    succeeded(with(jit, |jit| jit.jit().update().map_err(failed)))
}

/// Sets the compiler callback for bodies that the library cannot compile; null for none.
///
/// # Safety
/// `compiler` is null, or may be called as `smf.h` says, from any thread, while the instantiator is open or set for
/// an open loader, and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_set_compiler(
    jit: u64,
    compiler: SmfCompiler,
    user: *mut c_void,
) -> bool {
    succeeded(with(jit, |jit| {
        // SAFETY: the caller's promise.
        unsafe { jit.compiler.set(compiler, user) };
        Ok(())
    }))
}

/// Appends code to the unit being compiled.
///
/// # Safety
/// `code` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_emit(unit: u64, code: *const u8, length: i64) -> bool {
    let emit = || {
        if length > to_i64(jit_handles::MAX_CODE) {
            return Err(ArgumentError::TooLarge { what: "the code", value: length }.into());
        }
        // SAFETY: the caller's promise.
        jit_handles::emit(unit, unsafe { slice("the code", code, length) }?)
    };
    succeeded(emit())
}

/// Adds a relocation to the unit being compiled.
///
/// # Safety
/// `symbol` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_relocate(
    unit: u64,
    offset: i64,
    kind: i32,
    symbol: *const c_char,
    addend: i64,
) -> bool {
    let symbol = if symbol.is_null() {
        Ok(&b""[..])
    } else {
        // SAFETY: the caller's promise.
        unsafe { text("the symbol", symbol) }
    };
    succeeded(symbol.and_then(|symbol| jit_handles::relocate(unit, offset, kind, symbol, addend)))
}

/// Fails the unit being compiled.
///
/// # Safety
/// `why` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_fail(unit: u64, why: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let why = unsafe { text("the reason", why) };
    succeeded(why.and_then(|why| jit_handles::fail(unit, why)))
}

/// Sets the instantiator that resolves the names which a loader cannot resolve otherwise; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_set_jit(loader: u64, jit: u64) -> bool {
    let handle = loader;
    succeeded(loader_handles::enter(handle).and_then(|loader| {
        let (fallback, sink) = match jit {
            0 => (None, None),
            jit => {
                let shared = with(jit, |jit| Ok(jit.shared.clone()))?;
                // Modules call its instances, also when another one is set or it is closed.
                loader.keep_jit(jit, || {
                    Ok(try_box(LoaderModules { shared: shared.clone(), loader: handle })?)
                })?;
                let fallback = LoaderJit::new(shared, handle)?;
                let of_sink = fallback.clone();
                let sink = move |name: &[u8], bytes: Option<&ModuleBytes>| {
                    LoaderJit::set_module(&of_sink, name, bytes);
                };
                let sink = try_box(sink)? as Box<ModuleSink>;
                let fallback = move |name: &[u8]| LoaderJit::resolve(&fallback, name);
                (Some(try_box(fallback)? as Box<dyn Resolve + Send + Sync>), Some(sink))
            }
        };
        loader.modules().set_module_sink(sink)?;
        loader.withdraw_except(jit);
        Ok(loader.fallback.set(loader.modules(), Rank::Instantiator, fallback)?)
    }))
}

/// Fills in the statistics.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_statistics(jit: u64, statistics: *mut SmfJitStatistics) -> bool {
    succeeded(with(jit, |jit| {
        let stats = jit.jit().stats();
        let filled = SmfJitStatistics {
            size: 0,
            cached: to_i64(stats.cached_count),
            modules: to_i64(stats.loaded_smf_count),
            failed: to_i64(stats.failed_count),
            kept: to_i64(stats.cache_hit_count),
            stale: to_i64(stats.cache_stale_count),
        };
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(statistics, filled) }
    }))
}

#[cfg(test)]
mod tests {
    use smf_core::alloc_util::AllocError;
    use smf_core::link::Name;
    use smf_core::templates::InstantiateFailure;

    use super::*;

    #[test]
    fn lack_of_memory_has_one_code() {
        let kind = InstantiateErrorKind::OutOfMemory(AllocError);
        let symbol = Name::new(b"f$i64").unwrap();
        let failure = InstantiateFailure { symbol, dependency: None, kind };
        let failed = InstantiateError::Failed(Box::new(failure));
        for error in [failed, InstantiateError::OutOfMemory(AllocError)] {
            let (outcome, error) = error_of(&error);
            assert!(outcome == 3 && error.code() == Code::NoMemory, "{error}");
        }
    }
}
