//! What has a home, where values are, and who has which temporary register.
//!
//! All of these travel in one or two registers while compiling: what an enum holds is as wide in each
//! variant.

use crate::codegen::x64::{Gpr, Xmm};

/// A local, or a position of the vector: even and odd numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable(u64);

impl Variable {
    #[inline(always)]
    pub(super) fn local(local: u16) -> Self {
        Self(u64::from(local) * 2)
    }

    #[inline(always)]
    pub(super) fn slot(position: u32) -> Self {
        Self(u64::from(position) * 2 + 1)
    }

    #[inline(always)]
    pub(super) fn is_local(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// The local, if it is one.
    #[inline(always)]
    pub(super) fn as_local(self) -> Option<u16> {
        if self.is_local() { u16::try_from(self.0 / 2).ok() } else { None }
    }

    /// The position, if it is one.
    #[inline(always)]
    pub(super) fn as_slot(self) -> Option<u32> {
        if self.is_local() { None } else { u32::try_from(self.0 / 2).ok() }
    }

    /// The one with this [`index`](Self::index).
    #[inline(always)]
    pub(super) fn of_index(index: u64) -> Self {
        Self(index)
    }

    /// Its place in a table of both.
    #[inline(always)]
    pub(super) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The temporary registers, the first that is free is taken. Their numbers are 0, 1, 2.
pub(super) const TEMPORARIES: [Gpr; 3] = [Gpr::Rax, Gpr::Rcx, Gpr::Rdx];

/// Float registers for values; the last one of the processor is for moves from memory to memory.
pub(super) const FLOATS: [Xmm; 8] =
    [Xmm::Xmm0, Xmm::Xmm1, Xmm::Xmm2, Xmm::Xmm3, Xmm::Xmm4, Xmm::Xmm5, Xmm::Xmm6, Xmm::Xmm7];

/// The number of a temporary register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Temporary(u64);

impl Temporary {
    #[inline(always)]
    pub(super) fn gpr(self) -> Gpr {
        match self.0 {
            0 => Gpr::Rax,
            1 => Gpr::Rcx,
            _ => Gpr::Rdx,
        }
    }
}

/// The number of a float register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FloatTemporary(u64);

impl FloatTemporary {
    #[inline(always)]
    pub(super) fn xmm(self) -> Xmm {
        let number = usize::try_from(self.0).unwrap_or(0);
        FLOATS.get(number).copied().unwrap_or(Xmm::Xmm0)
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// In the home of its position. An operand is never this: it is a copy of its position.
    Home,
    /// Nowhere: its bits.
    Int(i64),
    /// In a temporary register.
    Temporary(Temporary),
    /// In a float register.
    Float(FloatTemporary),
    /// In the home of a variable.
    Copy(Variable),
}

impl Value {
    /// In one of [`TEMPORARIES`].
    #[inline(always)]
    pub(super) fn gpr(register: Gpr) -> Self {
        Value::Temporary(Temporary(register.number().into()))
    }

    /// In one of [`FLOATS`].
    #[inline(always)]
    pub(super) fn xmm(register: Xmm) -> Self {
        Value::Float(FloatTemporary(register.number().into()))
    }

    /// A local, where it lives.
    #[inline(always)]
    pub(super) fn local(local: u16) -> Self {
        Value::Copy(Variable::local(local))
    }

    /// A position of the vector, where it lives.
    #[inline(always)]
    pub(super) fn slot(position: u32) -> Self {
        Value::Copy(Variable::slot(position))
    }
}

/// To whom the registers of a kind belong.
#[derive(Debug)]
pub(super) struct Owners<const N: usize> {
    /// Those that belong to nobody, a bit each.
    free: u32,
    /// The positions that the others belong to, or [`AT_HAND`].
    positions: [u32; N],
}

/// The register belongs to the instruction at hand.
const AT_HAND: u32 = u32::MAX;

impl<const N: usize> Owners<N> {
    pub(super) const NONE: Self = Self { free: (1 << N) - 1, positions: [AT_HAND; N] };

    /// Whether the register with this number is free.
    #[inline(always)]
    pub(super) fn has_free(&self) -> bool {
        self.free != 0
    }

    /// A free register, which belongs to the instruction at hand now.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Option<usize> {
        let number = self.free.trailing_zeros();
        self.free &= self.free.wrapping_sub(1);
        let number = usize::try_from(number).ok()?;
        *self.positions.get_mut(number)? = AT_HAND;
        Some(number)
    }

    #[inline(always)]
    pub(super) fn release(&mut self, number: u64) {
        self.free |= 1 << (number % 32);
    }

    #[inline(always)]
    pub(super) fn give(&mut self, number: u64, position: u32) {
        self.free &= !(1 << (number % 32));
        let place = usize::try_from(number).ok().and_then(|number| self.positions.get_mut(number));
        if let Some(place) = place {
            *place = position;
        }
    }

    /// The position that the register belongs to, if it does to one.
    pub(super) fn position(&self, number: usize) -> Option<u32> {
        let position = *self.positions.get(number)?;
        (self.free >> (number % 32) & 1 == 0 && position != AT_HAND).then_some(position)
    }

    /// The register that belongs to the lowest position, and that.
    pub(super) fn lowest(&self) -> Option<(usize, u32)> {
        let owned = (0..N).filter_map(|number| Some((number, self.position(number)?)));
        owned.min_by_key(|&(_, position)| position)
    }
}

/// The owners of the registers that values are in.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) temporaries: Owners<{ TEMPORARIES.len() }>,
    pub(super) floats: Owners<{ FLOATS.len() }>,
}

impl Registers {
    /// All of them are free.
    pub(super) const FREE: Self = Self { temporaries: Owners::NONE, floats: Owners::NONE };

