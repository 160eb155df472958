//! Whether the arms of a match cover the values of its subject.

use super::random::{Random, SEEDS};
use super::run::*;
use crate::source::{Mode, SourceFile, compile};
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// A value of the subject `(E, bool, i8)`: the variant with its payload, the bool and the number.
type Subject = (u8, bool, i8);

const TYPES: &str = "enum E:\n    A\n    B(bool)\n    C\n";

/// A pattern, and the values that it matches.
type Pattern<T> = (String, Vec<T>);

fn any<T>(values: &[T], wanted: &str, holds: impl Fn(&T) -> bool) -> Pattern<T>
where
    T: Copy,
{
    (wanted.to_string(), values.iter().copied().filter(|value| holds(value)).collect())
}

/// Of the variants: 0 is `A`, 1 and 2 are `B`, 3 is `C`.
fn variant(random: &mut Random) -> Pattern<u8> {
    let values = [0, 1, 2, 3];
    match random.below(7) {
        0 => any(&values, "E.A", |v| *v == 0),
        1 => any(&values, "E.B(_)", |v| [1, 2].contains(v)),
        2 => any(&values, "E.B(true)", |v| *v == 2),
        3 => any(&values, "E.B(false)", |v| *v == 1),
        4 => any(&values, "C", |v| *v == 3),
        5 => any(&values, "E.A | E.B(false | true)", |v| *v < 3),
        _ => any(&values, "_", |_| true),
    }
}

fn flag(random: &mut Random) -> Pattern<bool> {
    match random.below(3) {
        0 => any(&[false, true], "true", |v| *v),
        1 => any(&[false, true], "false", |v| !*v),
        _ => any(&[false, true], "x", |_| true),
    }
}

fn number(random: &mut Random) -> Pattern<i8> {
    let values: Vec<i8> = (i8::MIN..=i8::MAX).collect();
    let edge = [-128, -127, -1, 0, 1, 50, 126, 127];
    let mut pick = || edge[random.below(edge.len())];
    let (low, high) = (pick(), pick());
    match random.below(4) {
        0 => any(&values, &format!("{low}..={high}"), |v| (low..=high).contains(v)),
        1 => any(&values, &format!("{low}..{high}"), |v| (low..high).contains(v)),
        2 => any(&values, &low.to_string(), |v| *v == low),
        _ => any(&values, "_", |_| true),
    }
}

#[test]
fn arms_cover_and_are_reached_by_what_comparing_each_value_finds() {
    let (mut complete, mut incomplete) = (0, 0);
    for seed in SEEDS {
        let mut random = Random(seed);
        let mut text = format!("{TYPES}fn f(s: (E, bool, i8)) -> i64:\n    match s:\n");
        let mut covered = std::collections::HashSet::<Subject>::new();
        let mut unreached = Vec::new();
        for arm in 0..1 + random.below(9) {
            let (one, two, three) = (variant(&mut random), flag(&mut random), number(&mut random));
            text += &format!("        case ({}, {}, {}): {arm}\n", one.0, two.0, three.0);
            let with_bool = one.1.iter().flat_map(|&v| two.1.iter().map(move |&b| (v, b)));
            let values = with_bool.flat_map(|(v, b)| three.1.iter().map(move |&n| (v, b, n)));
            let values: Vec<Subject> = values.collect();
            if values.iter().all(|value| covered.contains(value)) {
                unreached.push(format!("{}: W2002: this arm is never reached", arm + 7));
            }
            covered.extend(values);
        }
        let is_complete = covered.len() == 4 * 2 * 256;
        let errors = errors_of(&text);
        let is_refused = errors.iter().any(|error| error.contains("E1409"));
        assert_eq!(is_complete, !is_refused, "{text}\n{errors:?}");
        let warnings: Vec<_> = errors.into_iter().filter(|e| !e.contains("E1409")).collect();
        assert_eq!(warnings, unreached, "{text}");
        complete += u32::from(is_complete);
        incomplete += u32::from(!is_complete);
    }
    assert!(cfg!(miri) || complete.min(incomplete) > 20, "{complete} {incomplete}");
}

