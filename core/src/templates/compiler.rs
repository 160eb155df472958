//! The interface of template compilers.
//!
//! A [`Compiler`] gets the body of a template and type arguments, and returns code with relocations. It does
//! not know the address of the code. It requests the targets of its relocations from the [`Environment`]
//! while it compiles; required instances are compiled first, so that every target has an address. The
//! instance itself is [`Target::OWN`].
//!
//! [`IrBodies`](super::IrBodies) compiles bodies in [IR](crate::ir). With the feature `source`, `SourceBodies` and
//! `RecordBodies` compile source text.
//! [`PrecompiledBodies`](super::PrecompiledBodies) accepts bodies of machine code. [`Callback`] wraps a
//! closure that compiles all other bodies.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::cpu_features::CpuFeatures;
use super::error::Reason;
use crate::alloc_util::{AllocError, TryArc};
use crate::codegen::registry::FunctionTables;
use crate::format::template::TemplateKind;
use crate::format::{Arch, RelocKind};
use crate::link::Name;
use crate::types::Type;

/// A template to compile for type arguments.
#[derive(Clone, Copy, Debug)]
pub struct CompileRequest<'r> {
    /// The symbol of the instance.
    pub symbol: &'r [u8],
    /// The name of the template.
    pub template: &'r [u8],
    /// The kind of the template, if its container states it.
    pub kind: Option<TemplateKind>,
    /// The number of type parameters, if the container states it; then equal to the number of arguments.
    pub parameters: Option<u8>,
    /// The body of the template.
    pub body: &'r [u8],
    /// The template section of its module, decompressed; empty if unknown.
    pub section: &'r [u8],
    /// The template section of another module, which declares types that the arguments name; empty if there is none.
    pub requester: &'r [u8],
    /// The type arguments: concrete types, at most [`MAX_ARGUMENTS`](crate::types::MAX_ARGUMENTS).
    pub arguments: &'r [Type],
    /// The instruction set.
    pub arch: Arch,
}

/// The target of a relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub(super) u32);

impl Target {
    /// The first byte of the code itself.
    pub const OWN: Self = Self(u32::MAX);

    /// The target with this number in its [`Environment`]; `None` for the number of [`Target::OWN`].
    pub const fn of(number: u32) -> Option<Self> {
        if number == u32::MAX { None } else { Some(Self(number)) }
    }

    /// The number of the target in its [`Environment`]; `None` for [`Target::OWN`].
    pub const fn number(self) -> Option<u32> {
        if self.0 == u32::MAX { None } else { Some(self.0) }
    }
}

/// The operations that a compiler may use during a compilation.
pub trait Environment {
    /// An instance, which is compiled first if it does not exist.
    ///
    /// # Errors
    /// [`CompileError::Needs`] if the instance cannot be compiled. The compiler returns this error.
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target>;

    /// The definition of a symbol: an instance, which is compiled first if it does not exist, or else a
    /// symbol of the host or of a loaded module.
    ///
    /// # Errors
    /// [`CompileError::Needs`] or [`CompileError::Missing`]. The compiler returns this error.
    fn symbol(&mut self, symbol: &[u8]) -> Result<Target>;

    /// An absolute address that the compiler provides, such as that of a function of the host.
    ///
    /// # Errors
    /// Too many targets.
    fn absolute(&mut self, address: u64) -> Result<Target>;

    /// The address of a target; `None` for [`Target::OWN`].
    fn address(&self, target: Target) -> Option<u64>;

    /// Declares the signature of the code, in the compiler's encoding. Other compilations read it through
    /// [`signature`](Self::signature).
    fn declare_signature(&mut self, signature: Box<[u8]>);

    /// Whether the last [`CompileError::Needs`] is due to an instance that waits for this one.
    fn is_circular(&self) -> bool {
        false
    }

    /// Whether the lines of the code are of use, if it has any.
    fn needs_lines(&self) -> bool {
        false
    }

    /// Declares the unwind rows and lines of a function of the code, for the [registry](crate::codegen::registry) of the
    /// host. Functions are declared by ascending offset. Code without them has no unwind tables.
    ///
    /// # Errors
    /// No memory.
    fn declare_tables(&mut self, tables: FunctionTables) -> Result<()> {
        let _ = tables;
        Ok(())
    }

