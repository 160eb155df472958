//! What names stand for: in blocks, in values that belong to no function, and of the language.

use std::format;
use std::vec::Vec;

use super::run::*;
use crate::source::{Mode, SourceFile, compile};

#[test]
fn names_of_arguments_of_a_function_value_are_refused() {
    let sub = "fn sub(a: i64, b: i64) -> i64: a - b\n";
    let error = |line, name| format!("{line}: E1405: a function value has no parameter `{name}`");
    for (text, expected) in [
        ("fn f() -> i64:\n    val g = sub\n    g(b: 1, a: 10)\n", error(4, "b")),
        ("fn f(g: fn(i64) -> i64) -> i64: g(nosuch: 7)\n", error(2, "nosuch")),
        (
            "struct S:\n    g: fn(i64, i64) -> i64\nfn f(s: S) -> i64: s.g(1, b: 10)\n",
            error(4, "b"),
        ),
        ("fn f() -> i64:\n    val h = [sub]\n    h[0](1, k: 5)\n", error(4, "k")),
    ] {
        assert_eq!(errors_of(&format!("{sub}{text}")), [expected], "{text}");
    }
    let text = format!("{sub}fn f() -> i64:\n    val g = sub\n    g(1, 10) - sub(b: 1, a: 10)\n");
    assert_eq!(run(&text, "f", &[]), -18);
}

#[test]
fn names_of_arguments_of_functions_of_the_language_are_refused() {
    let text =
        "fn f() -> i64:\n    var n = 0\n    for i in range(stop: 4, start: 2): n += 1\n    n\n";
    assert_eq!(errors_of(text), ["3: E1405: `range` has no parameter `stop`"]);
    let text = "fn f(): print(value: 4)\n";
    assert_eq!(errors_of(text), ["1: E1405: `print` has no parameter `value`"]);
}

#[test]
fn declared_function_precedes_that_of_the_language_in_a_loop() {
    let sum = "    var xs = [1, 2, 3]\n    var s = 0\n    for x in xs:\n        print(xs)\n        s += x\n    s\n";
    let print = "fn print(mut xs: [i64]): xs[2] = 100\n";
    assert_eq!(run(&format!("{print}fn f() -> i64:\n{sum}"), "f", &[]), 6);
    assert_eq!(run(&format!("fn f() -> i64:\n    {print}{sum}"), "f", &[]), 6);
    let inside = sum.replace("        print", &format!("        {print}        print"));
    assert_eq!(run(&format!("fn f() -> i64:\n{inside}"), "f", &[]), 6);

    let sum = "    var s = 0\n    for x in range(3): s += x\n    s\n";
    let range = "fn range(n: i64) -> [i64; 2]: [n, 100]\n";
    assert_eq!(run(&format!("{range}fn f() -> i64:\n{sum}"), "f", &[]), 103);
    assert_eq!(run(&format!("fn f() -> i64:\n    {range}{sum}"), "f", &[]), 103);
    let text = format!(
        "{}fn f() -> i64:\n    val range = numbers\n{sum}",
        range.replace("range", "numbers")
    );
    assert_eq!(run(&text, "f", &[]), 103);
}

/// The result of `f`, whether its result type is written or follows from its body.
fn result(text: &str) -> i64 {
    let found = run(text, "f", &[]);
    let inferred = text.replace("fn f() -> i64:", "fn f():");
    assert_ne!(inferred, text);
    assert_eq!(run(&inferred, "f", &[]), found, "{text}");
    found
}

