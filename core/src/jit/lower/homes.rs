//! Which variables live in registers: those that are named most often.

use super::Shape;
use super::variable::Variable;
use crate::codegen::ARGUMENTS;
use crate::codegen::x64::Gpr;

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
#[derive(Debug, Default)]
pub(super) struct Homes {
    registers: Registers,
    /// The variables that were considered.
    wanted: Wanted,
    /// How many registers of [`KEPT`] are in use, the first ones.
    pub(super) kept: u32,
    /// Whether there are calls, which do not keep all registers.
    calls: bool,
    /// Whether everything that is named has a register and no need of a word.
    pub(super) nothing_in_words: bool,
}

/// The registers of variables, by [`Variable::index`].
#[derive(Debug)]
struct Registers([Gpr; TABLE]);

impl Default for Registers {
    fn default() -> Self {
        Self([NONE; TABLE])
    }
}

impl Homes {
    /// The register of a variable, if it lives in one.
    #[inline(always)]
    pub(super) fn register(&self, variable: Variable) -> Option<Gpr> {
        self.registers.get(variable)
    }

    /// The variables that live in registers, with calls the most used first.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (Variable, Gpr)> {
        let variables = self.wanted.keys().iter().map(|&key| variable_of(key));
        variables.filter_map(|variable| Some((variable, self.register(variable)?)))
    }

    /// Those of them that have to be saved around calls.
    pub(super) fn volatile(&self) -> impl Iterator<Item = (Variable, Gpr)> {
        let kept = if self.calls { KEPT.len() } else { usize::MAX };
        self.chosen().skip(kept)
    }

    /// Chooses the variables that are worth a register.
    pub(super) fn choose(&mut self, shape: &Shape<'_>) {
        let calls = shape.calls;
        let Self { registers, wanted, .. } = self;
        *registers = Registers::default();
        (wanted.count, wanted.fell_out) = (0, false);
        for (&weight, local) in shape.counted_locals().iter().zip(0..) {
            wanted.insert(weight, Variable::local(local));
        }
        for (&weight, position) in shape.counted_slots().iter().zip(0..) {
            wanted.insert(weight, Variable::slot(position));
        }
        // When each gets one that need not be saved, the order does not matter.
        if calls != 0 || wanted.count > VOLATILE.len() {
            wanted.sort();
        }
        let (kept, free) = if calls == 0 {
            registers.give_volatile(wanted.keys(), shape.params)
        } else {
            (registers.give_around_calls(wanted.keys(), calls), 0)
        };
        self.kept = u32::try_from(kept).unwrap_or(0);
        self.calls = calls != 0;
        self.nothing_in_words = kept + free == self.wanted.count && !self.wanted.fell_out;
    }
}

impl Registers {
    #[inline(always)]
    fn get(&self, variable: Variable) -> Option<Gpr> {
        self.0.get(variable.index()).copied().filter(|register| *register != NONE)
    }

    #[inline(always)]
    fn set(&mut self, variable: Variable, register: Gpr) {
        if let Some(place) = self.0.get_mut(variable.index()) {
            *place = register;
        }
    }

    /// Nothing is called: registers that need not be saved first, to parameters the one they come in.
    /// Says how many it gave that have to be saved, and that have not.
    fn give_volatile(&mut self, wanted: &[u64], params: u16) -> (usize, usize) {
        let (first, rest) = wanted.split_at_checked(VOLATILE.len()).unwrap_or((wanted, &[]));
        let bit = |register: Gpr| 1u16 << register.number();
        let mut free = IS_VOLATILE;
        let mut others = 0u32;
        for (&key, number) in first.iter().zip(0..) {
            let variable = variable_of(key);
            let local = variable.as_local().filter(|local| *local < params);
            let comes_in = local.and_then(|local| ARGUMENTS.get(usize::from(local)));
            match comes_in.filter(|register| free & bit(**register) != 0) {
                Some(&register) => {
                    free ^= bit(register);
                    self.set(variable, register);
                }
                None => others |= 1 << number,
            }
        }
        for (&key, number) in first.iter().zip(0..) {
            let lowest = usize::try_from(free.trailing_zeros()).ok();
            if others >> number & 1 != 0
                && let Some(&register) = lowest.and_then(|number| Gpr::ALL.get(number))
            {
                free ^= bit(register);
                self.set(variable_of(key), register);
            }
        }
        (self.give_kept(rest), first.len())
    }

    /// Gives registers that have to be saved, as many as are worth that, and says how many.
    fn give_kept(&mut self, wanted: &[u64]) -> usize {
        let worth = wanted.iter().take_while(|key| weight_of(**key) >= WORTH_KEEPING);
        let mut kept = 0;
        for (&key, &register) in worth.zip(&KEPT) {
            self.set(variable_of(key), register);
            kept += 1;
        }
        kept
    }

    /// Something is called: registers that calls keep first, then others to variables that are used
    /// more often than they have to be saved and restored. Says how many of the first it gave.
    fn give_around_calls(&mut self, wanted: &[u64], calls: u64) -> usize {
        let cost = calls.saturating_mul(2);
        let rest = wanted.iter().skip(KEPT.len()).take_while(|key| weight_of(**key) > cost);
        for (&key, &register) in rest.zip(&VOLATILE) {
            self.set(variable_of(key), register);
        }
        self.give_kept(wanted)
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

/// Variables as keys: their weight, and below it what tells them apart.
#[derive(Debug, Default)]
struct Wanted {
    keys: [u64; MOST],
    count: usize,
    /// Whether there would be more.
    fell_out: bool,
}

impl Wanted {
    fn keys(&self) -> &[u64] {
        self.keys.get(..self.count).unwrap_or(&self.keys)
    }

    /// Adds what weighs something.
    #[inline(always)]
    fn insert(&mut self, weight: u64, variable: Variable) {
        if weight == 0 {
            return;
        }
        let key = weight.min(u32::MAX.into()) << 32 | variable.index() as u64;
        match self.keys.get_mut(self.count) {
            Some(place) => {
                *place = key;
                self.count += 1;
            }
            None => self.replace_lightest(key),
        }
    }

    /// There is no more room: the lightest one falls out.
    #[cold]
    fn replace_lightest(&mut self, key: u64) {
        self.fell_out = true;
        if let Some(lightest) = self.keys.iter_mut().min() {
            *lightest = key.max(*lightest);
        }
    }

    /// Puts the heaviest first.
    #[cold]
    fn sort(&mut self) {
        self.keys.get_mut(..self.count).unwrap_or_default().sort_unstable_by(|a, b| b.cmp(a));
    }
}

fn weight_of(key: u64) -> u64 {
    key >> 32
}

fn variable_of(key: u64) -> Variable {
    Variable::of_index(key & u64::from(u32::MAX))
}
