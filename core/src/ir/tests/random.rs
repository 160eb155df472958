//! Random valid functions, each run by the interpreter and as machine code: same results, same memory,
//! same traps.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::*;
use super::generate::{
    ALL, BYTES, Case, DOUBLES, Generator, HELPERS, Interpreted, Random, SINGLES, canonical,
    canonical_memory, floats, many, narrow, nothing, shown,
};
use super::machine::Machine;
use crate::testing::scale;

/// The number of functions in an exhaustive run, and in a sampled one.
const BODIES: [u64; 2] = [100_000, 10_000];

/// The step limit of the interpreter.
const STEPS: u64 = 2_000;

/// What machine code states as the place of the instruction at offset `at`.
fn line_at(body: &Function<'_>, at: u32) -> u32 {
    let index = (at - body.offset(0)) / INSTRUCTION_SIZE as u32;
    let before = body.locations().take_while(|location| location.instruction <= index).last();
    before.map_or(if body.locations().len() == 0 { at } else { 0 }, |location| location.line)
}

/// Whether the function ended.
fn check(case: &Case, random: &mut Random) -> bool {
    let body = Function::parse(&case.body).unwrap();
    let verified = Verified::new(body).unwrap_or_else(|e| panic!("{e}: {}", shown(&body, &[])));
    let given: Vec<Argument> = case.arguments.iter().map(|&scalar| scalar.into()).collect();
    let arguments = Arguments::new(&given).unwrap();
    let instance = verified.instance(arguments).unwrap();
    let mut memory: Vec<u64> = (0..BYTES / 8)
        .map(|word| match word * 8 {
            0..SINGLES => random.next(),
            SINGLES..DOUBLES => random.bits(Scalar::F32) | random.bits(Scalar::F32) << 32,
            _ => random.bits(Scalar::F64),
        })
        .collect();
    let base = memory.as_mut_ptr() as u64;
    let mut copy: Vec<u8> = memory.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut values = Vec::new();
    for (number, &code) in body.signature().params.iter().enumerate() {
        let scalar = instance.scalar(code).unwrap();
        let bits = match number {
            0 => base,
            1 => base + SINGLES as u64,
            2 => base + DOUBLES as u64,
            _ => random.bits(scalar),
        };
        values.push((scalar, bits));
    }
    let bits: Vec<u64> = values.iter().map(|value| value.1).collect();
    let helpers = text::parse(HELPERS).unwrap();
    let verified_helpers: Vec<Verified<'_>> = helpers
        .iter()
        .map(|helper| Verified::new(Function::parse(&helper.body).unwrap()).unwrap())
        .collect();
    let others = verified_helpers.iter().skip(1);
    let others = others.map(|verified| verified.instance(Arguments::NONE).unwrap());
    let functions: Vec<FunctionInstance<'_, '_>> =
        core::iter::once(instance).chain(others).collect();
    let mut outer = Interpreted(Memory { base, bytes: &mut copy });
    let mut program = ProgramHost::new(&functions, &mut outer, STEPS).unwrap();
    let expected = program.call_function(0, &bits);
    // The hook returns to the caller of a function that traps, which may go on forever.
    let calls = body.instructions().flatten().any(|i| i.opcode.is_call());
    if expected == Err(Stop::Steps) || calls && expected.is_err() {
        return false;
    }
    let result = instance.scalar(body.signature().result).unwrap();
    let names = ["random", "mix", "add", "half"];
    let all = core::iter::once(verified.clone()).chain(verified_helpers.iter().skip(1).cloned());
    let mut machine = Machine::new(names.into_iter().zip(all).collect());
    machine.program = names.to_vec();
    machine.host = BTreeMap::from([
        ("many", many as *const () as usize),
        ("floats", floats as *const () as usize),
        ("narrow", narrow as *const () as usize),
        ("nothing", nothing as *const () as usize),
    ]);
    machine.level = random.below(3) as u8;
    let got = machine.link("random", &case.arguments).call(&values, Some(result));
    let [expected, got] = [expected, got].map(|end| end.map(|bits| canonical(bits, result)));
    let expected = expected.map_err(|stop| match stop {
        Stop::Trap { code, at, operands } => Stop::Trap { code, at: line_at(&body, at), operands },
        other => other,
    });
    assert_eq!(got, expected, "{}", shown(&body, &case.arguments));
    let copied: Vec<u64> =
        copy.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    let [left, right] = [&memory, &copied].map(|words| canonical_memory(words));
    assert_eq!(left, right, "{}", shown(&body, &case.arguments));
    true
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn machine_code_agrees_with_the_interpreter() {
    // An emulator takes a long time for new code.
    let part = if cfg!(target_arch = "x86_64") { 1 } else { 20 };
    let bodies = scale(BODIES[0], BODIES[1]) / part;
    let mut ended = 0;
    for seed in 0..bodies {
        let mut random = Random(seed);
        let case = Generator::new(&mut random, ALL).finish();
        ended += u64::from(check(&case, &mut random));
    }
    assert!(ended > bodies / 2, "{ended} of {bodies} bodies came to an end");
}
