//! Value numbers: locals and expressions that have the same value have the same number.

use alloc::vec::Vec;

use super::local_map::LocalMap;
use crate::alloc_util::{AllocError, try_push, try_resize};
use crate::ir::instruction::NONE;

/// The number of a value.
pub(super) type ValueNumber = u32;

/// An operation on values: two have the same result when they are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// An expression, its value, and the entry before it with the same hash.
#[derive(Clone, Copy, Debug)]
struct Entry {
    expression: Expression,
    value: ValueNumber,
    next: u32,
}

/// The value numbers in straight-line code.
#[derive(Debug, Default)]
pub(super) struct ValueTable {
    numbers: LocalMap<ValueNumber>,
    values: Vec<Value>,
    entries: Vec<Entry>,
    /// The newest entry by hash, valid if the epoch is the current one.
    heads: Vec<(u32, u32)>,
    epoch: u32,
}

/// The end of a chain of entries.
const NIL: u32 = u32::MAX;

/// The largest number of chains.
const MAX_HEADS: usize = 1 << 15;

/// The entries of a chain that are searched: more are a sign of an unlucky hash.
const MAX_CHAIN: usize = 8;

/// The expressions after which a long block starts anew, so that the table stays small.
const MAX_ENTRIES: usize = 1 << 14;

impl ValueTable {
    /// Makes an empty table for a function with so many locals and instructions.
    pub(super) fn reset(&mut self, locals: usize, instructions: usize) -> Result<(), AllocError> {
        self.numbers.reset(locals)?;
        self.heads.clear();
        let heads = instructions.clamp(16, MAX_HEADS).next_power_of_two();
        try_resize(&mut self.heads, heads, (0, NIL))?;
        self.epoch = 0;
        self.clear();
        Ok(())
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.values.clear();
        self.entries.clear();
        self.epoch = self.epoch.saturating_add(1);
    }

    /// Whether the table is to be cleared before the next instruction.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() > MAX_ENTRIES
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
        let &(epoch, mut next) = self.heads.get(self.head_of(expression))?;
        if epoch != self.epoch {
            return None;
        }
        for _ in 0..MAX_CHAIN {
            let entry = self.entries.get(usize::try_from(next).ok()?)?;
            if entry.expression == *expression {
                return Some(entry.value);
            }
            next = entry.next;
        }
        None
    }

    /// Records the value of an expression.
    pub(super) fn insert(
        &mut self,
        expression: Expression,
        value: ValueNumber,
    ) -> Result<(), AllocError> {
        let number = u32::try_from(self.entries.len()).unwrap_or(NIL);
        let (head, epoch) = (self.head_of(&expression), self.epoch);
        let Some(head) = self.heads.get_mut(head) else { return Ok(()) };
        let next = if head.0 == epoch { head.1 } else { NIL };
        try_push(&mut self.entries, Entry { expression, value, next })?;
        *head = (epoch, number);
        Ok(())
    }

    fn head_of(&self, expression: &Expression) -> usize {
        let Expression { opcode, type_code, operands: [x, y, z], more: [m, n] } = *expression;
        let first = u32::from(opcode) << 8 | u32::from(type_code);
        let words = [first, x, y, z, m, n].map(u64::from);
        let hash = words.into_iter().fold(0u64, |hash, word| {
            (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
        });
        let mask = self.heads.len().saturating_sub(1);
        usize::try_from(hash >> 40).unwrap_or(0) & mask
    }
}