#[test]
fn function_of_a_block_is_known_in_the_block() {
    let helper = "fn helper() -> i64: 1\n";
    let inner = "        fn helper() -> i64: 2\n";
    let f = "fn f() -> i64:\n";
    assert_eq!(result(&format!("{helper}{f}    if false:\n{inner}    helper()\n")), 1);
    let text = format!(
        "{helper}{f}    val a = helper()\n    var b = 0\n    if true:\n{inner}        b = helper()\n    \
         a * 100 + b * 10 + helper()\n"
    );
    assert_eq!(result(&text), 121);
    // In front of its declaration, in blocks inside, and in functions inside.
    let text = format!(
        "{helper}{f}    var n = 0\n    if true:\n        fn other() -> i64: helper() * 10\n        n = helper()\n        \
         if true: n += other() + helper() * 100\n{inner}    n\n"
    );
    assert_eq!(result(&text), 222);
    let text = format!("{f}    if true:\n{inner}        pass\n    helper()\n");
    assert_eq!(errors_of(&text), ["5: E1301: name `helper` not found"]);
    let text = format!(
        "{f}    val n = 1\n    match n:\n        case 1:\n            fn g() -> i64: 5\n            pass\n        case _: pass\n    g()\n"
    );
    assert_eq!(errors_of(&text), ["8: E1301: name `g` not found"]);
}

#[test]
fn blocks_have_functions_of_one_name() {
    let text = "fn f() -> i64:\n    var n = 0\n    if n == 0:\n        fn g() -> i64: 2\n        n += g()\n    else:\n        \
                fn g() -> i64: 3\n        n += g()\n    for i in 0..2:\n        fn g() -> i64: 30\n        n += g()\n    n\n";
    assert_eq!(result(text), 62);
    let unit = unit_of(text, Mode::Compile);
    let mut symbols: Vec<_> = unit.functions.iter().map(|f| f.symbol.as_str()).collect();
    symbols.sort_unstable();
    assert_eq!(symbols, ["2.t.f.g", "f", "f.g", "t.f.g"]);
    let text = "fn f() -> i64:\n    fn g() -> i64: 2\n    fn g() -> i64: 3\n    g()\n";
    assert_eq!(errors_of(text), ["3: E1302: `g` is declared twice"]);
    assert_eq!(
        errors_of(&text.replace(" f() -> i64", " f()")),
        ["3: E1302: `g` is declared twice"]
    );
}

#[test]
fn function_of_a_block_hides_variables_outside_and_is_hidden_inside() {
    let text = "fn one() -> i64: 1\nfn f() -> i64:\n    val g = one\n    var n = g()\n    if true:\n        \
                fn g() -> i64: 2\n        n = n * 10 + g()\n        if true:\n            val g = one\n            \
                n = n * 10 + g()\n        n = n * 10 + g()\n    n * 10 + g()\n";
    assert_eq!(result(text), 12121);
}

/// The errors of a program that consists of `t` and a module `lib`.
fn program(text: &str, lib: &str) -> crate::source::Compiled {
    let module = |module, text| SourceFile { name: module, module, text };
    compile(&[module("t", text), module("lib", lib)], Mode::Compile).unwrap()
}

#[test]
fn defaults_and_constants_see_the_functions_around_their_declaration() {
    let limit = "fn limit() -> i64: 1\n";
    let inner = "    fn limit() -> i64: 2\n";
    let text = format!(
        "{limit}fn g(x: i64 = limit()) -> i64: x\nfn f() -> i64:\n{inner}    g() * 10 + limit()\n"
    );
    assert_eq!(result(&text), 12);
    let text = format!(
        "{limit}struct S:\n    x: i64 = limit()\nfn f() -> i64:\n{inner}    S().x * 10 + limit()\n"
    );
    assert_eq!(result(&text), 12);
    let text = format!("{limit}const L = limit\nfn f() -> i64:\n{inner}    L() * 10 + limit()\n");
    assert_eq!(result(&text), 12);
    // The default of a function inside another one, also where another block has the name.
    let text = format!(
        "{limit}fn f() -> i64:\n{inner}    fn g(x: i64 = limit()) -> i64: x\n    var n = g()\n    if true:\n        \
         fn limit() -> i64: 3\n        n = n * 10 + g()\n    n\n"
    );
    assert_eq!(result(&text), 22);
}

