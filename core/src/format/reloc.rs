//! Relocations as written: where, against whom, how. Applying them is the link room's work.

use core::fmt;

use super::bytes::{i64_at, u8_at, u32_at, u64_at};
use super::elf;
use super::layout::{Layout, RELOC, reloc_kind};
use super::section::Section;

/// How a relocation is computed. S is the symbol's address, A the addend, P the place, G the address
/// of a GOT slot that holds S.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RelocKind {
    /// Nothing to do.
    None,
    /// S + A, 64 bits.
    Abs64,
    /// S + A - P, signed 32 bits.
    Pc32,
    /// S + A - P, signed 32 bits; through a veneer when S is out of reach.
    Plt32,
    /// G + A - P, signed 32 bits.
    GotPcRel,
    /// S + A, unsigned 32 bits (packed layout only).
    Abs32,
    /// S + A, signed 32 bits (ELF objects only).
    Abs32S,
    /// S + A - P, 64 bits (ELF objects only).
    Pc64,
    /// (S + A - P) >> 2, signed 26 bits, into the low bits of an instruction (native layout only).
    Arm64Branch26,
    /// (page(S + A) - page(P)) >> 12, signed 21 bits.
    Arm64Page21,
    /// (S + A) & 0xfff, scaled by the access size.
    Arm64PageOff12,
    /// As Arm64Page21, on the GOT slot.
    Arm64GotLoadPage21,
    /// As Arm64PageOff12, on the GOT slot.
    Arm64GotLoadPageOff12,
    /// A number that means nothing in this layout.
    Unknown(u8),
}

impl RelocKind {
    /// Bytes written at the place.
    pub const fn width(self) -> u64 {
        match self {
            RelocKind::None | RelocKind::Unknown(_) => 0,
            RelocKind::Abs64 | RelocKind::Pc64 => 8,
            _ => 4,
        }
    }
}

impl fmt::Display for RelocKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RelocKind::None => "none",
            RelocKind::Abs64 => "abs64",
            RelocKind::Pc32 => "pc32",
            RelocKind::Plt32 => "plt32",
            RelocKind::GotPcRel => "gotpcrel",
            RelocKind::Abs32 => "abs32",
            RelocKind::Abs32S => "abs32s",
            RelocKind::Pc64 => "pc64",
            RelocKind::Arm64Branch26 => "arm64branch26",
            RelocKind::Arm64Page21 => "arm64page21",
            RelocKind::Arm64PageOff12 => "arm64pageoff12",
            RelocKind::Arm64GotLoadPage21 => "arm64gotloadpage21",
            RelocKind::Arm64GotLoadPageOff12 => "arm64gotloadpageoff12",
            RelocKind::Unknown(value) => return write!(f, "unknown({value})"),
        })
    }
}

/// One relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Its place, in bytes from the begin of the section it applies to.
    pub offset: u64,
    /// The number of the symbol S.
    pub symbol: u32,
    /// How it is computed.
    pub kind: RelocKind,
    /// A.
    pub addend: i64,
}

impl Reloc {
    #[cfg_attr(feature = "full", inline(always))]
    fn decode(entry: RelocEntry<'_>, kinds: &[RelocKind]) -> Self {
        Reloc {
            offset: entry.offset(),
            symbol: entry.symbol(),
            kind: reloc_kind(kinds, entry.number()),
            addend: entry.addend(),
        }
    }

    /// The wire form with `number` for the kind; pads are zero.
    pub(super) fn encode(&self, number: u8) -> [u8; RELOC] {
        let mut bytes = [0; RELOC];
        let (offset, rest) = bytes.split_at_mut(8);
        let (symbol, rest) = rest.split_at_mut(4);
        let (kind, addend) = rest.split_at_mut(4);
        offset.copy_from_slice(&self.offset.to_le_bytes());
        symbol.copy_from_slice(&self.symbol.to_le_bytes());
        kind.copy_from_slice(&u32::from(number).to_le_bytes());
        addend.copy_from_slice(&self.addend.to_le_bytes());
        bytes
    }
}

/// One relocation as it is written, for who looks at few fields of many.
#[derive(Clone, Copy, Debug)]
pub struct RelocEntry<'d>(&'d [u8; RELOC]);

impl RelocEntry<'_> {
    /// As [`Reloc::offset`].
    #[cfg_attr(feature = "full", inline(always))]
    pub fn offset(&self) -> u64 {
        u64_at(self.0, 0).unwrap_or(0)
    }

    /// As [`Reloc::symbol`].
    #[cfg_attr(feature = "full", inline(always))]
    pub fn symbol(&self) -> u32 {
        u32_at(self.0, 8).unwrap_or(0)
    }

    /// The number of its kind in the layout of its file.
    #[cfg_attr(feature = "full", inline(always))]
    pub fn number(&self) -> u8 {
        u8_at(self.0, 12).unwrap_or(0)
    }

    /// As [`Reloc::addend`].
    #[cfg_attr(feature = "full", inline(always))]
    pub fn addend(&self) -> i64 {
        i64_at(self.0, 16).unwrap_or(0)
    }
}

/// One relocation section: its entries and the section they apply to.
#[derive(Clone, Copy, Debug)]
pub struct RelocTable<'d> {
    /// The section that holds the relocations.
    pub section: Section<'d>,
    /// The section that they apply to.
    pub target: Section<'d>,
    pub(super) layout: Layout,
}

