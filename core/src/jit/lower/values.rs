//! The vector while compiling: where each of its values is.
//!
//! The invariants are those of the room: [`super`].

use super::variable::{FLOATS, Registers, TEMPORARIES, Value, Variable};
use super::{Body, Lowering};
use crate::codegen::parallel_move::Source;
use crate::codegen::x64::{Cond, Float, Gpr, GprOrStack, Scale, W32, W64, Xmm};

/// How many positions may have values that are not at home: those before them all have.
const WINDOW: u32 = 64;

/// For moves from memory to memory.
pub(super) const SCRATCH: Xmm = Xmm::Xmm15;

/// The values of the vector, and who has which register.
#[derive(Debug)]
pub(super) struct Values {
    /// The values of the positions from `kept` on, each where its position modulo [`WINDOW`] says.
    entries: [Value; WINDOW as usize],
    /// No value before this position is kept track of: they are at home.
    kept: u32,
    length: u32,
    /// Whether there may be copies of positions.
    copies_slots: bool,
    pub(super) registers: Registers,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            entries: [Value::Home; WINDOW as usize],
            kept: 0,
            length: 0,
            copies_slots: false,
            registers: Registers::FREE,
        }
    }
}

impl Values {
    /// A vector of this length with all values at home, and no register in use.
    #[inline(always)]
    pub(super) fn all_home(&mut self, length: u32) {
        (self.length, self.kept, self.copies_slots) = (length, length, false);
        self.registers.free_all();
    }

    #[inline(always)]
    pub(super) fn length(&self) -> u32 {
        self.length
    }

    /// Of a position that is kept track of, its value.
    #[inline(always)]
    fn entry(&mut self, position: u32) -> Option<&mut Value> {
        self.entries.get_mut(usize::try_from(position % WINDOW).ok()?)
    }

    /// The value of a position.
    #[inline(always)]
    fn get(&mut self, position: u32) -> Value {
        if position < self.kept {
            return Value::Home;
        }
        self.entry(position).map_or(Value::Home, |value| *value)
    }

    /// The value of a position, which is at home from now on.
    #[inline(always)]
    fn take(&mut self, position: u32) -> Value {
        if position < self.kept {
            return Value::Home;
        }
        self.entry(position).map_or(Value::Home, |value| core::mem::replace(value, Value::Home))
    }

    /// The value of a position that is kept track of. Its home may know nothing of it.
    #[inline(always)]
    fn put(&mut self, position: u32, value: Value) {
        if let Some(entry) = self.entry(position) {
            *entry = value;
        }
    }

    /// Keeps track of a position of the vector, at home so far, and of those behind it, if they are
    /// few enough; whether they are.
    #[cold]
    fn keep_track(&mut self, position: u32) -> bool {
        if self.length - position > WINDOW {
            return false;
        }
        for position in position..self.kept {
            self.put(position, Value::Home);
        }
        self.kept = position;
        true
    }

    /// The positions that are kept track of, ascending.
    #[inline(always)]
    fn tracked(&self) -> core::ops::Range<u32> {
        self.kept..self.length
    }

    /// Takes the last value off the vector. A register that it is in belongs to the instruction at hand.
    #[inline(always)]
    fn pop(&mut self) -> Value {
        // The verifier has seen that there is one.
        let last = self.length.wrapping_sub(1);
        self.length = last;
        if last < self.kept {
            self.kept = last;
            return Value::slot(last);
        }
        match self.entry(last) {
            Some(Value::Home) | None => Value::slot(last),
            Some(value) => {
                let value = *value;
                self.registers.hold(value);
                value
            }
        }
    }
}

impl Body<'_, '_> {
    /// The home of a variable.
    #[inline(always)]
    pub(super) fn home(&self, variable: Variable) -> GprOrStack {
        self.l.home(variable)
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
        debug_assert!(position < self.facts.max_stack_depth(), "longer than the vector ever is");
        if self.l.values.copies_slots {
            self.move_copies(Variable::slot(position));
        }
        if position - self.l.values.kept >= WINDOW {
            self.flush_window();
        }
        self.l.values.length = position + 1;
        self.put(position, if value == Value::slot(position) { Value::Home } else { value });
    }

    /// Appends the result that an instruction has left in a temporary register. The register is held
    /// first: to append a value may copy older values to free registers.
    pub(super) fn push_result(&mut self, register: Gpr) {
        let value = Value::gpr(register);
        self.l.values.registers.hold(value);
        self.push(value);
    }

