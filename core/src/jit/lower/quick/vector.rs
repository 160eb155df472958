//! The vector and the locals of a function that is compiled the quick way.

use super::Walk;
use crate::jit::lower::Lowering;
use crate::jit::lower::variable::{TEMPORARIES, Variable};
use crate::jit::x64::{Gpr, GprOrStack, W64};

/// The most values of a vector, and the words that it has in the frame.
pub(in crate::jit::lower) const MOST: u32 = 12;

/// A value of the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) sort: Sort,
    pub(super) place: Place,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Integer,
    Bool,
    /// What a function returned of which nothing is known; taken for an integer.
    Taken,
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: its bits.
    Constant(i64),
    /// In a temporary register, in the home of a local, or in the word of its position.
    At(GprOrStack),
}

impl Place {
    /// The bit of the temporary register that it is; 0 when it is none.
    #[inline(always)]
    pub(super) fn temporary(self) -> u32 {
        match self {
            Place::At(place) => place.register().map_or(0, bit_of),
            Place::Constant(_) => 0,
        }
    }
}

/// The bit of a temporary register; 0 of another one.
#[inline(always)]
fn bit_of(register: Gpr) -> u32 {
    ALL & 1 << register.number()
}

impl Value {
    pub(super) const FALSE: Self = Self { sort: Sort::Bool, place: Place::Constant(0) };
    pub(super) const TRUE: Self = Self { sort: Sort::Bool, place: Place::Constant(1) };

    #[inline(always)]
    pub(super) fn integer(value: i64) -> Self {
        Self { sort: Sort::Integer, place: Place::Constant(value) }
    }

    /// An integer or a bool.
    #[inline(always)]
    pub(super) fn at(register: Gpr, is_bool: bool) -> Self {
        let sort = if is_bool { Sort::Bool } else { Sort::Integer };
        Self { sort, place: Place::At(register.into()) }
    }

    #[inline(always)]
    pub(super) fn is_bool(self) -> bool {
        self.sort == Sort::Bool
    }
}

/// The temporary registers, a bit each.
const ALL: u32 = (1 << TEMPORARIES.len()) - 1;

/// The values, the last one pushed last.
#[derive(Debug)]
pub(super) struct Vector {
    values: [Value; MOST as usize],
    length: usize,
    /// The most that there were.
    pub(super) longest: usize,
    /// The temporary registers that neither a value nor the instruction at hand has, a bit each.
    free: u32,
}

impl Default for Vector {
    fn default() -> Self {
        Self { values: [Value::FALSE; MOST as usize], length: 0, longest: 0, free: ALL }
    }
}

impl Vector {
    /// Starts with a function.
    pub(super) fn start(&mut self) {
        self.longest = 0;
        self.empty();
    }

    /// Forgets the values of a path that has ended.
    #[inline(always)]
    pub(super) fn empty(&mut self) {
        (self.length, self.free) = (0, ALL);
    }

    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Whether the last values, so many, are there and integers.
    pub(super) fn ends_with_integers(&self, count: usize) -> bool {
        let there = self.values.get(..self.length).unwrap_or_default();
        let last = there.len().checked_sub(count).and_then(|first| there.get(first..));
        last.is_some_and(|last| last.iter().all(|value| !value.is_bool()))
    }

    /// The value of a slot, which stays there.
    #[inline(always)]
    pub(super) fn get(&self, slot: u16) -> Option<Value> {
        self.values.get(..self.length)?.get(usize::from(slot)).copied()
    }
}

