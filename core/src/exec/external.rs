//! What units call beside the functions of their manager.

use crate::ir::Signature;
use crate::link::{NoImports, Resolve};

/// The types by which a unit calls a function.
#[derive(Clone, Copy, Debug)]
pub struct CalledTypes<'a> {
    /// The types in registers.
    pub signature: Signature<'a>,
    /// A hash of the types in Simple (`source::ExternalFunction::type_hash`); `None` where no source states them.
    pub type_hash: Option<u64>,
}

impl CalledTypes<'_> {
    /// Whether a function has the types of this hash, as far as both are known.
    pub fn is_of_hash(&self, type_hash: Option<u64>) -> bool {
        agree(self.type_hash, type_hash)
    }
}

/// Whether hashes of types are equal, as far as both are known.
pub(super) fn agree(one: Option<u64>, other: Option<u64>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

/// The functions of the host and of modules, by name. The manager holds no lock while it asks for them, so that they may
/// be compiled then.
pub trait ExternalFunctions: Resolve {
    /// Whether the signature of any function is known. By default it is not.
    fn has_signatures(&self) -> bool {
        false
    }

    /// Whether a function may be called with these types. Called where [signatures](Self::has_signatures) are known; false
    /// ends a compilation with [`ManagerError::CalleeSignature`](super::ManagerError::CalleeSignature).
    fn accepts(&self, name: &[u8], called: CalledTypes<'_>) -> bool {
        let _ = (name, called);
        true
    }
}

impl<F: Fn(&[u8]) -> Option<u64>> ExternalFunctions for F {}

impl ExternalFunctions for NoImports {}
