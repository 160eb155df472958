//! Properties of compiled code that hold for every verified program.

use std::vec::Vec;

use super::*;
use crate::bytecode::testing::{Random, statement_program, view};

#[test]
fn loop_heads_of_compiled_code_are_the_verified_targets_of_back_jumps() {
    let mut random = Random(0x9_1cc);
    let (mut verifier, mut compiler) = (Verifier::new(), Compiler::new());
    let mut verified = 0;
    let rounds = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
    for round in 0..rounds {
        let functions = statement_program(&mut random, round % 2 == 0);
        let Ok(program) = verifier.verify(view(&functions)) else { continue };
        for (index, _) in (0..).zip(&functions) {
            let facts = verifier.facts(&program, index).unwrap();
            let reached = facts.targets().iter().zip(0..).filter(|(target, number)| {
                target.last_back_jump.is_some() && facts.length_at(*number).is_some()
            });
            let expected: Vec<u32> = reached.map(|(target, _)| target.offset).collect();
            let lowered = compiler.function(&program, index).unwrap();
            let found = lowered.loop_heads.iter().map(|&(head, _)| head);
            assert!(found.eq(expected), "{functions:?}");
            verified += 1;
        }
    }
    assert!(verified > rounds, "{verified}");
}

#[test]
fn function_with_unknown_index_is_refused() {
    let program = Verifier::new().verify(Vec::new()).unwrap();
    let error = Compiler::new().function(&program, 3).unwrap_err();
    assert_eq!(error, Fault::NoFunction { callee: 3, count: 0 }.into());
}
