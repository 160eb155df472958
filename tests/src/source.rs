//! Oracles of the Simple front end for any text.

use smf_core::ir::{Arguments, CalleeKind, Function, Memory, ProgramHost, Scalar, Stop, Verified};
use smf_core::source::{
    Compiled, Mode, Severity, SourceFile, compile, imports, instantiate, token_lengths,
};
use smf_core::types::Type;

use crate::differential::host::FUNCTIONS;
use crate::differential::{Case, Checked, Engine, HostFunction, Program, check as check_engines};

/// The step limit of the interpreter for one function.
const STEPS: u64 = 2_000;

/// The lengths of the tokens add up to that of the text, and none is 0.
pub fn check_tokens(text: &str) {
    let lengths = token_lengths(text).expect("memory");
    assert!(lengths.iter().all(|&len| len > 0));
    assert_eq!(lengths.iter().sum::<usize>(), text.len());
}

/// The text is parsed without a panic, and its imports by themselves too.
pub fn check_syntax(text: &str) {
    let _ = imports("a.fuzz", text).expect("memory");
    let file = SourceFile { name: "fuzz.spl", module: "fuzz", text };
    let _ = compile(&[file], Mode::Compile).expect("memory");
}

/// The text is refused with errors, or becomes IR that the verifier accepts. Functions without parameters are
/// interpreted; those of memory outside of the program stop.
pub fn check_program(text: &str) {
    for mode in [Mode::Compile, Mode::Manager] {
        let file = SourceFile { name: "fuzz.spl", module: "fuzz", text };
        let compiled = compile(&[file], mode).expect("memory");
        check(&compiled, text);
        let Some(unit) = &compiled.unit else { continue };
        for template in &unit.templates {
            let file = SourceFile { text: &template.text, ..file };
            let types: Vec<Type> = template.type_params.iter().map(|_| Type::I64).collect();
            check(&instantiate(file, &template.name, &types).expect("memory"), text);
        }
    }
}

/// The words with which functions are called: each parameter gets one of them, from the start that the call has.
const WORDS: [u64; 4] = [0, 1, 7, u64::MAX];

/// The engines agree on each function of an accepted text that takes and returns numbers and bools; the first engine has
/// a limit of steps. Programs that use other functions than those of the [host](crate::differential::host), or large
/// arrays, are not run.
pub fn check_agreement(text: &str, engines: &[&dyn Engine]) -> Checked {
    let file = SourceFile { name: "fuzz.spl", module: "fuzz", text };
    let compiled = compile(&[file], Mode::Manager).expect("memory");
    let bodies = compiled.unit.into_iter().flat_map(|unit| unit.functions);
    let bodies: Vec<Vec<u8>> = bodies.map(|function| function.ir().to_vec()).collect();
    let mut sum = Checked::default();
    if !bodies.iter().all(|body| can_run(body)) {
        return sum;
    }
    for entry in 0..bodies.len().min(MAX_CALLED) {
        let program = Program::with_entry(bodies.clone(), entry);
        let (params, result) = program.signature(entry);
        if params.contains(&Scalar::Pointer) || result == Some(Scalar::Pointer) {
            continue;
        }
        let word = |start: usize, index: usize, scalar: Scalar| {
            let bits = WORDS[(start + index) % WORDS.len()];
            if scalar == Scalar::Bool {
                bits & 1
            } else {
                bits << (64 - scalar.bits()) >> (64 - scalar.bits())
            }
        };
        let call =
            |start| params.iter().enumerate().map(|(index, &ty)| word(start, index, ty)).collect();
        let calls = if params.is_empty() { 1 } else { WORDS.len() };
        let case = Case { program, arguments: (0..calls).map(call).collect(), seed: 1 };
        match check_engines(engines, &case) {
            Ok(checked) => sum = sum.plus(checked),
            // A limit of a code generator.
            Err(mismatch) if mismatch.observed.is_none() => {}
            Err(mismatch) => panic!("{text}\n{mismatch}"),
        }
    }
    sum
}

/// The largest number of functions of a text that are run: for each, the whole program is compiled.
const MAX_CALLED: usize = 16;

/// The largest memory of the arrays and structs of a function that is run, in bytes.
const MAX_SLOTS: u64 = 64 << 10;

/// Whether the harness has what a function calls, and the stack for its variables in memory.
fn can_run(body: &[u8]) -> bool {
    let function = Function::parse(body).expect("an IR function");
    let has_callee = |number| {
        let callee = function.callee(number).expect("a callee");
        if callee.kind != CalleeKind::Host {
            return true;
        }
        HostFunction::index(callee.name).is_some_and(|index| {
            let params = FUNCTIONS[index].params.iter().map(|scalar| scalar.code());
            params.eq(callee.signature.params.iter().copied())
        })
    };
    let slots = function.slot_offset(function.slots().len());
    slots <= MAX_SLOTS && (0..function.callee_count()).all(has_callee)
}

fn check(compiled: &Compiled, text: &str) {
    let lines = text.lines().count() + 1;
    let mut has_error = false;
    for diagnostic in &compiled.diagnostics {
        has_error |= diagnostic.severity == Severity::Error;
        assert!(diagnostic.line as usize <= lines.max(diagnostic.line as usize));
        assert!(!diagnostic.to_string().is_empty());
    }
    assert_eq!(compiled.unit.is_none(), has_error);
    let Some(unit) = &compiled.unit else { return };
    let parsed: Vec<Function<'_>> =
        unit.functions.iter().map(|f| Function::parse(f.ir()).expect("an IR function")).collect();
    let verified: Vec<Verified<'_>> = parsed
        .iter()
        .map(|f| Verified::new(*f).unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect();
    let none = Arguments::new(&[]).expect("no arguments");
    let instances: Vec<_> =
        verified.iter().map(|v| v.instance(none).expect("an instance")).collect();
    for (index, function) in (0..).zip(&parsed) {
        if function.signature().params.is_empty() {
            let mut memory = Memory { base: 0, bytes: &mut [] };
            let mut host = ProgramHost::new(&instances, &mut memory, STEPS).expect("memory");
            let result = host.call_function(index, &[]);
            assert!(!matches!(result, Err(Stop::Arguments)), "{text}");
        }
    }
}
