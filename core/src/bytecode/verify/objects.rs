//! What instructions that work on objects do to the kinds of a dynamic function.

use super::error::Fault;
use super::frame::State;
use super::kind::{KindSet, Type};
use crate::bytecode::instruction::Instruction;
use crate::format::constants::{Constant, Constants};

use Instruction as I;

const OBJECT: KindSet = KindSet::VALUE;

/// Reads and writes the slots of an instruction, whose operands have been popped.
pub(super) fn apply(
    instruction: I,
    state: &mut State<'_>,
    constants: Constants<'_>,
) -> Result<(), Fault> {
    let (dest, result) = match instruction {
        I::LoadConst { dest, index } => (dest, constant_type(constants.get(index))),
        I::LoadString { dest, .. }
        | I::GcAlloc { dest, .. }
        | I::ArrayLit { dest, .. }
        | I::DictLit { dest, .. }
        | I::TupleLit { dest, .. }
        | I::EnumNew { dest, .. }
        | I::EnumNewTyped { dest, .. } => (dest, Type::VALUE),
        I::CallIndirect { .. } | I::CallRuntime { .. } => {
            state.push(Type::VALUE);
            return Ok(());
        }
        instruction => match read_slots(instruction, state)? {
            Some(written) => written,
            None => return Ok(()),
        },
    };
    state.write(dest, result);
    Ok(())
}

/// Reads the slots of an instruction; the slot that it writes, if any, and the type of its value.
fn read_slots(instruction: I, state: &mut State<'_>) -> Result<Option<(u16, Type)>, Fault> {
    match instruction {
        I::LoadHeap { dest, ptr: source, .. } | I::EnumPayload { dest, value: source, .. } => {
            state.read_as(OBJECT, source)?;
            Ok(Some((dest, Type::VALUE)))
        }
        I::Len { dest, collection } => {
            state.read_as(OBJECT, collection)?;
            Ok(Some((dest, Type::I64)))
        }
        I::IndexGet { dest, collection, index } => {
            state.read_as(OBJECT, collection)?;
            state.read(index)?;
            Ok(Some((dest, Type::VALUE)))
        }
        I::Slice { dest, collection, start, end } => {
            state.read_as(OBJECT, collection)?;
            state.read_as(KindSet::I64, start)?;
            state.read_as(KindSet::I64, end)?;
            Ok(Some((dest, Type::VALUE)))
        }
        I::EnumMatch { dest, value, .. }
        | I::EnumMatchTyped { dest, value, .. }
        | I::IsSome { dest, value } => {
            state.read(value)?;
            Ok(Some((dest, Type::BOOL)))
        }
        I::StoreHeap { ptr: object, src: value, .. } | I::Append { collection: object, value } => {
            state.read_as(OBJECT, object)?;
            state.read(value).map(|_| None)
        }
        I::IndexSet { collection, index, value } => {
            state.read_as(OBJECT, collection)?;
            state.read(index)?;
            state.read(value).map(|_| None)
        }
        _ => Err(Fault::Unsupported),
    }
}

/// The number of values that an instruction that works on objects pops.
pub(super) fn popped(instruction: Instruction) -> u32 {
    match instruction {
        Instruction::CallIndirect { argc } => u32::from(argc) + 1,
        Instruction::CallRuntime { argc, .. } => argc.into(),
        Instruction::DictLit { count, .. } => 2 * u32::from(count),
        Instruction::ArrayLit { count, .. }
        | Instruction::TupleLit { count, .. }
        | Instruction::EnumNew { count, .. }
        | Instruction::EnumNewTyped { count, .. } => count.into(),
        _ => 0,
    }
}

fn constant_type(constant: Option<Constant<'_>>) -> Type {
    match constant {
        Some(Constant::I64(_)) => Type::I64,
        Some(Constant::F64(_)) => Type::F64,
        Some(Constant::Bool(_)) => Type::BOOL,
        Some(Constant::Nil) => Type::NIL,
        Some(Constant::Text(_)) | None => Type::VALUE,
    }
}
