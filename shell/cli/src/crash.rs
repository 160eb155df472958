//! Reports crashes of module code: the signal, the function, the source line and a backtrace.
//!
//! The process ends by the signal, as it would without the report. The first line is written without allocation; the
//! others are made by ordinary code, which may fail where the heap is damaged or a lock is held. An alarm ends such an
//! attempt.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::fmt::Write as _;
use std::io::Write as _;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use smf_loader::loader::Loader;
use smf_loader::source_line;

use crate::loaded_code::{self, Instances, function_at, instance_at, module_at};
use crate::output::{one_line, printable};
use crate::trace;

/// The signals of faults, and their names.
const SIGNALS: [(c_int, &str); 6] = [
    (libc::SIGSEGV, "SIGSEGV (invalid memory access)"),
    (libc::SIGBUS, "SIGBUS (memory access without memory)"),
    (libc::SIGILL, "SIGILL (invalid instruction)"),
    (libc::SIGFPE, "SIGFPE (arithmetic fault)"),
    // `__builtin_trap` of aarch64, for which x86-64 has an invalid instruction.
    (libc::SIGTRAP, "SIGTRAP (trap instruction)"),
    (libc::SIGABRT, "SIGABRT (abort)"),
];

/// The size of the stack of a handler, in bytes: the thread's own may have overflowed.
pub(crate) const HANDLER_STACK: usize = 1 << 20;

/// Frames that are shown.
const MAX_FRAMES: usize = 32;

/// The greatest distance of an access to the stack from the stack pointer, in bytes: that of a small frame.
const NEAR: usize = 64 << 10;

/// The name of a fault at the end of the stack.
const EXHAUSTED: &str = "SIGSEGV (the stack is exhausted: calls nest too deeply)";

/// The name of a fault of the instruction itself.
const NOT_CODE: &str = "SIGSEGV (a jump to memory that is not code)";

/// Seconds after which a report that does not end is given up.
pub(crate) const PATIENCE: u32 = 5;

static IS_REPORTING: AtomicBool = AtomicBool::new(false);

/// Reports crashes in modules of `loader` and in `instances` from now on.
pub(crate) fn install(loader: &'static Loader, instances: impl Instances + 'static) {
    if !loaded_code::set(loader, instances) {
        return;
    }
    set_handler_stack(Box::leak(vec![0u8; HANDLER_STACK].into_boxed_slice()), 0);
    for (signal, _) in SIGNALS {
        handle(signal, report, libc::SA_RESETHAND);
    }
}

/// A handler of a signal, with what the kernel passes.
pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Handles a signal on the stack of handlers. Returns the action before.
pub(crate) fn handle(signal: c_int, handler: Handler, flags: c_int) -> libc::sigaction {
    // SAFETY: all bytes zero is a valid value of this C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
    let mut before = action;
    // SAFETY: the handler has the signature that the flags state.
    unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    before
}

/// Makes memory the stack of handlers in this thread, or, with `SS_DISABLE`, none.
pub(crate) fn set_handler_stack(memory: &mut [u8], flags: c_int) {
    let stack =
        libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: flags, ss_size: memory.len() };
    // SAFETY: the memory is not freed before a call that disables it, and this thread is not in a handler.
    unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
}

extern "C" fn report(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    if !IS_REPORTING.swap(true, Ordering::Relaxed) {
        // On x86-64 the kernel reports a trap behind its instruction, which may end the function.
        #[cfg(target_arch = "x86_64")]
        if signal == libc::SIGTRAP
            // SAFETY: the kernel passes it to a handler with SA_SIGINFO.
            && let Some((pc, _)) = unsafe { place(context) }
        {
            *pc -= 1;
        }
        // SAFETY: the kernel passes it to a handler with SA_SIGINFO.
        let address = unsafe { fault_address(signal, info) };
        // SAFETY: as above.
        let registers = unsafe { Registers::of(context, address) };
        // SAFETY: as above.
        let place = unsafe { place(context) }.map(|(pc, stack)| (*pc as usize, *stack as usize));
        first_line(signal, address, place);
        // SAFETY: no precondition.
        unsafe { libc::alarm(PATIENCE) };
        let mut text = String::new();
        // SAFETY: as above.
        let all = unsafe { registers.frames(context) };
        describe(&mut text, registers, &all);
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        trace::write_after_crash();
    }
    // The action is the default again: the signal ends the process when the handler returns.
    // SAFETY: no precondition.
    unsafe { libc::raise(signal) };
}

/// The address that the fault concerns, if the signal has one.
///
/// # Safety
/// `info` is null or that of a handler.
unsafe fn fault_address(signal: c_int, info: *const libc::siginfo_t) -> Option<usize> {
    if info.is_null() || !matches!(signal, libc::SIGSEGV | libc::SIGBUS) {
        return None;
    }
    // SAFETY: valid by the contract.
    let info = unsafe { &*info };
    // SAFETY: the field exists for these signals.
    Some(unsafe { info.si_addr() }.addr())
}

