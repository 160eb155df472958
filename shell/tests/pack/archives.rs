//! Archive members are linked when they are needed.

use smf_core::format::note::Note;
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Arch, Flags, Header, Layout, SectionKind, Smf};
use smf_loader::pack::{Machine, Options, PackWarning};

use crate::made::{Made, ar, asm, c, linked, refusal_of, try_pack};

fn function(name: &str, calls: &str) -> Vec<u8> {
    let call = if calls.is_empty() { String::new() } else { format!("call {calls}\n") };
    asm(&format!(".text\n.globl {name}\n.type {name}, @function\n{name}: {call}ret\n"))
}

#[test]
fn needed_members_are_linked_in_any_order() {
    let (a, b, other) = (function("a", "b"), function("b", "c"), function("other", "missing"));
    let first = ar("rcs", &[("a.o", &a), ("other.o", &other)]);
    let second = ar("rcS", &[("b.o", &b)]);
    let main = function("go", "a");
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let all = [("main.o", &main[..]), ("first.a", &first), ("second.a", &second)];
        let made = linked(&order.map(|at| all[at]));
        assert_eq!(made.imports(), ["c"]);
        assert!(["go", "a", "b"].iter().all(|name| made.export(name).is_some()));
        assert!(made.export("other").is_none());
    }
}

#[test]
fn weak_reference_links_no_member() {
    let lib = ar("rcs", &[("a.o", &function("a", ""))]);
    let main = asm(".weak a\n.text\n.globl go\ngo: call a\nret\n");
    let made = linked(&[("main.o", &main), ("lib.a", &lib)]);
    assert_eq!((made.imports(), made.export("a").is_some()), (vec!["a".into()], false));
}

#[test]
fn common_symbol_links_a_member_with_a_definition() {
    let real = asm(".data\n.globl shared\nshared: .quad 5\n");
    let common = asm(".comm shared, 8, 8\n.globl extra\n.data\nextra: .quad 1\n");
    let main = asm(".comm shared, 8, 8\n.text\n.globl go\ngo: ret\n");
    let lib = ar("rcs", &[("common.o", &common), ("real.o", &real)]);
    let made = linked(&[("main.o", &main), ("lib.a", &lib)]);
    assert_eq!((made.place("shared").0.as_str(), made.export("extra").is_some()), (".data", false));
    let made = linked(&[("main.o", &main), ("lib.a", &ar("rcs", &[("common.o", &common)]))]);
    assert_eq!((made.place("shared").0.as_str(), made.export("extra").is_some()), (".bss", false));
}

#[test]
fn entry_links_its_member_and_archives_alone_link_all() {
    let lib = ar("rcs", &[("a.o", &function("a", "")), ("b.o", &function("b", ""))]);
    let made = linked(&[("lib.a", &lib)]);
    assert!(made.export("a").is_some() && made.export("b").is_some());
    let options = Options { entry: Some("b"), ..Options::default() };
    let made = try_pack(&[("lib.a", &lib)], &options).unwrap();
    assert!(made.export("a").is_none() && made.export("b").is_some());
}

#[test]
fn member_is_named_with_its_archive() {
    let lib = ar("rcs", &[("long-name-of-a-member.o", &function("a", ""))]);
    assert_eq!(
        refusal_of(&[("main.o", &function("a", "")), ("lib.a", &lib), ("x.o", &function("a", ""))]),
        "duplicate definition of `a` in main.o and x.o"
    );
    let second = asm(".text\n.globl a, b\na: ret\nb: ret\n");
    let both = ar("rcs", &[("one.o", &function("a", "b")), ("two.o", &second)]);
    assert_eq!(
        refusal_of(&[("lib/both.a", &both)]),
        "duplicate definition of `a` in lib/both.a(one.o) and lib/both.a(two.o)"
    );
}

