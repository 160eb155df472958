//! Passing arguments: by the C calling convention, integers and floating-point values go to registers of their class in
//! order, and to the stack when those are used up, eight bytes each.
//!
//! Sources: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing"; Procedure Call Standard for the Arm 64-bit
//! Architecture, 6.8.2 "Parameter passing rules".

use arrayvec::ArrayVec;

use super::arguments::{ArgumentPlace, ArgumentPlaces, CallArguments};
use super::error::{CodegenError, Limit};
use super::frame::StackPlace;
use super::lowering::{Lowering, Machine};
use super::parallel_move::RegisterMoves;
use super::regalloc::Location;
use crate::ir::{Instruction, NONE, Scalar};

impl<M: Machine> Lowering<'_, '_, M> {
    fn each_argument(
        &mut self,
        arguments: &CallArguments<'_>,
        mut take: impl FnMut(&mut Self, ArgumentPlace, u16),
    ) {
        let mut places = ArgumentPlaces::new(M::REGISTERS);
        for (local, &code) in arguments.operands.iter().zip(arguments.params) {
            let is_float = self.instance.scalar(code).is_some_and(Scalar::is_float);
            take(self, places.next(is_float), local);
        }
    }

    /// Stores the arguments that go by the stack. `place` is [`StackPlace::Outgoing`], or
    /// [`StackPlace::Incoming`] for a tail call. Returns how many bytes there are, and how many floating-point registers
    /// hold arguments.
    pub(crate) fn pass_on_stack(
        &mut self,
        arguments: &CallArguments<'_>,
        place: fn(u32) -> StackPlace,
    ) -> (u32, u8) {
        let (mut bytes, mut floats) = (0, 0);
        self.each_argument(arguments, |lowering, argument, local| match argument {
            ArgumentPlace::Int(_) => {}
            ArgumentPlace::Float(_) => floats += 1,
            ArgumentPlace::Stack(offset) => {
                bytes = offset.saturating_add(8);
                lowering.copy_to_stack(place(offset), local);
            }
        });
        (bytes, floats)
    }

    fn copy_to_stack(&mut self, to: StackPlace, local: u16) {
        match self.location(local) {
            Location::Int(register) => M::store_int(self, to, M::int(register)),
            Location::Float(register) => M::store_float(self, to, M::float(register)),
            Location::Frame(slot) => {
                M::load_int(self, M::INT_SCRATCH, StackPlace::Spill(slot));
                M::store_int(self, to, M::INT_SCRATCH);
            }
            Location::Unused => {}
        }
    }

    /// Passes the arguments of a tail call that lie on the stack, in the place of the function's own; how many others
    /// are passed in floating-point registers, or `None` if the place is too short.
    pub(crate) fn pass_in_own_place(&mut self, arguments: &CallArguments<'_>) -> Option<u8> {
        let (bytes, floats) = self.pass_on_stack(arguments, StackPlace::Incoming);
        if bytes > self.frame.incoming {
            let (max, value) = (self.frame.incoming.into(), bytes.into());
            self.fail(CodegenError::Limit { limit: Limit::TailCallStackBytes, max, value });
            return None;
        }
        Some(floats)
    }

    /// Moves the arguments that go by registers.
    pub(crate) fn pass_in_registers(&mut self, arguments: &CallArguments<'_>) {
        let mut ints = RegisterMoves::<M::Int>::default();
        let mut floats = RegisterMoves::<M::Float>::default();
        let mut loads = ArrayVec::<(ArgumentPlace, u32), 16>::new();
        self.each_argument(arguments, |lowering, argument, local| {
            match (argument, lowering.location(local)) {
                (ArgumentPlace::Int(to), Location::Int(from)) => {
                    ints.add(M::int(to), M::int(from));
                }
                (ArgumentPlace::Float(to), Location::Float(from)) => {
                    floats.add(M::float(to), M::float(from));
                }
                (ArgumentPlace::Int(_) | ArgumentPlace::Float(_), Location::Frame(slot)) => {
                    // No machine passes more than 16 arguments in registers.
                    let _ = loads.try_push((argument, slot));
                }
                _ => {}
            }
        });
        ints.emit(self.asm);
        floats.emit(self.asm);
        for (argument, slot) in loads {
            match argument {
                ArgumentPlace::Int(to) => M::load_int(self, M::int(to), StackPlace::Spill(slot)),
                ArgumentPlace::Float(to) => {
                    M::load_float(self, M::float(to), StackPlace::Spill(slot));
                }
                ArgumentPlace::Stack(_) => {}
            }
        }
    }

