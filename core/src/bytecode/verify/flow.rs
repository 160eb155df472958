//! The walk over a function's code: what each instruction does to kinds, and where it goes on.

use super::error::{Fault, keep};
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
    pub(super) results: &'v mut Results,
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
    /// Why an instruction was refused.
    pub(super) fault: Option<Fault>,
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
    /// Nothing: it is refused.
    Refused,
}

impl<'v> Flow<'v, '_> {
    /// Follows every path. On an error, the offset of the instruction comes with it.
    ///
    /// Most values that are nil before a loop are something else after one round of it, and not read
    /// before they are set. So they are taken for mixed at once, which spares most functions a second
    /// walk; where one is read, everything is done again without such guesses.
    pub(super) fn run(&mut self, frame: &mut Frame) -> Result<(), (u32, Fault)> {
        self.guesses = true;
        self.walk(frame).or_else(|(at, fault)| {
            if fault == Fault::OutOfMemory {
                return Err((at, fault));
            }
            (self.guesses, self.fault, self.runs_off) = (false, None, false);
            self.walk(frame)
        })
    }

    /// Follows every path, each instruction as often as less is known of it than before.
    #[inline(never)]
    fn walk(&mut self, frame: &mut Frame) -> Result<(), (u32, Fault)> {
        let targets = self.scan.targets.len();
        let none = |none: AllocError| (0, none.into());
        let (params, locals) = (self.function.params, self.scan.locals_set);
        let (given, mixed) =
            if self.is_dynamic { (Type::VALUE, Type::VALUE) } else { (Type::I64, Type::MIXED) };
        self.joins.start(targets, self.function.code.len(), locals, mixed).map_err(none)?;
        let mut state = frame.start(params, given, locals, self.index).map_err(none)?;
        let (mut at, mut passed) = (0, 0);
        loop {
            let path = self.path(&mut state, at, passed);
            let path = if state.is_short { Err((at, Fault::OutOfMemory)) } else { path };
            passed = path.map_err(|(at, fault)| (offset(at), fault))?;
            let next = self.joins.next(passed, self.effort);
            let next = next.map_err(|fault| (offset(at), fault))?;
            let Some((target, next)) =
                next.and_then(|next| Some((self.scan.targets.get(next)?, next)))
            else {
                break;
            };
            self.load(&mut state, next);
            (at, passed) = (target.at(), next + 1);
        }
        Ok(())
    }

    /// Follows the code from `begin` on until it ends or nothing new is learnt. So many targets have
    /// been passed, and then. An error comes with its place.
    #[inline(always)]
    fn path(
        &mut self,
        state: &mut State<'_>,
        begin: At,
        mut passed: usize,
    ) -> Result<usize, (At, Fault)> {
        let scan: &'v Scan = self.scan;
        let ops = scan.ops();
        let mut at = begin;
        'blocks: loop {
            let target = scan.targets.get(passed);
            // Before that there is nothing to be seen to but the instructions.
            let block = target.and_then(|target| ops.get(..target.at())).unwrap_or(ops);
            while let Some(&op) = block.get(at) {
                let next = self.instruction(state, op, at);
                match next {
                    Next::Follows => {}
                    Next::MayJump | Next::Jumps => {
                        self.jump(state, op.long()).map_err(|fault| (at, fault))?;
                        if next == Next::Jumps {
                            break 'blocks;
                        }
                    }
                    Next::Ends => break 'blocks,
                    Next::Refused => return Err((at, self.refused())),
                }
                at = op.behind(at);
            }
            let Some(target) = target else {
                self.finish_at_end(state, at).map_err(|fault| (at, fault))?;
                break;
            };
            if !self.arrive(state, passed, target).map_err(|fault| (at, fault))? {
                break;
            }
            passed += 1;
        }
        self.effort.spend(2 * (at - begin)).map_err(|fault| (at, fault))?;
        Ok(passed)
    }

    #[inline(always)]
    fn load(&self, state: &mut State<'_>, number: usize) {
        if let Some(types) = self.joins.get(number) {
            state.load(types);
        }
    }

    /// Comes to a target from above; whether to go on.
    #[inline(always)]
    fn arrive(
        &mut self,
        state: &mut State<'_>,
        number: usize,
        target: &Target,
    ) -> Result<bool, Fault> {
        let met = self.meet(number, target, state.types()).ok_or_else(|| self.refused())?;
        let waited = self.joins.take(number);
        if met == Met::Same && !waited {
            return Ok(false);
        }
        if met != Met::First {
            self.load(state, number);
        }
        Ok(true)
    }

    /// Why the last instruction was refused.
    #[cold]
    fn refused(&self) -> Fault {
        self.fault.unwrap_or(Fault::Unsupported)
    }

    /// A path comes to a target with these types; `None` when it may not, and `fault` says why.
    #[inline(never)]
    fn meet(&mut self, number: usize, target: &Target, types: &[Type]) -> Option<Met> {
        let Self { joins, results, effort, fault, .. } = self;
        let guesses = self.guesses && target.last_back_jump.is_some();
        match joins.meet(number, types, guesses, results, effort) {
            Ok(met) => Some(met),
            Err(meeting) => {
                keep(fault, meeting.fault(target.offset, types.len(), self.scan.locals_set));
                None
            }
        }
    }

    /// A jump leads to a target.
    #[inline(always)]
    fn jump(&mut self, state: &State<'_>, number: u32) -> Result<(), Fault> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let scan: &'v Scan = self.scan;
        let Some(target) = scan.targets.get(number) else { return Ok(()) };
        let met = self.meet(number, target, state.types());
        if met.ok_or_else(|| self.refused())? != Met::Same {
            self.joins.wait(number);
        }
        Ok(())
    }

    /// The code ends and the activation with it: the top of the vector is the result.
    #[inline(always)]
    fn finish_at_end(&mut self, state: &mut State<'_>, end: At) -> Result<(), Fault> {
        if state.length() == 0 {
            return Err(Fault::NothingReturned);
        }
        self.runs_off = true;
        let result = state.pop(KindSet::ANY, self.results, end)?;
        self.returns(result, end)
    }

    /// The function returns a value of this type.
    fn returns(&mut self, ty: Type, at: At) -> Result<(), Fault> {
        if self.known.is_some() || self.is_dynamic {
            return Ok(());
        }
        self.results.returns(self.index, ty, (self.index, offset(at))).map_err(Fault::from)
    }

    fn result_of(&mut self, callee: u32) -> Type {
        if self.is_dynamic {
            return Type::VALUE;
        }
        let known = self.known.and_then(|known| known.get(usize::try_from(callee).ok()?));
        match known {
            Some(&kind) => Type::of(kind.into()),
            None => self.results.of(callee),
        }
    }

    #[inline(always)]
    fn instruction(&mut self, state: &mut State<'_>, op: Op, at: At) -> Next {
        self.step(state, op, at).unwrap_or_else(|fault| {
            keep(&mut self.fault, fault);
            Next::Refused
        })
    }

    #[inline(always)]
    fn step(&mut self, state: &mut State<'_>, op: Op, at: At) -> Result<Next, Fault> {
        use Opcode as O;
        let Self { results, .. } = self;
        match op.opcode() {
            O::ConstI64 => state.write(op.a(), Type::I64),
            O::ConstF64 => state.write(op.a(), Type::F64),
            O::ConstTrue | O::ConstFalse => state.write(op.a(), Type::BOOL),
            O::ConstNone | O::ConstUnit => state.write(op.a(), Type::NIL),
            O::Push => {
                let ty = state.read(op.a(), results, at)?;
                state.push(ty);
            }
            O::Pop => {
                let ty = state.pop(KindSet::ANY, results, at)?;
                state.write(op.a(), ty);
            }
            O::Dup => {
                let ty = state.read(op.a(), results, at)?;
                state.write(op.b(), ty);
            }
            O::Swap => {
                let (a, b) = (op.a(), op.b());
                let left = state.read(a, results, at)?;
                let right = state.read(b, results, at)?;
                state.write(a, right);
                state.write(b, left);
            }
            O::Load => {
                let ty = state.local(op.b(), results, at)?;
                state.write(op.a(), ty);
            }
            O::Store => {
                let ty = state.read(op.b(), results, at)?;
                state.set_local(op.a(), ty);
            }
            O::ConstI64Push => state.push(Type::I64),
            O::LoadPush => {
                let ty = state.local(op.a(), results, at)?;
                state.push(ty);
            }
            O::PopStore => {
                let ty = state.pop(KindSet::ANY, results, at)?;
                state.set_local(op.a(), ty);
            }
            _ => return self.compute(state, op, at),
        }
        Ok(Next::Follows)
    }

    /// What an instruction that computes does to the kinds.
    #[inline(always)]
    fn compute(&mut self, state: &mut State<'_>, op: Op, at: At) -> Result<Next, Fault> {
        use Opcode as O;
        let Self { results, .. } = self;
        match op.opcode() {
            O::AddI64 | O::SubI64 | O::MulI64 | O::DivI64 | O::ModI64 => {
                state.combine_two(Type::I64, results, at)?
            }
            O::AddF64 | O::SubF64 | O::MulF64 | O::DivF64 => {
                state.combine_two(Type::F64, results, at)?
            }
            O::NegI64 => {
                state.pop(KindSet::I64, results, at)?;
                state.push(Type::I64);
            }
            O::Eq | O::Ne => {
                state.pop_equal(results, at)?;
                state.push(Type::BOOL);
            }
            O::Lt | O::Le | O::Gt | O::Ge => {
                state.pop_ordered(results, at)?;
                state.push(Type::BOOL);
            }
            O::And | O::Or => state.combine_two(Type::BOOL, results, at)?,
            O::Not => {
                state.pop(KindSet::BOOL, results, at)?;
                state.push(Type::BOOL);
            }
            O::AddI64Pop | O::SubI64Pop | O::MulI64Pop => {
                state.pop_two(Type::I64, results, at)?;
                state.write(op.a(), Type::I64);
            }
            _ => return self.transfer(state, op, at),
        }
        Ok(Next::Follows)
    }

    /// What a jump, a call, a return or an operation on objects does.
    #[inline(always)]
    fn transfer(&mut self, state: &mut State<'_>, op: Op, at: At) -> Result<Next, Fault> {
        use Opcode as O;
        let Self { results, is_dynamic, .. } = self;
        let arguments = if *is_dynamic { KindSet::ANY } else { KindSet::I64 };
        match op.opcode() {
            O::Jmp => return Ok(Next::Jumps),
            O::JmpIf | O::JmpIfNot => {
                state.pop(KindSet::BOOL, results, at)?;
                return Ok(Next::MayJump);
            }
            O::LtJmpIfNot => {
                state.pop_ordered(results, at)?;
                return Ok(Next::MayJump);
            }
            O::EqJmpIfNot => {
                state.pop_equal(results, at)?;
                return Ok(Next::MayJump);
            }
            O::Call => {
                pop_arguments(state, op.argc(), arguments, results, at)?;
                let result = self.result_of(op.long());
                state.push(result);
            }
            O::TailCall => {
                pop_arguments(state, op.argc(), arguments, results, at)?;
                let result = self.result_of(op.long());
                self.returns(result, at)?;
                return Ok(Next::Ends);
            }
            O::CallSffi => {
                pop_arguments(state, op.b(), KindSet::I64, results, at)?;
                state.push(Type::I64);
            }
            O::Ret => {
                let ty = state.read(op.a(), results, at)?;
                self.returns(ty, at)?;
                return Ok(Next::Ends);
            }
            O::RetVoid => {
                self.returns(Type::NIL, at)?;
                return Ok(Next::Ends);
            }
            // The scan lets no other instruction through.
            _ => self.object_operation(state, at)?,
        }
        Ok(Next::Follows)
    }
}

#[inline(always)]
fn pop_arguments(
    state: &mut State<'_>,
    argc: u16,
    needed: KindSet,
    results: &mut Results,
    at: At,
) -> Result<(), Fault> {
    state.require(argc.into())?;
    for _ in 0..argc {
        state.pop(needed, results, at)?;
    }
    Ok(())
}

impl Flow<'_, '_> {
    /// What an instruction that works on objects does to the kinds. Its operands are read from the code, because
    /// [`Op`] does not contain all of them.
    #[cold]
    #[inline(never)]
    fn object_operation(&mut self, state: &mut State<'_>, at: At) -> Result<(), Fault> {
        let instruction = Instruction::decode(self.function.code, offset(at));
        let instruction = instruction.map_err(Fault::Decode)?;
        let popped = objects::popped(instruction);
        self.effort.spend(usize::try_from(popped).unwrap_or(usize::MAX))?;
        state.pop_all(popped, self.results, at)?;
        let constants = self.constants;
        objects::apply(instruction, state, self.results, constants, at)
    }
}
