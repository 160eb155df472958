//! Errors of extraction.

use thiserror::Error;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::FormatError;
use crate::printable::Printable;

/// Why a function or a template cannot be extracted. `name` is the name of the function or template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "`name` is documented at the enum, `offset` at each variant")]
pub enum ExtractError<'n> {
    /// The module is invalid, or the allocator has no memory.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A prelinked module for a machine without a decoder.
    #[error(
        "the module is prelinked (.smf.image), and the instructions of its machine cannot be decoded"
    )]
    Prelinked,
    /// A function with an unknown instruction, or with a reference to an unnamed place outside of it. `offset` is in
    /// bytes from the start of the section.
    #[error(
        "the instruction at {offset:#x} of the function `{}` refers to a place outside of it that has no name; of a module of objects, `smf pack --emit-relocs` keeps the relocations, which may name it",
        Printable(name)
    )]
    Instruction { name: &'n [u8], offset: u64 },
    /// The code is bytecode.
    #[error("the code is bytecode (BCOD), which has no relocations")]
    Bytecode,
    /// The module has nothing of this name.
    #[error("the module has no `{}`", Printable(name))]
    Missing { name: &'n [u8] },
    /// The module imports the name.
    #[error("`{}` is an import of the module", Printable(name))]
    Import { name: &'n [u8] },
    /// The name belongs to something other than a function.
    #[error("`{}` is no function", Printable(name))]
    NotAFunction { name: &'n [u8] },
    /// Several symbols or templates have the name, and none takes precedence.
    #[error("the module has several things called `{}`", Printable(name))]
    Ambiguous { name: &'n [u8] },
    /// A relocation that crosses an edge of the function. `offset` is in bytes from the start of the section.
    #[error(
        "the relocation at {offset:#x} reaches over an edge of the function `{}`",
        Printable(name)
    )]
    Edge { name: &'n [u8], offset: u64 },
    /// A function without bytes in the file.
    #[error("the function `{}` has no bytes in the file", Printable(name))]
    NoBytes { name: &'n [u8] },
    /// A template whose length is unknown.
    #[error(
        "the end of the template `{}` is unknown: the bodies of this GTPL have no lengths",
        Printable(name)
    )]
    UnknownLength { name: &'n [u8] },
}

#[cfg(feature = "alloc")]
impl From<AllocError> for ExtractError<'_> {
    fn from(none: AllocError) -> Self {
        ExtractError::Format(none.into())
    }
}

impl<'n> ExtractError<'n> {
    /// The name of the function or template; `None` when the error concerns the whole module.
    pub fn name(&self) -> Option<&'n [u8]> {
        match *self {
            ExtractError::Missing { name }
            | ExtractError::Import { name }
            | ExtractError::NotAFunction { name }
            | ExtractError::Ambiguous { name }
            | ExtractError::Edge { name, .. }
            | ExtractError::Instruction { name, .. }
            | ExtractError::NoBytes { name }
            | ExtractError::UnknownLength { name } => Some(name),
            ExtractError::Format(_) | ExtractError::Prelinked | ExtractError::Bytecode => None,
        }
    }
}
