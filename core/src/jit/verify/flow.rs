//! The walk over a function's code: what each instruction does to kinds, and where it goes on.

use super::error::Fault;
use super::frame::Frame;
use super::joins::{Effort, Joins, Meeting, Met};
use super::kind::{KindSet, Results, Type};
use super::scan::Scan;
use super::uses::Uses;
use super::{FunctionCode, Kind};
use crate::jit::bytecode::{Instruction, target};

/// A function on its way through the verifier.
pub(super) struct Flow<'v, 'c> {
    pub(super) function: FunctionCode<'c>,
    pub(super) index: u32,
    pub(super) scan: &'v Scan,
    pub(super) frame: &'v mut Frame,
    pub(super) joins: &'v mut Joins,
    pub(super) results: &'v mut Results,
    pub(super) uses: &'v mut Uses,
    pub(super) effort: &'v mut Effort,
    /// The results of all functions, once they are known.
    pub(super) known: Option<&'v [Kind]>,
    /// Whether a path ends at the end of the code.
    pub(super) runs_off: bool,
    /// Why an instruction was refused.
    pub(super) fault: Option<Fault>,
}

/// In place of an offset: the instruction after this one does not run next.
const ENDS: u32 = u32::MAX - 1;

/// In place of an offset: the instruction is refused.
const REFUSED: u32 = u32::MAX;

/// Whether the next instruction in the code is one that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

impl Flow<'_, '_> {
    /// Follows every path, each instruction as often as less is known of it than before. On an error,
    /// the offset of the instruction comes with it.
    pub(super) fn run(&mut self) -> Result<(), (u32, Fault)> {
        let targets = self.scan.targets.len();
        self.joins.start(targets, self.function.code.len());
        self.frame.start(self.function.params, self.scan.locals_set);
        self.frame.place.0 = self.index;
        self.uses.start();
        let (mut at, mut passed) = (0, 0);
        loop {
            self.path(at, passed)?;
            let Some(next) = self.joins.next() else { return Ok(()) };
            let Some(target) = self.scan.targets.get(next) else { return Ok(()) };
            self.load(next);
            self.uses.enter(target);
            (at, passed) = (target.offset, next + 1);
        }
    }

    fn end(&self) -> u32 {
        u32::try_from(self.function.code.len()).unwrap_or(u32::MAX >> 1)
    }

