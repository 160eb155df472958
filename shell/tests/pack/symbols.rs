//! Symbol resolution, exports and imports.
#![allow(unsafe_code)]

use smf_core::format::{Binding, Flags, Layout, Phase, Symbol, SymbolKind};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
use smf_core::trap::call;
use smf_loader::pack::{Options, PackWarning};

use crate::made::{
    Made, Scratch, ar, asm, c, command, linked, native, packed, refusal, refusal_of, try_pack,
};

fn value_of(made: &Made, name: &str) -> u8 {
    made.at(name)[0]
}

#[test]
fn exports_have_kind_binding_and_size() {
    let made = packed(&c(
        r#"
        int function(int x) { return x + 1; }
        __attribute__((weak)) int weak(void) { return 2; }
        __attribute__((visibility("protected"))) int protected(void) { return 3; }
        __attribute__((visibility("hidden"))) int hidden(void) { return 4; }
        __attribute__((visibility("internal"))) int internal(void) { return 4; }
        static int local(void) { return 5; }
        int (*keep)(void) = local;
        int data = 1;
        const long constant = 7;
        "#,
        &["-O1"],
    ));
    let kind = |name| made.export(name).map(|s| (s.kind, s.binding, s.size));
    let (function, global) = (SymbolKind::Function, Binding::Global);
    assert_eq!(kind("function"), Some((function, global, 4)));
    assert_eq!(kind("weak").map(|k| k.1), Some(Binding::Weak));
    assert_eq!(kind("protected").map(|k| k.1), Some(global));
    assert_eq!(kind("data"), Some((SymbolKind::Data, global, 4)));
    assert_eq!(kind("constant"), Some((SymbolKind::Constant, global, 8)));
    for name in ["hidden", "internal", "local"] {
        assert_eq!(kind(name), None);
    }
}

#[test]
fn functions_that_are_not_exported_have_symbols_with_debug_info_only() {
    let object = c(
        r#"
        __attribute__((noinline)) static int local(int x) { return x * 7; }
        __attribute__((noinline, cold, visibility("hidden"))) int hidden(int x) { return local(x) + x; }
        static long datum = 3;
        int go(int x) { return x > 9 ? hidden(x) : local(x + 1) + (int)datum++; }
        "#,
        &["-g", "-O2", "-ffunction-sections"],
    );
    let locals = |options: &Options<'_>| {
        let made = try_pack(&[("a.o", &object)], options).unwrap();
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        loader.load(b"m", ModuleBytes::new(made.bytes().to_vec()).unwrap()).unwrap();
        assert!(loader.resolve(b"go").unwrap().is_some());
        for name in [&b"local"[..], b"hidden", b"datum"] {
            assert!(loader.resolve(name).unwrap().is_none());
        }
        let symbols = made.symbols().into_iter();
        let locals = symbols.filter(|s| s.binding == Binding::Local && s.size != 0);
        let name = |s: Symbol<'_>| String::from_utf8_lossy(s.name()).into_owned();
        locals.map(|s| (name(s), s.kind, s.flags.phase())).collect::<Vec<_>>()
    };
    for layout in [Layout::Packed, Layout::Native] {
        let options = Options { layout, ..Options::default() };
        assert_eq!(locals(&options), []);
        let mut found = locals(&Options { debug_info: true, ..options });
        // A part of `go` that the compiler splits off.
        found.retain(|(name, ..)| name != "go.cold");
        found.sort_by_key(|(name, ..)| name.clone());
        let function = SymbolKind::Function;
        let expected = [
            ("hidden".to_owned(), function, Phase::Cold),
            ("local".to_owned(), function, Phase::Steady),
        ];
        assert_eq!(found, expected);
    }
}

/// Local functions of a module that is linked again; functions that nothing reaches have no symbol.
#[test]
fn symbols_of_local_functions_survive_linking_a_module_again() {
    let source = |name| {
        let body = "__attribute__((noinline)) static int local(int x) { return x * 7; }";
        c(&format!("{body} int {name}(int x) {{ return local(x); }}"), &["-g", "-O1"])
    };
    let options = Options { debug_info: true, emit_relocs: true, ..Options::default() };
    let [one, two] = [source("one"), source("two")];
    let module = try_pack(&[("one.o", &one)], &options).unwrap();
    let both = try_pack(&[("one.smf", module.bytes()), ("two.o", &two)], &options).unwrap();
    let symbols = both.symbols();
    let locals = symbols.iter().filter(|s| s.name() == b"local" && s.binding == Binding::Local);
    assert_eq!(locals.count(), 2);
    let plain = Options { debug_info: false, ..options };
    let stripped = try_pack(&[("one.smf", module.bytes())], &plain).unwrap();
    assert!(stripped.symbols().iter().all(|s| s.name() != b"local"));
}

