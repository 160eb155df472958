//! Names of other modules.

use super::run::*;
use crate::source::{Compiled, Mode, SourceFile, compile};
use std::format;
use std::string::String;
use std::vec::Vec;

const A: &str = "pub const K: i64 = 7\npub enum Color:\n    Red\n    Green\npub struct P:\n    x: i64\n\
                 pub fn f(x: i64) -> i64: x + K\n\
                 pub enum Opt<T>:\n    Some(T)\n    Nothing\n\
                 pub struct Box<T>:\n    item: T\n    static fn of(item: T) -> Box<T>: Box<T>(item: item)\n";
const B: &str = "pub const K: i64 = 8\npub const L: i64 = 9\npub enum Color:\n    Blue\n";
const C: &str = "use a\npub type AC = a.Color\npub type AP = a.P\npub type AI = a.Opt<i64>\npub type AB = a.Color\n";

fn program(text: &str) -> Compiled {
    let module = |module, text| SourceFile { name: module, module, text };
    let files = [module("t", text), module("a", A), module("b", B), module("c", C)];
    compile(&files, Mode::Compile).unwrap()
}

/// The result of `f` of the first file.
fn result(text: &str) -> u64 {
    let compiled = program(text);
    let unit = compiled.unit.as_ref();
    let unit = unit.unwrap_or_else(|| panic!("{text}\n{:#?}", messages(&compiled)));
    call_unit(unit, "main_value", &[]).0.unwrap()
}

fn errors(text: &str) -> Vec<String> {
    messages(&program(text))
}

#[test]
fn import_by_name_precedes_one_of_a_whole_module() {
    for uses in ["use b.*\nuse a.{K}\n", "use a.{K}\nuse b.*\n", "use a.*\nuse b.*\nuse a.{K}\n"] {
        assert_eq!(result(&format!("{uses}fn main_value() -> i64: 10 * K + L\n")), 79, "{uses}");
    }
    let text = "use a.{K}\nuse b.{K}\nfn main_value() -> i64: K\n";
    assert_eq!(errors(text), ["2: E1302: `K` is declared twice"]);
}

#[test]
fn type_arguments_have_modules_in_front() {
    let text = "use a\nfn same<T>(x: T) -> T: x\nfn main_value() -> i64:\n    val c = same<a.Color>(a.Color.Green)\n    \
                val p = a.Box<a.P>(item: a.P(4))\n    val q = a.Box<a.P>.of(a.P(5))\n    \
                if c == a.Color.Green: p.item.x * 10 + q.item.x else: 0\n";
    assert_eq!(result(text), 45);
    // These are comparisons.
    let text = "use a\nfn main_value() -> bool:\n    val p = a.P(4)\n    p.x<a.K and a.K>(p.x)\n";
    assert_eq!(result(text), 1);
}

#[test]
fn instances_for_types_of_one_name_have_symbols_of_their_own() {
    let lib = "pub struct S:\n    x: i64\npub fn g<T>(x: T) -> T: x\n";
    let value = |text: &str| {
        let module = |module, text| SourceFile { name: module, module, text };
        let files = [module("t", text), module("a", lib), module("b", lib)];
        let compiled = compile(&files, Mode::Compile).unwrap();
        let unit = compiled.unit.as_ref();
        let unit = unit.unwrap_or_else(|| panic!("{text}\n{:#?}", messages(&compiled)));
        let mut symbols: Vec<_> = unit.functions.iter().map(|f| &f.symbol).collect();
        symbols.sort_unstable();
        let count = symbols.len();
        symbols.dedup();
        assert_eq!(symbols.len(), count, "{symbols:?}");
        call_unit(unit, "main_value", &[]).0.unwrap()
    };
    let text = "use a\nuse b\nstruct S:\n    x: u8\nfn id<T>(x: T) -> T: x\n\
                fn main_value() -> i64: id(S(1)).x as i64 + id(a.S(20)).x + id(b.S(300)).x\n";
    assert_eq!(value(text), 321);
    let text = "use a\nuse b\nstruct S:\n    x: i64\nfn main_value() -> i64:\n    \
                a.g(S(1)).x + a.g(b.S(20)).x + b.g(S(300)).x + b.g(b.S(4000)).x\n";
    assert_eq!(value(text), 4321);
}

#[test]
fn implementation_of_a_trait_for_a_type_of_another_module_is_one_error() {
    let implementation =
        "an implementation of a trait is not supported: there is no dynamic dispatch";
    let body = "    fn a() -> i64: 1\n";
    for text in [
        format!("use a.{{Box}}\nimpl T for Box<i64>:\n{body}fn f() -> i64: Box<i64>(1).a()\n"),
        format!("use a.*\nimpl<T> S for Box<T>:\n{body}fn f() -> i64: Box(1).a()\n"),
        format!("use a\nimpl<T> S for a.Box<T>:\n{body}fn f() -> i64: a.Box(1).a()\n"),
        format!("use a.{{P}}\nimpl T for P:\n{body}fn f() -> i64: P(1).a()\n"),
    ] {
        assert_eq!(errors(&text), [format!("2: E1201: {implementation}")], "{text}");
    }
    let lib = "trait T:\n    fn a() -> i64\n";
    for (uses, of) in [("use lib", "lib.T"), ("use lib.*", "T"), ("use lib.{T as U}", "U")] {
        let text = format!(
            "{uses}\nstruct S:\n    x: i64\nimpl {of} for S:\n{body}fn f() -> i64: S(1).a()\n"
        );
        let module = |module, text| SourceFile { name: module, module, text };
        let files = [module("t", &text), module("lib", lib)];
        let found = messages(&compile(&files, Mode::Compile).unwrap());
        assert!(found.len() == 1 && found[0].contains("`trait` is not"), "{text}\n{found:#?}");
    }
}

