//! Named functions in profilers and debuggers: in C programs, and in tests of this binary that run again under gdb.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use smf_core::bytecode::host::{HostFunction, HostTable};
use smf_core::bytecode::text::{assemble, write_module};
use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Place};
use smf_core::format::{Flags, Header, Layout};
use smf_core::loader::{LoaderOptions, ModuleBytes};
use smf_core::vm::Tiers;
use smf_loader::ffi;
use smf_loader::host_symbols::HostSymbols;
use smf_loader::loader::Loader;
use smf_loader::pack::{Input, Options, pack};

use super::{C, JIT, Linking, SCRATCH, both, compile, has, lacks, libraries, library, succeed};
/// The output of `perf report`.
fn report(data: &Path) -> String {
    succeed(Command::new("perf").args(["report", "--stdio", "-i"]).arg(data))
}

fn record(data: &Path, program: &Path) -> Command {
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-k", "1", "-e", "cpu-clock", "-o"]).arg(data).arg(program);
    record
}

/// Serialises the recordings of perf: concurrent ones sometimes fail to start (status 255, no message).
static RECORDING: Mutex<()> = Mutex::new(());

/// Whether this process may profile its children.
fn may_profile() -> bool {
    if !has("perf") {
        return false;
    }
    let data = Path::new(SCRATCH).join("may.data");
    let may = record(&data, Path::new("true")).output().unwrap();
    if !may.status.success() {
        lacks(&format!("permission to record with perf: {}", both(&may)));
    }
    may.status.success()
}

fn assert_named(report: &str) {
    for name in ["generated_first", "generated_second", "generated_in_data"] {
        // Each line starts with about 33 %.
        let line = report.lines().find(|line| line.contains(name));
        let share: f64 = line
            .and_then(|line| line.trim().split('%').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name} is not in\n{report}"));
        assert!(share > 10.0, "{line:?}");
    }
}

#[test]
fn perf_names_generated_functions_by_the_map() {
    let _guard = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_profile() {
        return;
    }
    for linking in [Linking::Static, Linking::Shared] {
        let data = Path::new(SCRATCH).join(format!("map-{linking:?}.data"));
        let program = compile("profiled", C, linking);
        let said = succeed(record(&data, &program).env("SMF_PERF_MAP", "1"));
        assert_named(&report(&data));
        // Empty lines, by which the library overwrites names of freed code, are skipped.
        let process = said.lines().find_map(|line| line.strip_prefix("process ")).unwrap();
        let map = format!("/tmp/perf-{process}.map");
        let lines = fs::read_to_string(&map).unwrap().replace('\n', &"\n".repeat(300));
        fs::write(&map, format!("\n\n{lines}")).unwrap();
        let report = report(&data);
        fs::remove_file(map).unwrap();
        assert_named(&report);
    }
}

#[test]
fn perf_names_generated_functions_by_the_jitdump() {
    let _guard = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_profile() {
        return;
    }
    let place = Path::new(SCRATCH).join("jitdump");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    let (data, injected) = (place.join("perf.data"), place.join("injected.data"));
    // Enabled by a call, for which the program takes an argument.
    let program = compile("profiled", C, Linking::Shared);
    succeed(record(&data, &program).arg(&place));
    let mut inject = Command::new("perf");
    inject.args(["inject", "--jit", "-i"]).arg(&data).arg("-o").arg(&injected);
    succeed(&mut inject);
    assert_named(&report(&injected));
    // Enabled by the environment.
    let variable = place.join("variable");
    fs::create_dir_all(&variable).unwrap();
    succeed(Command::new(&program).env("SMF_JITDUMP", &variable));
    let dumps: Vec<_> = fs::read_dir(&variable).unwrap().collect();
    assert_eq!(dumps.len(), 1);
    let dump = fs::read(dumps[0].as_ref().unwrap().path()).unwrap();
    assert!(dump.starts_with(b"DTiJ") && dump.windows(17).any(|w| w == b"generated_second\0"));
}

#[test]
fn tool_that_cannot_be_enabled_reports_an_error_only() {
    let program = compile("profiled", C, Linking::Static);
    let said = succeed(Command::new(program).env("SMF_JITDUMP", "/no/such/directory"));
    assert!(said.contains("smf: the jitdump: cannot create its file: no such file"), "{said}");
}

