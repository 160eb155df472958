//! ELF objects of compilers in the code sections of modules: alone, with ordinary modules that import from them and
//! export to them, and replaced while they run.
//!
//! The tests of `programs.rs` check that every program has the same results as when it is packed.
#![allow(unsafe_code)]

use smf_core::format::error::ElfError;
use std::fs;
use std::path::Path;

use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Flags, FormatError, Header, Layout, Reloc, RelocKind, SectionKind, Smf, SymbolKind,
};
use smf_core::link::{Image, LinkError, Module, NoImports, Resolve, missing_imports};

use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration};
use smf_core::trap::call;
use smf_loader::pack::{Input, Options, pack};
use smf_tests::compile::{Compiler, scratch};
use smf_tests::skip::skip;
use smf_tests::wrap::wrap;

/// The object that gcc compiles from a source with these arguments at -O2; `None` without gcc, or on a machine that
/// cannot run the object.
fn gcc(source: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        skip("objects are linked for x86-64 and aarch64 alone");
        return None;
    }
    let directory = scratch();
    let (c, o) = (directory.path().join("source.c"), directory.path().join("source.o"));
    fs::write(&c, source).unwrap();
    let there = Compiler::Gcc.compile(&c, 2, arguments, &o);
    there.then(|| fs::read(o).unwrap())
}

fn program(name: &str) -> String {
    let programs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs"));
    fs::read_to_string(programs.join(name)).unwrap()
}

/// The module that contains the unchanged object.
fn plain(object: &[u8]) -> Vec<u8> {
    wrap(object, Layout::Packed, 0, &[])
}

fn packed(object: &[u8]) -> Vec<u8> {
    pack(&[Input { name: "object.o", data: object }], &Options::default()).unwrap().bytes
}

fn load<'d>(file: &'d [u8], imports: &dyn Resolve) -> Result<Module<'d>, LinkError> {
    let smf = Smf::parse(file).unwrap();
    smf.verify()?;
    Image::map(&smf)?.link(imports)
}

fn run(module: &Module<'_>, name: &str, arguments: &[i64]) -> i64 {
    let address = module.function(name.as_bytes()).unwrap_or_else(|| panic!("no {name}"));
    // SAFETY: the functions are those of the programs above, called with their declared types.
    unsafe { call(address, arguments) }.unwrap()
}

fn run_in(loader: &ModuleLoader, module: ModuleHandle, name: &str, arguments: &[i64]) -> i64 {
    let module = loader.get(module).unwrap();
    let address = module.function(name.as_bytes()).unwrap_or_else(|| panic!("no {name}"));
    // SAFETY: as above, and the module is held.
    unsafe { call(address, arguments) }.unwrap()
}

#[test]
fn object_imports_from_objects_and_modules() {
    let Some(caller) = gcc(&program("caller.c"), &["-fPIC"]) else { return };
    let Some(callee) = gcc(&program("callee.c"), &["-fPIC"]) else { return };
    for callee in [plain(&callee), packed(&callee)] {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        loader.register_provider(b"callee", ModuleBytes::new(callee).unwrap()).unwrap();
        let module = loader.load(b"caller", ModuleBytes::new(plain(&caller)).unwrap()).unwrap();
        let run = |name: &str, arguments: &[i64]| run_in(&loader, module, name, arguments);
        assert_eq!(run("scaled_sum", &[4, 5]), 27);
        assert_eq!(run("set_scale", &[10]), 3);
        assert_eq!(run("scaled_sum", &[4, 5]), 90);
        assert_eq!(run("letter_of_name", &[1, 2]), i64::from(b'n'));
    }
}

