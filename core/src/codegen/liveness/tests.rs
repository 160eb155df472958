//! Intervals against a dataflow analysis, on random control flow.

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::ir::text::parse;
use crate::ir::{Arguments, Binary, Condition, Function, FunctionBuilder, Scalar, Verified};
use crate::testing::Random;

/// A function of `size` random instructions with random jumps, integers and floats, and calls.
pub(crate) fn random_function(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut body = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let context = body.param(Scalar::Pointer);
    let mut ints = vec![body.param(Scalar::I64), body.param(Scalar::I64)];
    let mut floats = vec![body.param(Scalar::F64)];
    let locals = 1 + random.below(24);
    ints.extend((0..locals).map(|_| body.local(Scalar::I64)));
    floats.extend((0..1 + locals / 3).map(|_| body.local(Scalar::F64)));
    let labels: Vec<_> = (0..1 + random.below(size / 3 + 1)).map(|_| body.label()).collect();
    let mut places: Vec<usize> = labels.iter().map(|_| random.below(size)).collect();
    places.sort_unstable();
    for position in 0..size {
        for (label, _) in labels.iter().zip(&places).filter(|(_, place)| **place == position) {
            body.bind(*label);
        }
        let [a, b, c] = [0; 3].map(|_| ints[random.below(ints.len())]);
        let [x, y, z] = [0; 3].map(|_| floats[random.below(floats.len())]);
        let label = labels[random.below(labels.len())];
        match random.below(12) {
            0 | 1 => body.binary(Binary::Add, Scalar::I64, a, b, c),
            2 => body.binary(Binary::Multiply, Scalar::F64, x, y, z),
            3 => body.constant(Scalar::I64, a, 7),
            4 => body.branch(Condition::Less, Scalar::I64, a, b, label),
            5 => body.branch(Condition::Less, Scalar::F64, x, y, label),
            6 => body.jump(label),
            7 => body.call_host("f", Some(a), &[b, c]),
            8 => body.call_host("g", Some(x), &[y, b]),
            9 => body.trap_compare(Condition::Equal, Scalar::I64, a, 3, 9),
            10 => body.store(Scalar::I64, a, context, 8),
            _ => body.copy(Scalar::F64, x, y),
        }
    }
    body.return_value(Scalar::I64, ints[0]);
    body.finish().unwrap()
}

/// Runs `check` on the instance of an encoded function without type parameters.
pub(crate) fn with_instance<R>(
    bytes: &[u8],
    check: impl FnOnce(&FunctionInstance<'_, '_>) -> R,
) -> R {
    let verified = Verified::new(Function::parse(bytes).unwrap()).unwrap();
    check(&verified.instance(Arguments::new(&[]).unwrap()).unwrap())
}

/// The locals that are live before each instruction, by iteration to a fixed point.
fn live_before(instance: &FunctionInstance<'_, '_>, context: bool) -> Vec<BTreeSet<u16>> {
    let instructions: Vec<Instruction> = instance.body().instructions().flatten().collect();
    let mut live = vec![BTreeSet::new(); instructions.len() + 1];
    loop {
        let mut has_changed = false;
        for (index, instruction) in instructions.iter().enumerate().rev() {
            let mut after = BTreeSet::new();
            if !instruction.opcode.ends() {
                after.extend(&live[index + 1]);
            }
            if let Some(target) = instruction.target() {
                after.extend(&live[target as usize]);
            }
            if let Some(local) = instruction.written() {
                after.remove(&local);
            }
            after.extend(instruction.read().into_iter().flatten());
            if instruction.opcode.is_call() {
                after.extend(call_operands(instance, instruction));
            }
            if context && Access::of_code(instruction.encode()[0]).has(Access::TRAPS) {
                after.insert(0);
            }
            has_changed |= after != live[index];
            live[index] = after;
        }
        if !has_changed {
            return live;
        }
    }
}

#[test]
fn intervals_cover_what_a_dataflow_analysis_finds_live() {
    let mut liveness = Liveness::default();
    for seed in 0..600 {
        let bytes = random_function(seed, 4 + seed as usize % 60);
        with_instance(&bytes, |instance| {
            let context = seed % 2 == 0;
            liveness.compute(instance, context).unwrap();
            let live = live_before(instance, context);
            let params = instance.body().signature().params.len() as u16;
            for local in &live[0] {
                let interval = liveness.interval(*local);
                assert!(interval.is_live_at_entry, "seed {seed}: local {local} at the entry");
                assert_eq!(liveness.zeroed().contains(local), *local >= params);
            }
            for (position, live) in (0u32..).zip(&live).skip(1) {
                for local in live {
                    let interval = liveness.interval(*local);
                    let is_covered = interval.first_value() <= position && position <= interval.end;
                    assert!(
                        is_covered,
                        "seed {seed}: local {local} before {position}: {interval:?}"
                    );
                }
            }
        });
    }
}

#[test]
fn temporaries_of_an_arm_inside_a_loop_stay_inside_the_arm() {
    let text = "template t(n: i64) -> i64\nlocal sum: i64\nlocal part: i64\nconst i64 sum, 0\n\
                head:\nbr_lt i64 n, 3, over\nadd i64 part, n, 1\nadd i64 sum, sum, part\nover:\n\
                sub i64 n, n, 1\nbr_gt i64 n, 0, head\nreturn i64 sum\nend";
    let templates = parse(text).unwrap();
    with_instance(&templates[0].body, |instance| {
        let mut liveness = Liveness::default();
        liveness.compute(instance, false).unwrap();
        let part = liveness.interval(2);
        assert_eq!((part.start, part.end, part.is_live_at_entry), (2, 3, false));
        assert_eq!(part.weight, 16);
        let sum = liveness.interval(1);
        assert_eq!((sum.start, sum.end), (0, 6));
        assert_eq!(liveness.interval(0).end, 5);
        assert!(liveness.is_loop_head(1) && !liveness.is_loop_head(4) && liveness.is_target(4));
        assert!(liveness.zeroed().is_empty());
    });
}

#[test]
fn overlapping_loops_become_nested() {
    let text = "template t(n: i64) -> i64\nlocal x: i64\nconst i64 x, 1\none:\nsub i64 n, n, 1\n\
                two:\nadd i64 x, x, 1\nbr_gt i64 n, 5, one\nsub i64 n, n, 1\nbr_gt i64 n, 0, two\n\
                return i64 n\nend";
    let templates = parse(text).unwrap();
    with_instance(&templates[0].body, |instance| {
        let mut liveness = Liveness::default();
        liveness.compute(instance, false).unwrap();
        let loops: Vec<_> = liveness.loops.list.iter().map(|l| (l.start, l.end, l.depth)).collect();
        assert_eq!(loops, [(1, 5, 0), (2, 5, 1)]);
        assert_eq!(liveness.interval(1).end, 5);
    });
}
