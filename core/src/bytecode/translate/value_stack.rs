//! The operand stack during translation: each position has a value that is known, and the IR for it is emitted only
//! where it is needed.
//!
//! A variable is a local of the bytecode or a position of the operand stack. For each class of values it has one IR
//! local, its *home*; the locals of the bytecode are always in their homes. Invariants:
//!
//! 1. Positions below `tracked` are in their homes. At most [`WINDOW`] positions are tracked, which bounds the work of
//!    a merge and of a write.
//! 2. A tracked position may hold a [`Val::Copy`] of any home. Before a home is written, the copies of it in other
//!    positions are moved to temporaries ([`Body::protect`](super::Body::protect)).
//! 3. A temporary is written once. It does not outlive its block: where paths merge, all values are in their homes.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_reserve};
use crate::bytecode::verify::Kind;
use crate::ir::{Local, Scalar};

/// The most positions that are not in their homes.
pub(super) const WINDOW: usize = 64;

/// How values of a kind are represented in the IR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// i64: integers, and nil as 0.
    Int,
    /// f64.
    Float,
    /// bool.
    Bool,
}

impl Class {
    /// All of them, each at the index of its number.
    pub(super) const ALL: [Self; 3] = [Self::Int, Self::Float, Self::Bool];

    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            // A function with values of a kind that is not known is not compiled.
            Kind::I64 | Kind::Nil | Kind::Value => Self::Int,
            Kind::F64 => Self::Float,
            Kind::Bool => Self::Bool,
        }
    }

    /// The type of its values in the IR.
    pub(super) fn scalar(self) -> Scalar {
        match self {
            Self::Int => Scalar::I64,
            Self::Float => Scalar::F64,
            Self::Bool => Scalar::Bool,
        }
    }
}

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Val {
    /// These bits.
    Const(Class, u64),
    /// In a temporary.
    Temp(Class, Local),
    /// In the home of a local of the bytecode.
    Copy(Class, Local),
    /// In the home of a position, not necessarily of the one that has this value.
    Slot(Class, Local),
}

impl Val {
    /// 0, which is also nil.
    pub(super) const ZERO: Self = Self::Const(Class::Int, 0);

    pub(super) fn class(self) -> Class {
        match self {
            Self::Const(class, _)
            | Self::Temp(class, _)
            | Self::Copy(class, _)
            | Self::Slot(class, _) => class,
        }
    }

    /// The IR local that holds it.
    pub(super) fn local(self) -> Option<Local> {
        match self {
            Self::Const(..) => None,
            Self::Temp(_, local) | Self::Copy(_, local) | Self::Slot(_, local) => Some(local),
        }
    }

    /// The integer that it is, if it is a constant.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Const(_, bits) => Some(bits.cast_signed()),
            _ => None,
        }
    }
}

/// The values of the operand stack.
#[derive(Debug, Default)]
pub(super) struct ValueStack {
    values: Vec<Val>,
    /// The first position that may not be in its home.
    tracked: usize,
    /// Whether a position may hold a copy of the home of another one.
    pub(super) has_slot_copies: bool,
}

impl ValueStack {
    /// Starts with an empty stack that will not be deeper than this.
    pub(super) fn start(&mut self, max_depth: usize) -> Result<(), AllocError> {
        self.clear();
        try_reserve(&mut self.values, max_depth)
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        (self.tracked, self.has_slot_copies) = (0, false);
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The positions that may not be in their homes.
    #[inline]
    pub(super) fn tracked(&self) -> core::ops::Range<usize> {
        self.tracked..self.values.len()
    }

    /// States that all positions are in their homes.
    pub(super) fn all_home(&mut self) {
        (self.tracked, self.has_slot_copies) = (self.values.len(), false);
    }

    /// The value of a position, which the verifier has shown to exist.
    #[inline]
    pub(super) fn get(&self, position: usize) -> Val {
        self.values.get(position).copied().unwrap_or(Val::ZERO)
    }

    /// Replaces the value of a tracked position.
    #[inline]
    pub(super) fn set(&mut self, position: usize, value: Val) {
        self.has_slot_copies |= matches!(value, Val::Slot(..));
        if let Some(place) = self.values.get_mut(position) {
            *place = value;
        }
    }

    /// States that a position is in its home `home`.
    pub(super) fn set_home(&mut self, position: usize, home: Val) {
        if let Some(place) = self.values.get_mut(position) {
            *place = home;
        }
    }

    /// Tracks a position and those above it; whether they are few enough.
    pub(super) fn track(&mut self, position: usize) -> bool {
        if position < self.tracked && self.values.len() - position > WINDOW {
            return false;
        }
        self.tracked = self.tracked.min(position);
        true
    }

    /// Appends a value; whether as many positions are tracked as may be.
    #[inline]
    pub(super) fn push(&mut self, value: Val) -> bool {
        self.has_slot_copies |= matches!(value, Val::Slot(..));
        self.values.push(value);
        self.values.len() - self.tracked >= WINDOW
    }

    /// Appends a value that is in its home.
    pub(super) fn push_home(&mut self, home: Val) {
        self.values.push(home);
        self.tracked = self.values.len();
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Val {
        let value = self.values.pop().unwrap_or(Val::ZERO);
        self.tracked = self.tracked.min(self.values.len());
        value
    }
}
