//! Register allocation by linear scan.
//!
//! Every local has one [`Location`] for its whole live interval: a register or a slot of the frame. Intervals are visited
//! by ascending start; a register is free again where its interval ends. When no register is free, the lightest of
//! the intervals that hold one and the new one goes to the frame, whole.
//!
//! An interval that crosses calls takes a register that callees preserve. Where none is free or none is worth saving in
//! the prologue, it takes another one if its references outweigh saving it around each call that it crosses.
//!
//! Source: M. Poletto and V. Sarkar, "Linear Scan Register Allocation", 1999; the weights are those of G. Chaitin's
//! spill costs.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::liveness::{Interval, Liveness, call_operands};
use crate::alloc_util::sort::sort_by_key;
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
#[derive(Debug)]
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

/// A register that is saved around the calls that its local crosses.
#[derive(Clone, Copy, Debug)]
struct Saved {
    first_value: u32,
    end: u32,
    local: u16,
    slot: u32,
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
    saved: Vec<Saved>,
    /// Slots that are in use: the last position of their locals, and their numbers.
    busy_slots: BinaryHeap<Reverse<(u32, u32)>>,
    free_slots: Vec<u32>,
    slots: u32,
    /// For each call with saved registers its position and the first of them in `around`.
    calls: Vec<(u32, u32)>,
    around: Vec<Saved>,
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
            self.place(liveness, local, is_float(instance, local))?;
        }
        self.assign_slots(liveness)?;
        self.list_saves(liveness)
    }

    fn clear(&mut self) {
        self.locations.clear();
        self.hints.clear();
        self.order.clear();
        self.saved.clear();
        self.busy_slots.clear();
        self.free_slots.clear();
        self.slots = 0;
        self.calls.clear();
        self.around.clear();
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

    /// The locals in caller-saved registers that are live across the call at `position`: local, register, and the slot
    /// in which the register is saved.
    pub(crate) fn saved_around(
        &self,
        position: u32,
    ) -> impl Iterator<Item = (u16, Location, u32)> + '_ {
        let call = self.calls.binary_search_by_key(&position, |&(call, _)| call).ok();
        let first = |call: usize| {
            let first = self.calls.get(call).map(|&(_, first)| first);
            first.and_then(|first| usize::try_from(first).ok()).unwrap_or(self.around.len())
        };
        let range = call.map_or(0..0, |call| first(call)..first(call + 1));
        let saved = self.around.get(range).unwrap_or(&[]);
        saved.iter().map(|saved| (saved.local, self.location(saved.local), saved.slot))
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

    fn place(&mut self, liveness: &Liveness, local: u16, is_float: bool) -> Result<(), AllocError> {
        let interval = liveness.interval(local);
        let crossed = liveness.crossed_calls(&interval);
        let hints = self.hints_of(local, &interval);
        let class = if is_float { &mut self.float } else { &mut self.int };
        let choice = class.choose(&interval, crossed, hints);
        let Some(register) = choice else {
            self.set(local, Location::Frame(0));
            return Ok(());
        };
        let holder = Holder { local, last_use: interval.last_use(), weight: interval.weight };
        let is_preserved = class.preserved & (1 << register) != 0;
        if let Some(evicted) = class.take(register, holder) {
            self.set(evicted, Location::Frame(0));
        }
        if crossed > 0 && !is_preserved {
            let (first_value, end) = (interval.first_value(), interval.end);
            try_push(&mut self.saved, Saved { first_value, end, local, slot: 0 })?;
        }
        let place = if is_float { Location::Float } else { Location::Int };
        self.set(local, place(register));
        Ok(())
    }

    fn set(&mut self, local: u16, location: Location) {
        if let Some(place) = self.locations.get_mut(usize::from(local)) {
            *place = location;
        }
    }

    /// Registers that would save a move: the one that a call or the caller uses for the local, and that of a source of the
    /// instruction that defines it.
    fn hints_of(&self, local: u16, interval: &Interval) -> [u8; 2] {
        let own = self.hints.get(usize::from(local)).copied().unwrap_or(u8::MAX);
        match self.location(interval.source) {
            Location::Int(register) | Location::Float(register) if !interval.is_live_at_entry => {
                [own, register]
            }
            _ => [own, u8::MAX],
        }
    }

    /// Gives slots to the locals in the frame and to the registers that are saved around calls.
    fn assign_slots(&mut self, liveness: &Liveness) -> Result<(), AllocError> {
        let locations = &self.locations;
        // Locals that lost their register are in the frame.
        self.saved.retain(|saved| {
            !matches!(locations.get(usize::from(saved.local)), Some(Location::Frame(_)))
        });
        sort_by_key(&mut self.saved, |saved| (saved.first_value, saved.local));
        let mut next_saved = 0;
        for index in 0..self.order.len() {
            let Some(&(first_value, local)) = self.order.get(index) else { break };
            let is_saved = self.saved.get(next_saved).is_some_and(|saved| saved.local == local);
            if !is_saved && !matches!(self.location(local), Location::Frame(_)) {
                continue;
            }
            let slot = self.slot(first_value, liveness.interval(local).last_use())?;
            if is_saved {
                self.saved.get_mut(next_saved).into_iter().for_each(|saved| saved.slot = slot);
                next_saved += 1;
            } else {
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

    /// Lists, for each call, the registers that are saved around it.
    fn list_saves(&mut self, liveness: &Liveness) -> Result<(), AllocError> {
        if self.saved.is_empty() {
            return Ok(());
        }
        let mut next = 0;
        // No more than there are registers: each is saved for one local at a time.
        let mut live: Vec<Saved> = Vec::new();
        for position in liveness.calls() {
            while let Some(saved) = self.saved.get(next).filter(|s| s.first_value <= position) {
                try_push(&mut live, *saved)?;
                next += 1;
            }
            live.retain(|saved| saved.end > position);
            let first = u32::try_from(self.around.len()).unwrap_or(u32::MAX);
            try_push(&mut self.calls, (position, first))?;
            try_reserve(&mut self.around, live.len())?;
            self.around.extend_from_slice(&live);
        }
        Ok(())
    }
}

impl Default for ClassState {
    fn default() -> Self {
        Self {
            caller_saved: &[],
            callee_saved: &[],
            all: 0,
            preserved: 0,
            // The default of an array would be code for each element.
            holders: [Holder { local: 0, last_use: 0, weight: 0 }; MAX_REGISTERS],
            free: 0,
            next_end: 0,
            taken: 0,
        }
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

    /// The register for an interval that crosses calls of the weight `crossed`; `None` for the frame.
    fn choose(&mut self, interval: &Interval, crossed: u32, hints: [u8; 2]) -> Option<u8> {
        self.expire(interval.first_value());
        // Registers that need no saving in the prologue, or are worth it.
        let is_worth_saving = interval.weight > SAVE_COST;
        let usable =
            if is_worth_saving { self.free } else { self.free & (!self.preserved | self.taken) };
        let first =
            |list: &[u8]| list.iter().find(|register| usable & (1 << **register) != 0).copied();
        if crossed == 0 {
            let is_usable = |hint: &u8| usable.checked_shr((*hint).into()).unwrap_or(0) & 1 != 0;
            return hints
                .into_iter()
                .find(is_usable)
                .or_else(|| first(self.caller_saved))
                .or_else(|| first(self.callee_saved))
                .or_else(|| self.lightest(self.all, interval));
        }
        let outweighs = interval.weight > crossed.saturating_mul(2);
        first(self.callee_saved)
            .or_else(|| first(self.caller_saved).filter(|_| outweighs))
            .or_else(|| self.lightest(self.preserved, interval))
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
