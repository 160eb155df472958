//! Programs with known results: the cases of the upstream sources, and others.

use std::format;
use std::string::String;

use super::run::*;
use crate::source::Mode;

#[test]
fn functions_of_one_line() {
    assert_eq!(run("fn answer() -> i64: 42\n", "answer", &[]), 42);
    assert_eq!(run("fn add(a: i64, b: i64) -> i64: a + b\n", "add", &[10, 32]), 42);
    assert_eq!(run("fn sub(a: i64, b: i64) -> i64: a - b\n", "sub", &[50, 8]), 42);
    assert_eq!(run("fn mul(a: i64, b: i64) -> i64: a * b\n", "mul", &[6, 7]), 42);
    assert_eq!(run("fn neg(x: i64) -> i64: -x\n", "neg", &[-42]), 42);
    let max = "fn max(a: i64, b: i64) -> i64:\n    if a > b: a else: b\n";
    assert_eq!((run(max, "max", &[42, 10]), run(max, "max", &[10, 42])), (42, 42));
}

#[test]
fn members_of_enums_have_marks_and_attributes() {
    let text = "enum E:\n    A\n    pub fn n() -> i64: 3\n    @inline\n    fn m() -> i64: 4\n\
                fn f() -> i64: E.A.n() * E.A.m()\n";
    assert_eq!(run(text, "f", &[]), 12);
}

#[test]
fn type_arguments_are_nested_in_expressions() {
    for (open, close) in [("", ""), ("B<", ">"), ("B<B<", ">>"), ("B<B<B<", ">>>")] {
        let text = format!(
            "struct B<T>:\n    v: T\nfn next<T>(n: i64) -> i64: n + 1\n\
             fn f(n: i64) -> i64: next<{open}i64{close}>(n)\n"
        );
        assert_eq!(run(&text, "f", &[41]), 42, "{text}");
    }
}

#[test]
fn parameters_without_types_are_integers_in_the_manager() {
    assert_eq!(manage("fn add(x, y): x + y", "add", &[10, 32]), 42);
    assert_eq!(manage("fn square(x): x * x", "square", &[7]), 49);
    let fact = "fn fact(n): if n <= 1: 1 else: n * fact(n - 1)\n";
    assert_eq!(manage(fact, "fact", &[5]), 120);
    let text = "fn add(x, y): x + y\nfn f(p: i64): p\n";
    assert_eq!(
        errors_of(text),
        [
            "1: E1402: Parameter 'x' in function 'add' requires explicit type annotation",
            "1: E1402: Parameter 'y' in function 'add' requires explicit type annotation",
        ]
    );
}

#[test]
fn a_branch_that_is_ruled_out_reaches_nothing() {
    let text = "fn f() -> i64:\n    var n = 0\n    while true:\n        n += 1\n        if false: break\n\
                \x20       if n == 5: return n\n\
                fn g() -> i64: if true: 3 else: return 4\n\
                fn h(c: bool) -> i64:\n    if false:\n        if c: return 1\n        else: return 2\n\
                \x20   else: 9\n\
                fn k() -> i64:\n    if true: return 8\n    else:\n        val x = 4\n        print x\n";
    assert_eq!(run(text, "f", &[]), 5);
    assert_eq!(run(text, "g", &[]), 3);
    assert_eq!(run(text, "h", &[1]), 9);
    assert_eq!(run(text, "k", &[]), 8);
}

/// In front of the right side, which may assign to the variable.
#[test]
fn compound_assignment_reads_the_variable_first() {
    for (op, expected) in [("+", 6), ("-", -4), ("*", 5), ("/", 0), ("%", 1)] {
        for (value, target) in [("1", "x"), ("[1, 2]", "x[0]"), ("S(1)", "x.n"), ("(1, 2)", "x.0")]
        {
            let text = format!(
                "struct S:\n    n: i64\nfn f() -> i64:\n    var x = {value}\n    \
                 {target} {op}= if true:\n        {target} = 10\n        5\n    else: 0\n    {target}\n"
            );
            assert_eq!(run(&text, "f", &[]), expected, "{text}");
        }
    }
    let text = "fn f() -> i64:\n    var x = 1\n    x += match x:\n        case 1:\n            x = 10\n            \
                5\n        case _: 0\n    x\n";
    assert_eq!(run(text, "f", &[]), 6);
}

