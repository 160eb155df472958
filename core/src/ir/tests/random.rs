//! Random valid functions, each run by the interpreter and as machine code: same results, same memory,
//! same traps.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use super::super::text;
use super::super::*;
use super::machine::Machine;
use crate::testing::{scale, some};

/// The number of functions in an exhaustive run, and in a sampled one.
const BODIES: [u64; 2] = [100_000, 10_000];

/// The step limit of the interpreter.
const STEPS: u64 = 2_000;

/// Integers and bools come first, then floats of each width, so that no value is read as another kind.
const SINGLES: usize = 256;
const DOUBLES: usize = 512;
const BYTES: usize = 1024;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number, often a limit of a type.
    fn number(&mut self) -> i32 {
        let odd = [0, 1, -1, 2, 7, 8, 63, 64, 127, 128, -128, 255, 32767, i32::MAX, i32::MIN];
        if self.below(3) == 0 { self.next() as i32 } else { self.pick(&odd) }
    }

    fn bits(&mut self, scalar: Scalar) -> u64 {
        let float = [0.0, -0.0, 1.0, -1.5, 1e10, -1e20, 1e300, f64::NAN, f64::INFINITY, 255.9];
        let value = match self.below(3) {
            0 => self.next() as i64 as f64,
            _ => self.pick(&float),
        };
        match scalar {
            Scalar::F32 => (value as f32).to_bits().into(),
            Scalar::F64 => value.to_bits(),
            Scalar::Bool => self.next() & 1,
            _ if self.below(2) == 0 => self.next() & (u64::MAX >> (64 - scalar.bits())),
            _ => i64::from(self.number()) as u64 & (u64::MAX >> (64 - scalar.bits())),
        }
    }
}

/// A function, its arguments, and the state of its generation.
struct Case {
    body: Vec<u8>,
    arguments: Vec<Scalar>,
}

struct Generator<'r> {
    random: &'r mut Random,
    body: FunctionBuilder,
    arguments: Vec<Scalar>,
    /// Each local with its type, and the scalar that the type stands for.
    locals: Vec<(Local, ValueType, Scalar)>,
    /// Pointers to the three kinds of memory, and an index. They are used for valid accesses only.
    memory: [Local; 3],
    index: Local,
    labels: Vec<Label>,
}

impl<'r> Generator<'r> {
    fn new(random: &'r mut Random) -> Self {
        let arguments: Vec<Scalar> =
            (0..random.below(4)).map(|_| random.pick(&Scalar::ALL)).collect();
        let count = arguments.len();
        let concrete = |ty: ValueType| match ty {
            ValueType::Scalar(scalar) => scalar,
            ValueType::Parameter(index) => arguments[usize::from(index)],
        };
        let any = |random: &mut Random| match random.below(2) {
            0 if count > 0 => ValueType::Parameter(random.below(count) as u8),
            _ => ValueType::Scalar(random.pick(&Scalar::ALL)),
        };
        let result = any(random);
        let mut body = FunctionBuilder::new(count as u8, Some(result));
        let memory = [(); 3].map(|()| body.param(Scalar::Pointer));
        let mut locals = Vec::new();
        // With the three pointers, at most eight integers are passed on the stack.
        for _ in 0..random.below(12) {
            let ty = any(random);
            locals.push((body.param(ty), ty, concrete(ty)));
        }
        let index = body.local(Scalar::I64);
        let result_local = (body.local(result), result, concrete(result));
        locals.push(result_local);
        for _ in 0..random.below(20) {
            let ty = any(random);
            locals.push((body.local(ty), ty, concrete(ty)));
        }
        let labels = (0..random.below(5)).map(|_| body.label()).collect();
        Self { random, body, arguments, locals, memory, index, labels }
    }

