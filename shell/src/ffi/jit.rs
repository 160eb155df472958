//! `smf_jit_*`: templates become code when a symbol is missing.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use smf_core::alloc_util::{TryArc, try_box};
use smf_core::link::{Resolve, ShortName};
use smf_core::templates::{
    InstantiateError, JitConfig, JitInstantiator, JitSymbolResolver, MetadataError,
};

use super::cptr::{slice, text};
use super::error::{ApiError, Phrase, or};
use super::handle_table::SEATS;
use super::jit_handles::{self, FromC, JITS, OpenJit, SharedJit, SmfCompiler, enter};
use super::versioned_struct::{self, sized};
use super::{args, blocks, loader_handles};
use crate::jit::Announce;

/// What an instantiator is opened with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitOptions {
    /// `sizeof(SmfJitOptions)`.
    pub size: i64,
    /// How many instances may be in the making at once, each for the one before it.
    pub max_depth: i32,
    /// A sum of 1, modules are not told of what is made of them, 2, nothing is made, 4, what happens is
    /// told on standard error, and 8, code is kept in the files of modules and taken from there.
    pub flags: i32,
}

sized!(SmfJitOptions, 16);

/// An instance, as `smf_jit_instantiate` found it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitInstance {
    /// `sizeof(SmfJitInstance)`; how much of it was filled in.
    pub size: i64,
    /// Where it is called; 0 when there is none.
    pub address: i64,
    /// Bytes of its code, which begins there.
    pub length: i64,
}

sized!(SmfJitInstance, 24);

/// How much there is in an instantiator.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfJitStatistics {
    /// `sizeof(SmfJitStatistics)`; how much of it was filled in.
    pub size: i64,
    /// Instances that were made.
    pub cached: i64,
    /// Modules whose note was loaded.
    pub modules: i64,
    /// Symbols that are remembered as not to be made.
    pub failed: i64,
    /// Instances whose code was taken from a file.
    pub kept: i64,
    /// Instances that were compiled although a file kept code for them.
    pub stale: i64,
}

sized!(SmfJitStatistics, 32, 48);

const SILENT: i32 = 1;
const DISABLED: i32 = 2;
const VERBOSE: i32 = 4;
const KEEP_CODE: i32 = 8;

const DEFAULT: SmfJitOptions = SmfJitOptions { size: 0, max_depth: 50, flags: 0 };

/// Opens an instantiator. Returns its number; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_open(options: *const SmfJitOptions) -> u64 {
    // SAFETY: passed on to the caller.
    let options = unsafe { versioned_struct::read_or(options, DEFAULT) };
    or(0, options.and_then(open))
}

fn open(options: SmfJitOptions) -> Result<u64, ApiError> {
    let SmfJitOptions { max_depth, flags, .. } = options;
    let unknown = |what, value: i32| ApiError::Unknown { what, value: i64::from(value) };
    if flags & !(SILENT | DISABLED | VERBOSE | KEEP_CODE) != 0 {
        return Err(unknown("sum of flags of an instantiator", flags));
    }
    let config = JitConfig {
        update_smf: flags & SILENT == 0,
        max_depth: u32::try_from(max_depth).map_err(|_| unknown("depth", max_depth))?,
        enabled: flags & DISABLED == 0,
        verbose: flags & VERBOSE != 0,
        keep_code: flags & KEEP_CODE != 0,
    };
    let memory = blocks::with(|blocks| blocks.lend())?;
    let compiler = TryArc::new(FromC::default())?;
    let jit = JitInstantiator::new(config, memory.memory.clone())?
        .with_compiler(compiler.clone())?
        .with_observer(Announce)?;
    let shared = TryArc::new(SharedJit::new(JitSymbolResolver::new(jit)))?;
    let open = OpenJit { shared, compiler, _memory: memory };
    JITS.open(open)?.ok_or(ApiError::TooManyJits { limit: SEATS })
}

/// Closes an instantiator. Its code goes with it, unless loaders that it was set for are still open.
#[unsafe(no_mangle)]
pub extern "C" fn smf_jit_close(jit: u64) -> bool {
    let closed = JITS.close(jit, |_, uses| (uses != 0).then_some(ApiError::JitBusy { uses }));
    if closed.is_ok() {
        blocks::give_back();
    }
    or(false, closed.map(|()| true))
}

