//! From an instance to x86-64 machine code, in one pass over its instructions.
//!
//! **What comes out** is one function of the System V calling convention, with the parameters and the
//! result that the template states: integers, bools and pointers in general registers, `f32` and `f64`
//! in SSE registers, the seventh and ninth of them on the stack. A bool is 0 or 1. Integers narrower
//! than 32 bits come back extended to 32; of those that come in, only their own bits count. A callee
//! is a relocation whose target is its number in the body; so is a call of the instance itself.
//!
//! **Traps.** A function has no way to return an error, and whoever called it (machine code of a
//! module, perhaps) none to look at one. So a trap leaves the function by a jump to the *trap hook*,
//! `extern "C" fn(code: u32, at: u32, function: u64) -> u64`, by a relocation with the target
//! [`TRAP_HOOK`]; `function` is the address of the function's first byte. The stack is as it was when the function was entered. The hook either does not return (it goes back to where the
//! host entered machine code, or ends the process), or it notes the error and returns 0: then that is
//! what the function gives (an undefined number where it gives a float), its caller goes on, and the
//! host finds the note when the call is over.
//!
//! **Registers.** Locals live in registers for the whole function, those that are used most, and in loops,
//! first: twelve general ones and fourteen of SSE. `rax`, `rcx`, `rdx`, `xmm14` and `xmm15` are for
//! what goes on within an instruction. Locals that find no register live in the frame. In a function that
//! calls, the registers that callees preserve are taken first; the others only by locals that are used
//! more than saving them around the calls would cost.
//!
//! **Form of values.** A local of 8 or 16 bits, or a bool, is held extended to 32 bits, by its sign if
//! it has one; what is above the lower 32 bits of a register is undefined for all types but those of
//! 64 bits. In the frame a local has eight bytes of which only its own count.

mod call;
mod convert;
mod float;
mod integer;
mod memory;
mod places;

use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{try_push, try_reserve};
use crate::codegen::x64::{
    AssembleError, Assembler, Cond, Float, Gpr, GprOperand, GprOrStack, Growing, Label, Mem, Rip,
    Source, W8, W16, W32, W64, Xmm, XmmOrMem,
};
use crate::ir::error::IrError;
use crate::ir::instruction::Instruction;
use crate::ir::interpret::number;
use crate::ir::opcode::{Condition, Opcode, Unary};
use crate::ir::types::Scalar;
use crate::ir::verify::FunctionInstance;
use places::{Place, Places};

pub use crate::codegen::x64::Code;

/// The target of relocations for the function that traps jump to; no callee has its number.
pub const TRAP_HOOK: u32 = 0x1_0000;

/// Why an instance cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerError {
    /// The code is too large, or there is no memory for it.
    Assemble(AssembleError),
    /// Something that the verifier lets nobody see.
    Typed(IrError),
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assemble(error) => error.fmt(f),
            Self::Typed(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LowerError {}

impl From<AssembleError> for LowerError {
    fn from(error: AssembleError) -> Self {
        Self::Assemble(error)
    }
}

impl From<IrError> for LowerError {
    fn from(error: IrError) -> Self {
        Self::Typed(error)
    }
}

/// Compiles one instance after another, and keeps the room that it needs for that.
#[derive(Debug)]
pub struct Compiler {
    asm: Assembler<Growing>,
    places: Places,
    labels: Vec<Option<Label>>,
    traps: Vec<TrapSite>,
}

/// A trap whose code stands behind the function.
#[derive(Clone, Copy, Debug)]
struct TrapSite {
    label: Label,
    code: u32,
    /// The instruction, as an offset in the body.
    at: u32,
}

impl Default for Compiler {
    fn default() -> Self {
        Self::new()
    }
}

impl Compiler {
    /// A compiler that has compiled nothing.
    pub fn new() -> Self {
        Self {
            asm: Assembler::growing(),
            places: Places::default(),
            labels: Vec::new(),
            traps: Vec::new(),
        }
    }

    /// The code of `instance`, whose entry is its first byte. Targets of relocations are numbers of
    /// callees, or [`TRAP_HOOK`]; all are of kind `Plt32`.
    ///
    /// # Errors
    /// [`LowerError::Assemble`] for code beyond 256 MiB, or a lack of memory.
    pub fn compile(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<Code<'_>, LowerError> {
        if instance.body().version() > 1 {
            return Err(IrError::Version { version: instance.body().version() }.into());
        }
        self.asm.clear();
        self.traps.clear();
        self.places.assign(instance)?;
        self.labels.clear();
        let asm = &mut self.asm;
        let targets = instance.facts.usage.is_target.iter();
        try_reserve(&mut self.labels, targets.len()).map_err(IrError::from)?;
        self.labels.extend(targets.map(|&is_target| is_target.then(|| asm.label())));
        let start = asm.label();
        let mut lowering = Lowering {
            asm,
            places: &self.places,
            labels: &self.labels,
            traps: &mut self.traps,
            start,
            instance,
            error: None,
        };
        lowering.function();
        match lowering.error {
            Some(error) => Err(error.into()),
            None => Ok(self.asm.code()?),
        }
    }
}

/// A function in the making.
struct Lowering<'c, 'i> {
    asm: &'c mut Assembler<Growing>,
    places: &'c Places,
    labels: &'c [Option<Label>],
    traps: &'c mut Vec<TrapSite>,
    /// The first byte.
    start: Label,
    instance: &'c FunctionInstance<'i, 'i>,
    /// The first one, kept aside so that no instruction hands one on.
    error: Option<IrError>,
}

/// A second value of an integer operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Operand(GprOrStack),
    Number(i32),
}

