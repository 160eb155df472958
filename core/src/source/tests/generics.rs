//! Methods of instances of generic types, and instances of generic functions as values.

use super::run::*;
use crate::source::Mode;
use std::format;
use std::string::String;

#[test]
fn methods_of_one_name_are_those_of_each_instance() {
    let text = "struct B<T>:\n    v: T\n    fn same() -> T: self.v\n\
                impl B<i64>:\n    fn g() -> i64: 1\n    fn h(): print \"i\"\n    static fn of() -> B<i64>: B(5)\n\
                impl B<f64>:\n    fn g() -> f64: 2.5\n    me h(): self.v = 7.0\n    static fn of() -> B<f64>: B(0.5)\n\
                impl<T> B<[T; 2]>:\n    fn g() -> T: self.v[1]\n\
                struct P<A, B>:\n    a: A\n    b: B\n\
                impl<T> P<T, i64>:\n    fn g<U>(u: U) -> T: self.a\nimpl<T> P<T, u8>:\n    fn g<U>(u: U) -> U: u\n";
    let with = |rest: &str| format!("{text}{rest}");
    for (value, expected) in [
        ("B(1).g() * 10 + (B(1.5).g() * 2.0) as i64", 15),
        ("B([3, 4]).g() + B(6).same()", 10),
        ("P(1, 2).g(true) + P(1, 2u8).g(20)", 21),
        ("B<i64>.of().g() * 100 + (B<f64>.of().v * 4.0) as i64", 102),
        ("a(B(8)) + a(B(1.5)) as i64", 3),
    ] {
        let text =
            with(&format!("fn a<T>(b: B<T>) -> i64: b.g() as i64\nfn f() -> i64: {value}\n"));
        assert_eq!(run(&text, "f", &[]), expected, "{value}");
    }
    let text = with(
        "fn f() -> i64:\n    var b: B<f64> = B.of()\n    b.h()\n    B(1).h()\n    b.v as i64\n",
    );
    let unit = unit_of(&text, Mode::Compile);
    let has = |symbol: &str| unit.functions.iter().any(|function| function.symbol == symbol);
    assert!(has("B.g$i64") && has("B.g$f64"));
    assert_eq!(call_unit(&unit, "f", &[]), (Ok(7), "i\n".into()));
    for (rest, expected) in [
        ("fn f(): B(true).g()\n", "type `B<bool>` has no method `g`"),
        ("fn f(): B.of()\n", "the type arguments of `of` are not known"),
        ("impl B<i64>:\n    fn g() -> i64: 3\n", "method `g` is declared twice"),
        ("impl<T> B<T>:\n    fn g() -> i64: 3\n", "method `g` is declared twice"),
        ("impl<T> P<i64, T>:\n    fn g() -> i64: 3\n", "method `g` is declared twice"),
    ] {
        let found = errors_of(&with(rest));
        assert!(found.len() == 1 && found[0].ends_with(expected), "{rest}: {found:?}");
    }
}

#[test]
fn methods_of_one_name_are_limited() {
    let text = |count: u32| {
        let of = |n| format!("struct S{n}:\n    v: i64\nimpl B<S{n}>:\n    fn g() -> i64: {n}\n");
        let all: String = (0..count).map(of).collect();
        all + "struct B<T>:\n    v: T\nfn f() -> i64: B(S255(1)).g()\n"
    };
    assert_eq!(run(&text(256), "f", &[]), 255);
    let found = errors_of(&text(300));
    assert!(found.iter().all(|error| error.ends_with("at most 256 methods of one name")));
    assert_eq!(found.len(), 44, "{found:?}");
}

