//! `smf_loader_missing*`: the unresolved imports of the last load of this thread.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_char;
use std::ptr;

use smf_core::alloc_util::{AllocError, try_concat, try_push};
use smf_core::link::{LinkError, Name};
use smf_core::loader::{LoadError, UnresolvedImport};

use super::args::{self, to_i64};
use super::error::{ApiError, ArgumentError, attempt};
use crate::link_failures;

/// An unresolved import.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfMissing {
    /// The name, NUL-terminated; null on failure.
    pub symbol: *const c_char,
    /// The length of the name in bytes.
    pub symbol_length: i64,
    /// The name of the importing module, NUL-terminated.
    pub module: *const c_char,
    /// The length of the module's name in bytes.
    pub module_length: i64,
}

const NO_IMPORT: SmfMissing =
    SmfMissing { symbol: ptr::null(), symbol_length: 0, module: ptr::null(), module_length: 0 };

/// A symbol and the importing module, both NUL-terminated.
struct Import {
    symbol: Box<[u8]>,
    module: Box<[u8]>,
}

impl Import {
    /// The error of a load without it, the first one of `count` imports.
    fn refusal(&self, count: usize) -> ApiError {
        let names = [&*self.symbol, &*self.module];
        let [symbol, module] = names.map(|name| name.strip_suffix(b"\0").unwrap_or(name));
        Name::in_error(symbol, |symbol| {
            Name::in_error(module, |module| ApiError::Missing { count, symbol, module })
        })
    }
}

thread_local! {
    static LAST: RefCell<Vec<Import>> = const { RefCell::new(Vec::new()) };
}

/// Runs `load`, which reports unresolved imports, and stores them for this thread if they are why it failed.
///
/// # Errors
/// Those of the load; [`ApiError::Missing`] for unresolved imports.
pub(super) fn reporting<T>(
    load: impl FnOnce(&mut dyn FnMut(&UnresolvedImport<'_>)) -> Result<T, LoadError>,
) -> Result<T, ApiError> {
    let (mut imports, mut added) = (Vec::new(), Ok(()));
    let mut add = |import: &UnresolvedImport<'_>| added = added.and(add(&mut imports, import));
    let (result, reasons) = link_failures::collect(|| load(&mut add));
    result.map_err(|error| {
        let LoadError::Link { error: why, .. } = &error else { return error.into() };
        if !matches!(why, LinkError::MissingImports { .. } | LinkError::MissingTls { .. }) {
            return error.into();
        }
        if let Err(no_memory) = added {
            return no_memory.into();
        }
        let count = imports.len();
        let first = imports.first().map(|import| import.refusal(count));
        replace(imports);
        explained(first.unwrap_or_else(|| error.into()), &reasons)
    })
}

/// An error of a missing symbol with the first reason that a resolver [recorded](link_failures).
pub(super) fn explained(error: ApiError, reasons: &[String]) -> ApiError {
    match reasons.first() {
        Some(reason) => ApiError::other(error.code(), &format_args!("{error}; {reason}")),
        None => error,
    }
}

fn add(imports: &mut Vec<Import>, import: &UnresolvedImport<'_>) -> Result<(), AllocError> {
    let (symbol, module) = (with_nul(import.symbol)?, with_nul(import.module)?);
    try_push(imports, Import { symbol, module })
}

/// A NUL-terminated copy of a name.
///
/// # Errors
/// [`AllocError`].
pub(super) fn with_nul(name: &[u8]) -> Result<Box<[u8]>, AllocError> {
    try_concat(&[name, b"\0"])
}

/// Clears the list of this thread.
pub(super) fn clear() {
    replace(Vec::new());
}

fn replace(list: Vec<Import>) {
    // Without effect while the thread is exiting.
    let _ = LAST.try_with(|last| last.replace(list));
}

/// The number of unresolved imports of the last load or reload of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_missing_count() -> i64 {
    let count = LAST.try_with(|last| last.borrow().len());
    to_i64(count.unwrap_or(0))
}

/// One of them; all null on failure. Valid until this thread loads or reloads again.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_missing(index: i64) -> SmfMissing {
    attempt(NO_IMPORT, || {
        let position = usize::try_from(args::length("the index", index)?).ok();
        let found = LAST.try_with(|last| {
            let last = last.borrow();
            let import = last.get(position?)?;
            // Without the NUL.
            let length = |name: &[u8]| to_i64(name.len() - 1);
            Some(SmfMissing {
                symbol: import.symbol.as_ptr().cast(),
                symbol_length: length(&import.symbol),
                module: import.module.as_ptr().cast(),
                module_length: length(&import.module),
            })
        });
        let unknown = ArgumentError::unknown("index of a missing import", index);
        Ok(found.ok().flatten().ok_or(unknown)?)
    })
}
