//! The loaded modules, and the index of the instances that their notes list.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::error::MetadataError;
use super::module::{Module, Row, Span};
use crate::alloc_util::{AllocError, TryArc, try_copy_bytes, try_with_capacity};

/// A row of a module.
#[derive(Clone)]
pub(super) struct ModuleRow {
    pub(super) module: TryArc<Module>,
    pub(super) row: Row,
}

/// An index entry: a row of `possible` in a module's note.
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
    pub(super) modules: Vec<TryArc<Module>>,
    hasher: DefaultHashBuilder,
    /// Where the first row of a module would be: its number in the upper half, as in `lost`, whose code the table shares.
    paths: HashMap<Box<[u8]>, RowPlace>,
    rows: HashTable<IndexEntry>,
    /// Where the rows are of instances that were compiled, in this process or in another one.
    lost: HashMap<Box<[u8]>, RowPlace>,
}

impl ModuleIndex {
    /// Inserts a module, or replaces the one with the same path.
    ///
    /// # Errors
    /// No memory, or too many modules. The index is then unchanged.
    pub(super) fn insert(&mut self, module: Module) -> Result<TryArc<Module>, MetadataError> {
        let old = self.paths.get(&*module.note.path).map(|place| module_of(*place));
        let next = u32::try_from(self.modules.len()).map_err(|_| MetadataError::TooLarge)?;
        let number = old.unwrap_or(next);
        let lost_symbols = self.reserve(&module)?;
        let path = try_copy_bytes(&module.note.path)?;
        let mut module = TryArc::new(module)?;
        if old.is_some() {
            self.remove_rows(number);
        }
        // Nothing shares the module yet.
        if let Some(module) = module.get_mut() {
            if let Some(old) = old.and_then(|old| module_at(&self.modules, old)) {
                module.note.replace(&old.note);
            }
            (0..module.rows.len()).for_each(|row| self.insert_row(number, module, row));
        }
        for (symbol, row) in lost_symbols.into_iter().zip(module.rows.len()..) {
            self.add_lost(symbol, row_place(number, row));
        }
        match self.modules.get_mut(number as usize) {
            Some(slot) => *slot = module.clone(),
            None => {
                self.modules.push(module.clone());
                self.paths.insert(path, row_place(number, 0));
            }
        }
        Ok(module)
    }

    /// Reserves memory for the insertion of `module`. Returns copies of the symbols of [`Module::lost_rows`].
    fn reserve(&mut self, module: &Module) -> Result<Vec<Box<[u8]>>, AllocError> {
        let Self { modules, hasher, paths, rows, lost } = self;
        let rehash = |entry: &IndexEntry| {
            let symbol = module_at(modules, entry.module).map_or("", |m| m.text(entry.symbol));
            hasher.hash_one(symbol.as_bytes())
        };
        rows.try_reserve(module.rows.len(), rehash).map_err(|_| AllocError)?;
        paths.try_reserve(1).map_err(|_| AllocError)?;
        lost.try_reserve(module.lost_rows.len()).map_err(|_| AllocError)?;
        modules.try_reserve(1).map_err(|_| AllocError)?;
        let mut lost_symbols = try_with_capacity(module.lost_rows.len())?;
        for row in &module.lost_rows {
            lost_symbols.push(try_copy_bytes(module.text(row.symbol).as_bytes())?);
        }
        Ok(lost_symbols)
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
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        let upper = (hash >> 32) as u32;
        let entry = IndexEntry { hash: upper, module: number, row, symbol: new.symbol };
        // `reserve` has left spare capacity: the table does not rehash.
        self.rows.insert_unique(hash, entry, |_| 0);
    }

    /// Removes all rows of a module.
    fn remove_rows(&mut self, number: u32) {
        self.lost.retain(|_, place| module_of(*place) != number);
        let Some(module) = module_at(&self.modules, number) else { return };
        for row in &module.rows {
            let hash = self.hasher.hash_one(module.text(row.symbol).as_bytes());
            let same = |entry: &IndexEntry| entry.module == number && entry.symbol == row.symbol;
            if let Ok(found) = self.rows.find_entry(hash, same) {
                found.remove();
            }
        }
    }

    /// Removes the row of an instance that has been compiled.
    pub(super) fn remove(&mut self, module: &TryArc<Module>, symbol: &[u8]) {
        let hash = self.hasher.hash_one(symbol);
        let Self { modules, rows, .. } = self;
        let same = |entry: &IndexEntry| {
            let of = module_at(modules, entry.module);
            of.is_some_and(|of| of.ptr_eq(module)) && is_symbol(modules, entry, hash, symbol)
        };
        let Ok(found) = rows.find_entry(hash, same) else { return };
        let (IndexEntry { module: number, row, .. }, _) = found.remove();
        // Without memory it is not compiled again.
        if self.lost.try_reserve(1).is_ok()
            && let Ok(symbol) = try_copy_bytes(symbol)
        {
            self.add_lost(symbol, row_place(number, row as usize));
        }
    }

    /// Adds the row of an instance that was compiled, unless one is known. Memory has been reserved.
    fn add_lost(&mut self, symbol: Box<[u8]>, place: RowPlace) {
        if !self.lost.contains_key(&symbol) {
            self.lost.insert(symbol, place);
        }
    }

    /// Whether a module lists `symbol` as possible.
    pub(super) fn is_possible(&self, symbol: &[u8]) -> bool {
        let hash = self.hasher.hash_one(symbol);
        self.rows.find(hash, |entry| is_symbol(&self.modules, entry, hash, symbol)).is_some()
    }

    /// The row of `symbol` in the first module that lists it as possible.
    pub(super) fn find_possible(&self, symbol: &[u8]) -> Option<ModuleRow> {
        let hash = self.hasher.hash_one(symbol);
        let found = self.rows.iter_hash(hash);
        let found = found.filter(|entry| is_symbol(&self.modules, entry, hash, symbol));
        let first = found.min_by_key(|entry| entry.module)?;
        let module = module_at(&self.modules, first.module)?.clone();
        let row = module.row(first.row)?;
        Some(ModuleRow { module, row })
    }

    /// As [`find_possible`](Self::find_possible), or else the row of an instance that was compiled before.
    pub(super) fn find(&self, symbol: &[u8]) -> Option<ModuleRow> {
        self.find_possible(symbol).or_else(|| {
            let place = *self.lost.get(symbol)?;
            let module = module_at(&self.modules, module_of(place))?.clone();
            let mut rows = module.rows.iter().chain(&module.lost_rows);
            let row = *rows.nth(place as u32 as usize)?;
            Some(ModuleRow { module, row: Row { is_instantiated: true, ..row } })
        })
    }

    /// The module with this path.
    pub(super) fn by_path(&self, path: &[u8]) -> Option<TryArc<Module>> {
        module_at(&self.modules, module_of(*self.paths.get(path)?)).cloned()
    }
}

/// The number of a module in the upper half, and the position in its rows and lost rows in the lower half.
type RowPlace = u64;

fn row_place(module: u32, row: usize) -> RowPlace {
    u64::from(module) << 32 | row as u64
}

fn module_of(place: RowPlace) -> u32 {
    (place >> 32) as u32
}

fn module_at(modules: &[TryArc<Module>], number: u32) -> Option<&TryArc<Module>> {
    modules.get(number as usize)
}

fn is_symbol(modules: &[TryArc<Module>], entry: &IndexEntry, hash: u64, symbol: &[u8]) -> bool {
    entry.hash == (hash >> 32) as u32
        && module_at(modules, entry.module)
            .is_some_and(|module| module.text(entry.symbol).as_bytes() == symbol)
}
