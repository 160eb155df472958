//! Constraints on the addresses of new memory, and the search for addresses that satisfy them.
//!
//! The kernel finds free addresses anywhere and, on x86-64, below 2 GiB. For other placements it is asked for one
//! address after another.

use core::ops::Range;

use super::page_count::PageCount;
use super::region::Region;
use super::sys::{self, Place};
use super::types::{MemoryError, Protection, Result};

/// The addresses at which memory is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At any address. The cheapest.
    Anywhere,
    /// Every byte below 2 GiB, so that its address fits 32 bits, signed or unsigned.
    Low2GiB,
    /// Every byte less than 2 GiB - 16 MiB away from this address, so that signed 32-bit displacements
    /// reach in both directions. The 16 MiB allow for addends and for neighbours of the address.
    Near(usize),
    /// As [`Near`](Self::Near) if such addresses are free, otherwise as [`Anywhere`](Self::Anywhere).
    PreferNear(usize),
    /// Every byte less than 2 GiB - 16 MiB away from both addresses, lowest first, if such addresses are free,
    /// otherwise as [`Anywhere`](Self::Anywhere). Never in the gigabyte above the higher address: if both lie in a
    /// program, its heap starts and grows there.
    PreferNearBoth(usize, usize),
}

/// 2 GiB: the reach of a signed 32-bit displacement.
const TWO_GIB: usize = 2 << 30;

/// The largest distance in bytes that [`Placement::Near`] allows.
const MAX_DISTANCE: usize = TWO_GIB - (16 << 20);

/// The lowest address that an ordinary process can map: `vm.mmap_min_addr` as distributions set it.
const MIN_ADDRESS: usize = 64 << 10;

impl Placement {
    /// The addresses that satisfy the placement, or that it prefers.
    pub(crate) fn window(self) -> Range<usize> {
        match self {
            Placement::Anywhere => 0..usize::MAX,
            Placement::Low2GiB => MIN_ADDRESS..TWO_GIB,
            Placement::Near(address) | Placement::PreferNear(address) => {
                address.saturating_sub(MAX_DISTANCE).max(MIN_ADDRESS)
                    ..address.saturating_add(MAX_DISTANCE)
            }
            Placement::PreferNearBoth(low, high) => {
                high.saturating_sub(MAX_DISTANCE).max(MIN_ADDRESS)..low.saturating_add(MAX_DISTANCE)
            }
        }
    }
}

/// The distance in bytes between the first candidates.
const COARSE_STEP: usize = 32 << 20;

/// How often the distance is halved before the search fails: down to 1 MiB.
const HALVINGS: u32 = 5;

/// The number of candidates on each side.
const DISTANCE_COUNT: usize = TWO_GIB / (COARSE_STEP >> HALVINGS);

/// Maps `size` bytes with `protection` at addresses that satisfy `placement`.
///
/// # Errors
/// * [`MemoryError::Map`]: no memory at any address.
/// * [`MemoryError::NoFreeRange`]: no suitable addresses. The search finds every gap that is a mebibyte and a page
///   larger than `size`, in at most 4,096 system calls.
pub(super) fn map(size: PageCount, placement: Placement, protection: Protection) -> Result<Region> {
    let map = |place| Region::map(place, size, protection);
    let window = placement.window();
    let middle = match placement {
        Placement::Anywhere => return map(Place::Anywhere),
        Placement::Low2GiB => TWO_GIB / 2,
        Placement::Near(address)
        | Placement::PreferNear(address)
        | Placement::PreferNearBoth(address, _) => address,
    };
    // The kernel maps below the libraries, so its own choice is usually near them. If this fails, there is no memory
    // and nothing to search for.
    let hint = Place::Hint(below(middle, 0, size).unwrap_or(MIN_ADDRESS));
    let first = match placement {
        Placement::Low2GiB => map(Place::Low).or_else(|_| map(hint)),
        _ => map(hint),
    }?;
    if lies_within(first.addresses().start, size, &window) {
        return Ok(first);
    }
    let lowest_above = match placement {
        Placement::PreferNearBoth(_, high) => high.saturating_add(HEAP_DISTANCE),
        _ => middle,
    };
    match (search(size, &window, middle, lowest_above, map), placement) {
        (Some(region), _) => Ok(region),
        (None, Placement::PreferNear(_) | Placement::PreferNearBoth(..)) => Ok(first),
        (None, _) => Err(MemoryError::NoFreeRange {
            size: size.bytes(),
            low: window.start,
            high: window.end,
        }),
    }
}