/// An ordinary module whose function `read` returns the datum `scale_by` of another module.
fn reader() -> Vec<u8> {
    // mov scale_by@GOTPCREL(%rip), %rax; mov (%rax), %rax; ret
    let code = [0x48, 0x8b, 0x05, 0, 0, 0, 0, 0x48, 0x8b, 0x00, 0xc3];
    let reloc = Reloc { offset: 3, symbol: 1, kind: RelocKind::GotPcRel, addend: -4 };
    let sections = [
        NewSection::code(&code),
        NewSection {
            kind: SectionKind::Reloc,
            name: b".rela.text",
            alignment: 8,
            payload: Payload::Relocs(&[reloc]),
            ..NewSection::code(&[])
        },
    ];
    let import = NewSymbol {
        name: b"scale_by",
        kind: SymbolKind::Data,
        place: Place::Import,
        visibility: 0,
        ..NewSymbol::default()
    };
    let read = NewSymbol { name: b"read", place: Place::Section(0), ..NewSymbol::default() };
    let (layout, header, symbols) = (Layout::Packed, Header::default(), [read, import]);
    let module = NewModule { layout, header, stub: &[], sections: &sections, symbols: &symbols };
    module.to_vec().unwrap()
}

#[test]
fn module_imports_functions_and_data_from_object() {
    let source = "long scale(long value); long twice(long value) { return 2 * scale(value); }";
    let Some(caller) = gcc(source, &["-fPIC"]) else { return };
    let Some(callee) = gcc(&program("callee.c"), &["-fPIC"]) else { return };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.register_provider(b"callee", ModuleBytes::new(plain(&callee)).unwrap()).unwrap();
    let module = loader.load(b"caller", ModuleBytes::new(packed(&caller)).unwrap()).unwrap();
    assert_eq!(run_in(&loader, module, "twice", &[7]), 42);
    if cfg!(target_arch = "x86_64") {
        let module = loader.load(b"reader", ModuleBytes::new(reader()).unwrap()).unwrap();
        assert_eq!(run_in(&loader, module, "read", &[]), 3);
    }
}

#[test]
fn cyclic_imports_of_objects_are_resolved() {
    let even = "long odd(long n); long even(long n) { return n == 0 ? 1 : odd(n - 1); }";
    let odd = "long even(long n); long odd(long n) { return n == 0 ? 0 : even(n - 1); }";
    let flags = ["-fPIC", "-fno-optimize-sibling-calls"];
    let (Some(even), Some(odd)) = (gcc(even, &flags), gcc(odd, &flags)) else { return };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.register_provider(b"odd", ModuleBytes::new(plain(&odd)).unwrap()).unwrap();
    let module = loader.load(b"even", ModuleBytes::new(plain(&even)).unwrap()).unwrap();
    assert_eq!([10, 7].map(|n| run_in(&loader, module, "even", &[n])), [1, 0]);
}

/// Symbols of every kind: hidden, common, weak, local, with a large alignment.
const SYMBOLS: &str = r#"
    __attribute__((visibility("hidden"))) long hidden(void) { return 1; }
    __attribute__((weak)) long overridden(void) { return 2; }
    extern __attribute__((weak)) long absent(void);
    __attribute__((aligned(4096))) long page[512] = { 3 };
    long common, commons[100];
    static long own = 4;
    long sum(void) { return hidden() + overridden() + page[0] + own; }
    long has_absent(void) { return absent != 0; }
    long count(long at) { return ++commons[at] + ++common; }
    void *page_address(void) { return page; }
    void *own_address(void) { return &own; }
"#;

