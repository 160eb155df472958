//! Cranelift, and managers with every back end, agree with the interpreter on random programs.

use smf_clif::{Cranelift, Managed};
use smf_core::exec::Level;
use smf_loader::exec::BackendChoice;
use smf_tests::differential::programs::ALL;
use smf_tests::differential::{
    Checked, Engine, Host, Interpreter, Outcome, check, draw, seeded, shrink, simple, smallest,
};

/// The number of programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 200;

fn agree(others: &[&dyn Engine]) {
    agree_in_simple(others);
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
    assert_mostly_compared(sum);
}

/// A run that ends by the limit of its steps, or that no engine may make, shows nothing.
fn assert_mostly_compared(sum: Checked) {
    eprintln!("{sum:?}");
    let is_compared = sum.compared > 0 && sum.exhausted * 4 <= sum.compared;
    assert!(sum.invalid == 0 && is_compared, "{sum:?}");
}

/// The same for programs in Simple, an eighth as many, and for the known ones.
fn agree_in_simple(others: &[&dyn Engine]) {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let oracle = Interpreter::default();
    let engines: Vec<&dyn Engine> =
        [&oracle as &dyn Engine].into_iter().chain(others.iter().copied()).collect();
    let mut sum = Checked::default();
    for seed in 0..count.div_ceil(8) {
        let data = seeded(seed);
        match check(&engines, &simple::draw_case(&data)) {
            Ok(checked) => sum = sum.plus(checked),
            Err(_) => {
                let fails = |data: &[u8]| check(&engines, &simple::draw_case(data)).is_err();
                let data = shrink(&data, fails);
                let mismatch = check(&engines, &simple::draw_case(&data)).unwrap_err();
                panic!("seed {seed}: {}\n{mismatch}", simple::draw_source(&data));
            }
        }
    }
    assert_mostly_compared(sum);
    for known in ALL {
        let program = known.simple();
        let (size, result) = known.small;
        let bytes = usize::try_from((known.memory)(size)).unwrap();
        for engine in others {
            let mut host = Host::with_memory(bytes);
            // An address is that of the memory, whatever the argument is.
            let args = known.simple_args(0, size);
            let args: Vec<u64> = args.into_iter().map(i64::cast_unsigned).collect();
            let outcome = engine.compile(&program).unwrap().run(&args, &mut host);
            let expected = Outcome::Returned(result.cast_unsigned());
            assert_eq!(outcome, expected, "{}, {}", known.name, engine.name());
        }
    }
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
