//! Calls that come back even when the code traps: the stack is kept, and a trap goes back to it.
//!
//! Code that was made of a template has no way to return an error, and machine code that called it none
//! to look at one. So a trap jumps to [`trap_hook`], which leaves everything that was called since the
//! host entered machine code, and that call returns [`LinkError::Trap`]. It works like `setjmp` and
//! `longjmp` of C, and asks for the same: what is left behind is never told, so that a function of the
//! host that such code calls, and that calls such code in turn, does so through [`call_catching`] as well,
//! where the trap then ends.
//!
//! **Which call.** The last one that its thread has begun and not ended. A thread's calls are a chain,
//! whose head lies in a table by the number of the thread, which takes a system call to know. A host that
//! has something faster, a variable of the thread, says so with [`set_thread_heads`].
//!
//! **No call.** Where code was entered in some other way (through a bare function pointer) nobody can be
//! told. A wrong number is no answer, so the hook panics, in a function that cannot unwind: a message and
//! the end of the process.
//!
//! **Unwinding.** A panic, an exception or the end of the thread that would unwind through such a call ends the
//! process with a message: the chain of the thread would still hold the call.
//!
//! Bytecode that is stopped ends a call in the same way. Where there is none to end, it returns 0.
//!
//! Only where this library makes machine code, on x86-64, is there anything that traps; elsewhere
//! [`call_catching`] is [`call`](crate::link::call()).
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use crate::jit;
use crate::link::LinkError;
use crate::memory::lock::Lock;
use crate::memory::thread_id;

#[cfg_attr(target_arch = "x86_64", path = "trap/x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "trap/generic.rs")]
mod machine;

use machine::{Frame, Landing};

/// The code of the trap that an integer division by zero is.
const DIVISION_BY_ZERO: u32 = 1;

/// What ended a call before it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Which error: 1 is a division by zero, the others are the template's own.
    pub code: u32,
    /// The instruction, in bytes from the begin of the template's body.
    pub at: u32,
    /// The address of the function that it happened in: of the instance that was called, or of one that it
    /// called in turn. What is there,
    /// [`JitInstantiator::instance_at`](crate::templates::JitInstantiator::instance_at) tells.
    pub function: u64,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, at, .. } = *self;
        match code {
            DIVISION_BY_ZERO => f.write_str("division by zero")?,
            _ => write!(f, "trap {code}")?,
        }
        write!(f, ", at 0x{at:x} of the template's body")
    }
}

/// What ended a call.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Template(Trap),
    Bytecode(jit::trap::Trap),
}

impl From<Ended> for LinkError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Template(trap) => LinkError::Trap(trap),
            Ended::Bytecode(trap) => LinkError::Stopped(trap),
        }
    }
}

/// An argument of [`call_values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An integer, a bool or an address.
    Integer(u64),
    /// The bits of an `f32` or an `f64`.
    Float(u64),
}

/// What [`call_values`] got, by the type of the function's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// An integer; what is above its width is undefined.
    pub integer: u64,
    /// The bits of a float; of an `f32` the lower half.
    pub float: u64,
}

/// The calls of a thread that have not ended: what [`set_thread_heads`] is given the place of.
#[derive(Debug)]
#[repr(C)]
pub struct TrapChain {
    /// The landing of the last one, on its stack; null when the thread is in none.
    last: Cell<*mut Landing>,
    /// Written when that one ends before it returns, and read where it was called.
    ended: Cell<MaybeUninit<Ended>>,
}

impl TrapChain {
    /// Of a thread that is in no call. Nothing in it needs a bit that is 1.
    pub const fn new() -> Self {
        Self { last: Cell::new(ptr::null_mut()), ended: Cell::new(MaybeUninit::uninit()) }
    }
}

