//! Pages that the functions of each layout phase touch, at present and if packed.
//!
//! A page that holds a function of a phase is touched in that phase, whatever else is on it. From the symbol table
//! alone, this module counts the pages that the functions of each phase touch at their present offsets, and the pages
//! that they would touch if packed together. Bytes of overlapping functions, such as two names of one function, count
//! once. The phases are those of section 3 of the specification, bits 0 and 1 of a symbol's flags. Pages have [`PAGE`]
//! bytes.

use alloc::vec::Vec;

use crate::alloc_util::sort::sort;
use crate::format::error::Result;
use crate::format::ext::prelink::{PAGE, Prelink};
use crate::format::model::{Binding, Phase, SymbolKind};
use crate::format::read::{Smf, Symbol};

/// The size of the functions of one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// The number of function symbols of the phase, without imports and without local symbols of size 0.
    pub functions: u64,
    /// The number of bytes in these functions.
    pub bytes: u64,
    /// The number of pages that the functions touch at their present offsets. A function of unknown length counts as
    /// one page.
    pub pages: u64,
    /// The number of pages that the functions would touch if packed together from a page boundary.
    pub pages_packed: u64,
}

/// The location of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The section that the offsets count from; 0 for the start of the image.
    space: u32,
    start: u64,
    end: u64,
}

/// The sizes of the functions of each phase, in the order of [`Phase::ALL`].
///
/// In a prelinked file (`.smf.image`), pages are those of the image. In any other file, each section is assumed to
/// start at a page boundary.
///
/// # Errors
/// A malformed symbol or placement.
pub fn phases(smf: &Smf<'_>) -> Result<[PhaseSpan; 4]> {
    let plan = Prelink::of(smf)?;
    let mut places = [const { Vec::new() }; 4];
    for symbol in smf.symbols().iter() {
        let symbol = symbol?;
        if let Some(place) = place(&symbol, plan.as_ref()) {
            let phase = symbol.flags.phase() as usize;
            places.get_mut(phase).into_iter().for_each(|places: &mut Vec<_>| places.push(place));
        }
    }
    Ok(Phase::ALL.map(|phase| {
        let places = places.get_mut(phase as usize);
        span(phase, places.map_or(&mut [], |places| places.as_mut_slice()))
    }))
}

/// The location of a symbol; `None` if the symbol is not a function of the file. A local symbol without a size marks a
/// position, such as the start of the code, and is not a function.
fn place(symbol: &Symbol<'_>, plan: Option<&Prelink<'_>>) -> Option<Place> {
    let marks = symbol.binding == Binding::Local && symbol.size == 0;
    let section = symbol.section.filter(|_| symbol.kind == SymbolKind::Function && !marks)?;
    let begin = plan.map(|plan| plan.section_offset(section).unwrap_or(0));
    let start = symbol.value.saturating_add(begin.unwrap_or(0));
    let space = if begin.is_some() { 0 } else { section };
    Some(Place { space, start, end: start.saturating_add(symbol.size) })
}

