//! An activation as the verifier sees it: the types of its locals and of its vector.

use alloc::vec::Vec;

use super::error::{Fault, Place};
use super::kind::{KindSet, Results, Type, Unequal};
use super::scan::Scan;
use super::uses::Uses;
use crate::sort::sort_by_key;

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
    /// The begin of a function with `params` parameters that sets `locals` locals, the parameters
    /// among them.
    pub(super) fn start<'f>(&'f mut self, params: u16, locals: u16, code: Code<'f>) -> State<'f> {
        self.types.clear();
        self.types.resize(params.into(), Type::I64);
        self.types.resize(locals.into(), Type::NIL);
        self.locals = locals.into();
        self.compared.clear();
        let Self { types, locals, compared } = self;
        State { types, locals: *locals, top: *locals, compared, code }
    }

    /// The greatest length that the vector had.
    pub(super) fn longest(&self) -> u32 {
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
    compared: &'f mut Vec<(u32, [Type; 2])>,
    code: Code<'f>,
}

/// The number of an instruction in its function. Most instructions have nothing to say, so that where
/// they stand is looked up when it is asked for.
pub(super) type At = u32;

/// The function whose instructions are looked at.
#[derive(Clone, Copy)]
pub(super) struct Code<'s> {
    pub(super) index: u32,
    pub(super) scan: &'s Scan,
}

impl Code<'_> {
    /// The function, and the offset of an instruction.
    pub(super) fn place(self, at: At) -> (u32, u32) {
        (self.index, self.scan.offset_of(usize::try_from(at).unwrap_or(usize::MAX)))
    }
}

impl State<'_> {
    /// Locals and vector.
    #[inline(always)]
    pub(super) fn types(&self) -> &[Type] {
        self.types.get(..self.top).unwrap_or(&[])
    }

    /// The length of the vector.
    #[inline(always)]
    pub(super) fn length(&self) -> u32 {
        u32::try_from(self.top - self.locals).unwrap_or(u32::MAX)
    }

    /// Takes over what is known at a target.
    #[inline(always)]
    pub(super) fn load(&mut self, types: &[Type]) {
        self.top = types.len();
        replace(self.types, types);
    }

    /// A type in the vector or a local.
    #[inline(always)]
    fn get(&self, index: usize) -> Type {
        self.types.get(index).copied().unwrap_or(Type::MIXED)
    }

    #[inline(always)]
    pub(super) fn push(&mut self, ty: Type) {
        match self.types.get_mut(self.top) {
            Some(place) => *place = ty,
            None => self.types.push(ty),
        }
        self.top += 1;
    }

    /// Writes a slot.
    #[inline(always)]
    pub(super) fn write(&mut self, slot: u16, ty: Type) {
        let index = self.locals + usize::from(slot);
        if index == self.top {
            return self.push(ty);
        }
        if index > self.top {
            extend(self.types, self.top, index + 1);
            self.top = index + 1;
        }
        if let Some(place) = self.types.get_mut(index) {
            *place = ty;
        }
    }

    /// Whether there are `needed` values to be popped.
    #[inline(always)]
    pub(super) fn require(&self, needed: u16) -> Result<(), Fault> {
        if self.top - self.locals >= usize::from(needed) {
            return Ok(());
        }
        Err(Fault::Underflow { needed: needed.into(), length: self.length() })
    }

    /// Pops a value of one of the kinds `needed`.
    #[inline(always)]
    pub(super) fn pop(
        &mut self,
        needed: KindSet,
        results: &mut Results,
        at: At,
    ) -> Result<Type, Fault> {
        self.require(1)?;
        self.top -= 1;
        let ty = self.get(self.top);
        if ty.is_one_of(needed) {
            return Ok(ty);
        }
        demand(ty, needed, Place::Slot(self.length()), results, (at, self.code))
    }

    /// Reads a slot, whose value is of any kind.
    #[inline(always)]
    pub(super) fn read(&mut self, slot: u16, results: &mut Results, at: At) -> Result<Type, Fault> {
        let index = self.locals + usize::from(slot);
        if index >= self.top {
            return Err(Fault::NoSlot { slot, length: self.length() });
        }
        let ty = self.get(index);
        if ty.is_one_of(KindSet::ANY) {
            return Ok(ty);
        }
        demand(ty, KindSet::ANY, Place::Slot(slot.into()), results, (at, self.code))
    }

    /// Reads a local, which the function has.
    #[inline(always)]
    pub(super) fn local(
        &mut self,
        local: u16,
        uses: &mut Uses,
        results: &mut Results,
        at: At,
    ) -> Result<Type, Fault> {
        let index = usize::from(uses.local(local));
        let ty = if index < self.locals { self.get(index) } else { Type::NIL };
        if ty.has_value() {
            return Ok(ty);
        }
        uses.nil_locals = true;
        demand(ty, KindSet::ANY, Place::Local(local), results, (at, self.code))
    }

    /// Sets a local, which the scan has seen to be set.
    #[inline(always)]
    pub(super) fn set_local(&mut self, local: u16, ty: Type) {
        if let Some(place) = self.types.get_mut(usize::from(local)) {
            *place = ty;
        }
    }

    /// Pops two values of any type: left and right.
    #[inline(always)]
    fn take_two(&mut self) -> Result<[Type; 2], Fault> {
        let vector = self.types.get(self.locals..self.top).unwrap_or(&[]);
        let &[.., left, right] = vector else {
            return Err(Fault::Underflow { needed: 2, length: self.length() });
        };
        self.top -= 2;
        Ok([left, right])
    }

    /// Pops two values of the kind `needed`; where the result goes is for the caller to say.
    #[inline(always)]
    pub(super) fn pop_two(
        &mut self,
        needed: Type,
        results: &mut Results,
        at: At,
    ) -> Result<(), Fault> {
        let types = self.take_two()?;
        if types == [needed; 2] {
            return Ok(());
        }
        let needed = needed.kind().unwrap_or(KindSet::ANY);
        demand_two(types, needed, self.length(), results, (at, self.code)).map(drop)
    }

    /// Pops two values that are compared, each of one of the kinds `needed`; gives their types unless
    /// both are i64.
    #[inline(always)]
    fn pop_compared(
        &mut self,
        needed: KindSet,
        results: &mut Results,
        at: At,
    ) -> Result<Option<[Type; 2]>, Fault> {
        let types = self.take_two()?;
        if types == [Type::I64; 2] {
            return Ok(None);
        }
        let place = (at, self.code);
        let types = demand_two(types, needed, self.length(), results, place)?;
        keep_compared(self.compared, types, place);
        Ok(Some(types))
    }

    /// Pops two numbers that are compared.
    #[inline(always)]
    pub(super) fn pop_ordered(&mut self, results: &mut Results, at: At) -> Result<(), Fault> {
        self.pop_compared(KindSet::NUMBER, results, at).map(drop)
    }

    /// Pops two values that are compared for equality.
    #[inline(always)]
    pub(super) fn pop_equal(&mut self, results: &mut Results, at: At) -> Result<(), Fault> {
        match self.pop_compared(KindSet::ANY, results, at)? {
            Some(types) => equal(types, self.length(), results, (at, self.code)),
            None => Ok(()),
        }
    }
}

