//! Application of relocations to an image that is still writable.
//!
//! See [`machine`] for how a value is computed.

use alloc::vec::Vec;

use super::error::{LinkError, Result};
use super::host_resources::HostResources;
use super::layout::{ImageLayout, to_usize};
use super::libraries::Libraries;
use super::machine::aarch64::PatchError;
use super::machine::{self, Operands, put};
use super::name::Name;
use super::preserved_data;
use super::resolve::Resolve;
use super::special_imports::{REQUIRES_CONSTRUCTORS, REQUIRES_UNWINDING, TRAP_HOOK};
use super::symbol_address::SymbolAddress;
use super::tls::{self, TlsImports};
use crate::alloc_util::{try_collect, try_filled};
use crate::format::bytes::u32_at;
use crate::format::ext::tls::{SECTION, TlsImport};
use crate::format::ext::{PlaceGroup, ifunc, needed, prelink};
use crate::format::{Arch, Binding, Reloc, RelocEntry, RelocKind, RelocTable, Smf};
use crate::trap::trap_hook;

/// What is known of an image once its imports are resolved and its thread-local storage is allocated. Thread-local symbols
/// of other modules are known only when these are prepared too.
pub(super) struct PreparedRelocation<'d> {
    addresses: Addresses,
    tls: TlsImports<'d>,
    pub(super) requirements: Requirements,
}

/// Resolves the imports of `smf`, whose image in `memory` will be used at the address `base`, and allocates its
/// thread-local storage. `prefers_static`: as that of [`TlsImports::allocate`].
pub(super) fn prepare<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'d>,
    (base, memory): (u64, &mut [u8]),
    imports: &dyn Resolve,
    prefers_static: bool,
    resources: &mut HostResources,
) -> Result<PreparedRelocation<'d>> {
    apply_relative(layout, base, memory)?;
    let mut tls = TlsImports::default();
    let (imports, requirements) =
        resolve_imports(smf, layout, base, (imports, &resources.libraries), &mut tls)?;
    let addresses = Addresses::new(layout, base, imports)?;
    if tls.has_storage() {
        let (arch, addresses) = (smf.header().arch, &addresses);
        let mut relocator = Relocator { smf, layout, base, arch, addresses, memory };
        relocator.allocate_tls(&tls, prefers_static, resources)?;
    }
    Ok(PreparedRelocation { addresses, tls, requirements })
}

impl<'d> PreparedRelocation<'d> {
    /// Applies every relocation. `modules` resolves the thread-local symbols of other modules.
    pub(super) fn apply(
        self,
        smf: &Smf<'d>,
        layout: &ImageLayout<'d>,
        (base, memory): (u64, &mut [u8]),
        modules: &dyn Resolve,
        resources: &mut HostResources,
    ) -> Result<()> {
        let Self { mut addresses, tls, .. } = self;
        if !tls.is_empty() {
            tls.resolve(&mut addresses.imports, modules, resources)?;
        }
        let (arch, addresses) = (smf.header().arch, &addresses);
        Relocator { smf, layout, base, arch, addresses, memory }.apply_all()
    }
}

/// Adds the address of the image to every word that the list of relative relocations names.
fn apply_relative(layout: &ImageLayout<'_>, base: u64, memory: &mut [u8]) -> Result<()> {
    let Some(prelink) = layout.prelink() else { return Ok(()) };
    prelink.relative_relocs().groups().try_for_each(|group| add_to_places(group, base, memory))
}

/// Adds `base` to the words of a group, one run of adjacent words, such as a table of pointers, after the other.
fn add_to_places(group: PlaceGroup, base: u64, memory: &mut [u8]) -> Result<()> {
    let start = usize::try_from(group.start).map_err(|_| LinkError::TooLarge)?;
    let (words, _) = memory.get_mut(start..).unwrap_or_default().as_chunks_mut();
    let mut mask = group.mask;
    while mask != 0 {
        let first = mask.trailing_zeros();
        let end = first + (mask >> first).trailing_ones();
        // The check of the list has bounded it.
        let run = words.get_mut(to_usize(first)..to_usize(end)).ok_or(LinkError::TooLarge)?;
        for word in run {
            *word = u64::from_le_bytes(*word).wrapping_add(base).to_le_bytes();
        }
        mask &= u64::MAX.checked_shl(end).unwrap_or(0);
    }
    Ok(())
}