/// Found: clocks and the size of a page were looked up in the vDSO, which valgrind hides, and the host got SIGSEGV.
#[test]
fn dynlib_is_loaded_and_jitdump_written_under_valgrind() {
    if !has("valgrind") {
        return;
    }
    let dynlib = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/dynlib.smf");
    let dumps = Path::new(SCRATCH).join("valgrind-dumps");
    let _ = fs::remove_dir_all(&dumps);
    fs::create_dir_all(&dumps).unwrap();
    let program = compile("valgrind", C, Linking::Shared);
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=1"]).arg(program).arg(&dumps).arg(dynlib);
    succeed(&mut valgrind);
    let dumps: Vec<_> = fs::read_dir(&dumps).unwrap().collect();
    assert_eq!(dumps.len(), 1);
    assert!(fs::read(dumps[0].as_ref().unwrap().path()).unwrap().starts_with(b"DTiJ"));
}

/// Checks that the text contains the pieces in this order.
fn assert_in_order(text: &str, pieces: &[&str]) {
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
        assert_in_order(&said, &frames);
        // Registered, and unregistered when the block was freed.
        let (before, after) = said.rsplit_once("after\n").unwrap();
        assert!(before.contains("generated_outer\n"), "{said}");
        assert!(!after.contains("generated_outer"), "{said}");
    }
}

