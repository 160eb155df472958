//! The execution manager: source to callable, creation, calls and memory, compared with the Cranelift back end, a call
//! through a hash map, and libtcc.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use libloading::Library;
use smf_core::exec::{Level, Value};
use smf_loader::exec::{BackendChoice, ExecManager, ExecOptions};

use crate::measure::{Bench, Contender, Measure, Target, Unit, repeat};

const WARM: &str = "exec: source to callable, add, in a warm manager";
const CREATE: &str = "exec: create a manager and drop it";
const BY_NAME: &str = "exec: call add by name";
const BY_HANDLE: &str = "exec: call add by handle";
const BY_NAME_C: &str = "exec: call add by name, from C";
const BY_HANDLE_C: &str = "exec: call add by handle, from C";
const MEMORY: &str = "exec: bytes of a manager with 100 functions";
const MANY: &str = "exec: source to callable, 4,000 functions, level 0";

const ADD: &str = "fn add(x, y): x + y\n";

/// The functions of a large program.
const FUNCTIONS: usize = 4000;

pub(crate) fn measure(bench: &mut Bench) {
    compilation(bench);
    calls(bench);
    memory(bench);
    large(bench);
}

fn manager(backend: BackendChoice, level: Level) -> ExecManager {
    ExecManager::new(ExecOptions { backend, level, ..ExecOptions::default() }).unwrap()
}

fn compilation(bench: &mut Bench) {
    let native = manager(BackendChoice::Native, Level::Speed);
    let cranelift = manager(BackendChoice::Cranelift, Level::Speed);
    let compile = |manager: &ExecManager| manager.compile_source("add.spl", ADD).unwrap().len();
    let (target, peer) = (Target::ratio(1.0 / 50.0), "cranelift back end");
    let measure = Measure { name: WARM, peer, target, batches: 100, ..Measure::default() };
    bench.take(&measure, repeat(|| compile(&native)), Some(repeat(|| compile(&cranelift))));
    let create = |backend| repeat(move || manager(backend, Level::Speed));
    let target = Target::ratio(1.0 / 20.0);
    let measure = Measure { name: CREATE, peer, target, batches: 100, ..Measure::default() };
    let peer = create(BackendChoice::Cranelift);
    bench.take(&measure, create(BackendChoice::Native), Some(peer));
}

/// The names of the manager's other functions, so that a lookup by name has something to search.
fn with_others(manager: &ExecManager) {
    let source: String = (0..99).fold(String::new(), |mut source, number| {
        writeln!(source, "fn other{number}(x): x + {number}").unwrap();
        source
    });
    manager.compile_source("others.spl", &source).unwrap();
}

fn calls(bench: &mut Bench) {
    if !bench.wants(&[BY_NAME, BY_HANDLE, BY_NAME_C, BY_HANDLE_C]) {
        return;
    }
    let manager = manager(BackendChoice::Native, Level::Speed);
    manager.compile_source("add.spl", ADD).unwrap();
    with_others(&manager);
    let add = manager.find(b"add").unwrap();
    let arguments = [Value::from(40i64), Value::from(2i64)];
    let mut table: HashMap<String, extern "C" fn(i64, i64) -> i64> = HashMap::new();
    for function in manager.core().functions().unwrap() {
        let address = function.address().unwrap() as usize;
        // SAFETY: the address of a function; only that of `add`, which has this type, is called.
        let pointer =
            unsafe { std::mem::transmute::<usize, extern "C" fn(i64, i64) -> i64>(address) };
        table.insert(function.name().to_string(), pointer);
    }
    let through_table = || -> Contender<'_> {
        repeat(|| table.get(black_box("add")).map(|add| add(black_box(40), black_box(2))))
    };
    let by_name = repeat(|| {
        // SAFETY: the function accesses no memory.
        unsafe { manager.call_by_name(black_box(b"add"), black_box(&arguments)) }.unwrap()
    });
    // SAFETY: as above.
    let by_handle = repeat(|| unsafe { manager.call(&add, black_box(&arguments)) }.unwrap());
    let peer = "function pointer in a hash map";
    let mut take = |name, target, ours| {
        let measure = Measure { name, peer, target: Target::ratio(target), ..Measure::default() };
        bench.take(&measure, ours, Some(through_table()));
    };
    take(BY_NAME, 5.0, by_name);
    take(BY_HANDLE, 1.5, by_handle);
    let from_c = FromC::new();
    take(BY_NAME_C, 5.0, from_c.by_name());
    take(BY_HANDLE_C, 1.5, from_c.by_handle());
}

