//! Catching calls in the calling convention of aarch64.
//!
//! A callee preserves x19 to x29, the stack pointer and the low halves of v8 to v15 (AAPCS64, 6.1.1 and 6.1.2). A trap
//! discards callees, so the entry code saves these registers and [`resume`] restores them. The control register of
//! floating-point operations stays as the trap finds it.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};
use core::mem::{MaybeUninit, offset_of};

use super::chain::{ReturnRegisters, TrapChain};
use super::error::{MAX_ARGS, Result};
use super::landing::{self, refuse_unwinding, take_error};

/// Integer arguments that are passed in registers.
const INTEGER_REGISTERS: usize = 8;

const _: () = assert!(MAX_ARGS <= INTEGER_REGISTERS);

/// A call of this convention.
pub(super) type CallFrame = landing::CallFrame<INTEGER_REGISTERS>;

/// Calls a function with the first `count` words.
///
/// # Safety
/// As [`call_catching_on`](crate::trap::call_catching_on); these words are initialised.
pub(crate) unsafe fn call_words(
    chain: &TrapChain,
    function: u64,
    words: [MaybeUninit<u64>; MAX_ARGS],
    count: usize,
) -> Result<u64> {
    let mut frame = CallFrame::new(function);
    for (register, word) in frame.integers.iter_mut().zip(words).take(count) {
        // SAFETY: the first `count` words are initialised.
        *register = unsafe { word.assume_init() };
    }
    // SAFETY: the caller's contract.
    unsafe { call_frame(chain, &mut frame) }.map(|result| result.integer)
}

/// Makes the call that `frame` describes.
///
/// # Safety
/// As [`call_catching_on`](crate::trap::call_catching_on).
pub(super) unsafe fn call_frame(
    chain: &TrapChain,
    frame: &mut CallFrame,
) -> Result<ReturnRegisters> {
    let (integer, trapped): (u64, *const TrapChain);
    // SAFETY: the caller's function, with its arguments where the convention puts them; every register that it may
    // change is declared.
    unsafe {
        asm!(
            "bl {enter}",
            enter = sym enter_frame,
            inlateout("x0") &raw mut *frame => integer,
            in("x10") chain,
            lateout("x11") trapped,
            clobber_abi("C"),
        )
    }
    if trapped.is_null() {
        return Ok(ReturnRegisters { integer, float: frame.float });
    }
    // SAFETY: the call trapped.
    Err(unsafe { take_error(chain) })
}

/// Saves the callee-saved registers that the entry code does not use.
macro_rules! save_others {
    () => {
        "stp x23, x24, [sp, #48]\nstp x25, x26, [sp, #64]\nstp x27, x28, [sp, #80]\n\
         stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\n\
         stp d12, d13, [sp, #128]\nstp d14, d15, [sp, #144]"
    };
}

/// Loads the arguments in registers from the [`CallFrame`] in x21.
macro_rules! load_arguments {
    () => {
        "ldp d0, d1, [x21, #{floats}]\nldp d2, d3, [x21, #{floats} + 16]\n\
         ldp d4, d5, [x21, #{floats} + 32]\nldp d6, d7, [x21, #{floats} + 48]\n\
         ldp x0, x1, [x21, #{integers}]\nldp x2, x3, [x21, #{integers} + 16]\n\
         ldp x4, x5, [x21, #{integers} + 32]\nldp x6, x7, [x21, #{integers} + 48]"
    };
}

/// Makes the call of the [`CallFrame`] in x0 with the chain in x10. Pushes a [`CatchFrame`](super::chain::CatchFrame): the
/// frame record, the callee-saved registers, and at offset 160 the previous frame of the chain. The odd address distinguishes
/// the frame from one of the host.
///
/// The personality routine is a jump behind the code of the frame, because unwinding tables cannot hold the distance to a
/// symbol that another module may interpose. Encoding 0x1b is a 32-bit PC-relative value (Linux Standard Base Core 5.0,
/// 10.5.1).
#[unsafe(naked)]
unsafe extern "C" fn enter_frame() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_personality 0x1b, .Lsmf_refuse_unwinding",
        "stp x29, x30, [sp, #-176]!",
        ".cfi_def_cfa_offset 176",
        ".cfi_offset x29, -176\n.cfi_offset x30, -168",
        "mov x29, sp",
        ".cfi_def_cfa_register x29",
        "stp x19, x20, [sp, #16]",
        ".cfi_offset x19, -160\n.cfi_offset x20, -152",
        "stp x21, x22, [sp, #32]",
        ".cfi_offset x21, -144\n.cfi_offset x22, -136",
        save_others!(),
        "mov x19, x10",
        "ldr x20, [x19, #{last}]",
        "mov x21, x0",
        "str x20, [sp, #160]",
        "add x9, sp, #1",
        "str x9, [x19, #{last}]",
        // The stack arguments; the stack stays aligned to 16 bytes.
        "ldr x9, [x21, #{stack_len}]",
        "ldr x10, [x21, #{stack}]",
        "add x11, x9, #1",
        "and x11, x11, #-2",
        "sub sp, sp, x11, lsl #3",
        "cbz x9, 4f",
        "3: sub x9, x9, #1",
        "ldr x11, [x10, x9, lsl #3]",
        "str x11, [sp, x9, lsl #3]",
        "cbnz x9, 3b",
        "4:",
        load_arguments!(),
        "ldr x16, [x21, #{function}]",
        "blr x16",
        "str d0, [x21, #{float}]",
        // The callee has preserved all saved registers; only those in use are restored.
        "add x9, x19, #{last}",
        "stlr x20, [x9]",
        "mov x11, #0",
        "mov sp, x29",
        "ldp x19, x20, [sp, #16]",
        "ldr x21, [sp, #32]",
        "ldp x29, x30, [sp], #176",
        ".cfi_def_cfa sp, 0\n.cfi_restore x29\n.cfi_restore x30",
        ".cfi_restore x19\n.cfi_restore x20\n.cfi_restore x21",
        "ret",
        ".cfi_endproc",
        ".Lsmf_refuse_unwinding: b {refuse}",
        refuse = sym refuse_unwinding,
        last = const offset_of!(TrapChain, innermost),
        stack = const offset_of!(CallFrame, stack),
        stack_len = const offset_of!(CallFrame, stack_len),
        floats = const offset_of!(CallFrame, floats),
        integers = const offset_of!(CallFrame, integers),
        function = const offset_of!(CallFrame, function),
        float = const offset_of!(CallFrame, float),
    )
}

/// Returns from the innermost catching call of this thread, as trapped: restores the stack and the registers of the
/// innermost frame and returns from it with the chain in x11, or continues at the landing of a frame of the host.
///
/// # Safety
/// `chain` is this thread's and has an active frame, and every frame above that one may be discarded.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn resume(chain: &TrapChain) -> ! {
    naked_asm!(
        "mov x11, x0",
        "add x9, x0, #{last}",
        "ldr x10, [x9]",
        "tst x10, #1",
        "and x10, x10, #-2",
        "mov sp, x10",
        "ldr x10, [sp, #160]",
        "stlr x10, [x9]",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]\nldp x25, x26, [sp, #64]\nldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]\nldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #176",
        "b.eq 2f",
        "ret",
        "2: ldr x16, [x0, #{landing}]",
        "br x16",
        last = const offset_of!(TrapChain, innermost),
        landing = const offset_of!(TrapChain, landing),
    )
}