/// The services that a module needs, by the special names that it imports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requirements {
    /// [`REQUIRES_CONSTRUCTORS`].
    pub(super) constructors: bool,
    /// [`REQUIRES_UNWINDING`].
    pub(super) unwinding: bool,
}

/// What the address of a symbol follows from. It is computed for each relocation: a prelinked file has few for its symbols.
struct Addresses {
    /// The address of each section, then of preserved data.
    sections: Vec<u64>,
    /// The address of each import.
    imports: Vec<u64>,
}

impl Addresses {
    fn new(layout: &ImageLayout<'_>, base: u64, imports: Vec<u64>) -> Result<Self> {
        let sections = layout.sections.iter().map(|at| at.map_or(0, |at| base + at));
        let sections = try_collect(sections.chain(layout.preserved.iter().copied()))?;
        Ok(Self { sections, imports })
    }

    /// The address of a symbol; `None` for [`SymbolAddress::None`].
    #[inline]
    fn of(&self, symbol: SymbolAddress) -> Option<u64> {
        symbol.resolve(&self.sections, &self.imports)
    }
}

/// The address of a symbol without one ([`SymbolAddress::None`]). A resolver may return the same value.
const NO_ADDRESS: u64 = u64::MAX;

/// The address of every import, in the order of the symbol table; 0 for an unresolved weak one, and for those that denote
/// thread-local storage, which are added to `tls`.
fn resolve_imports<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'_>,
    base: u64,
    (imports, libraries): (&dyn Resolve, &Libraries),
    tls: &mut TlsImports<'d>,
) -> Result<(Vec<u64>, Requirements)> {
    let mut values = try_filled(to_usize(layout.imports), &0u64)?;
    let (mut count, mut first) = (0u32, None);
    let mut requirements = Requirements::default();
    let numbers = (0u32..).zip(&layout.symbols).filter(|(_, symbol)| symbol.is_import());
    // The values come first: no symbol is read beyond the last import.
    for (number, (value, (index, _))) in values.iter_mut().zip(numbers).enumerate() {
        let symbol = smf.symbols().get(index)?;
        if tls.add(number, symbol.name())? {
            continue;
        }
        match symbol.name() {
            prelink::NAME if layout.is_prelinked() => *value = base,
            prelink::NAME => return Err(LinkError::Prelink),
            ifunc::NAME => *value = super::ifunc::slots(smf, layout, base)?,
            needed::IMPORT if libraries.is_listed() => {}
            needed::IMPORT => return Err(LinkError::NoLibraries),
            TRAP_HOOK => *value = trap_hook as *const () as usize as u64,
            REQUIRES_CONSTRUCTORS => requirements.constructors = true,
            REQUIRES_UNWINDING => requirements.unwinding = true,
            _ => {
                let is_called = layout.slots.get(to_usize(index)).is_some_and(|s| s.veneer != 0);
                match imports.resolve_import(&symbol, is_called, libraries)? {
                    Some(address) => *value = address,
                    None if symbol.binding == Binding::Weak => {}
                    None => {
                        count += 1;
                        first = first.or(Some(symbol));
                    }
                }
            }
        }
    }
    let Some(first) = first else { return Ok((values, requirements)) };
    Err(LinkError::named(first.name(), |first| LinkError::MissingImports { count, first }))
}

struct Relocator<'a, 'd> {
    smf: &'a Smf<'d>,
    layout: &'a ImageLayout<'d>,
    base: u64,
    arch: Arch,
    addresses: &'a Addresses,
    memory: &'a mut [u8],
}

impl Relocator<'_, '_> {
    fn apply_all(&mut self) -> Result<()> {
        self.fill_slots()?;
        for table in self.smf.reloc_tables() {
            self.apply_pending(&table?)?;
        }
        Ok(())
    }

    /// Applies the relocations of a table that the writer of the file left to the loader.
    fn apply_pending(&mut self, table: &RelocTable<'_>) -> Result<()> {
        if !self.layout.is_resolved_table(table) {
            return self.apply_table(table);
        }
        if self.layout.preserved.is_empty() { Ok(()) } else { self.apply_preserved(table) }
    }

    /// Applies the relocations of a resolved table that refer to preserved data, which is outside the image.
    #[cold]
    fn apply_preserved(&mut self, table: &RelocTable<'_>) -> Result<()> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let layout = self.layout;
        let is_preserved = |reloc: &Reloc| preserved_data::is_preserved(layout, reloc.symbol);
        table.iter().filter(is_preserved).try_for_each(|reloc| self.apply(start, &reloc))
    }

