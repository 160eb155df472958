//! Bytecode to x86-64 code, one function at a time and in one pass over its instructions.
//!
//! Every *variable*, a local or a position of the vector, has a *home* for the whole function: a
//! register for those that are named most often, weighted by the depth of loops, and otherwise a word
//! of the frame. Pushed operands are kept track of while compiling: a value of the vector is a constant,
//! a copy of another variable, in a temporary register, or in its home. Only what must be is put down.
//!
//! Invariants:
//!
//! 1. Where paths meet, every value is in its home. Whoever jumps brings it there first (`Body::flush`).
//! 2. A local is always in its home.
//! 3. A value that says *copy of v* equals what is in the home of *v*: before a home is written, or a
//!    position gets a value that is not in its home, all copies of it are taken elsewhere
//!    (`Body::write`). So values that are brought home never overwrite one that is still to be read.
//! 4. Positions that are not in their homes are among the last 64; what comes before the first of them
//!    is not looked at.
//! 5. A temporary register belongs to one position, or to the instruction at hand, which takes at most
//!    two operands. There are three, so that one can always be had.
//!
//! The verifier has shown that what is popped exists and has the kind it needs. Kinds matter here to
//! comparisons alone, and it has kept those that are not of two integers.
//!
//! The code names no address: everything outside is found through the registers of [`abi`]. Memory is
//! kept from one function to the next, so that after the largest one nothing is allocated.

pub mod abi;
mod calls;
mod compare;
mod division;
mod floats;
mod frame;
mod homes;
mod integers;
mod osr;
mod shape;
mod traps;
mod values;
mod variable;

pub use osr::{Locations, OSR_REGISTERS, OsrFrame};

use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{AllocError, try_push, try_reserve};
use crate::bytecode::Relation;
use crate::bytecode::instruction::Opcode;
use crate::bytecode::verify::{At, Facts, Op, Target, offset};
use crate::codegen::code::SourceLoc;
use crate::codegen::parallel_move::Moves;
use crate::codegen::x64::{AssembleError, Assembler, GprOrStack, Growing, Label, Labels};
use crate::format::bytes::i64_at;
use frame::Frame;
use homes::Homes;
use shape::Shape;
use traps::Traps;
use values::Values;
use variable::{Value, Variable};

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerError {
    /// No memory, or more code than there may be.
    Assemble(AssembleError),
    /// No memory for what is kept beside the code.
    OutOfMemory,
}

impl From<AssembleError> for LowerError {
    fn from(error: AssembleError) -> Self {
        LowerError::Assemble(error)
    }
}

impl From<AllocError> for LowerError {
    fn from(_: AllocError) -> Self {
        LowerError::OutOfMemory
    }
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerError::Assemble(error) => error.fmt(f),
            LowerError::OutOfMemory => f.write_str("no memory for what is kept beside the code"),
        }
    }
}

impl core::error::Error for LowerError {}

/// The code of one function, until the next one is compiled.
#[derive(Clone, Copy, Debug)]
pub struct Lowered<'l> {
    /// The instructions, which run at any address. The function begins with the first.
    pub bytes: &'l [u8],
    /// Where a running loop can go on: the offset of its head in the bytecode, and in `bytes`.
    pub loop_heads: &'l [(u32, u32)],
    /// Where the code comes from, by ascending offset; empty unless [asked for](Lowering::record_source_map).
    pub source_map: &'l [SourceLoc],
    /// Bytes of stack that an activation takes at most below its return address, with the arguments that it
    /// passes and the return address of what it calls.
    pub stack: u32,
}

/// Compiles functions. Its memory is reused.
#[derive(Debug)]
pub struct Lowering {
    asm: Assembler<Growing>,
    frame: Frame,
    homes: Homes,
    values: Values,
    moves: Moves,
    traps: Traps,
    loop_heads: Vec<(u32, u32)>,
    source_map: Vec<SourceLoc>,
    records_source_map: bool,
    /// The function that is compiled, the label of its first instruction, and the current instruction.
    index: u32,
    entry: Label,
    here: At,
}

impl Default for Lowering {
    fn default() -> Self {
        Self::new()
    }
}

impl Lowering {
    /// One that has no memory yet.
    pub fn new() -> Self {
        let mut asm = Assembler::growing();
        let entry = asm.label();
        Self {
            asm,
            frame: Frame::default(),
            homes: Homes::default(),
            values: Values::default(),
            moves: Moves::default(),
            traps: Traps::default(),
            loop_heads: Vec::new(),
            source_map: Vec::new(),
            records_source_map: false,
            index: 0,
            entry,
            here: 0,
        }
    }

