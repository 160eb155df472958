//! What turns a template and its type arguments into machine code: an interface, and three who have it.
//!
//! A compiler is told the body of the template, which nobody else looks into, and gives back bytes and
//! relocations. It does not know where the code will live. What the code calls it asks for while it
//! compiles: another instance by template and type arguments, or anything by its symbol. Instances are
//! made there and then, so that every address is known; the instance that is being made is
//! [`Target::OWN`], whose calls of itself are ordinary calls.
//!
//! [`TypedBodies`] compiles [typed bytecode](crate::jit::typed), [`PrecompiledBodies`] takes bodies that are
//! machine code already. A closure that is given to [`Callback::new`] is a compiler as well, for every
//! body that no other one takes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::code_cache::CachePolicy;
use super::error::Reason;
use crate::alloc_util::{AllocError, TryArc};
use crate::format::template::TemplateKind;
use crate::format::{Arch, RelocKind};
use crate::link::ShortName;
use crate::types::Type;

mod precompiled;
mod typed;

pub use precompiled::{
    PrecompiledBodies, PrecompiledError, PrecompiledReloc, Variant, encode_precompiled,
};
pub use typed::TypedBodies;

/// What is to be compiled.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The symbol that the instance will have.
    pub symbol: &'r [u8],
    /// The name of the template.
    pub template: &'r [u8],
    /// What it is a template of; `None` where its container does not say.
    pub kind: Option<TemplateKind>,
    /// How many type parameters it has, where its container says so: as many as there are arguments.
    pub parameters: Option<u8>,
    /// Its body.
    pub body: &'r [u8],
    /// What it is made with: at most [`MAX_ARGUMENTS`](super::MAX_ARGUMENTS) types without variables.
    pub arguments: &'r [Type],
    /// The instruction set.
    pub arch: Arch,
}

/// Something that code refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub(super) u32);

impl Target {
    /// The code itself, from its first byte.
    pub const OWN: Self = Self(u32::MAX);

    /// The target that an [`Environment`] knows by this number; `None` for the one that is [`Target::OWN`].
    pub const fn of(number: u32) -> Option<Self> {
        if number == u32::MAX { None } else { Some(Self(number)) }
    }

    /// Its number; `None` for the code itself.
    pub const fn number(self) -> Option<u32> {
        if self.0 == u32::MAX { None } else { Some(self.0) }
    }
}

/// What a compiler may ask while it compiles.
pub trait Environment {
    /// Another instance, or the one that is being made. It is made first if it is not there yet.
    ///
    /// # Errors
    /// [`CompileError::Needs`] when it cannot be made; the compiler hands it on.
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError>;

    /// What has this symbol: an instance, which is made first if it is not there yet, or else whatever
    /// the host and the loaded modules have.
    ///
    /// # Errors
    /// [`CompileError::Needs`] when nobody has it; the compiler hands it on.
    fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError>;

    /// A place that the compiler itself knows: a function of the host, say.
    ///
    /// # Errors
    /// More targets than can be counted.
    fn absolute(&mut self, address: u64) -> Result<Target, CompileError>;

    /// Where a target is; `None` for the code itself, which has no place yet.
    fn address(&self, target: Target) -> Option<u64>;

    /// Notes how the code that is being made is to be called, in words of the compiler's own.
    fn declare_signature(&mut self, interface: Box<[u8]>);

    /// What was promised of a target that is an instance; `None` where nothing was, and for the code
    /// itself.
    fn signature(&self, target: Target) -> Option<&[u8]>;
}

/// Why something is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// Something that it needs is not there. What, and why, the [`Environment`] knows.
    Needs,
    /// The symbol is needed and nobody has it.
    Missing(ShortName),
    /// No memory to compile with.
    OutOfMemory,
    /// Anything else.
    Because(Reason),
}

impl CompileError {
    /// Refused for a reason, of which the first [`Reason::CAPACITY`] bytes are kept.
    pub fn because(reason: impl fmt::Display) -> Self {
        Self::Because(Reason::new(reason))
    }
}

impl From<AllocError> for CompileError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needs => f.write_str("something that it needs cannot be had"),
            Self::Missing(symbol) => write!(f, "nobody provides `{symbol}`"),
            Self::OutOfMemory => f.write_str("the allocator has no memory left"),
            Self::Because(reason) => reason.fmt(f),
        }
    }
}

impl core::error::Error for CompileError {}

/// Machine code that does not know yet where it will be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The bytes. Running begins at the first.
    pub code: Vec<u8>,
    /// What is still to be written into them.
    pub relocations: Vec<CodeReloc>,
}

/// An address to be written into code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeReloc {
    /// Where, in bytes from the begin of the code.
    pub offset: u32,
    /// How. [`RelocKind::Plt32`] and [`RelocKind::Arm64Branch26`] reach everything, by a veneer;
    /// [`RelocKind::GotPcRel`] and its like get a slot behind the code.
    pub kind: RelocKind,
    /// Of what.
    pub target: Target,
    /// What is added.
    pub addend: i64,
}

/// Turns templates into code. Asked by many threads at once.
pub trait Compiler: Send + Sync {
    /// Whether it takes bodies of this form. The first compiler that does gets the template.
    fn recognizes(&self, body: &[u8]) -> bool;

    /// Whether its code may be kept in the module's file for other processes, and what such a process must
    /// know of it; `None` where it may not.
    fn keeps(&self) -> Option<CachePolicy> {
        None
    }

    /// The code of an instance.
    ///
    /// No lock is held meanwhile: it may call the instantiator that calls it, in the thread in which it
    /// is called. It must not wait for another thread that does.
    ///
    /// # Errors
    /// Why there is none.
    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError>;
}

impl<C: Compiler + ?Sized> Compiler for TryArc<C> {
    fn recognizes(&self, body: &[u8]) -> bool {
        (**self).recognizes(body)
    }

    fn keeps(&self) -> Option<CachePolicy> {
        (**self).keeps()
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        (**self).compile(request, environment)
    }
}

/// A closure that compiles whatever nobody else takes.
#[derive(Clone, Copy, Debug)]
pub struct Callback<F> {
    function: F,
    keep: Option<CachePolicy>,
}

impl<F> Callback<F>
where
    F: Fn(&Request<'_>, &mut dyn Environment) -> Result<Compiled, CompileError> + Send + Sync,
{
    /// A compiler that does what `function` does.
    pub fn new(function: F) -> Self {
        Self { function, keep: None }
    }

    /// One whose code may be kept.
    #[must_use]
    pub fn keeping(self, keep: CachePolicy) -> Self {
        Self { keep: Some(keep), ..self }
    }
}

impl<F> Compiler for Callback<F>
where
    F: Fn(&Request<'_>, &mut dyn Environment) -> Result<Compiled, CompileError> + Send + Sync,
{
    fn recognizes(&self, _: &[u8]) -> bool {
        true
    }

    fn keeps(&self) -> Option<CachePolicy> {
        self.keep
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        (self.function)(request, environment)
    }
}
