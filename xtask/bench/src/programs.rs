//! Fourteen programs in IR and in Simple: the speed of our code, of Cranelift's, of gcc's and of tcc's, and the cost of
//! compiling.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libloading::Library;
use smf_clif::{Compiled, CompilerOnly, code_size_for, compile_only};
use smf_core::codegen::aarch64::Aarch64;
use smf_core::codegen::{NativeOptimizingCompiler, OptimizingCompiler, Options, TrapConvention};
use smf_core::ir::{Binary, Condition, FunctionBuilder, FunctionInstance, Scalar};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::call_catching;
use smf_tests::differential::programs::{ALL, IN_C, KnownProgram};
use smf_tests::differential::{PlacedProgram, Program};

use crate::measure::{
    Bench, Contender, Measure, Target, Unit, least_thread_time, repeat, thread_time,
};

/// What the sizes are divided by in quick runs.
const QUICK: i64 = 4;

/// The language of our program.
#[derive(Clone, Copy)]
enum Form {
    Ir,
    Simple,
}

/// The code that a program is compared with.
#[derive(Clone, Copy)]
enum Peer {
    /// Of the same IR, at the level `speed`.
    Cranelift,
    /// Of the program in C, with the same checks.
    C(CCompiler),
}

#[derive(Clone, Copy, PartialEq)]
enum CCompiler {
    Gcc,
    Tcc,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::Cranelift => "cranelift, speed",
            Peer::C(CCompiler::Gcc) => "gcc -O1",
            Peer::C(CCompiler::Tcc) => "tcc",
        }
    }
}

/// A way in which every program is measured.
struct Column {
    /// The end of a row's name.
    name: &'static str,
    form: Form,
    level: u8,
    peer: Peer,
    /// The target of each program.
    target: Target,
    /// The maximum geometric mean of the ratios.
    mean: f64,
}

const COLUMNS: [Column; 6] = {
    const fn column(name: &'static str, form: Form, level: u8, peer: Peer, mean: f64) -> Column {
        Column { name, form, level, peer, target: Target::NONE, mean }
    }
    use {CCompiler::Gcc, CCompiler::Tcc, Form::Ir, Form::Simple, Peer::C, Peer::Cranelift};
    [
        column("level 0", Ir, 0, Cranelift, 1.5),
        Column { target: Target::ratio(1.5), ..column("level 2", Ir, 2, Cranelift, 1.0) },
        column("level 2, gcc", Ir, 2, C(Gcc), 1.5),
        column("Simple, level 2", Simple, 2, Cranelift, 1.1),
        column("Simple, level 2, tcc", Simple, 2, C(Tcc), 0.6),
        column("Simple, level 2, gcc", Simple, 2, C(Gcc), 1.6),
    ]
};

const COMPILE: &str = "programs: compile an operation of IR, level 0";
const COMPILE_OPTIMISED: &str = "programs: compile an operation of IR, level 2";
const BYTES: &str = "programs: bytes of code, beside Cranelift speed";
const BYTES_AARCH64: &str = "programs: bytes of code for aarch64, beside Cranelift speed";

fn row(program: &str, column: &str) -> String {
    format!("program: {program}, {column}")
}

fn mean_row(column: &str) -> String {
    format!("programs: geometric mean of the ratios, {column}")
}

pub(crate) fn measure(bench: &mut Bench) {
    let columns = |column: &str| {
        let rows = ALL.iter().map(|known| row(known.name, column));
        rows.chain([mean_row(column)]).collect::<Vec<_>>()
    };
    let mut names: Vec<String> = COLUMNS.iter().flat_map(|column| columns(column.name)).collect();
    names.extend([COMPILE, COMPILE_OPTIMISED, BYTES].map(str::to_owned));
    if bench.wants(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
        running(bench);
        compiling(bench);
    }
    if bench.wants(&[BYTES_AARCH64]) {
        bytes_for_aarch64(bench);
    }
    linearity(bench);
}

/// The programs in C as a shared object.
struct InC {
    library: Library,
    _directory: tempfile::TempDir,
}