impl Default for TrapChain {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a call through [`call_landing_at`] has no result.
#[derive(Clone, Copy, Debug)]
pub enum Failed<'h> {
    /// It was not made: there are more arguments than [`MAX_ARGS`](crate::link::MAX_ARGS).
    TooManyArguments {
        /// How many.
        given: usize,
    },
    /// It was ended, as the head of its thread tells until the thread makes another one.
    Ended(Ending<'h>),
}

/// How a call was ended.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'h>(&'h TrapChain);

impl<'h> Ending<'h> {
    /// # Safety
    /// A call with this head has been ended.
    unsafe fn of(head: &'h TrapChain) -> Self {
        Self(head)
    }
}

impl From<Failed<'_>> for LinkError {
    #[cold]
    fn from(failed: Failed<'_>) -> Self {
        match failed {
            Failed::TooManyArguments { given } => LinkError::TooManyArguments { given },
            // SAFETY: whoever ends a call writes it first.
            Failed::Ended(Ending(head)) => unsafe { head.ended.get().assume_init() }.into(),
        }
    }
}

/// Tells where a thread's head is.
pub type HeadOfThread = fn() -> *const TrapChain;

/// A [`HeadOfThread`], or null. A pointer and no cell that is being filled for a moment: a child that was
/// forked then would wait for that for ever.
static HEADS: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// The heads of threads that are in a call, by their numbers, where nobody has said anything better.
static TABLE: Lock<Vec<(i32, Address)>> = Lock::new(Vec::new());

/// Where the head of some thread is.
#[derive(Clone, Copy)]
struct Address(*const TrapChain);

// SAFETY: what it leads to is touched by the thread alone whose head it is.
unsafe impl Send for Address {}

/// Has the heads of threads kept where `head` says. The first one counts: calls after it change nothing.
///
/// # Safety
/// `head` gives the same place whenever it is called in a thread, another one in every thread, and the
/// place is there as long as the thread is.
pub unsafe fn set_thread_heads(head: HeadOfThread) {
    if HEADS.load(Ordering::Relaxed).is_null() {
        let none = ptr::null_mut();
        // Another one may have been first.
        let _ = HEADS.compare_exchange(none, head as *mut (), Ordering::Release, Ordering::Relaxed);
    }
}

/// The head of this thread, if the host keeps it.
#[inline]
fn kept_head<'h>() -> Option<&'h TrapChain> {
    let head = HEADS.load(Ordering::Acquire);
    // SAFETY: null, which is `None`, or the function that `set_thread_heads` has stored.
    let head = unsafe { mem::transmute::<*mut (), Option<HeadOfThread>>(head) }?;
    // SAFETY: what the host promised; it is used by this thread alone.
    unsafe { head().as_ref() }
}

/// The head of this thread, if it is in a call that has found nobody who keeps one.
fn head_in_table<'h>(thread: i32) -> Option<&'h TrapChain> {
    let table = TABLE.lock();
    let (_, address) = table.iter().find(|(known, _)| *known == thread)?;
    // SAFETY: the head is on the stack of a call that has not ended, which takes it out when it ends; it is
    // used by this thread alone.
    unsafe { address.0.as_ref() }
}

/// Does `call` with the head of this thread.
#[inline]
fn with_head<T>(call: impl FnOnce(&TrapChain) -> Result<T, Failed<'_>>) -> Result<T, LinkError> {
    match kept_head() {
        Some(head) => call(head).map_err(LinkError::from),
        None => with_head_in_table(call),
    }
}

/// The same for a thread whose head nobody keeps: its first call does.
#[cold]
fn with_head_in_table<T>(
    call: impl FnOnce(&TrapChain) -> Result<T, Failed<'_>>,
) -> Result<T, LinkError> {
    let thread = thread_id();
    if let Some(head) = head_in_table(thread) {
        return call(head).map_err(LinkError::from);
    }
    let head = TrapChain::new();
    {
        let mut table = TABLE.lock();
        table.try_reserve(1).map_err(|_| LinkError::OutOfMemory)?;
        table.push((thread, Address(&raw const head)));
    }
    let result = call(&head).map_err(LinkError::from);
    TABLE.lock().retain(|(known, _)| *known != thread);
    result
}

