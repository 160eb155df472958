//! Modules for any machine, relocated in a buffer as if it lay at a fixed address.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use super::super::host_services::Host;
use super::super::machine::SLOT;
use super::*;
use crate::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use crate::format::{Arch, Binding, Header, Layout, SectionKind, SymbolKind};

const BASE: u64 = 0x7f12_3456_7000;
const CODE: u16 = 0;
const RODATA: u16 = 1;
const DATA: u16 = 2;
const LATER_CODE: u16 = 3;

const B: u32 = 0x1400_0000;
const BL: u32 = 0x9400_0000;
const ADRP_X0: u32 = 0x9000_0000;
const ADR_X0: u32 = 0x1000_0000;
const ADD_X0: u32 = 0x9100_0000;
const LDR_X0: u32 = 0xf940_0000;
const LDR_Q0: u32 = 0x3dc0_0000;

/// A module under construction: two sections of code, constants and data.
struct Builder {
    arch: Arch,
    layout: Layout,
    code: Vec<u32>,
    data: Vec<u8>,
    /// The size of the first code section in memory.
    code_size: Option<u64>,
    later_code: Vec<u32>,
    symbols: Vec<NewSymbol<'static>>,
    relocs: [Vec<Reloc>; 3],
}

/// The relocation tables, by target section.
const TABLES: [&[u8]; 3] = [b".rela", b".rela.data", b".rela.later"];

impl Builder {
    fn new(arch: Arch, layout: Layout) -> Self {
        let (code, data, later_code) = (Vec::new(), vec![0; 64], Vec::new());
        let (symbols, relocs) = (Vec::new(), [const { Vec::new() }; 3]);
        Builder { arch, layout, code, data, code_size: None, later_code, symbols, relocs }
    }

    fn arm() -> Self {
        Self::new(Arch::AARCH64, Layout::Native)
    }

    fn symbol(&mut self, name: &'static str, place: Place, value: u64) -> u32 {
        // Native symbols have no section: their kind selects it.
        let kind = match place {
            Place::Section(DATA) => SymbolKind::Data,
            Place::Section(RODATA) => SymbolKind::Constant,
            _ => SymbolKind::Function,
        };
        let (name, binding) = (name.as_bytes(), Binding::Global);
        let visibility = u8::from(place != Place::Import);
        let symbol = NewSymbol { name, kind, place, value, binding, ..NewSymbol::default() };
        self.symbols.push(NewSymbol { visibility, ..symbol });
        u32::try_from(self.symbols.len() - 1).unwrap()
    }

    /// Appends an instruction with a relocation.
    fn code(&mut self, word: u32, symbol: u32, kind: RelocKind, addend: i64) {
        let offset = self.code.len() as u64 * 4;
        self.code.push(word);
        self.relocs[0].push(Reloc { offset, symbol, kind, addend });
    }

    fn file(&self) -> Vec<u8> {
        self.file_with(&[])
    }

    /// The file with a prelinked layout: each section on a page of its own.
    fn with_prelink(&self) -> Vec<u8> {
        let tables = self.relocs.iter().filter(|relocs| !relocs.is_empty()).count();
        let loaded = (0..4).map(|number| Some(number * prelink::PAGE));
        let offsets: Vec<_> = loaded.chain(core::iter::repeat_n(None, tables + 1)).collect();
        self.file_with(&prelink::encode(&offsets, &[]).unwrap())
    }

    /// The file, with a note unless it is empty.
    fn file_with(&self, note: &[u8]) -> Vec<u8> {
        let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let (code, later) = (bytes(&self.code), bytes(&self.later_code));
        let mut sections = vec![
            NewSection::new(SectionKind::Code, b".text", Payload::Bytes(&code)),
            NewSection::new(SectionKind::RoData, b".rodata", Payload::Bytes(&[0; 32])),
            NewSection::new(SectionKind::Data, b".data", Payload::Bytes(&self.data)),
            NewSection::new(SectionKind::Code, b".later", Payload::Bytes(&later)),
        ];
        sections[usize::from(CODE)].virtual_size = self.code_size;
        for (name, relocs) in TABLES.into_iter().zip(&self.relocs) {
            if !relocs.is_empty() {
                sections.push(NewSection::new(SectionKind::Reloc, name, Payload::Relocs(relocs)));
            }
        }
        if !note.is_empty() {
            sections.push(NewSection::new(SectionKind::Note, prelink::NAME, Payload::Bytes(note)));
        }
        let header = Header { arch: self.arch, ..Header::default() };
        let module = Module {
            layout: self.layout,
            header,
            stub: &[],
            sections: &sections,
            symbols: &self.symbols,
        };
        module.to_vec().unwrap()
    }

