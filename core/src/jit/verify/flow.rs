//! The walk over a function's code: what each instruction does to kinds, and where it goes on.

use super::error::Fault;
use super::frame::{At, Frame, State};
use super::joins::{Effort, Joins, Meeting, Met};
use super::kind::{KindSet, Results, Type};
use super::scan::{Scan, Target};
use super::uses::Uses;
use super::{FunctionCode, Kind};
use crate::jit::bytecode::{Instruction, target};

/// A function on its way through the verifier.
pub(super) struct Flow<'v, 'c> {
    pub(super) function: FunctionCode<'c>,
    pub(super) index: u32,
    pub(super) scan: &'v Scan,
    pub(super) joins: &'v mut Joins,
    pub(super) results: &'v mut Results,
    pub(super) uses: &'v mut Uses,
    pub(super) effort: &'v mut Effort,
    /// The results of all functions, once they are known.
    pub(super) known: Option<&'v [Kind]>,
    /// Whether what is nil before a loop is taken for mixed.
    pub(super) guesses: bool,
    /// Whether a path ends at the end of the code.
    pub(super) runs_off: bool,
    /// Why an instruction was refused.
    pub(super) fault: Option<Fault>,
}

/// In place of an offset: the instruction after this one does not run next.
const ENDS: u32 = u32::MAX - 1;

/// In place of an offset: the instruction is refused.
const REFUSED: u32 = u32::MAX;

/// The sizes of an instruction of no operands, of one slot, and of a jump: what several opcodes share
/// says its size once, or it would be looked up.
const OPERATOR: u32 = Instruction::AddI64.size();
const ONE_SLOT: u32 = Instruction::Pop { dest: 0 }.size();
const JUMP: u32 = Instruction::Jmp { offset: 0 }.size();

impl Flow<'_, '_> {
    /// Follows every path. On an error, the offset of the instruction comes with it.
    ///
    /// Most values that are nil before a loop are something else after one round of it, and not read
    /// before they are set. So they are taken for mixed at once, which spares most functions a second
    /// walk; where one is read, everything is done again without such guesses.
    pub(super) fn run(&mut self, frame: &mut Frame) -> Result<(), (u32, Fault)> {
        self.guesses = true;
        self.walk(frame).or_else(|_| {
            (self.guesses, self.fault, self.runs_off) = (false, None, false);
            self.walk(frame)
        })
    }

    /// Follows every path, each instruction as often as less is known of it than before.
    #[inline(never)]
    fn walk(&mut self, frame: &mut Frame) -> Result<(), (u32, Fault)> {
        let targets = self.scan.targets.len();
        self.joins.start(targets, self.function.code.len());
        self.uses.start(self.scan.locals_named);
        let mut state = frame.start(self.function.params, self.scan.locals_set);
        let (mut at, mut passed) = (0, 0);
        loop {
            self.path(&mut state, at, passed)?;
            let next = self.joins.next(self.effort).map_err(|fault| (at, fault))?;
            let Some((target, next)) =
                next.and_then(|next| Some((self.scan.targets.get(next)?, next)))
            else {
                break;
            };
            self.load(&mut state, next);
            self.uses.enter(target);
            (at, passed) = (target.offset, next + 1);
        }
        self.uses.finish(frame.longest());
        Ok(())
    }

    fn end(&self) -> u32 {
        u32::try_from(self.function.code.len()).unwrap_or(u32::MAX >> 1)
    }

    /// Follows the code from `begin` on, until it ends or nothing new is learnt. So many targets have
    /// been passed.
    #[inline(always)]
    fn path(
        &mut self,
        state: &mut State<'_>,
        begin: u32,
        mut passed: usize,
    ) -> Result<(), (u32, Fault)> {
        let (mut at, end) = (begin, self.end());
        // Before this offset there is nothing to be seen to but the instruction.
        let mut plain_until = begin;
        loop {
            if at >= plain_until {
                let target = self.target_offset(passed);
                if at == target {
                    if !self.arrive(state, passed, at).map_err(|fault| (at, fault))? {
                        break;
                    }
                    passed += 1;
                }
                if at >= end {
                    self.finish_at_end(state).map_err(|fault| (at, fault))?;
                    break;
                }
                self.uses.advance(at);
                plain_until = self.target_offset(passed).min(end).min(self.uses.same_until());
            }
            let next = self.instruction(state, at);
            if next >= ENDS {
                match self.fault {
                    Some(fault) => return Err((at, fault)),
                    None => break,
                }
            }
            at = next;
        }
        let looked_at = usize::try_from(at - begin).unwrap_or(usize::MAX);
        self.effort.spend(looked_at).map_err(|fault| (at, fault))
    }

    #[inline(always)]
    fn target_offset(&self, number: usize) -> u32 {
        self.scan.targets.get(number).map_or(u32::MAX, |target| target.offset)
    }

