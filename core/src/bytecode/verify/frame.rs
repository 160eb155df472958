//! An activation as the verifier sees it: the types of its locals and of its vector.

use alloc::vec::Vec;

use super::error::{Fault, Place};
use super::kind::{KindSet, Results, Type, Unequal};
use super::op::{At, offset};
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};

/// The memory for the types of a function, and what is found on the way.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The locals that are ever set, then as much of the vector as there ever was: what follows the
    /// vector is stale.
    types: Vec<Type>,
    locals: usize,
    /// Where other values than two i64 are compared, with the types of left and right.
    pub(super) compared: Vec<(u32, [Type; 2])>,
}

impl Frame {
    /// The start of a function with `params` parameters of type `given` that sets `locals` locals, the parameters
    /// among them.
    pub(super) fn start<'f>(
        &'f mut self,
        params: u16,
        given: Type,
        locals: u16,
        (function, results): (u32, &'f mut Results),
    ) -> Result<State<'f>, AllocError> {
        self.types.clear();
        try_reserve(&mut self.types, locals.into())?;
        self.types.resize(params.into(), given);
        self.types.resize(locals.into(), Type::NIL);
        self.locals = locals.into();
        self.compared.clear();
        let Self { types, locals, compared } = self;
        let (locals, top) = (*locals, *locals);
        Ok(State { types, locals, top, is_short: false, compared, results, function, at: 0 })
    }

    /// The greatest length that the vector had.
    pub(super) fn max_stack_depth(&self) -> u32 {
        u32::try_from(self.types.len() - self.locals).unwrap_or(u32::MAX)
    }

    /// Puts the comparisons in the order of their offsets, each once.
    pub(super) fn sort_compared(&mut self) {
        if self.compared.len() > 1 {
            sort_by_key(&mut self.compared, |&(at, _)| at);
            self.compared.dedup_by_key(|&mut (at, _)| at);
        }
    }
}

/// The types of locals and vector at one place in the code.
///
/// Locals that the function never sets are not kept: what they are is known. No function that is not
/// copied to where it is called gets the state itself, so that it stays in registers.
pub(super) struct State<'f> {
    types: &'f mut Vec<Type>,
    locals: usize,
    /// Where the vector ends in `types`.
    top: usize,
    /// Whether `types` ends before that, because there was no memory: what comes of it is an error.
    pub(super) is_short: bool,
    compared: &'f mut Vec<(u32, [Type; 2])>,
    /// The kinds of the results of functions, as far as they are inferred.
    pub(super) results: &'f mut Results,
    /// The function that they belong to, and the instruction.
    function: u32,
    pub(super) at: At,
}

