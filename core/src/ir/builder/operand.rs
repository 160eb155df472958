//! What the methods of the builder take: locals, labels, numbers, and entries of tables.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ir::function::CalleeKind;
use crate::ir::types::ValueType;

/// A local of the function that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local(pub(in crate::ir) u16);

impl Local {
    /// Its number, parameters first.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// A place among the instructions, which may be referred to before it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(pub(super) u32);

impl Label {
    pub(super) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A stack slot of the function that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(in crate::ir) u16);

/// Read-only data of the function that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data(pub(in crate::ir) u16);

/// The name of a file, of the function that is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileName(pub(super) u16);

/// A second operand: a local, or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value of a local.
    Local(Local),
    /// The number, in the type of the operation: integers wrap, floating-point numbers are rounded to the nearest.
    Number(i32),
}

impl From<Local> for Value {
    fn from(local: Local) -> Self {
        Self::Local(local)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

/// A type argument for another template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeArgument {
    /// A scalar, or a parameter of this template.
    Type(ValueType),
    /// A type with a name, and its own arguments.
    Named(String, Vec<TypeArgument>),
}

impl<T: Into<ValueType>> From<T> for TypeArgument {
    fn from(ty: T) -> Self {
        Self::Type(ty.into())
    }
}

/// A callee as a front end states it.
#[derive(Clone, Copy)]
pub(crate) struct NewCallee<'c> {
    pub(crate) kind: CalleeKind,
    /// Of an instance or a function of the host; empty for other kinds.
    pub(crate) name: &'c str,
    /// Of an instance.
    pub(crate) types: &'c [TypeArgument],
}
