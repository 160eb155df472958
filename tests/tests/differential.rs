//! Engines agree on random programs, and the harness finds defects.
#![allow(unsafe_code)]

use smf_core::codegen::TrapConvention;
use smf_core::ir::{Memory, ProgramHost};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::call_catching;
use smf_tests::differential::programs::ALL;
use smf_tests::differential::{
    Checked, Defect, Engine, Faulty, Interpreter, Native, PlacedProgram, Program, bytecode, check,
    check_against, draw, seeded, smallest,
};

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
        assert_eq!(interpreted(&program, size, (known.memory)(size)), result, "{}", known.name);
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

/// The result of a program that does not call the host.
fn interpreted(program: &Program, size: i64, memory: i64) -> i64 {
    const BASE: u64 = 0x10000;
    let mut bytes = vec![0; usize::try_from(memory).unwrap()];
    let functions = program.instances();
    let mut outer = Memory { base: BASE, bytes: &mut bytes };
    let mut host = ProgramHost::new(&functions, &mut outer, u64::MAX).unwrap();
    host.call_function(0, &[BASE, size.cast_unsigned()]).unwrap().cast_signed()
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
