//! Which pages of the process hold the code of a loaded module.
//!
//! A call through a bare address asks here first, so asking is three loads and never waits: a tree
//! over the page numbers of an address space, 12 bits a level, with a bit for each page at the bottom.
//! Its nodes are made when a page below them is first entered and stay for good; one for 16 MiB of
//! addresses takes 512 bytes, one for 64 GiB takes 32 KiB, of which the first ones, in memory that the
//! system brings in when it is touched, take a page or two.
//!
//! Stubs share their pages with other code, so that each has a bit of its own for the address at which it
//! begins, two levels below: 32 KiB more for 16 MiB with stubs in them, and 32 bytes for each page.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// What one bit stands for: the smallest page that any supported machine has.
const PAGE: usize = 4096;
/// Addresses from here on belong to no program: 47 bits on x86-64, 48 on aarch64 and riscv64 unless a
/// program asks for more, and nobody here does.
const LIMIT: usize = 1 << 48;
/// Children of a node, and pages of a leaf.
const FAN: usize = 1 << 12;

/// Where a stub may begin in a page: at its multiples.
const STEP: usize = 16;

struct Leaf {
    pages: [AtomicU64; FAN / 64],
    stubs: AtomicPtr<Stubs>,
}
struct Stubs([AtomicPtr<Steps>; FAN]);
#[derive(Default)]
struct Steps([AtomicU64; PAGE / STEP / 64]);
struct Middle([AtomicPtr<Leaf>; FAN]);

static TOP: [AtomicPtr<Middle>; FAN] = [const { AtomicPtr::new(ptr::null_mut()) }; FAN];

/// The first nodes of the middle level: an allocator would clear the whole of each. What a process maps
/// is nearly always within 64 GiB, or on both sides of one of their borders.
static FIRST: [Middle; 2] = [const { Middle([const { AtomicPtr::new(ptr::null_mut()) }; FAN]) }; 2];
/// How many of them are taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A table of the tree.
trait Node: Default + 'static {
    /// An empty one that nobody has, for which no memory has to be asked.
    fn spare() -> Option<&'static Self> {
        None
    }
}

impl Node for Leaf {}
impl Node for Stubs {}
impl Node for Steps {}
impl Node for Middle {
    fn spare() -> Option<&'static Self> {
        FIRST.get(TAKEN.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for Leaf {
    fn default() -> Self {
        let pages = [const { AtomicU64::new(0) }; FAN / 64];
        Self { pages, stubs: AtomicPtr::default() }
    }
}

impl Default for Stubs {
    fn default() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; FAN])
    }
}

impl Default for Middle {
    fn default() -> Self {
        Self([const { AtomicPtr::new(ptr::null_mut()) }; FAN])
    }
}