#[test]
fn symbols_of_every_kind_have_their_values() {
    for arguments in [
        &["-fPIC", "-fcommon"][..],
        &["-fPIC", "-fno-common", "-ffunction-sections", "-fdata-sections"],
        &["-fno-pie", "-fcommon"],
        &["-fPIC", "-fno-plt", "-g"],
    ] {
        let Some(object) = gcc(SYMBOLS, arguments) else { return };
        let file = plain(&object);
        let module = load(&file, &NoImports).unwrap();
        assert_eq!((run(&module, "sum", &[]), run(&module, "has_absent", &[])), (10, 0));
        assert_eq!([0, 0, 99, 1].map(|at| run(&module, "count", &[at])), [2, 4, 4, 5]);
        assert_eq!(module.symbol(b"hidden").or(module.symbol(b"own")), None);
        assert!(module.find(b"overridden").is_some_and(|export| !export.is_strong()));
        let page = module.symbol(b"page").unwrap();
        assert_eq!((page % 4096, run(&module, "page_address", &[]) as u64), (0, page));
        // A local symbol has an address, for debuggers.
        let linked = module.linked();
        let own = linked.symbols().iter().flatten().find(|symbol| symbol.name() == b"own").unwrap();
        assert_eq!(module.address(&own), Some(run(&module, "own_address", &[]) as u64));
        let commons = module.find(b"commons").unwrap();
        assert_eq!((commons.size, commons.address % 8), (800, 0));
    }
}

/// A module in which the linker fills in most data, and whose code is far from the functions that it calls.
#[test]
fn far_calls_and_pointers_are_linked() {
    let source = "
        extern long far_one(long), far_two(long);
        long (*const table[])(long) = { far_one, far_two, far_one };
        long through_table(long at, long x) { return table[at](x); }
        long direct(long x) { return far_one(x) * 100 + far_two(x); }
    ";
    let Some(object) = gcc(source, &["-fPIC"]) else { return };
    let file = plain(&object);
    extern "C" fn one(x: i64) -> i64 {
        x + 1
    }
    extern "C" fn two(x: i64) -> i64 {
        x + 2
    }
    let provide = |name: &[u8]| match name {
        b"far_one" => Some(one as extern "C" fn(i64) -> i64 as usize as u64),
        b"far_two" => Some(two as extern "C" fn(i64) -> i64 as usize as u64),
        _ => None,
    };
    let module = load(&file, &provide).unwrap();
    assert_eq!([0, 1, 2].map(|at| run(&module, "through_table", &[at, 5])), [6, 7, 6]);
    assert_eq!(run(&module, "direct", &[1]), 203);
    let error = load(&file, &NoImports).err().unwrap();
    assert!(matches!(error, LinkError::MissingImports { count: 2, .. }), "{error}");
    let smf = Smf::parse(&file).unwrap();
    let names: Vec<_> = missing_imports(&smf, &NoImports).map(|s| s.name()).collect();
    assert_eq!(names.len(), 2);
}

