//! Functions whose code is larger than the reach of short branches.

use super::harness::{CONTEXT, HostFunctions, Program, plain, verified};
use crate::codegen::{NativeCompiler, Options};
use crate::ir::{Binary, Condition, FunctionBuilder, Scalar, Stop};

const I64: Scalar = Scalar::I64;

/// Distinct constants that take several instructions.
fn constant(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// `fn(context, a, b)`: `a / b` and data behind the code, mixed with `count` constants unless `a` is negative.
fn build(count: u64) -> std::vec::Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    f.param(Scalar::Pointer);
    let [a, b] = [f.param(I64), f.param(I64)];
    let (end, data) = (f.label(), f.local(Scalar::Pointer));
    let table = f.data(&7u64.to_le_bytes(), 8);
    f.binary(Binary::Divide, I64, b, a, b);
    f.data_address(data, table, 0);
    f.branch(Condition::Less, I64, a, 0, end);
    let value = f.local(I64);
    for number in 0..count {
        f.wide_constant(I64, value, constant(number));
        f.binary(Binary::Xor, I64, b, b, value);
    }
    f.bind(end);
    f.load(I64, a, data, 0);
    f.binary(Binary::Add, I64, a, a, b);
    f.return_value(I64, a);
    f.finish().unwrap()
}

#[test]
fn branches_reach_across_functions_of_all_sizes() {
    // The second size exceeds a reach of 1 MiB; the third is known to do so before the function is lowered.
    for count in [100, 65_000, 110_000] {
        let bytes = build(count);
        let verified = verified(&bytes);
        let all = (0..count).fold(0, |all, number| all ^ constant(number));
        for options in [Options::default(), CONTEXT] {
            let mut compiler = NativeCompiler::new();
            let host = HostFunctions::new();
            let program = Program::link(&mut compiler, &[plain(&verified)], &host, options);
            let call = |a: i64, b: i64| {
                let arguments =
                    [(Scalar::Pointer, 0), (I64, a.cast_unsigned()), (I64, b.cast_unsigned())];
                program.call(0, &arguments, Some(I64))
            };
            assert_eq!(call(-60, 3), Ok(-13i64 as u64));
            assert_eq!(call(60, 3), Ok((20 ^ all).wrapping_add(7)));
            assert!(matches!(call(1, 0), Err(Stop::Trap { code: 1, .. })));
        }
    }
}

#[test]
fn address_of_a_function_is_the_same_out_of_every_slot() {
    // The slots take more than a page.
    const COUNT: usize = 600;
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let [first, other] = [f.local(Scalar::Pointer), f.local(Scalar::Pointer)];
    let [is_other, count] = [f.local(Scalar::Bool), f.local(I64)];
    let sum = f.local(I64);
    f.function_address(first, 1, &[], Some(I64.into()));
    for _ in 0..COUNT {
        f.function_address(other, 1, &[], Some(I64.into()));
        f.compare(Condition::NotEqual, Scalar::Pointer, is_other, first, other);
        f.convert(I64, count, Scalar::Bool, is_other);
        f.binary(Binary::Add, I64, sum, sum, count);
    }
    f.return_value(I64, sum);
    let mut callee = FunctionBuilder::new(0, Some(I64.into()));
    let zero = callee.local(I64);
    callee.return_value(I64, zero);
    let bytes = [f, callee].map(|function| function.finish().unwrap());
    let functions = bytes.each_ref().map(|bytes| verified(bytes));
    let instances = functions.each_ref().map(plain);
    let mut compiler = NativeCompiler::new();
    let host = HostFunctions::new();
    let program = Program::link(&mut compiler, &instances, &host, Options::default());
    assert_eq!(program.call(0, &[], Some(I64)), Ok(0));
}
