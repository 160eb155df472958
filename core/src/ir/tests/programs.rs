//! Typical generic functions, from text to result.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::text::{ParsedFunction, parse};
use super::super::*;
use super::machine::Machine;

pub(super) const PROGRAMS: &str = include_str!("programs.smt");

/// All functions of the text, verified.
fn with_machine(run: impl FnOnce(Machine<'_>)) {
    let templates: Vec<ParsedFunction> = parse(PROGRAMS).unwrap();
    let bodies: BTreeMap<&str, Verified<'_>> = templates
        .iter()
        .map(|template| {
            let body = Function::parse(&template.body).unwrap();
            (template.name.as_str(), Verified::new(body).unwrap())
        })
        .collect();
    run(Machine::new(bodies));
}

const INTEGERS: [Scalar; 8] = [
    Scalar::I8,
    Scalar::I16,
    Scalar::I32,
    Scalar::I64,
    Scalar::U8,
    Scalar::U16,
    Scalar::U32,
    Scalar::U64,
];

/// Unordered numbers.
fn scattered(count: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
    .take(count)
}

fn address(bytes: &mut [u8]) -> (Scalar, u64) {
    (Scalar::Pointer, bytes.as_mut_ptr() as u64)
}

fn pack(values: &[u64], scalar: Scalar) -> Vec<u8> {
    let size = usize::from(scalar.size());
    values.iter().flat_map(|value| value.to_le_bytes()[..size].to_vec()).collect()
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn maximum_of_two() {
    with_machine(|mut machine| {
        for (scalar, a, b, greater) in [
            (Scalar::I8, 0x80, 1, 1),
            (Scalar::U8, 0x80, 1, 0x80),
            (Scalar::I64, u64::MAX, 5, 5),
            (Scalar::U64, u64::MAX, 5, u64::MAX),
            (Scalar::F64, 2.5f64.to_bits(), (-1.0f64).to_bits(), 2.5f64.to_bits()),
            (Scalar::F32, 2.5f32.to_bits().into(), 3f32.to_bits().into(), 3f32.to_bits().into()),
            (Scalar::Pointer, 1 << 63, 7, 1 << 63),
        ] {
            let max = machine.link("max", &[scalar]);
            let got = max.call(&[(scalar, a), (scalar, b)], Some(scalar));
            assert_eq!(got, Ok(greater), "{scalar}");
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn sum_of_a_buffer() {
    with_machine(|mut machine| {
        for scalar in INTEGERS {
            let values: Vec<u64> = scattered(100).collect();
            let mut bytes = pack(&values, scalar);
            let sum = machine.link("sum", &[scalar]);
            let expected = values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value));
            let expected = expected & (u64::MAX >> (64 - scalar.bits()));
            let arguments = [address(&mut bytes), (Scalar::I64, 100)];
            assert_eq!(sum.call(&arguments, Some(scalar)), Ok(expected), "{scalar}");
        }
        let mut bytes = pack(&[1.5f64.to_bits(), 2.25f64.to_bits()], Scalar::F64);
        let sum = machine.link("sum", &[Scalar::F64]);
        let got = sum.call(&[address(&mut bytes), (Scalar::I64, 2)], Some(Scalar::F64));
        assert_eq!(got, Ok(3.75f64.to_bits()));
    });
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn buffer_is_sorted() {
    with_machine(|mut machine| {
        for scalar in INTEGERS {
            let shift = 64 - scalar.bits();
            let key = |value: &u64| match scalar.is_signed() {
                true => i128::from((value << shift).cast_signed() >> shift),
                false => i128::from(value << shift >> shift),
            };
            let mut values: Vec<u64> = scattered(1000).collect();
            let mut bytes = pack(&values, scalar);
            let sort = machine.link("sort", &[scalar]);
            let last = [address(&mut bytes), (Scalar::I64, 0), (Scalar::I64, 999)];
            assert_eq!(sort.call(&last, None), Ok(0));
            values.sort_by_key(key);
            assert_eq!(bytes, pack(&values, scalar), "{scalar}");
        }
        let floats = [3.5, -1.0, 1e300, 0.25].map(f64::to_bits);
        let mut bytes = pack(&floats, Scalar::F64);
        let sort = machine.link("sort", &[Scalar::F64]);
        let last = [address(&mut bytes), (Scalar::I64, 0), (Scalar::I64, 3)];
        assert_eq!(sort.call(&last, None), Ok(0));
        assert_eq!(bytes, pack(&[-1.0, 0.25, 3.5, 1e300].map(f64::to_bits), Scalar::F64));
    });
}

std::thread_local! {
    static MEMORY: core::cell::RefCell<Vec<std::boxed::Box<[u64]>>> =
        const { core::cell::RefCell::new(Vec::new()) };
}

/// Memory that is freed when the thread ends.
extern "C" fn allocate(bytes: u64) -> u64 {
    let words = usize::try_from(bytes).unwrap().div_ceil(8);
    let mut memory = std::vec![0u64; words].into_boxed_slice();
    let address = memory.as_mut_ptr() as u64;
    MEMORY.with_borrow_mut(|all| all.push(memory));
    address
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn vector_grows_for_four_types() {
    with_machine(|mut machine| {
        machine.host.insert("allocate", allocate as *const () as usize);
        for scalar in [Scalar::I8, Scalar::U32, Scalar::F64, Scalar::I64] {
            let [push, get] = ["Vec.push", "Vec.get"].map(|name| machine.link(name, &[scalar]));
            let mut vector = [0u8; 24];
            let this = address(&mut vector);
            let values: Vec<u64> = scattered(50)
                .map(|value| value >> 2 & (u64::MAX >> (64 - scalar.bits())))
                .collect();
            for &value in &values {
                assert_eq!(push.call(&[this, (scalar, value)], None), Ok(0));
            }
            for (index, &value) in (0..).zip(&values) {
                let got = get.call(&[this, (Scalar::U64, index)], Some(scalar));
                assert_eq!(got, Ok(value), "{scalar}");
            }
            let beyond = get.call(&[this, (Scalar::U64, 50)], Some(scalar));
            assert!(matches!(beyond, Err(Stop::Trap { code: 16, .. })), "{beyond:?}");
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn recursive_function_returns_its_result() {
    with_machine(|mut machine| {
        let fib = machine.link("fib", &[Scalar::I32]);
        assert_eq!(fib.call(&[(Scalar::I32, 20)], Some(Scalar::I32)), Ok(6765));
    });
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn division_by_zero_is_an_error_and_the_lowest_number_wraps() {
    with_machine(|mut machine| {
        for scalar in INTEGERS {
            let divide = machine.link("divide", &[scalar]);
            let call = |a, b| divide.call(&[(scalar, a), (scalar, b)], Some(scalar));
            let trapped = call(7, 0);
            assert!(matches!(trapped, Err(Stop::Trap { code: 1, .. })), "{trapped:?}");
            assert_eq!(call(7, 2), Ok(3));
            if scalar.is_signed() {
                let ones = u64::MAX >> (64 - scalar.bits());
                let lowest = 1 << (scalar.bits() - 1);
                assert_eq!(call(lowest, ones), Ok(lowest), "{scalar}");
            }
        }
    });
}
