//! The interpreter, machine code at each level, and Cranelift (with the feature of that name) agree on the program in Simple that is drawn from any
//! bytes: results, traps and what is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::differential::simple::{draw_case, draw_source};
use smf_tests::differential::{Engine, Interpreter, Native, check};

fuzz_target!(|data: &[u8]| {
    let oracle = Interpreter { steps: 5_000 };
    let [plain, local, optimised] = [0, 1, 2].map(|level| Native { level, has_context: false });
    let engines: &[&dyn Engine] = &[
        &oracle,
        &plain,
        &local,
        &optimised,
        #[cfg(feature = "cranelift")]
        &smf_clif::Cranelift { level: "speed" },
    ];
    match check(engines, &draw_case(data)) {
        Ok(checked) => assert_eq!(checked.invalid, 0),
        Err(mismatch) => panic!("{}\n{mismatch}", draw_source(data)),
    }
});
