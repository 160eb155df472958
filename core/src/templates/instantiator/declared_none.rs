//! Structs and enums that type arguments name, without the feature `source`: no template is compiled with their declarations.

use super::JitInstantiator;
use crate::alloc_util::TryArc;
use crate::templates::error::{InstantiateErrorKind, MetadataError};
use crate::templates::module::Module;
use crate::types::Type;

#[expect(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the signatures of the feature `source`"
)]
impl JitInstantiator {
    /// No template depends on declarations.
    pub(super) fn requester(
        &self,
        _: &[u8],
        _: &TryArc<Module>,
        _: &[u8],
        _: &[Type],
    ) -> Result<Option<TryArc<Module>>, InstantiateErrorKind> {
        Ok(None)
    }

    /// No declarations are compared.
    pub(super) fn check_declarations(&self, _: &Module) -> Result<(), MetadataError> {
        Ok(())
    }
}
