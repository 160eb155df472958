//! What the interpreter runs: one operation an instruction, with what the code alone decides settled:
//! jumps lead to operations, and comparisons know what they compare.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_with_capacity};
use crate::bytecode::Relation;
use crate::bytecode::instruction::{Instruction, Instructions, target};
use crate::bytecode::verify::Facts;
use crate::trap::bytecode::activation_charge;

/// Two values of which at least one is a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Floats {
    left_is_float: bool,
    right_is_float: bool,
}

impl Floats {
    /// The numbers that are compared; an integer is converted.
    #[inline]
    pub(super) fn of(self, left: u64, right: u64) -> (f64, f64) {
        let convert = |value: u64, is_float: bool| {
            // Rounds to nearest: a float has fewer digits than an integer of 64 bits.
            if is_float { f64::from_bits(value) } else { value.cast_signed() as f64 }
        };
        (convert(left, self.left_is_float), convert(right, self.right_is_float))
    }
}

/// An operation. Those that are not explained do what the instruction of the same name does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Writes the bits of a constant to a slot.
    Const {
        dest: u16,
        value: u64,
    },
    Push {
        src: u16,
    },
    Pop {
        dest: u16,
    },
    Dup {
        src: u16,
        dest: u16,
    },
    Swap {
        a: u16,
        b: u16,
    },
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    AddFloat,
    SubFloat,
    MulFloat,
    DivFloat,
    Neg,
    /// Compares two values that are no floats.
    Compare {
        test: Relation,
    },
    CompareFloats {
        test: Relation,
        floats: Floats,
    },
    Jmp {
        to: u32,
    },
    JmpIf {
        to: u32,
    },
    JmpIfNot {
        to: u32,
    },
    LtJmpIfNot {
        to: u32,
    },
    EqJmpIfNot {
        to: u32,
    },
    FloatsJmpIfNot {
        test: Relation,
        floats: Floats,
        to: u32,
    },
    Call {
        function: u32,
        argc: u16,
    },
    TailCall {
        function: u32,
        argc: u16,
    },
    Host {
        index: u16,
        argc: u16,
    },
    Ret {
        src: u16,
    },
    RetVoid,
    /// The end of the code: returns the popped top.
    RetTop,
    Load {
        dest: u16,
        local: u16,
    },
    Store {
        local: u16,
        src: u16,
    },
    And,
    Or,
    Not,
    ConstPush {
        value: u64,
    },
    LoadPush {
        local: u16,
    },
    PopStore {
        local: u16,
    },
    AddPop {
        dest: u16,
    },
    SubPop {
        dest: u16,
    },
    MulPop {
        dest: u16,
    },
}

/// A function as the interpreter runs it.
#[derive(Debug)]
pub(super) struct Ops {
    /// The operations; after the last one [`Op::RetTop`].
    pub(super) ops: Vec<Op>,
    /// For each operation where its instruction begins; for the last one, where the code ends.
    offsets: Vec<u32>,
    pub(super) params: usize,
    pub(super) locals: usize,
    /// The most values that the vector holds.
    pub(super) max_stack_depth: u32,
    /// What an activation is charged, in bytes.
    pub(super) charge: u64,
}

impl Ops {
    /// The operations of a verified function; 20 bytes an instruction.
    pub(super) fn new(facts: &Facts<'_, '_>) -> Result<Self, AllocError> {
        let function = facts.function;
        let instructions = || Instructions::new(function.code).flatten();
        let end = u32::try_from(function.code.len()).unwrap_or(u32::MAX);
        let count = facts.ops().len().saturating_add(1);
        let mut offsets = try_with_capacity(count)?;
        offsets.extend(instructions().map(|(at, _)| at).chain([end]));
        let number = |to: i64| {
            let at = u32::try_from(to).unwrap_or(u32::MAX);
            let number = offsets.binary_search(&at).unwrap_or(usize::MAX);
            u32::try_from(number).unwrap_or(u32::MAX)
        };
        let op = |(at, instruction): (u32, Instruction)| {
            let to = instruction.jump_offset();
            let to = to.map_or(0, |offset| number(target(at, instruction.size(), offset)));
            translate(instruction, to, facts.compared_floats(at))
        };
        let mut ops = try_with_capacity(count)?;
        ops.extend(instructions().map(op).chain([Op::RetTop]));
        let max_stack_depth = facts.max_stack_depth();
        let charge = activation_charge(function.locals, max_stack_depth);
        let (params, locals) = (function.params.into(), function.locals.into());
        Ok(Self { ops, offsets, params, locals, max_stack_depth, charge })
    }

