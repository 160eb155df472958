//! A second verifier, slow and simple: it tries every assignment of kinds to results, and iterates over whole
//! states of each function until nothing changes.

use std::vec;
use std::vec::Vec;

use super::super::{FunctionCode, Kind, Verifier};
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::testing::{Random, code, function};
use crate::testing::scale;

/// A kind, or `None` where paths left different ones.
type Value = Option<Kind>;

#[derive(Clone, PartialEq)]
struct State {
    locals: Vec<Value>,
    vector: Vec<Value>,
}

impl State {
    fn pop(&mut self, wanted: &[Kind]) -> Option<Kind> {
        self.vector.pop()?.filter(|kind| wanted.contains(kind))
    }

    fn slot(&self, slot: u16) -> Option<Kind> {
        *self.vector.get(usize::from(slot))?
    }

    fn write(&mut self, slot: u16, kind: Kind) {
        let slot = usize::from(slot);
        if slot >= self.vector.len() {
            self.vector.resize(slot + 1, Some(Kind::Nil));
        }
        self.vector[slot] = Some(kind);
    }

    fn two(&mut self, wanted: &[Kind], result: Kind) -> Option<()> {
        self.pop(wanted)?;
        self.pop(wanted)?;
        self.vector.push(Some(result));
        Some(())
    }
}

const ANY: &[Kind] = &[Kind::I64, Kind::F64, Kind::Bool, Kind::Nil];
const NUMBER: &[Kind] = &[Kind::I64, Kind::F64];

/// Executes the instruction if it is valid: the kind that it returns, and whether the next one is reached.
fn step(state: &mut State, instruction: I, results: &[Kind]) -> Option<(Option<Kind>, bool)> {
    let mut result = None;
    let mut goes = true;
    match instruction {
        I::ConstI64 { dest, .. } => state.write(dest, Kind::I64),
        I::ConstF64 { dest, .. } => state.write(dest, Kind::F64),
        I::ConstTrue { dest } | I::ConstFalse { dest } => state.write(dest, Kind::Bool),
        I::ConstNone { dest } | I::ConstUnit { dest } => state.write(dest, Kind::Nil),
        I::Push { src } => {
            let kind = state.slot(src)?;
            state.vector.push(Some(kind));
        }
        I::Pop { dest } => {
            let kind = state.pop(ANY)?;
            state.write(dest, kind);
        }
        I::Dup { src, dest } => {
            let kind = state.slot(src)?;
            state.write(dest, kind);
        }
        I::Swap { a, b } => {
            let (left, right) = (state.slot(a)?, state.slot(b)?);
            state.write(a, right);
            state.write(b, left);
        }
        I::AddI64 | I::DivI64 => state.two(&[Kind::I64], Kind::I64)?,
        I::AddF64 => state.two(&[Kind::F64], Kind::F64)?,
        I::And => state.two(&[Kind::Bool], Kind::Bool)?,
        I::Lt => state.two(NUMBER, Kind::Bool)?,
        I::Eq | I::EqJmpIfNot { .. } => {
            let (right, left) = (state.pop(ANY)?, state.pop(ANY)?);
            let numbers = NUMBER.contains(&left) && NUMBER.contains(&right);
            (left == right || numbers).then_some(())?;
            if instruction == I::Eq {
                state.vector.push(Some(Kind::Bool));
            }
        }
        I::LtJmpIfNot { .. } => {
            state.pop(NUMBER)?;
            state.pop(NUMBER)?;
        }
        I::Not => {
            state.pop(&[Kind::Bool])?;
            state.vector.push(Some(Kind::Bool));
        }
        I::JmpIf { .. } | I::JmpIfNot { .. } => drop(state.pop(&[Kind::Bool])?),
        I::Jmp { .. } => goes = false,
        I::Call { function, argc } | I::TailCall { function, argc } => {
            for _ in 0..argc {
                state.pop(&[Kind::I64])?;
            }
            let kind = results[usize::try_from(function).unwrap()];
            if let I::TailCall { .. } = instruction {
                (result, goes) = (Some(kind), false);
            } else {
                state.vector.push(Some(kind));
            }
        }
        I::Ret { src } => (result, goes) = (Some(state.slot(src)?), false),
        I::RetVoid => (result, goes) = (Some(Kind::Nil), false),
        I::LoadPush { local } => {
            let kind = state.locals[usize::from(local)]?;
            state.vector.push(Some(kind));
        }
        I::PopStore { local } => state.locals[usize::from(local)] = Some(state.pop(ANY)?),
        I::AddI64Pop { dest } => {
            state.pop(&[Kind::I64])?;
            state.pop(&[Kind::I64])?;
            state.write(dest, Kind::I64);
        }
        other => panic!("{other:?} is not generated"),
    }
    Some((result, goes))
}