#[test]
fn loops_walk_over_the_values_at_their_start() {
    let text = "struct S:\n    n: i64\n    v: [i64; 3]\nimpl S:\n    me sum() -> i64:\n        var r = 0\n        for x in self.v:\n            self = S(0, [9, 9, 9])\n            r = r * 10 + x\n        r\n\
                fn put(mut a: [i64]): a[1] = 9\nfn set(mut a: [S]): a[0].n = 7\n\
                fn call() -> i64:\n    var b = [1, 2]\n    var r = 0\n    for x in b:\n        put(b)\n        r = r * 10 + x\n    r\n\
                fn name() -> i64:\n    var b = [1, 2]\n    var r = 0\n    for x in b:\n        b = [9, 9]\n        r = r * 10 + x\n    r\n\
                fn field() -> i64:\n    var s = S(0, [1, 2, 3])\n    var r = 0\n    for x in s.v:\n        s = S(0, [4, 4, 4])\n        r = r * 10 + x\n    r * 1000 + method()\n\
                fn view(mut a: [S]) -> i64:\n    var r = 0\n    for s in a:\n        a[0].n = 5\n        r = r * 10 + s.n\n    for s in a:\n        set(a)\n        r = r * 10 + s.n\n    r\n\
                fn alias() -> i64:\n    var a = [S(1, [0; 3])]\n    view(a) * 10 + a[0].n\n\
                fn method() -> i64:\n    var s = S(0, [1, 2, 3])\n    s.sum()\n";
    for (name, expected) in
        [("call", 12), ("name", 12), ("field", 123_123), ("method", 123), ("alias", 157)]
    {
        assert_eq!(run(text, name, &[]), expected, "{name}");
    }
}

#[test]
fn loops_take_values_apart() {
    let text = "fn f() -> i64:\n    var s = 0\n    for (k, v) in [(100, 1), (200, 2)]: s += k * v\n    s\n\
                fn g() -> i64:\n    var s = 0\n    for i, (a, (_, b)) in [(1, (true, 5)), (2, (false, 7))]: s = s * 100 + i * 50 + a * b\n    s\n\
                fn h() -> i64:\n    var s = 0\n    for (i, (a, b)) in [(1, 2), (3, 4)].enumerate(): s += i * 100 + a * b\n    for (_, x) in [5, 6].enumerate(): s += x\n    for _ in 0..3: s += 1000\n    s\n";
    assert_eq!(run(text, "f", &[]), 500);
    assert_eq!(run(text, "g", &[]), 564);
    assert_eq!(run(text, "h", &[]), 100 + 14 + 11 + 3000);
}

#[test]
fn texts_are_copied() {
    let text = "fn val_of_var():\n    var t = \"a\"\n    val u = t\n    t = \"b\"\n    print \"{u}{t}\"\n\
                fn var_of_var():\n    var t = \"a\"\n    var u = t\n    u = \"b\"\n    print \"{t}{u}\"\n\
                fn var_of_val():\n    val t = \"a\"\n    var u = t\n    u = \"b\"\n    print \"{t}{u}\"\n\
                fn var_of_param(t: text):\n    var u = t\n    u = \"b\"\n    print \"{t}{u}\"\n\
                fn param(mut t: text):\n    val u = t\n    t = \"b\"\n    print \"{u}{t}\"\n\
                fn branch(c: bool):\n    var t = \"a\"\n    val u = if c: t else: \"c\"\n    t = \"b\"\n    print \"{u}{t}\"\n\
                fn main():\n    val_of_var()\n    var_of_var()\n    var_of_val()\n    var_of_param(\"a\")\n    \
                param(\"a\")\n    branch(true)\n";
    assert_eq!(output(text), "ab\n".repeat(6));
}

#[test]
fn recursion_and_loops() {
    let fact = "fn fact(n: i64) -> i64:\n    if n <= 1: return 1\n    n * fact(n - 1)\n";
    assert_eq!(run(fact, "fact", &[5]), 120);
    let fib = "fn fib(n: i64) -> i64:\n    var a = 0\n    var b = 1\n    var i = 0\n    while i < n:\n\
               \u{20}       val c = a + b\n        a = b\n        b = c\n        i += 1\n    a\n";
    assert_eq!(run(fib, "fib", &[10]), 55);
    let even = "fn is_even(n: i64) -> i64: if n == 0: 1 else: is_odd(n - 1)\n\
                fn is_odd(n: i64) -> i64: if n == 0: 0 else: is_even(n - 1)\n";
    assert_eq!(run(even, "is_even", &[10]), 1);
    let rec = "fn fib(n: i64) -> i64: if n < 2: n else: fib(n - 1) + fib(n - 2)\n";
    assert_eq!(run(rec, "fib", &[15]), 610);
}

#[test]
fn ranges_count() {
    let sum = |range: &str| {
        let text = std::format!(
            "fn main():\n    var total = 0\n    for i in {range}: total = total + i\n    print total\n"
        );
        output(&text)
    };
    assert_eq!(sum("1..4"), "6\n");
    assert_eq!(sum("0..7"), "21\n");
    assert_eq!(sum("0..=6"), "21\n");
    assert_eq!(sum("range(1, 4)"), "6\n");
    assert_eq!(sum("5..5"), "0\n");
    assert_eq!(sum("5..=5"), "5\n");
    assert_eq!(sum("6..5"), "0\n");
    let open = "fn main():\n    var total = 0\n    for i in (1..):\n        total += i\n\
                \u{20}       if i == 3: break\n    print total\n";
    assert_eq!(output(open), "6\n");
    let edge = "fn f() -> i64:\n    var n = 0\n    for i in 250u8..=255: n += 1\n    n\n";
    assert_eq!(run(edge, "f", &[]), 6);
}

