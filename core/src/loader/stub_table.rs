//! Stubs and the table of function addresses of a reloadable module, as in a PLT and its GOT.
//!
//! Other modules call such a module through stubs, whose addresses are the same for all its versions. A stub jumps to
//! an address in the table, which it finds through one word, the root. A reload writes that word, so all callers reach
//! the new version in one step. The old table and the old code are freed when no thread can be inside any more.
//!
//! A stub is made when its function is first looked up or imported.

use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use hashbrown::HashMap;

use super::error::{LoadError, Result};
use super::observer::{Registration, SharedObserver};
use super::stub;
use crate::alloc_util::{AllocError, try_box, try_reserve, try_with_capacity};
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

#[derive(Default)]
struct Entries {
    /// The number of the version to which the table leads, from 0.
    version: u32,
    /// Entry numbers by name.
    numbers: HashMap<Name, usize>,
    stubs: Vec<Stub>,
    /// The table to which the root points.
    table: Table,
    /// Replaced smaller tables. A stub may still be reading one.
    outgrown: Vec<Table>,
}

struct Stub {
    name: Name,
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
        let root = try_box(AtomicPtr::default())?;
        Ok(Self { root, memory, observer, entries: Lock::default() })
    }

    /// The address of the stub for `name` in `module`. To make one, `find` returns the address of the function in the
    /// version with the given number, which is current and cannot be replaced during the call.
    ///
    /// # Errors
    /// [`LoadError::Changed`] if `find` returns `None`; [`LoadError::Stub`].
    pub(super) fn stub(
        &self,
        module: &Name,
        name: &[u8],
        find: impl FnOnce(u32) -> Option<u64>,
    ) -> Result<u64> {
        let mut entries = self.entries.lock();
        // A function with an entry has one in every later version.
        if let Some(stub) = entries.existing_stub(name) {
            return Ok(stub);
        }
        let changed = || LoadError::Changed { module: module.clone() };
        let target = find(entries.version).ok_or_else(changed)?;
        self.stub_in(&mut entries, name, target).map_err(|error| stub_error(module, error))
    }

    /// The address of the stub for a function of the next version. It must not be called before that version is
    /// [committed](Redirection::commit).
    pub(super) fn next_version_stub(&self, module: &Name, name: &[u8]) -> Result<u64> {
        let mut entries = self.entries.lock();
        self.stub_in(&mut entries, name, UNKNOWN).map_err(|error| stub_error(module, error))
    }

    /// The address of the stub for `name`, which leads to `missing` until it is [set](Self::set_target).
    pub(super) fn forward_stub(&self, name: &[u8], missing: u64) -> Result<u64, ExecError> {
        let mut entries = self.entries.lock();
        match entries.existing_stub(name) {
            Some(stub) => Ok(stub),
            None => self.stub_in(&mut entries, name, missing),
        }
    }

    /// Whether one of the stubs begins at an address.
    pub(super) fn has_stub(&self, address: u64) -> bool {
        let entries = self.entries.lock();
        entries.stubs.iter().any(|stub| stub.code.address() as u64 == address)
    }

    /// Lets the stub for `name` lead to `target`.
    pub(super) fn set_target(&self, name: &[u8], target: u64) {
        let entries = self.entries.lock();
        let number = entries.numbers.get(name);
        if let Some(word) = number.and_then(|&number| entries.table.get(number)) {
            word.store(target, Ordering::Release);
        }
    }

    fn stub_in(&self, entries: &mut Entries, name: &[u8], target: u64) -> Result<u64, ExecError> {
        if let Some(&number) = entries.numbers.get(name) {
            if let Some(word) = entries.table.get(number).filter(|_| target != UNKNOWN) {
                word.store(target, Ordering::Release);
            }
            return Ok(entries.stubs.get(number).map_or(0, |stub| stub.code.address() as u64));
        }
        let number = entries.stubs.len();
        if number == entries.table.len() {
            self.grow(entries)?;
        }
        entries.numbers.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        try_reserve(&mut entries.stubs, 1)?;
        let name = Name::new(name)?;
        let code = self.new_stub(number)?;
        let address = code.address() as u64;
        // No thread has the address of the stub yet.
        if let Some(word) = entries.table.get(number) {
            word.store(target, Ordering::Release);
        }
        let range = code.address()..code.address() + code.len();
        let observer = self.observer.as_ref();
        let registration = observer.map_or(Ok(None), |observer| observer.on_stub(range))?;
        entries.stubs.push(Stub { name: name.clone(), registration, code });
        entries.numbers.insert(name, number);
        Ok(address)
    }

    fn grow(&self, entries: &mut Entries) -> Result<(), ExecError> {
        let len = (entries.table.len() * 2).max(INITIAL_ENTRIES);
        if len > MAX_ENTRIES {
            return Err(ExecError::OutOfMemory);
        }
        let mut table = new_table(len)?;
        try_reserve(&mut entries.outgrown, 1)?;
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
        let code = stub::code(root, (number * 8) as u32);
        block.as_mut_slice().iter_mut().zip(code).for_each(|(to, byte)| *to = byte);
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

    /// Prepares the table of a new version of `module`, in which `find` returns the address of each function. The table
    /// is locked until the result is committed or dropped.
    ///
    /// # Errors
    /// [`LoadError::FunctionRemoved`] for a function that `find` does not return; [`LoadError::Stub`].
    pub(super) fn prepare<'e>(
        &'e self,
        module: &Name,
        find: impl Fn(&[u8]) -> Option<u64>,
    ) -> Result<Redirection<'e>> {
        let mut entries = self.entries.lock();
        // With space for the current table among the outgrown ones.
        let reserved = try_reserve(&mut entries.outgrown, 1);
        let table = reserved.and_then(|()| new_table(entries.table.len()));
        let mut table = table.map_err(|error| stub_error(module, error.into()))?;
        for ((word, old), stub) in table.iter_mut().zip(&entries.table).zip(&entries.stubs) {
            *word.get_mut() = match find(&stub.name) {
                Some(target) => target,
                // Made for a version that was never committed: no thread has its address.
                None if old.load(Ordering::Relaxed) == UNKNOWN => UNKNOWN,
                None => {
                    let (module, symbol) = (module.clone(), stub.name.clone());
                    return Err(LoadError::FunctionRemoved { module, symbol });
                }
            };
        }
        Ok(Redirection { stubs: self, entries, table })
    }
}

fn new_table(len: usize) -> Result<Table, AllocError> {
    let mut table = try_with_capacity(len)?;
    table.resize_with(len, AtomicU64::default);
    Ok(table.into_boxed_slice())
}

fn stub_error(module: &Name, error: ExecError) -> LoadError {
    LoadError::Stub { module: module.clone(), error }
}

impl Entries {
    /// The address of a stub with a target.
    fn existing_stub(&self, name: &[u8]) -> Option<u64> {
        let number = *self.numbers.get(name)?;
        let has_target = self.table.get(number)?.load(Ordering::Relaxed) != UNKNOWN;
        let stub = self.stubs.get(number).filter(|_| has_target)?;
        Some(stub.code.address() as u64)
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
