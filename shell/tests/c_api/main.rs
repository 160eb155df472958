//! The C API, tested by C programs that are linked with each library; `tools` runs them under profilers and
//! debuggers.
//!
//! The libraries are built here as they are shipped, in a target directory of their own, so that they are never out of
//! date.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, OnceLock};

use smf_core::bytecode::text::{assemble, write_module};
use smf_core::format::{Arch, Flags};
use smf_core::source::{Mode, SourceFile};
use smf_loader::compile::CompileOptions;
use smf_loader::pack::{Input, Options, SharedLibrary, pack};

mod cpp;
mod examples;
#[path = "../../../xtask/src/library.rs"]
mod library;
mod processes;
mod reach;
mod runtime;
#[path = "../../../tests/src/scale.rs"]
mod scale;
#[path = "../../../tests/src/skip.rs"]
mod skip;
mod standard;
mod static_host;
mod templates;
mod tools;

use scale::scale;
use skip::{has, lacks};

const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// The directory of the static and the shared library with these features.
fn libraries(features: &str) -> &'static Path {
    static ALL: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    let known = [C, JIT, TAGGED, LIBFFI].iter().zip(&ALL).find(|(known, _)| **known == features);
    known.unwrap().1.get_or_init(|| {
        // One target directory, so that dependencies are built once. The archives have no hash in their names, so
        // that each pair is copied before the next one is built.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _building = BUILDING.lock();
        let target = Path::new(SCRATCH).join("libraries");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--no-default-features", "--features", features]);
        build.args(["--package", "smf-capi", "--package", "smf-capi-static"]);
        build.args(["--config", "profile.dev.package.smf-core.opt-level=0"]);
        build.arg("--target-dir").arg(&target);
        succeed(&mut build);
        let copies = target.join(features.replace(',', "-"));
        fs::create_dir_all(&copies).unwrap();
        let is_tagged = features == TAGGED;
        let name = library::name(is_tagged);
        let archive = copies.join(format!("lib{name}.a"));
        fs::copy(target.join("debug/libsmf_loader.a"), archive).unwrap();
        let script = copies.join("exports.map");
        fs::write(&script, library::version_script(&header_path(), is_tagged).unwrap()).unwrap();
        let shared = copies.join(library::soname(is_tagged));
        let archive = target.join("debug/libsmf_loader_shared.a");
        let link = library::Link {
            archive: &archive,
            script: &script,
            to: &shared,
            is_tagged,
            needs_libffi: features == LIBFFI,
            layout: &[],
        };
        succeed(&mut link.command());
        let link = copies.join(format!("lib{name}.so"));
        let _ = fs::remove_file(&link);
        symlink(&shared, link).unwrap();
        copies
    })
}

/// The default features of the libraries.
const C: &str = "gdb";
const JIT: &str = "gdb,exec";
const TAGGED: &str = "tagged,exec";
const LIBFFI: &str = "gdb,exec,libffi";

fn header_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(library::HEADER)
}

#[derive(Clone, Copy, Debug)]
enum Linking {
    Static,
    Shared,
}

/// Runs a command, which must succeed, and returns its output.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = both(&output);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Compiles one of the C programs and links it, once: another test may be running the program.
fn compile(name: &str, features: &str, linking: Linking) -> PathBuf {
    static COMPILED: Mutex<BTreeMap<PathBuf, Arc<OnceLock<()>>>> = Mutex::new(BTreeMap::new());
    let program = format!("{name}-{}-{linking:?}", features.replace(',', "-"));
    let program = Path::new(SCRATCH).join(program);
    let compiled = COMPILED.lock().unwrap().entry(program.clone()).or_default().clone();
    compiled.get_or_init(|| compile_to(&program, name, features, linking));
    program
}

fn compile_to(program: &Path, name: &str, features: &str, linking: Linking) {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]);
    // For functions in check.h that a program does not use.
    gcc.args(["-Wno-unused-function", "-I", INCLUDE, "-o"]).arg(program);
    gcc.arg(Path::new(SOURCES).join(name).with_extension("c"));
    gcc.args((features == C).then_some("-DSMF_NO_JIT"));
    link_library(&mut gcc, features, linking);
    succeed(&mut gcc);
}

