//! Engines agree on random programs, and the harness finds defects.

use smf_tests::differential::{
    Checked, Defect, Engine, Faulty, Interpreter, Native, check, draw, seeded, shrink,
};

/// The number of programs, unless the environment variable `SMF_PROGRAMS` overrides it.
const PROGRAMS: u64 = 2000;

fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = vec![Box::new(Interpreter::default())];
    if cfg!(target_arch = "x86_64") {
        engines.extend([false, true].map(|has_context| Box::new(Native { has_context }) as _));
    }
    engines
}

#[test]
fn engines_agree_on_random_programs() {
    let count = std::env::var("SMF_PROGRAMS").map_or(PROGRAMS, |count| count.parse().unwrap());
    let engines = engines();
    let engines: Vec<&dyn Engine> = engines.iter().map(|engine| &**engine).collect();
    let mut sum = Checked::default();
    for seed in 0..count {
        let data = seeded(seed);
        match check(&engines, &draw(&data)) {
            Ok(checked) => sum = sum.plus(checked),
            Err(_) => {
                let smaller = shrink(&data, |data| check(&engines, &draw(data)).is_err());
                panic!("seed {seed}: {}", check(&engines, &draw(&smaller)).unwrap_err());
            }
        }
    }
    eprintln!("{sum:?}");
    let all = sum.compared + sum.exhausted;
    assert!(sum.exhausted * 10 <= all && sum.trapped * 4 <= all, "{sum:?}");
}

/// The programs within which each defect must be found.
const WITHIN: u64 = 1000;

#[test]
fn every_defect_is_found_within_1000_programs() {
    for defect in Defect::ALL {
        let (oracle, faulty) =
            (Interpreter::default(), Faulty { engine: Interpreter { steps: 1_000_000 }, defect });
        let is_found = |&seed: &u64| check(&[&oracle, &faulty], &draw(&seeded(seed))).is_err();
        let found = (0..WITHIN).find(is_found);
        eprintln!("{defect:?}: program {found:?}");
        assert!(found.is_some(), "{defect:?}");
    }
}
