//! Which pages of the process hold the code of a loaded module.
//!
//! A call through a bare address asks here first, so asking is two loads and never waits: a table of the
//! GiB of an address space, and for each in which a page was ever entered a leaf, which stays for good,
//! with a byte for each page. Both are far larger than what is touched of them: memory that the system
//! brings in by the page, so that a process with all its code within 16 MiB has one page of each.
//!
//! Stubs share their pages with other code, so that each has a bit of its own for the address at which it
//! begins, two levels below: 32 KiB more for 16 MiB with stubs in them, and 32 bytes for each page.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use smf_core::alloc_util::AllocError;

use crate::call;

/// What one byte stands for: the smallest page that any supported machine has.
const PAGE: usize = 4096;
/// Addresses from here on belong to no program: 47 bits on x86-64, 48 on aarch64 and riscv64 unless a
/// program asks for more, and nobody here does.
const LIMIT: usize = 1 << 48;
/// Pages of a leaf: those of a GiB.
const LEAF: usize = 1 << 18;
/// Pages that a table of stubs is for: those of 16 MiB.
const STUBS: usize = 1 << 12;

/// Where a stub may begin in a page: at its multiples.
const STEP: usize = 16;

struct Leaf {
    /// 1 for each page that somebody holds, else 0.
    pages: [AtomicU8; LEAF],
    stubs: [AtomicPtr<Stubs>; LEAF / STUBS],
}
struct Stubs([AtomicPtr<Steps>; STUBS]);
struct Steps([AtomicU64; PAGE / STEP / 64]);

static TOP: [AtomicPtr<Leaf>; LIMIT / PAGE / LEAF] =
    [const { AtomicPtr::new(ptr::null_mut()) }; LIMIT / PAGE / LEAF];

/// The first leaves: an allocator would be asked for much that is never touched. What a process maps is
/// nearly always within a GiB, or on both sides of the border of two.
static FIRST: [Leaf; 2] = [const { Leaf::new() }; 2];
/// How many of them are taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Leaf {
    const fn new() -> Self {
        Self {
            pages: [const { AtomicU8::new(0) }; LEAF],
            stubs: [const { AtomicPtr::new(ptr::null_mut()) }; LEAF / STUBS],
        }
    }
}

/// A table of the tree.
///
/// # Safety
/// One all of whose bits are 0 is an empty one.
unsafe trait Node: Sized + 'static {
    /// An empty one that nobody has, for which no memory has to be asked.
    fn spare() -> Option<&'static Self> {
        None
    }
}

// SAFETY: null pointers.
unsafe impl Node for Stubs {}
// SAFETY: integers.
unsafe impl Node for Steps {}
// SAFETY: integers and null pointers.
unsafe impl Node for Leaf {
    fn spare() -> Option<&'static Self> {
        FIRST.get(TAKEN.fetch_add(1, Ordering::Relaxed))
    }
}