#[test]
fn each_section_has_a_local_symbol() {
    let made = packed(&c("int a = 1; int b; int go(void) { return a + b; }", &[]));
    let locals: Vec<_> =
        made.symbols().into_iter().filter(|s| s.binding == Binding::Local).collect();
    for (symbol, section) in locals.iter().zip(made.smf().sections().iter()) {
        assert_eq!(
            (symbol.name(), symbol.value, symbol.section),
            (section.name, 0, Some(section.index))
        );
    }
    assert_eq!(locals.len(), 4);
}

#[test]
fn duplicate_strong_definition_is_refused() {
    let (a, b) = (c("int same = 1;", &[]), c("int same(void) { return 1; }", &[]));
    assert_eq!(
        refusal_of(&[("x/a.o", &a), ("y/b.o", &b)]),
        "duplicate definition of `same` in x/a.o and y/b.o"
    );
}

#[test]
fn strong_definition_overrides_a_weak_one() {
    let strong = asm(".data\n.globl it\nit: .byte 1\n");
    let weak = |value| asm(&format!(".data\n.weak it\nit: .byte {value}\n"));
    let made = linked(&[("w.o", &weak(2)), ("s.o", &strong), ("v.o", &weak(3))]);
    assert_eq!((value_of(&made, "it"), made.export("it").unwrap().binding), (1, Binding::Global));
    let made = linked(&[("v.o", &weak(3)), ("w.o", &weak(2))]);
    assert_eq!((value_of(&made, "it"), made.export("it").unwrap().binding), (3, Binding::Weak));
}

#[test]
fn hidden_symbol_resolves_across_objects_and_is_not_exported() {
    let user = c("extern int inner(void); int go(void) { return inner() + 1; }", &["-fPIC"]);
    let owner = c("__attribute__((visibility(\"hidden\"))) int inner(void) { return 1; }", &[]);
    let made = linked(&[("user.o", &user), ("owner.o", &owner)]);
    assert_eq!((made.imports().len(), made.export("inner").is_some()), (0, false));
    assert_eq!(made.relocs(".text", true), []);

    // One hidden declaration hides the symbol.
    let user = asm(".hidden inner\n.text\n.globl go\ngo: call inner\nret\n");
    let owner = c("int inner(void) { return 1; }", &[]);
    let made = linked(&[("user.o", &user), ("owner.o", &owner)]);
    assert!(made.export("inner").is_none());
    assert_eq!(refusal(&user), "a.o: the hidden symbol `inner` is defined in no input");
    let user = asm(".weak inner\n.hidden inner\n.text\n.globl go\ngo: call inner\nret\n");
    assert_eq!(packed(&user).imports(), [""; 0]);
}

#[test]
fn import_is_weak_if_all_references_are() {
    let weak = asm(".weak maybe\n.text\n.globl a\na: call maybe\nret\n");
    let strong = asm(".text\n.globl b\nb: call maybe\nret\n");
    let binding =
        |made: &Made| made.symbols().into_iter().find(|s| s.is_import()).map(|s| s.binding);
    assert_eq!(binding(&packed(&weak)), Some(Binding::Weak));
    let made = linked(&[("a.o", &weak), ("b.o", &strong)]);
    assert_eq!((made.imports(), binding(&made)), (vec!["maybe".into()], Some(Binding::Global)));
}

#[test]
fn import_is_a_function_unless_used_as_data() {
    let made = packed(&c(
        "extern int value; extern int call(void); int go(void) { return value + call(); }",
        &["-O1", "-fPIE"],
    ));
    let kinds: Vec<_> =
        made.symbols().into_iter().filter(|s| s.is_import()).map(|s| (s.name(), s.kind)).collect();
    assert!(kinds.contains(&(b"value", SymbolKind::Data)), "{kinds:?}");
    assert!(kinds.contains(&(b"call", SymbolKind::Function)), "{kinds:?}");
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
}

