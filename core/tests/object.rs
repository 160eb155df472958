//! ELF objects in a code section: parsing, and every way in which one can be malformed.
//!
//! The object is that of the sample `elf-object.smf`, whose payload starts at offset 0 of the file; the patched offsets are
//! from `readelf`.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use smf_core::format::error::{ElfError, RelocError, SectionError, SymbolError};
use smf_core::format::error::{ElfErrorKind, ElfPart};
use smf_core::format::write::{Module as NewModule, NewSection, Payload};
use smf_core::format::{
    Arch, Binding, FormatError, Header, Layout, Limits, RelocKind, SectionFlags, SectionKind, Smf,
    SymbolKind, SymbolPlace,
};

const SAMPLE: &[u8] = include_bytes!("../../tests/samples/elf-object.smf");
/// The size of the object in bytes.
const OBJECT: usize = 1520;
const SECTIONS: usize = 0x330;
const SYMBOLS: usize = 0xb0;
const RELOCS: usize = 0x230;

/// The offset of a field of section `index`.
fn section(index: usize, field: usize) -> usize {
    SECTIONS + 64 * index + field
}

const NAME: usize = 0;
const TYPE: usize = 4;
const FLAGS: usize = 8;
const OFFSET: usize = 24;
const SIZE: usize = 32;
const LINK: usize = 40;
const INFO: usize = 44;
const ALIGNMENT: usize = 48;

