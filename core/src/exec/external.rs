//! What units call beside the functions of their manager.

use crate::ir::Signature;
use crate::link::{NoImports, Resolve};

/// The functions of the host and of modules, by name. The manager holds no lock while it asks for them, so that they may
/// be compiled then.
pub trait ExternalFunctions: Resolve {
    /// Whether the signature of any function is known. By default it is not.
    fn has_signatures(&self) -> bool {
        false
    }

    /// Whether a function may be called with these types. Called where [signatures](Self::has_signatures) are known; false
    /// ends a compilation with [`ManagerError::CalleeSignature`](super::ManagerError::CalleeSignature).
    fn accepts(&self, name: &[u8], called: Signature<'_>) -> bool {
        let _ = (name, called);
        true
    }
}

impl<F: Fn(&[u8]) -> Option<u64>> ExternalFunctions for F {}

impl ExternalFunctions for NoImports {}
