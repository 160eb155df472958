//! Functions of the host that bytecode calls by index, and what the host tells a running program.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::{fmt, iter};

use spin::Once;

use super::objects::{Objects, Value};
use super::verify::{HostCall, Program};
#[cfg(feature = "kernel")]
use crate::alloc_util::try_collect;
use crate::alloc_util::{AllocError, try_box, try_reserve};
#[cfg(feature = "kernel")]
use crate::memory::thread_id;
use crate::plural;
use crate::trap::bytecode::Cause;

/// A function of the host: up to eight integers in, one out.
///
/// It must not unwind. What it wants to fail it reports with [`Signals::report`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the number is that of the arguments")]
pub enum HostFunction {
    Args0(extern "C" fn() -> i64),
    Args1(extern "C" fn(i64) -> i64),
    Args2(extern "C" fn(i64, i64) -> i64),
    Args3(extern "C" fn(i64, i64, i64) -> i64),
    Args4(extern "C" fn(i64, i64, i64, i64) -> i64),
    Args5(extern "C" fn(i64, i64, i64, i64, i64) -> i64),
    Args6(extern "C" fn(i64, i64, i64, i64, i64, i64) -> i64),
    Args7(extern "C" fn(i64, i64, i64, i64, i64, i64, i64) -> i64),
    Args8(extern "C" fn(i64, i64, i64, i64, i64, i64, i64, i64) -> i64),
}

impl HostFunction {
    /// How many arguments it takes.
    pub const fn argc(&self) -> u16 {
        match self {
            HostFunction::Args0(_) => 0,
            HostFunction::Args1(_) => 1,
            HostFunction::Args2(_) => 2,
            HostFunction::Args3(_) => 3,
            HostFunction::Args4(_) => 4,
            HostFunction::Args5(_) => 5,
            HostFunction::Args6(_) => 6,
            HostFunction::Args7(_) => 7,
            HostFunction::Args8(_) => 8,
        }
    }

    /// Where it lies.
    pub fn address(&self) -> usize {
        match *self {
            HostFunction::Args0(f) => f as usize,
            HostFunction::Args1(f) => f as usize,
            HostFunction::Args2(f) => f as usize,
            HostFunction::Args3(f) => f as usize,
            HostFunction::Args4(f) => f as usize,
            HostFunction::Args5(f) => f as usize,
            HostFunction::Args6(f) => f as usize,
            HostFunction::Args7(f) => f as usize,
            HostFunction::Args8(f) => f as usize,
        }
    }

    /// Calls it with the values `args`; `None` when it takes another number of arguments.
    pub fn call(&self, args: &[u64]) -> Option<i64> {
        let mut signed = [0; 8];
        for (signed, arg) in signed.iter_mut().zip(args) {
            *signed = arg.cast_signed();
        }
        if args.len() != usize::from(self.argc()) {
            return None;
        }
        let [a, b, c, d, e, g, h, i] = signed;
        Some(match *self {
            HostFunction::Args0(f) => f(),
            HostFunction::Args1(f) => f(a),
            HostFunction::Args2(f) => f(a, b),
            HostFunction::Args3(f) => f(a, b, c),
            HostFunction::Args4(f) => f(a, b, c, d),
            HostFunction::Args5(f) => f(a, b, c, d, e),
            HostFunction::Args6(f) => f(a, b, c, d, e, g),
            HostFunction::Args7(f) => f(a, b, c, d, e, g, h),
            HostFunction::Args8(f) => f(a, b, c, d, e, g, h, i),
        })
    }
}

/// A runtime function of the host: gets values and the objects of the call, and returns a value.
///
/// It must not unwind. An error ends the program.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeFunction {
    /// Its name, for the host alone: programs refer to its index.
    pub name: &'static str,
    /// How many arguments it takes.
    pub argc: u16,
    /// The function.
    pub call: fn(&mut dyn Objects, &[Value]) -> Result<Value, Cause>,
}

/// The position of an index in a list that is sorted by index, or that at which it is inserted.
fn place<F>(list: &[(u16, F)], index: u16) -> Result<usize, usize> {
    list.binary_search_by_key(&index, |(index, _)| *index)
}

fn set<F>(list: &mut Vec<(u16, F)>, index: u16, function: F) -> Result<(), AllocError> {
    match place(list, index) {
        Ok(place) => {
            if let Some((_, old)) = list.get_mut(place) {
                *old = function;
            }
        }
        Err(place) => {
            try_reserve(list, 1)?;
            list.insert(place, (index, function));
        }
    }
    Ok(())
}