#[test]
fn defaults_and_constants_do_not_see_the_types_of_a_caller() {
    let types = "type T = f64\n";
    for declared in [
        "fn h(x: f64 = (2.5 as T) as f64) -> f64: x\nfn g<T>(y: T) -> f64: h()\n",
        "struct S:\n    x: f64 = (2.5 as T) as f64\nfn g<T>(y: T) -> f64: S().x\n",
        "const XS = [(2.5 as T) as f64, 1.0]\nfn g<T>(y: T) -> f64: XS[0]\n",
    ] {
        let text = format!("{types}{declared}fn f() -> i64: (g(3) * 10.0) as i64\n");
        assert_eq!(run(&text, "f", &[]), 25, "{text}");
    }
}

#[test]
fn return_in_a_default_or_constant_is_refused() {
    let value = "if true: return 5 else: 3";
    let refused = |line| [format!("{line}: E1306: `return` outside of a function")];
    for (text, line) in [
        (format!("const A = {value}\nfn f() -> i64: A + 1\n"), 1),
        (format!("const A = {value}\nfn f() -> text:\n    print A\n    \"a\"\n"), 1),
        (format!("const A = {value}\n"), 1),
        (format!("fn g(x: i64 = ({value})) -> i64: x\nfn f() -> i64: g()\n"), 1),
        (format!("fn g(x: i64 = ({value})) -> i64: x\n"), 1),
        (format!("struct S:\n    x: i64 = ({value})\nfn f() -> i64: S().x\n"), 2),
    ] {
        assert_eq!(errors_of(&text), refused(line), "{text}");
    }
    let text = "struct S:\n    x: i64 = if true:\n        fn g() -> i64: 2\n        g()\n    else: 3\nfn f() -> i64: S().x\n";
    assert_eq!(
        errors_of(text),
        ["3: E1201: a function inside a constant or default is not supported: declare it outside"]
    );
    let text = "const A = if true: break else: 3\nfn f() -> i64:\n    for i in 0..3:\n        print A\n    1\n";
    assert_eq!(errors_of(text)[0], "1: E1306: `break` outside of a loop");
}

#[test]
fn traps_in_values_of_a_module_are_where_a_function_needs_them() {
    let lib = "\n\n\n\n\nfn zero() -> i64: 0\npub fn g(x: i64 = 10 / zero()) -> i64: x\n\
               pub struct S:\n    x: i64 = 10 / zero()\npub const A = 10 / [0][0]\n";
    for value in ["lib.g()", "lib.S().x", "lib.A"] {
        let compiled = program(&format!("use lib\nfn f() -> i64:\n    {value}\n"), lib);
        let unit = compiled.unit.as_ref();
        let unit = unit.unwrap_or_else(|| panic!("{:#?}", messages(&compiled)));
        let ir = &unit.functions[unit.find("f").unwrap()].ir;
        let function = crate::ir::Function::parse(ir).unwrap();
        let places = function.locations().map(|location| (location.file, location.line));
        let places: Vec<_> = places.collect();
        assert!(places.contains(&(Some("t"), 3)), "{value}: {places:?}");
        assert!(places.iter().all(|&(file, line)| file == Some("t") && line <= 3), "{value}");
    }
}

#[test]
fn variable_of_a_script_is_declared_at_its_top_level() {
    let unknown = |line| [format!("{line}: E1301: name `totl` not found")];
    for (text, line) in [
        ("total = 0\nif true:\n    totl = 5\nprint total\n", 3),
        ("total = 0\nif true: totl = 5\nprint total\n", 2),
        ("match 1:\n    case 1: totl = 5\n    case _: pass\n", 2),
        ("for i in 0..2:\n    totl = 5\n", 2),
    ] {
        assert_eq!(errors_of(text), unknown(line), "{text}");
    }
    assert_eq!(output("total = 0\nif true:\n    total = 5\nprint total\n"), "5\n");
}
