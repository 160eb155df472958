//! Notification of the host about code that becomes callable.

use alloc::boxed::Box;
use core::ops::Range;

use crate::alloc_util::{AttachResult, TryArc};
use crate::link::Module;

/// A host that is notified of new code, for example to tell debuggers and profilers.
///
/// The returned values are registrations: the loader drops each one before it frees the code.
pub trait LoadObserver: Send + Sync {
    /// A module has been linked. No lookup finds it yet.
    ///
    /// # Errors
    /// [`AllocError`](crate::alloc_util::AllocError); the module is not loaded.
    fn on_load(&self, name: &[u8], module: &Module<'_>) -> AttachResult;

    /// A bytecode function has been compiled, on the thread that runs it. Must not use the loader.
    fn on_compile(
        &self,
        module: &[u8],
        function: &[u8],
        code: Range<usize>,
    ) -> Option<Box<dyn Send + Sync>> {
        let _ = (module, function, code);
        None
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

    /// A stub of a function of a reloadable module has been made.
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
