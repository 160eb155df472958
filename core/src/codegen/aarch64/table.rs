//! The instructions that come in families: a row for each, with the heading of the manual.
//!
//! A family is a type whose constants are its rows. Headings are those of DDI 0487, C6.2 and C7.2.

macro_rules! rows {
    ($(#[$about:meta])* $family:ident {
        $($(#[$doc:meta])* $constant:ident $name:literal $bits:literal $page:literal;)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $family(pub(super) u32);

        impl $family {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\nSource: ", $page, ".")]
                pub const $constant: Self = Self($bits);
            )*
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The mnemonic.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($bits => $name,)*
                    _ => "",
                }
            }
        }
    };
}

rows! {
    /// Addition and subtraction; the bits of the form with a shifted register.
    AddSub {
        /// Adds.
        ADD "add" 0x0b00_0000 "ADD (immediate), (shifted register), (extended register)";
        /// Adds and sets the flags.
        ADDS "adds" 0x2b00_0000 "ADDS (immediate), (shifted register), (extended register)";
        /// Subtracts.
        SUB "sub" 0x4b00_0000 "SUB (immediate), (shifted register), (extended register)";
        /// Subtracts and sets the flags.
        SUBS "subs" 0x6b00_0000 "SUBS (immediate), (shifted register), (extended register)";
    }
}

rows! {
    /// Bitwise logic; the bits of the form with a shifted register. Those with an inverted operand have no form with an
    /// immediate.
    Logical {
        /// And.
        AND "and" 0x0a00_0000 "AND (immediate), (shifted register)";
        /// And not.
        BIC "bic" 0x0a20_0000 "BIC (shifted register)";
        /// Or.
        ORR "orr" 0x2a00_0000 "ORR (immediate), (shifted register)";
        /// Or not.
        ORN "orn" 0x2a20_0000 "ORN (shifted register)";
        /// Exclusive or.
        EOR "eor" 0x4a00_0000 "EOR (immediate), (shifted register)";
        /// And; sets the flags.
        ANDS "ands" 0x6a00_0000 "ANDS (immediate), (shifted register)";
    }
}

rows! {
    /// 16 bits at a multiple of 16 bits.
    MovWide {
        /// The other bits are 1, these are inverted.
        MOVN "movn" 0x1280_0000 "MOVN";
        /// The other bits are 0.
        MOVZ "movz" 0x5280_0000 "MOVZ";
        /// The other bits stay.
        MOVK "movk" 0x7280_0000 "MOVK";
    }
}

rows! {
    /// Bits of one register, moved.
    Bitfield {
        /// With copies of the highest of them above, and zeros below.
        SBFM "sbfm" 0x1300_0000 "SBFM";
        /// With zeros around.
        UBFM "ubfm" 0x5300_0000 "UBFM";
    }
}

rows! {
    /// Two sources. Shifts take their count modulo the width.
    TwoSource {
        /// The unsigned quotient; 0 for a divisor of 0.
        UDIV "udiv" 0x1ac0_0800 "UDIV";
        /// The signed quotient, towards 0; 0 for a divisor of 0, and the lowest by -1 wraps.
        SDIV "sdiv" 0x1ac0_0c00 "SDIV";
        /// Shifts left.
        LSLV "lslv" 0x1ac0_2000 "LSLV";
        /// Shifts right, filled with zeros.
        LSRV "lsrv" 0x1ac0_2400 "LSRV";
        /// Shifts right, filled with the sign.
        ASRV "asrv" 0x1ac0_2800 "ASRV";
        /// Rotates right.
        RORV "rorv" 0x1ac0_2c00 "RORV";
    }
}

rows! {
    /// Multiplication and addition.
    ThreeSource {
        /// addend + left * right.
        MADD "madd" 0x1b00_0000 "MADD";
        /// addend - left * right.
        MSUB "msub" 0x1b00_8000 "MSUB";
        /// 64-bit addend + the signed product of 32-bit operands; 64 bits.
        SMADDL "smaddl" 0x1b20_0000 "SMADDL";
        /// The upper half of the signed product; 64 bits, no addend.
        SMULH "smulh" 0x1b40_0000 "SMULH";
        /// 64-bit addend + the unsigned product of 32-bit operands; 64 bits.
        UMADDL "umaddl" 0x1ba0_0000 "UMADDL";
        /// The upper half of the unsigned product; 64 bits, no addend.
        UMULH "umulh" 0x1bc0_0000 "UMULH";
    }
}

