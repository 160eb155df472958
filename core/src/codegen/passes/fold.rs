//! Constant folding and simplification within straight-line code.
//!
//! The pass walks the instructions in order. What it has learnt of locals holds as far as control can only have fallen
//! through: it starts anew at each target of a jump. A local may be set several times, so that a fact about an earlier
//! instruction is used only if neither its result nor its operands were set since.
//!
//! Values are computed by the functions of the interpreter, so that a folded value is the one that it would have
//! computed. The identities of integers hold modulo the width; of floats only those are used that are exact.

use alloc::vec::Vec;

use super::edit::{self, EditableFunction, copy, immediate_of, plain, scalar_of};
use super::identities::{self, Identity};
use super::local_map::LocalMap;
use crate::alloc_util::AllocError;
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::interpret::value::{self, number};
use crate::ir::interpret::{DIVISION_BY_ZERO, OVERFLOW};
use crate::ir::opcode::{Binary, Condition, Opcode, Unary};
use crate::ir::types::Scalar;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct Fold {
    /// The bits of locals with a known value.
    known: LocalMap<u64>,
    /// The instruction that set a local last.
    set_at: LocalMap<usize>,
    targets: Vec<bool>,
}

/// What becomes of an instruction.
enum Simplified {
    Unchanged,
    Deleted,
    To(Instruction),
    /// A constant: its type, the local and the bits.
    Value(Scalar, u16, u64),
}

use Simplified::{Deleted, To, Unchanged, Value};

/// At most so many simplifications of one instruction: each leaves a simpler one, and this bounds the pass.
const MAX_STEPS: usize = 8;

impl Fold {
    /// Simplifies all instructions of `function`.
    pub(super) fn run(&mut self, function: &mut EditableFunction) -> Result<(), AllocError> {
        self.known.reset(function.locals.len())?;
        self.set_at.reset(function.locals.len())?;
        function.targets(&mut self.targets)?;
        for index in 0..function.len() {
            if self.targets.get(index) == Some(&true) {
                self.forget();
            }
            self.simplify_at(function, index)?;
            let Some(i) = function.get(index) else { continue };
            self.record(function, index, &i);
            if i.opcode.ends() {
                self.forget();
            }
        }
        function.rebuild(&[])
    }

    fn forget(&mut self) {
        self.known.clear();
        self.set_at.clear();
    }

    fn simplify_at(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
    ) -> Result<(), AllocError> {
        for _ in 0..MAX_STEPS {
            let Some(i) = function.get(index) else { return Ok(()) };
            let new = match self.simplify(function, &i) {
                Unchanged => return Ok(()),
                Deleted => {
                    function.delete(index);
                    return Ok(());
                }
                To(new) => new,
                Value(scalar, to, bits) => match function.constant(scalar, to, bits)? {
                    Some(new) => new,
                    None => return Ok(()),
                },
            };
            if new == i {
                return Ok(());
            }
            function.set(index, new);
        }
        Ok(())
    }

    /// Records what holds after instruction `index`, when control falls through.
    fn record(&mut self, function: &EditableFunction, index: usize, i: &Instruction) {
        if let Some(local) = i.written() {
            self.set_at.set(local, index);
            match function.constant_bits(i) {
                Some(bits) => self.known.set(local, bits),
                None => self.known.remove(local),
            }
        }
        let is_other = matches!(
            i.opcode,
            Opcode::Branch(Condition::NotEqual) | Opcode::TrapCompare(Condition::NotEqual)
        );
        match (i.opcode, scalar_of(i.type_code)) {
            (Opcode::BranchIf(expected) | Opcode::TrapIf(expected), _) => {
                self.known.set(i.a, u64::from(!expected));
            }
            (_, Some(scalar)) if is_other && i.immediate && !scalar.is_float() => {
                self.known.set(i.a, number(i.number(), scalar));
            }
            _ => {}
        }
    }

    fn simplify(&self, function: &EditableFunction, i: &Instruction) -> Simplified {
        let Some(scalar) = scalar_of(i.type_code) else { return self.untyped(function, i) };
        match i.opcode {
            Opcode::Move if i.a == i.b => Deleted,
            Opcode::SizeOf => match scalar_of(function.local_code(i.a)) {
                Some(own) => Value(own, i.a, scalar.size().into()),
                None => Unchanged,
            },
            Opcode::Move => self.value(i, scalar, self.known.get(i.b)),
            Opcode::Convert => self.convert(i, scalar),
            Opcode::Unary(unary) => {
                let bits = self.known.get(i.b);
                let result = bits.map(|bits| value::apply_unary(unary, scalar, bits));
                self.value(i, scalar, result)
            }
            Opcode::Binary(binary) => self.binary(function, i, binary, scalar),
            Opcode::Compare(condition) => self.compare(i, condition, scalar),
            Opcode::Branch(_) | Opcode::TrapCompare(_) => self.conditional(function, i, scalar),
            Opcode::Select => self.select(i),
            Opcode::LoadElement | Opcode::StoreElement | Opcode::Element => self.element(i, scalar),
            _ => Unchanged,
        }
    }

