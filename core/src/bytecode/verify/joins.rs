//! What is known where paths meet: for each target of a jump, the kinds of the locals and of the
//! vector that all paths seen so far have in common.
//!
//! The states lie one behind another in one arena, which is reused. Remembering and comparing costs as
//! much as the state is long; both are bounded (see [`Joins::start`] and [`Effort`]), because a short
//! function may have many targets and long vectors.

use alloc::vec::Vec;

use super::bit_set::BitSet;
use super::error::Fault;
use super::kind::{Results, Type};
use crate::alloc_util::{AllocError, try_reserve, try_resize};

/// Values that a function of no length may remember.
const FREE_VALUES: usize = 1 << 18;

/// Values that each byte of code adds.
const VALUES_PER_BYTE: usize = 4;

/// How much comparing and repeating is left for a program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    left: u64,
}

impl Effort {
    /// For a program of `bytes` of code: one unit is one value compared or a byte of code looked at. There is enough
    /// for walks that guess and for those that do not.
    pub(super) const fn for_code(bytes: u64) -> Self {
        Self { left: bytes.saturating_mul(128).saturating_add(1 << 23) }
    }

    #[inline]
    pub(super) fn spend(&mut self, units: usize) -> Result<(), Fault> {
        self.left = self.left.checked_sub(units as u64).ok_or(Fault::Joins)?;
        Ok(())
    }
}

/// What is known at a target.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Where its types begin in the arena: locals, then the vector.
    start: usize,
    /// How many there are.
    count: u32,
    /// Whether a path leads here.
    reached: bool,
}

/// What is known at all targets of a function.
#[derive(Debug, Default)]
pub(super) struct Joins {
    known: Vec<Known>,
    arena: Vec<Type>,
    most: usize,
    /// What a position is that paths left with different kinds.
    mixed: Type,
    /// How many of the types at each target are those of locals.
    locals: u32,
    /// Targets to be followed.
    pub(super) waiting: BitSet,
}

/// How a state differs from what was known at a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Nothing was known.
    First,
    /// Less is known now.
    Changed,
    /// As much as before.
    Same,
}

impl Joins {
    /// Starts with a function of `targets` targets and `code` bytes that sets `locals` locals. No more
    /// values are remembered than 4 a byte and 262,144, of 4 bytes each.
    pub(super) fn start(
        &mut self,
        targets: usize,
        code: usize,
        locals: u16,
        mixed: Type,
    ) -> Result<(), AllocError> {
        self.mixed = mixed;
        self.known.clear();
        try_resize(&mut self.known, targets, Known::default())?;
        self.arena.clear();
        self.most = code.saturating_mul(VALUES_PER_BYTE).saturating_add(FREE_VALUES);
        self.locals = locals.into();
        self.waiting.reset(targets)
    }

    /// The types at a target; `None` when no path leads there.
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&[Type]> {
        let known = self.known.get(number).filter(|known| known.reached)?;
        self.arena.get(known.start..)?.get(..usize::try_from(known.count).ok()?)
    }

    /// The length of the vector at a target; `None` when no path leads there.
    #[inline]
    pub(super) fn length_at(&self, number: usize) -> Option<u32> {
        let known = self.known.get(number)?;
        known.reached.then(|| known.count.saturating_sub(self.locals))
    }

    /// A path arrives at a target, which is at offset `target`; `types` are locals and vector. The first one that comes
    /// with a nil leaves it mixed when it `guesses`.
    #[inline]
    pub(super) fn meet(
        &mut self,
        (number, target): (usize, u32),
        types: &[Type],
        guesses: bool,
        results: &mut Results,
        effort: &mut Effort,
    ) -> Result<Met, Fault> {
        effort.spend(types.len() + 1)?;
        let Some(known) = self.known.get_mut(number) else { return Ok(Met::Same) };
        let count = u32::try_from(types.len()).unwrap_or(u32::MAX);
        if !known.reached {
            let start = self.arena.len();
            if start + types.len() > self.most {
                return Err(Fault::Joins);
            }
            try_reserve(&mut self.arena, types.len())?;
            *known = Known { start, count, reached: true };
            self.arena.extend_from_slice(types);
            let added = self.arena.get_mut(start..).unwrap_or_default();
            let guessed = guesses && guess(added, self.mixed);
            return Ok(if guessed { Met::Changed } else { Met::First });
        }
        if known.count != count {
            let [there, here] = [known.count, count].map(|count| count.saturating_sub(self.locals));
            return Err(Fault::Length { target, there, here });
        }
        let old = self.arena.get_mut(known.start..).and_then(|old| old.get_mut(..types.len()));
        let old = old.unwrap_or_default();
        if Type::all_equal(old, types) {
            return Ok(Met::Same);
        }
        join(old, types, self.mixed, results, effort)
    }

    /// The next target to be followed, in the order of the code: the first from `passed` on, and when
    /// there is none the first of all. It no longer waits.
    #[inline]
    pub(super) fn next(
        &mut self,
        passed: usize,
        effort: &mut Effort,
    ) -> Result<Option<usize>, Fault> {
        if let Some(next) = self.waiting.pop_from(passed) {
            return Ok(Some(next));
        }
        effort.spend(self.waiting.words())?;
        Ok(self.waiting.pop_from(0))
    }
}

/// What all paths have in common when one comes with other types.
#[inline(never)]
fn join(
    known: &mut [Type],
    types: &[Type],
    mixed: Type,
    results: &mut Results,
    effort: &mut Effort,
) -> Result<Met, Fault> {
    let mut met = Met::Same;
    for (old, &new) in known.iter_mut().zip(types) {
        if *old == new || *old == mixed {
            continue;
        }
        let (joined, looked_at) = results.join(*old, new)?;
        effort.spend(looked_at)?;
        let joined = if joined == Type::MIXED { mixed } else { joined };
        if joined != *old {
            (*old, met) = (joined, Met::Changed);
        }
    }
    Ok(met)
}

/// Takes what is nil for mixed; whether there was any.
fn guess(types: &mut [Type], mixed: Type) -> bool {
    let mut guessed = false;
    for ty in types.iter_mut().filter(|ty| **ty == Type::NIL) {
        (*ty, guessed) = (mixed, true);
    }
    guessed
}
