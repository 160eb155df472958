//! Section entries: four wire forms, one view.

use crate::format::error::{FormatError, SectionError};
use crate::format::model::{SectionFlags, SectionKind};
use crate::format::wire::{
    COMPACT_SECTION, ELF_MAGIC, Layout, MAX_ALIGNMENT, NATIVE_SECTION, SECTION_NAME, array,
    is_printable, note_name, offset_in, padded_name, slice, u8_at, u32_at, u64_at,
};

/// A section: its decoded entry and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Section<'d> {
    /// The index of the section in the table.
    pub index: u32,
    /// The kind of its contents.
    pub kind: SectionKind,
    /// The permissions and the compression flag.
    pub flags: SectionFlags,
    /// The offset of its bytes in the file.
    pub offset: u64,
    /// The size in the file as stated by the table, in bytes.
    pub size: u64,
    /// The size in memory as stated by the table, in bytes.
    pub virtual_size: u64,
    /// The alignment in memory: a power of two, 1 byte to 2 MiB.
    pub alignment: u64,
    /// The name, without the padding.
    pub name: &'d [u8],
    /// The bytes in the file, compressed or not; empty for Bss.
    pub data: &'d [u8],
    /// The offset of the section entry in the file.
    pub entry_offset: u64,
}

impl Section<'_> {
    /// The size in memory, in bytes. Bss may state it in either field, or (one writer) in none.
    pub fn memory_size(&self) -> u64 {
        let lost = if self.kind == SectionKind::Bss { self.size } else { 0 };
        self.virtual_size.max(lost)
    }

    /// The number of bytes that come from the file, after decompression.
    pub(crate) fn contents_size(&self) -> u64 {
        if self.is_compressed() { self.virtual_size } else { self.data.len() as u64 }
    }

    /// Whether the bytes must be decompressed before use, as [`Smf::contents`] does. Bss has no bytes.
    ///
    /// [`Smf::contents`]: crate::format::Smf::contents
    pub fn is_compressed(&self) -> bool {
        self.flags.has(SectionFlags::COMPRESSED) && self.kind != SectionKind::Bss
    }

    /// Whether the section is code that consists of a relocatable ELF object, which [`Smf::object`] returns.
    ///
    /// [`Smf::object`]: crate::format::Smf::object
    pub fn holds_object(&self) -> bool {
        self.kind == SectionKind::Code && self.data.starts_with(&ELF_MAGIC) && !self.is_compressed()
    }

    /// Whether the section is a Bss section without a size. The symbols in it determine its size.
    pub fn has_lost_size(&self) -> bool {
        self.kind == SectionKind::Bss && self.memory_size() == 0
    }
}

/// The offset of the name in an entry of the native or packed layout.
const WIDE_NAME: usize = 40;
/// The offset of an [early name](Entry::early_name).
const EARLY_NAME: usize = 36;

/// Whether an entry may have this name, judged by its bytes alone. False only if it has another name.
pub(crate) fn may_be_named(entry: &[u8], layout: Layout, name: &[u8]) -> bool {
    let is_at = |at: usize| entry.get(at..).is_some_and(|field| field.starts_with(name));
    if layout.is_compact() { is_at(0) } else { is_at(WIDE_NAME) || is_at(EARLY_NAME) }
}

/// A decoded section entry, not yet checked against the file. Derived values are computed on demand.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'d> {
    /// The kind according to the type byte.
    numbered: SectionKind,
    pub(crate) flags: u32,
    offset: u64,
    size: u64,
    virtual_size: u64,
    /// The alignment. With an early name, only the low 32 bits are the alignment.
    alignment: u64,
    /// The name, unless there is an early name.
    name: &'d [u8; SECTION_NAME],
    /// A name at offset 36. One packed writer stores the alignment as `u32`, followed by the name. Other writers have
    /// the high half of the alignment there, which is zero because alignments never exceed 2 MiB.
    early_name: Option<&'d [u8; SECTION_NAME]>,
}

