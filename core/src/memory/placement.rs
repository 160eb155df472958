//! Where memory for a module goes: anywhere, below 2 GiB, or within reach of an address.
//!
//! Linux itself searches for a free place anywhere and, on x86-64, for one below 2 GiB. For the
//! rest it is asked about one place after another: 0.2 us for each that turns out to be taken.

use core::ops::Range;

use super::page_count::PageCount;
use super::region::Region;
use super::sys::{self, Place};
#[cfg(test)]
use super::types::placement::MAX_DISTANCE;
use super::types::placement::{MIN_ADDRESS, TWO_GIB};
use super::types::{MemoryError, Placement, Protection};

/// The distance between the first places that are tried.
const COARSE: usize = 32 << 20;

/// How often that distance is halved before the search is given up: down to 1 MiB.
const HALVINGS: u32 = 5;

/// How many distances that makes.
const DISTANCES: usize = TWO_GIB / (COARSE >> HALVINGS);

/// Maps `size` bytes as `placement` asks, with `protection` at first.
///
/// # Errors
///
/// * [`MemoryError::Map`]: no memory, wherever it be.
/// * [`MemoryError::NoFreeRange`]: memory, but not where it is wanted. The search finds every gap that
///   has a mebibyte and a page to spare, in at most 4,096 questions (1 ms).
pub(super) fn place(
    size: PageCount,
    placement: Placement,
    protection: Protection,
) -> Result<Region, MemoryError> {
    let map = |place| Region::map(place, size, protection);
    let window = placement.window();
    let middle = match placement {
        Placement::Anywhere => return map(Place::Anywhere),
        Placement::Low2GiB => TWO_GIB / 2,
        Placement::Near(address) | Placement::PreferNear(address) => address,
    };
    // The kernel puts new memory below the libraries, so its own choice is mostly near them. Should
    // it have none at all, there is nothing to search for.
    let hint = Place::Hint(below(middle, 0, size).unwrap_or(MIN_ADDRESS));
    let first = match placement {
        Placement::Low2GiB => map(Place::Low).or_else(|_| map(hint)),
        _ => map(hint),
    }?;
    if lies_within(first.addresses().start, size, &window) {
        return Ok(first);
    }
    match (search(size, &window, middle, map), placement) {
        (Some(region), _) => Ok(region),
        (None, Placement::PreferNear(_)) => Ok(first),
        (None, _) => Err(MemoryError::NoFreeRange {
            size: size.bytes(),
            low: window.start,
            high: window.end,
        }),
    }
}

/// Asks for one place after another: below `middle`, and only then above it, where the heap of a
/// program and its stack want to grow; on each side first in wide steps and then between them.
fn search(
    size: PageCount,
    window: &Range<usize>,
    middle: usize,
    map: impl Fn(Place) -> Result<Region, MemoryError>,
) -> Option<Region> {
    let start = |question| match question {
        0..DISTANCES => below(middle, distance(question), size),
        _ => above(middle, distance(question - DISTANCES)),
    };
    (0..2 * DISTANCES)
        .filter_map(start)
        .filter(|&start| lies_within(start, size, window))
        .filter_map(|start| map(Place::Exactly(start)).ok())
        // A kernel before 4.17 takes the address as a hint.
        .find(|region| lies_within(region.addresses().start, size, window))
}

/// Whether `size` bytes from `start` all have their addresses in `window`.
pub(super) fn lies_within(start: usize, size: PageCount, window: &Range<usize>) -> bool {
    window.start <= start && start.checked_add(size.bytes()).is_some_and(|end| end <= window.end)
}

/// The distances in the order in which they are tried, of which there are [`DISTANCES`]: multiples of 32 MiB
/// up to 2 GiB, then those of 16 MiB between them, as many, and with each halving twice as many, down to 1 MiB.
fn distance(number: usize) -> usize {
    let halvings = (number / (TWO_GIB / COARSE)).checked_ilog2().map_or(0, |power| power + 1);
    if halvings == 0 {
        return number * COARSE;
    }
    let step = COARSE >> halvings;
    // As many were tried as are to come now: those that are multiples of twice the step.
    let tried = TWO_GIB / (2 * step);
    step + (number - tried) * 2 * step
}

/// The last page from which `size` bytes end at least `distance` below `middle`.
fn below(middle: usize, distance: usize, size: PageCount) -> Option<usize> {
    let start = middle.checked_sub(distance)?.checked_sub(size.bytes())?;
    Some(start - start % sys::page_size())
}

/// The first page at least `distance` above `middle`.
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

    fn place(size: PageCount, placement: Placement) -> Result<Region, MemoryError> {
        super::place(size, placement, Protection::ReadWrite)
    }

    fn here() -> usize {
        here as fn() -> usize as usize
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for places, which the allocator does not give")]
    fn low_memory_is_below_two_gibibytes() {
        let regions: Vec<Region> =
            (0..20).map(|_| place(size(), Placement::Low2GiB).unwrap()).collect();
        assert!(regions.iter().all(|region| region.addresses().end <= 1 << 31));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks for places, which the allocator does not give")]
    fn near_memory_is_within_a_signed_displacement() {
        let far = Place::Exactly(0x10_0000_0000);
        let far = Region::map(far, size(), Protection::Read).unwrap();
        for target in [here(), far.addresses().start, 0x20_0000_0000] {
            let regions: Vec<Region> =
                (0..200).map(|_| place(size(), Placement::Near(target)).unwrap()).collect();
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
    fn a_place_that_nobody_has_is_an_error_or_anywhere() {
        let beyond = usize::MAX - (1 << 20);
        let error = place(size(), Placement::Near(beyond)).map(|_| ()).unwrap_err();
        let (low, high) = (beyond - MAX_DISTANCE, usize::MAX);
        assert_eq!(error, MemoryError::NoFreeRange { size: size().bytes(), low, high });
        assert!(place(size(), Placement::PreferNear(beyond)).is_ok());
    }

    #[test]
    fn memory_that_runs_out_is_no_reason_to_search() {
        for placement in [
            Placement::Anywhere,
            Placement::Low2GiB,
            Placement::Near(here()),
            Placement::PreferNear(here()),
        ] {
            let fault = fault_injection::inject(Call::Map, 0, Errno::NOMEM);
            let error = place(size(), placement).map(|_| ()).unwrap_err();
            drop(fault);
            let wanted = size().bytes();
            assert_eq!(error, MemoryError::Map { size: wanted, errno: Errno::NOMEM.into() });
        }
    }

    #[test]
    fn the_search_asks_for_every_mebibyte_once_and_the_near_ones_first() {
        let all: Vec<usize> = (0..DISTANCES).map(distance).collect();
        let unique: BTreeSet<usize> = all.iter().copied().collect();
        assert_eq!((all.len(), unique.len()), (2048, 2048));
        assert!(unique.iter().copied().eq((0..TWO_GIB).step_by(1 << 20)));
        assert_eq!(all.first_chunk(), Some(&[0, COARSE, 2 * COARSE]));
        let mebibytes: Vec<usize> = all[62..68].iter().map(|distance| distance >> 20).collect();
        assert_eq!(mebibytes, [62 * 32, 63 * 32, 16, 48, 80, 112]);
        assert_eq!(all[2047], TWO_GIB - (1 << 20));
    }

    #[test]
    fn no_address_wraps() {
        let size = size();
        for middle in [0, 1, MIN_ADDRESS, 1 << 30, usize::MAX - 1, usize::MAX] {
            let window = Placement::Near(middle).window();
            assert!(window.start >= MIN_ADDRESS);
            for distance in (0..DISTANCES).map(distance) {
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
