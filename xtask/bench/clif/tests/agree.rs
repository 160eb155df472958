//! Cranelift, and managers with every back end, agree with the interpreter on random programs.

use smf_clif::{Cranelift, Managed};
use smf_core::exec::Level;
use smf_loader::exec::BackendChoice;
use smf_tests::differential::{Checked, Engine, Interpreter, check, draw, seeded, smallest};

/// The number of programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 200;

fn agree(others: &[&dyn Engine]) {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let oracle = Interpreter::default();
    let mut engines: Vec<&dyn Engine> = vec![&oracle];
    engines.extend(others);
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

#[test]
fn cranelift_agrees_with_the_interpreter() {
    let [none, speed, size] = ["none", "speed", "speed_and_size"].map(|level| Cranelift { level });
    agree(&[&none, &speed, &size]);
}

#[test]
fn managers_of_all_back_ends_agree_with_the_interpreter() {
    let managed = |backend, level, name| Managed { backend, level, name };
    let (native, cranelift) = (BackendChoice::Native, BackendChoice::Cranelift);
    agree(&[
        &managed(native, Level::None, "native, level 0"),
        &managed(native, Level::Local, "native, level 1"),
        &managed(native, Level::Speed, "native, level 2"),
        &managed(cranelift, Level::None, "cranelift, level 0"),
        &managed(cranelift, Level::Speed, "cranelift, level 2"),
        &managed(cranelift, Level::SpeedAndSize, "cranelift, level 3"),
    ]);
}

#[test]
#[cfg(feature = "llvm")]
fn llvm_agrees_with_the_interpreter() {
    let managed = |level, name| Managed { backend: BackendChoice::Llvm, level, name };
    agree(&[
        &managed(Level::None, "llvm, level 0"),
        &managed(Level::Local, "llvm, level 1"),
        &managed(Level::Speed, "llvm, level 2"),
        &managed(Level::SpeedAndSize, "llvm, level 3"),
    ]);
}