impl InC {
    /// Compiles the programs; `None` without the compiler.
    fn new(compiler: CCompiler) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { Path::new(directory.path()).join(name) };
        std::fs::write(path("programs.c"), IN_C).unwrap();
        let mut command = match compiler {
            CCompiler::Gcc => {
                let mut gcc = Command::new("gcc");
                // Products and sums are not contracted, and square roots set no `errno`: both sides compute the same.
                gcc.args(["-O1", "-fwrapv", "-ffp-contract=off", "-fno-math-errno", "-fPIC"]);
                gcc
            }
            CCompiler::Tcc => {
                let mut tcc = Command::new("tcc");
                // It has no built-in function for this.
                tcc.arg("-D__builtin_trap()=*(volatile char *)0");
                tcc
            }
        };
        command.args(["-shared", "-o"]).args([path("programs.so"), path("programs.c")]).arg("-lm");
        if !command.status().is_ok_and(|status| status.success()) {
            let name = command.get_program().display();
            eprintln!("SKIPPED: programs are not compared with {name}, which is not installed");
            return None;
        }
        // SAFETY: the library has no initialisers.
        let library = unsafe { Library::new(path("programs.so")) }.unwrap();
        Some(Self { library, _directory: directory })
    }

    fn address(&self, name: &str) -> u64 {
        // SAFETY: the symbol is a function; its address alone is used.
        let symbol = unsafe { self.library.get::<extern "C" fn()>(name.as_bytes()) }.unwrap();
        *symbol as *const () as u64
    }
}

/// The function of a known program.
#[derive(Clone, Copy)]
struct Entry {
    known: &'static KnownProgram,
    address: u64,
    form: Form,
}

impl Entry {
    /// Runs the program in memory that is large enough for the size.
    fn run(&self, memory: &mut [u64], size: i64) -> i64 {
        let memory = memory.as_mut_ptr() as i64;
        let args = match self.form {
            Form::Ir => vec![memory, size],
            Form::Simple => self.known.simple_args(memory, size),
        };
        // SAFETY: the program takes memory of this size, and its checks hold it inside of it.
        unsafe { call_catching(self.address, &args) }.unwrap()
    }

    fn runs<'a>(self, memory: &'a RefCell<Vec<u64>>, size: i64) -> Contender<'a> {
        Box::new(move |times| -> Duration {
            let mut memory = memory.borrow_mut();
            let start = thread_time();
            for _ in 0..times {
                std::hint::black_box(self.run(&mut memory, std::hint::black_box(size)));
            }
            thread_time() - start
        })
    }
}

/// The code of a program in one form.
struct Code {
    levels: [PlacedProgram; 2],
    speed: Compiled,
    entry: usize,
}

impl Code {
    fn new(program: &Program, memory: &CodeMemory) -> Self {
        let functions = program.instances();
        let place = |level| {
            PlacedProgram::new(&functions, level, TrapConvention::Hook, memory, |_| None).unwrap()
        };
        let speed = Compiled::new(&functions, "speed", std::iter::empty()).unwrap();
        Self { levels: [place(0), place(2)], speed, entry: program.entry() }
    }
}

fn running(bench: &mut Bench) {
    let code = CodeMemory::default();
    let in_c = [CCompiler::Gcc, CCompiler::Tcc].map(|compiler| (compiler, InC::new(compiler)));
    let mut ratios: [Vec<f64>; COLUMNS.len()] = Default::default();
    let mut bytes = (0, 0);
    for known in ALL {
        let [ir, simple] =
            [known.program(), known.simple()].map(|program| Code::new(&program, &code));
        bytes.0 += ir.levels[1].code_size();
        bytes.1 += ir.speed.code_size();
        let entries = COLUMNS.each_ref().map(|column| {
            let code = match column.form {
                Form::Ir => &ir,
                Form::Simple => &simple,
            };
            let level = &code.levels[usize::from(column.level > 0)];
            let ours = Entry { known, address: level.address(code.entry), form: column.form };
            let peer = match column.peer {
                Peer::Cranelift => Some(Entry { address: code.speed.address(code.entry), ..ours }),
                Peer::C(wanted) => {
                    let found = in_c.iter().find(|(compiler, _)| *compiler == wanted);
                    let library = found.and_then(|(_, library)| library.as_ref());
                    // A function in C has the parameters of that in IR.
                    library.map(|c| Entry { address: c.address(known.name), form: Form::Ir, known })
                }
            };
            (ours, peer)
        });
        for (ratios, ratio) in ratios.iter_mut().zip(run_program(bench, known, entries)) {
            ratios.extend(ratio);
        }
    }
    for (column, ratios) in COLUMNS.iter().zip(ratios) {
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        if ratios.len() == ALL.len() {
            let rounded = (mean.exp() * 1000.0).round() / 1000.0;
            bench.state(&mean_row(column.name), rounded, Unit::Count, column.mean);
        }
    }
    let ratio =
        f64::from(u32::try_from(bytes.0).unwrap()) / f64::from(u32::try_from(bytes.1).unwrap());
    bench.state(BYTES, (ratio * 1000.0).round() / 1000.0, Unit::Count, 1.3);
}

