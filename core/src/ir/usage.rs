//! How a function uses its locals: how often, how deep in loops, and whether before they are set.
//!
//! The first code generator assigns registers by it.

use alloc::vec::Vec;

use super::function::{Function, Operands};
use super::instruction::Instruction;
use super::opcode::Opcode;
use crate::alloc_util::{AllocError, try_filled, try_with_capacity};

/// How a function uses its locals.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Uses of each local; a use inside of a loop counts for several.
    pub(crate) weights: Vec<u32>,
    /// Whether a local may be read before it was set, by number; false for parameters.
    pub(crate) starts_as_zero: Vec<bool>,
    /// Whether an instruction is a target.
    pub(crate) is_target: Vec<bool>,
    /// The locals that are used, by descending weight.
    pub(crate) order: Vec<u16>,
    /// The weights of all calls together.
    pub(crate) calls: u32,
}

impl Usage {
    /// The uses of the locals of a verified function.
    pub(crate) fn of(body: &Function<'_>) -> Result<Self, AllocError> {
        let mut usage = Self {
            weights: try_filled(usize::from(body.locals), &0)?,
            starts_as_zero: try_filled(usize::from(body.locals), &false)?,
            is_target: try_filled(body.len(), &false)?,
            order: Vec::new(),
            calls: 0,
        };
        let depths = usage.loops(body)?;
        let mut furthest = 0;
        let mut depth = 0i32;
        for ((index, instruction), change) in (0u32..).zip(body.instructions()).zip(depths) {
            let Some(instruction) = instruction else { continue };
            depth = depth.saturating_add(change);
            furthest = furthest.max(instruction.target().unwrap_or(0));
            let weight = 1u32 << (3 * depth.clamp(0, 6));
            usage.count(body, &instruction, weight, furthest > index);
        }
        // Parameters are set by the caller.
        usage.starts_as_zero.iter_mut().take(usize::from(body.params)).for_each(|s| *s = false);
        usage.rank()?;
        Ok(usage)
    }

    /// Marks the targets, and returns the change of the loop depth at each instruction: a backward jump closes a loop.
    fn loops(&mut self, body: &Function<'_>) -> Result<Vec<i32>, AllocError> {
        let mut changes = try_filled(body.len().saturating_add(1), &0i32)?;
        for (index, instruction) in body.instructions().enumerate() {
            let Some(target) = instruction.and_then(|instruction| instruction.target()) else {
                continue;
            };
            let target = usize::try_from(target).unwrap_or(usize::MAX);
            if let Some(mark) = self.is_target.get_mut(target) {
                *mark = true;
            }
            if target <= index {
                changes.get_mut(target).into_iter().for_each(|change| *change += 1);
                changes.get_mut(index + 1).into_iter().for_each(|change| *change -= 1);
            }
        }
        Ok(changes)
    }

    /// Counts the locals of one instruction. If it is `skippable`, a jump may pass it, and the local that it sets may be
    /// read before.
    fn count(&mut self, body: &Function<'_>, i: &Instruction, weight: u32, skippable: bool) {
        for local in i.read().into_iter().flatten() {
            self.touch(local, weight, true);
        }
        if i.opcode == Opcode::Call {
            self.calls = self.calls.saturating_add(weight);
            let callee = body.callee(i.b).ok();
            let operands = callee.and_then(|callee| body.call_operands(i, &callee));
            for local in operands.iter().flat_map(Operands::iter) {
                self.touch(local, weight, true);
            }
        }
        if let Some(local) = i.written() {
            self.touch(local, weight, skippable);
        }
    }

    fn touch(&mut self, local: u16, weight: u32, needs_zero: bool) {
        let local = usize::from(local);
        let places = self.weights.get_mut(local).zip(self.starts_as_zero.get_mut(local));
        let Some((uses, starts_as_zero)) = places else { return };
        if *uses == 0 {
            *starts_as_zero = needs_zero;
        }
        *uses = uses.saturating_add(weight);
    }

    fn rank(&mut self) -> Result<(), AllocError> {
        let used = (0u16..).zip(&self.weights).filter(|(_, weight)| **weight > 0);
        let mut ranked = try_with_capacity(self.weights.len())?;
        ranked.extend(used.map(|(local, weight)| (*weight, local)));
        ranked.sort_unstable_by_key(|&(weight, local)| (core::cmp::Reverse(weight), local));
        self.order = try_with_capacity(ranked.len())?;
        self.order.extend(ranked.into_iter().map(|(_, local): (u32, u16)| local));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::parse;
    use super::*;

    #[test]
    fn inner_loops_count_for_more_and_what_may_be_skipped_starts_as_zero() {
        let text = "template t(n: i64) -> i64\nlocal cold: i64\nlocal hot: i64\nlocal maybe: i64\n\
                    const i64 cold, 1\nouter:\nconst i64 hot, 0\ninner:\nadd i64 hot, hot, 1\n\
                    br_lt i64 hot, n, inner\nbr_eq i64 n, 3, over\nconst i64 maybe, 5\nover:\n\
                    br_lt i64 maybe, n, outer\nreturn i64 cold\nend";
        let templates = parse(text).unwrap();
        let usage = Usage::of(&Function::parse(&templates[0].body).unwrap()).unwrap();
        assert_eq!(usage.starts_as_zero, [false, false, false, true]);
        assert_eq!(usage.order, [2, 0, 3, 1]);
        assert_eq!(usage.weights, [64 + 8 + 8, 2, 8 + 3 * 64, 16]);
        let targets: Vec<usize> =
            (0..usage.is_target.len()).filter(|&index| usage.is_target[index]).collect();
        assert_eq!(targets, [1, 2, 6]);
    }
}
