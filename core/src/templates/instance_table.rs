//! The instances that were made, found by their symbols without a lock.
//!
//! A table only grows: a slot is filled once and never changed, so that who looks needs no more than to
//! see that it is filled. When it is half full a table twice as large takes its place, and the old one
//! stays for those who are still looking: all old ones together are no larger than the present one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::DefaultHashBuilder;
use spin::Once;

use super::state::Symbol;

use crate::alloc_util::{AllocError, TryArc};
use crate::memory::code_alloc::ExecutableBlock;
use crate::memory::lock::Lock;

/// Code that was made of a template. Clones are the same one; its memory is given back with the last of
/// them and the instantiator that made it.
#[derive(Clone)]
pub struct Instance(TryArc<Inner>);

struct Inner {
    symbol: Symbol,
    /// Dropped before the code.
    _attached: Option<Box<dyn Send + Sync>>,
    block: ExecutableBlock,
    /// Bytes of the block that the compiler gave; behind them are slots and veneers.
    code_len: usize,
    /// How it is called, in words of its compiler; empty where that said nothing.
    interface: Box<[u8]>,
}

impl Instance {
    pub(super) fn new(
        symbol: Symbol,
        block: ExecutableBlock,
        code_len: usize,
        interface: Box<[u8]>,
        attached: Option<Box<dyn Send + Sync>>,
    ) -> Result<Self, AllocError> {
        let inner = Inner { symbol, _attached: attached, block, code_len, interface };
        TryArc::new(inner).map(Self)
    }

    /// What its compiler [promised](super::Environment::promise) of how it is called; empty where that said
    /// nothing.
    pub fn interface(&self) -> &[u8] {
        &self.0.interface
    }

    /// Its symbol.
    pub fn symbol(&self) -> &[u8] {
        &self.0.symbol
    }

    /// Its code, relocated.
    pub fn code(&self) -> &[u8] {
        let all = self.0.block.as_slice();
        all.get(..self.0.code_len).unwrap_or(all)
    }

    /// Where its code is, and what lies behind it that it needs.
    pub fn range(&self) -> core::ops::Range<usize> {
        let start = self.0.block.address();
        start..start + self.0.block.len()
    }

    /// Where it is called.
    pub fn address(&self) -> u64 {
        self.0.block.address() as u64
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at 0x{:x}", self.symbol().escape_ascii(), self.address())
    }
}

#[derive(Clone)]
struct Entry {
    hash: u64,
    address: u64,
    instance: Instance,
}

type Table = Box<[Once<Entry>]>;

/// Tables that there can be: each is twice as large as the one before.
const TABLES: usize = 40;

/// Slots of the first one.
const FIRST: usize = 64;

/// Instances by symbol.
pub(super) struct InstanceTable {
    hasher: DefaultHashBuilder,
    tables: [Once<Table>; TABLES],
    /// The one to look in.
    present: AtomicUsize,
    /// How many instances there are; held by who adds one.
    count: Lock<usize>,
}

fn table(len: usize) -> Option<Table> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(len).ok()?;
    slots.resize_with(len, Once::new);
    Some(slots.into_boxed_slice())
}

impl InstanceTable {
    pub(super) fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            tables: [const { Once::new() }; TABLES],
            present: AtomicUsize::new(0),
            count: Lock::new(0),
        }
    }

    #[inline]
    fn find_entry(&self, symbol: &[u8]) -> Option<&Entry> {
        let table = self.tables.get(self.present.load(Ordering::Acquire))?.get()?;
        let hash = self.hasher.hash_one(symbol);
        let mask = table.len().wrapping_sub(1);
        // As many bits as there are slots.
        let mut at = hash as usize & mask;
        // Never full, so that an empty slot comes.
        while let Some(entry) = table.get(at)?.get() {
            if entry.hash == hash && *entry.instance.0.symbol == *symbol {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The instance of this symbol.
    pub(super) fn find(&self, symbol: &[u8]) -> Option<Instance> {
        self.find_entry(symbol).map(|entry| entry.instance.clone())
    }

    /// Where the instance of this symbol is.
    #[inline]
    pub(super) fn address(&self, symbol: &[u8]) -> Option<u64> {
        self.find_entry(symbol).map(|entry| entry.address)
    }

    /// The instance in whose code an address is. Looks through all of them.
    pub(super) fn at(&self, address: u64) -> Option<Instance> {
        let table = self.tables.get(self.present.load(Ordering::Acquire))?.get()?;
        let address = usize::try_from(address).ok()?;
        let mut all = table.iter().filter_map(Once::get).map(|entry| &entry.instance);
        all.find(|instance| instance.range().contains(&address)).cloned()
    }

    /// Adds an instance, whose symbol none has yet; false when there is no memory for it.
    pub(super) fn add(&self, instance: Instance) -> bool {
        let mut count = self.count.lock();
        let hash = self.hasher.hash_one(instance.symbol());
        let entry = Entry { hash, address: instance.address(), instance };
        let number = self.present.load(Ordering::Relaxed);
        let present = self.tables.get(number).and_then(Once::get);
        let room = present.map_or(0, |table| table.len() / 2);
        if *count < room {
            *count += 1;
            present.into_iter().for_each(|table| put(table, entry.clone()));
            return true;
        }
        let Some(larger) = table((room * 4).max(FIRST)) else { return false };
        present.into_iter().flat_map(|table| table.iter()).filter_map(Once::get).for_each(|old| {
            put(&larger, old.clone());
        });
        put(&larger, entry);
        let next = if present.is_some() { number + 1 } else { number };
        let Some(place) = self.tables.get(next) else { return false };
        place.call_once(|| larger);
        self.present.store(next, Ordering::Release);
        *count += 1;
        true
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        *self.count.lock()
    }
}

/// Fills the first free slot for an entry.
fn put(table: &[Once<Entry>], entry: Entry) {
    let mask = table.len().wrapping_sub(1);
    let first = entry.hash as usize & mask;
    let free = (0..table.len()).map(|step| first.wrapping_add(step) & mask);
    let mut slots = free.filter_map(|at| table.get(at)).filter(|slot| !slot.is_completed());
    if let Some(slot) = slots.next() {
        slot.call_once(|| entry);
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;
    use crate::memory::code_alloc::CodeMemory;

    /// How many instances each of three threads makes.
    const EACH: usize = if cfg!(miri) { 20 } else { 500 };

    fn instance(memory: &CodeMemory, symbol: &str) -> Instance {
        let block = memory.allocate(4).unwrap().publish().unwrap();
        let symbol = Symbol::of(symbol.as_bytes()).unwrap();
        Instance::new(symbol, block, 4, Box::default(), None).unwrap()
    }

    #[test]
    fn what_was_added_is_found_by_all_while_the_table_grows() {
        let (memory, made) = (CodeMemory::default(), InstanceTable::new());
        assert_eq!(made.address(b"f0"), None);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (made, memory) = (&made, &memory);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let symbol = format!("f{thread}-{number}");
                        let new = instance(memory, &symbol);
                        let address = new.address();
                        assert!(made.add(new));
                        assert_eq!(made.address(symbol.as_bytes()), Some(address));
                    }
                });
            }
        });
        assert_eq!(made.count(), 3 * EACH);
        for thread in 0..3 {
            for number in 0..EACH {
                let symbol = format!("f{thread}-{number}");
                let found = made.find(symbol.as_bytes()).unwrap();
                assert_eq!(found.symbol(), symbol.as_bytes());
            }
        }
        assert!(made.find(b"f3-0").is_none() && made.address(b"").is_none());
    }
}