    /// Whether [`Lowered::source_map`] are kept.
    pub fn record_source_map(&mut self, keep: bool) {
        self.records_source_map = keep;
    }

    /// Compiles the function that `facts` are about, of a program that has been verified.
    ///
    /// # Errors
    /// No memory, or too much code.
    pub fn function(&mut self, facts: &Facts<'_, '_>) -> Result<Lowered<'_>, LowerError> {
        self.values.all_home(0);
        try_reserve(&mut self.loop_heads, facts.targets().len())?;
        let shape = Shape::of(facts);
        self.frame.plan(&shape, &mut self.homes);
        self.start(facts.index);
        let labels = self.asm.labels(facts.targets().len());
        Body { l: self, facts, labels, next: 0, block: &[] }.compile(&shape);
        self.lowered()
    }

    /// The function that was compiled last.
    fn lowered(&mut self) -> Result<Lowered<'_>, LowerError> {
        let code = self.asm.code()?;
        let (loop_heads, source_map) = (&self.loop_heads, &self.source_map);
        Ok(Lowered { bytes: code.bytes, loop_heads, source_map, stack: self.frame.need })
    }

    /// Where an activation keeps its values at a loop head: what [`abi`]'s way in from the
    /// interpreter fills before it goes there.
    pub fn osr_locations(&mut self, facts: &Facts<'_, '_>) -> Locations<'_> {
        self.frame.plan(&Shape::of(facts), &mut self.homes);
        Locations { frame: self.frame, homes: &self.homes }
    }

    /// Starts with a function.
    fn start(&mut self, index: u32) {
        self.asm.clear();
        self.traps.clear();
        self.loop_heads.clear();
        self.source_map.clear();
        self.entry = self.asm.label();
        (self.index, self.here) = (index, 0);
    }

    /// The home of a variable.
    #[inline(always)]
    fn home(&self, variable: Variable) -> GprOrStack {
        match self.homes.register(variable) {
            Some(register) => register.into(),
            None => self.frame.word(variable),
        }
    }

    /// Where the instruction at hand begins.
    fn at(&self) -> u32 {
        offset(self.here)
    }

    /// Says that what comes next belongs to an instruction.
    #[inline(always)]
    fn origin(&mut self, instruction: u32) {
        if self.records_source_map {
            self.record_source_loc(instruction);
        }
    }

    #[cold]
    fn record_source_loc(&mut self, instruction: u32) {
        let origin = SourceLoc { offset: self.asm.offset(), function: self.index, instruction };
        if try_push(&mut self.source_map, origin).is_err() {
            self.no_memory();
        }
    }

    /// No memory: there will be no code.
    fn no_memory(&mut self) {
        self.asm.keep(Err(AssembleError::OutOfMemory { bytes: size_of::<SourceLoc>() }));
    }
}

/// A function that is being compiled.
struct Body<'l, 'f> {
    l: &'l mut Lowering,
    facts: &'f Facts<'f, 'f>,
    /// Where jumps lead.
    labels: Labels,
    /// The instruction behind the one at hand.
    next: At,
    /// The instructions before the next target of a jump.
    block: &'f [Op],
}

impl Body<'_, '_> {
    fn compile(&mut self, shape: &Shape<'_>) {
        self.l.origin(0);
        self.l.prologue(shape);
        if !self.l.frame.is_too_long {
            self.run();
        }
        // Where traps go belongs to no instruction.
        self.l.origin(u32::try_from(self.facts.function.code.len()).unwrap_or(u32::MAX));
        self.l.put_traps();
    }

    /// Puts down all that can be reached, in the order of the code.
    fn run(&mut self) {
        let ops = self.facts.ops();
        let mut goes_on = true;
        for (target, number) in self.facts.targets().iter().zip(0..) {
            self.block = ops.get(..target.at()).unwrap_or(ops);
            goes_on = goes_on && self.block();
            goes_on = self.arrive(number, target, goes_on);
            // If nothing led to what is between here and there, that is left out.
            self.next = target.at();
        }
        self.block = ops;
        if goes_on && self.block() {
            self.l.here = ops.len();
            self.return_top();
        }
    }

    /// Puts down the rest of a block; whether what follows it is reached from there.
    fn block(&mut self) -> bool {
        while let Some(op) = self.peek() {
            self.l.here = self.next;
            self.next = op.behind(self.l.here);
            self.l.origin(self.l.at());
            if !self.instruction(op) {
                return false;
            }
        }
        true
    }

