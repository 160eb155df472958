//! The writer, byte for byte and read back.

use proptest::collection::vec;
use proptest::prelude::*;
use smf_core::format::write::convert::{Dropped, convert};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload};
use smf_core::format::{
    Binding, Flags, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, Smf, Symbol,
    SymbolFlags, SymbolKind,
};
use smf_tests::spec::{Spec, is_ambiguous};

/// The worked example of the format: 201 bytes of code, one relocation, one exported function
/// with a name of four letters.
#[test]
fn packed_writer_is_byte_exact() {
    let code = [0x90; 201];
    let relocs = [Reloc { offset: 16, symbol: 0, kind: RelocKind::Pc32, addend: -4 }];
    let section = |kind, name, flags, alignment, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(flags),
        alignment,
        virtual_size: None,
        payload,
    };
    let module = Module {
        layout: Layout::Packed,
        header: Header::default(),
        stub: &[],
        sections: &[
            section(SectionKind::Code, b".text", 5, 16, Payload::Bytes(&code)),
            section(SectionKind::Reloc, b".rela.text", 1, 8, Payload::Relocs(&relocs)),
        ],
        symbols: &[NewSymbol {
            name: b"main",
            size: 201,
            visibility: 1,
            flags: SymbolFlags(0),
            ..NewSymbol::default()
        }],
    };
    let mut file = vec![0; module.file_len().unwrap()];
    module.write(&mut file).unwrap();

    assert_eq!(file.len(), 550);
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    let header = 422;
    assert_eq!(file[header..header + 4], *b"SMF\0");
    assert_eq!((u32_at(header + 16), u64_at(header + 20)), (2, 232), "the section table");
    assert_eq!((u64_at(header + 28), u32_at(header + 36)), (360, 1), "the symbol table");
    let relocs = 232 + 64;
    assert_eq!((file[relocs], u64_at(relocs + 8)), (5, 208), "the relocations begin at 208");
    assert_eq!((u64_at(relocs + 16), u64_at(relocs + 32)), (24, 8), "size 24, alignment 8");
    assert_eq!((u64_at(208), u32_at(216), file[220]), (16, 0, 2));
    assert_eq!(u64_at(224).cast_signed(), -4);
    assert_eq!(u32_at(360), 1, "name_offset");
    assert_eq!(file[368..371], [0, 1, 1], "type, binding, visibility");
    assert_eq!((u64_at(376), u64_at(384)), (0, 201), "value, size");
    assert_eq!(file[416..422], *b"\0main\0");
    assert_eq!(file[..201], code);
    Smf::parse(&file).unwrap().verify().unwrap();
}

/// Contents that are in the buffer already give the same file as contents that the writer copies.
#[test]
fn module_written_around_its_contents_is_the_same() {
    let (code, data) = ([0x90; 201], [7; 77]);
    let relocs = [Reloc { offset: 16, symbol: 0, kind: RelocKind::Pc32, addend: -4 }];
    for (layout, stub) in
        [(Layout::Packed, &b""[..]), (Layout::Packed, b"#!/bin/sh\n"), (Layout::Native, b"")]
    {
        let sections = |code, data| {
            let data = NewSection::new(SectionKind::Data, b".data", data);
            let relocs = NewSection::new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs));
            [NewSection { payload: code, ..NewSection::code(&[]) }, data, relocs]
        };
        let symbols = [NewSymbol { name: b"main", ..NewSymbol::default() }];
        let header = Header::default();
        let module = Module { layout, header, stub, sections: &[], symbols: &symbols };
        let copied = sections(Payload::Bytes(&code), Payload::Bytes(&data));
        let copied = Module { sections: &copied, ..module }.to_vec().unwrap();
        let spaces = sections(Payload::Space(code.len()), Payload::Space(data.len()));
        let module = Module { sections: &spaces, ..module };
        let offsets =
            [0, 1].map(|index| usize::try_from(module.payload_offset(index).unwrap()).unwrap());
        assert_eq!(module.payload_offset(3), None);
        let mut file = vec![0; offsets[1] + data.len()];
        file[offsets[0]..][..code.len()].copy_from_slice(&code);
        file[offsets[1]..][..data.len()].copy_from_slice(&data);
        module.write_around(&mut file).unwrap();
        assert_eq!(file, copied, "{layout:?}");
        // A buffer without the contents has zeroes there.
        let empty = module.to_vec().unwrap();
        assert!(empty[offsets[0]..][..code.len()].iter().all(|byte| *byte == 0));
    }
}

