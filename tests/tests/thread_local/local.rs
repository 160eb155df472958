//! `thread_local!` with std.
#![allow(missing_docs)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

static DROPPED: AtomicI64 = AtomicI64::new(0);

struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        assert_eq!(self.0, "guard");
        DROPPED.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static COUNT: Cell<i64> = const { Cell::new(3) };
    static LAZY: RefCell<Vec<i64>> = RefCell::new(vec![1, 2, 3]);
    static GUARD: Guard = Guard(String::from("guard"));
}

fn check() -> i64 {
    COUNT.set(COUNT.get() + 1);
    GUARD.with(|guard| assert_eq!(guard.0, "guard"));
    LAZY.with_borrow_mut(|list| {
        list.push(COUNT.get());
        list.iter().sum()
    })
}

/// The sum over eight threads, and the guards that were dropped.
#[unsafe(no_mangle)]
pub extern "C" fn check_local() -> i64 {
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(check)).collect();
    let sum: i64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    sum * 100 + DROPPED.load(Ordering::SeqCst)
}
