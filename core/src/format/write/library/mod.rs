//! Writing library archives, and replacing a module in one.

mod archive;
#[cfg(feature = "alloc")]
mod replace;

pub use archive::{LibraryWriteError, NamedModule, length, write};
#[cfg(feature = "alloc")]
pub use replace::{LibraryReplaceError, with_module};
