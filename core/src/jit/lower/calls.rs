//! Calls: of other functions, in place of this one, and of the host.

use super::abi::Shared;
use super::frame::{signed, stack_bytes};
use super::values::SCRATCH;
use super::{Body, Lowering};
use crate::codegen::ARGUMENTS;
use crate::codegen::x64::{Cond, Gpr, GprOrStack, Index, Mem, Scale, W16, W32, W64};

/// Arguments that come in registers.
const IN_REGISTERS: u32 = 6;

impl Body<'_, '_> {
    /// Pops the arguments, calls a function and pushes its result.
    pub(super) fn call(&mut self, function: u32, argc: u16) {
        self.save_for_call(argc);
        self.pass(argc);
        self.l.put_call(function);
        self.l.restore_after_call();
        self.push_result(Gpr::Rax);
    }

    /// Pops the arguments, calls a function of the host and pushes its result.
    pub(super) fn call_host(&mut self, index: u16, argc: u16) {
        self.save_for_call(argc);
        self.pass(argc);
        self.l.put_host_call(index, argc);
        self.l.restore_after_call();
        self.push_result(Gpr::Rax);
    }

    /// Brings what a call does not keep to words of the frame, but for the arguments.
    fn save_for_call(&mut self, argc: u16) {
        let length = self.l.values.length();
        self.flush_registers(length.saturating_sub(argc.into()));
        self.l.save_homes();
    }

    /// Pops the arguments and puts them where the callee looks for them. No other value is in a
    /// temporary register.
    fn pass(&mut self, argc: u16) {
        let bytes = signed(stack_bytes(argc));
        if bytes != 0 {
            self.l.asm.sub(W64, Gpr::Rsp, bytes);
            self.l.frame.moved = bytes;
        }
        for number in (IN_REGISTERS..u32::from(argc)).rev() {
            let value = self.pop();
            let place = GprOrStack::stack(8 * signed(number - IN_REGISTERS));
            self.store_word(place, value);
            self.release(value);
        }
        self.pop_into_registers(argc);
        self.l.frame.moved = 0;
    }

    /// Pops the arguments that are passed in registers, and moves them there.
    fn pop_into_registers(&mut self, argc: u16) {
        for number in (0..usize::from(argc).min(ARGUMENTS.len())).rev() {
            let value = self.pop();
            let Some(&register) = ARGUMENTS.get(number) else { continue };
            let source = self.source(value);
            self.l.moves.add(register, source);
            self.release(value);
        }
        self.l.moves.emit(&mut self.l.asm);
    }

    /// Pops the arguments and goes on in the function, which returns to this function's caller.
    pub(super) fn tail_call(&mut self, function: u32, argc: u16) -> bool {
        if stack_bytes(argc) == 0 && self.l.frame.incoming_bytes() == 0 {
            self.pop_into_registers(argc);
            self.l.epilogue(Gpr::Rax);
        } else {
            self.pass(argc);
            self.replace_frame(argc);
        }
        if function == self.l.index {
            let entry = self.l.entry;
            self.l.asm.jmp(entry);
        } else {
            self.l.asm.jmp_to(entry_of(function));
        }
        false
    }

    /// The arguments of the callee are at the end of the stack: moves them up to where those of this
    /// function end, with its return address in front, and `rsp` to that. All registers of arguments
    /// stay.
    fn replace_frame(&mut self, argc: u16) {
        let (bytes, frame) = (stack_bytes(argc), self.l.frame);
        let moved = signed(bytes);
        let end = moved + frame.return_address() + 8 + signed(frame.incoming_bytes());
        let asm = &mut self.l.asm;
        asm.movq(SCRATCH, Mem::at(Gpr::Rsp, moved + frame.return_address()));
        self.l.restore_saved(moved);
        // From the last one down, so that none is overwritten before it has been read.
        if bytes != 0 {
            let to = end - signed(bytes);
            let asm = &mut self.l.asm;
            asm.mov_imm(Gpr::R10, u64::from(bytes / 8));
            let again = asm.label();
            asm.bind(again);
            asm.mov(W64, Gpr::R11, Mem::at(Gpr::Rsp, -8).indexed(Index::R10, Scale::By8));
            asm.mov(W64, Mem::at(Gpr::Rsp, to - 8).indexed(Index::R10, Scale::By8), Gpr::R11);
            asm.dec(W32, Gpr::R10);
            asm.jcc(Cond::Ne, again);
        }
        self.l.release_budget(Gpr::Rax);
        let asm = &mut self.l.asm;
        asm.lea(W64, Gpr::Rsp, Mem::at(Gpr::Rsp, end - signed(bytes) - 8));
        asm.movq(Mem::at(Gpr::Rsp, 0), SCRATCH);
    }
}

impl Lowering {
    /// Calls a function, whose arguments are where it looks for them.
    pub(super) fn put_call(&mut self, function: u32) {
        self.asm.dec(W16, Gpr::Rbp);
        self.trap_too_deep_if(Cond::S, function);
        if function == self.index {
            self.asm.call(self.entry);
        } else {
            self.asm.call_to(entry_of(function));
        }
        self.asm.inc(W16, Gpr::Rbp);
    }

    /// Calls a function of the host, and takes its arguments off the stack.
    pub(super) fn put_host_call(&mut self, index: u16, argc: u16) {
        let asm = &mut self.asm;
        asm.mov(W64, Gpr::Rax, Mem::at(Gpr::Rbx, Shared::HOST_FUNCTIONS));
        asm.call_to(Mem::at(Gpr::Rax, 8 * i32::from(index)));
        let bytes = stack_bytes(argc);
        if bytes != 0 {
            self.asm.add(W64, Gpr::Rsp, signed(bytes));
        }
        self.asm.cmp(W32, Mem::at(Gpr::Rbx, Shared::HOST_ERROR), 0);
        self.host_trap_if(Cond::Ne);
    }

    /// Brings to words of the frame what lives in registers that a call does not keep.
    fn save_homes(&mut self) {
        for (variable, register) in self.homes.volatile() {
            let word = self.frame.word(variable);
            self.asm.mov(W64, word, register);
        }
    }

    /// Brings it back.
    fn restore_after_call(&mut self) {
        for (variable, register) in self.homes.volatile() {
            let word = self.frame.word(variable);
            self.asm.mov(W64, register, word);
        }
    }
}

/// The entry of a function in the engine's table.
fn entry_of(function: u32) -> Mem {
    // A program has fewer functions than that.
    Mem::at(Gpr::Rbx, Shared::FUNCTIONS.saturating_add(signed(function).saturating_mul(8)))
}
