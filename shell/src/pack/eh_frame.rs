//! The unwinding tables of the input (`.eh_frame`), record by record.
//!
//! A function record (FDE) is kept if the section of its function is; what it refers to, the table of its handlers, is
//! reachable then. Common records (CIE) are kept for their function records, and equal ones are merged. Records of copies
//! of section groups are dropped, and those whose function a partial link (`ld -r`) has discarded. The module gets one
//! section, which a zero word ends.
//!
//! Source: Linux Standard Base, Core, 10.6 (exception frames).

use ::object::elf;
use hashbrown::{HashMap, HashSet};

use super::error::{PackError, Result};
use super::object::{InputReloc, SectionId, SymbolLocation};
use super::resolve::{Program, Resolution};

/// Bytes of the zero word at the end.
const END: u64 = 4;
/// Bytes of the length of a record and of what follows it, which tells the kinds of records apart.
const HEADER: u64 = 8;
/// The offset of the address of the function in its record.
const FUNCTION: u64 = HEADER;
/// Bytes of the fields of most relocations.
const WORD: u64 = 4;

/// A record in an input section.
pub(super) struct Record {
    /// The offset in the section.
    pub(super) start: u64,
    /// Bytes, with the length field.
    pub(super) size: u64,
    /// The index of the common record of a function record; `None` for a common record.
    pub(super) common: Option<usize>,
    /// Sorted by offset, without those of no effect.
    relocs: Vec<InputReloc>,
}

impl Record {
    /// Checks that the relocations change neither the header, the length and what tells the kinds of records apart, nor the
    /// next record. `bytes` returns those of a field.
    fn check_relocs(&self, bytes: impl Fn(elf::RelocationType) -> u64) -> Result<(), Malformed> {
        let (first, end) =
            (self.start.saturating_add(HEADER), self.start.saturating_add(self.size));
        let is_outside = |reloc: &&InputReloc| {
            reloc.offset < first || reloc.offset.saturating_add(bytes(reloc.kind)) > end
        };
        let outside = self.relocs.iter().find(is_outside);
        outside.map_or(Ok(()), |reloc| Err((reloc.offset, "a relocation is not in one record")))
    }
}

/// A record of the input: its section, and its index there.
type RecordId = (SectionId, usize);

/// All records of the input, and which of them are kept.
#[derive(Default)]
pub(super) struct EhFrames {
    sections: HashMap<SectionId, Vec<Record>>,
    /// The records of the functions in a section.
    by_code: HashMap<SectionId, Vec<RecordId>>,
    kept: HashSet<RecordId>,
}

/// A kept record in the section of the module.
pub(super) struct Piece {
    pub(super) section: SectionId,
    /// The offset in the input section.
    pub(super) start: u64,
    pub(super) size: u64,
    /// The offset in the section of the module.
    pub(super) offset: u64,
    /// The offset of the common record of a function record.
    pub(super) common: Option<u64>,
}

impl Piece {
    /// Bytes in the section of the module: records start at multiples of 4.
    pub(super) fn padded(&self) -> u64 {
        self.size.next_multiple_of(4)
    }
}

/// The section `.eh_frame` of the module.
#[derive(Default)]
pub(super) struct EhFrameTable {
    /// By input section and offset.
    pub(super) pieces: Vec<Piece>,
    /// The relocations of the pieces.
    pub(super) relocs: Vec<(SectionId, Vec<InputReloc>)>,
    /// Bytes; 0 without pieces.
    pub(super) size: u64,
}

impl EhFrames {
    /// Reads the records of all objects.
    ///
    /// # Errors
    /// [`PackError::SectionContents`].
    pub(super) fn parse(program: &Program<'_>) -> Result<Self> {
        let mut frames = Self::default();
        for (id, section) in program.sections() {
            if section.name != b".eh_frame" || !section.is_loaded() || section.discarded {
                continue;
            }
            let broken = |(offset, reason): Malformed| PackError::SectionContents {
                place: program.place(id),
                reason,
                offset,
            };
            // Partial links leave them in the place of those of discarded functions, at any offset.
            let has_effect = |reloc: &InputReloc| reloc.kind != elf::R_X86_64_NONE;
            let mut relocs: Vec<_> = section.relocs(id.object).filter(has_effect).collect();
            relocs.sort_by_key(|reloc| reloc.offset);
            let records = records(section.bytes, relocs).map_err(broken)?;
            let isa = program.machine().isa();
            let bytes = |kind| isa.plain_form(kind).map_or(WORD, |form| form.bytes());
            records.iter().try_for_each(|record| record.check_relocs(bytes)).map_err(broken)?;
            for (index, record) in records.iter().enumerate().filter(|(_, r)| r.common.is_some()) {
                let first = record.relocs.first();
                let function = first.filter(|reloc| reloc.offset == record.start + FUNCTION);
                let Some(function) = function else {
                    // Of a function that a partial link has discarded; that of its exception table may be left.
                    continue;
                };
                // The section of this object, not the copy of its group that is kept.
                let symbol = program.symbol(function.symbol).map(|symbol| symbol.place);
                let Some(SymbolLocation::Section { section, .. }) = symbol else {
                    return Err(broken((record.start, NO_FUNCTION)));
                };
                let code = SectionId { object: id.object, section };
                frames.by_code.entry(code).or_default().push((id, index));
            }
            frames.sections.insert(id, records);
        }
        Ok(frames)
    }