impl<'d> RelocTable<'d> {
    /// How many relocations there are.
    pub fn len(&self) -> usize {
        self.section.data.len() / RELOC
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in the order of the table.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Reloc> + use<'d> {
        // The layout is asked once, not for each of them.
        let (layout, kinds) = (self.layout, self.layout.reloc_kinds());
        self.entries().map(move |entry| {
            if layout.is_object() {
                elf::reloc::decode(entry.0, layout)
            } else {
                Reloc::decode(entry, kinds)
            }
        })
    }

    /// All of them as they are written. Those of an ELF object have other fields, which only
    /// [`RelocTable::decode`] understands.
    #[inline]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = RelocEntry<'d>> + Clone + use<'d> {
        self.section.data.as_chunks::<RELOC>().0.iter().map(RelocEntry)
    }

    /// The number of the first relocation from the one with number `from` on whose kind has another
    /// [number](RelocEntry::number). Looks at four of them at a time, because most tables are all of one kind.
    pub fn first_other(&self, number: u8, from: usize) -> Option<usize> {
        let entries = self.section.data.as_chunks::<RELOC>().0.get(from..)?;
        let differs = |entry: &[u8; RELOC]| RelocEntry(entry).number() ^ number;
        let same = |four: &&[_; 4]| four.iter().fold(0, |all, entry| all | differs(entry)) == 0;
        let passed = 4 * entries.as_chunks::<4>().0.iter().take_while(same).count();
        let rest = entries.get(passed..)?;
        rest.iter().position(|entry| differs(entry) != 0).map(|at| from + passed + at)
    }

    /// The relocation with this number.
    pub fn get(&self, index: usize) -> Option<Reloc> {
        self.section.data.as_chunks().0.get(index).map(|bytes| self.decode(RelocEntry(bytes)))
    }

    /// What an entry says.
    #[inline]
    pub fn decode(&self, entry: RelocEntry<'_>) -> Reloc {
        if self.layout.is_object() {
            return elf::reloc::decode(entry.0, self.layout);
        }
        Reloc::decode(entry, self.layout.reloc_kinds())
    }

    /// The number that [entries](RelocEntry::number) of this kind have; `None` when the layout has none,
    /// and for an ELF object, whose numbers are no bytes.
    pub fn number(&self, kind: RelocKind) -> Option<u8> {
        if self.layout.is_object() { None } else { self.layout.reloc_number(kind) }
    }

    /// The number of the first one that is of an unknown kind, of none of `symbols` symbols, or not in
    /// its place; and that one.
    pub(super) fn first_broken(&self, symbols: u64) -> Option<(usize, Reloc)> {
        let (layout, room) = (self.layout, self.target.memory_size());
        let is_broken = |reloc: Reloc| {
            let end = reloc.offset.checked_add(reloc.kind.width());
            matches!(reloc.kind, RelocKind::Unknown(_))
                || u64::from(reloc.symbol) >= symbols
                || end.is_none_or(|end| end > room)
        };
        // Compiled once for each form: all of a table is in this loop.
        let mut entries = self.entries();
        let index = if layout.is_object() {
            entries.position(|entry| is_broken(elf::reloc::decode(entry.0, layout)))
        } else {
            let kinds = layout.reloc_kinds();
            entries.position(|entry| is_broken(Reloc::decode(entry, kinds)))
        };
        index.and_then(|index| Some((index, self.iter().nth(index)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let reloc =
            Reloc { offset: 0x0102_0304_0506_0708, symbol: 9, kind: RelocKind::Plt32, addend: -4 };
        for layout in [Layout::Native, Layout::Packed] {
            let number = layout.reloc_number(reloc.kind).unwrap();
            let bytes = reloc.encode(number);
            let entry = RelocEntry(&bytes);
            assert_eq!(Reloc::decode(entry, layout.reloc_kinds()), reloc);
            assert_eq!((entry.offset(), entry.symbol()), (reloc.offset, reloc.symbol));
            assert_eq!((entry.number(), entry.addend()), (number, reloc.addend));
        }
    }

    #[test]
    fn the_first_of_another_kind_is_what_a_walk_finds() {
        use super::super::write::{Module, NewSection, NewSymbol, Payload, Place};
        use super::super::{Header, SectionKind, Smf};
        let lengths = 0..if cfg!(miri) { 6 } else { 12 };
        for (len, other) in lengths.flat_map(|len| (0..=len).map(move |other| (len, other))) {
            let relocs: std::vec::Vec<_> = (0..len)
                .map(|number| {
                    let is_other = number == other || number == other + 3;
                    let kind = if is_other { RelocKind::Pc32 } else { RelocKind::Abs64 };
                    Reloc { offset: number, symbol: 0, kind, addend: 0 }
                })
                .collect();
            let table = NewSection::new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs));
            let sections = [NewSection::code(&[0; 24]), table];
            let (layout, header) = (Layout::Packed, Header::default());
            let place = Place::Section(0);
            let symbol = NewSymbol { name: b"code", place, ..NewSymbol::default() };
            let module =
                Module { layout, header, stub: &[], sections: &sections, symbols: &[symbol] };
            let file = module.to_vec().unwrap();
            let table = Smf::parse(&file).unwrap().reloc_tables().next().unwrap().unwrap();
            let number = table.number(RelocKind::Abs64).unwrap();
            for from in 0..=relocs.len() + 1 {
                let mut rest = relocs.iter().enumerate().skip(from);
                let walked = rest.find(|(_, reloc)| reloc.kind != RelocKind::Abs64);
                let found = table.first_other(number, from);
                assert_eq!(found, walked.map(|(at, _)| at), "{other} of {len} from {from}");
                assert_eq!(found.and_then(|at| table.get(at)), walked.map(|(_, reloc)| *reloc));
            }
        }
    }
}
