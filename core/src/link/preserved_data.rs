//! Data that a new version of a module shares with an older version, because other modules refer to it by address.
//!
//! Such data is not copied: the new version uses it in the memory of the older one. Relocations against the symbol are
//! resolved to the old address, prelinked ones included. This is correct only if every reference to the data is visible
//! as such a relocation, so the data is refused if
//!
//! * the versions disagree about the symbol: its size, whether it is writable, or the bytes of a constant;
//! * the linker writes addresses into it, which would have to be those of both versions;
//! * a relocation reaches it through another symbol, such as that of its section;
//! * it is thread-local;
//! * the writer applied relocations and did not keep them, which the file marks by an import.
//!
//! A linker that addresses data through its section, as the packer of this project does for modules that are not
//! reloadable, may apply an offset that only the instruction explains; see [`possible_offsets`].

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::error::{LinkError, Result};
use super::layout::{ImageLayout, to_usize};
use super::relocated_fields::RelocatedFields;
use super::symbol_address::SymbolAddress;
use crate::alloc_util::sort::sort_by_key;
use crate::alloc_util::{AllocError, try_collect, try_with_capacity};
use crate::format::bytes::slice;
use crate::format::ext::{prelink, tls};
use crate::format::{
    Arch, Binding, FormatError, Reloc, RelocKind, RelocTable, SectionKind, Smf, Symbol, SymbolKind,
    SymbolPlace,
};

/// A data symbol of an older version of a module.
#[derive(Clone, Copy)]
pub(crate) struct DataSymbol<'o> {
    pub(crate) name: &'o [u8],
    /// The address by which other modules refer to it.
    pub(crate) address: u64,
    /// The linked file of the older version.
    pub(crate) from: &'o Smf<'o>,
}

/// Why a module cannot share data with an older version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PreserveError {
    /// The datum with this index cannot stay at its address.
    Datum(usize),
    Link(LinkError),
}

impl<E: Into<LinkError>> From<E> for PreserveError {
    fn from(error: E) -> Self {
        PreserveError::Link(error.into())
    }
}

/// A range of a section whose bytes are outside of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreservedData {
    section: u32,
    value: u64,
    size: u64,
    /// The address of the bytes.
    pub(super) address: u64,
    /// The index of the [`DataSymbol`].
    datum: usize,
}

impl PreservedData {
    fn contains(&self, section: u32, at: u64) -> bool {
        self.section == section && at.checked_sub(self.value).is_some_and(|at| at < self.size)
    }

    /// The address of a symbol inside the range.
    pub(super) fn address_of(&self, section: u32, value: u64, size: u64) -> Option<u64> {
        let end = value.checked_add(size)?;
        // A symbol without a size stands for its section.
        let is_inside = size != 0 && end <= self.value.saturating_add(self.size);
        (is_inside && self.contains(section, value))
            .then(|| self.address.wrapping_add(value.wrapping_sub(self.value)))
    }
}

/// The ranges of `data`, symbols of one older version, in the new file `smf`, ascending.
///
/// # Errors
/// [`PreserveError::Datum`]; a malformed file.
#[cold]
pub(super) fn find(
    smf: &Smf<'_>,
    data: &[DataSymbol<'_>],
) -> Result<Vec<PreservedData>, PreserveError> {
    let Some(first) = data.first() else { return Ok(Vec::new()) };
    if prelink::is_required(smf) {
        return Err(PreserveError::Datum(0));
    }
    let (then, now) = (find_definitions(first.from, data)?, find_definitions(smf, data)?);
    let mut found: Vec<PreservedData> = try_with_capacity(data.len())?;
    for (datum, old) in data.iter().enumerate() {
        if old.name.starts_with(tls::EXPORT) {
            // Each version has storage of its own.
            return Err(PreserveError::Datum(datum));
        }
        let same = match (then.get(old.name), now.get(old.name)) {
            (Some(Some(then)), Some(Some(now))) if then.is_same(now) => *now,
            _ => return Err(PreserveError::Datum(datum)),
        };
        let Definition { section, value, size, .. } = same;
        found.push(PreservedData { section, value, size, address: old.address, datum });
    }
    sort_by_key(&mut found, |range| (range.section, range.value));
    // One datum may have two names.
    found.dedup_by_key(|range| (range.section, range.value, range.size, range.address));
    let overlap = found.windows(2).find_map(|pair| match pair {
        [one, two] if one.contains(two.section, two.value) => Some(two.datum),
        _ => None,
    });
    overlap.map_or(Ok(found), |datum| Err(PreserveError::Datum(datum)))
}

/// The definition of a data symbol in one file.
#[derive(Clone, Copy)]
struct Definition<'d> {
    section: u32,
    value: u64,
    size: u64,
    binding: Binding,
    /// The bytes of a constant.
    constant: Option<&'d [u8]>,
}

