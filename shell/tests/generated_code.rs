//! Generated code as unwinders, debuggers and profilers see it: compiled bytecode, template instances and functions of an
//! execution manager.
#![cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
#![allow(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]
#![allow(clippy::single_range_in_vec_init, reason = "a list of ranges of code")]

#[path = "../../tests/src/skip.rs"]
mod skip;

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skip::{has, lacks};
use smf_core::alloc_util::TryArc;
use smf_core::bytecode::host::{HostFunction, HostTable};
use smf_core::bytecode::text::{assemble, write_module};
use smf_core::exec::{Level, Manager, ManagerOptions, NativeBackend, Unit};
use smf_core::format::ext::hash_index;
use smf_core::format::template::{Container, Template};
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Flags, Header, Layout, SectionKind};
use smf_core::ir::text::parse;
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleBytes};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator};
use smf_core::trap::call_catching;
use smf_core::vm::{NEVER, Tiers};
use smf_loader::generated_code::HostRegistry;
use smf_loader::jit::Announce;
use smf_loader::loader::Loader;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *const c_void) -> *const c_void;
    /// Source: gcc, `libgcc/unwind-dw2-fde.h`.
    fn _Unwind_Find_FDE(address: *const c_void, bases: *mut [usize; 3]) -> *const c_void;
}

/// Serialises the tests: memory of code that one of them frees may be used by another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The return addresses of the frames that the last call of [`observe_frames`] has seen.
    static FRAMES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn add_frame(context: *mut c_void, _: *mut c_void) -> c_int {
    // SAFETY: the context that the unwinder passes.
    let address = unsafe { _Unwind_GetIP(context) };
    FRAMES.with_borrow_mut(|frames| frames.push(address));
    0
}

/// A function of the host, called from generated code.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn observe_frames(number: i64) -> i64 {
    FRAMES.with_borrow_mut(Vec::clear);
    // SAFETY: the function takes the context of each frame and any argument.
    unsafe { _Unwind_Backtrace(add_frame, std::ptr::null_mut()) };
    std::hint::black_box(number) + 1
}

/// The start of the function that contains a return address, as the unwinder knows it.
fn enclosing(address: usize) -> usize {
    // SAFETY: any address is allowed.
    unsafe { _Unwind_FindEnclosingFunction(std::ptr::without_provenance(address - 1)) }.addr()
}

/// Whether an unwinder has a table for the instruction at an address.
fn has_table(address: usize) -> bool {
    let mut bases = [0; 3];
    let address = std::ptr::without_provenance(address);
    // SAFETY: any address is allowed, and the bases may be written to.
    !unsafe { _Unwind_Find_FDE(address, &raw mut bases) }.is_null()
}

/// Calls `run`, which must lead to [`observe_frames`]. Its frame is below those of generated code.
#[inline(never)]
fn through_here(run: &dyn Fn()) -> Vec<usize> {
    run();
    std::hint::black_box(());
    FRAMES.take()
}

/// Checks that the frames are in these functions, in this order, then in [`through_here`].
#[track_caller]
fn assert_frames(frames: &[usize], generated: &[Range<usize>]) {
    let mut rest = frames.iter();
    for range in generated {
        // A return address may be that behind the last instruction.
        let found = rest.any(|&address| range.contains(&(address - 1)));
        assert!(found, "no frame in {range:x?}: {frames:x?}");
    }
    let here = through_here as fn(&dyn Fn()) -> Vec<usize> as usize;
    assert!(rest.any(|&address| enclosing(address) == here), "{frames:x?} end too early");
}

fn call_at(address: u64, argument: i64) -> i64 {
    // SAFETY: the callers own the code of a function with one argument.
    unsafe { call_catching(address, &[argument]) }.unwrap()
}

const BYTECODE: &str = "function outer, 1, 1\nLOAD_PUSH 0\nCALL inner, 1\nRET 0\n\
    function inner, 1, 1\nLOAD_PUSH 0\nCALL_SFFI 3, 1\nCONST_I64_PUSH 1\nADD_I64\nRET 0\n";

