//! Local value numbering: constants, and redundant expressions, loads, copies and conditions, within straight-line code.
//!
//! Values have numbers. An expression that was computed before becomes a copy of the local that has its value, if that
//! local was not set since; a read of a copy becomes a read of its source. A load is redundant until the next store or
//! call. A conditional trap that has not trapped, and a branch that has fallen through, decide later tests of the same
//! condition. An operation on constants becomes its result, and a constant that fits an instruction its immediate operand.
//!
//! The facts hold within an extended basic block: the pass discards them at each target of a jump.

use alloc::vec::Vec;

use super::edit::{
    self, EditableFunction, copy, immediate_of, plain, scalar_of, short_immediate_of,
};
use super::value_table::{Expression, ValueNumber, ValueTable};
use crate::alloc_util::AllocError;
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::interpret::value::{self, number};
use crate::ir::opcode::{Condition, Opcode, Unary};
use crate::ir::types::Scalar;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(super) struct ValueNumbering {
    table: ValueTable,
    /// Effects on memory so far.
    effects: u32,
    targets: Vec<bool>,
}

impl ValueNumbering {
    /// Removes redundant operations from `function`.
    pub(super) fn run(&mut self, function: &mut EditableFunction) -> Result<(), AllocError> {
        self.table.reset(function.locals.len())?;
        self.effects = 0;
        function.targets(&mut self.targets)?;
        for index in 0..function.len() {
            if self.targets.get(index) == Some(&true) || self.table.is_full() {
                self.table.clear();
            }
            let Some(mut i) = function.get(index) else { continue };
            function.map_reads(&mut i, |local| self.table.representative(local))?;
            let i = self.inverse_comparison(function, index, &i).unwrap_or(self.with_immediate(i));
            function.set(index, i);
            self.visit(function, index, &i)?;
            if function.get(index).is_some_and(|i| i.opcode.ends()) {
                self.table.clear();
            }
        }
        function.rebuild(&[])
    }

    fn visit(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
    ) -> Result<(), AllocError> {
        if let Some(bits) = function.constant_bits(i) {
            return self.constant(function, index, i, bits);
        }
        match i.opcode {
            Opcode::Move if i.a == i.b => {
                function.delete(index);
                Ok(())
            }
            Opcode::Move => {
                let value = self.table.number_of(i.b)?;
                self.table.assign(i.a, value);
                Ok(())
            }
            Opcode::Branch(condition) | Opcode::TrapCompare(condition) => {
                self.condition(function, index, i, condition)
            }
            Opcode::BranchIf(expected) | Opcode::TrapIf(expected) => {
                self.test(function, index, i, expected)
            }
            _ => self.computation(function, index, i),
        }
    }

    fn constant(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
        bits: u64,
    ) -> Result<(), AllocError> {
        let value = self.table.constant(i.type_code, bits)?;
        let is_cheap = i.opcode == Opcode::Constant
            && scalar_of(i.type_code).is_some_and(|scalar| !scalar.is_float());
        match self.table.holder(value) {
            Some(holder) if !is_cheap => self.reuse(function, index, i, value, holder)?,
            _ => {
                // A copy of a small constant would cost as much, and the source would live longer.
                self.table.assign(i.a, value);
                self.table.hold(i.a, value);
            }
        }
        Ok(())
    }

    /// Sets the local of `i` to a value that `holder` has.
    fn reuse(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
        value: ValueNumber,
        holder: u16,
    ) -> Result<(), AllocError> {
        let code = function.local_code(i.a);
        if code != function.local_code(holder) {
            return self.table.assign_new(i.a).map(|_| ());
        }
        if holder == i.a {
            function.delete(index);
        } else {
            function.set(index, copy(code, i.a, holder));
        }
        self.table.assign(i.a, value);
        Ok(())
    }

    /// The operation with an immediate operand in place of a local with a known value, where it can have one.
    fn with_immediate(&self, i: Instruction) -> Instruction {
        let known = |local| self.table.known(local);
        let scalar = scalar_of(i.type_code).filter(|scalar| !scalar.is_float());
        let number = |bits: Option<u64>| immediate_of(scalar?, bits?);
        let new = match i.opcode {
            _ if i.immediate => None,
            Opcode::Binary(_) | Opcode::Compare(_) if known(i.c).is_some() => {
                number(known(i.c)).map(|imm| Instruction { immediate: true, c: 0, imm, ..i })
            }
            Opcode::Binary(binary) if binary.is_commutative() => number(known(i.b))
                .map(|imm| Instruction { immediate: true, b: i.c, c: 0, imm, ..i }),
            Opcode::Branch(_) | Opcode::TrapCompare(_) => scalar
                .zip(known(i.b))
                .and_then(|(scalar, bits)| short_immediate_of(scalar, bits))
                .map(|short| Instruction { immediate: true, b: 0, c: short.cast_unsigned(), ..i }),
            Opcode::LoadElement | Opcode::StoreElement | Opcode::Element => known(i.c)
                .and_then(|index| index.cast_signed().checked_add(i.imm.into()))
                .and_then(|sum| i32::try_from(sum).ok())
                .map(|imm| Instruction { c: NONE, imm, ..i }),
            Opcode::CopyMemory | Opcode::FillMemory => known(i.c)
                .and_then(|bytes| i32::try_from(bytes).ok())
                .map(|imm| Instruction { immediate: true, c: 0, imm, ..i }),
            _ => None,
        };
        new.unwrap_or(i)
    }