struct Plain<'a> {
    instructions: &'a [I],
    params: u16,
    locals: u16,
    called: bool,
}

impl Plain<'_> {
    /// The maximum stack depth, if the function is valid with these results.
    fn check(&self, own: Kind, results: &[Kind]) -> Option<usize> {
        let mut states: Vec<Option<State>> = vec![None; self.instructions.len() + 1];
        let mut locals = vec![Some(Kind::I64); self.params.into()];
        locals.resize(self.locals.into(), Some(Kind::Nil));
        states[0] = Some(State { locals, vector: Vec::new() });
        let (mut work, mut max_stack_depth) = (vec![0], 0);
        while let Some(at) = work.pop() {
            let mut state = states[at].clone().unwrap();
            max_stack_depth = max_stack_depth.max(state.vector.len());
            if at == self.instructions.len() {
                if self.called || state.pop(ANY)? != own {
                    return None;
                }
                continue;
            }
            let (result, goes) = step(&mut state, self.instructions[at], results)?;
            max_stack_depth = max_stack_depth.max(state.vector.len());
            if result.is_some_and(|kind| kind != own) {
                return None;
            }
            let jump = self.instructions[at].jump_offset().map(|to| usize::try_from(to).unwrap());
            for to in goes.then_some(at + 1).into_iter().chain(jump) {
                let joined = join(states[to].as_ref(), &state)?;
                if states[to].as_ref() != Some(&joined) {
                    states[to] = Some(joined);
                    work.push(to);
                }
            }
        }
        Some(max_stack_depth)
    }
}

fn join(old: Option<&State>, new: &State) -> Option<State> {
    let Some(old) = old else { return Some(new.clone()) };
    let both = |old: &[Value], new: &[Value]| {
        old.iter().zip(new).map(|(old, new)| if old == new { *old } else { None }).collect()
    };
    (old.vector.len() == new.vector.len()).then(|| State {
        locals: both(&old.locals, &new.locals),
        vector: both(&old.vector, &new.vector),
    })
}

