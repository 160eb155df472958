//! Drawn programs in bytecode, translated to IR.
//!
//! A function in IR takes the place of the engine that runs bytecode: it makes a context, the table of functions and that
//! of host functions, and calls function 0. So the engines for IR run bytecode, and are compared with its interpreter.

use smf_core::bytecode::host::{HostFunction as H, HostTable, Signals};
use smf_core::bytecode::interpret::{Environment, Interpreter, StackSpace};
use smf_core::bytecode::translate::abi::{self, Context, Shared, trap_code};
use smf_core::bytecode::translate::{Entry, Translator};
use smf_core::bytecode::verify::{FunctionCode, Program as Bytecode, Verifier};
use smf_core::ir::{FunctionBuilder, Local, Scalar, ValueType};
use smf_core::trap::bytecode::{Cause, MAX_DEPTH, Trap};

use super::check::{Observed, observe};
use super::draw::Case;
use super::engine::Outcome;
use super::host::{self, FUNCTIONS, HANDLER, Host, HostFunction};
use super::program::Program;
use crate::bytecode::{Drawn, Fuel};

/// The bytes of all large activations of a program together.
const BUDGET: i32 = 1 << 16;

/// The calls and back edges of a program.
const FUEL: u32 = 5_000;

/// The arguments of function 0, which takes two.
const ARGUMENTS: [u64; 2] = [7, 3];

/// The seed of the memory, which bytecode does not access.
const SEED: u64 = 1;

/// A program in IR, and what the interpreter of bytecode observes; `None` if that gives up.
///
/// # Panics
/// If the program is refused.
pub fn case_of(drawn: &[Drawn]) -> Option<(Case, Observed)> {
    let functions: Vec<FunctionCode<'_>> = drawn.iter().map(Drawn::function).collect();
    let mut verifier = Verifier::new();
    let bytecode = verifier.verify(functions).unwrap();
    let expected = interpret(&bytecode)?;
    let mut translator = Translator::new();
    let mut bytes = Vec::new();
    for index in 0..u32::try_from(drawn.len()).unwrap() {
        let facts = verifier.facts(&bytecode, index).unwrap();
        bytes.push(translator.function(&bytecode, &facts, Entry::Call).unwrap().to_vec());
    }
    let params: Vec<u16> = drawn.iter().map(|function| function.params).collect();
    bytes.push(enter(&params));
    let program = Program::with_entry(bytes, drawn.len());
    let arguments = vec![[&[0], &ARGUMENTS[..]].concat()];
    Some((Case { program, arguments, seed: SEED }, expected))
}

/// What is observable of the program in the interpreter of bytecode.
fn interpret(program: &Bytecode<'_>) -> Option<Observed> {
    let (signals, hosts) = (Signals::new(), hosts());
    let environment = Environment { program, hosts: &hosts, signals: &signals };
    let mut tier = Fuel { left: FUEL, signals: &signals };
    let room = StackSpace { depth: MAX_DEPTH, budget: BUDGET.cast_unsigned().into(), stack_end: 0 };
    let mut is_given_up = false;
    let observed = observe(Host::new(SEED), |host| {
        let result =
            host.serve(|| Interpreter::new().call(environment, &mut tier, 0, &ARGUMENTS, room));
        match result {
            Ok(bits) => Outcome::Returned(bits),
            Err(trap) => {
                is_given_up = matches!(trap.cause, Cause::Interrupted);
                outcome(trap)
            }
        }
    });
    (!is_given_up).then_some(observed)
}

fn outcome(trap: Trap) -> Outcome {
    let code = match trap.cause {
        Cause::DivisionByZero => trap_code::DIVISION_BY_ZERO,
        Cause::StackLimit => trap_code::STACK_LIMIT,
        Cause::CallDepth => trap_code::CALL_DEPTH,
        _ => trap_code::HOST,
    };
    Outcome::Trapped { code, at: Some(trap.at), function: Some(trap.function) }
}

/// The functions of the host by their number of arguments.
fn hosts() -> HostTable {
    let all = [
        H::Args0(host::host_args0),
        H::Args1(host::host_args1),
        H::Args2(host::host_args2),
        H::Args3(host::host_args3),
        H::Args4(host::host_args4),
        H::Args5(host::host_args5),
        H::Args6(host::host_args6),
        H::Args7(host::host_args7),
        H::Args8(host::host_args8),
    ];
    let mut hosts = HostTable::new();
    all.into_iter().for_each(|function| hosts.set(function.argc(), function).unwrap());
    hosts
}

/// The most arguments of a function of the host.
const MAX_HOST_ARGUMENTS: usize = 8;

/// `fn(memory, a, b)`, which calls function 0 with a context. `params` are those of all functions.
fn enter(params: &[u16]) -> Vec<u8> {
    let mut b = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let memory = b.param(Scalar::Pointer);
    let args = ARGUMENTS.map(|_| b.param(Scalar::I64));
    b.location(0, 0, None);
    let functions = i32::try_from(params.len()).unwrap();
    let shared_size = Shared::FUNCTIONS + 8 * functions;
    let hosts_size = 8 * i32::try_from(MAX_HOST_ARGUMENTS + 1).unwrap();
    let [context, shared, hosts] = [Context::SIZE, shared_size, hosts_size].map(|size| {
        let slot = b.slot(size.cast_unsigned(), 16);
        let (address, zero) = (b.local(Scalar::Pointer), b.local(Scalar::U8));
        b.slot_address(address, slot, 0);
        b.fill_memory(address, zero, size);
        address
    });
    let handler = b.local(Scalar::Pointer);
    b.load(Scalar::Pointer, handler, memory, i32::try_from(HANDLER).unwrap());
    b.store(Scalar::Pointer, handler, context, Context::TRAP_HANDLER);
    b.store(Scalar::Pointer, shared, context, Context::SHARED);
    b.store(Scalar::Pointer, hosts, shared, Shared::HOST_FUNCTIONS);
    let budget = number(&mut b, BUDGET);
    b.store(Scalar::I64, budget, context, Context::BUDGET);
    for argc in 0..=MAX_HOST_ARGUMENTS {
        let address = b.local(Scalar::Pointer);
        let index = HostFunction::index(&format!("host_args{argc}")).unwrap();
        b.wide_constant(Scalar::Pointer, address, (FUNCTIONS[index].address)());
        b.store(Scalar::Pointer, address, hosts, 8 * i32::try_from(argc).unwrap());
    }
    for (index, &params) in (0..).zip(params) {
        let words = 1 + usize::from(params).min(abi::REGISTER_ARGUMENTS);
        let types = [&[Scalar::Pointer], &vec![Scalar::I64; words][..]].concat();
        let types: Vec<ValueType> = types.into_iter().map(ValueType::from).collect();
        let address = b.local(Scalar::Pointer);
        b.function_address(address, index, &types, Some(Scalar::I64.into()));
        let offset = Shared::FUNCTIONS + 8 * i32::try_from(index).unwrap();
        b.store(Scalar::Pointer, address, shared, offset);
    }
    let depth = number(&mut b, i32::try_from(MAX_DEPTH).unwrap());
    let result = b.local(Scalar::I64);
    b.call_function(0, Some(result), &[&[context, depth], &args[..]].concat(), None);
    b.return_value(Scalar::I64, result);
    b.finish().unwrap()
}

fn number(b: &mut FunctionBuilder, number: i32) -> Local {
    let to = b.local(Scalar::I64);
    b.constant(Scalar::I64, to, number);
    to
}
