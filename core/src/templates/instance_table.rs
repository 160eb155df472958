//! The compiled instances by symbol. Lookup is lock-free.
//!
//! An open-addressing table whose slots are written once, so that a reader only checks whether a slot is
//! filled. A table that is half full is replaced by one of twice the size. The old tables stay allocated
//! for concurrent readers; together they are smaller than the current one.
//!
//! A symbol has several instances if they are linked with the functions of different modules. Those of templates that were
//! replaced stay in the table, and are found by their addresses alone.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::DefaultHashBuilder;
use spin::Once;

use super::instance::Instance;
use crate::alloc_util::AllocError;
use crate::memory::lock::Lock;

#[derive(Clone)]
struct Entry {
    hash: u64,
    instance: Instance,
}

type Table = Box<[Once<Entry>]>;

/// The maximum number of tables; each has twice the slots of the previous one.
const MAX_TABLES: usize = 40;

/// The number of slots of the first table.
const INITIAL_SLOTS: usize = 64;

/// Instances by symbol.
pub(super) struct InstanceTable {
    hasher: DefaultHashBuilder,
    tables: [Once<Table>; MAX_TABLES],
    /// The index of the current table.
    current: AtomicUsize,
    /// The number of instances. Held during an insertion.
    len: Lock<usize>,
}

fn new_table(slots: usize) -> Result<Table, AllocError> {
    let mut table = Vec::new();
    table.try_reserve_exact(slots).map_err(|_| AllocError)?;
    table.resize_with(slots, Once::new);
    Ok(table.into_boxed_slice())
}

impl InstanceTable {
    pub(super) fn new() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            tables: [const { Once::new() }; MAX_TABLES],
            current: AtomicUsize::new(0),
            len: Lock::new(0),
        }
    }

    fn current(&self) -> Option<&Table> {
        // Acquire: pairs with the store in `insert`.
        self.tables.get(self.current.load(Ordering::Acquire))?.get()
    }

    /// The first instance of `symbol` that `accepts` accepts.
    pub(super) fn find(
        &self,
        symbol: &[u8],
        accepts: &dyn Fn(&Instance) -> bool,
    ) -> Option<Instance> {
        let table = self.current()?;
        let hash = self.hasher.hash_one(symbol);
        let mask = table.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        // The table is at most half full, so that the probe ends.
        while let Some(entry) = table.get(at)?.get() {
            let is_named = entry.hash == hash && entry.instance.symbol() == symbol;
            if is_named && accepts(&entry.instance) {
                return Some(entry.instance.clone());
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn all(&self) -> impl Iterator<Item = &Instance> {
        let entries = self.current().into_iter().flat_map(|table| table.iter());
        entries.filter_map(Once::get).map(|entry| &entry.instance)
    }

    /// The instance whose code contains `address`, by a linear search.
    pub(super) fn find_by_address(&self, address: u64) -> Option<Instance> {
        let address = usize::try_from(address).ok()?;
        self.all().find(|instance| instance.range().contains(&address)).cloned()
    }

    /// The number of instances of templates that are still those of their modules.
    pub(super) fn count_current(&self) -> usize {
        self.all().filter(|instance| instance.is_current()).count()
    }

    /// Inserts an instance. Those of the same symbol stay.
    ///
    /// # Errors
    /// No memory.
    pub(super) fn insert(&self, instance: Instance) -> Result<(), AllocError> {
        let mut len = self.len.lock();
        let hash = self.hasher.hash_one(instance.symbol());
        let entry = Entry { hash, instance };
        let number = self.current.load(Ordering::Relaxed);
        match self.current() {
            Some(table) if *len < table.len() / 2 => put(table, entry),
            old => {
                let table = new_table(old.map_or(INITIAL_SLOTS, |old| old.len() * 2))?;
                let entries = old.into_iter().flat_map(|old| old.iter()).filter_map(Once::get);
                entries.for_each(|entry| put(&table, entry.clone()));
                put(&table, entry);
                let next = if old.is_some() { number + 1 } else { number };
                self.tables.get(next).ok_or(AllocError)?.call_once(|| table);
                self.current.store(next, Ordering::Release);
            }
        }
        *len += 1;
        Ok(())
    }

    /// The number of instances.
    pub(super) fn len(&self) -> usize {
        *self.len.lock()
    }
}

/// Writes the first free slot of the entry's probe sequence.
fn put(table: &[Once<Entry>], entry: Entry) {
    let mask = table.len().wrapping_sub(1);
    let first = entry.hash as usize & mask;
    let probe = (0..table.len()).map(|step| first.wrapping_add(step) & mask);
    let mut free = probe.filter_map(|at| table.get(at)).filter(|slot| !slot.is_completed());
    if let Some(slot) = free.next() {
        slot.call_once(|| entry);
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::super::instance::{Dependencies, InstanceData};
    use super::*;
    use crate::alloc_util::TryArc;
    use crate::link::Name;
    use crate::memory::code_alloc::CodeMemory;

    /// The number of instances that each of three threads inserts.
    const EACH: usize = if cfg!(miri) { 20 } else { 500 };

    fn instance(memory: &CodeMemory, symbol: &str) -> Instance {
        let block = memory.allocate(4).unwrap().publish().unwrap();
        let symbol = Name::new(symbol.as_bytes()).unwrap();
        let data = InstanceData {
            symbol,
            _registrations: [None, None],
            block,
            code_len: 4,
            signature: Box::default(),
            is_source: false,
            dependencies: Dependencies::default(),
        };
        Instance(TryArc::new(data).unwrap())
    }

    #[test]
    fn inserted_instances_are_found_while_the_table_grows() {
        let (memory, table) = (CodeMemory::default(), InstanceTable::new());
        let contains = |symbol: &[u8]| table.find(symbol, &|_| true).is_some();
        assert!(!contains(b"f0"));
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (table, memory) = (&table, &memory);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let symbol = format!("f{thread}-{number}");
                        let new = instance(memory, &symbol);
                        let address = new.address();
                        table.insert(new).unwrap();
                        let found = table.find(symbol.as_bytes(), &|_| true).unwrap();
                        assert_eq!(found.address(), address);
                    }
                });
            }
        });
        assert_eq!(table.len(), 3 * EACH);
        for thread in 0..3 {
            for number in 0..EACH {
                let symbol = format!("f{thread}-{number}");
                let found = table.find(symbol.as_bytes(), &|_| true).unwrap();
                assert_eq!(found.symbol(), symbol.as_bytes());
                assert!(table.find(symbol.as_bytes(), &|_| false).is_none());
            }
        }
        assert!(!contains(b"f3-0") && !contains(b""));
    }

    #[test]
    fn instances_of_one_symbol_are_told_apart() {
        let (memory, table) = (CodeMemory::default(), InstanceTable::new());
        let all: Vec<Instance> = (0..INITIAL_SLOTS).map(|_| instance(&memory, "f")).collect();
        for new in &all {
            table.insert(new.clone()).unwrap();
        }
        for expected in &all {
            let is_same = |found: &Instance| found.address() == expected.address();
            assert!(table.find(b"f", &is_same).is_some_and(|found| is_same(&found)));
        }
        assert_eq!(table.len(), INITIAL_SLOTS);
    }
}
