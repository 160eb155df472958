//! The oracle for IR functions from any bytes. The text of a function that the verifier accepts is read as a function
//! with the same text. It compiles for all types that it permits, and returns the result of the interpreter.
#![allow(unsafe_code)]

use smf_core::codegen::{CodegenError, Options, X64Compiler};
use smf_core::format::template::{Constraints, Container, Template};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::ir::text::{TextErrorKind, parse, print};
use smf_core::ir::{
    Argument, Arguments, Function, FunctionInstance, Memory, Opcode, ProgramHost, Scalar, Stop,
    Verified, function_of, interpret, is_function,
};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator};
use smf_core::trap::{CallArg, ReturnRegisters, Trap, TrapError, call_values};

/// Generic functions that sum and sort buffers, and a small vector, as text.
pub const LISTS: &str = include_str!("../templates/lists.sbt");

/// The step limit of the interpreter. A function that takes more steps is not run as machine code either.
const STEPS: u64 = 2_000;

/// The number of type lists, each with arguments, that a function is tried with.
const TRIES: usize = 4;

/// The maximum number of parameters: passed in registers and a little stack. A function may have 65,535.
const MAX_PARAMS: usize = 64;

/// The newest version of the binary form whose functions run as instances of templates.
const TEMPLATE_VERSION: u16 = 1;

/// The maximum length of a function whose text is checked.
const MAX_TEXT_BYTES: usize = 8192;

/// Numbers derived from the bytes alone.
struct Numbers(u64);

