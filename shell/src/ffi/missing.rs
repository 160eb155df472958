//! `smf_loader_missing*`: what the last load of this thread lacked.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::c_char;
use std::ptr;

use smf_core::alloc_util::{AllocError, try_concat, try_push};
use smf_core::link::{LinkError, ShortName};
use smf_core::loader::{LoadError, UnresolvedImport};

use super::args;
use super::error::{ApiError, or};

/// An import that nobody provides.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfMissing {
    /// The name, with a NUL behind it; null on failure.
    pub symbol: *const c_char,
    /// Its bytes.
    pub symbol_length: i64,
    /// The name of the module that wants it, with a NUL behind it.
    pub module: *const c_char,
    /// Its bytes.
    pub module_length: i64,
}

const NOTHING: SmfMissing =
    SmfMissing { symbol: ptr::null(), symbol_length: 0, module: ptr::null(), module_length: 0 };

/// A symbol and the module that wants it, each with a NUL behind it.
struct Import {
    symbol: Box<[u8]>,
    module: Box<[u8]>,
}

thread_local! {
    static LAST: RefCell<Vec<Import>> = const { RefCell::new(Vec::new()) };
}

/// What a load lacks, as the loader tells of it.
#[derive(Default)]
pub(super) struct Collector {
    imports: Vec<Import>,
    /// Whether there was no memory for one of them.
    is_short: bool,
}

/// The bytes of a name with a NUL behind them.
///
/// # Errors
/// [`AllocError`].
pub(super) fn with_nul(name: &[u8]) -> Result<Box<[u8]>, AllocError> {
    try_concat(&[name, b"\0"])
}

/// Forgets what an earlier load lacked.
pub(super) fn forget() {
    replace(Vec::new());
}

fn replace(list: Vec<Import>) {
    // A thread that is ending has none.
    let _ = LAST.try_with(|last| last.replace(list));
}

impl Collector {
    pub(super) fn add(&mut self, import: &UnresolvedImport<'_>) {
        self.is_short |= self.try_add(import).is_err();
    }

    fn try_add(&mut self, import: &UnresolvedImport<'_>) -> Result<(), AllocError> {
        let (symbol, module) = (with_nul(import.symbol)?, with_nul(import.module)?);
        try_push(&mut self.imports, Import { symbol, module })
    }

    /// Keeps the list for the thread, and tells of it when it is why loading failed.
    ///
    /// # Errors
    /// That of the load.
    pub(super) fn finish<T>(self, result: Result<T, LoadError>) -> Result<T, ApiError> {
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let lacks =
            matches!(error, LoadError::Link { error: LinkError::MissingImports { .. }, .. });
        if lacks && self.is_short {
            return Err(LoadError::OutOfMemory.into());
        }
        let first = self.imports.first().filter(|_| lacks).map(|first| ApiError::Missing {
            count: self.imports.len(),
            symbol: short(&first.symbol),
            module: short(&first.module),
        });
        if lacks {
            replace(self.imports);
        }
        Err(first.unwrap_or_else(|| error.into()))
    }
}

fn short(name: &[u8]) -> ShortName {
    ShortName::new(name.strip_suffix(b"\0").unwrap_or(name))
}

/// How many imports the last load, or reload, of this thread lacked.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_missing_count() -> i64 {
    let count = LAST.try_with(|last| last.borrow().len());
    i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX)
}

/// One of them; all null on failure. Good until this thread loads or reloads again.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_missing(index: i64) -> SmfMissing {
    let unknown = ApiError::Unknown { what: "missing import", value: index };
    let found = args::length("the index", index).and_then(|index| {
        let found = LAST.try_with(|last| {
            let last = last.borrow();
            let import = usize::try_from(index).ok().and_then(|index| last.get(index))?;
            let length = |name: &[u8]| i64::try_from(name.len() - 1).unwrap_or(i64::MAX);
            Some(SmfMissing {
                symbol: import.symbol.as_ptr().cast(),
                symbol_length: length(&import.symbol),
                module: import.module.as_ptr().cast(),
                module_length: length(&import.module),
            })
        });
        found.ok().flatten().ok_or(unknown)
    });
    or(NOTHING, found)
}