/// `place` is the program counter and the stack pointer.
fn first_line(signal: c_int, address: Option<usize>, place: Option<(usize, usize)>) {
    let name = SIGNALS.iter().find(|(number, _)| *number == signal).map_or("signal", |s| s.1);
    let name = match address.zip(place) {
        Some((address, (pc, _))) if signal == libc::SIGSEGV && address == pc => NOT_CODE,
        // Memory at the stack pointer is missing only where the stack ends.
        Some((address, (_, stack)))
            if signal == libc::SIGSEGV && address.abs_diff(stack) < NEAR =>
        {
            EXHAUSTED
        }
        _ => name,
    };
    let mut line = Line::default();
    let _ = write!(line, "error: the module crashed: {name}");
    if let Some(address) = address {
        let _ = write!(line, " at address {address:#x}");
    }
    let _ = writeln!(line);
    let _ = std::io::stderr().lock().write_all(line.bytes());
}

/// A line of bounded length, without allocation.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: [0; 160], len: 0 }
    }
}

impl Line {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let rest = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        let len = text.len().min(rest.len());
        for (place, byte) in rest.iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        self.len += len;
        Ok(())
    }
}

/// Where the interrupted thread was.
#[derive(Clone, Copy)]
struct Registers {
    pc: usize,
    /// The return address and the stack pointer behind it, if no instruction can be read at `pc`, as after a call of an invalid
    /// address.
    caller: Option<(usize, usize)>,
}

/// A register in the saved context of a thread.
#[cfg(target_arch = "x86_64")]
type Saved = i64;
#[cfg(target_arch = "aarch64")]
type Saved = u64;

/// The registers in which a thread's context has its place: the program counter and the stack pointer.
///
/// # Safety
/// `context` is that of a handler, and nothing else refers to it.
#[cfg(target_arch = "x86_64")]
unsafe fn place<'a>(context: *mut c_void) -> Option<(&'a mut Saved, &'a mut Saved)> {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: valid by the contract.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let indices = [libc::REG_RIP as usize, libc::REG_RSP as usize];
    registers.get_disjoint_mut(indices).ok().map(|[pc, stack]| (pc, stack))
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn place<'a>(context: *mut c_void) -> Option<(&'a mut Saved, &'a mut Saved)> {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: valid by the contract.
    let machine = unsafe { &mut (*context).uc_mcontext };
    Some((&mut machine.pc, &mut machine.sp))
}

/// The address of the instruction that a signal interrupted.
///
/// # Safety
/// As of [`place`].
pub(crate) unsafe fn program_counter(context: *mut c_void) -> Option<u64> {
    // SAFETY: the contract is the same.
    unsafe { place(context) }.map(|(pc, _)| *pc as u64)
}

impl Registers {
    /// `fault` is the address that the fault concerns: that of the instruction itself if none can be read there.
    ///
    /// # Safety
    /// As of [`place`].
    unsafe fn of(context: *mut c_void, fault: Option<usize>) -> Self {
        // SAFETY: the contract is the same.
        let Some((pc, stack)) = (unsafe { place(context) }) else {
            return Self { pc: 0, caller: None };
        };
        let (pc, stack) = (*pc as usize, *stack as usize);
        // SAFETY: no instruction has been executed since the one that jumped there.
        let caller = || unsafe { Self::caller(context, stack) };
        Self { pc, caller: if fault == Some(pc) { caller() } else { None } }
    }

    /// The return address is on top of the stack.
    ///
    /// # Safety
    /// `stack` is the stack pointer of a thread that has just called a function.
    #[cfg(target_arch = "x86_64")]
    unsafe fn caller(_: *mut c_void, stack: usize) -> Option<(usize, usize)> {
        if stack == 0 || !stack.is_multiple_of(8) {
            return None;
        }
        // SAFETY: valid by the contract.
        let caller = unsafe { ptr::with_exposed_provenance::<usize>(stack).read() };
        Some((caller, stack + 8))
    }

    /// The return address is in the link register.
    ///
    /// # Safety
    /// `context` is that of a handler, in a thread that has just called a function.
    #[cfg(target_arch = "aarch64")]
    unsafe fn caller(context: *mut c_void, stack: usize) -> Option<(usize, usize)> {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: valid by the contract.
        let link = unsafe { (*context).uc_mcontext.regs[30] };
        Some((link as usize, stack))
    }

    /// The addresses of all frames, those of the handler first. If the program counter is not in code, the thread's frames
    /// begin at the caller: the unwinder would read instructions at the program counter.
    ///
    /// # Safety
    /// As of [`place`].
    unsafe fn frames(self, context: *mut c_void) -> Vec<usize> {
        // SAFETY: the contract is the same.
        let saved = unsafe { place(context) }.map(|(pc, stack)| {
            let saved = (*pc, *stack);
            if let Some((caller, above)) = self.caller {
                (*pc, *stack) = (caller as Saved, above as Saved);
            }
            saved
        });
        let mut all: Vec<usize> = Vec::with_capacity(MAX_FRAMES * 2);
        // SAFETY: the function has the type that the unwinder calls, and the vector outlives the walk.
        unsafe { _Unwind_Backtrace(add_frame, (&raw mut all).cast()) };
        // SAFETY: as above. A core file shows the registers of the crash.
        if let (Some((pc, stack)), Some(saved)) = (unsafe { place(context) }, saved) {
            (*pc, *stack) = saved;
        }
        all
    }
}