    /// Whether [`declare_tables`](Self::declare_tables) has an effect.
    fn needs_tables(&self) -> bool {
        false
    }

    /// The declared signature of a target that is an instance; `None` if undeclared and for [`Target::OWN`].
    fn signature(&self, target: Target) -> Option<&[u8]>;
}

/// A result of a template compiler.
pub(super) type Result<T, E = CompileError> = core::result::Result<T, E>;

/// The reason why a template is not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A required instance cannot be compiled. The [`Environment`] has recorded the reason.
    #[error("a required instance is not available")]
    Needs,
    /// A required symbol is undefined.
    #[error("undefined symbol `{0}`")]
    Missing(Name),
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
    /// Any other reason.
    #[error("{0}")]
    Because(Reason),
}

impl CompileError {
    /// An error with a message.
    pub fn because(reason: impl fmt::Display) -> Self {
        Reason::new(reason).map_or_else(Self::from, Self::Because)
    }
}

/// Position-independent machine code before relocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The code. Execution starts at the first byte.
    pub code: Vec<u8>,
    /// The relocations of the code.
    pub relocations: Vec<CodeReloc>,
}

/// A relocation of compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeReloc {
    /// Offset in the code, in bytes.
    pub offset: u32,
    /// The kind. [`RelocKind::Plt32`] and [`RelocKind::Arm64Branch26`] reach any address through a veneer;
    /// [`RelocKind::GotPcRel`] and its variants use an address slot behind the code.
    pub kind: RelocKind,
    /// The target.
    pub target: Target,
    /// The addend.
    pub addend: i64,
}

/// The requirements for running a compiler's code in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// Identifies the compiler and its code generation and calling conventions. It changes whenever the same
    /// template may compile to different code.
    pub compiler: u32,
    /// The processor features that the code uses.
    pub features: CpuFeatures,
}

/// A template compiler. Threads call it concurrently.
pub trait Compiler: Send + Sync {
    /// Whether the compiler accepts this body. The first compiler that does gets the template.
    fn recognizes(&self, body: &[u8]) -> bool;

    /// The policy for caching code in the module's file; `None` if the code must not be cached.
    fn cache_policy(&self) -> Option<CachePolicy> {
        None
    }

    /// Whether its templates have instances for all types that the body permits. Otherwise only those exist that a note
    /// lists or another instance requires.
    fn is_generic(&self) -> bool {
        false
    }

    /// Whether bodies are source text, so that the place of a trap is a line of it.
    fn is_source(&self) -> bool {
        false
    }

    /// Compiles an instance.
    ///
    /// No lock is held during the call: the compiler may call the instantiator on the same thread. It must
    /// not wait for another thread that does.
    ///
    /// # Errors
    /// [`CompileError`].
    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled>;
}

impl<C: Compiler + ?Sized> Compiler for TryArc<C> {
    fn recognizes(&self, body: &[u8]) -> bool {
        (**self).recognizes(body)
    }

    fn cache_policy(&self) -> Option<CachePolicy> {
        (**self).cache_policy()
    }

    fn is_generic(&self) -> bool {
        (**self).is_generic()
    }

    fn is_source(&self) -> bool {
        (**self).is_source()
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        (**self).compile(request, environment)
    }
}

/// A compiler that calls a closure for every body.
#[derive(Clone, Copy, Debug)]
pub struct Callback<F> {
    function: F,
    cache_policy: Option<CachePolicy>,
}

impl<F> Callback<F>
where
    F: Fn(&CompileRequest<'_>, &mut dyn Environment) -> Result<Compiled> + Send + Sync,
{
    /// A compiler that calls `function`. Its code is not cached.
    pub fn new(function: F) -> Self {
        Self { function, cache_policy: None }
    }

    /// Allows caching of the code.
    #[must_use]
    pub fn with_cache_policy(self, policy: CachePolicy) -> Self {
        Self { cache_policy: Some(policy), ..self }
    }
}

impl<F> Compiler for Callback<F>
where
    F: Fn(&CompileRequest<'_>, &mut dyn Environment) -> Result<Compiled> + Send + Sync,
{
    fn recognizes(&self, _: &[u8]) -> bool {
        true
    }

    fn cache_policy(&self) -> Option<CachePolicy> {
        self.cache_policy
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        (self.function)(request, environment)
    }
}