fn bytes_for_aarch64(bench: &mut Bench) {
    let mut compiler = OptimizingCompiler::<Aarch64>::new();
    let (mut ours, mut theirs) = (0, 0);
    for known in ALL {
        let program = known.program();
        let functions = program.instances();
        let lookup = |index: u32| functions.get(index as usize).map(FunctionInstance::body);
        for function in &functions {
            let code = compiler.compile(function, &Options::DEFAULT, 2, &lookup).unwrap();
            ours += u64::from(code.code_size);
            theirs += code_size_for("aarch64-linux-gnu", function, "speed") as u64;
        }
    }
    let ratio = ours as f64 / theirs as f64;
    bench.state(BYTES_AARCH64, (ratio * 1000.0).round() / 1000.0, Unit::Count, 1.3);
}

/// The ratios of one program, a column each. All entries return the same before any is timed.
fn run_program(
    bench: &mut Bench,
    known: &KnownProgram,
    entries: [(Entry, Option<Entry>); COLUMNS.len()],
) -> [Option<f64>; COLUMNS.len()] {
    let size = if bench.is_quick() { known.large / QUICK } else { known.large };
    let size = if matches!(known.name, "fib" | "fannkuch" | "calls") { known.large } else { size };
    // Matrix sizes and words are whole.
    let size = size / 8 * 8 + known.large % 8;
    let words = usize::try_from((known.memory)(size.max(known.small.0))).unwrap() / 8 + 1;
    let memory = RefCell::new(vec![0u64; words]);
    let mut large = None;
    for entry in entries.iter().flat_map(|(ours, peer)| [Some(*ours), *peer]).flatten() {
        let mut memory = memory.borrow_mut();
        let (small, result) = known.small;
        assert_eq!(entry.run(&mut memory, small), result, "{}", known.name);
        let result = entry.run(&mut memory, size);
        assert_eq!(*large.get_or_insert(result), result, "{}", known.name);
    }
    std::array::from_fn(|number| {
        let (column, (ours, peer)) = (&COLUMNS[number], entries[number]);
        let name = row(known.name, column.name);
        let measure = Measure {
            name: &name,
            peer: column.peer.name(),
            batches: 15,
            target: column.target,
            ..Measure::default()
        };
        bench.take(&measure, ours.runs(&memory, size), Some(peer?.runs(&memory, size)));
        bench.ratio(&name)
    })
}

/// Compiles all functions of the programs.
fn compiling(bench: &mut Bench) {
    let programs: Vec<Program> = ALL.iter().map(KnownProgram::program).collect();
    let functions: Vec<Vec<FunctionInstance<'_, '_>>> =
        programs.iter().map(Program::instances).collect();
    let per = programs.iter().map(|program| program.len() as u64).sum();
    for (name, level, peer, target) in
        [(COMPILE, 0, "none", Target::ratio(0.02)), (COMPILE_OPTIMISED, 2, "speed", Target::NONE)]
    {
        let mut compiler = NativeOptimizingCompiler::new();
        let ours = repeat(|| {
            let mut bytes = 0;
            for functions in &functions {
                let lookup = |index: u32| functions.get(index as usize).map(FunctionInstance::body);
                for function in functions {
                    let code = compiler.compile(function, &Options::DEFAULT, level, &lookup);
                    bytes += code.unwrap().bytes.len();
                }
            }
            bytes
        });
        let theirs = repeat(|| {
            for functions in &functions {
                Compiled::new(functions, peer, std::iter::empty()).unwrap();
            }
        });
        let peer = format!("cranelift, {peer}");
        let measure = Measure { name, peer: &peer, per, batches: 30, target, ..Measure::default() };
        bench.take(&measure, ours, Some(theirs));
    }
}

