//! Stubs and the table of function addresses of a reloadable module, as in a PLT and its GOT.
//!
//! Other modules call such a module through stubs, whose addresses are the same for all its versions. A stub jumps to an
//! address in the table, which it finds through one word, the root. A reload writes that word, so all callers
//! reach the new version in one step. The old table and the old code are freed when no thread can be inside any more.
//!
//! A stub is made when its function is first looked up or imported.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::error::LoadError;
use super::observer::{Registration, SharedObserver};
use super::stub;
use crate::alloc_util::{AllocError, SharedBytes, try_box};
use crate::link::Name;
use crate::memory::code_alloc::{CodeMemory, ExecError, ExecutableBlock, Request};
use crate::memory::lock::{Lock, LockGuard};

/// The addresses to which stubs jump.
pub(super) type Table = Box<[AtomicU64]>;

/// The entries of the first table.
const INITIAL_ENTRIES: usize = 16;

/// The entry of a function that the current version does not export.
const UNKNOWN: u64 = 0;

/// The maximum number of entries: their offsets must fit the stubs.
const MAX_ENTRIES: usize = 1 << 24;

/// The stubs of one module, for all its versions.
pub(super) struct StubTable {
    /// Read by the stubs. Boxed, because they contain its address.
    root: Box<AtomicPtr<AtomicU64>>,
    memory: CodeMemory,
    observer: Option<SharedObserver>,
    entries: Lock<Entries>,
}

struct Entries {
    /// The number of the version to which the table leads, from 0.
    version: u32,
    hasher: DefaultHashBuilder,
    /// Entry numbers by name.
    numbers: HashTable<u32>,
    stubs: Vec<Stub>,
    /// The table to which the root points.
    table: Table,
    /// Replaced smaller tables. A stub may still be reading one.
    outgrown: Vec<Table>,
}

struct Stub {
    name: SharedBytes,
    /// Dropped before the code.
    registration: Registration,
    code: ExecutableBlock,
}

impl StubTable {
    /// An empty table, whose stubs are allocated in `memory` and registered with `observer`.
    pub(super) fn new(
        memory: CodeMemory,
        observer: Option<SharedObserver>,
    ) -> Result<Self, AllocError> {
        let entries = Entries {
            version: 0,
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            stubs: Vec::new(),
            table: Box::default(),
            outgrown: Vec::new(),
        };
        let root = try_box(AtomicPtr::default())?;
        Ok(Self { root, memory, observer, entries: Lock::new(entries) })
    }

    /// The address of the stub for `name`. To make one, `find` returns the address of the function in the version with the
    /// given number, which is current and cannot be replaced during the call.
    ///
    /// # Errors
    /// [`StubError::Changed`] if `find` returns `None`.
    pub(super) fn stub(
        &self,
        name: &[u8],
        find: impl FnOnce(u32) -> Option<u64>,
    ) -> Result<u64, StubError> {
        let mut entries = self.entries.lock();
        // A function with an entry has one in every later version.
        if let Some(stub) = entries.existing_stub(name) {
            return Ok(stub);
        }
        let target = find(entries.version).ok_or(StubError::Changed)?;
        self.stub_in(&mut entries, name, target).map_err(StubError::Memory)
    }

    /// The address of the stub for a function of the next version. It must not be called before that version is
    /// [committed](Redirection::commit).
    pub(super) fn next_version_stub(&self, name: &[u8]) -> Result<u64, StubError> {
        self.stub_in(&mut self.entries.lock(), name, UNKNOWN).map_err(StubError::Memory)
    }

    fn stub_in(&self, entries: &mut Entries, name: &[u8], target: u64) -> Result<u64, ExecError> {
        let hash = entries.hasher.hash_one(name);
        if let Some(number) = entries.find(hash, name) {
            if let Some(word) = entries.table.get(number).filter(|_| target != UNKNOWN) {
                word.store(target, Ordering::Release);
            }
            return Ok(entries.stubs.get(number).map_or(0, |stub| stub.code.address() as u64));
        }
        let number = entries.stubs.len();
        if number == entries.table.len() {
            self.grow(entries)?;
        }
        let Entries { hasher, numbers, stubs, .. } = entries;
        let rehash = |number: &u32| {
            let stub = usize::try_from(*number).ok().and_then(|number| stubs.get(number));
            stub.map_or(0, |stub| hasher.hash_one(&**stub.name))
        };
        let reserved = numbers.try_reserve(1, rehash);
        reserved.map_err(|_| ExecError::OutOfMemory)?;
        stubs.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        let name = SharedBytes::copy_of(name)?;
        let code = self.new_stub(number)?;
        let address = code.address() as u64;
        // No thread has the address of the stub yet.
        if let Some(word) = entries.table.get(number) {
            word.store(target, Ordering::Release);
        }
        let range = code.address()..code.address() + code.len();
        let observer = self.observer.as_ref();
        let registration = observer.map_or(Ok(None), |observer| observer.on_stub(range));
        let registration = registration.map_err(|AllocError| ExecError::OutOfMemory)?;
        stubs.push(Stub { name, registration, code });
        // The number is below `MAX_ENTRIES`, and capacity is reserved.
        numbers.insert_unique(hash, number as u32, |_| 0);
        Ok(address)
    }

