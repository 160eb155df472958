//! Verified bytecode to IR, one function at a time and in one pass over its instructions.
//!
//! The operand stack does not exist in the IR: what is pushed and popped is known while translating
//! (`value_stack`), so that most pushes and pops produce no instruction. Every computed value gets a fresh IR local,
//! which keeps live ranges short. Where paths merge, every value moves to the home of its variable. The kinds of
//! values, which the verifier has found, decide the types of IR locals: a variable has one home for each class of
//! values that it holds.
//!
//! [`abi`] is the interface between the code that is made from the IR and the engine that runs it.

pub mod abi;
mod arithmetic;
mod calls;
mod compare;
mod entry;
mod error;
mod value_stack;
mod values;
mod variables;

use alloc::vec::Vec;

pub use error::TranslateError;

use super::instruction::Opcode;
use super::verify::{At, Facts, Op, Program, Target, offset};
use crate::alloc_util::{try_push, try_reserve};
use crate::format::bytes::i64_at;
use crate::ir::{Binary, Condition, FunctionBuilder, Label, Local, Scalar, Slot, Unary, ValueType};
use value_stack::{Class, Val, ValueStack};
use variables::Variables;

/// IR instructions that a function may have in any case, and for each pair of bytes of its code.
const INSTRUCTIONS: [u64; 2] = [1 << 16, 64];

/// Where a translated function is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// At its start, by a call.
    Call,
    /// At the head of a loop, at this offset: an on-stack replacement.
    LoopHead(u32),
}

/// Translates functions. Its memory is reused.
#[derive(Debug)]
pub struct Translator {
    ir: FunctionBuilder,
    /// The encoded function.
    encoded: Vec<u8>,
    stack: ValueStack,
    variables: Variables,
    /// The labels of the targets of jumps.
    labels: Vec<Label>,
    /// The arguments of a call, and all operands of the IR's call.
    arguments: Vec<Local>,
    records_source_map: bool,
    /// The first error that is not the builder's.
    error: Option<TranslateError>,
}

impl Default for Translator {
    fn default() -> Self {
        Self::new()
    }
}

impl Translator {
    /// A translator that has allocated nothing yet.
    pub fn new() -> Self {
        Self {
            ir: FunctionBuilder::new(0, None),
            encoded: Vec::new(),
            stack: ValueStack::default(),
            variables: Variables::default(),
            labels: Vec::new(),
            arguments: Vec::new(),
            records_source_map: false,
            error: None,
        }
    }

    /// Sets whether every instruction gets a source location, and not only those that may trap.
    pub fn record_source_map(&mut self, record: bool) {
        self.records_source_map = record;
    }

    /// Translates the function of `program` that `facts` describe. The result is an encoded IR function, which the
    /// verifier of the IR accepts.
    ///
    /// # Errors
    /// [`TranslateError::Limit`], [`TranslateError::NoLoop`], or no memory.
    pub fn function(
        &mut self,
        program: &Program<'_>,
        facts: &Facts<'_, '_>,
        entry: Entry,
    ) -> Result<&[u8], TranslateError> {
        let start = match entry {
            Entry::Call => None,
            Entry::LoopHead(at) => Some(loop_target(facts, at)?),
        };
        self.start(facts)?;
        Body::new(self, program, facts, start.is_some()).translate(start);
        if let Some(error) = self.error {
            return Err(error);
        }
        self.ir.finish_into(&mut self.encoded)?;
        Ok(&self.encoded)
    }

    fn start(&mut self, facts: &Facts<'_, '_>) -> Result<(), TranslateError> {
        let depth = usize::try_from(facts.max_stack_depth()).unwrap_or(usize::MAX);
        let is_too_deep = facts.max_stack_depth() > crate::trap::bytecode::MAX_STACK_DEPTH;
        let depth = if is_too_deep { 0 } else { depth };
        self.ir.reset(0, Some(Scalar::I64.into()));
        self.stack.start(depth)?;
        self.variables.start(facts.locals_named().into(), depth)?;
        self.labels.clear();
        try_reserve(&mut self.labels, facts.targets().len())?;
        self.error = None;
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: TranslateError) {
        self.error.get_or_insert(error);
    }
}

/// The number of the target at offset `at`, where a loop starts.
fn loop_target(facts: &Facts<'_, '_>, at: u32) -> Result<usize, TranslateError> {
    let targets = facts.targets();
    let number = targets.binary_search_by_key(&at, |target| target.offset);
    let is_head = |number: &usize| {
        let target = targets.get(*number);
        target.is_some_and(|target| target.last_back_jump.is_some())
            && facts.length_at(*number).is_some()
    };
    number.ok().filter(is_head).ok_or(TranslateError::NoLoop { at })
}

