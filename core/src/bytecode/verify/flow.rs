//! The walk over a function's code: what each instruction does to kinds, and where it goes on.

use super::error::Fault;
use super::frame::{Frame, State};
use super::joins::{Effort, Joins, Met};
use super::kind::{Kind, KindSet, Results, Type};
use super::objects;
use super::op::{At, Op, offset};
use super::program::FunctionCode;
use super::scan::{Scan, Target};
use crate::alloc_util::AllocError;
use crate::bytecode::instruction::{Instruction, Opcode};
use crate::format::constants::Constants;

/// A function on its way through the verifier.
pub(super) struct Flow<'v, 'c> {
    pub(super) function: FunctionCode<'c>,
    pub(super) index: u32,
    pub(super) scan: &'v Scan,
    pub(super) joins: &'v mut Joins,
    pub(super) effort: &'v mut Effort,
    /// The results of all functions, once they are known.
    pub(super) known: Option<&'v [Kind]>,
    pub(super) constants: Constants<'c>,
    /// Whether the function works on objects, or calls one that does.
    pub(super) is_dynamic: bool,
    /// Whether what is nil before a loop is taken for mixed.
    pub(super) guesses: bool,
    /// Whether a path ends at the end of the code.
    pub(super) runs_off: bool,
}

/// What comes after an instruction. One number, because it is made in so many places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next one.
    Follows,
    /// The next one, or where it jumps.
    MayJump,
    /// Where it jumps.
    Jumps,
    /// Nothing of this function.
    Ends,
}

