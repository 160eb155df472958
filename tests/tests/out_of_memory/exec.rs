//! The execution manager: source that is compiled, called, replaced and refused, in Rust and in C.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use smf_core::alloc_util::try_box;
use smf_core::exec::{Level, Manager, ManagerError, ManagerOptions, NativeBackend, Unit};
use smf_core::link::NoImports;
use smf_core::source::{Mode, SourceFile};
use smf_loader::exec::{ExecError, ExecManager, ExecOptions};
use smf_loader::ffi::{
    SmfExecDiagnostic, SmfExecValue, smf_clear_error, smf_exec_call, smf_exec_close,
    smf_exec_compile, smf_exec_compile_file, smf_exec_compile_ir, smf_exec_diagnostic,
    smf_exec_diagnostics, smf_exec_find, smf_exec_function_names, smf_exec_open,
    smf_exec_set_frontend, smf_last_error, smf_value_free,
};

use super::c::{Failed, unless};
use super::{Scenario, judge};

/// Every part of the language, and what generates code of every kind.
const PROGRAM: &str = r#"
const SCALE: i64 = 3
enum Shape:
    Round(radius: f64)
    Flat
struct Point:
    x: i64
    y: i64
impl Point:
    fn sum() -> i64: self.x + self.y
fn area(shape: Shape) -> f64:
    match shape:
        case Round(radius): radius * radius
        case Flat: 0.0
fn pick(first: bool, a: text, b: text) -> text:
    if first: a else: b
fn larger<T>(a: T, b: T) -> T:
    if a > b: a else: b
fn total(n: i64) -> i64:
    assert n >= 0, "no negative number"
    var sum = 0
    for i in 0..n:
        val p = Point(x: i, y: SCALE)
        sum += p.sum()
    val items = [sum, 1, 2]
    items[0] + larger(area(Shape.Round(2.0)) as i64, 0)
"#;

/// Errors of the parser, of names and of types.
const BROKEN: [&str; 3] = [
    "fn f(:\n    1\nfn g( -> i64: 2\n",
    "fn f(): absent\nfn g(): gone(1)\n",
    "fn f(a: bool): a + 1\n",
];

fn file(text: &str) -> SourceFile<'_> {
    SourceFile { name: "p.spl", module: "p", text }
}

fn core_manager() -> Result<Manager, ManagerError> {
    let options = ManagerOptions { level: Level::Speed, ..ManagerOptions::default() };
    Ok(Manager::new(try_box(NativeBackend::default())?, options))
}

/// Compiles source without errors.
fn add(manager: &Manager, text: &str) -> Result<(), ManagerError> {
    let compiled = manager.compile_source(&[file(text)], Mode::Manager, &NoImports)?;
    assert!(compiled.unit.is_some(), "{:?}", compiled.diagnostics);
    Ok(())
}

fn exec_manager() -> Result<ExecManager, ExecError> {
    ExecManager::new(ExecOptions::default())
}

/// What was compiled can be called after a compilation that has failed.
fn call(manager: &ExecManager, name: &str, arguments: &[i64]) -> Result<i64, ExecError> {
    // SAFETY: the functions take integers.
    unsafe { manager.call_integers(name.as_bytes(), arguments) }
}

fn open() -> u64 {
    // SAFETY: null selects the default options.
    unsafe { smf_exec_open(ptr::null()) }
}

fn compile(manager: u64, source: &str) -> bool {
    let (start, length) = (source.as_ptr().cast(), source.len() as i64);
    // SAFETY: a name, and bytes with their number.
    unsafe { smf_exec_compile(manager, c"p.spl".as_ptr(), start, length) }
}

