//! What static archives hold in practice: hidden symbols, repeated definitions, large alignments, large code models, and
//! several constructs at once that a module cannot express.

use smf_core::format::{Flags, Layout};
use smf_loader::pack::{Options, PackError, PackWarning};

use crate::made::{Made, ar, asm, c, linked, packed, refusal, refusal_of, try_pack};

const HIDDEN: &str = r#"
    __attribute__((visibility("hidden"))) int inner(void) { return 1; }
    __attribute__((visibility("hidden"))) int outer = 2;
    __attribute__((visibility("internal"))) int third(void) { return 3; }
"#;

fn with(objects: &[(&str, &[u8])], exports: &[&str], export_all: bool) -> Result<Made, PackError> {
    try_pack(objects, &Options { exports, export_all, ..Options::default() })
}

#[test]
fn hidden_symbols_are_exported_on_demand() {
    let lib = ar("rcs", &[("a.o", &c(HIDDEN, &[]))]);
    let error = refusal_of(&[("lib.a", &lib)]);
    assert!(error.contains("all 3 symbols") && error.contains("--export-all"), "{error}");
    let all = with(&[("lib.a", &lib)], &[], true).unwrap();
    assert!(["inner", "outer", "third"].iter().all(|name| all.export(name).is_some()));
    let one = with(&[("lib.a", &lib)], &["inner"], false).unwrap();
    assert!(one.export("inner").is_some() && one.export("outer").is_none());
    let error = with(&[("lib.a", &lib)], &["missing", "inner"], false).err().unwrap().to_string();
    assert_eq!(error, "the symbol `missing` is to be exported but is defined in no input");
    // As the entry point, an exported name links its archive member.
    let main = c("int go(void) { return 1; }", &[]);
    let made = with(&[("main.o", &main), ("lib.a", &lib)], &["outer"], false).unwrap();
    assert!(made.export("outer").is_some() && made.export("go").is_some());
    assert!(refusal(&asm(".text\nlocal: ret\n")).contains("define no exported symbol"));
}

#[test]
fn repeated_definition_in_a_whole_archive_is_linked_only_if_needed() {
    let one = c("int same(void) { return 1; } int first(void) { return same(); }", &[]);
    let two = c("int same(void) { return 2; } int second(void) { return same(); }", &[]);
    let lib = ar("rcs", &[("one.o", &one), ("two.o", &two)]);
    let made = linked(&[("lib.a", &lib)]);
    assert!(made.export("first").is_some() && made.export("second").is_none());
    let [PackWarning::RepeatedDefinition { member, name, first }] = &made.warnings[..] else {
        panic!("{:?}", made.warnings)
    };
    assert_eq!((&**member, &**name, &**first), ("lib.a(two.o)", "same", "lib.a(one.o)"));
    let user = c("int second(void); int use(void) { return second(); }", &["-fPIC"]);
    let lib = ar("rcs", &[("one.o", &one), ("two.o", &two), ("user.o", &user)]);
    let error = "duplicate definition of `same` in lib.a(one.o) and lib.a(two.o)";
    assert_eq!(refusal_of(&[("lib.a", &lib)]), error);
    // Members of one name are told apart.
    let lib = ar("qS", &[("one.o", &one)]);
    let again = ar("qS", &[("one.o", &c("int same = 2; int more = 3;", &[]))]);
    let both = [&lib[..], &again[8..]].concat();
    let made = linked(&[("lib.a", &both)]);
    assert!(made.warnings[0].to_string().starts_with("lib.a(one.o#2) is not linked"));
    // A weak definition and a copy of a section group are no repetition.
    let weak = c("__attribute__((weak)) int same(void) { return 3; } int third = 3;", &[]);
    let lib = ar("rcs", &[("one.o", &one), ("weak.o", &weak)]);
    assert!(linked(&[("lib.a", &lib)]).export("third").is_some());
    let group = |other: &str| {
        asm(&format!(
            ".section .text.f,\"axG\",@progbits,f,comdat\n.globl f\nf: ret\n.data\n.globl {other}\n{other}: .quad f\n"
        ))
    };
    let lib = ar("rcs", &[("one.o", &group("x")), ("two.o", &group("y"))]);
    let made = linked(&[("lib.a", &lib)]);
    assert!(made.export("x").is_some() && made.export("y").is_some() && made.warnings.is_empty());
}

#[test]
fn every_reason_for_refusal_is_listed() {
    let a = asm(
        ".text\n.globl a\na: call missing\n.hidden missing\n.byte 0\n.data\n.globl d\nd: .byte a\n",
    );
    let b =
        asm(".text\n.globl a\na: ret\n.globl b\nb: ret\n.section .wx,\"awx\"\n.globl w\nw: ret\n");
    let error = try_pack(&[("a.o", &a), ("b.o", &b)], &Options::default()).err().unwrap();
    let PackError::Several(errors) = &error else { panic!("{error}") };
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(error.to_string(), lines.join("\n"));
    for part in [
        "duplicate definition of `a` in a.o and b.o",
        "a.o: the hidden symbol `missing` is defined in no input",
        "b.o, section `.wx`: writable and executable sections",
        "R_X86_64_8 against `a` needs an address in fewer",
    ] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
    assert_eq!(lines.len(), 4, "{lines:?}");
}

