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

use smf_loader::exec::host_functions;
use smf_loader::files::system_error;

use crate::crash::{HANDLER_STACK, PATIENCE, handle, program_counter, set_handler_stack};

/// The size of the stack, in bytes. Only what is used takes memory.
const STACK: usize = 256 << 20;

/// The inaccessible bytes below: more than the largest frame.
const GUARD: usize = 4 << 20;

/// The first address of the guard; 0 before the thread runs.
static GUARD_START: AtomicUsize = AtomicUsize::new(0);

/// Finds the name of the function around an address.
type FindFunction = Box<dyn Fn(u64) -> Option<String> + Send + Sync>;

static FIND: OnceLock<FindFunction> = OnceLock::new();

/// The action for a fault that is not in the guard: that of the process before.
static OTHER_ACTION: OnceLock<libc::sigaction> = OnceLock::new();

/// States how the functions that run are found, for the message.
pub(crate) fn find_functions(find: impl Fn(u64) -> Option<String> + Send + Sync + 'static) {
    // A process of this command runs one program.
    let _ = FIND.set(Box::new(find));
}

/// Calls `run` on a thread with a large stack, waits for it, and writes what it printed.
///
/// # Errors
/// The reason why there is no such thread.
pub(crate) fn on_large_stack<R: Send>(run: impl FnOnce() -> R + Send) -> Result<R, String> {
    let returned = on_thread(run);
    returned.map_err(|error| match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            let mib = STACK >> 20;
            format!(
                "cannot run on a thread: there is no memory for its stack of {mib} MiB, or the limit of threads is reached"
            )
        }
        _ => format!("cannot run on a thread: {}", system_error(&error)),
    })
}

fn on_thread<R: Send>(run: impl FnOnce() -> R + Send) -> io::Result<R> {
    struct Job<F, R>(Option<F>, Option<R>);
    extern "C" fn start<R, F: FnOnce() -> R>(job: *mut c_void) -> *mut c_void {
        let mut handler_stack = vec![0u8; HANDLER_STACK];
        handle_overflow(&mut handler_stack);
        // SAFETY: the job outlives the thread, which alone uses it until it is joined.
        let job = unsafe { &mut *job.cast::<Job<F, R>>() };
        job.1 = job.0.take().map(|run| run());
        host_functions::flush();
        set_handler_stack(&mut handler_stack, libc::SS_DISABLE);
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

/// Handles faults in the guard of this thread, on the stack of the handler.
fn handle_overflow(handler_stack: &mut [u8]) {
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
    set_handler_stack(handler_stack, 0);
    // A later thread finds the action of an earlier one.
    let _ = OTHER_ACTION.set(handle(libc::SIGSEGV, on_fault, 0));
}

extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let start = GUARD_START.load(Ordering::Relaxed);
    // SAFETY: the kernel passes it to a handler with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the field exists for this signal.
    let address = unsafe { info.si_addr() }.addr();
    if !(start..start + 2 * GUARD).contains(&address) {
        // SAFETY: all bytes zero are the default action.
        let default = unsafe { std::mem::zeroed() };
        let action = OTHER_ACTION.get().unwrap_or(&default);
        // SAFETY: an action that the process had. The instruction faults again when the handler returns.
        unsafe { libc::sigaction(libc::SIGSEGV, action, ptr::null_mut()) };
        return;
    }
    host_functions::flush();
    write("error: the stack is exhausted");
    // SAFETY: alarm(2): the host's code may have been interrupted while it held the lock of the allocator.
    unsafe { libc::alarm(PATIENCE) };
    // SAFETY: the kernel passes the context to a handler with SA_SIGINFO.
    let pc = unsafe { program_counter(context) };
    if let Some(function) = pc.zip(FIND.get()).and_then(|(pc, find)| find(pc)) {
        [" in function `", &function, "`"].into_iter().for_each(write);
    }
    write(": calls nest too deeply\n");
    // SAFETY: _exit(2) ends the process without handlers.
    unsafe { libc::_exit(1) };
}

/// Writes to standard error, in a handler.
fn write(text: &str) {
    // SAFETY: write(2) with the bytes of the text.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
