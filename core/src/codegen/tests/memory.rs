//! Copies, fills, addresses of slots, data and functions.

use std::vec::Vec;

use super::harness::{CONTEXT, HostFunctions, Program, plain, verified};
use crate::codegen::{NativeCompiler, Options};
use crate::ir::{Binary, FunctionBuilder, Local, Scalar, Value};

const I64: Scalar = Scalar::I64;
const POINTER: Scalar = Scalar::Pointer;

fn link(functions: &[Vec<u8>]) -> Program {
    let verified: Vec<_> = functions.iter().map(|bytes| verified(bytes)).collect();
    let instances: Vec<_> = verified.iter().map(plain).collect();
    Program::link(&mut NativeCompiler::new(), &instances, &HostFunctions::new(), Options::default())
}

/// `fn(to, from, value, count) -> i64`, with `operation` between uses of many locals. `swapped` puts the operands
/// into other registers.
fn around(
    fillers: usize,
    swapped: bool,
    operation: impl FnOnce(&mut FunctionBuilder, [Local; 4]),
) -> Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let [mut to, mut from] = [f.param(POINTER), f.param(POINTER)];
    if swapped {
        (to, from) = (from, to);
    }
    let [value, count] = [f.param(Scalar::U8), f.param(I64)];
    let locals: Vec<Local> = (0..fillers).map(|_| f.local(I64)).collect();
    for (number, &local) in (0..).zip(&locals) {
        f.binary(Binary::Add, I64, local, count, number);
        for _ in 0..6 {
            f.binary(Binary::Add, I64, local, local, 1);
        }
    }
    operation(&mut f, [to, from, value, count]);
    let sum = f.local(I64);
    f.binary(Binary::Add, I64, sum, sum, count);
    locals.iter().for_each(|&local| f.binary(Binary::Add, I64, sum, sum, local));
    f.return_value(I64, sum);
    f.finish().unwrap()
}

/// The result of a function of [`around`].
fn sum(fillers: usize, count: usize) -> u64 {
    (0..fillers).map(|number| count + number + 6).sum::<usize>() as u64 + count as u64
}

/// Runs a function on the regions of a buffer: where the destination begins, and the source. Returns its result, too.
fn run(
    program: &Program,
    swapped: bool,
    at: [usize; 2],
    value: u8,
    count: usize,
) -> (u64, Vec<u8>) {
    let mut buffer: Vec<u8> = (0..1000u32).map(|number| (number * 7 % 251) as u8).collect();
    let base = buffer.as_mut_ptr() as u64;
    let [to, from] = at.map(|at| base + at as u64);
    let pointers = if swapped { [from, to] } else { [to, from] };
    let arguments = [
        (POINTER, pointers[0]),
        (POINTER, pointers[1]),
        (Scalar::U8, value.into()),
        (I64, count as u64),
    ];
    (program.call(0, &arguments, Some(I64)).unwrap(), buffer)
}

fn expected(at: [usize; 2], count: usize, fill: Option<u8>) -> Vec<u8> {
    let mut buffer: Vec<u8> = (0..1000u32).map(|number| (number * 7 % 251) as u8).collect();
    match fill {
        Some(value) => buffer[at[0]..at[0] + count].fill(value),
        None => buffer.copy_within(at[1]..at[1] + count, at[0]),
    }
    buffer
}

#[test]
fn copies_and_fills_change_exactly_their_bytes() {
    let sizes = (0..=40).chain([47, 48, 63, 64, 65, 100, 127, 128, 129, 200]);
    for count in sizes {
        for fillers in [0, 20] {
            for swapped in [false, true] {
                for is_constant in [false, true] {
                    let bytes = |local| match is_constant {
                        true => Value::Number(count as i32),
                        false => Value::Local(local),
                    };
                    let copy = around(fillers, swapped, |f, [to, from, _, n]| {
                        f.copy_memory(to, from, bytes(n));
                    });
                    let copy = link(&[copy]);
                    for at in [[0, 500], [501, 3], [77, 77]] {
                        let found = run(&copy, swapped, at, 0, count);
                        let expected = (sum(fillers, count), expected(at, count, None));
                        assert_eq!(found, expected, "{count} {at:?} {fillers}");
                    }
                    let fill = around(fillers, swapped, |f, [to, _, value, n]| {
                        f.fill_memory(to, value, bytes(n));
                    });
                    let fill = link(&[fill]);
                    let found = run(&fill, swapped, [13, 500], 0xa5, count);
                    let expected = (sum(fillers, count), expected([13, 0], count, Some(0xa5)));
                    assert_eq!(found, expected, "{count} {fillers}");
                }
            }
        }
    }
}

