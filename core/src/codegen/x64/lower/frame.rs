//! Prologue, epilogue and trap sites.

use super::Lower;
use crate::codegen::frame::PAGE;
use crate::codegen::lowering::{TrapExits, TrapSite};
use crate::codegen::options::{TRAP_HOOK, TrapConvention};
use crate::codegen::regalloc::Location;
use crate::codegen::unwind::UnwindOp;
use crate::codegen::x64::operand::{Cond, Gpr, Mem, Rip, W8, W32, W64};
use crate::ir::{Instruction, STACK_LIMIT, Scalar};

/// The callee-saved registers that hold locals, in the order in which they are pushed.
const SAVED: [Gpr; 5] = [Gpr::Rbx, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// The greatest code and place of a trap that fit one register of 32 bits.
const MAX_PACKED_CODE: u32 = 0xff;
const MAX_PACKED_PLACE: u32 = 0xff_ffff;

impl Lower<'_, '_> {
    fn saved(&self) -> impl DoubleEndedIterator<Item = Gpr> + use<> {
        let (mask, _) = self.allocation.callee_saved();
        SAVED.into_iter().filter(move |register| mask >> register.number() & 1 != 0)
    }

    fn define_cfa(&mut self, register: Gpr, offset: u32) {
        self.row(UnwindOp::DefineCfa { register: register.dwarf_number(), offset });
    }

    pub(super) fn enter(&mut self) {
        if self.options.landing_pad {
            self.asm.endbr64();
        }
        if !self.frame.is_needed {
            return;
        }
        self.check_large_frame();
        self.asm.push(Gpr::Rbp);
        self.define_cfa(Gpr::Rsp, 16);
        let mut below = 16;
        self.row(UnwindOp::Saved { register: Gpr::Rbp.dwarf_number(), below });
        self.asm.mov(W64, Gpr::Rbp, Gpr::Rsp);
        self.define_cfa(Gpr::Rbp, 16);
        for register in self.saved() {
            self.asm.push(register);
            below += 8;
            self.row(UnwindOp::Saved { register: register.dwarf_number(), below });
        }
        self.allocate(self.frame.size - self.frame.saved);
    }

    /// The stack check of a large frame ([`early_stack_check`](Self::early_stack_check)).
    fn check_large_frame(&mut self) {
        let Some((limit_offset, handler_offset)) = self.early_stack_check() else { return };
        let fits = self.asm.label();
        self.asm.lea(W64, Gpr::Rax, Mem::at(Gpr::Rsp, -self.frame.size.cast_signed()));
        self.asm.cmp(W64, Gpr::Rax, Mem::at(Gpr::Rdi, limit_offset));
        self.asm.jcc(Cond::Ae, fits);
        self.asm.mov_imm(Gpr::Rsi, STACK_LIMIT.into());
        self.asm.mov_imm(Gpr::Rdx, self.at().into());
        self.asm.mov_imm(Gpr::Rcx, self.options.tag.into());
        self.asm.jmp_to(Mem::at(Gpr::Rdi, handler_offset));
        self.bind(fits);
    }

    /// Moves the stack pointer down. The canonical frame address depends on rbp already.
    fn allocate(&mut self, bytes: u32) {
        let touched = Mem::at(Gpr::Rsp, 0);
        if bytes > 16 * PAGE {
            let pages = bytes / PAGE;
            let head = self.asm.label();
            self.asm.mov_imm(Gpr::Rax, pages.into());
            self.bind(head);
            self.asm.sub(W64, Gpr::Rsp, PAGE.cast_signed());
            self.asm.test(W64, touched, Gpr::Rsp);
            self.asm.dec(W64, Gpr::Rax);
            self.asm.jcc(Cond::Ne, head);
        } else {
            for _ in 0..bytes / PAGE {
                self.asm.sub(W64, Gpr::Rsp, PAGE.cast_signed());
                self.asm.test(W64, touched, Gpr::Rsp);
            }
        }
        match bytes % PAGE {
            0 => {}
            // The shortest instructions that do it.
            rest @ (8 | 16) => (0..rest / 8).for_each(|_| self.asm.push(Gpr::Rax)),
            rest => self.asm.sub(W64, Gpr::Rsp, rest.cast_signed()),
        }
    }

    /// Takes the frame down. The rules for unwinding are those at the entry, until
    /// [`left`](Self::left).
    /// Changes `scratch` and the flags.
    pub(super) fn leave(&mut self, scratch: Gpr) {
        if !self.frame.is_needed {
            return;
        }
        self.row(UnwindOp::RememberState);
        // Not by the frame pointer: the stack pointer of the caller would wait for the load of that register, and so would
        // everything that the caller pops.
        match self.frame.size - self.frame.saved {
            0 => {}
            size @ (8 | 16) => (0..size / 8).for_each(|_| self.asm.pop(scratch)),
            size => self.asm.add(W64, Gpr::Rsp, size.cast_signed()),
        }
        for register in self.saved().rev() {
            self.asm.pop(register);
            self.row(UnwindOp::Restored { register: register.dwarf_number() });
        }
        self.asm.pop(Gpr::Rbp);
        self.define_cfa(Gpr::Rsp, 8);
        self.row(UnwindOp::Restored { register: Gpr::Rbp.dwarf_number() });
    }

    pub(super) fn leave_and_return(&mut self) {
        self.leave(Gpr::Rcx);
        self.asm.ret();
        self.left();
    }

    pub(super) fn return_value(&mut self, local: u16, scalar: Scalar) {
        if scalar.is_float() {
            use crate::codegen::x64::operand::Xmm;
            let from = self.xmm(local, scalar, Xmm::Xmm0);
            self.move_float(Xmm::Xmm0, from);
        } else {
            let from = self.place(local);
            self.move_place(Gpr::Rax, from, scalar);
        }
        self.leave_and_return();
    }

    /// The registers of the place of a trap and of its code.
    fn trap_registers(&self) -> [Gpr; 2] {
        match self.options.traps {
            TrapConvention::Hook => [Gpr::Rsi, Gpr::Rdi],
            TrapConvention::Context { .. } => [Gpr::Rdx, Gpr::Rsi],
        }
    }

    /// Traps in any case.
    pub(super) fn trap_here(&mut self, code: u32) {
        self.trap(code);
        self.last_trap_site();
    }

    /// Puts down the trap site that [`trap`](Self::trap) has returned last, where control does not come from above.
    pub(super) fn last_trap_site(&mut self) {
        if let Some(site) = self.buffers.traps.pop() {
            self.put_trap_site(&site);
        }
    }

    /// Puts down a trap site: the operands, if the trap states them, one instruction that loads code and place, if they are
    /// small, and a jump.
    fn put_trap_site(&mut self, site: &TrapSite) {
        let [place, number] = self.trap_registers();
        self.bind(site.label);
        if let Some(compared) = &site.compared {
            self.load_operands(compared);
        }
        let is_packed = site.code <= MAX_PACKED_CODE && site.at <= MAX_PACKED_PLACE;
        let exit = match (is_packed, site.compared) {
            (true, Some(_)) => &mut self.exits.packed,
            (true, None) => &mut self.exits.packed_plain,
            (false, _) => &mut self.exits.unpacked,
        };
        let exit = *exit.get_or_insert_with(|| self.asm.label());
        if is_packed {
            self.asm.mov_imm(place, u64::from(site.at << 8 | site.code));
            return self.asm.jmp(exit);
        }
        if site.compared.is_none() {
            self.zero_operands();
        }
        self.load_context();
        self.asm.mov_imm(place, site.at.into());
        self.asm.mov_imm(number, site.code.into());
        self.asm.jmp(exit);
    }

    /// Loads the operands of a conditional trap for the hook. No local is in rcx.
    fn load_operands(&mut self, compared: &Instruction) {
        let left = self.place(compared.a);
        self.move_place(Gpr::Rcx, left, Scalar::U64);
        if compared.immediate {
            return self.integer_constant(Gpr::R8, i64::from(compared.number()).cast_unsigned());
        }
        let right = self.place(compared.b);
        self.move_place(Gpr::R8, right, Scalar::U64);
    }

    /// Loads the operands of a trap that states none, for the hook.
    fn zero_operands(&mut self) {
        if self.options.traps == TrapConvention::Hook {
            self.integer_constant(Gpr::Rcx, 0);
            self.integer_constant(Gpr::R8, 0);
        }
    }

    /// Puts down the trap sites and what they share.
    pub(super) fn trap_sites(&mut self) {
        let traps = core::mem::take(&mut self.buffers.traps);
        traps.iter().for_each(|site| self.put_trap_site(site));
        self.buffers.traps = traps;
        let [place, number] = self.trap_registers();
        let TrapExits { packed_plain, packed, unpacked } = self.exits;
        if let Some(packed_plain) = packed_plain {
            self.bind(packed_plain);
            self.zero_operands();
        }
        if let Some(packed) = packed {
            self.bind(packed);
        }
        if packed_plain.or(packed).is_some() {
            self.load_context();
            self.asm.movzx(number, W8, place);
            self.asm.shr(W32, place, 8u8);
        }
        if let Some(unpacked) = unpacked {
            self.bind(unpacked);
        }
        if packed_plain.or(packed).or(unpacked).is_some() {
            self.exit();
        }
    }

    /// Loads the context of a trap. Nothing where traps go to the hook.
    fn load_context(&mut self) {
        if self.options.traps == TrapConvention::Hook {
            return;
        }
        match self.location(0) {
            Location::Int(_) | Location::Frame(_) => {
                let context = self.place(0);
                self.move_place(Gpr::Rdi, context, Scalar::Pointer);
            }
            _ => {}
        }
    }

    /// Goes to the trap handler.
    fn exit(&mut self) {
        match self.options.traps {
            TrapConvention::Hook => {
                self.asm.lea(W64, Gpr::Rdx, Rip::Label(self.start));
                self.leave(Gpr::Rax);
                self.asm.jmp_symbol(TRAP_HOOK);
                self.left();
            }
            TrapConvention::Context { handler_offset } => {
                self.integer_constant(Gpr::Rcx, self.options.tag.into());
                self.asm.jmp_to(Mem::at(Gpr::Rdi, handler_offset));
            }
        }
    }
}
