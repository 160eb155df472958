//! Why a program is refused: which function, which instruction, and what is wrong with it.

use core::fmt;

use super::kind::{Clash, KindSet};
use crate::alloc_util::AllocError;
use crate::bytecode::instruction::{DecodeError, Instruction};
use crate::plural;

/// Why a program is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The index of the function.
    pub function: u32,
    /// Where the instruction begins, in bytes from the start of the function's code.
    pub at: u32,
    /// The instruction's opcode; 0 where there is none.
    pub opcode: u16,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an instruction or with its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant tells what its fields are")]
pub enum Fault {
    /// No instruction, or a part of one.
    #[error(transparent)]
    Decode(DecodeError),
    /// An instruction whose meaning no source defines completely, or that needs actors.
    #[error("is not supported: its meaning is not defined, or it needs a scheduler of actors")]
    Unsupported,
    /// A function that works on objects, of which there are no facts: it is interpreted alone.
    #[error("works on objects, and is only interpreted")]
    Objects,
    /// A constant that the pool does not have.
    #[error("loads constant {index} of a pool of {count}")]
    NoConstant { index: u32, count: u32 },
    /// A constant of an unknown type, a bool that is neither 0 nor 1, or a string outside of the string table.
    #[error("loads constant {index}, which has no valid type and value")]
    BadConstant { index: u32 },
    /// A constant that is not a string.
    #[error("loads constant {index}, which is not a string")]
    NoText { index: u32 },
    /// A program of more functions than are counted, or a function of 2^31 bytes or more.
    #[error("is too large: more than 2^30 functions, or 2^31 bytes of code")]
    TooLarge,
    /// Fewer locals than parameters.
    #[error("has {params} parameters and only {locals} locals")]
    Locals { params: u16, locals: u16 },
    /// A jump that leads out of the code, to the offset `target`.
    #[error("jumps out of the code, to offset {target}")]
    JumpOutside { target: i64 },
    /// A jump that leads into the middle of an instruction, to the offset `target`.
    #[error("jumps into the middle of an instruction, to offset 0x{target:x}")]
    JumpInside { target: u32 },
    /// A local that the function does not have.
    #[error("names local {local} of a function that has {locals}")]
    NoLocal { local: u16, locals: u16 },
    /// A slot at or past the end of the vector is read.
    #[error("reads slot {slot} of an operand stack of {length} values")]
    NoSlot { slot: u16, length: u32 },
    /// A vector of too few values for what is popped.
    #[error("pops {needed} of an operand stack of {length} values")]
    Underflow { needed: u32, length: u32 },
    /// A value that is read although paths meet that left different kinds there.
    #[error("reads {place}, which paths that meet left with different kinds")]
    Mixed { place: Place },
    /// A value of another kind than those that are needed.
    #[error("needs {needed} and finds {found} in {place}")]
    Kind { place: Place, needed: KindSet, found: KindSet },
    /// Two paths meet with vectors of different lengths.
    #[error(
        "leads to offset 0x{target:x} with an operand stack of {here} values, where another path has {there}"
    )]
    Length { target: u32, there: u32, here: u32 },
    /// A function that does not exist.
    #[error("calls function {callee} of a program of {count}")]
    NoFunction { callee: u32, count: u32 },
    /// A number of arguments that is not the number of parameters.
    #[error("passes {argc} argument{} to function {callee}, which takes {params}", plural::s(*argc))]
    Arguments { callee: u32, argc: u16, params: u16 },
    /// A host function that is called with another number of arguments elsewhere.
    #[error(
        "passes {argc} argument{} to host function {index}, which gets {other} in function {function} at offset 0x{at:x}",
        plural::s(*argc)
    )]
    HostArguments { index: u16, argc: u16, other: u16, function: u32, at: u32 },
    /// The result of `callee` would be of a kind here that it is not according to the instruction at
    /// `at` in `function`.
    #[error(
        "takes the result of function {callee} for {needed}, which is {known} according to function {function} at offset 0x{at:x}"
    )]
    Result { callee: u32, needed: KindSet, known: KindSet, function: u32, at: u32 },
    /// The code ends without a return, and the function is called by others.
    #[error("is called by other functions and its code ends without a return")]
    RunsOff,
    /// The code ends without a return, and the vector is empty.
    #[error("ends without a return and with an empty operand stack")]
    NothingReturned,
    /// More to remember or to compare where paths meet than the length of the code explains.
    #[error("meets other paths with more values than the length of the code allows to compare")]
    Joins,
    /// No memory for what the verifier has to remember.
    #[error("cannot be checked: no memory")]
    OutOfMemory,
}

impl From<AllocError> for Fault {
    fn from(_: AllocError) -> Self {
        Fault::OutOfMemory
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A position of the vector.
    Slot(u32),
    /// A local.
    Local(u16),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Slot(slot) => write!(f, "slot {slot}"),
            Place::Local(local) => write!(f, "local {local}"),
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, at, opcode, fault } = *self;
        write!(f, "function {function}: ")?;
        if let Some(name) = Instruction::name_of(opcode).filter(|_| opcode != 0) {
            write!(f, "{name} ")?;
        }
        match fault {
            // It says its offset itself.
            Fault::Decode(error) => error.fmt(f),
            fault => write!(f, "{fault}, at offset 0x{at:x}"),
        }
    }
}

impl core::error::Error for VerifyError {}

impl From<Clash> for Fault {
    fn from(clash: Clash) -> Self {
        let Clash { function: callee, known, place: (function, at), needed } = clash;
        Fault::Result { callee, needed, known, function, at }
    }
}

/// What belongs to no instruction.
impl From<Fault> for VerifyError {
    fn from(fault: Fault) -> Self {
        VerifyError { function: 0, at: 0, opcode: 0, fault }
    }
}

impl From<AllocError> for VerifyError {
    fn from(none: AllocError) -> Self {
        Fault::from(none).into()
    }
}

impl VerifyError {
    pub(super) fn new(function: u32, code: &[u8], at: u32, fault: Fault) -> Self {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let opcode = code.get(start..).and_then(|rest| rest.first_chunk());
        Self { function, at, opcode: opcode.map_or(0, |bytes| u16::from_le_bytes(*bytes)), fault }
    }
}
