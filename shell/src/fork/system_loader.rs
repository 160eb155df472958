//! A fork waits until no thread of this library is inside of the system's loader.
//!
//! dlopen(3) and dlclose(3) have locks and lists of their own, which a child inherits in the state in which another thread was
//! changing them: it waits for ever, or the C library ends it. These calls are counted, and the forking thread waits until
//! there are none. It is no lock: a thread may call this library in an initialiser that dlopen runs, while another thread that
//! is counted waits for the system's loader.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::HeldAtFork;

/// The number of threads inside, or [`FORKING`].
struct Gate(AtomicUsize);

/// A thread is forking: no other enters.
const FORKING: usize = usize::MAX;

/// How long a thread waits before it looks again. Opening a library takes longer.
const PAUSE: Duration = Duration::from_micros(50);

static GATE: Gate = Gate(AtomicUsize::new(0));

/// For the [list](super::handlers).
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&GATE];

std::thread_local! {
    /// How many calls of the system's loader this thread is inside of: initialisers may call this library.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

impl Gate {
    /// Replaces the number, as soon as there is a next one.
    fn step(&self, next: impl Fn(usize) -> Option<usize>) {
        while self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, &next).is_err() {
            thread::sleep(PAUSE);
        }
    }
}

impl HeldAtFork for Gate {
    fn hold(&'static self) {
        // An initialiser that forks is inside itself.
        if DEPTH.get() == 0 {
            self.step(|inside| (inside == 0).then_some(FORKING));
        }
    }

    unsafe fn release(&'static self) {
        if DEPTH.get() == 0 {
            self.0.store(0, Ordering::Release);
        }
    }
}

/// Other threads of the parent are not in this child.
pub(crate) fn begin_child() {
    GATE.0.store(DEPTH.get().min(1), Ordering::Release);
}

/// Calls the system's loader; `call` does not unwind.
pub(crate) fn with_system_loader<T>(call: impl FnOnce() -> T) -> T {
    super::handlers::register();
    let depth = DEPTH.get();
    if depth == 0 {
        GATE.step(|inside| (inside != FORKING).then(|| inside + 1));
    }
    DEPTH.set(depth + 1);
    let result = call();
    DEPTH.set(depth);
    if depth == 0 {
        GATE.0.fetch_sub(1, Ordering::AcqRel);
    }
    result
}
