//! Lowering of IR to x86-64.
//!
//! Locals are in `rsi rdi r8 r9 r10 r11`, `rbx r12 r13 r14 r15`, `xmm0` to `xmm13`, or in spill slots below `rbp`.
//! `rax rcx rdx xmm14 xmm15` are scratch registers of one instruction. The destination of an instruction may be the
//! register of any of its sources, so that sources are read before it is written, or the result is computed in a scratch
//! register.

mod call;
mod checked;
mod compare;
mod convert;
mod division;
mod float;
mod frame;
mod integer;
mod memory;
mod value;

use crate::codegen::assemble_error::AssembleError;
use crate::codegen::code::Code;
use crate::codegen::dispatch::dispatch;
use crate::codegen::frame::StackPlace;
use crate::codegen::label::{Label, Labels};
use crate::codegen::lowering::{Lowering, Machine};
use crate::codegen::machine::{Cut, MachineAssembler, Register};
use crate::codegen::regalloc::{ClassRegisters, RegisterFile};
use crate::codegen::unwind::UnwindMachine;
use crate::codegen::x64::assembler::Assembler;
use crate::codegen::x64::operand::sealed::Sealed;
use crate::codegen::x64::operand::{Float, Full, Gpr, Mem, W64, Wide, Width, Xmm};
use crate::format::Arch;
use crate::ir::interpret::number;
use crate::ir::{Instruction, Opcode, Scalar};

/// The machine x86-64 for the code generator.
#[derive(Debug)]
pub enum X64 {}

/// rbp is the frame pointer. r12 and r13 come last: as base registers they take one byte more.
static REGISTERS: RegisterFile = RegisterFile {
    int: ClassRegisters {
        caller_saved: &[6, 7, 8, 9, 10, 11],
        // Those of the first arguments stay free for calls.
        caller_saved_with_calls: &[11, 10, 9, 8, 7, 6],
        callee_saved: &[3, 14, 15, 12, 13],
        arguments: &[7, 6, 2, 1, 8, 9],
        result: 0,
    },
    float: ClassRegisters {
        caller_saved: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        caller_saved_with_calls: &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
        callee_saved: &[],
        arguments: &[0, 1, 2, 3, 4, 5, 6, 7],
        result: 0,
    },
};

/// A function that is being lowered to x86-64.
pub(super) type Lower<'c, 'i> = Lowering<'c, 'i, X64>;

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

    fn settle(&mut self) -> &[Cut] {
        Assembler::settle(self)
    }

    #[inline]
    fn position(&self) -> u32 {
        self.at
    }

    fn align_data(&mut self, alignment: u32) {
        let len = self.offset().wrapping_neg() & alignment.wrapping_sub(1);
        for _ in 0..len {
            self.bytes(&[0]);
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        self.bytes(bytes);
    }

    fn code(&mut self) -> Result<Code<'_>, AssembleError> {
        Assembler::code(self)
    }
}

impl Register<Assembler> for Gpr {
    #[inline]
    fn mov(asm: &mut Assembler, to: Self, from: Self) {
        asm.mov(W64, to, from);
    }

    fn exchange(asm: &mut Assembler, one: Self, other: Self) {
        asm.xchg(W64, one, other);
    }
}

impl Register<Assembler> for Xmm {
    #[inline]
    fn mov(asm: &mut Assembler, to: Self, from: Self) {
        asm.movaps(to, from);
    }

    fn exchange(asm: &mut Assembler, one: Self, other: Self) {
        asm.movaps(Xmm::Xmm15, one);
        asm.movaps(one, other);
        asm.movaps(other, Xmm::Xmm15);
    }
}

impl Machine for X64 {
    type Assembler = Assembler;
    type Int = Gpr;
    type Float = Xmm;

    const REGISTERS: &'static RegisterFile = &REGISTERS;
    const ARCH: Arch = Arch::X86_64;

    const UNWIND: UnwindMachine = UnwindMachine {
        return_address: 16,
        stack_pointer: 7,
        entry_offset: 8,
        pushes_return_address: true,
        code_alignment: 1,
    };
    const INT_SCRATCH: Gpr = Gpr::Rax;
    const FLOAT_SCRATCH: Xmm = Xmm::Xmm15;

    #[inline]
    fn int(number: u8) -> Gpr {
        Gpr::ALL.get(usize::from(number)).copied().unwrap_or(Gpr::Rax)
    }

    #[inline]
    fn float(number: u8) -> Xmm {
        Xmm::ALL.get(usize::from(number)).copied().unwrap_or(Xmm::Xmm15)
    }

    fn enter(lowering: &mut Lower<'_, '_>) {
        lowering.enter();
    }

    fn load_int(lowering: &mut Lower<'_, '_>, to: Gpr, from: StackPlace) {
        let from = lowering.stack(from);
        lowering.asm.mov(W64, to, from);
    }

    fn store_int(lowering: &mut Lower<'_, '_>, to: StackPlace, from: Gpr) {
        let to = lowering.stack(to);
        lowering.asm.mov(W64, to, from);
    }

    fn load_float(lowering: &mut Lower<'_, '_>, to: Xmm, from: StackPlace) {
        let from = lowering.stack(from);
        lowering.asm.mov_scalar(Float::F64, to, from);
    }

    fn store_float(lowering: &mut Lower<'_, '_>, to: StackPlace, from: Xmm) {
        let to = lowering.stack(to);
        lowering.asm.mov_scalar_store(Float::F64, to, from);
    }

    fn extend(lowering: &mut Lower<'_, '_>, register: Gpr, scalar: Scalar) {
        lowering.extend(register, scalar);
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
    /// A place in the stack.
    fn stack(&self, place: StackPlace) -> Mem {
        match place {
            StackPlace::Outgoing(offset) => Mem::at(Gpr::Rsp, i32::try_from(offset).unwrap_or(0)),
            _ => Mem::at(Gpr::Rbp, self.frame_pointer_offset(place)),
        }
    }

    fn jump(&mut self, i: &Instruction) {
        if let Some(target) = self.target(i) {
            self.asm.jmp(target);
        }
    }
}

dispatch!(X64);

/// The width of the register that holds a value: 32 or 64 bits.
#[derive(Clone, Copy, Debug)]
struct RegisterWidth(u32);

/// The width of a value itself: 8, 16, 32 or 64 bits.
#[derive(Clone, Copy, Debug)]
struct ScalarWidth(u32);

impl Sealed for RegisterWidth {}
impl Sealed for ScalarWidth {}

impl Width for RegisterWidth {
    #[inline]
    fn bits(self) -> u32 {
        self.0
    }
}

impl Wide for RegisterWidth {}
impl Full for RegisterWidth {}

impl Width for ScalarWidth {
    #[inline]
    fn bits(self) -> u32 {
        self.0
    }
}

fn width_of(scalar: Scalar) -> RegisterWidth {
    RegisterWidth(scalar.bits().max(32))
}

/// Whether an integer takes the whole of a register.
fn is_wide(scalar: Scalar) -> bool {
    scalar.size() == 8
}

fn float_of(scalar: Scalar) -> Float {
    if scalar == Scalar::F32 { Float::F32 } else { Float::F64 }
}
