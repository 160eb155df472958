//! Calls by address, and the hook that traps jump to.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::mem::{MaybeUninit, transmute};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

#[cfg(target_arch = "aarch64")]
pub(crate) use super::aarch64::call_words;
#[cfg(target_arch = "aarch64")]
use super::aarch64::{CallFrame, call_frame, resume};
use super::bytecode;
use super::chain::{ReturnRegisters, TrapChain};
use super::error::{MAX_ARGS, Result, Trap, TrapError};
#[cfg(target_arch = "x86_64")]
pub(crate) use super::x86_64::call_words;
#[cfg(target_arch = "x86_64")]
use super::x86_64::{CallFrame, call_frame, resume};
use crate::memory::lock::Lock;
use crate::memory::thread_id;

/// An argument of [`call_values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallArg {
    /// An integer, a bool or an address.
    Integer(u64),
    /// The bits of an `f32` or an `f64`.
    Float(u64),
}

/// Returns the address of the calling thread's chain.
pub type ChainLookup = fn() -> *const TrapChain;

/// The installed [`ChainLookup`], or null. An atomic pointer rather than a once-cell: a child process that is forked
/// while another thread initialises a once-cell would wait for it for ever.
static LOOKUP: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// The chains of threads inside a catching call, by thread id, for hosts without a [`ChainLookup`].
static TABLE: Lock<Vec<(i32, ChainAddress)>> = Lock::new(Vec::new());

/// The address of a thread's chain.
#[derive(Clone, Copy)]
struct ChainAddress(*const TrapChain);

// SAFETY: only the thread whose chain it is dereferences the pointer.
unsafe impl Send for ChainAddress {}

/// Installs the function that locates the chain of the calling thread. Only the first call has an effect.
///
/// # Safety
/// `lookup` always returns the same address on one thread, different addresses on different threads, and each chain
/// lives as long as its thread.
pub unsafe fn set_chain_lookup(lookup: ChainLookup) {
    if LOOKUP.load(Ordering::Relaxed).is_null() {
        let (unset, new) = (ptr::null_mut(), lookup as *mut ());
        // On failure another thread has installed its function first.
        let _ = LOOKUP.compare_exchange(unset, new, Ordering::Release, Ordering::Relaxed);
    }
}

/// The chain of this thread, if a [`ChainLookup`] is installed.
#[inline]
pub(crate) fn chain_by_lookup<'c>() -> Option<&'c TrapChain> {
    let lookup = LOOKUP.load(Ordering::Acquire);
    // SAFETY: null, which is `None`, or a function that `set_chain_lookup` stored.
    let lookup = unsafe { transmute::<*mut (), Option<ChainLookup>>(lookup) }?;
    // SAFETY: the contract of `set_chain_lookup`; only this thread uses the reference.
    unsafe { lookup().as_ref() }
}

/// The chain of this thread in [`TABLE`], if it is inside a catching call.
fn chain_in_table<'c>(thread: i32) -> Option<&'c TrapChain> {
    let table = TABLE.lock();
    let (_, address) = table.iter().find(|(other, _)| *other == thread)?;
    // SAFETY: the chain is on the stack of an active call, which removes the entry when it returns; only this
    // thread uses the reference.
    unsafe { address.0.as_ref() }
}

/// Runs `call` with the chain of this thread.
#[inline]
fn with_chain<T>(call: impl FnOnce(&TrapChain) -> Result<T>) -> Result<T> {
    match chain_by_lookup() {
        Some(chain) => call(chain),
        None => with_table_chain(call),
    }
}

/// Runs `call` with a chain on the stack of the outermost call of this thread, entered in [`TABLE`].
fn with_table_chain<T>(call: impl FnOnce(&TrapChain) -> Result<T>) -> Result<T> {
    let thread = thread_id();
    if let Some(chain) = chain_in_table(thread) {
        return call(chain);
    }
    let chain = TrapChain::new();
    {
        let mut table = TABLE.lock();
        table.try_reserve(1).map_err(|_| TrapError::OutOfMemory)?;
        table.push((thread, ChainAddress(&raw const chain)));
    }
    let result = call(&chain);
    TABLE.lock().retain(|(other, _)| *other != thread);
    result
}

