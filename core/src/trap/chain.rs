//! The chain of catching calls of a thread.

use core::cell::Cell;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use super::error::TrapError;

/// The saved state of one catching call, on its stack: the previous frame of the chain, then the callee-saved
/// registers and the return address of the function that pushed it.
#[derive(Debug)]
pub(super) struct CatchFrame;

/// Continues after a trap, in place of a function that a host entered and that pushed a frame of its own: the result is
/// that of the function.
pub type Landing = extern "C" fn(&TrapChain) -> i64;

/// The active catching calls of one thread.
///
/// A host with entry code of its own, on x86-64, pushes a frame as the calls of this crate do: at entry `push rbp`, `rbx`,
/// `r12` to `r15`, then the word at [`INNERMOST`](Self::INNERMOST), where it stores the stack pointer. Before it returns, it
/// pops that word. Its unwinding table names [`refuse_unwinding`](super::refuse_unwinding) as personality routine. After a
/// trap, the [landing](Self::set_landing) continues with the registers and the stack of the entry.
#[derive(Debug)]
#[repr(C)]
pub struct TrapChain {
    /// The address of the frame of the innermost call, plus 1 if a call of this crate pushed it; null if there is none.
    pub(super) innermost: AtomicPtr<CatchFrame>,
    /// Where a trap continues whose innermost frame is the host's.
    pub(super) landing: Cell<Option<Landing>>,
    /// Written by a trap, before it returns to the innermost call, which reads it.
    pub(super) error: Cell<MaybeUninit<TrapError>>,
}

impl TrapChain {
    /// The chain of a thread without a catching call. All zero bytes are such a chain too.
    pub const fn new() -> Self {
        Self {
            innermost: AtomicPtr::new(ptr::null_mut()),
            landing: Cell::new(None),
            error: Cell::new(MaybeUninit::uninit()),
        }
    }

    /// The offset of the word that refers to the frame of the innermost call, in bytes.
    pub const INNERMOST: usize = offset_of!(Self, innermost);

    /// Sets where a trap continues whose innermost frame is the host's.
    pub fn set_landing(&self, landing: Landing) {
        self.landing.set(Some(landing));
    }

    /// Whether the thread is inside a catching call. Another thread that reads `false` observes everything that the thread
    /// did in the calls that it has left.
    pub fn is_active(&self) -> bool {
        !self.innermost.load(Ordering::Acquire).is_null()
    }
}

impl Default for TrapChain {
    fn default() -> Self {
        Self::new()
    }
}

/// The return registers after [`call_values`](super::call_values). The type of the function selects one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnRegisters {
    /// The integer register. Bits above the width of the result are undefined.
    pub integer: u64,
    /// The bits of the floating-point register; an `f32` is the lower half.
    pub float: u64,
}
