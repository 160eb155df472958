//! Catching calls in the System V calling convention of x86-64.
//!
//! A callee preserves rbx, rbp, r12 to r15, the stack pointer, and the control words of SSE and the x87 (System V
//! ABI, 3.2.1). A trap discards callees, so the entry code saves these registers and [`resume`] restores them. The
//! control words are the exception: they stay as the trap finds them, as with the `longjmp` of glibc, because
//! saving them on every call costs more than the rest of the call.
#![allow(unsafe_code)]

use core::arch::{asm, naked_asm};
use core::mem::{MaybeUninit, offset_of};

use super::chain::{ReturnRegisters, TrapChain};
use super::error::{MAX_ARGS, Result};
use super::landing::{self, refuse_unwinding, take_error};

/// Integer arguments that are passed in registers.
const INTEGER_REGISTERS: usize = 6;

/// A call of this convention.
pub(super) type CallFrame = landing::CallFrame<INTEGER_REGISTERS>;

/// Calls a function with the first `count` words.
///
/// # Safety
/// As [`call_catching_on`](crate::trap::call_catching_on); these words are initialised.
// Rows "call a module's ...", as for its caller.
#[inline(always)]
pub(crate) unsafe fn call_words(
    chain: &TrapChain,
    function: u64,
    words: [MaybeUninit<u64>; MAX_ARGS],
    count: usize,
) -> Result<u64> {
    let [a, b, c, d, e, f, on_stack @ ..] = words;
    let (integer, trapped): (u64, *const TrapChain);
    macro_rules! enter {
        ($enter:ident $(, $($more:tt)*)?) => {
            // SAFETY: the caller's function, with its arguments where the convention puts them; every register
            // that it may change is declared.
            unsafe {
                asm!(
                    "call {enter}",
                    enter = sym $enter,
                    in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, in("r8") e, in("r9") f,
                    in("r10") chain,
                    inlateout("r11") function => trapped,
                    $($($more)*)?
                    lateout("rax") integer,
                    clobber_abi("sysv64"),
                )
            }
        };
    }
    if count <= INTEGER_REGISTERS {
        enter!(enter_registers);
    } else {
        enter!(enter_stack, in("rax") &on_stack,);
    }
    if trapped.is_null() {
        return Ok(integer);
    }
    // SAFETY: the call trapped.
    Err(unsafe { take_error(chain) })
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
    // SAFETY: as in `call_words`.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter_frame,
            in("rdi") &raw mut *frame,
            in("r10") chain,
            lateout("r11") trapped,
            lateout("rax") integer,
            clobber_abi("sysv64"),
        )
    }
    if trapped.is_null() {
        return Ok(ReturnRegisters { integer, float: frame.float });
    }
    // SAFETY: the call trapped.
    Err(unsafe { take_error(chain) })
}

/// The label of the personality routine of a frame. It is a jump behind the code of the frame, because unwinding
/// tables cannot hold the distance to a symbol that another module may interpose.
macro_rules! personality {
    ($name:expr) => {
        concat!(".Lsmf_refuse_unwinding_", stringify!($name))
    };
}

/// Declares [`refuse_unwinding`] as the personality routine. Encoding 0x1b is a 32-bit PC-relative value (Linux
/// Standard Base Core 5.0, 10.5.1).
macro_rules! begin_frame {
    ($name:ident) => {
        concat!(".cfi_startproc\n.cfi_personality 0x1b, ", personality!($name))
    };
}

macro_rules! end_frame {
    ($name:ident) => {
        concat!(".cfi_endproc\n", personality!($name), ": jmp {refuse}")
    };
}

/// Saves the callee-saved registers and pushes a [`CatchFrame`](super::chain::CatchFrame). The chain, passed in r10,
/// stays in rbx during the call, the previous frame in r12: the return path need not load it from the stack. The odd
/// address distinguishes the frame from one of the host.
macro_rules! save_registers {
    () => {
        // The frame pointer lets debuggers unwind through this frame.
        "push rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n\
         mov rbp, rsp\n.cfi_def_cfa_register rbp\n\
         push rbx\n.cfi_offset rbx, -24\npush r12\n.cfi_offset r12, -32\n\
         push r13\n.cfi_offset r13, -40\npush r14\n.cfi_offset r14, -48\n\
         push r15\n.cfi_offset r15, -56\n\
         mov rbx, r10\n\
         mov r12, [rbx + {last}]\n\
         push r12\n\
         mov [rbx + {last}], rsp\n\
         inc qword ptr [rbx + {last}]"
    };
}

