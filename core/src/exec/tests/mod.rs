//! Units compiled, called, replaced and refused.
#![allow(unsafe_code)]
#![cfg(target_arch = "x86_64")]

#[cfg(feature = "source")]
mod source;

use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::sync::Barrier;
use std::time::Duration;
use std::vec::Vec;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::ir::Scalar;
use crate::link::NoImports;
use crate::memory::code_alloc::{CodeMemory, CodeMemoryOptions};

fn manager() -> Manager {
    Manager::new(Box::new(NativeBackend::default()), ManagerOptions::default())
}

fn compile(manager: &Manager, text: &str) -> Result<(), ManagerError> {
    manager.compile(&Unit::from_text(text)?, &NoImports)
}

fn call(manager: &Manager, name: &str, arguments: &[Value]) -> Result<Option<Value>, String> {
    // SAFETY: the functions of these tests access no memory.
    let result = unsafe { manager.call_by_name(name.as_bytes(), arguments) };
    result.map_err(|error| error.to_string())
}

fn integer(manager: &Manager, name: &str, arguments: &[i64]) -> i64 {
    let arguments: Vec<Value> = arguments.iter().copied().map(Value::from).collect();
    call(manager, name, &arguments).unwrap().unwrap().as_integer().unwrap()
}

const ADD: &str = "function add(a: i64, b: i64) -> i64\nadd i64 a, a, b\nreturn i64 a\nend\n";

/// A back end that takes half a second for a unit.
struct Slow(NativeBackend);

impl Backend for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn compile(
        &self,
        unit: &Unit,
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
    ) -> Result<CompiledUnit, BackendError> {
        std::thread::sleep(Duration::from_millis(500));
        self.0.compile(unit, level, symbol)
    }
}

#[test]
#[cfg_attr(miri, ignore = "measures time")]
fn thread_that_waits_for_a_compilation_leaves_the_core_to_it() {
    let slow = Box::new(Slow(NativeBackend::default()));
    let manager = Manager::new(slow, ManagerOptions::default());
    let both = Barrier::new(2);
    let compile_timed = || {
        let busy = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        both.wait();
        let start = busy();
        compile(&manager, ADD).unwrap();
        busy() - start
    };
    let times = std::thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(compile_timed)).map(|thread| thread.join().unwrap())
    });
    assert!(times.iter().all(|time| *time < Duration::from_millis(250)), "{times:?}");
}

/// A function without parameters that returns a number.
fn constant(name: &str, number: i64) -> String {
    format!("function {name}() -> i64\nlocal a: i64\nconst i64 a, {number}\nreturn i64 a\nend\n")
}

/// A function that returns what the function `callee` of another unit returns, plus 1.
fn calls(name: &str, callee: &str) -> String {
    format!(
        "function {name}() -> i64\nlocal a: i64\ncall_host a = {callee}()\nadd i64 a, a, 1\n\
         return i64 a\nend\n"
    )
}

#[test]
fn functions_of_a_unit_are_called_by_name_and_by_handle_at_every_level() {
    for number in 0..4 {
        let manager = manager();
        manager.set_level(Level::from_number(number).unwrap());
        let twice =
            "function twice(a: i64) -> i64\nlocal b: i64\ncall b = add(a, a)\nreturn i64 b\nend\n";
        compile(&manager, &format!("{ADD}{twice}")).unwrap();
        assert_eq!(integer(&manager, "twice", &[21]), 42);
        let add = manager.find(b"add").unwrap();
        assert_eq!((add.params(), add.result()), (&[Scalar::I64; 2][..], Some(Scalar::I64)));
        // SAFETY: the function accesses no memory.
        let sum = unsafe { manager.call(&add, &[40i64.into(), 2i64.into()]) };
        assert_eq!(sum, Ok(Some(42i64.into())));
        let names: Vec<String> =
            manager.functions().unwrap().iter().map(|f| f.name().to_string()).collect();
        assert_eq!(names, ["add", "twice"]);
    }
}

