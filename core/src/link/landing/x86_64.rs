//! The System V calling convention: registers kept, arguments handed over, and the way back.
//!
//! A callee preserves rbx, rbp, r12 to r15, the stack pointer, and the control words of SSE and of the
//! x87 (System V ABI, 3.2.1). So these are what a way back that skips callees has to bring along.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::arch::naked_asm;
use core::mem::offset_of;
use core::ptr;

use super::{Ended, Returned, Trap, Word};
use crate::link::LinkError;
use crate::link::call::MAX_ARGS;

/// Integers that are handed over in registers.
const INTEGERS: usize = 6;

/// Floats that are.
const FLOATS: usize = 8;

/// A call: what goes in, what comes out, and where the stack was.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Frame {
    integers: [u64; INTEGERS],
    floats: [u64; FLOATS],
    function: u64,
    /// The arguments that go on the stack.
    stack: *const u64,
    stack_len: usize,
    /// Those of a call with integers alone.
    few: [u64; MAX_ARGS - INTEGERS],
    /// Where the stack was when the function was called.
    kept: usize,
    integer: u64,
    float: u64,
    ended: Ended,
}

impl Frame {
    #[inline]
    pub(super) fn of_integers(
        function: u64,
        words: &[u64; MAX_ARGS],
        len: usize,
    ) -> Result<Self, LinkError> {
        let [a, b, c, d, e, f, few @ ..] = *words;
        let mut frame = Self::new(function);
        (frame.integers, frame.few) = ([a, b, c, d, e, f], few);
        frame.stack_len = len.saturating_sub(INTEGERS);
        Ok(frame)
    }

    pub(super) fn of_words(
        function: u64,
        words: &[Word],
        stack: &mut Vec<u64>,
    ) -> Result<Self, LinkError> {
        let mut frame = Self::new(function);
        let (mut integers, mut floats) = (frame.integers.iter_mut(), frame.floats.iter_mut());
        for word in words {
            let (bits, register) = match *word {
                Word::Integer(bits) => (bits, integers.next()),
                Word::Float(bits) => (bits, floats.next()),
            };
            match register {
                Some(register) => *register = bits,
                None => stack.push(bits),
            }
        }
        (frame.stack, frame.stack_len) = (stack.as_ptr(), stack.len());
        Ok(frame)
    }

    #[inline]
    fn new(function: u64) -> Self {
        Self {
            integers: [0; INTEGERS],
            floats: [0; FLOATS],
            function,
            stack: ptr::null(),
            stack_len: 0,
            few: [0; MAX_ARGS - INTEGERS],
            kept: 0,
            integer: 0,
            float: 0,
            ended: Ended::Template(Trap { code: 0, at: 0, function: 0 }),
        }
    }
}

/// Calls what the frame says.
///
/// # Safety
/// As [`call_landing`](super::call_landing); nobody else looks at the frame meanwhile but [`land`].
#[inline]
pub(super) unsafe fn run(frame: *mut Frame) -> Result<Returned, LinkError> {
    // SAFETY: the caller's.
    let trapped = unsafe { enter(frame) };
    // SAFETY: the caller's frame, which nobody else looks at any more.
    let frame = unsafe { &*frame };
    match trapped {
        0 => Ok(Returned { integer: frame.integer, float: frame.float }),
        _ => Err(frame.ended.into()),
    }
}

/// Goes back to where `frame` was entered.
///
/// # Safety
/// [`run`] of this frame has been called in this thread and has not returned, and all that was called
/// since may be left.
pub(super) unsafe fn land(frame: *mut Frame, ended: Ended) -> ! {
    // SAFETY: the frame is there, says the caller.
    let place = unsafe { &raw mut (*frame).ended };
    // SAFETY: nobody else looks at it while what it has called runs.
    unsafe { place.write(ended) };
    // SAFETY: passed on to the caller.
    unsafe { leave(frame) }
}

/// Gives back the registers that [`enter`] has kept, which stand at the top of its stack.
macro_rules! restore_registers {
    () => {
        "add rsp, 8\npop r15\npop r14\npop r13\npop r12\npop rbx\npop rbp"
    };
}

/// Keeps the stack and calls; 0 when the function has returned, 1 when it has trapped.
#[unsafe(naked)]
unsafe extern "C" fn enter(frame: *mut Frame) -> u32 {
    naked_asm!(
        // Debuggers find their way from the called function through here by the frame pointer.
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_offset r15, -56",
        "sub rsp, 8",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "mov [rdi + {kept}], rsp",
        "mov rbx, rdi",
        // Arguments on the stack, which is aligned to 16 bytes where the function is called.
        "mov rcx, [rbx + {stack_len}]",
        "test rcx, rcx",
        "jz 4f",
        "mov rsi, [rbx + {stack}]",
        "lea rax, [rbx + {few}]",
        "test rsi, rsi",
        "cmovz rsi, rax",
        "test cl, 1",
        "jz 3f",
        "sub rsp, 8",
        "3: push qword ptr [rsi + 8 * rcx - 8]",
        "dec rcx",
        "jnz 3b",
        "4: movsd xmm0, qword ptr [rbx + {floats}]",
        "movsd xmm1, qword ptr [rbx + {floats} + 8]",
        "movsd xmm2, qword ptr [rbx + {floats} + 16]",
        "movsd xmm3, qword ptr [rbx + {floats} + 24]",
        "movsd xmm4, qword ptr [rbx + {floats} + 32]",
        "movsd xmm5, qword ptr [rbx + {floats} + 40]",
        "movsd xmm6, qword ptr [rbx + {floats} + 48]",
        "movsd xmm7, qword ptr [rbx + {floats} + 56]",
        "mov rdi, [rbx + {integers}]",
        "mov rsi, [rbx + {integers} + 8]",
        "mov rdx, [rbx + {integers} + 16]",
        "mov rcx, [rbx + {integers} + 24]",
        "mov r8, [rbx + {integers} + 32]",
        "mov r9, [rbx + {integers} + 40]",
        "mov eax, 8",
        "call [rbx + {function}]",
        "mov [rbx + {integer}], rax",
        "movsd qword ptr [rbx + {float}], xmm0",
        "mov rsp, [rbx + {kept}]",
        "xor eax, eax",
        restore_registers!(),
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        kept = const offset_of!(Frame, kept),
        stack = const offset_of!(Frame, stack),
        stack_len = const offset_of!(Frame, stack_len),
        few = const offset_of!(Frame, few),
        floats = const offset_of!(Frame, floats),
        integers = const offset_of!(Frame, integers),
        function = const offset_of!(Frame, function),
        integer = const offset_of!(Frame, integer),
        float = const offset_of!(Frame, float),
    )
}

/// Takes the stack of [`enter`] up again, and returns 1 from it.
#[unsafe(naked)]
unsafe extern "C" fn leave(frame: *mut Frame) -> ! {
    naked_asm!(
        "mov rsp, [rdi + {kept}]",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "cld",
        "mov eax, 1",
        restore_registers!(),
        "ret",
        kept = const offset_of!(Frame, kept),
    )
}
