//! Prologue, epilogue and trap sites.
//!
//! ```text
//! x29 + 16   arguments of the caller that are on the stack
//! x29        frame record: the caller's x29, return address
//!            callee-saved registers in pairs, spill slots, stack slots
//! sp         arguments on the stack of the functions that are called
//! ```

use arrayvec::ArrayVec;

use super::Lower;
use crate::alloc_util::sort::sort_by_key;
use crate::codegen::aarch64::Extension;
use crate::codegen::aarch64::immediate::Imm12;
use crate::codegen::aarch64::memory::{Mem, PairMode};
use crate::codegen::aarch64::operand::{Cond, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::{Access, AddSub, Hint, Pair};
use crate::codegen::frame::PAGE;
use crate::codegen::options::{TRAP_HOOK, TrapConvention};
use crate::codegen::regalloc::Location;
use crate::codegen::unwind::UnwindOp;
use crate::ir::{Instruction, STACK_LIMIT, Scalar};

/// Functions with more instructions get branches that reach all of the code at once, instead of being lowered again when
/// one does not reach.
const MANY_INSTRUCTIONS: usize = 200_000;

/// A callee-saved register.
#[derive(Clone, Copy)]
enum Saved {
    Int(u8),
    Float(u8),
}

impl Saved {
    fn dwarf(self) -> u8 {
        match self {
            Self::Int(number) => number,
            Self::Float(number) => Fpr::new(number).dwarf_number(),
        }
    }
}

impl Lower<'_, '_> {
    /// The callee-saved registers that the function uses, from the frame pointer downwards.
    fn saved(&self) -> ArrayVec<Saved, 18> {
        let (ints, floats) = self.allocation.callee_saved();
        let numbers = |mask: u32| (0..32).filter(move |number| mask >> number & 1 != 0);
        numbers(ints).map(Saved::Int).chain(numbers(floats).map(Saved::Float)).take(18).collect()
    }

    fn define_cfa(&mut self, register: Gpr, offset: u32) {
        self.row(UnwindOp::DefineCfa { register: register.number(), offset });
    }

    pub(super) fn enter(&mut self) {
        if self.body.len() > MANY_INSTRUCTIONS {
            self.asm.set_long_branches(true);
        }
        let is_signed = self.frame.is_needed && self.options.sign_return_address;
        if is_signed {
            // A landing pad as well.
            self.asm.hint(Hint::PACIASP);
            self.row(UnwindOp::NegateReturnAddressState);
        } else if self.options.landing_pad {
            self.asm.hint(Hint::BTI_C);
        }
        if !self.frame.is_needed {
            return;
        }
        self.check_large_frame();
        self.asm.pair(Pair::STP_X, [Gpr::FP, Gpr::LR], PairMode::Pre, Gpr::SP, -16);
        self.define_cfa(Gpr::SP, 16);
        self.row(UnwindOp::Saved { register: 29, below: 16 });
        self.row(UnwindOp::Saved { register: 30, below: 8 });
        self.asm.mov_sp(Gpr::FP, Gpr::SP);
        self.define_cfa(Gpr::FP, 16);
        self.allocate(self.frame.size);
        self.move_saved(true);
    }

    /// The stack check of a large frame ([`early_stack_check`](Self::early_stack_check)).
    fn check_large_frame(&mut self) {
        let Some((limit_offset, handler_offset)) = self.early_stack_check() else { return };
        let (fits, whole) = (self.asm.label(), (Extension::Uxtx, 0));
        self.asm.mov_imm(Width::W64, Gpr::X16, self.frame.size.into());
        let lowest = [Gpr::X16, Gpr::SP, Gpr::X16];
        self.asm.add_sub_extended(AddSub::SUB, Width::W64, lowest, whole);
        let limit = self.address_of(Access::LDR_X, Gpr::X0, limit_offset.into());
        self.asm.memory(Access::LDR_X, Gpr::X17, limit);
        self.asm.add_sub(AddSub::SUBS, Width::W64, Gpr::ZR, Gpr::X16, Gpr::X17);
        self.asm.b_cond(Cond::Hs, fits);
        self.asm.mov_imm(Width::W32, Gpr::X1, STACK_LIMIT.into());
        self.asm.mov_imm(Width::W32, Gpr::X2, self.at().into());
        self.jump_to_handler(handler_offset);
        self.bind(fits);
    }

    /// Goes to the trap handler of the context in x0, with the code in x1 and the place in x2.
    fn jump_to_handler(&mut self, handler_offset: i32) {
        self.asm.mov_imm(Width::W32, Gpr::X3, self.options.tag.into());
        let handler = self.address_of(Access::LDR_X, Gpr::X0, handler_offset.into());
        self.asm.memory(Access::LDR_X, Gpr::X16, handler);
        self.asm.br(Gpr::X16);
    }

    /// Moves the stack pointer down. The canonical frame address depends on x29 already.
    fn allocate(&mut self, bytes: u32) {
        let pages = bytes / PAGE;
        let page = Imm12::new(PAGE.into()).unwrap_or(Imm12::ONE);
        if pages > 16 {
            let head = self.asm.label();
            self.asm.mov_imm(Width::W32, Gpr::X16, pages.into());
            self.bind(head);
            self.asm.add_sub_imm(AddSub::SUB, Width::W64, Gpr::SP, Gpr::SP, page);
            self.asm.memory(Access::STR_X, Gpr::ZR, Mem::Offset(Gpr::SP, 0));
            self.asm.add_sub_imm(AddSub::SUBS, Width::W32, Gpr::X16, Gpr::X16, Imm12::ONE);
            self.asm.b_cond(Cond::Ne, head);
        } else {
            for _ in 0..pages {
                self.asm.add_sub_imm(AddSub::SUB, Width::W64, Gpr::SP, Gpr::SP, page);
                self.asm.memory(Access::STR_X, Gpr::ZR, Mem::Offset(Gpr::SP, 0));
            }
        }
        let rest = Imm12::new(u64::from(bytes % PAGE));
        if let Some(rest) = rest.filter(|rest| rest.value() > 0) {
            self.asm.add_sub_imm(AddSub::SUB, Width::W64, Gpr::SP, Gpr::SP, rest);
        }
    }

    /// Stores or loads the callee-saved registers, in pairs where two of a class follow each other.
    fn move_saved(&mut self, is_store: bool) {
        let saved = self.saved();
        let mut rest = saved.as_slice();
        let mut below = 0u32;
        while let Some((&first, after)) = rest.split_first() {
            let pair = match (first, after.first()) {
                (Saved::Int(_), Some(&second @ Saved::Int(_))) => Some(second),
                (Saved::Float(_), Some(&second @ Saved::Float(_))) => Some(second),
                _ => None,
            };
            below += if pair.is_some() { 16 } else { 8 };
            self.move_pair(first, pair, -i64::from(below), is_store);
            // From the canonical frame address, which is 16 above the frame pointer.
            let lowest = below + 16;
            let highest = if pair.is_some() { lowest - 8 } else { lowest };
            self.saved_row(first, highest, is_store);
            if let Some(second) = pair {
                self.saved_row(second, lowest, is_store);
            }
            rest = after.get(usize::from(pair.is_some())..).unwrap_or(&[]);
        }
    }

    fn saved_row(&mut self, register: Saved, below: u32, is_store: bool) {
        let register = register.dwarf();
        self.row(match is_store {
            true => UnwindOp::Saved { register, below },
            false => UnwindOp::Restored { register },
        });
    }

    /// Moves one register, or two of which the second lies at the lower address.
    fn move_pair(&mut self, first: Saved, second: Option<Saved>, at: i64, is_store: bool) {
        let asm = &mut *self.asm;
        match (first, second) {
            (Saved::Int(first), Some(Saved::Int(second))) => {
                let op = if is_store { Pair::STP_X } else { Pair::LDP_X };
                let registers = [Gpr::new(second), Gpr::new(first)];
                asm.pair(op, registers, PairMode::Offset, Gpr::FP, at);
            }
            (Saved::Float(first), Some(Saved::Float(second))) => {
                let op = if is_store { Pair::STP_D } else { Pair::LDP_D };
                let registers = [Fpr::new(second), Fpr::new(first)];
                asm.pair_float(op, registers, PairMode::Offset, Gpr::FP, at);
            }
            (Saved::Int(first), _) => {
                let access = if is_store { Access::STR_X } else { Access::LDR_X };
                asm.memory(access, Gpr::new(first), Mem::Offset(Gpr::FP, at));
            }
            (Saved::Float(first), _) => {
                let access = if is_store { Access::STR_D } else { Access::LDR_D };
                asm.memory_float(access, Fpr::new(first), Mem::Offset(Gpr::FP, at));
            }
        }
    }

    /// Takes the frame down. The rules for unwinding are those at the entry, until
    /// [`left`](Self::left).
    pub(super) fn leave(&mut self) {
        if !self.frame.is_needed {
            return;
        }
        self.row(UnwindOp::RememberState);
        self.move_saved(false);
        if self.frame.size > 0 {
            self.asm.mov_sp(Gpr::SP, Gpr::FP);
        }
        self.asm.pair(Pair::LDP_X, [Gpr::FP, Gpr::LR], PairMode::Post, Gpr::SP, 16);
        self.define_cfa(Gpr::SP, 0);
        self.row(UnwindOp::Restored { register: 29 });
        self.row(UnwindOp::Restored { register: 30 });
        if self.options.sign_return_address {
            self.asm.hint(Hint::AUTIASP);
            self.row(UnwindOp::NegateReturnAddressState);
        }
    }

    pub(super) fn leave_and_return(&mut self) {
        self.leave();
        self.asm.ret();
        self.left();
    }

    pub(super) fn return_value(&mut self, local: u16, scalar: Scalar) {
        if scalar.is_float() {
            let from = self.fpr(local, Fpr::V0);
            self.move_float(Fpr::V0, from);
        } else {
            let from = self.int(local, Gpr::X0);
            self.move_int(Gpr::X0, from);
        }
        self.leave_and_return();
    }

    /// Puts down the trap sites, those of one code with or without operands together: the code goes to x16, the place to x17.
    pub(super) fn trap_sites(&mut self) {
        let mut traps = core::mem::take(&mut self.buffers.traps);
        sort_by_key(&mut traps, |site| (site.code, site.compared.is_some(), site.at));
        let mut exit = None;
        let mut known = None;
        for site in &traps {
            self.bind(site.label);
            if let Some(compared) = &site.compared {
                self.load_operands(compared);
            }
            self.asm.mov_imm(Width::W32, Gpr::X17, site.at.into());
            let kind = (site.code, site.compared.is_some());
            match known {
                Some((known, label)) if known == kind => self.asm.b(label),
                _ => {
                    let label = self.asm.label();
                    self.bind(label);
                    known = Some((kind, label));
                    self.asm.mov_imm(Width::W32, Gpr::X16, site.code.into());
                    if site.compared.is_none() && self.options.traps == TrapConvention::Hook {
                        self.asm.mov_imm(Width::W64, Gpr::X3, 0);
                        self.asm.mov_imm(Width::W64, Gpr::X4, 0);
                    }
                    match exit {
                        Some(exit) => self.asm.b(exit),
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

    /// Loads the operands of a conditional trap for the hook.
    fn load_operands(&mut self, compared: &Instruction) {
        let left = self.int(compared.a, Gpr::X16);
        self.move_int(Gpr::X16, left);
        if compared.immediate {
            let right = i64::from(compared.number()).cast_unsigned();
            self.asm.mov_imm(Width::W64, Gpr::X4, right);
        } else {
            let right = self.int(compared.b, Gpr::X17);
            self.move_int(Gpr::X4, right);
        }
        self.move_int(Gpr::X3, Gpr::X16);
    }

    /// Goes to the trap handler.
    fn exit(&mut self) {
        let [code, place] = match self.options.traps {
            TrapConvention::Hook => [Gpr::X0, Gpr::X1],
            TrapConvention::Context { .. } => {
                if let Location::Int(_) | Location::Frame(_) = self.location(0) {
                    let context = self.int(0, Gpr::X0);
                    self.move_int(Gpr::X0, context);
                }
                [Gpr::X1, Gpr::X2]
            }
        };
        self.asm.mov(Width::W32, code, Gpr::X16);
        self.asm.mov(Width::W32, place, Gpr::X17);
        match self.options.traps {
            TrapConvention::Hook => {
                self.asm.address(Gpr::X2, self.start, Gpr::X17);
                self.leave();
                self.asm.b_target(TRAP_HOOK);
                self.left();
            }
            TrapConvention::Context { handler_offset } => self.jump_to_handler(handler_offset),
        }
    }

    /// The address `bytes` from a base register. Uses x17.
    pub(super) fn address_of(&mut self, access: Access, base: Gpr, bytes: i64) -> Mem {
        if access.encodes(bytes) {
            return Mem::Offset(base, bytes);
        }
        self.asm.mov_imm(Width::W64, Gpr::X17, bytes.cast_unsigned());
        Mem::Index(base, Gpr::X17, Extension::Uxtx, false)
    }

    /// Traps if the stack pointer is below the address in memory.
    pub(super) fn check_stack(&mut self, i: &crate::ir::Instruction) {
        let base = self.int(i.a, Gpr::X16);
        let place = self.address_of(Access::LDR_X, base, i.imm.into());
        self.asm.memory(Access::LDR_X, Gpr::X16, place);
        let operands = [Gpr::ZR, Gpr::SP, Gpr::X16];
        let whole = (Extension::Uxtx, 0);
        self.asm.add_sub_extended(AddSub::SUBS, Width::W64, operands, whole);
        let trap = self.trap(STACK_LIMIT);
        self.asm.b_cond(Cond::Lo, trap);
    }
}
