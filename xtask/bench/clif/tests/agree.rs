//! Cranelift agrees with the interpreter on random programs.

use smf_clif::Cranelift;
use smf_tests::differential::{Checked, Engine, Interpreter, check, draw, seeded, smallest};

/// The number of programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 200;

#[test]
fn cranelift_agrees_with_the_interpreter() {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let oracle = Interpreter::default();
    let [none, speed, size] = ["none", "speed", "speed_and_size"].map(|level| Cranelift { level });
    let engines: [&dyn Engine; 4] = [&oracle, &none, &speed, &size];
    let mut sum = Checked::default();
    for seed in 0..count {
        let data = seeded(seed);
        match check(&engines, &draw(&data)) {
            Ok(checked) => sum = sum.plus(checked),
            Err(_) => {
                let smallest = smallest(&data, |case| check(&engines, case).is_err());
                panic!("seed {seed}: {}", check(&engines, &smallest).unwrap_err());
            }
        }
    }
    eprintln!("{sum:?}");
}
