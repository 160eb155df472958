//! Every kind of file in use, parsed into one model.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use smf_core::format::error::{HeaderError, SymbolError};
use smf_core::format::{
    Arch, FormatError, Layout, Platform, RelocKind, SectionKind, Smf, SymbolKind,
};

/// The bytes of a sample.
macro_rules! sample {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/samples/", $name))
    };
}

fn symbols(smf: &Smf<'_>) -> Vec<(String, SymbolKind, bool, Option<u32>, u64, u64)> {
    let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let symbols = smf.symbols().iter().map(Result::unwrap);
    symbols.map(|s| (name(s.name()), s.kind, s.defined, s.section, s.value, s.size)).collect()
}

fn relocs(smf: &Smf<'_>) -> Vec<(u32, u64, u32, RelocKind, i64)> {
    let tables = smf.reloc_tables().map(Result::unwrap);
    tables
        .flat_map(|table| {
            let target = table.target.index;
            table.iter().map(move |r| (target, r.offset, r.symbol, r.kind, r.addend))
        })
        .collect()
}

#[test]
fn packed_and_native_read_into_the_same_model() {
    let packed = Smf::parse(sample!("packed.smf")).unwrap();
    let native = Smf::parse(sample!("native.smf")).unwrap();
    assert_eq!((packed.layout(), packed.header_offset()), (Layout::Packed, 901));
    assert_eq!((native.layout(), native.header_offset()), (Layout::Native, 0));
    use SymbolKind::{Constant, Data, Function};
    let mut expected = vec![
        ("answer".into(), Function, true, Some(0), 0, 6),
        ("add".into(), Function, true, Some(0), 16, 5),
        ("bump".into(), Function, true, Some(0), 32, 18),
        ("roget".into(), Function, true, Some(0), 64, 8),
        ("absload".into(), Function, true, Some(0), 80, 14),
        ("counter".into(), Data, true, Some(1), 0, 8),
    ];
    assert_eq!(symbols(&native), expected);
    expected.push(("magic".into(), Data, true, Some(2), 0, 8));
    expected[6].1 = symbols(&packed)[6].1;
    assert!(matches!(expected[6].1, Data | Constant));
    assert_eq!(symbols(&packed), expected);
    let with_roget = vec![
        (0, 35, 5, RelocKind::Pc32, -4),
        (0, 45, 5, RelocKind::Pc32, -4),
        (0, 67, 6, RelocKind::Pc32, -4),
        (0, 82, 5, RelocKind::Abs64, 0),
    ];
    assert_eq!(relocs(&packed), with_roget);
    let without: Vec<_> = with_roget.into_iter().filter(|r| r.2 != 6).collect();
    assert_eq!(relocs(&native), without);
}

#[test]
fn imports_have_no_section_in_either_layout() {
    for data in [&sample!("app.smf")[..], sample!("app-native.smf")] {
        let smf = Smf::parse(data).unwrap();
        let scale = smf.symbols().get(2).unwrap();
        assert_eq!((scale.name(), scale.is_import(), scale.section), (&b"scale"[..], true, None));
        assert!(smf.symbols().find_export(b"scale").is_none());
        assert_eq!(relocs(&smf)[1].3, RelocKind::GotPcRel);
    }
}

#[test]
fn lone_main_that_looks_like_an_import_is_defined() {
    let smf = Smf::parse(sample!("native-stub219.smf")).unwrap();
    assert_eq!(symbols(&smf), [("main".into(), SymbolKind::Function, true, Some(0), 0, 0)]);
    // Without code there is no section that it could refer to.
    let mut empty = sample!("native-stub219.smf").to_vec();
    empty[96 + 16] = 0;
    assert!(Smf::parse(&empty).unwrap().symbols().get(0).unwrap().is_import());
}

#[test]
fn declared_or_undeclared_stub_is_skipped() {
    for data in [&sample!("stub-declared.smf")[..], sample!("stub-cat.smf")] {
        let smf = Smf::parse(data).unwrap();
        assert_eq!((smf.base(), smf.has_stub()), (22, true));
        assert_eq!(smf.code().unwrap().data, b"\xb8\x2a\0\0\0\xc3");
        assert_eq!(symbols(&smf)[0].0, "answer");
        smf.verify().unwrap();
    }
}

#[test]
fn base_behind_undeclared_stub_is_found() {
    let module = sample!("packed.smf");
    for stub in [vec![0u8; 1], vec![0; 5000], vec![0xff; 777], b"#!/bin/sh\nexit 1\n".to_vec()] {
        let file = [&stub[..], module].concat();
        let smf = Smf::parse(&file).unwrap_or_else(|error| panic!("{} bytes: {error}", stub.len()));
        assert_eq!(smf.base(), stub.len() as u64);
        smf.verify().unwrap();
    }
    // This program contains the same module as data, which must not be mistaken for the appended one.
    let elf = std::fs::read("/proc/self/exe").unwrap();
    let file = [&elf[..], module].concat();
    assert_eq!(Smf::parse(&file).unwrap().base(), elf.len() as u64);
}