/// Asserts that `new` has everything that `old` has, except for the listed parts.
fn assert_same(old: &Smf<'_>, new: &Smf<'_>, dropped: &[Dropped<'_>]) {
    let gone = |name: &[u8]| {
        dropped.iter().any(|dropped| match dropped {
            Dropped::Section { name: gone, .. } | Dropped::Symbol { name: gone, .. } => {
                *gone == name
            }
            _ => false,
        })
    };
    let generated = |kind| matches!(kind, SectionKind::Reloc | SectionKind::StrTab);
    let sections = |smf: &Smf<'_>| {
        let kept = smf.sections().iter().filter(|section| !gone(section.name));
        let seen = kept.map(|s| {
            let data = if generated(s.kind) { Vec::new() } else { s.data.to_vec() };
            let size = if generated(s.kind) { 0 } else { s.memory_size() };
            (s.name.to_vec(), s.kind, s.flags, s.alignment, size, data)
        });
        seen.collect::<Vec<_>>()
    };
    assert_eq!(sections(old), sections(new));

    let symbols = |smf: &Smf<'_>| {
        let kept = smf.symbols().iter().map(Result::unwrap).filter(|symbol| !gone(symbol.name()));
        let seen = kept.map(|s| {
            let home = s.section.filter(|_| s.kind.has_address());
            let home = home.map(|home| smf.section(home).unwrap().name.to_vec());
            // The native layout has no section symbols; a symbol of another kind may replace one.
            let kind = if s.kind == SymbolKind::Section { None } else { Some(s.kind) };
            let numbers = (s.value, s.size, s.type_id, s.version, s.template_offset);
            (
                s.name().to_vec(),
                kind,
                s.binding,
                s.defined,
                home,
                s.flags,
                s.template_params,
                numbers,
            )
        });
        seen.collect::<Vec<_>>()
    };
    let (old_symbols, new_symbols) = (symbols(old), symbols(new));
    assert_eq!(old_symbols.len(), new_symbols.len());
    for (mut old, new) in old_symbols.into_iter().zip(new_symbols) {
        old.1 = old.1.and(new.1);
        assert_eq!(old, (new.0, old.1, new.2, new.3, new.4, new.5, new.6, new.7));
    }

    let relocs = |smf: &Smf<'_>| {
        let tables = smf.reloc_tables().map(Result::unwrap);
        let seen = tables.flat_map(|table| {
            table
                .iter()
                .zip(0..)
                .map(move |(reloc, index)| (table, reloc, index))
                .collect::<Vec<_>>()
        });
        let named = seen.map(|(table, reloc, index)| {
            let symbol = smf.symbols().get(reloc.symbol).unwrap().name();
            let dropped =
                Dropped::Reloc { table: table.section.name, index, kind: reloc.kind, symbol };
            let place = (table.target.name.to_vec(), reloc.offset, reloc.kind, reloc.addend);
            (dropped, (place, symbol.to_vec()))
        });
        named.map(|(drop, reloc)| (dropped.contains(&drop), reloc)).collect::<Vec<_>>()
    };
    let kept: Vec<_> = relocs(old).into_iter().filter(|(gone, _)| !gone).map(|(_, r)| r).collect();
    assert_eq!(kept, relocs(new).into_iter().map(|(_, reloc)| reloc).collect::<Vec<_>>());
}