#[test]
fn later_units_call_earlier_ones_and_reach_replacements() {
    let manager = manager();
    compile(&manager, &constant("f", 1)).unwrap();
    compile(&manager, &calls("g", "f")).unwrap();
    let f = manager.find(b"f").unwrap();
    assert_eq!((integer(&manager, "f", &[]), integer(&manager, "g", &[])), (1, 2));
    compile(&manager, &constant("f", 40)).unwrap();
    assert_eq!((integer(&manager, "f", &[]), integer(&manager, "g", &[])), (40, 41));
    // SAFETY: the function accesses no memory.
    assert_eq!(unsafe { manager.call(&f, &[]) }, Ok(Some(40i64.into())));
    // The first version is freed by a compilation during which no call is active.
    assert!(manager.statistics().retired_bytes > 0);
    compile(&manager, &constant("h", 0)).unwrap();
    let now = manager.statistics();
    assert_eq!((now.functions, now.units, now.retired_bytes), (3, 3, 0));
}

#[test]
fn signature_of_a_function_with_callers_cannot_change() {
    let manager = manager();
    compile(&manager, &constant("f", 1)).unwrap();
    let old = manager.find(b"f").unwrap();
    let unary = "function f(a: i64) -> i64\nreturn i64 a\nend\n";
    compile(&manager, unary).unwrap();
    assert_eq!(integer(&manager, "f", &[7]), 7);
    // SAFETY: the call is refused.
    let stale = unsafe { manager.call(&old, &[]) }.unwrap_err();
    assert!(matches!(stale, ManagerError::Stale(_)), "{stale}");
    compile(&manager, "function g(a: i64) -> i64\ncall_host a = f(a)\nreturn i64 a\nend\n")
        .unwrap();
    let error = compile(&manager, &constant("f", 2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "function `f` has callers, so that it cannot be replaced by one of another signature"
    );
    assert_eq!(integer(&manager, "g", &[9]), 9);
}

#[test]
fn signature_changes_where_no_caller_remains() {
    let manager = manager();
    let unary = |name: &str, body: &str| {
        format!("function {name}(a: i64) -> i64\n{body}return i64 a\nend\n")
    };
    let calls = |callee: &str| format!("call_host a = {callee}(a)\n");
    compile(&manager, &unary("f", "")).unwrap();
    compile(&manager, &unary("g", &calls("f"))).unwrap();
    // The caller is replaced by a function that does not call it.
    compile(&manager, &unary("g", "")).unwrap();
    compile(&manager, &constant("f", 2)).unwrap();
    assert_eq!(integer(&manager, "f", &[]), 2);
    // `inner` is called by `outer`, also when a new version of it is current.
    compile(&manager, &unary("f", "")).unwrap();
    let unit = [unary("inner", &calls("f")), unary("outer", "call a = inner(a)\n")].concat();
    compile(&manager, &unit).unwrap();
    compile(&manager, &unary("inner", "")).unwrap();
    compile(&manager, &constant("f", 3)).unwrap_err();
    assert_eq!(integer(&manager, "outer", &[9]), 9);
    // With its only caller, in one compilation.
    let unit = [constant("f", 4), unary("outer", "")].concat();
    compile(&manager, &unit).unwrap();
    assert_eq!((integer(&manager, "f", &[]), integer(&manager, "outer", &[5])), (4, 5));
}

#[test]
fn unit_cannot_replace_its_callee_by_a_function_of_another_signature() {
    let manager = manager();
    compile(&manager, &constant("f", 1)).unwrap();
    let unit = [calls("g", "f"), "function f(a: i64) -> i64\nreturn i64 a\nend\n".into()].concat();
    let error = compile(&manager, &unit).unwrap_err();
    assert!(matches!(error, ManagerError::Signature(_)), "{error}");
    // By one of the same signature, which it then calls.
    compile(&manager, &[calls("g", "f"), constant("f", 40)].concat()).unwrap();
    assert_eq!(integer(&manager, "g", &[]), 41);
}

/// The manager that `change` uses, and what it compiles.
static CHANGED: std::sync::Mutex<Option<std::sync::Arc<Manager>>> = std::sync::Mutex::new(None);

extern "C" fn change() -> i64 {
    let manager = CHANGED.lock().unwrap().clone().unwrap();
    compile(&manager, "function caller() -> i64\nlocal a: i64\nreturn i64 a\nend\n").unwrap();
    compile(&manager, "function f() -> f64\nlocal a: f64\nreturn f64 a\nend\n").unwrap();
    // Not freed during the call.
    compile(&manager, &constant("other", 1)).unwrap();
    1
}

#[test]
fn call_in_progress_reaches_the_callee_that_was_replaced() {
    let manager = std::sync::Arc::new(manager());
    *CHANGED.lock().unwrap() = Some(manager.clone());
    compile(&manager, &constant("f", 40)).unwrap();
    let text = "function caller() -> i64\nlocal a: i64\nlocal b: i64\ncall_host a = change()\n\
                call_host b = f()\nadd i64 a, a, b\nreturn i64 a\nend\n";
    let host = |name: &[u8]| (name == b"change").then_some(change as *const () as u64);
    manager.compile(&Unit::from_text(text).unwrap(), &host).unwrap();
    assert_eq!(integer(&manager, "caller", &[]), 41);
    assert_eq!(integer(&manager, "caller", &[]), 0);
    CHANGED.lock().unwrap().take();
}

#[test]
fn values_have_the_types_of_the_function() {
    let manager = manager();
    let mixed = "function mixed(a: i8, b: f32, c: bool, d: u16, e: f64) -> f64\n\
        local x: f64\nlocal y: f64\nconvert f64 x, i8 a\nconvert f64 y, f32 b\nadd f64 x, x, y\n\
        convert f64 y, bool c\nadd f64 x, x, y\nconvert f64 y, u16 d\nadd f64 x, x, y\nadd f64 x, x, e\nreturn f64 x\nend\n";
    compile(&manager, mixed).unwrap();
    let arguments = [(-3i8).into(), 0.5f32.into(), true.into(), 65535u16.into(), 0.25f64.into()];
    let result = call(&manager, "mixed", &arguments).unwrap().unwrap();
    assert_eq!(result.as_float(), Some(65533.75));
    let wrong = call(&manager, "mixed", &[1i64.into(); 5]).unwrap_err();
    assert_eq!(wrong, "argument 1 of function `mixed` must be of type i8");
    let few = call(&manager, "mixed", &[]).unwrap_err();
    assert_eq!(few, "function `mixed` takes 5 arguments, and 0 are given");
    // More arguments than registers.
    let names: Vec<String> = (0..20).map(|index| format!("p{index}: i64")).collect();
    let sums: String = (1..20).map(|index| format!("add i64 p0, p0, p{index}\n")).collect();
    let many = format!("function many({}) -> i64\n{sums}return i64 p0\nend\n", names.join(", "));
    compile(&manager, &many).unwrap();
    assert_eq!(integer(&manager, "many", &(1..=20).collect::<Vec<i64>>()), 210);
}

#[test]
fn integers_fit_the_type_or_are_refused() {
    assert_eq!(Value::from_integer(Scalar::I8, -128).unwrap().bits(), 0x80);
    assert_eq!(Value::from_integer(Scalar::I8, 128), None);
    assert_eq!(Value::from_integer(Scalar::U8, -1), None);
    assert_eq!(Value::from_integer(Scalar::U64, -1).unwrap().as_integer(), Some(-1));
    assert_eq!(Value::from_integer(Scalar::Bool, 2), None);
    assert_eq!(Value::from_integer(Scalar::F64, 1), None);
    assert_eq!(Value::from(-5i16).as_integer(), Some(-5));
    assert_eq!(
        (Value::from(1.5f32).to_string(), Value::from(u64::MAX).to_string()),
        ("1.5".into(), u64::MAX.to_string())
    );
}

#[test]
fn trap_names_code_place_and_function() {
    let manager = manager();
    let inner = "function inner(a: i64) -> i64\nlocal b: i64\nlocation 17\nconst i64 b, 5\ndiv i64 a, b, a\nreturn i64 a\nend\n";
    let outer = "function outer(a: i64) -> i64\ncall a = inner(a)\ntrap_gt i64 a, 2, 77\nreturn i64 a\nend\n";
    manager.set_level(Level::None);
    compile(&manager, &format!("{inner}{outer}")).unwrap();
    assert_eq!(integer(&manager, "outer", &[5]), 1);
    assert_eq!(
        call(&manager, "outer", &[0i64.into()]).unwrap_err(),
        "division by zero, at 17 in function `inner`"
    );
    let trap = call(&manager, "outer", &[1i64.into()]).unwrap_err();
    assert!(trap.starts_with("trap 77, at ") && trap.ends_with("in function `outer`"), "{trap}");
    // A trap ends the call, so that replaced code can be freed.
    compile(&manager, inner).unwrap();
    compile(&manager, &constant("k", 1)).unwrap();
    assert_eq!(manager.statistics().units, 3);
}

#[test]
fn host_symbols_are_resolved_and_missing_ones_named() {
    extern "C" fn triple(a: i64) -> i64 {
        a * 3
    }
    let host = |name: &[u8]| (name == b"triple").then_some(triple as *const () as usize as u64);
    let manager = manager();
    let text = |callee| {
        format!("function t(a: i64) -> i64\ncall_host a = {callee}(a)\nreturn i64 a\nend\n")
    };
    let compile = |callee| manager.compile(&Unit::from_text(&text(callee))?, &host);
    compile("triple").unwrap();
    assert_eq!(integer(&manager, "t", &[14]), 42);
    let error = compile("absent").unwrap_err();
    assert_eq!(error.to_string(), "function `t` calls `absent`, which is undefined");
    // Nothing has changed.
    assert_eq!(integer(&manager, "t", &[1]), 3);
}

#[test]
fn host_that_resolves_a_callee_may_compile_in_the_same_manager() {
    extern "C" fn seven() -> i64 {
        7
    }
    let manager = manager();
    let host = |name: &[u8]| {
        compile(&manager, &constant("helper", 30)).unwrap();
        (name == b"lazy").then_some(seven as *const () as usize as u64)
    };
    let text = "function f() -> i64\nlocal a: i64\nlocal b: i64\ncall_host a = lazy()\n\
                call_host b = helper()\nadd i64 a, a, b\nreturn i64 a\nend\n";
    manager.compile(&Unit::from_text(text).unwrap(), &host).unwrap();
    assert_eq!(integer(&manager, "f", &[]), 37);
}

#[test]
fn units_that_are_none_are_refused() {
    let refused = |text: &str| Unit::from_text(text).unwrap_err().to_string();
    assert_eq!(refused(&format!("{ADD}{ADD}")), "line 5: the name is already in use");
    assert_eq!(
        refused("template t<T>(a: T) -> T\nreturn T a\nend\n"),
        "function `t` has type parameters"
    );
    assert_eq!(
        refused("function f() -> i64\nend\n"),
        "line 1: at 0x28: control runs off the end of the function"
    );
    let add = Unit::from_text(ADD).unwrap().functions().first().unwrap().clone();
    let twice = Unit::new(Vec::from([add.clone(), add])).unwrap_err();
    assert_eq!(twice.to_string(), "two functions are called `add`");
    let unit = Unit::from_text(&format!("{ADD}{}", constant("k", 3))).unwrap();
    let bytes = unit.to_binary().unwrap();
    let again = Unit::from_binary(&bytes).unwrap();
    assert_eq!(again.to_binary().unwrap(), bytes);
    for length in 0..bytes.len() {
        assert!(Unit::from_binary(&bytes[..length]).is_err(), "{length} bytes");
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert_eq!(Unit::from_binary(&longer).unwrap_err(), UnitError::Binary { offset: bytes.len() });
    let manager = manager();
    manager.compile(&again, &NoImports).unwrap();
    assert_eq!(integer(&manager, "k", &[]), 3);
}

#[test]
fn code_is_bounded_and_a_refused_unit_changes_nothing() {
    let options = ManagerOptions { max_code_bytes: 400, ..ManagerOptions::default() };
    let manager = Manager::new(Box::new(NativeBackend::default()), options);
    let mut compiled = 0;
    let error = loop {
        match compile(&manager, &constant(&format!("f{compiled}"), compiled)) {
            Ok(()) => compiled += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ManagerError::CodeLimit { limit: 400, .. }), "{error}");
    assert_eq!(manager.statistics().functions, compiled as usize);
    assert!(call(&manager, &format!("f{compiled}"), &[]).is_err());
    // The code of a function that is replaced is freed.
    let options = ManagerOptions { max_code_bytes: 400, ..ManagerOptions::default() };
    let manager = Manager::new(Box::new(NativeBackend::default()), options);
    for number in 0..1000 {
        compile(&manager, &constant("f", number)).unwrap();
        assert_eq!(integer(&manager, "f", &[]), number);
    }
}

#[test]
fn stubs_count_as_code_and_are_dropped_with_a_refused_unit() {
    let options = ManagerOptions { max_code_bytes: 4000, ..ManagerOptions::default() };
    let memory = CodeMemory::new(CodeMemoryOptions::default()).unwrap();
    let manager = Manager::new(Box::new(NativeBackend::new(memory.clone())), options);
    let names = || (0..200).map(|number| format!("f{number}"));
    let functions: String = names().map(|name| constant(&name, 1)).collect();
    compile(&manager, &functions).unwrap();
    let before = (manager.statistics(), memory.statistics().live_blocks);
    let caller = |names: &[String]| {
        let calls: String = names.iter().map(|name| format!("call_host a = {name}()\n")).collect();
        format!("function g() -> i64\nlocal a: i64\n{calls}return i64 a\nend\n")
    };
    let undefined = caller(&["f0".into(), "f1".into(), "absent".into()]);
    compile(&manager, &undefined).unwrap_err();
    assert_eq!((manager.statistics(), memory.statistics().live_blocks), before);
    let all: Vec<String> = names().collect();
    let error = compile(&manager, &caller(&all)).unwrap_err();
    assert!(matches!(error, ManagerError::CodeLimit { limit: 4000, .. }), "{error}");
    assert_eq!((manager.statistics(), memory.statistics().live_blocks), before);
    compile(&manager, &caller(&all[..2])).unwrap();
    // The unit and two stubs, in the memory of the manager.
    assert_eq!(memory.statistics().live_blocks, before.1 + 3);
    let with_stubs = manager.statistics().code_bytes;
    compile(&manager, &calls("h", "f0")).unwrap();
    compile(&manager, &constant("h", 1)).unwrap();
    // Stubs are bytes that a replacement of their function by one of another signature frees.
    compile(&manager, &constant("g", 1)).unwrap();
    compile(&manager, "function f0(a: i64) -> i64\nreturn i64 a\nend\n").unwrap();
    assert!(manager.statistics().retired_bytes > 0);
    compile(&manager, &constant("i", 1)).unwrap();
    assert_eq!((manager.statistics().retired_bytes, memory.statistics().live_blocks), (0, 6));
    assert!(manager.statistics().code_bytes < with_stubs + 200);
}

#[test]
fn function_is_called_through_a_long_chain_of_functions_of_a_unit() {
    let manager = manager();
    manager.set_level(Level::None);
    compile(&manager, &constant("f", 1)).unwrap();
    // Each function calls the one before.
    let count = 400;
    let link = |number: usize| match number {
        0 => calls("g0", "f"),
        _ => calls(&format!("g{number}"), &format!("g{}", number - 1)).replace("call_host", "call"),
    };
    let chain: Vec<String> = (0..count).map(link).collect();
    let functions = |numbers: std::ops::Range<usize>| -> String {
        numbers.map(|number| constant(&format!("g{number}"), 1)).collect()
    };
    for is_reversed in [false, true] {
        let mut chain = chain.clone();
        if is_reversed {
            chain.reverse();
        }
        compile(&manager, &chain.concat()).unwrap();
        // The last function alone is current, and reaches `f`.
        compile(&manager, &functions(0..count - 1)).unwrap();
        let error = compile(&manager, "function f(a: i64) -> i64\nreturn i64 a\nend\n");
        assert!(matches!(error, Err(ManagerError::Signature(_))), "{error:?}");
        assert_eq!(integer(&manager, &format!("g{}", count - 1), &[]), 1 + count as i64);
    }
    compile(&manager, &functions(count - 1..count)).unwrap();
    compile(&manager, "function f(a: i64) -> i64\nreturn i64 a\nend\n").unwrap();
}

#[test]
fn looked_up_version_and_its_record_outlive_a_replacement_by_other_types() {
    let manager = manager();
    let compile = |text: &str, record: &'static str| {
        let mut unit = Unit::from_text(text).unwrap();
        unit.set_record(0, FunctionRecord::new(record).unwrap());
        manager.compile(&unit, &NoImports).unwrap();
    };
    let record = |version: &FunctionVersion<'_>| *version.record().unwrap().get::<&str>().unwrap();
    compile(&constant("f", 7), "first");
    let first = manager.current(b"f").unwrap();
    // Of other types, of the same ones, and with other units between them, whose compilation frees code.
    compile("function f(a: i64) -> i64\nreturn i64 a\nend\n", "second");
    let second = manager.current(b"f").unwrap();
    compile("function f(a: i64) -> i64\nadd i64 a, a, a\nreturn i64 a\nend\n", "third");
    compile(&constant("x", 1), "x");
    let third = manager.current(b"f").unwrap();
    for (version, arguments, expected, name) in [
        (&first, &[][..], 7_i64, "first"),
        (&second, &[5_i64.into()], 5, "second"),
        (&third, &[5_i64.into()], 10, "third"),
    ] {
        // SAFETY: the functions of these tests access no memory.
        let result = unsafe { version.call(arguments) };
        assert_eq!((result, record(version)), (Ok(Some(expected.into())), name));
        // SAFETY: as above.
        let error = unsafe { version.call(&[1_i64.into(), 2_i64.into()]) };
        assert!(matches!(error, Err(ManagerError::ArgumentCount { given: 2, .. })), "{error:?}");
    }
    assert_eq!(first.function().address(), None);
    assert_eq!(manager.statistics().units, 4);
    drop((first, second, third));
    compile(&constant("x", 2), "x");
    assert_eq!(manager.statistics().units, 3);
    assert!(manager.current(b"y").is_none());
}

#[test]
fn trap_has_the_record_of_the_version_that_trapped() {
    let manager = manager();
    let text = "function f(a: i64) -> i64\ndiv i64 a, a, a\nreturn i64 a\nend\n";
    let compile = |record: Option<&'static str>| {
        let mut unit = Unit::from_text(text).unwrap();
        if let Some(record) = record {
            unit.set_record(0, FunctionRecord::new(record).unwrap());
        }
        manager.compile(&unit, &NoImports).unwrap();
    };
    compile(Some("old"));
    let old = manager.current(b"f").unwrap();
    compile(None);
    let new = manager.current(b"f").unwrap();
    for (version, expected) in [(&old, Some("old")), (&new, None)] {
        // SAFETY: the functions of these tests access no memory.
        let Err(ManagerError::Trap(trap)) = (unsafe { version.call(&[0_i64.into()]) }) else {
            panic!()
        };
        assert_eq!(trap.function.unwrap().as_bytes(), b"f");
        assert_eq!(trap.record.as_ref().and_then(FunctionRecord::get::<&str>).copied(), expected);
        assert_eq!(trap.record.as_ref(), version.record());
    }
}

