//! Constructors, destructors and exit handlers of modules in this process.
//!
//! The loader says when constructors run and when a module is about to leave. If the process exits first, the destructors
//! of all modules run from one handler of `atexit(3)`, in reverse order of the constructors.
//!
//! Source: Itanium C++ ABI, 3.3.6 (`__cxa_finalize`); System V ABI, chapter 5 (initialization and termination).
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use smf_core::alloc_util::{try_collect, try_push};
use smf_core::link::{HostService, HostServiceError, InitFunctions, InitToken};

use crate::fork::{HeldAtFork, ProcessLock};

/// A constructor, which gets the arguments and the environment of the program, or a destructor, which ignores them.
type InitFunction = unsafe extern "C" fn(c_int, *const *const c_char, *const *const c_char);

unsafe extern "C" {
    fn __cxa_finalize(dso_handle: *mut c_void);
    safe fn atexit(handler: extern "C" fn()) -> c_int;
    static environ: AtomicPtr<*const c_char>;
}

/// The functions of one module.
struct Entry {
    token: u64,
    /// The number of the run of the constructors; `None` before it.
    order: Option<u64>,
    constructors: Vec<u64>,
    destructors: Vec<u64>,
    /// 0 for none.
    dso_handle: u64,
}

struct Table {
    entries: Vec<Entry>,
    /// The next token.
    next: u64,
    /// The number of the next run.
    next_order: u64,
}

static TABLE: ProcessLock<Table> =
    ProcessLock::new(Table { entries: Vec::new(), next: 1, next_order: 0 });

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&TABLE];

/// The arguments of the program, which the C library passes to constructors.
static ARGUMENTS: (AtomicUsize, AtomicPtr<*const c_char>) =
    (AtomicUsize::new(0), AtomicPtr::new(ptr::null_mut()));

/// Runs `save_arguments` when the library is loaded.
#[cfg(all(target_env = "gnu", not(miri)))]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn(c_int, *mut *const c_char, *mut *const c_char) = save_arguments;

#[cfg(all(target_env = "gnu", not(miri)))]
extern "C" fn save_arguments(count: c_int, arguments: *mut *const c_char, _: *mut *const c_char) {
    ARGUMENTS.1.store(arguments, Ordering::Relaxed);
    ARGUMENTS.0.store(usize::try_from(count).unwrap_or(0), Ordering::Relaxed);
}

/// Prepares the functions of a module.
///
/// # Errors
/// [`HostServiceError::OutOfMemory`]; [`HostServiceError::Refused`] if the C library has no memory for the exit handler.
pub(crate) fn prepare(functions: &InitFunctions<'_>) -> Result<InitToken, HostServiceError> {
    let constructors = try_collect(functions.constructors.iter().copied())?;
    let destructors = try_collect(functions.destructors.iter().copied())?;
    at_exit_once()?;
    let table = &mut *TABLE.lock();
    let token = table.next;
    table.next += 1;
    let (dso_handle, order) = (functions.dso_handle, None);
    try_push(&mut table.entries, Entry { token, order, constructors, destructors, dso_handle })?;
    Ok(InitToken(token))
}

/// Registers the handler of the process's exit, once.
fn at_exit_once() -> Result<(), HostServiceError> {
    static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
    if !IS_REGISTERED.swap(true, Ordering::Relaxed) && atexit(run_all_destructors) != 0 {
        IS_REGISTERED.store(false, Ordering::Relaxed);
        let reason = "the C library has no memory for an exit handler";
        return Err(HostServiceError::Refused { service: HostService::Constructors, reason });
    }
    Ok(())
}

/// Runs the constructors of a module in order.
pub(crate) fn run_constructors(token: InitToken) {
    let constructors = {
        let table = &mut *TABLE.lock();
        let order = table.next_order;
        table.next_order += 1;
        let entry = table.entries.iter_mut().find(|entry| entry.token == token.0);
        let Some(entry) = entry.filter(|entry| entry.order.is_none()) else { return };
        entry.order = Some(order);
        std::mem::take(&mut entry.constructors)
    };
    constructors.into_iter().for_each(call);
}

/// Calls a constructor or a destructor.
fn call(address: u64) {
    let Ok(address) = usize::try_from(address) else { return };
    let function = ptr::with_exposed_provenance::<()>(address);
    // SAFETY: the linker has checked that the address lies in the code of a loaded module, which is trusted to have a
    // function there.
    let function = unsafe { std::mem::transmute::<*const (), InitFunction>(function) };
    let count = c_int::try_from(ARGUMENTS.0.load(Ordering::Relaxed)).unwrap_or(0);
    let arguments = ARGUMENTS.1.load(Ordering::Relaxed).cast_const();
    // SAFETY: the variable of the C library; an atomic pointer has the representation of a pointer.
    let environment = unsafe { environ.load(Ordering::Relaxed) }.cast_const();
    // SAFETY: as above; the arrays are those of the program, and end with null pointers.
    unsafe { function(count, arguments, environment) };
}

/// Runs the exit handlers and the destructors of a module whose constructors have run.
pub(crate) fn run_destructors(token: InitToken) {
    if let Some(entry) = take(|entry| entry.token == token.0 && entry.order.is_some()) {
        end(&entry);
    }
}

fn take(which: impl Fn(&Entry) -> bool) -> Option<Entry> {
    let entries = &mut TABLE.lock().entries;
    let position = entries.iter().position(which)?;
    Some(entries.swap_remove(position))
}

fn end(entry: &Entry) {
    if let Some(handle) = usize::try_from(entry.dso_handle).ok().filter(|handle| *handle != 0) {
        // SAFETY: runs handlers that code of the module registered under its own handle, which is trusted. The module is
        // still loaded.
        unsafe { __cxa_finalize(ptr::with_exposed_provenance_mut(handle)) };
    }
    entry.destructors.iter().rev().copied().for_each(call);
}

/// Runs what is left when the process exits. A destructor may load and unload modules.
extern "C" fn run_all_destructors() {
    loop {
        let last = TABLE.lock().entries.iter().filter_map(|entry| entry.order).max();
        let Some(last) = last else { return };
        if let Some(entry) = take(|entry| entry.order == Some(last)) {
            end(&entry);
        }
    }
}

/// Forgets the functions of a module, which is unmapped next.
pub(crate) fn release(token: InitToken) {
    drop(take(|entry| entry.token == token.0));
}