impl<'d> Entry<'d> {
    /// Decodes an entry of the native or packed layout. All fields of both are within the first 56 bytes.
    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    fn decode_wide(bytes: &'d [u8; NATIVE_SECTION], layout: Layout) -> Option<Self> {
        Some(Entry {
            numbered: layout.section_kind(u8_at(bytes, 0)?),
            flags: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            size: u64_at(bytes, 16)?,
            virtual_size: u64_at(bytes, 24)?,
            alignment: u64_at(bytes, 32)?,
            name: array(bytes, WIDE_NAME)?,
            early_name: if layout == Layout::Packed { array(bytes, EARLY_NAME) } else { None },
        })
    }

    /// The early name, if it is valid.
    fn early_name(&self) -> Option<&'d [u8; SECTION_NAME]> {
        self.early_name.filter(|name| name.first().is_some_and(u8::is_ascii_graphic))
    }

    pub(crate) fn name(&self) -> &'d [u8; SECTION_NAME] {
        self.early_name().unwrap_or(self.name)
    }

    /// The alignment; 1 if none is stated.
    fn alignment(&self) -> u64 {
        let stated = match self.early_name() {
            Some(_) => self.alignment & 0xffff_ffff,
            None => self.alignment,
        };
        stated.max(1)
    }

    /// The section kind. The name takes precedence over the type: one writer gives note.sdn the type of template
    /// metadata, and the native layout has no number for notes such as the symbol index and cached code.
    #[inline]
    pub(crate) fn kind(&self) -> SectionKind {
        let is_note = self.name().starts_with(b"note.sdn\0") || self.is_own_note();
        if is_note { SectionKind::Note } else { self.numbered }
    }

    fn is_own_note(&self) -> bool {
        self.numbered == SectionKind::Debug && note_name::is_own_note(padded_name(self.name()))
    }

    /// The section kind, if the type is one that other parts of the file refer to.
    pub(crate) fn referred_kind(&self) -> Option<SectionKind> {
        let referred =
            matches!(self.numbered, SectionKind::Code | SectionKind::Data | SectionKind::StrTab);
        if referred { Some(self.kind()) } else { None }
    }

    /// Whether the section has no bytes in the file.
    fn is_bss(&self) -> bool {
        self.numbered == SectionKind::Bss && self.kind() == SectionKind::Bss
    }

    /// Decodes a compact entry: a name, an offset, a size.
    fn decode_compact(bytes: &'d [u8; COMPACT_SECTION]) -> Option<Self> {
        let name = array(bytes, 0)?;
        let kind = SectionKind::from_name(padded_name(name));
        let size = u64_at(bytes, 24)?;
        let flags = match kind {
            SectionKind::Code => SectionFlags::READ | SectionFlags::EXECUTE,
            SectionKind::Data | SectionKind::Bss => SectionFlags::READ | SectionFlags::WRITE,
            _ => SectionFlags::READ,
        };
        Some(Entry {
            numbered: kind,
            flags,
            offset: u64_at(bytes, SECTION_NAME)?,
            size,
            virtual_size: size,
            alignment: 16,
            name,
            early_name: None,
        })
    }

    /// Decodes the entry at the start of `bytes`; `None` if `bytes` is too short.
    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    pub(crate) fn decode(bytes: &'d [u8], layout: Layout) -> Option<Self> {
        match layout {
            layout if layout.is_compact() => Self::decode_compact(bytes.first_chunk()?),
            Layout::Native => Self::decode_wide(bytes.first_chunk()?, Layout::Native),
            _ => Self::decode_wide(bytes.first_chunk()?, Layout::Packed),
        }
    }

    /// Whether a writer could have written the entry, judged by the entry alone.
    pub(crate) fn is_plausible(&self) -> bool {
        self.numbered != SectionKind::Unknown(0)
            && self.flags <= 0xf
            && is_printable(padded_name(self.name()))
    }

    /// The size in memory, in bytes.
    pub(crate) fn memory_size(&self) -> u64 {
        let lost = if self.is_bss() { self.size } else { 0 };
        self.virtual_size.max(lost)
    }

    /// Whether the section fits in a file of `len` bytes whose offsets count from `base`: a valid alignment, at most as
    /// many bytes in the file as in memory, and all of them inside the file.
    #[inline]
    pub(crate) fn fits(&self, len: u64, base: u64) -> bool {
        let is_alignment =
            |bytes: u64| bytes & bytes.wrapping_sub(1) == 0 && bytes <= MAX_ALIGNMENT;
        // The field of an entry with an early name exceeds the limit, so the early name is checked only then.
        let aligned = is_alignment(self.alignment) || is_alignment(self.alignment());
        let end = base.checked_add(self.offset).and_then(|start| start.checked_add(self.size));
        let inside = end.is_some_and(|end| end <= len) && self.size <= self.virtual_size;
        aligned && (inside || self.is_bss())
    }

    /// The size in memory of a section that [fits](Entry::fits), is neither Bss nor compressed, and has no early name;
    /// `None` for any other section. Nearly all sections are of this form.
    #[inline]
    pub(crate) fn plain_size(&self, len: u64, base: u64) -> Option<u64> {
        let aligned =
            self.alignment & self.alignment.wrapping_sub(1) == 0 && self.alignment <= MAX_ALIGNMENT;
        let end = base.checked_add(self.offset)?.checked_add(self.size)?;
        let is_plain = self.numbered != SectionKind::Bss
            && self.flags & SectionFlags::COMPRESSED == 0
            && aligned
            && end <= len
            && self.size <= self.virtual_size;
        is_plain.then_some(self.virtual_size)
    }

    /// The reason why [`Entry::fits`] is false for entry `index` at offset `at`.
    pub(crate) fn describe_error(&self, len: u64, base: u64, index: u32, at: u64) -> FormatError {
        let Entry { offset, size, virtual_size, .. } = *self;
        let alignment = self.alignment();
        let end = base.checked_add(offset).and_then(|start| start.checked_add(size));
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            FormatError::Section(SectionError::Alignment { index, alignment, at })
        } else if end.is_none_or(|end| end > len) {
            FormatError::Section(SectionError::Outside { index, offset, size, at })
        } else {
            FormatError::Section(SectionError::Size { index, size, virtual_size, at })
        }
    }

    /// The entry as a section of `data`. A section that does not fit has no bytes.
    // Row `parse` of the benchmark: as `Sections::at`.
    #[inline(always)]
    pub(crate) fn place(
        self,
        data: &'d [u8],
        base: u64,
        index: u32,
        entry_offset: u64,
    ) -> Section<'d> {
        let Entry { flags, size, virtual_size, .. } = self;
        let kind = self.kind();
        let offset = base.wrapping_add(self.offset);
        let len = if kind == SectionKind::Bss { 0 } else { size };
        Section {
            index,
            kind,
            flags: SectionFlags(flags),
            offset,
            size,
            virtual_size,
            alignment: self.alignment(),
            name: padded_name(self.name()),
            data: slice(data, offset, len).unwrap_or(&[]),
            entry_offset,
        }
    }
}

