//! Errors of names, types and constructs that are refused after parsing.

use super::run::*;
use crate::source::{Mode, SourceFile, Type, compile, instantiate};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

#[test]
fn each_error_has_its_message() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("fn f() -> i64: cout\n", "1: E1301: name `cout` not found"),
        ("fn f() -> i64: g()\n", "1: E1301: name `g` not found"),
        ("fn f(a: Q) -> i64: 1\n", "1: E1406: type `Q` not found"),
        (
            "fn f(a: char) -> i64: 1\n",
            "1: E1201: type `char` is not supported: texts are literals for printing",
        ),
        ("fn f() -> bool: \"hello\"\n", "1: E1401: expected `bool`, found `text`"),
        (
            "fn f(a: i64) -> i64: a\nfn g() -> i64: f(true)\n",
            "2: E1401: expected `i64`, found `bool`",
        ),
        ("fn f(a: i64) -> i32: a\n", "1: E1401: expected `i32`, found `i64`"),
        ("fn f(a: f64) -> i64: a\n", "1: E1401: expected `i64`, found `f64`"),
        ("fn f(a: i64, b: u64) -> i64: a + b\n", "1: E1401: `+` mixes `i64` and `u64`"),
        ("fn f(a: bool) -> bool: a + a\n", "1: E1404: `+` has no meaning for `bool` and `bool`"),
        ("fn f(a: i64) -> i64: a.x\n", "1: E1304: type `i64` has no field `x`"),
        ("fn f(a: i64) -> i64: a.foo()\n", "1: E1304: type `i64` has no method `foo`"),
        ("fn f(a: i64) -> i64: a(1)\n", "1: E1405: a value of `i64` is not called"),
        ("fn f(a: i64) -> i64: f(1, 2)\n", "1: E1405: `f` has 1 parameter, found 2 arguments"),
        ("fn f(a: i64) -> i64: f()\n", "1: E1405: `f` has 1 parameter, found 0 arguments"),
        ("fn f(a: i64) -> i64: f(b=1)\n", "1: E1405: `f` has no parameter `b`"),
        ("fn f(a: i64) -> i64: f(1, a=1)\n", "1: E1405: parameter `a` of `f` has two arguments"),
        ("fn f() -> u8: 256\n", "1: E1407: the number does not fit `u8`"),
        (
            "fn f() -> i64:\n    val x = if true: 1 else: \"a\"\n    x\n",
            "2: E1401: expected `i64`, found `text`",
        ),
        (
            "fn f() -> i64:\n    match 3:\n        case 4: true\n        case _: 1\n",
            "3: E1401: expected `i64`, found `bool`",
        ),
        ("const T: [i64; 2] = [1, true]\nfn f(): pass\n", "1: E1401: expected `i64`, found `bool`"),
        ("const N = 7 / (2 - 2)\nfn f(): pass\n", "1: E1408: a constant is divided by zero"),
        ("const N: i64 = 7 % 0\nfn f(): print N\n", "1: E1408: a constant is divided by zero"),
        (
            "const A: i64 = B + 1\nconst B: i64 = A\nfn f(): print A\n",
            "1: E1408: constant `A` depends on itself",
        ),
        ("fn f() -> i8: -129\n", "1: E1407: the number does not fit `i8`"),
        ("fn f() -> u8: 300u8\n", "1: E1407: the number does not fit `u8`"),
        ("fn f() -> i64: 99999999999999999999\n", "1: E1003: the number does not fit 64 bits"),
        ("fn f():\n    val x = 1\n    x = 2\n", "3: E1305: `x` is not mutable"),
        ("const N: i64 = 1\nfn f():\n    N = 2\n", "3: E1305: `N` is not mutable"),
        (
            "fn f():\n    var (a, b) = (1, 2)\n    (a, b) = (b, a)\n",
            "3: E1305: only a name, field or element is assigned to",
        ),
        ("fn f(a: [i64]):\n    a[0] = 1\n", "2: E1305: `a` is not mutable"),
        ("fn f():\n    for (i, x) in [5, 6]: print i\n", "2: E1410: `i64` is no tuple of 2 values"),
        ("fn f():\n    for (i, x) in 0..3: print i\n", "2: E1410: `i64` is no tuple of 2 values"),
        ("fn f():\n    break\n", "2: E1306: `break` outside of a loop"),
        (
            "fn f():\n    while true: continue 'x\n",
            "2: E1306: no loop around this has the label `'x`",
        ),
        (
            "fn f(x: i64):\n    if x: pass\n",
            "2: E1201: a condition of type `i64` is not supported: truthiness has a dynamic meaning",
        ),
        (
            "fn f(x: i64):\n    val y = nil\n",
            "2: E1201: `nil` is not supported: there are no optional values",
        ),
        (
            "fn f(x: i64):\n    val y = \"a{x}\"\n",
            "2: E1201: interpolation outside of `print` is not supported: it allocates a text",
        ),
        (
            "fn f():\n    val a = [1]\n    a.push(2)\n",
            "3: E1201: `.push()` is not supported: an array does not grow",
        ),
        (
            "fn f():\n    val a = [1]\n    a.pop()\n",
            "3: E1201: `.pop()` is not supported: an array does not shrink",
        ),
        (
            "fn f() -> i64:\n    val a = \"x\" + \"y\"\n    1\n",
            "2: E1201: an operation on texts is not supported: it allocates",
        ),
        (
            "fn f() -> bool: \"x\" == \"y\"\n",
            "1: E1201: a comparison of texts is not supported: texts are literals for printing",
        ),
        (
            "struct S:\n    n: i64\nfn f():\n    val s = S(n: 1)\n    s.push(2)\n",
            "5: E1304: type `S` has no method `push`",
        ),
        (
            "enum E:\n    A(i64, i64)\nfn f():\n    val e = E.A(1)\n",
            "4: E1405: value 2 of `A` is missing",
        ),
        (
            "fn f() -> i64: 1 + + 1\n",
            "1: E1201: a unary `+` is not supported: one of the parsers of Simple does not have it",
        ),
        (
            "fn f():\n    val s = 5.to_text()\n",
            "2: E1201: `.to_text()` is not supported: it allocates a text",
        ),
        (
            "fn main(args: i64): 1\n",
            "1: E1201: `fn main(args)` is not supported: the parameter is never bound by Simple",
        ),
        (
            "fn f() -> i64:\n    loop: break 3\n    1\n",
            "2: E1201: `break` with a value is not supported: assign to a variable in front of it",
        ),
        (
            "fn f() -> i64:\n    val r = loop:\n        break\n    r\n",
            "2: E1201: a loop as a value is not supported: assign to a variable in the loop",
        ),
        (
            "fn f() -> i64:\n    var r = while true:\n        break\n    r\n",
            "2: E1201: a loop as a value is not supported: assign to a variable in the loop",
        ),
        (
            "fn set(mut a: [i64]): a[0] = 1\nfn f():\n    val p = set\n    p([1])\n",
            "3: E1201: a function that changes an array, as a value is not supported: call it by its name",
        ),
        (
            "fn f() -> i64:\n    val r = 1..3\n    1\n",
            "2: E1201: a range as a value is not supported: ranges belong to `for` and patterns",
        ),
        (
            "fn id<T>(x: T) -> T: x\nfn none<T>() -> i64: 1\nfn f() -> i64: none()\n",
            "3: E-MONO-032: the type arguments of `none` are not known",
        ),
        (
            "fn m<T>(a: T, b: T) -> T: a\nfn f() -> i64: m(1i64, true) as i64\n",
            "2: E1401: expected `i64`, found `bool`",
        ),
        (
            "fn m<T: Ord>(a: T) -> T: a\nfn f() -> bool: m(true)\n",
            "2: E1502: `bool` does not have the operations of `Ord`, which `m` asks for",
        ),
        ("struct P:\n    x: i64\nfn f() -> i64: P(y: 1).x\n", "3: E1304: `P` has no field `y`"),
        (
            "struct P:\n    x: i64\nfn f() -> i64: P().x\n",
            "3: E1405: field `x` of `P` has no value",
        ),
        ("struct P:\n    x: i64\nstruct P:\n    y: i64\n", "3: E1302: `P` is declared twice"),
        (
            "struct P:\n    x: [i64]\n",
            "2: E1201: an array without a length is not supported as a field: it would grow",
        ),
        (
            "struct P:\n    x: ([[i64]; 2], i64)\n",
            "2: E1201: an array without a length is not supported as a field: it would grow",
        ),
        (
            "fn f() -> [i64]: [1]\n",
            "1: E1201: an array without a length is not supported as a result",
        ),
        (
            "fn f(a: [i64]) -> (i64, [i64]): (1, a)\n",
            "1: E1201: an array without a length is not supported as a result",
        ),
        (
            "fn f(a: [i64]): (1, a)\n",
            "1: E1201: an array without a length is not supported as a result",
        ),
        (
            "fn same<T>(x: T) -> T: x\nfn f(a: [i64]) -> i64: same(a)[0] + same(a)[1]\n",
            "1: E1201: an array without a length is not supported as a result",
        ),
        ("fn f(a: i64, a: i64) -> i64: a\n", "1: E1302: parameter `a` is declared twice"),
        (
            "fn f() -> i64:\n    val (y, (_, y)) = (1, (2, 3))\n    y\n",
            "2: E1302: the pattern binds `y` twice",
        ),
        (
            "fn f(t: (i64, i64)) -> i64:\n    match t:\n        case (x, x): x\n",
            "3: E1302: the pattern binds `x` twice",
        ),
        ("fn f():\n    for (x, x) in [(1, 2)]: print x\n", "2: E1302: the pattern binds `x` twice"),
        ("const D: u8 = 200 + 100\n", "1: E1407: the number does not fit `u8`"),
        ("fn f() -> u8: 200 + 100\n", "1: E1407: the number does not fit `u8`"),
        ("fn f() -> i8: 128i8\n", "1: E1407: the number does not fit `i8`"),
        ("fn f() -> u8: -5\n", "1: E1407: the number does not fit `u8`"),
        ("enum E:\n    A\nfn f() -> i64: E.B as i64\n", "3: E1304: `E` has no variant `B`"),
        (
            "use .near\n",
            "1: E1201: a relative path behind `use` is not supported: write `use name`, which is looked for beside this file too",
        ),
        (
            "use lazy near.{x}\n",
            "1: E1201: `use lazy` is not supported: modules are read before the program runs; write `use name`",
        ),
        (
            "var count = 0\nfn bump(): count = count + 1\nfn main() -> i64: count\n",
            "1: E1201: a variable of a module is not supported: a function has no memory of its own",
        ),
        (
            "fn f():\n    val d: Dict<i64, [i64]> = {}\n    print d\n",
            "2: E1201: a growing collection is not supported: it allocates",
        ),
        (
            "struct P:\n    x: i64\nfn f(p: P) -> i64:\n    match p:\n        case P(x: k): k\n",
            "5: E1201: a pattern for the fields of a struct is not supported: bind the value and read its fields",
        ),
        (
            "fn f(x: i64) -> i64:\n    match x:\n        case 0..=9 as k: 1\n        case _: 2\n",
            "3: E1201: `as` in a pattern is not supported: bind the value in front of `match`, and write numbers with a suffix",
        ),
        (
            "fn f():\n    val t = (a: 1, b: 2)\n",
            "2: E1201: a tuple with names is not supported: declare a struct",
        ),
        (
            "fn f(x: [i64; 3]) -> i64: x[..2].len()\n",
            "1: E1201: a slice is not supported: it copies into memory that grows",
        ),
        (
            "fn f(x: i64) -> i64:\n    match x: case 1: 2\n",
            "2: E1101: expected arms on lines of their own behind `match`, found `case`",
        ),
        (
            "struct P:\n    x: i64\nfn f(p: P) -> i64: p.get<i64>()\n",
            "3: E1201: a method with type arguments is not supported: write a generic function",
        ),
        ("fn f() -> f64: 1.0e400\n", "1: E1003: the number does not fit `f64`"),
        ("fn f(): print \"{}\"\n", "1: E1101: `{}` in a text has no expression"),
        ("fn f(x: i64): print \"{x + }\"\n", "1: E1101: expected an expression, found `}`"),
        (
            "fn f(a: [i64; 2]):\n    for i in 1u8..=(a[5] as u8): print i\n",
            "2: E1407: index 5 is out of range for an array of length 2",
        ),
        (
            "fn f(x: [i64; 2]) -> i64:\n    match x:\n        case [1, 2]: 1\n        case _: 2\n",
            "3: E1201: an array pattern is not supported: compare the elements",
        ),
        (
            "fn f(x: i64) -> i64:\n    val r = (match x:\n        case 1: 2\n        case _: 3)\n    r\n",
            "2: E1201: `match` in brackets is not supported: bind its value to a name first",
        ),
        ("fn g(a: i64): a\nfn f(): g()\n", "2: E1405: `g` has 1 parameter, found 0 arguments"),
        ("use nowhere.{x}\n", "1: E1303: module `nowhere` not found"),
        ("fn f() -> bool: 1 < 2 < true\n", "1: E1404: `<` has no meaning for `i64` and `bool`"),
        (
            "fn f():\n    val p = (1, 2)\n    print p\n",
            "3: E1201: printing a value of `(i64, i64)` is not supported: print its numbers",
        ),
        (
            "fn f(p: *const i64):\n    p[0] = 1\n",
            "2: E1305: memory behind `*const i64` is not mutable",
        ),
        (
            "struct H:\n    p: *const i64\nfn f(mut h: H):\n    h.p[0] = 1\n",
            "4: E1305: memory behind `*const i64` is not mutable",
        ),
        (
            "struct H:\n    p: *mut i64\nfn f(hs: [H; 2]):\n    hs[nosuch].p[0] = 3\n",
            "4: E1301: name `nosuch` not found",
        ),
        (
            "fn f(mut t: (i64, [*const i64; 2])):\n    t.1[0][1] += 1\n",
            "2: E1305: memory behind `*const i64` is not mutable",
        ),
        (
            "enum E:\n    A(i64)\nfn f(e: E) -> i64:\n    match e:\n        case E.A(x) | E.A(y): 1\n",
            "5: E1410: the alternatives do not bind the same names",
        ),
        (
            "fn f(t: (i64, bool)) -> i64:\n    match t:\n        case (x, true) | (1, x): 1\n        case _: 2\n",
            "3: E1401: expected `i64`, found `bool`",
        ),
        (
            "fn f(t: (i64, i64)) -> i64:\n    match t:\n        case (x, 2) | (1, 3): 1\n        case _: 2\n",
            "3: E1410: the alternatives do not bind the same names",
        ),
        (
            "val x = 1\nfn main() -> i64: x\nprint x\n",
            "3: E1101: statements at the top level beside `fn main` are never run",
        ),
        ("fn f<T>(a: T) -> i64: zz\n", "1: E1301: name `zz` not found"),
        (
            "fn g<T, T>(a: T, b: T) -> T: a\nfn f() -> i64: g(1, 2)\n",
            "1: E1302: type parameter `T` is declared twice",
        ),
        (
            "struct P<A, B, A>:\n    x: A\nfn f() -> i64: P(1).x\n",
            "1: E1302: type parameter `A` is declared twice",
        ),
        (
            "enum E<T, T>:\n    A(T)\nfn f() -> bool: E.A(1) is E.A(_)\n",
            "1: E1302: type parameter `T` is declared twice",
        ),
        (
            "struct B<T>:\n    x: T\nimpl<T, T> B<T>:\n    fn get() -> T: self.x\n",
            "3: E1302: type parameter `T` is declared twice",
        ),
        ("pub pub fn f() -> i64: 1\n", "1: E1101: `pub` stands here twice"),
        ("export export fn f() -> i64: 1\n", "1: E1101: `export` stands here twice"),
        ("pub(peer) pub struct P:\n    x: i64\n", "1: E1101: `pub` stands here twice"),
        (
            "struct P:\n    x: i64\n    pub pub fn a() -> i64: 1\n",
            "3: E1101: `pub` stands here twice",
        ),
        (
            "struct P:\n    x: i64\nimpl P:\n    pub pub fn a() -> i64: 1\n",
            "4: E1101: `pub` stands here twice",
        ),
        (
            "extern fn g(a: i64) -> i64: a\nfn f() -> i64: g(1)\n",
            "1: E1101: an `extern fn` has no body: it is defined outside of the source",
        ),
        (
            "extern fn g(a: i64) -> i64:\n    val b = a\n    b\nfn f() -> i64: g(1)\n",
            "1: E1101: an `extern fn` has no body: it is defined outside of the source",
        ),
        (
            "fn f() -> i64:\n    fn g<T>(a: T) -> T: a\n    1\n",
            "2: E1201: a generic function inside a function is not supported: declare it outside",
        ),
    ] {
        let found = errors_of(text);
        // The number of unresolved calls follows the last of them.
        if found.iter().filter(|error| !error.contains("E-MONO-033")).ne([expected]) {
            wrong.push((text, expected, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn array_that_does_not_change_is_no_view_that_changes() {
    let change = "fn fill(mut xs: [i64]): xs[0] = 9\nstruct P:\n    a: [i64; 2]\nconst T: [i64; 2] = [1, 2]\n";
    for (body, name) in [
        ("fn f():\n    val a = [1, 2]\n    fill(a)\n", "a"),
        ("fn f(a: [i64]):\n    pass\n    fill(xs: a)\n", "a"),
        ("fn f(a: [i64], mut b: [i64]):\n    pass\n    fill(if b[0] > 1: b else: a)\n", "a"),
        ("fn f():\n    val a = [1, 2]\n    fill(if a[0] > 1: [1] else: a)\n", "a"),
        (
            "fn first<E>(mut xs: [E]): xs[0] = xs[1]\nfn f(a: [i64], mut b: [i64]):\n    \
             first(if b[0] > 1: (if b[1] > 1: a else: b) else: b)\n",
            "a",
        ),
        ("fn f(p: P):\n    pass\n    fill(p.a)\n", "p"),
        ("impl P:\n    fn f():\n        fill(self.a)\n", "self"),
        ("fn f():\n    val t = (1, [[1], [2]])\n    fill(t.1[0])\n", "t"),
        ("fn f():\n    pass\n    fill(T)\n", "T"),
        ("fn first<E>(mut xs: [E]): xs[0] = xs[1]\nfn f(a: [i64]):\n    first(a)\n", "a"),
    ] {
        let found = errors_of(&std::format!("{change}{body}"));
        let [error] = &found[..] else { panic!("{body}: {found:?}") };
        assert!(error.starts_with("7: E1305"), "{body}: {error}");
        assert!(error.contains(&std::format!("`{name}` is not mutable, and")), "{body}: {error}");
    }
    let text = std::format!(
        "{change}fn main():\n    var p = P([1, 2])\n    fill(p.a)\n    fill([1, 2])\n    print p.a[0], p.a[1]\n"
    );
    assert_eq!(output(&text), "9 2\n");
}

#[test]
fn view_is_not_copied_where_one_of_both_changes() {
    let refused = "a copy of `[i64]` is not supported: its length is not known";
    for body in [
        "fn f(xs: [i64]):\n    var ys = xs\n",
        "fn f(mut xs: [i64]):\n    val old = xs\n",
        "fn f(mut xs: [i64], ys: [i64]):\n    xs = ys\n",
    ] {
        assert_eq!(errors_of(body), [std::format!("2: E1201: {refused}")], "{body}");
    }
    let tuple = "fn f(xs: [i64]):\n    var t = (xs, 1)\n";
    assert!(errors_of(tuple)[0].starts_with("2: E1201: a copy of `([i64], i64)`"));
    let text = "fn sum(xs: [i64]) -> i64:\n    val ys = xs\n    ys[0] + ys[1]\n\
                fn main():\n    var a = [1, 2]\n    val v: [i64] = a\n    a[0] = 9\n    print v[0], sum(v), sum(a)\n";
    assert_eq!(output(text), "1 3 11\n");
}

#[test]
fn unknown_type_argument_is_reported_at_the_function() {
    let text = "struct P:\n    x: i64\nfn id<T>(x: T) -> T: x\n";
    let made = instantiate(file(text), "id", &Type::parse_arguments("Foo").unwrap()).unwrap();
    assert_eq!(messages(&made), ["3: E1406: type `Foo` not found"]);
    let made = instantiate(file(text), "id", &Type::parse_arguments("i8,i8").unwrap()).unwrap();
    assert_eq!(messages(&made), ["3: E1405: `id` has 1 type parameter, found 2"]);
}

#[test]
fn call_of_a_function_is_no_constant() {
    let text = "fn f() -> i64: 1\nconst N: i64 = f()\nfn g() -> i64: N + N\n";
    assert_eq!(errors_of(text), ["2: E1408: a call of `f` is not a constant"]);
    let text = "struct P:\n    x: i64\nimpl P:\n    static fn one() -> P: P(1)\nconst A: [P; 2] = [P(2), P.one()]\nfn g() -> i64: A[0].x\n";
    assert_eq!(errors_of(text), ["5: E1408: a call of `one` is not a constant"]);
    let text = "enum E:\n    A(i64)\n    B\nstruct P:\n    x: i64\n    e: E\nconst A: [P; 2] = [P(1, E.A(3)), P(2, E.B)]\nfn g() -> i64: A[1].x\n";
    assert_eq!(run(text, "g", &[]), 2);
}

#[test]
fn aliases_and_defaults_that_nothing_uses_are_checked() {
    let aliases = errors_of("type A = B\ntype B = A\ntype C = Missing\nfn f() -> i64: 1\n");
    assert_eq!(
        aliases,
        ["1: E1411: type `A` stands for itself", "3: E1406: type `Missing` not found"]
    );
    let defaults = "fn id<T>(x: T) -> T: x\nstruct P:\n    x: i64 = 1 + missing\n    y: u8 = 300\n\
        fn g(x: i64 = absent, y: text = 5, z: i64 = 3) -> i64: x\n";
    let expected = [
        "3: E1301: name `missing` not found",
        "4: E1407: the number does not fit `u8`",
        "5: E1301: name `absent` not found",
        "5: E1401: expected `text`, found `i64`",
    ];
    let mut errors = errors_of(defaults);
    errors.sort();
    assert_eq!(errors, expected);
    // Those of generic functions depend on their types, and these call functions that nothing else calls.
    let right = "const K: i64 = 7\nfn id<T>(x: T) -> T: x\nfn two() -> i64: 2\nstruct P:\n    x: (i64, i64) = (K, id(two()))\n\
        fn g<T>(x: T = 1) -> T: x\nfn f() -> text: g(\"a\")\n";
    assert_eq!(errors_of(right), [""; 0]);
}

#[test]
fn type_that_contains_itself_is_refused_without_use() {
    assert_eq!(errors_of("struct P:\n    p: P\n"), ["1: E1411: type `P` contains itself"]);
    assert_eq!(errors_of("enum E:\n    A([(E, bool); 2])\n    B\n").len(), 1);
}

#[test]
fn types_may_name_64_levels_of_later_types() {
    let message = "more than 64 levels of types that name each other";
    let aliases = |levels: usize| {
        let chain = (1..levels).rev().map(|n| format!("type A{n} = A{}\n", n - 1));
        let use_last = format!("fn f() -> A{}: 5\n", levels - 1);
        chain.collect::<String>() + "type A0 = i64\n" + &use_last
    };
    assert_eq!(run(&aliases(64), "f", &[]), 5);
    assert_eq!(errors_of(&aliases(65)), [format!("65: E1102: {message}")]);
    let structs = |levels: usize| {
        let chain = (1..levels).rev().map(|n| format!("struct S{n}:\n    x: S{}\n", n - 1));
        chain.collect::<String>() + "struct S0:\n    x: i64\nfn f() -> i64: 5\n"
    };
    assert_eq!(run(&structs(64), "f", &[]), 5);
    assert_eq!(errors_of(&structs(65)), [format!("129: E1102: {message}")]);
    // Levels of constants do not count as levels of types.
    let link = |number| format!("const C{number}: i64 = C{}\n", number + 1);
    let constants: String = (0..80).map(link).collect();
    let types = "type A = [i64; C0]\ntype B = i64\n";
    let text = format!("{constants}const C80: i64 = 5 as B\n{types}fn f() -> i64: C0\n");
    assert_eq!(run(&text, "f", &[]), 5);
}

#[test]
fn ambiguity_shows_two_readings_without_another_ambiguity() {
    for (expression, first, second) in [
        ("a < b == c > 2", "(a < b) == (c > 2)", "((a < b) == c) > 2"),
        ("a == b < 3", "a == (b < 3)", "(a == b) < 3"),
        ("not a == b", "(not a) == b", "not (a == b)"),
        ("a | b + 1", "a | (b + 1)", "(a | b) + 1"),
    ] {
        let text = std::format!("fn f(a: i64, b: i64, c: bool) -> bool: {expression}\n");
        let expected = std::format!(
            "1: E1103: `{expression}` is ambiguous: one parser of Simple reads `{first}`, the other one `{second}`"
        );
        assert_eq!(errors_of(&text), [expected]);
    }
}

#[test]
fn error_at_the_end_of_a_line_is_on_that_line() {
    for (text, line, column) in [
        ("fn f() -> i64: 1 +\n\nfn g() -> i64: 2\n", 1, 19),
        ("fn f() -> f64: 1.\nfn g() -> i64: 2\n", 1, 18),
        ("fn f() -> i64\n    return 1\n", 1, 14),
        ("fn f() -> i64: (1\n", 1, 18),
    ] {
        let found = &compiled(text, Mode::Compile).diagnostics[0];
        assert_eq!((found.line, found.column), (line, column), "{text}: {}", found.message);
    }
}

#[test]
fn part_of_a_long_line_that_has_the_error_is_shown() {
    let long = "1 + ".repeat(100);
    let found_in = |text: &str| {
        let found = compiled(text, Mode::Compile).diagnostics.remove(0);
        let shown = format!("{found}");
        let lines: Vec<&str> = shown.lines().collect();
        let [source, marks] = [lines[3], lines[4]].map(|line| line.split_once("| ").unwrap().1);
        let at = marks.find('^').unwrap();
        let marked: String = source.chars().skip(at).take(marks.trim().len()).collect();
        assert_eq!(marked, "zz", "{shown}");
        assert!(source.len() <= 200 + 2 * "...".len(), "{shown}");
        let mut json = String::new();
        found.write_json(&mut json).unwrap();
        let cut = format!(",\"source_column\":{},", found.source_column);
        assert_eq!(json.contains(&cut), found.source_column != 1, "{json}");
        let columns = found.column - found.source_column;
        assert!(
            found.source_line.chars().skip(columns as usize).collect::<String>().starts_with("zz")
        );
        (found.column, found.length, source.starts_with("..."), source.ends_with("..."))
    };
    assert_eq!(found_in(&format!("fn f() -> i64: {long}zz\n")), (416, 2, true, false));
    assert_eq!(found_in(&format!("fn f() -> i64: {long}zz + {long}1\n")), (416, 2, true, true));
    assert_eq!(found_in(&format!("fn f() -> i64: zz + {long}1\n")), (16, 2, false, true));
    assert_eq!(found_in("fn f() -> i64: 1 + zz\n"), (20, 2, false, false));
    let umlauts = format!("fn f(): print \"{}\", zz, {long}1\n", "ä".repeat(300));
    assert_eq!(found_in(&umlauts), (319, 2, true, true));
    for length in 100..260 {
        found_in(&format!("fn f(): print \"{}\", zz, {long}1\n", "x".repeat(length)));
    }
}

#[test]
fn notes_say_what_to_write() {
    for (text, expected) in [
        (
            "fn f():\n    print\n",
            "a call has its arguments in parentheses, and has them also without arguments: `print()`",
        ),
        ("fn f():\n    x = 3\n", "declare it with `var`, or with `val` if it does not change"),
        ("fn f(a: i64):\n    a &= 3\n", "write `x = x & y`"),
        ("fn f(a: i64):\n    a++\n", "write `x += 1`"),
        (
            "fn f(a: i64) -> i64: a ? 1 : 2\n",
            "use an enum and `match`; a choice is `if c: a else: b`",
        ),
        ("def f(a):\n    return a\n", "a function begins with `fn`"),
        (
            "fn f() -> i64: self.x\n",
            "`self` is the receiver of a method in an `impl`; one whose name starts with `from_` or `with_` has none",
        ),
        ("fn f():\n    whlie 1 < 2:\n        pass\n", "a similar word is `while`"),
        ("fn f():\n    retrun 1\n", "a similar word is `return`"),
        ("fn f():\n    g 1\n", "a call has its arguments in parentheses"),
        ("fn f() -> bool: True\n", "write `true`"),
        ("fn f():\n    println(1)\n", "write `print`"),
        ("fn f():\n    val x = Some(1)\n", "there are no optional values; use an enum"),
        (
            "fn g<T, U>(x: T, y: U) -> T: x * y\nfn f() -> i64: g(3, true)\n",
            "here `T` is `i64`, `U` is `bool`",
        ),
        ("fn f():\n    unsafe:\n        pass\n", "raw pointers need no mark"),
        ("fn f(c: bool) -> i64:\n    if c then 1 else 2\n", "write `:`"),
        ("enum E:\n    A\nfn f() -> i64: E::A as i64\n", "write `.`"),
        (
            "fn f(x: i64) -> i64:\n    match x:\n        case Add | Sub: 1\n        case _: 2\n",
            "`Sub` is no constant or variant, and names the value",
        ),
        ("fn f() {\n    1\n}\n", "a block is `:` and indented lines"),
        ("fn f():\n    for i in 0..<3: print i\n", "`a..b` does not include `b`"),
        (
            "struct P:\n    n: i64\nimpl P:\n    fn bump(): self.n = 1\n",
            "a method that changes it is declared as `me name()`",
        ),
        (
            "var y = 4\nfn f() -> i64: y\n",
            "functions do not have the variables of the script; pass the value, or declare a `const`",
        ),
        (
            "fn f(n: i64): if n > 0: f(n - 1)\n",
            "write `-> T` behind the parameters, or `-> ()` if there is no result",
        ),
    ] {
        let found = compiled(text, Mode::Compile).diagnostics;
        let mut notes = found.iter().filter_map(|found| found.note.as_deref());
        assert!(notes.any(|note| note == expected), "{text}: {found:#?}");
    }
}

#[test]
fn a_mistake_is_reported_once() {
    for (text, expected) in [
        (
            "fn f()\n    print 1\n",
            "1: E1101: expected `:` and the body of the function, found the end of the line",
        ),
        ("fn f():\n    print(\"a)\n    print 2\n", "2: E1002: the text literal has no end"),
        (
            "fn f():\n    print(\"a{\")\n    print 2\n",
            "2: E1002: `{` without `}` in a text; write `{{` for a brace",
        ),
        ("fn f():\n    whlie f():\n        pass\n", "2: E1101: `whlie` starts no statement"),
        ("def f(a):\n    return a\n", "1: E1101: `def` starts no statement"),
        ("fn f():\n    switch 3:\n        pass\n", "2: E1101: `switch` starts no statement"),
        ("fn f() -> i64: 0b102\n", "1: E1003: the number has a digit that its radix does not have"),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
}

#[test]
fn unresolved_calls_are_counted() {
    let text = "fn none<T>() -> i64: 1\nfn f() -> i64: none() + none()\n";
    let found = errors_of(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[2], "2: E-MONO-033: 2 generic calls are unresolved");
    let lib = "fn none<T>() -> i64: 1\nfn f() -> i64: none() + none()\n";
    let module = |name, text| SourceFile { name, module: name, text };
    let files = [module("t", "use lib\nfn g() -> i64: lib.f()\n"), module("lib", lib)];
    let compiled = compile(&files, Mode::Compile).unwrap();
    let found: Vec<_> = compiled.diagnostics.iter().map(|d| (&*d.file, d.line, d.column)).collect();
    assert_eq!(found, [("lib", 2, 16), ("lib", 2, 25), ("lib", 2, 16)]);
}

#[test]
fn several_functions_report_their_errors() {
    let text =
        "fn a() -> i64: x\nfn b() -> bool: 1\nfn c() -> i64:\n    val q: u8 = true\n    y + z\n";
    assert_eq!(errors_of(text).len(), 5, "{:?}", errors_of(text));
}

#[test]
fn a_note_proposes_a_similar_name() {
    let text = "fn f(count: i64) -> i64: cout\n";
    let compiled = compiled(text, Mode::Compile);
    assert_eq!(compiled.diagnostics[0].note.as_deref(), Some("a similar name is `count`"));
}

#[test]
fn modules_import_names() {
    let math = "pub struct V:\n    x: i64\nimpl V:\n    fn twice() -> i64: self.x * 2\nfn add(a: i64, b: i64) -> i64: a + b\nconst K: i64 = 5\nstruct Box<T>:\n    x: T\nenum May<T>:\n    Is(T)\n    No\nfn id<T>(x: T) -> T: x\nenum W:\n    A\n    B\nimpl W:\n    static fn of(x: i64) -> W: if x == 3: W.B else: W.A\n";
    for main in [
        "use lib.math.{add, V, K, id}\nfn f() -> i64: add(V(x: 2).twice(), K) + id(1)\n",
        "use lib.math.*\nfn f() -> i64: add(V(x: 2).twice(), K) + id(1)\n",
        "use lib.math\nfn f() -> i64: math.add(4, math.K) + math.id(1)\n",
        "use lib.math as m\nfn f() -> i64: m.add(4, m.K) + 1\n",
        "use lib.math.{add as plus}\nfn f() -> i64: plus(4, 6)\n",
        "use lib.math.add\nfn f() -> i64: add(4, 6)\n",
        "use lib.math as m\nfn f() -> i64: m.id<i64>(4) + m.Box<i64>(6).x\n",
        "use lib.math as m\nfn f() -> i64:\n    match m.May<i64>.Is(10):\n        case Is(x): x\n        case No: 0\n",
        "use lib.math as m\nfn g(v: m.V, w: [m.W; 1]) -> m.V: if w[0] == m.W.B: v else: m.V(0)\nfn f() -> i64: g(m.V(5), [m.W.B]).twice()\n",
        "use lib.math\nfn f() -> i64: match math.W.of(3):\n    case math.W.B: 10\n    case A: 2\n",
    ] {
        let files =
            [file(main), SourceFile { name: "lib/math.spl", module: "lib.math", text: math }];
        let compiled = compile(&files, Mode::Compile).unwrap();
        let unit = compiled.unit.unwrap_or_else(|| panic!("{main} {:?}", compiled.diagnostics));
        assert_eq!(call_unit(&unit, "f", &[]).0, Ok(10), "{main}");
        assert_eq!(
            unit.file(unit.functions.iter().find(|f| f.symbol == "add").unwrap()),
            "lib/math.spl"
        );
    }
    let other = SourceFile { name: "o.spl", module: "o", text: "fn f() -> i64: 2\n" };
    let both = compile(&[file("fn f() -> i64: 1\n"), other], Mode::Compile).unwrap();
    let unit = both.unit.unwrap();
    let symbols: Vec<&str> = unit.functions.iter().map(|f| f.symbol.as_str()).collect();
    assert_eq!(symbols, ["f", "o.f"]);
}

#[test]
fn name_of_two_modules_that_are_imported_whole_is_ambiguous() {
    let errors = |main: &str| {
        let one =
            "fn x() -> i64: 1\nstruct S:\n    a: i64\nfn main() -> i64: 1\nfn same() -> i64: 3\n";
        let two =
            "fn x() -> i64: 2\nstruct S:\n    b: i64\nfn main() -> i64: 2\nfn other() -> i64: 4\n";
        let [one, two] = [("one", one), ("two", two)].map(|(name, text)| SourceFile {
            name,
            module: name,
            text,
        });
        messages(&compile(&[file(main), one, two], Mode::Compile).unwrap())
    };
    let both = "use one.*\nuse two.*\n";
    let none: [&str; 0] = [];
    assert_eq!(errors(&format!("{both}fn f() -> i64: same() + other()\n")), none);
    assert_eq!(errors(&format!("{both}fn x() -> i64: 5\nfn f() -> i64: x()\n")), none);
    let text =
        |name| format!("3: E1302: several modules that are imported with `*` declare `{name}`");
    assert_eq!(errors(&format!("{both}fn f() -> i64: x()\n")), [text("x")]);
    assert_eq!(errors(&format!("{both}fn f(s: S) -> i64: 1\n")), [text("S")]);
    assert_eq!(errors(&format!("{both}fn f(): print x\n")), [text("x")]);
    assert_eq!(errors("use one\nuse two as one\n"), ["2: E1302: `one` is declared twice"]);
}

#[test]
fn imported_module_has_no_statements() {
    let errors = |text| {
        let other = SourceFile { name: "o.spl", module: "o", text };
        let main = file("use o.{f}\nfn g() -> i64: f()\n");
        messages(&compile(&[main, other], Mode::Compile).unwrap())
    };
    assert_eq!(
        errors("var count = 1\nfn f() -> i64:\n    count = 2\n    count\n"),
        ["1: E1201: a variable of a module is not supported: a function has no memory of its own"]
    );
    assert_eq!(
        errors("fn f() -> i64: 1\nprint f()\n"),
        ["2: W2002: statements at the top level of an imported module are not run"]
    );
    assert_eq!(errors("fn f() -> i64: 1\nfn main() -> i64: 3\nmain()\n"), [""; 0]);
}

#[test]
fn modules_that_import_each_other_are_refused() {
    let module = |name, text| SourceFile { name, module: name, text };
    let [main, a, b, c] = [
        module("main", "use a.{f}\nuse c\nfn g(): f()\n"),
        module("a", "use c\nuse b.x\nfn f(): 1\n"),
        module("b", "use a\nfn x(): 1\n"),
        module("c", "fn y(): 1\n"),
    ];
    let cycle = compile(&[main, a, b, c], Mode::Compile).unwrap();
    assert_eq!(messages(&cycle), ["1: E1307: modules import each other: `a`, `b`, `a`"]);
    assert_eq!(cycle.diagnostics[0].file, "b");
    // Two ways to one module are no cycle.
    let b = module("b", "use c\nfn x(): 1\n");
    assert_eq!(messages(&compile(&[main, a, b, c], Mode::Compile).unwrap()), [""; 0]);
    let itself = module("me", "use me\n");
    let cycle = compile(&[itself], Mode::Compile).unwrap();
    assert_eq!(messages(&cycle), ["1: E1307: modules import each other: `me`, `me`"]);
}

#[test]
fn templates_have_ir_where_scalars_suffice() {
    let text = "struct W:\n    n: i64\nfn one(x: i64) -> i64: x + 1\n\
                fn largest<T>(a: T, b: T) -> T:\n    if a > b: a else: b\n\
                fn sum<T>(a: T, n: i64) -> T:\n    var s: T = 0\n    for i in 0..one(n): s += a\n    s\n\
                fn both<A, B>(a: A, b: B) -> A: largest(a, a)\n\
                fn field<T>(w: T) -> i64: one(w.n)\n\
                fn smaller<T>(a: T, b: T):\n    if a < b: a else: b\nfn tiny<T>(a: T, b: T): smaller(a, b)\nfn equal<T>(a: T): a == a\n";
    let unit = unit_of(text, Mode::Compile);
    let has_ir: Vec<_> = unit.templates.iter().map(|t| (t.name.as_str(), t.ir.is_some())).collect();
    let expected = [("largest", true), ("sum", true), ("both", true), ("field", false)];
    assert_eq!(has_ir[..4], expected);
    // Results without a type follow from the body.
    assert_eq!(has_ir[4..], [("smaller", true), ("tiny", true), ("equal", true)]);
    let results: Vec<_> =
        unit.templates.iter().map(|t| t.result.as_ref().unwrap().to_string()).collect();
    assert_eq!(results[4..], ["?T0", "?T0", "bool"]);
    assert_eq!(unit.templates[0].type_params[0].name, "T");
    assert_eq!(
        unit.templates[2].params.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["?T0", "?T1"]
    );
    // An instance of the IR, and one of the text.
    let bytes = unit.templates[0].ir.as_ref().unwrap();
    let verified = crate::ir::Verified::new(crate::ir::Function::parse(bytes).unwrap()).unwrap();
    let float = crate::ir::Arguments::new(&[crate::ir::Scalar::F64.into()]).unwrap();
    assert!(verified.instance(float).is_ok());
    for (name, ty, expected) in [("largest", "f64", "largest$f64"), ("field", "W", "field$W")] {
        let template = unit.templates.iter().find(|t| t.name == name).unwrap();
        let types = Type::parse_arguments(ty).unwrap();
        let made = instantiate(file(&template.text), name, &types).unwrap();
        let made = made.unit.unwrap_or_else(|| panic!("{}\n{:?}", template.text, made.diagnostics));
        assert_eq!(made.functions[0].symbol, expected);
    }
    let template = &unit.templates[3];
    let types = Type::parse_arguments("i64").unwrap();
    let made = instantiate(file(&template.text), "field", &types).unwrap();
    assert!(made.unit.is_none());
    assert!(made.diagnostics[0].message.contains("has no field `n`"));
}

/// The text of a template has no modules.
#[test]
fn template_text_resolves_names_behind_modules() {
    let lib = "struct V:\n    x: i64\nimpl V:\n    static fn of(x: i64) -> V: V(x)\nenum C:\n    R\n    S(i64)\nconst K = 5\n\
               fn make(n: i64) -> C: if n > 0: C.S(n) else: C.R\nfn id<T>(x: T) -> T: x\n";
    let main = "use lib\nstruct Q:\n    v: lib.V\nfn f<T>(p: T, n: i64, q: lib.V = Q(lib.V(3)).v) -> i64:\n    val v: lib.V = lib.V.of(lib.K)\n    val c = if n == 7: lib.C.S(p.y) else: lib.make(n)\n    \
                match c:\n        case lib.C.R: v.x\n        case lib.C.S(k): lib.id<i64>(k)\n";
    let files = [file(main), SourceFile { name: "lib", module: "lib", text: lib }];
    let unit = compile(&files, Mode::Compile).unwrap().unit.unwrap();
    let template = unit.templates.iter().find(|template| template.name == "f").unwrap();
    let text = format!("{}struct P:\n    y: i64\n", template.text);
    let made = instantiate(file(&text), "f", &Type::parse_arguments("P").unwrap()).unwrap();
    assert_eq!(messages(&made), [""; 0], "{text}");
    assert!(made.unit.is_some());
}

#[test]
fn unit_states_signatures_and_constants() {
    let text = "pub fn f(a: i32, b: [f64; 2], c: text) -> bool: true\nexport g\nfn g(): pass\nconst N: u8 = 3\nconst S = \"hi\"\n";
    let unit = unit_of(text, Mode::Compile);
    let f = &unit.functions[0];
    assert_eq!(
        f.params.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["i32", "array_2<f64>", "text"]
    );
    assert_eq!((unit.param_names(f), f.line, f.is_local), ("a,b,c,", 1, false));
    assert_eq!(crate::ir::Function::parse(&f.ir).unwrap().signature().params.len(), 4);
    assert!(!unit.functions[1].is_local && unit.functions[1].result.is_none());
    assert_eq!(unit.constants.len(), 2);
}

/// Reloads and managers compare them.
#[test]
fn unit_states_hashes_of_types() {
    let hashes = |types: &str| {
        let functions = "fn f(p: P, n: i64) -> i64: n\nfn g(xs: [B<i64>]) -> E: E.R\nfn h(x: (i64, text)) -> i64: 1\n";
        let unit = unit_of(&format!("{types}\n{functions}"), Mode::Compile);
        let hash = |name: &str| unit.functions[unit.find(name).unwrap()].type_hash;
        ["f", "g", "h"].map(hash)
    };
    let types = "struct Q:\n    n: i64\nstruct P:\n    x: i64\n    q: Q\nstruct B<T>:\n    v: T\n    f: fn(B<T>) -> i64\n\
                 enum E:\n    R\n    S\nstruct Other:\n    y: i64";
    let [f, g, h] = hashes(types);
    assert!(f != g && g != h && h != f);
    assert_eq!(hashes(&types.replace("y: i64", "z: f64")), [f, g, h]);
    let moved = types.strip_prefix("struct Q:\n    n: i64\n").unwrap();
    assert_eq!(
        hashes(&format!("{moved}\nstruct Q:\n    n: i64")),
        [f, g, h],
        "order of declarations"
    );
    let renamed = types.replace("Q", "Inner");
    assert_eq!(hashes(&renamed), [f, g, h], "names of types");
    for (from, to, changes) in [
        ("x: i64", "x: f64", [true, false]),
        ("x: i64", "y: i64", [true, false]),
        ("n: i64", "n: i64\n    m: i64", [true, false]),
        ("x: i64\n    q: Q", "q: Q\n    x: i64", [true, false]),
        ("v: T", "v: (T, T)", [false, true]),
        ("    S", "    S = 3", [false, true]),
        ("    R\n    S", "    R\n    S\n    T", [false, true]),
    ] {
        let changed = hashes(&types.replacen(from, to, 1));
        assert_eq!([changed[0] != f, changed[1] != g], changes, "{from} to {to}");
    }
}

#[test]
fn warnings_do_not_stop_the_unit() {
    let text = "@inline\n@unknown\nfn f() -> i64:\n    return 1\n    2\n";
    let compiled = compiled(text, Mode::Compile);
    assert!(compiled.unit.is_some());
    assert_eq!(
        messages(&compiled),
        ["2: W2001: unknown attribute `@unknown`", "5: W2002: this is never reached"]
    );
}

/// One mistake is one error.
#[test]
fn errors_do_not_follow_from_others() {
    for (text, expected) in [
        (
            "fn f(a: i64, b: i64 = 2) -> i64: a + b\nfn g() -> i64: f(b: 2)\n",
            "2: E1405: `f` has no argument for its parameter `a`",
        ),
        (
            "fn id<T>(x: T) -> T: x\nfn g() -> i64: id(nothing)\n",
            "2: E1301: name `nothing` not found",
        ),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    let text = "fn f() -> i64:\n    assert 3\n    assert true\n    1\n";
    let found = errors_of(text);
    assert!(found.len() == 1 && found[0].starts_with("2: E1201"), "{found:?}");
    assert!(errors_of("fn f(x: f64, i: u8) -> bool: i as f64 < x and x as u64 < 3\n").is_empty());
}

#[test]
fn type_parameters_are_bounded() {
    let of = |count: u32| {
        let names: Vec<String> = (0..count).map(|number| format!("T{number}")).collect();
        let text = format!("fn f<{}>(a: i64) -> i64: a\n", names.join(", "));
        messages(&compile(&[file(&text)], Mode::Compile).unwrap())
    };
    assert_eq!(of(100), Vec::<String>::new());
    assert_eq!(of(101), ["1: E1006: more than 100 type parameters"]);
    assert_eq!(of(100_000), of(101));
}
