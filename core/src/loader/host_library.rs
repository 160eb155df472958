//! Shared libraries of the system that the host adds to a loader.
//!
//! This file contains no unsafe operation. [`add_library`](ModuleLoader::add_library) is unsafe to call because the
//! library runs code.
#![allow(unsafe_code)]

use super::error::{LoadError, Result};
use super::inner::ModuleLoader;
use crate::alloc_util::TryArc;
use crate::link::{Libraries, Name};

impl ModuleLoader {
    /// Opens the shared library `name` of the system, a path if it contains a slash, and resolves names in it that
    /// neither a module, [`define`](Self::define) nor the host resolver defines. Libraries are searched in the order in
    /// which they are added. They stay open as long as the loader.
    ///
    /// # Errors
    /// [`LoadError::Library`]; [`LoadError::OutOfMemory`].
    ///
    /// # Safety
    /// The caller trusts the library that the system finds: its tables, its code and its initialisers, which run before
    /// this returns, and its terminators.
    pub unsafe fn add_library(&self, name: &[u8]) -> Result<()> {
        let library = Libraries::open_one(name, self.context.options.host_services);
        let library = library.map_err(|error| {
            Name::in_error(name, |library| LoadError::Library { library, error })
        })?;
        Ok(self.state().add_library(TryArc::new(library)?)?)
    }
}
