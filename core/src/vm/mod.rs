//! The execution engine of bytecode: interpreter, compiler, and tier-up between them.
//!
//! An [`Engine`] owns a verified program, the host functions that it calls, and its execution state. Whatever
//! the program does, the host gets a result or a [`CallError`]: the native stack does not overflow if its
//! [bounds](set_stack_bounds) are known or 2 MiB of it are left, and another thread can stop an endless loop
//! with [`Signals::interrupt`]. A host function that calls a program starts a call with limits of its own.
//! If the stack bounds are known, nested calls share the end of the stack; otherwise the host limits the
//! nesting.
//!
//! [`Tiers`] selects interpretation or compilation. Results and errors are the same in all tiers. A call
//! continues in compiled code once its callee is compiled; a loop does once its function is compiled
//! (on-stack replacement). Compiled code calls the interpreter for a function that is not compiled. Threads
//! may call concurrently; each function is compiled once.

mod compiler;
mod error;
mod interpreter_pool;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod native;
mod observer;
mod stack;
mod tiers;

use alloc::boxed::Box;

pub use compiler::{Compiler, X64Compiler};
pub use error::CodeError;
pub use observer::{CodeObserver, EngineCode, PlacedCode, Registration, TrapHook};
pub use stack::HOST_STACK;
pub use tiers::{DEFAULT_THRESHOLD, NEVER, Tiers};

pub use crate::memory::{StackBounds, set_stack_bounds};

use crate::alloc_util::try_collect;
use crate::bytecode::host::{HostLinkError, HostTable, Signals};
use crate::bytecode::interpret::{Environment, NoTierUp, StackSpace};
use crate::bytecode::objects::{Objects, Value};
use crate::bytecode::verify::Program;
use crate::memory::code_alloc::CodeMemory;
use crate::memory::lock::ProcessId;
use crate::plural;
use crate::trap::bytecode::{Cause, DEFAULT_BUDGET, MAX_DEPTH, Trap};
use interpreter_pool::InterpreterPool;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use native::Native;

/// The most arguments that a call from the host passes without allocating.
const INLINE_ARGS: usize = 16;

/// The reason why a call from the host did not return a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The program has no function with this index.
    #[error("there is no function {function}")]
    NoFunction {
        /// The index.
        function: u32,
    },
    /// The number of arguments differs from the number of parameters.
    #[error(
        "function {function} takes {params} argument{}, and {given} {} given",
        plural::s(*params), plural::is(*given)
    )]
    Arguments {
        /// The function.
        function: u32,
        /// The number of arguments.
        given: usize,
        /// The number of parameters.
        params: u16,
    },
    /// The program stopped.
    #[error(transparent)]
    Trap(Trap),
}

/// The reason why an engine cannot be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A host function is missing, or takes another number of arguments.
    #[error(transparent)]
    Host(#[from] HostLinkError),
    /// The compiler cannot be used.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// A program that is interpreted.
#[derive(Debug)]
struct Interpreted<'c> {
    program: Program<'c>,
    hosts: HostTable,
    signals: Signals,
    interpreters: InterpreterPool,
}

#[derive(Debug)]
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(clippy::large_enum_variant, reason = "an engine is made once and stays in its place")
)]
enum Inner<'c> {
    Interpreted(Interpreted<'c>),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    Native(Box<Native<'c>>),
}

/// A program that can be called.
#[derive(Debug)]
pub struct Engine<'c> {
    inner: Inner<'c>,
    budget: u64,
}

