//! Which variables live in registers: those that are named most often.

use arrayvec::ArrayVec;

use super::variable::Variable;
use crate::jit::machine::ARGUMENTS;
use crate::jit::verify::Facts;
use crate::jit::x64::Gpr;

/// Registers for variables that calls do not keep.
pub(super) const VOLATILE: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::R8, Gpr::R9, Gpr::R10, Gpr::R11];

/// Registers for variables that calls keep, and whoever uses them for its caller.
pub(super) const KEPT: [Gpr; 4] = [Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// From this weight on a variable is worth a register that has to be saved and restored.
const WORTH_KEEPING: u64 = 3;

/// The most variables in registers.
const MOST: usize = VOLATILE.len() + KEPT.len();

/// Variables that may have a register: 256 locals and as many positions.
const TABLE: usize = 512;

/// In place of a register: none. Nothing lives in the stack pointer.
const NONE: Gpr = Gpr::Rsp;

/// Where variables live.
#[derive(Debug)]
pub(super) struct Homes {
    /// By [`Variable::index`], of what the function at hand names or ever has; stale for others.
    registers: [Gpr; TABLE],
    /// Variables in registers, the most used first.
    pub(super) chosen: ArrayVec<(Variable, Gpr), MOST>,
    /// Those of them whose registers calls do not keep.
    pub(super) volatile: ArrayVec<(Variable, Gpr), { VOLATILE.len() }>,
    /// How many registers of [`KEPT`] are in use, the first ones.
    pub(super) kept: u32,
    /// Whether every local that is used has a register and no need of a word.
    pub(super) all_locals: bool,
}

impl Default for Homes {
    fn default() -> Self {
        let registers = [NONE; TABLE];
        let (chosen, volatile) = (ArrayVec::new(), ArrayVec::new());
        Self { registers, chosen, volatile, kept: 0, all_locals: false }
    }
}

impl Homes {
    /// The register of a variable that the function names or has, if it lives in one.
    #[inline(always)]
    pub(super) fn register(&self, variable: Variable) -> Option<Gpr> {
        self.registers.get(variable.index()).copied().filter(|register| *register != NONE)
    }

    /// The register of any variable that lives in one.
    pub(super) fn find(&self, variable: Variable) -> Option<Gpr> {
        let chosen = self.chosen.iter().find(|&&(chosen, _)| chosen == variable);
        chosen.map(|&(_, register)| register)
    }

    /// Chooses the variables that are worth a register.
    pub(super) fn choose(&mut self, facts: &Facts<'_, '_>, calls: u64) {
        self.chosen.clear();
        self.volatile.clear();
        self.kept = 0;
        let (locals, slots) = (counted_locals(facts), counted_slots(facts));
        let named = 2 * locals.len().max(slots.len());
        self.registers.get_mut(..named).unwrap_or_default().fill(NONE);
        let mut wanted = Wanted::default();
        let mut used = 0;
        for (&weight, number) in locals.iter().zip(0u64..) {
            used += usize::from(weight != 0);
            wanted.insert(weight, number);
        }
        for (&weight, number) in slots.iter().zip(SLOTS..) {
            wanted.insert(weight, number);
        }
        if calls == 0 {
            self.give_volatile(wanted.keys(), facts.function.params);
        } else {
            self.give_around_calls(wanted.keys(), calls);
        }
        let locals = self.chosen.iter().filter(|(variable, _)| variable.is_local()).count();
        let are_kept = calls == 0 || self.volatile.is_empty();
        self.all_locals = used == locals && are_kept;
    }

    /// Nothing is called: registers that need not be saved first, to parameters the one they come in.
    fn give_volatile(&mut self, wanted: &[u64], params: u16) {
        let (first, rest) = wanted.split_at_checked(VOLATILE.len()).unwrap_or((wanted, &[]));
        let bit = |register: Gpr| 1u16 << register.number();
        let mut free = IS_VOLATILE;
        let mut given = 0u32;
        for (&key, number) in first.iter().zip(0..) {
            if let Some(local) = variable_of(key).as_local()
                && local < params
                && let Some(&register) = ARGUMENTS.get(usize::from(local))
                && free & bit(register) != 0
            {
                free &= !bit(register);
                given |= 1 << number;
                self.set(Variable::local(local), register);
            }
        }
        for (&key, number) in first.iter().zip(0..) {
            let lowest = usize::try_from(free.trailing_zeros()).ok();
            if given >> number & 1 == 0
                && let Some(&register) = lowest.and_then(|number| Gpr::ALL.get(number))
            {
                free &= !bit(register);
                self.set(variable_of(key), register);
            }
        }
        self.give_kept(rest);
    }

    /// Gives registers that have to be saved, as many as are worth that.
    fn give_kept(&mut self, wanted: &[u64]) {
        let worth = wanted.iter().take_while(|key| weight_of(**key) >= WORTH_KEEPING);
        for (&key, &register) in worth.zip(&KEPT) {
            self.set(variable_of(key), register);
            self.kept += 1;
        }
    }

    /// Something is called: registers that calls keep first, then others to variables that are used
    /// more often than they have to be saved and restored.
    fn give_around_calls(&mut self, wanted: &[u64], calls: u64) {
        self.give_kept(wanted);
        let cost = calls.saturating_mul(2);
        let rest = wanted.iter().skip(KEPT.len()).take_while(|key| weight_of(**key) > cost);
        for (&key, &register) in rest.zip(&VOLATILE) {
            self.set(variable_of(key), register);
        }
    }

    fn set(&mut self, variable: Variable, register: Gpr) {
        if let Some(place) = self.registers.get_mut(variable.index()) {
            *place = register;
            let _ = self.chosen.try_push((variable, register));
            if IS_VOLATILE >> register.number() & 1 != 0 {
                let _ = self.volatile.try_push((variable, register));
            }
        }
    }
}

/// The registers of [`VOLATILE`], a bit each.
const IS_VOLATILE: u16 = {
    let (mut bits, mut left) = (0u16, VOLATILE.as_slice());
    while let [register, others @ ..] = left {
        (bits, left) = (bits | 1 << register.number(), others);
    }
    bits
};

/// How often those locals are named that may be.
pub(super) fn counted_locals<'f>(facts: &Facts<'f, '_>) -> &'f [u64] {
    let uses = facts.local_uses();
    uses.get(..usize::from(facts.locals_named())).unwrap_or(uses)
}

/// How often those positions are named that may be.
fn counted_slots<'f>(facts: &Facts<'f, '_>) -> &'f [u64] {
    let uses = facts.slot_uses();
    usize::try_from(facts.longest()).ok().and_then(|longest| uses.get(..longest)).unwrap_or(uses)
}

/// Variables as keys, the heaviest first: their weight, and below it what tells them apart.
#[derive(Debug, Default)]
struct Wanted {
    keys: [u64; MOST],
    count: usize,
}

impl Wanted {
    fn keys(&self) -> &[u64] {
        self.keys.get(..self.count).unwrap_or(&self.keys)
    }

    /// Adds what weighs something and more than one of so many.
    #[inline(always)]
    fn insert(&mut self, weight: u64, number: u64) {
        if weight == 0 {
            return;
        }
        let mut key = weight.min(u32::MAX.into()) << 32 | number;
        for place in self.keys.iter_mut().take(self.count) {
            // The lightest one falls out.
            if *place < key {
                core::mem::swap(place, &mut key);
            }
        }
        if let Some(place) = self.keys.get_mut(self.count) {
            *place = key;
            self.count += 1;
        }
    }
}

/// What is added to the numbers of slots, to tell them from locals.
const SLOTS: u64 = 1 << 16;

fn weight_of(key: u64) -> u64 {
    key >> 32
}

fn variable_of(key: u64) -> Variable {
    // 16 bits.
    let number = (key & 0xffff) as u16;
    if key & SLOTS == 0 { Variable::local(number) } else { Variable::slot(number.into()) }
}