/// Data by name; `None` if a symbol has no bytes of its own, or the linker writes an address into them.
type Definitions<'o, 'd> = HashMap<&'o [u8], Option<Definition<'d>>>;

/// The exported data of these names in a file.
fn find_definitions<'o, 'd>(
    smf: &Smf<'d>,
    data: &[DataSymbol<'o>],
) -> Result<Definitions<'o, 'd>, PreserveError> {
    let mut definitions = Definitions::new();
    definitions.try_reserve(data.len()).map_err(|_| AllocError)?;
    definitions.extend(data.iter().map(|old| (old.name, None)));
    for symbol in smf.symbols().iter() {
        let symbol = symbol?;
        let known = definitions.get_mut(symbol.name());
        let Some(definition) = known.filter(|_| symbol.is_export()) else { continue };
        // Of two symbols with one name the same one as a lookup.
        if definition.is_none_or(|p| p.binding == Binding::Weak && symbol.binding != Binding::Weak)
        {
            *definition = Definition::of(smf, &symbol)?;
        }
    }
    let relocated = RelocatedFields::of(smf)?;
    for definition in definitions.values_mut() {
        *definition = definition.filter(|of| !relocated.overlap(of.section, of.value, of.size));
    }
    Ok(definitions)
}

impl<'d> Definition<'d> {
    /// `None` if the symbol is not data.
    fn of(smf: &Smf<'d>, symbol: &Symbol<'d>) -> Result<Option<Self>, FormatError> {
        let Symbol { kind, section: Some(section), value, size, binding, .. } = *symbol else {
            return Ok(None);
        };
        let holder = smf.section(section)?;
        let is_data = matches!(kind, SymbolKind::Data | SymbolKind::Constant) && size != 0;
        let constant = match holder.kind {
            SectionKind::Data | SectionKind::Bss => None,
            SectionKind::RoData if !holder.is_compressed() => slice(holder.data, value, size),
            _ => return Ok(None),
        };
        let has_bytes = holder.kind != SectionKind::RoData || constant.is_some();
        let definition = Definition { section, value, size, binding, constant };
        Ok((is_data && has_bytes).then_some(definition))
    }

    fn is_same(&self, other: &Definition<'_>) -> bool {
        self.size == other.size && self.constant == other.constant
    }
}

/// The range, of those in ascending order, that contains the byte at an offset, and its number.
pub(super) fn containing(
    ranges: &[PreservedData],
    section: u32,
    at: u64,
) -> Option<(usize, &PreservedData)> {
    let after = ranges.partition_point(|range| (range.section, range.value) <= (section, at));
    let number = after.checked_sub(1)?;
    let found = ranges.get(number).filter(|range| range.contains(section, at))?;
    Some((number, found))
}

/// Redirects the symbols inside `preserved` to their addresses.
///
/// # Errors
/// [`PreserveError::Datum`] for a datum that is also reached in another way; a malformed file.
#[cold]
pub(super) fn apply(
    smf: &Smf<'_>,
    layout: &mut ImageLayout<'_>,
    preserved: &[PreservedData],
) -> Result<(), PreserveError> {
    check_references(smf, preserved)?;
    let first = u32::try_from(layout.sections.len()).map_err(|_| LinkError::TooLarge)?;
    smf.symbols().try_for_each_place(&mut layout.symbols, |_, place, symbol| {
        let SymbolPlace::Section { section, value, size } = place else { return Ok(()) };
        let Some((number, range)) = containing(preserved, section, value) else { return Ok(()) };
        if let Some(address) = range.address_of(section, value, size) {
            let number = u32::try_from(number).ok().and_then(|number| first.checked_add(number));
            let number = number.ok_or(LinkError::TooLarge)?;
            *symbol = SymbolAddress::Section(number, address.wrapping_sub(range.address));
        }
        Ok::<(), PreserveError>(())
    })?;
    layout.preserved = try_collect(preserved.iter().map(|range| range.address))?;
    Ok(())
}

/// Refuses relocations that reach preserved data through another symbol.
fn check_references(smf: &Smf<'_>, preserved: &[PreservedData]) -> Result<(), PreserveError> {
    for table in smf.reloc_tables() {
        let table = table?;
        // Prelinked tables have not been checked yet.
        smf.verify_relocs(&table)?;
        for reloc in table.iter() {
            let place = smf.symbols().place(reloc.symbol)?;
            let SymbolPlace::Section { section, value, size } = place else { continue };
            let reached = possible_offsets(smf, &table, &reloc).iter().filter_map(|offset| {
                let at = i128::from(value) + i128::from(reloc.addend) + i128::from(*offset);
                containing(preserved, section, u64::try_from(at).ok()?)
            });
            let by_name = |range: &PreservedData| range.address_of(section, value, size).is_some();
            if let Some((_, range)) = reached.into_iter().find(|(_, range)| !by_name(range)) {
                return Err(PreserveError::Datum(range.datum));
            }
        }
    }
    Ok(())
}

/// The possible offsets of the referenced byte from S + A. An operand of x86-64 counts from the end of its
/// instruction: behind the four bytes of the field and an optional immediate of one byte, or of two or four bytes
/// after certain opcodes (Intel SDM, volume 2, appendix A: 69, 81, C7, F7).
fn possible_offsets(smf: &Smf<'_>, table: &RelocTable<'_>, reloc: &Reloc) -> &'static [u8] {
    let is_relative =
        matches!(reloc.kind, RelocKind::Pc32 | RelocKind::Plt32 | RelocKind::GotPcRel);
    let is_code = table.target.kind == SectionKind::Code && smf.header().arch == Arch::X86_64;
    if !is_relative || !is_code {
        return &[0];
    }
    // The opcode and ModRM precede the field.
    let opcode = reloc.offset.checked_sub(2).and_then(|at| slice(table.target.data, at, 1));
    match opcode {
        Some([0x69 | 0x81 | 0xc7 | 0xf7]) => &[4, 6, 8],
        _ => &[4, 5],
    }
}

