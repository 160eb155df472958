//! Kinds of values, and what is known of the results of functions that have not been looked at yet.
//!
//! Inside the verifier a value has a [`Type`]: a kind; *mixed*, when two paths disagree; the result of
//! a function whose result is not known yet; or *either* of two types of which one is such a result.
//! What is read has a kind: reading a mixed value is an error, reading *either* demands that both are
//! the same.
//!
//! Demands on unknown results are settled at once, by unification: each function is in a class, and a
//! class has the set of kinds that its results may still be of. Returning the result of another function
//! joins their classes. A program is accepted exactly when there is one kind for each function that
//! satisfies everything that is asked of it; of a function that never returns, every kind is true.

use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{AllocError, try_push, try_reserve};

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An integer of 64 bits.
    I64,
    /// A float of 64 bits, kept as its bits.
    F64,
    /// 0 or 1.
    Bool,
    /// No information; 0.
    Nil,
    /// A value whose kind is known at run time alone, in functions that work on objects.
    Value,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::I64 => "i64",
            Kind::F64 => "f64",
            Kind::Bool => "bool",
            Kind::Nil => "nil",
            Kind::Value => "value",
        })
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KindSet(u8);

impl KindSet {
    pub(super) const I64: Self = Self(1);
    pub(super) const BOOL: Self = Self(4);
    pub(super) const NIL: Self = Self(8);
    pub(super) const VALUE: Self = Self(16);
    pub(super) const NUMBER: Self = Self(3);
    pub(super) const ANY: Self = Self(15);

    /// The kinds in the set.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        let all = [Kind::I64, Kind::F64, Kind::Bool, Kind::Nil, Kind::Value];
        all.into_iter().filter(move |&kind| self.0 & Self::from(kind).0 != 0)
    }

    /// The one kind in the set; `None` when there are more, or none.
    pub fn single(self) -> Option<Kind> {
        if self.0.count_ones() == 1 { self.iter().next() } else { None }
    }

    /// Whether two values may be tested for equality of which one is in the set and the other of
    /// `kind`.
    pub(super) const fn comparable(kind: KindSet) -> KindSet {
        if kind.0 & Self::NUMBER.0 != 0 { Self::NUMBER } else { kind }
    }
}

/// The set of this kind alone.
impl From<Kind> for KindSet {
    fn from(kind: Kind) -> Self {
        Self(1 << kind as u8)
    }
}

impl fmt::Display for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, kind) in self.iter().enumerate() {
            write!(f, "{}{kind}", if number == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}

/// What the verifier knows of a value, in 4 bytes: 0 is mixed, 1, 2, 4, 8, 16 are kinds; from 32 on, even
/// numbers are results of functions and odd ones number the pairs of [`Results::eithers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Type(u32);

const SYMBOLS: u32 = 32;

/// How many functions a program may have.
pub(super) const MAX_FUNCTIONS: u32 = 1 << 30;

impl Type {
    pub(super) const MIXED: Self = Self(0);
    pub(super) const I64: Self = Self(1);
    pub(super) const F64: Self = Self(2);
    pub(super) const BOOL: Self = Self(4);
    pub(super) const NIL: Self = Self(8);
    /// What is accepted wherever it is read, and checked at run time.
    pub(super) const VALUE: Self = Self(16);

    /// Whether it is surely not nil.
    #[inline]
    pub(super) const fn has_value(self) -> bool {
        self.0 != 0 && self.0 < Self::NIL.0
    }

    /// The set of its kind; `None` when it is not a kind.
    #[inline]
    pub(super) const fn kind(self) -> Option<KindSet> {
        if self.0 != 0 && self.0 < SYMBOLS { Some(KindSet(self.0 as u8)) } else { None }
    }

    /// Whether it is a kind, and one of these.
    #[inline]
    pub(super) const fn is_one_of(self, kinds: KindSet) -> bool {
        self.0 < SYMBOLS && self.0 & kinds.0 as u32 != 0
    }

    /// Whether two lists of the same length are the same.
    #[inline]
    pub(super) fn all_equal(left: &[Self], right: &[Self]) -> bool {
        // One by one, because most lists are short.
        left.iter().zip(right).all(|(left, right)| left.0 == right.0)
    }

    pub(super) const fn of(set: KindSet) -> Self {
        Self(set.0 as u32)
    }

    /// The result of a function.
    const fn result(function: u32) -> Self {
        Self(SYMBOLS + (function << 1))
    }

    /// The function whose result it is.
    const fn function(self) -> Option<u32> {
        if self.0 >= SYMBOLS && self.0 & 1 == 0 { Some((self.0 - SYMBOLS) >> 1) } else { None }
    }

    const fn either(self) -> Option<u32> {
        if self.0 >= SYMBOLS && self.0 & 1 == 1 { Some((self.0 - SYMBOLS) >> 1) } else { None }
    }
}

/// What a function's result is taken for, against what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clash {
    /// The function.
    pub(super) function: u32,
    /// What its result may be of after all that has been seen.
    pub(super) known: KindSet,
    /// Where that was seen last: function and offset.
    pub(super) place: (u32, u32),
    /// What it would have to be.
    pub(super) needed: KindSet,
}