/// A manager with the function `add`, as C has it.
struct FromC {
    manager: u64,
    function: u64,
}

impl FromC {
    fn new() -> Self {
        // SAFETY: null for the defaults.
        let manager = unsafe { smf_loader::ffi::smf_exec_open(std::ptr::null()) };
        let length = ADD.len() as i64;
        // SAFETY: the bytes of a text.
        let compiled = unsafe {
            smf_loader::ffi::smf_exec_compile(
                manager,
                std::ptr::null(),
                ADD.as_ptr().cast::<c_char>(),
                length,
            )
        };
        assert!(compiled);
        // SAFETY: a C string.
        let function = unsafe { smf_loader::ffi::smf_exec_find(manager, c"add".as_ptr()) };
        Self { manager, function }
    }

    fn arguments() -> [smf_loader::ffi::SmfExecValue; 2] {
        [40, 2].map(|integer| smf_loader::ffi::SmfExecValue { kind: 4, integer, number: 0.0 })
    }

    fn by_name(&self) -> Contender<'_> {
        let arguments = Self::arguments();
        let mut result = arguments[0];
        repeat(move || {
            let (first, out) = (black_box(arguments.as_ptr()), &raw mut result);
            // SAFETY: a C string, two values, and a place for the result.
            unsafe { smf_loader::ffi::smf_exec_call(self.manager, c"add".as_ptr(), first, 2, out) }
        })
    }

    fn by_handle(&self) -> Contender<'_> {
        let arguments = Self::arguments();
        let mut result = arguments[0];
        repeat(move || {
            let (first, out) = (black_box(arguments.as_ptr()), &raw mut result);
            let (manager, function) = (self.manager, self.function);
            // SAFETY: two values, and a place for the result.
            unsafe { smf_loader::ffi::smf_exec_call_function(manager, function, first, 2, out) }
        })
    }
}

impl Drop for FromC {
    fn drop(&mut self) {
        assert!(smf_loader::ffi::smf_exec_close(self.manager));
    }
}

/// The resident memory of this process, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn memory(bench: &mut Bench) {
    if !bench.wants(&[MEMORY]) {
        return;
    }
    const MANAGERS: usize = 32;
    let before = resident_bytes();
    let managers: Vec<ExecManager> = (0..MANAGERS)
        .map(|_| {
            let manager = manager(BackendChoice::Native, Level::Speed);
            with_others(&manager);
            manager.compile_source("add.spl", ADD).unwrap();
            manager
        })
        .collect();
    let each = resident_bytes().saturating_sub(before) / MANAGERS as u64;
    assert_eq!(managers.len(), MANAGERS);
    bench.state(MEMORY, each as f64, Unit::Count, f64::from(1 << 20));
}

/// Functions of three lines with a loop, in Simple.
fn in_simple() -> String {
    (0..FUNCTIONS).fold(String::new(), |mut source, number| {
        writeln!(
            source,
            "fn f{number}(n: i64) -> i64:\n    var s = {number}\n    while s < n: s += {}\n    s",
            number % 7 + 1
        )
        .unwrap();
        source
    })
}

/// The same functions in C.
fn in_c() -> String {
    (0..FUNCTIONS).fold(String::new(), |mut source, number| {
        writeln!(
            source,
            "long f{number}(long n) {{\n    long s = {number};\n    while (s < n) s += {};\n    return s; }}",
            number % 7 + 1
        )
        .unwrap();
        source
    })
}

