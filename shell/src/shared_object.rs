//! A shared object out of memory, for the system's loader.
//!
//! The system's loader takes files. The bytes are put into a memory file of their own and opened by
//! its name under `/proc`, so that what is loaded is what was looked at, whatever becomes of the file
//! that they came from.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, memfd_create};
use smf_core::link::Resolve;

/// A shared object that the system's loader has opened, closed when it is dropped.
#[derive(Debug)]
pub struct SharedObject {
    library: Library,
}

/// Why the system's loader does not take a shared object.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedObjectError {
    /// There is no memory file for it.
    MemoryFile(io::Error),
    /// The loader refuses it.
    Open(libloading::Error),
}

impl fmt::Display for SharedObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemoryFile(error) => {
                write!(f, "cannot copy the shared object for the system's loader: {error}")
            }
            Self::Open(libloading::Error::DlOpen { source }) => {
                write!(f, "the system's loader refuses the shared object: {source}")
            }
            Self::Open(error) => {
                write!(f, "the system's loader refuses the shared object: {error}")
            }
        }
    }
}

impl std::error::Error for SharedObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::MemoryFile(error) => Some(error),
            Self::Open(error) => Some(error),
        }
    }
}

impl SharedObject {
    /// Opens a copy of `bytes`, all its symbols bound at once and none of them offered to others.
    ///
    /// Its initialisers run: it is trusted as any module is that is loaded to be run.
    ///
    /// # Errors
    /// [`SharedObjectError`].
    pub fn open(bytes: &[u8]) -> Result<Self, SharedObjectError> {
        let memory = |error| SharedObjectError::MemoryFile(error);
        let file = memfd_create("smf-dynlib", MemfdFlags::CLOEXEC);
        let mut file = File::from(file.map_err(|errno| memory(errno.into()))?);
        file.write_all(bytes).map_err(memory)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the caller loads the module in order to have its code run, so its initialisers are
        // as trusted as that. It is closed only when the value is dropped, with its terminators.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        Ok(Self { library: library.map_err(SharedObjectError::Open)? })
    }
}

impl Resolve for SharedObject {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        // SAFETY: any symbol is a place in memory, and the pointer is only taken as a number.
        let symbol = unsafe { self.library.get::<*mut c_void>(name) }.ok()?;
        let address = symbol.as_raw_ptr().addr() as u64;
        (address != 0).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_shared_object_is_refused_with_the_systems_word() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 5000]] {
            let error = SharedObject::open(bytes).unwrap_err().to_string();
            assert!(
                error.starts_with("the system's loader refuses the shared object: "),
                "{error}"
            );
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_shared_object_has_its_symbols_and_those_of_what_it_needs() {
        let dynlib = include_bytes!("../../tests/samples/dynlib.smf");
        let object = smf_core::format::Smf::parse(dynlib).unwrap().shared_object().unwrap();
        let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = files();
        let opened = SharedObject::open(object).unwrap();
        assert!(opened.resolve(b"plugin").is_some() && opened.resolve(b"nothing").is_none());
        assert!(files() <= before + 2, "the memory file is closed again");
    }
}
