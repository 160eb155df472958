//! Results of programs, and the causes and locations of traps.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::bytecode::host::{HostFunction, HostTable, Signals};
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::testing::{code, function};
use crate::bytecode::verify::{FunctionCode, Verifier};
use crate::trap::bytecode::{Cause, DEFAULT_BUDGET, MAX_DEPTH};

const STACK_SPACE: StackSpace =
    StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };

fn run_with<T: TierUp>(
    functions: &[(&[I], u16, u16)],
    args: &[i64],
    tier: &mut T,
    hosts: &HostTable,
    signals: &Signals,
) -> Result<i64, Trap> {
    let codes: Vec<_> = functions.iter().map(|(instructions, ..)| code(instructions)).collect();
    let functions: Vec<FunctionCode<'_>> =
        codes.iter().zip(functions).map(|(code, f)| function(code, f.1, f.2)).collect();
    let program = Verifier::new().verify(functions).unwrap();
    hosts.link(&program).unwrap();
    let args: Vec<_> = args.iter().map(|arg| arg.cast_unsigned()).collect();
    let environment = Environment { program: &program, hosts, signals };
    let mut interpreter = Interpreter::new();
    let first = interpreter.call(environment, tier, 0, &args, STACK_SPACE);
    if !T::WATCHES {
        // A second call has the same result, even after a trap.
        assert_eq!(interpreter.call(environment, tier, 0, &args, STACK_SPACE), first);
    }
    first.map(u64::cast_signed)
}

fn run(functions: &[(&[I], u16, u16)], args: &[i64]) -> Result<i64, Trap> {
    run_with(functions, args, &mut NoTierUp, &HostTable::new(), &Signals::new())
}

fn one(instructions: &[I]) -> Result<i64, Trap> {
    run(&[(instructions, 0, 2)], &[])
}

fn int(value: i64) -> I {
    I::ConstI64Push { value }
}

/// The sum of 1 to local 0, in local 1.
const SUM: [I; 12] = [
    I::ConstI64Push { value: 0 },
    I::PopStore { local: 1 },
    I::ConstI64Push { value: 0 },
    I::LoadPush { local: 0 },
    I::LtJmpIfNot { offset: 10 },
    I::LoadPush { local: 1 },
    I::LoadPush { local: 0 },
    I::AddI64,
    I::PopStore { local: 1 },
    I::Jmp { offset: 12 },
    I::Load { dest: 0, local: 1 },
    I::Ret { src: 0 },
];

fn sum() -> Vec<I> {
    let rest = [
        I::LoadPush { local: 0 },
        int(1),
        I::SubI64,
        I::PopStore { local: 0 },
        I::Jmp { offset: 2 },
    ];
    [&SUM[..], &rest].concat()
}

