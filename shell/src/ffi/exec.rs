//! `rt_*`: executable memory, by address.
#![allow(unsafe_code)]

use smf_core::memory::code_alloc::{Action, Event, ExecError, PageUse, Statistics};
use smf_core::memory::{Protection, permissions_at};

use super::args::to_i64;
use super::constants::{
    SMF_EXEC_ALLOCATE, SMF_EXEC_FREE, SMF_EXEC_PUBLISH, SMF_EXEC_REFUSE, SMF_PROT_EXEC as EXEC,
    SMF_PROT_NONE as NONE, SMF_PROT_READ as READ, SMF_PROT_WRITE as WRITE,
};
use super::cptr::slice_mut;
use super::error::{ApiError, ArgumentError, attempt, or, succeeded};
use super::values::{self, Bool, Bytes, to_bool};
use super::{args, blocks, mappings};
use crate::unlocked_write;

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
pub extern "C" fn rt_free_exec_memory(address: i64, size: i64) -> Bool {
    let free = |(at, size)| blocks::with(|blocks| blocks.free(at, size));
    to_bool(succeeded(block(address, size).and_then(free)))
}

/// Copies a byte array into the block at `address`, from `offset` on. Returns the number of bytes written; -1 on
/// failure, when none was.
///
/// # Safety
/// `code` is null or, with a runtime, one of its values, and its bytes do not change during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rt_write_exec_memory(address: i64, code: Bytes, offset: i64) -> i64 {
    attempt(-1, || {
        let address = args::address("the address", address)?;
        let offset = args::length("the offset", offset)?;
        let write = |bytes: &[u8]| {
            blocks::with(|blocks| blocks.change(address, |m| m.write_pages(address, offset, bytes)))
        };
        // SAFETY: the caller's promise.
        unsafe { values::with_bytes(code, write) }.map(to_i64)
    })
}

/// Makes a block readable and executable, and not writable.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_executable(address: i64, size: i64) -> Bool {
    to_bool(succeeded(protect(address, size, Protection::ReadExecute)))
}

/// Makes a block readable and writable, and not executable.
#[unsafe(no_mangle)]
pub extern "C" fn rt_make_writable(address: i64, size: i64) -> Bool {
    to_bool(succeeded(protect(address, size, Protection::ReadWrite)))
}

/// Sets the protection of a block, a sum of `SMF_PROT_*`. Write and execute permission each include read permission;
/// both together are refused.
#[unsafe(no_mangle)]
pub extern "C" fn rt_set_protection(address: i64, size: i64, prot: i32) -> Bool {
    to_bool(succeeded(protection(prot).and_then(|protection| protect(address, size, protection))))
}

/// Decodes a sum of `SMF_PROT_*`.
pub(super) fn protection(prot: i32) -> Result<Protection, ApiError> {
    match prot {
        NONE => Ok(Protection::None),
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
    attempt((), || {
        let range = args::range(address, size)?;
        blocks::with(|blocks| blocks.synchronize(&range))
    });
}

/// The address itself if it is in executable memory of this library that has been written, or in an executable file
/// mapping; otherwise 0.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_function_pointer(address: i64) -> i64 {
    attempt(0, || {
        let at = args::address("the address", address)?;
        match blocks::with(|blocks| blocks.entry_point(at)) {
            Err(error) if !mappings::is_code(at) => Err(error),
            _ => Ok(address),
        }
    })
}

/// Whether the kernel allows execution at an address, of any memory of the process.
#[unsafe(no_mangle)]
pub extern "C" fn rt_is_executable(address: i64) -> Bool {
    to_bool(or(false, kernel_protection(address).map(|prot| prot & EXEC != 0)))
}

/// The protection of an address in the kernel, of any memory of the process: a sum of `SMF_PROT_*`; -1 if nothing is
/// mapped there.
#[unsafe(no_mangle)]
pub extern "C" fn rt_get_protection(address: i64) -> i32 {
    or(-1, kernel_protection(address))
}

