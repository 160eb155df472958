//! Engines agree on random programs, and the harness finds defects.
#![allow(unsafe_code)]

use smf_core::codegen::TrapConvention;
use smf_core::ir::text::parse;
use smf_core::ir::{Memory, ProgramHost};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::call_catching;
use smf_tests::differential::programs::ALL;
use smf_tests::differential::{
    Case, Checked, Defect, Engine, Faulty, Interpreter, Native, PlacedProgram, Program, bytecode,
    check, check_against, draw, seeded, shrink, simple, smallest,
};
use smf_tests::source::check_agreement;

/// The number of programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 2000;

fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Interpreter::default())];
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        for (level, has_context) in [(0, false), (0, true), (1, false), (2, false), (2, true)] {
            engines.push(Box::new(Native { level, has_context }));
        }
    }
    engines
}

#[test]
fn engines_agree_on_random_programs() {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let engines = engines();
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    let mut sum = Checked::default();
    for seed in 0..count {
        let data = seeded(seed);
        match check(&engines, &draw(&data)) {
            Ok(checked) => sum = sum.plus(checked),
            Err(_) => {
                let smallest = smallest(&data, |case| check(&engines, case).is_err());
                panic!("seed {seed}: {}", check(&engines, &smallest).unwrap_err());
            }
        }
    }
    eprintln!("{sum:?}");
    let all = sum.compared + sum.exhausted;
    assert_eq!(sum.invalid, 0);
    assert!(sum.exhausted * 10 <= all && sum.trapped * 4 <= all, "{sum:?}");
}

/// The programs within which each defect must be found.
const WITHIN: u64 = 1000;

#[test]
fn every_defect_is_found_within_1000_programs() {
    for defect in Defect::ALL {
        let (oracle, faulty) =
            (Interpreter::default(), Faulty { engine: Interpreter { steps: 1_000_000 }, defect });
        let is_found = |&seed: &u64| check(&[&oracle, &faulty], &draw(&seeded(seed))).is_err();
        let found = (0..WITHIN).find(is_found);
        eprintln!("{defect:?}: program {found:?}");
        assert!(found.is_some(), "{defect:?}");
    }
}

#[test]
fn known_programs_return_the_results_of_their_equals_in_c() {
    for known in ALL {
        let program = known.program();
        let (size, result) = known.small;
        let bytes = (known.memory)(size);
        assert_eq!(interpreted(&program, &[BASE, size], bytes), result, "{}", known.name);
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            let (host, memory) = (|_: &str| None, CodeMemory::default());
            let hook = TrapConvention::Hook;
            let functions = program.instances();
            for level in [0, 2] {
                let placed = PlacedProgram::new(&functions, level, hook, &memory, host).unwrap();
                let mut words = vec![0u64; usize::try_from((known.memory)(size)).unwrap() / 8 + 1];
                let args = [words.as_mut_ptr() as i64, size];
                // SAFETY: the program takes memory and a size, and its checks hold it inside of the memory.
                let found = unsafe { call_catching(placed.address(0), &args) };
                assert_eq!(found, Ok(result), "{}", known.name);
            }
        }
    }
}

#[test]
fn programs_in_simple_return_the_results_of_their_equals_in_c() {
    for known in ALL {
        let program = known.simple();
        let (size, result) = known.small;
        let (args, bytes) = (known.simple_args(BASE, size), (known.memory)(size));
        assert_eq!(interpreted(&program, &args, bytes), result, "{}", known.name);
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            let functions = program.instances();
            let (host, memory, hook) =
                (|_: &str| None, CodeMemory::default(), TrapConvention::Hook);
            for level in [0, 1, 2] {
                let placed = PlacedProgram::new(&functions, level, hook, &memory, host).unwrap();
                let mut words = vec![0u64; usize::try_from(bytes).unwrap() / 8 + 1];
                let args = known.simple_args(words.as_mut_ptr() as i64, size);
                // SAFETY: the program takes memory and a size, and its checks hold it inside of the memory.
                let found = unsafe { call_catching(placed.address(program.entry()), &args) };
                assert_eq!(found, Ok(result), "{}, level {level}", known.name);
            }
        }
    }
}

/// The address of the memory of interpreted programs.
const BASE: i64 = 0x10000;

/// The result of a program that does not call the host.
fn interpreted(program: &Program, args: &[i64], memory: i64) -> i64 {
    let mut bytes = vec![0; usize::try_from(memory).unwrap()];
    let functions = program.instances();
    let mut outer = Memory { base: BASE.cast_unsigned(), bytes: &mut bytes };
    let mut host = ProgramHost::new(&functions, &mut outer, u64::MAX).unwrap();
    let args: Vec<u64> = args.iter().map(|arg| arg.cast_unsigned()).collect();
    let entry = u32::try_from(program.entry()).unwrap();
    host.call_function(entry, &args).unwrap().cast_signed()
}