    /// Relocates the initial contents of the thread-local storage and allocates it.
    #[cold]
    fn allocate_tls(
        &mut self,
        tls: &TlsImports<'_>,
        prefers_static: bool,
        resources: &mut HostResources,
    ) -> Result<()> {
        let section = tls::section(self.smf)?;
        for table in self.smf.reloc_tables() {
            let table = &table?;
            if table.target.index == section.index {
                self.apply_pending(table)?;
            }
        }
        let start = self.layout.section(section.index).ok_or(LinkError::NoTlsSection)?;
        let initial = part(self.memory, start, section.contents_size())?;
        tls.allocate(&section, initial, prefers_static, resources)
    }

    /// Writes every GOT slot and every veneer.
    fn fill_slots(&mut self) -> Result<()> {
        for (slots, &symbol) in self.layout.slots.iter().zip(&self.layout.symbols) {
            let target = self.addresses.of(symbol).unwrap_or(NO_ADDRESS);
            let (slot, veneer) = self.layout.slot_offsets(*slots);
            if let Some(slot) = slot {
                put(self.memory, slot, target.to_le_bytes()).ok_or(LinkError::TooLarge)?;
            }
            if let Some(veneer) = veneer {
                let slot = self.base + slot.unwrap_or(0);
                let code = machine::veneer(self.arch, self.base + veneer, slot, target);
                let put = code.and_then(|code| put(self.memory, veneer, code));
                put.ok_or(LinkError::TooLarge)?;
            }
        }
        Ok(())
    }

    fn apply_table(&mut self, table: &RelocTable<'_>) -> Result<()> {
        let Some(start) = self.layout.section(table.target.index) else { return Ok(()) };
        let mut entries = table.entries();
        while let Some(entry) = self.apply_abs64(start, table, &mut entries)? {
            self.apply(start, &table.decode(entry))?;
        }
        Ok(())
    }