    /// Links the module at `BASE`, with every import resolved to `import`.
    fn link(&self, import: u64) -> Result<Linked, LinkError> {
        Linked::new(&self.file(), import)
    }

    fn error(&self, import: u64) -> String {
        self.link(import).err().unwrap().to_string()
    }
}

/// A relocated image.
struct Linked {
    memory: Vec<u8>,
    sections: Vec<u64>,
    got: u64,
    veneers: u64,
    got_count: u32,
}

impl Linked {
    fn new(file: &[u8], import: u64) -> Result<Self, LinkError> {
        let smf = Smf::parse(file).unwrap();
        smf.verify().unwrap();
        Self::unverified(&smf, import)
    }

    fn unverified(smf: &Smf<'_>, import: u64) -> Result<Self, LinkError> {
        let layout = ImageLayout::new(smf, 4096)?;
        let mut memory = vec![0; usize::try_from(layout.size).unwrap()];
        let sections: Vec<u64> = layout.sections.iter().map(|at| at.unwrap_or(0)).collect();
        for (at, section) in sections.iter().zip(smf.sections().iter()) {
            if section.kind.is_loaded() {
                let at = usize::try_from(*at).unwrap();
                memory[at..at + section.data.len()].copy_from_slice(section.data);
            }
        }
        let imports = |_: &[u8]| Some(import);
        relocate(
            smf,
            &layout,
            BASE,
            &mut memory,
            &imports,
            &mut HostResources::new(Libraries::none(Host::NONE)),
        )?;
        let (got, veneers, got_count) = (layout.got, layout.veneers, layout.got_count);
        Ok(Linked { memory, sections, got, veneers, got_count })
    }

    fn word(&self, section: u16, number: u64) -> u32 {
        let at = self.sections[usize::from(section)] + number * 4;
        u32_at(&self.memory, usize::try_from(at).unwrap()).unwrap()
    }

    fn slot(&self, number: u64) -> u64 {
        let at = usize::try_from(self.got + number * SLOT).unwrap();
        u64::from_le_bytes(self.memory[at..at + 8].try_into().unwrap())
    }

    fn address(&self, section: u16, offset: u64) -> u64 {
        BASE + self.sections[usize::from(section)] + offset
    }

    /// The target of the branch at this word of this section.
    fn branch(&self, section: u16, number: u64) -> u64 {
        let distance = i64::from(self.word(section, number) & 0x3ff_ffff) << 38 >> 36;
        self.address(section, number * 4).wrapping_add_signed(distance)
    }

