//! Random valid functions, and the host that they call.

use std::string::String;
use std::vec::Vec;

use super::super::text;
use super::super::*;
pub(super) use crate::testing::Random;

mod extended;

pub(super) use extended::{ALL, Group, HELPERS};

/// Integers and bools come first, then floats of each width, so that no value is read as another kind.
pub(super) const SINGLES: usize = 256;
pub(super) const DOUBLES: usize = 512;
pub(super) const BYTES: usize = 1024;

impl Random {
    /// A number, often a limit of a type.
    pub(super) fn number(&mut self) -> i32 {
        let odd = [0, 1, -1, 2, 7, 8, 63, 64, 127, 128, -128, 255, 32767, i32::MAX, i32::MIN];
        if self.below(3) == 0 { self.next() as i32 } else { self.pick(&odd) }
    }

    pub(super) fn bits(&mut self, scalar: Scalar) -> u64 {
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
pub(super) struct Case {
    pub(super) body: Vec<u8>,
    pub(super) arguments: Vec<Scalar>,
}

pub(super) struct Generator<'r> {
    pub(super) random: &'r mut Random,
    pub(super) body: FunctionBuilder,
    arguments: Vec<Scalar>,
    /// The operations of version 2 that are used.
    pub(super) groups: &'static [Group],
    /// Each local with its type, and the scalar that the type stands for.
    pub(super) locals: Vec<(Local, ValueType, Scalar)>,
    /// Pointers to the three kinds of memory, and an index. They are used for valid accesses only.
    pub(super) memory: [Local; 3],
    pub(super) index: Local,
    /// Pointers that are set where they are used.
    pub(super) pointers: [Local; 2],
    /// Slots and data by kind of memory.
    pub(super) slots: [Option<Slot>; 3],
    pub(super) data: [Option<Data>; 3],
    labels: Vec<Label>,
}

impl<'r> Generator<'r> {
    pub(super) fn new(random: &'r mut Random, groups: &'static [Group]) -> Self {
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
        let pointers = [(); 2].map(|()| body.local(Scalar::Pointer));
        let result_local = (body.local(result), result, concrete(result));
        locals.push(result_local);
        for _ in 0..random.below(20) {
            let ty = any(random);
            locals.push((body.local(ty), ty, concrete(ty)));
        }
        let labels = (0..random.below(5)).map(|_| body.label()).collect();
        let mut generator = Self {
            random,
            body,
            arguments,
            groups,
            locals,
            memory,
            index,
            pointers,
            slots: [None; 3],
            data: [None; 3],
            labels,
        };
        generator.declare_memory();
        generator
    }

    /// A local of a type that `fits`, with its type.
    pub(super) fn local(
        &mut self,
        fits: impl Fn(Scalar) -> bool,
    ) -> Option<(Local, ValueType, Scalar)> {
        let fitting: Vec<_> = self.locals.iter().copied().filter(|l| fits(l.2)).collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// A local of exactly this type.
    pub(super) fn same(&mut self, ty: ValueType) -> Local {
        let fitting: Vec<_> = self.locals.iter().filter(|l| l.1 == ty).map(|l| l.0).collect();
        self.random.pick(&fitting)
    }

    pub(super) fn second(&mut self, ty: ValueType, scalar: Scalar, short: bool) -> Value {
        match self.random.below(3) {
            0 if scalar == Scalar::Bool => Value::Number((self.random.next() & 1) as i32),
            0 if short => Value::Number(i32::from(self.random.number() as i16)),
            0 => Value::Number(self.random.number()),
            _ => Value::Local(self.same(ty)),
        }
    }

    fn step(&mut self) -> Option<()> {
        if !self.groups.is_empty() && self.random.below(3) == 0 {
            let group = self.random.pick(self.groups);
            return self.extended(group);
        }
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
                let unary = self.unary();
                let (to, ty, _) = self.local(|scalar| unary.types().has(scalar.into()))?;
                let from = self.same(ty);
                self.body.unary(unary, ty, to, from);
            }
            5..=8 => {
                let binary = self.binary();
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

    /// A local of exactly this scalar type.
    pub(super) fn exact(&self, scalar: Scalar) -> Option<Local> {
        self.locals.iter().find(|l| l.1 == scalar.into()).map(|l| l.0)
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
    pub(super) fn home(&self, scalar: Scalar) -> Local {
        match scalar {
            Scalar::F32 => self.memory[1],
            Scalar::F64 => self.memory[2],
            _ => self.memory[0],
        }
    }

    fn memory_access(&mut self) -> Option<()> {
        let (local, ty, scalar) = self.local(|_| true)?;
        let place = self.random.below(28) * i32::from(scalar.size());
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
        let more = self.random.below(12);
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

    pub(super) fn finish(mut self) -> Case {
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
        let number = self.pointers[1].number() + 1;
        let (local, ty, _) = *self.locals.iter().find(|l| l.0.number() == number).unwrap();
        if self.return_call(ty).is_none() {
            self.body.return_value(ty, local);
        }
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

pub(super) extern "C" fn many(
    a: i64,
    b: i8,
    c: u16,
    d: i32,
    e: u64,
    f: bool,
    g: i64,
    h: f32,
    i: u8,
) -> i64 {
    let sum = a ^ i64::from(b) << 1 ^ i64::from(c) << 2 ^ i64::from(d) << 3 ^ (e as i64) << 4;
    sum ^ i64::from(f) << 5 ^ g << 6 ^ (h as i64) << 7 ^ i64::from(i) << 8
}

pub(super) extern "C" fn floats(a: f32, b: f64, c: i32, d: f64) -> f64 {
    f64::from(a) - b + f64::from(c) - d * 0.5
}

pub(super) extern "C" fn narrow(a: u8) -> i8 {
    a.wrapping_mul(3) as i8
}

pub(super) extern "C" fn nothing() {}

/// The environment of the interpreter: memory at the addresses of the real one, and the same functions.
pub(super) struct Interpreted<'m>(pub(super) Memory<'m>);

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
pub(super) fn canonical(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F32 if f32::from_bits(bits as u32).is_nan() => f32::NAN.to_bits().into(),
        Scalar::F64 if f64::from_bits(bits).is_nan() => f64::NAN.to_bits(),
        _ => bits,
    }
}

pub(super) fn canonical_memory(words: &[u64]) -> Vec<u64> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let mut all: Vec<u64> = words[..SINGLES / 8].to_vec();
    for single in bytes[SINGLES..DOUBLES].chunks(4) {
        let bits = u32::from_le_bytes(single.try_into().unwrap());
        all.push(canonical(bits.into(), Scalar::F32));
    }
    all.extend(words[DOUBLES / 8..].iter().map(|&word| canonical(word, Scalar::F64)));
    all
}

pub(super) fn shown(body: &Function<'_>, arguments: &[Scalar]) -> String {
    let mut listing = std::format!("for {arguments:?}\n");
    text::print("random", body, &mut listing).unwrap();
    listing
}