#[test]
fn locals_survive_copies_and_fills() {
    for (fillers, count) in (0..=20).flat_map(|fillers| [32, 300].map(|count| (fillers, count))) {
        for is_constant in [false, true] {
            let bytes = |local| match is_constant {
                true => Value::Number(count as i32),
                false => Value::Local(local),
            };
            let copy = around(fillers, false, |f, [to, from, _, n]| {
                f.copy_memory(to, from, bytes(n));
            });
            let fill = around(fillers, false, |f, [to, _, value, n]| {
                f.fill_memory(to, value, bytes(n));
            });
            for function in [copy, fill] {
                let (found, _) = run(&link(&[function]), false, [0, 500], 7, count);
                assert_eq!(found, sum(fillers, count), "{fillers} {count} {is_constant}");
            }
        }
    }
}

#[test]
fn slots_are_apart_and_aligned() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let value = f.param(I64);
    let shapes = [(1, 1), (8, 8), (3, 2), (16, 16), (5, 4), (40, 16)];
    let [sum, bits, address] = [f.local(I64), f.local(I64), f.local(POINTER)];
    let slots = shapes.map(|(size, align)| (f.slot(size, align), size, align));
    let byte = f.local(Scalar::U8);
    for (number, &(slot, size, align)) in (1..).zip(&slots) {
        f.slot_address(address, slot, 0);
        f.constant(Scalar::U8, byte, number);
        f.fill_memory(address, byte, size as i32);
        f.convert(I64, bits, POINTER, address);
        f.binary(Binary::And, I64, bits, bits, align as i32 - 1);
        // Misalignment would show in the sum.
        f.binary(Binary::Multiply, I64, bits, bits, 1 << 20);
        f.binary(Binary::Add, I64, sum, sum, bits);
    }
    for &(slot, size, _) in &slots {
        for offset in [0, size as i32 - 1] {
            f.slot_address(address, slot, offset);
            f.load(Scalar::U8, byte, address, 0);
            f.convert(I64, bits, Scalar::U8, byte);
            f.binary(Binary::Add, I64, sum, sum, bits);
        }
    }
    f.binary(Binary::Add, I64, sum, sum, value);
    f.return_value(I64, sum);
    let program = link(&[f.finish().unwrap()]);
    assert_eq!(program.call(0, &[(I64, 1000)], Some(I64)), Ok(1000 + 2 * 21));
}

#[test]
fn data_is_behind_the_code_and_aligned() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let index = f.param(I64);
    let [address, value, sum] = [f.local(POINTER), f.local(I64), f.local(I64)];
    let table: Vec<u8> = (0..10u64).flat_map(|n| (n * n).to_le_bytes()).collect();
    let odd = f.data(b"abc", 1);
    let table = f.data(&table, 1024);
    f.data_address(address, table, 8);
    f.load_element(I64, value, address, Some(index), 0);
    f.convert(I64, sum, POINTER, address);
    f.binary(Binary::And, I64, sum, sum, 1023);
    f.binary(Binary::Add, I64, sum, sum, value);
    let byte = f.local(Scalar::U8);
    f.data_address(address, odd, 2);
    f.load(Scalar::U8, byte, address, 0);
    f.convert(I64, value, Scalar::U8, byte);
    f.binary(Binary::Add, I64, sum, sum, value);
    f.return_value(I64, sum);
    let bytes = f.finish().unwrap();
    let program = link(std::slice::from_ref(&bytes));
    assert_eq!(program.call(0, &[(I64, 6)], Some(I64)), Ok(8 + 49 + u64::from(b'c')));
    let mut compiler = NativeCompiler::new();
    let code = compiler.compile(&plain(&verified(&bytes)), &CONTEXT).unwrap();
    assert_eq!((code.align, code.bytes.len()), (1024, 1024 + 80));
    assert!(code.code_size < 100);
}
