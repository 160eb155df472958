//! Damaged IR functions are refused, or have the same result in machine code and in the interpreter.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails loudly")]

use smf_core::ir::text::parse;
use smf_tests::ir::{LISTS, check_any};
use smf_tests::random::Random;

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

/// All of version 2.
const EXTENDED: &str = "
function whole(a: i64, p: ptr) -> i64
    slot s align 16: 24
    slot t: 3
    data d: i32 1 -2 3, \"text\"
    data e align 16: \"\"
    local q: ptr
    local b: bool
    local n: u8
    local m: i32
    local f: f64
    location 1
    slot_address q, s + 8
    store i64 a, q
    data_address q, d + 4
    location 2:3 in \"a file\"
    load i32 m, q
    fill_memory p, n, 5
    slot_address q, s
    copy_memory p, q, 4
    and i64 a, a, 15
    copy_memory p, q, a
    check_stack p + 4
    trap_lt i64 a, 5, 7
    trap_true b, 8
    select i64 a, b, a, a
    sqrt f64 f, f
    abs f64 f, f
    add_checked i64 a, a, 1
    rotl i64 a, a, a
    function_address q, whole(i64, ptr) -> i64
    trap_gt i64 a, 1000, 3
    add_checked i64 a, a, 900
    return_call_indirect q(a, p)
end
function calls(a: i64, p: ptr) -> i64
    local f: f64
    call a = calls(a, p)
    call 5(p)
    call a = other<Pair<i64, \"u8\">>(f)
    call_host abs(a) -> i64
    const_wide i64 a, 0x100000000000
    call_indirect a = p(a, f)
    call_indirect p()
    return_call calls(a, p)
end
";

#[test]
fn damaged_body_is_refused_or_runs_alike() {
    let lists: Vec<&str> = LISTS.lines().filter(|line| !line.starts_with("possible")).collect();
    let mut bodies = parse(ALONE).unwrap();
    bodies.extend(parse(&lists.join("\n")).unwrap());
    bodies.extend(parse(EXTENDED).unwrap());
    let (mut random, mut ran) = (Random(1), 0);
    let mut below = |bound: usize| random.below(bound);
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
