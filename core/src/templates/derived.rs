//! What an instantiator derives without a row of a note: instances from symbols, and types from uses.

use alloc::string::String;
use alloc::vec::Vec;

use super::module::Module;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_copy_str, try_push};
use crate::types::Type;

/// An instance that a symbol stands for.
pub(super) struct DerivedInstance {
    /// The symbol under which it exists, is listed, or will be made.
    pub(super) symbol: Vec<u8>,
    pub(super) template: String,
    pub(super) arguments: Vec<Type>,
}

impl DerivedInstance {
    pub(super) fn try_clone(&self) -> Result<Self, AllocError> {
        Ok(Self {
            symbol: try_collect(self.symbol.iter().copied())?,
            template: try_copy_str(&self.template)?,
            arguments: try_clone_all(&self.arguments)?,
        })
    }
}

/// Inferred type arguments.
pub(super) struct Inferred {
    pub(super) arguments: Vec<Type>,
    /// The module that has the template, and those that list its uses.
    pub(super) depends_on: Vec<TryArc<Module>>,
}

pub(super) fn try_clone_all(types: &[Type]) -> Result<Vec<Type>, AllocError> {
    let mut copies = Vec::new();
    for ty in types {
        try_push(&mut copies, ty.try_clone()?)?;
    }
    Ok(copies)
}
