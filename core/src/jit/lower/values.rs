//! The vector while compiling: where each of its values is.
//!
//! The invariants are those of the room: [`super`].

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::Body;
use super::variable::{FLOATS, Registers, TEMPORARIES, Value, Variable};
use crate::jit::machine::Source;
use crate::jit::x64::{Cond, Float, Gpr, GprOrStack, Scale, W32, W64, Xmm};

/// The most values that are not in their homes at a time.
pub(super) const MOST_AWAY: usize = 64;

/// For moves from memory to memory.
pub(super) const SCRATCH: Xmm = Xmm::Xmm15;

/// The values of the vector, and who has which register.
#[derive(Debug)]
pub(super) struct Values {
    /// As many as the vector ever has, and more; all are at home but those in `away`.
    entries: Vec<Value>,
    length: u32,
    /// The positions whose values are not at home, and maybe some others.
    away: ArrayVec<u32, MOST_AWAY>,
    /// The variables that may have copies.
    copied: u64,
    pub(super) registers: Registers,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            length: 0,
            away: ArrayVec::new(),
            copied: 0,
            registers: Registers::FREE,
        }
    }
}

impl Values {
    /// An empty vector, which will have at most `longest` values.
    pub(super) fn start(&mut self, longest: u32) {
        self.all_home(0);
        let longest = usize::try_from(longest).unwrap_or(0);
        if self.entries.len() < longest {
            self.entries.resize(longest, Value::Home);
        }
    }

    /// A vector of this length with all values at home, and no register in use.
    pub(super) fn all_home(&mut self, length: u32) {
        while let Some(position) = self.away.pop() {
            if let Some(entry) = self.entry(position) {
                *entry = Value::Home;
            }
        }
        self.length = length;
        self.copied = 0;
        self.registers.free_all();
    }

    #[inline(always)]
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn entry(&mut self, position: u32) -> Option<&mut Value> {
        self.entries.get_mut(usize::try_from(position).ok()?)
    }

    /// The value of a position, which is at home from now on; `None` of what is not in the vector.
    #[inline(always)]
    fn take(&mut self, position: u32) -> Option<Value> {
        let entry = self.entry(position)?;
        let value = *entry;
        *entry = Value::Home;
        Some(value)
    }

    /// Takes the last value off the vector. A register that it is in belongs to the instruction at hand.
    #[inline(always)]
    fn pop(&mut self) -> Value {
        let position = self.length.saturating_sub(1);
        self.length = position;
        let Some(value) = self.take(position) else { return Value::Int(0) };
        if value == Value::Home {
            return Value::slot(position);
        }
        if self.away.last() == Some(&position) {
            self.away.pop();
        }
        self.registers.hold(value);
        value
    }
}

