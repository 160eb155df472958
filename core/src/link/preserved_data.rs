//! Data that a new version of a module leaves where an older version has it, because others refer to it there.
//!
//! Such data is never copied: what others read and write, the new version reads and writes as well. Its
//! relocations against the symbol lead to the old place instead of its own memory, those that the file's
//! writer has settled too. That is right only where every reference to the data shows, so it is refused
//!
//! * where the two versions do not say the same of the symbol: its size, whether it can be written, and if
//!   it cannot, its bytes;
//! * where the linker writes addresses into it, which would be those of one version for both;
//! * where a relocation leads there by another symbol, such as that of the whole section;
//! * where a writer has settled distances and left no trace of them, which a file says by an import.
//!
//! A linker that reaches its own data by the section, as that of this project does where nobody is to
//! replace the module, may count from another place than it means, and only what it says is known here.

use alloc::vec::Vec;

use core::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::error::{LinkError, Refusal};
use super::layout::{ImageLayout, to_usize};
use super::symbol_address::SymbolAddress;
use crate::alloc_util::sort::{sort, sort_by_key};
use crate::alloc_util::try_filled;
use crate::format::bytes::slice;
use crate::format::ext::prelink;
use crate::format::{
    Arch, Binding, FormatError, Reloc, RelocKind, RelocTable, SectionKind, Smf, Symbol, SymbolKind,
    SymbolPlace,
};

/// Data of an older version of a module.
#[derive(Clone, Copy)]
pub(crate) struct StateMigration<'o> {
    pub(crate) name: &'o [u8],
    /// Where others find it.
    pub(crate) address: u64,
    /// What the older version was linked from.
    pub(crate) from: &'o Smf<'o>,
}

/// Why a module cannot be given data of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PreserveError {
    /// The datum with this index cannot stay where it is.
    Datum(usize),
    Link(LinkError),
}

impl From<LinkError> for PreserveError {
    fn from(error: LinkError) -> Self {
        PreserveError::Link(error)
    }
}

impl From<Refusal> for PreserveError {
    fn from(refusal: Refusal) -> Self {
        PreserveError::Link(refusal.into())
    }
}

impl From<FormatError> for PreserveError {
    fn from(error: FormatError) -> Self {
        PreserveError::Link(error.into())
    }
}

/// Bytes of a section that are somewhere else than the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreservedData {
    section: u32,
    value: u64,
    size: u64,
    /// Where they are.
    pub(super) address: u64,
    /// Which of the data that was given.
    datum: usize,
}

impl PreservedData {
    fn holds(&self, section: u32, at: u64) -> bool {
        self.section == section && at.checked_sub(self.value).is_some_and(|at| at < self.size)
    }

    /// Where a symbol is that lies in these bytes.
    pub(super) fn place(&self, section: u32, value: u64, size: u64) -> Option<u64> {
        let end = value.checked_add(size)?;
        // Those without a size are marks for the whole section.
        let lies_in = size != 0 && end <= self.value.saturating_add(self.size);
        (lies_in && self.holds(section, value))
            .then(|| self.address.wrapping_add(value.wrapping_sub(self.value)))
    }
}

