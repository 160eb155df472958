//! Symbols of the process and of shared libraries: dlopen(3) and dlsym(3).
//!
//! A library that is opened here is never closed, because linked modules contain addresses in it.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::{fmt, io};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use smf_core::Printable;
use smf_core::alloc_util::{AllocError, try_concat, try_push};
use smf_core::link::Resolve;
use thiserror::Error;

use crate::fork::system_loader::with_system_loader;

/// The highest version that is tried for `libNAME.so.VERSION`; versions are tried in descending order.
const MAX_VERSION: u32 = 20;

/// Symbols of the host, searched in the order in which their sources were added.
#[derive(Default)]
pub struct HostSymbols {
    sources: Vec<Source>,
    /// Whether the functions of the compiler's runtime are found.
    has_runtime: bool,
}

/// A handle of dlopen(3).
pub(crate) struct Source(*mut c_void);

// SAFETY: dlsym(3) may be called with any handle from any thread.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Source {
    /// Of a library that stays open.
    pub(crate) fn new(library: Library) -> Self {
        Self(library.into_raw())
    }

    /// The address of a symbol of the library, or of those that it needs; `None` without memory.
    pub(crate) fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.symbol(CStr::from_bytes_with_nul(&try_concat(&[name, b"\0"]).ok()?).ok()?)
    }

    fn symbol(&self, name: &CStr) -> Option<u64> {
        // SAFETY: a handle of an open library, and a NUL-terminated name.
        let mut symbol = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if symbol.is_null() && name.to_bytes().starts_with(b"__cpu_") {
            symbol = processor_symbol(self.0, name);
        }
        (!symbol.is_null()).then_some(symbol.addr() as u64)
    }

    /// Closes the library for one of its users.
    ///
    /// # Safety
    /// The value is not used afterwards, and its user does not use addresses in the library.
    pub(crate) unsafe fn close(&mut self) {
        // SAFETY: a handle of dlopen(3); the caller's contract.
        drop(unsafe { Library::from_raw(self.0) });
    }
}

/// A shared library that could not be opened.
#[derive(Debug, Error)]
#[error("cannot open the host library {}: {}", Printable(name.as_bytes()), open_error(.error))]
pub struct HostLibraryError {
    name: String,
    error: libloading::Error,
}

/// An error of dlopen(3) as the system's loader words it.
pub(crate) fn open_error(error: &libloading::Error) -> &dyn fmt::Display {
    match error {
        libloading::Error::DlOpen { source } => source,
        error => error,
    }
}

/// Why the symbols of the process cannot be resolved.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessSymbolsError {
    /// A statically linked program.
    #[error("the symbols of the process cannot be resolved: {NO_SYSTEM_LOADER}")]
    NoLoader,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

/// The reason where [`has_system_loader`] is false.
pub(crate) const NO_SYSTEM_LOADER: &str =
    "the program is linked statically, without the system's loader (dlopen, dlsym)";

/// Whether the process has a dynamic loader. In static programs `dlopen` of musl always fails, even for the program
/// itself.
pub(crate) fn has_system_loader() -> bool {
    // SAFETY: null denotes the program; nothing is loaded, so that no initialisers run.
    let program = unsafe { libc::dlopen(std::ptr::null(), libc::RTLD_LAZY) };
    !program.is_null()
}

impl HostSymbols {
    /// Whether there are no sources.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The symbols of the process: of the program, the libraries that it was started with, and those opened since with
    /// `RTLD_GLOBAL`; and those of the compiler's shared runtime, libgcc, which compilers link to every program that needs it.
    ///
    /// # Errors
    /// [`ProcessSymbolsError`].
    pub fn of_process() -> Result<Self, ProcessSymbolsError> {
        if !has_system_loader() {
            return Err(ProcessSymbolsError::NoLoader);
        }
        let mut sources = Vec::new();
        try_push(&mut sources, Source::new(Library::this()))?;
        Ok(Self { sources, has_runtime: true })
    }

