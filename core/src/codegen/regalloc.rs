//! Register allocation by linear scan.
//!
//! Every local has one [`Location`] for its whole live interval: a register or a slot of the frame. Intervals are visited
//! by ascending start; a register is free again where its interval ends. When no register is free, the lightest of
//! the intervals that hold one and the new one goes to the frame, whole.
//!
//! An interval that crosses calls takes a register that callees preserve, or else goes to the frame.
//!
//! Source: M. Poletto and V. Sarkar, "Linear Scan Register Allocation", 1999; the weights are those of G. Chaitin's
//! spill costs.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::liveness::{Interval, Liveness, call_operands};
use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};
use crate::ir::FunctionInstance;

/// The registers of a class have numbers below this.
const MAX_REGISTERS: usize = 32;

/// What saving and restoring a register in prologue and epilogue costs, in references outside of loops.
const SAVE_COST: u32 = 2;

/// The place of a local.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The local is never used.
    Unused,
    /// An integer register, by its hardware number.
    Int(u8),
    /// A floating-point register, by its hardware number.
    Float(u8),
    /// A spill slot of eight bytes, from 0.
    Frame(u32),
}

/// The registers of a class, by hardware number, in the order in which they are preferred.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassRegisters {
    /// Allocatable registers that a callee may overwrite.
    pub(crate) caller_saved: &'static [u8],
    /// The same in the order for functions that call others.
    pub(crate) caller_saved_with_calls: &'static [u8],
    /// Allocatable registers that a callee preserves.
    pub(crate) callee_saved: &'static [u8],
    /// The registers of the first arguments, allocatable or not.
    pub(crate) arguments: &'static [u8],
    /// The register of the result, allocatable or not.
    pub(crate) result: u8,
}

/// The registers of a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterFile {
    pub(crate) int: ClassRegisters,
    pub(crate) float: ClassRegisters,
}

/// A local that a register holds at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Holder {
    local: u16,
    /// The last position that reads it, counted from 1.
    last_use: u32,
    weight: u32,
}

/// The registers of one class during the scan.
#[derive(Debug, Default)]
struct ClassState {
    caller_saved: &'static [u8],
    callee_saved: &'static [u8],
    /// All registers of the two lists, and those of the second one, by number.
    all: u32,
    preserved: u32,
    /// Of the registers that are not free; the others may hold those of an earlier function.
    holders: [Holder; MAX_REGISTERS],
    /// The registers that are free, by number, until the next one is.
    free: u32,
    next_end: u32,
    /// The callee-saved registers that were taken, by number.
    taken: u32,
}

/// The places of the locals of one function. Its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Allocation {
    locations: Vec<Location>,
    hints: Vec<u8>,
    int: ClassState,
    float: ClassState,
    /// Locals by ascending position of their first value.
    order: Vec<(u32, u16)>,
    /// Slots that are in use: the last position of their locals, and their numbers.
    busy_slots: BinaryHeap<Reverse<(u32, u32)>>,
    free_slots: Vec<u32>,
    slots: u32,
}

impl Allocation {
    /// Finds a place for every local of `instance` that is used.
    pub(crate) fn assign(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        liveness: &Liveness,
        file: &RegisterFile,
    ) -> Result<(), AllocError> {
        self.clear();
        let locals = instance.body().locals();
        try_resize(&mut self.locations, locals.into(), Location::Unused)?;
        try_resize(&mut self.hints, locals.into(), u8::MAX)?;
        self.hint(instance, liveness, file);
        try_reserve(&mut self.order, locals.into())?;
        for local in 0..locals {
            let interval = liveness.interval(local);
            if interval.is_used() {
                try_push(&mut self.order, (interval.first_value(), local))?;
            }
        }
        self.order.sort_unstable();
        self.int.reset(&file.int, liveness.has_calls());
        self.float.reset(&file.float, liveness.has_calls());
        for index in 0..self.order.len() {
            let Some(&(_, local)) = self.order.get(index) else { break };
            self.place(liveness, local, is_float(instance, local));
        }
        self.assign_slots(liveness)
    }

