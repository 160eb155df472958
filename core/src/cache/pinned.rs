//! What a cache gives: bytes that stay as long as they are held.
#![allow(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::NonNull;

use super::Handle;
use super::entry::Entry;
use super::pin::{Cancel, Pin};
use super::seat::SeatPin;
use crate::format::bytes::offset_in;
use crate::format::{FormatError, SectionKind, Smf};
use crate::memory::FileStamp;

/// What has been found, by pins of one kind or another.
pub(super) struct Held<P> {
    pub(super) file: P,
    /// The way that led to the file, if it was not its first path.
    pub(super) link: Option<P>,
    pub(super) range: Range<usize>,
    pub(super) handle: Handle,
    pub(super) file_handle: Handle,
}

impl<P: Deref<Target = Entry>> Held<P> {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        let bytes = self.file.file().map_or(&[][..], |file| &file.bytes);
        bytes.get(self.range.clone()).unwrap_or(&[])
    }

    pub(super) fn stamp(&self) -> Option<FileStamp> {
        self.file.file()?.stamp()
    }

    /// The entry that is for these bytes alone.
    fn entry(&self) -> &Entry {
        self.link.as_ref().unwrap_or(&self.file)
    }
}

impl<P: Cancel> Cancel for Held<P> {
    fn cancel(self) {
        match self.link {
            Some(link) => link.cancel(),
            None => self.file.cancel(),
        }
    }
}

/// The note in the bytes of an entry.
fn note<'b>(bytes: &'b [u8], entry: &Entry) -> Result<Option<&'b [u8]>, FormatError> {
    let find = || Ok(Smf::parse(bytes)?.note_bytes()?.map(|(note, _)| range_in(bytes, note)));
    let range = match entry.parts() {
        Some(parts) => parts.note.get(find),
        None => find(),
    }?;
    Ok(range.and_then(|range| bytes.get(range)))
}

/// The first template section in the bytes of an entry.
fn templates<'b>(bytes: &'b [u8], entry: &Entry) -> Result<Option<&'b [u8]>, FormatError> {
    let find = || {
        let section = Smf::parse(bytes)?.sections().of_kind(SectionKind::TemplateCode);
        Ok(section.map(|section| range_in(bytes, section.data)))
    };
    let range = match entry.parts() {
        Some(parts) => parts.templates.get(find),
        None => find(),
    }?;
    Ok(range.and_then(|range| bytes.get(range)))
}

/// Where `part` is in the bytes.
fn range_in(bytes: &[u8], part: &[u8]) -> Range<usize> {
    // An offset in a slice fits.
    let start = usize::try_from(offset_in(bytes, part)).unwrap_or(0);
    start..start + part.len()
}

/// The bytes of a file, or of a module in an archive. They stay where and what they are until this is
/// dropped; to hold it keeps the file in the cache, or at least in memory when it is replaced.
pub struct Pinned<'c>(pub(super) Held<Pin<'c, Entry>>);

/// As [`Pinned`], from a [`Reader`](super::Reader), in whose thread it stays.
pub struct View<'r> {
    held: Held<SeatPin<'r>>,
    /// Those of what is held: where they are is worked out once.
    bytes: NonNull<[u8]>,
}

impl<'r> View<'r> {
    #[inline(always)]
    pub(super) fn new(held: Held<SeatPin<'r>>) -> Self {
        let bytes = NonNull::from(held.bytes());
        Self { held, bytes }
    }

    #[inline(always)]
    fn held(&self) -> &Held<SeatPin<'r>> {
        &self.held
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        // SAFETY: bytes of an entry that is held, which stay where and what they are.
        unsafe { self.bytes.as_ref() }
    }
}

impl<'c> Pinned<'c> {
    fn held(&self) -> &Held<Pin<'c, Entry>> {
        &self.0
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// What can be done with either.
macro_rules! impl_view {
    ($name:ident) => {
        impl $name<'_> {
            /// With this the same bytes are found again, faster than by path, as long as they are in
            /// the cache.
            #[inline]
            pub fn handle(&self) -> Handle {
                self.held().handle
            }

            /// What the file was when it was read; for a module, what the archive was. `None` for
            /// bytes that came from no file.
            pub fn stamp(&self) -> Option<FileStamp> {
                self.held().stamp()
            }

            /// The module that the bytes are.
            ///
            /// # Errors
            /// As [`Smf::parse`].
            pub fn smf(&self) -> Result<Smf<'_>, FormatError> {
                Smf::parse(self)
            }

            /// The bytes of note.sdn; `None` when the module has no note. Looked for once, as long as
            /// the module is in the cache.
            ///
            /// # Errors
            /// As [`Smf::parse`] and [`Smf::note_bytes`].
            pub fn read_note_sdn(&self) -> Result<Option<&[u8]>, FormatError> {
                note(self, self.held().entry())
            }

            /// The bytes of the first template section, as they are in the file; `None` when the
            /// module has no templates. Looked for once, as long as the module is in the cache.
            ///
            /// # Errors
            /// As [`Smf::parse`].
            pub fn read_template_bytes(&self) -> Result<Option<&[u8]>, FormatError> {
                templates(self, self.held().entry())
            }
        }

        impl Deref for $name<'_> {
            type Target = [u8];

            #[inline(always)]
            fn deref(&self) -> &[u8] {
                self.bytes()
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut view = f.debug_struct(stringify!($name));
                view.field("handle", &self.handle()).field("len", &self.len()).finish()
            }
        }
    };
}

impl_view!(Pinned);
impl_view!(View);

impl<'r> From<Pinned<'r>> for View<'r> {
    fn from(Pinned(held): Pinned<'r>) -> Self {
        Self::new(Held {
            file: held.file.into(),
            link: held.link.map(SeatPin::from),
            range: held.range,
            handle: held.handle,
            file_handle: held.file_handle,
        })
    }
}
