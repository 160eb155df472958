//! The dynamic section: required entries and the tables that they refer to.
//!
//! The system's loader uses an entry without checking that the entry with its size exists. If a tag repeats, the last
//! entry takes effect. In a sound object only the tag of needed libraries repeats.

use crate::format::error::{
    FormatError, Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::shared_object::image::{Image, Range, Segment, View, refuse};
use crate::format::wire::elf_tag::Tag;
use crate::format::wire::until_nul;

/// `DT_TEXTREL` as a bit of `DT_FLAGS`.
const DF_TEXTREL: u64 = 4;

/// The maximum total length of library names and search paths, in bytes. The loader copies them to the stack.
const MAX_STRINGS: u64 = 64 << 10;

/// The minimum length that a name counts for, in bytes, so that the number of short names is limited too.
const MIN_STRING: u64 = 16;

/// Groups of entries: either all entries of a group are present, or none is.
const GROUPS: [&[Tag]; 8] = [
    &[Tag::RELA, Tag::RELASZ, Tag::RELAENT],
    &[Tag::REL, Tag::RELSZ, Tag::RELENT],
    &[Tag::RELR, Tag::RELRSZ, Tag::RELRENT],
    &[Tag::JMPREL, Tag::PLTRELSZ, Tag::PLTREL],
    &[Tag::INIT_ARRAY, Tag::INIT_ARRAYSZ],
    &[Tag::FINI_ARRAY, Tag::FINI_ARRAYSZ],
    &[Tag::PREINIT_ARRAY, Tag::PREINIT_ARRAYSZ],
    &[Tag::STRTAB, Tag::STRSZ, Tag::SYMTAB],
];

/// Entries whose value is an offset into the string table.
const STRINGS: [Tag; 9] = [
    Tag::NEEDED,
    Tag::SONAME,
    Tag::RPATH,
    Tag::RUNPATH,
    Tag::AUXILIARY,
    Tag::FILTER,
    Tag::CONFIG,
    Tag::DEPAUDIT,
    Tag::AUDIT,
];

/// An entry of the dynamic section.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) tag: Tag,
    pub(crate) value: u64,
    /// The offset of the entry in the file.
    pub(crate) at: u64,
}

impl Entry {
    /// An error about what the entry refers to.
    pub(crate) fn refuse(&self, kind: Kind) -> FormatError {
        refuse(Part::Entry(self.tag), kind, self.at)
    }
}

/// The dynamic section without its terminator, and the string table.
#[derive(Clone, Copy)]
pub(crate) struct Dynamic<'d> {
    pub(crate) image: Image<'d>,
    entries: View<'d>,
    strings: &'d [u8],
    /// The addresses of the section.
    pub(crate) range: Range,
}

impl<'d> Dynamic<'d> {
    /// Reads the dynamic section in `segment`.
    ///
    /// # Errors
    /// A section without a terminator, a missing required entry, a string outside the string table.
    pub(crate) fn read(image: Image<'d>, segment: &Segment) -> Result<Self> {
        let fault = |kind| refuse(Part::Dynamic, kind, segment.at);
        let word = image.file.encoding.word_size();
        let Segment { address: start, memory_size: size, .. } = *segment;
        let range = Range { start, size };
        ensure(start.is_multiple_of(word), fault(Kind::Misaligned { address: start }))?;
        // The loader may add the load address to its entries.
        ensure(image.is_writable(range), fault(Kind::NotWritable))?;
        let entries = image.bytes(start, size).ok_or(fault(Kind::NotLoaded))?;
        let mut dynamic = Self { image, entries, strings: &[], range };
        let end = entries.entries(2 * word).position(|entry| entry.word(0) == Some(0));
        let end = end.ok_or(fault(Kind::Unterminated))?;
        dynamic.entries = entries.part(0, end as u64 * 2 * word).unwrap_or(entries);
        dynamic.check_once()?;
        dynamic.check_groups()?;
        dynamic.check_flags()?;
        dynamic.strings = dynamic.string_table()?;
        dynamic.check_strings()?;
        Ok(dynamic)
    }

    /// The size of an address in bytes.
    pub(crate) fn word_size(&self) -> u64 {
        self.image.file.encoding.word_size()
    }

