//! Copies out of memory that others may have unmapped.
#![allow(unsafe_code)]

use std::io;

use super::error::ApiError;

/// Copies bytes at an address of this process. Returns how many of the first bytes were copied, at least one unless
/// `into` is empty; `None` where the system call is forbidden.
///
/// # Errors
/// [`ApiError::Unmapped`]: the memory is not mapped, or not readable.
pub(super) fn copy(address: usize, into: &mut [u8]) -> Result<Option<usize>, ApiError> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote =
        libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: into.len() };
    let process = std::process::id().cast_signed();
    // SAFETY: the kernel writes to `into` alone, and reports memory that it cannot read.
    let count =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(count) {
        Ok(count) => Ok(Some(count)),
        Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT) => {
            Err(ApiError::Unmapped { address })
        }
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "copies by a system call")]
    fn unmapped_memory_is_an_error_and_mapped_memory_is_copied() {
        let bytes = [1u8, 2, 3, 4];
        let mut into = [0; 3];
        assert_eq!(copy(bytes.as_ptr().addr() + 1, &mut into), Ok(Some(3)));
        assert_eq!(into, [2, 3, 4]);
        assert_eq!(copy(1, &mut into), Err(ApiError::Unmapped { address: 1 }));
        assert_eq!(copy(1, &mut []), Ok(Some(0)));
    }
}
