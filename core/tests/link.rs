//! From a file to a call: mapping, every relocation with its checks, imports, veneers, unloading.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use smf_core::alloc_util::TryArc;
use smf_core::format::write::{
    Module as NewModule, NewSection, NewSymbol, Payload, Place, WriteError,
};
use smf_core::format::{
    Arch, Binding, Header, Layout, Platform, Reloc, RelocKind, SectionFlags, SectionKind, Smf,
    SymbolKind,
};
use smf_core::link::{Image, LinkError, Module, NoImports, Resolve, missing_imports};
use smf_core::memory::{PageCount, PagePool, Placement, Protection, Segment};
use smf_core::trap;

macro_rules! sample {
    ($name:literal) => {
        Smf::parse(include_bytes!(concat!("../../tests/samples/", $name))).unwrap()
    };
}

/// The memory map belongs to the process: tests that examine an address must not run while other tests load and
/// unload modules.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn load<'d>(smf: &Smf<'d>, imports: &dyn Resolve) -> Result<Module<'d>, LinkError> {
    Image::map(smf)?.link(imports)
}

fn call(module: &Module<'_>, name: &str, args: &[i64]) -> i64 {
    let address = module.function(name.as_bytes()).unwrap_or_else(|| panic!("no function {name}"));
    // SAFETY: the samples and the modules built here define functions of that many integers.
    unsafe { trap::call(address, args) }.unwrap()
}

#[test]
fn samples_run_with_documented_results() {
    let _alone = alone();
    let packed = load(&sample!("packed.smf"), &NoImports).unwrap();
    assert_eq!(call(&packed, "answer", &[]), 42);
    assert_eq!(call(&packed, "add", &[2, -5]), -3);
    assert_eq!((call(&packed, "bump", &[1]), call(&packed, "bump", &[10])), (101, 111));
    assert_eq!((call(&packed, "roget", &[]), call(&packed, "absload", &[])), (7777, 111));
    let native = load(&sample!("native.smf"), &NoImports).unwrap();
    assert_eq!((call(&native, "answer", &[]), call(&native, "absload", &[])), (42, 100));
    for (smf, name, result) in [
        (sample!("native-stub219.smf"), "main", 0),
        (sample!("stub-declared.smf"), "answer", 42),
        (sample!("stub-cat.smf"), "answer", 42),
        (sample!("packed-leading.smf"), "answer", 42),
        (sample!("driver.smf"), "answer", 42),
        (sample!("note-zero-size.smf"), "main", 42),
    ] {
        assert_eq!(call(&load(&smf, &NoImports).unwrap(), name, &[]), result);
    }
}

/// Relocations apply to the decompressed section. Without the decoders the error names the section.
#[test]
fn compressed_sections_are_relocated_like_others() {
    let _alone = alone();
    for smf in [sample!("compressed-zstd.smf"), sample!("compressed-lz4.smf")] {
        let loaded = load(&smf, &NoImports);
        if !cfg!(feature = "compress") {
            let refused = loaded.err().unwrap();
            assert!(refused.to_string().starts_with("section 1: compressed with "), "{refused}");
            continue;
        }
        let module = loaded.unwrap();
        let address = module.symbol(b"table").unwrap().cast_signed();
        assert_eq!((call(&module, "at", &[0]), call(&module, "whole", &[])), (address, address));
        assert!((1..64).all(|at| call(&module, "at", &[at]) == at * at));
    }
}

#[test]
fn only_code_pages_are_executable() {
    let _alone = alone();
    let packed = load(&sample!("packed.smf"), &NoImports).unwrap();
    let code: Vec<_> = packed.code().collect();
    let answer = usize::try_from(packed.function(b"answer").unwrap()).unwrap();
    assert!(code.iter().any(|range| range.contains(&answer)));
    assert_eq!(code.len(), 1);
    let (start, end) = (code[0].start as u64, code[0].end as u64);
    assert!(packed.contains(start) && packed.contains(end - 1) && packed.contains(end));
    for line in maps().lines().filter(|line| line.contains(" r-xp ")) {
        let (from, rest) = line.split_once('-').unwrap();
        if u64::from_str_radix(from, 16) == Ok(start) {
            let to = u64::from_str_radix(rest.split_once(' ').unwrap().0, 16).unwrap();
            return assert_eq!(to, end);
        }
    }
    panic!("no executable mapping starts at {start:#x}");
}

