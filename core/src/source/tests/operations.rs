//! Random expressions of literals and typed constants, as a constant and in a function: both have the same value, or are
//! refused by the same errors.

use std::format;
use std::string::{String, ToString};

use super::random::{Random, SEEDS};
use super::run::{call_unit, compiled, errors_of, messages};
use crate::source::Mode;

const TYPES: [&str; 11] =
    ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "bool"];
const INTEGERS: [&str; 18] = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "127",
    "128",
    "255",
    "(-1)",
    "(-7)",
    "(-128)",
    "65535",
    "2147483647",
    "1000",
    "0xffffffffffffffff",
    "0x8000000000000000",
    "9223372036854775807",
    "(-9223372036854775808)",
];
const FRACTIONS: [&str; 6] = ["0.5", "0.1", "2.0", "(-0.0)", "16777217", "9007199254740993"];

impl Random {
    /// A number or bool, mostly of type `ty` or a literal that takes it.
    fn leaf(&mut self, ty: &str) -> String {
        let ty = if self.below(12) == 0 { self.pick(&TYPES) } else { ty };
        match (ty, self.below(8)) {
            ("bool", choice) => if choice < 4 { "true" } else { "false" }.to_string(),
            (_, 0) => format!("TWO_{ty}"),
            (_, 1) => format!("({} as {ty})", self.pick(&INTEGERS)),
            (_, 2) => format!("3{ty}"),
            ("f32" | "f64", 3..=5) => self.pick(&FRACTIONS).to_string(),
            _ => self.pick(&INTEGERS).to_string(),
        }
    }

    fn operation(&mut self, ty: &str, depth: usize) -> String {
        if depth == 0 || self.below(8) == 0 {
            return self.leaf(ty);
        }
        let other = TYPES[self.below(TYPES.len() - 1)];
        let mut operand = |ty| self.operation(ty, depth - 1);
        let (one, two, of_other, to_compare) =
            (operand(ty), operand(ty), operand(other), operand(other));
        match (ty, self.below(8)) {
            ("bool", 0) => format!("(not {one})"),
            ("bool", 1 | 2) => {
                format!("({one} {} {two})", self.pick(&["and", "or", "==", "!=", "<"]))
            }
            ("bool", _) => {
                let op = self.pick(&["<", "<=", ">", ">=", "==", "!="]);
                format!("({of_other} {op} {to_compare})")
            }
            (_, 0) => format!("({of_other} as {ty})"),
            ("f32" | "f64", 1) => format!("(-{one})"),
            ("f32" | "f64", _) => format!("({one} {} {two})", self.pick(&["+", "-", "*", "/"])),
            (_, 1) => format!("(-{one})"),
            (_, 2 | 3) => format!("(~{one})"),
            (_, 4) => format!("({one} {} {of_other})", self.pick(&["<<", ">>", "**"])),
            _ => {
                let op = self.pick(&["+", "-", "*", "/", "%", "&", "|", "xor", "<<", ">>"]);
                format!("({one} {op} {two})")
            }
        }
    }
}

/// An expression as a constant and in a function.
fn both(declarations: &str, ty: &str, expression: &str) -> (String, String) {
    (
        format!("{declarations}const K: {ty} = {expression}\nfn k() -> {ty}: K\n"),
        format!("{declarations}fn k() -> {ty}: {expression}\n"),
    )
}

/// What a program has for `k`: the bits of its value and of those that are no numbers the same, or its errors.
fn outcome(text: &str, ty: &str) -> Result<String, String> {
    let compiled = compiled(text, Mode::Compile);
    let errors = messages(&compiled);
    let Some(unit) = compiled.unit else { return Err(errors.join("\n")) };
    let value = call_unit(&unit, "k", &[]).0;
    let is_nan = value.as_ref().is_ok_and(|&bits| match ty {
        "f32" => f32::from_bits(bits as u32).is_nan(),
        "f64" => f64::from_bits(bits).is_nan(),
        _ => false,
    });
    Ok(if is_nan { "NaN".to_string() } else { format!("{value:?}") })
}

