//! Calls that come back even when the code traps: the stack is kept, and a trap goes back to it.
//!
//! Code that was made of a template has no way to return an error, and machine code that called it none
//! to look at one. So a trap jumps to [`trap_hook`], which leaves everything that was called since the
//! host entered machine code, and that call returns [`LinkError::Trap`]. It works like `setjmp` and
//! `longjmp` of C, and asks for the same: what is left behind is never told, so that a function of the
//! host that such code calls, and that calls such code in turn, does so through [`call_landing`] as well,
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
//! Bytecode that is stopped ends a call in the same way. Where there is none to end, it returns 0.
//!
//! Only where this library makes machine code, on x86-64, is there anything that traps; elsewhere
//! [`call_landing`] is [`call`](super::call()).
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use spin::Once;

use super::error::LinkError;
use crate::jit;
use crate::memory::lock::Lock;
use crate::memory::thread_id;

#[cfg_attr(target_arch = "x86_64", path = "landing/x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "landing/generic.rs")]
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
    /// [`JitInstantiator::instance_at`](crate::instantiate::JitInstantiator::instance_at) tells.
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

/// The last call of a thread that has not ended: what [`set_thread_heads`] is given the place of.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct ThreadHead(AtomicPtr<Landing>);

impl ThreadHead {
    /// Of a thread that is in no call: a null pointer, all of whose bits are 0.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }
}

/// Tells where a thread's head is.
pub type HeadOfThread = fn() -> *const ThreadHead;

static HEADS: Once<HeadOfThread> = Once::new();

/// The last calls of threads, by their numbers, where nobody has said anything better.
static TABLE: Lock<Vec<(i32, Address)>> = Lock::new(Vec::new());

/// A landing of some thread.
struct Address(*mut Landing);

// SAFETY: what it leads to is touched by the thread alone whose landing it is.
unsafe impl Send for Address {}

/// Has the heads of threads kept where `head` says. The first one counts: calls after it change nothing.
///
/// # Safety
/// `head` gives the same place whenever it is called in a thread, another one in every thread, and the
/// place is there as long as the thread is.
pub unsafe fn set_thread_heads(head: HeadOfThread) {
    HEADS.call_once(|| head);
}

/// The head of this thread, if the host keeps it.
#[inline]
fn head<'h>() -> Option<&'h ThreadHead> {
    // SAFETY: what the host promised; it is used by this thread alone.
    HEADS.get().and_then(|head| unsafe { head().as_ref() })
}

/// Does `call` while `landing` is the last call of this thread, whose head the host keeps at `head`.
#[inline]
fn during<T>(head: Option<&ThreadHead>, landing: *mut Landing, call: impl FnOnce() -> T) -> T {
    let Some(head) = head else {
        let before = swap_in_table(landing);
        let result = call();
        swap_in_table(before);
        return result;
    };
    // Nobody else looks at it, so there is nothing to keep together.
    let before = head.0.load(Ordering::Relaxed);
    head.0.store(landing, Ordering::Relaxed);
    let result = call();
    head.0.store(before, Ordering::Relaxed);
    result
}

/// The same for a thread whose head nobody keeps.
#[cold]
fn swap_in_table(landing: *mut Landing) -> *mut Landing {
    let thread = thread_id();
    let mut table = TABLE.lock();
    match table.iter().position(|(known, _)| *known == thread) {
        Some(at) if landing.is_null() => table.swap_remove(at).1.0,
        Some(at) => table.get_mut(at).map_or(ptr::null_mut(), |(_, address)| {
            core::mem::replace(address, Address(landing)).0
        }),
        None => {
            if !landing.is_null() {
                table.push((thread, Address(landing)));
            }
            ptr::null_mut()
        }
    }
}

/// The last call of this thread.
fn last() -> *mut Landing {
    let kept = head().map_or(ptr::null_mut(), |head| head.0.load(Ordering::Relaxed));
    if !kept.is_null() {
        return kept;
    }
    let thread = thread_id();
    let table = TABLE.lock();
    let found = table.iter().find(|(known, _)| *known == thread);
    found.map_or(ptr::null_mut(), |(_, address)| address.0)
}