/// Finds out where the data, which all is of one older version, is in `smf`, in the order of its places.
///
/// # Errors
/// [`PreserveError::Datum`]; what is wrong with the file.
pub(super) fn find(
    smf: &Smf<'_>,
    data: &[StateMigration<'_>],
) -> Result<Vec<PreservedData>, PreserveError> {
    let Some(first) = data.first() else { return Ok(Vec::new()) };
    if smf.symbols().iter().any(|s| s.is_ok_and(|s| s.is_import() && s.name() == prelink::NAME)) {
        return Err(PreserveError::Datum(0));
    }
    let (then, now) = (find_parts(first.from, data)?, find_parts(smf, data)?);
    let mut found: Vec<PreservedData> = Vec::new();
    found.try_reserve_exact(data.len()).map_err(|_| LinkError::OutOfMemory)?;
    for (datum, (old, parts)) in data.iter().zip(then.into_iter().zip(now)).enumerate() {
        let same = match parts {
            (Some(then), Some(now)) if then.is_same(&now) => now,
            _ => return Err(PreserveError::Datum(datum)),
        };
        let Part { section, value, size, .. } = same;
        found.push(PreservedData { section, value, size, address: old.address, datum });
    }
    sort_by_key(&mut found, |kept| (kept.section, kept.value));
    // Two names of one datum are one.
    found.dedup_by_key(|kept| (kept.section, kept.value, kept.size, kept.address));
    let over = found.windows(2).find_map(|pair| match pair {
        [one, two] if one.holds(two.section, two.value) => Some(two.datum),
        _ => None,
    });
    over.map_or(Ok(found), |datum| Err(PreserveError::Datum(datum)))
}

/// A datum in a file.
#[derive(Clone, Copy)]
struct Part<'d> {
    section: u32,
    value: u64,
    size: u64,
    binding: Binding,
    /// Its bytes, when they never change.
    constant: Option<&'d [u8]>,
}

/// The exported data of these names in a file; `None` for what has no bytes of its own, or the linker writes
/// an address into them.
fn find_parts<'d>(
    smf: &Smf<'d>,
    data: &[StateMigration<'_>],
) -> Result<Vec<Option<Part<'d>>>, PreserveError> {
    let hasher = DefaultHashBuilder::default();
    let mut names: HashTable<usize> = HashTable::with_capacity(data.len());
    let name = |datum: usize| data.get(datum).map_or(&[][..], |old| old.name);
    let rehash = |datum: &usize| hasher.hash_one(name(*datum));
    for datum in 0..data.len() {
        names.insert_unique(rehash(&datum), datum, rehash);
    }
    let mut parts = try_filled(data.len(), &None::<Part<'d>>).map_err(Refusal::from)?;
    for symbol in smf.symbols().iter() {
        let symbol = symbol?;
        let hash = hasher.hash_one(symbol.name());
        let is_it = |datum: &usize| name(*datum) == symbol.name();
        let Some(datum) = names.find(hash, is_it).filter(|_| symbol.is_export()) else { continue };
        let Some(part) = parts.get_mut(*datum) else { continue };
        // As a lookup chooses.
        if part.is_none_or(|p| p.binding == Binding::Weak && symbol.binding != Binding::Weak) {
            *part = Part::of(smf, &symbol)?;
        }
    }
    let written = written_places(smf)?;
    for part in &mut parts {
        *part = part.filter(|part| !part.is_written(&written));
    }
    Ok(parts)
}

impl<'d> Part<'d> {
    /// `None` for what is no data.
    fn of(smf: &Smf<'d>, symbol: &Symbol<'d>) -> Result<Option<Self>, FormatError> {
        let Symbol { kind, section: Some(section), value, size, binding, .. } = *symbol else {
            return Ok(None);
        };
        let place = smf.section(section)?;
        let is_data = matches!(kind, SymbolKind::Data | SymbolKind::Constant) && size != 0;
        let constant = match place.kind {
            SectionKind::Data | SectionKind::Bss => None,
            SectionKind::RoData if !place.is_compressed() => slice(place.data, value, size),
            _ => return Ok(None),
        };
        let is_known = place.kind != SectionKind::RoData || constant.is_some();
        let part = Part { section, value, size, binding, constant };
        Ok((is_data && is_known).then_some(part))
    }

    fn is_same(&self, other: &Part<'_>) -> bool {
        self.size == other.size && self.constant == other.constant
    }

    /// Whether one of these places reaches into it.
    fn is_written(&self, places: &[(u32, u64)]) -> bool {
        // A place has up to eight bytes, so one may begin before the datum and reach into it.
        let from = (self.section, self.value.saturating_sub(7));
        let first = places.partition_point(|place| *place < from);
        let end = (self.section, self.value.saturating_add(self.size));
        places.get(first).is_some_and(|place| *place < end)
    }
}

