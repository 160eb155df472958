//! Constructors and destructors of modules, by priority.
//!
//! A module has one array of each. Local symbols state which parts of an array have priorities, so that these become
//! sections by which the linker sorts them, as those of objects do.

use std::collections::BTreeMap;

use ::object::elf;
use smf_core::format::{Binding, Smf};

use super::elf_writer::{ElfObject, ElfPlace, ElfReloc, ElfSection, ElfSymbol};
use crate::pack::init_sections::{ENTRY, Fragment, InitSection};
use crate::pack::layout::ModuleLayout;
use crate::pack::relocate::OutputOffset;

/// What the name of the local symbol starts with that states a part. The name of the section of an object follows, and
/// the offset in bytes at which the part ends: `.smf.part.init_array.00150.16`.
const PART: &str = ".smf.part";

/// The arrays of constructors and of destructors.
const ARRAYS: [&str; 2] = [".init_array", ".fini_array"];

/// The names of the local symbols that state the parts of the arrays with priorities.
pub(in crate::pack) fn part_symbols(
    addresses: &ModuleLayout<'_, '_>,
) -> impl Iterator<Item = Vec<u8>> {
    let mut ends = BTreeMap::new();
    for fragment in Fragment::ALL {
        // Its entry comes before those of all constructors.
        if addresses.segment(fragment.segments().0).is_some() {
            ends.insert((fragment == Fragment::Fini, 0), ENTRY);
        }
    }
    for &id in &addresses.order {
        let Some(section) = addresses.program.section(id) else { continue };
        let part = InitSection::array_part(section).filter(|part| part.is_numbered());
        let at = OutputOffset::of(addresses.section(id));
        if let Some((part, at)) = part.zip(at) {
            ends.insert((part.is_fini, part.priority), at.offset.saturating_add(section.size));
        }
    }
    ends.into_iter().map(|((is_fini, priority), end)| {
        let [of_init, of_fini] = ARRAYS;
        let array = if is_fini { of_fini } else { of_init };
        format!("{PART}{array}.{priority:05}.{end}").into_bytes()
    })
}

/// Makes the parts of arrays sections of their own, unless code or data refers to the array.
pub(super) fn split_arrays(smf: &Smf<'_>, object: &mut ElfObject) {
    let symbols = smf.symbols().iter().filter_map(Result::ok);
    let symbols = symbols.filter(|symbol| symbol.binding == Binding::Local);
    let parts = symbols.filter_map(|symbol| {
        let (name, end) =
            str::from_utf8(symbol.name()).ok()?.strip_prefix(PART)?.rsplit_once('.')?;
        let (array, _) = name.rsplit_once('.').filter(|(array, _)| ARRAYS.contains(array))?;
        Some((array, end.parse::<usize>().ok()?, name))
    });
    let mut parts: Vec<_> = parts.collect();
    parts.sort_unstable();
    for parts in parts.chunk_by(|one, other| one.0 == other.0) {
        let array = parts.first().map_or(&[][..], |part| part.0.as_bytes());
        let Some(array) = object.sections.iter().position(|s| s.name == array) else { continue };
        if is_referred_to(object, array) {
            continue;
        }
        let mut start = 0;
        for &(_, end, name) in parts {
            let Some(section) = object.sections.get_mut(array) else { continue };
            let Some(part) = split_off_front(section, end - start, name) else { break };
            move_references(object, array, part.size);
            object.sections.push(part);
            start = end;
        }
    }
}

/// Whether a relocation of loaded contents or another object refers to contents of a section.
fn is_referred_to(object: &ElfObject, section: usize) -> bool {
    let is_there = |symbol: &ElfSymbol| symbol.place == ElfPlace::Section(section);
    let loaded = object.sections.iter().filter(|section| section.flags & elf::SHF_ALLOC.0 != 0);
    let relocs = loaded.flat_map(|section| &section.relocs);
    let mut targets = relocs.filter(|reloc| reloc.kind != 0).map(|reloc| reloc.symbol as usize);
    targets.any(|symbol| object.symbols.get(symbol).is_some_and(is_there))
        || object.symbols.iter().any(|s| s.binding != elf::STB_LOCAL && is_there(s))
}

/// Changes the references of debugging information to a section whose first bytes become the next new section.
fn move_references(object: &mut ElfObject, section: usize, size: u64) {
    let ElfObject { sections, symbols, .. } = object;
    let place = ElfPlace::Section(section);
    let is_there = |symbol: u32| symbols.get(symbol as usize).is_some_and(|s| s.place == place);
    let (moved, size) = (symbols.len() as u32, size.cast_signed());
    let relocs = sections.iter_mut().flat_map(|section| &mut section.relocs);
    for reloc in relocs.filter(|reloc| reloc.kind != 0 && is_there(reloc.symbol)) {
        match reloc.addend < size {
            true => reloc.symbol = moved,
            false => reloc.addend -= size,
        }
    }
    symbols.push(ElfSymbol::of_section(sections.len()));
}

/// Moves the first bytes of a section and their relocations to a new one; `None` if it has fewer. Those without effect,
/// which tie the sections of the module together, stay.
fn split_off_front(section: &mut ElfSection, size: usize, name: &str) -> Option<ElfSection> {
    let (front, rest) = section.bytes.split_at_checked(size)?;
    let (bytes, rest) = (front.to_vec(), rest.to_vec());
    section.bytes = rest;
    let size = size as u64;
    section.size -= size;
    let moves = |reloc: &ElfReloc| reloc.kind != 0 && reloc.offset < size;
    let relocs = std::mem::take(&mut section.relocs).into_iter();
    let (relocs, mut rest): (Vec<_>, Vec<_>) = relocs.partition(moves);
    rest.iter_mut().for_each(|reloc| reloc.offset = reloc.offset.saturating_sub(size));
    section.relocs = rest;
    let ElfSection { kind, flags, alignment, .. } = *section;
    Some(ElfSection { name: name.into(), kind, flags, bytes, size, alignment, relocs })
}