#[test]
fn script_statements_are_main() {
    let text = "var s = 0; var i = 1\nwhile i < 10: s += i; i += 1\nmain = s\n";
    assert_eq!(run(text, "main", &[]), 45);
    let text = "s = 0\nfor i in 0..4:\n    s += i\nprint s\n";
    assert_eq!(output(text), "6\n");
    let text = "fn main() -> i64: 7\nmain()\n";
    assert_eq!(run(text, "main", &[]), 7);
}

#[test]
fn operands_with_branches_keep_their_types() {
    let text = "fn add(x: u16, a: u8, b: u8, c: bool) -> u16: x + ((if c: a else: b) - b)\n\
                fn ret(a: u8, b: u8, c: bool) -> u16:\n    return (if c: a else: b) - b\n\
                fn set(x: u16, a: u8, b: u8, c: bool) -> u16:\n    var r = x\n    r += (if c: a else: b) - b\n    r\n\
                fn more(x: u16, a: u8, b: u8, c: bool) -> bool: x > ((if c: a else: b) - b)\n\
                fn neg(a: i8, c: bool) -> i64: -(if c: a else: 1)\n\
                fn mixed(a: u32, c: bool) -> bool: a > (if c: -1i32 else: 2i32)\n\
                fn shift(a: i8, n: i64, c: bool) -> i64: (a >> (if c: n else: 2)) as i64\n\
                fn div(x: f64, a: i64, b: i64, c: bool) -> f64: x + ((if c: a else: b) / b)\n\
                fn choose(a: u8, c: bool) -> u16:\n    if c: a * 2 else: 7\n\
                fn wide(x: i64, b: i32, c: bool) -> i64: x + (if c: 1 else: b)\n\
                fn lit(x: u8, c: bool) -> u8: x + (if c: 1 else: 2)\n";
    for (name, arguments, expected) in [
        ("add", &[0, 1, 2, 1][..], 255),
        ("ret", &[1, 2, 1], 255),
        ("set", &[0, 1, 2, 1], 255),
        ("more", &[256, 1, 2, 1], 1),
        ("neg", &[-128, 1], -128),
        ("mixed", &[0, 1], 1),
        ("shift", &[-128, 3, 1], -16),
        ("choose", &[200, 1], 144),
        ("lit", &[254, 0], 0),
        ("wide", &[5, -7, 0], -2),
    ] {
        assert_eq!(run(text, name, arguments), expected, "{name}");
    }
    let literal = "fn f(x: u16, b: u8, c: bool) -> u16: x + ((if c: 1 else: b) - 2)\n";
    assert_eq!(errors_of(literal), ["1: E1401: expected `u16`, found `u8`"]);
    let half = run(text, "div", &[0, 7, 2, 1]);
    assert_eq!(half.cast_unsigned(), 3.0_f64.to_bits());
}

#[test]
fn named_and_default_arguments() {
    let text = "fn calc(a: i64, b: i64 = 2, c: i64 = 3) -> i64: a + b * c\n\
                fn f1() -> i64: calc(1)\nfn f2() -> i64: calc(1, c=10)\nfn f3() -> i64: calc(c: 1, a: 5)\n";
    assert_eq!(run(text, "f1", &[]), 7);
    assert_eq!(run(text, "f2", &[]), 21);
    assert_eq!(run(text, "f3", &[]), 7);
    assert_eq!(manage("fn calc(a, b=2, c=3): a + b * c\nfn g(): calc(1)\n", "g", &[]), 7);
}

#[test]
fn conditions_short_circuit_and_chain() {
    let text = "fn classify(x: i64) -> i64:\n    if x < 50: 0\n    elif x < 60: 1\n    elif x < 90: 2\n\
                \u{20}   else: 3\nfn chain(a: i64, b: i64, c: i64) -> bool: a < b <= c\n\
                fn safe(a: i64, b: i64) -> bool: b != 0 and a / b > 1\n\
                fn either(a: bool, b: bool) -> bool: a or b and not a\n\
                fn n(a: bool) -> bool: not a\n";
    assert_eq!(run(text, "classify", &[75]), 2);
    assert_eq!(run(text, "classify", &[99]), 3);
    for (a, b, c) in [(1, 2, 2), (1, 1, 2), (1, 3, 2)] {
        assert_eq!(run(text, "chain", &[a, b, c]), i64::from(a < b && b <= c));
    }
    assert_eq!(run(text, "safe", &[5, 0]), 0);
    assert_eq!(run(text, "safe", &[5, 2]), 1);
    assert_eq!(run(text, "either", &[0, 1]), 1);
    assert_eq!(run(text, "n", &[0]), 1);
    // The middle of a chain is computed once.
    let text = "struct C:\n    n: i64\nimpl C:\n    me next() -> i64:\n        self.n += 1\n        self.n\n\
                fn f() -> i64:\n    var c = C(n: 0)\n    val r = 0 < c.next() < 9\n    c.n\n";
    assert_eq!(run(text, "f", &[]), 1);
}