/// Where the linker writes beside code: section and offset, sorted.
fn written_places(smf: &Smf<'_>) -> Result<Vec<(u32, u64)>, PreserveError> {
    let mut places = Vec::new();
    for table in smf.reloc_tables() {
        let table = table?;
        if table.target.kind != SectionKind::Code {
            places.try_reserve(table.len()).map_err(|_| LinkError::OutOfMemory)?;
            places.extend(table.iter().map(|reloc| (table.target.index, reloc.offset)));
        }
    }
    sort(&mut places);
    Ok(places)
}

/// The one of `kept`, which are in order, that has the byte at an offset.
pub(super) fn holding(
    kept: &[PreservedData],
    section: u32,
    at: u64,
) -> Option<(usize, &PreservedData)> {
    let behind = kept.partition_point(|kept| (kept.section, kept.value) <= (section, at));
    let number = behind.checked_sub(1)?;
    let found = kept.get(number).filter(|kept| kept.holds(section, at))?;
    Some((number, found))
}

/// Lets the symbols of `kept` lead there.
///
/// # Errors
/// [`PreserveError::Datum`] for one that is reached in another way as well; what is wrong with the file.
pub(super) fn apply(
    smf: &Smf<'_>,
    plan: &mut ImageLayout<'_>,
    kept: &[PreservedData],
) -> Result<(), PreserveError> {
    check_references(smf, kept)?;
    let first = u32::try_from(plan.sections().len()).map_err(|_| LinkError::TooLarge)?;
    smf.symbols().try_for_each_place(&mut plan.targets, |_, place, target| {
        let SymbolPlace::Section { section, value, size } = place else { return Ok(()) };
        let Some((number, kept)) = holding(kept, section, value) else { return Ok(()) };
        if let Some(address) = kept.place(section, value, size) {
            let number = u32::try_from(number).ok().and_then(|number| first.checked_add(number));
            let moved = SymbolAddress::in_section(
                number.ok_or(LinkError::TooLarge)?,
                address.wrapping_sub(kept.address),
            );
            *target = moved.ok_or(LinkError::TooLarge)?;
        }
        Ok::<(), PreserveError>(())
    })?;
    plan.kept.try_reserve_exact(kept.len()).map_err(|_| LinkError::OutOfMemory)?;
    plan.kept.extend(kept.iter().map(|kept| kept.address));
    Ok(())
}

/// Refuses references to what is kept that do not say so.
fn check_references(smf: &Smf<'_>, kept: &[PreservedData]) -> Result<(), PreserveError> {
    for table in smf.reloc_tables() {
        let table = table?;
        // Those that its writer has settled were not looked at yet.
        smf.verify_relocs(&table)?;
        for reloc in table.iter() {
            let place = smf.symbols().place(reloc.symbol)?;
            let SymbolPlace::Section { section, value, size } = place else { continue };
            let meant = points(smf, &table, &reloc).iter().filter_map(|beyond| {
                let at = i128::from(value) + i128::from(reloc.addend) + i128::from(*beyond);
                holding(kept, section, u64::try_from(at).ok()?)
            });
            let by_name = |kept: &PreservedData| kept.place(section, value, size).is_some();
            if let Some((_, kept)) = meant.into_iter().find(|(_, kept)| !by_name(kept)) {
                return Err(PreserveError::Datum(kept.datum));
            }
        }
    }
    Ok(())
}

/// How far beyond S + A the place that is meant may be. An operand in code of x86-64 counts from the end of its
/// instruction, behind the four bytes of the distance and the one that may follow it, or the two or four
/// after an opcode that takes as many (Intel SDM, volume 2, appendix A: 69, 81, C7, F7).
fn points(smf: &Smf<'_>, table: &RelocTable<'_>, reloc: &Reloc) -> &'static [u8] {
    let is_distance =
        matches!(reloc.kind, RelocKind::Pc32 | RelocKind::Plt32 | RelocKind::GotPcRel);
    let is_code = table.target.kind == SectionKind::Code && smf.header().arch == Arch::X86_64;
    if !is_distance || !is_code {
        return &[0];
    }
    // In front of the distance stands ModRM, and the opcode in front of that.
    let opcode = reloc.offset.checked_sub(2).and_then(|at| slice(table.target.data, at, 1));
    match opcode {
        Some([0x69 | 0x81 | 0xc7 | 0xf7]) => &[4, 6, 8],
        _ => &[4, 5],
    }
}

