//! Memory files whose pages may be executable from the start, for systems that forbid to make memory executable which was
//! writable (`PR_SET_MDWE`).

use core::ffi::CStr;

use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;

use super::sys;
use super::types::Errno;

/// A memory file of `size` zero bytes that can be mapped executable.
pub(super) fn create(name: &CStr, size: u64) -> Result<OwnedFd, Errno> {
    let create = |flags| sys::memory_file(name, flags);
    // Kernels before 6.3 have no flags for this. Where all are refused, no memory file is executable.
    let file = create(MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| create(MemfdFlags::EXEC))
        .or_else(|_| create(MemfdFlags::empty()))?;
    sys::resize(&file, size)?;
    Ok(file)
}

/// A memory file with a copy of `bytes`, the code of a module.
pub(super) fn with_copy(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let file = create(c"smf-module", bytes.len() as u64)?;
    sys::write_all(&file, bytes)?;
    Ok(file)
}
