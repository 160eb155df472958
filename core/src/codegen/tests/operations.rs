//! Every operation on limit values of every type, with its operands in registers and in the frame, in all ways in which
//! they can be the same.

use std::vec::Vec;

use super::harness::{CONTEXT, HostFunctions, Program, plain, verified};
use crate::codegen::{NativeCompiler, Options, TrapConvention};
use crate::ir::{
    Binary, Condition, FunctionBuilder, Local, Memory, ProgramHost, Scalar, Stop, Unary, ValueType,
};

/// The operation under test.
#[derive(Clone, Copy, Debug)]
enum Op {
    Unary(Unary),
    Binary(Binary),
    BinaryNumber(Binary, i32),
    /// With one operand loaded from memory by the instruction before.
    BinaryLoaded(Binary, bool),
    Convert(Scalar),
    Compare(Condition),
    CompareNumber(Condition, i32),
    Branch(Condition),
    BranchNumber(Condition, i32),
    BranchLoaded(Condition, i32),
    /// By a bool that a comparison has set.
    BranchIf(Condition, bool),
    Trap(Condition),
    TrapNumber(Condition, i32),
    TrapLoaded(Condition, i32),
    /// Behind a branch on the same condition.
    BranchTrap(Condition),
    TrapIf(Condition, bool),
    /// In front of a jump.
    TrapJump(Condition, i32),
    /// A branch by the result of an operation, which is read behind it if the bool says so.
    ResultBranch(Binary, (Condition, i32), bool),
    /// As `ResultBranch`, with the second operand loaded from memory.
    ResultLoaded(Binary, Condition),
    /// A trap by the result of an operation.
    ResultTrap(Binary, (Condition, i32)),
    Select(Condition),
    /// By a bool that is kept.
    SelectBool(Condition),
}

const TRAP: u32 = 77;

/// The place of traps, small and large.
const LINES: [u32; 2] = [0xff_ffff, 0x0102_0304];

impl Op {
    fn result(self, ty: Scalar) -> Scalar {
        match self {
            Op::Unary(_) | Op::Binary(_) | Op::BinaryNumber(..) | Op::BinaryLoaded(..) => ty,
            Op::Select(_) | Op::SelectBool(_) => ty,
            Op::Convert(to) => to,
            _ => Scalar::Bool,
        }
    }

