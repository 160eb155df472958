//! `smf run` with symbols of the process and of its libraries.

use std::fs;
use std::process::Command;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};

use super::skip::lacks;
use super::{contains, fails, ok, scratch, smf, text};

/// A module whose function `f` calls the import `callee` with its argument.
fn calls(callee: &str) -> Vec<u8> {
    const CODE: [u8; 14] = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
    let relocs = [Reloc { offset: 5, symbol: 1, kind: RelocKind::Plt32, addend: -4 }];
    let section = |kind, name, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(SectionFlags::READ | SectionFlags::EXECUTE),
        alignment: 16,
        virtual_size: None,
        payload,
    };
    let symbol = |name, place| NewSymbol { name, place, ..NewSymbol::default() };
    let module = Module {
        layout: Layout::Packed,
        header: Header::default(),
        stub: &[],
        sections: &[
            section(SectionKind::Code, b".text", Payload::Bytes(&CODE)),
            section(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
        ],
        symbols: &[symbol(b"f", Place::Section(0)), symbol(callee.as_bytes(), Place::Import)],
    };
    module.to_vec().unwrap()
}

fn file(test: &str, callee: &str) -> String {
    let path = scratch(test).join("calls.smf");
    fs::write(&path, calls(callee)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn host_symbols_resolve_remaining_imports() {
    let file = file("libc", "labs");
    assert_eq!(ok(&["run", &file, "f", "-5", "--host-symbols"]), "5\n");
    contains(&fails(&["run", &file, "f", "-5"]), &["`labs`"]);
    contains(&fails(&["run", &file, "--host-symbols"]), &["no entry point", "exports `f`"]);
}

#[test]
fn host_library_resolves_remaining_imports() {
    let file = file("libm", "fegetround");
    assert_eq!(ok(&["run", &file, "f", "--host-library", "m"]), "0\n");
}

#[test]
fn reason_why_a_library_that_is_found_does_not_load_is_reported() {
    let directory = scratch("host-unloadable");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    fs::write(path("a.c"), "int absent(void); int f(void) { return absent(); }\n").unwrap();
    fs::write(path("b.c"), "int absent(void) { return 0; }\n").unwrap();
    let link = |args: &[&str]| {
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wl,-z,now"]).args(args).current_dir(&directory);
        assert!(compiler.status().unwrap().success());
    };
    link(&["a.c", "-o", "libundefined.so"]);
    link(&["b.c", "-o", "libdependency.so"]);
    link(&["a.c", "-L.", "-ldependency", "-o", "libdependent.so"]);
    fs::remove_file(path("libdependency.so")).unwrap();
    for (name, why) in [
        ("undefined", "libundefined.so: undefined symbol: absent"),
        ("libundefined.so", "libundefined.so: undefined symbol: absent"),
        ("dependent", "libdependency.so: cannot open shared object file"),
        ("neither", "host library neither: neither: cannot open shared object file"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        command.args(["run", "packed.smf", "answer", "--host-library", name]);
        command.current_dir(super::sample(".")).env("LD_LIBRARY_PATH", &directory);
        let error = text(&command.output().unwrap().stderr);
        // musl has other words.
        assert!(error.contains(why) || !cfg!(target_env = "gnu"), "{name}: {error}");
    }
}

#[test]
fn line_that_a_program_has_begun_is_printed() {
    let file = file("begun-line", "rt_print_i64");
    let program = file.replace("calls", "program");
    ok(&["pack", &file, "--entry", "f", "-o", &program]);
    // The number of arguments, with the name of the program.
    assert_eq!(smf(&["run", "--main", &program, "x"]).stdout, b"2");
}

#[test]
fn lost_output_of_c_code_is_an_error() {
    let file = file("stdio-full", "putchar");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
    command.args(["run", &file, "f", "65", "--host-symbols", "--returns", "void"]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    contains(&text(&output.stderr), &["error: cannot write to standard output"]);
}

#[test]
fn output_of_c_code_precedes_the_result() {
    let file = file("stdio", "putchar");
    assert_eq!(ok(&["run", &file, "f", "65", "--host-symbols"]), "A65\n");
}

/// Code of clang and of Rust relies on callers that extend integers to 32 bits.
#[test]
fn narrow_integers_are_extended_for_callees() {
    let directory = scratch("narrow");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let source = "long widen8(signed char n) { return n; }
        long widen16(short n) { return n; }
        long widen_u8(unsigned char n) { return n; }";
    fs::write(path("in.c"), source).unwrap();
    let compile = |flags: &[&str], output: &str| {
        let mut clang = Command::new("clang");
        clang.args(["-O2", "-o", output, &path("in.c")]).args(flags);
        clang.output().map(|made| assert!(made.status.success(), "{}", super::text(&made.stderr)))
    };
    if compile(&["-c"], &path("in.o")).is_err() {
        return lacks("clang");
    }
    compile(&["-shared", "-fPIC"], &path("libin.so")).unwrap();
    let (module, library) = (path("in.smf"), path("libin.so"));
    ok(&["pack", &path("in.o"), "-o", &module]);
    let declared = "extern fn widen8(n: i8) -> i64\nextern fn widen16(n: i16) -> i64\nextern fn widen_u8(n: u8) -> i64\n";
    let program = path("in.spl");
    for (name, ty, argument, result) in [
        ("widen8", "i8", "-56", "-56\n"),
        ("widen16", "i16", "-300", "-300\n"),
        ("widen_u8", "u8", "200", "200\n"),
    ] {
        assert_eq!(ok(&["run", &module, name, &format!("{ty}:{argument}")]), result, "{name}");
        let text = format!("{declared}fn f(n: i64) -> i64: {name}(n as {ty})\n");
        fs::write(&program, text).unwrap();
        for backend in ["native", "interpret"] {
            let call = ["run", &program, "--host-library", &library, "--backend", backend];
            assert_eq!(
                ok(&[&call[..], &["f", "--", argument]].concat()),
                result,
                "{name} {backend}"
            );
        }
    }
}