/// Returns the result of the function, which has preserved all saved registers; only the two in use are restored.
macro_rules! return_from_call {
    () => {
        "mov [rbx + {last}], r12\n\
         mov r12, [rbp - 16]\n\
         mov rbx, [rbp - 8]\n\
         xor r11d, r11d\nleave\n.cfi_def_cfa rsp, 8\nret"
    };
}

/// Defines a function that calls the function of integers in r11. The register arguments are in place; `$push`
/// pushes the stack arguments.
macro_rules! enter_integers {
    ($name:ident, $push:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                // A cache line.
                ".p2align 6",
                begin_frame!($name),
                save_registers!(),
                $push,
                // A variadic callee reads the number of vector registers from al.
                "xor eax, eax",
                "call r11",
                return_from_call!(),
                end_frame!($name),
                refuse = sym refuse_unwinding,
                last = const offset_of!(TrapChain, innermost),
            )
        }
    };
}

enter_integers!(enter_registers, "");
// rax points to the two stack arguments.
enter_integers!(enter_stack, "push qword ptr [rax + 8]\npush qword ptr [rax]");

/// Makes the call of the [`CallFrame`] in rdi.
#[unsafe(naked)]
unsafe extern "C" fn enter_frame() {
    naked_asm!(
        begin_frame!(enter_frame),
        save_registers!(),
        "mov r13, rdi",
        // Push the stack arguments; the stack is aligned to 16 bytes at the call.
        "mov rcx, [r13 + {stack_len}]",
        "test rcx, rcx",
        "jz 4f",
        "mov rsi, [r13 + {stack}]",
        "test cl, 1",
        "jz 3f",
        "sub rsp, 8",
        "3: push qword ptr [rsi + 8 * rcx - 8]",
        "dec rcx",
        "jnz 3b",
        "4: movsd xmm0, qword ptr [r13 + {floats}]",
        "movsd xmm1, qword ptr [r13 + {floats} + 8]",
        "movsd xmm2, qword ptr [r13 + {floats} + 16]",
        "movsd xmm3, qword ptr [r13 + {floats} + 24]",
        "movsd xmm4, qword ptr [r13 + {floats} + 32]",
        "movsd xmm5, qword ptr [r13 + {floats} + 40]",
        "movsd xmm6, qword ptr [r13 + {floats} + 48]",
        "movsd xmm7, qword ptr [r13 + {floats} + 56]",
        "mov rdi, [r13 + {integers}]",
        "mov rsi, [r13 + {integers} + 8]",
        "mov rdx, [r13 + {integers} + 16]",
        "mov rcx, [r13 + {integers} + 24]",
        "mov r8, [r13 + {integers} + 32]",
        "mov r9, [r13 + {integers} + 40]",
        "mov eax, 8",
        "call [r13 + {function}]",
        "movsd qword ptr [r13 + {float}], xmm0",
        "mov r13, [rbp - 24]",
        return_from_call!(),
        end_frame!(enter_frame),
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
/// innermost frame and returns from it with the chain in r11, or continues at the landing of a frame of the host.
///
/// # Safety
/// `chain` is this thread's and has an active frame, and every frame above that one may be discarded.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn resume(chain: &TrapChain) -> ! {
    naked_asm!(
        "mov rax, [rdi + {last}]",
        // The carry flag stays what the lowest bit was.
        "btr rax, 0",
        "mov rsp, rax",
        "pop qword ptr [rdi + {last}]",
        "cld",
        "mov r11, rdi",
        "pop r15\npop r14\npop r13\npop r12\npop rbx\npop rbp",
        "jnc 2f",
        "ret",
        "2: jmp [rdi + {landing}]",
        last = const offset_of!(TrapChain, innermost),
        landing = const offset_of!(TrapChain, landing),
    )
}