    fn all(&self) -> impl Iterator<Item = Entry> + use<'d> {
        let size = 2 * self.word_size();
        self.entries.entries(size).filter_map(|entry| {
            // A tag that exceeds 32 bits is unknown and is mapped to an unknown tag.
            let tag = u32::try_from(entry.nth_word(0)?).unwrap_or(u32::MAX - 1);
            Some(Entry { tag: Tag(tag), value: entry.nth_word(1)?, at: entry.at })
        })
    }

    /// The entry with `tag`; the last one if the tag repeats.
    pub(crate) fn get(&self, tag: Tag) -> Option<Entry> {
        self.all().filter(|entry| entry.tag == tag).last()
    }

    /// The entry with `tag`, which is required.
    ///
    /// # Errors
    /// The entry is missing.
    pub(crate) fn require(&self, tag: Tag) -> Result<Entry> {
        let missing = refuse(Part::Dynamic, Kind::Missing { tag }, self.entries.at);
        self.get(tag).ok_or(missing)
    }

    /// The bytes of a table, which must be in the file.
    ///
    /// # Errors
    /// No readable segment loads them, or their address is not a multiple of `alignment`.
    pub(crate) fn table(&self, entry: &Entry, size: u64, alignment: u64) -> Result<View<'d>> {
        self.check_alignment(entry, alignment)?;
        let bytes =
            if size == 0 { self.entries.part(0, 0) } else { self.image.bytes(entry.value, size) };
        bytes.ok_or(entry.refuse(Kind::NotLoaded))
    }

    /// The bytes from the start of a table to the end of the bytes that its segment loads.
    ///
    /// # Errors
    /// As [`table`](Self::table).
    pub(crate) fn table_from(&self, entry: &Entry, alignment: u64) -> Result<View<'d>> {
        self.check_alignment(entry, alignment)?;
        self.image.bytes_from(entry.value).ok_or(entry.refuse(Kind::NotLoaded))
    }

    fn check_alignment(&self, entry: &Entry, alignment: u64) -> Result<()> {
        let address = entry.value;
        ensure(address.is_multiple_of(alignment), entry.refuse(Kind::Misaligned { address }))
    }

    /// Refuses a second entry with a tag that must occur once; it would hide the first one.
    fn check_once(&self) -> Result<()> {
        for &tag in Tag::ONCE {
            if let Some(second) = self.all().filter(|entry| entry.tag == tag).nth(1) {
                return Err(second.refuse(Kind::SecondEntry));
            }
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<()> {
        for group in GROUPS {
            if group.iter().any(|&tag| self.get(tag).is_some()) {
                group.iter().try_for_each(|&tag| self.require(tag).map(drop))?;
            }
        }
        let is_versioned = [Tag::VERNEED, Tag::VERDEF].iter().any(|&tag| self.get(tag).is_some());
        if is_versioned {
            self.require(Tag::VERSYM)?;
        }
        self.require(Tag::SYMTAB).map(drop)
    }

    fn check_flags(&self) -> Result<()> {
        let flags = self.get(Tag::FLAGS).filter(|flags| flags.value & DF_TEXTREL != 0);
        let stated = self.get(Tag::TEXTREL).or(flags);
        stated.map_or(Ok(()), |entry| Err(entry.refuse(Kind::TextRelocations)))
    }

    fn string_table(&self) -> Result<&'d [u8]> {
        let entry = self.require(Tag::STRTAB)?;
        let size = self.require(Tag::STRSZ)?.value;
        let strings = self.table(&entry, size, 1)?.bytes;
        ensure(strings.last() == Some(&0), entry.refuse(Kind::Unterminated))?;
        Ok(strings)
    }

    fn check_strings(&self) -> Result<()> {
        let mut rest = MAX_STRINGS;
        for entry in self.all().filter(|entry| STRINGS.contains(&entry.tag)) {
            let offset = entry.value;
            let string = self.string_within(offset, rest);
            let string = string.ok_or(entry.refuse(Kind::String { offset }))?;
            let left = rest.checked_sub(string.len() as u64 + MIN_STRING);
            rest = left.ok_or(entry.refuse(Kind::StringsTooLong { limit: MAX_STRINGS }))?;
        }
        Ok(())
    }

    /// Whether `offset` lies in the string table. The table ends with a NUL, so every string in it is terminated.
    pub(crate) fn has_string(&self, offset: u64) -> bool {
        offset < self.strings.len() as u64
    }

    /// The string at `offset`, cut to at most `most` bytes.
    fn string_within(&self, offset: u64, most: u64) -> Option<&'d [u8]> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.strings.get(start..).filter(|bytes| !bytes.is_empty())?;
        let most = usize::try_from(most).ok()?.min(bytes.len());
        bytes.get(..most).map(until_nul)
    }

    /// Whether the string at `offset` is the name of a needed library.
    pub(crate) fn is_needed(&self, offset: u64) -> bool {
        let Some(name) = self.string_within(offset, MAX_STRINGS) else { return false };
        let mut needed = self.all().filter(|entry| entry.tag == Tag::NEEDED);
        needed.any(|entry| {
            entry.value == offset || self.string_within(entry.value, MAX_STRINGS) == Some(name)
        })
    }

    /// The number of needed libraries.
    pub(crate) fn needed_count(&self) -> u64 {
        self.all().filter(|entry| entry.tag == Tag::NEEDED).count() as u64
    }

    /// The addresses of the string table.
    pub(crate) fn string_range(&self) -> Range {
        let start = self.get(Tag::STRTAB).map_or(0, |entry| entry.value);
        Range { start, size: self.strings.len() as u64 }
    }
}
