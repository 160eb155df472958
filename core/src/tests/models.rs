//! Models of lock-free protocols, checked in every interleaving and reordering (`RUSTFLAGS="--cfg loom"`).
//!
//! The tables of code are created in constants, which loom's atomics do not support. So this model repeats their steps
//! with the same memory orderings, and a change of one requires a change of the other.
//! [`TryArc`](crate::alloc_util::TryArc) and the epochs of the loader are modelled in their own files.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Acquire, Release};
use loom::thread;

/// Values that are written once, and the index of the current one.
struct Published {
    current: AtomicUsize,
    values: [UnsafeCell<u32>; 3],
}

// SAFETY: loom reports unordered accesses to a value.
unsafe impl Sync for Published {}

/// The publication protocol of the stub table of the loader, the entries of compiled functions and the instance table.
#[test]
fn published_value_is_complete() {
    loom::model(|| {
        let values = [0, 0, 0].map(UnsafeCell::new);
        let published = Arc::new(Published { current: AtomicUsize::new(0), values });
        let readers = [(); 2].map(|()| {
            let published = published.clone();
            thread::spawn(move || {
                let current = published.current.load(Acquire);
                published.values[current].with(|value| {
                    // SAFETY: as above.
                    assert_eq!(unsafe { *value } as usize, current);
                });
            })
        });
        for next in 1..3 {
            published.values[next].with_mut(|value| {
                // SAFETY: as above.
                unsafe { *value = next as u32 };
            });
            published.current.store(next, Release);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
