//! Calls and reclamation, in every interleaving.
//!
//! A caller pins the epoch and goes through a stub: it reads the root, then the table that the root refers to, then
//! runs code of the version that the table refers to. The reloading thread writes the root and frees the old table and
//! the old version when the grace period of the retirement has passed. Freeing an object is modelled by a write to its
//! cell: loom fails the model when the write is not ordered after every read.
//!
//! A stub reads through the root by plain dependent loads, which every supported machine executes in order. The models
//! have no dependent loads, so they acquire.
#![allow(unsafe_code)]

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{Ordering::SeqCst, fence};
use loom::thread;

/// Runs `model` in every interleaving with at most this number of preemptions: all of them would take hours.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// The contents of table cells and code cells until they are freed.
const IN_USE: u32 = 1;

/// A stub, and two versions of a module that it may call.
struct Module {
    /// The index of the current table.
    root: AtomicUsize,
    tables: [UnsafeCell<u32>; 2],
    code: [UnsafeCell<u32>; 2],
    /// Whether version 0 is registered for calls by its address.
    is_registered: AtomicUsize,
}

// SAFETY: loom itself fails the model when two accesses to a cell are not ordered.
unsafe impl Sync for Module {}

fn read(cell: &UnsafeCell<u32>) {
    cell.with(|cell| {
        // SAFETY: as for `Sync`.
        assert_eq!(unsafe { *cell }, IN_USE, "read after it was freed");
    });
}

fn write(cell: &UnsafeCell<u32>, value: u32) {
    cell.with_mut(|cell| {
        // SAFETY: as for `Sync`.
        unsafe { *cell = value };
    });
}

impl Module {
    fn new() -> Self {
        Self {
            root: AtomicUsize::new(0),
            tables: [IN_USE, 0].map(UnsafeCell::new),
            code: [IN_USE, 0].map(UnsafeCell::new),
            is_registered: AtomicUsize::new(1),
        }
    }

    /// Calls through the stub.
    fn call(&self, epochs: &Epochs) {
        let _pinned = epochs.pin();
        let version = self.root.load(Acquire);
        read(&self.tables[version]);
        read(&self.code[version]);
    }

    /// Calls by the address of version 0, if it is registered.
    fn call_version(&self, epochs: &Epochs) {
        let _pinned = epochs.pin();
        if self.is_registered.load(Acquire) == 1 {
            read(&self.code[0]);
        }
    }

    /// Makes version 1 the current one.
    fn replace(&self, epochs: &Epochs) -> RetiredAt {
        write(&self.code[1], IN_USE);
        write(&self.tables[1], IN_USE);
        self.root.store(1, Release);
        epochs.retire()
    }

    fn free_old(&self) {
        write(&self.tables[0], 0);
        write(&self.code[0], 0);
    }
}

#[test]
fn replaced_code_is_not_freed_while_a_counted_call_is_inside() {
    loom::model(|| {
        let (epochs, module) = (Arc::new(Epochs::new()), Arc::new(Module::new()));
        let caller = {
            let (epochs, module) = (epochs.clone(), module.clone());
            thread::spawn(move || module.call(&epochs))
        };
        let retired_at = module.replace(&epochs);
        epochs.advance();
        let is_freed = epochs.has_passed(retired_at);
        if is_freed {
            module.free_old();
        }
        caller.join().unwrap();
        epochs.advance();
        assert!(epochs.has_passed(retired_at), "no thread is pinned");
    });
}

/// Two loaders share the epochs of calls: the other one advances them at any time. The table stands for the version
/// here. With four preemptions the model detects a pin without its second read of the epoch, and a retirement that only
/// loads the epoch.
#[test]
fn another_loader_that_advances_the_epoch_frees_nothing_early() {
    check(4, || {
        let (epochs, module) = (Arc::new(Epochs::new()), Arc::new(Module::new()));
        let caller = {
            let (epochs, module) = (epochs.clone(), module.clone());
            thread::spawn(move || {
                let _pinned = epochs.pin();
                read(&module.tables[module.root.load(Acquire)]);
            })
        };
        let other_loader = {
            let epochs = epochs.clone();
            thread::spawn(move || epochs.advance())
        };
        write(&module.tables[1], IN_USE);
        module.root.store(1, Release);
        let retired_at = epochs.retire();
        epochs.advance();
        if epochs.has_passed(retired_at) {
            write(&module.tables[0], 0);
        }
        caller.join().unwrap();
        other_loader.join().unwrap();
    });
}

/// A call by the address of a version looks it up while pinned: the version is unregistered first, and
/// freed after a second grace period.
#[test]
fn version_is_not_freed_during_a_call_by_its_own_address() {
    check(3, || {
        let (epochs, module) = (Arc::new(Epochs::new()), Arc::new(Module::new()));
        let caller = {
            let (epochs, module) = (epochs.clone(), module.clone());
            thread::spawn(move || module.call_version(&epochs))
        };
        let retired_at = module.replace(&epochs);
        epochs.advance();
        if epochs.has_passed(retired_at) {
            module.is_registered.store(0, Release);
            let unregistered_at = epochs.retire();
            epochs.advance();
            if epochs.has_passed(unregistered_at) {
                module.free_old();
            }
        }
        caller.join().unwrap();
    });
}

/// A thread that calls without a guard: its host counts it. In place of `membarrier(2)`, both threads execute a fence.
/// The model detects a host that does not fence, one that ignores the epoch in which the thread reports to be outside,
/// and an advance that does not ask the host.
#[test]
fn version_is_not_freed_during_a_call_that_the_host_counts() {
    check(4, || {
        let (epochs, module) = (Arc::new(Epochs::new()), Arc::new(Module::new()));
        let [is_inside, left_in] = [0; 2].map(|zero| Arc::new(AtomicUsize::new(zero)));
        let caller = {
            let (epochs, module) = (epochs.clone(), module.clone());
            let (is_inside, left_in) = (is_inside.clone(), left_in.clone());
            thread::spawn(move || {
                left_in.store(epochs.current(), Release);
                is_inside.store(1, Relaxed);
                fence(SeqCst);
                let version = module.root.load(Acquire);
                read(&module.tables[version]);
                read(&module.code[version]);
                is_inside.store(0, Release);
            })
        };
        let have_left = |epoch| {
            fence(SeqCst);
            left_in.load(Acquire) >= epoch || is_inside.load(Acquire) == 0
        };
        let retired_at = module.replace(&epochs);
        epochs.advance_if(have_left);
        if epochs.has_passed(retired_at) {
            module.free_old();
        }
        caller.join().unwrap();
        epochs.advance_if(have_left);
        assert!(epochs.has_passed(retired_at), "the thread is outside");
    });
}
