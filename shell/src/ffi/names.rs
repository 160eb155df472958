//! `smf_*`: names for code, and the tools that are told about them.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::cptr::text;
use super::error::{ApiError, or};
use super::{args, blocks};
use crate::tools::{self, Function};

/// Names the function that takes `size` bytes at `address`, in executable memory of this library that
/// was written, for the tools that are on. While none is on, nothing is looked at and nothing can
/// fail. The functions of loaded modules are named without a call.
///
/// # Safety
/// `name` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_name_code(address: i64, size: i64, name: *const c_char) -> bool {
    if !tools::is_on() {
        return true;
    }
    // SAFETY: passed on to the caller.
    let name = unsafe { text("the name", name) };
    or(false, name.and_then(|name| name_code(address, size, name)))
}

#[cold]
fn name_code(address: i64, size: i64, name: &CStr) -> Result<bool, ApiError> {
    let range = args::range(address, size)?;
    blocks::with(|blocks| {
        if !blocks.is_code(&range) {
            return Err(ApiError::NotCode { address: range.start, size: range.len() });
        }
        let code = range.start as u64..range.end as u64;
        let size = range.len() as u64;
        let function = Function { address: code.start, size, name: name.to_bytes() };
        let announced = tools::announce(&[function], &[code])?;
        blocks.keep_name(range.start, announced)?;
        Ok(true)
    })
}

/// Writes `/tmp/perf-PID.map` from now on, where `perf report` looks for it. So does the environment
/// variable `SMF_PERF_MAP=1`.
#[unsafe(no_mangle)]
pub extern "C" fn smf_perf_map_enable() -> bool {
    or(false, tools::enable_perf_map().map(|()| true).map_err(ApiError::Tool))
}

/// Writes `jit-PID.dump` in `directory` from now on, for `perf inject --jit`. So does the environment
/// variable `SMF_JITDUMP=DIRECTORY`.
///
/// # Safety
/// `directory` is null or points to bytes that end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jitdump_enable(directory: *const c_char) -> bool {
    // SAFETY: passed on to the caller.
    let directory = unsafe { text("the directory", directory) };
    let enabled = directory.and_then(|directory| {
        let directory = Path::new(OsStr::from_bytes(directory.to_bytes()));
        Ok(tools::enable_jitdump(directory)?)
    });
    or(false, enabled.map(|()| true))
}

/// Tells debuggers of named code and of loaded modules from now on. So does the environment variable
/// `SMF_GDB=1`.
#[unsafe(no_mangle)]
pub extern "C" fn smf_gdb_enable() -> bool {
    or(false, tools::enable_gdb().map(|()| true).map_err(ApiError::Tool))
}