    /// The instruction behind the one at hand, if no jump leads to it.
    #[inline(always)]
    fn peek(&self) -> Option<Op> {
        self.block.get(self.next).copied()
    }

    /// Comes to a target; whether anything leads there.
    fn arrive(&mut self, number: usize, target: &Target, from_above: bool) -> bool {
        let Some(length) = self.facts.length_at(number) else { return false };
        if from_above {
            self.flush();
        } else {
            self.l.values.all_home(length);
        }
        if let Some(label) = self.labels.get(number) {
            self.l.asm.bind(label);
        }
        if target.last_back_jump.is_some() {
            let offset = self.l.asm.offset();
            self.l.loop_heads.push((target.offset, offset));
        }
        true
    }

    /// The constant of the instruction at hand, `start` bytes from its begin.
    #[inline(always)]
    fn constant(&self, start: u32) -> i64 {
        let at = usize::try_from(self.l.at() + start).unwrap_or(usize::MAX);
        i64_at(self.facts.function.code, at).unwrap_or(0)
    }

    /// Puts an instruction down; whether the next one is reached from it.
    #[inline(always)]
    fn instruction(&mut self, op: Op) -> bool {
        use Opcode as O;
        use integers::Operator;
        match op.opcode() {
            O::ConstI64 | O::ConstF64 => self.set_slot(op.a(), Value::Int(self.constant(4))),
            O::ConstTrue => self.set_slot(op.a(), Value::Int(1)),
            O::ConstFalse | O::ConstNone | O::ConstUnit => self.set_slot(op.a(), Value::Int(0)),
            O::Push => {
                let value = self.slot(op.a());
                self.push(value);
            }
            O::Pop => {
                let value = self.pop();
                self.set_slot(op.a(), value);
            }
            O::Dup if op.a() == op.b() => {}
            O::Dup => {
                let value = self.slot(op.a());
                self.set_slot(op.b(), value);
            }
            O::Swap => self.swap(op.a(), op.b()),
            O::Load => self.set_slot(op.a(), Value::local(op.b())),
            O::LoadPush => self.push(Value::local(op.a())),
            O::ConstI64Push => self.push(Value::Int(self.constant(2))),
            O::Store => {
                let value = self.slot(op.b());
                self.set_local(op.a(), value);
            }
            O::PopStore => {
                let value = self.pop();
                self.set_local(op.a(), value);
            }
            O::AddI64 => self.integers(Operator::Add, None),
            O::SubI64 => self.integers(Operator::Sub, None),
            O::MulI64 => self.integers(Operator::Mul, None),
            O::AddI64Pop => self.integers(Operator::Add, Some(op.a())),
            O::SubI64Pop => self.integers(Operator::Sub, Some(op.a())),
            O::MulI64Pop => self.integers(Operator::Mul, Some(op.a())),
            O::And => self.integers(Operator::And, None),
            O::Or => self.integers(Operator::Or, None),
            O::Not => self.invert(),
            O::NegI64 => self.negate(),
            O::DivI64 => self.divide(division::Wanted::Quotient),
            O::ModI64 => self.divide(division::Wanted::Rest),
            O::AddF64 | O::SubF64 | O::MulF64 | O::DivF64 => self.floats(op.opcode()),
            O::Eq => self.compare(Relation::Eq),
            O::Ne => self.compare(Relation::Ne),
            O::Lt => self.compare(Relation::Lt),
            O::Le => self.compare(Relation::Le),
            O::Gt => self.compare(Relation::Gt),
            O::Ge => self.compare(Relation::Ge),
            O::LtJmpIfNot => return self.compare_and_jump(Relation::Lt, false, op.long()),
            O::EqJmpIfNot => return self.compare_and_jump(Relation::Eq, false, op.long()),
            O::Jmp => return self.jump(op.long()),
            O::JmpIf => return self.jump_if(true, op.long()),
            O::JmpIfNot => return self.jump_if(false, op.long()),
            O::Call => self.call(op.long(), op.argc()),
            O::CallSffi => self.call_host(op.a(), op.b()),
            O::TailCall => return self.tail_call(op.long(), op.argc()),
            O::Ret => return self.return_slot(op.a()),
            O::RetVoid => return self.return_value(Value::Int(0)),
            // The verifier lets nothing else through.
            _ => return false,
        }
        true
    }

    /// Sets a local.
    fn set_local(&mut self, local: u16, value: Value) {
        let variable = Variable::local(local);
        if value != Value::Copy(variable) {
            self.write(variable);
            self.store(variable, value);
        }
    }
}