/// The head of this thread, when it is in a call.
fn head_in_call<'h>() -> Option<&'h TrapChain> {
    let in_call = |head: &&TrapChain| !head.last.get().is_null();
    kept_head().filter(in_call).or_else(|| head_in_table(thread_id()).filter(in_call))
}

/// Ends the last call of this thread, and then does not return; false when the thread is in none.
///
/// # Safety
/// All that was called since that call was entered may be left.
unsafe fn end_call(ended: Ended) -> bool {
    let Some(head) = head_in_call() else { return false };
    head.ended.set(MaybeUninit::new(ended));
    // SAFETY: the call has not ended: its landing is there, and the stack above it as it was. For the rest
    // the caller answers.
    unsafe { machine::land(head) }
}

/// What code jumps to that traps, as [`jit::ir::lower`] says: back to where its thread entered machine
/// code.
///
/// # Panics
/// Without unwinding, which ends the process, when that was not through [`call_catching`].
// Whoever keeps code in a file knows the hook by its address, of which a function that is copied to its
// callers has several.
#[inline(never)]
pub extern "C" fn trap_hook(code: u32, at: u32, function: u64) -> u64 {
    let trap = Trap { code, at, function };
    // SAFETY: all that was called since is code that asked for this.
    let told = unsafe { end_call(Ended::Template(trap)) };
    assert!(told, "{trap}, in code that was not called in a way that can be told of it");
    0
}

/// What the engine of a module of bytecode tells when a function that was called by its address is stopped:
/// goes back to where its thread entered machine code, as [`trap_hook`] does. Where that was not through
/// [`call_catching`] this returns, and then the function returns 0.
pub(crate) fn stop_call(trap: jit::trap::Trap) {
    // SAFETY: as in `trap_hook`; the engine holds nothing when it tells of a trap.
    unsafe { end_call(Ended::Bytecode(trap)) };
}

/// Calls the function at `address` as [`call`](crate::link::call()) does; a trap of it, or of what it calls, is
/// an error.
///
/// # Errors
/// [`LinkError::Trap`]; [`LinkError::Stopped`], of bytecode; [`LinkError::TooManyArguments`] above
/// [`MAX_ARGS`](crate::link::MAX_ARGS).
///
/// # Safety
/// As [`call`](crate::link::call()). Besides, everything between this call and a trap is such that it may be
/// left without being told: generated code, or a function of the host that holds nothing while it calls
/// back, and has not changed how floats are rounded. The code does not leave this call in any other way.
#[inline]
pub unsafe fn call_catching(address: u64, args: &[i64]) -> Result<i64, LinkError> {
    // SAFETY: passed on to the caller.
    with_head(|head| unsafe { call_landing_at(head, address, args) })
}

/// The same for a host that has the head of this thread at hand, which is faster than asking for it.
///
/// Becomes part of its callers, most of which know the number of the arguments: each then goes from where
/// it is to where it is wanted, and not through memory.
///
/// # Errors
/// What becomes those of [`call_catching`].
///
/// # Safety
/// As [`call_catching`]; and `head` is what the function of [`set_thread_heads`] gives in this thread.
#[inline(always)]
pub unsafe fn call_landing_at<'h>(
    head: &'h TrapChain,
    address: u64,
    args: &[i64],
) -> Result<i64, Failed<'h>> {
    // SAFETY: the caller says that what is called may be.
    let integer = unsafe { machine::run_integers(head, address, args) };
    integer.map(u64::cast_signed)
}

