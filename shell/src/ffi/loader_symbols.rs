//! `smf_loader_*`: the symbols of loaded modules, and calls by name.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ptr;

use smf_core::format::{Binding, SymbolKind};
use smf_core::link::{Export, Name};
use smf_core::loader::ModuleRef;
use smf_core::trap::MAX_ARGS;
#[cfg(any(test, not(target_arch = "x86_64")))]
use smf_core::{trap::TrapError, vm::CallError};

use super::args::to_i64;
use super::constants::*;
use super::cptr::{slice, text};
use super::error::{ApiError, ArgumentError, attempt_with, or, succeeded};
use super::loader_handles::{LoaderLease, enter};
use super::missing::{explained, with_nul};
use super::versioned_struct::{self, versioned};
use crate::{call, link_failures};

/// A symbol definition.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfSymbol {
    /// In: `sizeof(SmfSymbol)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The address.
    pub address: i64,
    /// The size in bytes; 0 if unknown.
    pub bytes: i64,
    /// The defining module; 0 for the host.
    pub module: u64,
    /// `SMF_SYMBOL_*`.
    pub kind: i32,
    /// `SMF_BINDING_*`.
    pub binding: i32,
}

versioned!(SmfSymbol, 40);

impl SmfSymbol {
    fn new(module: u64, export: &Export) -> Self {
        let (address, bytes) = (export.address.cast_signed(), to_i64(export.size));
        let (kind, binding) = (symbol_kind_code(export.kind), i32::from(export.binding.number()));
        Self { size: size_of::<Self>() as i64, address, bytes, module, kind, binding }
    }
}

/// `SMF_SYMBOL_*`.
pub(super) fn symbol_kind_code(kind: SymbolKind) -> i32 {
    match kind {
        SymbolKind::Function => SMF_SYMBOL_FUNCTION,
        SymbolKind::Data => SMF_SYMBOL_DATA,
        SymbolKind::Constant => SMF_SYMBOL_CONSTANT,
        SymbolKind::Section => SMF_SYMBOL_SECTION,
        // Without an address, or of an unknown kind.
        SymbolKind::None | SymbolKind::Type | SymbolKind::Trait | SymbolKind::Actor => {
            SMF_SYMBOL_UNKNOWN
        }
    }
}

/// The handle of the module called `name`; 0 on failure.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_find(loader: u64, name: *const c_char) -> u64 {
    attempt_with(0, enter(loader), |loader| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name", name) }?;
        let found = loader.modules().find(name);
        let unknown = || Name::in_error(name, |module| ApiError::NoModule { module });
        loader.module_to_raw(found.ok_or_else(unknown)?)
    })
}

/// Holds the current version of a module, or a held version once more. Returns the handle of the hold; 0 on
/// failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_hold(loader: u64, module: u64) -> u64 {
    or(0, enter(loader).and_then(|loader| loader.hold(module)))
}

/// Releases a hold.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_release(loader: u64, hold: u64) -> bool {
    succeeded(enter(loader).and_then(|loader| loader.release(hold)))
}

/// Resolves a name as an import is. Returns the address; 0 on failure.
///
/// # Safety
/// `name` is null or NUL-terminated; `symbol` is null or points to the `size` bytes
/// that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_resolve(
    loader: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
) -> i64 {
    let find = |loader: &LoaderLease, name: &[u8]| {
        let (found, reasons) = link_failures::collect(|| loader.modules().resolve(name));
        let unresolved = || Name::in_error(name, |symbol| ApiError::Unresolved { symbol });
        let found = found?.ok_or_else(|| explained(unresolved(), &reasons))?;
        let (address, kind) = (found.address, found.kind);
        let unlisted = Export { address, kind, binding: Binding::Global, size: 0 };
        let Some(module) = found.module else { return Ok(SmfSymbol::new(0, &unlisted)) };
        let handle = loader.module_to_raw(module.handle())?;
        let export = module.export(name).unwrap_or(unlisted);
        Ok(SmfSymbol::new(handle, &Export { address, ..export }))
    };
    // SAFETY: the caller's promise.
    unsafe { find_symbol(loader, name, symbol, find) }
}

/// Fills in the symbol that `find` returns, unless `symbol` is null, and returns its address.
///
/// # Safety
/// As for [`smf_loader_resolve`].
unsafe fn find_symbol(
    loader: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
    find: impl FnOnce(&LoaderLease, &[u8]) -> Result<SmfSymbol, ApiError>,
) -> i64 {
    attempt_with(0, enter(loader), |loader| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name", name) }?;
        // SAFETY: as above.
        unsafe { versioned_struct::check_optional(symbol) }?;
        let found = find(&loader, name)?;
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(symbol, found) }?;
        Ok(found.address)
    })
}

