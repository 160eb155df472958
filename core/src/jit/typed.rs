//! Typed bodies.

mod body;
mod build;
mod error;
mod instruction;
mod interpret;
pub mod lower;
mod opcode;
pub mod text;
mod types;
mod verify;

pub use body::{Body, Callee, CalleeKind, MAX_NAME, Operands, Signature, TypeEntry, body_of, is_body};
pub use build::{BodyBuilder, BuildError, Label, Local, TypeArgument, Value};
pub use error::{Part, TypedError};
pub use instruction::{INSTRUCTION_SIZE, Instruction, NONE};
pub use interpret::{DIVISION_BY_ZERO, Host, Memory, Stop, interpret};
pub use opcode::{Binary, Condition, Opcode, Unary};
pub use types::{Argument, Arguments, MAX_PARAMETERS, Scalar, Type, TypeSet};
pub use verify::{Instance, Verified};

#[cfg(all(test, feature = "kernel", target_arch = "x86_64"))]
mod tests;
