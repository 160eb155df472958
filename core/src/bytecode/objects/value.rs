//! Values with their kinds.

use crate::trap::bytecode::{ValueError, ValueKind};

/// An object of a host; the host alone gives the number a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ObjectHandle(pub u64);

/// A value with its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value {
    /// No information.
    #[default]
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    I64(i64),
    /// A float.
    F64(f64),
    /// A function of the program, by its index.
    Function(u32),
    /// An object.
    Object(ObjectHandle),
}

impl Value {
    /// The kind; [`ValueKind::Object`] for every object.
    pub const fn kind(self) -> ValueKind {
        match self {
            Value::Nil => ValueKind::Nil,
            Value::Bool(_) => ValueKind::Bool,
            Value::I64(_) => ValueKind::I64,
            Value::F64(_) => ValueKind::F64,
            Value::Function(_) => ValueKind::Function,
            Value::Object(_) => ValueKind::Object,
        }
    }

    /// The error of an operation that takes another kind.
    pub const fn wrong_kind(self, needed: ValueKind) -> ValueError {
        ValueError::WrongKind { needed, found: self.kind() }
    }

    /// The integer.
    ///
    /// # Errors
    /// [`ValueError::WrongKind`].
    pub const fn as_i64(self) -> Result<i64, ValueError> {
        if let Value::I64(value) = self { Ok(value) } else { Err(self.wrong_kind(ValueKind::I64)) }
    }

    /// The float.
    ///
    /// # Errors
    /// [`ValueError::WrongKind`].
    pub const fn as_f64(self) -> Result<f64, ValueError> {
        if let Value::F64(value) = self { Ok(value) } else { Err(self.wrong_kind(ValueKind::F64)) }
    }

    /// The truth value.
    ///
    /// # Errors
    /// [`ValueError::WrongKind`].
    pub const fn as_bool(self) -> Result<bool, ValueError> {
        if let Value::Bool(value) = self {
            Ok(value)
        } else {
            Err(self.wrong_kind(ValueKind::Bool))
        }
    }

    /// The object.
    ///
    /// # Errors
    /// [`ValueError::WrongKind`].
    pub const fn as_object(self) -> Result<ObjectHandle, ValueError> {
        match self {
            Value::Object(object) => Ok(object),
            other => Err(other.wrong_kind(ValueKind::Object)),
        }
    }
}
