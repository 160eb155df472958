//! The loaded modules, and the index of the instances that their notes list.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::sync::atomic::Ordering;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::error::MetadataError;
use super::module::{Module, Row, Span};
use crate::alloc_util::{AllocError, TryArc, try_push, try_reserve};

/// A row of a module.
#[derive(Clone)]
pub(super) struct ModuleRow {
    pub(super) module: TryArc<Module>,
    pub(super) row: Row,
}

/// An index entry: a row of a module's note, of its rows or, behind these, its lost rows.
#[derive(Clone, Copy)]
struct IndexEntry {
    /// The upper half of the hash, which the table itself does not compare.
    hash: u32,
    module: u32,
    row: u32,
    symbol: Span,
}

/// Modules by path, and their rows by symbol.
#[derive(Default)]
pub(super) struct ModuleIndex {
    /// In the order in which they were loaded.
    modules: Vec<TryArc<Module>>,
    hasher: DefaultHashBuilder,
    /// The modules by path. Entries without a row, so that the tables share code.
    numbers: HashTable<IndexEntry>,
    rows: HashTable<IndexEntry>,
    /// The rows of instances that were compiled, in this process or in another one.
    lost: HashTable<IndexEntry>,
    /// Modules that were unloaded and whose templates have instances; at most one of each owner and path.
    unloaded: Vec<TryArc<Module>>,
}

impl ModuleIndex {
    /// All modules, in the order in which they were loaded.
    pub(super) fn all(&self) -> &[TryArc<Module>] {
        &self.modules
    }

    /// The modules whose templates requests of `owner` use, in the order in which they were loaded.
    pub(super) fn of(&self, owner: u64) -> impl Iterator<Item = &TryArc<Module>> {
        self.modules.iter().filter(move |module| module.source.is_of(owner))
    }

    /// Inserts a module, or replaces the one with the same owner and path.
    ///
    /// # Errors
    /// No memory, or too many modules. The index is then unchanged.
    pub(super) fn insert(&mut self, module: Module) -> Result<TryArc<Module>, MetadataError> {
        let owner = module.source.owner;
        let old = self.number(&module.note.path, owner);
        let old = old.filter(|&old| self.at(old).is_some_and(|old| old.source.owner == owner));
        let next = u32::try_from(self.modules.len()).map_err(|_| MetadataError::TooLarge)?;
        let number = old.unwrap_or(next);
        self.reserve(&module)?;
        let mut module = TryArc::new(module)?;
        if let Some(old) = old.and_then(|old| self.at(old)).cloned() {
            self.remove_entries(number, false);
            // Nothing shares the module yet.
            module.get_mut().into_iter().for_each(|module| module.note.replace(&old.note));
        }
        if let Some(module) = module.get_mut() {
            (0..module.rows.len()).for_each(|row| self.insert_row(number, module, row));
        }
        for (row, lost) in (module.rows.len()..).zip(&module.lost_rows) {
            let hash = self.hasher.hash_one(module.text(lost.symbol).as_bytes());
            put(&mut self.lost, hash, IndexEntry::new(hash, number, row, lost.symbol));
        }
        match self.modules.get_mut(number as usize) {
            Some(slot) => *slot = module.clone(),
            None => {
                self.modules.push(module.clone());
                let hash = self.hasher.hash_one(&*module.note.path);
                put(&mut self.numbers, hash, IndexEntry::new(hash, number, 0, Span::default()));
            }
        }
        Ok(module)
    }

    /// Reserves memory for the insertion of `module`.
    fn reserve(&mut self, module: &Module) -> Result<(), AllocError> {
        let Self { modules, hasher, numbers, rows, lost, .. } = self;
        reserve(rows, module.rows.len(), modules, hasher)?;
        reserve(lost, module.lost_rows.len(), modules, hasher)?;
        let rehash = |entry: &IndexEntry| {
            let path = module_at(modules, entry.module).map(|module| &*module.note.path);
            hasher.hash_one(path.unwrap_or_default())
        };
        numbers.try_reserve(1, rehash).map_err(|_| AllocError)?;
        try_reserve(modules, 1)
    }