    fn clear(&mut self) {
        self.locations.clear();
        self.hints.clear();
        self.order.clear();
        self.busy_slots.clear();
        self.free_slots.clear();
        self.slots = 0;
    }

    /// The place of a local.
    #[inline]
    pub(crate) fn location(&self, local: u16) -> Location {
        self.locations.get(usize::from(local)).copied().unwrap_or(Location::Unused)
    }

    /// The number of spill slots.
    pub(crate) fn spill_slots(&self) -> u32 {
        self.slots
    }

    /// The callee-saved registers that the function uses: a bit for each number, integer and floating-point.
    pub(crate) fn callee_saved(&self) -> (u32, u32) {
        (self.int.taken, self.float.taken)
    }

    /// Notes the argument registers in which parameters come and in which locals are passed.
    fn hint(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        liveness: &Liveness,
        file: &RegisterFile,
    ) {
        let params = instance.body().signature().params.len();
        self.hint_arguments(instance, file, 0..u16::try_from(params).unwrap_or(0));
        for position in liveness.calls().chain(liveness.tail_calls()) {
            if let Some(call) = instance.body().instruction(position) {
                self.hint_arguments(instance, file, call_operands(instance, &call));
            }
        }
    }

    fn hint_arguments(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        file: &RegisterFile,
        locals: impl Iterator<Item = u16>,
    ) {
        let (mut ints, mut floats) = (file.int.arguments.iter(), file.float.arguments.iter());
        for local in locals {
            let registers = if is_float(instance, local) { &mut floats } else { &mut ints };
            let Some(&register) = registers.next() else { continue };
            match self.hints.get_mut(usize::from(local)) {
                Some(hint) if *hint == u8::MAX => *hint = register,
                _ => {}
            }
        }
    }

    fn place(&mut self, liveness: &Liveness, local: u16, is_float: bool) {
        let interval = liveness.interval(local);
        let hint = self.hints.get(usize::from(local)).copied().unwrap_or(u8::MAX);
        let class = if is_float { &mut self.float } else { &mut self.int };
        let choice = class.choose(&interval, liveness.crosses_call(&interval), hint);
        let Some(register) = choice else { return self.set(local, Location::Frame(0)) };
        let holder = Holder { local, last_use: interval.last_use(), weight: interval.weight };
        if let Some(evicted) = class.take(register, holder) {
            self.set(evicted, Location::Frame(0));
        }
        let place = if is_float { Location::Float } else { Location::Int };
        self.set(local, place(register));
    }

    fn set(&mut self, local: u16, location: Location) {
        if let Some(place) = self.locations.get_mut(usize::from(local)) {
            *place = location;
        }
    }

    /// Gives slots to the locals in the frame.
    fn assign_slots(&mut self, liveness: &Liveness) -> Result<(), AllocError> {
        for index in 0..self.order.len() {
            let Some(&(first_value, local)) = self.order.get(index) else { break };
            if matches!(self.location(local), Location::Frame(_)) {
                let slot = self.slot(first_value, liveness.interval(local).last_use())?;
                self.set(local, Location::Frame(slot));
            }
        }
        Ok(())
    }

    /// A slot that is free from `first_value` to `last_use`.
    fn slot(&mut self, first_value: u32, last_use: u32) -> Result<u32, AllocError> {
        while let Some(&Reverse((end, slot))) = self.busy_slots.peek() {
            if end >= first_value {
                break;
            }
            self.busy_slots.pop();
            try_push(&mut self.free_slots, slot)?;
        }
        let slot = self.free_slots.pop().unwrap_or(self.slots);
        if slot == self.slots {
            self.slots += 1;
        }
        self.busy_slots.try_reserve(1).map_err(|_| AllocError)?;
        self.busy_slots.push(Reverse((last_use, slot)));
        Ok(slot)
    }
}

