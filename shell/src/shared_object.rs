//! Opens a shared object from memory with the system's loader.
//!
//! The system's loader opens files and trusts every address and index in them. The bytes are copied to a memory file,
//! which is sealed, checked ([`shared_object::check`]), and opened by its path under `/proc`. The checked bytes are the
//! opened ones, even if the file that they were read from changes.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use smf_core::format::FormatError;
use smf_core::format::shared_object::{self, Target};
use smf_core::link::Resolve;
use smf_core::memory::{FileBytes, MemoryError, PageCount};
use thiserror::Error;

use crate::file_limit;
use crate::files::system_error;
use crate::fork::system_loader::with_system_loader;
use crate::host_symbols::open_error;

/// A shared object that the system's loader has opened. Dropping it closes it.
#[derive(Debug)]
pub struct SharedObject {
    library: ManuallyDrop<Library>,
}

/// Why a shared object is not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SharedObjectError {
    /// The memory file cannot be made.
    #[error("cannot copy the shared object for the system's loader: {}", system_error(.0))]
    MemoryFile(io::Error),
    /// The memory file cannot be read.
    #[error("cannot copy the shared object for the system's loader: {0}")]
    Read(MemoryError),
    /// A malformed object, which could crash the system's loader.
    #[error("the shared object is not opened: {0}")]
    Malformed(FormatError),
    /// An object for another machine, class or byte order than this process.
    #[error("the shared object is built for {object}, and this process is {}", host())]
    Target {
        /// The target of the object.
        object: Target,
    },
    /// The system's loader refuses it.
    #[error("the system's loader refuses the shared object: {}", open_error(.0))]
    Open(libloading::Error),
}

/// The target of this process.
fn host() -> String {
    Target::host().map_or_else(|| std::env::consts::ARCH.to_owned(), |host| host.to_string())
}

impl SharedObject {
    /// Opens a copy of `bytes`, with `RTLD_NOW` and `RTLD_LOCAL`.
    ///
    /// The copy is checked before the system's loader reads it. The libraries that it needs are not: the system's
    /// loader searches for them itself.
    ///
    /// # Errors
    /// [`SharedObjectError`]. A malformed object is refused with an offset in `bytes`, before any of its code runs.
    ///
    /// # Safety
    /// Code of the object runs: initialisers and resolvers of indirect functions before this returns, terminators when
    /// the value is dropped. The caller trusts that code, in this process and on this thread, and that of the libraries
    /// that the object names.
    pub unsafe fn open(bytes: &[u8]) -> Result<Self, SharedObjectError> {
        let flags = MemfdFlags::empty();
        let file = memory_file(bytes, flags).map_err(SharedObjectError::MemoryFile)?;
        let path = unused_path(&file).map_err(SharedObjectError::MemoryFile)?;
        let copy = FileBytes::read(path.as_bytes(), bytes.len() as u64);
        let copy = copy.map_err(SharedObjectError::Read)?;
        let page_size = PageCount::one().bytes() as u64;
        let checked = shared_object::check(&copy, page_size);
        let object = checked.map_err(SharedObjectError::Malformed)?;
        if Some(object) != Target::host() {
            return Err(SharedObjectError::Target { object });
        }
        // SAFETY: as the caller vouches.
        unsafe { Self::open_at(&path) }
    }

    /// Opens a copy of `bytes`, which this program has made: a shared object without executable segments. Where the
    /// system forbids executable memory files, this one is allowed.
    ///
    /// # Errors
    /// [`SharedObjectError`], but malformed objects are not found.
    ///
    /// # Safety
    /// The object is well-formed and has no code, and the libraries that it needs are open, or their code is trusted.
    pub(crate) unsafe fn open_data(bytes: &[u8]) -> Result<Self, SharedObjectError> {
        let file = match memory_file(bytes, MemfdFlags::NOEXEC_SEAL) {
            // Before Linux 6.3.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                memory_file(bytes, MemfdFlags::empty())
            }
            result => result,
        };
        let file = file.map_err(SharedObjectError::MemoryFile)?;
        let path = unused_path(&file).map_err(SharedObjectError::MemoryFile)?;
        // SAFETY: there is no code to run but that of libraries that the caller trusts.
        unsafe { Self::open_at(&path) }
    }

    /// # Safety
    /// As [`SharedObject::open`], and the object at `path` is well-formed.
    unsafe fn open_at(path: &str) -> Result<Self, SharedObjectError> {
        // SAFETY: the caller trusts the initialisers and terminators of the object and its libraries. It is closed
        // only when the value is dropped.
        let open = || unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let library = with_system_loader(open).map_err(SharedObjectError::Open)?;
        Ok(Self { library: ManuallyDrop::new(library) })
    }
}

impl Drop for SharedObject {
    fn drop(&mut self) {
        // SAFETY: the library is not used afterwards.
        with_system_loader(|| unsafe { ManuallyDrop::drop(&mut self.library) });
    }
}

/// The descriptors from which one is taken for a file that the system's loader opens. Debuggers open its path later as
/// well, when lower descriptors belong to other files, perhaps to a pipe that they would wait for.
const RARELY_USED: i32 = 512;