impl Lowering<'_, '_> {
    fn function(&mut self) {
        let body = *self.instance.body();
        self.asm.bind(self.start);
        self.prologue();
        for (index, bytes) in body.instructions.iter().enumerate() {
            if let Some(label) = self.labels.get(index).copied().flatten() {
                self.asm.bind(label);
            }
            if let Some(instruction) = Instruction::decode(bytes) {
                self.instruction(index, &instruction);
            }
        }
        self.trap_sites();
    }

    fn instruction(&mut self, index: usize, i: &Instruction) {
        let Some(scalar) = self.instance.scalar(i.type_code) else {
            return self.control(index, i);
        };
        match i.opcode {
            Opcode::Constant => self.constant(i.a, scalar, number(i.imm, scalar)),
            Opcode::WideConstant => {
                let bits = self.instance.body().constant(i.imm).unwrap_or(0);
                self.constant(i.a, scalar, bits);
            }
            Opcode::SizeOf => self.constant(i.a, Scalar::U64, scalar.size().into()),
            Opcode::Move => self.copy(i.a, i.b, scalar),
            Opcode::Convert => {
                let code = u8::try_from(i.c).unwrap_or(0);
                let from = self.instance.scalar(code).unwrap_or(scalar);
                self.convert(i.a, scalar, i.b, from);
            }
            Opcode::Unary(unary) if scalar.is_float() => self.negate_float(i, scalar, unary),
            Opcode::Unary(unary) => self.unary(i, scalar, unary),
            Opcode::Binary(binary) if scalar.is_float() => self.float_binary(i, scalar, binary),
            Opcode::Binary(binary) => self.binary(index, i, scalar, binary),
            Opcode::Compare(condition) => self.compare(i, scalar, condition),
            Opcode::Branch(condition) => self.branch(i, scalar, condition),
            Opcode::Load | Opcode::LoadElement => self.load(i, scalar),
            Opcode::Store | Opcode::StoreElement => self.store(i, scalar),
            Opcode::Element => self.element(i, scalar),
            Opcode::Return => self.return_value(i.a, scalar),
            _ => {}
        }
    }

    /// What names no type.
    fn control(&mut self, index: usize, i: &Instruction) {
        match i.opcode {
            Opcode::Jump => {
                if let Some(target) = self.target(i) {
                    self.asm.jmp(target);
                }
            }
            Opcode::BranchIf(expected) => {
                let condition = self.gpr(i.a, Scalar::Bool, Gpr::Rax);
                self.asm.test(W32, condition, condition);
                self.jump_if(if expected { Cond::Ne } else { Cond::E }, i);
            }
            Opcode::Call => {
                if let Err(error) = self.call(i) {
                    self.error.get_or_insert(error);
                }
            }
            Opcode::ReturnNone => self.leave(),
            Opcode::Trap => {
                let trap = self.trap(index, i.imm.cast_unsigned());
                self.asm.jmp(trap);
            }
            _ => {}
        }
    }

    fn target(&self, i: &Instruction) -> Option<Label> {
        let target = usize::try_from(i.target()?).ok()?;
        self.labels.get(target).copied().flatten()
    }

    fn jump_if(&mut self, cond: Cond, i: &Instruction) {
        if let Some(target) = self.target(i) {
            self.asm.jcc(cond, target);
        }
    }

