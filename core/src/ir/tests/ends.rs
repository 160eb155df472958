//! Limit values of types, which machine code handles specially.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::vec::Vec;

use super::super::text::parse;
use super::super::*;
use super::machine::Machine;

/// Integers near powers of two, and halfway between adjacent floats.
fn integers() -> Vec<u64> {
    let mut all = Vec::new();
    for power in 0..64 {
        for more in [-1025i64, -1024, -513, -1, 0, 1, 127, 128, 129, 513, 1023, 1024, 1025] {
            all.push((1u64 << power).wrapping_add_signed(more));
            all.push((1u64 << power).wrapping_add_signed(more).wrapping_neg());
        }
    }
    all
}

fn floats() -> Vec<f64> {
    let odd =
        [0.0, -0.0, 0.5, 1.5, 254.9, 255.1, 1e300, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE];
    let exact = integers().into_iter().map(|bits| bits as f64);
    let all: Vec<f64> = odd.into_iter().chain(exact).collect();
    all.iter().flat_map(|&value| [value, -value, value.next_up(), value.next_down()]).collect()
}

fn values(scalar: Scalar) -> Vec<u64> {
    match scalar {
        Scalar::F32 => floats().iter().map(|value| (*value as f32).to_bits().into()).collect(),
        Scalar::F64 => floats().iter().map(|value| value.to_bits()).collect(),
        Scalar::Bool => std::vec![0, 1],
        _ => integers().iter().map(|bits| bits & (u64::MAX >> (64 - scalar.bits()))).collect(),
    }
}

fn is_nan(bits: u64, scalar: Scalar) -> bool {
    match scalar {
        Scalar::F32 => f32::from_bits(bits as u32).is_nan(),
        Scalar::F64 => f64::from_bits(bits).is_nan(),
        _ => false,
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn every_type_converts_to_every_other() {
    let text = "template t<A, B>(a: A) -> B\nlocal b: B\nconvert B b, A a\nreturn B b\nend";
    let templates = parse(text).unwrap();
    let verified = Verified::new(Function::parse(&templates[0].body).unwrap()).unwrap();
    let mut machine = Machine::new(BTreeMap::from([("t", verified.clone())]));
    for from in Scalar::ALL {
        for to in Scalar::ALL {
            let arguments = Arguments::new(&[from.into(), to.into()]).unwrap();
            let instance = verified.instance(arguments).unwrap();
            let linked = machine.link("t", &[from, to]);
            for bits in values(from) {
                let mut nothing = Memory { base: 0, bytes: &mut [] };
                let expected = interpret(&instance, &[bits], &mut nothing, &mut 10).unwrap();
                let got = linked.call(&[(from, bits)], Some(to)).unwrap();
                let same = got == expected || is_nan(got, to) && is_nan(expected, to);
                assert!(same, "{from} 0x{bits:x} as {to}: 0x{got:x}, not 0x{expected:x}");
            }
        }
    }
}

/// The stack pointer at the entry of a callee.
#[unsafe(naked)]
extern "C" fn stack_pointer() -> u64 {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!("mov rax, rsp", "ret");
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!("mov x0, sp", "ret");
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn stack_is_aligned_at_calls() {
    // With an increasing number of locals that are live across the call, and arguments on the stack.
    for count in 0..12 {
        let mut body = FunctionBuilder::new(0, Some(Scalar::U64.into()));
        let locals: Vec<Local> = (0..=count).map(|_| body.local(Scalar::U64)).collect();
        let at = locals[0];
        for &local in &locals {
            body.constant(Scalar::U64, local, 0);
        }
        body.call_host("stack_pointer", Some(at), &locals);
        for &local in locals.iter().skip(1) {
            body.binary(Binary::Add, Scalar::U64, at, at, local);
        }
        body.return_value(Scalar::U64, at);
        let bytes = body.finish().unwrap();
        let verified = Verified::new(Function::parse(&bytes).unwrap()).unwrap();
        let mut machine = Machine::new(BTreeMap::from([("t", verified)]));
        machine.host.insert("stack_pointer", stack_pointer as *const () as usize);
        let at = machine.link("t", &[]).call(&[], Some(Scalar::U64)).unwrap();
        // x86-64 has pushed the return address.
        let pushed = if cfg!(target_arch = "x86_64") { 8 } else { 0 };
        assert_eq!(at % 16, pushed, "with {count} locals");
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn trap_hook_is_called_with_the_stack_of_the_function() {
    // Eight locals in callee-saved registers, and a frame.
    let mut body = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let (a, b) = (body.param(Scalar::I64), body.param(Scalar::I64));
    let locals: Vec<Local> = (0..20).map(|_| body.local(Scalar::I64)).collect();
    for &local in &locals {
        body.binary(Binary::Add, Scalar::I64, local, a, 1);
    }
    for &local in &locals {
        body.binary(Binary::Divide, Scalar::I64, local, local, b);
        body.binary(Binary::Add, Scalar::I64, a, a, local);
    }
    body.return_value(Scalar::I64, a);
    let bytes = body.finish().unwrap();
    let verified = Verified::new(Function::parse(&bytes).unwrap()).unwrap();
    let linked = Machine::new(BTreeMap::from([("t", verified)])).link("t", &[]);
    let call = |a, b| linked.call(&[(Scalar::I64, a), (Scalar::I64, b)], Some(Scalar::I64));
    assert_eq!(call(9, 2), Ok(9 + 20 * 5));
    let at = 40 + 20 * 12;
    assert_eq!(call(9, 0), Err(Stop::Trap { code: DIVISION_BY_ZERO, at, operands: [0; 2] }));
    assert_eq!(call(9, 2), Ok(9 + 20 * 5));
}
