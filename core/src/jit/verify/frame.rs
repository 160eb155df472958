//! An activation as the verifier sees it: the types of its locals and of its vector.

use alloc::vec::Vec;

use super::error::{Fault, Place};
use super::kind::{KindSet, Results, Type, Unequal};

/// The types of locals and vector at one place in the code.
///
/// Locals that the function never sets are not kept: what they are is known.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// The locals that are ever set, then the vector; what follows is stale.
    types: Vec<Type>,
    locals: usize,
    /// The length of the vector.
    pub(super) length: u32,
    /// The greatest length there was.
    pub(super) longest: u32,
    /// The function and the offset that are looked at.
    pub(super) place: (u32, u32),
    /// Where other values than two i64 are compared, with the types of left and right.
    pub(super) compared: Vec<(u32, [Type; 2])>,
}

impl Frame {
    /// The begin of a function with `params` parameters that sets `locals` locals, the parameters
    /// among them.
    pub(super) fn start(&mut self, params: u16, locals: u16) {
        self.types.clear();
        self.types.resize(params.into(), Type::I64);
        self.types.resize(locals.into(), Type::NIL);
        self.locals = locals.into();
        (self.length, self.longest) = (0, 0);
        self.compared.clear();
    }

    /// Puts the comparisons in the order of their offsets, each once.
    pub(super) fn sort_compared(&mut self) {
        self.compared.sort_unstable_by_key(|&(at, _)| at);
        self.compared.dedup_by_key(|&mut (at, _)| at);
    }

    /// Locals and vector.
    pub(super) fn types(&self) -> &[Type] {
        self.types.get(..self.index(self.length)).unwrap_or(&[])
    }

    /// Takes over what is known at a target.
    pub(super) fn load(&mut self, types: &[Type], length: u32) {
        self.length = length;
        let known = self.types.len().min(types.len());
        let (same, more) = types.split_at_checked(known).unwrap_or((types, &[]));
        if let Some(place) = self.types.get_mut(..known) {
            place.copy_from_slice(same);
        }
        self.types.extend_from_slice(more);
    }

    #[inline(always)]
    fn index(&self, position: u32) -> usize {
        self.locals + usize::try_from(position).unwrap_or(usize::MAX >> 1)
    }

    /// A type at a position of the vector that exists, or at any other when it does not.
    #[inline(always)]
    fn at(&self, position: u32) -> Type {
        self.types.get(self.index(position)).copied().unwrap_or(Type::MIXED)
    }

    #[inline(always)]
    pub(super) fn push(&mut self, ty: Type) {
        let index = self.index(self.length);
        match self.types.get_mut(index) {
            Some(place) => *place = ty,
            None => self.types.push(ty),
        }
        self.length += 1;
        self.longest = self.longest.max(self.length);
    }

    /// Writes a slot.
    #[inline(always)]
    pub(super) fn write(&mut self, slot: u16, ty: Type) {
        let position = u32::from(slot);
        if position >= self.length {
            self.extend(position + 1);
        }
        let index = self.index(position);
        if let Some(place) = self.types.get_mut(index) {
            *place = ty;
        }
    }

    /// Extends the vector with nil.
    fn extend(&mut self, length: u32) {
        let (from, to) = (self.index(self.length), self.index(length));
        let stale = self.types.len().min(to);
        self.types.get_mut(from..stale).unwrap_or_default().fill(Type::NIL);
        if self.types.len() < to {
            self.types.resize(to, Type::NIL);
        }
        self.length = length;
        self.longest = self.longest.max(length);
    }

    /// Whether there are `needed` values to be popped.
    #[inline(always)]
    pub(super) fn require(&self, needed: u32) -> Result<(), Fault> {
        let length = self.length;
        if length >= needed { Ok(()) } else { Err(Fault::Underflow { needed, length }) }
    }

    /// Pops a value of one of the kinds `needed`.
    #[inline(always)]
    pub(super) fn pop(&mut self, needed: KindSet, results: &mut Results) -> Result<Type, Fault> {
        self.require(1)?;
        self.length -= 1;
        let ty = self.at(self.length);
        if ty.is_one_of(needed) {
            return Ok(ty);
        }
        self.demand(ty, needed, Place::Slot(self.length), results)
    }

    /// Reads a slot, whose value is of any kind.
    #[inline(always)]
    pub(super) fn read(&mut self, slot: u16, results: &mut Results) -> Result<Type, Fault> {
        let (position, length) = (u32::from(slot), self.length);
        if position >= length {
            return Err(Fault::NoSlot { slot, length });
        }
        let ty = self.at(position);
        if ty.is_one_of(KindSet::ANY) {
            return Ok(ty);
        }
        self.demand(ty, KindSet::ANY, Place::Slot(position), results)
    }

    /// Reads a local, which the function has.
    #[inline(always)]
    pub(super) fn local(&mut self, local: u16, results: &mut Results) -> Result<Type, Fault> {
        let index = usize::from(local);
        let Some(&ty) = self.types.get(index).filter(|_| index < self.locals) else {
            return Ok(Type::NIL);
        };
        if ty.is_one_of(KindSet::ANY) {
            return Ok(ty);
        }
        self.demand(ty, KindSet::ANY, Place::Local(local), results)
    }

    /// Sets a local, which the scan has seen to be set.
    #[inline(always)]
    pub(super) fn set_local(&mut self, local: u16, ty: Type) {
        if let Some(place) = self.types.get_mut(usize::from(local)) {
            *place = ty;
        }
    }

    /// Pops two values; where the result goes is for the caller to say.
    #[inline(always)]
    pub(super) fn pop_two(&mut self, needed: KindSet, results: &mut Results) -> Result<(), Fault> {
        self.require(2)?;
        self.pop(needed, results)?;
        self.pop(needed, results)?;
        Ok(())
    }

    /// Pops two numbers that are compared.
    #[inline(always)]
    pub(super) fn pop_ordered(&mut self, results: &mut Results) -> Result<(), Fault> {
        self.require(2)?;
        let right = self.pop(KindSet::NUMBER, results)?;
        let left = self.pop(KindSet::NUMBER, results)?;
        if (left, right) != (Type::I64, Type::I64) {
            self.compared.push((self.place.1, [left, right]));
        }
        Ok(())
    }

    /// Pops two values that are compared for equality.
    #[inline(always)]
    pub(super) fn pop_equal(&mut self, results: &mut Results) -> Result<(), Fault> {
        self.require(2)?;
        let right = self.pop(KindSet::ANY, results)?;
        let left = self.pop(KindSet::ANY, results)?;
        if (left, right) == (Type::I64, Type::I64) {
            return Ok(());
        }
        self.compared.push((self.place.1, [left, right]));
        let place = Place::Slot(self.length + u32::from(left.kind().is_some()));
        let compared = results.compare(left, right, self.place);
        let needed = left.kind().or(right.kind()).map_or(KindSet::ANY, KindSet::comparable);
        compared.map_err(|unequal| fault(unequal, needed, place))
    }

    #[cold]
    fn demand(
        &mut self,
        ty: Type,
        needed: KindSet,
        place: Place,
        results: &mut Results,
    ) -> Result<Type, Fault> {
        results.demand(ty, needed, self.place).map_err(|unequal| fault(unequal, needed, place))
    }
}

fn fault(unequal: Unequal, needed: KindSet, place: Place) -> Fault {
    match unequal {
        Unequal::Mixed => Fault::Mixed { place },
        Unequal::Kind(found) => Fault::Kind { place, needed, found },
        Unequal::Clash(clash) => clash.into(),
    }
}