/// A class of functions whose results are of one kind.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// Another function of the class, on the way to the one that speaks for it, or the function
    /// itself.
    parent: u32,
    /// The kinds that are left.
    kinds: KindSet,
    /// Where they were narrowed last: function and offset.
    place: (u32, u32),
}

/// Two results, neither of them known, that are compared for equality.
#[derive(Clone, Copy, Debug)]
struct Compared {
    left: u32,
    right: u32,
    place: (u32, u32),
}

/// The results of all functions.
#[derive(Debug, Default)]
pub(super) struct Results {
    classes: Vec<Class>,
    eithers: Vec<(Type, Type)>,
    compared: Vec<Compared>,
}

impl Results {
    /// Forgets everything and starts with `count` functions.
    pub(super) fn reset(&mut self, count: u32) -> Result<(), AllocError> {
        self.classes.clear();
        self.eithers.clear();
        self.compared.clear();
        let class = |parent| Class { parent, kinds: KindSet::ANY, place: (parent, 0) };
        try_reserve(&mut self.classes, usize::try_from(count).unwrap_or(usize::MAX))?;
        self.classes.extend((0..count).map(class));
        Ok(())
    }

    /// Forgets what either of two types is; no state may refer to it any more.
    pub(super) fn forget_eithers(&mut self) {
        self.eithers.clear();
    }

    fn find(&mut self, mut function: u32) -> u32 {
        loop {
            let parent = self.parent(function);
            if parent == function {
                return function;
            }
            let next = self.parent(parent);
            if let Some(class) = self.class_mut(function) {
                class.parent = next;
            }
            function = next;
        }
    }

    fn class_mut(&mut self, function: u32) -> Option<&mut Class> {
        self.classes.get_mut(usize::try_from(function).ok()?)
    }

    fn parent(&self, function: u32) -> u32 {
        let class = usize::try_from(function).ok().and_then(|index| self.classes.get(index));
        class.map_or(function, |class| class.parent)
    }

    /// The kinds that the result of a function may be of.
    pub(super) fn kinds(&mut self, function: u32) -> KindSet {
        let root = self.find(function);
        self.class_mut(root).map_or(KindSet::ANY, |class| class.kinds)
    }

    /// The result of a function, as far as it is known.
    #[inline]
    pub(super) fn of(&mut self, function: u32) -> Type {
        let kinds = self.kinds(function);
        if kinds.single().is_some() { Type::of(kinds) } else { Type::result(self.find(function)) }
    }

    /// The kind, when it is known by now.
    pub(super) fn settle(&mut self, ty: Type) -> Type {
        match ty.function() {
            Some(function) => self.of(function),
            None => ty,
        }
    }

    /// Demands that the result of `function` is of one of the kinds `needed`.
    pub(super) fn narrow(
        &mut self,
        function: u32,
        needed: KindSet,
        place: (u32, u32),
    ) -> Result<(), Clash> {
        let root = self.find(function);
        let Some(class) = self.class_mut(root) else { return Ok(()) };
        let left = KindSet(class.kinds.0 & needed.0);
        if left.0 == 0 {
            return Err(Clash { function, known: class.kinds, place: class.place, needed });
        }
        if left != class.kinds {
            (class.kinds, class.place) = (left, place);
        }
        Ok(())
    }

    /// Demands that the result of `function` is of the type `ty`, which is no pair.
    pub(super) fn returns(
        &mut self,
        function: u32,
        ty: Type,
        place: (u32, u32),
    ) -> Result<(), Clash> {
        if let Some(kinds) = ty.kind() {
            return self.narrow(function, kinds, place);
        }
        let Some(other) = ty.function() else { return Ok(()) };
        let (root, joined) = (self.find(function), self.find(other));
        let kinds = self.kinds(joined);
        self.narrow(root, kinds, place).map_err(|clash| Clash { function, ..clash })?;
        if let Some(class) = self.class_mut(joined) {
            class.parent = root;
        }
        Ok(())
    }

    /// Demands that two types, neither a pair, are the same and gives it.
    fn equate(&mut self, left: Type, right: Type, place: (u32, u32)) -> Result<Type, Unequal> {
        let (left, right) = (self.settle(left), self.settle(right));
        match (left.function(), right.function()) {
            (None, None) if left == right => Ok(left),
            (None, None) => Err(Unequal::Mixed),
            (Some(function), _) => {
                self.returns(function, right, place).map_err(Unequal::Clash)?;
                Ok(self.settle(left))
            }
            (None, Some(function)) => {
                self.returns(function, left, place).map_err(Unequal::Clash)?;
                Ok(left)
            }
        }
    }

    /// What a value is that is read: a kind, or the result of a function.
    pub(super) fn read(&mut self, ty: Type, place: (u32, u32)) -> Result<Type, Unequal> {
        let (mut rest, last) = self.split(ty);
        let mut found = self.settle(last);
        while let Some(older) = rest {
            let last;
            (rest, last) = self.split(older);
            found = self.equate(last, found, place)?;
        }
        if found == Type::MIXED { Err(Unequal::Mixed) } else { Ok(found) }
    }