/// The host functions that a program may call.
#[derive(Clone, Debug, Default)]
pub struct HostTable {
    /// By index.
    functions: Vec<(u16, HostFunction)>,
    /// By index.
    runtime: Vec<(u16, RuntimeFunction)>,
}

impl HostTable {
    /// No functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function under an index, in place of the one that was there.
    ///
    /// # Errors
    /// No memory; the table is unchanged.
    pub fn set(&mut self, index: u16, function: HostFunction) -> Result<(), AllocError> {
        set(&mut self.functions, index, function)
    }

    /// The function with this index.
    pub fn get(&self, index: u16) -> Option<HostFunction> {
        let (_, function) = self.functions.get(place(&self.functions, index).ok()?)?;
        Some(*function)
    }

    /// Registers a runtime function under an index, in place of the one that was there.
    ///
    /// # Errors
    /// No memory; the table is unchanged.
    pub fn set_runtime(&mut self, index: u16, function: RuntimeFunction) -> Result<(), AllocError> {
        set(&mut self.runtime, index, function)
    }

    /// The runtime function with this index.
    pub fn runtime(&self, index: u16) -> Option<RuntimeFunction> {
        let (_, function) = self.runtime.get(place(&self.runtime, index).ok()?)?;
        Some(*function)
    }

    /// The lowest index of a runtime function with this name.
    pub fn runtime_index(&self, name: &str) -> Option<u16> {
        let found = self.runtime.iter().find(|(_, function)| function.name == name);
        found.map(|&(index, _)| index)
    }

    /// `clone`, which may be refused memory.
    #[cfg(feature = "kernel")]
    pub(crate) fn try_clone(&self) -> Result<Self, AllocError> {
        let functions = try_collect(self.functions.iter().copied())?;
        Ok(Self { functions, runtime: try_collect(self.runtime.iter().copied())? })
    }

    /// Whether everything that a program calls is there. A host function takes the place of a runtime function that is
    /// not, because files number both in one table.
    ///
    /// # Errors
    /// The first call, by index, that is to no function, or to one of another number of arguments.
    pub fn link(&self, program: &Program<'_>) -> Result<(), HostLinkError> {
        program.host_calls().try_for_each(|call| {
            let argc = self.get(call.index).map(|function| function.argc());
            check(call, argc, false)
        })?;
        program.runtime_calls().try_for_each(|call| {
            let runtime = self.runtime(call.index).map(|function| function.argc);
            let argc = runtime.or_else(|| Some(self.get(call.index)?.argc()));
            check(call, argc, true)
        })
    }
}

fn check(call: HostCall, argc: Option<u16>, is_runtime: bool) -> Result<(), HostLinkError> {
    if argc == Some(call.argc) { Ok(()) } else { Err(HostLinkError { call, argc, is_runtime }) }
}

/// A call to the host that leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostLinkError {
    /// The call.
    pub call: HostCall,
    /// How many arguments the function takes; `None` when there is none.
    pub argc: Option<u16>,
    /// Whether the call is one of a runtime function.
    pub is_runtime: bool,
}

impl fmt::Display for HostLinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostCall { index, argc, function, at } = self.call;
        let (opcode, kind) =
            if self.is_runtime { ("CALL_RUNTIME", "runtime") } else { ("CALL_SFFI", "host") };
        write!(f, "function {function}: {opcode} ")?;
        match self.argc {
            Some(takes) => write!(
                f,
                "passes {argc} argument{} to {kind} function {index}, which takes {takes}",
                plural::s(argc)
            )?,
            None => write!(f, "calls {kind} function {index}, which is not there")?,
        }
        if self.argc.is_none() && index == 0 && !self.is_runtime {
            f.write_str(
                ": the compiler of such files writes every call between functions so, and says nowhere which function is meant",
            )?;
        }
        write!(f, ", at offset 0x{at:x}")
    }
}

impl core::error::Error for HostLinkError {}

/// The error of a host function, until the call of its thread takes it.
#[derive(Debug, Default)]
struct Report {
    /// The thread that has reported it; 0 for none.
    thread: AtomicU32,
    error: AtomicU32,
}

