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

mod arrays;
mod dynamic;
mod hash;
mod header;
mod image;
mod machine;
mod relocs;
mod segments;
mod symbols;
mod tables;
mod target;
#[cfg(test)]
mod tests;
mod versions;
mod view;

use crate::format::error::Result;
pub use crate::format::error::{SharedObjectErrorKind, SharedObjectPart};
use crate::format::read::shared_object::dynamic::Dynamic;
use crate::format::read::shared_object::header::FileHeader;
use crate::format::read::shared_object::image::Image;
use crate::format::read::shared_object::relocs::Relocs;
use crate::format::read::shared_object::symbols::SymbolTable;
use crate::format::read::shared_object::tables::Tables;
pub use crate::format::read::shared_object::target::Target;
pub use crate::format::wire::elf_tag::Tag;

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
    let header = FileHeader::read(object)?;
    let image = Image { header };
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
    let strings = dynamic.string_range();
    let ranges =
        [strings, symbol_range, gnu, system_v, index_range, needed, defined, rela, rel, plt, relr];
    let tables = Tables::new(&dynamic, segments.program_headers, ranges)?;
    relocs.check(&dynamic, &symbols, &tables)?;
    Ok(Target::of(&header))
}