/// The size of the functions at these locations. Sorts `places`.
fn span(phase: Phase, places: &mut [Place]) -> PhaseSpan {
    sort(places);
    let (mut bytes, mut pages) = (0u64, 0u64);
    // The first byte and the first page that are not yet counted.
    let (mut space, mut next_byte, mut next_page) = (0, 0, 0);
    for place in &*places {
        if place.space != space {
            (space, next_byte, next_page) = (place.space, 0, 0);
        }
        bytes = bytes.saturating_add(place.end.saturating_sub(place.start.max(next_byte)));
        next_byte = next_byte.max(place.end);
        let last = place.end.saturating_sub(1).max(place.start) / PAGE;
        let first = (place.start / PAGE).max(next_page);
        // `last + 1` does not overflow, because `last` is a page number.
        pages += (last + 1).saturating_sub(first);
        next_page = next_page.max(last + 1);
    }
    let functions = places.len() as u64;
    // Functions of unknown length touch at least one page.
    let pages_packed = bytes.div_ceil(PAGE).max(u64::from(functions != 0));
    PhaseSpan { phase, functions, bytes, pages, pages_packed }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::format::ext::prelink;
    use crate::format::model::Header;
    use crate::format::model::SymbolFlags;
    use crate::format::model::{SectionFlags, SectionKind};
    use crate::format::wire::Layout;
    use crate::format::write::module::{Module, NewSection, NewSymbol, Payload, Place as Where};
    use crate::testing::some;

    const CODE: usize = 5 * 4096;

    /// A file with two code sections and these functions, prelinked or not.
    fn file(functions: &[(u16, u64, u64, u8)], begins: Option<[u64; 2]>) -> Vec<u8> {
        let symbols: Vec<_> = functions
            .iter()
            .map(|&(section, value, size, flags)| NewSymbol {
                name: b"f",
                binding: Binding::Global,
                place: Where::Section(section),
                kind: SymbolKind::Function,
                flags: SymbolFlags(flags),
                value,
                size,
                ..NewSymbol::default()
            })
            .collect();
        let section = |kind, name, payload| NewSection {
            kind,
            name,
            flags: SectionFlags(5),
            alignment: 16,
            virtual_size: None,
            payload: Payload::Bytes(payload),
        };
        let code = std::vec![0xc3; CODE];
        let places = begins.map(|[one, two]| [Some(one), Some(two), None]);
        let note = places.and_then(|places| prelink::encode(&places, &[]));
        let mut sections = std::vec![
            section(SectionKind::Code, &b".text"[..], &code[..]),
            section(SectionKind::Code, b".more", &code),
        ];
        sections.extend(note.iter().map(|note| section(SectionKind::Note, prelink::NAME, note)));
        let (layout, header) = (Layout::Packed, Header::default());
        let module = Module { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        module.to_vec().unwrap()
    }

    /// Counts byte by byte and page by page.
    fn slowly(functions: &[(u16, u64, u64, u8)], begins: Option<[u64; 2]>) -> [PhaseSpan; 4] {
        Phase::ALL.map(|phase| {
            let of_phase = functions.iter().filter(|f| f.3 & 3 == phase as u8);
            let (mut bytes, mut pages) = (BTreeSet::new(), BTreeSet::new());
            for &(section, value, size, _) in of_phase.clone() {
                let (space, begin) = match begins {
                    Some(begins) => (0, begins[usize::from(section)]),
                    None => (section, 0),
                };
                bytes.extend((begin + value..begin + value + size).map(|at| (space, at)));
                let touched = begin + value..begin + value + size.max(1);
                pages.extend(touched.map(|at| (space, at / 4096)));
            }
            let functions = of_phase.count() as u64;
            let (bytes, pages) = (bytes.len() as u64, pages.len() as u64);
            let pages_packed = bytes.div_ceil(4096).max(functions.min(1));
            PhaseSpan { phase, functions, bytes, pages, pages_packed }
        })
    }

    #[test]
    fn phases_agree_with_a_naive_count() {
        let functions = [(0, 0, 100, 0), (0, 4000, 200, 0), (0, 8192, 1, 7), (1, 0, 4097, 7)];
        let spans = phases(&Smf::parse(&file(&functions, None)).unwrap()).unwrap();
        let numbers = spans.map(|span| (span.functions, span.bytes, span.pages, span.pages_packed));
        assert_eq!(numbers, [(2, 300, 2, 1), (0, 0, 0, 0), (0, 0, 0, 0), (2, 4098, 3, 2)]);
        assert_eq!(spans.map(|span| span.phase), Phase::ALL);
    }

    #[test]
    fn spans_agree_with_a_walk_of_every_byte() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut draw = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let longest = if cfg!(miri) { 300 } else { 9000 };
        for round in some(0..60, 6) {
            let functions: Vec<_> = (0..draw(if cfg!(miri) { 10 } else { 40 }))
                .map(|_| {
                    let value = draw(CODE as u64);
                    let most = (CODE as u64 - value).min([1, 64, longest][round % 3]);
                    (draw(2) as u16, value, draw(most + 1), draw(16) as u8)
                })
                .collect();
            for begins in [None, Some([0, CODE as u64 + 16])] {
                let file = file(&functions, begins);
                let found = phases(&Smf::parse(&file).unwrap()).unwrap();
                assert_eq!(found, slowly(&functions, begins), "{functions:?} {begins:?}");
                assert!(found.iter().all(|span| span.pages_packed <= span.pages));
            }
        }
    }

    #[test]
    fn data_and_imports_have_no_phase_and_sums_of_sizes_saturate() {
        let sample = include_bytes!("../../../../tests/samples/lib.smf");
        let spans = phases(&Smf::parse(sample).unwrap()).unwrap();
        let defined = Smf::parse(sample).unwrap().symbols().iter().flatten();
        let functions = defined.filter(|s| s.kind == SymbolKind::Function && s.section.is_some());
        assert_eq!(spans.iter().map(|span| span.functions).sum::<u64>(), functions.count() as u64);
        let all = Place { space: 0, start: 0, end: u64::MAX };
        let last = Place { space: 0, start: u64::MAX, end: u64::MAX };
        let span = span(Phase::Cold, &mut [last, all, Place { space: 1, ..all }]);
        assert_eq!((span.bytes, span.pages), (u64::MAX, 1 << 53));
        assert_eq!(span.pages_packed, 1 << 52);
    }
}
