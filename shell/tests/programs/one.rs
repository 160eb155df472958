//! Hash maps, threads, thread-local values and caught panics of the standard library.
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

static DROPPED: AtomicI64 = AtomicI64::new(0);

struct Sums(HashMap<String, i64>);

impl Drop for Sums {
    fn drop(&mut self) {
        DROPPED.fetch_add(self.0.values().sum(), Ordering::SeqCst);
    }
}

thread_local! {
    static SUMS: RefCell<Sums> = RefCell::new(Sums(HashMap::new()));
}

fn sum_to(n: i64) -> i64 {
    SUMS.with_borrow_mut(|sums| {
        (0..n).for_each(|i| *sums.0.entry(format!("key {}", i % 7)).or_default() += i);
        sums.0.values().sum()
    })
}

/// The sums below `n` of two threads that have ended, and that of this one.
#[unsafe(no_mangle)]
pub extern "C" fn count(n: i64) -> i64 {
    for _ in 0..2 {
        assert_eq!(thread::spawn(move || sum_to(n)).join().unwrap(), n * (n - 1) / 2);
    }
    DROPPED.load(Ordering::SeqCst) * 1000 + sum_to(n)
}

/// `n`, or -1 for the panic of a negative number, which is caught here.
#[unsafe(no_mangle)]
pub extern "C" fn caught(n: i64) -> i64 {
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(|| {
        let text = String::from("dropped while unwinding");
        assert!(n >= 0, "{text}");
        n
    });
    result.unwrap_or(-1)
}
