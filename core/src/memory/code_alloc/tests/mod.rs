//! Tests of the whole allocator: blocks, pages, threads, limits, placement.
#![allow(unsafe_code)]

mod blocks;
mod failures;
mod pages;
mod policies;
mod threads;

use super::super::testing::{End, Line, alone, in_child, maps};
use super::super::types::{MemoryError, Permissions, Protection};
use super::super::{permissions_at, sys};
use super::*;
use std::string::String;
use std::vec::Vec;

/// Deterministic pseudorandom numbers (the MMIX constants of Knuth).
fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x5851_f42d_4c95_7f2d);
        (state >> 33) as usize % below.max(1)
    }
}

/// The number of rounds: few in Miri.
fn rounds(all: usize) -> usize {
    if cfg!(miri) { all.min(20) } else { all }
}

/// Code that returns `number`, which has eleven bits.
fn returning(number: u16) -> Vec<u8> {
    let number = u32::from(number & 0x7ff);
    #[cfg(target_arch = "x86_64")]
    let code = [&[0xb8][..], &number.to_le_bytes(), &[0xc3]].concat(); // mov eax, n; ret
    #[cfg(target_arch = "aarch64")]
    let code = [0x5280_0000 | number << 5, 0xd65f_03c0].map(u32::to_le_bytes).concat(); // mov w0, #n; ret
    #[cfg(target_arch = "riscv64")]
    let code = [number << 20 | 0x513, 0x8067].map(u32::to_le_bytes).concat(); // li a0, n; ret
    code
}

/// The result of the function at `address`, which [`returning`] encoded: Miri does not run machine code, so its bytes
/// are decoded.
#[cfg(miri)]
fn call(address: usize) -> i32 {
    assert_eq!(access(address), "r-x");
    let code = bytes_at(address, 6);
    assert_eq!((code[0], code[5]), (0xb8, 0xc3));
    i32::from_le_bytes(*code[1..].first_chunk().unwrap())
}

/// Calls the function without arguments at `address`.
#[cfg(not(miri))]
fn call(address: usize) -> i32 {
    let code = core::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: the caller published such a function there.
    let function = unsafe { core::mem::transmute::<*const u8, extern "C" fn() -> i32>(code) };
    function()
}

/// Copies bytes at a readable address.
fn bytes_at(address: usize, len: usize) -> Vec<u8> {
    #[cfg(miri)]
    sys::shim::show(address, len);
    let start = core::ptr::with_exposed_provenance::<u8>(address);
    // SAFETY: the caller passes readable memory that is not being written.
    unsafe { core::slice::from_raw_parts(start, len) }.to_vec()
}

/// Writes one byte, or faults if the address is not writable.
fn write_at(address: usize, byte: u8) {
    let start = core::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the caller owns the byte.
    unsafe { start.write_volatile(byte) };
}

/// Publishes a block with these bytes.
fn publish(memory: &CodeMemory, code: &[u8]) -> ExecutableBlock {
    let mut block = memory.allocate(code.len()).unwrap();
    block.as_mut_slice().copy_from_slice(code);
    block.publish().unwrap()
}

/// Panics if a mapping of this process is writable and executable.
fn assert_no_writable_code() {
    for line in maps() {
        let both = line.access.contains('w') && line.access.contains('x');
        assert!(!both, "{:x?} is {}", line.addresses, line.access);
    }
}

/// The permissions of `address`, from the kernel.
fn access(address: usize) -> String {
    permissions_at(address)
        .unwrap()
        .map_or("none".into(), |access: Permissions| std::format!("{access}"))
}

/// The number of mappings of files for code.
fn code_mappings() -> usize {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap();
    text.lines().filter(|line| line.contains("smf-code") || line.contains("/dev/shm")).count()
}