    fn value(&self, i: &Instruction, scalar: Scalar, bits: Option<u64>) -> Simplified {
        match bits {
            Some(bits) => Value(scalar, i.a, value::truncate(bits, scalar)),
            None => Unchanged,
        }
    }

    /// The bits of the second value, which is the local `local` or a number.
    fn second(&self, i: &Instruction, local: u16, scalar: Scalar) -> Option<u64> {
        if i.immediate { Some(number(i.number(), scalar)) } else { self.known.get(local) }
    }

    /// The instruction that set `local` last, if its operands are as they were then.
    fn definition(&self, function: &EditableFunction, local: u16) -> Option<Instruction> {
        let index = self.set_at.get(local)?;
        let i = function.get(index)?;
        let is_unchanged = |read: u16| self.set_at.get(read).is_none_or(|set| set < index);
        i.read().into_iter().flatten().all(is_unchanged).then_some(i)
    }

    fn convert(&self, i: &Instruction, scalar: Scalar) -> Simplified {
        let Some(source) = u8::try_from(i.c).ok().and_then(scalar_of) else { return Unchanged };
        if source == scalar {
            return To(copy(i.type_code, i.a, i.b));
        }
        let bits = self.known.get(i.b);
        self.value(i, scalar, bits.map(|bits| value::convert(bits, source, scalar)))
    }

    fn binary(
        &self,
        function: &EditableFunction,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
    ) -> Simplified {
        let (left, right) = (self.known.get(i.b), self.second(i, i.c, scalar));
        if let Some((left, right)) = left.zip(right) {
            return match value::apply(binary, scalar, left, right) {
                Some(bits) => Value(scalar, i.a, value::truncate(bits, scalar)),
                None if binary.is_checked() => To(trap(OVERFLOW)),
                None => To(trap(DIVISION_BY_ZERO)),
            };
        }
        let is_division = matches!(binary, Binary::Divide | Binary::Remainder);
        if is_division && right == Some(0) && !scalar.is_float() {
            return To(trap(DIVISION_BY_ZERO));
        }
        if left.is_some() && binary.is_commutative() && !i.immediate {
            return To(Instruction { b: i.c, c: i.b, ..*i });
        }
        if !i.immediate {
            return match right.filter(|_| !scalar.is_float()) {
                Some(bits) => immediate(i, scalar, bits),
                None => match identities::same(i, binary, scalar) {
                    Some(Identity::First) => To(copy(i.type_code, i.a, i.b)),
                    Some(Identity::Value(bits)) => Value(scalar, i.a, bits),
                    _ => self.float_identity(i, binary, scalar, right),
                },
            };
        }
        if scalar.is_float() {
            return self.float_identity(i, binary, scalar, right);
        }
        match identities::immediate(i, binary, scalar) {
            Some(Identity::First) => To(copy(i.type_code, i.a, i.b)),
            Some(Identity::Value(bits)) => Value(scalar, i.a, bits),
            Some(Identity::To(new)) => To(new),
            None => self.chain(function, i, binary, scalar),
        }
    }

    fn float_identity(
        &self,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
        right: Option<u64>,
    ) -> Simplified {
        let is_same = right.is_some_and(|bits| identities::is_exact(binary, scalar, bits));
        if is_same { To(copy(i.type_code, i.a, i.b)) } else { Unchanged }
    }

    /// `(x + m) + n` becomes `x + (m + n)`; likewise for the bit operations.
    fn chain(
        &self,
        function: &EditableFunction,
        i: &Instruction,
        binary: Binary,
        scalar: Scalar,
    ) -> Simplified {
        let Some(inner) = self.definition(function, i.b) else { return Unchanged };
        if inner.opcode != i.opcode || !inner.immediate || inner.type_code != i.type_code {
            return Unchanged;
        }
        let is_associative = matches!(binary, Binary::Add | Binary::And | Binary::Or | Binary::Xor);
        let [m, n] = [inner, *i].map(|i| number(i.imm, scalar));
        let sum = value::apply(binary, scalar, m, n).filter(|_| is_associative);
        let imm = sum.and_then(|sum| immediate_of(scalar, value::truncate(sum, scalar)));
        match imm {
            Some(imm) => To(Instruction { b: inner.b, imm, ..*i }),
            None => Unchanged,
        }
    }