#[test]
fn ranges_cover_an_integer() {
    let text = "const TOP: u8 = 200\nfn f(x: u8) -> i64:\n    match x:\n        case 100..200: 2\n        case 0..100: 1\n        case TOP: 4\n        case 201..=255: 3\n\
                fn g(x: i8, b: bool) -> i64:\n    match (x, b):\n        case (-128..0, _): 1\n        case (0..=127, true): 2\n        case (5..=127 | 0..5, false): 3\n\
                fn h(x: i64) -> i64:\n    match x:\n        case -9223372036854775808..0: 1\n        case 0: 2\n        case 1..=9223372036854775807: 3\n";
    for (name, arguments, expected) in [
        ("f", &[99][..], 1),
        ("f", &[100], 2),
        ("f", &[200], 4),
        ("f", &[255], 3),
        ("g", &[-1, 0], 1),
        ("g", &[5, 1], 2),
        ("g", &[4, 0], 3),
        ("h", &[i64::MIN], 1),
        ("h", &[0], 2),
        ("h", &[i64::MAX], 3),
    ] {
        assert_eq!(run(text, name, arguments), expected, "{name} {arguments:?}");
    }
    let many: String = (0..20_000).map(|i| format!("        case {i}: {i} * 2\n")).collect();
    let text = format!("fn f(x: i64) -> i64:\n    match x:\n{many}        case _: -1\n");
    assert_eq!((run(&text, "f", &[19_999]), run(&text, "f", &[20_000])), (39_998, -1));
    for arms in [
        "case 0..100: 1\n        case 101..=255: 2",
        "case 0..=254: 1",
        "case 1..=255: 1",
        "case 0..=255 if x > 3: 1",
        "case 0..100: 1\n        case 50..150: 2\n        case 151..=255: 3",
    ] {
        let text = format!("fn f(x: u8) -> i64:\n    match x:\n        {arms}\n");
        let missing = ["2: E1409: the match has no arm for some values of `u8`"];
        assert_eq!(errors_of(&text), missing, "{text}");
    }
}

#[test]
fn arguments_are_values_beside_a_view_that_is_written() {
    let text = "struct P:\n    x: i64\nimpl P:\n    fn read(mut q: [P]) -> i64:\n        q[0].x = 50\n        self.x\n\
                fn take(p: P, mut q: [P]) -> i64:\n    q[0].x = 100\n    p.x\n\
                fn first<T>(p: T, mut q: [T], r: T) -> T:\n    q[0] = r\n    p\n\
                fn f() -> i64:\n    var ps = [P(x: 3)]\n    take(ps[0], ps) * 1000 + ps[0].x\n\
                fn g() -> i64:\n    var ps = [P(x: 3)]\n    ps[0].read(ps) * 1000 + ps[0].x\n\
                fn h() -> i64:\n    var ps = [P(x: 3)]\n    first(ps[0], ps, P(x: 9)).x * 1000 + ps[0].x\n";
    assert_eq!(["f", "g", "h"].map(|name| run(text, name, &[])), [3100, 3050, 3009]);
}

#[test]
fn loops_have_labels() {
    let text = "fn f() -> i64:\n    var n = 0\n    'outer: for i in 0..10:\n        for j in 0..10:\n            if j == 3: continue 'outer\n            if i == 4: break 'outer\n            n += 1\n    n\n\
                fn g() -> i64:\n    var n = 0\n    for i in 0..3:\n        for j in 0..4: n += 1\n    n\n\
                fn h() -> i64:\n    var i = 0\n    loop:\n        i += 1\n        if i > 6: break\n    i\n";
    assert_eq!(run(text, "f", &[]), 12);
    assert_eq!(run(text, "g", &[]), 12);
    assert_eq!(run(text, "h", &[]), 7);
}

