//! Steps of threads that take no lock, in every order that the processor and the compiler may make of
//! them (`RUSTFLAGS="--cfg loom"`).
//!
//! The tables of code are made in constants, which loom's atomics cannot be: what stands here are their steps, with the orderings that the file named at each has. Who changes one
//! changes the other. [`Eras`](crate::loader) and [`TryArc`](crate::alloc_util::TryArc) are modelled where
//! they are written, as they are.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Acquire, Release};
use loom::thread;

/// Things that are made once, and a word that says which of them is the present one.
struct Made {
    present: AtomicUsize,
    things: [UnsafeCell<u32>; 3],
}

// SAFETY: loom itself fails the model when two accesses to a thing are not ordered.
unsafe impl Sync for Made {}

/// `loader::entries` (the root of a table), `tier::native` (the entry of a function), and
/// `instantiate::made` (the present table): whoever finds a thing finds it finished.
#[test]
fn what_is_found_was_finished() {
    loom::model(|| {
        let things = [0, 0, 0].map(UnsafeCell::new);
        let made = Arc::new(Made { present: AtomicUsize::new(0), things });
        let readers = [(); 2].map(|()| {
            let made = made.clone();
            thread::spawn(move || {
                let present = made.present.load(Acquire);
                made.things[present].with(|thing| {
                    // SAFETY: as above.
                    assert_eq!(unsafe { *thing } as usize, present);
                });
            })
        });
        for next in 1..3 {
            made.things[next].with_mut(|thing| {
                // SAFETY: as above.
                unsafe { *thing = next as u32 };
            });
            made.present.store(next, Release);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}