/// Adds the library to the command that builds a program.
fn link_library(build: &mut Command, features: &str, linking: Linking) {
    let (libraries, library) = (libraries(features), library::name(features == TAGGED));
    match linking {
        Linking::Static => {
            build.arg(libraries.join(format!("lib{library}.a"))).arg("-lm");
            build.args((features == LIBFFI).then_some("-lffi"))
        }
        Linking::Shared => {
            // The program exports the accessor functions of the runtime.
            build.arg("-rdynamic").arg(format!("-l{library}")).arg("-L").arg(libraries);
            // Cargo's LD_LIBRARY_PATH contains another build of the library; only DT_RPATH precedes it.
            build.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", libraries.display()))
        }
    };
}

/// Links one of the C programs with each library and runs it.
fn run(name: &str, features: &str) -> [String; 2] {
    run_with(name, features, &[])
}

fn run_with(name: &str, features: &str, arguments: &[&Path]) -> [String; 2] {
    [Linking::Static, Linking::Shared].map(|linking| {
        let mut program = Command::new(compile(name, features, linking));
        program.args(arguments);
        // Freed memory must not count as used.
        program.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0");
        let said = succeed(&mut program);
        assert!(said.contains("ok"), "{said}");
        said
    })
}

#[test]
fn every_export_accepts_valid_and_refuses_invalid_arguments() {
    for said in run("exports", C) {
        assert!(said.contains("executable memory: 0 bytes in 0 blocks live"), "{said}");
    }
}

/// Eight threads call every function that has arguments in ways that must be refused.
#[test]
fn every_export_refuses_misuse_from_many_threads() {
    let program = fs::read_to_string(Path::new(SOURCES).join("misuse.c")).unwrap();
    let header = library::preprocessed(&header_path(), &[]).unwrap();
    // Functions of a switch alone accept every argument.
    let is_switch = |parameter: &str| {
        ["void", "bool", "_Bool"].contains(&parameter.split(' ').next().unwrap_or_default())
            && !parameter.contains('*')
    };
    let refusable = library::functions(&header)
        .filter(|(_, parameters)| !parameters.split(", ").all(is_switch));
    let absent: Vec<&str> = refusable
        .map(|(name, _)| name)
        .filter(|name| !program.contains(&format!("{name}(")))
        .collect();
    assert_eq!(absent, [""; 0], "misuse.c does not call these");
    run("misuse", JIT);
}

/// The library with the feature calls functions of every type.
#[test]
fn typed_calls_pass_and_return_every_type() {
    let pkg_config = Command::new("pkg-config").args(["--exists", "libffi"]).status();
    let has_libffi = pkg_config.is_ok_and(|status| status.success());
    if !has_libffi {
        return lacks("libffi-dev");
    }
    let directory = Path::new(SCRATCH).join("typed-calls");
    make_modules(&directory);
    run_with("typed_calls", LIBFFI, &[&directory]);
}

#[test]
fn mappings_survive_misuse_and_file_changes() {
    run("mmap", C);
}

#[test]
fn cache_works_from_c() {
    run("cache", C);
}

/// The modules of the loader test: name, whether reloadable, C source.
const MODULES: [(&str, bool, &str); 16] = [
    (
        "counter",
        true,
        "long count = 5; long add(long x) { return count += x; } long version(void) { return 1; }
         long main(void) { return 77; }",
    ),
    (
        "counter2",
        true,
        "long pad = 3; long count = 5; long version(void) { return 2; }
         long main(void) { return 78; } long add(long x) { return count += 10 * x; }",
    ),
    (
        "counter4",
        true,
        "long count[2] = {5, 6}; long version(void) { return 4; }
         long main(void) { return 80; } long add(long x) { return count[0] += x; }",
    ),
    ("counter3", true, "long count; long version(void) { return 3; }"),
    (
        "user",
        false,
        "long add(long), version(void); long twice(long x) { add(x); return add(x); }
         long older(void) { return version(); }",
    ),
    (
        "constructed",
        true,
        "long items; __attribute__((constructor)) static void start(void) { items = 10; }
         long item(void) { return items++; }",
    ),
    ("items", false, "extern long items; long where_items(void) { return (long)&items; }"),
    ("where", false, "extern long count; long where(void) { return (long)&count; }"),
    (
        "host",
        false,
        "long host_function(long); long call_host(long x) { return host_function(x) + 1; }",
    ),
    (
        "registered",
        false,
        "long registered_function(long); long call_registered(long x) { return registered_function(x) + 1; }",
    ),
    (
        "lacking",
        false,
        "long alpha(void), beta(void); long lacks(void) { return alpha() + beta(); }",
    ),
    (
        "needs",
        false,
        "long lacks(void), twice(long); long needs(void) { return lacks() + twice(1); }",
    ),
    (
        "divides",
        false,
        "long quotient(long, long); long divide(long x, long y) { return quotient(x, y) + 1; }",
    ),
    ("process", false, "int getpid(void); long process(void) { return getpid(); }"),
    ("ping", false, "long pong(long); long ping(long n) { return n ? 1 + pong(n - 1) : 0; }"),
    ("pong", false, "long ping(long); long pong(long n) { return n ? 1 + ping(n - 1) : 0; }"),
];