/// The maximum stack depths of a valid program, and every valid assignment of results.
fn check(functions: &[Plain<'_>]) -> Option<(Vec<usize>, Vec<Vec<Kind>>)> {
    let mut accepted = Vec::new();
    let mut max_stack_depth = Vec::new();
    for choice in 0..4usize.pow(u32::try_from(functions.len()).unwrap()) {
        let kind = |index: usize| ANY[choice >> (2 * index) & 3];
        let results: Vec<_> = (0..functions.len()).map(kind).collect();
        let checked: Option<Vec<_>> =
            functions.iter().zip(&results).map(|(f, &own)| f.check(own, &results)).collect();
        if let Some(checked) = checked {
            max_stack_depth = checked;
            accepted.push(results);
        }
    }
    (!accepted.is_empty()).then_some((max_stack_depth, accepted))
}

/// An instruction that mostly fits the top of the stack, and its effect on the stack.
fn draw(random: &mut Random, vector: &mut Vec<Kind>, len: u64, functions: u64) -> I {
    let slot = u16::try_from(random.below(3)).unwrap();
    let local = u16::try_from(random.below(2)).unwrap();
    let offset = i32::try_from(random.below(len + 1)).unwrap();
    let function = u32::try_from(random.below(functions)).unwrap();
    let top = |n: usize| vector.len().checked_sub(n).map(|at| vector[at]);
    let two = |kind| top(1) == Some(kind) && top(2) == Some(kind);
    let wild = random.below(40) == 0;
    for _ in 0..30 {
        let (fits, instruction) = match random.below(30) {
            0 => (true, I::ConstI64 { dest: slot, value: 1 }),
            1 => (true, I::ConstF64 { dest: slot, bits: 0 }),
            2 => (true, I::ConstTrue { dest: slot }),
            3 => (true, I::ConstNone { dest: slot }),
            4 | 5 => (usize::from(slot) < vector.len(), I::Push { src: slot }),
            6 | 7 => (!vector.is_empty(), I::Pop { dest: slot }),
            8 => (usize::from(slot) < vector.len(), I::Dup { src: slot, dest: local }),
            9 => (vector.len() > 2, I::Swap { a: slot, b: local }),
            10 => (two(Kind::I64), I::AddI64),
            11 => (two(Kind::F64), I::AddF64),
            12 => (two(Kind::Bool), I::And),
            13 => (two(Kind::I64) || two(Kind::F64), I::Lt),
            14 | 15 => (vector.len() > 1 && top(1) == top(2), I::Eq),
            16 => (top(1) == Some(Kind::Bool), I::Not),
            17..=19 => (top(1) == Some(Kind::Bool), I::JmpIf { offset }),
            20 => (true, I::Jmp { offset }),
            21 => (two(Kind::I64), I::LtJmpIfNot { offset }),
            22 => (vector.len() > 1 && top(1) == top(2), I::EqJmpIfNot { offset }),
            23 | 24 => (true, I::Call { function, argc: 0 }),
            25 => (true, I::TailCall { function, argc: 0 }),
            26 => (usize::from(slot) < vector.len(), I::Ret { src: slot }),
            27 => (true, I::LoadPush { local }),
            28 => (!vector.is_empty(), I::PopStore { local }),
            _ => (two(Kind::I64), I::AddI64Pop { dest: slot }),
        };
        if fits || wild {
            follow(vector, instruction);
            return instruction;
        }
    }
    I::RetVoid
}

/// The approximate stack after an instruction.
fn follow(vector: &mut Vec<Kind>, instruction: I) {
    let mut state = State {
        locals: vec![Some(Kind::Nil); 2],
        vector: vector.iter().copied().map(Some).collect(),
    };
    let _ = step(&mut state, instruction, &[Kind::I64, Kind::I64, Kind::Bool]);
    *vector = state.vector.into_iter().flatten().collect();
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn verifier_agrees_with_the_naive_verifier() {
    let mut random = Random(0x5eed);
    let mut verifier = Verifier::new();
    let mut counts = [0; 2];
    let rounds = scale(600_000, 20_000);
    for round in 0..rounds {
        let count = 1 + random.below(3);
        let programs: Vec<(Vec<I>, u16)> = (0..count)
            .map(|_| {
                let len = 1 + random.below(9);
                let mut vector = Vec::new();
                let mut code: Vec<_> =
                    (0..len).map(|_| draw(&mut random, &mut vector, len, count)).collect();
                let src = u16::try_from(random.below(2)).unwrap();
                code.push(if random.below(3) == 0 { I::RetVoid } else { I::Ret { src } });
                (code, 0)
            })
            .collect();
        let called = |index: usize| {
            programs.iter().flat_map(|(code, _)| code).any(|i| match i {
                I::Call { function, .. } | I::TailCall { function, .. } => {
                    usize::try_from(*function).unwrap() == index
                }
                _ => false,
            })
        };
        let plain: Vec<_> = programs
            .iter()
            .enumerate()
            .map(|(index, (instructions, params))| Plain {
                instructions,
                params: *params,
                locals: 2,
                called: called(index),
            })
            .collect();
        let expected = check(&plain);
        let codes: Vec<_> = programs.iter().map(|(instructions, _)| code(instructions)).collect();
        let functions: Vec<FunctionCode<'_>> = codes
            .iter()
            .zip(&programs)
            .map(|(code, (_, params))| function(code, *params, 2))
            .collect();
        let found = verifier.verify(functions);
        assert_eq!(found.is_ok(), expected.is_some(), "{round}: {found:?} {programs:?}");
        counts[usize::from(found.is_ok())] += 1;
        let (Ok(program), Some((max_stack_depth, choices))) = (found, expected) else { continue };
        let summaries = (0u32..).map_while(|index| program.summary(index));
        let (lengths, results): (Vec<_>, Vec<_>) =
            summaries.map(|s| (usize::try_from(s.max_stack_depth).unwrap(), s.result)).unzip();
        assert_eq!(lengths, max_stack_depth, "{round}: {programs:?}");
        assert!(choices.contains(&results), "{round}: {results:?} {choices:?} {programs:?}");
        // The facts of a verified program are those of one of the valid assignments.
        for index in 0..u32::try_from(programs.len()).unwrap() {
            let facts = verifier.facts(&program, index).unwrap();
            assert_eq!(facts.max_stack_depth(), program.summary(index).unwrap().max_stack_depth);
        }
    }
    assert!(counts.iter().all(|&count| count > rounds / 10), "{counts:?}");
}
