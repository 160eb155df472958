//! Fields of an ELF file of either class and either byte order.

use crate::format::error::{
    FormatError, SharedObjectError, SharedObjectErrorKind, SharedObjectPart,
};
use crate::format::wire::{array, slice, u8_at};

/// An error about a part of a shared object, at offset `at` of the file.
pub(crate) fn refuse(part: SharedObjectPart, kind: SharedObjectErrorKind, at: u64) -> FormatError {
    SharedObjectError { part, kind, at }.into()
}

/// The encoding of fields in an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Addresses and sizes have 64 bits; otherwise 32.
    pub(crate) is_64: bool,
    /// Fields are big-endian.
    pub(crate) is_big: bool,
}

impl Encoding {
    /// The size of an address in bytes.
    pub(crate) fn word_size(self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    /// The greatest address.
    pub(crate) fn max_address(self) -> u64 {
        if self.is_64 { u64::MAX } else { u32::MAX.into() }
    }
}

/// A part of an ELF file and its offset in that file.
#[derive(Clone, Copy)]
pub(crate) struct View<'d> {
    pub(crate) bytes: &'d [u8],
    /// The offset in the file.
    pub(crate) at: u64,
    pub(crate) encoding: Encoding,
}

impl<'d> View<'d> {
    /// A view of the whole file.
    pub(crate) fn new(bytes: &'d [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding }
    }

    /// The length of the part in bytes.
    pub(crate) fn len(self) -> u64 {
        self.bytes.len() as u64
    }

    /// `len` bytes from `at`, an offset in this part.
    pub(crate) fn part(self, at: u64, len: u64) -> Option<Self> {
        let bytes = slice(self.bytes, at, len)?;
        Some(Self { bytes, at: self.at.saturating_add(at), ..self })
    }

    /// All bytes from `at` to the end.
    pub(crate) fn from(self, at: u64) -> Option<Self> {
        self.part(at, self.len().checked_sub(at)?)
    }

    /// Consecutive entries of `size` bytes. An incomplete entry at the end is ignored.
    pub(crate) fn entries(self, size: u64) -> impl Iterator<Item = Self> {
        let size = usize::try_from(size).unwrap_or(usize::MAX).max(1);
        let entries = self.bytes.chunks_exact(size).zip((self.at..).step_by(size));
        entries.map(move |(bytes, at)| Self { bytes, at, ..self })
    }

    pub(crate) fn u8(self, at: usize) -> Option<u8> {
        u8_at(self.bytes, at)
    }

    /// The bytes of a field in little-endian order.
    fn field<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let mut field = *array(self.bytes, at)?;
        if self.encoding.is_big {
            field.reverse();
        }
        Some(field)
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.field(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.field(at).map(u32::from_le_bytes)
    }

    /// An address or a size, 64 or 32 bits according to the class.
    pub(crate) fn word(self, at: usize) -> Option<u64> {
        if self.encoding.is_64 {
            self.field(at).map(u64::from_le_bytes)
        } else {
            self.u32(at).map(u64::from)
        }
    }

    /// The word with this index.
    pub(crate) fn nth_word(self, index: usize) -> Option<u64> {
        self.word(index.checked_mul(if self.encoding.is_64 { 8 } else { 4 })?)
    }

    /// The 32-bit field with this index.
    pub(crate) fn nth_u32(self, index: u64) -> Option<u32> {
        self.u32(usize::try_from(index.checked_mul(4)?).ok()?)
    }
}
