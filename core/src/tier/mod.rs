//! Programs of bytecode, ready to be called.
//!
//! An [`Engine`] owns a verified program, the host functions that it calls and what it needs to run. It
//! promises that whatever the program does, the host gets a result or a [`CallError`]: no native stack
//! overflows, and what never ends can be stopped from another thread with [`Signals::interrupt`].

#[cfg(all(target_arch = "x86_64", feature = "kernel"))]
pub mod native;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::jit::host::{HostLinkError, HostTable, Signals};
use crate::jit::interpret::{Alone, Environment, Interpreter, Room};
use crate::jit::trap::{DEFAULT_BUDGET, MAX_DEPTH, Trap};
use crate::jit::verify::Program;

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

/// A program that can be called.
#[derive(Debug)]
pub struct Engine<'c> {
    program: Program<'c>,
    hosts: HostTable,
    signals: Arc<Signals>,
    interpreter: Interpreter,
    args: Vec<u64>,
    budget: u64,
}

impl<'c> Engine<'c> {
    /// An engine for `program`, which calls functions of `hosts`.
    ///
    /// # Errors
    /// The first host function that is missing or takes another number of arguments.
    pub fn new(program: Program<'c>, hosts: HostTable) -> Result<Self, HostLinkError> {
        hosts.link(&program)?;
        let signals = Arc::new(Signals::new());
        let interpreter = Interpreter::new();
        Ok(Self { program, hosts, signals, interpreter, args: Vec::new(), budget: DEFAULT_BUDGET })
    }

    /// The program.
    pub fn program(&self) -> &Program<'c> {
        &self.program
    }

    /// What stops it from another thread, and what a host function reports its errors with.
    pub fn signals(&self) -> Arc<Signals> {
        Arc::clone(&self.signals)
    }

    /// Sets how many bytes the large activations of a call may take together
    /// ([`activation_charge`](crate::jit::trap::activation_charge)); before, 1 MiB.
    pub fn set_budget(&mut self, bytes: u64) {
        self.budget = bytes;
    }

    /// Calls a function and returns its result: an integer, the bits of a float, 0 or 1 for a bool, or
    /// 0 for nil ([`Program::summary`] tells which).
    ///
    /// # Errors
    /// A function that does not exist, another number of arguments than it takes, or what stopped the
    /// program.
    pub fn call(&mut self, function: u32, args: &[i64]) -> Result<i64, CallError> {
        let found = self.program.function(function).ok_or(CallError::NoFunction { function })?;
        let (given, params) = (args.len(), found.params);
        if given != usize::from(params) {
            return Err(CallError::Arguments { function, given, params });
        }
        self.args.clear();
        self.args.extend(args.iter().map(|arg| arg.cast_unsigned()));
        let Self { program, hosts, signals, interpreter, args, budget } = self;
        let environment = Environment { program, hosts, signals };
        let room = Room { depth: MAX_DEPTH, budget: *budget };
        let result = interpreter.call(environment, &mut Alone, function, args, room);
        result.map(u64::cast_signed).map_err(CallError::Trap)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;
    use crate::format::functions::Functions;
    use crate::jit::host::HostFunction;
    use crate::jit::verify::{FunctionCode, Verifier, functions_of};

    const SAMPLE: &[u8] = include_bytes!("../../../tests/samples/bcod.smf");

    #[test]
    fn calls_the_functions_of_the_sample() {
        let table = Functions::parse(&SAMPLE[0xd0..0x16a], &SAMPLE[0x16a..0x175], 0xd0).unwrap();
        let program = Verifier::new().verify(functions_of(&table).unwrap()).unwrap();
        let mut engine = Engine::new(program, HostTable::new()).unwrap();
        assert_eq!(engine.call(0, &[]), Ok(42));
        assert_eq!(engine.call(1, &[100]), Ok(5050));
        assert_eq!(engine.call(1, &[-1]), Ok(0));
        let (function, given, params) = (1, 2, 1);
        assert_eq!(engine.call(1, &[1, 2]), Err(CallError::Arguments { function, given, params }));
        assert_eq!(engine.call(2, &[]), Err(CallError::NoFunction { function: 2 }));
        engine.signals().interrupt();
        let error = engine.call(1, &[5]).unwrap_err();
        assert_eq!(error.to_string(), "interrupted, in function 1 at offset 0x0");
        engine.signals().resume();
        assert_eq!(engine.call(1, &[5]), Ok(15));
    }

    extern "C" fn forty() -> i64 {
        40
    }

    #[test]
    fn wants_the_host_functions_that_are_called() {
        // CALL_SFFI 0, 0; RET 0.
        let code = [0x50, 0, 0, 0, 0, 0, 0x44, 0, 0, 0];
        let program = || {
            let function = FunctionCode { code: &code, params: 0, locals: 0 };
            Verifier::new().verify(vec![function]).unwrap()
        };
        let missing = Engine::new(program(), HostTable::new()).unwrap_err().to_string();
        assert!(missing.contains("every call between functions"), "{missing}");
        let mut hosts = HostTable::new();
        hosts.set(0, HostFunction::Args0(forty));
        assert_eq!(Engine::new(program(), hosts.clone()).unwrap().call(0, &[]), Ok(40));
        extern "C" fn more(one: i64) -> i64 {
            one
        }
        hosts.set(0, HostFunction::Args1(more));
        let other = Engine::new(program(), hosts).unwrap_err().to_string();
        assert!(other.contains("which takes 1"), "{other}");
    }
}
