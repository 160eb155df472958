//! Entering and leaving a function, and calling others.

use super::places::{Handover, Handovers, Place};
use super::{Lowering, float_of};
use crate::codegen::parallel_move::RegisterMoves;
use crate::codegen::x64::{Gpr, Mem, W64, Xmm};
use crate::ir::error::{IrError, Part};
use crate::ir::function::{Callee, CalleeKind};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::types::Scalar;

impl Lowering<'_, '_> {
    pub(super) fn prologue(&mut self) {
        for register in self.places.pushed() {
            self.asm.push(register);
        }
        if self.places.frame > 0 {
            self.asm.sub(W64, Gpr::Rsp, self.places.frame);
        }
        self.take_arguments();
        let zeroes = self.instance.facts.usage.starts_as_zero.iter();
        let codes = self.instance.body().local_codes();
        for (local, (_, &code)) in (0u16..).zip(zeroes.zip(codes)).filter(|(_, (zero, _))| **zero) {
            if let Some(scalar) = self.instance.scalar(code) {
                self.constant(local, scalar, 0);
            }
        }
    }

    /// Undoes what the prologue did to the stack.
    pub(super) fn take_down(&mut self) {
        if self.places.frame > 0 {
            self.asm.add(W64, Gpr::Rsp, self.places.frame);
        }
        for register in self.places.pushed().rev() {
            self.asm.pop(register);
        }
    }

    /// Brings the parameters from where the caller put them to where they live.
    fn take_arguments(&mut self) {
        let places = self.places;
        let mut integers = RegisterMoves::default();
        let mut floats = RegisterMoves::default();
        for &(local, _, handover) in &places.entered {
            match (places.of(local), handover) {
                (Place::Gpr(to), Handover::Gpr(from)) => integers.add(to, from),
                (Place::Xmm(to), Handover::Xmm(from)) => floats.add(to, from),
                (Place::Home(_), Handover::Gpr(from)) => self.set(local, from),
                (Place::Home(_), Handover::Xmm(from)) => self.set_xmm(local, from),
                _ => {}
            }
        }
        integers.emit(self.asm);
        floats.emit(self.asm);
        for &(local, scalar, handover) in &places.entered {
            if let Handover::Stack(offset) = handover {
                self.take_from_stack(local, scalar, offset);
            }
            if let Place::Gpr(register) = places.of(local) {
                self.extend(register, scalar);
            }
        }
    }

    fn take_from_stack(&mut self, local: u16, scalar: Scalar, offset: i32) {
        let from = Mem::at(Gpr::Rsp, self.places.incoming().saturating_add(offset));
        if let Place::Xmm(register) = self.place(local) {
            return self.asm.mov_scalar(float_of(scalar), register, from);
        }
        let register = self.destination(local, Gpr::Rax);
        self.asm.mov(W64, register, from);
        self.set(local, register);
    }

    pub(super) fn call(&mut self, i: &Instruction) -> Result<(), IrError> {
        let body = *self.instance.body();
        let at = body.offset(0);
        let callee = body.callee(i.b)?;
        let none = IrError::Index { at, part: Part::Operands, index: i.imm.cast_unsigned() };
        let operands = body.call_operands(i, &callee).ok_or(none)?;
        for saved in &self.places.saved {
            let home = Mem::at(Gpr::Rsp, saved.home);
            match saved.place {
                Place::Gpr(register) => self.asm.mov(W64, home, register),
                Place::Xmm(register) => self.asm.movsd(home, register),
                _ => {}
            }
        }
        let floats = self.hand_over(operands.iter(), &callee);
        if callee.kind == CalleeKind::Host {
            // A function of variable arguments asks for an upper bound.
            self.asm.mov_imm(Gpr::Rax, floats.into());
        }
        self.asm.call_symbol(i.b.into());
        self.take_result(i, &callee);
        for saved in self.places.saved.iter().filter(|saved| saved.local != i.a) {
            let home = Mem::at(Gpr::Rsp, saved.home);
            match saved.place {
                Place::Gpr(register) => self.asm.mov(W64, register, home),
                Place::Xmm(register) => self.asm.movsd(register, home),
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts arguments where the callee looks for them; how many registers of SSE hold some.
    fn hand_over(
        &mut self,
        operands: impl Iterator<Item = u16> + Clone,
        callee: &Callee<'_>,
    ) -> u8 {
        let mut integers = RegisterMoves::default();
        let mut floats = RegisterMoves::default();
        let codes = callee.signature.params.iter();
        let scalars = codes.map(|&code| self.instance.scalar(code).unwrap_or(Scalar::I64));
        let arguments = operands.zip(scalars);
        let mut handovers = Handovers::default();
        for (local, scalar) in arguments.clone() {
            match (handovers.next(scalar), self.places.of(local)) {
                (Handover::Gpr(to), Place::Gpr(from)) => integers.add(to, from),
                (Handover::Xmm(to), Place::Xmm(from)) => floats.add(to, from),
                _ => {}
            }
        }
        // What goes to the stack first, while all registers are as they were.
        let count = handovers.floats();
        let mut handovers = Handovers::default();
        for (local, scalar) in arguments.clone() {
            if let Handover::Stack(offset) = handovers.next(scalar) {
                self.hand_over_on_stack(local, scalar, offset);
            }
        }
        integers.emit(self.asm);
        floats.emit(self.asm);
        let mut handovers = Handovers::default();
        for (local, scalar) in arguments {
            let handover = handovers.next(scalar);
            let Place::Home(offset) = self.places.of(local) else { continue };
            let home = Mem::at(Gpr::Rsp, offset);
            match handover {
                Handover::Gpr(to) => self.fill(to, scalar, home),
                Handover::Xmm(to) => self.asm.mov_scalar(float_of(scalar), to, home),
                Handover::Stack(_) => {}
            }
        }
        count
    }

    fn hand_over_on_stack(&mut self, local: u16, scalar: Scalar, offset: i32) {
        let to = Mem::at(Gpr::Rsp, offset);
        if scalar.is_float() {
            let from = self.xmm(local, scalar, Xmm::Xmm15);
            return self.asm.movsd(to, from);
        }
        let from = self.gpr(local, scalar, Gpr::Rax);
        self.asm.mov(W64, to, from);
    }

    fn take_result(&mut self, i: &Instruction, callee: &Callee<'_>) {
        let result = self.instance.scalar(callee.signature.result);
        match result.filter(|_| i.a != NONE) {
            Some(scalar) if scalar.is_float() => self.set_xmm(i.a, Xmm::Xmm0),
            Some(scalar) => {
                self.extend(Gpr::Rax, scalar);
                self.set(i.a, Gpr::Rax);
            }
            None => {}
        }
    }
}