/// The node in a slot of one of the tables above.
#[inline]
fn node<T>(slot: &'static AtomicPtr<T>) -> Option<&'static T> {
    // SAFETY: a slot is null, or `node_or_new` has put a node into it that was leaked: it is
    // initialised, is only ever reached by shared references, and lives as long as the process.
    unsafe { slot.load(Ordering::Acquire).as_ref() }
}

fn node_or_new<T: Node>(slot: &'static AtomicPtr<T>) -> Result<&'static T, AllocError> {
    if let Some(node) = node(slot) {
        return Ok(node);
    }
    let spare = T::spare().map(ptr::from_ref);
    let new = match spare {
        Some(spare) => spare.cast_mut(),
        None => Box::into_raw(zeroed()?),
    };
    Ok(match slot.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: static or just leaked, and never freed now that others may see it.
        Ok(_) => unsafe { &*new },
        Err(theirs) => {
            if spare.is_none() {
                // SAFETY: nobody has seen the box, so it is taken back as it was given.
                drop(unsafe { Box::from_raw(new) });
            }
            // SAFETY: as in `node`; the exchange failed because the slot is not null.
            unsafe { &*theirs }
        }
    })
}

/// A node on the heap, of which nothing is touched yet.
fn zeroed<T: Node>() -> Result<Box<T>, AllocError> {
    // SAFETY: no node is of size 0.
    let start = unsafe { alloc_zeroed(Layout::new::<T>()) };
    let start = ptr::NonNull::new(start.cast()).ok_or(AllocError)?;
    // SAFETY: memory of the global allocator for such a value, of which zeroes are one, so promises the
    // trait; nobody else knows of it.
    Ok(unsafe { Box::from_raw(start.as_ptr()) })
}

/// Whether `address` lies in a page that somebody holds a [`CodeRange`] for.
#[inline(always)]
pub(crate) fn is_code(address: usize) -> bool {
    leaf(address).is_some_and(|(leaf, page)| leaf.has(page))
}

/// Whether a stub begins at `address` that somebody holds a [`StubEntry`] for.
#[inline]
pub(crate) fn begins_stub(address: usize) -> bool {
    leaf(address).is_some_and(|(leaf, page)| leaf.begins_stub(page, address))
}

/// The number of the leaf of an address, and that of its page there.
#[inline]
fn path(address: usize) -> (usize, usize) {
    let page = address / PAGE;
    (page / LEAF, page % LEAF)
}

#[inline]
fn leaf(address: usize) -> Option<(&'static Leaf, usize)> {
    let (top, page) = path(address);
    Some((TOP.get(top).and_then(node)?, page))
}

impl Leaf {
    #[inline]
    fn has(&self, page: usize) -> bool {
        self.pages.get(page).is_some_and(|held| held.load(Ordering::Acquire) != 0)
    }

    #[inline]
    fn begins_stub(&'static self, page: usize, address: usize) -> bool {
        let stubs = self.stubs.get(page / STUBS).and_then(node);
        let steps = stubs.and_then(|stubs| stubs.0.get(page % STUBS)).and_then(node);
        let (word, mask) = step(address);
        let word = steps.and_then(|steps| steps.0.get(word));
        word.is_some_and(|word| word.load(Ordering::Acquire) & mask != 0)
    }
}

/// The word of a page's steps and the bit in it; no bit when no stub may begin there.
#[inline]
fn step(address: usize) -> (usize, u64) {
    let step = address % PAGE / STEP;
    (step / 64, if address.is_multiple_of(STEP) { 1 << (step % 64) } else { 0 })
}

/// A stub that may be called as long as it lives.
#[derive(Debug)]
pub(crate) struct StubEntry(usize);

impl StubEntry {
    /// Enters the stub that begins at a multiple of 16, below 2^48; another one is never called.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn enter(address: usize) -> Result<Self, AllocError> {
        call::install_chain_lookup();
        if let Some((word, mask)) = step_word(address)? {
            word.fetch_or(mask, Ordering::AcqRel);
        }
        Ok(Self(address))
    }
}

impl Drop for StubEntry {
    fn drop(&mut self) {
        // What it was entered in stays.
        if let Ok(Some((word, mask))) = step_word(self.0) {
            word.fetch_and(!mask, Ordering::AcqRel);
        }
    }
}

/// The word that has the bit of an address, and that bit.
fn step_word(address: usize) -> Result<Option<(&'static AtomicU64, u64)>, AllocError> {
    let (top, page) = path(address);
    let Some(leaf) = TOP.get(top).map(node_or_new).transpose()? else { return Ok(None) };
    let stubs = leaf.stubs.get(page / STUBS).map(node_or_new).transpose()?;
    let steps = stubs.and_then(|stubs| stubs.0.get(page % STUBS)).map(node_or_new).transpose()?;
    let (word, mask) = step(address);
    Ok(steps.and_then(|steps| steps.0.get(word)).map(|word| (word, mask)))
}

/// Pages that may be called as long as it lives.
#[derive(Debug)]
pub(crate) struct CodeRange(Range<usize>);

impl CodeRange {
    /// Enters the pages of a range; those at and above 2^48 cannot be, and are never called.
    ///
    /// # Errors
    /// [`AllocError`].
    pub(crate) fn enter(range: Range<usize>) -> Result<Self, AllocError> {
        call::install_chain_lookup();
        let range = range.start.min(LIMIT)..range.end.min(LIMIT);
        let leaves = range.start / PAGE / LEAF..range.end.div_ceil(PAGE).div_ceil(LEAF);
        for leaf in TOP.get(leaves).unwrap_or_default() {
            node_or_new(leaf)?;
        }
        set(&range, 1);
        Ok(Self(range))
    }
}

impl Drop for CodeRange {
    fn drop(&mut self) {
        set(&self.0, 0);
    }
}