#[test]
fn imports_come_from_other_modules() {
    let _alone = alone();
    let lib = load(&sample!("lib.smf"), &NoImports).unwrap();
    for app in [sample!("app.smf"), sample!("app-native.smf")] {
        let exports = lib.exports();
        let module = load(&app, &exports).unwrap();
        assert_eq!((call(&module, "direct", &[14]), call(&module, "through_got", &[-2])), (42, -6));
    }
}

#[test]
fn module_that_cannot_run_is_refused_with_its_kind() {
    let _alone = alone();
    let refused = |smf| Image::map(&smf).err().unwrap();
    let riscv = LinkError::Arch { module: Arch::RISCV64, host: Arch::X86_64 };
    assert_eq!(refused(sample!("bad/wrong-arch.smf")), riscv);
    assert_eq!(riscv.to_string(), "the module is for riscv64 and this machine is x86_64");
    let windows = LinkError::Platform { module: Platform::WINDOWS, host: Platform::LINUX };
    assert_eq!(refused(sample!("bad/wrong-platform.smf")), windows);
    assert_eq!(refused(sample!("bcod.smf")), LinkError::Bytecode);
    assert_eq!(refused(sample!("dynlib.smf")), LinkError::Dynlib);
    assert_eq!(refused(sample!("compact.smf")), LinkError::NoCode);
}

#[test]
fn every_missing_import_is_listed() {
    let _alone = alone();
    let app = sample!("bad/missing-import.smf");
    let error = load(&app, &NoImports).err().unwrap();
    assert!(error.to_string().contains("scale"), "{error}");
    let names: Vec<_> = missing_imports(&app, &NoImports).map(|s| s.name()).collect();
    assert_eq!(names, [b"scale"]);
    assert_eq!(missing_imports(&app, &|_: &[u8]| Some(1)).count(), 0);
}

/// A module under construction: code first, then constants, data, zeroes.
#[derive(Default)]
struct Builder {
    code: Vec<u8>,
    rodata: Vec<u8>,
    data: Vec<u8>,
    bss: u64,
    symbols: Vec<NewSymbol<'static>>,
    relocs: Vec<(&'static str, Vec<Reloc>)>,
    entry_point: u64,
}

const CODE: u16 = 0;
const RODATA: u16 = 1;
const DATA: u16 = 2;
const BSS: u16 = 3;

impl Builder {
    fn symbol(&mut self, name: &'static str, kind: SymbolKind, place: Place, value: u64) -> u32 {
        let binding = Binding::Global;
        let name = name.as_bytes();
        self.symbols.push(NewSymbol { name, kind, place, value, binding, ..NewSymbol::default() });
        self.symbols.len() as u32 - 1
    }

    fn function(&mut self, name: &'static str, code: &[u8]) -> u64 {
        let at = self.code.len() as u64;
        self.code.extend_from_slice(code);
        self.symbol(name, SymbolKind::Function, Place::Section(CODE), at);
        at
    }

    fn reloc(
        &mut self,
        table: &'static str,
        offset: u64,
        symbol: u32,
        kind: RelocKind,
        addend: i64,
    ) {
        let reloc = Reloc { offset, symbol, kind, addend };
        match self.relocs.iter_mut().find(|(name, _)| *name == table) {
            Some((_, relocs)) => relocs.push(reloc),
            None => self.relocs.push((table, vec![reloc])),
        }
    }

    fn file(&self) -> Vec<u8> {
        let section = |kind, name: &'static str, flags, bytes| NewSection {
            kind,
            name: name.as_bytes(),
            flags: SectionFlags(flags),
            alignment: 16,
            virtual_size: None,
            payload: Payload::Bytes(bytes),
        };
        let mut sections = vec![
            section(SectionKind::Code, ".text", 5, &self.code[..]),
            section(SectionKind::RoData, ".rodata", 1, &self.rodata),
            section(SectionKind::Data, ".data", 3, &self.data),
            section(SectionKind::Bss, ".bss", 3, &[]),
        ];
        sections[usize::from(BSS)].virtual_size = Some(self.bss);
        for (name, relocs) in &self.relocs {
            let mut table = section(SectionKind::Reloc, name, 0, &[]);
            table.payload = Payload::Relocs(relocs);
            table.alignment = 8;
            sections.push(table);
        }
        let header = Header { entry_point: self.entry_point, ..Header::default() };
        let (layout, symbols) = (Layout::Packed, &self.symbols);
        let module = NewModule { layout, header, stub: &[], sections: &sections, symbols };
        module.to_vec().unwrap()
    }