    /// A place behind the function that traps in the name of an instruction.
    fn trap(&mut self, index: usize, code: u32) -> Label {
        let label = self.asm.label();
        let at = self.instance.body().offset(index);
        if let Err(none) = try_push(self.traps, TrapSite { label, code, at }) {
            self.error.get_or_insert(none.into());
        }
        label
    }

    fn trap_sites(&mut self) {
        // Taken out, so that its room can be kept for the next function.
        let traps = core::mem::take(self.traps);
        for site in &traps {
            self.asm.bind(site.label);
            self.asm.mov_imm(Gpr::Rdi, site.code.into());
            self.asm.mov_imm(Gpr::Rsi, site.at.into());
            self.asm.lea(W64, Gpr::Rdx, Rip::Label(self.start));
            self.take_down();
            self.asm.jmp_symbol(TRAP_HOOK);
        }
        *self.traps = traps;
    }

    fn place(&self, local: u16) -> Place {
        self.places.of(local)
    }

    /// The general register that holds `local`; `scratch`, filled, when it lives in the frame.
    fn gpr(&mut self, local: u16, scalar: Scalar, scratch: Gpr) -> Gpr {
        match self.place(local) {
            Place::Gpr(register) => register,
            Place::Home(offset) => {
                self.fill(scratch, scalar, GprOrStack::stack(offset));
                scratch
            }
            _ => scratch,
        }
    }

    /// The register that is to hold `local`, or `scratch`; [`Lowering::set`] brings it home.
    fn destination(&self, local: u16, scratch: Gpr) -> Gpr {
        match self.place(local) {
            Place::Gpr(register) => register,
            _ => scratch,
        }
    }

    /// Makes `local` what is in `from`.
    fn set(&mut self, local: u16, from: Gpr) {
        match self.place(local) {
            Place::Gpr(register) if register != from => self.asm.mov(W64, register, from),
            Place::Home(offset) => self.asm.mov(W64, Mem::at(Gpr::Rsp, offset), from),
            _ => {}
        }
    }

    fn xmm(&mut self, local: u16, scalar: Scalar, scratch: Xmm) -> Xmm {
        match self.place(local) {
            Place::Xmm(register) => register,
            Place::Home(offset) => {
                self.asm.mov_scalar(float_of(scalar), scratch, Mem::at(Gpr::Rsp, offset));
                scratch
            }
            _ => scratch,
        }
    }

    fn xmm_destination(&self, local: u16, scratch: Xmm) -> Xmm {
        match self.place(local) {
            Place::Xmm(register) => register,
            _ => scratch,
        }
    }

    fn set_xmm(&mut self, local: u16, from: Xmm) {
        match self.place(local) {
            Place::Xmm(register) if register != from => self.asm.movaps(register, from),
            Place::Home(offset) => self.asm.movsd(Mem::at(Gpr::Rsp, offset), from),
            _ => {}
        }
    }

    /// Where `local` can be read by an instruction that takes memory as well.
    fn operand(&mut self, local: u16, scalar: Scalar, scratch: Gpr) -> GprOrStack {
        match self.place(local) {
            Place::Home(offset) if scalar.bits() >= 32 => GprOrStack::stack(offset),
            _ => self.gpr(local, scalar, scratch).into(),
        }
    }

    fn xmm_operand(&self, local: u16) -> XmmOrMem {
        match self.place(local) {
            Place::Xmm(register) => register.into(),
            Place::Home(offset) => Mem::at(Gpr::Rsp, offset).into(),
            _ => Xmm::Xmm15.into(),
        }
    }

    /// The value in memory or in another register, in the form that a local has.
    fn fill(&mut self, to: Gpr, scalar: Scalar, from: impl GprOperand + Source<Gpr>) {
        match scalar {
            Scalar::I8 => self.asm.movsx(W32, to, W8, from),
            Scalar::I16 => self.asm.movsx(W32, to, W16, from),
            Scalar::U8 | Scalar::Bool => self.asm.movzx(to, W8, from),
            Scalar::U16 => self.asm.movzx(to, W16, from),
            Scalar::I32 | Scalar::U32 => self.asm.mov(W32, to, from),
            _ => self.asm.mov(W64, to, from),
        }
    }

    /// Brings a narrow integer back into its form after its bits above were spoiled.
    fn extend(&mut self, register: Gpr, scalar: Scalar) {
        if scalar.bits() < 32 {
            self.fill(register, scalar, register);
        }
    }

