//! Calls.

use super::Lower;
use crate::codegen::aarch64::operand::Gpr;
use crate::codegen::frame::StackPlace;
use crate::ir::{Instruction, Opcode};

impl Lower<'_, '_> {
    pub(super) fn call(&mut self, i: &Instruction) {
        let Some((callee, arguments)) = self.callee_or_fail(i) else { return };
        self.pass_on_stack(&arguments, StackPlace::Outgoing);
        let is_indirect = i.opcode == Opcode::CallIndirect;
        let address = if is_indirect { self.call_address(i.c) } else { Gpr::X17 };
        self.pass_in_registers(&arguments);
        match (is_indirect, self.is_own(&callee)) {
            (true, _) => self.asm.blr(address),
            (false, true) => self.asm.bl(self.start),
            (false, false) => self.asm.bl_target(i.b.into()),
        }
        self.take_result(i, callee.signature.result);
    }

    /// The address of an indirect call, in a register that passes no argument: x17, or that of the local.
    fn call_address(&mut self, local: u16) -> Gpr {
        let address = self.int(local, Gpr::X17);
        if address.number() < 8 {
            self.move_int(Gpr::X17, address);
            return Gpr::X17;
        }
        address
    }

    /// A call whose result is that of this function. Its arguments on the stack take the place of the function's own.
    pub(super) fn tail_call(&mut self, i: &Instruction) {
        let Some((callee, arguments)) = self.callee_or_fail(i) else { return };
        let Some(_) = self.pass_in_own_place(&arguments) else { return };
        let is_indirect = i.opcode == Opcode::ReturnCallIndirect;
        if is_indirect {
            // x17: from there a jump may lead to a landing pad for calls.
            let address = self.int(i.c, Gpr::X17);
            self.move_int(Gpr::X17, address);
        }
        self.pass_in_registers(&arguments);
        self.leave();
        match (is_indirect, self.is_own(&callee)) {
            (true, _) => self.asm.br(Gpr::X17),
            (false, true) => self.asm.b(self.start),
            (false, false) => self.asm.b_target(i.b.into()),
        }
        self.left();
    }

    pub(super) fn function_address(&mut self, i: &Instruction) {
        let to = self.int_destination(i.a);
        match self.body.callee(i.b) {
            Ok(callee) if self.is_own(&callee) => {
                self.asm.address(to, self.start, Gpr::X17);
            }
            Ok(_) => self.asm.load_address(to, i.b.into()),
            Err(error) => return self.fail(error),
        }
        self.set_int(i.a, to);
    }
}
