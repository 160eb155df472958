//! Bytecode programs: the oracle for any bytes and for [drawn](draw()) programs.

pub(crate) mod draw;
mod objects;

pub use draw::{Drawn, draw, seeded};
pub use objects::{Outcome, check_objects, constants, draw_objects, object_hosts};

use smf_core::bytecode::host::{HostFunction, HostTable, Signals};
use smf_core::bytecode::interpret::{Environment, Interpreter, LoopHead, StackSpace, TierUp};
use smf_core::bytecode::verify::{FunctionCode, Kind, Program, Verifier, VerifyError};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::bytecode::{Cause, MAX_DEPTH, Trap};
use smf_core::vm::{CallError, Engine, EngineError, Tiers};

/// The maximum number of stack bytes of all large activations of a program together.
const BUDGET: u64 = 1 << 16;

/// A number that depends on every argument and its position.
fn mix(args: &[i64]) -> i64 {
    args.iter().fold(7, |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
}

/// Functions of the host for every permitted number of arguments, each at the index of that number.
pub fn hosts() -> HostTable {
    use HostFunction as H;
    extern "C" fn f0() -> i64 {
        mix(&[])
    }
    extern "C" fn f1(a: i64) -> i64 {
        mix(&[a])
    }
    extern "C" fn f2(a: i64, b: i64) -> i64 {
        mix(&[a, b])
    }
    extern "C" fn f3(a: i64, b: i64, c: i64) -> i64 {
        mix(&[a, b, c])
    }
    extern "C" fn f4(a: i64, b: i64, c: i64, d: i64) -> i64 {
        mix(&[a, b, c, d])
    }
    extern "C" fn f5(a: i64, b: i64, c: i64, d: i64, e: i64) -> i64 {
        mix(&[a, b, c, d, e])
    }
    extern "C" fn f6(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64 {
        mix(&[a, b, c, d, e, f])
    }
    extern "C" fn f7(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64) -> i64 {
        mix(&[a, b, c, d, e, f, g])
    }
    extern "C" fn f8(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
        mix(&[a, b, c, d, e, f, g, h])
    }
    let all = [
        H::Args0(f0),
        H::Args1(f1),
        H::Args2(f2),
        H::Args3(f3),
        H::Args4(f4),
        H::Args5(f5),
        H::Args6(f6),
        H::Args7(f7),
        H::Args8(f8),
    ];
    let mut hosts = HostTable::new();
    all.into_iter().for_each(|function| hosts.set(function.argc(), function).unwrap());
    hosts
}

/// Stops a program after a number of calls and back edges.
#[derive(Clone, Copy, Debug)]
pub struct Fuel<'s> {
    /// The remaining number.
    pub left: u32,
    /// The signals that request the stop.
    pub signals: &'s Signals,
}

impl Fuel<'_> {
    fn burn(&mut self) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.signals.interrupt(),
        }
    }
}

impl TierUp for Fuel<'_> {
    fn on_call(&mut self, _: u32, _: &[u64], _: StackSpace) -> Option<Result<u64, Trap>> {
        self.burn();
        None
    }

    fn on_back_edge(&mut self, _: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        self.burn();
        None
    }

    fn on_dynamic(&mut self) {
        self.burn();
    }
}

/// The result of function 0 within `fuel` calls and back edges.
///
/// # Errors
/// The trap that stops it.
pub fn interpret(program: &Program<'_>, args: &[u64], fuel: u32) -> Result<u64, Trap> {
    let (signals, hosts) = (Signals::new(), object_hosts());
    let environment = Environment { program, hosts: &hosts, signals: &signals };
    let mut tier = Fuel { left: fuel, signals: &signals };
    let room = StackSpace { depth: MAX_DEPTH, budget: BUDGET, stack_end: 0 };
    Interpreter::new().call(environment, &mut tier, 0, args, room)
}

/// Compares the interpreter's result with those of function 0 compiled before the first call and by tier-up. All NaN
/// are equal: the compiler of the interpreter decides which one an operation returns.
///
/// # Panics
/// If the results differ.
pub fn check_compiled(functions: &[FunctionCode<'_>], args: &[u64], expected: Result<u64, Trap>) {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) || functions.is_empty() {
        return;
    }
    thread_local! {
        static MEMORY: CodeMemory = CodeMemory::default();
    }
    for threshold in [0, 2] {
        let program = Verifier::new().verify_program(functions.to_vec(), constants()).unwrap();
        let params = program.function(0).map_or(0, |function| usize::from(function.params));
        let calls_host = program.host_calls().chain(program.runtime_calls()).next().is_some();
        let is_float = program.summary(0).is_some_and(|summary| summary.result == Kind::F64);
        let tiers = Tiers::Compile { threshold };
        let engine =
            MEMORY.with(|memory| Engine::with_tiers(program, object_hosts(), tiers, memory));
        let mut engine = match engine {
            Ok(engine) => engine,
            // The interpreter detects this at the call, the engine before execution.
            Err(EngineError::Host(_)) if calls_host => return,
            Err(error) => panic!("{error}"),
        };
        engine.set_budget(BUDGET);
        let args: Vec<i64> = args.iter().take(params).map(|arg| arg.cast_signed()).collect();
        let comparable = |result: Result<u64, Trap>| match result {
            Ok(bits) if is_float && f64::from_bits(bits).is_nan() => Ok(f64::NAN.to_bits()),
            result => result,
        };
        for _ in 0..2 {
            let found =
                engine.call(0, &args).map(i64::cast_unsigned).map_err(|error| match error {
                    CallError::Trap(trap) => trap,
                    error => panic!("{error}"),
                });
            assert_eq!(comparable(found), comparable(expected), "threshold {threshold}");
        }
    }
}

/// Any bytes are an error, or a program that runs until it returns, traps or is stopped. The first three bytes
/// are the numbers of parameters and locals of each function, and of functions. Its constants are [`constants`].
///
/// # Panics
/// If an error lies outside the code.
pub fn check_any(data: &[u8]) -> Option<Result<u64, Trap>> {
    let [params, locals, count, code @ ..] = data else { return None };
    let (params, locals) = (u16::from(params % 4), u16::from(locals % 8));
    let size = code.len().div_ceil(usize::from(count % 4) + 1).max(1);
    let functions: Vec<_> =
        code.chunks(size).map(|code| FunctionCode { code, params, locals }).collect();
    let lengths: Vec<_> = functions.iter().map(|function| function.code.len()).collect();
    let verified = Verifier::new().verify_program(functions.clone(), constants());
    match verified {
        Ok(program) => {
            let result = interpret(&program, &[1, 2, 3], 1000);
            // Programs that did not end are skipped.
            if !matches!(result, Err(Trap { cause: Cause::Interrupted, .. })) {
                check_compiled(&functions, &[1, 2, 3], result);
            }
            Some(result)
        }
        Err(VerifyError { function, at, .. }) => {
            let length = lengths.get(usize::try_from(function).unwrap()).copied().unwrap_or(0);
            assert!(usize::try_from(at).unwrap() <= length);
            None
        }
    }
}
