//! The debugging information of a module as that of an object: addresses, offsets between debug sections and offsets in
//! the thread-local storage get relocations, at the fields that the module lists (see [`debug_addresses`]).

use ::object::elf;
use smf_core::format::ext::debug_addresses::{self, DebugFields, FieldList};
use smf_core::format::{FormatError, Section, SectionKind, Smf};

use super::elf_writer::{ElfObject, ElfReloc, ElfSection, ElfSymbol};

/// Sections of strings, which are merged with those of others.
const STRINGS: [&[u8]; 2] = [b".debug_str", b".debug_line_str"];

/// The debug sections of a module, with their ELF names.
pub(super) fn debug_sections<'d>(
    smf: &Smf<'d>,
) -> impl Iterator<Item = (Section<'d>, &'static [u8])> + use<'d> {
    let debug = smf.sections().iter().filter(|section| section.kind == SectionKind::Debug);
    debug.filter_map(|section| Some((section, debug_addresses::elf_name(section.name)?)))
}

/// Adds the debug sections of a module, unless the module does not list their offsets. `symbol` returns the symbol of a
/// loaded section by its index in the module.
///
/// # Errors
/// A malformed list, or contents that cannot be decompressed.
pub(super) fn add(
    smf: &Smf<'_>,
    object: &mut ElfObject,
    symbol: &dyn Fn(u32) -> Option<u32>,
) -> Result<(), FormatError> {
    let (addresses, offsets) = (DebugFields::addresses(smf)?, DebugFields::offsets(smf)?);
    let Some(offsets) = offsets else { return Ok(()) };
    let first = (object.sections.len(), object.symbols.len());
    let mut sections = Vec::new();
    for (section, name) in debug_sections(smf) {
        object.symbols.push(ElfSymbol::of_section(object.sections.len()));
        object.sections.push(debug_section(name, smf.contents(&section)?.into_owned()));
        sections.push(section.index);
    }
    let number = |index: u32| sections.iter().position(|section| *section == index);
    let types = Types::of(object.machine);
    let mut add = |list: &FieldList<'_>, target: Option<u32>, kind: elf::RelocationType| {
        let section = number(list.debug.index).and_then(|at| object.sections.get_mut(first.0 + at));
        let Some((section, symbol)) = section.zip(target) else { return };
        let is_address = kind == types.address;
        for offset in list.offsets() {
            let addend = value(&section.bytes, offset, is_address).unwrap_or(0);
            section.relocs.push(ElfReloc { offset: offset.into(), symbol, kind: kind.0, addend });
        }
    };
    for list in addresses.iter().flat_map(DebugFields::lists) {
        add(&list, symbol(list.target.index), types.address);
    }
    for list in offsets.lists() {
        let debug = number(list.target.index).and_then(|at| u32::try_from(first.1 + at).ok());
        match list.target.kind {
            SectionKind::Debug => add(&list, debug, types.offset),
            _ => add(&list, symbol(list.target.index), types.in_storage),
        }
    }
    Ok(())
}

/// The relocation types of a machine.
struct Types {
    address: elf::RelocationType,
    /// An offset in a debug section.
    offset: elf::RelocationType,
    /// An offset in the thread-local storage.
    in_storage: elf::RelocationType,
}

impl Types {
    fn of(machine: elf::Machine) -> Self {
        match machine {
            elf::EM_AARCH64 => Self {
                address: elf::R_AARCH64_ABS64,
                offset: elf::R_AARCH64_ABS32,
                in_storage: elf::R_AARCH64_TLS_DTPREL,
            },
            _ => Self {
                address: elf::R_X86_64_64,
                offset: elf::R_X86_64_32,
                in_storage: elf::R_X86_64_DTPOFF32,
            },
        }
    }
}

/// The value of a field: an address of 64 bits, or an offset of 32.
fn value(section: &[u8], offset: u32, is_address: bool) -> Option<i64> {
    let field = section.get(usize::try_from(offset).ok()?..)?;
    Some(match is_address {
        true => i64::from_le_bytes(*field.first_chunk()?),
        false => u32::from_le_bytes(*field.first_chunk()?).into(),
    })
}

/// A debug section of the object, whose fields get relocations.
fn debug_section(name: &[u8], bytes: Vec<u8>) -> ElfSection {
    let is_strings = STRINGS.contains(&name);
    let flags = if is_strings { elf::SHF_MERGE.0 | elf::SHF_STRINGS.0 } else { 0 };
    ElfSection { alignment: 1, ..ElfSection::new(name, elf::SHT_PROGBITS, flags, bytes) }
}
