//! `rt_*` of the runtime's module loader: mappings, protection, raw memory and calls, for any address of the process.
//!
//! The Simple runtime defines these names too, in some of its builds, so they are weak symbols with its signatures and
//! results: the kernel's numbers for flags and advice, 0 and -1 rather than `bool`. Memory need not come from this
//! library. Only a mapping of `rt_mmap_file` is recognised, so that unmapping it ends its registration.
//!
//! Source: `platform/unix_common.h`, `runtime.h` and `runtime_memory.c` of the Simple runtime.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_void};
use std::ops::Range;

use rustix::io::Errno;
use smf_core::memory::PageCount;
use smf_core::memory::code_alloc::ExecError;

use super::args::{self, to_i64};
#[cfg(target_arch = "x86_64")]
use super::call::move_arguments;
use super::error::{ApiError, ArgumentError, attempt, or};
use super::mappings;
use super::values::{self, Bool, Path, to_bool};
use super::weak::{export_weak, jump};

/// The result of a function of C that returns -1 and sets `errno`.
fn checked<T: Into<i64>>(call: &'static str, result: T) -> Result<i64, ApiError> {
    match result.into() {
        -1 => {
            let error = std::io::Error::last_os_error();
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
            Err(ApiError::System { call, errno })
        }
        result => Ok(result),
    }
}

/// A number of the kernel's interface.
fn number(what: &'static str, value: i64) -> Result<c_int, ApiError> {
    c_int::try_from(value).map_err(|_| ArgumentError::unknown(what, value).into())
}

/// A pointer to memory that belongs to the caller.
fn pointer(address: usize) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address)
}

/// The address in a pointer, as a number of C.
fn address_of(pointer: *mut c_void) -> i64 {
    pointer.expose_provenance().cast_signed() as i64
}

/// The protection of `mmap(2)`, without permission to write and execute at once.
fn protection(prot: i64) -> Result<c_int, ApiError> {
    let both = libc::PROT_WRITE | libc::PROT_EXEC;
    match number("protection", prot)? {
        prot if prot & both == both => Err(ExecError::WriteAndExecute.into()),
        prot => Ok(prot),
    }
}

/// `mmap(2)`. Returns the address; -1 on failure, and for write permission together with execute permission.
extern "C" fn rt_mmap_raw(
    address: i64,
    length: i64,
    prot: i64,
    flags: i64,
    fd: i64,
    offset: i64,
) -> i64 {
    attempt(-1, || {
        let length = args::array_len::<u8>("the length", length)?;
        args::length("the offset", offset)?;
        let prot = protection(prot)?;
        let (flags, fd) = (number("set of flags", flags)?, number("descriptor", fd)?);
        // SAFETY: without MAP_FIXED the call replaces no memory; with it, the caller owns what it replaces.
        let start =
            unsafe { libc::mmap(pointer(address as usize), length, prot, flags, fd, offset) };
        checked("mmap", address_of(start))
    })
}

/// Unmaps the pages of a range, of whatever origin. A mapping of this library must be unmapped whole.
fn unmap(address: i64, length: i64) -> Result<(), ApiError> {
    let range = args::range(address, length)?;
    if mappings::remove_range(&range)? {
        return Ok(());
    }
    // SAFETY: the caller owns the memory, which no mapping of this library contains.
    checked("munmap", unsafe { libc::munmap(pointer(range.start), range.len()) }).map(drop)
}

/// 0 for success, else -1.
fn status(result: Result<(), ApiError>) -> i64 {
    or(-1, result.map(|()| 0))
}

/// `munmap(2)`: 0, or -1 on failure. A mapping of `rt_mmap_file` must be unmapped whole.
extern "C" fn rt_munmap_raw(address: i64, length: i64) -> i64 {
    status(unmap(address, length))
}

/// As [`rt_munmap_raw`], with the result of the runtime's `rt_munmap`.
extern "C" fn rt_munmap(address: *mut c_void, size: i64) -> Bool {
    to_bool(status(unmap(address_of(address), size)) == 0)
}

/// `mprotect(2)`: 0, or -1 on failure, and for write permission together with execute permission. With execute
/// permission, instruction fetch in every thread sees the bytes; if that fails, the range is inaccessible.
extern "C" fn rt_mprotect(address: i64, length: i64, prot: i64) -> i64 {
    let change = || {
        let (range, prot) = (args::range(address, length)?, protection(prot)?);
        set_protection(&range, prot)?;
        if prot & libc::PROT_EXEC == 0 {
            return Ok(());
        }
        let synchronized = synchronize(&range, prot);
        synchronized.inspect_err(|_| drop(set_protection(&range, libc::PROT_NONE)))
    };
    status(change())
}

