//! Random functions before and after each pass: same result, trap, memory and calls.

use std::string::String;
use std::vec::Vec;

use super::super::edit::EditableFunction;
use super::super::{Lookup, PassMemory, optimize};
use super::program::{BYTES, DOUBLES, FILES, Generator, Options, PARAMS, RESULT, Random, SINGLES};
use crate::ir::{
    Arguments, Callee, CalleeKind, Function, FunctionInstance, Host, Memory, Scalar, Stop,
    Verified, interpret, text,
};
use crate::testing::scale;

/// The number of functions in an exhaustive run, and in a sampled one.
const FUNCTIONS: [u64; 2] = [40_000, 1_000];

/// The step limit of the interpreter.
const STEPS: u64 = 5_000;

const BASE: u64 = 0x1000;

/// What a run of a function shows.
#[derive(Debug, PartialEq)]
struct Outcome {
    end: Result<u64, Stop>,
    memory: Vec<u64>,
    calls: Vec<u64>,
}

/// Memory, a function of the host that records its argument, and functions of the program.
struct World<'w> {
    memory: Memory<'w>,
    calls: Vec<u64>,
    functions: &'w [Verified<'w>],
    steps: u64,
    /// Why a function of the program ended.
    inner: Option<Stop>,
}

impl Host for World<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        self.memory.load(address, size)
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        self.memory.store(address, size, bits)
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        if let CalleeKind::Function(number) = callee.kind {
            let function = &self.functions[number as usize];
            let instance = function.instance(Arguments::new(&[]).unwrap()).unwrap();
            let mut steps = self.steps;
            let end = interpret(&instance, arguments, self, &mut steps);
            self.inner = end.err().map(|stop| reported(function.body(), stop));
            return end;
        }
        self.calls.push(arguments[0]);
        // The callee may read and write all memory.
        let sum = self.memory.load(BASE, 8)?.wrapping_add(arguments[0]);
        self.memory.store(BASE, 8, sum)?;
        Ok(sum.rotate_left(7))
    }
}

/// What a file adds to the lines of a trap, so that lines of different files differ.
const FILE: u32 = 100_000;

/// The trap with line and file in the place of the offset, where the function has locations.
pub(super) fn reported(body: &Function<'_>, stop: Stop) -> Stop {
    let Stop::Trap { code, at, operands } = stop else { return stop };
    let is_before = |number: u32| body.offset(number as usize) <= at;
    let before = body.locations().take_while(|location| is_before(location.instruction));
    let at = match before.last() {
        Some(found) => {
            let file = found
                .file
                .map_or(0, |file| FILES.iter().position(|&name| name == file).unwrap() + 1);
            found.line + FILE * file as u32
        }
        None if body.locations().len() == 0 => at,
        None => 0,
    };
    Stop::Trap { code, at, operands }
}

fn canonical(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F32 if f32::from_bits(bits as u32).is_nan() => f32::NAN.to_bits().into(),
        Scalar::F64 if f64::from_bits(bits).is_nan() => f64::NAN.to_bits(),
        _ => bits,
    }
}

fn canonical_memory(bytes: &[u8]) -> Vec<u64> {
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let mut all = words(&bytes[..SINGLES]);
    for single in bytes[SINGLES..DOUBLES].chunks(4) {
        let bits = u32::from_le_bytes(single.try_into().unwrap());
        all.push(canonical(bits.into(), Scalar::F32));
    }
    all.extend(words(&bytes[DOUBLES..]).into_iter().map(|word| canonical(word, Scalar::F64)));
    all
}

