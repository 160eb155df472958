//! Replacement of a module in an archive. All other bytes are preserved; parts after the module move, and the index is
//! updated.

use alloc::vec::Vec;

use thiserror::Error;

use crate::alloc_util::hash::{fnv1a_64, fnv1a_64_more};
use crate::alloc_util::try_concat;
use crate::format::error::{FormatError, Result, ensure};
use crate::format::read::library::Library;
use crate::format::wire::library::{ENTRY, HEADER, entry, field, header};
use crate::format::wire::put;

/// The reason why a module of an archive cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LibraryReplaceError {
    /// The archive is invalid, or the entry of the module is.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The archive has no module with this index.
    #[error("the archive has no module {index}")]
    NoModule {
        /// The index of the module, from 0.
        index: u32,
    },
    /// Another part of the archive overlaps the module and would change with it.
    #[error(
        "module {index} shares bytes with another part of the archive, which would change with it"
    )]
    Overlap {
        /// The index of the module, from 0.
        index: u32,
    },
    /// The new archive does not fit the memory or the address space.
    #[error("the new archive does not fit into memory")]
    TooLarge,
}

/// Returns the archive with `module` in place of the module with this index, whose name and object are preserved.
/// Hashes in the archive must match before and match afterwards. Hashes that are 0 remain 0.
///
/// # Errors
/// [`LibraryReplaceError`].
pub fn with_module(
    library: &Library<'_>,
    index: u32,
    module: &[u8],
) -> Result<Vec<u8>, LibraryReplaceError> {
    // Hashes are recomputed, so damage must be detected first.
    library.verify()?;
    let old = library.module(index).ok_or(LibraryReplaceError::NoModule { index })??;
    let end = old.offset.saturating_add(old.size);
    // The new offset of a part that was at offset `at`.
    let moved = |at: u64| {
        if at >= end { at.wrapping_sub(old.size).wrapping_add(module.len() as u64) } else { at }
    };
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    let before = library.data.get(..at(old.offset)).unwrap_or(&[]);
    let behind = library.data.get(at(end)..).unwrap_or(&[]);
    let new = try_concat(&[before, module, behind]);
    let mut new = new.map_err(|_| LibraryReplaceError::TooLarge)?.into_vec();
    put_entries(library, index, module, &moved, &mut new).ok_or(LibraryReplaceError::TooLarge)?;
    put_header(library, &moved, &mut new).ok_or(LibraryReplaceError::TooLarge)?;
    let is_same = is_same(library, index, module, &new).unwrap_or(false);
    ensure(is_same, LibraryReplaceError::Overlap { index })?;
    Ok(new)
}

/// Updates the offsets, the size and the hash in the index of the new archive.
fn put_entries(
    library: &Library<'_>,
    index: u32,
    module: &[u8],
    moved: &dyn Fn(u64) -> u64,
    new: &mut [u8],
) -> Option<()> {
    let at = usize::try_from(moved(library.index_offset)).ok()?;
    let len = library.entries.len().checked_mul(ENTRY)?;
    let (entries, _) = new.get_mut(at..at.checked_add(len)?)?.as_chunks_mut::<ENTRY>();
    for (number, entry) in (0u32..).zip(entries) {
        for place in [entry::OFFSET, entry::OBJECT_OFFSET] {
            let old = field(entry, place);
            put(entry, place, &moved(old).to_le_bytes());
        }
        if number == index {
            put(entry, entry::SIZE, &(module.len() as u64).to_le_bytes());
            if field(entry, entry::HASH) != 0 {
                put(entry, entry::HASH, &fnv1a_64(module).to_le_bytes());
            }
        }
    }
    Some(())
}

/// Updates the offsets and hashes in the header of the new archive.
fn put_header(library: &Library<'_>, moved: &dyn Fn(u64) -> u64, new: &mut [u8]) -> Option<()> {
    let index_at = moved(library.index_offset);
    let data_at = moved(field(library.header, header::DATA_OFFSET));
    let start = usize::try_from(index_at).ok()?;
    let index_hash = fnv1a_64(new.get(start..start.checked_add(library.index.len())?)?);
    let data = usize::try_from(data_at).ok().and_then(|at| new.get(at..)).unwrap_or(&[]);
    let library_hash = fnv1a_64_more(index_hash, data);
    let header = new.first_chunk_mut::<HEADER>()?;
    put(header, header::INDEX_OFFSET, &index_at.to_le_bytes());
    put(header, header::DATA_OFFSET, &data_at.to_le_bytes());
    for (place, hash) in [(header::INDEX_HASH, index_hash), (header::LIBRARY_HASH, library_hash)] {
        if field(library.header, place) != 0 {
            put(header, place, &hash.to_le_bytes());
        }
    }
    Some(())
}