/// The chain of this thread, if it is inside a catching call.
fn active_chain<'c>() -> Option<&'c TrapChain> {
    let is_active = |chain: &&TrapChain| chain.is_active();
    let in_table = || chain_in_table(thread_id()).filter(is_active);
    chain_by_lookup().filter(is_active).or_else(in_table)
}

/// Ends the innermost catching call of this thread with `error` and does not return; returns if there is none.
///
/// # Safety
/// Every frame above that call may be discarded.
unsafe fn end_call(error: TrapError) {
    if let Some(chain) = active_chain() {
        chain.error.set(MaybeUninit::new(error));
        // SAFETY: the chain has an active frame, whose stack is intact. The caller guarantees the rest.
        unsafe { resume(chain) }
    }
}

/// The target of traps in compiled code: returns to the innermost [`call_catching`] of the thread.
///
/// # Panics
/// If the thread is not inside such a call. The panic does not unwind but aborts the process.
// Never inlined: cached code identifies the hook by its address, which must be unique.
#[inline(never)]
pub extern "C" fn trap_hook(code: u32, at: u32, function: u64, left: u64, right: u64) -> u64 {
    let trap = Trap { code, at, function, operands: [left, right] };
    // SAFETY: every frame above the call belongs to code that accepts traps.
    unsafe { end_call(TrapError::Trap(trap)) };
    unreachable!("{trap}, in code that was not called in a way that catches traps")
}

/// Called when a bytecode function that was called by address stops: returns to the innermost [`call_catching`]
/// of the thread. Returns if there is none; the bytecode function then returns 0.
pub(crate) fn stop_call(trap: bytecode::Trap) {
    // SAFETY: as in `trap_hook`; the engine owns no resource when it reports a trap.
    unsafe { end_call(TrapError::Bytecode(trap)) };
}

/// Calls the function at `address` with 64-bit integer arguments in the C calling convention of the machine and
/// returns its 64-bit result. Does not catch traps.
///
/// # Errors
/// [`TrapError::TooManyArguments`] above [`MAX_ARGS`](super::MAX_ARGS).
///
/// # Safety
/// * `address` is that of a function in memory that is executable and stays so during the call;
/// * the function follows the C calling convention and takes at most as many integer arguments;
/// * its module and its process allow everything it does: machine code is trusted.
#[inline]
pub unsafe fn call(address: u64, args: &[i64]) -> Result<i64> {
    let entry = address as usize;
    macro_rules! invoke {
        ($($arg:ident: $type:ty),*) => {{
            // SAFETY: the caller guarantees that this is the address of a C function, and a function pointer is
            // an address.
            let function = unsafe { transmute::<usize, unsafe extern "C" fn($($type),*) -> i64>(entry) };
            // SAFETY: the caller guarantees that it may be called with these arguments.
            unsafe { function($(*$arg),*) }
        }};
    }
    Ok(match args {
        [] => invoke!(),
        [a] => invoke!(a: i64),
        [a, b] => invoke!(a: i64, b: i64),
        [a, b, c] => invoke!(a: i64, b: i64, c: i64),
        [a, b, c, d] => invoke!(a: i64, b: i64, c: i64, d: i64),
        [a, b, c, d, e] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64),
        [a, b, c, d, e, f] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64),
        [a, b, c, d, e, f, g] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64),
        [a, b, c, d, e, f, g, h] => {
            invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64)
        }
        _ => return Err(TrapError::TooManyArguments { given: args.len() }),
    })
}

