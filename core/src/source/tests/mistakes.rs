//! Programs with one mistake each: the error that is reported, and its note.

use super::messages::marked;
use super::run::*;
use std::format;
use std::vec::Vec;

#[test]
fn what_follows_from_a_mistake_is_no_error() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("fn f() -> i64:\n    x += 1\n    x + x\n", "2: E1301: name `x` not found"),
        ("fn f():\n    for i in 0..3: n += i\n    print n\n", "2: E1301: name `n` not found"),
        ("fn f() -> i64:\n    for i in 0..3: n = i\n    n\n", "2: E1301: name `n` not found"),
        ("fn f(x: T, y: [T]) -> T: x\n", "1: E1406: type `T` not found"),
        (
            "enum E:\n    A(x: i64, y: i64)\nfn f(e: E) -> i64:\n    if e is E.A(v, w): v + w else: v\n",
            "4: E1201: a name behind `is` is not supported: write `match`",
        ),
        (
            "fn f() -> i64:\n    for i, (j, k) in [(1, 2)]:\n    print i, j, k\n    0\n",
            "2: E1101: expected an indented block, found the end of the line",
        ),
        (
            "fn f() -> i64:\n    val x = if true: 1\n    x\n",
            "2: E1401: the expression has no value",
        ),
        (
            "fn g(): pass\nfn f():\n    val x = g()\n    print x\n",
            "3: E1401: the expression has no value",
        ),
        (
            "fn f(x: i64) -> i64: x && 2\n",
            "1: E1201: a condition of type `i64` is not supported: truthiness has a dynamic meaning",
        ),
        (
            "fn f(x: i64):\n    if x or 2 and x: print 1\n",
            "2: E1201: a condition of type `i64` is not supported: truthiness has a dynamic meaning",
        ),
        (
            "fn f() -> i64: not 1\n",
            "1: E1201: a condition of type `i64` is not supported: truthiness has a dynamic meaning",
        ),
        (
            "fn f():\n    if true:\n        print 1\n    elseif false:\n        print 2\n    else:\n        print 3\n",
            "4: E1101: `elseif` starts no statement",
        ),
        (
            "if true:\n    print 1\nelseif false:\n    print 2\nelse:\n    print 3\n",
            "3: E1101: `elseif` starts no statement",
        ),
        (
            "fn f():\n    match 3:\n    case 1: pass\n    case _: pass\n",
            "3: E1101: expected an indented block of arms, found `case`",
        ),
        (
            "fn f():\n    try:\n        print 1\n    catch e:\n        print 2\n",
            "2: E1201: `try` is not supported: it is not part of the subset yet",
        ),
        (
            "fn f():\n    var i = 0\n    do:\n        i += 1\n    while i < 3\n",
            "3: E1101: `do` starts no statement",
        ),
        (
            "fn f():\n    val x, y = 1, 2\n    print x, y\n",
            "2: E1101: expected the end of the line, found `,`",
        ),
        (
            "fn f() -> i64:\n    val x: i64? = nil\n    x\n",
            "2: E1201: an optional type `T?` is not supported: values without a presence tag only",
        ),
        (
            "struct A:\n    x: i64\nimpl A:\n    def f(self) -> i64: self.x\nfn f() -> i64: A(1).f()\n",
            "4: E1101: expected a method, found `def`",
        ),
        (
            "struct A:\n    x: i64\n    fn f(this) -> i64: this.x\nfn f() -> i64: A(1).f()\n",
            "3: E1402: Parameter 'this' in function 'f' requires explicit type annotation",
        ),
        (
            "enum A:\n    case X\n    case Y(i64)\nfn f() -> A: A.Y(3)\n",
            "2: E1101: expected a variant, found `case`",
        ),
        (
            "struct S:\n    x: i64\nimpl T for S:\n    fn a() -> i64: 1\nfn f() -> i64: S(1).a()\n",
            "3: E1201: an implementation of a trait is not supported: there is no dynamic dispatch",
        ),
        (
            "fn g<T>(x: T) -> T: \"a\"\nfn f():\n    print g(1)\n    print g(1.0)\n",
            "1: E1401: expected `i64`, found `text`",
        ),
        (
            "fn f():\n    val a = [1, 2.5, true]\n    print a[0]\n",
            "2: E1401: expected `i64`, found `f64`",
        ),
        ("fn g(x: [i64]): pass\nfn f(): g([1.0, 2.0])\n", "2: E1401: expected `i64`, found `f64`"),
        ("-- A comment.\nfn main(): pass\n", "1: E1101: a comment starts with `#`, not with `--`"),
        (
            "struct P:\n    x: i64\nfn P() -> i64: 1\nfn f() -> i64: P()\n",
            "3: E1302: `P` is declared twice",
        ),
        (
            "fn f() -> i64:\n    fn g<T>(x: T) -> T: x\n    g(1) + g(2)\n",
            "2: E1201: a generic function inside a function is not supported: declare it outside",
        ),
        (
            "val fn = 2\nfn f() -> i64: fn + fn(3)\nprint fn\n",
            "1: E1101: expected the name of a constant, found the keyword `fn`",
        ),
        (
            "fn f() -> i64:\n    var if = 2\n    fn g(x: i64) -> i64: if x > 1: x else: 2\n    g(if)\n",
            "2: E1101: expected a name, found the keyword `if`",
        ),
        (
            "fn f():\n    val a = \"one\n        two, {3}\"\n    print(a)\n",
            "2: E1002: a text literal ends on its line; write `\\n` for a line break",
        ),
        (
            "fn f():\n    print(1, \"three\n    four\", 5)\n    print \"{2}\"\n",
            "2: E1002: a text literal ends on its line; write `\\n` for a line break",
        ),
        (
            "val a = \"one\n# two,\n\nthree\"\nprint a\n",
            "1: E1002: a text literal ends on its line; write `\\n` for a line break",
        ),
        (
            "struct P:\n    fn: i64\n    y: i64\nval p = P(fn: 2, y: 3)\nprint p.fn + p.y\n",
            "2: E1101: expected a field, found the keyword `fn`",
        ),
        (
            "fn f(p: P) -> i64: P(while=2).while\nstruct P:\n    while: i64\n",
            "3: E1101: expected a field, found the keyword `while`",
        ),
        (
            "trait T:\n    fn a() -> i64\nstruct S:\n    x: i64\nimpl T for S:\n    fn a() -> i64: 1\nfn f() -> i64: S(1).a()\n",
            "1: E1201: `trait` is not supported: there are no objects with dynamic dispatch; use a struct or an enum",
        ),
        (
            "impl T for S:\n    fn a() -> i64: 1\nstruct S:\n    x: i64\ntrait T:\n    fn a() -> i64\n",
            "5: E1201: `trait` is not supported: there are no objects with dynamic dispatch; use a struct or an enum",
        ),
    ] {
        let found = errors_of(text);
        if found != [expected] {
            wrong.push(format!("{text}{found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Two mistakes.
    for text in [
        "fn f(x: T) -> T: x\nfn g(x: T) -> T: x\n",
        "fn f() -> i64: x\nfn g() -> i64: x\n",
        "fn g(x: bool) -> bool: x\nfn f() -> bool: not 1 and g(2 and true)\n",
        "fn f():\n    val a = [1, 2.5, b]\n",
        "fn f():\n    print \"one\n    print \"two\n",
    ] {
        assert_eq!(errors_of(text).len(), 2, "{text}{:#?}", errors_of(text));
    }
}

#[test]
fn notes_say_what_is_meant() {
    let result = "the type of the result stands behind `->`";
    let length = "a length or discriminant is computed of numbers, and of constants that are: not of elements, `.len()` or calls but those of `min` and `max`";
    for (text, expected) in [
        (
            "fn f(x: i64) i64: x\n",
            format!("i64: expected `:` and the body of the function, found `i64` ({result})"),
        ),
        (
            "fn f(x: i64) => i64: x\n",
            format!("=>: expected `:` and the body of the function, found `=>` ({result})"),
        ),
        (
            "fn f(x i64): pass\n",
            "i64: expected `)` behind the parameters, found `i64` (a parameter is its name, `:` and its type)".into(),
        ),
        (
            "fn f(x: T): pass\n",
            "T: type `T` not found (a type parameter is declared, as in `fn f<T>(...)`)".into(),
        ),
        (
            "impl A:\n    def f(self): pass\nstruct A:\n    x: i64\n",
            "def: expected a method, found `def` (a method begins with `fn`)".into(),
        ),
        (
            "enum A:\n    case X\n",
            "case: expected a variant, found `case` (a variant is its name, without `case`)".into(),
        ),
        (
            "const A = [7, 8]\nconst N = A.len()\nfn f() -> i64: [1; N][0]\n",
            format!("N: not a constant integer ({length})"),
        ),
        (
            "struct M:\n    n: (i64, [i64; 4])\nfn f(a: M, b: M) -> bool: a == b\n",
            "==: `==` has no meaning for `M` and `M` (a part of it is of type `[i64; 4]`, which has no `==`)".into(),
        ),
        ("fn f() -> i64: 0xZZ\n", "0xZZ: the number has a digit that its radix does not have".into()),
        (
            "fn f():\n    val a = 1\n    a.b = 3\n",
            "a: a value of `i64` has no parts that are assigned to".into(),
        ),
        (
            "fn f(x: i64 = f()) -> i64: x\n",
            "f(): a default that needs itself has no value".into(),
        ),
        (
            "struct P:\n    q: Q = Q()\nstruct Q:\n    x: i64 = P().q.x\nfn f() -> i64: P().q.x\n",
            "Q(): a default that needs itself has no value".into(),
        ),
        ("fn f() -> u8: max(3u8, 300)\n", "300: the number does not fit `u8`".into()),
        ("fn f(a: u8) -> u8: a.min(300)\n", "300: the number does not fit `u8`".into()),
        ("fn f(a: i8) -> i8: a.fdiv(300)\n", "300: the number does not fit `i8`".into()),
    ] {
        assert_eq!(marked(text), [expected], "{text}");
    }
    let text = format!(
        "fn f(n: i64) -> i64:\n    var x = n\n{}    x\n",
        "    x = x * 3 + n / 2\n".repeat(40_000)
    );
    let expected = "f: the function is too large: its variables and intermediate values are more than 65,535 (split it)";
    assert_eq!(marked(&text), [expected]);
}

/// The body of the outer function is looked at for the type of its result first.
#[test]
fn signature_inside_a_function_without_result_type_is_checked() {
    for (signature, expected) in [
        ("g(x: Q) -> i64", "2: E1406: type `Q` not found"),
        ("g(x: i64, x: i64) -> i64", "2: E1302: parameter `x` is declared twice"),
    ] {
        let text = format!("fn f():\n    fn {signature}: 1\n    3\nfn h(): f()\n");
        assert_eq!(errors_of(&text), [expected], "{text}");
    }
}

#[test]
fn result_of_a_body_with_an_error_is_not_known() {
    let text = "fn f(): y\nfn g() -> i64: f() + 1\nfn h<T>(n: T):\n    if n > 1: return z\n    n\n\
                fn i(): print f(), g(), h(1), h(2.0)\n";
    let expected = ["1: E1301: name `y` not found", "4: E1301: name `z` not found"];
    assert_eq!(errors_of(text), expected);
}

#[test]
fn call_with_too_many_parameters_is_refused_before_its_arguments() {
    let params: Vec<_> = (0..256).map(|number| format!("p{number}: i64")).collect();
    let text = format!("fn f({}) -> i64: 1\nfn g() -> i64: f(x)\n", params.join(", "));
    assert_eq!(errors_of(&text), ["2: E1006: a call has at most 255 arguments"]);
}

#[test]
fn comparison_of_too_many_parts_says_so() {
    let text = |count: usize| {
        format!(
            "struct S:\n    x: ({})\nfn f(a: S, b: S) -> bool: a == b\n",
            ["i8"].repeat(count).join(", ")
        )
    };
    assert_eq!(errors_of(&text(256)), [""; 0]);
    let expected = "==: `==` has no meaning for `S` and `S` (it has more than 256 parts)";
    assert_eq!(marked(&text(257)), [expected]);
}

#[test]
fn default_has_no_receiver() {
    let note = "a default has no receiver, and names the type in the place of `Self`";
    for (default, name) in [("self.m", "self"), ("Self.k()", "Self")] {
        let text = format!(
            "struct S:\n    m: i64\n    static fn k() -> i64: 3\n    fn g(x: i64 = {default}) -> i64: x\n"
        );
        let expected = format!("{name}: name `{name}` not found ({note})");
        assert_eq!(marked(&text), [expected], "{default}");
    }
}

#[test]
fn mistake_in_a_declaration_is_one_error_at_all_uses() {
    let uses = "fn f(p: P) -> i64: p.x + p.x\nfn g(p: P) -> i64: p.x\n";
    for (text, expected) in [
        (format!("struct P:\n    :x i64\n{uses}"), "2: E1101: expected a field, found `:`"),
        (format!("struct P:\n    y: i64\n{uses}"), "3: E1304: type `P` has no field `x`"),
        (
            format!("struct P:\n    x: [i64]\n{uses}"),
            "2: E1201: an array without a length is not supported as a field: it would grow",
        ),
        ("fn f(p: Po): pass\nfn g(p: Po): pass\n".into(), "1: E1406: type `Po` not found"),
        ("fn f() -> i64: Q\nfn g() -> i64: Q\n".into(), "1: E1301: name `Q` not found"),
    ] {
        assert_eq!(errors_of(&text), [expected], "{text}");
    }
}

#[test]
fn wrong_indentation_is_one_error() {
    let is_of_no_block = |width| {
        format!(
            "the line is indented by {width} columns, which is the indentation of no open block"
        )
    };
    let methods = "    fn a() -> i64: 1\n    fn b() -> i64:\n        2\n";
    let calls = "fn g(p: P) -> i64: p.a() + p.b()\n";
    for (text, expected) in [
        (
            "fn f():\n        print 1\n    print 2\n    print 3\n".into(),
            format!("3: E1004: {}", is_of_no_block(4)),
        ),
        (
            format!("struct P:\n    x: i64\nfn f() -> i64:\n    1\n  impl P:\n{methods}{calls}"),
            format!("5: E1004: {}", is_of_no_block(2)),
        ),
        (
            format!(
                "struct P:\n    x: i64\nimpl P:\n    fn c() -> i64:\n        1\n      fn a() -> i64:\n        3\n    fn b() -> i64: 2\n{calls}"
            ),
            format!("6: E1004: {}", is_of_no_block(6)),
        ),
        (
            format!(
                "struct P:\n    x: i64\nimpl P:\n{methods}    val x = 1\n    print 3\n    x\n{calls}"
            ),
            "7: E1101: expected a method, found `val`".into(),
        ),
    ] {
        assert_eq!(errors_of(&text), [expected], "{text}");
    }
}

#[test]
fn nesting_beyond_the_limits_is_reported_once() {
    let mut text = std::string::String::from("fn f(x: i64):\n");
    for depth in 1..300 {
        text += &format!("{}if x > {depth}:\n", "  ".repeat(depth));
    }
    text += &format!("{}print x\n", "  ".repeat(300));
    let errors = errors_of(&text);
    assert_eq!(
        errors,
        ["128: E1102: more than 128 levels of nesting", "202: E1102: more than 200 nested blocks"]
    );
}

#[test]
fn errors_of_a_file_are_in_the_order_of_its_lines_behind_those_of_syntax() {
    let text = "fn f() -> i64: g()\nfn g() -> i64: h() + x\nfn h(): y\nfn k(: i64\n";
    let errors = errors_of(text);
    let lines: std::vec::Vec<&str> =
        errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["4", "2", "3"], "{errors:#?}");
}

#[test]
fn operator_behind_a_cast_is_no_union_of_types() {
    let expected = "|: a union type is not supported: it needs a tag at run time; use an enum (for the operator write `(x as T) | y`)";
    assert_eq!(marked("enum E:\n    A\nfn f(x: E) -> i64: x as i64 | 1\n"), [expected]);
    assert_eq!(
        errors_of("enum E:\n    A\nfn f(x: E) -> i64: (x as Q) + 1\n"),
        ["3: E1406: type `Q` not found"]
    );
}