    fn grow(&self, entries: &mut Entries) -> Result<(), ExecError> {
        let len = (entries.table.len() * 2).max(INITIAL_ENTRIES);
        if len > MAX_ENTRIES {
            return Err(ExecError::OutOfMemory);
        }
        let mut table = new_table(len)?;
        entries.outgrown.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        for (new, old) in table.iter_mut().zip(&entries.table) {
            *new.get_mut() = old.load(Ordering::Relaxed);
        }
        let old = self.set_table(entries, table);
        entries.outgrown.push(old);
        Ok(())
    }

    fn new_stub(&self, number: usize) -> Result<ExecutableBlock, ExecError> {
        let root = core::ptr::from_ref(&*self.root).expose_provenance() as u64;
        // The C API recognises the start of a stub by its alignment.
        let mut block = self.memory.allocate_with(Request::new(stub::LEN).aligned_to(16))?;
        // Fewer than `MAX_ENTRIES` entries of 8 bytes.
        block.as_mut_slice().copy_from_slice(&stub::code(root, (number * 8) as u32));
        block.publish()
    }

    /// Replaces the table that stubs read; returns the previous one.
    fn set_table(&self, entries: &mut Entries, table: Table) -> Table {
        let first = table.as_ptr();
        first.expose_provenance();
        self.root.store(first.cast_mut(), Ordering::Release);
        core::mem::replace(&mut entries.table, table)
    }

    /// Drops the registrations of the stubs: calls by address do not find them any more.
    pub(super) fn unregister(&self) {
        for stub in &mut self.entries.lock().stubs {
            stub.registration = None;
        }
    }

    /// Prepares the table of a new version, in which `find` returns the address of each function. The table is locked
    /// until the result is committed or dropped.
    ///
    /// # Errors
    /// [`StubError::FunctionRemoved`] for a function that `find` does not return.
    pub(super) fn prepare<'e>(
        &'e self,
        find: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Redirection<'e>, StubError> {
        let mut entries = self.entries.lock();
        let mut table = new_table(entries.table.len()).map_err(StubError::Memory)?;
        // Space for the current table among the outgrown ones.
        let reserved = entries.outgrown.try_reserve(1);
        reserved.map_err(|_| StubError::Memory(ExecError::OutOfMemory))?;
        for ((word, old), stub) in table.iter_mut().zip(&entries.table).zip(&entries.stubs) {
            *word.get_mut() = match find(&stub.name) {
                Some(target) => target,
                // Made for a version that was never committed: no thread has its address.
                None if old.load(Ordering::Relaxed) == UNKNOWN => UNKNOWN,
                None => return Err(StubError::FunctionRemoved { symbol: Name::from(&stub.name) }),
            };
        }
        Ok(Redirection { stubs: self, entries, table })
    }
}

fn new_table(len: usize) -> Result<Table, ExecError> {
    let mut table = Vec::new();
    table.try_reserve_exact(len).map_err(|_| ExecError::OutOfMemory)?;
    table.resize_with(len, AtomicU64::default);
    Ok(table.into_boxed_slice())
}

impl Entries {
    /// The address of a stub with a target.
    fn existing_stub(&self, name: &[u8]) -> Option<u64> {
        let number = self.find(self.hasher.hash_one(name), name)?;
        let has_target = self.table.get(number)?.load(Ordering::Relaxed) != UNKNOWN;
        let stub = self.stubs.get(number).filter(|_| has_target)?;
        Some(stub.code.address() as u64)
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let stub = |number: u32| self.stubs.get(usize::try_from(number).ok()?);
        let is_it = |number: &u32| stub(*number).is_some_and(|stub| **stub.name == *name);
        usize::try_from(*self.numbers.find(hash, is_it)?).ok()
    }
}

/// Why there is no stub for a function, or no next version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StubError {
    /// The new version does not export a function that has a stub.
    FunctionRemoved { symbol: Name },
    /// The current version does not export the function.
    Changed,
    /// No memory for the stub or the table.
    Memory(ExecError),
}

impl StubError {
    /// The error of the module of this name.
    pub(super) fn of(self, module: &SharedBytes) -> LoadError {
        let module = Name::from(module);
        match self {
            StubError::FunctionRemoved { symbol } => LoadError::FunctionRemoved { module, symbol },
            StubError::Changed => LoadError::Changed { module },
            StubError::Memory(error) => LoadError::Stub { module, error },
        }
    }
}

/// The prepared table of a new version.
pub(super) struct Redirection<'e> {
    stubs: &'e StubTable,
    entries: LockGuard<'e, Entries>,
    table: Table,
}

impl Redirection<'_> {
    /// The number of the new version.
    pub(super) fn version(&self) -> u32 {
        self.entries.version.wrapping_add(1)
    }

    /// Whether a stub exists: threads may have its address and enter the code without the library.
    pub(super) fn has_stubs(&self) -> bool {
        !self.entries.stubs.is_empty()
    }

    /// Redirects all stubs to the new version. Returns the tables that stubs may still be reading.
    pub(super) fn commit(self) -> Vec<Table> {
        let Self { stubs, mut entries, table } = self;
        entries.version = entries.version.wrapping_add(1);
        let old = stubs.set_table(&mut entries, table);
        let mut tables = core::mem::take(&mut entries.outgrown);
        tables.push(old);
        tables
    }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
#[path = "tests/stub_table.rs"]
mod tests;