/// Bytecode modules.
const BYTECODE: [(&str, &str); 4] = [
    (
        "quotients",
        "function first, 0, 0\nCONST_I64 0, 7\nRET 0\n\
         function quotient, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nDIV_I64\nRET 0\n",
    ),
    (
        "hosted",
        "function ask, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nCALL_SFFI 513, 2\nRET 0\n\
         function nine, 0, 0\nCALL_SFFI 0, 0\nRET 0\n",
    ),
    (
        "objects",
        "function first, 0, 0\nCONST_I64_PUSH 7\nRET 0\nfunction list, 0, 0\nARRAY_LIT 0, 0, 0\nRET 0\n\
         function last, 0, 0\nCONST_I64_PUSH 9\nRET 0\n",
    ),
    ("unsound", "function f, 0, 0\nADD_I64\nRET 0\n"),
];

/// Runs in a module until a flag changes.
const SPIN: &str = "long spin(volatile long *flag) { for (*flag = 1; *flag == 1;); return *flag; }";

/// Imports from the mathematics library.
const COSINE: &str =
    "double cos(double); long cosine(long x) { return (long)(cos((double)x) * 1000); }";

fn make_modules(directory: &Path) {
    let cosines = ["cosine", "cosine-needed", "cosine-absent"].map(|name| (name, false, COSINE));
    let modules = MODULES.into_iter().chain([("spin", false, SPIN)]).chain(cosines);
    compile_modules(directory, modules);
    make_bytecode(directory);
}

fn make_bytecode(directory: &Path) {
    let limits = format!(
        "function many, 1, 1\n{}CALL last, 65\nRET 0\nfunction last, 65, 65\nLOAD_PUSH 64\nRET 0\n\
         function small, 0, 0\nCONST_I64_PUSH 7\nRET 0\n",
        "LOAD_PUSH 0\n".repeat(65)
    );
    for (name, source) in BYTECODE.into_iter().chain([("limits", &*limits)]) {
        let module = write_module(&assemble(source).unwrap(), Flags(0)).unwrap();
        fs::write(directory.join(name).with_extension("smf"), module).unwrap();
    }
}

/// Compiles and packs modules: name, whether reloadable, C source.
fn compile_modules<'m>(directory: &Path, modules: impl Iterator<Item = (&'m str, bool, &'m str)>) {
    fs::create_dir_all(directory).unwrap();
    for (name, reloadable, source) in modules {
        let [c, o, smf] = ["c", "o", "smf"].map(|end| directory.join(name).with_extension(end));
        fs::write(&c, source).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-fPIC", "-fno-builtin", "-Wno-main", "-c", "-o"]).arg(&o).arg(&c);
        gcc.args((name == "static-storage").then_some("-ftls-model=initial-exec"));
        succeed(&mut gcc);
        let data = fs::read(&o).unwrap();
        let needed = match name {
            "cosine-needed" => &[SharedLibrary::new("libm.so.6")][..],
            "cosine-absent" => &[SharedLibrary::new("libno-such.so.9")],
            _ => &[],
        };
        let options = Options { reloadable, needed, ..Options::default() };
        let packed = pack(&[Input { name, data: &data }], &options).unwrap();
        fs::write(&smf, packed.bytes).unwrap();
    }
}

#[test]
fn functions_and_templates_are_extracted() {
    run("take", JIT);
}

#[test]
fn execution_managers_compile_call_and_replace() {
    let directory = Path::new(SCRATCH).join("exec");
    fs::create_dir_all(&directory).unwrap();
    make_bytecode(&directory);
    run_with("exec", JIT, &[&directory]);
}

#[test]
fn exports_work_in_destructors_of_threads() {
    run("thread_exit", JIT);
}

