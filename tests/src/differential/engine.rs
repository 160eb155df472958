//! What runs a program.

use super::host::Host;
use super::program::Program;

/// A way to run programs: an interpreter, or a compiler of machine code.
pub trait Engine {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// Prepares a program for calls.
    ///
    /// # Errors
    /// The limit that the program exceeds, or the operation that the engine lacks.
    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String>;
}

/// A program that is ready to be called.
pub trait Runnable {
    /// Calls function 0. A parameter of type ptr gets the address of the host's memory, whatever its argument is.
    ///
    /// Machine code cannot be stopped: an engine without a step limit is only given arguments with which the
    /// interpreter ended.
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome;
}

/// How a call of function 0 ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned these bits, those above the width of the result cleared; 0 without a result.
    Returned(u64),
    /// A trap.
    Trapped {
        /// The code.
        code: u32,
        /// The place: the line of the source location in functions that state them, else the offset of the instruction;
        /// `None` where the engine has lost it.
        at: Option<u32>,
        /// The number of that function, where the engine knows it.
        function: Option<u32>,
    },
    /// More steps than the engine allows.
    Exhausted,
    /// The program accesses memory that is not there, or does something else that machine code does not check.
    Invalid,
}
