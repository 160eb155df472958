//! Verified bytecode to x86-64 code, one function at a time and in one pass over its instructions.
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
//! 4. Positions that are not in their homes are listed, at most `MOST_AWAY` of them, so that
//!    bringing all home costs what they cost to make.
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
mod image;
mod integers;
mod traps;
mod values;
mod variable;

pub use image::{Image, Places, REGISTERS};

use alloc::vec::Vec;
use core::fmt;

use super::bytecode::{Instruction, target};
use super::code::Origin;
use super::machine::Moves;
use super::trap::MAX_VECTOR;
use super::verify::Facts;
use super::x64::{AssembleError, Assembler, Growing, Label};
use frame::Frame;
use homes::Homes;
use traps::Traps;
use values::Values;
use variable::{Value, Variable};

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LowerError {
    /// The function is not the one that was verified.
    Unverified {
        /// The offset where that shows.
        at: u32,
    },
    /// No memory, or more code than there may be.
    Assemble(AssembleError),
}

impl From<AssembleError> for LowerError {
    fn from(error: AssembleError) -> Self {
        LowerError::Assemble(error)
    }
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerError::Unverified { at } => {
                write!(f, "the code is not what was verified, at offset 0x{at:x}")
            }
            LowerError::Assemble(error) => error.fmt(f),
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
    /// Where the code comes from, by ascending offset; empty unless [asked for](Lowering::keep_origins).
    pub origins: &'l [Origin],
}

/// Compiles functions. Its memory is reused.
#[derive(Debug)]
pub struct Lowering {
    asm: Assembler<Growing>,
    labels: Vec<Label>,
    homes: Homes,
    values: Values,
    moves: Moves,
    traps: Traps,
    loop_heads: Vec<(u32, u32)>,
    origins: Vec<Origin>,
    keeps_origins: bool,
}

impl Default for Lowering {
    fn default() -> Self {
        Self::new()
    }
}

impl Lowering {
    /// One that has no memory yet.
    pub fn new() -> Self {
        Self {
            asm: Assembler::growing(),
            labels: Vec::new(),
            homes: Homes::default(),
            values: Values::default(),
            moves: Moves::default(),
            traps: Traps::default(),
            loop_heads: Vec::new(),
            origins: Vec::new(),
            keeps_origins: false,
        }
    }

    /// Whether [`Lowered::origins`] are kept.
    pub fn keep_origins(&mut self, keep: bool) {
        self.keeps_origins = keep;
    }

    /// Compiles the function that `facts` are about, of a program that has been verified.
    ///
    /// # Errors
    /// No memory, or too much code.
    pub fn function(&mut self, facts: &Facts<'_, '_>) -> Result<Lowered<'_>, LowerError> {
        self.asm.clear();
        self.labels.clear();
        self.values.start(facts.longest().min(MAX_VECTOR));
        self.traps.clear();
        self.loop_heads.clear();
        self.origins.clear();
        let frame = Frame::plan(facts, &mut self.homes);
        for _ in facts.targets() {
            let label = self.asm.label();
            self.labels.push(label);
        }
        let entry = self.asm.label();
        let mut body = Body { l: self, facts, frame, entry, at: 0, next: 0, next_target: 0 };
        body.compile()?;
        let code = self.asm.code()?;
        let (loop_heads, origins) = (&self.loop_heads, &self.origins);
        Ok(Lowered { bytes: code.bytes, loop_heads, origins })
    }

    /// Where an activation keeps its values at a loop head: what [`abi`]'s way in from the
    /// interpreter fills before it goes there.
    pub fn places(&mut self, facts: &Facts<'_, '_>) -> Places<'_> {
        let frame = Frame::plan(facts, &mut self.homes);
        Places { frame, homes: &self.homes }
    }
}

/// A function that is being compiled.
struct Body<'l, 'f> {
    l: &'l mut Lowering,
    facts: &'f Facts<'f, 'f>,
    frame: Frame,
    /// The begin of the code.
    entry: Label,
    /// Where the instruction at hand begins, and the one behind it.
    at: u32,
    next: u32,
    /// The offset of the next target of a jump.
    next_target: u32,
}

impl Body<'_, '_> {
    fn compile(&mut self) -> Result<(), LowerError> {
        self.origin(0);
        self.prologue();
        if !self.frame.is_too_long {
            self.run()?;
        }
        // Where traps go belongs to no instruction.
        self.origin(u32::try_from(self.facts.function.code.len()).unwrap_or(u32::MAX));
        self.put_traps();
        Ok(())
    }

    /// Puts down all that can be reached, in the order of the code.
    fn run(&mut self) -> Result<(), LowerError> {
        let code = self.facts.function.code;
        let end = u32::try_from(code.len()).unwrap_or(u32::MAX);
        let (mut passed, mut goes_on) = (0, true);
        self.next_target = self.target_offset(0);
        loop {
            if !goes_on {
                // Nothing leads to what is between here and the next target.
                self.next = self.next_target;
            }
            if self.next == self.next_target {
                if self.next_target == u32::MAX {
                    return Ok(());
                }
                goes_on = self.arrive(passed, goes_on);
                passed += 1;
                self.next_target = self.target_offset(passed);
                if !goes_on {
                    continue;
                }
            }
            self.at = self.next;
            if self.at >= end {
                self.return_top();
                return Ok(());
            }
            let at = self.at;
            let decoded = Instruction::decode(code, at);
            let instruction = decoded.map_err(|_| LowerError::Unverified { at })?;
            goes_on = self.next_is(&instruction);
        }
    }

