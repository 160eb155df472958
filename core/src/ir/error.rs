//! Errors of malformed IR functions and of their instances.
//!
//! Offsets are in bytes from the start of the function.

use core::fmt;

use super::opcode::Opcode;
use super::types::{Argument, MAX_PARAMETERS, ValueType};
use crate::alloc_util::AllocError;

/// The table that an index refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The locals, parameters first.
    Locals,
    /// The constants.
    Constants,
    /// The instructions.
    Instructions,
    /// The callees.
    Callees,
    /// The types that callees are made of.
    Types,
    /// The arguments of calls.
    Operands,
    /// The codes of the types of locals and of the callees' parameters.
    Codes,
    /// The names.
    Strings,
    /// The stack slots.
    Slots,
    /// The entries of read-only data.
    Data,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locals => "local",
            Self::Constants => "constant",
            Self::Instructions => "instruction",
            Self::Callees => "callee",
            Self::Types => "type",
            Self::Operands => "operand",
            Self::Codes => "type code",
            Self::Strings => "name",
            Self::Slots => "stack slot",
            Self::Data => "entry of read-only data",
        })
    }
}

/// Why bytes are not an IR function, or why a function has no instance for some arguments.
///
/// `at` is an offset in bytes from the start of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum IrError {
    /// The magic is missing.
    #[error("not an IR function: the magic SMTB is missing")]
    Magic,
    /// A version that this reader does not support.
    #[error("IR version {version} is not supported; this loader reads versions 1 and 2")]
    Version { version: u16 },
    /// Unknown flags.
    #[error("an IR function with unknown flags 0x{flags:04x}")]
    Flags { flags: u16 },
    /// A reserved field of the header is set.
    #[error("an IR function with 0x{value:08x} in a reserved field of its header")]
    Reserved { value: u32 },
    /// The stated length is not that of the bytes.
    #[error("an IR function states {stated} bytes but has {given}")]
    Length { stated: u32, given: u64 },
    /// The tables do not end where the function does.
    #[error("the tables of an IR function take {needed} bytes but it states {stated}")]
    Tables { needed: u64, stated: u32 },
    /// More type parameters than there are codes for.
    #[error("{count} type parameters; the limit is {MAX_PARAMETERS}")]
    Parameters { count: u8 },
    /// The number of arguments differs from the number of type parameters.
    #[error("{given} type arguments for a template with {expected} type parameters")]
    Arguments { given: u8, expected: u8 },
    /// More parameters than locals, or locals without a type code.
    #[error("at 0x{at:x}: fewer locals than parameters, or fewer types than locals")]
    Locals { at: u32 },
    /// More of something than a function may have.
    #[error("at 0x{at:x}: {value} {name}; the limit is {limit}")]
    Limit { at: u32, name: &'static str, limit: u32, value: u64 },
    /// A byte that is not the code of a type of this function.
    #[error("at 0x{at:x}: 0x{code:02x} is no type of this template")]
    TypeCode { at: u32, code: u8 },
    /// A byte that is not an opcode of this version.
    #[error("at 0x{at:x}: 0x{code:02x} is no opcode of this version")]
    Opcode { at: u32, code: u8 },
    /// A field that the opcode does not use is set.
    #[error("at 0x{at:x}: {} has a field set that it does not use", opcode.name())]
    Unused { at: u32, opcode: Opcode },
    /// An index beyond the end of a table.
    #[error("at 0x{at:x}: there is no {part} {index}")]
    Index { at: u32, part: Part, index: u32 },
    /// A local of a type that the operation does not take.
    #[error("at 0x{at:x}: local {local} is of type {found} and must be {expected}")]
    LocalType { at: u32, local: u16, found: ValueType, expected: ValueType },
    /// A local that must be an integer of 64 bits.
    #[error("at 0x{at:x}: local {local} is of type {found} and must be i64 or u64")]
    NotIndex { at: u32, local: u16, found: ValueType },
    /// An operation that is not defined for the type that it names.
    #[error("at 0x{at:x}: {} has no meaning for {ty}", opcode.name())]
    NoMeaning { at: u32, opcode: Opcode, ty: ValueType },
    /// Bits from the table of constants for a type whose width differs between instances.
    #[error("at 0x{at:x}: a wide constant of a type that is a parameter")]
    WideParameter { at: u32 },
    /// A number outside the range of the type.
    #[error("at 0x{at:x}: {ty} has no {number}")]
    Number { at: u32, number: i64, ty: ValueType },
    /// An offset outside of a stack slot or of read-only data.
    #[error("at 0x{at:x}: the offset {offset} lies outside of {size} bytes")]
    Offset { at: u32, offset: i32, size: u64 },
    /// An alignment that is not a power of two, or too large.
    #[error("at 0x{at:x}: an alignment of {align}; it must be a power of two up to {limit}")]
    Alignment { at: u32, align: u32, limit: u32 },
    /// Read-only data that reaches beyond the bytes of all data, or does not begin at its alignment.
    #[error(
        "at 0x{at:x}: {size} bytes of data at {offset} are not inside the data, or not aligned"
    )]
    Data { at: u32, offset: u32, size: u32 },
    /// Source locations that are not in the order of the instructions.
    #[error("at 0x{at:x}: the source location of instruction {instruction} is out of order")]
    Location { at: u32, instruction: u32 },
    /// Control reaches the end of the function.
    #[error("at 0x{at:x}: control runs off the end of the function")]
    FallsOff { at: u32 },
    /// A return whose type is not that of the function's result.
    #[error("at 0x{at:x}: the function returns {}", Shown(*expected))]
    Result { at: u32, expected: Option<ValueType> },
    /// A call that uses the result of a callee without one.
    #[error("at 0x{at:x}: the callee has no result")]
    CallResult { at: u32 },
    /// An unknown kind of callee.
    #[error("at 0x{at:x}: {kind} is no kind of callee")]
    CalleeKind { at: u32, kind: u8 },
    /// A callee whose kind the opcode does not take.
    #[error("at 0x{at:x}: {} does not take a callee of this kind", opcode.name())]
    CalleeUse { at: u32, opcode: Opcode },
    /// A callee with a field that its kind does not use.
    #[error("at 0x{at:x}: a callee has a field set that its kind does not use")]
    CalleeField { at: u32 },
    /// A callee that is no instance and has type arguments.
    #[error("at 0x{at:x}: only an instance of a template has type arguments")]
    HostTypes { at: u32 },
    /// A name that is empty, unterminated or not UTF-8.
    #[error("at 0x{at:x}: a name that is empty, not UTF-8 or without an end")]
    Name { at: u32 },
    /// An operation, or a local, that is not defined for a type argument.
    #[error(
        "at 0x{at:x}: {} has no meaning for {}, the argument for T{parameter}",
        opcode.map_or("a local", Opcode::name), Given(*argument)
    )]
    Argument { at: u32, opcode: Option<Opcode>, parameter: u8, argument: Argument },
    /// The allocator failed.
    #[error("no memory for an IR function")]
    OutOfMemory,
}