    fn emit(self, f: &mut FunctionBuilder, ty: Scalar, [d, a, b]: [Local; 3]) {
        let result = self.result(ty);
        match self {
            Op::Unary(unary) => f.unary(unary, ty, d, a),
            Op::Binary(binary) => f.binary(binary, ty, d, a, b),
            Op::BinaryNumber(binary, number) => f.binary(binary, ty, d, a, number),
            Op::BinaryLoaded(binary, swapped) => {
                let loaded = reload(f, ty, b);
                let [left, right] = if swapped { [loaded, a] } else { [a, loaded] };
                f.binary(binary, ty, d, left, right);
            }
            Op::Convert(to) => f.convert(to, d, ty, a),
            Op::Compare(condition) => f.compare(condition, ty, d, a, b),
            Op::CompareNumber(condition, number) => f.compare(condition, ty, d, a, number),
            Op::Branch(_) | Op::BranchNumber(..) | Op::BranchIf(..) | Op::BranchLoaded(..) => {
                let (taken, done) = (f.label(), f.label());
                match self {
                    Op::Branch(condition) => f.branch(condition, ty, a, b, taken),
                    Op::BranchNumber(condition, number) => {
                        f.branch(condition, ty, a, number, taken)
                    }
                    Op::BranchLoaded(condition, number) => {
                        let loaded = reload(f, ty, a);
                        f.branch(condition, ty, loaded, number, taken);
                    }
                    Op::BranchIf(condition, expected) => {
                        let bool = f.local(Scalar::Bool);
                        f.compare(condition, ty, bool, a, b);
                        f.branch_if(bool, expected, taken);
                    }
                    _ => {}
                }
                f.constant(result, d, 0);
                f.jump(done);
                f.bind(taken);
                f.constant(result, d, 1);
                f.bind(done);
            }
            Op::Trap(condition) => {
                f.trap_compare(condition, ty, a, b, TRAP);
                f.constant(result, d, 1);
            }
            Op::TrapNumber(condition, number) => {
                f.trap_compare(condition, ty, a, number, TRAP);
                f.constant(result, d, 1);
            }
            Op::TrapLoaded(condition, number) => {
                let loaded = reload(f, ty, a);
                f.trap_compare(condition, ty, loaded, number, TRAP);
                f.constant(result, d, 1);
            }
            Op::BranchTrap(condition) => {
                let done = f.label();
                f.branch(condition, ty, a, b, done);
                f.trap_compare(condition, ty, a, b, TRAP + 1);
                f.trap_compare(condition.swapped(), ty, a, b, TRAP);
                f.bind(done);
                f.constant(result, d, 1);
            }
            Op::TrapIf(condition, expected) => {
                let bool = f.local(Scalar::Bool);
                f.compare(condition, ty, bool, a, b);
                f.trap_if(bool, expected, TRAP);
                f.constant(result, d, 1);
            }
            Op::TrapJump(condition, number) => {
                let done = f.label();
                f.constant(result, d, 1);
                f.trap_compare(condition, ty, a, number, TRAP);
                f.jump(done);
                f.trap(TRAP + 1);
                f.bind(done);
            }
            Op::ResultBranch(binary, (condition, number), is_kept) => {
                let (computed, taken, done) = (f.local(ty), f.label(), f.label());
                f.binary(binary, ty, computed, a, b);
                f.branch(condition, ty, computed, number, taken);
                f.constant(result, d, 0);
                f.jump(done);
                f.bind(taken);
                f.constant(result, d, 1);
                if is_kept {
                    f.compare(condition, ty, d, computed, number);
                }
                f.bind(done);
            }
            Op::ResultLoaded(binary, condition) => {
                let (computed, done) = (f.local(ty), f.label());
                let loaded = reload(f, ty, b);
                f.binary(binary, ty, computed, a, loaded);
                f.constant(result, d, 0);
                f.branch(condition, ty, computed, 0, done);
                f.constant(result, d, 1);
                f.bind(done);
            }
            Op::ResultTrap(binary, (condition, number)) => {
                let computed = f.local(ty);
                f.binary(binary, ty, computed, a, b);
                f.trap_compare(condition, ty, computed, number, TRAP);
                f.constant(result, d, 1);
            }
            Op::Select(condition) => {
                let bool = f.local(Scalar::Bool);
                f.compare(condition, ty, bool, a, b);
                f.select(ty, d, bool, a, b);
            }
            Op::SelectBool(condition) => {
                let bool = f.local(Scalar::Bool);
                f.compare(condition, ty, bool, a, b);
                f.select(ty, d, bool, a, b);
                f.unary(Unary::Not, Scalar::Bool, bool, bool);
            }
        }
    }

    fn has_second(self) -> bool {
        !matches!(
            self,
            Op::Unary(_)
                | Op::Convert(_)
                | Op::BinaryNumber(..)
                | Op::CompareNumber(..)
                | Op::BranchNumber(..)
                | Op::BranchLoaded(..)
                | Op::TrapNumber(..)
                | Op::TrapLoaded(..)
                | Op::TrapJump(..)
        )
    }
}

/// The value of `local` as loaded from memory.
fn reload(f: &mut FunctionBuilder, ty: Scalar, local: Local) -> Local {
    let (slot, pointer, loaded) = (f.slot(8, 8), f.local(Scalar::Pointer), f.local(ty));
    f.slot_address(pointer, slot, 0);
    f.store(ty, local, pointer, 0);
    f.load(ty, loaded, pointer, 0);
    loaded
}

/// Which of destination and operands are one local.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Same {
    None,
    First,
    Second,
    Operands,
    All,
}

/// What competes for registers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pressure {
    None,
    /// More locals than registers, that are used more often than the operands.
    Locals,
    /// Calls before and behind the operation.
    Calls,
}

#[derive(Clone, Copy, Debug)]
struct Variant {
    same: Same,
    /// Whether operands are read behind the operation.
    live: bool,
    pressure: Pressure,
}