impl Body<'_, '_> {
    /// The home of a variable.
    #[inline(always)]
    pub(super) fn home(&self, variable: Variable) -> GprOrStack {
        match self.l.homes.register(variable) {
            Some(register) => register.into(),
            None => self.l.frame.word(variable),
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
        let position = self.l.values.length;
        debug_assert!(self.l.values.entry(position).is_some(), "longer than the vector ever is");
        self.write(Variable::slot(position));
        self.l.values.length = position + 1;
        if value != Value::slot(position) {
            self.keep(position, value);
        }
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
            _ => values.registers.give(value, position),
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
                Value::slot(position)
            }
            Some(Value::Home) => Value::slot(position),
            None => Value::Int(0),
        }
    }

    /// A value that is read the last time before the activation ends.
    pub(super) fn slot_once(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        match self.l.values.entry(position).copied() {
            Some(Value::Home) => Value::slot(position),
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
        let variable = Variable::slot(position);
        if value == Value::Copy(variable) {
            // What was popped or read is what is there already.
            return;
        }
        self.write(variable);
        self.drop_value(position);
        let is_in_register = matches!(value, Value::Temporary(_) | Value::Float(_));
        if is_in_register && self.home(variable).register().is_some() {
            self.store(variable, value);
        } else {
            self.keep(position, value);
        }
    }

    /// An operand that may be a copy of a position from `length` on, none of which is there any more.
    /// Where it stays valid while nil is appended up to `position`, which it is for.
    fn keep_behind(&mut self, length: u32, position: u32, value: Value) -> Value {
        match value {
            Value::Copy(variable)
                if position > length && variable.as_slot().is_some_and(|slot| slot >= length) =>
            {
                let register = self.temporary();
                self.load(register, value);
                Value::gpr(register)
            }
            value => value,
        }
    }

    /// The value of a position is not needed any more; its home is what counts.
    pub(super) fn drop_value(&mut self, position: u32) {
        let values = &mut self.l.values;
        if let Some(value) = values.take(position) {
            values.registers.release(value);
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
        self.l.values.length = length;
        for &(variable, register) in &self.l.homes.chosen {
            if variable.as_slot().is_some_and(|slot| (from..length).contains(&slot)) {
                self.l.asm.mov(W64, register, 0);
            }
        }
        let counter = self.temporary();
        self.clear_words(counter, length - from, self.l.frame.word(Variable::slot(from)));
        self.release(Value::gpr(counter));
    }

    /// Fills `words` words of the frame with 0, from `first` on.
    pub(super) fn clear_words(&mut self, counter: Gpr, words: u32, first: GprOrStack) {
        let Some(index) = counter.index() else { return };
        let asm = &mut self.l.asm;
        asm.mov_imm(counter, words.into());
        let again = asm.label();
        asm.bind(again);
        asm.mov(W64, first.memory().plus(-8).indexed(index, Scale::By8), 0);
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
        let variable = Variable::slot(position);
        self.write(variable);
        let Some(value) = self.l.values.take(position) else { return Value::Int(0) };
        if value == Value::Home {
            let register = self.temporary();
            self.load(register, Value::Copy(variable));
            return Value::gpr(register);
        }
        self.l.values.registers.hold(value);
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
        if !self.l.values.registers.temporaries.has_free() {
            return self.bring_home(position);
        }
        let register = self.temporary();
        self.load(register, copy);
        let value = Value::gpr(register);
        self.l.values.registers.give(value, position);
        if let Some(entry) = self.l.values.entry(position) {
            *entry = value;
        }
    }

    /// Brings the value of a position to its home.
    fn bring_home(&mut self, position: u32) {
        if let Some(value) = self.l.values.take(position).filter(|value| *value != Value::Home) {
            self.store(Variable::slot(position), value);
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
        let free = self.l.values.registers.temporaries.take();
        match free.and_then(|free| TEMPORARIES.get(free)) {
            Some(&register) => register,
            None => self.spill(),
        }
    }

    /// Takes the temporary register of the position that was pushed first.
    #[cold]
    fn spill(&mut self) -> Gpr {
        // An instruction has no more than two for itself.
        let lowest = self.l.values.registers.temporaries.lowest();
        let Some((number, position)) = lowest else { return Gpr::Rax };
        self.bring_home(position);
        let register = TEMPORARIES.get(number).copied().unwrap_or(Gpr::Rax);
        self.l.values.registers.hold(Value::gpr(register));
        register
    }

    /// Makes a certain temporary register free for the instruction at hand: who has it goes elsewhere.
    pub(super) fn claim(&mut self, register: Gpr) {
        let owners = &self.l.values.registers.temporaries;
        if let Some(position) = owners.position(register.number().into()) {
            self.bring_home(position);
        }
        self.l.values.registers.hold(Value::gpr(register));
    }

    /// A float register for the instruction at hand.
    pub(super) fn float_temporary(&mut self) -> Xmm {
        let floats = &mut self.l.values.registers.floats;
        if let Some(&free) = floats.take().and_then(|free| FLOATS.get(free)) {
            return free;
        }
        let Some((number, position)) = floats.lowest() else { return Xmm::Xmm0 };
        self.bring_home(position);
        let register = FLOATS.get(number).copied().unwrap_or(Xmm::Xmm0);
        self.l.values.registers.hold(Value::xmm(register));
        register
    }

    /// The instruction at hand needs the register of this value no more.
    #[inline(always)]
    pub(super) fn release(&mut self, value: Value) {
        self.l.values.registers.release(value);
    }

    /// The register is free unless it belongs to a position.
    pub(super) fn release_if_at_hand(&mut self, register: Gpr) {
        let owners = &self.l.values.registers.temporaries;
        if owners.position(register.number().into()).is_none() {
            self.release(Value::gpr(register));
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
        match home.register() {
            Some(register) => self.load(register, value),
            None => self.store_word(home, value),
        }
        self.release(value);
    }

    /// Moves a value to memory. Changes no flag and no register.
    pub(super) fn store_word(&mut self, place: GprOrStack, value: Value) {
        let source = self.place(value);
        let asm = &mut self.l.asm;
        match (value, source) {
            (Value::Int(bits), _) => match i32::try_from(bits) {
                Ok(bits) => asm.mov(W64, place, bits),
                Err(_) => {
                    let [low, high] = [bits, bits >> 32].map(|half| half as i32);
                    asm.mov(W32, place, low);
                    asm.mov(W32, place.moved(4), high);
                }
            },
            (Value::Float(number), _) => asm.mov_scalar(Float::F64, place.memory(), number.xmm()),
            (_, Some(from)) => match from.register() {
                Some(register) => asm.mov(W64, place, register),
                None if from != place => {
                    asm.movq(SCRATCH, from.memory());
                    asm.movq(place.memory(), SCRATCH);
                }
                None => {}
            },
            _ => {}
        }
    }

    /// Moves a value into a register. Changes no flag.
    #[inline(always)]
    pub(super) fn load(&mut self, register: Gpr, value: Value) {
        match value {
            Value::Int(bits) => self.l.asm.mov_imm(register, bits.cast_unsigned()),
            Value::Float(number) => self.l.asm.movq(register, number.xmm()),
            Value::Temporary(number) => self.move_to(register, number.gpr().into()),
            Value::Copy(variable) => self.move_to(register, self.home(variable)),
            Value::Home => {}
        }
    }

    /// Moves what is in a register or in memory into a register, unless it is there.
    #[inline(always)]
    pub(super) fn move_to(&mut self, register: Gpr, from: GprOrStack) {
        if from != register.into() {
            self.l.asm.mov(W64, register, from);
        }
    }

    /// Where an operand is that is in a general register or in memory.
    #[inline(always)]
    pub(super) fn place(&self, value: Value) -> Option<GprOrStack> {
        match value {
            Value::Temporary(number) => Some(number.gpr().into()),
            Value::Copy(variable) => Some(self.home(variable)),
            _ => None,
        }
    }

    /// The operand in a general register, which may be the home of a variable and is not to be changed.
    /// What is returned second is to be released instead of the operand.
    pub(super) fn in_register(&mut self, value: Value) -> (Gpr, Value) {
        if let Some(register) = self.place(value).and_then(GprOrStack::register) {
            return (register, value);
        }
        let register = self.temporary();
        self.load(register, value);
        self.release(value);
        (register, Value::gpr(register))
    }
}