#[test]
fn generic_function_with_its_types_is_a_value() {
    let text = "fn id<T>(x: T) -> T: x\nfn two<A, B>(a: A, b: B) -> A: a\nfn ap(f: fn(f64) -> f64, x: f64) -> f64: f(x)\n\
                fn f() -> i64:\n    val g = id<i64>\n    val h = [id<i64>, id<i64>]\n    val k = (two<i64, [u8; 2]>)\n    \
                ap(id<f64>, 1.5) as i64 + g(20) + h[1](300) + k(4000, [1, 2])\n";
    assert_eq!(run(text, "f", &[]), 4321);
    assert_eq!(
        run("fn f(a: i64, b: i64) -> i64:\n    if a <b and b> a: 1 else: 2\n", "f", &[1, 2]),
        1
    );
}

#[test]
fn bounds_of_where_are_added() {
    let refused = |bound: &str| format!("does not have the operations of `{bound}`");
    for (head, bound) in [
        ("fn g<T: Int>(x: T) -> T where T: Num: x", "Int"),
        ("fn g<T>(x: T) -> T where T: Int, T: Num: x", "Int"),
        ("fn g<T>(x: T) -> T where T: Num, T: Int: x", "Int"),
        ("fn g<T: Num>(x: T) -> T where T: Int & Signed: x", "Int"),
        ("fn g<A: Num, T: Num>(a: A, x: T) -> T where T: Signed, A: Signed, A: Int: x", "Int"),
    ] {
        let arguments = if head.contains("a: A") { "2.5, 1" } else { "2.5" };
        let found = errors_of(&format!("{head}\nfn h(): print g({arguments})\n"));
        assert!(found.len() == 1 && found[0].contains(&refused(bound)), "{head}: {found:?}");
        let arguments = if head.contains("a: A") { "2, 1.5" } else { "2" };
        let text = format!("{head}\nfn main(): print g({arguments})\n");
        assert_eq!(errors_of(&text), [""; 0], "{head}");
    }
}

#[test]
fn bound_of_equality_is_what_compares() {
    let head = "struct P:\n    x: i64\n    y: (bool, f64)\nstruct A:\n    x: [i64; 2]\nenum C:\n    R\n    G\n\
                enum V:\n    N(i64)\nfn same<T: Eq>(a: T, b: T) -> bool: a == b\n\
                fn any<T>(a: T, b: T) -> bool: a == b\n";
    for (value, holds) in [
        ("P(1, (true, 2.5))", true),
        ("(1, C.G)", true),
        ("C.R", true),
        ("1.5", true),
        ("A([1, 2])", false),
        ("[1, 2]", false),
        ("V.N(1)", false),
        ("\"a\"", false),
    ] {
        for name in ["same", "any"] {
            let text = format!("{head}fn f() -> bool: {name}({value}, {value})\n");
            let found = errors_of(&text);
            assert_eq!(found.is_empty(), holds, "{name} {value}: {found:?}");
            assert!(!holds || run(&text, "f", &[]) == 1, "{name} {value}");
        }
    }
}

#[test]
fn pointers_in_structs_are_compared() {
    let text = "struct S:\n    p: *const i64\n    n: i64\n\
                fn f(p: *const i64, q: *const i64) -> bool: S(p, 1) == S(q, 1)\n";
    assert_eq!([run(text, "f", &[8, 8]), run(text, "f", &[8, 16])], [1, 0]);
}

/// Found: the compiler overflowed its stack, or did not end.
#[test]
fn equality_of_structs_without_end_or_scalars_is_refused() {
    let same = "fn same<T: Eq>(a: T) -> bool: true\n";
    for body in ["same(a)", "a == a"] {
        let text = format!("struct A:\n    a: A\n{same}fn f(a: A) -> bool: {body}\n");
        assert!(!errors_of(&text).is_empty(), "{body}");
        let mut text = String::from("struct S0:\n    pass\n");
        for number in 1..=32 {
            let part = number - 1;
            text += &format!("struct S{number}:\n    a: S{part}\n    b: S{part}\n");
        }
        text += &format!("{same}fn f(a: S32) -> bool: {body}\n");
        assert!(!errors_of(&text).is_empty(), "{body}");
    }
}
