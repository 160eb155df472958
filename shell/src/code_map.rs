//! The addresses of the process that `rt_call_function_*` may call: code ranges of loaded modules, of executable
//! blocks and of executable mappings, and the entry points of stubs and template instances.
//!
//! The ranges lie in a sorted map behind a reader-writer lock. A direct-mapped cache of the addresses found last comes
//! first: a hit is one load. On x86-64, each thread has a small one of its own before that (`call_record`).

use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use smf_core::alloc_util::AllocError;

use crate::address_map::AddressMap;
use crate::call;
#[cfg(target_arch = "x86_64")]
use crate::call_record;
use crate::fork::ProcessLock;

/// The end of each range, by its start. Ranges do not overlap.
pub(crate) static RANGES: ProcessLock<AddressMap<usize>> = ProcessLock::new(AddressMap::new());

/// The binary logarithm of the number of slots of the cache.
const CACHE_BITS: u32 = 10;

/// Callable addresses, each in the slot of its hash; 0 for an empty slot.
///
/// An address is stored only while [`RANGES`] is locked for reading and removed only while it is locked for writing,
/// so that no address outlives its range here.
static CACHE: [AtomicUsize; 1 << CACHE_BITS] = [const { AtomicUsize::new(0) }; 1 << CACHE_BITS];

/// The slot of an address, by Fibonacci hashing: modules are mapped at similar addresses.
#[inline]
fn slot(address: usize) -> Option<&'static AtomicUsize> {
    let hash = (address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    CACHE.get((hash >> (u64::BITS - CACHE_BITS)) as usize)
}

/// Removes the cached addresses in a range. [`RANGES`] is locked for writing.
fn clear_cache(range: &Range<usize>) {
    let slots = match range.len() {
        1 => slot(range.start).map(slice::from_ref).unwrap_or_default(),
        _ => &CACHE,
    };
    for slot in slots.iter().filter(|slot| range.contains(&slot.load(Ordering::Relaxed))) {
        slot.store(0, Ordering::Release);
    }
    #[cfg(target_arch = "x86_64")]
    call_record::forget(range);
}

/// Whether `address` lies in a registered [`CodeRange`].
#[inline]
pub(crate) fn is_callable(address: usize) -> bool {
    is_cached(address) || look_up(address)
}

/// Whether `address` is one of those found last.
#[inline]
pub(crate) fn is_cached(address: usize) -> bool {
    address != 0 && slot(address).is_some_and(|slot| slot.load(Ordering::Acquire) == address)
}

#[inline(never)]
fn look_up(address: usize) -> bool {
    let ranges = RANGES.read();
    let found = ranges.at_or_before(address).is_some_and(|(_, end)| address < *end);
    if let Some(slot) = slot(address).filter(|_| found) {
        slot.store(address, Ordering::Release);
    }
    found
}

/// A range of code that may be called while this value lives.
#[derive(Debug)]
pub(crate) struct CodeRange(Range<usize>);

impl CodeRange {
    /// Registers a range.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn enter(range: Range<usize>) -> Result<Self, AllocError> {
        call::install_chain_lookup();
        if range.is_empty() {
            return Ok(Self(0..0));
        }
        RANGES.lock().insert(range.start, range.end)?;
        Ok(Self(range))
    }

    /// Registers the first address of a function alone: only that one is callable.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn entry_point(address: usize) -> Result<Self, AllocError> {
        Self::enter(address..address.saturating_add(1))
    }
}

impl Drop for CodeRange {
    fn drop(&mut self) {
        let Self(range) = self;
        let mut ranges = RANGES.lock();
        ranges.remove(range.start);
        clear_cache(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const PAGE: usize = 4096;
    /// Addresses outside of the memory of this process, so that other tests do not use them.
    const BASE: usize = 0x6000_0000_0000;

    /// Asks twice: the second answer comes out of the cache.
    fn is_callable(address: usize) -> bool {
        let first = super::is_callable(address);
        assert_eq!(super::is_callable(address), first, "{address:#x}");
        first
    }

    #[test]
    fn range_is_callable_while_registered() {
        let range = BASE + 5 * PAGE..BASE + 7 * PAGE;
        let registered = CodeRange::enter(range.clone()).unwrap();
        for (address, inside) in [
            (range.start - 1, false),
            (range.start, true),
            (range.end - 1, true),
            (range.end, false),
        ] {
            assert_eq!(is_callable(address), inside, "{address:#x}");
        }
        drop(registered);
        assert!(!is_callable(range.start) && !is_callable(range.end - 1));
    }

    #[test]
    fn random_ranges_agree_with_a_set_of_pages() {
        let mut seed = 7u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        let base = BASE + (1 << 36);
        let mut registered: Vec<CodeRange> = Vec::new();
        let mut pages: HashSet<usize> = HashSet::new();
        for _ in 0..2000 {
            if random(3) == 0 && !registered.is_empty() {
                let range = registered.swap_remove(random(registered.len())).0.clone();
                range.step_by(PAGE).for_each(|page| assert!(pages.remove(&page)));
                continue;
            }
            let start = base + random(2000) * PAGE;
            let range = start..start + (1 + random(40)) * PAGE;
            let new: Vec<usize> = range.clone().step_by(PAGE).collect();
            // Ranges do not overlap.
            if new.iter().all(|page| !pages.contains(page)) {
                pages.extend(new);
                registered.push(CodeRange::enter(range).unwrap());
            }
            let probe = base + random(2040) * PAGE;
            assert_eq!(is_callable(probe + random(PAGE)), pages.contains(&probe));
        }
        assert!(registered.len() > 8);
    }

    #[test]
    fn entry_point_is_callable_at_its_address_alone() {
        let base = BASE + (16 << 36);
        let mut registered: Vec<(usize, CodeRange)> = Vec::new();
        let mut seed = 3usize;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let address = base + (seed >> 40) % 512 * 16;
            match registered.iter().position(|(stub, _)| *stub == address) {
                Some(index) => drop(registered.swap_remove(index)),
                None => registered.push((address, CodeRange::entry_point(address).unwrap())),
            }
            let probe = base + (seed >> 20) % (2 * PAGE);
            let expected = registered.iter().any(|(stub, _)| *stub == probe);
            assert_eq!(is_callable(probe), expected, "{probe:#x}");
            assert!(!is_callable(address + 1));
        }
        assert!(registered.len() > 64);
        registered.clear();
        assert!((base..base + 2 * PAGE).step_by(16).all(|address| !is_callable(address)));
    }

    #[test]
    fn extreme_addresses_are_not_callable() {
        drop(CodeRange::enter(BASE..BASE).unwrap());
        drop(CodeRange::entry_point(usize::MAX).unwrap());
        for address in [0, 1, BASE, 1 << 48, usize::MAX / 2, usize::MAX] {
            assert!(!is_callable(address), "{address:#x}");
        }
    }

    #[test]
    fn threads_register_ranges_independently() {
        let base = BASE + (8 << 36);
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                scope.spawn(move || {
                    for round in 0..500 {
                        let start = base + (round * 8 + thread) * PAGE;
                        let registered = CodeRange::enter(start..start + PAGE).unwrap();
                        assert!(is_callable(start));
                        drop(registered);
                        assert!(!is_callable(start));
                    }
                });
            }
        });
        assert!((0..4096).all(|page| !is_callable(base + page * PAGE)));
    }
}
