//! Errors in template sections.

use thiserror::Error;

/// The reason why a template section is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum TemplateError {
    /// A container that ends inside a template, or states more templates than it holds.
    #[error("template {index} does not lie inside its section, at offset {at:#x}")]
    Truncated { index: u32, at: u64 },
    /// An undefined template kind.
    #[error("template {index}: unknown kind {value}, at offset {at:#x}")]
    Kind { index: u32, value: u8, at: u64 },
    /// A payload that is neither container.
    #[error("the template section is neither a GTPL nor a counted container, at offset {at:#x}")]
    Container { at: u64 },
    /// Metadata without the magic `META`, or too short for a version and four counts.
    #[error("the template metadata has no magic `META` or is too short, at offset {at:#x}")]
    Meta { at: u64 },
}
