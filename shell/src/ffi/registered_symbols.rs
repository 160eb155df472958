//! `smf_register_symbols`, `smf_unregister_symbols`: names of the host for all loaders and instantiators.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_char;
use std::hash::{BuildHasherDefault, DefaultHasher};

use smf_core::alloc_util::{AllocError, try_copy_bytes, try_push};
use smf_core::link::{Name, Resolve};

use super::args;
use super::cptr::{slice, text};
use super::error::{ApiError, succeeded};
use super::versioned_struct::{self, versioned};
use crate::fork::ProcessLock;
use crate::host_symbols::HostSymbols;

/// A name of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfHostSymbol {
    /// The name, NUL-terminated.
    pub name: *const c_char,
    /// Its address.
    pub address: i64,
}

/// A table of names of the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfSymbolTable {
    /// `sizeof(SmfSymbolTable)`.
    pub size: i64,
    /// The names.
    pub symbols: *const SmfHostSymbol,
    /// How many there are.
    pub count: i64,
}

versioned!(SmfSymbolTable, 24);

type Symbols = HashMap<Box<[u8]>, u64, BuildHasherDefault<DefaultHasher>>;

pub(super) static SYMBOLS: ProcessLock<Symbols> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// Registers names of the host, all or none. A name that is registered already gets the new address.
///
/// # Safety
/// `table` is null or points to the `size` bytes that its first field says, and its `symbols` are null or point to
/// `count` symbols, whose names are null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_register_symbols(table: *const SmfSymbolTable) -> bool {
    const NONE: SmfSymbolTable = SmfSymbolTable { size: 0, symbols: std::ptr::null(), count: 0 };
    // SAFETY: the caller's promise.
    let table = unsafe { versioned_struct::read(table, NONE) };
    // SAFETY: as above.
    succeeded(table.and_then(|table| unsafe { register(&table) }))
}

/// Removes names of the host, all or none. Fails if one is not registered.
///
/// # Safety
/// `names` is null or points to `count` names, each null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_unregister_symbols(names: *const *const c_char, count: i64) -> bool {
    // SAFETY: the caller's promise.
    succeeded(unsafe { unregister(names, count) })
}

/// # Safety
/// As for [`smf_unregister_symbols`].
unsafe fn unregister(names: *const *const c_char, count: i64) -> Result<(), ApiError> {
    // SAFETY: the caller's promise.
    let names = unsafe { slice("the list of names", names, count) }?;
    let mut checked = Vec::new();
    for name in names {
        // SAFETY: as above.
        try_push(&mut checked, unsafe { text("a name", *name) }?)?;
    }
    let mut known = SYMBOLS.lock();
    if let Some(unknown) = checked.iter().find(|name| !known.contains_key(**name)) {
        return Err(ApiError::Unresolved { symbol: Name::new(unknown)? });
    }
    for name in checked {
        known.remove(name);
    }
    Ok(())
}

/// # Safety
/// As for [`smf_register_symbols`].
unsafe fn register(table: &SmfSymbolTable) -> Result<(), ApiError> {
    // SAFETY: the caller's promise.
    let symbols = unsafe { slice("the list of symbols", table.symbols, table.count) }?;
    // Complete before the first is registered.
    let mut checked = Vec::new();
    for symbol in symbols {
        // SAFETY: as above.
        let name = try_copy_bytes(unsafe { text("the name of a symbol", symbol.name) }?)?;
        let address = args::address("the address of a symbol", symbol.address)?;
        try_push(&mut checked, (name, address as u64))?;
    }
    let mut known = SYMBOLS.lock();
    known.try_reserve(checked.len()).map_err(|_| AllocError)?;
    known.extend(checked);
    Ok(())
}

/// The registered symbols, and then those of the process if they are requested.
#[derive(Default)]
pub(super) struct RegisteredSymbols {
    pub(super) process: Option<HostSymbols>,
}

impl Resolve for RegisteredSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let registered = SYMBOLS.lock().get(name).copied();
        registered.or_else(|| self.process.as_ref()?.resolve(name))
    }
}
