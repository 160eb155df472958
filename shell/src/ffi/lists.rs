//! Names as lists of text: for programs that have no callbacks, such as those of the tagged convention.
#![allow(unsafe_code)]

use std::ffi::c_char;

use smf_core::Printable;
use smf_core::format::File;

use super::cptr::text;
use super::error::{ApiError, Code, attempt_with, or};
use super::loader::read_file;
use super::loader_handles::enter;
use super::loader_symbols::definitions;
use super::module_info::with_module;
use super::values::{self, NO_VALUE, Value};

/// The names of the modules of a loader, in load order.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_module_names(loader: u64) -> Value {
    attempt_with(NO_VALUE, enter(loader), |loader| {
        values::new_list(|push| {
            let mut result = Ok(());
            loader.modules().for_each(|name, _| {
                if result.is_ok() {
                    result = push(name);
                }
            });
            result
        })
    })
}

/// The names of the symbols with an address that a module or a held version defines.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_symbol_names(loader: u64, module: u64) -> Value {
    attempt_with(NO_VALUE, enter(loader), |loader| {
        let version = loader.version(module)?;
        values::new_list(|push| definitions(&version).try_for_each(|(name, _)| push(name)))
    })
}

/// The names of the modules in an archive, in the order of its index.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_archive_names(loader: u64, path: *const c_char) -> Value {
    attempt_with(NO_VALUE, enter(loader), |loader| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        let bytes = read_file(&loader, path)?;
        let File::Library(archive) = bytes.file()? else {
            let why = format_args!("{}: a module, not an archive", Printable(path));
            return Err(ApiError::other(Code::Format, &why));
        };
        values::new_list(|push| {
            archive.modules().try_for_each(|module| push(module?.name.as_bytes()))
        })
    })
}

/// The names of the sections of a held module, in the order of its table.
#[unsafe(no_mangle)]
pub extern "C" fn smf_module_section_names(from: u64, module: u64) -> Value {
    let names = with_module(from, module, |smf| {
        values::new_list(|push| smf.sections().iter().try_for_each(|section| push(section.name)))
    });
    or(NO_VALUE, names)
}
