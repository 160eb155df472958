//! Damaged IR functions are refused, or have the same result in machine code and in the interpreter.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails loudly")]

use smf_core::ir::text::parse;
use smf_tests::ir::check_any;

const LISTS: &str = include_str!("../templates/lists.sbt");

/// Functions that access no memory and call nothing, so that they are run: arithmetic, branches, loops and traps.
const ALONE: &str = "
template max<T>(a: T, b: T) -> T
    br_ge T a, b, first
    return T b
first:
    return T a
end
template power<T, U>(a: T, n: U) -> T
    local one: T
    local i: U
    const T one, 1
more:
    br_ge U i, n, done
    mul T one, one, a
    add U i, i, 1
    jump more
done:
    return T one
end
template mix<T, U>(a: T, b: T, c: U, d: U, e: f64, f: i8, g: u16, h: T) -> U
    local x: T
    local y: U
    local z: bool
    div T x, a, b
    sub T x, x, h
    convert U y, T x
    lt U z, y, c
    br_true z, small
    convert T x, f64 e
    mul T x, x, 7
    convert U y, T x
    add U y, y, d
    br_lt i8 f, 5, small
    convert U y, u16 g
small:
    not bool z, z
    br_false z, out
    neg U y, y
    br_gt U y, 100, trapped
out:
    return U y
trapped:
    trap 77
end
";

#[test]
fn damaged_body_is_refused_or_runs_alike() {
    let lists: Vec<&str> = LISTS.lines().filter(|line| !line.starts_with("possible")).collect();
    let mut bodies = parse(ALONE).unwrap();
    bodies.extend(parse(&lists.join("\n")).unwrap());
    let (mut state, mut ran) = (1u64, 0);
    let mut below = |bound: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for template in &bodies {
        check_any(&template.body);
        for _ in 0..1_500 {
            let mut body = template.body.clone();
            for _ in 0..=below(3) {
                let at = below(body.len());
                body[at] = match below(4) {
                    0 => body[at] ^ 1 << below(8),
                    1 => body[below(body.len())],
                    2 => u8::try_from(below(0x60)).unwrap(),
                    _ => u8::try_from(below(256)).unwrap(),
                };
            }
            ran += u32::from(check_any(&body));
        }
    }
    assert!(!cfg!(target_arch = "x86_64") || ran > 300, "{ran} were run");
}