#[test]
fn threads_call_while_functions_are_replaced() {
    let manager = manager();
    compile(&manager, &constant("f", 1)).unwrap();
    compile(&manager, &calls("g", "f")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let value = integer(&manager, "g", &[]);
                    assert!((2..=201).contains(&value), "{value}");
                }
            });
        }
        for number in 1..200 {
            compile(&manager, &constant("f", number)).unwrap();
        }
    });
    compile(&manager, &constant("f", 5)).unwrap();
    compile(&manager, &constant("x", 5)).unwrap();
    assert_eq!(manager.statistics().units, 3);
}

#[test]
fn code_memory_is_created_by_the_first_compilation() {
    let backend = NativeBackend::default();
    let is_created = || !format!("{backend:?}").contains("memory: None");
    assert!(!is_created());
    let unit = Unit::from_text(ADD).unwrap();
    let compile = || backend.compile(&unit, Level::None, &mut |_| None).unwrap();
    let first = compile();
    assert!(is_created());
    // The memory outlives the back end.
    let second = compile();
    drop((backend, first));
    // SAFETY: a function of these types, whose code is in memory.
    let add = unsafe {
        core::mem::transmute::<usize, extern "C" fn(i64, i64) -> i64>(second.addresses[0] as usize)
    };
    assert_eq!(add(40, 2), 42);
}
