//! Offsets of the header and the index entries of a library archive.

use crate::format::wire::u64_at;

/// The first bytes of an archive.
pub(crate) const MAGIC: &[u8; 4] = b"LSMF";

/// Bytes of the header.
pub(crate) const HEADER: usize = 128;

/// Bytes of an entry of the index.
pub(crate) const ENTRY: usize = 128;

/// The size of an entry's name field in bytes, including the terminating NUL.
pub(crate) const NAME: usize = 64;

/// Offsets of the header fields.
pub(crate) mod header {
    pub(crate) const COUNT: usize = 8;
    pub(crate) const INDEX_OFFSET: usize = 12;
    pub(crate) const INDEX_SIZE: usize = 20;
    pub(crate) const DATA_OFFSET: usize = 28;
    pub(crate) const LIBRARY_HASH: usize = 36;
    pub(crate) const INDEX_HASH: usize = 44;
}

/// Offsets of the fields of an index entry.
pub(crate) mod entry {
    pub(crate) const OFFSET: usize = 64;
    pub(crate) const SIZE: usize = 72;
    pub(crate) const OBJECT_OFFSET: usize = 80;
    pub(crate) const OBJECT_SIZE: usize = 88;
    pub(crate) const HASH: usize = 96;
    pub(crate) const OBJECT_HASH: usize = 104;
}

// Both end with reserved bytes: 76 and 16.
const _: () =
    assert!(header::INDEX_HASH + 8 + 76 == HEADER && entry::OBJECT_HASH + 8 + 16 == ENTRY);

/// The `u64` at offset `at` of a header or an entry.
pub(crate) fn field(bytes: &[u8; 128], at: usize) -> u64 {
    u64_at(bytes, at).unwrap_or(0)
}
