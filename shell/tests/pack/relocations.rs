//! Relocation types and their results.

use smf_core::format::{Flags, Layout, Reloc, RelocKind};
use smf_loader::pack::{Options, PackError, PackWarning};

use crate::made::{Made, asm, c, linked, native, packed, refusal, try_pack};

/// A module of this code at offset 0, and data.
fn code(text: &str) -> Made {
    packed(&asm(&format!(".text\n.globl go\ngo:\n{text}\n")))
}

fn code_refusal(text: &str) -> String {
    refusal(&asm(&format!(".text\n.globl go\ngo:\n{text}\n")))
}

/// A module of this code at offset 0, and of an absolute symbol `n`.
fn with_number(text: &str, n: &str) -> Result<Made, PackError> {
    let code = asm(&format!(".text\n.globl go\ngo:\n{text}\n"));
    let number = asm(&format!(".globl n\n.set n, {n}\n"));
    try_pack(&[("a.o", &code), ("n.o", &number)], &Options::default())
}

fn shape(relocs: &[(Reloc, String)]) -> Vec<(u64, RelocKind, i64, &str)> {
    relocs.iter().map(|(r, symbol)| (r.offset, r.kind, r.addend, symbol.as_str())).collect()
}

#[test]
fn distance_within_code_leaves_no_relocation() {
    let made = code(
        "call near\n jmp near\n leaq near(%rip), %rax\n ret\n .section .text.near,\"ax\"\n .globl near\nnear: ret",
    );
    let near = made.place("near").1;
    for offset in [1, 6, 13] {
        assert_eq!(made.follow(offset), (".text".into(), near));
    }
    assert_eq!(made.smf().sections().len(), 1);
}

#[test]
fn distance_to_data_is_prelinked_and_kept() {
    let made = code("movl $7, value+4(%rip)\n ret\n .data\n .long 1\nvalue: .long 2, 3\n");
    // A 4-byte immediate follows the operand.
    assert_eq!(made.follow(2), (".data".into(), 8 - 4));
    let settled = made.relocs(".text", true);
    assert_eq!(shape(&settled), [(2, RelocKind::Pc32, 8 - 8, ".data")]);
}

#[test]
fn calls_of_an_import_share_a_stub() {
    let made =
        code("call far\n jmp far\n jne far\n call far@PLT\n ret\n.data\n.quad far\n.globl d\nd:");
    let stub = made.follow(1);
    for offset in [6, 12, 17] {
        assert_eq!(made.follow(offset), stub);
    }
    let (section, at) = stub;
    let at = usize::try_from(at).unwrap();
    assert_eq!((section.as_str(), &made.code()[at..at + 2]), (".text", &[0xff, 0x25][..]));
    assert_eq!(made.follow(at + 2), (".got".into(), 0));
    let got = made.relocs(".got", false);
    assert_eq!(shape(&got), [(0, RelocKind::Abs64, 0, "far")]);
    let data = made.relocs(".data", false);
    assert_eq!(shape(&data), [(0, RelocKind::Abs64, 0, "far")]);
    assert_eq!((made.relocs(".text", false), made.section(".got").size), (vec![], 8));
}

#[test]
fn jump_into_an_imported_function_keeps_its_offset() {
    let made = code("call far+8\n call far\n ret");
    let got = made.relocs(".got", false);
    assert_eq!(shape(&got), [(0, RelocKind::Abs64, 8, "far"), (8, RelocKind::Abs64, 0, "far")]);
}

#[test]
fn got_load_is_relaxed_where_possible() {
    let made = code(
        r#"
        movq near@GOTPCREL(%rip), %r9
        call *near@GOTPCREL(%rip)
        jmp *near@GOTPCREL(%rip)
        movl near@GOTPCREL(%rip), %edx
        .globl near
    near: ret
        "#,
    );
    let near = made.place("near").1;
    let follow = |offset| assert_eq!(made.follow(offset), (".text".into(), near));
    assert_eq!(made.code()[..3], [0x4c, 0x8d, 0x0d]); // lea, %r9
    follow(3);
    assert_eq!(made.code()[7..9], [0x67, 0xe8]); // addr32 call
    follow(9);
    assert_eq!((made.code()[13], made.code()[18]), (0xe9, 0x90)); // jmp; nop
    follow(14);
    assert_eq!(made.code()[19..21], [0x8d, 0x15]); // lea, %edx
    follow(21);
    assert!(made.find(".got").is_none());
}