fn with_bytecode(tiers: Tiers, use_it: impl FnOnce(&smf_core::loader::ModuleRef<'_>)) {
    let file = write_module(&assemble(BYTECODE).unwrap(), Flags(0)).unwrap();
    let mut host_functions = HostTable::new();
    host_functions.set(3, HostFunction::Args1(observe_frames)).unwrap();
    let options = LoaderOptions { host_functions, tiers, ..LoaderOptions::default() };
    let loader = Loader::new(options).unwrap();
    let bytes = ModuleBytes::new(file).unwrap();
    let handle = loader.map_module("made.smf", bytes).unwrap().link().unwrap();
    use_it(&loader.modules().get(handle).unwrap());
    loader.modules().unload(handle).unwrap();
}

/// The code of each compiled function, by index.
fn compiled(module: &smf_core::loader::ModuleRef<'_>) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    module.engine().unwrap().for_each_code(|_, address, size| all.push(address..address + size));
    all
}

#[cfg(all(feature = "source", feature = "pack"))]
#[test]
fn backtrace_passes_functions_of_a_compiled_module_until_it_is_unloaded() {
    use smf_core::source::{Mode, SourceFile, compile};
    use smf_loader::compile::{self as module, CompileOptions};
    let _alone = alone();
    let text = "extern fn observe_frames(n: i64) -> i64\n\n\
        fn inner(n: i64) -> i64:\n    if n > 0:\n        return inner(n - 1) + 1\n    return observe_frames(n)\n\n\
        fn outer(n: i64) -> i64:\n    return inner(n) * 2\n";
    let file = SourceFile { name: "made.spl", module: "made", text };
    let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    for level in 0..=3 {
        let options = CompileOptions { arch: host_arch(), level, debug_directory: None };
        let bytes = ModuleBytes::new(module::compile(&unit, &options).unwrap()).unwrap();
        let loader = Loader::new(LoaderOptions::default()).unwrap();
        let hook = observe_frames as extern "C" fn(i64) -> i64 as usize;
        loader.modules().define(b"observe_frames", hook as u64).unwrap();
        let handle = loader.map_module("made.smf", bytes).unwrap().link().unwrap();
        let [inner, outer] = [&b"inner"[..], b"outer"].map(|name| {
            usize::try_from(loader.modules().get(handle).unwrap().function(name).unwrap()).unwrap()
        });
        let frames = through_here(&|| assert_eq!(call_at(outer as u64, 3), 8));
        let here = through_here as fn(&dyn Fn()) -> Vec<usize> as usize;
        let mut rest = frames.iter().map(|address| enclosing(*address));
        for start in [inner, outer, here] {
            assert!(rest.any(|found| found == start), "level {level}: {frames:x?} lack {start:x}");
        }
        loader.modules().unload(handle).unwrap();
        assert!(!has_table(inner) && !has_table(outer), "level {level}");
    }
}

#[test]
fn backtrace_passes_compiled_bytecode_until_it_is_unloaded() {
    let _alone = alone();
    let mut places = Vec::new();
    with_bytecode(Tiers::Compile { threshold: 0 }, |module| {
        let entry = module.function(b"outer").unwrap();
        let by_address = through_here(&|| assert_eq!(call_at(entry, 40), 42));
        let code = compiled(module);
        let [outer, inner] = &code[..] else { panic!("{code:x?}") };
        let start = usize::try_from(entry).unwrap();
        // The trampoline is shorter than the distance to its first call.
        assert_frames(&by_address, &[inner.clone(), outer.clone(), start..start + 1024]);
        let by_engine = through_here(&|| {
            assert_eq!(module.engine().unwrap().call(0, &[40]), Ok(42));
        });
        assert_frames(&by_engine, &[inner.clone(), outer.clone()]);
        places = vec![outer.start, inner.start, start];
        assert!(places.iter().all(|&place| has_table(place)));
    });
    assert!(places.iter().all(|&place| !has_table(place)), "{places:x?}");
}

#[test]
fn backtrace_passes_an_interpreted_function_below_compiled_bytecode() {
    let _alone = alone();
    with_bytecode(Tiers::Compile { threshold: NEVER }, |module| {
        let engine = module.engine().unwrap();
        let (start, size) = engine.compile(0).unwrap();
        let frames = through_here(&|| assert_eq!(engine.call(0, &[40]), Ok(42)));
        assert_frames(&frames, &[start..start + size]);
    });
}

/// A module with templates, of which `outer` calls `inner`, and `inner` calls [`observe_frames`].
fn templates() -> Vec<u8> {
    let text = "template inner<T>(a: T) -> T\nlocation 3 in list.spl\ncall_host a = observe_frames(a)\n\
        location 4\nadd T a, a, 1\nreturn T a\nend\n\
        template outer<T>(a: T) -> T\ncall a = inner<T>(a)\nadd T a, a, 1\nreturn T a\nend\n";
    let parsed = parse(text).unwrap();
    let template = |index: usize| Template {
        name: parsed[index].name.as_bytes(),
        kind: None,
        params: 0,
        constraints: Default::default(),
        body: &parsed[index].body,
    };
    let list = [template(0), template(1)];
    let list = NewTemplates { container: Container::Counted, templates: &list }.to_vec().unwrap();
    let note = "possible |template, type_args, mangled_name|\n    outer, i64, outer$i64\n    \
                inner, i64, inner$i64\n";
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = [
        section(SectionKind::TemplateCode, b".templates", &list),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let header = Header { arch: host_arch(), ..Header::default() };
    let module =
        Module { layout: Layout::Packed, header, stub: &[], sections: &sections, symbols: &[] };
    module.to_vec().unwrap()
}

fn host(name: &[u8]) -> Option<u64> {
    (name == b"observe_frames").then_some(observe_frames as *const () as u64)
}

fn instantiator() -> JitInstantiator {
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
    let jit = jit.with_symbols(host).unwrap().with_observer(Announce).unwrap();
    jit.load_smf_bytes(b"list.smf", &templates()).unwrap();
    jit
}

#[test]
fn backtrace_passes_template_instances_until_they_are_freed() {
    let _alone = alone();
    let jit = instantiator();
    let outer = jit.try_jit_instantiate(b"outer$i64").unwrap();
    let inner = jit.instance(b"inner$i64").unwrap();
    let frames = through_here(&|| assert_eq!(call_at(outer.address(), 39), 42));
    assert_frames(&frames, &[inner.range(), outer.range()]);
    let places = [inner.range().start, outer.range().start];
    assert!(places.iter().all(|&place| has_table(place)));
    drop((inner, outer, jit));
    assert!(places.iter().all(|&place| !has_table(place)));
}

#[test]
fn backtrace_passes_instances_from_the_code_cache_of_a_file() {
    let _alone = alone();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated-list.smf");
    fs::write(&path, templates()).unwrap();
    for hits in [0, 2] {
        let config = JitConfig { keep_code: true, ..JitConfig::default() };
        // The first one has no observer, and stores the tables nevertheless.
        let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
        let jit = jit.with_symbols(host).unwrap();
        let jit = if hits == 0 { jit } else { jit.with_observer(Announce).unwrap() };
        jit.load_smf_metadata(path.as_os_str().as_encoded_bytes()).unwrap();
        let outer = jit.try_jit_instantiate(b"outer$i64").unwrap();
        let inner = jit.instance(b"inner$i64").unwrap();
        assert_eq!(jit.stats().cache_hit_count, hits);
        let frames = through_here(&|| assert_eq!(call_at(outer.address(), 39), 42));
        if hits != 0 {
            assert_frames(&frames, &[inner.range(), outer.range()]);
        }
    }
    fs::remove_file(path).unwrap();
}

/// Two functions with lines, of which `outer` calls `inner`, and `inner` calls [`observe_frames`].
const UNIT: &str = "function inner(a: i64) -> i64\nlocation 12 in sum.spl\nadd i64 a, a, 1\n\
    location 13\ncall_host a = observe_frames(a)\nlocation 14\nsub i64 a, a, 1\nreturn i64 a\nend\n\
    function outer(a: i64) -> i64\nlocation 21 in sum.spl\nlocal b: i64\ncall b = inner(a)\n\
    location 22\nadd i64 b, b, a\nreturn i64 b\nend\n";

fn manager(level: Level) -> Manager {
    let registry = TryArc::new(Box::new(HostRegistry) as _).unwrap();
    let backend = NativeBackend::default().with_registry(registry);
    Manager::new(Box::new(backend), ManagerOptions { level, ..ManagerOptions::default() })
}

fn call_unit(manager: &Manager, name: &[u8], argument: i64) -> i64 {
    // SAFETY: the functions of the unit access no memory.
    let result = unsafe { manager.call_by_name(name, &[argument.into()]) };
    result.unwrap().unwrap().as_integer().unwrap()
}

#[test]
fn backtrace_passes_functions_of_a_manager_until_they_are_replaced() {
    let _alone = alone();
    for level in [Level::None, Level::Speed] {
        let manager = manager(level);
        manager.compile(&Unit::from_text(UNIT).unwrap(), &host).unwrap();
        let through_stub = "function far(a: i64) -> i64\nlocal b: i64\ncall_host b = outer(a)\n\
            add i64 b, b, 1\nreturn i64 b\nend\n";
        manager.compile(&Unit::from_text(through_stub).unwrap(), &host).unwrap();
        let place = |name: &[u8]| {
            let start = manager.find(name).unwrap().address().unwrap();
            let start = usize::try_from(start).unwrap();
            assert!(has_table(start), "{}", String::from_utf8_lossy(name));
            start..start + 256
        };
        let [inner, outer, far] = [&b"inner"[..], b"outer", b"far"].map(place);
        let frames = through_here(&|| assert_eq!(call_unit(&manager, b"far", 20), 42));
        // At the level for speed, `inner` is part of `outer`.
        let first = if level == Level::None { inner.clone() } else { outer.clone() };
        assert_frames(&frames, &[first, outer.clone(), far][usize::from(level != Level::None)..]);
        // The second replacement frees the code of the first version.
        for _ in 0..2 {
            manager.compile(&Unit::from_text(UNIT).unwrap(), &host).unwrap();
        }
        let new = manager.find(b"inner").unwrap().address().unwrap();
        assert!(has_table(usize::try_from(new).unwrap()));
        assert!(!has_table(outer.start) || new == outer.start as u64, "{level:?}");
        let places = [inner.start, outer.start];
        drop(manager);
        assert!(places.iter().all(|&place| !has_table(place)), "{level:?}");
    }
}

/// Also run with tools by other tests.
#[test]
fn all_kinds_of_code_call_back() {
    let _alone = alone();
    with_bytecode(Tiers::Compile { threshold: 0 }, |module| {
        assert_eq!(call_at(module.function(b"outer").unwrap(), 40), 42);
        // All code is in memory at once: the perf map has one name for each address.
        let jit = instantiator();
        let outer = jit.try_jit_instantiate(b"outer$i64").unwrap();
        assert_eq!(call_at(outer.address(), 39), 42);
        let manager = manager(Level::None);
        manager.compile(&Unit::from_text(UNIT).unwrap(), &host).unwrap();
        assert_eq!(call_unit(&manager, b"outer", 21), 43 - 1 + 21 - 20);
    });
    after_all();
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn after_all() {
    std::hint::black_box(());
}

/// This test binary, to run a test alone.
fn run_alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--test-threads=1"]);
    command
}

fn again() -> Command {
    run_alone("all_kinds_of_code_call_back")
}

/// The output of gdb for these commands, with gdb's JIT interface; `None` without gdb.
fn gdb(commands: &[&str], program: &Command) -> Option<String> {
    if !has("gdb") {
        return None;
    }
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "generated-{}-{}.gdb",
        std::process::id(),
        commands.len()
    ));
    fs::write(&script, commands.join("\n") + "\n").unwrap();
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-x"]).arg(&script);
    gdb.arg("--args").arg(program.get_program()).args(program.get_args());
    let output = gdb.env("SMF_GDB", "1").env_remove("DEBUGINFOD_URLS").output().unwrap();
    fs::remove_file(script).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("hardware breakpoint") {
        lacks(&format!("machine with hardware breakpoints: {errors}"));
        return None;
    }
    assert!(output.status.success(), "{said}\n{errors}");
    Some(said)
}

