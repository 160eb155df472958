//! The instructions that come in families, a row for each, and the page of the manual for each row.
//!
//! A family is a type whose constants are its rows, for who chooses the instruction while
//! compiling; the assembler has a method for each row as well.
//!
//! Pages are the headings in Intel SDM volume 2, "Instruction Set Reference".

use super::assembler::Assembler;
use super::encode::GprOperand;
use super::operand::Width;
use super::row::{Alu, Bitwise, Scalar, Shift, Unary};
use super::source::{Count, Source};

/// The constants of a family, their names, and the list of them.
macro_rules! rows {
    ($family:ident {
        $($(#[$doc:meta])* $constant:ident $name:literal $row:tt $page:literal;)*
    }) => {
        impl $family {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\nSource: ", $page, ".")]
                pub const $constant: Self = Self $row;
            )*
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// What the manual calls it, in lower case; of floats, without the precision.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$constant => $name,)*
                    _ => "",
                }
            }
        }
    };
}

rows!(Alu {
    /// Adds.
    ADD "add" { digit: 0 } "ADD—Add";
    /// Sets bits.
    OR "or" { digit: 1 } "OR—Logical Inclusive OR";
    /// Keeps the bits that are set in both.
    AND "and" { digit: 4 } "AND—Logical AND";
    /// Subtracts.
    SUB "sub" { digit: 5 } "SUB—Subtract";
    /// Flips bits.
    XOR "xor" { digit: 6 } "XOR—Logical Exclusive OR";
    /// Compares: subtracts and keeps the flags alone.
    CMP "cmp" { digit: 7 } "CMP—Compare Two Operands";
});

rows!(Unary {
    /// Flips all bits, and no flag.
    NOT "not" { opcode: 0xf6, digit: 2 } "NOT—One's Complement Negation";
    /// Changes the sign.
    NEG "neg" { opcode: 0xf6, digit: 3 } "NEG—Two's Complement Negation";
    /// RDX:RAX (AX for 8 bits) = RAX times the operand, unsigned.
    MUL "mul" { opcode: 0xf6, digit: 4 } "MUL—Unsigned Multiply";
    /// RDX:RAX (AX for 8 bits) = RAX times the operand, signed.
    IMUL_WIDE "imul" { opcode: 0xf6, digit: 5 } "IMUL—Signed Multiply";
    /// RAX = RDX:RAX / operand, RDX = the rest, unsigned (AL and AH from AX for 8 bits). Traps
    /// where the operand is 0 or the quotient does not fit.
    DIV "div" { opcode: 0xf6, digit: 6 } "DIV—Unsigned Divide";
    /// As `DIV`, signed, rounding towards 0. The lowest number divided by -1 does not fit.
    IDIV "idiv" { opcode: 0xf6, digit: 7 } "IDIV—Signed Divide";
    /// Subtracts 1 and leaves the carry.
    DEC "dec" { opcode: 0xfe, digit: 1 } "DEC—Decrement by 1";
});

rows!(Shift {
    /// Rotates left.
    ROL "rol" { digit: 0 } "RCL/RCR/ROL/ROR—Rotate";
    /// Shifts left.
    SHL "shl" { digit: 4 } "SAL/SAR/SHL/SHR—Shift";
    /// Shifts right and fills with zeros.
    SHR "shr" { digit: 5 } "SAL/SAR/SHL/SHR—Shift";
    /// Shifts right and fills with the sign.
    SAR "sar" { digit: 7 } "SAL/SAR/SHL/SHR—Shift";
});

rows!(Scalar {
    /// The square root of the source.
    SQRT "sqrts" { opcode: 0x51 }
        "SQRTSD—Compute Square Root of Scalar Double Precision Floating-Point Value";
    /// Adds.
    ADD "adds" { opcode: 0x58 } "ADDSD—Add Scalar Double Precision Floating-Point Values";
    /// Multiplies.
    MUL "muls" { opcode: 0x59 } "MULSD—Multiply Scalar Double Precision Floating-Point Value";
    /// Subtracts.
    SUB "subs" { opcode: 0x5c } "SUBSD—Subtract Scalar Double Precision Floating-Point Value";
    /// The lesser one; the source if one is not a number, or both are zeros.
    MIN "mins" { opcode: 0x5d } "MINSD—Return Minimum Scalar Double Precision Floating-Point Value";
    /// Divides.
    DIV "divs" { opcode: 0x5e } "DIVSD—Divide Scalar Double Precision Floating-Point Value";
    /// The greater one; the source if one is not a number, or both are zeros.
    MAX "maxs" { opcode: 0x5f } "MAXSD—Return Maximum Scalar Double Precision Floating-Point Value";
});

rows!(Bitwise {
    /// Compares; a quiet NaN is no exception. Unordered sets ZF, PF and CF; less sets CF; equal
    /// sets ZF.
    UCOMIS "ucomis" { opcode: 0x2e }
        "UCOMISD—Unordered Compare Scalar Double Precision Floating-Point Values and Set EFLAGS";
    /// As `UCOMIS`; any NaN is an invalid operation.
    COMIS "comis" { opcode: 0x2f }
        "COMISD—Compare Scalar Ordered Double Precision Floating-Point Values and Set EFLAGS";
    /// Keeps the bits that are set in both.
    AND "andp" { opcode: 0x54 }
        "ANDPD—Bitwise Logical AND of Packed Double Precision Floating-Point Values";
    /// Sets bits.
    OR "orp" { opcode: 0x56 }
        "ORPD—Bitwise Logical OR of Packed Double Precision Floating-Point Values";
    /// Flips bits.
    XOR "xorp" { opcode: 0x57 }
        "XORPD—Bitwise Logical XOR of Packed Double Precision Floating-Point Values";
});

/// The methods of a family, each of which is the one of the family with its row.
macro_rules! methods {
    (Alu: $($name:ident $row:ident),*) => {$(
        #[doc = concat!("[`Alu::", stringify!($row), "`].")]
        #[inline]
        pub fn $name<W: Width, D>(&mut self, width: W, destination: D, source: impl Source<D>) {
            self.alu(Alu::$row, width, destination, source);
        }
    )*};
    (Unary: $($name:ident $row:ident),*) => {$(
        #[doc = concat!("[`Unary::", stringify!($row), "`].")]
        #[inline]
        pub fn $name<W: Width>(&mut self, width: W, operand: impl GprOperand) {
            self.unary(Unary::$row, width, operand);
        }
    )*};
    (Shift: $($name:ident $row:ident),*) => {$(
        #[doc = concat!("[`Shift::", stringify!($row), "`].")]
        #[inline]
        pub fn $name<W: Width>(&mut self, width: W, operand: impl GprOperand, count: impl Count) {
            self.shift(Shift::$row, width, operand, count);
        }
    )*};
}

impl Assembler {
    methods!(Alu: add ADD, or OR, and AND, sub SUB, xor XOR, cmp CMP);
    methods!(Unary: not NOT, neg NEG, mul MUL, imul_wide IMUL_WIDE, div DIV, idiv IDIV, dec DEC);
    methods!(Shift: rol ROL, shl SHL, shr SHR, sar SAR);
}
