//! The errors of this module.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::instance::Instance;
use crate::alloc_util::{AllocError, TryArc, try_box, try_collect, try_to_string};
use crate::cache::CacheError;
use crate::format::write::library::LibraryReplaceError;
use crate::format::write::rewrite::RewriteError;
use crate::format::{FormatError, RelocKind};
use crate::link::Name;
use crate::memory::code_alloc::ExecError;
use crate::memory::{MemoryError, ReplaceError};
use crate::printable::Printable;
use crate::types::{MAX_ARGUMENTS, TypeError, wrong_count};

/// A compiler's message, on one line. Clones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(TryArc<[u8]>);

impl Reason {
    /// Formats `message`, with control characters replaced by spaces.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(message: impl fmt::Display) -> Result<Self, AllocError> {
        let text = try_to_string(message)?;
        let byte = |index: usize| text.as_bytes().get(index).copied().unwrap_or(b' ');
        let shown = |byte: u8| if byte.is_ascii_control() { b' ' } else { byte };
        TryArc::from_fn(text.len(), |index| shown(byte(index))).map(Self)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

/// A result of the instantiator.
pub(super) type Result<T, E = InstantiateError> = core::result::Result<T, E>;

/// The reason why [`JitInstantiator::try_jit_instantiate`](super::JitInstantiator::try_jit_instantiate)
/// returns no instance.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InstantiateError {
    /// No loaded module lists the symbol.
    #[error("no module lists an instance `{symbol}`")]
    NotFound {
        /// The requested symbol.
        symbol: Name,
    },
    /// The instance requires itself while it is compiled.
    #[error("circular dependency between instances: {}", arrows(.cycle))]
    CircularDependency {
        /// The instances of the cycle, each requiring the next; the first one is repeated at the end.
        cycle: Vec<Name>,
    },
    /// The instance, or one that it requires, cannot be compiled.
    #[error(transparent)]
    Failed(Box<InstantiateFailure>),
    /// The allocator has no memory left. The request may be repeated.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// The instance exists and can be called, but its module's file has not been updated.
    #[error("{instance:?}, but its module was not updated: {error}")]
    UpdateFailed {
        /// The instance.
        instance: Instance,
        /// The reason.
        error: UpdateError,
    },
}

/// A failed compilation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot instantiate `{symbol}`: {}{kind}", required(.dependency))]
pub struct InstantiateFailure {
    /// The requested symbol.
    pub symbol: Name,
    /// The required instance that failed, if it is not the requested one.
    pub dependency: Option<Name>,
    /// The reason.
    pub kind: InstantiateErrorKind,
}

fn required(dependency: &Option<Name>) -> impl fmt::Display {
    fmt::from_fn(move |f| match dependency {
        Some(dependency) => write!(f, "required instance `{dependency}`: "),
        None => Ok(()),
    })
}

/// Symbols as a chain of arrows.
fn arrows(cycle: &[Name]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (index, symbol) in cycle.iter().enumerate() {
            write!(f, "{}`{symbol}`", if index == 0 { "" } else { " -> " })?;
        }
        Ok(())
    })
}

impl InstantiateError {
    #[inline(never)]
    pub(super) fn failed(
        symbol: Name,
        dependency: Option<Name>,
        kind: InstantiateErrorKind,
    ) -> Self {
        let failure = InstantiateFailure { symbol, dependency, kind };
        try_box(failure).map_or_else(Self::OutOfMemory, Self::Failed)
    }

    pub(super) fn not_found(symbol: &[u8]) -> Self {
        Name::new(symbol).map_or_else(Self::from, |symbol| Self::NotFound { symbol })
    }

    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(match self {
            Self::Failed(failure) => Self::Failed(try_box(InstantiateFailure::clone(failure))?),
            Self::CircularDependency { cycle } => {
                Self::CircularDependency { cycle: try_collect(cycle.iter().cloned())? }
            }
            // The other variants contain only reference-counted values.
            other => other.clone(),
        })
    }

    /// The instance of an [`UpdateFailed`](Self::UpdateFailed).
    pub fn instance(&self) -> Option<&Instance> {
        match self {
            Self::UpdateFailed { instance, .. } => Some(instance),
            _ => None,
        }
    }

    /// Whether a repeated request fails in the same way as long as no module is loaded.
    pub(super) fn is_permanent(&self) -> bool {
        use InstantiateErrorKind as E;
        match self {
            Self::CircularDependency { .. } => true,
            Self::Failed(failure) => !matches!(
                failure.kind,
                E::Depth { .. }
                    | E::Instances { .. }
                    | E::ModuleInstances { .. }
                    | E::AmbiguousAlias { .. }
                    | E::Exec(_)
                    | E::OutOfMemory(_)
                    | E::Abandoned
                    | E::Missing { .. }
            ),
            _ => false,
        }
    }
}

