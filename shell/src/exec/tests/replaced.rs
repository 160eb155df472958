//! Functions that are replaced while they are compiled, looked up or called.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use smf_core::source::TRAP_ASSERT;

use super::*;

#[test]
fn host_that_resolves_a_symbol_may_compile_the_function_that_is_being_compiled() {
    static MANAGER: OnceLock<ExecManager> = OnceLock::new();
    extern "C" fn ten() -> i64 {
        10
    }
    let source = |message: &str, result: &str| {
        format!(
            "extern fn lazy() -> i64\nfn f(x):\n    assert x == 1, \"{message}\"\n    {result}\n"
        )
    };
    let resolver = move |name: &[u8]| {
        let inner = source("inner", "20");
        (name == b"lazy").then(|| {
            // In another thread, as a host with a thread that compiles.
            let compile = || MANAGER.get().unwrap().compile_source("inner.spl", &inner);
            std::thread::scope(|scope| scope.spawn(compile).join().unwrap()).unwrap();
            ten as *const () as usize as u64
        })
    };
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let options = ExecOptions { symbols, ..ExecOptions::default() };
    let manager = MANAGER.get_or_init(|| ExecManager::new(options).unwrap());
    manager.compile_source("outer.spl", &source("outer", "lazy()")).unwrap();
    assert_eq!(run(manager, "f", &[1]), Ok(10));
    assert!(run(manager, "f", &[0]).unwrap_err().ends_with(": outer"));
}

#[test]
fn code_of_a_function_and_its_assertions_are_of_one_compilation() {
    // A compilation of source ends long after its code is there, when a compilation of IR begins.
    let others: String = (0..8000).map(|number| format!("fn h{number}(): {number}\n")).collect();
    let source = format!("fn f(x):\n    assert x == 1, \"of the source\"\n    10\n{others}");
    let ir = format!(
        "function f(x: i64) -> i64\nlocation 2\ntrap_ne i64 x, 1, {TRAP_ASSERT}\nconst i64 x, 20\n\
         return i64 x\nend\n"
    );
    let unit = Unit::from_text(&ir).unwrap();
    for _ in 0..8 {
        let manager = manager(BackendChoice::Auto);
        manager.set_level(Level::None);
        std::thread::scope(|scope| {
            scope.spawn(|| manager.compile_source("a.spl", &source).unwrap());
            while manager.find(b"f").is_none() {
                std::hint::spin_loop();
            }
            manager.compile_unit(&unit).unwrap();
        });
        let is_of_source = run(&manager, "f", &[1]) == Ok(10);
        let error = run(&manager, "f", &[0]).unwrap_err();
        assert_eq!(error.ends_with(": of the source"), is_of_source, "{error}");
    }
}

#[test]
fn call_by_name_takes_a_function_and_what_the_source_says_of_it_from_one_compilation() {
    let sources =
        ["fn f() -> text: \"abc\"\n", "fn f() -> i64: 42\n", "fn f(x: text, y: i64) -> i64: y\n"];
    let manager = manager(BackendChoice::Auto);
    manager.compile_source("f.spl", sources[0]).unwrap();
    let is_done = AtomicBool::new(false);
    // More callers than processors, so that callers are interrupted between their steps.
    let call = || {
        while !is_done.load(Ordering::Relaxed) {
            let as_text = text(&manager, "f", &[]);
            let is_known = match &as_text {
                Ok(result) => result == "abc" || result == "42",
                Err(error) => error.contains("takes 2 arguments, and 0"),
            };
            let as_number = run(&manager, "f", &[]);
            let is_number = match &as_number {
                Ok(result) => *result == 42,
                Err(error) => error.contains("a text, so that"),
            };
            if !is_known || !is_number {
                return Err((as_text, as_number));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..6).map(|_| scope.spawn(call)).collect();
        let compile = |source: &&str| manager.compile_source("f.spl", source).map(drop);
        let compiled = sources.iter().cycle().take(3000).try_for_each(compile);
        // Before the check, so that the callers end where it fails.
        is_done.store(true, Ordering::Relaxed);
        compiled.unwrap();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Ok(()));
        }
    });
}

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn function_of_a_module_that_is_loaded_while_an_instance_is_made_replaces_the_instance() {
    static MANAGER: OnceLock<ExecManager> = OnceLock::new();
    static IS_LOADED: AtomicBool = AtomicBool::new(false);
    extern "C" fn host_add(a: i64, b: i64) -> i64 {
        a + b
    }
    extern "C" fn host_multiply(a: i64, b: i64) -> i64 {
        a * b
    }
    let resolver = |name: &[u8]| match name {
        b"host_add" => {
            if !IS_LOADED.swap(true, Ordering::Relaxed) {
                let module = importer("slow$i64", "host_multiply");
                let path = scratch("defines_slow.smf", &module);
                MANAGER.get().unwrap().compile_file(&path).unwrap();
            }
            Some(host_add as *const () as u64)
        }
        b"host_multiply" => Some(host_multiply as *const () as u64),
        _ => None,
    };
    let symbols = Box::new(resolver) as Box<dyn Resolve + Send + Sync>;
    let symbols = Some(TryArc::new(symbols).unwrap());
    let options = ExecOptions { symbols, ..ExecOptions::default() };
    let manager = MANAGER.get_or_init(|| ExecManager::new(options).unwrap());
    let library = module(
        "extern fn host_add(a: i64, b: i64) -> i64\nfn slow<T>(x: T, n: i64) -> i64: host_add(n, 7)\n",
    );
    manager.compile_file(&scratch("slow.smf", &library)).unwrap();
    let first = run(manager, "slow$i64", &[3, 5]);
    assert!(IS_LOADED.load(Ordering::Relaxed));
    assert_eq!(first, Ok(12));
    assert_eq!(run(manager, "slow$i64", &[3, 5]), Ok(15));
}
