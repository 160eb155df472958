//! The operations of version 2 in the interpreter, against the arithmetic of the language.

use std::format;
use std::vec::Vec;

use super::super::text::{ParsedFunction, parse};
use super::super::*;

/// Calls function 0 of a text.
fn call(text: &str, arguments: &[u64]) -> Result<u64, Stop> {
    call_with(text, arguments, &mut Memory { base: 0, bytes: &mut [] }, 100_000)
}

fn call_with(text: &str, arguments: &[u64], outer: &mut dyn Host, steps: u64) -> Result<u64, Stop> {
    let parsed: Vec<ParsedFunction> = parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let verified: Vec<Verified<'_>> = parsed
        .iter()
        .map(|parsed| Verified::new(Function::parse(&parsed.body).unwrap()).unwrap())
        .collect();
    let functions: Vec<FunctionInstance<'_, '_>> =
        verified.iter().map(|verified| verified.instance(Arguments::NONE).unwrap()).collect();
    ProgramHost::new(&functions, outer, steps).unwrap().call_function(0, arguments)
}

fn is_overflow(result: Result<u64, Stop>) -> bool {
    matches!(result, Err(Stop::Trap { code: OVERFLOW, .. }))
}

#[test]
fn checked_arithmetic_traps_where_the_type_lacks_the_result() {
    macro_rules! check {
        ($($ty:ident)*) => { $(
            let values = [0, 1, 2, 7, 127, $ty::MAX / 2, $ty::MAX - 1, $ty::MAX, $ty::MIN, $ty::MIN + 1, (0 as $ty).wrapping_sub(1)];
            for (name, operation) in [
                ("add_checked", $ty::checked_add as fn($ty, $ty) -> Option<$ty>),
                ("sub_checked", $ty::checked_sub),
                ("mul_checked", $ty::checked_mul),
            ] {
                let ty = stringify!($ty);
                let text = format!("function f(a: {ty}, b: {ty}) -> {ty}\n{name} {ty} a, a, b\nreturn {ty} a\nend");
                for a in values {
                    for b in values {
                        let found = call(&text, &[a as u64, b as u64]);
                        match operation(a, b) {
                            Some(expected) => assert_eq!(found.map(|bits| bits as $ty), Ok(expected), "{name} {a} {b}"),
                            None => assert!(is_overflow(found), "{name} {ty} {a} {b}"),
                        }
                    }
                }
            }
        )* };
    }
    check!(i8 i16 i32 i64 u8 u16 u32 u64);
}

#[test]
fn rotation_counts_modulo_the_width() {
    macro_rules! check {
        ($($ty:ident)*) => { $(
            let ty = stringify!($ty);
            let text = format!("function f(a: {ty}, b: {ty}) -> {ty}\nrotl {ty} a, a, b\nreturn {ty} a\nend");
            for a in [1 as $ty, $ty::MAX - 1, $ty::MIN, 0x35] {
                for b in [0, 1, 5, 7, 8, 15, 31, 63, 64, 65, 100] {
                    let count = b as u32 % $ty::BITS;
                    let found = call(&text, &[a as u64, b]).unwrap() as $ty;
                    assert_eq!(found, a.rotate_left(count), "{a} by {b}");
                }
            }
        )* };
    }
    check!(i8 i16 i32 i64 u8 u16 u32 u64);
}

#[test]
fn roots_are_correctly_rounded_and_signs_removed() {
    let root = "function f(a: f64) -> f64\nsqrt f64 a, a\nreturn f64 a\nend";
    let single = "function f(a: f32) -> f32\nsqrt f32 a, a\nreturn f32 a\nend";
    for value in [0.0, -0.0, 2.0, 1e300, f64::MIN_POSITIVE, f64::INFINITY, 5e-324, 0.3] {
        assert_eq!(call(root, &[value.to_bits()]), Ok(value.sqrt().to_bits()), "{value}");
        let narrow = value as f32;
        let found = call(single, &[narrow.to_bits().into()]);
        assert_eq!(found, Ok(narrow.sqrt().to_bits().into()), "{narrow}");
    }
    assert!(f64::from_bits(call(root, &[(-1f64).to_bits()]).unwrap()).is_nan());
    let absolute = "function f(a: f64) -> f64\nabs f64 a, a\nreturn f64 a\nend";
    for value in [-0.0, -1.5, 7.0, f64::NEG_INFINITY, -f64::NAN] {
        assert_eq!(call(absolute, &[value.to_bits()]), Ok(value.abs().to_bits()));
    }
}

#[test]
fn select_takes_one_of_two_values() {
    let text = "function f(b: bool, x: u8, y: u8) -> u8\nselect u8 x, b, x, y\nreturn u8 x\nend";
    assert_eq!([0, 1].map(|bool| call(text, &[bool, 7, 9])), [Ok(9), Ok(7)]);
}

