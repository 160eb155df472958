//! The System V calling convention: registers kept, arguments handed over, and the way back.
//!
//! A callee preserves rbx, rbp, r12 to r15, the stack pointer, and the control words of SSE and of the
//! x87 (System V ABI, 3.2.1). So these are what a way back that skips callees has to bring along, but for the
//! control words, which stay as the trap finds them: to ask for both at every call takes longer than all the
//! rest of the call. The `longjmp` of glibc leaves them as well.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::arch::{asm, naked_asm};
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use crate::link::LinkError;
use crate::link::call::MAX_ARGS;
use crate::trap::{Ending, Failed, Returned, TrapChain, Word};

/// Integers that are handed over in registers.
const INTEGERS: usize = 6;

/// Floats that are.
const FLOATS: usize = 8;

/// What stands on the stack where a function is called: the landing of the call before, and then the
/// registers that were kept.
#[derive(Debug)]
pub(super) struct Landing;

/// A call with arguments of any kind and number: what goes in, what comes out.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Frame {
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

/// Calls a function with at most [`MAX_ARGS`] integers.
///
/// # Safety
/// As [`call_landing_at`](crate::trap::call_landing_at).
#[inline(always)]
pub(super) unsafe fn run_integers<'h>(
    head: &'h TrapChain,
    function: u64,
    args: &[i64],
) -> Result<u64, Failed<'h>> {
    // Those that are not given stay as they are: a register that nobody sets costs nothing.
    let mut words = [MaybeUninit::uninit(); MAX_ARGS];
    let too_many = Failed::TooManyArguments { given: args.len() };
    let given = words.get_mut(..args.len()).ok_or(too_many)?;
    for (word, arg) in given.iter_mut().zip(args) {
        word.write(arg.cast_unsigned());
    }
    let [a, b, c, d, e, f, on_stack @ ..] = words;
    let (integer, ended): (u64, *const TrapChain);
    macro_rules! enter {
        ($enter:ident $(, $($more:tt)*)?) => {
            // SAFETY: the caller's function, with its arguments where it looks for them; what it may change
            // is said to be changed.
            unsafe {
                asm!(
                    "call {enter}",
                    enter = sym $enter,
                    in("rdi") a, in("rsi") b, in("rdx") c, in("rcx") d, in("r8") e, in("r9") f,
                    in("r10") head,
                    inlateout("r11") function => ended,
                    $($($more)*)?
                    lateout("rax") integer,
                    clobber_abi("sysv64"),
                )
            }
        };
    }
    if args.len() <= INTEGERS {
        enter!(enter_few);
    } else {
        enter!(enter_all, in("rax") &on_stack,);
    }
    // SAFETY: this call's.
    unsafe { outcome(integer, ended) }
}

/// Calls what the frame says.
///
/// # Safety
/// As [`call_landing_at`](crate::trap::call_landing_at).
pub(super) unsafe fn run<'h>(
    head: &'h TrapChain,
    frame: &mut Frame,
) -> Result<Returned, Failed<'h>> {
    let (integer, ended): (u64, *const TrapChain);
    // SAFETY: as in `run_integers`.
    unsafe {
        asm!(
            "call {enter}",
            enter = sym enter,
            in("rdi") &raw mut *frame,
            in("r10") head,
            lateout("r11") ended,
            lateout("rax") integer,
            clobber_abi("sysv64"),
        )
    }
    // SAFETY: this call's.
    let integer = unsafe { outcome(integer, ended) }?;
    Ok(Returned { integer, float: frame.float })
}

/// What a call did that has come back with these, in rax and r11: the second is null when it has returned.
///
/// # Safety
/// It has come back with these, and its head is there for `'h`.
#[inline(always)]
unsafe fn outcome<'h>(integer: u64, ended: *const TrapChain) -> Result<u64, Failed<'h>> {
    // SAFETY: what the call was given, which the caller has for longer.
    match unsafe { ended.as_ref() } {
        None => Ok(integer),
        // SAFETY: it was ended.
        Some(head) => Err(Failed::Ended(unsafe { Ending::of(head) })),
    }
}

/// Goes back to where the last call of this thread was entered.
///
/// # Safety
/// `head` is this thread's, which is in a call, and all that was called since that was entered may be left.
pub(super) unsafe fn land(head: &TrapChain) -> ! {
    // SAFETY: passed on to the caller.
    unsafe { leave(head) }
}

