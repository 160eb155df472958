//! The search for the header: the layout of a file and the base of its offsets.
//!
//! A packed trailer takes precedence if its tables fit. A header at offset 0 follows: native, packed or compact,
//! depending on which section table fits. A native trailer comes last. A file that fits two layouts is an error.
//! Offsets count from `smf_data_offset`. If that is 0 and the tables do not fit, the stub is undeclared, and the search
//! determines the only base at which everything fits.

use crate::format::error::{FormatError, HeaderError, Result, SectionError};
use crate::format::model::{Header, SectionKind};
use crate::format::read::open::{RawHeader, section_table};
use crate::format::read::{Limits, Smf};
use crate::format::wire::{
    ALL_FILES, ELF_MAGIC, Layout, MAGIC, NATIVE_HEADER, PACKED_HEADER, SYMBOL, array, is_printable,
    slice, u8_at, u16_at, u32_at, u64_at, unended,
};

impl<'d> Smf<'d> {
    /// Parses the module in `data`, the whole file, with the default [`Limits`].
    ///
    /// # Errors
    /// The reason why the file is not a module of any layout, with an absolute offset.
    pub fn parse(data: &'d [u8]) -> Result<Self> {
        Self::parse_within(data, Limits::default())
    }

    /// As [`Smf::parse`], with limits of the caller's choice.
    ///
    /// # Errors
    /// As [`Smf::parse`].
    pub fn parse_within(data: &'d [u8], limits: Limits) -> Result<Self> {
        match usual(data, limits) {
            Some(smf) => Ok(smf),
            None => find_header(data, limits),
        }
    }
}

/// The common case: a packed module with a trailer whose section table is certainly real. Gives the same result as
/// [`find_header`].
#[inline]
fn usual(data: &[u8], limits: Limits) -> Option<Smf<'_>> {
    let head = trailer(data, Layout::Packed)?;
    if is_dynlib(head.bytes) {
        return None;
    }
    let smf = Smf::open_as(head, declared_base(head), limits).ok()?;
    matches!(smf.symbols.sections.table.first(), Some(1..)).then_some(smf)
}

/// Whether a packed header marks the trailer of a shared object.
fn is_dynlib(header: &[u8]) -> bool {
    u8_at(header, 60) == Some(2) && u32_at(header, 16) == Some(0)
}

/// Finds the module in any file, at every possible position of the header.
// Row `parse` of the benchmark: the usual case needs no stack of this function.
#[cold]
fn find_header(data: &[u8], limits: Limits) -> Result<Smf<'_>> {
    if data.is_empty() {
        return Err(HeaderError::Empty.into());
    }
    let packed = trailer(data, Layout::Packed).map(|head| packed_trailer(head, limits));
    if let Some(Ok(smf)) = packed {
        return Ok(smf);
    }
    let leading = data.starts_with(&MAGIC).then(|| leading_header(data, limits));
    let native = trailer(data, Layout::Native).filter(|head| head.at != 0);
    match (leading, native.map(|head| with_stub(head, limits))) {
        (Some(Ok(first)), Some(Ok(second))) => {
            let (first, at) = (first.layout().name(), second.header_offset());
            Err(HeaderError::AmbiguousLayout { first, second: "native trailer", at }.into())
        }
        (Some(Ok(smf)), _) | (_, Some(Ok(smf))) => Ok(smf),
        (leading, native) => {
            let absent = || match data {
                _ if data.starts_with(&ELF_MAGIC) => HeaderError::Elf,
                _ if data.starts_with(b"!<arch>\n") => HeaderError::Archive,
                _ => HeaderError::NoMagic { len: data.len() as u64 },
            };
            packed.or(leading).or(native).unwrap_or_else(|| Err(absent().into()))
        }
    }
}

/// The header at the end of the file; `None` without the magic.
#[inline]
fn trailer(data: &[u8], layout: Layout) -> Option<RawHeader<'_>> {
    let at = data.len().checked_sub(layout.header_len())?;
    header_at(data, layout, at as u64).filter(|head| head.bytes.starts_with(&MAGIC))
}

fn header_at(data: &[u8], layout: Layout, at: u64) -> Option<RawHeader<'_>> {
    let start = usize::try_from(at).ok()?;
    data.get(..start.checked_add(layout.header_len())?)?;
    Some(RawHeader { data, layout, bytes: array(data, start)?, at })
}

