//! The symbol index in the commands: packed, converted, without its stub, put into an archive.

use std::fs;

use smf_core::format::ext::hash_index;
use smf_core::format::write::convert::convert;
use smf_core::format::{Layout, Library, Smf, Symbol, SymbolIndex};
use smf_core::link::{Image, NoImports, Resolve};
use smf_loader::pack::{Input, Options, pack};
use smf_tests::compile::{Compiler, scratch, smf};

/// An object compiled from C with this number of functions and a variable; `None` without a compiler, or on a machine
/// whose objects cannot be packed.
fn object(functions: usize) -> Option<Vec<u8>> {
    let directory = scratch();
    let path = |name: &str| directory.path().join(name);
    let prototypes = (0..functions).map(|n| format!("long function_{n}(void);\n"));
    let bodies = (0..functions).map(|n| format!("long function_{n}(void) {{ return {n}; }}\n"));
    let variable = "__attribute__((weak)) long weak = 5;\n".to_owned();
    let source: String = prototypes.chain(bodies).chain([variable]).collect();
    fs::write(path("in.c"), source).unwrap();
    let made = Compiler::Gcc.compile(&path("in.c"), 1, &["-fPIC"], &path("out.o"));
    (made && cfg!(target_arch = "x86_64")).then(|| fs::read(path("out.o")).unwrap())
}

fn packed(object: &[u8], layout: Layout) -> Vec<u8> {
    let input = Input { name: "out.o", data: object };
    pack(&[input], &Options { layout, ..Options::default() }).unwrap().bytes
}

/// Asserts that the file has an index with the results of a walk.
fn assert_indexed(file: &[u8]) {
    let smf = Smf::parse(file).unwrap();
    smf.verify().unwrap();
    let found = SymbolIndex::of(smf.symbols()).unwrap().unwrap();
    let symbols: Vec<Symbol<'_>> = smf.symbols().iter().map(Result::unwrap).collect();
    let exports = symbols.iter().filter(|symbol| symbol.is_export()).count();
    assert_eq!(usize::try_from(found.names()).unwrap(), exports);
    for name in symbols.iter().map(Symbol::name).chain([&b"function_"[..], b"weak\0", b""]) {
        assert_eq!(found.find(name), smf.symbols().find_export(name).map(Into::into));
    }
}

#[test]
fn packed_module_has_an_index_in_either_layout() {
    let Some(object) = object(100) else { return };
    for layout in [Layout::Packed, Layout::Native] {
        let file = packed(&object, layout);
        assert_eq!(file, packed(&object, layout), "the same bytes every time");
        assert_indexed(&file);
        let smf = Smf::parse(&file).unwrap();
        for other in [Layout::Packed, Layout::Native] {
            assert_indexed(&convert(&smf, other).unwrap().bytes);
        }
        let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
        let weak = smf.symbols().find_export(b"weak").unwrap();
        let found = module.exports().find(b"weak").unwrap();
        assert_eq!(Some(found.address), module.exports().address(&weak));
        assert_eq!((found.kind, found.binding, found.size), (weak.kind, weak.binding, 8));
        assert_eq!(module.exports().resolve(b"weak"), Some(found.address));
    }
}

#[test]
fn module_of_few_names_has_no_index() {
    for (functions, indexed) in
        [(hash_index::WORTHWHILE - 2, false), (hash_index::WORTHWHILE - 1, true)]
    {
        let Some(object) = object(functions) else { return };
        let file = packed(&object, Layout::Packed);
        let smf = Smf::parse(&file).unwrap();
        assert_eq!(SymbolIndex::of(smf.symbols()).unwrap().is_some(), indexed);
        assert_eq!(smf.sections().named(hash_index::NAME).is_some(), indexed);
    }
}

/// Runs the command, which must succeed, and returns its output.
fn run(args: &[&str]) -> String {
    let output = smf(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn commands_preserve_the_index() {
    let Some(object) = object(20) else { return };
    let directory = scratch();
    let path = |name: &str| format!("{}/{name}", directory.path().display());
    let [object_path, stub, archive] = ["in.o", "stub", "a.lsm"].map(path);
    let [hybrid, bare, out, native, back] = &["hybrid", "bare", "out", "native", "back"].map(path);
    fs::write(&object_path, object).unwrap();
    fs::write(&stub, "#!/usr/bin/env smf\n").unwrap();
    run(&["pack", &object_path, "-o", hybrid, "--stub", &stub]);
    run(&["strip-stub", hybrid, "-o", bare]);
    run(&["extract", hybrid, "-o", out]);
    run(&["convert", hybrid, "-o", native, "--layout", "native"]);
    run(&["convert", native, "-o", back, "--layout", "packed"]);
    let modules = [format!("first={bare}"), format!("second={native}")];
    run(&["lib", "create", "-o", &archive, &modules[0], &modules[1]]);
    for file in [hybrid, bare, out, native, back] {
        assert_indexed(&fs::read(file).unwrap());
        assert!(run(&["inspect", file]).contains("  name index   21 names in 8 buckets\n"));
        assert_eq!(run(&["verify", file]), format!("{file}: ok\n"));
    }
    let archive = fs::read(&archive).unwrap();
    let library = Library::parse(&archive).unwrap();
    library.verify().unwrap();
    for module in library.modules() {
        assert_indexed(module.unwrap().data);
    }
}

#[test]
fn false_index_is_refused_by_verify() {
    let Some(object) = object(20) else { return };
    let directory = scratch();
    let mut file = packed(&object, Layout::Packed);
    let section = Smf::parse(&file).unwrap().sections().named(hash_index::NAME).unwrap().offset;
    // The number of names.
    file[usize::try_from(section).unwrap() + 12] += 1;
    let path = directory.path().join("lies");
    fs::write(&path, &file).unwrap();
    let output = smf(["verify".as_ref(), path.as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    let expected = format!("states 22 names, but has 21, at offset 0x{:x}", section + 12);
    assert!(error.contains(&expected), "{error}");
}
