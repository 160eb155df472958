//! The System V calling convention: registers kept, arguments handed over, and the way back.
//!
//! A callee preserves rbx, rbp, r12 to r15, the stack pointer, and the control words of SSE and of the
//! x87 (System V ABI, 3.2.1). So these are what a way back that skips callees has to bring along, but for the
//! control words, which stay as the trap finds them: to ask for both at every call takes longer than all the
//! rest of the call. The `longjmp` of glibc leaves them as well.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::arch::naked_asm;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use super::{Ended, Returned, Word};
use crate::link::LinkError;
use crate::link::call::MAX_ARGS;

/// Integers that are handed over in registers.
const INTEGERS: usize = 6;

/// Floats that are.
const FLOATS: usize = 8;

/// A call that has begun: where its trap goes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Landing {
    /// Where the stack was when the function was called.
    kept: MaybeUninit<usize>,
    /// Written when it traps.
    ended: MaybeUninit<Ended>,
}

impl Landing {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { kept: MaybeUninit::uninit(), ended: MaybeUninit::uninit() }
    }
}

/// A call with arguments of any kind and number: what goes in, what comes out.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Frame {
    /// The first field, so that both have one address.
    landing: Landing,
    integers: [u64; INTEGERS],
    floats: [u64; FLOATS],
    function: u64,
    /// The arguments that go on the stack.
    stack: *const u64,
    stack_len: usize,
    float: u64,
}

impl Frame {
    pub(super) fn of_words(
        function: u64,
        words: &[Word],
        stack: &mut Vec<u64>,
    ) -> Result<Self, LinkError> {
        let mut frame = Self {
            landing: Landing::new(),
            integers: [0; INTEGERS],
            floats: [0; FLOATS],
            function,
            stack: ptr::null(),
            stack_len: 0,
            float: 0,
        };
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
}

/// What a call comes back with, in rax and rdx.
#[repr(C)]
struct Came {
    integer: u64,
    /// 0 when the function has returned, 1 when it has trapped.
    trapped: u64,
}

impl Came {
    /// The integer that was returned.
    ///
    /// # Safety
    /// This came of a call with `landing`, which nobody else looks at any more.
    #[inline]
    unsafe fn integer(self, landing: *const Landing) -> Result<u64, LinkError> {
        if self.trapped == 0 {
            return Ok(self.integer);
        }
        // SAFETY: the caller's landing, which nobody else looks at.
        let landing = unsafe { &*landing };
        // SAFETY: `land` has written it before it let the call trap.
        Err(unsafe { landing.ended.assume_init() }.into())
    }
}

/// Calls a function with at most [`MAX_ARGS`] integers.
///
/// # Safety
/// As [`call_landing`](super::call_landing); nobody else looks at the landing meanwhile but [`land`].
#[inline(always)]
pub(super) unsafe fn run_integers(
    landing: *mut Landing,
    function: u64,
    args: &[i64],
) -> Result<u64, LinkError> {
    // Those that are not given stay as they are: a register that nobody sets costs nothing.
    let mut words = [MaybeUninit::uninit(); MAX_ARGS];
    let too_many = LinkError::TooManyArguments { given: args.len() };
    let given = words.get_mut(..args.len()).ok_or(too_many)?;
    for (word, arg) in given.iter_mut().zip(args) {
        word.write(arg.cast_unsigned());
    }
    let [a, b, c, d, e, f, g, h] = words;
    let came = if args.len() <= INTEGERS {
        // SAFETY: the caller's.
        unsafe { enter_few(a, b, c, d, e, f, function, landing) }
    } else {
        // SAFETY: the caller's.
        unsafe { enter_all(a, b, c, d, e, f, function, landing, g, h) }
    };
    // SAFETY: it came of this call.
    unsafe { came.integer(landing) }
}

/// Calls what the frame says.
///
/// # Safety
/// As [`call_landing`](super::call_landing); nobody else looks at the frame meanwhile but [`land`].
pub(super) unsafe fn run(frame: *mut Frame) -> Result<Returned, LinkError> {
    // SAFETY: the caller's.
    let came = unsafe { enter(frame) };
    // SAFETY: it came of this call; the frame begins with its landing.
    let integer = unsafe { came.integer(frame.cast()) }?;
    // SAFETY: the caller's frame, which nobody else looks at any more.
    Ok(Returned { integer, float: unsafe { (*frame).float } })
}

/// Goes back to where the call of `landing` was entered.
///
/// # Safety
/// [`run`] or [`run_integers`] with this landing has been called in this thread and has not returned, and
/// all that was called since may be left.
pub(super) unsafe fn land(landing: *mut Landing, ended: Ended) -> ! {
    // SAFETY: the landing is there, says the caller.
    let place = unsafe { &raw mut (*landing).ended };
    // SAFETY: nobody else looks at it while what it has called runs.
    unsafe { place.write(MaybeUninit::new(ended)) };
    // SAFETY: passed on to the caller.
    unsafe { leave(landing) }
}

/// Keeps what [`leave`] gives back at the top of the stack.
macro_rules! keep_registers {
    () => {
        // Debuggers find their way from the called function through here by the frame pointer.
        "push rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n\
         mov rbp, rsp\n.cfi_def_cfa_register rbp\n\
         push rbx\n.cfi_offset rbx, -24\npush r12\n.cfi_offset r12, -32\n\
         push r13\n.cfi_offset r13, -40\npush r14\n.cfi_offset r14, -48\n\
         push r15\n.cfi_offset r15, -56\n\
         sub rsp, 8"
    };
}

/// Returns what the function did; it has preserved all registers that were kept.
macro_rules! return_from_call {
    () => {
        "xor edx, edx\nleave\n.cfi_def_cfa rsp, 8\nret"
    };
}

/// Gives back the registers that were kept, which stand at the top of the stack.
macro_rules! restore_registers {
    () => {
        "add rsp, 8\npop r15\npop r14\npop r13\npop r12\npop rbx\npop rbp"
    };
}

/// Defines a function that calls one of integers. The first six are where it wants them; what else it takes
/// goes on the stack.
macro_rules! enter_integers {
    ($name:ident($($more:ident),*), $($push:literal),*) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(
            a: MaybeUninit<u64>,
            b: MaybeUninit<u64>,
            c: MaybeUninit<u64>,
            d: MaybeUninit<u64>,
            e: MaybeUninit<u64>,
            f: MaybeUninit<u64>,
            function: u64,
            landing: *mut Landing,
            $($more: MaybeUninit<u64>),*
        ) -> Came {
            naked_asm!(
                ".cfi_startproc",
                keep_registers!(),
                "mov rax, [rbp + 24]",
                "mov [rax + {kept}], rsp",
                $($push,)*
                // No floats, for a function that takes any number of arguments.
                "xor eax, eax",
                "call [rbp + 16]",
                return_from_call!(),
                ".cfi_endproc",
                kept = const offset_of!(Landing, kept),
            )
        }
    };
}

