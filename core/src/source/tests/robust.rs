//! Mutated, deep and long programs: no panic, and IR that the verifier accepts.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::random::{Random, SEEDS};
use super::run::*;
use crate::ir::{Function, Verified};
use crate::source::lexer::Lexer;
use crate::source::scope::{files, with_lines};
use crate::source::{Mode, TranslationUnit, instantiate};
use crate::types::Type;

pub(super) const SAMPLE: &str = include_str!("sample.spl");

#[test]
fn sample_has_its_output() {
    let expected = "total 12 point 4,2\n1 9 2.5 4\n6 3 0\n7 2 100 42 12\n4 1024 1 -4 true -1 8\n";
    assert_eq!(output(SAMPLE), expected);
    assert_eq!(run(SAMPLE, "main", &[]), 72);
}

/// Every function of a unit is accepted by the verifier.
fn verify(unit: &TranslationUnit, text: &str) {
    for function in &unit.functions {
        let parsed = Function::parse(&function.ir).unwrap();
        if let Err(error) = Verified::new(parsed) {
            panic!("{}: {error}\n{text}", function.symbol);
        }
    }
}

fn tokens(text: &str) -> Vec<&str> {
    let (mut lexer, mut at, mut all) = (Lexer::new(text), 0, Vec::new());
    while lexer.next_token().is_some() {
        all.push(&text[at..lexer.position()]);
        at = lexer.position();
    }
    all
}

#[test]
fn mutated_tokens_are_refused_or_verified() {
    let original = tokens(SAMPLE);
    let mut accepted = 0;
    for seed in SEEDS.step_by(2) {
        let mut random = Random(seed ^ 0x5eed);
        let mut all = original.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(all.len());
            match random.below(4) {
                0 => drop(all.remove(at)),
                1 => all.insert(at, original[random.below(original.len())]),
                2 => all[at] = original[random.below(original.len())],
                _ => {
                    let other = random.below(all.len());
                    all.swap(at, other);
                }
            }
        }
        let text: String = all.concat();
        for mode in [Mode::Compile, Mode::Manager] {
            let compiled = compiled(&text, mode);
            assert_eq!(
                compiled.unit.is_none(),
                compiled.diagnostics.iter().any(|d| d.severity == crate::source::Severity::Error),
                "{text}"
            );
            if let Some(unit) = &compiled.unit {
                verify(unit, &text);
                accepted += 1;
            }
        }
    }
    assert!(cfg!(miri) || accepted > 50, "{accepted}");
}

#[test]
fn deep_and_long_programs_are_compiled_or_refused() {
    let nested = |open: &str, close: &str, count: usize| {
        format!("fn f(x: i64) -> i64: {}x{}\n", open.repeat(count), close.repeat(count))
    };
    let texts = [
        nested("(", ")", 100),
        nested("f(", ")", 100),
        nested("-", "", 100),
        nested("if x > 0: ", " else: 0", 60),
        nested("abs(", ")", 100),
        format!("fn f(x: i64) -> i64: x{}\n", " + x".repeat(20_000)),
        format!("fn f(x: i64) -> bool: x > 0{}\n", " and x > 1".repeat(20_000)),
        format!("fn f(x: i64) -> bool: x{}\n", " < x".repeat(20_000)),
        format!("fn f(x: i64) -> i64:\n{}    x\n", "    val y = x\n".repeat(20_000)),
        format!(
            "fn f(x: i64) -> i64:\n    if x == 0: 0\n{}    else: 1\n",
            "    elif x == 1: 2\n".repeat(5000)
        ),
        (0..5000).map(|i| format!("const C{i}: i64 = C{}\n", i + 1)).collect(),
        (0..5000).map(|i| format!("type T{i} = T{}\n", i + 1)).collect(),
        (0..2000).map(|i| format!("fn f{i}(): f{}()\n", i + 1)).collect(),
        (0..2000).map(|i| format!("struct S{i}:\n    x: S{}\n", i + 1)).collect::<String>()
            + "fn f(s: S0) -> i64: 1\n",
        "struct B<T>:\n    x: T\nfn f<T>(x: T) -> i64: f(B(x: x))\nfn g() -> i64: f(1)\n"
            .to_string(),
        "struct B<T>:\n    x: B<B<T>>\nfn g(b: B<i64>) -> i64: 1\n".to_string(),
        "struct B<T>:\n    x: T\nfn g() -> i64:\n    val b = ".to_string()
            + &"B(x: ".repeat(60)
            + "1"
            + &")".repeat(60)
            + "\n    1\n",
        format!("fn f():\n    val ({}) = (1, 2)\n", "a, ".repeat(100_000)),
        format!("fn f(x: i64):\n    match x:\n{}", "        case 1: pass\n".repeat(50_000)),
        "fn f() -> i64:\n    val a = [[[[0; 100]; 100]; 100]; 100]\n    1\n".to_string(),
    ];
    for text in texts {
        let compiled = compiled(&text, Mode::Manager);
        if let Some(unit) = &compiled.unit {
            verify(unit, "long");
        }
    }
}

