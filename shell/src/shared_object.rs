//! A shared object out of memory, for the system's loader.
//!
//! The system's loader takes files, and trusts every address and index in them. The bytes are put into a memory
//! file of their own, which is then sealed, checked ([`shared_object::check`]), and opened by its name under
//! `/proc`: what is opened is what was checked, whatever becomes of the file that the bytes came from.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use smf_core::format::FormatError;
use smf_core::format::shared_object::{self, Target};
use smf_core::link::Resolve;
use smf_core::memory::{FileBytes, MemoryError};

/// A shared object that the system's loader has opened, closed when it is dropped.
#[derive(Debug)]
pub struct SharedObject {
    library: Library,
}

/// Why a shared object is not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum SharedObjectError {
    /// There is no memory file for it.
    MemoryFile(io::Error),
    /// The memory file cannot be read.
    Read(MemoryError),
    /// A damaged object, which the system's loader would not survive.
    Damaged(FormatError),
    /// A sound object for another machine, class or byte order than this process.
    Target {
        /// What the object was built for.
        object: Target,
    },
    /// The loader refuses it.
    Open(libloading::Error),
}

impl fmt::Display for SharedObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cannot_copy = "cannot copy the shared object for the system's loader";
        let refuses = "the system's loader refuses the shared object";
        match self {
            Self::MemoryFile(error) => write!(f, "{cannot_copy}: {error}"),
            Self::Read(error) => write!(f, "{cannot_copy}: {error}"),
            Self::Damaged(error) => write!(f, "the shared object is not opened: {error}"),
            Self::Target { object } => {
                write!(f, "the shared object is built for {object}, and this process is ")?;
                match Target::host() {
                    Some(host) => host.fmt(f),
                    None => f.write_str(std::env::consts::ARCH),
                }
            }
            Self::Open(libloading::Error::DlOpen { source }) => write!(f, "{refuses}: {source}"),
            Self::Open(error) => write!(f, "{refuses}: {error}"),
        }
    }
}

impl std::error::Error for SharedObjectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::MemoryFile(error) => Some(error),
            Self::Read(error) => Some(error),
            Self::Damaged(error) => Some(error),
            Self::Target { .. } => None,
            Self::Open(error) => Some(error),
        }
    }
}

impl SharedObject {
    /// Opens a copy of `bytes`, all its symbols bound at once and none of them offered to others.
    ///
    /// The copy is checked before the system's loader sees it. The libraries that it needs are not: the
    /// loader searches for them itself.
    ///
    /// # Errors
    /// [`SharedObjectError`]. A damaged object is refused with an offset in `bytes`, before any of its code
    /// runs.
    ///
    /// # Safety
    /// Code of the object runs from now on: initialisers and resolvers of indirect functions before this
    /// returns, terminators when the value is dropped. The caller trusts that code, in this process and in this
    /// thread, and that of the libraries that the object names.
    pub unsafe fn open(bytes: &[u8]) -> Result<Self, SharedObjectError> {
        let file = memory_file(bytes).map_err(SharedObjectError::MemoryFile)?;
        let path = unused_path(&file);
        let copy = FileBytes::read(path.as_bytes(), bytes.len() as u64);
        let copy = copy.map_err(SharedObjectError::Read)?;
        let page_size = rustix::param::page_size() as u64;
        let checked = shared_object::check(&copy, page_size);
        let object = checked.map_err(SharedObjectError::Damaged)?;
        if Some(object) != Target::host() {
            return Err(SharedObjectError::Target { object });
        }
        // SAFETY: the caller trusts the initialisers and terminators of the object and of what it needs. It
        // is closed only when the value is dropped.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        Ok(Self { library: library.map_err(SharedObjectError::Open)? })
    }
}

/// A memory file with `bytes`, sealed against every change.
fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("smf-dynlib", flags)?);
    file.write_all(bytes)?;
    let size = SealFlags::SHRINK | SealFlags::GROW;
    fcntl_add_seals(&file, size | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file)
}

/// A path of an open file that no call in this process has returned before.
///
/// The system's loader takes objects that were opened by one path for the same object, and the number of a
/// closed file is that of the next one. `/` and `./` in a path lead nowhere: here they spell a number.
fn unused_path(file: &File) -> String {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let mut number = OPENED.fetch_add(1, Ordering::Relaxed);
    let mut path = String::from("/proc/self/fd/");
    while number != 0 {
        path.push_str(if number & 1 == 0 { "/" } else { "./" });
        number >>= 1;
    }
    path + &file.as_raw_fd().to_string()
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
    fn bytes_that_are_no_shared_object_are_refused_with_an_offset() {
        for bytes in [&b""[..], b"\x7fELF", &[0; 5000]] {
            let error = refused(bytes);
            assert!(error.starts_with("the shared object is not opened: "), "{error}");
            assert!(error.ends_with("at offset 0x0"), "{error}");
        }
    }

    #[test]
    fn an_object_for_another_machine_is_refused_by_name() {
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
    fn a_shared_object_has_its_symbols_and_no_others() {
        let object = dynlib();
        let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = files();
        // SAFETY: the sample has no initialisers and needs no libraries.
        let opened = unsafe { SharedObject::open(&object) }.unwrap();
        assert!(opened.resolve(b"plugin").is_some() && opened.resolve(b"nothing").is_none());
        assert!(files() <= before + 2, "the memory file is closed again");
    }

    /// The loader took the second object for the first one, whose memory file had the same number.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn objects_that_are_open_at_once_are_told_apart() {
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
    fn paths_of_one_file_differ() {
        let file = memory_file(b"").unwrap();
        let paths: std::collections::HashSet<_> = (0..1000).map(|_| unused_path(&file)).collect();
        assert_eq!(paths.len(), 1000);
        assert!(paths.iter().all(|path| std::fs::metadata(path).is_ok()));
    }

    #[test]
    fn a_memory_file_cannot_be_changed() {
        let mut file = memory_file(b"bytes").unwrap();
        assert!(file.write_all(b"others").is_err() && file.set_len(0).is_err());
    }
}