enter_integers!(enter_few(),);
enter_integers!(enter_all(g, h), "push qword ptr [rbp + 40]", "push qword ptr [rbp + 32]");

/// Calls what the frame says.
#[unsafe(naked)]
unsafe extern "C" fn enter(frame: *mut Frame) -> Came {
    naked_asm!(
        ".cfi_startproc",
        keep_registers!(),
        "mov [rdi + {kept}], rsp",
        "mov rbx, rdi",
        // Arguments on the stack, which is aligned to 16 bytes where the function is called.
        "mov rcx, [rbx + {stack_len}]",
        "test rcx, rcx",
        "jz 4f",
        "mov rsi, [rbx + {stack}]",
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
        "movsd qword ptr [rbx + {float}], xmm0",
        "mov rbx, [rbp - 8]",
        return_from_call!(),
        ".cfi_endproc",
        kept = const offset_of!(Frame, landing) + offset_of!(Landing, kept),
        stack = const offset_of!(Frame, stack),
        stack_len = const offset_of!(Frame, stack_len),
        floats = const offset_of!(Frame, floats),
        integers = const offset_of!(Frame, integers),
        function = const offset_of!(Frame, function),
        float = const offset_of!(Frame, float),
    )
}

/// Takes the stack of a call up again, and returns from it as from one that has trapped.
#[unsafe(naked)]
unsafe extern "C" fn leave(landing: *mut Landing) -> ! {
    naked_asm!(
        "mov rsp, [rdi + {kept}]",
        "cld",
        "mov edx, 1",
        restore_registers!(),
        "ret",
        kept = const offset_of!(Landing, kept),
    )
}
