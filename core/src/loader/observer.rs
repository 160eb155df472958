//! Notification of the host about code that becomes callable.

use alloc::boxed::Box;
use core::ops::Range;

use super::error::LoadError;
use crate::alloc_util::{AttachResult, TryArc};
use crate::codegen::registry::CodeRegistry;
use crate::format::Smf;
use crate::link::Module;

/// What a loader has done, or refused to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum LoadEvent<'e> {
    /// A module has been loaded, by itself or as a provider of another one.
    Loaded {
        /// Its name.
        module: &'e [u8],
        /// The size of its code, its data and its file; 0 if it is not an SMF module.
        bytes: usize,
    },
    /// A module has been replaced by a new version.
    Reloaded {
        /// Its name.
        module: &'e [u8],
        /// As in [`Loaded`](Self::Loaded), of the new version.
        bytes: usize,
        /// The number of data symbols whose contents have been copied.
        symbols: u32,
    },
    /// A module has been unloaded. Its memory may be freed later.
    Unloaded {
        /// Its name.
        module: &'e [u8],
    },
    /// A module has not been loaded, replaced or unloaded.
    Refused {
        /// Its name.
        module: &'e [u8],
        /// The reason.
        error: &'e LoadError,
    },
}

/// The name of a module, and its file.
pub type NamedModule<'m> = (&'m [u8], &'m Smf<'m>);

/// A host that is notified of new code, for example to tell debuggers and profilers.
///
/// The returned values are registrations: the loader drops each one before it frees the code. The code of bytecode is
/// registered through the [`CodeRegistry`], on the thread that runs it: functions as `module:function`, their
/// trampolines as `module:function:entry`, and what the functions of a module share as `module:stubs`. The registry must
/// not use the loader.
pub trait LoadObserver: CodeRegistry {
    /// A module is about to be linked, by itself, as a new version, or as a provider. `definer` returns the name and the file
    /// of the SMF module that defines an import.
    ///
    /// # Errors
    /// The reason why it must not be linked, such as [`LoadError::ImportTypes`]; nothing is loaded or replaced.
    fn check_imports<'m>(
        &self,
        module: NamedModule<'_>,
        definer: &dyn Fn(&[u8]) -> Option<NamedModule<'m>>,
    ) -> Result<(), LoadError> {
        let _ = (module, definer);
        Ok(())
    }

    /// A module has been linked. No lookup finds it yet.
    ///
    /// # Errors
    /// [`AllocError`](crate::alloc_util::AllocError); the module is not loaded.
    fn on_load(&self, name: &[u8], module: &Module<'_>) -> AttachResult;

    /// Notifies the host of an event, on the thread that caused it and without locks of the loader.
    fn on_event(&self, event: &LoadEvent<'_>) {
        let _ = event;
    }

    /// A trampoline by which machine code calls a bytecode function has been made; its first byte is the address of the
    /// function. Must not use the loader.
    ///
    /// # Errors
    /// [`AllocError`](crate::alloc_util::AllocError); the function gets no address.
    fn on_trampoline(&self, module: &[u8], function: &[u8], code: Range<usize>) -> AttachResult {
        let _ = (module, function, code);
        Ok(None)
    }

    /// A stub of a function of a reloadable module has been made. Must not use the loader.
    ///
    /// # Errors
    /// [`AllocError`](crate::alloc_util::AllocError); there is no stub.
    fn on_stub(&self, code: Range<usize>) -> AttachResult {
        let _ = code;
        Ok(None)
    }
}

/// The observer of a loader.
pub(super) type SharedObserver = TryArc<Box<dyn LoadObserver>>;

/// A registration returned by an observer.
pub(super) type Registration = Option<Box<dyn Send + Sync>>;
