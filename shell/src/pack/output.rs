//! The segments of an image and the sections of a module.

use ::object::elf;
use smf_core::format::SectionKind;

use super::object::{Section, is_called};

/// Input sections of one use, in image order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Segment {
    Text,
    RoData,
    /// The global offset table.
    Got,
    Data,
    Bss,
}

impl Segment {
    pub(super) const ALL: [Segment; 5] =
        [Segment::Text, Segment::RoData, Segment::Got, Segment::Data, Segment::Bss];

    pub(super) fn of(section: &Section<'_>) -> Segment {
        if section.is_code() {
            Segment::Text
        } else if section.is_zeroes() {
            Segment::Bss
        } else if !section.has(elf::SHF_WRITE) || is_called(section.name, b".data.rel.ro") {
            Segment::RoData
        } else {
            Segment::Data
        }
    }

    /// Whether the program may write to it.
    pub(super) fn is_writable(self) -> bool {
        matches!(self, Segment::Data | Segment::Bss)
    }
}

/// A section of the module.
pub(super) struct OutputSection {
    pub(super) name: &'static [u8],
    pub(super) kind: SectionKind,
    pub(super) alignment: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    /// Bytes in memory.
    pub(super) size: u64,
    /// The offset in the image, if the layout has one.
    pub(super) image: Option<u64>,
}
