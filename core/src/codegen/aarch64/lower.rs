//! Lowering of IR to aarch64.
//!
//! Locals are in `x0` to `x15`, `x19` to `x28`, `v0` to `v29`, or in spill slots above `sp`. `x16 x17 v30 v31` are scratch
//! registers of one instruction; so is `x30` where the function has a frame, which every function with a spilled local has.
//! `x18` belongs to the platform. The destination of an instruction may be the register of any of its sources, so that
//! sources are read before it is written, or the result is computed in a scratch register.
//!
//! Source: Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64), 6.1 "Machine Registers".

mod block;
mod call;
mod checked;
mod compare;
mod convert;
mod float;
mod frame;
mod integer;
mod memory;
mod value;

use crate::codegen::aarch64::assembler::Assembler;
use crate::codegen::aarch64::memory::Mem;
use crate::codegen::aarch64::operand::{Float, Fpr, Gpr, Width};
use crate::codegen::aarch64::table::Access;
use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::Code;
use crate::codegen::dispatch::dispatch;
use crate::codegen::frame::StackPlace;
use crate::codegen::label::{Label, Labels};
use crate::codegen::lowering::{Lowering, Machine};
use crate::codegen::machine::{MachineAssembler, Register};
use crate::codegen::regalloc::{ClassRegisters, RegisterFile};
use crate::codegen::unwind::UnwindMachine;
use crate::format::Arch;
use crate::ir::interpret::number;
use crate::ir::{Instruction, Opcode, Scalar};

/// The machine aarch64 for the code generator.
#[derive(Debug)]
pub enum Aarch64 {}

/// Registers that pass no arguments come first.
static REGISTERS: RegisterFile = RegisterFile {
    int: ClassRegisters {
        caller_saved: &[8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 4, 3, 2, 1, 0],
        caller_saved_with_calls: &[8, 9, 10, 11, 12, 13, 14, 15, 7, 6, 5, 4, 3, 2, 1, 0],
        callee_saved: &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28],
        arguments: &[0, 1, 2, 3, 4, 5, 6, 7],
        result: 0,
    },
    float: ClassRegisters {
        caller_saved: &[
            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 7, 6, 5, 4, 3, 2, 1, 0,
        ],
        caller_saved_with_calls: &[
            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 7, 6, 5, 4, 3, 2, 1, 0,
        ],
        callee_saved: &[8, 9, 10, 11, 12, 13, 14, 15],
        arguments: &[0, 1, 2, 3, 4, 5, 6, 7],
        result: 0,
    },
};

/// A function that is being lowered to aarch64.
pub(super) type Lower<'c, 'i> = Lowering<'c, 'i, Aarch64>;

impl MachineAssembler for Assembler {
    fn clear(&mut self) {
        Assembler::clear(self);
    }

    #[inline]
    fn label(&mut self) -> Label {
        Assembler::label(self)
    }

    fn labels(&mut self, count: usize) -> Labels {
        Assembler::labels(self, count)
    }

    #[inline]
    fn bind(&mut self, label: Label) {
        Assembler::bind(self, label);
    }

    #[inline]
    fn position(&self) -> u32 {
        self.offset()
    }

    fn align_data(&mut self, alignment: u32) {
        self.put_data(&[], alignment);
    }

    fn data(&mut self, bytes: &[u8]) {
        self.put_data(bytes, 1);
    }

    fn extend_reach(&mut self) -> bool {
        let is_far = matches!(Assembler::code(self), Err(AssembleError::BranchRange { .. }));
        let extends = is_far && !self.has_long_branches();
        if extends {
            Assembler::clear(self);
            self.set_long_branches(true);
        }
        extends
    }

    fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        Assembler::code(self)
    }
}

impl Register<Assembler> for Gpr {
    #[inline]
    fn mov(asm: &mut Assembler, to: Self, from: Self) {
        asm.mov(Width::W64, to, from);
    }

    fn exchange(asm: &mut Assembler, one: Self, other: Self) {
        asm.mov(Width::W64, Gpr::X16, one);
        asm.mov(Width::W64, one, other);
        asm.mov(Width::W64, other, Gpr::X16);
    }
}