/// The kind of an [`InstantiateFailure`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant explains its fields")]
pub enum InstantiateErrorKind {
    /// The chain of required instances exceeds [`JitConfig::max_depth`](super::JitConfig::max_depth).
    #[error("Maximum JIT depth ({limit}) exceeded")]
    Depth { limit: u32 },
    /// [`JitConfig::max_instances`](super::JitConfig::max_instances) instances exist or are being compiled.
    #[error("Maximum number of JIT instances ({limit}) exceeded")]
    Instances { limit: usize },
    /// [`JitConfig::max_module_instances`](super::JitConfig::max_module_instances) instances of the module exist.
    #[error("Maximum number of instances of templates of `{module}` ({limit}) exceeded")]
    ModuleInstances { module: Name, limit: usize },
    /// A type argument exceeds [`JitConfig::max_nesting`](super::JitConfig::max_nesting).
    #[error("a type argument is nested {depth} levels deep; the limit is {limit}")]
    Nesting { depth: usize, limit: usize },
    /// The code exceeds [`JitConfig::max_code`](super::JitConfig::max_code).
    #[error("its code has {size} bytes; the limit is {limit}")]
    CodeLimit { size: usize, limit: usize },
    /// The symbol uses the older spelling of the Simple compiler, which several instances fit.
    #[error("the symbol may mean `{one}` or `{other}`")]
    AmbiguousAlias { one: Name, other: Name },
    /// A type argument that modules declare differently.
    #[error("the type `{name}` of `{one}` differs from that of `{other}`")]
    Declarations { name: Name, one: Name, other: Name },
    /// Two rows of a note define one symbol differently.
    #[error("lines {line} and {other} of note.sdn define different instances of one symbol")]
    Ambiguous { line: u32, other: u32 },
    /// The type arguments of a row are malformed.
    #[error(transparent)]
    Arguments(TypeError),
    /// No loaded module has the template.
    #[error("no loaded module has a template `{template}`")]
    NoTemplate { template: Name },
    /// The number of type arguments differs from the number of parameters.
    #[error("{}", wrong_count(template, (*parameters).into(), *arguments))]
    Parameters { template: Name, parameters: u8, arguments: usize },
    /// The template has more than [`MAX_ARGUMENTS`] parameters.
    #[error(
        "the template `{template}` has {parameters} type parameters; the limit is {MAX_ARGUMENTS}"
    )]
    TooManyParameters { template: Name, parameters: u8 },
    /// No compiler recognizes the template's body.
    #[error("no compiler recognizes the body of the template `{template}`")]
    NoCompiler { template: Name },
    /// The compiler failed.
    #[error("{0}")]
    Compile(Reason),
    /// A symbol that the code refers to is undefined.
    #[error("undefined symbol `{symbol}`")]
    Missing { symbol: Name },
    /// The compiler returned no code, or more than a block can hold.
    #[error("the compiler returned {size} bytes of code")]
    CodeSize { size: usize },
    /// A relocation kind does not apply to code of this machine.
    #[error("relocation {index} of the compiled code ({kind}) does not apply to this machine")]
    RelocKind { index: usize, kind: RelocKind },
    /// A relocation lies outside of the code, or its target is unknown.
    #[error(
        "relocation {index} of the compiled code, at 0x{offset:x}, is out of bounds or has no target"
    )]
    RelocPlace { index: usize, offset: u32 },
    /// A relocation value does not fit.
    #[error("the relocation {kind} cannot reach 0x{target:x} from 0x{place:x}")]
    Overflow { kind: RelocKind, place: u64, target: u64 },
    /// Executable memory cannot be allocated.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// The compiler panicked.
    #[error("the compiler did not return")]
    Abandoned,
}

/// The reason why a module's note and templates cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] MemoryError),
    /// The file cannot be read through the cache.
    #[error(transparent)]
    Cache(CacheError),
    /// The file is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The file is an archive.
    #[error("this is an archive: name one of its modules")]
    Archive,
    /// The archive has no module with this name.
    #[error("the archive has no module of this name")]
    NoModule,
    /// The module lists an existing instance for a type that another module declares differently.
    #[error(
        "the type `{name}` of `{one}` differs from that of `{other}`, for which an instance exists"
    )]
    Declarations {
        /// The type.
        name: Name,
        /// The module.
        one: Name,
        /// The other one.
        other: Name,
    },
    /// The note has too many rows, or there is no memory for it.
    #[error("there is no memory for the note and the templates of the module")]
    TooLarge,
}

impl From<CacheError> for MetadataError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::File(error) => Self::Read(error),
            CacheError::Format(error) => Self::Format(error),
            CacheError::OutOfMemory(error) => error.into(),
            error => Self::Cache(error),
        }
    }
}

impl From<AllocError> for MetadataError {
    fn from(_: AllocError) -> Self {
        Self::TooLarge
    }
}

/// The reason why a module's file does not record its instances. The instances can be called regardless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The file cannot be replaced.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The file is no longer a well-formed module.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The note cannot be rewritten.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// The note was updated, but the code cannot be cached in the file.
    #[error("its code was not cached: {0}")]
    CodeCache(RewriteError),
    /// The archive that contains the module cannot be rewritten.
    #[error(transparent)]
    Library(#[from] LibraryReplaceError),
    /// The file has been replaced by a module that does not list the instance.
    #[error("the file has changed: its note does not list the instance any more")]
    Changed,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn reason_is_whole_and_has_one_line() {
        let shown = |message: &str| Reason::new(message).unwrap().to_string();
        assert_eq!(shown("a\nb"), "a b");
        assert_eq!(shown(&"ü".repeat(500)), "ü".repeat(500));
        assert_eq!(shown("a\u{85}b"), "a\\u{85}b");
    }

    #[test]
    fn depth_error_has_the_message_of_the_runtime() {
        let error = InstantiateErrorKind::Depth { limit: 2 };
        assert_eq!(error.to_string(), "Maximum JIT depth (2) exceeded");
    }
}
