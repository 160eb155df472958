//! The progress of a module with constructors, destructors or exit handlers.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::link::Module;
use crate::memory::lock::wait_long;
use crate::memory::thread_id;

/// Numbers the runs of constructors, of all loaders.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The progress of a module with constructors, destructors or exit handlers.
#[derive(Debug, Default)]
pub(super) struct InitState {
    /// The number of the run of its constructors; 0 before it.
    order: AtomicU64,
    /// The thread that is about to run its constructors or runs them; 0 for none.
    running: AtomicI32,
}

impl InitState {
    /// Announces that the calling thread runs the constructors next; before other threads find the module.
    pub(super) fn announce(&self) {
        self.running.store(thread_id(), Ordering::Relaxed);
    }

    /// Runs the constructors of the module.
    pub(super) fn run_constructors(&self, module: &Module<'_>) {
        self.order.store(NEXT.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        module.run_constructors();
        // Release: a thread that waits for the end observes what the constructors did.
        self.running.store(0, Ordering::Release);
    }

    /// Waits while another thread is about to run the constructors or runs them.
    pub(super) fn wait(&self) {
        let me = thread_id();
        wait_long(|| [0, me].contains(&self.running.load(Ordering::Acquire)).then_some(()));
    }

    /// The number of the run of the constructors, ascending in time; 0 before it.
    pub(super) fn order(&self) -> u64 {
        self.order.load(Ordering::Relaxed)
    }
}