    /// Adds the sources of `other` behind those of this value.
    pub(crate) fn append(&mut self, other: Self) -> Result<(), AllocError> {
        self.has_runtime |= other.has_runtime;
        other.sources.into_iter().try_for_each(|source| try_push(&mut self.sources, source))
    }

    /// Opens the shared library `name` and adds it. The name is tried as given, which is a path if it contains a slash;
    /// then as `libNAME.so`, and as `libNAME.so.20` down to `.0`, because the unversioned name is often a linker
    /// script or not installed. The system's loader reads the library without further checks.
    ///
    /// # Errors
    /// The error of the system for the last name of which it finds a library; if it finds none, for the name as given.
    ///
    /// # Safety
    /// The caller trusts the library that the system finds: its tables, its code and its initialisers, which run before
    /// this returns.
    pub unsafe fn add_library(&mut self, name: &str) -> Result<(), HostLibraryError> {
        let numbered = (0..=MAX_VERSION).rev().map(|number| format!("lib{name}.so.{number}"));
        let short = std::iter::once(format!("lib{name}.so")).chain(numbered);
        let no_such_file = no_such_file();
        // SAFETY: the caller's contract.
        let mut library = unsafe { open(name) };
        for short in short.take_while(|_| !name.contains('/')) {
            if library.is_ok() {
                break;
            }
            // SAFETY: as above.
            let tried = unsafe { open(&short) };
            let error = tried.as_ref().err().map(|error| open_error(error).to_string());
            if error.is_none_or(|error| !is_absent(&short, &error, &no_such_file)) {
                library = tried;
            }
        }
        let library = library.map_err(|error| HostLibraryError { name: name.into(), error })?;
        self.sources.push(Source::new(library));
        Ok(())
    }
}

/// Whether the system found no file of the library, as glibc (`NAME: cannot open shared object file: REASON`) and musl
/// (`Error loading shared library NAME: REASON`) state it, in the language of the process. That a library which it requires
/// is absent is another error.
fn is_absent(name: &str, error: &str, no_such_file: &str) -> bool {
    let before = error.strip_suffix(no_such_file).unwrap_or("");
    let name = format!("{name}: ");
    before.starts_with(&name) || before.ends_with(&name)
}

/// strerror(3) of `ENOENT`, in the language of the process.
fn no_such_file() -> String {
    let text = io::Error::from_raw_os_error(libc::ENOENT).to_string();
    text.trim_end_matches(&format!(" (os error {})", libc::ENOENT)).to_owned()
}

/// # Safety
/// As [`HostSymbols::add_library`].
unsafe fn open(name: &str) -> Result<Library, libloading::Error> {
    // SAFETY: the caller trusts the library and its initialisers; it is never closed, so no terminators run early.
    with_system_loader(|| unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) })
}

impl Resolve for HostSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        // Without memory the symbol is not found.
        let text = try_concat(&[name, b"\0"]).ok()?;
        let text = CStr::from_bytes_with_nul(&text).ok()?;
        let found = self.sources.iter().find_map(|source| source.symbol(text));
        found.or_else(|| if self.has_runtime { compiler_runtime(text) } else { None })
    }
}

/// A function of the compiler's runtime, such as `__udivti3` or `__multf3`: programs have those that they need themselves, from
/// its static library.
fn compiler_runtime(name: &CStr) -> Option<u64> {
    if !name.to_bytes().starts_with(b"__") {
        return None;
    }
    // SAFETY: the runtime of the compiler that made this program, whose initialisers read the properties of the processor. It
    // is never closed.
    let library =
        with_system_loader(|| unsafe { libc::dlopen(c"libgcc_s.so.1".as_ptr(), libc::RTLD_NOW) });
    if library.is_null() { None } else { Source(library).symbol(name) }
}

