//! Back ends by name.

use smf_core::alloc_util::{AllocError, TryArc, try_box};
use smf_core::codegen::registry::CodeRegistry;
use smf_core::exec::{Backend, NativeBackend, SharedRegistry};
use smf_core::link::Name;
use smf_core::memory::code_alloc::CodeMemory;

use super::error::ExecError;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::generated_code::HostRegistry;

/// A back end, as it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The native back end.
    #[default]
    Auto,
    /// The code generator of the core.
    Native,
    /// Cranelift, in builds with the feature `cranelift`.
    Cranelift,
    /// LLVM 19, in builds with the feature `llvm`.
    Llvm,
}

impl BackendChoice {
    /// All choices.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Native, Self::Cranelift, Self::Llvm];

    /// The name: `auto`, `native`, `cranelift` or `llvm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Cranelift => "cranelift",
            Self::Llvm => "llvm",
        }
    }

    /// The back end called `name`, which is part of this build.
    ///
    /// # Errors
    /// [`ExecError::UnknownBackend`]; [`ExecError::MissingBackend`].
    pub fn from_name(name: &[u8]) -> Result<Self, ExecError> {
        let found = Self::ALL.into_iter().find(|choice| choice.name().as_bytes() == name);
        let unknown = || Name::in_error(name, |name| ExecError::UnknownBackend { name });
        found.ok_or_else(unknown)?.available()
    }

    /// This choice, if it is part of this build.
    ///
    /// # Errors
    /// [`ExecError::MissingBackend`].
    pub fn available(self) -> Result<Self, ExecError> {
        let is_built_in = match self {
            Self::Auto | Self::Native => true,
            Self::Cranelift => cfg!(feature = "cranelift"),
            Self::Llvm => cfg!(feature = "llvm"),
        };
        match is_built_in {
            true => Ok(self),
            false => Err(ExecError::MissingBackend { name: self.name() }),
        }
    }

    /// The back end, which places code in `memory`, or in memory of its own.
    ///
    /// # Errors
    /// [`ExecError::MissingBackend`], and those of the back end.
    pub fn open(self, memory: Option<CodeMemory>) -> Result<Box<dyn Backend>, ExecError> {
        match self {
            Self::Auto | Self::Native => {
                let native = memory.map_or_else(NativeBackend::default, NativeBackend::new);
                Ok(try_box(native.with_registry(registry()?))?)
            }
            #[cfg(feature = "cranelift")]
            Self::Cranelift => {
                Ok(try_box(super::cranelift::CraneliftBackend::new(memory.unwrap_or_default())?)?)
            }
            #[cfg(feature = "llvm")]
            Self::Llvm => {
                let memory = memory.unwrap_or_default();
                Ok(try_box(super::llvm::LlvmBackend::with_registry(memory, registry()?)?)?)
            }
            #[cfg(not(all(feature = "cranelift", feature = "llvm")))]
            other => Err(ExecError::MissingBackend { name: other.name() }),
        }
    }
}

/// The registry of the code of all managers.
static REGISTRY: ProcessLock<Option<SharedRegistry>> = ProcessLock::new(None);

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&REGISTRY];

fn registry() -> Result<SharedRegistry, AllocError> {
    let registry = &mut *REGISTRY.lock();
    if let Some(registry) = registry {
        return Ok(registry.clone());
    }
    let new = TryArc::new(try_box(HostRegistry)? as Box<dyn CodeRegistry>)?;
    Ok(registry.insert(new).clone())
}