/// Looks up an export of a module or of a held version. Returns the address; 0 on failure.
///
/// # Safety
/// As for [`smf_loader_resolve`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_symbol(
    loader: u64,
    module: u64,
    name: *const c_char,
    symbol: *mut SmfSymbol,
) -> i64 {
    let find = |loader: &LoaderLease, name: &[u8]| {
        let version = loader.version(module)?;
        let export = version.export(name).ok_or_else(|| not_found(&version, name))?;
        let module = loader.module_to_raw(version.handle())?;
        Ok(SmfSymbol::new(module, &export))
    };
    // SAFETY: the caller's promise.
    unsafe { find_symbol(loader, name, symbol, find) }
}

/// The address of an export of a module that stays valid across reloads, as that of [`smf_loader_resolve`]; 0 on failure.
///
/// # Safety
/// As for [`smf_loader_resolve`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_stable(loader: u64, module: u64, name: *const c_char) -> i64 {
    let find = |loader: &LoaderLease, name: &[u8]| {
        let version = loader.version(module)?;
        let found = loader.modules().stable_export(version.handle(), name)?;
        let export = found.ok_or_else(|| not_found(&version, name))?;
        Ok(SmfSymbol::new(loader.module_to_raw(version.handle())?, &export))
    };
    // SAFETY: the caller's promise; there is no structure to fill in.
    unsafe { find_symbol(loader, name, ptr::null_mut(), find) }
}

/// Why a version has no address for a name.
fn not_found(version: &ModuleRef<'_>, symbol: &[u8]) -> ApiError {
    let no_symbol = || ApiError::no_symbol(symbol, version.name());
    version.refusal(symbol).map_or_else(no_symbol, ApiError::from)
}

/// The entry point of a module or of a held version; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_entry_point(loader: u64, module: u64) -> i64 {
    attempt_with(0, enter(loader), |loader| {
        let version = loader.version(module)?;
        let without = |module| ApiError::NoEntryPoint { module };
        let refusal = || Name::in_error(version.name(), without);
        version.entry_point().map(u64::cast_signed).ok_or_else(refusal)
    })
}

/// Calls a function of a module or of a held version. The version is held during the call.
///
/// # Safety
/// `name` is null or NUL-terminated; `arguments` is null or points to `count`
/// integers; `result` is null or points to memory for one. The function
/// takes these arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_call(
    loader: u64,
    module: u64,
    name: *const c_char,
    arguments: *const i64,
    count: i64,
    result: *mut i64,
) -> bool {
    let called = enter(loader).and_then(|loader| {
        if count > MAX_ARGS as i64 {
            return Err(ArgumentError::TooManyArguments { count }.into());
        }
        // SAFETY: the caller's promise.
        let arguments = unsafe { slice("the list of arguments", arguments, count) }?;
        // SAFETY: as above.
        let name = unsafe { text("the name", name) }?;
        let version = loader.version(module)?;
        let export = version.export(name).filter(|e| e.kind == SymbolKind::Function);
        check_argument_count(&version, name, arguments.len())?;
        // Dynlibs do not record the kinds of their symbols.
        let function = export.map(|e| e.address).or_else(|| version.function(name));
        let Some(function) = function else {
            #[cfg(not(target_arch = "x86_64"))]
            if let Some(called) = call_interpreted(&version, name, arguments) {
                return called;
            }
            return Err(not_found(&version, name));
        };
        // SAFETY: a function of a held version, which takes these arguments by the caller's promise.
        let returned = unsafe { call::call(function, arguments) };
        returned.map_err(ApiError::Call)
    });
    succeeded(called.map(|returned| {
        if !result.is_null() {
            // SAFETY: not null, so writable by the caller's promise.
            unsafe { result.write_unaligned(returned) };
        }
    }))
}

/// Refuses a call of a bytecode function with another number of arguments than it has parameters.
fn check_argument_count(
    version: &ModuleRef<'_>,
    name: &[u8],
    given: usize,
) -> Result<(), ArgumentError> {
    let function = version.engine().zip(version.bytecode_function(name));
    let function = function.and_then(|(engine, index)| engine.program().function(index));
    match function.map(|function| usize::from(function.params)) {
        Some(expected) if expected != given => {
            Err(ArgumentError::ArgumentCount { given, expected })
        }
        _ => Ok(()),
    }
}

/// Interprets a bytecode function that has no address because there is no compiler for this machine; `None` for any
/// other function.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn call_interpreted(
    version: &ModuleRef<'_>,
    name: &[u8],
    arguments: &[i64],
) -> Option<Result<i64, ApiError>> {
    let (engine, index) = (version.engine()?, version.bytecode_function(name)?);
    match engine.call(index, arguments) {
        Ok(result) => Some(Ok(result)),
        Err(CallError::Trap(trap)) => Some(Err(ApiError::Call(TrapError::Bytecode(trap)))),
        Err(_) => None,
    }
}