#[test]
fn generics_are_instantiated_once_for_each_type() {
    let text = "struct W:\n    n: i64\nfn wrap<T>(x: T) -> T: x\n\
                fn f() -> i64: wrap(wrap(3)) + wrap(W(n: 4)).n\n\
                fn ident<T>(x: T) -> T: x\nfn e() -> i64: ident<i64>(7)\n\
                fn pick<T>(c: bool, a: T, b: T) -> T: if c: a else: b\nfn g() -> i64: pick(true, 1u8, 2) as i64\n";
    let unit = unit_of(text, Mode::Compile);
    let symbols: std::vec::Vec<_> = unit.functions.iter().map(|f| f.symbol.as_str()).collect();
    assert_eq!(symbols, ["f", "e", "g", "wrap$i64", "wrap$W", "ident$i64", "pick$u8"]);
    assert_eq!(run(text, "f", &[]), 7);
    assert_eq!(run(text, "e", &[]), 7);
    assert_eq!(run(text, "g", &[]), 1);
}

#[test]
fn generic_structs_and_function_values() {
    let text = "struct Box<T>:\n    item: T\nimpl<T> Box<T>:\n    fn get() -> T: self.item\n    me put(x: T): self.item = x\n\
                fn f() -> i64: Box<i64>(item: 7).get()\n\
                fn g() -> i64:\n    var b = Box(item: 2)\n    b.put(40)\n    b.get() + Box(item: true).get() as i64 + 1\n\
                fn id<T>(x: T) -> T: x\nfn twice() -> i64: id(id(42))\n\
                fn double(x: i64) -> i64: x * 2\nfn apply(f: fn(i64) -> i64, x: i64) -> i64: f(x)\n\
                fn h() -> i64: apply(double, 21)\n";
    assert_eq!(run(text, "f", &[]), 7);
    assert_eq!(run(text, "g", &[]), 42);
    assert_eq!(run(text, "twice", &[]), 42);
    assert_eq!(run(text, "h", &[]), 42);
}

#[test]
fn all_values_are_computed_before_the_first_is_output() {
    let text = "struct C:\n    n: i64\nimpl C:\n    me next() -> i64:\n        self.n += 1\n        return self.n\n\
        fn shout(x: i64) -> i64:\n    print \"!{x}\"\n    return x\n\
        fn main():\n    print 1, shout(2), \"a{shout(3)}b\", shout(4)\n\
        \x20   var c = C(n: 1)\n    print c.n, c.next(), \"{c.n}{c.next()}\", c.n\n";
    assert_eq!(output(text), "!2\n!3\n!4\n1 2 a3b 4\n1 2 23 3\n");
}

#[test]
fn texts_stand_in_the_braces_of_texts() {
    let text = "fn pick(a: text, b: text, n: i64) -> text: if n > 0: a else: b\n\
                fn main():\n    print \"<{pick(\"a\", \"}\\\"\", 0)}>{\"{{\"}{pick(\"x\", pick(\"y\", \"z\", 1), 0)}\"\n\
                \x20   print \"{\"a{\"b{\"c{1 + 1}\"}\"}\"}\"\n";
    assert_eq!(output(text), "<}\">{y\nabc2\n");
    let deep = |levels: usize| {
        let (open, close) = ("\"{".repeat(levels), "}\"".repeat(levels));
        std::format!("fn main(): print {open}1{close}\n")
    };
    assert_eq!(output(&deep(8)), "1\n");
    assert_ne!(errors_of(&deep(1000)).len(), 0);
}

#[test]
fn escaped_quotes_begin_a_text_in_the_braces_of_a_text() {
    let text = "fn f(a: i64, s: text) -> i64:\n    print s\n    a\nfn main():\n    print \"<{f(1, \\\",}\\\")}> {f(2, \"b\")} {f(3, \\\"\\\\c\\\")}\"\n";
    assert_eq!(output(text), ",}\nb\n\\c\n<1> 2 3\n", "{text}");
    assert!(errors_of("fn f():\n    print \\\"a\\\"\n")[0].contains(": E1"));
}

#[test]
fn empty_array_takes_the_type_of_the_other_arguments() {
    let text = "fn first_or<T>(xs: [T], d: T) -> T:\n    if xs.len() > 0: xs[0] else: d\n\
                fn f() -> i64: first_or([], 9)\nfn g(x: u8) -> u8: first_or([], x)\n\
                fn h() -> i8: first_or([], 5)\n";
    assert_eq!(run(text, "f", &[]), 9);
    assert_eq!(run(text, "g", &[7]), 7);
    assert_eq!(run(text, "h", &[]), 5);
    assert_eq!(
        errors_of("fn len<T>(xs: [T]) -> i64: xs.len()\nfn f() -> i64: len([])\n"),
        ["2: E-MONO-032: the element type of an empty array is not known"]
    );
}

