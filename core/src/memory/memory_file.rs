//! Memory files with code, for systems that forbid to make memory executable which was writable (`PR_SET_MDWE`): their pages
//! are executable from the start.

use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;

use super::sys;
use super::types::Errno;

/// A memory file that can be mapped executable.
pub(super) fn create() -> Result<OwnedFd, Errno> {
    let create = |flags| sys::memory_file(c"smf-module", flags);
    // Kernels before 6.3 have no flags for this. Where all are refused, no memory file is executable.
    create(MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| create(MemfdFlags::EXEC))
        .or_else(|_| create(MemfdFlags::empty()))
}

/// A memory file with a copy of `bytes`, at offset 0.
pub(super) fn with_copy(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = create()?;
    sys::resize(&file, bytes.len() as u64)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = sys::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or(&[]);
    }
    Ok(file)
}
