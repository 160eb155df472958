//! Bytecode: verified, interpreted, compiled and loaded.

use smf_core::bytecode::host::{HostFunction, HostTable, Signals};
use smf_core::bytecode::interpret::{Environment, Interpreter, NoTierUp, StackSpace};
use smf_core::bytecode::text::{Assembled, assemble, write_module};
use smf_core::bytecode::verify::{FunctionCode, Program, Verifier, functions_of};
use smf_core::format::{Flags, Smf};
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleLoader};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::bytecode::{DEFAULT_BUDGET, MAX_DEPTH};
use smf_core::vm::{Engine, Tiers};

use super::{Scenario, judge};

/// Calls, loops, results with late known kinds, floats, a deep operand stack, many arguments and the host.
const SOURCE: &str = "
function main, 1, 2
    CALL meets, 0
    POP_STORE 1
again:
    LOAD_PUSH 0
    CONST_I64_PUSH 0
    EQ_JMP_IF_NOT more
    LOAD 0, 1
    RET 0
more:
    LOAD_PUSH 0
    CALL half, 1
    LOAD_PUSH 1
    ADD_I64
    POP_STORE 1
    LOAD_PUSH 0
    CONST_I64_PUSH 1
    SUB_I64
    POP_STORE 0
    JMP again
function half, 1, 1
    LOAD_PUSH 0
    CONST_I64_PUSH 2
    DIV_I64
    CALL_SFFI 3, 1
    RET 0
function meets, 0, 0
    CONST_TRUE 0
    PUSH 0
    JMP_IF known
    CALL one, 0
    POP 0
    JMP both
known:
    CONST_I64 0, 1
both:
    CONST_I64 299, 1
    CALL one, 0
    CALL one, 0
    EQ
    POP 1
    CONST_F64 2, 1.5
    PUSH 2
    PUSH 2
    LT
    POP 3
    RET 0
function one, 0, 0
    CONST_I64 0, 1
    RET 0
function last, 40, 40
    LOAD 0, 39
    RET 0
";

/// The result of `main` for 10, and the number of `last`.
const OF_TEN: i64 = 26;
const LAST: u32 = 4;

extern "C" fn same(value: i64) -> i64 {
    value
}

fn hosts() -> HostTable {
    let mut hosts = HostTable::new();
    hosts.set(3, HostFunction::Args1(same)).unwrap();
    hosts
}

fn functions() -> Vec<Assembled> {
    assemble(SOURCE).unwrap()
}

fn codes(functions: &[Assembled]) -> Vec<FunctionCode<'_>> {
    let code = |function: &'_ Assembled| (function.params, function.locals);
    let all = functions.iter().map(|function| (code(function), &function.code));
    all.map(|((params, locals), code)| FunctionCode { code, params, locals }).collect()
}

fn module() -> Vec<u8> {
    write_module(&functions(), Flags(Flags::RELOADABLE)).unwrap()
}

/// Both tiers, where there is a compiler.
fn compiling(threshold: u32) -> Tiers {
    if cfg!(target_arch = "x86_64") { Tiers::Compile { threshold } } else { Tiers::Interpret }
}

fn program(functions: &[Assembled]) -> Program<'_> {
    Verifier::new().verify(codes(functions)).unwrap()
}

/// A new engine for each attempt.
fn engine(functions: &[Assembled], tiers: Tiers) -> Engine<'_> {
    Engine::with_tiers(program(functions), hosts(), tiers, &CodeMemory::default()).unwrap()
}

/// Calls both functions of an engine, several times.
fn call(engine: &Engine<'_>) -> Result<(), String> {
    let many: [i64; 40] = std::array::from_fn(|number| number.try_into().unwrap());
    for _ in 0..3 {
        let result = engine.call(0, &[10]).map_err(|error| error.to_string())?;
        assert_eq!(result, OF_TEN);
        let result = engine.call(LAST, &many).map_err(|error| error.to_string())?;
        assert_eq!(result, 39);
    }
    Ok(())
}

/// The first call of an engine, with refused memory.
fn first_call(granted: usize, tiers: Tiers) -> i32 {
    let functions = functions();
    let engine = engine(&functions, tiers);
    judge(granted, || call(&engine), drop)
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("check bytecode", |granted| {
        let file = module();
        let table = Smf::parse(&file).unwrap().functions().unwrap().unwrap();
        let check = || {
            let functions = functions_of(&table).map_err(|error| error.to_string())?;
            Verifier::new().verify(functions).map(drop).map_err(|error| error.to_string())
        };
        judge(granted, check, drop)
    }),
    ("interpret bytecode", |granted| {
        let functions = functions();
        let (program, hosts, signals) = (program(&functions), hosts(), Signals::new());
        let environment = Environment { program: &program, hosts: &hosts, signals: &signals };
        let room = StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };
        let run = || Interpreter::new().call(environment, &mut NoTierUp, 0, &[10], room);
        judge(granted, run, |result| assert_eq!(result, OF_TEN.cast_unsigned()))
    }),
    ("call an engine that interprets", |granted| first_call(granted, Tiers::Interpret)),
    ("call an engine that compiles", |granted| first_call(granted, compiling(0))),
    ("call an engine that compiles on the way", |granted| first_call(granted, compiling(2))),
    #[cfg(target_arch = "x86_64")]
    ("compile ahead and give addresses", |granted| {
        let functions = functions();
        let engine = engine(&functions, compiling(2));
        judge(granted, || engine.compile(0).and_then(|_| engine.address(1)), drop)
    }),
    ("load bytecode", |granted| {
        let module: &'static [u8] = module().leak();
        let options = LoaderOptions { host_functions: hosts(), ..LoaderOptions::default() };
        let loader = ModuleLoader::new(options).unwrap();
        let load = || loader.load(b"program", ModuleBytes::new(module)?);
        judge(granted, load, |program| loader.unload(program).unwrap())
    }),
];
