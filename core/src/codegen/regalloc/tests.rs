//! Assignments against the definition: no two locals that are live at once share a place, and no register that a call
//! overwrites holds a local across it.

use std::vec::Vec;

use super::*;
use crate::codegen::liveness::tests::{random_function, with_instance};

const FEW: RegisterFile = RegisterFile {
    int: ClassRegisters {
        caller_saved: &[6, 7, 8],
        caller_saved_with_calls: &[6, 7, 8],
        callee_saved: &[3, 12],
        arguments: &[7, 6, 2],
        result: 0,
    },
    float: ClassRegisters {
        caller_saved: &[0, 1],
        caller_saved_with_calls: &[0, 1],
        callee_saved: &[],
        arguments: &[0, 1],
        result: 0,
    },
};

const MANY: RegisterFile = RegisterFile {
    int: ClassRegisters {
        caller_saved: &[6, 7, 8, 9, 10, 11],
        caller_saved_with_calls: &[6, 7, 8, 9, 10, 11],
        callee_saved: &[3, 12, 13, 14, 15],
        arguments: &[7, 6, 2, 1, 8, 9],
        result: 0,
    },
    float: ClassRegisters {
        caller_saved: &[0, 1, 2, 3, 4, 5, 6, 7],
        caller_saved_with_calls: &[0, 1, 2, 3, 4, 5, 6, 7],
        callee_saved: &[8, 9],
        arguments: &[0, 1, 2, 3],
        result: 0,
    },
};

fn check(seed: u64, size: usize, file: &RegisterFile) {
    let (mut liveness, mut allocation) = (Liveness::default(), Allocation::default());
    with_instance(&random_function(seed, size), |instance| {
        liveness.compute(instance, seed.is_multiple_of(2)).unwrap();
        allocation.assign(instance, &liveness, file).unwrap();
        let placed: Vec<(u16, Interval, Location)> = (0..instance.body().locals())
            .map(|local| (local, liveness.interval(local), allocation.location(local)))
            .collect();
        for (local, interval, location) in &placed {
            assert_eq!(interval.is_used(), *location != Location::Unused, "seed {seed}: {local}");
            let class = match (is_float(instance, *local), location) {
                (_, Location::Frame(slot)) => {
                    assert!(*slot < allocation.spill_slots());
                    continue;
                }
                (false, Location::Int(register)) => (&file.int, register),
                (true, Location::Float(register)) => (&file.float, register),
                (_, Location::Unused) => continue,
                _ => panic!("seed {seed}: {local} in {location:?}"),
            };
            let (registers, register) = class;
            let (int, float) = allocation.callee_saved();
            if registers.callee_saved.contains(register) {
                let mask = if is_float(instance, *local) { float } else { int };
                assert!(mask & 1 << register != 0, "seed {seed}: {register} is not saved");
                continue;
            }
            assert!(registers.caller_saved.contains(register));
            let crossed = liveness.calls().find(|call| interval.crosses(*call));
            assert_eq!(crossed, None, "seed {seed}: {local} is lost");
        }
        for (index, (one, first, place)) in placed.iter().enumerate() {
            for (other, second, _) in
                placed.iter().skip(index + 1).filter(|(_, _, found)| found == place)
            {
                let is_apart = !first.is_used()
                    || first.last_use() <= second.first_value()
                    || second.last_use() <= first.first_value();
                assert!(is_apart, "seed {seed}: {one} and {other} share {place:?}");
            }
        }
    });
}

#[test]
fn no_two_live_locals_share_a_place_and_calls_lose_none() {
    for seed in 0..400 {
        check(seed, 4 + seed as usize % 80, &FEW);
        check(seed, 4 + seed as usize % 80, &MANY);
    }
}