fn call_c(manager: u64, name: &CStr, arguments: &[i64]) -> Result<i64, Failed> {
    let value = |integer: &i64| SmfExecValue { kind: 4, integer: *integer, number: 0.0 };
    let mut values = [value(&0); 4];
    for (to, from) in values.iter_mut().zip(arguments) {
        *to = value(from);
    }
    let mut result = value(&0);
    let (start, count) = (values.as_ptr(), arguments.len() as i64);
    // SAFETY: a name, values with their number, and memory for the result.
    let called = unsafe { smf_exec_call(manager, name.as_ptr(), start, count, &raw mut result) };
    unless(false, called).map(|_| result.integer)
}

/// A front end that refuses every program.
extern "C" fn refuse(
    _: *const c_char,
    _: *const c_char,
    _: i64,
    error: *mut *const c_char,
    _: *mut c_void,
) -> *const c_char {
    // SAFETY: memory for the error.
    unsafe { error.write(c"no program".as_ptr()) };
    ptr::null()
}

/// `SMF_ERROR_NO_MEMORY`, `SMF_ERROR_TRAP` and `SMF_ERROR_COMPILE`.
const NO_MEMORY: i32 = 8;
const TRAP: i32 = 29;
const COMPILE: i32 = 31;

/// A failure that is the expected one unless there was no memory.
fn refused(code: i32, returned: bool) -> Result<(), Failed> {
    let failed = unless(false, returned).unwrap_err();
    match smf_last_error().code {
        NO_MEMORY => Err(failed),
        found => {
            assert_eq!(found, code);
            smf_clear_error();
            Ok(())
        }
    }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("manager: compile source and call it", |granted| {
        let act = || {
            let manager = core_manager()?;
            add(&manager, PROGRAM)?;
            // SAFETY: the function accesses no memory of others.
            unsafe { manager.call_by_name(b"total", &[4i64.into()]) }
        };
        judge(granted, act, |sum| assert_eq!(sum, Some(22i64.into())))
    }),
    ("manager: refuse source", |granted| {
        let manager = core_manager().unwrap();
        let act = || {
            BROKEN.iter().try_for_each(|text| {
                let compiled = manager.compile_source(&[file(text)], Mode::Manager, &NoImports)?;
                assert!(compiled.unit.is_none() && !compiled.diagnostics.is_empty());
                Ok::<_, ManagerError>(())
            })
        };
        judge(granted, act, drop)
    }),
    ("manager: replace functions that have callers", |granted| {
        let manager = core_manager().unwrap();
        // SAFETY: the functions access no memory.
        let called = || unsafe { manager.call_by_name(b"g", &[]) };
        add(&manager, "fn f(): 1\n").unwrap();
        let act = || {
            add(&manager, "fn g(): f() * 10\n")?;
            add(&manager, "fn f(): 2\n")?;
            called()
        };
        let end = judge(granted, act, |value| assert_eq!(value, Some(20i64.into())));
        add(&manager, "fn f(): 3\nfn other(a: f64): a\n").unwrap();
        assert_eq!(called().unwrap(), Some(30i64.into()));
        end
    }),
    ("manager: read units of IR", |granted| {
        let text = "function f(a: i64) -> i64\nadd i64 a, a, a\nreturn i64 a\nend\n";
        let binary = Unit::from_text(text).unwrap().to_binary().unwrap();
        let manager = core_manager().unwrap();
        let act = || manager.compile(&Unit::from_binary(&binary)?, &NoImports);
        judge(granted, act, drop)
    }),
    ("execution manager: compile and call", |granted| {
        let act = || {
            let manager = exec_manager()?;
            manager.compile_source("p.spl", PROGRAM)?;
            assert_eq!(call(&manager, "total", &[4])?, 22);
            // SAFETY: a text function gets texts.
            let picked = unsafe { manager.call_text(b"pick", &[b"true", b"yes", b"no"]) }?;
            assert_eq!(picked, "yes");
            // SAFETY: as above.
            assert_eq!(unsafe { manager.call_text(b"total", &[b"4"]) }?, "22");
            manager.function_names().map(|names| assert_eq!(names.len(), 5))
        };
        judge(granted, act, drop)
    }),
    ("execution manager: trap", |granted| {
        let manager = exec_manager().unwrap();
        manager.compile_source("p.spl", PROGRAM).unwrap();
        let act = || match call(&manager, "total", &[-1]) {
            Err(ExecError::Trap { message, .. }) => {
                assert!(message.ends_with("no negative number"), "{message}");
                Ok(())
            }
            Err(error) => Err(error),
            Ok(_) => panic!("no trap"),
        };
        judge(granted, act, drop)
    }),
    ("C: open and close a manager", |granted| {
        judge(granted, || unless(0, open()), |manager| assert!(smf_exec_close(manager)))
    }),
    ("C: compile source and call it", |granted| {
        let manager = open();
        let act = || {
            unless(false, compile(manager, PROGRAM))?;
            assert_eq!(call_c(manager, c"total", &[4])?, 22);
            // SAFETY: a name.
            unless(0, unsafe { smf_exec_find(manager, c"area".as_ptr()) })?;
            let names = unless(ptr::null_mut(), smf_exec_function_names(manager))?;
            // SAFETY: created by the library, and freed once.
            assert!(unsafe { smf_value_free(names) });
            Ok::<_, Failed>(())
        };
        let end = judge(granted, act, drop);
        assert!(smf_exec_close(manager));
        end
    }),
    ("C: compile files and IR", |granted| {
        let path = super::c::path("packed.smf");
        let text = "function f(a: i64) -> i64\nadd i64 a, a, a\nreturn i64 a\nend\n";
        let ir = Unit::from_text(text).unwrap().to_binary().unwrap();
        let act = |manager| {
            let (start, length) = (ir.as_ptr(), ir.len() as i64);
            // SAFETY: bytes with their number.
            unless(false, unsafe { smf_exec_compile_ir(manager, start, length) })?;
            // SAFETY: a path.
            unless(false, unsafe { smf_exec_compile_file(manager, path.as_ptr()) })?;
            let sums = [call_c(manager, c"f", &[4])?, call_c(manager, c"add", &[50, 5])?];
            assert_eq!(sums, [8, 55]);
            let names = unless(ptr::null_mut(), smf_exec_function_names(manager))?;
            // SAFETY: created by the library, and freed once.
            assert!(unsafe { smf_value_free(names) });
            Ok::<_, Failed>(())
        };
        let open_and_act = || {
            let manager = unless(0, open())?;
            let done = act(manager);
            assert!(smf_exec_close(manager));
            done
        };
        judge(granted, open_and_act, drop)
    }),
    ("C: diagnostics and traps", |granted| {
        let manager = open();
        assert!(compile(manager, PROGRAM));
        let act = || {
            for text in BROKEN {
                refused(COMPILE, compile(manager, text))?;
                let size = size_of::<SmfExecDiagnostic>() as i64;
                // SAFETY: a structure of integers and pointers, all of which may be zero.
                let mut one: SmfExecDiagnostic = unsafe { std::mem::zeroed() };
                one.size = size;
                for index in 0..smf_exec_diagnostics(manager) {
                    // SAFETY: memory for the structure.
                    assert!(unsafe { smf_exec_diagnostic(manager, index, &raw mut one) });
                }
            }
            refused(TRAP, call_c(manager, c"total", &[-1]).is_ok())
        };
        let end = judge(granted, act, drop);
        assert_eq!(call_c(manager, c"total", &[4]).ok(), Some(22));
        assert!(smf_exec_close(manager));
        end
    }),
    ("C: another front end", |granted| {
        let manager = open();
        let act = || {
            // SAFETY: a front end that uses no memory of its own.
            let set = unsafe { smf_exec_set_frontend(manager, Some(refuse), ptr::null_mut()) };
            unless(false, set)?;
            refused(COMPILE, compile(manager, "7"))
        };
        let end = judge(granted, act, drop);
        assert!(smf_exec_close(manager));
        end
    }),
];