    fn load_with(
        &self,
        imports: &dyn Resolve,
        check: impl FnOnce(&Module<'_>),
    ) -> Option<LinkError> {
        let file = self.file();
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        match load(&smf, imports) {
            Ok(module) => {
                check(&module);
                None
            }
            Err(error) => Some(error),
        }
    }
}

/// `mov rax, [rip + 0]; ret`, with its displacement at 3.
const LOAD_RIP: [u8; 8] = [0x48, 0x8b, 0x05, 0, 0, 0, 0, 0xc3];
/// `lea rax, [rip + 0]; ret`, with its displacement at 3.
const LEA_RIP: [u8; 8] = [0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3];
/// `jmp 0`, with its displacement at 1.
const JUMP: [u8; 5] = [0xe9, 0, 0, 0, 0];
/// `mov eax, 0; ret`, with its operand at 1.
const MOV_EAX: [u8; 6] = [0xb8, 0, 0, 0, 0, 0xc3];

#[test]
fn entry_point_outside_of_the_code_is_refused() {
    let _alone = alone();
    let mut module = Builder { entry_point: 5, ..Builder::default() };
    module.function("main", &MOV_EAX);
    let error = module.load_with(&NoImports, |loaded| {
        assert_eq!(loaded.entry_point(), loaded.function(b"main").map(|main| main + 5));
    });
    assert_eq!(error, None);
    let mut file = module.file();
    // The last word of this value is the field of the header.
    let at = (0..file.len() - 8).rfind(|&at| file[at..at + 8] == 5u64.to_le_bytes()).unwrap();
    file[at] = 6;
    let smf = Smf::parse(&file).unwrap();
    let error = LinkError::from(smf.verify().unwrap_err());
    assert!(error.to_string().starts_with("the entry point 0x6 lies outside"), "{error}");
    assert_eq!(Image::map(&smf).err(), Some(error));
}

#[test]
fn entry_point_outside_of_the_code_is_not_written() {
    let sections = [
        NewSection::code(&MOV_EAX),
        NewSection::new(SectionKind::Bss, b".bss", Payload::Bytes(&[])),
    ];
    for layout in [Layout::Packed, Layout::Native] {
        let error = |entry_point, sections| {
            let header = Header { entry_point, ..Header::default() };
            NewModule { layout, header, stub: &[], sections, symbols: &[] }.to_vec().err()
        };
        assert_eq!(error(5, &sections[..]), None);
        assert_eq!(error(6, &sections[..]), Some(WriteError::EntryPoint(6)));
        assert_eq!([error(0, &sections[1..]), error(0, &[])], [None; 2]);
        assert_eq!(error(1, &sections[1..]), Some(WriteError::EntryPoint(1)));
    }
}

#[test]
fn function_in_data_does_not_verify() {
    for (section, is_valid) in [(CODE, true), (RODATA, false), (DATA, false), (BSS, false)] {
        let mut module =
            Builder { bss: 8, rodata: vec![0; 8], data: vec![0; 8], ..Builder::default() };
        module.function("main", &MOV_EAX);
        module.symbol("f", SymbolKind::Function, Place::Section(section), 0);
        let file = module.file();
        let verified = Smf::parse(&file).unwrap().verify().map_err(|error| error.to_string());
        let expected = format!("symbol 1: a function in section {section}, which is no code");
        let error = verified.err().unwrap_or_default();
        assert_eq!(
            (error.is_empty(), error.starts_with(&expected)),
            (is_valid, !is_valid),
            "{error}"
        );
    }
}

#[test]
fn relocation_against_a_symbol_of_a_section_that_is_not_loaded_is_refused() {
    let _alone = alone();
    for (value, kind) in [(0, RelocKind::Abs64), (4, RelocKind::Abs64), (0, RelocKind::Pc32)] {
        let relocs = [Reloc { offset: 0, symbol: 0, kind, addend: 0 }];
        let debug = NewSection::new(SectionKind::Debug, b".debug", Payload::Bytes(&[0; 8]));
        let table = NewSection::new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs));
        let sections = [NewSection::code(&[0xc3; 8]), debug, table];
        let (kind, place) = (SymbolKind::Data, Place::Section(1));
        let symbols = [NewSymbol { name: b"unloaded", kind, place, value, ..NewSymbol::default() }];
        let (layout, header) = (Layout::Packed, Header::default());
        let module =
            NewModule { layout, header, stub: &[], sections: &sections, symbols: &symbols };
        let file = module.to_vec().unwrap();
        let error = load(&Smf::parse(&file).unwrap(), &NoImports).err().map(|e| e.to_string());
        let expected = "relocation 0 of section 2: its symbol `unloaded` has no address";
        assert_eq!(error.as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn constructors_are_read_in_every_section_of_the_name() {
    let _alone = alone();
    let array = |at: &'static [u8; 8]| {
        NewSection::new(SectionKind::RoData, b".init_array", Payload::Bytes(at))
    };
    let sections = [NewSection::code(&[0xc3]), array(&[0; 8])];
    let load_error = |sections: &[NewSection<'_>]| {
        let (layout, header) = (Layout::Packed, Header::default());
        let module = NewModule { layout, header, stub: &[], sections, symbols: &[] };
        let file = module.to_vec().unwrap();
        Image::map(&Smf::parse(&file).unwrap()).unwrap().check().err()
    };
    let entry = |section| Some(LinkError::InitArrayEntry { section, offset: 0, address: 0 });
    assert_eq!(load_error(&sections), entry(1));
    let [code, second] = sections;
    let empty = NewSection::new(SectionKind::RoData, b".init_array", Payload::Bytes(&[]));
    assert_eq!(load_error(&[code, empty, second]), entry(2));
}

#[test]
fn each_relocation_kind_computes_the_documented_value() {
    let _alone = alone();
    let rodata = 0x1122_3344_5566_7788u64.to_le_bytes().to_vec();
    let mut module = Builder { bss: 5000, rodata, data: vec![0; 16], ..Builder::default() };
    let constant = module.symbol("constant", SymbolKind::Constant, Place::Section(RODATA), 0);
    let zeroes = module.symbol("zeroes", SymbolKind::Data, Place::Section(BSS), 4992);
    let pointer = module.symbol("pointer", SymbolKind::Data, Place::Section(DATA), 8);
    let load_constant = module.function("load_constant", &LOAD_RIP);
    module.reloc(".rela", load_constant + 3, constant, RelocKind::Pc32, -4);
    let load_zeroes = module.function("load_zeroes", &LOAD_RIP);
    module.reloc(".rela", load_zeroes + 3, zeroes, RelocKind::Pc32, -4);
    let got = module.function("constant_address", &LOAD_RIP);
    module.reloc(".rela", got + 3, constant, RelocKind::GotPcRel, -4);
    // A relocation inside data: the datum points into the zeroes, 16 bytes before their symbol.
    module.reloc(".rela.data", 8, zeroes, RelocKind::Abs64, -16);
    let lea = module.function("pointer_address", &LEA_RIP);
    module.reloc(".rela", lea + 3, pointer, RelocKind::Pc32, -4);
    let jump = module.function("jump", &JUMP);
    module.reloc(".rela", jump + 1, 3, RelocKind::Plt32, -4);

    let error = module.load_with(&NoImports, |loaded| {
        let address = |name: &str| loaded.symbol(name.as_bytes()).unwrap() as i64;
        assert_eq!(call(loaded, "load_constant", &[]), 0x1122_3344_5566_7788);
        assert_eq!(call(loaded, "load_zeroes", &[]), 0);
        assert_eq!(call(loaded, "constant_address", &[]), address("constant"));
        assert_eq!(call(loaded, "pointer_address", &[]), address("pointer"));
        assert_eq!(call(loaded, "jump", &[]), 0x1122_3344_5566_7788);
        let pointer = address("pointer") as *const i64;
        // SAFETY: `pointer` is an aligned datum of the module, which is still loaded.
        assert_eq!(unsafe { *pointer }, address("zeroes") - 16);
    });
    assert_eq!(error, None);
}

#[test]
fn abs32_places_the_module_below_2_gib_and_checks_its_range() {
    let _alone = alone();
    let mut module = Builder { data: vec![0; 8], ..Builder::default() };
    let datum = module.symbol("datum", SymbolKind::Data, Place::Section(DATA), 0);
    let far = module.symbol("far", SymbolKind::Data, Place::Import, 0);
    let own = module.function("own", &MOV_EAX);
    module.reloc(".rela", own + 1, datum, RelocKind::Abs32, 0);
    let other = module.function("other", &MOV_EAX);
    module.reloc(".rela", other + 1, far, RelocKind::Abs32, 0);
    let error = module.load_with(&|_: &[u8]| Some(0xffff_ffff), |loaded| {
        let address = loaded.symbol(b"datum").unwrap() as i64;
        assert!(address < 1 << 31);
        assert_eq!(call(loaded, "own", &[]), address);
        assert_eq!(call(loaded, "other", &[]), 0xffff_ffff);
    });
    assert_eq!(error, None);
    let error = module.load_with(&|_: &[u8]| Some(0x1_0000_0000), |_| panic!("linked")).unwrap();
    let LinkError::Unreachable { kind: RelocKind::Abs32, target: 0x1_0000_0000, .. } = error else {
        panic!("{error}");
    };
    let reason = "relocation abs32 against the import `far` cannot reach 0x100000000";
    assert!(error.to_string().contains(reason) && error.to_string().contains("-fPIC"));
}

#[test]
fn distance_of_3e9_is_refused_and_call_goes_through_a_veneer() {
    let _alone = alone();
    extern "C" fn triple(x: i64) -> i64 {
        3 * x
    }
    let mut module = Builder::default();
    let far = module.symbol("far", SymbolKind::Function, Place::Import, 0);
    let jump = module.function("jump", &JUMP);
    module.reloc(".rela", jump + 1, far, RelocKind::Plt32, -4);
    // The real function may be at any address; within reach or not, the call succeeds.
    let function: extern "C" fn(i64) -> i64 = triple;
    let real = function as usize as u64;
    assert_eq!(
        module.load_with(&|_: &[u8]| Some(real), |m| assert_eq!(call(m, "jump", &[14]), 42)),
        None
    );
    // Placed below 2 GiB, it can only be called through a veneer.
    let datum = module.symbol("datum", SymbolKind::Data, Place::Section(DATA), 0);
    module.data = vec![0; 8];
    let low = module.function("low", &MOV_EAX);
    module.reloc(".rela", low + 1, datum, RelocKind::Abs32, 0);
    let error = module.load_with(&|_: &[u8]| Some(real), |loaded| {
        assert!(real - loaded.symbol(b"jump").unwrap() > 1 << 32);
        assert_eq!(call(loaded, "jump", &[14]), 42);
    });
    assert_eq!(error, None);

    let mut module = Builder::default();
    let far = module.symbol("far", SymbolKind::Data, Place::Import, 0);
    let lea = module.function("lea", &LEA_RIP);
    module.reloc(".rela", lea + 3, far, RelocKind::Pc32, -4);
    let error = module.load_with(&|_: &[u8]| Some(0x10), |_| panic!("linked")).unwrap();
    assert!(
        matches!(error, LinkError::Unreachable { kind: RelocKind::Pc32, target: 0xc, .. }),
        "{error}"
    );
}

#[test]
fn weak_import_may_be_missing() {
    let _alone = alone();
    let mut module = Builder::default();
    let absent = module.symbol("absent", SymbolKind::Function, Place::Import, 0);
    module.symbols[absent as usize].binding = Binding::Weak;
    let load = module.function("load", &LOAD_RIP);
    module.reloc(".rela", load + 3, absent, RelocKind::GotPcRel, -4);
    let jump = module.function("jump", &JUMP);
    module.reloc(".rela", jump + 1, absent, RelocKind::Plt32, -4);
    assert_eq!(module.load_with(&NoImports, |m| assert_eq!(call(m, "load", &[]), 0)), None);
    let found = |m: &Module<'_>| assert_eq!(call(m, "load", &[]), 0x1234);
    assert_eq!(module.load_with(&|_: &[u8]| Some(0x1234), found), None);
}

#[test]
fn distance_to_a_missing_weak_import_is_refused_as_undefined() {
    let _alone = alone();
    let mut module = Builder::default();
    let absent = module.symbol("absent", SymbolKind::Data, Place::Import, 0);
    module.symbols[absent as usize].binding = Binding::Weak;
    let lea = module.function("lea", &LEA_RIP);
    module.reloc(".rela", lea + 3, absent, RelocKind::Pc32, -4);
    let error = module.load_with(&NoImports, |_| panic!("linked")).unwrap().to_string();
    assert!(error.contains("the weak import `absent`, which nothing defines"), "{error}");
}

#[test]
fn relocation_against_symbol_without_address_is_refused() {
    let _alone = alone();
    let mut module = Builder::default();
    let shape = module.symbol("Shape", SymbolKind::Trait, Place::Unstated, 0);
    let lea = module.function("lea", &LEA_RIP);
    module.reloc(".rela", lea + 3, shape, RelocKind::Pc32, -4);
    let error = module.load_with(&NoImports, |_| panic!("linked")).unwrap();
    assert!(matches!(error, LinkError::NoAddress { .. }) && error.to_string().contains("Shape"));
}

/// Lines of the process's own memory map.
fn maps() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap()
}

