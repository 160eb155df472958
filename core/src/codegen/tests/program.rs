//! Random programs of functions that call each other directly, by address and by tail calls, against the interpreter.

use std::vec::Vec;

use super::harness::{CONTEXT, HostFunctions, Program, plain, verified};
use crate::codegen::{NativeCompiler, Options};
use crate::ir::{
    Binary, Condition, FunctionBuilder, Local, Memory, ProgramHost, Scalar, Stop, ValueType,
};
use crate::testing::Random;

/// Parameters, the context first, and the result.
#[derive(Clone, Debug)]
struct Shape {
    params: Vec<Scalar>,
    result: Scalar,
}

const FUNCTIONS: usize = 5;

fn shapes(random: &mut Random) -> Vec<Shape> {
    let shape = |_| {
        let count = random.below(13);
        let mut params = std::vec![Scalar::Pointer];
        params.extend((0..count).map(|_| random.pick(&Scalar::ALL)));
        // Few results, so that tail calls are frequent.
        Shape { params, result: random.pick(&[Scalar::I64, Scalar::I8, Scalar::F64]) }
    };
    let mut all: Vec<Shape> = (0..FUNCTIONS).map(shape).collect();
    for shape in &mut all {
        while stack_arguments(&shape.params) > 8 {
            shape.params.pop();
        }
    }
    all
}

fn stack_arguments(params: &[Scalar]) -> usize {
    let floats = params.iter().filter(|scalar| scalar.is_float()).count();
    (params.len() - floats).saturating_sub(6) + floats.saturating_sub(8)
}

struct Generator<'r> {
    random: &'r mut Random,
    shapes: &'r [Shape],
    number: usize,
    f: FunctionBuilder,
    context: Local,
    /// Locals of all types.
    locals: Vec<(Local, Scalar)>,
    slot: Local,
}

impl Generator<'_> {
    fn any(&mut self, ty: Scalar) -> Local {
        let fitting: Vec<Local> =
            self.locals.iter().filter(|local| local.1 == ty).map(|local| local.0).collect();
        if let (false, false) = (fitting.is_empty(), self.random.below(4) == 0) {
            return self.random.pick(&fitting);
        }
        // A conversion of any other one.
        let (from, source) = self.random.pick(&self.locals);
        let to = self.f.local(ty);
        self.f.convert(ty, to, source, from);
        self.locals.push((to, ty));
        to
    }

    fn arguments(&mut self, callee: usize) -> Vec<Local> {
        let params = self.shapes[callee].params.clone();
        let rest = params.iter().skip(1).map(|&ty| self.any(ty)).collect::<Vec<_>>();
        std::iter::once(self.context).chain(rest).collect()
    }

    /// A function further on, so that calls end.
    fn callee(&mut self) -> Option<usize> {
        let next = self.number + 1;
        (next < FUNCTIONS).then(|| next + self.random.below(FUNCTIONS - next))
    }

    fn address_of(&mut self, callee: usize) -> Local {
        let shape = self.shapes[callee].clone();
        let params: Vec<ValueType> = shape.params.iter().map(|&ty| ty.into()).collect();
        let address = self.f.local(Scalar::Pointer);
        let result = Some(ValueType::from(shape.result));
        self.f.function_address(address, callee as u32, &params, result);
        address
    }

    fn call(&mut self) -> Option<()> {
        let callee = self.callee()?;
        let result = self.shapes[callee].result;
        let arguments = self.arguments(callee);
        let to = match self.random.below(4) {
            0 => None,
            1 => Some(self.any(result)),
            _ => Some(self.f.local(result)),
        };
        let dropped = to.is_none().then(|| result.into());
        if self.random.below(2) == 0 {
            let address = self.address_of(callee);
            self.f.call_indirect(address, to, &arguments, dropped);
        } else {
            self.f.call_function(callee as u32, to, &arguments, dropped);
        }
        self.locals.extend(to.map(|to| (to, result)));
        Some(())
    }

    fn step(&mut self) -> Option<()> {
        match self.random.below(9) {
            0 | 1 => self.call(),
            2 => {
                let (value, ty) = self.random.pick(&self.locals);
                let place = 8 * self.random.below(4);
                self.f.store(ty, value, self.slot, place);
                Some(())
            }
            3 => {
                let to = self.any(Scalar::I64);
                let place = 8 * self.random.below(4);
                self.f.load(Scalar::I64, to, self.slot, place);
                Some(())
            }
            4 => {
                let (a, b, skip) = (self.any(Scalar::I64), self.any(Scalar::I64), self.f.label());
                let condition = self.random.pick(Condition::ALL);
                self.f.branch(condition, Scalar::I64, a, b, skip);
                let to = self.any(Scalar::I64);
                self.f.binary(Binary::Multiply, Scalar::I64, to, a, 3);
                let _ = self.call();
                self.f.bind(skip);
                Some(())
            }
            5 => {
                let (a, b) = (self.any(Scalar::F64), self.any(Scalar::F64));
                self.f.binary(Binary::Add, Scalar::F64, a, a, b);
                Some(())
            }
            6 => {
                let ty = self.random.pick(&[Scalar::I8, Scalar::U32, Scalar::I64]);
                let (a, b) = (self.any(ty), self.any(ty));
                let binary = self.random.pick(Binary::ALL);
                let is_rare = !binary.can_trap() || self.random.below(8) == 0;
                let d = self.f.local(ty);
                let binary = if is_rare { binary } else { Binary::Xor };
                self.f.binary(binary, ty, d, a, b);
                self.locals.push((d, ty));
                Some(())
            }
            _ => {
                let (a, b) = (self.any(Scalar::I64), self.any(Scalar::I64));
                self.f.binary(Binary::Xor, Scalar::I64, a, a, b);
                Some(())
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        for _ in 0..2 + self.random.below(12) {
            self.step();
        }
        let own = &self.shapes[self.number];
        let (result, room) = (own.result, stack_arguments(&own.params));
        let callee = self.callee().filter(|&callee| {
            let shape = &self.shapes[callee];
            shape.result == result && stack_arguments(&shape.params) <= room
        });
        match callee {
            Some(callee) => {
                let arguments = self.arguments(callee);
                if self.random.below(2) == 0 {
                    let address = self.address_of(callee);
                    self.f.return_call_indirect(address, &arguments);
                } else {
                    self.f.return_call_function(callee as u32, &arguments);
                }
            }
            None => {
                let value = self.any(result);
                self.f.return_value(result, value);
            }
        }
        self.f.finish().unwrap()
    }
}

fn function(random: &mut Random, shapes: &[Shape], number: usize) -> Vec<u8> {
    let Shape { params, result } = &shapes[number];
    let mut f = FunctionBuilder::new(0, Some((*result).into()));
    let context = f.param(params[0]);
    let mut locals: Vec<(Local, Scalar)> =
        params.iter().skip(1).map(|&ty| (f.param(ty), ty)).collect();
    let one = f.local(Scalar::I64);
    f.constant(Scalar::I64, one, 1 + number as i32);
    locals.push((one, Scalar::I64));
    let memory = f.slot(32, 8);
    let slot = f.local(Scalar::Pointer);
    f.slot_address(slot, memory, 0);
    for place in 0..4 {
        f.store(Scalar::I64, one, slot, 8 * place);
    }
    Generator { random, shapes, number, f, context, locals, slot }.finish()
}

fn canonical(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F64 if f64::from_bits(bits).is_nan() => f64::NAN.to_bits(),
        _ => bits,
    }
}

