//! What names stand for.

use std::format;

use super::run::*;

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