#[test]
fn large_matches_are_checked() {
    let bools = |count: usize, arm: &dyn Fn(usize) -> String| {
        let types = vec!["bool"; count].join(", ");
        let arms: String =
            (0..=count).map(|n| format!("        case ({}): {n}\n", arm(n))).collect();
        format!("fn f(x: ({types})) -> i64:\n    match x:\n{arms}")
    };
    let diagonal = |count: usize| {
        bools(count, &|n| {
            let part = |at: usize| match n {
                _ if n == count => "false",
                _ if n == at => "true",
                _ => "_",
            };
            (0..count).map(part).collect::<Vec<_>>().join(", ")
        })
    };
    assert_eq!(errors_of(&diagonal(24)), [""; 0]);
    let many = if cfg!(miri) { 40 } else { 4000 };
    let ranges = |count: u32, end: u32| {
        let arms = (0..count).map(|n| format!("        case {}..{}: {n}\n", n * 16, n * 16 + 16));
        let arms: String = arms.collect();
        format!(
            "fn f(x: u16) -> i64:\n    match x:\n{arms}        case {}..={end}: 1\n",
            count * 16
        )
    };
    assert_eq!(errors_of(&ranges(many, 65535)), [""; 0]);
    let refused = "2: E1409: the match has no arm for some values of `u16`";
    assert_eq!(errors_of(&ranges(many, 65534)), [refused]);
    let count = if cfg!(miri) { 50 } else { 20_000 };
    let variants: String = (0..count).map(|n| format!("    V{n}\n")).collect();
    let arms: String = (0..count).map(|n| format!("        case E.V{n}: {n}\n")).collect();
    let text = format!("enum E:\n{variants}fn f(e: E) -> i64:\n    match e:\n{arms}");
    assert_eq!(errors_of(&text), [""; 0]);
}

/// That each of nine pigeons has one of eight holes and no two share one: a complete match that no short proof shows.
#[test]
fn match_beyond_the_limit_is_refused_by_its_size() {
    let (pigeons, holes) = (9, 8);
    let arm = |value: &dyn Fn(usize, usize) -> &'static str| {
        let parts = (0..pigeons * holes).map(|at| value(at / holes, at % holes));
        format!("        case ({}): 1\n", parts.collect::<Vec<_>>().join(", "))
    };
    let types = vec!["bool"; pigeons * holes].join(", ");
    let mut text = format!("fn f(x: ({types})) -> i64:\n    match x:\n");
    for first in 0..pigeons {
        text += &arm(&|pigeon, _| if pigeon == first { "false" } else { "_" });
        for (second, hole) in (0..first).flat_map(|s| (0..holes).map(move |hole| (s, hole))) {
            let is_here = |pigeon, at| at == hole && (pigeon == first || pigeon == second);
            text += &arm(&|pigeon, at| if is_here(pigeon, at) { "true" } else { "_" });
        }
    }
    let message = format!(
        "the match is too large to check whether it has an arm for all values of `({types})`"
    );
    assert_eq!(errors_of(&text), [format!("2: E1409: {message}")]);
    assert_eq!(errors_of(&format!("{text}        case _: 2\n")), [""; 0]);
}

#[test]
fn bounds_of_a_range_are_constants() {
    let text = "const LO = 3\nconst HI = LO + 4\n\
                fn f(x: i64) -> i64:\n    match x:\n        case LO..HI: 1\n        case HI..=HI | -9..LO: 2\n        case _: 3\n\
                fn g(x: u8) -> i64:\n    match x:\n        case 0..MID: 1\n        case MID..=255: 2\n\
                const MID: u8 = 100\n";
    for (name, argument, expected) in [
        ("f", 3, 1),
        ("f", 6, 1),
        ("f", 7, 2),
        ("f", 2, 2),
        ("f", 8, 3),
        ("g", 99, 1),
        ("g", 100, 2),
    ] {
        assert_eq!(run(text, name, &[argument]), expected, "{name} {argument}");
    }
    let module = "pub const LO: u8 = 10\nconst HI: u8 = 255\npub fn none(): pass\n";
    let files = [
        file(
            "use m\nconst N = [1; m.HI]\nfn f(x: u8) -> i64:\n    match x:\n        case m.LO..=m.HI: N.len()\n        case 0..m.LO: 2\n",
        ),
        SourceFile { name: "m", module: "m", text: module },
    ];
    let compiled = compile(&files, Mode::Compile).unwrap();
    let unit = compiled.unit.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    assert_eq!(call_unit(&unit, "f", &[10]).0, Ok(255));
    assert_eq!(call_unit(&unit, "f", &[9]).0, Ok(2));
}

#[test]
fn name_in_a_pattern_that_is_written_as_a_variant_or_constant_has_to_be_one() {
    let head = "enum Color:\n    Red\n    Green\n    Blue\nconst HIGH = 2\n";
    let small = "a name for the value begins with a small letter";
    for (subject, arm, message, note) in [
        ("Color", "Bleu: 3", "`Bleu` is no variant of `Color`", "a similar name is `Blue`"),
        ("Color", "Red | Gren: 3", "`Gren` is no variant of `Color`", "a similar name is `Green`"),
        ("Color", "Gren | Red: 3", "`Gren` is no variant of `Color`", "a similar name is `Green`"),
        ("Color", "Violet: 3", "`Violet` is no variant of `Color`", small),
        ("i64", "HIHG: 3", "constant `HIHG` not found", "a similar name is `HIGH`"),
        ("i64", "OTHER: OTHER + 1", "constant `OTHER` not found", small),
    ] {
        let text = format!(
            "{head}fn f(c: {subject}) -> i64:\n    match c:\n        case {arm}\n        case _: 4\n"
        );
        let found = compiled(&text, Mode::Compile).diagnostics;
        let found: Vec<_> = found.iter().map(|d| (&*d.message, d.note.as_deref())).collect();
        assert_eq!(found, [(message, Some(note))], "{arm}");
    }
    for (subject, arm) in [
        ("Color", "Red: 3"),
        ("Color", "c if c == Color.Red: 3"),
        ("i64", "HIGH: 3"),
        ("i64", "n if n > 0: n"),
        ("i64", "Rest if Rest > 0: Rest"),
    ] {
        let text = format!(
            "{head}fn f(c: {subject}) -> i64:\n    match c:\n        case {arm}\n        case _: 4\n"
        );
        assert_eq!(errors_of(&text), [""; 0], "{arm}");
    }
}

