//! Reads and writes of variables, and their moves to their homes.

use super::value_stack::{Class, Val};
use super::{Body, Translator};
use crate::ir::{Local, Scalar};

impl Body<'_, '_> {
    /// A position in its home for values of a class.
    pub(super) fn home(&mut self, position: usize, class: Class) -> Val {
        let Translator { ir, variables, .. } = &mut *self.t;
        Val::Slot(class, variables.slot(ir, position, class))
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Val {
        self.t.stack.pop()
    }

    /// Appends a value.
    #[inline]
    pub(super) fn push(&mut self, value: Val) {
        // The value is on the stack first, so that a flush does not overwrite its local.
        if self.t.stack.push(value) {
            self.flush_all();
        }
    }

    /// The value of a slot.
    #[inline]
    pub(super) fn slot(&mut self, slot: u16) -> Val {
        self.t.stack.get(slot.into())
    }

    /// The value of a local.
    #[inline]
    pub(super) fn local(&mut self, local: u16) -> Val {
        if local >= self.facts.locals_set() {
            return Val::ZERO;
        }
        let Translator { ir, variables, .. } = &mut *self.t;
        let class = variables.class(local.into());
        Val::Copy(class, variables.local(ir, local.into(), class))
    }

    /// Sets a local.
    pub(super) fn set_local(&mut self, local: u16, value: Val) {
        let home = self.local_to_write(local, value.class());
        self.copy(home, value);
    }

    /// The home of a local that is about to be set to a value of a class.
    pub(super) fn local_to_write(&mut self, local: u16, class: Class) -> Local {
        let Translator { ir, variables, .. } = &mut *self.t;
        variables.set_class(local.into(), class);
        let home = variables.local(ir, local.into(), class);
        self.protect(home, None);
        home
    }

    /// Writes a slot. The stack is extended with nil if it is too short.
    pub(super) fn set_slot(&mut self, slot: u16, value: Val) {
        let (position, length) = (usize::from(slot), self.t.stack.len());
        if position < length {
            return self.keep(position, value);
        }
        if position == length {
            return self.push(value);
        }
        // The pushes below may write the home of a position.
        let value = self.detach(value);
        for _ in length..position {
            self.push(Val::ZERO);
        }
        self.push(value);
    }

    /// Replaces the value of a position.
    fn keep(&mut self, position: usize, value: Val) {
        if self.t.stack.track(position) {
            self.t.stack.set(position, value);
        } else {
            self.write_home(position, value);
        }
    }

    /// Exchanges two slots.
    pub(super) fn swap(&mut self, a: u16, b: u16) {
        if a == b {
            return;
        }
        let (mut left, mut right) = (self.slot(a), self.slot(b));
        if !self.t.stack.track(a.min(b).into()) {
            // One of them is written at once.
            (left, right) = (self.detach(left), self.detach(right));
        }
        self.keep(a.into(), right);
        self.keep(b.into(), left);
    }

    /// The value, in a temporary if it is in the home of a position.
    fn detach(&mut self, value: Val) -> Val {
        match value {
            Val::Slot(class, _) => {
                let local = self.temporary(class.scalar());
                self.copy(local, value);
                Val::Temp(class, local)
            }
            value => value,
        }
    }

    /// Moves a value to the home of a position.
    fn write_home(&mut self, position: usize, value: Val) {
        let home = self.home(position, value.class());
        if value != home
            && let Some(local) = home.local()
        {
            if self.t.stack.has_slot_copies {
                self.protect(local, Some(position));
            }
            self.copy(local, value);
        }
        self.t.stack.set_home(position, home);
    }

    /// Moves the copies of a home that is about to be written to temporaries, but for position `except`.
    pub(super) fn protect(&mut self, home: Local, except: Option<usize>) {
        for position in self.t.stack.tracked() {
            let value = self.t.stack.get(position);
            if value.local() == Some(home) && except != Some(position) {
                let class = value.class();
                let local = self.temporary(class.scalar());
                self.copy(local, value);
                self.t.stack.set(position, Val::Temp(class, local));
            }
        }
    }

    /// Moves all values to their homes that are read behind a target.
    pub(super) fn flush(&mut self, target: usize) {
        let tracked = self.t.stack.tracked();
        if tracked.is_empty() {
            return;
        }
        let mut all = true;
        let (_, kinds) = self.facts.kinds_at(target);
        for (position, kind) in tracked.clone().zip(kinds.skip(tracked.start)) {
            match kind {
                Some(_) => self.write_home(position, self.t.stack.get(position)),
                None => all = false,
            }
        }
        if all {
            self.t.stack.all_home();
        }
    }

    /// Moves all values to their homes.
    #[cold]
    pub(super) fn flush_all(&mut self) {
        for position in self.t.stack.tracked() {
            self.write_home(position, self.t.stack.get(position));
        }
        self.t.stack.all_home();
    }

    /// Moves all temporaries to their homes.
    #[cold]
    pub(super) fn flush_temporaries(&mut self) {
        for position in self.t.stack.tracked() {
            let value = self.t.stack.get(position);
            if matches!(value, Val::Temp(..)) {
                self.write_home(position, value);
            }
        }
        // A write may have moved copies of the home to temporaries, behind it or before it.
        if self
            .t
            .stack
            .tracked()
            .any(|position| matches!(self.t.stack.get(position), Val::Temp(..)))
        {
            self.flush_all();
        }
    }

    /// Sets an IR local to a value.
    pub(super) fn copy(&mut self, to: Local, value: Val) {
        let ir = &mut self.t.ir;
        match value {
            Val::Const(class, bits) => set_constant(ir, class, to, bits),
            Val::Temp(class, from) | Val::Copy(class, from) | Val::Slot(class, from) => {
                if from != to {
                    ir.copy(class.scalar(), to, from);
                }
            }
        }
    }

    /// The IR local that holds a value: a temporary for a constant.
    pub(super) fn read(&mut self, value: Val) -> Local {
        match value.local() {
            Some(local) => local,
            None => {
                let local = self.temporary(value.class().scalar());
                self.copy(local, value);
                local
            }
        }
    }

    /// The address of 8 bytes of the frame through which bits move from one class to another.
    fn bits_address(&mut self) -> Local {
        let slot = *self.bits.get_or_insert_with(|| self.t.ir.slot(8, 8));
        let address = self.temporary(Scalar::Pointer);
        self.t.ir.slot_address(address, slot, 0);
        address
    }

    /// A value as the integer that stands for it outside of the function.
    pub(super) fn integer_of(&mut self, value: Val) -> Local {
        let value = match value {
            Val::Const(_, bits) => Val::Const(Class::Int, bits),
            value => value,
        };
        let from = self.read(value);
        match value.class() {
            Class::Int => from,
            Class::Bool => {
                let bits = self.temporary(Scalar::I64);
                self.t.ir.convert(Scalar::I64, bits, Scalar::Bool, from);
                bits
            }
            Class::Float => {
                let address = self.bits_address();
                let bits = self.temporary(Scalar::I64);
                self.t.ir.store(Scalar::F64, from, address, 0);
                self.t.ir.load(Scalar::I64, bits, address, 0);
                bits
            }
        }
    }

    /// Sets a local of a class to the value that an integer stands for.
    pub(super) fn set_from_integer(&mut self, class: Class, to: Local, bits: Local) {
        match class {
            Class::Int => self.copy(to, Val::Temp(class, bits)),
            Class::Bool => self.t.ir.convert(Scalar::Bool, to, Scalar::I64, bits),
            Class::Float => {
                let address = self.bits_address();
                self.t.ir.store(Scalar::I64, bits, address, 0);
                self.t.ir.load(Scalar::F64, to, address, 0);
            }
        }
    }
}

/// Sets an IR local to a constant.
fn set_constant(ir: &mut crate::ir::FunctionBuilder, class: Class, to: Local, bits: u64) {
    match (class, i32::try_from(bits.cast_signed())) {
        (Class::Float, _) if bits != 0 => ir.wide_constant(Scalar::F64, to, bits),
        (_, Ok(number)) => ir.constant(class.scalar(), to, number),
        (_, Err(_)) => ir.wide_constant(class.scalar(), to, bits),
    }
}