#[test]
fn generic_functions_and_variants_take_the_types_of_the_other_arguments() {
    let text = "enum Op<T>:\n    Neg\n    Add(T)\nfn id<T>(x: T) -> T: x\nfn first<A, B>(a: A, b: B) -> A: a\n\
                fn call<T>(f: fn(T) -> T, x: T) -> T: f(x)\n\
                fn app<T>(o: Op<T>, x: T) -> T:\n    match o:\n        case Neg: x - x - x\n        case Add(n): x + n\n\
                fn two<T>(a: Op<T>, b: Op<T>) -> i64: if a is Op.Neg: 1 else: 2\n\
                fn f() -> i64:\n    val g: fn(u8) -> u8 = id\n    val h: fn(i64, bool) -> i64 = first\n    call(id, 3) + g(40) as i64 + h(500, true)\n\
                fn k() -> f64: app(Op.Neg, 2.5)\nfn m() -> i64: two(Op.Neg, Op.Add(1u8)) * 10 + app(Op.Add(4), 1)\n";
    assert_eq!(run(text, "f", &[]), 543);
    assert_eq!(run(text, "k", &[]).cast_unsigned(), (-2.5_f64).to_bits());
    assert_eq!(run(text, "m", &[]), 15);
    for (call, expected) in [
        ("val g = id", "E-MONO-032: the type arguments of `id` are not known"),
        ("val g: fn(u8) -> u16 = id", "E1401: expected `fn(u8) -> u16`, found `fn(u8) -> u8`"),
        ("val g: fn() -> u8 = id", "E-MONO-032: the type arguments of `id` are not known"),
    ] {
        let found = errors_of(&format!("{text}fn e():\n    {call}\n    val z = 1\n"));
        assert!(found[0].ends_with(expected), "{call}: {found:?}");
    }
}

#[test]
fn types_stand_in_parentheses() {
    let text = "fn apply(f: (i64) -> (i64), x: (i64)) -> i64: f(x)\nfn double(x: i64) -> i64: x * 2\n\
                fn none(f: () -> i64) -> i64: f()\nfn four() -> i64: 4\n\
                fn f() -> i64: apply(double, 4) + none(four)\n\
                fn one(t: (i64,)) -> i64: t.0\n";
    assert_eq!(run(text, "f", &[]), 12);
    unit_of(text, Mode::Compile);
}

#[test]
fn printing_joins_values() {
    let text = "fn main():\n    print 21.5\n    print(1, true, \"x\", 2u8)\n    print()\n    print \"a{1 + 1}b{{}}\"\n    print_raw \"no \"\n    print -1\n    print (2 + 3) * 4\n    print 'raw {x}'\n    print 0.5f32\n    print \"t\\tz\\u{41}\"\n";
    assert_eq!(output(text), "21.5\n1 true x 2\n\na2b{}\nno -1\n20\nraw {x}\n0.5\nt\tzA\n");
}

#[test]
fn constants_are_evaluated() {
    let text = "const N: i64 = 4\nval M = N * 2 + 1\nconst F: f32 = 2\nconst T: [i64; N] = [1, 2, 3, M]\nconst B: u8 = 0xFF\n\
                enum K:\n    A = N\n    B\n\
                fn f() -> i64:\n    var a = [0; M]\n    a[0] = T[3]\n    a.len + a[0] + K.B as i64 + B as i64\n\
                fn m(x: i64) -> i64:\n    match x:\n        case N: 1\n        case _: 2\n";
    assert_eq!(run(text, "f", &[]), 9 + 9 + 5 + 255);
    assert_eq!((run(text, "m", &[4]), run(text, "m", &[5])), (1, 2));
    assert!(errors_of("const A: i64 = B\nconst B: i64 = A\n")[0].contains("depends on itself"));
}

#[test]
fn assertions_trap_with_a_message() {
    let text = "fn f(x: i64) -> i64:\n    assert x > 0, \"positive\"\n    x\n";
    assert_eq!(run(text, "f", &[3]), 3);
    assert_eq!(trap(text, "f", &[0]), 17);
    let unit = unit_of(text, Mode::Compile);
    let assertion = &unit.functions[0].assertions[0];
    assert_eq!((assertion.line, assertion.message.as_str()), (2, "positive"));
}

#[test]
fn trap_of_an_assertion_whose_condition_has_a_place_of_its_own_is_at_the_assertion() {
    for condition in
        ["g(x) > 0", "1 / x > 0", "[1, 2][x] > 0 or g(x) > 1", "true and\n        g(x) > 0"]
    {
        let text = format!(
            "fn g(x: i64) -> i64: x\nfn f(x: i64):\n    assert {condition}, \"positive\"\n"
        );
        let unit = unit_of(&text, Mode::Compile);
        let function = unit.functions.iter().find(|function| function.symbol == "f").unwrap();
        let assertion = &function.assertions[0];
        let function = crate::ir::Function::parse(function.ir()).unwrap();
        let last = function.locations().last().unwrap();
        assert_eq!(
            (last.line, u32::from(last.column)),
            (assertion.line, assertion.column),
            "{text}"
        );
    }
}

