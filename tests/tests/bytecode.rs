//! Bytecode through the public API: drawn programs are accepted, end, and survive the round trip through text.

use proptest::prelude::*;
use smf_core::bytecode::text::{assemble, assemble_program, disassemble, write_constants};
use smf_core::bytecode::verify::{Kind, Verifier};
use smf_core::trap::bytecode::Cause;
use smf_tests::bytecode::{
    Outcome, check_any, check_compiled, check_objects, constants, draw, draw_objects, interpret,
    seeded,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn drawn_programs_are_accepted_and_end(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let drawn = draw(&data);
        let functions = drawn.iter().map(|function| function.function()).collect();
        let functions: Vec<_> = functions;
        let program = Verifier::new().verify(functions.clone()).unwrap();
        prop_assert_eq!(program.summary(0).unwrap().result, Kind::I64);
        let result = interpret(&program, &[7, 3], 20_000_000);
        prop_assert_eq!(result, interpret(&program, &[7, 3], 20_000_000));
        check_compiled(&functions, &[7, 3], result);
        if let Err(trap) = result {
            prop_assert_eq!(trap.cause, Cause::DivisionByZero);
        }
    }

    #[test]
    fn drawn_programs_survive_the_round_trip_through_text(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let drawn = draw(&data);
        let names: Vec<_> = (0..drawn.len()).map(|number| format!("f{number}")).collect();
        let callee = |index: u32| names.get(usize::try_from(index).ok()?).map(String::as_bytes);
        let mut text = String::new();
        for (function, name) in drawn.iter().zip(&names) {
            disassemble(&mut text, name.as_bytes(), function.function(), &callee).unwrap();
        }
        let back = assemble(&text).unwrap();
        prop_assert!(back.iter().map(|function| &function.code).eq(drawn.iter().map(|f| &f.code)));
    }

    #[test]
    fn any_bytes_are_refused_or_run(data in prop::collection::vec(0u8..0xb8, 0..60)) {
        check_any(&data);
    }

    #[test]
    fn damaged_programs_are_refused_or_run(
        data in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut code = draw(&data).swap_remove(0).code;
        let place = place % code.len();
        code[place] = byte;
        check_any(&[&[2, 6, 0][..], &code].concat());
    }
}

/// Programs on objects of the seeds from 0 on: most of them are accepted, they return and they trap.
#[test]
fn seeded_programs_on_objects_agree_with_the_naive_interpreter() {
    let count = std::env::var("SMF_PROGRAMS").map_or(4 * PROGRAMS, |count| count.parse().unwrap());
    let (mut refused, mut given_up, mut returned) = (0, 0, 0);
    let mut causes = std::collections::BTreeMap::new();
    for seed in 0..count {
        let outcome = std::panic::catch_unwind(|| check_objects(&seeded(seed)));
        match outcome.unwrap_or_else(|_| panic!("the program of seed {seed}")) {
            Outcome::Refused(_) => refused += 1,
            Outcome::GivenUp => given_up += 1,
            Outcome::Returned => returned += 1,
            Outcome::Trapped(cause) => *causes.entry(cause.to_string()).or_insert(0) += 1,
        }
    }
    eprintln!("{refused} refused, {given_up} given up, {returned} returned, {causes:?}");
    assert!(refused * 2 < count && given_up * 20 < count && returned * 10 > count);
    assert!(causes.len() >= 10, "{causes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_programs_on_objects_are_refused_or_run(
        data in prop::collection::vec(any::<u8>(), 0..200),
        place in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut code = draw_objects(&data).swap_remove(0).code;
        check_any(&[&[2, 7, 0][..], &code].concat());
        let place = place % code.len();
        code[place] = byte;
        check_any(&[&[2, 7, 0][..], &code].concat());
    }

    #[test]
    fn programs_on_objects_survive_the_round_trip_through_text(data in prop::collection::vec(any::<u8>(), 0..300)) {
        let drawn = draw_objects(&data);
        let mut text = String::new();
        write_constants(&mut text, constants()).unwrap();
        for (function, number) in drawn.iter().zip(0..) {
            let name = format!("f{number}");
            disassemble(&mut text, name.as_bytes(), function.function(), &|_| None).unwrap();
        }
        let back = assemble_program(&text).unwrap();
        prop_assert_eq!(back.constants.len(), constants().len());
        let codes = drawn.iter().map(|function| &function.code);
        prop_assert!(back.functions.iter().map(|function| &function.code).eq(codes));
    }
}

/// The number of compared programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 2000;

/// The limit of calls and back edges of a program.
const FUEL: u32 = 100_000;

/// Programs of the seeds from 0 on, interpreted and compiled. 50,000 of them:
///
/// `SMF_PROGRAMS=50000 cargo test -p smf-tests --test bytecode seeded -- --nocapture`
///
/// Found: the result of a call without arguments was lost when its register was taken for a value that had to be moved
/// out of the slot being pushed to (seed 3, the fourth program); the result of a division in the same way (seed 454,
/// after the fix for calls).
#[test]
fn seeded_programs_run_alike_interpreted_and_compiled() {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let mut given_up = 0;
    for seed in 0..count {
        let drawn = draw(&seeded(seed));
        let functions: Vec<_> = drawn.iter().map(|function| function.function()).collect();
        let program = Verifier::new().verify(functions.clone()).unwrap();
        let result = interpret(&program, &[7, 3], FUEL);
        if matches!(result, Err(trap) if trap.cause == Cause::Interrupted) {
            given_up += 1;
            continue;
        }
        let compared = std::panic::catch_unwind(|| check_compiled(&functions, &[7, 3], result));
        assert!(compared.is_ok(), "the program of seed {seed}");
    }
    assert!(given_up * 10 <= count, "{given_up} of {count} programs were given up");
    eprintln!("{count} programs, {given_up} of them given up");
}
