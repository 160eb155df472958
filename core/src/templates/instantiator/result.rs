//! What becomes of a wish for an instance.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::alloc_util::{AllocError, try_box, try_collect};
use crate::link::ShortName;
use crate::templates::error::{InstantiateError, UpdateError};
use crate::templates::instance_table::Instance;
use crate::templates::state::Symbol;

/// Why an instance was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The symbol that was asked for.
    pub symbol: Symbol,
    /// The instance that it needs and that is where it failed; `None` when that is itself.
    pub needed: Option<ShortName>,
    /// Why.
    pub error: InstantiateError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot make `{}`: ", self.symbol.escape_ascii())?;
        if let Some(needed) = self.needed {
            write!(f, "`{needed}`, which it needs: ")?;
        }
        self.error.fmt(f)
    }
}

/// What became of a wish for an instance.
#[derive(Clone, Debug)]
pub enum JitResult {
    /// It is there, made now or before.
    Success(Instance),
    /// No loaded module says how to make it.
    NotFound {
        /// What was asked for.
        symbol: Symbol,
    },
    /// It needs itself before it is there.
    CircularDependency {
        /// The instances of the circle in the order in which each needs the next, the first one again
        /// at the end.
        cycle: Vec<Symbol>,
    },
    /// It could not be made.
    CompilationError(Box<Failure>),
    /// The allocator has refused memory before anything was begun, or for saying what failed. It may be
    /// tried again.
    AllocError,
    /// It is there and can be used, but its module was not told.
    UpdateFailed {
        /// The instance.
        instance: Instance,
        /// Why not.
        error: UpdateError,
    },
}

impl JitResult {
    /// That a symbol cannot be made.
    #[cold]
    #[inline(never)]
    pub(in crate::templates) fn failed(
        symbol: Symbol,
        needed: Option<ShortName>,
        error: InstantiateError,
    ) -> Self {
        try_box(Failure { symbol, needed, error }).map_or(Self::AllocError, Self::CompilationError)
    }

    /// That nobody knows of a symbol.
    pub(super) fn not_found(symbol: &[u8]) -> Self {
        Symbol::of(symbol).map_or(Self::AllocError, |symbol| Self::NotFound { symbol })
    }

    /// A failure once more.
    pub(in crate::templates) fn copy(&self) -> Result<Self, AllocError> {
        Ok(match self {
            Self::CompilationError(failure) => {
                Self::CompilationError(try_box(Failure::clone(failure))?)
            }
            Self::CircularDependency { cycle } => {
                Self::CircularDependency { cycle: try_collect(cycle.iter().cloned())? }
            }
            // Nothing to be copied but owners.
            other => other.clone(),
        })
    }

    /// Whether it is there, and its module was told if it was to be.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Success(_))
    }

    /// Whether something went wrong; that nobody knows of it is not that.
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::Success(_) | Self::NotFound { .. })
    }

    /// The instance, if there is one.
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::Success(instance) | Self::UpdateFailed { instance, .. } => Some(instance),
            _ => None,
        }
    }

    /// Whether asking again would end in the same way, as long as the modules stay as they are.
    pub(in crate::templates) fn is_lasting(&self) -> bool {
        use InstantiateError as E;
        match self {
            Self::CircularDependency { .. } => true,
            Self::CompilationError(failure) => !matches!(
                failure.error,
                E::Depth { .. } | E::Exec(_) | E::OutOfMemory | E::Abandoned | E::Missing { .. }
            ),
            _ => false,
        }
    }
}

impl fmt::Display for JitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success(instance) => write!(f, "{instance:?}"),
            Self::NotFound { symbol } => {
                write!(f, "no module says how to make `{}`", symbol.escape_ascii())
            }
            Self::CircularDependency { cycle } => {
                f.write_str("instances need each other in a circle: ")?;
                for (index, symbol) in cycle.iter().enumerate() {
                    write!(
                        f,
                        "{}`{}`",
                        if index == 0 { "" } else { " -> " },
                        symbol.escape_ascii()
                    )?;
                }
                Ok(())
            }
            Self::CompilationError(failure) => failure.fmt(f),
            Self::AllocError => f.write_str("the allocator has no memory left"),
            Self::UpdateFailed { instance, error } => {
                write!(f, "{instance:?}, but its module was not told: {error}")
            }
        }
    }
}