impl Walk<'_, '_, '_> {
    #[inline(always)]
    pub(super) fn push(&mut self, value: Value) -> Option<()> {
        let vector = &mut self.l.quick.vector;
        *vector.values.get_mut(vector.length)? = value;
        vector.length += 1;
        vector.longest = vector.longest.max(vector.length);
        Some(())
    }

    /// Takes the last value. Its register is the instruction's until that [releases](Self::release) it.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Value> {
        let vector = &mut self.l.quick.vector;
        vector.length = vector.length.checked_sub(1)?;
        vector.values.get(vector.length).copied()
    }

    /// Takes the last two values, left and right, both bools or both integers.
    #[inline(always)]
    pub(super) fn pop_two(&mut self) -> Option<(bool, [Place; 2])> {
        let right = self.pop()?;
        let left = self.pop()?;
        (left.is_bool() == right.is_bool()).then_some((left.is_bool(), [left.place, right.place]))
    }

    /// Writes a slot. One behind the end of the vector would need nil.
    pub(super) fn set_slot(&mut self, slot: u16, value: Value) -> Option<()> {
        let vector = &mut self.l.quick.vector;
        let position = usize::from(slot);
        if position == vector.length {
            return self.push(value);
        }
        let place = vector.values.get_mut(..vector.length)?.get_mut(position)?;
        // A word is that of one position.
        if let Place::At(word) = value.place
            && word.register().is_none()
            && !self.l.quick.homes.contains(&word)
        {
            return None;
        }
        let old = core::mem::replace(place, value);
        self.release(old.place);
        Some(())
    }

    /// The value of a local, which is set.
    #[inline(always)]
    pub(super) fn local(&mut self, local: u16) -> Option<Value> {
        let home = *self.l.quick.homes.get(usize::from(local))?;
        let bit = 1 << local;
        if self.unset & bit != 0 {
            return None;
        }
        let sort = match self.bools & bit != 0 {
            true => Sort::Bool,
            // It may be this one.
            false if self.keeps_taken => Sort::Taken,
            false => Sort::Integer,
        };
        Some(Value { sort, place: Place::At(home) })
    }

    /// The home of a local that is being set to a value of its kind, and of which there are no copies.
    #[inline(always)]
    pub(super) fn home_to_set(&mut self, local: u16, is_bool: bool) -> Option<GprOrStack> {
        let home = *self.l.quick.homes.get(usize::from(local)).filter(|_| local < self.locals)?;
        let bit = 1 << local;
        let bool_bit = if is_bool { bit } else { 0 };
        if self.known & bit == 0 {
            self.known |= bit;
            self.bools |= bool_bit;
        } else if self.bools & bit != bool_bit {
            return None;
        }
        self.unset &= !bit;
        if self.l.quick.vector.length != 0 {
            self.move_copies(home)?;
        }
        Some(home)
    }

    /// Takes values elsewhere that are where a local lives.
    #[inline(never)]
    fn move_copies(&mut self, home: GprOrStack) -> Option<()> {
        let mut register = None;
        for position in 0..self.l.quick.vector.length {
            let value = *self.l.quick.vector.values.get(position)?;
            if value.place == Place::At(home) {
                // Two of them would be in one register.
                if register.is_some() {
                    return None;
                }
                let to = self.temporary()?;
                self.l.move_to(to, home);
                self.l.quick.vector.values.get_mut(position)?.place = Place::At(to.into());
                register = Some(to);
            }
        }
        Some(())
    }

    /// Sets a local to a value, which was popped or stays.
    #[inline(always)]
    pub(super) fn set_local(&mut self, local: u16, value: Value, popped: bool) -> Option<()> {
        let home = self.home_to_set(local, value.is_bool())?;
        self.keeps_taken |= value.sort == Sort::Taken;
        match home.register() {
            Some(register) => self.load(register, value.place),
            None => {
                let register = self.in_register(value.place)?;
                self.l.asm.mov(W64, home, register);
                if value.place != Place::At(register.into()) {
                    self.release(Place::At(register.into()));
                }
            }
        }
        if popped {
            self.release(value.place);
        }
        Some(())
    }

    #[inline(always)]
    pub(super) fn load(&mut self, register: Gpr, place: Place) {
        match place {
            Place::Constant(bits) => self.l.asm.mov_imm(register, bits.cast_unsigned()),
            Place::At(place) => self.l.move_to(register, place),
        }
    }

    /// The instruction at hand needs the register no more, if it is a temporary one.
    #[inline(always)]
    pub(super) fn release(&mut self, place: Place) {
        self.l.quick.vector.free |= place.temporary();
    }

    /// A temporary register that the instruction at hand has from now on.
    #[inline(always)]
    pub(super) fn temporary(&mut self) -> Option<Gpr> {
        let vector = &mut self.l.quick.vector;
        let number = usize::try_from(vector.free.trailing_zeros()).ok()?;
        vector.free &= vector.free.wrapping_sub(1);
        TEMPORARIES.get(number).copied()
    }

    /// As [`temporary`](Self::temporary), of a certain one that is free.
    pub(super) fn take(&mut self, register: Gpr) {
        self.l.quick.vector.free &= !bit_of(register);
    }

    /// The operand in a register; of a constant or a word, in a new one, to be released as well.
    #[inline(always)]
    pub(super) fn in_register(&mut self, place: Place) -> Option<Gpr> {
        if let Place::At(place) = place
            && let Some(register) = place.register()
        {
            return Some(register);
        }
        let register = self.temporary()?;
        self.load(register, place);
        Some(register)
    }

    /// Brings values in temporary registers to their words.
    pub(super) fn spill(&mut self) {
        let Lowering { asm, frame, quick, .. } = &mut *self.l;
        let Vector { values, length, free, .. } = &mut quick.vector;
        for (value, position) in values.iter_mut().take(*length).zip(0..) {
            if value.place.temporary() != 0
                && let Place::At(register) = value.place
                && let Some(register) = register.register()
            {
                let word = frame.word(Variable::slot(position));
                asm.mov(W64, word, register);
                *free |= bit_of(register);
                value.place = Place::At(word);
            }
        }
    }
}
