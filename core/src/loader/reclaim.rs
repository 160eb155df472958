//! When the memory of replaced and unloaded versions is freed.
//!
//! There is no unsafe operation here: [`collect_quiescent`](ModuleLoader::collect_quiescent) is unsafe to call
//! because what it frees may be machine code that a thread is running.
#![allow(unsafe_code)]

use super::module_loader::ModuleLoader;

impl ModuleLoader {
    /// Frees the versions that were replaced or unloaded and that no thread can reach any more. Happens by
    /// itself whenever a module is replaced or unloaded.
    ///
    /// A version stays while a thread holds a module, or is in a call by address, that it began before
    /// the version was replaced. A replaced version of a module of which a stable address was
    /// [handed out](Self::resolve), or that another module imports from, stays until
    /// [`collect_quiescent`](Self::collect_quiescent): nothing counts the threads that call it by such an address.
    pub fn collect(&self) {
        let left = self.state().retired.begin_unregister(self.domains());
        if !left.is_empty() {
            left.iter().for_each(|left| left.version.unregister(left.with_stubs));
            self.state().retired.unregistered(&left, self.domains());
        }
        let unreachable = self.state().take_unreachable(self.domains());
        for retired in &unreachable {
            // A newer version may use data of this one; this one uses data of others no longer.
            let kept = core::mem::take(&mut *retired.version().keeps.lock());
            drop(kept);
        }
        drop(unreachable);
    }

    /// Frees replaced versions, as [`collect`](Self::collect), also those that threads may have entered through
    /// a stable address. To be called from time to time by a host that replaces modules and calls them so;
    /// [`LoadError::ReplacedCodeLimit`](super::LoadError::ReplacedCodeLimit) says when it is due.
    ///
    /// # Safety
    /// From the start of this call to its end no thread is inside code of a module that it entered other than
    ///
    /// * while it holds a module of this loader, or
    /// * by a call that pins [`LoaderOptions::call_epochs`](super::LoaderOptions::call_epochs).
    ///
    /// A thread is inside from the first instruction of the stub until it has returned to the host, also while
    /// it waits in a function of the host that the code has called.
    pub unsafe fn collect_quiescent(&self) {
        self.state().retired.declare_quiescent();
        self.collect();
    }
}
