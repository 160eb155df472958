//! Contents of compressed sections in allocated memory, and their verification.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::alloc_util::{try_filled, try_push};
use crate::format::error::{CompressionErrorKind, Result};
use crate::format::ext::prelink::Prelink;
use crate::format::model::SectionKind;
use crate::format::read::decompress::frame::failed;
use crate::format::read::decompress::frames;
use crate::format::read::verify::check_contents;
use crate::format::read::{RelocTable, Section, Smf};

/// The contents of a section: bytes of the file, or decompressed bytes.
pub type Contents<'d> = Cow<'d, [u8]>;

impl<'d> Smf<'d> {
    /// The contents of a section: its bytes in the file, decompressed if the section is compressed.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`](crate::format::error::CompressionError::Decompress).
    pub fn contents(&self, section: &Section<'d>) -> Result<Contents<'d>> {
        if !section.is_compressed() {
            return Ok(Cow::Borrowed(section.data));
        }
        self.check_compressed(section)?;
        let size = section.virtual_size;
        let none = || failed(section, (CompressionErrorKind::OutOfMemory { size }, 0));
        let len = usize::try_from(size).map_err(|_| none())?;
        let mut out = try_filled(len, &0).map_err(|_| none())?;
        self.decompress_into(section, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// The text of note.sdn, decompressed if it is compressed, and the offset of the section in the file. Returns
    /// `None` without a note. Error offsets in a compressed note count as if the note were not compressed.
    ///
    /// # Errors
    /// [`CompressionError::Decompress`](crate::format::error::CompressionError::Decompress), [`NoteError::Unterminated`](crate::format::error::NoteError::Unterminated).
    pub fn note_contents(&self) -> Result<Option<(Contents<'d>, u64)>> {
        match self.note_section().filter(Section::is_compressed) {
            Some(section) => Ok(Some((self.contents(&section)?, section.offset))),
            None => Ok(self.note_bytes()?.map(|(bytes, at)| (Cow::Borrowed(bytes), at))),
        }
    }

    /// Checks what [`Smf::verify`] omits because it does not decompress: every compressed section decompresses to its
    /// `virtual_size`, and compressed notes, templates, prelinked and relative relocations are valid. Sections with any of them are
    /// decompressed one at a time; of every other section only the decoder's window is in memory.
    ///
    /// # Errors
    /// The first error. Offsets inside a section count as if the section were not compressed.
    pub fn verify_compressed(&self) -> Result<()> {
        let plan = Prelink::of(self)?;
        let resolved = self.resolved_in_compressed(plan.as_ref())?;
        for section in self.sections().iter().filter(Section::is_compressed) {
            let is_target = |table: &&RelocTable<'_>| table.target.index == section.index;
            let mut tables = resolved.iter().filter(is_target).peekable();
            if !is_parsed(&section) && tables.peek().is_none() {
                self.check_compressed(&section)?;
                let compression = self.header().compression;
                frames::verify(compression, section.data, section.virtual_size)
                    .map_err(|failure| failed(&section, failure))?;
                continue;
            }
            let contents = self.contents(&section)?;
            check_contents(&section, &contents)?;
            if let Some(plan) = &plan {
                tables.try_for_each(|table| plan.verify_table(self, table, &contents))?;
            }
        }
        Ok(())
    }

    /// The relocation tables of compressed sections that hold the values of the relocations.
    fn resolved_in_compressed(&self, plan: Option<&Prelink<'d>>) -> Result<Vec<RelocTable<'d>>> {
        let mut resolved = Vec::new();
        let Some(plan) = plan else { return Ok(resolved) };
        for table in self.reloc_tables() {
            let table = table?;
            if plan.is_resolved(table.section.index) && table.target.is_compressed() {
                try_push(&mut resolved, table)?;
            }
        }
        Ok(resolved)
    }
}

/// Whether [`check_contents`] checks this section, which requires the whole section in memory.
fn is_parsed(section: &Section<'_>) -> bool {
    match section.kind {
        SectionKind::TemplateCode | SectionKind::TemplateMeta => true,
        SectionKind::Note => section.name == b"note.sdn",
        _ => false,
    }
}