/// The same for a function of any number of integers and floats.
///
/// # Errors
/// [`LinkError::Trap`]; where no code is made of templates, [`LinkError::FloatArguments`] for floats and
/// [`LinkError::TooManyArguments`].
///
/// # Safety
/// As [`call_catching`], with these arguments.
pub unsafe fn call_values(address: u64, args: &[Word]) -> Result<Returned, LinkError> {
    let mut stack = Vec::new();
    let mut frame = Frame::of_words(address, args, &mut stack)?;
    // SAFETY: the caller says that what is called may be; frame and stack are there until the call is over.
    with_head(|head| unsafe { machine::run(head, &mut frame) })
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    /// Where code says that it is.
    const HERE: u64 = 0x1234_5678_9abc_def0;

    extern "C" fn divide(a: i64, b: i64) -> i64 {
        if b == 0 { trap_hook(1, 40, HERE).cast_signed() } else { a / b }
    }

    /// Calls itself through a landing, and then traps with what the inner call got.
    extern "C" fn nest(depth: i64) -> i64 {
        if depth == 0 {
            return trap_hook(100, 0, HERE).cast_signed();
        }
        // SAFETY: a function of one integer, which holds nothing.
        match unsafe { call_catching(nest as *const () as u64, &[depth - 1]) } {
            Err(LinkError::Trap(trap)) => trap_hook(trap.code + 1, 7, HERE).cast_signed(),
            other => panic!("{other:?}"),
        }
    }

    extern "C" fn many(
        a: u64,
        x: f64,
        b: u64,
        y: f32,
        c: u64,
        d: u64,
        e: u64,
        f: u64,
        g: u64,
        h: u64,
        i: u64,
    ) -> f64 {
        let sum = [a, b, c, d, e, f, g, h, i].iter().fold(0, |sum, next| sum * 10 + next);
        sum as f64 + x + f64::from(y)
    }

    extern "C" fn eight(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
        if h < 0 {
            return trap_hook(9, 0, HERE).cast_signed();
        }
        [a, b, c, d, e, f, g, h].iter().fold(0, |sum, next| sum * 10 + next)
    }

    fn trap(code: u32, at: u32) -> Result<i64, LinkError> {
        Err(LinkError::Trap(Trap { code, at, function: HERE }))
    }

    fn in_all_ways() {
        let divide = divide as *const () as u64;
        // SAFETY: functions of these arguments, which hold nothing when they trap.
        let call = |function, args: &[i64]| unsafe { call_catching(function, args) };
        for _ in 0..3 {
            assert_eq!(call(divide, &[42, 2]), Ok(21));
            assert_eq!(call(divide, &[42, 0]), trap(1, 40));
        }
        assert_eq!(call(nest as *const () as u64, &[20]), trap(120, 7));
        let eight = eight as *const () as u64;
        assert_eq!(call(eight, &[1, 2, 3, 4, 5, 6, 7, 8]), Ok(12_345_678));
        assert_eq!(call(eight, &[1, 2, 3, 4, 5, 6, 7, -1]), trap(9, 0));
        assert_eq!(call(divide, &[1; 9]), Err(LinkError::TooManyArguments { given: 9 }));
        let int = Word::Integer;
        let mut args = [int(1), Word::Float(0.5f64.to_bits()), int(2), Word::Float(0)].to_vec();
        args[3] = Word::Float(0.25f32.to_bits().into());
        args.extend([3, 4, 5, 6, 7, 8, 9].map(int));
        // SAFETY: as above.
        let returned = unsafe { call_values(many as *const () as u64, &args) }.unwrap();
        assert_eq!(f64::from_bits(returned.float), 123_456_789.75);
        assert!(head_in_call().is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn traps_end_the_last_call_of_their_thread() {
        std::thread_local! {
            static HEAD: TrapChain = const { TrapChain::new() };
        }
        in_all_ways();
        // SAFETY: a function that calls back, and holds nothing that it drops.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| in_all_ways()));
            }
        });
        // SAFETY: a variable of the thread.
        unsafe { set_thread_heads(|| HEAD.with(ptr::from_ref)) };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| in_all_ways()));
            }
        });
        assert!(TABLE.lock().is_empty());
    }

    #[test]
    fn traps_say_what_they_are() {
        use std::string::ToString;
        let told = |code| LinkError::Trap(Trap { code, at: 0x54, function: HERE }).to_string();
        assert_eq!(told(1), "division by zero, at 0x54 of the template's body");
        assert_eq!(told(16), "trap 16, at 0x54 of the template's body");
    }
}
