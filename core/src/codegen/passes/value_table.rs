//! Value numbers: locals and expressions that have the same value have the same number.

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::local_map::LocalMap;
use crate::alloc_util::{AllocError, try_push};
use crate::ir::instruction::NONE;

/// The number of a value.
pub(super) type ValueNumber = u32;

/// An operation on values: two have the same result when they are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Expression {
    pub(super) opcode: u8,
    pub(super) type_code: u8,
    /// The numbers of the operands, or 0.
    pub(super) operands: [ValueNumber; 3],
    /// The number in the instruction, and of a load the number of effects on memory before it.
    pub(super) more: [u32; 2],
}

/// The facts about a value.
#[derive(Clone, Copy, Debug, Default)]
struct Value {
    /// A local that had the value last.
    holder: u16,
    bits: Option<u64>,
}

/// The value numbers in straight-line code.
#[derive(Debug, Default)]
pub(super) struct ValueTable {
    numbers: LocalMap<ValueNumber>,
    values: Vec<Value>,
    /// The values of expressions, each with the epoch in which it was computed.
    expressions: HashMap<(u32, Expression), ValueNumber>,
    epoch: u32,
    /// Expressions of the current epoch. What is found must not depend on earlier ones.
    count: usize,
}

/// The expressions after which a long block starts anew, so that the table stays small.
const MAX_ENTRIES: usize = 1 << 14;

impl ValueTable {
    /// Makes an empty table for a function with so many locals.
    pub(super) fn reset(&mut self, locals: usize) -> Result<(), AllocError> {
        self.numbers.reset(locals)?;
        self.clear();
        Ok(())
    }

    /// Removes all values. Expressions of earlier epochs, which no look-up finds, stay in the map while they are few: there may
    /// be many short blocks.
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.values.clear();
        let is_small = self.expressions.len() <= MAX_ENTRIES;
        let next = self.epoch.checked_add(1).filter(|_| is_small);
        self.epoch = next.unwrap_or_else(|| {
            self.expressions.clear();
            0
        });
        self.count = 0;
    }

    /// Whether the table is to be cleared before the next instruction.
    pub(super) fn is_full(&self) -> bool {
        self.count > MAX_ENTRIES
    }

    /// A new value that `holder` has.
    fn add(&mut self, holder: u16, bits: Option<u64>) -> Result<ValueNumber, AllocError> {
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        try_push(&mut self.values, Value { holder, bits })?;
        Ok(number)
    }

    fn value(&self, number: ValueNumber) -> Option<&Value> {
        self.values.get(usize::try_from(number).ok()?)
    }

    fn value_mut(&mut self, number: ValueNumber) -> Option<&mut Value> {
        self.values.get_mut(usize::try_from(number).ok()?)
    }

    /// The number of the value in `local`.
    pub(super) fn number_of(&mut self, local: u16) -> Result<ValueNumber, AllocError> {
        if let Some(number) = self.numbers.get(local) {
            return Ok(number);
        }
        let number = self.add(local, None)?;
        self.numbers.set(local, number);
        Ok(number)
    }

    /// The local that had the value of `local` first and still has it.
    pub(super) fn representative(&self, local: u16) -> u16 {
        let holder = self.numbers.get(local).and_then(|number| self.holder(number));
        holder.unwrap_or(local)
    }

    /// A local that has the value.
    pub(super) fn holder(&self, number: ValueNumber) -> Option<u16> {
        let holder = self.value(number)?.holder;
        (self.numbers.get(holder) == Some(number)).then_some(holder)
    }

    /// The bits of the value that a local has, if they are known.
    pub(super) fn known(&self, local: u16) -> Option<u64> {
        self.bits(self.numbers.get(local)?)
    }

    /// The bits of the value, if they are known.
    pub(super) fn bits(&self, number: ValueNumber) -> Option<u64> {
        self.value(number)?.bits
    }

    /// Records the bits of a value.
    pub(super) fn learn(&mut self, number: ValueNumber, bits: u64) {
        if let Some(value) = self.value_mut(number) {
            value.bits = Some(bits);
        }
    }

    /// Records that `local` is set to a value.
    pub(super) fn assign(&mut self, local: u16, number: ValueNumber) {
        self.numbers.set(local, number);
        if self.holder(number).is_none() {
            self.hold(local, number);
        }
    }

    /// Makes `local`, which has the value, its representative.
    pub(super) fn hold(&mut self, local: u16, number: ValueNumber) {
        if let Some(value) = self.value_mut(number) {
            value.holder = local;
        }
    }

    /// Records that `local` is set to a value that nothing else has.
    pub(super) fn assign_new(&mut self, local: u16) -> Result<ValueNumber, AllocError> {
        let number = self.add(local, None)?;
        self.numbers.set(local, number);
        Ok(number)
    }

    /// The number of a constant.
    pub(super) fn constant(&mut self, type_code: u8, bits: u64) -> Result<ValueNumber, AllocError> {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = bits.to_le_bytes();
        let more = [[b0, b1, b2, b3], [b4, b5, b6, b7]].map(u32::from_le_bytes);
        // No opcode has the code 0.
        let expression = Expression { opcode: 0, type_code, operands: [0; 3], more };
        if let Some(number) = self.find(&expression) {
            return Ok(number);
        }
        let number = self.add(NONE, Some(bits))?;
        self.insert(expression, number)?;
        Ok(number)
    }

    /// The value of an expression that was computed before.
    pub(super) fn find(&self, expression: &Expression) -> Option<ValueNumber> {
        self.expressions.get(&(self.epoch, *expression)).copied()
    }

    /// Records the value of an expression.
    pub(super) fn insert(
        &mut self,
        expression: Expression,
        value: ValueNumber,
    ) -> Result<(), AllocError> {
        self.expressions.try_reserve(1).map_err(|_| AllocError)?;
        self.expressions.insert((self.epoch, expression), value);
        self.count += 1;
        Ok(())
    }
}
