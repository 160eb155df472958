//! The vector while compiling: where each of its values is.
//!
//! The invariants are those of the room: [`super`].

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::{Body, TEMPORARIES};
use crate::jit::machine::Source;
use crate::jit::x64::{Cond, Float, Gpr, GprOrMem, Mem, Scale, W32, W64, Xmm};

/// The most values that are not in their homes at a time.
pub(super) const MOST_AWAY: usize = 64;

/// Float registers for values; the last one of the processor is for moves from memory to memory.
const FLOATS: [Xmm; 8] =
    [Xmm::Xmm0, Xmm::Xmm1, Xmm::Xmm2, Xmm::Xmm3, Xmm::Xmm4, Xmm::Xmm5, Xmm::Xmm6, Xmm::Xmm7];

/// For moves from memory to memory.
pub(super) const SCRATCH: Xmm = Xmm::Xmm15;

/// What has a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// A local.
    Local(u16),
    /// A position of the vector.
    Slot(u32),
}

impl Variable {
    /// One of 64 sets of variables that may have copies.
    #[inline(always)]
    fn bit(self) -> u64 {
        1 << match self {
            Variable::Local(local) => u32::from(local) * 2 % 64,
            Variable::Slot(slot) => slot.wrapping_mul(2).wrapping_add(1) % 64,
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// In the home of its position. An operand is never this: it is a copy of its position.
    Home,
    /// Nowhere: its bits.
    Int(i64),
    /// In a temporary register.
    Temporary(Gpr),
    /// In a float register.
    Float(Xmm),
    /// In the home of a variable.
    Copy(Variable),
}

/// To whom a register belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    /// The instruction at hand.
    Instruction,
    Position(u32),
}

/// The values of the vector, and who has which register.
#[derive(Debug)]
pub(super) struct Values {
    entries: Vec<Value>,
    /// The positions whose values are not at home, and maybe some others.
    away: ArrayVec<u32, MOST_AWAY>,
    /// The variables that may have copies.
    copied: u64,
    temporaries: [Owner; TEMPORARIES.len()],
    floats: [Owner; FLOATS.len()],
}

impl Default for Values {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            away: ArrayVec::new(),
            copied: 0,
            temporaries: [Owner::Nobody; TEMPORARIES.len()],
            floats: [Owner::Nobody; FLOATS.len()],
        }
    }
}

impl Values {
    /// An empty vector.
    pub(super) fn clear(&mut self) {
        self.all_home(0);
    }

    /// A vector of this length with all values at home.
    pub(super) fn all_home(&mut self, length: u32) {
        while let Some(position) = self.away.pop() {
            if let Some(entry) = self.entry(position) {
                *entry = Value::Home;
            }
        }
        self.entries.resize(usize::try_from(length).unwrap_or(0), Value::Home);
        self.settle();
    }

    /// Forgets who had which register, and all copies.
    fn settle(&mut self) {
        self.copied = 0;
        self.temporaries = [Owner::Nobody; TEMPORARIES.len()];
        self.floats = [Owner::Nobody; FLOATS.len()];
    }

    #[inline(always)]
    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    #[inline(always)]
    fn entry(&mut self, position: u32) -> Option<&mut Value> {
        self.entries.get_mut(usize::try_from(position).ok()?)
    }

    /// The register's place among the temporaries, and who has it.
    #[inline(always)]
    fn owner(&mut self, register: Gpr) -> Option<&mut Owner> {
        let number = match register {
            Gpr::Rax => 0,
            Gpr::Rcx => 1,
            Gpr::Rdx => 2,
            _ => return None,
        };
        self.temporaries.get_mut(number)
    }

    #[inline(always)]
    fn give(&mut self, value: Value, owner: Owner) {
        match value {
            Value::Temporary(register) => {
                if let Some(place) = self.owner(register) {
                    *place = owner;
                }
            }
            Value::Float(register) => {
                if let Some(place) = self.floats.get_mut(usize::from(register.number())) {
                    *place = owner;
                }
            }
            _ => {}
        }
    }

    /// Takes the last value off the vector. A register that it is in belongs to the instruction at hand.
    #[inline(always)]
    fn pop(&mut self) -> Value {
        let Some(value) = self.entries.pop() else { return Value::Int(0) };
        let position = self.length();
        if value == Value::Home {
            return Value::Copy(Variable::Slot(position));
        }
        if self.away.last() == Some(&position) {
            self.away.pop();
        }
        self.give(value, Owner::Instruction);
        value
    }
}