    /// Lets all of them be free.
    #[inline(always)]
    pub(super) fn free_all(&mut self) {
        self.temporaries.free = Owners::<{ TEMPORARIES.len() }>::NONE.free;
        self.floats.free = Owners::<{ FLOATS.len() }>::NONE.free;
    }

    /// The register of the value, if it is in one, is free.
    #[inline(always)]
    pub(super) fn release(&mut self, value: Value) {
        match value {
            Value::Temporary(Temporary(number)) => self.temporaries.release(number),
            Value::Float(FloatTemporary(number)) => self.floats.release(number),
            _ => {}
        }
    }

    /// The register of the value, if it is in one, which belonged to a position, belongs to the
    /// instruction at hand.
    #[inline(always)]
    pub(super) fn hold(&mut self, value: Value) {
        self.give(value, AT_HAND);
    }

    /// The register of the value, if it is in one, belongs to a position.
    #[inline(always)]
    pub(super) fn give(&mut self, value: Value, position: u32) {
        match value {
            Value::Temporary(Temporary(number)) => self.temporaries.give(number, position),
            Value::Float(FloatTemporary(number)) => self.floats.give(number, position),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_apart() {
        for number in [0, 1, 255, u16::MAX] {
            let (local, slot) = (Variable::local(number), Variable::slot(number.into()));
            assert_eq!((local.as_local(), local.as_slot()), (Some(number), None));
            assert_eq!((slot.as_local(), slot.as_slot()), (None, Some(number.into())));
        }
        assert_eq!(size_of::<Value>(), 16);
    }

    #[test]
    fn registers_belong_to_one_at_a_time() {
        let mut registers = Registers::FREE;
        for (number, register) in TEMPORARIES.into_iter().enumerate() {
            assert_eq!(usize::from(register.number()), number);
            assert_eq!(registers.temporaries.take(), Some(number));
            registers.give(Value::gpr(register), 10 - number as u32);
        }
        assert_eq!(registers.temporaries.take(), None);
        assert_eq!(registers.temporaries.lowest(), Some((2, 8)));
        registers.hold(Value::gpr(Gpr::Rdx));
        assert_eq!(registers.temporaries.lowest(), Some((1, 9)));
        registers.release(Value::gpr(Gpr::Rcx));
        assert_eq!(registers.temporaries.position(1), None);
        assert_eq!(registers.temporaries.take(), Some(1));
        for register in FLOATS {
            assert_eq!(FLOATS.get(usize::from(register.number())), Some(&register));
        }
    }
}