/// Writes the backtrace: the fault first, then its callers, up to the first function of the module that the command has
/// called.
fn describe(text: &mut String, registers: Registers, all: &[usize]) {
    let mut frames = vec![registers.pc];
    frames.extend(registers.caller.map(|(caller, _)| caller.wrapping_sub(1)));
    // The frames before it are those of the handler.
    let first = registers.caller.map_or(registers.pc, |(caller, _)| caller);
    let start = all.iter().position(|&pc| pc == first || pc == first.wrapping_sub(1));
    let callers = start.map_or(&[][..], |start| all.get(start + 1..).unwrap_or(&[]));
    frames.extend(callers.iter().take(MAX_FRAMES));
    let is_in_module = |&address: &usize| {
        module_at(address as u64).is_some() || instance_at(address as u64).is_some()
    };
    let last = frames.iter().rposition(is_in_module);
    let is_cut = callers.len() > MAX_FRAMES && last == frames.len().checked_sub(1);
    frames.truncate(last.map_or(usize::MAX, |last| last + 1));
    for (number, address) in frames.into_iter().enumerate() {
        let _ = write!(text, "  #{number} {address:#014x}");
        if !describe_in_module(text, address) && !describe_in_instance(text, address) {
            describe_in_process(text, address);
        }
        text.push('\n');
    }
    if is_cut {
        text.push_str("  ...\n");
    }
}

unsafe extern "C" {
    fn _Unwind_Backtrace(
        visit: unsafe extern "C" fn(context: *mut c_void, frames: *mut c_void) -> c_int,
        frames: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, is_before: *mut c_int) -> usize;
}

/// Adds the address of a frame; of a call, one byte before the return address, so that it lies in the calling
/// instruction.
unsafe extern "C" fn add_frame(context: *mut c_void, frames: *mut c_void) -> c_int {
    let mut is_before = 0;
    // SAFETY: the unwinder passes its context.
    let pc = unsafe { _Unwind_GetIPInfo(context, &raw mut is_before) };
    // SAFETY: the vector that `describe` passes.
    let frames = unsafe { &mut *frames.cast::<Vec<usize>>() };
    let address = if is_before == 0 { pc.wrapping_sub(1) } else { pc };
    // Reserved: no allocation here. The last frame has no address.
    if pc != 0 && frames.len() < frames.capacity() {
        frames.push(address);
    }
    0
}

/// Names the instance of a template; returns whether the address lies in one.
fn describe_in_instance(text: &mut String, address: usize) -> bool {
    let Some(instance) = instance_at(address as u64) else { return false };
    let offset = (address as u64).saturating_sub(instance.address());
    let _ = write!(text, " in {} + {offset:#x}", printable(instance.symbol()));
    true
}

/// Names the function of a loaded module and its line; returns whether the address lies in one.
fn describe_in_module(text: &mut String, address: usize) -> bool {
    let Some(module) = module_at(address as u64) else { return false };
    let found = source_line(&module, address as u64);
    let symbol = function_at(&module, address as u64);
    // Where a local function has no symbol, debugging information may name it.
    let name = match (&symbol, found.as_ref().and_then(|line| line.function.as_ref())) {
        (Some((name, offset)), _) => format!("{name} + {offset:#x}"),
        (None, Some(function)) => function.clone(),
        (None, None) => "a function without a name".to_owned(),
    };
    let _ = write!(text, " in {} ({})", one_line(&name), printable(module.name()));
    if let Some(found) = found {
        let _ = write!(text, " at {}:{}", one_line(&found.file), found.line);
        if let Some(inlined) = found.inlined {
            let _ = write!(text, " of the inlined function {}", one_line(&inlined));
        }
    }
    true
}

/// Names the function of the program or of a shared library.
fn describe_in_process(text: &mut String, address: usize) {
    // SAFETY: all bytes zero is a valid value of this C structure.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    let place = ptr::without_provenance::<c_void>(address);
    // SAFETY: the function only compares the address.
    let is_found = unsafe { libc::dladdr(place, &raw mut found) } != 0;
    let name = |name: *const std::ffi::c_char| {
        // SAFETY: null or a string of the system's loader.
        (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    };
    if !is_found {
        text.push_str(" (no code)");
        return;
    }
    if let Some(symbol) = name(found.dli_sname) {
        let _ = write!(text, " in {}", one_line(&symbol));
    }
    if let Some(file) = name(found.dli_fname) {
        let _ = write!(text, " ({})", one_line(&file));
    }
}
