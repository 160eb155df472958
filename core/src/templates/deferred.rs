//! The known facts about the types of a template, and why an object cannot be taken.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::error::{InstantiateError, InstantiateErrorKind, Reason};
use super::template_uses::UsageSite;
use crate::alloc_util::{AllocError, try_box};
use crate::extract::ExtractError;
use crate::link::Name;
use crate::types::{InferError, Type};

/// The known facts about the types of a template while its type arguments are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeferredHints {
    /// The name of the template.
    pub symbol: String,
    /// Its type parameters.
    pub type_vars: Vec<TypeVariable>,
    /// What is required of them.
    pub constraints: Vec<TypeConstraint>,
    /// Where the template is used, as the notes of all modules list it.
    pub usage_sites: Vec<UsageSite>,
}

/// A type parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeVariable {
    /// Its number, from 0.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its type if nothing else determines it.
    pub fallback: Option<Type>,
}

/// The kind of a [`TypeConstraint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// Both sides are the same type.
    Equals,
    /// The left side implements the trait on the right side.
    Implements,
}

impl fmt::Display for ConstraintKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equals => "equals",
            Self::Implements => "implements",
        })
    }
}

/// A requirement of a type parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeConstraint {
    /// The kind.
    pub kind: ConstraintKind,
    /// The type parameter.
    pub lhs: String,
    /// A type or the name of a trait.
    pub rhs: String,
    /// The place in the source that requires it.
    pub source_loc: Option<String>,
}

/// Why an object cannot be taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum TakeError {
    /// No loaded module has a template of this name.
    #[error("Symbol {symbol} is not a generic template")]
    NotATemplate { symbol: Name },
    /// The number of types differs from that of the type parameters.
    #[error("Type argument count mismatch: expected {expected}, got {found}")]
    ArgumentCount { expected: usize, found: usize },
    /// No caller and no note says anything about the types.
    #[error("No type hints available for inference of {symbol}")]
    NoHints { symbol: Name },
    /// The hints contradict each other, or do not suffice.
    #[error("Cannot infer type arguments for {symbol}: {error}")]
    CannotInfer { symbol: Name, error: Box<InferError> },
    /// The notes list uses of the template whose types differ. The text has those of two uses, with their places.
    #[error("Cannot infer type arguments for {symbol}: it is used {uses}")]
    DifferentUses { symbol: Name, uses: String },
    /// The type arguments are unknown, and templates must not be deferred.
    #[error("Cannot infer type arguments for {symbol}")]
    Unknown { symbol: Name },
    /// Templates must not be deferred.
    #[error("Deferred types not allowed for {symbol}")]
    Deferred { symbol: Name },
    /// The instance cannot be compiled.
    #[error("Template instantiation failed: {0}")]
    Instantiate(InstantiateError),
    /// The function cannot be extracted.
    #[error("{message}")]
    Extract { message: Reason },
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

impl TakeError {
    pub(super) fn not_a_template(symbol: &str) -> Self {
        Name::in_error(symbol.as_bytes(), |symbol| Self::NotATemplate { symbol })
    }

    pub(super) fn no_hints(symbol: &str) -> Self {
        Name::in_error(symbol.as_bytes(), |symbol| Self::NoHints { symbol })
    }

    pub(super) fn cannot_infer(symbol: &str, error: InferError) -> Self {
        match (Name::new(symbol.as_bytes()), try_box(error)) {
            (Ok(symbol), Ok(error)) => Self::CannotInfer { symbol, error },
            (Err(error), _) | (_, Err(error)) => error.into(),
        }
    }

    pub(super) fn extract(error: ExtractError<'_>) -> Self {
        Reason::new(error).map_or_else(Self::from, |message| Self::Extract { message })
    }
}

impl From<InstantiateError> for TakeError {
    fn from(error: InstantiateError) -> Self {
        if let InstantiateError::Failed(failure) = &error
            && let InstantiateErrorKind::Parameters { parameters, arguments, .. } = failure.kind
        {
            return Self::ArgumentCount { expected: parameters.into(), found: arguments };
        }
        Self::Instantiate(error)
    }
}