#[test]
fn conditional_traps_have_their_code_and_place() {
    let text = "function f(a: i64, b: bool) -> i64\ntrap_ge u64 u, 100, 4000000000\n\
                trap_lt i64 a, -5, 6\ntrap_true b, 7\ntrap_false c, 8\nreturn i64 a\nend";
    let text = text.replace(
        "trap_ge",
        "local u: u64\nlocal c: bool\nconvert u64 u, i64 a\neq i64 c, a, a\ntrap_ge",
    );
    let at = |instruction: u32| 56 + instruction * 12;
    assert_eq!(call(&text, &[99, 0]), Ok(99));
    let trap =
        |code, instruction, operands| Err(Stop::Trap { code, at: at(instruction), operands });
    assert_eq!(call(&text, &[100, 0]), trap(4_000_000_000, 2, [100, 100]));
    assert_eq!(call(&text, &[u64::MAX, 0]), trap(4_000_000_000, 2, [u64::MAX, 100]));
    assert_eq!(call(&text, &[5, 1]), trap(7, 4, [0; 2]));
    let text = text.replace("eq i64 c", "ne i64 c");
    assert_eq!(call(&text, &[5, 0]), trap(8, 5, [0; 2]));
    let text = "function f(a: i64)\ntrap_lt i64 a, -5, 6\nreturn_none\nend";
    let [five, six] = [-5i64, -6].map(i64::cast_unsigned);
    assert_eq!([five, six].map(|a| call(text, &[a])), [Ok(0), trap(6, 0, [six, five])]);
}

/// Slots of two activations, data, copies and fills.
const MEMORY: &str = "
function main(n: i64) -> i64
    slot pad: 3
    slot own align 16: 32
    data table: i64 10 20 -30, \"tail\"
    local p: ptr
    local q: ptr
    local byte: u8
    local size: u64
    local r: i64
    slot_address p, own + 8
    store i64 n, p
    data_address q, table + 24
    check_stack q
    load i64 r, p
    call callee(p, r)
    data_address q, table
    slot_address p, own
    copy_memory p, q, 8
    const u64 size, 8
    const u8 byte, 1
    element u8 q, p[16]
    fill_memory q, byte, size
    load i64 r, p
    load i64 n, p + 8
    add i64 n, n, r
    load i64 r, p + 16
    add i64 n, n, r
    data_address q, table + 28
    load u8 byte, q - 1
    convert i64 r, u8 byte
    add i64 n, n, r
    return i64 n
end
function callee(p: ptr, n: i64)
    slot own: 8
    local q: ptr
    slot_address q, own
    store i64 n, q
    trap_eq ptr p, q, 50
    load i64 n, q
    mul i64 n, n, 3
    store i64 n, p
    return_none
end
";

#[test]
fn slots_data_copies_and_fills_share_one_memory() {
    let expected = 10 + 3 * 7 + 0x0101_0101_0101_0101 + u64::from(b'l');
    assert_eq!(call(MEMORY, &[7]), Ok(expected));
    // A write to data, and accesses behind a slot.
    for lines in ["data_address p, d\nstore i64 n, p", "slot_address p, s\nload i64 n, p + 1"] {
        let text = format!(
            "function f(n: i64)\nlocal p: ptr\nslot s: 8\ndata d: i64 5\n{lines}\nreturn_none\nend"
        );
        assert!(matches!(call(&text, &[1]), Err(Stop::Address(_))), "{lines}");
    }
    let mut outer = Memory { base: 0x100, bytes: &mut [1, 2, 3, 4] };
    let text = "function f(to: ptr, from: ptr, n: u64)\ncopy_memory to, from, n\nreturn_none\nend";
    assert_eq!(call_with(text, &[0x102, 0x100, 2], &mut outer, 10), Ok(0));
    // No byte is no access.
    assert_eq!(call_with(text, &[0, 0, 0], &mut outer, 10), Ok(0));
    let beyond = call_with(text, &[0x102, 0x100, u64::MAX], &mut outer, 10);
    assert_eq!(beyond, Err(Stop::Address(0x104)));
    assert_eq!(outer.bytes, [1, 2, 1, 2]);
}

#[test]
fn tail_calls_need_no_stack_and_calls_have_a_limit() {
    let text = "function down(n: i64, sum: i64) -> i64\nbr_eq i64 n, 0, done\nadd i64 sum, sum, n\n\
                sub i64 n, n, 1\nreturn_call down(n, sum)\ndone:\nreturn i64 sum\nend";
    let mut outer = Memory { base: 0, bytes: &mut [] };
    let sum = call_with(text, &[50_000, 0], &mut outer, 1_000_000);
    assert_eq!(sum, Ok(50_000 * 50_001 / 2));
    assert_eq!(call_with(text, &[50_000, 0], &mut outer, 1_000), Err(Stop::Steps));
    let indirect = text.replace(
        "return_call down(n, sum)",
        "function_address p, down(i64, i64) -> i64\nreturn_call_indirect p(n, sum)",
    );
    let indirect = indirect.replacen("\n", "\nlocal p: ptr\n", 1);
    assert_eq!(call_with(&indirect, &[50_000, 0], &mut outer, 1_000_000), sum);
    let endless = "function f(n: i64) -> i64\ncall n = f(n)\nreturn i64 n\nend";
    assert_eq!(call(endless, &[1]), Err(Stop::Depth));
}