fn protection_at(address: u64) -> String {
    let inside = |line: &&str| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let bound = |text| u64::from_str_radix(text, 16).unwrap();
        (bound(start)..bound(end)).contains(&address)
    };
    let maps = maps();
    let line = maps.lines().find(inside);
    line.map_or(String::new(), |line| line.split(' ').nth(1).unwrap()[..3].to_string())
}

#[test]
fn each_section_has_the_protection_of_its_kind() {
    let _alone = alone();
    let mut module =
        Builder { bss: 9000, rodata: vec![1; 10], data: vec![2; 10], ..Builder::default() };
    module.function("code", &[0xc3]);
    module.symbol("constant", SymbolKind::Constant, Place::Section(RODATA), 0);
    module.symbol("datum", SymbolKind::Data, Place::Section(DATA), 0);
    module.symbol("zeroes", SymbolKind::Data, Place::Section(BSS), 8999);
    let error = module.load_with(&NoImports, |loaded| {
        let protection = |name: &str| protection_at(loaded.symbol(name.as_bytes()).unwrap());
        assert_eq!(protection("code"), "r-x");
        assert_eq!(protection("constant"), "r--");
        assert_eq!((protection("datum"), protection("zeroes")), ("rw-".into(), "rw-".into()));
        assert!(!maps().lines().any(|line| line.contains("rwx")));
    });
    assert_eq!(error, None);
}

