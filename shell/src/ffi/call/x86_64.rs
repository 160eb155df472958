//! The entry code of `rt_call_function_0` to `_8` in the System V calling convention of x86-64.
//!
//! A call of an address that this thread has [found](crate::call_record) before pushes a frame to the trap chain, moves
//! the arguments, calls, and leaves. Every other call continues in Rust, with the registers and the stack of the entry.
#![allow(unsafe_code)]

use smf_core::trap::{TrapChain, take_error};

use super::super::error::{ApiError, or, smf_clear_error};

/// Continues a call whose function has trapped: records the error.
pub(super) extern "C" fn trapped(chain: &TrapChain) -> i64 {
    // SAFETY: only the trap of a call continues here.
    or(0, Err(ApiError::Call(unsafe { take_error(chain) })))
}

/// Ends a call that returned 0 to a thread with an error.
pub(super) extern "C" fn return_zero() -> i64 {
    smf_clear_error();
    0
}

/// Moves the arguments behind the function one place forward. Those on the stack lie above the frame pointer, the return
/// address and the saved frame pointer.
macro_rules! move_arguments {
    () => { "" };
    (a) => { "mov rdi, rsi\n" };
    (a b) => { concat!(move_arguments!(a), "mov rsi, rdx\n") };
    (a b c) => { concat!(move_arguments!(a b), "mov rdx, rcx\n") };
    (a b c d) => { concat!(move_arguments!(a b c), "mov rcx, r8\n") };
    (a b c d e) => { concat!(move_arguments!(a b c d), "mov r8, r9\n") };
    (a b c d e f) => { concat!(move_arguments!(a b c d e), "mov r9, [rbp + 16]\n") };
    // The stack is aligned to 16 bytes at the call.
    (a b c d e f g) => {
        concat!(move_arguments!(a b c d e f), "push rax\npush qword ptr [rbp + 24]\n")
    };
    (a b c d e f g h) => {
        concat!(
            move_arguments!(a b c d e f),
            "push qword ptr [rbp + 32]\npush qword ptr [rbp + 24]\n"
        )
    };
}

/// Removes the arguments that are passed on the stack.
macro_rules! pop_arguments {
    (a b c d e f g) => {
        "add rsp, 16"
    };
    (a b c d e f g h) => {
        "add rsp, 16"
    };
    ($($argument:ident)*) => {
        ""
    };
}

/// The body of a naked function that calls the function in rdi with the arguments behind it. The frame is the one that
/// [`TrapChain`] documents; `$name::slowly` has the type of the function.
macro_rules! enter {
    ($name:ident; $($argument:ident)*) => {
        core::arch::naked_asm!(
            ".cfi_startproc",
            // A 32-bit PC-relative value (Linux Standard Base Core 5.0, 10.5.1).
            concat!(".cfi_personality 0x1b, .Lsmf_refuse_unwinding_", stringify!($name)),
            "mov rax, [rip + smf_call_record@GOTTPOFF]",
            // The frame pointer lets profilers unwind through this frame.
            "push rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16",
            "mov rbp, rsp\n.cfi_def_cfa_register rbp",
            "push rbx\n.cfi_offset rbx, -24\npush r12\n.cfi_offset r12, -32",
            "push r13\n.cfi_offset r13, -40\npush r14\n.cfi_offset r14, -48",
            "push r15\n.cfi_offset r15, -56",
            "push qword ptr fs:[rax + {innermost}]",
            // Before the address is looked up: code that is found from now on is not freed.
            "mov fs:[rax + {innermost}], rsp",
            "imul r10d, edi, {factor}",
            "shr r10d, {shift}",
            "cmp rdi, fs:[rax + 8 * r10 + {found}]",
            "jne 2f",
            "mov r10, rdi",
            move_arguments!($($argument)*),
            // A variadic callee reads the number of vector registers from al.
            "xor eax, eax",
            "call r10",
            pop_arguments!($($argument)*),
            "mov rcx, [rip + smf_call_record@GOTTPOFF]",
            "pop qword ptr fs:[rcx + {innermost}]",
            "cmp byte ptr fs:[rcx + {has_error}], 0",
            "jne 3f",
            ".cfi_remember_state",
            "leave\n.cfi_def_cfa rsp, 8",
            "ret",
            ".cfi_restore_state",
            "2: pop qword ptr fs:[rax + {innermost}]",
            ".cfi_remember_state",
            "leave\n.cfi_def_cfa rsp, 8",
            "jmp {slowly}",
            ".cfi_restore_state",
            "3: leave\n.cfi_def_cfa rsp, 8",
            "test rax, rax",
            "jz {return_zero}",
            "ret",
            ".cfi_endproc",
            concat!(".Lsmf_refuse_unwinding_", stringify!($name), ": jmp {refuse_unwinding}"),
            innermost = const CallRecord::INNERMOST,
            factor = const FOUND_FACTOR as i32,
            shift = const FOUND_SHIFT,
            found = const CallRecord::FOUND,
            has_error = const CallRecord::HAS_ERROR,
            slowly = sym $name::slowly,
            return_zero = sym x86_64::return_zero,
            refuse_unwinding = sym refuse_unwinding,
        )
    };
}

pub(in crate::ffi) use move_arguments;
pub(super) use {enter, pop_arguments};
