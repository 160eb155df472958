//! The segments of an image and the sections of a module.

use ::object::elf;
use smf_core::format::write::{NewSection, Payload};
use smf_core::format::{SectionFlags, SectionKind};

use super::init_sections::{Fragment, InitSection};
use super::object::{Section, is_called};

/// The section of an object made of a module that holds the slots of indirect functions.
pub(super) const IFUNC_SLOTS: &[u8] = b".smf.igot";

/// Input sections of one use, in image order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Segment {
    Text,
    /// The function of `.init` sections.
    Init,
    /// The function of `.fini` sections.
    Fini,
    RoData,
    /// Unwinding tables.
    EhFrame,
    /// Constants in which the loader writes addresses.
    RelRo,
    /// Addresses of constructors.
    InitArray,
    /// Addresses of destructors.
    FiniArray,
    /// The global offset table.
    Got,
    /// The initial contents of thread-local storage.
    Tls,
    /// The slots of indirect functions.
    Igot,
    Data,
    Bss,
}

impl Segment {
    pub(super) fn of(section: &Section<'_>) -> Segment {
        match InitSection::of(section) {
            Some(InitSection::Array(part)) if part.is_fini => return Segment::FiniArray,
            Some(InitSection::Array(_)) => return Segment::InitArray,
            Some(InitSection::Fragment(fragment)) => return fragment.segments().0,
            Some(InitSection::Preinit) | None => {}
        }
        if section.is_code() {
            Segment::Text
        } else if section.has(elf::SHF_TLS) {
            Segment::Tls
        } else if section.name == IFUNC_SLOTS {
            Segment::Igot
        } else if section.is_zeroes() {
            Segment::Bss
        } else if is_called(section.name, b".data.rel.ro") {
            Segment::RelRo
        } else if !section.has(elf::SHF_WRITE) {
            Segment::RoData
        } else {
            Segment::Data
        }
    }
}

impl Fragment {
    /// The segment of the instructions, and that of the array whose first entry is the function.
    pub(super) fn segments(self) -> (Segment, Segment) {
        match self {
            Fragment::Init => (Segment::Init, Segment::InitArray),
            Fragment::Fini => (Segment::Fini, Segment::FiniArray),
        }
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

impl OutputSection {
    /// The section in the file, with `payload`, its contents or their compressed form.
    pub(super) fn new_section<'a>(
        &self,
        payload: Payload<'a>,
        is_compressed: bool,
    ) -> NewSection<'a> {
        let access = match self.kind {
            SectionKind::Code => SectionFlags::READ | SectionFlags::EXECUTE,
            SectionKind::RoData | SectionKind::Debug => SectionFlags::READ,
            _ => SectionFlags::READ | SectionFlags::WRITE,
        };
        let mark = if is_compressed { SectionFlags::COMPRESSED } else { 0 };
        NewSection {
            kind: self.kind,
            name: self.name,
            flags: SectionFlags(access | mark),
            alignment: self.alignment,
            virtual_size: Some(self.size),
            payload,
        }
    }
}