fn variants(op: Op, ty: Scalar) -> Vec<Variant> {
    let mut all = Vec::new();
    for same in [Same::None, Same::First, Same::Second, Same::Operands, Same::All] {
        let needs_second = matches!(same, Same::Second | Same::Operands | Same::All);
        let needs_result = matches!(same, Same::First | Same::Second | Same::All);
        if needs_second && !op.has_second() || needs_result && op.result(ty) != ty {
            continue;
        }
        for live in [false, true] {
            for pressure in [Pressure::None, Pressure::Locals, Pressure::Calls] {
                // The second operand is not in a register that could be shared.
                if !op.has_second() && live == (pressure == Pressure::Locals) {
                    continue;
                }
                all.push(Variant { same, live, pressure });
            }
        }
    }
    all
}

const FILLERS: u32 = 20;

/// `fn(context, out, seed, a, b) -> checksum`, which stores destination and operands to `out`.
fn build(op: Op, ty: Scalar, variant: Variant) -> Vec<u8> {
    let Variant { same, live, pressure } = variant;
    let mut f = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    f.param(Scalar::Pointer);
    let out = f.param(Scalar::Pointer);
    let seed = f.param(Scalar::I64);
    let [a, mut b] = [f.param(ty), f.param(ty)];
    let mut d = f.local(op.result(ty));
    match same {
        Same::None => {}
        Same::First => d = a,
        Same::Second => d = b,
        Same::Operands => b = a,
        Same::All => (d, b) = (a, a),
    }
    let sum = f.local(Scalar::I64);
    let count = if pressure == Pressure::Locals { FILLERS } else { 1 };
    let ints: Vec<Local> = (0..count).map(|_| f.local(Scalar::I64)).collect();
    let floats: Vec<Local> = (0..count).map(|_| f.local(Scalar::F64)).collect();
    for (number, (&int, &float)) in (0..).zip(ints.iter().zip(&floats)) {
        f.binary(Binary::Add, Scalar::I64, int, seed, number);
        f.convert(Scalar::F64, float, Scalar::I64, int);
        if pressure == Pressure::Locals {
            // More weight than the operands have.
            for _ in 0..6 {
                f.binary(Binary::Add, Scalar::I64, int, int, 1);
                f.binary(Binary::Add, Scalar::F64, float, float, 1);
            }
        }
    }
    if pressure == Pressure::Calls {
        f.call_host("nothing", None, &[]);
    }
    f.location(line(variant), 0, None);
    op.emit(&mut f, ty, [d, a, b]);
    f.location(0, 0, None);
    if pressure == Pressure::Calls {
        f.call_host("nothing", None, &[]);
    }
    f.store(op.result(ty), d, out, 0);
    if live {
        f.store(ty, a, out, 8);
        f.store(ty, b, out, 16);
    }
    for (&int, &float) in ints.iter().zip(&floats) {
        let back = f.local(Scalar::I64);
        f.convert(Scalar::I64, back, Scalar::F64, float);
        f.binary(Binary::Add, Scalar::I64, sum, sum, int);
        f.binary(Binary::Add, Scalar::I64, sum, sum, back);
    }
    f.return_value(Scalar::I64, sum);
    f.finish().unwrap()
}

fn line(variant: Variant) -> u32 {
    LINES[usize::from(variant.live)]
}

fn checksum(seed: i64, pressure: Pressure) -> i64 {
    match pressure {
        Pressure::Locals => (0..i64::from(FILLERS)).map(|number| 2 * (seed + number + 6)).sum(),
        _ => 2 * seed,
    }
}

/// Limits of types, and values near them.
fn limits(ty: Scalar) -> Vec<u64> {
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.5,
        1e10,
        -1e20,
        2147483648.0,
        -2147483649.0,
        9.3e18,
        1.9e19,
        f64::NAN,
        f64::INFINITY,
        f64::MIN_POSITIVE,
    ];
    match ty {
        Scalar::F32 => floats.iter().map(|&value| (value as f32).to_bits().into()).collect(),
        Scalar::F64 => floats.iter().map(|value| value.to_bits()).collect(),
        Scalar::Bool => std::vec![0, 1],
        _ => {
            let top = 1u64 << (ty.bits() - 1);
            let odd = [0, 1, 2, 3, 7, 10, top - 1, top, top + 1, top >> 1, 100, 33];
            let negative = [1u64, 2, 3, 7, 10, 100].map(u64::wrapping_neg);
            let all = odd.into_iter().chain(negative);
            all.map(|bits| bits & (u64::MAX >> (64 - ty.bits()))).collect()
        }
    }
}

