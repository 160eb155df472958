//! `rt_*`: executable memory, known to C by its addresses.
//!
//! Little in this file is unsafe but that the names it exports can be in a program once only.
#![allow(unsafe_code)]

use std::ops::Range;

use smf_core::memory::code_alloc::{ExecError, PageUse};
use smf_core::memory::{Protection, permissions_at};

use super::error::{ApiError, keep, or};
use super::values::{self, Bytes};
use super::{args, blocks, mappings};
use crate::stderr;

/// The bits of a protection in `smf.h`.
const READ: i32 = 1;
const WRITE: i32 = 2;
const EXEC: i32 = 4;

/// Zero-filled memory for code, a whole number of pages that hold `size` bytes. It runs as soon as it
/// was written through [`rt_write_exec_memory`], and is never writable and executable at one address.
/// Returns its address; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_alloc_exec_memory(size: i64) -> i64 {
    or(0, allocate(size, PageUse::Code))
}

/// Zero-filled memory for data, a whole number of pages that hold `size` bytes, readable and writable.
/// Returns its address; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn rt_alloc_rw_memory(size: i64) -> i64 {
    or(0, allocate(size, PageUse::Data))
}

fn allocate(size: i64, usage: PageUse) -> Result<i64, ApiError> {
    let size = args::size(size)?;
    let address = blocks::with(|blocks| blocks.allocate(size, usage))?;
    Ok(address.cast_signed() as i64)
}

/// Frees a block of either kind: its address, and the size it was asked for with.
#[unsafe(no_mangle)]
pub extern "C" fn rt_free_exec_memory(address: i64, size: i64) -> bool {
    done(block(address, size).and_then(|(at, size)| blocks::with(|blocks| blocks.free(at, size))))
}

/// Copies a byte array into the block at `address`, `offset` bytes from its beginning. Returns how
/// many bytes were written; -1 on failure, and then none.
///
/// # Safety
/// `code` is null or a value of the runtime, if there is one, and its bytes do not change meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_write_exec_memory(address: i64, code: Bytes, offset: i64) -> i64 {
    let place = args::address("the address", address)
        .and_then(|address| Ok((address, args::length("the offset", offset)?)));
    let written = place.and_then(|(address, offset)| {
        let write = |bytes: &[u8]| blocks::with(|blocks| blocks.write(address, offset, bytes));
        // SAFETY: passed on to the caller.
        unsafe { values::with_bytes(code, write) }
    });
    // At most the bytes of a block.
    or(-1, written.map(|written| i64::try_from(written).unwrap_or(i64::MAX)))
}

/// Makes a block readable and executable, and no longer writable at its address.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_executable(address: i64, size: i64) -> bool {
    done(protect(address, size, Protection::ReadExecute))
}

/// Makes a block readable and writable, and no longer executable.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_writable(address: i64, size: i64) -> bool {
    done(protect(address, size, Protection::ReadWrite))
}

/// Sets what a block allows at its address: a sum of READ 1, WRITE 2 and EXEC 4, or 0. Reading comes
/// with writing and with executing; those two together are refused.
#[unsafe(no_mangle)]
pub extern "C" fn rt_set_protection(address: i64, size: i64, prot: i32) -> bool {
    done(protection(prot).and_then(|protection| protect(address, size, protection)))
}

/// The protection that is meant by a sum of these.
pub(super) fn protection(prot: i32) -> Result<Protection, ApiError> {
    match prot {
        0 => Ok(Protection::None),
        READ => Ok(Protection::Read),
        _ if prot & !(READ | WRITE | EXEC) != 0 => {
            Err(ApiError::Unknown { what: "protection", value: i64::from(prot) })
        }
        _ if prot & WRITE == 0 => Ok(Protection::ReadExecute),
        _ if prot & EXEC == 0 => Ok(Protection::ReadWrite),
        _ => Err(ExecError::WriteAndExecute.into()),
    }
}

fn protect(address: i64, size: i64, protection: Protection) -> Result<(), ApiError> {
    let (address, size) = block(address, size)?;
    blocks::with(|blocks| blocks.protect(address, size, protection))
}

fn block(address: i64, size: i64) -> Result<(usize, u64), ApiError> {
    Ok((args::address("the address", address)?, args::size(size)?))
}

fn done(result: Result<(), ApiError>) -> bool {
    or(false, result.map(|()| true))
}

/// Brings the instruction caches in step with the bytes of a range inside one block. Code that was
/// written through [`rt_write_exec_memory`] or made executable is in step already.
#[unsafe(no_mangle)]
pub extern "C" fn rt_flush_icache(address: i64, size: i64) {
    if let Err(error) = args::range(address, size).and_then(|range| flush(&range)) {
        keep(error);
    }
}

fn flush(range: &Range<usize>) -> Result<(), ApiError> {
    blocks::with(|blocks| blocks.synchronize(range))
}

/// The address, if it lies in executable memory of this library that was written, or in a file that was
/// mapped to run; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_function_pointer(address: i64) -> i64 {
    let at = args::address("the address", address);
    let entry = at.and_then(|at| match blocks::with(|blocks| blocks.entry_point(at)) {
        Err(_) if mappings::is_code(at) => Ok(at),
        found => found,
    });
    or(0, entry.map(|_| address))
}

/// Whether the kernel lets the byte at any address of the process be executed.
#[unsafe(no_mangle)]
pub extern "C" fn rt_is_executable(address: i64) -> bool {
    or(false, kernel_protection(address).map(|prot| prot & EXEC != 0))
}

/// What the kernel allows at any address of the process, as in [`rt_set_protection`]; -1 when nothing
/// is mapped there.
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

/// The bytes of all live blocks, as they were asked for.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_total() -> i64 {
    let bytes = blocks::statistics().live_bytes;
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How many blocks are live.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_count() -> i64 {
    let count = blocks::statistics().live_blocks;
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Writes to standard error how much executable memory there is and was.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_dump_stats() {
    let s = blocks::statistics();
    let text = format!(
        "executable memory: {} bytes in {} blocks live, {} bytes in {} blocks at most\n\
         \x20 {} allocations, {} publications, {} frees, {} refusals\n\
         \x20 {} arenas, {} bytes held, {} bytes wasted, {} bytes of records\n",
        s.live_bytes,
        s.live_blocks,
        s.peak_bytes,
        s.peak_blocks,
        s.allocations,
        s.publications,
        s.frees,
        s.refusals,
        s.arenas,
        s.held_bytes,
        s.wasted_bytes,
        s.record_bytes,
    );
    stderr::write(text.as_bytes());
}

/// Sets ceilings for executable memory, in bytes and in blocks, both at least 1. Fails while blocks
/// are live.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_limit(bytes: i64, blocks: i64) -> bool {
    let limits = args::size(bytes).and_then(|bytes| Ok((bytes, args::size(blocks)?)));
    done(limits.and_then(|(bytes, blocks)| blocks::with(|all| all.limit(bytes, blocks))))
}

/// Gives back to the system what holds no live block. Happens by itself when the last block is freed,
/// but not more often than once a millisecond for long.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_trim() -> bool {
    done(blocks::with(|blocks| blocks.trim()))
}