/// Writes the byte of each page of `range`.
fn set(range: &Range<usize>, held: u8) {
    for page in range.start / PAGE..range.end.div_ceil(PAGE) {
        let leaf = TOP.get(page / LEAF).and_then(node);
        if let Some(byte) = leaf.and_then(|leaf| leaf.pages.get(page % LEAF)) {
            byte.store(held, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Addresses that no memory of this process has, so that tests beside this one do not meet it.
    const BASE: usize = 0x6000_0000_0000;

    #[test]
    fn pages_are_callable_while_they_are_held() {
        let range = BASE + 5 * PAGE..BASE + 7 * PAGE;
        let held = CodeRange::enter(range.clone()).unwrap();
        for (address, inside) in [
            (range.start - 1, false),
            (range.start, true),
            (range.end - 1, true),
            (range.end, false),
        ] {
            assert_eq!(is_code(address), inside, "{address:#x}");
        }
        drop(held);
        assert!(!is_code(range.start));
    }

    #[test]
    fn agrees_with_a_set_of_pages() {
        let mut seed = 7u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        let base = BASE + (1 << 36);
        // Within leaves and around their borders.
        let borders = [640, LEAF, 3 * LEAF + 64, 5 * LEAF];
        let mut held: Vec<CodeRange> = Vec::new();
        let mut pages: HashSet<usize> = HashSet::new();
        for _ in 0..2000 {
            if random(3) == 0 && !held.is_empty() {
                let range = held.swap_remove(random(held.len())).0.clone();
                (range.start..range.end)
                    .step_by(PAGE)
                    .for_each(|page| assert!(pages.remove(&page)));
                continue;
            }
            let start = base + (borders[random(4)] + random(300) - 150) * PAGE;
            let range = start..start + (1 + random(40)) * PAGE;
            let new: Vec<usize> = range.clone().step_by(PAGE).collect();
            // Memory has one owner.
            if new.iter().all(|page| !pages.contains(page)) {
                pages.extend(new);
                held.push(CodeRange::enter(range).unwrap());
            }
            let probe = base + (borders[random(4)] + random(400) - 200) * PAGE;
            assert_eq!(is_code(probe + random(PAGE)), pages.contains(&probe));
        }
        assert!(held.len() > 8);
    }

    #[test]
    fn a_stub_is_callable_where_it_begins_while_it_is_held() {
        let base = BASE + (16 << 36);
        let mut held: Vec<(usize, StubEntry)> = Vec::new();
        let mut seed = 3usize;
        for _ in 0..3000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Around the border of two tables.
            let address = base + STUBS * PAGE - PAGE + (seed >> 40) % 512 * STEP;
            match held.iter().position(|(stub, _)| *stub == address) {
                Some(place) => drop(held.swap_remove(place)),
                None => held.push((address, StubEntry::enter(address).unwrap())),
            }
            let probe = base + STUBS * PAGE - PAGE + (seed >> 20) % (2 * PAGE);
            let begins = held.iter().any(|(stub, _)| *stub == probe);
            assert_eq!(begins_stub(probe), begins, "{probe:#x}");
            assert!(!is_code(probe) && !begins_stub(address + 1));
        }
        assert!(held.len() > 64);
        held.clear();
        assert!((base..base + 2 * STUBS * PAGE).step_by(STEP).all(|address| !begins_stub(address)));
        drop(StubEntry::enter(usize::MAX - 15).unwrap());
        assert!(!begins_stub(usize::MAX - 15) && !begins_stub(LIMIT) && !begins_stub(0));
    }

    #[test]
    fn any_address_may_be_asked_for() {
        for address in [0, 1, LIMIT - 1, LIMIT, usize::MAX / 2, usize::MAX] {
            assert!(!is_code(address), "{address:#x}");
        }
        let held = CodeRange::enter(LIMIT - PAGE..usize::MAX).unwrap();
        assert!(is_code(LIMIT - 1) && !is_code(LIMIT));
        drop(held);
        drop(CodeRange::enter(usize::MAX - 1..usize::MAX).unwrap());
        assert!(!is_code(LIMIT - 1));
    }

    #[test]
    fn threads_that_share_a_leaf_do_not_meet() {
        let base = BASE + (8 << 36);
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                scope.spawn(move || {
                    for round in 0..500 {
                        let start = base + (round * 8 + thread) * PAGE;
                        let held = CodeRange::enter(start..start + PAGE).unwrap();
                        assert!(is_code(start));
                        drop(held);
                        assert!(!is_code(start));
                    }
                });
            }
        });
        assert!((0..4096).all(|page| !is_code(base + page * PAGE)));
    }
}
