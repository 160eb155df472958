//! Traps by way of a context, stack limits, landing pads, and the limits of the code generator.

use std::vec::Vec;

use super::harness::{CONTEXT, Context, HostFunctions, Program, STACK_LIMIT, plain, verified};
use crate::codegen::liveness::Liveness;
use crate::codegen::lowering::Machine;
use crate::codegen::regalloc::Allocation;
use crate::codegen::{CodegenError, Limit, NativeCompiler, Options};
use crate::ir::{Binary, Condition, FunctionBuilder, Local, Scalar, Stop, Value};

const I64: Scalar = Scalar::I64;

fn link(functions: &[Vec<u8>], options: Options) -> Program {
    let verified: Vec<_> = functions.iter().map(|bytes| verified(bytes)).collect();
    let instances: Vec<_> = verified.iter().map(plain).collect();
    Program::link(&mut NativeCompiler::new(), &instances, &HostFunctions::new(), options)
}

fn compile_error(function: &[u8]) -> CodegenError {
    NativeCompiler::new().compile(&plain(&verified(function)), &Options::default()).unwrap_err()
}

/// A function of the context, `a` and `b`, whose only local that is not used behind the operation on these is the
/// context.
fn with_locals(binary: Binary, right: Option<i32>, count: i32) -> Vec<u8> {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    f.param(Scalar::Pointer);
    let [a, b] = [f.param(I64), f.param(I64)];
    let locals: Vec<Local> = (0..count).map(|_| f.local(I64)).collect();
    let d = f.local(I64);
    for (number, &local) in (1..).zip(&locals) {
        f.binary(Binary::Xor, I64, local, a, number);
    }
    let file = f.file("file");
    f.location(9, 1, Some(file));
    f.binary(binary, I64, d, a, right.map_or(Value::Local(b), Value::Number));
    let rest = locals.iter().chain([&a, &b]);
    rest.for_each(|&other| f.binary(Binary::Add, I64, d, d, other));
    f.return_value(I64, d);
    f.finish().unwrap()
}

/// Whether the last local has the place of the context.
fn replaces_context(bytes: &[u8]) -> bool {
    #[cfg(target_arch = "aarch64")]
    use crate::codegen::aarch64::Aarch64 as Native;
    #[cfg(target_arch = "x86_64")]
    use crate::codegen::x64::X64 as Native;
    let verified = verified(bytes);
    let (mut liveness, mut allocation) = (Liveness::default(), Allocation::default());
    liveness.compute(&plain(&verified), true).unwrap();
    allocation.assign(&plain(&verified), &liveness, Native::REGISTERS).unwrap();
    let last = verified.body().locals() - 1;
    allocation.location(last) == allocation.location(0)
}

#[test]
fn trap_of_an_operation_whose_result_replaces_the_context_finds_the_context() {
    type Checked = fn(i64, i64) -> Option<i64>;
    let operations: [(Binary, Checked); 3] = [
        (Binary::AddChecked, i64::checked_add),
        (Binary::SubtractChecked, i64::checked_sub),
        (Binary::MultiplyChecked, i64::checked_mul),
    ];
    for ((binary, checked), right) in
        operations.into_iter().flat_map(|found| [None, Some(7)].map(|right| (found, right)))
    {
        let mut replaced = 0;
        for count in 0..24 {
            let function = with_locals(binary, right, count);
            replaced += u32::from(replaces_context(&function));
            let program = link(&[function], CONTEXT);
            for (a, b) in [(40, 7), (i64::MAX, 7), (i64::MIN, 7), (-3, 5), (i64::MIN, -1)] {
                let arguments = [(Scalar::Pointer, 0), (I64, a as u64), (I64, b as u64)];
                let sum = |d: i64| {
                    let locals = (1..=i64::from(count)).map(|number| a ^ number);
                    locals.chain([a, b]).fold(d, i64::wrapping_add) as u64
                };
                let trap = Stop::Trap { code: 2, at: 9, operands: [0; 2] };
                let expected = checked(a, right.map_or(b, i64::from)).map(sum).ok_or(trap);
                let found = program.call(0, &arguments, Some(I64));
                assert_eq!(found, expected, "{binary:?} {right:?} {count}: {a}, {b}");
            }
        }
        assert!(replaced > 0, "{binary:?} {right:?}");
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

#[test]
#[cfg(target_arch = "x86_64")]
fn load_that_is_compared_belongs_to_its_own_line() {
    let mut f = FunctionBuilder::new(0, Some(I64.into()));
    let (a, n, b) = (f.param(Scalar::Pointer), f.param(I64), f.local(I64));
    let skip = f.label();
    f.location(1, 0, None);
    f.load(I64, b, a, 0);
    f.location(2, 0, None);
    f.branch(Condition::Less, I64, b, 5, skip);
    f.location(3, 0, None);
    f.binary(Binary::Add, I64, n, n, 1);
    f.bind(skip);
    f.return_value(I64, n);
    let bytes = f.finish().unwrap();
    let options = Options { source_map: true, ..Options::default() };
    let mut compiler = NativeCompiler::new();
    let code = compiler.compile(&plain(&verified(&bytes)), &options).unwrap();
    let map: Vec<_> = code.source_map.iter().map(|l| (l.offset, l.line)).collect();
    // cmp qword ptr [rdi], 5; jl; inc rsi
    assert_eq!(map, [(0, 1), (4, 2), (6, 3)], "{:x?}", code.bytes);
}
