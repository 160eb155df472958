//! Checks whether an ELF shared object can be passed to the system's loader.
//!
//! A loader such as ld.so trusts the files that it opens. It follows addresses and indices without bounds checks,
//! divides by values from the file, and aborts the process when an assertion fails. [`check`] finds every such value
//! outside its bounds first. The object's code, its entry points, and the relocations of the object's own data are
//! trusted.
//!
//! Both classes and byte orders are supported. Relocation types are known for x86-64 and aarch64. For other machines
//! only the addresses and symbols of relocations are checked.
//!
//! No unsafe code, no allocation, no panic on any input. The time is linear in the file: a chain is followed for at
//! most as many steps as its table has entries.
//!
//! Sources: System V ABI, chapter 5 "Program Loading and Dynamic Linking"; its supplements; the GNU hash table
//! as bfd and glibc have it; glibc 2.36, elf/dl-load.c, dl-reloc.c, dl-version.c, dl-lookup.c, do-rel.h.

mod dynamic;
mod hash;
mod image;
mod machine;
mod relocs;
mod segments;
mod symbols;
#[cfg(test)]
mod tests;
mod versions;

use core::fmt;

use crate::format::error::Result;
pub use crate::format::error::{SharedObjectErrorKind, SharedObjectPart};
use crate::format::read::shared_object::dynamic::Dynamic;
use crate::format::read::shared_object::image::{Encoding, Image};
use crate::format::read::shared_object::relocs::{Relocs, Tables};
use crate::format::read::shared_object::symbols::SymbolTable;
pub use crate::format::wire::elf_tag::Tag;
use crate::format::wire::{EM_AARCH64, EM_X86_64};

/// The minimum page size of the machines that load shared objects, in bytes.
pub const MIN_PAGE_SIZE: u64 = 4096;

/// Checks the shared object in `object`, the whole file, and returns its target.
///
/// `page_size` is the page size of the system that loads the object, in bytes; [`MIN_PAGE_SIZE`] if it is unknown. A
/// value below [`MIN_PAGE_SIZE`] or not a power of two is treated as [`MIN_PAGE_SIZE`].
///
/// # Errors
/// The first defect that can crash a loader, with an offset in `object`.
pub fn check(object: &[u8], page_size: u64) -> Result<Target> {
    let is_page_size = page_size.is_power_of_two() && page_size >= MIN_PAGE_SIZE;
    let page = if is_page_size { page_size } else { MIN_PAGE_SIZE };
    let image = Image::read(object)?;
    let segments = segments::check(&image, page)?;
    let dynamic = Dynamic::read(image, &segments.dynamic)?;
    let versions = versions::check(&dynamic)?;
    let hashes = [hash::gnu(&dynamic)?, hash::system_v(&dynamic)?];
    let relocs = Relocs::read(&dynamic)?;
    let symbols = SymbolTable::read(&dynamic, segments.tls)?;
    let hashed = hashes.map(|hash| hash.symbols);
    let count = hashed.into_iter().fold(relocs.symbols(&dynamic), u64::max);
    let symbol_range = symbols.check(&dynamic, count)?;
    let index_range = versions.check_symbols(&dynamic, count)?;
    let [gnu, system_v] = hashes.map(|hash| hash.range);
    let [needed, defined] = versions.ranges;
    let [rela, rel, plt, relr] = relocs.ranges();
    let tables = [
        (Tag::STRTAB, dynamic.string_range()),
        (Tag::SYMTAB, symbol_range),
        (Tag::GNU_HASH, gnu),
        (Tag::HASH, system_v),
        (Tag::VERSYM, index_range),
        (Tag::VERNEED, needed),
        (Tag::VERDEF, defined),
        (Tag::RELA, rela),
        (Tag::REL, rel),
        (Tag::JMPREL, plt),
        (Tag::RELR, relr),
    ];
    let tables = Tables::new(&dynamic, segments.program_headers, tables)?;
    relocs.check(&dynamic, &symbols, &tables)?;
    Ok(Target { machine: image.machine, encoding: image.file.encoding })
}

/// The machine, class and byte order of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    machine: u16,
    encoding: Encoding,
}

impl Target {
    /// The target of this build; `None` for a machine on which the loader does not run modules.
    pub fn host() -> Option<Self> {
        let machine = if cfg!(target_arch = "x86_64") {
            EM_X86_64
        } else if cfg!(target_arch = "aarch64") {
            EM_AARCH64
        } else {
            return None;
        };
        let is_64 = cfg!(target_pointer_width = "64");
        let is_big = cfg!(target_endian = "big");
        Some(Self { machine, encoding: Encoding { is_64, is_big } })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Encoding { is_64, is_big } = self.encoding;
        match self.machine {
            EM_X86_64 => f.write_str("x86-64")?,
            EM_AARCH64 => f.write_str("aarch64")?,
            other => write!(f, "machine {other}")?,
        }
        let bits = if is_64 { 64 } else { 32 };
        let order = if is_big { "big" } else { "little" };
        write!(f, " ({bits} bits, {order}-endian)")
    }
}