    /// The result of `adrp x0` at this word.
    fn page(&self, number: u64) -> u64 {
        let word = self.word(CODE, number);
        let pages = i64::from((word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3) << 43 >> 43;
        (self.address(CODE, number * 4) & !0xfff).wrapping_add_signed(pages << 12)
    }

    /// The immediate of the load, store or addition at this word, unscaled.
    fn offset(&self, number: u64) -> u64 {
        u64::from(self.word(CODE, number) >> 10 & 0xfff)
    }
}

#[test]
fn arm64_kinds_compute_the_documented_values() {
    let mut module = Builder::arm();
    let datum = module.symbol("datum", Place::Section(DATA), 0x18);
    let entry = module.symbol("entry", Place::Section(CODE), 0);
    let far = module.symbol("far", Place::Import, 0);
    module.code(BL, entry, RelocKind::Arm64Branch26, 8);
    module.code(ADRP_X0, datum, RelocKind::Arm64Page21, 8);
    module.code(ADD_X0, datum, RelocKind::Arm64PageOff12, 8);
    module.code(LDR_X0, datum, RelocKind::Arm64PageOff12, 8);
    module.code(LDR_Q0, datum, RelocKind::Arm64PageOff12, 8);
    module.code(ADRP_X0, far, RelocKind::Arm64GotLoadPage21, 0);
    module.code(LDR_X0, far, RelocKind::Arm64GotLoadPageOff12, 0);
    module.code(ADRP_X0, datum, RelocKind::Arm64GotLoadPage21, 0);
    module.code(LDR_X0, datum, RelocKind::Arm64GotLoadPageOff12, 0);
    module.code(ADR_X0, entry, RelocKind::Arm64Page21, 12);
    let linked = module.link(0x1234_5678_9abc_def0).unwrap();
    assert_eq!((linked.word(CODE, 0), linked.branch(CODE, 0)), (BL | 2, linked.address(CODE, 8)));
    let datum = linked.address(DATA, 0x20);
    assert_eq!((linked.page(1), linked.word(CODE, 1) & 31), (datum & !0xfff, 0));
    assert_eq!(linked.offset(2), datum & 0xfff);
    assert_eq!(linked.offset(3), (datum & 0xfff) / 8);
    assert_eq!(linked.offset(4), (datum & 0xfff) / 16);
    for (number, slot) in [(5, 0), (7, 1)] {
        let address = BASE + linked.got + slot * SLOT;
        assert_eq!(linked.page(number) + linked.offset(number + 1) * 8, address);
    }
    assert_eq!((linked.slot(0), linked.slot(1)), (0x1234_5678_9abc_def0, datum - 8));
    assert_eq!(linked.got_count, 2);
    // adr x0, 24 bytes back: 4 * 9 - 12.
    assert_eq!(linked.word(CODE, 9), ADR_X0 | 0x7fffa << 5);
}

#[test]
fn data_relocations_are_the_same_for_every_machine() {
    for arch in [Arch::AARCH64, Arch::X86_64, Arch::RISCV64] {
        let mut module = Builder::new(arch, Layout::Native);
        module.code = vec![0xd65f_03c0; 4];
        let datum = module.symbol("datum", Place::Section(DATA), 8);
        let entry = module.symbol("entry", Place::Section(CODE), 4);
        for (offset, symbol, kind, addend) in [
            (0, datum, RelocKind::Abs64, 5),
            (8, entry, RelocKind::Pc32, 2),
            (12, entry, RelocKind::Plt32, -4),
            (16, datum, RelocKind::GotPcRel, 4),
        ] {
            module.relocs[1].push(Reloc { offset, symbol, kind, addend });
        }
        let linked = module.link(0).unwrap();
        let word = |number| i64::from(linked.word(DATA, number).cast_signed());
        let place = |offset| linked.address(DATA, offset);
        let distance = |number, target: u64| {
            place(number * 4).wrapping_add_signed(word(number)).wrapping_sub(target)
        };
        assert_eq!(linked.word(DATA, 0), (place(13) & 0xffff_ffff) as u32);
        assert_eq!(linked.word(DATA, 1), (place(13) >> 32) as u32);
        assert_eq!(distance(2, linked.address(CODE, 4)), 2);
        assert_eq!(distance(3, linked.address(CODE, 4)), (-4i64).cast_unsigned());
        assert_eq!(distance(4, BASE + linked.got), 4);
        assert_eq!(linked.slot(0), place(8));
    }
}

/// The low bits of a number, taken one by one; `None` if it does not fit, signed or unsigned.
fn bit_by_bit(value: i128, bits: u32, has_sign: bool) -> Option<u64> {
    let bit = |number: u32| value.div_euclid(1 << number).rem_euclid(2);
    let word: i128 = (0..bits).map(|number| bit(number) << number).sum();
    let sign = if has_sign { bit(bits - 1) << bits } else { 0 };
    (word - sign == value).then(|| u64::try_from(word).unwrap())
}

#[test]
fn malformed_abs64_is_refused_when_it_is_applied() {
    for (offset, symbol, is_sound) in [
        (56, 0, true),
        (57, 0, false),
        (64, 0, false),
        (u64::MAX, 0, false),
        (0, 1, false),
        (0, 2, false),
        (0, u32::MAX, false),
    ] {
        let mut module = Builder::new(Arch::X86_64, Layout::Packed);
        let kind = RelocKind::Abs64;
        module.symbol("datum", Place::Section(DATA), 8);
        module.symbol("type", Place::Unstated, 0);
        module.symbols[1].kind = SymbolKind::Type;
        for offset in [8, 16] {
            module.relocs[1].push(Reloc { offset, symbol: 0, kind, addend: 0 });
        }
        let mut file = module.file();
        // Corrupts the second relocation.
        let table = Smf::parse(&file).unwrap().reloc_tables().next().unwrap().unwrap();
        let at = usize::try_from(table.section.offset).unwrap() + 24;
        file[at..at + 8].copy_from_slice(&u64::to_le_bytes(offset));
        file[at + 8..at + 12].copy_from_slice(&u32::to_le_bytes(symbol));
        let smf = Smf::parse(&file).unwrap();
        let (verified, linked) = (smf.verify(), Linked::unverified(&smf, 0));
        match verified {
            Err(error) => assert_eq!(linked.err(), Some(LinkError::Format(error))),
            Ok(()) if is_sound => assert!(linked.is_ok()),
            Ok(()) => {
                let (section, symbol) = (4, Name::new(b"type").unwrap());
                let expected = LinkError::NoAddress { section, index: 1, symbol };
                assert_eq!(linked.err(), Some(expected));
            }
        }
        assert_eq!(verified.is_err(), !is_sound && symbol != 1);
    }
}

#[test]
fn data_relocations_agree_with_an_oracle() {
    let mut module = Builder::new(Arch::AARCH64, Layout::Packed);
    let far = module.symbol("far", Place::Import, 0);
    module.code = vec![0xd65f_03c0];
    let kinds = [RelocKind::Abs64, RelocKind::Pc32, RelocKind::Abs32, RelocKind::Abs32S];
    let (mut state, mut written, mut refused) = (1u64, 0, 0);
    for case in 0..if cfg!(miri) { 20 } else { 100_000i64 } {
        // Addresses of every magnitude, and distances about the limits.
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        let kind = kinds[usize::try_from(case % 5 % 4).unwrap()];
        let addend = (state >> 20).cast_signed() % 4096 - 2048;
        let near = if kind == RelocKind::Pc32 { BASE } else { 0 };
        let shift = 29 + state % 5;
        let import = if case % 2 == 0 { state } else { near.wrapping_add(state >> shift) };
        let import = if case % 4 == 1 { near.wrapping_sub(state >> shift) } else { import };
        module.relocs[1] = vec![Reloc { offset: 16, symbol: far, kind, addend }];
        let found = module.link(import).ok();
        let place = found.as_ref().map_or(BASE + 8192, |linked| linked.address(DATA, 16));
        let sum = i128::from(import) + i128::from(addend);
        let expected = match kind {
            RelocKind::Abs64 => bit_by_bit(sum.rem_euclid(1 << 64), 64, false),
            RelocKind::Pc32 => bit_by_bit(sum - i128::from(place), 32, true),
            RelocKind::Abs32S => {
                bit_by_bit(i128::from(import.cast_signed()) + i128::from(addend), 32, true)
            }
            _ => bit_by_bit(sum, 32, false),
        };
        let found = found.map(|linked| {
            let high = if kind == RelocKind::Abs64 { linked.word(DATA, 5) } else { 0 };
            u64::from(high) << 32 | u64::from(linked.word(DATA, 4))
        });
        assert_eq!(found, expected, "{kind} {import:#x} {addend}");
        *(if found.is_some() { &mut written } else { &mut refused }) += 1;
    }
    let enough = written > 40_000 && refused > 10_000;
    assert!(cfg!(miri) || enough, "{written} {refused}");
}

#[test]
fn symbol_at_the_last_address_is_resolved() {
    let mut module = Builder::new(Arch::X86_64, Layout::Packed);
    let symbol = module.symbol("last", Place::Import, 0);
    module.relocs[1] = vec![Reloc { offset: 0, symbol, kind: RelocKind::Abs64, addend: -1 }];
    let linked = module.link(u64::MAX).unwrap();
    assert_eq!([linked.word(DATA, 0), linked.word(DATA, 1)], [u32::MAX - 1, u32::MAX]);
}

#[test]
fn branch_out_of_reach_goes_through_a_veneer() {
    let mut module = Builder::arm();
    let far = module.symbol("far", Place::Import, 0);
    module.code(BL, far, RelocKind::Arm64Branch26, 0);
    module.code(B, far, RelocKind::Arm64Branch26, 0);
    module.code(ADRP_X0, far, RelocKind::Arm64GotLoadPage21, 0);
    let reach = 1 << 27;
    // The last target within reach and the first beyond it, in both directions.
    for (target, direct) in [
        (BASE + reach - 4, true),
        (BASE + reach, false),
        (BASE - reach + 4, true),
        (BASE - reach - 4, false),
        (0, false),
        (u64::MAX - 3, false),
    ] {
        let linked = module.link(target).unwrap();
        let veneer = BASE + linked.veneers;
        let first = if direct { target } else { veneer };
        // For the second branch, 4 bytes on, the limits are 4 bytes higher.
        assert_eq!(linked.branch(CODE, 0), first, "{target:#x}");
        assert!(linked.branch(CODE, 1) == target || linked.branch(CODE, 1) == veneer);
        assert_eq!((linked.word(CODE, 0) & !0x3ff_ffff, linked.word(CODE, 1) >> 26), (BL, B >> 26));
        // One slot serves the veneer and the load.
        assert_eq!((linked.slot(0), linked.got_count), (target, 1));
        assert_eq!(linked.page(2), (BASE + linked.got) & !0xfff);
    }
}

#[test]
fn branch_with_addend_does_not_use_the_veneer() {
    let mut module = Builder::arm();
    let far = module.symbol("far", Place::Import, 0);
    module.code(BL, far, RelocKind::Arm64Branch26, 8);
    assert_eq!(module.link(BASE + 0x1000).unwrap().branch(CODE, 0), BASE + 0x1008);
    assert_eq!(
        module.error(0x1000),
        "the relocation arm64branch26 against `far` cannot reach 0x1008 from 0x7f1234567000"
    );
}

#[test]
fn branch_inside_more_than_64_mib_of_code_has_a_veneer() {
    let mut module = Builder::arm();
    module.code_size = Some(150 << 20);
    let first = module.symbol("first", Place::Section(CODE), 0);
    let middle = module.symbol("middle", Place::Section(CODE), 100 << 20);
    module.code = vec![0xd65f_03c0];
    module.later_code = vec![BL, B];
    for (number, symbol) in [(0, first), (1, middle)] {
        let (offset, kind, addend) = (number * 4, RelocKind::Arm64Branch26, 0);
        module.relocs[2].push(Reloc { offset, symbol, kind, addend });
    }
    let linked = module.link(0).unwrap();
    assert_eq!(linked.branch(LATER_CODE, 0), BASE + linked.veneers);
    assert_eq!(linked.branch(LATER_CODE, 1), linked.address(CODE, 100 << 20));
    // adrp x16, down to the start of the code; add x16, x16, #0
    let veneer = usize::try_from(linked.veneers).unwrap();
    let words = linked.memory[veneer..veneer + 8].as_chunks::<4>().0;
    let [page, offset] = [0, 1].map(|number| u32::from_le_bytes(words[number]));
    assert_eq!((page & 0x9f00_001f, offset), (0x9000_0010, 0x9100_0210));
}

#[test]
fn overflow_message_names_the_symbol_and_both_addresses() {
    for (kind, word) in [
        (RelocKind::Arm64Page21, ADRP_X0),
        (RelocKind::Arm64Page21, ADR_X0),
        (RelocKind::Pc32, 0),
        (RelocKind::Arm64Branch26, B),
    ] {
        let mut module = Builder::arm();
        module.code = vec![0; 3];
        let far = module.symbol("far", Place::Import, 0);
        module.code(word, far, kind, 4);
        let places = "`far` cannot reach 0x1004 from 0x7f123456700c";
        let expected = match kind {
            RelocKind::Arm64Branch26 => std::format!("the relocation {kind} against {places}"),
            _ => {
                let more = if kind == RelocKind::Pc32 { "" } else { " and -mcmodel=small" };
                std::format!(
                    "the relocation {kind} against the import {places}, because the imports of the module lie too far apart; compile the objects that use it with -fPIC{more}"
                )
            }
        };
        assert_eq!(module.error(0x1000), expected);
    }
}

#[test]
fn import_that_exceeds_32_bits_is_named_with_the_remedy() {
    for (kind, address) in [(RelocKind::Abs32, 1 << 32), (RelocKind::Abs32S, 1 << 31)] {
        let mut module = Builder::new(Arch::AARCH64, Layout::Packed);
        module.code = vec![0; 3];
        let far = module.symbol("far", Place::Import, 0);
        module.code(0, far, kind, 4);
        let expected = std::format!(
            "the relocation {kind} against the import `far` cannot reach 0x{address:x} from 0x7f123456700c, because it holds 32 bits of an address; compile the objects that use it with -fPIC"
        );
        assert_eq!(module.error(address - 4), expected);
        assert!(module.link(address - 5).is_ok());
    }
}

#[test]
fn relocation_of_another_instruction_is_refused() {
    for (kind, word) in [
        (RelocKind::Arm64Branch26, 0xd65f_03c0),
        (RelocKind::Arm64Page21, ADD_X0),
        (RelocKind::Arm64PageOff12, ADRP_X0),
        (RelocKind::Arm64GotLoadPage21, LDR_X0),
        (RelocKind::Arm64GotLoadPageOff12, 0xb940_0000),
    ] {
        let mut module = Builder::arm();
        let entry = module.symbol("entry", Place::Section(CODE), 0);
        module.code(word, entry, kind, 0);
        let expected = std::format!(
            "the relocation {kind} against `entry` does not apply to the instruction 0x{word:08x} at 0x{BASE:x}"
        );
        assert_eq!(module.error(0), expected);
    }
}

#[test]
fn value_not_in_units_of_the_instruction_is_refused() {
    let leads = |kind, word, addend, unit| {
        let mut module = Builder::arm();
        let entry = module.symbol("entry", Place::Section(CODE), 0);
        module.code(word, entry, kind, addend);
        let error = module.error(0);
        let expected = std::format!(
            "the relocation {kind} against `entry` leads from 0x{BASE:x} to 0x{:x}, and its instruction counts in units of {unit} bytes",
            BASE.wrapping_add_signed(addend)
        );
        assert_eq!(error, expected);
    };
    leads(RelocKind::Arm64Branch26, B, 2, 4);
    leads(RelocKind::Arm64PageOff12, 0x7940_0000, 1, 2);
    leads(RelocKind::Arm64PageOff12, 0xb940_0000, 2, 4);
    leads(RelocKind::Arm64PageOff12, LDR_X0, 4, 8);
    leads(RelocKind::Arm64PageOff12, LDR_Q0, 8, 16);
    // An unaligned instruction.
    let mut module = Builder::arm();
    let entry = module.symbol("entry", Place::Section(CODE), 0);
    module.code = vec![0, 0];
    let (offset, kind, addend) = (2, RelocKind::Arm64Page21, 0);
    module.relocs[0].push(Reloc { offset, symbol: entry, kind, addend });
    module.code[0] = ADRP_X0 << 16;
    module.code[1] = ADRP_X0 >> 16;
    assert!(module.error(0).ends_with("counts in units of 4 bytes"));
}

#[test]
fn arm64_kind_in_code_of_another_machine_is_refused() {
    for (number, kind) in (0..).zip([
        RelocKind::Arm64Branch26,
        RelocKind::Arm64Page21,
        RelocKind::Arm64PageOff12,
        RelocKind::Arm64GotLoadPage21,
        RelocKind::Arm64GotLoadPageOff12,
    ]) {
        for arch in [Arch::X86_64, Arch::RISCV64] {
            let mut module = Builder::new(arch, Layout::Native);
            let entry = module.symbol("entry", Place::Section(CODE), 0);
            module.code = vec![0; number];
            module.code(B, entry, kind, 0);
            let expected =
                std::format!("relocation 0 of section 4: {kind} is not for this instruction set");
            assert_eq!(module.error(0), expected);
        }
    }
}

#[test]
fn call_in_code_of_an_unknown_machine_has_no_veneer() {
    let mut module = Builder::new(Arch::RISCV64, Layout::Native);
    let far = module.symbol("far", Place::Import, 0);
    module.code(0, far, RelocKind::Plt32, 0);
    assert_eq!(module.link(BASE + 0x100).unwrap().word(CODE, 0), 0x100);
    assert!(module.error(0).contains("the relocation plt32 against `far` cannot reach 0x0"));
}

/// The worked examples of the format, and the veneer of x86-64.
#[test]
fn x86_64_kinds_compute_the_documented_values() {
    let mut module = Builder::new(Arch::X86_64, Layout::Native);
    let far = module.symbol("far", Place::Import, 0);
    module.code(0, far, RelocKind::GotPcRel, 4);
    module.code(0, far, RelocKind::Plt32, -4);
    let linked = module.link(0x1122_3344_5566_7788).unwrap();
    assert_eq!(u64::from(linked.word(CODE, 0)), linked.got + 4);
    let veneer = usize::try_from(linked.veneers).unwrap();
    assert_eq!(u64::from(linked.word(CODE, 1)), linked.veneers - 4 - 4);
    assert_eq!(linked.memory[veneer..veneer + 8], [0xff, 0x25, 2, 0, 0, 0, 0xcc, 0xcc]);
    assert_eq!(linked.memory[veneer + 8..veneer + 16], 0x1122_3344_5566_7788u64.to_le_bytes());

    let mut module = Builder::new(Arch::X86_64, Layout::Native);
    let far = module.symbol("far", Place::Import, 0);
    module.code(0, far, RelocKind::Pc32, 0);
    assert!(module.error(BASE + 3_000_000_000).contains("cannot reach"));
    assert_eq!(module.link(BASE + 0x7fff_ffff).unwrap().word(CODE, 0), 0x7fff_ffff);
}

#[test]
fn prelinked_code_gets_its_layout_or_is_refused() {
    let mut module = Builder::new(Arch::AARCH64, Layout::Packed);
    module.code = vec![0xd65f_03c0];
    let begin = module.symbol(".smf.image", Place::Import, 0);
    module.relocs[1] = vec![Reloc { offset: 0, symbol: begin, kind: RelocKind::Abs64, addend: 0 }];
    let linked = Linked::new(&module.with_prelink(), 0x1234).unwrap();
    assert_eq!(u64::from(linked.word(DATA, 0)), BASE & 0xffff_ffff);
    // No module can export the name.
    assert_eq!(module.link(0x1234).err(), Some(LinkError::Prelink));
    // Larger pages rule the layout out.
    let file = module.with_prelink();
    let smf = Smf::parse(&file).unwrap();
    let layout = ImageLayout::new(&smf, 1 << 16).unwrap();
    let mut memory = vec![0; usize::try_from(layout.size).unwrap()];
    let error = relocate(
        &smf,
        &layout,
        BASE,
        &mut memory,
        &|_: &[u8]| None,
        &mut HostResources::new(Libraries::none(Host::NONE)),
    );
    assert_eq!(error, Err(LinkError::Prelink));
    let imports = crate::link::NoImports;
    assert_eq!(crate::link::missing_imports(&smf, &imports).count(), 0);
}

/// The oracle: every place of the group, one after the other.
fn add_one_by_one(group: PlaceGroup, base: u64, memory: &mut [u8]) -> bool {
    group.places().all(|place| {
        let start = usize::try_from(place).unwrap();
        let Some(word) = memory.get_mut(start..start + 8) else { return false };
        let value = u64::from_le_bytes((&*word).try_into().unwrap()).wrapping_add(base);
        word.copy_from_slice(&value.to_le_bytes());
        true
    })
}

#[test]
fn relative_relocations_in_runs_agree_with_one_by_one() {
    let runs = (0..64).flat_map(|first| (1..=64 - first).map(move |len| (first, len)));
    let runs = runs.map(|(first, len)| (u64::MAX >> (64 - len)) << first);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let others = (0..200).map(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    });
    let before: Vec<u8> = (0..=255).cycle().take(8 * 66).collect();
    for mask in runs.chain(others).chain([0]) {
        for (start, size) in [(0, before.len()), (16, before.len()), (8, 8 * 40)] {
            let group = PlaceGroup { start, mask };
            let (mut found, mut expected) = (before[..size].to_vec(), before[..size].to_vec());
            let is_inside = add_one_by_one(group, BASE, &mut expected);
            assert_eq!(add_to_places(group, BASE, &mut found).is_ok(), is_inside, "{mask:x}");
            assert!(!is_inside || found == expected, "{mask:x} at {start}");
        }
    }
}
