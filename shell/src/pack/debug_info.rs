//! Merges the debugging information of the objects (DWARF): one section of each name, in the order of the objects.
//!
//! Offsets between debug sections and in the thread-local storage are final in the module, and listed for the linker of
//! modules. A field with an address of code or data holds the offset from the start of a section of the module and is
//! listed for debuggers (see [`debug_addresses`]). References to what the
//! module does not contain, such as copies of a section group and functions that nothing reaches, get the value that
//! linkers write there: 0, or 1 where two zeroes would end a list. Equal strings are merged. Sections that only index the
//! others are dropped, because they index one object each.
//!
//! Objects without any section in the module contribute nothing.
//!
//! Source: DWARF Debugging Information Format 5, chapter 7; System V ABI, chapter 4 (compressed sections).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use ::object::LittleEndian as LE;
use ::object::elf::{self, RelocationType};
use ::object::read::elf::{ElfFile64, ElfSection64};
use ::object::{
    CompressionFormat, Object as _, ObjectSection as _, RelocationFlags, RelocationTarget,
};
use hashbrown::HashMap;
use smf_core::format::SectionKind;
use smf_core::format::ext::debug_addresses::{self, SECTIONS};
use smf_core::format::ext::tls;

use super::error::{PackError, PackWarning, Refusals, Result};
use super::layout::{Address, ModuleLayout};
use super::machine::Machine;
use super::object::{InputReloc, SectionId, SectionMap, SymbolId, SymbolLocation, text};
use super::output::OutputSection;
use super::relocate::RelocError;
use super::resolve::{Program, Resolution};

/// How many times as large as its compressed form a section may be. Deflate reaches 1,032; a block of Zstandard, of at most
/// 128 KiB, takes at least four bytes (RFC 8878, 3.1.1.2).
fn max_ratio(format: CompressionFormat) -> u64 {
    if format == CompressionFormat::Zstandard { 32 << 10 } else { 1032 }
}

/// The sections whose lists end with two zeroes, so that a dropped range must be another empty one.
const LISTS: [&[u8]; 2] = [b".debug_ranges", b".debug_loc"];

/// The debugging information of a module.
#[derive(Default)]
pub(super) struct DebugInfo {
    pub(super) outputs: Vec<OutputSection>,
    pub(super) contents: Vec<Vec<u8>>,
    /// The payload of the section that lists the addresses.
    pub(super) addresses: Vec<u8>,
    /// The payload of the section that lists the offsets.
    pub(super) offsets: Vec<u8>,
}

/// A debug section of an object.
struct Input<'d> {
    id: SectionId,
    /// The index of the name in [`SECTIONS`].
    name: usize,
    bytes: Cow<'d, [u8]>,
    /// Strings that may be merged with equal ones.
    is_strings: bool,
    relocs: Vec<InputReloc>,
}

/// Where an input section lies in the merged one.
enum Place {
    At(u64),
    /// The offsets of each string in the input section and in the merged one, ascending.
    Strings(Vec<(u64, u64)>),
}

/// The width of a field, and what it refers to.
struct Field {
    bytes: u64,
    kind: FieldKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Plain,
    /// An offset in thread-local storage.
    ThreadLocal,
    /// A distance from the GOT, which gcc writes for addresses in the large code model.
    GotDistance,
}

/// What a field holds.
enum Value {
    Final(u64),
    /// An offset in the merged section with this index in [`SECTIONS`], or in the thread-local storage.
    Offset {
        target: Option<usize>,
        offset: u64,
    },
    /// An offset in a section of the module.
    Address {
        output: usize,
        offset: i64,
    },
}

/// The sections while they are merged.
struct Merger<'m, 'd> {
    addresses: &'m ModuleLayout<'m, 'd>,
    contents: [Vec<u8>; SECTIONS.len()],
    places: SectionMap<Place>,
    /// The offsets of fields with addresses, by debug section and by section of the module.
    fields: BTreeMap<(usize, usize), Vec<u32>>,
    /// The offsets of fields with offsets, by debug section and by what they refer to.
    offsets: BTreeMap<(usize, Option<usize>), Vec<u32>>,
}