    fn compare(&self, i: &Instruction, condition: Condition, scalar: Scalar) -> Simplified {
        let (left, right) = (self.known.get(i.b), self.second(i, i.c, scalar));
        if let Some(holds) = decide(condition, scalar, left, right, !i.immediate && i.b == i.c) {
            return Value(Scalar::Bool, i.a, holds.into());
        }
        if scalar.is_float() || i.immediate {
            return Unchanged;
        }
        let swapped = Opcode::Compare(condition.swapped());
        match (left, right) {
            (_, Some(bits)) => immediate(i, scalar, bits),
            (Some(_), None) => To(Instruction { opcode: swapped, b: i.c, c: i.b, ..*i }),
            _ => Unchanged,
        }
    }

    /// A branch or a trap on a comparison.
    fn conditional(
        &self,
        function: &EditableFunction,
        i: &Instruction,
        scalar: Scalar,
    ) -> Simplified {
        let (Opcode::Branch(condition) | Opcode::TrapCompare(condition)) = i.opcode else {
            return Unchanged;
        };
        let (left, right) = (self.known.get(i.a), self.second(i, i.b, scalar));
        let states_operands = i.states_operands(scalar);
        match decide(condition, scalar, left, right, !i.immediate && i.a == i.b) {
            Some(true) if states_operands => return Unchanged,
            Some(holds) => return taken(i, holds),
            None => {}
        }
        if i.immediate && !states_operands {
            return self.converted_bool(function, i, condition, scalar);
        }
        if i.immediate || scalar.is_float() {
            return Unchanged;
        }
        let with = |opcode| match opcode {
            Opcode::Branch(_) => Opcode::Branch(condition.swapped()),
            _ => Opcode::TrapCompare(condition.swapped()),
        };
        match (left, right) {
            (_, Some(bits)) => match edit::short_immediate_of(scalar, bits) {
                Some(short) => {
                    To(Instruction { immediate: true, b: 0, c: short.cast_unsigned(), ..*i })
                }
                None => Unchanged,
            },
            (Some(_), None) if !states_operands => {
                To(Instruction { opcode: with(i.opcode), a: i.b, b: i.a, ..*i })
            }
            _ => Unchanged,
        }
    }

    /// A comparison with 0 of a bool that was converted to an integer is a test of the bool.
    fn converted_bool(
        &self,
        function: &EditableFunction,
        i: &Instruction,
        condition: Condition,
        scalar: Scalar,
    ) -> Simplified {
        let is_zero = number(i.number(), scalar) == 0;
        let expected = match condition {
            Condition::NotEqual => true,
            Condition::Equal => false,
            _ => return Unchanged,
        };
        if !is_zero || scalar.is_float() {
            return Unchanged;
        }
        if scalar == Scalar::Bool {
            return To(test(i, i.a, expected));
        }
        let is_bool =
            |d: &Instruction| d.opcode == Opcode::Convert && d.c == u16::from(Scalar::Bool.code());
        match self.definition(function, i.a).filter(is_bool) {
            Some(definition) => To(test(i, definition.b, expected)),
            None => Unchanged,
        }
    }

    fn select(&self, i: &Instruction) -> Simplified {
        let Some(other) = i.other() else { return Unchanged };
        match self.known.get(i.b) {
            Some(0) => To(copy(i.type_code, i.a, other)),
            Some(_) => To(copy(i.type_code, i.a, i.c)),
            None if i.c == other => To(copy(i.type_code, i.a, other)),
            None => Unchanged,
        }
    }

    /// A known index becomes a distance, and an element without an index an access by bytes.
    fn element(&self, i: &Instruction, scalar: Scalar) -> Simplified {
        if i.c != NONE {
            let index = self.known.get(i.c).map(u64::cast_signed);
            let sum = index.and_then(|index| index.checked_add(i.imm.into()));
            return match sum.and_then(|sum| i32::try_from(sum).ok()) {
                Some(imm) => To(Instruction { c: NONE, imm, ..*i }),
                None => Unchanged,
            };
        }
        let opcode = match i.opcode {
            Opcode::LoadElement => Opcode::Load,
            Opcode::StoreElement => Opcode::Store,
            _ if i.imm == 0 => return To(copy(Scalar::Pointer.code(), i.a, i.b)),
            _ => return Unchanged,
        };
        match i.imm.checked_mul(scalar.size().into()) {
            Some(imm) => To(Instruction { opcode, c: 0, imm, ..*i }),
            None => Unchanged,
        }
    }