/// A callback for each module: receives its handle, its NUL-terminated name, the length of the name and the user
/// pointer. Returns whether to continue.
pub type SmfModuleVisitor =
    Option<unsafe extern "C" fn(u64, *const c_char, i64, *mut c_void) -> bool>;

/// A callback for each symbol, as [`SmfModuleVisitor`].
pub type SmfSymbolVisitor =
    Option<unsafe extern "C" fn(*const SmfSymbol, *const c_char, i64, *mut c_void) -> bool>;

/// Calls `visit` for each module in load order. Returns the number of calls; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called with these arguments and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_modules(
    loader: u64,
    visit: SmfModuleVisitor,
    user: *mut c_void,
) -> i64 {
    attempt_with(-1, enter(loader), |loader| {
        let visit = visit.ok_or(ArgumentError::Null { what: "the visitor" })?;
        let (mut visited, mut proceed, mut result) = (0, true, Ok(()));
        loader.modules().for_each(|name, handle| {
            let Ok(module) = loader.module_to_raw(handle) else { return };
            if !proceed {
                return;
            }
            match with_nul(name) {
                Ok(text) => {
                    let length = to_i64(name.len());
                    // SAFETY: the caller's promise.
                    proceed = unsafe { visit(module, text.as_ptr().cast(), length, user) };
                    visited += 1;
                }
                Err(error) => (proceed, result) = (false, Err(error)),
            }
        });
        Ok(result.map(|()| visited)?)
    })
}

/// Calls `visit` for each symbol with an address that a module or a held version defines. Returns the number of
/// calls; -1 on failure.
///
/// # Safety
/// `visit` is null, or may be called with these arguments and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_symbols(
    loader: u64,
    module: u64,
    visit: SmfSymbolVisitor,
    user: *mut c_void,
) -> i64 {
    attempt_with(-1, enter(loader), |loader| {
        let visit = visit.ok_or(ArgumentError::Null { what: "the visitor" })?;
        let version = loader.version(module)?;
        let handle = loader.module_to_raw(version.handle())?;
        let mut visited = 0;
        for (name, export) in definitions(&version) {
            let (text, length) = (with_nul(name)?, to_i64(name.len()));
            visited += 1;
            let symbol = &SmfSymbol::new(handle, &export);
            // SAFETY: the caller's promise.
            if !unsafe { visit(symbol, text.as_ptr().cast(), length, user) } {
                break;
            }
        }
        Ok(visited)
    })
}

/// The symbols with an address that a version defines.
pub(super) fn definitions<'v>(
    version: &'v ModuleRef<'_>,
) -> impl Iterator<Item = (&'v [u8], Export)> {
    let table = version.linked().into_iter().flat_map(|linked| linked.symbols().iter());
    let table = table.filter_map(Result::ok).filter(|symbol| !symbol.is_import());
    let table = table.filter_map(|symbol| {
        let (kind, binding, size) = (symbol.kind, symbol.binding, symbol.size);
        let address = version.address(&symbol)?;
        Some((symbol.name(), Export { address, kind, binding, size }))
    });
    table.chain(version.bytecode_exports())
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
    use smf_core::vm::Tiers;

    #[test]
    fn interpreted_function_is_callable_by_name() {
        let tiers = Tiers::Interpret;
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
        let file = include_bytes!("../../../tests/samples/bcod.smf");
        let handle = loader.load(b"bcod", ModuleBytes::new(file.to_vec()).unwrap()).unwrap();
        let version = loader.get(handle).unwrap();
        let call = |name: &[u8], arguments: &[i64]| {
            call_interpreted(&version, name, arguments).map(|called| called.map_err(|e| e.code()))
        };
        assert_eq!(call(b"answer", &[]), Some(Ok(42)));
        assert_eq!(call(b"sum", &[100]), Some(Ok(5050)));
        for given in [0, 2, MAX_ARGS] {
            let refused = Err(ArgumentError::ArgumentCount { given, expected: 1 });
            assert_eq!(check_argument_count(&version, b"sum", given), refused);
        }
        assert_eq!(check_argument_count(&version, b"sum", 1), Ok(()));
        assert_eq!(check_argument_count(&version, b"missing", 7), Ok(()));
        assert_eq!(call(b"missing", &[]), None);
        version.engine().unwrap().signals().interrupt();
        assert_eq!(call(b"sum", &[100]), Some(Err(crate::ffi::error::Code::Trap)));
        assert!(matches!(not_found(&version, b"sum"), ApiError::Other { .. }));
        assert!(matches!(not_found(&version, b"missing"), ApiError::NoSymbol { .. }));
    }
}