/// How far above a program its heap may start: the kernel shifts the program break by up to 1 GiB.
const HEAP_DISTANCE: usize = (1 << 30) + (64 << 20);

/// Tries one address after another: first below `middle`, then above it, where the heap and the stack of a program
/// grow, from `lowest_above` on; on each side in coarse steps first.
fn search(
    size: PageCount,
    window: &Range<usize>,
    middle: usize,
    lowest_above: usize,
    map: impl Fn(Place) -> Result<Region>,
) -> Option<Region> {
    let candidate = |number| match number {
        0..DISTANCE_COUNT => below(middle, distance(number), size),
        _ => above(middle, distance(number - DISTANCE_COUNT)).filter(|at| *at >= lowest_above),
    };
    (0..2 * DISTANCE_COUNT)
        .filter_map(candidate)
        .filter(|&start| lies_within(start, size, window))
        .filter_map(|start| map(Place::Exactly(start)).ok())
        // Kernels before 4.17 treat the address as a hint.
        .find(|region| lies_within(region.addresses().start, size, window))
}

/// Whether all `size` bytes from `start` are inside `window`.
pub(super) fn lies_within(start: usize, size: PageCount, window: &Range<usize>) -> bool {
    window.start <= start && start.checked_add(size.bytes()).is_some_and(|end| end <= window.end)
}

/// The distance in bytes of candidate `number`, below [`DISTANCE_COUNT`]: first the multiples of 32 MiB up to 2 GiB,
/// then the odd multiples of 16 MiB, and with each halving twice as many, down to 1 MiB.
fn distance(number: usize) -> usize {
    let halvings = (number / (TWO_GIB / COARSE_STEP)).checked_ilog2().map_or(0, |power| power + 1);
    if halvings == 0 {
        return number * COARSE_STEP;
    }
    let step = COARSE_STEP >> halvings;
    // As many candidates precede this step as it has: the multiples of twice the step.
    let previous = TWO_GIB / (2 * step);
    step + (number - previous) * 2 * step
}

/// The last page boundary from which `size` bytes end at least `distance` below `middle`.
fn below(middle: usize, distance: usize, size: PageCount) -> Option<usize> {
    let start = middle.checked_sub(distance)?.checked_sub(size.bytes())?;
    Some(start - start % sys::page_size())
}

/// The first page boundary at least `distance` above `middle`.
fn above(middle: usize, distance: usize) -> Option<usize> {
    middle.checked_add(distance)?.checked_next_multiple_of(sys::page_size())
}

#[cfg(test)]
mod tests {
    use super::super::fault_injection::{self, Call};
    use super::*;
    use rustix::io::Errno;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn size() -> PageCount {
        PageCount::covering(200_000).unwrap()
    }

    fn map(size: PageCount, placement: Placement) -> Result<Region, MemoryError> {
        super::map(size, placement, Protection::ReadWrite)
    }