/// The section table of a file. All entries have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'d> {
    /// The whole file.
    pub(crate) data: &'d [u8],
    pub(crate) table: &'d [u8],
    pub(crate) layout: Layout,
    /// The layout of the file's header; it differs from `layout` only for an ELF object.
    pub(crate) header_layout: Layout,
    /// For an ELF object: whether some of its symbols are common.
    pub(crate) has_commons: bool,
    /// For an ELF object: the section that holds its symbols; 0 for none.
    pub(crate) symtab: u32,
    pub(crate) base: u64,
}

impl<'d> Sections<'d> {
    /// The file offset and the decoded entry with number `index`. `layout` is that of the table.
    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    pub(crate) fn entry(&self, index: u32, layout: Layout) -> Option<(u64, Entry<'d>)> {
        let start = usize::try_from(index).ok()?.checked_mul(layout.section_stride())?;
        let entry = Entry::decode(self.table.get(start..)?, layout)?;
        Some((self.table_offset().wrapping_add(start as u64), entry))
    }

    /// The offset of the table in the file.
    pub(crate) fn table_offset(&self) -> u64 {
        offset_in(self.data, self.table)
    }

    /// The entries with their indices. `layout` is that of the table.
    // Row `parse` of the benchmark: compiled once for each layout.
    #[inline(always)]
    pub(crate) fn entries(&self, layout: Layout) -> impl Iterator<Item = (u32, Entry<'d>)> {
        let entries = (0u32..).zip(self.table.chunks_exact(layout.section_stride()));
        entries.map_while(move |(index, entry)| Some((index, Entry::decode(entry, layout)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::some;

    #[test]
    fn name_at_offset_36_narrows_the_alignment() {
        let mut bytes = [0u8; NATIVE_SECTION];
        bytes[0] = 1;
        bytes[32] = 16;
        bytes[36..40].copy_from_slice(b"code");
        let entry = Entry::decode(&bytes, Layout::Packed).unwrap();
        assert_eq!((padded_name(entry.name()), entry.alignment()), (&b"code"[..], 16));
        assert!(entry.fits(0, 0));
        // In the native layout the same bytes are an invalid alignment.
        assert!(!Entry::decode(&bytes, Layout::Native).unwrap().fits(0, 0));
    }

    #[test]
    fn section_fits_up_to_the_last_byte_of_the_file() {
        for (offset, size, len, base, fits) in [
            (60u64, 40u64, 100, 0, true),
            (60, 41, 100, 0, false),
            (60, 40, 103, 3, true),
            (60, 40, 102, 3, false),
            (100, 0, 100, 0, true),
            (101, 0, 100, 0, false),
        ] {
            let mut bytes = [0u8; NATIVE_SECTION];
            bytes[0] = 1;
            bytes[8..16].copy_from_slice(&offset.to_le_bytes());
            bytes[16..24].copy_from_slice(&size.to_le_bytes());
            bytes[24..32].copy_from_slice(&size.to_le_bytes());
            let entry = Entry::decode(&bytes, Layout::Native).unwrap();
            let found = (entry.fits(len, base), entry.plain_size(len, base));
            assert_eq!(found, (fits, fits.then_some(size)), "{offset} + {size} in {len}");
        }
    }

    #[test]
    fn plain_entry_agrees_with_the_complete_check() {
        let mut plain = [0; 2];
        for number in some(0..1 << 14, 200) {
            let pick = |at: u32, from: [u64; 4]| from[number >> (2 * at) & 3];
            let mut bytes = [0u8; NATIVE_SECTION];
            bytes[0] = pick(0, [1, 3, 4, 200]) as u8;
            bytes[4] = pick(1, [0, 8, 1, 9]) as u8;
            bytes[8..16].copy_from_slice(&pick(2, [0, 60, 100, u64::MAX]).to_le_bytes());
            bytes[16..24].copy_from_slice(&pick(3, [0, 40, 41, u64::MAX]).to_le_bytes());
            bytes[24..32].copy_from_slice(&pick(4, [0, 40, 41, 1 << 40]).to_le_bytes());
            bytes[32..36].copy_from_slice(&(pick(5, [0, 16, 12, 4 << 20]) as u32).to_le_bytes());
            bytes[36] = pick(6, [0, 0, 0x2e, 1]) as u8;
            bytes[40..45].copy_from_slice(b".name");
            for layout in [Layout::Native, Layout::Packed] {
                let entry = Entry::decode(&bytes, layout).unwrap();
                let is_compressed = entry.flags & SectionFlags::COMPRESSED != 0;
                let is_odd = entry.numbered == SectionKind::Bss
                    || is_compressed
                    || (layout == Layout::Packed && bytes[36] != 0);
                let expected = (entry.fits(100, 3) && !is_odd).then(|| entry.memory_size());
                let found = entry.plain_size(100, 3);
                assert_eq!(found, expected, "{layout:?} {bytes:?}");
                plain[usize::from(found.is_some())] += 1;
            }
        }
        let all = plain[0] + plain[1];
        assert!(plain.iter().all(|count| *count > all / 70), "{plain:?}");
    }

    #[test]
    fn every_kind_has_a_distinct_name() {
        use std::string::ToString;
        for value in 0..=255 {
            for layout in [Layout::Native, Layout::Packed] {
                assert!(!layout.section_kind(value).to_string().is_empty());
            }
        }
    }
}
