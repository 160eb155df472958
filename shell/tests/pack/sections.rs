//! Selection and placement of sections.

use smf_core::format::{Layout, SectionKind};
use smf_loader::pack::{Options, PackWarning};

use crate::made::{asm, c, linked, native, packed, refusal, refusal_of, try_pack};

const EVERYTHING: &str = r#"
    int counter = 5;
    int zeroes[100];
    const int table[4] = {1, 2, 3, 4};
    extern int elsewhere(void);
    int (*const pointer)(void) = elsewhere;
    const char *words[] = {"one", "two"};
    int get(int i) { return counter + zeroes[i] + table[i] + pointer() + words[i][0]; }
"#;

#[test]
fn data_is_sorted_into_sections_by_kind() {
    for flags in [&["-O0"][..], &["-O2"], &["-O2", "-fPIC"], &["-Os", "-fdata-sections"]] {
        let made = packed(&c(EVERYTHING, flags));
        for (name, section, kind) in [
            ("get", ".text", SectionKind::Code),
            ("table", ".rodata", SectionKind::RoData),
            ("counter", ".data", SectionKind::Data),
            ("words", ".data", SectionKind::Data),
            ("zeroes", ".bss", SectionKind::Bss),
        ] {
            assert_eq!(made.place(name).0, section, "{name} with {flags:?}");
            assert_eq!(made.section(section).kind, kind);
        }
        // Without `-fPIC`, and if the compiler is not for position-independent programs, it is a constant like others.
        assert!([".rodata", ".relro"].contains(&made.place("pointer").0.as_str()));
        assert_eq!(made.export("zeroes").unwrap().size, 400);
        assert_eq!(made.section(".bss").size, 0);
        assert!(made.section(".bss").virtual_size >= 400);
        assert_eq!(made.section(".text").flags.to_string(), "r-x");
        assert_eq!(made.section(".rodata").flags.to_string(), "r--");
        assert_eq!(made.section(".data").flags.to_string(), "rw-");
        assert_eq!(&made.at("table")[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
    }
}

#[test]
fn section_named_data_rel_root_is_writable() {
    let source =
        "extern int far; int *root = &far; int *ro_t[2] = {&far}; int *const fixed = &far;";
    let made = packed(&c(source, &["-O1", "-fPIC", "-fdata-sections"]));
    assert_eq!(["root", "ro_t"].map(|name| made.place(name).0), [".data", ".data"]);
    assert_eq!(made.place("fixed").0, ".relro");
}

/// So that they can be mapped.
#[test]
fn large_read_only_sections_lie_on_file_pages_without_relocations() {
    let source = "const char bytes[70000] = {1}; extern int far; int *const fixed = &far;
        __asm__(\".text; .skip 70000; .globl last; last: ret; .data; .skip 3\");";
    let made = packed(&c(source, &["-O1", "-fPIC"]));
    for name in [".text", ".rodata"] {
        let section = made.section(name);
        assert!(section.size >= 70_000 && section.offset.is_multiple_of(4096), "{name}");
        assert_eq!(made.relocs(name, false), [], "{name}");
    }
    assert!(!made.relocs(".relro", false).is_empty());
    // Small modules are not padded.
    let small = packed(&c(EVERYTHING, &["-O1", "-fPIC"]));
    assert!(small.section(".rodata").offset < 1000);
}

#[test]
fn code_has_no_relocations() {
    for flags in [&["-O0"][..], &["-O2"], &["-O2", "-fPIC"], &["-O2", "-fPIC", "-fno-plt"]] {
        let made = packed(&c(EVERYTHING, flags));
        assert_eq!(made.relocs(".text", false), []);
        assert!(!made.relocs(".text", true).is_empty());
        assert_eq!(made.imports(), ["elsewhere"]);
        let plan = made.plan();
        let offset = |name| plan.section_offset(made.section(name).index).unwrap();
        assert_eq!(offset(".text"), 0);
        // Protections change at a page; .bss follows .data wherever that ends.
        assert!(offset(".rodata").is_multiple_of(4096) && offset(".data").is_multiple_of(4096));
        let data = made.section(".data");
        assert!(offset(".bss") < offset(".data") + data.size + 32);
    }
}

#[test]
fn native_layout_has_code_and_one_data_section() {
    let made = native(&c(EVERYTHING, &["-O2", "-fPIC"]));
    let names: Vec<_> = made.smf().sections().iter().map(|s| s.name.to_vec()).collect();
    let tables =
        [&b".text"[..], b".data", b".eh_frame", b".rela", b".rela.data", b".rela.eh_frame"];
    assert_eq!(names, tables);
    for name in ["table", "pointer", "counter", "words", "zeroes"] {
        assert_eq!(made.place(name).0, ".data");
    }
    let data = made.section(".data");
    assert!(data.virtual_size >= data.size + 400);
    assert_eq!(&made.at("table")[..8], [1, 0, 0, 0, 2, 0, 0, 0]);
    let warned = |w: &PackWarning| matches!(w, PackWarning::ReadOnlyDataWritable { .. });
    assert!(made.warnings.iter().any(warned));
}

#[test]
fn unreachable_sections_are_dropped() {
    let source = r#"
        extern int wanted(void), unwanted(void);
        static int used(void) { return wanted(); }
        __attribute__((used)) static int unused(void) { return unwanted(); }
        __attribute__((visibility("hidden"))) int hidden(void) { return unwanted(); }
        int go(void) { return used() + 1; }
    "#;
    let made = packed(&c(source, &["-O0", "-ffunction-sections"]));
    assert_eq!(made.imports(), ["wanted"]);
    assert!(made.export("hidden").is_none());
    // Functions that share a section are kept together.
    let made = packed(&c(source, &["-O0"]));
    assert_eq!(made.imports(), ["wanted", "unwanted"]);
}

/// Two functions in sections of their own, with a table of handlers each, and a personality function.
const UNWINDING: &str = r#"
        .macro function name
        .section .text.\name,"ax"
        .globl \name
        .type \name, @function
    \name: .cfi_startproc
        .cfi_personality 0x9b, DW.ref.personality
        .cfi_lsda 0x1b, .Llsda\name
        ret
        .cfi_endproc
        .size \name, .-\name
        .section .gcc_except_table.\name,"a"
    .Llsda\name: .byte 0xff, 0xff, 1, 0
        .endm
        function go
        function other
        .hidden other
        .hidden DW.ref.personality
        .weak DW.ref.personality
        .section .data.rel.local.DW.ref.personality,"awG",@progbits,DW.ref.personality,comdat
        .type DW.ref.personality, @object
    DW.ref.personality: .quad personality
"#;

#[test]
fn unwinding_tables_of_reachable_functions_are_kept() {
    let made = packed(&asm(UNWINDING));
    assert_eq!(made.imports(), ["personality", "__smf_requires_unwinding"]);
    assert_eq!(made.code(), [0xc3]);
    assert_eq!(made.warnings, []);
    // A common record of 32 bytes, one function record of 24, and the end.
    let frame = made.section(".eh_frame");
    assert_eq!(
        (frame.kind, frame.size, frame.flags.to_string()),
        (SectionKind::RoData, 60, "r--".into())
    );
    assert_eq!(made.relocs(".eh_frame", false), []);
    assert_eq!(made.relocs(".eh_frame", true), []);
    let word = |at: usize| u32::from_le_bytes(frame.data[at..at + 4].try_into().unwrap());
    assert_eq!([0, 4, 32, 36, 56].map(word), [28, 0, 20, 36, 0]);
    assert_eq!(made.section(".rodata").data, [0xff, 0xff, 1, 0]);
    // The common records of two objects are one record.
    let second = UNWINDING.replace("function go", "function second").replace("other", "another");
    let both = linked(&[("a.o", &asm(UNWINDING)), ("b.o", &asm(&second))]);
    assert_eq!(both.section(".eh_frame").size, 60 + 24);

    let options = Options { omit_unwind_tables: true, ..Options::default() };
    let made = try_pack(&[("a.o", &asm(UNWINDING))], &options).unwrap();
    assert_eq!(made.imports(), [""; 0]);
}

#[test]
fn record_of_a_discarded_function_with_an_exception_table_is_dropped() {
    // lld and gold remove the relocation of the function in a partial link (`-r`), and leave that of the table.
    let frame = ".long 4, 0, 12, 12, 0, go";
    let made = packed(&asm(&format!(
        ".text\n.globl go\ngo: ret\n.section .eh_frame,\"a\",@progbits\n{frame}\n"
    )));
    assert_eq!(made.code(), [0xc3]);
    assert_eq!(made.imports(), [""; 0]);
}

#[test]
fn malformed_unwinding_tables_are_refused() {
    let frame = |words: &str| {
        let text = ".text\n.globl go\ngo: ret\n.section .eh_frame,\"a\",@progbits\n";
        refusal(&asm(&format!("{text}{words}\n")))
    };
    for (words, reason, offset) in [
        (".byte 1, 2", "a record is truncated", 0),
        (".long 8, 0", "a record exceeds the section", 0),
        (".long 0xffffffff, 0, 0, 0", "a record has a 64-bit length", 0),
        (".long 2, 0", "a record is too short", 0),
        (".long 12, 4, 0, 0", "a record refers to no common record", 0),
        (".long 4, 0, 12, 12, other, 0", "a record is of no function of the object", 8),
        (".long 12, go, 0, 0", "a relocation is not in one record", 4),
        (".long 12, 0, 0\n.quad go", "a relocation is not in one record", 12),
        (".long 0, go, 8, 0, 0", "a relocation is not in one record", 4),
    ] {
        let refused = format!("a.o, section `.eh_frame`: {reason}, at offset {offset:#x}");
        assert_eq!(frame(words), refused);
    }
}

#[test]
fn alignment_is_respected_up_to_a_large_page() {
    let source = r#"
        char one = 1;
        _Alignas(64) char lines[3] = {1, 2, 3};
        _Alignas(4096) char page[3] = {7, 8, 9};
        _Alignas(2097152) char large[3] = {4, 5, 6};
        _Alignas(512) const char fixed[2] = {1, 2};
        _Alignas(128) char room[5];
    "#;
    let made = packed(&c(source, &["-O1", "-fdata-sections"]));
    for (name, alignment) in
        [("lines", 64), ("page", 4096), ("large", 2 << 20), ("fixed", 512), ("room", 128)]
    {
        let (section, value) = made.place(name);
        let section = made.section(&section);
        assert!(section.alignment >= alignment && value.is_multiple_of(alignment), "{name}");
        assert!(made.plan_offset(section.index).is_none_or(|at| at.is_multiple_of(alignment)));
    }
    assert_eq!(&made.at("page")[..3], [7, 8, 9]);
    let object = c("_Alignas(4194304) char far[2] = {1};", &["-fdata-sections"]);
    assert_eq!(
        refusal(&object),
        "a.o, section `.data.far`: alignment 4194304 exceeds the maximum of a module, 2 MiB"
    );
}

#[test]
fn constructors_of_linked_objects_are_kept() {
    let source = "int n; int go(void){return 1;}
        __attribute__((constructor)) static void first(void){n++;}";
    let object = c(source, &["-O1", "-ffunction-sections"]);
    let made = packed(&object);
    assert_eq!(made.imports(), ["__smf_requires_constructors"]);
    let array = made.section(".init_array");
    assert_eq!((array.kind, array.size), (SectionKind::RoData, 8));
    assert_eq!(made.relocs(".init_array", false).len(), 1);
    let text = |section| format!(".section {section}\n.text\n.globl go\ngo: ret\n");
    assert_eq!(packed(&asm(&text(".init_array,\"aw\",@init_array"))).imports(), [""; 0]);
    let odd = format!("{}.section .ctors.65535,\"aw\"\n.long 0\n", text(".ctors,\"aw\""));
    assert_eq!(
        refusal(&asm(&odd)),
        "a.o, section `.ctors.65535`: its size is not a whole number of addresses"
    );
    let fragment = format!("{}.section .init,\"ax\"\ncall go\n", text(".data"));
    assert_eq!(packed(&asm(&fragment)).imports(), ["__smf_requires_constructors"]);
    let data = format!("{}.section .init,\"aw\"\n.long 0\n", text(".data"));
    assert_eq!(refusal(&asm(&data)), "a.o, section `.init`: it is not code");
}

#[test]
fn thread_local_storage_is_one_section_with_zeroes_at_the_end() {
    let source = "static __thread int first = 3; static __thread char zero[100];
        static __thread long last __attribute__((aligned(32))) = 4;
        long go(void) { return first++ + zero[1]++ + last++; }";
    let made = packed(&c(source, &["-fPIC", "-O1"]));
    let smf = made.smf();
    let section = smf.sections().named(b".tdata").unwrap();
    assert_eq!((section.kind, section.alignment), (SectionKind::RoData, 32));
    assert!(section.size <= 48 && section.virtual_size >= section.size + 100, "{section:?}");
    let imports = smf.symbols().iter().map(Result::unwrap).filter(|s| s.is_import());
    let mut imports: Vec<_> = imports.map(|import| import.name()).collect();
    imports.sort_unstable();
    assert_eq!(imports, [&b"__smf_requires_tls_module"[..], b"__tls_get_addr"]);
}

#[test]
fn reference_that_mismatches_thread_local_storage_is_refused() {
    let storage = ".section .tdata,\"awT\",@progbits\nmine: .long 1\n.text\n.globl go\ngo: ";
    for (code, message) in [
        ("lea mine(%rip), %rax", "R_X86_64_PC32 against `mine` uses thread-local storage as if"),
        ("movabs $mine, %rax", "R_X86_64_64 against `mine` uses thread-local storage as if"),
        (
            "lea other@dtpoff(%rax), %rax",
            "R_X86_64_DTPOFF32 against `other` is imported, and local",
        ),
    ] {
        let error = refusal(&asm(&format!("{storage}{code}\n")));
        let expected = format!("a.o, section `.text`: {message}");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn writable_code_is_refused() {
    let object = asm(".section .hot,\"awx\"\n.globl go\ngo: ret\n");
    assert_eq!(
        refusal(&object),
        "a.o, section `.hot`: writable and executable sections are not supported"
    );
}

#[test]
fn first_group_of_a_signature_is_kept() {
    let group = |value: u8| {
        asm(&format!(
            r#"
            .section .text.pick,"axG",@progbits,pick,comdat
            .weak pick
            .type pick, @function
        pick: leaq .Ltable(%rip), %rax
            movl (%rax), %eax
            ret
            .size pick, .-pick
            .section .rodata.pick,"aG",@progbits,pick,comdat
        .Ltable: .long {value}
            .text
            .globl go{value}
        go{value}: call pick
            leaq .Ltable(%rip), %rdx
            ret
        "#
        ))
    };
    let made = linked(&[("a.o", &group(1)), ("b.o", &group(2))]);
    assert_eq!(made.section(".rodata").data, [1, 0, 0, 0]);
    // Both callers use the kept function and the kept table.
    for name in ["go1", "go2"] {
        let go = usize::try_from(made.place(name).1).unwrap();
        assert_eq!(made.follow(go + 1), made.place("pick"));
        assert_eq!(made.follow(go + 8), (".rodata".into(), 0));
    }
}

#[test]
fn reference_to_a_discarded_section_is_refused() {
    let first = asm(".section .text.f,\"axG\",@progbits,f,comdat\n.globl f\nf: ret\n");
    let second = asm(r#"
        .section .text.f,"axG",@progbits,f,comdat
        .globl f
    f:  ret
        .section .rodata.more,"aG",@progbits,f,comdat
    .Lmore: .long 1
        .text
        .globl go
    go: leaq .Lmore(%rip), %rax
        ret
    "#);
    assert_eq!(
        refusal_of(&[("a.o", &first), ("b.o", &second)]),
        "b.o, section `.text`: refers to `.rodata.more`, which was dropped with another copy of its section group"
    );
    linked(&[("b.o", &second), ("a.o", &first)]);
}

#[test]
fn code_is_ordered_by_phase_of_its_section_name() {
    let made = packed(&asm(r#"
        .macro function name, section
        .section \section,"ax"
        .globl \name
        .type \name, @function
    \name: ret
        .size \name, .-\name
        .endm
        function cold, .text.unlikely.cold
        function boot, .text.startup
        function plain, .text.plain
        function hot, .text.hot.hot
    "#));
    let phase = |name| made.export(name).unwrap().flags.0;
    assert_eq!(["boot", "hot", "plain", "cold"].map(phase), [0, 2, 2, 3]);
    let value = |name| made.place(name).1;
    let order = ["boot", "hot", "plain", "cold"].map(value);
    assert!(order.is_sorted() && order[0] == 0, "{order:?}");
}

#[test]
fn section_with_c_name_has_start_and_stop_symbols() {
    let entry = |value: u8| {
        asm(&format!(
            r#"
            .section entries,"aw"
            .quad {value}
            .data
            .quad 77
            .text
            .globl first{value}, last{value}
        first{value}: leaq __start_entries(%rip), %rax
            ret
        last{value}: leaq __stop_entries(%rip), %rax
            ret
        "#
        ))
    };
    let made = linked(&[("a.o", &entry(1)), ("b.o", &entry(2))]);
    assert_eq!(made.imports(), [""; 0]);
    let operand = |name| made.follow(usize::try_from(made.place(name).1).unwrap() + 3);
    let ((section, start), (_, stop)) = (operand("first1"), operand("last1"));
    assert_eq!((operand("first2").1, operand("last2").1), (start, stop));
    assert_eq!((section.as_str(), stop - start), (".data", 16));
    let (start, stop) = (usize::try_from(start).unwrap(), usize::try_from(stop).unwrap());
    let entries = &made.section(".data").data[start..stop];
    assert_eq!(entries, [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn section_array_is_kept_whole_and_of_one_kind() {
    let user = asm(
        ".section list,\"aw\"\n.globl head\nhead: .quad 1\n.text\n.globl go\ngo: leaq __start_list(%rip), %rax\nret\n",
    );
    let more = asm(".section list,\"aw\"\n.quad 2\n");
    let made = linked(&[("user.o", &user), ("more.o", &more)]);
    assert_eq!(made.section(".data").data.len(), 16);
    let fixed = asm(".section list,\"a\"\n.quad 2\n");
    assert_eq!(
        refusal_of(&[("user.o", &user), ("fixed.o", &fixed)]),
        "fixed.o, section `list`: sections of its name differ in kind, so that they cannot be one array"
    );
}

#[test]
fn common_symbols_are_allocated() {
    let common = |size, alignment| {
        asm(&format!(".comm shared, {size}, {alignment}\n.text\n.globl go{size}\ngo{size}: ret\n"))
    };
    let made = linked(&[("a.o", &common(8, 8)), ("b.o", &common(40, 64)), ("c.o", &common(16, 4))]);
    let shared = made.export("shared").unwrap();
    assert_eq!((made.place("shared").0.as_str(), shared.size), (".bss", 40));
    assert!(shared.value.is_multiple_of(64) && made.section(".bss").alignment == 64);

    // A strong definition takes precedence, a weak one does not (System V ABI, chapter 4).
    let strong =
        asm(".data\n.globl shared\n.type shared, @object\n.size shared, 4\nshared: .long 9\n");
    for objects in
        [[("a.o", &common(8, 8)), ("s.o", &strong)], [("s.o", &strong), ("a.o", &common(8, 8))]]
    {
        let made = linked(&objects.map(|(name, data)| (name, &data[..])));
        assert_eq!(made.place("shared").0, ".data");
    }
    let weak = asm(".data\n.weak shared\nshared: .long 9\n");
    let made = linked(&[("w.o", &weak), ("a.o", &common(8, 8))]);
    assert_eq!(made.place("shared").0, ".bss");
    let wild = asm(".comm wild, 8, 4194304\n");
    assert!(refusal(&wild).contains("`wild`"));
}

#[test]
fn stub_precedes_packed_modules_only() {
    let object = c("int main(void) { return 3; }", &["-O2"]);
    let stub = b"#!/usr/bin/env smf\n";
    let options = Options { stub, ..Options::default() };
    let made = try_pack(&[("a.o", &object)], &options).unwrap();
    assert!(made.bytes().starts_with(stub));
    assert_eq!(made.smf().header().data_offset, 19);
    let options = Options { layout: Layout::Native, ..options };
    let error = try_pack(&[("a.o", &object)], &options).err().unwrap();
    assert!(error.to_string().contains("cannot have a stub"), "{error}");
    let options = Options { layout: Layout::Compact, ..Options::default() };
    assert!(try_pack(&[("a.o", &object)], &options).is_err());
}
