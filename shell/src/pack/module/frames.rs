//! The relocations of a module's unwinding tables, so that they are linked as those of an object.
//!
//! The packer resolves the distances in `.eh_frame` for the prelinked image and leaves no relocations, because only readers
//! of the image register the tables. Here each such distance becomes a relocation again: the field of a record holds it,
//! and the image says which section it leads to. Fields with relocations of their own are left to these.
//!
//! Source: Linux Standard Base, Core, 10.6 (exception frames).

use ::object::elf;
use hashbrown::HashSet;
use smf_core::format::ext::prelink::Prelink;
use smf_core::format::{Section, Smf};

use super::elf_writer::ElfReloc;
use crate::pack::eh_frame::{Malformed, Record, records};

/// `DW_EH_PE_omit`: no pointer.
const OMIT: u8 = 0xff;
/// The bits of an encoding that say what a value is relative to, and the one for its own address.
const RELATIVE: u8 = 0x70;
const PC_RELATIVE: u8 = 0x10;
/// Bytes of a record before its contents: the length, and the distance of the common record.
const HEAD: usize = 8;

/// The tables of a module.
pub(super) struct Frames<'s, 'd> {
    pub(super) smf: &'s Smf<'d>,
    pub(super) section: &'s Section<'d>,
    pub(super) machine: elf::Machine,
    /// The offsets with relocations.
    pub(super) relocated: HashSet<u64>,
    /// The symbol number of each section of the module that is linked.
    pub(super) symbol: &'s dyn Fn(u32) -> Option<u32>,
}

/// The encodings in a common record.
#[derive(Clone, Copy)]
struct Common {
    address: u8,
    handlers: u8,
    /// Function records have augmentation data.
    has_data: bool,
    /// The offset of the pointer to the personality routine in the record, and its encoding.
    personality: Option<(usize, u8)>,
}

impl Frames<'_, '_> {
    /// The relocations of the distances in `bytes`, the contents of the section. The fields become zero, so that equal
    /// common records of modules are equal again.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn relocs(&self, bytes: &mut [u8]) -> Result<Vec<ElfReloc>, Malformed> {
        let records = records(bytes, Vec::new())?;
        let commons: Vec<_> = records.iter().map(|record| common_of(bytes, record)).collect();
        let mut relocs = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let malformed = (record.start, "a record is malformed");
            let common = commons.get(record.common.unwrap_or(number)).copied().flatten();
            let common = common.ok_or((record.start, "a common record is malformed"))?;
            let start = usize::try_from(record.start).map_err(|_| malformed)?;
            for (offset, encoding) in fields(bytes, record, common).ok_or(malformed)? {
                let at = start.checked_add(offset).ok_or(malformed)?;
                let reloc = self.reloc(bytes, at, encoding);
                relocs.extend(reloc.map_err(|reason| (at as u64, reason))?);
            }
        }
        Ok(relocs)
    }

    /// The relocation of one field; `None` for a null pointer and for a field that has one.
    fn reloc(
        &self,
        bytes: &mut [u8],
        at: usize,
        encoding: u8,
    ) -> Result<Option<ElfReloc>, &'static str> {
        if self.relocated.contains(&(at as u64)) {
            return Ok(None);
        }
        let size = pointer_size(encoding).ok_or("a pointer has an unknown encoding")?;
        let end = at.saturating_add(size);
        let field = bytes.get_mut(at..end).ok_or("a record is too short")?;
        let distance = match &*field {
            [a, b, c, d] => i64::from(i32::from_le_bytes([*a, *b, *c, *d])),
            field => field.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes)),
        };
        if distance == 0 {
            return Ok(None);
        }
        if encoding & RELATIVE != PC_RELATIVE {
            return Err("a pointer has no relocation");
        }
        let (section, offset) = self.target(at as u64, distance)?;
        let symbol =
            (self.symbol)(section).ok_or("a pointer leads to a section of another kind")?;
        field.fill(0);
        let kind = match (self.machine, size) {
            (elf::EM_X86_64, 4) => elf::R_X86_64_PC32,
            (elf::EM_X86_64, _) => elf::R_X86_64_PC64,
            (_, 4) => elf::R_AARCH64_PREL32,
            _ => elf::R_AARCH64_PREL64,
        };
        let addend = i64::try_from(offset).map_err(|_| "a pointer leads outside the module")?;
        Ok(Some(ElfReloc { offset: at as u64, symbol, kind: kind.0, addend }))
    }

    /// The section that a distance leads to, and the offset in it.
    fn target(&self, at: u64, distance: i64) -> Result<(u32, u64), &'static str> {
        let outside = "a pointer leads outside the module";
        let image = Prelink::of(self.smf).ok().flatten();
        let image = image.ok_or("a distance has no relocation, and the module has no image")?;
        let own = image.section_offset(self.section.index).ok_or(outside)?;
        let place = own.checked_add(at).and_then(|place| place.checked_add_signed(distance));
        let place = place.ok_or(outside)?;
        let within = |section: &Section<'_>| {
            let offset = place.checked_sub(image.section_offset(section.index)?)?;
            // A function without bytes may be at the end.
            (offset <= section.memory_size()).then_some((section.index, offset))
        };
        // The last one starts nearest before the place.
        self.smf.sections().iter().filter_map(|section| within(&section)).last().ok_or(outside)
    }
}

