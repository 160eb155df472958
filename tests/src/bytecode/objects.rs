//! Programs on objects: a generator, and an interpreter that shares no code with that of the loader.

mod draw;
mod naive;

use smf_core::bytecode::host::{HostTable, RuntimeFunction, Signals};
use smf_core::bytecode::interpret::{Environment, Interpreter, StackSpace};
use smf_core::bytecode::objects::{ObjectArena, ObjectHandle, Objects, Value};
use smf_core::bytecode::verify::{Program, Verifier, VerifyError};
use smf_core::format::constants::Constants;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::bytecode::{Cause, MAX_DEPTH, Trap};
use smf_core::vm::{CallError, Engine, Tiers};

use super::{BUDGET, Drawn, Fuel, hosts};
pub use draw::draw as draw_objects;
use naive::Naive;

/// The constants of drawn programs as bytes, and their strings. The last one is not valid.
const POOL: [[u8; 16]; 7] = [
    [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f],
    [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0],
    [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
];

const STRINGS: &[u8] = b"text\0t\xc3\xa9xt\0";

/// The constant pool of drawn programs and of any bytes.
pub fn constants() -> Constants<'static> {
    Constants::parse(POOL.as_flattened(), STRINGS)
}

/// The host functions of [`hosts`], and a runtime function for 0 to 3 arguments, each at 20 and that number: a tuple of
/// its arguments, but for the second of three, which must be no nil.
pub fn object_hosts() -> HostTable {
    fn call(objects: &mut dyn Objects, args: &[Value]) -> Result<Value, Cause> {
        match args {
            [_, Value::Nil, _] => Err(Cause::Host(77)),
            [] => Ok(Value::Function(0)),
            args => Ok(Value::Object(objects.new_tuple(args)?)),
        }
    }
    let mut hosts = hosts();
    for argc in 0..4 {
        let function = RuntimeFunction { name: "tuple", argc, call };
        hosts.set_runtime(20 + argc, function).expect("memory for four functions");
    }
    hosts
}

/// The text of a value and of the objects that it contains, to a depth.
fn text(arena: &ObjectArena, value: Value, depth: u32) -> String {
    let Value::Object(object) = value else {
        return match value {
            // All NaN are equal: the compiler of the interpreter decides which one an operation returns.
            Value::F64(value) if value.is_nan() => "F64(NaN)".to_owned(),
            value => format!("{value:?}"),
        };
    };
    if let Some(text) = arena.text(object) {
        return format!("Text({text:?})");
    }
    let Some(depth) = depth.checked_sub(1) else { return "...".to_owned() };
    let kind = arena.kind(object).expect("an object of the arena");
    let variant = arena.variant(object).expect("an object of the arena");
    let variant = variant.map(|v| format!(" {}:{}", v.type_id, v.discriminant)).unwrap_or_default();
    let elements = elements(arena, object);
    let elements: Vec<_> = elements.into_iter().map(|value| text(arena, value, depth)).collect();
    format!("{kind}{variant}[{}]", elements.join(", "))
}

fn elements(arena: &ObjectArena, object: ObjectHandle) -> Vec<Value> {
    match arena.elements(object) {
        Some(elements) => elements.to_vec(),
        None => arena.pairs(object).flat_map(|(key, value)| [key, value]).collect(),
    }
}

/// The depth of the compared texts.
const DEPTH: u32 = 4;

/// The result of function 0 within `fuel` calls and back edges, as text.
fn interpret(program: &Program<'_>, args: &[Value], fuel: u32) -> Result<String, Trap> {
    let (signals, hosts) = (Signals::new(), object_hosts());
    let environment = Environment { program, hosts: &hosts, signals: &signals };
    let mut tier = Fuel { left: fuel, signals: &signals };
    let space = StackSpace { depth: MAX_DEPTH, budget: BUDGET, stack_end: 0 };
    let mut arena = ObjectArena::new();
    let result =
        Interpreter::new().call_with(environment, &mut arena, &mut tier, 0, args, space)?;
    Ok(text(&arena, result, DEPTH))
}

/// The result of function 0 in an engine that compiles what it can, as text.
fn execute(program: Program<'_>, args: &[Value], threshold: u32) -> Result<String, Trap> {
    thread_local! {
        static MEMORY: CodeMemory = CodeMemory::default();
    }
    let tiers = Tiers::Compile { threshold };
    let engine =
        MEMORY.with(|memory| Engine::with_tiers(program, object_hosts(), tiers, memory).unwrap());
    let mut arena = ObjectArena::new();
    match engine.call_with(&mut arena, 0, args) {
        Ok(result) => Ok(text(&arena, result, DEPTH)),
        Err(CallError::Trap(trap)) => Err(trap),
        Err(error) => panic!("{error}"),
    }
}

/// What became of a drawn program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The verifier refused it.
    Refused(VerifyError),
    /// It was given up, because it runs for too long.
    GivenUp,
    /// It returned.
    Returned,
    /// It trapped.
    Trapped(Cause),
}

/// The limit of calls and back edges of a program.
const FUEL: u32 = 3000;

/// Draws a program on objects from any bytes and runs it with the loader's interpreter, in an engine that compiles
/// some of its functions, and with an interpreter that is slow and simple.
///
/// # Panics
/// If the results differ.
pub fn check_objects(data: &[u8]) -> Outcome {
    let drawn = draw_objects(data);
    let functions: Vec<_> = drawn.iter().map(Drawn::function).collect();
    let verify = || Verifier::new().verify_program(functions.clone(), constants());
    let program = match verify() {
        Ok(program) => program,
        Err(error) => return Outcome::Refused(error),
    };
    let args = draw::arguments(data);
    let found = interpret(&program, &args, FUEL);
    if matches!(found, Err(Trap { cause: Cause::Interrupted, .. })) {
        return Outcome::GivenUp;
    }
    let expected = Naive::new(&functions, constants()).call(0, &args, DEPTH);
    assert_eq!(found, expected);
    if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        for threshold in [0, 2] {
            assert_eq!(execute(verify().expect("as before"), &args, threshold), expected);
        }
    }
    found.map_or_else(|trap| Outcome::Trapped(trap.cause), |_| Outcome::Returned)
}
