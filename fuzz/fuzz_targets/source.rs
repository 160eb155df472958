//! Any text is refused, or becomes IR that the verifier accepts; the interpreter, machine code at each level, and
//! Cranelift (with the feature of that name) agree on its functions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_tests::differential::{Engine, Interpreter, Native};
use smf_tests::source::{check_agreement, check_program};

fuzz_target!(|text: &str| {
    check_program(text);
    let oracle = Interpreter { steps: 2_000 };
    let [plain, local, optimised] = [0, 1, 2].map(|level| Native { level, has_context: false });
    let engines: &[&dyn Engine] = &[
        &oracle,
        &plain,
        &local,
        &optimised,
        #[cfg(feature = "cranelift")]
        &smf_clif::Cranelift { level: "speed" },
    ];
    check_agreement(text, engines);
});
