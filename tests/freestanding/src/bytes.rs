//! The functions of `string.h` that the compiler calls implicitly.
//!
//! Each access is volatile: one byte or, on x86-64, one string instruction at a time. Otherwise the compiler would
//! recognise the loops and replace them by calls of these same functions.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use core::arch::asm;
use core::ffi::c_int;

/// Copies `len` bytes that do not overlap.
///
/// # Safety
/// As `memcpy(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: only the caller's bytes are accessed; the direction flag is clear, as the ABI requires.
    unsafe {
        asm!(
            "rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    (0..len).for_each(|at| copy_byte(to, from, at));
    to
}

/// Copies `len` bytes.
///
/// # Safety
/// As `memmove(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: the destination does not begin inside the source, so that an ascending copy overwrites no byte
        // before it is read.
        return unsafe { memcpy(to, from, len) };
    }
    (0..len).rev().for_each(|at| copy_byte(to, from, at));
    to
}

/// Fills `len` bytes.
///
/// # Safety
/// As `memset(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, len: usize) -> *mut u8 {
    let [byte, ..] = byte.to_le_bytes();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `memcpy`.
    unsafe {
        asm!(
            "rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's bytes.
    (0..len).for_each(|at| unsafe { to.wrapping_add(at).write_volatile(byte) });
    to
}

/// Compares two strings of `len` bytes: negative, zero or positive.
///
/// # Safety
/// As `memcmp(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    let differences = (0..len).map(|at| c_int::from(byte(one, at)) - c_int::from(byte(other, at)));
    differences.into_iter().find(|&difference| difference != 0).unwrap_or(0)
}

/// Whether two strings of `len` bytes differ.
///
/// # Safety
/// As `memcmp(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, len: usize) -> c_int {
    // SAFETY: the caller's bytes.
    unsafe { memcmp(one, other, len) }
}

/// The number of bytes before the NUL.
///
/// # Safety
/// As `strlen(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    (0..).find(|&at| byte(text, at) == 0).unwrap_or(0)
}

fn byte(from: *const u8, at: usize) -> u8 {
    // SAFETY: a byte of the caller of one of the functions above.
    unsafe { from.wrapping_add(at).read_volatile() }
}

fn copy_byte(to: *mut u8, from: *const u8, at: usize) {
    let byte = byte(from, at);
    // SAFETY: as in `byte`.
    unsafe { to.wrapping_add(at).write_volatile(byte) };
}
