//! The table of entry points of a module that may be replaced.
//!
//! Others call such a module through stubs, which stay where they are for as long as the module is
//! loaded in any version. A stub jumps to where the table says, and finds the table through one word,
//! the root. To replace the module is to write that word: every caller then reaches the new version,
//! in one step. The table and the code that it led to are kept until nobody can be inside any more.
//!
//! An entry is made when somebody first asks for its function: most exports are called by nobody.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::module_loader::LoadObserver;
use super::version::Attached;
use super::{LoadError, stub};
use crate::alloc_util::{AllocError, Shared, try_box, try_copy_bytes};
use crate::link::ShortName;
use crate::memory::code_alloc::{CodeMemory, ExecError, ExecutableBlock, Request};
use crate::memory::lock::{Lock, LockGuard};

/// The addresses that stubs jump to.
pub(super) type Table = Box<[AtomicU64]>;

/// StubTable of a first table.
const FIRST: usize = 16;

/// The target of a function that the present version does not have.
const UNKNOWN: u64 = 0;

/// The most entries: their offsets must fit the stubs.
const MOST: usize = 1 << 24;

/// The entry points of one module, in all its versions.
pub(super) struct StubTable {
    /// Read by the stubs. In a box, because they know its address.
    root: Box<AtomicPtr<AtomicU64>>,
    memory: CodeMemory,
    attach: Option<Shared<dyn LoadObserver>>,
    names: Lock<Names>,
}

struct Names {
    /// Which version the table leads to; counts from 0.
    version: u32,
    hasher: DefaultHashBuilder,
    /// From a name to its number.
    numbers: HashTable<u32>,
    entries: Vec<Entry>,
    /// What the root leads to.
    table: Table,
    /// Tables that have become too small; a stub may still be reading one.
    outgrown: Vec<Table>,
}

struct Entry {
    name: Box<[u8]>,
    /// What the host has registered of the stub: dropped before it.
    registration: Attached,
    stub: ExecutableBlock,
}

impl StubTable {
    /// A table without entries, whose stubs come out of `memory` and of which `attach` is told.
    pub(super) fn new(
        memory: CodeMemory,
        attach: Option<Shared<dyn LoadObserver>>,
    ) -> Result<Self, AllocError> {
        let names = Names {
            version: 0,
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            entries: Vec::new(),
            table: Box::default(),
            outgrown: Vec::new(),
        };
        let root = try_box(AtomicPtr::default())?;
        Ok(Self { root, memory, attach, names: Lock::new(names) })
    }

    /// The address of the stub for `name`. When there is none yet, `find` is asked where the function is
    /// in the version with a number, which is the present one and is not replaced meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Changed`] when `find` does not know.
    pub(super) fn stub(
        &self,
        name: &[u8],
        find: impl FnOnce(u32) -> Option<u64>,
    ) -> Result<u64, Refusal> {
        let mut names = self.names.lock();
        // What has an entry once has one in every later version.
        if let Some(stub) = names.known_stub(name) {
            return Ok(stub);
        }
        let target = find(names.version).ok_or(Refusal::Changed)?;
        self.stub_in(&mut names, name, target).map_err(Refusal::Memory)
    }

    /// The address of the stub for a function of a version to come. Nobody may jump there before the
    /// step to that version is taken.
    pub(super) fn coming_stub(&self, name: &[u8]) -> Result<u64, Refusal> {
        self.stub_in(&mut self.names.lock(), name, UNKNOWN).map_err(Refusal::Memory)
    }

    fn stub_in(&self, names: &mut Names, name: &[u8], target: u64) -> Result<u64, ExecError> {
        let hash = names.hasher.hash_one(name);
        if let Some(number) = names.find(hash, name) {
            if let Some(word) = names.table.get(number).filter(|_| target != UNKNOWN) {
                word.store(target, Ordering::Release);
            }
            return Ok(names.entries.get(number).map_or(0, |entry| entry.stub.address() as u64));
        }
        let number = names.entries.len();
        if number == names.table.len() {
            self.grow(names)?;
        }
        let Names { hasher, numbers, entries, .. } = names;
        let rehash = |number: &u32| {
            let entry = usize::try_from(*number).ok().and_then(|number| entries.get(number));
            entry.map_or(0, |entry| hasher.hash_one(&*entry.name))
        };
        let reserved = numbers.try_reserve(1, rehash);
        reserved.map_err(|_| ExecError::OutOfMemory)?;
        entries.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        let name = try_copy_bytes(name)?;
        let stub = self.new_stub(number)?;
        let address = stub.address() as u64;
        // The stub is unknown yet, so nobody reads the entry.
        if let Some(entry) = names.table.get(number) {
            entry.store(target, Ordering::Release);
        }
        let code = stub.address()..stub.address() + stub.len();
        let attach = self.attach.as_ref();
        let registration = attach.map_or(Ok(None), |attach| attach.attach_stub(code));
        let registration = registration.map_err(|AllocError| ExecError::OutOfMemory)?;
        entries.push(Entry { name, registration, stub });
        // Below `MOST`.
        // The table has spare capacity, so it does not rehash.
        numbers.insert_unique(hash, number as u32, |_| 0);
        Ok(address)
    }

