//! What units call beside the functions of their manager.

use crate::ir::Signature;
use crate::link::{Name, NoImports, Resolve};

/// The types by which a unit calls a function.
#[derive(Clone, Copy, Debug)]
pub struct CalledTypes<'a> {
    /// The types in registers.
    pub signature: Signature<'a>,
    /// The declarations of the function in the files of the unit, with the hash of their types in Simple.
    pub(super) declared: &'a [(Name, u64)],
}

impl CalledTypes<'_> {
    /// Whether all declarations in source have the types of this hash; `None` for a function whose types are not known.
    pub fn is_of_hash(&self, type_hash: Option<u64>) -> bool {
        type_hash.is_none_or(|hash| self.declared.iter().all(|&(_, declared)| declared == hash))
    }
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