impl Numbers {
    fn of(data: &[u8]) -> Self {
        let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(data.iter().fold(0xcbf2_9ce4_8422_2325, fnv) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn scalar(&mut self) -> Scalar {
        let all = Scalar::ALL;
        usize::try_from(self.next() >> 40)
            .ok()
            .and_then(|n| all.get(n % all.len()))
            .map_or(Scalar::I64, |s| *s)
    }

    /// A value of a type: nearly half of the values are small or near the limits of the type.
    fn bits(&mut self, scalar: Scalar) -> u64 {
        let odd = [0, 1, u64::MAX, 1 << (scalar.bits() - 1), 2, 10, 0x3ff0_0000_0000_0000];
        let any = self.next();
        let pick = usize::try_from(any >> 60).ok().and_then(|n| odd.get(n));
        let bits =
            pick.copied().unwrap_or_else(|| self.next()) & (u64::MAX >> (64 - scalar.bits()));
        if scalar == Scalar::Bool { bits & 1 } else { bits }
    }
}

/// Whether the bytes are a function that ran both ways.
///
/// # Panics
/// If machine code and interpreter disagree, or an accepted function cannot be compiled.
pub fn check_any(data: &[u8]) -> bool {
    // With the correct length; otherwise only one input in 2^32 would pass the first check.
    let mut whole = data.to_vec();
    if let (true, Some(length), Ok(len)) =
        (is_function(data), whole.get_mut(4..8), u32::try_from(data.len()))
    {
        length.copy_from_slice(&len.to_le_bytes());
    }
    let Some(Ok(body)) = function_of(&whole) else { return false };
    let Ok(verified) = Verified::new(body) else { return false };
    check_text(&body);
    let mut numbers = Numbers::of(&whole);
    let mut ran = false;
    for _ in 0..TRIES {
        let types: Vec<Scalar> = (0..body.type_params()).map(|_| numbers.scalar()).collect();
        let given: Vec<Argument> = types.iter().map(|&scalar| scalar.into()).collect();
        let arguments = Arguments::new(&given).expect("at most as many as a function may have");
        let Ok(instance) = verified.instance(arguments) else { continue };
        run_as_program(&instance, &mut numbers);
        let options = Options::default();
        let code = match X64Compiler::new().compile(&instance, &options) {
            Ok(code) => code.bytes.len(),
            Err(CodegenError::Limit { .. }) => continue,
            Err(error) => panic!("an accepted instance does not compile: {error}"),
        };
        assert!(code > 0);
        let can_run = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"))
            && body.version() <= TEMPLATE_VERSION;
        ran |= can_run && run_both(&instance, &types, &mut numbers);
    }
    ran
}

/// Prints a function, and parses the text.
fn check_text(body: &Function<'_>) {
    // A name may be in many calls, each of which the text repeats.
    if body.bytes().len() > MAX_TEXT_BYTES {
        return;
    }
    let mut text = String::new();
    assert!(print("t", body, &mut text).is_ok());
    let parsed = match parse(&text) {
        Ok(parsed) => parsed,
        Err(error) => {
            // It is printed as a template, whose text has limits that functions have not.
            let is_limit = match error.kind {
                TextErrorKind::Expected(what) => what == "a type that nests less deeply",
                TextErrorKind::TemplateAlign(_) => true,
                _ => false,
            };
            return assert!(is_limit, "{error}: {text}");
        }
    };
    let body = &parsed.first().expect("one function").body;
    let body = Function::parse(body).expect("a function that was verified");
    let mut again = String::new();
    assert!(print("t", &body, &mut again).is_ok());
    assert_eq!(again, text, "the text of the parsed function");
}

/// Interprets an instance as the only function of a program with a little memory. Any outcome but a panic will do.
fn run_as_program(instance: &FunctionInstance<'_, '_>, numbers: &mut Numbers) {
    let functions = [*instance];
    let mut bytes = [0; 256];
    let mut memory = Memory { base: 0x1000, bytes: &mut bytes };
    let mut program = ProgramHost::new(&functions, &mut memory, STEPS).expect("memory");
    let params = instance.body().signature().params.iter();
    let argument = |&code: &u8| match instance.scalar(code) {
        Some(Scalar::Pointer) | None => 0x1000,
        Some(scalar) => numbers.bits(scalar),
    };
    let arguments: Vec<u64> = params.map(argument).collect();
    let outcome = program.call_function(0, &arguments);
    assert!(outcome != Err(Stop::Arguments));
}

/// Runs an instance that accesses no memory and calls nothing; false for other instances, and if it does not end.
fn run_both(instance: &FunctionInstance<'_, '_>, types: &[Scalar], numbers: &mut Numbers) -> bool {
    let body = instance.body();
    let params = body.signature().params.len();
    let alone = |opcode| {
        use Opcode as O;
        !matches!(opcode, O::Load | O::Store | O::LoadElement | O::StoreElement | O::Call)
    };
    let is_alone = body.instructions().flatten().all(|instruction| alone(instruction.opcode));
    // A row of a note has at least one type argument.
    if !is_alone || types.is_empty() || params > MAX_PARAMS || body.locals() > 1024 {
        return false;
    }
    let jit = made(body, types);
    let address = jit.address(SYMBOL).expect("it was made");
    let codes = body.signature().params.iter();
    let scalars: Vec<Scalar> = codes.filter_map(|&code| instance.scalar(code)).collect();
    let mut ran = false;
    for _ in 0..TRIES {
        let bits: Vec<u64> = scalars.iter().map(|&scalar| numbers.bits(scalar)).collect();
        let mut nothing = Memory { base: 0, bytes: &mut [] };
        let expected = interpret(instance, &bits, &mut nothing, &mut STEPS.clone());
        if expected == Err(Stop::Steps) {
            continue;
        }
        let word = |(scalar, bits): (&Scalar, &u64)| match scalar.is_float() {
            true => CallArg::Float(*bits),
            false => CallArg::Integer(*bits),
        };
        let words: Vec<CallArg> = scalars.iter().zip(&bits).map(word).collect();
        // SAFETY: a function of these arguments that accesses no memory, calls nothing and ends, as the
        // interpreter has shown.
        let found = unsafe { call_values(address, &words) };
        compare(expected, found, instance.scalar(body.signature().result));
        ran = true;
    }
    ran
}

fn compare(
    expected: Result<u64, Stop>,
    found: Result<ReturnRegisters, TrapError>,
    result: Option<Scalar>,
) {
    let found = match found {
        Err(TrapError::Trap(Trap { code, at, operands, .. })) => {
            Err(Stop::Trap { code, at, operands })
        }
        Err(other) => panic!("{other}"),
        Ok(returned) => Ok(match result {
            None => 0,
            Some(scalar) => {
                let bits = if scalar.is_float() { returned.float } else { returned.integer };
                bits & (u64::MAX >> (64 - scalar.bits()))
            }
        }),
    };
    let is_nan = |outcome: Result<u64, Stop>| match (outcome, result) {
        (Ok(bits), Some(Scalar::F64)) => f64::from_bits(bits).is_nan(),
        (Ok(bits), Some(Scalar::F32)) => f32::from_bits(u32::try_from(bits).unwrap_or(0)).is_nan(),
        _ => false,
    };
    assert!(
        found == expected || is_nan(found) && is_nan(expected),
        "machine code gives {found:x?}, the interpreter {expected:x?}"
    );
}

const SYMBOL: &[u8] = b"fn$t";

/// An instantiator with the instance of this function.
fn made(body: &Function<'_>, types: &[Scalar]) -> JitInstantiator {
    let template = Template {
        name: b"t",
        kind: None,
        params: 0,
        constraints: Constraints::default(),
        body: body.bytes(),
    };
    let templates = NewTemplates { container: Container::Counted, templates: &[template] };
    let names: Vec<&str> = types.iter().map(|scalar| scalar.name()).collect();
    let types = names.join(", ");
    let row = NewPossible { template: "t", type_args: &types, mangled_name: "fn$t" };
    let module = write_templates(&templates, &[row]).expect("a module of one template");
    let jit = JitInstantiator::new(
        JitConfig { update_smf: false, ..JitConfig::default() },
        CodeMemory::default(),
    )
    .unwrap();
    jit.load_smf_bytes(b"m", &module).expect("a valid module");
    let result = jit.try_jit_instantiate(SYMBOL);
    assert!(result.is_ok(), "{result:?}");
    jit
}
