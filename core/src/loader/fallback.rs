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
    used: Vec<UsedExport>,
}

/// An export that the code of the resolver uses.
pub(super) struct UsedExport {
    pub(super) handle: ModuleHandle,
    pub(super) name: Name,
    pub(super) export: Export,
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
    ) -> Result<(T, Vec<UsedExport>), AllocError> {
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

    /// Adds an export to the newest call of this thread, if there is one and `is_of` accepts its load set.
    pub(super) fn add(
        &self,
        is_of: impl FnOnce(Option<u64>) -> bool,
        name: &[u8],
        (handle, address, kind): (ModuleHandle, u64, SymbolKind),
    ) -> Result<(), AllocError> {
        let mut calls = self.0.lock();
        if calls.is_empty() {
            return Ok(());
        }
        let thread = thread_id();
        let call = calls.iter_mut().rfind(|call| call.thread == thread);
        let Some(call) = call.filter(|call| is_of(call.set)) else { return Ok(()) };
        let export = Export { address, kind, binding: Binding::Global, size: 0 };
        try_push(&mut call.used, UsedExport { handle, name: Name::new(name)?, export })
    }
}
