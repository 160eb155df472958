//! `smf_name_code`, and the profilers and debuggers that receive names.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cptr::text;
use super::error::{ApiError, succeeded};
use super::{args, blocks};
use crate::tools::{self, Function};

/// Names `size` bytes of executable memory of this library for the enabled tools. Without an enabled tool the
/// arguments are not checked and the result is true. Functions of loaded modules are named automatically.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_name_code(address: i64, size: i64, name: *const c_char) -> bool {
    if !tools::is_on() {
        return true;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name", name) };
    succeeded(name.and_then(|name| name_code(address, size, name)))
}

fn name_code(address: i64, size: i64, name: &[u8]) -> Result<(), ApiError> {
    let range = args::range(address, size)?;
    blocks::with(|blocks| {
        if !blocks.is_code(&range) {
            return Err(ApiError::NotCode { address: range.start, size: range.len() });
        }
        let code = range.start as u64..range.end as u64;
        let size = range.len() as u64;
        let function = Function { address: code.start, size, name };
        let (announced, outcome) = tools::announce(&[function], &[code]);
        blocks.add_name(range.start, announced)?;
        Ok(outcome?)
    })
}

/// Enables `/tmp/perf-PID.map`, which `perf report` reads; as the environment variable `SMF_PERF_MAP=1` does.
#[unsafe(no_mangle)]
pub extern "C" fn smf_perf_map_enable() -> bool {
    succeeded(tools::enable_perf_map().map_err(ApiError::Tool))
}

/// Enables `jit-PID.dump` in `directory`, for `perf inject --jit`; as the environment variable
/// `SMF_JITDUMP=DIRECTORY` does.
///
/// # Safety
/// `directory` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jitdump_enable(directory: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    let directory = unsafe { text("the directory", directory) };
    succeeded(directory.and_then(|directory| {
        let directory = Path::new(OsStr::from_bytes(directory));
        Ok(tools::enable_jitdump(directory)?)
    }))
}

/// Enables the JIT interface of gdb and lldb; as the environment variable `SMF_GDB=1` does.
#[unsafe(no_mangle)]
pub extern "C" fn smf_gdb_enable() -> bool {
    succeeded(tools::enable_gdb().map_err(ApiError::Tool))
}
