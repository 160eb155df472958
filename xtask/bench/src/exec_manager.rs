//! The execution manager: source to callable, creation, calls and memory, compared with the Cranelift back end, a call
//! through a hash map, and libtcc.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_char;
use std::fmt::Write;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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
    let peer = tcc.as_ref().map(Tcc::contender);
    if peer.is_none() {
        eprintln!("libtcc is not installed: libtcc-dev");
    }
    let peer_name = if peer.is_some() { "libtcc" } else { "" };
    let target = Target::ratio(1.0);
    let measure =
        Measure { name: MANY, peer: peer_name, target, batches: 30, ..Measure::default() };
    bench.take(&measure, ours, peer);
}

/// A program that compiles a file by libtcc a number of times, calls a function of it each time, and prints the
/// nanoseconds.
const TCC: &str = r#"
#include <libtcc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char **arguments) {
    static char source[4 << 20];
    FILE *file = fopen(arguments[1], "r");
    if (count != 3 || !file || !fread(source, 1, sizeof source - 1, file)) return 1;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long times = atol(arguments[2]); times; times--) {
        TCCState *state = tcc_new();
        tcc_set_options(state, "-nostdlib");
        tcc_set_output_type(state, TCC_OUTPUT_MEMORY);
        if (tcc_compile_string(state, source) || tcc_relocate(state, TCC_RELOCATE_AUTO) < 0) return 2;
        long (*f7)(long) = (long (*)(long))tcc_get_symbol(state, "f7");
        if (f7(1000) != 1000) return 3;
        tcc_delete(state);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%ld\n", (end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec);
}
"#;

/// libtcc in a process of its own, because its archive is not linked into shared objects.
struct Tcc {
    program: PathBuf,
    source: PathBuf,
}

impl Tcc {
    /// Links the archive of the package libtcc-dev; `None` without it.
    fn open(directory: &Path) -> Option<Self> {
        let [program, c, source] = ["peer", "peer.c", "functions.c"].map(|n| directory.join(n));
        std::fs::write(&c, TCC).unwrap();
        std::fs::write(&source, in_c()).unwrap();
        let mut link = Command::new("cc");
        link.args(["-O2", "-o"]).args([&program, &c]).args(["-ltcc", "-ldl", "-lpthread"]);
        let is_linked = link.output().is_ok_and(|output| output.status.success());
        is_linked.then_some(Self { program, source })
    }

    fn contender(&self) -> Contender<'_> {
        Box::new(|times| {
            let mut command = Command::new(&self.program);
            let output = command.arg(&self.source).arg(times.to_string()).output().unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            Duration::from_nanos(printed.trim().parse().unwrap())
        })
    }
}