fn patched(patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = SAMPLE.to_vec();
    for (at, bytes) in patches {
        assert_ne!(&file[*at..at + bytes.len()], *bytes, "nothing is patched at {at:#x}");
        file[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    file
}

fn verdict(patches: &[(usize, &[u8])]) -> Result<(), FormatError> {
    Smf::parse(&patched(patches)).unwrap().verify()
}

/// A module with this code and these additional sections.
fn module(code: &[u8], arch: Arch, beside: &[NewSection<'_>]) -> Vec<u8> {
    let code = NewSection::code(code);
    let sections = [&[code][..], beside].concat();
    let header = Header { arch, ..Header::default() };
    let module =
        NewModule { layout: Layout::Native, header, stub: &[], sections: &sections, symbols: &[] };
    module.to_vec().unwrap()
}

#[test]
fn object_is_read_as_a_module() {
    let smf = Smf::parse(SAMPLE).unwrap();
    smf.verify().unwrap();
    assert_eq!((smf.layout(), smf.symbols().len(), smf.sections().len()), (Layout::Packed, 1, 1));
    let object = smf.object().unwrap().unwrap();
    assert_eq!((object.layout(), object.header().arch), (Layout::ElfX86_64, Arch::X86_64));
    assert!(object.verify().is_ok() && object.object().unwrap().is_none());
    assert_eq!(smf.linked().unwrap().layout(), Layout::ElfX86_64);

    let names: Vec<_> = object.sections().iter().map(|s| (s.kind, s.name)).take(8).collect();
    use SectionKind::{Code, Data, Reloc, RoData, Unknown};
    let expected: [(_, &[u8]); 8] = [
        (Unknown(0), b""),
        (Code, b".text"),
        (Reloc, b".rela.text"),
        (Data, b".data"),
        (Data, b".bss"),
        (RoData, b".rodata.str1.1"),
        (RoData, b".data.rel.ro.local"),
        (Reloc, b".rela.data.rel.ro.local"),
    ];
    assert_eq!(names, expected);
    let text = object.code().unwrap();
    assert_eq!((text.offset, text.size, text.alignment), (0x40, 70, 1));
    assert_eq!(text.data, &SAMPLE[0x40..][..70]);

    let symbols = object.symbols();
    assert_eq!(symbols.len(), 13);
    let bump = symbols.find_export(b"bump").unwrap();
    assert_eq!((bump.index, bump.kind, bump.binding), (8, SymbolKind::Function, Binding::Global));
    assert_eq!((bump.section, bump.value, bump.size), (Some(1), 0x14, 18));
    assert_eq!(bump.entry_offset, (SYMBOLS + 8 * 24) as u64);
    assert!(symbols.find_export(b"counter").is_none() && symbols.find_export(b"absent").is_none());
    assert_eq!(symbols.get(1).unwrap().name(), b".data");
    assert_eq!(symbols.get(1).unwrap().kind, SymbolKind::Section);
    assert_eq!(symbols.place(0), Ok(SymbolPlace::Nowhere));
    assert_eq!(symbols.place(10), Ok(SymbolPlace::Nowhere), "_GLOBAL_OFFSET_TABLE_");
    let missing = FormatError::Symbol(SymbolError::NoSuchSymbol { index: 13, count: 13 });
    assert_eq!(symbols.get(13).err(), Some(missing));
    assert_eq!(symbols.place(13), Err(missing));
    for index in 0..13 {
        let symbol = symbols.get(index).unwrap();
        let nowhere = SymbolPlace::Nowhere;
        let place = symbol.section.map_or(nowhere, |section| SymbolPlace::Section {
            section,
            value: symbol.value,
            size: symbol.size,
        });
        assert_eq!(symbols.place(index), Ok(place));
    }

    let tables: Vec<_> = object.reloc_tables().map(|table| table.unwrap()).collect();
    assert_eq!(
        tables.iter().map(|t| (t.target.index, t.len())).collect::<Vec<_>>(),
        [(1, 5), (6, 2)]
    );
    let kinds: Vec<_> = tables[0].iter().map(|reloc| (reloc.offset, reloc.kind)).collect();
    use RelocKind::{GotPcRel, Pc32, Plt32};
    assert_eq!(kinds, [(0x17, Pc32), (0x21, Pc32), (0x29, GotPcRel), (0x39, Pc32), (0x10, Plt32)]);
}

#[test]
fn common_symbol_is_a_section_of_its_own() {
    let smf = Smf::parse(SAMPLE).unwrap();
    let object = smf.object().unwrap().unwrap();
    let zeroes = object.symbols().find_export(b"zeroes").unwrap();
    assert_eq!((zeroes.section, zeroes.value, zeroes.size), (Some(11 + 11), 0, 24));
    let section = object.section(22).unwrap();
    assert_eq!((section.kind, section.memory_size()), (SectionKind::Bss, 24));
    assert_eq!((section.alignment, section.name, section.data), (16, &b"zeroes"[..], &[][..]));
    assert!(object.section(24).is_err());
    // Without common symbols there are no sections for symbols.
    let file = patched(&[(SYMBOLS + 11 * 24 + 6, &[4, 0])]);
    let object = Smf::parse(&file).unwrap().object().unwrap().unwrap();
    assert_eq!(object.sections().len(), 11);
}

#[test]
fn malformed_object_header_is_refused_with_its_cause() {
    use ElfErrorKind as F;
    let whole = |at: usize, bytes: &[u8], fault, found: usize| {
        let error = FormatError::Elf(ElfError::Part {
            part: ElfPart::Object,
            kind: fault,
            at: found as u64,
        });
        assert_eq!(verdict(&[(at, bytes)]), Err(error));
    };
    whole(4, &[1], F::Ident, 4);
    whole(5, &[2], F::Ident, 4);
    whole(6, &[0], F::Ident, 4);
    whole(16, &[2, 0], F::Type { value: 2 }, 16);
    whole(18, &[183, 0], F::Machine { value: 183 }, 18);
    whole(40, &[0xff; 8], F::SectionTable, 40);
    whole(58, &[40, 0], F::SectionTable, 40);
    whole(60, &[0, 0], F::SectionTable, 40);
    whole(60, &[12, 0], F::SectionTable, 40);
    whole(62, &[1, 0], F::NoNames, 62);
    whole(62, &[99, 0], F::NoNames, 62);
    for len in [4, 63] {
        let file = module(&SAMPLE[..len], Arch::X86_64, &[]);
        let fault = Smf::parse(&file).unwrap().verify().unwrap_err();
        assert!(
            matches!(fault, FormatError::Elf(ElfError::Part { kind: F::CutOff, .. })),
            "{fault}"
        );
        assert!(fault.to_string().contains("is shorter than its header"), "{fault}");
    }
    let foreign = module(&SAMPLE[..OBJECT], Arch::RISCV64, &[]);
    let fault = Smf::parse(&foreign).unwrap().verify().unwrap_err();
    assert!(fault.to_string().contains("is for machine 62"), "{fault}");
}

#[test]
fn malformed_object_section_is_refused_with_its_cause() {
    use ElfErrorKind as F;
    let check = |index: usize, field, bytes: &[u8], fault| {
        let part = ElfPart::Section(index as u32);
        let error =
            FormatError::Elf(ElfError::Part { part, kind: fault, at: section(index, 0) as u64 });
        assert_eq!(verdict(&[(section(index, field), bytes)]), Err(error));
    };
    check(1, SIZE, &[0xff; 8], F::Outside);
    check(1, OFFSET, &[0xff; 8], F::Outside);
    check(1, NAME, &[0xff; 4], F::Outside);
    check(9, SIZE, &(OBJECT as u64).to_le_bytes(), F::Outside);
    check(3, ALIGNMENT, &[3], F::Alignment { value: 3 });
    check(3, ALIGNMENT, &[0, 0, 0x40], F::Alignment { value: 4 << 20 });
    check(3, FLAGS, &[3, 4], F::ThreadLocal);
    check(6, TYPE, &[14], F::Constructors);
    check(1, FLAGS, &[7], F::WriteAndExecute);
    check(3, FLAGS, &[3, 8], F::Compressed);
    check(2, TYPE, &[9], F::NoAddends);
    check(2, SIZE, &[0x79], F::Relocs);
    check(2, LINK, &[9], F::Relocs);
    check(2, FLAGS, &[0x42], F::Relocs);
    check(8, FLAGS, &[2], F::SymbolTable);
    check(2, INFO, &[99], F::Relocs);
    check(8, SIZE, &[0x37], F::SymbolTable);
    check(8, LINK, &[1], F::SymbolTable);

    // The first of two symbol tables counts; it has no names if they are in the other one.
    let second = verdict(&[(section(10, TYPE), &[2])]);
    assert!(second.is_err(), "the section names are invalid");
    let zero_code: [(usize, &[u8]); 2] = [(section(4, FLAGS), &[6]), (section(4, SIZE), &[8])];
    assert!(matches!(
        verdict(&zero_code),
        Err(FormatError::Elf(ElfError::Part { kind: F::ZeroCode, .. }))
    ));
    let whole = (OBJECT as u64).to_le_bytes();
    let twice: [(usize, &[u8]); 2] = [(section(1, SIZE), &whole[..2]), (section(1, OFFSET), &[0])];
    assert!(matches!(
        verdict(&twice),
        Err(FormatError::Elf(ElfError::Part { kind: F::Overlap, .. }))
    ));
    // Everything up to .bss: the code, the data, and now 1 TiB.
    let (total, limit, at) = ((1 << 40) + 78, 4 << 30, section(4, 0) as u64);
    let huge = FormatError::Section(SectionError::VirtualSize { total, limit, at });
    assert_eq!(verdict(&[(section(4, SIZE) + 5, &[1])]), Err(huge));
}

#[test]
fn memory_of_an_object_has_the_limit_of_the_caller() {
    let file = patched(&[(section(4, SIZE) + 4, &[1])]);
    let (total, at) = ((4 << 30) + 78, section(4, 0) as u64);
    let parse = |virtual_size| {
        let limits = Limits { virtual_size, ..Limits::default() };
        Smf::parse_within(&file, limits).unwrap().linked().map(drop)
    };
    assert_eq!(parse(5 << 30), Ok(()));
    for limit in [total - 1, 4096] {
        let error = SectionError::VirtualSize { total, limit, at };
        assert_eq!(parse(limit), Err(FormatError::Section(error)));
    }
}

#[test]
fn malformed_object_symbol_is_refused_with_its_cause() {
    use ElfErrorKind as F;
    let check = |index: usize, field: usize, bytes: &[u8], fault| {
        let at = SYMBOLS + 24 * index;
        let part = ElfPart::Symbol(index as u32);
        let error = FormatError::Elf(ElfError::Part { part, kind: fault, at: at as u64 });
        assert_eq!(verdict(&[(at + field, bytes)]), Err(error));
    };
    check(8, 4, &[0x16], F::ThreadLocal);
    check(8, 4, &[0x1a], F::IndirectFunction);
    check(8, 4, &[0x1d], F::SymbolType { value: 13 });
    check(8, 4, &[0x32], F::SymbolBinding { value: 3 });
    check(8, 6, &[11, 0], F::SymbolSection { value: 11 });
    check(8, 6, &[0xff, 0xff], F::SymbolSection { value: 0xffff });
    check(11, 8, &[3], F::Alignment { value: 3 });
    check(11, 8, &[0, 0, 0x40], F::Alignment { value: 4 << 20 });
    let outside = verdict(&[(SYMBOLS + 8 * 24 + 8, &[0x40])]).unwrap_err();
    assert!(
        matches!(outside, FormatError::Symbol(SymbolError::Outside { index: 8, .. })),
        "{outside}"
    );
    let nameless = verdict(&[(SYMBOLS + 8 * 24, &[0xff; 4])]).unwrap_err();
    assert!(
        matches!(nameless, FormatError::Symbol(SymbolError::Name { index: 8, .. })),
        "{nameless}"
    );
    let huge = verdict(&[(SYMBOLS + 11 * 24 + 21, &[1])]).unwrap_err();
    assert!(matches!(huge, FormatError::Section(SectionError::VirtualSize { .. })), "{huge}");
}

#[test]
fn malformed_object_relocation_is_refused_with_its_cause() {
    let fault = |at: usize, bytes: &[u8]| verdict(&[(at, bytes)]).unwrap_err();
    let tls = fault(RELOCS + 24 + 8, &[23]);
    let text = "relocation 1 of section 2 of the ELF object is R_X86_64_TPOFF32 (23), which is not supported, at offset 0x248";
    assert_eq!(tls.to_string(), text);
    // The type is recognised by its low byte only.
    let odd = fault(RELOCS + 8, &[2, 1]);
    assert!(odd.to_string().contains("a kind of the number 258"), "{odd}");
    let symbol = fault(RELOCS + 12, &[13]);
    assert!(matches!(
        symbol,
        FormatError::Reloc(RelocError::Symbol { section: 2, index: 0, symbol: 13, .. })
    ));
    let place = fault(RELOCS, &[0x43]);
    assert!(matches!(
        place,
        FormatError::Reloc(RelocError::Place { section: 2, index: 0, offset: 0x43, .. })
    ));
}

#[test]
fn relocations_of_unloaded_sections_are_ignored() {
    // The target of .rela.data.rel.ro.local becomes a section that is not loaded, with an invalid
    // relocation.
    let file = patched(&[(section(6, FLAGS), &[0]), (0x2a8 + 8, &[0xff])]);
    let object = Smf::parse(&file).unwrap().object().unwrap().unwrap();
    object.verify().unwrap();
    assert_eq!(object.reloc_tables().count(), 1);
    assert_eq!(object.symbols().place(3), Ok(SymbolPlace::Nowhere));
}

#[test]
fn loaded_section_beside_an_object_is_refused() {
    let code = &SAMPLE[..OBJECT];
    let beside = |kind, bytes| NewSection {
        kind,
        name: b".other",
        flags: SectionFlags(3),
        alignment: 8,
        virtual_size: None,
        payload: Payload::Bytes(bytes),
    };
    for (kind, bytes, refused) in [
        (SectionKind::Data, &[1u8; 24][..], true),
        (SectionKind::Code, &[0xc3; 8], true),
        (SectionKind::Reloc, &[0; 24], true),
        (SectionKind::Data, &[], false),
        (SectionKind::Reloc, &[], false),
        (SectionKind::Debug, &[1; 24], false),
    ] {
        let file = module(code, Arch::X86_64, &[beside(kind, bytes)]);
        let found = Smf::parse(&file).unwrap().object().map(|object| object.is_some());
        match found {
            Err(FormatError::Elf(ElfError::Beside { section: 1, .. })) if refused => {}
            found => assert_eq!((found, refused), (Ok(true), false), "{kind}"),
        }
    }
    // Nor before it.
    let plain = [0xc3; 8];
    let second = NewSection { name: b".text2", ..beside(SectionKind::Code, code) };
    let file = module(&plain, Arch::X86_64, &[second]);
    let error = Smf::parse(&file).unwrap().verify().unwrap_err();
    assert!(matches!(error, FormatError::Elf(ElfError::Beside { section: 0, .. })), "{error}");
}

#[test]
fn module_without_object_in_code_is_read_as_itself() {
    for sample in [
        &include_bytes!("../../tests/samples/packed.smf")[..],
        include_bytes!("../../tests/samples/dynlib.smf"),
        include_bytes!("../../tests/samples/compact.smf"),
    ] {
        let smf = Smf::parse(sample).unwrap();
        assert!(smf.object().unwrap().is_none());
        assert_eq!(smf.linked().unwrap().layout(), smf.layout());
    }
    let object = Smf::parse(SAMPLE).unwrap().object().unwrap().unwrap();
    use smf_core::format::write::convert::{ConvertError, convert, without_stub};
    assert!(matches!(convert(&object, Layout::Native), Err(ConvertError::Object)));
    assert!(matches!(without_stub(&object), Err(ConvertError::Object)));
}

#[cfg(target_arch = "x86_64")]
mod linked {
    use super::*;
    use smf_core::link::{Image, LinkError, Module, NoImports, Resolve, missing_imports};

    use smf_core::trap::call;

    fn load<'d>(file: &'d [u8], imports: &dyn Resolve) -> Result<Module<'d>, LinkError> {
        Image::map(&Smf::parse(file).unwrap())?.link(imports)
    }

    fn run(module: &Module<'_>, name: &str, args: &[i64]) -> i64 {
        let function = module.function(name.as_bytes()).unwrap();
        // SAFETY: the functions of the sample take integers, as many as are passed here.
        unsafe { call(function, args) }.unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn sample_object_runs() {
        let module = load(SAMPLE, &NoImports).unwrap();
        assert_eq!((run(&module, "answer", &[]), run(&module, "add", &[3, -5])), (42, -2));
        assert_eq!((run(&module, "bump", &[1]), run(&module, "bump", &[10])), (101, 111));
        assert_eq!((run(&module, "keep", &[2, 7]), run(&module, "keep", &[2, 8])), (0, 7));
        assert_eq!([0, 1].map(|at| run(&module, "letter", &[at])), [97, 98]);
    }

    #[test]
    fn exports_are_those_of_the_object() {
        // The module's own table has a symbol of this name, at the start of the object.
        let module = load(SAMPLE, &NoImports).unwrap();
        let text = module.code().next().unwrap().start as u64;
        for _ in 0..2 {
            assert_eq!(module.symbol(b"answer"), Some(text + 5));
            assert_eq!(module.find(b"answer").unwrap().size, 15);
            let zeroes = module.find(b"zeroes").unwrap();
            assert_eq!((zeroes.kind, zeroes.address % 16), (SymbolKind::Data, 0));
            assert_eq!(module.symbol(b"counter"), None);
        }
        let at = SAMPLE.windows(7).rposition(|window| window == b"answer\0").unwrap();
        let file = patched(&[(at, b"zanswe")]);
        let module = load(&file, &NoImports).unwrap();
        assert_eq!((module.symbol(b"zanswe"), module.symbol(b"answer").is_some()), (None, true));
        assert_eq!(module.smf().layout(), Layout::Packed);
        assert_eq!(module.linked().layout(), Layout::ElfX86_64);
    }

    #[test]
    fn entry_point_is_main_or_the_first_function() {
        let module = load(SAMPLE, &NoImports).unwrap();
        let first = module.entry_point();
        assert_eq!(first, module.function(b"add"));
        // The entry point of the header is an offset in the object's file, and is invalid.
        let smf = Smf::parse(SAMPLE).unwrap();
        let at = smf.header_offset() as usize + 44;
        let module_file = patched(&[(at, &[0x50])]);
        assert_eq!(Smf::parse(&module_file).unwrap().header().entry_point, 0x50);
        let module = load(&module_file, &NoImports).unwrap();
        assert_eq!(module.entry_point(), module.function(b"add"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn imports_of_an_object_are_resolved_by_name() {
        // `add` becomes an import, then a weak one, which may be missing.
        let add = SYMBOLS + 6 * 24;
        let file = patched(&[(add + 6, &[0, 0]), (add + 16, &[0])]);
        let smf = Smf::parse(&file).unwrap();
        let error = load(&file, &NoImports).err().unwrap();
        assert!(matches!(error, LinkError::MissingImports { count: 1, .. }), "{error}");
        let missing: Vec<_> =
            missing_imports(&smf, &NoImports).map(|s| s.name().to_vec()).collect();
        assert_eq!(missing, [b"add"]);
        extern "C" fn subtract(a: i64, b: i64) -> i64 {
            a - b
        }
        let subtract = subtract as extern "C" fn(i64, i64) -> i64 as usize as u64;
        let provide = |name: &[u8]| (name == b"add").then_some(subtract);
        assert_eq!(run(&load(&file, &provide).unwrap(), "answer", &[]), 38);
        let weak = patched(&[(add + 4, &[0x20]), (add + 6, &[0, 0]), (add + 16, &[0])]);
        assert_eq!(run(&load(&weak, &NoImports).unwrap(), "bump", &[2]), 102);
    }

    #[test]
    fn object_without_code_is_not_linked() {
        let file = patched(&[(section(1, FLAGS), &[2])]);
        assert_eq!(load(&file, &NoImports).err(), Some(LinkError::NoCode));
    }

    #[test]
    #[cfg_attr(miri, ignore = "maps memory at chosen addresses")]
    fn relocations_of_elf_alone_are_applied_and_checked() {
        // `lea names(%rip)` has 32 bits; they become a zero-extended and a sign-extended address.
        for (kind, wanted) in [(10u8, true), (11, true), (24, false)] {
            let at = RELOCS + 3 * 24;
            let file = patched(&[(at + 8, &[kind]), (at + 16, &[0; 8])]);
            let smf = Smf::parse(&file).unwrap();
            let object = smf.object().unwrap().unwrap();
            let Ok(module) = load(&file, &NoImports) else { panic!("{kind}") };
            let text = module.code().next().unwrap().start as u64;
            let names = object.symbols().get(5).map(|symbol| module.address(&symbol)).unwrap();
            let (place, names) = (text + 0x39, names.unwrap());
            // SAFETY: the code of a loaded module is readable.
            let found = unsafe { (place as usize as *const u64).read_unaligned() };
            if wanted {
                assert!(names < 1 << 31, "addresses must fit 31 bits");
                assert_eq!(found & 0xffff_ffff, names);
            } else {
                assert_eq!(found, names.wrapping_sub(place));
            }
        }
    }
}