/// The base of the offsets in the file, as the header declares it.
#[inline]
fn declared_base(head: RawHeader<'_>) -> u64 {
    Header::decode(head.bytes, head.layout).data_offset.into()
}

/// A packed header at the end: a module, or the shared object of a dynlib before it.
fn packed_trailer(head: RawHeader<'_>, limits: Limits) -> Result<Smf<'_>> {
    if !is_dynlib(head.bytes) {
        return with_stub(head, limits);
    }
    if head.at == 0 || !head.data.starts_with(&ELF_MAGIC) {
        return Err(HeaderError::NoSharedObject { at: head.at }.into());
    }
    Smf::open(RawHeader { layout: Layout::Dynlib, ..head }, 0, limits)
}

/// A header whose module may follow a stub, declared or not.
fn with_stub(head: RawHeader<'_>, limits: Limits) -> Result<Smf<'_>> {
    let RawHeader { data, at, .. } = head;
    match Smf::open(head, declared_base(head), limits) {
        Ok(smf) if is_plausible(&smf) => Ok(smf),
        Ok(_) if is_legacy(data, at) => Err(HeaderError::Legacy { at }.into()),
        here => {
            // The number of sections does not depend on the base.
            let has_too_many =
                matches!(here, Err(FormatError::Section(SectionError::TooMany { .. })));
            match if has_too_many { None } else { find_base(head, limits)? } {
                Some(base) => Smf::open(head, base, limits),
                // Without another base, the declared one applies, and so does its error.
                None => here.map_err(|error| legacy_or(data, at, error)),
            }
        }
    }
}

/// Whether the section table is real: not zeroes of a stub that happen to decode as valid sections, and not empty
/// because this header stores its section count elsewhere.
fn is_plausible(smf: &Smf<'_>) -> bool {
    let sections = smf.sections();
    match sections.table.first() {
        // In every layout the first byte of an entry is its kind or the start of its name.
        Some(1..) => true,
        Some(0) => sections.iter().any(|s| s.kind != SectionKind::Unknown(0) || !s.name.is_empty()),
        None => !is_legacy(smf.file(), smf.header_offset()),
    }
}

/// Whether the header may be of format version 0.1, with `section_count` at byte 12. In the current version, byte 12 is
/// the compression, which is at most 2 and precedes its level and two reserved bytes.
fn is_legacy(data: &[u8], at: u64) -> bool {
    let field = usize::try_from(at).ok().and_then(|at| u32_at(data, at + 12)).unwrap_or(0);
    matches!(field, 1..=0xffff) && !matches!(field & 0xff, 1..=2)
}

/// Replaces the error if the header may be of format version 0.1. An error about the compression is preserved: it is
/// reported only if the tables fit.
fn legacy_or(data: &[u8], at: u64, error: FormatError) -> FormatError {
    match error {
        FormatError::Compression(_) => error,
        _ if is_legacy(data, at) => HeaderError::Legacy { at }.into(),
        _ => error,
    }
}

/// Reads a header at offset 0. The section table that fits determines the layout.
fn leading_header(data: &[u8], limits: Limits) -> Result<Smf<'_>> {
    let open = |layout| {
        let head = header_at(data, layout, 0).ok_or(HeaderError::NoLayout { at: 0 })?;
        let declared = declared_base(head);
        let at_declared = Smf::open(head, declared, limits);
        match at_declared {
            Err(_) if declared != 0 => Smf::open(head, 0, limits).or(at_declared),
            opened => opened,
        }
    };
    match (open(Layout::Native), open(Layout::Packed)) {
        (Ok(native), Ok(packed)) => match (has_table(&native), has_table(&packed)) {
            (true, false) => Ok(native),
            (false, true) => Ok(packed),
            (false, false) => Err(legacy_or(data, 0, HeaderError::NoLayout { at: 0 }.into())),
            (true, true) => {
                let (first, second) = ("native", "packed");
                Err(HeaderError::AmbiguousLayout { first, second, at: 0 }.into())
            }
        },
        (Ok(smf), Err(_)) | (Err(_), Ok(smf)) => Ok(smf),
        (Err(native), Err(packed)) => {
            let compact = || open(Layout::Compact).and_then(check_compact).ok();
            let compact = if ALL_FILES { compact() } else { None };
            compact.ok_or_else(|| likeliest_error(data, native, packed))
        }
    }
}

/// Whether the header refers to a section table. An empty table counts only if its offset is that of a real one:
/// the end of the header.
fn has_table(smf: &Smf<'_>) -> bool {
    !smf.sections().is_empty() || smf.header().section_table == smf.layout().header_len() as u64
}

fn check_compact(smf: Smf<'_>) -> Result<Smf<'_>> {
    let named = !smf.sections().is_empty() && smf.sections().iter().all(|s| is_printable(s.name));
    if named { Ok(smf) } else { Err(HeaderError::NoLayout { at: 0 }.into()) }
}

/// If no layout fits, the error of the most likely layout.
fn likeliest_error(data: &[u8], native: FormatError, packed: FormatError) -> FormatError {
    let table = |at| u64_at(data, at).unwrap_or(u64::MAX);
    let (native_at, packed_at) = (table(24), table(20));
    let inside = |at: u64, header: usize| at >= header as u64 && at < data.len() as u64;
    if native_at == NATIVE_HEADER as u64 {
        native
    } else if inside(packed_at, PACKED_HEADER) {
        packed
    } else if inside(native_at, NATIVE_HEADER) {
        native
    } else {
        legacy_or(data, 0, HeaderError::NoLayout { at: 0 }.into())
    }
}

/// The only base above 0 at which every section entry, payload and symbol name fits; `None` without such a base.
///
/// A stub usually states its end. A base inside the stub counts only without a base after it. Every offset is tested,
/// since two matches are an error. A test of an offset reads five bytes. All further work is bounded by the length of
/// the file. Without the feature `all-files` a stub must be declared.
fn find_base(head: RawHeader<'_>, limits: Limits) -> Result<Option<u64>> {
    if !ALL_FILES {
        return Ok(None);
    }
    let stub = stub_len(head.data).unwrap_or(1).clamp(1, head.at.max(1));
    let RawHeader { data, layout, bytes, at } = head;
    let before = usize::try_from(at).ok().and_then(|at| data.get(..at)).unwrap_or(&[]);
    let mut search = BaseSearch {
        head,
        header: Header::decode(bytes, layout),
        limits,
        left: 4 * data.len() as u64 + 65_536,
        unended: unended(before) as u64,
    };
    match search.between(stub, head.at)? {
        None if stub > 1 => search.between(1, stub),
        found => Ok(found),
    }
}

/// The length of a stub with a recognisable end: a `#!` line, or a 64-bit ELF image.
fn stub_len(data: &[u8]) -> Option<u64> {
    if data.starts_with(b"#!") {
        let line = data.iter().position(|&byte| byte == b'\n')?;
        return Some(line as u64 + 1);
    }
    if !data.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (segments, sections) = (u64_at(data, 32)?, u64_at(data, 40)?);
    let count = |at| u16_at(data, at).map(u64::from);
    let mut end = sections.checked_add(count(58)? * count(60)?)?;
    for index in 0..count(56)? {
        let header = usize::try_from(segments.checked_add(index * count(54)?)?).ok()?;
        let offset = u64_at(data, header.checked_add(8)?)?;
        end = end.max(offset.checked_add(u64_at(data, header.checked_add(32)?)?)?);
    }
    Some(end)
}

/// Whether an entry has a type with a number and sets no flags above the low four bits.
fn looks_like_entry(entry: &[u8]) -> bool {
    match entry {
        [kind, _, _, _, flags, 0, 0, 0, ..] => *kind != 0 && *flags <= 0xf,
        _ => false,
    }
}

/// The search for a base, with its remaining work limit.
struct BaseSearch<'d> {
    head: RawHeader<'d>,
    header: Header,
    limits: Limits,
    /// The number of bytes that the search may still read, beyond the five bytes at each offset.
    left: u64,
    /// The number of bytes that opening reads to find the end of the last name.
    unended: u64,
}

impl BaseSearch<'_> {
    /// The only base in `first..end`; `None` without one.
    fn between(&mut self, first: u64, end: u64) -> Result<Option<u64>> {
        let stride = self.head.layout.section_stride();
        let table = u64::from(self.header.section_count) * stride as u64;
        let behind = self.header.section_table.checked_add(table);
        let last = behind.and_then(|behind| self.head.at.checked_sub(behind));
        let Some(last) = last.filter(|_| table != 0) else { return Ok(None) };
        let Some(len) = end.min(last + 1).checked_sub(first) else { return Ok(None) };
        let entries = first.checked_add(self.header.section_table);
        let entries = entries.and_then(|at| slice(self.head.data, at, len + stride as u64 - 1));
        let mut found = None;
        for (base, entry) in (first..).zip(entries.unwrap_or(&[]).windows(stride)) {
            if !looks_like_entry(entry) || !self.fits(base)? {
                continue;
            }
            if let Some(first) = found.replace(base) {
                return Err(HeaderError::AmbiguousBase { first, second: base }.into());
            }
        }
        Ok(found)
    }

    fn spend(&mut self, work: u64) -> Result<()> {
        let too_long = HeaderError::BaseSearchLimit { at: self.head.at };
        self.left = self.left.checked_sub(work).ok_or(too_long)?;
        Ok(())
    }

    /// Whether everything fits at `base`.
    fn fits(&mut self, base: u64) -> Result<bool> {
        let Self { head, header, limits, .. } = *self;
        let RawHeader { data, layout, at, .. } = head;
        let Ok(table) = section_table(data, layout, &header, at, base) else { return Ok(false) };
        for (_, entry) in table.entries(layout) {
            self.spend(layout.section_stride() as u64)?;
            // The payloads must end before the header.
            if !entry.is_plausible() || !entry.fits(at, base) {
                return Ok(false);
            }
        }
        self.spend(table.table.len() as u64 + self.unended)?;
        self.spend(u64::from(header.symbol_count) * SYMBOL as u64)?;
        let Ok(smf) = Smf::open(head, base, limits) else { return Ok(false) };
        for symbol in smf.symbols().iter() {
            let Ok(symbol) = symbol else { return Ok(false) };
            self.spend((SYMBOL + symbol.name().len()) as u64)?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::format::read::section::Section;
    use crate::format::write::module::{Module, NewSection, NewSymbol, Payload};
    use crate::testing::some;

    const SAMPLES: [&[u8]; 6] = [
        include_bytes!("../../../../tests/samples/packed.smf"),
        include_bytes!("../../../../tests/samples/app.smf"),
        include_bytes!("../../../../tests/samples/lib.smf"),
        include_bytes!("../../../../tests/samples/stub-declared.smf"),
        include_bytes!("../../../../tests/samples/dynlib.smf"),
        include_bytes!("../../../../tests/samples/compressed-lz4.smf"),
    ];

    type Seen = (Layout, u64, u64, Vec<(SectionKind, u64, u64, u64)>, usize);

    fn seen(smf: &Smf<'_>) -> Seen {
        let section = |s: Section<'_>| (s.kind, s.offset, s.size, s.memory_size());
        let sections = smf.sections().iter().map(section).collect();
        (smf.layout(), smf.header_offset(), smf.base(), sections, smf.symbols().len())
    }

    #[test]
    fn fast_path_agrees_with_the_search_in_damaged_files() {
        let (mut at_once, mut searched) = (0, 0);
        for sample in SAMPLES {
            for at in some(0..sample.len(), 3) {
                for value in [0, 1, 2, 5, 0x53, 0x7f, 0xff] {
                    let mut file = sample.to_vec();
                    file[at] = value;
                    let found = find_header(&file, Limits::default());
                    match usual(&file, Limits::default()) {
                        Some(smf) => {
                            assert_eq!(Ok(seen(&smf)), found.as_ref().map(seen));
                            at_once += 1;
                        }
                        None => searched += 1,
                    }
                    let all = Smf::parse(&file);
                    assert_eq!(all.as_ref().map(seen), found.as_ref().map(seen));
                }
            }
        }
        let tenth = (at_once + searched) / 10;
        assert!(searched > tenth && at_once > tenth, "{at_once} {searched}");
    }

    #[test]
    fn too_many_sections_are_refused_without_a_search_for_a_stub() {
        let section = NewSection::new(SectionKind::Debug, b"d", Payload::Bytes(&[]));
        let (sections, symbols) = (std::vec![section; 4097], std::vec![NewSymbol::default(); 4001]);
        let sections = [&[NewSection::code(&[0xc3])], &sections[1..]].concat();
        let (layout, header) = (Layout::Packed, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let file = module.to_vec().unwrap();
        let error = Smf::parse(&file).unwrap_err();
        assert!(
            matches!(error, FormatError::Section(SectionError::TooMany { count: 4097, .. })),
            "{error}"
        );
    }
}
