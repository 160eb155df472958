//! Objects for a linker: functions of a module, instances of templates, and templates whose types are not known yet.
//!
//! [`ObjTaker`] combines the [extraction](crate::extract) of functions with a [`JitInstantiator`], which has the
//! templates, infers type arguments and caches instances. Entry points, results and messages are those of the Simple
//! compiler's linker.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::memory::code_alloc::CodeMemory;
//! use smf_core::templates::{JitConfig, JitInstantiator, ObjTaker, Taken, TakerConfig};
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/note-zero-size.smf");
//! let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default())?;
//! jit.load_smf_bytes(b"app.smf", &std::fs::read(path)?)?;
//! let taker = ObjTaker::new(&jit, TakerConfig::default());
//! // The note does not say which types `max` is used with.
//! assert!(matches!(taker.take_object(None, "max")?, Taken::Template { .. }));
//! assert_eq!(taker.take_deferred("max")?.type_vars.len(), 1);
//! assert_eq!(taker.take_object(None, "min")?.kind(), "not found");
//! # Ok(())
//! # }
//! ```

use alloc::boxed::Box;
use alloc::string::String;

use super::deferred::{DeferredHints, TakeError};
use super::error::InstantiateError;
use super::instance::Instance;
use super::instantiator::JitInstantiator;
use crate::extract::{ExtractError, FunctionBody, FunctionExtractor};
use crate::link::Name;
use crate::types::{Hint, Type};

/// The options of an [`ObjTaker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakerConfig {
    /// Whether a template whose types are unknown is a result, rather than an error.
    pub allow_deferred: bool,
}

impl Default for TakerConfig {
    /// Templates may be deferred.
    fn default() -> Self {
        Self { allow_deferred: true }
    }
}

/// An object.
#[derive(Debug)]
pub enum Taken<'c, 'd> {
    /// A function of the module.
    Code(FunctionBody<'c, 'd>),
    /// An instance of a template.
    Instance(Instance),
    /// A template whose type arguments cannot be inferred.
    Template {
        /// Its name.
        symbol: String,
        /// Why.
        reason: Box<TakeError>,
    },
    /// No module has the object.
    NotFound {
        /// The requested name.
        symbol: Name,
    },
}

impl Taken<'_, '_> {
    /// The kind of the object in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Code(_) => "code",
            Self::Instance(_) => "instance",
            Self::Template { .. } => "template",
            Self::NotFound { .. } => "not found",
        }
    }
}

/// Takes objects. It has no state of its own: instances and inferred types are cached by the instantiator.
#[derive(Clone, Copy, Debug)]
pub struct ObjTaker<'j> {
    jit: &'j JitInstantiator,
    config: TakerConfig,
}

impl<'j> ObjTaker<'j> {
    /// A taker of the functions of modules, and of instances by `jit`.
    pub fn new(jit: &'j JitInstantiator, config: TakerConfig) -> Self {
        Self { jit, config }
    }