    /// The comparison that `i` is if it negates the one in front of it.
    fn inverse_comparison(
        &self,
        function: &EditableFunction,
        index: usize,
        i: &Instruction,
    ) -> Option<Instruction> {
        let compared = function.get(index.checked_sub(1)?)?;
        let Opcode::Compare(condition) = compared.opcode else { return None };
        let is_negation = i.opcode == Opcode::Unary(Unary::Not) && i.b == compared.a;
        let mut is_valid = is_negation && self.targets.get(index) != Some(&true);
        function.reads(&compared, |local| is_valid &= local != compared.a);
        let is_float = scalar_of(compared.type_code)?.is_float();
        let condition = condition.when(false, is_float).filter(|_| is_valid)?;
        Some(Instruction { opcode: Opcode::Compare(condition), a: i.a, ..compared })
    }

    /// The result of an operation on constants, which does not trap.
    fn evaluate(&self, function: &EditableFunction, i: &Instruction) -> Option<(Scalar, u64)> {
        let scalar = scalar_of(i.type_code)?;
        let left = || self.table.known(i.b);
        let right = || match i.immediate {
            true => Some(number(i.number(), scalar)),
            false => self.table.known(i.c),
        };
        let (ty, bits) = match i.opcode {
            Opcode::SizeOf => (scalar_of(function.local_code(i.a))?, scalar.size().into()),
            Opcode::Unary(unary) => (scalar, value::apply_unary(unary, scalar, left()?)),
            Opcode::Binary(binary) => (scalar, value::apply(binary, scalar, left()?, right()?)?),
            Opcode::Convert => {
                let source = scalar_of(u8::try_from(i.c).ok()?)?;
                (scalar, value::convert(left()?, source, scalar))
            }
            Opcode::Compare(condition) => {
                let holds = value::holds(condition, scalar, left()?, right()?);
                (Scalar::Bool, holds.into())
            }
            _ => return None,
        };
        Some((ty, value::truncate(bits, ty)))
    }

    fn computation(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
    ) -> Result<(), AllocError> {
        if edit::is_memory_effect(i) {
            self.effects = self.effects.saturating_add(1);
        }
        let Some(local) = i.written() else { return Ok(()) };
        if let Some((scalar, bits)) = self.evaluate(function, i)
            && let Some(new) = function.constant(scalar, local, bits)?
        {
            function.set(index, new);
            return self.constant(function, index, &new, bits);
        }
        let Some(expression) = self.expression(i)? else {
            return self.table.assign_new(local).map(|_| ());
        };
        let Some(value) = self.table.find(&expression) else {
            let value = self.table.assign_new(local)?;
            return self.table.insert(expression, value);
        };
        let scalar = scalar_of(function.local_code(local));
        if let Some((bits, scalar)) = self.table.bits(value).zip(scalar)
            && let Some(new) = function.constant(scalar, local, bits)?
        {
            function.set(index, new);
            return self.constant(function, index, &new, bits);
        }
        match self.table.holder(value) {
            Some(holder) => self.reuse(function, index, i, value, holder),
            None => {
                self.table.assign(local, value);
                Ok(())
            }
        }
    }

    /// The operation of `i` on values; `None` when equal operations may have different results.
    fn expression(&mut self, i: &Instruction) -> Result<Option<Expression>, AllocError> {
        use Opcode as O;
        let opcode = i.opcode.code(false);
        let expression =
            |operands, more| Some(Expression { opcode, type_code: i.type_code, operands, more });
        let imm = i.imm.cast_unsigned();
        Ok(match i.opcode {
            O::Compare(condition) => {
                let right = self.second(i, i.c)?;
                Some(self.comparison(condition, i.type_code, i.b, right)?)
            }
            O::Binary(binary) => {
                let mut pair = [self.table.number_of(i.b)?, self.second(i, i.c)?];
                if binary.is_commutative() {
                    pair.sort_unstable();
                }
                let [left, right] = pair;
                expression([left, right, 0], [0; 2])
            }
            O::Unary(_) => expression([self.table.number_of(i.b)?, 0, 0], [0; 2]),
            O::Convert => expression([self.table.number_of(i.b)?, 0, 0], [i.c.into(), 0]),
            O::Select => {
                let [b, c] = [self.table.number_of(i.b)?, self.table.number_of(i.c)?];
                let other = self.table.number_of(i.other().unwrap_or(NONE))?;
                expression([b, c, other], [0; 2])
            }
            O::Load | O::LoadElement => expression(self.address(i)?, [imm, self.effects]),
            O::Element => expression(self.address(i)?, [imm, 0]),
            O::SlotAddress | O::DataAddress | O::FunctionAddress => {
                expression([i.b.into(), 0, 0], [imm, 0])
            }
            _ => None,
        })
    }