/// Instructions that calls by address execute beyond those of a direct call, on a thread that has called before.
#[test]
fn calls_by_address_execute_few_instructions() {
    if !has("gdb") {
        return;
    }
    for linking in [Linking::Static, Linking::Shared] {
        let count = "finish\nset $count = 0\nwhile $pc != (long)&end\nstepi\n\
                     set $count = $count + 1\nend\n";
        let mut script = "break begin\nrun\n".to_owned();
        for way in ["direct", "function", "function returning 0", "pointer"] {
            script += &format!("{count}printf \"instructions %d {way}\\n\", $count\ncontinue\n");
        }
        let commands = Path::new(SCRATCH).join(format!("instructions-{linking:?}.gdb"));
        fs::write(&commands, script).unwrap();
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-x"]).arg(&commands).env_remove("DEBUGINFOD_URLS");
        let said = succeed(gdb.arg(compile("instructions", C, linking)));
        let count = |way: &str| -> i64 {
            let line = said.lines().find_map(|line| {
                line.strip_prefix("instructions ")?.split_once(' ').filter(|(_, name)| *name == way)
            });
            line.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap()
        };
        let beyond = |way| count(way) - count("direct");
        let found = ["function", "function returning 0", "pointer"].map(beyond);
        println!("{linking:?}: {found:?}");
        assert!(found[0] <= 25 && found[1] <= 25 && found[2] <= 10, "{linking:?}: {found:?}");
        assert!(found.iter().all(|count| *count > 0), "{said}");
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

/// Also run under gdb by another test.
#[test]
fn module_calls_back() {
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
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let handle =
        loader.map_module("made", ModuleBytes::new(file).unwrap()).unwrap().link().unwrap();
    let module = loader.modules().get(handle).unwrap();
    let address = |name: &[u8]| module.function(name).unwrap().cast_signed();
    let (outer, inner) = (address(b"module_outer"), address(b"module_inner"));
    let last = (stop_in_this_test as extern "C" fn(i64) -> i64 as usize).cast_signed() as i64;
    assert_eq!(ffi::rt_call_function_3(outer, inner, last, 41), 42);
}

/// Also run under gdb by another test.
#[test]
fn bytecode_calls_back() {
    let source = "function outer, 1, 1\nLOAD_PUSH 0\nCALL inner, 1\nRET 0\n\
        function inner, 1, 1\nLOAD_PUSH 0\nCALL_SFFI 3, 1\nCONST_I64_PUSH 1\nADD_I64\nRET 0\n";
    let file = write_module(&assemble(source).unwrap(), Flags(0)).unwrap();
    let mut host_functions = HostTable::new();
    host_functions.set(3, HostFunction::Args1(stop_in_this_test)).unwrap();
    let tiers = Tiers::Compile { threshold: 0 };
    let loader =
        Loader::new(LoaderOptions { host_functions, tiers, ..LoaderOptions::default() }).unwrap();
    let handle =
        loader.map_module("made.smf", ModuleBytes::new(file).unwrap()).unwrap().link().unwrap();
    let module = loader.modules().get(handle).unwrap();
    let outer = module.function(b"outer").unwrap().cast_signed();
    assert_eq!(ffi::rt_call_function_1(outer, 40), 42);
    drop(module);
    loader.modules().unload(handle).unwrap();
    assert_eq!((ffi::rt_call_function_1(outer, 40), ffi::smf_last_error().code), (0, 5));
    after_unload();
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn after_unload() {
    std::hint::black_box(());
}

#[test]
fn compiled_bytecode_is_named_until_unload() {
    let alone = ["--exact", "tools::bytecode_calls_back", "--test-threads=1"];
    let map = perf_map(&alone);
    let names: Vec<&str> = map.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let expected = ["made.smf:stubs", "made.smf:outer:entry", "made.smf:outer", "made.smf:inner"];
    assert_eq!(names, expected);

    if !has("gdb") {
        return;
    }
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "break stop_in_this_test", "-ex", "break after_unload"]);
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
    assert_in_order(&said, &frames);
    let (_, after) = said.rsplit_once("after\n").unwrap();
    assert!(!after.contains("made.smf:"), "{said}");
}

/// The perf map that tests of this binary write.
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
fn module_functions_are_named_automatically() {
    let alone = ["--exact", "tools::module_calls_back", "--test-threads=1"];
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
    assert_in_order(
        &said,
        &["#0 ", "stop_in_this_test", " module_inner ", " module_outer ", "rt_call_function_3"],
    );
}

/// The names of the modules with debugging information, with the compiler and its arguments for each object. Every module
/// exports `run_NAME`, which calls a function of one argument whose local variable is shown.
const SOURCES_SHOWN: [(&str, &str, &[&str], &str); 5] = [
    ("c", "gcc", &["-g", "-O0", "-gz=none"], C_SHOWN),
    (
        "optimised",
        "gcc",
        &["-g", "-O2", "-fno-ipa-sra", "-fno-ipa-cp", "-gz=zlib", "-gdwarf-4"],
        C_SHOWN,
    ),
    ("clang", "clang", &["-g", "-O1"], C_SHOWN),
    ("cpp", "g++", &["-g", "-O0", "-fno-exceptions", "-ffunction-sections"], CPP_SHOWN),
    ("rust", "rustc", &["-g", "--edition=2024", "--crate-type=lib", "--emit=obj"], RUST_SHOWN),
];

const C_SHOWN: &str = "struct pair { int first, second; };
static long counter = 40; static _Thread_local int calls;
extern int unused(int a) { return a + (int)counter; }
__attribute__((noinline)) static long shown(struct pair *pair) {
    long sum = pair->first + pair->second;
    counter += sum; /* stop */
    return counter;
}
long run_NAME(void) { struct pair pair = {1, 2}; calls++; return shown(&pair); }
";

const CPP_SHOWN: &str = "struct pair { int first, second; };
template <class T> struct holder { T value; T get() const; };
template <class T> __attribute__((noinline)) T holder<T>::get() const { return value; }
inline long counter = 40;
inline __attribute__((noinline)) long shown(pair *pair) {
    long sum = pair->first + pair->second;
    counter += sum; /* stop */
    return counter;
}
extern \"C\" long run_NAME() { pair pair = {1, 2}; return shown(&pair) + holder<long>{0}.get(); }
";

const RUST_SHOWN: &str = "#![no_std]
#[panic_handler] fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
pub struct Pair { pub first: i32, pub second: i32 }
static COUNTER: core::sync::atomic::AtomicI64 = core::sync::atomic::AtomicI64::new(40);
#[inline(never)] fn shown(pair: &Pair) -> i64 {
    let sum = i64::from(pair.first.wrapping_add(pair.second));
    COUNTER.fetch_add(sum, core::sync::atomic::Ordering::Relaxed).wrapping_add(sum) // stop
}
#[unsafe(no_mangle)] pub extern \"C\" fn run_NAME() -> i64 { shown(&Pair { first: 1, second: 2 }) }
";