#[test]
fn symbol_version_is_stripped() {
    let made = packed(&asm(r#"
        .text
        .globl old, new
        .symver old, call@V1
        .symver new, call@@V2
    old: ret
    new: nop
        ret
        .globl go
    go: call outer
        ret
        .symver outer, memcpy@GLIBC_2.2.5
    "#));
    assert_eq!(made.imports(), ["memcpy"]);
    assert_eq!(made.place("call"), made.place("new"));
    assert!(made.symbols().iter().all(|s| !s.name().contains(&b'@')));
}

#[test]
fn symbol_whose_name_is_too_long_for_a_module_is_named_with_its_object() {
    let function = |name: &str| asm(&format!(".globl {name}\n{name}: ret\n"));
    let name = "a".repeat(16_384);
    packed(&function(&name[1..]));
    let error = refusal(&function(&name));
    let reason = "its name is longer than the 16,383 bytes that a module can state";
    assert!(error.starts_with("a.o, symbol `aaaa") && error.ends_with(reason), "{error}");
}

#[test]
fn absolute_symbol_is_a_number() {
    let user = asm(r#"
        .data
        .globl copy
    copy: .quad limit, limit + 1
        .text
        .globl get
    get: movq limit@GOTPCREL(%rip), %rax
        leaq limit(%rip), %rdx
        call limit
        ret
    "#);
    let owner = asm(".globl limit\n.set limit, 0x1234\n");
    let made = linked(&[("user.o", &user), ("owner.o", &owner)]);
    assert_eq!(made.at("copy"), [0x34, 0x12, 0, 0, 0, 0, 0, 0, 0x35, 0x12, 0, 0, 0, 0, 0, 0]);
    assert!(made.relocs(".data", false).is_empty() && made.relocs(".got", false).is_empty());
    // Its address is loaded from a GOT slot; `lea` has become `mov`.
    assert_eq!(made.code()[7..10], [0x48, 0x8b, 0x15]);
    assert_eq!(made.follow(3), made.follow(10));
    assert_eq!(made.section(".got").data[..2], [0x34, 0x12]);
    assert!(made.export("limit").is_none());
    assert_eq!(made.warnings, [PackWarning::AbsoluteNotExported { name: "limit".into() }]);
    let user = asm(".text\n.globl g\ng: pushq limit(%rip)\n");
    let error = refusal_of(&[("user.o", &user), ("owner.o", &owner)]);
    assert!(
        error.contains("R_X86_64_PC32 against `limit` is a distance to an absolute"),
        "{error}"
    );
}

#[test]
fn hidden_indirect_function_of_another_object_is_called() {
    let source = r#"
        static int one(void) { return 1; }
        static int (*pick(void))(void) { return one; }
        int chosen(void) __attribute__((ifunc("pick")));
    "#;
    let source = source.replace("int chosen", "__attribute__((visibility(\"hidden\"))) int chosen");
    let user = c("int chosen(void); int go(void) { return chosen(); }", &[]);
    let made = linked(&[("user.o", &user), ("owner.o", &c(&source, &["-fPIC"]))]);
    assert!(made.export("chosen").is_none() && made.export("go").is_some());
    assert_eq!(made.imports(), ["__smf_requires_ifunc"]);
}

#[test]
fn module_with_entry_or_main_is_executable() {
    let flags = |made: &Made| made.smf().header().flags;
    let plain = packed(&c("int go(void) { return 1; }", &[]));
    assert!(!flags(&plain).has(Flags::EXECUTABLE) && flags(&plain).has(Flags::PIC));
    assert_eq!(plain.smf().header().entry_point, 0);

    let source = "int pad(void) { return 1; } int main(void) { return 2; }";
    let made = packed(&c(source, &["-O0"]));
    assert!(flags(&made).has(Flags::EXECUTABLE));
    assert_eq!(made.smf().header().entry_point, made.place("main").1);
    assert_ne!(made.place("main").1, 0);

    // Hidden functions are accepted, and none lies at 0, which means "no entry point".
    let source = "__attribute__((visibility(\"hidden\"))) int go(void) { return 1; }";
    let object = c(source, &["-O0"]);
    let options = Options { entry: Some("go"), ..Options::default() };
    let made = try_pack(&[("a.o", &object)], &options).unwrap();
    let entry = usize::try_from(made.smf().header().entry_point).unwrap();
    assert!(entry != 0 && flags(&made).has(Flags::EXECUTABLE));
    assert!(made.code()[..entry].iter().all(|byte| *byte == 0xcc));
    assert_eq!(made.code()[entry], 0x55);

    for (name, message) in [
        ("nothing", "the entry point `nothing` is defined in no input"),
        ("number", "the entry point `number` is not a function"),
    ] {
        let object = c("int number = 1; int go(void) { return 1; }", &[]);
        let options = Options { entry: Some(name), ..Options::default() };
        let error = try_pack(&[("a.o", &object)], &options).err().unwrap();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn input_that_is_no_object_is_described() {
    let object = c("int a;", &[]);
    let patched = |at: usize, value: u8| {
        let mut object = object.clone();
        object[at] = value;
        refusal(&object)
    };
    assert!(refusal(b"hello").ends_with("a file that is not ELF"));
    assert!(refusal(b"").ends_with("but an empty file"));
    assert!(refusal(b"MZ\x90\0").ends_with("a program or library of Windows (PE)"));
    for coff in [b"\x64\x86\x03\0", b"\x64\xaa\x03\0", b"\0\0\xff\xff"] {
        assert!(refusal(coff).ends_with("an object of Windows (COFF)"));
    }
    assert!(refusal(b"\xcf\xfa\xed\xfe").ends_with("a file of macOS (Mach-O)"));
    for script in ["/* GNU ld script */", "INPUT(-lfar)", "\n GROUP ( /lib/libc.so.6 )"] {
        assert!(refusal(script.as_bytes()).contains("but a linker script"), "{script}");
    }
    assert!(refusal(b"INPUTS(1)").ends_with("a file that is not ELF"));
    assert!(refusal(b"BC\xc0\xde....").contains("LLVM bitcode"));
    assert!(patched(4, 1).ends_with("another class or byte order"));
    assert!(patched(16, 2).ends_with("but an executable"));
    assert!(patched(16, 3).ends_with("but a shared library"));
    assert!(patched(18, 243).ends_with("an object for another machine"));
    assert!(refusal(&object[..63]).starts_with("a.o: "));
    assert_eq!(
        refusal(&c("int a;", &["-flto", "-fno-fat-lto-objects"])),
        "a.o: holds no machine code, only a compiler's intermediate form; compile without -flto"
    );
    assert!(refusal(&c("static int a;", &[])).starts_with("the module would be empty"));
    let scratch = Scratch::new();
    std::fs::write(scratch.path("a.c"), "int main(void) { return 0; }").unwrap();
    for (flags, kind) in [
        (&["-pie", "-fPIE"][..], "an executable"),
        (&["-no-pie", "-fno-pie"], "an executable"),
        (&["-shared", "-fPIC"], "a shared library"),
    ] {
        command("cc", &[flags, &["a.c", "-o", "a.out"]].concat(), &scratch.path(""));
        let found = refusal(&std::fs::read(scratch.path("a.out")).unwrap());
        assert!(found.ends_with(&format!("but {kind}")), "{flags:?}: {found}");
    }
    assert!(refusal_of(&[]).starts_with("there is nothing to link"));
}

/// Of code without symbols, nothing can be called, and its relocations are gone as well.
#[test]
fn stripped_object_is_refused_as_such() {
    let scratch = Scratch::new();
    let object = c("int far(int); int near(int x) { return far(x) + 1; }", &["-O1"]);
    std::fs::write(scratch.path("a.o"), &object).unwrap();
    let directory = scratch.path("");
    command("strip", &["-s", "a.o"], &directory);
    let stripped = std::fs::read(scratch.path("a.o")).unwrap();
    let archive = ar("rcs", &[("a.o", &stripped)]);
    for inputs in [&[("lib.a", &*archive)][..], &[("a.o", &stripped), ("b.o", &object)]] {
        let error = refusal_of(inputs);
        for part in ["a.o", "no symbol table", "stripped"] {
            assert!(error.contains(part), "{error}");
        }
    }
    // An object without code may have no symbols.
    std::fs::write(scratch.path("a.o"), asm(".section .comment\n.string \"text\"\n")).unwrap();
    command("strip", &["-s", "a.o"], &directory);
    let empty = std::fs::read(scratch.path("a.o")).unwrap();
    linked(&[("a.o", &empty), ("b.o", &object)]);
}

/// Inline variables and static members of templates of C++: one for all objects of a module, and one for each module. Modules
/// that define the same one can be linked, and share it then.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn unique_data_is_shared_in_a_module_and_may_be_in_several() {
    let object = |name: &str| {
        asm(&format!(
            ".section .data.shared,\"awG\",@progbits,shared,comdat
            .type shared, @gnu_unique_object\n.size shared, 8\n.globl shared\nshared: .quad 5
            .text\n.globl {name}\n.type {name}, @function
            {name}: movq shared@GOTPCREL(%rip), %rcx\nincq (%rcx)\nmovq (%rcx), %rax\nret\n.size {name}, . - {name}\n"
        ))
    };
    let (one, two) = (object("one"), object("two"));
    let both = linked(&[("a.o", &one), ("b.o", &two)]);
    assert_eq!(both.export("shared").unwrap().binding, Binding::Weak);
    let [one, two] = [packed(&one), packed(&two)];
    let merged = linked(&[("one.smf", one.bytes()), ("two.smf", two.bytes())]);
    let run = |modules: &[&Made]| {
        let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
        for (number, made) in modules.iter().enumerate() {
            let bytes = ModuleBytes::new(made.bytes().to_vec()).unwrap();
            loader.load(format!("m{number}").as_bytes(), bytes).unwrap();
        }
        [&b"one"[..], b"two"].map(|name| {
            let function = loader.resolve(name).unwrap().unwrap().address;
            // SAFETY: the functions take nothing and return an integer, and their module stays loaded.
            unsafe { call(function, &[]) }.unwrap()
        })
    };
    assert_eq!(run(&[&both]), [6, 7]);
    assert_eq!(run(&[&one, &two]), [6, 6]);
    assert_eq!(run(&[&merged]), [6, 7]);
}

/// The runtime of D ends the process, because it does not find the module among the objects of the system's loader.
#[test]
fn runtime_of_d_causes_a_warning() {
    let source = "void _d_dso_registry(void *); int go(void) { _d_dso_registry(0); return 0; }";
    let with = packed(&c(source, &["-O1"]));
    assert!(with.warnings.contains(&PackWarning::RuntimeOfD));
    let without = packed(&c(&source.replace("_d_dso", "d_dso"), &["-O1"]));
    assert!(!without.warnings.contains(&PackWarning::RuntimeOfD));
}

/// The modules whose array is said to be incomplete.
fn apart(objects: &[(&str, &[u8])]) -> Vec<String> {
    let warnings = linked(objects).warnings;
    let modules = warnings.into_iter().map(|warning| match warning {
        PackWarning::SectionArrayApart { module, name } if name == "set" => module,
        other => panic!("{other}"),
    });
    modules.collect()
}

#[test]
fn array_that_is_incomplete_in_linked_modules_causes_a_warning() {
    let element = |name| {
        let attributes = "__attribute__((used, section(\"set\")))";
        c(
            &format!("static long element {attributes} = 1; long {name}(void) {{ return 2; }}"),
            &["-fPIC"],
        )
    };
    let sum = "extern long __start_set[] __attribute__((weak)), __stop_set[] __attribute__((weak));
        long sum(void) { long s = 0; for (long *p = __start_set; p < __stop_set; p++) s += *p; return s; }";
    let sum = c(sum, &["-O1", "-fPIC"]);
    let [one, two] = [element("one"), element("two")];
    assert_eq!(apart(&[("sum.o", &sum), ("one.o", &one), ("two.o", &two)]), [""; 0]);
    let both = linked(&[("sum.o", &sum), ("one.o", &one)]);
    let [bounds, elements] = [packed(&sum), packed(&two)];
    let (both, bounds, elements) =
        (("both.smf", both.bytes()), ("bounds.smf", bounds.bytes()), ("two.smf", elements.bytes()));
    assert_eq!(apart(&[both, elements]), ["both.smf", "two.smf"]);
    assert_eq!(apart(&[both, ("two.o", &two)]), ["both.smf"]);
    assert_eq!(apart(&[("sum.o", &sum), ("one.o", &one), elements]), ["two.smf"]);
    assert_eq!(apart(&[("sum.o", &sum), elements]), ["two.smf"]);
    assert_eq!(apart(&[bounds, elements]), ["two.smf"]);
    // Only one input has the array, or nothing refers to its bounds.
    assert_eq!(apart(&[both, ("other.o", &c("long other(void) { return 3; }", &[]))]), [""; 0]);
    let plain = linked(&[("one.o", &one), elements]);
    assert_eq!(plain.warnings, []);
    assert_eq!(apart(&[("plain.smf", plain.bytes()), bounds]), ["plain.smf"]);
    let native = native(&one);
    assert_eq!(apart(&[("native.smf", native.bytes()), bounds]), ["native.smf"]);
}
