//! Errors of the manager.

use core::fmt;

use thiserror::Error;

use super::backend::BackendError;
use super::record::FunctionRecord;
use super::unit::UnitError;
use crate::alloc_util::AllocError;
use crate::ir::{Scalar, TrapCode};
use crate::link::Name;
use crate::plural;

/// A trap during a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapReport {
    /// Which error: 1 for a division by zero, 2 for an overflow, 3 for the end of the stack; others are those of the
    /// front end.
    pub code: u32,
    /// The line of the source location, or else the offset of the instruction in its function.
    pub at: u32,
    /// The function that trapped; `None` if it is not one of the manager.
    pub function: Option<Name>,
    /// The address of that function, by which its module may be found.
    pub address: u64,
    /// What a comparison that traps compared, if these were 64-bit integers; 0 otherwise.
    pub operands: [u64; 2],
    /// What the compiler recorded of the version that trapped, if anything.
    pub record: Option<FunctionRecord>,
}

impl fmt::Display for TrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at {}", TrapCode(self.code), self.at)?;
        match &self.function {
            Some(function) => write!(f, " in function `{function}`"),
            None => Ok(()),
        }
    }
}

/// Why a manager refuses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManagerError {
    /// The functions are no unit.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The back end cannot compile the unit.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A name that was not compiled.
    #[error("no function `{0}`")]
    NoFunction(Name),
    /// A function that code in use calls is replaced by one of another signature.
    #[error(
        "function `{0}` has callers, so that it cannot be replaced by one of another signature"
    )]
    Signature(Name),
    /// The handle of a function that was replaced by one of another signature.
    #[error("function `{0}` was replaced by one of another signature")]
    Stale(Name),
    /// A callee of another unit that has another signature than the caller states.
    #[error("function `{function}` calls `{callee}`, which has another signature")]
    CalleeSignature {
        /// The name of the caller.
        function: Name,
        /// The name of the callee.
        callee: Name,
    },
    /// A call with another number of arguments than of parameters.
    #[error(
        "function `{function}` takes {expected} argument{}, and {given} {} given",
        plural::s(*expected),
        plural::is(*given)
    )]
    ArgumentCount {
        /// The name of the function.
        function: Name,
        /// Arguments given.
        given: usize,
        /// Parameters.
        expected: usize,
    },
    /// An argument of another type than the parameter.
    #[error("argument {number} of function `{function}` must be of type {expected}")]
    Argument {
        /// The name of the function.
        function: Name,
        /// The argument, from 1.
        number: usize,
        /// The type of the parameter.
        expected: Scalar,
    },
    /// More code than [`max_code_bytes`](super::ManagerOptions::max_code_bytes).
    #[error("the code would have {needed} bytes, of at most {limit}")]
    CodeLimit {
        /// In bytes.
        limit: usize,
        /// In bytes.
        needed: usize,
    },
    /// The function trapped.
    #[error("{0}")]
    Trap(TrapReport),
    /// The call was not made.
    #[error("{0}")]
    Call(crate::trap::TrapError),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}
