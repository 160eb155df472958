//! Paths as system calls take them: bytes with one NUL, at the end.

use core::ffi::CStr;

use arrayvec::ArrayVec;

use super::super::sys::PATH_LIMIT;
use super::super::types::{MemoryError, Result};

/// Calls `call` with `path` and a NUL behind it.
///
/// Never inlined: the buffer for the longest path would enlarge the stack frame of every caller.
#[inline(never)]
pub(crate) fn with_path<T>(path: &[u8], call: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut buffer = ArrayVec::<u8, { PATH_LIMIT + 1 }>::new();
    buffer.try_extend_from_slice(path).map_err(|_| too_long)?;
    buffer.try_push(0).map_err(|_| too_long)?;
    match CStr::from_bytes_until_nul(&buffer) {
        Ok(path_to_nul) if path_to_nul.count_bytes() == path.len() => call(path_to_nul),
        Ok(path_to_nul) => Err(MemoryError::PathNul { at: path_to_nul.count_bytes() }),
        // The buffer ends with a NUL.
        Err(_) => Err(too_long),
    }
}
