//! A second module with a copy of the standard library of its own, which calls the first one.
use std::collections::HashMap;
use std::panic;

unsafe extern "C" {
    safe fn caught(n: i64) -> i64;
}

/// The number of distinct results of `caught`, and 100 if a panic of this module is caught as well.
#[unsafe(no_mangle)]
pub extern "C" fn distinct(n: i64) -> i64 {
    panic::set_hook(Box::new(|_| {}));
    let results: HashMap<i64, i64> = (-n..n).map(|i| (caught(i), i)).collect();
    let own = panic::catch_unwind(|| results[&n]);
    results.len() as i64 + if own.is_err() { 100 } else { 0 }
}
