//! Fourteen programs in IR: the speed of our code, of Cranelift's and of gcc's, and the cost of compiling.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use libloading::Library;
use smf_clif::{Compiled, CompilerOnly, code_size_for, compile_only};
use smf_core::codegen::aarch64::Aarch64;
use smf_core::codegen::{NativeOptimizingCompiler, OptimizingCompiler, Options, TrapConvention};
use smf_core::ir::{Binary, Condition, FunctionBuilder, FunctionInstance, Scalar};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::call_catching;
use smf_tests::differential::programs::{ALL, IN_C, KnownProgram};
use smf_tests::differential::{PlacedProgram, Program};

use crate::measure::{Bench, Contender, Measure, Target, Unit, least_thread_time, repeat};

/// What the sizes are divided by in quick runs.
const QUICK: i64 = 4;

/// The level, or the peer, in a row's name.
const COLUMNS: [&str; 3] = ["level 0", "level 2", "level 2, gcc"];

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
    let mut names: Vec<String> = COLUMNS.iter().flat_map(|column| columns(column)).collect();
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
    /// Compiles the programs; `None` without gcc.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { Path::new(directory.path()).join(name) };
        std::fs::write(path("programs.c"), IN_C).unwrap();
        let mut gcc = Command::new("gcc");
        // Products and sums are not contracted, and square roots set no `errno`: both sides compute the same.
        gcc.args([
            "-O1",
            "-fwrapv",
            "-ffp-contract=off",
            "-fno-math-errno",
            "-shared",
            "-fPIC",
            "-o",
        ]);
        gcc.args([path("programs.so"), path("programs.c")]).arg("-lm");
        if !gcc.status().is_ok_and(|status| status.success()) {
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

/// Runs the function at an address, which takes memory and a size.
fn run(address: u64, memory: &mut [u64], size: i64) -> i64 {
    let args = [memory.as_mut_ptr() as i64, size];
    // SAFETY: the program takes memory of this size, and its checks hold it inside of it.
    unsafe { call_catching(address, &args) }.unwrap()
}

fn runs<'a>(address: u64, memory: &'a std::cell::RefCell<Vec<u64>>, size: i64) -> Contender<'a> {
    Box::new(move |times| -> Duration {
        let mut memory = memory.borrow_mut();
        let start = Instant::now();
        for _ in 0..times {
            std::hint::black_box(run(address, &mut memory, std::hint::black_box(size)));
        }
        start.elapsed()
    })
}

/// A program compiled by all.
struct Contenders {
    levels: [PlacedProgram; 2],
    speed: Compiled,
}

impl Contenders {
    fn new(program: &Program, memory: &CodeMemory) -> Self {
        let functions = program.instances();
        let place = |level| {
            PlacedProgram::new(&functions, level, TrapConvention::Hook, memory, |_| None).unwrap()
        };
        let speed = Compiled::new(&functions, "speed", std::iter::empty()).unwrap();
        Self { levels: [place(0), place(2)], speed }
    }
}

fn running(bench: &mut Bench) {
    let (in_c, code) = (InC::new(), CodeMemory::default());
    let mut ratios: [Vec<f64>; 3] = Default::default();
    let mut bytes = (0, 0);
    for known in ALL {
        let program = known.program();
        let contenders = Contenders::new(&program, &code);
        bytes.0 += contenders.levels[1].code_size();
        bytes.1 += contenders.speed.code_size();
        let found = run_program(bench, known, &contenders, in_c.as_ref());
        for (ratios, ratio) in ratios.iter_mut().zip(found) {
            ratios.extend(ratio);
        }
    }
    for ((column, ratios), most) in COLUMNS.iter().zip(ratios).zip([1.5, 1.0, 1.5]) {
        let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64;
        if ratios.len() == ALL.len() {
            let rounded = (mean.exp() * 1000.0).round() / 1000.0;
            bench.state(&mean_row(column), rounded, Unit::Count, most);
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

/// The ratios of one program, a column each.
fn run_program(
    bench: &mut Bench,
    known: &KnownProgram,
    contenders: &Contenders,
    in_c: Option<&InC>,
) -> [Option<f64>; 3] {
    let size = if bench.is_quick() { known.large / QUICK } else { known.large };
    let size = if matches!(known.name, "fib" | "fannkuch" | "calls") { known.large } else { size };
    // Matrix sizes and words are whole.
    let size = size / 8 * 8 + known.large % 8;
    let words = usize::try_from((known.memory)(size.max(known.small.0))).unwrap() / 8 + 1;
    let memory = std::cell::RefCell::new(vec![0u64; words]);
    let speed = contenders.speed.address(0);
    let levels = [contenders.levels[0].address(0), contenders.levels[1].address(0)];
    let gcc = in_c.map(|in_c| in_c.address(known.name));
    let peers = [Some(speed), Some(speed), gcc];
    for address in levels.into_iter().chain(peers.into_iter().flatten()) {
        let (small, result) = known.small;
        assert_eq!(run(address, &mut memory.borrow_mut(), small), result, "{}", known.name);
    }
    let targets = [Target::NONE, Target::ratio(1.5), Target::NONE];
    let ours = [levels[0], levels[1], levels[1]];
    std::array::from_fn(|column| {
        let peer = if column == 2 { "gcc -O1" } else { "cranelift, speed" };
        let name = row(known.name, COLUMNS[column]);
        let target = targets[column];
        let measure = Measure { name: &name, peer, batches: 15, target, ..Measure::default() };
        bench.take(
            &measure,
            runs(ours[column], &memory, size),
            Some(runs(peers[column]?, &memory, size)),
        );
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