/// As [`call`], but a trap of the function, or of a function that it calls, is an error.
///
/// Without a [`ChainLookup`] calls are known by the id of their thread: a child that is forked inside a call must not
/// return to its code, whose traps then abort, and must not call if another thread of the parent entered or left a call meanwhile.
///
/// # Errors
/// [`TrapError`].
///
/// # Safety
/// As [`call`]. In addition, every frame between this call and a trap may be discarded without cleanup: it
/// belongs to generated code, or to a host function that owns no resource while it calls back and has not changed
/// the floating-point rounding mode. The code does not leave this call in another way.
#[inline]
pub unsafe fn call_catching(address: u64, args: &[i64]) -> Result<i64> {
    // SAFETY: the caller's contract.
    with_chain(|chain| unsafe { call_catching_on(chain, address, args) })
}

/// As [`call_catching`], for a host that already has the chain of this thread.
///
/// Inlined because callers know the number of arguments, which then stay in registers: rows "call a module's
/// function from Rust" and "from C" of the benchmark.
///
/// # Errors
/// As [`call_catching`].
///
/// # Safety
/// As [`call_catching`]; `chain` is the chain that the installed [`ChainLookup`] returns on this thread.
#[inline(always)]
pub unsafe fn call_catching_on(chain: &TrapChain, address: u64, args: &[i64]) -> Result<i64> {
    // Registers of missing arguments stay uninitialised, which costs no instruction.
    let mut words = [MaybeUninit::uninit(); MAX_ARGS];
    let too_many = TrapError::TooManyArguments { given: args.len() };
    let given = words.get_mut(..args.len()).ok_or(too_many)?;
    for (word, arg) in given.iter_mut().zip(args) {
        word.write(arg.cast_unsigned());
    }
    // SAFETY: the caller's contract.
    unsafe { call_words(chain, address, words, args.len()) }.map(u64::cast_signed)
}

/// As [`call_catching`], for any number of integer and floating-point arguments.
///
/// # Errors
/// [`TrapError`]. On machines without code generation floating-point arguments and more than [`MAX_ARGS`](super::MAX_ARGS)
/// arguments are errors.
///
/// # Safety
/// As [`call_catching`], with these arguments.
pub unsafe fn call_values(address: u64, args: &[CallArg]) -> Result<ReturnRegisters> {
    // SAFETY: the caller's contract.
    unsafe { call_with(address, args) }
}

/// # Safety
/// As [`call_values`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn call_with(address: u64, args: &[CallArg]) -> Result<ReturnRegisters> {
    let mut stack = Vec::new();
    let mut frame = new_frame(address, args, &mut stack)?;
    // SAFETY: the caller's contract; the frame and the stack arguments outlive the call.
    with_chain(|chain| unsafe { call_frame(chain, &mut frame) })
}

/// # Safety
/// As [`call_values`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call_with(address: u64, args: &[CallArg]) -> Result<ReturnRegisters> {
    let mut integers = arrayvec::ArrayVec::<i64, { super::MAX_ARGS }>::new();
    for arg in args {
        let CallArg::Integer(bits) = *arg else { return Err(TrapError::FloatArgument) };
        let pushed = integers.try_push(bits.cast_signed());
        pushed.map_err(|_| TrapError::TooManyArguments { given: args.len() })?;
    }
    // SAFETY: the caller's contract.
    let integer = unsafe { call_catching(address, &integers) }?.cast_unsigned();
    Ok(ReturnRegisters { integer, float: 0 })
}

/// Distributes the arguments over registers and `stack`, which the frame points to.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn new_frame(function: u64, args: &[CallArg], stack: &mut Vec<u64>) -> Result<CallFrame> {
    let mut frame = CallFrame::new(function);
    let (mut integers, mut floats) = (frame.integers.iter_mut(), frame.floats.iter_mut());
    for arg in args {
        let (bits, register) = match *arg {
            CallArg::Integer(bits) => (bits, integers.next()),
            CallArg::Float(bits) => (bits, floats.next()),
        };
        match register {
            Some(register) => *register = bits,
            None => crate::alloc_util::try_push(stack, bits).map_err(|_| TrapError::OutOfMemory)?,
        }
    }
    (frame.stack, frame.stack_len) = (stack.as_ptr(), stack.len());
    Ok(frame)
}