#[test]
fn unloading_frees_the_memory() {
    let _alone = alone();
    let smf = sample!("packed.smf");
    let module = load(&smf, &NoImports).unwrap();
    let address = module.symbol(b"answer").unwrap();
    assert_eq!(protection_at(address), "r-x");
    drop(module);
    assert_ne!(protection_at(address), "r-x");
}

#[test]
fn alignment_is_respected_in_memory() {
    let _alone = alone();
    let mut module = Builder { code: vec![0xc3; 3], data: vec![0; 3], ..Builder::default() };
    module.symbol("datum", SymbolKind::Data, Place::Section(DATA), 0);
    let mut file = module.file();
    for alignment in [1u64, 64, 1024, 4096, 1 << 16, 2 << 20] {
        let table = Smf::parse(&file).unwrap().section(2).unwrap().entry_offset as usize;
        file[table + 32..table + 40].copy_from_slice(&alignment.to_le_bytes());
        let smf = Smf::parse(&file).unwrap();
        let loaded = load(&smf, &NoImports).unwrap();
        assert_eq!(loaded.symbol(b"datum").unwrap() % alignment, 0);
    }
}

/// The memory behind the contents of a section takes none before it is used, whatever size the file states.
#[test]
fn memory_size_of_a_section_is_not_resident() {
    let _alone = alone();
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let mut module = Builder { data: vec![7; 3], ..Builder::default() };
    module.function("seven", &[0xb8, 7, 0, 0, 0, 0xc3]);
    let mut file = module.file();
    let table = Smf::parse(&file).unwrap().section(CODE.into()).unwrap().entry_offset as usize;
    let sizes = table + 16..table + 32;
    assert_eq!(file[sizes.clone()], [6u64, 6].map(u64::to_le_bytes).concat());
    file[sizes].copy_from_slice(&[6u64, 1 << 30].map(u64::to_le_bytes).concat());
    let smf = Smf::parse(&file).unwrap();
    let before = resident();
    let loaded = load(&smf, &NoImports).unwrap();
    assert_eq!(call(&loaded, "seven", &[]), 7);
    let more = resident().saturating_sub(before);
    assert!(more < 64 << 20, "{more} bytes");
}