#[test]
fn loaders_close_without_memory() {
    run("no_memory", C);
}

#[test]
fn loaders_load_replace_and_unload_modules() {
    let directory = Path::new(SCRATCH).join("modules");
    make_modules(&directory);
    run_with("loader", C, &[&directory]);
    run_with("loader", JIT, &[&directory, "bytecode".as_ref()]);
}

#[test]
fn compiled_source_is_loaded_and_called() {
    let source = "fn add(a: i64, b: i64) -> i64: a + b\nfn div(a: i64, b: i64) -> i64: a / b\n\
        fn fib(n: i64) -> i64:\n    if n < 2: n else: fib(n - 1) + fib(n - 2)\n";
    let file = SourceFile { name: "a.spl", module: "a", text: source };
    let unit = smf_core::source::compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    let options =
        CompileOptions { arch: Arch::X86_64, level: 2, debug_directory: Some(Path::new("/")) };
    let module = Path::new(SCRATCH).join("compiled.smf");
    fs::write(&module, smf_loader::compile::compile(&unit, &options).unwrap()).unwrap();
    run_with("compiled", C, &[&module]);
    run_with("compiled", JIT, &[&module]);
}

#[test]
fn modules_have_thread_local_storage() {
    let directory = Path::new(SCRATCH).join("thread-local");
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tests/thread_local");
    let source = fs::read_to_string(Path::new(programs).join("storage.c")).unwrap();
    let lacking = "extern __thread long absent; long f(void) { return absent; }";
    let alone = "static __thread long t = 3; long f(void) { return ++t; }";
    let modules =
        [("storage", true, &*source), ("lacking", false, lacking), ("alone", false, alone)];
    compile_modules(&directory, modules.into_iter());
    run_with("thread_local", C, &[&directory]);
}

/// A host that is linked with the reserve loads modules whose static storage exceeds the surplus; other hosts refuse them.
#[test]
fn modules_have_static_thread_local_storage_from_the_reserve() {
    let directory = Path::new(SCRATCH).join("thread-local-reserve");
    let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tests/thread_local");
    let source = fs::read_to_string(Path::new(programs).join("storage.c")).unwrap();
    let source = format!("#define EXTRA 25000\n{source}");
    compile_modules(&directory, [("static-storage", true, &*source)].into_iter());
    fs::rename(directory.join("static-storage.smf"), directory.join("storage.smf")).unwrap();
    let reserve = directory.join(library::TLS_RESERVE);
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/capi/tls_reserve.c");
    succeed(
        Command::new("gcc")
            .args(["-Wall", "-Wextra", "-Werror", "-O2", "-c", object, "-o"])
            .arg(&reserve),
    );
    for linking in [Linking::Static, Linking::Shared] {
        for has_reserve in [true, false] {
            let program = directory.join(format!("host-{linking:?}-{has_reserve}"));
            let mut gcc = Command::new("gcc");
            gcc.args([
                "-std=c11",
                "-O1",
                "-pthread",
                "-DSMF_NO_JIT",
                "-DNO_RELOAD",
                "-Wl,--gc-sections",
            ]);
            gcc.args(["-I", INCLUDE, "-o"])
                .arg(&program)
                .arg(Path::new(SOURCES).join("thread_local.c"));
            gcc.args(has_reserve.then_some(&reserve));
            link_library(&mut gcc, C, linking);
            succeed(&mut gcc);
            let output = Command::new(&program).arg(&directory).output().unwrap();
            let said = both(&output);
            assert_eq!(output.status.success(), has_reserve, "{linking:?}: {said}");
            assert!(has_reserve || said.contains("-fPIC"), "{said}");
        }
    }
}