    #[inline(always)]
    fn load(&self, state: &mut State<'_>, number: usize) {
        if let Some((_, types)) = self.joins.get(number) {
            state.load(types);
        }
    }

    /// Comes to a target from above; whether to go on.
    #[inline(always)]
    fn arrive(&mut self, state: &mut State<'_>, number: usize, at: u32) -> Result<bool, Fault> {
        let met = self.meet(number, at, state.types(), state.length())?;
        let waited = self.joins.take(number);
        if met == Met::Same && !waited {
            return Ok(false);
        }
        if met != Met::First {
            self.load(state, number);
        }
        if let Some(target) = self.scan.targets.get(number) {
            self.uses.enter(target);
        }
        Ok(true)
    }

    #[inline(never)]
    fn meet(
        &mut self,
        number: usize,
        target: u32,
        types: &[Type],
        here: u32,
    ) -> Result<Met, Fault> {
        let Self { joins, results, effort, .. } = self;
        let is_head = |head: &Target| head.last_back_jump.is_some();
        let guesses = self.guesses && self.scan.targets.get(number).is_some_and(is_head);
        joins.meet(number, types, here, guesses, results, effort).map_err(|meeting| match meeting {
            Meeting::Length(there) => Fault::Length { target, there, here },
            Meeting::Fault(fault) => fault,
        })
    }

    /// A jump from `at` to `target`, which the scan has checked.
    #[inline(always)]
    fn jump(&mut self, state: &State<'_>, at: u32, target: i64) -> Result<(), Fault> {
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        let number = self.scan.target_number(target);
        if self.meet(number, target, state.types(), state.length())? != Met::Same {
            self.joins.wait(number, target > at);
        }
        Ok(())
    }

    /// The code ends and the activation with it: the top of the vector is the result.
    #[inline(always)]
    fn finish_at_end(&mut self, state: &mut State<'_>) -> Result<(), Fault> {
        let at = (self.index, self.end());
        if state.length() == 0 {
            return Err(Fault::NothingReturned);
        }
        self.runs_off = true;
        let result = state.pop(KindSet::ANY, self.results, at)?;
        self.returns(result, at)
    }

    /// The function returns a value of this type.
    fn returns(&mut self, ty: Type, at: At) -> Result<(), Fault> {
        if self.known.is_some() {
            return Ok(());
        }
        self.results.returns(self.index, ty, at).map_err(Fault::from)
    }

    fn result_of(&mut self, callee: u32) -> Type {
        let known = self.known.and_then(|known| known.get(usize::try_from(callee).ok()?));
        match known {
            Some(&kind) => Type::of(kind.into()),
            None => self.results.of(callee),
        }
    }

    /// The instruction at `at`: where the one after it begins, [`ENDS`] when that does not run next, or
    /// [`REFUSED`]. One number, because it is made in so many places.
    #[inline(always)]
    fn instruction(&mut self, state: &mut State<'_>, at: u32) -> u32 {
        // The scan has decoded it.
        let Ok(instruction) = Instruction::decode(self.function.code, at) else { return ENDS };
        self.step(state, &instruction, at).unwrap_or_else(|fault| self.refuse(fault))
    }

    #[cold]
    #[inline(never)]
    fn refuse(&mut self, fault: Fault) -> u32 {
        self.fault = Some(fault);
        REFUSED
    }