/// The warning for a program without debugging information that can be kept.
pub(super) fn warning_of_none(program: &Program<'_>) -> PackWarning {
    let mut sections = program.sections();
    match sections.find(|(_, section)| section.name == b".stab") {
        Some((id, _)) => PackWarning::StabsLeftOut { object: program.title(id.object) },
        None => PackWarning::NoDebugInfo,
    }
}

/// Merges the debugging information of the objects in the module.
///
/// # Errors
/// [`PackError::TooLarge`]. What is wrong with objects is added to `refusals`.
pub(super) fn merge(
    addresses: &ModuleLayout<'_, '_>,
    refusals: &mut Refusals,
) -> Result<DebugInfo> {
    let objects: BTreeSet<usize> = addresses.order.iter().map(|id| id.object).collect();
    let mut inputs = Vec::new();
    for object in objects {
        inputs.extend(refusals.check(read(addresses, object)).into_iter().flatten());
    }
    let mut merger = Merger {
        addresses,
        contents: Default::default(),
        places: SectionMap::new(),
        fields: BTreeMap::new(),
        offsets: BTreeMap::new(),
    };
    merger.place(&inputs);
    for input in &inputs {
        merger.relocate_all(input, refusals);
    }
    merger.finish()
}

/// The debug sections of an object.
fn read<'d>(addresses: &ModuleLayout<'_, 'd>, object: usize) -> Result<Vec<Input<'d>>> {
    let program = addresses.program;
    let broken = || PackError::Broken {
        object: program.title(object),
        reason: "its debugging information cannot be read: the tables of the object are malformed",
    };
    let Some(parsed) = program.object(object) else { return Ok(Vec::new()) };
    let file = ElfFile64::<LE>::parse(parsed.data).map_err(|_| broken())?;
    let mut inputs = Vec::new();
    for section in file.sections() {
        let id = SectionId { object, section: section.index().0 };
        let Some(known) = program.section(id).filter(|s| !s.is_loaded() && !s.discarded) else {
            continue;
        };
        let Some(name) = number_of(known.name) else { continue };
        let bytes = contents(&section).map_err(|reason| program.bad_section(id, reason))?;
        let relocs = relocs(&section, object).map_err(|reason| program.bad_section(id, reason))?;
        // Offsets into strings come from relocations of other sections.
        let is_strings = known.has(elf::SHF_MERGE)
            && known.has(elf::SHF_STRINGS)
            && relocs.is_empty()
            && bytes.last().is_none_or(|last| *last == 0);
        inputs.push(Input { id, name, bytes, is_strings, relocs });
    }
    Ok(inputs)
}

/// The index of a section name in [`SECTIONS`]; `None` for a section to drop.
fn number_of(name: &[u8]) -> Option<usize> {
    // Compressed by older tools.
    let plain = name.strip_prefix(b".zdebug_");
    SECTIONS.iter().position(|known| match plain {
        Some(plain) => known.strip_prefix(b".debug_") == Some(plain),
        None => *known == name,
    })
}

/// The contents of a section, decompressed.
fn contents<'d>(section: &ElfSection64<'d, '_, LE>) -> Result<Cow<'d, [u8]>, &'static str> {
    let compressed = section.compressed_data().map_err(
        |_| "its bytes are outside the file, or it is compressed by an unknown algorithm",
    )?;
    let limit = (compressed.data.len() as u64).saturating_mul(max_ratio(compressed.format));
    if compressed.uncompressed_size > limit {
        return Err("it states a size that its compressed bytes cannot have");
    }
    compressed.decompress().map_err(|_| "its compressed bytes are malformed")
}