#[test]
fn programs_return_known_results() {
    assert_eq!(one(&[I::ConstI64 { dest: 0, value: 42 }, I::Ret { src: 0 }]), Ok(42));
    assert_eq!(run(&[(&sum(), 1, 2)], &[100]), Ok(5050));
    let adds = [I::ConstI64 { dest: 0, value: 10 }, I::ConstI64 { dest: 1, value: 32 }, I::AddI64];
    assert_eq!(one(&adds), Ok(42));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn call_depth_is_limited_to_a_thousand() {
    // 1 + 1 + ... + 0, each in an activation of its own.
    let recursion = |depth| run(&[(&RECURSION, 1, 1)], &[depth]);
    assert_eq!(recursion(500), Ok(500));
    assert_eq!(recursion(999), Ok(999));
    let (cause, function, at) = (Cause::CallDepth, 0, 0);
    assert_eq!(recursion(1000), Err(Trap { cause, function, at }));
}

/// Recurses to the depth of its argument.
const RECURSION: [I; 12] = [
    I::LoadPush { local: 0 },
    I::ConstI64Push { value: 0 },
    I::EqJmpIfNot { offset: 5 },
    I::ConstI64 { dest: 0, value: 0 },
    I::Ret { src: 0 },
    I::LoadPush { local: 0 },
    I::ConstI64Push { value: 1 },
    I::SubI64,
    I::Call { function: 0, argc: 1 },
    I::ConstI64Push { value: 1 },
    I::AddI64Pop { dest: 0 },
    I::Ret { src: 0 },
];

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn operand_stack_is_limited_to_ten_thousand_values() {
    let pushes = |count: usize| {
        let mut instructions = vec![int(7); count];
        instructions.push(I::Ret { src: 0 });
        one(&instructions)
    };
    assert_eq!(pushes(10_000), Ok(7));
    let (cause, function, at) = (Cause::StackLimit, 0, 0);
    assert_eq!(pushes(10_001), Err(Trap { cause, function, at }));
    // A function that is never entered may hold more.
    let long = [I::ConstTrue { dest: 20_000 }, I::RetVoid];
    assert_eq!(run(&[(&[int(1), I::Ret { src: 0 }], 0, 0), (&long, 0, 0)], &[]), Ok(1));
}

#[test]
fn large_activations_are_charged() {
    // 9,000 values an activation are 72 KB; 14 of them fit into a mebibyte.
    let mut large = vec![I::ConstTrue { dest: 9_000 }];
    large.extend(RECURSION.map(|i| match i {
        I::EqJmpIfNot { .. } => I::EqJmpIfNot { offset: 6 },
        other => other,
    }));
    let call = |depth| run(&[(&large, 1, 1)], &[depth]);
    assert_eq!(call(13), Ok(13));
    assert_eq!(call(14), Err(Trap { cause: Cause::StackLimit, function: 0, at: 0 }));
}

#[test]
fn integers_wrap_and_division_by_zero_stops() {
    let binary = |left, right, op| one(&[int(left), int(right), op]);
    assert_eq!(binary(i64::MAX, 1, I::AddI64), Ok(i64::MIN));
    assert_eq!(binary(i64::MIN, 1, I::SubI64), Ok(i64::MAX));
    assert_eq!(binary(i64::MAX, 2, I::MulI64), Ok(-2));
    assert_eq!(binary(-7, 2, I::DivI64), Ok(-3));
    assert_eq!(binary(-7, 2, I::ModI64), Ok(-1));
    assert_eq!(binary(i64::MIN, -1, I::DivI64), Ok(i64::MIN));
    assert_eq!(binary(i64::MIN, -1, I::ModI64), Ok(0));
    assert_eq!(one(&[int(i64::MIN), I::NegI64]), Ok(i64::MIN));
    let (cause, function, at) = (Cause::DivisionByZero, 0, 20);
    assert_eq!(binary(1, 0, I::DivI64), Err(Trap { cause, function, at }));
    assert_eq!(binary(0, 0, I::ModI64), Err(Trap { cause, function, at }));
    for (op, result) in [(I::AddI64Pop { dest: 0 }, 9), (I::SubI64Pop { dest: 0 }, 5)] {
        assert_eq!(one(&[int(7), int(2), op, I::Ret { src: 0 }]), Ok(result));
    }
    assert_eq!(one(&[int(7), int(2), I::MulI64Pop { dest: 3 }, I::Ret { src: 3 }]), Ok(14));
}

#[test]
fn comparisons_depend_on_the_kind() {
    let float = |dest, value: f64| I::ConstF64 { dest, bits: value.to_bits() };
    let with = |left, right, op| one(&[left, right, op]).map(|result| result == 1);
    let nan = f64::NAN;
    for (op, ordered, unordered) in [
        (I::Eq, [false, true, false], false),
        (I::Ne, [true, false, true], true),
        (I::Lt, [true, false, false], false),
        (I::Le, [true, true, false], false),
        (I::Gt, [false, false, true], false),
        (I::Ge, [false, true, true], false),
    ] {
        for (expected, right) in ordered.into_iter().zip([2, 1, 0]) {
            let number = |value: i32| f64::from(value);
            assert_eq!(with(int(1), int(right.into()), op), Ok(expected), "{op:?} {right}");
            assert_eq!(with(float(0, 1.0), float(1, number(right)), op), Ok(expected));
            assert_eq!(with(int(1), float(1, number(right)), op), Ok(expected));
            assert_eq!(with(float(0, 1.0), int(right.into()), op), Ok(expected));
        }
        assert_eq!(with(float(0, nan), float(1, 1.0), op), Ok(unordered));
        assert_eq!(with(int(1), float(1, nan), op), Ok(unordered));
        // Compared as bits the results would be reversed.
        assert_eq!(with(float(0, -1.0), float(1, -2.0), op), with(int(2), int(1), op));
    }
    assert_eq!(with(float(0, 0.0), float(1, -0.0), I::Eq), Ok(true));
    assert_eq!(with(I::ConstNone { dest: 0 }, I::ConstUnit { dest: 1 }, I::Eq), Ok(true));
    let jumps = |left, right, op| one(&[left, right, op, int(5), I::Ret { src: 0 }, int(6)]);
    let not = |offset| I::LtJmpIfNot { offset };
    assert_eq!(jumps(float(0, nan), int(1), not(5)), Ok(6));
    assert_eq!(jumps(float(0, -2.0), float(1, -1.0), not(5)), Ok(5));
    assert_eq!(jumps(int(2), int(2), I::EqJmpIfNot { offset: 5 }), Ok(5));
}

#[test]
fn floats_and_bools_are_computed() {
    let float = |dest, value: f64| I::ConstF64 { dest, bits: value.to_bits() };
    let two = |op| {
        one(&[float(0, 3.0), float(1, 2.0), op]).map(|bits| f64::from_bits(bits.cast_unsigned()))
    };
    assert_eq!(two(I::AddF64), Ok(5.0));
    assert_eq!(two(I::SubF64), Ok(1.0));
    assert_eq!(two(I::MulF64), Ok(6.0));
    assert_eq!(two(I::DivF64), Ok(1.5));
    let (yes, no) = (I::ConstTrue { dest: 0 }, I::ConstFalse { dest: 1 });
    assert_eq!(one(&[yes, no, I::And]), Ok(0));
    assert_eq!(one(&[yes, no, I::Or]), Ok(1));
    assert_eq!(one(&[yes, no, I::Not]), Ok(1));
    assert_eq!(one(&[yes, no, I::Swap { a: 0, b: 1 }, I::Ret { src: 0 }]), Ok(0));
}

#[test]
fn locals_and_slots_begin_as_nil_in_every_activation() {
    // Function 1 leaves ones in the slots of the second call's locals and stack.
    let dirty = [
        I::ConstI64 { dest: 3, value: -1 },
        I::Store { local: 2, src: 3 },
        I::Dup { src: 3, dest: 0 },
        I::Dup { src: 3, dest: 1 },
        I::Dup { src: 3, dest: 2 },
        I::RetVoid,
    ];
    let clean = [I::ConstTrue { dest: 3 }, I::LoadPush { local: 2 }, I::Ret { src: 1 }];
    let caller =
        |src| [I::Call { function: 1, argc: 0 }, I::Call { function: 2, argc: 0 }, I::Ret { src }];
    assert_eq!(run(&[(&caller(1), 0, 0), (&dirty, 0, 3), (&clean, 0, 3)], &[]), Ok(0));
    let local = [I::LoadPush { local: 2 }, I::Ret { src: 0 }];
    assert_eq!(run(&[(&caller(1), 0, 0), (&dirty, 0, 3), (&local, 0, 3)], &[]), Ok(0));
}

#[test]
fn tail_calls_use_no_stack() {
    // Counts down by tail calls.
    let down = [
        I::LoadPush { local: 0 },
        int(0),
        I::EqJmpIfNot { offset: 5 },
        I::Load { dest: 0, local: 1 },
        I::Ret { src: 0 },
        I::LoadPush { local: 0 },
        int(1),
        I::SubI64,
        I::LoadPush { local: 1 },
        int(2),
        I::AddI64,
        I::TailCall { function: 0, argc: 2 },
    ];
    let calls = if cfg!(miri) { 100 } else { 100_000 };
    assert_eq!(run(&[(&down, 2, 2)], &[calls, 0]), Ok(2 * calls));
    let caller = [int(5), int(1), I::Call { function: 1, argc: 2 }, I::Ret { src: 0 }];
    let mut other = down;
    other[11] = I::TailCall { function: 1, argc: 2 };
    assert_eq!(run(&[(&caller, 0, 0), (&other, 2, 2)], &[]), Ok(11));
}

extern "C" fn difference(left: i64, right: i64) -> i64 {
    left - right
}

#[test]
fn host_function_is_called_and_may_fail() {
    let mut hosts = HostTable::new();
    hosts.set(3, HostFunction::Args2(difference)).unwrap();
    let code = [int(1), int(50), int(8), I::CallSffi { index: 3, argc: 2 }, I::SubI64];
    let signals = Signals::new();
    assert_eq!(run_with(&[(&code, 0, 0)], &[], &mut NoTierUp, &hosts, &signals), Ok(-41));
    signals.report(7).unwrap();
    let mut interpreter = Interpreter::new();
    let bytes = crate::bytecode::testing::code(&code);
    let program = Verifier::new().verify(vec![function(&bytes, 0, 0)]).unwrap();
    let environment = Environment { program: &program, hosts: &hosts, signals: &signals };
    let trap = Trap { cause: Cause::Host(7), function: 0, at: 30 };
    assert_eq!(interpreter.call(environment, &mut NoTierUp, 0, &[], STACK_SPACE), Err(trap));
    assert_eq!(
        interpreter.call(environment, &mut NoTierUp, 0, &[], STACK_SPACE),
        Ok((-41i64).cast_unsigned())
    );
    let missing = HostTable::new().link(&program).unwrap_err();
    assert_eq!((missing.call.index, missing.call.at, missing.argc), (3, 30, None));
}

#[test]
fn interrupt_stops_loops_and_calls() {
    let signals = Signals::new();
    signals.interrupt();
    let hosts = HostTable::new();
    let forever = [I::Jmp { offset: 0 }];
    let run = |functions| run_with(functions, &[], &mut NoTierUp, &hosts, &signals);
    let trap = Trap { cause: Cause::Interrupted, function: 0, at: 0 };
    assert_eq!(run(&[(&forever, 0, 0)]), Err(trap));
    let codes = code(&forever);
    let program = Verifier::new().verify(vec![function(&codes, 0, 0)]).unwrap();
    let signals = Signals::new();
    let environment = Environment { program: &program, hosts: &hosts, signals: &signals };
    std::thread::scope(|scope| {
        let call = scope
            .spawn(|| Interpreter::new().call(environment, &mut NoTierUp, 0, &[], STACK_SPACE));
        signals.interrupt();
        assert_eq!(call.join().unwrap(), Err(trap));
    });
}

/// Takes over every call of function 1, and the loop at back edge number `at_head`.
struct Takes {
    entered: Vec<(u32, Vec<u64>)>,
    heads: usize,
    at_head: usize,
}

impl TierUp for Takes {
    fn on_call(
        &mut self,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Option<Result<u64, Trap>> {
        self.entered.push((function, args.to_vec()));
        (function == 1).then_some(Ok(u64::from(space.depth)))
    }

    fn on_back_edge(&mut self, head: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        assert_eq!((head.at, head.vector.len()), (14, 0));
        self.heads += 1;
        (self.heads == self.at_head).then(|| Ok(head.locals[1]))
    }
}

#[test]
fn tier_up_may_take_over_calls_and_loops() {
    let hosts = HostTable::new();
    let signals = Signals::new();
    let mut tier = Takes { entered: Vec::new(), heads: 0, at_head: 10 };
    let found = run_with(&[(&sum(), 1, 2)], &[100], &mut tier, &hosts, &signals);
    // After ten rounds: 100 + 99 + ... + 91.
    assert_eq!(found, Ok(955));
    assert_eq!(tier.entered, [(0, vec![100])]);
    let caller = [int(9), I::Call { function: 1, argc: 1 }, int(1), I::AddI64];
    let callee = [I::Load { dest: 0, local: 0 }, I::Ret { src: 0 }];
    let mut tier = Takes { entered: Vec::new(), heads: 0, at_head: 0 };
    let functions: [(&[I], u16, u16); 2] = [(&caller, 0, 0), (&callee, 1, 1)];
    assert_eq!(run_with(&functions, &[], &mut tier, &hosts, &signals), Ok(1000));
    assert_eq!(tier.entered, [(0, vec![]), (1, vec![9])]);
    let tail = [int(9), I::TailCall { function: 1, argc: 1 }];
    let functions: [(&[I], u16, u16); 3] = [
        (&[I::Call { function: 2, argc: 0 }, I::Ret { src: 0 }], 0, 0),
        (&callee, 1, 1),
        (&tail, 0, 0),
    ];
    assert_eq!(run_with(&functions, &[], &mut tier, &hosts, &signals), Ok(999));
}