    /// Checks and applies 64-bit absolute addresses up to the first other relocation, which it returns. The layout
    /// has not checked them.
    fn apply_abs64<'t>(
        &mut self,
        start: u64,
        table: &RelocTable<'t>,
        entries: &mut impl Iterator<Item = RelocEntry<'t>>,
    ) -> Result<Option<RelocEntry<'t>>> {
        let Some(abs64) = table.number(RelocKind::Abs64) else { return Ok(entries.next()) };
        let Self { layout, addresses, memory, .. } = self;
        let section = part(memory, start, table.target.memory_size())?;
        let address = |symbol| addresses.of(*layout.symbols.get(to_usize(symbol))?);
        for entry in entries {
            if entry.number() != abs64 {
                return Ok(Some(entry));
            }
            let (Some(symbol), Some(word)) =
                (address(entry.symbol()), word_at(section, entry.offset()))
            else {
                return Err(self.malformed(table));
            };
            *word = symbol.wrapping_add_signed(entry.addend()).to_le_bytes();
        }
        Ok(None)
    }

    /// The error of the first malformed relocation of a table.
    #[cold]
    fn malformed(&self, table: &RelocTable<'_>) -> LinkError {
        if let Err(error) = self.smf.verify_relocs(table) {
            return error.into();
        }
        let symbols = &self.layout.symbols;
        let has_none =
            |reloc: &Reloc| symbols.get(to_usize(reloc.symbol)) == Some(&SymbolAddress::None);
        let section = table.section.index;
        match (0u32..).zip(table.iter()).find(|(_, reloc)| has_none(reloc)) {
            Some((index, reloc)) => {
                self.named(&reloc, |symbol| LinkError::NoAddress { section, index, symbol })
            }
            None => LinkError::TooLarge,
        }
    }

    fn apply(&mut self, start: u64, reloc: &Reloc) -> Result<()> {
        let symbol = to_usize(reloc.symbol);
        // The layout has bounded both.
        let at = start.wrapping_add(reloc.offset);
        let place = self.base.wrapping_add(at);
        let slots = self.layout.slots.get(symbol).copied().unwrap_or_default();
        let (slot, veneer) = self.layout.slot_offsets(slots);
        let target = self.layout.symbols.get(symbol).copied().unwrap_or(SymbolAddress::None);
        let address = self.addresses.of(target);
        // Unlike an address, an offset from the thread pointer is signed.
        let is_signed = reloc.kind == RelocKind::Abs32
            && target.is_import()
            && self.tls_import(reloc).is_some();
        let kind = if is_signed { RelocKind::Abs32S } else { reloc.kind };
        let operands = Operands {
            place,
            symbol: address.unwrap_or(NO_ADDRESS),
            addend: reloc.addend,
            slot: self.base + slot.unwrap_or(0),
            veneer: veneer.map(|veneer| self.base + veneer),
        };
        // The layout has refused kinds of other instruction sets.
        match machine::apply(self.arch, kind, &operands, self.memory, at) {
            Ok(applied) => applied.ok_or(LinkError::TooLarge),
            Err(error) => Err(self.patch_error(reloc, at, &operands, error)),
        }
    }

    #[cold]
    fn patch_error(
        &self,
        reloc: &Reloc,
        at: u64,
        operands: &Operands,
        error: PatchError,
    ) -> LinkError {
        use RelocKind::{Abs32, Abs32S, Arm64Page21, Pc32};
        let (kind, place) = (reloc.kind, operands.place);
        let target = operands.target(kind).wrapping_add_signed(reloc.addend);
        let word = usize::try_from(at).ok().and_then(|at| u32_at(self.memory, at)).unwrap_or(0);
        let address = self.layout.symbols.get(to_usize(reloc.symbol)).copied();
        let is_import = address.is_some_and(SymbolAddress::is_import)
            && matches!(kind, Pc32 | Arm64Page21 | Abs32 | Abs32S);
        self.named(reloc, |symbol| match error {
            PatchError::Range if is_import && operands.symbol == 0 => {
                LinkError::UndefinedWeak { kind, symbol, place }
            }
            PatchError::Range if is_import => {
                LinkError::Unreachable { kind, symbol, place, target }
            }
            PatchError::Range => LinkError::Overflow { kind, symbol, place, target },
            PatchError::Instruction => LinkError::Instruction { kind, symbol, place, word },
            PatchError::Alignment(unit) => {
                LinkError::Unaligned { kind, symbol, place, target, unit }
            }
        })
    }

    /// The error that `make` builds from the name of the symbol of a relocation, or of the module's thread-local storage.
    fn named(&self, reloc: &Reloc, make: impl FnOnce(Name) -> LinkError) -> LinkError {
        let name = match self.tls_import(reloc) {
            Some(import) => import.symbol.unwrap_or(SECTION),
            None => self.name(reloc),
        };
        LinkError::named(name, make)
    }

    /// What the symbol of a relocation denotes of thread-local storage, if anything.
    #[cold]
    #[inline(never)]
    fn tls_import(&self, reloc: &Reloc) -> Option<TlsImport<'_>> {
        TlsImport::parse(self.name(reloc))
    }

    /// The name of the symbol of a relocation.
    fn name(&self, reloc: &Reloc) -> &[u8] {
        self.smf.symbols().get(reloc.symbol).map_or(&[], |symbol| symbol.name())
    }
}

/// `size` bytes of the image from the offset `start` on.
fn part(memory: &mut [u8], start: u64, size: u64) -> Result<&mut [u8]> {
    let [start, size] = [start, size].map(usize::try_from);
    let (Ok(start), Ok(size)) = (start, size) else { return Err(LinkError::TooLarge) };
    let part = memory.get_mut(start..).and_then(|rest| rest.get_mut(..size));
    part.ok_or(LinkError::TooLarge)
}

#[inline]
fn word_at(section: &mut [u8], offset: u64) -> Option<&mut [u8; 8]> {
    section.get_mut(usize::try_from(offset).ok()?..)?.first_chunk_mut()
}

/// Both steps, for a module whose thread-local symbols are its own or those of the process.
#[cfg(test)]
pub(super) fn relocate<'d>(
    smf: &Smf<'d>,
    layout: &ImageLayout<'d>,
    base: u64,
    memory: &mut [u8],
    imports: &dyn Resolve,
    resources: &mut HostResources,
) -> Result<Requirements> {
    let prepared = prepare(smf, layout, (base, &mut *memory), imports, false, resources)?;
    let requirements = prepared.requirements;
    prepared.apply(smf, layout, (base, memory), imports, resources)?;
    Ok(requirements)
}

#[cfg(test)]
mod tests;
