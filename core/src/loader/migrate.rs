//! Data of an old version, copied into a new one.
#![allow(unsafe_code)]

use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::LoadError;
use super::bytes::LinkedModule;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, try_collect};
use crate::format::{SectionKind, Smf, Symbol, SymbolPlace};
use crate::link::ShortName;

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Symbols.
    pub symbols: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies the data that has the same name and size in both, and that the linker has not written into.
///
/// `to` must not have run yet.
pub(super) fn move_data(from: &LinkedModule, to: &LinkedModule) -> Result<Migrated, LoadError> {
    let mut moved = Migrated::default();
    let old = Data::of(from.linked())?;
    if old.symbols.is_empty() {
        return Ok(moved);
    }
    let new = Data::of(to.linked())?;
    for symbol in &old.symbols {
        let Some(target) = new.find(symbol.name()) else { continue };
        let unique = old.find(symbol.name()).is_some();
        if !unique || target.size != symbol.size || old.is_linked(symbol) || new.is_linked(target) {
            continue;
        }
        let places = from.address(symbol).zip(to.address(target));
        let Some((source, target)) = places.and_then(|(a, b)| Some((to_usize(a)?, to_usize(b)?)))
        else {
            continue;
        };
        let Some(len) = to_usize(symbol.size) else { continue };
        // What stays where it is needs no copy.
        if source == target {
            continue;
        }
        // SAFETY: each symbol lies in a writable section of its module, or of an older version that it
        // keeps, in pages that stay readable and writable as long as the module: that no symbol leaves its
        // section was checked when the modules were placed. They share data as a whole or not at all: no
        // symbol of the new module's own memory is one of another's.
        unsafe { copy(source, target, len) };
        moved.symbols += 1;
        moved.bytes += symbol.size;
    }
    Ok(moved)
}

fn to_usize(number: u64) -> Option<usize> {
    usize::try_from(number).ok()
}

/// The symbols of writable data of one module.
struct Data<'d> {
    symbols: Vec<Symbol<'d>>,
    hasher: DefaultHashBuilder,
    /// From a name to its symbol's number and whether there is another of the name.
    numbers: HashTable<(usize, bool)>,
    /// Where the linker writes: section and offset, sorted.
    linked: Vec<(u32, u64)>,
}

impl<'d> Data<'d> {
    fn of(smf: &Smf<'d>) -> Result<Self, LoadError> {
        let is_data = |kind| matches!(kind, SectionKind::Data | SectionKind::Bss);
        let sections = try_collect(smf.sections().iter().map(|section| is_data(section.kind)))?;
        let all = smf.symbols();
        // Most symbols are functions, and a place is found at a fraction of the cost of a symbol.
        let is_writable = |index: &u32| match all.place(*index) {
            Ok(SymbolPlace::Section { section, size, .. }) => {
                let section = usize::try_from(section).ok().and_then(|at| sections.get(at));
                size != 0 && section == Some(&true)
            }
            _ => false,
        };
        let numbers = 0..u32::try_from(all.len()).unwrap_or(u32::MAX);
        let symbols = numbers.filter(is_writable).map_while(|index| all.get(index).ok());
        let symbols = try_collect(symbols)?;
        let hasher = DefaultHashBuilder::default();
        let (numbers, linked) = (HashTable::new(), Vec::new());
        let mut data = Self { symbols, hasher, numbers, linked };
        data.enter_names()?;
        if !data.symbols.is_empty() {
            data.find_linked(smf)?;
        }
        Ok(data)
    }

    fn enter_names(&mut self) -> Result<(), AllocError> {
        let Self { symbols, hasher, numbers, .. } = self;
        let name = |number: usize| symbols.get(number).map_or(&[][..], Symbol::name);
        let rehash = |other: &(usize, bool)| hasher.hash_one(name(other.0));
        numbers.try_reserve(symbols.len(), rehash).map_err(|_| AllocError)?;
        for (number, symbol) in symbols.iter().enumerate() {
            let is_it = |other: &(usize, bool)| name(other.0) == symbol.name();
            let hash = hasher.hash_one(symbol.name());
            numbers
                .entry(hash, is_it, rehash)
                .and_modify(|entry| entry.1 = true)
                .or_insert((number, false));
        }
        Ok(())
    }

    fn find_linked(&mut self, smf: &Smf<'d>) -> Result<(), LoadError> {
        for table in smf.reloc_tables() {
            let table = table.map_err(|error| LoadError::Format {
                module: ShortName::new(b"the new version"),
                error,
            })?;
            if matches!(table.target.kind, SectionKind::Data | SectionKind::Bss) {
                let section = table.target.index;
                self.linked.try_reserve(table.len()).map_err(|_| LoadError::OutOfMemory)?;
                self.linked.extend(table.iter().map(|reloc| (section, reloc.offset)));
            }
        }
        sort(&mut self.linked);
        Ok(())
    }

    /// The symbol of this name, if there is one only.
    fn find(&self, name: &[u8]) -> Option<&Symbol<'d>> {
        let is_it = |entry: &(usize, bool)| {
            self.symbols.get(entry.0).is_some_and(|symbol| symbol.name() == name)
        };
        let (number, twice) = self.numbers.find(self.hasher.hash_one(name), is_it)?;
        self.symbols.get(*number).filter(|_| !twice)
    }

    /// Whether the linker has written into the symbol's bytes.
    fn is_linked(&self, symbol: &Symbol<'_>) -> bool {
        let Some(section) = symbol.section else { return true };
        // A place has up to eight bytes, so one may begin before the symbol and reach into it.
        let Range { start, end } = symbol.value.saturating_sub(7)..symbol.value + symbol.size;
        let first = self.linked.partition_point(|place| *place < (section, start));
        self.linked.get(first).is_some_and(|place| *place < (section, end))
    }
}

/// Copies bytes that others may be writing to, in words as far as both sides allow.
///
/// # Safety
///
/// `len` bytes at `from` are readable and at `to` writable, the two do not overlap, and whatever Rust
/// code may hold a reference to them is not running.
unsafe fn copy(from: usize, to: usize, len: usize) {
    const WORD: usize = size_of::<u64>();
    let mut at = 0;
    let aligned = from.is_multiple_of(WORD) && to.is_multiple_of(WORD);
    while aligned && at + WORD <= len {
        let source = ptr::with_exposed_provenance_mut::<u64>(from + at);
        // SAFETY: inside the bytes that the caller answers for, and aligned.
        let source = unsafe { AtomicU64::from_ptr(source) };
        let target = ptr::with_exposed_provenance_mut::<u64>(to + at);
        // SAFETY: as above.
        let target = unsafe { AtomicU64::from_ptr(target) };
        target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
        at += WORD;
    }
    while at < len {
        let source = ptr::with_exposed_provenance_mut::<u8>(from + at);
        // SAFETY: inside the bytes that the caller answers for.
        let source = unsafe { AtomicU8::from_ptr(source) };
        let target = ptr::with_exposed_provenance_mut::<u8>(to + at);
        // SAFETY: as above.
        let target = unsafe { AtomicU8::from_ptr(target) };
        target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
        at += 1;
    }
}
