//! Oracles of the Simple front end for any text.

use smf_core::ir::{Arguments, Function, Memory, ProgramHost, Stop, Verified};
use smf_core::source::{
    Compiled, Mode, Severity, SourceFile, compile, imports, instantiate, token_lengths,
};
use smf_core::types::Type;

/// The step limit of the interpreter for one function.
const STEPS: u64 = 2_000;

/// The lengths of the tokens add up to that of the text, and none is 0.
pub fn check_tokens(text: &str) {
    let lengths = token_lengths(text).expect("memory");
    assert!(lengths.iter().all(|&len| len > 0));
    assert_eq!(lengths.iter().sum::<usize>(), text.len());
}

/// The text is parsed without a panic.
pub fn check_syntax(text: &str) {
    let _ = imports(text).expect("memory");
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
        unit.functions.iter().map(|f| Function::parse(&f.ir).expect("an IR function")).collect();
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
