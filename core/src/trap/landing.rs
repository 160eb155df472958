//! What the entry code of all machines refers to: the arguments of a call, the error of one that trapped, and the end of
//! unwinding.
#![allow(unsafe_code)]

use core::ptr;

use super::chain::TrapChain;
use super::error::TrapError;

/// Floating-point arguments that are passed in registers.
const FLOAT_REGISTERS: usize = 8;

/// A call with any number of arguments, of which as many integers are passed in registers.
#[derive(Debug)]
#[repr(C)]
pub(super) struct CallFrame<const INTEGERS: usize> {
    pub(super) integers: [u64; INTEGERS],
    pub(super) floats: [u64; FLOAT_REGISTERS],
    pub(super) function: u64,
    /// The arguments that are passed on the stack.
    pub(super) stack: *const u64,
    pub(super) stack_len: usize,
    /// The floating-point result.
    pub(super) float: u64,
}

impl<const INTEGERS: usize> CallFrame<INTEGERS> {
    /// A call of `function` without arguments.
    pub(super) fn new(function: u64) -> Self {
        let (integers, floats) = ([0; INTEGERS], [0; FLOAT_REGISTERS]);
        Self { integers, floats, function, stack: ptr::null(), stack_len: 0, float: 0 }
    }
}

/// The error of a call that trapped, for the host's [landing](TrapChain::set_landing) too.
///
/// # Safety
/// The last call with this chain trapped.
// Out of line, so that a call that returns holds its result in registers: the same benchmark rows.
#[cold]
#[inline(never)]
pub unsafe fn take_error(chain: &TrapChain) -> TrapError {
    // SAFETY: a trap writes the error before it resumes the call.
    unsafe { chain.error.get().assume_init() }
}

/// In the actions of a personality routine: the unwinder looks for a handler, and has not left a frame yet.
const SEARCH_PHASE: i32 = 1;

/// `_URC_FATAL_PHASE1_ERROR`: there is no handler.
const FATAL_PHASE1_ERROR: i32 = 3;

/// `_URC_FATAL_PHASE2_ERROR`: the frame cannot be left.
const FATAL_PHASE2_ERROR: i32 = 2;

/// The personality routine of frames to which the chain of the thread refers, so that nothing may unwind through them.
///
/// The function of the unwinder that was called returns, and the runtime of the language that called it ends the process: C++ by
/// the handler of `std::set_terminate`, Rust and `pthread_exit` by `abort`. Types and numbers are those of the Itanium C++ ABI,
/// exception handling, level I.
#[inline(never)]
pub extern "C" fn refuse_unwinding(_version: i32, actions: i32) -> i32 {
    if actions & SEARCH_PHASE != 0 { FATAL_PHASE1_ERROR } else { FATAL_PHASE2_ERROR }
}