impl ClassState {
    /// Makes all registers free.
    #[inline]
    fn reset(&mut self, registers: &ClassRegisters, has_calls: bool) {
        let bits = |list: &[u8]| list.iter().fold(0, |bits, register| bits | 1 << register);
        (self.preserved, self.callee_saved) =
            (bits(registers.callee_saved), registers.callee_saved);
        self.all = bits(registers.caller_saved) | self.preserved;
        self.caller_saved = match has_calls {
            true => registers.caller_saved_with_calls,
            false => registers.caller_saved,
        };
        (self.free, self.next_end, self.taken) = (self.all, u32::MAX, 0);
    }

    fn holder(&self, register: u8) -> Holder {
        self.holders.get(usize::from(register)).copied().unwrap_or_default()
    }

    /// Frees the registers whose locals are not read behind `first_value`, which ascends from call to call.
    #[inline]
    fn expire(&mut self, first_value: u32) {
        if self.next_end <= first_value {
            self.free_ended(first_value);
        }
    }

    fn free_ended(&mut self, first_value: u32) {
        let mut busy = self.all & !self.free;
        self.next_end = u32::MAX;
        while busy != 0 {
            let register = busy.trailing_zeros() as u8;
            busy &= busy - 1;
            match self.holder(register).last_use {
                last_use if last_use <= first_value => self.free |= 1 << register,
                last_use => self.next_end = self.next_end.min(last_use),
            }
        }
    }

    /// The register for an interval; `None` for the frame. `hint` is a register that would save a move.
    fn choose(&mut self, interval: &Interval, crosses_call: bool, hint: u8) -> Option<u8> {
        self.expire(interval.first_value());
        // Registers that need no saving in the prologue, or are worth it.
        let is_worth_saving = interval.weight > SAVE_COST;
        let usable =
            if is_worth_saving { self.free } else { self.free & (!self.preserved | self.taken) };
        let first =
            |list: &[u8]| list.iter().find(|register| usable & (1 << **register) != 0).copied();
        if crosses_call {
            return first(self.callee_saved).or_else(|| self.lightest(self.preserved, interval));
        }
        let is_usable = usable.checked_shr(hint.into()).unwrap_or(0) & 1 != 0;
        Some(hint)
            .filter(|_| is_usable)
            .or_else(|| first(self.caller_saved))
            .or_else(|| first(self.callee_saved))
            .or_else(|| self.lightest(self.all, interval))
    }

    /// The register among `registers` whose local weighs least, if that is less than `interval` does.
    fn lightest(&self, registers: u32, interval: &Interval) -> Option<u8> {
        let listed = self.caller_saved.iter().chain(self.callee_saved).copied();
        let busy = listed.filter(|register| registers & !self.free & (1 << register) != 0);
        let lightest = busy.min_by_key(|&register| {
            let holder = self.holder(register);
            (holder.weight, Reverse(holder.last_use))
        })?;
        (self.holder(lightest).weight < interval.weight).then_some(lightest)
    }

    /// Gives `register` to `holder`, and returns the local that it is taken from.
    fn take(&mut self, register: u8, holder: Holder) -> Option<u16> {
        let was_free = self.free & (1 << register) != 0;
        self.taken |= self.preserved & (1 << register);
        self.free &= !(1 << register);
        self.next_end = self.next_end.min(holder.last_use);
        let place = self.holders.get_mut(usize::from(register))?;
        let previous = core::mem::replace(place, holder);
        (!was_free).then_some(previous.local)
    }
}

/// Whether a local has a floating-point type in this instance.
pub(crate) fn is_float(instance: &FunctionInstance<'_, '_>, local: u16) -> bool {
    let code = instance.body().local_codes().get(usize::from(local)).copied().unwrap_or(0);
    instance.scalar(code).is_some_and(|scalar| scalar.is_float())
}

#[cfg(test)]
mod tests;