fn set_protection(range: &Range<usize>, prot: c_int) -> Result<(), ApiError> {
    // SAFETY: the caller owns the pages.
    checked("mprotect", unsafe { libc::mprotect(pointer(range.start), range.len(), prot) })
        .map(drop)
}

/// Synchronises instruction fetch with the bytes of a range, which `mprotect` has just accepted.
fn synchronize(range: &Range<usize>, prot: c_int) -> Result<(), ApiError> {
    if prot & libc::PROT_READ == 0 {
        return Err(ArgumentError::unknown("protection of code", prot).into());
    }
    // SAFETY: the pages are mapped and readable, and the caller writes to none of them during the call.
    let code = unsafe { std::slice::from_raw_parts(pointer(range.start).cast(), range.len()) };
    Ok(smf_core::memory::synchronize(code)?)
}

/// `madvise(2)` for a range of pages.
fn advise(address: i64, length: i64, advice: i64) -> Result<(), ApiError> {
    let (range, advice) = (args::range(address, length)?, number("advice", advice)?);
    // SAFETY: the caller owns the memory, whose contents some advice changes.
    checked("madvise", unsafe { libc::madvise(pointer(range.start), range.len(), advice) })
        .map(drop)
}

/// `madvise(2)` with the kernel's numbers: 0, or -1 on failure.
extern "C" fn rt_madvise_raw(address: i64, length: i64, advice: i64) -> i64 {
    status(advise(address, length, advice))
}

/// `madvise(2)` with the advice 0 normal, 1 random, 2 sequential, 3 needed soon, 4 not needed.
extern "C" fn rt_madvise(address: *mut c_void, size: i64, advice: i64) -> Bool {
    let known = match advice {
        0..=4 => advise(address_of(address), size, advice),
        _ => Err(ArgumentError::unknown("advice", advice).into()),
    };
    to_bool(status(known) == 0)
}

/// `msync(2)` for a range of pages.
fn sync(address: i64, length: i64, flags: i64) -> Result<(), ApiError> {
    let (range, flags) = (args::range(address, length)?, number("set of flags", flags)?);
    // SAFETY: the call changes no memory.
    checked("msync", unsafe { libc::msync(pointer(range.start), range.len(), flags) }).map(drop)
}

/// `msync(2)` with the kernel's flags: 0, or -1 on failure.
extern "C" fn rt_msync_flags(address: i64, length: i64, flags: i64) -> i64 {
    status(sync(address, length, flags))
}

/// `msync(2)` that waits for the medium.
extern "C" fn rt_msync(address: *mut c_void, size: i64) -> Bool {
    let result = sync(address_of(address), size, libc::MS_SYNC.into());
    to_bool(status(result) == 0)
}

/// `mlock(2)`: 0, or -1 on failure.
extern "C" fn rt_mlock(address: i64, length: i64) -> i64 {
    attempt(-1, || {
        let range = args::range(address, length)?;
        // SAFETY: the call changes no memory.
        checked("mlock", unsafe { libc::mlock(pointer(range.start), range.len()) })
    })
}

/// `munlock(2)`: 0, or -1 on failure.
extern "C" fn rt_munlock(address: i64, length: i64) -> i64 {
    attempt(-1, || {
        let range = args::range(address, length)?;
        // SAFETY: the call changes no memory.
        checked("munlock", unsafe { libc::munlock(pointer(range.start), range.len()) })
    })
}

/// `open(2)` with the kernel's flags. Returns the descriptor; -1 on failure.
///
/// # Safety
/// As for [`rt_mmap_file`](super::rt_mmap_file).
unsafe extern "C" fn rt_open_fd(path: Path, flags: i64, mode: i64) -> i64 {
    attempt(-1, || {
        // SAFETY: the caller's promise.
        let path =
            unsafe { values::path(path) }?.ok_or(ArgumentError::Null { what: "the path" })?;
        let name =
            CString::new(path).map_err(|_| ApiError::NotA { kind: "a path without a NUL" })?;
        let (flags, mode) = (number("set of flags", flags)?, number("mode", mode)?);
        // SAFETY: the name is NUL-terminated.
        checked("open", unsafe { libc::open(name.as_ptr(), flags, mode) })
    })
}

/// `close(2)`: 0, or -1 on failure.
extern "C" fn rt_close_fd(fd: i64) -> i64 {
    attempt(-1, || {
        // SAFETY: the caller owns the descriptor.
        checked("close", unsafe { libc::close(number("descriptor", fd)?) })
    })
}

