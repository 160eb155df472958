//! Calls.

use super::Lower;
use crate::codegen::frame::StackPlace;
use crate::codegen::x64::operand::{Gpr, GprOrStack, Rip, W64};
use crate::ir::{Callee, CalleeKind, Instruction, Opcode, Scalar};

/// The registers of the first six integer arguments.
/// Source: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing".
const ARGUMENTS: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::Rcx, Gpr::R8, Gpr::R9];

impl Lower<'_, '_> {
    /// A function of variable arguments asks for an upper bound of the number of SSE registers with arguments.
    fn count_floats(&mut self, callee: &Callee<'_>, floats: u8) {
        if callee.kind == CalleeKind::Host {
            self.integer_constant(Gpr::Rax, floats.into());
        }
    }

    pub(super) fn call(&mut self, i: &Instruction) {
        let Some((callee, arguments)) = self.callee_or_fail(i) else { return };
        let (_, floats) = self.pass_on_stack(&arguments, StackPlace::Outgoing);
        let is_indirect = i.opcode == Opcode::CallIndirect;
        let address = if is_indirect { self.call_address(i.c) } else { Gpr::Rax.into() };
        self.pass_in_registers(&arguments);
        match (is_indirect, self.is_own(&callee)) {
            (true, _) => self.asm.call_to(address),
            (false, true) => self.asm.call(self.start),
            (false, false) => {
                self.count_floats(&callee, floats);
                self.asm.call_symbol(i.b.into());
            }
        }
        self.take_result(i, callee.signature.result);
    }

    /// The address of an indirect call, in a place that passes no argument: rax, or that of the local.
    fn call_address(&mut self, local: u16) -> GprOrStack {
        let address = self.place(local);
        if address.register().is_some_and(|register| ARGUMENTS.contains(&register)) {
            self.move_place(Gpr::Rax, address, Scalar::Pointer);
            return Gpr::Rax.into();
        }
        address
    }

    /// A call whose result is that of this function. Its arguments on the stack take the place of the function's own.
    pub(super) fn tail_call(&mut self, i: &Instruction) {
        let Some((callee, arguments)) = self.callee_or_fail(i) else { return };
        let Some(floats) = self.pass_in_own_place(&arguments) else { return };
        let is_indirect = i.opcode == Opcode::ReturnCallIndirect;
        if is_indirect {
            let address = self.place(i.c);
            self.move_place(Gpr::Rax, address, Scalar::Pointer);
        }
        self.pass_in_registers(&arguments);
        // No argument is in r11.
        self.leave(Gpr::R11);
        match (is_indirect, self.is_own(&callee)) {
            (true, _) => self.asm.jmp_to(Gpr::Rax),
            (false, true) => self.asm.jmp(self.start),
            (false, false) => {
                self.count_floats(&callee, floats);
                self.asm.jmp_symbol(i.b.into());
            }
        }
        self.left();
    }

    pub(super) fn function_address(&mut self, i: &Instruction) {
        let to = self.int_destination(i.a);
        match self.body.callee(i.b) {
            Ok(callee) if self.is_own(&callee) => self.asm.lea(W64, to, Rip::Label(self.start)),
            Ok(_) => self.asm.mov_symbol(to, i.b.into(), 0),
            Err(error) => return self.fail(error),
        }
        self.set_int(i.a, to);
    }
}
