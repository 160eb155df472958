//! When the memory of replaced and unloaded versions is freed.
//!
//! This file contains no unsafe operation. [`collect_quiescent`](ModuleLoader::collect_quiescent) is unsafe to call
//! because it may free machine code that a thread is running.
#![allow(unsafe_code)]

use super::inner::ModuleLoader;
use super::retired::run_destructors;

impl ModuleLoader {
    /// Frees replaced and unloaded versions that no thread can reach. Every replacement and unload does so too.
    ///
    /// A version stays while it is held, and while a hold of a module that imports from it, directly or through other modules,
    /// or a counted call by address, lasts that started before the version was replaced. A replaced version stays until
    /// [`collect_quiescent`](Self::collect_quiescent) if a stable address of its module was [returned](Self::resolve) or
    /// imported: calls by such an address are not counted.
    pub fn collect(&self) {
        let left = self.state().retired.begin_unregister(&self.domains);
        if !left.is_empty() {
            left.iter().for_each(|(version, with_stubs)| version.unregister(*with_stubs));
            self.state().retired.unregistered(&left, &self.domains);
        }
        let due = self.state().retired.begin_finalize(&self.domains);
        if !due.is_empty() {
            let due = run_destructors(due);
            self.state().retired.finalized(&due);
        }
        let unreachable = self.state().retired.take_unreachable(&self.domains);
        for retired in &unreachable {
            // Newer versions may use data of this one; this one does not use data of older ones any more.
            let owners = core::mem::take(&mut *retired.version().data_owners.lock());
            drop(owners);
            let handle = retired.version().handle;
            let is_last = !self.state().has_version(handle);
            if is_last {
                self.forward.free(handle);
            }
        }
        drop(unreachable);
    }

    /// As [`collect`](Self::collect), and also frees replaced versions that threads may have entered through a stable
    /// address. A host that replaces modules and calls them by such addresses calls this from time to time;
    /// [`LoadError::ReplacedCodeLimit`](super::LoadError::ReplacedCodeLimit) reports that it is due.
    ///
    /// # Safety
    /// From the start of this call to its end no thread is inside code of a module that it entered other than
    ///
    /// * while it holds a version of that module, or of one that imports from it, directly or through other modules, or
    /// * by a call that pins [`LoaderOptions::call_epochs`](super::LoaderOptions::call_epochs).
    ///
    /// A thread is inside from the first instruction of the stub until it has returned to the host, including the time
    /// that it spends in a host function that the code calls.
    pub unsafe fn collect_quiescent(&self) {
        self.state().retired.declare_quiescent();
        self.collect();
    }
}
