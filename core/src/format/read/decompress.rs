//! Decompression of sections.
//!
//! The header names one algorithm for all sections that are marked compressed, and a section's
//! `virtual_size` is what it decompresses to, to the byte. Only the functions of this module decompress;
//! [`Section::data`] is always the bytes in the file.
//!
//! * Zstandard: frames, one after another. Dictionaries are refused, and so is a window of more than
//!   8 MiB that is larger than the section rounded up to a power of two, or larger than 128 MiB.
//! * LZ4: frames, one after another, as the `lz4` tool writes them. Blocks without a frame are
//!   refused: they state neither a length nor a checksum, and no writer of modules emits any.
//!
//! Frames to be skipped are skipped in both, and every checksum that is there is checked. Which
//! sections may be compressed, [`SectionKind::is_compressible`] says.
//!
//! Promises: a section that decompresses to more or less than its `virtual_size` is an error. A claim
//! that the compressed bytes cannot keep, whatever they decompress to, is refused before any memory is
//! asked for. LZ4 takes no memory besides the output; Zstandard takes a window, which is the output rounded up
//! to a power of two at the most, never above 128 MiB, and tables of less than 2 MiB. How much a section may
//! claim for its length in the file, [`Limits`](crate::format::read::limits::Limits) says, and opening the file checks.
//! [`Smf::verify_compressed`] looks at the output as it comes, and holds a window or a block of it.

mod frame;
#[cfg(feature = "compress")]
mod frames;
#[cfg(feature = "compress")]
mod lz4;
#[cfg(feature = "compress")]
mod output;
#[cfg(feature = "alloc")]
mod words;
#[cfg(feature = "compress")]
mod xxhash;
#[cfg(feature = "compress")]
mod zstd;

#[cfg(doc)]
use crate::format::error::NoteError;
use crate::format::error::{CompressionError, CompressionErrorKind, FormatError};
#[cfg(feature = "alloc")]
use alloc::{borrow::Cow, vec::Vec};

#[cfg(feature = "alloc")]
use crate::alloc_util::try_push;
#[cfg(feature = "alloc")]
use crate::format::ext::prelink::Prelink;
use crate::format::model::Compression;
#[cfg(feature = "alloc")]
use crate::format::model::SectionKind;
use crate::format::read::decompress::frame::Failure;
#[cfg(feature = "alloc")]
use crate::format::read::decompress::words::Words;
#[cfg(feature = "alloc")]
use crate::format::read::note::Note;
#[cfg(feature = "alloc")]
use crate::format::read::reloc::RelocTable;
use crate::format::read::section::Section;
use crate::format::read::smf::Smf;
#[cfg(feature = "alloc")]
use crate::format::read::template::Templates;
#[cfg(feature = "alloc")]
use crate::format::read::template::meta::TemplateMeta;

/// The contents of a section: bytes of the file, or decompressed bytes.
#[cfg(feature = "alloc")]
pub type Contents<'d> = Cow<'d, [u8]>;

/// Stubs for builds without decoders.
#[cfg(not(feature = "compress"))]
mod frames {
    use crate::format::error::CompressionErrorKind;
    use crate::format::model::Compression;
    use crate::format::read::decompress::frame::Failure;

    pub(crate) fn check(compression: Compression, _: &[u8], _: u64) -> Result<(), Failure> {
        Err((CompressionErrorKind::NotBuilt { compression }, 0))
    }

