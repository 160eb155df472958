//! The C API as C sees it: programs compiled against both libraries, and the tools that watch them.
//!
//! The libraries are built here as they are shipped, in a target directory of their own beside the
//! other test files, so that what is linked is never out of date.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Place};
use smf_core::format::{Flags, Header, Layout, SectionKind, index};
use smf_core::jit::host::{HostFunction, HostTable};
use smf_core::jit::text::{assemble, write_module};
use smf_core::jit::typed::text::parse;
use smf_core::loader::{LoaderOptions, ModuleBytes};
use smf_core::tier::Tiers;
use smf_loader::ffi;
use smf_loader::loader::Loader;
use smf_loader::pack::{Input, Options, pack};

#[path = "../../xtask/src/header.rs"]
mod header;

const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

/// Where `libsmf_loader.a` and `libsmf_loader.so` with these features are.
fn libraries(features: &str) -> &'static Path {
    static ALL: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
    let known = [C, JIT, TAGGED].iter().zip(&ALL).find(|(known, _)| **known == features);
    known.unwrap().1.get_or_init(|| {
        let target = Path::new(SCRATCH).join("libraries").join(features.replace(',', "-"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--no-default-features", "--features", features]);
        build.args(["--package", "smf-capi", "--package", "smf-capi-static"]);
        build.arg("--target-dir").arg(&target);
        succeed(&mut build);
        target.join("debug")
    })
}

/// The features that the libraries have when nothing is said.
const C: &str = "gdb";
const JIT: &str = "gdb,jit";
const TAGGED: &str = "tagged,jit";

#[derive(Clone, Copy, Debug)]
enum Linking {
    Static,
    Shared,
}

/// Runs a command, which must succeed, and returns what it said.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = both(&output);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Whether a program is there. Where it is not, what needs it is skipped, loudly; in CI that is a
/// failure.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is not installed");
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

/// Compiles one of the C programs and links it.
fn compile(name: &str, features: &str, linking: Linking) -> PathBuf {
    let libraries = libraries(features);
    let program = format!("{name}-{}-{linking:?}", features.replace(',', "-"));
    let program = Path::new(SCRATCH).join(program);
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread"]);
    // Functions from headers that this program does not need.
    gcc.args(["-Wno-unused-function", "-I", INCLUDE, "-o"]).arg(&program);
    gcc.arg(Path::new(SOURCES).join(name).with_extension("c"));
    gcc.args((features == C).then_some("-DSMF_NO_JIT"));
    match linking {
        Linking::Static => gcc.arg(libraries.join("libsmf_loader.a")).arg("-lm"),
        Linking::Shared => {
            // The runtime's accessor functions are in the program.
            gcc.args(["-rdynamic", "-lsmf_loader", "-L"]).arg(libraries);
            // Cargo's LD_LIBRARY_PATH has another build of the library, and only the old kind of run path
            // comes before it.
            gcc.arg(format!("-Wl,--disable-new-dtags,-rpath,{}", libraries.display()))
        }
    };
    succeed(&mut gcc);
    program
}

/// Compiles one of the C programs against each library and runs it.
fn run(name: &str, features: &str) -> [String; 2] {
    run_with(name, features, &[])
}

fn run_with(name: &str, features: &str, arguments: &[&Path]) -> [String; 2] {
    [Linking::Static, Linking::Shared].map(|linking| {
        let mut program = Command::new(compile(name, features, linking));
        program.args(arguments);
        // What was freed is not to count as in use.
        program.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0");
        let said = succeed(&mut program);
        assert!(said.contains("ok"), "{said}");
        said
    })
}

#[test]
fn every_export_from_c() {
    for said in run("exports", C) {
        assert!(said.contains("executable memory: 0 bytes in 0 blocks live"), "{said}");
    }
}

#[test]
fn files_in_memory() {
    run("mmap", C);
}

#[test]
fn the_cache() {
    run("cache", C);
}

/// The modules of the test of loaders: a name, whether they may be replaced, and what they are made of.
const MODULES: [(&str, bool, &str); 13] = [
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
    ("where", false, "extern long count; long where(void) { return (long)&count; }"),
    (
        "host",
        false,
        "long host_function(long); long call_host(long x) { return host_function(x) + 1; }",
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

/// Modules of bytecode.
const BYTECODE: [(&str, &str); 2] = [
    (
        "quotients",
        "function first, 0, 0\nCONST_I64 0, 7\nRET 0\n\
         function quotient, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nDIV_I64\nRET 0\n",
    ),
    ("unsound", "function f, 0, 0\nADD_I64\nRET 0\n"),
];

/// Waits in a module until it is told to go on.
const SPIN: &str = "long spin(volatile long *flag) { for (*flag = 1; *flag == 1;); return *flag; }";

fn make_modules(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    for (name, reloadable, source) in MODULES.into_iter().chain([("spin", false, SPIN)]) {
        let [c, o, smf] = ["c", "o", "smf"].map(|end| directory.join(name).with_extension(end));
        fs::write(&c, source).unwrap();
        let mut gcc = Command::new("gcc");
        succeed(
            gcc.args(["-O2", "-fPIC", "-fno-builtin", "-Wno-main", "-c", "-o"]).arg(&o).arg(&c),
        );
        let data = fs::read(&o).unwrap();
        let options = Options { reloadable, ..Options::default() };
        let packed = pack(&[Input { name, data: &data }], &options).unwrap();
        fs::write(&smf, packed.bytes).unwrap();
    }
    for (name, source) in BYTECODE {
        let module = write_module(&assemble(source).unwrap(), Flags(0)).unwrap();
        fs::write(directory.join(name).with_extension("smf"), module).unwrap();
    }
}

#[test]
fn parts_of_modules() {
    run("take", JIT);
}

#[test]
fn loaders_of_modules() {
    let directory = Path::new(SCRATCH).join("modules");
    make_modules(&directory);
    run_with("loader", C, &[&directory]);
    run_with("loader", JIT, &[&directory, "bytecode".as_ref()]);
}

/// Bodies of templates as the compiler in `jit.c` reads them.
const TEMPLATES: [(&str, &str); 8] = [
    ("one", "111"),
    ("calls", ">two$i64"),
    ("two", "222"),
    ("fails", "!on purpose"),
    ("ping", ">pong$i64"),
    ("pong", ">ping$i64"),
    ("later", ">slow$i64"),
    ("slow", "333"),
];

/// A module with templates, and one that imports an instance of one.
fn make_templates(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let mut note = "possible |template, type_args, mangled_name|\n".to_owned();
    let half = "template half<T>(a: T, b: T) -> T\n div T a, a, b\n return T a\nend\n";
    let half = parse(half).unwrap().remove(0).body;
    let scripts = TEMPLATES.map(|(name, body)| (name, body.as_bytes()));
    let all = scripts.into_iter().chain([("half", &half[..])]);
    let mut templates = u32::try_from(all.clone().count()).unwrap().to_le_bytes().to_vec();
    for (name, body) in all {
        note += &format!("    \"{name}\", \"i64\", \"{name}$i64\"\n");
        for bytes in [name.as_bytes(), body] {
            templates.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            templates.extend(bytes);
        }
    }
    let section = |kind, name, payload| NewSection { kind, name, ..index::section(payload) };
    let sections = [
        section(SectionKind::Code, &b".text"[..], &[0xc3]),
        section(SectionKind::TemplateCode, b".templates", &templates),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let (layout, header) = (Layout::Packed, Header::default());
    let module = NewModule { layout, header, stub: &[], sections: &sections, symbols: &[] };
    for name in ["templates.smf", "kept.smf"] {
        fs::write(directory.join(name), module.to_vec().unwrap()).unwrap();
    }
    let quarter = "template quarter<T>(a: T, b: T) -> T\n call a = half<T>(a, b)\n \
                   call_host twice(a)\n call a = quarter<T>(a, b)\n return T a\nend\n";
    let quarter = parse(quarter).unwrap().remove(0).body;
    for (name, body) in [("half", &half), ("quarter", &quarter)] {
        let json = format!("{{\"name\":\"{name}\",\"type_params\":[\"T\"],\"body\":{body:?}}}");
        fs::write(directory.join(name).with_extension("json"), json).unwrap();
    }
    let [c, o, smf] = ["c", "o", "smf"].map(|end| directory.join("user").with_extension(end));
    fs::write(&c, "long later(void) __asm__(\"later$i64\"); long main(void) { return later(); }")
        .unwrap();
    let mut gcc = Command::new("gcc");
    succeed(gcc.args(["-O2", "-fPIC", "-Wno-main", "-c", "-o"]).arg(&o).arg(&c));
    let data = fs::read(&o).unwrap();
    let packed = pack(&[Input { name: "user", data: &data }], &Options::default()).unwrap();
    fs::write(&smf, packed.bytes).unwrap();
}

#[test]
fn templates_become_code() {
    for (linking, program) in
        [Linking::Static, Linking::Shared].map(|l| (l, compile("jit", JIT, l)))
    {
        // The file is told of what is made of it.
        let directory = Path::new(SCRATCH).join(format!("templates-{linking:?}"));
        make_templates(&directory);
        assert!(succeed(Command::new(program).arg(&directory)).contains("ok"));
    }
}

/// Every C program in the README compiles as it stands, and says what its comments say.
#[test]
fn the_examples_of_the_readme() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, rest) = readme.split_once("\n## From C\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let mut programs: Vec<String> = Vec::new();
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
    assert!(!programs.is_empty());
    for (number, program) in programs.iter().enumerate() {
        let (source, out) = ["c", "out"]
            .map(|end| Path::new(SCRATCH).join(format!("readme-{number}.{end}")))
            .into();
        fs::write(&source, program).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-I", INCLUDE, "-o"]);
        gcc.arg(&out).arg(&source).arg(libraries(C).join("libsmf_loader.a")).arg("-lm");
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
fn values_of_a_runtime() {
    run("hooks", C);
}

#[test]
fn a_policy_is_named() {
    run("policy", C);
}

#[test]
fn the_tagged_convention() {
    run("tagged", TAGGED);
}

#[test]
fn the_header_says_what_is_exported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    assert_eq!(header::check(&root), Ok(()));
    let declared = header::declared(&fs::read_to_string(root.join(header::HEADER)).unwrap());
    for (features, tagged) in [(C, false), (JIT, false), (TAGGED, true)] {
        let library = libraries(features).join("libsmf_loader.so");
        let table = succeed(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
        let mut exported: Vec<&str> =
            table.lines().filter_map(|line| line.split_whitespace().last()).collect();
        exported.retain(|name| !name.starts_with("__jit_debug_"));
        exported.sort_unstable();
        let declared = declared.iter().filter(|d| d.in_tagged || !tagged);
        let declared = declared.filter(|d| !d.needs_jit || features != C);
        let mut declared: Vec<&str> = declared.map(|d| &*d.function.name).collect();
        declared.sort_unstable();
        assert_eq!(exported, declared, "{features}");
    }
}

#[test]
fn the_header_is_cpp_as_well() {
    if has("clang") {
        let source = Path::new(SCRATCH).join("header.cpp");
        fs::write(&source, "#include \"smf.h\"\nint main() { return smf_version() == nullptr; }\n")
            .unwrap();
        let mut clang = Command::new("clang");
        clang.args(["-x", "c++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-I", INCLUDE]);
        succeed(clang.arg(source));
    }
}

#[test]
fn a_program_is_built_with_pkg_config() {
    if !has("pkg-config") {
        return;
    }
    let place = Path::new(SCRATCH).join("pkg-config");
    fs::create_dir_all(&place).unwrap();
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/smf.pc.in")).unwrap();
    // The command that its first lines tell.
    let filled = template
        .replace("@prefix@", "/usr/local")
        .replace("@libdir@", libraries(C).to_str().unwrap())
        .replace("@includedir@", INCLUDE)
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    fs::write(place.join("smf.pc"), filled).unwrap();
    let ask = |what: &[&str]| {
        let mut ask = Command::new("pkg-config");
        succeed(ask.args(what).arg("smf").env("PKG_CONFIG_PATH", &place)).trim().to_owned()
    };
    assert_eq!(ask(&["--modversion"]), env!("CARGO_PKG_VERSION"));
    let flags = ask(&["--cflags", "--libs", "--static"]);
    let program = place.join("hooks");
    let mut gcc = Command::new("gcc");
    gcc.arg("-o").arg(&program).arg(Path::new(SOURCES).join("hooks.c")).args(flags.split(' '));
    succeed(&mut gcc);
    succeed(Command::new(&program).env("LD_LIBRARY_PATH", libraries(C)));
}

/// Code that a module brought may be called through its bare address, as long as it is loaded.
#[test]
fn functions_of_loaded_modules_may_be_called() {
    let loader = Loader::default();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/packed.smf");
    let handle = loader.load_file(Path::new(file)).unwrap();
    let module = loader.modules().get(handle).unwrap();
    let address = |name: &[u8]| module.export(name).unwrap().address.cast_signed();
    let (answer, add) = (address(b"answer"), address(b"add"));
    let code = module.code().next().unwrap();
    let end = code.end as u64;
    assert!(code.contains(&usize::try_from(answer).unwrap()) && module.contains(end));
    let data = i64::try_from(code.end).unwrap();
    assert_eq!((ffi::rt_call_function_0(answer), ffi::rt_call_function_2(add, 2, -5)), (42, -3));
    assert_eq!(ffi::smf_last_error().code, 0);
    // It is not executable memory that was allocated; and its data is no code.
    assert_eq!(ffi::rt_get_function_pointer(answer), 0);
    assert_eq!((ffi::rt_call_function_0(data), ffi::smf_last_error().code), (0, 5));
    assert!(!ffi::rt_free_exec_memory(answer, 4096) && !ffi::rt_make_writable(answer, 4096));
    drop(module);
    loader.modules().unload(handle).unwrap();
    ffi::smf_clear_error();
    assert_eq!((ffi::rt_call_function_0(answer), ffi::smf_last_error().code), (0, 5));
}

/// A profile, as `perf report` shows it.
fn report(data: &Path) -> String {
    succeed(Command::new("perf").args(["report", "--stdio", "-i"]).arg(data))
}

fn record(data: &Path, program: &Path) -> Command {
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-k", "1", "-e", "cpu-clock", "-o"]).arg(data).arg(program);
    record
}

/// Whether this process may profile its children.
fn may_profile() -> bool {
    if !has("perf") {
        return false;
    }
    let data = Path::new(SCRATCH).join("may.data");
    let may = record(&data, Path::new("true")).output().unwrap();
    let ci = std::env::var_os("CI").is_some();
    assert!(may.status.success() || !ci, "perf may not record: {}", both(&may));
    if !may.status.success() {
        eprintln!("SKIPPED: perf may not record here: {}", both(&may));
    }
    may.status.success()
}

fn assert_named(report: &str) {
    for name in ["generated_first", "generated_second", "generated_in_data"] {
        // 33 % each, as the lines begin.
        let line = report.lines().find(|line| line.contains(name));
        let share: f64 = line
            .and_then(|line| line.trim().split('%').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name} is not in\n{report}"));
        assert!(share > 10.0, "{line:?}");
    }
}

#[test]
fn perf_names_generated_functions_by_the_map() {
    if !may_profile() {
        return;
    }
    for linking in [Linking::Static, Linking::Shared] {
        let data = Path::new(SCRATCH).join(format!("map-{linking:?}.data"));
        let program = compile("profiled", C, linking);
        let said = succeed(record(&data, &program).env("SMF_PERF_MAP", "1"));
        let report = report(&data);
        let process = said.lines().find_map(|line| line.strip_prefix("process ")).unwrap();
        fs::remove_file(format!("/tmp/perf-{process}.map")).unwrap();
        assert_named(&report);
    }
}

#[test]
fn perf_names_generated_functions_by_the_jitdump() {
    if !may_profile() {
        return;
    }
    let place = Path::new(SCRATCH).join("jitdump");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    let (data, injected) = (place.join("perf.data"), place.join("injected.data"));
    // Switched on by a call, which the argument asks for.
    let program = compile("profiled", C, Linking::Shared);
    succeed(record(&data, &program).arg(&place));
    let mut inject = Command::new("perf");
    inject.args(["inject", "--jit", "-i"]).arg(&data).arg("-o").arg(&injected);
    succeed(&mut inject);
    assert_named(&report(&injected));
    // And by the environment.
    let variable = place.join("variable");
    fs::create_dir_all(&variable).unwrap();
    succeed(Command::new(&program).env("SMF_JITDUMP", &variable));
    let dumps: Vec<_> = fs::read_dir(&variable).unwrap().collect();
    assert_eq!(dumps.len(), 1);
    let dump = fs::read(dumps[0].as_ref().unwrap().path()).unwrap();
    assert!(dump.starts_with(b"DTiJ") && dump.windows(17).any(|w| w == b"generated_second\0"));
}

#[test]
fn a_tool_that_cannot_be_switched_on_says_so_and_nothing_else_happens() {
    let program = compile("profiled", C, Linking::Static);
    let said = succeed(Command::new(program).env("SMF_JITDUMP", "/no/such/directory"));
    assert!(said.contains("smf: the jitdump: cannot create its file: No such file"), "{said}");
}

/// The pieces stand in the text in this order, whatever lies between.
fn in_order(text: &str, pieces: &[&str]) {
    let mut rest = text;
    for piece in pieces {
        let at = rest.find(piece).unwrap_or_else(|| panic!("no {piece} in\n{text}"));
        rest = &rest[at + piece.len()..];
    }
}

#[test]
fn gdb_shows_a_backtrace_through_generated_functions() {
    if !has("gdb") {
        return;
    }
    for linking in [Linking::Static, Linking::Shared] {
        let program = compile("debugged", C, linking);
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch"]);
        for command in [
            "break stop_here",
            "break gone",
            "run",
            "backtrace",
            "info functions generated_",
            "continue",
            "echo after\\n",
            "info functions generated_",
        ] {
            gdb.args(["-ex", command]);
        }
        let said = succeed(gdb.arg(program).env_remove("DEBUGINFOD_URLS"));
        let frames = ["#0 ", " stop_here ", " generated_inner ", " generated_outer ", " main "];
        in_order(&said, &frames);
        // Told, and taken back when the block was freed.
        let (before, after) = said.rsplit_once("after\n").unwrap();
        assert!(before.contains("generated_outer\n"), "{said}");
        assert!(!after.contains("generated_outer"), "{said}");
    }
}

/// Calls the address in rdi with the other arguments moved up; with a frame pointer, and without one.
/// `push rbp; mov rbp, rsp; mov rax, rdi; mov rdi, rsi; mov rsi, rdx; call rax; pop rbp; ret`
const FRAMED: &[u8] = b"\x55\x48\x89\xe5\x48\x89\xf8\x48\x89\xf7\x48\x89\xd6\xff\xd0\x5d\xc3";
/// `push rbx; sub rsp, 32; mov rax, rdi; mov rdi, rsi; call rax; add rsp, 32; pop rbx; ret`
const FRAMELESS: &[u8] =
    b"\x53\x48\x83\xec\x20\x48\x89\xf8\x48\x89\xf7\xff\xd0\x48\x83\xc4\x20\x5b\xc3";

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn stop_in_this_test(number: i64) -> i64 {
    std::hint::black_box(number) + 1
}

/// By itself a test like others; the next one watches it from outside.
#[test]
fn a_module_calls_back() {
    let code = [FRAMED, FRAMELESS].concat();
    let code = NewSection::code(&code);
    let symbol = |name, value: usize, code: &[u8]| NewSymbol {
        name,
        place: Place::Section(0),
        value: value as u64,
        size: code.len() as u64,
        ..NewSymbol::default()
    };
    let symbols =
        [symbol(&b"module_outer"[..], 0, FRAMED), symbol(b"module_inner", FRAMED.len(), FRAMELESS)];
    let (layout, header) = (Layout::Packed, Header::default());
    let module = NewModule { layout, header, stub: &[], sections: &[code], symbols: &symbols };
    let file = module.to_vec().unwrap();
    let loader = Loader::default();
    let handle = loader.place("made", ModuleBytes::new(file)).unwrap().link().unwrap();
    let module = loader.modules().get(handle).unwrap();
    let address = |name: &[u8]| module.function(name).unwrap().cast_signed();
    let (outer, inner) = (address(b"module_outer"), address(b"module_inner"));
    let last = (stop_in_this_test as extern "C" fn(i64) -> i64 as usize).cast_signed() as i64;
    assert_eq!(ffi::rt_call_function_3(outer, inner, last, 41), 42);
}

/// By itself a test like others, as the one above.
#[test]
fn bytecode_calls_back() {
    let source = "function outer, 1, 1\nLOAD_PUSH 0\nCALL inner, 1\nRET 0\n\
        function inner, 1, 1\nLOAD_PUSH 0\nCALL_SFFI 3, 1\nCONST_I64_PUSH 1\nADD_I64\nRET 0\n";
    let file = write_module(&assemble(source).unwrap(), Flags(0)).unwrap();
    let mut host_functions = HostTable::new();
    host_functions.set(3, HostFunction::Args1(stop_in_this_test));
    let tiers = Tiers::Compile { threshold: 0 };
    let loader = Loader::new(LoaderOptions { host_functions, tiers, ..LoaderOptions::default() });
    let handle = loader.place("made.smf", ModuleBytes::new(file)).unwrap().link().unwrap();
    let module = loader.modules().get(handle).unwrap();
    let outer = module.function(b"outer").unwrap().cast_signed();
    assert_eq!(ffi::rt_call_function_1(outer, 40), 42);
    drop(module);
    loader.modules().unload(handle).unwrap();
    assert_eq!((ffi::rt_call_function_1(outer, 40), ffi::smf_last_error().code), (0, 5));
    all_is_gone();
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn all_is_gone() {
    std::hint::black_box(());
}

#[test]
fn the_code_of_bytecode_is_named_while_it_is_there() {
    let alone = ["--exact", "bytecode_calls_back", "--test-threads=1"];
    let map = perf_map(&alone);
    let names: Vec<&str> = map.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(names, ["made.smf:outer:entry", "made.smf:outer", "made.smf:inner"]);

    if !has("gdb") {
        return;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "break stop_in_this_test", "-ex", "break all_is_gone"]);
    for command in ["run", "backtrace", "continue", "echo after\\n", "info functions made.smf"] {
        gdb.args(["-ex", command]);
    }
    gdb.arg("--args").arg(std::env::current_exe().unwrap()).args(alone);
    let said = succeed(gdb.env("SMF_GDB", "1").env_remove("DEBUGINFOD_URLS"));
    let frames = [
        "#0 ",
        "stop_in_this_test",
        " made.smf:inner ",
        " made.smf:outer ",
        " made.smf:outer:entry ",
        "rt_call_function_1",
        "bytecode_calls_back",
    ];
    in_order(&said, &frames);
    let (_, after) = said.rsplit_once("after\n").unwrap();
    assert!(!after.contains("made.smf:"), "{said}");
}

/// What the perf map says of tests of this program.
fn perf_map(tests: &[&str]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(tests).env("SMF_PERF_MAP", "1").stdout(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let map = format!("/tmp/perf-{}.map", child.id());
    assert!(child.wait().unwrap().success());
    let names = fs::read_to_string(&map).unwrap();
    fs::remove_file(map).unwrap();
    names
}

#[test]
fn the_functions_of_a_module_are_named_without_a_call() {
    let alone = ["--exact", "a_module_calls_back", "--test-threads=1"];
    let names = perf_map(&alone);
    let lines: Vec<Vec<&str>> = names.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(
        (lines.len(), &lines[0][1..], &lines[1][1..]),
        (2, &["11", "module_outer"][..], &["13", "module_inner"][..])
    );

    if !has("gdb") {
        return;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "break stop_in_this_test", "-ex", "run", "-ex", "backtrace"]);
    gdb.arg("--args")
        .arg(std::env::current_exe().unwrap())
        .args(alone)
        .env("SMF_GDB", "1")
        .env_remove("DEBUGINFOD_URLS");
    let said = succeed(&mut gdb);
    in_order(
        &said,
        &["#0 ", "stop_in_this_test", " module_inner ", " module_outer ", "rt_call_function_3"],
    );
}
