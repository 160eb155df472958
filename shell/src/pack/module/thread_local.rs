//! The relocations of a module's thread-local storage, so that it is linked with that of others.
//!
//! The storage of the linked module contains those of all input modules at different offsets. Words that depend on the
//! offset have relocations in a module, except the second word of the pair that `__tls_get_addr` takes, behind the module
//! number: the offset in the storage of the module is final there. Here it becomes a relocation again. Code of the local
//! dynamic model adds offsets of its own to such a pair, which starts at the storage of its module then.
//!
//! Sources: Drepper, ELF Handling For Thread-Local Storage; System V ABI, AMD64 supplement, 4.4; AAELF64, 5.7.11.

use ::object::elf;
use smf_core::format::ext::tls::{TlsImport, Value};
use smf_core::format::{Reloc, RelocKind};
use smf_core::link::aarch64;

use super::elf_writer::{ElfReloc, ElfSection};
use crate::pack::aarch64::page_offset_types;

/// The distance from the module number to the offset in the storage.
const WORD: u64 = 8;

/// Converts a relocation against `import`, which denotes a value of thread-local storage; `storage` is the symbol of the
/// storage of the module. In place of an import that names a symbol, the object has that symbol. `None` for one that names
/// the function of descriptors, which stays as it is.
///
/// # Errors
/// What is wrong with it.
pub(super) fn relocs(
    machine: elf::Machine,
    reloc: &Reloc,
    import: &TlsImport<'_>,
    storage: Option<u32>,
    section: &mut ElfSection,
) -> Result<Option<Vec<ElfReloc>>, &'static str> {
    if import.value == Value::Descriptor {
        return Ok(None);
    }
    let is_own = import.symbol.is_none();
    let symbol = if is_own { storage } else { Some(reloc.symbol) };
    let symbol = symbol.ok_or("it uses thread-local storage, and the module has no `.tdata`")?;
    let (offset, addend) = (reloc.offset, reloc.addend);
    let (of_module, in_storage, of_thread) = match machine {
        elf::EM_AARCH64 => {
            (elf::R_AARCH64_TLS_DTPMOD, elf::R_AARCH64_TLS_DTPREL, elf::R_AARCH64_TLS_TPREL)
        }
        _ => (elf::R_X86_64_DTPMOD64, elf::R_X86_64_DTPOFF64, elf::R_X86_64_TPOFF64),
    };
    let made = |kind: elf::RelocationType, offset, addend| {
        let kind = kind.0;
        ElfReloc { offset, symbol, kind, addend }
    };
    Ok(Some(match (import.value, reloc.kind) {
        (Value::Module, RelocKind::Abs64) if !is_own => vec![made(of_module, offset, 0)],
        (Value::BlockOffset, RelocKind::Abs64) => vec![made(in_storage, offset, addend)],
        (Value::Module, RelocKind::Abs64) => {
            let at = offset.checked_add(WORD).and_then(|at| usize::try_from(at).ok());
            let word = at.and_then(|at| section.bytes.get_mut(at..)?.first_chunk_mut());
            let word: &mut [u8; 8] = word.ok_or("no offset follows the module number")?;
            let value = i64::from_le_bytes(std::mem::take(word));
            vec![made(of_module, offset, 0), made(in_storage, offset + WORD, value)]
        }
        (Value::Offset, RelocKind::Abs64) => vec![made(of_thread, offset, addend)],
        (Value::Offset, RelocKind::Arm64PageOff12) if machine == elf::EM_AARCH64 => {
            let at = usize::try_from(offset).ok();
            let word = at.and_then(|at| section.bytes.get(at..)?.first_chunk());
            let word = word.map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let kind = local_exec(word).ok_or("its instruction holds no offset")?;
            vec![made(kind, offset, addend)]
        }
        (Value::Offset32, RelocKind::Abs32) if machine == elf::EM_X86_64 => {
            vec![made(elf::R_X86_64_TPOFF32, offset, addend)]
        }
        _ => return Err("it is for another kind of value"),
    }))
}

/// The type for a part of the offset from the thread pointer in an instruction.
fn local_exec(word: u32) -> Option<elf::RelocationType> {
    if aarch64::is_shifted_add(word) {
        return Some(elf::R_AARCH64_TLSLE_ADD_TPREL_HI12);
    }
    page_offset_types(word).map(|(_, offset)| offset)
}