    fn second(&mut self, i: &Instruction, local: u16) -> Result<ValueNumber, AllocError> {
        match scalar_of(i.type_code) {
            Some(scalar) if i.immediate => {
                self.table.constant(i.type_code, number(i.number(), scalar))
            }
            _ => self.table.number_of(local),
        }
    }

    fn address(&mut self, i: &Instruction) -> Result<[ValueNumber; 3], AllocError> {
        let base = self.table.number_of(i.b)?;
        let is_indexed = !matches!(i.opcode, Opcode::Load | Opcode::Store) && i.c != NONE;
        // The number of an index is moved up by one: 0 stands for no index.
        let index = if is_indexed { self.table.number_of(i.c)?.saturating_add(1) } else { 0 };
        Ok([base, index, 0])
    }

    /// The comparison of `left` with a value, in the order that has the conditions eq, ne, lt and le only.
    fn comparison(
        &mut self,
        condition: Condition,
        type_code: u8,
        left: u16,
        right: ValueNumber,
    ) -> Result<Expression, AllocError> {
        let left = self.table.number_of(left)?;
        let is_swapped = match condition {
            Condition::Greater | Condition::GreaterEqual => true,
            Condition::Equal | Condition::NotEqual => right < left,
            _ => false,
        };
        let (condition, pair) = match is_swapped {
            true => (condition.swapped(), [right, left, 0]),
            false => (condition, [left, right, 0]),
        };
        let opcode = Opcode::Compare(condition).code(false);
        Ok(Expression { opcode, type_code, operands: pair, more: [0; 2] })
    }

    /// A branch or trap on a comparison.
    fn condition(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
        condition: Condition,
    ) -> Result<(), AllocError> {
        let right = self.second(i, i.b)?;
        if let Some(scalar) = scalar_of(i.type_code)
            && let Some((left, right)) = self.table.known(i.a).zip(self.table.bits(right))
        {
            decide(function, index, i, value::holds(condition, scalar, left, right));
            return Ok(());
        }
        let expression = self.comparison(condition, i.type_code, i.a, right)?;
        let known = self.table.find(&expression);
        if let Some(bits) = known.and_then(|value| self.table.bits(value)) {
            decide(function, index, i, bits != 0);
            return Ok(());
        }
        self.learn(known, expression, false)?;
        if scalar_of(i.type_code).is_some_and(|scalar| !scalar.is_float()) {
            let opposite = self.comparison(condition.inverse(), i.type_code, i.a, right)?;
            let known = self.table.find(&opposite);
            self.learn(known, opposite, true)?;
        }
        Ok(())
    }

    /// Records the value of a condition from here on.
    fn learn(
        &mut self,
        known: Option<ValueNumber>,
        expression: Expression,
        holds: bool,
    ) -> Result<(), AllocError> {
        if let Some(value) = known {
            self.table.learn(value, holds.into());
            return Ok(());
        }
        let value = self.table.constant(Scalar::Bool.code(), holds.into())?;
        self.table.insert(expression, value)
    }

    /// A branch or trap on a bool.
    fn test(
        &mut self,
        function: &mut EditableFunction,
        index: usize,
        i: &Instruction,
        expected: bool,
    ) -> Result<(), AllocError> {
        let value = self.table.number_of(i.a)?;
        match self.table.bits(value) {
            Some(bits) => decide(function, index, i, (bits != 0) == expected),
            None => self.table.learn(value, u64::from(!expected)),
        }
        Ok(())
    }
}

/// Replaces a branch or trap whose condition is decided.
fn decide(function: &mut EditableFunction, index: usize, i: &Instruction, holds: bool) {
    match i.opcode {
        _ if !holds => function.delete(index),
        // It may state its operands.
        Opcode::TrapCompare(_) => {}
        Opcode::Branch(_) | Opcode::BranchIf(_) => {
            function.set(index, plain(Opcode::Jump, 0, [0; 3], i.imm));
        }
        _ => function.set(index, plain(Opcode::Trap, 0, [0; 3], i.imm)),
    }
}