#[test]
fn member_that_is_no_object_is_skipped() {
    let lib = ar("rcS", &[("a.o", &function("a", "")), ("notes.txt", b"hello")]);
    let made = linked(&[("main.o", &function("go", "a")), ("lib.a", &lib)]);
    assert!(made.export("a").is_some());
    let [warning @ PackWarning::IgnoredMember { member, .. }] = &made.warnings[..] else {
        panic!("{:?}", made.warnings)
    };
    assert_eq!(member, "lib.a(notes.txt)");
    assert_eq!(
        warning.to_string(),
        "lib.a(notes.txt): not a relocatable ELF object for x86-64 or aarch64 but a file that is not ELF; the member is ignored"
    );
}

#[test]
fn constructor_of_unneeded_member_is_ignored() {
    let source = "int n; __attribute__((constructor)) static void first(void) { n++; }
        int b(void) { return 2; }";
    let lib = ar("rcs", &[("a.o", &function("a", "")), ("b.o", &c(source, &[]))]);
    let made = linked(&[("main.o", &function("go", "a")), ("lib.a", &lib)]);
    assert!(made.export("b").is_none());
    assert_eq!(made.imports(), [""; 0]);
    let made = linked(&[("main.o", &function("go", "b")), ("lib.a", &lib)]);
    assert_eq!(made.section(".init_array").size, 8);
    assert_eq!(made.imports(), ["__smf_requires_constructors"]);
}

#[test]
fn unreadable_archive_is_refused() {
    let lib = ar("rcs", &[("a.o", &function("a", ""))]);
    assert!(
        refusal_of(&[("lib.a", &lib[..lib.len() - 9])])
            .starts_with("lib.a: the archive is truncated")
    );
    let thin = ar("rcsT", &[("a.o", &function("a", ""))]);
    assert_eq!(
        refusal_of(&[("thin.a", &thin)]),
        "thin.a: a thin archive holds no objects; give the objects themselves"
    );
    let empty = ar("rcs", &[]);
    assert!(refusal_of(&[("empty.a", &empty)]).starts_with("there is nothing to link"));
    // Of another class.
    let mut foreign = function("a", "");
    foreign[4] = 1;
    let lib = ar("rcs", &[("a.o", &foreign), ("b.o", &foreign)]);
    assert_eq!(
        refusal_of(&[("lib.a", &lib)]),
        "there is nothing to link: no member of the archive can be linked; lib.a(a.o): not a relocatable ELF object for x86-64 or aarch64 but an ELF file of another class or byte order (and 1 more)"
    );
}

#[test]
fn archive_without_most_of_its_symbols_causes_a_warning() {
    let hidden = "__attribute__((visibility(\"hidden\")))";
    let api = |name: &str| c(&format!("{hidden} long {name}(void) {{ return 1; }}"), &["-O1"]);
    let [one, two, start] =
        [api("api_one"), api("api_two"), c("long label(void) { return 2; }", &[])];
    let user = c(
        "long api_one(void), api_two(void); long user(void) { return api_one() + api_two(); }",
        &[],
    );
    let members = [("start.o", &*start), ("one.o", &one), ("two.o", &two)];
    let archive = ar("rcs", &members);
    let warnings = |archive: &[u8], options: &Options<'_>| {
        try_pack(&[("api.a", archive)], options).unwrap().warnings
    };
    let expected =
        PackWarning::HiddenLeftOut { hidden: 2, exported: 1, first: "api_one".to_owned() };
    let plain = Options::default();
    assert_eq!(warnings(&archive, &plain), [expected]);
    assert_eq!(warnings(&archive, &Options { export_all: true, ..plain }), []);
    assert_eq!(warnings(&archive, &Options { exports: &["api_two"], ..plain }), []);
    // They are part of the module where exported functions use them.
    let used = ar("rcs", &[("user.o", &user), ("one.o", &one), ("two.o", &two)]);
    assert_eq!(warnings(&used, &plain), []);
    // Hidden symbols of Rust are not for others.
    for name in ["_RNvC1a1f", "_ZN1a1f17h0123456789abcdefE"] {
        let archive = ar("rcs", &[&members[..], &[("rust.o", &api(name))]].concat());
        assert_eq!(warnings(&archive, &plain), []);
    }
}