fn kernel_protection(address: i64) -> Result<i32, ApiError> {
    let address = args::address("the address", address)?;
    let access = permissions_at(address)?.ok_or_else(|| ApiError::Unmapped { address })?;
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

/// Writes the statistics of executable memory, its arenas and its live blocks to standard error.
#[unsafe(no_mangle)]
pub extern "C" fn rt_exec_memory_dump_stats() {
    let now = blocks::statistics();
    let Statistics { live_bytes, live_blocks, peak_bytes, peak_blocks, .. } = now;
    let Statistics { allocations, publications, frees, refusals, .. } = now;
    let Statistics { arenas, held_bytes, wasted_bytes, record_bytes, .. } = now;
    let mut text = format!(
        "executable memory: {live_bytes} bytes in {live_blocks} blocks live, {peak_bytes} bytes in {peak_blocks} blocks at most\n\
         \x20 {allocations} allocations, {publications} publications, {frees} frees, {refusals} refusals\n\
         \x20 {arenas} arenas, {held_bytes} bytes held, {wasted_bytes} bytes wasted, {record_bytes} bytes of records\n",
    );
    // Writing to a string does not fail.
    let _ = blocks::describe(&mut text);
    unlocked_write::report(text.as_bytes());
}

/// The most events that the audit log retains.
const MAX_EVENTS: u64 = 1 << 20;

/// An event of executable memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecEvent {
    /// The number of the event, from 0.
    pub sequence: i64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub nanoseconds: i64,
    /// The address of the block, or the refused one; 0 if there is none.
    pub address: i64,
    /// The size in bytes, as requested.
    pub bytes: i64,
    /// `SMF_EXEC_*`.
    pub action: i32,
    /// `SMF_OK`, or why a request was refused.
    pub error: i32,
}

impl SmfExecEvent {
    fn new(event: &Event) -> Self {
        let (action, error) = match event.action {
            Action::Allocate => (SMF_EXEC_ALLOCATE, 0),
            Action::Publish => (SMF_EXEC_PUBLISH, 0),
            Action::Free => (SMF_EXEC_FREE, 0),
            Action::Refuse(error) => (SMF_EXEC_REFUSE, ApiError::from(error).code() as i32),
        };
        Self {
            sequence: to_i64(event.sequence),
            nanoseconds: event.time,
            address: to_i64(event.address),
            bytes: to_i64(event.size),
            action,
            error,
        }
    }
}

/// Sets how many events of executable memory are retained, at most 1,048,576; with 0 none is recorded. Returns the
/// previous number; -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_audit(events: i64) -> i64 {
    attempt(-1, || {
        let count = args::length("the number of events", events)?;
        if count > MAX_EVENTS {
            return Err(ArgumentError::unknown("number of events", events).into());
        }
        // At most `MAX_EVENTS`.
        blocks::with(|blocks| blocks.set_audit_events(count as usize)).map(to_i64)
    })
}

/// Removes the earliest events, up to `count`, from the audit log and copies them. Returns how many; -1 on failure.
/// Unless it is null, `lost` receives the number of events before them that were not retained.
///
/// # Safety
/// `events` is null or points to memory for `count` events; `lost` is null or points to memory for an integer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_drain(
    events: *mut SmfExecEvent,
    count: i64,
    lost: *mut i64,
) -> i64 {
    attempt(-1, || {
        // SAFETY: the caller's promise.
        let output = unsafe { slice_mut("the array of events", events, count) }?;
        let count = output.len();
        let mut slots = output.iter_mut();
        let mut copied = 0;
        let before = blocks::with(|blocks| {
            let copy = |event: &Event| {
                if let Some(slot) = slots.next() {
                    slot.write(SmfExecEvent::new(event));
                    copied += 1;
                }
            };
            blocks.drain_events(count, copy)
        })?;
        if !lost.is_null() {
            // SAFETY: not null, so writable by the caller's promise.
            unsafe { lost.write_unaligned(to_i64(before)) };
        }
        Ok(copied)
    })
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
    succeeded(blocks::with(|blocks| blocks.trim()))
}