/// A memory file with `bytes`, sealed against changes.
fn memory_file(bytes: &[u8], more: MemfdFlags) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more;
    // Beyond the limit of the process, the kernel sends SIGXFSZ, which ends it.
    if file_limit::limit().is_some_and(|limit| bytes.len() as u64 > limit) {
        return Err(io::Error::from_raw_os_error(Errno::FBIG.raw_os_error()));
    }
    let mut file = File::from(memfd_create("smf-dynlib", flags)?);
    file.write_all(bytes)?;
    let size = SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&file, size | SealFlags::WRITE | SealFlags::SEAL)?;
    // The limit of the process may be lower.
    Ok(fcntl_dupfd_cloexec(&file, RARELY_USED).map_or(file, File::from))
}

/// A path of an open memory file that no other file has which the system's loader has opened.
///
/// The system's loader identifies objects by path, and descriptors of closed files are reused, also by another copy of this
/// library. The path encodes the number of the inode, which is unique as long as the file is mapped, in redundant `/` and
/// `./` components. It names this process by its number, because debuggers open it too; where `/proc` shows other numbers,
/// it cannot.
fn unused_path(file: &File) -> io::Result<String> {
    let mut number = file.metadata()?.ino();
    let mut path = format!("/proc/{}/fd/", std::process::id());
    if !is_path_of(file, &format!("{path}{}", file.as_raw_fd())) {
        path = String::from("/proc/self/fd/");
    }
    while number != 0 {
        path.push_str(if number & 1 == 0 { "/" } else { "./" });
        number >>= 1;
    }
    Ok(path + &file.as_raw_fd().to_string())
}

/// Whether `path` leads to an open file.
fn is_path_of(file: &File, path: &str) -> bool {
    let number = |found: Metadata| (found.dev(), found.ino());
    let open = file.metadata().map(number);
    open.is_ok_and(|open| std::fs::metadata(path).map(number).is_ok_and(|found| found == open))
}

impl Resolve for SharedObject {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        // SAFETY: the pointer is only converted to an address.
        let symbol = unsafe { self.library.get::<*mut c_void>(name) }.ok()?;
        let address = symbol.as_raw_ptr().addr() as u64;
        (address != 0).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::Smf;

    fn refused(bytes: &[u8]) -> String {
        // SAFETY: no code runs, because the object is refused.
        unsafe { SharedObject::open(bytes) }.unwrap_err().to_string()
    }

    fn dynlib() -> Vec<u8> {
        let dynlib = include_bytes!("../../tests/samples/dynlib.smf");
        Smf::parse(dynlib).unwrap().shared_object().unwrap().to_vec()
    }

    #[test]
    fn bytes_of_another_kind_are_refused_with_an_offset() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 5000]] {
            let error = refused(bytes);
            assert!(error.starts_with("the shared object is not opened: "), "{error}");
            assert!(error.ends_with("at offset 0x0"), "{error}");
        }
    }

    #[test]
    fn object_for_another_machine_is_refused() {
        let mut object = dynlib();
        object[18] = 243;
        let error = refused(&object);
        assert!(
            error.starts_with("the shared object is built for machine 243 (64 bits"),
            "{error}"
        );
        assert!(error.contains("and this process is "), "{error}");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn opened_object_resolves_its_symbols() {
        let object = dynlib();
        let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = files();
        // SAFETY: the sample has no initialisers and needs no libraries.
        let opened = unsafe { SharedObject::open(&object) }.unwrap();
        assert!(opened.resolve(b"plugin").is_some() && opened.resolve(b"nothing").is_none());
        assert!(files() <= before + 2, "the memory file is closed again");
    }

    /// Regression: the system's loader returned the first object for the second one, whose memory file had the same
    /// number.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn objects_that_are_open_at_once_are_distinct() {
        let mut object = dynlib();
        // SAFETY: the sample has no initialisers and needs no libraries.
        let first = unsafe { SharedObject::open(&object) }.unwrap();
        // SAFETY: as above.
        let second = unsafe { SharedObject::open(&object) }.unwrap();
        assert_ne!(first.resolve(b"plugin"), second.resolve(b"plugin"));
        let name = object.windows(7).position(|bytes| bytes == b"plugin\0").unwrap();
        object[name] = b'P';
        // SAFETY: as above.
        let third = unsafe { SharedObject::open(&object) }.unwrap();
        assert_eq!(third.resolve(b"plugin"), None);
    }

    #[test]
    fn files_have_different_paths_even_with_one_descriptor() {
        let new = || memory_file(b"", MemfdFlags::empty()).unwrap();
        let files: Vec<File> = (0..100).map(|_| new()).collect();
        // As if each had the number of the first.
        let number = files[0].as_raw_fd().to_string();
        let prefix = |file| {
            let path = unused_path(file).unwrap();
            assert!(std::fs::metadata(&path).is_ok(), "{path}");
            path.strip_suffix(&file.as_raw_fd().to_string()).unwrap().to_owned() + &number
        };
        let paths: std::collections::HashSet<_> = files.iter().map(prefix).collect();
        assert_eq!(paths.len(), files.len());
    }

    #[test]
    fn memory_file_cannot_be_changed() {
        let mut file = memory_file(b"bytes", MemfdFlags::empty()).unwrap();
        assert!(file.write_all(b"others").is_err() && file.set_len(0).is_err());
    }
}