/// An instruction that has something to say, and its function.
type Where<'s> = (At, Code<'s>);

/// Puts other types at the begin.
#[inline(never)]
fn replace(types: &mut Vec<Type>, begin: &[Type]) {
    let known = types.len().min(begin.len());
    let (same, more) = begin.split_at_checked(known).unwrap_or((begin, &[]));
    if let Some(place) = types.get_mut(..known) {
        place.copy_from_slice(same);
    }
    types.extend_from_slice(more);
}

/// Extends the vector, which ends at `from`, with nil up to `to`.
#[cold]
fn extend(types: &mut Vec<Type>, from: usize, to: usize) {
    let stale = types.len().min(to);
    types.get_mut(from..stale).unwrap_or_default().fill(Type::NIL);
    if types.len() < to {
        types.resize(to, Type::NIL);
    }
}

/// Remembers a comparison of other values than two i64.
#[cold]
fn keep_compared(compared: &mut Vec<(u32, [Type; 2])>, types: [Type; 2], (at, code): Where<'_>) {
    if types != [Type::I64; 2] {
        let (_, offset) = code.place(at);
        compared.push((offset, types));
    }
}

/// Compares what has been popped from the positions `left` and the one above.
#[cold]
fn equal(
    types: [Type; 2],
    position: u32,
    results: &mut Results,
    (at, code): Where<'_>,
) -> Result<(), Fault> {
    if types == [Type::I64; 2] {
        return Ok(());
    }
    let [left, right] = types;
    let place = Place::Slot(position + u32::from(left.kind().is_some()));
    let compared = results.compare(left, right, code.place(at));
    let needed = left.kind().or(right.kind()).map_or(KindSet::ANY, KindSet::comparable);
    compared.map_err(|unequal| fault(unequal, needed, place))
}

/// As [`demand`], of two values in the positions `left` and the one above.
#[cold]
fn demand_two(
    types: [Type; 2],
    needed: KindSet,
    left: u32,
    results: &mut Results,
    at: Where<'_>,
) -> Result<[Type; 2], Fault> {
    let [one, two] = types;
    let two = demand(two, needed, Place::Slot(left + 1), results, at)?;
    Ok([demand(one, needed, Place::Slot(left), results, at)?, two])
}

#[cold]
fn demand(
    ty: Type,
    needed: KindSet,
    place: Place,
    results: &mut Results,
    (at, code): Where<'_>,
) -> Result<Type, Fault> {
    results.demand(ty, needed, code.place(at)).map_err(|unequal| fault(unequal, needed, place))
}

fn fault(unequal: Unequal, needed: KindSet, place: Place) -> Fault {
    match unequal {
        Unequal::Mixed => Fault::Mixed { place },
        Unequal::Kind(found) => Fault::Kind { place, needed, found },
        Unequal::Clash(clash) => clash.into(),
    }
}