/// Whether a symbol is data that is not in the image.
pub(super) fn is_kept(plan: &ImageLayout<'_>, symbol: u32) -> bool {
    let target = plan.targets.get(to_usize(symbol));
    target.is_some_and(|target| target.is_behind(plan.sections().len()))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::format::{Header, Layout};

    /// A module with sixteen bytes of data, of which the middle eight are `shared`, and one relocation in
    /// code behind these bytes: against the section, which `addend` counts from.
    fn file(code: &[u8], addend: i64) -> Vec<u8> {
        let code = [code, &[0; 12]].concat();
        let offset = code.len() as u64 - 12;
        let relocs = [Reloc { offset, symbol: 1, kind: RelocKind::Pc32, addend }];
        let sections = [
            NewSection::new(SectionKind::Code, b".text", Payload::Bytes(&code)),
            NewSection::new(SectionKind::Data, b".data", Payload::Bytes(&[0; 24])),
            NewSection::new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
        ];
        let symbol = |name, kind, section, value, size, binding| NewSymbol {
            name,
            kind,
            binding,
            place: Place::Section(section),
            value,
            size,
            ..NewSymbol::default()
        };
        let symbols = [
            symbol(&b"f"[..], SymbolKind::Function, 0, 0, 4, Binding::Global),
            symbol(b".data", SymbolKind::Data, 1, 0, 0, Binding::Local),
            symbol(b"shared", SymbolKind::Data, 1, 8, 8, Binding::Global),
            symbol(b"half", SymbolKind::Data, 1, 12, 4, Binding::Global),
        ];
        let (layout, header) = (Layout::Packed, Header::default());
        Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }
            .to_vec()
            .unwrap()
    }

    fn kept(file: &[u8]) -> Result<Vec<SymbolAddress>, PreserveError> {
        let smf = Smf::parse(file).unwrap();
        let mut plan = ImageLayout::new(&smf, 4096).unwrap();
        let data = [StateMigration { name: b"shared", address: 0x5000, from: &smf }];
        let kept = find(&smf, &data)?;
        apply(&smf, &mut plan, &kept)?;
        assert_eq!(plan.kept, [0x5000]);
        Ok(plan.targets)
    }

    #[test]
    fn what_lies_in_the_data_goes_with_it() {
        let targets = kept(&file(b"\x48\x8b\x05", -4)).unwrap();
        let addresses = [0x1000, 0x2000, 0, 0x5000];
        let found: Vec<u64> = targets.iter().map(|t| t.address(&addresses, &[]).unwrap()).collect();
        assert_eq!(found, [0x1000, 0x2000, 0x5000, 0x5004]);
    }

    #[test]
    fn what_leads_into_the_data_by_another_name_is_found_out() {
        // `mov rax, [rip + x]`; `cmp byte [rip + x], imm8`; `mov dword [rip + x], imm32`.
        for (code, behind) in
            [(&b"\x48\x8b\x05"[..], &[4][..]), (b"\x80\x3d", &[4, 5]), (b"\xc7\x05", &[8])]
        {
            for place in (0..24i64).step_by(if cfg!(miri) { 4 } else { 1 }) {
                let inside = (8..16).contains(&place);
                for beyond in behind {
                    let result = kept(&file(code, place - beyond));
                    let refused = result == Err(PreserveError::Datum(0));
                    assert!(refused || result.is_ok());
                    // What is inside is refused always, and what is beside it only where nobody knows
                    // which of the places is meant.
                    let near = (8 - 4..16 + 4).contains(&place);
                    assert!(if inside { refused } else { near || !refused }, "{code:x?} {place}");
                }
            }
        }
        // A word that stands right before the data is told from it.
        assert!(kept(&file(b"\x48\x8b\x05", -4)).is_ok());
    }
}