#[test]
fn lookups_agree_with_a_walk_of_the_table() {
    let _alone = alone();
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| (0..1000).map(|i| format!("name_{i}${}", i % 7)).collect());
    let mut module = Builder::default();
    for name in names {
        module.function(name, &[0xc3]);
    }
    // A weak symbol of the same name before and after the strong one.
    for at in [0, 1000] {
        let weak = NewSymbol { name: b"name_5$5", binding: Binding::Weak, ..module.symbols[0] };
        module.symbols.insert(at, NewSymbol { value: 3, ..weak });
    }
    let error = module.load_with(&NoImports, |loaded| {
        let exports = loaded.exports();
        for name in names.iter().map(|n| n.as_bytes()).chain([&b""[..], b"name_", b"name_1000$6"]) {
            let walked = exports.symbol(name).and_then(|symbol| exports.address(&symbol));
            assert_eq!((loaded.symbol(name), loaded.symbol(name)), (walked, walked));
        }
    });
    assert_eq!(error, None);
}

#[test]
fn pool_is_reused_by_modules_and_leaks_nothing() {
    let _alone = alone();
    let pool = TryArc::new(PagePool::new(64 << 10)).unwrap();
    let (packed, native) = (sample!("packed.smf"), sample!("native.smf"));
    for round in 0..200 {
        let smf = if round % 3 == 0 { &native } else { &packed };
        let module = Image::map_in(smf, &pool).unwrap().link(&NoImports).unwrap();
        // Data has its initial contents each time.
        assert_eq!((call(&module, "bump", &[5]), call(&module, "absload", &[])), (105, 105));
        assert_eq!(protection_at(module.symbol(b"answer").unwrap()), "r-x");
    }
    assert!((1..=64 << 10).contains(&pool.cached_bytes()));
    // Preserved data is writable for its next owner only and never executable.
    let address = {
        let module = Image::map_in(&packed, &pool).unwrap().link(&NoImports).unwrap();
        module.symbol(b"answer").unwrap()
    };
    assert_eq!(protection_at(address), "rw-");
    pool.trim();
    assert_eq!((pool.cached_bytes(), protection_at(address) == "rw-"), (0, false));
}