#[test]
fn perf_map_has_the_names_of_all_kinds_of_code() {
    let mut child = again();
    let child = child.env("SMF_PERF_MAP", "1").stdout(std::process::Stdio::null());
    let mut child = child.spawn().unwrap();
    let path = format!("/tmp/perf-{}.map", child.id());
    assert!(child.wait().unwrap().success());
    let map = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    let names: Vec<&str> = map.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let bytecode =
        ["stubs", "outer:entry", "outer", "inner"].map(|name| format!("made.smf:{name}"));
    let others = ["inner$i64", "outer$i64", "inner", "outer"].map(str::to_owned);
    assert_eq!(names, [bytecode, others].concat());
}

/// The name of each function in a jitdump, with its lines and the name of their file.
fn functions_of(dump: &[u8]) -> Vec<(String, String, Vec<u32>)> {
    let u32_at = |at: usize| u32::from_ne_bytes(dump[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(dump[at..at + 8].try_into().unwrap());
    let text_at = |at: usize| {
        let text = dump[at..].split(|&byte| byte == 0).next().unwrap();
        (String::from_utf8_lossy(text).into_owned(), at + text.len() + 1)
    };
    let (mut found, mut lines) = (Vec::new(), (0, String::new(), Vec::new()));
    let mut at = 40;
    while at < dump.len() {
        match u32_at(at) {
            0 => {
                let (address, file, rows) = std::mem::take(&mut lines);
                assert!(rows.is_empty() || address == u64_at(at + 24), "lines of the function");
                found.push((text_at(at + 56).0, file, rows));
            }
            2 => {
                lines.0 = u64_at(at + 16);
                let mut row = at + 32;
                for _ in 0..u64_at(at + 24) {
                    lines.2.push(u32_at(row + 8));
                    let (file, end) = text_at(row + 16);
                    lines.1 = if file == "\u{fffd}" { lines.1 } else { file };
                    row = end;
                }
                assert_eq!((row - at).next_multiple_of(8), u32_at(at + 4) as usize);
            }
            kind => panic!("record {kind}"),
        }
        at += u32_at(at + 4) as usize;
    }
    found
}

#[test]
fn jitdump_has_the_names_and_lines_of_all_kinds_of_code() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated-jitdump");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    assert!(again().env("SMF_JITDUMP", &directory).output().unwrap().status.success());
    let dump = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    let functions = functions_of(&fs::read(dump).unwrap());
    let of = |name: &str| {
        let found = functions.iter().find(|function| function.0 == name);
        let (_, file, lines) = found.unwrap_or_else(|| panic!("no {name}: {functions:?}"));
        let mut lines = lines.clone();
        lines.dedup();
        (file.as_str(), lines)
    };
    assert_eq!(of("inner"), ("sum.spl", vec![12, 13, 14]));
    assert_eq!(of("outer"), ("sum.spl", vec![21, 22]));
    assert_eq!(of("inner$i64"), ("list.spl", vec![3, 4]));
    assert_eq!(of("outer$i64"), ("", vec![]));
    assert_eq!(of("made.smf:stubs"), ("", vec![]));
    // Offsets in the bytecode.
    let (file, lines) = of("made.smf:inner");
    assert_eq!(file, "made.smf:inner");
    assert!(lines.len() >= 3 && lines.is_sorted(), "{lines:?}");
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
fn gdb_shows_frames_and_lines_of_all_kinds_of_code() {
    let mut commands = vec!["break observe_frames", "break after_all", "run"];
    for kind in ["echo bytecode\\n", "echo template\\n", "echo manager\\n"] {
        commands.extend([kind, "backtrace", "frame 1", "continue"]);
    }
    commands.extend(["echo after\\n", "info functions made.smf", "info functions \\$i64"]);
    commands.extend([
        "python",
        "try: gdb.execute('info line sum.spl:13')",
        "except gdb.error: pass",
    ]);
    commands.push("end");
    let Some(said) = gdb(&commands, &again()) else { return };
    assert_in_order(
        &said,
        &[
            "bytecode\n",
            "#0 ",
            " observe_frames ",
            " made.smf:inner ",
            " at made.smf:inner:",
            " made.smf:outer ",
            " made.smf:outer:entry ",
            "all_kinds_of_code_call_back",
            "template\n",
            "#0 ",
            " observe_frames ",
            " inner$i64 () at list.spl:3\n",
            " outer$i64 ",
            "all_kinds_of_code_call_back",
            "manager\n",
            "#0 ",
            " observe_frames ",
            " inner () at sum.spl:13\n",
            " outer () at sum.spl:21\n",
            "all_kinds_of_code_call_back",
            "#1 ",
            " inner () at sum.spl:13\n",
            "after\n",
        ],
    );
    // Nothing is known any more.
    let (_, after) = said.rsplit_once("after\n").unwrap();
    for name in ["made.smf:", "list.spl", "sum.spl\" "] {
        assert!(!after.contains(name), "{name}: {said}");
    }
}

/// Also run under gdb by another test. `outer` is compiled, and `inner` interpreted.
#[test]
fn bytecode_enters_and_leaves_the_interpreter() {
    let _alone = alone();
    with_bytecode(Tiers::Compile { threshold: NEVER }, |module| {
        let engine = module.engine().unwrap();
        engine.compile(0).unwrap();
        let entry = module.function(b"outer").unwrap();
        for _ in 0..2 {
            assert_eq!(call_at(entry, 40), 42);
        }
        assert_eq!(engine.call(0, &[40]), Ok(42));
    });
}

/// Entry trampoline, entry stub, stand-in and interpreter stub, in both directions.
#[test]
fn every_instruction_between_rust_and_bytecode_has_its_caller() {
    let steps = "set $n = 0\nwhile $n < 90\nstepi\necho STEP\\n\nbacktrace\nset $n = $n + 1\nend";
    // Where the interpreter returns to.
    let back = "python\nframe = gdb.newest_frame()\nwhile frame.name() != 'made.smf:stubs':\n frame = \
                frame.older()\nframe.select()\nend\nthbreak *$pc\ncontinue";
    let commands = [
        "break observe_frames",
        "run",
        "hbreak *(long)&'made.smf:outer:entry'",
        "hbreak *(long)&'made.smf:stubs'",
        // By the address of the function.
        "continue",
        steps,
        "continue",
        back,
        steps,
        // By the engine.
        "continue",
        steps,
        "continue",
        back,
        steps,
        "delete",
        "continue",
    ];
    let program = run_alone("bytecode_enters_and_leaves_the_interpreter");
    let Some(said) = gdb(&commands, &program) else { return };
    let (_, steps) = said.split_once("STEP\n").unwrap();
    let all: Vec<&str> = steps.split("STEP\n").collect();
    for step in &all {
        let last = "bytecode_enters_and_leaves_the_interpreter";
        assert!(step.contains(last) && !step.contains("corrupt"), "{step}");
    }
    let at = |name: &str| all.iter().filter(|step| step.contains(name)).count();
    let first = |name: &str| {
        all.iter()
            .filter(|step| step.lines().any(|l| l.starts_with("#0") && l.contains(name)))
            .count()
    };
    let counts = ["made.smf:outer:entry", "made.smf:outer ", "made.smf:stubs"].map(first);
    assert!(all.len() == 360 && counts.iter().all(|&count| count > 5), "{counts:?}\n{said}");
    assert!(at("made.smf:stubs") > counts[2]);
}