fn large(bench: &mut Bench) {
    if !bench.wants(&[MANY]) {
        return;
    }
    let source = in_simple();
    let ours = repeat(|| {
        let manager = manager(BackendChoice::Native, Level::None);
        manager.compile_source("large.spl", &source).unwrap();
        // SAFETY: the function accesses no memory.
        assert_eq!(unsafe { manager.call_integers(b"f7", &[1000]) }.unwrap(), 1000);
        manager
    });
    let scratch = tempfile::tempdir().unwrap();
    let tcc = Tcc::open(scratch.path());
    let c = CString::new(in_c()).unwrap();
    let peer: Option<Contender<'_>> = tcc.as_ref().map(|tcc| tcc.contender(&c));
    if peer.is_none() {
        eprintln!("no libtcc.a: install libtcc-dev");
    }
    let peer_name = if peer.is_some() { "libtcc" } else { "" };
    let target = Target::ratio(1.0);
    let measure =
        Measure { name: MANY, peer: peer_name, target, batches: 30, ..Measure::default() };
    bench.take(&measure, ours, peer);
}

/// libtcc as a shared library.
struct Tcc(Library);

type State = *mut c_void;

impl Tcc {
    /// Links the archive of the package libtcc-dev; `None` without it.
    fn open(directory: &Path) -> Option<Self> {
        let library = directory.join("libtcc.so");
        let mut link = Command::new("cc");
        link.args(["-shared", "-o"]).arg(&library);
        link.args(["-Wl,--whole-archive", "-l:libtcc.a", "-Wl,--no-whole-archive", "-ldl"]);
        if !link.output().is_ok_and(|output| output.status.success()) {
            return None;
        }
        // SAFETY: the library of the package, which has no initialisers.
        unsafe { Library::new(&library) }.ok().map(Self)
    }

    fn get<T: Copy>(&self, name: &str) -> T {
        // SAFETY: each caller names the type that libtcc.h declares.
        *unsafe { self.0.get::<T>(name.as_bytes()) }.unwrap()
    }

    fn contender<'t>(&'t self, source: &'t CString) -> Contender<'t> {
        let new: unsafe extern "C" fn() -> State = self.get("tcc_new");
        let delete: unsafe extern "C" fn(State) = self.get("tcc_delete");
        let set_output: unsafe extern "C" fn(State, c_int) -> c_int =
            self.get("tcc_set_output_type");
        let set_options: unsafe extern "C" fn(State, *const c_char) = self.get("tcc_set_options");
        let compile: unsafe extern "C" fn(State, *const c_char) -> c_int =
            self.get("tcc_compile_string");
        let relocate: unsafe extern "C" fn(State, *mut c_void) -> c_int = self.get("tcc_relocate");
        let symbol: unsafe extern "C" fn(State, *const c_char) -> *mut c_void =
            self.get("tcc_get_symbol");
        Box::new(move |times| {
            let start = Instant::now();
            for _ in 0..times {
                // SAFETY: the functions of libtcc.h, in the order that it asks for: output to memory is 1, and memory of
                // its own is 1 as an address. The function takes and returns a long.
                #[allow(clippy::multiple_unsafe_ops_per_block)]
                unsafe {
                    let state = new();
                    set_options(state, c"-nostdlib".as_ptr());
                    assert_eq!(set_output(state, 1), 0);
                    assert_eq!(compile(state, source.as_ptr()), 0);
                    assert_eq!(relocate(state, std::ptr::without_provenance_mut(1)), 0);
                    let f7 = symbol(state, c"f7".as_ptr());
                    let f7 = std::mem::transmute::<*mut c_void, extern "C" fn(i64) -> i64>(f7);
                    assert_eq!(f7(1000), 1000);
                    delete(state);
                }
            }
            start.elapsed()
        })
    }
}