const NUMBERS: [i32; 26] = [
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
    4,
    5,
    7,
    -7,
    8,
    -8,
    9,
    10,
    16,
    31,
    63,
    64,
    100,
    127,
    -128,
    255,
    1000,
    i32::MAX,
    i32::MIN,
];

fn is_nan(bits: u64, ty: Scalar) -> bool {
    match ty {
        Scalar::F32 => f32::from_bits(bits as u32).is_nan(),
        Scalar::F64 => f64::from_bits(bits).is_nan(),
        _ => false,
    }
}

/// The result of the interpreter for the operation alone.
fn expect(op: Op, ty: Scalar, values: &[[u64; 2]]) -> Vec<Result<u64, Stop>> {
    let mut f = FunctionBuilder::new(0, Some(ValueType::from(op.result(ty))));
    let [a, b] = [f.param(ty), f.param(ty)];
    let d = f.local(op.result(ty));
    op.emit(&mut f, ty, [d, a, b]);
    f.return_value(op.result(ty), d);
    let bytes = f.finish().unwrap();
    let verified = verified(&bytes);
    let instance = plain(&verified);
    let mut memory = Memory { base: 0, bytes: &mut [] };
    let functions = [instance];
    let mut program = ProgramHost::new(&functions, &mut memory, u64::MAX).unwrap();
    values.iter().map(|values| program.call_function(0, values)).collect()
}

extern "C" fn nothing() {}

struct Runner {
    compiler: NativeCompiler,
    host: HostFunctions,
    functions: usize,
    variants: usize,
}

impl Runner {
    fn new() -> Self {
        let host = [("nothing", nothing as *const () as usize)].into();
        Self { compiler: NativeCompiler::new(), host, functions: 0, variants: 0 }
    }

    fn check(&mut self, op: Op, ty: Scalar) {
        let limits = limits(ty);
        let pairs: Vec<[u64; 2]> = match op.has_second() {
            true => limits.iter().flat_map(|&a| limits.iter().map(move |&b| [a, b])).collect(),
            false => limits.iter().map(|&a| [a, a]).collect(),
        };
        let same: Vec<[u64; 2]> = limits.iter().map(|&a| [a, a]).collect();
        let expected = [expect(op, ty, &pairs), expect(op, ty, &same)];
        // An emulator takes a long time for new code.
        let step = if cfg!(target_arch = "x86_64") { 1 } else { 41 };
        for variant in variants(op, ty) {
            self.variants += 1;
            if !self.variants.is_multiple_of(step) {
                continue;
            }
            let (values, expected) = match variant.same {
                Same::Operands | Same::All => (&same, &expected[1]),
                _ => (&pairs, &expected[0]),
            };
            self.run(op, ty, variant, values, expected);
        }
    }

    fn run(
        &mut self,
        op: Op,
        ty: Scalar,
        variant: Variant,
        values: &[[u64; 2]],
        expected: &[Result<u64, Stop>],
    ) {
        let bytes = build(op, ty, variant);
        let verified = verified(&bytes);
        self.functions += 1;
        let options = if self.functions.is_multiple_of(2) { CONTEXT } else { Options::default() };
        let program = Program::link(&mut self.compiler, &[plain(&verified)], &self.host, options);
        for (&[a, b], expected) in values.iter().zip(expected) {
            let mut out = [0u64; 3];
            let pointer = out.as_mut_ptr() as u64;
            let arguments = [
                (Scalar::Pointer, 0),
                (Scalar::Pointer, pointer),
                (Scalar::I64, 1000),
                (ty, a),
                (ty, b),
            ];
            let got = program.call(0, &arguments, Some(Scalar::I64));
            let show = || std::format!("{op:?} {ty} {variant:?} 0x{a:x} 0x{b:x}");
            let bits = match (*expected, got) {
                (Ok(bits), Ok(sum)) => {
                    assert_eq!(sum as i64, checksum(1000, variant.pressure), "{}", show());
                    bits
                }
                (Err(Stop::Trap { code, operands, .. }), Err(trap)) => {
                    let is_hook = options.traps == TrapConvention::Hook;
                    let operands = if is_hook { operands } else { [0; 2] };
                    let expected = Stop::Trap { code, at: line(variant), operands };
                    assert_eq!(trap, expected, "{}", show());
                    continue;
                }
                _ => panic!("{}: {got:?}, not {expected:?}", show()),
            };
            let result = op.result(ty);
            let stored = out[0] & (u64::MAX >> (64 - result.bits()));
            let is_same = stored == bits || is_nan(stored, result) && is_nan(bits, result);
            assert!(is_same, "{}: 0x{stored:x}, not 0x{bits:x}", show());
            if variant.live {
                let a = if matches!(variant.same, Same::First | Same::All) { stored } else { a };
                let b = match variant.same {
                    Same::Second => stored,
                    Same::Operands | Same::All => a,
                    _ => b,
                };
                assert_eq!([out[1], out[2]], [a, b], "{}", show());
            }
        }
    }