/// Asserts that a part was dropped because `layout` cannot express it.
fn assert_unsayable(old: &Smf<'_>, layout: Layout, dropped: &[Dropped<'_>]) {
    let lost = |lost: fn(&Dropped<'_>, &[u8]) -> bool, name| dropped.iter().any(|d| lost(d, name));
    let is_section = |d: &Dropped<'_>, name: &[u8]| matches!(d, Dropped::Section { name: gone, .. } if *gone == name);
    let is_symbol = |d: &Dropped<'_>, name: &[u8]| matches!(d, Dropped::Symbol { name: gone, .. } if *gone == name);
    for item in dropped {
        match *item {
            Dropped::Section { name, kind: SectionKind::Reloc } => {
                let mut tables = old.reloc_tables().map(Result::unwrap);
                let table = tables.find(|table| table.section.name == name).unwrap();
                assert_eq!(layout.section_number(table.target.kind), None);
            }
            Dropped::Section { kind, .. } => assert_eq!(layout.section_number(kind), None),
            Dropped::Symbol { name, kind } if layout == Layout::Native => {
                let mut symbols = old.symbols().iter().map(Result::unwrap);
                let symbol = symbols.find(|symbol| symbol.name() == name).unwrap();
                let home = symbol.section.map(|home| old.section(home).unwrap());
                let first = match kind {
                    SymbolKind::Function => old.code(),
                    _ => old.sections().of_kind(SectionKind::Data),
                };
                let elsewhere = home.map(|home| home.index) != first.map(|first| first.index);
                let odd_import = !symbol.defined && (symbol.binding == Binding::Local);
                assert!(elsewhere || odd_import, "{item}");
            }
            Dropped::Symbol { kind, .. } => assert_eq!(layout.symbol_number(kind), None),
            Dropped::Reloc { table, kind, symbol, .. } => {
                let dropped_with = lost(is_section, table) || lost(is_symbol, symbol);
                assert!(layout.reloc_number(kind).is_none() || dropped_with, "{item}");
            }
            Dropped::Detail { name, what } => {
                assert_eq!((layout, lost(is_symbol, name)), (Layout::Native, false));
                let mut symbols = old.symbols().iter().map(Result::unwrap);
                let symbol = symbols.find(|symbol| symbol.name() == name).unwrap();
                assert_eq!(detail_lost(&symbol), Some(what));
            }
            Dropped::Stub { .. } => assert_eq!(layout, Layout::Native),
            _ => panic!("{item}"),
        }
    }
}

/// The detail of a symbol that the native layout cannot express, if it has one.
fn detail_lost(symbol: &Symbol<'_>) -> Option<&'static str> {
    match symbol.kind {
        SymbolKind::Section => Some("the kind `section`"),
        kind if !kind.has_address() && symbol.section.is_some() => Some("the section"),
        _ => None,
    }
}

/// Asserts that every lost detail is listed.
fn assert_details(old: &Smf<'_>, layout: Layout, dropped: &[Dropped<'_>]) {
    if layout != Layout::Native {
        return;
    }
    for symbol in old.symbols().iter().map(Result::unwrap) {
        let gone = |d: &Dropped<'_>| matches!(d, Dropped::Symbol { name, .. } | Dropped::Detail { name, .. } if *name == symbol.name());
        assert!(detail_lost(&symbol).is_none() || dropped.iter().any(gone));
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    vec(any::<u8>(), 0..2000).prop_map(|bytes| Spec::draw(&bytes))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn written_module_is_read_back(spec in spec()) {
        let file = spec.write();
        if !is_ambiguous(spec.layout(), &file) {
            spec.assert_read(&Smf::parse(&file).unwrap());
        }
    }

    /// Converted there and back, everything that both layouts can express is preserved, and the rest is listed.
    #[test]
    fn conversion_preserves_what_both_layouts_can_express(spec in spec()) {
        let file = spec.write();
        let other = if spec.layout() == Layout::Packed { Layout::Native } else { Layout::Packed };
        prop_assume!(!is_ambiguous(spec.layout(), &file));
        let old = Smf::parse(&file).unwrap();
        let there = convert(&old, other).unwrap();
        prop_assume!(!is_ambiguous(other, &there.bytes));
        let middle = Smf::parse(&there.bytes).unwrap();
        assert_eq!(middle.layout(), other);
        middle.verify().unwrap();
        assert_same(&old, &middle, &there.dropped);
        assert_unsayable(&old, other, &there.dropped);
        assert_details(&old, other, &there.dropped);

        let back = convert(&middle, spec.layout()).unwrap();
        assert_eq!(back.dropped, []);
        let new = Smf::parse(&back.bytes).unwrap();
        assert_eq!(new.layout(), spec.layout());
        new.verify().unwrap();
        assert_same(&old, &new, &there.dropped);
        let header = |smf: &Smf<'_>| Header {
            flags: Flags(smf.header().flags.0 & !Flags::HAS_STUB),
            section_count: 0,
            section_table: 0,
            symbol_count: 0,
            symbol_table: 0,
            exported_count: 0,
            stub_size: 0,
            data_offset: 0,
            ..smf.header()
        };
        assert_eq!(header(&old), header(&new));
    }
}
