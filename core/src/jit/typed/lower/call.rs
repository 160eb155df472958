//! Entering and leaving a function, and calling others.
//!
//! Values that change places all at once are moved one after another, each when nobody needs what is
//! in the way; where they go in a circle, one of them waits in a register that is free.

use super::super::body::{Callee, CalleeKind};
use super::super::error::{Part, TypedError};
use super::super::instruction::{Instruction, NONE};
use super::super::types::Scalar;
use super::places::{Handover, Handovers, Place};
use super::{Lowering, float_of};
use crate::jit::x64::{Gpr, Mem, W64, Xmm};

/// Moves that happen at once: by number of the target, the source, or `None`.
struct Moves<R> {
    sources: [Option<R>; 16],
    /// The register that nothing comes from or goes to.
    spare: R,
    is_empty: bool,
}

impl<R: Copy + PartialEq> Moves<R> {
    fn new(spare: R) -> Self {
        Self { sources: [None; 16], spare, is_empty: true }
    }

    /// Adds a move to the register `to`, whose number is `number`.
    fn add(&mut self, number: u8, to: R, from: R) {
        if to == from {
            return;
        }
        self.is_empty = false;
        let place = self.sources.get_mut(usize::from(number));
        place.into_iter().for_each(|place| *place = Some(from));
    }

    /// Hands the moves to `emit` in an order that loses nothing.
    fn run(mut self, all: &[R], mut emit: impl FnMut(R, R)) {
        if self.is_empty {
            return;
        }
        while let Some(blocked) = self.sources.iter().position(Option::is_some) {
            let mut moved = false;
            for (number, &to) in all.iter().enumerate() {
                let Some(from) = self.sources.get(number).copied().flatten() else { continue };
                if self.sources.contains(&Some(to)) {
                    continue;
                }
                emit(to, from);
                self.sources.get_mut(number).into_iter().for_each(|place| *place = None);
                moved = true;
            }
            let Some(&in_the_way) = all.get(blocked).filter(|_| !moved) else { continue };
            // All that are left go in circles: whoever needs this register finds it in the spare one.
            emit(self.spare, in_the_way);
            let (spare, sources) = (self.spare, self.sources.iter_mut());
            sources.filter(|source| **source == Some(in_the_way)).for_each(|s| *s = Some(spare));
        }
    }
}

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
        let mut integers = Moves::new(Gpr::Rax);
        let mut floats = Moves::new(Xmm::Xmm15);
        for &(local, _, handover) in &places.entered {
            match (places.of(local), handover) {
                (Place::Gpr(to), Handover::Gpr(from)) => integers.add(to.number(), to, from),
                (Place::Xmm(to), Handover::Xmm(from)) => floats.add(to.number(), to, from),
                (Place::Home(_), Handover::Gpr(from)) => self.set(local, from),
                (Place::Home(_), Handover::Xmm(from)) => self.set_xmm(local, from),
                _ => {}
            }
        }
        integers.run(Gpr::ALL, |to, from| self.asm.mov(W64, to, from));
        floats.run(Xmm::ALL, |to, from| self.asm.movaps(to, from));
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

    pub(super) fn call(&mut self, i: &Instruction) -> Result<(), TypedError> {
        let body = *self.instance.body();
        let at = body.offset(0);
        let callee = body.callee(i.b)?;
        let none = TypedError::Index { at, part: Part::Operands, index: i.imm.cast_unsigned() };
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
        let mut integers = Moves::new(Gpr::Rax);
        let mut floats = Moves::new(Xmm::Xmm15);
        let codes = callee.signature.params.iter();
        let scalars = codes.map(|&code| self.instance.scalar(code).unwrap_or(Scalar::I64));
        let arguments = operands.zip(scalars);
        let mut handovers = Handovers::default();
        for (local, scalar) in arguments.clone() {
            match (handovers.next(scalar), self.places.of(local)) {
                (Handover::Gpr(to), Place::Gpr(from)) => integers.add(to.number(), to, from),
                (Handover::Xmm(to), Place::Xmm(from)) => floats.add(to.number(), to, from),
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
        integers.run(Gpr::ALL, |to, from| self.asm.mov(W64, to, from));
        floats.run(Xmm::ALL, |to, from| self.asm.movaps(to, from));
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