    /// A local of a type that `fits`, with its type.
    fn local(&mut self, fits: impl Fn(Scalar) -> bool) -> Option<(Local, ValueType, Scalar)> {
        let fitting: Vec<_> = self.locals.iter().copied().filter(|l| fits(l.2)).collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// A local of exactly this type.
    fn same(&mut self, ty: ValueType) -> Local {
        let fitting: Vec<_> = self.locals.iter().filter(|l| l.1 == ty).map(|l| l.0).collect();
        self.random.pick(&fitting)
    }

    fn second(&mut self, ty: ValueType, scalar: Scalar, short: bool) -> Value {
        match self.random.below(3) {
            0 if scalar == Scalar::Bool => Value::Number((self.random.next() & 1) as i32),
            0 if short => Value::Number(i32::from(self.random.number() as i16)),
            0 => Value::Number(self.random.number()),
            _ => Value::Local(self.same(ty)),
        }
    }

    fn step(&mut self) -> Option<()> {
        match self.random.below(16) {
            0 => {
                let (to, ty, scalar) = self.local(|_| true)?;
                match self.random.below(2) {
                    0 if ty == ValueType::Scalar(scalar) => {
                        let bits = self.random.bits(scalar);
                        self.body.wide_constant(scalar, to, bits);
                    }
                    _ if scalar == Scalar::Bool => self.body.constant(ty, to, 1),
                    _ => self.body.constant(ty, to, self.random.number()),
                }
            }
            1 => {
                let (to, ty, _) = self.local(|_| true)?;
                let from = self.same(ty);
                self.body.copy(ty, to, from);
            }
            2 | 3 => {
                let (to, ty, _) = self.local(|_| true)?;
                let (from, source, _) = self.local(|_| true)?;
                self.body.convert(ty, to, source, from);
            }
            4 => {
                let unary = self.random.pick(&Unary::ALL[..2]);
                let (to, ty, _) = self.local(|scalar| unary.types().has(scalar.into()))?;
                let from = self.same(ty);
                self.body.unary(unary, ty, to, from);
            }
            5..=8 => {
                let binary = self.random.pick(&Binary::ALL[..10]);
                let (to, ty, scalar) = self.local(|scalar| binary.types().has(scalar.into()))?;
                let (left, right) = (self.same(ty), self.second(ty, scalar, false));
                self.body.binary(binary, ty, to, left, right);
            }
            9 => {
                let condition = self.random.pick(Condition::ALL);
                let (to, _, _) = self.local(|scalar| scalar == Scalar::Bool)?;
                let to = self.locals.iter().find(|l| l.0 == to && l.1 == Scalar::Bool.into())?.0;
                let (left, ty, scalar) =
                    self.local(|scalar| condition.types().has(scalar.into()))?;
                let right = self.second(ty, scalar, false);
                self.body.compare(condition, ty, to, left, right);
            }
            10 => self.branch()?,
            11 => self.memory_access()?,
            12 => self.element()?,
            13 => self.call()?,
            14 => {
                let (_, ty, _) = self.local(|_| true)?;
                let to = self.locals.iter().find(|l| l.1 == Scalar::U64.into())?.0;
                self.body.size_of(ty, to);
            }
            _ => {
                let (value, ..) = self.local(|scalar| scalar == Scalar::Bool)?;
                let is_bool =
                    |l: &&(Local, ValueType, Scalar)| l.0 == value && l.1 == Scalar::Bool.into();
                self.locals.iter().find(is_bool)?;
                let target = self.target()?;
                self.body.branch_if(value, self.random.next() & 1 == 0, target);
            }
        }
        Some(())
    }

    fn target(&mut self) -> Option<Label> {
        (!self.labels.is_empty()).then(|| self.random.pick(&self.labels))
    }

    fn branch(&mut self) -> Option<()> {
        let condition = self.random.pick(Condition::ALL);
        let (left, ty, scalar) = self.local(|scalar| condition.types().has(scalar.into()))?;
        let right = self.second(ty, scalar, true);
        let target = self.target()?;
        self.body.branch(condition, ty, left, right, target);
        Some(())
    }

    /// The pointer to the memory for values of this type.
    fn home(&self, scalar: Scalar) -> Local {
        match scalar {
            Scalar::F32 => self.memory[1],
            Scalar::F64 => self.memory[2],
            _ => self.memory[0],
        }
    }

    fn memory_access(&mut self) -> Option<()> {
        let (local, ty, scalar) = self.local(|_| true)?;
        let place = self.random.below(28) as i32 * i32::from(scalar.size());
        match self.random.below(2) {
            0 => self.body.load(ty, local, self.home(scalar), place),
            _ => self.body.store(ty, local, self.home(scalar), place),
        }
        Some(())
    }

    fn element(&mut self) -> Option<()> {
        let (local, ty, scalar) = self.local(|_| true)?;
        let array = self.home(scalar);
        let index = match self.random.below(2) {
            0 => None,
            _ => {
                let any = self.local(|scalar| scalar == Scalar::I64)?;
                let exact = self.locals.iter().find(|l| l.0 == any.0 && l.1 == Scalar::I64.into());
                self.body.binary(Binary::And, Scalar::I64, self.index, exact?.0, 15);
                Some(self.index)
            }
        };
        let more = self.random.below(12) as i32;
        match self.random.below(3) {
            0 => self.body.load_element(ty, local, array, index, more),
            1 => self.body.store_element(ty, local, array, index, more),
            _ => {
                let pointer = self.locals.iter().find(|l| l.1 == Scalar::Pointer.into())?.0;
                self.body.element(ty, pointer, array, index, self.random.number());
            }
        }
        Some(())
    }

    fn call(&mut self) -> Option<()> {
        let (name, types, result) = self.random.pick(&HOST);
        let mut operands = Vec::new();
        for &scalar in types {
            operands.push(self.locals.iter().rev().find(|l| l.1 == scalar.into())?.0);
        }
        let to = match result {
            Some(scalar) => Some(self.locals.iter().find(|l| l.1 == scalar.into())?.0),
            None => None,
        };
        self.body.call_host(name, to, &operands);
        Some(())
    }

    fn finish(mut self) -> Case {
        let labels = self.labels.clone();
        for label in labels {
            for _ in 0..self.random.below(5) {
                self.step();
            }
            self.body.bind(label);
        }
        for _ in 0..1 + self.random.below(10) {
            self.step();
        }
        if self.random.below(50) == 0 {
            self.body.trap(self.random.next() as u32);
        }
        let result = self.locals.iter().find(|l| l.0.number() == self.index.number() + 1);
        let (local, ty, _) = *result.unwrap();
        self.body.return_value(ty, local);
        Case { body: self.body.finish().unwrap(), arguments: self.arguments }
    }
}

/// Functions of the host: name, parameters, result.
type Signature = (&'static str, &'static [Scalar], Option<Scalar>);

const HOST: [Signature; 4] = [
    (
        "many",
        &[
            Scalar::I64,
            Scalar::I8,
            Scalar::U16,
            Scalar::I32,
            Scalar::U64,
            Scalar::Bool,
            Scalar::I64,
            Scalar::F32,
            Scalar::U8,
        ],
        Some(Scalar::I64),
    ),
    ("floats", &[Scalar::F32, Scalar::F64, Scalar::I32, Scalar::F64], Some(Scalar::F64)),
    ("narrow", &[Scalar::U8], Some(Scalar::I8)),
    ("nothing", &[], None),
];

extern "C" fn many(a: i64, b: i8, c: u16, d: i32, e: u64, f: bool, g: i64, h: f32, i: u8) -> i64 {
    let sum = a ^ i64::from(b) << 1 ^ i64::from(c) << 2 ^ i64::from(d) << 3 ^ (e as i64) << 4;
    sum ^ i64::from(f) << 5 ^ g << 6 ^ (h as i64) << 7 ^ i64::from(i) << 8
}

extern "C" fn floats(a: f32, b: f64, c: i32, d: f64) -> f64 {
    f64::from(a) - b + f64::from(c) - d * 0.5
}

extern "C" fn narrow(a: u8) -> i8 {
    a.wrapping_mul(3) as i8
}

extern "C" fn nothing() {}

/// The environment of the interpreter: memory at the addresses of the real one, and the same functions.
struct Interpreted<'m>(Memory<'m>);

