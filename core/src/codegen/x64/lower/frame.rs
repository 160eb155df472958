//! Prologue, epilogue and trap sites.

use super::Lower;
use crate::alloc_util::sort::sort_by_key;
use crate::codegen::options::{TRAP_HOOK, TrapConvention};
use crate::codegen::regalloc::Location;
use crate::codegen::unwind::UnwindOp;
use crate::codegen::x64::operand::{Cond, Gpr, Mem, Rip, W64};
use crate::ir::{Opcode, STACK_LIMIT, Scalar};

/// The callee-saved registers that hold locals, in the order in which they are pushed.
const SAVED: [Gpr; 5] = [Gpr::Rbx, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// Frames that are larger touch every page in order, so that the guard page of the stack is not skipped.
const PAGE: u32 = 4096;

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

    /// If the function starts with a stack check and has a large frame, checks before the frame is set up: its first
    /// write could lie behind the guard page of the stack. The context is where the caller has put it.
    fn check_large_frame(&mut self) {
        let first = self.body.instruction(0);
        let check = first.filter(|first| first.opcode == Opcode::CheckStack && first.a == 0);
        let (Some(check), TrapConvention::Context { handler_offset }) = (check, self.options.traps)
        else {
            return;
        };
        if self.frame.size < PAGE {
            return;
        }
        let fits = self.asm.label();
        self.asm.lea(W64, Gpr::Rax, Mem::at(Gpr::Rsp, -self.frame.size.cast_signed()));
        self.asm.cmp(W64, Gpr::Rax, Mem::at(Gpr::Rdi, check.imm));
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
        if !bytes.is_multiple_of(PAGE) {
            self.asm.sub(W64, Gpr::Rsp, (bytes % PAGE).cast_signed());
        }
    }

    /// Takes the frame down. The rules for unwinding are those at the entry, until
    /// [`left`](Self::left).
    pub(super) fn leave(&mut self) {
        if !self.frame.is_needed {
            return;
        }
        self.row(UnwindOp::RememberState);
        let saved = self.frame.saved;
        if self.frame.size > saved {
            // Not by the frame pointer: the stack pointer of the caller would wait for the load of that register, and so
            // would everything that the caller pops.
            self.asm.add(W64, Gpr::Rsp, (self.frame.size - saved).cast_signed());
        }
        for register in self.saved().rev() {
            self.asm.pop(register);
            self.row(UnwindOp::Restored { register: register.dwarf_number() });
        }
        self.asm.pop(Gpr::Rbp);
        self.define_cfa(Gpr::Rsp, 8);
        self.row(UnwindOp::Restored { register: Gpr::Rbp.dwarf_number() });
    }

    /// Ends the code behind [`leave`](Self::leave).
    pub(super) fn left(&mut self) {
        if self.frame.is_needed {
            self.row(UnwindOp::RestoreState);
        }
    }

    pub(super) fn leave_and_return(&mut self) {
        self.leave();
        self.asm.ret();
        self.left();
    }

    pub(super) fn return_value(&mut self, local: u16, scalar: Scalar) {
        if scalar.is_float() {
            use crate::codegen::x64::operand::Xmm;
            let from = self.xmm(local, scalar, Xmm::Xmm0);
            self.move_xmm(Xmm::Xmm0, from);
        } else {
            let from = self.place(local);
            self.move_place(Gpr::Rax, from, scalar);
        }
        self.leave_and_return();
    }

    /// Puts down the trap sites, those of one code together. All but the first jump back to what they share.
    pub(super) fn trap_sites(&mut self) {
        let mut traps = core::mem::take(&mut self.buffers.traps);
        sort_by_key(&mut traps, |site| (site.code, site.at));
        let (place, number) = match self.options.traps {
            TrapConvention::Hook => (Gpr::Rsi, Gpr::Rdi),
            TrapConvention::Context { .. } => (Gpr::Rdx, Gpr::Rsi),
        };
        let mut exit = None;
        let mut known = None;
        for site in &traps {
            self.bind(site.label);
            self.asm.mov_imm(place, site.at.into());
            match known {
                Some((code, label)) if code == site.code => self.asm.jmp(label),
                _ => {
                    let label = self.asm.label();
                    self.bind(label);
                    known = Some((site.code, label));
                    self.load_context();
                    self.asm.mov_imm(number, site.code.into());
                    match exit {
                        Some(exit) => self.asm.jmp(exit),
                        None => {
                            let label = self.asm.label();
                            self.bind(label);
                            exit = Some(label);
                            self.exit();
                        }
                    }
                }
            }
        }
        self.buffers.traps = traps;
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
                self.leave();
                self.asm.jmp_symbol(TRAP_HOOK);
                self.left();
            }
            TrapConvention::Context { handler_offset } => {
                self.asm.mov_imm(Gpr::Rcx, self.options.tag.into());
                self.asm.jmp_to(Mem::at(Gpr::Rdi, handler_offset));
            }
        }
    }
}
