//! Imports out of the process itself and out of shared libraries: dlopen(3) and dlsym(3).
//!
//! A library that was opened here stays open for the rest of the process, because linked modules hold
//! addresses into it, and nothing could tell when the last of them is gone.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use smf_core::alloc_util::{AllocError, try_concat, try_push};
use smf_core::link::Resolve;

/// The highest number that is tried behind `libNAME.so.`; the newest comes first.
const NEWEST_VERSION: u32 = 20;

/// Symbols of the host, looked for in the order in which their sources were added.
#[derive(Default)]
pub struct HostSymbols {
    sources: Vec<Source>,
}

/// What dlopen(3) has given, never closed.
struct Source(*mut c_void);

// SAFETY: dlsym(3) may be called with any handle from any thread.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

/// A shared library that could not be opened.
#[derive(Debug)]
pub struct HostLibraryError {
    name: String,
    error: libloading::Error,
}

impl fmt::Display for HostLibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.error {
            libloading::Error::DlOpen { source } => {
                write!(f, "cannot open the host library {name}: {source}")
            }
            other => write!(f, "cannot open the host library {name}: {other}"),
        }
    }
}

impl std::error::Error for HostLibraryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl HostSymbols {
    /// No symbols at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Those of the [process](Self::add_process).
    ///
    /// # Errors
    /// No memory.
    pub fn of_process() -> Result<Self, AllocError> {
        let mut sources = Vec::new();
        try_push(&mut sources, Source(Library::this().into_raw()))?;
        Ok(Self { sources })
    }

    /// Adds the program, the libraries it was started with, and those it has opened since for all.
    pub fn add_process(&mut self) {
        self.sources.push(Source(Library::this().into_raw()));
    }

    /// Opens the shared library `name` and adds it: as given, which is a path when it holds a slash,
    /// else as the system searches for it; then as `libNAME.so` and `libNAME.so.20` down to `.0`,
    /// because the unnumbered name is often a linker script or not installed.
    ///
    /// The system's loader finds the library and reads it; nothing checks it before, as for a program that is
    /// started.
    ///
    /// # Errors
    /// What the system says of the name as given.
    ///
    /// # Safety
    /// The caller trusts the library that the system finds: its tables, its code and its initialisers, which
    /// run before this returns.
    pub unsafe fn add_library(&mut self, name: &str) -> Result<(), HostLibraryError> {
        // SAFETY: passed on to the caller.
        let library = unsafe { open(name) }.or_else(|error| {
            // SAFETY: as above.
            let by_short_name = || unsafe { open_by_short_name(name) };
            let found = if name.contains('/') { None } else { by_short_name() };
            found.ok_or_else(|| HostLibraryError { name: name.into(), error })
        })?;
        self.sources.push(Source(library.into_raw()));
        Ok(())
    }
}

/// # Safety
/// As [`HostSymbols::add_library`].
unsafe fn open_by_short_name(name: &str) -> Option<Library> {
    let numbered = (0..=NEWEST_VERSION).rev().map(|number| format!("lib{name}.so.{number}"));
    let mut patterns = std::iter::once(format!("lib{name}.so")).chain(numbered);
    // SAFETY: passed on to the caller.
    patterns.find_map(|pattern| unsafe { open(&pattern) }.ok())
}

/// # Safety
/// As [`HostSymbols::add_library`].
unsafe fn open(name: &str) -> Result<Library, libloading::Error> {
    // SAFETY: the caller trusts the library and its initialisers; it is never closed, so that no terminators
    // run early.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }
}

impl Resolve for HostSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        unsafe extern "C" {
            fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
        }
        // What there is no memory to ask for is not found.
        let text = try_concat(&[name, b"\0"]).ok()?;
        let text = CStr::from_bytes_with_nul(&text).ok()?;
        self.sources.iter().find_map(|Source(handle)| {
            // SAFETY: a handle that dlopen(3) has given and nobody closes, and a name with a NUL behind it.
            let symbol = unsafe { dlsym(*handle, text.as_ptr()) };
            (!symbol.is_null()).then_some(symbol.addr() as u64)
        })
    }
}

/// Writes out what C code of the host has printed and its library still holds back.
pub fn flush_stdio() {
    unsafe extern "C" {
        fn fflush(stream: *mut c_void) -> c_int;
    }
    // SAFETY: fflush(3) with a null pointer flushes every output stream that is open. An error stays
    // with its stream; there is nobody here to tell.
    unsafe { fflush(std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_libc_and_nothing_of_no_name() {
        let mut host = HostSymbols::new();
        assert_eq!((host.is_empty(), host.resolve(b"malloc")), (true, None));
        host.add_process();
        assert!(host.resolve(b"malloc").is_some_and(|address| address != 0));
        assert_eq!(host.resolve(b"no_such_symbol_anywhere"), None);
        assert_eq!(host.resolve(b"a\0b"), None);
        assert_eq!(host.resolve(b""), None);
    }

    #[test]
    fn a_library_is_found_by_its_short_name() {
        let mut host = HostSymbols::new();
        // SAFETY: the system's library of mathematics.
        unsafe { host.add_library("m") }.unwrap();
        assert!(host.resolve(b"cos").is_some());
    }

    #[test]
    fn a_library_that_is_not_there_is_named() {
        // SAFETY: nothing is opened, because no such library is there.
        let added = unsafe { HostSymbols::new().add_library("no-such-library") };
        let error = added.unwrap_err().to_string();
        assert!(error.contains("no-such-library"), "{error}");
        // SAFETY: as above.
        assert!(unsafe { HostSymbols::new().add_library("./m") }.is_err());
    }
}
