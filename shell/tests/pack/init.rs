//! Constructors and destructors of modules in a host that loads, reloads and unloads them.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use smf_core::format::write::{Module, NewSection};
use smf_core::format::{Header, Layout, Smf};
use smf_core::link::{
    Host, HostServiceError, HostServices, Image, InitFunctions, InitToken, LinkError, host_arch,
};
use smf_core::loader::{LoadError, LoaderOptions, ModuleBytes, ModuleHandle, StateMigration};
use smf_core::trap::call;
use smf_loader::host_symbols::HostSymbols;
use smf_loader::loader::Loader;
use smf_loader::pack::{Input, Options, pack};

use crate::made::{c, without_relative};

/// The digits that code of modules has recorded, in order.
static RECORD: Mutex<Vec<i64>> = Mutex::new(Vec::new());

extern "C" fn record(digit: i64) {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner).push(digit);
}

/// Tests that use the record run one at a time, and begin with an empty record.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    recorded();
    guard
}

fn recorded() -> Vec<i64> {
    std::mem::take(&mut RECORD.lock().unwrap_or_else(PoisonError::into_inner))
}

fn loader(options: LoaderOptions) -> Loader {
    let loader = Loader::new(options).unwrap();
    let modules = loader.modules();
    modules.set_host_resolver(Some(Box::new(HostSymbols::of_process().unwrap()))).unwrap();
    modules.define(b"record", record as *const () as usize as u64).unwrap();
    loader
}

fn module(source: &str, reloadable: bool) -> ModuleBytes {
    let object = c(source, &["-O1"]);
    let options = Options { reloadable, emit_relocs: true, ..Options::default() };
    let packed = pack(&[Input { name: "a.o", data: &object }], &options).unwrap();
    ModuleBytes::new(packed.bytes).unwrap()
}

/// A module that records `base` + 1 when it is loaded, + 2 by an exit handler and + 3 by a destructor.
fn recorder(base: i64, reloadable: bool) -> ModuleBytes {
    module(
        &format!(
            "#include <stdlib.h>
            extern void record(long);
            long state = {base};
            static void handler(void) {{ record({base} + 2); }}
            __attribute__((constructor)) static void start(void) {{
                state += 1; record(state); atexit(handler);
            }}
            __attribute__((destructor)) static void end(void) {{ record({base} + 3); }}
            long get(void) {{ return state; }}
            long set(long value) {{ return state = value; }}"
        ),
        reloadable,
    )
}

fn get(loader: &Loader, module: ModuleHandle, name: &str, args: &[i64]) -> i64 {
    let module = loader.modules().get(module).unwrap();
    // SAFETY: the functions of these tests take integers, and the module is held.
    unsafe { call(module.function(name.as_bytes()).unwrap(), args) }.unwrap()
}

#[test]
fn handlers_and_destructors_run_at_unload() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    for round in 0..100 {
        let first = loader.modules().load(b"first", recorder(10, false)).unwrap();
        let second = loader.modules().load(b"second", recorder(20, false)).unwrap();
        assert_eq!(recorded(), [11, 21], "{round}");
        loader.modules().unload(first).unwrap();
        assert_eq!(recorded(), [12, 13]);
        loader.modules().unload(second).unwrap();
        assert_eq!(recorded(), [22, 23]);
    }
    let handles =
        [30, 40].map(|base| loader.modules().load(&[base], recorder(base.into(), false)).unwrap());
    loader.modules().unload_all(&handles).unwrap();
    assert_eq!(recorded(), [31, 41, 42, 43, 32, 33]);
}