impl State<'_> {
    /// Locals and vector, and the results of functions.
    #[inline]
    pub(super) fn parts(&mut self) -> (&[Type], &mut Results) {
        (self.types.get(..self.top).unwrap_or(&[]), self.results)
    }

    /// The length of the vector.
    #[inline]
    pub(super) fn length(&self) -> u32 {
        length(self.top, self.locals)
    }

    /// The function and the offset of the instruction.
    #[inline]
    fn place(&self) -> (u32, u32) {
        (self.function, offset(self.at))
    }

    /// Takes over what is known at a target.
    #[inline]
    pub(super) fn load(&mut self, types: &[Type]) {
        self.top = types.len();
        match self.types.get_mut(..types.len()) {
            Some(place) => place.copy_from_slice(types),
            None => self.is_short |= replace(self.types, types).is_err(),
        }
    }

    /// A type in the vector or a local.
    #[inline]
    fn get(&self, index: usize) -> Type {
        self.types.get(index).copied().unwrap_or(Type::MIXED)
    }

    #[inline]
    pub(super) fn push(&mut self, ty: Type) {
        match self.types.get_mut(self.top) {
            Some(place) => *place = ty,
            None => self.is_short |= try_push(self.types, ty).is_err(),
        }
        self.top += 1;
    }

    /// Writes a slot.
    #[inline]
    pub(super) fn write(&mut self, slot: u16, ty: Type) {
        let index = self.locals + usize::from(slot);
        if index == self.top {
            return self.push(ty);
        }
        if index > self.top {
            self.is_short |= extend(self.types, self.top, index + 1).is_err();
            self.top = index + 1;
        }
        if let Some(place) = self.types.get_mut(index) {
            *place = ty;
        }
    }

    /// Whether there are `needed` values to be popped.
    #[inline]
    pub(super) fn require(&self, needed: u32) -> Result<(), Fault> {
        if self.length() >= needed {
            return Ok(());
        }
        Err(Fault::Underflow { needed, length: self.length() })
    }

    /// Pops a value of one of the kinds `needed`.
    #[inline]
    pub(super) fn pop(&mut self, needed: KindSet) -> Result<Type, Fault> {
        self.require(1)?;
        self.top -= 1;
        let ty = self.get(self.top);
        if ty.is_one_of(needed) {
            return Ok(ty);
        }
        demand(ty, needed, Place::Slot(self.length()), self.place(), self.results)
    }

    /// Reads a slot, whose value is of any kind.
    #[inline]
    pub(super) fn read(&mut self, slot: u16) -> Result<Type, Fault> {
        self.read_as(KindSet::ANY, slot)
    }

    /// Reads a slot, whose value is of one of the kinds `needed`.
    #[inline]
    pub(super) fn read_as(&mut self, needed: KindSet, slot: u16) -> Result<Type, Fault> {
        let index = self.locals + usize::from(slot);
        if index >= self.top {
            return Err(Fault::NoSlot { slot, length: self.length() });
        }
        let ty = self.get(index);
        if ty.is_one_of(needed) {
            return Ok(ty);
        }
        demand(ty, needed, Place::Slot(slot.into()), self.place(), self.results)
    }

    /// Reads a local, which the function has.
    #[inline]
    pub(super) fn local(&mut self, local: u16) -> Result<Type, Fault> {
        let index = usize::from(local);
        let ty = if index < self.locals { self.get(index) } else { Type::NIL };
        if ty.has_value() {
            return Ok(ty);
        }
        demand(ty, KindSet::ANY, Place::Local(local), self.place(), self.results)
    }

    /// Sets a local, which the scan has seen to be set.
    #[inline]
    pub(super) fn set_local(&mut self, local: u16, ty: Type) {
        if let Some(place) = self.types.get_mut(usize::from(local)) {
            *place = ty;
        }
    }

    /// The last two values, left and right.
    #[inline]
    fn last_two(&mut self) -> Result<&mut [Type; 2], Fault> {
        let left = self.top.wrapping_sub(2);
        let vector = self.types.get_mut(left..self.top).and_then(|two| two.first_chunk_mut());
        match vector {
            Some(two) if left >= self.locals => Ok(two),
            _ => Err(Fault::Underflow { needed: 2, length: length(self.top, self.locals) }),
        }
    }

    /// Pops `count` values of the kinds `needed`.
    #[inline]
    pub(super) fn pop_all(&mut self, count: u32, needed: KindSet) -> Result<(), Fault> {
        self.require(count)?;
        (0..count).try_for_each(|_| self.pop(needed).map(drop))
    }

    /// Pops two values of any type: left and right.
    #[inline]
    fn take_two(&mut self) -> Result<[Type; 2], Fault> {
        let types = *self.last_two()?;
        self.top -= 2;
        Ok(types)
    }

    /// Pops two values of the kind `needed`; where the result goes is for the caller to say.
    #[inline]
    pub(super) fn pop_two(&mut self, needed: Type) -> Result<(), Fault> {
        let types = self.take_two()?;
        if types == [needed; 2] {
            return Ok(());
        }
        let needed = needed.kind().unwrap_or(KindSet::ANY);
        demand_two(types, needed, self.length(), self.place(), self.results).map(drop)
    }

    /// Puts one value of the kind in place of two.
    #[inline]
    pub(super) fn combine_two(&mut self, kind: Type) -> Result<(), Fault> {
        let two = self.last_two()?;
        let types = core::mem::replace(two, [kind; 2]);
        self.top -= 1;
        if types == [kind; 2] {
            return Ok(());
        }
        let needed = kind.kind().unwrap_or(KindSet::ANY);
        demand_two(types, needed, self.length() - 1, self.place(), self.results).map(drop)
    }

    /// Pops two values that are compared, each of one of the kinds `needed`; gives their types unless
    /// both are i64.
    #[inline]
    fn pop_compared(&mut self, needed: KindSet) -> Result<Option<[Type; 2]>, Fault> {
        let types = self.take_two()?;
        if types == [Type::I64; 2] {
            return Ok(None);
        }
        let types = demand_two(types, needed, self.length(), self.place(), self.results)?;
        keep_compared(self.compared, types, offset(self.at))?;
        Ok(Some(types))
    }

    /// Pops two numbers that are compared.
    #[inline]
    pub(super) fn pop_ordered(&mut self) -> Result<(), Fault> {
        self.pop_compared(KindSet::NUMBER).map(drop)
    }

    /// Pops two values that are compared for equality.
    #[inline]
    pub(super) fn pop_equal(&mut self) -> Result<(), Fault> {
        match self.pop_compared(KindSet::ANY)? {
            Some(types) => equal(types, self.length(), self.place(), self.results),
            None => Ok(()),
        }
    }
}