/// The result of a function, in a message.
struct Shown(Option<ValueType>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ty) => ty.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// A type argument, in a message.
struct Given(Argument);

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Argument::Scalar(scalar) => scalar.fmt(f),
            Argument::Named => f.write_str("a type that is no scalar"),
        }
    }
}

impl From<AllocError> for IrError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl IrError {
    /// The offset in bytes from the start of the function; `None` for an error of the whole function.
    pub fn offset(&self) -> Option<u32> {
        match *self {
            Self::Locals { at }
            | Self::Limit { at, .. }
            | Self::TypeCode { at, .. }
            | Self::Opcode { at, .. }
            | Self::Unused { at, .. }
            | Self::Index { at, .. }
            | Self::LocalType { at, .. }
            | Self::NotIndex { at, .. }
            | Self::NoMeaning { at, .. }
            | Self::WideParameter { at }
            | Self::Number { at, .. }
            | Self::Offset { at, .. }
            | Self::Alignment { at, .. }
            | Self::Data { at, .. }
            | Self::Location { at, .. }
            | Self::FallsOff { at }
            | Self::Result { at, .. }
            | Self::CallResult { at }
            | Self::CalleeKind { at, .. }
            | Self::CalleeUse { at, .. }
            | Self::CalleeField { at }
            | Self::HostTypes { at }
            | Self::Name { at }
            | Self::Argument { at, .. } => Some(at),
            _ => None,
        }
    }
}