#[test]
fn constructors_and_destructors_run_in_a_program_in_c() {
    let directory = Path::new(SCRATCH).join("init");
    let module = |number: u32| {
        format!(
            "extern void host_says(const char *, long); extern int atexit(void (*)(void));
             static long number;
             static void handler(void) {{ host_says(\"handler\", {number}); }}
             __attribute__((constructor)) static void start(void) {{
                 number = {number} + 10; host_says(\"start\", {number}); atexit(handler); }}
             __attribute__((destructor)) static void end(void) {{ host_says(\"end\", {number}); }}
             long number_{number}(void) {{ return number; }}"
        )
    };
    let (one, two) = (module(1), module(2));
    let modules = [("one", &*one), ("two", &*two), ("cosine-absent", "long f(void) { return 1; }")];
    compile_modules(&directory, modules.map(|(name, source)| (name, false, source)).into_iter());
    let [one, two, needs] =
        ["one.smf", "two.smf", "cosine-absent.smf"].map(|name| directory.join(name));
    let dynlib = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/dynlib.smf"));
    let both = "start 1\nstart 2\n";
    let end = |number| format!("handler {number}\nend {number}\n");
    let expected = [
        both,
        &end(1),
        "unloaded\nstart 1\n",
        &end(1),
        &end(2),
        "closed\n",
        both,
        // As for shared objects: all handlers, in reverse order, and then the destructors.
        "ok\nhandler 2\nhandler 1\nend 2\nend 1\n",
    ];
    for said in run_with("init", C, &[&one, &two, &needs, dynlib]) {
        assert_eq!(said, expected.concat());
    }
}

/// Found: a call returned into memory that was freed, and modules with destructors of threads stayed for ever.
#[test]
fn closed_loader_keeps_the_code_that_threads_need() {
    let directory = Path::new(SCRATCH).join("close");
    let calls = "extern long closes(long); long calls(long n) { return closes(n) + 1; }";
    let registers = "extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
        extern void *__dso_handle __attribute__((visibility(\"hidden\")));
        static long ended;
        static void at_end(void *value) { ended += (long)value; }
        long registers(void) { return __cxa_thread_atexit_impl(at_end, 0, &__dso_handle); }";
    let modules = [("calls", false, calls), ("registers", false, registers)];
    compile_modules(&directory, modules.into_iter());
    let modules = ["calls.smf", "registers.smf"].map(|name| directory.join(name));
    for said in run_with("close", C, &[&*modules[0], &*modules[1]]) {
        assert_eq!(said, "ok\n");
    }
}

/// Eight threads call a function in every way while its module is replaced: 10,000 times per way in CI, else 2,000.
#[test]
fn replaced_code_is_not_freed_while_a_thread_executes_it() {
    let directory = Path::new(SCRATCH).join("replaced");
    // A call that is not inlined returns into the replaced code.
    let version = |number| {
        format!(
            "static __attribute__((noinline)) long slowly(long x) {{
                 for (volatile int i = 0; i < 100; i++) {{}} return x; }}
             long version(void) {{ return slowly({number}); }}"
        )
    };
    let importer =
        "long version(void); long imported(void) { volatile long v = version(); return v; }";
    let (one, two) = (version(1), version(2));
    let modules =
        [("versions", true, &*one), ("versions2", true, &two), ("importer", false, importer)];
    compile_modules(&directory, modules.into_iter());
    let reloads = scale("10000", "500");
    let program = compile("reload_threads", C, Linking::Static);
    for condition in ["shared", "one-core", "busy"] {
        let mut command = Command::new(&program);
        let said = succeed(command.arg(&directory).args([reloads, condition]));
        assert!(said.ends_with("ok\n"), "{said}");
    }
}

/// A function without calls, and one that recurses without end and has a hundred locals that live across the call.
fn recursion() -> String {
    let each = |text: fn(u32) -> String| (1..100).map(text).collect::<String>();
    format!(
        "function leaf, 1, 1\nLOAD_PUSH 0\nRET 0\nfunction forever, 1, 100\n{}LOAD_PUSH 99\n\
         CALL forever, 1\n{}RET 0\n",
        each(|local| format!("LOAD_PUSH 0\nCONST_I64_PUSH {local}\nADD_I64\nPOP_STORE {local}\n")),
        each(|local| format!("LOAD_PUSH {local}\nADD_I64\n")),
    )
}

#[test]
fn bytecode_is_stopped_on_small_stacks_and_in_coroutines() {
    let module = Path::new(SCRATCH).join("recursion.smf");
    let bytes = write_module(&assemble(&recursion()).unwrap(), Flags(0)).unwrap();
    fs::write(&module, bytes).unwrap();
    run_with("stack", JIT, &[&module]);
}

/// The C programs in the guide.
fn guide_programs() -> Vec<String> {
    let chapters = [include_str!("../../src/guide/exec.md"), include_str!("../../src/guide/c.md")];
    let blocks = chapters.iter().flat_map(|chapter| chapter.split("\n```c\n").skip(1));
    blocks.map(|rest| format!("{}\n", rest.split("\n```").next().unwrap())).collect()
}

/// Every C program in the README and in the guide compiles unchanged and prints what its comments say.
#[test]
fn readme_examples_compile_and_print_their_comments() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, rest) = readme.split_once("\n## C\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let mut programs = guide_programs();
    assert_eq!(programs.len(), 4);
    let mut inside = false;
    for line in section.lines() {
        let code = line.strip_prefix("    ").or(line.is_empty().then_some(""));
        inside = code.is_some_and(|code| inside || code == "#include <stdio.h>");
        match code {
            Some(code) if inside && code == "#include <stdio.h>" => {
                programs.push(format!("{code}\n"));
            }
            Some(code) if inside => {
                programs.iter_mut().last().unwrap().push_str(&format!("{code}\n"))
            }
            _ => {}
        }
    }
    assert_eq!(programs.len(), 5);
    for (number, program) in programs.iter().enumerate() {
        let (source, out) = ["c", "out"]
            .map(|end| Path::new(SCRATCH).join(format!("readme-{number}.{end}")))
            .into();
        fs::write(&source, program).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", INCLUDE, "-o"]);
        // The first two are those of the execution manager.
        let features = if number < 2 { JIT } else { C };
        gcc.arg(&out).arg(&source).arg(libraries(features).join("libsmf_loader.a")).arg("-lm");
        succeed(&mut gcc);
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let said = succeed(Command::new(&out).current_dir(root));
        let expected = program.lines().filter_map(|line| {
            line.trim_end().strip_suffix(" */")?.rsplit_once("/* prints ").map(|(_, text)| text)
        });
        assert_eq!(said, expected.map(|line| format!("{line}\n")).collect::<String>());
    }
}

#[test]
fn value_hooks_replace_the_builtin_set() {
    run("hooks", C);
    run_with("hooks", C, &["older".as_ref()]);
}

#[test]
fn mdwe_policy_is_named_in_the_error() {
    run("policy", C);
}

#[test]
fn libraries_export_the_functions_of_the_header() {
    for (features, macros) in [(C, &["-DSMF_NO_JIT"][..]), (JIT, &[]), (TAGGED, &["-DSMF_TAGGED"])]
    {
        let library = libraries(features).join(library::soname(features == TAGGED));
        let table = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
        // The names have a version, as in `smf_version@@SMF_0`, which is a symbol too.
        let names =
            table.lines().filter_map(|line| line.split_whitespace().last()?.split_once('@'));
        let mut exported: Vec<&str> = names.map(|(name, _)| name).collect();
        exported.retain(|name| !name.starts_with("__jit_debug_"));
        exported.sort_unstable();
        let header = library::preprocessed(&header_path(), macros).unwrap();
        let mut declared: Vec<&str> = library::functions(&header).map(|(name, _)| name).collect();
        declared.sort_unstable();
        assert_eq!(exported, declared, "{features}");
    }
}

/// Code of a module is callable through its bare address while the module is loaded. In the tagged convention the results are
/// values of the runtime.
#[test]
#[cfg(not(feature = "tagged"))]
fn module_function_is_callable_by_address_until_unload() {
    use smf_loader::ffi;
    use smf_loader::loader::Loader;

    let loader = Loader::new(Default::default()).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
    let handle = loader.load_module(Path::new(file), None).unwrap();
    let module = loader.modules().get(handle).unwrap();
    let address = |name: &[u8]| module.export(name).unwrap().address.cast_signed();
    let (answer, add) = (address(b"answer"), address(b"add"));
    let code = module.code().next().unwrap();
    let end = code.end as u64;
    assert!(code.contains(&usize::try_from(answer).unwrap()) && module.contains(end));
    let data = i64::try_from(code.end).unwrap();
    assert_eq!((ffi::rt_call_function_0(answer), ffi::rt_call_function_2(add, 2, -5)), (42, -3));
    assert_eq!(ffi::smf_last_error().code, 0);
    // It is not in a block of executable memory, and its data is not code.
    assert_eq!(ffi::rt_get_function_pointer(answer), 0);
    assert_eq!((ffi::rt_call_function_0(data), ffi::smf_last_error().code), (0, 5));
    assert!(!ffi::rt_free_exec_memory(answer, 4096) && !ffi::rt_make_writable(answer, 4096));
    drop(module);
    loader.modules().unload(handle).unwrap();
    ffi::smf_clear_error();
    assert_eq!((ffi::rt_call_function_0(answer), ffi::smf_last_error().code), (0, 5));
}
