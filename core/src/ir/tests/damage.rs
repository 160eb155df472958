//! Random functions of version 2: text and back, and every bit flipped.

use std::string::String;
use std::vec::Vec;

use super::super::*;
use super::generate::{ALL, Case, Generator, HELPERS, Interpreted, Random, shown};
use crate::testing::{cut, flipped, some};

fn case(seed: u64) -> Case {
    Generator::new(&mut Random(seed), ALL).finish()
}

fn given(case: &Case) -> Arguments {
    let given: Vec<Argument> = case.arguments.iter().map(|&scalar| scalar.into()).collect();
    Arguments::new(&given).unwrap()
}

/// Interprets instances as function 0 of the program of the helpers, with some memory.
fn with_program(run: impl FnOnce(&dyn Fn(FunctionInstance<'_, '_>, u64) -> Result<u64, Stop>)) {
    let helpers = text::parse(HELPERS).unwrap();
    let verified: Vec<Verified<'_>> = helpers
        .iter()
        .map(|helper| Verified::new(Function::parse(&helper.body).unwrap()).unwrap())
        .collect();
    run(&|instance, steps| {
        let others = verified.iter().skip(1);
        let others = others.map(|verified| verified.instance(Arguments::NONE).unwrap());
        let functions: Vec<FunctionInstance<'_, '_>> =
            core::iter::once(instance).chain(others).collect();
        let mut bytes = std::vec![0; 1024];
        let mut outer = Interpreted(Memory { base: 0x1000, bytes: &mut bytes });
        let mut program = ProgramHost::new(&functions, &mut outer, steps).unwrap();
        let params = instance.body().signature().params.len();
        let arguments: Vec<u64> = (0..params as u64).map(|n| 0x1000 + (n % 3) * 256).collect();
        program.call_function(0, &arguments)
    });
}

#[test]
fn random_functions_are_interpreted() {
    let mut returned = 0;
    with_program(|interpreted| {
        for seed in some(0..2_000, 4) {
            let case = case(seed as u64);
            let body = Function::parse(&case.body).unwrap();
            assert_eq!(body.version(), 2);
            let verified = Verified::new(body);
            let verified = verified.unwrap_or_else(|e| panic!("{e}: {}", shown(&body, &[])));
            let instance = verified.instance(given(&case)).unwrap();
            let result = interpreted(instance, 3_000);
            returned += usize::from(result.is_ok());
            let is_expected = matches!(result, Ok(_) | Err(Stop::Trap { .. } | Stop::Steps));
            assert!(is_expected, "{result:?}: {}", shown(&body, &case.arguments));
        }
    });
    assert!(cfg!(miri) || returned > 700, "{returned} returned");
}

#[test]
fn text_round_trips_to_the_same_bytes() {
    for seed in some(0..2_000, 4) {
        let case = case(seed as u64);
        let body = Function::parse(&case.body).unwrap();
        let mut listing = String::new();
        match seed % 2 {
            0 => text::print("random", &body, &mut listing).unwrap(),
            _ => text::print_function("random", &body, &[], &mut listing).unwrap(),
        }
        let parsed = match text::parse(&listing) {
            Err(text::TextError { kind: text::TextErrorKind::TemplateAlign(64), .. }) => continue,
            parsed => parsed.unwrap_or_else(|e| panic!("{e}: {listing}")),
        };
        assert_eq!(parsed.len(), 1);
        assert_eq!(usize::from(parsed[0].type_params), case.arguments.len());
        let [found, expected] = [&parsed[0].body, &case.body].map(|body| without_numbers(body));
        let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        assert!(found == expected, "from byte {same}: {listing}");
        let body = Function::parse(&parsed[0].body).unwrap();
        let mut again = String::new();
        match seed % 2 {
            0 => text::print("random", &body, &mut again).unwrap(),
            _ => text::print_function("random", &body, &[], &mut again).unwrap(),
        }
        assert_eq!(again, listing);
    }
}

/// A function with 0 as the numbers of constants, which may be beyond their types. The text has the numbers that locals get.
fn without_numbers(bytes: &[u8]) -> Vec<u8> {
    let body = Function::parse(bytes).unwrap();
    let mut out = bytes.to_vec();
    for (index, instruction) in body.instructions().enumerate() {
        if instruction.unwrap().opcode == Opcode::Constant {
            let at = body.offset(index) as usize + 8;
            out[at..at + 4].fill(0);
        }
    }
    out
}

/// A function with every table and every operation of version 2.
const WHOLE: &str = "
function whole(a: i64, p: ptr) -> i64
    slot s align 16: 24
    slot t: 3
    data d: i32 1 -2 3, \"text\"
    data e align 16: \"\"
    local q: ptr
    local b: bool
    local n: u8
    local f: f64
    location 1
    slot_address q, s + 8
    store i64 a, q
    data_address q, d + 4
    location 2:3 in \"a file\"
    load i32 m, q
    fill_memory p, n, 5
    copy_memory p, q, 4
    copy_memory p, q, a
    check_stack p + 4
    trap_lt i64 a, 5, 7
    trap_true b, 8
    select i64 a, b, a, a
    sqrt f64 f, f
    add_checked i64 a, a, 1
    rotl i64 a, a, a
    function_address q, whole(i64, ptr) -> i64
    function_address q, 5()
    call_indirect a = q(a, p)
    call a = whole(a, p)
    call a = other<Pair<i64, u8>>(f)
    call_host abs(a) -> i64
    const_wide i64 a, 0x100000000000
    trap_false b, 9
    location 0 in \"a file\"
    return_call_indirect q(a, p)
    return_call whole(a, p)
end
";

#[test]
fn every_flipped_bit_is_refused_or_interpreted() {
    let text = WHOLE.replace("load i32 m", "local m: i32\n    load i32 m");
    let mut functions: Vec<Vec<u8>> = std::vec![text::parse(&text).unwrap().remove(0).body];
    functions.extend(some(0..4, 1).map(|seed| case(seed as u64).body));
    let (mut accepted, mut refused) = (0, 0);
    with_program(|interpreted| {
        for (_, damaged) in functions.iter().flat_map(|function| flipped(function)) {
            let Ok(body) = Function::parse(&damaged) else { continue };
            let mut listing = String::new();
            text::print("damaged", &body, &mut listing).unwrap();
            text::print_function("damaged", &body, &["a"], &mut listing).unwrap();
            let Ok(verified) = Verified::new(body) else {
                refused += 1;
                continue;
            };
            let all = std::vec![Argument::Scalar(Scalar::U16); body.type_params().into()];
            let Ok(instance) = verified.instance(Arguments::new(&all).unwrap()) else { continue };
            // Any outcome but a panic.
            let result = interpreted(instance, 100);
            accepted += usize::from(result.is_ok() || result.is_err());
        }
    });
    for function in &functions {
        assert!(cut(function).all(|short| Function::parse(short).is_err()));
    }
    assert!(cfg!(miri) || accepted > 100 && refused > 1_000, "{accepted} and {refused}");
}
