//! Random functions with loops, conditions and much that is redundant, so that the passes have work to do.
//!
//! There are few locals and few numbers, and statements are repeated, so that equal expressions, copies, constants and
//! invariant operations are frequent. Loops are counted, so that nearly all functions end.

use std::vec::Vec;

use crate::ir::{Binary, Condition, FunctionBuilder, Label, Local, Scalar, Unary, Value};
pub(super) use crate::testing::Random;

/// The memory: integers and bools first, then floats of each width, so that no NaN is read as another kind.
pub(super) const SINGLES: usize = 128;
pub(super) const DOUBLES: usize = 256;
pub(super) const BYTES: usize = 512;

/// The type of the result, and the parameters behind the three pointers.
pub(super) const RESULT: Scalar = Scalar::I64;
pub(super) const PARAMS: [Scalar; 5] =
    [Scalar::I64, Scalar::I32, Scalar::U8, Scalar::F64, Scalar::Bool];

/// The files of source locations.
pub(super) const FILES: [&str; 2] = ["file.spl", "other.spl"];

const TYPES: [Scalar; 11] = [
    Scalar::I8,
    Scalar::U8,
    Scalar::I32,
    Scalar::I32,
    Scalar::U32,
    Scalar::I64,
    Scalar::I64,
    Scalar::U64,
    Scalar::F32,
    Scalar::F64,
    Scalar::Bool,
];

impl Random {
    fn constant_number(&mut self) -> i32 {
        let frequent = [0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 127, -128, 255, 256, i32::MAX, i32::MIN];
        if self.below(8) == 0 { self.next() as i32 } else { self.pick(&frequent) }
    }

    pub(super) fn value_bits(&mut self, scalar: Scalar) -> u64 {
        let values = [0.0, -0.0, 1.0, -1.5, 2.0, 1e10, 1e300, f64::NAN, f64::INFINITY];
        let value = self.pick(&values);
        match scalar {
            Scalar::F32 => (value as f32).to_bits().into(),
            Scalar::F64 => value.to_bits(),
            Scalar::Bool => self.next() & 1,
            _ if self.below(3) == 0 => self.next() & (u64::MAX >> (64 - scalar.bits())),
            _ => i64::from(self.constant_number()) as u64 & (u64::MAX >> (64 - scalar.bits())),
        }
    }
}

/// A statement that can be emitted again.
#[derive(Clone, Copy)]
enum Statement {
    Constant(Scalar, Local, i32),
    Wide(Scalar, Local, u64),
    Copy(Scalar, Local, Local),
    Unary(Unary, Scalar, Local, Local),
    Binary(Binary, Scalar, Local, Local, Value),
    Compare(Condition, Scalar, Local, Local, Value),
    Convert(Scalar, Local, Scalar, Local),
    Load(Scalar, Local, Local, i32),
    Store(Scalar, Local, Local, i32),
    Element(Scalar, Local, Local, Option<Local>, i32),
    StoreElement(Scalar, Local, Local, Option<Local>, i32),
    Observe(Local, Local),
    Mask(Local),
    Select(Scalar, Local, Local, Local, Local),
    Trap(Condition, Scalar, Local, Value, u32),
    TrapIf(Local, bool, u32),
    /// Copies or fills so many bytes of the memory of integers.
    CopyMemory(Local, Local, Value),
    FillMemory(Local, Local, Value),
}

/// What a random function may contain besides version 1 of the IR without calls.
#[derive(Clone, Copy, Default)]
pub(super) struct Options {
    /// Calls of functions of the program with numbers below this one, of type (i64, i64) -> i64.
    pub(super) functions: u32,
    /// Without accesses to memory and calls.
    pub(super) is_leaf: bool,
}

/// The source locations of a function.
#[derive(Clone, Copy, PartialEq)]
enum Locations {
    None,
    /// All in the file with this number, or without one.
    In(Option<usize>),
    /// In several files and in none.
    Mixed,
}

impl Locations {
    fn random(random: &mut Random) -> Self {
        let one = Self::In(Some(0));
        let others = [Self::In(Some(1)), Self::In(None), Self::Mixed];
        random.pick(&[Self::None, Self::None, one, one, one, others[0], others[1], others[2]])
    }
}

