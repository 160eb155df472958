//! Families of instructions: a type whose constants are the rows of the tables.

/// Arithmetic and logic on two operands, all of which have the same forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alu {
    /// For an immediate, the digit in ModR/M; eight times as much is the opcode for 8 bits, to r/m.
    pub(super) digit: u8,
}

/// Arithmetic and logic on one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unary {
    /// For 8 bits; the next one for more.
    pub(super) opcode: u8,
    pub(super) digit: u8,
}

/// Shifts and rotates, by an immediate or by CL. The count is taken modulo 64 for 64 bits and
/// modulo 32 for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shift {
    pub(super) digit: u8,
}

/// Arithmetic on the low float of SSE registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scalar {
    /// Behind 0x0f, with 0xf3 in front for single and 0xf2 for double precision.
    pub(super) opcode: u8,
}

/// What works on packed floats or compares two: bitwise logic on the whole of SSE registers, and
/// comparisons that set the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bitwise {
    /// Behind 0x0f, with nothing in front for single and 0x66 for double precision.
    pub(super) opcode: u8,
}