    /// Inserts a row of a module that is not in `modules` yet. Memory has been reserved.
    fn insert_row(&mut self, number: u32, module: &mut Module, row: usize) {
        let Some(new) = module.rows.get(row).copied() else { return };
        let symbol = module.text(new.symbol);
        let hash = self.hasher.hash_one(symbol.as_bytes());
        let same =
            |other: &IndexEntry| other.module == number && module.text(other.symbol) == symbol;
        if let Some(&IndexEntry { row: duplicate, .. }) = self.rows.find(hash, same) {
            let differs = module.row(duplicate).is_some_and(|old| {
                let same = |one, other| module.text(one) == module.text(other);
                !same(old.template, new.template) || !same(old.arguments, new.arguments)
            });
            let old = module.rows.get_mut(duplicate as usize);
            if let Some(old) = old.filter(|old| differs && old.conflicting_line == 0) {
                old.conflicting_line = new.line;
            }
            return;
        }
        put(&mut self.rows, hash, IndexEntry::new(hash, number, row, new.symbol));
    }

    /// Removes all rows of a module, and the module itself if it `is_gone`.
    fn remove_entries(&mut self, number: u32, is_gone: bool) {
        // Those after it move up.
        let moves_up = |entry: &mut IndexEntry| {
            let stays = entry.module != number;
            entry.module -= u32::from(is_gone && entry.module > number);
            stays
        };
        let is_gone = is_gone && self.at(number).is_some();
        let tables = [&mut self.rows, &mut self.lost, &mut self.numbers];
        for table in tables.into_iter().take(if is_gone { 3 } else { 2 }) {
            table.retain(moves_up);
        }
        if is_gone {
            self.modules.remove(number as usize);
        }
    }

    /// Removes a module that a loader has read, and that `is_it` accepts: its instances are not found any more.
    pub(super) fn unload(&mut self, is_it: &dyn Fn(&Module) -> bool) -> Option<TryArc<Module>> {
        let is_it = |module: &TryArc<Module>| module.note.is_of_loader() && is_it(module);
        let number = u32::try_from(self.modules.iter().position(is_it)?).ok()?;
        let module = self.at(number)?.clone();
        self.remove_entries(number, true);
        module.source.is_outdated.store(true, Ordering::Relaxed);
        Some(module)
    }

    /// Remembers an unloaded module whose instances are found again if the same templates are loaded under its path.
    pub(super) fn remember(&mut self, module: TryArc<Module>) {
        if module.source.instances.load(Ordering::Relaxed) != 0 {
            // Without memory its instances are made again.
            let _ = try_push(&mut self.unloaded, module);
        }
    }

    /// Takes a remembered module that `is_it` accepts.
    pub(super) fn recall(&mut self, is_it: &dyn Fn(&Module) -> bool) -> Option<TryArc<Module>> {
        let found = self.unloaded.iter().position(|module| is_it(module))?;
        Some(self.unloaded.swap_remove(found))
    }

    /// Moves the row of an instance that has been compiled.
    pub(super) fn remove(&mut self, module: &TryArc<Module>, symbol: &[u8]) {
        let hash = self.hasher.hash_one(symbol);
        let Self { modules, hasher, rows, lost, .. } = self;
        let same = |entry: &IndexEntry| {
            let of = module_at(modules, entry.module);
            of.is_some_and(|of| of.ptr_eq(module)) && entry.is_of(modules, hash, symbol)
        };
        let Ok(found) = rows.find_entry(hash, same) else { return };
        let (entry, _) = found.remove();
        // Without memory it is not compiled again.
        if reserve(lost, 1, modules, hasher).is_ok() {
            put(lost, hash, entry);
        }
    }

    /// Whether a module lists `symbol` as possible, for requests of `owner`.
    pub(super) fn is_possible(&self, symbol: &[u8], owner: u64) -> bool {
        self.find_possible(symbol, owner).is_some()
    }