#[test]
fn host_functions_are_called_by_symbol() {
    let text = "extern fn host_add(a: i64, b: i64) -> i64\nfn f() -> i64: host_add(40, 2)\n";
    assert_eq!(run(text, "f", &[]), 42);
    let unit = unit_of(text, Mode::Compile);
    let [external] = &unit.externals[..] else { panic!("{:?}", unit.externals) };
    assert_eq!(external.symbol, "host_add");
}

#[test]
fn inner_functions_do_not_capture() {
    let text = "fn f(x: i64) -> i64:\n    fn twice(n: i64) -> i64: if n == 0: 0 else: 2 + twice(n - 1)\n    twice(x)\n";
    assert_eq!(run(text, "f", &[4]), 8);
    let text = "fn f(x: i64) -> i64:\n    fn g() -> i64: x\n    g()\n";
    assert!(errors_of(text)[0].contains("captures `x`"), "{:?}", errors_of(text));
}

#[test]
fn results_follow_from_bodies() {
    let text = "fn a(x: i64): x > 1\nfn b(x: i64):\n    if x > 0: return 2.5\n    0.0\nfn c():\n    print 1\nfn d(): a(3)\n";
    let unit = unit_of(text, Mode::Compile);
    let results: std::vec::Vec<_> = unit
        .functions
        .iter()
        .map(|f| f.result.as_ref().map(std::string::ToString::to_string))
        .collect();
    assert_eq!(results, [Some("bool".into()), Some("f64".into()), None, Some("bool".into())]);
    let text = "fn f(n: i64): if n < 1: 1 else: f(n - 1)\n";
    assert_eq!(errors_of(text), ["1: E1403: function 'f' is recursive and needs a result type"]);
}

#[test]
fn operands_are_computed_from_left_to_right() {
    let text = "struct C:\n    n: i64\nimpl C:\n    me next() -> i64:\n        self.n += 1\n        self.n\n\
                fn f() -> i64:\n    var c = C(0)\n    c.next() * 100 + c.next() * 10 + c.next()\n\
                fn g(c: C, n: i64) -> i64: c.n * 10 + n\nfn h() -> i64:\n    var c = C(5)\n    g(c, c.next())\n";
    assert_eq!(run(text, "f", &[]), 123);
    assert_eq!(run(text, "h", &[]), 56);
    let text = "fn k() -> i64:\n    var x = 1\n    val y = x + if x > 0: 10 else: 0\n    y\n";
    assert_eq!(run(text, "k", &[]), 11);
}

#[test]
fn plain_value_is_never_nil() {
    assert_eq!(value("if 3 == nil: 1 else: 0"), 0);
    assert_eq!(value("(false == nil) as i64"), 0);
    assert_eq!(value("if 1 + 2 != nil and not (0 == nil): 1 else: 0"), 1);
}

#[test]
fn parenthesis_at_the_start_of_a_line_is_no_call_of_the_block_before_it() {
    let text = "fn f(x: i64) -> i64:\n    val y = match x:\n        case 1: 40\n        case _: 2\n    (y + 2)\n";
    assert_eq!((run(text, "f", &[1]), run(text, "f", &[2])), (42, 4));
}

#[test]
fn variable_that_is_never_reached_is_assigned() {
    let text = "fn f(x: i64) -> i64:\n    if false:\n        var v: f64 = (if x > 0: 1.0 else: 2.0) - 1.0\n        \
                v = 2.0\n    x\n";
    assert_eq!(run(text, "f", &[7]), 7);
}

#[test]
fn values_of_disjoint_blocks_share_the_frame() {
    let block = |number: i64| {
        std::format!(
            "    if n != {number}:\n        var a = [n; 100]\n        val p = P(n, {number})\n        a[{number}] += p.y\n        \
             while a[0] < 3:\n            val c = [a[0] + 1; 50]\n            a[0] = c[49]\n        s += a[{number}] + a[0]\n    \
             else:\n        val b = [2; 40]\n        s += b[{number}]\n"
        )
    };
    let blocks: String = (0..8).map(block).collect();
    let text = std::format!(
        "struct P:\n    x: i64\n    y: i64\nfn f(n: i64) -> i64:\n    var s = 0\n    val before = [7; 10]\n{blocks}    \
         val q = if n > 0: P(1, s) else: P(2, s)\n    val after = [5; 10]\n    \
         for i in 0..2:\n        val t = match i:\n            case 0: P(i, 3)\n            case _: P(i, q.y)\n        s += t.x * 1000 + t.y\n    \
         s + q.x + before[9] + after[9]\n"
    );
    let unit = unit_of(&text, Mode::Manager);
    let function = crate::ir::Function::parse(unit.functions[0].ir()).unwrap();
    let bytes: u32 = function.slots().map(|slot| slot.unwrap().size).sum();
    // One block, the loop in it, and what is outside.
    assert!(bytes <= 800 + 16 + 400 + 80 + 80 + 4 * 16, "{bytes}");
    let expected = |n: i64| {
        let mut s = 0;
        for number in 0..8 {
            let (mut a, c) = ([n; 100], n.max(3));
            a[number] += number as i64;
            a[0] = if a[0] < 3 { c } else { a[0] };
            s += if n == number as i64 { 2 } else { a[number] + a[0] };
        }
        let y = s;
        s += 3 + 1000 + y;
        s + if n > 0 { 1 } else { 2 } + 12
    };
    for n in [-5_i64, 0, 1, 3, 7, 100] {
        let (result, _) = call_unit(&unit, "f", &[n.cast_unsigned()]);
        assert_eq!(result.unwrap().cast_signed(), expected(n), "{n}");
    }
}

