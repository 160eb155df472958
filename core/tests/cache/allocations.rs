//! Allocations of the cache.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;

use smf_core::cache::{Capacity, Options, Policy};

use crate::{Directory, reserved};

std::thread_local! {
    /// The bytes that this thread has allocated and not freed.
    pub(crate) static LIVE: Cell<i64> = const { Cell::new(0) };
    /// The number of allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The allocator of the system, counted for each thread.
struct Counting;

// SAFETY: forwards to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Thread-local storage may be gone while the thread ends.
        let _ = LIVE.try_with(|live| live.set(live.get() + layout.size() as i64));
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: forwarded to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - layout.size() as i64));
        // SAFETY: forwarded to the caller.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn reserved_cache_allocates_nothing_after_its_creation() {
    let directory = Directory::new();
    let paths: Vec<_> = (0..30).map(|i| directory.file(&format!("{i}"), &[i; 100])).collect();
    let links: Vec<_> = (0..30).map(|i| directory.0.join(format!("./{i}"))).collect();
    for policy in [Policy::Lru, Policy::Sieve] {
        let options = Options { policy, ..Options::default() };
        let cache = reserved(Capacity { files: 8, bytes: 1 << 20 }, options);
        let before = COUNT.get();
        for round in 0..2000u32 {
            let at = (round * round % 31 % 30) as usize;
            let held = cache.get(paths[at].as_os_str().as_bytes()).unwrap();
            assert_eq!(*held, [at as u8; 100]);
            drop(cache.get(links[29 - at].as_os_str().as_bytes()).unwrap());
            drop(cache.insert(&round.to_le_bytes(), b"inserted").unwrap());
            if round % 100 == 99 {
                cache.clear();
            }
        }
        assert_eq!(COUNT.get(), before);
        assert!(cache.statistics().evictions > 1000);
    }
}