/// Compiles and packs one of the modules. All but the first are linked again, as modules.
fn with_debug_info(name: &str, compiler: &str, flags: &[&str], source: &str) -> Vec<u8> {
    let directory = Path::new(SCRATCH).join(format!("shown-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let extension = match name {
        "cpp" => "cpp",
        "rust" => "rs",
        _ => "c",
    };
    let file = directory.join(format!("shown_{name}.{extension}"));
    fs::write(&file, source.replace("NAME", name)).unwrap();
    let object = file.with_extension("o");
    let mut compile = Command::new(compiler);
    compile.args(flags).args(if name == "rust" {
        &["-Cpanic=abort"][..]
    } else {
        &["-fPIC", "-c"]
    });
    succeed(compile.arg(&file).arg("-o").arg(&object));
    let object = fs::read(object).unwrap();
    let mut inputs = vec![Input { name, data: &object }];
    // The same functions in groups, of which the second copy is dropped.
    let copy = if name == "cpp" {
        let copy = directory.join("copy_cpp.cpp");
        fs::write(&copy, source.replace("run_NAME", "run_copy")).unwrap();
        let object = copy.with_extension("o");
        succeed(
            Command::new(compiler)
                .args(flags)
                .args(["-fPIC", "-c"])
                .arg(&copy)
                .arg("-o")
                .arg(&object),
        );
        fs::read(object).unwrap()
    } else {
        Vec::new()
    };
    if !copy.is_empty() {
        inputs.push(Input { name: "copy", data: &copy });
    }
    let packed = |inputs: &[Input<'_>]| {
        pack(inputs, &Options { debug_info: true, emit_relocs: true, ..Options::default() })
            .unwrap()
            .bytes
    };
    let module = packed(&inputs);
    if name == "c" { module } else { packed(&[Input { name: "a.smf", data: &module }]) }
}

/// Also run under gdb by another test.
#[test]
fn modules_with_source_lines_run() {
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let process = HostSymbols::of_process().unwrap();
    loader.modules().set_host_resolver(Some(Box::new(process))).unwrap();
    for (name, compiler, flags, source) in SOURCES_SHOWN {
        if !has(compiler) {
            continue;
        }
        let module = with_debug_info(name, compiler, flags, source);
        let bytes = ModuleBytes::new(module).unwrap();
        let handle = loader.map_module(name, bytes).unwrap().link().unwrap();
        let module = loader.modules().get(handle).unwrap();
        let run = module.function(format!("run_{name}").as_bytes()).unwrap().cast_signed();
        assert_eq!(ffi::rt_call_function_0(run), 43, "{name}");
        drop(module);
        loader.modules().unload(handle).unwrap();
    }
    after_unload();
}

#[test]
fn gdb_shows_source_lines_variables_and_types_of_modules() {
    if !["gdb", "gcc", "clang", "g++"].into_iter().all(has) {
        return;
    }
    // gdb opens the path of each shared object, such as those of thread-local storage, in its own process.
    let mut gdb = Command::new("timeout");
    gdb.args(["-s", "KILL", "300", "gdb"]);
    gdb.args(["-nx", "-batch", "-ex", "set breakpoint pending on", "-ex", "break after_unload"]);
    for (name, _, _, source) in SOURCES_SHOWN {
        let file = match name {
            "cpp" => "shown_cpp.cpp".to_owned(),
            "rust" => "shown_rust.rs".to_owned(),
            name => format!("shown_{name}.c"),
        };
        let line = source.lines().position(|line| line.contains("stop")).unwrap() + 1;
        gdb.arg("-ex").arg(format!("break {file}:{line}"));
    }
    gdb.args(["-ex", "run"]);
    for _ in SOURCES_SHOWN {
        for command in ["backtrace 2", "print sum", "print *pair", "info breakpoints", "continue"] {
            gdb.args(["-ex", command]);
        }
    }
    gdb.args(["-ex", "echo after\\n", "-ex", "info line shown_c.c:5", "-ex", "echo end\\n"]);
    let alone = ["--exact", "tools::modules_with_source_lines_run", "--test-threads=1"];
    gdb.arg("--args").arg(std::env::current_exe().unwrap()).args(alone);
    let said = succeed(gdb.env("SMF_GDB", "1").env_remove("DEBUGINFOD_URLS"));
    let mut rest = &*said;
    for (name, _, _, source) in SOURCES_SHOWN {
        let line = source.lines().position(|line| line.contains("stop")).unwrap() + 1;
        let caller = source.lines().position(|line| line.contains("run_NAME")).unwrap() + 1;
        let at = rest.find("hit Breakpoint").unwrap_or_else(|| panic!("{name}:\n{said}"));
        let (_, from) = rest.split_at(at + 1);
        let end = from.find("hit Breakpoint").unwrap_or(from.len());
        let (stop, others) = from.split_at(end);
        let shown = format!("shown_{name}.");
        let (at, from) = (format!(":{line}"), format!(":{caller}"));
        let run = format!("run_{name}");
        assert_in_order(
            stop,
            &[
                "#0 ", "shown", "pair=", &shown, &at, "#1 ", &run, &shown, &from, " = 3", "first",
                " 1",
            ],
        );
        // The copy of a function in a dropped group is not another location.
        let of_file =
            stop.lines().filter(|line| line.contains("breakpoint  ") && line.contains(&shown));
        assert!(of_file.count() == 1 && !stop.contains("<MULTIPLE>"), "{stop}");
        rest = others;
    }
    let (_, after) = said.rsplit_once("after\n").unwrap();
    assert!(!after.contains("starts at address"), "{said}");
}

/// The names of the probes of the provider `smf` in a file.
fn probes(file: &Path) -> Vec<String> {
    let notes = succeed(Command::new("readelf").args(["--notes", "--wide"]).arg(file));
    let mut lines = notes.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.ends_with("Provider: smf") {
            found.extend(
                lines.next().and_then(|line| line.strip_prefix("Name: ")).map(str::to_owned),
            );
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn probes_are_notes_of_the_library() {
    let library = libraries(JIT).join(library::soname(false));
    assert_eq!(probes(&library), ["instantiate", "load", "reload", "unload"]);
    // Those of the static library are notes of the program.
    let program = compile("probed", JIT, Linking::Static);
    assert_eq!(probes(&program), ["instantiate", "load", "reload", "unload"]);
}

#[test]
fn gdb_stops_at_probes_and_reads_their_arguments() {
    if !has("gdb") {
        return;
    }
    let templates = Path::new(SCRATCH).join("probed.smf");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/samples");
    let module_size = fs::metadata(samples.join("packed.smf")).unwrap().len();
    for linking in [Linking::Static, Linking::Shared] {
        fs::copy(samples.join("records.smf"), &templates).unwrap();
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "break main", "-ex", "run"]);
        for probe in ["load", "unload", "reload", "instantiate"] {
            gdb.arg("-ex").arg(format!("break -probe-stap smf:{probe}"));
        }
        // The expressions are of C, also where the probe is in a function of Rust with debug information.
        gdb.args(["-ex", "set language c"]);
        let name = "output *(char *)$_probe_arg0@(int)$_probe_arg1";
        for probe in ["load", "reload", "unload", "instantiate"] {
            gdb.args(["-ex", "continue", "-ex", &format!("echo \\n{probe}:"), "-ex", name]);
            if probe != "unload" {
                gdb.args(["-ex", "printf \" %d bytes\\n\", $_probe_arg2"]);
            }
        }
        gdb.args(["-ex", "continue", "-ex", "info probes stap smf", "--args"]);
        gdb.arg(compile("probed", JIT, linking)).arg(&templates);
        let said = succeed(gdb.env_remove("DEBUGINFOD_URLS"));
        let module = "\"../tests/samples/packed.smf\"";
        let names = [
            &format!("\nload:{module} "),
            &format!("\nreload:{module} "),
            &format!("\nunload:{module}"),
            "\ninstantiate:\"max$i64\" ",
            "exited normally",
        ];
        assert_in_order(&said, &names);
        for probe in ["load", "reload", "instantiate"] {
            let line = said.lines().find(|line| line.starts_with(&format!("{probe}:"))).unwrap();
            let (_, size) = line.split_once("\" ").unwrap();
            let size: u64 = size.strip_suffix(" bytes").unwrap().parse().unwrap();
            let least = if probe == "instantiate" { 1 } else { module_size };
            assert!((least..1 << 24).contains(&size), "{line}");
        }
        let listed = said.lines().filter(|line| line.contains(" smf ") && line.contains("0x"));
        assert!(listed.count() >= 4, "{said}");
    }
}
