//! Engines with a defect, which a harness must find.
//!
//! A defect changes instructions of the program before an engine gets it. Instructions are replaced, never moved, so
//! that places of traps stay.

use smf_core::ir::{Binary, Condition, Function, INSTRUCTION_SIZE, Instruction, NONE, Opcode};

use super::engine::{Engine, Outcome, Runnable};
use super::host::Host;
use super::program::Program;

/// A defect of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A call without arguments loses its result.
    LostResult,
    /// A number of bits to shift by is one too large.
    ShiftCount,
    /// The operands of a subtraction in a loop are swapped.
    SwappedOperands,
    /// A local that needs a stack slot is not reloaded after a call: another local is read.
    StaleRegister,
    /// The last of many arguments is another one.
    StackArgument,
    /// A branch on "less" also goes to its target when both are equal.
    Condition,
}

impl Defect {
    /// All defects.
    pub const ALL: [Self; 6] = [
        Self::LostResult,
        Self::ShiftCount,
        Self::SwappedOperands,
        Self::StaleRegister,
        Self::StackArgument,
        Self::Condition,
    ];
}

/// An engine with a defect.
#[derive(Clone, Copy, Debug)]
pub struct Faulty<E> {
    /// The engine that runs the changed program.
    pub engine: E,
    /// The defect.
    pub defect: Defect,
}

impl<E: Engine + Clone + 'static> Engine for Faulty<E> {
    fn name(&self) -> &str {
        "the faulty engine"
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        let changed = program.bytes().iter().map(|bytes| change(bytes, self.defect)).collect();
        let program = Program::with_entry(changed, program.entry());
        Ok(Box::new(Changed { program, engine: self.engine.clone() }))
    }
}

/// A program with a defect, which is compiled for every run.
struct Changed<E> {
    program: Program,
    engine: E,
}

impl<E: Engine> Runnable for Changed<E> {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        self.engine.compile(&self.program).expect("the engine accepts it").run(args, host)
    }
}

/// The function with the defect.
fn change(bytes: &[u8], defect: Defect) -> Vec<u8> {
    let function = Function::parse(bytes).unwrap();
    let mut changed = bytes.to_vec();
    let instructions: Vec<Instruction> = function.instructions().flatten().collect();
    let loops: Vec<(usize, usize)> = instructions
        .iter()
        .enumerate()
        .filter_map(|(at, instruction)| Some((instruction.target()? as usize, at)))
        .filter(|(target, at)| target <= at)
        .collect();
    for (index, instruction) in instructions.iter().enumerate() {
        let is_in_loop = loops.iter().any(|(head, end)| (head..=end).contains(&&index));
        let is_after_call =
            instructions[index.saturating_sub(4)..index].iter().any(|i| i.opcode.is_call());
        let mut new = *instruction;
        match (defect, instruction.opcode) {
            (Defect::LostResult, Opcode::Call) => {
                let callee = function.callee(instruction.b).unwrap();
                if callee.signature.params.is_empty() {
                    new.a = NONE;
                }
            }
            (Defect::ShiftCount, Opcode::Binary(Binary::ShiftLeft | Binary::ShiftRight))
                if instruction.immediate =>
            {
                new.imm = instruction.imm.wrapping_add(1);
            }
            (Defect::SwappedOperands, Opcode::Binary(Binary::Subtract))
                if is_in_loop && !instruction.immediate =>
            {
                (new.b, new.c) = (instruction.c, instruction.b);
            }
            (Defect::StaleRegister, Opcode::Binary(_)) if is_after_call && instruction.b >= 16 => {
                let of = function.local_type(instruction.b);
                let mut others = (0..instruction.b).rev();
                new.b = others.find(|&local| function.local_type(local) == of).unwrap_or(new.b);
            }
            (Defect::StackArgument, Opcode::Call) => {
                swap_argument(&function, instruction, &mut changed)
            }
            (Defect::Condition, Opcode::Branch(Condition::Less)) => {
                new.opcode = Opcode::Branch(Condition::LessEqual);
            }
            _ => {}
        }
        let offset = function.offset(index) as usize;
        changed[offset..offset + INSTRUCTION_SIZE].copy_from_slice(&new.encode());
    }
    changed
}

/// Replaces the last of more than six arguments by another one of its type.
fn swap_argument(function: &Function<'_>, call: &Instruction, changed: &mut [u8]) {
    let operands: Vec<u16> = function.operands_of(call).unwrap().iter().collect();
    let [others @ .., last] = &operands[..] else { return };
    let of = function.local_type(*last);
    let Some(other) =
        others.iter().find(|&&local| local != *last && function.local_type(local) == of)
    else {
        return;
    };
    if others.len() < 6 {
        return;
    }
    // The table of operands stands behind the tables of instructions, callees and types.
    let count = |at: usize| usize::from(u16::from_le_bytes([changed[at], changed[at + 1]]));
    let behind = function.offset(function.len()) as usize + count(18) * 12 + count(20) * 4;
    let at = behind + (call.imm as usize + others.len()) * 2;
    changed[at..at + 2].copy_from_slice(&other.to_le_bytes());
}