/// Runs a function on memory and arguments that depend on `seed` alone.
fn run(bytes: &[u8], functions: &[Verified<'_>], seed: u64, steps: u64) -> Outcome {
    let body = Function::parse(bytes).unwrap();
    let verified = Verified::new(body).unwrap_or_else(|e| panic!("{e}: {}", listing(bytes)));
    let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
    let mut random = Random(seed);
    let mut memory = Vec::new();
    for word in 0..BYTES / 8 {
        let bits = match word * 8 {
            0..SINGLES => random.value_bits(Scalar::I64),
            SINGLES..DOUBLES => {
                random.value_bits(Scalar::F32) | random.value_bits(Scalar::F32) << 32
            }
            _ => random.value_bits(Scalar::F64),
        };
        memory.extend_from_slice(&bits.to_le_bytes());
    }
    let mut arguments = Vec::from([0, SINGLES as u64, DOUBLES as u64].map(|at| BASE + at));
    arguments.extend(PARAMS.map(|scalar| random.value_bits(scalar)));
    let memory_view = Memory { base: BASE, bytes: &mut memory };
    let mut world = World { memory: memory_view, calls: Vec::new(), functions, steps, inner: None };
    let mut left = steps;
    let end = interpret(&instance, &arguments, &mut world, &mut left);
    let World { calls, inner, .. } = world;
    let end = end.map(|bits| canonical(bits, RESULT));
    let end = end.map_err(|stop| inner.unwrap_or_else(|| reported(&body, stop)));
    Outcome { end, memory: canonical_memory(&memory), calls }
}

fn listing(bytes: &[u8]) -> String {
    let mut out = String::new();
    text::print("random", &Function::parse(bytes).unwrap(), &mut out).unwrap();
    out
}

/// Runs `pass` on random functions. How many it changed, in per cent.
fn check(options: Options, mut pass: impl FnMut(&mut PassMemory, &mut EditableFunction)) -> u64 {
    let count = scale(FUNCTIONS[0], FUNCTIONS[1]);
    let mut memory = PassMemory::default();
    let mut changed = 0;
    for seed in 0..count {
        let before = Generator::new(&mut Random(seed), options).finish();
        let verified = Verified::new(Function::parse(&before).unwrap()).unwrap();
        let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
        let mut function = EditableFunction::default();
        function.load(&instance).unwrap();
        let code = function.code.clone();
        pass(&mut memory, &mut function);
        changed += u64::from(function.code != code);
        let mut after = Vec::new();
        assert!(function.encode(&instance, &mut after).unwrap());
        compare(&before, &after, &[], seed);
    }
    changed * 100 / count
}

/// Runs both functions with several arguments.
fn compare(before: &[u8], after: &[u8], functions: &[Verified<'_>], seed: u64) {
    for more in 0..3 {
        let seed = seed * 3 + more;
        let expected = run(before, functions, seed, STEPS);
        if expected.end == Err(Stop::Steps) {
            continue;
        }
        let found = run(after, functions, seed, 4 * STEPS);
        assert_eq!(found, expected, "seed {seed}\n{}\n{}", listing(before), listing(after));
    }
}

#[test]
fn unchanged_functions_encode_to_the_same_function() {
    assert_eq!(check(Options::default(), |_, _| {}), 0);
}

#[test]
fn control_flow_preserves_behaviour() {
    let changed = check(Options::default(), |memory, function| {
        memory.control.run(function).unwrap();
    });
    assert!(changed > 20, "{changed} % of the functions changed");
}

#[test]
fn dead_definitions_preserve_behaviour() {
    let changed = check(Options::default(), |memory, function| {
        memory.dead.run(function, &mut memory.live).unwrap();
    });
    assert!(changed > 60, "{changed} % of the functions changed");
}

#[test]
fn value_numbering_preserves_behaviour() {
    let changed = check(Options::default(), |memory, function| {
        memory.value_numbering.run(function).unwrap();
    });
    assert!(changed > 60, "{changed} % of the functions changed");
}

#[test]
fn loop_invariant_motion_preserves_behaviour() {
    let changed = check(Options::default(), |memory, function| {
        memory.loop_invariant.run(function, &mut memory.live).unwrap();
    });
    assert!(changed > 30, "{changed} % of the functions changed");
}

#[test]
fn loop_rotation_preserves_behaviour() {
    let changed = check(Options::default(), |memory, function| {
        memory.rotate.run(function).unwrap();
    });
    assert!(changed > 30, "{changed} % of the functions changed");
}

#[test]
fn inlining_preserves_behaviour() {
    let leaves: Vec<Vec<u8>> =
        (0..64).map(|seed| Generator::leaf(&mut Random(1_000_000 + seed)).finish()).collect();
    let bodies: Vec<Function<'_>> =
        leaves.iter().map(|leaf| Function::parse(leaf).unwrap()).collect();
    let functions: Vec<Verified<'_>> =
        bodies.iter().map(|body| Verified::new(*body).unwrap()).collect();
    let lookup: Lookup<'_> = &|number| bodies.get(number as usize);
    let options = Options { functions: 64, ..Options::default() };
    let mut memory = PassMemory::default();
    let mut changed = 0;
    let count = scale(FUNCTIONS[0], FUNCTIONS[1]);
    for seed in 0..count {
        let before = Generator::new(&mut Random(seed), options).finish();
        let verified = Verified::new(Function::parse(&before).unwrap()).unwrap();
        let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
        let mut function = EditableFunction::default();
        function.load(&instance).unwrap();
        changed += u64::from(memory.inline.run(&mut function, instance.body(), lookup).unwrap());
        let mut after = Vec::new();
        assert!(function.encode(&instance, &mut after).unwrap());
        compare(&before, &after, &functions, seed);
    }
    let changed = changed * 100 / count;
    assert!(changed > 40, "{changed} % of the functions changed");
}

#[test]
fn all_levels_preserve_behaviour() {
    let mut memory = PassMemory::default();
    let count = scale(FUNCTIONS[0], FUNCTIONS[1]);
    let mut sizes = [0usize; 3];
    for seed in 0..count {
        let before = Generator::new(&mut Random(seed), Options::default()).finish();
        let verified = Verified::new(Function::parse(&before).unwrap()).unwrap();
        let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
        sizes[0] += verified.body().len();
        for level in [1, 2] {
            let after = optimize(level, &instance, &|_| None, &mut memory).unwrap();
            let after = after.unwrap_or(*verified.body());
            sizes[usize::from(level)] += after.len();
            compare(&before, after.bytes(), &[], seed);
        }
    }
    assert!(sizes[1] < sizes[0] * 9 / 10 && sizes[2] < sizes[0] * 9 / 10, "{sizes:?}");
}