/// What code jumps to that traps, as [`jit::typed::lower`] says: back to where
/// its thread entered machine code.
///
/// # Panics
/// Without unwinding, which ends the process, when that was not through [`call_landing`].
pub extern "C" fn trap_hook(code: u32, at: u32, function: u64) -> u64 {
    let (landing, trap) = (last(), Trap { code, at, function });
    assert!(
        !landing.is_null(),
        "{trap}, in code that was not called in a way that can be told of it"
    );
    // SAFETY: a call of this thread that has not ended: its landing is there, and the stack above it as it
    // was. All that was called since is code that asked for this.
    unsafe { machine::land(landing, Ended::Template(trap)) }
}

/// What the engine of a module of bytecode tells when a function that was called by its address is stopped:
/// goes back to where its thread entered machine code, as [`trap_hook`] does. Where that was not through
/// [`call_landing`] this returns, and then the function returns 0.
pub(crate) fn stop_call(trap: jit::trap::Trap) {
    let landing = last();
    if !landing.is_null() {
        // SAFETY: as in `trap_hook`; the engine holds nothing when it tells of a trap.
        unsafe { machine::land(landing, Ended::Bytecode(trap)) }
    }
}

/// Calls the function at `address` as [`call`](super::call()) does; a trap of it, or of what it calls, is
/// an error.
///
/// # Errors
/// [`LinkError::Trap`]; [`LinkError::Stopped`], of bytecode; [`LinkError::TooManyArguments`] above
/// [`MAX_ARGS`](super::MAX_ARGS).
///
/// # Safety
/// As [`call`](super::call()). Besides, everything between this call and a trap is such that it may be
/// left without being told: generated code, or a function of the host that holds nothing while it calls
/// back, and has not changed how floats are rounded. The code does not leave this call in any other way.
#[inline]
pub unsafe fn call_landing(address: u64, args: &[i64]) -> Result<i64, LinkError> {
    // SAFETY: passed on to the caller.
    unsafe { call_integers(head(), address, args) }
}

/// The same for a host that has the head of this thread at hand, which is faster than asking for it.
///
/// # Errors
/// As [`call_landing`].
///
/// # Safety
/// As [`call_landing`]; and `head` is what the function of [`set_thread_heads`] gives in this thread.
#[inline(always)]
pub unsafe fn call_landing_at(
    head: &ThreadHead,
    address: u64,
    args: &[i64],
) -> Result<i64, LinkError> {
    // SAFETY: passed on to the caller.
    unsafe { call_integers(Some(head), address, args) }
}

/// Becomes part of its callers, most of which know the number of the arguments: each then goes from where
/// it is to where it is wanted, and not through memory.
///
/// # Safety
/// As [`call_landing_at`].
#[inline(always)]
unsafe fn call_integers(
    head: Option<&ThreadHead>,
    address: u64,
    args: &[i64],
) -> Result<i64, LinkError> {
    let mut landing = Landing::new();
    let place = &raw mut landing;
    // SAFETY: the caller says that what is called may be; the landing is there until the call is over.
    let call = || unsafe { machine::run_integers(place, address, args) };
    during(head, place, call).map(u64::cast_signed)
}

/// The same for a function of any number of integers and floats.
///
/// # Errors
/// [`LinkError::Trap`]; where no code is made of templates, [`LinkError::FloatArguments`] for floats and
/// [`LinkError::TooManyArguments`].
///
/// # Safety
/// As [`call_landing`], with these arguments.
pub unsafe fn call_values(address: u64, args: &[Word]) -> Result<Returned, LinkError> {
    let mut stack = Vec::new();
    let mut frame = Frame::of_words(address, args, &mut stack)?;
    let place = &raw mut frame;
    // SAFETY: the caller says that what is called may be; frame and stack are there until the call is over.
    let call = || unsafe { machine::run(place) };
    during(head(), place.cast(), call)
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
        match unsafe { call_landing(nest as *const () as u64, &[depth - 1]) } {
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
        let call = |function, args: &[i64]| unsafe { call_landing(function, args) };
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
        assert!(last().is_null());
    }

    #[test]
    fn traps_end_the_last_call_of_their_thread() {
        std::thread_local! {
            static HEAD: ThreadHead = const { ThreadHead::new() };
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