impl Register<Assembler> for Fpr {
    #[inline]
    fn mov(asm: &mut Assembler, to: Self, from: Self) {
        asm.fmov(Float::F64, to, from);
    }

    fn exchange(asm: &mut Assembler, one: Self, other: Self) {
        asm.fmov(Float::F64, Fpr::V31, one);
        asm.fmov(Float::F64, one, other);
        asm.fmov(Float::F64, other, Fpr::V31);
    }
}

impl Machine for Aarch64 {
    type Assembler = Assembler;
    type Int = Gpr;
    type Float = Fpr;

    const REGISTERS: &'static RegisterFile = &REGISTERS;
    const ARCH: Arch = Arch::AARCH64;

    const UNWIND: UnwindMachine = UnwindMachine {
        return_address: 30,
        stack_pointer: 31,
        entry_offset: 0,
        pushes_return_address: false,
        code_alignment: 4,
    };
    const INT_SCRATCH: Gpr = Gpr::X16;
    const FLOAT_SCRATCH: Fpr = Fpr::V31;

    #[inline]
    fn int(number: u8) -> Gpr {
        Gpr::new(number)
    }

    #[inline]
    fn float(number: u8) -> Fpr {
        Fpr::new(number)
    }

    fn enter(lowering: &mut Lower<'_, '_>) {
        lowering.enter();
    }

    fn load_int(lowering: &mut Lower<'_, '_>, to: Gpr, from: StackPlace) {
        let from = lowering.stack(Access::LDR_X, from, to);
        lowering.asm.memory(Access::LDR_X, to, from);
    }

    fn store_int(lowering: &mut Lower<'_, '_>, to: StackPlace, from: Gpr) {
        let scratch = if from == Gpr::X16 { Gpr::X17 } else { Gpr::X16 };
        let to = lowering.stack(Access::STR_X, to, scratch);
        lowering.asm.memory(Access::STR_X, from, to);
    }

    fn load_float(lowering: &mut Lower<'_, '_>, to: Fpr, from: StackPlace) {
        let from = lowering.stack(Access::LDR_D, from, Gpr::X16);
        lowering.asm.memory_float(Access::LDR_D, to, from);
    }

    fn store_float(lowering: &mut Lower<'_, '_>, to: StackPlace, from: Fpr) {
        let to = lowering.stack(Access::STR_D, to, Gpr::X16);
        lowering.asm.memory_float(Access::STR_D, from, to);
    }

    fn extend(lowering: &mut Lower<'_, '_>, register: Gpr, scalar: Scalar) {
        lowering.extend(register, register, scalar);
    }

    fn zero(lowering: &mut Lower<'_, '_>, local: u16, scalar: Scalar) {
        lowering.constant(local, scalar, 0);
    }

    fn instruction(lowering: &mut Lower<'_, '_>, instruction: &Instruction) {
        lowering.instruction(instruction);
    }

    fn traps(lowering: &mut Lower<'_, '_>) {
        lowering.trap_sites();
    }
}

impl Lower<'_, '_> {
    /// A place in the stack; `scratch` may be written.
    fn stack(&mut self, access: Access, place: StackPlace, scratch: Gpr) -> Mem {
        let offset = i64::from(self.frame.stack_pointer_offset(place));
        if access.encodes(offset) {
            return Mem::Offset(Gpr::SP, offset);
        }
        self.asm.mov_imm(Width::W64, scratch, offset.cast_unsigned());
        Mem::Index(Gpr::SP, scratch, super::Extension::Uxtx, false)
    }

    fn jump(&mut self, i: &Instruction) {
        let is_next = i.target() == self.index.checked_add(1);
        if let Some(target) = self.target(i).filter(|_| !is_next) {
            self.asm.b(target);
        }
    }

    /// Traps in any case.
    fn trap_here(&mut self, code: u32) {
        let trap = self.trap(code);
        self.asm.b(trap);
    }
}

dispatch!(Aarch64);

/// The width of the operations on an integer.
fn width_of(scalar: Scalar) -> Width {
    if scalar.size() == 8 { Width::W64 } else { Width::W32 }
}

fn float_of(scalar: Scalar) -> Float {
    if scalar == Scalar::F32 { Float::F32 } else { Float::F64 }
}