/// A module of one function for this machine, or another one. The code is never executed.
fn module(name: &str, header: Header, note: &str) -> Vec<u8> {
    let sections = [
        NewSection::code(&[0; 16]),
        NewSection::new(SectionKind::Note, b"note.sdn", Payload::Bytes(note.as_bytes())),
    ];
    let place = Place::Section(0);
    let symbols = [NewSymbol { name: name.as_bytes(), place, size: 16, ..NewSymbol::default() }];
    let (layout, stub) = (Layout::Packed, &[][..]);
    Module { layout, header, stub, sections: &sections, symbols: &symbols }.to_vec().unwrap()
}

/// The header of modules for this machine.
fn header() -> Header {
    let header = Smf::parse(linked(&[("a.o", &function("f", ""))]).bytes()).unwrap().header();
    Header { arch: header.arch, platform: header.platform, ..Header::default() }
}

/// A module with the types of a function in its note.
fn described(name: &str) -> Vec<u8> {
    let row = format!("0, \"{name}\", \"\", \"i64\"");
    let table = "signatures |id, function, parameters, result|";
    module(name, header(), &format!("{table}\n    {row}\n# END_NOTE\n"))
}

#[test]
fn modules_of_archives_with_one_name_are_told_apart() {
    let [one, two] = ["one", "two"].map(described);
    let [first, second] = [&one, &two].map(|module| ar("rcS", &[("m.smf", module)]));
    let main = function("go", "two");
    let made = linked(&[("main.o", &main), ("lib.a", &first), ("lib.a", &second)]);
    let functions = |made: &Made| {
        let (note, at) = made.smf().note_contents().unwrap().unwrap();
        let note = Note::parse(&note, at).unwrap();
        ["one", "two"].map(|name| {
            let offset = made.export(name)?.value;
            Some(note.signature_of_code(offset)?.function().to_string())
        })
    };
    // The other archive is not linked, and its note is not that of the program.
    assert_eq!(functions(&made), [None, Some("two".to_owned())]);
    let note = made.section("note.sdn").data;
    assert!(!String::from_utf8_lossy(note).contains("one"));
    let made = linked(&[("lib.a", &first), ("lib.a", &second)]);
    assert_eq!(functions(&made), ["one", "two"].map(|name| Some(name.to_owned())));
}

#[test]
fn flags_of_modules_that_are_not_linked_do_not_matter() {
    let reloadable = Header { flags: Flags(Flags::RELOADABLE), ..header() };
    let [one, two] = [("one", header()), ("two", reloadable)]
        .map(|(name, header)| module(name, header, "# END_NOTE\n"));
    let lib = ar("rcS", &[("one.smf", &one), ("two.smf", &two)]);
    for (name, is_reloadable) in [("one", false), ("two", true)] {
        let main = function("go", name);
        let made = linked(&[("main.o", &main), ("lib.a", &lib)]);
        assert_eq!(made.smf().header().flags.has(Flags::RELOADABLE), is_reloadable);
    }
    let error = refusal_of(&[("lib.a", &lib)]);
    assert!(error.contains("lib.a(one.smf) and lib.a(two.smf) differ in whether"), "{error}");
}

#[test]
fn machine_of_modules_is_that_of_their_headers() {
    for (arch, machine) in [(Arch::X86_64, Machine::X86_64), (Arch::AARCH64, Machine::Aarch64)] {
        let module = module("f", Header { arch, ..Header::default() }, "# END_NOTE\n");
        let lib = ar("rcS", &[("f.smf", &module)]);
        assert_eq!([&module, &lib].map(|data| Machine::of_object(data)), [Some(machine); 2]);
    }
}
