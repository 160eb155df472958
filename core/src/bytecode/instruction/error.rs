//! The error of decoding.

/// Why there is no instruction at an offset of a function's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The code ends inside an instruction.
    #[error("the code ends inside an instruction of {needed} bytes, at offset 0x{at:x}")]
    Truncated {
        /// Where the instruction begins, in bytes from the start of the code.
        at: u32,
        /// Bytes of the instruction; of an opcode, when the code ends inside that.
        needed: u32,
    },
    /// No instruction has this opcode.
    #[error("unknown opcode 0x{opcode:04x}, at offset 0x{at:x}")]
    UnknownOpcode {
        /// The opcode.
        opcode: u16,
        /// Where it stands, in bytes from the start of the code.
        at: u32,
    },
}

impl DecodeError {
    /// Where the instruction begins, in bytes from the start of the code.
    pub fn at(&self) -> u32 {
        match *self {
            DecodeError::Truncated { at, .. } | DecodeError::UnknownOpcode { at, .. } => at,
        }
    }
}