    /// Keeps the records of the functions in the section `code`, which has become reachable. Returns their relocations,
    /// except those that refer to the functions.
    pub(super) fn keep(&mut self, code: SectionId) -> Vec<InputReloc> {
        let Self { sections, by_code, kept } = self;
        let mut relocs = Vec::new();
        for (section, index) in by_code.get(&code).into_iter().flatten() {
            let Some(records) = sections.get(section) else { continue };
            let Some(record) = records.get(*index) else { continue };
            kept.insert((*section, *index));
            relocs.extend(record.relocs.iter().skip(1).copied());
            let common = record.common.filter(|common| kept.insert((*section, *common)));
            let common = common.and_then(|common| records.get(common));
            relocs.extend(common.into_iter().flat_map(|common| &common.relocs).copied());
        }
        relocs
    }

    /// Arranges the kept records.
    pub(super) fn into_table(self, program: &Program<'_>) -> EhFrameTable {
        let mut table = EhFrameTable::default();
        let mut commons = HashMap::new();
        let mut end = 0;
        for (id, section) in program.sections() {
            let Some(records) = self.sections.get(&id) else { continue };
            let mut relocs = Vec::new();
            let mut offsets = HashMap::new();
            for (index, record) in records.iter().enumerate() {
                if !self.kept.contains(&(id, index)) {
                    continue;
                }
                if record.common.is_none() {
                    let key = CommonKey::of(program, section.bytes, record);
                    let offset = *commons.entry(key).or_insert(end);
                    offsets.insert(index, offset);
                    if offset != end {
                        continue;
                    }
                }
                let common = record.common.and_then(|common| offsets.get(&common).copied());
                let (start, size, offset) = (record.start, record.size, end);
                let piece = Piece { section: id, start, size, offset, common };
                end += piece.padded();
                table.pieces.push(piece);
                relocs.extend(record.relocs.iter().copied());
            }
            if !relocs.is_empty() {
                table.relocs.push((id, relocs));
            }
        }
        table.size = if end == 0 { 0 } else { end + END };
        table
    }
}

impl EhFrameTable {
    /// Offsets in the section of the module of bytes in the records of an input section, whose offsets are given in
    /// order.
    pub(super) fn offsets(&self, section: SectionId) -> impl FnMut(u64) -> Option<u64> {
        let first = self.pieces.partition_point(|piece| piece.section < section);
        let mut rest = self.pieces.get(first..).unwrap_or(&[]);
        move |offset| {
            while let [piece, others @ ..] = rest
                && (piece.section == section && offset >= piece.start.saturating_add(piece.size))
            {
                rest = others;
            }
            let piece = rest.first().filter(|piece| piece.section == section)?;
            offset.checked_sub(piece.start)?.checked_add(piece.offset)
        }
    }
}

/// What makes common records equal: their bytes, and what the relocations of these refer to.
#[derive(PartialEq, Eq, Hash)]
struct CommonKey<'d> {
    bytes: &'d [u8],
    relocs: Vec<(u64, u32, Option<Resolution>, i64)>,
}

impl<'d> CommonKey<'d> {
    fn of(program: &Program<'_>, section: &'d [u8], record: &Record) -> Self {
        let relocs = record.relocs.iter().map(|reloc| {
            let resolution = program.resolution(reloc.symbol).ok();
            (reloc.offset - record.start, reloc.kind.0, resolution, reloc.addend)
        });
        let range = usize::try_from(record.start).ok().zip(usize::try_from(record.size).ok());
        let bytes = range.and_then(|(start, size)| section.get(start..)?.get(..size));
        Self { bytes: bytes.unwrap_or(&[]), relocs: relocs.collect() }
    }
}

const NO_FUNCTION: &str = "a record is of no function of the object";

/// The offset of a malformed record, and what is wrong with it.
pub(super) type Malformed = (u64, &'static str);

/// Splits a section into records. `relocs` are sorted by offset.
///
/// # Errors
/// [`Malformed`].
pub(super) fn records(bytes: &[u8], relocs: Vec<InputReloc>) -> Result<Vec<Record>, Malformed> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let mut records: Vec<Record> = Vec::new();
    let mut commons = HashMap::new();
    let mut relocs = relocs.into_iter().peekable();
    let mut at = 0;
    while at < bytes.len() {
        let error = |reason| (at as u64, reason);
        let length = word(at).ok_or(error("a record is truncated"))?;
        if length == 0 {
            // The end of the tables of a program that is complete otherwise.
            at += 4;
            continue;
        }
        if length == u32::MAX {
            return Err(error("a record has a 64-bit length"));
        }
        let end = usize::try_from(length).ok().and_then(|length| (at + 4).checked_add(length));
        let end =
            end.filter(|end| *end <= bytes.len()).ok_or(error("a record exceeds the section"))?;
        let id = word(at + 4).filter(|_| end >= at + 8).ok_or(error("a record is too short"))?;
        let common = if id == 0 {
            commons.insert(at, records.len());
            None
        } else {
            let start = usize::try_from(id).ok().and_then(|id| (at + 4).checked_sub(id));
            let common = start.and_then(|start| commons.get(&start));
            Some(*common.ok_or(error("a record refers to no common record"))?)
        };
        let mut own = Vec::new();
        while let Some(reloc) = relocs.next_if(|reloc| reloc.offset < end as u64) {
            own.push(reloc);
        }
        let (start, size) = (at as u64, (end - at) as u64);
        records.push(Record { start, size, common, relocs: own });
        at = end;
    }
    match relocs.next() {
        Some(reloc) => Err((reloc.offset, "a relocation reaches outside the section")),
        None => Ok(records),
    }
}