/// The relocations of a section.
fn relocs(
    section: &ElfSection64<'_, '_, LE>,
    object: usize,
) -> Result<Vec<InputReloc>, &'static str> {
    let reloc = |(offset, reloc): (u64, ::object::Relocation)| {
        let RelocationFlags::Elf { r_type, .. } = reloc.flags() else { return None };
        let symbol = match reloc.target() {
            RelocationTarget::Symbol(symbol) => symbol.0,
            _ => 0,
        };
        let symbol = SymbolId { object, symbol };
        let has_addend = !reloc.has_implicit_addend();
        has_addend.then_some(InputReloc { kind: r_type, symbol, offset, addend: reloc.addend() })
    };
    let relocs: Option<Vec<_>> = section.relocations().map(reloc).collect();
    relocs.ok_or("its relocations have no addends (SHT_REL), which this machine does not use")
}

impl Field {
    /// The field of a relocation; `None` for a type that debugging information does not use.
    fn of(machine: Machine, kind: RelocationType) -> Option<Self> {
        let (bytes, kind) = match (machine, kind) {
            (Machine::X86_64, elf::R_X86_64_64) | (Machine::Aarch64, elf::R_AARCH64_ABS64) => {
                (8, FieldKind::Plain)
            }
            (Machine::X86_64, elf::R_X86_64_32) | (Machine::Aarch64, elf::R_AARCH64_ABS32) => {
                (4, FieldKind::Plain)
            }
            (Machine::X86_64, elf::R_X86_64_DTPOFF64)
            | (Machine::Aarch64, elf::R_AARCH64_TLS_DTPREL) => (8, FieldKind::ThreadLocal),
            (Machine::X86_64, elf::R_X86_64_DTPOFF32) => (4, FieldKind::ThreadLocal),
            (Machine::X86_64, elf::R_X86_64_GOTOFF64) => (8, FieldKind::GotDistance),
            _ => return None,
        };
        Some(Self { bytes, kind })
    }
}

