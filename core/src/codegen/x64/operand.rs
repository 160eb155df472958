//! What instructions work on: registers, widths, places in memory, conditions.
//!
//! Each kind of operand is a type of its own, and the traits below say which of them an instruction
//! takes, so that a form that the processor does not have does not compile.
//!
//! Facts: Intel SDM volume 2, chapter 2.1.5 (ModR/M and SIB) and 2.2.1 (REX).

use crate::codegen::label::Label;

macro_rules! registers {
    ($(#[$attribute:meta])* $name:ident: $($register:ident = $number:literal),*) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "registers have no other names")]
        pub enum $name { $($register = $number),* }

        impl $name {
            /// All of them, by number.
            pub const ALL: &'static [$name] = &[$($name::$register),*];

            /// The number by which instructions name it, 0 to 15.
            #[inline]
            pub const fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

registers! {
    /// A general register. The width of an instruction says how much of it counts; an instruction
    /// of 32 bits clears the upper half.
    Gpr: Rax = 0, Rcx = 1, Rdx = 2, Rbx = 3, Rsp = 4, Rbp = 5, Rsi = 6, Rdi = 7,
    R8 = 8, R9 = 9, R10 = 10, R11 = 11, R12 = 12, R13 = 13, R14 = 14, R15 = 15
}

registers! {
    /// An SSE register.
    Xmm: Xmm0 = 0, Xmm1 = 1, Xmm2 = 2, Xmm3 = 3, Xmm4 = 4, Xmm5 = 5, Xmm6 = 6, Xmm7 = 7,
    Xmm8 = 8, Xmm9 = 9, Xmm10 = 10, Xmm11 = 11, Xmm12 = 12, Xmm13 = 13, Xmm14 = 14, Xmm15 = 15
}

/// A general register that can be an index: any but the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Index(Gpr);

impl Index {
    /// The number by which instructions name it, 0 to 15.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0.number()
    }
}

impl Gpr {
    /// Its DWARF number. Source: System V ABI, AMD64 supplement, figure 3.36.
    pub const fn dwarf_number(self) -> u8 {
        match self {
            Gpr::Rax => 0,
            Gpr::Rdx => 1,
            Gpr::Rcx => 2,
            Gpr::Rbx => 3,
            Gpr::Rsi => 4,
            Gpr::Rdi => 5,
            Gpr::Rbp => 6,
            Gpr::Rsp => 7,
            other => other.number(),
        }
    }

    /// The register as an index; `None` for the stack pointer.
    #[inline]
    pub const fn index(self) -> Option<Index> {
        if matches!(self, Gpr::Rsp) { None } else { Some(Index(self)) }
    }
}

/// The register CL, where shifts take their count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cl;

/// What the index of an address is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the instruction set")]
pub enum Scale {
    By1 = 0,
    By2 = 1,
    By4 = 2,
    By8 = 3,
}

/// A place in memory: `base + index * scale + displacement`, each part of which may be missing. The
/// displacement is 32 bits, sign-extended, and takes a byte where it fits one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mem {
    pub(super) base: Option<Gpr>,
    pub(super) index: Option<(Index, Scale)>,
    pub(super) displacement: i32,
}

impl Mem {
    /// `[base + displacement]`.
    #[inline]
    pub const fn at(base: Gpr, displacement: i32) -> Self {
        Self { base: Some(base), index: None, displacement }
    }

    /// `[displacement]`, an address in the lowest or the highest 2 GiB.
    #[inline]
    pub const fn absolute(displacement: i32) -> Self {
        Self { base: None, index: None, displacement }
    }

    /// The same, `bytes` further on; modulo 2^32.
    #[inline]
    pub const fn plus(self, bytes: i32) -> Self {
        Self { displacement: self.displacement.wrapping_add(bytes), ..self }
    }

    /// The same with `index * scale` added, instead of the index that there was.
    #[inline]
    pub const fn indexed(self, index: Index, scale: Scale) -> Self {
        Self { index: Some((index, scale)), ..self }
    }
}

/// A place in memory that instructions name by its distance from themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rip {
    /// Where the label is bound.
    Label(Label),
    /// Outside of this code; leaves a relocation of kind `Pc32`.
    Symbol {
        /// As in [`Relocation::target`](crate::codegen::code::Relocation::target).
        target: u32,
        /// Bytes behind the target.
        addend: i32,
    },
}

/// A general register, or a place in the stack frame, where only the program that compiles knows which: where it keeps
/// its variables. It travels in two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GprOrStack {
    pub(super) base: Gpr,
    /// [`REGISTER`] for a register.
    pub(super) displacement: i32,
}

/// The displacement that says that it is a register: no frame is that large.
const REGISTER: i32 = i32::MIN;