#[test]
fn instruction_without_direct_form_keeps_its_slot() {
    let mut text = String::new();
    for operation in ["testq %rax,", "cmpq %rax,", "addq %rax,"] {
        text += &match operation {
            "testq %rax," => "testq %rax, near@GOTPCREL(%rip)\n".to_owned(),
            other => format!("{} near@GOTPCREL(%rip), %rax\n", other.split(' ').next().unwrap()),
        };
    }
    let made = code(&format!(
        "{text} movq near@GOTPCREL+4(%rip), %rax\n ret\n.data\n.byte 1\nnear: .byte 2\n"
    ));
    for (offset, slot) in [(3, 0), (10, 0), (17, 0), (24, 4)] {
        assert_eq!(made.follow(offset), (".got".into(), slot));
    }
    assert_eq!(made.code()[..3], [0x48, 0x85, 0x05]);
    assert_eq!(made.code()[21..24], [0x48, 0x8b, 0x05]);
    let got = made.relocs(".got", false);
    assert_eq!(shape(&got), [(0, RelocKind::Abs64, 1, ".data")]);
}

#[test]
fn gotpcrel_is_relaxed_only_with_a_prefix() {
    let old = |text: &str| {
        let source = format!(".text\n.globl go\ngo: {text}\nret\nnear: ret\n");
        packed(&asm(&source))
    };
    // GOTPCREL of older assemblers: the prefix proves a load.
    let made = old(".byte 0x48, 0x8b, 0x05\n .long near@GOTPCREL - 4");
    assert_eq!(made.code()[..3], [0x48, 0x8d, 0x05]);
    // Without a prefix, or with an ambiguous one, the instruction is unknown.
    for bytes in ["0x90, 0x8b, 0x05", "0x62, 0xf2, 0xfd, 0x48, 0x8b, 0x05", "0x90, 0xff, 0x15"] {
        let made = old(&format!(".byte {bytes}\n .long near@GOTPCREL - 4"));
        assert_eq!(made.section(".got").size, 8, "{bytes}");
    }
}

#[test]
fn lea_of_an_import_becomes_a_got_load() {
    let made = code(
        "leaq far(%rip), %r10\n leaq far+16(%rip), %rax\n movq far@GOTPCREL(%rip), %rax\n ret",
    );
    assert_eq!(made.code()[..3], [0x4c, 0x8b, 0x15]);
    assert_eq!(made.code()[7..10], [0x48, 0x8b, 0x05]);
    assert_eq!((made.follow(3), made.follow(17)), ((".got".into(), 0), (".got".into(), 0)));
    assert_eq!(made.follow(10), (".got".into(), 8));
    let got = made.relocs(".got", false);
    assert_eq!(shape(&got), [(0, RelocKind::Abs64, 0, "far"), (8, RelocKind::Abs64, 16, "far")]);
    assert!(made.warnings.is_empty());
    // VPERMW, whose prefix ends like that of `lea`, goes through a thunk.
    let made = code("vpermw far(%rip), %zmm0, %zmm1\n ret");
    assert_eq!(
        (made.code()[0], &made.code()[5..11]),
        (0xe9, &[0x90, 0x90, 0x90, 0x90, 0x90, 0xc3][..])
    );
    assert_eq!(made.relocs(".text", false), []);
}

#[test]
fn pc32_against_imported_data_of_a_push_is_left_to_the_loader() {
    let made = code("pushq far(%rip)\n pushq other(%rip)\n pushq far(%rip)\n ret");
    let open = made.relocs(".text", false);
    let expected = [(2, "far"), (8, "other"), (14, "far")];
    assert_eq!(shape(&open), expected.map(|(at, name)| (at, RelocKind::Pc32, -4, name)));
    assert_eq!(made.section(".rela.text").data.len(), 72);
    assert_eq!(made.warnings.len(), 2);
}

#[test]
fn jump_table_is_prelinked() {
    let source = r#"
        int pick(int x) { switch (x) { case 0: return 3; case 1: return 141; case 2: return 59;
            case 3: return 26; case 4: return 535; case 5: return 89; default: return 0; } }
        int far(int), fer(int), fir(int), fur(int), fyr(int);
        int jump(int x) { switch (x) { case 0: return far(x); case 1: return fer(x); case 2:
            return fir(x + 1); case 3: return fur(x); case 4: return fyr(x); default: return 7; } }
    "#;
    for flags in ["-O0", "-O2"] {
        let made = packed(&c(source, &[flags]));
        let settled = made.relocs(".rodata", true);
        assert!(settled.len() >= 5 && settled.iter().all(|(_, symbol)| symbol == ".text"));
        assert_eq!(made.relocs(".rodata", false), []);
    }
}