impl Merger<'_, '_> {
    /// Copies all sections behind each other.
    fn place(&mut self, inputs: &[Input<'_>]) {
        let mut strings = HashMap::new();
        for input in inputs {
            let Some(merged) = self.contents.get_mut(input.name) else { continue };
            if !input.is_strings {
                self.places.insert(input.id, Place::At(merged.len() as u64));
                merged.extend_from_slice(&input.bytes);
                continue;
            }
            let (mut starts, mut start) = (Vec::new(), 0);
            for string in input.bytes.split_inclusive(|byte| *byte == 0) {
                let at = *strings.entry((input.name, string)).or_insert_with(|| {
                    let at = merged.len() as u64;
                    merged.extend_from_slice(string);
                    at
                });
                starts.push((start, at));
                start += string.len() as u64;
            }
            self.places.insert(input.id, Place::Strings(starts));
        }
    }

    fn relocate_all(&mut self, input: &Input<'_>, refusals: &mut Refusals) {
        let program = self.addresses.program;
        for reloc in &input.relocs {
            if let Err(error) = self.relocate(input, reloc) {
                refusals.add(error.at(program, input.id, *reloc));
            }
        }
    }

    fn relocate(&mut self, input: &Input<'_>, reloc: &InputReloc) -> Result<(), RelocError> {
        const OUTSIDE: RelocError = RelocError::Unsupported("is outside its section");
        if reloc.kind == elf::R_X86_64_NONE {
            return Ok(());
        }
        let field = Field::of(self.addresses.program.machine(), reloc.kind);
        let field = field.ok_or(RelocError::Unsupported(
            "is not a relocation that debugging information uses",
        ))?;
        let is_inside = reloc.offset.checked_add(field.bytes);
        is_inside.filter(|end| *end <= input.bytes.len() as u64).ok_or(OUTSIDE)?;
        let Some(Place::At(start)) = self.places.get(input.id) else { return Err(OUTSIDE) };
        let at = start.saturating_add(reloc.offset);
        let place = u32::try_from(at).map_err(|_| RelocError::Range);
        let value = match self.value(input, reloc, &field) {
            Value::Final(value) => value,
            Value::Offset { target, offset } => {
                self.offsets.entry((input.name, target)).or_default().push(place?);
                // Offsets have 32 bits, whatever the width of the field.
                u32::try_from(offset).map_err(|_| RelocError::Range)?.into()
            }
            Value::Address { .. } if field.bytes != 8 => {
                return Err(RelocError::Unsupported(
                    "is an address in a field that is not of 64 bits",
                ));
            }
            Value::Address { output, offset } => {
                self.fields.entry((input.name, output)).or_default().push(place?);
                offset.wrapping_add(reloc.addend).cast_unsigned()
            }
        };
        let is_too_large = field.bytes == 4 && u32::try_from(value).is_err();
        if is_too_large {
            return Err(RelocError::Range);
        }
        let merged = self.contents.get_mut(input.name).ok_or(OUTSIDE)?;
        let bytes = usize::try_from(at).ok().and_then(|at| merged.get_mut(at..)).ok_or(OUTSIDE)?;
        let values = value.to_le_bytes();
        bytes.iter_mut().zip(values).take(field.bytes as usize).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// What a relocation writes. The addend of an address is not included.
    fn value(&self, input: &Input<'_>, reloc: &InputReloc, field: &Field) -> Value {
        let program = self.addresses.program;
        let name = SECTIONS.get(input.name).copied().unwrap_or_default();
        let tombstone = Value::Final(u64::from(LISTS.contains(&name)));
        let Some(symbol) = program.symbol(reloc.symbol) else { return tombstone };
        let address = match symbol.place {
            SymbolLocation::Section { section, value } => {
                let id = SectionId { object: input.id.object, section };
                let Some(target) = program.section(id) else { return tombstone };
                if !target.is_loaded() {
                    let kept = if target.discarded { target.kept_copy } else { Some(id) };
                    let place = kept.and_then(|id| self.places.get(id));
                    let offset = place.and_then(|place| place.offset(value, reloc.addend));
                    let target = number_of(target.name);
                    return offset.map_or(tombstone, |offset| Value::Offset { target, offset });
                }
                match symbol.global {
                    Some(_) => self.locate(reloc.symbol),
                    // Another copy of the section may have other offsets.
                    None if target.discarded => None,
                    None => self.local(reloc, Resolution::Section { id, value }),
                }
            }
            SymbolLocation::Absolute(value) => Some(Address::Absolute(value)),
            SymbolLocation::Undefined if symbol.global.is_none() => Some(Address::Absolute(0)),
            SymbolLocation::Undefined | SymbolLocation::Common { .. } => self.locate(reloc.symbol),
        };
        match address {
            None | Some(Address::Import(_) | Address::Tls { .. }) => tombstone,
            Some(Address::Absolute(value)) => Value::Final(value.wrapping_add_signed(reloc.addend)),
            Some(Address::Section { output, offset }) if field.kind == FieldKind::GotDistance => {
                let distance = self.got_distance(output, offset.wrapping_add(reloc.addend));
                distance.map_or(tombstone, |distance| Value::Final(distance.cast_unsigned()))
            }
            Some(Address::Section { offset, .. }) if field.kind == FieldKind::ThreadLocal => {
                let offset = offset.wrapping_add(reloc.addend).cast_unsigned();
                Value::Offset { target: None, offset }
            }
            Some(Address::Section { output, offset }) => Value::Address { output, offset },
        }
    }

    /// The distance from the start of the GOT in the image; `None` in a layout without one.
    fn got_distance(&self, output: usize, offset: i64) -> Option<i64> {
        let Some(Address::Section { output: table, offset: start }) = self.addresses.slot(0) else {
            return None;
        };
        let place = |output: usize, offset: i64| {
            self.addresses.outputs.get(output)?.image?.checked_add_signed(offset)
        };
        place(output, offset)?.checked_signed_diff(place(table, start)?)
    }

    /// The address of a local symbol, to which the addend of a relocation is to be added.
    fn local(&self, reloc: &InputReloc, resolution: Resolution) -> Option<Address> {
        match self.addresses.referent(reloc.symbol, resolution, reloc.addend)? {
            (Address::Section { output, offset }, rest) => {
                let offset = offset.checked_add(rest)?.checked_sub(reloc.addend)?;
                Some(Address::Section { output, offset })
            }
            (other, _) => Some(other),
        }
    }

    /// The address of a global symbol.
    fn locate(&self, symbol: SymbolId) -> Option<Address> {
        self.addresses.locate(self.addresses.program.resolution(symbol).ok()?)
    }

    /// The payload of the section that lists the offsets.
    fn list_offsets(&mut self) -> Result<Vec<u8>> {
        for ((debug, _), offsets) in &mut self.offsets {
            sort(*debug, offsets, debug_addresses::OFFSET_FIELD)?;
        }
        let has_storage = self.addresses.outputs.iter().any(|output| output.name == tls::SECTION);
        let lists = self.offsets.iter().filter_map(|((debug, target), offsets)| {
            // Malformed objects refer to storage that they do not have, and to debug sections without contents.
            let target = match *target {
                Some(number) if self.contents.get(number)?.is_empty() => return None,
                Some(number) => *SECTIONS.get(number)?,
                None => has_storage.then_some(tls::SECTION)?,
            };
            let [debug, target] = [SECTIONS.get(*debug)?, target].map(debug_addresses::stored_name);
            Some((debug, target, &**offsets))
        });
        let lists: Vec<_> = lists.collect();
        debug_addresses::encode_offsets(&lists).ok().flatten().ok_or(PackError::TooLarge)
    }

    fn finish(mut self) -> Result<DebugInfo> {
        let mut info = DebugInfo { offsets: self.list_offsets()?, ..DebugInfo::default() };
        let mut fields = self.fields;
        for ((debug, _), offsets) in &mut fields {
            sort(*debug, offsets, debug_addresses::FIELD)?;
        }
        let lists = fields.iter().filter_map(|((debug, output), offsets)| {
            let debug = debug_addresses::stored_name(SECTIONS.get(*debug)?);
            Some((debug, self.addresses.outputs.get(*output)?.name, &**offsets))
        });
        let lists: Vec<_> = lists.collect();
        let encoded = debug_addresses::encode(&lists).ok().flatten();
        info.addresses = encoded.ok_or(PackError::TooLarge)?;
        for (name, bytes) in SECTIONS.into_iter().zip(self.contents) {
            if !bytes.is_empty() {
                let (name, len) = (debug_addresses::stored_name(name), bytes.len() as u64);
                let kind = SectionKind::Debug;
                let (alignment, size, image) = (1, len, None);
                info.outputs.push(OutputSection { name, kind, alignment, len, size, image });
                info.contents.push(bytes);
            }
        }
        Ok(info)
    }
}

/// Sorts the offsets of fields of `size` bytes in a debug section, and checks that the fields do not overlap.
fn sort(debug: usize, offsets: &mut [u32], size: u64) -> Result<()> {
    offsets.sort_unstable();
    let overlap = offsets.windows(2).find_map(|pair| match pair {
        [one, next] if u64::from(next - one) < size => Some(*next),
        _ => None,
    });
    let Some(offset) = overlap.map(u64::from) else { return Ok(()) };
    let section = SECTIONS.get(debug).copied().unwrap_or_default();
    let place = format!("the merged section `{}`", text(section));
    Err(PackError::RelocOverlap { place, offset })
}

impl Place {
    /// The offset in the merged section of what lies `addend` bytes behind `value` in the input section.
    fn offset(&self, value: u64, addend: i64) -> Option<u64> {
        let target = value.checked_add_signed(addend)?;
        let strings = match self {
            Place::At(start) => return start.checked_add(target),
            Place::Strings(strings) => strings,
        };
        // A symbol of its own denotes the string; that of the section, the section.
        let string = if value == 0 { target } else { value };
        let number = strings.partition_point(|(start, _)| *start <= string);
        let (start, at) = strings.get(number.checked_sub(1)?)?;
        at.checked_add(target.checked_sub(*start)?)
    }
}