pub(super) struct Generator<'r> {
    pub(super) random: &'r mut Random,
    pub(super) body: FunctionBuilder,
    locals: Vec<(Local, Scalar)>,
    memory: [Local; 3],
    index: Local,
    recent: Vec<Statement>,
    options: Options,
    line: u32,
    source_locations: Locations,
    /// Labels for jumps in any direction, and those that stand nowhere yet.
    labels: Vec<Label>,
    unbound: Vec<Label>,
}

impl<'r> Generator<'r> {
    pub(super) fn new(random: &'r mut Random, options: Options) -> Self {
        let mut body = FunctionBuilder::new(0, Some(RESULT.into()));
        let pointer = Scalar::Pointer;
        let memory = [(); 3].map(|()| body.param(pointer));
        let mut locals: Vec<(Local, Scalar)> = PARAMS.map(|ty| (body.param(ty), ty)).into();
        for _ in 0..2 {
            for ty in TYPES {
                locals.push((body.local(ty), ty));
            }
        }
        let index = body.local(Scalar::I64);
        let source_locations = Locations::random(random);
        let recent = Vec::new();
        Self {
            random,
            body,
            locals,
            memory,
            index,
            recent,
            options,
            line: 0,
            source_locations,
            labels: Vec::new(),
            unbound: Vec::new(),
        }
    }