#[test]
fn calls_by_address_need_the_signature_and_the_function() {
    let text = "function main(n: i64, f: f64) -> i64\nlocal p: ptr\nlocal q: ptr\n\
                function_address p, twice(i64) -> i64\nfunction_address q, SIGNATURE\n\
                call_indirect n = p(n)\nelement u8 q, q[OFFSET]\ncall_indirect n = q(n)\n\
                return i64 n\nend\nfunction twice(n: i64) -> i64\nadd i64 n, n, n\nreturn i64 n\nend\n\
                function half(n: u64) -> i64\ntrap 5\nend";
    let text = |signature: &str, offset: &str| {
        text.replace("SIGNATURE", signature).replace("OFFSET", offset)
    };
    assert_eq!(call(&text("twice(i64) -> i64", "0"), &[5, 0]), Ok(20));
    assert_eq!(call(&text("half(u64) -> i64", "0"), &[5, 0]), Err(Stop::Callee));
    assert_eq!(call(&text("1(u64) -> i64", "0"), &[5, 0]), Err(Stop::Callee));
    assert_eq!(call(&text("9(i64) -> i64", "0"), &[5, 0]), Err(Stop::Callee));
    assert_eq!(call(&text("twice(i64) -> i64", "8"), &[5, 0]), Err(Stop::Callee));
    assert_eq!(call(&text("twice(i64) -> i64", "1600"), &[5, 0]), Err(Stop::Callee));
    assert_eq!(call("function f()\ncall 7()\nreturn_none\nend", &[]), Err(Stop::Callee));
    assert_eq!(call("function f(a: i64)\nreturn_none\nend", &[]), Err(Stop::Arguments));
}

/// A host with a function, whose address is 77.
struct Square;

impl Host for Square {
    fn load(&mut self, address: u64, _: u8) -> Result<u64, Stop> {
        Err(Stop::Address(address))
    }

    fn store(&mut self, address: u64, _: u8, _: u64) -> Result<(), Stop> {
        Err(Stop::Address(address))
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        if callee.name == "square" { Ok(arguments[0] * arguments[0]) } else { Err(Stop::Callee) }
    }

    fn call_indirect(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        _: &Callee<'_>,
        address: u64,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        if address == 77 { Ok(arguments[0] * arguments[0]) } else { Err(Stop::Callee) }
    }

    fn function_address(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
    ) -> Result<u64, Stop> {
        if callee.name == "square" { Ok(77) } else { Err(Stop::Callee) }
    }
}

#[test]
fn functions_of_the_host_are_called_by_name_address_and_tail_call() {
    let head = "function f(n: i64) -> i64\nlocal p: ptr\n";
    for lines in [
        "call_host n = square(n)\nreturn i64 n",
        "return_call_host square(n)",
        "host_address p, square(i64) -> i64\ncall_indirect n = p(n)\nreturn i64 n",
        "host_address p, square(i64) -> i64\nreturn_call_indirect p(n)",
    ] {
        let text = format!("{head}{lines}\nend");
        assert_eq!(call_with(&text, &[9], &mut Square, 10), Ok(81), "{lines}");
        // Without a program around it.
        let parsed = parse(&text).unwrap().remove(0);
        let verified = Verified::new(Function::parse(&parsed.body).unwrap()).unwrap();
        let instance = verified.instance(Arguments::NONE).unwrap();
        assert_eq!(interpret(&instance, &[9], &mut Square, &mut 10), Ok(81), "{lines}");
        let other = text.replace("square", "cube");
        assert_eq!(call_with(&other, &[9], &mut Square, 10), Err(Stop::Callee), "{lines}");
    }
}

#[test]
fn host_without_memory_refuses_slots_and_data() {
    for line in ["slot_address p, s", "data_address p, d"] {
        let text = format!(
            "function f()\nlocal p: ptr\nslot s: 8\ndata d: \"\"\n{line}\nreturn_none\nend"
        );
        let parsed = parse(&text).unwrap().remove(0);
        let verified = Verified::new(Function::parse(&parsed.body).unwrap()).unwrap();
        let instance = verified.instance(Arguments::NONE).unwrap();
        let mut memory = Memory { base: 0, bytes: &mut [] };
        assert_eq!(interpret(&instance, &[], &mut memory, &mut 10), Err(Stop::Memory), "{line}");
    }
}