    /// Where the instruction of an operation begins.
    pub(super) fn offset(&self, op: usize) -> u32 {
        self.offsets.get(op).copied().unwrap_or(0)
    }

    /// How many values an activation has room for.
    pub(super) fn values(&self) -> usize {
        self.locals + usize::try_from(self.max_stack_depth).unwrap_or(usize::MAX >> 1)
    }
}

fn translate(instruction: Instruction, to: u32, floats: Option<[bool; 2]>) -> Op {
    use Instruction as I;
    let floats =
        floats.map(|[left_is_float, right_is_float]| Floats { left_is_float, right_is_float });
    let compare = |test| match floats {
        Some(floats) => Op::CompareFloats { test, floats },
        None => Op::Compare { test },
    };
    let jump_if_not = |test, ints| match floats {
        Some(floats) => Op::FloatsJmpIfNot { test, floats, to },
        None => ints,
    };
    match instruction {
        I::AddI64 => Op::Add,
        I::SubI64 => Op::Sub,
        I::MulI64 => Op::Mul,
        I::DivI64 => Op::Div,
        I::ModI64 => Op::Mod,
        I::AddF64 => Op::AddFloat,
        I::SubF64 => Op::SubFloat,
        I::MulF64 => Op::MulFloat,
        I::DivF64 => Op::DivFloat,
        I::NegI64 => Op::Neg,
        I::Eq => compare(Relation::Eq),
        I::Ne => compare(Relation::Ne),
        I::Lt => compare(Relation::Lt),
        I::Le => compare(Relation::Le),
        I::Gt => compare(Relation::Gt),
        I::Ge => compare(Relation::Ge),
        I::Jmp { .. } => Op::Jmp { to },
        I::JmpIf { .. } => Op::JmpIf { to },
        I::JmpIfNot { .. } => Op::JmpIfNot { to },
        I::LtJmpIfNot { .. } => jump_if_not(Relation::Lt, Op::LtJmpIfNot { to }),
        I::EqJmpIfNot { .. } => jump_if_not(Relation::Eq, Op::EqJmpIfNot { to }),
        I::Call { function, argc } => Op::Call { function, argc },
        I::TailCall { function, argc } => Op::TailCall { function, argc },
        I::CallSffi { index, argc } => Op::Host { index, argc },
        I::Ret { src } => Op::Ret { src },
        other => translate_move(other),
    }
}

/// The operation of an instruction that does not jump, compare or compute with the end of the operand stack.
fn translate_move(instruction: Instruction) -> Op {
    use Instruction as I;
    match instruction {
        I::ConstI64 { dest, value } => Op::Const { dest, value: value.cast_unsigned() },
        I::ConstF64 { dest, bits } => Op::Const { dest, value: bits },
        I::ConstTrue { dest } => Op::Const { dest, value: 1 },
        I::ConstFalse { dest } | I::ConstNone { dest } | I::ConstUnit { dest } => {
            Op::Const { dest, value: 0 }
        }
        I::Push { src } => Op::Push { src },
        I::Pop { dest } => Op::Pop { dest },
        I::Dup { src, dest } => Op::Dup { src, dest },
        I::Swap { a, b } => Op::Swap { a, b },
        I::Load { dest, local } => Op::Load { dest, local },
        I::Store { local, src } => Op::Store { local, src },
        I::And => Op::And,
        I::Or => Op::Or,
        I::Not => Op::Not,
        I::ConstI64Push { value } => Op::ConstPush { value: value.cast_unsigned() },
        I::LoadPush { local } => Op::LoadPush { local },
        I::PopStore { local } => Op::PopStore { local },
        I::AddI64Pop { dest } => Op::AddPop { dest },
        I::SubI64Pop { dest } => Op::SubPop { dest },
        I::MulI64Pop { dest } => Op::MulPop { dest },
        // What is not supported has been refused.
        _ => Op::RetVoid,
    }
}
