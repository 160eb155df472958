//! Copies the data of an old version into a new one.

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::bytes::LinkedModule;
use super::error::{LoadError, Result};
use crate::alloc_util::{AllocError, try_collect};
use crate::format::{SectionKind, Smf, Symbol, SymbolPlace};
use crate::link::{LinkError, Name, RelocatedFields};

/// The data that a reload copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The number of symbols.
    pub symbols: u32,
    /// Their total size, in bytes.
    pub bytes: u64,
    /// The number of symbols of both versions that start with their initial contents although data is to be copied: they
    /// hold addresses that the linker wrote, their sizes differ, several have the name, or the module has constructors.
    pub reset: u32,
}

/// What becomes of the data of the old version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    Copy,
    /// None is copied, although the caller has asked for it: the module has constructors.
    Constructed,
    /// None is copied, as the caller has asked.
    Reset,
}

/// Copies the data with the same name and size in both versions that the linker has not written into. `to` must not
/// have run yet. `name` is that of the module.
pub(super) fn transfer_data(
    name: &Name,
    from: &LinkedModule,
    to: &LinkedModule,
    transfer: Transfer,
) -> Result<Migrated> {
    let failed = |error| match error {
        LinkError::OutOfMemory(error) => error.into(),
        error => LoadError::link(name, error),
    };
    let mut migrated = Migrated::default();
    if transfer == Transfer::Reset {
        return Ok(migrated);
    }
    let old = WritableData::of(from.linked()).map_err(failed)?;
    if old.symbols.is_empty() {
        return Ok(migrated);
    }
    let new = WritableData::of(to.linked()).map_err(failed)?;
    let old_fields = RelocatedFields::of(from.linked()).map_err(failed)?;
    let new_fields = RelocatedFields::of(to.linked()).map_err(failed)?;
    for symbol in &old.symbols {
        if !new.indices.contains_key(symbol.name()) {
            continue;
        }
        let target = new.find(symbol.name()).filter(|target| {
            let unique = old.find(symbol.name()).is_some();
            let relocated =
                || is_relocated(&old_fields, symbol) || is_relocated(&new_fields, target);
            transfer == Transfer::Copy && unique && target.size == symbol.size && !relocated()
        });
        match target {
            None => migrated.reset += 1,
            Some(target) if from.copy_data(symbol, to, target) => {
                migrated.symbols += 1;
                migrated.bytes += symbol.size;
            }
            // The versions share it.
            Some(_) => {}
        }
    }
    Ok(migrated)
}

/// The symbols of writable data of one module.
struct WritableData<'d> {
    symbols: Vec<Symbol<'d>>,
    /// The index of a symbol by name, and whether another symbol has the same name.
    indices: HashMap<&'d [u8], (usize, bool)>,
}

impl<'d> WritableData<'d> {
    fn of(smf: &Smf<'d>) -> Result<Self, LinkError> {
        let is_data = |kind| matches!(kind, SectionKind::Data | SectionKind::Bss);
        let sections = try_collect(smf.sections().iter().map(|section| is_data(section.kind)))?;
        let all = smf.symbols();
        // Decoding the place of a symbol is cheaper than decoding the symbol, and most are functions.
        let is_writable = |index: &u32| match all.place(*index) {
            Ok(SymbolPlace::Section { section, size, .. }) => {
                let section = usize::try_from(section).ok().and_then(|at| sections.get(at));
                size != 0 && section == Some(&true)
            }
            _ => false,
        };
        let indices = 0..u32::try_from(all.len()).unwrap_or(u32::MAX);
        let symbols = indices.filter(is_writable).map_while(|index| all.get(index).ok());
        let symbols = try_collect(symbols)?;
        let mut indices = HashMap::new();
        indices.try_reserve(symbols.len()).map_err(|_| AllocError)?;
        for (index, symbol) in symbols.iter().enumerate() {
            let entry =
                indices.entry(symbol.name()).and_modify(|(_, is_repeated)| *is_repeated = true);
            entry.or_insert((index, false));
        }
        Ok(Self { symbols, indices })
    }

    /// The symbol called `name`, if there is exactly one.
    fn find(&self, name: &[u8]) -> Option<&Symbol<'d>> {
        let (index, is_repeated) = self.indices.get(name)?;
        self.symbols.get(*index).filter(|_| !is_repeated)
    }
}

/// Whether the linker has written into the bytes of a symbol.
fn is_relocated(fields: &RelocatedFields, symbol: &Symbol<'_>) -> bool {
    symbol.section.is_none_or(|section| fields.overlap(section, symbol.value, symbol.size))
}