#[test]
fn limits_are_errors_with_names() {
    let nested = "struct B<T>:\n    x: T\nfn f<T>(x: T) -> i64: f(B(x: x))\nfn g() -> i64: f(1)\n";
    assert!(errors_of(nested)[0].contains("a type nests deeper than 16 levels"));
    let recursive = "struct A:\n    b: B\nstruct B:\n    a: A\nfn f(a: A) -> A: a\n";
    assert!(errors_of(recursive)[0].contains("contains itself"), "{:?}", errors_of(recursive));
    let large = "fn f() -> i64:\n    val a = [0; 200000]\n    1\n";
    assert!(errors_of(large)[0].contains("E1006"), "{:?}", errors_of(large));
    let errors: String = (0..300).map(|i| format!("fn f{i}() -> i64: x{i}\n")).collect();
    let found = errors_of(&errors);
    assert_eq!(found.len(), 101);
    assert!(found[100].contains("more than 100 errors"));
    if !cfg!(miri) {
        let functions: String = (0..65_540).map(|i| format!("fn f{i}(): pass\n")).collect();
        assert_eq!(errors_of(&functions), ["65537: E1503: more than 65536 functions"]);
    }
}

/// Found: 136 kB of text that took 269 MB, and 3,000 templates beside as many types that took more than a minute.
#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn texts_of_templates_are_bounded() {
    let comment = "long ".repeat(20_000);
    let chain = |number: usize| {
        let calls = (0..number)
            .map(|i| format!("fn f{i}<T>(x: T) -> T:\n    # {comment}\n    f{}(x)\n", i + 1));
        calls.collect::<String>() + &format!("fn f{number}<T>(x: T) -> T: x\n")
    };
    assert_eq!(errors_of(&chain(30)), [""; 0]);
    let found = errors_of(&chain(40));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("E1006: the texts of the templates up to this one"), "{found:?}");
}

/// Found: 100 kB of text that took 4 GB.
#[test]
fn data_of_constants_is_bounded() {
    let mut text = "const XS = [7; 125000]\n".to_string();
    for number in 0..40 {
        text.push_str(&format!("fn f{number}(i: i64): XS[i]\n"));
    }
    let unit = unit_of(&text, Mode::Manager);
    let total: usize = unit.functions.iter().map(|function| function.ir.len()).sum();
    assert!((15_000_000..18_000_000).contains(&total), "{total}");
    let call = |name| call_unit(&unit, name, &[124_998]).0;
    assert_eq!((call("f0"), call("f39")), (Ok(7), Ok(7)));
}

#[test]
fn files_of_a_template_text_are_bounded() {
    let mut text: String = (0..40_000).map(|number| format!("#:module 0 m{number}\n")).collect();
    text += "#:module * own\nfn f<T>(x: T) -> T: x\n";
    let (files, own) = files(file(&text)).unwrap();
    assert_eq!((files.len(), own), (256, 0));
    let types = Type::parse_arguments("i64").unwrap();
    assert!(instantiate(file(&text), "f", &types).unwrap().unit.is_some());
}

#[test]
fn empty_lines_of_a_template_text_are_bounded() {
    assert_eq!(with_lines("a\n#:line\t3\nb\n").unwrap(), "a\n\n\n\nb\n");
    // Neither a number that is too large, nor many numbers; the lines stay comments.
    assert_eq!(with_lines("#:line\t4000000000\nx").unwrap(), "#:line\t4000000000\nx");
    let many = with_lines(&"#:line\t1000000\n".repeat(50)).unwrap();
    assert!(many.starts_with("\n\n") && many.len() < 1_100_000, "{}", many.len());
    assert_eq!(
        with_lines("#:line\t-1\n#:line\tx\n#:line\n").unwrap(),
        "#:line\t-1\n#:line\tx\n#:line\n"
    );
}

#[test]
fn types_of_few_lines_with_many_parts_are_refused() {
    let tuple = |part: &str| format!("({})", [part; 8].join(", "));
    let generic = format!("fn f<T>(x: T) -> i64: f({})\nfn main() -> i64: f(1)\n", tuple("x"));
    assert_eq!(errors_of(&generic), ["1: E1503: a type has more than 65536 parts"]);
    let aliases = |of: &dyn Fn(&str) -> String| -> String {
        let alias = |level: usize| format!("type A{} = {}\n", level + 1, of(&format!("A{level}")));
        "type A0 = fn(i64) -> i64\n".to_string() + &(0..13).map(alias).collect::<String>()
    };
    for of in [&tuple as &dyn Fn(&str) -> String, &|part| format!("fn{} -> i64", tuple(part))] {
        for body in ["    val k = a\n    1\n", "    a\n"] {
            let text = aliases(of) + "fn h(a: A13) -> i64:\n" + body;
            assert!(errors_of(&text)[0].contains("more than 65536 parts"), "{text}");
        }
    }
    // What a text states itself is not too much.
    let wide = format!("fn f(x: ({})) -> i64: x.0\n", ["i64"; 20_000].join(", "));
    assert_eq!(errors_of(&wide), [""; 0]);
}