    #[inline(always)]
    fn step(
        &mut self,
        state: &mut State<'_>,
        instruction: &Instruction,
        offset: u32,
    ) -> Result<u32, Fault> {
        use Instruction as I;
        let at = (self.index, offset);
        let Self { results, uses, .. } = self;
        match *instruction {
            I::ConstI64 { dest, .. } => state.write(uses.slot(dest), Type::I64),
            I::ConstF64 { dest, .. } => state.write(uses.slot(dest), Type::F64),
            I::ConstTrue { dest } | I::ConstFalse { dest } => {
                state.write(uses.slot(dest), Type::BOOL);
                return Ok(offset + ONE_SLOT);
            }
            I::ConstNone { dest } | I::ConstUnit { dest } => {
                state.write(uses.slot(dest), Type::NIL);
                return Ok(offset + ONE_SLOT);
            }
            I::Push { src } => {
                let ty = state.read(uses.slot(src), results, at)?;
                state.push(ty);
            }
            I::Pop { dest } => {
                let ty = state.pop(KindSet::ANY, results, at)?;
                state.write(uses.slot(dest), ty);
            }
            I::Dup { src, dest } => {
                let ty = state.read(uses.slot(src), results, at)?;
                state.write(uses.slot(dest), ty);
            }
            I::Swap { a, b } => {
                let (left, right) = (
                    state.read(uses.slot(a), results, at)?,
                    state.read(uses.slot(b), results, at)?,
                );
                state.write(a, right);
                state.write(b, left);
            }
            I::AddI64 | I::SubI64 | I::MulI64 | I::DivI64 | I::ModI64 => {
                state.pop_two(KindSet::I64, results, at)?;
                state.push(Type::I64);
                return Ok(offset + OPERATOR);
            }
            I::AddF64 | I::SubF64 | I::MulF64 | I::DivF64 => {
                state.pop_two(KindSet::F64, results, at)?;
                state.push(Type::F64);
                return Ok(offset + OPERATOR);
            }
            I::NegI64 => {
                state.pop(KindSet::I64, results, at)?;
                state.push(Type::I64);
                return Ok(offset + OPERATOR);
            }
            I::Eq | I::Ne => {
                state.pop_equal(results, at)?;
                state.push(Type::BOOL);
                return Ok(offset + OPERATOR);
            }
            I::Lt | I::Le | I::Gt | I::Ge => {
                state.pop_ordered(results, at)?;
                state.push(Type::BOOL);
                return Ok(offset + OPERATOR);
            }
            I::And | I::Or => {
                state.pop_two(KindSet::BOOL, results, at)?;
                state.push(Type::BOOL);
                return Ok(offset + OPERATOR);
            }
            I::Not => {
                state.pop(KindSet::BOOL, results, at)?;
                state.push(Type::BOOL);
                return Ok(offset + OPERATOR);
            }
            I::Load { dest, local } => {
                let ty = state.local(local, uses, results, at)?;
                state.write(uses.slot(dest), ty);
            }
            I::Store { local, src } => {
                let ty = state.read(uses.slot(src), results, at)?;
                state.set_local(uses.local(local), ty);
            }
            I::ConstI64Push { .. } => state.push(Type::I64),
            I::LoadPush { local } => {
                let ty = state.local(local, uses, results, at)?;
                state.push(ty);
            }
            I::PopStore { local } => {
                let ty = state.pop(KindSet::ANY, results, at)?;
                state.set_local(uses.local(local), ty);
            }
            I::AddI64Pop { dest } | I::SubI64Pop { dest } | I::MulI64Pop { dest } => {
                state.pop_two(KindSet::I64, results, at)?;
                state.write(uses.slot(dest), Type::I64);
                return Ok(offset + ONE_SLOT);
            }
            _ => return self.transfer(state, instruction, offset),
        }
        Ok(offset + instruction.size())
    }

    /// What leaves the instruction after it aside, or may do so.
    #[inline(always)]
    fn transfer(
        &mut self,
        state: &mut State<'_>,
        instruction: &Instruction,
        offset: u32,
    ) -> Result<u32, Fault> {
        use Instruction as I;
        let at = (self.index, offset);
        let Self { results, uses, .. } = self;
        let to = |distance| target(offset, JUMP, distance);
        match *instruction {
            I::Jmp { offset: distance } => {
                self.jump(state, offset, to(distance))?;
                return Ok(ENDS);
            }
            I::JmpIf { offset: distance } | I::JmpIfNot { offset: distance } => {
                state.pop(KindSet::BOOL, results, at)?;
                self.jump(state, offset, to(distance))?;
                return Ok(offset + JUMP);
            }
            I::LtJmpIfNot { offset: distance } => {
                state.pop_ordered(results, at)?;
                self.jump(state, offset, to(distance))?;
                return Ok(offset + JUMP);
            }
            I::EqJmpIfNot { offset: distance } => {
                state.pop_equal(results, at)?;
                self.jump(state, offset, to(distance))?;
                return Ok(offset + JUMP);
            }
            I::Call { function, argc } => {
                uses.call();
                pop_arguments(state, argc, results, at)?;
                let result = self.result_of(function);
                state.push(result);
            }
            I::TailCall { function, argc } => {
                uses.tail_calls = true;
                pop_arguments(state, argc, results, at)?;
                let result = self.result_of(function);
                self.returns(result, at)?;
                return Ok(ENDS);
            }
            I::CallSffi { argc, .. } => {
                uses.call();
                pop_arguments(state, argc, results, at)?;
                state.push(Type::I64);
            }
            I::Ret { src } => {
                let ty = state.read(uses.slot(src), results, at)?;
                self.returns(ty, at)?;
                return Ok(ENDS);
            }
            I::RetVoid => {
                self.returns(Type::NIL, at)?;
                return Ok(ENDS);
            }
            _ => return Err(Fault::Unsupported),
        }
        Ok(offset + instruction.size())
    }
}

#[inline(always)]
fn pop_arguments(
    state: &mut State<'_>,
    argc: u16,
    results: &mut Results,
    at: At,
) -> Result<(), Fault> {
    state.require(argc)?;
    for _ in 0..argc {
        state.pop(KindSet::I64, results, at)?;
    }
    Ok(())
}
