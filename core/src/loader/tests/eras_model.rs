//! The table of entry points of a module that may be replaced, in every order of steps: a stub reads the
//! one that the root leads to, and who replaced it gives back its memory once nobody can be inside.
#![allow(unsafe_code)]

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// The root, and two tables: 1 is an entry that leads somewhere.
struct Tables(AtomicUsize, [UnsafeCell<u32>; 2]);

// SAFETY: loom itself fails the model when two accesses to a table are not ordered.
unsafe impl Sync for Tables {}

impl Tables {
    fn write(&self, table: usize, entry: u32) {
        self.1[table].with_mut(|table| {
            // SAFETY: as above.
            unsafe { *table = entry };
        });
    }
}

#[test]
fn a_table_is_not_freed_under_a_stub() {
    loom::model(|| {
        let eras = Arc::new(Eras::new());
        let tables = Arc::new(Tables(AtomicUsize::new(0), [1, 0].map(UnsafeCell::new)));
        let caller = {
            let (eras, tables) = (eras.clone(), tables.clone());
            thread::spawn(move || {
                let entered = eras.enter();
                let root = tables.0.load(Acquire);
                tables.1[root].with(|table| {
                    // SAFETY: as above.
                    assert_eq!(unsafe { *table }, 1);
                });
                eras.leave(entered);
            })
        };
        tables.write(1, 1);
        tables.0.store(1, Release);
        let retirement = eras.retire();
        eras.advance();
        if eras.has_passed(retirement) {
            tables.write(0, 0);
        }
        caller.join().unwrap();
    });
}