#[test]
fn two_possible_bases_are_an_error_naming_both() {
    let module = sample!("packed.smf");
    let body = &module[..901];
    let file = [b"#!stub\n", body, module].concat();
    let error = Smf::parse(&file).unwrap_err();
    assert_eq!(error, FormatError::Header(HeaderError::AmbiguousBase { first: 7, second: 908 }));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn base_search_with_too_many_candidates_is_refused() {
    // Every table of 4,000 entries has an implausible one, in most of them behind many others.
    let mut entry = [0u8; 64];
    entry[0] = 1;
    entry[32] = 1;
    entry[40] = b'x';
    let mut file = entry.repeat(20_000);
    file.iter_mut().step_by(4_000 * entry.len()).for_each(|kind| *kind = 0);
    let trailer = file.len();
    file.extend_from_slice(&sample!("packed.smf")[901..]);
    file[trailer + 16..trailer + 20].copy_from_slice(&4_000u32.to_le_bytes());
    file[trailer + 20..trailer + 28].copy_from_slice(&8u64.to_le_bytes());
    let error = Smf::parse(&file).unwrap_err();
    assert_eq!(error, FormatError::Header(HeaderError::BaseSearchLimit { at: trailer as u64 }));
}

#[test]
fn leading_packed_header_is_accepted() {
    let smf = Smf::parse(sample!("packed-leading.smf")).unwrap();
    assert_eq!((smf.layout(), smf.header_offset()), (Layout::Packed, 0));
    assert_eq!(symbols(&smf)[0].0, "answer");
    smf.verify().unwrap();
}

#[test]
fn native_trailer_is_accepted() {
    // The native sample with its header moved to the end: payloads keep their offsets.
    let native = sample!("native.smf");
    let mut file = native.to_vec();
    file[..96].fill(0);
    file.extend_from_slice(&native[..96]);
    let smf = Smf::parse(&file).unwrap();
    assert_eq!((smf.layout(), smf.header_offset()), (Layout::Native, native.len() as u64));
    smf.verify().unwrap();
    assert_eq!(symbols(&smf)[0].0, "answer");
}

#[test]
fn leading_header_is_used_if_trailer_tables_do_not_fit() {
    let leading = sample!("packed-leading.smf");
    let mut trailer = sample!("packed.smf")[901..].to_vec();
    trailer[20..28].fill(0xff);
    let file = [&leading[..], &trailer].concat();
    assert_eq!(Smf::parse(&file).unwrap().header_offset(), 0);
    // The trailer takes precedence when they fit.
    let file = [&leading[..], sample!("packed.smf")].concat();
    let smf = Smf::parse(&file).unwrap();
    assert_eq!((smf.base(), symbols(&smf).len()), (264, 7));
}

#[test]
fn two_readings_at_offset_0_are_an_error_naming_both() {
    // Tables for both: native at 24, packed at 20, whose upper half is the lower half of the other.
    let mut file = vec![0u8; 0x300 + 64];
    file[..4].copy_from_slice(b"SMF\0");
    file[16] = 1;
    // u64 at 20 = 0x0000_0000_0000_0200 needs u64 at 24 to have a zero low half: impossible for a
    // native table above 96, unless its offset is 2^32 and more. So both cannot fit below 4 GiB,
    // except without any section.
    file[16] = 0;
    file[20] = 128;
    assert_eq!(Smf::parse(&file).unwrap().layout(), Layout::Packed);
    file[20] = 0;
    file[24] = 96;
    assert_eq!(Smf::parse(&file).unwrap().layout(), Layout::Native);
}

#[test]
fn driver_section_entry_has_its_name_at_36() {
    let smf = Smf::parse(sample!("driver.smf")).unwrap();
    let names: Vec<_> = smf.sections().iter().map(|s| (s.name, s.kind, s.alignment)).collect();
    assert_eq!(
        names,
        [
            (&b"code"[..], SectionKind::Code, 16),
            (b"template_code", SectionKind::TemplateCode, 16),
            (b"template_meta", SectionKind::TemplateMeta, 16),
            (b"note.sdn", SectionKind::Note, 16),
            (b"note.deps", SectionKind::Note, 16),
        ]
    );
    smf.verify().unwrap();
    let (note, at) = smf.note_bytes().unwrap().unwrap();
    assert_eq!(at, 0x47);
    assert!(note.ends_with(b"# END_NOTE\n") && note.starts_with(b"# Mono"));
}

#[test]
fn compact_sections_are_identified_by_name() {
    let smf = Smf::parse(sample!("compact.smf")).unwrap();
    assert_eq!(smf.layout(), Layout::Compact);
    let kinds: Vec<_> = smf.sections().iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [SectionKind::TemplateCode, SectionKind::Note]);
    assert_eq!(smf.symbols().len(), 0);
    smf.verify().unwrap();
}

