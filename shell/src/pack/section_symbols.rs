//! Leaves out the symbols of sections to which no relocation of the module refers.

use smf_core::format::Reloc;
use smf_core::format::write::NewSymbol;

use super::layout::ModuleLayout;
use super::machine::Machine;
use super::relocate::OutputRelocs;

/// Removes those among the first symbols, which are those of the sections, to which no relocation for the loader refers, and
/// numbers the symbols of these relocations again. Functions for aarch64 are extracted with references to them.
pub(super) fn remove_unused(
    addresses: &ModuleLayout<'_, '_>,
    symbols: &mut Vec<NewSymbol<'_>>,
    relocs: &mut [OutputRelocs],
) {
    if addresses.program.machine() == Machine::Aarch64 {
        return;
    }
    let sections = addresses.outputs.len();
    let position = |reloc: &Reloc| usize::try_from(reloc.symbol).unwrap_or(usize::MAX);
    let mut is_used = vec![false; sections];
    for reloc in relocs.iter().flat_map(|relocs| &relocs.pending) {
        if let Some(is_used) = is_used.get_mut(position(reloc)) {
            *is_used = true;
        }
    }
    // The number of removed symbols before each symbol of a section, and before the others.
    let mut removed = Vec::with_capacity(sections.saturating_add(1));
    let mut count = 0u32;
    for is_used in &is_used {
        removed.push(count);
        count += u32::from(!is_used);
    }
    for reloc in relocs.iter_mut().flat_map(|relocs| &mut relocs.pending) {
        let before = removed.get(position(reloc)).copied().unwrap_or(count);
        reloc.symbol = reloc.symbol.saturating_sub(before);
    }
    let mut is_used = is_used.into_iter();
    symbols.retain(|_| is_used.next().unwrap_or(true));
}