impl Host for Interpreted<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        self.0.load(address, size)
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        self.0.store(address, size, bits)
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        x: &[u64],
    ) -> Result<u64, Stop> {
        let single = |bits: u64| f32::from_bits(bits as u32);
        Ok(match callee.name {
            "many" => many(
                x[0] as i64,
                x[1] as i8,
                x[2] as u16,
                x[3] as i32,
                x[4],
                x[5] != 0,
                x[6] as i64,
                single(x[7]),
                x[8] as u8,
            ) as u64,
            "floats" => {
                let (b, d) = (f64::from_bits(x[1]), f64::from_bits(x[3]));
                floats(single(x[0]), b, x[2] as i32, d).to_bits()
            }
            "narrow" => narrow(x[0] as u8) as u64,
            _ => 0,
        })
    }
}

/// NaN has many encodings, and an operation may return any of them.
fn canonical(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F32 if f32::from_bits(bits as u32).is_nan() => f32::NAN.to_bits().into(),
        Scalar::F64 if f64::from_bits(bits).is_nan() => f64::NAN.to_bits(),
        _ => bits,
    }
}

fn canonical_memory(words: &[u64]) -> Vec<u64> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut all: Vec<u64> = words[..SINGLES / 8].to_vec();
    for single in bytes[SINGLES..DOUBLES].chunks(4) {
        let bits = u32::from_le_bytes(single.try_into().unwrap());
        all.push(canonical(bits.into(), Scalar::F32));
    }
    all.extend(words[DOUBLES / 8..].iter().map(|&word| canonical(word, Scalar::F64)));
    all
}