    /// A type that is no pair, and what else it may be.
    fn split(&self, ty: Type) -> (Option<Type>, Type) {
        match ty.either().and_then(|number| self.pair(number)) {
            Some((older, last)) => (Some(older), last),
            None => (None, ty),
        }
    }

    fn pair(&self, number: u32) -> Option<(Type, Type)> {
        self.eithers.get(usize::try_from(number).ok()?).copied()
    }

    /// Demands that a value that is read is of one of the kinds `needed`.
    pub(super) fn demand(
        &mut self,
        ty: Type,
        needed: KindSet,
        place: (u32, u32),
    ) -> Result<Type, Unequal> {
        let ty = self.read(ty, place)?;
        if let Some(kind) = ty.kind() {
            let is_accepted = kind.0 & (needed.0 | KindSet::VALUE.0) != 0;
            return if is_accepted { Ok(ty) } else { Err(Unequal::Kind(kind)) };
        }
        if let Some(function) = ty.function() {
            self.narrow(function, needed, place).map_err(Unequal::Clash)?;
        }
        Ok(self.settle(ty))
    }

    /// What a position is where two paths meet. The number says how many types were looked at.
    pub(super) fn join(&mut self, old: Type, new: Type) -> Result<(Type, usize), AllocError> {
        let (mut joined, mut rest, mut looked_at) = (old, new, 1);
        loop {
            if joined == rest || joined == Type::MIXED {
                return Ok((joined, looked_at));
            }
            let (older, last) = self.split(rest);
            let last = self.settle(last);
            joined = self.add(joined, last, &mut looked_at)?;
            match older {
                Some(older) => rest = older,
                None => return Ok((joined, looked_at)),
            }
        }
    }

    /// `types`, which may be pairs, with one that is no pair.
    fn add(&mut self, types: Type, new: Type, looked_at: &mut usize) -> Result<Type, AllocError> {
        let mut rest = Some(types);
        while let Some(ty) = rest {
            *looked_at += 1;
            let (older, last) = self.split(ty);
            let last = self.settle(last);
            if last == new {
                return Ok(types);
            }
            let differ = last.kind().is_some() && new.kind().is_some();
            if differ || last == Type::MIXED || new == Type::MIXED {
                return Ok(Type::MIXED);
            }
            rest = older;
        }
        let number = u32::try_from(self.eithers.len()).unwrap_or(u32::MAX);
        if number >= MAX_FUNCTIONS {
            return Ok(Type::MIXED);
        }
        try_push(&mut self.eithers, (types, new))?;
        Ok(Type(SYMBOLS + (number << 1) + 1))
    }

    /// Compares two values for equality.
    pub(super) fn compare(
        &mut self,
        left: Type,
        right: Type,
        place: (u32, u32),
    ) -> Result<(), Unequal> {
        match (left.kind(), right.kind()) {
            (Some(KindSet::VALUE), Some(_)) | (Some(_), Some(KindSet::VALUE)) => Ok(()),
            (Some(kind), _) => self.demand(right, KindSet::comparable(kind), place).map(drop),
            (_, Some(kind)) => self.demand(left, KindSet::comparable(kind), place).map(drop),
            _ => {
                if let (Some(left), Some(right)) = (left.function(), right.function()) {
                    let compared = try_push(&mut self.compared, Compared { left, right, place });
                    compared.map_err(|AllocError| Unequal::OutOfMemory)?;
                }
                Ok(())
            }
        }
    }

    /// Checks what was compared before its kinds were known, once all functions have been seen.
    pub(super) fn finish(&mut self) -> Result<(), ((u32, u32), Clash)> {
        for Compared { left, right, place } in core::mem::take(&mut self.compared) {
            // Of those that are not known even now, none ever returns.
            let (one, other) = if self.kinds(left).single().is_some() {
                (self.kinds(left), right)
            } else {
                (self.kinds(right), left)
            };
            if one.single().is_some() {
                let needed = KindSet::comparable(one);
                self.narrow(other, needed, place).map_err(|clash| (place, clash))?;
            }
        }
        Ok(())
    }

    /// The kind of a function's result, once all functions have been seen. What never returns gives
    /// nil, unless it is taken for something else.
    pub(super) fn resolve(&mut self, function: u32) -> Kind {
        let kinds = self.kinds(function);
        let nil = kinds.0 & KindSet::NIL.0 != 0;
        if nil { Kind::Nil } else { kinds.iter().next().unwrap_or(Kind::Nil) }
    }
}

/// Why a value cannot be read as what it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unequal {
    /// Paths meet that left different kinds.
    Mixed,
    /// It is of this kind.
    Kind(KindSet),
    /// It is the result of a function whose result is of another kind.
    Clash(Clash),
    /// There is no memory to remember that it must be.
    OutOfMemory,
}
