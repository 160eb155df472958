//! What a cache gives: bytes that stay as long as they are held.
#![allow(unsafe_code)]

use core::fmt;
use core::ops::{Deref, Range};
use core::ptr::NonNull;

use super::entry::Entry;
use super::pin::{Cancel, Pin};
use super::seat::SeatPin;
use super::unpack::Keeper;
use super::{CacheError, Handle};
use crate::format::{FormatError, Section, Smf};
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
    pub(super) fn bytes(&self) -> &[u8] {
        let bytes = self.file.file().map_or(&[][..], |file| &file.bytes);
        bytes.get(self.range.clone()).unwrap_or(&[])
    }

    pub(super) fn stamp(&self) -> Option<FileStamp> {
        self.file.file()?.stamp()
    }

    /// The entry that is for these bytes alone.
    pub(super) fn entry(&self) -> &Entry {
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

/// The bytes of a file, or of a module in an archive. They stay where and what they are until this is
/// dropped; to hold it keeps the file in the cache, or at least in memory when it is replaced.
pub struct Pinned<'c> {
    pub(super) held: Held<Pin<'c, Entry>>,
    /// What it is pinned in.
    pub(super) cache: &'c dyn Keeper,
}

/// As [`Pinned`], from a [`Reader`](super::Reader), in whose thread it stays.
pub struct View<'r> {
    held: Held<SeatPin<'r>>,
    /// Those of what is held: where they are is worked out once.
    bytes: NonNull<[u8]>,
    cache: &'r dyn Keeper,
}

impl<'r> View<'r> {
    #[inline(always)]
    pub(super) fn new(held: Held<SeatPin<'r>>, cache: &'r dyn Keeper) -> Self {
        let bytes = NonNull::from(held.bytes());
        Self { held, bytes, cache }
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
        &self.held
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.held.bytes()
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

            /// What a section of [`smf`](Self::smf) holds: its bytes in the file, or, when it is
            /// compressed, what they decompress to. That is done once, as long as the file is in the
            /// cache or held: all who ask get the same bytes, which count as bytes of the file and
            /// stay as long as this.
            ///
            /// # Errors
            /// [`CacheError::ForeignSection`] for a compressed section of something else;
            /// [`CacheError::Format`] as [`Smf::contents`], before any room is asked for if what is
            /// wrong shows without decompressing; [`CacheError::TooLarge`] when the file would not fit
            /// into the cache any more, [`CacheError::AllInUse`] when nothing else can go.
            pub fn section_bytes<'v>(
                &'v self,
                section: &Section<'v>,
            ) -> Result<&'v [u8], CacheError> {
                self.held().section(self.cache, section)
            }

            /// The bytes of note.sdn, decompressed when it is compressed; `None` when the module has
            /// no note. Looked for once, as long as the module is in the cache.
            ///
            /// # Errors
            /// As [`Smf::parse`], [`Smf::note_bytes`] and [`section_bytes`](Self::section_bytes).
            pub fn read_note_sdn(&self) -> Result<Option<&[u8]>, CacheError> {
                self.held().note(self.cache)
            }

            /// The bytes of the first template section, decompressed when it is compressed; `None`
            /// when the module has no templates. Looked for once, as long as the module is in the
            /// cache.
            ///
            /// # Errors
            /// As [`Smf::parse`] and [`section_bytes`](Self::section_bytes).
            pub fn read_template_bytes(&self) -> Result<Option<&[u8]>, CacheError> {
                self.held().templates(self.cache)
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

impl<'r> From<Held<Pin<'r, Entry>>> for Held<SeatPin<'r>> {
    fn from(held: Held<Pin<'r, Entry>>) -> Self {
        Self {
            file: held.file.into(),
            link: held.link.map(SeatPin::from),
            range: held.range,
            handle: held.handle,
            file_handle: held.file_handle,
        }
    }
}
