//! The limits of a running bytecode program and the traps that end it.
//!
//! The interpreter and compiled code share these limits, so a program stops at the same instruction in both.

use thiserror::Error;

use crate::alloc_util::AllocError;

/// The maximum depth of an operand stack, in values. A function that needs more cannot be called.
pub const MAX_STACK_DEPTH: u32 = 10_000;

/// The maximum number of nested activations.
pub const MAX_DEPTH: u32 = 1_000;

/// The maximum bytes of stack that the uncharged activations of one call take together.
#[cfg(feature = "kernel")]
pub(crate) const SMALL_ACTIVATIONS: u64 = MAX_DEPTH as u64 * FREE;

/// The fixed stack cost of an activation, in bytes.
const ACTIVATION: u64 = 128;

/// Activations that cost at most this many bytes are not charged to the budget: [`MAX_DEPTH`] bounds them.
const FREE: u64 = 1024;

/// The default stack budget of one call, in bytes.
pub const DEFAULT_BUDGET: u64 = 1 << 20;

/// The maximum bytes of stack of one activation of a function with `locals` locals and an operand stack of at most
/// `max_stack_depth` values, arguments and return address included.
pub const fn activation_cost(locals: u16, max_stack_depth: u32) -> u64 {
    8 * (locals as u64 + max_stack_depth as u64) + ACTIVATION
}

/// The budget that such an activation is charged, in bytes: its [cost](activation_cost), or 0 for a small one.
pub const fn activation_charge(locals: u16, max_stack_depth: u32) -> u64 {
    let cost = activation_cost(locals, max_stack_depth);
    if cost > FREE { cost } else { 0 }
}

/// Why a bytecode program stopped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// DIV or MOD by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// More than [`MAX_DEPTH`] activations.
    #[error("more than {MAX_DEPTH} calls inside each other")]
    CallDepth,
    /// An operand stack deeper than [`MAX_STACK_DEPTH`], activations that exceed the budget, or too little native
    /// stack left on the thread.
    #[error("more values than the stack may hold, or than the thread has stack for")]
    StackLimit,
    /// The host interrupted the program.
    #[error("interrupted")]
    Interrupted,
    /// A host function reported this error code, which is not 0.
    #[error("the host function reports error {0}")]
    Host(u32),
    /// The interpreter could not allocate memory.
    #[error("no memory to interpret it")]
    OutOfMemory,
    /// An operation on a value whose kind is known at run time alone, or on an object.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl From<AllocError> for Cause {
    fn from(_: AllocError) -> Self {
        Cause::OutOfMemory
    }
}

/// What a value is at run time; the kinds of objects are among them.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueKind {
    /// No information.
    #[error("nil")]
    Nil,
    /// A truth value.
    #[error("a bool")]
    Bool,
    /// An integer of 64 bits.
    #[error("an i64")]
    I64,
    /// A float of 64 bits.
    #[error("an f64")]
    F64,
    /// An integer or a float.
    #[error("a number")]
    Number,
    /// A function of the program.
    #[error("a function")]
    Function,
    /// An array.
    #[error("an array")]
    Array,
    /// A tuple.
    #[error("a tuple")]
    Tuple,
    /// A dictionary.
    #[error("a dictionary")]
    Dict,
    /// A string.
    #[error("a string")]
    Text,
    /// A variant of an enumeration.
    #[error("a variant")]
    Variant,
    /// A block of memory.
    #[error("a block")]
    Block,
    /// An object that has elements.
    #[error("a collection")]
    Collection,
    /// A value that may be the key of a dictionary.
    #[error("a key")]
    Key,
    /// An object of any kind.
    #[error("an object")]
    Object,
}

impl ValueKind {
    /// All of them, in the order of their codes.
    const ALL: [Self; 15] = [
        Self::Nil,
        Self::Bool,
        Self::I64,
        Self::F64,
        Self::Number,
        Self::Function,
        Self::Array,
        Self::Tuple,
        Self::Dict,
        Self::Text,
        Self::Variant,
        Self::Block,
        Self::Collection,
        Self::Key,
        Self::Object,
    ];
}

/// Why an operation on a value or an object failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueError {
    /// A value of another kind than the operation takes.
    #[error("needs {needed} and finds {found}")]
    WrongKind {
        /// What the operation takes.
        needed: ValueKind,
        /// What the value is.
        found: ValueKind,
    },
    /// An index, an offset or a field that the object does not have.
    #[error("an index outside of the object")]
    IndexOutOfRange,
    /// A handle that names no object.
    #[error("a handle that names no object")]
    BadHandle,
    /// No memory for an object, or more objects than their owner permits.
    #[error("no memory for the object")]
    OutOfMemory,
    /// An indirect call of a function that the program does not have.
    #[error("a call of a function that does not exist")]
    NoFunction,
    /// An indirect call with another number of arguments than the function has parameters.
    #[error("a call with another number of arguments than the function has parameters")]
    Arguments,
    /// The result of a call is an object, which ends with the call that made it.
    #[error("the result is an object, which ends with the call")]
    ObjectResult,
}

impl ValueError {
    /// The errors without fields, in the order of their codes.
    const PLAIN: [Self; 6] = [
        Self::IndexOutOfRange,
        Self::BadHandle,
        Self::OutOfMemory,
        Self::NoFunction,
        Self::Arguments,
        Self::ObjectResult,
    ];

    /// A number from which [`from_code`](Self::from_code) makes the error again.
    pub fn code(self) -> u32 {
        let index_in = |kind| ValueKind::ALL.iter().zip(0u32..).find(|&(&one, _)| one == kind);
        let number = |kind| index_in(kind).map_or(0, |(_, number)| number);
        match self {
            Self::WrongKind { needed, found } => number(needed) << 8 | number(found),
            plain => {
                let found = Self::PLAIN.iter().zip(1u32..).find(|&(&one, _)| one == plain);
                found.map_or(0, |(_, number)| number << 16)
            }
        }
    }

    /// The error with this [code](Self::code); `None` if there is none.
    pub fn from_code(code: u32) -> Option<Self> {
        let [found, needed, plain, _] = code.to_le_bytes().map(usize::from);
        match plain.checked_sub(1) {
            Some(index) => Self::PLAIN.get(index).copied(),
            None => Some(Self::WrongKind {
                needed: *ValueKind::ALL.get(needed)?,
                found: *ValueKind::ALL.get(found)?,
            }),
        }
    }
}

impl From<AllocError> for ValueError {
    fn from(_: AllocError) -> Self {
        ValueError::OutOfMemory
    }
}

/// A bytecode program that stopped before it returned.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{cause}, in function {function} at offset 0x{at:x}")]
pub struct Trap {
    /// Why the program stopped.
    pub cause: Cause,
    /// The index of the function. A trap that prevents a call is reported in the callee, at offset 0.
    pub function: u32,
    /// The offset of the instruction, in bytes from the start of the function's code.
    pub at: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_error_round_trips_through_its_code() {
        let mut count = 0;
        for needed in ValueKind::ALL {
            for found in ValueKind::ALL {
                let error = ValueError::WrongKind { needed, found };
                assert_eq!(ValueError::from_code(error.code()), Some(error));
                count += 1;
            }
        }
        for error in ValueError::PLAIN {
            assert_eq!(ValueError::from_code(error.code()), Some(error));
        }
        assert_eq!(count, ValueKind::ALL.len().pow(2));
        assert_eq!(ValueError::from_code(7 << 16), None);
        assert_eq!(ValueError::from_code(0xff), None);
    }
}