    /// The object `name`: an existing instance, a template as [`take_generic`](Self::take_generic), a function of the
    /// module `functions` as [`take_concrete`](Self::take_concrete), or the instance that the symbol `name` stands for.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take_object<'c, 'd>(
        &self,
        functions: Option<&'c FunctionExtractor<'d>>,
        name: &str,
    ) -> Result<Taken<'c, 'd>, TakeError> {
        if let Some(instance) = self.jit.instance(name.as_bytes()) {
            return Ok(Taken::Instance(instance));
        }
        match self.take_generic(name) {
            Err(TakeError::NotATemplate { .. }) => {}
            taken => return taken,
        }
        if let Some(functions) = functions {
            match self.take_concrete(functions, name)? {
                Taken::NotFound { .. } => {}
                taken => return Ok(taken),
            }
        }
        match self.jit.try_jit_instantiate(name.as_bytes()) {
            Err(InstantiateError::NotFound { .. }) => {
                Ok(Taken::NotFound { symbol: Name::new(name.as_bytes())? })
            }
            taken => instance(taken),
        }
    }

    /// The instance of the template `name` for `types`.
    ///
    /// # Errors
    /// [`TakeError::NotATemplate`], [`TakeError::ArgumentCount`], [`TakeError::Instantiate`].
    pub fn take_with_types(&self, name: &str, types: &[Type]) -> Result<Instance, TakeError> {
        match self.jit.resolve_generic(name, types) {
            Err(InstantiateError::NotFound { .. }) if !self.jit.has_template(name) => {
                Err(TakeError::not_a_template(name))
            }
            Err(InstantiateError::UpdateFailed { instance, .. }) => Ok(instance),
            taken => Ok(taken?),
        }
    }

    /// The instance of the template `name` for the types that follow from the notes of all modules. If they do not
    /// follow, the template itself.
    ///
    /// # Errors
    /// [`TakeError::NotATemplate`]; [`TakeError::Unknown`], [`TakeError::CannotInfer`] and [`TakeError::DifferentUses`] if
    /// templates must not be deferred; [`TakeError::Instantiate`].
    pub fn take_generic<'c, 'd>(&self, name: &str) -> Result<Taken<'c, 'd>, TakeError> {
        self.take_generic_with(name, &[])
    }

    /// As [`take_generic`](Self::take_generic), with hints of the caller.
    ///
    /// # Errors
    /// Those of [`take_generic`](Self::take_generic).
    pub fn take_generic_with<'c, 'd>(
        &self,
        name: &str,
        hints: &[Hint],
    ) -> Result<Taken<'c, 'd>, TakeError> {
        match self.jit.infer_arguments(name, hints) {
            Ok(types) => self.take_with_types(name, &types).map(Taken::Instance),
            Err(
                reason @ (TakeError::NoHints { .. }
                | TakeError::CannotInfer { .. }
                | TakeError::DifferentUses { .. }),
            ) if self.config.allow_deferred => {
                let symbol = crate::alloc_util::try_copy_str(name)?;
                Ok(Taken::Template { symbol, reason: crate::alloc_util::try_box(reason)? })
            }
            Err(TakeError::NoHints { symbol }) => Err(TakeError::Unknown { symbol }),
            Err(error) => Err(error),
        }
    }

    /// The function `name` of a module.
    ///
    /// # Errors
    /// [`TakeError::Extract`] for a function that cannot be extracted.
    pub fn take_concrete<'c, 'd>(
        &self,
        functions: &'c FunctionExtractor<'d>,
        name: &str,
    ) -> Result<Taken<'c, 'd>, TakeError> {
        match functions.function(name.as_bytes()) {
            Ok(body) => Ok(Taken::Code(body)),
            Err(ExtractError::Missing { .. } | ExtractError::Import { .. }) => {
                Ok(Taken::NotFound { symbol: Name::new(name.as_bytes())? })
            }
            Err(error) => Err(TakeError::extract(error)),
        }
    }

    /// The known facts about the types of the template `name`: its type parameters, constraints, and where it is used.
    ///
    /// # Errors
    /// [`TakeError::Deferred`] if templates must not be deferred; [`TakeError::NotATemplate`].
    pub fn take_deferred(&self, name: &str) -> Result<DeferredHints, TakeError> {
        if !self.config.allow_deferred {
            return Err(TakeError::Deferred { symbol: Name::new(name.as_bytes())? });
        }
        self.jit.deferred_hints(name)
    }
}

/// The instance of a result, also if only its module was not updated.
fn instance<'c, 'd>(taken: Result<Instance, InstantiateError>) -> Result<Taken<'c, 'd>, TakeError> {
    match taken {
        Err(InstantiateError::UpdateFailed { instance, .. }) => Ok(Taken::Instance(instance)),
        taken => Ok(Taken::Instance(taken?)),
    }
}
