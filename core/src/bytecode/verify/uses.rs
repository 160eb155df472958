//! How often locals and slots are named, by how deep in loops: what a compiler keeps in registers.

use alloc::vec::Vec;

use super::scan::Target;
use crate::alloc_util::{AllocError, try_reserve};

/// Locals and slots from this number on are not counted.
const COUNTED: usize = 256;

/// The number of loops inside each other from which on depth does not matter.
const DEEPEST: usize = 6;

/// What being in a loop multiplies a use with, as a shift.
const WEIGHT_SHIFT: usize = 3;

/// The counts of a function, and the loops around the instruction that is looked at.
#[derive(Debug)]
pub(super) struct Uses {
    pub(super) locals: [u64; COUNTED],
    pub(super) slots: [u64; COUNTED],
    /// How many of both may be other than 0.
    counted: [usize; 2],
    /// Where each loop begins and its last jump back, the innermost last.
    loops: Vec<(u32, u32)>,
    weight: u64,
    /// The weights of all calls together.
    pub(super) calls: u64,
    /// The most arguments of a call, tail calls included.
    pub(super) most_arguments: u16,
    /// Whether another function may take this one's place.
    pub(super) tail_calls: bool,
    /// Whether a local may be read that is nil.
    pub(super) nil_locals: bool,
}

impl Default for Uses {
    fn default() -> Self {
        let none = [0; COUNTED];
        Self {
            locals: none,
            slots: none,
            counted: [0; 2],
            loops: Vec::new(),
            weight: 1,
            calls: 0,
            most_arguments: 0,
            tail_calls: false,
            nil_locals: false,
        }
    }
}

impl Uses {
    /// Starts with a function that names so many locals and has so many targets.
    pub(super) fn start(&mut self, locals: u16, targets: usize) -> Result<(), AllocError> {
        let [old_locals, old_slots] = self.counted;
        self.locals.get_mut(..old_locals).unwrap_or_default().fill(0);
        self.slots.get_mut(..old_slots).unwrap_or_default().fill(0);
        self.counted = [COUNTED.min(locals.into()), COUNTED];
        self.loops.clear();
        self.weight = 1;
        (self.calls, self.most_arguments) = (0, 0);
        (self.tail_calls, self.nil_locals) = (false, false);
        try_reserve(&mut self.loops, targets)
    }

    /// The vector of the function had at most so many values.
    pub(super) fn finish(&mut self, max_stack_depth: u32) {
        let [_, slots] = &mut self.counted;
        *slots = COUNTED.min(usize::try_from(max_stack_depth).unwrap_or(usize::MAX));
    }

    /// Counts a call with so many arguments.
    pub(super) fn call(&mut self, argc: u16) {
        self.calls = self.calls.wrapping_add(self.weight);
        self.most_arguments = self.most_arguments.max(argc);
    }

    /// Notes a call in place of this function with so many arguments.
    pub(super) fn tail_call(&mut self, argc: u16) {
        self.tail_calls = true;
        self.most_arguments = self.most_arguments.max(argc);
    }

    /// Comes to a target, which may be the head of a loop.
    pub(super) fn enter(&mut self, target: &Target) {
        let Some(end) = target.last_back_jump else { return };
        let at = target.offset;
        while self.loops.pop_if(|(head, end)| at <= *head || at > *end).is_some() {}
        self.loops.push((at, end));
        self.settle();
    }

    /// Comes to what stands behind a jump back, with which a loop may end.
    pub(super) fn leave(&mut self, at: u32) {
        while self.loops.pop_if(|(_, end)| at > *end).is_some() {}
        self.settle();
    }

    fn settle(&mut self) {
        self.weight = 1 << (WEIGHT_SHIFT * self.loops.len().min(DEEPEST));
    }

    /// Counts a use of a local, and gives it back.
    #[inline(always)]
    pub(super) fn local(&mut self, local: u16) -> u16 {
        add(&mut self.locals, local, self.weight);
        local
    }

    /// Counts a use of a slot, and gives it back.
    #[inline(always)]
    pub(super) fn slot(&mut self, slot: u16) -> u16 {
        add(&mut self.slots, slot, self.weight);
        slot
    }
}

#[inline(always)]
fn add(counts: &mut [u64; COUNTED], index: u16, weight: u64) {
    if let Some(count) = counts.get_mut(usize::from(index)) {
        // Fewer than 2^40 instructions are looked at, and no weight is more than 2^18.
        *count = count.wrapping_add(weight);
    }
}