impl Body<'_, '_> {
    /// The home of a variable.
    #[inline(always)]
    pub(super) fn home(&self, variable: Variable) -> GprOrMem {
        let register = match variable {
            Variable::Local(local) => self.l.homes.local(local),
            Variable::Slot(slot) => self.l.homes.slot(slot),
        };
        match register {
            Some(register) => GprOrMem::Gpr(register),
            None => GprOrMem::Mem(self.frame.word(variable)),
        }
    }

    /// Takes the last value off the vector.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Value {
        self.l.values.pop()
    }

    /// Appends a value. A register that it is in belongs to its position from now on.
    #[inline(always)]
    pub(super) fn push(&mut self, value: Value) {
        let position = self.l.values.length();
        self.write(Variable::Slot(position));
        self.l.values.entries.push(Value::Home);
        let itself = value == Value::Copy(Variable::Slot(position));
        let value = if itself { Value::Home } else { value };
        self.keep(position, value);
    }

    /// The position has the value `value`, of which its home may know nothing.
    #[inline(always)]
    fn keep(&mut self, position: u32, value: Value) {
        if self.l.values.away.is_full() {
            self.flush();
        }
        let values = &mut self.l.values;
        if let Some(entry) = values.entry(position) {
            *entry = value;
        }
        match value {
            Value::Home => return,
            Value::Copy(variable) => values.copied |= variable.bit(),
            Value::Int(_) => {}
            _ => values.give(value, Owner::Position(position)),
        }
        // There is room.
        let _ = values.away.try_push(position);
    }

    /// A value that is read where it is: what can be said of it without holding a register.
    pub(super) fn slot(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        match self.l.values.entry(position).copied() {
            Some(value @ (Value::Int(_) | Value::Copy(_))) => value,
            Some(Value::Temporary(_) | Value::Float(_)) => {
                self.bring_home(position);
                Value::Copy(Variable::Slot(position))
            }
            Some(Value::Home) => Value::Copy(Variable::Slot(position)),
            None => Value::Int(0),
        }
    }

    /// A value that is read the last time before the activation ends.
    pub(super) fn slot_once(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        match self.l.values.entry(position).copied() {
            Some(Value::Home) => Value::Copy(Variable::Slot(position)),
            found => found.unwrap_or(Value::Int(0)),
        }
    }

    /// Writes a slot: the vector is extended with nil if it is too short.
    pub(super) fn set_slot(&mut self, slot: u16, value: Value) {
        let position = u32::from(slot);
        let length = self.l.values.length();
        if position >= length {
            let value = self.keep_behind(length, position, value);
            self.extend(position);
            return self.push(value);
        }
        let variable = Variable::Slot(position);
        if value == Value::Copy(variable) {
            // What was popped or read is what is there already.
            return;
        }
        self.write(variable);
        self.drop_value(position);
        match (value, self.home(variable)) {
            (Value::Temporary(_) | Value::Float(_), GprOrMem::Gpr(_)) => {
                self.store(variable, value);
            }
            _ => self.keep(position, value),
        }
    }

    /// An operand that may be a copy of a position from `length` on, none of which is there any more.
    /// Where it stays valid while nil is appended up to `position`, which it is for.
    fn keep_behind(&mut self, length: u32, position: u32, value: Value) -> Value {
        match value {
            Value::Copy(Variable::Slot(slot)) if slot >= length && position > length => {
                let register = self.temporary();
                self.load(register, value);
                Value::Temporary(register)
            }
            value => value,
        }
    }

    /// The value of a position is not needed any more; its home is what counts.
    pub(super) fn drop_value(&mut self, position: u32) {
        let values = &mut self.l.values;
        if let Some(entry) = values.entry(position) {
            let value = core::mem::replace(entry, Value::Home);
            values.give(value, Owner::Nobody);
        }
    }

    /// Appends nil up to a length.
    fn extend(&mut self, length: u32) {
        /// More than so many are not kept track of one by one.
        const FEW: u32 = 8;
        let from = self.l.values.length();
        if length - from <= FEW {
            for _ in from..length {
                self.push(Value::Int(0));
            }
            return;
        }
        self.flush();
        let (words, length_wanted) = (length - from, usize::try_from(length).unwrap_or(0));
        self.l.values.entries.resize(length_wanted, Value::Home);
        for (slot, register) in self.l.homes.slots_in_registers() {
            if (from..length).contains(&slot) {
                self.l.asm.mov(W64, register, 0);
            }
        }
        let counter = self.temporary();
        self.clear_words(counter, words, self.frame.word(Variable::Slot(from)));
        self.release(Value::Temporary(counter));
    }

    /// Fills `words` words of the frame with 0, from `first` on.
    pub(super) fn clear_words(&mut self, counter: Gpr, words: u32, first: Mem) {
        let Some(index) = counter.index() else { return };
        let asm = &mut self.l.asm;
        asm.mov_imm(counter, words.into());
        let again = asm.label();
        asm.bind(again);
        asm.mov(W64, first.plus(-8).indexed(index, Scale::By8), 0);
        asm.dec(W32, counter);
        asm.jcc(Cond::Ne, again);
    }

    /// Exchanges two slots.
    pub(super) fn swap(&mut self, a: u16, b: u16) {
        if a == b {
            return;
        }
        let left = self.take_slot(a);
        let right = self.take_slot(b);
        self.keep(a.into(), right);
        self.keep(b.into(), left);
    }

    /// The value of a slot, which is left without one and whose home may be written.
    fn take_slot(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        let variable = Variable::Slot(position);
        self.write(variable);
        let Some(entry) = self.l.values.entry(position) else { return Value::Int(0) };
        let value = core::mem::replace(entry, Value::Home);
        if value == Value::Home {
            let register = self.temporary();
            self.load(register, Value::Copy(variable));
            return Value::Temporary(register);
        }
        self.l.values.give(value, Owner::Instruction);
        value
    }

    /// Before the home of a variable is written, or is no longer what counts: takes its copies
    /// elsewhere.
    #[inline(always)]
    pub(super) fn write(&mut self, variable: Variable) {
        if self.l.values.copied & variable.bit() != 0 {
            self.move_copies(variable);
        }
    }

    #[cold]
    fn move_copies(&mut self, variable: Variable) {
        self.l.values.copied = 0;
        for number in 0..self.l.values.away.len() {
            let position = self.l.values.away.get(number).copied().unwrap_or(u32::MAX);
            match self.l.values.entry(position).copied() {
                Some(copy @ Value::Copy(copied)) if copied == variable => {
                    self.move_copy(position, copy);
                }
                Some(Value::Copy(other)) => self.l.values.copied |= other.bit(),
                _ => {}
            }
        }
    }

    fn move_copy(&mut self, position: u32, copy: Value) {
        if !self.l.values.temporaries.contains(&Owner::Nobody) {
            return self.bring_home(position);
        }
        let register = self.temporary();
        self.load(register, copy);
        let value = Value::Temporary(register);
        self.l.values.give(value, Owner::Position(position));
        if let Some(entry) = self.l.values.entry(position) {
            *entry = value;
        }
    }

    /// Brings the value of a position to its home.
    fn bring_home(&mut self, position: u32) {
        let Some(entry) = self.l.values.entry(position) else { return };
        let value = core::mem::replace(entry, Value::Home);
        if value != Value::Home {
            self.store(Variable::Slot(position), value);
        }
    }

    /// Brings every value to its home. Changes no flag.
    pub(super) fn flush(&mut self) {
        for number in 0..self.l.values.away.len() {
            let position = self.l.values.away.get(number).copied().unwrap_or(u32::MAX);
            self.bring_home(position);
        }
        self.l.values.away.clear();
        self.l.values.copied = 0;
    }

    /// Brings home what the positions before `end` have in registers that a call does not keep.
    pub(super) fn flush_registers(&mut self, end: u32) {
        for number in 0..self.l.values.away.len() {
            let position = self.l.values.away.get(number).copied().unwrap_or(u32::MAX);
            let value = self.l.values.entry(position).copied();
            if position < end && matches!(value, Some(Value::Temporary(_) | Value::Float(_))) {
                self.bring_home(position);
            }
        }
    }

    /// A temporary register for the instruction at hand.
    #[inline(always)]
    pub(super) fn temporary(&mut self) -> Gpr {
        let free = self.l.values.temporaries.iter().position(|owner| *owner == Owner::Nobody);
        match free.and_then(|free| TEMPORARIES.get(free)) {
            Some(&register) => {
                self.l.values.give(Value::Temporary(register), Owner::Instruction);
                register
            }
            None => self.spill(),
        }
    }

    /// Takes the temporary register of the position that was pushed first.
    #[cold]
    fn spill(&mut self) -> Gpr {
        let owners = TEMPORARIES.iter().zip(&self.l.values.temporaries);
        let positions = owners.filter_map(|(&register, owner)| match owner {
            Owner::Position(position) => Some((*position, register)),
            _ => None,
        });
        // An instruction has no more than two for itself.
        let Some((position, register)) = positions.min_by_key(|(position, _)| *position) else {
            return Gpr::Rax;
        };
        self.bring_home(position);
        self.l.values.give(Value::Temporary(register), Owner::Instruction);
        register
    }

    /// Makes a certain temporary register free for the instruction at hand: who has it goes elsewhere.
    pub(super) fn claim(&mut self, register: Gpr) {
        let owner = self.l.values.owner(register).map_or(Owner::Nobody, |owner| *owner);
        if let Owner::Position(position) = owner {
            self.bring_home(position);
        }
        self.l.values.give(Value::Temporary(register), Owner::Instruction);
    }

    /// A float register for the instruction at hand.
    pub(super) fn float_temporary(&mut self) -> Xmm {
        let owners = FLOATS.iter().zip(&self.l.values.floats);
        let free = owners.clone().find(|(_, owner)| **owner == Owner::Nobody);
        if let Some((&register, _)) = free {
            self.l.values.give(Value::Float(register), Owner::Instruction);
            return register;
        }
        let first = owners.filter_map(|(&register, owner)| match owner {
            Owner::Position(position) => Some((*position, register)),
            _ => None,
        });
        let Some((position, register)) = first.min_by_key(|(position, _)| *position) else {
            return Xmm::Xmm0;
        };
        self.bring_home(position);
        self.l.values.give(Value::Float(register), Owner::Instruction);
        register
    }

    /// The instruction at hand needs the register of this value no more.
    #[inline(always)]
    pub(super) fn release(&mut self, value: Value) {
        self.l.values.give(value, Owner::Nobody);
    }

    /// The register is free unless it belongs to a position.
    pub(super) fn release_if_at_hand(&mut self, register: Gpr) {
        if let Some(owner) = self.l.values.owner(register)
            && *owner == Owner::Instruction
        {
            *owner = Owner::Nobody;
        }
    }

    /// Where an operand comes from that is no float.
    pub(super) fn source(&self, value: Value) -> Source {
        match (value, self.place(value)) {
            (_, Some(place)) => place.into(),
            (Value::Int(value), None) => Source::Constant(value),
            (_, None) => Source::Constant(0),
        }
    }

    /// Moves a value to the home of a variable, and releases its register.
    #[inline(always)]
    pub(super) fn store(&mut self, variable: Variable, value: Value) {
        let home = self.home(variable);
        match home {
            GprOrMem::Gpr(register) => self.load(register, value),
            GprOrMem::Mem(place) => self.store_word(place, value),
        }
        self.release(value);
    }

    /// Moves a value to memory. Changes no flag and no register.
    pub(super) fn store_word(&mut self, place: Mem, value: Value) {
        let source = self.place(value);
        let asm = &mut self.l.asm;
        match (value, source) {
            (Value::Int(bits), _) => match i32::try_from(bits) {
                Ok(bits) => asm.mov(W64, place, bits),
                Err(_) => {
                    let [low, high] = [bits, bits >> 32].map(|half| half as i32);
                    asm.mov(W32, place, low);
                    asm.mov(W32, place.plus(4), high);
                }
            },
            (Value::Float(register), _) => asm.mov_scalar(Float::F64, place, register),
            (_, Some(GprOrMem::Gpr(register))) => asm.mov(W64, place, register),
            (_, Some(GprOrMem::Mem(from))) if from != place => {
                asm.movq(SCRATCH, from);
                asm.movq(place, SCRATCH);
            }
            _ => {}
        }
    }

    /// Moves a value into a register. Changes no flag.
    #[inline(always)]
    pub(super) fn load(&mut self, register: Gpr, value: Value) {
        let source = self.place(value);
        let asm = &mut self.l.asm;
        match (value, source) {
            (Value::Int(bits), _) => asm.mov_imm(register, bits.cast_unsigned()),
            (Value::Float(float), _) => asm.movq(register, float),
            (_, Some(GprOrMem::Gpr(from))) if from != register => asm.mov(W64, register, from),
            (_, Some(GprOrMem::Mem(from))) => asm.mov(W64, register, from),
            _ => {}
        }
    }

    /// Where an operand is that is in a general register or in memory.
    #[inline(always)]
    pub(super) fn place(&self, value: Value) -> Option<GprOrMem> {
        match value {
            Value::Temporary(register) => Some(GprOrMem::Gpr(register)),
            Value::Copy(variable) => Some(self.home(variable)),
            _ => None,
        }
    }

    /// The operand in a general register, which may be the home of a variable and is not to be changed.
    /// What is returned second is to be released instead of the operand.
    pub(super) fn in_register(&mut self, value: Value) -> (Gpr, Value) {
        if let Some(GprOrMem::Gpr(register)) = self.place(value) {
            return (register, value);
        }
        let register = self.temporary();
        self.load(register, value);
        self.release(value);
        (register, Value::Temporary(register))
    }
}