impl GprOrStack {
    /// `[rbp + displacement]`.
    #[inline]
    pub const fn frame(displacement: i32) -> Self {
        Self { base: Gpr::Rbp, displacement }
    }

    /// The register.
    #[inline]
    pub const fn gpr(register: Gpr) -> Self {
        Self { base: register, displacement: REGISTER }
    }

    /// The register, if it is one.
    #[inline]
    pub const fn register(self) -> Option<Gpr> {
        if self.displacement == REGISTER { Some(self.base) } else { None }
    }

    /// The place in memory; of a register, that to which it leads.
    #[inline]
    pub const fn memory(self) -> Mem {
        let displacement = if self.displacement == REGISTER { 0 } else { self.displacement };
        Mem::at(self.base, displacement)
    }
}

impl From<Gpr> for GprOrStack {
    #[inline]
    fn from(register: Gpr) -> Self {
        GprOrStack::gpr(register)
    }
}

/// An SSE register or a place in memory, where only the program that compiles knows which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the instruction set")]
pub enum XmmOrMem {
    Xmm(Xmm),
    Mem(Mem),
    Rip(Rip),
}

impl From<Xmm> for XmmOrMem {
    fn from(register: Xmm) -> Self {
        XmmOrMem::Xmm(register)
    }
}

impl From<Mem> for XmmOrMem {
    fn from(place: Mem) -> Self {
        XmmOrMem::Mem(place)
    }
}

impl From<Rip> for XmmOrMem {
    fn from(place: Rip) -> Self {
        XmmOrMem::Rip(place)
    }
}

/// How many bits an instruction works on: [`W8`], [`W16`], [`W32`] or [`W64`].
pub trait Width: sealed::Sealed + Copy {
    /// The number of bits.
    fn bits(self) -> u32;
}

/// [`W16`], [`W32`] or [`W64`].
pub trait Wide: Width {}

/// [`W32`] or [`W64`].
pub trait Full: Wide {}

/// [`W8`] or [`W16`], from which a register is filled by extension.
pub trait Narrow: Width {}

macro_rules! widths {
    ($($name:ident, $bits:literal: $($kind:ident)*;)*) => {$(
        #[doc = concat!(stringify!($bits), " bits.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;
        impl sealed::Sealed for $name {}
        impl Width for $name {
            #[inline]
            fn bits(self) -> u32 {
                $bits
            }
        }
        $(impl $kind for $name {})*
    )*};
}

widths! {
    W8, 8: Narrow;
    W16, 16: Wide Narrow;
    W32, 32: Wide Full;
    W64, 64: Wide Full;
}

/// When a conditional instruction acts, by the flags. The names after an integer comparison are
/// `B`elow and `A`bove for unsigned, `L`ess and `G`reater for signed numbers.
///
/// Source: Intel SDM volume 1, appendix B.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cond {
    /// Overflow.
    O = 0,
    /// No overflow.
    No = 1,
    /// Below; carry.
    B = 2,
    /// Above or equal; no carry.
    Ae = 3,
    /// Equal; zero.
    E = 4,
    /// Not equal; not zero.
    Ne = 5,
    /// Below or equal.
    Be = 6,
    /// Above.
    A = 7,
    /// Negative.
    S = 8,
    /// Not negative.
    Ns = 9,
    /// Parity even; after a comparison of floats: unordered.
    P = 10,
    /// Parity odd; after a comparison of floats: ordered.
    Np = 11,
    /// Less.
    L = 12,
    /// Greater or equal.
    Ge = 13,
    /// Less or equal.
    Le = 14,
    /// Greater.
    G = 15,
}

impl Cond {
    /// All of them, by number.
    pub const ALL: [Cond; 16] = {
        use Cond::*;
        [O, No, B, Ae, E, Ne, Be, A, S, Ns, P, Np, L, Ge, Le, G]
    };

    /// The number by which instructions name it, 0 to 15.
    #[inline]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The condition that holds when this one does not.
    #[inline]
    pub fn inverted(self) -> Self {
        // It differs in bit 0.
        Self::ALL.get(usize::from(self.number() ^ 1)).copied().unwrap_or(self)
    }
}

/// Single or double precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

pub(super) mod sealed {
    /// Seals the traits of operands.
    pub trait Sealed {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_come_in_pairs() {
        for (cond, number) in Cond::ALL.into_iter().zip(0..) {
            assert_eq!(cond.number(), number);
            assert_eq!(cond.inverted().number(), number ^ 1);
        }
    }

    #[test]
    fn every_register_but_the_stack_pointer_is_an_index() {
        for register in Gpr::ALL {
            let index = register.index().map(Index::number);
            assert_eq!(index, (*register != Gpr::Rsp).then_some(register.number()));
        }
    }
}
