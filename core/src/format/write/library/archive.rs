//! Writing of archives: header, index, then the modules back to back.

use thiserror::Error;

use crate::alloc_util::hash::{fnv1a_64, fnv1a_64_more};
use crate::format::wire::library::{ENTRY, HEADER, MAGIC, NAME, entry, header};
use crate::format::wire::put;

/// The reason why modules cannot be written as an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum LibraryWriteError {
    /// A module without a name. Indices count from 0.
    #[error("module {index} has no name")]
    NameEmpty { index: usize },
    /// A name longer than 63 bytes.
    #[error("module {index}: its name has {len} bytes, more than the limit of 63")]
    NameTooLong { index: usize, len: usize },
    /// A name with a NUL, which terminates names.
    #[error("module {index}: its name holds a NUL")]
    NameHoldsNul { index: usize },
    /// Two modules with the same name; a lookup finds only the first one.
    #[error("modules {first} and {second} have the same name")]
    NameTwice { first: usize, second: usize },
    /// More modules than a `u32` can count, or more bytes than `usize` can.
    #[error("too many modules or too many bytes for one archive")]
    TooLarge,
    /// A buffer shorter than the archive. Both fields are in bytes.
    #[error("the archive needs {needed} bytes, but the buffer has {len}")]
    BufferTooSmall { needed: usize, len: usize },
}

/// The name and the bytes of a module.
pub type NamedModule<'a> = (&'a str, &'a [u8]);

/// The length of the archive of `modules` that [`write()`] produces, in bytes.
///
/// # Errors
/// Those of [`write()`], except for a repeated name and a short buffer.
pub fn length(modules: &[NamedModule<'_>]) -> Result<usize, LibraryWriteError> {
    use LibraryWriteError as E;
    u32::try_from(modules.len()).map_err(|_| E::TooLarge)?;
    let mut total = index_end(modules.len());
    for (index, (name, module)) in modules.iter().enumerate() {
        match name.len() {
            0 => return Err(E::NameEmpty { index }),
            len @ NAME.. => return Err(E::NameTooLong { index, len }),
            _ if name.contains('\0') => return Err(E::NameHoldsNul { index }),
            _ => total = total.and_then(|total| total.checked_add(module.len())),
        }
    }
    total.ok_or(E::TooLarge)
}

/// Writes `modules` as an archive to the start of `out` and returns its length in bytes. The archive has all hashes and
/// no objects. Time is linear in the bytes written.
///
/// # Errors
/// [`LibraryWriteError`]; the contents of `out` are then unspecified.
pub fn write(modules: &[NamedModule<'_>], out: &mut [u8]) -> Result<usize, LibraryWriteError> {
    let needed = length(modules)?;
    let too_small = LibraryWriteError::BufferTooSmall { needed, len: out.len() };
    let out = out.get_mut(..needed).ok_or(too_small)?;
    let data_start = index_end(modules.len()).ok_or(LibraryWriteError::TooLarge)?;
    let (head, data) = out.split_at_mut_checked(data_start).ok_or(too_small)?;
    head.fill(0);
    let (header, index) = head.split_first_chunk_mut::<HEADER>().ok_or(too_small)?;
    if let Some((first, second)) = first_duplicate(modules, index) {
        return Err(LibraryWriteError::NameTwice { first, second });
    }
    index.fill(0);
    let (entries, _) = index.as_chunks_mut::<ENTRY>();
    let (mut offset, mut rest) = (data_start, &mut *data);
    for (entry, (name, module)) in entries.iter_mut().zip(modules) {
        put(entry, 0, name.as_bytes());
        put(entry, entry::OFFSET, &(offset as u64).to_le_bytes());
        put(entry, entry::SIZE, &(module.len() as u64).to_le_bytes());
        put(entry, entry::HASH, &fnv1a_64(module).to_le_bytes());
        let (place, behind) = rest.split_at_mut_checked(module.len()).ok_or(too_small)?;
        place.copy_from_slice(module);
        (offset, rest) = (offset.saturating_add(module.len()), behind);
    }
    let index_hash = fnv1a_64(index);
    put(header, 0, MAGIC);
    put(header, 4, &[1, 0]);
    put(header, header::COUNT, &u32::try_from(modules.len()).unwrap_or(u32::MAX).to_le_bytes());
    put(header, header::INDEX_OFFSET, &(HEADER as u64).to_le_bytes());
    put(header, header::INDEX_SIZE, &(index.len() as u64).to_le_bytes());
    put(header, header::DATA_OFFSET, &(data_start as u64).to_le_bytes());
    put(header, header::LIBRARY_HASH, &fnv1a_64_more(index_hash, data).to_le_bytes());
    put(header, header::INDEX_HASH, &index_hash.to_le_bytes());
    Ok(needed)
}

/// The offset at which the index of `count` modules ends and the data starts.
fn index_end(count: usize) -> Option<usize> {
    count.checked_mul(ENTRY)?.checked_add(HEADER)
}

/// The indices of the first two modules with the same name. `scratch` is the memory of the future index, all zero. It
/// serves as a hash table with 32 slots for each module, so that the search allocates nothing.
fn first_duplicate(modules: &[NamedModule<'_>], scratch: &mut [u8]) -> Option<(usize, usize)> {
    let (slots, _) = scratch.as_chunks_mut::<4>();
    let len = slots.len();
    for ((name, _), number) in modules.iter().zip(1u32..) {
        let hash = fnv1a_64(name.as_bytes()).checked_rem(len as u64)?;
        let mut slot = usize::try_from(hash).ok()?;
        loop {
            let taken = slots.get_mut(slot)?;
            let other = usize::try_from(u32::from_le_bytes(*taken)).ok()?.checked_sub(1);
            match other {
                None => break *taken = number.to_le_bytes(),
                Some(first) if modules.get(first)?.0 == *name => {
                    return Some((first, usize::try_from(number).ok()?.checked_sub(1)?));
                }
                Some(_) => slot = slot.checked_add(1).filter(|&next| next < len).unwrap_or(0),
            }
        }
    }
    None
}
