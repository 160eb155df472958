//! Entry, trap handler and veneers on aarch64.

use std::vec::Vec;

use super::Context;

/// The integers that are passed in registers.
pub(super) const INTEGERS: usize = 8;

/// `ldr x16, #8; br x16` and the address.
pub(super) fn veneer(address: usize) -> Vec<u8> {
    [&[0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6][..], &address.to_le_bytes()].concat()
}

/// Calls a function with all registers and eight stack slots of arguments.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(
    context: *mut Context,
    function: *const u8,
    ints: *const u64,
    floats: *const u64,
    stack: *const u64,
) {
    core::arch::naked_asm!(
        "stp x29, x30, [sp, #-176]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "str x0, [sp, #160]",
        "mov x9, sp",
        "str x9, [x0]",
        "mov x16, x1",
        "mov x9, x2",
        "sub sp, sp, #64",
        "ldp q0, q1, [x4]",
        "stp q0, q1, [sp]",
        "ldp q0, q1, [x4, #32]",
        "stp q0, q1, [sp, #32]",
        "ldp d0, d1, [x3]",
        "ldp d2, d3, [x3, #16]",
        "ldp d4, d5, [x3, #32]",
        "ldp d6, d7, [x3, #48]",
        "ldp x0, x1, [x9]",
        "ldp x2, x3, [x9, #16]",
        "ldp x4, x5, [x9, #32]",
        "ldp x6, x7, [x9, #48]",
        "mov x19, #11",
        "mov x20, #22",
        "mov x27, #33",
        "mov x28, #44",
        "mov x9, #55",
        "fmov d8, x9",
        "mov x9, #66",
        "fmov d15, x9",
        "blr x16",
        "add sp, sp, #64",
        "ldr x9, [sp, #160]",
        "str x0, [x9, #24]",
        "str d0, [x9, #32]",
        "stp x19, x20, [x9, #40]",
        "stp x27, x28, [x9, #56]",
        "stp d8, d15, [x9, #72]",
        "b {leave}",
        leave = sym leave,
    )
}

/// Restores the registers that [`enter`] has saved, and returns from it.
#[unsafe(naked)]
unsafe extern "C" fn leave() {
    core::arch::naked_asm!(
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #176",
        "ret",
    )
}

/// The handler of traps: leaves [`enter`].
#[unsafe(naked)]
pub(super) unsafe extern "C" fn handler() {
    core::arch::naked_asm!(
        "str w1, [x0, #88]",
        "str w2, [x0, #92]",
        "str w3, [x0, #96]",
        "mov w9, #1",
        "str w9, [x0, #100]",
        "ldr x9, [x0]",
        "mov sp, x9",
        "b {leave}",
        leave = sym leave,
    )
}