#[test]
fn pooled_pages_contain_no_bytes_of_the_previous_module() {
    let _alone = alone();
    let pool = TryArc::new(PagePool::new(1 << 20)).unwrap();
    let (rodata, data) = (vec![1; 3], vec![2; 5]);
    let mut builder = Builder { rodata, data, bss: 100, ..Builder::default() };
    builder.function("f", &[0xc3]);
    let small = builder.file();
    let smf = Smf::parse(&small).unwrap();
    let begin = |module: &Module<'_>| module.symbol(b"f").unwrap() as *const [u8; 3 * 4096];
    // SAFETY: code, constants and data take a page each, starting at the code, and are readable
    // while the module is loaded.
    let bytes = |module: &Module<'_>| unsafe { *begin(module) };
    let fresh = bytes(&Image::map(&smf).unwrap().link(&NoImports).unwrap());
    assert_eq!(fresh.iter().filter(|byte| **byte != 0).count(), 1 + 3 + 5);
    for _ in 0..3 {
        let size = PageCount::covering(3 * 4096).unwrap();
        let mut pages = pool.take(size, Placement::Anywhere).unwrap();
        pages.as_mut_slice().fill(0xcc);
        let (offset, size) = (PageCount::ZERO, pages.size());
        let protection = Protection::Read;
        pool.put(pages.publish(&[Segment { offset, size, protection }]).unwrap());
        let kept = Image::map_in(&smf, &pool).unwrap().link(&NoImports).unwrap();
        assert_eq!(pool.cached_bytes(), 0, "the pages of the pool were used");
        assert_eq!(bytes(&kept), fresh);
    }
}