/// The pointers of a record: their offsets in it, and their encodings.
fn fields(bytes: &[u8], record: &Record, common: Common) -> Option<Vec<(usize, u8)>> {
    if record.common.is_none() {
        return Some(common.personality.into_iter().collect());
    }
    let mut fields = vec![(HEAD, common.address)];
    if common.has_data {
        let after = HEAD + 2 * pointer_size(common.address)?;
        let contents = contents_of(bytes, record)?;
        let handlers = after + skip_number(contents.get(after..)?)?;
        fields.extend((common.handlers != OMIT).then_some((handlers, common.handlers)));
    }
    Some(fields)
}

/// The bytes of a record.
fn contents_of<'b>(bytes: &'b [u8], record: &Record) -> Option<&'b [u8]> {
    let rest = bytes.get(usize::try_from(record.start).ok()?..)?;
    rest.get(..usize::try_from(record.size).ok()?)
}

/// Decodes a common record; `None` for other records and malformed ones.
fn common_of(bytes: &[u8], record: &Record) -> Option<Common> {
    if record.common.is_some() {
        return None;
    }
    let bytes = contents_of(bytes, record)?;
    let mut common = Common { address: 0, handlers: OMIT, has_data: false, personality: None };
    let version = *bytes.get(HEAD).filter(|version| matches!(version, 1 | 3))?;
    let letters = bytes.get(HEAD + 1..)?;
    let letters = letters.get(..letters.iter().position(|byte| *byte == 0)?)?;
    let mut at = HEAD + 2 + letters.len();
    for _ in 0..2 {
        at += skip_number(bytes.get(at..)?)?;
    }
    at += if version == 1 { 1 } else { skip_number(bytes.get(at..)?)? };
    let Some((b'z', letters)) = letters.split_first() else {
        return letters.is_empty().then_some(common);
    };
    common.has_data = true;
    at += skip_number(bytes.get(at..)?)?;
    for letter in letters {
        match letter {
            b'R' => common.address = *bytes.get(at)?,
            b'L' => common.handlers = *bytes.get(at)?,
            b'P' => {
                let encoding = *bytes.get(at)?;
                let size = if encoding == OMIT { 0 } else { pointer_size(encoding)? };
                common.personality = (size != 0).then_some((at + 1, encoding));
                at += size;
            }
            b'S' | b'B' | b'G' => continue,
            _ => return None,
        }
        at += 1;
    }
    Some(common)
}

/// Bytes of a pointer; `None` for sizes that depend on its place or value.
fn pointer_size(encoding: u8) -> Option<usize> {
    match encoding & 0x0f {
        _ if encoding & RELATIVE > PC_RELATIVE => None,
        0x00 | 0x04 | 0x0c => Some(8),
        0x03 | 0x0b => Some(4),
        _ => None,
    }
}

/// Bytes of a LEB128 number.
fn skip_number(bytes: &[u8]) -> Option<usize> {
    let last = bytes.iter().position(|byte| *byte < 0x80).filter(|last| *last < 10)?;
    Some(last + 1)
}