#[test]
fn distance_of_other_width_out_of_its_section_is_refused() {
    let made = code(
        ".globl table\ntable: .quad end - table, end - .\n .short end - .\n .byte end - .\n\
         .section .text.other,\"ax\"\n.globl other\nother: .quad go - .\n.short go - .\n.byte go - .\n.text\nend: ret",
    );
    let other = i64::try_from(made.place("other").1).unwrap();
    let bytes = made.at("other");
    assert_eq!(bytes[..8], (-other).to_le_bytes());
    assert_eq!(bytes[8..10], i16::try_from(-other - 8).unwrap().to_le_bytes());
    assert_eq!(bytes[10..11], i8::try_from(-other - 10).unwrap().to_le_bytes());

    // One of 64 bits is valid in the prelinked image only, which the native layout does not have.
    let object = asm(".text\n.globl go\ngo: ret\n.section .rodata\n.globl r\nr: .quad go - .\n");
    let made = packed(&object);
    assert_eq!(
        (made.imports(), made.at("r")[..8].to_vec()),
        (vec![".smf.image".to_owned()], (-4096i64).to_le_bytes().to_vec())
    );
    let options = Options { layout: Layout::Native, ..Options::default() };
    let error = try_pack(&[("a.o", &object)], &options).err().unwrap().to_string();
    assert!(
        error.starts_with(
            "a.o, section `.rodata`: R_X86_64_PC64 against `go` is a distance to another section"
        ),
        "{error}"
    );
    let error = code_refusal(".space 200\n.section .text.o,\"ax\"\n.globl o\no: .byte go - .\n");
    assert_eq!(error, "a.o, section `.text.o`: R_X86_64_PC8 against `go` at 0x0 is out of range");
    let error = code_refusal(".quad far - .");
    assert!(
        error.contains("R_X86_64_PC64 against `far` is a distance to another module"),
        "{error}"
    );
}

#[test]
fn abs32_is_kept_in_the_packed_layout_only() {
    let object = asm(
        ".text\n.globl go\ngo: movl $value, %eax\n ret\n.data\n.long 0\nvalue: .long far\n.globl d\nd:",
    );
    let made = packed(&object);
    let open = made.relocs(".text", false);
    assert_eq!(shape(&open), [(1, RelocKind::Abs32, 4, ".data")]);
    let open = made.relocs(".data", false);
    assert_eq!(shape(&open), [(4, RelocKind::Abs32, 0, "far")]);
    assert!(!made.smf().header().flags.has(Flags::PIC));
    let low = |w: &&PackWarning| matches!(w, PackWarning::LowAddress { .. });
    assert_eq!(made.warnings.iter().filter(low).count(), 2);
    let options = Options { layout: Layout::Native, ..Options::default() };
    let error = try_pack(&[("a.o", &object)], &options).err().unwrap().to_string();
    assert!(
        error.starts_with("a.o, section `.text`: R_X86_64_32 against `.data` needs"),
        "{error}"
    );
}

#[test]
fn abs32s_is_kept_in_the_packed_layout_only() {
    let object = c("char a[9]; int go(int i) { return a[i]; }", &["-O2", "-fno-pie"]);
    let open = packed(&object).relocs(".text", false);
    assert_eq!(open.iter().filter(|reloc| reloc.0.kind == RelocKind::Abs32).count(), 1);
    // An instruction that can be moved takes the address from the GOT.
    let made = code("movq $far, %rax\n cmpq $far, 8(%rsp)\n movq far(,%rax,8), %rcx\n ret");
    assert_eq!((made.relocs(".text", false), made.imports()), (vec![], vec!["far".to_owned()]));
    let made = code("pushq $far\n ret");
    assert_eq!(shape(&made.relocs(".text", false)), [(1, RelocKind::Abs32S, 0, "far")]);
    let low =
        |warning: &&PackWarning| warning.to_string().contains("of the import `far` in 32 bits");
    assert_eq!(made.warnings.iter().filter(low).count(), 1, "{:?}", made.warnings);
    // Linked again, it is the same.
    let made = linked(&[("a.smf", made.bytes())]);
    assert_eq!(shape(&made.relocs(".text", false)), [(1, RelocKind::Abs32S, 0, "far")]);
    // An address behind the image may exceed 2 GiB.
    let made = packed(&asm(".text\n.globl go\ngo: movq $go+100, %rax\n ret"));
    assert_eq!(shape(&made.relocs(".text", false)), [(3, RelocKind::Abs32S, 100, ".text")]);
    let options = Options { layout: Layout::Native, ..Options::default() };
    let error = try_pack(&[("a.o", &object)], &options).err().unwrap().to_string();
    assert!(error.contains("needs a 32-bit address, which the native layout"), "{error}");
    // A number that fits is written.
    let made = with_number("movq $n, %rax\n ret", "0x7fffffff").unwrap();
    assert_eq!(made.code()[3..7], [0xff, 0xff, 0xff, 0x7f]);
    let error = with_number("movq $n, %rax\n ret", "0x80000000").err().unwrap().to_string();
    assert!(error.ends_with("R_X86_64_32S against `n` at 0x3 is out of range"), "{error}");
}

