//! Programs of bytecode, ready to be called.
//!
//! An [`Engine`] owns a verified program, the host functions that it calls and what it needs to run. It
//! promises that whatever the program does, the host gets a result or a [`CallError`]: no native stack
//! overflows where its [bounds](set_stack_bounds) are known, or while 2 MiB of it are left, and what never
//! ends can be stopped from another thread with [`Signals::interrupt`]. A function of the host that calls back
//! into a program begins a call of its own, with limits of its own. Where the bounds are known, that one ends
//! at the same end of the stack; elsewhere how deep such calls nest is for the host to limit.
//!
//! Whether functions are interpreted or compiled, and when, [`Tiers`] says. Results and errors are the
//! same in all tiers. A call goes on in compiled code as soon as the function that is called is
//! compiled, and a loop as soon as the function around it is; from compiled code to a function that is
//! not, the interpreter is entered. Threads may call at the same time; each function is compiled once.

mod error;
mod interpreter_pool;
#[cfg(target_arch = "x86_64")]
mod native;
mod stack;

use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;

pub use error::CodeError;
pub use stack::{HOST_STACK, StackBounds, set_stack_bounds};

use crate::alloc_util::{AttachResult, try_collect};
use crate::jit::host::{HostLinkError, HostTable, Signals};
use crate::jit::interpret::{Environment, NoTierUp, StackSpace};
use crate::jit::verify::Program;
use crate::memory::code_alloc::CodeMemory;
use crate::memory::lock::ProcessId;
use crate::trap::bytecode::{Cause, DEFAULT_BUDGET, MAX_DEPTH, Trap};
use interpreter_pool::InterpreterPool;
#[cfg(target_arch = "x86_64")]
use native::Native;

/// The most arguments that a call from the host passes without allocating.
const INLINE_ARGS: usize = 16;

/// What runs functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// The interpreter alone.
    Interpret,
    /// The interpreter, until a function has been called and its loops gone round so many times; then
    /// compiled code. At 0, a function is compiled before it first runs; at [`NEVER`], it never is, and has
    /// an [address](Engine::address) all the same.
    Compile {
        /// The number of times.
        threshold: u32,
    },
}

/// The threshold that nothing is hot enough for.
pub const NEVER: u32 = u32::MAX;

/// The threshold for who has no other wish: what runs less often is interpreted, and takes no memory for
/// code.
pub const DEFAULT_THRESHOLD: u32 = 200;

impl Tiers {
    /// The interpreter alone, but with addresses of functions wherever there can be any.
    pub const UNCOMPILED: Tiers = if cfg!(target_arch = "x86_64") {
        Tiers::Compile { threshold: NEVER }
    } else {
        Tiers::Interpret
    };
}

impl Default for Tiers {
    /// Both tiers where there is a compiler, and the interpreter elsewhere.
    fn default() -> Self {
        if cfg!(target_arch = "x86_64") {
            Tiers::Compile { threshold: DEFAULT_THRESHOLD }
        } else {
            Tiers::Interpret
        }
    }
}

/// A function that is told of what stopped a call through an [address](Engine::address).
pub type TrapHook = fn(Trap);

/// What an observer wants to have kept as long as the code that it was told of; dropped before that goes.
pub type Registration = Option<Box<dyn Send + Sync>>;

/// Who is told of machine code as an engine makes it, for profilers, debuggers, and whoever decides what may
/// be called. Told on the thread that wants the code, with no lock held. It must not call the engine.
pub trait CodeObserver: Send + Sync {
    /// A function was compiled, to code that no caller has found yet.
    fn compiled(&self, function: u32, code: Range<usize>) -> Registration;

    /// A function has been given its [address](Engine::address), where `code` begins.
    ///
    /// # Errors
    /// No memory; it has no address then.
    fn entered(&self, function: u32, code: Range<usize>) -> AttachResult;
}

/// Why a call from the host did not return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The program has no function with this index.
    NoFunction {
        /// The index.
        function: u32,
    },
    /// Not as many arguments as the function takes.
    Arguments {
        /// The function.
        function: u32,
        /// How many there were.
        given: usize,
        /// How many it takes.
        params: u16,
    },
    /// The program stopped.
    Trap(Trap),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CallError::NoFunction { function } => write!(f, "there is no function {function}"),
            CallError::Arguments { function, given, params } => {
                write!(f, "function {function} takes {params} arguments, and {given} are given")
            }
            CallError::Trap(trap) => trap.fmt(f),
        }
    }
}