    fn grow(&self, names: &mut Names) -> Result<(), ExecError> {
        let len = (names.table.len() * 2).max(FIRST);
        if len > MOST {
            return Err(ExecError::OutOfMemory);
        }
        let mut table = new_table(len)?;
        names.outgrown.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        for (new, old) in table.iter_mut().zip(&names.table) {
            *new.get_mut() = old.load(Ordering::Relaxed);
        }
        let old = self.lead_to(names, table);
        names.outgrown.push(old);
        Ok(())
    }

    fn new_stub(&self, number: usize) -> Result<ExecutableBlock, ExecError> {
        let root = core::ptr::from_ref(&*self.root).expose_provenance() as u64;
        // Who makes sure of where calls lead knows stubs by this.
        let mut block = self.memory.allocate_with(Request::new(stub::LEN).aligned_to(16))?;
        // Below `MOST` entries of 8 bytes.
        block.as_mut_slice().copy_from_slice(&stub::code(root, (number * 8) as u32));
        block.publish()
    }

    /// Makes another table the one that stubs read; returns the one before.
    fn lead_to(&self, names: &mut Names, table: Table) -> Table {
        let first = table.as_ptr();
        first.expose_provenance();
        self.root.store(first.cast_mut(), Ordering::Release);
        core::mem::replace(&mut names.table, table)
    }

    /// Drops what the host has registered of the stubs: calls by address do not find them any more.
    pub(super) fn unregister(&self) {
        for entry in &mut self.names.lock().entries {
            entry.registration = None;
        }
    }

    /// Readies the step to a new version, in which `find` knows where each function is. No entry is
    /// made until the step is taken or given up.
    ///
    /// # Errors
    /// [`Refusal::Gone`] with the name that `find` does not know.
    pub(super) fn prepare<'e>(
        &'e self,
        find: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Redirection<'e>, Refusal> {
        let mut names = self.names.lock();
        let mut table = new_table(names.table.len()).map_err(Refusal::Memory)?;
        // The table before joins those that were outgrown.
        let reserved = names.outgrown.try_reserve(1);
        reserved.map_err(|_| Refusal::Memory(ExecError::OutOfMemory))?;
        for ((word, old), entry) in table.iter_mut().zip(&names.table).zip(&names.entries) {
            *word.get_mut() = match find(&entry.name) {
                Some(target) => target,
                // Asked for by a version that never came, and so by nobody.
                None if old.load(Ordering::Relaxed) == UNKNOWN => UNKNOWN,
                None => return Err(Refusal::Gone { symbol: ShortName::new(&entry.name) }),
            };
        }
        Ok(Redirection { entries: self, names, table })
    }
}

#[cold]
#[inline(never)]
fn new_table(len: usize) -> Result<Table, ExecError> {
    let mut table = Vec::new();
    table.try_reserve_exact(len).map_err(|_| ExecError::OutOfMemory)?;
    table.resize_with(len, AtomicU64::default);
    Ok(table.into_boxed_slice())
}

impl Names {
    /// The address of a stub that leads somewhere.
    fn known_stub(&self, name: &[u8]) -> Option<u64> {
        let number = self.find(self.hasher.hash_one(name), name)?;
        let leads = self.table.get(number)?.load(Ordering::Relaxed) != UNKNOWN;
        let entry = self.entries.get(number).filter(|_| leads)?;
        Some(entry.stub.address() as u64)
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let entry = |number: u32| self.entries.get(usize::try_from(number).ok()?);
        let is_it = |number: &u32| entry(*number).is_some_and(|entry| *entry.name == *name);
        usize::try_from(*self.numbers.find(hash, is_it)?).ok()
    }
}

/// Why callers cannot be led to a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The new version does not have a function that others call.
    Gone { symbol: ShortName },
    /// There is a newer version, which does not have the function.
    Changed,
    /// No memory for it.
    Memory(ExecError),
}

impl Refusal {
    /// The error of the module of this name.
    #[cold]
    #[inline(never)]
    pub(super) fn of(self, module: &[u8]) -> LoadError {
        let module = ShortName::new(module);
        match self {
            Refusal::Gone { symbol } => LoadError::FunctionGone { module, symbol },
            Refusal::Changed => LoadError::Changed { module },
            Refusal::Memory(error) => LoadError::Entries { module, error },
        }
    }
}

/// The step to a new version, not yet taken.
pub(super) struct Redirection<'e> {
    entries: &'e StubTable,
    names: LockGuard<'e, Names>,
    table: Table,
}

impl Redirection<'_> {
    /// The number of the new version.
    pub(super) fn version(&self) -> u32 {
        self.names.version.wrapping_add(1)
    }

    /// Whether there is a stub: others may have its address, and enter the code without the library.
    pub(super) fn has_stubs(&self) -> bool {
        !self.names.entries.is_empty()
    }

    /// Takes the step. Returns the tables that stubs may still be reading.
    pub(super) fn commit(self) -> Vec<Table> {
        let Self { entries, mut names, table } = self;
        names.version = names.version.wrapping_add(1);
        let old = entries.lead_to(&mut names, table);
        let mut tables = core::mem::take(&mut names.outgrown);
        tables.push(old);
        tables
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
#[path = "tests/stub_table.rs"]
mod tests;