#[test]
fn unsupported_feature_is_refused_by_name() {
    for (source, arguments, said) in [
        ("_Thread_local long t; long f(void) { return t; }", &["-fPIC"][..], "thread-local"),
        ("extern _Thread_local long t; long f(void) { return t; }", &["-fPIC"], "thread-local"),
        (
            "static long g(void) { return 1; } static void *choose(void) { return g; }
             long f(void) __attribute__((ifunc(\"choose\")));",
            &["-fPIC"],
            "IFUNC",
        ),
        (
            "long x; __attribute__((constructor)) static void c(void) { x = 1; }",
            &["-fPIC"],
            "functions that run",
        ),
    ] {
        let Some(object) = gcc(source, arguments) else { return };
        let error = load(&plain(&object), &NoImports).err().unwrap();
        assert!(
            matches!(error, LinkError::Format(FormatError::Elf(ElfError::Part { .. }))),
            "{error}"
        );
        assert!(error.to_string().contains(said), "{error}");
        // Mapping alone reports the error as well.
        let file = plain(&object);
        assert_eq!(Image::map(&Smf::parse(&file).unwrap()).err(), Some(error));
    }
    if cfg!(target_arch = "x86_64") {
        let large = "extern long x; long f(void) { return x; }";
        let Some(object) = gcc(large, &["-fPIC", "-mcmodel=large"]) else { return };
        let error = load(&plain(&object), &NoImports).err().unwrap();
        assert!(error.to_string().contains("R_X86_64_GOT"), "{error}");
    }
}

#[test]
fn replaced_object_keeps_its_data() {
    let first = program("state.c");
    let second = first.replace("return counter += by;", "return counter += 2 * by;");
    assert_ne!(first, second);
    let user = "long bump(long); long bump_twice(long by) { bump(by); return bump(by); }";
    let flags = ["-fPIC"];
    let (Some(first), Some(second)) = (gcc(&first, &flags), gcc(&second, &flags)) else { return };
    let Some(user) = gcc(user, &flags) else { return };
    let reloadable = |object: &[u8]| {
        ModuleBytes::new(wrap(object, Layout::Native, Flags::RELOADABLE, &["bump"])).unwrap()
    };
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let module = loader.load(b"state", reloadable(&first)).unwrap();
    let user = loader.load(b"user", ModuleBytes::new(plain(&user)).unwrap()).unwrap();
    assert_eq!(run_in(&loader, user, "bump_twice", &[1]), 102);
    assert_eq!(run_in(&loader, module, "record", &[7, 70]), 0);

    let reloaded =
        loader.reload(module, reloadable(&second), StateMigration::Copy, &mut |_| {}).unwrap();
    // counter, records, exported, exported_zero.
    assert_eq!((reloaded.migrated.symbols, reloaded.migrated.bytes), (4, 8024));
    assert_eq!(run_in(&loader, module, "record", &[7, 0]), 70);
    assert_eq!(run_in(&loader, user, "bump_twice", &[1]), 106);
    // An ordinary version replaces a version that is an object.
    let options = Options { reloadable: true, ..Options::default() };
    let ordinary = pack(&[Input { name: "state.o", data: &first }], &options).unwrap();
    let bytes = ModuleBytes::new(ordinary.bytes).unwrap();
    loader.reload(module, bytes, StateMigration::Reset, &mut |_| {}).unwrap();
    assert_eq!(run_in(&loader, user, "bump_twice", &[1]), 102);
}

/// Thousands of sections, symbols and relocations.
#[test]
fn large_object_is_linked() {
    use std::fmt::Write;
    const FUNCTIONS: usize = 3000;
    let mut source = String::from("long f0(long x) { return x; }\n");
    for number in 1..FUNCTIONS {
        let before = number - 1;
        let weak = if number % 7 == 0 { "__attribute__((weak)) " } else { "" };
        writeln!(source, "long data{number} = {number};").unwrap();
        writeln!(source, "{weak}long f{number}(long x) {{ return f{before}(x) + data{number}; }}")
            .unwrap();
    }
    let flags = ["-fPIC", "-ffunction-sections", "-fdata-sections", "-fno-inline", "-O0"];
    let Some(object) = gcc(&source, &flags) else { return };
    let file = plain(&object);
    let module = load(&file, &NoImports).unwrap();
    let sum = (FUNCTIONS * (FUNCTIONS - 1) / 2) as i64;
    assert_eq!(run(&module, &format!("f{}", FUNCTIONS - 1), &[5]), sum + 5);
    for number in (0..FUNCTIONS).step_by(100) {
        let found = module.find(format!("f{number}").as_bytes()).unwrap();
        assert_eq!(found.is_strong(), number == 0 || number % 7 != 0);
    }
}

/// More common symbols than 16 bits can count. Each is a section.
#[test]
fn common_symbol_among_many_has_its_own_address() {
    let source = r#"
        asm(".macro zeroes\n .comm many\\@, 8, 8\n .endm\n .rept 70000\n zeroes\n .endr");
        extern long many4464, many69999;
        long first(long x) { return many4464 += x; }
        long last(long x) { return many69999 += x; }
    "#;
    let Some(object) = gcc(source, &["-fPIC"]) else { return };
    let file = plain(&object);
    let module = load(&file, &NoImports).unwrap();
    assert_eq!((run(&module, "first", &[1]), run(&module, "last", &[10])), (1, 10));
    assert_eq!((run(&module, "first", &[1]), run(&module, "last", &[10])), (2, 20));
}
