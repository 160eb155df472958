//! Operands: registers, widths, conditions, shifts and extensions.

/// A general register. Number 31 is the zero register or the stack pointer, as the operand of the instruction says.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gpr(u8);

/// A floating-point register.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fpr(u8);

macro_rules! registers {
    ($type:ident: $($name:ident $number:literal),*) => {
        impl $type {
            $(
                #[doc = concat!("Register ", stringify!($number), ".")]
                pub const $name: Self = Self($number);
            )*
        }
    };
}

registers!(Gpr: X0 0, X1 1, X2 2, X3 3, X4 4, X5 5, X6 6, X7 7, X8 8, X9 9, X10 10, X11 11, X12 12,
    X13 13, X14 14, X15 15, X16 16, X17 17, X19 19, X20 20, X21 21, X22 22, X23 23, X28 28, X29 29, X30 30);
registers!(Fpr: V0 0, V1 1, V2 2, V3 3, V4 4, V5 5, V6 6, V7 7, V8 8, V15 15, V16 16, V30 30, V31 31);

impl Gpr {
    /// The register that reads as 0 and ignores writes.
    pub const ZR: Self = Self(31);
    /// The stack pointer, where an instruction can name it.
    pub const SP: Self = Self(31);
    /// The frame pointer. Source: AAPCS64, 6.4.6 "The Frame Pointer".
    pub const FP: Self = Self(29);
    /// The link register.
    pub const LR: Self = Self(30);

    /// The register with this number modulo 32.
    #[inline]
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// Its number, below 32.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its number as the field of an instruction.
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0 as u32
    }
}

impl Fpr {
    /// Its DWARF number. Source: DWARF for the Arm 64-bit Architecture (AADWARF64), 4.1 "DWARF register names".
    pub const fn dwarf_number(self) -> u8 {
        64 + self.0
    }

    /// The register with this number modulo 32.
    #[inline]
    pub const fn new(number: u8) -> Self {
        Self(number & 31)
    }

    /// Its number, below 32.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its number as the field of an instruction.
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.0 as u32
    }
}

impl core::fmt::Debug for Gpr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "x{}", self.0)
    }
}

impl core::fmt::Debug for Fpr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// The bits of general registers that an instruction works on. Writing 32 bits clears the upper ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

impl Width {
    /// The field sf.
    #[inline]
    pub(super) const fn sf(self) -> u32 {
        (self as u32) << 31
    }

    /// The number of bits.
    #[inline]
    pub const fn bits(self) -> u32 {
        match self {
            Self::W32 => 32,
            Self::W64 => 64,
        }
    }
}

/// A floating-point precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Float {
    /// The field ftype.
    #[inline]
    pub(super) const fn ftype(self) -> u32 {
        (self as u32) << 22
    }
}

/// A condition on the flags. Source: DDI 0487, C1.2.4 "Condition code".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cond {
    /// Equal: Z.
    Eq,
    /// Not equal, or unordered: not Z.
    Ne,
    /// Unsigned higher or same, or carry: C.
    Hs,
    /// Unsigned lower, or no carry: not C.
    Lo,
    /// Negative; less for floats: N.
    Mi,
    /// Positive or zero: not N.
    Pl,
    /// Overflow; unordered for floats: V.
    Vs,
    /// No overflow: not V.
    Vc,
    /// Unsigned higher: C and not Z.
    Hi,
    /// Unsigned lower or same; less or equal for floats: not C or Z.
    Ls,
    /// Signed greater or equal: N = V.
    Ge,
    /// Signed less; less or unordered for floats: N != V.
    Lt,
    /// Signed greater: not Z and N = V.
    Gt,
    /// Signed less or equal: Z or N != V.
    Le,
}

impl Cond {
    /// All of them, by their codes.
    pub const ALL: [Self; 14] = {
        use Cond::*;
        [Eq, Ne, Hs, Lo, Mi, Pl, Vs, Vc, Hi, Ls, Ge, Lt, Gt, Le]
    };

    /// The condition that holds where this one does not.
    #[must_use]
    pub fn inverted(self) -> Self {
        // It differs in bit 0.
        Self::ALL.get(self as usize ^ 1).copied().unwrap_or(self)
    }
}

/// A shift of a register operand. Rotation is for logic only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShiftKind {
    /// Left.
    Lsl,
    /// Right, filled with zeros.
    Lsr,
    /// Right, filled with the sign.
    Asr,
    /// Rotated right.
    Ror,
}

/// The extension of a register operand. Source: DDI 0487, C6.2 "ADD (extended register)".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The low 8 bits, with zeros.
    Uxtb,
    /// The low 16 bits, with zeros.
    Uxth,
    /// The low 32 bits, with zeros.
    Uxtw,
    /// All bits.
    Uxtx,
    /// The low 8 bits, with their sign.
    Sxtb,
    /// The low 16 bits, with their sign.
    Sxth,
    /// The low 32 bits, with their sign.
    Sxtw,
    /// All bits.
    Sxtx,
}