/// Loads what the module at `path` says of its templates.
///
/// # Safety
/// `path` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load(jit: u64, path: *const c_char) -> bool {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    let loaded = enter(jit).and_then(|jit| {
        let path = path?.to_bytes();
        let short = ShortName::new(path);
        let loaded = jit.jit().load_smf_metadata(path);
        loaded.map_err(|error| ApiError::Metadata { module: short, error })
    });
    or(false, loaded.map(|()| true))
}

/// The same of a module in the archive at `path`, which is told of its instances there.
///
/// # Safety
/// Both are null or point to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load_archived(
    jit: u64,
    path: *const c_char,
    module: *const c_char,
) -> bool {
    // SAFETY: passed on to the caller.
    let path = unsafe { text("the path", path) };
    // SAFETY: as above.
    let module = unsafe { text("the name of the module", module) };
    let loaded = enter(jit).and_then(|jit| {
        let (path, module) = (path?.to_bytes(), module?.to_bytes());
        let refused = |error| ApiError::Metadata { module: ShortName::new(path), error };
        let name = std::str::from_utf8(module).map_err(|_| refused(MetadataError::NoModule))?;
        jit.jit().load_archived_metadata(path, name).map_err(refused)
    });
    or(false, loaded.map(|()| true))
}

/// The same of a module that is given as bytes, and that is told of its instances in memory alone.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL; `bytes` is null or points to as many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_load_bytes(
    jit: u64,
    name: *const c_char,
    bytes: *const u8,
    length: i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    // SAFETY: as above.
    let bytes = unsafe { slice("the bytes of the module", bytes, length) };
    let loaded = enter(jit).and_then(|jit| {
        let name = name?.to_bytes();
        let loaded = jit.jit().load_smf_bytes(name, bytes?);
        loaded.map_err(|error| ApiError::Metadata { module: ShortName::new(name), error })
    });
    or(false, loaded.map(|()| true))
}

/// Whether a module says how to make a symbol.
///
/// # Safety
/// `symbol` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_can_instantiate(jit: u64, symbol: *const c_char) -> bool {
    // SAFETY: passed on to the caller.
    let symbol = unsafe { text("the symbol", symbol) };
    let can = enter(jit).and_then(|jit| Ok(jit.jit().can_jit_instantiate(symbol?.to_bytes())));
    or(false, can)
}

/// Makes an instance, or finds the one that was made. Returns how that came out, -1 for arguments that cannot
/// be meant.
///
/// # Safety
/// `symbol` is null or points to bytes that end with a NUL; `instance` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_instantiate(
    jit: u64,
    symbol: *const c_char,
    instance: *mut SmfJitInstance,
) -> i32 {
    // SAFETY: passed on to the caller.
    let symbol = unsafe { text("the symbol", symbol) };
    let made = enter(jit).and_then(|jit| {
        let symbol = symbol?.to_bytes();
        // SAFETY: as above.
        unsafe { versioned_struct::check_wanted(instance) }?;
        Ok(jit.jit().try_jit_instantiate(symbol))
    });
    let made = match made {
        Ok(made) => made,
        Err(error) => return or(-1, Err(error)),
    };
    let found = match &made {
        Ok(instance) => Some(instance),
        Err(error) => error.instance(),
    };
    let filled = SmfJitInstance {
        size: 0,
        address: found.map_or(0, |found| found.address().cast_signed()),
        length: found.map_or(0, |found| i64::try_from(found.code().len()).unwrap_or(i64::MAX)),
    };
    // SAFETY: as above; its size was looked at.
    if let Err(error) = unsafe { versioned_struct::write_wanted(instance, filled) } {
        return or(-1, Err(error));
    }
    let Err(error) = made else { return 0 };
    let outcome = match error {
        InstantiateError::NotFound { .. } => 1,
        InstantiateError::CircularDependency { .. } => 2,
        InstantiateError::Failed(_) | InstantiateError::OutOfMemory => 3,
        InstantiateError::UpdateFailed { .. } => 4,
    };
    or(outcome, Err(ApiError::Instantiate { outcome, reason: Phrase::of(&error) }))
}

