//! What the fallback resolver uses on behalf of a module that is being linked.
//!
//! The resolver may make code for the module, such as an instance of a template, which calls functions of other modules. The
//! module then depends on them as if it imported from them itself: they are not unloaded before it.

use alloc::vec::Vec;

use super::handle::ModuleHandle;
use crate::alloc_util::{AllocError, try_push};
use crate::format::{Binding, SymbolKind};
use crate::link::{Export, Name};
use crate::memory::lock::Lock;
use crate::memory::thread_id;

/// The calls of fallback resolvers in progress.
#[derive(Default)]
pub(super) struct FallbackCalls(Lock<Vec<Call>>);

/// A call of the fallback resolver for an import of a member of a load set.
struct Call {
    thread: i32,
    /// The number of the load set.
    set: Option<u64>,
    used: Vec<Used>,
}

/// What the code of the resolver uses.
pub(super) enum Used {
    /// An export of a module.
    Export { handle: ModuleHandle, name: Name, export: Export },
    /// A function of a module of another load set in progress, by the name of its [stub](super::forward).
    Forward(Name),
}

impl Used {
    pub(super) fn export(
        handle: ModuleHandle,
        name: &[u8],
        (address, kind): (u64, SymbolKind),
    ) -> Result<Self, AllocError> {
        let export = Export { address, kind, binding: Binding::Global, size: 0 };
        Ok(Used::Export { handle, name: Name::new(name)?, export })
    }
}

/// Ends the newest call of a thread, also if the resolver panics.
struct CallGuard<'c> {
    calls: &'c FallbackCalls,
    thread: i32,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        let mut calls = self.calls.0.lock();
        let newest = calls.iter().rposition(|call| call.thread == self.thread);
        let ended = newest.map(|newest| calls.remove(newest));
        drop(calls);
        drop(ended);
    }
}

impl FallbackCalls {
    /// Runs `resolve` for a member of the load set `set`. Returns also what it has used.
    pub(super) fn run<T>(
        &self,
        set: Option<u64>,
        resolve: impl FnOnce() -> T,
    ) -> Result<(T, Vec<Used>), AllocError> {
        let thread = thread_id();
        try_push(&mut self.0.lock(), Call { thread, set, used: Vec::new() })?;
        let _guard = CallGuard { calls: self, thread };
        let resolved = resolve();
        let mut calls = self.0.lock();
        let call = calls.iter_mut().rfind(|call| call.thread == thread);
        let used = call.map(|call| core::mem::take(&mut call.used)).unwrap_or_default();
        drop(calls);
        Ok((resolved, used))
    }

    /// Adds what `used` returns for the load set of the newest call of this thread, if there is one.
    pub(super) fn add(
        &self,
        used: impl FnOnce(Option<u64>) -> Result<Used, AllocError>,
    ) -> Result<(), AllocError> {
        let mut calls = self.0.lock();
        if calls.is_empty() {
            return Ok(());
        }
        let thread = thread_id();
        let Some(call) = calls.iter_mut().rfind(|call| call.thread == thread) else {
            return Ok(());
        };
        let used = used(call.set)?;
        try_push(&mut call.used, used)
    }
}
