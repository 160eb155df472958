//! Writing modules, archives, notes and templates.

#[cfg(feature = "alloc")]
pub mod bytecode;
#[cfg(feature = "alloc")]
pub mod convert;
mod error;
pub mod library;
pub(crate) mod module;
#[cfg(feature = "alloc")]
pub mod note;
#[cfg(feature = "alloc")]
pub mod note_edit;
mod put;
#[cfg(feature = "alloc")]
pub mod rewrite;
#[cfg(feature = "alloc")]
pub(crate) mod template;

pub use error::WriteError;
pub use module::{Module, NewSection, NewSymbol, Payload, Place};
#[cfg(feature = "alloc")]
pub use template::{NewTemplates, write_templates};