/// Whether a symbol is preserved data.
pub(super) fn is_preserved(layout: &ImageLayout<'_>, symbol: u32) -> bool {
    let address = layout.symbols.get(to_usize(symbol));
    address.is_some_and(|address| address.is_preserved(layout.sections.len()))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::write::{Module, NewSection, NewSymbol, Payload, Place};
    use crate::format::{Header, Layout};

    /// A module with 24 bytes of data, of which the middle eight are `shared`, and one relocation behind `code`,
    /// against the section.
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

    fn preserve(file: &[u8]) -> Result<Vec<SymbolAddress>, PreserveError> {
        let smf = Smf::parse(file).unwrap();
        let mut layout = ImageLayout::new(&smf, 4096).unwrap();
        let data = [DataSymbol { name: b"shared", address: 0x5000, from: &smf }];
        let preserved = find(&smf, &data)?;
        apply(&smf, &mut layout, &preserved)?;
        assert_eq!(layout.preserved, [0x5000]);
        Ok(layout.symbols)
    }

    #[test]
    fn symbols_inside_preserved_data_are_preserved() {
        let symbols = preserve(&file(b"\x48\x8b\x05", -4)).unwrap();
        let addresses = [0x1000, 0x2000, 0, 0x5000];
        let found: Vec<u64> = symbols.iter().map(|s| s.resolve(&addresses, &[]).unwrap()).collect();
        assert_eq!(found, [0x1000, 0x2000, 0x5000, 0x5004]);
    }

    #[test]
    fn reference_to_preserved_data_through_its_section_is_refused() {
        // `mov rax, [rip + x]`; `cmp byte [rip + x], imm8`; `mov dword [rip + x], imm32`.
        for (code, offsets) in
            [(&b"\x48\x8b\x05"[..], &[4][..]), (b"\x80\x3d", &[4, 5]), (b"\xc7\x05", &[8])]
        {
            for place in (0..24i64).step_by(if cfg!(miri) { 4 } else { 1 }) {
                let inside = (8..16).contains(&place);
                for offset in offsets {
                    let result = preserve(&file(code, place - offset));
                    let refused = result == Err(PreserveError::Datum(0));
                    assert!(refused || result.is_ok());
                    // A reference inside is always refused, one beside it only if its offset is ambiguous.
                    let near = (8 - 4..16 + 4).contains(&place);
                    assert!(if inside { refused } else { near || !refused }, "{code:x?} {place}");
                }
            }
        }
        // A word right before the data is not part of it.
        assert!(preserve(&file(b"\x48\x8b\x05", -4)).is_ok());
    }
}
