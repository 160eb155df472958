//! Merges equal strings and constants of sections for that purpose (`SHF_MERGE`), as linkers do.
//!
//! Such a section is a sequence of pieces: strings that end with a zero (`SHF_STRINGS`), or constants of one size. The first
//! section that has a piece keeps it, and references to the others go there. A symbol refers to the piece that it is in; the
//! symbol of a section refers to the piece at the addend of the relocation. Sections with relocations, or with global
//! symbols, whose sizes may extend over pieces, stay as they are.
//!
//! Source: System V gABI, section attributes; GNU ld treats symbols of sections in the same way.

use hashbrown::{HashMap, HashSet};

use ::object::elf;

use super::object::{Object, Section, SectionId, SectionMap, SymbolLocation};
use super::output::Segment;
use super::resolve::Program;

/// The sections whose pieces are merged.
pub(super) struct MergedSections(SectionMap<MergedSection>);

struct MergedSection {
    /// In ascending order; the first one starts at 0.
    pieces: Vec<Piece>,
    /// The bytes of the pieces that the section keeps.
    size: u64,
}

/// A string or a constant.
#[derive(Clone, Copy)]
struct Piece {
    /// The offset in the input section.
    start: u64,
    /// The section that keeps it.
    owner: SectionId,
    /// The offset among the pieces that the owner keeps.
    at: u64,
}

/// A piece that a section keeps: the offset among those that it keeps, and the bytes.
pub(super) struct KeptPiece<'d> {
    pub(super) at: u64,
    pub(super) bytes: &'d [u8],
}

impl MergedSections {
    /// No sections.
    pub(super) fn none() -> Self {
        Self(SectionMap::new())
    }

    /// Merges the pieces of reachable sections, in the order of the image.
    pub(super) fn new(program: &Program<'_>, order: &[SectionId]) -> Self {
        let mut merged = SectionMap::new();
        let mut known = HashMap::new();
        let mut with_globals: HashMap<usize, HashSet<usize>> = HashMap::new();
        for &id in order {
            let Some(section) = program.section(id) else { continue };
            let Some(object) = program.object(id.object).filter(|_| is_mergeable(section)) else {
                continue;
            };
            let globals = with_globals.entry(id.object).or_insert_with(|| global_places(object));
            if globals.contains(&id.section) {
                continue;
            }
            let segment = Segment::of(section);
            let mut found = MergedSection { pieces: Vec::new(), size: 0 };
            for (start, bytes) in pieces(section) {
                let alignment = alignment_at(start, section.alignment);
                let own = found.size.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
                let entry = known.entry((segment, bytes));
                let (owner, at, aligned) = *entry.or_insert((id, own, alignment));
                // Another section may keep it at an address that is not aligned enough.
                let (owner, at) = if aligned >= alignment { (owner, at) } else { (id, own) };
                if (owner, at) == (id, own) {
                    known.insert((segment, bytes), (id, own, alignment));
                    found.size = own.saturating_add(bytes.len() as u64);
                }
                found.pieces.push(Piece { start, owner, at });
            }
            merged.insert(id, found);
        }
        Self(merged)
    }

    /// Whether the pieces of a section are merged.
    pub(super) fn contains(&self, id: SectionId) -> bool {
        self.0.get(id).is_some()
    }

    /// The bytes that a section takes.
    pub(super) fn size(&self, id: SectionId, section: &Section<'_>) -> u64 {
        self.0.get(id).map_or(section.size, |merged| merged.size)
    }

    /// The section and the offset in it that hold a byte of a section. An offset outside counts from the nearest piece.
    pub(super) fn find(&self, id: SectionId, offset: i64) -> (SectionId, i64) {
        let Some(merged) = self.0.get(id) else { return (id, offset) };
        let start = |piece: &Piece| piece.start.cast_signed();
        let behind = merged.pieces.partition_point(|piece| start(piece) <= offset);
        match merged.pieces.get(behind.saturating_sub(1)) {
            Some(piece) => {
                let inside = offset.wrapping_sub(start(piece));
                (piece.owner, piece.at.cast_signed().wrapping_add(inside))
            }
            None => (id, offset),
        }
    }

    /// The pieces that a section keeps; `None` if its pieces are not merged.
    pub(super) fn kept<'d>(
        &self,
        id: SectionId,
        section: &Section<'d>,
    ) -> Option<impl Iterator<Item = KeptPiece<'d>>> {
        let merged = self.0.get(id)?;
        let mut end = 0;
        Some(merged.pieces.iter().zip(pieces(section)).filter_map(move |(piece, (_, bytes))| {
            let is_first = piece.owner == id && piece.at >= end;
            end = if is_first { piece.at.saturating_add(bytes.len() as u64) } else { end };
            is_first.then_some(KeptPiece { at: piece.at, bytes })
        }))
    }
}

/// The sections of an object that have global symbols.
fn global_places(object: &Object<'_>) -> HashSet<usize> {
    let globals = object.symbols.iter().filter(|symbol| symbol.global.is_some());
    let places = globals.filter_map(|symbol| match symbol.place {
        SymbolLocation::Section { section, .. } => Some(section),
        _ => None,
    });
    places.collect()
}

/// Whether a section consists of whole pieces.
fn is_mergeable(section: &Section<'_>) -> bool {
    let size = section.entry_size;
    let others = [elf::SHF_WRITE, elf::SHF_EXECINSTR, elf::SHF_TLS];
    let is_whole = || match strings(section) {
        true => usize::try_from(size).ok().and_then(|size| section.bytes.rchunks(size).next()),
        false => Some(&[0][..]),
    };
    section.has(elf::SHF_MERGE)
        && !others.iter().any(|flag| section.has(*flag))
        && section.kind == elf::SHT_PROGBITS
        && section.array.is_none()
        && size != 0
        && section.size.is_multiple_of(size)
        && section.bytes.len() as u64 == section.size
        && !section.has_relocs()
        && is_whole().is_some_and(|last| last.iter().all(|byte| *byte == 0))
}

fn strings(section: &Section<'_>) -> bool {
    section.has(elf::SHF_STRINGS)
}

/// The pieces of a mergeable section, with their offsets.
fn pieces<'d>(section: &Section<'d>) -> impl Iterator<Item = (u64, &'d [u8])> + use<'d> {
    let (is_strings, mut rest, mut start) = (strings(section), section.bytes, 0u64);
    let size = usize::try_from(section.entry_size).unwrap_or(usize::MAX).max(1);
    std::iter::from_fn(move || {
        let is_end = |unit: &[u8]| unit.iter().all(|byte| *byte == 0);
        let units = match (is_strings, size) {
            (false, _) => 1,
            // The usual case.
            (true, 1) => rest.iter().position(|byte| *byte == 0)?.saturating_add(1),
            (true, _) => rest.chunks(size).position(is_end)?.saturating_add(1),
        };
        let (piece, others) = rest.split_at_checked(units.saturating_mul(size))?;
        let at = start;
        (rest, start) = (others, start.saturating_add(piece.len() as u64));
        Some((at, piece))
    })
}

/// The alignment of a piece: that of its offset, at most that of the section.
fn alignment_at(start: u64, of_section: u64) -> u64 {
    match start {
        0 => of_section,
        start => of_section.min(1 << start.trailing_zeros()),
    }
}