    /// A function for inlining, of two integers.
    pub(super) fn leaf(random: &'r mut Random) -> Self {
        let mut body = FunctionBuilder::new(0, Some(RESULT.into()));
        let mut locals: Vec<(Local, Scalar)> =
            [(); 2].map(|()| (body.param(Scalar::I64), Scalar::I64)).into();
        for ty in [Scalar::I64, Scalar::Bool, Scalar::F64, Scalar::U8] {
            locals.push((body.local(ty), ty));
        }
        let index = body.local(Scalar::I64);
        let memory = [index; 3];
        let options = Options { is_leaf: true, ..Options::default() };
        let source_locations = Locations::random(random);
        let recent = Vec::new();
        Self {
            random,
            body,
            locals,
            memory,
            index,
            recent,
            options,
            line: 5000,
            source_locations,
            labels: Vec::new(),
            unbound: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        match self.options.is_leaf {
            true => self.sequence(1, 4),
            false => {
                // Jumps in any direction make loops with several entries, some of which do not end.
                self.labels = (0..self.random.below(3)).map(|_| self.body.label()).collect();
                self.unbound = self.labels.clone();
                self.sequence(3, 10);
            }
        }
        for label in std::mem::take(&mut self.unbound) {
            self.body.bind(label);
        }
        let result = self.local(RESULT);
        self.body.return_value(RESULT, result);
        self.body.finish().unwrap()
    }

    fn local(&mut self, ty: Scalar) -> Local {
        let fitting: Vec<_> = self.locals.iter().filter(|l| l.1 == ty).map(|l| l.0).collect();
        if fitting.is_empty() {
            let local = self.body.local(ty);
            self.locals.push((local, ty));
            return local;
        }
        self.random.pick(&fitting)
    }

    fn ty(&mut self, fits: impl Fn(Scalar) -> bool) -> Scalar {
        let fitting: Vec<_> = TYPES.into_iter().filter(|&ty| fits(ty)).collect();
        self.random.pick(&fitting)
    }

    fn second(&mut self, ty: Scalar, is_short: bool) -> Value {
        let number = match is_short {
            true => i32::from(self.random.constant_number() as i16),
            false => self.random.constant_number(),
        };
        match self.random.below(2) {
            0 if ty == Scalar::Bool => Value::Number(number & 1),
            0 => Value::Number(number),
            _ => Value::Local(self.local(ty)),
        }
    }

    fn sequence(&mut self, depth: u32, len: usize) {
        for _ in 0..1 + self.random.below(len) {
            self.line += 1;
            if self.source_locations != Locations::None && self.random.below(2) == 0 {
                self.location();
            }
            match self.random.below(16) {
                0 if depth > 0 => self.condition(depth - 1),
                1 | 2 if depth > 0 => self.counted(depth - 1),
                3 if depth > 0 => self.skip(depth - 1),
                4 if !self.options.is_leaf => self.call(),
                9 if !self.labels.is_empty() => match self.unbound.pop() {
                    Some(label) if self.random.below(2) == 0 => self.body.bind(label),
                    label => {
                        self.unbound.extend(label);
                        let target = self.random.pick(&self.labels.clone());
                        self.branch(target);
                    }
                },
                10 => self.through_temporary(),
                11 if !self.options.is_leaf => self.load_twice(),
                11 if depth == 0 => {
                    let result = self.local(RESULT);
                    self.body.return_value(RESULT, result);
                }
                5..=7 if !self.recent.is_empty() => {
                    let statement = self.repeated();
                    self.emit(statement);
                }
                _ => {
                    let statement = self.statement();
                    self.recent.push(statement);
                    self.emit(statement);
                }
            }
        }
    }

    fn location(&mut self) {
        let file = match self.source_locations {
            Locations::In(file) => file,
            _ => Some(self.random.below(3)),
        };
        let file = file.and_then(|file| FILES.get(file)).map(|file| self.body.file(file));
        self.body.location(self.line, 7, file);
    }

    /// An earlier statement, often with another destination.
    fn repeated(&mut self) -> Statement {
        let from = self.recent.len().saturating_sub(12);
        let recent = self.recent[from..].to_vec();
        let mut statement = self.random.pick(&recent);
        if self.random.below(2) == 0 {
            match &mut statement {
                Statement::Copy(ty, to, _)
                | Statement::Unary(_, ty, to, _)
                | Statement::Binary(_, ty, to, ..)
                | Statement::Convert(ty, to, ..)
                | Statement::Load(ty, to, ..)
                | Statement::Wide(ty, to, _)
                | Statement::Element(ty, to, ..) => *to = self.local(*ty),
                Statement::Compare(_, _, to, ..) => *to = self.local(Scalar::Bool),
                _ => {}
            }
        }
        statement
    }

    fn statement(&mut self) -> Statement {
        match self.random.below(12) {
            0 => {
                let ty = self.ty(|_| true);
                let number = self.random.constant_number();
                let number = if ty == Scalar::Bool { number & 1 } else { number };
                Statement::Constant(ty, self.local(ty), number)
            }
            1 => {
                let ty = self.ty(|_| true);
                Statement::Wide(ty, self.local(ty), self.random.value_bits(ty))
            }
            2 | 3 => {
                let ty = self.ty(|_| true);
                Statement::Copy(ty, self.local(ty), self.local(ty))
            }
            4 => {
                let unary = self.random.pick(Unary::ALL);
                let ty = self.ty(|ty| unary.types().has(ty.into()));
                Statement::Unary(unary, ty, self.local(ty), self.local(ty))
            }
            5 => {
                let condition = self.random.pick(Condition::ALL);
                let ty = self.ty(|ty| condition.types().has(ty.into()));
                let right = self.second(ty, false);
                let to = self.local(Scalar::Bool);
                Statement::Compare(condition, ty, to, self.local(ty), right)
            }
            6 => {
                let (to, from) = (self.ty(|_| true), self.ty(|_| true));
                Statement::Convert(to, self.local(to), from, self.local(from))
            }
            7 | 8 if !self.options.is_leaf => self.access(),
            9 => self.extended(),
            _ => {
                let binary = match self.random.below(4) {
                    0 => self.random.pick(&[Binary::Add, Binary::Multiply, Binary::Subtract]),
                    _ => self.random.pick(Binary::ALL),
                };
                let ty = self.ty(|ty| binary.types().has(ty.into()));
                let right = self.second(ty, false);
                Statement::Binary(binary, ty, self.local(ty), self.local(ty), right)
            }
        }
    }

    fn extended(&mut self) -> Statement {
        match self.random.below(8) {
            0..4 => {
                let ty = self.ty(|_| true);
                let (to, condition) = (self.local(ty), self.local(Scalar::Bool));
                Statement::Select(ty, to, condition, self.local(ty), self.local(ty))
            }
            4 | 5 => {
                // Seldom true, so that most functions go on.
                let ty = self.ty(|ty| ty.bits() >= 32 && !ty.is_float());
                let condition = self.random.pick(&[Condition::Equal, Condition::Greater]);
                let right = match condition {
                    Condition::Equal => Value::Number(self.random.pick(&[3, 12, 100])),
                    _ if self.random.below(2) == 0 => Value::Number(30_000),
                    _ => Value::Local(self.local(ty)),
                };
                Statement::Trap(condition, ty, self.local(ty), right, self.random.below(3) as u32)
            }
            6 if self.options.is_leaf || self.random.below(2) == 0 => {
                Statement::TrapIf(self.local(Scalar::Bool), true, 77)
            }
            _ if self.options.is_leaf => {
                Statement::Copy(Scalar::I64, self.local(Scalar::I64), self.local(Scalar::I64))
            }
            _ => {
                let bytes = match self.random.below(2) {
                    0 => Value::Number(self.random.below(9)),
                    _ => Value::Local(self.index),
                };
                let to = self.memory[0];
                match self.random.below(2) {
                    0 => Statement::CopyMemory(to, self.memory[0], bytes),
                    _ => Statement::FillMemory(to, self.local(Scalar::U8), bytes),
                }
            }
        }
    }

    fn access(&mut self) -> Statement {
        let ty = self.ty(|_| true);
        let memory = match ty {
            Scalar::F32 => self.memory[1],
            Scalar::F64 => self.memory[2],
            _ => self.memory[0],
        };
        let local = self.local(ty);
        let place = self.random.below(4);
        let bytes = place * i32::from(ty.size());
        let index = (self.random.below(2) == 0).then_some(self.index);
        match self.random.below(6) {
            0 | 1 => Statement::Load(ty, local, memory, bytes),
            2 => Statement::Store(ty, local, memory, bytes),
            3 => Statement::Element(ty, local, memory, index, place),
            4 => Statement::StoreElement(ty, local, memory, index, place),
            _ => Statement::Mask(self.local(Scalar::I64)),
        }
    }

    fn emit(&mut self, statement: Statement) {
        let body = &mut self.body;
        match statement {
            Statement::Constant(ty, to, number) => body.constant(ty, to, number),
            Statement::Wide(ty, to, bits) => body.wide_constant(ty, to, bits),
            Statement::Copy(ty, to, from) => body.copy(ty, to, from),
            Statement::Unary(unary, ty, to, from) => body.unary(unary, ty, to, from),
            Statement::Binary(binary, ty, to, left, right) => {
                body.binary(binary, ty, to, left, right);
            }
            Statement::Compare(condition, ty, to, left, right) => {
                body.compare(condition, ty, to, left, right);
            }
            Statement::Convert(ty, to, source, from) => body.convert(ty, to, source, from),
            Statement::Load(ty, to, from, bytes) => body.load(ty, to, from, bytes),
            Statement::Store(ty, value, to, bytes) => body.store(ty, value, to, bytes),
            Statement::Element(ty, to, array, index, more) => {
                body.load_element(ty, to, array, index, more);
            }
            Statement::StoreElement(ty, value, array, index, more) => {
                body.store_element(ty, value, array, index, more);
            }
            Statement::Observe(to, value) => body.call_host("observe", Some(to), &[value]),
            Statement::Select(ty, to, condition, first, second) => {
                body.select(ty, to, condition, first, second);
            }
            Statement::Trap(condition, ty, left, right, code) => {
                body.trap_compare(condition, ty, left, right, code);
            }
            Statement::TrapIf(condition, expected, code) => body.trap_if(condition, expected, code),
            Statement::CopyMemory(to, from, bytes) => body.copy_memory(to, from, bytes),
            Statement::FillMemory(to, value, bytes) => body.fill_memory(to, value, bytes),
            Statement::Mask(from) => body.binary(Binary::And, Scalar::I64, self.index, from, 7),
        }
    }

    /// A value that is computed into a local of its own and then copied, with statements in between.
    fn through_temporary(&mut self) {
        let ty = self.ty(|ty| Binary::Add.types().has(ty.into()));
        let (temporary, to) = (self.body.local(ty), self.local(ty));
        let right = self.second(ty, false);
        let left = self.local(ty);
        self.emit(Statement::Binary(Binary::Add, ty, temporary, left, right));
        for _ in 0..self.random.below(3) {
            let statement = match self.random.below(4) {
                0 => Statement::Copy(ty, self.local(ty), temporary),
                1 => Statement::Binary(Binary::Subtract, ty, to, to, Value::Local(temporary)),
                2 => Statement::Copy(ty, self.local(ty), to),
                _ => self.statement(),
            };
            self.emit(statement);
        }
        self.emit(Statement::Copy(ty, to, temporary));
    }

    /// Two loads from one address, and an effect on memory in between that may change what lies there.
    fn load_twice(&mut self) {
        let ty = self.ty(|ty| !ty.is_float());
        let memory = self.memory[0];
        let (first, second) = (self.local(ty), self.local(ty));
        let load = |to| Statement::Load(ty, to, memory, 0);
        self.emit(load(first));
        match self.random.below(4) {
            0 => {
                let other = self.ty(|ty| !ty.is_float());
                let value = self.local(other);
                self.emit(Statement::Store(other, value, memory, 0));
            }
            1 => {
                let value = self.local(Scalar::U8);
                self.emit(Statement::FillMemory(memory, value, Value::Number(3)));
            }
            2 => self.call(),
            _ => {
                let value = self.local(Scalar::I32);
                self.emit(Statement::StoreElement(Scalar::I32, value, memory, Some(self.index), 0));
            }
        }
        self.emit(load(second));
    }

    fn call(&mut self) {
        let (to, value) = (self.local(Scalar::I64), self.local(Scalar::I64));
        match self.options.functions {
            0 => self.emit(Statement::Observe(to, value)),
            functions => {
                let number = self.random.below(functions as usize) as u32;
                let other = self.local(Scalar::I64);
                let to = (self.random.below(4) != 0).then_some(to);
                self.body.call_function(number, to, &[value, other], Some(RESULT.into()));
            }
        }
    }

    /// A jump to `target` on some condition.
    fn branch(&mut self, target: Label) {
        let condition = self.random.pick(Condition::ALL);
        let ty = self.ty(|ty| condition.types().has(ty.into()));
        match self.random.below(3) {
            0 => {
                let bool_ = self.local(Scalar::Bool);
                self.body.branch_if(bool_, self.random.below(2) == 0, target);
            }
            1 => {
                let (left, right) = (self.local(ty), self.second(ty, true));
                self.body.branch(condition, ty, left, right, target);
            }
            _ => {
                let (to, left, right) =
                    (self.local(Scalar::Bool), self.local(ty), self.second(ty, true));
                self.body.compare(condition, ty, to, left, right);
                self.body.branch_if(to, self.random.below(2) == 0, target);
            }
        }
    }

    fn condition(&mut self, depth: u32) {
        let (other, end) = (self.body.label(), self.body.label());
        self.branch(other);
        self.sequence(depth, 4);
        self.body.jump(end);
        self.body.bind(other);
        self.sequence(depth, 4);
        self.body.bind(end);
    }

    /// A branch over a jump, or over statements.
    fn skip(&mut self, depth: u32) {
        let (over, end) = (self.body.label(), self.body.label());
        self.branch(over);
        if self.random.below(2) == 0 {
            self.body.jump(end);
        }
        self.body.bind(over);
        self.sequence(depth, 3);
        self.body.bind(end);
    }

    fn counted(&mut self, depth: u32) {
        let counter = self.body.local(Scalar::I32);
        let (head, end) = (self.body.label(), self.body.label());
        let rounds = 1 + self.random.below(3);
        let is_checked_first = self.random.below(2) == 0;
        self.body.constant(Scalar::I32, counter, 0);
        self.body.bind(head);
        if is_checked_first {
            self.body.branch(Condition::GreaterEqual, Scalar::I32, counter, rounds, end);
        }
        self.sequence(depth, 6);
        if self.random.below(4) == 0 {
            self.branch(end);
        }
        self.body.binary(Binary::Add, Scalar::I32, counter, counter, 1);
        match is_checked_first {
            true => self.body.jump(head),
            false => self.body.branch(Condition::Less, Scalar::I32, counter, rounds, head),
        }
        self.body.bind(end);
    }
}