#[test]
fn alias_of_another_module_is_a_struct() {
    let text = "use c\nfn main_value() -> i64: c.AP(x: 4).x * 10 + c.AP(5).x\n";
    assert_eq!(result(text), 45);
    let text = "use c\nfn main_value() -> i64: c.AC(4)\n";
    assert_eq!(errors(text), ["2: E1405: `AC` is not called"]);
}

#[test]
fn patterns_have_the_names_of_expressions() {
    for (uses, name) in [
        ("use a.{Color as C, Opt as O}", "C"),
        ("use a.{Color, Opt as O}", "Color"),
        ("use c\nuse a.{Opt as O}", "c.AC"),
        ("use c.{AC as D}\nuse a.{Opt as O}", "D"),
        ("use a\nuse a.{Opt as O}", "a.Color"),
    ] {
        let text = format!(
            "{uses}\nfn main_value() -> i64:\n    val color = {name}.Green\n    val o: O<i64> = O.Some(3)\n    \
             val n = match color:\n        case {name}.Red: 1\n        case {name}.Green: 2\n    \
             match o:\n        case O.Some(x): x + n\n        case O.Nothing: 0\n"
        );
        assert_eq!(result(&text), 5, "{text}");
    }
    let text = "use c\nuse a\nfn main_value() -> i64:\n    val o: c.AI = a.Opt<i64>.Some(3)\n    \
                match o:\n        case c.AI.Some(x): x\n        case c.AI.Nothing: 0\n";
    assert_eq!(result(text), 3);
}

#[test]
fn type_of_another_module_is_not_found_in_a_pattern() {
    let body =
        "fn g(c: a.Color) -> i64:\n    match c:\n        case Color.Red: 1\n        case _: 2\n";
    assert_eq!(errors(&format!("use a\n{body}")), ["4: E1406: type `Color` not found"]);
    for uses in ["use a\nuse b.{Color}\n", "use a\nenum Color:\n    Red\n"] {
        let errors = errors(&format!("{uses}{body}"));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("`Color.Red` is no variant of `Color`"), "{errors:?}");
    }
}

#[test]
fn constant_of_a_module_is_a_pattern() {
    let text = "use a\nuse b\nfn of(x: i64) -> i64:\n    match x:\n        case a.K: 1\n        case b.K | b.L: 2\n        \
                case _: 3\nfn main_value() -> i64: of(7) * 1000 + of(8) * 100 + of(9) * 10 + of(10)\n";
    assert_eq!(result(text), 1223);
    let text = "use a\nfn of(x: i64) -> i64:\n    match x:\n        case a.K: 1\n";
    assert!(errors(text)[0].contains("E1409"), "{:?}", errors(text));
}

#[test]
fn function_that_its_module_does_not_mark_is_refused() {
    let marks = [
        "pub fn shown() -> i64: hidden(40)\nfn hidden(x: i64) -> i64: x + 1\n",
        "export shown\nfn shown() -> i64: hidden(40)\nfn hidden(x: i64) -> i64: x + 1\n",
    ];
    let private = "function `hidden` is private to module `lib`";
    for lib in marks {
        let errors = |text: &str| {
            let module = |module, text| SourceFile { name: module, module, text };
            let files = [module("t", text), module("lib", lib)];
            messages(&compile(&files, Mode::Compile).unwrap())
        };
        for (text, line) in [
            ("use lib.{hidden}\nfn f() -> i64: hidden(1) + hidden(2)\n", 1),
            ("use lib.hidden\nfn f() -> i64: hidden(1)\n", 1),
            ("use lib\nfn f() -> i64: lib.hidden(1)\n", 2),
            ("use lib\nfn f() -> i64:\n    val g = lib.hidden\n    g(1)\n", 3),
            ("use lib.*\nfn f() -> i64: hidden(1)\n", 2),
            ("use lib.*\nfn f<T>(x: T) -> i64: hidden(1)\nfn g() -> i64: f(1)\n", 2),
        ] {
            let found = errors(text);
            assert_eq!(found.len(), 1, "{text} {found:?}");
            assert_eq!(found[0], format!("{line}: E1301: {private}"), "{text}");
        }
        for text in [
            "use lib.{shown}\nfn f() -> i64: shown()\n",
            "use lib.*\nfn hidden(x: i64) -> i64: x\nfn f() -> i64: shown() + hidden(1)\n",
        ] {
            assert_eq!(errors(text), [""; 0], "{text}");
        }
    }
}

#[test]
fn assertion_in_a_value_of_another_module_keeps_its_message_where_no_other_is_at_the_line() {
    let default = "const K = 3\nfn g(x: i64) -> i64: x\nstruct S:\n    n: i64 = if K == 3:\n        \
                   assert g(K) > 5, \"too small\"\n        4\n    else: 5\n";
    for (user, expected) in [
        ("use d.*\n\nfn f() -> i64: S().n\n", &[(3, 16, "too small")][..]),
        (
            "use d.*\nfn f() -> i64:\n    assert S().n > 9, \"outer\"\n    S().n + S().n\n",
            &[(3, 5, "outer"), (4, 5, "too small")],
        ),
    ] {
        let module = |module, text| SourceFile { name: module, module, text };
        let compiled = compile(&[module("t", user), module("d", default)], Mode::Compile).unwrap();
        let unit = compiled.unit.as_ref().unwrap_or_else(|| panic!("{:#?}", messages(&compiled)));
        let found = unit.functions.iter().flat_map(|function| &function.assertions);
        let found: Vec<_> = found.map(|a| (a.line, a.column, a.message.as_str())).collect();
        assert_eq!(found, expected, "{user}");
    }
}