rows! {
    /// The first source where a condition holds, else one made of the second.
    Select {
        /// The second.
        CSEL "csel" 0x1a80_0000 "CSEL";
        /// The second plus 1.
        CSINC "csinc" 0x1a80_0400 "CSINC";
    }
}

rows! {
    /// Loads and stores of one register; the fields size, V and opc.
    Access {
        /// Stores 8 bits.
        STRB "strb" 0x3800_0000 "STRB (immediate), (register); STURB";
        /// Loads 8 bits, with zeros.
        LDRB "ldrb" 0x3840_0000 "LDRB (immediate), (register); LDURB";
        /// Loads 8 bits, with their sign, to 32.
        LDRSB_32 "ldrsb w" 0x38c0_0000 "LDRSB (immediate), (register); LDURSB";
        /// Stores 16 bits.
        STRH "strh" 0x7800_0000 "STRH (immediate), (register); STURH";
        /// Loads 16 bits, with zeros.
        LDRH "ldrh" 0x7840_0000 "LDRH (immediate), (register); LDURH";
        /// Loads 16 bits, with their sign, to 32.
        LDRSH_32 "ldrsh w" 0x78c0_0000 "LDRSH (immediate), (register); LDURSH";
        /// Stores 32 bits.
        STR_W "str w" 0xb800_0000 "STR (immediate), (register); STUR";
        /// Loads 32 bits, with zeros.
        LDR_W "ldr w" 0xb840_0000 "LDR (immediate), (register); LDUR";
        /// Loads 32 bits, with their sign, to 64.
        LDRSW "ldrsw" 0xb880_0000 "LDRSW (immediate), (register); LDURSW";
        /// Stores 64 bits.
        STR_X "str x" 0xf800_0000 "STR (immediate), (register); STUR";
        /// Loads 64 bits.
        LDR_X "ldr x" 0xf840_0000 "LDR (immediate), (register); LDUR";
        /// Stores 8 bits of a floating-point register.
        STR_B "str b" 0x3c00_0000 "STR (immediate, SIMD&FP), (register, SIMD&FP); STUR (SIMD&FP)";
        /// Loads 8 bits into a floating-point register, with zeros.
        LDR_B "ldr b" 0x3c40_0000 "LDR (immediate, SIMD&FP), (register, SIMD&FP); LDUR (SIMD&FP)";
        /// Stores 16 bits of a floating-point register.
        STR_H "str h" 0x7c00_0000 "STR (immediate, SIMD&FP), (register, SIMD&FP); STUR (SIMD&FP)";
        /// Loads 16 bits into a floating-point register, with zeros.
        LDR_H "ldr h" 0x7c40_0000 "LDR (immediate, SIMD&FP), (register, SIMD&FP); LDUR (SIMD&FP)";
        /// Stores 32 bits of a floating-point register.
        STR_S "str s" 0xbc00_0000 "STR (immediate, SIMD&FP), (register, SIMD&FP); STUR (SIMD&FP)";
        /// Loads 32 bits into a floating-point register, with zeros.
        LDR_S "ldr s" 0xbc40_0000 "LDR (immediate, SIMD&FP), (register, SIMD&FP); LDUR (SIMD&FP)";
        /// Stores 64 bits of a floating-point register.
        STR_D "str d" 0xfc00_0000 "STR (immediate, SIMD&FP), (register, SIMD&FP); STUR (SIMD&FP)";
        /// Loads 64 bits into a floating-point register, with zeros.
        LDR_D "ldr d" 0xfc40_0000 "LDR (immediate, SIMD&FP), (register, SIMD&FP); LDUR (SIMD&FP)";
        /// Stores 128 bits of a floating-point register.
        STR_Q "str q" 0x3c80_0000 "STR (immediate, SIMD&FP), (register, SIMD&FP); STUR (SIMD&FP)";
        /// Loads 128 bits into a floating-point register.
        LDR_Q "ldr q" 0x3cc0_0000 "LDR (immediate, SIMD&FP), (register, SIMD&FP); LDUR (SIMD&FP)";
    }
}