/// The operations of the functions that show how the cost of compiling grows.
const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn size_row(size: u32, level: u8) -> String {
    format!("codegen: an operation of a function of {size} operations, level {level}")
}

fn growth_row(level: u8) -> String {
    format!(
        "codegen: greatest ratio of the costs of an operation in small and large functions, level {level}"
    )
}

/// The cost of an operation in functions of different sizes.
fn linearity(bench: &mut Bench) {
    for level in [0, 2] {
        let mut names: Vec<String> = SIZES.iter().map(|&size| size_row(size, level)).collect();
        names.push(growth_row(level));
        if !bench.wants(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
            continue;
        }
        let mut compiler = NativeOptimizingCompiler::new();
        let mut costs = Vec::new();
        for (&size, name) in SIZES.iter().zip(&names) {
            let program = Program::new(vec![long_function(size)]);
            let functions = program.instances();
            let per = program.len() as u64;
            let mut compile = || {
                let code = compiler.compile(&functions[0], &Options::DEFAULT, level, &|_| None);
                code.unwrap().bytes.len()
            };
            costs.push(least_thread_time(30, &mut compile) / per as f64);
            let ours = repeat(compile);
            let batches = if size > 100_000 { 5 } else { 15 };
            // Cranelift takes minutes for the largest one.
            let mut peer = CompilerOnly::new("none");
            let theirs = repeat(|| compile_only(&mut peer, &functions[0]));
            let theirs: Option<Contender<'_>> = (size <= 10_000 && level == 0).then_some(theirs);
            let peer = "cranelift, none";
            let measure = Measure { name, peer, per, batches, ..Measure::default() };
            bench.take(&measure, ours, theirs);
        }
        let (least, most) = costs.iter().fold((f64::INFINITY, 0.0f64), |(least, most), &cost| {
            (least.min(cost), most.max(cost))
        });
        let ratio = (most / least * 100.0).round() / 100.0;
        bench.state(&growth_row(level), ratio, Unit::Count, 1.5);
    }
}

/// A function of about this number of operations: loops, branches and memory. A function has at most 65,534 locals, so
/// that its parts share most of them, whatever its size is; each has one of its own.
fn long_function(size: u32) -> Vec<u8> {
    const PART: u32 = 20;
    let mut b = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let (memory, n) = (b.param(Scalar::Pointer), b.param(Scalar::I64));
    let total = b.local(Scalar::I64);
    let counter = b.local(Scalar::I64);
    let [t0, t1, t2, t3, t5, t6, t7] = [(); 7].map(|()| b.local(Scalar::I64));
    for part in 0..size / PART {
        let t4 = b.local(Scalar::I64);
        let [head, over, done] = [b.label(), b.label(), b.label()];
        b.constant(Scalar::I64, counter, 0);
        b.bind(head);
        b.branch(Condition::GreaterEqual, Scalar::I64, counter, n, done);
        b.load_element(Scalar::I64, t0, memory, Some(counter), 0);
        b.binary(Binary::Multiply, Scalar::I64, t1, t0, 31);
        b.binary(Binary::Add, Scalar::I64, t2, t1, counter);
        b.binary(Binary::Xor, Scalar::I64, t3, t2, total);
        b.branch(Condition::Less, Scalar::I64, t3, 0, over);
        b.binary(Binary::ShiftRight, Scalar::I64, t4, t3, 3);
        b.binary(Binary::Subtract, Scalar::I64, t5, t4, t0);
        b.binary(Binary::Add, Scalar::I64, total, total, t5);
        b.store_element(Scalar::I64, total, memory, Some(counter), 0);
        b.bind(over);
        b.binary(Binary::And, Scalar::I64, t6, t3, 1023);
        b.binary(Binary::Or, Scalar::I64, t7, t6, 1);
        b.binary(Binary::Add, Scalar::I64, total, total, t7);
        b.binary(Binary::Add, Scalar::I64, counter, counter, 1);
        b.jump(head);
        b.bind(done);
        b.binary(Binary::Add, Scalar::I64, total, total, i32::try_from(part & 255).unwrap());
        b.binary(Binary::RotateLeft, Scalar::I64, total, total, 7);
        b.trap_compare(Condition::Equal, Scalar::I64, total, -1, 40);
        b.binary(Binary::Multiply, Scalar::I64, total, total, 3);
    }
    b.return_value(Scalar::I64, total);
    b.finish().unwrap().to_vec()
}
