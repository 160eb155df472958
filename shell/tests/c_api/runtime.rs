//! Links with a stand-in for the Simple runtime, whose sources are in `tests/c/runtime`.

use super::*;

/// Compiles a source of the runtime, or a program, to an object.
fn object(source: &str, defines: &[&str]) -> PathBuf {
    let name = source.replace('/', "-").replace(".c", &format!("{}.o", defines.concat()));
    let object = Path::new(SCRATCH).join(name);
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-ffunction-sections"]);
    gcc.args(["-Wno-unused-function", "-I", INCLUDE, "-I", SOURCES, "-c", "-o"]).arg(&object);
    succeed(gcc.args(defines).arg(Path::new(SOURCES).join(source)));
    object
}

/// Links the arguments in this order and runs the program.
fn link_and_run(program: &str, linker: &str, arguments: &[&Path]) -> String {
    let program = Path::new(SCRATCH).join(program);
    let mut gcc = Command::new("gcc");
    gcc.arg("-pthread").arg(format!("-fuse-ld={linker}")).arg("-o").arg(&program);
    gcc.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", libraries(JIT).display()));
    succeed(gcc.args(arguments).args(["-lm", "-ldl"]));
    succeed(&mut Command::new(program))
}

fn archive(name: &str, objects: &[&Path]) -> PathBuf {
    let archive = Path::new(SCRATCH).join(name);
    let _ = fs::remove_file(&archive);
    succeed(Command::new("ar").arg("rcs").arg(&archive).args(objects));
    archive
}

/// The program, objects of the runtime and the library, in every order and form.
#[test]
fn definitions_of_the_runtime_have_precedence() {
    let [main, mapping, memory] =
        ["owners.c", "runtime/mapping.c", "runtime/memory.c"].map(|source| object(source, &[]));
    let [main, mapping, memory] = [&*main, &*mapping, &*memory];
    let ours = &*libraries(JIT).join("libsmf_loader.a");
    let shared = &*libraries(JIT).join(library::soname(false));
    let theirs = &*archive("libruntime.a", &[mapping, memory]);
    let [whole, no_whole, muldefs, gc] =
        ["-Wl,--whole-archive", "-Wl,--no-whole-archive", "-Wl,-z,muldefs", "-Wl,--gc-sections"]
            .map(Path::new);
    let (runtime, library) =
        ("mapping runtime, memory runtime, ok\n", "mapping library, memory library, ok\n");
    let half = "mapping runtime, memory library, ok\n";
    let linkers = ["bfd", "lld", "mold"].into_iter();
    for linker in linkers.filter(|linker| has(&format!("ld.{linker}"))) {
        for (number, (arguments, expected)) in [
            (&[main, ours][..], library),
            (&[main, mapping, memory, ours], runtime),
            (&[main, ours, memory, mapping], runtime),
            (&[main, mapping, ours], half),
            (&[main, theirs, ours], runtime),
            (&[main, whole, theirs, ours, no_whole], runtime),
            (&[main, whole, ours, theirs, no_whole], runtime),
            (&[muldefs, main, ours, mapping, memory], runtime),
            (&[gc, main, mapping, memory, ours], runtime),
            (&[gc, main, ours], library),
            (&[main, shared], library),
            (&[main, mapping, memory, shared], runtime),
            (&[main, shared, mapping, memory], runtime),
        ]
        .into_iter()
        .enumerate()
        {
            let said = link_and_run(&format!("owners-{linker}-{number}"), linker, arguments);
            assert_eq!(said, expected, "{linker} {arguments:?}");
        }
        // The first archive defines the names, or what of them nothing has defined yet.
        let said =
            link_and_run(&format!("owners-{linker}-archives"), linker, &[main, ours, theirs]);
        assert!(said.ends_with(", ok\n"), "{linker} {said}");
    }
}

#[test]
fn tagged_convention_works_with_each_generation_of_the_runtime() {
    let [archive, shared] = ["libsmf_loader_tagged.a".to_owned(), library::soname(true)]
        .map(|name| libraries(TAGGED).join(name));
    for (number, defines) in
        [&[][..], &["-DOLD_RUNTIME"], &["-DRUST_RUNTIME"], &["-DRUST_RUNTIME", "-DOLD_RUNTIME"]]
            .into_iter()
            .enumerate()
    {
        let [main, values] = ["tagged.c", "runtime/values.c"].map(|source| object(source, defines));
        for (form, ours) in [("static", &archive), ("shared", &shared)] {
            let program = Path::new(SCRATCH).join(format!("tagged-{number}-{form}"));
            let mut gcc = Command::new("gcc");
            gcc.args(["-pthread", "-rdynamic", "-o"]).arg(&program);
            gcc.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", libraries(TAGGED).display()));
            succeed(gcc.args([&main, &values, ours]).args(["-lm", "-ldl"]));
            let said = succeed(&mut Command::new(program));
            assert!(said.contains("ok"), "{defines:?} {form}: {said}");
        }
    }
}