    fn target_offset(&self, number: usize) -> u32 {
        self.facts.targets().get(number).map_or(u32::MAX, |target| target.offset)
    }

    /// Puts the instruction at `at` down; whether the next one is reached from it.
    #[inline(always)]
    fn next_is(&mut self, instruction: &Instruction) -> bool {
        self.next = self.at + instruction.size();
        if self.l.keeps_origins {
            self.origin(self.at);
        }
        self.instruction(instruction)
    }

    fn origin(&mut self, instruction: u32) {
        if self.l.keeps_origins {
            let origin =
                Origin { offset: self.l.asm.offset(), function: self.facts.index, instruction };
            self.l.origins.push(origin);
        }
    }

    /// Comes to a target; whether anything leads there.
    fn arrive(&mut self, number: usize, from_above: bool) -> bool {
        let Some(length) = self.facts.length_at(number) else { return false };
        if from_above {
            self.flush();
        } else {
            self.l.values.all_home(length);
        }
        let targets = self.facts.targets();
        if let (Some(&label), Some(target)) = (self.l.labels.get(number), targets.get(number)) {
            self.l.asm.bind(label);
            if target.last_back_jump.is_some() {
                let offset = self.l.asm.offset();
                self.l.loop_heads.push((target.offset, offset));
            }
        }
        true
    }

    /// Puts an instruction down; whether the next one is reached from it.
    #[inline(always)]
    fn instruction(&mut self, instruction: &Instruction) -> bool {
        use Instruction as I;
        match *instruction {
            I::ConstI64 { dest, value } => self.set_slot(dest, Value::Int(value)),
            I::ConstF64 { dest, bits } => self.set_slot(dest, Value::Int(bits.cast_signed())),
            I::ConstTrue { dest } => self.set_slot(dest, Value::Int(1)),
            I::ConstFalse { dest } | I::ConstNone { dest } | I::ConstUnit { dest } => {
                self.set_slot(dest, Value::Int(0));
            }
            I::Push { src } => {
                let value = self.slot(src);
                self.push(value);
            }
            I::Pop { dest } => {
                let value = self.pop();
                self.set_slot(dest, value);
            }
            I::Dup { src, dest } if src == dest => {}
            I::Dup { src, dest } => {
                let value = self.slot(src);
                self.set_slot(dest, value);
            }
            I::Swap { a, b } => self.swap(a, b),
            I::Load { dest, local } => self.set_slot(dest, Value::local(local)),
            I::LoadPush { local } => self.push(Value::local(local)),
            I::ConstI64Push { value } => self.push(Value::Int(value)),
            I::Store { local, src } => {
                let value = self.slot(src);
                self.set_local(local, value);
            }
            I::PopStore { local } => {
                let value = self.pop();
                self.set_local(local, value);
            }
            _ => return self.operate(instruction),
        }
        true
    }

    #[inline(always)]
    fn operate(&mut self, instruction: &Instruction) -> bool {
        use Instruction as I;
        use integers::Operator as Op;
        match *instruction {
            I::AddI64 => self.integers(Op::Add, None),
            I::SubI64 => self.integers(Op::Sub, None),
            I::MulI64 => self.integers(Op::Mul, None),
            I::AddI64Pop { dest } => self.integers(Op::Add, Some(dest)),
            I::SubI64Pop { dest } => self.integers(Op::Sub, Some(dest)),
            I::MulI64Pop { dest } => self.integers(Op::Mul, Some(dest)),
            I::And => self.integers(Op::And, None),
            I::Or => self.integers(Op::Or, None),
            I::Not => {
                self.push(Value::Int(1));
                self.integers(Op::Xor, None);
            }
            I::NegI64 => self.negate(),
            I::DivI64 => self.divide(division::Wanted::Quotient),
            I::ModI64 => self.divide(division::Wanted::Rest),
            I::AddF64 | I::SubF64 | I::MulF64 | I::DivF64 => self.floats(instruction),
            I::Eq | I::Ne | I::Lt | I::Le | I::Gt | I::Ge => self.compare(instruction),
            I::LtJmpIfNot { offset } => {
                return self.compare_and_jump(compare::Relation::Lt, false, self.target(offset));
            }
            I::EqJmpIfNot { offset } => {
                return self.compare_and_jump(compare::Relation::Eq, false, self.target(offset));
            }
            I::Jmp { offset } => return self.jump(self.target(offset)),
            I::JmpIf { offset } => return self.jump_if(true, self.target(offset)),
            I::JmpIfNot { offset } => return self.jump_if(false, self.target(offset)),
            I::Call { function, argc } => self.call(function, argc),
            I::CallSffi { index, argc } => self.call_host(index, argc),
            I::TailCall { function, argc } => return self.tail_call(function, argc),
            I::Ret { src } => return self.return_slot(src),
            I::RetVoid => return self.return_value(Value::Int(0)),
            // The verifier lets nothing else through.
            _ => return false,
        }
        true
    }

    /// Where a jump leads that ends where the next instruction begins.
    fn target(&self, offset: i32) -> u32 {
        u32::try_from(target(self.next, 0, offset)).unwrap_or(u32::MAX)
    }

    /// The label of a target.
    fn label_at(&self, offset: u32) -> Option<Label> {
        let number = self.facts.targets().binary_search_by_key(&offset, |target| target.offset);
        self.l.labels.get(number.ok()?).copied()
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