    fn check_all(&mut self, types: crate::ir::TypeSet, ops: &[Op]) {
        for ty in Scalar::ALL.into_iter().filter(|&ty| types.has(ty.into())) {
            for &op in ops {
                self.check(op, ty);
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn unary_operations_and_conversions_agree_with_the_interpreter() {
    let mut runner = Runner::new();
    for &unary in Unary::ALL {
        runner.check_all(unary.types(), &[Op::Unary(unary)]);
    }
    let conversions = Scalar::ALL.map(Op::Convert);
    runner.check_all(crate::ir::TypeSet::SCALARS, &conversions);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn binary_operations_agree_with_the_interpreter() {
    let mut runner = Runner::new();
    for &binary in Binary::ALL {
        let ops =
            [Op::Binary(binary), Op::BinaryLoaded(binary, false), Op::BinaryLoaded(binary, true)];
        runner.check_all(binary.types(), &ops);
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn binary_operations_with_numbers_agree_with_the_interpreter() {
    let mut runner = Runner::new();
    for &binary in Binary::ALL {
        let ops = NUMBERS.map(|number| Op::BinaryNumber(binary, number));
        let without_bool = binary.types().and(crate::ir::TypeSet::NUMBERS);
        runner.check_all(without_bool, &ops);
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn comparisons_agree_with_the_interpreter() {
    let mut runner = Runner::new();
    for &condition in Condition::ALL {
        let ops = [
            Op::Compare(condition),
            Op::Branch(condition),
            Op::BranchIf(condition, true),
            Op::BranchIf(condition, false),
            Op::Trap(condition),
            Op::TrapIf(condition, true),
            Op::TrapIf(condition, false),
            Op::Select(condition),
            Op::SelectBool(condition),
            Op::BranchTrap(condition),
        ];
        runner.check_all(condition.types(), &ops);
        let numbers = [0, 1, -1, 100, i32::from(i16::MIN)];
        for number in numbers {
            let ops = [
                Op::CompareNumber(condition, number),
                Op::BranchNumber(condition, number),
                Op::TrapNumber(condition, number),
                Op::BranchLoaded(condition, number),
                Op::TrapLoaded(condition, number),
                Op::TrapJump(condition, number),
            ];
            runner.check_all(condition.types().and(crate::ir::TypeSet::NUMBERS), &ops);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn comparisons_of_results_agree_with_the_interpreter() {
    let mut runner = Runner::new();
    for binary in [Binary::Add, Binary::Subtract, Binary::And, Binary::Xor, Binary::Multiply] {
        for &condition in Condition::ALL {
            let ops = [
                Op::ResultBranch(binary, (condition, 0), false),
                Op::ResultBranch(binary, (condition, 0), true),
                Op::ResultLoaded(binary, condition),
                Op::ResultTrap(binary, (condition, 0)),
            ];
            let types = condition.types().and(binary.types()).and(crate::ir::TypeSet::NUMBERS);
            runner.check_all(types, &ops);
        }
    }
    for binary in [Binary::Divide, Binary::Remainder] {
        for (condition, number) in [(Condition::Equal, 0), (Condition::Less, 2)] {
            let ops = [
                Op::ResultBranch(binary, (condition, number), false),
                Op::ResultBranch(binary, (condition, number), true),
                Op::ResultTrap(binary, (condition, number)),
            ];
            runner.check_all(binary.types(), &ops);
        }
    }
}