/// As GNU ld links them: the names of sections without a number do not matter.
#[test]
fn constructors_without_priority_run_in_link_order() {
    let _guard = one_at_a_time();
    let array = "extern void record(long); static void run(void) { record(1); }
        __attribute__((section(\".init_array\"), used)) static void (*const entry)(void) = run;";
    let ctors =
        "extern void record(long); __attribute__((used)) static void run(void) { record(2); }
        __asm__(\".section .ctors,\\\"aw\\\",@progbits\\n.quad run\\n.text\");";
    let [array, ctors] = [array, ctors].map(|source| c(source, &["-O1"]));
    let inputs = [Input { name: "a.o", data: &array }, Input { name: "b.o", data: &ctors }];
    for (inputs, expected) in [(inputs, [1, 2]), ([inputs[1], inputs[0]], [2, 1])] {
        let packed = pack(&inputs, &Options { export_all: true, ..Options::default() }).unwrap();
        let loader = loader(LoaderOptions::default());
        loader.modules().load(b"module", ModuleBytes::new(packed.bytes).unwrap()).unwrap();
        assert_eq!(recorded(), expected);
    }
}

#[test]
fn dropped_loader_runs_destructors_in_reverse_order() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    for base in [50, 60] {
        loader.modules().load(&[base], recorder(base.into(), false)).unwrap();
    }
    drop(loader);
    assert_eq!(recorded(), [51, 61, 62, 63, 52, 53]);
}

#[test]
fn held_module_runs_its_destructors_later() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    let module = loader.modules().load(b"held", recorder(10, true)).unwrap();
    let old = loader.modules().get(module).unwrap();
    loader.modules().reload(module, recorder(20, true), StateMigration::Copy, &mut |_| {}).unwrap();
    assert_eq!(recorded(), [11, 21]);
    drop(old);
    loader.modules().collect();
    assert_eq!(recorded(), [12, 13]);
}

#[test]
fn reload_constructs_the_new_version_before_the_old_one_ends() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    let module = loader.modules().load(b"module", recorder(10, true)).unwrap();
    assert_eq!(get(&loader, module, "set", &[5]), 5);
    let reload = |base, migration| {
        let new = recorder(base, true);
        let migrated =
            loader.modules().reload(module, new, migration, &mut |_| {}).unwrap().migrated;
        (migrated.symbols, migrated.reset)
    };
    // Not migrated, because objects of constructors may own what a destructor releases.
    assert_eq!(reload(20, StateMigration::Copy), (0, 1));
    assert_eq!((get(&loader, module, "get", &[]), recorded()), (21, vec![11, 21, 12, 13]));
    assert_eq!(get(&loader, module, "set", &[7]), 7);
    assert_eq!(reload(30, StateMigration::CopyConstructed), (1, 0));
    assert_eq!((get(&loader, module, "get", &[]), recorded()), (7, vec![31, 22, 23]));

    // A new version that cannot replace the old one does not run.
    let other = module_without_get();
    let stub = loader.modules().resolve(b"get").unwrap().unwrap().address;
    assert_ne!(stub, 0);
    let error = loader.modules().reload(module, other, StateMigration::Reset, &mut |_| {});
    assert!(matches!(error, Err(LoadError::FunctionRemoved { .. })), "{error:?}");
    assert_eq!(recorded(), [41, 42]);
}

/// A version without the function `get`.
fn module_without_get() -> ModuleBytes {
    module(
        "extern void record(long);
        __attribute__((constructor)) static void start(void) { record(41); }
        __attribute__((destructor)) static void end(void) { record(42); }
        long other(void) { return 1; }",
        true,
    )
}

#[test]
fn thread_destructors_prevent_unloading() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    let source = "extern void record(long);
        extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
        extern void *__dso_handle __attribute__((visibility(\"hidden\")));
        static void at_end(void *value) { record((long)value); }
        long arm(long value) { return __cxa_thread_atexit_impl(at_end, (void *)value, &__dso_handle); }";
    let module = loader.modules().load(b"threads", module(source, false)).unwrap();
    let error = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert_eq!(get(&loader, module, "arm", &[77]), 0);
            loader.modules().unload(module).unwrap_err()
        });
        thread.join().unwrap()
    });
    assert!(matches!(error, LoadError::ThreadDestructors { .. }), "{error}");
    assert_eq!(recorded(), [77]);
    loader.modules().unload(module).unwrap();
}

/// A module whose code section holds an object. An array of constructors there is read-only data, as assemblers do not write it.
fn module_of_object(mut object: Vec<u8>) -> Vec<u8> {
    let word = |at: usize| usize::from_le_bytes(*object[at..].first_chunk().unwrap());
    let (headers, is_array) = (word(40), |at: &usize| object[*at..].starts_with(&[14, 0, 0, 0]));
    let arrays: Vec<_> =
        (headers..object.len()).step_by(64).map(|at| at + 4).filter(is_array).collect();
    for kind in arrays {
        (object[kind], object[kind + 4]) = (1, 2);
    }
    let code = NewSection { alignment: 16, ..NewSection::code(&object) };
    let header = Header { arch: host_arch(), ..Header::default() };
    let layout = Layout::Packed;
    Module { layout, header, stub: &[], sections: &[code], symbols: &[] }.to_vec().unwrap()
}