/// The personality routine of the frames below. The unwinder calls it when a panic, an exception, `pthread_exit` or
/// `pthread_cancel` is about to unwind through one. The chain of the thread holds the frame and would point at it
/// afterwards, so the process is aborted.
#[inline(never)]
#[expect(
    clippy::panic,
    reason = "a function that cannot unwind: this is a message and the end of the process"
)]
extern "C" fn refuse_unwinding() -> i32 {
    panic!("unwinding reached a call into machine code, which it may not leave");
}

/// The label of the personality routine of a frame: a jump behind the code of the frame, because the distance to a
/// symbol that another module might replace cannot stand among the tables of the unwinder.
macro_rules! personality {
    ($name:expr) => {
        concat!(".Lsmf_refuse_unwinding_", stringify!($name))
    };
}

/// Has the unwinder ask [`refuse_unwinding`]. The encoding is that of a distance of 32 bits (Linux Standard Base
/// Core 5.0, 10.5.1).
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

/// Keeps what a function may not change; at the top of the stack then is a [`Landing`]. The head, which has
/// come in r10, is in rbx until the call is over, and the landing of the call before in r12: what one call
/// has read of the stack the next one need not wait for.
macro_rules! keep_registers {
    () => {
        // Debuggers find their way from the called function through here by the frame pointer.
        "push rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp, -16\n\
         mov rbp, rsp\n.cfi_def_cfa_register rbp\n\
         push rbx\n.cfi_offset rbx, -24\npush r12\n.cfi_offset r12, -32\n\
         push r13\n.cfi_offset r13, -40\npush r14\n.cfi_offset r14, -48\n\
         push r15\n.cfi_offset r15, -56\n\
         mov rbx, r10\n\
         mov r12, [rbx + {last}]\n\
         push r12\n\
         mov [rbx + {last}], rsp"
    };
}

/// Returns what the function did: it has preserved what was kept, but for the two registers that were used.
macro_rules! return_from_call {
    () => {
        "mov [rbx + {last}], r12\n\
         mov r12, [rbp - 16]\n\
         mov rbx, [rbp - 8]\n\
         xor r11d, r11d\nleave\n.cfi_def_cfa rsp, 8\nret"
    };
}

/// Defines a function that calls the one in r11, of integers. The first six are where it wants them; what
/// else it takes goes on the stack.
macro_rules! enter_integers {
    ($name:ident, $push:literal) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                // A line of the cache: the function begins its section, so that nothing comes before it.
                ".p2align 6",
                begin_frame!($name),
                keep_registers!(),
                $push,
                // No floats, for a function that takes any number of arguments.
                "xor eax, eax",
                "call r11",
                return_from_call!(),
                end_frame!($name),
                refuse = sym refuse_unwinding,
                last = const offset_of!(TrapChain, last),
            )
        }
    };
}

enter_integers!(enter_few, "");
// The two that rax leads to.
enter_integers!(enter_all, "push qword ptr [rax + 8]\npush qword ptr [rax]");

/// Calls what the frame in rdi says.
#[unsafe(naked)]
unsafe extern "C" fn enter() {
    naked_asm!(
        begin_frame!(enter),
        keep_registers!(),
        "mov r13, rdi",
        // Arguments on the stack, which is aligned to 16 bytes where the function is called.
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
        end_frame!(enter),
        refuse = sym refuse_unwinding,
        last = const offset_of!(TrapChain, last),
        stack = const offset_of!(Frame, stack),
        stack_len = const offset_of!(Frame, stack_len),
        floats = const offset_of!(Frame, floats),
        integers = const offset_of!(Frame, integers),
        function = const offset_of!(Frame, function),
        float = const offset_of!(Frame, float),
    )
}

/// Takes the stack of a call up again at its landing, and returns from it with the head.
#[unsafe(naked)]
unsafe extern "C" fn leave(head: *const TrapChain) -> ! {
    naked_asm!(
        "mov rsp, [rdi + {last}]",
        "pop qword ptr [rdi + {last}]",
        "cld",
        "mov r11, rdi",
        "pop r15\npop r14\npop r13\npop r12\npop rbx\npop rbp",
        "ret",
        last = const offset_of!(TrapChain, last),
    )
}