    #[cold]
    #[inline(never)]
    fn flush_window(&mut self) {
        self.flush();
    }

    /// The position, which is kept track of, has the value `value`, of which its home may know nothing.
    #[inline(always)]
    fn put(&mut self, position: u32, value: Value) {
        let values = &mut self.l.values;
        values.put(position, value);
        match value {
            Value::Copy(variable) => values.copies_slots |= !variable.is_local(),
            Value::Int(_) | Value::Home => {}
            _ => values.registers.give(value, position),
        }
    }

    /// The position has the value `value`, which is brought home if so many positions cannot be kept
    /// track of.
    fn keep(&mut self, position: u32, value: Value) {
        if position >= self.l.values.kept || self.l.values.keep_track(position) {
            self.put(position, value);
        } else {
            self.store(Variable::slot(position), value);
        }
    }

    /// A value that is read where it is: what can be said of it without holding a register.
    pub(super) fn slot(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        match self.l.values.get(position) {
            value @ (Value::Int(_) | Value::Copy(_)) => return value,
            Value::Temporary(_) | Value::Float(_) => self.bring_home(position),
            Value::Home => {}
        }
        Value::slot(position)
    }

    /// A value that is read the last time before the activation ends.
    pub(super) fn slot_once(&mut self, slot: u16) -> Value {
        let position = u32::from(slot);
        match self.l.values.get(position) {
            Value::Home => Value::slot(position),
            found => found,
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
        let value = values.take(position);
        values.registers.release(value);
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
        (self.l.values.length, self.l.values.kept) = (length, length);
        for (variable, register) in self.l.homes.chosen() {
            if variable.as_slot().is_some_and(|slot| (from..length).contains(&slot)) {
                self.l.asm.mov(W64, register, 0);
            }
        }
        let counter = self.temporary();
        self.l.clear_words(counter, length - from, self.l.frame.word(Variable::slot(from)));
        self.release(Value::gpr(counter));
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
        let value = self.l.values.take(position);
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
        if !self.l.values.tracked().is_empty() {
            self.move_copies(variable);
        }
    }

    #[inline(never)]
    fn move_copies(&mut self, variable: Variable) {
        let copy = Value::Copy(variable);
        for position in self.l.values.tracked() {
            if self.l.values.get(position) == copy {
                self.move_copy(position, copy);
            }
        }
    }

    #[cold]
    fn move_copy(&mut self, position: u32, copy: Value) {
        if !self.l.values.registers.temporaries.has_free() {
            return self.bring_home(position);
        }
        let register = self.temporary();
        self.load(register, copy);
        self.put(position, Value::gpr(register));
    }

    /// Brings the value of a position to its home.
    fn bring_home(&mut self, position: u32) {
        let value = self.l.values.take(position);
        if value != Value::Home {
            self.store(Variable::slot(position), value);
        }
    }

    /// Brings every value to its home. Changes no flag.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        if !self.l.values.tracked().is_empty() {
            self.bring_all_home();
        }
        self.l.values.copies_slots = false;
    }

    #[inline(never)]
    fn bring_all_home(&mut self) {
        for position in self.l.values.tracked() {
            self.bring_home(position);
        }
        self.l.values.kept = self.l.values.length;
    }

    /// Brings home what the positions before `end` have in registers that a call does not keep.
    pub(super) fn flush_registers(&mut self, end: u32) {
        for position in self.l.values.kept..end {
            if matches!(self.l.values.get(position), Value::Temporary(_) | Value::Float(_)) {
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
            Value::Temporary(number) => self.l.move_to(register, number.gpr().into()),
            Value::Copy(variable) => self.l.move_to(register, self.home(variable)),
            Value::Home => {}
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

impl Lowering {
    /// Fills `words` words of the frame with 0, from `first` on.
    pub(super) fn clear_words(&mut self, counter: Gpr, words: u32, first: GprOrStack) {
        let Some(index) = counter.index() else { return };
        let asm = &mut self.asm;
        asm.mov_imm(counter, words.into());
        let again = asm.label();
        asm.bind(again);
        asm.mov(W64, first.memory().plus(-8).indexed(index, Scale::By8), 0);
        asm.dec(W32, counter);
        asm.jcc(Cond::Ne, again);
    }

    /// Moves what is in a register or in memory into a register, unless it is there.
    #[inline(always)]
    pub(super) fn move_to(&mut self, register: Gpr, from: GprOrStack) {
        if from != register.into() {
            self.asm.mov(W64, register, from);
        }
    }
}
