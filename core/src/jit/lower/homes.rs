//! Which variables live in registers: those that are named most often.

use arrayvec::ArrayVec;

use super::frame::Frame;
use super::variable::Variable;
use crate::jit::machine::ARGUMENTS;
use crate::jit::verify::Facts;
use crate::jit::x64::{Gpr, GprOrStack};

/// Registers for variables that calls do not keep.
pub(super) const VOLATILE: [Gpr; 6] =
    [Gpr::Rdi, Gpr::Rsi, Gpr::R8, Gpr::R9, Gpr::R10, Gpr::R11];

/// Registers for variables that calls keep, and whoever uses them for its caller.
pub(super) const KEPT: [Gpr; 4] = [Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// From this weight on a variable is worth a register that has to be saved and restored.
const WORTH_KEEPING: u32 = 3;

/// The most variables in registers.
const MOST: usize = VOLATILE.len() + KEPT.len();

/// Variables with places in the table: 256 locals and as many positions.
const TABLE: usize = 512;

/// Where variables live.
#[derive(Debug)]
pub(super) struct Homes {
    /// By [`Variable::index`], those of the function at hand that are named or were ever there; stale
    /// for others.
    places: [GprOrStack; TABLE],
    /// Those in registers, the most used first.
    pub(super) chosen: ArrayVec<(Variable, Gpr), MOST>,
    /// How many registers of [`KEPT`] are in use, the first ones.
    pub(super) kept: u32,
}

impl Default for Homes {
    fn default() -> Self {
        let places = [GprOrStack::stack(0); TABLE];
        Self { places, chosen: ArrayVec::new(), kept: 0 }
    }
}

impl Homes {
    /// The place of a variable as it is between instructions; `None` of one with a large number, which
    /// is in the frame.
    #[inline(always)]
    pub(super) fn place(&self, variable: Variable) -> Option<GprOrStack> {
        self.places.get(variable.index()).copied()
    }

    /// The register of a variable that lives in one.
    pub(super) fn register(&self, variable: Variable) -> Option<Gpr> {
        let chosen = self.chosen.iter().find(|&&(chosen, _)| chosen == variable);
        chosen.map(|&(_, register)| register)
    }

    /// Variables in registers that calls do not keep.
    pub(super) fn volatile(&self) -> ArrayVec<(Variable, Gpr), { VOLATILE.len() }> {
        self.chosen.iter().filter(|(_, register)| VOLATILE.contains(register)).copied().collect()
    }

    /// Chooses the variables that are worth a register. The others have no place yet.
    pub(super) fn choose(&mut self, facts: &Facts<'_, '_>, calls: u32) {
        self.chosen.clear();
        self.kept = 0;
        let wanted = self.most_used(facts);
        if calls == 0 {
            self.give_volatile(&wanted, facts.function.params);
        } else {
            self.give_around_calls(&wanted, calls);
        }
    }

    /// Those that have no register have a word of the frame.
    pub(super) fn settle(&mut self, facts: &Facts<'_, '_>, frame: &Frame) {
        let locals = (0..).zip(counted_locals(facts)).map(|(local, _)| Variable::local(local));
        let slots = (0..).zip(counted_slots(facts)).map(|(slot, _)| Variable::slot(slot));
        for variable in locals.chain(slots) {
            if let Some(place) = self.places.get_mut(variable.index())
                && place.register().is_none()
            {
                *place = frame.place(variable);
            }
        }
    }

    /// Nothing is called: registers that need not be saved first, to parameters the one they come in.
    fn give_volatile(&mut self, wanted: &Wanted, params: u16) {
        let (first, rest) = wanted.split_at(wanted.len().min(VOLATILE.len()));
        let bit = |register: Gpr| 1u16 << register.number();
        let mut free = const {
            let (mut free, mut left) = (0u16, VOLATILE.as_slice());
            while let [register, others @ ..] = left {
                (free, left) = (free | 1 << register.number(), others);
            }
            free
        };
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
        for (&key, register) in worth.zip(KEPT) {
            self.set(variable_of(key), register);
            self.kept += 1;
        }
    }

    /// Something is called: registers that calls keep first, then others to variables that are used
    /// more often than they have to be saved and restored.
    fn give_around_calls(&mut self, wanted: &Wanted, calls: u32) {
        self.give_kept(wanted);
        let cost = calls.saturating_mul(2);
        let rest = wanted.iter().skip(KEPT.len()).take_while(|key| weight_of(**key) > cost);
        for (&key, register) in rest.zip(VOLATILE) {
            self.set(variable_of(key), register);
        }
    }

    fn set(&mut self, variable: Variable, register: Gpr) {
        if let Some(place) = self.places.get_mut(variable.index()) {
            *place = register.into();
            let _ = self.chosen.try_push((variable, register));
        }
    }

    /// The variables that are named most often. None has a register from now on.
    fn most_used(&mut self, facts: &Facts<'_, '_>) -> Wanted {
        let mut wanted = Wanted::new();
        let locals = counted_locals(facts).iter().zip(0..);
        let locals = locals.map(|(&weight, local)| (weight, local, Variable::local(local)));
        for (weight, number, variable) in locals {
            self.reset(variable);
            insert(&mut wanted, weight, number.into());
        }
        let slots = counted_slots(facts).iter().zip(0u16..);
        for (&weight, number) in slots {
            self.reset(Variable::slot(number.into()));
            insert(&mut wanted, weight, SLOTS | u64::from(number));
        }
        wanted
    }

    #[inline(always)]
    fn reset(&mut self, variable: Variable) {
        if let Some(place) = self.places.get_mut(variable.index()) {
            *place = GprOrStack::stack(0);
        }
    }
}

/// How often those locals are named that may be.
pub(super) fn counted_locals<'f>(facts: &Facts<'f, '_>) -> &'f [u32] {
    let uses = facts.local_uses();
    uses.get(..usize::from(facts.locals_named())).unwrap_or(uses)
}

/// How often those positions are named that may be.
fn counted_slots<'f>(facts: &Facts<'f, '_>) -> &'f [u32] {
    let uses = facts.slot_uses();
    usize::try_from(facts.longest()).ok().and_then(|longest| uses.get(..longest)).unwrap_or(uses)
}

/// Variables as keys, the heaviest first: their weight, and below it what tells them apart.
type Wanted = ArrayVec<u64, MOST>;

/// What is added to the numbers of slots, to tell them from locals.
const SLOTS: u64 = 1 << 16;

fn weight_of(key: u64) -> u32 {
    // The upper half.
    (key >> 32) as u32
}

fn variable_of(key: u64) -> Variable {
    // 16 bits.
    let number = (key & 0xffff) as u16;
    if key & SLOTS == 0 { Variable::local(number) } else { Variable::slot(number.into()) }
}

#[inline]
fn insert(wanted: &mut Wanted, weight: u32, number: u64) {
    let key = u64::from(weight) << 32 | number;
    if weight == 0 || wanted.is_full() && wanted.last().is_some_and(|last| *last >= key) {
        return;
    }
    if wanted.is_full() {
        wanted.pop();
    }
    // There is room.
    let _ = wanted.try_push(key);
    let mut at = wanted.len() - 1;
    while let Some([before, here]) = at.checked_sub(1).and_then(|from| wanted.get_mut(from..=at))
        && *before < *here
    {
        core::mem::swap(before, here);
        at -= 1;
    }
}