    /// Follows the code from `at` on, until it ends or nothing new is learnt. So many targets have been
    /// passed.
    fn path(&mut self, begin: u32, mut passed: usize) -> Result<(), (u32, Fault)> {
        let (mut at, end) = (begin, self.end());
        let mut next_target = self.target_offset(passed);
        loop {
            if at == next_target {
                if !self.arrive(passed, at).map_err(|fault| (at, fault))? {
                    break;
                }
                passed += 1;
                next_target = self.target_offset(passed);
            }
            if at >= end {
                self.finish_at_end().map_err(|fault| (at, fault))?;
                break;
            }
            let next = self.instruction(at);
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

    fn target_offset(&self, number: usize) -> u32 {
        self.scan.targets.get(number).map_or(u32::MAX, |target| target.offset)
    }

    fn load(&mut self, number: usize) {
        if let Some((known, types)) = self.joins.get(number) {
            self.frame.load(types, known.length);
        }
    }

    /// Comes to a target from above; whether to go on.
    fn arrive(&mut self, number: usize, at: u32) -> Result<bool, Fault> {
        let met = self.meet(number, at)?;
        let waited = self.joins.take(number);
        if met == Met::Same && !waited {
            return Ok(false);
        }
        if met != Met::First {
            self.load(number);
        }
        if let Some(target) = self.scan.targets.get(number) {
            self.uses.enter(target);
        }
        Ok(true)
    }

    fn meet(&mut self, number: usize, target: u32) -> Result<Met, Fault> {
        let Self { joins, frame, results, effort, .. } = self;
        let here = frame.length;
        joins.meet(number, frame.types(), here, results, effort).map_err(|meeting| match meeting {
            Meeting::Length(there) => Fault::Length { target, there, here },
            Meeting::Fault(fault) => fault,
        })
    }

    /// A jump from `at` to `target`, which the scan has checked.
    fn jump(&mut self, at: u32, target: i64) -> Result<(), Fault> {
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        let number = self.scan.target_number(target);
        if self.meet(number, target)? != Met::Same {
            self.joins.wait(number, target > at);
        }
        Ok(())
    }

    /// The code ends and the activation with it: the top of the vector is the result.
    fn finish_at_end(&mut self) -> Result<(), Fault> {
        self.frame.place.1 = self.end();
        if self.frame.length == 0 {
            return Err(Fault::NothingReturned);
        }
        self.runs_off = true;
        let result = self.frame.pop(KindSet::ANY, self.results)?;
        self.returns(result)
    }

    /// The function returns a value of this type.
    fn returns(&mut self, ty: Type) -> Result<(), Fault> {
        if self.known.is_some() {
            return Ok(());
        }
        self.results.returns(self.index, ty, self.frame.place).map_err(Fault::from)
    }

    fn result_of(&mut self, callee: u32) -> Type {
        let known = self.known.and_then(|known| known.get(usize::try_from(callee).ok()?));
        match known {
            Some(&kind) => Type::of(kind.into()),
            None => self.results.of(callee),
        }
    }

    /// The instruction at `at`: where the one begins that runs next, [`ENDS`] when that is not the one
    /// after it, or [`REFUSED`]. One number, because it is made in so many places.
    #[inline(always)]
    fn instruction(&mut self, at: u32) -> u32 {
        self.frame.place.1 = at;
        self.uses.advance(at);
        // The scan has decoded it.
        let Ok(instruction) = Instruction::decode(self.function.code, at) else { return ENDS };
        match self.step(&instruction, at) {
            Ok(Next::Goes) => at + instruction.size(),
            Ok(Next::Ends) => ENDS,
            Err(fault) => self.refuse(fault),
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse(&mut self, fault: Fault) -> u32 {
        self.fault = Some(fault);
        REFUSED
    }

    #[inline(always)]
    fn step(&mut self, instruction: &Instruction, at: u32) -> Result<Next, Fault> {
        use Instruction as I;
        let Self { frame, results, uses, .. } = self;
        match *instruction {
            I::ConstI64 { dest, .. } => frame.write(uses.slot(dest), Type::I64),
            I::ConstF64 { dest, .. } => frame.write(uses.slot(dest), Type::F64),
            I::ConstTrue { dest } | I::ConstFalse { dest } => {
                frame.write(uses.slot(dest), Type::BOOL)
            }
            I::ConstNone { dest } | I::ConstUnit { dest } => {
                frame.write(uses.slot(dest), Type::NIL)
            }
            I::Push { src } => {
                let ty = frame.read(uses.slot(src), results)?;
                frame.push(ty);
            }
            I::Pop { dest } => {
                let ty = frame.pop(KindSet::ANY, results)?;
                frame.write(uses.slot(dest), ty);
            }
            I::Dup { src, dest } => {
                let ty = frame.read(uses.slot(src), results)?;
                frame.write(uses.slot(dest), ty);
            }
            I::Swap { a, b } => {
                let (left, right) =
                    (frame.read(uses.slot(a), results)?, frame.read(uses.slot(b), results)?);
                frame.write(a, right);
                frame.write(b, left);
            }
            I::AddI64 | I::SubI64 | I::MulI64 | I::DivI64 | I::ModI64 => {
                frame.pop_two(KindSet::I64, results)?;
                frame.push(Type::I64);
            }
            I::AddF64 | I::SubF64 | I::MulF64 | I::DivF64 => {
                frame.pop_two(KindSet::F64, results)?;
                frame.push(Type::F64);
            }
            I::NegI64 => {
                frame.pop(KindSet::I64, results)?;
                frame.push(Type::I64);
            }
            I::Eq | I::Ne => {
                frame.pop_equal(results)?;
                frame.push(Type::BOOL);
            }
            I::Lt | I::Le | I::Gt | I::Ge => {
                frame.pop_ordered(results)?;
                frame.push(Type::BOOL);
            }
            I::And | I::Or => {
                frame.pop_two(KindSet::BOOL, results)?;
                frame.push(Type::BOOL);
            }
            I::Not => {
                frame.pop(KindSet::BOOL, results)?;
                frame.push(Type::BOOL);
            }
            I::Load { dest, local } => {
                let ty = frame.local(uses.local(local), results)?;
                uses.nil_locals |= !ty.has_value();
                frame.write(uses.slot(dest), ty);
            }
            I::Store { local, src } => {
                let ty = frame.read(uses.slot(src), results)?;
                frame.set_local(uses.local(local), ty);
            }
            I::ConstI64Push { .. } => frame.push(Type::I64),
            I::LoadPush { local } => {
                let ty = frame.local(uses.local(local), results)?;
                uses.nil_locals |= !ty.has_value();
                frame.push(ty);
            }
            I::PopStore { local } => {
                let ty = frame.pop(KindSet::ANY, results)?;
                frame.set_local(uses.local(local), ty);
            }
            I::AddI64Pop { dest } | I::SubI64Pop { dest } | I::MulI64Pop { dest } => {
                frame.pop_two(KindSet::I64, results)?;
                frame.write(uses.slot(dest), Type::I64);
            }
            _ => return self.transfer(instruction, at),
        }
        Ok(Next::Goes)
    }

    /// What leaves the instruction after it aside, or may do so.
    #[inline(always)]
    fn transfer(&mut self, instruction: &Instruction, at: u32) -> Result<Next, Fault> {
        use Instruction as I;
        let Self { frame, results, uses, .. } = self;
        let to = |offset| target(at, instruction.size(), offset);
        match *instruction {
            I::Jmp { offset } => {
                self.jump(at, to(offset))?;
                return Ok(Next::Ends);
            }
            I::JmpIf { offset } | I::JmpIfNot { offset } => {
                frame.pop(KindSet::BOOL, results)?;
                self.jump(at, to(offset))?;
            }
            I::LtJmpIfNot { offset } => {
                frame.pop_ordered(results)?;
                self.jump(at, to(offset))?;
            }
            I::EqJmpIfNot { offset } => {
                frame.pop_equal(results)?;
                self.jump(at, to(offset))?;
            }
            I::Call { function, argc } => {
                uses.call();
                self.pop_arguments(argc)?;
                let result = self.result_of(function);
                self.frame.push(result);
            }
            I::TailCall { function, argc } => {
                uses.tail_calls = true;
                self.pop_arguments(argc)?;
                let result = self.result_of(function);
                self.returns(result)?;
                return Ok(Next::Ends);
            }
            I::CallSffi { argc, .. } => {
                uses.call();
                self.pop_arguments(argc)?;
                self.frame.push(Type::I64);
            }
            I::Ret { src } => {
                let ty = frame.read(uses.slot(src), results)?;
                self.returns(ty)?;
                return Ok(Next::Ends);
            }
            I::RetVoid => {
                self.returns(Type::NIL)?;
                return Ok(Next::Ends);
            }
            _ => return Err(Fault::Unsupported),
        }
        Ok(Next::Goes)
    }

    fn pop_arguments(&mut self, argc: u16) -> Result<(), Fault> {
        self.frame.require(argc.into())?;
        for _ in 0..argc {
            self.frame.pop(KindSet::I64, self.results)?;
        }
        Ok(())
    }
}