    /// Takes the result of a call out of its register. `result` is the type code of the callee's result.
    pub(crate) fn take_result(&mut self, call: &Instruction, result: u8) {
        let Some(scalar) = self.instance.scalar(result).filter(|_| call.a != NONE) else { return };
        let file = M::REGISTERS;
        let (int, float) = (M::int(file.int.result), M::float(file.float.result));
        match self.location(call.a) {
            Location::Int(to) => {
                self.move_int(M::int(to), int);
                M::extend(self, M::int(to), scalar);
            }
            Location::Float(to) => self.move_float(M::float(to), float),
            Location::Frame(slot) if scalar.is_float() => {
                M::store_float(self, StackPlace::Spill(slot), float);
            }
            Location::Frame(slot) => {
                M::extend(self, int, scalar);
                M::store_int(self, StackPlace::Spill(slot), int);
            }
            _ => {}
        }
    }

    /// Brings the parameters from where the caller has put them to their locations, and zeroes the locals
    /// that may be read before they are set.
    pub(crate) fn take_parameters(&mut self) {
        let mut ints = RegisterMoves::<M::Int>::default();
        let mut floats = RegisterMoves::<M::Float>::default();
        self.each_parameter(|lowering, place, local, scalar| {
            match (place, lowering.location(local)) {
                (ArgumentPlace::Int(from), Location::Int(to)) => ints.add(M::int(to), M::int(from)),
                (ArgumentPlace::Float(from), Location::Float(to)) => {
                    floats.add(M::float(to), M::float(from));
                }
                (ArgumentPlace::Int(from), Location::Frame(slot)) => {
                    M::extend(lowering, M::int(from), scalar);
                    M::store_int(lowering, StackPlace::Spill(slot), M::int(from));
                }
                (ArgumentPlace::Float(from), Location::Frame(slot)) => {
                    M::store_float(lowering, StackPlace::Spill(slot), M::float(from));
                }
                _ => {}
            }
        });
        ints.emit(self.asm);
        floats.emit(self.asm);
        self.each_parameter(Self::finish_parameter);
        let liveness = self.liveness;
        let codes = self.body.local_codes();
        for &local in liveness.zeroed() {
            let scalar = codes.get(usize::from(local)).and_then(|&code| self.instance.scalar(code));
            if let Some(scalar) = scalar {
                M::zero(self, local, scalar);
            }
        }
    }

    fn each_parameter(&mut self, mut take: impl FnMut(&mut Self, ArgumentPlace, u16, Scalar)) {
        let mut places = ArgumentPlaces::new(M::REGISTERS);
        for (local, &code) in (0u16..).zip(self.body.signature().params) {
            let Some(scalar) = self.instance.scalar(code) else { continue };
            take(self, places.next(scalar.is_float()), local, scalar);
        }
    }

    /// Loads a parameter from the stack, and extends one in a register.
    fn finish_parameter(&mut self, place: ArgumentPlace, local: u16, scalar: Scalar) {
        match (place, self.location(local)) {
            (ArgumentPlace::Stack(offset), Location::Float(to)) => {
                M::load_float(self, M::float(to), StackPlace::Incoming(offset));
            }
            (ArgumentPlace::Stack(offset), Location::Int(to)) => {
                M::load_int(self, M::int(to), StackPlace::Incoming(offset));
                M::extend(self, M::int(to), scalar);
            }
            (ArgumentPlace::Stack(offset), Location::Frame(slot)) => {
                M::load_int(self, M::INT_SCRATCH, StackPlace::Incoming(offset));
                M::extend(self, M::INT_SCRATCH, scalar);
                M::store_int(self, StackPlace::Spill(slot), M::INT_SCRATCH);
            }
            (_, Location::Int(to)) => M::extend(self, M::int(to), scalar),
            _ => {}
        }
    }
}