/// The page size in bytes.
extern "C" fn rt_page_size() -> i64 {
    to_i64(PageCount::one().bytes())
}

/// The address `offset` bytes above `address`, both of which the runtime's own functions require to be valid.
fn place(address: i64, offset: i64) -> Result<*mut u8, ApiError> {
    let start = args::address("the address", address)?;
    let offset = args::array_len::<u8>("the offset", offset)?;
    let sum = start.checked_add(offset);
    let too_large = ArgumentError::TooLarge { what: "the offset", value: to_i64(offset) };
    Ok(pointer(sum.ok_or(too_large)?).cast())
}

/// Writes a number, which need not be aligned, to memory of the process.
fn store<T>(address: i64, offset: i64, value: T) {
    attempt((), || {
        // SAFETY: the caller owns the memory.
        unsafe { place(address, offset)?.cast::<T>().write_unaligned(value) };
        Ok(())
    });
}

/// Reads a byte of the memory of the process; 0 for an invalid address.
extern "C" fn rt_ptr_read_u8(address: i64, offset: i64) -> i64 {
    // SAFETY: the caller owns the memory.
    attempt(0, || Ok(unsafe { place(address, offset)?.read() }.into()))
}

/// Writes the low 8 bits of a number to memory of the process.
extern "C" fn rt_ptr_write_u8(address: i64, offset: i64, value: i64) {
    store(address, offset, value as u8);
}

/// Writes 4 bytes to memory of the process.
extern "C" fn rt_ptr_write_i32(address: i64, offset: i64, value: i32) {
    store(address, offset, value);
}

/// Writes 8 bytes to memory of the process.
extern "C" fn rt_ptr_write_i64(address: i64, offset: i64, value: i64) {
    store(address, offset, value);
}

/// Copies `length` bytes from `source` to memory of the process. Returns `length`; -1 on failure.
extern "C" fn rt_ptr_write_bytes_raw(address: i64, offset: i64, source: i64, length: i64) -> i64 {
    attempt(-1, || {
        let count = args::array_len::<u8>("the length", length)?;
        if count != 0 {
            let source = place(source, 0)?;
            // SAFETY: the caller owns both ranges, which may overlap.
            unsafe { source.copy_to(place(address, offset)?, count) };
        }
        Ok(length)
    })
}

/// Records that the address of a function is invalid, and returns 0.
extern "C" fn refuse_call(address: i64) -> i64 {
    or(0, args::address("the function", address).map(|_| 0).map_err(Into::into))
}

/// Exports one function per number of arguments.
macro_rules! calls {
    ($($name:ident($($argument:ident),*);)*) => {$(
        /// Calls the function at an address of the process and returns its result; 0 for an invalid address. No table
        /// is consulted, and traps are not caught.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        extern "C" fn $name(address: i64, $($argument: i64),*) -> i64 {
            core::arch::naked_asm!(
                "test rdi, rdi",
                "jle 2f",
                "mov rax, rdi",
                move_arguments!($($argument)*),
                "jmp rax",
                "2: jmp {refuse}",
                refuse = sym refuse_call,
            )
        }

        #[cfg(not(target_arch = "x86_64"))]
        extern "C" fn $name(address: i64, $($argument: i64),*) -> i64 {
            if address <= 0 {
                return refuse_call(address);
            }
            type Function = unsafe extern "C" fn($(calls!(@word $argument)),*) -> i64;
            // SAFETY: the caller promises a function that takes these arguments. Machine code is trusted.
            let function = unsafe { std::mem::transmute::<*mut c_void, Function>(pointer(address as usize)) };
            // SAFETY: as above.
            unsafe { function($($argument),*) }
        }
    )*};
    (@word $argument:ident) => { i64 };
}

calls! {
    rt_call_ptr_0();
    rt_call_ptr_1(a);
    rt_call_ptr_2(a, b);
    rt_call_ptr_3(a, b, c);
}

export_weak! {
    rt_call_ptr_0;
    rt_call_ptr_1;
    rt_call_ptr_2;
    rt_call_ptr_3;
    rt_close_fd;
    rt_madvise;
    rt_madvise_raw;
    rt_mlock;
    rt_mmap_raw;
    rt_mprotect;
    rt_msync;
    rt_msync_flags;
    rt_munlock;
    rt_munmap;
    rt_munmap_raw;
    rt_open_fd;
    rt_page_size;
    rt_ptr_read_u8;
    rt_ptr_write_bytes_raw;
    rt_ptr_write_i32;
    rt_ptr_write_i64;
    rt_ptr_write_u8;
}