/// The length of the vector behind so many locals.
#[inline]
fn length(top: usize, locals: usize) -> u32 {
    u32::try_from(top - locals).unwrap_or(u32::MAX)
}

#[cold]
fn replace(types: &mut Vec<Type>, others: &[Type]) -> Result<(), AllocError> {
    types.clear();
    try_reserve(types, others.len())?;
    types.extend_from_slice(others);
    Ok(())
}

/// Extends the vector, which ends at `from`, with nil up to `to`.
#[cold]
fn extend(types: &mut Vec<Type>, from: usize, to: usize) -> Result<(), AllocError> {
    let stale = types.len().min(to);
    types.get_mut(from..stale).unwrap_or_default().fill(Type::NIL);
    if types.len() < to { try_resize(types, to, Type::NIL) } else { Ok(()) }
}

/// Remembers a comparison of other values than two i64.
#[cold]
fn keep_compared(
    compared: &mut Vec<(u32, [Type; 2])>,
    types: [Type; 2],
    at: u32,
) -> Result<(), AllocError> {
    if types != [Type::I64; 2] {
        try_push(compared, (at, types))?;
    }
    Ok(())
}

/// Compares what has been popped from the positions `left` and the one above.
#[cold]
fn equal(
    types: [Type; 2],
    position: u32,
    at: (u32, u32),
    results: &mut Results,
) -> Result<(), Fault> {
    if types == [Type::I64; 2] {
        return Ok(());
    }
    let [left, right] = types;
    let compared = results.compare(left, right, at);
    let place = Place::Slot(position + u32::from(left.kind().is_some()));
    let needed = left.kind().or(right.kind()).map_or(KindSet::ANY, KindSet::comparable);
    compared.map_err(|unequal| fault(unequal, needed, place))
}

/// As [`demand`], of two values in the positions `left` and the one above.
#[cold]
fn demand_two(
    types: [Type; 2],
    needed: KindSet,
    left: u32,
    at: (u32, u32),
    results: &mut Results,
) -> Result<[Type; 2], Fault> {
    let [one, two] = types;
    let two = demand(two, needed, Place::Slot(left + 1), at, results)?;
    Ok([demand(one, needed, Place::Slot(left), at, results)?, two])
}

#[cold]
fn demand(
    ty: Type,
    needed: KindSet,
    found: Place,
    at: (u32, u32),
    results: &mut Results,
) -> Result<Type, Fault> {
    results.demand(ty, needed, at).map_err(|unequal| fault(unequal, needed, found))
}

fn fault(unequal: Unequal, needed: KindSet, place: Place) -> Fault {
    match unequal {
        Unequal::Mixed => Fault::Mixed { place },
        Unequal::Kind(found) => Fault::Kind { place, needed, found },
        Unequal::Clash(clash) => clash.into(),
        Unequal::OutOfMemory => Fault::OutOfMemory,
    }
}
