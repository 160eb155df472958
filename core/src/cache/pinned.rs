//! What a cache gives: bytes that stay as long as they are held.

use core::fmt;
use core::ops::{Deref, Range};

use super::Handle;
use super::entry::Entry;
use super::pin::Pin;
use crate::format::bytes::offset_in;
use crate::format::{FormatError, SectionKind, Smf};
use crate::memory::FileStamp;

/// The bytes of a file, or of a module in an archive. They stay where and what they are until this is
/// dropped; to hold it keeps the file in the cache, or at least in memory when it is replaced.
pub struct Pinned<'c> {
    pub(super) file: Pin<'c, Entry>,
    /// The way that led to the file, if it was not its first path.
    pub(super) link: Option<Pin<'c, Entry>>,
    pub(super) range: Range<usize>,
    pub(super) handle: Handle,
    pub(super) file_handle: Handle,
}

impl Pinned<'_> {
    /// With this the same bytes are found again, faster than by path, as long as they are in the
    /// cache.
    #[inline]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// What the file was when it was read; for a module, what the archive was.
    pub fn stamp(&self) -> Option<FileStamp> {
        self.file.file().map(|file| file.stamp())
    }

    /// The module that the bytes are.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn smf(&self) -> Result<Smf<'_>, FormatError> {
        Smf::parse(self)
    }

    /// The bytes of note.sdn; `None` when the module has no note. Looked for once, as long as the
    /// module is in the cache.
    ///
    /// # Errors
    /// As [`Smf::parse`] and [`Smf::note_bytes`].
    pub fn read_note_sdn(&self) -> Result<Option<&[u8]>, FormatError> {
        let find = || Ok(self.smf()?.note_bytes()?.map(|(note, _)| self.range_of(note)));
        let range = match self.entry().parts() {
            Some(parts) => parts.note.get(find),
            None => find(),
        }?;
        Ok(range.and_then(|range| self.get(range)))
    }

    /// The bytes of the first template section, as they are in the file; `None` when the module has
    /// no templates. Looked for once, as long as the module is in the cache.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn read_template_bytes(&self) -> Result<Option<&[u8]>, FormatError> {
        let find = || {
            let section = self.smf()?.sections().of_kind(SectionKind::TemplateCode);
            Ok(section.map(|section| self.range_of(section.data)))
        };
        let range = match self.entry().parts() {
            Some(parts) => parts.templates.get(find),
            None => find(),
        }?;
        Ok(range.and_then(|range| self.get(range)))
    }

    /// The entry that is for these bytes alone.
    fn entry(&self) -> &Entry {
        self.link.as_ref().unwrap_or(&self.file)
    }

    /// Where `part` is in the bytes.
    fn range_of(&self, part: &[u8]) -> Range<usize> {
        // An offset in a slice fits.
        let start = usize::try_from(offset_in(self, part)).unwrap_or(0);
        start..start + part.len()
    }

    /// Takes back that finding it was a hit.
    pub(super) fn cancel_hit(self) {
        match self.link {
            Some(link) => link.cancel(),
            None => self.file.cancel(),
        }
    }
}

impl Deref for Pinned<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let bytes = self.file.file().map_or(&[][..], |file| &file.bytes);
        bytes.get(self.range.clone()).unwrap_or(&[])
    }
}

impl fmt::Debug for Pinned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pinned").field("handle", &self.handle).field("len", &self.len()).finish()
    }
}