    fn untyped(&self, function: &EditableFunction, i: &Instruction) -> Simplified {
        match i.opcode {
            Opcode::BranchIf(expected) | Opcode::TrapIf(expected) => {
                if let Some(bits) = self.known.get(i.a) {
                    return taken(i, (bits != 0) == expected);
                }
                match self.definition(function, i.a) {
                    Some(definition) => fuse(i, expected, &definition),
                    None => Unchanged,
                }
            }
            Opcode::CopyMemory | Opcode::FillMemory if !i.immediate => {
                let bytes = self.known.get(i.c).and_then(|bytes| i32::try_from(bytes).ok());
                match bytes {
                    Some(imm) => To(Instruction { immediate: true, c: 0, imm, ..*i }),
                    None => Unchanged,
                }
            }
            Opcode::CopyMemory | Opcode::FillMemory if i.imm == 0 => Deleted,
            _ => Unchanged,
        }
    }
}

fn trap(code: u32) -> Instruction {
    plain(Opcode::Trap, 0, [0; 3], code.cast_signed())
}

/// A branch or a trap whose condition is decided.
fn taken(i: &Instruction, holds: bool) -> Simplified {
    match i.opcode {
        _ if !holds => Deleted,
        Opcode::Branch(_) | Opcode::BranchIf(_) => To(plain(Opcode::Jump, 0, [0; 3], i.imm)),
        _ => To(trap(i.imm.cast_unsigned())),
    }
}

/// The branch or trap `i` as a test of the bool `local`.
fn test(i: &Instruction, local: u16, expected: bool) -> Instruction {
    let opcode = match i.opcode {
        Opcode::Branch(_) | Opcode::BranchIf(_) => Opcode::BranchIf(expected),
        _ => Opcode::TrapIf(expected),
    };
    plain(opcode, 0, [local, 0, 0], i.imm)
}

/// The branch or trap `i` on a bool that `definition` computes.
fn fuse(i: &Instruction, expected: bool, definition: &Instruction) -> Simplified {
    let Some(scalar) = scalar_of(definition.type_code) else { return Unchanged };
    match definition.opcode {
        Opcode::Move => To(test(i, definition.b, expected)),
        Opcode::Unary(Unary::Not) => To(test(i, definition.b, !expected)),
        Opcode::Compare(condition) => {
            let Some(condition) = condition.when(expected, scalar.is_float()) else {
                return Unchanged;
            };
            fused(i, condition, scalar, definition)
        }
        Opcode::Convert => {
            let Some(source) = u8::try_from(definition.c).ok().and_then(scalar_of) else {
                return Unchanged;
            };
            let condition = Condition::NotEqual.when(expected, source.is_float());
            let zero =
                Instruction { type_code: source.code(), immediate: true, imm: 0, ..*definition };
            condition.map_or(Unchanged, |condition| fused(i, condition, source, &zero))
        }
        _ => Unchanged,
    }
}

fn fused(
    i: &Instruction,
    condition: Condition,
    scalar: Scalar,
    compare: &Instruction,
) -> Simplified {
    let opcode = match i.opcode {
        Opcode::BranchIf(_) => Opcode::Branch(condition),
        _ => Opcode::TrapCompare(condition),
    };
    let type_code = scalar.code();
    let short = match compare.immediate {
        false => None,
        true => match edit::short_immediate_of(scalar, number(compare.imm, scalar)) {
            None => return Unchanged,
            short => short,
        },
    };
    let fused = match short {
        Some(short) => Instruction {
            immediate: true,
            ..plain(opcode, type_code, [compare.b, 0, short.cast_unsigned()], i.imm)
        },
        None => plain(opcode, type_code, [compare.b, compare.c, 0], i.imm),
    };
    // A trap on a bool states no operands.
    if fused.states_operands(scalar) { Unchanged } else { To(fused) }
}

/// Whether a condition holds, where the known values say so.
fn decide(
    condition: Condition,
    scalar: Scalar,
    left: Option<u64>,
    right: Option<u64>,
    is_same: bool,
) -> Option<bool> {
    if let Some((left, right)) = left.zip(right) {
        return Some(value::holds(condition, scalar, left, right));
    }
    if is_same && !scalar.is_float() {
        return Some(value::holds(condition, scalar, 0, 0));
    }
    let lowest = right == Some(0) && !scalar.is_float() && !scalar.is_signed();
    match condition {
        Condition::Less if lowest => Some(false),
        Condition::GreaterEqual if lowest => Some(true),
        _ => None,
    }
}

/// The operation `i` with its second value in the instruction.
fn immediate(i: &Instruction, scalar: Scalar, bits: u64) -> Simplified {
    match immediate_of(scalar, bits) {
        Some(imm) => To(Instruction { immediate: true, c: 0, imm, ..*i }),
        None => Unchanged,
    }
}
