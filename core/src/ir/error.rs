//! Errors of malformed IR functions and of their instances.
//!
//! Offsets are in bytes from the begin of the body, so that they can be found in a listing.

use core::fmt;

use super::opcode::Opcode;
use super::types::{Argument, ValueType};
use crate::alloc_util::AllocError;

/// What an index in a body refers to.
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
        })
    }
}

/// Why bytes are not a body, or why a body has no instance for some arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum IrError {
    /// The magic is not there.
    Magic,
    /// A version that this reader does not know.
    Version { version: u16 },
    /// Flags that this reader does not know.
    Flags { flags: u16 },
    /// The length that the body states is not that of the bytes given.
    Length { stated: u32, given: u64 },
    /// The tables do not end where the body does.
    Tables { needed: u64, stated: u32 },
    /// More type parameters than can be named; or another number of arguments than of parameters.
    Parameters { count: u8 },
    /// Arguments for another number of parameters than the template has.
    Arguments { given: u8, expected: u8 },
    /// More parameters than locals, or no type code for each local.
    Locals { at: u32 },
    /// A byte that should be the code of a type of this template.
    TypeCode { at: u32, code: u8 },
    /// A byte that is no opcode.
    Opcode { at: u32, code: u8 },
    /// A field that the opcode does not use and that is not 0.
    Unused { at: u32, opcode: Opcode },
    /// An index that the table does not have.
    Index { at: u32, part: Part, index: u32 },
    /// A local of another type than the operation needs.
    LocalType { at: u32, local: u16, found: ValueType, expected: ValueType },
    /// A local that must be an integer of 64 bits, signed or not.
    NotIndex { at: u32, local: u16, found: ValueType },
    /// An operation that has no meaning for the type that it names.
    NoMeaning { at: u32, opcode: Opcode, ty: ValueType },
    /// Bits out of the table for a type whose width differs from instance to instance.
    WideParameter { at: u32 },
    /// A number that the type does not have.
    Number { at: u32, number: i64, ty: ValueType },
    /// Control that runs off the end of the body.
    FallsOff { at: u32 },
    /// A return that does not fit the result of the template.
    Result { at: u32, expected: Option<ValueType> },
    /// A call that takes a result of a callee that has none.
    CallResult { at: u32 },
    /// A callee that is neither an instance nor the host's.
    CalleeKind { at: u32, kind: u8 },
    /// A callee of the host that has type arguments.
    HostTypes { at: u32 },
    /// A name that is empty, has no end, or is not UTF-8.
    Name { at: u32 },
    /// An instance that has an operation, or a local, without meaning for an argument.
    Argument { at: u32, opcode: Option<Opcode>, parameter: u8, argument: Argument },
    /// No memory to check or to compile it.
    OutOfMemory,
}

impl From<AllocError> for IrError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for IrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => f.write_str("not an IR function: the magic SMTB is missing"),
            Self::Version { version } => {
                write!(f, "IR version {version} is not supported; this loader reads version 1")
            }
            Self::Flags { flags } => write!(f, "an IR function with unknown flags 0x{flags:04x}"),
            Self::Length { stated, given } => {
                write!(f, "an IR function states {stated} bytes but has {given}")
            }
            Self::Tables { needed, stated } => {
                write!(f, "the tables of an IR function take {needed} bytes but it states {stated}")
            }
            Self::Parameters { count } => {
                write!(f, "{count} type parameters, and a template has at most 64")
            }
            Self::Arguments { given, expected } => {
                write!(f, "{given} type arguments for a template with {expected} type parameters")
            }
            Self::OutOfMemory => f.write_str("no memory for an IR function"),
            _ => self.fmt_place(f),
        }
    }
}

impl IrError {
    /// Where in the body, in bytes from its begin; `None` for what concerns the whole of it.
    pub fn offset(&self) -> Option<u32> {
        match *self {
            Self::Locals { at }
            | Self::TypeCode { at, .. }
            | Self::Opcode { at, .. }
            | Self::Unused { at, .. }
            | Self::Index { at, .. }
            | Self::LocalType { at, .. }
            | Self::NotIndex { at, .. }
            | Self::NoMeaning { at, .. }
            | Self::WideParameter { at }
            | Self::Number { at, .. }
            | Self::FallsOff { at }
            | Self::Result { at, .. }
            | Self::CallResult { at }
            | Self::CalleeKind { at, .. }
            | Self::HostTypes { at }
            | Self::Name { at }
            | Self::Argument { at, .. } => Some(at),
            _ => None,
        }
    }

    /// The sentences that name an offset.
    fn fmt_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Locals { at } => {
                write!(f, "at 0x{at:x}: fewer locals than parameters, or fewer types than locals")
            }
            Self::TypeCode { at, code } => {
                write!(f, "at 0x{at:x}: 0x{code:02x} is no type of this template")
            }
            Self::Opcode { at, code } => write!(f, "at 0x{at:x}: 0x{code:02x} is no opcode"),
            Self::Unused { at, opcode } => {
                write!(f, "at 0x{at:x}: {} has a field set that it does not use", opcode.name())
            }
            Self::Index { at, part, index } => {
                write!(f, "at 0x{at:x}: there is no {part} {index}")
            }
            Self::FallsOff { at } => {
                write!(f, "at 0x{at:x}: control runs off the end of the body")
            }
            Self::CalleeKind { at, kind } => {
                write!(f, "at 0x{at:x}: {kind} is no kind of callee")
            }
            Self::HostTypes { at } => {
                write!(f, "at 0x{at:x}: a function of the host has no type arguments")
            }
            Self::Name { at } => {
                write!(f, "at 0x{at:x}: a name that is empty, not UTF-8 or without an end")
            }
            _ => self.fmt_types(f),
        }
    }

    /// The sentences that speak of types.
    fn fmt_types(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LocalType { at, local, found, expected } => {
                write!(f, "at 0x{at:x}: local {local} is of type {found} and must be {expected}")
            }
            Self::NotIndex { at, local, found } => {
                write!(f, "at 0x{at:x}: local {local} is of type {found} and must be i64 or u64")
            }
            Self::NoMeaning { at, opcode, ty } => {
                write!(f, "at 0x{at:x}: {} has no meaning for {ty}", opcode.name())
            }
            Self::WideParameter { at } => {
                write!(f, "at 0x{at:x}: a wide constant of a type that is a parameter")
            }
            Self::Number { at, number, ty } => {
                write!(f, "at 0x{at:x}: {ty} has no {number}")
            }
            Self::Result { at, expected } => match expected {
                Some(ty) => write!(f, "at 0x{at:x}: the template returns {ty}"),
                None => write!(f, "at 0x{at:x}: the template returns nothing"),
            },
            Self::CallResult { at } => {
                write!(f, "at 0x{at:x}: the callee gives nothing that could be taken")
            }
            Self::Argument { at, opcode, parameter, argument } => {
                let name = opcode.map_or("a local", Opcode::name);
                write!(f, "at 0x{at:x}: {name} has no meaning for ")?;
                match argument {
                    Argument::Scalar(scalar) => {
                        write!(f, "{scalar}, the argument for T{parameter}")
                    }
                    Argument::Named => {
                        write!(
                            f,
                            "the argument for T{parameter}, which is no number, bool or pointer"
                        )
                    }
                }
            }
            _ => f.write_str("a malformed IR function"),
        }
    }
}

impl core::error::Error for IrError {}