/// Whether the program ended without a trap.
fn check(seed: u64) -> bool {
    let mut random = Random(seed);
    let shapes = shapes(&mut random);
    let bodies: Vec<Vec<u8>> =
        (0..FUNCTIONS).map(|number| function(&mut random, &shapes, number)).collect();
    let verified: Vec<_> = bodies.iter().map(|bytes| verified(bytes)).collect();
    let instances: Vec<_> = verified.iter().map(plain).collect();
    let options = if seed.is_multiple_of(2) { CONTEXT } else { Options::default() };
    let program =
        Program::link(&mut NativeCompiler::new(), &instances, &HostFunctions::new(), options);
    let Shape { params, result } = &shapes[0];
    let arguments: Vec<(Scalar, u64)> = params
        .iter()
        .map(|&ty| {
            let bits = match ty {
                Scalar::F32 => (random.below(1000) as f32).to_bits().into(),
                Scalar::F64 => (random.below(1000) as f64).to_bits(),
                Scalar::Pointer => 0,
                Scalar::Bool => random.next() & 1,
                _ => random.next() & (u64::MAX >> (64 - ty.bits())),
            };
            (ty, bits)
        })
        .collect();
    let bits: Vec<u64> = arguments.iter().map(|argument| argument.1).collect();
    let mut memory = Memory { base: 0, bytes: &mut [] };
    let mut host = ProgramHost::new(&instances, &mut memory, 100_000).unwrap();
    let expected = host.call_function(0, &bits).map(|bits| canonical(bits, *result));
    if expected == Err(Stop::Steps) {
        return false;
    }
    let got = program.call(0, &arguments, Some(*result)).map(|bits| canonical(bits, *result));
    match (got, expected) {
        // Under the hook, the callers of the function that trapped go on, and may trap again.
        (Err(_), Err(_)) if options != CONTEXT => {}
        _ => assert_eq!(got, expected, "seed {seed}"),
    }
    expected.is_ok()
}

#[test]
fn programs_agree_with_the_interpreter() {
    // An emulator takes a long time for new code.
    let part = if cfg!(target_arch = "x86_64") { 1 } else { 10 };
    let count = crate::testing::scale(20_000, 2_000) / part;
    let ended: u64 = (0..count).map(|seed| u64::from(check(seed))).sum();
    assert!(ended > count / 2, "{ended} of {count} programs ended without a trap");
}
