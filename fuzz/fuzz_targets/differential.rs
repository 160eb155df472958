//! The interpreter, machine code at each level, and Cranelift (with the feature of that name) agree on the program that is drawn from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::differential::{Engine, Interpreter, Native, check, draw};

fuzz_target!(|data: &[u8]| {
    let oracle = Interpreter { steps: 5_000 };
    let native = |level, has_context| Native { level, has_context };
    let (plain, context, optimised) = (native(0, false), native(0, true), native(2, false));
    let engines: &[&dyn Engine] = &[
        &oracle,
        &plain,
        &context,
        &optimised,
        #[cfg(feature = "cranelift")]
        &smf_clif::Cranelift { level: "speed" },
    ];
    match check(engines, &draw(data)) {
        Ok(checked) => assert_eq!(checked.invalid, 0),
        Err(mismatch) => panic!("{mismatch}"),
    }
});