#[test]
fn note_names_a_variant_that_is_not_covered() {
    let head = "enum E:\n    A(b: bool)\n    B(x: i8, y: i8)\n    C\n";
    for (subject, arms, missing) in [
        ("E", "A(true)|A(false)|C", Some("B")),
        ("E", "A(true)|A(false)|B(0, _)|C", Some("B")),
        ("E", "A(true)|C|B(_, _)", Some("A")),
        ("E", "A(_)|B(-128..=-1, _)|B(0..=127, _)", Some("C")),
        ("E", "A(_) if true|B(_, _)|C", Some("A")),
        ("bool", "true", Some("false")),
        ("bool", "false", Some("true")),
        ("i8", "0", None),
        ("(E, bool)", "(E.C, _)", None),
    ] {
        let cases: String = arms.split('|').map(|arm| format!("        case {arm}: 1\n")).collect();
        let text = format!("{head}fn f(e: {subject}) -> i64:\n    match e:\n{cases}");
        let found = compiled(&text, Mode::Compile).diagnostics;
        let found: Vec<_> = found.iter().map(|d| (&*d.message, d.note.as_deref())).collect();
        let message = format!("the match has no arm for some values of `{subject}`");
        let note = missing.map(|name| format!("`{name}` is missing"));
        let note = note.as_deref().unwrap_or("add `case _:`");
        assert_eq!(found, [(&*message, Some(note))], "{arms}");
    }
}

#[test]
fn pattern_has_each_field_once() {
    let head = "enum N:\n    V(x: i64, y: i64)\nfn f(n: N) -> i64:\n    match n:\n";
    for (fields, field) in [("x: a, x: 3", "x"), ("y: a, b", "y"), ("y: a, y: b", "y")] {
        let text = format!("{head}        case V({fields}): 1\n        case _: 2\n");
        let expected = format!("5: E1410: field `{field}` of `V` has two patterns");
        assert_eq!(errors_of(&text), [expected], "{fields}");
    }
    let text =
        format!("{head}        case V(y: a, x: b): a * 10 + b\nfn g() -> i64: f(N.V(1, 2))\n");
    assert_eq!(run(&text, "g", &[]), 21);
}

#[test]
fn hexadecimal_pattern_is_the_value_that_it_has_in_the_type() {
    let head = "const LAST = 0xFFFF_FFFF_FFFF_FFFF\nfn f(x: i64) -> i64:\n    match x:\n";
    let text = format!(
        "{head}        case 0xFFFF_FFFF_FFFF_FFFF: 1\n        \
         case 0x8000_0000_0000_0000..=0xFFFF_FFFF_FFFF_FFFE: 2\n        case _: 3\n"
    );
    assert_eq!(errors_of(&text), [""; 0]);
    assert_eq!([-1, -5, 7].map(|x| run(&text, "f", &[x])), [1, 2, 3]);
    let text = format!(
        "{head}        case LAST: 1\n        case 0x8000_0000_0000_0000..LAST: 2\n        \
         case 0..=0x7FFF_FFFF_FFFF_FFFF: 3\n"
    );
    assert_eq!(errors_of(&text), [""; 0]);
    assert_eq!([-1, -5, 7].map(|x| run(&text, "f", &[x])), [1, 2, 3]);
}

#[test]
fn loop_is_the_body_of_an_arm() {
    let text =
        "fn f(x: i64) -> i64:\n    match x:\n        case 1: 10\n        case n: loop: return n\n";
    assert_eq!([1, 7].map(|x| run(text, "f", &[x])), [10, 7]);
}

#[test]
fn number_that_the_subject_does_not_have_is_one_error() {
    for (ty, arms) in [
        ("u8", &["0..=300"][..]),
        ("u8", &["200i32", "0..=199", "201..=255"]),
        ("u8", &["B", "0..=199", "201..=255"]),
    ] {
        let arms: String = arms.iter().map(|arm| format!("        case {arm}: 3\n")).collect();
        let text = format!("const B: i32 = 200\nfn f(x: {ty}) -> i64:\n    match x:\n{arms}");
        let found = errors_of(&text);
        assert_eq!(found.len(), 1, "{text}{found:?}");
    }
}