impl<'v> Flow<'v, '_> {
    /// Follows every path. On an error, the offset of the instruction comes with it.
    ///
    /// Most values that are nil before a loop are something else after one round of it, and not read
    /// before they are set. So they are taken for mixed at once, which spares most functions a second
    /// walk; where one is read, everything is done again without such guesses.
    pub(super) fn run(
        &mut self,
        frame: &mut Frame,
        results: &mut Results,
    ) -> Result<(), (u32, Fault)> {
        self.guesses = true;
        self.walk(frame, results).or_else(|(at, fault)| {
            if fault == Fault::OutOfMemory {
                return Err((at, fault));
            }
            (self.guesses, self.runs_off) = (false, false);
            self.walk(frame, results)
        })
    }

    /// Follows every path, each instruction as often as less is known of it than before.
    #[inline(never)]
    fn walk(&mut self, frame: &mut Frame, results: &mut Results) -> Result<(), (u32, Fault)> {
        let targets = self.scan.targets.len();
        let none = |none: AllocError| (0, none.into());
        let (params, locals) = (self.function.params, self.scan.locals_set);
        let (given, mixed) =
            if self.is_dynamic { (Type::VALUE, Type::VALUE) } else { (Type::I64, Type::MIXED) };
        self.joins.start(targets, self.function.code.len(), locals, mixed).map_err(none)?;
        let function = (self.index, results);
        let mut state = frame.start(params, given, locals, function).map_err(none)?;
        let mut passed = 0;
        loop {
            let path = self.path(&mut state, passed);
            let path = if state.is_short { Err(Fault::OutOfMemory) } else { path };
            let next = path.and_then(|passed| self.joins.next(passed, self.effort));
            let next = next.map_err(|fault| (offset(state.at), fault))?;
            let Some((target, next)) =
                next.and_then(|next| Some((self.scan.targets.get(next)?, next)))
            else {
                break;
            };
            self.load(&mut state, next);
            (state.at, passed) = (target.at(), next + 1);
        }
        Ok(())
    }

    /// Follows the code until it ends or nothing new is learnt. So many targets have been passed, and then.
    #[inline]
    fn path(&mut self, state: &mut State<'_>, mut passed: usize) -> Result<usize, Fault> {
        let scan: &'v Scan = self.scan;
        let (ops, begin) = (scan.ops(), state.at);
        'blocks: loop {
            let target = scan.targets.get(passed);
            // Before that there is nothing to be seen to but the instructions.
            let block = target.and_then(|target| ops.get(..target.at())).unwrap_or(ops);
            while let Some(&op) = block.get(state.at) {
                match self.step(state, op)? {
                    Next::Follows => {}
                    Next::MayJump => self.jump(state, op.long())?,
                    Next::Jumps => {
                        self.jump(state, op.long())?;
                        break 'blocks;
                    }
                    Next::Ends => break 'blocks,
                }
                state.at = op.behind(state.at);
            }
            let Some(target) = target else {
                self.finish_at_end(state)?;
                break;
            };
            if !self.arrive(state, passed, target)? {
                break;
            }
            passed += 1;
        }
        self.effort.spend(2 * (state.at - begin))?;
        Ok(passed)
    }

    #[inline]
    fn load(&self, state: &mut State<'_>, number: usize) {
        if let Some(types) = self.joins.get(number) {
            state.load(types);
        }
    }

    /// Comes to a target from above; whether to go on.
    #[inline]
    fn arrive(
        &mut self,
        state: &mut State<'_>,
        number: usize,
        target: &Target,
    ) -> Result<bool, Fault> {
        let met = self.meet(number, target, state.parts())?;
        let waited = self.joins.waiting.remove(number);
        if met == Met::Same && !waited {
            return Ok(false);
        }
        if met != Met::First {
            self.load(state, number);
        }
        Ok(true)
    }

    /// A path comes to a target with these types.
    #[inline(never)]
    fn meet(
        &mut self,
        number: usize,
        target: &Target,
        (types, results): (&[Type], &mut Results),
    ) -> Result<Met, Fault> {
        let guesses = self.guesses && target.last_back_jump.is_some();
        self.joins.meet((number, target.offset), types, guesses, results, self.effort)
    }

    /// A jump leads to a target.
    #[inline]
    fn jump(&mut self, state: &mut State<'_>, number: u32) -> Result<(), Fault> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let scan: &'v Scan = self.scan;
        let Some(target) = scan.targets.get(number) else { return Ok(()) };
        if self.meet(number, target, state.parts())? != Met::Same {
            self.joins.waiting.insert(number);
        }
        Ok(())
    }

    /// The code ends and the activation with it: the top of the vector is the result.
    #[inline]
    fn finish_at_end(&mut self, state: &mut State<'_>) -> Result<(), Fault> {
        if state.length() == 0 {
            return Err(Fault::NothingReturned);
        }
        self.runs_off = true;
        let result = state.pop(KindSet::ANY)?;
        self.returns(state.results, result, state.at)
    }

    /// The function returns a value of this type.
    fn returns(&mut self, results: &mut Results, ty: Type, at: At) -> Result<(), Fault> {
        if self.known.is_some() || self.is_dynamic {
            return Ok(());
        }
        results.returns(self.index, ty, (self.index, offset(at))).map_err(Fault::from)
    }

    fn result_of(&self, results: &mut Results, callee: u32) -> Type {
        if self.is_dynamic {
            return Type::VALUE;
        }
        let known = self.known.and_then(|known| known.get(usize::try_from(callee).ok()?));
        match known {
            Some(&kind) => Type::of(kind.into()),
            None => results.of(callee),
        }
    }

    #[inline]
    fn step(&mut self, state: &mut State<'_>, op: Op) -> Result<Next, Fault> {
        use Opcode as O;
        match op.opcode() {
            O::ConstI64 => state.write(op.a(), Type::I64),
            O::ConstF64 => state.write(op.a(), Type::F64),
            O::ConstTrue | O::ConstFalse => state.write(op.a(), Type::BOOL),
            O::ConstNone | O::ConstUnit => state.write(op.a(), Type::NIL),
            O::Push => {
                let ty = state.read(op.a())?;
                state.push(ty);
            }
            O::Pop => {
                let ty = state.pop(KindSet::ANY)?;
                state.write(op.a(), ty);
            }
            O::Dup => {
                let ty = state.read(op.a())?;
                state.write(op.b(), ty);
            }
            O::Swap => {
                let (a, b) = (op.a(), op.b());
                let left = state.read(a)?;
                let right = state.read(b)?;
                state.write(a, right);
                state.write(b, left);
            }
            O::Load => {
                let ty = state.local(op.b())?;
                state.write(op.a(), ty);
            }
            O::Store => {
                let ty = state.read(op.b())?;
                state.set_local(op.a(), ty);
            }
            O::ConstI64Push => state.push(Type::I64),
            O::LoadPush => {
                let ty = state.local(op.a())?;
                state.push(ty);
            }
            O::PopStore => {
                let ty = state.pop(KindSet::ANY)?;
                state.set_local(op.a(), ty);
            }
            _ => return self.compute(state, op),
        }
        Ok(Next::Follows)
    }

    /// What an instruction that computes does to the kinds.
    #[inline]
    fn compute(&mut self, state: &mut State<'_>, op: Op) -> Result<Next, Fault> {
        use Opcode as O;
        match op.opcode() {
            O::AddI64 | O::SubI64 | O::MulI64 | O::DivI64 | O::ModI64 => {
                state.combine_two(Type::I64)?
            }
            O::AddF64 | O::SubF64 | O::MulF64 | O::DivF64 => state.combine_two(Type::F64)?,
            O::NegI64 => {
                state.pop(KindSet::I64)?;
                state.push(Type::I64);
            }
            O::Eq | O::Ne => {
                state.pop_equal()?;
                state.push(Type::BOOL);
            }
            O::Lt | O::Le | O::Gt | O::Ge => {
                state.pop_ordered()?;
                state.push(Type::BOOL);
            }
            O::And | O::Or => state.combine_two(Type::BOOL)?,
            O::Not => {
                state.pop(KindSet::BOOL)?;
                state.push(Type::BOOL);
            }
            O::AddI64Pop | O::SubI64Pop | O::MulI64Pop => {
                state.pop_two(Type::I64)?;
                state.write(op.a(), Type::I64);
            }
            _ => return self.transfer(state, op),
        }
        Ok(Next::Follows)
    }

    /// What a jump, a call, a return or an operation on objects does.
    #[inline]
    fn transfer(&mut self, state: &mut State<'_>, op: Op) -> Result<Next, Fault> {
        use Opcode as O;
        let arguments = if self.is_dynamic { KindSet::ANY } else { KindSet::I64 };
        match op.opcode() {
            O::Jmp => return Ok(Next::Jumps),
            O::JmpIf | O::JmpIfNot => {
                state.pop(KindSet::BOOL)?;
                return Ok(Next::MayJump);
            }
            O::LtJmpIfNot => {
                state.pop_ordered()?;
                return Ok(Next::MayJump);
            }
            O::EqJmpIfNot => {
                state.pop_equal()?;
                return Ok(Next::MayJump);
            }
            O::Call => {
                state.pop_all(op.argc().into(), arguments)?;
                let result = self.result_of(state.results, op.long());
                state.push(result);
            }
            O::TailCall => {
                state.pop_all(op.argc().into(), arguments)?;
                let result = self.result_of(state.results, op.long());
                self.returns(state.results, result, state.at)?;
                return Ok(Next::Ends);
            }
            O::CallSffi => {
                state.pop_all(op.b().into(), KindSet::I64)?;
                state.push(Type::I64);
            }
            O::Ret => {
                let ty = state.read(op.a())?;
                self.returns(state.results, ty, state.at)?;
                return Ok(Next::Ends);
            }
            O::RetVoid => {
                self.returns(state.results, Type::NIL, state.at)?;
                return Ok(Next::Ends);
            }
            // The scan lets no other instruction through.
            _ => self.object_operation(state)?,
        }
        Ok(Next::Follows)
    }
}

impl Flow<'_, '_> {
    /// What an instruction that works on objects does to the kinds. Its operands are read from the code, because
    /// [`Op`] does not contain all of them.
    #[cold]
    #[inline(never)]
    fn object_operation(&mut self, state: &mut State<'_>) -> Result<(), Fault> {
        let instruction = Instruction::decode(self.function.code, offset(state.at));
        let instruction = instruction.map_err(Fault::Decode)?;
        let popped = objects::popped(instruction);
        self.effort.spend(usize::try_from(popped).unwrap_or(usize::MAX))?;
        state.pop_all(popped, KindSet::ANY)?;
        let constants = self.constants;
        objects::apply(instruction, state, constants)
    }
}