#[test]
fn engines_agree_on_the_functions_of_written_programs() {
    let engines = engines();
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    let text = "\
fn at(i):
    val a = [1, 2, 3]
    a[i]
fn wrap(a: u8, b: i8) -> i64: (a * 3) as i64 + (b * 3) as i64
fn half(x: f64) -> f64: x / 2 + 0.5
fn fib(n: u8) -> i64: if n < 2: 1 else: fib(n - 1) + fib(n - 2)
fn both(a: bool, b: bool) -> bool: a and not b
struct P:
    x: i64
    y: f32
impl P:
    me add(n: i64): self.x += n
fn point(n):
    var p = P(x: n, y: 1.5)
    p.add(2)
    p.x / n
";
    let mut sum = check_agreement(text, &engines);
    assert_eq!(sum, Checked { compared: 23, trapped: 2, exhausted: 1, invalid: 0 });
    for program in ALL {
        sum = sum.plus(check_agreement(program.in_simple, &engines));
    }
    assert_eq!(sum.invalid, 0, "{sum:?}");
    // Functions of other hosts are not called, and what is refused has no functions.
    assert_eq!(
        check_agreement("extern fn exit(n: i64)\nfn f(): exit(1)\n", &engines),
        Checked::default()
    );
    assert_eq!(check_agreement("fn f(x): y\n", &engines), Checked::default());
}

/// The number of programs in Simple, unless the environment variable `SMF_PROGRAMS` overrides it.
const SIMPLE_PROGRAMS: u64 = 300;

#[test]
fn engines_agree_on_random_programs_in_simple() {
    let count = std::env::var("SMF_PROGRAMS");
    let count = count.map_or(SIMPLE_PROGRAMS, |count| count.parse().unwrap());
    let engines = engines();
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    let mut sum = Checked::default();
    for seed in 0..count {
        let data = seeded(seed);
        match check(&engines, &simple::draw_case(&data)) {
            Ok(checked) => sum = sum.plus(checked),
            Err(_) => {
                let fails = |data: &[u8]| check(&engines, &simple::draw_case(data)).is_err();
                let data = shrink(&data, fails);
                let mismatch = check(&engines, &simple::draw_case(&data)).unwrap_err();
                panic!("seed {seed}: {}\n{mismatch}", simple::draw_source(&data));
            }
        }
    }
    eprintln!("{sum:?}");
    let all = sum.compared + sum.exhausted;
    assert_eq!(sum.invalid, 0);
    assert!(sum.exhausted * 10 <= all && sum.trapped * 2 <= all, "{sum:?}");
}

#[test]
fn defects_are_found_within_1000_programs_in_simple() {
    for defect in [Defect::ShiftCount, Defect::SwappedOperands, Defect::Condition] {
        let (oracle, faulty) =
            (Interpreter::default(), Faulty { engine: Interpreter { steps: 1_000_000 }, defect });
        let is_found =
            |&seed: &u64| check(&[&oracle, &faulty], &simple::draw_case(&seeded(seed))).is_err();
        let found = (0..WITHIN).find(is_found);
        eprintln!("{defect:?}: program {found:?}");
        assert!(found.is_some(), "{defect:?}");
    }
}

/// The number of programs in bytecode, unless the environment variable `SMF_PROGRAMS` overrides it.
const BYTECODE_PROGRAMS: u64 = 1000;

#[test]
fn translated_bytecode_runs_as_the_interpreter_of_bytecode_runs_it() {
    let count = std::env::var("SMF_PROGRAMS");
    let count = count.map_or(BYTECODE_PROGRAMS, |count| count.parse().unwrap());
    let interpreter = Interpreter { steps: u64::MAX };
    let native = engines();
    let others = native[1..].iter().map(|engine| &**engine);
    let engines: Vec<&dyn Engine> =
        [&interpreter as &dyn Engine].into_iter().chain(others).collect();
    let mut given_up = 0;
    for seed in 0..count {
        let drawn = smf_tests::bytecode::draw(&smf_tests::bytecode::seeded(seed));
        let Some((case, expected)) = bytecode::case_of(&drawn) else {
            given_up += 1;
            continue;
        };
        let expected = ("the interpreter of bytecode", &expected);
        if let Err(mismatch) = check_against(expected, &engines, &case) {
            panic!("seed {seed}: {mismatch}");
        }
    }
    assert!(given_up * 5 <= count, "{given_up} of {count} programs were given up");
}

/// Programs that machine code ran in another way, as [`smallest`] left them.
const REGRESSIONS: [&str; 3] = [
    // The trap was at the comparison that it is fused with.
    "function f(memory: ptr) -> i64
        local a: bool
        local c: bool
        local r: i64
        not bool a, a
        eq bool c, a, 1
        trap_true c, 40
        return i64 r
    end",
    // The value of a load was lost, which the last branch of the loop alone reads behind it.
    "function f(memory: ptr) -> i64
        local left: i64
        local more: i64
        local sum: i64
        local a: i64
        const i64 left, 24
    head:
        sub i64 left, left, 1
        br_lt i64 left, 0, done
        add i64 a, more, 7
        call_host sum = host_step(a)
        load i64 more, memory + 40
        br_ne i64 more, 0, head
    done:
        return i64 sum
    end",
    // The result was overwritten by a register that was saved around the call.
    "function f(memory: ptr, x: f64, n: i64) -> f64
        local r: f64
        br_lt i64 n, 0, other
        call_host r = host_real()
        return f64 r
    other:
        add f64 x, x, x
        return f64 x
    end",
];

#[test]
fn regressions_run_alike() {
    let engines = engines();
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    for text in REGRESSIONS {
        let functions = parse(text).unwrap();
        let program = Program::new(functions.into_iter().map(|function| function.body).collect());
        let params = program.signature(0).0.len();
        let arguments = [0, 1, u64::MAX].map(|bits| vec![bits; params]).to_vec();
        let case = Case { program, arguments, seed: 1 };
        let checked = check(&engines, &case).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        assert_eq!(checked.compared, 3);
    }
}
