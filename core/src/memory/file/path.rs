//! Paths as the kernel takes them: bytes, and a NUL behind them that is the only one.
#![allow(unsafe_code)]

use core::ffi::CStr;

use arrayvec::ArrayVec;

use super::super::MemoryError;
use super::super::sys::PATH_LIMIT;

/// Hands on `path` with a NUL behind it. Never a part of its caller, whose stack would have the room
/// for the longest path as long as it runs.
#[inline(never)]
pub(in super::super) fn with_path<T>(
    path: &[u8],
    call: impl FnOnce(&CStr) -> Result<T, MemoryError>,
) -> Result<T, MemoryError> {
    let mut room = Terminated::new();
    call(terminated(path, &mut room)?)
}

/// Room for a path and the NUL behind it.
type Terminated = ArrayVec<u8, { PATH_LIMIT + 1 }>;

/// Puts `path` into `room`, and a NUL behind it. Once for all who call something with a path.
#[inline(never)]
fn terminated<'r>(path: &[u8], room: &'r mut Terminated) -> Result<&'r CStr, MemoryError> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    room.try_extend_from_slice(path).map_err(|_| too_long)?;
    room.try_push(0).map_err(|_| too_long)?;
    if let Some(at) = path.iter().position(|byte| *byte == 0) {
        return Err(MemoryError::PathNul { at });
    }
    // A search for the first NUL, eight bytes at a time, is more code than all of this.
    // SAFETY: the path has none, and the one behind it is the last byte.
    Ok(unsafe { CStr::from_bytes_with_nul_unchecked(room) })
}