/// Reports of this many threads, and those of more threads behind them.
#[derive(Debug, Default)]
struct Reports {
    reports: [Report; 16],
    more: Once<Box<Reports>>,
}

impl Reports {
    const fn new() -> Self {
        let reports =
            [const { Report { thread: AtomicU32::new(0), error: AtomicU32::new(0) } }; 16];
        Self { reports, more: Once::new() }
    }

    fn iter(&self) -> impl Iterator<Item = &Report> {
        let tables = iter::successors(Some(self), |table| table.more.get().map(Box::as_ref));
        tables.flat_map(|table| &table.reports)
    }
}

/// The thread that calls, as a number other than 0.
#[cfg(feature = "kernel")]
fn current_thread() -> u32 {
    thread_id().cast_unsigned()
}

/// Without the kernel, threads have no numbers: programs that they run at the same time need signals of their own.
#[cfg(not(feature = "kernel"))]
fn current_thread() -> u32 {
    1
}

/// What the host tells a running program, from another thread or from a host function.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Signals {
    interrupt: AtomicU32,
    /// How many of `reports` have a thread: calls that succeed read nothing else.
    reported: AtomicU32,
    reports: Reports,
}

impl Signals {
    /// Where the words are, for compiled code.
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), feature = "kernel"))]
    pub(crate) const OFFSETS: [usize; 2] =
        [core::mem::offset_of!(Signals, interrupt), core::mem::offset_of!(Signals, reported)];

    /// Nothing told.
    pub const fn new() -> Self {
        let (interrupt, reported) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { interrupt, reported, reports: Reports::new() }
    }

    /// Makes what runs stop at its next jump backwards or call, and everything that is called later,
    /// until [`Signals::resume`].
    pub fn interrupt(&self) {
        self.interrupt.store(1, Ordering::Relaxed);
    }

    /// Takes [`Signals::interrupt`] back.
    pub fn resume(&self) {
        self.interrupt.store(0, Ordering::Relaxed);
    }

    /// Whether what runs is to stop.
    #[inline]
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) != 0
    }

    /// Reports from inside a host function, on the thread that called it, that it has failed: the call of the
    /// program on this thread stops with [`Cause::Host`]. An `error` of 0 reports nothing.
    ///
    /// # Errors
    /// [`AllocError`], and nothing is reported: 16 other threads or more have reported an error and not returned from their
    /// host functions, and there is no memory for one more. The call goes on with the result of the host function, which can
    /// [interrupt](Self::interrupt) all calls instead.
    pub fn report(&self, error: u32) -> Result<(), AllocError> {
        if error == 0 {
            return Ok(());
        }
        let thread = current_thread();
        let is_claimed = |report: &&Report| {
            // Acquire: the thread that had it has read its error.
            let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
            report.thread.compare_exchange(0, thread, acquire, relaxed).is_ok()
        };
        if let Some(own) = self.report_of(thread) {
            own.error.store(error, Ordering::Relaxed);
            return Ok(());
        }
        let mut reports = &self.reports;
        loop {
            if let Some(free) = reports.reports.iter().find(is_claimed) {
                free.error.store(error, Ordering::Relaxed);
                self.reported.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            reports = reports.more.try_call_once(|| try_box(Reports::new()))?;
        }
    }

    /// The error that this thread has reported; it is forgotten.
    #[inline]
    pub fn take_error(&self) -> Option<u32> {
        if self.reported.load(Ordering::Relaxed) == 0 { None } else { self.take_report() }
    }

    #[cold]
    #[inline(never)]
    fn take_report(&self) -> Option<u32> {
        let report = self.report_of(current_thread())?;
        let error = report.error.load(Ordering::Relaxed);
        self.reported.fetch_sub(1, Ordering::Relaxed);
        report.thread.store(0, Ordering::Release);
        Some(error)
    }

    fn report_of(&self, thread: u32) -> Option<&Report> {
        self.reports.iter().find(|report| report.thread.load(Ordering::Relaxed) == thread)
    }

    /// The word that is not 0 when what runs is to stop, for code that looks at it itself.
    pub fn interrupt_word(&self) -> &AtomicU32 {
        &self.interrupt
    }

    /// The word that is not 0 when a host function of some thread has failed, for code that looks at it itself and then
    /// at [`Signals::take_error`].
    pub fn error_word(&self) -> &AtomicU32 {
        &self.reported
    }
}