/// A function during translation.
struct Body<'t, 'f> {
    t: &'t mut Translator,
    program: &'f Program<'f>,
    facts: &'f Facts<'f, 'f>,
    /// The current instruction, and the one behind it.
    here: At,
    next: At,
    /// The instructions before the next target of a jump.
    block: &'f [Op],
    /// The offset of the last source location.
    located: Option<u32>,
    context: Local,
    depth: Local,
    /// The address of the shared block, if the function needs it.
    shared: Option<Local>,
    /// The stack slot through which bits move between classes.
    bits: Option<Slot>,
    /// What an activation is charged, in bytes.
    charge: i32,
    /// Whether the function is entered at a loop head.
    is_replacement: bool,
}

impl<'t, 'f> Body<'t, 'f> {
    fn new(
        t: &'t mut Translator,
        program: &'f Program<'f>,
        facts: &'f Facts<'f, 'f>,
        is_replacement: bool,
    ) -> Self {
        let (context, depth) = (t.ir.param(Scalar::Pointer), t.ir.param(Scalar::I64));
        for _ in facts.targets() {
            let label = t.ir.label();
            if try_push(&mut t.labels, label).is_err() {
                t.fail(TranslateError::OutOfMemory);
            }
        }
        Self {
            t,
            program,
            facts,
            here: 0,
            next: 0,
            block: &[],
            located: None,
            context,
            depth,
            shared: None,
            bits: None,
            charge: 0,
            is_replacement,
        }
    }

    fn translate(&mut self, start: Option<usize>) {
        if self.enter(start) {
            self.run(start.is_none());
        }
    }

    /// Translates all that can be reached, in the order of the code; `goes_on` tells whether the first instruction
    /// is.
    fn run(&mut self, mut goes_on: bool) {
        let ops = self.facts.ops();
        for (number, target) in self.facts.targets().iter().enumerate() {
            self.block = ops.get(..target.at()).unwrap_or(ops);
            goes_on = goes_on && self.block();
            goes_on = self.arrive(number, goes_on);
            // Instructions that no path reaches are left out.
            self.next = target.at();
            if self.has_failed() {
                return;
            }
        }
        self.block = ops;
        if goes_on && self.block() {
            self.here = ops.len();
            let result = self.pop();
            self.return_value(result);
        }
    }

    fn has_failed(&self) -> bool {
        self.t.error.is_some()
    }

    /// Translates the rest of a block; whether the instruction behind it is reached from there.
    fn block(&mut self) -> bool {
        while let Some(op) = self.peek() {
            self.here = self.next;
            self.next = op.behind(self.here);
            self.start_instruction();
            if !self.instruction(op) {
                return false;
            }
        }
        !self.has_failed()
    }

    /// The instruction behind the current one, if no jump leads to it.
    #[inline]
    fn peek(&self) -> Option<Op> {
        self.block.get(self.next).copied()
    }

    #[inline]
    fn start_instruction(&mut self) {
        if self.t.records_source_map {
            self.locate();
        }
        if self.t.variables.reuses() {
            self.flush_temporaries();
        }
        let [base, each] = INSTRUCTIONS;
        let limit = (self.facts.ops().len() as u64).saturating_mul(each).saturating_add(base);
        let value = self.t.ir.len() as u64;
        if value > limit {
            self.t.fail(TranslateError::Limit { name: "instructions", limit, value });
        }
        if self.has_failed() {
            self.next = At::MAX;
        }
    }

    /// States that the following IR belongs to the current instruction. Called before IR that may trap.
    fn locate(&mut self) {
        let here = offset(self.here);
        if self.located != Some(here) {
            self.t.ir.location(here, 0, None);
            self.located = Some(here);
        }
    }

    /// Comes to a target; whether a path leads there.
    fn arrive(&mut self, number: usize, from_above: bool) -> bool {
        let Some(length) = self.facts.length_at(number) else { return false };
        if from_above {
            self.flush(number);
        }
        if let Some(&label) = self.t.labels.get(number) {
            self.t.ir.bind(label);
        }
        self.load_target(number, usize::try_from(length).unwrap_or(usize::MAX));
        true
    }

    /// Takes over the classes that values have at a target, where they are in their homes.
    fn load_target(&mut self, number: usize, length: usize) {
        self.t.stack.clear();
        let (locals, slots) = self.facts.kinds_at(number);
        for (local, kind) in locals.enumerate() {
            if let Some(kind) = kind {
                self.t.variables.set_class(local, Class::of(kind));
            }
        }
        for (slot, kind) in slots.enumerate().take(length) {
            // A value of no kind is not read.
            let value = kind.map_or(Val::ZERO, |kind| self.home(slot, Class::of(kind)));
            self.t.stack.push_home(value);
        }
    }

    /// The constant of the current instruction, `start` bytes from its start.
    fn constant(&self, start: u32) -> u64 {
        let at = usize::try_from(offset(self.here) + start).unwrap_or(usize::MAX);
        i64_at(self.facts.function.code, at).unwrap_or(0).cast_unsigned()
    }