#[test]
fn options_refuse_modules_with_constructors() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions { refuse_constructors: true, ..LoaderOptions::default() });
    let error = loader.modules().load(b"refused", recorder(10, false)).unwrap_err();
    let expected = "refused has constructors, destructors, exit handlers or indirect functions, which the options refuse";
    assert_eq!((error.to_string(), recorded()), (expected.to_owned(), vec![]));
    loader.modules().load(b"plain", module("long go(void) { return 1; }", false)).unwrap();
    let handler = "#include <stdlib.h>
        extern void record(long);
        static void handler(void) { record(1); }
        long go(void) { return atexit(handler); }";
    // In the object of a module anyone may write what the packer would have called otherwise.
    let object = |source| ModuleBytes::new(module_of_object(c(source, &["-O1"]))).unwrap();
    let constructor = "extern void record(long);
        static void start(void) { record(2); }
        __asm__(\".section .init_array,\\\"a\\\",@progbits; .balign 8; .quad start; .text\");
        long go(void) { return (long)start; }";
    let resolver = "extern void record(long);
        extern char slots __asm__(\"__smf_requires_ifunc\");
        static void *resolver(void) { record(3); return resolver; }
        __asm__(\".section .igot,\\\"aw\\\"; .balign 8; .quad resolver; .text\");
        long go(void) { return (long)&slots + (long)resolver; }";
    for module in [module(handler, false), object(constructor), object(resolver)] {
        let error = loader.modules().load(b"refused", module).unwrap_err();
        assert_eq!((error.to_string(), recorded()), (expected.to_owned(), vec![]));
    }
}

/// The loader of the test below, and its module.
static NESTED: OnceLock<(Loader, ModuleHandle)> = OnceLock::new();

/// Replaces the module once, so that a reload that is constructing its new version comes too late.
extern "C" fn reload_once() {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    if let Some((loader, module)) = NESTED.get().filter(|_| !IS_DONE.swap(true, Relaxed)) {
        let (new, migration) = (nested(2), StateMigration::Reset);
        loader.modules().reload(*module, new, migration, &mut |_| {}).unwrap();
    }
}

extern "C" fn look_up() {
    if let Some((loader, module)) = NESTED.get() {
        record(i64::from(loader.modules().stable_export(*module, b"get").is_ok()));
    }
}

fn nested(number: i64) -> ModuleBytes {
    let source = "extern void reload_once(void), look_up(void);
        __attribute__((constructor)) static void start(void) { reload_once(); }
        __attribute__((destructor)) static void end(void) { look_up(); }";
    module(&format!("{source} long get(void) {{ return {number}; }}"), true)
}

#[test]
fn destructors_of_a_version_that_comes_too_late_use_the_loader() {
    let _one = one_at_a_time();
    let loader = loader(LoaderOptions::default());
    loader.modules().define(b"reload_once", reload_once as *const () as usize as u64).unwrap();
    loader.modules().define(b"look_up", look_up as *const () as usize as u64).unwrap();
    let module = loader.modules().load(b"nested", nested(1)).unwrap();
    let (loader, module) = NESTED.get_or_init(|| (loader, module));
    let error = loader
        .modules()
        .reload(*module, nested(3), StateMigration::Reset, &mut |_| {})
        .unwrap_err();
    assert!(matches!(error, LoadError::Changed { .. }), "{error}");
    // Of the replaced version and of the one that came too late.
    assert_eq!((get(loader, *module, "get", &[]), recorded()), (2, vec![1, 1]));
}

/// The core alone does not run constructors.
#[test]
fn loader_without_host_services_refuses_constructors_by_name() {
    let loader = smf_core::loader::ModuleLoader::new(LoaderOptions::default()).unwrap();
    loader.define(b"record", record as *const () as usize as u64).unwrap();
    loader.define(b"__cxa_atexit", 16).unwrap();
    let error = loader.load(b"module", recorder(10, false)).unwrap_err().to_string();
    assert_eq!(error, "module: the module needs constructors, which this host does not offer");
}

#[test]
fn damaged_array_is_refused_with_section_and_offset() {
    let _one = one_at_a_time();
    let relative = recorder(10, false);
    let plain = without_relative(relative.as_slice());
    let smf = Smf::parse(&plain).unwrap();
    let array = smf.sections().named(b".init_array").unwrap();
    let table = smf.reloc_tables().map(Result::unwrap).find(|t| t.target.index == array.index);
    let table = table.unwrap().section;
    let loader = loader(LoaderOptions::default());
    let load = |bytes: &[u8], at: u64, value: u8| {
        let mut damaged = bytes.to_vec();
        damaged[usize::try_from(at).unwrap()] = value;
        loader.modules().load(b"damaged", ModuleBytes::new(damaged).unwrap()).map(|handle| {
            loader.modules().unload(handle).unwrap();
        })
    };
    // The addend of the relocation, or the address that the file holds, leads behind the code.
    for (bytes, at) in [(&plain[..], table.offset + 18), (relative.as_slice(), array.offset + 2)] {
        let error = load(bytes, at, 0x7f).unwrap_err().to_string();
        let start = format!("damaged: section {}: the address 0x", array.index);
        assert!(error.starts_with(&start), "{error}");
        assert!(error.ends_with(" at offset 0x0 is outside the code of the module"), "{error}");
    }
    assert!(recorded().is_empty());
}

/// Grants everything and runs nothing.
struct Accepting;

impl HostServices for Accepting {
    fn register_unwinding(&self, _: usize, _: usize) -> Result<usize, HostServiceError> {
        Ok(0)
    }

    fn prepare_init(&self, functions: &InitFunctions<'_>) -> Result<InitToken, HostServiceError> {
        assert!(functions.constructors.len() <= 2 && functions.destructors.len() <= 1);
        Ok(InitToken(1))
    }
}

#[test]
fn every_damaged_byte_of_arrays_and_unwinding_tables_is_refused_or_harmless() {
    let module = recorder(10, false);
    let relative = refused_damage(module.as_slice());
    let plain = without_relative(module.as_slice());
    let plain = refused_damage(&plain);
    // Loaders do not read relocations that the list replaces.
    assert!(!relative.contains_key(&b".rela.init_array"[..]), "{relative:?}");
    for (refused, names) in [
        (relative, [&b".eh_frame"[..], b".init_array", b".fini_array", b".smf.image"]),
        (plain, [b".eh_frame", b".rela.init_array", b".rela.fini_array", b".smf.image"]),
    ] {
        let count = |name: &[u8]| refused.get(name).map_or(0, |(count, _)| *count);
        for name in names {
            assert!(count(name) > 10, "{refused:?}");
        }
    }
}

/// Damages every byte of the arrays, of their relocations, of the unwinding tables and of the prelink note. Returns how
/// often each section was refused, with an error.
fn refused_damage(bytes: &[u8]) -> BTreeMap<&[u8], (u32, LinkError)> {
    let smf = Smf::parse(bytes).unwrap();
    let names: [&[u8]; 6] = [
        b".init_array",
        b".fini_array",
        b".eh_frame",
        b".rela.init_array",
        b".rela.fini_array",
        b".smf.image",
    ];
    let mut refused = BTreeMap::new();
    for section in smf.sections().iter().filter(|section| names.contains(&section.name)) {
        let start = usize::try_from(section.offset).unwrap();
        for at in start..start + section.data.len() {
            for value in [0, 1, 4, 0x10, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] = value;
                let Ok(smf) = Smf::parse(&damaged) else { continue };
                let linked = Image::map(&smf)
                    .and_then(|image| image.link_with(&|_: &[u8]| Some(16), Host::new(&Accepting)));
                match linked {
                    Ok(module) => {
                        let code: Vec<_> = module.code().collect();
                        let functions = [module.constructors(), module.destructors()].concat();
                        let inside = |address: &u64| {
                            let address = usize::try_from(*address).unwrap();
                            code.iter().any(|code| code.contains(&address))
                        };
                        assert!(functions.iter().all(inside));
                    }
                    Err(error) => refused.entry(section.name).or_insert((0, error)).0 += 1,
                }
            }
        }
    }
    refused
}