    fn constant(&mut self, to: u16, scalar: Scalar, bits: u64) {
        if scalar.is_float() {
            let register = self.xmm_destination(to, Xmm::Xmm15);
            self.float_constant(register, scalar, bits);
            return self.set_xmm(to, register);
        }
        let register = self.destination(to, Gpr::Rax);
        self.integer_constant(register, scalar, bits);
        self.set(to, register);
    }

    fn integer_constant(&mut self, to: Gpr, scalar: Scalar, bits: u64) {
        let shift = 64 - scalar.bits();
        let extended = match scalar.is_signed() && scalar.bits() < 32 {
            true => ((bits << shift).cast_signed() >> shift).cast_unsigned() & 0xffff_ffff,
            false => bits,
        };
        match extended {
            0 => self.asm.zero(to),
            _ => self.asm.mov_imm(to, extended),
        }
    }

    fn copy(&mut self, to: u16, from: u16, scalar: Scalar) {
        if scalar.is_float() {
            let register = self.xmm_destination(to, Xmm::Xmm15);
            let from = self.xmm(from, scalar, register);
            return self.set_xmm(to, from);
        }
        let scratch = self.destination(to, Gpr::Rax);
        let from = self.gpr(from, scalar, scratch);
        self.set(to, from);
    }

    fn return_value(&mut self, local: u16, scalar: Scalar) {
        if scalar.is_float() {
            let from = self.xmm(local, scalar, Xmm::Xmm0);
            if from != Xmm::Xmm0 {
                self.asm.movaps(Xmm::Xmm0, from);
            }
        } else {
            let from = self.gpr(local, scalar, Gpr::Rax);
            if from != Gpr::Rax {
                self.asm.mov(W64, Gpr::Rax, from);
            }
        }
        self.leave();
    }

    fn leave(&mut self) {
        self.take_down();
        self.asm.ret();
    }

    fn compare(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        if scalar.is_float() {
            return self.compare_floats(i, scalar, condition);
        }
        self.compare_integers(i.b, i.c, i, scalar);
        self.asm.setcc(cond_of(condition, scalar), Gpr::Rax);
        let to = self.destination(i.a, Gpr::Rax);
        self.asm.movzx(to, W8, Gpr::Rax);
        self.set(i.a, to);
    }

    fn branch(&mut self, i: &Instruction, scalar: Scalar, condition: Condition) {
        if scalar.is_float() {
            return self.branch_floats(i, scalar, condition);
        }
        self.compare_integers(i.a, i.b, i, scalar);
        self.jump_if(cond_of(condition, scalar), i);
    }

    fn unary(&mut self, i: &Instruction, scalar: Scalar, unary: Unary) {
        let to = self.destination(i.a, Gpr::Rax);
        let from = self.gpr(i.b, scalar, to);
        if from != to {
            self.asm.mov(W64, to, from);
        }
        match (unary, scalar) {
            (Unary::Not, Scalar::Bool) => self.asm.xor(W32, to, 1),
            (Unary::Not, _) => self.asm.not(W64, to),
            (Unary::Negate, _) => self.asm.neg(W64, to),
            // Of version 2, which is refused before.
            (Unary::SquareRoot | Unary::Absolute, _) => {}
        }
        if scalar != Scalar::Bool {
            self.extend(to, scalar);
        }
        self.set(i.a, to);
    }
}

/// Whether an integer takes the whole of a register.
fn is_wide(scalar: Scalar) -> bool {
    scalar.size() == 8
}

fn float_of(scalar: Scalar) -> Float {
    if scalar == Scalar::F32 { Float::F32 } else { Float::F64 }
}

/// What the flags say after a comparison of integers.
fn cond_of(condition: Condition, scalar: Scalar) -> Cond {
    match (condition, scalar.is_signed()) {
        (Condition::Equal, _) => Cond::E,
        (Condition::NotEqual, _) => Cond::Ne,
        (Condition::Less, true) => Cond::L,
        (Condition::LessEqual, true) => Cond::Le,
        (Condition::Greater, true) => Cond::G,
        (Condition::GreaterEqual, true) => Cond::Ge,
        (Condition::Less, false) => Cond::B,
        (Condition::LessEqual, false) => Cond::Be,
        (Condition::Greater, false) => Cond::A,
        (Condition::GreaterEqual, false) => Cond::Ae,
    }
}
