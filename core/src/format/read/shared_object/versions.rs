//! The versions of symbols: those needed of other libraries, and those defined by the object.
//!
//! The records are chains of forward offsets. Records of a sound table do not overlap, so at most as many records are
//! followed as fit between the start of the table and the end of its segment.

use crate::format::error::{
    FormatError, Result, SharedObjectErrorKind as Kind, SharedObjectPart as Part, ensure,
};
use crate::format::read::shared_object::dynamic::{Dynamic, Entry};
use crate::format::read::shared_object::image::{Range, View, refuse};
use crate::format::wire::elf_tag::Tag;

/// The version of the records.
const CURRENT: u16 = 1;
/// The flag bit in a version index.
const HIDDEN: u16 = 0x8000;

const NEEDED: u64 = 16;
const NEEDED_AUX: u64 = 16;
const DEFINED: u64 = 20;
const DEFINED_AUX: u64 = 8;

/// The versions of a shared object.
#[derive(Clone, Copy, Default)]
pub(crate) struct Versions {
    /// The greatest version index in a record.
    last: u16,
    symbols: Option<Entry>,
    /// The addresses of the records.
    pub(crate) ranges: [Range; 2],
}

/// Checks `DT_VERNEED` and `DT_VERDEF`.
///
/// # Errors
/// The first invalid record.
pub(crate) fn check(dynamic: &Dynamic<'_>) -> Result<Versions> {
    let mut versions = Versions { symbols: dynamic.get(Tag::VERSYM), ..Versions::default() };
    if let Some(entry) = dynamic.get(Tag::VERNEED) {
        let mut chain = Chain::new(dynamic, &entry, Part::NeededVersion)?;
        needed(&mut chain, &mut versions.last)?;
        versions.ranges[0] = chain.range;
    }
    if let Some(entry) = dynamic.get(Tag::VERDEF) {
        let mut chain = Chain::new(dynamic, &entry, Part::DefinedVersion)?;
        defined(&mut chain, &mut versions.last)?;
        versions.ranges[1] = chain.range;
    }
    Ok(versions)
}

impl Versions {
    /// Checks the version index of each of `count` symbols and returns the addresses of the indices.
    ///
    /// # Errors
    /// Too few indices, or an index without a record.
    pub(crate) fn check_symbols(&self, dynamic: &Dynamic<'_>, count: u64) -> Result<Range> {
        let Some(entry) = self.symbols else { return Ok(Range::default()) };
        let size = count.saturating_mul(2);
        let indices = dynamic.table(&entry, size, 2)?;
        for field in indices.entries(2) {
            let index = field.u16(0).unwrap_or(0) & !HIDDEN;
            if index > self.last {
                let kind = Kind::VersionIndex { index };
                return Err(refuse(Part::Entry(entry.tag), kind, field.at));
            }
        }
        Ok(Range { start: entry.value, size })
    }
}

/// Records in one segment.
struct Chain<'c, 'd> {
    dynamic: &'c Dynamic<'d>,
    /// The bytes from the first record to the end of the segment.
    records: View<'d>,
    part: Part,
    /// The number of bytes that further records may take.
    rest: u64,
    range: Range,
}

impl<'c, 'd> Chain<'c, 'd> {
    fn new(dynamic: &'c Dynamic<'d>, entry: &Entry, part: Part) -> Result<Self> {
        let records = dynamic.table_from(entry, 4)?;
        let range = Range { start: entry.value, size: 0 };
        Ok(Self { dynamic, records, part, rest: records.len(), range })
    }

    /// The record of `size` bytes at `at`. An error has the file offset of `from`, which refers to the record.
    fn record(&mut self, from: View<'_>, at: u64, size: u64) -> Result<View<'d>> {
        let outside = || refuse(self.part, Kind::VersionChain, from.at);
        let record = self.records.part(at, size).ok_or_else(outside)?;
        self.rest = self.rest.checked_sub(size).ok_or_else(outside)?;
        self.range.size = self.range.size.max(at + size);
        Ok(record)
    }

    /// Passes the records of `size` bytes from offset `at` on to `check`, each with its offset. `from` refers to the
    /// first one, and the field at `next` of each states the distance to the following one, or 0.
    fn follow(
        &mut self,
        mut at: Option<u64>,
        mut from: View<'d>,
        (size, next): (u64, usize),
        check: &mut dyn FnMut(&mut Self, u64, View<'d>) -> Result<()>,
    ) -> Result<()> {
        while let Some(here) = at {
            from = self.record(from, here, size)?;
            check(self, here, from)?;
            let distance = from.u32(next).filter(|&distance| distance != 0);
            at = distance.and_then(|distance| here.checked_add(distance.into()));
        }
        Ok(())
    }

    fn refuse(&self, record: View<'_>, kind: Kind) -> FormatError {
        refuse(self.part, kind, record.at)
    }

    fn check_version(&self, record: View<'_>) -> Result<()> {
        let value = record.u16(0).unwrap_or(0);
        ensure(value == CURRENT, self.refuse(record, Kind::Value { value: value.into() }))
    }

    fn check_name(&self, record: View<'_>, field: usize) -> Result<()> {
        let offset = u64::from(record.u32(field).unwrap_or(u32::MAX));
        ensure(self.dynamic.has_string(offset), self.refuse(record, Kind::String { offset }))
    }
}

fn needed(chain: &mut Chain<'_, '_>, last: &mut u16) -> Result<()> {
    // One record for each library, which limits the number of name comparisons.
    let mut files = chain.dynamic.needed_count();
    chain.follow(Some(0), chain.records, (NEEDED, 12), &mut |chain, here, record| {
        chain.check_version(record)?;
        chain.check_name(record, 4)?;
        let file = u64::from(record.u32(4).unwrap_or(u32::MAX));
        let rest = files.checked_sub(1).filter(|_| chain.dynamic.is_needed(file));
        files = rest.ok_or_else(|| chain.refuse(record, Kind::VersionFile))?;
        let aux = here.checked_add(u64::from(record.u32(8).unwrap_or(0)));
        chain.follow(aux, record, (NEEDED_AUX, 12), &mut |chain, _, version| {
            *last = (*last).max(version.u16(6).unwrap_or(0) & !HIDDEN);
            chain.check_name(version, 8)
        })
    })
}

fn defined(chain: &mut Chain<'_, '_>, last: &mut u16) -> Result<()> {
    chain.follow(Some(0), chain.records, (DEFINED, 16), &mut |chain, here, record| {
        chain.check_version(record)?;
        *last = (*last).max(record.u16(4).unwrap_or(0) & !HIDDEN);
        let aux = here.checked_add(u64::from(record.u32(12).unwrap_or(0)));
        chain.follow(aux, record, (DEFINED_AUX, 4), &mut |chain, _, name| chain.check_name(name, 0))
    })
}
