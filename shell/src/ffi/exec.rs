//! `rt_*`: executable memory, by address.
#![allow(unsafe_code)]

use smf_core::memory::code_alloc::{ExecError, PageUse, Statistics};
use smf_core::memory::{Protection, permissions_at};

use super::args::to_i64;
use super::error::{ApiError, ArgumentError, or, succeeded};
use super::values::{self, Bytes};
use super::{args, blocks, mappings};
use crate::stderr;

/// `SMF_PROT_*` in `smf.h`.
const READ: i32 = 1;
const WRITE: i32 = 2;
const EXEC: i32 = 4;

/// Allocates zero-filled memory for code, `size` bytes rounded up to whole pages. It is executable once it has been
/// written by [`rt_write_exec_memory`], and never writable and executable at one address. Returns the address; 0 on
/// failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_alloc_exec_memory(size: i64) -> i64 {
    or(0, allocate(size, PageUse::Code))
}

/// Allocates zero-filled readable and writable memory, `size` bytes rounded up to whole pages. Returns the address;
/// 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_alloc_rw_memory(size: i64) -> i64 {
    or(0, allocate(size, PageUse::Data))
}

fn allocate(size: i64, usage: PageUse) -> Result<i64, ApiError> {
    let size = args::size(size)?;
    let address = blocks::with(|blocks| blocks.allocate(size, usage))?;
    Ok(address.cast_signed() as i64)
}

/// Frees a block of either kind, given its address and the requested size.
#[unsafe(no_mangle)]
pub extern "C" fn rt_free_exec_memory(address: i64, size: i64) -> bool {
    succeeded(
        block(address, size).and_then(|(at, size)| blocks::with(|blocks| blocks.free(at, size))),
    )
}

/// Copies a byte array into the block at `address`, from `offset` on. Returns the number of bytes written; -1 on
/// failure, when none was.
///
/// # Safety
/// `code` is null or, with a runtime, one of its values, and its bytes do not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_write_exec_memory(address: i64, code: Bytes, offset: i64) -> i64 {
    let write = || {
        let address = args::address("the address", address)?;
        let offset = args::length("the offset", offset)?;
        let write = |bytes: &[u8]| {
            blocks::with(|blocks| blocks.change(address, |m| m.write_pages(address, offset, bytes)))
        };
        // SAFETY: the caller's promise.
        unsafe { values::with_bytes(code, write) }
    };
    or(-1, write().map(to_i64))
}

/// Makes a block readable and executable, and not writable.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_executable(address: i64, size: i64) -> bool {
    succeeded(protect(address, size, Protection::ReadExecute))
}

/// Makes a block readable and writable, and not executable.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_writable(address: i64, size: i64) -> bool {
    succeeded(protect(address, size, Protection::ReadWrite))
}

/// Sets the protection of a block, a sum of `SMF_PROT_*`. Write and execute permission each include read permission;
/// both together are refused.
#[unsafe(no_mangle)]
pub extern "C" fn rt_set_protection(address: i64, size: i64, prot: i32) -> bool {
    succeeded(protection(prot).and_then(|protection| protect(address, size, protection)))
}

/// Decodes a sum of `SMF_PROT_*`.
pub(super) fn protection(prot: i32) -> Result<Protection, ApiError> {
    match prot {
        0 => Ok(Protection::None),
        READ => Ok(Protection::Read),
        _ if prot & !(READ | WRITE | EXEC) != 0 => {
            Err(ArgumentError::unknown("protection", prot).into())
        }
        _ if prot & WRITE == 0 => Ok(Protection::ReadExecute),
        _ if prot & EXEC == 0 => Ok(Protection::ReadWrite),
        _ => Err(ExecError::WriteAndExecute.into()),
    }
}

fn protect(address: i64, size: i64, protection: Protection) -> Result<(), ApiError> {
    let (address, size) = block(address, size)?;
    blocks::with(|blocks| {
        blocks.change(address, |memory| memory.protect_pages(address, size, protection))
    })
}

fn block(address: i64, size: i64) -> Result<(usize, u64), ApiError> {
    Ok((args::address("the address", address)?, args::size(size)?))
}

/// Synchronizes the instruction caches with a range inside one block. [`rt_write_exec_memory`] and making a block
/// executable do this themselves.
#[unsafe(no_mangle)]
pub extern "C" fn rt_flush_icache(address: i64, size: i64) {
    let flush = || {
        let range = args::range(address, size)?;
        blocks::with(|blocks| blocks.synchronize(&range))
    };
    or((), flush());
}

/// The address itself if it is in executable memory of this library that has been written, or in an executable file
/// mapping; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_function_pointer(address: i64) -> i64 {
    let entry_point = || {
        let at = args::address("the address", address)?;
        match blocks::with(|blocks| blocks.entry_point(at)) {
            Err(_) if mappings::is_code(at) => Ok(at),
            found => found,
        }
    };
    or(0, entry_point().map(|_| address))
}

/// Whether the kernel allows execution at an address, of any memory of the process.
#[unsafe(no_mangle)]
pub extern "C" fn rt_is_executable(address: i64) -> bool {
    or(false, kernel_protection(address).map(|prot| prot & EXEC != 0))
}

/// The protection of an address in the kernel, of any memory of the process: a sum of `SMF_PROT_*`; -1 if nothing is
/// mapped there.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_protection(address: i64) -> i32 {
    or(-1, kernel_protection(address))
}

fn kernel_protection(address: i64) -> Result<i32, ApiError> {
    let address = args::address("the address", address)?;
    let access = permissions_at(address)?.ok_or(ApiError::Unmapped { address })?;
    let bit = |has, bit| if has { bit } else { 0 };
    Ok(bit(access.read, READ) | bit(access.write, WRITE) | bit(access.execute, EXEC))
}

/// The requested bytes of all live blocks.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_total() -> i64 {
    to_i64(blocks::statistics().live_bytes)
}

/// The number of live blocks.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_count() -> i64 {
    to_i64(blocks::statistics().live_blocks)
}

/// Writes the statistics of executable memory to standard error.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_dump_stats() {
    let now = blocks::statistics();
    let Statistics { live_bytes, live_blocks, peak_bytes, peak_blocks, .. } = now;
    let Statistics { allocations, publications, frees, refusals, .. } = now;
    let Statistics { arenas, held_bytes, wasted_bytes, record_bytes, .. } = now;
    let text = format!(
        "executable memory: {live_bytes} bytes in {live_blocks} blocks live, {peak_bytes} bytes in {peak_blocks} blocks at most\n\
         \x20 {allocations} allocations, {publications} publications, {frees} frees, {refusals} refusals\n\
         \x20 {arenas} arenas, {held_bytes} bytes held, {wasted_bytes} bytes wasted, {record_bytes} bytes of records\n",
    );
    stderr::write(text.as_bytes());
}

/// Sets ceilings for executable memory, in bytes and in blocks, both at least 1. Fails while blocks are live or
/// loaders are open.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_limit(bytes: i64, blocks: i64) -> bool {
    let limit = || {
        let (bytes, count) = (args::size(bytes)?, args::size(blocks)?);
        blocks::with(|blocks| blocks.limit(bytes, count))
    };
    succeeded(limit())
}

/// Returns memory without live blocks to the system. Freeing the last block does so too, at a limited rate.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_trim() -> bool {
    succeeded(blocks::with(|blocks| Ok(blocks.memory.trim()?)))
}