#[test]
fn object_with_an_executable_stack_is_refused() {
    let stack = |flags: &str| {
        asm(&format!(".section .note.GNU-stack,\"{flags}\",@progbits\n.text\n.globl f\nf: ret\n"))
    };
    assert!(packed(&stack("")).export("f").is_some());
    let message = "a.o: asks for an executable stack (section `.note.GNU-stack`), which a module does not have";
    assert!(refusal_of(&[("a.o", &stack("x"))]).starts_with(message));
    // A nested function whose address is taken is called by code on the stack.
    let nested = "int sort(int (*)(int));\nint f(int n) { int add(int x) { return x + n; } return sort(add); }\n";
    assert!(refusal_of(&[("a.o", &c(nested, &[]))]).starts_with(message));
}

#[test]
fn version_that_is_not_the_default_is_named_in_a_warning() {
    let text =
        ".text\n.globl old, new\n.symver old, call@V1\n.symver new, call@@V2\nold: ret\nnew: ret\n";
    let made = packed(&asm(text));
    assert!(made.export("call").is_some());
    let warned = |w: &PackWarning| matches!(w, PackWarning::VersionNotExported { name, .. } if name == "call@V1");
    assert!(made.warnings.iter().any(warned), "{:?}", made.warnings);
}

/// A function for each way to address data, in a code model whose distances have 64 bits.
pub(crate) const MODELS: &str = r#"
    static long small = 3;
    long big[20000] = {4};
    static long zeroes[30000];
    extern long far_call(long);
    static __attribute__((noinline)) long inner(long x) { return x + 1; }
    long sum(long i) { zeroes[i] += i; return small + big[i] + zeroes[i] + inner(i); }
    long outside(long x) { return far_call(x); }
    long (*pointer)(long) = sum;
    long through(long i) { return pointer(i); }
"#;

#[test]
fn large_code_models_are_packed() {
    for flags in [
        &["-O2", "-mcmodel=medium"][..],
        &["-O2", "-mcmodel=medium", "-fPIC"],
        &["-O2", "-mcmodel=large", "-fno-pie"],
        &["-O2", "-mcmodel=large", "-fPIC"],
        &["-O0", "-mcmodel=large", "-fPIC"],
    ] {
        let made = packed(&c(MODELS, flags));
        assert_eq!(
            made.imports().iter().filter(|name| *name == "far_call").count(),
            1,
            "{flags:?}"
        );
        assert!(made.smf().header().flags.has(Flags::PIC), "{flags:?}");
    }
}

#[test]
fn module_of_data_alone_is_packed() {
    let made = packed(&c("const int table[3] = {1, 2, 3};", &[]));
    assert_eq!((made.at("table")[4], made.find(".text").is_none()), (2, true));
}

#[test]
fn access_to_imported_data_goes_through_a_thunk() {
    let source = r#"
        extern long value; extern int counter; extern double ratio; extern char bytes[];
        long load(void) { return value; }
        void store(long x) { value = x; }
        int test(void) { return counter == 7; }
        void count(void) { counter++; }
        double half(void) { return ratio / 2; }
        int third(void) { return bytes[3]; }
    "#;
    for flags in [&["-O2", "-fpie"][..], &["-O0", "-fpie"], &["-O2", "-fpie", "-mavx"]] {
        let made = packed(&c(source, flags));
        assert_eq!(made.relocs(".text", false), [], "{flags:?}");
        assert!(made.warnings.is_empty(), "{flags:?}: {:?}", made.warnings);
    }
    // The stack pointer is part of the operands of `push`.
    let made = packed(&asm(".text\n.globl go\ngo: pushq far(%rip)\npopq %rax\nret\n"));
    assert_eq!(made.relocs(".text", false).len(), 1);
    assert!(matches!(&made.warnings[..], [PackWarning::NearImport { .. }]));
}

pub(crate) const IFUNC: &str = r#"
    static long fast(long x) { return x + 1; }
    static long slow(long x) { return x + 2; }
    int choice = 1;
    static void *resolve(void) { return choice ? (void *)fast : (void *)slow; }
    long add(long x) __attribute__((ifunc("resolve")));
    static long local(long x) __attribute__((ifunc("resolve")));
    long call(long x) { return add(x); }
    long call_local(long x) { return local(x); }
    long (*pointer)(long) = add;
    long (*address(void))(long) { return add; }
"#;

#[test]
fn indirect_function_has_a_stub_and_a_slot() {
    for flags in [&["-O1"][..], &["-O1", "-fPIC"], &["-O1", "-fno-pie"]] {
        let made = packed(&c(IFUNC, flags));
        assert_eq!(made.imports(), ["__smf_requires_ifunc"], "{flags:?}");
        let slots = made.relocs(".igot", false);
        assert!((1..=2).contains(&slots.len()), "{flags:?}");
        assert_eq!(made.place("add").0, ".text");
    }
    let options = Options { layout: Layout::Native, ..Options::default() };
    let error = try_pack(&[("a.o", &c(IFUNC, &["-fPIC"]))], &options).err().unwrap().to_string();
    let expected = "a.o: `local` is an indirect function (IFUNC), which only modules in the packed";
    assert!(error.starts_with(expected), "{error}");
}