impl core::error::Error for CallError {}

/// Why there is no engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// A host function is missing, or takes another number of arguments.
    Host(HostLinkError),
    /// There is no compiled code.
    Code(CodeError),
}

impl From<HostLinkError> for EngineError {
    fn from(error: HostLinkError) -> Self {
        EngineError::Host(error)
    }
}

impl From<CodeError> for EngineError {
    fn from(error: CodeError) -> Self {
        EngineError::Code(error)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Host(error) => error.fmt(f),
            EngineError::Code(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EngineError {}

/// A program that is interpreted.
#[derive(Debug)]
struct Interpreted<'c> {
    program: Program<'c>,
    hosts: HostTable,
    signals: Signals,
    interpreters: InterpreterPool,
}

#[derive(Debug)]
enum Inner<'c> {
    Interpreted(Interpreted<'c>),
    #[cfg(target_arch = "x86_64")]
    Native(Box<Native<'c>>),
}

/// A program that can be called.
#[derive(Debug)]
pub struct Engine<'c> {
    inner: Inner<'c>,
    budget: u64,
}

impl<'c> Engine<'c> {
    /// An engine that interprets `program`, which calls functions of `hosts`.
    ///
    /// # Errors
    /// The first host function that is missing or takes another number of arguments.
    pub fn new(program: Program<'c>, hosts: HostTable) -> Result<Self, HostLinkError> {
        hosts.link(&program)?;
        let (signals, interpreters) = (Signals::new(), InterpreterPool::new(ProcessId::current()));
        let inner = Inner::Interpreted(Interpreted { program, hosts, signals, interpreters });
        Ok(Self { inner, budget: DEFAULT_BUDGET })
    }

    /// An engine that runs `program` as `tiers` say, with code in `memory`.
    ///
    /// # Errors
    /// As [`new`](Self::new); no memory; or a machine that nothing can be compiled for.
    pub fn with_tiers(
        program: Program<'c>,
        hosts: HostTable,
        tiers: Tiers,
        memory: &CodeMemory,
    ) -> Result<Self, EngineError> {
        let Tiers::Compile { threshold } = tiers else { return Ok(Self::new(program, hosts)?) };
        hosts.link(&program)?;
        #[cfg(target_arch = "x86_64")]
        {
            let native = Native::new(program, hosts, memory.clone(), threshold)?;
            Ok(Self { inner: Inner::Native(native), budget: DEFAULT_BUDGET })
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (memory, threshold);
            Err(CodeError::NoCompiler.into())
        }
    }

    /// The program.
    pub fn program(&self) -> &Program<'c> {
        match &self.inner {
            Inner::Interpreted(interpreted) => &interpreted.program,
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.program(),
        }
    }

    /// What stops it from another thread, and what a host function reports its errors with.
    pub fn signals(&self) -> &Signals {
        match &self.inner {
            Inner::Interpreted(interpreted) => &interpreted.signals,
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.signals(),
        }
    }

    /// Has `observer` told of all code that is made from now on. One that interprets alone makes none.
    pub fn observe(&mut self, observer: Box<dyn CodeObserver + 'c>) {
        match &mut self.inner {
            Inner::Interpreted(_) => drop(observer),
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.observe(observer),
        }
    }

    /// Drops what the [observer](Self::observe) has returned for functions that were given an address. They
    /// can still be called.
    pub fn unregister(&self) {
        match &self.inner {
            Inner::Interpreted(_) => {}
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.unregister(),
        }
    }

    /// Bytes of machine code that were made of the program up to now.
    pub fn code_bytes(&self) -> usize {
        let mut sum = 0usize;
        match &self.inner {
            Inner::Interpreted(_) => {}
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => {
                native.for_each_code(|_, _, bytes| sum = sum.saturating_add(bytes));
            }
        }
        sum
    }

    /// Sets how many bytes the large activations of a [call](Self::call) may take together
    /// ([`activation_charge`](crate::trap::bytecode::activation_charge)); before, 1 MiB.
    pub fn set_budget(&mut self, bytes: u64) {
        self.budget = bytes;
    }

    /// Changes how hot a function must be to be compiled ([`Tiers::Compile`]); one that is compiled
    /// stays so.
    pub fn set_threshold(&self, threshold: u32) {
        match &self.inner {
            Inner::Interpreted(_) => {}
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.set_threshold(threshold),
        }
        let _ = threshold;
    }

    /// Calls a function and returns its result: an integer, the bits of a float, 0 or 1 for a bool, or
    /// 0 for nil ([`Program::summary`] tells which).
    ///
    /// # Errors
    /// A function that does not exist, another number of arguments than it takes, or what stopped the
    /// program.
    pub fn call(&self, function: u32, args: &[i64]) -> Result<i64, CallError> {
        let found = self.program().function(function).ok_or(CallError::NoFunction { function })?;
        let (given, params) = (args.len(), found.params);
        if given != usize::from(params) {
            return Err(CallError::Arguments { function, given, params });
        }
        let mut few = [0; INLINE_ARGS];
        let result = match few.get_mut(..given) {
            Some(place) => {
                for (place, arg) in place.iter_mut().zip(args) {
                    *place = arg.cast_unsigned();
                }
                self.run(function, place)
            }
            None => {
                let all = try_collect(args.iter().map(|arg| arg.cast_unsigned()));
                let none = |none| Trap { cause: Cause::from(none), function, at: 0 };
                all.map_err(none).and_then(|all| self.run(function, &all))
            }
        };
        result.map(u64::cast_signed).map_err(CallError::Trap)
    }

    fn run(&self, function: u32, args: &[u64]) -> Result<u64, Trap> {
        let stack_end = stack::stack_end(self.budget);
        let space = StackSpace { depth: MAX_DEPTH, budget: self.budget, stack_end };
        match &self.inner {
            Inner::Interpreted(Interpreted { program, hosts, signals, interpreters }) => {
                let environment = Environment { program, hosts, signals };
                interpreters.call(environment, &mut NoTierUp, function, args, space)
            }
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.call(function, args, space),
        }
    }

    /// Compiles a function now, and gives where its code is, for who names it: address and bytes.
    ///
    /// # Errors
    /// No such function, no memory, or an engine that does not compile.
    pub fn compile(&self, function: u32) -> Result<(usize, usize), CodeError> {
        match &self.inner {
            Inner::Interpreted(_) => self.interpreted(function),
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.compile(function),
        }
    }

    /// A function of the C convention that calls function `function`, compiled or not, with its
    /// arguments, and returns its result as [`call`](Self::call) does. When the call is stopped it
    /// returns 0, after the [hook](Self::on_trap) was told. The address is the same every time, and valid
    /// as long as the engine.
    ///
    /// # Errors
    /// No such function, more than eight parameters, no memory, or an engine that does not compile.
    pub fn address(&self, function: u32) -> Result<usize, CodeError> {
        match &self.inner {
            Inner::Interpreted(_) => self.interpreted(function),
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.address(function),
        }
    }

    fn interpreted<T>(&self, function: u32) -> Result<T, CodeError> {
        Err(match self.program().function(function) {
            None => CodeError::NoFunction { index: function },
            Some(_) if cfg!(target_arch = "x86_64") => CodeError::Interpreted,
            Some(_) => CodeError::NoCompiler,
        })
    }

    /// Whether this is the address that one of the functions was [given](Self::address). Takes time in
    /// proportion to how many were.
    pub fn has_address(&self, address: usize) -> bool {
        let _ = address;
        match &self.inner {
            Inner::Interpreted(_) => false,
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.has_address(address),
        }
    }

    /// Has `hook` called, on the thread of the call, when one through an [address](Self::address) is
    /// stopped.
    pub fn on_trap(&self, hook: Option<TrapHook>) {
        match &self.inner {
            Inner::Interpreted(_) => {}
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.on_trap(hook),
        }
        let _ = hook;
    }

    /// Shows each function that is compiled: its index, and the address and the bytes of its code.
    pub fn for_each_code(&self, each: impl FnMut(u32, usize, usize)) {
        match &self.inner {
            Inner::Interpreted(_) => drop(each),
            #[cfg(target_arch = "x86_64")]
            Inner::Native(native) => native.for_each_code(each),
        }
    }
}

#[cfg(test)]
mod tests;
