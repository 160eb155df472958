//! Traps by way of a context, stack limits, landing pads, and the limits of the code generator.

use std::vec::Vec;

use super::harness::{CONTEXT, Context, HostFunctions, Program, STACK_LIMIT, plain, verified};
use crate::codegen::{CodegenError, Limit, NativeCompiler, Options};
use crate::ir::{Binary, Condition, FunctionBuilder, Local, Scalar, Stop};

const I64: Scalar = Scalar::I64;

fn link(functions: &[Vec<u8>], options: Options) -> Program {
    let verified: Vec<_> = functions.iter().map(|bytes| verified(bytes)).collect();
    let instances: Vec<_> = verified.iter().map(plain).collect();
    Program::link(&mut NativeCompiler::new(), &instances, &HostFunctions::new(), options)
}

fn compile_error(function: &[u8]) -> CodegenError {
    NativeCompiler::new().compile(&plain(&verified(function)), &Options::default()).unwrap_err()
}

#[test]
fn trap_of_an_operation_whose_result_replaces_the_context_finds_the_context() {
    // The context comes last among the parameters that die here.
    for count in 0..8 {
        let mut f = FunctionBuilder::new(0, Some(I64.into()));
        f.param(Scalar::Pointer);
        let [a, b] = [f.param(I64), f.param(I64)];
        let mut rest: Vec<Local> = (0..count).map(|_| f.param(I64)).collect();
        let d = f.local(I64);
        let file = f.file("file");
        f.location(9, 1, Some(file));
        f.binary(Binary::AddChecked, I64, d, a, b);
        rest.iter().for_each(|&other| f.binary(Binary::Xor, I64, d, d, other));
        f.return_value(I64, d);
        let program = link(&[f.finish().unwrap()], CONTEXT);
        rest.clear();
        let call = |a: i64, b: i64| {
            let mut arguments = std::vec![(Scalar::Pointer, 0), (I64, a as u64), (I64, b as u64)];
            arguments.extend((0..count).map(|_| (I64, 0)));
            program.call(0, &arguments, Some(I64))
        };
        assert_eq!(call(40, 2), Ok(42));
        assert_eq!(call(i64::MAX, 1), Err(Stop::Trap { code: 2, at: 9, operands: [0; 2] }));
    }
}

#[test]
fn trap_sites_state_code_and_line() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    f.param(Scalar::Pointer);
    let a = f.param(I64);
    for number in 0..20 {
        f.location(100 + number as u32, 0, None);
        f.trap_compare(Condition::Equal, I64, a, number, 50 + number as u32 / 7 * 125);
    }
    f.return_value(I64, a);
    let program = link(&[f.finish().unwrap()], CONTEXT);
    for number in 0..21u64 {
        let got = program.call(0, &[(Scalar::Pointer, 0), (I64, number)], Some(I64));
        let (code, at) = (50 + number as u32 / 7 * 125, 100 + number as u32);
        let expected =
            if number < 20 { Err(Stop::Trap { code, at, operands: [0; 2] }) } else { Ok(number) };
        assert_eq!(got, expected);
    }
}

/// A function with a slot of `size` bytes that checks the stack, writes the ends of the slot and reads them.
fn with_slot(size: u32) -> Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let context = f.param(Scalar::Pointer);
    let a = f.param(I64);
    let slot = f.slot(size, 16);
    let [start, end, b] = [f.local(Scalar::Pointer), f.local(Scalar::Pointer), f.local(I64)];
    f.check_stack(context, STACK_LIMIT);
    f.slot_address(start, slot, 0);
    f.slot_address(end, slot, size.cast_signed() - 8);
    f.store(I64, a, end, 0);
    f.store(I64, a, start, 0);
    f.load(I64, b, end, 0);
    f.load(I64, a, start, 0);
    f.binary(Binary::Add, I64, a, a, b);
    f.return_value(I64, a);
    f.finish().unwrap()
}