/// Whether the new archive is sound and differs from the old one in the module alone. If another part shares bytes with
/// the module, it does not.
fn is_same(old: &Library<'_>, index: u32, module: &[u8], file: &[u8]) -> Result<bool> {
    let new = Library::parse(file)?;
    new.verify()?;
    for (a, b) in old.modules().zip(new.modules()) {
        let (a, b) = (a?, b?);
        let data = if a.index == index { module } else { a.data };
        if (a.name, data, a.object, a.object_hash) != (b.name, b.data, b.object, b.object_hash) {
            return Ok(false);
        }
    }
    Ok(new.len() == old.len())
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::format::write::library::archive::{length, write};
    use crate::testing::flipped;

    const SAMPLE: &[u8] = include_bytes!("../../../../../tests/samples/library.lsm");

    #[test]
    fn replaced_module_of_another_size_leaves_others_unchanged() {
        let library = Library::parse(SAMPLE).unwrap();
        for index in 0..3 {
            let old = library.module(index).unwrap().unwrap();
            for len in [0, 1, old.data.len(), old.data.len() + 1, SAMPLE.len() + 1] {
                let new = with_module(&library, index, &vec![7; len]).unwrap();
                assert_eq!(new.len(), SAMPLE.len() - old.data.len() + len);
                let back = Library::parse(&new).unwrap();
                if len != 0 {
                    assert_eq!(with_module(&back, index, old.data).unwrap(), SAMPLE);
                }
            }
        }
        let error = LibraryReplaceError::NoModule { index: 3 };
        assert_eq!(with_module(&library, 3, b"x"), Err(error));
    }

    #[test]
    fn index_after_the_modules_moves_and_absent_hashes_stay_absent() {
        // Header, one module of 4 bytes with an object of 3 bytes after it, and the index.
        let mut file = vec![0; 128 + 7];
        file[..8].copy_from_slice(b"LSMF\x01\0\0\0");
        file[128..].copy_from_slice(b"codeobj");
        let mut entry = [0; ENTRY];
        entry[0] = b'm';
        put(&mut entry, entry::OFFSET, &128u64.to_le_bytes());
        put(&mut entry, entry::SIZE, &4u64.to_le_bytes());
        put(&mut entry, entry::OBJECT_OFFSET, &132u64.to_le_bytes());
        put(&mut entry, entry::OBJECT_SIZE, &3u64.to_le_bytes());
        file.extend(entry);
        file[8] = 1;
        file[12..20].copy_from_slice(&135u64.to_le_bytes());
        file[20..28].copy_from_slice(&128u64.to_le_bytes());
        file[28..36].copy_from_slice(&128u64.to_le_bytes());
        let library = Library::parse(&file).unwrap();
        let new = with_module(&library, 0, b"longer code").unwrap();
        let read = Library::parse(&new).unwrap();
        let module = read.module(0).unwrap().unwrap();
        assert_eq!((module.data, module.object), (&b"longer code"[..], Some(&b"obj"[..])));
        assert_eq!((module.hash, read.index_offset), (0, 142));
        assert_eq!(with_module(&read, 0, b"code").unwrap(), file);
        // An object that is part of its module.
        file[135 + entry::OBJECT_OFFSET] = 129;
        let error = LibraryReplaceError::Overlap { index: 0 };
        assert_eq!(with_module(&Library::parse(&file).unwrap(), 0, b"else"), Err(error));
    }

    #[test]
    fn damaged_entry_is_refused_or_leaves_others_intact() {
        let modules = [("a", &b"first"[..]), ("b", b"second"), ("c", b"third")];
        let mut sound = vec![0; length(&modules).unwrap()];
        write(&modules, &mut sound).unwrap();
        for (_, damaged) in flipped(&sound) {
            let Ok(library) = Library::parse(&damaged) else { continue };
            let Ok(new) = with_module(&library, 1, b"else") else { continue };
            let new = Library::parse(&new).unwrap();
            assert_eq!(new.module(1).unwrap().unwrap().data, b"else");
            for index in [0, 2] {
                // No hash covers the number of modules.
                let data = |library: &Library<'_>| {
                    library.module(index).map(|module| module.unwrap().data.to_vec())
                };
                assert_eq!(data(&library), data(&new));
            }
        }
    }
}
