//! What of a function says how its activations look.

use crate::bytecode::verify::Facts;

/// What homes and frame of a function depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape<'f> {
    pub(super) params: u16,
    /// All of them, named or not.
    pub(super) locals: u16,
    /// The most values that there are words for in the vector.
    pub(super) max_stack_depth: u32,
    /// How often locals are named, in some weight; those that come behind are not counted.
    pub(super) local_uses: &'f [u64],
    /// One more than the last local that is named.
    pub(super) locals_named: u16,
    /// As `local_uses`, for positions of the vector that are named.
    pub(super) slot_uses: &'f [u64],
    /// The weight of all calls.
    pub(super) calls: u64,
    /// The most arguments of a call, tail calls included.
    pub(super) most_arguments: u16,
    /// Whether another function may take this one's place.
    pub(super) tail_calls: bool,
    /// Whether a local may be read that has not been set.
    pub(super) reads_nil_locals: bool,
}

impl<'f> Shape<'f> {
    /// The shape of a function that has been verified.
    #[inline(always)]
    pub(super) fn of(facts: &Facts<'f, '_>) -> Self {
        Self {
            params: facts.function.params,
            locals: facts.function.locals,
            max_stack_depth: facts.max_stack_depth(),
            local_uses: facts.local_uses(),
            locals_named: facts.locals_named(),
            slot_uses: facts.slot_uses(),
            calls: facts.call_weight(),
            most_arguments: facts.most_arguments(),
            tail_calls: facts.has_tail_calls(),
            reads_nil_locals: facts.reads_nil_locals(),
        }
    }

    /// How often those locals are named that may be.
    pub(super) fn counted_locals(&self) -> &'f [u64] {
        self.local_uses.get(..usize::from(self.locals_named)).unwrap_or(self.local_uses)
    }

    /// How often those positions are named that may be.
    pub(super) fn counted_slots(&self) -> &'f [u64] {
        let max_stack_depth = usize::try_from(self.max_stack_depth).unwrap_or(usize::MAX);
        self.slot_uses.get(..max_stack_depth).unwrap_or(self.slot_uses)
    }
}