/// # Safety
/// As [`call`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn call_words(
    _: &TrapChain,
    function: u64,
    words: [MaybeUninit<u64>; MAX_ARGS],
    count: usize,
) -> Result<u64> {
    let mut args = [0; MAX_ARGS];
    for (arg, word) in args.iter_mut().zip(words).take(count) {
        // SAFETY: the first `count` words are initialised.
        *arg = unsafe { word.assume_init() }.cast_signed();
    }
    // SAFETY: the caller's contract.
    unsafe { call(function, args.get(..count).unwrap_or(&args)) }.map(i64::cast_unsigned)
}

/// Never reached: no frame is ever added to a chain.
///
/// # Safety
/// None.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn resume(_: &TrapChain) -> ! {
    unreachable!("a trap on a machine without code generation")
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tests {
    use super::*;

    /// The address that the code below reports as its own.
    const HERE: u64 = 0x1234_5678_9abc_def0;

    extern "C" fn divide(a: i64, b: i64) -> i64 {
        if b == 0 { trap_hook(1, 40, HERE, 0, 0).cast_signed() } else { a / b }
    }

    /// Calls itself through a catching call, then traps with a code computed from that call's trap.
    extern "C" fn nest(depth: i64) -> i64 {
        if depth == 0 {
            return trap_hook(100, 0, HERE, 0, 0).cast_signed();
        }
        // SAFETY: a function of one integer that owns nothing.
        match unsafe { call_catching(nest as *const () as u64, &[depth - 1]) } {
            Err(TrapError::Trap(trap)) => trap_hook(trap.code + 1, 7, HERE, 0, 0).cast_signed(),
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
            return trap_hook(9, 0, HERE, 0, 0).cast_signed();
        }
        [a, b, c, d, e, f, g, h].iter().fold(0, |sum, next| sum * 10 + next)
    }

    fn trap(code: u32, at: u32) -> Result<i64> {
        Err(TrapError::Trap(Trap { code, at, function: HERE, operands: [0; 2] }))
    }

    fn check_every_kind_of_call() {
        let divide = divide as *const () as u64;
        // SAFETY: functions of these arguments, which own nothing when they trap.
        let call = |function, args: &[i64]| unsafe { call_catching(function, args) };
        for _ in 0..3 {
            assert_eq!(call(divide, &[42, 2]), Ok(21));
            assert_eq!(call(divide, &[42, 0]), trap(1, 40));
        }
        assert_eq!(call(nest as *const () as u64, &[20]), trap(120, 7));
        let eight = eight as *const () as u64;
        assert_eq!(call(eight, &[1, 2, 3, 4, 5, 6, 7, 8]), Ok(12_345_678));
        assert_eq!(call(eight, &[1, 2, 3, 4, 5, 6, 7, -1]), trap(9, 0));
        assert_eq!(call(divide, &[1; 9]), Err(TrapError::TooManyArguments { given: 9 }));
        let int = CallArg::Integer;
        let mut args =
            [int(1), CallArg::Float(0.5f64.to_bits()), int(2), CallArg::Float(0)].to_vec();
        args[3] = CallArg::Float(0.25f32.to_bits().into());
        args.extend([3, 4, 5, 6, 7, 8, 9].map(int));
        // SAFETY: as above.
        let returned = unsafe { call_values(many as *const () as u64, &args) }.unwrap();
        assert_eq!(f64::from_bits(returned.float), 123_456_789.75);
        assert!(active_chain().is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn trap_ends_the_innermost_catching_call_of_its_thread() {
        std::thread_local! {
            static CHAIN: TrapChain = const { TrapChain::new() };
        }
        let on_four_threads = || {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..100).for_each(|_| check_every_kind_of_call()));
                }
            });
        };
        check_every_kind_of_call();
        on_four_threads();
        // SAFETY: a thread-local variable without a destructor.
        unsafe { set_chain_lookup(|| CHAIN.with(ptr::from_ref)) };
        on_four_threads();
        assert!(TABLE.lock().is_empty());
    }
}