fn shown(body: &Function<'_>, arguments: &[Scalar]) -> String {
    let mut listing = std::format!("for {arguments:?}\n");
    text::print("random", body, &mut listing).unwrap();
    listing
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
    let mut host = Interpreted(Memory { base, bytes: &mut copy });
    let mut steps = STEPS;
    let expected = interpret(&instance, &bits, &mut host, &mut steps);
    if expected == Err(Stop::Steps) {
        return false;
    }
    let result = instance.scalar(body.signature().result).unwrap();
    let mut machine = Machine::new(BTreeMap::from([("random", verified.clone())]));
    machine.host = BTreeMap::from([
        ("many", many as *const () as usize),
        ("floats", floats as *const () as usize),
        ("narrow", narrow as *const () as usize),
        ("nothing", nothing as *const () as usize),
    ]);
    machine.level = random.below(3) as u8;
    let got = machine.link("random", &case.arguments).call(&values, Some(result));
    let [expected, got] = [expected, got].map(|end| end.map(|bits| canonical(bits, result)));
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
    let bodies = scale(BODIES[0], BODIES[1]);
    let mut ended = 0;
    for seed in 0..bodies {
        let mut random = Random(seed);
        let case = Generator::new(&mut random).finish();
        ended += u64::from(check(&case, &mut random));
    }
    assert!(ended > bodies * 3 / 4, "{ended} of {bodies} bodies came to an end");
}

#[test]
fn text_round_trips_to_the_same_function() {
    for seed in some(0..2_000, 4) {
        let mut random = Random(seed as u64);
        let case = Generator::new(&mut random).finish();
        let body = Function::parse(&case.body).unwrap();
        let mut listing = String::new();
        text::print("random", &body, &mut listing).unwrap();
        let parsed = text::parse(&listing).unwrap_or_else(|e| panic!("{e}: {listing}"));
        let again = Function::parse(&parsed[0].body).unwrap();
        let mut second = String::new();
        text::print("random", &again, &mut second).unwrap();
        assert_eq!(second, listing);
        assert_eq!(parsed.len(), 1);
        assert_eq!(usize::from(parsed[0].type_params), case.arguments.len());
        let both = [body, again].map(|body| body.instructions().flatten().collect::<Vec<_>>());
        assert_eq!(both[0].len(), both[1].len());
    }
}