/// The node in a slot of one of the tables above.
#[inline]
fn node<T>(slot: &'static AtomicPtr<T>) -> Option<&'static T> {
    // SAFETY: a slot is null, or `node_or_new` has put a node into it that was leaked: it is
    // initialised, is only ever reached by shared references, and lives as long as the process.
    unsafe { slot.load(Ordering::Acquire).as_ref() }
}

fn node_or_new<T: Node>(slot: &'static AtomicPtr<T>) -> &'static T {
    if let Some(node) = node(slot) {
        return node;
    }
    let spare = T::spare().map(ptr::from_ref);
    let new = spare.map_or_else(|| Box::into_raw(Box::<T>::default()), <*const T>::cast_mut);
    match slot.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
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
    }
}

/// The positions of a page on the three levels.
#[inline]
fn path(address: usize) -> (usize, usize, usize) {
    let page = address / PAGE;
    (page / (FAN * FAN), page / FAN % FAN, page % FAN)
}

/// Whether `address` lies in a page that somebody holds a [`CodeRange`] for, or a stub begins there that
/// somebody holds a [`StubEntry`] for.
#[inline]
pub(crate) fn may_be_called(address: usize) -> bool {
    leaf(address).is_some_and(|(leaf, page)| leaf.has(page) || leaf.begins_stub(page, address))
}

/// The leaf of an address, and the number of its page there.
#[inline]
fn leaf(address: usize) -> Option<(&'static Leaf, usize)> {
    let (top, middle, page) = path(address);
    let leaf = TOP.get(top).and_then(node).and_then(|m| m.0.get(middle)).and_then(node);
    Some((leaf?, page))
}

impl Leaf {
    #[inline]
    fn has(&self, page: usize) -> bool {
        let word = self.pages.get(page / 64);
        word.is_some_and(|word| word.load(Ordering::Acquire) >> (page % 64) & 1 != 0)
    }

    #[inline]
    fn begins_stub(&'static self, page: usize, address: usize) -> bool {
        let steps = node(&self.stubs).and_then(|stubs| stubs.0.get(page)).and_then(node);
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
    pub(crate) fn enter(address: usize) -> Self {
        if let Some((word, mask)) = step_word(address) {
            word.fetch_or(mask, Ordering::AcqRel);
        }
        Self(address)
    }
}

impl Drop for StubEntry {
    fn drop(&mut self) {
        if let Some((word, mask)) = step_word(self.0) {
            word.fetch_and(!mask, Ordering::AcqRel);
        }
    }
}

/// The word that has the bit of an address, and that bit.
fn step_word(address: usize) -> Option<(&'static AtomicU64, u64)> {
    let (top, middle, page) = path(address);
    let leaf = node_or_new(node_or_new(TOP.get(top)?).0.get(middle)?);
    let steps = node_or_new(node_or_new(&leaf.stubs).0.get(page)?);
    let (word, mask) = step(address);
    Some((steps.0.get(word)?, mask))
}

/// Pages that may be called as long as it lives.
#[derive(Debug)]
pub(crate) struct CodeRange(Range<usize>);

impl CodeRange {
    /// Enters the pages of a range; those at and above 2^48 cannot be, and are never called.
    pub(crate) fn enter(range: Range<usize>) -> Self {
        let range = range.start.min(LIMIT)..range.end.min(LIMIT);
        for_each_word(&range, |word, mask| {
            word.fetch_or(mask, Ordering::AcqRel);
        });
        Self(range)
    }
}

impl Drop for CodeRange {
    fn drop(&mut self) {
        for_each_word(&self.0, |word, mask| {
            word.fetch_and(!mask, Ordering::AcqRel);
        });
    }
}

/// Hands out each word that has bits for pages of `range`, with those bits.
fn for_each_word(range: &Range<usize>, mut each: impl FnMut(&AtomicU64, u64)) {
    let pages = range.start / PAGE..range.end.div_ceil(PAGE);
    let mut page = pages.start;
    while page < pages.end {
        let next = (page / 64 * 64 + 64).min(pages.end);
        let mask = (u64::MAX >> (64 - (next - page))) << (page % 64);
        let (top, middle, bit) = path(page * PAGE);
        let slot = TOP.get(top).map(node_or_new).and_then(|m| m.0.get(middle));
        if let Some(word) = slot.map(node_or_new).and_then(|leaf| leaf.pages.get(bit / 64)) {
            each(word, mask);
        }
        page = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn contains(address: usize) -> bool {
        let found = leaf(address).is_some_and(|(leaf, page)| leaf.has(page));
        assert_eq!(may_be_called(address), found || begins_stub(address));
        found
    }

    fn begins_stub(address: usize) -> bool {
        leaf(address).is_some_and(|(leaf, page)| leaf.begins_stub(page, address))
    }

    /// Addresses that no memory of this process has, so that tests beside this one do not meet it.
    const BASE: usize = 0x6000_0000_0000;

    #[test]
    fn pages_are_callable_while_they_are_held() {
        let range = BASE + 5 * PAGE..BASE + 7 * PAGE;
        let held = CodeRange::enter(range.clone());
        for (address, inside) in [
            (range.start - 1, false),
            (range.start, true),
            (range.end - 1, true),
            (range.end, false),
        ] {
            assert_eq!(contains(address), inside, "{address:#x}");
        }
        drop(held);
        assert!(!contains(range.start));
    }

    #[test]
    fn agrees_with_a_set_of_pages() {
        let mut seed = 7u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        let base = BASE + (1 << 36);
        // Around the borders of words, of leaves and of the nodes above them.
        let borders = [640, FAN, 3 * FAN + 64, FAN * FAN];
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
                held.push(CodeRange::enter(range));
            }
            let probe = base + (borders[random(4)] + random(400) - 200) * PAGE;
            assert_eq!(contains(probe + random(PAGE)), pages.contains(&probe));
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
            // Around the border of two leaves.
            let address = base + FAN * PAGE - PAGE + (seed >> 40) % 512 * STEP;
            match held.iter().position(|(stub, _)| *stub == address) {
                Some(place) => drop(held.swap_remove(place)),
                None => held.push((address, StubEntry::enter(address))),
            }
            let probe = base + FAN * PAGE - PAGE + (seed >> 20) % (2 * PAGE);
            let begins = held.iter().any(|(stub, _)| *stub == probe);
            assert_eq!(begins_stub(probe), begins, "{probe:#x}");
            assert!(!contains(probe) && !begins_stub(address + 1));
        }
        assert!(held.len() > 64);
        held.clear();
        assert!((base..base + 2 * FAN * PAGE).step_by(STEP).all(|address| !begins_stub(address)));
        drop(StubEntry::enter(usize::MAX - 15));
        assert!(!begins_stub(usize::MAX - 15) && !begins_stub(LIMIT) && !begins_stub(0));
    }

    #[test]
    fn any_address_may_be_asked_for() {
        for address in [0, 1, LIMIT - 1, LIMIT, usize::MAX / 2, usize::MAX] {
            assert!(!contains(address), "{address:#x}");
        }
        let held = CodeRange::enter(LIMIT - PAGE..usize::MAX);
        assert!(contains(LIMIT - 1) && !contains(LIMIT));
        drop(held);
        drop(CodeRange::enter(usize::MAX - 1..usize::MAX));
        assert!(!contains(LIMIT - 1));
    }

    #[test]
    fn threads_that_share_words_do_not_lose_bits() {
        let base = BASE + (8 << 36);
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                scope.spawn(move || {
                    for round in 0..500 {
                        let start = base + (round * 8 + thread) * PAGE;
                        let held = CodeRange::enter(start..start + PAGE);
                        assert!(contains(start));
                        drop(held);
                        assert!(!contains(start));
                    }
                });
            }
        });
        assert!((0..4096).all(|page| !contains(base + page * PAGE)));
    }
}
