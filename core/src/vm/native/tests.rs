//! Compiled code compared with the interpreter, on random programs.

use std::boxed::Box;
use std::io::Write;
use std::sync::OnceLock;
use std::vec::Vec;

use super::*;
use crate::alloc_util::AttachResult;
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::interpret::{Interpreter, NoTierUp};
use crate::bytecode::testing::{
    Random, code, function, hosts, slot_program, statement_program, view,
};
use crate::bytecode::verify::Verifier;
use crate::testing::scale;
use crate::trap::bytecode::DEFAULT_BUDGET;

const STACK_SPACE: StackSpace =
    StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };

fn check(seed: u64, memory: &CodeMemory) {
    let mut random = Random(seed | 1);
    (0..4).for_each(|_| assert_ne!(random.next(), 0));
    let functions = if seed.is_multiple_of(2) {
        slot_program(&mut random)
    } else {
        statement_program(&mut random, false)
    };
    let verified = Verifier::new().verify(view(&functions));
    let verified = verified.unwrap_or_else(|error| panic!("{seed}: {error}"));
    let args: Vec<u64> = (0..functions[0].1).map(|_| random.below(50)).collect();
    let hosts = hosts();
    let signals = Signals::new();
    let environment = Environment { program: &verified, hosts: &hosts, signals: &signals };
    let expected = Interpreter::new().call(environment, &mut NoTierUp, 0, &args, STACK_SPACE);
    for threshold in [0, 3] {
        let program = Verifier::new().verify(view(&functions)).unwrap();
        // An emulator does not notice new code at an address that it has executed, in memory that is mapped twice.
        let is_emulated = cfg!(not(target_arch = "x86_64"));
        let memory = if is_emulated { CodeMemory::default() } else { memory.clone() };
        let native = Native::new(program, hosts.clone(), memory, threshold).unwrap();
        for _ in 0..2 {
            let found = native.call(0, &args, STACK_SPACE);
            assert_eq!(found, expected, "seed {seed}, threshold {threshold}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn bool_is_inverted_at_maximum_stack_depth() {
    let code = code(&[I::ConstTrue { dest: 0 }, I::Push { src: 0 }, I::Not, I::Ret { src: 1 }]);
    let program = Verifier::new().verify(std::vec![function(&code, 0, 0)]).unwrap();
    let native = Native::new(program, hosts(), CodeMemory::default(), 0).unwrap();
    assert_eq!(native.call(0, &[], STACK_SPACE), Ok(0));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn compiled_code_agrees_with_the_interpreter() {
    let memory = CodeMemory::default();
    let asked_for = std::env::var("SMF_PROGRAMS").ok().map(|count| count.parse().unwrap());
    let part = if cfg!(target_arch = "x86_64") { 1 } else { 10 };
    let count = asked_for.unwrap_or(scale(1_000_000, 5_000) / part);
    for seed in 0..count {
        check(seed * 7919 + 12345, &memory);
    }
    // Not by a macro whose output the harness captures.
    writeln!(std::io::stderr(), "{count} programs ran alike, interpreted and compiled").unwrap();
}

/// Found: other threads could run new code while the observer registered it.
#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn new_code_is_not_reachable_before_the_observer_has_registered_it() {
    static NATIVE: OnceLock<&Native<'static>> = OnceLock::new();
    static REPORTED: AtomicU32 = AtomicU32::new(0);
    struct Observer;
    impl CodeObserver for Observer {
        fn placed(&self, placed: PlacedCode<'_>) -> AttachResult {
            let Some(native) = NATIVE.get() else { return Ok(None) };
            let EngineCode::Function(function) = placed.what else { return Ok(None) };
            REPORTED.fetch_add(1, Ordering::Relaxed);
            if let Some(compiling) = native.compiling.try_lock() {
                let blocks = compiling.compiled.get(&function).into_iter();
                let replacements = compiling.replacements.values().flatten();
                let reachable = blocks.chain(replacements).map(Code::range);
                assert_eq!(reachable.into_iter().find(|range| *range == placed.block), None);
            }
            Ok(None)
        }

        fn entered(&self, _: u32, _: Range<usize>) -> AttachResult {
            Ok(None)
        }
    }
    let loops = code(&[
        I::LoadPush { local: 0 },
        I::ConstI64Push { value: 1 },
        I::SubI64,
        I::PopStore { local: 0 },
        I::ConstI64Push { value: 0 },
        I::LoadPush { local: 0 },
        I::LtJmpIfNot { offset: 8 },
        I::Jmp { offset: 0 },
        I::RetVoid,
    ]);
    let loops: &'static [u8] = loops.leak();
    let program = Verifier::new().verify(std::vec![function(loops, 1, 1)]).unwrap();
    let mut native = Native::new(program, hosts(), CodeMemory::default(), 2).unwrap();
    native.observe(Box::new(Observer));
    let native = NATIVE.get_or_init(|| Box::leak(native));
    assert_eq!(native.call(0, &[9], STACK_SPACE), Ok(0));
    assert_eq!(REPORTED.load(Ordering::Relaxed), 2, "the function and its replacement");
}