    pub(crate) fn decompress(
        compression: Compression,
        _: &[u8],
        _: &mut [u8],
    ) -> Result<(), Failure> {
        Err((CompressionErrorKind::NotBuilt { compression }, 0))
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn observe(
        compression: Compression,
        _: &[u8],
        _: u64,
        _: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Failure> {
        Err((CompressionErrorKind::NotBuilt { compression }, 0))
    }
}

/// Decompresses `data`, frames of `compression`, to `out`, which they are to fill exactly.
///
/// # Errors
/// The reason. The contents of `out` are then unspecified.
pub fn decompress(
    compression: Compression,
    data: &[u8],
    out: &mut [u8],
) -> Result<(), CompressionErrorKind> {
    frames::decompress(compression, data, out).map_err(|(fault, _)| fault)
}

impl<'d> Smf<'d> {
    /// Checks, without decompressing it, that a compressed section can be what it claims: whole frames
    /// of the header's algorithm that can hold its `virtual_size`, and ask for no more memory than it
    /// explains. Time is linear in the number of blocks. A section that is not compressed is sound.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`].
    pub fn check_compressed(&self, section: &Section<'_>) -> Result<(), FormatError> {
        if !section.is_compressed() {
            return Ok(());
        }
        let compression = self.header().compression;
        frames::check(compression, section.data, section.virtual_size)
            .map_err(|failure| failed(section, failure))
    }

    /// Writes what a compressed section holds to `out`, which is to be its `virtual_size` long.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`], also when what comes out does not fill `out` exactly. `out` then
    /// holds anything.
    pub fn decompress_into(
        &self,
        section: &Section<'_>,
        out: &mut [u8],
    ) -> Result<(), FormatError> {
        frames::decompress(self.header().compression, section.data, out)
            .map_err(|failure| failed(section, failure))
    }

    /// What a section holds: its bytes in the file, or, when it is compressed, what they decompress to.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`].
    #[cfg(feature = "alloc")]
    pub fn contents(&self, section: &Section<'d>) -> Result<Contents<'d>, FormatError> {
        if !section.is_compressed() {
            return Ok(Cow::Borrowed(section.data));
        }
        self.check_compressed(section)?;
        let size = section.virtual_size;
        let none = || failed(section, (CompressionErrorKind::OutOfMemory { size }, 0));
        let len = usize::try_from(size).map_err(|_| none())?;
        let mut out = Vec::new();
        out.try_reserve_exact(len).map_err(|_| none())?;
        out.resize(len, 0);
        self.decompress_into(section, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// The text of note.sdn, decompressed when it is compressed, and where the section begins in the
    /// file; `None` when there is none. Offsets in errors about a compressed note count as if it were
    /// not.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`], [`NoteError::Unterminated`].
    #[cfg(feature = "alloc")]
    pub fn note_contents(&self) -> Result<Option<(Contents<'d>, u64)>, FormatError> {
        match self.note_section().filter(Section::is_compressed) {
            Some(section) => Ok(Some((self.contents(&section)?, section.offset))),
            None => Ok(self.note_bytes()?.map(|(bytes, at)| (Cow::Borrowed(bytes), at))),
        }
    }

    /// Checks what [`Smf::verify`] leaves out because it does not decompress: that every compressed
    /// section decompresses to its `virtual_size`, and what there is to check about notes, templates
    /// and prelinked relocations in them. Notes and templates are decompressed one at a time; of every other section
    /// only the decoder's window is in memory.
    ///
    /// # Errors
    /// The first thing that is wrong. Offsets inside a section count as if it were not compressed.
    #[cfg(feature = "alloc")]
    pub fn verify_compressed(&self) -> Result<(), FormatError> {
        let plan = Prelink::of(self)?;
        let prelinked = self.prelinked_in_compressed(plan.as_ref())?;
        for section in self.sections().iter().filter(Section::is_compressed) {
            let of = |table: &RelocTable<'_>| table.target.index.cmp(&section.index);
            let first = prelinked.partition_point(|table| of(table).is_lt());
            let end = prelinked.partition_point(|table| of(table).is_le());
            let tables = prelinked.get(first..end).unwrap_or(&[]);
            let mut words = Words::of(tables)?;
            if is_parsed(&section) {
                let contents = self.contents(&section)?;
                check_contents(&section, &contents)?;
                words.observe(&contents);
            } else {
                self.check_compressed(&section)?;
                let compression = self.header().compression;
                frames::observe(compression, section.data, section.virtual_size, &mut |bytes| {
                    words.observe(bytes);
                })
                .map_err(|failure| failed(&section, failure))?;
            }
            for table in tables {
                if let Some(plan) = &plan {
                    plan.verify_table(self, table, &|offset| words.get(offset))?;
                }
            }
        }
        Ok(())
    }

    /// The prelinked relocation tables of compressed sections, sorted by target section.
    #[cfg(feature = "alloc")]
    fn prelinked_in_compressed(
        &self,
        plan: Option<&Prelink<'d>>,
    ) -> Result<Vec<RelocTable<'d>>, FormatError> {
        let mut prelinked = Vec::new();
        let Some(plan) = plan else { return Ok(prelinked) };
        for table in self.reloc_tables() {
            let table = table?;
            if plan.is_prelinked(table.section.index) && table.target.is_compressed() {
                try_push(&mut prelinked, table)?;
            }
        }
        prelinked.sort_unstable_by_key(|table| (table.target.index, table.section.index));
        Ok(prelinked)
    }
}

/// Whether [`check_contents`] has anything to look at, for which it needs all of the section.
#[cfg(feature = "alloc")]
fn is_parsed(section: &Section<'_>) -> bool {
    match section.kind {
        SectionKind::TemplateCode | SectionKind::TemplateMeta => true,
        SectionKind::Note => section.name == b"note.sdn",
        _ => false,
    }
}

#[cfg(feature = "alloc")]
fn check_contents(section: &Section<'_>, contents: &[u8]) -> Result<(), FormatError> {
    let at = section.offset;
    match section.kind {
        SectionKind::TemplateCode => Templates::parse(contents, at)?.check(),
        SectionKind::TemplateMeta => TemplateMeta::parse(contents, at).map(drop),
        SectionKind::Note if section.name == b"note.sdn" => Note::parse(contents, at)?.check(),
        _ => Ok(()),
    }
}

fn failed(section: &Section<'_>, (fault, into): Failure) -> FormatError {
    let at = section.offset.saturating_add(into as u64);
    FormatError::Compression(CompressionError::Decompress { index: section.index, kind: fault, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of each algorithm that holds three bytes as they are.
    #[test]
    fn a_section_is_read_with_the_decoders_and_refused_without() {
        let zstd = b"\x28\xb5\x2f\xfd\x20\x03\x19\0\0abc";
        let lz4 = b"\x04\x22\x4d\x18\x60\x40\x82\x03\0\0\x80abc\0\0\0\0";
        for (compression, data) in [(Compression::ZSTD, &zstd[..]), (Compression::LZ4, lz4)] {
            let mut out = [0; 3];
            let done = frames::decompress(compression, data, &mut out);
            assert_eq!(done, frames::check(compression, data, 3));
            if cfg!(feature = "compress") {
                assert_eq!((done, &out), (Ok(()), b"abc"));
            } else {
                assert_eq!(done, Err((CompressionErrorKind::NotBuilt { compression }, 0)));
            }
        }
    }
}