/// What an engine that compiles does, or one that only interprets.
macro_rules! native {
    ($inner:expr, $native:ident => $compiles:expr, else $interprets:expr) => {
        match $inner {
            Inner::Interpreted(_) => $interprets,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Inner::Native($native) => $compiles,
        }
    };
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

    /// An engine that runs `program` in the given tiers, with code in `memory`.
    ///
    /// # Errors
    /// As [`new`](Self::new), no memory, or no compiler for this machine.
    pub fn with_tiers(
        program: Program<'c>,
        hosts: HostTable,
        tiers: Tiers,
        memory: &CodeMemory,
    ) -> Result<Self, EngineError> {
        let Tiers::Compile { threshold } = tiers else { return Ok(Self::new(program, hosts)?) };
        hosts.link(&program)?;
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            let native = Native::new(program, hosts, memory.clone(), threshold)?;
            Ok(Self { inner: Inner::Native(native), budget: DEFAULT_BUDGET })
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            let _ = (memory, threshold);
            Err(CodeError::NoCompiler.into())
        }
    }

    /// The program.
    pub fn program(&self) -> &Program<'c> {
        match &self.inner {
            Inner::Interpreted(interpreted) => &interpreted.program,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Inner::Native(native) => native.program(),
        }
    }

    /// The signals that interrupt the engine from another thread and report errors of host functions.
    pub fn signals(&self) -> &Signals {
        match &self.inner {
            Inner::Interpreted(interpreted) => &interpreted.signals,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Inner::Native(native) => native.signals(),
        }
    }

    /// Sets the observer of code that is compiled from now on. An engine that only interprets has none.
    pub fn observe(&mut self, observer: Box<dyn CodeObserver + 'c>) {
        native!(&mut self.inner, native => native.observe(observer), else drop(observer))
    }

    /// Drops the [observer](Self::observe)'s registrations of function addresses. The addresses remain valid.
    pub fn unregister(&self) {
        native!(&self.inner, native => native.unregister(), else {})
    }

    /// Bytes of machine code compiled so far.
    pub fn code_bytes(&self) -> usize {
        let mut sum = 0usize;
        self.for_each_code(|_, _, bytes| sum = sum.saturating_add(bytes));
        sum
    }

    /// Sets how many bytes the large activations of a [call](Self::call) may take together
    /// ([`activation_charge`](crate::trap::bytecode::activation_charge)); before, 1 MiB.
    pub fn set_budget(&mut self, bytes: u64) {
        self.budget = bytes;
    }

    /// Sets the compilation threshold ([`Tiers::Compile`]). Compiled functions remain compiled.
    pub fn set_threshold(&self, threshold: u32) {
        native!(&self.inner, native => native.set_threshold(threshold), else {
            let _ = threshold;
        });
    }

    /// Calls a function and returns its result: an integer, the bits of a float, 0 or 1 for a bool, or
    /// 0 for nil ([`Program::summary`] tells which). The objects that the call makes end with it.
    ///
    /// # Errors
    /// The function does not exist, the number of arguments is wrong, or the program trapped; a result that is an
    /// object is such a trap.
    pub fn call(&self, function: u32, args: &[i64]) -> Result<i64, CallError> {
        self.check_call(function, args.len())?;
        let mut few = [0; INLINE_ARGS];
        let result = match few.get_mut(..args.len()) {
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

    /// Whether there is such a function with so many parameters.
    fn check_call(&self, function: u32, given: usize) -> Result<(), CallError> {
        let found = self.program().function(function).ok_or(CallError::NoFunction { function })?;
        let params = found.params;
        match given == usize::from(params) {
            true => Ok(()),
            false => Err(CallError::Arguments { function, given, params }),
        }
    }

    /// What a call from the host may use.
    fn space(&self) -> StackSpace {
        let stack_end = stack::stack_end(self.budget);
        StackSpace { depth: MAX_DEPTH, budget: self.budget, stack_end }
    }

    fn run(&self, function: u32, args: &[u64]) -> Result<u64, Trap> {
        let space = self.space();
        match &self.inner {
            Inner::Interpreted(Interpreted { program, hosts, signals, interpreters }) => {
                let environment = Environment { program, hosts, signals };
                interpreters.call(environment, &mut NoTierUp, function, args, space)
            }
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Inner::Native(native) => native.call(function, args, space),
        }
    }

    /// Calls a function with values, whose objects belong to the host. A function that compiles takes integers.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with(
        &self,
        objects: &mut dyn Objects,
        function: u32,
        args: &[Value],
    ) -> Result<Value, CallError> {
        self.check_call(function, args.len())?;
        let space = self.space();
        let call = (function, args);
        let result = match &self.inner {
            Inner::Interpreted(Interpreted { program, hosts, signals, interpreters }) => {
                let environment = Environment { program, hosts, signals };
                interpreters.call_with(environment, objects, &mut NoTierUp, call, space)
            }
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            Inner::Native(native) => native.call_with(objects, call, space),
        };
        result.map_err(CallError::Trap)
    }

    /// Compiles a function now. Returns the address and the size in bytes of its code.
    ///
    /// # Errors
    /// No such function, no memory, or an engine that does not compile.
    pub fn compile(&self, function: u32) -> Result<(usize, usize), CodeError> {
        native!(&self.inner, native => native.compile(function), else self.interpreted(function))
    }

    /// The address of a C function that calls function `function` with its arguments and returns its result
    /// as [`call`](Self::call) does. If the call traps, the [hook](Self::on_trap) is called and the function
    /// returns 0. The address does not change and is valid as long as the engine.
    ///
    /// # Errors
    /// No such function, more than eight parameters, no memory, or an engine that does not compile.
    pub fn address(&self, function: u32) -> Result<usize, CodeError> {
        native!(&self.inner, native => native.address(function), else self.interpreted(function))
    }

    fn interpreted<T>(&self, function: u32) -> Result<T, CodeError> {
        Err(match self.program().function(function) {
            None => CodeError::NoFunction { index: function },
            Some(_) if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) => {
                CodeError::Interpreted
            }
            Some(_) => CodeError::NoCompiler,
        })
    }

    /// Whether `address` was returned by [`address`](Self::address), by a linear search.
    pub fn has_address(&self, address: usize) -> bool {
        native!(&self.inner, native => native.has_address(address), else {
            let _ = address;
            false
        })
    }

    /// Sets the hook that is called when a call through an [address](Self::address) traps, on the thread of
    /// the call.
    pub fn on_trap(&self, hook: Option<TrapHook>) {
        native!(&self.inner, native => native.on_trap(hook), else {
            let _ = hook;
        });
    }

    /// Calls `each` with the index, code address and code size in bytes of each compiled function.
    pub fn for_each_code(&self, each: impl FnMut(u32, usize, usize)) {
        native!(&self.inner, native => native.for_each_code(each), else drop(each))
    }
}

#[cfg(test)]
mod tests;
