//! A thread with a large stack, whose end is an error of the program and not a crash.
//!
//! Compiled functions do not check the stack. Below that of the thread lie more inaccessible bytes than a frame has, so
//! that a recursion without end causes a fault there, and the handler of the fault ends the process with a message.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use smf_core::exec::FunctionHandle;
use smf_loader::exec::host_functions;

use crate::crash::program_counter;

/// The size of the stack, in bytes. Only what is used takes memory.
pub(super) const STACK: usize = 256 << 20;

/// The inaccessible bytes below: more than the largest frame.
const GUARD: usize = 4 << 20;

/// The size of the stack of the handler, in bytes.
const HANDLER_STACK: usize = 64 << 10;

/// The first address of the guard; 0 before the thread runs.
static GUARD_START: AtomicUsize = AtomicUsize::new(0);

/// The functions that run, by ascending address.
static FUNCTIONS: OnceLock<Vec<FunctionHandle>> = OnceLock::new();

/// More than the code of a function has, in bytes.
const MAX_CODE: u64 = 1 << 20;

/// States the functions that run, for the message.
pub(super) fn name_functions(mut functions: Vec<FunctionHandle>) {
    functions.sort_unstable_by_key(FunctionHandle::address);
    // A process of this command runs one program.
    let _ = FUNCTIONS.set(functions);
}

/// The function of the program around an address.
fn function_at(pc: u64) -> Option<&'static FunctionHandle> {
    let functions = FUNCTIONS.get()?;
    let after = functions.partition_point(|function| function.address() <= Some(pc));
    let function = functions.get(after.checked_sub(1)?)?;
    (pc - function.address()? < MAX_CODE).then_some(function)
}

/// Calls `run` on a thread with a large stack, and waits for it.
///
/// # Errors
/// The system's, if there is no such thread.
pub(super) fn on_large_stack<R: Send>(run: impl FnOnce() -> R + Send) -> io::Result<R> {
    struct Job<F, R>(Option<F>, Option<R>);
    extern "C" fn start<R, F: FnOnce() -> R>(job: *mut c_void) -> *mut c_void {
        handle_overflow();
        // SAFETY: the job outlives the thread, which alone uses it until it is joined.
        let job = unsafe { &mut *job.cast::<Job<F, R>>() };
        job.1 = job.0.take().map(|run| run());
        ptr::null_mut()
    }
    fn check(error: c_int) -> io::Result<()> {
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    }
    fn job_of<R, F: FnOnce() -> R>(
        run: F,
    ) -> (Job<F, R>, extern "C" fn(*mut c_void) -> *mut c_void) {
        (Job(Some(run), None), start::<R, F>)
    }
    let (mut job, start) = job_of(run);
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: pthread_attr_init(3) with memory for the attributes, before the others.
    check(unsafe { libc::pthread_attr_init(attributes) })?;
    // SAFETY: initialised attributes.
    let sized = check(unsafe { libc::pthread_attr_setstacksize(attributes, STACK + GUARD) });
    // SAFETY: as above.
    let guarded = sized.and(check(unsafe { libc::pthread_attr_setguardsize(attributes, GUARD) }));
    let argument = (&raw mut job).cast();
    // SAFETY: the function takes this job, which outlives the thread because that is joined below.
    let mut create =
        || unsafe { libc::pthread_create(thread.as_mut_ptr(), attributes, start, argument) };
    let created = guarded.and_then(|()| check(create()));
    // SAFETY: initialised attributes, which are not used again.
    unsafe { libc::pthread_attr_destroy(attributes) };
    created?;
    // SAFETY: the thread was created.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: as above, and it is joined once.
    check(unsafe { libc::pthread_join(thread, ptr::null_mut()) })?;
    job.1.ok_or_else(|| io::Error::other("the thread ended early"))
}

/// Handles faults in the guard of this thread.
fn handle_overflow() {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut low, mut size) = (ptr::null_mut(), 0);
    // SAFETY: no precondition.
    let thread = unsafe { libc::pthread_self() };
    // SAFETY: pthread_getattr_np(3) with memory for the attributes of this thread.
    if unsafe { libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: attributes that the call above has initialised.
    let found =
        unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size) };
    // SAFETY: as above; they are not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if found != 0 {
        return;
    }
    // The C library counts the guard as part of the stack, or not, by version: both are covered.
    GUARD_START.store(low.addr().saturating_sub(GUARD), Ordering::Relaxed);
    let stack = libc::stack_t {
        ss_sp: Box::leak(vec![0u8; HANDLER_STACK].into_boxed_slice()).as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: HANDLER_STACK,
    };
    // SAFETY: the memory is never freed, and this thread is not in a handler.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    // SAFETY: all bytes zero is a valid value of this C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_fault as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
    // SAFETY: the handler has the signature that the flags state.
    unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, ptr::null_mut()) };
}

extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let start = GUARD_START.load(Ordering::Relaxed);
    // SAFETY: the kernel passes it to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the field exists for this signal.
    let address = unsafe { info.si_addr() }.addr();
    if !(start..start + 2 * GUARD).contains(&address) {
        // The action is the default again: the instruction faults again when the handler returns.
        return;
    }
    host_functions::flush();
    // SAFETY: the kernel passes the context to a handler with SA_SIGINFO.
    let function = unsafe { program_counter(context) }.and_then(function_at);
    let (before, after) = if function.is_some() { (" in function `", "`") } else { ("", "") };
    for text in [
        &b"error: the stack is exhausted"[..],
        before.as_bytes(),
        function.map_or(&[], |function| function.name().as_bytes()),
        after.as_bytes(),
        b": calls nest too deeply\n",
    ] {
        // SAFETY: write(2) with the bytes of the text.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    // SAFETY: _exit(2) ends the process without handlers.
    unsafe { libc::_exit(1) };
}