    /// Translates an instruction; whether the next one is reached from it.
    #[inline]
    fn instruction(&mut self, op: Op) -> bool {
        use Opcode as O;
        let int = |bits| Val::Const(Class::Int, bits);
        match op.opcode() {
            O::ConstI64 => self.set_slot(op.a(), int(self.constant(4))),
            O::ConstF64 => self.set_slot(op.a(), Val::Const(Class::Float, self.constant(4))),
            O::ConstTrue => self.set_slot(op.a(), Val::Const(Class::Bool, 1)),
            O::ConstFalse => self.set_slot(op.a(), Val::Const(Class::Bool, 0)),
            O::ConstNone | O::ConstUnit => self.set_slot(op.a(), Val::ZERO),
            O::Push => {
                let value = self.slot(op.a());
                self.push(value);
            }
            O::Pop => {
                let value = self.pop();
                self.set_slot(op.a(), value);
            }
            O::Dup => {
                let value = self.slot(op.a());
                self.set_slot(op.b(), value);
            }
            O::Swap => self.swap(op.a(), op.b()),
            O::Load => {
                let value = self.local(op.b());
                self.set_slot(op.a(), value);
            }
            O::LoadPush => {
                let value = self.local(op.a());
                self.push(value);
            }
            O::ConstI64Push => self.push(int(self.constant(2))),
            O::Store => {
                let value = self.slot(op.b());
                self.set_local(op.a(), value);
            }
            O::PopStore => {
                let value = self.pop();
                self.set_local(op.a(), value);
            }
            _ => return self.operation(op),
        }
        true
    }

    /// An instruction that computes, or goes somewhere.
    fn operation(&mut self, op: Op) -> bool {
        use Opcode as O;
        match op.opcode() {
            O::AddI64 => self.binary(Binary::Add, Class::Int, None),
            O::SubI64 => self.binary(Binary::Subtract, Class::Int, None),
            O::MulI64 => self.binary(Binary::Multiply, Class::Int, None),
            O::AddI64Pop => self.binary(Binary::Add, Class::Int, Some(op.a())),
            O::SubI64Pop => self.binary(Binary::Subtract, Class::Int, Some(op.a())),
            O::MulI64Pop => self.binary(Binary::Multiply, Class::Int, Some(op.a())),
            O::DivI64 => self.binary(Binary::Divide, Class::Int, None),
            O::ModI64 => self.binary(Binary::Remainder, Class::Int, None),
            O::AddF64 => self.binary(Binary::Add, Class::Float, None),
            O::SubF64 => self.binary(Binary::Subtract, Class::Float, None),
            O::MulF64 => self.binary(Binary::Multiply, Class::Float, None),
            O::DivF64 => self.binary(Binary::Divide, Class::Float, None),
            O::And => self.binary(Binary::And, Class::Bool, None),
            O::Or => self.binary(Binary::Or, Class::Bool, None),
            O::Not => self.unary(Unary::Not, Class::Bool),
            O::NegI64 => self.unary(Unary::Negate, Class::Int),
            O::Eq => return self.compare(Condition::Equal),
            O::Ne => return self.compare(Condition::NotEqual),
            O::Lt => return self.compare(Condition::Less),
            O::Le => return self.compare(Condition::LessEqual),
            O::Gt => return self.compare(Condition::Greater),
            O::Ge => return self.compare(Condition::GreaterEqual),
            O::LtJmpIfNot => return self.compare_and_jump(Condition::Less, false, op.long()),
            O::EqJmpIfNot => return self.compare_and_jump(Condition::Equal, false, op.long()),
            O::Jmp => return self.jump(op.long()),
            O::JmpIf => return self.jump_if(true, op.long()),
            O::JmpIfNot => return self.jump_if(false, op.long()),
            O::Call => self.call(op.long(), op.argc()),
            O::CallSffi => self.call_host(op.a(), op.b()),
            O::TailCall => return self.tail_call(op.long(), op.argc()),
            O::Ret => {
                let result = self.slot(op.a());
                return self.return_value(result);
            }
            O::RetVoid => return self.return_value(Val::ZERO),
            // The verifier refuses all others.
            _ => return false,
        }
        true
    }

    /// A temporary of the IR.
    fn temporary(&mut self, ty: Scalar) -> Local {
        let Translator { ir, variables, .. } = &mut *self.t;
        match variables.temporary(ir, ty) {
            Ok(local) => local,
            Err(_) => {
                self.t.fail(TranslateError::OutOfMemory);
                self.context
            }
        }
    }
}

/// The type of integers.
const I64: ValueType = ValueType::Scalar(Scalar::I64);

/// The target with this number.
fn target_of<'f>(facts: &Facts<'f, '_>, number: u32) -> Option<&'f Target> {
    facts.targets().get(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests;
