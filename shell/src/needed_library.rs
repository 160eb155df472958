//! Shared libraries that loaded modules need: dlopen(3), dlsym(3), dlclose(3).
//!
//! A token is the address of a leaked box with the library and its name.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libc::{RTLD_NOLOAD, c_int};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use smf_core::alloc_util::{AllocError, try_box, try_copy_bytes};
use smf_core::link::{HostService, HostServiceError, LibraryError, LibraryToken, Name};

use crate::fork::system_loader::with_system_loader;
use crate::host_symbols::{Source, open_error};
use crate::shared_object::SharedObject;
use crate::tls_object::{self, Request};

struct OpenLibrary {
    source: Source,
    name: Box<[u8]>,
}

impl Drop for OpenLibrary {
    fn drop(&mut self) {
        // SAFETY: the library was opened for this value.
        unsafe { self.source.close() };
    }
}

/// Opens libraries, a path where a name contains a slash, or counts one more user of each. Their symbols do not become
/// visible to others.
///
/// # Errors
/// The number of the library that is refused, and [`LibraryError::Refused`] with the message of the system's loader. None of them
/// is open then.
pub(crate) fn open(names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
    let refused = match open_each(names) {
        Err(refused) if names.len() > 1 => refused,
        result => return result,
    };
    // It may use symbols of the others without naming these. The system's loader finds them there while a shared object is
    // open that needs all of the libraries.
    match scope(names) {
        Ok(_scope) => open_each(names),
        Err(_) => Err(refused),
    }
}

fn open_each(names: &[&[u8]]) -> Result<Vec<LibraryToken>, (usize, LibraryError)> {
    let mut open = Vec::new();
    open.try_reserve_exact(names.len()).map_err(|_| (0, AllocError.into()))?;
    for (number, name) in names.iter().enumerate() {
        match open_one(name) {
            Ok(library) => open.push(library),
            Err(error) => {
                open.into_iter().rev().for_each(close);
                return Err((number, error));
            }
        }
    }
    Ok(open)
}

fn open_one(name: &[u8]) -> Result<LibraryToken, LibraryError> {
    // SAFETY: the author of the module, whose machine code is trusted, or the host names the library.
    let library = unsafe { with_flags(name, 0) }.map_err(|error| refused(&error))?;
    token(library, name)
}

/// A shared object without contents that needs the libraries.
fn scope(names: &[&[u8]]) -> Result<SharedObject, LibraryError> {
    let request = Request::Symbol { name: b"smf_scope", libraries: names };
    let object = tls_object::encode(&request, false)?;
    let object = object.ok_or(HostServiceError::Unavailable(HostService::Libraries))?;
    // SAFETY: the object is well-formed and has no code. The libraries are trusted as those of `open_one`.
    let scope = unsafe { SharedObject::open_data(&object) };
    scope.map_err(|_| HostServiceError::Unavailable(HostService::Libraries).into())
}

/// As [`open`] for a library that the process has open; `None` for another one. No initialisers run.
///
/// # Errors
/// [`LibraryError`].
pub(crate) fn find(name: &[u8]) -> Result<Option<LibraryToken>, LibraryError> {
    // SAFETY: nothing is loaded.
    let library = unsafe { with_flags(name, RTLD_NOLOAD) };
    library.ok().map(|library| token(library, name)).transpose()
}

/// # Safety
/// Initialisers of the library run, unless the flags contain `RTLD_NOLOAD`: the caller trusts them.
unsafe fn with_flags(name: &[u8], flags: c_int) -> Result<Library, libloading::Error> {
    let (name, flags) = (OsStr::from_bytes(name), flags | RTLD_NOW | RTLD_LOCAL);
    // SAFETY: the caller's contract. The library is closed when its last user has closed it.
    with_system_loader(|| unsafe { Library::open(Some(name), flags) })
}

fn token(library: Library, name: &[u8]) -> Result<LibraryToken, LibraryError> {
    let name = try_copy_bytes(name)?;
    let library = OpenLibrary { source: Source::new(library), name };
    let token = Box::into_raw(try_box(library)?).expose_provenance();
    Ok(LibraryToken(token as u64))
}

fn refused(error: &libloading::Error) -> LibraryError {
    let reason = open_error(error).to_string();
    Name::new(reason.as_bytes()).map_or_else(LibraryError::from, LibraryError::Refused)
}

/// The box of an open library.
fn pointer(library: LibraryToken) -> *mut OpenLibrary {
    std::ptr::with_exposed_provenance_mut(usize::try_from(library.0).unwrap_or(0))
}

fn get<'l>(library: LibraryToken) -> Option<&'l OpenLibrary> {
    // SAFETY: the token is the address of a box that `open` has leaked, unless it is 0. Its users do not close it while
    // they use the result, and nothing changes it.
    unsafe { pointer(library).as_ref() }
}

/// The name under which a library was opened.
pub(crate) fn name<'l>(library: LibraryToken) -> &'l [u8] {
    get(library).map_or(&[], |library| &library.name)
}

/// The address of `name` in a library or in those that it needs.
pub(crate) fn symbol(library: LibraryToken, name: &[u8]) -> Option<u64> {
    get(library)?.source.resolve(name)
}

/// Closes a library for one of its users.
pub(crate) fn close(library: LibraryToken) {
    let library = pointer(library);
    if !library.is_null() {
        // SAFETY: the token is the address of a box that `open` has leaked, and each is closed once.
        with_system_loader(|| drop(unsafe { Box::from_raw(library) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_is_opened_by_its_name_and_searched() {
        let library = open(&[b"libm.so.6"]).unwrap()[0];
        assert_eq!(name(library), b"libm.so.6");
        assert!(symbol(library, b"cos").is_some());
        assert_eq!((symbol(library, b"no_such_symbol"), symbol(library, b"a\0b")), (None, None));
        close(library);
    }

    /// The compiler's runtime has it under an old version alone.
    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn symbol_without_a_default_version_is_found() {
        let library = open(&[b"libgcc_s.so.1"]).unwrap()[0];
        assert!(symbol(library, b"__cpu_model").is_some());
        close(library);
    }

    #[test]
    fn library_is_found_if_the_process_has_it_open() {
        // The C library.
        let library = find(b"libc.so.6").unwrap().unwrap();
        assert!(symbol(library, b"malloc").is_some());
        close(library);
        assert_eq!(find(b"libno-such.so.1").unwrap(), None);
    }

    #[test]
    fn missing_library_is_refused_with_the_reason() {
        for name in [&b"libno-such.so.1"[..], b"a\0b"] {
            let error = open(&[b"libm.so.6", name]).unwrap_err();
            assert!(matches!(error, (1, LibraryError::Refused(_))), "{error:?}");
        }
        let error = open(&[b"libno-such.so.1"]).unwrap_err().1.to_string();
        assert!(error.contains("libno-such.so.1: cannot open"), "{error}");
    }
}