#[test]
fn frames_of_all_sizes_hold_their_slots_and_obey_the_limit() {
    for size in [8, 100, 4096, 4104, 40_000, 65_536, 70_000, 200_000] {
        let program = link(&[with_slot(size)], CONTEXT);
        let call = |limit| {
            let mut context = Context::new();
            context.stack_limit = limit;
            program.call_with(&mut context, 0, &[(Scalar::Pointer, 0), (I64, 21)], Some(I64))
        };
        assert_eq!(call(0), Ok(42), "{size}");
        assert!(matches!(call(u64::MAX), Err(Stop::Trap { code: 3, .. })), "{size}");
        // Half of the frame is above the limit.
        let here = std::ptr::from_ref(&size) as u64;
        if size > 65_536 {
            let found = call(here - u64::from(size) / 2);
            assert!(matches!(found, Err(Stop::Trap { code: 3, .. })), "{size}");
            assert_eq!(call(here - 2 * u64::from(size)), Ok(42), "{size}");
        }
    }
}

#[test]
fn limits_are_stated_in_errors() {
    let mut f = FunctionBuilder::new(0, None);
    let params: Vec<Local> = (0..8).map(|_| f.param(I64)).collect();
    let more: Vec<Local> = params.iter().copied().chain([params[0]; 3]).collect();
    f.return_call_function(0, &more);
    let error = compile_error(&f.finish().unwrap());
    let limit = Limit::TailCallStackBytes;
    let (max, value) = if cfg!(target_arch = "x86_64") { (16, 40) } else { (0, 24) };
    assert_eq!(error, CodegenError::Limit { limit, max, value });
    let message = std::format!("{value} bytes of stack arguments of a tail call");
    assert!(std::format!("{error}").contains(&message), "{error}");
}

#[test]
fn landing_pad_is_the_first_instruction_where_it_is_wanted() {
    let mut f = FunctionBuilder::new(0, None);
    f.return_none();
    let bytes = f.finish().unwrap();
    for landing_pad in [false, true] {
        let options = Options { landing_pad, ..CONTEXT };
        let mut compiler = NativeCompiler::new();
        let code = compiler.compile(&plain(&verified(&bytes)), &options).unwrap();
        // ENDBR64, or BTI c.
        let pad = match cfg!(target_arch = "x86_64") {
            true => [0xf3, 0x0f, 0x1e, 0xfa],
            false => [0x5f, 0x24, 0x03, 0xd5],
        };
        assert_eq!(code.bytes.starts_with(&pad), landing_pad);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn source_map_has_the_lines_where_their_code_begins() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let a = f.param(I64);
    let skip = f.label();
    // A forward jump that becomes short moves what is behind it.
    f.location(1, 0, None);
    f.branch(Condition::Less, I64, a, 5, skip);
    f.location(2, 0, None);
    f.binary(Binary::Multiply, I64, a, a, 7);
    f.location(3, 0, None);
    f.binary(Binary::Xor, I64, a, a, 1);
    f.bind(skip);
    f.location(4, 0, None);
    f.return_value(I64, a);
    let bytes = f.finish().unwrap();
    let options = Options { source_map: true, tag: 5, ..Options::default() };
    let mut compiler = NativeCompiler::new();
    let code = compiler.compile(&plain(&verified(&bytes)), &options).unwrap();
    let map: Vec<_> = code.source_map.iter().map(|l| (l.offset, l.line)).collect();
    // cmp rdi, 5; jl; imul rdi, rdi, 7; xor rdi, 1; mov rax, rdi; ret
    assert_eq!(map, [(0, 1), (6, 2), (10, 3), (14, 4)], "{:x?}", code.bytes);
    assert!(code.source_map.iter().all(|location| location.function == 5));
    assert_eq!(code.bytes.get(14..18), Some(&[0x48, 0x8b, 0xc7, 0xc3][..]));
}
