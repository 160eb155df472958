//! Locals in their registers and spill slots, for all machines.

use super::frame::StackPlace;
use super::lowering::{Lowering, Machine};
use super::machine::Register;
use super::options::TrapConvention;
use super::regalloc::Location;
use crate::ir::Scalar;

impl<M: Machine> Lowering<'_, '_, M> {
    /// The register in which an integer local is computed: its own one, or the scratch register.
    /// [`set_int`](Self::set_int) follows.
    #[inline]
    pub(crate) fn int_destination(&self, local: u16) -> M::Int {
        match self.location(local) {
            Location::Int(register) => M::int(register),
            _ => M::INT_SCRATCH,
        }
    }

    /// The register in which an integer local is computed before the instruction may trap: the scratch register if its
    /// own one holds the context, which the trap reads.
    pub(crate) fn trapping_destination(&self, local: u16) -> M::Int {
        let has_context = self.options.traps != TrapConvention::Hook;
        match has_context && self.location(local) == self.location(0) {
            true => M::INT_SCRATCH,
            false => self.int_destination(local),
        }
    }

    /// Sets an integer local to the value of a register. Changes no flag.
    #[inline]
    pub(crate) fn set_int(&mut self, local: u16, from: M::Int) {
        match self.location(local) {
            Location::Int(register) => self.move_int(M::int(register), from),
            Location::Frame(slot) => M::store_int(self, StackPlace::Spill(slot), from),
            _ => {}
        }
    }

    pub(crate) fn move_int(&mut self, to: M::Int, from: M::Int) {
        if to != from {
            M::Int::mov(self.asm, to, from);
        }
    }

    /// As [`int_destination`](Self::int_destination), of a floating-point local.
    pub(crate) fn float_destination(&self, local: u16) -> M::Float {
        match self.location(local) {
            Location::Float(register) => M::float(register),
            _ => M::FLOAT_SCRATCH,
        }
    }

    /// As [`set_int`](Self::set_int), of a floating-point local.
    pub(crate) fn set_float(&mut self, local: u16, from: M::Float) {
        match self.location(local) {
            Location::Float(register) => self.move_float(M::float(register), from),
            Location::Frame(slot) => M::store_float(self, StackPlace::Spill(slot), from),
            _ => {}
        }
    }

    pub(crate) fn move_float(&mut self, to: M::Float, from: M::Float) {
        if to != from {
            M::Float::mov(self.asm, to, from);
        }
    }
}

/// The bits of an integer in the form of a local: narrow ones extended to 32 bits.
pub(crate) fn extended(bits: u64, scalar: Scalar) -> u64 {
    let shift = 64 - scalar.bits();
    match scalar.is_signed() && scalar.bits() < 32 {
        true => ((bits << shift).cast_signed() >> shift).cast_unsigned() & 0xffff_ffff,
        false => bits,
    }
}