    fn here() -> usize {
        here as fn() -> usize as usize
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for addresses, which the allocator does not give")]
    fn low_placement_is_below_two_gibibytes() {
        let regions: Vec<Region> =
            (0..20).map(|_| map(size(), Placement::Low2GiB).unwrap()).collect();
        assert!(regions.iter().all(|region| region.addresses().end <= 1 << 31));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for addresses, which the allocator does not give")]
    fn near_placement_is_within_a_signed_displacement() {
        let far = Place::Exactly(0x10_0000_0000);
        let far = Region::map(far, size(), Protection::Read).unwrap();
        for target in [here(), far.addresses().start, 0x20_0000_0000] {
            let regions: Vec<Region> =
                (0..200).map(|_| map(size(), Placement::Near(target)).unwrap()).collect();
            for region in &regions {
                let addresses = region.addresses();
                for (from, to) in [(addresses.start, target), (target, addresses.end)] {
                    let distance = to as i64 - from as i64;
                    assert!(i32::try_from(distance).is_ok(), "{addresses:x?} from {target:x}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for addresses, which the allocator does not give")]
    fn placement_near_both_leaves_the_heap_above_free() {
        // A program of a page at an address like that of a program that is not position-independent, and one far away.
        for program in [0x40_0000, 0x15_5555_5000usize] {
            let program = Region::map(Place::Exactly(program), PageCount::one(), Protection::Read);
            let Ok(program) = program else { continue };
            let (low, high) = (program.addresses().start + 8, program.addresses().end - 8);
            let both = Placement::PreferNearBoth(low, high);
            for bytes in [1, 1 << 20, 16 << 20] {
                let size = PageCount::covering(bytes).unwrap();
                let region = map(size, both).unwrap().addresses();
                for (from, to) in [(region.start, high), (low, region.end)] {
                    assert!(i32::try_from(to as i64 - from as i64).is_ok(), "{region:x?}");
                }
                assert!(region.end <= low || region.start > high + (1 << 30), "{region:x?}");
            }
        }
        // No address is near both.
        assert!(map(size(), Placement::PreferNearBoth(1 << 30, 1 << 40)).is_ok());
    }

    #[test]
    fn unsatisfiable_near_is_an_error_and_prefer_near_is_anywhere() {
        let beyond = usize::MAX - (1 << 20);
        let error = map(size(), Placement::Near(beyond)).map(|_| ()).unwrap_err();
        let (low, high) = (beyond - MAX_DISTANCE, usize::MAX);
        assert_eq!(error, MemoryError::NoFreeRange { size: size().bytes(), low, high });
        assert!(map(size(), Placement::PreferNear(beyond)).is_ok());
    }

    #[test]
    fn out_of_memory_does_not_start_a_search() {
        for placement in [
            Placement::Anywhere,
            Placement::Low2GiB,
            Placement::Near(here()),
            Placement::PreferNear(here()),
        ] {
            let fault = fault_injection::inject(Call::Map, 0, Errno::NOMEM);
            let error = map(size(), placement).map(|_| ()).unwrap_err();
            drop(fault);
            let wanted = size().bytes();
            assert_eq!(error, MemoryError::Map { size: wanted, errno: Errno::NOMEM.into() });
        }
    }

    #[test]
    fn search_visits_every_mebibyte_once_from_coarse_to_fine() {
        let all: Vec<usize> = (0..DISTANCE_COUNT).map(distance).collect();
        let unique: BTreeSet<usize> = all.iter().copied().collect();
        assert_eq!((all.len(), unique.len()), (2048, 2048));
        assert!(unique.iter().copied().eq((0..TWO_GIB).step_by(1 << 20)));
        assert_eq!(all.first_chunk(), Some(&[0, COARSE_STEP, 2 * COARSE_STEP]));
        let mebibytes: Vec<usize> = all[62..68].iter().map(|distance| distance >> 20).collect();
        assert_eq!(mebibytes, [62 * 32, 63 * 32, 16, 48, 80, 112]);
        assert_eq!(all[2047], TWO_GIB - (1 << 20));
    }

    #[test]
    fn candidate_addresses_do_not_wrap() {
        let size = size();
        for middle in [0, 1, MIN_ADDRESS, 1 << 30, usize::MAX - 1, usize::MAX] {
            let window = Placement::Near(middle).window();
            assert!(window.start >= MIN_ADDRESS);
            for distance in (0..DISTANCE_COUNT).map(distance) {
                if let Some(start) = below(middle, distance, size) {
                    assert!(start + size.bytes() <= middle - distance);
                }
                if let Some(start) = above(middle, distance) {
                    assert!(start >= middle + distance && start % sys::page_size() == 0);
                }
            }
        }
    }
}
