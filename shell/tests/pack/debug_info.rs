//! Debugging information of objects: merged, relocated, dropped. `c_api/tools.rs` shows it to gdb.

use smf_core::format::ext::debug_addresses::{
    DebugFields, NAME, OFFSETS_NAME, SECTIONS, stored_name,
};
use smf_core::format::{Flags, Layout, SectionKind, Smf};
use smf_core::link::Image;
use smf_loader::pack::{Algorithm, Options, PackWarning};

use crate::made::{Made, Scratch, asm, c, command, linked, try_pack};

const SOURCE: &str = r#"
    struct with_a_long_name { int first; } datum; int zeroes[9];
    static __attribute__((noinline)) int callee(struct with_a_long_name *p) { return p->first + zeroes[1]; }
    int go(void) { return callee(&datum); }
"#;

const DEBUG: Options<'static> = Options {
    layout: Layout::Packed,
    entry: None,
    exports: &[],
    export_all: false,
    libraries: &[],
    needed: &[],
    defer: false,
    stub: &[],
    reloadable: false,
    compress: None,
    phases: None,
    omit_unwind_tables: false,
    emit_relocs: true,
    debug_info: true,
    prefetch: 0,
};

fn with_debug_info(objects: &[(&str, &[u8])]) -> Made {
    try_pack(objects, &DEBUG).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(object: &[u8]) -> String {
    try_pack(&[("a.o", object)], &DEBUG).err().expect("the object can be packed").to_string()
}

/// The names of the debug sections.
fn names(made: &Made) -> Vec<String> {
    let smf = Smf::parse(made.bytes()).unwrap();
    let debug = smf.sections().iter().filter(|section| section.kind == SectionKind::Debug);
    debug.map(|section| String::from_utf8_lossy(section.name).into_owned()).collect()
}

/// The field at an offset of a debug section: the name of the section that it refers to, if any, and the value.
fn field(made: &Made, section: &str, offset: u32) -> (Option<String>, u64) {
    let smf = Smf::parse(made.bytes()).unwrap();
    let lists = DebugFields::addresses(&smf).unwrap().unwrap().lists();
    let mut lists = lists.filter(|list| list.debug.name == section.as_bytes());
    let list = lists.find(|list| list.offsets().any(|at| at == offset));
    let bytes = made.section(section).data;
    let value = bytes[offset as usize..].first_chunk().unwrap();
    let loaded = list.map(|list| String::from_utf8_lossy(list.target.name).into_owned());
    (loaded, u64::from_le_bytes(*value))
}

#[test]
fn debug_information_is_kept_on_request_only_and_takes_no_memory() {
    let object = c(SOURCE, &["-g", "-O1"]);
    let without = linked(&[("a.o", &object)]);
    assert!(names(&without).is_empty());
    let smf = Smf::parse(without.bytes()).unwrap();
    assert!(!smf.header().flags.has(Flags::DEBUG_INFO) && smf.sections().named(NAME).is_none());
    let memory = Image::map(&smf).unwrap().link(&smf_core::link::NoImports).unwrap().memory_bytes();
    for layout in [Layout::Packed, Layout::Native] {
        let made = try_pack(&[("a.o", &object)], &Options { layout, ..DEBUG }).unwrap();
        let kept = names(&made);
        for name in [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str", ".debug_aranges"]
        {
            assert!(kept.iter().any(|kept| kept == name), "{name}: {kept:?}");
        }
        let smf = Smf::parse(made.bytes()).unwrap();
        assert!(smf.header().flags.has(Flags::DEBUG_INFO));
        if layout == Layout::Packed {
            let module = Image::map(&smf).unwrap().link(&smf_core::link::NoImports).unwrap();
            assert_eq!(module.memory_bytes(), memory);
        }
    }
    // Nothing is there to keep.
    let made = with_debug_info(&[("a.o", &c(SOURCE, &["-g0", "-O1"]))]);
    assert!(names(&made).is_empty());
    assert!(!Smf::parse(made.bytes()).unwrap().header().flags.has(Flags::DEBUG_INFO));
    assert_eq!(made.warnings, [PackWarning::NoDebugInfo]);
}

#[test]
fn debugging_information_other_than_dwarf_is_named() {
    let object = asm(".globl go\ngo: ret\n.stabs \"a.c\", 100, 0, 0, go\n");
    let made = with_debug_info(&[("a.o", &object)]);
    assert_eq!(made.warnings, [PackWarning::StabsLeftOut { object: "a.o".to_owned() }]);
}

#[test]
fn compressed_sections_give_the_same_module() {
    let scratch = Scratch::new();
    let plain = c(SOURCE, &["-g", "-O1", "-gz=none"]);
    let expected = with_debug_info(&[("a.o", &plain)]);
    std::fs::write(scratch.path("plain.o"), &plain).unwrap();
    for format in ["zlib", "zlib-gnu", "zstd"] {
        let option = format!("--compress-debug-sections={format}");
        // All sections are large enough to become smaller only if strings repeat.
        command("objcopy", &[&option, "plain.o", "out.o"], &scratch.path(""));
        let object = std::fs::read(scratch.path("out.o")).unwrap();
        assert_ne!(object, plain, "{format}");
        assert!(with_debug_info(&[("a.o", &object)]).bytes() == expected.bytes(), "{format}");
    }
}

/// Zstandard stores equal bytes in less than a thousandth of what deflate needs.
#[test]
fn zeroes_may_be_compressed_as_far_as_the_algorithm_goes() {
    let scratch = Scratch::new();
    let source = ".text\n.globl go\ngo: ret\n.section .debug_macro,\"\",@progbits\n.zero 4000000";
    std::fs::write(scratch.path("plain.o"), asm(source)).unwrap();
    for format in ["zlib", "zstd"] {
        let option = format!("--compress-debug-sections={format}");
        command("objcopy", &[&option, "plain.o", "out.o"], &scratch.path(""));
        let object = std::fs::read(scratch.path("out.o")).unwrap();
        assert!(object.len() < 10_000, "{format}");
        assert_eq!(with_debug_info(&[("a.o", &object)]).section(".debug_macro").size, 4_000_000);
    }
}

#[test]
fn compressed_module_has_the_same_contents() {
    let object = c(SOURCE, &["-g", "-O1"]);
    let plain = with_debug_info(&[("a.o", &object)]);
    for algorithm in [Algorithm::Zstd, Algorithm::Lz4] {
        let options = Options { compress: Some(algorithm), ..DEBUG };
        let made = try_pack(&[("a.o", &object)], &options).unwrap();
        let smf = Smf::parse(made.bytes()).unwrap();
        smf.verify_compressed().unwrap();
        let info = smf.sections().named(b".debug_info").unwrap();
        assert!(info.is_compressed());
        assert_eq!(*smf.contents(&info).unwrap(), *plain.section(".debug_info").data);
    }
}

#[test]
fn equal_strings_are_merged() {
    let other = SOURCE.replace("datum", "other").replace("zeroes", "ones").replace("go(", "come(");
    let objects = [c(SOURCE, &["-g", "-O1"]), c(&other, &["-g", "-O1"])];
    let made = with_debug_info(&[("a.o", &objects[0]), ("b.o", &objects[1])]);
    let strings = made.section(".debug_str").data;
    for name in ["with_a_long_name", "datum", "other", "come"] {
        let name = [name.as_bytes(), b"\0"].concat();
        let count = strings.windows(name.len()).filter(|found| *found == name).count();
        assert_eq!(count, 1, "{name:?}");
    }
}

/// A function in a section group, with its debugging information.
const GROUP: &str = r#"
    .section .text.f, "axG", @progbits, f, comdat
    .weak f
f:  ret
    .section .text.unused, "ax", @progbits
unused: ret
    .text
    .globl NAME
NAME: call f@PLT
    ret
    .section .debug_info, "", @progbits
    .quad .text.f
    .quad .text.unused
    .quad NAME + 5
    .quad absent
    .long .debug_str + 2
    .section .debug_ranges, "", @progbits
    .quad .text.f, .text.f + 1
    .section .debug_str, "MS", @progbits, 1
    .asciz "NAME"
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn dropped_copy_and_unreachable_function_get_the_value_of_linkers() {
    let objects = ["one", "two"].map(|name| asm(&GROUP.replace("NAME", name)));
    let made = with_debug_info(&[("a.o", &objects[0]), ("b.o", &objects[1])]);
    let text = |offset| (Some(".text".to_owned()), offset);
    let none = |value| (None, value);
    let place = |name| made.place(name).1;
    let info = |offset| field(&made, ".debug_info", offset);
    // The first object has the function.
    assert_eq!([info(0), info(8)], [text(place("f")), none(0)]);
    assert_eq!([info(16), info(24)], [text(place("one") + 5), none(0)]);
    assert_eq!(info(36), none(0), "the copy of the group is dropped");
    assert_eq!([info(44), info(52)], [none(0), text(place("two") + 5)]);
    let ranges = |offset| field(&made, ".debug_ranges", offset);
    assert_eq!([ranges(0), ranges(8)], [text(place("f")), text(place("f") + 1)]);
    assert_eq!([ranges(16), ranges(24)], [none(1), none(1)]);
    let at = |offset: usize| &made.section(".debug_info").data[offset..offset + 4];
    assert_eq!([at(32), at(68)], [[2, 0, 0, 0], [6, 0, 0, 0]]);
    assert_eq!(made.section(".debug_str").data, b"one\0two\0");
}

#[test]
fn object_without_section_in_the_module_contributes_nothing() {
    let unused = c("static int alone(void) { return 1; } int (*never)(void) = alone;", &["-g"]);
    let archive = crate::made::ar("crs", &[("b.o", &unused)]);
    let object = c(SOURCE, &["-g", "-O1"]);
    let alone = with_debug_info(&[("a.o", &object)]);
    let both = with_debug_info(&[("a.o", &object), ("lib.a", &archive)]);
    assert!(alone.bytes() == both.bytes());
}

#[test]
fn thread_local_variable_has_its_offset() {
    let source = "static __thread volatile char before[40]; static __thread long counter = 1;
        long *go(void) { before[3] = 1; return &counter; }";
    let made = with_debug_info(&[("a.o", &c(source, &["-g", "-O1", "-fPIC"]))]);
    // DW_OP_const8u, the offset, DW_OP_form_tls_address or its older equivalent.
    let info = made.section(".debug_info").data;
    let offsets = info.windows(10).filter(|w| w[0] == 0x0e && [0x9b, 0xe0].contains(&w[9]));
    let mut offsets: Vec<_> =
        offsets.map(|w| u64::from_le_bytes(*w[1..].first_chunk().unwrap())).collect();
    offsets.sort_unstable();
    // The initialised variable comes first.
    assert_eq!(offsets, [0, 8], "{info:x?}");
}

#[test]
fn malformed_sections_are_refused_with_the_section() {
    let object = |debug: &str| asm(&format!(".text\n.globl go\ngo: ret\n{debug}"));
    for (debug, expected) in [
        (
            ".section .debug_info,\"\",@progbits\n.long go - .",
            "a.o, section `.debug_info`: R_X86_64_PC32 against `go` is not a relocation that debugging information uses",
        ),
        (
            ".section .debug_info,\"\",@progbits\n.long go",
            "a.o, section `.debug_info`: R_X86_64_32 against `go` is an address in a field that is not of 64 bits",
        ),
        (
            ".section .debug_info,\"\",@progbits\n.byte 0\n.reloc 1, R_X86_64_64, go",
            "a.o, section `.debug_info`: R_X86_64_64 against `go` is outside its section",
        ),
        (
            ".section .debug_info,\"\",@progbits\n.quad go, 0\n.reloc 4, R_X86_64_64, go",
            "the merged section `.debug_info`: two relocations overlap at 0x4",
        ),
        (
            ".section .zdebug_info,\"\",@progbits\n.ascii \"ZLIB\"\n.byte 0,0,0,0,1,0,0,0\n.quad 0",
            "a.o, section `.zdebug_info`: it states a size that its compressed bytes cannot have",
        ),
        (
            ".section .zdebug_info,\"\",@progbits\n.ascii \"ZLIB\"\n.byte 0,0,0,0,0,0,0,9\n.quad -1",
            "a.o, section `.zdebug_info`: its compressed bytes are malformed",
        ),
        (
            ".section .zdebug_info,\"\",@progbits\n.ascii \"ZLIX\"",
            "a.o, section `.zdebug_info`: its bytes are outside the file, or it is compressed by an unknown algorithm",
        ),
    ] {
        let object = object(debug);
        linked(&[("a.o", &object)]);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(refusal(&object), expected);
        }
    }
}

/// The other part of the programs below, with a variable in the thread-local storage.
const OTHER: &str = r#"
    struct with_a_long_name { int first; }; struct of_other { struct with_a_long_name inner[3]; } others;
    __thread long before = 3; static __thread volatile long counter = 1;
    int other(int x) { counter += x; return others.inner[x].first + (int)counter; }
    int again(int x) { return other(x) + (int)before; }
    static void start(void) { before *= 2; }
    __attribute__((section(".init_array.00150"), used)) static void (*early)(void) = start;
    __attribute__((section(".init_array"), used)) static void (*late)(void) = start;
"#;

/// The contents of the debug sections, and of the lists of fields.
fn debug_sections(made: &Made) -> Vec<(Vec<u8>, Vec<u8>)> {
    let smf = Smf::parse(made.bytes()).unwrap();
    let is_debug =
        |name: &[u8]| name.starts_with(b".debug_") || [NAME, OFFSETS_NAME].contains(&name);
    let sections = smf.sections().iter().filter(|section| is_debug(section.name));
    let contents = |section| smf.contents(&section).unwrap().into_owned();
    sections.map(|section| (section.name.to_vec(), contents(section))).collect()
}

/// Modules and objects of the same sources, linked in one order, have the same debugging information.
#[test]
fn debug_information_of_modules_is_that_of_their_objects() {
    for flags in [&["-g", "-O1"][..], &["-g", "-O2", "-gdwarf-4"], &["-g", "-O0", "-gdwarf-5"]] {
        // The code of modules has this alignment.
        let flags = [flags, &["-fPIC", "-falign-functions=16"]].concat();
        let [one, two] = [c(SOURCE, &flags), c(OTHER, &flags)];
        let of_objects = with_debug_info(&[("a.o", &one), ("b.o", &two)]);
        let [a, b] = [&one, &two].map(|object| with_debug_info(&[("a.o", object)]));
        let compressed = Options { compress: Some(Algorithm::Lz4), ..DEBUG };
        let c = try_pack(&[("c.o", &two)], &compressed).unwrap();
        let modules = [
            with_debug_info(&[("a.smf", a.bytes()), ("b.smf", b.bytes())]),
            with_debug_info(&[("a.o", &one), ("b.smf", b.bytes())]),
            with_debug_info(&[("a.smf", a.bytes()), ("c.smf", c.bytes())]),
        ];
        for made in &modules {
            assert!(
                !made.warnings.iter().any(|w| matches!(w, PackWarning::DebugInfoLeftOut { .. }))
            );
            let (found, expected) = (debug_sections(made), debug_sections(&of_objects));
            assert!(found.len() > 6, "{flags:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found == expected, "{flags:?}: {}", String::from_utf8_lossy(&found.0));
            }
            assert_eq!(found.len(), expected.len());
        }
        let again = with_debug_info(&[("c.smf", modules[0].bytes())]);
        assert!(debug_sections(&again) == debug_sections(&of_objects), "{flags:?}");
        assert!(names(&linked(&[("a.smf", a.bytes())])).is_empty());
    }
}

#[test]
fn damaged_lists_of_fields_of_modules_are_refused_or_linked() {
    let module = with_debug_info(&[("a.o", &c(OTHER, &["-g", "-O1", "-fPIC"]))]);
    let (mut refused, mut linked) = (0, 0);
    for name in [NAME, OFFSETS_NAME] {
        let smf = Smf::parse(module.bytes()).unwrap();
        let section = smf.sections().named(name).unwrap();
        let start = section.offset as usize;
        for at in start..start + section.data.len() {
            for value in [0, 1, 0x41, 0x80, 0xff] {
                let mut damaged = module.bytes().to_vec();
                damaged[at] = value;
                match try_pack(&[("a.smf", &damaged)], &DEBUG) {
                    Ok(made) => {
                        Smf::parse(made.bytes()).unwrap().verify().unwrap();
                        linked += 1;
                    }
                    Err(error) => {
                        assert!(error.to_string().contains("a.smf"), "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 100 && linked > 100, "{refused} {linked}");
}

/// As modules of versions before the list of offsets.
#[test]
fn debug_information_without_list_of_offsets_is_left_out_with_a_warning() {
    let mut module = with_debug_info(&[("a.o", &c(SOURCE, &["-g", "-O1"]))]).bytes().to_vec();
    let at = module.windows(OFFSETS_NAME.len()).position(|w| w == OFFSETS_NAME).unwrap();
    module[at + 1] = b'x';
    let made = with_debug_info(&[("a.smf", &module)]);
    let left_out = PackWarning::DebugInfoLeftOut { module: "a.smf".to_owned() };
    assert_eq!(made.warnings, std::slice::from_ref(&left_out));
    assert!(names(&made).is_empty());
    assert!(!linked(&[("a.smf", &module)]).warnings.contains(&left_out));
}

#[test]
fn names_that_are_cut_stay_distinct() {
    let mut stored: Vec<_> = SECTIONS.iter().map(|name| stored_name(name)).collect();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), SECTIONS.len());
}

/// Found: g++ -g -O1 -mcmodel=large writes the addresses of arguments so.
#[test]
#[cfg(target_arch = "x86_64")]
fn distance_from_the_got_is_that_in_the_image() {
    let object = asm("    .text
    .globl go
go: movabsq $_GLOBAL_OFFSET_TABLE_ - go, %r11
    movabsq $datum@GOTOFF, %rax
    ret
    .data
    .quad 1, 2
datum: .quad 3
    .section .debug_info, \"\", @progbits
    .quad datum@GOTOFF
");
    let made = with_debug_info(&[("a.o", &object)]);
    let word = |bytes: &[u8]| u64::from_le_bytes(*bytes.first_chunk().unwrap());
    let debug = word(made.section(".debug_info").data);
    assert_eq!(debug, word(&made.section(".text").data[12..]));
    assert_ne!(debug, 0);
}