/// Where a symbol is: what it was registered with, else the instance of it, made if need be; 0 on failure.
///
/// # Safety
/// `symbol` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_resolve(jit: u64, symbol: *const c_char) -> i64 {
    // SAFETY: passed on to the caller.
    let symbol = unsafe { text("the symbol", symbol) };
    let resolved = enter(jit).and_then(|jit| {
        let symbol = symbol?.to_bytes();
        let unresolved = ApiError::Unresolved { symbol: ShortName::new(symbol) };
        jit.shared.resolver.resolve(symbol).map(u64::cast_signed).ok_or(unresolved)
    });
    or(0, resolved)
}

/// Gives a symbol an address.
///
/// # Safety
/// `symbol` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_register(jit: u64, symbol: *const c_char, address: i64) -> bool {
    // SAFETY: passed on to the caller.
    let symbol = unsafe { text("the symbol", symbol) };
    let registered = enter(jit).and_then(|jit| {
        let address = args::address("the address", address)?;
        jit.shared.resolver.register(symbol?.to_bytes(), address as u64)?;
        Ok(true)
    });
    or(false, registered)
}

/// Tells modules of everything that was made of them and that they were not told yet.
#[unsafe(no_mangle)]
pub extern "C" fn smf_jit_update(jit: u64) -> bool {
    let updated = enter(jit).and_then(|jit| {
        let failed = |error| ApiError::Instantiate { outcome: 4, reason: Phrase::of(&error) };
        jit.jit().update().map_err(failed)
    });
    or(false, updated.map(|()| true))
}

/// Sets who compiles what nobody else takes; null for nobody.
///
/// # Safety
/// `compiler` is null, or may be called as `smf.h` says, from any thread, as long as the instantiator is open
/// or set for an open loader, and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_set_compiler(
    jit: u64,
    compiler: SmfCompiler,
    user: *mut c_void,
) -> bool {
    let set = enter(jit).map(|jit| {
        // SAFETY: passed on to the caller.
        unsafe { jit.compiler.set(compiler, user) };
        true
    });
    or(false, set)
}

/// Adds code to the unit that the compiler is at.
///
/// # Safety
/// `code` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_emit(unit: u64, code: *const u8, length: i64) -> bool {
    let most = i64::try_from(jit_handles::MOST).unwrap_or(i64::MAX);
    if length > most {
        return or(false, Err(ApiError::TooLarge { what: "the code", value: length }));
    }
    // SAFETY: passed on to the caller.
    let code = unsafe { slice("the code", code, length) };
    or(false, code.and_then(|code| jit_handles::emit(unit, code)).map(|()| true))
}

/// Adds a relocation to it.
///
/// # Safety
/// `symbol` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_relocate(
    unit: u64,
    offset: i64,
    kind: i32,
    symbol: *const c_char,
    addend: i64,
) -> bool {
    // SAFETY: passed on to the caller.
    let symbol = if symbol.is_null() { Ok(c"") } else { unsafe { text("the symbol", symbol) } };
    let added =
        symbol.and_then(|s| jit_handles::relocate(unit, offset, kind, s.to_bytes(), addend));
    or(false, added.map(|()| true))
}

/// Says why there is no code for it.
///
/// # Safety
/// `why` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_fail(unit: u64, why: *const c_char) -> bool {
    // SAFETY: passed on to the caller.
    let why = unsafe { text("the reason", why) };
    or(false, why.and_then(|why| jit_handles::fail(unit, why.to_bytes())).map(|()| true))
}

/// Makes an instantiator the one that a loader asks at last; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_set_jit(loader: u64, jit: u64) -> bool {
    let set = loader_handles::enter(loader).and_then(|loader| {
        let fallback = match jit {
            0 => None,
            jit => Some(try_box(enter(jit)?.shared.clone())? as Box<dyn Resolve + Send + Sync>),
        };
        Ok(loader.modules().set_fallback_resolver(fallback).map(|()| true)?)
    });
    or(false, set)
}

/// Fills in a structure whose `size` the caller has set: as much as both sides know.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_statistics(jit: u64, statistics: *mut SmfJitStatistics) -> bool {
    let filled = enter(jit).and_then(|jit| {
        let stats = jit.jit().stats();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let filled = SmfJitStatistics {
            size: 0,
            cached: count(stats.cached_count),
            modules: count(stats.loaded_smf_count),
            failed: count(stats.failed_count),
            kept: count(stats.cache_hit_count),
            stale: count(stats.cache_stale_count),
        };
        // SAFETY: passed on to the caller.
        unsafe { versioned_struct::write(statistics, filled) }.map(|()| true)
    });
    or(false, filled)
}