#[test]
fn functions_of_the_language_check_their_arguments() {
    for (call, expected) in [
        ("5.min(3, 1)", "`min` has 1 parameter, found 2 arguments"),
        ("5.max()", "`max` has 1 parameter, found 0 arguments"),
        ("(17).fdiv(2, 0)", "`fdiv` has 1 parameter, found 2 arguments"),
        ("[1, 2].len(1)", "`len` has 0 parameters, found 1 argument"),
        ("5.abs(1)", "`abs` has 0 parameters, found 1 argument"),
        ("5.to_i64(2)", "`to_i64` has 0 parameters, found 1 argument"),
        ("5.min(other: 3)", "`min` has no parameter `other`"),
        ("min(1, 2, 3)", "`min` has 2 parameters, found 3 arguments"),
        ("max(1)", "`max` has 2 parameters, found 1 argument"),
        ("abs()", "`abs` has 1 parameter, found 0 arguments"),
        ("i64(1, 2)", "`i64` has 1 parameter, found 2 arguments"),
        ("min(zz: 1, qq: 2)", "`min` has no parameter `zz`"),
        ("len(5)", "`len` has no meaning for `i64`"),
        ("abs(true) as i64", "`abs` has no meaning for `bool`"),
    ] {
        let found = errors_of(&format!("fn f() -> i64: {call}\n"));
        assert_eq!(found.len(), 1, "{call}: {found:?}");
        assert!(found[0].ends_with(expected), "{call}: {found:?}");
    }
    let found = errors_of("fn f() -> i64: 5.min(3, nothere)\n");
    assert!(found[1].ends_with("name `nothere` not found"), "{found:?}");
}

#[test]
fn functions_of_the_language_are_called_in_generic_functions() {
    let text = "fn f<T>(x: T) -> T: abs(x) + min(x, x + 1).max(x)\nfn n<T>(x: T) -> i64: len(x)\n\
                fn g() -> i64: f(-3) + f(-0.5) as i64 + n([1, 2])\n";
    assert_eq!(run(text, "g", &[]), 2);
}

#[test]
fn functions_in_fields_are_called_whatever_their_names() {
    let text = "struct S:\n    min: fn(i64) -> i64\n    len: fn() -> i64\n    push: fn(i64, i64) -> i64\n\
                fn twice(x: i64) -> i64: x * 2\nfn four() -> i64: 4\nfn sum(a: i64, b: i64) -> i64: a + b\n\
                fn f() -> i64:\n    val s = S(min: twice, len: four, push: sum)\n    s.push(s.min(5), s.len())\n";
    assert_eq!(run(text, "f", &[]), 14);
    let text = "struct S:\n    x: i64\nfn f(s: S) -> i64: s.min(s)\n";
    assert_eq!(errors_of(text), ["3: E1304: type `S` has no method `min`"]);
}

#[test]
fn functions_with_arrays_as_parameters_are_values() {
    let text = "fn first(xs: [i64]) -> i64: xs[0]\nfn last(xs: [i64]) -> i64: xs[-1]\n\
                struct S:\n    f: fn([i64]) -> i64\nfn pick(c: bool) -> fn([i64]) -> i64: if c: first else: last\n\
                fn f() -> i64:\n    var g = first\n    g = last\n    var s = S(f: g)\n    s.f = pick(false)\n    \
                s.f([1, 2]) * 10 + pick(true)([3, 4])\n";
    assert_eq!(run(text, "f", &[]), 23);
}

/// Found: each level of such a constant computed its arguments twice.
#[test]
fn nested_min_and_max_without_a_value_take_linear_time() {
    let nested = (0..100).fold(String::from("2.0"), |inner, _| std::format!("max({inner}, 1.0)"));
    let text = std::format!("const M = {nested}\nfn f() -> i64: if M > 1.5: 1 else: 0\n");
    assert_eq!(run(&text, "f", &[]), 1);
}

#[test]
fn field_without_a_name_has_a_type() {
    let text = "struct P:\n    _: i64\n    x: i64\nfn f(p: P) -> i64: p.x\n";
    assert!(errors_of(text).is_empty(), "{:?}", errors_of(text));
}