#[test]
fn constant_has_the_value_of_its_expression_in_a_function() {
    let typed = |&ty: &&str| {
        format!("const TWO_{ty}: {ty} = {}\n", if ty == "bool" { "true" } else { "2" })
    };
    let declarations: String = TYPES.iter().map(typed).collect();
    let mut accepted = 0;
    for seed in SEEDS {
        let mut random = Random(seed);
        let ty = random.pick(&TYPES);
        let depth = 1 + random.below(3);
        let expression = random.operation(ty, depth);
        let (constant, function) = both(&declarations, ty, &expression);
        let expected = outcome(&function, ty);
        let found = outcome(&constant, ty);
        // What would trap is an error in a constant.
        if found.as_ref().is_err_and(|errors| errors.contains("E1408: a constant ")) {
            continue;
        }
        assert_eq!(found, expected, "seed {seed}: {ty}: {expression}");
        accepted += usize::from(found.is_ok());
    }
    assert!(accepted * 3 > SEEDS.count(), "{accepted}");
}

#[test]
fn literals_have_one_meaning_in_constants_and_functions() {
    let typed = "const TWO: i64 = 2\nconst MASK: u32 = 0xff\nconst N: i64 = 9\n";
    for (ty, expression, bits) in [
        // Beyond the largest i64 a literal states the bits, beside a value as by itself.
        ("i64", "0xffffffffffffffff / TWO", 0),
        ("i64", "0xffffffffffffffff >> TWO", u64::MAX),
        ("bool", "0xffffffffffffffff < TWO", 1),
        ("i64", "-(-9223372036854775807 - 1) / TWO", (i64::MIN / 2) as u64),
        // An operand beside a literal is of the type that is wanted.
        ("u32", "(~128) % (~128)", 0),
        ("u16", "202 % (~0)", 202),
        ("u64", "(~1) / (~255)", 1),
        ("u32", "5 xor (~0)", 0xffff_fffa),
        ("u8", "255 - (~0)", 0),
        ("u32", "1 | ((~7) & MASK)", 0xf9),
        ("u64", "1 + (9223372036854775807 + 127)", 0x8000_0000_0000_007f),
        ("u16", "1 + (1 << N)", 513),
        ("u64", "1 + (1 << 63)", (1 << 63) + 1),
        // A literal that becomes a float has its own value.
        ("f64", "0xffffffffffffffff as f64", f64::to_bits(18_446_744_073_709_551_615.0)),
        ("f32", "0x8000000000000000 as f32", f32::to_bits(9_223_372_036_854_775_808.0).into()),
        ("f64", "1 + 0xffffffffffffffff as f64", f64::to_bits(18_446_744_073_709_551_616.0)),
        ("f32", "2 * 0.1", f32::to_bits(0.2).into()),
        ("f32", "1 - 0.1", f32::to_bits(0.9).into()),
        ("f64", "(1 + 0.1) * (3.0 as f32)", f64::to_bits((1.1_f32 * 3.0).into())),
        ("i8", "-128i8", -128_i8 as u8 as u64),
    ] {
        let (constant, function) = both(typed, ty, expression);
        assert_eq!(outcome(&constant, ty), Ok(format!("Ok({bits})")), "{ty}: {expression}");
        assert_eq!(outcome(&function, ty), Ok(format!("Ok({bits})")), "{ty}: {expression}");
    }
    let misfit = |ty| format!("4: E1407: the number does not fit `{ty}`");
    for (ty, expression, error) in [
        ("i64", "-0xffffffffffffffff", misfit("i64")),
        ("u32", "(~3) + (~7)", misfit("u32")),
        ("u8", "1 - (~7)", misfit("u8")),
        ("u16", "(-128) * (~7)", misfit("u16")),
        ("f32", "1.0f32 + 1.0e39", misfit("f32")),
        ("u8", "300u8", misfit("u8")),
        ("i8", "1 + 128i8", misfit("i8")),
        ("bool", "false < true", "4: E1404: `<` has no meaning for `bool` and `bool`".into()),
    ] {
        let (constant, function) = both(typed, ty, expression);
        for text in [constant, function] {
            assert_eq!(errors_of(&text), std::slice::from_ref(&error), "{ty}: {expression}");
        }
    }
    // The conversion by the name of a type is that of `as`, and `max` has operands as an operation.
    let text = "fn k() -> f64: f64(0xffffffffffffffff)\n";
    assert_eq!(
        outcome(text, "f64"),
        Ok(format!("Ok({})", f64::to_bits(18_446_744_073_709_551_615.0)))
    );
    let text = "fn k() -> u32: max(~1, ~0) - 1\n";
    assert_eq!(outcome(text, "u32"), Ok("Ok(4294967294)".to_string()));
}