#[test]
fn narrow_address_is_refused_and_narrow_number_written() {
    for (directive, kind) in [(".short", "R_X86_64_16"), (".byte", "R_X86_64_8")] {
        let error = code_refusal(&format!("ret\n.data\n.globl d\nd: {directive} go\n"));
        let expected =
            format!("a.o, section `.data`: {kind} against `go` needs an address in fewer");
        assert!(error.starts_with(&expected), "{error}");
    }
    let text = "ret\n.data\n.globl d\nd: .short n\n.byte n\n.long n\n.quad n\n";
    let made = with_number(text, "0x92").unwrap();
    assert_eq!(made.at("d"), [0x92, 0, 0x92, 0x92, 0, 0, 0, 0x92, 0, 0, 0, 0, 0, 0, 0]);
    let error = with_number(text, "0x192").err().unwrap().to_string();
    assert!(error.contains("R_X86_64_8 against `n` at 0x2 is out of range"), "{error}");
}

#[test]
fn size_relocation_of_an_import_is_refused() {
    let made = code(
        "ret\n.data\n.globl d\nd: .quad d@SIZE, c@SIZE\n.long d@SIZE+1\n.size d, 20\n.comm c, 33, 1\n",
    );
    assert_eq!((made.at("d")[0], made.at("d")[8], made.at("d")[16]), (20, 33, 21));
    let error = code_refusal("ret\n.data\n.globl d\nd: .quad far@SIZE\n");
    assert!(error.contains("R_X86_64_SIZE64 against `far` needs the size"), "{error}");
}

#[test]
fn got_symbol_is_the_address_of_the_got() {
    let made = code("leaq _GLOBAL_OFFSET_TABLE_(%rip), %rbx\n movq far@GOT(%rbx), %rax\n ret");
    assert_eq!(made.follow(3), (".got".into(), 0));
    assert_eq!(made.imports(), ["far"]);
    let made = code("call far\n movq near@GOT(%rbx), %rax\nnear: ret");
    assert_eq!(made.code()[8..12], [8, 0, 0, 0]);
    // A distance of 64 bits to another section is valid in the prelinked image only.
    let made = code("movabsq $near@GOTOFF, %rax\nnear: ret");
    assert_eq!(made.imports(), [".smf.image"]);
    let error = code_refusal("movabsq $far@GOTOFF, %rax\n ret");
    assert!(
        error.contains("R_X86_64_GOTOFF64 against `far` is a distance from the GOT"),
        "{error}"
    );
    // In the native layout the GOT and the data are one section.
    let made = native(&asm(
        ".text\n.globl go\ngo: movabsq $near@GOTOFF, %rax\n ret\n.data\n.globl near\nnear: .quad 1\n",
    ));
    let near = made.place("near").1.to_le_bytes();
    assert_eq!(made.code()[2..10], near);
}

#[test]
fn dso_handle_is_unique_to_the_module() {
    let made = code(
        ".hidden __dso_handle\n leaq __dso_handle(%rip), %rdx\n movq __dso_handle(%rip), %rax\n ret",
    );
    assert_eq!(made.imports(), ["__smf_requires_constructors"]);
    assert_eq!((made.follow(3), made.follow(10)), ((".got".into(), 0), (".got".into(), 0)));
    // Relocations name the symbol: in a merged module it is another one.
    let got = made.relocs(".got", false);
    assert_eq!(shape(&got), [(0, RelocKind::Abs64, 0, "__dso_handle")]);
}

#[test]
fn unsupported_relocation_is_refused_by_name() {
    for (text, kind) in [
        (".reloc ., R_X86_64_TLSDESC, far\n.quad 0, 0", "R_X86_64_TLSDESC"),
        (".reloc ., R_X86_64_COPY, far\n nop", "R_X86_64_COPY"),
        (".reloc ., R_X86_64_RELATIVE, far\n .quad 0", "R_X86_64_RELATIVE"),
    ] {
        let error = code_refusal(text);
        assert!(error.starts_with(&format!("a.o, section `.text`: {kind} against ")), "{error}");
    }
}

#[test]
fn native_module_has_one_got_and_no_image() {
    let made = native(&c(
        "extern int far(int); static int n; const int t[2] = {4, 5}; int go(int i) { n += i; return far(t[n]); }",
        &["-O2"],
    ));
    let open = made.relocs(".text", false);
    assert!(
        open.iter().all(|(r, symbol)| r.kind == RelocKind::Pc32 && symbol == ".data"),
        "{open:?}"
    );
    assert_eq!(made.section(".rela").size, open.len() as u64 * 24);
    assert_eq!(made.relocs(".data", false).len(), 1);
}