    /// The row of `symbol` in the first module that lists it as possible, for requests of `owner`.
    pub(super) fn find_possible(&self, symbol: &[u8], owner: u64) -> Option<ModuleRow> {
        self.find_in(&self.rows, symbol, owner)
    }

    /// As [`find_possible`](Self::find_possible), or else the row of an instance that was compiled before.
    pub(super) fn find(&self, symbol: &[u8], owner: u64) -> Option<ModuleRow> {
        self.find_possible(symbol, owner).or_else(|| {
            let ModuleRow { module, row } = self.find_in(&self.lost, symbol, owner)?;
            Some(ModuleRow { module, row: Row { is_instantiated: true, ..row } })
        })
    }

    /// The first of `rows` for `symbol`.
    #[inline(never)]
    fn find_in(
        &self,
        rows: &HashTable<IndexEntry>,
        symbol: &[u8],
        owner: u64,
    ) -> Option<ModuleRow> {
        let hash = self.hasher.hash_one(symbol);
        let found = rows.iter_hash(hash).filter(|entry| {
            let module = self.at(entry.module);
            module.is_some_and(|module| module.source.is_of(owner))
                && entry.is_of(&self.modules, hash, symbol)
        });
        let first = found.min_by_key(|entry| (entry.module, entry.row))?;
        let module = self.at(first.module)?.clone();
        let row = *module.rows.iter().chain(&module.lost_rows).nth(first.row as usize)?;
        Some(ModuleRow { module, row })
    }

    /// The module with this path that `owner` has, or else the first one that requests of it use.
    pub(super) fn by_path(&self, path: &[u8], owner: u64) -> Option<TryArc<Module>> {
        self.at(self.number(path, owner)?).cloned()
    }

    fn number(&self, path: &[u8], owner: u64) -> Option<u32> {
        let found = self.numbers.iter_hash(self.hasher.hash_one(path)).map(|entry| entry.module);
        let found = found.filter_map(|number| Some((number, self.at(number)?)));
        let found =
            found.filter(|(_, module)| *module.note.path == *path && module.source.is_of(owner));
        let first = found.min_by_key(|(number, module)| (module.source.owner != owner, *number));
        Some(first?.0)
    }

    fn at(&self, number: u32) -> Option<&TryArc<Module>> {
        module_at(&self.modules, number)
    }
}

impl IndexEntry {
    fn new(hash: u64, module: u32, row: usize, symbol: Span) -> Self {
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        Self { hash: (hash >> 32) as u32, module, row, symbol }
    }

    fn hash(&self, modules: &[TryArc<Module>], hasher: &DefaultHashBuilder) -> u64 {
        let symbol = module_at(modules, self.module).map_or("", |module| module.text(self.symbol));
        hasher.hash_one(symbol.as_bytes())
    }

    fn is_of(&self, modules: &[TryArc<Module>], hash: u64, symbol: &[u8]) -> bool {
        let module = module_at(modules, self.module);
        self.hash == (hash >> 32) as u32
            && module.is_some_and(|module| module.text(self.symbol).as_bytes() == symbol)
    }
}

/// Reserves memory for `more` entries.
#[inline(never)]
fn reserve(
    table: &mut HashTable<IndexEntry>,
    more: usize,
    modules: &[TryArc<Module>],
    hasher: &DefaultHashBuilder,
) -> Result<(), AllocError> {
    table.try_reserve(more, |entry| entry.hash(modules, hasher)).map_err(|_| AllocError)
}

/// Inserts an entry, for which memory has been reserved: the table does not rehash.
#[inline(never)]
fn put(table: &mut HashTable<IndexEntry>, hash: u64, entry: IndexEntry) {
    table.insert_unique(hash, entry, |_| 0);
}

fn module_at(modules: &[TryArc<Module>], number: u32) -> Option<&TryArc<Module>> {
    modules.get(number as usize)
}