/// The symbol by which code of a compiler chooses functions for the processor (`target_clones`,
/// `__builtin_cpu_supports`): `__cpu_model` or `__cpu_indicator_init`. Programs have it from the static runtime of the
/// compiler; the shared one defines it under an old version alone, which dlsym(3) does not find.
fn processor_symbol(handle: *mut c_void, name: &CStr) -> *mut c_void {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    // SAFETY: a handle of an open library, and NUL-terminated names.
    return unsafe { libc::dlvsym(handle, name.as_ptr(), c"GCC_4.8.0".as_ptr()) };
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    {
        let _ = (handle, name);
        std::ptr::null_mut()
    }
}

/// Flushes the output streams of the C library.
///
/// # Errors
/// The system's, of standard output; that of another stream stays with it.
pub fn flush_stdio() -> io::Result<()> {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
    }
    // SAFETY: fflush(3) of a stream of the C library, which the process has not closed.
    let flushed = match unsafe { libc::fflush(stdout) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: with a null pointer, fflush(3) flushes every open output stream.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    flushed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that need these functions have them from a static library.
    #[test]
    fn functions_of_the_runtime_of_the_compiler_are_found() {
        let mut symbols = HostSymbols { has_runtime: true, ..HostSymbols::default() };
        for name in [&b"__udivti3"[..], b"__cpu_model", b"__cpu_indicator_init"] {
            assert!(symbols.resolve(name).is_some() || cfg!(not(target_arch = "x86_64")));
        }
        assert_eq!([symbols.resolve(b"__no_such"), symbols.resolve(b"dlopen")], [None; 2]);
        symbols.has_runtime = false;
        assert_eq!(symbols.resolve(b"__udivti3"), None);
    }

    #[test]
    fn process_symbols_contain_libc() {
        let host = HostSymbols::default();
        assert_eq!((host.is_empty(), host.resolve(b"malloc")), (true, None));
        let host = HostSymbols::of_process().unwrap();
        assert!(host.resolve(b"malloc").is_some_and(|address| address != 0));
        assert_eq!(host.resolve(b"no_such_symbol_anywhere"), None);
        assert_eq!(host.resolve(b"a\0b"), None);
        assert_eq!(host.resolve(b""), None);
    }

    #[test]
    fn library_is_found_by_its_short_name() {
        let mut host = HostSymbols::default();
        // SAFETY: the mathematics library of the system.
        unsafe { host.add_library("m") }.unwrap();
        assert!(host.resolve(b"cos").is_some());
    }

    /// Found: in a process whose language is not English, the error was that of a name that does not exist.
    #[test]
    fn absence_of_a_library_is_recognised_in_every_language() {
        let [english, german] =
            ["No such file or directory", "Datei oder Verzeichnis nicht gefunden"];
        assert_eq!(no_such_file(), english);
        let cannot_open = "Kann die Shared-Object-Datei nicht öffnen";
        let error = format!("libx.so: {cannot_open}: {german}");
        assert!(is_absent("libx.so", &error, german));
        assert!(!is_absent("libx.so", &error, english));
        assert!(!is_absent("liby.so", &error, german));
        let error = format!("libx.so: {cannot_open}: Keine Berechtigung");
        assert!(!is_absent("libx.so", &error, german));
        let error = format!("Error loading shared library libx.so: {german}");
        assert!(is_absent("libx.so", &error, german));
    }

    #[test]
    fn missing_library_is_named() {
        // SAFETY: nothing is opened, because there is no such library.
        let added = unsafe { HostSymbols::default().add_library("no-such-library") };
        let error = added.unwrap_err().to_string();
        assert!(error.contains("no-such-library"), "{error}");
        // SAFETY: as above.
        let added = unsafe { HostSymbols::default().add_library("a\0b") };
        assert!(
            added.unwrap_err().to_string().starts_with("cannot open the host library a\\u{0}b: ")
        );
        // SAFETY: as above.
        assert!(unsafe { HostSymbols::default().add_library("./m") }.is_err());
    }
}