#[test]
fn bytecode_lists_its_functions() {
    let smf = Smf::parse(sample!("bcod.smf")).unwrap();
    assert_eq!((smf.header().symbol_count, smf.symbols().len()), (2, 0));
    let functions = smf.functions().unwrap().unwrap();
    let names: Vec<_> = functions.iter().map(|f| f.unwrap().name()).collect();
    assert_eq!(names, [&b"answer"[..], b"sum"]);
    smf.verify().unwrap();
}

#[test]
fn dynlib_contains_its_shared_object() {
    let smf = Smf::parse(sample!("dynlib.smf")).unwrap();
    assert_eq!((smf.layout(), smf.sections().len()), (Layout::Dynlib, 0));
    let object = smf.shared_object().unwrap();
    assert!(object.starts_with(b"\x7fELF") && object.len() == 13184 - 128);
    smf.verify().unwrap();
}

#[test]
fn modules_for_other_machines_and_systems_are_read() {
    let arch = Smf::parse(sample!("bad/wrong-arch.smf")).unwrap();
    assert_eq!(arch.header().arch, Arch::RISCV64);
    let platform = Smf::parse(sample!("bad/wrong-platform.smf")).unwrap();
    assert_eq!(platform.header().platform, Platform::WINDOWS);
    arch.verify().unwrap();
    platform.verify().unwrap();
}

#[test]
fn malformed_file_error_names_cause_and_offset() {
    let verdict =
        |data: &[u8]| Smf::parse(data).and_then(|smf| smf.verify()).unwrap_err().to_string();
    for (data, words) in [
        (&sample!("bad/empty.smf")[..], "the file is empty"),
        (sample!("bad/short.smf"), "no magic"),
        (sample!("bad/not-smf.smf"), "no magic"),
        (sample!("bad/truncated.smf"), "no magic"),
        (sample!("bad/table-outside.smf"), "the section table (4 entries from 0x"),
        (sample!("bad/table-wraps.smf"), "the section table (4 entries from 0x"),
        (sample!("bad/many-sections.smf"), "the section table (4294967295 entries"),
        (sample!("bad/many-symbols.smf"), "the symbol table (2147483647 entries"),
        (sample!("bad/section-outside.smf"), "section 0: its payload"),
        (sample!("bad/size-over-virtual.smf"), "section 0: size 0x5e is greater"),
        (sample!("bad/huge-bss.smf"), "more than the limit"),
        (sample!("bad/align-3.smf"), "section 0: alignment 3"),
        (sample!("bad/name-outside.smf"), "symbol 0: its name"),
        (sample!("bad/symbol-outside.smf"), "symbol 0: value"),
        (sample!("bad/bad-section-index.smf"), "symbol 0: it lies in section 60"),
        (sample!("bad/reloc-type.smf"), "relocation 0 of section 3: unknown type 99"),
        (sample!("bad/reloc-symbol.smf"), "symbol 5000 does not exist"),
        (sample!("bad/reloc-place.smf"), "relocation 0 of section 3: its field at 0x5c"),
    ] {
        let message = verdict(data);
        assert!(message.contains(words), "{message:?} lacks {words:?}");
        assert!(message.contains("offset 0x"), "{message:?} names no offset");
    }
}

#[test]
fn old_header_is_refused_by_name() {
    let mut file = vec![0u8; 512];
    file[..4].copy_from_slice(b"SMF\0");
    file[4..6].copy_from_slice(&[0, 1]);
    file[12] = 3;
    assert_eq!(Smf::parse(&file).unwrap_err(), FormatError::Header(HeaderError::Legacy { at: 0 }));
    let trailer = file.len() - 128;
    file.rotate_right(trailer);
    assert_eq!(
        Smf::parse(&file).unwrap_err(),
        FormatError::Header(HeaderError::Legacy { at: trailer as u64 })
    );
}

#[test]
fn bss_without_size_is_accepted() {
    let mut file = sample!("packed.smf").to_vec();
    // .data becomes a Bss of unknown size; `counter` lies in it.
    let entry = 0xd0 + 64;
    file[entry] = 4;
    file[entry + 16..entry + 32].fill(0);
    let smf = Smf::parse(&file).unwrap();
    assert!(smf.section(1).unwrap().has_lost_size());
    smf.verify().unwrap();
    // A stated size is enforced.
    file[entry + 24] = 4;
    let error = Smf::parse(&file).unwrap().verify().unwrap_err();
    assert!(matches!(error, FormatError::Symbol(SymbolError::Outside { index: 5, .. })), "{error}");
}