rows! {
    /// Loads and stores of two registers; the fields opc, V and L.
    Pair {
        /// Stores 64 bits of each.
        STP_X "stp x" 0xa800_0000 "STP";
        /// Loads 64 bits into each.
        LDP_X "ldp x" 0xa840_0000 "LDP";
        /// Stores 64 bits of two floating-point registers.
        STP_D "stp d" 0x6c00_0000 "STP (SIMD&FP)";
        /// Loads 64 bits into two floating-point registers, with zeros.
        LDP_D "ldp d" 0x6c40_0000 "LDP (SIMD&FP)";
        /// Stores 128 bits of two floating-point registers.
        STP_Q "stp q" 0xac00_0000 "STP (SIMD&FP)";
        /// Loads 128 bits into two floating-point registers.
        LDP_Q "ldp q" 0xac40_0000 "LDP (SIMD&FP)";
    }
}

rows! {
    /// Arithmetic on two floats.
    Scalar {
        /// The product.
        FMUL "fmul" 0x1e20_0800 "FMUL (scalar)";
        /// The quotient.
        FDIV "fdiv" 0x1e20_1800 "FDIV (scalar)";
        /// The sum.
        FADD "fadd" 0x1e20_2800 "FADD (scalar)";
        /// The difference.
        FSUB "fsub" 0x1e20_3800 "FSUB (scalar)";
    }
}

rows! {
    /// Arithmetic on one float.
    ScalarUnary {
        /// A copy.
        FMOV "fmov" 0x1e20_4000 "FMOV (register)";
        /// The absolute value.
        FABS "fabs" 0x1e20_c000 "FABS (scalar)";
        /// The other sign.
        FNEG "fneg" 0x1e21_4000 "FNEG (scalar)";
        /// The square root.
        FSQRT "fsqrt" 0x1e21_c000 "FSQRT (scalar)";
    }
}

rows! {
    /// A float as an integer. What does not fit is the nearest integer that does; a NaN is 0.
    Round {
        /// Signed, towards 0.
        FCVTZS "fcvtzs" 0x1e38_0000 "FCVTZS (scalar, integer)";
        /// Unsigned, towards 0.
        FCVTZU "fcvtzu" 0x1e39_0000 "FCVTZU (scalar, integer)";
    }
}

rows! {
    /// An integer as a float, rounded to the nearest.
    ToFloat {
        /// Signed.
        SCVTF "scvtf" 0x1e22_0000 "SCVTF (scalar, integer)";
        /// Unsigned.
        UCVTF "ucvtf" 0x1e23_0000 "UCVTF (scalar, integer)";
    }
}

rows! {
    /// Instructions without operands in the space of hints, which older processors ignore.
    Hint {
        /// No operation.
        NOP "nop" 0xd503_201f "NOP";
        /// Signs the link register with the stack pointer and key A.
        PACIASP "paciasp" 0xd503_233f "PACIA, PACIA1716, PACIASP, PACIAZ, PACIZA";
        /// Checks the signature and removes it.
        AUTIASP "autiasp" 0xd503_23bf "AUTIA, AUTIA1716, AUTIASP, AUTIAZ, AUTIZA";
        /// A landing pad of calls, and of jumps through X16 and X17.
        BTI_C "bti c" 0xd503_245f "BTI";
    }
}

impl Access {
    /// The binary logarithm of the bytes that are accessed.
    #[inline]
    pub const fn scale(self) -> u32 {
        // The field opc has a bit for 128 bits.
        if self.0 & 0xff80_0000 == 0x3c80_0000 { 4 } else { self.0 >> 30 }
    }

    /// Whether the register is a floating-point register.
    #[inline]
    pub const fn is_float(self) -> bool {
        self.0 & 1 << 26 != 0
    }
}

impl Pair {
    /// The binary logarithm of the bytes of one register.
    #[inline]
    pub const fn scale(self) -> u32 {
        match (self.is_float(), self.0 >> 30) {
            (true, opc) => 2 + opc,
            (false, opc) => 2 + (opc >> 1),
        }
    }

    /// Whether the registers are floating-point registers.
    #[inline]
    pub const fn is_float(self) -> bool {
        self.0 & 1 << 26 != 0
    }
}
